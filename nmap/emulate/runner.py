"""The compiled loop: samples, blocks of steps, components, steps, units. It knows tables of addresses only.

Components run in topological order, each of them through a whole block of steps, so that its weights stay in cache; spikes of earlier
blocks are kept as far back as delays reach. Results do not depend on the length of a block.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numba import carray

from nmap.compiled import compiled
from nmap.pointers import call_native, int32_at, int64_at

__all__ = ["DONE", "FULL", "PAUSED", "A", "P", "Q", "U", "run"]

DONE, FULL, PAUSED = 0, 1, 2
"""What `run` returns: all samples are through; a recording is full; the budget is spent."""


class U(IntEnum):
    """Columns of the table of units; addresses unless said otherwise."""

    SIZE = 0
    STEP = 1
    """`Kernel.step`; 0 for an input port."""
    CONSTANTS = 2
    SHARED = 3
    """0 or 1."""
    STATE = 4
    INITIAL = 5
    VARIABLES = 6
    """How many."""
    DENDRITE = 7
    RECEPTORS = 8
    """How many."""
    SENT = 9
    FIND = 10
    """`find_bytes` or `find_words`."""
    IDS = 11
    """Spikes of the last RING steps, (RING, SIZE) int32."""
    VALUES = 12
    """Their payloads, likewise; 0 where all are 1."""
    COUNTS = 13
    """How many there are, (RING,) int64."""
    RING = 14
    """A number."""
    FIRST_ACCUMULATOR = 15
    LAST_ACCUMULATOR = 16
    KEPT_COUNTS = 17
    """Of a recording: spikes of each step, (samples, steps) int64; 0 where nothing is recorded."""
    KEPT_IDS = 18
    KEPT_VALUES = 19
    KEPT = 20
    """How many spikes have been recorded."""
    CAPACITY = 21
    """How many can be."""
    SPIKES = 22
    """Number of spikes so far."""
    INPUT = 23
    """(samples, INPUT_STEPS, SIZE) values of INPUT_BYTES bytes each."""
    INPUT_BYTES = 24
    INPUT_STEPS = 25


class A(IntEnum):
    """Columns of the table of accumulators."""

    RECEPTOR = 0
    ADDRESS = 1
    ELEMENTS = 2
    SEGMENTS = 3
    SEGMENT_COUNT = 4
    SHIFT = 5
    BITS = 6
    FOLD = 7
    """0 for the dendrite itself."""
    LIMIT = 8
    COVERS = 9
    FIRST_PART = 10
    LAST_PART = 11


class P(IntEnum):
    """Columns of the table of parts."""

    ROUTINE = 0
    DESCRIPTOR = 1
    SOURCE = 2
    DELAY = 3
    OFFSET = 4
    """Of the first target in the accumulator, in bytes."""


class Q(IntEnum):
    """Columns of the table of probes: the state's row, where it goes to, (samples, steps, n) int32, and the unit."""

    ROW = 0
    TO = 1
    UNIT = 2


_TABLE = "int64[:,::1]"


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


@compiled()
def _number(address):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    return carray(int64_at(address), 1)[0]


@compiled()
def _fold(accumulators, a, dendrite, n, filled):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Move an accumulator's sums to the dendrite; return the receptors that hold this step's input."""
    receptor = accumulators[a, A.RECEPTOR]
    bit = 1 << receptor
    row = dendrite + 4 * n * receptor
    if filled & bit == 0 and accumulators[a, A.COVERS] == 0:
        _clear(row, n)
        filled |= bit
    call_native(accumulators[a, A.FOLD], (
        accumulators[a, A.ADDRESS], row, accumulators[a, A.SEGMENTS], accumulators[a, A.SEGMENT_COUNT], accumulators[a, A.ELEMENTS],
        accumulators[a, A.SHIFT], accumulators[a, A.BITS], np.int64(filled & bit != 0),
    ))
    return filled | bit


@compiled()
def _listen(units, accumulators, parts, u, t):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Fill the dendrite of a unit for a step; return the events that arrived, each a spike at a part."""
    n, dendrite = units[u, U.SIZE], units[u, U.DENDRITE]
    filled = np.int64(0)
    arrived = np.int64(0)
    for a in range(units[u, U.FIRST_ACCUMULATOR], units[u, U.LAST_ACCUMULATOR]):
        direct = accumulators[a, A.FOLD] == 0
        receptor = accumulators[a, A.RECEPTOR]
        address = dendrite + 4 * n * receptor if direct else accumulators[a, A.ADDRESS]
        limit, used = accumulators[a, A.LIMIT], np.int64(0)
        for p in range(accumulators[a, A.FIRST_PART], accumulators[a, A.LAST_PART]):
            sent, source = t - parts[p, P.DELAY], parts[p, P.SOURCE]
            if sent < 0:
                continue
            slot = sent % units[source, U.RING]
            count = _number(units[source, U.COUNTS] + 8 * slot)
            if count == 0:
                continue
            if direct and filled & (1 << receptor) == 0:
                _clear(address, n)
                filled |= 1 << receptor
            before = 4 * units[source, U.SIZE] * slot
            ids, values = units[source, U.IDS] + before, units[source, U.VALUES]
            if values != 0:
                values += before
            done = np.int64(0)
            while done < count:
                if used == limit:
                    filled = _fold(accumulators, a, dendrite, n, filled)
                    used = np.int64(0)
                take = min(count - done, limit - used)
                call_native(parts[p, P.ROUTINE], (
                    parts[p, P.DESCRIPTOR], ids + 4 * done, values + 4 * done if values != 0 else values, take, address + parts[p, P.OFFSET],
                ))
                done += take
                used += take
            arrived += count
        if used > 0 and not direct:
            filled = _fold(accumulators, a, dendrite, n, filled)
    for receptor in range(units[u, U.RECEPTORS]):
        if filled & (1 << receptor) == 0:
            _clear(dendrite + 4 * n * receptor, n)
    return arrived


