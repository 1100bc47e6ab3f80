"""Random problems for partitioners: pure numbers, each with an answer known beforehand."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from nmap.connectivity import Array
from nmap.partition.problem import Item, PackingProblem
from nmap.place.board import Board
from nmap.place.problem import PlacementProblem, placement_cost

__all__ = ["best_placement", "overfull_packing", "packing", "placement"]

_CAPACITY = np.array([16, 40])


def _item(name: str, size: int, fixed: Array, per_unit: Array) -> Item:
    """Return an item whose pieces of n units take fixed + n per_unit; the floor charges every necessary piece its fixed part."""
    largest = int(((_CAPACITY - fixed) // per_unit).min())
    units = np.arange(largest + 1)
    demand = np.where(units > 0, fixed[:, None] + per_unit[:, None] * units, 0)
    return Item(name, size, demand, (per_unit * size + fixed * -(-size // largest)).astype(np.float64))


def _next_fit(items: list[Item]) -> int:
    """Return the cores that filling one core after the other takes."""
    cores, free = 1, _CAPACITY.copy()
    for item in items:
        left = item.size
        while left:
            fits = np.flatnonzero((item.demand[:, : left + 1] <= free[:, None]).all(0)).max()
            if fits == 0:
                cores, free = cores + 1, _CAPACITY.copy()
                continue
            free = free - item.demand[:, fits]
            left -= int(fits)
    return cores


def packing(seed: int, items: int = 5) -> tuple[PackingProblem, int]:
    """Return a random packing problem of two resources, and a number of cores that is known to be enough (and is all there are)."""
    rng = np.random.default_rng([8, seed])
    made = [
        _item(f"item{k}", int(rng.integers(1, 30)), rng.integers(0, 4, 2), rng.integers(1, 6, 2)) for k in range(items)
    ]
    enough = _next_fit(made)
    return PackingProblem(("a", "b"), _CAPACITY, tuple(made), enough), enough


def overfull_packing() -> PackingProblem:
    """Return a problem that needs more cores than there are, by area alone."""
    item = _item("item", 33, np.zeros(2, np.int64), np.ones(2, np.int64))
    return PackingProblem(("a", "b"), _CAPACITY, (item,), 2)


def placement(seed: int, clusters: int = 5, mesh: tuple[int, int] = (3, 2)) -> PlacementProblem:
    """Return a random placement problem on a mesh, with traffic from the input port."""
    rng = np.random.default_rng([9, seed])
    slots = np.array([(x, y) for y in range(mesh[1]) for x in range(mesh[0])])
    links = [(s, t) for s in range(-1, clusters) for t in range(clusters) if s != t and rng.random() < 0.5]
    source, target = np.array(links or [(-1, 0)]).T
    return PlacementProblem(clusters, Board(slots), source, target, rng.integers(1, 20, source.size).astype(np.float64))


def best_placement(problem: PlacementProblem) -> float:
    """Return the least possible objective by trying every assignment; for problems of a handful of clusters."""
    return min(placement_cost(problem, np.array(slots)) for slots in permutations(range(problem.board.size), problem.clusters))
