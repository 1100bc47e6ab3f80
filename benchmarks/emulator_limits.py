"""What the machine can do at most, measured with loops that do nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from nmap.compiled import compiled
from nmap.pointers import call_native

__all__ = ["dram_rows", "random_updates", "register_rows", "repeat", "row_updates"]

_WIDE = 128
"""Columns that are kept in registers: eight of AVX2's."""


@compiled()
def repeat(address, arguments, times):  # type: ignore[no-untyped-def]
    """Call the native function at an address so often."""
    for _ in range(times):
        call_native(address, arguments)


@compiled()
def _update(acc, index, weights):  # type: ignore[no-untyped-def]
    for k in range(index.size):
        acc[index[k]] += weights[k]


@compiled()
def _update_rows(acc, pointer, index, weights, ids):  # type: ignore[no-untyped-def]
    for k in range(ids.size):
        first, last = np.uint64(pointer[ids[k]]), np.uint64(pointer[ids[k] + 1])
        for s in range(first, last):
            acc[index[s]] += weights[s]


@compiled()
def _update_rows_by_four(acc, pointer, index, weights, ids):  # type: ignore[no-untyped-def]
    for k in range(ids.size):
        first, last = np.uint64(pointer[ids[k]]), np.uint64(pointer[ids[k] + 1])
        whole = first + (last - first) // np.uint64(4) * np.uint64(4)
        for s in range(first, whole, np.uint64(4)):
            a, b, c, d = index[s], index[s + np.uint64(1)], index[s + np.uint64(2)], index[s + np.uint64(3)]
            acc[a] += weights[s]
            acc[b] += weights[s + np.uint64(1)]
            acc[c] += weights[s + np.uint64(2)]
            acc[d] += weights[s + np.uint64(3)]
        for s in range(whole, last):
            acc[index[s]] += weights[s]


@intrinsic  # type: ignore[misc]
def _prefetch(_context: Any, address: Any) -> Any:
    """Ask for the cache line at an address, int64."""

    def generate(_code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        asked = builder.module.declare_intrinsic("llvm.prefetch", [byte], ir.FunctionType(ir.VoidType(), [byte, word, word, word]))
        builder.call(asked, [builder.inttoptr(given[0], byte), *(ir.Constant(word, value) for value in (0, 3, 1))])
        return _code.get_dummy_value()

    return types.void(types.int64), generate


@compiled()
def _update_rows_ahead(acc, pointer, index, weights, ids):  # type: ignore[no-untyped-def]
    # The next row is asked for while this one is added.
    at_index, at_weights = index.ctypes.data, weights.ctypes.data
    for k in range(ids.size):
        first, last = np.uint64(pointer[ids[k]]), np.uint64(pointer[ids[k] + 1])
        following = ids[min(k + 1, ids.size - 1)]
        low, high = pointer[following], pointer[following + 1]
        for line in range(low * index.itemsize, high * index.itemsize, 64):
            _prefetch(np.int64(at_index + line))
        for line in range(low * weights.itemsize, high * weights.itemsize, 64):
            _prefetch(np.int64(at_weights + line))
        for s in range(first, last):
            acc[index[s]] += weights[s]


@intrinsic  # type: ignore[misc]
def _add_block(_context: Any, weights: Any, stride: Any, ids: Any, count: Any, acc: Any) -> Any:
    """Add `_WIDE` int8 columns of so many rows to int16 sums that stay in registers. All arguments are int64, most of them addresses."""

    def generate(_code: Any, builder: Any, _signature: Any, given: Any) -> Any:
        weights, stride, ids, count, acc = given
        word, narrow, wide = ir.IntType(64), ir.VectorType(ir.IntType(8), _WIDE), ir.VectorType(ir.IntType(16), _WIDE)
        place = builder.inttoptr(acc, wide.as_pointer())
        begin = builder.load(place)
        begin.align = 2
        before = builder.block
        head, body, end = (builder.append_basic_block(name) for name in ("head", "body", "end"))
        builder.branch(head)
        builder.position_at_end(head)
        k, total = builder.phi(word), builder.phi(wide)
        k.add_incoming(ir.Constant(word, 0), before)
        total.add_incoming(begin, before)
        builder.cbranch(builder.icmp_signed("<", k, count), body, end)
        builder.position_at_end(body)
        row = builder.load(builder.inttoptr(builder.add(ids, builder.shl(k, ir.Constant(word, 2))), ir.IntType(32).as_pointer()))
        at = builder.add(weights, builder.mul(builder.sext(row, word), stride))
        values = builder.load(builder.inttoptr(at, narrow.as_pointer()))
        values.align = 1
        total.add_incoming(builder.add(total, builder.sext(values, wide)), body)
        k.add_incoming(builder.add(k, ir.Constant(word, 1)), body)
        builder.branch(head)
        builder.position_at_end(end)
        builder.store(total, place).align = 2
        return _code.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64, types.int64), generate


