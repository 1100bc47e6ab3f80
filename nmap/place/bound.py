"""Proved lower bounds of traffic times hops for a given set of clusters."""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array
from nmap.place.problem import PlacementProblem, PlacementSolution, placement_cost
from nmap.place.traffic import Traffic, collect

__all__ = ["certify", "gilmore_lawler_bound", "lower_bound", "packet_bound"]

_LARGEST_MATRIX = 1600
"""Slots up to which the assignment problem of the Gilmore-Lawler bound is built (its arcs are slots squared)."""


def _profile(problem: PlacementProblem, length: int) -> Array:
    """Return (length,) int64: the k-th other cluster is at least this far from a cluster, wherever both lie."""
    if problem.board.distance is not None:
        if problem.board.size < 2:
            return np.zeros(length, np.int64)
        return np.sort(np.where(np.eye(problem.board.size, dtype=bool), -1, problem.board.distance), axis=1)[:, 1 : length + 1].min(0)
    _, sharing = np.unique(problem.board.slots, axis=0, return_counts=True)
    cores = int(sharing.max(initial=1))
    # On an endless mesh 4 k routers are k hops away.
    radius = np.arange(1, int(np.ceil(np.sqrt(length))) + 2)
    return np.concatenate([np.zeros(cores - 1, np.int64), np.repeat(radius, 4 * radius * cores)])[:length]


def _ranked(traffic: Traffic) -> tuple[Array, Array]:
    """Return the rank inside its row and the weight of every entry, the heaviest of a row first."""
    row = np.repeat(np.arange(traffic.port.size), np.diff(traffic.start))
    order = np.lexsort((-traffic.weight, row))
    return np.arange(row.size) - traffic.start[row], traffic.weight[order]


def packet_bound(problem: PlacementProblem) -> float:
    """Return a bound from distinct slots alone: a cluster's k-th heaviest partner is no nearer than the k-th nearest other core.

    Half of the sum over clusters (each pair is seen from both ends), plus the port's traffic, heaviest on the nearest slot. O(m log m).
    """
    if not problem.clusters:
        return 0.0
    traffic = collect(problem)
    rank, weight = _ranked(traffic)
    pairs = int(weight @ _profile(problem, int(rank.max(initial=0)) + 1)[rank]) if rank.size else 0
    nearest = np.sort(problem.board.port_hops())[: problem.clusters]
    port = int(np.sort(traffic.port)[::-1] @ nearest)
    return float((pairs + 2 * port) / 2 / traffic.scale)


def gilmore_lawler_bound(problem: PlacementProblem) -> float:
    """Return the Gilmore-Lawler bound, or 0 where the machine is too large for it.

    A cluster on a slot costs at least its partners' weights (descending) times the slot's distances (ascending), half of that for
    the pair's other end, plus its traffic from the port; the cheapest assignment under these costs is the bound
    (Gilmore 1962, Lawler 1963).
    """
    from ortools.graph.python.linear_sum_assignment import SimpleLinearSumAssignment

    slots, n = problem.board.size, problem.clusters
    if not n or slots > _LARGEST_MATRIX:
        return 0.0
    # The assignment solver multiplies costs by the number of nodes.
    traffic = collect(problem, bits=44)
    rank, weight = _ranked(traffic)
    degree = int(rank.max(initial=-1)) + 1
    near = np.sort(np.where(np.eye(slots, dtype=bool), -1, problem.board.hops()), axis=1)[:, 1 : degree + 1]
    cost = 2 * traffic.port[:, None] * problem.board.port_hops()
    for cluster in range(n):
        entries = slice(int(traffic.start[cluster]), int(traffic.start[cluster + 1]))
        cost[cluster] += near[:, rank[entries]] @ weight[entries]
    # Free slots are taken by clusters without traffic.
    cost = np.concatenate([cost, np.zeros((slots - n, slots), np.int64)])
    solver = SimpleLinearSumAssignment()
    left, right = np.divmod(np.arange(slots * slots), slots)
    solver.add_arcs_with_cost(left, right, cost.ravel())
    if solver.solve() != solver.OPTIMAL:
        return 0.0
    return float(solver.optimal_cost() / 2 / traffic.scale)


def lower_bound(problem: PlacementProblem, gilmore_lawler: bool = True) -> float:
    """Return the best of the bounds of this module."""
    return max(packet_bound(problem), gilmore_lawler_bound(problem) if gilmore_lawler else 0.0)


def certify(problem: PlacementProblem, slot: Array, bound: float, seed: int, deterministic_time: float | None = None) -> PlacementSolution:
    """Return the solution of an assignment: its cost, and `optimal` where the proved bound meets it (to one part in 10^9)."""
    cost = placement_cost(problem, slot)
    closed = cost - bound <= 1e-9 * cost
    return PlacementSolution(slot, cost, cost if closed else bound, "optimal" if closed else "feasible", seed, deterministic_time)
