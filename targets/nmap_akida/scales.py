"""Real weights in Akida's integers: a scale for each filter, and what rounding costs.

What a neuron compares may have any unit, so that every filter (output channel of a convolution, unit of a dense layer) has a scale of its
own: an integer k stands for the real weight k / scale. Weights that lie on a grid of the bits there are stay exact. For others the scale
is the one with the least squared error over a grid of scales, clipped weights among it; errors are compared as whole numbers, so that the
choice does not depend on an order of summation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from nmap.connectivity import Array

__all__ = ["TOLERANCE", "Chosen", "choose", "is_whole", "lowest", "range_of"]

TOLERANCE: Final = 1e-6
"""Distance from a whole number, relative above 1, within which a real number counts as one: files of 32 bits hold no better."""
_FINE = 1 << 16
"""Units of an error in a filter's largest weight."""
_AT_ONCE = 1 << 18
"""Weights whose errors are compared at a time: as many as a processor's cache holds."""
_FINEST = 1 << 20
"""Weights of a layer beyond which only every fourth scale is tried."""
_SHARES: dict[int, Array] = {
    1: np.arange(64, 513, 4) / 128, 2: np.concatenate([np.arange(64, 512, 4), np.arange(512, 1281, 16)]) / 128,
    4: np.arange(64, 321, 2) / 128, 8: np.arange(384, 640, 2) / 512,
}
"""Scales that are tried, by bits, in units of that with which the largest weight becomes the largest integer."""
_LOWER = 2.0 ** -(np.arange(1, 97) / 8)
"""Scales that are tried after those where none of them fits the other fields."""

Fits: TypeAlias = Callable[[Array, Array, Array], Array]
"""Of filters (f,) int64, their scales (f,) and their integers (f, n): which of them the chip takes, (f,) bool."""


def range_of(bits: int) -> tuple[int, int]:
    """Return the smallest and the largest weight of some bits: 0 and 1, else without two's complement's lowest number."""
    return (0, 1) if bits == 1 else (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)


def lowest(bits: int) -> int:
    """Return two's complement's lowest number of some bits, which the chip's weights do not have."""
    return int(-(2 ** (bits - 1)))


def is_whole(values: Array) -> Array:
    """Return which numbers are whole, bool: within `TOLERANCE` of their size, or of the largest of their row up to 1 if that is more."""
    size = np.abs(values)
    least = np.minimum(1, size.max(-1, keepdims=True, initial=0))
    return np.asarray(np.abs(values - np.rint(values)) <= TOLERANCE * np.maximum(size, least))


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """Filters in integers.

    Args:
        values: (f, n) int64.
        scale: (f,) float64, integers per unit of the real weights.
        exact: (f,) bool, whether every integer stands for its weight.
        fits: (f,) bool, whether the chip takes the filter; where it does not, `values` and `scale` are what was tried last.
    """

    values: Array
    scale: Array
    exact: Array
    fits: Array


