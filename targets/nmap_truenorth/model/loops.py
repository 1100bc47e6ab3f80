"""The compiled loop of the emulator of model files: ticks, cores, axons, neurons. It knows tables of addresses only.

A tick reads and clears one of 16 slots of each core's axons, a bit per axon. Rows of the crossbar are turned into masks, 16 neurons at a
time, and select weights; the sums of 128 neurons (of 64 where numbers are wide) stay in registers until all active axons are through, and
the neurons' own step follows on the same registers. A core without an active axon whose last tick without one changed nothing is skipped.

A core whose constants fit 16 bits keeps its potentials in 16 bits as long as their size, known from the last tick, and the most that this
tick's axons can add prove that nothing leaves them. Such a core takes a quarter of the instructions.

Some cores at a time go through three passes: their active axons are listed, the cores are computed, their spikes are sent. What a pass
reads at random places the one before it has asked for: crossbar rows, then routes, then places in slots.

Threads own cores. Each thread writes the spikes of its neurons into slots of its own; who owns a core reads all threads' slots. They meet
after each tick.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir

from nmap.compiled import compiled, native
from nmap.instructions import WORD, broadcast, constant, emit_loop, kind_of, load, store
from nmap.pointers import atomic_add, call_native, carray, instructions, int16_at, int32_at, int64_at, types, uint8_at

__all__ = [
    "BLOCK", "CHUNK", "EPSILON", "HIGHEST", "LIMIT", "LISTED", "NARROW", "NOTHING", "RANDOM", "ROW", "SLOTS", "TABLE", "THREAD", "WIDE",
    "K", "P", "R", "run",
]  # fmt: skip

SLOTS = 16
"""Ticks that a scheduler reaches."""
BLOCK = 128
"""Neurons of a core come in multiples of this."""
CHUNK = 64
"""Cores that go through the passes together at most."""
LISTED = 256
"""Active axons that are listed before cores are computed, unless the last core has more."""
NARROW, WIDE, EPSILON, RANDOM, NOTHING = range(5)
"""Kinds of cores: all numbers fit 16 bits; 32 bits; some leaks follow the potential's sign; random numbers; no neuron is enabled."""
LIMIT = 1 << 19
"""Potentials of 20 bits are below this, and not below its negative."""

HIGHEST = (1 << 15) - 1
"""The highest number of 16 bits."""

_SMALL = 1 << 12
"""Potentials below this are put back into 16 bits."""
_LANES = 16
_PATIENCE = 100
"""Looks at a counter before other threads of the machine are let run."""
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class _Table(NamedTuple):
    """The table that all threads share; addresses unless said otherwise."""

    CORES: int
    """A number."""
    TEAM: int
    """Threads, a number."""
    AXONS: int
    """Axons of a core, a number."""
    NEURONS: int
    """Neurons of a core, a number."""
    PITCH: int
    """Neurons of a core with what fills the last block, a number."""
    WORDS: int
    """Words of 64 axons of a core, a number."""
    STRIDE: int
    """Bytes of a crossbar's row, a number."""
    CROSSBAR: int
    """(cores, axons, STRIDE) uint8, `np.packbits` order."""
    TYPES: int
    """(cores, axons) uint8."""
    KINDS: int
    """(cores,) uint8: `NARROW` and so on."""
    ROWS: int
    """(cores, 11) int64: addresses of rows of a core, see `_Row`."""
    LARGEST: int
    """(cores,) int64, of narrow cores: the size of the largest weight, at least 1."""
    MARGIN: int
    """(cores,) int64, of narrow cores: what a tick can add to a potential's size beside the weights."""
    SIZES: int
    """(cores,) int64, of narrow cores: the potentials' size at most where they are in 16 bits, else -1."""
    SMALL: int
    """(cores, PITCH) int16: potentials where SIZES is not negative."""
    POTENTIALS: int
    """(cores, PITCH) int32: potentials of all other cores."""
    ROUTES: int
    """(cores, PITCH) int64: 16 times the number of the target's bit in a slot, and the delay; `NOWHERE` or `OFF_CHIP`."""
    IDS: int
    """(cores,) int64."""
    KEYS: int
    """(cores,) int64: where a core's random numbers start."""
    SCHEDULE: int
    """(TEAM, 16, cores, WORDS) int64."""
    IDLE: int
    """(cores,) uint8: a tick without an active axon changes nothing."""
    OUTSIDE: int
    """(cores,) int64: ticks in which a potential left 20 bits."""
    BOUNDED: int
    """Whether potentials are to stay inside 20 bits, a number."""
    EVERY: int
    """Whether all spikes are recorded, a number."""
    ARRIVED: int
    """Arrivals at meetings so far, counted."""
    STOP: int
    """Set to 1 where the team is to end."""
    FULL: int
    """The last tick after which some thread's record had no room for another, a number."""
    YIELD: int
    """The system's function that lets other threads run, or 0."""


