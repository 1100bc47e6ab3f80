from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nmap.diagnostics import Diagnostic, Exit, NmapError
from nmap.network import Conventions
from nmap.partition.incremental import Moved, Remap
from nmap.place.problem import PlacementSolution
from nmap.program import Core
from nmap.report.json import (
    comparison_to_json,
    core_label,
    failure_to_json,
    portable_command,
    portable_report,
    run_to_json,
    schema,
    to_json,
)
from nmap.report.model import BusiestCore, Estimate, Outcome, Published, RunResult, Samples, VendorCheck, Verification
from nmap.report.text import inspection_text, run_text, to_text
from nmap.target.backend import Survey
from nmap.target.machine import build_machine
from nmap.target.spec import Constant, Resource
from nmap.testing.networks import FOREIGN_NETWORKS
from tests.unit.report.outcomes import conv_network, guessed, mapping, misfit, network, neuron, outcome, spec
from tests.unit.report.schema_check import problems

SURVEY = Survey("mapper", "2.1", fits=True, cores=5, layers={"hidden": 4, "output.pool": 1}, facts={"bytes": 12})
BARE = Outcome("error", Exit.USAGE)
RUN = RunResult("chip", np.ones((2, 3, 4), np.int32), np.ones((2, 4), np.int64), {"lif.v": np.zeros((2, 3, 5))}, None, 0.5)


@pytest.mark.parametrize("report", [
    to_json(outcome()), to_json(misfit()), to_json(BARE), portable_report(outcome()),
    to_json(outcome(network=conv_network(), mapping=None)),
    to_json(outcome(estimate=Estimate(1e-6, None, ("a paper",)))), to_json(outcome(verification=Verification())),
    to_json(outcome(verification=Verification("broken", None, None, VendorCheck("sim", skipped_reason="absent")))),
    to_json(guessed()), to_json(guessed(SURVEY)), to_json(guessed(Survey("mapper", missing="absent"))),
    to_json(guessed(SURVEY, mapping=None)),
    failure_to_json(NmapError(Diagnostic("NM101", "error", "no such file")), ["nmap"]), run_to_json(RUN, ["nmap", "run"], "out.npz"),
], ids=["good", "misfit", "bare", "portable", "conv", "estimate", "unverified", "skipped", "estimated", "surveyed",
        "missing", "unmapped", "failure", "run"])
def test_reports_follow_the_schema_and_leave_nothing_undocumented(report: dict[str, object]) -> None:
    assert problems(report, schema(), closed=True) == []
    assert json.loads(json.dumps(report, allow_nan=False)) == report


def test_estimate_names_parts_constants_and_limits() -> None:
    constant = Constant(value=2.0, unit="pJ", source="a paper", measured_on="Old 1")
    full = Estimate(
        None, 0.02, ("a",), 0.002, 10, {"synaptic_operations": 1.0, "neuron_updates": 2.0, "spikes": None, "static": 4.0},
        {"synaptic_operations": 5.0, "neuron_updates": 6.0, "spikes": 7.0, "packets": None, "hops": None},
        BusiestCore(Core(0, 1, 0, 1), 3.5, 3), "float", 4, Published("Old 1", 0.004, None), 1.5, "one run",
        {"energy": constant}, ("input",), 3,
    )
    report = to_json(outcome(estimate=full))
    assert problems(report, schema(), closed=True) == []
    assert report["estimate"] == {
        "energy_j_per_sample": None, "latency_s": 0.02, "step_s": 0.002, "steps": 10,
        "energy_j": {"synaptic_operations": 1.0, "neuron_updates": 2.0, "spikes": None, "static": 4.0},
        "per_step": {"synaptic_operations": 5.0, "neuron_updates": 6.0, "spikes": 7.0, "packets": None, "hops": None},
        "busiest_core": {"core": "c1", "synaptic_operations": 3.5, "neuron_updates": 3}, "activity": {"level": "float", "samples": 4},
        "as_published": {"generation": "Old 1", "step_s": 0.004, "dynamic_energy_j": None}, "factor": 1.5, "within": "one run",
        "constants": [{"name": "energy", "value": 2.0, "unit": "pJ", "measured_on": "Old 1", "source": "a paper"}],
        "excludes": ["input"], "chips": 3, "sources": ["a"], "reason": None,
    }
    empty = to_json(outcome(estimate=Estimate(None, None, reason="no samples")))["estimate"]
    assert {key for key, value in empty.items() if value not in (None, [])} == {"reason"}


