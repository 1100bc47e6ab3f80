"""Placement problems as pure numbers: clusters, slots, traffic, distances."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import Literal

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.place.board import Board

__all__ = [
    "Nets", "PlacementProblem", "PlacementSolution", "check_placement", "check_possible", "largest_link", "moved_clusters",
    "placement_cost", "slot_classes",
]


@dataclass(frozen=True, slots=True, eq=False)
class Nets:
    """Traffic as multicast packets: each goes from one cluster to a set of clusters.

    Args:
        source: (nets,) int64 cluster, -1 is the input port.
        start: (nets + 1,) int64, compressed rows of `target`.
        target: (pins,) int64 clusters, distinct within a net, without the source itself.
        weight: (nets,) float64, expected packets per step.
    """

    source: Array
    start: Array
    target: Array
    weight: Array

    def __post_init__(self) -> None:
        for name, dtype in (("source", np.int64), ("start", np.int64), ("target", np.int64), ("weight", np.float64)):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype))


@dataclass(frozen=True, slots=True, eq=False)
class PlacementProblem:
    """Assign clusters to distinct slots so that traffic times distance is least.

    Args:
        clusters: number of clusters.
        board: the slots and the distances between them.
        source, target: (m,) int64 cluster numbers of the traffic's ends; source -1 is the input port.
        weight: (m,) float64, expected packets per step.
        nets: the same traffic as multicast packets, or None where only its pairs are known.
        multicast: the objective counts the links of each net's tree of routes once, instead of every pair's hops; needs `nets`.
        kind: (clusters,) int64, class of slots each cluster needs, where `board.kind` is given; None means that all are alike.
        pinned: (clusters,) int64, the slot a cluster must have, -1 for a free choice; None means that all are free.
        home: (clusters,) int64, the slot a cluster had before, -1 for a new one; None means that all are new.
        move_cost: added to the objective for every cluster that leaves its home.
    """

    clusters: int
    board: Board
    source: Array
    target: Array
    weight: Array
    nets: Nets | None = None
    multicast: bool = False
    kind: Array | None = None
    pinned: Array | None = None
    home: Array | None = None
    move_cost: float = 0.0

    def __post_init__(self) -> None:
        for name, dtype in (("source", np.int64), ("target", np.int64), ("weight", np.float64)):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype))
        for name in ("kind", "pinned", "home"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, frozen_array(getattr(self, name), np.int64))
        if self.multicast and self.nets is None:
            raise ValueError("the links of multicast routes need the traffic as nets")


@dataclass(frozen=True, slots=True, eq=False)
class PlacementSolution:
    """A slot for every cluster.

    Args:
        slot: (clusters,) int64, distinct.
        objective: sum of weight times hops, of pairs or of trees, and what moves cost.
        lower_bound: proved lower bound of the objective.
        status: `optimal`, `feasible` or `unknown`.
        seed: the seed used.
        deterministic_time: solver's deterministic seconds, None without a solver.
        max_link: the heaviest link's packets per step under the fabric's routes, None where it was not worked out.
        moved: clusters away from the homes they have, None where it was not worked out.
    """

    slot: Array
    objective: float
    lower_bound: float
    status: Literal["optimal", "feasible", "unknown"]
    seed: int
    deterministic_time: float | None = None
    max_link: float | None = None
    moved: int | None = None


def slot_classes(problem: PlacementProblem) -> list[tuple[Array, Array]]:
    """Return, class by class, the clusters, (k,) int64, and which slots they may take, (slots,) bool."""
    if problem.kind is None or problem.board.kind is None:
        return [(np.arange(problem.clusters), np.ones(problem.board.size, bool))]
    return [(np.flatnonzero(problem.kind == kind), problem.board.kind == kind) for kind in np.unique(problem.kind)]


def check_possible(problem: PlacementProblem) -> None:
    """Check that clusters and slots go together.

    Raises:
        ValueError: there are fewer slots than clusters (of a class), or a cluster is pinned to a slot that it cannot have.
    """
    if problem.board.size < problem.clusters:
        raise ValueError(f"{problem.clusters} clusters cannot have {problem.board.size} slots of their own")
    for clusters, usable in slot_classes(problem):
        if usable.sum() < clusters.size:
            raise ValueError(f"{clusters.size} clusters of one class cannot have {int(usable.sum())} slots of their own")
        if problem.pinned is not None:
            pinned = problem.pinned[clusters]
            pinned = pinned[pinned >= 0]
            if (pinned >= problem.board.size).any() or np.unique(pinned).size < pinned.size or not usable[pinned].all():
                raise ValueError("a cluster is pinned to a slot that it cannot have")


def placement_cost(problem: PlacementProblem, slot: Array) -> float:
    """Return the objective of an assignment, (clusters,) slots: the exactly rounded sum, whatever the order of the traffic.

    Weight times hops pair by pair, or with `multicast` weight times the hops of each net's tree; and what moved clusters cost.
    """
    moved = problem.move_cost * moved_clusters(problem, slot)
    if problem.multicast and problem.nets is not None:
        from nmap.place.links import tree_hops

        return fsum([moved, *(problem.nets.weight * tree_hops(problem.board, problem.nets, slot)).tolist()])
    inner = problem.source >= 0
    hops = problem.board.hops_between(slot[problem.source[inner]], slot[problem.target[inner]])
    cost = np.concatenate([problem.weight[inner] * hops, problem.weight[~inner] * problem.board.port_hops()[slot[problem.target[~inner]]]])
    return fsum([moved, *cost.tolist()])


def moved_clusters(problem: PlacementProblem, slot: Array) -> int:
    """Return how many clusters are away from the homes they have."""
    return 0 if problem.home is None else int(((problem.home >= 0) & (slot != problem.home)).sum())


def largest_link(problem: PlacementProblem, slot: Array) -> float:
    """Return the heaviest link's packets per step, under the fabric's routes: pair by pair, or with `multicast` tree by tree."""
    from nmap.place.links import link_loads

    nets = problem.nets if problem.multicast else None
    return link_loads(problem.board, slot, problem.source, problem.target, problem.weight, nets).largest


def check_placement(problem: PlacementProblem, solution: PlacementSolution) -> None:
    """Check an answer against the problem.

    Raises:
        ValueError: a cluster has no slot of its own, or one of another class than its own, or is not where it is pinned; the objective
            is not the assignment's, or the bound is above it.
    """
    slot = solution.slot
    if slot.shape != (problem.clusters,) or np.unique(slot).size != problem.clusters:
        raise ValueError("not every cluster has a slot of its own")
    if problem.clusters and not 0 <= slot.min() <= slot.max() < problem.board.size:
        raise ValueError("a cluster lies on a slot that does not exist")
    if problem.kind is not None and problem.board.kind is not None and (problem.board.kind[slot] != problem.kind).any():
        raise ValueError("a cluster lies on a slot of another class")
    if problem.pinned is not None and ((problem.pinned >= 0) & (slot != problem.pinned)).any():
        raise ValueError("a pinned cluster lies elsewhere")
    cost = placement_cost(problem, slot)
    if abs(solution.objective - cost) > 1e-9 * max(1.0, cost):
        raise ValueError(f"objective {solution.objective}, but the assignment costs {cost}")
    if solution.lower_bound > cost + 1e-9 * max(1.0, cost):
        raise ValueError(f"lower bound {solution.lower_bound} above the objective {cost}")
