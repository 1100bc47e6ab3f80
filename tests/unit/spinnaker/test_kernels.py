"""SpiNNaker 1's kernels: by hand, in Python's whole numbers, and the compiled steps beside the plain ones."""

from __future__ import annotations

import subprocess
import sys
from math import exp

import numpy as np
import pytest

from nmap.emulate.kernel import Counting, Kernel
from nmap.testing.kernels import run_kernel
from nmap_spinnaker.kernels import IF_CURR_DELTA, IF_CURR_EXP, IF_TRUNC, KERNELS, SOURCE

NEURONS = (IF_CURR_EXP, IF_CURR_DELTA, IF_TRUNC)
ONE = 1 << 15


def wrap(x: int) -> int:
    return (x + 2**31) % 2**32 - 2**31


def simple(kernel: Kernel, **given: float) -> dict[str, int]:
    """Raw parameters: R = 1, no rest, no refractory time, a threshold of 10, shifts of 15 (a weight of 1 is an accum of 1)."""
    values = {
        "tau_m": 20.0, "cm": 20.0, "v_rest": 0.0, "v_reset": 0.0, "v_thresh": 10.0, "i_offset": 0.0, "tau_refrac": 0.0, "tau_syn_E": 5.0,
        "tau_syn_I": 5.0, "timestep": 1.0,
    } | given
    shifts = {name: int(given.get(name, 15)) for name in ("shift_0", "shift_1")}
    return {name: shifts[name] if name in shifts else round(values[name] * ONE) for name in kernel.params}


def run_one(kernel: Kernel, params: dict[str, int], sums: list[tuple[int, int]], **start: int):
    """Spikes, and the states by name, of one neuron."""
    state = np.array([[start.get(name, 0)] for name in kernel.state])
    sent, states = run_kernel(kernel, params, state, np.array(sums)[:, :, None])
    return sent[:, 0].tolist(), {name: states[:, row, 0].tolist() for row, name in enumerate(kernel.state)}


def test_the_kernels_are_those_of_the_chip() -> None:
    assert set(KERNELS) == {"spinnaker1.if_curr_exp", "spinnaker1.if_curr_delta", "spinnaker1.if_trunc", "spinnaker1.source"}
    assert all(isinstance(kernel, Kernel) for kernel in KERNELS.values())
    assert all(isinstance(kernel, Counting) and set(kernel.counters) == {"saturated"} for kernel in NEURONS)
    assert not isinstance(SOURCE, Counting)


def test_a_truncated_integrator_by_hand() -> None:
    sums = [(3, 0), (2, 1), (0, 9), (12, 0), (8, 0), (1, 0)]
    spikes, state = run_one(IF_TRUNC, simple(IF_TRUNC, tau_refrac=1.5), sums)
    # 3, 4, floored at 0, 12 fires, two steps without input, of which only the first lies here before the last.
    assert spikes == [0, 0, 0, 1, 0, 0]
    assert state["v"] == [3 * ONE, 4 * ONE, 0, 0, 0, 0]
    assert state["refract"] == [0, 0, 0, 2, 1, 0]


def test_a_reset_value_above_0_is_a_floor() -> None:
    _, state = run_one(IF_TRUNC, simple(IF_TRUNC, v_reset=2.0), [(0, 0), (0, 1), (3, 0)], v=5 * ONE)
    assert state["v"] == [5 * ONE, 4 * ONE, 7 * ONE]
    _, state = run_one(IF_TRUNC, simple(IF_TRUNC, v_reset=2.0), [(0, 0)], v=-ONE)
    assert state["v"] == [2 * ONE]


def test_delta_input_is_scaled_by_the_time_step() -> None:
    """An input of w counts as a current of w / timestep."""
    for timestep, scale in ((1.0, 1), (0.5, 2), (2.0, 0.5)):
        # A membrane that forgets at once: v is R I.
        _, state = run_one(IF_CURR_DELTA, simple(IF_CURR_DELTA, tau_m=0.001, cm=0.001, timestep=timestep), [(4, 1)])
        assert state["v"] == [round(3 * scale * ONE)]