def test_schema_names_every_key_of_the_design() -> None:
    def at(*path: str) -> set[str]:
        node = schema()
        for key in path:
            node = node["properties"][key]
            node = node.get("items", node)
        return set(node["properties"])

    assert at() >= {
        "schema", "nmap", "command", "status", "network", "target", "fits", "utilization", "layers", "partition", "placement",
        "quantization", "verification", "estimate", "diagnostics", "timings_s",
    }
    assert at("network") >= {"file", "format", "sha256", "dt", "assumptions", "populations", "neurons", "synapses"}
    assert at("target") >= {"name", "variant", "chips", "data_version"}
    assert at("layers") >= {"name", "kind", "neurons", "synapses", "cores", "limited_by"}
    assert at("partition") >= {"cores", "lower_bound", "optimal", "partitioner"}
    assert at("placement") >= {"objective", "lower_bound", "gap", "spike_hops_per_step", "seed", "deterministic_time"}
    assert at("quantization", "layers") >= {"name", "bits", "scale", "sqnr_db"}
    assert at("verification") >= {"mapping", "chip_vs_fixed", "chip_vs_float", "vendor"}
    assert at("verification", "chip_vs_fixed") >= {"samples", "steps", "spikes", "mismatches"}
    assert at("verification", "chip_vs_float") >= {"spike_agreement", "accuracy_float", "accuracy_chip"}
    assert at("verification", "vendor") >= {"name", "version", "mismatches"}
    assert at("estimate") >= {"energy_j_per_sample", "latency_s", "sources"}
    assert at("diagnostics") >= {"code", "severity", "where", "message", "why", "help"}


@pytest.mark.parametrize(("change", "complaint"), [
    ({"status": "great"}, "$.status"),
    ({"schema": "nmap.report/2"}, "$.schema"), ({"fits": 1}, "$.fits"), ({"network": {}}, "$.network"),
    ({"diagnostics": [{"code": "X"}]}, "$.diagnostics"), ({"utilization": {}}, "$.utilization.cores"),
    ({"exit_status": 6}, "$.exit_status"),
])
def test_schema_refuses_what_is_not_a_report(change: dict[str, object], complaint: str) -> None:
    found = problems({**to_json(outcome()), **change}, schema())
    assert found
    assert all(text.startswith(complaint) for text in found)


