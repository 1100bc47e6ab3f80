"""What each processing element of a program takes, counted from the stored program alone. Shares no code with `second.demand`."""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array, Dense, Sparse
from nmap.program import ConvTile, Program, SynapseBlock
from nmap.target.backend import Demand

__all__ = ["block_bytes", "block_synapses", "measure"]

_WORD = 2
_ROW = 4


def measure(program: Program) -> tuple[Demand, ...]:
    """Return the demand of every element, in the order of `Program.cores`; `populations` are the slices on it."""
    used: list[Demand] = [{"populations": 0, "neurons": 0, "memory": 0} for _ in program.cores]
    for group in program.groups:
        used[group.core]["populations"] += 1
        used[group.core]["neurons"] += group.size
    for block in program.blocks:
        used[block.core]["memory"] += block_bytes(block)
    return tuple(used)


def block_bytes(block: SynapseBlock) -> int:
    """Return the bytes of a block's rows: 2 for a synapse, 4 for a row; nothing for what another block has already.

    A dense or convolutional block of receptor 1 holds the negative weights of one of receptor 0: its rows are the same, and so are the
    places of a convolution.
    """
    if block.receptor and isinstance(block.synapses, ConvTile):
        return 0
    rows = 0 if block.receptor and isinstance(block.synapses, Dense) else block.axons
    return _ROW * rows + _WORD * block_synapses(block)


def block_synapses(block: SynapseBlock) -> int:
    """Return how many synapses a block has, zeros of a convolution included; taps in the padding are none."""
    synapses = block.synapses
    if isinstance(synapses, Dense | Sparse):
        return int(np.count_nonzero(synapses.weights))
    (low, high), (first, last) = synapses.out_box[0], synapses.in_box[0]
    per_in, per_out = synapses.in_shape[0] // synapses.groups, synapses.out_shape[0] // synapses.groups
    reads = np.arange(first, last)[:, None] // per_in == np.arange(low, high)[None, :] // per_out
    return int(reads.sum()) * int(_reads(synapses, 1).sum()) * int(_reads(synapses, 2).sum())


def _reads(tile: ConvTile, axis: int) -> Array:
    """Return which source rows (axis 1) or columns (2) of the tile's halo each output row or column reads, (outputs, sources) counts."""
    (low, high), (first, last) = tile.out_box[axis], tile.in_box[axis]
    heard = np.arange(first, last)[None, :] + tile.padding[axis - 1] - np.arange(low, high)[:, None] * tile.stride[axis - 1]
    tap, off = np.divmod(heard, tile.dilation[axis - 1])
    return np.asarray((off == 0) & (tap >= 0) & (tap < tile.weights.shape[axis + 1]))
