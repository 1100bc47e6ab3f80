"""Placement problems as pure numbers: clusters, slots, traffic, distances."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import Literal

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.place.board import Board

__all__ = ["Nets", "PlacementProblem", "PlacementSolution", "check_placement", "placement_cost"]


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
        objective: sum of weight times hops.
        lower_bound: proved lower bound of the objective.
        status: `optimal`, `feasible` or `unknown`.
        seed: the seed used.
        deterministic_time: solver's deterministic seconds, None without a solver.
    """

    slot: Array
    objective: float
    lower_bound: float
    status: Literal["optimal", "feasible", "unknown"]
    seed: int
    deterministic_time: float | None = None


def placement_cost(problem: PlacementProblem, slot: Array) -> float:
    """Return the objective of an assignment, (clusters,) slots: the exactly rounded sum, whatever the order of the traffic."""
    inner = problem.source >= 0
    hops = problem.board.hops_between(slot[problem.source[inner]], slot[problem.target[inner]])
    cost = np.concatenate([problem.weight[inner] * hops, problem.weight[~inner] * problem.board.port_hops()[slot[problem.target[~inner]]]])
    return fsum(cost.tolist())


def check_placement(problem: PlacementProblem, solution: PlacementSolution) -> None:
    """Check an answer against the problem.

    Raises:
        ValueError: a cluster has no slot of its own, the objective is not the assignment's, or the bound is above it.
    """
    slot = solution.slot
    if slot.shape != (problem.clusters,) or np.unique(slot).size != problem.clusters:
        raise ValueError("not every cluster has a slot of its own")
    if problem.clusters and not 0 <= slot.min() <= slot.max() < problem.board.size:
        raise ValueError("a cluster lies on a slot that does not exist")
    cost = placement_cost(problem, slot)
    if abs(solution.objective - cost) > 1e-9 * max(1.0, cost):
        raise ValueError(f"objective {solution.objective}, but the assignment costs {cost}")
    if solution.lower_bound > cost + 1e-9 * max(1.0, cost):
        raise ValueError(f"lower bound {solution.lower_bound} above the objective {cost}")