def test_numbers_are_those_of_the_hand_made_deployment() -> None:
    report = to_json(outcome())
    assert report["network"] | {"assumptions": 0, "notes": 0, "conventions": 0} == {
        "file": "net.h5", "format": "nir", "sha256": "ab" * 32, "dt": 0.001, "assumptions": 0, "notes": 0, "conventions": 0,
        # hidden 3 + output 2; 3*4 + 3*3 + 2*3 synapses
        "populations": 2, "neurons": 5, "synapses": 27,
        "inputs": [{"name": "input", "shape": [4]}], "outputs": [{"name": "output", "shape": [2]}],
    }
    assert report["fits"] is True
    assert report["target"]["cores"] == 3
    use = report["utilization"]
    # Three of the four cores are alive: 30 neurons, 60 words; words 15 on core 1, 7 + 6 on core 2.
    assert use["cores"]["used"] == 2
    assert use["cores"]["available"] == 3
    assert (use["neurons"]["used"], use["neurons"]["available"]) == (5, 30)
    assert use["neurons"]["fullest"] == {"core": "c2", "used": 3, "capacity": 10}
    assert (use["words"]["used"], use["words"]["available"]) == (28, 60)
    assert use["words"]["fullest"] == {"core": "c1", "used": 15, "capacity": 20}
    assert [name for name, row in use.items() if row["limiting"]] == ["words"]
    hidden, output = report["layers"]
    assert (hidden["cores"], hidden["limited_by"], hidden["synapses"]) == (2, "synapse memory", 21)
    assert hidden["detail"] == "dense 4→3, dense 3→3 recurrent"
    assert (output["cores"], output["limited_by"]) == (1, None)
    assert report["partition"]["optimal"] is True
    partition = report["partition"]
    assert (partition["gap"], partition["packets"], partition["packets_bound"], partition["interrupted"]) == (0.0, 4.5, None, False)
    place = report["placement"]
    assert (place["kind"], place["unicast_hops"], place["multicast_hops"], place["max_link"]) == ("unicast", 12.0, 9.5, 3.0)
    assert place["interrupted"] is False
    assert report["incremental"] is None
    assert report["placement"]["gap"] == pytest.approx(1 / 6)
    assert report["quantization"]["clipped"] == 3
    assert (report["quantization"]["latency_steps"], report["quantization"]["window"]) == (2, 1)
    real = report["verification"]["chip_vs_float"]
    assert (real["count_agreement"], real["argmax_agreement"], real["window"]) == (None, None, 1)
    assert report["timings_s"]["verify"] == 61.26


def test_what_was_kept_of_an_earlier_mapping() -> None:
    moved = (Moved(Core(1, 0, 0, 3), Core(0, 1, 0, 1), "absent"), Moved(Core(0, 0, 0, 0), Core(0, 0, 1, 2), "dead"))
    remap = Remap(5, 2, moved, 1, 0, ("hidden",), (), False)
    report = to_json(outcome(remap=remap, remapped_from="ef" * 32, interrupted=("partition",)))
    assert problems(report, schema(), closed=True) == []
    assert report["incremental"] == {
        "program_sha256": "ef" * 32, "cores_before": 5, "kept": 2,
        # The earlier machine had two chips, so that cores need a chip's number.
        "moved": [{"from": "1:3", "to": "0:1", "why": "absent"}, {"from": "0:0", "to": "0:2", "why": "dead"}],
        "freed": 1, "new": 0, "recut": ["hidden"], "removed": [], "repacked": False,
    }
    assert (report["partition"]["interrupted"], report["placement"]["interrupted"]) == (True, False)
    alone = to_json(outcome(remap=replace(remap, moved=moved[1:]), remapped_from="ef" * 32))
    assert alone["incremental"]["moved"] == [{"from": "c0", "to": "c2", "why": "dead"}]


def test_nothing_limits_a_network_on_one_core() -> None:
    good = mapping(build_machine(spec()))
    small = replace(good, shards=(replace(good.shards[0], demand={"neurons": 2, "words": 20}),), cores=good.cores[:1])
    assert not any(row["limiting"] for row in to_json(outcome(mapping=small))["utilization"].values())


def test_what_routes_take_is_counted_in_the_program_and_unknown_before() -> None:
    resources = dict(spec().resources)
    resources["axons"] = Resource(max=6, unit="slots", source="made up", title="output axons", routed=True)
    chip = spec().model_copy(update={"resources": resources})
    machine = build_machine(chip)
    before = to_json(outcome(spec=chip, machine=machine, mapping=mapping(machine)))["utilization"]
    assert before["axons"] | {"title": 0, "unit": 0} == {
        "title": 0, "unit": 0, "used": None, "available": 24, "fullest": None, "limiting": False,
    }
    measured = ({"neurons": 9, "words": 9, "axons": 2}, {"neurons": 9, "words": 9, "axons": 5})
    report = to_json(outcome(spec=chip, machine=machine, mapping=mapping(machine), measured=measured))
    assert problems(report, schema(), closed=True) == []
    use = report["utilization"]
    # 7 of 4 x 6 slots, 5 of 6 on the second core, which is scarcer than 15 of 20 words.
    assert use["axons"] | {"title": 0, "unit": 0} == {
        "title": 0, "unit": 0, "used": 7, "available": 24, "fullest": {"core": "c2", "used": 5, "capacity": 6}, "limiting": True,
    }
    assert (use["neurons"]["used"], use["words"]["used"], use["words"]["limiting"]) == (5, 28, False)


