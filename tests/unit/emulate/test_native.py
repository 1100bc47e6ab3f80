"""The emulator's compiled routines compute what plain numpy computes on 64-bit integers."""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.compiled import Native
from nmap.emulate.native import find_bytes, find_words, fold, product, product_room, product_sources, routine
from nmap.emulate.parts import list_blocks

WIDTHS = [(8, 16, False), *itertools.product((8, 16, 32), (32, 64), (False, True))]
MATRIX = [widths for widths in WIDTHS if widths[1] != 16]
INTEGER = {8: np.int8, 16: np.int16, 32: np.int32, 64: np.int64}
UNSIGNED = {16: np.uint16, 32: np.uint32}
INT32 = np.iinfo(np.int32)


def call(native: Native, *arguments: int | np.ndarray) -> None:
    """Call a routine with numbers and with addresses of arrays."""
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(arguments))(native.address)
    for argument in arguments:
        assert not isinstance(argument, np.ndarray) or argument.flags.c_contiguous
    function(*(a.ctypes.data if isinstance(a, np.ndarray) else int(a) for a in arguments))


def integers(rng: np.random.Generator, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return numbers over the whole range of a width, its ends often."""
    limits = np.iinfo(INTEGER[bits])
    numbers = rng.integers(limits.min, limits.max, shape, dtype=INTEGER[bits], endpoint=True)
    return np.where(rng.random(shape) < 0.2, rng.choice(np.array([limits.min, limits.max, 0], INTEGER[bits]), shape), numbers)


def payloads(rng: np.random.Generator, count: int, graded: bool) -> tuple[np.ndarray, np.ndarray]:
    """Return what is handed to a routine and what it must take: 1 each where it is for binary spikes."""
    values = integers(rng, 32, (count,))
    return values, values.astype(np.int64) if graded else np.ones(count, np.int64)


def wrapped(numbers: np.ndarray, bits: int) -> np.ndarray:
    """Return 64-bit numbers modulo 2^bits; sums and products in numpy's int64 are modulo 2^64 already."""
    return numbers.astype(INTEGER[bits])


def fits(start: np.ndarray, acc: int) -> np.ndarray:
    """Return accumulators to begin with, small where they have 16 bits and must not overflow."""
    return start // 64 if acc == 16 else start


# Matrices


@pytest.mark.parametrize(("weight", "acc", "graded"), MATRIX)
@pytest.mark.parametrize(("columns", "count"), [(32, 5), (96, 1), (160, 300), (416, 7), (32, 0)])
def test_matrix_adds_rows(weight: int, acc: int, graded: bool, columns: int, count: int) -> None:
    rng = np.random.default_rng(columns + count)
    weights = integers(rng, weight, (50, columns + 5))
    ids = rng.integers(0, 50, count).astype(np.int32)
    values, factors = payloads(rng, count, graded)
    start = integers(rng, acc, (columns + 8,))
    target = start.copy()
    descriptor = np.array([weights.ctypes.data, weights.strides[0], columns], np.int64)
    call(routine("matrix", weight, 0, acc, graded), descriptor, ids, values, count, target)
    expected = start.astype(np.int64)
    for k in range(count):
        expected[:columns] += weights[ids[k], :columns].astype(np.int64) * factors[k]
    np.testing.assert_array_equal(target, wrapped(expected, acc))


@pytest.mark.parametrize("low", [-128, 127])
@pytest.mark.parametrize("count", [255, 256, 257, 511, 1024, 3000])
@pytest.mark.parametrize("acc", [32, 64])
def test_matrix_sums_do_not_stop_at_16_bits(low: int, count: int, acc: int) -> None:
    weights = np.full((1, 64), low, np.int8)
    weights[0, 1::3] = -1
    target = np.zeros(64, INTEGER[acc])
    descriptor = np.array([weights.ctypes.data, 64, 64], np.int64)
    call(routine("matrix", 8, 0, acc, False), descriptor, np.zeros(count, np.int32), 0, count, target)
    np.testing.assert_array_equal(target, count * weights[0].astype(np.int64))


def test_matrix_keeps_its_columns_in_order() -> None:
    weights = np.arange(-128, 128, dtype=np.int16).astype(np.int8).reshape(1, 256)
    target = np.zeros(256, np.int32)
    descriptor = np.array([weights.ctypes.data, 256, 256], np.int64)
    call(routine("matrix", 8, 0, 32, False), descriptor, np.zeros(1, np.int32), 0, 1, target)
    np.testing.assert_array_equal(target, np.arange(-128, 128))


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 600), st.integers(1, 12), st.booleans())
def test_matrix_of_bytes_equals_numpy(seed: int, count: int, blocks: int, graded: bool) -> None:
    rng = np.random.default_rng(seed)
    columns = 32 * blocks
    weights = integers(rng, 8, (20, columns))
    ids = rng.integers(0, 20, count).astype(np.int32)
    values, factors = payloads(rng, count, graded)
    target = np.zeros(columns, np.int32)
    descriptor = np.array([weights.ctypes.data, columns, columns], np.int64)
    call(routine("matrix", 8, 0, 32, graded), descriptor, ids, values, count, target)
    np.testing.assert_array_equal(target, wrapped(factors @ weights[ids].astype(np.int64), 32))


