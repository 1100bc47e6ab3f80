"""Compare two runs of the same network step by step, and say where they part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic

__all__ = ["Difference", "compare", "describe"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Where two runs differ.

    Args:
        mismatches: number of differing (sample, step, neuron) places, all arrays together.
        by_array: mismatches of each array that differs.
        first: (array, sample, step, neuron, expected, found) of the earliest step that differs; None when nothing does.
    """

    mismatches: int
    by_array: dict[str, int]
    first: tuple[str, int, int, int, int, int] | None


def compare(expected: Mapping[str, Array], found: Mapping[str, Array]) -> Difference:
    """Compare arrays (samples, steps, neurons) that both runs have, name by name.

    Raises:
        ValueError: an array of `expected` is missing or has another shape; nothing was compared then.
    """
    by_array: dict[str, int] = {}
    first: tuple[str, int, int, int, int, int] | None = None
    for name, want in expected.items():
        if name not in found or found[name].shape != want.shape:
            raise ValueError(f"`{name}` was not recorded alike in both runs")
        wrong = want != found[name]
        count = int(np.count_nonzero(wrong))
        if not count:
            continue
        by_array[name] = count
        step = int(np.argmax(wrong.any(axis=(0, 2))))
        if first is None or step < first[2]:
            sample, neuron = (int(i) for i in np.argwhere(wrong[:, step])[0])
            first = (name, sample, step, neuron, int(want[sample, step, neuron]), int(found[name][sample, step, neuron]))
    return Difference(sum(by_array.values()), by_array, first)


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
