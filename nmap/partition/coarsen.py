"""Coarser views of a partition problem: neurons that belong together become one node, axons that cannot be told apart one net."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array
from nmap.partition.neurons import PartitionProblem

__all__ = ["Level", "bottom", "collapse", "cost_scale", "group_twins"]

_COST_BITS = 44
"""The cost of any partition stays below two to this power: room for penalties within 63 bits."""


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """A directed hypergraph of nodes (groups of neurons) and nets (axons with the same source node and the same target nodes).

    Args:
        weight: (nodes, R) int64, what a node's neurons take.
        source: (nets,) int64 node, -1 for a source outside of every core.
        start: (nets + 1,) int64, compressed rows of `target`.
        target: (pins,) int32 nodes, distinct within a net.
        cost: (nets,) int64, spikes per step of all axons of the net, in whole units.
        take: (nets, R) int64, what the net's axons take on a core with a target.
        count: (nets,) int64, how many axons the net stands for.
        inward_start, inward: (nodes + 1,) int64 and (pins,) int32, the nets that end at each node.
        outward_start, outward: (nodes + 1,) int64 and (nets with a source,) int32, the nets that start at each node.
    """

    weight: Array
    source: Array
    start: Array
    target: Array
    cost: Array
    take: Array
    count: Array
    inward_start: Array
    inward: Array
    outward_start: Array
    outward: Array

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return int(self.weight.shape[0])

    @property
    def nets(self) -> int:
        """Number of nets."""
        return int(self.source.size)


@compiled()
def _distinct(start, target, group, groups):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the nets' distinct groups as compressed rows."""
    nets = start.shape[0] - 1
    seen = np.full(groups, -1, np.int64)
    rows = np.zeros(nets + 1, np.int64)
    out = np.empty(target.shape[0], np.int32)
    n = 0
    for e in range(nets):
        for k in range(start[e], start[e + 1]):
            g = group[target[k]]
            if seen[g] != e:
                seen[g] = e
                out[n] = g
                n += 1
        rows[e + 1] = n
    return rows, out[:n].copy()


@compiled()
def _alike(start, target, source, print_, order, groups):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return (nets,) the first net, in an order by fingerprint, with the same source and the same targets; -1 for nets not in it."""
    seen = np.full(groups, -1, np.int64)
    first = np.full(source.shape[0], -1, np.int64)
    rep = np.int64(-1)
    for i in range(order.shape[0]):
        e = order[i]
        same = False
        if rep >= 0:
            pins = start[e + 1] - start[e]
            same = print_[e] == print_[rep] and source[e] == source[rep] and pins == start[rep + 1] - start[rep]
            if same:
                for k in range(start[e], start[e + 1]):
                    if seen[target[k]] != rep:
                        same = False
        if not same:
            rep = e
            for k in range(start[e], start[e + 1]):
                seen[target[k]] = e
        first[e] = rep
    return first


@compiled()
def _fingerprints(start, items, noise):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return per row a number that depends on the set of its items."""
    out = np.zeros(start.shape[0] - 1, np.uint64)
    for row in range(out.shape[0]):
        h = np.uint64(0)
        for k in range(start[row], start[row + 1]):
            h += noise[items[k]]
        out[row] = h
    return out


