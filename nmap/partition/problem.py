"""Core-count problems as pure numbers: no neurons, no chip.

An *item* is a run of `size` equal units (neurons of a dense population, rows of a convolution's output band) that may be cut
anywhere. A piece of n units on a core takes `demand[:, n]` of the core's resources. Pieces of different items, and of one item,
may share a core; their demands add.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array, frozen_array

__all__ = ["Item", "PackingProblem", "PackingSolution", "Piece", "area_bound"]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One divisible population slice.

    Args:
        name: for messages.
        size: number of units.
        demand: (resources, max_piece + 1) int64, non-decreasing along n, column 0 is zero; `max_piece` >= 1 is the largest piece
            that fits an empty core.
        floor: (resources,) float64, a valid lower bound on what *any* cut of the item takes in total over all its pieces.
    """

    name: str
    size: int
    demand: Array
    floor: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "demand", frozen_array(self.demand, np.int64))
        object.__setattr__(self, "floor", frozen_array(self.floor, np.float64))

    @property
    def max_piece(self) -> int:
        """Largest piece that fits an empty core."""
        return int(self.demand.shape[1] - 1)


@dataclass(frozen=True, slots=True, eq=False)
class PackingProblem:
    """Cut items into pieces and put the pieces on as few equal cores as possible.

    Args:
        resources: names.
        capacity: (resources,) int64, of one core.
        items: what to place.
        cores: number of cores there are.
        cohabit: groups of items that may share a core; None lets every item share with every other.
    """

    resources: tuple[str, ...]
    capacity: Array
    items: tuple[Item, ...]
    cores: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "capacity", frozen_array(self.capacity, np.int64))


@dataclass(frozen=True, slots=True)
class Piece:
    """`units` consecutive units of item `item` on cluster `cluster` (cores are not yet places, only groups)."""

    item: int
    units: int
    cluster: int


@dataclass(frozen=True, slots=True)
class PackingSolution:
    """Pieces of every item, in the item's own order, and what is proved about their number of cores.

    Args:
        pieces: for each item its pieces from the first unit to the last.
        clusters: number of cores used; clusters are 0..clusters-1, all non-empty.
        lower_bound: proved: no cut of these items under this resource model needs fewer cores.
        status: `optimal` (clusters == lower_bound), `feasible`, `infeasible` (proved: more cores needed than there are), `unknown`.
        deterministic_time: solver's deterministic seconds; None for an algorithm without a solver.
    """

    pieces: tuple[Piece, ...]
    clusters: int
    lower_bound: int
    status: str
    deterministic_time: float | None = None


def area_bound(problem: PackingProblem) -> int:
    """Return a lower bound on the number of cores: for each resource total demand over capacity, and per item size over largest piece."""
    if not problem.items:
        return 0
    total = np.sum([item.floor for item in problem.items], axis=0)
    by_resource = np.ceil(total / problem.capacity - 1e-9).max()
    by_item = max(-(-item.size // item.max_piece) for item in problem.items)
    return int(max(by_resource, by_item, 1))
