"""Synapse memory as the engine adds it up: whole projections in the chip's integer widths, put together from the cores' blocks.

A part holds synapses from one unit to another that act with one delay, or in a window of them, in a form of `nmap.emulate.native`:
    matrix: a row of weights per source neuron, over all targets;
    runs: stretches of weights whose targets lie together: the kernel rows of a convolution, or the rows of cores' dense blocks;
    rows: the same where every source has one stretch, a row of its own;
    lists: each synapse with its target.
An accumulator is what several parts add to before it enters the dendrite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array, Dense, Sparse
from nmap.emulate.aligned import aligned, zeros
from nmap.emulate.units import Drivers, Unit, damaged
from nmap.program import Box, ConvTile, Program, SynapseBlock, box_indices, slice_indices

__all__ = ["Accumulator", "Part", "list_blocks", "synapses_into"]

COLUMNS = 32
"""Columns of a matrix come in multiples of this."""
LANES = 16
"""Lengths of runs come in multiples of this."""
LIST = 8
"""Synapses of a block of a list."""
_TILE = 1 << 16
"""Targets that 16-bit numbers tell apart."""
_DELAYS = 3
"""Synapses with this many delays and more are lists into sums of several steps; of fewer, a part for each delay."""
_WINDOW = 1 << 26
"""Most sums of several steps."""
_SPARSE = 32
"""A matrix is faster than lists until it has this many entries per synapse: eight-bit rows are added that much faster."""
_MATRIX = 1 << 24
"""Largest matrix that is made of synapses listed one by one, in entries."""
_SMALL = 16384
"""Dendrites up to this size stay in the fastest cache, where 32-bit accumulators are no slower than 16-bit ones."""
_RUN_TABLES = 24
"""Bytes that runs need more of for each source than rows."""
_INT8 = 127
_INT16 = 32767
_INT32 = (1 << 31) - 1
_UNLIMITED = 1 << 62


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Synapses of one form.

    Args:
        kind: `matrix`, `runs`, `rows` or `lists`.
        source: unit that sends.
        delay: steps between sending and acting, 1 and more.
        graded: whether payloads are multiplied.
        weights: int8, int16 or int32.
        tables: what the routine of the kind reads beside the weights, in the order of its descriptor.
        rows: row of a matrix by source neuron, (n,) int32, -1 where it is all zeros; None where they have the same numbers. The sources of
            a sum pool share their row.
        columns: of a matrix and of rows; 0 for others.
        offset: where the part's targets begin in the accumulator.
        synapses: events that one spike of every source makes.
    """

    kind: str
    source: int
    delay: int
    graded: bool
    weights: Array
    tables: tuple[Array, ...]
    rows: Array | None = None
    columns: int = 0
    offset: int = 0
    synapses: int = 0

    @property
    def nbytes(self) -> int:
        """Memory of the synapses and their tables."""
        rows = 0 if self.rows is None else self.rows.nbytes
        return int(self.weights.nbytes + rows + sum(table.nbytes for table in self.tables))


@dataclass(frozen=True, slots=True, eq=False)
class Accumulator:
    """Sums on their way to the dendrite.

    Args:
        receptor: dendritic input.
        width: bits of each sum; 0 for the dendrite itself.
        elements: sums held.
        segments: (k, 3) int64: from, to (inside the receptor), length.
        covers: whether the segments fill the receptor.
        shift, bits: see `SynapseFormat.exponent` and `SynapseFormat.accumulator`.
        limit: spikes that can be added before a sum could pass 16 bits.
        parts: what is added.
        window: steps whose sums are held at once, the present one first, `elements` each; 0 where there is the present one only.
    """

    receptor: int
    width: int
    elements: int
    segments: Array
    covers: bool
    shift: int
    bits: int
    limit: int
    parts: tuple[Part, ...]
    window: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Built:
    """A part, and what an accumulator must know of it.

    Args:
        part: the part.
        drop: power of two taken out of its weights.
        bound: largest sum of weights' magnitudes at one target, all sources firing.
        apart: whether one spike never adds twice to one target.
        segments, elements: of a convolution's own accumulator; None and 0 where targets are numbered as in the unit.
        covers: whether the segments fill the unit.
        window: see `Accumulator.window`.
    """

    part: Part
    drop: int
    bound: int
    apart: bool = True
    segments: Array | None = None
    elements: int = 0
    covers: bool = True
    window: int = 0


