"""Akida 1.0's neuron: the documented integer arithmetic of a layer with activation.

With a the sum of weights times inputs, `threshold` of 20 bits with sign, `act_step` in sixteenths (q of the documentation) and b =
`act_bits` of 1, 2 or 4:

    P = a held between -2^19 and 2^19 - 1
    y = ceil(16 (P - threshold) / (act_step 2^(4 - b))) held between 0 and 2^b - 1

With b = 1, y = 1 where P > threshold, whatever the step. A neuron remembers nothing from one step to the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import carray

from nmap.compiled import Native, compiled, native
from nmap.connectivity import Array
from nmap.emulate.kernel import SHARED, STEP
from nmap.pointers import int32_at, uint8_at

__all__ = ["BINARY", "GRADED", "AkidaNeuron"]

_I = np.int32
_LIMIT = 1 << 19


@compiled(inline="always")
def _potential(total):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    return min(max(total, _I(-_LIMIT)), _I(_LIMIT - 1))


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
def _graded(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
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
def _binary(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    count = last - first
    total, spikes = carray(int32_at(dendrite + 4 * first), count), carray(uint8_at(sent + first), count)
    thresholds = carray(int32_at(constants + 4 * first), count)
    for j in range(count):
        spikes[j] = _potential(total[j]) > thresholds[j]


@dataclass(frozen=True, slots=True)
class AkidaNeuron:
    """A neuron of Akida 1.0 with activation; see `nmap.emulate.kernel.Kernel`.

    Parameters: `threshold` -2^19..2^19 - 1; graded ones also `act_step` 1..2^20 in sixteenths and `act_bits` 1, 2 or 4.
    """

    name: str
    graded: bool
    params: tuple[str, ...]
    receptors: int = 1
    state: tuple[str, ...] = ()

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`."""
        return _graded if self.graded else _binary

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the threshold and, graded, 16 times the width of a level and the highest one: (1 or 3, n) int32."""
        rows = [params["threshold"]]
        if self.graded:
            rows += [params["act_step"] << 4 - params["act_bits"], (1 << params["act_bits"]) - 1]
        return np.stack(rows).astype(np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        above = np.clip(dendrite, -_LIMIT, _LIMIT - 1) - params["threshold"]
        if not self.graded:
            return (above > 0).astype(np.int64)
        levels = -(-16 * above // (params["act_step"] * 2 ** (4 - params["act_bits"])))
        return np.clip(levels, 0, 2 ** params["act_bits"] - 1)


GRADED = AkidaNeuron("akida.neuron", True, ("threshold", "act_step", "act_bits"))
"""Sends a level of 1, 2 or 4 bits."""
BINARY = AkidaNeuron("akida.binary", False, ("threshold",))
"""Sends one bit: the same with `act_bits` = 1."""