def test_cores_of_the_passes_that_are_used_are_available() -> None:
    """Of 4 cores one is dead and one is small: 20 + 20 + 5 words in each of 3 passes, the network lies in the first and the third."""
    report = to_json(guessed(passes=3))
    assert (report["target"]["cores"], report["target"]["dead_cores"], report["target"]["passes"]) == (3, 1, 3)
    use = report["utilization"]
    assert (use["cores"]["used"], use["cores"]["available"]) == (2, 9)
    assert (use["words"]["available"], use["neurons"]["available"], use["layers"]["available"]) == (135, 90, 6)
    # The second piece of `hidden` has 7 words, on the chip's core 2 in the third pass.
    assert use["words"]["fullest"] == {"core": "c1 (pass 0)", "used": 15, "capacity": 20}
    before = to_json(guessed(passes=3, mapping=None))
    assert (before["target"]["passes"], before["utilization"]["words"]["available"]) == (None, 45)
    assert to_json(outcome())["target"]["passes"] == 1


def test_a_core_is_as_full_as_its_class_has_room() -> None:
    machine = guessed().machine
    assert machine is not None
    made = guessed().mapping
    assert made is not None
    # 4 of the small core's 5 words are more than 15 of 20, and it is in the second pass.
    shards = (made.shards[0], replace(made.shards[1], demand={"neurons": 1, "words": 4}))
    report = to_json(guessed(mapping=replace(
        made, shards=shards, cores=(machine.cores[0], machine.cores[5]), placement=replace(made.placement, slot=np.array([0, 5])),
    )))
    assert report["utilization"]["words"]["fullest"] == {"core": "c3 (pass 1)", "used": 4, "capacity": 5}
    # Cores have one layer each, or none, which limits no sizes.
    assert [name for name, row in report["utilization"].items() if row["limiting"]] == ["words"]
    assert report["layers"][0]["limited_by"] == "synapse memory"


def test_cores_that_hold_one_layer_each_limit_what_is_not_cut() -> None:
    made = guessed().mapping
    assert made is not None
    first, second = made.shards
    whole = replace(made, shards=(first, replace(second, population="output")))
    report = to_json(guessed(mapping=whole))
    assert [name for name, row in report["utilization"].items() if row["limiting"]] == ["layers"]
    assert [layer["limited_by"] for layer in report["layers"]] == [None, None]


def test_no_core_is_the_fullest_where_none_has_any() -> None:
    made, machine = guessed().mapping, guessed().machine
    assert made is not None
    assert machine is not None
    small = replace(made, shards=made.shards[:1], cores=(machine.cores[2],), placement=replace(made.placement, slot=np.array([2])))
    small = replace(small, shards=(replace(made.shards[0], demand={"neurons": 2, "words": 4}),))
    use = to_json(guessed(mapping=small))["utilization"]
    assert (use["layers"]["fullest"], use["layers"]["used"], use["words"]["fullest"]["capacity"]) == (None, 0, 5)


def test_pieces_that_take_nothing_of_their_own_are_not_limited() -> None:
    made = guessed().mapping
    assert made is not None
    bare = tuple(replace(shard, demand={}) for shard in made.shards)
    assert to_json(guessed(mapping=replace(made, shards=bare)))["layers"][0]["limited_by"] is None


def test_the_mappers_numbers_take_the_place_of_estimates() -> None:
    report = to_json(guessed(SURVEY))
    assert report["basis"] == "mapper 2.1"
    assert report["utilization"]["cores"]["used"] == 5
    assert [layer["cores"] for layer in report["layers"]] == [4, 0]
    assert report["survey"] == {
        "name": "mapper", "version": "2.1", "missing": None, "fits": True, "reason": None, "cores": 5, "estimated_cores": 2,
        "layers": [
            {"name": "hidden", "cores": 4, "estimated_cores": 2}, {"name": "output.pool", "cores": 1, "estimated_cores": None},
        ],
        "facts": {"bytes": 12},
    }
    # What is nmap's own remains.
    assert report["partition"]["cores"] == 2


