from __future__ import annotations

import numpy as np
import pytest

from nmap.estimate import Activity, Load
from nmap.program import Core
from nmap.target.machine import build_machine
from nmap_spinnaker import TARGET


def load(settings: dict[str, int], hops: float | None) -> Load:
    """Three cores of two chips, 100 steps of 2 samples."""
    activity = Activity("chip", 2, 100, {})
    cores = (Core(0, 0, 0, 1), Core(0, 0, 0, 2), Core(3, 0, 0, 0))
    return Load(cores, np.array([0, 4000, 6000]), np.array([0, 256, 100]), np.array([1000, 400, 0]), activity, 7.0, hops, settings)


def test_energy_is_idle_chips_active_cores_and_passages() -> None:
    made = TARGET.estimate(load({"timestep_us": 1000, "time_scale": 3}, 5.0), build_machine(TARGET.spec))
    assert made.latency_s == pytest.approx(0.3)
    assert made.step_s == pytest.approx(0.003)
    static = 0.3 * (2 * 0.35 + 3 * 0.034)
    # 5 links and 7 spikes a step: 12 routers are passed, 1 nJ each.
    packets = 12 * 100 * 1e-9
    assert made.energy_j == {
        "synaptic_operations": None, "neuron_updates": None, "spikes": pytest.approx(packets), "static": pytest.approx(static),
    }
    assert made.energy_j_per_sample == pytest.approx(static + packets)
    assert made.published is not None
    assert made.published.energy_j == pytest.approx(100 * (356 * 100e-9 + 50 * 43e-9))
    assert made.busiest is not None
    assert made.busiest.core == Core(3, 0, 0, 0)
    assert made.per_step is not None
    assert made.per_step["synaptic_operations"] == 50


def test_without_known_ways_there_is_no_sum() -> None:
    made = TARGET.estimate(load({}, None), build_machine(TARGET.spec))
    assert made.latency_s == pytest.approx(0.1)
    assert made.energy_j_per_sample is None
    assert made.energy_j is not None
    assert made.energy_j["spikes"] is None


def test_every_constant_has_a_source() -> None:
    made = TARGET.estimate(load({}, 0.0), build_machine(TARGET.spec))
    assert set(made.constants) == set(TARGET.spec.constants)
    assert all(constant.source and constant.measured_on for constant in made.constants.values())
