"""Time other chips' neurons on the emulator: random programs of their shape, beside Loihi 2's LIF on the same cores and synapses.

    python benchmarks/other_chips.py                       # all workloads
    python benchmarks/other_chips.py truenorth --repeat 7  # those whose name begins with one of the words

For each workload: CPU time of a step (tick) on one thread, median and lowest of several runs taken in turn with Loihi's; synaptic events
of a step (spikes times the synapses that each reaches, zeros left out); time per event, and its ratio to Loihi's; for TrueNorth how
often 1000 ticks fit into a second, the chip's own speed. Nothing is printed for a program whose run differs from a plain numpy run: a
small one of the same shape over its whole length, the timed one over its first steps.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
from chips.programs import ALL_KERNELS, Workload, akida, spinnaker, truenorth
from chips.reference import reference

from nmap.emulate.engine import Emulator

__all__ = ["CASES", "Case", "Different", "check", "events_per_step", "measure"]

_TICKS_PER_SECOND = 1000
"""TrueNorth's tick is 1 ms (Merolla et al. 2014)."""


@dataclass(frozen=True, slots=True)
class Case:
    """A workload: `timed` and `small` take `loihi` (whether to make it for Loihi 2's LIF) and return it in full and in small.

    Args:
        timed, small: makers.
        checked: first steps of the timed program that are compared.
        real_time: whether the chip has a tick of its own to be compared with.
    """

    timed: Callable[..., Workload]
    small: Callable[..., Workload]
    checked: int
    real_time: bool = False


CASES = {
    "truenorth": Case(partial(truenorth, 4096, 300), partial(truenorth, 9, 60), 3, True),
    "truenorth-uniform": Case(partial(truenorth, 4096, 300, own=False), partial(truenorth, 9, 60, own=False), 3, True),
    "truenorth-64-cores": Case(partial(truenorth, 64, 5000), partial(truenorth, 9, 60), 20, True),
    "truenorth-64-cores-apart": Case(partial(truenorth, 64, 500, together=False), partial(truenorth, 9, 60, together=False), 20, True),
    "spinnaker1": Case(partial(spinnaker, 1, 10000, 2000), partial(spinnaker, 1, 700, 120, density=0.1), 20),
    "spinnaker1-uniform": Case(partial(spinnaker, 1, 10000, 2000, own=False), partial(spinnaker, 1, 700, 120, own=False, density=0.1), 20),
    "spinnaker2": Case(partial(spinnaker, 2, 10000, 2000), partial(spinnaker, 2, 700, 120, density=0.1), 20),
    "akida-1-bit": Case(partial(akida, 300, False), partial(akida, 12, False, scale=4, samples=2), 7),
    "akida-4-bit": Case(partial(akida, 300, True), partial(akida, 12, True, scale=4, samples=2), 7),
}


class Different(Exception):  # noqa: N818 - it says what is wrong
    """A run on the emulator is not what the plain reference computes."""


def check(workload: Workload, emulator: Emulator, steps: int) -> None:
    """Compare the first steps with the plain reference.

    Raises:
        Different: with the population and the number of payloads that differ.
    """
    expected = reference(workload.program, ALL_KERNELS, workload.inputs, steps)
    trace = emulator.run(workload.inputs, steps, record=list(expected))
    for name, payloads in expected.items():
        if not np.array_equal(trace.spikes[name], payloads):
            differing = np.count_nonzero(trace.spikes[name] != payloads)
            raise Different(f"{differing} of {payloads.size} payloads of `{name}` differ from the plain reference")


def events_per_step(workload: Workload, emulator: Emulator) -> tuple[float, float]:
    """Return neurons that spike, and synaptic events sent, in a step of a sample."""
    trace = emulator.run(workload.inputs, workload.steps, record=list(workload.fan_out), dense=False)
    passed = workload.steps * len(next(iter(workload.inputs.values())))
    spikes = sum(trace.counts[name] for name in workload.fan_out)
    return spikes / passed, sum(int(fan_out[trace.events[name].neuron].sum()) for name, fan_out in workload.fan_out.items()) / passed


def measure(case: Case, repeat: int) -> dict[str, Any]:
    """Return the figures of one workload.

    Raises:
        Different: see `check`.
    """
    rows: dict[str, Any] = {}
    built: dict[str, tuple[Workload, Emulator]] = {}
    for name, loihi in (("chip", False), ("loihi", True)):
        small = case.small(loihi=loihi)
        check(small, Emulator(small.program, ALL_KERNELS), small.steps)
        workload = case.timed(loihi=loihi)
        begin = time.process_time()
        emulator = Emulator(workload.program, ALL_KERNELS)
        lowering = time.process_time() - begin
        check(workload, emulator, case.checked)
        built[name] = workload, emulator
        spikes, events = events_per_step(workload, emulator)
        footprint = emulator.footprint(1, workload.steps, record=())
        rows[name] = {"spikes": spikes, "events": events, "lowering_s": lowering, "footprint": footprint}
    times: dict[str, list[float]] = {name: [] for name in built}
    for _ in range(repeat):
        for name, (workload, emulator) in built.items():
            begin = time.process_time()
            emulator.run(workload.inputs, workload.steps, record=())
            times[name].append((time.process_time() - begin) / workload.steps)
    for name, row in rows.items():
        row |= {"us": 1e6 * median(times[name]), "us_min": 1e6 * min(times[name])}
        row["ns_per_event"], row["ns_per_event_min"] = 1e3 * row["us"] / row["events"], 1e3 * row["us_min"] / row["events"]
    rows["ratio"] = rows["chip"]["ns_per_event"] / rows["loihi"]["ns_per_event"]
    rows["ratio_min"] = rows["chip"]["ns_per_event_min"] / rows["loihi"]["ns_per_event_min"]
    if case.real_time:
        rows["real_time"] = 1e6 / rows["chip"]["us"] / _TICKS_PER_SECOND
    return rows


def main() -> None:
    """Measure and print a table, or one JSON object a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"beginnings of: {', '.join(CASES)}")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    chosen = [name for name in CASES if not args.names or name.startswith(tuple(args.names))]
    if not args.json:
        heads = ("us/step", "lowest", "spikes", "events", "ns/event", "Loihi", "ratio", "real time")
        print(f"{'workload':26}" + "".join(f"{head:>{width}}" for head, width in zip(heads, (10, 10, 9, 10, 10, 8, 7, 11), strict=True)))
    for name in chosen:
        try:
            rows = measure(CASES[name], args.repeat)
        except Different as error:
            sys.exit(f"{name}: {error}")
        if args.json:
            print(json.dumps({"workload": name, **rows}), flush=True)
            continue
        chip, real = rows["chip"], f"{rows['real_time']:.3g}x" if "real_time" in rows else ""
        print(
            f"{name:26}{chip['us']:10.1f}{chip['us_min']:10.1f}{chip['spikes']:9.0f}{chip['events']:10.0f}{chip['ns_per_event']:10.3f}"
            f"{rows['loihi']['ns_per_event']:8.3f}{rows['ratio']:7.2f}{real:>11}", flush=True,
        )


if __name__ == "__main__":
    main()
