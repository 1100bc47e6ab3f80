"""Time the emulator of TrueNorth's model files: a whole chip, 4096 cores of 256 x 256, half of the crossbar set, 1 % of the axons active.

    python benchmarks/truenorth.py                            # all workloads, one thread and two
    python benchmarks/truenorth.py recurrent --threads 1,2,4  # those whose name begins with one of the words

Workloads: `recurrent`, where every neuron has an axon of its own elsewhere on the chip and fires every hundredth tick or so by its leak;
`driven`, where spikes come from outside and every neuron is an output. With `-own` each neuron has its own weights, threshold and floor;
without, all are alike, as in the chip's published recurrent networks, so that their parameters stay in the fastest cache.

For each: ticks per second, median and best of several runs, in which all numbers of threads take turns; the ticks of a short run are taken
away from those of a long one, so that making ready does not count. Then what an active axon and a neuron cost on one thread, from two
runs of the driven network with different input. Nothing is printed for a network whose run differs from the plain reference in small, or
between numbers of threads.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from nmap_truenorth.model.engine import Simulated, Simulator
from nmap_truenorth.model.model import OFF_CHIP, Events, Model
from nmap_truenorth.model.reference import reference

__all__ = ["WORKLOADS", "Different", "check", "driven", "make", "measure", "parts"]

_SHARE = 0.01
_REAL_TIME = 1000
"""Ticks per second of the chip (Merolla et al. 2014)."""
_SHORT = 20
_SMALL = 40
"""Cores of the network that is compared with the plain reference."""

WORKLOADS = ("recurrent", "recurrent-own", "driven", "driven-own")


class Different(Exception):  # noqa: N818 - it says what is wrong
    """Two runs that should be equal are not."""


def make(name: str, cores: int, size: int = 256, seed: int = 0) -> Model:
    """Return the network of a workload with so many cores of `size` axons and neurons."""
    rng = np.random.default_rng(seed)
    shape, own = (cores, size), name.endswith("-own")
    nothing, zeros = np.zeros(shape, bool), np.zeros(shape, np.int32)
    threshold = rng.integers(400, 600, shape) if own else zeros + 500
    strength = rng.integers(1, 9, (*shape, 2)) if own else np.broadcast_to([3, 6], (*shape, 2))
    if name.startswith("recurrent"):
        places = rng.permutation(cores * size).reshape(shape)
        target, axon, delay = places // size, places % size, rng.integers(1, 16, shape)
    else:
        target, axon, delay = np.full(shape, OFF_CHIP), zeros, zeros + 1
    return Model(
        file=name, dialect="truenorth", ids=np.arange(cores), places=None, axon_types=np.tile(np.arange(size) % 4, (cores, 1)),
        crossbar=rng.integers(0, 256, (cores, size, -(-size // 8)), dtype=np.uint8), stochastic=np.zeros((*shape, 4), bool),
        # Half of the axons take away what the others add, so that the leak alone sets the rate: 5 of 500 a tick.
        weights=np.concatenate([strength, -strength], axis=2), leak=zeros + 5, leak_stochastic=nothing, leak_reversal=nothing,
        threshold=threshold, floor=rng.integers(2000, 3000, shape) if own else zeros + 2000,
        mask=zeros, gamma=zeros + 1, kappa=~nothing, reset=zeros, potential=rng.integers(0, threshold), enabled=~nothing, target=target,
        target_core=target, target_axon=axon, delay=delay, seeds=np.zeros(cores, np.uint32), input_delay=0,
    )  # fmt: skip


def driven(model: Model, ticks: int, share: float, seed: int = 1) -> Events:
    """Return input that makes a share of all axons active in each tick; none for a recurrent network."""
    if model.file.startswith("recurrent"):
        return Events(np.zeros(0), np.zeros(0), np.zeros(0))
    rng = np.random.default_rng(seed)
    count = round(share * model.cores * model.axons)
    places = rng.integers(0, model.cores * model.axons, (ticks, count))
    places.sort(axis=1)
    return Events(np.repeat(np.arange(ticks), count), places.ravel() // model.axons, places.ravel() % model.axons)


def check(name: str, threads: int) -> None:
    """Compare a small network of a workload with the plain reference.

    Raises:
        Different: where anything differs.
    """
    model, ticks = make(name, _SMALL, 32), 60
    events = driven(model, ticks, 5 * _SHARE)
    rows, merged, history, _ = reference(model, events, ticks, every=True)
    done = Simulator(model, jobs=threads).run(events, ticks, every=True)
    if not np.array_equal(done.events, rows) or done.merged != merged or not np.array_equal(done.potentials, history[-1]):
        raise Different(f"`{name}` on {threads} threads is not what the plain reference computes")


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of a workload: ticks per second by number of threads, median and best, and how active it was."""

    name: str
    rates: dict[int, tuple[float, float]]
    active: float
    """Share of the axons that are active in a tick."""
    spikes: float
    """Share of the neurons that fire in a tick."""
    events: float
    """Synaptic events of a tick."""
    ready: float
    """Seconds to make a model ready to run."""


def _seconds(simulator: Simulator, events: Events, ticks: int) -> tuple[float, Simulated]:
    start = time.perf_counter()
    done = simulator.run(events, ticks)
    return time.perf_counter() - start, done


