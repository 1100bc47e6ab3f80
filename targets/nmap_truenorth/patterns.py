"""Codes of numbers: how few axons make every weight of a set, as pure numbers.

A source has r_g axons of each of four types g, and a neuron adds s_g for every one of them whose crossbar bit it has set, so that its
weight is sum e_g s_g with 0 <= e_g <= r_g. Such a *pattern* (values s, copies r) makes at most prod (r_g + 1) numbers. With the sizes
a_g = |s_g| ascending, it makes every number from -N to P, where N and P are the sums of r_g a_g over the negative and the positive values,
exactly if a_0 = 1 and a_k <= 1 + sum_{i<k} r_i a_i. All of these numbers grow with each a_k: the largest a_k decide what is possible.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations, product
from math import prod

import numpy as np

from nmap.connectivity import Array

__all__ = ["LARGEST", "TYPES", "Pattern", "fewest_axons", "interval_patterns", "one_sided_patterns", "solve", "uses"]

TYPES = 4
"""Axon types of a core, and values of a neuron."""
LARGEST = 255
"""Largest size of a value: a sign and 8 bits in the tools' format."""
_MOST = 64
"""Axons a source beyond which no code is looked for."""
_KEPT = 8
"""Patterns that are compared."""
_TRIES = 500
_FEW = 12000
"""Sums looked at in the search for a set of numbers with gaps; with at most one axon of each type."""
_GAPS = 16
"""Numbers of such a set at most: with more, gaps hardly ever save an axon."""
_LONG = 6
"""Axons a source up to which it is made."""
_NARROW = 16
"""Sets that span no more than this have all values tried, wider ones only differences of their numbers."""


@dataclass(frozen=True, slots=True, order=True)
class Pattern:
    """Values of a neuron by axon type, and how many axons of each type a source has; copies 0: the type is not used."""

    copies: tuple[int, ...]
    values: tuple[int, ...]

    @property
    def axons(self) -> int:
        """Axons of a source that needs them all."""
        return sum(self.copies)


def _pattern(pairs: list[tuple[int, int]]) -> Pattern:
    """Return a pattern of (copies, value) pairs: positive values first, small ones first."""
    ordered = sorted((pair for pair in pairs if pair[0] and pair[1]), key=lambda pair: (pair[1] < 0, abs(pair[1])))
    ordered += [(0, 0)] * (TYPES - len(ordered))
    return Pattern(tuple(copies for copies, _ in ordered), tuple(value for _, value in ordered))


