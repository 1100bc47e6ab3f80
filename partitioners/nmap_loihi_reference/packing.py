"""One piece per core."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import numpy as np

from nmap.connectivity import Array
from nmap.partition.problem import Item, PackingProblem, PackingSolution, Piece, area_bound

__all__ = ["pack"]

_SHARE = 1 << 16
"""Parts of a core in which pieces are compared."""


def _runs(size: int, most: int) -> list[tuple[int, int]]:
    return [(start, min(start + most, size)) for start in range(0, size, most)]


def _classes(problem: PackingProblem, item: Item, units: int) -> Array:
    """Return the core classes that take a piece, those with least to spare first."""
    need = item.demand[:, units]
    room = np.array([core.capacity for core in problem.kinds])
    fitting = np.flatnonzero((room >= need).all(1))
    spare = ((room[fitting] - need) / np.maximum(problem.capacity, 1)).sum(1)
    return np.asarray(fitting[np.argsort(spare, kind="stable")])


def _urgency(problem: PackingProblem, item: Item, units: int) -> tuple[int, int]:
    """Return a sort key: pieces that fewest classes take first, of these the largest."""
    share = (item.demand[:, units] * _SHARE // np.maximum(problem.capacity, 1)).max()
    return len(_classes(problem, item, units)), -int(share)


def pack(problem: PackingProblem) -> PackingSolution:
    """Return a packing in which no two pieces share a core, and cores in use beforehand get nothing more.

    Pieces are as large as an item's table goes. Where no core that takes one is left, it is halved; the pieces that fewest classes take
    choose first, of these the largest.
    """
    bound = area_bound(problem)
    free = [core.cores for core in problem.kinds]
    waiting = [
        (_urgency(problem, item, stop - start), index, start, stop)
        for index, item in enumerate(problem.items) for start, stop in _runs(item.size, item.max_piece)
    ]
    wanted = problem.old + len(waiting)
    heapify(waiting)
    placed: list[tuple[int, int, int, int]] = []
    while waiting:
        _, index, start, stop = heappop(waiting)
        item = problem.items[index]
        kind = next((int(k) for k in _classes(problem, item, stop - start) if free[k]), None)
        if kind is not None:
            free[kind] -= 1
            placed.append((index, start, stop, kind))
        elif not any(free) or stop - start == 1:
            status = "infeasible" if bound > problem.most else "unknown"
            return PackingSolution((), max(wanted, problem.most + 1), bound, status)
        else:
            middle = (start + stop + 1) // 2
            for part in ((start, middle), (middle, stop)):
                heappush(waiting, (_urgency(problem, item, part[1] - part[0]), index, *part))
    placed.sort()
    pieces = tuple(Piece(index, stop - start, problem.old + k) for k, (index, start, stop, _) in enumerate(placed))
    clusters = problem.old + len(pieces)
    kinds = (*(-1 for _ in range(problem.old)), *(kind for *_, kind in placed)) if problem.classes else ()
    return PackingSolution(pieces, clusters, bound, "optimal" if clusters == bound else "feasible", None, kinds)
