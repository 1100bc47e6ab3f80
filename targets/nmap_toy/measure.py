"""What each core of a program takes, counted from the stored program alone. Shares no code with `nmap_toy.demand`."""

from __future__ import annotations

from itertools import product

import numpy as np

from nmap.connectivity import Dense
from nmap.program import ConvTile, Program, SynapseBlock
from nmap.target.backend import Demand

__all__ = ["block_synapses", "measure"]


def measure(program: Program) -> tuple[Demand, ...]:
    """Return the demand of every core, in the order of `Program.cores`."""
    totals: list[Demand] = [{"neurons": 0, "axons": 0, "synapse_memory": 0} for _ in program.cores]
    for group in program.groups:
        totals[group.core]["neurons"] += group.size
    for block in program.blocks:
        totals[block.core]["axons"] += block.axons
        totals[block.core]["synapse_memory"] += sum(1 for _ in block_synapses(block))
    return tuple(totals)


def block_synapses(block: SynapseBlock) -> list[tuple[int, int, int, int]]:
    """Return the slots of a block one by one: (axon on the core, slot of the neuron in its group, weight, delay in steps)."""
    synapses = block.synapses
    if isinstance(synapses, ConvTile):
        return [(block.axon + axon, slot, weight, block.delay) for axon, slot, weight in _unrolled(synapses)]
    weights = synapses.weights
    if isinstance(synapses, Dense):
        slots, sources = np.indices(weights.shape).reshape(2, -1)
    else:
        slots, sources = synapses.targets, synapses.indices
    extra = np.zeros(weights.size, np.int64) if block.delays is None else block.delays.ravel()
    return [
        (block.axon + int(source), int(slot), int(weight), block.delay + int(steps))
        for source, slot, weight, steps in zip(sources, slots, weights.ravel(), extra, strict=True)
    ]


def _unrolled(tile: ConvTile) -> list[tuple[int, int, int]]:
    """List the taps of a tile that fall inside the source: (axon of the block, slot, weight)."""
    (c0, c1), (y0, y1), (x0, x1) = tile.out_box
    (i0, i1), (top, bottom), (left, right) = tile.in_box
    _, height, width = tile.in_shape
    per_in = tile.weights.shape[1]
    per_out = tile.out_shape[0] // tile.groups
    found = []
    for slot, (c, y, x) in enumerate(product(range(c0, c1), range(y0, y1), range(x0, x1))):
        for i, ky, kx in np.ndindex(*tile.weights.shape[1:]):
            channel = c // per_out * per_in + i
            row = y * tile.stride[0] - tile.padding[0] + ky * tile.dilation[0]
            column = x * tile.stride[1] - tile.padding[1] + kx * tile.dilation[1]
            if 0 <= row < height and 0 <= column < width:
                if not (i0 <= channel < i1 and top <= row < bottom and left <= column < right):
                    raise ValueError(f"a tap at {(channel, row, column)} lies outside the tile's source box {tile.in_box}")
                axon = ((channel - i0) * (bottom - top) + row - top) * (right - left) + column - left
                found.append((axon, slot, int(tile.weights[c - c0, i, ky, kx])))
    return found
