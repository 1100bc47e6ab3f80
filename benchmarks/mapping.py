"""How good nmap's mapping is, against baselines, bounds and the best known values; and mapping of single problems from a file.

    python benchmarks/mapping.py                                      everything below, one after the other
    python benchmarks/mapping.py suite [NAME ...] [--quick]           networks: partition and placement
    python benchmarks/mapping.py placement [NAME ...]                 placement problems
    python benchmarks/mapping.py packing                              core counts of random sets of populations
    python benchmarks/mapping.py scale                                networks with millions of neurons
    python benchmarks/mapping.py dead [NAME ...]                      with 5 % of the cores dead
    python benchmarks/mapping.py baselines [NAME ...]                 the baselines alone, against their published values
    python benchmarks/mapping.py generate NAME -o PROBLEM.npz         write one of the suite's problems
    python benchmarks/mapping.py solve PROBLEM.npz -o SOLUTION.npz    answer a problem in either neutral format
    python benchmarks/mapping.py score PROBLEM.npz SOLUTION.npz       score an answer

docs/mapping.md describes the formats and how to read the numbers.
Exit status: 0 done, 1 infeasible (or a bar was missed), 2 bad file or option, 5 no answer found, 130 interrupted.
"""

from __future__ import annotations

import time

_BEGIN = time.process_time()

import argparse  # noqa: E402
import json  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

OK, INFEASIBLE, USAGE, UNKNOWN, BUG, INTERRUPTED = 0, 1, 2, 5, 70, 130


def _whole(text: str) -> int:
    value = int(text)
    if not 0 <= value < 2**32:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 2^32")
    return value


def _times(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not between 1 and 100")
    return value


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 10:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 10")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command")
    effort = argparse.ArgumentParser(add_help=False)
    effort.add_argument("--effort", type=int, choices=(0, 1, 2), default=1, help="0 quick, 1 default, 2 best")
    effort.add_argument("--seed", type=_whole, default=0, help="of all random choices (default 0)")
    effort.add_argument("--partitioner", default="cpsat", help="plug-in that answers (default cpsat)")
    folder = argparse.ArgumentParser(add_help=False)
    folder.add_argument("--problems", type=Path, metavar="FOLDER", help="keep the generated problems there, and use those that are there")
    slack = argparse.ArgumentParser(add_help=False)
    slack.add_argument("--slack", type=_share, default=0.05, help="share of cores beyond the fewest, for less traffic (default 0.05)")
    one = commands.add_parser("solve", parents=[effort, slack], help="answer a problem in either neutral format")
    one.add_argument("problem", type=Path)
    one.add_argument("-o", "--output", type=Path, required=True, metavar="SOLUTION.npz")
    one.add_argument("--from", type=Path, dest="previous", metavar="SOLUTION.npz", help="start from an earlier answer's partition")
    one.add_argument("--keep-best", action="store_true", help="on Ctrl-C write the best answer so far")
    one.add_argument("--progress", action="store_true", help="say on standard error how far it is")
    score = commands.add_parser("score", help="score an answer")
    score.add_argument("problem", type=Path)
    score.add_argument("solution", type=Path)
    made = commands.add_parser("generate", help="write one of the suite's problems")
    made.add_argument("name")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="PROBLEM.npz")
    made.add_argument("--seed", type=_whole, help="another problem of the same kind")
    suite = commands.add_parser("suite", parents=[effort, slack, folder], help="networks: partition and placement")
    suite.add_argument("names", nargs="*")
    suite.add_argument("--quick", action="store_true", help="only the four small networks")
    suite.add_argument("--repeat", type=_times, default=1, metavar="N", help="solve with N seeds and take medians")
    placement = commands.add_parser("placement", parents=[effort, folder], help="placement problems")
    placement.add_argument("names", nargs="*")
    placement.add_argument("--repeat", type=_times, default=1, metavar="N", help="solve with N seeds and take medians")
    commands.add_parser("packing", parents=[effort], help="core counts of random sets of populations")
    commands.add_parser("scale", parents=[effort], help="networks with millions of neurons")
    dead = commands.add_parser("dead", parents=[effort, slack, folder], help="with 5 %% of the cores dead")
    dead.add_argument("names", nargs="*")
    base = commands.add_parser("baselines", parents=[folder], help="the baselines alone, against their published values")
    base.add_argument("names", nargs="*")
    return parser


