"""Core-count problems as pure numbers: no neurons, no chip.

An *item* is a run of `size` equal units (neurons of a dense population, rows of a convolution's output band) that may be cut
anywhere. A piece of n units on a core takes `demand[:, n]` of the core's resources. Pieces of different items, and of one item,
may share a core; their demands add.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array, frozen_array

__all__ = ["Item", "PackingProblem", "PackingSolution", "Piece", "area_bound", "check_packing"]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One divisible population slice.

    Args:
        name: for messages.
        size: number of units.
        demand: (resources, max_piece + 1) int64, non-decreasing along n, column 0 is zero; `max_piece` >= 1 is the largest piece
            that fits an empty core.
        floor: (resources,) float64, a valid lower bound on what *any* cut of the item takes in total over all its pieces.
        seam: packets per step that one cut more adds: inputs that the units on both sides need. Only compared, never part of a bound.
    """

    name: str
    size: int
    demand: Array
    floor: Array
    seam: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "demand", frozen_array(self.demand, np.int64))
        object.__setattr__(self, "floor", frozen_array(self.floor, np.float64))

    @property
    def max_piece(self) -> int:
        """Largest piece that fits an empty core."""
        return int(self.demand.shape[1] - 1)

    @property
    def fewest_pieces(self) -> int:
        """Pieces every cut has at least."""
        return -(-self.size // self.max_piece)

    def least_demand(self) -> Array:
        """Return (resources,) float64: no cut takes less in total, since no piece pays less per unit than the table's best price."""
        return np.asarray(self.size * (self.demand[:, 1:] / np.arange(1, self.max_piece + 1)).min(1), np.float64)

    def joins(self, capacity: Array) -> bool:
        """Return whether one piece per core is as good as several: no two pieces that fit a core together take less than as one piece.

        True of any demand whose fixed part (shared inputs, a header) is paid once per piece.
        """
        most = self.max_piece
        for a in range(1, most // 2 + 1):
            b = np.arange(a, most - a + 1)
            if (self.demand[:, a + b] > self.demand[:, [a]] + self.demand[:, b]).any():
                return False
        for a in range(1, min(most, self.size) + 1):
            # Two pieces that together are larger than the largest one, and no larger than the item.
            b = np.arange(max(a, most + 1 - a), min(most, self.size - a) + 1)
            if b.size and (self.demand[:, [a]] + self.demand[:, b] <= capacity[:, None]).all(0).any():
                return False
        return True


@dataclass(frozen=True, slots=True, eq=False)
class PackingProblem:
    """Cut items into pieces and put the pieces on as few equal cores as possible.

    Args:
        resources: names.
        capacity: (resources,) int64, of one core.
        items: what to place.
        cores: number of cores there are.
        slack: share of cores beyond the fewest that may be spent on smaller seams.
    """

    resources: tuple[str, ...]
    capacity: Array
    items: tuple[Item, ...]
    cores: int
    slack: float = 0.0

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
        pieces: item by item, each item's from its first unit to its last; empty without a feasible answer.
        clusters: number of cores used; clusters are 0..clusters-1, all non-empty. Without a feasible answer: the fewest cores found to be
            enough if there were that many.
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
    """Return a lower bound on the number of cores: for each resource total demand over capacity, and per item size over largest piece.

    The second holds where a core gains nothing from several pieces of one item (`Item.joins`).
    """
    if not problem.items:
        return 0
    # The floors hold for sums over items only, so the two bounds must not be mixed item by item.
    floors = np.sum([item.floor for item in problem.items], axis=0)
    tables = np.sum([item.least_demand() for item in problem.items], axis=0)
    by_resource = np.ceil(np.maximum(floors, tables) / problem.capacity - 1e-9).max()
    bound = max(int(by_resource), 1)
    for item in problem.items:
        if item.fewest_pieces > bound and item.joins(problem.capacity):
            bound = item.fewest_pieces
    return bound


def check_packing(problem: PackingProblem, solution: PackingSolution) -> None:
    """Check a feasible answer against the problem.

    Raises:
        ValueError: units are missing, a core is over its budget, clusters are empty or too many, or the proof contradicts the answer.
    """
    units = np.zeros((len(problem.items), solution.clusters), np.int64)
    load = np.zeros((solution.clusters, len(problem.resources)), np.int64)
    for piece in solution.pieces:
        if not (0 <= piece.item < len(problem.items) and 0 <= piece.cluster < solution.clusters):
            raise ValueError(f"no such item or cluster: {piece}")
        item = problem.items[piece.item]
        if not 1 <= piece.units <= item.max_piece:
            raise ValueError(f"a piece of `{item.name}` does not fit a core: {piece}")
        units[piece.item, piece.cluster] += piece.units
        load[piece.cluster] += item.demand[:, piece.units]
    wrong = [item.name for item, row in zip(problem.items, units, strict=True) if row.sum() != item.size]
    if wrong:
        raise ValueError(f"the pieces do not hold all units, or too many, of {wrong}")
    if (load > problem.capacity).any():
        raise ValueError(f"cores over their budget: {np.flatnonzero((load > problem.capacity).any(1)).tolist()}")
    if solution.clusters > problem.cores or (solution.clusters and not units.any(0).all()):
        raise ValueError("more cores than there are, or an empty one")
    if solution.lower_bound > solution.clusters:
        raise ValueError(f"lower bound {solution.lower_bound} above the {solution.clusters} cores of the answer")