@dataclass(frozen=True, slots=True)
class _Range:
    """Neurons low..high-1 of a unit."""

    low: int
    high: int

    @property
    def size(self) -> int:
        return self.high - self.low


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    """The synapses of a block that share a delay, or all that have delays of their own.

    `delay` is that of all of them, `delays` (synapses,) what each adds to it; None where nothing is added.
    """

    number: int
    block: SynapseBlock
    synapses: Dense | Sparse | ConvTile
    delay: int
    targets: Array
    """Number of each target slot in the range."""
    drivers: list[tuple[Array, Array]]
    delays: Array | None = None

    @property
    def largest(self) -> tuple[int, int]:
        w = self.synapses.weights
        return (int(w.min()), int(w.max())) if w.size else (0, 0)

    @property
    def sparse(self) -> Sparse:
        """The synapses one by one, zeros left out; not of a convolution."""
        assert not isinstance(self.synapses, ConvTile)
        return self.synapses if isinstance(self.synapses, Sparse) else Sparse.from_dense(self.synapses.weights)

    @property
    def several(self) -> bool:
        """Whether several units, or several neurons of one axon, drive the block."""
        units = self.drivers[0][0]
        return len(self.drivers) > 1 or np.unique(units[units >= 0]).size > 1

    def neurons(self, unit: int) -> list[Array]:
        """Return, by rank, the neurons of a unit that drive each axon, (axons,) int32, -1 for none."""
        return [np.where(units == unit, neurons, -1) for units, neurons in self.drivers]


def synapses_into(
    program: Program, units: Sequence[Unit], drivers: Drivers, blocks: Sequence[int], target: int, low: int, high: int
) -> tuple[Accumulator, ...]:
    """Return all that is added to the dendrites of some neurons of a unit.

    Args:
        program: the program.
        units: by population.
        drivers: what drives the blocks' axons.
        blocks: those that lead to the unit, any order.
        target: the unit.
        low, high: the neurons, from `low` to `high` - 1; accumulators number them from 0.

    Raises:
        NmapError: NM602, a tile is not what its neuron group holds or is too large, a neuron drives one block twice, or several neurons an
            axon of a convolution whose sums wrap or are rounded.
    """
    items: dict[tuple[Any, ...], list[_Item]] = {}
    ranks: dict[tuple[Any, int], int] = {}
    size = high - low
    for item in _items(program, units, drivers, blocks, target, low, high):
        form, exact = item.block, _exact(item.block)
        kind = "tiles" if isinstance(item.synapses, ConvTile) else "delayed" if item.delays is not None else "listed"
        key = (form.receptor, form.exponent, *((0, 0) if exact else (form.accumulator, item.delay)), exact, kind)
        rank = 0
        if kind == "tiles" and not exact and item.several:
            raise damaged(f"synapse block {item.number}: several populations or neurons drive a convolution whose sums wrap or are rounded")
        if kind == "tiles" or not exact:
            rank = ranks[key, form.group] = ranks.get((key, form.group), -1) + 1
        items.setdefault((*key, rank), []).append(item)
    made: list[Accumulator] = []
    shared: dict[tuple[int, int, int], list[_Built]] = {}
    for (receptor, exponent, bits, _, exact, kind, _), members in sorted(items.items(), key=lambda entry: entry[0]):
        built = _built(units, members, _Range(low, high), kind)
        if exact:
            # Nothing of the others is left modulo 2^32.
            built = [one for one in built if exponent + one.drop < 32]
        if kind == "delayed":
            made.extend(replace(_accumulator(receptor, 32, exponent + one.drop, [one], size), window=one.window) for one in built)
            continue
        if not exact:
            made.extend(_wide(built, receptor, exponent, bits, size))
            continue
        for one in built:
            shift, width = exponent + one.drop, _width(one, size)
            if one.segments is not None:
                made.append(_accumulator(receptor, width, shift, [one], size))
            else:
                # The dendrite itself holds sums without a shift.
                shared.setdefault((receptor, 0 if width == 32 and shift == 0 else width, shift), []).append(one)
    made.extend(_accumulator(*key, some, size) for key, some in sorted(shared.items(), key=lambda entry: entry[0]))
    return tuple(sorted(made, key=lambda accumulator: (accumulator.receptor, accumulator.width != 0)))


def _exact(block: SynapseBlock) -> bool:
    """Return whether a block's sums are those modulo 2^32: others wrap or are rounded block by block, and delay by delay.

    A shift to the right rounds nothing where all weights are multiples of its power of two; the sum is that many bits narrower then.
    """
    right = max(-block.exponent, 0)
    return (block.accumulator == 0 or block.accumulator - right >= 32) and (right == 0 or _zeros(block.synapses.weights) >= right)


def _zeros(weights: Array) -> int:
    """Return the power of two that all weights are multiples of, 31 where all are 0."""
    union = int(np.bitwise_or.reduce(weights.ravel())) if weights.size else 0
    return (union & -union).bit_length() - 1 if union else 31


def _width(one: _Built, targets: int) -> int:
    """Return the width of sums that are exact modulo 2^32: 16 bits where they are faster and can be kept from overflowing."""
    part = one.part
    if part.graded or part.weights.dtype != np.int8 or part.kind in ("matrix", "rows") or not one.apart:
        return 32
    if part.kind == "runs":
        return 16 if one.segments is not None else 32
    return 32 if targets <= _SMALL else 16


