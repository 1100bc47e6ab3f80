"""How the published compiler cuts a population, as far as its printed tables tell.

Every population (the connection into it and its neurons) is an object of its own. A list of neurons is cut into runs of at most `limit`
neurons, the last one shorter; `limit` starts at what a core holds and is divided again and again by how often the core would overflow.
A map is cut into tiles: its width in a power of two, height and channels by halving.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from nmap.connectivity import Array
from nmap.partition.grid import CutProblem, Grid

__all__ = ["Rule", "cut_list", "cut_map"]


@dataclass(frozen=True, slots=True)
class Rule:
    """When a core counts as too full, and by how much it is divided then.

    Resources are looked up by name; one that a chip does not have limits nothing. The chip's own capacity holds besides.

    Args:
        neurons: resource of which a core's capacity is the first limit of neurons.
        synapses, axons: resources of synapse memory and of input axons.
        divisor: synapse memory that the overload is measured against, in the resource's unit; None: the chip's capacity.
        most: synapse memory and input axons together that a core may hold; None: no limit beyond the capacity.
    """

    neurons: str = "neurons"
    synapses: str = "synapse_memory"
    axons: str = "input_axons"
    divisor: int | None = None
    most: int | None = None

    def overload(self, problem: CutProblem, extent: tuple[int, ...]) -> int:
        """Return by how much a box has to be divided: 1 where a core takes it, else at least 2."""
        need = problem.demand(extent)
        over = int(self._ratios(problem, need).max(initial=0))
        if over <= 1 and not self._beyond(problem, need):
            return 1
        return max(2, over, self._against(problem, need))

    def first(self, problem: CutProblem) -> int:
        """Return the most neurons of a piece before anything is divided."""
        at = self._at(problem, self.neurons)
        return int(np.prod(problem.shape)) if at is None else int(problem.capacity[at])

    @property
    def bare(self) -> Rule:
        """The rule of the chip's capacity alone."""
        return replace(self, divisor=None, most=None)

    @staticmethod
    def _at(problem: CutProblem, name: str) -> int | None:
        return problem.resources.index(name) if name in problem.resources else None

    @staticmethod
    def _ratios(problem: CutProblem, need: Array) -> Array:
        """Return demand over capacity, rounded up; of what a core has nothing, a population that fits it takes nothing."""
        return -(-need // np.maximum(problem.capacity, 1))

    def _beyond(self, problem: CutProblem, need: Array) -> bool:
        rows = [row for row in (self._at(problem, self.synapses), self._at(problem, self.axons)) if row is not None]
        return self.most is not None and bool(rows) and int(need[rows].sum()) > self.most

    def _against(self, problem: CutProblem, need: Array) -> int:
        row = self._at(problem, self.synapses)
        return 0 if row is None or self.divisor is None else -(-int(need[row]) // self.divisor)


def _parts(size: int, length: int) -> tuple[tuple[int, int], ...]:
    return tuple((start, min(start + length, size)) for start in range(0, size, length))


def cut_list(rule: Rule, problem: CutProblem) -> Grid:
    """Return the runs of a one-dimensional population."""
    size, limit = problem.shape[0], rule.first(problem)
    while (over := rule.overload(problem, (min(size, limit),))) > 1:
        if limit == 1:
            # A neuron that the rule never takes, but a core does: what is left is the core.
            return cut_list(rule.bare, problem)
        limit = max(1, limit // over)
    return (_parts(size, limit),)


def _halvings(size: int) -> list[int]:
    """Return size, half of it, a quarter ..., each rounded up, down to 1."""
    found = [size]
    while found[-1] > 1:
        found.append(-(-found[-1] // 2))
    return found


def _width(room: int, width: int) -> int:
    """Return the largest power of two up to `room`, but none larger than it takes to cover `width`; 0 where there is no room."""
    return min(1 << (room.bit_length() - 1), 1 << (width - 1).bit_length()) if room else 0


def _rows(height: int, width: int, room: int) -> int:
    """Return the height of tiles of at most `room` pixels that need the fewest cores.

    Of equal numbers: the lowest tiles that are at least as high as wide, else the highest ones.
    """
    best: tuple[tuple[int, int, int], int] | None = None
    for rows in _halvings(height):
        columns = _width(room // rows, width)
        if columns:
            cores = -(-height // rows) * -(-width // columns)
            key = (cores, 0, rows) if rows >= columns else (cores, 1, -rows)
            best = min(best or (key, rows), (key, rows))
    return 1 if best is None else best[1]


def cut_map(rule: Rule, problem: CutProblem) -> Grid:
    """Return the tiles of a (channels, height, width) population, or of a (height, width) one.

    Rows are chosen for all channels; when synapse memory does not hold the kernels of all channels, these are halved and the tiles get
    wider instead.
    """
    height, width = problem.shape[-2:]
    before = problem.shape[:-2]
    limit = rule.first(problem)
    channels = next(part for part in _halvings(before[0] if before else 1) if part <= limit)
    rows = _rows(height, width, limit // channels)
    while True:
        columns = _width(limit // (channels * rows), width)
        extent = (*(channels for _ in before), rows, min(columns, width))
        over = rule.overload(problem, extent)
        if over == 1:
            break
        if channels > 1:
            for _ in range(over.bit_length() - 1):
                channels = -(-channels // 2)
        elif limit > 1:
            limit = max(1, limit // over)
            rows = _rows(height, width, limit)
        else:
            return cut_map(rule.bare, problem)
    return (*(_parts(size, channels) for size in before), _parts(height, rows), _parts(width, columns))
