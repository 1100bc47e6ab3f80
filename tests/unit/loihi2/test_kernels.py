"""Loihi 2 neuron kernels: hand-computed steps, range ends, and compiled against plain numpy."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.emulate.kernel import Kernel
from nmap.testing.kernels import advance, run_kernel
from nmap_loihi2.kernels import ATRLIF, DELTA, KERNELS, LIF, LIF_RESET, RELAY, RF, RF_IZ, SIGMA, SIGMA_DELTA, TERNARY_LIF

MAX = (1 << 23) - 1
LOW = -(1 << 31)


def run(kernel, params, dendrite, state=None, first_step=0):
    """Run on (steps,) inputs of one neuron or (steps, receptors x neurons); return spikes, then each state variable, (steps, neurons)."""
    dendrite = np.atleast_2d(np.asarray(dendrite, np.int64)).T if np.ndim(dendrite) == 1 else np.asarray(dendrite, np.int64)
    steps, n = dendrite.shape[0], dendrite.shape[1] // kernel.receptors
    state = np.zeros((len(kernel.state), n), np.int64) if state is None else np.array(state, np.int64).reshape(-1, n)
    spikes, states = run_kernel(kernel, params, state, dendrite.reshape(steps, kernel.receptors, n), first_step)
    return spikes, *states.transpose(1, 0, 2)


BASE = {"du": 4095, "dv": 4096, "vth": 131071, "bias_mant": 0, "bias_exp": 0, "vth_lo": -131071}


def test_contract():
    assert set(KERNELS) == {
        f"loihi2.{name}" for name in ("lif", "ternary_lif", "lif_reset", "delta", "sigma_delta", "sigma", "rf", "rf_iz", "atrlif", "relay")
    }
    for name, kernel in KERNELS.items():
        assert isinstance(kernel, Kernel)
        assert kernel.name == name
        assert kernel.receptors == (2 if kernel in (RF, RF_IZ) else 1)
        assert kernel.graded == (kernel in (TERNARY_LIF, DELTA, SIGMA_DELTA, SIGMA, RELAY))


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
    # Mantissa and exponent have 16 bits, the shifted bias 32; to the right it is rounded down.
    mantissa, exponent = np.array([3, -3, -3, 40000, 5, 5, -5]), np.array([2, 2, -1, 7, 40, -40, -40])
    _, _, v = run(LIF, {**BASE, "bias_mant": mantissa, "bias_exp": exponent}, np.zeros((2, 7), np.int64))
    assert v.tolist() == [[12, -12, -2, (40000 - 65536) * 128, 0, 0, -1]] * 2


def test_current_wraps_once_at_24_bits():
    # 2^23 stays, 2^23 + 64 wraps, -2^23 becomes +2^23.
    _, u, _ = run(LIF, BASE, [[1 << 17, (1 << 17) + 1, -(1 << 17)]])
    assert u.tolist() == [[1 << 23, (1 << 23) + 64 - (1 << 24), 1 << 23]]


def test_current_wraps_at_32_bits_before():
    # 3 2^25 in units of 64 is 3 2^31, which is -2^31 in 32 bits; the wrap by 2^24 then happens once.
    _, u, v = run(LIF, {**BASE, "dv": 0}, [[1 << 25, 3 << 25, 1 << 26]])
    assert u.tolist() == [[LOW + (1 << 24), LOW + (1 << 24), 0]]
    assert v.tolist() == [[-MAX, -MAX, 0]]


def test_voltage_saturates():
    _, _, v = run(LIF, {**BASE, "dv": 0}, [-100000, -100000])
    assert v[:, 0].tolist() == [-6400000, -MAX]


def test_ternary_spikes_below():
    spikes, _, v = run(TERNARY_LIF, {**BASE, "dv": 0, "vth": 5, "vth_lo": -5}, [-5, -1, 6])
    assert spikes[:, 0].tolist() == [0, -1, 1]
    assert v[:, 0].tolist() == [-320, 0, 0]


def test_thresholds_beyond_32_bits():
    # 2^25 shifted by 6 is -2^31 in TernaryLIF's 32 bits, so every voltage is above; LIF's threshold does not wrap.
    assert run(TERNARY_LIF, {**BASE, "vth": 1 << 25}, [0])[0].tolist() == [[1]]
    assert run(LIF, {**BASE, "vth": 1 << 25}, [100000])[0].tolist() == [[0]]


def test_periodic_reset():
    # Before Lava's time steps 2, 5, 8 (chip steps 1, 4, 7) u and v become zero; the step's own input is kept.
    params = {**BASE, "du": -1, "dv": 0, "vth": 131071, "reset_interval": 3, "reset_offset": 5}
    _, u, v = run(LIF_RESET, params, [1] * 8)
    assert (u[:, 0] // 64).tolist() == [1, 1, 2, 3, 1, 2, 3, 1]
    assert (v[:, 0] // 64).tolist() == [1, 1, 3, 6, 1, 3, 6, 1]
    never = run(LIF_RESET, {**params, "reset_interval": 0}, [1] * 3)
    assert (never[1][:, 0] // 64).tolist() == [1, 2, 3]
    later = run(LIF_RESET, params, [1] * 3, state=[[128], [192]], first_step=3)
    assert (later[1][:, 0] // 64).tolist() == [3, 1, 2]


def test_delta_sends_what_has_changed_enough():
    # One unit is 2^2 in the state, and messages are in units of 2^1 less: 40 is sent at once, then 3 12 waits for the threshold of 20.
    params = {"vth": 20, "spike_exp": 1, "state_exp": 1, "cum_error": 0}
    spikes, u, v, residue, error = run(DELTA, params, [10, 13, 15, 15])
    assert spikes[:, 0].tolist() == [20, 0, 10, 0]
    assert u[:, 0].tolist() == [10, 13, 15, 15]
    assert v[:, 0].tolist() == [40, 52, 60, 60]
    assert residue[:, 0].tolist() == [0, 12, 0, 0]
    assert not error.any()


def test_delta_rounds_messages_down():
    params = {"vth": 1, "spike_exp": 0, "state_exp": 2, "cum_error": 0}
    _, *state = run(DELTA, params, [0])
    assert not np.any(state)
    # A residue of -3 from before: -3 >> 2 is -1, not 0.
    spikes, _, _, residue, _ = run(DELTA, params, [0], state=[0, 0, -3, 0])
    assert (spikes.tolist(), residue.tolist()) == ([[-1]], [[0]])


def test_accumulated_error():
    # The error adds up the residue again and again: 6, then 6 + 12 reaches 18; the change of that step is sent, the error cleared.
    params = {"vth": 18, "spike_exp": 0, "state_exp": 0, "cum_error": 1}
    spikes, _, _, residue, error = run(DELTA, params, [6, 12, 12])
    assert spikes[:, 0].tolist() == [0, 12, 0]
    assert residue[:, 0].tolist() == [6, 0, 0]
    assert error[:, 0].tolist() == [6, 0, 0]


@pytest.mark.parametrize(("rectify", "sent", "activation"), [(1, [7, -7, 0, 2], [7, 0, 0, 2]), (0, [7, -9, -5, 9], [7, -2, -7, 2])])
def test_sigma_delta(rectify, sent, activation):
    params = {"vth": 2, "bias": 3, "spike_exp": 0, "state_exp": 0, "rectify": rectify, "cum_error": 0}
    spikes, u, v, _, _ = run(SIGMA_DELTA, params, [4, -9, -5, 9])
    assert u[:, 0].tolist() == [4, -5, -10, -1]
    assert v[:, 0].tolist() == activation
    assert spikes[:, 0].tolist() == sent


def test_sigma_delta_wraps_at_32_bits():
    # The sum of 2^31 is -2^31; its magnitude is itself in 32 bits, below a threshold of 0, so nothing is sent and all of it stays.
    params = {"vth": 0, "bias": 0, "spike_exp": 0, "state_exp": 0, "rectify": 0, "cum_error": 0}
    spikes, u, _, residue, _ = run(SIGMA_DELTA, params, [1 << 31])
    assert (spikes.tolist(), u.tolist(), residue.tolist()) == ([[0]], [[LOW]], [[LOW]])


def test_sigma_sums():
    spikes, u, v = run(SIGMA, {}, [3, -5, 1 << 31, 1 << 33], state=[4, 4])
    assert spikes[:, 0].tolist() == u[:, 0].tolist() == v[:, 0].tolist() == [7, 2, LOW + 2, LOW + 2]


def test_relay_passes_on():
    spikes, v = run(RELAY, {}, [3, -5, 1 << 31, (1 << 32) + 9, 0])
    # |-2^31| is not above 0 in 32 bits.
    assert spikes[:, 0].tolist() == [3, -5, 0, 9, 0]
    assert not v.any()


def test_resonator_turns():
    # A quarter turn per step without decay: (1, 0) -> (0, 1) -> (-1, 0) -> (0, -1) -> (1, 0), which crosses the positive real axis.
    params = {"cos": 0, "sin": 4096, "vth": 60, "state_exp": 6, "decay_bits": 12}
    spikes, u, v = run(RF, params, [[1, 0], [0, 0], [0, 0], [0, 0], [0, 0]])
    assert u[:, 0].tolist() == [64, 0, -64, 0, 64]
    assert v[:, 0].tolist() == [0, 64, 0, -64, 0]
    assert spikes[:, 0].tolist() == [0, 0, 0, 0, 1]


def test_resonator_rounds_each_product_toward_zero():
    # cos = sin = 3/4: of (-1, 1) both products are -0.75 and 0.75, each cut to 0.
    params = {"cos": 3, "sin": 3, "vth": 100, "state_exp": 0, "decay_bits": 2}
    _, u, v = run(RF, params, [[0, 0]], state=[-1, 1])
    assert (u.tolist(), v.tolist()) == ([[0]], [[0]])


def test_resonator_saturates_and_its_input_wraps():
    params = {"cos": 0, "sin": 0, "vth": 1, "state_exp": 6, "decay_bits": 12}
    _, u, v = run(RF, params, [[1 << 20, 3 << 25]])
    assert (u.tolist(), v.tolist()) == ([[MAX]], [[-MAX]])


def test_izhikevich_resonator_resets_below_its_threshold():
    params = {"cos": 0, "sin": 4096, "vth": 50, "state_exp": 0, "decay_bits": 12}
    spikes, u, v = run(RF_IZ, params, [[50, 49], [0, 0], [0, 0]])
    assert spikes[:, 0].tolist() == [0, 1, 0]
    assert u[:, 0].tolist() == [50, 0, -49]
    assert v[:, 0].tolist() == [49, 49, 0]


def test_two_resonators_share_no_input():
    # Receptor by receptor: real parts of both neurons, then imaginary parts.
    params = {"cos": 0, "sin": 0, "vth": 1, "state_exp": 0, "decay_bits": 1}
    _, u, v = run(RF, params, [[1, 2, 3, 4]])
    assert (u.tolist(), v.tolist()) == ([[1, 2]], [[3, 4]])


ADAPTIVE = {
    "delta_i": 4095, "delta_v": 4096, "delta_theta": 2048, "delta_r": 2048, "theta_0": 10, "theta_step": 4, "bias_mant": 0, "bias_exp": 0,
}


def test_adaptive_threshold_and_refractoriness():
    # In units of 64: theta 10 (whatever its initial value); a spike adds 20 to rho and 4 to theta, and both excesses halve per step.
    spikes, u, v, theta, rho = run(ATRLIF, ADAPTIVE, [10, 21, 15, 13], state=[0, 0, 777, 0])
    assert spikes[:, 0].tolist() == [1, 0, 0, 1]
    assert (u[:, 0] // 64).tolist() == (v[:, 0] // 64).tolist() == [10, 21, 15, 13]
    assert (theta[:, 0] / 64).tolist() == [14, 12, 11, 14.5]
    assert (rho[:, 0] / 64).tolist() == [20, 10, 5, 23.5]


def test_adaptive_current_keeps_one_part_less():
    # delta_i = 0 keeps 4095/4096 of u, delta_v = 0 all of v.
    _, u, v, _, _ = run(ATRLIF, {**ADAPTIVE, "delta_i": 0, "delta_v": 0, "theta_0": 1000}, [1, 0])
    assert u[:, 0].tolist() == [64, 63]
    assert v[:, 0].tolist() == [64, 127]


def test_threshold_starts_at_rest_in_the_first_step_only():
    spikes, _, _, theta, _ = run(ATRLIF, ADAPTIVE, [0], state=[0, 0, 0, 0], first_step=1)
    assert (spikes.tolist(), theta.tolist()) == ([[0]], [[320]])


def numbers(rng, bits, *shape):
    """Whole numbers of up to so many bits and of both signs, as many small ones as large ones, with zeros and the ends of 32 bits."""
    size = rng.integers(0, bits + 1, shape)
    values = rng.integers(-(1 << 62), 1 << 62, shape) >> (62 - size)
    return np.where(rng.random(shape) < 0.1, rng.choice([0, LOW, -1 - LOW, LOW // 2, MAX], shape), values)


def parameters(rng, n, decays):
    """One value per neuron for every parameter of every kernel, sensible or not; decays within their fields or beyond."""
    names = ("du", "dv", "delta_i", "delta_v", "delta_theta", "delta_r")
    if decays == "fields":
        factors = {name: rng.integers(-1, 4096, n) + (name not in ("du", "delta_i")) for name in names}
    else:
        # Factors of +-2^19 are the largest: 4095 - du and 4096 - dv.
        ends = [4096 - (1 << 19), 4095 + (1 << 19)]
        factors = {name: rng.choice([*ends, -1, 4095, 4096, 90000, *rng.integers(*ends, 5)], n) for name in names}
    return {
        **factors,
        **{name: numbers(rng, 33, n) for name in ("vth", "vth_lo", "bias", "bias_mant", "theta_0", "theta_step")},
        **{name: numbers(rng, 20, n) for name in ("cos", "sin")},
        "bias_exp": rng.integers(-70, 70, n), "reset_interval": rng.choice([-3, 0, 1, 2, 3, 5, 1 << 31, 1 << 33], n),
        "reset_offset": numbers(rng, 34, n), "spike_exp": rng.integers(-2, 34, n), "state_exp": rng.integers(-2, 34, n),
        "decay_bits": rng.integers(1, 70, n), "cum_error": rng.integers(0, 2, n), "rectify": rng.integers(0, 2, n),
    }


@pytest.mark.parametrize("name", sorted(KERNELS))
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), bits=st.sampled_from([3, 10, 18, 25, 32]), decays=st.sampled_from(["fields", "beyond"]),
    alike=st.booleans(), n=st.integers(1, 45), pieces=st.integers(1, 3), first=st.sampled_from([0, 0, 1, 3, (1 << 31) - 20]),
)
def test_compiled_equals_numpy(name, seed, bits, decays, alike, n, pieces, first):
    kernel = KERNELS[name]
    rng = np.random.default_rng(seed)
    params = {key: value for key, value in parameters(rng, n, decays).items() if key in kernel.params}
    if alike:
        # All of them, all but the biases, or some: the step reads the first neuron's of those that are alike.
        varied = [set(), {"bias_mant", "bias"}, {key for key in params if rng.random() < 0.3}][seed % 3]
        params = {key: value if key in varied else np.full(n, value[0]) for key, value in params.items()}
    dendrite = numbers(rng, bits, 12, kernel.receptors, n).astype(np.int32)
    start = numbers(rng, bits, len(kernel.state), n).astype(np.int32) * rng.integers(0, 2)
    check_against_numpy(kernel, params, start.astype(np.int64), dendrite.astype(np.int64), first, pieces)


def check_against_numpy(kernel, params, start, dendrite, first=0, pieces=1):
    spikes, states = run_kernel(kernel, params, start, dendrite, first, pieces)
    state = {variable: start[k].copy() for k, variable in enumerate(kernel.state)}
    for t, arrived in enumerate(dendrite):
        np.testing.assert_array_equal(kernel.reference_step(params, state, arrived.ravel(), first + t), spikes[t])
        for k, variable in enumerate(kernel.state):
            np.testing.assert_array_equal(state[variable], states[t, k], err_msg=f"{variable} after step {t}")


ENDS = np.array([
    LOW, LOW + 1, -MAX - 2, -MAX - 1, -MAX, -4097, -4096, -4095, -1, 0, 1, 4095, 4096, MAX, MAX + 1, MAX + 2, -2 - LOW, -1 - LOW,
])


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_ends_of_every_range_meet(name):
    """All pairs of extreme inputs and extreme states, for parameters of the usual kind."""
    kernel = KERNELS[name]
    arrived, held = (grid.ravel() for grid in np.meshgrid(ENDS, ENDS))
    n = arrived.size
    params = {
        "du": 100, "dv": 3, "vth": 131071, "vth_lo": -131071, "bias_mant": -7, "bias_exp": 9, "reset_interval": 2, "reset_offset": 1,
        "bias": 77, "spike_exp": 6, "state_exp": 3, "cum_error": 1, "rectify": 1, "cos": 4000, "sin": -700, "decay_bits": 12,
        "delta_i": 100, "delta_v": 3, "delta_theta": 40, "delta_r": 50, "theta_0": 10, "theta_step": 4,
    }
    for keep in (-1, 0, 4095):
        params |= {"du": keep, "delta_i": keep, "dv": keep + 1}
        given = {key: np.full(n, params[key]) for key in kernel.params}
        start = np.array([np.roll(held, 7 * k) for k in range(len(kernel.state))])
        dendrite = np.array([[np.roll(arrived, 5 * k) for k in range(kernel.receptors)], np.zeros((kernel.receptors, n), np.int64)])
        # One constant that differs takes the other way through the step.
        for name_of_one in (None, *kernel.params[:1]):
            if name_of_one is not None:
                given[name_of_one] = given[name_of_one] + (np.arange(n) == n - 1)
            check_against_numpy(kernel, given, start, dendrite, first=1, pieces=2)


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_neurons_outside_the_range_stay_as_they_are(name):
    kernel, rng = KERNELS[name], np.random.default_rng(8)
    n, first, last = 40, 7, 26
    params = {key: value for key, value in parameters(rng, n, "fields").items() if key in kernel.params}
    constants = kernel.constants(params)
    dendrite = numbers(rng, 20, kernel.receptors, n).astype(np.int32)
    state = numbers(rng, 20, len(kernel.state), n).astype(np.int32)
    sent = np.full(n, 77, np.int32 if kernel.graded else np.uint8)
    now, arrived, words = state.copy(), dendrite.copy(), constants.copy()
    advance(kernel, words, now, arrived, sent, first=first, last=last)
    advance(kernel, words, now, arrived, sent, first=5, last=5)
    outside = np.r_[0:first, last:n]
    np.testing.assert_array_equal(now[:, outside], state[:, outside])
    assert (sent[outside] == 77).all()
    assert not (sent[first:last] == 77).any()
    np.testing.assert_array_equal(arrived, dendrite)
    np.testing.assert_array_equal(words, constants)
    assert (now != state).any()


@pytest.mark.parametrize("name", sorted(KERNELS))
def test_samples_side_by_side(name):
    """Samples are rows to `reference_step`; each of them is a run of its own."""
    kernel, rng = KERNELS[name], np.random.default_rng(4)
    samples, n, steps = 3, 5, 9
    params = {key: value for key, value in parameters(rng, n, "fields").items() if key in kernel.params}
    dendrite = numbers(rng, 18, samples, steps, kernel.receptors, n).astype(np.int32).astype(np.int64)
    runs = [run_kernel(kernel, params, np.zeros((len(kernel.state), n)), part) for part in dendrite]
    stepped = {variable: np.zeros((samples, n), np.int64) for variable in kernel.state}
    for t in range(steps):
        got = kernel.reference_step(params, stepped, dendrite[:, t].reshape(samples, -1), t)
        np.testing.assert_array_equal(got, [spikes[t] for spikes, _ in runs])
        for k, variable in enumerate(kernel.state):
            np.testing.assert_array_equal(stepped[variable], [states[t, k] for _, states in runs])


@pytest.mark.parametrize("kernel", [LIF, ATRLIF], ids=lambda kernel: kernel.name)
def test_decays_far_beyond_their_fields_are_refused(kernel):
    for position, name in enumerate(kernel.params[: 2 if kernel is LIF else 4]):
        params = {key: np.array([1]) for key in kernel.params}
        for factor in (-(1 << 19), 1 << 19):
            params[name] = np.array([(4096 if position else 4095) - factor])
            assert kernel.constants(params)[position].tolist() == [factor]
            params[name] = params[name] - np.sign(factor)
            with pytest.raises(ValueError, match="524288 / 4096"):
                kernel.constants(params)


def test_a_step_is_compiled_when_it_is_asked_for():
    """Importing the targets imports no compiler; asking for a step again gives the same one."""
    script = """
import sys
import nmap_loihi2, nmap_loihi2.loihi1, nmap_toy
from nmap_loihi2.kernels import KERNELS
from nmap_toy.kernels import LIF
kernels = [*KERNELS.values(), LIF]
assert all(kernel.name and kernel.graded in (True, False) for kernel in kernels)
assert "numba" not in sys.modules
assert all(kernel.step is kernel.step for kernel in kernels)
assert len({id(kernel.step) for kernel in kernels}) == len(kernels)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
