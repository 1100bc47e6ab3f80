"""What each unit of a program takes, counted from the stored program alone. Shares no code with `nmap_akida.demand`.

A convolution's kernel is the smallest of the chip's that holds every tap of the whole layer: the parts of a layer have the same size, so
the taps of all its parts are looked at together.
"""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array
from nmap.program import Box, ConvTile, Program, SynapseBlock
from nmap.target.backend import Demand
from nmap_akida.form import Form, sums_over_image

__all__ = ["blocks_of", "kernel_sides", "measure"]

_WAYS = {
    Form.CONV: [(1, 1, False), (3, 1, False), (5, 1, False), (7, 1, False), (3, 2, False)],
    Form.SEPARABLE: [(3, 1, False), (5, 1, False), (7, 1, False), (3, 2, False)],
    Form.IMAGE: [(side, stride, valid) for side in (3, 5, 7) for valid in (False, True) for stride in (1, 2, 3)],
}
"""Kernel, stride and whether there is no padding, in the order in which they are preferred."""


def measure(program: Program) -> tuple[Demand, ...]:
    """Return the demand of every unit, in the order of `Program.cores`.

    A convolution that is none of the chip's, which `nmap_akida.audit` tells, counts with the kernel that it has.
    """
    totals: list[Demand] = [{"layers": 0, "image_layers": 0, "weight_memory": 0, "input_memory": 0} for _ in program.cores]
    sides = kernel_sides(program)
    for number, blocks in enumerate(blocks_of(program)):
        group = program.groups[number]
        form = _form(program, group.population)
        if form is Form.POOLED:
            continue
        total = totals[group.core]
        total["image_layers" if form is Form.IMAGE else "layers"] += 1
        for block in blocks:
            total["weight_memory"] += _whole_bytes(_weights(block, form, sides.get(group.population)) * block.bits)
            if form is not Form.IMAGE:
                total["input_memory"] += _whole_bytes(_values(block) * _input_bits(block))
    return tuple(totals)


def blocks_of(program: Program) -> tuple[tuple[SynapseBlock, ...], ...]:
    """Return the synapse blocks of every neuron group, in the groups' order."""
    found: list[list[SynapseBlock]] = [[] for _ in program.groups]
    for block in program.blocks:
        found[block.group].append(block)
    return tuple(map(tuple, found))


def _whole_bytes(bits: int) -> int:
    return (bits + 7) // 8


def _input_bits(block: SynapseBlock) -> int:
    """Return the bits of an input value: one of binary spikes, else those of the payload without the sign that it never has."""
    return block.message_bits - 1 if block.message_bits > 1 else 1


def _values(block: SynapseBlock) -> int:
    """Return the number of input values that the unit reads: of an image all channels, whether the network has groups or not."""
    if not isinstance(block.synapses, ConvTile):
        return block.axons
    tile = block.synapses
    (_, _), (top, bottom), (left, right) = tile.in_box
    return tile.in_shape[0] * (bottom - top) * (right - left)


def _form(program: Program, population: int) -> Form | None:
    """Return how a population is computed, or None where the program does not say it."""
    stated = program.settings.get(f"{program.populations[population].name}.form")
    return Form(stated) if stated in tuple(Form) else None


def _weights(block: SynapseBlock, form: Form | None, side: int | None) -> int:
    if not isinstance(block.synapses, ConvTile):
        return block.synapses.out_size * block.synapses.in_size
    filters, _, high, wide = block.synapses.weights.shape
    channels, taps = block.synapses.in_shape[0], high * wide if side is None else side**2
    if form is Form.SEPARABLE:
        return channels * taps + filters * channels
    return filters * channels * taps


def kernel_sides(program: Program) -> dict[int, int | None]:
    """Return the side of the chip's kernel by population, for those that are convolutions with a layer of their own.

    None where a convolution is none of the chip's.
    """
    tiles: dict[int, list[ConvTile]] = {}
    for block in program.blocks:
        if isinstance(block.synapses, ConvTile):
            tiles.setdefault(program.groups[block.group].population, []).append(block.synapses)
    sides: dict[int, int | None] = {}
    for population, parts in tiles.items():
        name = program.populations[population].name
        form = _form(program, population)
        if form is not None and form in _WAYS:
            sides[population] = _side(parts, form, sums_over_image(program.settings, name))
    return sides


