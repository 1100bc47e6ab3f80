"""Random problems for partitioners: pure numbers, each with an answer known beforehand."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product

import numpy as np

from nmap.connectivity import Array
from nmap.partition.neurons import PartitionProblem, cluster_loads
from nmap.partition.problem import Item, PackingProblem
from nmap.partition.tiles import Layer, TilingProblem, core_budget
from nmap.place.board import Board, Fabric
from nmap.place.problem import Nets, PlacementProblem, placement_cost

__all__ = [
    "best_placement", "best_tiling", "bound_placement", "neurons", "overfull_packing", "packing", "placement", "slices", "tiling",
]

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


def slices(populations: int, caps: tuple[int, int, int], seed: int) -> PackingProblem:
    """Return dense populations to be cut: n neurons of one take n neurons, its fan-in once in axons, and n times its fan-in in synapses.

    Sizes are drawn log-uniformly from 32 to 4096 neurons, fan-ins from 32 sources to as many as the smallest of the usual cores takes.

    Args:
        populations: number of items.
        caps: neurons, incoming axons and synapses of a core; 1024 axons at least.
        seed: of the draw; the same populations for every `caps`.
    """
    rng = np.random.default_rng([10, seed])
    sizes = np.exp(rng.uniform(np.log(32), np.log(4096), populations)).astype(np.int64)
    fan_ins = np.exp(rng.uniform(np.log(32), np.log(1024), populations)).astype(np.int64)
    items = []
    for k, (size, fan_in) in enumerate(zip(sizes.tolist(), fan_ins.tolist(), strict=True)):
        units = np.arange(min(size, caps[0], caps[2] // fan_in) + 1)
        demand = np.stack([units, np.where(units > 0, fan_in, 0), units * fan_in])
        pieces = -(-size // (units.size - 1))
        items.append(Item(f"population{k}", size, demand, np.array([size, pieces * fan_in, size * fan_in], np.float64), fan_in))
    return PackingProblem(("neurons", "axons", "synapses"), np.array(caps), tuple(items), 1 << 20)


def tiling(seed: int) -> TilingProblem:
    """Return a small random choice of tile shapes: more cores, fewer copies."""
    rng = np.random.default_rng([11, seed])
    layers = []
    for k in range(4):
        options = int(rng.integers(1, 6))
        layers.append(Layer(f"layer{k}", np.sort(rng.integers(1, 40, options)), np.sort(rng.integers(0, 60, options))[::-1]))
    return TilingProblem(tuple(layers), 10, 100, 0.2)


def best_tiling(problem: TilingProblem) -> int:
    """Return the fewest copies within the cores that may be used, by trying every choice."""
    most = core_budget(problem)
    choices = product(*(zip(layer.cores.tolist(), layer.copies.tolist(), strict=True) for layer in problem.layers))
    return min(sum(copies for _, copies in choice) for choice in choices if sum(cores for cores, _ in choice) <= most)


def neurons(seed: int, board: bool = False) -> tuple[PartitionProblem, Array]:
    """Return a random partition problem of twelve neurons under three budgets, and clusters of theirs that fit its three cores exactly."""
    rng = np.random.default_rng([12, seed])
    size, axons = 12, 15
    listens = rng.random((axons, size)) < 0.3
    listens[np.arange(axons), rng.integers(0, size, axons)] = True
    planted = rng.permutation(np.repeat(np.arange(3), 4))
    problem = PartitionProblem(
        ("neurons", "axons", "memory"), np.full(3, 1 << 20), np.stack([np.ones(size), np.zeros(size), rng.integers(1, 4, size)]),
        np.stack([np.zeros(axons), np.ones(axons), np.ones(axons)]), np.array([0, 0, 1]), np.append(np.arange(size), np.full(3, -1)),
        np.concatenate([[0], np.cumsum(listens.sum(1))]), np.nonzero(listens)[1], rng.random(axons), 3,
        board=Board(np.array([(x, y) for y in range(2) for x in range(2)])) if board else None,
    )
    return replace(problem, capacity=cluster_loads(problem, planted).max(0)), planted


def placement(seed: int, clusters: int = 5, mesh: tuple[int, int] = (3, 2)) -> PlacementProblem:
    """Return a random placement problem on a mesh, with traffic from the input port."""
    rng = np.random.default_rng([9, seed])
    slots = np.array([(x, y) for y in range(mesh[1]) for x in range(mesh[0])])
    links = [(s, t) for s in range(-1, clusters) for t in range(clusters) if s != t and rng.random() < 0.5]
    source, target = np.array(links or [(-1, 0)]).T
    return PlacementProblem(clusters, Board(slots), source, target, rng.integers(1, 20, source.size).astype(np.float64))


def bound_placement(seed: int, multicast: bool = False) -> PlacementProblem:
    """Return a small random placement problem with side constraints: classes of slots, a pinned cluster, homes, packets as nets."""
    rng = np.random.default_rng([10, seed])
    slots = np.array([(x, y) for y in range(2) for x in range(3)])
    fabric = (Fabric(), Fabric((3, 2), wrap=True), Fabric((4, 2), chip=(2, 2), crossing=3))[seed % 3]
    kind = rng.integers(0, 2, 6)
    somewhere = rng.permutation(6)[:4]
    pinned = np.full(4, -1)
    pinned[0] = somewhere[0]
    links = rng.random((5, 4)) < 0.5
    links[np.arange(1, 5), np.arange(4)] = False
    links[0, 1] = True
    net, target = np.nonzero(links)
    weight = rng.integers(1, 20, 5).astype(np.float64)
    nets = Nets(np.arange(-1, 4), np.concatenate([[0], np.cumsum(links.sum(1))]), target, weight)
    return PlacementProblem(
        4, Board(slots, fabric=fabric, kind=kind), net - 1, target, weight[net], nets, multicast, kind[somewhere], pinned,
        rng.permutation(6)[:4], 2.5,
    )


def best_placement(problem: PlacementProblem) -> float:
    """Return the least possible objective by trying every assignment; for problems of a handful of clusters."""
    costs = []
    for slots in permutations(range(problem.board.size), problem.clusters):
        slot = np.array(slots)
        fits = problem.kind is None or problem.board.kind is None or bool((problem.board.kind[slot] == problem.kind).all())
        if fits and (problem.pinned is None or bool(((problem.pinned < 0) | (problem.pinned == slot)).all())):
            costs.append(placement_cost(problem, slot))
    return min(costs)