# Runs


@pytest.mark.parametrize(("weight", "acc", "graded"), WIDTHS)
@pytest.mark.parametrize("count", [0, 1, 40])
def test_runs_add_pieces(weight: int, acc: int, graded: bool, count: int) -> None:
    rng = np.random.default_rng(count)
    # Set 0 has no run, set 1 one of each length up to 112 and some beyond, set 2 two that overlap and reach before the base.
    pointer = np.array([0, 0, 10, 12], np.int32)
    length = np.array([16, 32, 48, 64, 80, 96, 112, 128, 144, 208, 16, 80], np.int32)
    offset = np.array([0, 3, 40, 90, 170, 250, 350, 300, 11, 200, -20, -13], np.int32)
    start = np.array([0, 16, 5, 33, 128, 100, 88, 30, 99, 2, 1, 60], np.int64)
    weights = integers(rng, weight, (250,))
    # What does nothing has no set.
    sets = np.array([1, 2, 0, INT32.max, 2, 1], np.int32)
    base = np.array([20, 21, 5, -1, 60, 37], np.int32)
    ids = rng.integers(0, 6, count).astype(np.int32)
    values, factors = payloads(rng, count, graded)
    begin = fits(integers(rng, acc, (520,)), acc)
    target = begin.copy()
    words = [weights, base, sets, pointer, offset, start, length]
    descriptor = np.array([word.ctypes.data for word in words], np.int64)
    call(routine("runs", weight, 0, acc, graded), descriptor, ids, values, count, target)
    expected = begin.astype(np.int64)
    for source, factor in zip(ids, factors, strict=True):
        if base[source] >= 0:
            for run in range(pointer[sets[source]], pointer[sets[source] + 1]):
                at = base[source] + offset[run]
                expected[at : at + length[run]] += weights[start[run] : start[run] + length[run]].astype(np.int64) * factor
    if acc == 16:
        assert np.abs(expected).max() < 2**15
    np.testing.assert_array_equal(target, wrapped(expected, acc))


@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize("count", [1, 5, 300])
def test_runs_of_sources_with_rows_of_their_own(first: int, count: int) -> None:
    rng = np.random.default_rng(count + first)
    weights = integers(rng, 8, (300, 256))
    base = rng.integers(0, 4000, 300).astype(np.int32)
    base[rng.random(300) < 0.2] = -1
    sets = np.where(base < 0, INT32.min, np.arange(300)).astype(np.int32)
    # Every third set is empty, the last one too.
    edges = np.cumsum(np.arange(301) % 3 != 0)
    pointer = np.concatenate([[0], edges]).astype(np.int32)
    rows = [k for k in range(301) if edges[k] > (edges[k - 1] if k else 0)]
    start = 256 * np.arange(len(rows), dtype=np.int64)
    length = np.full(len(rows), 256, np.int32)
    offset = rng.integers(0, 50, len(rows)).astype(np.int32)
    ids = np.arange(first, first + count).astype(np.int32) % 300
    target = np.zeros(5000, np.int32)
    words = [weights, base, sets, pointer, offset, start, length]
    descriptor = np.array([word.ctypes.data for word in words], np.int64)
    call(routine("runs", 8, 0, 32, False), descriptor, ids, 0, count, target)
    expected = np.zeros(5000, np.int64)
    for source in ids:
        if base[source] >= 0 and source in rows:
            run = rows.index(source)
            expected[base[source] + offset[run] :][:256] += weights[run]
    np.testing.assert_array_equal(target, expected)


# Rows


