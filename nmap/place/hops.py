"""Distances between routers as compiled code: by closed form, and around dead links."""

from __future__ import annotations

import numpy as np

from nmap.compiled import compiled

__all__ = ["hops_kernel", "walk"]


@compiled()
def _crossings(params, axis, a, steps):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    total = 0
    for k in range(2, params.shape[0], 3):
        total += params[k + 2] * abs((a + steps) // params[k + axis] - a // params[k + axis])
    return total


@compiled()
def hops_kernel(code, params, x1, y1, x2, y2):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the hops between two routers, int64, for use inside other compiled loops.

    Args:
        code, params: what `nmap.place.board.fabric_code` returns.
        x1, y1, x2, y2: int64, positions of the routers.
    """
    if code == 0:
        return abs(x1 - x2) + abs(y1 - y2)
    dx = x2 - x1
    dy = y2 - y1
    ways = 2 if code & 1 else 1
    least = np.int64(-1)
    for i in range(ways):
        if code & 1:
            dx = (x2 - x1) % params[0] if i == 0 else -((x1 - x2) % params[0])
        across = _crossings(params, 0, x1, dx) if code & 4 else 0
        for j in range(ways):
            if code & 1:
                dy = (y2 - y1) % params[1] if j == 0 else -((y1 - y2) % params[1])
            if code & 2 and ((dx > 0 and dy > 0) or (dx < 0 and dy < 0)):
                hops = max(abs(dx), abs(dy))
            else:
                hops = abs(dx) + abs(dy)
            hops += across
            if code & 4:
                hops += _crossings(params, 1, y1, dy)
            if least < 0 or hops < least:
                least = np.int64(hops)
    return least


@compiled()
def walk(neighbour, cost, source):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return (sources, routers) int64: the hops of the cheapest ways from some routers to all, -1 where there is none.

    A router's hops are passed on to its neighbours until nothing changes (Bellman, Ford and Moore's queue); links cost few different
    amounts, so that a router changes seldom more than once.

    Args:
        neighbour: (routers, links) int64, the router at the end of each link, -1 for none.
        cost: (routers, links) int64, hops of each link, at least 1.
        source: (sources,) int64 router numbers.
    """
    routers, fan = neighbour.shape
    far = np.full((source.shape[0], routers), -1, np.int64)
    queue = np.empty(routers, np.int64)
    waiting = np.zeros(routers, np.bool_)
    for s in range(source.shape[0]):
        far[s, source[s]] = 0
        queue[0] = source[s]
        head = 0
        length = 1
        while length > 0:
            at = queue[head]
            head = (head + 1) % routers
            length -= 1
            waiting[at] = False
            for k in range(fan):
                to = neighbour[at, k]
                if to < 0:
                    continue
                hops = far[s, at] + cost[at, k]
                if far[s, to] < 0 or hops < far[s, to]:
                    far[s, to] = hops
                    if not waiting[to]:
                        waiting[to] = True
                        queue[(head + length) % routers] = to
                        length += 1
    return far