def _accumulator(receptor: int, width: int, shift: int, built: Sequence[_Built], targets: int) -> Accumulator:
    limit = _UNLIMITED
    if width == 16 and sum(one.bound for one in built) > _INT16:
        limit = _INT16 // max(1, *(int(np.abs(one.part.weights.astype(np.int16)).max(initial=0)) for one in built))
    segments, elements = built[0].segments, built[0].elements
    if segments is None:
        segments, elements = np.array([[0, 0, targets]], np.int64), targets
    return Accumulator(
        receptor, width, elements, segments, all(one.covers for one in built), shift, 0, limit, tuple(one.part for one in built)
    )


def _wide(built: Sequence[_Built], receptor: int, exponent: int, bits: int, targets: int) -> list[Accumulator]:
    """Return accumulators of blocks whose sums wrap or are rounded: all that drives a block is in one sum."""
    plain = [one for one in built if one.segments is None]
    together = [*([one] for one in built if one.segments is not None), *([plain] if plain else [])]
    return [replace(_accumulator(receptor, 64, exponent, some, targets), bits=bits) for some in together]


def _items(
    program: Program, units: Sequence[Unit], drivers: Drivers, blocks: Sequence[int], target: int, low: int, high: int
) -> list[_Item]:
    marks = [np.full(unit.size, -1, np.int64) for unit in units]
    found = []
    for number in blocks:
        block = program.blocks[number]
        group = program.groups[block.group]
        shape = program.populations[group.population].shape
        targets = units[target].position[slice_indices(group.slice, shape)] - low
        synapses, delays = block.synapses, block.delays
        if isinstance(synapses, ConvTile) and (synapses.out_box, synapses.out_shape) != (group.slice, shape):
            raise damaged(f"the tile of synapse block {number} is not the part of the population that its neuron group holds")
        by = drivers.of(number, block.axons)
        _check_once(number, by, marks)
        inside = (targets >= 0) & (targets < high - low)
        if not inside.any():
            continue
        if isinstance(synapses, ConvTile):
            found.append(_Item(number, block, synapses, 1 + block.delay, targets, by))
            continue
        if synapses.weights.dtype != np.int32:
            synapses = synapses.with_weights(synapses.weights.astype(np.int32))
        if not inside.all():
            synapses, delays = _of_targets(synapses, delays, np.flatnonzero(inside))
            targets = targets[inside]
        if delays is None:
            found.append(_Item(number, block, synapses, 1 + block.delay, targets, by))
            continue
        found.extend(_by_delay(_Item(number, block, synapses, 1 + block.delay, targets, by, delays), high - low))
    return sorted(found, key=lambda item: (int(item.targets[0]), item.number, item.delay))


def _check_once(number: int, by: list[tuple[Array, Array]], marks: list[Array]) -> None:
    rows = np.concatenate([units for units, _ in by]), np.concatenate([neurons for _, neurons in by])
    for unit in np.flatnonzero(np.bincount(rows[0][rows[0] >= 0])):
        neurons = rows[1][rows[0] == unit]
        order = np.arange(neurons.size)
        marks[unit][neurons] = order
        if (marks[unit][neurons] != order).any():
            raise damaged(f"one neuron drives two rows of synapse block {number}")


def _of_targets(synapses: Dense | Sparse, delays: Array | None, slots: Array) -> tuple[Dense | Sparse, Array | None]:
    if isinstance(synapses, Dense):
        return Dense(synapses.weights[slots]), None if delays is None else delays[slots]
    entries = synapses.entries(slots)
    pointer = np.concatenate([[0], np.cumsum(synapses.indptr[slots + 1] - synapses.indptr[slots])])
    kept = Sparse(pointer, synapses.indices[entries], synapses.weights[entries], synapses.in_size)
    return kept, None if delays is None else delays[entries]


def _by_delay(item: _Item, size: int) -> list[_Item]:
    """Return an item whose synapses have delays of their own as one of lists, or as one for each delay where that is faster or must be."""
    synapses, delays = item.synapses, item.delays
    assert delays is not None
    assert not isinstance(synapses, ConvTile)
    if isinstance(synapses, Dense):
        delays = delays[synapses.weights != 0]
        synapses = Sparse.from_dense(synapses.weights)
    found = np.unique(delays)
    if found.size >= _DELAYS and _exact(item.block) and (int(found[-1]) + 1) * size <= _WINDOW:
        return [replace(item, synapses=synapses, delays=delays)]
    return [
        replace(item, synapses=_of_delay(synapses, delays == extra), delay=item.delay + int(extra), delays=None) for extra in found
    ]


def _of_delay(synapses: Sparse, keep: Array) -> Sparse:
    counts = np.bincount(synapses.targets[keep], minlength=synapses.out_size)
    return Sparse(np.concatenate([[0], np.cumsum(counts)]), synapses.indices[keep], synapses.weights[keep], synapses.in_size)