class _Thread(NamedTuple):
    """The table of each thread; addresses unless said otherwise."""

    FIRST: int
    """First core, a number."""
    LAST: int
    """One more than the last core, a number."""
    INPUT_TICKS: int
    """(inputs,) int64, in order: ticks in which input spikes are seen."""
    INPUT_PLACES: int
    """(inputs,) int64: their bits' numbers in a slot."""
    INPUTS: int
    """How many, a number."""
    NEXT: int
    """The next input, a number."""
    RECORD: int
    """(ROOM, 3) int32: tick, core's id, neuron."""
    ROOM: int
    """A number."""
    MOST: int
    """Rows that a tick can add, a number."""
    KEPT: int
    """Rows of the record in use, a number."""
    LIST: int
    """(LISTED + axons, 2) int64: the address of an active axon's crossbar row, and its number; then the address of its weights."""
    COUNTS: int
    """(CHUNK,) int64: active axons of each core."""
    FIRED: int
    """(PITCH / 64,) int64: a bit for each neuron of a core that fires."""
    SENDERS: int
    """(CHUNK * PITCH,) int64: neurons that fire, 2^16 times the core and the neuron; then their routes."""
    BEFORE: int
    """(PITCH / 2,) int64: potentials before the tick."""
    WRITTEN: int
    """Spikes written into slots, a number."""
    READ: int
    """Bits read from slots, a number."""
    MEETINGS: int
    """How many there were, a number."""


class _Row(NamedTuple):
    """Rows of a core that is not random, (PITCH,) int16 where it is narrow, else int32; `W` and the next three are weights by axon type."""

    W: int
    W1: int
    W2: int
    W3: int
    LEAK: int
    ALPHA: int
    LINEAR: int
    """-1 where a spike leaves V and adds `FIRED`, 0 where V becomes `FIRED`."""
    FIRED: int
    LOWEST: int
    """Potentials below this one meet the floor."""
    KEEP: int
    """-1 where the floor leaves V and adds `RAISED`, 0 where V becomes `RAISED`."""
    RAISED: int
    EPSILON: int
    """-1 where the leak follows the potential's sign, else 0; of cores of kind `EPSILON` alone."""


class _Random(NamedTuple):
    """Rows of a random core, (neurons,) int32 one after another; `W` and `B` are four each, by axon type."""

    ENABLED: int
    LEAK: int
    ALPHA: int
    LOWEST: int
    BETA: int
    GAMMA: int
    KAPPA: int
    RESET: int
    EPSILON: int
    C: int
    M: int
    W: int
    W1: int
    W2: int
    W3: int
    B: int
    B1: int
    B2: int
    B3: int


def _columns(kind: type[Any]) -> Any:
    return kind(*range(len(kind._fields)))


K: _Table = _columns(_Table)
P: _Thread = _columns(_Thread)
ROW: _Row = _columns(_Row)
R: _Random = _columns(_Random)
TABLE, THREAD = len(K), len(P)
_ROWS = len(ROW)


