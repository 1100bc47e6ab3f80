"""Real weights in Akida's integers: a scale for each filter, and what rounding costs.

What a neuron compares may have any unit, so that every filter (output channel of a convolution, unit of a dense layer) has a scale of its
own: an integer k stands for the real weight k / scale. Weights that lie on a grid of the bits there are stay exact. For others the scale
is the one with the least squared error over a grid of scales, clipped weights among it; errors are compared as whole numbers, so that the
choice does not depend on an order of summation.

Where spikes are counted, the chip's threshold and step are whole numbers and sixteenths, chosen together (`settle`): the k-th spike takes a
potential of a_k, the least whole number whose quotient by the threshold is k, and the chip sends k spikes from

    t + floor((k - 1) Q / 16) + 1

on, with its threshold t and its step of Q sixteenths. Both are compared over the sums that can occur.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np

from nmap.connectivity import Array

__all__ = [
    "HUGE", "SIXTEENTHS", "TOLERANCE",
    "Chosen", "Counting", "choose", "is_whole", "lowest", "nearest_step", "range_of", "settle", "spikes_from",
]

TOLERANCE: Final = 1e-6
"""Distance from a whole number, relative above 1, within which a real number counts as one: files of 32 bits hold no better."""
SIXTEENTHS: Final = 16
"""Parts of an integer weight unit in which a step of the activation is given."""
_ROUNDING: Final = 1e-9
"""Distance from a whole number, relative above 1, within which a multiple of a threshold counts as one: that of 64 bits' rounding."""
HUGE: Final = 2.0**40
"""Beyond any threshold."""
_AROUND: Final = 8
"""Thresholds that are tried on either side of the first."""
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
Misses: TypeAlias = Callable[[Array, Array, Array], Array]
"""Of the same: how far from the real network they count, (f,) int64; 0 where all counts are right."""


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


