"""Scales of filters against a brute search, and the grids on which weights stay exact."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor

import numpy as np
import pytest

from nmap_akida.scales import Chosen, choose, lowest, nearest_step, range_of, settle, spikes_from

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


def test_of_scales_that_keep_the_weights_that_is_taken_which_misses_least() -> None:
    def misses(at: np.ndarray, scale: np.ndarray, values: np.ndarray) -> np.ndarray:
        assert len(at) == len(values)
        return np.where(np.isclose(scale, wanted[at]), 0, np.where(scale == 1, 3, 4))

    wanted = np.array([1.0, 2.0, 9.0, 9.0, 4.0, 1.0])
    rows = np.array([[1, -1, 3], [1, -1, 3], [1, -1, 3], [1, 0, 7], [0.5, 0.25, 1.5], [1, 0.3, 0.7]])
    made = chosen(rows, 4, misses=misses)
    assert made.scale[:5].tolist() == [1, 2, 1, 1, 4]
    assert made.values[:5].tolist() == [[1, -1, 3], [2, -2, 6], [1, -1, 3], [1, 0, 7], [2, 1, 6]]
    # Weights on no grid of 4 bits keep nothing, so that only their error counts.
    assert made.exact.tolist() == [True] * 5 + [False]
    assert made.scale[5] == chosen(rows[5:], 4).scale[0]
    assert made.fits.all()


# ---- counting ---------------------------------------------------------------------------------------------------------------------------


def chip_counts(total: int, threshold: int, step: int, levels: int) -> int:
    return max(0, min(levels, ceil(Fraction(16 * (total - threshold), step))))


def real_counts(total: int, theta: Fraction, rest: Fraction, strict: bool, levels: int) -> int:
    quotient = (total + rest) / theta
    return max(0, min(levels, ceil(quotient) - 1 if strict else floor(quotient)))


@pytest.mark.parametrize(("theta", "grain", "step"), [
    (2.5, 1, 40), (5.3, 1, 85), (0.25, 1, 4), (0.01, 1, 1), (2.5, 4, 40), (5.3, 4, 84), (0.25, 4, 4), (0.05, 4, 4), (7.0, 4, 112),
])
def test_the_nearest_step_has_sixteenths_or_with_2_bits_quarters(theta: float, grain: int, step: int) -> None:
    assert nearest_step(np.array([theta]), grain).tolist() == [step]


@pytest.mark.parametrize("levels", [3, 15])
@pytest.mark.parametrize("seed", range(40))
def test_threshold_and_step_count_right_wherever_any_do(levels: int, seed: int) -> None:
    """Against every threshold and step that could be right, sum by sum, in fractions."""
    rng = np.random.default_rng([111, levels, seed])
    grain, strict = 1 if levels == 15 else 4, bool(seed % 2)
    theta = Fraction(int(rng.integers(1, 100)), int(rng.choice([1, 2, 4, 8, 16, 3, 5, 10])))
    rest = Fraction(int(rng.integers(-9, 10)), int(rng.choice([1, 2, 4]))) if seed % 3 == 0 else Fraction(0)
    apart, high, low = int(rng.choice([1, 1, 2, 3, 7])), int(rng.integers(10, 90)), int(rng.integers(0, 30))
    sums = [total for total in range(-low, high + 1) if total % apart == 0]
    wanted = [real_counts(total, theta, rest, strict, levels) for total in sums]
    bounds = spikes_from(np.array([float(theta)]), np.array([float(rest)]), strict, levels)
    made = settle(
        bounds, np.array([float(theta)]), np.array([apart]), (np.array([sums[-1]]), np.array([-sums[0]])), grain, (-500, 500), 16000,
    )
    threshold, step, missed = (int(x[0]) for x in (made.threshold, made.step, made.missed))
    assert step % grain == 0
    got = [chip_counts(total, threshold, step, levels) for total in sums]
    assert sum(abs(a - b) for a, b in zip(got, wanted, strict=True)) == missed
    if missed and wanted[0] == 0:
        first = bounds[0, 0]
        near = int(16 * theta)
        for t in range(int(first) - 9, int(first) + 9):
            for q in range(grain, 3 * near + 40 * grain, grain):
                assert any(chip_counts(total, t, q, levels) != want for total, want in zip(sums, wanted, strict=True)), (t, q)


@pytest.mark.parametrize("levels", [3, 15])
def test_thresholds_of_sixteenths_without_remainder_take_their_own_step(levels: int) -> None:
    # 1 / 2, 1 / 4, ... of a unit: the first spike falls on the beginning of a period.
    theta = np.array([0.25, 0.5, 2.5, 4.5, 5.25, 5.5, 17.0, 3.125, 3.0625])
    n = len(theta)
    made = settle(
        spikes_from(theta, np.zeros(n), False, levels), theta, np.ones(n, np.int64), (np.full(n, 900), np.full(n, 900)),
        1 if levels == 15 else 4, (-500, 500), 16000,
    )
    held = slice(None) if levels == 15 else slice(0, 7)
    assert made.missed[held].tolist() == [0] * len(theta[held])
    assert made.step[held].tolist() == (16 * theta[held]).tolist()
    assert made.threshold[held].tolist() == (np.ceil(theta[held]) - 1).tolist()


def test_thresholds_near_a_whole_number_are_whole() -> None:
    # 0.1 of 32 bits on a scale of 10, ten times: the tie is one.
    assert spikes_from(np.array([10 * float(np.float32(0.1))]), np.zeros(1), False, 3).tolist() == [[1, 2, 3]]
    assert spikes_from(np.array([10 * float(np.float32(0.25)) + 1e-7]), np.zeros(1), False, 3).tolist() == [[3, 5, 8]]
    assert spikes_from(np.array([5.3]), np.zeros(1), False, 10).tolist()[0][-1] == 53
    assert spikes_from(np.array([2.0]), np.array([0.5]), True, 2).tolist() == [[2, 4]]
    assert spikes_from(np.array([2.0]), np.array([1.0]), True, 2).tolist() == [[2, 4]]


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
