"""Programs in plain numpy, one block and one step after the other: the answer that a run is compared with before its time is printed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nmap.connectivity import Array, Dense, Sparse
from nmap.emulate.kernel import Kernel
from nmap.program import ConvTile, Program, Routes, SynapseBlock, slice_indices

__all__ = ["reference"]


def reference(program: Program, kernels: Mapping[str, Kernel], inputs: Mapping[str, Array], steps: int) -> dict[str, Array]:
    """Return the payloads that every population sends, (samples, steps, neurons) int64 by name.

    Blocks have a power of two of 1 and accumulators of 32 bits, which is what `chips.programs` makes.

    Args:
        program: to run.
        kernels: by name.
        inputs: (samples, time, *shape) by port.
        steps: chip steps; ports are silent after their input's end.
    """
    samples = len(next(iter(inputs.values())))
    axons = [0] * len(program.cores)
    for block in program.blocks:
        axons[block.core] = max(axons[block.core], block.axon + block.axons)
    start = np.concatenate([[0], np.cumsum(axons)])
    tables = [_tables(block) for block in program.blocks]
    longest = max((delay for table in tables for delay in table), default=1)
    # By step: payloads, and numbers of spikes, that arrive at every axon of the program.
    arrived = np.zeros((2, steps + longest, samples, int(start[-1])), np.int64)
    sizes = {population.name: int(np.prod(population.shape)) for population in program.populations}
    sent = {name: np.zeros((samples, steps, size), np.int64) for name, size in sizes.items()}
    state = [
        {name: np.zeros((samples, group.size), np.int64) + group.initial.get(name, 0) for name in kernels[group.kernel].state}
        for group in program.groups
    ]
    sources = [(program.populations[group.population], group, routes) for group, routes in zip(program.groups, program.routes, strict=True)]
    for step in range(steps):
        dendrites = [np.zeros((kernels[group.kernel].receptors, samples, group.size), np.int64) for group in program.groups]
        for block, table in zip(program.blocks, tables, strict=True):
            here = slice(start[block.core] + block.axon, start[block.core] + block.axon + block.axons)
            for delay, weights in table.items():
                if delay <= step:
                    came = arrived[1 if block.message_bits == 0 else 0, step - delay, :, here]
                    _deliver(weights, came, dendrites[block.group][block.receptor])
        for number, (population, group, routes) in enumerate(sources):
            dendrite = (np.concatenate(list(dendrites[number]), axis=1) + 2**31) % 2**32 - 2**31
            payloads = kernels[group.kernel].reference_step(group.params, state[number], dendrite, step)
            sent[population.name][:, step, slice_indices(group.slice, population.shape)] = payloads
            _send(routes, payloads, start, arrived[:, step])
        for index, routes in program.inputs.items():
            name = program.populations[index].name
            if step < inputs[name].shape[1]:
                payloads = inputs[name][:, step].reshape(samples, -1).astype(np.int64)
                sent[name][:, step] = payloads
                _send(routes, payloads, start, arrived[:, step])
    return sent


def _send(routes: Routes, payloads: Array, start: Array, arrived: Array) -> None:
    source = np.repeat(np.arange(payloads.shape[1]), np.diff(routes.indptr))
    place = start[routes.core] + routes.axon
    for sample, row in enumerate(payloads):
        np.add.at(arrived[0, sample], place, row[source])
        np.add.at(arrived[1, sample], place, row[source] != 0)


def _tables(block: SynapseBlock) -> dict[int, tuple[Array, ...]]:
    """Return by delay (the step of a hop included) a matrix (targets, axons), or targets, axons and weights of each synapse."""
    if block.exponent or block.accumulator:
        raise ValueError("the plain reference has no shift and no narrow accumulator")
    synapses = block.synapses
    if isinstance(synapses, Dense):
        if block.delays is not None:
            raise ValueError("the plain reference has no delays in a matrix")
        return {1 + block.delay: (synapses.weights,)}
    target, axon, weight = _unrolled(synapses) if isinstance(synapses, ConvTile) else _listed(synapses)
    delays = np.zeros(weight.size, np.int64) if block.delays is None else block.delays
    return {
        1 + block.delay + int(extra): (target[delays == extra], axon[delays == extra], weight[delays == extra])
        for extra in np.unique(delays)
    }


def _listed(synapses: Sparse) -> tuple[Array, Array, Array]:
    return np.repeat(np.arange(synapses.indptr.size - 1), np.diff(synapses.indptr)), synapses.indices, synapses.weights


def _unrolled(tile: ConvTile) -> tuple[Array, Array, Array]:
    """Return the synapses of a convolution of one group, tap by tap."""
    if tile.groups != 1:
        raise ValueError("the plain reference has no groups of channels")
    out, into = (np.arange(np.prod([b - a for a, b in box])).reshape([b - a for a, b in box]) for box in (tile.out_box, tile.in_box))
    (c0, c1), *inside = tile.in_box
    targets, axons, weights = [], [], []
    for y in range(*tile.out_box[1]):
        for x in range(*tile.out_box[2]):
            for a in range(tile.weights.shape[2]):
                for b in range(tile.weights.shape[3]):
                    row = y * tile.stride[0] - tile.padding[0] + a * tile.dilation[0]
                    column = x * tile.stride[1] - tile.padding[1] + b * tile.dilation[1]
                    if inside[0][0] <= row < inside[0][1] and inside[1][0] <= column < inside[1][1]:
                        neuron = out[:, y - tile.out_box[1][0], x - tile.out_box[2][0]]
                        source = into[:, row - inside[0][0], column - inside[1][0]]
                        weights.append(tile.weights[:, c0:c1, a, b].ravel())
                        targets.append(np.repeat(neuron, source.size))
                        axons.append(np.tile(source, neuron.size))
    return np.concatenate(targets), np.concatenate(axons), np.concatenate(weights)


def _deliver(weights: tuple[Array, ...], came: Array, dendrite: Array) -> None:
    """Add to the dendrite, (samples, targets), what arrived, (samples, axons)."""
    if len(weights) == 1:
        for sample, row in enumerate(came):
            active = np.flatnonzero(row)
            dendrite[sample] += (weights[0][:, active] * row[active]).sum(1, dtype=np.int64)
        return
    target, axon, weight = weights
    for sample, row in enumerate(came):
        np.add.at(dendrite[sample], target, row[axon] * weight)
