"""`nmap run`: samples in, spikes out, at one of the three levels."""

from __future__ import annotations

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
    typer.Option("--probe", metavar="POP[:v|:u|:spikes]", show_default=False,
                 help="Also record this population; may be given again. Of a model: `all`, the spikes of every neuron."),
]
_SourceArg = Annotated[
    Path, typer.Argument(metavar="BUNDLE|NET|MODEL", show_default=False,
                         help="Folder written by `nmap deploy`, a network file, or with --target a model file of the chip's own tools.")
]
_InputOption = Annotated[
    Path | None, typer.Option("--input", metavar="FILE", show_default=False,
                              help="Samples: .npz with `inputs` (samples, time, *shape), NIRData or events. Of a model: its spike file.")
]
_TargetOption = Annotated[
    str | None, typer.Option("--target", metavar="T[:VARIANT]", help="Run a model file of this chip's own tools.", show_default=False)
]
_OutputOption = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="OUT.npz|OUT.h5", show_default=False,
                              help="File for spikes and probes; .h5 is written as the samples run, however many there are. Of a model: "
                              ".npz with `events` (tick, core, neuron), or a spike file of the chip's tools.")
]
_SeedOption = Annotated[
    int | None, typer.Option("--seed", metavar="N", min=0, help="Seed of a model's random modes.  [default: 0]", show_default=False)
]
_STREAMED = frozenset({".h5", ".hdf5"})
_RawOption = Annotated[bool, typer.Option("--raw-time", help="Keep the chip's own time; not realigned to the network's.")]


def run(
    context: typer.Context, source: _SourceArg, input: _InputOption = None, target: _TargetOption = None,  # noqa: A002
    level: _LevelOption = None, output: _OutputOption = None, probe: _ProbeOption = None, steps: opt.StepsOption = None,
    seed: _SeedOption = None, raw_time: _RawOption = False, dt: opt.DtOption = None, reset: opt.ResetOption = None,
    framework: opt.FrameworkOption = None, reset_interval: opt.IntervalOption = None, reset_offset: opt.OffsetOption = None,
    jobs: opt.JobsOption = None, split: opt.SplitOption = 1, memory_limit: opt.MemoryOption = None, scheduler: opt.SchedulerOption = None,
    strict: opt.StrictOption = False, format: opt.FormatOption = opt.Format.text, quiet: opt.QuietOption = False,  # noqa: A002
    verbose: opt.VerboseOption = False,
) -> None:
    """Run samples through a bundle or a network file and write the spikes. No level runs on a chip.

    With --target, run a model file of a chip's own tools on nmap's emulator of that chip.
    """
    conventions: dict[str, Any] = {
        "level": level.value if level else None, "raw_time": raw_time, "dt": dt, "reset": reset.value if reset else None,
        "framework": framework, "reset_interval": reset_interval, "reset_offset": reset_offset, "split": split,
        "memory_limit": memory_limit, "scheduler": scheduler,
    }

    def model(screen: Screen, progress: Progress) -> Reply:
        from nmap.models import refuse_options, run_model
        from nmap.report.json import model_to_json
        from nmap.report.text import model_text

        refuse_options(source, **conventions)
        assert target is not None
        result = run_model(
            source, target=target, input=input, steps=steps, probes=tuple(probe or ()), seed=seed or 0, jobs=jobs, output=output,
            progress=progress,
        )
        report = model_to_json(result, screen.command, None if output is None else str(output))
        return Reply(model_text(report), report, result.diagnostics, 0, model_text(report, brief=True).rstrip("\n"))

    def work(screen: Screen, progress: Progress) -> Reply:
        from nmap import flow
        from nmap.report.json import run_to_json
        from nmap.report.text import run_text
        from nmap.writers.place import check_place

        if seed is not None:
            raise NmapError(Diagnostic("NM004", "error", "nothing in a bundle or a network is random: no seed is needed", "--seed"))
        if input is None:
            raise NmapError(Diagnostic("NM004", "error", "Missing option '--input'", help=("nmap run --help lists what it takes",)))
        if output is not None:
            check_place(output, [source, input])
        streamed = output is not None and output.suffix.lower() in _STREAMED
        try:
            result = flow.run(
                source, input=input, probes=tuple(probe or ()), steps=steps, jobs=jobs, output=output if streamed else None,
                keep=output is not None and not streamed, progress=progress, **conventions,
            )
        except NmapError as error:
            from nmap.models import mention_target

            raise mention_target(error, source) from error
        if output is not None and not streamed:
            _save(output, result.arrays)
        report = run_to_json(result, screen.command, None if output is None else str(output))
        return Reply(run_text(report), report, result.diagnostics, 0, run_text(report, brief=True).rstrip("\n"))

    serve(context, work if target is None else model, format=format, quiet=quiet, verbose=verbose, strict=strict)


def _save(path: Path, arrays: dict[str, Any]) -> None:
    from nmap.writers.archive import write_archive
    from nmap.writers.place import write_file

    write_file(path, lambda stream: write_archive(stream, arrays))