def fewest_axons(numbers: int) -> int:
    """Return a lower bound of the axons a source that make so many numbers, 0 among them."""
    axons = 0
    while prod(axons // TYPES + 1 + (k < axons % TYPES) for k in range(TYPES)) < numbers:
        axons += 1
    return axons


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Yield the ways of writing a number as an ordered sum of so many positive ones."""
    if parts == 1:
        yield (total,)
        return
    for first in range(1, total - parts + 2):
        for rest in _compositions(total - first, parts - 1):
            yield (first, *rest)


def _complete(copies: tuple[int, ...], signs: tuple[int, ...], low: int, high: int, cap: int) -> Pattern | None:
    """Return the pattern with these copies and signs, by size ascending, that makes all of -low..high; None without one."""
    sizes: list[int] = []
    total = 0
    side = {1: 0, -1: 0}
    for number, sign in zip(copies, signs, strict=True):
        sizes.append(min(cap, 1 + total))
        total += number * sizes[-1]
        side[sign] += number * sizes[-1]
    if side[1] < high or side[-1] < low:
        return None
    spare = {1: side[1] - high, -1: side[-1] - low}
    for k in reversed(range(len(sizes))):
        # Larger values must still find every number below them.
        slack = [1 + sum(r * a for r, a in zip(copies[:m], sizes[:m], strict=True)) - sizes[m] for m in range(k + 1, len(sizes))]
        less = min([sizes[k] - 1, spare[signs[k]] // copies[k], *(room // copies[k] for room in slack)])
        sizes[k] -= less
        spare[signs[k]] -= less * copies[k]
    return _pattern([(number, sign * size) for number, sign, size in zip(copies, signs, sizes, strict=True)])


@lru_cache(maxsize=512)
def _shares(axons: int, parts: int) -> tuple[Array, Array]:
    """Return every way of giving types copies and signs, each pair once: (ways, parts) int64 each."""
    copies = np.array(list(_compositions(axons, parts)), np.int64).reshape(-1, parts)
    signs = np.array(list(product((1, -1), repeat=parts)), np.int64)
    return np.repeat(copies, len(signs), axis=0), np.tile(signs, (len(copies), 1))


def _covering(axons: int, parts: int, low: int, high: int, cap: int) -> set[Pattern]:
    """Return the patterns of so many axons and types that make every number from -low to high."""
    copies, signs = _shares(axons, parts)
    total = np.zeros(len(copies), np.int64)
    up, down = total.copy(), total.copy()
    for k in range(parts):
        # The largest size that leaves no gap; see the module's text.
        reached = copies[:, k] * np.minimum(cap, 1 + total)
        total += reached
        up += np.where(signs[:, k] > 0, reached, 0)
        down += np.where(signs[:, k] < 0, reached, 0)
    found = set()
    for way in np.flatnonzero((up >= high) & (down >= low)).tolist():
        pattern = _complete(tuple(copies[way].tolist()), tuple(signs[way].tolist()), low, high, cap)
        assert pattern is not None
        found.add(pattern)
    return found


@lru_cache(maxsize=4096)
def interval_patterns(low: int, high: int, cap: int = LARGEST, more: int = 0) -> tuple[Pattern, ...]:
    """Return patterns of fewest axons that make every number from -low to high; empty where that takes more than 64 axons.

    Args:
        low, high: not negative.
        cap: largest size of a value.
        more: axons beyond the fewest up to which further patterns are returned.
    """
    if low == high == 0:
        return (_pattern([]),)
    axons, kept = fewest_axons(low + high + 1), []
    while axons <= _MOST and more >= 0:
        found = set().union(*(_covering(axons, parts, low, high, cap) for parts in range(1, min(TYPES, axons) + 1)))
        kept += sorted(found, key=lambda pattern: (sum(map(abs, pattern.values)), pattern))[:_KEPT]
        more -= 1 if kept else 0
        axons += 1
    return tuple(kept)


@lru_cache(maxsize=1024)
def one_sided_patterns(low: int, high: int, cap: int = LARGEST) -> tuple[Pattern, ...]:
    """Return patterns that make 1..high from positive values alone and -low..-1 from negative ones: for sources of one sign each.

    One for every way of sharing the types out between the signs.
    """
    found = []
    for positive in range(1, TYPES):
        up, down = (_ascending(most, types, cap) for most, types in ((high, positive), (low, TYPES - positive)))
        if up is not None and down is not None:
            found.append(_pattern([*up, *((copies, -value) for copies, value in down)]))
    return tuple(found)


def _ascending(most: int, types: int, cap: int) -> list[tuple[int, int]] | None:
    """Return (copies, value) pairs of so many types at most that make 0..most with the fewest axons."""
    if most == 0:
        return []
    for axons in range(1, _MOST + 1):
        for parts in range(1, min(types, axons) + 1):
            for copies in _compositions(axons, parts):
                made = _complete(copies, (1,) * parts, 0, most, cap) if prod(r + 1 for r in copies) > most else None
                if made is not None:
                    return [pair for pair in zip(made.copies, made.values, strict=True) if pair[0]]
    return None


@lru_cache(maxsize=1024)
def uses(pattern: Pattern) -> dict[int, tuple[int, ...]]:
    """Return, for every number that a pattern makes, how many axons of each type to switch on: as few as possible in all."""
    grids = np.indices([copies + 1 for copies in pattern.copies]).reshape(TYPES, -1).T
    sums = grids @ np.array(pattern.values, np.int64)
    order = np.lexsort((*(-grids.T[::-1]), grids.sum(1)))
    _, first = np.unique(sums[order], return_index=True)
    return {int(sums[k]): tuple(grids[k].tolist()) for k in order[first]}


@lru_cache(maxsize=8192)
def solve(numbers: tuple[int, ...], copies: tuple[int, ...], cap: int = LARGEST) -> Pattern | None:
    """Return values with which sources of these copies make all the numbers of a set; None where none were found.

    Exact for sets that leave out none between their ends. For others the search tries a number of values and then gives up.

    Args:
        numbers: ascending, without 0.
        copies: descending, each at least 1, at most four of them.
        cap: largest size of a value.
    """
    if not numbers:
        return _pattern([])
    if prod(r + 1 for r in copies) <= len(numbers):
        return None
    if len(numbers) <= len(copies):
        if max(map(abs, numbers)) > cap:
            return None
        return _pattern([(copies[k], number) for k, number in enumerate(numbers)])
    low, high = max(0, -numbers[0]), max(0, numbers[-1])
    whole = interval_patterns(low, high, cap)
    if whole and whole[0].axons <= sum(copies):
        for ordered in sorted(set(permutations(copies))):
            for signs in product((1, -1), repeat=len(copies)):
                found = _complete(ordered, signs, low, high, cap)
                if found is not None:
                    return found
    if len(numbers) == low + high or len(numbers) > _GAPS or sum(copies) > _LONG:
        return None
    values = _search(frozenset(numbers), copies, cap)
    return None if values is None else _pattern(list(zip(copies, values, strict=True)))


def _search(numbers: frozenset[int], copies: tuple[int, ...], cap: int) -> list[int] | None:
    """Try values of one type after the other; the last one must make the largest number that is missing."""
    span = max(0, *numbers) - min(0, *numbers)
    if span <= _NARROW:
        sizes = list(range(1, min(cap, span) + 1))
    else:
        both = sorted({0, *numbers})
        apart = {abs(a - b) for a in both for b in both if a != b}
        sizes = sorted({d // e for d in apart for e in range(1, max(copies) + 1) if d % e == 0 and d // e <= cap})
    candidates = [sign * size for size in sizes for sign in (1, -1)]
    offset = cap * sum(copies)
    wanted = sum(1 << (number + offset) for number in numbers)
    return _Search(wanted, offset, copies, candidates, cap).values((0,), ())


class _Search:
    """A search for the values of some types, with a number of tries.

    Args:
        wanted: the numbers to be made, bit `offset` + n for n.
        offset: see `wanted`.
        copies: descending.
        candidates: values for all types but the last one, in order of trial.
        cap: largest size of a value.
    """

    def __init__(self, wanted: int, offset: int, copies: tuple[int, ...], candidates: list[int], cap: int) -> None:
        self.wanted, self.offset, self.copies, self.candidates, self.cap = wanted, offset, copies, candidates, cap
        self.left = _FEW if max(copies) == 1 else _TRIES

    def values(self, sums: tuple[int, ...], chosen: tuple[int, ...], first: int = 0) -> list[int] | None:
        """Return values for all types, those chosen first; None where none were found.

        Args:
            sums: the numbers that the chosen ones make.
            chosen: of the first types.
            first: candidates before this one were tried for a type with as many copies.
        """
        times = self.copies[len(chosen)]
        last = len(chosen) == len(self.copies) - 1
        candidates = self._completing(sums, times) if last else self.candidates
        for k in range(0 if last else first, len(candidates)):
            self.left -= len(sums) * times
            if self.left < 0:
                return None
            value = candidates[k]
            more = tuple({number + e * value for number in sums for e in range(times + 1)})
            if not self._missing(more):
                return [*chosen, value, *([0] * (len(self.copies) - len(chosen) - 1))]
            if not last:
                found = self.values(more, (*chosen, value), k if self.copies[len(chosen) + 1] == times else 0)
                if found is not None:
                    return found
        return None

    def _missing(self, sums: tuple[int, ...]) -> int:
        made = 0
        for number in sums:
            made |= 1 << (number + self.offset)
        return self.wanted & ~made

    def _completing(self, sums: tuple[int, ...], times: int) -> list[int]:
        """Return the values of the last type with which the largest missing number can be made."""
        number = self._missing(sums).bit_length() - 1 - self.offset
        options = set()
        for made in sums:
            for e in range(1, times + 1):
                value, rest = divmod(number - made, e)
                if rest == 0 and value and abs(value) <= self.cap:
                    options.add(value)
        return sorted(options, key=lambda value: (abs(value), value < 0))
