"""`nmap deploy`: a network file becomes a bundle."""

from __future__ import annotations

import typer

from nmap.cli import options as opt
from nmap.cli.interrupt import FirstInterrupt
from nmap.cli.replies import outcome_reply
from nmap.cli.serve import Progress, Reply, Screen, serve
from nmap.diagnostics import Diagnostic, NmapError

__all__ = ["deploy"]


def deploy(
    context: typer.Context, net: opt.NetArg, target: opt.TargetOption, output: opt.OutputOption = None, input: opt.InputOption = None,  # noqa: A002
    dt: opt.DtOption = None, reset: opt.ResetOption = None, source: opt.FrameworkOption = None,
    reset_interval: opt.IntervalOption = None, reset_offset: opt.OffsetOption = None, bits: opt.BitsOption = None,
    approximate: opt.ApproximateOption = None, partitioner: opt.PartitionerOption = "cpsat", effort: opt.EffortOption = 1,
    seed: opt.SeedOption = 0, slack: opt.SlackOption = 0.05, chips: opt.ChipsOption = None, dead_cores: opt.DeadOption = None,
    dead_links: opt.DeadLinksOption = None, from_: opt.FromOption = None, keep_best: opt.KeepBestOption = False,
    steps: opt.StepsOption = None, stop_after: opt.StopOption = None, verify: opt.VerifyOption = True, jobs: opt.JobsOption = None,
    memory_limit: opt.MemoryOption = None, locked: opt.LockedOption = False, slowdown: opt.SlowdownOption = None,
    strict: opt.StrictOption = False, format: opt.FormatOption = opt.Format.text, quiet: opt.QuietOption = False,  # noqa: A002
    verbose: opt.VerboseOption = False,
) -> None:
    """Read, check, quantize, partition, place, route, emit and verify; writes a bundle."""

    def work(screen: Screen, progress: Progress) -> Reply:
        from nmap import flow

        if "," in target:
            raise NmapError(Diagnostic(
                "NM004", "error", "a network is deployed to one target", "--target",
                help=(f"compare several: nmap check {net} --target {target}",),
            ))
        chosen = opt.build_options(
            bits=bits, partitioner=partitioner, effort=effort, seed=seed, chips=chips, dead_cores=dead_cores,
            dead_links=dead_links, slack=slack, approximate=approximate, steps=steps, strict=strict, slowdown=slowdown,
        )
        outcome = flow.deploy(
            net, target=target, options=chosen, dt=dt, reset=reset.value if reset else None, source=source,
            reset_interval=reset_interval, reset_offset=reset_offset, input=input, output=output,
            verify=verify, stop_after=stop_after.value if stop_after else None, locked=locked, from_bundle=from_,
            keep_best=FirstInterrupt() if keep_best else None, jobs=jobs, memory_limit=memory_limit, progress=progress,
            command=screen.command,
        )
        return outcome_reply(outcome, writes=True)

    serve(context, work, format=format, quiet=quiet, verbose=verbose, strict=strict)
