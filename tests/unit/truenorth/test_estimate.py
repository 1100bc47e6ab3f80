"""Time and energy on TrueNorth by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nmap.estimate import Activity, Load
from nmap.program import Core
from nmap.target.machine import build_machine
from nmap.target.spec import load_spec
from nmap_truenorth.estimate import estimate

SPEC = load_spec("nmap_truenorth")
# 4 samples of 10 steps: 12 000 events are 300 a step.
LOAD = Load(
    (Core(0, 0, 0, 0), Core(0, 1, 0, 1)), np.array([4000, 8000]), np.array([250, 200]), np.array([40, 20]), Activity("chip", 4, 10, {}),
    3.0, 5.0,
)


def test_a_tick_is_a_millisecond() -> None:
    found = estimate(LOAD, build_machine(SPEC, "ns1e"), SPEC)
    assert (found.step_s, found.latency_s, found.steps) == (1e-3, pytest.approx(10e-3), 10)
    assert found.per_step == {"synaptic_operations": 300.0, "neuron_updates": 450.0, "spikes": 1.5, "packets": 3.0, "hops": 5.0}


def test_energy_is_that_of_the_events_and_of_the_used_cores() -> None:
    found = estimate(LOAD, build_machine(SPEC, "ns1e"), SPEC)
    # 300 events * 10 steps * 26 pJ = 78 nJ. Two of 4096 cores at 65 mW for 10 ms: 317.38 nJ.
    assert found.energy_j == {
        "synaptic_operations": pytest.approx(78e-9), "neuron_updates": None, "spikes": None, "static": pytest.approx(317.3828125e-9),
    }
    assert found.energy_j_per_sample == pytest.approx(395.3828125e-9)


def test_the_energy_of_an_event_is_the_power_of_a_busy_chip() -> None:
    # What the module says of its own constants: a million neurons, 128 active synapses, 20 Hz.
    event, power = SPEC.constants["synaptic_event_energy"], SPEC.constants["chip_power"]
    assert (event.unit, power.unit) == ("pJ", "mW")
    busy = 2**20 * 128 * 20 * event.value * 1e-12
    assert busy == pytest.approx(power.value * 1e-3, rel=0.1)
    # So a network as busy as that is charged no more than twice.
    load = Load(
        tuple(Core(0, k % 64, k // 64, k) for k in range(4096)), np.full(4096, 256 * 128 * 20), np.full(4096, 256), np.full(4096, 256 * 20),
        Activity("chip", 1, 1000, {}),
    )
    found = estimate(load, build_machine(SPEC, "ns1e"), SPEC)
    assert busy < found.energy_j_per_sample < 2 * busy


def test_a_board_of_chips_is_charged_for_used_cores_only() -> None:
    alone, board = (estimate(LOAD, build_machine(SPEC, variant), SPEC) for variant in ("ns1e", "ns16e"))
    assert board.energy_j == alone.energy_j
    assert "links between chips" in board.excludes
    assert "links between chips" not in alone.excludes


def test_what_it_rests_on_is_said_and_no_accuracy_is_claimed() -> None:
    found = estimate(LOAD, build_machine(SPEC, "ns1e"), SPEC)
    assert found.factor is None
    assert found.within is None
    assert set(found.constants) == {"synaptic_event_energy", "chip_power", "tick"}
    assert any("26 pJ" in text for text in found.sources)
    assert any("compared with a measurement" in text for text in found.sources)
    assert "input, output and host" in found.excludes
