"""Damage network files for minutes, read them in watched processes, and tell what came of it.

    python benchmarks/fuzz_readers.py --minutes 10                    every network in ../shared/data, and small built ones
    python benchmarks/fuzz_readers.py --minutes 10 net.nir net.net    your own files
    python benchmarks/fuzz_readers.py --first 100000                  other mutations than last time

Prints a table: per seed file its mutations, how many are networks, refusals by code, the slowest, peak memory, and faults (tracebacks,
crashes, hangs). Faulty files are kept in a folder, with the command that repeats each. Exit status 1 if there is one.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
# By its folder: an installed package may be called `tests` too.
sys.path.insert(0, str(ROOT / "tests" / "property"))

import fuzzing  # noqa: E402


def tasks(seeds: list[Path], first: int, until: float) -> Iterator[tuple[Path, int]]:
    """Yield mutations of each file in turn until the time has come."""
    number = first
    while True:
        for seed in seeds:
            if time.monotonic() > until:
                return
            yield seed, number
        number += 1


def summary(results: list[fuzzing.Result]) -> tuple[str, ...]:
    """Return the cells of a row: mutations, networks, refusals by code, the slowest, peak memory, faults."""
    codes = collections.Counter(code for r in results for code in r.outcome if code != "network")
    slowest = max(results, key=lambda r: r.seconds)
    return (
        str(len(results)),
        str(sum(r.outcome == ["network"] for r in results)),
        " ".join(f"{code[2:]}:{count}" for code, count in sorted(codes.items())),
        f"{slowest.seconds:.2f} (#{slowest.number})",
        f"{max(r.peak for r in results) / 2**20:.0f}",
        str(sum(r.fault is not None for r in results)),
    )


def main() -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILES")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--processes", type=int, default=2, help="how many at a time (default 2)")
    parser.add_argument("--first", type=int, default=100_000, help="number of the first mutation (default 100000)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-faults"), help="folder for faulty files (default fuzz-faults)")
    args = parser.parse_args()
    data, console = ROOT.parent / "shared" / "data", Console(width=None if sys.stdout.isatty() else 160)
    found: dict[Path, list[fuzzing.Result]] = collections.defaultdict(list)
    kept: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as scratch:
        seeds = args.files or [
            *fuzzing.build_seeds(Path(scratch)),
            *sorted([*data.glob("nir/*.nir"), *data.glob("trained/*.nir"), *data.glob("lava_dl/*.net")]),
        ]
        for result in fuzzing.run(tasks(seeds, args.first, time.monotonic() + 60 * args.minutes), args.processes):
            found[result.seed].append(result)
            if result.fault is None:
                continue
            reason = result.fault.strip().splitlines()[-1]
            kept[reason] += 1
            # The first of a kind is enough to look into.
            if kept[reason] <= 3:
                args.keep.mkdir(parents=True, exist_ok=True)
                mutant = args.keep / f"{result.seed.stem}-{result.number}{result.seed.suffix}"
                mutant.write_bytes(fuzzing.mutant(result.seed.read_bytes(), result.number))
                mutant.with_suffix(".txt").write_text(f"{result.replay}\n\n{result.fault}\n")
                console.print(f"{mutant}: {reason}", markup=False, soft_wrap=True)
    table = Table("file", "mutations", "networks", "refusals (NM)", "slowest s", "peak MiB", "faults")
    for seed in seeds:
        if found[seed]:
            table.add_row(seed.name, *summary(found[seed]))
    every = [r for results in found.values() for r in results]
    if every:
        table.add_section()
        table.add_row("all", *summary(every))
    console.print(table)
    for reason, count in kept.most_common():
        console.print(f"{count} times: {reason}", markup=False, soft_wrap=True)
    return 1 if kept else 0


if __name__ == "__main__":
    sys.exit(main())
