"""Packets between cores: which source neurons a shard needs, without listing synapses of regular connections."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.mapping import Shard
from nmap.program import Box, box_indices
from nmap.quantized import QuantizedNetwork

__all__ = ["core_traffic", "sources_of"]

_FRACTION = 2.0**32
"""Rates are added as whole multiples of 2^-32, so that sums do not depend on their order."""


@dataclass(frozen=True, slots=True, eq=False)
class _Shards:
    """Shards of one population: (shards, rank) starts and stops, (shards,) clusters."""

    start: Array
    stop: Array
    cluster: Array


def sources_of(connectivity: Connectivity, in_shape: tuple[int, ...], out_shape: tuple[int, ...], box: Box) -> Box | Array:
    """Return the source neurons that a box of targets listens to.

    A box of `in_shape` for a dense connection (all of it) and a convolution (the halo, padding cut off); the distinct indices, (k,)
    int64 ascending, for a sparse connection.
    """
    if isinstance(connectivity, Dense):
        return tuple((0, size) for size in in_shape)
    if isinstance(connectivity, Sparse):
        rows = box_indices(box, out_shape)
        first, count = connectivity.indptr[rows], connectivity.indptr[rows + 1] - connectivity.indptr[rows]
        total = int(count.sum())
        inside = np.arange(total) - np.repeat(np.cumsum(count) - count, count)
        needed = np.zeros(connectivity.in_size, bool)
        needed[connectivity.indices[np.repeat(first, count) + inside]] = True
        return np.flatnonzero(needed)
    return _halo(connectivity, box)


def _halo(conv: Conv2d, box: Box) -> Box:
    per_in, per_out = conv.in_shape[0] // conv.groups, conv.out_shape[0] // conv.groups
    halo = [(box[0][0] // per_out * per_in, ((box[0][1] - 1) // per_out + 1) * per_in)]
    for k in range(2):
        start, stop = box[k + 1]
        low = start * conv.stride[k] - conv.padding[k]
        high = (stop - 1) * conv.stride[k] - conv.padding[k] + (conv.kernel_size[k] - 1) * conv.dilation[k] + 1
        size = conv.in_shape[k + 1]
        halo.append((min(max(low, 0), size), min(max(high, 0), size)))
    return tuple(halo)


def _sums_by_shard(rate: Array, shards: _Shards, needed: list[Box | Array], shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Return clusters and their neurons' summed rate over the union of `needed`; `rate` is (n,) int64 or None for ones."""
    if len(needed) == 1 and isinstance(needed[0], tuple):
        box = np.array(needed[0], np.int64)
        low, high = np.maximum(shards.start, box[:, 0]), np.minimum(shards.stop, box[:, 1])
        hit = np.flatnonzero((low < high).all(1))
        grid = rate.reshape(shape)
        sums = [int(grid[tuple(slice(int(a), int(b)) for a, b in zip(low[k], high[k], strict=True))].sum()) for k in hit]
        return shards.cluster[hit], np.array(sums, np.int64)
    mask = np.zeros(shape, bool)
    flat = mask.reshape(-1)
    for part in needed:
        if isinstance(part, tuple):
            mask[tuple(slice(*side) for side in part)] = True
        else:
            flat[part] = True
    picked = np.where(mask, rate.reshape(shape), 0)
    sums = [
        int(picked[tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))].sum())
        for start, stop in zip(shards.start, shards.stop, strict=True)
    ]
    return shards.cluster, np.array(sums, np.int64)


def core_traffic(
    network: QuantizedNetwork, shards: tuple[Shard, ...], rates: dict[str, Array] | None,
) -> tuple[Array, Array, Array]:
    """Return the packets per step between clusters: source (-1 for the input port), target, weight, (m,) each.

    One spike is one packet to every other cluster that has a target of it; none to its own cluster, and one only where several
    projections or shards on a cluster listen to the same neuron. Pairs are ascending and distinct; pairs without packets are left out.

    Args:
        network: populations and projections.
        shards: cover every population that is not an input port.
        rates: mean spikes per step, (n,) float64 by population; None means one per step of every neuron.
    """
    by_population: dict[str, list[Shard]] = {p.name: [] for p in network.populations}
    for shard in shards:
        by_population[shard.population].append(shard)
    clusters = 1 + max((shard.cluster for shard in shards), default=-1)
    total: dict[int, int] = {}
    for population in network.populations:
        # Input ports are one shard outside of every core.
        own = by_population[population.name]
        whole: Box = tuple((0, size) for size in population.shape)
        boxes = np.array([shard.box for shard in own] or [whole], np.int64)
        lying = _Shards(boxes[:, :, 0], boxes[:, :, 1], np.array([shard.cluster for shard in own] or [-1], np.int64))
        if rates is None:
            rate = np.full(population.size, int(_FRACTION), np.int64)
        else:
            rate = np.rint(np.asarray(rates[population.name], np.float64).ravel() * _FRACTION).astype(np.int64)
        listeners: dict[int, list[Box | Array]] = {}
        for projection in network.projections:
            if projection.source != population.name:
                continue
            out_shape = network[projection.target].shape
            conv = isinstance(projection.connectivity, Conv2d)
            shape = projection.connectivity.in_shape if isinstance(projection.connectivity, Conv2d) else population.shape
            for shard in by_population[projection.target]:
                needed = sources_of(projection.connectivity, shape, out_shape, shard.box)
                if conv and shape != population.shape and isinstance(needed, tuple):
                    needed = box_indices(needed, shape)
                known = listeners.setdefault(shard.cluster, [])
                if not (isinstance(needed, tuple) and any(isinstance(other, tuple) and needed == other for other in known)):
                    known.append(needed)
        for cluster, needs in listeners.items():
            senders, sums = _sums_by_shard(rate, lying, needs, population.shape)
            for sender, amount in zip(senders.tolist(), sums.tolist(), strict=True):
                if sender != cluster and amount:
                    key = (sender + 1) * clusters + cluster
                    total[key] = total.get(key, 0) + amount
    keys = np.array(sorted(total), np.int64)
    weight = np.array([total[key] for key in sorted(total)], np.float64) / _FRACTION
    return keys // max(clusters, 1) - 1, keys % max(clusters, 1), weight
