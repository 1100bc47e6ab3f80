"""What the numpy side of SpiNNaker 1's kernels shares: what they count, the input of a step, the leak."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nmap.connectivity import Array
from nmap.emulate.kernel import Counted
from nmap_spinnaker.arithmetic import ONE

__all__ = ["COUNTERS", "as_rows", "checked_shifts", "reference_input", "reference_leak", "reference_mul", "reference_wrap"]

COUNTERS: Mapping[str, Counted] = {"saturated": Counted(
    "what arrived in one step was more than a slot of the ring buffer holds, and was cut",
    "deploy with more samples, the busiest ones among them: the largest sum they show sets the scale",
)}
"""What the kernels count."""
_TWO32 = 2**32


def as_rows(*rows: Array) -> Array:
    """Return one row for each array, (rows, n) int32; numbers of 32 bits without sign keep their bits."""
    return np.array(np.broadcast_arrays(*rows), np.int64).astype(np.int32)


def checked_shifts(params: Mapping[str, Array]) -> tuple[Array, Array]:
    """Return the shifts of both receptors.

    Raises:
        ValueError: a shift is not in 0..31.
    """
    shifts = params["shift_0"], params["shift_1"]
    if any(((shift < 0) | (shift > 31)).any() for shift in shifts):
        raise ValueError("a ring buffer's shift is not in 0..31")
    return shifts


def reference_wrap(values: Array) -> Array:
    """Return int64 numbers modulo 2^32 with a sign, in plain numpy for the reference steps."""
    low = np.mod(values, _TWO32)
    return np.where(low >= _TWO32 // 2, low - _TWO32, low)


def reference_mul(a: Array, b: Array) -> Array:
    """Return the product of two accums."""
    return reference_wrap(a * b // ONE)


def reference_input(params: Mapping[str, Array], state: dict[str, Array], dendrite: Array) -> tuple[Array, Array]:
    """Return x_0 and x_1 of a step and count the slots that were cut; shapes as in `Kernel.reference_step`."""
    n = params["shift_0"].size
    received = []
    for receptor in (0, 1):
        total = np.mod(dendrite[..., receptor * n : (receptor + 1) * n], _TWO32)
        state["saturated"] = reference_wrap(state["saturated"] + (total > 65535))
        received.append(reference_wrap(np.minimum(total, 65535) * 2 ** params[f"shift_{receptor}"]))
    return received[0], received[1]


def reference_leak(v: Array, current: Array, resistance: Array, leak: Array, rest: Array) -> Array:
    """Return v after a step of the closed form."""
    alpha = reference_wrap(reference_mul(current, resistance) + rest)
    return reference_wrap(alpha - reference_mul(leak, reference_wrap(alpha - v)))
