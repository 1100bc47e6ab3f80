"""Exact assignments of several clusters to slots at once while the others stay: new ones, and clusters without traffic between them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from nmap.connectivity import Array
from nmap.place.metric import Metric, measure
from nmap.place.moves import Annealer
from nmap.place.problem import PlacementProblem
from nmap.place.traffic import Traffic, collect

__all__ = ["assignment", "polish", "settle", "slot_costs"]

_MOST = 128
"""Clusters of one assignment of the polish."""
_ROUNDS = (0, 40, 400)
"""Assignments of the polish by effort without a gain before it ends."""
_LARGEST = 1 << 20
"""Entries of one assignment's costs."""


def assignment(cost: Array) -> Array | None:
    """Return (rows,) int64, distinct columns of least total cost, or None where every assignment needs a forbidden entry.

    Args:
        cost: (rows, columns) int64 with rows <= columns; entries below zero are forbidden. Sums stay below 2^44.
    """
    from ortools.graph.python.linear_sum_assignment import SimpleLinearSumAssignment

    rows, columns = cost.shape
    # Columns to spare are taken by rows that cost nothing.
    square = np.zeros((columns, columns), np.int64)
    square[:rows] = cost
    left, right = np.nonzero(square >= 0)
    solver = SimpleLinearSumAssignment()
    solver.add_arcs_with_cost(left, right, square[left, right])
    if solver.solve() != solver.OPTIMAL:
        return None
    return np.array([solver.right_mate(k) for k in range(rows)], np.int64)


def slot_costs(problem: PlacementProblem, metric: Metric, traffic: Traffic, slot: Array, clusters: Array, places: Array) -> Array:
    """Return (clusters, places) int64: the cost of each cluster on each slot, -1 where it must not lie.

    Partners without a slot (-1) are left out.
    """
    port = problem.board.port_hops()[places]
    cost = traffic.port[clusters][:, None] * port
    for k, cluster in enumerate(clusters.tolist()):
        entries = slice(int(traffic.start[cluster]), int(traffic.start[cluster + 1]))
        weight, at = traffic.weight[entries], slot[traffic.other[entries]]
        weight, at = weight[at >= 0], at[at >= 0]
        if metric.separable:
            cost[k] += (weight @ metric.across[metric.x[at]])[metric.x[places]] + (weight @ metric.up[metric.y[at]])[metric.y[places]]
        else:
            cost[k] += weight @ metric.matrix[metric.place[at]][:, metric.place[places]]
    if problem.home is not None:
        home = problem.home[clusters][:, None]
        cost += traffic.move * ((home >= 0) & (home != places))
    if problem.kind is not None and problem.board.kind is not None:
        cost[problem.kind[clusters][:, None] != problem.board.kind[places]] = -1
    return np.asarray(cost)


def settle(problem: PlacementProblem, slot: Array) -> Array:
    """Return a placement in which clusters without a slot (-1) have the free slots that cost least while the others stay.

    One assignment, exact but for the traffic among the new clusters themselves; where the free slots are many, the cheapest ones of each
    new cluster take part.

    Args:
        problem: what to place; there must be enough slots of each class.
        slot: (clusters,) int64.
    """
    new = np.flatnonzero(slot < 0)
    if not new.size:
        return slot
    traffic, metric = collect(problem, bits=40), measure(problem.board)
    free = _free(problem, slot)
    cost = slot_costs(problem, metric, traffic, slot, new, free)
    if new.size * free.size > _LARGEST or free.size > 1024:
        # Each row's cheapest columns, as many as there are rows of its kind, contain a best assignment.
        keep = np.zeros(free.size, bool)
        ranked = np.argsort(np.where(cost < 0, np.iinfo(np.int64).max, cost), axis=1, kind="stable")
        keep[ranked[:, : new.size].ravel()] = True
        free, cost = free[keep], cost[:, keep]
    chosen = assignment(cost)
    if chosen is None:
        raise ValueError("new clusters find no free slots of their class")
    better = slot.copy()
    better[new] = free[chosen]
    return better


def _free(problem: PlacementProblem, slot: Array) -> Array:
    """Return the slots without a cluster, ascending."""
    free = np.ones(problem.board.size, bool)
    free[slot[slot >= 0]] = False
    return np.flatnonzero(free)


def polish(problem: PlacementProblem, engine: Annealer, slot: Array, effort: int, over: Callable[[], bool]) -> Array:
    """Return a placement that exact assignments of clusters without traffic between them have improved, never a worse one.

    Args:
        problem: what to place; pairs of traffic.
        engine: gives traffic and distances.
        slot: (clusters,) int64.
        effort: 0, 1 or 2.
        over: whether to end.
    """
    traffic, metric = collect(problem, bits=40), engine.metric
    movable = engine.mover.movable
    slot = slot.copy()
    idle = 0
    rng = np.random.Generator(np.random.PCG64(0))
    while idle < _ROUNDS[effort] and not over():
        blocked = np.zeros(problem.clusters, bool)
        chosen = []
        for cluster in rng.permutation(movable).tolist():
            if not blocked[cluster]:
                chosen.append(cluster)
                blocked[traffic.other[traffic.start[cluster] : traffic.start[cluster + 1]]] = True
                if len(chosen) == _MOST:
                    break
        clusters = np.array(chosen, np.int64)
        free = _free(problem, slot)
        places = np.concatenate([slot[clusters], rng.permutation(free)[: _MOST // 2]])
        cost = slot_costs(problem, metric, traffic, slot, clusters, places)
        every = np.arange(clusters.size)
        best = assignment(cost)
        idle += 1
        if best is not None and cost[every, best].sum() < cost[every, every].sum():
            slot[clusters] = places[best]
            idle = 0
    return slot