def test_what_the_mapper_says_is_whether_it_fits() -> None:
    alone = to_json(guessed(SURVEY, mapping=None))
    assert (alone["fits"], alone["utilization"]["cores"]["used"], alone["survey"]["estimated_cores"]) == (True, 5, None)
    assert to_json(guessed(replace(SURVEY, fits=False, reason="no")))["fits"] is False
    assert to_json(guessed(Survey("mapper", missing="absent")))["fits"] is True


def test_estimates_are_called_so_and_other_numbers_are_not() -> None:
    assert to_json(guessed())["basis"] == "estimate"
    assert to_json(guessed(Survey("mapper", missing="absent")))["basis"] == "estimate"
    assert (to_json(outcome())["basis"], to_json(outcome())["survey"], to_json(BARE)["basis"]) == (None, None, None)


def test_unknown_numbers_are_null() -> None:
    machine = build_machine(spec())
    placed = replace(mapping(machine), placement=PlacementSolution(np.array([1, 2]), 12.0, 0.0, "feasible", 5))
    report = to_json(outcome(mapping=placed, machine=machine, network=replace(network(), conventions=Conventions(None))))
    assert report["placement"]["gap"] is None
    assert report["placement"]["deterministic_time"] is None
    assert report["network"]["dt"] is None
    nothing = to_json(misfit())
    assert nothing["partition"] is None
    assert nothing["utilization"]["words"] | {"title": 0, "unit": 0} == {
        "title": 0, "unit": 0, "used": None, "available": 60, "fullest": None, "limiting": False,
    }
    assert nothing["fits"] is False
    assert to_json(BARE)["fits"] is None


def test_infinite_bound_becomes_null_instead_of_invalid_json() -> None:
    lost = PlacementSolution(np.array([1, 2]), float("inf"), float("nan"), "unknown", 0)
    placed = replace(mapping(build_machine(spec())), placement=lost)
    report = to_json(outcome(mapping=placed))
    assert report["placement"]["objective"] is None
    json.dumps(report, allow_nan=False)


def test_placement_without_traffic_is_optimal() -> None:
    placed = replace(mapping(build_machine(spec())), placement=PlacementSolution(np.array([1, 2]), 0.0, 0.0, "optimal", 0))
    assert to_json(outcome(mapping=placed))["placement"]["gap"] == 0.0


def test_portable_report_has_no_times_and_no_folders() -> None:
    here = outcome(network=network("/home/me/nets/net.h5"), command=("nmap", "deploy", "/home/me/nets/net.h5", "--target", "tiny", "-q"))
    there = outcome(network=network("../net.h5"), command=("nmap", "deploy", "../net.h5", "--target", "tiny", "-o", "x/y"), timings={})
    assert portable_report(here) == portable_report(there)
    text = json.dumps(portable_report(here))
    assert "/home" not in text
    assert portable_report(here)["timings_s"] is None
    assert portable_report(here)["bundle"] is None
    assert portable_report(here)["layers"][0]["where"] == "net.h5:/hidden"


def test_portable_command_keeps_choices_and_drops_places() -> None:
    words = "nmap deploy /a/b/net.h5 --target loihi2:x --output=o --input d/s.npz -o out --format json -v --seed 3 --dead-cores=/t/dead.txt"
    assert " ".join(portable_command(words.split())) == "nmap deploy net.h5 --target loihi2:x --input s.npz --seed 3 --dead-cores=dead.txt"


def test_core_labels_name_the_chip_only_when_there_are_several() -> None:
    core = mapping(build_machine(spec())).cores[1]
    assert core_label(core, 1) == "c2"
    assert core_label(core, 3) == "0:2"


