"""Packets between cores: which source neurons a shard needs, without listing synapses of regular connections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.distinct import distinct
from nmap.mapping import Shard
from nmap.place.problem import Nets
from nmap.program import Box, Program, Slice, slice_indices, slice_size
from nmap.quantized import QuantizedNetwork, QuantizedPopulation

__all__ = ["core_nets", "core_traffic", "pairs_of_nets", "program_nets", "sources_of"]

_FRACTION = 2.0**32
"""Rates are added as whole multiples of 2^-32, so that sums do not depend on their order."""


def sources_of(connectivity: Connectivity, in_shape: tuple[int, ...], out_shape: tuple[int, ...], part: Slice) -> Slice:
    """Return the source neurons that a slice of targets listens to.

    A box of `in_shape` for a dense connection (all of it) and a convolution (the halo of a box, padding cut off); the distinct indices,
    (k,) int64 ascending, for a sparse connection.

    Raises:
        ValueError: the targets of a convolution are no box.
    """
    if isinstance(connectivity, Dense):
        return tuple((0, size) for size in in_shape)
    if isinstance(connectivity, Sparse):
        rows = slice_indices(part, out_shape)
        first, count = connectivity.indptr[rows], connectivity.indptr[rows + 1] - connectivity.indptr[rows]
        total = int(count.sum())
        inside = np.arange(total) - np.repeat(np.cumsum(count) - count, count)
        needed = np.zeros(connectivity.in_size, bool)
        needed[connectivity.indices[np.repeat(first, count) + inside]] = True
        return np.flatnonzero(needed)
    if not isinstance(part, tuple):
        raise ValueError("the targets of a convolution on one core are a box")
    return tuple((int(low), int(high)) for low, high in _halos(connectivity, np.array([part], np.int64))[0])


def _halos(conv: Conv2d, boxes: Array) -> Array:
    """Return the source boxes of target boxes, (m, 3, 2) int64 each; empty ones for tiles that read padding only."""
    per_in, per_out = conv.in_shape[0] // conv.groups, conv.out_shape[0] // conv.groups
    halos = np.empty_like(boxes)
    halos[:, 0, 0] = boxes[:, 0, 0] // per_out * per_in
    halos[:, 0, 1] = ((boxes[:, 0, 1] - 1) // per_out + 1) * per_in
    for k in range(2):
        low = boxes[:, k + 1, 0] * conv.stride[k] - conv.padding[k]
        high = (boxes[:, k + 1, 1] - 1) * conv.stride[k] - conv.padding[k] + (conv.kernel_size[k] - 1) * conv.dilation[k] + 1
        halos[:, k + 1, 0] = np.clip(low, 0, conv.in_shape[k + 1])
        halos[:, k + 1, 1] = np.clip(high, 0, conv.in_shape[k + 1])
    return halos


@dataclass(frozen=True, slots=True, eq=False)
class _Listeners:
    """Who needs which neurons of one population.

    Args:
        box: (m, rank, 2) int64 boxes, and the cluster of each, (m,).
        cluster: see `box`.
        listed: (cluster, neurons (k,) int64) where the neurons are no box.
    """

    box: Array
    cluster: Array
    listed: tuple[tuple[int, Array], ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Shards:
    """Shards of one population and their (shards,) clusters; an input port is one shard on cluster -1.

    `box` is (shards, rank, 2), or None where not every shard is a box.
    """

    slices: tuple[Slice, ...]
    box: Array | None
    cluster: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Units:
    """Sets of neurons of one source cluster with the same listeners, and who listens: (pairs,) unit and cluster.

    `source` and `weight` are (units,); the weight is int64 in units of 1 / `_FRACTION` packets per step.
    """

    source: Array
    weight: Array
    unit: Array
    cluster: Array


def _lying(population: QuantizedPopulation, own: list[Shard]) -> _Shards:
    whole: Box = tuple((0, size) for size in population.shape)
    slices = tuple(shard.slice for shard in own) or (whole,)
    boxes = np.array(slices, np.int64) if all(isinstance(part, tuple) for part in slices) else None
    return _Shards(slices, boxes, np.array([shard.cluster for shard in own] or [-1], np.int64))


def _listeners(network: QuantizedNetwork, population: QuantizedPopulation, lying: dict[str, _Shards]) -> _Listeners:
    rank = len(population.shape)
    boxes, clusters, listed = [np.zeros((0, rank, 2), np.int64)], [np.zeros(0, np.int64)], []
    for projection in network.projections:
        if projection.source != population.name:
            continue
        connectivity, targets = projection.connectivity, lying[projection.target]
        if (targets.cluster < 0).all():
            continue  # not on any core
        if isinstance(connectivity, Dense):
            reached = distinct(targets.cluster)
            boxes.append(np.broadcast_to(np.array([(0, size) for size in population.shape], np.int64), (reached.size, rank, 2)))
            clusters.append(reached)
        elif isinstance(connectivity, Conv2d) and connectivity.in_shape == population.shape and targets.box is not None:
            boxes.append(_halos(connectivity, targets.box))
            clusters.append(targets.cluster)
        else:
            shape = connectivity.in_shape if isinstance(connectivity, Conv2d) else population.shape
            for part, cluster in zip(targets.slices, targets.cluster.tolist(), strict=True):
                # Where the source is read in another shape, a box of that one is none of its own.
                listed.append((cluster, slice_indices(sources_of(connectivity, shape, network[projection.target].shape, part), shape)))
    return _Listeners(np.concatenate(boxes), np.concatenate(clusters), tuple(listed))


def _spread(first: Array, count: Array) -> tuple[Array, Array]:
    """Return, for rows of `count` consecutive numbers from `first` on, the row of every number and the number."""
    row = np.repeat(np.arange(count.size), count)
    return row, np.arange(row.size) - np.repeat(np.cumsum(count) - count, count) + first[row]


def _units_of_boxes(boxes: Array, homes: Array, listeners: _Listeners, table: Array | None) -> _Units:
    """Split every shard along the edges of the boxes that are listened to.

    Args:
        boxes, homes: (shards, rank, 2) and (shards,) clusters of the population.
        listeners: of the population.
        table: sums of the rates of all neurons before a position, int64 of shape + 1 in every dimension; None for one spike each.
    """
    sources, weights, units, clusters = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    total = 0
    for shard, home in zip(boxes, homes.tolist(), strict=True):
        low, high = np.maximum(listeners.box[:, :, 0], shard[:, 0]), np.minimum(listeners.box[:, :, 1], shard[:, 1])
        hit = np.flatnonzero((low < high).all(1) & (listeners.cluster != home))
        if not hit.size:
            continue
        low, high = low[hit], high[hit]
        row, cell = np.arange(hit.size), np.zeros(hit.size, np.int64)
        edges = []
        for k in range(shard.shape[0]):
            edges.append(distinct(np.concatenate([shard[k], low[:, k], high[:, k]])))
            first = np.searchsorted(edges[k], low[:, k])
            count = np.searchsorted(edges[k], high[:, k]) - first
            at, number = _spread(first[row], count[row])
            row, cell = row[at], cell[at] * (edges[k].size - 1) + number
        if table is None:
            weight = np.full(1, int(_FRACTION), np.int64)
            for edge in edges:
                weight = (weight[:, None] * np.diff(edge)).ravel()
        else:
            sums = table[np.ix_(*edges)]
            for k in range(len(edges)):
                sums = np.diff(sums, axis=k)
            weight = sums.ravel()
        sources.append(np.full(weight.size, home))
        weights.append(weight)
        units.append(cell + total)
        clusters.append(listeners.cluster[hit][row])
        total += weight.size
    return _Units(np.concatenate(sources), np.concatenate(weights), np.concatenate(units), np.concatenate(clusters))


def _units_of_neurons(population: QuantizedPopulation, lying: _Shards, listeners: _Listeners, rate: Array | None) -> _Units:
    """Take every neuron for itself."""
    home = np.full(population.size, -1, np.int64)
    for part, cluster in zip(lying.slices, lying.cluster.tolist(), strict=True):
        home[slice_indices(part, population.shape)] = cluster
    needs = list(listeners.listed)
    for box, cluster in zip(listeners.box.tolist(), listeners.cluster.tolist(), strict=True):
        needs.append((cluster, slice_indices(tuple((low, high) for low, high in box), population.shape)))
    neuron = np.concatenate([np.zeros(0, np.int64), *(neurons for _, neurons in needs)])
    cluster = np.repeat(np.array([cluster for cluster, _ in needs], np.int64), [neurons.size for _, neurons in needs])
    away = home[neuron] != cluster
    weight = np.full(population.size, int(_FRACTION), np.int64) if rate is None else rate
    return _Units(home, weight, neuron[away], cluster[away])


def _by_shard(units: _Units, lying: _Shards, population: QuantizedPopulation, rate: Array | None) -> _Units:
    """Join the units of a cluster into one, which all listeners of any of them listen to: its neurons share one route.

    What no one listens to is sent all the same.
    """
    clusters = distinct(lying.cluster)
    total = np.zeros(clusters.size, np.int64)
    for part, cluster in zip(lying.slices, lying.cluster.tolist(), strict=True):
        k = int(np.searchsorted(clusters, cluster))
        total[k] += slice_size(part) * int(_FRACTION) if rate is None else int(rate[slice_indices(part, population.shape)].sum())
    home = np.searchsorted(clusters, units.source[units.unit])
    return _Units(clusters, total, home, units.cluster)


def _collect(rows: list[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
    """Merge equal rows: (n, width) int64 with (n,) int64 weights, one entry per width, ascending."""
    merged = []
    for width in sorted({keys.shape[1] for keys, _ in rows}):
        keys = np.concatenate([keys for keys, _ in rows if keys.shape[1] == width])
        weight = np.concatenate([weight for keys, weight in rows if keys.shape[1] == width])
        order = np.lexsort(keys.T[::-1])
        keys, weight = keys[order], weight[order]
        first = np.flatnonzero(np.append(True, (keys[1:] != keys[:-1]).any(1)))
        merged.append((keys[first], np.add.reduceat(weight, first)))
    return merged


def _rows(units: _Units, clusters: int) -> list[tuple[Array, Array]]:
    """Return the units with listeners as rows (source, listener, ...), by number of listeners, equal ones merged."""
    pairs = distinct(units.unit * clusters + units.cluster)
    unit, cluster = pairs // clusters, pairs % clusters
    first = np.flatnonzero(np.append(True, unit[1:] != unit[:-1])) if unit.size else np.zeros(0, np.int64)
    count = np.diff(np.append(first, unit.size))
    rows = []
    for width in distinct(count).tolist():
        at = first[count == width]
        keys = np.concatenate([units.source[unit[at]][:, None], cluster[at[:, None] + np.arange(width)]], axis=1)
        weight = units.weight[unit[at]]
        rows.append((keys[weight > 0], weight[weight > 0]))
    return _collect([(keys, weight) for keys, weight in rows if weight.size])


def _net_rows(
    network: QuantizedNetwork, shards: tuple[Shard, ...], rates: dict[str, Array] | None, shared: bool, loaded: bool,
) -> list[tuple[Array, Array]]:
    by_population: dict[str, list[Shard]] = {p.name: [] for p in network.populations}
    for shard in shards:
        by_population[shard.population].append(shard)
    lying = {p.name: _lying(p, by_population[p.name]) for p in network.populations}
    clusters = 1 + max((shard.cluster for shard in shards), default=0)
    rows: list[tuple[Array, Array]] = []
    for population in network.populations:
        if loaded and population.name in network.inputs:
            continue
        listeners = _listeners(network, population, lying)
        rate = None
        if rates is not None:
            rate = np.rint(np.asarray(rates[population.name], np.float64).ravel() * _FRACTION).astype(np.int64)
        own = lying[population.name]
        if listeners.listed or own.box is None:
            units = _units_of_neurons(population, own, listeners, rate)
        else:
            table = None
            if rate is not None:
                table = np.pad(rate.reshape(population.shape), [(1, 0)] * len(population.shape))
                for k in range(table.ndim):
                    np.cumsum(table, axis=k, out=table)
            units = _units_of_boxes(own.box, own.cluster, listeners, table)
        rows += _rows(_by_shard(units, own, population, rate) if shared else units, clusters)
    return _collect(rows)


def core_nets(
    network: QuantizedNetwork, shards: tuple[Shard, ...], rates: dict[str, Array] | None, *, shared: bool = False, loaded: bool = False,
) -> Nets:
    """Return the spikes per step as multicast packets: one net per source cluster and set of other clusters that listen.

    A neuron whose listeners lie on the clusters {a, b} adds its rate to the net from its own cluster to {a, b}; listeners on its own
    cluster need no packet. Boxes of neurons are split along the edges of the halos, never listed neuron by neuron; only populations
    with a sparse efferent are. Nets are distinct and those without packets left out, fewest targets first, then ascending.

    Args:
        network: populations and projections.
        shards: of the mapped populations, each covered once; those without shards are taken for input ports, and listen to nothing.
        rates: mean spikes per step, (n,) float64 by population; None means one per step of every neuron.
        shared: all neurons of a population on a core share one route, to every core that listens to any of them.
        loaded: input ports send no packets: their spikes lie in the memory of the cores that listen.
    """
    rows = _net_rows(network, shards, rates, shared, loaded)
    source = np.concatenate([np.zeros(0, np.int64), *(keys[:, 0] for keys, _ in rows)])
    target = np.concatenate([np.zeros(0, np.int64), *(keys[:, 1:].ravel() for keys, _ in rows)])
    count = np.concatenate([np.zeros(0, np.int64), *(np.full(weight.size, keys.shape[1] - 1) for keys, weight in rows)])
    weight = np.concatenate([np.zeros(0, np.int64), *(weight for _, weight in rows)])
    return Nets(source, np.concatenate([[0], np.cumsum(count)]), target, weight / _FRACTION)


def program_nets(program: Program, rates: dict[str, Array] | None) -> Nets:
    """Return the spikes per step as packets of a program, each along one route to one axon, from one core to another one.

    That is what a chip sends whose neurons have one destination each: a copy's spikes are packets of their own.

    Args:
        program: its cores are the clusters.
        rates: as in `core_nets`; copies spike as what they copy.
    """
    totals: dict[tuple[int, int], int] = {}
    ports = [(-1, routes, index, np.arange(routes.indptr.size - 1)) for index, routes in program.inputs.items()]
    groups = []
    for group, routes in zip(program.groups, program.routes, strict=True):
        groups.append((group.core, routes, *program.computed(group)))
    for source, routes, population, neurons in (*ports, *groups):
        if rates is None:
            rate = np.full(neurons.size, int(_FRACTION), np.int64)
        else:
            mean = np.asarray(rates[program.populations[population].name], np.float64).ravel()[neurons]
            rate = np.rint(mean * _FRACTION).astype(np.int64)
        sums = np.zeros(len(program.cores), np.int64)
        np.add.at(sums, routes.core, np.repeat(rate, np.diff(routes.indptr)))
        for target in np.flatnonzero(sums).tolist():
            if target != source:
                totals[source, target] = totals.get((source, target), 0) + int(sums[target])
    pairs = np.array(sorted(totals), np.int64).reshape(-1, 2)
    weight = np.array([totals[source, target] for source, target in pairs.tolist()], np.int64)
    return Nets(pairs[:, 0], np.arange(weight.size + 1), pairs[:, 1], weight / _FRACTION)


def pairs_of_nets(nets: Nets) -> tuple[Array, Array, Array]:
    """Return the packets per step between pairs of clusters when every target gets a packet of its own; see `core_traffic`.

    Sums are exact, whatever the order of the nets, for weights that are multiples of 2^-32 as `core_nets` gives.
    """
    count = np.diff(nets.start)
    source = np.repeat(nets.source, count)
    clusters = 1 + int(nets.target.max(initial=0))
    keys, where = np.unique((source + 1) * clusters + nets.target, return_inverse=True)
    sums = np.zeros(keys.size, np.int64)
    np.add.at(sums, where.ravel(), np.repeat(np.rint(nets.weight * _FRACTION).astype(np.int64), count))
    return keys // clusters - 1, keys % clusters, sums / _FRACTION


def core_traffic(
    network: QuantizedNetwork, shards: tuple[Shard, ...], rates: dict[str, Array] | None,
) -> tuple[Array, Array, Array]:
    """Return the packets per step between clusters: source (-1 for the input port), target, weight, (m,) each.

    One spike is one packet to every other cluster that has a target of it; none to its own cluster, and one only where several
    projections or shards on a cluster listen to the same neuron. Pairs are ascending and distinct; pairs without packets are left out.

    Args:
        network, shards, rates: as in `core_nets`.
    """
    return pairs_of_nets(core_nets(network, shards, rates))