@pytest.mark.parametrize(("weight", "acc", "graded"), WIDTHS)
@pytest.mark.parametrize(("columns", "count"), [(16, 40), (48, 1), (112, 40), (128, 9), (272, 40), (32, 0)])
def test_rows_add_one_row_somewhere(weight: int, acc: int, graded: bool, columns: int, count: int) -> None:
    rng = np.random.default_rng(columns + count)
    weights = integers(rng, weight, (50, columns + 3))
    base = rng.integers(0, 200, 50).astype(np.int32)
    base[::7] = -1
    ids = rng.integers(0, 50, count).astype(np.int32)
    values, factors = payloads(rng, count, graded)
    begin = fits(integers(rng, acc, (210 + columns,)), acc)
    target = begin.copy()
    descriptor = np.array([weights.ctypes.data, weights.strides[0], columns, base.ctypes.data], np.int64)
    call(routine("rows", weight, 0, acc, graded), descriptor, ids, values, count, target)
    expected = begin.astype(np.int64)
    for source, factor in zip(ids, factors, strict=True):
        if base[source] >= 0:
            expected[base[source] :][:columns] += weights[source, :columns].astype(np.int64) * factor
    if acc == 16:
        assert np.abs(expected).max() < 2**15
    np.testing.assert_array_equal(target, wrapped(expected, acc))


# Products


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize(
    ("sources", "columns", "steps"), [(1, 32, 1), (3, 96, 2), (33, 64, 7), (255, 32, 5), (257, 160, 3), (784, 224, 40)]
)
def test_product_equals_numpy_and_rows(share: float, sources: int, columns: int, steps: int) -> None:
    rng = np.random.default_rng(sources + steps)
    weights = integers(rng, 8, (sources, columns + 5))
    spikes = rng.random((steps, sources)) < share
    room = np.zeros(product_room(steps), np.uint8)
    descriptor = np.array([weights.ctypes.data, weights.strides[0], columns, sources], np.int64)
    # What is left in the room from one product does not change the next one.
    for sent in (~spikes, spikes):
        marks = np.zeros((steps + 1, product_sources(sources)), np.uint8)
        marks[:-1, :sources] = sent
        marks[-1] = 7
        sums = np.full((steps + 1, columns), -5, np.int32)
        call(product, descriptor, marks, steps, sums, room)
        np.testing.assert_array_equal(sums[:-1], sent.astype(np.int64) @ weights[:, :columns].astype(np.int64))
        assert (sums[-1] == -5).all()
        assert (marks[-1] == 7).all()
    for step in range(steps):
        ids = np.flatnonzero(spikes[step]).astype(np.int32)
        target = np.zeros(columns, np.int32)
        call(routine("matrix", 8, 0, 32, False), descriptor, ids, 0, len(ids), target)
        np.testing.assert_array_equal(sums[step], target)


@pytest.mark.parametrize("weight", [-128, 127])
@pytest.mark.parametrize("sources", [255, 256, 257, 513, 1100])
def test_product_does_not_stop_at_16_bits(weight: int, sources: int) -> None:
    weights = np.full((sources, 96), weight, np.int8)
    marks = np.zeros((2, product_sources(sources)), np.uint8)
    marks[:, :sources] = 1
    sums = np.zeros((2, 96), np.int32)
    descriptor = np.array([weights.ctypes.data, 96, 96, sources], np.int64)
    call(product, descriptor, marks, 2, sums, np.zeros(product_room(2), np.uint8))
    assert (sums == sources * weight).all()


@pytest.mark.parametrize("source", range(8))
def test_product_of_one_source(source: int) -> None:
    weights = np.arange(-128, 128, dtype=np.int16).astype(np.int8).reshape(8, 32)
    marks = np.zeros((1, product_sources(8)), np.uint8)
    marks[0, source] = 1
    sums = np.zeros((1, 32), np.int32)
    descriptor = np.array([weights.ctypes.data, 32, 32, 8], np.int64)
    call(product, descriptor, marks, 1, sums, np.zeros(product_room(1), np.uint8))
    np.testing.assert_array_equal(sums[0], np.arange(-128, 128)[32 * source :][:32])


# Lists


