"""Proved lower bounds of traffic times hops for a given set of clusters."""

from __future__ import annotations

from math import fsum

import numpy as np

from nmap.connectivity import Array
from nmap.place.board import Board
from nmap.place.problem import Nets, PlacementProblem, PlacementSolution, check_possible, largest_link, moved_clusters, placement_cost
from nmap.place.traffic import Traffic, collect

__all__ = ["certify", "gilmore_lawler_bound", "lower_bound", "packet_bound"]

_LARGEST_MATRIX = (400, 1600, 1600)
"""Slots up to which the assignment problem of the Gilmore-Lawler bound is built (its arcs are slots squared), by effort."""


def _sharing(board: Board) -> int:
    """Return the most slots of one router."""
    return int(np.unique(board.slots, axis=0, return_counts=True)[1].max(initial=1))


def _profile(problem: PlacementProblem, length: int) -> Array:
    """Return (length,) int64: the k-th other cluster is at least this far from a cluster, wherever both lie."""
    board = problem.board
    if board.distance is not None:
        if board.size < 2:
            return np.zeros(length, np.int64)
        # A partition per row instead of a full sort: few partners are many slots fewer.
        kept = min(length, board.size - 1)
        others = np.where(np.eye(board.size, dtype=bool), -1, board.distance)
        near = np.sort(np.partition(others, kept, axis=1)[:, : kept + 1], axis=1)[:, 1:].min(0)
        return np.concatenate([near, np.repeat(near[-1:], length - kept)])
    cores = _sharing(board)
    # On an endless mesh 4 k routers are k hops away, on a hexagonal one 6 k; a torus has no more, and crossings only add hops.
    links = 6 if board.fabric.hexagonal else 4
    radius = np.arange(1, int(np.ceil(np.sqrt(length))) + 2)
    return np.concatenate([np.zeros(cores - 1, np.int64), np.repeat(radius, links * radius * cores)])[:length]


def _ranked(traffic: Traffic) -> tuple[Array, Array]:
    """Return the rank inside its row and the weight of every entry, the heaviest of a row first."""
    row = np.repeat(np.arange(traffic.port.size), np.diff(traffic.start))
    order = np.lexsort((-traffic.weight, row))
    return np.arange(row.size) - traffic.start[row], traffic.weight[order]


def packet_bound(problem: PlacementProblem) -> float:
    """Return a bound from distinct slots alone: a cluster's k-th heaviest partner is no nearer than the k-th nearest other core.

    Half of the sum over clusters (each pair is seen from both ends), plus the port's traffic, heaviest on the nearest slot. O(m log m).
    With `multicast`: a tree that reaches so many clusters has a link for every router beyond its source's, see `_tree_bound`. Classes,
    pins and homes only make a placement dearer.
    """
    if not problem.clusters:
        return 0.0
    if problem.multicast and problem.nets is not None:
        return _tree_bound(problem, problem.nets)
    traffic = collect(problem)
    rank, weight = _ranked(traffic)
    pairs = int(weight @ _profile(problem, int(rank.max(initial=0)) + 1)[rank]) if rank.size else 0
    nearest = np.sort(problem.board.port_hops())[: problem.clusters]
    port = int(np.sort(traffic.port)[::-1] @ nearest)
    return float((pairs + 2 * port) / 2 / traffic.scale)


def _tree_bound(problem: PlacementProblem, nets: Nets) -> float:
    """Return a bound of multicast traffic: weight times the fewest links of each tree, on its own.

    A tree to d clusters ends at no fewer routers than d (and its source) fill, and has a link to each but the source's. From the port it
    also reaches as far as the d-th nearest slot.
    """
    board = problem.board
    cores = _sharing(board)
    links = np.zeros(nets.source.size, np.int64)
    near = np.sort(board.fabric.hops(board.slots, np.array(board.port)))
    at_port = int((board.slots == np.array(board.port)).all(1).sum())
    for k, source in enumerate(nets.source.tolist()):
        target = np.unique(nets.target[nets.start[k] : nets.start[k + 1]])
        many = int((target != source).sum())
        if source >= 0:
            links[k] = -(-(many + 1) // cores) - 1
        elif many:
            links[k] = max(-(-max(0, many - at_port) // cores), int(near[many - 1]))
    return fsum((nets.weight * links).tolist()) * (1 - 1e-12)


def gilmore_lawler_bound(problem: PlacementProblem, effort: int = 1) -> float:
    """Return the Gilmore-Lawler bound, or 0 where the machine is too large for it, or traffic is multicast.

    A cluster on a slot costs at least its partners' weights (descending) times the slot's distances (ascending), half of that for
    the pair's other end, plus its traffic from the port and what leaving its home costs; the cheapest assignment under these costs, to
    slots of the right class and with pinned clusters where they are, is the bound (Gilmore 1962, Lawler 1963).
    """
    slots, n = problem.board.size, problem.clusters
    if not n or slots > _LARGEST_MATRIX[effort] or problem.multicast:
        return 0.0
    # The assignment solver multiplies costs by the number of nodes.
    traffic = collect(problem, bits=44)
    rank, weight = _ranked(traffic)
    degree = int(rank.max(initial=-1)) + 1
    others = np.where(np.eye(slots, dtype=bool), -1, problem.board.hops())
    # Whole numbers below 2^53: exact in float64, in any order of summation.
    near = np.sort(others, axis=1)[:, 1 : degree + 1].astype(np.float64)
    heavy = np.zeros((n, near.shape[1]))
    heavy[np.repeat(np.arange(n), np.diff(traffic.start)), rank] = weight
    cost = (heavy @ near.T).astype(np.int64) + 2 * traffic.port[:, None] * problem.board.port_hops()
    if problem.home is not None:
        cost += 2 * traffic.move * ((problem.home >= 0)[:, None] & (problem.home[:, None] != np.arange(slots)))
    if problem.kind is not None and problem.board.kind is not None:
        cost[problem.kind[:, None] != problem.board.kind] = -1
    if problem.pinned is not None:
        held = np.flatnonzero(problem.pinned >= 0)
        own = cost[held, problem.pinned[held]]
        cost[held] = -1
        cost[held, problem.pinned[held]] = own
    if n == 1:
        # No solver, whose import takes longer than all the rest.
        allowed = cost[0, cost[0] >= 0]
        return float(int(allowed.min()) / 2 / traffic.scale) if allowed.size else 0.0
    from nmap.place.assign import assignment

    chosen = assignment(cost)
    return 0.0 if chosen is None else float(int(cost[np.arange(n), chosen].sum()) / 2 / traffic.scale)


def lower_bound(problem: PlacementProblem, effort: int = 1, gilmore_lawler: bool = True) -> float:
    """Return the best of the bounds of this module; at effort 0 only the packet bound for more than 400 slots.

    Raises:
        ValueError: there are fewer slots than clusters (of a class), or a cluster is pinned to a slot that it cannot have.
    """
    check_possible(problem)
    return max(packet_bound(problem), gilmore_lawler_bound(problem, effort) if gilmore_lawler else 0.0)


def certify(problem: PlacementProblem, slot: Array, bound: float, seed: int, deterministic_time: float | None = None) -> PlacementSolution:
    """Return the solution of an assignment: its cost, and `optimal` where the proved bound meets it (to one part in 10^9)."""
    cost = placement_cost(problem, slot)
    closed = cost - bound <= 1e-9 * cost
    return PlacementSolution(
        slot, cost, cost if closed else bound, "optimal" if closed else "feasible", seed, deterministic_time, largest_link(problem, slot),
        moved_clusters(problem, slot),
    )
