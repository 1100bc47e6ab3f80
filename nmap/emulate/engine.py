"""Run a core program: integers, event-driven, one compiled loop over samples, components and steps.

Cores are a layout, not a loop: the program is lowered to whole populations first. Samples run one after another on each thread with the
weights in its cache; threads share all that a run does not change. Or a team of threads shares each sample, which pays for networks of
many millions of synapses on an idle machine. No result depends on the number of threads, on how many samples are handed over at a time, or
on the length of a block of steps.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import prod
from threading import Event
from typing import Any

import numpy as np

from nmap.compiled import native
from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, NmapError
from nmap.emulate.aligned import zeros
from nmap.emulate.kernel import Kernel, counters
from nmap.emulate.lower import Layout, lower
from nmap.emulate.native import find_bytes, find_words, fold, product, product_room, product_sources, routine
from nmap.emulate.parts import Accumulator, Part
from nmap.emulate.runner import DONE, FULL, TABLES, A, P, Q, S, U, run
from nmap.emulate.units import Unit, damaged
from nmap.pointers import carray, int32_at, int64_at
from nmap.program import Program
from nmap.trace import Probe, SpikeEvents, SpikeTrace

__all__ = ["Emulator", "emulate"]

_RING_BYTES = 4 << 20
"""Spikes of a block of steps stay below this at their worst, or the block is one step."""
_KEPT_EVENTS = 1 << 18
"""Recorded spikes that are handed over at a time, at least."""
_CHUNK_BYTES = 64 << 20
"""Recorded states and counts of the samples that are handed to a thread at a time stay below this, or it is one sample."""
_CHUNKS = 8
"""Chunks for each thread, so that all of them are busy to the end."""
_BUDGET = 1 << 28
"""Neurons' steps after which a thread looks whether it should stop: some tenths of a second."""
_WINDOWS = 3
"""Room for sums of several steps, in windows: they are moved once in the steps that two windows have."""
_TOGETHER = 128
"""Steps whose spikes are multiplied with a matrix at once: more gain little."""
_SUMS_BYTES = 4 << 20
"""Their sums stay below this."""
_FEW = 128
"""Of fewer sources, rows are added one by one: sums of so many steps would be larger than the weights."""
_MARK_COLUMNS = 72
"""Marking a spike costs as much as a row of so many columns."""
_NEAR, _FAR, _NEAR_BYTES = 3, 6, 1 << 19
"""Adding a weight's row against adding one to a table's sum, for weights up to so many bytes and for more: measured on a Zen 3 core, whose
cache that only it has holds 512 KiB. Products pay from 45 to 60 % activity on, and from 15 to 30 % where weights do not stay there."""
_SLACK = 64
"""Elements behind an accumulator that padded rows may add zeros to."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is recorded: spikes of units, and state variables as (unit, row)."""

    spikes: tuple[int, ...]
    states: tuple[tuple[int, int], ...]


