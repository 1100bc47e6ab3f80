"""Lower loads of the heaviest link at the same cost: mirrored placements, and swaps that cost nothing."""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array
from nmap.place.assign import slot_costs
from nmap.place.metric import measure
from nmap.place.problem import PlacementProblem, largest_link, placement_cost
from nmap.place.traffic import collect

__all__ = ["relieve"]

_TRIES = (0, 60, 2000)
"""Swaps whose loads are worked out, by effort."""
_LARGEST = 1 << 18
"""Clusters times slots up to which swaps are looked for."""


def _mirrored(problem: PlacementProblem, slot: Array) -> list[Array]:
    """Return the placement turned and mirrored in all the ways that map every used slot onto a slot."""
    slots = problem.board.slots
    low, high = slots.min(0), slots.max(0)
    # The k-th slot of a router is mapped onto the k-th slot there.
    order = np.lexsort((slots[:, 1], slots[:, 0]))
    ranked = slots[order]
    begins = np.append(True, (ranked[1:] != ranked[:-1]).any(1)) if ranked.size else np.zeros(0, bool)
    first = np.flatnonzero(begins)
    layer = np.empty(slots.shape[0], np.int64)
    layer[order] = np.arange(slots.shape[0]) - first[np.cumsum(begins) - 1]
    lookup = {(x, y, k): n for n, (x, y, k) in enumerate(np.concatenate([slots, layer[:, None]], 1).tolist())}
    answers = []
    for turn in range(1, 8):
        at = slots[slot]
        if turn & 1:
            at = np.stack([low[0] + high[0] - at[:, 0], at[:, 1]], 1)
        if turn & 2:
            at = np.stack([at[:, 0], low[1] + high[1] - at[:, 1]], 1)
        if turn & 4:
            at = low + (at - low)[:, ::-1]
        images = [lookup.get((x, y, k), -1) for (x, y), k in zip(at.tolist(), layer[slot].tolist(), strict=True)]
        if min(images) >= 0:
            answers.append(np.array(images, np.int64))
    return answers


def _allowed(problem: PlacementProblem, slot: Array) -> bool:
    wrong = problem.kind is not None and problem.board.kind is not None and bool((problem.board.kind[slot] != problem.kind).any())
    return not wrong and (problem.pinned is None or bool(((problem.pinned < 0) | (slot == problem.pinned)).all()))


def _free_swaps(problem: PlacementProblem, slot: Array) -> Array:
    """Return (m, 2) int64 clusters and slots: moves, or swaps with the cluster there, that leave the cost of all pairs as it is."""
    traffic, metric = collect(problem, bits=40), measure(problem.board)
    every, places = np.arange(problem.clusters), np.arange(problem.board.size)
    cost = slot_costs(problem, metric, traffic, slot, every, places)
    change = cost - cost[every, slot][:, None]
    back = change[:, slot].T
    row = np.repeat(every, np.diff(traffic.start))
    apart = problem.board.hops_between(slot[row], slot[traffic.other])
    back[row, traffic.other] += 2 * traffic.weight * apart
    change[:, slot] += back
    fits = cost >= 0
    fits[:, slot] &= (cost[:, slot] >= 0).T
    if problem.pinned is not None:
        fits[problem.pinned >= 0] = False
        fits[:, problem.pinned[problem.pinned >= 0]] = False
    fits[every, slot] = False
    return np.argwhere(fits & (change == 0))


def relieve(problem: PlacementProblem, slot: Array, effort: int) -> Array:
    """Return a placement of the same cost, or less, whose heaviest link carries no more.

    Args:
        problem: what to place.
        slot: (clusters,) int64.
        effort: 0, 1 or 2.
    """
    cost, load = placement_cost(problem, slot), largest_link(problem, slot)
    for other in _mirrored(problem, slot):
        if _allowed(problem, other):
            now = placement_cost(problem, other), largest_link(problem, other)
            if now < (cost, load):
                (cost, load), slot = now, other
    left = 0 if problem.multicast or problem.clusters * problem.board.size > _LARGEST else _TRIES[effort]
    while left > 0:
        for cluster, to in _free_swaps(problem, slot)[:left].tolist():
            left -= 1
            other = np.where(slot == to, slot[cluster], slot)
            other[cluster] = to
            now = placement_cost(problem, other), largest_link(problem, other)
            if now < (cost, load):
                (cost, load), slot = now, other
                break
        else:
            break
    return slot
