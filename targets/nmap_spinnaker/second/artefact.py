"""A program in py-spinnaker2's terms: populations cut into runs of equal length, lists of connections, lists of spikes.

py-spinnaker2 cuts a population into consecutive runs of `set_max_atoms_per_core` neurons, the last of which may be shorter. Neurons are
therefore written in the order of their slices; where slices are no such runs, each of them is written as a population of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Final

import numpy as np

from nmap.connectivity import Array, Dense
from nmap.program import ConvTile, Program, SynapseBlock, slice_indices
from nmap_spinnaker.second.kernels import CURRENT, CURRENT_DELAYED, KERNELS

__all__ = ["CURRENTS", "NEAREST", "Connections", "Layout", "connections", "layouts", "runs_of", "spike_elements"]

CURRENTS: Final = (CURRENT.name, CURRENT_DELAYED.name)
"""Kernels with synaptic currents."""
NEAREST: Final = "nearest"
"""Setting, 1 where weights were rounded to the nearest integer; absent where they were truncated."""
_DELAYS = 8
"""Different delays of a synapse."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """How a population of the program is written.

    Args:
        population: index into `Program.populations`.
        model: py-spinnaker2's name of the neuron model; None for an input port, which is a `spike_list`.
        groups: indices into `Program.groups`, in the order in which their neurons are written.
        order: (n,) int64, the network's neuron at each place written.
        sizes: neurons of each population of py-spinnaker2, one for the whole or one for each slice.
        atoms: what each of them is given as `set_max_atoms_per_core`.
    """

    population: int
    model: str | None
    groups: tuple[int, ...]
    order: Array
    sizes: tuple[int, ...]
    atoms: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Connections:
    """All synapses from one population to another, in the network's numbers; (k,) each, ascending by pre, post and delay.

    Args:
        source, target: indices into `Program.populations`.
        pre, post: int64.
        weight: int64, signed; never 0.
        delay: int64, steps beyond the one that every spike takes.
    """

    source: int
    target: int
    pre: Array
    post: Array
    weight: Array
    delay: Array


def spike_elements(size: int, most: int) -> int:
    """Return the processing elements that a spike list of so many neurons takes, with at most `most` on one."""
    return -(-size // most)


def runs_of(sizes: list[int]) -> bool:
    """Return whether slices of these sizes are what one population is cut into: all equal, and the last one not longer."""
    return len(set(sizes[:-1])) <= 1 and sizes[-1] <= sizes[0]


def layouts(program: Program, most: int) -> tuple[Layout, ...]:
    """Return how every population is written, in the program's order.

    Args:
        program: groups cover every population once.
        most: neurons of a spike list on one element.
    """
    members: dict[int, list[int]] = {}
    for k, group in enumerate(program.groups):
        members.setdefault(group.population, []).append(k)
    made = []
    for index, population in enumerate(program.populations):
        size = prod(population.shape)
        if population.is_input:
            made.append(Layout(index, None, (), np.arange(size), (size,), (min(size, most),)))
            continue
        # The longest first: only the last run may be shorter.
        groups = sorted(members[index], key=lambda k: (-program.groups[k].size, int(_neurons(program, k)[0])))
        sizes = [program.groups[k].size for k in groups]
        order = np.concatenate([_neurons(program, k) for k in groups])
        whole = runs_of(sizes)
        model = KERNELS[program.groups[groups[0]].kernel].name.partition(".")[2]
        made.append(Layout(
            index, model, tuple(groups), order, (size,) if whole else tuple(sizes), (sizes[0],) if whole else tuple(sizes),
        ))
    return tuple(made)


def _neurons(program: Program, group: int) -> Array:
    part = program.groups[group]
    return slice_indices(part.slice, program.populations[part.population].shape)


def connections(program: Program) -> tuple[Connections, ...]:
    """Return all synapses that are not 0, by source and target population in the program's order."""
    sources = _axon_sources(program)
    found: dict[tuple[int, int], list[Array]] = {}
    for block in program.blocks:
        group = program.groups[block.group]
        axon, slot, weight, delay = _listed(block)
        if block.receptor:
            weight = -weight
        kept = weight != 0
        heard = sources[block.core][block.axon + axon[kept]]
        neurons = _neurons(program, block.group)
        rows = np.stack([heard[:, 1], neurons[slot[kept]], delay[kept], weight[kept]])
        # The axons of a block stand for neurons of one population.
        for source in sorted(set(heard[:1, 0].tolist())):
            found.setdefault((source, group.population), []).append(rows)
    made = []
    for source, target in sorted(found):
        rows = np.concatenate(found[source, target], axis=1)
        rows = rows[:, np.argsort((rows[0] * prod(program.populations[target].shape) + rows[1]) * _DELAYS + rows[2], kind="stable")]
        made.append(Connections(source, target, rows[0], rows[1], rows[3], rows[2]))
    return tuple(made)


