"""`nmap run`: samples in, spikes out, at one of the three levels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nmap.cli import options as opt
from nmap.cli.serve import Progress, Reply, Screen, serve

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
_STREAMED = frozenset({".h5", ".hdf5"})
_RawOption = Annotated[bool, typer.Option("--raw-time", help="Keep the chip's own time; not realigned to the network's.")]


def run(
    context: typer.Context, source: opt.SourceArg, input: opt.NeededInput, level: _LevelOption = None, output: opt.SpikesOption = None,  # noqa: A002
    probe: _ProbeOption = None, steps: opt.StepsOption = None, raw_time: _RawOption = False, dt: opt.DtOption = None,
    reset: opt.ResetOption = None, framework: opt.FrameworkOption = None,
    reset_interval: opt.IntervalOption = None, reset_offset: opt.OffsetOption = None, jobs: opt.JobsOption = None,
    split: opt.SplitOption = 1, memory_limit: opt.MemoryOption = None, scheduler: opt.SchedulerOption = None,
    strict: opt.StrictOption = False, format: opt.FormatOption = opt.Format.text, quiet: opt.QuietOption = False,  # noqa: A002
    verbose: opt.VerboseOption = False,
) -> None:
    """Run samples through a bundle or a network file and write the spikes. No level runs on a chip."""

    def work(screen: Screen, progress: Progress) -> Reply:
        from nmap import flow
        from nmap.report.json import run_to_json
        from nmap.report.text import run_text
        from nmap.writers.place import check_place

        if output is not None:
            check_place(output, [source, input])
        streamed = output is not None and output.suffix.lower() in _STREAMED
        result = flow.run(
            source, input=input, level=level.value if level else None, probes=tuple(probe or ()), steps=steps, raw_time=raw_time, dt=dt,
            reset=reset.value if reset else None, framework=framework, reset_interval=reset_interval, reset_offset=reset_offset,
            jobs=jobs, split=split, memory_limit=memory_limit, scheduler=scheduler, output=output if streamed else None,
            keep=output is not None and not streamed, progress=progress,
        )
        if output is not None and not streamed:
            _save(output, result.arrays)
        report = run_to_json(result, screen.command, None if output is None else str(output))
        return Reply(run_text(report), report, result.diagnostics, 0, run_text(report, brief=True).rstrip("\n"))

    serve(context, work, format=format, quiet=quiet, verbose=verbose, strict=strict)


def _save(path: Path, arrays: dict[str, Any]) -> None:
    from nmap.writers.archive import write_archive
    from nmap.writers.place import write_file

    write_file(path, lambda stream: write_archive(stream, arrays))