def _built(units: Sequence[Unit], members: Sequence[_Item], target: _Range, kind: str) -> list[_Built]:
    build = {"tiles": _convolved, "delayed": _delayed, "listed": _listed}[kind]
    by: dict[tuple[int, int, bool], list[_Item]] = {}
    for item in members:
        for unit in np.unique(np.concatenate([found[found >= 0] for found, _ in item.drivers])):
            graded = item.block.message_bits != 0 and _graded(units[unit])
            by.setdefault((int(unit), item.delay, graded), []).append(item)
    made: list[_Built] = []
    for (source, delay, graded), some in sorted(by.items(), key=lambda entry: entry[0]):
        low = min(item.largest[0] for item in some)
        high = max(item.largest[1] for item in some)
        if low == high == 0:
            continue
        drop, dtype = _narrowest(some, low, high)
        bare = Part("", source, delay, graded, np.zeros(0, dtype), ())
        made.extend(build(units[source], target, some, bare, drop))
    return made


def _graded(unit: Unit) -> bool:
    return unit.kernel is None or unit.kernel.graded


def _narrowest(items: Sequence[_Item], low: int, high: int) -> tuple[int, Any]:
    """Return the power of two to take out of all weights, as small as will do, and their type.

    What a shift to the right drops anyway is taken out always; more where the weights are narrower then.
    """
    if not _exact(items[0].block):
        # A shift that rounds sees the sum as it is.
        return 0, next(t for t in (np.int8, np.int16, np.int32) if np.iinfo(t).min <= low and high <= np.iinfo(t).max)
    least = max(-items[0].block.exponent, 0)
    most = least
    if high >> least > _INT8 or low >> least < ~_INT8:
        most = max(least, min(_zeros(item.synapses.weights) for item in items))
    return next(
        (drop, t) for t in (np.int8, np.int16, np.int32) for drop in (least, most)
        if np.iinfo(t).min <= low >> drop and high >> drop <= np.iinfo(t).max
    )


