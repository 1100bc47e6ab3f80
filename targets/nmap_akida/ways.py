"""The ways in which a layer can lie on the chip: on which units, in how many parts. All of it is the estimate of `nmap_akida.demand`."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nmap.program import Box, Slice
from nmap.target.machine import Machine
from nmap_akida.demand import LayerSize
from nmap_akida.form import Form
from nmap_akida.units import Unit

__all__ = ["Room", "Way", "parts_of", "ways_of"]

_MOST = 4096
"""Parts up to which one layer's are counted."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a chip has in one pass.

    Args:
        units: number of usable cores by class.
        passes: most passes.
        weight_bytes, input_bytes: of an NP.
        columns, rows: of the image that one NP is given.
        filters: of a convolution on one NP.
        single_filters: of a convolution of one channel on one NP, beyond which their number in units of so many is even; 0: no such rule.
        layer_filters, layer_channels: of a convolution.
    """

    units: dict[str, int]
    passes: int
    weight_bytes: int
    input_bytes: int
    columns: int
    rows: int
    filters: int
    single_filters: int
    layer_filters: int
    layer_channels: int

    @property
    def nps(self) -> int:
        """Number of usable NPs."""
        return sum(count for name, count in self.units.items() if name != "hrc")

    @property
    def plain(self) -> int:
        """Number of usable NPs that are for convolutions only."""
        return self.units["cnp"] + self.units["cnp2"]

    @staticmethod
    def of(machine: Machine) -> Room:
        """Return what a machine has in each of its passes; a dead core is so in every pass."""
        spec, variant = machine.spec, machine.variant
        passes, limits = spec.variants[variant].passes, spec.limits
        units = dict.fromkeys(spec.classes, 0) | {kind.name: kind.cores.size // passes for kind in machine.classes}
        single = limits.get(f"single_channel_filters_{variant}")
        return Room(
            units, passes, spec.classes["cnp"].budget["weight_memory"], spec.resources["input_memory"].max, limits["tile_columns"].max,
            limits["tile_rows"].max, limits[f"np_filters_{variant}"].max, single.max if single else 0, limits["filters"].max,
            limits["channels"].max,
        )


@dataclass(frozen=True, slots=True)
class Way:
    """One way of putting a layer onto the chip.

    Args:
        unit: that computes it.
        filters, rows, columns: parts into which the filters, and the rows and columns of the image, are divided.
        dense: it is a dense layer.
    """

    unit: Unit
    filters: int = 1
    rows: int = 1
    columns: int = 1
    dense: bool = False

    @property
    def nps(self) -> int:
        """Number of NPs; the input unit is none."""
        return 0 if self.unit == "HRC" else self.filters * self.rows * self.columns

    @property
    def plain(self) -> bool:
        """Whether its one NP must be one for convolutions only: elsewhere a whole dense layer would be a fully connected one."""
        return self.unit == "CNP" and self.dense and self.nps == 1


def _number(value: int) -> str:
    return f"{value:,}"


def cut(size: int, parts: int, unit: int = 1) -> tuple[tuple[int, int], ...]:
    """Return the runs of an axis in as many parts, as even as possible, that begin at multiples of `unit`, which divides the size."""
    ends = [unit * (size // unit * k // parts) for k in range(parts + 1)]
    return tuple(pairwise(ends))


def ways_of(size: LayerSize, pooled: bool, room: Room) -> tuple[tuple[Way, ...], tuple[str, ...]]:
    """Return the ways of a layer that no other way beats, and sentences that say why the missing ones are.

    Args:
        size: the layer; not a pooled population.
        pooled: a 2 by 2 pooling follows, so that parts of its image begin at even rows and columns.
        room: of the chip; how many NPs are free is not looked at.
    """
    if size.form is Form.IMAGE:
        return (Way("HRC"),), ()
    if size.form is not Form.DENSE:
        return _conv_ways(size, pooled, room)
    return _dense_ways(size, room)


def _dense_ways(size: LayerSize, room: Room) -> tuple[tuple[Way, ...], tuple[str, ...]]:
    needed = size.weight_bytes(size.filters)
    ways, missing = [], []
    if size.input_bytes(1, 1) > room.input_bytes:
        taken = f"{_number(size.inputs)} inputs of {_bits(size.input_bits)} take {_number(size.input_bytes(1, 1))} bytes"
        return (), (f"{taken}; the input memory of an NP holds {_number(room.input_bytes)}.",)
    if needed <= room.weight_bytes:
        ways.append(Way("FNP3", dense=True))
    else:
        missing.append(
            f"{_number(size.inputs)} inputs x {_number(size.filters)} outputs at {_bits(size.weight_bits)} take {_number(needed)} bytes; "
            f"an FNP3 holds {_number(room.weight_bytes)}."
        )
    ways.append(Way("FNP2", dense=True))
    if not size.flat:
        missing.append("Its input is an image, so that it cannot be a 1x1 convolution.")
    elif size.inputs > room.layer_channels or size.filters > room.layer_filters:
        over = [
            f"{_number(count)} {what}; the most is {_number(most)}" for what, count, most in (
                ("channels", size.inputs, room.layer_channels), ("filters", size.filters, room.layer_filters),
            ) if count > most
        ]
        missing.append(f"As a 1x1 convolution it would have {', and '.join(over)}.")
    else:
        parts = _filter_parts(size, room)
        if parts is None:
            missing.append(f"One output takes {_number(size.weight_bytes(1))} bytes; an NP holds {_number(room.weight_bytes)}.")
        else:
            missing.append(f"As a 1x1 convolution it takes {parts} NP{'' if parts == 1 else 's'}.")
            ways.append(Way("CNP", parts, dense=True))
    return tuple(ways), tuple(missing)


def _bits(bits: int) -> str:
    return "1 bit" if bits == 1 else f"{bits} bits"


def _conv_ways(size: LayerSize, pooled: bool, room: Room) -> tuple[tuple[Way, ...], tuple[str, ...]]:
    parts = _filter_parts(size, room)
    if parts is None:
        shared = " beside those that all filters share" if size.shared_bits else ""
        why = (
            f"The weights of one filter, {_number(size.channels)} channels x {size.side} x {size.side} at {_bits(size.weight_bits)},"
            f"{shared} take {_number(size.weight_bytes(1))} bytes; an NP holds {_number(room.weight_bytes)}."
        )
        return (), (why,)
    tiles = _tiles(size, pooled, room)
    if isinstance(tiles, str):
        return (), (tiles,)
    way = Way("CNP", parts, *tiles)
    each = -(-size.filters // parts)
    filters = (
        f"{_number(size.filters)} filters at {_bits(size.weight_bits)} take {_number(size.weight_bytes(size.filters))} bytes, an NP holds "
        f"{_number(room.weight_bytes)} and at most {room.filters} filters: {parts} part{'' if parts == 1 else 's'} of at most {each}."
    )
    if tiles == (1, 1):
        return (way,), (filters,)
    image = f"Its image is divided into {tiles[0]} x {tiles[1]} tiles of at most {room.rows} rows and {room.columns} columns."
    return (way,), (filters, image)


def _filter_parts(size: LayerSize, room: Room) -> int | None:
    """Return into how many parts the filters must be divided at least; None where not even one filter fits."""
    spare = 8 * room.weight_bytes - size.shared_bits
    most = min(room.filters, spare // size.filter_bits)
    if most < 1:
        return None
    parts = -(-size.filters // most)
    if size.channels == 1 and size.conv is not None and room.single_filters:
        while any(not _even(high - low, room.single_filters) for low, high in cut(size.filters, parts)):
            parts += 1
    return parts


def _even(filters: int, unit: int) -> bool:
    """Return whether filters of one channel may lie on one NP."""
    count = -(-filters // unit)
    return count == 1 or count % 2 == 0


def _tiles(size: LayerSize, pooled: bool, room: Room) -> tuple[int, int] | str:
    """Return into how many rows and columns of tiles the image is divided, fewest first, or why no division is fine enough."""
    unit = 2 if pooled else 1
    if size.over_image:
        height, width = size.conv.in_shape[1:] if size.conv is not None else (1, 1)
        if height > room.rows or width > room.columns or size.input_bytes(height, width) > room.input_bytes:
            return (
                f"It sums its potentials over the whole image, which one NP must hold: {_number(size.channels)} channels x {height} x "
                f"{width} pixels of {_bits(size.input_bits)} take {_number(size.input_bytes(height, width))} bytes of "
                f"{_number(room.input_bytes)}, and a tile has at most {room.rows} rows and {room.columns} columns."
            )
        return 1, 1
    height, width = (size.shape[1 + axis] // unit for axis in (0, 1))
    columns_of: list[int | None] = []
    best: tuple[int, int, int, int] | None = None
    for r in range(1, height + 1):
        if r > (best[0] if best is not None else _MOST):
            break
        rows = _largest(size, 0, r, unit, room.rows)
        if rows is None:
            continue
        for c in range(1, width + 1):
            if r * c > (best[0] if best is not None else _MOST):
                break
            if c > len(columns_of):
                columns_of.append(_largest(size, 1, c, unit, room.columns))
            columns = columns_of[c - 1]
            if columns is not None and size.input_bytes(rows, columns) <= room.input_bytes:
                found = (r * c, size.input_bytes(rows, columns), r, c)
                best = found if best is None or found < best else best
                break
    if best is None:
        rows, columns = (max(size.reach(axis, start, start + unit) for start in range(0, size.shape[1 + axis], unit)) for axis in (0, 1))
        return (
            f"The smallest part of its image, {_number(size.channels)} channels x {rows} x {columns} pixels of {_bits(size.input_bits)}, "
            f"takes {_number(size.input_bytes(rows, columns))} bytes; the input memory of an NP holds {_number(room.input_bytes)}."
        )
    return best[2], best[3]


def _largest(size: LayerSize, axis: int, parts: int, unit: int, most: int) -> int | None:
    """Return the most rows (0) or columns (1) that a part hears; None where one is given more than `most`, the kernel's reach left out."""
    runs = cut(size.shape[1 + axis], parts, unit)
    if any(covered(size, axis, start, stop) > most for start, stop in runs):
        return None
    return max(size.reach(axis, start, stop) for start, stop in runs)


