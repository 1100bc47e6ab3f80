"""Translate a mapped network into a core program: axons, synapse memory, neuron parameters, destinations.

Every (core, projection) pair gets a run of input axons, one per source neuron the core's slice listens to, and every source neuron gets
one destination per such run.
"""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.mapping import Mapping
from nmap.program import (
    Box,
    ConvTile,
    NeuronGroup,
    Program,
    ProgramPopulation,
    Routes,
    Slice,
    SynapseBlock,
    box_indices,
    slice_indices,
)
from nmap.quantized import QuantizedNetwork, QuantizedProjection
from nmap.target.backend import Replicating, Target

__all__ = ["build_program", "compile_program", "conv_halo", "cut_synapses"]


def conv_halo(conv: Conv2d, box: Box) -> Box:
    """Return the source positions that an output box of a convolution listens to, padding left out."""
    (c0, c1), *spans = box
    per_in, per_out = conv.in_shape[0] // conv.groups, conv.weights.shape[0] // conv.groups
    halo = [(c0 // per_out * per_in, ((c1 - 1) // per_out + 1) * per_in)]
    for (low, high), size, k, s, p, d in zip(
        spans, conv.in_shape[1:], conv.kernel_size, conv.stride, conv.padding, conv.dilation, strict=True
    ):
        start = max(low * s - p, 0)
        halo.append((start, max(start, min((high - 1) * s - p + d * (k - 1) + 1, size))))
    return tuple(halo)


def cut_synapses(
    projection: QuantizedProjection, part: Slice, target_shape: tuple[int, ...]
) -> tuple[Dense | Sparse | ConvTile, Array | None, Array]:
    """Return what a slice of the targets holds of a projection.

    Args:
        projection: the whole projection.
        part: slice of the target population, a box for a convolution.
        target_shape: of the target population.

    Returns:
        The synapses with one axon per listening source, their per-synapse delays or None, and the source index of each axon.

    Raises:
        ValueError: a convolution's targets are not a box.
    """
    whole = projection.connectivity
    if isinstance(whole, Conv2d):
        if not isinstance(part, tuple):
            raise ValueError(f"the targets of the convolution {projection.name} are not a box")
        halo = conv_halo(whole, part)
        tile = ConvTile(
            whole.weights[part[0][0] : part[0][1]], whole.in_shape, whole.out_shape, halo, part, whole.stride, whole.padding,
            whole.dilation, whole.groups,
        )
        return tile, None, box_indices(halo, whole.in_shape)
    rows = slice_indices(part, target_shape)
    if isinstance(whole, Dense):
        delays = None if projection.delays is None else projection.delays[rows]
        return Dense(whole.weights[rows]), delays, np.arange(whole.in_size)
    picked = whole.entries(rows)
    heard = np.zeros(whole.in_size, bool)
    heard[whole.indices[picked]] = True
    sources = np.flatnonzero(heard)
    local = (np.cumsum(heard) - 1)[whole.indices[picked]]
    indptr = np.concatenate([[0], np.cumsum(whole.indptr[rows + 1] - whole.indptr[rows])])
    delays = None if projection.delays is None else projection.delays[picked]
    return Sparse(indptr, local, whole.weights[picked], sources.size), delays, sources.astype(np.int64)


class _RouteTable:
    """Destinations of one population's neurons, collected run by run."""

    def __init__(self) -> None:
        self.source: list[Array] = []
        self.core: list[Array] = []
        self.axon: list[Array] = []

    def add(self, sources: Array, core: int, first_axon: int) -> None:
        self.source.append(sources)
        self.core.append(np.full(sources.size, core, np.int32))
        self.axon.append(np.arange(first_axon, first_axon + sources.size, dtype=np.int32))

    def by_source(self, size: int) -> Routes:
        """Return the routes of a population of `size` neurons, in their order."""
        source = np.concatenate([*self.source, np.zeros(0, np.int64)]).astype(np.int64)
        core = np.concatenate([*self.core, np.zeros(0, np.int32)])
        axon = np.concatenate([*self.axon, np.zeros(0, np.int32)])
        order = np.lexsort((axon, core, source))
        return Routes(np.concatenate([[0], np.cumsum(np.bincount(source, minlength=size))]), core[order], axon[order])


def _routes_of(routes: Routes, neurons: Array) -> Routes:
    """Return the routes of some neurons of a population, in the order given."""
    count = routes.indptr[neurons + 1] - routes.indptr[neurons]
    picked = np.repeat(routes.indptr[neurons] - np.cumsum(count) + count, count) + np.arange(count.sum())
    return Routes(np.concatenate([[0], np.cumsum(count)]), routes.core[picked], routes.axon[picked])


def build_program(network: QuantizedNetwork, target: str, mapping: Mapping, seed: int = 0) -> Program:
    """Return the core program of a mapped network.

    Args:
        network: the quantized network.
        target: the target's name.
        mapping: where every slice lies.
        seed: stored for targets with random modes.
    """
    index = {p.name: k for k, p in enumerate(network.populations)}
    populations = tuple(
        ProgramPopulation(p.name, p.shape, p.latency, p.name in network.inputs, p.name in network.outputs, p.busy)
        for p in network.populations
    )
    tables = {p.name: _RouteTable() for p in network.populations}
    next_axon = [0] * len(mapping.cores)
    groups, blocks = [], []
    for number, shard in enumerate(mapping.shards):
        population = network[shard.population]
        here = slice_indices(shard.slice, population.shape)
        groups.append(NeuronGroup(
            shard.cluster, index[population.name], shard.slice, str(population.kernel),
            {name: values[here] for name, values in population.params.items()},
            {name: values[here] for name, values in population.initial.items()},
        ))
        for projection in network.afferents(population.name):
            synapses, delays, sources = cut_synapses(projection, shard.slice, population.shape)
            if not sources.size:
                continue
            first = next_axon[shard.cluster]
            next_axon[shard.cluster] += sources.size
            tables[projection.source].add(sources, shard.cluster, first)
            blocks.append(SynapseBlock(
                shard.cluster, number, first, synapses, delays, projection.delay, projection.format.exponent,
                projection.format.message_bits, projection.format.bits, projection.format.sign, projection.receptor,
                projection.format.accumulator,
            ))
    listed = {p.name: tables[p.name].by_source(p.size) for p in network.populations}
    routes = tuple(
        _routes_of(listed[shard.population], slice_indices(shard.slice, network[shard.population].shape)) for shard in mapping.shards
    )
    inputs = {index[name]: listed[name] for name in network.inputs}
    return Program(
        target, mapping.machine.variant, populations, mapping.cores, tuple(groups), tuple(blocks), routes, inputs, seed,
        settings=dict(network.settings),
    )


def compile_program(network: QuantizedNetwork, target: Target, mapping: Mapping, seed: int = 0) -> Program:
    """Return the core program of a mapped network: the target's own where it needs copies of neurons, else that of `build_program`."""
    if isinstance(target, Replicating):
        return target.build(network, mapping, seed)
    return build_program(network, target.name, mapping, seed)
