"""From a mapped network to a core program: axons of one type each, crossbar columns, copies of neurons.

For every shard and afferent, the sources that it hears have runs of axons: one run for each delay, axon type and number of the axon among
the source's axons of that type. A run's axons are driven by neurons of one population, by the network's own neurons or by copies, and so
a run may fall into two. The copies of a shard's neurons lie on its core as a population of their own and hear the same axons.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from nmap.connectivity import Array, Dense, Sparse
from nmap.mapping import Mapping, Shard
from nmap.program import NeuronGroup, Program, ProgramPopulation, Routes, Slice, SynapseBlock, slice_indices
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap_truenorth.codes import Needed, code_of, needed
from nmap_truenorth.patterns import TYPES

__all__ = ["build"]

_LISTED = 4
"""A block of fewer synapses than one in so many is listed synapse by synapse."""


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """Axons of one shard and afferent, of one delay and type.

    Args:
        shard: number of the shard.
        afferent: place among the population's afferents.
        delay: steps beyond the projection's.
        kind: axon type.
        rank: number of the axons among those of this type of their sources.
        sources: (axons,) int64, neurons of the source population.
    """

    shard: int
    afferent: int
    delay: int
    kind: int
    rank: int
    sources: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Copies:
    """Copies of a population's neurons, by core and neuron.

    Args:
        index: of their population in the program.
        name: of it.
        neurons: (copies,) int64, the neuron that each one copies.
        first: (n,) int64, the first copy of each neuron.
    """

    index: int
    name: str
    neurons: Array
    first: Array


class _Senders:
    """Which axon every neuron of a population, itself or a copy, sends to; of an input port's several.

    Args:
        size: of the population.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._parts: list[tuple[Array, Array, Array]] = []
        self._sorted: tuple[Array, Array, Array] | None = None

    def add(self, neurons: Array, core: int, first: int) -> None:
        """Let neurons send to as many axons in a row."""
        self._parts.append((neurons, np.full(neurons.size, core, np.int64), np.arange(first, first + neurons.size)))

    def routes(self, neurons: Array) -> Routes:
        """Return the routes of some neurons; no more are added afterwards."""
        if self._sorted is None:
            nothing = np.zeros(0, np.int64)
            neuron, core, axon = (np.concatenate([nothing, *(part[k] for part in self._parts)]) for k in range(3))
            order = np.lexsort((axon, core, neuron))
            start = np.concatenate([[0], np.cumsum(np.bincount(neuron, minlength=self.size))])
            self._sorted = start, core[order], axon[order]
        start, core, axon = self._sorted
        count = start[neurons + 1] - start[neurons]
        picked = np.repeat(start[neurons] - np.cumsum(count) + count, count) + np.arange(count.sum())
        return Routes(np.concatenate([[0], np.cumsum(count)]), core[picked], axon[picked])


def _runs(shard: int, found: tuple[Needed, ...]) -> Iterator[_Run]:
    """Yield the runs of a shard: by afferent, delay, type and rank."""
    for afferent, one in enumerate(found):
        for delay in np.unique(one.delay).tolist():
            here = one.delay == delay
            sources, axons = one.source[here], one.axons[here]
            for kind in range(TYPES):
                for rank in range(int(axons[:, kind].max(initial=0))):
                    yield _Run(shard, afferent, delay, kind, rank, sources[axons[:, kind] > rank])


def _afferents(network: QuantizedNetwork) -> dict[str, list[QuantizedProjection]]:
    into: dict[str, list[QuantizedProjection]] = {p.name: [] for p in network.populations}
    for projection in network.projections:
        into[projection.target].append(projection)
    return into


