"""`nmap verify`: check a bundle again, on other samples or against one reference."""

from __future__ import annotations

from typing import Annotated

import typer

from nmap.cli import options as opt
from nmap.cli.replies import outcome_reply
from nmap.cli.serve import Progress, Reply, Screen, serve

__all__ = ["verify"]

_AgainstOption = Annotated[
    opt.Against | None, typer.Option("--against", help="Compare with this alone; all of them by default.", show_default=False)
]


def verify(
    context: typer.Context, bundle: opt.BundleArg, input: opt.InputOption = None, against: _AgainstOption = None,  # noqa: A002
    steps: opt.StepsOption = None, jobs: opt.JobsOption = None, split: opt.SplitOption = 1, memory_limit: opt.MemoryOption = None,
    scheduler: opt.SchedulerOption = None, strict: opt.StrictOption = False, format: opt.FormatOption = opt.Format.text,  # noqa: A002
    quiet: opt.QuietOption = False, verbose: opt.VerboseOption = False,
) -> None:
    """Compare a bundle's chip emulation with the fixed-point reference, the float network and the vendor's simulator."""

    def work(screen: Screen, progress: Progress) -> Reply:
        from nmap import flow

        return outcome_reply(flow.verify(
            bundle, input=input, against=against.value if against else None, steps=steps, jobs=jobs,
            split=split, memory_limit=memory_limit, scheduler=scheduler, command=screen.command, strict=strict, progress=progress,
        ))

    serve(context, work, format=format, quiet=quiet, verbose=verbose, strict=strict)