@pytest.mark.parametrize(("weight", "acc", "graded"), WIDTHS)
@pytest.mark.parametrize("index", [16, 32])
@pytest.mark.parametrize("count", [0, 1, 2, 30, 400])
def test_lists_scatter(weight: int, acc: int, graded: bool, index: int, count: int) -> None:
    rng = np.random.default_rng(count)
    lengths = np.array([0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 33, 64, 65, 100, 0])
    lengths = np.append(lengths, 2500 if count < 100 and acc != 16 else 0)
    size = 2**16 if index == 16 else 2**16 + 50
    # The first blocks belong to no list.
    pointer = np.concatenate([[3], 3 + np.cumsum(-(-lengths // 8))]).astype(np.int32)
    places, weights = list_blocks(int(pointer[-1]), UNSIGNED[index], INTEGER[weight], size)
    assert places.ctypes.data % 64 == 0
    rows = []
    for source, length in enumerate(lengths):
        row = rng.integers(0, size, length)
        row[rng.random(length) < 0.3] = size - 1
        numbers = integers(rng, weight, (length,))
        numbers = numbers // 8 if acc == 16 else numbers
        where = 8 * pointer[source] + np.arange(length)
        places[where // 8, where % 8], weights[where // 8, where % 8] = row, numbers
        rows.append((row, numbers.astype(np.int64)))
    ids = rng.integers(0, len(lengths), count).astype(np.int32)
    values, factors = payloads(rng, count, graded)
    begin = fits(integers(rng, acc, (size,)), acc)
    target = begin.copy()
    descriptor = np.array([pointer.ctypes.data, places.ctypes.data], np.int64)
    call(routine("lists", weight, index, acc, graded), descriptor, ids, values, count, target)
    expected = begin.astype(np.int64)
    for source, factor in zip(ids, factors, strict=True):
        np.add.at(expected, rows[source][0], rows[source][1] * factor)
    if acc == 16:
        assert np.abs(expected).max() < 2**15
    np.testing.assert_array_equal(target, wrapped(expected, acc))


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), min_size=1, max_size=12), seed=st.integers(0, 2**32 - 1), count=st.integers(0, 700))
def test_lists_of_any_lengths_fill_and_empty_the_queue(lengths: list[int], seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = np.zeros((len(lengths), 50), np.int64)
    pointer = np.concatenate([[0], np.cumsum([-(-length // 8) for length in lengths])]).astype(np.int32)
    places, weights = list_blocks(int(pointer[-1]), np.uint16, np.int8, 50)
    for source, length in enumerate(lengths):
        row, numbers = rng.choice(50, length, replace=False), rng.integers(-128, 128, length)
        matrix[source, row] = numbers
        where = 8 * int(pointer[source]) + np.arange(length)
        places[where // 8, where % 8], weights[where // 8, where % 8] = row, numbers
    ids = rng.integers(0, len(lengths), count).astype(np.int32)
    values = rng.integers(-5, 6, count).astype(np.int32)
    descriptor = np.array([pointer.ctypes.data, places.ctypes.data], np.int64)
    for graded, factors in ((False, np.ones(count, np.int64)), (True, values.astype(np.int64))):
        target = np.zeros(50, np.int32)
        call(routine("lists", 8, 16, 32, graded), descriptor, ids, values, count, target)
        np.testing.assert_array_equal(target, factors @ matrix[ids])


def test_what_fills_up_a_block_is_spread_over_targets() -> None:
    places, weights = list_blocks(3, np.uint32, np.int16, 5)
    assert places.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2]] * 3
    assert weights.tolist() == [[0] * 8] * 3
    weights[1, 7] = -2
    places[2, 0] = 4
    # Eight indices of four bytes, then eight weights of two.
    raw = np.ctypeslib.as_array(ctypes.cast(places.ctypes.data, ctypes.POINTER(ctypes.c_int16)), (3, 24))
    assert raw[1, 23] == -2
    assert raw[2, 0] == 4


@pytest.mark.parametrize(
    ("kind", "weight", "index", "acc", "graded"),
    [
        ("matrix", 8, 0, 16, False), ("runs", 8, 0, 16, True), ("runs", 16, 0, 16, False), ("lists", 8, 16, 16, True),
        ("lists", 8, 8, 32, False), ("lists", 8, 0, 32, False), ("matrix", 8, 16, 32, False), ("matrix", 64, 0, 64, False),
        ("matrix", 8, 0, 8, False), ("rows", 8, 0, 16, True), ("rows", 16, 0, 16, False), ("columns", 8, 0, 32, False),
    ],
)  # fmt: skip
def test_no_such_routine(kind: str, weight: int, index: int, acc: int, graded: bool) -> None:
    with pytest.raises(ValueError, match="no routine"):
        routine(kind, weight, index, acc, graded)


def test_the_same_routine_is_handed_out_again() -> None:
    assert routine("matrix", 8, 0, 32, False) is routine("matrix", 8, 0, 32, False)


# Folding


def held(number: int, bits: int) -> int:
    """Return the low bits of a Python number in two's complement; all of them for 0."""
    if bits == 0:
        return number
    low = number % 2**bits
    return low - 2**bits if low >= 2 ** (bits - 1) else low


SEGMENTS = {
    "one": [(0, 0, 700)],
    "short": [(0, 0, 5)],
    "none": [],
    "padded": [(20 * k + 2, 16 * k, 16) for k in range(34)],
    "the same twice": [(10, 0, 100), (10, 200, 100), (650, 300, 60)],
    "swapped": [(300, 0, 33), (0, 40, 47), (100, 100, 1), (128, 101, 0)],
}


@pytest.mark.parametrize("segments", SEGMENTS.values(), ids=SEGMENTS)
@pytest.mark.parametrize("add", [0, 1])
@pytest.mark.parametrize(
    ("acc", "shift", "bits"),
    [
        (16, 0, 0), (16, 6, 0), (16, 31, 0), (32, 0, 0), (32, 6, 0), (32, 31, 0), (64, 0, 0), (64, 6, 24), (64, -3, 24), (64, -7, 32),
        (64, 2, 32), (64, -1, 34), (64, 0, 34), (64, -9, 0), (64, 40, 0), (64, -63, 0), (64, 5, 64), (64, 1, 1), (64, 3, 24),
    ],
)  # fmt: skip
def test_fold(segments: list[tuple[int, int, int]], add: int, acc: int, shift: int, bits: int) -> None:
    rng = np.random.default_rng(acc + shift + bits)
    target = integers(rng, acc, (720,))
    edge = 2 ** max(bits - 1, 0)
    edges = np.array([held(number, 64) for number in (edge, edge - 1, -edge, -edge - 1)], np.int64)
    target[::7] = wrapped(rng.choice(edges, target[::7].shape), acc)
    before = target.copy()
    dendrite = integers(rng, 32, (720,))
    expected = dendrite.copy()
    words = np.array(segments, np.int64).reshape(-1)
    call(fold(acc), target, dendrite, words, len(segments), 710, shift, bits, add)
    for first, to, length in segments:
        for k in range(length):
            inside = held(int(before[first + k]), bits)
            inside = held(inside << shift if shift >= 0 else inside >> -shift, bits)
            total = inside + add * int(expected[to + k])
            expected[to + k] = held(total, 32)
    np.testing.assert_array_equal(dendrite, expected)
    assert not target[:710].any()
    np.testing.assert_array_equal(target[710:], before[710:])


def test_no_such_fold() -> None:
    with pytest.raises(ValueError, match="no fold"):
        fold(8)


# Finding


@pytest.mark.parametrize(("finder", "width"), [(find_bytes, np.uint8), (find_words, np.int32)])
@pytest.mark.parametrize("n", [0, 1, 31, 32, 33, 63, 64, 65, 127, 128, 200, 1000])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 1.0])
@pytest.mark.parametrize("wanted", [False, True])
def test_find(finder: Native, width: type[np.integer], n: int, share: float, wanted: bool) -> None:
    rng = np.random.default_rng(n)
    limits = np.iinfo(width)
    sent = rng.integers(limits.min, limits.max, n, dtype=width, endpoint=True)
    sent[sent == 0] = 1
    sent[rng.random(n) >= share] = 0
    ids, values, count = np.full(n + 1, -7, np.int32), np.full(n + 1, -7, np.int32), np.full(1, -7, np.int64)
    call(finder, sent, n, ids, values if wanted else 0, count)
    expected = np.nonzero(sent)[0]
    assert count[0] == len(expected)
    np.testing.assert_array_equal(ids[: len(expected)], expected)
    assert ids[n] == -7
    assert values[n] == -7
    if wanted:
        np.testing.assert_array_equal(values[: len(expected)], sent[expected])
    else:
        assert (values == -7).all()


@pytest.mark.parametrize(("finder", "width"), [(find_bytes, np.uint8), (find_words, np.int32)])
@pytest.mark.parametrize("at", [0, 31, 32, 63, 64, 95, 127, 128, 130])
def test_find_one(finder: Native, width: type[np.integer], at: int) -> None:
    sent = np.zeros(131, width)
    sent[at] = np.iinfo(width).max
    ids, count = np.zeros(131, np.int32), np.zeros(1, np.int64)
    call(finder, sent, 131, ids, 0, count)
    assert (count[0], ids[0]) == (1, at)
    # What lies behind the last number is not looked at.
    call(finder, sent, at, ids, 0, count)
    assert count[0] == 0


def test_find_words_of_which_only_high_bits_are_set() -> None:
    sent = np.full(40, INT32.min, np.int32)
    ids, values, count = np.zeros(40, np.int32), np.zeros(40, np.int32), np.zeros(1, np.int64)
    call(find_words, sent, 40, ids, values, count)
    assert count[0] == 40
    assert (values == INT32.min).all()
