"""Placement by compiled local search: moves and swaps with exact whole-number deltas, under a cooling threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import log

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array
from nmap.place.hilbert import curve_order
from nmap.place.problem import PlacementProblem, placement_cost
from nmap.place.traffic import Traffic, collect

__all__ = ["anneal", "search", "start_order"]

_STEPS = 160
_COOLING = 0.945
_MOVES = (800, 12_000, 60_000)
"""Moves per cluster by effort."""
_VISITS = (40_000_000, 450_000_000, 4_000_000_000)
"""Traffic entries looked at by effort, over all restarts: what the time goes with."""
_RESTARTS = (1, 6, 12)

# -ln of evenly spaced numbers, rounded so that the last place of a platform's logarithm does not matter: a move that costs `delta` more
# is taken when `delta` <= temperature x a random entry, which is Metropolis' rule.
_THRESHOLDS = np.array([round(-log((k + 0.5) / 4096) * 2**20) / 2**20 for k in range(4096)])


@compiled()
def _next(state):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    # xorshift64* (Marsaglia 2003, Vigna 2016)
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return np.int64((x * np.uint64(2685821657736338717)) >> np.uint64(33))


@compiled()
def _far(xy, distance, a, b):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    if distance.shape[0] > 0:
        return distance[a, b]
    return abs(xy[a, 0] - xy[b, 0]) + abs(xy[a, 1] - xy[b, 1])


@compiled()
def _gain(xy, distance, port_hops, start, other, weight, port, slot, a, to, swap):  # type: ignore[no-untyped-def] # pragma: no cover
    """Return the change of cost when cluster `a` goes to slot `to`; traffic with cluster `swap`, which takes its place, stays as long."""
    at = slot[a]
    change = port[a] * (port_hops[to] - port_hops[at])
    for k in range(start[a], start[a + 1]):
        j = other[k]
        if j != swap:
            change += weight[k] * (_far(xy, distance, to, slot[j]) - _far(xy, distance, at, slot[j]))
    return change


@compiled()
def _anneal(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    xy, distance, port_hops, cell, cell_start, cell_slots, start, other, weight, port, slot, holder, thresholds, steps, moves, cooling,
    state,
):
    """Improve `slot` (clusters,) and `holder` (slots,) in place; return the change of cost."""
    clusters = slot.shape[0]
    columns, rows = cell_start.shape[0], cell_start.shape[1]
    total = np.int64(0)
    widest = float(max(columns, rows))
    radius = widest
    temperature = 0.0
    sampled = 0
    spread = 0.0
    for step in range(-1, steps + 1):
        taken = 0
        tried = 0
        reach = np.int64(max(1.0, radius))
        for _ in range(moves):
            a = _next(state) % clusters
            at = slot[a]
            x = cell[at, 0]
            y = cell[at, 1]
            degree = start[a + 1] - start[a]
            if degree > 0 and _next(state) % 4 == 0:
                # Next to a partner: on sparse traffic the good places are there.
                j = other[start[a] + _next(state) % degree]
                x = cell[slot[j], 0] + _next(state) % 3 - 1
                y = cell[slot[j], 1] + _next(state) % 3 - 1
            else:
                x += _next(state) % (2 * reach + 1) - reach
                y += _next(state) % (2 * reach + 1) - reach
            if x < 0 or y < 0 or x >= columns or y >= rows:
                continue
            first = cell_start[x, y, 0]
            count = cell_start[x, y, 1]
            if count == 0:
                continue
            to = cell_slots[first + _next(state) % count]
            if to == at:
                continue
            b = holder[to]
            tried += 1
            change = _gain(xy, distance, port_hops, start, other, weight, port, slot, a, to, b)
            if b >= 0:
                change += _gain(xy, distance, port_hops, start, other, weight, port, slot, b, at, a)
            if step < 0:
                if change != 0:
                    sampled += 1
                    spread += abs(change) / 1024.0
                continue
            if change <= 0 or (step < steps and change <= temperature * thresholds[_next(state) & 4095]):
                slot[a] = to
                holder[to] = a
                holder[at] = b
                if b >= 0:
                    slot[b] = at
                total += change
                taken += 1
        if step < 0:
            temperature = 0.5 * 1024.0 * spread / max(1, sampled)
        else:
            temperature *= cooling
            # VPR's rule: a window in which 44 % of the moves are taken.
            radius = min(widest, max(1.0, radius * (0.56 + taken / max(1, tried))))
    return total


class _Board:
    """Slots by router, for drawing random ones nearby."""

    def __init__(self, slots: Array) -> None:
        _, x = np.unique(slots[:, 0], return_inverse=True)
        _, y = np.unique(slots[:, 1], return_inverse=True)
        self.cell = np.stack([x.ravel(), y.ravel()], 1).astype(np.int64)
        columns, rows = (int(v) + 1 for v in self.cell.max(0))
        flat = self.cell[:, 0] * rows + self.cell[:, 1]
        self.slots = np.argsort(flat, kind="stable").astype(np.int64)
        count = np.bincount(flat, minlength=columns * rows)
        self.start = np.stack([np.cumsum(count) - count, count], 1).reshape(columns, rows, 2).astype(np.int64)


def start_order(problem: PlacementProblem) -> Array:
    """Return (clusters,) int64: clusters in order along a Hilbert-like curve through the slots.

    Either through the slots nearest to the port (a triangle in the corner), or through the curve's own first ones (a square); the
    cheaper one.
    """
    order = curve_order(problem.board.slots)
    port = problem.board.port_hops()
    near = order[np.argsort(port[order], kind="stable")[: problem.clusters]]
    keep = np.zeros(problem.board.size, bool)
    keep[near] = True
    walks = [order[keep[order]], order[: problem.clusters]]
    return min(walks, key=lambda slot: placement_cost(problem, slot)).astype(np.int64)


def anneal(problem: PlacementProblem, traffic: Traffic, slot: Array, moves: int, seed: int) -> Array:
    """Return a better placement, never a worse one.

    Args:
        problem, traffic: the problem and its gathered traffic.
        slot: (clusters,) int64, where to start.
        moves: tried in each of the cooling steps.
        seed: of the random moves; the same seed gives the same answer everywhere.
    """
    board = _Board(problem.board.slots)
    holder = np.full(problem.board.size, -1, np.int64)
    holder[slot] = np.arange(slot.size)
    distance = np.zeros((0, 0), np.int64) if problem.board.distance is None else np.asarray(problem.board.distance)
    state = np.array([(seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) % 2**64 or 1], np.uint64)
    better = slot.copy()
    change = _anneal(
        problem.board.slots, distance, problem.board.port_hops(), board.cell, board.start, board.slots, traffic.start, traffic.other, traffic.weight,
        traffic.port, better, holder, _THRESHOLDS, _STEPS, moves, _COOLING, state,
    )
    return better if change < 0 else slot.copy()


def _pool(problem: PlacementProblem) -> Array:
    """Return the indices of the slots worth drawing from: all, or those nearest to the port on a machine much larger than needed."""
    wanted = 4 * problem.clusters + 64
    if problem.board.size <= wanted:
        return np.arange(problem.board.size)
    return np.sort(np.argsort(problem.board.port_hops(), kind="stable")[:wanted])


def search(problem: PlacementProblem, effort: int, seed: int, progress: Callable[[str], None] | None = None) -> Array:
    """Return a placement, (clusters,) int64: the curve's order, annealed several times from it, the cheapest.

    Args:
        problem: what to place.
        effort: 0, 1 or 2; sets the number of moves, never a time.
        seed: the same seed gives the same answer everywhere.
        progress: called with the cost of each restart.

    Raises:
        ValueError: there are fewer slots than clusters.
    """
    if problem.board.size < problem.clusters:
        raise ValueError(f"{problem.clusters} clusters cannot have {problem.board.size} slots of their own")
    if not problem.clusters:
        return np.zeros(0, np.int64)
    pool = _pool(problem)
    part = replace(problem, board=problem.board.part(pool))
    traffic = collect(part)
    best = start_order(part)
    cost = placement_cost(part, best)
    if problem.clusters > 1 and cost > 0:
        per_move = 12 + 2.5 * traffic.other.size / problem.clusters
        restarts = max(1, min(_RESTARTS[effort], int(_VISITS[effort] / (_MOVES[effort] * problem.clusters * per_move))))
        moves = int(min(_MOVES[effort] * problem.clusters, _VISITS[effort] / restarts / per_move)) // (_STEPS + 2) + 1
        first = best
        for restart in range(restarts):
            slot = anneal(part, traffic, first, moves, seed * 1_000_003 + restart)
            found = placement_cost(part, slot)
            if found < cost:
                best, cost = slot, found
            if progress:
                progress(f"placement {cost:.6g} packet hops per step, restart {restart + 1} of {restarts}")
    return pool[best].astype(np.int64)
