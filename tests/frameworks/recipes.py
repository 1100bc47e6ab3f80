"""The export recipes of docs/export.md: the scripts, what to install, and the networks, conventions and options of its tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGE", "Environment", "Recipe", "environments", "recipes"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "export.md"
_NETWORKS = Path(__file__).with_name("networks.md")
_MARK = re.compile(r"<!-- (?:recipe|variant): (\S+) (\S+) -->\n```python\n(.*?)```\n", re.DOTALL)
_INSTALL = re.compile(r"^pip install (.+?)\s+# Python (\d\.\d+)$", re.MULTILINE)
_ROW = re.compile(r"^\| (.+) \| `(\{.+\})` \| (?:`(--.*)`|none) \|$", re.MULTILINE)
_TRIED = re.compile(r"^Tried: (.+)\.$", re.MULTILINE)
_REST = re.compile(r"^# (?:Export|Samples)\b", re.MULTILINE)
# Random weights are too weak to make neurons fire. By how much differs with the gains and thresholds of the frameworks' neurons.
_BOOST = {"snntorch": 3, "norse": 20, "spikingjelly": 8, "sinabs": 6, "rockpool": 1, "lava-dl": 2}
_STRENGTHEN = """for layer in torch.nn.Module.modules(net):
    if type(layer).__name__ in ("Linear", "LinearTorch", "Conv2d", "Dense", "Conv", "Complex") and hasattr(layer, "weight"):
        layer.weight.data *= {boost}
"""


@dataclass(frozen=True, slots=True)
class Environment:
    """What a framework's section says to install.

    Args:
        framework: its name, as in the recipes.
        python: version of the interpreter, `3.11`.
        packages: requirements with pinned versions, as pip takes them.
    """

    framework: str
    python: str
    packages: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """One network of one framework.

    Args:
        framework, network: names.
        script: the whole Python script; it writes `net.nir` or `net.net`, and `samples.npz`.
        options: of `nmap`, for a file without the conventions in its metadata; None where the page gives none.
    """

    framework: str
    network: str
    script: str
    options: tuple[str, ...] | None

    def __str__(self) -> str:
        return f"{self.framework}-{self.network}"


def _sections(page: str) -> list[str]:
    """Return the parts of the page that hold a recipe, one per framework."""
    return [part for part in re.split(r"^## ", page, flags=re.MULTILINE) if "<!-- recipe: " in part]


def environments() -> list[Environment]:
    """Return what each framework's section says to install.

    Raises:
        ValueError: a section does not say it in one line.
    """
    found = []
    for section in _sections(PAGE.read_text(encoding="utf-8")):
        ((framework, _, _),) = _MARK.findall(section)
        ((packages, python),) = _INSTALL.findall(section)
        found.append(Environment(framework, python, tuple(packages.split())))
    return found


def recipes() -> list[Recipe]:
    """Return every network of the page's tables: its section's script, with the network's own lines put before the export.

    Raises:
        ValueError: a section has not one script, or a network is in a table and not defined, or the other way round.
    """
    found = []
    variants = {(framework, network): code for framework, network, code in _MARK.findall(_NETWORKS.read_text(encoding="utf-8"))}
    for section in _sections(PAGE.read_text(encoding="utf-8")):
        ((framework, first, base),) = _MARK.findall(section)
        rest = _REST.search(base)
        if rest is None:
            raise ValueError(f"the script of {framework} has no line `# Export` or `# Samples`")
        rows: dict[str, tuple[str, tuple[str, ...] | None]] = {}
        for names, conventions, options in _ROW.findall(section):
            given = tuple(options.split()) if options else None
            rows.update((name, (f"conventions = {conventions}\n", given)) for name in _names(names))
        for names in _TRIED.findall(section):
            rows.update((name, ("", None)) for name in _names(names))
        defined = {first, *(network for owner, network in variants if owner == framework)}
        if rows.keys() != defined:
            raise ValueError(f"{framework}: {', '.join(sorted(rows.keys() ^ defined))} is not both defined and in the page's tables")
        for name, (conventions, options) in rows.items():
            own = variants.get((framework, name), "") + conventions + _STRENGTHEN.format(boost=_BOOST[framework])
            found.append(Recipe(framework, name, f"{base[: rest.start()]}{own}\n{base[rest.start() :]}", options))
    return found


def _names(cell: str) -> list[str]:
    """Return the names in a table's cell, without what stands in parentheses."""
    return [name.strip() for name in re.sub(r"\(.*?\)", "", cell).split(",")]
