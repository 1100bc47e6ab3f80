"""A core program run as it is written, in plain Python: core by core, axon by axon. Slow, and nothing of the engine's."""

from __future__ import annotations

from math import prod

import numpy as np

from nmap.program import ConvTile, Sparse, box_indices, slice_indices


def _rows(block):
    """Yield (axon, target slot, weight, steps beyond the block's delay) of every synapse."""
    synapses = block.synapses
    if isinstance(synapses, ConvTile):
        sources = np.stack(np.unravel_index(box_indices(synapses.in_box, synapses.in_shape), synapses.in_shape), 1)
        axon_of = {tuple(place): axon for axon, place in enumerate(sources.tolist())}
        targets = np.stack(np.unravel_index(box_indices(synapses.out_box, synapses.out_shape), synapses.out_shape), 1)
        per_in, per_out = synapses.in_shape[0] // synapses.groups, synapses.out_shape[0] // synapses.groups
        for slot, (o, y, x) in enumerate(targets.tolist()):
            for c in range(per_in):
                for i in range(synapses.weights.shape[2]):
                    for j in range(synapses.weights.shape[3]):
                        place = (
                            o // per_out * per_in + c, y * synapses.stride[0] - synapses.padding[0] + i * synapses.dilation[0],
                            x * synapses.stride[1] - synapses.padding[1] + j * synapses.dilation[1],
                        )
                        if place in axon_of:
                            yield axon_of[place], slot, int(synapses.weights[o - synapses.out_box[0][0], c, i, j]), 0
    elif isinstance(synapses, Sparse):
        for slot in range(synapses.out_size):
            for s in range(synapses.indptr[slot], synapses.indptr[slot + 1]):
                extra = 0 if block.delays is None else int(block.delays[s])
                yield int(synapses.indices[s]), slot, int(synapses.weights[s]), extra
    else:
        for slot, axon in np.ndindex(synapses.weights.shape):
            extra = 0 if block.delays is None else int(block.delays[slot, axon])
            yield axon, slot, int(synapses.weights[slot, axon]), extra


def _hold(value, bits):
    return value if bits == 0 else (value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def interpret(program, kernels, inputs, steps):
    """Return payloads (steps, neurons) by population, and states (steps, neurons) by `POPULATION.VARIABLE`, of one sample.

    `inputs` holds (time, neurons) by population index.
    """
    sizes = [prod(p.shape) for p in program.populations]
    sent = [np.zeros((steps, size), np.int64) for size in sizes]
    for index, values in inputs.items():
        length = min(steps, len(values))
        sent[index][:length] = values[:length]
    listening = {}
    sources = [(g.population, slice_indices(g.slice, program.populations[g.population].shape), r)
               for g, r in zip(program.groups, program.routes, strict=True)]
    sources += [(index, np.arange(sizes[index]), routes) for index, routes in program.inputs.items()]
    for population, neurons, routes in sources:
        for k, neuron in enumerate(neurons.tolist()):
            for place in range(routes.indptr[k], routes.indptr[k + 1]):
                listening.setdefault((int(routes.core[place]), int(routes.axon[place])), []).append((population, neuron))
    blocks = [[] for _ in program.groups]
    for block in program.blocks:
        blocks[block.group].append((block, list(_rows(block))))
    states = [
        {v: g.initial.get(v, np.zeros(g.size, np.int64)).astype(np.int64) for v in kernels[g.kernel].state} for g in program.groups
    ]
    traced = {}
    for t in range(steps):
        for number, group in enumerate(program.groups):
            kernel = kernels[group.kernel]
            dendrite = [[0] * group.size for _ in range(kernel.receptors)]
            for block, rows in blocks[number]:
                sums = {}
                for axon, slot, weight, extra in rows:
                    delay = 1 + block.delay + extra
                    if t < delay:
                        continue
                    for population, neuron in listening.get((block.core, block.axon + axon), ()):
                        payload = int(sent[population][t - delay, neuron])
                        if payload:
                            factor = payload if block.message_bits else 1
                            sums[slot, delay] = sums.get((slot, delay), 0) + weight * factor
                for (slot, _), total in sums.items():
                    held = _hold(total, block.accumulator)
                    shifted = held << block.exponent if block.exponent >= 0 else held >> -block.exponent
                    dendrite[block.receptor][slot] += _hold(shifted, block.accumulator)
            arrived = np.array([[_hold(v, 32) for v in row] for row in dendrite], np.int64).reshape(-1)
            where = slice_indices(group.slice, program.populations[group.population].shape)
            sent[group.population][t, where] = kernel.reference_step(group.params, states[number], arrived, t)
            for variable, values in states[number].items():
                key = f"{program.populations[group.population].name}.{variable}"
                traced.setdefault(key, np.zeros((steps, sizes[group.population]), np.int64))[t, where] = values
    return {p.name: values for p, values in zip(program.populations, sent, strict=True)}, traced