def _masked(builder: Any, row: Any, weights: Any, sums: list[Any], width: int) -> list[Any]:
    """Add the weights that a crossbar's row selects to sums of 16 neurons each."""
    size = width // 8
    # Bit 7 of a row's first byte is the first neuron.
    bits = ir.Constant(kind_of(16, _LANES), [1 << (k ^ 7) for k in range(_LANES)])
    added = []
    for v, total in enumerate(sums):
        marks = load(builder, row, v * _LANES // 8, kind_of(16), 1)
        chosen = builder.icmp_unsigned("!=", builder.and_(broadcast(builder, marks, _LANES), bits), constant(bits.type, 0))
        weight = load(builder, weights, v * _LANES * size, total.type, 2 * _LANES)
        added.append(builder.add(total, builder.select(chosen, weight, constant(total.type, 0))))
    return added


class _Neurons:
    """Emits the step of 16 neurons whose constants are rows of numbers of `width` bits, computed in the potentials' width."""

    def __init__(self, builder: Any, rows: Any, width: int, kind: Any) -> None:
        self.builder, self.width, self.kind = builder, width, kind
        count = ROW.EPSILON - ROW.LEAK + 1
        self.starts = [load(builder, rows, 8 * (ROW.LEAK + index), WORD, 8) for index in range(count)]

    def row(self, index: int, first: Any) -> Any:
        """Return 16 numbers of a row, from neuron `first` on."""
        offset = self.builder.mul(first, constant(WORD, self.width // 8))
        values = load(self.builder, self.starts[index - ROW.LEAK], offset, kind_of(self.width, _LANES), self.width // 4)
        return values if values.type == self.kind else self.builder.sext(values, self.kind)

    def leaked(self, v: Any, first: Any, reversal: bool) -> Any:
        """Return potentials after the leak."""
        b, leak = self.builder, self.row(ROW.LEAK, first)
        plain = b.add(v, leak)
        if not reversal:
            return plain
        none = constant(v.type, 0)
        side = b.ashr(v, constant(v.type, 31))
        # The leak acts on the size of V, which ends at 0.
        size = b.add(b.sub(b.xor(v, side), side), leak)
        rings = b.and_(b.icmp_signed("<", leak, none), b.icmp_signed("<", size, none))
        size = b.select(b.or_(rings, b.icmp_signed("==", v, none)), none, size)
        return b.select(b.icmp_signed("!=", self.row(ROW.EPSILON, first), none), b.sub(b.xor(size, side), side), plain)

    def stepped(self, v: Any, first: Any) -> tuple[Any, Any]:
        """Return which neurons fire, and potentials afterwards."""
        b = self.builder
        fires = b.icmp_signed(">=", v, self.row(ROW.ALPHA, first))
        below = b.icmp_signed("<", v, self.row(ROW.LOWEST, first))
        raised = b.add(b.and_(v, self.row(ROW.KEEP, first)), self.row(ROW.RAISED, first))
        fired = b.add(b.and_(v, self.row(ROW.LINEAR, first)), self.row(ROW.FIRED, first))
        return fires, b.select(fires, fired, b.select(below, raised, v))


@instructions(prefer_literal=True)
def _core(
    _context: Any, axons: Any, count: Any, neurons: Any, potentials: Any, rows: Any, fired: Any,  # noqa: ARG001 - numba's signature
    width: Any, held: Any, step: Any, reversal: Any,
) -> Any:  # fmt: skip
    """Add the weights of `count` active axons to potentials; where `step`, advance all neurons and write which fire.

    Constants have `width` bits, potentials `held`. Returns of potentials of 32 bits, after the synapses and after the leak, the bits that
    are set when they are moved up by 2^19: none above bit 19 where all are inside 20 bits. Of potentials of 16 bits, after the tick,
    something that none is larger than, but for one.
    """
    size, bits = width.literal_value, held.literal_value
    vectors = (BLOCK if size == 16 else BLOCK // 2) // _LANES

    def generate(_code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        axons, count, neurons, potentials, rows, fired = given[:6]
        kind = kind_of(bits, _LANES)
        emit = _Neurons(builder, rows, size, kind)

        def block(first: Any, carried: list[Any]) -> list[Any]:
            marks, shift = builder.lshr(first, constant(WORD, 3)), builder.mul(first, constant(WORD, size // 8))

            def axon(k: Any, sums: list[Any]) -> list[Any]:
                entry = builder.add(axons, builder.mul(k, constant(WORD, 16)))
                row = builder.add(load(builder, entry, 0, WORD, 8), marks)
                weights = builder.add(load(builder, entry, 8, WORD, 8), shift)
                return _masked(builder, row, weights, sums, size)

            sums = emit_loop(builder, constant(WORD, 0), count, 1, [constant(kind_of(size, _LANES), 0)] * vectors, axon)
            seen = carried[0]
            for v, total in enumerate(sums):
                here = builder.add(first, constant(WORD, v * _LANES))
                place = builder.add(potentials, builder.mul(here, constant(WORD, bits // 8)))
                value = builder.add(load(builder, place, 0, kind, bits // 4), total if size == bits else builder.sext(total, kind))
                if step.literal_value:
                    synapses, value = value, emit.leaked(value, here, bool(reversal.literal_value))
                    leaked = value
                    fires, value = emit.stepped(value, here)
                    if bits == 32:
                        middle = constant(kind, LIMIT)
                        seen = builder.or_(seen, builder.or_(builder.add(synapses, middle), builder.add(leaked, middle)))
                    else:
                        seen = builder.or_(seen, builder.xor(value, builder.ashr(value, constant(kind, bits - 1))))
                    mark = builder.add(fired, builder.lshr(here, constant(WORD, 3)))
                    store(builder, builder.bitcast(fires, kind_of(_LANES)), mark, 0, 2)
                store(builder, value, place, 0, bits // 4)
            return [seen]

        seen = emit_loop(builder, constant(WORD, 0), neurons, vectors * _LANES, [constant(kind, 0)], block)[0]
        for half in (8, 4, 2, 1):
            places = ir.VectorType(ir.IntType(32), half)
            lower, upper = (
                builder.shuffle_vector(seen, ir.Constant(seen.type, ir.Undefined), ir.Constant(places, [k + shift for k in range(half)]))
                for shift in (0, half)
            )
            seen = builder.or_(lower, upper)
        return builder.zext(builder.extract_element(seen, constant(ir.IntType(32), 0)), WORD)

    return types.int64(*[types.int64] * 6, width, held, step, reversal), generate


@instructions
def _lowest(_context: Any, mask: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Return the number of a mask's lowest set bit; the mask is not 0."""
    return types.int64(types.int64), lambda _code, builder, _signature, given: builder.cttz(given[0], ir.IntType(1)(1))


@instructions
def _ones(_context: Any, mask: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Return how many bits of a mask are set."""
    return types.int64(types.int64), lambda _code, builder, _signature, given: builder.ctpop(given[0])


@instructions
def _fetch(_context: Any, address: Any) -> Any:  # noqa: ARG001 - numba's signature
    """Ask for the cache line at an address."""

    def generate(code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        number, place = ir.IntType(32), ir.IntType(8).as_pointer()
        hint = builder.module.declare_intrinsic("llvm.prefetch", (place,), ir.FunctionType(ir.VoidType(), [place] + [number] * 3))
        # To be read, kept in all levels, data.
        builder.call(hint, [builder.inttoptr(given[0], place), number(0), number(3), number(1)])
        return code.get_dummy_value()

    return types.void(types.int64), generate


# The loops around them.


@compiled()
def _at(table, index):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    return carray(int64_at(table + 8 * index), 1)[0]


@compiled()
def _draw(key, number):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return a random number of 32 bits: the upper half of the output of SplitMix64 with this number, from 0, started at a key."""
    z = np.uint64(key) + np.uint64(number + 1) * _GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(32))


@compiled()
def _sign(x):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    return 1 if x > 0 else -1 if x < 0 else 0


@compiled()
def _random_core(table, core, axons, count, potentials, rows_at, fired, key, tick):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance a core with random numbers by a tick; return whether a potential left 20 bits. See `nmap_truenorth.model.engine`."""
    neurons, width = _at(table, K.NEURONS), _at(table, K.AXONS)
    kinds = carray(uint8_at(_at(table, K.TYPES) + core * width), width)
    listed = carray(int64_at(axons), (count, 2))
    rows = carray(int32_at(rows_at), (len(R), neurons))
    potential, fires = carray(int32_at(potentials), neurons), carray(uint8_at(fired), (neurons + 7) // 8)
    fires[:] = 0
    outside = False
    for j in range(neurons):
        if rows[R.ENABLED, j] == 0:
            continue
        drawn = (tick * neurons + j) * (width + 2)
        total = np.int64(potential[j])
        for k in range(count):
            row = listed[k, 0]
            if carray(uint8_at(row + j // 8), 1)[0] >> (7 - j % 8) & 1:
                axon = listed[k, 1]
                weight = np.int64(rows[R.W + kinds[axon], j])
                if rows[R.B + kinds[axon], j] != 0:
                    weight = np.int64(_sign(weight) if abs(weight) >= _draw(key, drawn + axon) >> 24 else 0)
                total += weight
        v = np.int64(np.int32(total))
        leak = np.int64(rows[R.LEAK, j])
        moved = leak
        if rows[R.C, j] != 0:
            moved = np.int64(_sign(leak) if abs(leak) >= _draw(key, drawn + width) >> 24 else 0)
        if rows[R.EPSILON, j] != 0:
            moved = v + _sign(v) * moved
            if leak < 0 and _sign(moved) != _sign(v):
                moved = np.int64(0)
        else:
            moved = v + moved
        moved = np.int64(np.int32(moved))
        outside |= bool(v < -LIMIT or v >= LIMIT or moved < -LIMIT or moved >= LIMIT)
        mask = np.int64(rows[R.M, j])
        eta = _draw(key, drawn + width + 1) & mask if mask != 0 else 0
        gamma, alpha = rows[R.GAMMA, j], np.int64(rows[R.ALPHA, j])
        if moved >= alpha + eta:
            fires[j // 8] |= np.uint8(1 << j % 8)
            if gamma == 0:
                moved = np.int64(rows[R.RESET, j])
            elif gamma == 1:
                moved -= alpha + eta
            else:
                moved = min(moved, alpha + mask)
        else:
            held = rows[R.KAPPA, j] != 0
            raised = 0 if held else eta
            if moved < rows[R.LOWEST, j] - raised:
                if held:
                    moved = -np.int64(rows[R.BETA, j])
                elif gamma == 0:
                    moved = -np.int64(rows[R.RESET, j])
                elif gamma == 1:
                    moved += rows[R.BETA, j] + eta
        potential[j] = np.int32(moved)
    return outside


@compiled()
def _gather(table, own, core, slot, axons):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Read and clear a core's slot of all threads; list its active axons and return how many."""
    words, team, cores = _at(table, K.WORDS), _at(table, K.TEAM), _at(table, K.CORES)
    width, stride = _at(table, K.AXONS), _at(table, K.STRIDE)
    crossbar, kinds = _at(table, K.CROSSBAR) + core * width * stride, _at(table, K.TYPES) + core * width
    schedule = _at(table, K.SCHEDULE) + 8 * words * (cores * slot + core)
    listed = carray(int64_at(axons), (width, 2))
    count = 0
    for w in range(0, words, 2):
        lower, upper = np.int64(0), np.int64(0)
        second = np.int64(w + 1 < words)
        for member in range(team):
            at = schedule + 8 * (words * cores * SLOTS * member + w)
            first, other = carray(int64_at(at), 1), carray(int64_at(at + 8 * second), 1)
            lower |= first[0]
            upper |= other[0] if second else 0
            # What another thread writes is left alone where it holds nothing: a line has one owner at a time.
            if team == 1 or (first[0] | other[0]) != 0:
                first[0] = 0
                other[0] = 0
        # One loop over both words: how often it runs is all that a processor has to guess.
        for _ in range(_ones(lower) + _ones(upper)):
            here = lower if lower != 0 else upper
            axon = 64 * w + _lowest(here) + (0 if lower != 0 else 64)
            upper = upper if lower != 0 else upper & (upper - 1)
            lower &= lower - 1
            row = crossbar + axon * stride
            for line in range(0, stride, 64):
                _fetch(row + line)
            _fetch(kinds + axon)
            listed[count, 0], listed[count, 1] = row, axon
            count += 1
    carray(int64_at(own + 8 * P.READ), 1)[0] += count
    return count


@compiled()
def _narrow(table, core, axons, count, rows, fired):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Run a narrow core's tick, in 16 bits where they are proved to suffice; return what `_core` does of 32 bits, 0 of 16."""
    pitch = _at(table, K.PITCH)
    largest = carray(int64_at(_at(table, K.LARGEST) + 8 * core), 1)[0]
    margin = carray(int64_at(_at(table, K.MARGIN) + 8 * core), 1)[0]
    size = carray(int64_at(_at(table, K.SIZES) + 8 * core), 1)
    small_at, potentials = _at(table, K.SMALL) + 2 * pitch * core, _at(table, K.POTENTIALS) + 4 * pitch * core
    if size[0] >= 0 and size[0] + largest * count + margin <= HIGHEST:
        size[0] = 1 + _core(axons, count, pitch, small_at, rows, fired, 16, 16, 1, 0)
        return 0
    small, potential = carray(int16_at(small_at), pitch), carray(int32_at(potentials), pitch)
    if size[0] >= 0:
        size[0] = -1
        for j in range(pitch):
            potential[j] = small[j]
    piece = HIGHEST // largest
    while count > piece:
        _core(axons, piece, pitch, potentials, rows, fired, 16, 32, 0, 0)
        axons += 16 * piece
        count -= piece
    seen = _core(axons, count, pitch, potentials, rows, fired, 16, 32, 1, 0)
    lowest, highest = np.int32(0), np.int32(0)
    for j in range(pitch):
        lowest, highest = min(lowest, potential[j]), max(highest, potential[j])
    if lowest >= -_SMALL and highest < _SMALL:
        size[0] = _SMALL
        for j in range(pitch):
            small[j] = np.int16(potential[j])
    return seen


@compiled()
def _held(table, core, kind):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return where a core's potentials are, and how many words of 64 bits they take."""
    pitch = _at(table, K.PITCH)
    if kind == NARROW and carray(int64_at(_at(table, K.SIZES) + 8 * core), 1)[0] >= 0:
        return _at(table, K.SMALL) + 2 * pitch * core, pitch // 4
    return _at(table, K.POTENTIALS) + 4 * pitch * core, pitch // 2


@compiled()
def _advance(table, own, core, axons, count, senders, tick):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Run a core's tick, list the neurons that fire and ask for their routes; return how many they are."""
    kind = carray(uint8_at(_at(table, K.KINDS) + core), 1)[0]
    idle = carray(uint8_at(_at(table, K.IDLE) + core), 1)
    if kind == NOTHING or (count == 0 and idle[0] != 0):
        return 0
    pitch, fired = _at(table, K.PITCH), _at(own, P.FIRED)
    potentials = _at(table, K.POTENTIALS) + 4 * pitch * core
    rows = _at(table, K.ROWS) + 8 * _ROWS * core
    held, words = _held(table, core, kind)
    if count == 0:
        before, current = carray(int64_at(_at(own, P.BEFORE)), words), carray(int64_at(held), words)
        for k in range(words):
            before[k] = current[k]
    if kind == RANDOM:
        key = carray(int64_at(_at(table, K.KEYS) + 8 * core), 1)[0]
        outside = _random_core(table, core, axons, count, potentials, _at(rows, 0), fired, key, tick)
    else:
        listed, types_at = carray(int64_at(axons), (count, 2)), _at(table, K.TYPES) + _at(table, K.AXONS) * core
        for k in range(count):
            listed[k, 1] = _at(rows, carray(uint8_at(types_at + listed[k, 1]), 1)[0])
        if kind == NARROW:
            seen = _narrow(table, core, axons, count, rows, fired)
        elif kind == WIDE:
            seen = _core(axons, count, pitch, potentials, rows, fired, 32, 32, 1, 0)
        else:
            seen = _core(axons, count, pitch, potentials, rows, fired, 32, 32, 1, 1)
        outside = seen >= 2 * LIMIT
    if outside and _at(table, K.BOUNDED) != 0:
        carray(int64_at(_at(table, K.OUTSIDE) + 8 * core), 1)[0] += 1
    many, routes = 0, _at(table, K.ROUTES) + 8 * pitch * core
    words_fired, listed = carray(int64_at(fired), pitch // 64), carray(int64_at(senders), pitch)
    for w in range(0, pitch // 64, 2):
        lower, upper = words_fired[w], words_fired[w + 1]
        for _ in range(_ones(lower) + _ones(upper)):
            here = lower if lower != 0 else upper
            j = 64 * w + _lowest(here) + (0 if lower != 0 else 64)
            upper = upper if lower != 0 else upper & (upper - 1)
            lower &= lower - 1
            _fetch(routes + 8 * j)
            listed[many] = core << 16 | j
            many += 1
    still = np.uint8(0)
    if count == 0 and many == 0 and kind != RANDOM and not outside and _held(table, core, kind)[0] == held:
        kept, after = carray(int64_at(_at(own, P.BEFORE)), words), carray(int64_at(held), words)
        changed = np.int64(0)
        for k in range(words):
            changed |= kept[k] ^ after[k]
        still = np.uint8(changed == 0)
    idle[0] = still
    return many


@compiled()
def _send(table, own, thread, many, tick):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Write the spikes of the neurons listed into their slots and the record."""
    pitch, every = _at(table, K.PITCH), _at(table, K.EVERY) != 0
    space = _at(table, K.WORDS) * _at(table, K.CORES)
    schedule_at = _at(table, K.SCHEDULE) + 8 * space * SLOTS * thread
    schedule = carray(int64_at(schedule_at), space * SLOTS)
    listed, routes = carray(int64_at(_at(own, P.SENDERS)), many), _at(table, K.ROUTES)
    record = carray(int32_at(_at(own, P.RECORD)), (_at(own, P.ROOM), 3))
    ids = _at(table, K.IDS)
    kept, sent = _at(own, P.KEPT), 0
    for k in range(many):
        core, j = listed[k] >> 16, listed[k] & 65535
        route = _at(routes, core * pitch + j)
        if every or route == -2:
            record[kept, 0], record[kept, 1], record[kept, 2] = tick, _at(ids, core), j
            kept += 1
        if route >= 0:
            # No further than the neurons read.
            listed[sent] = route
            sent += 1
            _fetch(schedule_at + 8 * (space * ((tick + (route & 15)) & 15) + (route >> 10)))
    for k in range(sent):
        route = listed[k]
        schedule[space * ((tick + (route & 15)) & 15) + (route >> 10)] |= 1 << (route >> 4 & 63)
    carray(int64_at(own + 8 * P.KEPT), 1)[0] = kept
    carray(int64_at(own + 8 * P.WRITTEN), 1)[0] += sent


@compiled()
def _meet(table, own):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Wait for all threads; return whether the team goes on."""
    team = _at(table, K.TEAM)
    meetings = carray(int64_at(own + 8 * P.MEETINGS), 1)
    meetings[0] += 1
    if team == 1:
        return True
    atomic_add(table + 8 * K.ARRIVED, 1)
    looks = 0
    while atomic_add(table + 8 * K.ARRIVED, 0) < team * meetings[0]:
        if atomic_add(table + 8 * K.STOP, 0) != 0:
            return False
        looks += 1
        if looks > _PATIENCE and _at(table, K.YIELD) != 0:
            call_native(_at(table, K.YIELD), ())
    return True


@native("int64(int64, int64, int64, int64, int64)")
def run(table, own, thread, tick, last):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Run ticks until `last` or until a record is full; return the next tick, -1 where the team was told to end.

    Arguments: the addresses of the tables (`_Table`, `_Thread`), this thread's number, the first tick, one more than the last.
    """
    first, end, room, most = _at(own, P.FIRST), _at(own, P.LAST), _at(own, P.ROOM), _at(own, P.MOST)
    space = _at(table, K.WORDS) * _at(table, K.CORES)
    lists, counts, senders = _at(own, P.LIST), carray(int64_at(_at(own, P.COUNTS)), CHUNK), _at(own, P.SENDERS)
    inputs = _at(own, P.INPUTS)
    ticks, places = carray(int64_at(_at(own, P.INPUT_TICKS)), inputs), carray(int64_at(_at(own, P.INPUT_PLACES)), inputs)
    while tick < last:
        slot = tick & 15
        arriving = carray(int64_at(_at(table, K.SCHEDULE) + 8 * space * (SLOTS * thread + slot)), space)
        k = _at(own, P.NEXT)
        begun = k
        while k < inputs and ticks[k] == tick:
            arriving[places[k] >> 6] |= 1 << (places[k] & 63)
            k += 1
        carray(int64_at(own + 8 * P.NEXT), 1)[0] = k
        carray(int64_at(own + 8 * P.WRITTEN), 1)[0] += k - begun
        core = first
        while core < end:
            listed, cores = 0, 0
            while core + cores < end and cores < CHUNK and listed < LISTED:
                counts[cores] = _gather(table, own, core + cores, slot, lists + 16 * listed)
                listed += counts[cores]
                cores += 1
            listed, many = 0, 0
            for k in range(cores):
                many += _advance(table, own, core + k, lists + 16 * listed, counts[k], senders + 8 * many, tick)
                listed += counts[k]
            _send(table, own, thread, many, tick)
            core += cores
        if _at(own, P.KEPT) + most > room:
            carray(int64_at(table + 8 * K.FULL), 1)[0] = tick
        if not _meet(table, own):
            return -1
        full = atomic_add(table + 8 * K.FULL, 0) == tick
        tick += 1
        if full:
            break
    return tick
