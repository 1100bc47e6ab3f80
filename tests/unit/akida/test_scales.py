"""Scales of filters against a brute search, and the grids on which weights stay exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from nmap_akida.scales import Chosen, choose, lowest, range_of

FILL = 1e-12


def any_fit(at: np.ndarray, scale: np.ndarray, values: np.ndarray) -> np.ndarray:
    assert len(at) == len(scale) == len(values)
    return np.ones(len(at), bool)


def chosen(weights: np.ndarray, bits: int, fits: Callable[..., np.ndarray] = any_fit, **given: np.ndarray) -> Chosen:
    weights = np.atleast_2d(np.asarray(weights, np.float64))
    return choose(weights, bits, fits, given.pop("least", np.full(len(weights), FILL)), **given)


def squared_error(row: np.ndarray, scale: float, bits: int) -> float:
    low, top = (0, 1) if bits == 1 else (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)
    total = 0.0
    for weight in row:
        total += (min(max(round(weight * scale), low), top) / scale - weight) ** 2
    return total


@pytest.mark.parametrize(("bits", "low", "top", "bottom"), [(1, 0, 1, -1), (2, -1, 1, -2), (4, -7, 7, -8), (8, -127, 127, -128)])
def test_ranges(bits: int, low: int, top: int, bottom: int) -> None:
    assert range_of(bits) == (low, top)
    assert lowest(bits) == bottom


@pytest.mark.parametrize(("bits", "row"), [
    (1, [0, 1, 1]), (2, [-1, 0, 1]), (4, [-7, 3, 0, 7]), (4, [1, -1, 0]), (4, [2, 4, -6]), (8, [-127, 5, 90]), (4, [0, 0, 0]),
])
def test_whole_numbers_in_range_keep_their_values(bits: int, row: list[int]) -> None:
    made = chosen(np.array(row), bits)
    assert made.values.tolist() == [row]
    assert made.scale.tolist() == [1.0]
    assert made.exact.all()
    assert made.fits.all()


@pytest.mark.parametrize(("bits", "row", "values", "scale"), [
    (4, [0.5, -0.25, 0.75], [2, -1, 3], 4.0), (4, [0.1, 0.2, -0.7], [1, 2, -7], 10.0), (4, [14, -4, 2], [7, -2, 1], 0.5),
    (2, [0.3, 0, -0.3], [1, 0, -1], 1 / 0.3), (1, [2.5, 0], [1, 0], 0.4), (8, [0.01, -1.27], [1, -127], 100.0), (4, [5e-9], [1], 2e8),
    (4, [float(np.float32(k * 0.013)) for k in (1, -3, 7)], [1, -3, 7], 1 / 0.013),
])
def test_weights_on_a_grid_take_the_coarsest_one(bits: int, row: list[float], values: list[int], scale: float) -> None:
    made = chosen(np.array(row), bits)
    assert made.values.tolist() == [values]
    assert made.scale[0] == pytest.approx(scale, rel=1e-6)
    assert made.exact.all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("seed", range(5))
def test_the_error_is_close_to_the_least_there_is(bits: int, seed: int) -> None:
    rng = np.random.default_rng([91, bits, seed])
    rows = rng.normal(0, 1, (3, 60)) * rng.uniform(0.01, 50, (3, 1))
    if seed % 2:
        rows *= rng.random((3, 60)) ** 3
    if bits == 1:
        rows = np.abs(rows)
    made = chosen(rows, bits)
    top = range_of(bits)[1]
    for row, values, scale in zip(rows, made.values, made.scale, strict=True):
        full = top / np.abs(row).max()
        found = squared_error(row, scale, bits)
        brute = min(squared_error(row, full * share, bits) for share in np.geomspace(0.3, 12, 400))
        assert found <= squared_error(row, full, bits) * (1 + 1e-3)
        assert found <= brute * 1.1
        low, high = range_of(bits)
        assert values.tolist() == [min(max(round(weight * scale), low), high) for weight in row]
    assert not made.exact.any()


def test_a_scale_makes_units_whole() -> None:
    rng = np.random.default_rng(92)
    rows, unit = rng.normal(0, 0.4, (20, 25)), rng.uniform(0.02, 30, 20)
    made = chosen(rows, 4, unit=unit)
    whole = made.scale * unit
    np.testing.assert_allclose(whole, np.rint(whole), rtol=1e-12)
    assert (whole > 0.5).all()
    # Of all numbers a unit can become, none has a much smaller error.
    for row, scale, one in zip(rows, made.scale, unit, strict=True):
        full = 7 / np.abs(row).max() * one
        least = min(squared_error(row, m / one, 4) for m in range(1, int(3 * full) + 2, 1 + int(full) // 100))
        assert squared_error(row, scale, 4) <= least * 1.1


def test_whole_units_keep_whole_weights_and_others_become_whole_first() -> None:
    made = chosen(np.array([[1, -3, 7], [1, -1, 3], [1, -3, 7]]), 4, unit=np.array([5.0, 2.5, 2.5]))
    assert made.scale[0] == 1
    assert made.values[0].tolist() == [1, -3, 7]
    # Twice the weights fit, so that twice 2.5 is whole; twice 7 does not.
    assert made.scale[1] == 2
    assert made.values[1].tolist() == [2, -2, 6]
    assert made.exact.tolist() == [True, True, False]
    assert made.fits.all()


def test_a_filter_that_does_not_fit_is_pressed_down_to_the_least_scale_and_no_further() -> None:
    rng = np.random.default_rng(93)
    rows = rng.normal(0, 1, (3, 30))
    full = 7 / np.abs(rows).max(1)

    def below(bound: float) -> Callable[..., np.ndarray]:
        return lambda at, scale, values: scale <= full[at] * bound

    pressed = chosen(rows, 4, below(0.3), least=full * 0.1)
    assert pressed.fits.all()
    assert (pressed.scale <= full * 0.3).all()
    assert (pressed.scale >= full * 0.2).all()
    refused = chosen(rows, 4, below(0.3), least=full * 0.4)
    assert not refused.fits.any()


def test_whole_numbers_are_not_scaled_to_make_them_fit() -> None:
    made = chosen(np.array([[7.0, -3, 2], [2.0, 2, 0]]), 4, lambda at, scale, values: scale <= 0.6, least=np.full(2, 0.01))
    assert made.fits.tolist() == [False, True]
    assert made.values.tolist() == [[7, -3, 2], [1, 1, 0]]
    assert made.exact[1]


def test_the_choice_is_that_of_each_filter_alone_and_of_no_order() -> None:
    rng = np.random.default_rng(94)
    rows = rng.normal(0, 1, (30, 9000))
    made = chosen(rows, 4)
    order = rng.permutation(9000)
    other = chosen(rows[:, order], 4)
    assert made.scale.tolist() == other.scale.tolist()
    assert np.array_equal(made.values[:, order], other.values)
    alone = chosen(rows[17:18], 4)
    assert alone.scale[0] == made.scale[17]


def test_errors_are_weighed() -> None:
    row = np.array([[1.0, 0.31, 0.29, 0.33]])
    plain = chosen(row, 2)
    weighed = chosen(row, 2, weigh=np.array([1, 1000, 1000, 1000]))
    assert plain.values.tolist() == [[1, 0, 0, 0]]
    assert weighed.values.tolist() == [[1, 1, 1, 1]]
    assert weighed.scale[0] == pytest.approx(1 / 0.31, rel=0.1)