@compiled()
def _keep(units, u, place, ids, values, count):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    carray(int64_at(units[u, U.KEPT_COUNTS] + 8 * place), 1)[0] = count
    _copy(ids, units[u, U.KEPT_IDS] + 4 * units[u, U.KEPT], count)
    if values != 0:
        _copy(values, units[u, U.KEPT_VALUES] + 4 * units[u, U.KEPT], count)
    units[u, U.KEPT] += count


@compiled()
def _advance(units, accumulators, parts, probes, u, t, sample, steps):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Run a unit for a step; return the events that arrived."""
    n, slot = units[u, U.SIZE], t % units[u, U.RING]
    ids, values, counted = units[u, U.IDS] + 4 * n * slot, units[u, U.VALUES], units[u, U.COUNTS] + 8 * slot
    if values != 0:
        values += 4 * n * slot
    arrived = np.int64(0)
    if units[u, U.STEP] == 0:
        if t < units[u, U.INPUT_STEPS]:
            row = units[u, U.INPUT] + units[u, U.INPUT_BYTES] * n * (sample * units[u, U.INPUT_STEPS] + t)
            call_native(units[u, U.FIND], (row, n, ids, values, counted))
        else:
            carray(int64_at(counted), 1)[0] = 0
    else:
        arrived = _listen(units, accumulators, parts, u, t)
        call_native(units[u, U.STEP], (
            units[u, U.CONSTANTS], units[u, U.SHARED], units[u, U.STATE], units[u, U.DENDRITE], units[u, U.SENT], n, np.int64(0), n, t,
        ))
        call_native(units[u, U.FIND], (units[u, U.SENT], n, ids, values, counted))
    count = _number(counted)
    units[u, U.SPIKES] += count
    if units[u, U.KEPT_COUNTS] != 0:
        _keep(units, u, sample * steps + t, ids, values, count)
    return arrived


@compiled(f"int64({_TABLE}, {_TABLE}, {_TABLE}, {_TABLE}, {_TABLE}, int64[::1], int64[::1], int64, int64, int64, int64)")
def run(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    units, accumulators, parts, probes, components, members, cursor, samples, steps, block, budget
):
    """Run samples until they are through, a recording is full, or the budget is spent; call again to go on.

    Args:
        units, accumulators, parts, probes: tables with the columns of `U`, `A`, `P` and `Q`.
        components: (k, 2), first and last member of each.
        members: units, component by component.
        cursor: sample and step to go on with, updated.
        samples, steps: how many.
        block: steps that a component runs before the next one does.
        budget: neurons updated and events added, about, before the caller is asked.
    """
    spent = 0
    while cursor[0] < samples:
        sample = cursor[0]
        if cursor[1] == 0:
            for u in range(units.shape[0]):
                _copy(units[u, U.INITIAL], units[u, U.STATE], units[u, U.SIZE] * units[u, U.VARIABLES])
        while cursor[1] < steps:
            first = cursor[1]
            last = min(first + block, steps)
            if spent > budget:
                return PAUSED
            for u in range(units.shape[0]):
                if units[u, U.KEPT_COUNTS] != 0 and units[u, U.KEPT] + (last - first) * units[u, U.SIZE] > units[u, U.CAPACITY]:
                    return FULL
            for c in range(components.shape[0]):
                for t in range(first, last):
                    for m in range(components[c, 0], components[c, 1]):
                        u = members[m]
                        spent += units[u, U.SIZE] + 64 * _advance(units, accumulators, parts, probes, u, t, sample, steps)
                    if probes.shape[0] > 0:
                        for m in range(components[c, 0], components[c, 1]):
                            for q in range(probes.shape[0]):
                                if probes[q, Q.UNIT] == members[m]:
                                    n = units[members[m], U.SIZE]
                                    _copy(probes[q, Q.ROW], probes[q, Q.TO] + 4 * n * (sample * steps + t), n)
            cursor[1] = last
        cursor[0] += 1
        cursor[1] = 0
    return DONE
