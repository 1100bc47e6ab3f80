"""Two other things are called `nmap`: the network scanner's command, and the import package of `python-nmap`.

Looked for at every start, so only by names of files; nothing is imported and no metadata is parsed unless a name matches.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from nmap.diagnostics import Diagnostic

__all__ = ["foreign_packages", "looks_like_scanning", "name_conflicts", "other_command"]

_OURS = "nmap_snn"
_DISTRIBUTION = re.compile(r"(?P<name>.+?)(?:-[^-]+)?(?:-py[0-9.]+)?\.(?:dist|egg)-info")
_SCANNER = re.compile(
    r"-s[STAWMUNFXVCOILYZRPn]\w?|-P[nEPSAUOYR]\d*|-A|-O|-T[0-5]|-p\S*|-F|-6|-iL|-iR|-o[NXGAS]"
    r"|\d{1,3}(\.(\d{1,3}(-\d{1,3})?|\*)){3}(/\d{1,2})?|[0-9a-fA-F]*:[0-9a-fA-F:]*:[0-9a-fA-F]*(/\d{1,3})?|scanme\.\S+"
)


def foreign_packages(folders: Sequence[str] | None = None) -> list[tuple[str, Path]]:
    """Return (distribution, folder) of every installed distribution but nmap's own that installs an import package `nmap`.

    Args:
        folders: where to look; None for `sys.path`.
    """
    found = []
    for folder in dict.fromkeys(sys.path if folders is None else folders):
        try:
            names = [path.name for path in Path(folder or ".").iterdir() if path.name.endswith("-info") and "nmap" in path.name.lower()]
        except OSError:
            continue
        for entry in sorted(names):
            match = _DISTRIBUTION.fullmatch(entry)
            name = re.sub(r"[-_.]+", "_", match["name"]).lower() if match else ""
            if name != _OURS and _installs_nmap(Path(folder or ".") / entry):
                found.append((name.replace("_", "-"), Path(folder or ".")))
    return found


def _installs_nmap(info: Path) -> bool:
    for name, sign in (("RECORD", "nmap/__init__.py,"), ("installed-files.txt", "../nmap/__init__.py"), ("top_level.txt", "nmap")):
        try:
            lines = (info / name).read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            continue
        return any(line.startswith(sign) if name == "RECORD" else line.strip() == sign for line in lines)
    return False


def name_conflicts() -> tuple[Diagnostic, ...]:
    """Return an NM001 for every distribution that overwrites or hides nmap's import package.

    One in a folder that Python searches after ours does neither.
    """
    ours = Path(__file__).resolve().parents[2]
    searched = [os.path.realpath(folder or ".") for folder in sys.path]
    # A package that an import hook finds is in no folder of the path; every folder comes before it.
    last = searched.index(str(ours)) if str(ours) in searched else len(searched)
    before = {*searched[: last + 1], str(ours)}
    return tuple(
        Diagnostic(
            "NM001", "error", f"`{name}` installs the same import package `nmap` as nmap-snn, and one overwrites or hides the other",
            str(folder),
            "In one folder whichever was installed last wins, and neither is whole; otherwise Python imports the first it finds.",
            (
                "install nmap-snn in a virtual environment of its own",
                f"or keep nmap-snn alone: pip uninstall {name}, then pip install --force-reinstall --no-deps nmap-snn",
            ),
        )
        for name, folder in foreign_packages()
        if os.path.realpath(folder) in before and (folder / "nmap" / "__init__.py").is_file()
    )


def looks_like_scanning(words: Sequence[str]) -> bool:
    """Tell whether a command line is meant for the network scanner."""
    return any(_SCANNER.fullmatch(word) for word in words)


def other_command() -> Path | None:
    """Return another program called `nmap` on PATH, or None."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        path = Path(folder or ".") / "nmap"
        if path.is_file() and os.access(path, os.X_OK) and not _is_ours(path):
            return path
    return None


def _is_ours(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return b"nmap.cli.main" in stream.read(4096)
    except OSError:
        return False
