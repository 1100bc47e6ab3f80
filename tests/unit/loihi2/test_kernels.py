"""Loihi 2 neuron kernels: hand-computed steps, range ends, and compiled against plain numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.emulate.kernel import Kernel
from nmap_loihi2.kernels import KERNELS, LIF, TERNARY_LIF


def run(kernel, params, dendrite, state=None):
    dendrite = np.atleast_2d(np.asarray(dendrite, np.int64)).T if np.ndim(dendrite) == 1 else np.asarray(dendrite, np.int64)
    steps, n = dendrite.shape
    rows = np.array([np.broadcast_to(params[name], n) for name in kernel.params], np.int64)
    state = np.zeros((len(kernel.state), n), np.int64) if state is None else np.array(state, np.int64)
    spikes, probe = np.empty((steps, n), np.int32), np.empty((steps, len(kernel.state), n), np.int64)
    kernel.run(rows, state, np.ascontiguousarray(dendrite), spikes, probe, 0)
    return spikes, probe[:, 0], probe[:, 1]


BASE = {"du": 4095, "dv": 4096, "vth": 131071, "bias_mant": 0, "bias_exp": 0, "vth_lo": -131071}


def test_contract():
    for name, kernel in KERNELS.items():
        assert isinstance(kernel, Kernel)
        assert kernel.name == name


def test_decay_rounds_toward_zero_on_both_sides():
    # du = 0 keeps 4095/4096: from +-64 one step leaves 63 on both sides; a floor shift would leave -64.
    _, u, _ = run(LIF, {**BASE, "du": 0}, [[1, -1], [0, 0]])
    assert u.tolist() == [[64, -64], [63, -63]]


def test_lossless_integrator():
    _, u, _ = run(LIF, {**BASE, "du": -1}, [1, 0, 0, -2])
    assert u[:, 0].tolist() == [64, 64, 64, -64]


def test_threshold_is_strict_and_resets_to_zero():
    spikes, _, v = run(LIF, {**BASE, "dv": 0, "vth": 5}, [5, 0, 1, 0])
    assert spikes[:, 0].tolist() == [0, 0, 1, 0]
    assert v[:, 0].tolist() == [320, 320, 0, 0]


def test_bias_exponent():
    _, _, v = run(LIF, {**BASE, "bias_mant": np.array([3, -3]), "bias_exp": 2}, np.zeros((2, 2), np.int64))
    assert v.tolist() == [[12, -12], [12, -12]]


def test_current_wraps_once_at_24_bits():
    # 2^23 stays, 2^23 + 64 wraps, -2^23 becomes +2^23.
    _, u, _ = run(LIF, BASE, [[1 << 17, (1 << 17) + 1, -(1 << 17)]])
    assert u.tolist() == [[1 << 23, (1 << 23) + 64 - (1 << 24), 1 << 23]]


def test_voltage_saturates():
    _, _, v = run(LIF, {**BASE, "dv": 0}, [-100000, -100000])
    assert v[:, 0].tolist() == [-6400000, -((1 << 23) - 1)]


def test_ternary_spikes_below():
    spikes, _, v = run(TERNARY_LIF, {**BASE, "dv": 0, "vth": 5, "vth_lo": -5}, [-5, -1, 6])
    assert spikes[:, 0].tolist() == [0, -1, 1]
    assert v[:, 0].tolist() == [-320, 0, 0]


@pytest.mark.parametrize("name", sorted(KERNELS))
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_compiled_equals_numpy(name, data):
    kernel = KERNELS[name]
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    n, steps = 7, 12
    params = {
        "du": rng.integers(-1, 4096, n), "dv": rng.integers(0, 4097, n), "vth": rng.integers(0, 1 << rng.integers(1, 18), n),
        "bias_mant": rng.integers(-4096, 4096, n), "bias_exp": rng.integers(-3, 8, n), "vth_lo": -rng.integers(0, 131072, n),
    }
    params = {key: params[key] for key in kernel.params}
    dendrite = rng.integers(-1, 2, (steps, n)) * rng.integers(0, 1 << rng.integers(1, 19), (steps, n))
    spikes, u, v = run(kernel, params, dendrite)
    state = {variable: np.zeros(n, np.int64) for variable in kernel.state}
    for t in range(steps):
        np.testing.assert_array_equal(kernel.reference_step(params, state, dendrite[t], t), spikes[t])
        np.testing.assert_array_equal(state["u"], u[t])
        np.testing.assert_array_equal(state["v"], v[t])
