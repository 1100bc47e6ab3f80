"""What each core of a Loihi program takes, counted from the stored program alone, by the memory model of the program's target.

The rules are those of the published tables of Intel's Loihi 2 compiler (lava-dl netx notebooks), as `chip.toml` states them per resource,
and for Loihi 1 those of nengo-loihi, as `loihi1.toml` does. This module is the check of the demand that the mapping was computed with, so
the two share no code, only the models' numbers. Output axons are counted here alone: they follow from the routes.
"""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array, Dense
from nmap.program import ConvTile, NeuronGroup, Program, SynapseBlock, box_size
from nmap.target.backend import Demand
from nmap_loihi2.memory import LOIHI2, MODELS, MemoryModel, Profile

__all__ = ["axon_list_words", "block_words", "kernel_words", "measure", "stored_bits", "total_words"]

WORD_BITS = 64
CONV_AXONS = 2
"""Input axons of a convolution with shared rows on a core: the published tables show one or two, far fewer than its source neurons."""
_AXONS = 1 << 32
"""More input axons than a core can have."""


def stored_bits(bits: int) -> int:
    """Return the bits a weight of `bits` bits takes in synaptic memory; there is no 7-bit format (Loihi 1's `SynapseConfig`)."""
    return 8 if bits == 7 else bits