def _side(parts: list[ConvTile], form: Form, over_image: bool) -> int | None:
    tile = parts[0]
    if len({(part.in_shape, part.stride, part.padding, part.dilation, part.weights.shape[2:]) for part in parts}) > 1:
        return None
    if over_image:
        return _side_over_image(parts, form)
    used = np.any([part.weights.any((0, 1)) for part in parts], axis=0)
    return _smallest(tile, used, tile.out_shape[1:], form)


def _smallest(tile: ConvTile, used: Array, outputs: tuple[int, ...], form: Form, strides: tuple[int, int] | None = None) -> int | None:
    """Return the side of the first kernel that holds the taps `used`, (height, width) bool, of a convolution with so many outputs."""
    strides = strides or tile.stride
    for side, stride, valid in _WAYS[form]:
        first = []
        for size, count, own in zip(tile.in_shape[1:], outputs, strides, strict=True):
            covered = size - side + 1 if valid else size
            if (covered + stride - 1) // stride != count or (count != 1 and own != stride):
                break
            padded = 0 if valid else max(0, (count - 1) * stride + side - size)
            first.append(-(padded // 2))
        else:
            if _inside(tile, used, outputs, strides, first, side):
                return side
    return None


def _inside(tile: ConvTile, used: Array, outputs: tuple[int, ...], strides: tuple[int, int], first: list[int], side: int) -> bool:
    seen = []
    for axis, (size, count) in enumerate(zip(tile.in_shape[1:], outputs, strict=True)):
        offset = np.arange(used.shape[axis]) * tile.dilation[axis] - tile.padding[axis]
        place = offset[:, None] + strides[axis] * np.arange(count)
        seen.append((offset, ((place >= 0) & (place < size)).any(1)))
    (rows, above), (columns, left) = seen
    down, right = np.nonzero(used & above[:, None] & left[None, :])
    for offset, start in ((rows[down], first[0]), (columns[right], first[1])):
        if ((offset < start) | (offset >= start + side)).any():
            return False
    return True


def _side_over_image(parts: list[ConvTile], form: Form) -> int | None:
    """Return the side of the kernel that makes the layer's when it is summed at all places of the image."""
    tile = parts[0]
    whole: Box = ((0, tile.weights.shape[2]), (0, tile.weights.shape[3]))
    for stride in (1, 2):
        for high in range(1, 8):
            for wide in range(1, 8):
                sizes = (high, wide)
                spare = [stop - size for (_, stop), size in zip(whole, sizes, strict=True)]
                if min(spare) < 0 or any(room % stride for room in spare):
                    continue
                counts = tuple(room // stride + 1 for room in spare)
                if any(
                    count != (size + 2 * pad - kernel) // stride + 1
                    for count, size, pad, kernel in zip(counts, tile.in_shape[1:], tile.padding, sizes, strict=True)
                ):
                    continue
                kernels = [_summands(part.weights.astype(np.int64), sizes, counts, stride) for part in parts]
                if all(kernel is not None for kernel in kernels):
                    used = np.any([kernel.any((0, 1)) for kernel in kernels if kernel is not None], axis=0)
                    return _smallest(tile, used, counts, form, (stride, stride))
    return None


def _summands(weights: Array, sizes: tuple[int, int], counts: tuple[int, ...], stride: int) -> Array | None:
    """Return the kernel that, summed at `counts` places a `stride` apart, is `weights`; None where there is none.

    Its taps are found one by one from the first corner on: what a later place adds there is known by then.
    """
    kernel = np.zeros((*weights.shape[:2], *sizes), np.int64)
    left = weights.copy()
    for y in range(sizes[0]):
        for x in range(sizes[1]):
            tap = left[:, :, y, x].copy()
            kernel[:, :, y, x] = tap
            rows = y + stride * np.arange(counts[0])
            columns = x + stride * np.arange(counts[1])
            left[:, :, rows[:, None], columns] -= tap[:, :, None, None]
    return None if left.any() else kernel
