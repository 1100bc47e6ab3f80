"""Least traffic times hops: annealing, then CP-SAT exactly or window by window."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array
from nmap.partition.partitioner import Budget
from nmap.place.anneal import search
from nmap.place.bound import certify, lower_bound
from nmap.place.problem import PlacementProblem, PlacementSolution
from nmap.place.traffic import Traffic, collect

__all__ = ["place"]

_EXACT_TIME = (0.2, 2.0, 20.0)
"""Deterministic seconds of the exact model by effort."""
_WINDOWS = (0, 60, 1000)
"""Windows by effort. After annealing they gain little (measured: less than 0.4 %)."""
_WINDOW_TIME = 0.1
"""Deterministic seconds of one window."""
_MOST_CLUSTERS = 16
_MOST_CHOICES = (100, 200, 300)
"""Clusters times places of the exact model by effort; beyond it a proof is out of reach (measured)."""
_WINDOW = 6


@dataclass(frozen=True, slots=True, eq=False)
class _Assignment:
    """Clusters onto places that take several clusters each; all numbers whole.

    Args:
        alone: (clusters, places) cost of a cluster by itself.
        between: (clusters, clusters) symmetric traffic.
        hops: (places, places) distances.
        room: (places,) clusters a place takes.
        allowed: (clusters, places) bool.
        longest: (clusters, clusters) no better answer has a larger distance.
    """

    alone: Array
    between: Array
    hops: Array
    room: Array
    allowed: Array
    longest: Array


def _solve(task: _Assignment, start: Array, limit: float, budget: Budget) -> tuple[Array, int, float, float]:
    """Return places, their cost, the proved bound of the cost and deterministic seconds.

    `start`, (clusters,) places, is a feasible answer; nothing dearer is looked for. Distances are linear expressions of one end's
    place once the other end's is known: that relaxation closes instances that products of literals do not (measured: 9 clusters on
    3 x 3 places in a second against a minute).
    """
    # The solver takes half a second to import: longer than most placements that never get here.
    from ortools.sat.python import cp_model

    from nmap_cpsat.solver import solve

    n = start.size
    cost = _cost(task, start)
    # Common factors only make the solver's numbers larger.
    unit = max(1, int(np.gcd.reduce(np.concatenate([task.alone.ravel(), task.between.ravel()]))))
    model = cp_model.CpModel()
    at = [{int(p): model.new_bool_var("") for p in np.flatnonzero(row)} for row in task.allowed]
    # One flat sum: nested expressions are slow to build, and fail in OR-tools 9.14.
    terms: list[tuple[cp_model.IntVar, int]] = []
    for i, choices in enumerate(at):
        model.add_exactly_one(choices.values())
        for p, literal in choices.items():
            model.add_hint(literal, p == start[i])
            if task.alone[i, p]:
                terms.append((literal, int(task.alone[i, p]) // unit))
    for p, room in enumerate(task.room):
        here = [choices[p] for choices in at if p in choices]
        if len(here) > room:
            model.add(sum(here) <= int(room))
    for i in range(n):
        for j in np.flatnonzero(task.between[i, :i]):
            far = model.new_int_var(0, int(task.longest[i, j]), "")
            model.add_hint(far, int(task.hops[start[i], start[j]]))
            for a, b in ((i, int(j)), (int(j), i)):
                for p, literal in at[a].items():
                    hops = cp_model.LinearExpr.weighted_sum([far, *at[b].values()], [-1, *(int(task.hops[p, q]) for q in at[b])])
                    model.add(hops <= 0).only_enforce_if(literal)
            terms.append((far, int(task.between[i, j]) // unit))
    total = cp_model.LinearExpr.weighted_sum([term[0] for term in terms], [term[1] for term in terms])
    model.add(total <= cost // unit)
    model.minimize(total)
    solver, status, time = solve(model, budget, limit)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return start, cost, 0.0, time
    found = np.array([next(p for p, literal in choices.items() if solver.boolean_value(literal)) for choices in at], np.int64)
    best = _cost(task, found)
    return found, best, float(best if status == cp_model.OPTIMAL else solver.best_objective_bound * unit), time


def _cost(task: _Assignment, place: Array) -> int:
    pairs = (task.between * task.hops[np.ix_(place, place)]).sum() // 2
    return int(pairs + task.alone[np.arange(place.size), place].sum())


def _matrix(traffic: Traffic, clusters: Array) -> Array:
    """Return (n, n) int64 traffic among some clusters."""
    where = np.full(traffic.port.size, -1, np.int64)
    where[clusters] = np.arange(clusters.size)
    between = np.zeros((clusters.size, clusters.size), np.int64)
    for k, cluster in enumerate(clusters):
        entries = slice(int(traffic.start[cluster]), int(traffic.start[cluster + 1]))
        other = where[traffic.other[entries]]
        between[k, other[other >= 0]] = traffic.weight[entries][other >= 0]
    return between


def _places(problem: PlacementProblem) -> tuple[Array, Array]:
    """Return the place of every slot, and one slot of every place.

    Slots at one router are one place where they differ in nothing: not in class, and nobody's home or pin.
    """
    board = problem.board
    if board.distance is not None:
        every = np.arange(board.size)
        return every, every
    special = np.zeros(board.size, np.int64)
    for named in (problem.pinned, problem.home):
        if named is not None:
            special[named[named >= 0]] = named[named >= 0] + 1
    kind = np.zeros(board.size, np.int64) if board.kind is None else board.kind
    _, first, place = np.unique(np.column_stack([board.slots, kind, special]), axis=0, return_index=True, return_inverse=True)
    return place.ravel(), first


def _to_slots(place_of: Array, chosen: Array, free: Array) -> Array:
    """Return distinct slots at the chosen places, out of the slots that are `free` (bool)."""
    slot = np.empty(chosen.size, np.int64)
    for p in np.unique(chosen):
        clusters = np.flatnonzero(chosen == p)
        slot[clusters] = np.flatnonzero((place_of == p) & free)[: clusters.size]
    return slot


def _allowed(problem: PlacementProblem, clusters: Array, slots: Array) -> Array:
    """Return (clusters, slots) bool: which clusters may lie on which slots."""
    allowed = np.ones((clusters.size, slots.size), bool)
    if problem.kind is not None and problem.board.kind is not None:
        allowed &= problem.kind[clusters][:, None] == problem.board.kind[slots]
    if problem.pinned is not None:
        pinned = problem.pinned[clusters][:, None]
        allowed &= (pinned < 0) | (pinned == slots)
    return allowed


def _moves(problem: PlacementProblem, traffic: Traffic, clusters: Array, slots: Array) -> Array:
    """Return (clusters, slots) int64: what leaving home costs."""
    if problem.home is None:
        return np.zeros((clusters.size, slots.size), np.int64)
    home = problem.home[clusters][:, None]
    return traffic.move * ((home >= 0) & (home != slots))


def _hops(problem: PlacementProblem, slots: Array) -> Array:
    """Return the distances between some slots, (n, n) int64."""
    return problem.board.hops_between(np.repeat(slots, slots.size), np.tile(slots, slots.size)).reshape(slots.size, -1)


def _exact(problem: PlacementProblem, slot: Array, budget: Budget) -> tuple[Array, float, float] | None:
    """Return a placement, its bound and deterministic seconds; None where the model would be too large."""
    n = problem.clusters
    place_of, slot_at = _places(problem)
    if problem.multicast or not 1 < n <= _MOST_CLUSTERS or slot_at.size > 4096:
        return None
    import networkx as nx

    traffic = collect(problem, bits=40)
    every = np.arange(n)
    between = _matrix(traffic, every)
    port_hops = problem.board.port_hops()[slot_at]
    alone = traffic.port[:, None] * port_hops + _moves(problem, traffic, every, slot_at)
    start = place_of[slot]
    allowed = _allowed(problem, every, slot_at)
    apart = _hops(problem, slot_at[start])
    cost = int((between * apart).sum() // 2 + alone[every, start].sum())
    # Traffic between two points is worth at least the largest flow between them times their distance (triangle inequality), so a
    # longer distance makes the answer dearer than the one in hand.
    graph = nx.Graph()
    graph.add_nodes_from(range(-1, n))
    graph.add_edges_from((int(i), int(j), {"capacity": int(between[i, j])}) for i, j in np.argwhere(np.triu(between)))
    graph.add_edges_from((-1, int(i), {"capacity": int(traffic.port[i])}) for i in np.flatnonzero(traffic.port))
    triangle = problem.board.distance is None
    for i in range(n):
        flow = int(nx.maximum_flow_value(graph, -1, i)) if triangle else int(traffic.port[i])
        allowed[i] &= flow * port_hops <= cost
    if int(allowed.sum()) > _MOST_CHOICES[budget.effort]:
        return None
    # Few places of a large chip are left; distances between all of them would take seconds and gigabytes.
    near = np.flatnonzero(allowed.any(0))
    hops = _hops(problem, slot_at[near])
    longest = np.full((n, n), hops.max(initial=0), np.int64)
    for i in range(n):
        for j in np.flatnonzero(between[i, :i]):
            flow = int(nx.maximum_flow_value(graph, i, int(j))) if triangle else int(between[i, j])
            longest[i, j] = longest[j, i] = min(int(longest[i, j]), cost // flow)
    task = _Assignment(alone[:, near], between, hops, np.bincount(place_of)[near], allowed[:, near], longest)
    start = np.searchsorted(near, start)
    found, best, bound, time = _solve(task, start, _EXACT_TIME[budget.effort], budget)
    slots = _to_slots(place_of, near[found], np.ones(place_of.size, bool)) if best < cost else slot
    return slots, bound / traffic.scale, time


def _windows(problem: PlacementProblem, slot: Array, budget: Budget) -> tuple[Array, float]:
    """Re-place a few clusters at a time, exactly; return the placement and deterministic seconds."""
    traffic = collect(problem, bits=40)
    port_hops = problem.board.port_hops()
    n, size = problem.clusters, min(_WINDOW, problem.clusters)
    slot = slot.copy()
    spent = 0.0
    rng = np.random.Generator(np.random.PCG64(budget.seed))
    free = np.ones(problem.board.size, bool)
    free[slot] = False
    for _ in range(_WINDOWS[budget.effort]):
        if budget.over:
            break
        centre = int(rng.integers(n))
        near = problem.board.hops_between(np.full(n, slot[centre]), slot)
        clusters = np.sort(np.argsort(near * n + rng.permutation(n), kind="stable")[:size])
        empty = np.flatnonzero(free)
        empty = empty[np.argsort(problem.board.hops_between(np.full(empty.size, slot[centre]), empty), kind="stable")[:2]]
        places = np.concatenate([slot[clusters], empty])
        inside = np.zeros(n, bool)
        inside[clusters] = True
        alone = traffic.port[clusters][:, None] * port_hops[places] + _moves(problem, traffic, clusters, places)
        for k, cluster in enumerate(clusters):
            for e in range(int(traffic.start[cluster]), int(traffic.start[cluster + 1])):
                if not inside[traffic.other[e]]:
                    alone[k] += traffic.weight[e] * problem.board.hops_between(np.full(places.size, slot[traffic.other[e]]), places)
        hops = problem.board.hops_between(np.repeat(places, places.size), np.tile(places, places.size)).reshape(places.size, -1)
        task = _Assignment(
            alone - alone.min(1)[:, None], _matrix(traffic, clusters), hops, np.ones(places.size, np.int64),
            _allowed(problem, clusters, places), np.full((size, size), hops.max(), np.int64),
        )
        start = np.arange(size)
        found, best, _, time = _solve(task, start, _WINDOW_TIME, budget)
        spent += time
        if best < _cost(task, start):
            free[slot[clusters]] = True
            slot[clusters] = places[found]
            free[slot[clusters]] = False
    return slot, spent


def place(problem: PlacementProblem, budget: Budget) -> PlacementSolution:
    """Return an annealed placement, improved and proved optimal by CP-SAT where that is possible; see the package's README.

    Raises:
        ValueError: there are fewer slots than clusters (of a class), or a cluster is pinned to a slot that it cannot have.
    """
    bound = lower_bound(problem, budget.effort)
    slot = search(problem, budget.effort, budget.seed, budget.progress, budget.stopped, bound)
    answer = certify(problem, slot, bound, budget.seed, 0.0)
    if answer.status == "optimal" or budget.over:
        return answer
    budget.say(f"placement {answer.objective:.6g} packet hops per step, at least {bound:.6g}")
    exact = _exact(problem, slot, budget)
    if exact is not None:
        slot, proved, spent = exact
        return certify(problem, slot, max(bound, proved), budget.seed, spent)
    # Measured: after annealing windows gain nothing to speak of, unless classes, pins and homes hold single swaps back.
    bound_by = any(side is not None for side in (problem.kind, problem.pinned, problem.home))
    if problem.multicast or not (budget.effort > 1 or (budget.effort and bound_by)):
        return answer
    better, spent = _windows(problem, slot, budget)
    return certify(problem, better, bound, budget.seed, spent)