def test_a_neuron_fires_while_refractory_too() -> None:
    """The threshold is tested in every step: with a reset value at the threshold the neuron never stops."""
    for kernel in NEURONS:
        spikes, state = run_one(kernel, simple(kernel, v_reset=10.0, tau_refrac=3.0), [(0, 0)] * 4, v=10 * ONE, refract=2)
        assert spikes == [1, 1, 1, 1]
        assert state["v"] == [10 * ONE] * 4
        assert state["refract"] == [3] * 4


def test_a_wait_of_0_or_less_is_none() -> None:
    for kernel in NEURONS:
        _, state = run_one(kernel, simple(kernel, i_offset=1.0), [(0, 0)] * 2, refract=-2)
        assert state["refract"] == [-2, -2]
        assert state["v"][1] > state["v"][0] > 0


def test_full_slots_are_cut_and_counted() -> None:
    params = simple(IF_TRUNC, shift_0=0, shift_1=1, v_thresh=60000.0, v_reset=-60000.0)
    sums = [(65535, 0), (65536, 0), (2**31 - 1, 70000), (0, 65535)]
    _, state = run_one(IF_TRUNC, params, sums)
    assert state["saturated"] == [0, 1, 3, 3]
    assert np.diff(state["v"], prepend=0).tolist() == [65535, 65535, 65535 - 2 * 65535, -2 * 65535]


def test_a_recorded_current_is_that_before_its_decay() -> None:
    """A full share at the first step, then 32-bit factors; both receptors by themselves."""
    params = simple(IF_CURR_EXP, tau_syn_E=2.0, tau_syn_I=8.0)
    _, state = run_one(IF_CURR_EXP, params, [(1, 0), (0, 1), (0, 0)])
    share = {name: tau * (1 - np.exp(-1 / tau)) for name, tau in (("E", 2.0), ("I", 8.0))}
    np.testing.assert_allclose(np.array(state["syn_0"]) / ONE, share["E"] * np.exp(-np.arange(3) / 2), atol=3 / ONE)
    np.testing.assert_allclose(np.array(state["syn_1"]) / ONE, [0, share["I"], share["I"] * np.exp(-1 / 8)], atol=3 / ONE)


def exact(kernel: Kernel, p: dict[str, int], derived: dict[str, int], sums: np.ndarray, v: int):
    """One neuron in Python's whole numbers, from the sheet's equations, with the ring buffer filled weight by weight."""
    syn, refract, saturated = [0, 0], 0, 0
    for up, down in sums.tolist():
        recorded = []
        for k, total in enumerate((up, down)):
            saturated += total > 65535
            x = wrap(min(total, 65535) << p[f"shift_{k}"])
            if kernel is IF_CURR_EXP:
                syn[k] = wrap(syn[k] + wrap(x * derived[f"init_{k}"] >> 32))
            else:
                syn[k] = wrap(x * derived["scale"] >> 15) if kernel is IF_CURR_DELTA else x
            recorded.append(syn[k])
        if refract <= 0:
            current = wrap(syn[0] - syn[1] + p["i_offset"])
            if kernel is IF_TRUNC:
                v = max(wrap(wrap(current * derived["r"] >> 15) + v), p["v_reset"])
            else:
                alpha = wrap(wrap(current * derived["r"] >> 15) + p["v_rest"])
                v = wrap(alpha - wrap(derived["e"] * wrap(alpha - v) >> 15))
        else:
            refract -= 1
        fired = v >= p["v_thresh"]
        if fired:
            v, refract = p["v_reset"], derived["t_ref"]
        for k in (0, 1):
            syn[k] = wrap(syn[k] * derived[f"decay_{k}"] >> 32) if kernel is IF_CURR_EXP else 0
        yield int(fired), v, refract, saturated, *recorded


