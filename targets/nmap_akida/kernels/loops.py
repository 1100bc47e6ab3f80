"""Compiled steps of `nmap_akida.kernels`, each compiled when its address is first asked for.

The arguments are those of `nmap.emulate.kernel.Kernel.step`. Everything fits into 32 bits: with P of 20 and a threshold of 24 bits,
|16 (P - threshold)| < 2^28, and the largest digit compared with it is less than 2^20 2^3 2^3 = 2^26.
"""

# ruff: noqa: ARG001 - a step takes what every step takes

from __future__ import annotations

import numpy as np

from nmap.compiled import compiled, native
from nmap.emulate.kernel import SHARED, STEP
from nmap.pointers import carray, int32_at, uint8_at
from nmap_akida.kernels.neuron import POTENTIAL

__all__ = ["binary", "graded"]

_I = np.int32


@compiled(inline="always")
def _potential(total):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    return min(max(total, _I(-POTENTIAL)), _I(POTENTIAL - 1))


@compiled(inline="always")
def _activation(total, threshold, step, top):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return y; ceil(x / step) = floor((x - 1) / step) + 1, of which four binary digits are enough, and division is slow in lanes."""
    rest = _I(_I(_I(_potential(total) - threshold) << _I(4)) - _I(1))
    below = rest < _I(0)
    y = _I(1)
    for digit in (3, 2, 1, 0):
        part = _I(step << _I(digit))
        fits = rest >= part
        rest = _I(rest - part) if fits else rest
        y = _I(y + _I(1 << digit)) if fits else y
    return _I(0) if below else min(y, top)


@native(STEP)
def graded(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance neurons that send levels: rows threshold, 16 times the width of a level, highest level."""
    count = last - first
    total, payload = carray(int32_at(dendrite + 4 * first), count), carray(int32_at(sent + 4 * first), count)
    if shared == SHARED:
        c = carray(int32_at(constants), (3, n))
        threshold, step, top = c[0, 0], c[1, 0], c[2, 0]
        for j in range(count):
            payload[j] = _activation(total[j], threshold, step, top)
    else:
        thresholds, steps = carray(int32_at(constants + 4 * first), count), carray(int32_at(constants + 4 * (n + first)), count)
        tops = carray(int32_at(constants + 4 * (2 * n + first)), count)
        for j in range(count):
            payload[j] = _activation(total[j], thresholds[j], steps[j], tops[j])


@native(STEP)
def binary(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance neurons that send one bit: row threshold."""
    count = last - first
    total, spikes = carray(int32_at(dendrite + 4 * first), count), carray(uint8_at(sent + first), count)
    thresholds = carray(int32_at(constants + 4 * first), count)
    for j in range(count):
        spikes[j] = _potential(total[j]) > thresholds[j]