def covered(size: LayerSize, axis: int, start: int, stop: int) -> int:
    """Return how many rows (0) or columns (1) of the image the outputs start..stop-1 stand for: as many as strides."""
    if size.conv is None:
        return 1
    stride, whole = size.conv.stride[axis], size.conv.in_shape[1 + axis]
    return min(stop * stride, whole) - min(start * stride, whole)


def parts_of(size: LayerSize, way: Way, pooled: bool) -> tuple[Slice, ...]:
    """Return the parts of a layer's population in C order: by filters, then rows, then columns."""
    if size.conv is None:
        return tuple(_rows(size.shape, low, high) for low, high in cut(size.filters, way.filters))
    unit = 2 if pooled else 1
    filters, (rows, columns) = cut(size.shape[0], way.filters), (
        cut(extent, parts, unit) for extent, parts in zip(size.shape[1:], (way.rows, way.columns), strict=True)
    )
    return tuple((f, r, c) for f in filters for r in rows for c in columns)


def _rows(shape: tuple[int, ...], low: int, high: int) -> Slice:
    """Return the neurons low..high-1 of a population as a box where they are one."""
    if shape[1:].count(1) == len(shape) - 1:
        box: Box = ((low, high), *((0, 1) for _ in shape[1:]))
        return box
    if (low, high) == (0, int(np.prod(shape))):
        return tuple((0, extent) for extent in shape)
    return np.arange(low, high)
