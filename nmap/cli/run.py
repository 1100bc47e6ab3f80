"""`nmap run`: samples in, spikes out, at one of the three levels."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Annotated, Any

import typer

from nmap.cli import options as opt
from nmap.cli.serve import Progress, Reply, Screen, serve
from nmap.diagnostics import Diagnostic, NmapError

__all__ = ["run"]

_LevelOption = Annotated[
    opt.Level | None,
    typer.Option("--level", help="chip: emulator of the mapped program; fixed: quantized reference; float: the imported network.  "
                 "[default: chip for a bundle, float for a file]", show_default=False),
]
_ProbeOption = Annotated[
    list[str] | None,
    typer.Option("--probe", metavar="POP[:v|:u|:spikes]", help="Also record this population; may be given again.", show_default=False),
]
_RawOption = Annotated[bool, typer.Option("--raw-time", help="Keep the chip's own time; not realigned to the network's.")]


def run(
    context: typer.Context, source: opt.SourceArg, input: opt.NeededInput, level: _LevelOption = None, output: opt.SpikesOption = None,  # noqa: A002
    probe: _ProbeOption = None, steps: opt.StepsOption = None, raw_time: _RawOption = False, dt: opt.DtOption = None,
    reset: opt.ResetOption = None, framework: opt.FrameworkOption = None,
    reset_interval: opt.IntervalOption = None, reset_offset: opt.OffsetOption = None, strict: opt.StrictOption = False,
    format: opt.FormatOption = opt.Format.text, quiet: opt.QuietOption = False, verbose: opt.VerboseOption = False,  # noqa: A002
) -> None:
    """Run samples through a bundle or a network file and write the spikes. No level runs on a chip."""

    def work(screen: Screen, progress: Progress) -> Reply:
        from nmap import flow
        from nmap.report.json import run_to_json
        from nmap.report.text import run_text

        if output is not None:
            _check_place(output, source, input)
        result = flow.run(
            source, input=input, level=level.value if level else None, probes=tuple(probe or ()), steps=steps, raw_time=raw_time, dt=dt,
            reset=reset.value if reset else None, framework=framework, reset_interval=reset_interval, reset_offset=reset_offset,
            progress=progress,
        )
        if output is not None:
            _save(output, result.arrays)
        report = run_to_json(result, screen.command, None if output is None else str(output))
        return Reply(run_text(report), report, result.diagnostics, 0)

    serve(context, work, format=format, quiet=quiet, verbose=verbose, strict=strict)


def _check_place(path: Path, source: Path, samples: Path) -> None:
    """Refuse a place before the run whose result is to lie there."""
    why = _obstacle(path, [source, samples])
    if why is not None:
        raise _unwritable(path, why)


def _obstacle(path: Path, inputs: Sequence[Path]) -> str | None:
    """Say why a file cannot or must not be written, or return None."""
    from nmap.bundle import is_part

    try:
        found = path.stat()
    except FileNotFoundError:
        found = None
    except OSError as error:
        return f"{error.strerror}."
    place = Path(os.path.realpath(path))
    if found is None:
        return _folder_obstacle(place.parent)
    if stat.S_ISDIR(found.st_mode):
        return "It is a folder."
    if stat.S_ISBLK(found.st_mode) or stat.S_ISSOCK(found.st_mode):
        return "It is a disk." if stat.S_ISBLK(found.st_mode) else "It is a socket."
    for file in inputs:
        with suppress(OSError):
            if file.samefile(path):
                return f"It is `{file}`, which this run reads."
            if file.is_dir() and is_part(file, place):
                return f"It is a file of the bundle `{file}`, which this run reads."
    if not os.access(path, os.W_OK):
        return "You may not write to it."
    return _folder_obstacle(place.parent) if stat.S_ISREG(found.st_mode) else None


def _folder_obstacle(folder: Path) -> str | None:
    if not folder.is_dir():
        return f"`{folder}` is not a folder." if folder.exists() else f"The folder `{folder}` does not exist."
    return None if os.access(folder, os.W_OK | os.X_OK) else f"You may not write into `{folder}`."


def _save(path: Path, arrays: dict[str, Any]) -> None:
    """Write arrays to an .npz file, whole or not at all; links are followed, pipes and character devices are written through."""
    import numpy as np

    try:
        if path.exists() and not path.is_file():
            content = BytesIO()
            np.savez_compressed(content, **arrays)
            path.write_bytes(content.getbuffer())
            return
        place = Path(os.path.realpath(path))
        scratch = place.with_name(f".nmap-{secrets.token_hex(8)}.new")
        stream = scratch.open("xb")
        try:
            with stream:
                np.savez_compressed(stream, **arrays)
            scratch.replace(place)
        except BaseException:
            with suppress(OSError):
                scratch.unlink()
            raise
    except OSError as error:
        raise _unwritable(path, f"{error.strerror or error}.") from error


def _unwritable(path: Path, why: str) -> NmapError:
    return NmapError(Diagnostic("NM601", "error", f"`{path}` cannot be written", "--output", why))
