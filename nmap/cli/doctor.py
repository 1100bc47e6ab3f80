"""`nmap doctor`: is everything there that nmap needs."""

from __future__ import annotations

import typer

from nmap.cli import options as opt
from nmap.cli.serve import Progress, Reply, Screen, serve

__all__ = ["doctor"]


def doctor(
    context: typer.Context, format: opt.FormatOption = opt.Format.text, quiet: opt.QuietOption = False,  # noqa: A002
    verbose: opt.VerboseOption = False,
) -> None:
    """Check interpreter, packages, solver, caches, plug-ins, vendors' software and names taken twice."""

    def work(screen: Screen, progress: Progress) -> Reply:
        from nmap.doctor import diagnose, exit_status, to_json, to_text

        progress("doctor", "looking")
        checks = diagnose()
        text = to_text(checks)
        return Reply(text, to_json(checks, screen.command), (), int(exit_status(checks)), text.rstrip().rpartition("\n")[2])

    serve(context, work, format=format, quiet=quiet, verbose=verbose)
