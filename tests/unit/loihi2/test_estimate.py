"""Time and energy on Loihi by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.estimate import Activity, Load
from nmap.program import Core
from nmap.target.backend import Estimating
from nmap.target.machine import build_machine
from nmap_loihi2 import TARGET
from nmap_loihi2.loihi1 import TARGET as LOIHI1

SPEC = TARGET.spec
ONE = build_machine(SPEC, "oheo-gulch")
# 4 samples of 10 steps. Core 1: 8000 / 40 = 200 operations and 7 neurons; core 0: 100 operations and 50 neurons.
LOAD = Load(
    (Core(0, 0, 0, 0), Core(0, 1, 0, 4)), np.array([4000, 8000]), np.array([50, 7]), np.array([40, 20]), Activity("chip", 4, 10, {}),
    3.0, 5.0,
)


def test_loihi2_estimates():
    assert isinstance(TARGET, Estimating)


def test_step_takes_as_long_as_its_busiest_core():
    found = TARGET.estimate(LOAD, ONE)
    # Core 0: 100 * 3.5 + 50 * 8.4 = 770 ns; core 1: 200 * 3.5 + 7 * 8.4 = 758.8 ns. Across 8 x 4 routers: 7 * 4.1 + 3 * 6.5 + 2.1.
    ended = 7 * 4.1 + 3 * 6.5 + 2.1 + 465
    factor = SPEC.constants["step_time_factor"].value
    assert found.step_s == pytest.approx((factor * 770 + ended) * 1e-9)
    assert found.published.step_s == pytest.approx((770 + ended) * 1e-9)
    assert found.latency_s == pytest.approx(10 * found.step_s)
    assert (found.busiest.core, found.busiest.operations, found.busiest.updates) == (LOAD.cores[0], 100.0, 50)
    assert found.per_step == {"synaptic_operations": 300.0, "neuron_updates": 57.0, "spikes": 1.5, "packets": 3.0, "hops": 5.0}


def test_energy_is_the_sum_of_what_was_done():
    found = TARGET.estimate(LOAD, ONE)
    assert found.energy_j["synaptic_operations"] == pytest.approx(10 * 300 * 23.6e-12)
    assert found.energy_j["neuron_updates"] == pytest.approx(10 * 57 * 81e-12)
    assert found.energy_j["spikes"] == pytest.approx(10 * (3 * 1.7e-12 + 5 * 4e-12))
    assert found.energy_j["static"] == pytest.approx(0.232 * found.latency_s)
    dynamic = 10 * (300 * 23.6 + 57 * 81 + 3 * 1.7 + 5 * 4) * 1e-12
    assert found.published.energy_j == pytest.approx(dynamic)
    assert found.energy_j_per_sample == pytest.approx(dynamic + 0.232 * found.latency_s)


def test_every_chip_of_a_board_is_powered():
    board = build_machine(SPEC, "kapoho-point")
    found, alone = TARGET.estimate(LOAD, board), TARGET.estimate(LOAD, ONE)
    assert found.step_s == alone.step_s
    assert found.energy_j["static"] == pytest.approx(8 * alone.energy_j["static"])
    assert any("between chips" in text for text in found.excludes)
    assert not any("between chips" in text for text in alone.excludes)


def test_unknown_hops_leave_the_energy_unknown():
    found = TARGET.estimate(replace(LOAD, hops=None), ONE)
    assert (found.energy_j["spikes"], found.energy_j_per_sample, found.published.energy_j) == (None, None, None)
    assert found.energy_j["synaptic_operations"] > 0
    assert found.step_s is not None


def test_loihi1_is_not_calibrated():
    found = LOIHI1.estimate(LOAD, build_machine(LOIHI1.spec))
    assert found.step_s == found.published.step_s == pytest.approx((770 + 7 * 4.1 + 3 * 6.5 + 2.1 + 465) * 1e-9)
    assert (found.energy_j["static"], found.energy_j_per_sample) == (None, None)
    assert found.published.energy_j > 0
    assert (found.factor, found.within) == (None, None)
    assert not {"step_time_factor", "pilotnet_static_power"} & set(found.constants)
    assert not any("calibrated" in text for text in found.sources)


def test_generation_and_source_of_every_constant_are_told():
    found = TARGET.estimate(LOAD, ONE)
    generations = {name: used.measured_on for name, used in found.constants.items()}
    second = {name for name, text in generations.items() if "Loihi 2" in text}
    assert second == {"step_time_factor", "pilotnet_static_power"}
    assert all("Loihi 1" in text for name, text in generations.items() if name not in second)
    assert len(generations) == 12
    told = " ".join(found.sources)
    for words in ("Loihi 1", "calibrated on one network on Loihi 2", "cannot validate itself", "152.8 us", "factor of 1.5"):
        assert words in told
    assert "input, output and host" in found.excludes
