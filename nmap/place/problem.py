"""Placement problems as pure numbers: clusters, slots, traffic, distances."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum
from typing import Literal

import numpy as np

from nmap.connectivity import Array, frozen_array

__all__ = ["PlacementProblem", "PlacementSolution", "check_placement", "placement_cost"]


@dataclass(frozen=True, slots=True, eq=False)
class PlacementProblem:
    """Assign clusters to distinct slots so that traffic times distance is least.

    Args:
        clusters: number of clusters.
        slots: (slots, 2) int64 (x, y) of every usable slot's router; dead cores are not listed. Several slots may share a router.
        source, target: (m,) int64 cluster numbers of the traffic's ends; source -1 is the input port.
        weight: (m,) float64, expected packets per step.
        port: (x, y) of the input port's router.
        distance: (slots, slots) hops between slots, symmetric; None means Manhattan distance between the slots' (x, y).
    """

    clusters: int
    slots: Array
    source: Array
    target: Array
    weight: Array
    port: tuple[int, int] = (0, 0)
    distance: Array | None = None

    def __post_init__(self) -> None:
        for name, dtype in (("slots", np.int64), ("source", np.int64), ("target", np.int64), ("weight", np.float64)):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype))
        if self.distance is not None:
            object.__setattr__(self, "distance", frozen_array(self.distance, np.int64))
            if not np.array_equal(self.distance, self.distance.T):
                raise ValueError("distances between slots must be symmetric")

    def hops(self) -> Array:
        """Return (slots, slots) int64 distances."""
        if self.distance is not None:
            return np.asarray(self.distance, np.int64)
        return np.abs(self.slots[:, None, :] - self.slots[None, :, :]).sum(2)

    def hops_between(self, first: Array, second: Array) -> Array:
        """Return the distances between slots pair by pair, (m,) int64, without the matrix of all of them."""
        if self.distance is not None:
            return np.asarray(self.distance[first, second], np.int64)
        return np.abs(self.slots[first] - self.slots[second]).sum(1)

    def port_hops(self) -> Array:
        """Return (slots,) int64 distances from the input port."""
        return np.abs(self.slots - np.asarray(self.port)).sum(1)


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
    hops = problem.hops_between(slot[problem.source[inner]], slot[problem.target[inner]])
    cost = np.concatenate([problem.weight[inner] * hops, problem.weight[~inner] * problem.port_hops()[slot[problem.target[~inner]]]])
    return fsum(cost.tolist())


def check_placement(problem: PlacementProblem, solution: PlacementSolution) -> None:
    """Check an answer against the problem.

    Raises:
        ValueError: a cluster has no slot of its own, the objective is not the assignment's, or the bound is above it.
    """
    slot = solution.slot
    if slot.shape != (problem.clusters,) or np.unique(slot).size != problem.clusters:
        raise ValueError("not every cluster has a slot of its own")
    if problem.clusters and not 0 <= slot.min() <= slot.max() < problem.slots.shape[0]:
        raise ValueError("a cluster lies on a slot that does not exist")
    cost = placement_cost(problem, slot)
    if abs(solution.objective - cost) > 1e-9 * max(1.0, cost):
        raise ValueError(f"objective {solution.objective}, but the assignment costs {cost}")
    if solution.lower_bound > cost + 1e-9 * max(1.0, cost):
        raise ValueError(f"lower bound {solution.lower_bound} above the objective {cost}")