def test_comparison_holds_every_report() -> None:
    joined = comparison_to_json([to_json(outcome()), to_json(misfit())], ["nmap"], "does_not_fit", 1, misfit().diagnostics)
    assert joined["schema"] == "nmap.comparison/1"
    assert [report["fits"] for report in joined["reports"]] == [True, False]
    assert (joined["status"], joined["exit_status"], joined["command"]) == ("does_not_fit", 1, ["nmap"])
    assert [d["code"] for d in joined["diagnostics"]] == [d.code for d in misfit().diagnostics]


def test_run_report_counts_output_spikes() -> None:
    report = run_to_json(replace(RUN, samples=Samples("s.npz", None, 2, 3)), ["nmap"], None)
    assert report["run"]["output_spikes"] == 24
    assert report["run"]["probes"] == {"lif.v": [2, 3, 5]}
    assert report["written"] == []


def test_run_report_names_the_target_and_its_own_time_only_where_there_is_one() -> None:
    report = run_to_json(replace(RUN, target="tiny:two", network="net.h5", raw_time=True), ["nmap"], None)
    assert (report["target"]["name"], report["target"]["variant"], report["network"]) == ("tiny", "two", None)
    assert report["run"]["raw_time"] is True
    assert "raw chip time" in run_text(report)
    assert problems(report, schema(), closed=True) == []
    report = run_to_json(replace(RUN, level="float", raw_time=True), ["nmap"], None)
    assert (report["target"], report["run"]["raw_time"]) == (None, False)
    assert "raw" not in run_text(report)


def test_conventions_are_told_in_full() -> None:
    plain = to_json(outcome())["network"]["conventions"]
    assert plain == {
        "reset": "zero", "decay": "euler", "compare": ">", "multiple": False, "floor": None, "early_reset": False, "lag": 0,
        "late_bias": False, "gain": "euler", "in_steps": False, "reset_interval": 0, "reset_offset": 0,
    }
    odd = Conventions(
        None, "subtract", "exact", ">=", multiple=True, floor=-1.0, early_reset=True, lag=2, late_bias=True, gain="exact", in_steps=True,
        reset_interval=16, reset_offset=3,
    )
    told = to_json(outcome(network=replace(network(), conventions=odd)))
    assert told["network"]["conventions"] == {
        "reset": "subtract", "decay": "exact", "compare": ">=", "multiple": True, "floor": -1.0, "early_reset": True, "lag": 2,
        "late_bias": True, "gain": "exact", "in_steps": True, "reset_interval": 16, "reset_offset": 3,
    }
    assert problems(told, schema(), closed=True) == []


def test_reports_of_before_these_keys_still_follow_the_schema() -> None:
    """A bundle written earlier holds a report without them."""
    old = to_json(outcome())
    for key in ("multiple", "floor", "early_reset", "lag", "late_bias", "gain", "in_steps"):
        del old["network"]["conventions"][key]
    del old["projections"], old["basis"], old["survey"], old["target"]["passes"], old["quantization"]["window"]
    for key in ("count_agreement", "argmax_agreement", "window"):
        del old["verification"]["chip_vs_float"][key]
    for layer in old["layers"]:
        for key in ("family", "sends", "parameters"):
            del layer[key]
    assert problems(old, schema()) == []
    assert inspection_text(old).startswith("net.h5")
    assert to_text(old) == to_text(to_json(outcome()))


@pytest.mark.parametrize("kind", sorted(FOREIGN_NETWORKS))
def test_reports_of_every_model_and_convention_follow_the_schema(kind: str) -> None:
    report = to_json(outcome(network=FOREIGN_NETWORKS[kind](), mapping=None, quantized=None))
    assert problems(report, schema(), closed=True) == []
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@pytest.mark.parametrize(("kind", "family", "sends"), [
    ("lag", "integrate-and-fire", "spikes"), ("silent", "integrate-and-fire", "v"), ("relay", "integrate-and-fire", "sum"),
    ("adaptive", "integrate-and-fire", "spikes"), ("resonator", "resonator", "spikes"), ("delta", "sigma-delta", "graded spikes"),
    ("sigma delta", "sigma-delta", "graded spikes"), ("sigma", "sigma-delta", "sigma"),
])
def test_layers_say_what_their_neurons_are_and_send(kind: str, family: str, sends: str) -> None:
    first = to_json(outcome(network=FOREIGN_NETWORKS[kind](), mapping=None))["layers"][0]
    assert (first["family"], first["sends"]) == (family, sends)


