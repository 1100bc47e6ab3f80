"""`nmap export`: a quantized network as a file of the vendor's own tools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from nmap.cli import options as opt
from nmap.cli.replies import outcome_reply
from nmap.cli.serve import Progress, Reply, Screen, serve

__all__ = ["export"]

_SourceArg = Annotated[
    Path, typer.Argument(metavar="NET|BUNDLE", help="Network file, or a folder written by `nmap deploy`.", show_default=False)
]
_TargetOption = Annotated[
    str | None, typer.Option("--target", metavar="T", help="Chip family, for a network file; a bundle has its own.", show_default=False)
]
_FileFormatOption = Annotated[str, typer.Option("--format", metavar="NAME", help="File format: netx (lava-dl's .net).")]
_PrintOption = Annotated[opt.Format, typer.Option("--print", help="How to print.")]
_FileOption = Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write.", show_default=False)]
_CheckOption = Annotated[bool, typer.Option("--verify/--no-verify", help="Read the file back and compare its spikes.")]


def export(
    context: typer.Context, source: _SourceArg, output: _FileOption, target: _TargetOption = None, format: _FileFormatOption = "netx",  # noqa: A002
    input: opt.InputOption = None, dt: opt.DtOption = None, reset: opt.ResetOption = None,  # noqa: A002
    reset_interval: opt.IntervalOption = None, reset_offset: opt.OffsetOption = None, framework: opt.FrameworkOption = None,
    bits: opt.BitsOption = None, approximate: opt.ApproximateOption = None, steps: opt.StepsOption = None, verify: _CheckOption = True,
    strict: opt.StrictOption = False, printed: _PrintOption = opt.Format.text, quiet: opt.QuietOption = False,
    verbose: opt.VerboseOption = False,
) -> None:
    """Write a quantized network as a file of the vendor's own tools. It is read back and compared before it is written."""

    def work(screen: Screen, progress: Progress) -> Reply:
        from nmap import flow
        from nmap.writers.place import check_place, write_file

        check_place(output, [path for path in (source, input) if path is not None])
        chosen = None
        if not source.is_dir() or not (bits is None and approximate is None and steps is None):
            chosen = opt.build_options(bits=bits, approximate=approximate, steps=steps, strict=strict)
        made = flow.export(
            source, format=format, target=target, options=chosen, dt=dt, reset=reset.value if reset else None, framework=framework,
            reset_interval=reset_interval, reset_offset=reset_offset, input=input, verify=verify, strict=strict, progress=progress,
            command=screen.command,
        )
        content = made.content
        if content is None:
            return replace(outcome_reply(made.outcome), written=False)
        write_file(output, lambda stream: stream.write(content))
        # The bundle is where the network came from, not what was written.
        reply = outcome_reply(replace(made.outcome, written=(str(output),), bundle=None))
        return replace(reply, text=f"{reply.text}\nWrote {output}\n")

    serve(context, work, format=printed, quiet=quiet, verbose=verbose, strict=strict)