def _rate(simulator: Simulator, events: Events, ticks: int) -> tuple[float, Simulated]:
    """Return ticks per second, and the long run's result."""
    short, _ = _seconds(simulator, events, _SHORT)
    long, done = _seconds(simulator, events, _SHORT + ticks)
    return ticks / max(long - short, 1e-9), done


def measure(name: str, cores: int, ticks: int, repeat: int, threads: list[int]) -> Row:
    """Time a workload.

    Raises:
        Different: where a small run or one on another number of threads differs.
    """
    for count in threads:
        check(name, count)
    model = make(name, cores)
    events = driven(model, _SHORT + ticks, _SHARE)
    start = time.perf_counter()
    simulators = {count: Simulator(model, jobs=count) for count in threads}
    ready = (time.perf_counter() - start) / len(threads)
    found: dict[int, list[float]] = {count: [] for count in threads}
    results: list[Simulated] = []
    for _ in range(repeat):
        for count in threads:
            rate, done = _rate(simulators[count], events, ticks)
            found[count].append(rate)
            results = [*results[:1], done]
            if not np.array_equal(results[0].potentials, done.potentials) or not np.array_equal(results[0].events, done.events):
                raise Different(f"`{name}` on {count} threads is not what it is on {threads[0]}")
    last = simulators[threads[0]].run(events, _SHORT, every=True)
    spikes = len(last.events) / (_SHORT * cores * model.neurons)
    active = spikes if model.file.startswith("recurrent") else (len(events) / (_SHORT + ticks)) / (cores * model.axons)
    set_bits = int(np.unpackbits(model.crossbar[:16]).sum()) / (16 if cores > 16 else cores) / model.axons
    return Row(
        name, {count: (median(rates), max(rates)) for count, rates in found.items()}, active, spikes,
        active * cores * model.axons * set_bits, ready,
    )  # fmt: skip


def parts(name: str, cores: int, ticks: int, repeat: int) -> tuple[float, float]:
    """Return what an active axon and what a neuron costs a tick on one thread, in nanoseconds, from two activities of a driven network."""
    model = make(name, cores)
    simulator, best = Simulator(model), []
    for share in (_SHARE, 5 * _SHARE):
        events = driven(model, _SHORT + ticks, share)
        best.append(1e9 / max(_rate(simulator, events, ticks)[0] for _ in range(repeat)))
    axon = (best[1] - best[0]) / (4 * _SHARE * cores * model.axons)
    return axon, (best[0] - axon * _SHARE * cores * model.axons) / (cores * model.neurons)


def main(arguments: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description="Time the emulator of TrueNorth's model files: cores of 256 x 256, half of the crossbar set, 1 % of the axons active.",
        epilog="Printed are ticks per second, median and best, by number of threads; real time, the chip's 1000 ticks a second, is 1.00x.",
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"beginnings of workloads' names, all unless given; there are {', '.join(WORKLOADS)}"
    )
    parser.add_argument("--cores", type=int, default=4096, metavar="N", help="cores of the model; %(default)s, a chip's, unless given")
    parser.add_argument("--ticks", type=int, default=400, metavar="N", help="ticks that each run times, %(default)s unless given")
    parser.add_argument(
        "--repeat", type=int, default=5, metavar="N", help="runs of each workload and number of threads, %(default)s unless given"
    )
    parser.add_argument("--threads", default="1,2", metavar="N,N,...", help="numbers of threads, by commas; %(default)s unless given")
    parser.add_argument("--json", metavar="FILE", help="write the figures to this file, too")
    given = parser.parse_args(arguments)
    threads = [int(count) for count in given.threads.split(",")]
    chosen = [name for name in WORKLOADS if not given.names or any(name.startswith(word) for word in given.names)]
    if not chosen:
        parser.error(f"no workload begins with {' or '.join(given.names)}; there are {', '.join(WORKLOADS)}")
    told: dict[str, Any] = {}
    heads = "".join(f"{f'{count} thread' + 's' * (count > 1):>11}{'best':>8}" for count in threads)
    print(f"{'ticks per second':<18}{heads}{'real time':>11}{'active':>9}{'firing':>9}{'events/tick':>13}{'ready, s':>10}")
    failed = False
    for name in chosen:
        try:
            row = measure(name, given.cores, given.ticks, given.repeat, threads)
        except Different as error:
            print(f"{name:<18}  {error}", file=sys.stderr)
            failed = True
            continue
        rates = "".join(f"{middle:>11.0f}{best:>8.0f}" for middle, best in row.rates.values())
        fastest = max(middle for middle, _ in row.rates.values())
        print(f"{name:<18}{rates}{fastest / _REAL_TIME:>10.2f}x{row.active:>9.2%}{row.spikes:>9.2%}{row.events:>13.0f}{row.ready:>10.2f}")
        told[name] = {
            "ticks_per_second": {str(count): {"median": middle, "best": best} for count, (middle, best) in row.rates.items()},
            "active": row.active, "firing": row.spikes, "events_per_tick": row.events,
        }  # fmt: skip
        if name.startswith("driven"):
            axon, neuron = parts(name, given.cores, given.ticks, given.repeat)
            print(f"{'':<18}one thread: {axon:.1f} ns for an active axon, {neuron:.2f} ns for a neuron's tick")
            told[name] |= {"ns_per_active_axon": axon, "ns_per_neuron": neuron}
    if given.json:
        Path(given.json).write_text(json.dumps({"cores": given.cores, "workloads": told}, indent=1), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
