"""What each core of a program takes, counted from the stored program alone. Shares no code with `nmap_spinnaker.demand`.

Which neuron drives an axon is read off the routes; rows are counted axon by axon, a convolution's by laying its taps over the source.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np

from nmap.connectivity import Array, Dense
from nmap.program import ConvTile, Program, SynapseBlock
from nmap.target.backend import Demand
from nmap_spinnaker.layout import (
    SOURCE,
    busy_of,
    cells_dtcm,
    cells_sdram,
    own_ticks,
    places_of,
    population_dtcm,
    source_sdram,
    spike_ticks,
)

__all__ = ["Afferent", "afferents_of", "longest_delay", "measure", "received_by", "row_words"]


@dataclass(frozen=True, slots=True, eq=False)
class Afferent:
    """A block of synapses with the neurons that drive it.

    Args:
        block: as in the program.
        source: index of the source population.
        neurons: (axons,) int64, which of its neurons drives each axon.
    """

    block: SynapseBlock
    source: int
    neurons: Array


def afferents_of(program: Program) -> list[list[Afferent]]:
    """Return the blocks of every group, in the groups' order.

    Raises:
        ValueError: the axons of a block are driven by no neuron, or by neurons of several populations.
    """
    axons = [0] * len(program.cores)
    for block in program.blocks:
        axons[block.core] = max(axons[block.core], block.axon + block.axons)
    drivers = [np.full((2, count), -1, np.int64) for count in axons]
    senders = [(index, np.arange(routes.indptr.size - 1), routes) for index, routes in program.inputs.items()]
    for group, routes in zip(program.groups, program.routes, strict=True):
        senders.append((group.population, program.computed(group)[1], routes))
    for population, neurons, routes in senders:
        each = np.repeat(neurons, np.diff(routes.indptr))
        order = np.argsort(routes.core, kind="stable")
        edges = np.searchsorted(routes.core[order], np.arange(len(program.cores) + 1))
        for core in np.unique(routes.core).tolist():
            chosen = order[edges[core] : edges[core + 1]]
            drivers[core][0, routes.axon[chosen]] = population
            drivers[core][1, routes.axon[chosen]] = each[chosen]
    found: list[list[Afferent]] = [[] for _ in program.groups]
    for block in program.blocks:
        population, neurons = drivers[block.core][:, block.axon : block.axon + block.axons]
        sources = np.unique(population)
        if sources.size != 1 or sources[0] < 0:
            raise ValueError(f"a block on core {block.core} is not driven by one population")
        found[block.group].append(Afferent(block, int(sources[0]), neurons))
    return found


def row_words(block: SynapseBlock) -> Array:
    """Return (axons,) int64: the synapses of each axon whose weight is not 0."""
    synapses = block.synapses
    if isinstance(synapses, ConvTile):
        return _tile_words(synapses)
    if isinstance(synapses, Dense):
        return np.asarray((synapses.weights != 0).sum(0), np.int64)
    words = np.zeros(synapses.in_size, np.int64)
    np.add.at(words, synapses.indices[synapses.weights != 0], 1)
    return words


def _tile_words(tile: ConvTile) -> Array:
    (first, stop), rows, columns = tile.out_box
    (channel, _), (top, bottom), (left, right) = tile.in_box
    words = np.zeros([high - low for low, high in tile.in_box], np.int64)
    share, per_in = tile.out_shape[0] // tile.groups, tile.weights.shape[1]
    y, x = (np.arange(*span) * stride - pad for span, stride, pad in zip((rows, columns), tile.stride, tile.padding, strict=True))
    for (a, b) in np.ndindex(*tile.weights.shape[2:]):
        down, across = y + a * tile.dilation[0], x + b * tile.dilation[1]
        down, across = down[(down >= top) & (down < bottom)] - top, across[(across >= left) & (across < right)] - left
        for out in range(first, stop):
            inside = out // share * per_in - channel
            there = np.flatnonzero(tile.weights[out - first, :, a, b])
            words[np.ix_(inside + there, down, across)] += 1
    return words.ravel()


def longest_delay(blocks: list[Afferent]) -> int:
    """Return the largest delay of some blocks in steps, 1 being the next step; 1 without any."""
    return max((1 + a.block.delay + (0 if a.block.delays is None else int(a.block.delays.max(initial=0))) for a in blocks), default=1)


def received_by(program: Program, blocks: list[Afferent]) -> Fraction:
    """Return how many spikes the sources of some blocks send in a busy step, every source population once."""
    sources = [program.populations[k] for k in sorted({a.source for a in blocks})]
    return sum((busy_of(p.busy, prod(p.shape), program.settings) for p in sources), Fraction(0))


def measure(program: Program) -> tuple[Demand, ...]:
    """Return the demand of every core, in the order of `Program.cores`."""
    totals = [dict.fromkeys(("populations", "neurons", "sources", "dtcm", "sdram", "tick"), 0) for _ in program.cores]
    afferents = afferents_of(program)
    together: dict[int, list[Afferent]] = {}
    for group, blocks in zip(program.groups, afferents, strict=True):
        together.setdefault(group.population, []).extend(blocks)
    core, neuron = own_ticks(program.settings)
    for group, blocks in zip(program.groups, afferents, strict=True):
        total, size = totals[group.core], group.size
        total["populations"] += 1
        if group.kernel == SOURCE:
            total["sources"] += size
            total["sdram"] += source_sdram(size)
            continue
        everyone = together[group.population]
        delay, busy = longest_delay(everyone), received_by(program, everyone)
        total["neurons"] += places_of(delay) * size
        total["dtcm"] += population_dtcm(prod(program.populations[group.population].shape), delay, busy) + cells_dtcm(group.kernel, size)
        total["sdram"] += cells_sdram(group.kernel, size) + (0 if size % 2 else 16)
        total["tick"] += core + size * neuron
        for afferent in blocks:
            total["sdram"] += _rows_sdram(afferent.block, size)
            total["tick"] += _rows_tick(program, afferent)
    return tuple(totals)


def _rows_sdram(block: SynapseBlock, neurons: int) -> int:
    synapses, words = block.synapses, row_words(block)
    if isinstance(synapses, Dense):
        return 4 * synapses.in_size * (3 + neurons)
    if isinstance(synapses, ConvTile):
        longest = int(words.max(initial=0))
        return 4 * prod(synapses.in_shape) * (3 + longest) if longest else 0
    return 4 * (3 * words.size + int(words.sum()))


def _rows_tick(program: Program, afferent: Afferent) -> int:
    source = program.populations[afferent.source]
    row, synapse = spike_ticks(source.busy, prod(source.shape), program.settings)
    words = row_words(afferent.block)
    heard = int(np.count_nonzero(words)) if isinstance(afferent.block.synapses, ConvTile) else words.size
    return row * heard + synapse * int(words.sum())