def choose(weights: Array, bits: int, fits: Fits, least: Array, unit: Array | None = None, weigh: Array | None = None) -> Chosen:
    """Return filters in integers of some bits.

    Filters of whole numbers in the bits' range (and of whole units) keep them: with the scale 1, or another with which they are whole
    where the chip does not take that one. Where it takes none of these, they do not fit. Other filters on a grid have the smallest scale
    that the chip takes and that makes their weights whole, if there is one.

    Args:
        weights: (f, n) float64, finite.
        bits: 1, 2, 4 or 8.
        fits: says which filters the chip takes.
        least: (f,) float64: where a filter does not fit otherwise, scales are tried down to this one.
        unit: (f,) float64, positive numbers that become whole and at least 1; None for none.
        weigh: (n,) int64, what an error of each weight counts, at most 2^12; None for 1 each.
    """
    count = len(weights)
    values, scale = np.zeros(weights.shape, np.int64), np.ones(count)
    exact, done = np.zeros(count, bool), np.zeros(count, bool)
    rows = max(1, _AT_ONCE // max(1, weights.shape[1]))
    for first in range(0, count, rows):
        some = np.arange(first, min(count, first + rows))
        own = None if unit is None else unit[some]
        part = _Part(some, weights[some], bits, fits, least[some], own, weigh, 4 if weights.size > _FINEST else 1)
        part.run()
        values[some], scale[some], exact[some], done[some] = part.values, part.scale, part.exact, part.done
    return Chosen(values, scale, exact, done)


class _Part:
    """Some filters: what was chosen so far; `bound` are those of whole numbers, and one in `every` of the scales is tried."""

    def __init__(
        self, filters: Array, weights: Array, bits: int, fits: Fits, least: Array, unit: Array | None, weigh: Array | None, every: int,
    ) -> None:
        self.filters, self.weights, self.bits, self.fits = filters, weights, bits, fits
        self.least, self.unit, self.weigh, self.every = least, unit, weigh, every
        self.low, self.top = range_of(bits)
        largest = np.abs(weights).max(1, initial=0)
        self.largest = np.where(largest > 0, largest, self.top)
        self.scale: Array = self.top / self.largest
        self.values: Array = np.zeros(weights.shape, np.int64)
        self.exact: Array = np.zeros(len(weights), bool)
        self.done: Array = np.zeros(len(weights), bool)
        self.bound: Array = np.zeros(len(weights), bool)

    def run(self) -> None:
        whole = np.rint(self.weights)
        self.bound = is_whole(self.weights).all(1) & (whole >= self.low).all(1) & (whole <= self.top).all(1)
        if self.unit is not None:
            self.bound &= is_whole(self.unit[:, None])[:, 0]
        for scale, valid in self.on_grids():
            at = np.flatnonzero(valid & ~self.done)
            wanted = self.weights[at] * scale[at, None]
            values = np.rint(wanted)
            held = np.flatnonzero(is_whole(wanted).all(1) & (values >= self.low).all(1) & (values <= self.top).all(1))
            held = held[self.fits(self.filters[at[held]], scale[at[held]], values[held].astype(np.int64))]
            self.keep(at[held], scale, values[held])
            self.exact[at[held]] = True
        first = self.top / self.largest
        shares = _SHARES[self.bits][:: self.every]
        last = np.minimum(self.on_unit(self.least), self.on_unit(first))
        lower = [*(self.on_unit(share * shares[0] * first) for share in _LOWER), last]
        for scales, least in (([self.on_unit(share * first) for share in shares], np.zeros_like(first)), (lower, last)):
            rest = np.flatnonzero(~self.bound & ~self.done)
            if rest.size:
                self.search(rest, scales, least)
        # What does not fit is shown as it would be.
        rest = np.flatnonzero(~self.done)
        self.scale[rest] = np.where(self.bound, 1.0, last)[rest]
        wanted = self.weights[rest] * self.scale[rest, None]
        self.values[rest] = np.clip(np.rint(wanted), self.low, self.top).astype(np.int64)

    def on_unit(self, scale: Array) -> Array:
        """Return the nearest scales that make units whole."""
        return scale if self.unit is None else np.maximum(1, np.rint(scale * self.unit)) / self.unit

    def on_grids(self) -> Iterator[tuple[Array, Array]]:
        """Return scales that may make all weights whole, (f,) each, best first, with where they make units whole."""
        for scale in (np.ones(len(self.weights)), *(k / self.largest for k in range(1, self.top + 1))):
            near = self.on_unit(scale)
            yield near, np.abs(near - scale) <= TOLERANCE * scale

    def keep(self, at: Array, scale: Array, values: Array) -> None:
        self.scale[at], self.values[at], self.done[at] = scale[at], values.astype(np.int64), True

    def search(self, at: Array, scales: list[Array], least: Array) -> None:
        """Take the scale with the least error for some filters, of those not below `least` with which they fit."""
        weights, best = self.weights[at], np.full(at.size, np.iinfo(np.int64).max)
        for every in scales:
            scale = every[at]
            values = np.clip(np.rint(weights * scale[:, None]), self.low, self.top)
            error = np.rint((weights - values / scale[:, None]) * (_FINE / self.largest[at, None])).astype(np.int64)
            cost = (error * error).sum(1) if self.weigh is None else (error * error * self.weigh).sum(1)
            better = (cost < best) & (scale >= least[at] * (1 - TOLERANCE))
            better[better] = self.fits(self.filters[at[better]], scale[better], values[better].astype(np.int64))
            best[better] = cost[better]
            self.keep(at[better], every, values[better])