def _axon_sources(program: Program) -> list[Array]:
    """Return (axons, 2) int64 for every core: the source population and neuron of each of its axons."""
    axons = [0] * len(program.cores)
    for block in program.blocks:
        axons[block.core] = max(axons[block.core], block.axon + block.axons)
    sources = [np.full((count, 2), -1, np.int64) for count in axons]
    shapes = [p.shape for p in program.populations]
    sending = [(group.population, slice_indices(group.slice, shapes[group.population]), routes)
               for group, routes in zip(program.groups, program.routes, strict=True)]
    sending += [(index, np.arange(prod(shapes[index])), routes) for index, routes in sorted(program.inputs.items())]
    for population, neurons, routes in sending:
        sender = np.repeat(neurons, np.diff(routes.indptr))
        for core in np.unique(routes.core).tolist():
            here = routes.core == core
            sources[core][routes.axon[here], 0] = population
            sources[core][routes.axon[here], 1] = sender[here]
    return sources


def _listed(block: SynapseBlock) -> tuple[Array, Array, Array, Array]:
    """Return axon of the block, slot, weight and delay of every synapse of a block, (k,) int64 each."""
    synapses = block.synapses
    if isinstance(synapses, ConvTile):
        axon, slot, weight = _unrolled(synapses)
    elif isinstance(synapses, Dense):
        slot, axon = (index.ravel() for index in np.indices(synapses.weights.shape))
        weight = synapses.weights.ravel()
    else:
        slot, axon, weight = synapses.targets, synapses.indices, synapses.weights
    extra = np.zeros(weight.size, np.int64) if block.delays is None else np.asarray(block.delays, np.int64).ravel()
    return np.asarray(axon, np.int64), np.asarray(slot, np.int64), np.asarray(weight, np.int64), extra + block.delay


def _unrolled(tile: ConvTile) -> tuple[Array, Array, Array]:
    """Return axon, slot and weight of every tap of a tile that lies inside the source."""
    (c0, c1), *outs = tile.out_box
    (i0, _), *ins = tile.in_box
    _, per_in, *kernel = tile.weights.shape
    per_out = tile.out_shape[0] // tile.groups
    c, i = np.meshgrid(np.arange(c0, c1), np.arange(per_in), indexing="ij")
    pairs = np.stack([c.ravel() - c0, i.ravel(), c.ravel() // per_out * (tile.in_shape[0] // tile.groups) + i.ravel() - i0])
    lines = []
    for axis in (0, 1):
        out, tap = (index.ravel() for index in np.meshgrid(np.arange(*outs[axis]), np.arange(kernel[axis]), indexing="ij"))
        place = out * tile.stride[axis] - tile.padding[axis] + tap * tile.dilation[axis]
        inside = (place >= 0) & (place < tile.in_shape[axis + 1])
        lines.append(np.stack([out - outs[axis][0], tap, place - ins[axis][0]])[:, inside])
    rows, columns = lines
    (tall, wide), (high, broad) = ((b - a for a, b in spans) for spans in (outs, ins))
    channel, source, heard = pairs[:, :, None, None]
    slot = (channel * tall + rows[0][None, :, None]) * wide + columns[0][None, None, :]
    axon = (heard * high + rows[2][None, :, None]) * broad + columns[2][None, None, :]
    weight = tile.weights[channel, source, rows[1][None, :, None], columns[1][None, None, :]]
    return axon.ravel(), slot.ravel(), weight.ravel()