def _listed(source: Unit, target: _Range, items: Sequence[_Item], bare: Part, drop: int) -> list[_Built]:
    entries = sum(int(np.count_nonzero(item.synapses.weights)) for item in items)
    held = sum(item.synapses.in_size * item.synapses.out_size for item in items if not isinstance(item.synapses, ConvTile))
    area = source.size * (-target.size // COLUMNS * -COLUMNS)
    whole = all(isinstance(item.synapses, Dense) for item in items)
    if entries * _SPARSE >= area and (area <= _MATRIX or (whole and 2 * held >= area)):
        made = _matrix(source, target, items, bare, drop)
        return _lists(source, target, items, bare, drop) if made is None else [made]
    if whole and entries * _SPARSE >= held and all((np.diff(item.targets) == 1).all() for item in items):
        return [_runs(source, target, items, bare, drop)]
    return _lists(source, target, items, bare, drop)


def _matrix(source: Unit, target: _Range, items: Sequence[_Item], bare: Part, drop: int) -> _Built | None:
    """Return a matrix; None where synapses that meet in one entry are too wide together."""
    columns = -target.size // COLUMNS * -COLUMNS
    # Where two synapses may meet in one entry, their sum may be wider than each of them.
    alone = len({item.block.group for item in items}) == len(items) and all(isinstance(item.synapses, Dense) for item in items)
    weights = zeros((source.size, columns), bare.weights.dtype if alone else np.int64)
    for item in items:
        for neurons in item.neurons(bare.source):
            if isinstance(item.synapses, Dense):
                axons = np.flatnonzero(neurons >= 0)
                if not axons.size:
                    continue
                values = (item.synapses.weights.T >> drop).astype(weights.dtype)[axons]
                rows, first, last = neurons[axons], int(item.targets[0]), int(item.targets[-1]) + 1
                if (np.diff(item.targets) == 1).all() and (np.diff(rows) == 1).all():
                    weights[rows[0] : rows[0] + rows.size, first:last] += values
                else:
                    weights[np.ix_(rows, item.targets)] += values
            else:
                sparse = item.sparse
                at = neurons[sparse.indices]
                kept = at >= 0
                np.add.at(weights, (at[kept], item.targets[sparse.targets[kept]]), sparse.weights[kept] >> drop)
    if not alone:
        if _exact(items[0].block):
            weights = weights.astype(np.int32)
        low, high = int(weights.min()), int(weights.max())
        fitting = [t for t in (np.int8, np.int16, np.int32) if np.iinfo(t).min <= low and high <= np.iinfo(t).max]
        if not fitting:
            return None
        weights = weights.astype(fitting[0])
    weights, of = _distinct(weights)
    part = replace(bare, kind="matrix", weights=aligned(weights), rows=of, columns=columns, synapses=source.size * target.size)
    return _Built(part, drop, _UNLIMITED)


def _distinct(weights: Array) -> tuple[Array, Array | None]:
    """Return a matrix's distinct rows and which one each source has, where they are half as many at most; else the matrix and None."""
    words = weights.view(np.uint64)
    odd = np.random.default_rng(0).integers(0, 1 << 63, words.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    _, first, of = np.unique((words * odd).sum(1, dtype=np.uint64), return_index=True, return_inverse=True)
    if 2 * first.size > len(weights) or not np.array_equal(weights[first][of], weights):
        return weights, None
    kept = weights[first]
    silent = ~kept.any(1)
    number = np.where(silent, -1, np.cumsum(~silent) - 1)
    return np.ascontiguousarray(kept[~silent]), number[of].astype(np.int32)


def _rows(source: Unit, target: _Range, items: Sequence[_Item], bare: Part, drop: int) -> _Built | None:
    """Return dense blocks as a row per source neuron; None where one drives several blocks, or where runs are smaller."""
    columns = max(-item.targets.size // LANES * -LANES for item in items)
    rows = [(item, neurons, np.flatnonzero(neurons >= 0)) for item in items for neurons in item.neurons(bare.source)]
    driving = np.zeros(source.size, np.int64)
    for _, neurons, axons in rows:
        driving[neurons[axons]] += 1
    dense = [(item.synapses, item.targets) for item in items if isinstance(item.synapses, Dense)]
    held = sum(synapses.in_size * (-targets.size // LANES * -LANES) for synapses, targets in dense) * bare.weights.itemsize
    if driving.max() > 1 or source.size * columns * bare.weights.itemsize > held + _RUN_TABLES * source.size:
        return None
    weights, base = zeros((source.size, columns), bare.weights.dtype), np.full(source.size, -1, np.int32)
    synapses = 0
    for item, neurons, axons in rows:
        assert isinstance(item.synapses, Dense)
        # A row that would reach far beyond the last target begins before the first one of its block.
        first = int(item.targets[0])
        start = max(0, min(first, target.size - columns))
        here = slice(first - start, first - start + item.targets.size)
        weights[neurons[axons], here] = (item.synapses.weights.T >> drop)[axons]
        base[neurons[axons]] = start
        synapses += axons.size * item.targets.size
    return _Built(replace(bare, kind="rows", weights=weights, tables=(base,), columns=columns, synapses=synapses), drop, _UNLIMITED)


def _runs(source: Unit, target: _Range, items: Sequence[_Item], bare: Part, drop: int) -> _Built:
    alone = _rows(source, target, items, bare, drop)
    if alone is not None:
        return alone
    rows, starts, pieces = 0, [], []
    ids, at, offsets, lengths = [], [], [], []
    for item in items:
        assert isinstance(item.synapses, Dense)
        width = -item.targets.size // LANES * -LANES
        block = np.zeros((item.synapses.in_size, width), bare.weights.dtype)
        block[:, : item.targets.size] = item.synapses.weights.T >> drop
        pieces.append(block.ravel())
        starts.append(rows)
        for neurons in item.neurons(bare.source):
            axons = np.flatnonzero(neurons >= 0)
            ids.append(neurons[axons].astype(np.int64))
            at.append(rows + axons * width)
            offsets.append(np.full(axons.size, item.targets[0], np.int32))
            lengths.append(np.full(axons.size, width, np.int32))
        rows += block.size
    neuron = np.concatenate(ids)
    order = np.argsort(neuron, kind="stable")
    pointer = np.concatenate([[0], np.cumsum(np.bincount(neuron, minlength=source.size))]).astype(np.int32)
    base = np.where(np.diff(pointer) > 0, 0, -1).astype(np.int32)
    tables = (
        base, np.arange(source.size, dtype=np.int32), pointer, np.concatenate(offsets)[order], np.concatenate(at)[order].astype(np.int64),
        np.concatenate(lengths)[order],
    )
    part = replace(bare, kind="runs", weights=np.concatenate(pieces), tables=tables, synapses=int(np.concatenate(lengths).sum()))
    return _Built(part, drop, _UNLIMITED)


def _lists(source: Unit, target: _Range, items: Sequence[_Item], bare: Part, drop: int) -> list[_Built]:
    listed = [(item, item.sparse) for item in items]
    # Only then do two synapses of one source and target lie side by side.
    ascending = bool((np.diff(np.concatenate([item.targets for item in items])) > 0).all())
    tiles = -(-target.size // _TILE)
    edges = [target.size * k // tiles for k in range(tiles + 1)]
    made = []
    for low, high in pairwise(edges):
        counts = np.zeros(source.size, np.int64)
        for item, synapses in listed:
            for neurons in item.neurons(bare.source):
                _count_rows(synapses.indptr, synapses.indices, neurons, item.targets, low, high, counts)
        if not counts.any():
            continue
        pointer, following = _blocks(counts)
        index, weights = list_blocks(int(pointer[-1]), np.uint16, bare.weights.dtype, high - low)
        sums, begin, twice = np.zeros(high - low, np.int64), following.copy(), False
        for item, synapses in listed:
            for neurons in item.neurons(bare.source):
                twice |= _fill_rows(
                    synapses.indptr, synapses.indices, synapses.weights, neurons, item.targets, low, high, drop, begin,
                    following, index, weights, sums,
                )
        part = replace(bare, kind="lists", weights=weights, tables=(pointer, index), offset=low, synapses=int(counts.sum()))
        made.append(_Built(part, drop, int(sums.max()), ascending and not twice))
    return made


def list_blocks(count: int, index: Any, weight: Any, targets: int) -> tuple[Array, Array]:
    """Return empty blocks of lists, their indices and their weights.

    A list's synapses fill blocks of its own, the last of which need not be full. What is not written adds 0, each of a block's places to
    a target of its own, since additions to one target wait for each other.

    Args:
        count: blocks.
        index: type of the indices, uint16 or uint32.
        weight: type of the weights, int8, int16 or int32.
        targets: accumulators there are, at least 1.

    Returns:
        Indices and weights, both (count, 8), views of the same memory: the first index begins the blocks, at a multiple of 64 bytes.
    """
    far, narrow = np.dtype(index).itemsize, np.dtype(weight).itemsize
    size = LIST * (far + narrow)
    blocks = zeros(max(count, 1) * size, np.uint8)
    indices: Array = np.ndarray((count, LIST), index, blocks, 0, (size, far))
    weights: Array = np.ndarray((count, LIST), weight, blocks, LIST * far, (size, narrow))
    indices[:] = np.arange(LIST) % targets
    return indices, weights


def _blocks(counts: Array) -> tuple[Array, Array]:
    """Return where the blocks of each source's list begin, int32, and where its synapses do, given how many there are."""
    pointer = np.zeros(counts.size + 1, np.int32)
    np.cumsum(-(-counts // LIST), out=pointer[1:])
    return pointer, LIST * pointer[:-1].astype(np.int64)


def _delayed(source: Unit, target: _Range, items: Sequence[_Item], bare: Part, drop: int) -> list[_Built]:
    """Return synapses with delays of their own as lists into the sums of several steps: target + targets * delay."""
    neurons, places, weights = [], [], []
    window = 1 + max(int(item.delays.max()) for item in items if item.delays is not None)
    for item in items:
        synapses = item.sparse
        for driving in item.neurons(bare.source):
            neuron = driving[synapses.indices]
            heard = neuron >= 0
            neurons.append(neuron[heard])
            places.append((item.targets[synapses.targets] + target.size * np.asarray(item.delays))[heard])
            weights.append((synapses.weights[heard] >> drop).astype(bare.weights.dtype))
    neuron, place = np.concatenate(neurons), np.concatenate(places)
    order = np.lexsort((place, neuron))
    counts = np.bincount(neuron, minlength=source.size)
    pointer, begin = _blocks(counts)
    small = target.size * window <= _TILE
    index, factors = list_blocks(int(pointer[-1]), np.uint16 if small else np.uint32, bare.weights.dtype, target.size * window)
    at = np.repeat(begin - np.cumsum(counts) + counts, counts) + np.arange(order.size)
    index[at // LIST, at % LIST], factors[at // LIST, at % LIST] = place[order], np.concatenate(weights)[order]
    part = replace(bare, kind="lists", weights=factors, tables=(pointer, index), synapses=order.size)
    return [_Built(part, drop, _UNLIMITED, apart=False, window=window)]


@compiled()
def _count_rows(indptr, indices, neurons, targets, low, high, counts):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Count each neuron's synapses with targets from low to high - 1."""
    for slot in range(targets.size):
        if low <= targets[slot] < high:
            for s in range(indptr[slot], indptr[slot + 1]):
                neuron = neurons[indices[s]]
                if neuron >= 0:
                    counts[neuron] += 1


@compiled()
def _fill_rows(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    indptr, indices, values, neurons, targets, low, high, drop, begin, following, index, weights, sums
):
    """Put each synapse behind its source's earlier ones; return whether two neighbours of one source have the same target.

    `sums` receives the weights' magnitudes by target.
    """
    twice = False
    for slot in range(targets.size):
        if low <= targets[slot] < high:
            for s in range(indptr[slot], indptr[slot + 1]):
                neuron = neurons[indices[s]]
                if neuron >= 0:
                    place = following[neuron]
                    following[neuron] = place + 1
                    to = targets[slot] - low
                    twice |= place > begin[neuron] and index[(place - 1) // LIST, (place - 1) % LIST] == to
                    index[place // LIST, place % LIST] = to
                    value = values[s] >> drop
                    weights[place // LIST, place % LIST] = value
                    sums[to] += abs(value)
    return twice


def _convolved(source: Unit, target: _Range, items: Sequence[_Item], bare: Part, drop: int) -> list[_Built]:
    tiles = []
    for item in items:
        assert isinstance(item.synapses, ConvTile)
        tiles.append(item.synapses)
    whole = _whole(source, items, tiles, bare.source)
    if whole is not None:
        return _kernel_rows(target, whole, source.order, bare, drop)
    made = []
    for item, tile in zip(items, tiles, strict=True):
        for neurons in item.neurons(bare.source):
            heard = np.flatnonzero(neurons >= 0)
            axon = np.full(source.size, -1, np.int64)
            axon[neurons[heard]] = heard
            made.extend(_kernel_rows(target, tile, axon, bare, drop))
    return made


def _whole(source: Unit, items: Sequence[_Item], tiles: Sequence[ConvTile], unit: int) -> ConvTile | None:
    """Return the convolution whose tiles these are, if every neuron drives exactly the axons that it would; else None."""
    first = tiles[0]
    if int(np.prod(first.in_shape)) != source.size:
        return None
    shape = (first.in_shape, first.out_shape, first.stride, first.padding, first.dilation, first.groups, first.weights.shape[1:])
    weights = np.zeros((first.out_shape[0], *first.weights.shape[1:]), np.int32)
    known = np.zeros(first.out_shape[0], bool)
    covered = 0
    for item, tile in zip(items, tiles, strict=True):
        if (tile.in_shape, tile.out_shape, tile.stride, tile.padding, tile.dilation, tile.groups, tile.weights.shape[1:]) != shape:
            return None
        by = item.neurons(unit)
        if len(by) > 1 or not np.array_equal(source.order[by[0]] if (by[0] >= 0).all() else by[0], box_indices(tile.in_box, tile.in_shape)):
            return None
        if tile.in_box != _halo(tile):
            return None
        low, high = tile.out_box[0]
        here = known[low:high]
        if not np.array_equal(weights[low:high][here], tile.weights[here]):
            return None
        weights[low:high], known[low:high] = tile.weights, True
        covered += int(np.prod([stop - start for start, stop in tile.out_box]))
    if covered != int(np.prod(first.out_shape)):
        return None
    whole = tuple((0, size) for size in first.out_shape)
    return replace(first, weights=weights, in_box=tuple((0, size) for size in first.in_shape), out_box=whole)


def _halo(tile: ConvTile) -> Box:
    """Return the source positions that the tile's outputs reach, padding left out."""
    (low, high), *spans = tile.out_box
    per_in, per_out = tile.in_shape[0] // tile.groups, tile.out_shape[0] // tile.groups
    halo = [(low // per_out * per_in, ((high - 1) // per_out + 1) * per_in)]
    for (first, stop), size, k, s, p, d in zip(
        spans, tile.in_shape[1:], tile.weights.shape[2:], tile.stride, tile.padding, tile.dilation, strict=True
    ):
        start = max(first * s - p, 0)
        halo.append((start, max(start, min((stop - 1) * s - p + d * (k - 1) + 1, size))))
    return tuple(halo)


def _axon_places(box: Box) -> tuple[Array, Array, Array]:
    """Return channel, row and column of each axon of a tile's in-box."""
    grid = np.meshgrid(*(np.arange(start, stop) for start, stop in box), indexing="ij")
    c, y, x = (axis.ravel() for axis in grid)
    return c, y, x


@dataclass(frozen=True, slots=True)
class _Axis:
    """One spatial axis of a tile: which outputs a source position adds to.

    Position y adds through kernel row i to output (y + padding - i dilation) / stride where that is whole. Positions of one phase,
    (y + padding) mod stride, have the same kernel rows.
    """

    stride: int
    padding: int
    dilation: int
    taps: int
    start: int
    stop: int

    def rows(self, phase: int) -> list[tuple[int, int]]:
        """Return the kernel rows of a phase as (output relative to the position's base, kernel row), outputs ascending."""
        ahead = ((i, i * self.dilation - phase) for i in range(self.taps))
        return sorted((-(distance // self.stride), i) for i, distance in ahead if distance % self.stride == 0)

    def hears(self, at: Array) -> Array:
        """Return which positions may add to the outputs from `start` to `stop` - 1."""
        first = (at + self.padding) // self.stride
        return (first >= self.start) & (first - (self.taps - 1) * self.dilation // self.stride - 1 < self.stop)

    def base(self, at: Array) -> tuple[Array, Array]:
        """Return base and phase of positions."""
        return (at + self.padding) // self.stride, (at + self.padding) % self.stride


def _kernel_rows(target: _Range, tile: ConvTile, axon: Array, bare: Part, drop: int) -> list[_Built]:
    """Return a tile as runs into an accumulator with a border, channels last; nothing where the range hears nothing of it.

    Args:
        target: neurons that receive: whole rows of the output.
        tile: the tile.
        axon: axon that each source neuron drives, -1 for none.
        bare: the part without its synapses.
        drop: power of two to take out of the weights.
    """
    (o0, o1), (r0, r1), (q0, q1) = tile.out_box
    per_row = tile.out_shape[0] * tile.out_shape[2]
    r0, r1 = max(r0, target.low // per_row), min(r1, target.high // per_row)
    channels, per_in, per_out = o1 - o0, tile.in_shape[0] // tile.groups, tile.out_shape[0] // tile.groups
    axes = [
        _Axis(tile.stride[k], tile.padding[k], tile.dilation[k], tile.weights.shape[2 + k], *((r0, r1), (q0, q1))[k]) for k in (0, 1)
    ]
    places = _axon_places(tile.in_box)
    heard = axon >= 0
    for axis, at in zip(axes, places[1:], strict=True):
        heard[heard] = axis.hears(at[axon[heard]])
    if r0 >= r1 or not heard.any():
        return []
    c, y, x = (values[axon[heard]] for values in places)
    bases, phases, before, extent = [], [], [], []
    for axis, at in zip(axes, (y, x), strict=True):
        base, phase = axis.base(at)
        reach = [relative for p in np.unique(phase) for relative, _ in axis.rows(int(p))] or [0]
        low = min(int(base.min()) + min(reach), axis.start)
        high = max(int(base.max()) + max(reach) + 1, axis.stop)
        bases.append(base - low)
        phases.append(phase)
        before.append(axis.start - low)
        extent.append(high - low)
    height, width = extent
    if height * width * channels > _INT32:
        raise damaged(f"a convolution of {tile.out_shape} neurons with its border takes {height} x {width} x {channels} sums")
    group = c // per_in
    first = np.clip(group * per_out - o0, 0, channels)
    base = np.full(axon.size, -1, np.int32)
    which = np.zeros(axon.size, np.int32)
    base[heard] = (bases[0] * width + bases[1]) * channels + first
    set_of = (c * tile.stride[0] + phases[0]) * tile.stride[1] + phases[1]
    sets, inverse = np.unique(set_of, return_inverse=True)
    which[heard] = inverse
    narrow = (tile.weights >> drop).astype(bare.weights.dtype)
    pointer, offsets, starts, lengths, pieces, placed = [0], [], [], [], [], 0
    known: dict[bytes, int] = {}
    for number in sets:
        channel, rest = divmod(int(number), tile.stride[0] * tile.stride[1])
        low, high = max(channel // per_in * per_out - o0, 0), min((channel // per_in + 1) * per_out - o0, channels)
        columns = axes[1].rows(rest % tile.stride[1])
        for down, i in axes[0].rows(rest // tile.stride[1]) if high > low else ():
            for across, js in _stretches(columns, joined=high - low == channels):
                row = narrow[low:high, channel % per_in, i][:, js].T.ravel()
                length = -row.size // LANES * -LANES
                # Behind a pool all phases have the same rows.
                start = known.setdefault(row.tobytes(), placed)
                if start == placed:
                    pieces.append(np.concatenate([row, np.zeros(length - row.size, row.dtype)]))
                    placed += length
                offsets.append((down * width + across) * channels)
                starts.append(start)
                lengths.append(length)
        pointer.append(len(offsets))
    if not lengths:
        return []
    base[heard] = np.where(np.diff(pointer)[inverse] > 0, base[heard], -1)
    tables = (
        base, which, np.array(pointer, np.int32), np.array(offsets, np.int32), np.array(starts, np.int64), np.array(lengths, np.int32),
    )
    elements = height * width * channels
    weights = np.concatenate([*pieces, np.zeros(0, narrow.dtype)])
    rows = np.arange(r1 - r0)
    whole_rows = (o0, o1) == (0, tile.out_shape[0])
    if whole_rows:
        begin = ((rows + before[0]) * width + before[1]) * channels
        to = ((rows + r0) * tile.out_shape[2] + q0) * channels
        segments = np.stack([begin, to, np.full(rows.size, (q1 - q0) * channels)], 1)
    else:
        grid_y, grid_x = (axis.ravel() for axis in np.meshgrid(rows, np.arange(q1 - q0), indexing="ij"))
        begin = ((grid_y + before[0]) * width + grid_x + before[1]) * channels
        to = ((grid_y + r0) * tile.out_shape[2] + grid_x + q0) * tile.out_shape[0] + o0
        segments = np.stack([begin, to, np.full(grid_y.size, channels)], 1)
    bound = int(np.abs(narrow.astype(np.int64)).sum((1, 2, 3)).max(initial=0))
    per = np.add.reduceat(np.append(lengths, 0), np.minimum(pointer[:-1], len(lengths)))
    part = replace(
        bare, kind="runs", weights=aligned(weights), tables=tables,
        synapses=int(np.where(np.diff(pointer) > 0, per, 0)[inverse].sum()),
    )
    segments[:, 1] -= target.low
    covers = (r1 - r0) * (q1 - q0) * channels == target.size
    return [_Built(part, drop, bound, True, segments.astype(np.int64), elements, covers)]


def _stretches(columns: list[tuple[int, int]], *, joined: bool) -> list[tuple[int, list[int]]]:
    """Return kernel columns whose outputs lie side by side as (first output relative to the base, kernel columns)."""
    found: list[tuple[int, list[int]]] = []
    for across, j in columns:
        if joined and found and found[-1][0] + len(found[-1][1]) == across:
            found[-1][1].append(j)
        else:
            found.append((across, [j]))
    return found