@compiled()
def _sources_of(start, inward, source, names):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return per node the number, and a fingerprint, of the distinct nodes (or outside nets) it listens to."""
    nodes = start.shape[0] - 1
    seen = np.full(names.shape[0], -1, np.int64)
    out = np.zeros(nodes, np.uint64)
    for v in range(nodes):
        h = np.uint64(0)
        for k in range(start[v], start[v + 1]):
            e = inward[k]
            name = source[e] if source[e] >= 0 else nodes + e
            if seen[name] != v:
                seen[name] = v
                h += names[name]
        out[v] = h
    return out


@compiled()
def _transpose(start, target, nodes):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    rows = np.zeros(nodes + 1, np.int64)
    for k in range(target.shape[0]):
        rows[target[k] + 1] += 1
    for v in range(nodes):
        rows[v + 1] += rows[v]
    at = rows.copy()
    out = np.empty(target.shape[0], np.int32)
    for e in range(start.shape[0] - 1):
        for k in range(start[e], start[e + 1]):
            v = target[k]
            out[at[v]] = e
            at[v] += 1
    return rows, out


def _noise(size: int) -> Array:
    # splitmix64 (Steele, Lea, Flood 2014): the same numbers everywhere.
    with np.errstate(over="ignore"):
        x = (np.arange(1, size + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(x ^ (x >> np.uint64(31)))


def cost_scale(problem: PartitionProblem) -> float:
    """Return the whole units of cost per packet per step and hop, a power of two: the costs of any partition add up exactly."""
    board = problem.board
    far = 1
    if board is not None and board.size:
        far = max(1, int(board.port_hops().max()))
        far = max(far, int(board.distance.max()) if board.distance is not None else int(np.ptp(board.slots, axis=0).sum()))
        # Links between chips may count for more than the distance of their ends.
        far = far if board.plain or board.distance is not None else far * (2 + board.fabric.crossing)
    pins = np.minimum(np.diff(problem.start), max(problem.cores, 1))
    total = fsum((problem.rate * pins).tolist()) * far
    return float(2.0 ** (_COST_BITS - 1 - int(np.frexp(max(total, 1e-200))[1])))


def _level(weight: Array, source: Array, start: Array, target: Array, cost: Array, take: Array, count: Array) -> Level:
    nodes = weight.shape[0]
    inward_start, inward = _transpose(start, target, nodes)
    owned = np.flatnonzero(source >= 0)
    order = np.argsort(source[owned], kind="stable")
    outward_start = np.searchsorted(source[owned][order], np.arange(nodes + 1)).astype(np.int64)
    return Level(weight, source, start, target, cost, take, count, inward_start, inward, outward_start, owned[order].astype(np.int32))


def _merged(weight: Array, source: Array, start: Array, target: Array, cost: Array, take: Array, count: Array) -> Level:
    """Return the level in which nets with the same source and targets are one, nets without a target are left out."""
    nodes = weight.shape[0]
    prints = _fingerprints(start, target, _noise(nodes))
    full = np.flatnonzero(np.diff(start) > 0)
    order = full[np.lexsort((full, prints[full], np.diff(start)[full], source[full]))]
    first = _alike(start, target, source, prints, order, nodes)
    kept = np.flatnonzero(first == np.arange(source.size))
    index = np.full(source.size, -1, np.int64)
    index[kept] = np.arange(kept.size)
    into = index[first[full]]
    totals = []
    for values in (cost, *take.T, count):
        sums = np.zeros(kept.size, np.int64)
        np.add.at(sums, into, values[full])
        totals.append(sums)
    lengths = np.diff(start)[kept]
    rows = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    pick = np.repeat(start[kept] - rows[:-1], lengths) + np.arange(int(rows[-1]))
    take = np.stack(totals[1:-1], 1) if take.shape[1] else np.zeros((kept.size, 0), np.int64)
    return _level(weight, source[kept], rows, target[pick], totals[0], np.ascontiguousarray(take), totals[-1])


def bottom(problem: PartitionProblem, scale: float) -> Level:
    """Return the level whose nodes are the neurons; `scale` units of cost per packet per step."""
    cost = np.floor(problem.rate * scale).astype(np.int64)
    return _merged(
        np.ascontiguousarray(problem.neuron.T), problem.source, problem.start, problem.target, cost, np.ascontiguousarray(problem.axon.T),
        np.ones(problem.axons, np.int64),
    )


def collapse(level: Level, group: Array, groups: int) -> Level:
    """Return the level whose nodes are groups of nodes, (nodes,) int64 in 0..groups-1."""
    weight = np.zeros((groups, level.weight.shape[1]), np.int64)
    np.add.at(weight, group, level.weight)
    start, target = _distinct(level.start, level.target, group, groups)
    source = np.where(level.source >= 0, group[level.source], -1)
    return _merged(weight, source, start, target, level.cost, level.take, level.count)


def _chunks(level: Level, key: tuple[Array, ...], most: Array) -> tuple[Array, int]:
    """Return the group of every node and the number of groups: nodes with equal keys, in runs no heavier than `most` (R,)."""
    nodes = level.nodes
    order = np.lexsort((np.arange(nodes), *key))
    new = np.ones(nodes, bool)
    same = np.ones(max(nodes - 1, 0), bool)
    for values in key:
        same &= values[order][1:] == values[order][:-1]
    new[1:] = ~same
    block = np.cumsum(new) - 1
    first = np.flatnonzero(new)
    total = np.add.reduceat(level.weight[order], first, axis=0) if nodes else np.zeros((0, most.size), np.int64)
    size = np.diff(np.append(first, nodes))
    # As many runs as the heaviest resource asks for, of sizes as equal as can be: the nodes of a block are nearly alike.
    runs = np.clip(np.max(-(-total // np.maximum(most, 1)), axis=1, initial=1), 1, size)
    rank = np.arange(nodes) - first[block]
    run = rank * runs[block] // size[block]
    offset = np.cumsum(runs) - runs
    group = np.empty(nodes, np.int64)
    group[order] = offset[block] + run
    return group, int(runs.sum())


def group_twins(level: Level, most: Array, kin: bool = False) -> tuple[Array, int]:
    """Group nodes that listen to the same nets (`kin`: to nets of the same sources), such as the channels of one pixel.

    Returns:
        (nodes,) int64 groups, and their number. Groups heavier than `most` (R,) are cut in equal runs.
    """
    if kin:
        prints = _sources_of(level.inward_start, level.inward, level.source, _noise(level.nodes + level.nets))
    else:
        prints = _fingerprints(level.inward_start, level.inward, _noise(level.nets))
    silent = np.flatnonzero(np.diff(level.inward_start) == 0)
    prints[silent] = _noise(level.nodes)[silent]
    return _chunks(level, (prints, np.diff(level.inward_start) if not kin else np.zeros(level.nodes, np.int64)), most)