def _packed_words(count: Array, width: int, model: MemoryModel) -> Array:
    """Return the words of lists of `count` synapses of `width` bits: runs of at most `model.run`, each with a header, filled up."""
    words = np.zeros(count.shape, np.int64)
    left = count.copy()
    while left.any():
        run = np.minimum(left, model.run)
        words += np.where(run > 0, -(-(run * width + model.header) // WORD_BITS), 0)
        left = left - run
    return words


def axon_list_words(synapses: Array | int, bits: int, model: MemoryModel = LOIHI2, *, dense: bool = True, delayed: bool = False) -> Array:
    """Return the 64-bit words of the synapse lists of input axons, int64, 0 where there is no synapse.

    Args:
        synapses: stored synapses of each axon, any shape; for a dense block all targets, zeros included.
        bits: weight bits.
        model: of the chip.
        dense: every axon reaches all neurons of its group.
        delayed: the synapses have delays.
    """
    width = stored_bits(bits) + (model.dense_index if dense else model.sparse_index) + (model.delay if delayed else 0)
    return _packed_words(np.asarray(synapses, np.int64), width, model)


def kernel_words(channels: Array | int, bits: int) -> Array:
    """Return the 64-bit words of kernel rows, one row per input channel and tap, int64, 0 where a row is empty.

    Args:
        channels: output channels of each row that lie on the core, any shape.
        bits: weight bits.
    """
    count = np.asarray(channels, np.int64)
    words = -(-(count * stored_bits(bits) + LOIHI2.header) // WORD_BITS)
    return np.where(count > 0, words, 0)


def total_words(input_axons: int, synapse_memory: int, axon_map: int, axon_words: int, neurons: int) -> int:
    """Return the words taken of the core's one memory pool: all tables, and the words of the neurons' states, one for a LIF."""
    return input_axons + synapse_memory + axon_map + axon_words + neurons


def _delayed(block: SynapseBlock) -> bool:
    return block.delay > 0 or block.delays is not None


def _shares_rows(block: SynapseBlock, model: MemoryModel) -> bool:
    return isinstance(block.synapses, ConvTile) and model.shared_kernels and not _delayed(block)


def _channels_reached(tile: ConvTile) -> Array:
    """Return how many output channels of the tile each source channel of its halo reaches."""
    (first, last), (low, high) = tile.in_box[0], tile.out_box[0]
    per_in, per_out = tile.in_shape[0] // tile.groups, tile.out_shape[0] // tile.groups
    group = np.arange(first, last) // per_in
    return np.asarray(np.maximum(np.minimum((group + 1) * per_out, high) - np.maximum(group * per_out, low), 0))


def _outputs_reached(tile: ConvTile, axis: int) -> Array:
    """Return how many output rows (axis 0) or columns (1) of the tile each source row or column of its halo reaches."""
    (first, last), (low, high) = tile.in_box[axis + 1], tile.out_box[axis + 1]
    place = np.arange(first, last) + tile.padding[axis]
    reached = np.zeros(last - first, np.int64)
    for tap in range(tile.weights.shape[axis + 2]):
        output, off = np.divmod(place - tap * tile.dilation[axis], tile.stride[axis])
        reached += (off == 0) & (output >= low) & (output < high)
    return reached


def block_words(block: SynapseBlock, model: MemoryModel = LOIHI2) -> int:
    """Return the 64-bit words of synaptic memory that a block takes."""
    synapses, delayed = block.synapses, _delayed(block)
    if isinstance(synapses, ConvTile):
        channels = _channels_reached(synapses)
        if _shares_rows(block, model):
            taps = synapses.weights.shape[2] * synapses.weights.shape[3]
            return taps * int(kernel_words(channels, block.bits).sum())
        plane = np.outer(_outputs_reached(synapses, 0), _outputs_reached(synapses, 1))
        reached, alike = np.unique(channels, return_counts=True)
        return sum(
            number * int(axon_list_words(count * plane, block.bits, model, dense=False, delayed=delayed).sum())
            for count, number in zip(reached.tolist(), alike.tolist(), strict=True)
        )
    if isinstance(synapses, Dense):
        return synapses.in_size * int(axon_list_words(synapses.out_size, block.bits, model, delayed=delayed))
    per_axon = np.bincount(synapses.indices, minlength=synapses.in_size)
    return int(axon_list_words(per_axon, block.bits, model, dense=False, delayed=delayed).sum())


def _sets_of_groups(program: Program, members: list[int], profile: Profile, *, boxes: bool) -> list[int]:
    """Return the entries of a table of parameter sets that each group of a population takes.

    A group of a convolution's targets (`boxes`) takes those that it has. Any other takes those that the population has, or where these
    are more than a table holds, one for each of its neurons.
    """
    groups = [program.groups[k] for k in members]
    # What lacks a parameter, or has too few values of it, is no sound program and is found by other checks.
    sets = [{*zip(*(group.params[name].tolist() for name in profile.params if name in group.params), strict=False)} for group in groups]
    if boxes:
        return [len(own) for own in sets]
    all_of_them = len(set().union(*sets))
    return [all_of_them if all_of_them <= profile.most else group.size for group in groups]


def _count_tables(program: Program, model: MemoryModel, used: list[Demand]) -> None:
    """Add the parameter sets and synapse formats of every group."""
    members: dict[int, list[int]] = {}
    for k, group in enumerate(program.groups):
        members.setdefault(group.population, []).append(k)
    formats: dict[int, set[tuple[int, int, str, bool, bool]]] = {population: set() for population in members}
    boxes = set()
    for block in program.blocks:
        population = program.groups[block.group].population
        formats[population].add(
            (stored_bits(block.bits), block.exponent, block.sign, _delayed(block), isinstance(block.synapses, Dense))
        )
        if isinstance(block.synapses, ConvTile):
            boxes.add(population)
    for population, numbers in members.items():
        for k in numbers:
            used[program.groups[k].core]["synapse_formats"] += len(formats[population])
        for profile in model.profiles:
            taken = _sets_of_groups(program, numbers, profile, boxes=population in boxes)
            for k, entries in zip(numbers, taken, strict=True):
                used[program.groups[k].core][profile.resource] += entries


def _positions_only(program: Program, model: MemoryModel) -> set[int]:
    """Return the populations whose tiles have an entry of the axon map for each position of their plane, not for each neuron.

    Convolutions feed them, which are cut into boxes, and none of their routes leads to synapses that are listed by source, nor out.
    """
    blocks = sorted(program.blocks, key=lambda b: (b.core, b.axon))
    first = np.array([b.core * _AXONS + b.axon for b in blocks], np.int64)
    listed = np.array([not _shares_rows(b, model) for b in blocks], bool)
    tiled = {program.groups[b.group].population for b in blocks if isinstance(b.synapses, ConvTile)}
    single = {k for k, population in enumerate(program.populations) if population.is_output}
    for group, routes in zip(program.groups, program.routes, strict=False):
        if group.population in tiled - single and routes.core.size:
            block = np.searchsorted(first, routes.core.astype(np.int64) * _AXONS + routes.axon, side="right") - 1
            if listed[np.maximum(block, 0)].any():
                single.add(group.population)
    return tiled - single


def _plane(group: NeuronGroup) -> int:
    """Return how many positions a tile has, whatever its channels."""
    return box_size(group.slice[1:]) if isinstance(group.slice, tuple) else group.size


def measure(program: Program, model: MemoryModel | None = None) -> tuple[Demand, ...]:
    """Return what each core of a program takes, by the resources of the model, in the order of `Program.cores`.

    Args:
        program: groups and blocks hang together.
        model: of the chip; None for that of the program's target, or Loihi 2's.
    """
    model = model or MODELS.get(program.target, LOIHI2)
    counted = {"neurons", "neuron_groups", "synapse_memory", "input_axons", "axon_map", "axon_words", "output_axons", "synapse_formats"}
    counted |= {profile.resource for profile in model.profiles}
    used: list[Demand] = [dict.fromkeys(sorted(counted), 0) for _ in program.cores]
    states, positions = [0] * len(used), _positions_only(program, model)
    for group in program.groups:
        core = used[group.core]
        core["neurons"] += group.size
        core["neuron_groups"] += 1
        core["axon_map"] += _plane(group) if group.population in positions else group.size
        states[group.core] += group.size * model.neuron_words.get(group.kernel, 1)
    for group, routes in zip(program.groups, program.routes, strict=False):
        used[group.core]["output_axons"] += int(routes.core.size)
    for block in program.blocks:
        core = used[block.core]
        core["synapse_memory"] += block_words(block, model)
        core["input_axons"] += CONV_AXONS if _shares_rows(block, model) else block.axons
    for core, state in zip(used, states, strict=True):
        core["memory_words"] = total_words(
            core["input_axons"], core["synapse_memory"], core["axon_map"], core["axon_words"], state
        )
    if model.profiles:
        _count_tables(program, model, used)
    return tuple({name: core[name] for name in model.resources} for core in used)