def _fail(message: str, status: int = USAGE) -> int:
    print(f"error: {message}", file=sys.stderr)
    return status


def _solve(args: argparse.Namespace) -> int:
    import neutral
    import solving

    from nmap.partition.partitioner import Budget

    try:
        problem = neutral.read_problem(args.problem)
    except neutral.BadFileError as error:
        return _fail(f"{args.problem}: {error}")
    previous = None
    if args.previous is not None:
        try:
            previous = neutral.read_solution(args.previous)[0]
        except neutral.BadFileError as error:
            return _fail(f"{args.previous}: {error}")
        if not isinstance(problem, neutral.NeutralPartition) or previous is None or previous.shape != (problem.n,):
            return _fail(f"{args.previous}: not an answer to a partition problem with as many neurons as {args.problem}")
    if args.output.is_dir() or not args.output.parent.is_dir():
        return _fail(f"{args.output} cannot be written")
    try:
        plugin = solving.find(args.partitioner)
    except solving.NoSuchPartitionerError as error:
        return _fail(str(error))
    say = (lambda text: print(text, file=sys.stderr, flush=True)) if args.progress else None
    with solving.compiling() as compiled:
        if args.keep_best:
            with solving.interruptible() as stopped:
                outcome = solving.solve(problem, plugin, Budget(args.effort, args.seed, say, stopped), args.slack, previous)
        else:
            outcome = solving.solve(problem, plugin, Budget(args.effort, args.seed, say), args.slack, previous)
        compile_seconds = compiled()
    if outcome.xy is not None:
        try:
            neutral.save(args.output, (outcome.part, outcome.xy))
        except OSError as error:
            return _fail(f"{args.output} cannot be written: {error}")
    told = {
        "problem": args.problem.name, **outcome.numbers(), "partitioner": args.partitioner, "effort": args.effort, "seed": args.seed,
        "slack": args.slack, "cpu_seconds": round(time.process_time() - _BEGIN - compile_seconds, 3),
        "compile_seconds": round(compile_seconds, 3),
    }
    print(json.dumps(told))
    if outcome.xy is not None:
        return OK
    return _fail(f"{args.problem}: {outcome.status}: {outcome.reason}", INFEASIBLE if outcome.status == "infeasible" else UNKNOWN)


def _score(args: argparse.Namespace) -> int:
    import neutral

    try:
        path = args.problem
        problem = neutral.read_problem(path)
        path = args.solution
        part, xy = neutral.read_solution(path)
    except neutral.BadFileError as error:
        return _fail(f"{path}: {error}")
    if isinstance(problem, neutral.NeutralPlacement):
        score = neutral.score_placement(problem, xy)
    elif part is None:
        return _fail(f"{args.solution}: array `part` is missing")
    else:
        score = neutral.score_partition(problem, part, xy)
    print(json.dumps({
        "feasible": not score.errors, "errors": score.errors, "cores": score.cores, "packets": score.packets, "unicast_hops": score.unicast,
        "multicast_hops": score.multicast, "max_hop": score.longest, "max_link": score.link,
    }))
    return INFEASIBLE if score.errors else OK


def _generate(args: argparse.Namespace) -> int:
    import instances
    import neutral

    try:
        problem = instances.make(args.name, args.seed)
    except KeyError:
        return _fail(f"no problem `{args.name}`; there are {', '.join([*instances.NETWORKS, *instances.PLACEMENTS])}")
    try:
        neutral.save(args.output, problem)
    except OSError as error:
        return _fail(f"{args.output} cannot be written: {error}")
    return OK


def main(arguments: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    own = {"solve": _solve, "score": _score, "generate": _generate}
    try:
        if args.command in own:
            return own[args.command](args)
        import comparison

        if args.command is not None:
            return comparison.run(args)
        return max(comparison.run(parser.parse_args([name])) for name in ("baselines", "placement", "suite", "dead", "packing", "scale"))
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was written" if args.command == "solve" else "interrupted", INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
