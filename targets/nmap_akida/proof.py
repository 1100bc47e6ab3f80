"""The proof that no sum of a layer leaves the potential's 20 bits on its way, whatever the order of its terms.

Sums of non-negative inputs times weights lie between -x sum |w-| and x sum w+ at any time, where x is the largest input; a sum over the
image is at most as many times that as there are pixels. What a sum beyond the range would become depends on the order in which the chip
adds, which is not documented, so that a layer for which the proof fails is refused (`LIMIT`, exclusive).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from nmap.connectivity import Array
from nmap_akida.kernels.neuron import POTENTIAL

__all__ = ["LIMIT", "divisors", "ends", "separable_divisors", "separable_ends"]

LIMIT: Final = POTENTIAL
"""A sum of this size is not proved to be held."""


def ends(values: Array) -> tuple[Array, Array]:
    """Return the sums of positive and of negative whole-number weights, both as numbers from 0 on: (f, n) int64 -> (f,) int64 each."""
    return np.maximum(values, 0).sum(1), np.maximum(-values, 0).sum(1)


def separable_ends(depthwise: Array, pointwise: Array) -> tuple[Array, Array]:
    """Return the same of a separable layer's products.

    The sums within a channel are parts of these as long as any filter uses the channel with a weight that is not 0; no more than 49
    weights of 4 bits on inputs of 4 bits, they never come near the limit.

    Args:
        depthwise: (channels, taps) int64.
        pointwise: (f, channels) int64.
    """
    up, down = ends(depthwise)
    use, turn = np.maximum(pointwise, 0), np.maximum(-pointwise, 0)
    return use @ up + turn @ down, use @ down + turn @ up


def divisors(values: Array) -> Array:
    """Return the largest number of which all sums of a filter are multiples, at least 1: (f, n) int64 -> (f,) int64."""
    return np.maximum(1, np.gcd.reduce(values, axis=1))


def separable_divisors(depthwise: Array, pointwise: Array) -> Array:
    """Return the same of a separable layer's products; arguments as in `separable_ends`."""
    return divisors(pointwise * np.gcd.reduce(depthwise, axis=1))
