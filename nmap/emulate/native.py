"""Compiled inner loops of the emulator, called by address: spikes into accumulators, accumulators into dendrites, payloads into events.

Where a loop's speed depends on what stays in registers it is written as LLVM instructions on vectors, which LLVM splits into whatever the
machine has; the loops around it are numba's. A routine is compiled for its widths when its address is first asked for.

This module imports numba: only what runs a program imports it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nmap.compiled import Native, native

__all__ = ["ACCUMULATE", "FIND", "FOLD", "find_bytes", "find_words", "fold", "routine"]

ACCUMULATE = "void(int64, int64, int64, int64, int64)"
"""Signature of an accumulating routine; see `routine`."""
FOLD = "void(int64, int64, int64, int64, int64, int64, int64, int64)"
"""Signature of a fold; see `fold`."""
FIND = "void(int64, int64, int64, int64, int64)"
"""Signature of a finder of spikes; see `find_bytes`."""

_WORD = ir.IntType(64)
_CHUNK = 256
"""Rows of 8-bit weights whose sum fits 16 bits: 256 times -128 is -32768."""


# Building blocks of LLVM instructions.


def _kind(bits: int, lanes: int = 1) -> Any:
    """Return the type of `lanes` integers; one is a plain integer."""
    return ir.IntType(bits) if lanes == 1 else ir.VectorType(ir.IntType(bits), lanes)


def _number(kind: Any, value: int) -> Any:
    """Return a constant, the same in every lane."""
    return ir.Constant(kind, value if isinstance(kind, ir.IntType) else [value] * kind.count)


def _spread(builder: Any, value: Any, lanes: int) -> Any:
    """Return a scalar in every lane."""
    if lanes == 1:
        return value
    kind = ir.VectorType(value.type, lanes)
    first = builder.insert_element(ir.Constant(kind, ir.Undefined), value, _number(ir.IntType(32), 0))
    return builder.shuffle_vector(first, ir.Constant(kind, ir.Undefined), _number(ir.VectorType(ir.IntType(32), lanes), 0))


def _resized(builder: Any, value: Any, kind: Any) -> Any:
    """Return signed integers in another width."""
    have, want = (getattr(k, "element", k).width for k in (value.type, kind))
    return builder.sext(value, kind) if want > have else builder.trunc(value, kind) if want < have else value


def _at(builder: Any, address: Any, offset: Any, kind: Any) -> Any:
    """Return a pointer to `kind`, `offset` bytes (a number or a value) behind an address."""
    return builder.inttoptr(builder.add(address, _number(_WORD, offset) if isinstance(offset, int) else offset), kind.as_pointer())


def _read(builder: Any, address: Any, offset: Any, kind: Any, align: int = 1) -> Any:
    value = builder.load(_at(builder, address, offset, kind))
    value.align = align
    return value


def _write(builder: Any, value: Any, address: Any, offset: Any, align: int) -> None:
    builder.store(value, _at(builder, address, offset, value.type)).align = align


def _loop(builder: Any, first: Any, last: Any, step: int, carried: list[Any], body: Callable[[Any, list[Any]], list[Any]]) -> list[Any]:
    """Emit `for k in range(first, last, step): carried = body(k, carried)` and return what is carried at the end."""
    entry = builder.block
    inside, after = builder.append_basic_block(), builder.append_basic_block()
    builder.cbranch(builder.icmp_signed("<", first, last), inside, after)
    builder.position_at_end(inside)
    counter, *held = [builder.phi(value.type) for value in (first, *carried)]
    following = body(counter, held)
    following = [builder.add(counter, _number(counter.type, step)), *following]
    end = builder.block
    for phi, start, value in zip((counter, *held), (first, *carried), following, strict=True):
        phi.add_incoming(start, entry)
        phi.add_incoming(value, end)
    builder.cbranch(builder.icmp_signed("<", following[0], last), inside, after)
    builder.position_at_end(after)
    results = []
    for start, value in zip(carried, following[1:], strict=True):
        result = builder.phi(value.type)
        result.add_incoming(start, entry)
        result.add_incoming(value, end)
        results.append(result)
    return results


def _times(builder: Any, address: Any, size: int) -> Any:
    return builder.mul(address, _number(_WORD, size))


# What the numba loops below call. Numbers that choose an instruction are literals.


@intrinsic(prefer_literal=True)
def _load(_context: Any, address: Any, index: Any, bits: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Return the signed integer of `bits` bits at an index, int64."""

    def generate(_code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        offset = _times(builder, given[1], bits.literal_value // 8)
        return _resized(builder, _read(builder, given[0], offset, _kind(bits.literal_value), bits.literal_value // 8), _WORD)

    return types.int64(types.int64, types.int64, bits), generate


@intrinsic(prefer_literal=True)
def _store(_context: Any, value: Any, address: Any, index: Any, bits: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Write the low `bits` bits of an int64 at an index."""

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        size = bits.literal_value // 8
        _write(builder, _resized(builder, given[0], _kind(bits.literal_value)), given[1], _times(builder, given[2], size), size)
        return code.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, bits), generate


@intrinsic
def _prefetch(_context: Any, address: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Ask for the cache line at an address, which need not exist."""

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        number = ir.IntType(32)
        place = ir.IntType(8).as_pointer()
        hint = builder.module.declare_intrinsic("llvm.prefetch", (place,), ir.FunctionType(ir.VoidType(), [place] + [number] * 3))
        # To be read, kept in all levels, data.
        builder.call(hint, [builder.inttoptr(given[0], place), number(0), number(3), number(1)])
        return code.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic(prefer_literal=True)
def _add_rows(
    _context: Any, weights: Any, stride: Any, ids: Any, values: Any, count: Any, acc: Any,  # noqa: ARG001
    columns: Any, weight: Any, width: Any, graded: Any,
) -> Any:  # fmt: skip
    """Add rows of `columns` weights to as many accumulators, which stay in registers until all rows are added.

    At most 256 rows of binary 8-bit weights: they are added in 16 bits. A pair of bytes is taken as one word, whose upper byte is found
    by one shift; the lower bytes' sum is what the words' sum holds beyond the upper bytes'. (Sign bits are turned, so that bytes are 0 to
    255.) That is one operation less than widening each, and none crosses the halves of a register.
    """
    lanes, narrow, wide = columns.literal_value, weight.literal_value, width.literal_value
    pairs = narrow == 8 and not graded.literal_value
    partial = 16 if pairs else wide

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        weights, stride, ids, values, count, acc = given[:6]
        rows = _kind(narrow, lanes)
        half = _kind(16, lanes // 2)

        def one(k: Any, sums: list[Any]) -> list[Any]:
            at = builder.sext(_read(builder, ids, _times(builder, k, 4), _kind(32), 4), _WORD)
            row = _read(builder, weights, builder.mul(at, stride), rows)
            if pairs:
                words = builder.bitcast(builder.xor(row, _number(rows, -128)), half)
                return [builder.add(sums[0], words), builder.add(sums[1], builder.lshr(words, _number(half, 8)))]
            row = _resized(builder, row, _kind(partial, lanes))
            if graded.literal_value:
                value = _resized(builder, _read(builder, values, _times(builder, k, 4), _kind(32), 4), _kind(partial))
                row = builder.mul(row, _spread(builder, value, lanes))
            return [builder.add(sums[0], row)]

        def body(k: Any, sums: list[Any]) -> list[Any]:
            return one(builder.add(k, _number(_WORD, 1)), one(k, sums))

        zero = [_number(half, 0)] * 2 if pairs else [_number(_kind(partial, lanes), 0)]
        even = builder.and_(count, _number(_WORD, -2))
        sums = _loop(builder, _number(_WORD, 0), even, 2, zero, body)
        sums = _loop(builder, even, count, 1, sums, one)
        if pairs:
            turned = _spread(builder, builder.trunc(builder.mul(count, _number(_WORD, 128)), _kind(16)), lanes // 2)
            lower = builder.sub(sums[0], builder.shl(sums[1], _number(half, 8)))
            order = [k // 2 + lanes // 2 * (k % 2) for k in range(lanes)]
            total = builder.shuffle_vector(
                builder.sub(lower, turned), builder.sub(sums[1], turned), ir.Constant(ir.VectorType(ir.IntType(32), lanes), order)
            )
        else:
            total = sums[0]
        kind = _kind(wide, lanes)
        old = _read(builder, acc, 0, kind, wide // 8)
        _write(builder, builder.add(old, _resized(builder, total, kind)), acc, 0, wide // 8)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 6, columns, weight, width, graded), generate


@intrinsic(prefer_literal=True)
def _add_run(
    _context: Any, weights: Any, value: Any, length: Any, acc: Any, weight: Any, width: Any, graded: Any  # noqa: ARG001
) -> Any:
    """Add a run of weights, a multiple of 16, to accumulators side by side."""
    narrow, wide = weight.literal_value, width.literal_value

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        weights, value, length, acc = given[:4]
        kind = _kind(wide, 16)
        factor = _spread(builder, _resized(builder, value, _kind(wide)), 16) if graded.literal_value else None

        def body(k: Any, _carried: list[Any]) -> list[Any]:
            row = _resized(builder, _read(builder, weights, _times(builder, k, narrow // 8), _kind(narrow, 16)), kind)
            if factor is not None:
                row = builder.mul(row, factor)
            offset = _times(builder, k, wide // 8)
            _write(builder, builder.add(_read(builder, acc, offset, kind, wide // 8), row), acc, offset, wide // 8)
            return []

        _loop(builder, _number(_WORD, 0), length, 16, [], body)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 4, weight, width, graded), generate


@intrinsic(prefer_literal=True)
def _add_list(
    _context: Any, indices: Any, weights: Any, value: Any, count: Any, acc: Any, index: Any, weight: Any, width: Any, graded: Any  # noqa: ARG001
) -> Any:
    """Add weights to accumulators anywhere."""
    far, narrow, wide = index.literal_value, weight.literal_value, width.literal_value

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        indices, weights, value, count, acc = given[:5]
        kind = _kind(wide)
        factor = _resized(builder, value, kind) if graded.literal_value else None

        def one(k: Any, _carried: list[Any]) -> list[Any]:
            target = builder.zext(_read(builder, indices, _times(builder, k, far // 8), _kind(far), far // 8), _WORD)
            row = _resized(builder, _read(builder, weights, _times(builder, k, narrow // 8), _kind(narrow), narrow // 8), kind)
            if factor is not None:
                row = builder.mul(row, factor)
            offset = _times(builder, target, wide // 8)
            _write(builder, builder.add(_read(builder, acc, offset, kind, wide // 8), row), acc, offset, wide // 8)
            return []

        def body(k: Any, carried: list[Any]) -> list[Any]:
            for j in range(4):
                one(builder.add(k, _number(_WORD, j)), carried)
            return []

        whole = builder.and_(count, _number(_WORD, -4))
        _loop(builder, _number(_WORD, 0), whole, 4, [], body)
        _loop(builder, whole, count, 1, [], one)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 5, index, weight, width, graded), generate


@intrinsic(prefer_literal=True)
def _fold_segment(
    _context: Any, acc: Any, dendrite: Any, length: Any, left: Any, right: Any, spare: Any, add: Any, width: Any  # noqa: ARG001
) -> Any:
    """Put `length` accumulators into as many numbers of the dendrite; `spare` bits of 64 are cut off before and after the shift."""
    wide = width.literal_value

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        acc, dendrite, length, left, right, spare, add = given[:7]
        inner = 64 if wide == 64 else 32
        keep = builder.sext(builder.icmp_signed("!=", add, _number(_WORD, 0)), _kind(32))

        def some(lanes: int) -> Callable[[Any, list[Any]], list[Any]]:
            held = _kind(inner, lanes)
            up, down, cut = (_spread(builder, _resized(builder, value, _kind(inner)), lanes) for value in (left, right, spare))
            mask = _spread(builder, keep, lanes)

            def body(k: Any, _carried: list[Any]) -> list[Any]:
                value = _resized(builder, _read(builder, acc, _times(builder, k, wide // 8), _kind(wide, lanes), wide // 8), held)
                if wide == 64:
                    value = builder.ashr(builder.shl(value, cut), cut)
                    value = builder.ashr(builder.shl(value, up), down)
                    value = builder.ashr(builder.shl(value, cut), cut)
                else:
                    value = builder.shl(value, up)
                value = _resized(builder, value, _kind(32, lanes))
                offset = _times(builder, k, 4)
                old = builder.and_(_read(builder, dendrite, offset, _kind(32, lanes), 4), mask)
                _write(builder, builder.add(old, value), dendrite, offset, 4)
                return []

            return body

        whole = builder.and_(length, _number(_WORD, -16))
        _loop(builder, _number(_WORD, 0), whole, 16, [], some(16))
        _loop(builder, whole, length, 1, [], some(1))
        return code.get_dummy_value()

    return types.void(*[types.int64] * 7, width), generate


@intrinsic
def _clear(_context: Any, address: Any, size: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Set bytes to 0."""

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        byte = ir.IntType(8)
        place = byte.as_pointer()
        fill = builder.module.declare_intrinsic(
            "llvm.memset", (place, _WORD), ir.FunctionType(ir.VoidType(), [place, byte, _WORD, ir.IntType(1)])
        )
        builder.call(fill, [builder.inttoptr(given[0], place), byte(0), given[1], ir.IntType(1)(0)])
        return code.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@intrinsic(prefer_literal=True)
def _mask(_context: Any, address: Any, bits: Any, lanes: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Return a number whose bit k says that the k-th of `lanes` integers at an address, at most 63, is not 0."""

    def generate(_code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        kind = _kind(bits.literal_value, lanes.literal_value)
        set_ = builder.icmp_unsigned("!=", _read(builder, given[0], 0, kind, bits.literal_value // 8), _number(kind, 0))
        return builder.zext(builder.bitcast(set_, _kind(lanes.literal_value)), _WORD)

    return types.int64(types.int64, bits, lanes), generate


@intrinsic
def _lowest(_context: Any, mask: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Return the number of a mask's lowest set bit; the mask is not 0."""
    return types.int64(types.int64), lambda _code, builder, _signature, given: builder.cttz(given[0], ir.IntType(1)(1))


# Routines. Factories close over numbers only, so that numba finds on disk what an earlier process compiled.


def _matrix(weight: int, acc: int, graded: int) -> Native:
    """Make the routine for rows of a matrix."""

    @native(ACCUMULATE)
    def matrix(descriptor, ids, values, count, target):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
        weights = _load(descriptor, 0, 64)
        stride = _load(descriptor, 1, 64)
        columns = _load(descriptor, 2, 64)
        for first in range(0, count, _CHUNK):
            rows = min(count - first, _CHUNK)
            column = 0
            while column + 128 <= columns:
                _add_rows(
                    weights + column * weight // 8, stride, ids + 4 * first, values + 4 * first, rows, target + column * acc // 8,
                    128, weight, acc, graded,
                )  # fmt: skip
                column += 128
            while column < columns:
                _add_rows(
                    weights + column * weight // 8, stride, ids + 4 * first, values + 4 * first, rows, target + column * acc // 8,
                    32, weight, acc, graded,
                )  # fmt: skip
                column += 32

    return matrix


def _runs(weight: int, acc: int, graded: int) -> Native:
    """Make the routine for runs of weights."""

    @native(ACCUMULATE)
    def runs(descriptor, ids, values, count, target):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
        weights = _load(descriptor, 0, 64)
        base = _load(descriptor, 1, 64)
        sets = _load(descriptor, 2, 64)
        pointer = _load(descriptor, 3, 64)
        offset = _load(descriptor, 4, 64)
        start = _load(descriptor, 5, 64)
        length = _load(descriptor, 6, 64)
        for k in range(count):
            source = _load(ids, k, 32)
            at = _load(base, source, 32)
            if at < 0:
                continue
            value = _load(values, k, 32) if graded else 1
            own = _load(sets, source, 32)
            for run in range(_load(pointer, own, 32), _load(pointer, own + 1, 32)):
                _add_run(
                    weights + _load(start, run, 64) * weight // 8, value, _load(length, run, 32),
                    target + (at + _load(offset, run, 32)) * acc // 8, weight, acc, graded,
                )  # fmt: skip

    return runs


def _lists(weight: int, index: int, acc: int, graded: int) -> Native:
    """Make the routine for lists of synapses."""

    @native(ACCUMULATE)
    def lists(descriptor, ids, values, count, target):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
        pointer = _load(descriptor, 0, 64)
        indices = _load(descriptor, 1, 64)
        weights = _load(descriptor, 2, 64)
        for k in range(count):
            source = _load(ids, k, 32)
            first = _load(pointer, source, 64)
            value = _load(values, k, 32) if graded else 1
            _add_list(
                indices + first * index // 8, weights + first * weight // 8, value, _load(pointer, source + 1, 64) - first, target,
                index, weight, acc, graded,
            )  # fmt: skip

    return lists


_WIDTHS = [(weight, acc, graded) for weight in (8, 16, 32) for acc in (32, 64) for graded in (0, 1)]
_ROUTINES: dict[tuple[str, int, int, int, bool], Native] = {
    **{("matrix", weight, 0, acc, bool(graded)): _matrix(weight, acc, graded) for weight, acc, graded in _WIDTHS},
    **{("runs", weight, 0, acc, bool(graded)): _runs(weight, acc, graded) for weight, acc, graded in [*_WIDTHS, (8, 16, 0)]},
    **{
        ("lists", weight, index, acc, bool(graded)): _lists(weight, index, acc, graded)
        for index in (16, 32)
        for weight, acc, graded in [*_WIDTHS, (8, 16, 0)]
    },
}


def routine(kind: str, weight: int, index: int, acc: int, graded: bool) -> Native:
    """Return a routine that adds the weights of sources that spiked to accumulators.

    It takes five int64 (`ACCUMULATE`): the address of a descriptor, int64 words; of the sources' numbers, int32; of their payloads, int32,
    not read where `graded` is false; how many spiked; and the address of the accumulators. Products and sums are modulo 2^`acc`.

    The descriptor of each kind:
        matrix: address of the weights, bytes from a source's row to the next, columns (a multiple of 32).
            acc[c] += weights[id][c] value for every column c.
        runs: addresses of the weights; of `base` (int32 by source: elements into acc, -1 where the source does nothing); of `set` (int32
            by source); of `pointer` (int32, one more than there are sets: set s has the runs pointer[s] to pointer[s + 1] - 1); and by run,
            of `offset` (int32, elements into acc relative to the base), `start` (int64, the first weight) and `length` (int32, a multiple
            of 16). acc[base + offset + k] += weights[start + k] value for every k below the length.
        lists: addresses of `pointer` (int64, one more than there are sources), of the indices (unsigned) and of the weights.
            acc[index[s]] += weights[s] value for s from pointer[id] to pointer[id + 1] - 1.

    Args:
        kind: "matrix", "runs" or "lists".
        weight: bits of a weight, 8, 16 or 32, signed.
        index: bits of an index, 16 or 32, for lists; else 0.
        acc: bits of an accumulator, 32 or 64; or 16 for runs and lists of binary 8-bit weights, where the caller sees to it that no sum
            leaves 16 bits.
        graded: whether spikes carry payloads; else each counts as 1.

    Raises:
        ValueError: there is no such routine.
    """
    found = _ROUTINES.get((kind, weight, index, acc, graded))
    if found is None:
        raise ValueError(f"no routine for {kind} of {weight}-bit weights, {index}-bit indices, {acc}-bit accumulators, graded={graded}")
    return found


def _fold(acc: int) -> Native:
    """Make a fold."""

    @native(FOLD)
    def fold(target, dendrite, segments, count, elements, shift, bits, add):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
        left, right = max(shift, 0), max(-shift, 0)
        spare = (64 - bits) & 63
        for k in range(count):
            _fold_segment(
                target + _load(segments, 3 * k, 64) * acc // 8, dendrite + 4 * _load(segments, 3 * k + 1, 64),
                _load(segments, 3 * k + 2, 64), left, right, spare, add, acc,
            )  # fmt: skip
        _clear(target, elements * acc // 8)

    return fold


_FOLDS = {acc: _fold(acc) for acc in (16, 32, 64)}


def fold(acc: int) -> Native:
    """Return the function that moves accumulators into the dendrite and clears them.

    It takes eight int64 (`FOLD`): the addresses of the accumulators, of the dendrite (int32), and of segments (int64 triples: from, to,
    length); the number of segments; the number of accumulators, all of which are set to 0; a shift s, a number of bits b, and whether
    to add to the dendrite (1) or to overwrite it (0). For every k of a segment, dendrite[to + k] becomes, or grows by,
    hold(hold(acc[from + k]) 2^s), rounded down, modulo 2^32; hold takes the low b bits as a number in two's complement, all of them for 0.

    Args:
        acc: bits of an accumulator: 64, with s from -63 to 63; or 16 or 32, with b = 0 and s from 0 to 31.

    Raises:
        ValueError: there is no such function.
    """
    found = _FOLDS.get(acc)
    if found is None:
        raise ValueError(f"no fold of {acc}-bit accumulators")
    return found


@native(FIND)
def find_bytes(sent, n, ids, values, count):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """List what was sent: addresses of n bytes, of ids and values (int32, written; values may be 0: not wanted), of their count (int64).

    Ids ascend. There is room for n ids; what lies behind the last one found is undefined.
    """
    found = 0
    whole = n & -32
    for first in range(0, whole, 32):
        mask = _mask(sent + first, 8, 32)
        while mask != 0:
            k = first + _lowest(mask)
            mask &= mask - 1
            _store(k, ids, found, 32)
            if values != 0:
                _store(_load(sent, k, 8) & 255, values, found, 32)
            found += 1
    for k in range(whole, n):
        if _load(sent, k, 8) != 0:
            _store(k, ids, found, 32)
            if values != 0:
                _store(_load(sent, k, 8) & 255, values, found, 32)
            found += 1
    _store(found, count, 0, 64)


@native(FIND)
def find_words(sent, n, ids, values, count):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """As `find_bytes`, for n int32."""
    found = 0
    whole = n & -32
    for first in range(0, whole, 32):
        mask = _mask(sent + 4 * first, 32, 32)
        while mask != 0:
            k = first + _lowest(mask)
            mask &= mask - 1
            _store(k, ids, found, 32)
            if values != 0:
                _store(_load(sent, k, 32), values, found, 32)
            found += 1
    for k in range(whole, n):
        if _load(sent, k, 32) != 0:
            _store(k, ids, found, 32)
            if values != 0:
                _store(_load(sent, k, 32), values, found, 32)
            found += 1
    _store(found, count, 0, 64)
