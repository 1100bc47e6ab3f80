"""An optional part of a partitioner: how a population is cut, instead of the pipeline's own choice of tiles.

Without it the pipeline cuts populations into few, large lanes and lets the partitioner share them out. A partitioner that is also a
`Cutter` fixes the pieces beforehand, a grid of boxes per population; its `pack` then gets one item per box.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol, runtime_checkable

import numpy as np

from nmap.connectivity import Array, frozen_array

__all__ = ["CutProblem", "Cutter", "Grid", "check_grid"]

Grid = tuple[tuple[tuple[int, int], ...], ...]
"""Along every dimension the (start, stop) of its parts, ascending and without gaps; every product of parts is a box."""


@dataclass(frozen=True, slots=True, eq=False)
class CutProblem:
    """One population as pure numbers.

    Args:
        name: for messages.
        shape: (n,), or (channels, height, width) of a map.
        resources: names.
        capacity: (resources,) int64, of one core.
        demand: from the extents of a box, one by dimension, to the (resources,) int64 that any such box takes at most; non-decreasing
            in every extent.
        whole: the same if lists of synapses were matrices with all their zeros, as in a chip's memory that drops none; None where no
            list has more synapses than source and target neurons together, as between layers that were dense once.
    """

    name: str
    shape: tuple[int, ...]
    resources: tuple[str, ...]
    capacity: Array
    demand: Callable[[tuple[int, ...]], Array]
    whole: Callable[[tuple[int, ...]], Array] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "capacity", frozen_array(self.capacity, np.int64))

    def fits(self, extent: tuple[int, ...]) -> bool:
        """Return whether any box of an extent fits an empty core."""
        return bool((self.demand(extent) <= self.capacity).all())


@runtime_checkable
class Cutter(Protocol):
    """A partitioner that says itself how populations are cut."""

    def cut(self, problem: CutProblem) -> Grid:
        """Return a grid of boxes of which each fits an empty core; a box of one neuron is known to fit."""


def check_grid(problem: CutProblem, grid: Grid) -> None:
    """Check an answer against the problem.

    Raises:
        ValueError: the parts do not cover a dimension, overlap, or are empty; or a box does not fit a core.
    """
    covered = len(grid) == len(problem.shape) and all(
        parts and parts[0][0] == 0 and parts[-1][1] == size and all(start < stop for start, stop in parts)
        and all(first[1] == second[0] for first, second in pairwise(parts))
        for size, parts in zip(problem.shape, grid, strict=True)
    )
    if not covered:
        raise ValueError(f"the parts of `{problem.name}` do not cover its shape {problem.shape} once: {grid}")
    largest = tuple(max(stop - start for start, stop in parts) for parts in grid)
    if not problem.fits(largest):
        raise ValueError(f"a box of {largest} of `{problem.name}` does not fit a core")