def _spread(network: QuantizedNetwork, mapping: Mapping, runs: list[_Run]) -> tuple[list[Array], dict[str, _Copies]]:
    """Share the axons out over the neurons and their copies.

    Returns:
        For every run which of its sources' senders drives each axon: -1 for the neuron itself, else the copy's number, (axons,) int64; and
        the copies of every population that has some.
    """
    drivers = [np.full(run.sources.size, -1, np.int64) for run in runs]
    copies: dict[str, _Copies] = {}
    of: dict[str, list[int]] = {p.name: [] for p in network.populations if p.kernel is not None}
    into = _afferents(network)
    for number, run in enumerate(runs):
        source = into[mapping.shards[run.shard].population][run.afferent].source
        if source in of:
            of[source].append(number)
    shards: dict[str, list[Shard]] = {name: [] for name in of}
    for shard in mapping.shards:
        shards[shard.population].append(shard)
    names = {p.name for p in network.populations}
    for population in network.populations:
        mine = of.get(population.name, [])
        if not mine:
            continue
        sources = np.concatenate([runs[number].sources for number in mine])
        # The first axon of a neuron is its own, unless its spikes leave the chip; each further one takes a copy.
        order = np.argsort(sources, kind="stable")
        count = np.bincount(sources, minlength=population.size)
        rank = np.empty(sources.size, np.int64)
        rank[order] = np.arange(sources.size) - np.repeat(np.cumsum(count) - count, count)
        own = 0 if population.name in network.outputs else 1
        extra = np.maximum(count - own, 0)
        if not extra.any():
            continue
        core = np.zeros(population.size, np.int64)
        for shard in shards[population.name]:
            core[slice_indices(shard.slice, population.shape)] = shard.cluster
        by_core = np.lexsort((np.arange(population.size), core))
        first = np.empty(population.size, np.int64)
        first[by_core] = np.cumsum(extra[by_core]) - extra[by_core]
        name = f"{population.name}.copies"
        while name in names:
            name += "_"
        names.add(name)
        copies[population.name] = _Copies(len(network.populations) + len(copies), name, np.repeat(by_core, extra[by_core]), first)
        driver = np.where(rank < own, -1, first[sources] + rank - own)
        for number, part in zip(mine, np.split(driver, np.cumsum([runs[number].sources.size for number in mine])[:-1]), strict=True):
            drivers[number] = part
    return drivers, copies


def _group(core: int, population: int, part: Slice, whole: QuantizedPopulation, neurons: Array) -> NeuronGroup:
    return NeuronGroup(
        core, population, part, str(whole.kernel), {name: values[neurons] for name, values in whole.params.items()},
        {name: values[neurons] for name, values in whole.initial.items()},
    )


class _Crossbar:
    """Which axons the synapses of a shard and afferent with one delay switch on.

    Args:
        found: of the afferent.
        delay: of the synapses.
        values: (targets, 4) int16, of the shard's neurons.
    """

    def __init__(self, found: Needed, delay: int, values: Array) -> None:
        here = found.synapses.delay == delay
        self.sources = found.source[found.delay == delay]
        self.uses = np.zeros((len(values), self.sources.size, TYPES), np.uint8)
        self.uses[found.synapses.target[here], np.searchsorted(self.sources, found.synapses.source[here])] = found.uses[here]
        self.values = values

    def weights(self, run: _Run, chosen: Array) -> Array:
        """Return the weights of some axons of a run, (targets, chosen) int32.

        Args:
            run: the run.
            chosen: (chosen,) int64, places in it.
        """
        columns = np.searchsorted(self.sources, run.sources[chosen])
        return np.where(self.uses[:, columns, run.kind] > run.rank, self.values[:, run.kind, None], 0).astype(np.int32)


def _stored(weights: Array) -> Dense | Sparse:
    return Sparse.from_dense(weights) if np.count_nonzero(weights) * _LISTED < weights.size else Dense(weights)


