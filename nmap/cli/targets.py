"""`nmap targets`: the installed chips, or every limit of one of them with its source."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nmap.cli import options as opt
from nmap.cli.serve import Progress, Reply, Screen, serve
from nmap.diagnostics import Diagnostic, Exit, NmapError

if TYPE_CHECKING:
    from nmap.target.spec import ChipSpec, Variant

__all__ = ["SCHEMA", "targets"]

SCHEMA = "nmap.targets/1"
_COLUMN = 28
"""Where the text about an entry starts."""

_NameArg = Annotated[str | None, typer.Argument(metavar="[T]", help="Show this one in full.", show_default=False)]


def targets(
    context: typer.Context, name: _NameArg = None, format: opt.FormatOption = opt.Format.text, quiet: opt.QuietOption = False,  # noqa: A002
    verbose: opt.VerboseOption = False,
) -> None:
    """List the installed chips; or show every limit of one with its source, and what it supports."""

    def work(screen: Screen, _progress: Progress) -> Reply:
        return _list(screen.command) if name is None else _one(name, screen.command)

    serve(context, work, format=format, quiet=quiet, verbose=verbose)


def _list(command: Sequence[str]) -> Reply:
    from nmap.report.text import count, table
    from nmap.target.registry import find_target, target_names

    specs: list[ChipSpec] = []
    broken: list[Diagnostic] = []
    for name in target_names():
        try:
            specs.append(find_target(name).spec)
        except NmapError as error:
            broken += error.diagnostics
    rows = [
        (spec.name, spec.title, variant + (" (default)" if variant == spec.default_variant else ""), count(data.chips), count(data.cores))
        for spec in specs for variant, data in spec.variants.items()
    ]
    lines = table(("target", "chip", "variant", "chips", "cores per chip"), rows, right={3, 4}) if rows else ["no target is installed"]
    text = "\n".join([*lines, "", *(["Next: nmap targets " + specs[0].name] if specs else [])]).rstrip() + "\n"
    status = int(Exit.MISSING) if broken else 0
    return Reply(text, _report(specs, broken, command, status), broken, status)


def _one(text: str, command: Sequence[str]) -> Reply:
    from nmap.options import split_target
    from nmap.target.machine import build_machine
    from nmap.target.registry import find_target

    name, variant = split_target(text)
    spec = find_target(name).spec
    if variant is not None:
        build_machine(spec, variant)
    return Reply(describe(spec), _report([spec], [], command, 0))


def _report(specs: list[ChipSpec], broken: list[Diagnostic], command: Sequence[str], exit_status: int) -> dict[str, Any]:
    from nmap.report.versions import nmap_version

    return {
        "schema": SCHEMA, "nmap": nmap_version(), "command": list(command), "status": "error" if exit_status else "ok",
        "exit_status": exit_status, "targets": [spec.model_dump(mode="json") for spec in specs],
        "diagnostics": [diagnostic.to_json() for diagnostic in broken],
    }


def describe(spec: ChipSpec) -> str:
    """Return every number of a chip's data with its source."""
    from nmap.report.text import count

    lines = [f"{spec.name}  {spec.title} · chip data {spec.data_version}", "", "variants"]
    for name, variant in spec.variants.items():
        default = " (default)" if name == spec.default_variant else ""
        chips = f"{variant.chips}" if variant.chips == variant.max_chips else f"{variant.chips} (up to {variant.max_chips})"
        lines += _entry(
            f"{spec.name}:{name}{default}", f"{variant.title}; chips {chips}, {count(variant.cores)} cores each, "
            f"{variant.mesh[0]}×{variant.mesh[1]} routers{_arrangement(variant)}", "", variant.source,
        )
    lines += ["", "budgets of one core (estimates)" if spec.estimated else "budgets of one core"]
    for name, budget in spec.resources.items():
        lines += _entry(name, f"{budget.title}: at most {count(budget.max)} {budget.unit}", budget.note, budget.source)
    if spec.classes:
        lines += ["", "classes of cores with smaller budgets"]
    for name, kind in spec.classes.items():
        less = ", ".join(f"{spec.resources[key].title} {count(budget)}" for key, budget in kind.budget.items())
        lines += _entry(name, f"{kind.title}: {less}", "", kind.source)
    lines += ["", "ranges of parameters"]
    for name, limit in spec.limits.items():
        checked = "" if limit.enforced else " (stated, not enforced)"
        lines += _entry(name, f"{count(limit.min)} to {count(limit.max)}{checked}", limit.note, limit.source)
    lines += ["", "what a network may ask for"]
    for name, feature in spec.features.items():
        lines += _entry(name, feature.level + (f": {feature.note}" if feature.note else ""), "", "")
    if spec.approximations:
        lines += ["", "names for --approximate"]
    for name, text in spec.approximations.items():
        lines += _entry(name, text, "", "")
    if spec.constants:
        lines += ["", "published constants"]
    for name, constant in spec.constants.items():
        lines += _entry(name, f"{constant.value:g}{_unit(constant.unit)}, {constant.measured_on}", "", constant.source)
    return "\n".join(lines) + "\n"


def _unit(unit: str) -> str:
    """Return a unit behind a number; "1" is that of a plain number."""
    return "" if unit == "1" else f" {unit}"


def _arrangement(variant: Variant) -> str:
    """Return what is special about how a variant's chips, links and cores are arranged."""
    parts = [variant.topology.replace("-", " ")] if variant.topology != "mesh" else []
    if variant.routing == "multicast":
        parts.append("multicast routes")
    if variant.max_chips > 1:
        grid = variant.chip_grid
        parts.append(f"chips in {grid[0]}×{grid[1]}" if grid else "chips in a row")
        if variant.absent:
            parts.append(f"{len(variant.absent)} places of it empty")
        parts.append(f"a link between chips counts {1 + variant.chip_link_hops} hops")
    parts += [
        f"{level.name}s in {level.grid[0]}×{level.grid[1]}, a link between {level.name}s counts {level.link_hops} more"
        for level in variant.levels
    ]
    if variant.lacking:
        parts.append(f"{len({(x, y) for x, y, _ in variant.lacking})} chips of a unit with fewer cores")
    parts += [f"{len(cores)} core{'s' if len(cores) > 1 else ''} `{name}`" for name, cores in variant.classes.items()]
    if variant.passes > 1:
        parts.append(f"up to {variant.passes} passes one after the other")
    if any(variant.port):
        parts.append(f"port at ({variant.port[0]}, {variant.port[1]})")
    return "".join(f", {part}" for part in parts)


def _entry(name: str, text: str, note: str, source: str) -> list[str]:
    from nmap.report.text import WIDTH

    lead = f"  {name:<{_COLUMN - 4}}  "
    lines = wrap(lead + text, WIDTH, subsequent_indent=" " * _COLUMN, break_long_words=False, break_on_hyphens=False)
    for word, more in (("note", note), ("source", source)):
        if more:
            first = f"{'':<{_COLUMN}}{word}: {more}"
            lines += wrap(first, WIDTH, subsequent_indent=" " * (_COLUMN + 2), break_long_words=False, break_on_hyphens=False)
    return lines
