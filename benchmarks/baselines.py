"""What the mapper is compared with: the sequential fill and the method of Jin et al. (ASPLOS 2023).

Jin et al., "Mapping Very Large Scale Spiking Neuron Network to Neuromorphic Hardware", https://doi.org/10.1145/3582016.3582038: neurons
fill one core after the other, cores lie along a Hilbert curve, and then neighbours change places by force: in every round the 30 % of
the neighbouring pairs with the largest positive tension, until no tension is left. The tension of a pair is what the system's
potential loses when the two change places.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from neutral import NeutralPartition, NeutralPlacement, distinct, score_partition, score_placement

from nmap.compiled import compiled
from nmap.connectivity import Array
from nmap.place.hilbert import curve

__all__ = [
    "LINEAR", "POTENTIALS", "QUADRATIC", "SQUARED", "Answer", "MissingError", "Wires", "asplos23", "force_directed", "hilbert", "in_order",
    "next_fit", "place_asplos23", "receptive_order", "row_major", "sequential", "traffic_of", "wires",
]

LINEAR, QUADRATIC, SQUARED = range(3)
POTENTIALS = {"linear": LINEAR, "quadratic": QUADRATIC, "squared": SQUARED}
"""Potential of one packet over (x, y) hops: |x| + |y|, x^2 + y^2, (|x| + |y|)^2."""
_SHARE = 0.3
"""Share of the positive tensions that are released in a round."""
_MOST_ROUNDS = 100_000
_LEAST_TENSION = 1e-9


class MissingError(Exception):
    """A baseline cannot be run here, or found no feasible answer; the message says why."""


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """A baseline's mapping: (n,) cluster of each neuron (None for placement problems), (clusters, 2) cores, CPU seconds."""

    part: Array | None
    xy: Array
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Wires:
    """Traffic between clusters, both ways added up, as compressed rows; and traffic from the port, (clusters,)."""

    start: Array
    other: Array
    weight: Array
    port: Array
    at: tuple[int, int]


