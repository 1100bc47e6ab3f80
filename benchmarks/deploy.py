"""Time `nmap deploy` as a user meets it: whole processes, cold (empty compile cache) and warm, and the emulator against the reference.

    python benchmarks/deploy.py                                    the shipped example
    python benchmarks/deploy.py NET SAMPLES [NET SAMPLES ...]      your own networks

Prints a table: cold and warm wall seconds (median of the warm runs), peak memory, and the ratio of the plain reference's time to the
emulator's on the same samples in the same process.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "digits"


def deploy(net: Path, samples: Path, folder: Path, cache: Path) -> tuple[float, float]:
    """Return wall seconds and peak memory in MiB of one deployment, with the vendor's simulator where it is installed."""
    command = [sys.executable, "-m", "nmap.cli", "deploy", str(net), "--target", "loihi2", "--input", str(samples), "-o", str(folder), "-q"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    start = time.perf_counter()
    subprocess.run(command, check=True, env={**os.environ, "NUMBA_CACHE_DIR": str(cache)}, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - start
    return wall, max(before, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def levels(bundle: Path, samples: Path, runs: int) -> float:
    """Return the reference's time over the emulator's, medians, second and later runs."""
    from nmap import flow

    times: dict[str, list[float]] = {"chip": [], "fixed": []}
    for _ in range(runs + 1):
        for level, taken in times.items():
            taken.append(flow.run(bundle, input=samples, level=level).timings[level])
    return statistics.median(times["fixed"][1:]) / statistics.median(times["chip"][1:])


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="NET SAMPLES")
    parser.add_argument("--runs", type=int, default=3, help="warm runs (default 3)")
    args = parser.parse_args()
    files = args.files or [EXAMPLE / "net.h5", EXAMPLE / "samples.npz"]
    if len(files) % 2:
        parser.error("give every network its samples")
    table = Table("network", "cold s", "warm s", "peak MiB", "reference / emulator")
    for net, samples in zip(files[::2], files[1::2], strict=True):
        with tempfile.TemporaryDirectory() as scratch:
            folder, cache = Path(scratch) / "bundle", Path(scratch) / "cache"
            cold, _ = deploy(net, samples, folder, cache)
            warm = [deploy(net, samples, folder, cache) for _ in range(args.runs)]
            ratio = levels(folder, samples, args.runs)
        wall = statistics.median(seconds for seconds, _ in warm)
        table.add_row(net.name, f"{cold:.1f}", f"{wall:.1f}", f"{max(peak for _, peak in warm):.0f}", f"{ratio:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
