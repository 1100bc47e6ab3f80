"""`nmap inspect`: what is in a network file, what was assumed, what is odd."""

from __future__ import annotations

import typer

from nmap.cli import options as opt
from nmap.cli.replies import inspection_reply
from nmap.cli.serve import Progress, Reply, Screen, serve

__all__ = ["inspect"]


def inspect(
    context: typer.Context, net: opt.NetArg, dt: opt.DtOption = None, reset: opt.ResetOption = None, source: opt.FrameworkOption = None,
    reset_interval: opt.IntervalOption = None, reset_offset: opt.OffsetOption = None,
    strict: opt.StrictOption = False, format: opt.FormatOption = opt.Format.text, quiet: opt.QuietOption = False,  # noqa: A002
    verbose: opt.VerboseOption = False,
) -> None:
    """Show what is in a network file, which conventions were assumed and why, and what is odd."""

    def work(screen: Screen, progress: Progress) -> Reply:
        from nmap import flow

        return inspection_reply(flow.inspect(
            net, dt=dt, reset=reset.value if reset else None, source=source,
            reset_interval=reset_interval, reset_offset=reset_offset, command=screen.command, progress=progress,
        ))

    serve(context, work, format=format, quiet=quiet, verbose=verbose, strict=strict)
