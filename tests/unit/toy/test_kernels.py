from __future__ import annotations

import numpy as np
import pytest

from nmap.testing.kernels import run_kernel
from nmap_toy import TARGET
from nmap_toy.kernels import LIF, V_MAX, V_MIN


def run(dendrite: list[int], leak: int, bias: int, threshold: int, v: int = 0) -> tuple[list[int], list[int]]:
    params = {"leak": leak, "bias": bias, "threshold": threshold}
    sent, states = run_kernel(LIF, params, np.array([[v]]), np.array(dendrite)[:, None, None])
    return sent[:, 0].tolist(), states[:, 0, 0].tolist()


def test_integrates_without_leak_and_resets_in_the_step_of_the_spike() -> None:
    # 3, 6, 9 -> spike at 8 or more, then from 0 again
    assert run([3, 3, 3, 3], leak=0, bias=0, threshold=8) == ([0, 0, 1, 0], [3, 6, 0, 3])


def test_threshold_is_inclusive() -> None:
    assert run([8], leak=0, bias=0, threshold=8)[0] == [1]
    assert run([7], leak=0, bias=0, threshold=8)[0] == [0]


def test_leaks_before_it_adds_and_rounds_down() -> None:
    # 9 - (9 >> 2) = 9 - 2 = 7; -9 - (-9 >> 2) = -9 + 3 = -6; -1 - (-1 >> 2) = 0
    assert run([0], leak=2, bias=0, threshold=100, v=9)[1] == [7]
    assert run([0], leak=2, bias=0, threshold=100, v=-9)[1] == [-6]
    assert run([0], leak=2, bias=0, threshold=100, v=-1)[1] == [0]
    # the other order would leak the input too: (9 + 4) - (13 >> 2) = 10
    assert run([4], leak=2, bias=0, threshold=100, v=9)[1] == [11]


def test_bias_is_added_every_step() -> None:
    assert run([0, 0, 0], leak=0, bias=5, threshold=100)[1] == [5, 10, 15]


def test_state_saturates_at_its_ends() -> None:
    assert run([-3000, -5], leak=0, bias=0, threshold=2047)[1] == [-2048, -2048]
    assert run([5000], leak=0, bias=0, threshold=2047) == ([1], [0])
    limit = TARGET.spec.limits["v"]
    assert (limit.min, limit.max) == (V_MIN, V_MAX)


@pytest.mark.parametrize("seed", range(5))
def test_plain_numpy_form_is_the_same_neuron(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, steps = 50, 40
    params = {
        "leak": rng.integers(0, 8, n), "bias": rng.integers(-127, 128, n), "threshold": rng.integers(1, 2048, n),
    }
    dendrite = rng.integers(-400, 400, (steps, n))
    start = rng.integers(-2048, 2048, n)
    sent, states = run_kernel(LIF, params, start[None], dendrite[:, None], pieces=seed + 1)
    state = {"v": start}
    for t in range(steps):
        np.testing.assert_array_equal(LIF.reference_step(params, state, dendrite[t], t), sent[t])
        np.testing.assert_array_equal(state["v"], states[t, 0])
    assert sent.any()


def test_the_ends_of_32_bits_do_not_wrap() -> None:
    ends = [-(1 << 31), -(1 << 31) + 1, -1, 0, 1, (1 << 31) - 1]
    arrived, v = (grid.ravel() for grid in np.meshgrid(ends, ends))
    for leak, bias in ((0, 127), (0, -127), (1, -127), (7, 127), (40, 1)):
        params = {"leak": np.full(v.size, leak), "bias": np.full(v.size, bias), "threshold": np.full(v.size, 2047)}
        sent, states = run_kernel(LIF, params, v[None], arrived[None, None])
        exact = [max(-2048, min(2047, int(x) - (int(x) >> leak if leak else 0) + int(a) + bias)) for x, a in zip(v, arrived, strict=True)]
        assert sent[0].tolist() == [int(x == 2047) for x in exact]
        assert states[0, 0].tolist() == [0 if x == 2047 else x for x in exact]
        state = {"v": v}
        np.testing.assert_array_equal(LIF.reference_step(params, state, arrived, 0), sent[0])
        np.testing.assert_array_equal(state["v"], states[0, 0])