def build(network: QuantizedNetwork, mapping: Mapping, seed: int = 0) -> Program:
    """Return the core program of a mapped network, copies of neurons included; see `nmap.target.backend.Replicating.build`.

    The populations of copies follow the network's. The groups are those of the shards, in their order, and then those of their copies.

    Args:
        network: the quantized network; what its `copies` say does not matter.
        mapping: where every slice lies.
        seed: stored in the program.

    Raises:
        ValueError: a population has no code.
    """
    whole, into = {p.name: p for p in network.populations}, _afferents(network)
    heard = [needed(network, shard.population, shard.slice) for shard in mapping.shards]
    runs = [run for number, found in enumerate(heard) for run in _runs(number, found)]
    drivers, copies = _spread(network, mapping, runs)
    index = {p.name: k for k, p in enumerate(network.populations)}
    groups = []
    neurons = [slice_indices(shard.slice, whole[shard.population].shape) for shard in mapping.shards]
    for shard, here in zip(mapping.shards, neurons, strict=True):
        groups.append(_group(shard.cluster, index[shard.population], shard.slice, whole[shard.population], here))
    # Of every shard the group and the slots of its copies.
    second: dict[int, tuple[int, Array]] = {}
    for number, (shard, here) in enumerate(zip(mapping.shards, neurons, strict=True)):
        if shard.population in copies:
            made = copies[shard.population]
            slot = np.full(whole[shard.population].size, -1, np.int64)
            slot[here] = np.arange(here.size)
            part = np.flatnonzero(slot[made.neurons] >= 0)
            if part.size:
                second[number] = (len(groups), slot[made.neurons[part]])
                groups.append(_group(shard.cluster, made.index, part, whole[shard.population], made.neurons[part]))
    populations = [
        ProgramPopulation(p.name, p.shape, p.latency, p.name in network.inputs, p.name in network.outputs) for p in network.populations
    ]
    for name, made in copies.items():
        populations.append(ProgramPopulation(made.name, (made.neurons.size,), whole[name].latency, is_input=False, is_output=False))
    senders = [_Senders(prod(p.shape)) for p in populations]
    next_axon = [0] * len(mapping.cores)
    blocks: list[SynapseBlock] = []
    crossbars: dict[tuple[int, int, int], _Crossbar] = {}
    for run, driver in zip(runs, drivers, strict=True):
        shard = mapping.shards[run.shard]
        projection = into[shard.population][run.afferent]
        key = (run.shard, run.afferent, run.delay)
        if key not in crossbars:
            code = code_of(network, shard.population)
            assert code is not None
            crossbars = {key: _Crossbar(heard[run.shard][run.afferent], run.delay, code.values[neurons[run.shard]])}
        for chosen in (np.flatnonzero(driver < 0), np.flatnonzero(driver >= 0)):
            if not chosen.size:
                continue
            first = next_axon[shard.cluster]
            next_axon[shard.cluster] += chosen.size
            if driver[chosen[0]] < 0:
                senders[index[projection.source]].add(run.sources[chosen], shard.cluster, first)
            else:
                senders[copies[projection.source].index].add(driver[chosen], shard.cluster, first)
            weights = crossbars[key].weights(run, chosen)
            for group, slots in ((run.shard, None), *([second[run.shard]] if run.shard in second else [])):
                held = weights if slots is None else weights[slots]
                if held.any():
                    form = projection.format
                    blocks.append(SynapseBlock(
                        shard.cluster, group, first, _stored(held), None, projection.delay + run.delay, form.exponent, form.message_bits,
                        form.bits, form.sign, projection.receptor, form.accumulator,
                    ))
    routes = tuple(senders[group.population].routes(slice_indices(group.slice, populations[group.population].shape)) for group in groups)
    inputs = {index[name]: senders[index[name]].routes(np.arange(whole[name].size)) for name in network.inputs}
    return Program(
        "truenorth", mapping.machine.variant, tuple(populations), mapping.cores, tuple(groups), tuple(blocks), routes, inputs, seed,
        {made.index: (index[name], made.neurons) for name, made in copies.items()},
    )
