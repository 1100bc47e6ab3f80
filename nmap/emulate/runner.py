"""The compiled loop: samples, blocks of steps, components, steps, units. It knows tables of addresses only.

Components run in topological order, each of them through a whole block of steps, so that its weights stay in cache; spikes of earlier
blocks are kept as far back as delays reach. Results do not depend on the length of a block.

A team of threads may share a sample: each has some neurons of every unit, and all synapses that lead to them, so no two threads ever add
to one sum, and events are listed in one order. They meet after each step of a component that feeds itself, and after each block of others.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from nmap.compiled import compiled, native
from nmap.connectivity import Array
from nmap.pointers import atomic_add, call_native, carray, int32_at, int64_at, uint8_at

__all__ = ["DONE", "FULL", "LEFT", "PAUSED", "TABLES", "A", "P", "Q", "S", "U", "run"]

DONE, FULL, PAUSED, LEFT = 0, 1, 2, 3
"""What `run` returns: all samples are through; a recording is full; the budget is spent; the team was told to stop."""


class _Units(NamedTuple):
    """Columns of the table of units; addresses unless said otherwise."""

    SIZE: int
    STEP: int
    """`Kernel.step`; 0 for an input port."""
    CONSTANTS: int
    SHARED: int
    """A number, `nmap.emulate.kernel.shared_rows`."""
    STATE: int
    INITIAL: int
    VARIABLES: int
    """How many."""
    DENDRITE: int
    RECEPTORS: int
    """How many."""
    SENT: int
    FIND: int
    """`find_bytes` or `find_words`."""
    IDS: int
    """Spikes of the last RING steps, (RING, SIZE) int32."""
    VALUES: int
    """Their payloads, likewise; 0 where all are 1."""
    COUNTS: int
    """How many there are, (RING, threads) int64: those of thread k lie from its first neuron's place on."""
    RING: int
    """A number, a power of two."""
    FIRST_ACCUMULATOR: int
    LAST_ACCUMULATOR: int
    KEPT_COUNTS: int
    """Of a recording: spikes of each step, (samples, steps) int64; 0 where nothing is recorded."""
    KEPT_IDS: int
    KEPT_VALUES: int
    KEPT: int
    """How many spikes have been recorded."""
    CAPACITY: int
    """How many can be."""
    SPIKES: int
    """Number of spikes so far."""
    INPUT: int
    """(samples, INPUT_STEPS, SIZE) values of INPUT_BYTES bytes each."""
    INPUT_BYTES: int
    INPUT_STEPS: int
    FIRST: int
    """First neuron of this thread."""
    LAST: int
    """The one behind its last."""
    SENT_BYTES: int
    """Of each number that the step writes."""
    COUNTERS: int
    """Which state variables count events, (COUNTED,) int64."""
    COUNTED: int
    """How many do."""
    TALLIES: int
    """What they counted in the thread's neurons over all samples, (COUNTED,) int64."""


U = _Units(*range(len(_Units._fields)))


class _Accumulators(NamedTuple):
    """Columns of the table of accumulators."""

    RECEPTOR: int
    ADDRESS: int
    ELEMENTS: int
    SEGMENTS: int
    SEGMENT_COUNT: int
    SHIFT: int
    BITS: int
    FOLD: int
    """0 for the dendrite itself."""
    LIMIT: int
    COVERS: int
    FIRST_PART: int
    LAST_PART: int
    WINDOW: int
    """Steps whose sums are held, ELEMENTS each; 0 where sums are of the present step only."""
    AT: int
    """Of a window: its first step among those there is room for."""
    ROOM: int
    """Of a window: steps there is room for."""


A = _Accumulators(*range(len(_Accumulators._fields)))


class _Parts(NamedTuple):
    """Columns of the table of parts."""

    ROUTINE: int
    DESCRIPTOR: int
    SOURCE: int
    DELAY: int
    OFFSET: int
    """Of the first target in the accumulator, in bytes."""
    ROWS: int
    """(n,) int32 by source neuron, what the routine knows it as, -1 for nothing; 0 where it is the neuron's number."""
    ROW_IDS: int
    """Room for what the routine is given then."""
    ROW_VALUES: int
    PRODUCT: int
    """`product`; 0 where rows are always added one by one."""
    WORTH: int
    """What the row of a spike costs, in the unit of `TABLES`."""
    TOGETHER: int
    """Steps that are multiplied at once, at most."""
    MARKS: int
    """Room for their spikes, (TOGETHER, WIDTH) bytes."""
    WIDTH: int
    """A number."""
    SUMS: int
    """What their spikes add up to, (TOGETHER, columns) int32."""
    SPACE: int
    """Room to work in."""
    SINCE: int
    """First step whose sums are there; -1 where its rows are to be added."""
    UNTIL: int
    """The step behind the last one for which that was decided."""
    COST: int
    """Time of one spike's row, that of a neuron's step being 1."""


