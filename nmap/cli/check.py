"""`nmap check`: does the network fit, and what limits it; writes nothing."""

from __future__ import annotations

import typer

from nmap.cli import options as opt
from nmap.cli.replies import comparison_reply, outcome_reply
from nmap.cli.serve import Progress, Reply, Screen, serve

__all__ = ["check"]


def check(
    context: typer.Context, net: opt.NetArg, target: opt.TargetsOption, input: opt.InputOption = None, dt: opt.DtOption = None,  # noqa: A002
    reset: opt.ResetOption = None, source: opt.FrameworkOption = None,
    reset_interval: opt.IntervalOption = None, reset_offset: opt.OffsetOption = None, bits: opt.BitsOption = None,
    approximate: opt.ApproximateOption = None, partitioner: opt.PartitionerOption = "cpsat", effort: opt.EffortOption = 1,
    seed: opt.SeedOption = 0, slack: opt.SlackOption = 0.05, chips: opt.ChipsOption = None, dead_cores: opt.DeadOption = None,
    dead_links: opt.DeadLinksOption = None, steps: opt.StepsOption = None, slowdown: opt.SlowdownOption = None,
    strict: opt.StrictOption = False,
    format: opt.FormatOption = opt.Format.text, quiet: opt.QuietOption = False, verbose: opt.VerboseOption = False,  # noqa: A002
) -> None:
    """Report whether the network fits; several targets (or `all`) give a comparison table. Writes nothing."""

    def work(screen: Screen, progress: Progress) -> Reply:
        from nmap import flow
        from nmap.target.registry import target_names

        chosen = opt.build_options(
            bits=bits, partitioner=partitioner, effort=effort, seed=seed, chips=chips, dead_cores=dead_cores,
            dead_links=dead_links, slack=slack, approximate=approximate, steps=steps, strict=strict, slowdown=slowdown,
        )
        names = opt.split_targets(target, target_names())
        outcomes = flow.check(
            net, targets=names, options=chosen, dt=dt, reset=reset.value if reset else None, source=source,
            reset_interval=reset_interval, reset_offset=reset_offset, input=input,
            command=screen.command, progress=progress,
        )
        return outcome_reply(outcomes[0]) if len(outcomes) == 1 else comparison_reply(outcomes, names, screen.command)

    serve(context, work, format=format, quiet=quiet, verbose=verbose, strict=strict)
