"""Compiled inner loops of the emulator, called by address: spikes into accumulators, accumulators into dendrites, payloads into events.

Where a loop's speed depends on what stays in registers it is written as LLVM instructions on vectors, which LLVM splits into whatever the
machine has; the loops around it are numba's. A routine is compiled for its widths when its address is first asked for. Numbers are
little-endian, as on all machines that numba compiles for.

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
_LIST = 8
"""Synapses of a list that are added at a time."""
_LANES = 16
"""Lengths of runs come in multiples of this."""
_RUN = 128
"""Shorter runs have their own instructions."""
_SHARED = 3
"""Runs of a source from which on its weights are taken to be in the cache."""
_EARLY = 4
"""Sources between the stages in which runs that are not are brought there."""
_COLUMNS = 32
"""Columns of a matrix come in multiples of this."""
_AHEAD = 8
"""Rows of a matrix that are on their way into the fastest cache."""
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


def _times(builder: Any, value: Any, size: int) -> Any:
    return builder.mul(value, _number(value.type, size))


def _prefetch(builder: Any, address: Any) -> None:
    """Ask for the cache line at an address, which need not exist."""
    number, place = ir.IntType(32), ir.IntType(8).as_pointer()
    hint = builder.module.declare_intrinsic("llvm.prefetch", (place,), ir.FunctionType(ir.VoidType(), [place] + [number] * 3))
    # To be read, kept in all levels, data.
    builder.call(hint, [builder.inttoptr(address, place), number(0), number(3), number(1)])


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


@intrinsic(prefer_literal=True)
def _add_rows(
    _context: Any, weights: Any, stride: Any, ids: Any, values: Any, count: Any, acc: Any,  # noqa: ARG001
    columns: Any, weight: Any, width: Any, graded: Any,
) -> Any:  # fmt: skip
    """Add rows of `columns` weights to as many accumulators, which stay in registers until all rows are added.

    At most 256 rows of binary 8-bit weights: they are added in 16 bits. A pair of bytes is taken as one word, whose upper byte is found
    by one shift; the lower bytes' sum is what the words' sum holds beyond the upper bytes'. (Sign bits are turned, so that bytes are 0 to
    255.) No operation crosses the halves of a register, as widening does, which takes a processor twice as long.
    """
    lanes, narrow, wide = columns.literal_value, weight.literal_value, width.literal_value
    pairs = narrow == 8 and not graded.literal_value
    partial = 16 if pairs else wide

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        weights, stride, ids, values, count, acc = given[:6]
        rows = _kind(narrow, lanes)
        half = _kind(16, lanes // 2)

        def number(address: Any, k: Any) -> Any:
            return _read(builder, address, _times(builder, k, 4), _kind(32), 4)

        def place(k: Any) -> Any:
            return builder.add(weights, builder.mul(builder.sext(number(ids, k), _WORD), stride))

        def one(k: Any, sums: list[Any]) -> list[Any]:
            row = _read(builder, place(k), 0, rows)
            if pairs:
                words = builder.bitcast(builder.xor(row, _number(rows, -128)), half)
                return [builder.add(sums[0], words), builder.add(sums[1], builder.lshr(words, _number(half, 8)))]
            row = _resized(builder, row, _kind(partial, lanes))
            if graded.literal_value:
                row = builder.mul(row, _spread(builder, _resized(builder, number(values, k), _kind(partial)), lanes))
            return [builder.add(sums[0], row)]

        def two(k: Any, sums: list[Any]) -> list[Any]:
            return one(builder.add(k, _number(_WORD, 1)), one(k, sums))

        def after(shift: Any, column: int) -> Callable[[Any, list[Any]], list[Any]]:
            """Return `one` that prefetches the row `shift` places on, `column` columns on."""

            def body(k: Any, sums: list[Any]) -> list[Any]:
                coming = place(builder.add(k, shift))
                for byte in range(0, lanes * narrow // 8, 64):
                    _prefetch(builder, builder.add(coming, _number(_WORD, column * narrow // 8 + byte)))
                return one(k, sums)

            return body

        sums = [_number(half, 0)] * 2 if pairs else [_number(_kind(partial, lanes), 0)]
        none = _number(_WORD, 0)
        if lanes > _COLUMNS:
            ahead = _number(_WORD, _AHEAD)
            ahead = builder.select(builder.icmp_signed("<", count, ahead), count, ahead)
            most = builder.sub(count, ahead)
            sums = _loop(builder, none, most, 1, sums, after(ahead, 0))
            # The last rows prefetch the first ones of the next columns.
            sums = _loop(builder, most, count, 1, sums, after(builder.neg(most), lanes))
        else:
            even = builder.and_(count, _number(_WORD, -2))
            sums = _loop(builder, none, even, 2, sums, two)
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
    """Add a run of weights, a multiple of 16, to accumulators side by side.

    A jump into instructions for each short length takes the place of a loop, whose end the processor may not expect.
    """
    narrow, wide = weight.literal_value, width.literal_value

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        weights, value, length, acc = given[:4]
        factor = _resized(builder, value, _kind(wide)) if graded.literal_value else None

        def some(lanes: int) -> Callable[[Any, list[Any]], list[Any]]:
            kind = _kind(wide, lanes)

            def body(k: Any, _carried: list[Any]) -> list[Any]:
                row = _resized(builder, _read(builder, weights, _times(builder, k, narrow // 8), _kind(narrow, lanes)), kind)
                if factor is not None:
                    row = builder.mul(row, _spread(builder, factor, lanes))
                offset = _times(builder, k, wide // 8)
                _write(builder, builder.add(_read(builder, acc, offset, kind, wide // 8), row), acc, offset, wide // 8)
                return []

            return body

        after, longer = builder.append_basic_block(), builder.append_basic_block()
        pieces = [builder.append_basic_block() for _ in range(_LANES, _RUN, _LANES)]
        choice = builder.switch(builder.udiv(length, _number(_WORD, _LANES)), longer)
        for k, piece in enumerate(pieces):
            choice.add_case(_number(_WORD, k + 1), piece)
            builder.position_at_end(piece)
            some(_LANES)(_number(_WORD, _LANES * k), [])
            builder.branch(pieces[k - 1] if k else after)
        builder.position_at_end(longer)
        whole = builder.and_(length, _number(_WORD, -_RUN // 2))
        _loop(builder, _number(_WORD, 0), whole, _RUN // 2, [], some(_RUN // 2))
        _loop(builder, whole, length, _LANES, [], some(_LANES))
        builder.branch(after)
        builder.position_at_end(after)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 4, weight, width, graded), generate


@intrinsic(prefer_literal=True)
def _add_list(
    _context: Any, indices: Any, weights: Any, value: Any, first: Any, last: Any, ahead: Any, acc: Any,  # noqa: ARG001
    index: Any, weight: Any, width: Any, graded: Any,
) -> Any:  # fmt: skip
    """Add the weights from `first` to `last` - 1 to accumulators anywhere, and prefetch those `ahead` places on.

    Eight at a time, their indices read as few words: a read that must wait for writes to addresses that look the same costs more than
    taking a word apart. The last eight overlap those before, with zeros for what is already added, since a loop over the rest would end
    where the processor does not expect it, once for every list.
    """
    far, narrow, wide = index.literal_value, weight.literal_value, width.literal_value

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        indices, weights, value, first, last, ahead, acc = given[:7]
        kind, row = _kind(wide), _kind(narrow, _LIST)
        factor = _resized(builder, value, kind) if graded.literal_value else None

        def number(value: int) -> Any:
            return _number(_WORD, value)

        def add(target: Any, change: Any) -> None:
            change = _resized(builder, change, kind)
            if factor is not None:
                change = builder.mul(change, factor)
            offset = _times(builder, target, wide // 8)
            _write(builder, builder.add(_read(builder, acc, offset, kind, wide // 8), change), acc, offset, wide // 8)

        def targets(k: Any) -> list[Any]:
            """Return the indices from k on."""
            found = []
            for j in range(0, _LIST, 64 // far):
                word = _read(builder, indices, _times(builder, builder.add(k, number(j)), far // 8), _WORD)
                parts = [builder.lshr(word, number(shift)) for shift in range(0, 64, far)]
                found += [builder.and_(part, number((1 << far) - 1)) for part in parts]
            return found

        def one(k: Any, _carried: list[Any]) -> list[Any]:
            target = builder.zext(_read(builder, indices, _times(builder, k, far // 8), _kind(far), far // 8), _WORD)
            add(target, _read(builder, weights, _times(builder, k, narrow // 8), _kind(narrow), narrow // 8))
            return []

        def some(k: Any, _carried: list[Any]) -> list[Any]:
            for j, target in enumerate(targets(k)):
                add(target, _read(builder, weights, _times(builder, builder.add(k, number(j)), narrow // 8), _kind(narrow), narrow // 8))
            return []

        def twice(k: Any, carried: list[Any]) -> list[Any]:
            coming = builder.add(k, ahead)
            _prefetch(builder, builder.add(indices, _times(builder, coming, far // 8)))
            _prefetch(builder, builder.add(weights, _times(builder, coming, narrow // 8)))
            return some(builder.add(k, number(_LIST)), some(k, carried))

        count = builder.sub(last, first)
        rest = builder.and_(count, number(_LIST - 1))
        whole = builder.sub(last, rest)
        pairs = builder.sub(last, builder.and_(count, number(2 * _LIST - 1)))
        _loop(builder, first, pairs, 2 * _LIST, [], twice)
        _loop(builder, pairs, whole, _LIST, [], some)
        with builder.if_then(builder.icmp_signed("!=", rest, number(0))):
            start = builder.sub(last, number(_LIST))
            with builder.if_else(builder.icmp_signed(">=", start, number(0))) as (overlapping, short):
                with overlapping:
                    added = _spread(builder, _resized(builder, builder.sub(number(_LIST), rest), _kind(narrow)), _LIST)
                    fresh = builder.icmp_signed(">=", ir.Constant(row, list(range(_LIST))), added)
                    changes = builder.select(
                        fresh, _read(builder, weights, _times(builder, start, narrow // 8), row, narrow // 8), _number(row, 0)
                    )
                    for j, target in enumerate(targets(start)):
                        add(target, builder.extract_element(changes, _number(_kind(32), j)))
                with short:
                    _loop(builder, whole, last, 1, [], one)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 7, index, weight, width, graded), generate


@intrinsic
def _ask(_context: Any, address: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Prefetch the cache line at an address."""

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        _prefetch(builder, given[0])
        return code.get_dummy_value()

    return types.void(types.int64), generate