P = _Parts(*range(len(_Parts._fields)))


class _Probes(NamedTuple):
    """Columns of the table of probes: the state's row, where it goes to, (samples, steps, n) int32, and the unit."""

    ROW: int
    TO: int
    UNIT: int


Q = _Probes(*range(len(_Probes._fields)))


class _Shared(NamedTuple):
    """Words that a team shares."""

    ARRIVED: int
    """Arrivals at meeting points, all told."""
    VERDICT: int
    """What the first thread decided at the beginning of the block: one of `DONE` (go on), `FULL` and `PAUSED`."""
    STOP: int
    """1 where the team is to leave."""
    YIELD: int
    """Address of a function that lets other threads run; 0 for none."""


S = _Shared(*range(len(_Shared._fields)))


_PATIENCE = 4000
"""Looks at the counter before a waiting thread offers its core to others."""
TABLES = 22
"""Making the tables of a product costs as much, for each weight, as adding up so many steps."""
_UNIT, _ACCUMULATOR, _PART, _PROBE = len(U), len(A), len(P), len(Q)


@compiled(inline="never")
def _copy(source, target, words):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    given, out = carray(int32_at(source), words), carray(int32_at(target), words)
    for k in range(words):
        out[k] = given[k]


@compiled(inline="never")
def _clear(address, words):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    out = carray(int32_at(address), words)
    for k in range(words):
        out[k] = 0


@compiled(inline="never")
def _add(source, target, words):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    given, out = carray(int32_at(source), words), carray(int32_at(target), words)
    for k in range(words):
        out[k] = np.int32(out[k] + given[k])


@compiled()
def _renumber(parts, p, ids, values, count):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Write what a part's routine knows the sources as; return how many it knows."""
    given, rows = carray(int32_at(ids), count), parts[p, P.ROWS]
    out, taken = carray(int32_at(parts[p, P.ROW_IDS]), count), 0
    for k in range(count):
        row = carray(int32_at(rows + 4 * np.int64(given[k])), 1)[0]
        if row >= 0:
            out[taken] = row
            if values != 0:
                carray(int32_at(parts[p, P.ROW_VALUES]), count)[taken] = carray(int32_at(values), count)[k]
            taken += 1
    return taken


@compiled()
def _number(address):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    return carray(int64_at(address), 1)[0]


@compiled()
def _fold(accumulators, a, address, row, n, filled):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Move the sums at an address to a row of the dendrite; return the receptors that hold this step's input."""
    bit = 1 << accumulators[a, A.RECEPTOR]
    if filled & bit == 0 and accumulators[a, A.COVERS] == 0:
        _clear(row, n)
        filled |= bit
    call_native(accumulators[a, A.FOLD], (
        address, row, accumulators[a, A.SEGMENTS], accumulators[a, A.SEGMENT_COUNT], accumulators[a, A.ELEMENTS],
        accumulators[a, A.SHIFT], accumulators[a, A.BITS], np.int64(filled & bit != 0),
    ))
    return filled | bit


