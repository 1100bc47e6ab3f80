"""What is said of a network on SpiNNaker 2 beyond its budgets: room for spike lists, what is verified, what is not known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.diagnostics import Findings
from nmap.estimate import Activity, load_of
from nmap.mapping import Mapping
from nmap.network import Conventions
from nmap.options import Options
from nmap.target.machine import build_machine
from nmap.target.registry import find_partitioner
from nmap.testing.networks import RANDOM_NETWORKS, build, lif
from nmap.testing.targets import Compiled, compile_network
from nmap_spinnaker.second.artefact import spike_elements
from nmap_spinnaker.spinnaker2 import TARGET
from tests.unit.spinnaker.test_second_demand import OPTIONS, with_currents


def compiled(current: bool = False) -> Compiled:
    source = RANDOM_NETWORKS["dense"](0)
    return compile_network(TARGET, with_currents(source) if current else source, find_partitioner("greedy"), OPTIONS)


def test_spike_lists_need_room_too() -> None:
    size = 250 * 147 + 1
    network = build(
        "wide.nir", {"input": ((size,), None), "cells": ((1,), lif(1))}, [("input", "cells", Dense(np.ones((1, size)) * 0.5), None, 0)],
    )
    options = Options(partitioner="greedy", effort=0)
    quantized = TARGET.quantize(network, options, Findings())
    assert TARGET.demand(quantized, "cells", ((0, 1),))["memory"] == 6 * size
    made = compiled()
    assert spike_elements(size, 250) == 148
    one = build_machine(TARGET.spec)
    assert [d.code for d in TARGET.audit(made.program, one)] == ["NM604"]
    small = build_machine(TARGET.spec, dead=tuple((0, core) for core in range(146)))
    errors = [d for d in TARGET.audit(made.program, small) if d.severity == "error"]
    # Two slices and a spike list on the two elements that are left.
    assert [(d.code, d.data["elements"]) for d in errors] == [("NM702", 3)]
    assert errors[0].help


@pytest.mark.parametrize("current", [False, True])
def test_the_note_says_what_rests_on_recordings(current: bool) -> None:
    made = compiled(current)
    note = TARGET.audit(made.program, made.machine)[0]
    assert "not verified against py-spinnaker2 or hardware" in note.message
    assert ("lif_no_delay" in note.message) is not current
    assert (note.why is not None) is current


def test_details_count_elements_and_name_what_is_assumed() -> None:
    made = compiled(True)
    details = TARGET.details(made.quantized, made.program)
    assert details.totals["elements"] == 2
    assert details.totals["spike_elements"] == 1
    # 8 x 6 and 6 x 4 synapses of 2 bytes, 8 + 6 rows of 4.
    assert details.totals["synapse_bytes"] == 2 * (48 + 24) + 4 * 14
    assert details.totals["events_at_1ms"] == 12162
    assert details.totals["tick_s"] == pytest.approx(1e-3)
    assert "assumed" in str(details.totals["memory_model"])
    layer = details.layers["layer0"]
    assert layer["model"] == "lif_curr_exp_no_delay"
    assert layer["arithmetic"] == "recorded trace"
    up, down = (p.connectivity.weights for p in made.quantized.afferents("layer0"))
    assert layer["largest_sum"] == max(int(up.sum(1).max()), int(down.sum(1).max()))
    assert set(details.totals) | set(layer) | set(details.cores[0]) <= set(details.titles)


def test_an_unverified_model_says_so() -> None:
    made = compiled()
    assert TARGET.details(made.quantized, made.program).layers["layer0"]["arithmetic"] == "not verified"


@pytest.mark.parametrize(
    ("change", "conventions", "options", "reason"),
    [
        ({"v_reset": np.full(6, -0.25)}, {}, {}, "v_reset other than 0"), ({}, {}, {"bits": 6}, "weights of fewer than 8 bits"),
        ({}, {}, {"approximate": frozenset({"bias", "rounding"})}, "weights rounded to the nearest"),
        ({"drive": np.full(6, 0.01)}, {}, {"approximate": frozenset()}, "v_init other than 0"),
        ({"drive": np.full(6, 0.01)}, {"reset": "subtract"}, {}, "reset by subtraction with i_offset"),
        ({"v_reset": np.full(6, -0.25)}, {"reset": "subtract"}, {}, None), ({}, {}, {}, None),
    ],
)
def test_only_what_a_trace_has_rests_on_it(
    change: dict[str, object], conventions: dict[str, str], options: dict[str, object], reason: str | None
) -> None:
    cells = replace(lif(6), alpha=np.full(6, 0.5), **change)  # type: ignore[arg-type]
    weights = np.eye(6)
    network = build(
        "one.nir", {"input": ((6,), None), "before": ((6,), replace(lif(6), alpha=np.full(6, 0.5))), "cells": ((6,), cells)},
        [("input", "before", Dense(weights), None, 0), ("before", "cells", Dense(weights), None, 0)],
        conventions=Conventions(1e-3, **conventions),  # type: ignore[arg-type]
    )
    made = compile_network(TARGET, network, find_partitioner("greedy"), replace(OPTIONS, **options))  # type: ignore[arg-type]
    layers = TARGET.details(made.quantized, made.program).layers
    assert layers["cells"]["arithmetic"] == ("recorded trace" if reason is None else "not verified")
    note = TARGET.audit(made.program, made.machine)[0]
    assert (reason is None) is ("room, routes" in note.message)
    if reason is not None:
        assert reason in note.message
        assert "`cells`" in note.message
        assert "`cells`" not in str(note.why)


def test_the_reports_line_of_a_layer_shows_what_it_rests_on() -> None:
    made = compiled(True)
    layer, titles = TARGET.details(made.quantized, made.program).layers["layer0"], TARGET.details(made.quantized, made.program).titles
    shown = list(layer)[: list(layer).index("arithmetic") + 1]
    # Of 80 columns, 2 are the margin, 2 lie before each, and 16 at least are for the layer's name.
    assert sum(2 + max(len(titles[name]), len(str(layer[name]))) for name in shown) <= 80 - 2 - 16


def test_neither_energy_nor_time_is_made_up() -> None:
    made = compiled()
    counts = {p.name: np.full(p.size, 4, np.int64) for p in made.quantized.populations}
    mapping: Mapping = made.mapping
    load = load_of(made.quantized, mapping.shards, mapping.cores, Activity("chip", 1, 8, counts))
    estimate = TARGET.estimate(load, made.machine)
    assert estimate.energy_j_per_sample is None
    assert estimate.latency_s is None
    assert estimate.step_s is None
    assert estimate.reason
    assert estimate.per_step is not None
    # Each of 8 inputs and 6 neurons sends every other step.
    assert estimate.per_step["synaptic_operations"] == (8 * 6 + 6 * 4) / 2
    assert {name: constant.value for name, constant in estimate.constants.items()} == {
        "power_idle": 235, "power_busy": 1248, "event_rate": 1.8e9, "event_energy_level": 0.7,
    }


def test_the_published_level_is_the_quotient_of_the_other_two() -> None:
    constants = TARGET.spec.constants
    level = constants["power_busy"].value * 1e-3 / constants["event_rate"].value * 1e9
    assert level == pytest.approx(constants["event_energy_level"].value, abs=0.01)


def test_the_vendor_is_absent_and_says_why(tmp_path: Path) -> None:
    run = TARGET.run_vendor(tmp_path, np.zeros((1, 2, 8), np.int32), 3, 1.0)
    if run.version is not None:
        pytest.skip("py-spinnaker2 is installed here")
    assert run.missing is not None
    assert "not on PyPI" in run.missing
    assert [check.state for check in TARGET.vendor_tools()] == ["absent"]


@pytest.mark.parametrize(("variant", "cores", "chips"), [("1chip", 148, 1), ("48chip", 7104, 48)])
def test_machines(variant: str, cores: int, chips: int) -> None:
    machine = build_machine(TARGET.spec, variant)
    assert (len(machine.cores), machine.chips) == (cores, chips)