@intrinsic(prefer_literal=True)
def _fold_segment(
    _context: Any, acc: Any, dendrite: Any, length: Any, left: Any, right: Any, spare: Any, keep: Any,  # noqa: ARG001
    add: Any, width: Any,
) -> Any:  # fmt: skip
    """Put `length` accumulators into as many numbers of the dendrite, and keep those of their bits that `keep` says.

    `spare` bits of 64 are cut off before and after the shift.
    """
    wide = width.literal_value

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        acc, dendrite, length, left, right, spare, keep = given[:7]
        inner = 64 if wide == 64 else 32

        def some(lanes: int) -> Callable[[Any, list[Any]], list[Any]]:
            held, kind = _kind(inner, lanes), _kind(wide, lanes)
            up, down, cut = (_spread(builder, _resized(builder, value, _kind(inner)), lanes) for value in (left, right, spare))
            kept = _spread(builder, _resized(builder, keep, _kind(wide)), lanes)

            def body(k: Any, _carried: list[Any]) -> list[Any]:
                place = _times(builder, k, wide // 8)
                raw = _read(builder, acc, place, kind, wide // 8)
                _write(builder, builder.and_(raw, kept), acc, place, wide // 8)
                value = _resized(builder, raw, held)
                if wide == 64:
                    value = builder.ashr(builder.shl(value, cut), cut)
                    value = builder.ashr(builder.shl(value, up), down)
                    value = builder.ashr(builder.shl(value, cut), cut)
                else:
                    value = builder.shl(value, up)
                value = _resized(builder, value, _kind(32, lanes))
                offset = _times(builder, k, 4)
                if add.literal_value:
                    value = builder.add(_read(builder, dendrite, offset, _kind(32, lanes), 4), value)
                _write(builder, value, dendrite, offset, 4)
                return []

            return body

        whole = builder.and_(length, _number(_WORD, -32))
        _loop(builder, _number(_WORD, 0), whole, 32, [], some(32))
        _loop(builder, whole, length, 1, [], some(1))
        return code.get_dummy_value()

    return types.void(*[types.int64] * 7, add, width), generate


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

    # Eight registers of 256 bits hold the sums.
    wide = 128 if weight == 8 and not graded else 2048 // acc

    @native(ACCUMULATE)
    def matrix(descriptor, ids, values, count, target):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
        weights = _load(descriptor, 0, 64)
        stride = _load(descriptor, 1, 64)
        columns = _load(descriptor, 2, 64)
        for first in range(0, count, _CHUNK):
            rows = min(count - first, _CHUNK)
            column = 0
            while column + wide <= columns:
                _add_rows(
                    weights + column * weight // 8, stride, ids + 4 * first, values + 4 * first, rows, target + column * acc // 8,
                    wide, weight, acc, graded,
                )  # fmt: skip
                column += wide
            while column < columns:
                _add_rows(
                    weights + column * weight // 8, stride, ids + 4 * first, values + 4 * first, rows, target + column * acc // 8,
                    _COLUMNS, weight, acc, graded,
                )  # fmt: skip
                column += _COLUMNS

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
        first = 0
        while first < count and _load(base, _load(ids, first, 32), 32) < 0:
            first += 1
        # Sources with many runs share them, so that weights and tables are small; others may have rows of their own, far apart.
        ahead = 0
        if first < count:
            own = _load(sets, _load(ids, first, 32), 32)
            if _load(pointer, own + 1, 32) - _load(pointer, own, 32) < _SHARED:
                ahead = _EARLY
        for k in range(first, count):
            if ahead > 0:
                coming = _load(ids, min(k + 4 * ahead, count - 1), 32)
                _ask(base + 4 * coming)
                _ask(sets + 4 * coming)
                _ask(pointer + 4 * _load(sets, _load(ids, min(k + 3 * ahead, count - 1), 32), 32))
                coming = _load(ids, min(k + 2 * ahead, count - 1), 32)
                if _load(base, coming, 32) >= 0:
                    run = _load(pointer, _load(sets, coming, 32), 32)
                    _ask(offset + 4 * run)
                    _ask(start + 8 * run)
                    _ask(length + 4 * run)
                coming = _load(ids, min(k + ahead, count - 1), 32)
                if _load(base, coming, 32) >= 0:
                    own = _load(sets, coming, 32)
                    run = _load(pointer, own, 32)
                    if run < _load(pointer, own + 1, 32):
                        row = weights + _load(start, run, 64) * weight // 8
                        for line in range(row, row + _load(length, run, 32) * weight // 8, 64):
                            _ask(line)
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


def _rows(weight: int, acc: int, graded: int) -> Native:
    """Make the routine for a row of weights per source, somewhere among the accumulators."""

    @native(ACCUMULATE)
    def rows(descriptor, ids, values, count, target):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
        weights = _load(descriptor, 0, 64)
        stride = _load(descriptor, 1, 64)
        columns = _load(descriptor, 2, 64)
        base = _load(descriptor, 3, 64)
        for k in range(count):
            # There are as many rows as sources, so that few of them are in the cache.
            _ask(base + 4 * _load(ids, min(k + 2 * _EARLY, count - 1), 32))
            coming = weights + _load(ids, min(k + _EARLY, count - 1), 32) * stride
            for line in range(coming, coming + columns * weight // 8, 64):
                _ask(line)
            source = _load(ids, k, 32)
            at = _load(base, source, 32)
            if at < 0:
                continue
            value = _load(values, k, 32) if graded else 1
            _add_run(weights + source * stride, value, columns, target + at * acc // 8, weight, acc, graded)

    return rows


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
            ahead = _load(pointer, _load(ids, min(k + 2, count - 1), 32), 64) - first
            value = _load(values, k, 32) if graded else 1
            _add_list(
                indices, weights, value, first, _load(pointer, source + 1, 64), ahead, target, index, weight, acc, graded,
            )  # fmt: skip

    return lists


_WIDTHS = [(weight, acc, graded) for weight in (8, 16, 32) for acc in (32, 64) for graded in (0, 1)]
_ROUTINES: dict[tuple[str, int, int, int, bool], Native] = {
    **{("matrix", weight, 0, acc, bool(graded)): _matrix(weight, acc, graded) for weight, acc, graded in _WIDTHS},
    **{("runs", weight, 0, acc, bool(graded)): _runs(weight, acc, graded) for weight, acc, graded in [*_WIDTHS, (8, 16, 0)]},
    **{("rows", weight, 0, acc, bool(graded)): _rows(weight, acc, graded) for weight, acc, graded in [*_WIDTHS, (8, 16, 0)]},
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
        rows: address of the weights, bytes from a source's row to the next, columns (a multiple of 16), address of `base` (int32 by source:
            elements into acc, -1 where the source does nothing). acc[base + c] += weights[id][c] value for every column c.
        lists: addresses of `pointer` (int64, one more than there are sources), of the indices (unsigned) and of the weights.
            acc[index[s]] += weights[s] value for s from pointer[id] to pointer[id + 1] - 1.
    Nothing beyond these is read or written. Rows of weights and accumulators that begin at multiples of 64 bytes are added up to 1.4 times
    as fast as others, since no vector then lies in two cache lines.

    Args:
        kind: "matrix", "runs", "rows" or "lists".
        weight: bits of a weight, 8, 16 or 32, signed.
        index: bits of an index, 16 or 32, for lists; else 0.
        acc: bits of an accumulator, 32 or 64; or 16 for runs, rows and lists of binary 8-bit weights, where the caller sees to it that no sum
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
        # Segments in order are cleared as they are read, and what lies between them too.
        end, ordered = 0, True
        for k in range(count):
            start = _load(segments, 3 * k, 64)
            ordered &= start >= end
            end = start + _load(segments, 3 * k + 2, 64)
        keep = 0 if ordered else -1
        end = 0
        for k in range(count):
            start = _load(segments, 3 * k, 64)
            into = dendrite + 4 * _load(segments, 3 * k + 1, 64)
            length = _load(segments, 3 * k + 2, 64)
            if ordered and start > end:
                _clear(target + end * acc // 8, (start - end) * acc // 8)
            end = start + length
            if add == 0:
                _fold_segment(target + start * acc // 8, into, length, left, right, spare, keep, 0, acc)
            else:
                _fold_segment(target + start * acc // 8, into, length, left, right, spare, keep, 1, acc)
        if not ordered:
            end = 0
        if elements > end:
            _clear(target + end * acc // 8, (elements - end) * acc // 8)

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
