from __future__ import annotations

import numpy as np
import pytest

from nmap_toy import TARGET
from nmap_toy.kernels import LIF, V_MAX, V_MIN


def run(dendrite: list[int], leak: int, bias: int, threshold: int, v: int = 0) -> tuple[list[int], list[int]]:
    params = np.array([[leak], [bias], [threshold]], np.int64)
    state = np.array([[v]], np.int64)
    spikes = np.full((len(dendrite), 1), 9, np.int32)
    probe = np.empty((len(dendrite), 1, 1), np.int64)
    LIF.run(params, state, np.array(dendrite, np.int64)[:, None], spikes, probe, 0)
    assert state[0, 0] == probe[-1, 0, 0]
    return spikes[:, 0].tolist(), probe[:, 0, 0].tolist()


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


def test_a_probe_is_optional() -> None:
    spikes = np.empty((2, 1), np.int32)
    LIF.run(np.array([[0], [0], [4]]), np.zeros((1, 1), np.int64), np.full((2, 1), 4), spikes, np.empty((0, 0, 0), np.int64), 0)
    assert spikes.ravel().tolist() == [1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_plain_numpy_form_is_the_same_neuron(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, steps, samples = 50, 40, 3
    params = {
        "leak": rng.integers(0, 8, n), "bias": rng.integers(-127, 128, n), "threshold": rng.integers(1, 2048, n),
    }
    dendrite = rng.integers(-400, 400, (steps, samples, n))
    state = {"v": np.tile(rng.integers(-2048, 2048, n), (samples, 1))}
    rows = np.array([np.tile(params[name], samples) for name in LIF.params])
    compiled = state["v"].reshape(1, -1).copy()
    spikes, probe = np.empty((steps, samples * n), np.int32), np.empty((steps, 1, samples * n), np.int64)
    LIF.run(rows, compiled, dendrite.reshape(steps, -1), spikes, probe, 0)
    fired = 0
    for t in range(steps):
        out = LIF.reference_step(params, state, dendrite[t], t)
        np.testing.assert_array_equal(out.ravel(), spikes[t])
        np.testing.assert_array_equal(state["v"].ravel(), probe[t, 0])
        fired += int(out.sum())
    assert fired > 0