class Emulator:
    """A program ready to be run, as often as wanted.

    Args:
        program: the program; it is not needed any more afterwards.
        kernels: the target's neuron kernels by name.
        team: threads that share a sample.

    Raises:
        NmapError: NM602, the program contradicts itself.
    """

    def __init__(self, program: Program, kernels: Mapping[str, Kernel], team: int = 1) -> None:
        if team < 1:
            raise ValueError(f"a team of {team} threads")
        if not program.inputs:
            raise damaged("it has no input port")
        self.names = [p.name for p in program.populations]
        self.outputs = [p.name for p in program.populations if p.is_output]
        self.ports = [self.names[index] for index in sorted(program.inputs)]
        self.layout = lower(program, kernels, team)
        self._descriptors = [_descriptor(part) for part in self.layout.parts]
        self._spare: tuple[Any, list[_Workspace]] = (None, [])

    def run(
        self, inputs: Array | Mapping[str, Array], steps: int, *, record: Sequence[str] | None = None, probes: Sequence[Probe] = (),
        progress: Callable[[int, int], None] | None = None, jobs: int = 1, memory_limit: int | None = None, dense: bool = True,
    ) -> SpikeTrace:
        """Run samples.

        Args:
            inputs: (samples, time, *input shape) integers by input port, or of the only one; column t is sent in chip step t, nothing
                after the last column.
            steps: chip steps to run per sample.
            record: populations whose spikes to keep; None for the outputs.
            probes: state variables (or spikes) to keep.
            progress: called with (samples done, samples).
            jobs: threads that samples are shared out to; 1 where a team shares each of them.
            memory_limit: bytes that everything the emulator holds may take; None for no limit.
            dense: whether spikes are returned as arrays; else as events.

        Returns:
            Spikes and states in chip time.

        Raises:
            NmapError: NM802, the memory limit is below what is needed.
            ValueError: inputs are not what the ports take, whole numbers of 32 bits; or the program lacks what is asked for.
        """
        if steps < 0:
            raise ValueError(f"{steps} steps")
        sent = self._sent(inputs)
        samples = next(iter(sent.values())).shape[0]
        wanted = self._wanted(record, probes)
        jobs = self._jobs(samples, jobs)
        block, chunk, jobs = self._plan(samples, steps, wanted, jobs, dense, memory_limit)
        collected = _Collected(self.layout, wanted, samples, steps, dense)
        pieces = [(start, min(start + chunk, samples)) for start in range(0, samples, chunk)]
        done = 0
        for start, stop, piece in self._pieces(sent, steps, wanted, block, chunk, pieces, jobs):
            collected.add(start, stop, piece)
            done += stop - start
            if progress is not None:
                progress(done, samples)
        return collected.trace(self.names)

    def footprint(
        self, samples: int, steps: int, *, record: Sequence[str] | None = None, probes: Sequence[Probe] = (), jobs: int = 1,
        dense: bool = True, least: bool = False,
    ) -> int:
        """Return the bytes that a run holds at its peak, inputs left out.

        As much is counted as there could be, all recorded neurons sending in every step. With `least` it is what a run can do with under
        a memory limit: one thread, one sample and one step at a time.
        """
        wanted = self._wanted(record, probes)
        if least:
            return self._bytes(samples, steps, wanted, 1, 1, 1, dense)
        jobs = self._jobs(samples, jobs)
        block, chunk = self._block(steps), self._chunk(samples, steps, wanted, jobs)
        return self._bytes(samples, steps, wanted, jobs, block, chunk, dense)

    def _jobs(self, samples: int, jobs: int) -> int:
        """Return the threads that samples are shared out to: one where a team shares each of them."""
        return 1 if self.layout.team > 1 else max(1, min(jobs, samples))

    def _wanted(self, record: Sequence[str] | None, probes: Sequence[Probe]) -> _Wanted:
        kept = set(self.outputs if record is None else record) | {p.population for p in probes if p.variable == "spikes"}
        index = {name: k for k, name in enumerate(self.names)}
        unknown = sorted({*kept, *(p.population for p in probes)} - set(index))
        if unknown:
            raise ValueError(f"the program has no population {', '.join(unknown)}")
        states = []
        for probe in probes:
            kernel = self.layout.units[index[probe.population]].kernel
            if probe.variable != "spikes":
                if kernel is None or probe.variable not in kernel.state:
                    raise ValueError(f"{probe.population} has no state {probe.variable}")
                states.append((index[probe.population], kernel.state.index(probe.variable)))
        return _Wanted(tuple(k for k, name in enumerate(self.names) if name in kept), tuple(dict.fromkeys(states)))

    def _sent(self, inputs: Array | Mapping[str, Array]) -> dict[int, Array]:
        """Return (samples, time, neurons), uint8 or int32, by unit."""
        given = inputs if isinstance(inputs, Mapping) else dict.fromkeys(self.ports, inputs)
        if set(given) != set(self.ports) or (len(self.ports) > 1 and not isinstance(inputs, Mapping)):
            raise ValueError(f"the program's input ports are {', '.join(sorted(self.ports))}")
        sent = {}
        for name, values in given.items():
            unit = self.names.index(name)
            size = self.layout.units[unit].size
            if values.ndim < 2 or prod(values.shape[2:]) != size:
                raise ValueError(f"inputs of {name} have shape {values.shape}, not (samples, time, {size} neurons)")
            if values.dtype.kind not in "biu":
                raise ValueError(f"inputs of {name} are {values.dtype}, not whole numbers")
            if values.dtype.itemsize > 2 and values.dtype != np.int32 and values.size and not (
                -(1 << 31) <= int(values.min()) <= int(values.max()) < 1 << 31
            ):
                raise ValueError(f"inputs of {name} are beyond 32 bits")
            flat = values.reshape(*values.shape[:2], size)
            flat = flat.view(np.uint8) if flat.dtype == np.bool_ else flat
            sent[unit] = np.ascontiguousarray(flat, None if flat.dtype == np.uint8 else np.int32)
        if len({values.shape[0] for values in sent.values()}) > 1:
            raise ValueError("the input ports have different numbers of samples")
        return sent

    def _block(self, steps: int) -> int:
        per_step = sum(_EVENT_BYTES * unit.size for unit in self.layout.units)
        back = sum(_EVENT_BYTES * unit.size * min(self.layout.reach(k), steps) for k, unit in enumerate(self.layout.units))
        return max(1, min(steps, (_RING_BYTES - back) // max(1, per_step)))

    def _chunk(self, samples: int, steps: int, wanted: _Wanted, jobs: int) -> int:
        each = self._piece_bytes(steps, wanted)
        return max(1, min(-(-samples // (jobs * _CHUNKS)), _CHUNK_BYTES // max(1, each)))

    def _piece_bytes(self, steps: int, wanted: _Wanted) -> int:
        """Return what is recorded of one sample at most: counts, events and states."""
        units = self.layout.units
        events = sum(_event_bytes(units[k]) * units[k].size for k in wanted.spikes)
        return steps * (8 * len(wanted.spikes) + events + 4 * sum(units[k].size for k, _ in wanted.states))

    def _bytes(self, samples: int, steps: int, wanted: _Wanted, jobs: int, block: int, chunk: int, dense: bool) -> int:
        units = self.layout.units
        listed = [one for thread in self.layout.accumulators for into in thread for one in into]
        accumulators = sum((one.elements * (_WINDOWS * one.window or 1) + _SLACK) * one.width // 8 for one in listed)
        renumbered = sum(2 * part.rows.nbytes for part in self.layout.parts if part.rows is not None)
        multiplied = sum(
            _product_bytes(part, count) for part, count in zip(self.layout.parts, _multiplied(self.layout, block), strict=True) if count
        )
        # Beside the thread's own room, pieces are put together once and wait for their turn.
        pieces = chunk * self._piece_bytes(steps, wanted) * (5 if jobs > 1 else 3)
        each = accumulators + renumbered + multiplied + pieces
        for k, unit in enumerate(units):
            receptors = 0 if unit.kernel is None else unit.kernel.receptors
            each += unit.size * (4 * receptors * self.layout.team + 4) + unit.initial.nbytes
            each += _ring(self.layout, k, block, steps) * (_EVENT_BYTES * unit.size + 8)
        each += sum(_EVENT_BYTES * max(_KEPT_EVENTS, block * units[k].size) for k in wanted.spikes)
        recorded = sum(units[k].size for k in wanted.spikes)
        results = samples * steps * (recorded * 4 if dense else sum(_result_bytes(units[k]) * units[k].size for k in wanted.spikes) + 8)
        results += samples * steps * 8 * sum(units[k].size for k, _ in wanted.states)
        return self.layout.nbytes + jobs * each + results

    def _plan(
        self, samples: int, steps: int, wanted: _Wanted, jobs: int, dense: bool, limit: int | None
    ) -> tuple[int, int, int]:
        """Return the length of a block of steps, the samples of a chunk and the threads that a memory limit allows."""
        block, chunk = self._block(steps), self._chunk(samples, steps, wanted, jobs)
        while limit is not None and (needed := self._bytes(samples, steps, wanted, jobs, block, chunk, dense)) > limit:
            if chunk > 1:
                chunk //= 2
            elif jobs > 1:
                jobs -= 1
            elif block > 1:
                block //= 2
            else:
                raise NmapError(Diagnostic(
                    "NM802", "error", f"the emulator needs {needed} bytes for these samples, and the limit is {limit}",
                    why=f"The program itself takes {self.layout.nbytes} bytes, with one thread, one sample and one step at a time.",
                    help=("run fewer samples or steps at a time", "record less", "raise the memory limit"),
                ))
        return block, chunk, jobs

    def _pieces(
        self, sent: Mapping[int, Array], steps: int, wanted: _Wanted, block: int, chunk: int, pieces: Sequence[tuple[int, int]], jobs: int
    ) -> Iterator[tuple[int, int, _Piece]]:
        """Yield what each chunk of samples gave, in order."""
        stop = Event()
        key = (wanted, steps, block, chunk)
        kept = self._spare
        if kept[0] != key:
            kept = self._spare = (key, [])
        spare = kept[1]

        def work(start: int, end: int) -> _Piece:
            # Lists are safe between threads; a workspace that did not come to its end holds sums, and is not used again.
            try:
                own = spare.pop()
            except IndexError:
                own = _Workspace(self.layout, self._descriptors, wanted, steps, block, chunk)
            piece = own.run({unit: values[start:end] for unit, values in sent.items()}, stop, crew)
            if not stop.is_set():
                spare.append(own)
            return piece

        crew = None
        if self.layout.team > 1:
            with ThreadPoolExecutor(self.layout.team, "nmap-team") as crew:
                for start, end in pieces:
                    yield start, end, work(start, end)
            return
        if jobs == 1:
            for start, end in pieces:
                yield start, end, work(start, end)
            return
        with ThreadPoolExecutor(jobs, "nmap-emulate") as pool:
            waiting: list[tuple[int, int, Future[_Piece]]] = []
            try:
                # Results wait in memory until their turn, so not all are begun at once.
                for start, end in pieces:
                    waiting.append((start, end, pool.submit(work, start, end)))
                    if len(waiting) > 2 * jobs:
                        first, last, future = waiting.pop(0)
                        yield first, last, future.result()
                for first, last, future in waiting:
                    yield first, last, future.result()
            finally:
                stop.set()
                for _, _, future in waiting:
                    future.cancel()


_EVENT_BYTES = 8
"""An event's neuron and payload."""


def _event_bytes(unit: Unit) -> int:
    """Return what a recorded event takes: payloads that are all 1 are not kept."""
    return 8 if unit.kernel is None or unit.kernel.graded else 4


def _result_bytes(unit: Unit) -> int:
    """Return what an event takes until it is in the population's own order: its pieces, all of them, and how they are sorted."""
    return 2 * _event_bytes(unit) + (4 if _ordered(unit) else 36)


def _ordered(unit: Unit) -> bool:
    return bool((np.diff(unit.order) > 0).all())


def emulate(
    program: Program, kernels: Mapping[str, Kernel], inputs: Array | Mapping[str, Array], steps: int, **options: Any,
) -> SpikeTrace:
    """Run a program once: `Emulator.run`, with its options."""
    return Emulator(program, kernels).run(inputs, steps, **options)


def _address(array: Array) -> int:
    return int(array.ctypes.data)


def _descriptor(part: Part) -> Array:
    """Return the words that a part's routine reads; see `nmap.emulate.native`."""
    weights = _address(part.weights)
    if part.kind == "matrix":
        return np.array([weights, part.weights.strides[0], part.columns, len(part.weights)], np.int64)
    if part.kind == "runs":
        return np.array([weights, *(_address(table) for table in part.tables)], np.int64)
    if part.kind == "rows":
        return np.array([weights, part.weights.strides[0], part.columns, _address(part.tables[0])], np.int64)
    return np.array([_address(table) for table in part.tables], np.int64)


def _routine(part: Part, width: int) -> int:
    index = 8 * part.tables[1].itemsize if part.kind == "lists" else 0
    return routine(part.kind, 8 * part.weights.itemsize, index, width or 32, part.graded).address


def _cost(part: Part) -> int:
    """Return about what a spike costs in steps of a neuron: a listed synapse as much as one, others in rows a tenth."""
    each = part.synapses // max(1, len(part.tables[0]) if part.tables else len(part.weights))
    return 16 + (each if part.kind == "lists" else each // 8)


def _multiplied(layout: Layout, block: int) -> list[int]:
    """Return by part how many steps' spikes may be multiplied with its matrix at once; 0 where rows are always added one by one.

    The spikes must be there before the first of them arrives, so they come from an earlier component.
    """
    home = {unit: number for number, component in enumerate(layout.components) for unit in component}
    return [
        _most(part, one.width, block) if home[part.source] != home[unit] else 0
        for thread in layout.accumulators for unit, into in enumerate(thread) for one in into for part in one.parts
    ]


def _most(part: Part, width: int, block: int) -> int:
    if part.kind != "matrix" or part.graded or part.weights.dtype != np.int8 or part.rows is not None or width not in (0, 32):
        return 0
    if len(part.weights) < _FEW or part.columns <= _MARK_COLUMNS:
        return 0
    steps = min(_TOGETHER, block, _SUMS_BYTES // (4 * part.columns))
    return steps if steps * _worth(part) > part.columns * (TABLES + steps) else 0


def _worth(part: Part) -> int:
    return (part.columns - _MARK_COLUMNS) * (_NEAR if part.weights.nbytes <= _NEAR_BYTES else _FAR)


def _product_bytes(part: Part, steps: int) -> int:
    return steps * (product_sources(len(part.weights)) + 4 * part.columns) + product_room(steps)


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """What a chunk of samples gave, neurons numbered as in their units.

    Args:
        counts: spikes of each step by unit, (samples, steps) int64.
        events: neurons and payloads (None where all are 1) by unit.
        states: (samples, steps, n) int32 by unit and row.
        spikes: number of spikes by unit.
        tallies: what the state variables that are counters counted, (counters,) int64 by unit.
    """

    counts: dict[int, Array]
    events: dict[int, tuple[Array, Array | None]]
    states: dict[tuple[int, int], Array]
    spikes: Array
    tallies: dict[int, Array]


class _Workspace:
    """All that the threads that share a sample write to, and the tables of addresses that the compiled loop reads."""

    def __init__(self, layout: Layout, descriptors: Sequence[Array], wanted: _Wanted, steps: int, block: int, chunk: int) -> None:
        self.layout, self.steps, self.block = layout, steps, block
        self._held: list[Array] = []
        self.tallies: dict[int, Array] = {}
        """What neurons count, (threads, counters) int64 by unit."""
        self.members = np.array([unit for component in layout.components for unit in component], np.int64)
        ends = [0, *accumulate(len(component) for component in layout.components)]
        self.components = np.array(
            [(*pair, looped) for pair, looped in zip(pairwise(ends), layout.looped, strict=True)], np.int64
        ).reshape(-1, 3)
        self.edges = np.array(layout.edges, np.int64).reshape(len(layout.units), -1)
        self.team = np.zeros(len(S), np.int64)
        self.team[S.YIELD] = _yielding()
        self.states = {key: np.empty((chunk, steps, layout.units[key[0]].size), np.int32) for key in wanted.states}
        common = np.zeros((len(layout.units), len(U)), np.int64)
        for k in range(len(layout.units)):
            self._add_unit(common[k], k, block)
        self.probes = np.array(
            [(common[k, U.STATE] + 4 * layout.units[k].size * row, _address(self.states[k, row]), k) for k, row in wanted.states], np.int64
        ).reshape(-1, len(Q))
        self.kept: dict[int, tuple[Array, Array, Array | None]] = {}
        for k in wanted.spikes:
            capacity = max(_KEPT_EVENTS, block * layout.units[k].size)
            values = np.empty(capacity, np.int32) if common[k, U.VALUES] else None
            self.kept[k] = (np.zeros((chunk, steps), np.int64), np.empty(capacity, np.int32), values)
        self.threads = [self._tables(common, thread) for thread in range(layout.team)]
        part, multiplied = 0, _multiplied(layout, block)
        for (units, accumulators, parts), into in zip(self.threads, layout.accumulators, strict=True):
            for row, (unit, one) in enumerate((unit, one) for unit, some in enumerate(into) for one in some):
                self._add_accumulator(accumulators[row], one)
                first = int(accumulators[row - 1, A.LAST_PART]) if row else 0
                accumulators[row, A.FIRST_PART], accumulators[row, A.LAST_PART] = first, first + len(one.parts)
                for held in one.parts:
                    self._add_part(parts[first], held, one.width, descriptors[part], multiplied[part])
                    first, part = first + 1, part + 1
                units[unit, U.LAST_ACCUMULATOR] = row + 1
        for k, (counts, ids, payloads) in self.kept.items():
            row = self.threads[0][0][k]
            row[U.KEPT_COUNTS], row[U.KEPT_IDS], row[U.CAPACITY] = _address(counts), _address(ids), ids.size
            row[U.KEPT_VALUES] = 0 if payloads is None else _address(payloads)

    def _room(self, shape: int | tuple[int, ...], dtype: Any) -> int:
        """Return the address of zeros that live as long as the workspace."""
        array = zeros(shape, dtype)
        self._held.append(array)
        return _address(array)

    def _add_unit(self, row: Array, k: int, block: int) -> None:
        unit, ring = self.layout.units[k], _ring(self.layout, k, block, self.steps)
        row[U.SIZE], row[U.RING] = unit.size, ring
        row[U.IDS], row[U.COUNTS] = self._room((ring, unit.size), np.int32), self._room((ring, self.layout.team), np.int64)
        if unit.kernel is None or unit.kernel.graded:
            row[U.VALUES] = self._room((ring, unit.size), np.int32)
        if unit.kernel is None:
            return
        row[U.STEP], row[U.CONSTANTS], row[U.SHARED] = unit.kernel.step.address, _address(unit.constants), unit.shared
        row[U.VARIABLES], row[U.INITIAL] = len(unit.initial), _address(unit.initial)
        row[U.STATE] = self._room(unit.initial.size + _SLACK, np.int32)
        row[U.RECEPTORS], row[U.SENT_BYTES] = unit.kernel.receptors, 4 if unit.kernel.graded else 1
        row[U.SENT] = self._room(unit.size + _SLACK, np.int32 if unit.kernel.graded else np.uint8)
        row[U.FIND] = (find_words if unit.kernel.graded else find_bytes).address

    def _tables(self, common: Array, thread: int) -> tuple[Array, Array, Array]:
        """Return a thread's tables of units, accumulators and parts, the latter two empty."""
        units, into = common.copy(), self.layout.accumulators[thread]
        units[:, U.FIRST], units[:, U.LAST] = self.edges[:, thread], self.edges[:, thread + 1]
        ends = [0, *accumulate(len(some) for some in into)]
        units[:, U.FIRST_ACCUMULATOR], units[:, U.LAST_ACCUMULATOR] = ends[:-1], ends[1:]
        for k, unit in enumerate(self.layout.units):
            if unit.kernel is not None:
                # Its own, since what is added to it may be padded with zeros beyond the thread's neurons.
                units[k, U.DENDRITE] = self._room(unit.kernel.receptors * unit.size + _SLACK, np.int32)
                rows = np.array([unit.kernel.state.index(name) for name in counters(unit.kernel)], np.int64)
                if rows.size:
                    self._held.append(rows)
                    tally = self.tallies.setdefault(k, np.zeros((self.layout.team, rows.size), np.int64))
                    units[k, [U.COUNTERS, U.COUNTED, U.TALLIES]] = _address(rows), rows.size, _address(tally[thread])
        parts = sum(len(one.parts) for some in into for one in some)
        return units, np.zeros((ends[-1], len(A)), np.int64), np.zeros((parts, len(P)), np.int64)

    def _add_accumulator(self, row: Array, one: Accumulator) -> None:
        row[A.RECEPTOR], row[A.SHIFT], row[A.BITS], row[A.LIMIT], row[A.COVERS] = one.receptor, one.shift, one.bits, one.limit, one.covers
        row[A.ELEMENTS], row[A.SEGMENTS], row[A.SEGMENT_COUNT] = one.elements, _address(one.segments), len(one.segments)
        if one.width:
            room = _WINDOWS * one.window or 1
            row[A.WINDOW], row[A.ROOM] = one.window, room
            row[A.ADDRESS] = self._room(one.elements * room + _SLACK, f"int{one.width}")
            row[A.FOLD] = fold(one.width).address

    def _add_part(self, row: Array, part: Part, width: int, descriptor: Array, multiplied: int) -> None:
        row[P.ROUTINE], row[P.DESCRIPTOR] = _routine(part, width), _address(descriptor)
        row[P.COST] = _cost(part)
        row[P.SOURCE], row[P.DELAY], row[P.OFFSET] = part.source, part.delay, part.offset * (width or 32) // 8
        if part.rows is not None:
            row[P.ROWS] = _address(part.rows)
            row[P.ROW_IDS], row[P.ROW_VALUES] = (self._room(part.rows.size, np.int32) for _ in range(2))
        if multiplied:
            marks = product_sources(len(part.weights))
            row[P.PRODUCT], row[P.WORTH], row[P.TOGETHER], row[P.WIDTH] = product.address, _worth(part), multiplied, marks
            row[P.MARKS] = self._room((multiplied, marks), np.uint8)
            row[P.SUMS] = self._room((multiplied, part.columns), np.int32)
            row[P.SPACE] = self._room(product_room(multiplied), np.uint8)

    def run(self, sent: Mapping[int, Array], stop: Event, pool: ThreadPoolExecutor | None) -> _Piece:
        """Run samples.

        Args:
            sent: (samples, time, neurons) uint8 or int32 by input port, C order.
            stop: set where the result is not wanted any more.
            pool: room for the whole team; None for a team of one.
        """
        samples = next(iter(sent.values())).shape[0]
        for units, _, _ in self.threads:
            for k, values in sent.items():
                row = units[k]
                row[U.INPUT], row[U.INPUT_BYTES], row[U.INPUT_STEPS] = _address(values), values.itemsize, values.shape[1]
                row[U.FIND] = (find_bytes if values.itemsize == 1 else find_words).address
            units[:, [U.KEPT, U.SPIKES]] = 0
        for tally in self.tallies.values():
            tally[:] = 0
        self.team[[S.ARRIVED, S.STOP]] = 0
        cursors = np.zeros((len(self.threads), 3), np.int64)
        found: dict[int, list[tuple[Array, Array | None]]] = {k: [] for k in self.kept}
        units, state = self.threads[0][0], FULL
        while state != DONE and not stop.is_set():
            state = self._together(cursors, samples, pool)
            if state in (DONE, FULL):
                for k, (_, ids, payloads) in self.kept.items():
                    count = int(units[k, U.KEPT])
                    found[k].append((ids[:count].copy(), None if payloads is None else payloads[:count].copy()))
                units[:, U.KEPT] = 0
        return _Piece(
            {k: counts[:samples].copy() for k, (counts, _, _) in self.kept.items()},
            {k: _joined(some) for k, some in found.items()},
            {key: values[:samples].copy() for key, values in self.states.items()},
            np.sum([units[:, U.SPIKES] for units, _, _ in self.threads], axis=0),
            {unit: tally.sum(axis=0) for unit, tally in self.tallies.items()},
        )

    def _together(self, cursors: Array, samples: int, pool: ThreadPoolExecutor | None) -> int:
        """Let the team go on until it returns."""

        def work(thread: int) -> int:
            return int(run(
                *self.threads[thread], self.probes, self.components, self.members, self.edges, cursors[thread], _address(self.team), thread,
                samples, self.steps, self.block, _BUDGET,
            ))

        if pool is None:
            return work(0)
        members = [pool.submit(work, thread) for thread in range(len(self.threads))]
        try:
            verdicts = {member.result() for member in members}
            return verdicts.pop()
        finally:
            # Whoever waits for a thread that never came must not wait for ever.
            self.team[S.STOP] = 1
            wait(members)
            self.team[S.STOP] = 0


def _ring(layout: Layout, unit: int, block: int, steps: int) -> int:
    """Return how many steps' spikes are kept, a power of two; what would act after the last step is not."""
    return 1 << (block + min(layout.reach(unit), steps) - 1).bit_length()


def _yielding() -> int:
    """Return the address of the system's function that lets other threads run; 0 where it has another name."""
    function = getattr(ctypes.CDLL(None), "sched_yield", None) if os.name == "posix" else None
    return 0 if function is None else int(ctypes.cast(function, ctypes.c_void_p).value or 0)


def _joined(some: Sequence[tuple[Array, Array | None]]) -> tuple[Array, Array | None]:
    if len(some) == 1:
        return some[0]
    payloads = [payload for _, payload in some if payload is not None]
    return np.concatenate([ids for ids, _ in some]), np.concatenate(payloads) if payloads else None


class _Collected:
    """Results in the populations' own order, put together from chunks."""

    def __init__(self, layout: Layout, wanted: _Wanted, samples: int, steps: int, dense: bool) -> None:
        self.layout, self.wanted, self.samples, self.steps = layout, wanted, samples, steps
        self.spikes = {k: np.zeros((samples, steps, layout.units[k].size), np.int32) for k in wanted.spikes if dense}
        self.states = {key: np.zeros((samples, steps, layout.units[key[0]].size), np.int64) for key in wanted.states}
        self.counts: dict[int, list[Array]] = {k: [] for k in wanted.spikes if not dense}
        self.events: dict[int, list[tuple[Array, Array | None]]] = {k: [] for k in wanted.spikes if not dense}
        self.sent = np.zeros(len(layout.units), np.int64)
        self.tallies: dict[int, Array] = {}

    def add(self, start: int, stop: int, piece: _Piece) -> None:
        """Take the samples from `start` to `stop` - 1; chunks come in order."""
        for k, (ids, payload) in piece.events.items():
            order = self.layout.units[k].order
            if k in self.spikes:
                _spread(piece.counts[k].ravel(), ids, payload, order, self.spikes[k][start:stop])
            else:
                self.counts[k].append(piece.counts[k].ravel())
                self.events[k].append((ids, payload))
        for key, values in piece.states.items():
            self.states[key][start:stop] = values[:, :, self.layout.units[key[0]].position]
        self.sent += piece.spikes
        for k, tally in piece.tallies.items():
            self.tallies[k] = self.tallies.get(k, 0) + tally

    def trace(self, names: Sequence[str]) -> SpikeTrace:
        """Return everything, by the populations' names."""
        events = {names[k]: self._listed(k) for k in self.events}
        states = {}
        for (k, row), values in self.states.items():
            kernel = self.layout.units[k].kernel
            assert kernel is not None
            states[f"{names[k]}.{kernel.state[row]}"] = values
        return SpikeTrace(
            {names[k]: values for k, values in self.spikes.items()}, states,
            {name: int(count) for name, count in zip(names, self.sent, strict=True)}, events,
            {
                f"{names[k]}.{variable}": int(count) for k, tally in self.tallies.items()
                for variable, count in zip(counters(self.layout.units[k].kernel), tally, strict=True)
            },
        )

    def _listed(self, k: int) -> SpikeEvents:
        unit = self.layout.units[k]
        counts = np.concatenate([np.zeros(1, np.int64), *self.counts[k]])
        ids, payload = _joined(self.events[k]) if self.events[k] else (np.zeros(0, np.int32), None)
        neuron = unit.order.astype(np.int32)[ids]
        if not _ordered(unit):
            order = np.lexsort((neuron, np.repeat(np.arange(counts.size - 1), counts[1:])))
            neuron, payload = neuron[order], None if payload is None else payload[order]
        if payload is not None and (payload == 1).all():
            payload = None
        return SpikeEvents(self.samples, self.steps, unit.size, np.cumsum(counts), neuron, payload)


@native("void(int64, int64, int64, int64, int64, int64, int64)")
def _spread_at(counts_at, rows, ids_at, payloads_at, order_at, neurons, out_at):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """See `_spread`; payloads at 0 are all 1."""
    counts, order = carray(int64_at(counts_at), rows), carray(int64_at(order_at), neurons)
    out, at = carray(int32_at(out_at), (rows, neurons)), 0
    for row in range(rows):
        last = at + counts[row]
        ids, payloads = carray(int32_at(ids_at), last), carray(int32_at(payloads_at), last)
        for k in range(at, last):
            out[row, order[ids[k]]] = 1 if payloads_at == 0 else payloads[k]
        at = last


def _spread(counts: Array, ids: Array, payloads: Array | None, order: Array, out: Array) -> None:
    """Write events into rows: those of row r are the next counts[r] ones."""
    sent = 0 if payloads is None else _address(payloads)
    _spread_at(_address(counts), counts.size, _address(ids), sent, _address(order), order.size, _address(out))
