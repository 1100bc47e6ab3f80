"""A first partition: cores are grown one after the other by the node that shares most inputs with what is there already."""

from __future__ import annotations

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array
from nmap.partition.coarsen import Level

__all__ = ["grow"]

_BLOCK = 256
"""Nodes whose best rank is kept together, to find the best of all without looking at each."""
_MISFITS = 40
"""Nodes that do not fit, after which a core is called full."""


@compiled()
def _lift(u, gain, block, base, score, rank, top, mark, touched, n, core):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Raise the rank of node `u`; return the number of touched nodes."""
    if mark[u] != core:
        mark[u] = core
        score[u] = 0.0
        touched[n] = u
        n += 1
        rank[u] = base[u]
    if rank[u] > -np.inf:
        score[u] += gain
        rank[u] = base[u] + score[u]
        if rank[u] > top[u // block]:
            top[u // block] = rank[u]
    return n


@compiled()
def _grow(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    in_start, inward, out_start, outward, source, start, target, weight, take, capacity, value, base, order, block, misfits
):
    """Return (nodes,) cores and their number."""
    nodes, R = weight.shape
    part = np.full(nodes, -1, np.int64)
    held = np.full(source.shape[0], -1, np.int64)
    score = np.zeros(nodes, np.float64)
    rank = np.full(nodes, -np.inf)
    blocks = (nodes + block - 1) // block
    top = np.full(blocks, -np.inf)
    mark = np.full(nodes, -1, np.int64)
    touched = np.empty(nodes, np.int64)
    load = np.zeros(R, np.int64)
    extra = np.zeros(R, np.int64)
    spot = 0
    core = np.int64(-1)
    left = nodes
    while left > 0:
        core += 1
        load[:] = 0
        n = 0
        failed = 0
        empty = True
        while left > 0 and failed < misfits:
            best = np.int64(-1)
            where = np.int64(np.argmax(top))
            if top[where] > -np.inf:
                high = -np.inf
                for u in range(where * block, min(nodes, (where + 1) * block)):
                    if rank[u] > high:
                        high = rank[u]
                        best = u  # type: ignore[assignment]
            if best < 0:
                while part[order[spot]] >= 0:
                    spot += 1
                j = spot
                while j < nodes and (part[order[j]] >= 0 or mark[order[j]] == core):
                    j += 1
                if j == nodes:
                    break
                best = order[j]
                mark[best] = core
                touched[n] = best
                n += 1
            for r in range(R):
                extra[r] = weight[best, r]
            for k in range(in_start[best], in_start[best + 1]):
                e = inward[k]
                if held[e] != core:
                    for r in range(R):
                        extra[r] += take[e, r]
            fits = True
            for r in range(R):
                if load[r] + extra[r] > capacity[r]:
                    fits = False
            # A node that fits no core at all goes to one of its own: the caller sees it from the load.
            if fits or empty:
                empty = False
                part[best] = core
                left -= 1
                for r in range(R):
                    load[r] += extra[r]
                for k in range(in_start[best], in_start[best + 1]):
                    e = inward[k]
                    if held[e] != core:
                        held[e] = core
                        for j in range(start[e], start[e + 1]):
                            if part[target[j]] < 0:
                                n = _lift(target[j], value[e], block, base, score, rank, top, mark, touched, n, core)
                    if source[e] >= 0 and part[source[e]] < 0:
                        n = _lift(source[e], 0.25 * value[e], block, base, score, rank, top, mark, touched, n, core)
                for k in range(out_start[best], out_start[best + 1]):
                    e = outward[k]
                    if start[e + 1] - start[e] <= 64:
                        for j in range(start[e], start[e + 1]):
                            if part[target[j]] < 0:
                                n = _lift(target[j], 0.25 * value[e], block, base, score, rank, top, mark, touched, n, core)
            else:
                failed += 1
            rank[best] = -np.inf
            where = best // block
            top[where] = -np.inf
            for u in range(where * block, min(nodes, (where + 1) * block)):
                if rank[u] > top[where]:
                    top[where] = rank[u]
        for i in range(n):
            rank[touched[i]] = -np.inf
            top[touched[i] // block] = -np.inf
    return part, core + 1


def grow(level: Level, capacity: Array, price: float = 0.5) -> tuple[Array, int]:
    """Return (nodes,) int64 cores and their number; what destinations of axons take is not counted.

    Args:
        level: the hypergraph.
        capacity: (R,) int64, of one core.
        price: how much an input that is new to the core counts against one that it has.
    """
    unit = 1.0 / np.maximum(capacity, 1)
    value = (level.take * unit).max(1, initial=0.0) + 1e-9 * level.count
    size = np.zeros(level.nodes)
    np.add.at(size, level.target, np.repeat(value, np.diff(level.start)))
    order = np.argsort(-size, kind="stable")
    part, count = _grow(
        level.inward_start, level.inward, level.outward_start, level.outward, level.source, level.start, level.target, level.weight,
        level.take, np.asarray(capacity), (1 + price) * value, -price * size, order, _BLOCK, _MISFITS,
    )
    return part, int(count)
