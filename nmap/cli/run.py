"""`nmap run`: samples in, spikes out, at one of the three levels."""

from __future__ import annotations

from contextlib import suppress
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
    reset: opt.ResetOption = None, framework: opt.FrameworkOption = None, strict: opt.StrictOption = False,
    format: opt.FormatOption = opt.Format.text, quiet: opt.QuietOption = False, verbose: opt.VerboseOption = False,  # noqa: A002
) -> None:
    """Run samples through a bundle or a network file and write the spikes. No level runs on a chip."""

    def work(screen: Screen, progress: Progress) -> Reply:
        from nmap import flow
        from nmap.report.json import run_to_json
        from nmap.report.text import run_text

        if output is not None:
            _check_place(output)
        result = flow.run(
            source, input=input, level=level.value if level else None, probes=tuple(probe or ()), steps=steps, raw_time=raw_time, dt=dt,
            reset=reset.value if reset else None, framework=framework, progress=progress,
        )
        if output is not None:
            _save(output, {"spikes": result.spikes, "counts": result.counts, **result.probes})
        report = run_to_json(result, screen.command, None if output is None else str(output))
        return Reply(run_text(report), report, result.diagnostics, 0)

    serve(context, work, format=format, quiet=quiet, verbose=verbose, strict=strict)


def _check_place(path: Path) -> None:
    """Refuse a place before the run whose result is to lie there."""
    if path.is_dir() or not path.parent.is_dir():
        why = "It is a folder." if path.is_dir() else f"`{path.parent}` is not a folder."
        raise NmapError(Diagnostic("NM601", "error", f"`{path}` cannot be written", "--output", why))


def _save(path: Path, arrays: dict[str, Any]) -> None:
    """Write arrays to an .npz file, whole or not at all."""
    import numpy as np

    scratch = path.with_name(f".{path.name}.new")
    try:
        with scratch.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
        scratch.replace(path)
    except OSError as error:
        raise NmapError(Diagnostic("NM601", "error", f"`{path}` cannot be written", "--output", error.strerror)) from error
    finally:
        with suppress(OSError):
            scratch.unlink()
