"""SpiNNaker 2's neurons against their equations, one float32 operation after the other, neuron by neuron."""

from __future__ import annotations

import numpy as np
import pytest

from nmap.connectivity import Array
from nmap.testing.kernels import run_kernel
from nmap_spinnaker.second.kernels import CURRENT, CURRENT_DELAYED, KERNELS, LIF, LIF_DELAYED
from nmap_spinnaker.second.numbers import below, bits, real

F = np.float32


def naive(params: dict[str, Array], start: dict[str, list[float]], given: Array) -> tuple[Array, dict[str, Array]]:
    """Run neurons one by one with Python's own loop: given is (steps, receptors, n)."""
    steps, receptors, n = given.shape
    spikes = np.zeros((steps, n), np.int64)
    states = {name: np.zeros((steps, n), F) for name in start}
    for k in range(n):
        p = {name: F(values[k]) for name, values in params.items()}
        v = F(start["v"][k])
        e, i = F(start.get("i_exc", [0] * n)[k]), F(start.get("i_inh", [0] * n)[k])
        for t in range(steps):
            if receptors == 2:
                e = F(F(p["exc_decay"] * e) + F(given[t, 0, k]))
                i = F(F(p["inh_decay"] * i) + F(given[t, 1, k]))
                total = F(e - i)
            else:
                total = F(given[t, 0, k])
            v = F(F(F(p["alpha_decay"] * v) + total) + p["i_offset"])
            if v > p["threshold"]:
                spikes[t, k] = 1
                v = F(v - p["threshold"]) if p["subtract"] else p["v_reset"]
            states["v"][t, k] = v
            if receptors == 2:
                states["i_exc"][t, k], states["i_inh"][t, k] = e, i
    return spikes, states


def drawn(kernel: object, rng: np.random.Generator, n: int) -> dict[str, Array]:
    values = {
        "alpha_decay": rng.uniform(0, 1, n), "threshold": rng.uniform(1, 60, n), "i_offset": rng.normal(0, 3, n),
        "v_reset": rng.normal(0, 2, n), "subtract": rng.integers(0, 2, n), "exc_decay": rng.uniform(0, 1, n),
        "inh_decay": rng.uniform(0, 1, n),
    }
    return {name: values[name] for name in kernel.params}  # type: ignore[attr-defined]


def as_words(params: dict[str, Array]) -> dict[str, Array]:
    return {name: values.astype(np.int64) if name == "subtract" else bits(values) for name, values in params.items()}


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shared", [False, True])
def test_both_forms_are_the_equations_bit_for_bit(name: str, shared: bool) -> None:
    kernel, rng, n, steps = KERNELS[name], np.random.default_rng(3), 37, 50
    params = drawn(kernel, rng, n)
    if shared:
        params = {key: np.full(n, values[0]) for key, values in params.items()}
    start = {variable: rng.normal(0, 4, n).astype(F).astype(float) for variable in kernel.state}
    given = rng.integers(-40, 70, (steps, kernel.receptors, n))
    if kernel.receptors == 2:
        given = np.abs(given)
    spikes, states = naive({key: values.astype(F) for key, values in params.items()}, start, given)
    assert 0 < spikes.sum() < spikes.size
    words = as_words(params)
    sent, after = run_kernel(kernel, words, np.stack([bits(start[v]) for v in kernel.state]), given, pieces=3)
    np.testing.assert_array_equal(sent, spikes)
    for row, variable in enumerate(kernel.state):
        np.testing.assert_array_equal(after[:, row], states[variable].view(np.int32), err_msg=variable)
    state = {variable: bits(start[variable]) for variable in kernel.state}
    for t in range(steps):
        np.testing.assert_array_equal(kernel.reference_step(words, state, given[t].ravel(), t), spikes[t])
        for variable in kernel.state:
            np.testing.assert_array_equal(state[variable], states[variable][t].view(np.int32), err_msg=variable)


@pytest.mark.parametrize("kernel", [LIF, LIF_DELAYED])
def test_equality_does_not_fire(kernel: object) -> None:
    params = as_words({
        "alpha_decay": np.ones(2), "threshold": np.full(2, 5.0), "i_offset": np.zeros(2), "v_reset": np.array([1.5, 1.5]),
        "subtract": np.array([0, 1]),
    })
    given = np.array([[[5, 5]], [[1, 1]], [[0, 0]]])
    sent, after = run_kernel(kernel, params, np.zeros((1, 2)), given)  # type: ignore[arg-type]
    np.testing.assert_array_equal(sent, [[0, 0], [1, 1], [0, 0]])
    np.testing.assert_array_equal(real(after[:, 0]), [[5, 5], [1.5, 1], [1.5, 1]])


def test_an_arriving_spike_acts_in_its_step_and_the_current_decays_before_the_next() -> None:
    params = as_words({
        "alpha_decay": np.zeros(1), "threshold": np.full(1, 1e9), "i_offset": np.full(1, 0.25), "v_reset": np.zeros(1),
        "subtract": np.zeros(1), "exc_decay": np.full(1, 0.5), "inh_decay": np.full(1, 0.25),
    })
    given = np.array([[[8], [4]], [[0], [0]], [[0], [16]]])
    for kernel in (CURRENT, CURRENT_DELAYED):
        _, after = run_kernel(kernel, params, np.zeros((3, 1)), given)
        # i_exc 8, 4, 2; i_inh 4, 1, 0.25 + 16; v is their difference and the offset.
        np.testing.assert_array_equal(real(after[:, :, 0]), [[4.25, 8, 4], [3.25, 4, 1], [-14, 2, 16.25]])


def test_every_number_that_is_none_has_the_same_bits() -> None:
    params = as_words({
        "alpha_decay": np.ones(2), "threshold": np.ones(2), "i_offset": np.zeros(2), "v_reset": np.zeros(2), "subtract": np.zeros(2),
    })
    start = np.array([[-1, 0x7F800001]])
    _, after = run_kernel(LIF, params, start, np.zeros((1, 1, 2), np.int64))
    np.testing.assert_array_equal(after.ravel(), [0x7FC00000] * 2)


def test_bits_are_those_of_the_standard() -> None:
    np.testing.assert_array_equal(bits(np.array([1.0, -2.0, 0.0, 0.1])), [0x3F800000, 0xC0000000 - 2**32, 0, 0x3DCCCCCD])
    np.testing.assert_array_equal(real(bits(np.array([0.1, -7.5]))), np.array([0.1, -7.5], F))


def test_below_is_the_next_smaller_float32() -> None:
    # 0.1 is rounded up to a float32, so that number's predecessor is the largest below it.
    found = below(np.array([1.0, 0.1, 0.7]))
    assert found[0] == 1 - 2.0**-24
    for value, lower in zip((0.1, 0.7), found[1:], strict=True):
        assert lower < value <= np.nextafter(F(lower), F(np.inf))