def wires(clusters: int, source: Array, target: Array, weight: Array, at: tuple[int, int]) -> Wires:
    """Gather traffic edges; source -1 is the port, which lies at `at`."""
    inner = (source >= 0) & (source != target)
    port = np.bincount(target[source < 0], weight[source < 0], minlength=clusters).astype(np.float64)
    low, high = (f(source[inner], target[inner]).astype(np.int64) for f in (np.minimum, np.maximum))
    pair, at_pair = np.unique(low * clusters + high, return_inverse=True)
    total = np.bincount(at_pair.ravel(), weight[inner], minlength=pair.size)
    ends = np.concatenate([pair // clusters, pair % clusters]), np.concatenate([pair % clusters, pair // clusters])
    order = np.lexsort((ends[1], ends[0]))
    start = np.concatenate([[0], np.cumsum(np.bincount(ends[0], minlength=clusters))]).astype(np.int64)
    return Wires(start, ends[1][order].astype(np.int64), np.concatenate([total, total])[order], port, at)


def traffic_of(problem: NeutralPartition, part: Array) -> Wires:
    """Return the traffic between the clusters of a partition."""
    clusters = int(part.max(initial=-1)) + 1
    axon = np.repeat(np.arange(problem.hsrc.size), np.diff(problem.hptr))
    axon, cluster = np.divmod(distinct(axon * clusters + part[problem.hdst]), clusters)
    home = np.where(problem.hsrc >= 0, part[problem.hsrc], -1)[axon]
    return wires(clusters, home, cluster, problem.rate[axon].astype(np.float64), problem.io_xy)


def _listens(problem: NeutralPartition) -> tuple[Array, Array]:
    """Return the axons each neuron listens to, ascending, as compressed rows (start, axon)."""
    axon = np.repeat(np.arange(problem.hsrc.size), np.diff(problem.hptr))
    order = np.argsort(problem.hdst, kind="stable")
    return np.concatenate([[0], np.cumsum(np.bincount(problem.hdst, minlength=problem.n))]), axon[order]


def next_fit(problem: NeutralPartition, order: Array, block: Array | None = None) -> Array:
    """Fill one core after the other with the neurons in `order`, and start a new core where `block`, (n,), changes; return (n,) clusters.

    Raises:
        MissingError: a neuron does not fit an empty core.
    """
    start, listens = _listens(problem)
    part = np.empty(problem.n, np.int64)
    holder = np.full(problem.hsrc.size, -1)
    most = [int(c) for c in problem.caps]
    core, neurons, axons, synapses, last = -1, 0, 0, 0, None
    for neuron in order.tolist():
        row = listens[start[neuron] : start[neuron + 1]]
        if most[0] < 1 or row.size > min(most[1:]):
            raise MissingError(f"neuron {neuron} with {row.size} inputs does not fit an empty core")
        new = int(np.count_nonzero(holder[row] != core))
        wanted = 0 if block is None else int(block[neuron])
        if wanted != last or neurons + 1 > most[0] or axons + new > most[1] or synapses + row.size > most[2]:
            core, last, neurons, axons, synapses, new = core + 1, wanted, 0, 0, 0, row.size
        holder[row] = core
        part[neuron] = core
        neurons, axons, synapses = neurons + 1, axons + new, synapses + row.size
    return part


def in_order(problem: NeutralPartition) -> Array:
    """Return the neurons as they are numbered."""
    return np.arange(problem.n)


def receptive_order(problem: NeutralPartition) -> Array:
    """Return the neurons layer by layer, those that see the same inputs together: by first, last and mean input.

    In a convolution these are all channels of one pixel, pixel after pixel (height, width, channel).
    """
    start, listens = _listens(problem)
    fan_in = np.diff(start)
    first, last = np.full(problem.n, -1), np.full(problem.n, -1)
    some = fan_in > 0
    first[some], last[some] = listens[start[:-1][some]], listens[start[1:][some] - 1]
    total = np.bincount(np.repeat(np.arange(problem.n), fan_in), listens, minlength=problem.n)
    mean = total / np.maximum(fan_in, 1)
    return np.lexsort((np.arange(problem.n), mean, last, first, problem.layer))


def _alive(problem: NeutralPartition | NeutralPlacement, cells: Array, clusters: int) -> Array:
    """Return the first cells, (clusters, 2), that are not dead.

    Raises:
        MissingError: there are fewer.
    """
    alive = cells[~np.isin(cells[:, 1] * problem.mesh[0] + cells[:, 0], problem.dead)]
    if alive.shape[0] < clusters:
        raise MissingError(f"{clusters} cores are needed and {alive.shape[0]} are there")
    return alive[:clusters]


def row_major(problem: NeutralPartition | NeutralPlacement, clusters: int) -> Array:
    """Return cells row after row, (clusters, 2)."""
    width, height = problem.mesh
    cell = np.arange(width * height)
    return _alive(problem, np.stack([cell % width, cell // width], 1), clusters)


def hilbert(problem: NeutralPartition | NeutralPlacement, clusters: int) -> Array:
    """Return cells along the curve through the smallest square (a rectangle where the mesh is too narrow) that holds them all."""
    width, height = problem.mesh
    for side in range(1, max(width, height) + 1):
        columns, rows = min(side, width), min(side, height)
        dead = int(np.count_nonzero((problem.dead % width < columns) & (problem.dead // width < rows)))
        if columns * rows - dead >= clusters:
            break
    return _alive(problem, curve(columns, rows), clusters)


@compiled()
def _potential(kind, x, y):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    if kind == 0:
        return float(abs(x) + abs(y))
    if kind == 1:
        return float(x * x + y * y)
    return float((abs(x) + abs(y)) ** 2)


@compiled()
def _pull(kind, xy, start, other, weight, port, home, a, x, y, partner):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return what the potential loses when cluster `a` goes to (x, y) and `partner` comes to where it was."""
    gain = port[a] * (_potential(kind, xy[a, 0] - home[0], xy[a, 1] - home[1]) - _potential(kind, x - home[0], y - home[1]))
    for k in range(start[a], start[a + 1]):
        b = other[k]
        if b != partner:
            before = _potential(kind, xy[a, 0] - xy[b, 0], xy[a, 1] - xy[b, 1])
            gain += weight[k] * (before - _potential(kind, x - xy[b, 0], y - xy[b, 1]))
    return gain


@compiled()
def _tension(kind, xy, holder, width, start, other, weight, port, home, p, q):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    a = holder[p]
    b = holder[q]
    gain = 0.0
    if a >= 0:
        gain += _pull(kind, xy, start, other, weight, port, home, a, q % width, q // width, b)
    if b >= 0:
        gain += _pull(kind, xy, start, other, weight, port, home, b, p % width, p // width, a)
    return gain


@compiled()
def _release(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    kind, xy, holder, dead, width, height, start, other, weight, port, home, share, least, rounds,
):
    """Change places, in `xy` and `holder`, until no tension is left; return the number of rounds."""
    cells = width * height
    tension = np.zeros(2 * cells)
    for done in range(rounds):
        positive = 0
        for p in range(cells):
            for side in range(2):
                q = p + 1 if side == 0 else p + width
                inside = p % width < width - 1 if side == 0 else q < cells
                value = 0.0
                if inside and not dead[p] and not dead[q]:
                    value = _tension(kind, xy, holder, width, start, other, weight, port, home, p, q)
                tension[2 * p + side] = value
                if value > least:
                    positive += 1
        swaps = 0
        order = np.argsort(-tension, kind="mergesort")
        for k in range(int(np.ceil(share * positive))):
            p = order[k] // 2
            q = p + 1 if order[k] % 2 == 0 else p + width
            # A swap before this one may have taken the tension away.
            if _tension(kind, xy, holder, width, start, other, weight, port, home, p, q) <= least:
                continue
            holder[p], holder[q] = holder[q], holder[p]
            for cell in (p, q):
                if holder[cell] >= 0:
                    xy[holder[cell], 0] = cell % width
                    xy[holder[cell], 1] = cell // width
            swaps += 1
        if swaps == 0:
            return done
    return rounds


def force_directed(mesh: tuple[int, int], dead: Array, traffic: Wires, xy: Array, kind: int) -> Array:
    """Return (clusters, 2): where clusters lie once no two neighbouring cells would lower the potential by changing places."""
    width, height = mesh
    xy = np.array(xy, np.int64)
    holder = np.full(width * height, -1, np.int64)
    holder[xy[:, 1] * width + xy[:, 0]] = np.arange(xy.shape[0])
    broken = np.zeros(width * height, bool)
    broken[dead] = True
    _release(
        kind, xy, holder, broken, width, height, traffic.start, traffic.other, traffic.weight, traffic.port,
        np.array(traffic.at, np.int64), _SHARE, _LEAST_TENSION, _MOST_ROUNDS,
    )
    return xy


def sequential(problem: NeutralPartition) -> Answer:
    """Next fit in the order of the numbers, cores row after row: what most vendors' flows do."""
    begin = time.process_time()
    part = next_fit(problem, in_order(problem))
    return Answer(part, row_major(problem, int(part.max(initial=-1)) + 1), time.process_time() - begin)


def asplos23(problem: NeutralPartition, order: Callable[[NeutralPartition], Array] = in_order) -> Answer:
    """Next fit, Hilbert curve and force-directed placement: the best of the three potentials by unicast hops."""
    begin = time.process_time()
    part = next_fit(problem, order(problem))
    traffic, first = traffic_of(problem, part), hilbert(problem, int(part.max(initial=-1)) + 1)
    tried = [force_directed(problem.mesh, problem.dead, traffic, first, kind) for kind in POTENTIALS.values()]
    best = min(tried, key=lambda xy: score_partition(problem, part, xy).unicast)
    return Answer(part, best, time.process_time() - begin)


def place_asplos23(problem: NeutralPlacement, kind: int | None = None) -> Answer:
    """Hilbert curve and force-directed placement with one potential; None takes the best of the three."""
    begin = time.process_time()
    traffic, first = wires(problem.K, problem.src, problem.dst, problem.w, (0, 0)), hilbert(problem, problem.K)
    kinds = POTENTIALS.values() if kind is None else (kind,)
    tried = [force_directed(problem.mesh, problem.dead, traffic, first, k) for k in kinds]
    best = min(tried, key=lambda xy: score_placement(problem, xy).unicast)
    return Answer(None, best, time.process_time() - begin)
