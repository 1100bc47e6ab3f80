"""Compare two runs of the same network step by step, and say where they part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic
from nmap.trace import SpikeEvents

__all__ = ["Difference", "compare", "describe"]

Recorded: TypeAlias = Array | SpikeEvents


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two runs differ.

    Args:
        mismatches: number of differing (sample, step, neuron) places, all arrays together.
        by_array: mismatches of each array that differs.
        first: (array, sample, step, neuron, expected, found) of the earliest step that differs, and of its first sample; None when
            nothing does.
    """

    mismatches: int
    by_array: dict[str, int]
    first: tuple[str, int, int, int, int, int] | None

    def counted_from(self, done: int) -> Difference:
        """Return the same difference, found in a chunk after `done` samples, with its sample numbered among all samples."""
        if self.first is None:
            return self
        array, sample, step, neuron, expected, found = self.first
        return replace(self, first=(array, done + sample, step, neuron, expected, found))

    def joined(self, other: Difference) -> Difference:
        """Return this difference and that of other samples as one, the same as if they had been compared together."""
        by_array = dict(self.by_array)
        for name, count in other.by_array.items():
            by_array[name] = by_array.get(name, 0) + count
        places = [place for place in (self.first, other.first) if place is not None]
        return Difference(self.mismatches + other.mismatches, by_array, min(places, key=lambda place: (place[2], place[1]), default=None))


def compare(expected: Mapping[str, Array], found: Mapping[str, Recorded]) -> Difference:
    """Compare arrays (samples, steps, neurons) that both runs have, name by name; what was found may be a list of spikes.

    Raises:
        ValueError: an array of `expected` is missing or has another shape; nothing was compared then.
    """
    for name, want in expected.items():
        if name not in found or _shape(found[name]) != want.shape:
            raise ValueError(f"`{name}` was not recorded alike in both runs")
    by_array: dict[str, int] = {}
    first: tuple[str, int, int, int, int, int] | None = None
    for name, want in expected.items():
        recorded = found[name]
        if isinstance(recorded, SpikeEvents):
            if _same(want, recorded):
                continue
            recorded = recorded.dense()
        wrong = want != recorded
        count = int(np.count_nonzero(wrong))
        if not count:
            continue
        by_array[name] = count
        step = int(np.argmax(wrong.any(axis=(0, 2))))
        sample, neuron = (int(i) for i in np.argwhere(wrong[:, step])[0])
        if first is None or (step, sample) < (first[2], first[1]):
            first = (name, sample, step, neuron, int(want[sample, step, neuron]), int(recorded[sample, step, neuron]))
    return Difference(sum(by_array.values()), by_array, first)


def _shape(recorded: Recorded) -> tuple[int, ...]:
    if isinstance(recorded, SpikeEvents):
        return recorded.samples, recorded.steps, recorded.neurons
    return recorded.shape


def _same(want: Array, found: SpikeEvents) -> bool:
    """Return whether a list of spikes is all that an array holds, without making it an array."""
    if np.count_nonzero(want) != found.neuron.size:
        return False
    place = np.repeat(np.arange(found.offsets.size - 1) * found.neurons, np.diff(found.offsets)) + found.neuron
    alike = want.reshape(-1)[place] == (1 if found.payload is None else found.payload)
    # As many spikes as there are, all of them at another place.
    return bool(alike.all() and (np.diff(place) > 0).all())


def describe(difference: Difference, code: str, left: str, right: str) -> Diagnostic:
    """Return the error for a difference that is not empty."""
    if difference.first is None:
        raise ValueError("the runs do not differ")
    name, sample, step, neuron, expected, found = difference.first
    spread = ", ".join(f"`{key}` {count}" for key, count in sorted(difference.by_array.items()))
    return Diagnostic(
        code, "error", f"{right} and {left} part in chip step {step}: `{name}` of neuron {neuron} is {found}, not {expected}",
        why=f"Sample {sample} is the first to differ there; {difference.mismatches} places differ in all: {spread}.",
        data={"array": name, "sample": sample, "step": step, "neuron": neuron, "expected": expected, "found": found},
    )
