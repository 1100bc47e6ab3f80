"""The plain reference against arithmetic by hand: tick by tick, one neuron, one mode each."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nmap_truenorth.model.model import Events
from nmap_truenorth.model.reference import _mix, reference
from tests.unit.truenorth.modes import CASES, Case
from tests.unit.truenorth.random_models import one_core, spikes


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_mode_by_hand(case: Case) -> None:
    events, _, history, _ = reference(case.model, case.events, len(case.potentials))
    assert history[:, 0, 0].tolist() == case.potentials
    assert events[:, 0].tolist() == case.fired


def test_a_spike_takes_its_delay_and_merges() -> None:
    # Neurons 0 and 1 fire in tick 0 into axon 2, whose synapse is neuron 2's; neuron 2 is an output of threshold 3.
    synapses = np.zeros((3, 3), int)
    synapses[0, 0] = synapses[1, 1] = 5
    synapses[2, 2] = 3
    model = one_core(
        synapses, threshold=np.array([[5, 5, 3]]), target=np.array([[0, 0, -2]]), target_axon=2, delay=np.array([[4, 4, 1]]),
    )  # fmt: skip
    rows, merged, history, _ = reference(model, spikes((0, 0, 0), (0, 0, 1)), 6, every=True)
    assert rows.tolist() == [[0, 0, 0], [0, 0, 1], [4, 0, 2]]
    assert merged == 1
    assert not history.any()
    apart = one_core(synapses, threshold=np.array([[5, 5, 3]]), target=np.array([[0, 0, -2]]), target_axon=2, delay=np.array([[4, 3, 1]]))
    rows, merged, _, _ = reference(apart, spikes((0, 0, 0), (0, 0, 1)), 6)
    assert (rows.tolist(), merged) == ([[3, 0, 2], [4, 0, 2]], 0)


def test_input_spikes_are_seen_after_their_delay_and_merge() -> None:
    model = one_core([[10]], input_delay=1)
    rows, merged, _, _ = reference(model, spikes((0, 0, 0), (0, 0, 0), (3, 0, 0), (4, 0, 0)), 5)
    assert (rows.tolist(), merged) == ([[1, 0, 0], [4, 0, 0]], 1)


def test_ticks_outside_20_bits_are_counted_on_the_chip_alone() -> None:
    # 255 a tick from 2^19 - 300: 524243 in tick 0, 524498 in tick 1.
    values: dict[str, Any] = {"leak": 255, "potential": 2**19 - 300, "threshold": 0, "gamma": 1}
    assert reference(one_core([[1]], **values), spikes(), 3)[3].tolist() == [2]
    assert reference(one_core([[1]], dialect="ranc", **values), spikes(), 3)[3].tolist() == [0]


def test_random_numbers_are_those_of_splitmix64() -> None:
    # The first outputs of SplitMix64 started at 0 are published: e220a8397b1dcdaf, 6e789e6aa1b965f4, 06c45d188009454f.
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        drawn = [int(_mix(np.array([k], np.uint64) * golden)[0]) for k in (1, 2, 3)]
    assert drawn == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@pytest.mark.parametrize(("strength", "sign"), [(64, 1), (192, -1)])
def test_stochastic_modes_have_their_probabilities(strength: int, sign: int) -> None:
    ticks = 3000
    every = Events(np.arange(ticks), np.zeros(ticks), np.zeros(ticks))
    values: dict[str, Any] = {"threshold": 2**18 - 1, "kappa": True}
    synapse = one_core([[sign * strength]], stochastic=np.ones((1, 1, 4)), **values)
    leak = one_core([[1]], leak=sign * strength, leak_stochastic=True, **values)
    for model, events in ((synapse, every), (leak, spikes())):
        _, _, history, _ = reference(model, events, ticks)
        # |s| >= rho for rho of 8 bits has probability (|s| + 1) / 256; five standard deviations.
        share = (strength + 1) / 256
        assert abs(sign * history[-1, 0, 0] - share * ticks) < 5 * np.sqrt(ticks * share * (1 - share))


@pytest.mark.parametrize("above", [0, 3, 7])
def test_a_random_threshold_is_even_between_its_bounds(above: int) -> None:
    # The synapse takes away what the leak adds again, so V' is alpha + `above` in every tick; eta is 0 to 7.
    ticks = 2000
    model = one_core([[1], [-100 - above]], threshold=100, mask=3, leak=100 + above, gamma=2)
    active = Events(np.arange(1, ticks), np.zeros(ticks - 1), np.ones(ticks - 1))
    rows, _, history, _ = reference(model, active, ticks)
    assert (history == 100 + above).all()
    share = (above + 1) / 8
    assert abs(len(rows) - share * ticks) <= 5 * np.sqrt(ticks * share * (1 - share))