@pytest.mark.parametrize("kernel", NEURONS, ids=lambda kernel: kernel.name)
def test_four_hundred_steps_in_whole_numbers(kernel: Kernel) -> None:
    p = simple(
        kernel, tau_m=20.0, cm=4.0, v_rest=-70.0, v_reset=-68.0, v_thresh=-65.0, i_offset=1.3, tau_refrac=1.5, tau_syn_E=5.0, tau_syn_I=7.5,
        timestep=0.5, shift_0=4, shift_1=3,
    )
    # By hand: R = 5, 3 steps, a scale of 2, and the exponentials of -0.5/20, -0.5/5 and -0.5/7.5 in whole 32768ths, -819, -3276 and -2184.
    tenth, fifteenth = round(exp(-3276 / ONE) * 2**32), round(exp(-2184 / ONE) * 2**32)
    derived = {"r": 5 * ONE, "e": int(exp(-819 / ONE) * ONE), "t_ref": 3, "scale": 2 * ONE, "decay_0": tenth, "decay_1": fifteenth}
    random = np.random.default_rng(1)
    sums = random.integers(0, 600, (400, 2)) * [2, 1]
    sums[200] = 70000, 65536
    if kernel is IF_CURR_EXP:
        # The chip's exponential is off by up to two millionths.
        rows = kernel.constants({name: np.array([value]) for name, value in p.items()})[:, 0].astype(np.int64) & 0xFFFFFFFF
        for k, row in ((0, 7), (1, 9)):
            assert abs(int(rows[row]) - derived[f"decay_{k}"]) < 2e-6 * 2**32
            derived[f"decay_{k}"] = int(rows[row])
            ratio = 10 * ONE if k == 0 else 15 * ONE
            derived[f"init_{k}"] = (ratio * (2**32 - 1 - int(rows[row])) >> 15) % 2**32
    expected = list(exact(kernel, p, derived, sums, -70 << 15))
    spikes, state = run_one(kernel, p, [tuple(row) for row in sums.tolist()], v=-70 << 15)
    assert 10 < sum(spikes) < 300
    assert spikes == [row[0] for row in expected]
    for place, name in enumerate(("v", "refract", "saturated", "syn_0", "syn_1"), start=1):
        if name in state:
            assert state[name] == [row[place] for row in expected], name


@pytest.mark.parametrize("kernel", NEURONS, ids=lambda kernel: kernel.name)
def test_what_cannot_be_computed_is_refused(kernel: Kernel) -> None:
    def constants(**given: int) -> None:
        kernel.constants({name: np.array([value]) for name, value in (simple(kernel) | given).items()})

    for name in ("cm", "timestep"):
        with pytest.raises(ValueError, match="by 0"):
            constants(**{name: 0})
    for shift in (-1, 32):
        with pytest.raises(ValueError, match=r"0\.\.31"):
            constants(shift_1=shift)
    constants(shift_0=31)


def test_a_source_repeats_its_input() -> None:
    sent, _ = run_kernel(SOURCE, {}, np.zeros((0, 3)), np.array([[[0, 1, 2]], [[-1, 0, 5]]]))
    assert sent.tolist() == [[0, 1, 1], [0, 0, 1]]
    assert SOURCE.reference_step({}, {}, np.array([[0, 3], [1, 0]]), 0).tolist() == [[0, 1], [1, 0]]


def test_samples_are_apart() -> None:
    for kernel in NEURONS:
        params = {name: np.full(2, value) for name, value in simple(kernel).items()}
        state = {name: np.zeros((2, 2), np.int64) for name in kernel.state}
        sent = kernel.reference_step(params, state, np.array([[0, 12, 0, 0], [3, 0, 0, 70000]]), 0)
        assert sent.shape == (2, 2)
        assert state["saturated"].tolist() == [[0, 0], [0, 1]]
        alone = {name: np.zeros(2, np.int64) for name in kernel.state}
        kernel.reference_step(params, alone, np.array([3, 0, 0, 70000]), 0)
        assert all(np.array_equal(state[name][1], alone[name]) for name in kernel.state)


def test_numba_waits_for_a_run() -> None:
    """What checks and emits does not pay for the compiler."""
    code = (
        "import sys, nmap_spinnaker, nmap_spinnaker.pynn; nmap_spinnaker.TARGET.kernels; from nmap.target.registry import find_target;"
        "find_target('spinnaker1').kernels; sys.exit(any(name.startswith('numba') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