def choose(weights: Array, bits: int, fits: Fits, least: Array, misses: Misses | None = None, weigh: Array | None = None) -> Chosen:
    """Return filters in integers of some bits.

    Filters on a grid keep their weights exactly: of the scales that make all of them whole and that the chip takes, the one that misses
    least, then 1, then the smallest. Filters of whole numbers in the bits' range have no other scales: where the chip takes none of these,
    they do not fit.

    Args:
        weights: (f, n) float64, finite.
        bits: 1, 2, 4 or 8.
        fits: says which filters the chip takes.
        least: (f,) float64: where a filter does not fit otherwise, scales are tried down to this one.
        misses: compares scales that keep all weights; None where all are alike.
        weigh: (n,) int64, what an error of each weight counts, at most 2^12; None for 1 each.
    """
    count = len(weights)
    values, scale = np.zeros(weights.shape, np.int64), np.ones(count)
    exact, done = np.zeros(count, bool), np.zeros(count, bool)
    rows = max(1, _AT_ONCE // max(1, weights.shape[1]))
    for first in range(0, count, rows):
        some = np.arange(first, min(count, first + rows))
        part = _Part(some, weights[some], bits, fits, least[some], misses, weigh, 4 if weights.size > _FINEST else 1)
        part.run()
        values[some], scale[some], exact[some], done[some] = part.values, part.scale, part.exact, part.done
    return Chosen(values, scale, exact, done)


class _Part:
    """Some filters: what was chosen so far; `bound` are those of whole numbers, and one in `every` of the scales is tried."""

    def __init__(
        self, filters: Array, weights: Array, bits: int, fits: Fits, least: Array, misses: Misses | None, weigh: Array | None,
        every: int,
    ) -> None:
        self.filters, self.weights, self.bits, self.fits = filters, weights, bits, fits
        self.least, self.misses, self.weigh, self.every = least, misses, weigh, every
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
        open_ = np.ones(len(self.weights), bool)
        missed = np.full(len(self.weights), np.iinfo(np.int64).max)
        for scale in self.on_grids():
            at = np.flatnonzero(open_)
            wanted = self.weights[at] * scale[at, None]
            values = np.rint(wanted)
            held = np.flatnonzero(is_whole(wanted).all(1) & (values >= self.low).all(1) & (values <= self.top).all(1))
            held = held[self.fits(self.filters[at[held]], scale[at[held]], values[held].astype(np.int64))]
            found = np.zeros(held.size, np.int64) if self.misses is None else self.misses(
                self.filters[at[held]], scale[at[held]], values[held].astype(np.int64)
            )
            fewer = found < missed[at[held]]
            held, found = held[fewer], found[fewer]
            self.keep(at[held], scale, values[held])
            missed[at[held]], self.exact[at[held]] = found, True
            open_[at[held[found == 0]]] = False
        first = self.top / self.largest
        shares = _SHARES[self.bits][:: self.every]
        last = np.minimum(self.least, first)
        lower = [*(share * shares[0] * first for share in _LOWER), last]
        for scales, least in (([share * first for share in shares], np.zeros_like(first)), (lower, last)):
            rest = np.flatnonzero(~self.bound & ~self.done)
            if rest.size:
                self.search(rest, scales, least)
        # What does not fit is shown as it would be.
        rest = np.flatnonzero(~self.done)
        self.scale[rest] = np.where(self.bound, 1.0, last)[rest]
        wanted = self.weights[rest] * self.scale[rest, None]
        self.values[rest] = np.clip(np.rint(wanted), self.low, self.top).astype(np.int64)

    def on_grids(self) -> Iterator[Array]:
        """Yield scales that may make all weights whole, (f,) each, best first."""
        yield np.ones(len(self.weights))
        for k in range(1, self.top + 1):
            yield k / self.largest

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


# ---- counting ---------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Counting:
    """How filters count spikes on the chip.

    Args:
        threshold: (f,) int64.
        step: (f,) int64, sixteenths of an integer weight unit: what one more spike takes.
        missed: (f,) int64, sums at which one spike is too many or missing, added up over the levels; 0 where every sum that can occur is
            counted as in real numbers.
    """

    threshold: Array
    step: Array
    missed: Array


def nearest_step(theta: Array, grain: int) -> Array:
    """Return the step that is nearest to a threshold, (f,) int64 sixteenths, at least `grain`.

    Args:
        theta: (f,) float64, positive, in integer weight units.
        grain: sixteenths of which steps are multiples: 1 with activations of 4 bits, 4 with 2 bits.
    """
    return np.asarray(np.clip(np.rint(np.minimum(theta, HUGE) * (SIXTEENTHS / grain)), 1, None).astype(np.int64) * grain)


def spikes_from(theta: Array, rest: Array, strict: bool, levels: int) -> Array:
    """Return the least whole potentials that make 1, 2, ... spikes in real numbers, (f, levels) int64; held at 2^40 where they are beyond.

    Args:
        theta: (f,) float64, what a spike takes; numbers within `TOLERANCE` of a whole number count as whole.
        rest: (f,) float64, what is added to a potential.
        strict: whether a potential at a multiple has not reached it.
        levels: largest number of spikes.
    """
    multiples = np.arange(1, levels + 1) * _on_grid(theta, 1)[:, None]
    bounds = np.clip(multiples - rest[:, None], -HUGE, HUGE)
    size = np.maximum(1, np.maximum(multiples, np.abs(rest)[:, None]))
    bounds = np.where(np.abs(bounds - np.rint(bounds)) <= _ROUNDING * size, np.rint(bounds), bounds)
    return np.asarray((np.floor(bounds) + 1 if strict else np.ceil(bounds)).astype(np.int64))


def _on_grid(theta: Array, grain: int) -> Array:
    """Return thresholds, those near a whole number or multiple of `grain` sixteenths put on it."""
    whole, part = np.rint(theta), np.rint(theta * (SIXTEENTHS / grain)) * (grain / SIXTEENTHS)
    near = np.where(np.abs(theta - part) <= TOLERANCE * np.minimum(theta, SIXTEENTHS), part, theta)
    return np.where(np.abs(theta - whole) <= TOLERANCE * theta, whole, near)


def settle(
    wanted: Array, theta: Array, apart: Array, most: tuple[Array, Array], grain: int, threshold: tuple[int, int], step: int,
) -> Counting:
    """Choose threshold and step of filters together, so that the counts of all sums that can occur are right, or as near as they come.

    The first that is tried counts the first spike right, with the nearest step; where it misses, so are other thresholds around it with
    the steps that suit them, and the best is taken: fewest missed, then the nearest step, then the first tried.

    Args:
        wanted: (f, levels) int64, `spikes_from`.
        theta: (f,) float64, the real threshold in integer weight units.
        apart: (f,) int64, at least 1: sums that can occur are multiples of it.
        most: (f,) int64 each: how far sums go above 0, and below it as a number from 0 on.
        grain: of steps, in sixteenths.
        threshold: smallest and largest.
        step: largest, in sixteenths.
    """
    every, far = np.arange(len(wanted)), SIXTEENTHS * theta
    first, width = wanted[:, 0] - 1, np.minimum(nearest_step(theta, grain), step)
    low, high = -(most[1] // apart) * apart, (most[0] // apart + 1) * apart
    bounds = _held(wanted, apart, low, high)
    chosen, taken = first.copy(), width.copy()
    missed = _missed(bounds, first, width, apart, low, high)
    distance = np.abs(width - far)
    open_ = every[missed > 0]
    offsets = [0, *(sign * k for k in range(1, _AROUND + 1) for sign in (-1, 1))]
    for offset in offsets:
        if not open_.size:
            break
        own, gap = bounds[open_], apart[open_]
        try_ = first[open_] + offset * np.maximum(1, gap // _AROUND)
        inside = (try_ >= threshold[0]) & (try_ <= threshold[1])
        suits = _suiting(own, try_, gap, low[open_], high[open_], grain, width[open_])
        for candidate in (suits, *(width[open_] + k * grain for k in (0, -1, 1, -2, 2))):
            wide = np.clip(candidate, grain, step)
            miss = _missed(own, try_, wide, gap, low[open_], high[open_])
            off = np.abs(wide - far[open_])
            better = inside & ((miss < missed[open_]) | ((miss == missed[open_]) & (off < distance[open_])))
            at = open_[better]
            chosen[at], taken[at], missed[at], distance[at] = try_[better], wide[better], miss[better], off[better]
    return Counting(chosen, taken, missed)


def _held(bounds: Array, apart: Array, low: Array, high: Array) -> Array:
    """Return the least sums that can occur at or above some numbers; `high` where there is none."""
    return np.clip(-(-bounds // apart[:, None]) * apart[:, None], low[:, None], high[:, None])


def _missed(bounds: Array, threshold: Array, step: Array, apart: Array, low: Array, high: Array) -> Array:
    """Return how many sums that can occur are counted otherwise than wanted, added up over the levels, (f,) int64."""
    after = np.arange(bounds.shape[1])
    chip = threshold[:, None] + after * step[:, None] // SIXTEENTHS + 1
    return np.asarray((np.abs(_held(chip, apart, low, high) - bounds) // apart[:, None]).sum(1))


def _suiting(bounds: Array, threshold: Array, apart: Array, low: Array, high: Array, grain: int, near: Array) -> Array:
    """Return the step nearest to `near` with which all levels but the first are right for thresholds; any number where there is none.

    Level k + 1 begins where it should with apart > bounds - t - floor(k Q / 16) - 1 >= 0: that bounds Q on either side. What begins below
    all sums that can occur, or above them, has one bound only.
    """
    after, top = np.arange(1, bounds.shape[1]), 1 << 50
    above = (bounds - threshold[:, None])[:, 1:]
    least = np.where(bounds[:, 1:] > low[:, None], -(SIXTEENTHS * (apart[:, None] - above) // after), 0).max(1, initial=0)
    most = np.where(bounds[:, 1:] < high[:, None], (SIXTEENTHS * above - 1) // after, top).min(1, initial=top)
    return np.asarray(np.minimum(np.maximum(near, -(-least // grain) * grain), most // grain * grain))
