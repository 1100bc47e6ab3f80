"""Start values: a population that runs behind the network's time must stand at the network's start when its first input can arrive.

Its bias acts from the chip's first step on. Steps of the chip's arithmetic are undone one by one, exactly: every product with a factor
below 1 is onto, so that each number has a number before it.
"""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array
from nmap_spinnaker.arithmetic import decay, mulk

__all__ = ["current_before", "integral_before", "membrane_before"]

_LARGEST = 2**30


def current_before(wanted: Array, kept: Array, steps: int) -> tuple[Array, Array]:
    """Return the synaptic current that has decayed to `wanted` after some steps, and where there is one: (n,) int64 raw and bool.

    Args:
        wanted: raw, >= 0.
        kept: D, u0.32 raw.
        steps: that it decays.
    """
    value, possible = wanted.astype(np.int64), np.ones(wanted.shape, bool)
    for _ in range(steps):
        # The least x with floor(x D / 2^32) = value; 2^30 shifted by 32 bits fits into 64.
        value = -((-value << 32) // np.maximum(kept, 1))
        possible &= (kept > 0) | (value == 0)
        possible &= value <= _LARGEST
        value = np.where(possible, value, 0)
    return value, possible


def membrane_before(
    currents: tuple[Array, Array], kept: Array, offset: Array, resistance: Array, leak: Array, rest: Array, threshold: Array, steps: int
) -> tuple[Array, Array]:
    """Return the v that the bias alone brings to 0 in some steps, and where there is one that never fires: (n,) int64 raw and bool.

    Where there is none the value is 0.

    Args:
        currents: synaptic currents before the first step, of both receptors, raw.
        kept: D, u0.32 raw.
        offset: i_offset, raw.
        resistance: R, raw.
        leak: E, raw; of a neuron without memory 0.
        rest, threshold: raw v.
        steps: of the chip.
    """
    towards = []
    first, second = currents
    for _ in range(steps):
        first, second = decay(first, kept), decay(second, kept)
        towards.append(mulk(first - second + offset, resistance) + rest)
    v, possible = np.zeros_like(offset), np.ones(offset.shape, bool)
    for alpha in reversed(towards):
        # The least y with floor(E y / 2^15) = alpha - v; a neuron without memory stands at alpha wherever it came from.
        y = -((-(alpha - v) << 15) // np.maximum(leak, 1))
        possible &= np.where(leak > 0, np.abs(y) <= _LARGEST, alpha < threshold)
        v = np.where(possible & (leak > 0), alpha - y, 0)
        possible &= v < threshold
        v = np.where(possible, v, 0)
    return v, possible


def integral_before(gained: Array, threshold: Array, reset: Array, steps: int) -> tuple[Array, Array]:
    """Return the v from which an IF_trunc comes to 0 in some steps, and where there is one; see `membrane_before`.

    Args:
        gained: added to v in each step, raw.
        threshold, reset: raw v; the neuron is not left below the reset value after a step.
        steps: of the chip.
    """
    v = -steps * gained
    possible = (v + gained >= reset) & (v < threshold) & (np.abs(v) <= _LARGEST)
    possible |= gained == 0
    return np.where(possible, v, 0), possible
