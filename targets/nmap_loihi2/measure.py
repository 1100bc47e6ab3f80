"""What each core of a Loihi 2 program takes, counted from the stored program alone.

The rules are those of the published tables of Intel's Loihi 2 compiler (lava-dl netx notebooks), as `chip.toml` states them per
resource. This module is the check of the demand that the mapping was computed with, so the two share no code.
"""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array, Dense
from nmap.program import ConvTile, Program, SynapseBlock
from nmap.target.backend import Demand

__all__ = ["axon_list_words", "block_words", "kernel_words", "measure", "stored_bits", "total_words"]

WORD_BITS = 64
INDEX_BITS = 12
HEADER_BITS = 10
CONV_AXONS = 2
"""Input axons of a convolution on a core: the published tables show one or two, far fewer than its source neurons."""


def stored_bits(bits: int) -> int:
    """Return the bits a weight of `bits` bits takes in synaptic memory; there is no 7-bit format (Loihi 1's `SynapseConfig`)."""
    return 8 if bits == 7 else bits


def axon_list_words(synapses: Array | int, bits: int) -> Array:
    """Return the 64-bit words of the synapse lists of input axons, int64, 0 where there is no synapse.

    Args:
        synapses: stored synapses of each axon, any shape; for a dense block all targets, zeros included.
        bits: weight bits.
    """
    count = np.asarray(synapses, np.int64)
    words = -(-(count * (INDEX_BITS + stored_bits(bits)) + HEADER_BITS) // WORD_BITS)
    return np.where(count > 0, words, 0)


def kernel_words(channels: Array | int, bits: int) -> Array:
    """Return the 64-bit words of kernel rows, one row per input channel and tap, int64, 0 where a row is empty.

    Args:
        channels: output channels of each row that lie on the core, any shape.
        bits: weight bits.
    """
    count = np.asarray(channels, np.int64)
    words = -(-(count * stored_bits(bits) + HEADER_BITS) // WORD_BITS)
    return np.where(count > 0, words, 0)


def total_words(input_axons: int, synapse_memory: int, axon_map: int, axon_words: int, neurons: int) -> int:
    """Return the words taken of the core's one memory pool: all tables, and one word per neuron."""
    return input_axons + synapse_memory + axon_map + axon_words + neurons


def block_words(block: SynapseBlock) -> int:
    """Return the 64-bit words of synaptic memory that a block takes."""
    synapses = block.synapses
    if isinstance(synapses, ConvTile):
        (first, last), (low, high) = synapses.in_box[0], synapses.out_box[0]
        per_in, per_out = synapses.in_shape[0] // synapses.groups, synapses.out_shape[0] // synapses.groups
        group = np.arange(first, last) // per_in
        reached = np.minimum((group + 1) * per_out, high) - np.maximum(group * per_out, low)
        taps = synapses.weights.shape[2] * synapses.weights.shape[3]
        return taps * int(kernel_words(np.maximum(reached, 0), block.bits).sum())
    if isinstance(synapses, Dense):
        return synapses.in_size * int(axon_list_words(synapses.out_size, block.bits))
    per_axon = np.bincount(synapses.indices, minlength=synapses.in_size)
    return int(axon_list_words(per_axon, block.bits).sum())


def measure(program: Program) -> tuple[Demand, ...]:
    """Return what each core of a program takes, by the resources of `chip.toml`, in the order of `Program.cores`."""
    counted = ("neurons", "neuron_groups", "synapse_memory", "input_axons", "axon_map", "axon_words")
    used = [dict.fromkeys(counted, 0) for _ in program.cores]
    for group in program.groups:
        core = used[group.core]
        core["neurons"] += group.size
        core["neuron_groups"] += 1
        core["axon_map"] += group.size
    for block in program.blocks:
        core = used[block.core]
        core["synapse_memory"] += block_words(block)
        core["input_axons"] += CONV_AXONS if isinstance(block.synapses, ConvTile) else block.axons
    for core in used:
        core["memory_words"] = total_words(
            core["input_axons"], core["synapse_memory"], core["axon_map"], core["axon_words"], core["neurons"]
        )
    return tuple(used)
