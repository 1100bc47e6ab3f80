"""Placement problems as pure numbers: clusters, slots, traffic, distances."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nmap.connectivity import Array, frozen_array

__all__ = ["PlacementProblem", "PlacementSolution", "placement_cost"]


@dataclass(frozen=True, slots=True, eq=False)
class PlacementProblem:
    """Assign clusters to distinct slots so that traffic times distance is least.

    Args:
        clusters: number of clusters.
        slots: (slots, 2) int64 (x, y) of every usable slot's router; dead cores are not listed. Several slots may share a router.
        source, target: (m,) int64 cluster numbers of the traffic's ends; source -1 is the input port.
        weight: (m,) float64, expected packets per step.
        port: (x, y) of the input port's router.
        distance: (slots, slots) hops between slots; None means Manhattan distance between the slots' (x, y).
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

    def hops(self) -> Array:
        """Return (slots, slots) int64 distances."""
        if self.distance is not None:
            return np.asarray(self.distance, np.int64)
        return np.abs(self.slots[:, None, :] - self.slots[None, :, :]).sum(2)

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
    """Return the objective of an assignment, (clusters,) slots."""
    hops, port = problem.hops(), problem.port_hops()
    inner = problem.source >= 0
    cost = problem.weight[inner] @ hops[slot[problem.source[inner]], slot[problem.target[inner]]]
    return float(cost + problem.weight[~inner] @ port[slot[problem.target[~inner]]])