def test_parameters_are_ranges_in_the_units_of_the_file() -> None:
    def first(kind: str) -> dict[str, dict[str, float]]:
        return dict(to_json(outcome(network=FOREIGN_NETWORKS[kind](), mapping=None))["layers"][0]["parameters"])

    turn = first("resonator")
    # A decay of 0.95 and 0.4 rad per step, which is 22.918 degrees.
    assert turn["decay"]["min"] == pytest.approx(0.95)
    assert turn["degrees"]["max"] == pytest.approx(22.918, abs=1e-3)
    # 64 in units of the state, of which 2^12 make one of the file's.
    assert first("sigma")["threshold"] == {"min": 1 / 64, "max": 1 / 64}
    assert "threshold" not in first("silent")
    assert first("adaptive")["threshold_step"] == {"min": 0.25, "max": 0.25}
    mixed = replace(neuron(3), threshold=np.array([1.0, 2.0, 4.0]), alpha=np.array([0.0, 0.5, 0.75]), drive=np.array([0, -1, 0]))
    populations = network().populations
    made = replace(network(), populations=(populations[0], replace(populations[1], neuron=mixed), populations[2]))
    assert to_json(outcome(network=made))["layers"][0]["parameters"] == {
        "threshold": {"min": 1.0, "max": 4.0}, "v_decay": {"min": 0.0, "max": 0.0}, "i_decay": {"min": 0.0, "max": 0.75},
        "drive": {"min": -1.0, "max": 0.0},
    }


def test_projections_are_told_with_delays_biases_and_receptors() -> None:
    hidden, loop, output = to_json(outcome())["projections"]
    assert hidden == {
        "name": "a", "source": "input", "target": "hidden", "kind": "dense", "detail": "dense 4→3", "weights": [3, 4], "synapses": 12,
        "delay": {"min": 0, "max": 0}, "biases": None, "bias_from": 0, "receptor": "input", "where": "net.h5:/a",
    }
    assert (loop["delay"], output["target"]) == ({"min": 1, "max": 1}, "output")
    base = network()
    slow = np.arange(12).reshape(3, 4)
    first = replace(base.projections[0], delays=slow, delay=2, bias=np.array([0.0, 1.0, -1.0]), bias_from=3)
    told = to_json(outcome(network=replace(base, projections=(first, *base.projections[1:]))))["projections"][0]
    assert (told["delay"], told["biases"], told["bias_from"]) == ({"min": 2, "max": 13}, 2, 3)
    receptors = [p["receptor"] for p in to_json(outcome(network=FOREIGN_NETWORKS["complex weights"](), mapping=None))["projections"]]
    assert receptors == ["input", "input", "imaginary", "imaginary"]


@pytest.mark.parametrize(("change", "detail"), [
    ({}, "conv 5×5 2→12"), ({"stride": (2, 2)}, "conv 5×5 2→12, stride 2"),
    ({"padding": (2, 1), "dilation": (1, 2)}, "conv 5×5 2→12, padding 2×1, dilation 1×2"),
    ({"weights": np.ones((12, 1, 3, 1)), "groups": 2}, "conv 3×1 2→12, 2 groups"),
])
def test_convolutions_tell_what_is_not_usual(change: dict[str, Any], detail: str) -> None:
    base = conv_network()
    conv = replace(base.projections[0].connectivity, **change)
    out = replace(base.populations[1], shape=conv.out_shape, neuron=neuron(conv.out_size))
    made = replace(base, populations=(base.populations[0], out), projections=(replace(base.projections[0], connectivity=conv),))
    made.check()
    assert to_json(outcome(network=made, mapping=None))["projections"][0]["detail"] == detail
