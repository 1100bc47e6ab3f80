"""Compiled inner loops of the emulator, called by address: spikes into accumulators, accumulators into dendrites, payloads into events.

Where a loop's speed depends on what stays in registers it is written as LLVM instructions on vectors, which LLVM splits into whatever the
machine has; the loops around it are numba's. A routine is compiled for its widths when its address is first asked for. Numbers are
little-endian, as on all machines that numba compiles for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from nmap.compiled import Native, native
from nmap.instructions import WORD, broadcast, constant, emit_loop, kind_of, load, store
from nmap.pointers import instructions, types

__all__ = ["ACCUMULATE", "FIND", "FOLD", "find_bytes", "find_words", "fold", "product", "product_room", "product_sources", "routine"]

ACCUMULATE = "void(int64, int64, int64, int64, int64)"
"""Signature of an accumulating routine; see `routine`."""
FOLD = "void(int64, int64, int64, int64, int64, int64, int64, int64)"
"""Signature of a fold; see `fold`."""
FIND = "void(int64, int64, int64, int64, int64)"
"""Signature of a finder of spikes; see `find_bytes`."""

_LIST = 8
"""Synapses of a block of a list."""
_QUEUE = 256
"""Room for blocks that wait to be added."""
_QUEUED = 8
"""Blocks that are queued at a time."""
_COMING = 24
"""Blocks that are on their way into the fastest cache."""
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
_FOUR = 4
"""Rows of a product that share a table of all their sums."""
_WIDE = 64
"""Columns of such a table."""
_PITCH = 2 * _WIDE
"""Bytes of each of its 16 rows."""
_TABLES = 8
"""Tables that are used together: they fill half of the fastest cache."""


def _resized(builder: Any, value: Any, kind: Any) -> Any:
    """Return signed integers in another width."""
    have, want = (getattr(k, "element", k).width for k in (value.type, kind))
    return builder.sext(value, kind) if want > have else builder.trunc(value, kind) if want < have else value


def _times(builder: Any, value: Any, size: int) -> Any:
    return builder.mul(value, constant(value.type, size))


def _prefetch(builder: Any, address: Any) -> None:
    """Ask for the cache line at an address, which need not exist."""
    number, place = ir.IntType(32), ir.IntType(8).as_pointer()
    hint = builder.module.declare_intrinsic("llvm.prefetch", (place,), ir.FunctionType(ir.VoidType(), [place] + [number] * 3))
    # To be read, kept in all levels, data.
    builder.call(hint, [builder.inttoptr(address, place), number(0), number(3), number(1)])


# What the numba loops below call. Numbers that choose an instruction are literals.


@instructions(prefer_literal=True)
def _load(_context: Any, address: Any, index: Any, bits: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Return the signed integer of `bits` bits at an index, int64."""

    def generate(_code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        offset = _times(builder, given[1], bits.literal_value // 8)
        return _resized(builder, load(builder, given[0], offset, kind_of(bits.literal_value), bits.literal_value // 8), WORD)

    return types.int64(types.int64, types.int64, bits), generate


@instructions(prefer_literal=True)
def _store(_context: Any, value: Any, address: Any, index: Any, bits: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Write the low `bits` bits of an int64 at an index."""

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        size = bits.literal_value // 8
        store(builder, _resized(builder, given[0], kind_of(bits.literal_value)), given[1], _times(builder, given[2], size), size)
        return code.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, bits), generate


@instructions(prefer_literal=True)
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
        rows = kind_of(narrow, lanes)
        half = kind_of(16, lanes // 2)

        def number(address: Any, k: Any) -> Any:
            return load(builder, address, _times(builder, k, 4), kind_of(32), 4)

        def place(k: Any) -> Any:
            return builder.add(weights, builder.mul(builder.sext(number(ids, k), WORD), stride))

        def one(k: Any, sums: list[Any]) -> list[Any]:
            row = load(builder, place(k), 0, rows)
            if pairs:
                words = builder.bitcast(builder.xor(row, constant(rows, -128)), half)
                return [builder.add(sums[0], words), builder.add(sums[1], builder.lshr(words, constant(half, 8)))]
            row = _resized(builder, row, kind_of(partial, lanes))
            if graded.literal_value:
                row = builder.mul(row, broadcast(builder, _resized(builder, number(values, k), kind_of(partial)), lanes))
            return [builder.add(sums[0], row)]

        def two(k: Any, sums: list[Any]) -> list[Any]:
            return one(builder.add(k, constant(WORD, 1)), one(k, sums))

        def after(shift: Any, column: int) -> Callable[[Any, list[Any]], list[Any]]:
            """Return `one` that prefetches the row `shift` places on, `column` columns on."""

            def body(k: Any, sums: list[Any]) -> list[Any]:
                coming = place(builder.add(k, shift))
                for byte in range(0, lanes * narrow // 8, 64):
                    _prefetch(builder, builder.add(coming, constant(WORD, column * narrow // 8 + byte)))
                return one(k, sums)

            return body

        sums = [constant(half, 0)] * 2 if pairs else [constant(kind_of(partial, lanes), 0)]
        none = constant(WORD, 0)
        if lanes > _COLUMNS:
            ahead = constant(WORD, _AHEAD)
            ahead = builder.select(builder.icmp_signed("<", count, ahead), count, ahead)
            most = builder.sub(count, ahead)
            sums = emit_loop(builder, none, most, 1, sums, after(ahead, 0))
            # The last rows prefetch the first ones of the next columns.
            sums = emit_loop(builder, most, count, 1, sums, after(builder.neg(most), lanes))
        else:
            even = builder.and_(count, constant(WORD, -2))
            sums = emit_loop(builder, none, even, 2, sums, two)
            sums = emit_loop(builder, even, count, 1, sums, one)
        if pairs:
            turned = broadcast(builder, builder.trunc(builder.mul(count, constant(WORD, 128)), kind_of(16)), lanes // 2)
            lower = builder.sub(sums[0], builder.shl(sums[1], constant(half, 8)))
            order = [k // 2 + lanes // 2 * (k % 2) for k in range(lanes)]
            total = builder.shuffle_vector(
                builder.sub(lower, turned), builder.sub(sums[1], turned), ir.Constant(ir.VectorType(ir.IntType(32), lanes), order)
            )
        else:
            total = sums[0]
        kind = kind_of(wide, lanes)
        old = load(builder, acc, 0, kind, wide // 8)
        store(builder, builder.add(old, _resized(builder, total, kind)), acc, 0, wide // 8)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 6, columns, weight, width, graded), generate


@instructions(prefer_literal=True)
def _add_run(
    _context: Any, weights: Any, value: Any, length: Any, acc: Any, weight: Any, width: Any, graded: Any  # noqa: ARG001
) -> Any:
    """Add a run of weights, a multiple of 16, to accumulators side by side.

    A jump into instructions for each short length takes the place of a loop, whose end the processor may not expect.
    """
    narrow, wide = weight.literal_value, width.literal_value

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        weights, value, length, acc = given[:4]
        factor = _resized(builder, value, kind_of(wide)) if graded.literal_value else None

        def some(lanes: int) -> Callable[[Any, list[Any]], list[Any]]:
            kind = kind_of(wide, lanes)

            def body(k: Any, _carried: list[Any]) -> list[Any]:
                row = _resized(builder, load(builder, weights, _times(builder, k, narrow // 8), kind_of(narrow, lanes)), kind)
                if factor is not None:
                    row = builder.mul(row, broadcast(builder, factor, lanes))
                offset = _times(builder, k, wide // 8)
                store(builder, builder.add(load(builder, acc, offset, kind, wide // 8), row), acc, offset, wide // 8)
                return []

            return body

        after, longer = builder.append_basic_block(), builder.append_basic_block()
        pieces = [builder.append_basic_block() for _ in range(_LANES, _RUN, _LANES)]
        choice = builder.switch(builder.udiv(length, constant(WORD, _LANES)), longer)
        for k, piece in enumerate(pieces):
            choice.add_case(constant(WORD, k + 1), piece)
            builder.position_at_end(piece)
            some(_LANES)(constant(WORD, _LANES * k), [])
            builder.branch(pieces[k - 1] if k else after)
        builder.position_at_end(longer)
        whole = builder.and_(length, constant(WORD, -_RUN // 2))
        emit_loop(builder, constant(WORD, 0), whole, _RUN // 2, [], some(_RUN // 2))
        emit_loop(builder, whole, length, _LANES, [], some(_LANES))
        builder.branch(after)
        builder.position_at_end(after)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 4, weight, width, graded), generate


@instructions(prefer_literal=True)
def _room(_context: Any, size: Any) -> Any:
    """Return the address of some bytes of the caller's stack."""

    def generate(_code: Any, builder: Any, _signature: Any, _given: Any) -> Any:
        with builder.goto_entry_block():
            room = builder.alloca(ir.ArrayType(ir.IntType(8), size.literal_value))
        room.align = 64
        return builder.ptrtoint(room, WORD)

    return types.int64(size), generate


@instructions(prefer_literal=True)
def _spread_words(_context: Any, first: Any, step: Any, address: Any, count: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Write first, first + step, first + 2 step and so on, `count` int64."""
    lanes = count.literal_value

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        steps = builder.mul(broadcast(builder, given[1], lanes), ir.Constant(kind_of(64, lanes), list(range(lanes))))
        store(builder, builder.add(broadcast(builder, given[0], lanes), steps), given[2], 0, 8)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 3, count), generate


@instructions(prefer_literal=True)
def _copy_words(_context: Any, source: Any, target: Any, count: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Copy `count` int64 to where none of them lies."""

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        store(builder, load(builder, given[0], 0, kind_of(64, count.literal_value), 8), given[1], 0, 8)
        return code.get_dummy_value()

    return types.void(types.int64, types.int64, count), generate


@instructions(prefer_literal=True)
def _add_blocks(
    _context: Any, queue: Any, count: Any, acc: Any, index: Any, weight: Any, width: Any, graded: Any  # noqa: ARG001
) -> Any:
    """Add `count` blocks of eight synapses, whose addresses are queued, to accumulators anywhere, and prefetch blocks on their way.

    The queue goes on behind the last block: with the address of one that exists, and two more that are not used.

    A read may have to wait for a write whose address ends in the same bits. So there are few reads, of whole words, and they come early: a
    block's address three blocks before it is added and its words, where they are few enough for the registers, one block before.
    """
    far, narrow, wide = index.literal_value, weight.literal_value, width.literal_value
    held = far + narrow == 24

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        queue, count, acc = given[:3]
        kind = kind_of(wide)

        def queued(k: Any, ahead: int, first: int = 0) -> Any:
            return load(builder, builder.add(queue, constant(WORD, 8 * (ahead + first))), _times(builder, k, 8), WORD, 8)

        def words(block: Any) -> list[Any]:
            return [load(builder, block, 8 * k, WORD) for k in range((far + narrow) * _LIST // 64)]

        def part(words: list[Any], place: int, bits: int) -> Any:
            """Return a word, its lowest so many bits those of a block from a place on, its sign that of the highest."""
            word = words[place // 64]
            return builder.ashr(builder.shl(word, constant(WORD, 64 - bits - place % 64)), constant(WORD, 64 - bits))

        def target(words: list[Any], k: int) -> Any:
            word = builder.lshr(words[k * far // 64], constant(WORD, k * far % 64))
            return builder.and_(word, constant(WORD, (1 << far) - 1))

        def one(k: Any, carried: list[Any]) -> list[Any]:
            early = queued(k, 3)
            _prefetch(builder, queued(k, _COMING))
            now = carried[2:] if held else words(carried[2])
            following = words(carried[0]) if held else [carried[0]]
            factor = _resized(builder, queued(k, 0, _QUEUE), kind) if graded.literal_value else None
            for j in range(_LIST):
                change = _resized(builder, part(now, _LIST * far + j * narrow, narrow), kind)
                if factor is not None:
                    change = builder.mul(change, factor)
                offset = _times(builder, target(now, j), wide // 8)
                store(builder, builder.add(load(builder, acc, offset, kind, wide // 8), change), acc, offset, wide // 8)
            return [carried[1], early, *following]

        zero = constant(WORD, 0)
        first = queued(zero, 0)
        emit_loop(builder, zero, count, 1, [queued(zero, 1), queued(zero, 2), *(words(first) if held else [first])], one)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 3, index, weight, width, graded), generate


@instructions
def _tabulate(_context: Any, weights: Any, stride: Any, last: Any, table: Any, columns: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Write all sums of four rows of bytes but the empty one, 16 bits each: row m of the table is the sum of those that m's bits name.

    Rows behind the `last` one are not read.
    """

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        weights, stride, last, table, columns = given
        places = []
        for k in range(_FOUR):
            row = constant(WORD, k)
            row = builder.select(builder.icmp_signed("<", row, last), row, last)
            places.append(builder.add(weights, builder.mul(row, stride)))
            ahead = builder.add(places[-1], _times(builder, stride, _FOUR * _TABLES))
            _prefetch(builder, ahead)
        half = kind_of(16, _LANES)

        def body(column: Any, _carried: list[Any]) -> list[Any]:
            rows = [builder.sext(load(builder, place, column, kind_of(8, _LANES)), half) for place in places]
            sums: dict[int, Any] = {}
            for k, row in enumerate(rows):
                sums |= {1 << k: row, **{m | 1 << k: builder.add(total, row) for m, total in sums.items()}}
            into = builder.add(table, _times(builder, column, 2))
            for m, total in sums.items():
                store(builder, total, into, _PITCH * m, 2)
            return []

        emit_loop(builder, constant(WORD, 0), columns, _LANES, [], body)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


@instructions
def _name_rows(_context: Any, marks: Any, count: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Put in place of each four bytes, 0 or 1, where the table's row of their sum begins, 16 bits; there are a multiple of 8 fours.

    What is written lies before what is still to be read.
    """

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        kind = kind_of(32, _TABLES)
        # Moves bit 8 k to bit 24 + k for k from 0 to 3; what else it makes lies below bit 24, or beyond the word.
        gather = 1 << 24 | 1 << 17 | 1 << 10 | 1 << 3
        scale = 24 - (_PITCH.bit_length() - 1)

        def body(k: Any, _carried: list[Any]) -> list[Any]:
            fours = load(builder, given[0], _times(builder, k, 4), kind)
            place = builder.lshr(builder.mul(fours, constant(kind, gather)), constant(kind, scale))
            place = builder.and_(place, constant(kind, 15 * _PITCH))
            store(builder, builder.trunc(place, kind_of(16, _TABLES)), given[0], _times(builder, k, 2), 2)
            return []

        emit_loop(builder, constant(WORD, 0), given[1], _TABLES, [], body)
        return code.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@instructions(prefer_literal=True)
def _add_sums(
    _context: Any, tables: Any, marks: Any, width: Any, steps: Any, partial: Any, columns: Any  # noqa: ARG001
) -> Any:
    """Add to each step's sums, 16 bits, the row of each table that its marks name; see `_name_rows`."""
    lanes = columns.literal_value

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        tables, marks, width, steps, partial = given[:5]
        half = kind_of(16, _LANES)

        def body(step: Any, _carried: list[Any]) -> list[Any]:
            into, named = builder.add(partial, _times(builder, step, _PITCH)), builder.add(marks, builder.mul(step, width))
            sums = [load(builder, into, 2 * column, half, 2) for column in range(0, lanes, _LANES)]
            for k in range(_TABLES):
                row = builder.add(tables, builder.zext(load(builder, named, 2 * k, kind_of(16), 2), WORD))
                sums = [
                    builder.add(total, load(builder, row, 16 * _PITCH * k + 2 * _LANES * at, half, 2)) for at, total in enumerate(sums)
                ]
            for at, total in enumerate(sums):
                store(builder, total, into, 2 * _LANES * at, 2)
            return []

        emit_loop(builder, constant(WORD, 0), steps, 1, [], body)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 5, columns), generate


@instructions
def _widen(
    _context: Any, partial: Any, steps: Any, sums: Any, width: Any, keep: Any, columns: Any  # noqa: ARG001
) -> Any:
    """Put each step's sums of 16 bits into those of 32 bits, of which `keep`, 0 or -1, says which bits stay."""

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        partial, steps, sums, width, keep, columns = given
        kind = kind_of(32, _LANES)
        kept = broadcast(builder, builder.trunc(keep, kind_of(32)), _LANES)

        def body(step: Any, _carried: list[Any]) -> list[Any]:
            given, into = builder.add(partial, _times(builder, step, _PITCH)), builder.add(sums, builder.mul(step, width))

            def some(column: Any, _carried: list[Any]) -> list[Any]:
                more = builder.sext(load(builder, given, _times(builder, column, 2), kind_of(16, _LANES), 2), kind)
                place = _times(builder, column, 4)
                store(builder, builder.add(builder.and_(load(builder, into, place, kind, 4), kept), more), into, place, 4)
                return []

            return emit_loop(builder, constant(WORD, 0), columns, _LANES, [], some)

        emit_loop(builder, constant(WORD, 0), steps, 1, [], body)
        return code.get_dummy_value()

    return types.void(*[types.int64] * 6), generate


@instructions
def _ask(_context: Any, address: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Prefetch the cache line at an address."""

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        _prefetch(builder, given[0])
        return code.get_dummy_value()

    return types.void(types.int64), generate


@instructions(prefer_literal=True)
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
            held, kind = kind_of(inner, lanes), kind_of(wide, lanes)
            up, down, cut = (broadcast(builder, _resized(builder, value, kind_of(inner)), lanes) for value in (left, right, spare))
            kept = broadcast(builder, _resized(builder, keep, kind_of(wide)), lanes)

            def body(k: Any, _carried: list[Any]) -> list[Any]:
                place = _times(builder, k, wide // 8)
                raw = load(builder, acc, place, kind, wide // 8)
                store(builder, builder.and_(raw, kept), acc, place, wide // 8)
                value = _resized(builder, raw, held)
                if wide == 64:
                    value = builder.ashr(builder.shl(value, cut), cut)
                    value = builder.ashr(builder.shl(value, up), down)
                    value = builder.ashr(builder.shl(value, cut), cut)
                else:
                    value = builder.shl(value, up)
                value = _resized(builder, value, kind_of(32, lanes))
                offset = _times(builder, k, 4)
                if add.literal_value:
                    value = builder.add(load(builder, dendrite, offset, kind_of(32, lanes), 4), value)
                store(builder, value, dendrite, offset, 4)
                return []

            return body

        whole = builder.and_(length, constant(WORD, -32))
        emit_loop(builder, constant(WORD, 0), whole, 32, [], some(32))
        emit_loop(builder, whole, length, 1, [], some(1))
        return code.get_dummy_value()

    return types.void(*[types.int64] * 7, add, width), generate


@instructions
def _clear(_context: Any, address: Any, size: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Set bytes to 0."""

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        byte = ir.IntType(8)
        place = byte.as_pointer()
        fill = builder.module.declare_intrinsic(
            "llvm.memset", (place, WORD), ir.FunctionType(ir.VoidType(), [place, byte, WORD, ir.IntType(1)])
        )
        builder.call(fill, [builder.inttoptr(given[0], place), byte(0), given[1], ir.IntType(1)(0)])
        return code.get_dummy_value()

    return types.void(types.int64, types.int64), generate


@instructions(prefer_literal=True)
def _mask(_context: Any, address: Any, bits: Any, lanes: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Return a number whose bit k says that the k-th of `lanes` integers at an address, at most 63, is not 0."""

    def generate(_code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        kind = kind_of(bits.literal_value, lanes.literal_value)
        set_ = builder.icmp_unsigned("!=", load(builder, given[0], 0, kind, bits.literal_value // 8), constant(kind, 0))
        return builder.zext(builder.bitcast(set_, kind_of(lanes.literal_value)), WORD)

    return types.int64(types.int64, bits, lanes), generate


@instructions
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

    size = (index + weight) * _LIST // 8
    room = (1 + graded) * 8 * _QUEUE

    @native(ACCUMULATE)
    def lists(descriptor, ids, values, count, target):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
        pointer = _load(descriptor, 0, 64)
        blocks = _load(descriptor, 1, 64)
        # All lists' blocks are queued and then added in one loop: one for each list would end where the processor does not expect it.
        queue = _room(room)
        waiting = 0
        for k in range(count):
            _ask(pointer + 4 * _load(ids, min(k + 2 * _EARLY, count - 1), 32))
            source = _load(ids, k, 32)
            first = blocks + _load(pointer, source, 32) * size
            last = blocks + _load(pointer, source + 1, 32) * size
            while first < last:
                _spread_words(first, size, queue + 8 * waiting, _QUEUED)
                if graded:
                    _spread_words(_load(values, k, 32), 0, queue + 8 * (_QUEUE + waiting), _QUEUED)
                waiting += min((last - first) // size, _QUEUED)
                first += _QUEUED * size
                if waiting > _QUEUE - _QUEUED - _COMING:
                    # What is left is on its way into the fastest cache while more is queued.
                    waiting -= _COMING
                    _add_blocks(queue, waiting, target, index, weight, acc, graded)
                    _copy_words(queue + 8 * waiting, queue, _COMING)
                    if graded:
                        _copy_words(queue + 8 * (_QUEUE + waiting), queue + 8 * _QUEUE, _COMING)
                    waiting = _COMING
        if waiting > 0:
            _spread_words(blocks, 0, queue + 8 * waiting, _COMING)
            _add_blocks(queue, waiting, target, index, weight, acc, graded)

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
        lists: addresses of `pointer` (int32, one more than there are sources) and of blocks, which hold eight indices (unsigned) and then
            their eight weights. acc[index] += weight value for all synapses of the blocks from pointer[id] to pointer[id + 1] - 1; see
            `nmap.emulate.parts.list_blocks`.
    Nothing beyond these is read or written. Rows of weights and accumulators that begin at multiples of 64 bytes are added up to 1.4 times
    as fast as others, since no vector then lies in two cache lines.

    Args:
        kind: "matrix", "runs", "rows" or "lists".
        weight: bits of a weight, 8, 16 or 32, signed.
        index: bits of an index, 16 or 32, for lists; else 0.
        acc: bits of an accumulator, 32 or 64; or 16 for runs, rows and lists of binary 8-bit weights, where the caller sees to it that no
            sum leaves 16 bits.
        graded: whether spikes carry payloads; else each counts as 1.

    Raises:
        ValueError: there is no such routine.
    """
    found = _ROUTINES.get((kind, weight, index, acc, graded))
    if found is None:
        raise ValueError(f"no routine for {kind} of {weight}-bit weights, {index}-bit indices, {acc}-bit accumulators, graded={graded}")
    return found


@native(ACCUMULATE)
def product(descriptor, marks, steps, sums, room):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Multiply binary spikes of several steps with a matrix of bytes: sums[t][c] becomes the sum of marks[t][k] weights[k][c] over k.

    Its arguments, addresses but for `steps`:
        descriptor: int64 words: address of the weights, bytes from a source's row to the next, columns (a multiple of 32), sources.
        marks: (steps, `product_sources`) bytes, 0 or 1, 0 behind the last source; they are overwritten.
        sums: (steps, columns) int32, written.
        room: `product_room` bytes to work in, all 0 when they are first used.
    Exact: at most 256 rows are added in 16 bits. All sums of four rows are made first, so that each step adds one row in place of four,
    whichever of them are active.
    """
    weights = _load(descriptor, 0, 64)
    stride = _load(descriptor, 1, 64)
    columns = _load(descriptor, 2, 64)
    sources = _load(descriptor, 3, 64)
    width = (sources + _FOUR * _TABLES - 1) // (_FOUR * _TABLES) * 2 * _TABLES
    _name_rows(marks, steps * width // 2)
    partial = room + 16 * _PITCH * _TABLES
    for column in range(0, columns, _WIDE):
        some = min(_WIDE, columns - column)
        for begin in range(0, sources, _CHUNK):
            _clear(partial, steps * _PITCH)
            for first in range(begin, min(begin + _CHUNK, sources), _FOUR * _TABLES):
                for k in range(min(_TABLES, (sources - first + _FOUR - 1) // _FOUR)):
                    row = first + _FOUR * k
                    _tabulate(weights + row * stride + column, stride, sources - 1 - row, room + 16 * _PITCH * k, some)
                if some == _WIDE:
                    _add_sums(room, marks + 2 * first // _FOUR, width, steps, partial, _WIDE)
                else:
                    _add_sums(room, marks + 2 * first // _FOUR, width, steps, partial, _COLUMNS)
            _widen(partial, steps, sums + 4 * column, 4 * columns, 0 if begin == 0 else -1, some)


def product_sources(sources: int) -> int:
    """Return the number of marks that `product` wants of a step: that of the sources, rounded up."""
    return -(-sources // (_FOUR * _TABLES)) * _FOUR * _TABLES


def product_room(steps: int) -> int:
    """Return the bytes that `product` needs to work in."""
    return 16 * _PITCH * _TABLES + steps * _PITCH


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
