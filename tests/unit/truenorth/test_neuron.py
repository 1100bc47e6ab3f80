from __future__ import annotations

import numpy as np
import pytest

from nmap.testing.kernels import run_kernel
from nmap_truenorth.neuron import NEURON

PLAIN = {"alpha": 10, "beta": 20, "leak": 0, "epsilon": 0, "gamma": 0, "kappa": 0, "sigma_vr": 1, "vr": 0}


def run(dendrite: list[int], v: int = 0, **params: int) -> tuple[list[int], list[int]]:
    sent, states = run_kernel(NEURON, PLAIN | params, np.array([[v]]), np.array(dendrite)[:, None, None])
    state = {"v": np.array([v])}
    held = {name: np.array([value]) for name, value in (PLAIN | params).items()}
    for t, amount in enumerate(dendrite):
        assert NEURON.reference_step(held, state, np.array([amount]), t).tolist() == [sent[t, 0]]
        assert state["v"].tolist() == [states[t, 0, 0]]
    return sent[:, 0].tolist(), states[:, 0, 0].tolist()


def test_fires_at_the_threshold_and_resets_to_a_value() -> None:
    assert run([4, 5, 1, 0]) == ([0, 0, 1, 0], [4, 9, 0, 0])
    # R = 2^3 - 1, and its negative
    assert run([12], vr=3) == ([1], [7])
    assert run([12], vr=3, sigma_vr=-1) == ([1], [-7])


def test_other_resets_take_the_threshold_off_or_nothing() -> None:
    assert run([12, 20], gamma=1) == ([1, 1], [2, 12])
    # Nothing is taken off, and the potential does not rise above the threshold
    assert run([12, 20, 0], gamma=2) == ([1, 1, 1], [10, 10, 10])


def test_the_floor_is_strict_and_saturates_or_resets() -> None:
    assert run([-20, -1], kappa=1) == ([0, 0], [-20, -20])
    assert run([-21], kappa=0, vr=2) == ([0], [-3])
    assert run([-25], kappa=0, gamma=1) == ([0], [-5])
    assert run([-25], kappa=0, gamma=2) == ([0], [-25])


def test_the_leak_comes_after_the_synapses() -> None:
    assert run([9, 0], leak=1) == ([1, 0], [0, 1])
    assert run([5, 0], leak=-3) == ([0, 0], [2, -1])


@pytest.mark.parametrize(("v", "after"), [(5, [2, 0, 0]), (-5, [-2, 0, 0]), (3, [0, 0, 0]), (-4, [-1, 0, 0]), (0, [0, 0, 0])])
def test_a_convergent_leak_stops_at_zero(v: int, after: list[int]) -> None:
    assert run([0, 0, 0], v, leak=-3, epsilon=1)[1] == after


def test_a_divergent_leak_moves_away_from_zero() -> None:
    assert run([0, 0], 2, leak=3, epsilon=1)[1] == [5, 8]
    assert run([0, 0], -2, leak=3, epsilon=1)[1] == [-5, -8]
    assert run([0], 0, leak=3, epsilon=1)[1] == [0]


def test_a_unit_without_memory() -> None:
    # Fires where at least 4 arrive, and is 0 after every tick
    assert run([3, 4, -9, 3, 60], alpha=0, beta=0, leak=-4, kappa=1) == ([0, 1, 0, 0, 1], [0, 0, 0, 0, 0])


@pytest.mark.parametrize("seed", range(4))
def test_both_forms_agree_all_over_the_fields(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, steps = 300, 30

    def whole(low: int, high: int) -> np.ndarray:
        return np.clip(np.rint(rng.choice([-1, 1], n) * 2.0 ** rng.uniform(0, np.log2(max(abs(low), high)), n)).astype(np.int64), low, high)

    params = {
        "alpha": np.abs(whole(-(2**18) + 1, 2**18 - 1)), "beta": np.abs(whole(-(2**18) + 1, 2**18 - 1)), "leak": whole(-256, 255),
        "epsilon": rng.integers(0, 2, n), "gamma": rng.integers(0, 3, n), "kappa": rng.integers(0, 2, n),
        "sigma_vr": rng.integers(-1, 2, n), "vr": rng.integers(0, 19, n),
    }
    dendrite = np.array([whole(-300, 300) for _ in range(steps)])
    start = whole(-5000, 5000)
    sent, states = run_kernel(NEURON, params, start[None], dendrite[:, None], pieces=seed + 1)
    state = {"v": start}
    for t in range(steps):
        np.testing.assert_array_equal(NEURON.reference_step(params, state, dendrite[t], t), sent[t])
        np.testing.assert_array_equal(state["v"], states[t, 0])
    assert 0 < sent.mean() < 1
