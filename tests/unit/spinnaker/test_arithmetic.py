"""SpiNNaker 1's numbers against whole numbers of Python, digit by digit."""

from __future__ import annotations

from decimal import Decimal
from math import exp

import numpy as np
import pytest

from nmap_spinnaker.arithmetic import (
    decay,
    decay_and_init,
    encode_weights,
    exp64,
    expk,
    expulr,
    field_bits,
    kdivk,
    mulk,
    raw,
    refractory_steps,
    ring_shift,
    ring_slots,
    ring_slots_used,
    weight_scale,
    wrap32,
)

WORDS = np.array([-(2**31), -(2**31) + 1, -40000, -32768, -32767, -1, 0, 1, 7, 32767, 32768, 65537, 2**31 - 1])


def words(seed: int, count: int = 400) -> np.ndarray:
    rng = np.random.default_rng(seed)
    sized = np.rint(2.0 ** rng.uniform(0, 31, count)).astype(np.int64) * rng.choice([-1, 1], count)
    return np.concatenate([WORDS, np.clip(sized, -(2**31), 2**31 - 1)])


def signed(x: int) -> int:
    return (x + 2**31) % 2**32 - 2**31


def plain_exp64(n: int) -> int:
    """e^(n / 32768) of `stdfix-exp.c`, in Python's whole numbers; the tables by their formulas in 60 digits."""

    def scaled(x: int, y: int) -> int:
        low, high = x % 2**32, x // 2**32
        return (low * y >> 32) + (1 if low * y % 2**32 >= 2**31 - 1 else 0) + high * y

    whole, part = n // 32768, n % 32768
    if part == 0:
        return round(Decimal(whole).exp() * 2**32)
    rest = 32768 - part
    t = round(Decimal(whole + 1).exp() * 2**32)
    t -= scaled(t, round((1 - (-Decimal(rest // 2048) / 16).exp()) * 2**32))
    y = rest % 2048 * 2**17
    q = 4293434720 - (2081624032 * y >> 32)
    return t - scaled(t, (q * y >> 32) + 5294)


def test_wrapping() -> None:
    assert wrap32(np.array([2**31, -(2**31) - 1, 2**33 + 5, 2**31 - 1])).tolist() == [-(2**31), 2**31 - 1, 5, 2**31 - 1]


def test_products_are_rounded_down_and_wrap() -> None:
    a, b = words(1), words(2)[::-1]
    assert mulk(a, b).tolist() == [signed(x * y // 2**15) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    factor = np.abs(words(3)) * 2 - 1 & 0xFFFFFFFF
    assert decay(a, factor).tolist() == [signed(x * d // 2**32) for x, d in zip(a.tolist(), factor.tolist(), strict=True)]
    assert decay(np.array([1, -1]), 0xFFFFFFFF).tolist() == [0, -1]


def test_quotients_are_those_of_64_bits_without_sign() -> None:
    a, b = words(4), words(5)[::-1]
    b = np.where(b == 0, 3, b)
    expected = [signed((x * 2**15) % 2**64 // (y % 2**64)) for x, y in zip(a.tolist(), b.tolist(), strict=True)]
    assert kdivk(a, b).tolist() == expected
    # 20 ms by 0.1 ms as they are stored: 655360 / 3277.
    assert int(kdivk(20 * 32768, 3277)) == 655360 * 32768 // 3277
    with pytest.raises(ValueError, match="by 0"):
        kdivk(np.array([1, 2]), np.array([1, 0]))


def test_the_exponential_digit_by_digit() -> None:
    drawn = np.random.default_rng(6).integers(-340695, 363409, 3000)
    n = np.concatenate([np.arange(-4100, 100), drawn, [-340695, 363408], np.arange(-10, 12) * 32768])
    assert exp64(n).tolist() == [plain_exp64(int(k)) for k in n]


def test_the_exponential_is_one() -> None:
    n = np.random.default_rng(7).integers(-300000, 300000, 2000)
    for k, accum, fraction in zip(n.tolist(), expk(n).tolist(), expulr(n).tolist(), strict=True):
        true = exp(k / 32768)
        assert abs(accum / 32768 - true) < 2**-15 + true * 2e-6
        # e^0 is 2^32, which 32 bits do not hold.
        assert k >= 0 or abs(fraction / 2**32 - true) < 2e-6


def test_the_ends_of_the_exponential() -> None:
    assert expk(np.array([363409, 2**31 - 1, -340696, -(2**31), 0])).tolist() == [2**31 - 1, 2**31 - 1, 0, 0, 32768]
    # One is 2^32, which 32 bits without sign do not hold.
    assert expulr(np.array([363409, -340696, 0])).tolist() == [2**31 - 1, 0, 0]


@pytest.mark.parametrize(("value", "expected"), [
    (1.0, 32768), (-65.0, -2129920), (0.1, 3277), (-0.1, -3277), (65536 - 2.0**-15, 2**31 - 1), (-65536.0, -(2**31)),
    # Halves go to the even side.
    (0.5 / 32768, 0), (1.5 / 32768, 2), (-0.5 / 32768, 0), (-2.5 / 32768, -2),
])  # fmt: skip
def test_parameters_become_accums(value: float, expected: int) -> None:
    assert raw(value).tolist() == expected


def test_parameters_are_rounded_from_their_shortest_decimals() -> None:
    """As the host does, `Decimal(str(value))`: that of a large float that is a half is not always the half itself."""
    halves = (np.random.default_rng(8).integers(-(2**30), 2**30, 3000) + 0.5) / 32768
    expected = [round(Decimal(str(float(value))) * 32768) for value in halves]
    assert raw(halves).tolist() == expected
    assert (np.rint(halves * 32768) != expected).any()
    others = np.random.default_rng(9).uniform(-1000, 1000, (50, 40))
    assert raw(others).tolist() == [[round(Decimal(str(float(value))) * 32768) for value in row] for row in others]


@pytest.mark.parametrize("value", [65536.0, -65537.0, np.nan, np.inf])
def test_what_an_accum_cannot_hold_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match=r"s16\.15"):
        raw(np.array([0.0, value]))


def test_refractory_steps_are_rounded_up() -> None:
    tau, step = raw(np.array([0.0, 0.1, 1.0, 1.0001, 2.0, 2.0])), raw(np.array([1.0, 1.0, 1.0, 1.0, 0.1, 0.5]))
    # 2 ms / 0.1 ms: 65536 / 3277 is 19.998...
    assert refractory_steps(tau, step).tolist() == [0, 1, 1, 2, 20, 4]


def test_a_spike_carries_its_weight_times_the_time_constant() -> None:
    tau, step = raw(np.array([5.0, 1.0, 20.0])), raw(np.array([1.0, 1.0, 0.1]))
    keep, first = decay_and_init(tau, step)
    ratio = np.array([5.0, 1.0, 200.0])
    np.testing.assert_allclose(keep / 2**32, np.exp(-1 / ratio), rtol=4e-5)
    np.testing.assert_allclose(first / 2**32, ratio * (1 - np.exp(-1 / ratio)), rtol=1e-2)
    whole = [(t * 32768 // s, k) for t, s, k in zip(tau.tolist(), step.tolist(), keep.tolist(), strict=True)]
    assert first.tolist() == [quotient * (2**32 - 1 - k) // 2**15 % 2**32 for quotient, k in whole]


@pytest.mark.parametrize(("bound", "shift"), [
    (-1.0, 0), (0.0, 0), (0.3, 0), (0.999, 0), (1.0, 1), (1.5, 1), (2.0, 2), (5.26, 3), (8.0, 4), (100.0, 7), (128.0, 8), (70000.0, 17),
])  # fmt: skip
def test_the_bound_lies_below_the_power(bound: float, shift: int) -> None:
    assert ring_shift(bound) == shift


def test_weights_in_slots() -> None:
    assert weight_scale(3) == 4096
    weights = np.array([0.0, 1 / 4096, 1.5 / 4096, 2.5 / 4096, 0.4 / 4096, 15.9998, 16.0, 17.0])
    # 16 would be 65536, which is 0 in 16 bits, and 17 is 4096.
    assert encode_weights(weights, 3).tolist() == [0, 1, 2, 2, 0, 65535, 0, 4096]


@pytest.mark.parametrize(("neurons", "slots"), [(256, 32), (255, 32), (129, 32), (128, 64), (64, 128), (2, 4096), (1, 4096)])
def test_slots_of_a_core(neurons: int, slots: int) -> None:
    assert ring_slots(neurons) == slots


def test_slots_follow_the_longest_delay() -> None:
    assert [ring_slots_used(longest, 64) for longest in (1, 2, 3, 16, 17, 128, 129, 1000)] == [2, 2, 4, 16, 32, 128, 128, 128]
    assert [field_bits(n) for n in (0, 1, 2, 3, 4, 5, 256, 257)] == [0, 1, 1, 2, 2, 3, 8, 9]
    # What a ring of 16 holds needs no extension, a delay of 16 included.
