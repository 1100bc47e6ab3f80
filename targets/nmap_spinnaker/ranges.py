"""How large a neuron's numbers can become on the chip, and what that leaves of freedom.

A ring buffer's slot never passes 65535, nor the sum of all weights that lead to it, so every later number of a step has a bound that holds
for any input. With x_r the slot shifted left by the receptor's shift and k the share of it that acts in its step (I0 of an exponential
synapse, 1 / timestep of a delta synapse, 1 of IF_trunc):

    syn_r <= k x_r / (1 - D)                    D = 0 without a synaptic current; a start value adds itself
    low = -syn_1 + i_offset <= I <= syn_0 + i_offset = high
    R low + v_rest <= alpha <= R high + v_rest  the membrane: v moves towards alpha, and is below the threshold after every step
    alpha - v, v + R I (IF_trunc)

All of them must stay within the 32 bits of an accum, which wraps. The bounds are real numbers with a margin that covers the chip's
rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array
from nmap_spinnaker.arithmetic import ONE, SATURATION

__all__ = ["ROOM", "Current", "current", "largest_resistance", "leaves"]

ROOM = 2.0**31 * (1 - 2.0**-12)
"""Largest raw number that bounds may reach: what is beyond it covers rounding, a few units in each operation."""
_CURRENT = 2.0**30
"""What a current may take of an accum, so that the membrane it drives has as much."""


@dataclass(frozen=True, slots=True, eq=False)
class Current:
    """Bounds of a neuron's currents, raw, (n,) float64 each.

    Args:
        low, high: of I.
        largest: of any number on the way to it: shifted slots and synaptic currents.
    """

    low: Array
    high: Array
    largest: Array

    @property
    def fits(self) -> Array:
        """Whether currents, and their difference, stay within their share of 32 bits, (n,) bool."""
        most: Array = np.maximum(self.high, -self.low)
        return (most <= _CURRENT) & (self.largest <= _CURRENT)


def current(sums: tuple[Array, Array], shifts: tuple[int, int], share: Array, kept: Array, offset: Array, start: Array) -> Current:
    """Return the bounds of the currents of a population.

    Args:
        sums: largest sum of 16-bit weights that can arrive in one step on either receptor, (n,) each; slots cut them at 65535.
        shifts: of the receptors.
        share: k, what of a shifted slot acts in its step, (n,).
        kept: D as a real number, (n,); 0 without a synaptic current.
        offset: i_offset, raw, (n,).
        start: start value of the difference syn_0 - syn_1, raw, (n,).
    """
    shifted = [np.minimum(total, SATURATION) * 2.0**shift for total, shift in zip(sums, shifts, strict=True)]
    first, second = (np.maximum(side, 0) + share * x / (1 - kept) for side, x in zip((start, -start), shifted, strict=True))
    # All that can be there of a current decays, so neither bound is reached while the other one's start value lasts.
    return Current(
        np.minimum(offset - second, 0), np.maximum(offset + first, 0), np.maximum.reduce([*shifted, first, second, np.abs(offset)])
    )


def largest_resistance(bounds: Current, threshold: Array, reset: Array, start: Array) -> Array:
    """Return the largest raw R, (n,) float64, with which no membrane of a leaky neuron leaves its range.

    Args:
        bounds: of its current.
        threshold, reset, start: raw v for a resistance of 1, (n,); all of them grow with R.
    """
    lowest = np.minimum.reduce([bounds.low, reset, start])
    highest = np.maximum(threshold, 0)
    span = np.maximum.reduce([np.maximum(bounds.high, highest) - lowest, highest - bounds.low, np.ones_like(lowest)])
    resistance: Array = ROOM / span * ONE
    return resistance


def leaves(bounds: Current, resistance: Array, threshold: Array, reset: Array, start: Array, rest: Array, integrates: bool) -> Array:
    """Return which neurons may leave the range of an accum, (n,) bool: those for which the proof fails.

    Args:
        bounds: of their current.
        resistance: raw R.
        threshold, reset, start, rest: raw v, (n,) each.
        integrates: whether the neurons are IF_trunc, whose v is a sum.
    """
    low, high = (bounds.low * resistance / ONE + rest, bounds.high * resistance / ONE + rest)
    if integrates:
        reached = np.maximum.reduce([np.maximum(threshold, start) + high, -(np.minimum(reset, start) + low)])
    else:
        lowest, highest = np.minimum.reduce([low, reset, start]), np.maximum(threshold, start)
        reached = np.maximum.reduce([np.maximum(high, highest) - lowest, highest - low])
    most: Array = np.maximum.reduce([reached, np.maximum(bounds.high, -bounds.low), bounds.largest, np.abs(high), np.abs(low)])
    return most > 2.0**31 - 2.0**12