@compiled()
def _slide(accumulators, a):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Move a window to the next step; to the beginning of its room where it would leave it."""
    elements, window = accumulators[a, A.ELEMENTS], accumulators[a, A.WINDOW]
    accumulators[a, A.AT] += 1
    if accumulators[a, A.AT] + window > accumulators[a, A.ROOM]:
        # The step behind the last one of the old window was not reached yet.
        held = elements * (window - 1)
        _copy(accumulators[a, A.ADDRESS] + 4 * elements * accumulators[a, A.AT], accumulators[a, A.ADDRESS], held)
        _clear(accumulators[a, A.ADDRESS] + 4 * held, elements * (accumulators[a, A.ROOM] - window + 1))
        accumulators[a, A.AT] = 0


@compiled()
def _multiply(units, parts, edges, p, t, last):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Add up what a part brings in the steps from t on, before `last`, at once, if so many spikes are on their way that this is faster."""
    source, team = parts[p, P.SOURCE], edges.shape[1] - 1
    n, columns = units[source, U.SIZE], _number(parts[p, P.DESCRIPTOR] + 16)
    steps, spikes = min(parts[p, P.TOGETHER], last - t), np.int64(0)
    parts[p, P.SINCE], parts[p, P.UNTIL] = -1, t + steps
    for k in range(steps):
        slot = (t + k - parts[p, P.DELAY]) & (units[source, U.RING] - 1)
        for thread in range(team):
            spikes += _number(units[source, U.COUNTS] + 8 * (slot * team + thread))
    if spikes * parts[p, P.WORTH] <= n * columns * (TABLES + steps):
        return
    _clear(parts[p, P.MARKS], steps * parts[p, P.WIDTH] // 4)
    for k in range(steps):
        slot = (t + k - parts[p, P.DELAY]) & (units[source, U.RING] - 1)
        marks = carray(uint8_at(parts[p, P.MARKS] + k * parts[p, P.WIDTH]), n)
        for thread in range(team):
            count = _number(units[source, U.COUNTS] + 8 * (slot * team + thread))
            ids = carray(int32_at(units[source, U.IDS] + 4 * (n * slot + edges[source, thread])), count)
            for j in range(count):
                marks[np.uint64(ids[j])] = 1
    call_native(parts[p, P.PRODUCT], (parts[p, P.DESCRIPTOR], parts[p, P.MARKS], steps, parts[p, P.SUMS], parts[p, P.SPACE]))
    parts[p, P.SINCE] = t


@compiled(error_model="numpy")
def _listen(units, accumulators, parts, edges, u, t, last):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Fill the dendrites of the thread's neurons of a unit for a step; return the time spent, in neurons' steps.

    Of components that come earlier, spikes up to the step before `last` are there.
    """
    n, mine = units[u, U.SIZE], units[u, U.LAST] - units[u, U.FIRST]
    dendrite = units[u, U.DENDRITE] + 4 * units[u, U.FIRST]
    filled = np.int64(0)
    spent = np.int64(0)
    for a in range(units[u, U.FIRST_ACCUMULATOR], units[u, U.LAST_ACCUMULATOR]):
        direct = accumulators[a, A.FOLD] == 0
        receptor = accumulators[a, A.RECEPTOR]
        row = dendrite + 4 * n * receptor
        address = row if direct else accumulators[a, A.ADDRESS]
        window = accumulators[a, A.WINDOW]
        if window > 0:
            address += 4 * accumulators[a, A.ELEMENTS] * accumulators[a, A.AT]
        limit, used = accumulators[a, A.LIMIT], np.int64(0)
        for p in range(accumulators[a, A.FIRST_PART], accumulators[a, A.LAST_PART]):
            sent, source = t - parts[p, P.DELAY], parts[p, P.SOURCE]
            if sent < 0:
                continue
            slot = sent & (units[source, U.RING] - 1)
            if parts[p, P.PRODUCT] != 0 and t >= parts[p, P.UNTIL]:
                _multiply(units, parts, edges, p, t, last)
            multiplied = parts[p, P.PRODUCT] != 0 and parts[p, P.SINCE] >= 0
            if multiplied:
                if direct and filled & (1 << receptor) == 0:
                    _clear(row, mine)
                    filled |= 1 << receptor
                columns = _number(parts[p, P.DESCRIPTOR] + 16)
                _add(parts[p, P.SUMS] + 4 * columns * (t - parts[p, P.SINCE]), address + parts[p, P.OFFSET], columns)
                used += 1
            for k in range(edges.shape[1] - 1):
                count = _number(units[source, U.COUNTS] + 8 * (slot * (edges.shape[1] - 1) + k))
                if multiplied:
                    spent += count * parts[p, P.COST]
                    continue
                if count == 0:
                    continue
                if direct and filled & (1 << receptor) == 0:
                    _clear(row, mine)
                    filled |= 1 << receptor
                before = 4 * (units[source, U.SIZE] * slot + edges[source, k])
                ids, values = units[source, U.IDS] + before, units[source, U.VALUES]
                if values != 0:
                    values += before
                spent += count * parts[p, P.COST]
                if parts[p, P.ROWS] != 0:
                    count = _renumber(parts, p, ids, values, count)
                    ids = parts[p, P.ROW_IDS]
                    values = parts[p, P.ROW_VALUES] if values != 0 else values
                done = np.int64(0)
                while done < count:
                    if used == limit:
                        filled = _fold(accumulators, a, address, row, mine, filled)
                        used = np.int64(0)
                    take = min(count - done, limit - used)
                    given = values + 4 * done if values != 0 else values
                    call_native(parts[p, P.ROUTINE], (parts[p, P.DESCRIPTOR], ids + 4 * done, given, take, address + parts[p, P.OFFSET]))
                    done += take
                    used += take
        if (used > 0 and not direct) or window > 0:
            filled = _fold(accumulators, a, address, row, mine, filled)
        if window > 0:
            _slide(accumulators, a)
    for receptor in range(units[u, U.RECEPTORS]):
        if filled & (1 << receptor) == 0:
            _clear(dendrite + 4 * n * receptor, mine)
    return spent


@compiled(error_model="numpy")
def _advance(units, accumulators, parts, edges, thread, u, t, last, sample):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Run the thread's neurons of a unit for a step; return the time spent, in neurons' steps."""
    n, slot = units[u, U.SIZE], t & (units[u, U.RING] - 1)
    first = units[u, U.FIRST]
    mine = units[u, U.LAST] - first
    counted = units[u, U.COUNTS] + 8 * (slot * (edges.shape[1] - 1) + thread)
    ids, values = units[u, U.IDS] + 4 * (n * slot + first), units[u, U.VALUES]
    if values != 0:
        values += 4 * (n * slot + first)
    spent = mine
    if units[u, U.STEP] == 0:
        if t >= units[u, U.INPUT_STEPS]:
            carray(int64_at(counted), 1)[0] = 0
            return spent
        width = units[u, U.INPUT_BYTES]
        sent = units[u, U.INPUT] + width * (n * (sample * units[u, U.INPUT_STEPS] + t) + first)
    else:
        spent += _listen(units, accumulators, parts, edges, u, t, last)
        call_native(units[u, U.STEP], (
            units[u, U.CONSTANTS], units[u, U.SHARED], units[u, U.STATE], units[u, U.DENDRITE], units[u, U.SENT], n, first, first + mine, t,
        ))
        sent = units[u, U.SENT] + units[u, U.SENT_BYTES] * first
    call_native(units[u, U.FIND], (sent, mine, ids, values, counted))
    count = _number(counted)
    if first > 0:
        numbers = carray(int32_at(ids), count)
        for k in range(count):
            numbers[k] += first
    units[u, U.SPIKES] += count
    return spent


@compiled()
def _probe(units, probes, u, place):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Copy what is probed of the thread's neurons of a unit."""
    for q in range(probes.shape[0]):
        if probes[q, Q.UNIT] == u:
            first = units[u, U.FIRST]
            _copy(probes[q, Q.ROW] + 4 * first, probes[q, Q.TO] + 4 * (units[u, U.SIZE] * place + first), units[u, U.LAST] - first)


@compiled(error_model="numpy")
def _keep(units, edges, u, t, place):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Record the spikes of a unit, those of the whole team."""
    if units[u, U.KEPT_COUNTS] == 0:
        return
    slot, total = t & (units[u, U.RING] - 1), np.int64(0)
    for k in range(edges.shape[1] - 1):
        count = _number(units[u, U.COUNTS] + 8 * (slot * (edges.shape[1] - 1) + k))
        before = 4 * (units[u, U.SIZE] * slot + edges[u, k])
        _copy(units[u, U.IDS] + before, units[u, U.KEPT_IDS] + 4 * units[u, U.KEPT], count)
        if units[u, U.VALUES] != 0:
            _copy(units[u, U.VALUES] + before, units[u, U.KEPT_VALUES] + 4 * units[u, U.KEPT], count)
        units[u, U.KEPT] += count
        total += count
    carray(int64_at(units[u, U.KEPT_COUNTS] + 8 * place), 1)[0] = total


@compiled()
def _tally(units):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Add up what the thread's neurons counted in a sample."""
    for u in range(units.shape[0]):
        first, count = units[u, U.FIRST], units[u, U.LAST] - units[u, U.FIRST]
        for k in range(units[u, U.COUNTED]):
            row = _number(units[u, U.COUNTERS] + 8 * k)
            values = carray(int32_at(units[u, U.STATE] + 4 * (row * units[u, U.SIZE] + first)), count)
            total = np.int64(0)
            for j in range(count):
                total += values[j]
            carray(int64_at(units[u, U.TALLIES] + 8 * k), 1)[0] += total


@compiled()
def _meet(shared, team, meetings):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Wait until every thread has come to its `meetings`-th meeting; return whether the team goes on."""
    if team == 1:
        return True
    atomic_add(shared + 8 * S.ARRIVED, 1)
    looks = 0
    while atomic_add(shared + 8 * S.ARRIVED, 0) < team * meetings:
        if atomic_add(shared + 8 * S.STOP, 0) != 0:
            return False
        looks += 1
        if looks > _PATIENCE and _number(shared + 8 * S.YIELD) != 0:
            call_native(_number(shared + 8 * S.YIELD), ())
    return True


@compiled()
def _verdict(units, steps, spent, budget):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return whether a block of `steps` steps can be run."""
    if spent > budget:
        return PAUSED
    for u in range(units.shape[0]):
        if units[u, U.KEPT_COUNTS] != 0 and units[u, U.KEPT] + steps * units[u, U.SIZE] > units[u, U.CAPACITY]:
            return FULL
    return DONE


@compiled()
def _reset(units, accumulators, parts):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    for a in range(accumulators.shape[0]):
        if accumulators[a, A.WINDOW] > 0:
            _clear(accumulators[a, A.ADDRESS], accumulators[a, A.ELEMENTS] * accumulators[a, A.ROOM])
            accumulators[a, A.AT] = 0
    parts[:, P.UNTIL] = 0
    for u in range(units.shape[0]):
        first = 4 * units[u, U.FIRST]
        for row in range(units[u, U.VARIABLES]):
            at = 4 * row * units[u, U.SIZE] + first
            _copy(units[u, U.INITIAL] + at, units[u, U.STATE] + at, units[u, U.LAST] - units[u, U.FIRST])


@native(f"int64({', '.join(['int64'] * 21)})")
def _run(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    units_at, unit_count, accumulators_at, accumulator_count, parts_at, part_count, probes_at, probe_count, components_at, component_count,
    members_at, member_count, edges_at, team, cursor_at, shared, thread, samples, steps, block, budget,
):
    """See `run`; a table is its address and its number of rows."""
    units = carray(int64_at(units_at), (unit_count, _UNIT))
    accumulators = carray(int64_at(accumulators_at), (accumulator_count, _ACCUMULATOR))
    parts = carray(int64_at(parts_at), (part_count, _PART))
    probes = carray(int64_at(probes_at), (probe_count, _PROBE))
    components = carray(int64_at(components_at), (component_count, 3))
    members = carray(int64_at(members_at), member_count)
    edges = carray(int64_at(edges_at), (unit_count, team + 1))
    cursor = carray(int64_at(cursor_at), 3)
    spent = 0
    while cursor[0] < samples:
        if cursor[1] == 0:
            _reset(units, accumulators, parts)
        while cursor[1] < steps:
            first = cursor[1]
            last = min(first + block, steps)
            before = cursor[0] * steps
            if thread == 0:
                carray(int64_at(shared + 8 * S.VERDICT), 1)[0] = _verdict(units, last - first, spent, budget)
            cursor[2] += 1
            if not _meet(shared, team, cursor[2]):
                return LEFT
            verdict = _number(shared + 8 * S.VERDICT)
            if verdict != DONE:
                return verdict
            for c in range(components.shape[0]):
                looped = components[c, 2] != 0
                for t in range(first, last):
                    for m in range(components[c, 0], components[c, 1]):
                        u = members[m]
                        spent += _advance(units, accumulators, parts, edges, thread, u, t, last, cursor[0])
                        _probe(units, probes, u, before + t)
                    if looped or t == last - 1:
                        cursor[2] += 1
                        if not _meet(shared, team, cursor[2]):
                            return LEFT
                    if thread == 0 and looped:
                        for m in range(components[c, 0], components[c, 1]):
                            _keep(units, edges, members[m], t, before + t)
                if thread == 0 and not looped:
                    for t in range(first, last):
                        _keep(units, edges, members[components[c, 0]], t, before + t)
            cursor[1] = last
        _tally(units)
        cursor[0] += 1
        cursor[1] = 0
    return DONE


def run(
    units: Array, accumulators: Array, parts: Array, probes: Array, components: Array, members: Array, edges: Array, cursor: Array,
    shared: int, thread: int, samples: int, steps: int, block: int, budget: int,
) -> int:
    """Run samples until they are through, a recording is full, or the budget is spent; call again to go on.

    All arrays are int64, in C order.

    Args:
        units, accumulators, parts, probes: the thread's tables, with the columns of `U`, `A`, `P` and `Q`.
        components: (k, 3), first and last member of each, and whether it feeds itself.
        members: units, component by component.
        edges: (units, threads + 1), where the neurons of each thread begin.
        cursor: (3,), sample, step and meetings to go on with, updated.
        shared: address of the words `S` of the team.
        thread: number of this one; the first records.
        samples, steps: how many.
        block: steps that a component runs before the next one does.
        budget: time spent before the caller is asked, in steps of a neuron.

    Returns:
        DONE, FULL, PAUSED or LEFT.
    """
    tables = [number for table in (units, accumulators, parts, probes, components, members) for number in (table.ctypes.data, len(table))]
    return _run(*tables, edges.ctypes.data, edges.shape[1] - 1, cursor.ctypes.data, shared, thread, samples, steps, block, budget)