@compiled()
def _add_rows(weights, stride, ids, count, acc, columns, times):  # type: ignore[no-untyped-def]
    for _ in range(times):
        for column in range(0, columns, _WIDE):
            _add_block(weights + column, stride, ids, count, acc + 2 * column)


@compiled()
def _read_rows(rows, ids):  # type: ignore[no-untyped-def]
    total = np.int64(0)
    for k in range(ids.size):
        row = rows[np.uint64(ids[k])]
        for j in range(row.size):
            total += row[j]
    return total


def _best(work: Callable[[], Any], times: int) -> float:
    """Return the seconds of the fastest run, compilation left out."""
    work()
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return min(taken)


def random_updates(elements: int, bits: int, times: int = 7) -> float:
    """Return G events/s of adding to random numbers of an array of `elements` integers; 4096 places again and again, ascending by 100."""
    rng = np.random.default_rng(0)
    acc = np.zeros(elements, f"int{bits}")
    kind = np.uint16 if elements <= 1 << 16 else np.uint32
    places = np.sort(rng.integers(0, elements, (41, 100)), axis=1).ravel().astype(kind)
    index, weights = np.tile(places, 250), np.ones(places.size * 250, np.int8)
    return index.size / _best(lambda: _update(acc, index, weights), times) / 1e9


def row_updates(
    pieces: list[tuple[np.ndarray, np.ndarray, np.ndarray, int]], ids: np.ndarray, bits: int, times: int = 5
) -> float:
    """Return G events/s of adding a network's own rows to integers of so many bits, in the order of its spikes; the best of three loops.

    Args:
        pieces: row pointers, targets, weights and number of targets; one tile of the targets each.
        ids: the neurons that spiked.
    """
    events, seconds = 0, 0.0
    for pointer, index, weights, targets in pieces:
        acc = np.zeros(targets, f"int{bits}")
        events += int((pointer[ids + 1] - pointer[ids]).sum())
        given = (acc, pointer, index, weights, ids)
        seconds += min(_best(partial(loop, *given), times) for loop in (_update_rows, _update_rows_by_four, _update_rows_ahead))
    return events / seconds / 1e9


def register_rows(rows: int, columns: int, active: int, times: int = 7) -> float:
    """Return G events/s of adding `active` of so many int8 rows to int16 sums in registers; columns in multiples of 128."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-128, 128, (rows, columns), np.int8)
    ids = np.sort(rng.permutation(rows)[:active]).astype(np.int32)
    acc = np.zeros(columns, np.int16)
    again = max(1, 20_000_000 // (active * columns))
    addresses = [int(array.ctypes.data) for array in (weights, ids, acc)]
    seconds = _best(lambda: _add_rows(addresses[0], columns, addresses[1], active, addresses[2], columns, again), times)
    return active * columns * again / seconds / 1e9


def dram_rows(row_bytes: int, mib: int = 512, times: int = 3) -> float:
    """Return GB/s of reading random rows of so many bytes from memory far larger than the caches."""
    rows = np.ones(((mib << 20) // row_bytes, row_bytes // 8), np.int64)
    ids = np.random.default_rng(0).integers(0, rows.shape[0], 100_000_000 // row_bytes, np.int64)
    return ids.size * row_bytes / _best(lambda: _read_rows(rows, ids), times) / 1e9
