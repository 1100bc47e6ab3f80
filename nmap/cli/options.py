"""Options that several commands share: one name, one meaning, one help text, and the checks of their values."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import Enum
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nmap.diagnostics import Diagnostic, Findings, NmapError

if TYPE_CHECKING:
    from nmap.options import Options

__all__ = [
    "Against", "Format", "Level", "Reset", "Stage", "build_options", "parse_dead_cores", "parse_dead_links", "parse_names", "parse_seconds",
    "parse_size", "split_targets",
]


class Format(Enum):
    """How to print."""

    text = "text"
    json = "json"
    sarif = "sarif"


class Reset(Enum):
    """What a spike does to the membrane."""

    zero = "zero"
    subtract = "subtract"
    delayed = "delayed"


class Level(Enum):
    """Which form of the network runs."""

    chip = "chip"
    fixed = "fixed"
    float = "float"


class Against(Enum):
    """What to compare the chip emulator with."""

    fixed = "fixed"
    float = "float"
    vendor = "vendor"


class Stage(Enum):
    """Stages of a deployment, in order."""

    read = "read"
    check = "check"
    quantize = "quantize"
    partition = "partition"
    place = "place"
    route = "route"
    emit = "emit"
    verify = "verify"


_SECONDS = re.compile(r"([0-9.eE+-]+?)\s*(s|ms|us|µs)?")
_UNITS = {None: 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15}(?=\s*[KMGTkmgt]))?)\s*(?:([KMGTkmgt])(?:i?B)?|B)?")
_DEAD = re.compile(r"(?:c|([0-9]+):)([0-9]+)|([0-9]+):\*")
_LINK = re.compile(r"c([0-9]+)-c([0-9]+)|([0-9]+):([0-9]+)-(?:([0-9]+):)?([0-9]+)")


def parse_seconds(text: str) -> float:
    """Return a time step in seconds from `0.001`, `1ms` or `100us`.

    Raises:
        typer.BadParameter: not a positive, finite time.
    """
    match = _SECONDS.fullmatch(text.strip())
    try:
        value = float(match[1]) * _UNITS[match[2]] if match else 0.0
    except ValueError:
        value = 0.0
    if not (isfinite(value) and value > 0):
        raise typer.BadParameter(f"`{text}` is not a time step: give seconds, or a number with s, ms or us (0.001, 1ms)")
    return value


def parse_names(text: str | None) -> frozenset[str]:
    """Return the names of a comma-separated list."""
    return frozenset(name.strip() for name in (text or "").split(",") if name.strip())


def _entries(text: str | None, what: str) -> list[tuple[str, str | None]]:
    """Return the entries of a list with commas, or of a file with one per line and `#` comments; each with its place in the file.

    Raises:
        NmapError: NM004, the file cannot be read.
    """
    if not text:
        return []
    path = Path(text)
    try:
        is_file = path.is_file()
    except OSError:
        is_file = False  # a list too long for a file's name
    if not is_file:
        return [(entry.strip(), None) for entry in text.split(",") if entry.strip()]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise NmapError(Diagnostic("NM004", "error", f"the list of {what} `{text}` cannot be read", text, str(error))) from error
    entries = [(line.partition("#")[0].strip(), f"{text}:{number}") for number, line in enumerate(lines, 1)]
    return [(entry, where) for entry, where in entries if entry]


def parse_dead_cores(text: str | None) -> tuple[tuple[int, int], ...]:
    """Return (chip, core) pairs of `c3,c17` (cores of chip 0), `0:3,1:17`, or of a file with one per line and `#` comments.

    `2:*` is the whole chip 2, and becomes (2, `nmap.options.WHOLE_CHIP`).

    Raises:
        NmapError: NM004 with every entry that is none of them, or a file that cannot be read.
    """
    from nmap.options import WHOLE_CHIP

    findings, cores = Findings(), set()
    for entry, where in _entries(text, "dead cores"):
        match = _DEAD.fullmatch(entry)
        if match and match[3]:
            cores.add((int(match[3]), WHOLE_CHIP))
        elif match:
            cores.add((int(match[1] or 0), int(match[2])))
        else:
            findings.error(
                "NM004", f"`{entry}` names no core, and no file of that name exists" if where is None else f"`{entry}` names no core",
                where=where or "--dead-cores", help=("name cores as `c3,c17` or as chip and core `0:3,1:17`, a whole chip as `2:*`",),
            )
    findings.raise_errors()
    return tuple(sorted(cores))


def parse_dead_links(text: str | None) -> tuple[tuple[tuple[int, int], tuple[int, int]], ...]:
    """Return pairs of (chip, core) of `c3-c4` (chip 0), `0:3-4` (one chip), `0:3-1:0` (two chips), or of a file with one per line.

    The two cores are any of the two neighbouring routers that the link joins.

    Raises:
        NmapError: NM004 with every entry that is none of them, or a file that cannot be read.
    """
    findings, links = Findings(), set()
    for entry, where in _entries(text, "dead links"):
        match = _LINK.fullmatch(entry)
        if match:
            chip = int(match[3] or 0)
            first, second = (chip, int(match[1] or match[4])), (int(match[5] or chip), int(match[2] or match[6]))
            links.add((min(first, second), max(first, second)))
        else:
            findings.error(
                "NM004", f"`{entry}` names no link, and no file of that name exists" if where is None else f"`{entry}` names no link",
                where=where or "--dead-links", help=("name a link by a core at each end: `c3-c4`, `0:3-4`, or `0:3-1:0` between chips",),
            )
    findings.raise_errors()
    return tuple(sorted(links))


def build_options(
    *, bits: int | None = None, partitioner: str = "cpsat", effort: int = 1, seed: int = 0, chips: int | None = None,
    dead_cores: str | None = None, dead_links: str | None = None, slack: float = 0.05, approximate: str | None = None,
    steps: int | None = None, strict: bool = False, slowdown: int | None = None,
) -> Options:
    """Return the options of a run.

    Raises:
        NmapError: NM004, see `parse_dead_cores` and `parse_dead_links`, or a slack that is not a share.
    """
    from nmap.options import Options

    findings = Findings()
    dead: tuple[tuple[int, int], ...] = ()
    links: tuple[tuple[tuple[int, int], tuple[int, int]], ...] = ()
    try:
        dead = parse_dead_cores(dead_cores)
    except NmapError as error:
        findings.extend(error.diagnostics)
    try:
        links = parse_dead_links(dead_links)
    except NmapError as error:
        findings.extend(error.diagnostics)
    if not (isfinite(slack) and slack >= 0):
        findings.error("NM004", f"{slack} is not a slack", where="--slack", help=("give a share of cores, for example 0.05",))
    findings.raise_errors()
    return Options(
        bits=bits, partitioner=partitioner, effort=2 if effort == 2 else 1 if effort == 1 else 0, seed=seed, chips=chips, dead=dead,
        dead_links=links, slack=slack, approximate=parse_names(approximate), steps=steps, strict=strict,
        slowdown=slowdown,
    )


def parse_size(text: str) -> int:
    """Return a number of bytes from `1000000`, `512M` or `2G`; the units are powers of 1024.

    Raises:
        typer.BadParameter: not a positive size.
    """
    match = _SIZE.fullmatch(text.strip())
    power = "KMGT".index(match[2].upper()) + 1 if match and match[2] else 0
    size = int(float(match[1]) * 1024**power) if match else 0
    if size <= 0:
        raise typer.BadParameter(f"`{text}` is not a size: give bytes, or a number with K, M, G or T (512M, 2G)")
    return size


def split_targets(text: str, known: Iterable[str]) -> list[str]:
    """Return the targets of a comma-separated list, in order and once each; `all` stands for every installed one.

    Raises:
        NmapError: NM003 where no target is named or installed.
    """
    names: list[str] = []
    for name in (part.strip() for part in text.split(",")):
        names += known if name == "all" else [name] if name else []
    if not names:
        raise NmapError(Diagnostic("NM003", "error", "no target is named" if text.strip() != "all" else "no target is installed"))
    return list(dict.fromkeys(names))


NetArg = Annotated[Path, typer.Argument(metavar="NET", help="Network file: NIR, or lava-dl netx HDF5.", show_default=False)]
BundleArg = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder written by `nmap deploy`.", show_default=False)]
TargetOption = Annotated[
    str, typer.Option("--target", metavar="T[:VARIANT]", help="Chip family; `nmap targets` lists them.", show_default=False)
]
TargetsOption = Annotated[
    str, typer.Option("--target", metavar="T[,T2]|all", help="Chip families, or `all` for a comparison.", show_default=False)
]
OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="DIR", help="Bundle folder.  [default: build/NET.TARGET]", show_default=False)
]
JobsOption = Annotated[
    int | None, typer.Option("--jobs", metavar="N", min=1, show_default=False,
                             help="Threads of the emulator.  [default: the cores this process may use]")
]
MemoryOption = Annotated[
    int | None, typer.Option("--memory-limit", metavar="SIZE", parser=parse_size, show_default=False,
                             help="Memory that the process may take: 512M, 2G or bytes.")
]
SplitOption = Annotated[
    int, typer.Option("--split", metavar="N", min=1, show_default=False,
                      help="Threads of the emulator that share each sample: for single samples of very large networks. Not with --jobs.")
]
SchedulerOption = Annotated[
    str | None, typer.Option("--scheduler", metavar="ADDRESS", show_default=False,
                             help="Let the workers of this Dask scheduler do it: tcp://HOST:8786.")
]
InputOption = Annotated[
    Path | None, typer.Option("--input", metavar="FILE", help="Samples: .npz with `inputs` (samples, time, *shape), NIRData or events.",
                              show_default=False)
]
DtOption = Annotated[
    float | None, typer.Option("--dt", metavar="SECONDS", parser=parse_seconds, help="Time step: 0.001 or 1ms.", show_default=False)
]
ResetOption = Annotated[Reset | None, typer.Option("--reset", help="What a spike does to the membrane.", show_default=False)]
IntervalOption = Annotated[
    int | None, typer.Option("--reset-interval", metavar="N", min=1, show_default=False,
                             help="Clear the neurons' state every N steps of the input.")
]
OffsetOption = Annotated[
    int | None, typer.Option("--reset-offset", metavar="K", min=0, help="Input step at which that begins.", show_default=False)
]
FrameworkOption = Annotated[
    str | None, typer.Option("--source", metavar="FRAMEWORK", help="Framework that exported the file.", show_default=False)
]
BitsOption = Annotated[int | None, typer.Option("--bits", metavar="N", min=1, max=32, help="Weight bits.", show_default=False)]
PartitionerOption = Annotated[str, typer.Option("--partitioner", metavar="NAME", help="Algorithm for partition and placement.")]
EffortOption = Annotated[int, typer.Option("--effort", min=0, max=2, help="0 fast, 2 thorough: how much is searched, not how long.")]
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Seed of every random choice.")]
ChipsOption = Annotated[int | None, typer.Option("--chips", metavar="N", min=1, help="Number of chips.", show_default=False)]
DeadOption = Annotated[
    str | None, typer.Option("--dead-cores", metavar="LIST|FILE", show_default=False,
                             help="Cores not to use: c3,c17 or 0:3,1:17, a whole chip: 2:*; or a file, one per line.")
]
DeadLinksOption = Annotated[
    str | None, typer.Option("--dead-links", metavar="LIST|FILE", show_default=False,
                             help="Links not to use, by a core at each end: c3-c4, 0:3-4 or 0:3-1:0; or a file, one per line.")
]
SlackOption = Annotated[float, typer.Option("--slack", metavar="SHARE", min=0.0, help="Cores above the fewest that may buy less traffic.")]
SlowdownOption = Annotated[
    int | None, typer.Option("--slowdown", metavar="N", min=1, show_default=False,
                             help="Let the chip's steps last N times as long as the network's (SpiNNaker); chosen if left out.")
]
ApproximateOption = Annotated[
    str | None, typer.Option("--approximate", metavar="LIST", help="Features that may be approximate.", show_default=False)
]
StepsOption = Annotated[int | None, typer.Option("--steps", metavar="N", min=1, help="Time steps to run.", show_default=False)]
StopOption = Annotated[
    Stage | None,
    typer.Option("--stop-after", metavar="STAGE", help=f"One of {', '.join(stage.value for stage in Stage)}.", show_default=False),
]
VerifyOption = Annotated[bool, typer.Option("--verify/--no-verify", help="Compare the chip emulator with the references.")]
FromOption = Annotated[
    Path | None, typer.Option("--from", metavar="BUNDLE", help="Keep this earlier bundle's mapping as far as possible; says what moved.",
                              show_default=False)
]
KeepBestOption = Annotated[
    bool, typer.Option("--keep-best", help="The first Ctrl-C takes the best mapping so far; such a bundle is not reproducible.")
]
LockedOption = Annotated[bool, typer.Option("--locked", help="Fail when inputs, chip data or versions differ from nmap.lock.")]
StrictOption = Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How to print.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Only the verdict, errors and warnings.")]
VerboseOption = Annotated[bool, typer.Option("--verbose", "-v", help="Progress as lines, also without a terminal.")]
