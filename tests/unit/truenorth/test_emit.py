"""The emitted files: run by the emulator of model files, compared with the emulator of programs; read back; spoilt."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nmap.diagnostics import Findings
from nmap.emulate.engine import Emulator
from nmap.program import Program, Routes, slice_indices
from nmap.target.spec import load_spec
from nmap.trace import Probe
from nmap_truenorth.artefact import axon_delays, axon_sources, corelets, first_columns, input_events, output_pins, ranc_form, to_model
from nmap_truenorth.build import build
from nmap_truenorth.emit import INPUT_MAP, OUTPUT_MAP, emit, emit_samples, reread
from nmap_truenorth.model.engine import simulate
from nmap_truenorth.model.model import NOWHERE, OFF_CHIP
from nmap_truenorth.model.read import read_model, read_spikes
from nmap_truenorth.model.spikes import read_connectors
from nmap_truenorth.neuron import NEURON
from nmap_truenorth.vendor import SIMULATOR_VARIABLE, run_vendor
from tests.unit.truenorth.handmade import Plan, Population, Run, assemble, params, random_plan
from tests.unit.truenorth.random_programs import random_mapping, random_network

STEPS, LENGTH = 26, 18
KERNELS = {NEURON.name: NEURON}


def network_of(plan: Plan) -> Any:
    """What `emit` reads of a network: the names of its ports and outputs, in order."""
    return SimpleNamespace(inputs=tuple(plan.ports), outputs=tuple(p.name for p in plan.populations if p.output))


def sample_of(plan: Plan, seed: int, length: int = LENGTH) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {name: (rng.random((length, size)) < 0.4).astype(np.int32) for name, size in plan.ports.items()}


def written(folder: Path, plan: Plan, program: Program, samples: list[dict[str, np.ndarray]]) -> Path:
    for name, content in {**emit(network_of(plan), program), **emit_samples(program, iter(samples), STEPS)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def emulated(program: Program, sample: dict[str, np.ndarray], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Spikes (n, 3) by tick, core and column, and potentials (cores, 256) at the end, as the generic emulator has them: all groups."""
    names = [p.name for p in program.populations if not p.is_input]
    probes = [Probe(name, "v") for name in names]
    trace = Emulator(program, KERNELS).run({k: v[None] for k, v in sample.items()}, steps, record=names, probes=probes)
    potentials = np.zeros((len(program.cores), 256), np.int64)
    rows, used = [], [0] * len(program.cores)
    for group in program.groups:
        name = program.populations[group.population].name
        here = slice_indices(group.slice, program.populations[group.population].shape)
        tick, slot = np.nonzero(trace.spikes[name][0][:, here])
        rows.append(np.stack([tick, np.full(tick.size, group.core), used[group.core] + slot], axis=1))
        column = used[group.core] + np.arange(group.size)
        potentials[group.core, column] = trace.state[f"{name}.v"][0][-1][here]
        used[group.core] += group.size
    spikes = np.concatenate(rows)
    return spikes[np.lexsort(spikes.T[::-1])], potentials


@pytest.mark.parametrize("seed", range(8))
def test_the_written_model_computes_the_program(tmp_path: Path, seed: int) -> None:
    """Two emulators that share nothing, and the file formats between them: all neurons, copies included, and all potentials."""
    plan = random_plan(seed)
    program = assemble(plan)
    sample = sample_of(plan, seed)
    folder = written(tmp_path, plan, program, [sample])
    findings = Findings()
    model = read_model(folder / "model.json", findings)
    events = read_spikes(folder / "spikes/sample_0000.sfti", model, findings)
    assert not list(findings)
    found = simulate(model, events, STEPS, every=True)
    spikes, potentials = emulated(program, sample, STEPS)
    assert len(spikes) > 20
    assert np.array_equal(found.events, spikes)
    assert np.array_equal(found.potentials, potentials)
    assert found.merged == 0
    assert reread(folder, network_of(plan), program) == []


def roomy(program: Program) -> bool:
    """Whether no core has more than 256 axons or neurons."""
    axons, neurons = np.zeros((2, len(program.cores)), np.int64)
    for block in program.blocks:
        axons[block.core] = max(axons[block.core], block.axon + block.axons)
    for group in program.groups:
        neurons[group.core] += group.size
    return bool(max(axons.max(), neurons.max()) <= 256)


@pytest.mark.parametrize("seed", range(20))
def test_the_compilers_programs_survive_their_files(tmp_path: Path, seed: int) -> None:
    """Networks of all kinds of weights, compiled; how they are shared out over cores is drawn, and may put too much on a core."""
    network = random_network(seed)
    program = build(network, random_mapping(network, load_spec("nmap_truenorth"), seed), 0)
    if not roomy(program):
        with pytest.raises(ValueError, match="256"):
            to_model(program)
        return
    rng = np.random.default_rng(seed)
    sample = {name: (rng.random((LENGTH, *network[name].shape)) < 0.4).astype(np.int32) for name in network.inputs}
    for name, content in {**emit(network, program), **emit_samples(program, iter([sample]), STEPS)}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    model = read_model(tmp_path / "model.json", Findings())
    found = simulate(model, read_spikes(tmp_path / "spikes/sample_0000.sfti", model, Findings()), STEPS, every=True)
    spikes, potentials = emulated(program, sample, STEPS)
    assert np.array_equal(found.events, spikes)
    assert np.array_equal(found.potentials, potentials)
    assert reread(tmp_path, network, program) == []


@pytest.mark.parametrize("seed", range(4))
def test_the_written_ranc_model_computes_the_program(tmp_path: Path, seed: int) -> None:
    plan = random_plan(100 + seed, ranc=True)
    program = assemble(plan)
    sample = sample_of(plan, seed)
    folder = written(tmp_path, plan, program, [sample])
    model = read_model(folder / "ranc/model.json", Findings())
    events = read_spikes(folder / "ranc/packets_0000.json", model, Findings())
    found = simulate(model, events, STEPS, every=True)
    spikes, potentials = emulated(program, sample, STEPS)
    assert np.array_equal(found.events, spikes)
    assert np.array_equal(found.potentials, potentials)
    assert reread(folder, network_of(plan), program) == []


@pytest.mark.parametrize("seed", range(3))
def test_rancs_own_simulator_computes_the_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    if not os.environ.get(SIMULATOR_VARIABLE):
        pytest.skip(f"{SIMULATOR_VARIABLE} does not name RANC's simulator")
    plan = random_plan(200 + seed, ranc=True)
    program = assemble(plan)
    samples = [sample_of(plan, 2 * seed + k) for k in range(2)]
    folder = written(tmp_path, plan, program, samples)
    flat = np.stack([np.concatenate([sample[name] for name in plan.ports], axis=1) for sample in samples])
    run = run_vendor(folder, flat, STEPS, 60.0)
    assert run.missing is None
    assert sorted(run.spikes) == sorted(network_of(plan).outputs)
    for number, sample in enumerate(samples):
        trace = Emulator(program, KERNELS).run({k: v[None] for k, v in sample.items()}, STEPS)
        for name, values in run.spikes.items():
            assert np.array_equal(values[number], trace.spikes[name][0])


def two_cores() -> Plan:
    """in (2) -> a (3, core 0) -> b (2, core 1), an output; a drives b through types 0 and 2, and so has one copy each."""
    a = Population("a", np.zeros(3, np.int64), params(3, alpha=[5, 6, 7], leak=[-1, 0, 2], kappa=0, beta=[9, 8, 7], vr=[0, 2, 3]),
                   np.array([0, -1, 4]))
    b = Population("b", np.ones(2, np.int64), params(2, alpha=4, gamma=1, sigma_vr=-1, vr=1), np.zeros(2, np.int64), True, 1)
    each = np.ones((3, 2), bool)
    each[2, 0] = False
    return Plan({"in": 2}, [a, b], [
        Run(0, "in", np.arange(2), "a", 1, 3, np.array([[2], [-3], [4]]), each),
        Run(1, "a", np.arange(3), "b", 0, 0, np.array([[1], [5]]), np.ones((2, 3), bool)),
        Run(1, "a", np.arange(3), "b", 2, 6, np.array([[-2], [7]]), np.array([[True, False, True], [False, True, True]])),
    ], 2)


def test_a_model_by_hand() -> None:
    program = assemble(two_cores())
    model = to_model(program)
    assert (model.cores, model.axons, model.neurons, model.input_delay) == (2, 256, 256, 1)
    assert model.ids.tolist() == [0, 1]
    # Core 0 has a and its copies, core 1 has b.
    assert np.flatnonzero(model.enabled[0]).tolist() == list(range(6))
    assert np.flatnonzero(model.enabled[1]).tolist() == [0, 1]
    assert model.threshold[0, :6].tolist() == [5, 6, 7, 5, 6, 7]
    assert model.leak[0, :6].tolist() == [-1, 0, 2, -1, 0, 2]
    assert model.potential[0, :6].tolist() == [0, -1, 4, 0, -1, 4]
    assert model.reset[0, :3].tolist() == [0, 3, 7]
    assert model.reset[1, :2].tolist() == [-1, -1]
    assert (model.floor[0, 0], model.kappa[0, 0], model.gamma[1, 0], model.kappa[1, 0]) == (9, False, 1, True)
    # Whoever drives first is the neuron itself: type 0 without delay; the copies drive type 2, seven ticks later.
    assert model.target[0, :6].tolist() == [1] * 6
    assert model.target_axon[0, :6].tolist() == [0, 1, 2, 3, 4, 5]
    assert model.delay[0, :6].tolist() == [1, 1, 1, 7, 7, 7]
    assert model.target[1, :2].tolist() == [OFF_CHIP] * 2
    assert model.target_core[1, :3].tolist() == [-32, -32, -1]
    assert model.target_axon[1, :2].tolist() == [0, 1]
    assert model.target[1, 2] == NOWHERE
    bits = np.unpackbits(model.crossbar, axis=2).astype(bool)
    held = np.stack([model.weights[c][:, model.axon_types[c]].T * bits[c] for c in range(2)])
    assert held[0, :2, :6].tolist() == [[2, -3, 0, 2, -3, 0], [2, -3, 4, 2, -3, 4]]
    assert held[1, :6, :2].tolist() == [[1, 5], [1, 5], [1, 5], [-2, 0], [0, 7], [-2, 7]]
    assert not held[:, 6:].any()
    assert not held[1, :, 2:].any()


def test_axons_and_columns_by_hand() -> None:
    program = assemble(two_cores())
    assert first_columns(program).tolist() == [0, 3, 0]
    assert axon_delays(program)[:, :7].tolist() == [[3, 3, -1, -1, -1, -1, -1], [0, 0, 0, 6, 6, 6, -1]]
    # Population 1 is a, whose copies are told as a.
    assert axon_sources(program)[1, :7].tolist() == [[1, 0], [1, 1], [1, 2], [1, 0], [1, 1], [1, 2], [-1, -1]]
    sample = {"in": np.array([[1, 0], [0, 0], [5, 1]])}
    events = input_events(program, sample)
    # srcTime is the step and the axon's delay: what a spike file sends in tick s is seen in s + 1, as what nmap sends in step t.
    assert np.stack([events.tick, events.core, events.axon], axis=1).tolist() == [[3, 0, 0], [5, 0, 0], [5, 0, 1]]


def test_many_outputs_have_connectors_of_256_pins() -> None:
    n = 300
    core = np.repeat([0, 1], 150)
    one = Population("one", core, params(n), np.zeros(n, np.int64), True)
    two = Population("two", np.full(3, 1), params(3), np.zeros(3, np.int64), True)
    runs = [
        Run(k, "in", np.array([0]), name, 0, 0, np.ones((size, 1), int), np.ones((size, 1), bool))
        for k, name, size in ((0, "one", n), (1, "one", n), (1, "two", 3))
    ]
    program = assemble(Plan({"in": 1}, [one, two], runs, 2))
    pins = output_pins(program)
    assert pins[1].connector.tolist() == [-32] * 256 + [-33] * 44
    assert pins[1].pin.tolist() == [*range(256), *range(44)]
    assert pins[1].core.tolist() == core.tolist()
    assert pins[1].column.tolist() == [*range(150), *range(150)]
    assert pins[2].connector.tolist() == [-34] * 3
    assert pins[2].line.tolist() == [300, 301, 302]
    model = to_model(program)
    stated = {(int(c), int(a)) for c, a in zip(model.target_core[model.target == OFF_CHIP], model.target_axon[model.target == OFF_CHIP],
                                               strict=True)}
    assert len(stated) == 303


def test_corelets_are_named_after_populations_and_nested() -> None:
    program = assemble(two_cores())
    names = ["in", "9 µ", "9 µ.split", "fc.1", "a.copies"]
    populations = [replace(p, name=name) for p, name in zip(
        [*program.populations[:3], program.populations[2], program.populations[3]], names, strict=True)]
    other = replace(program, populations=tuple(populations), copies={4: (1, np.arange(3))})
    assert [(c.number, c.name, c.population, c.parents) for c in corelets(other)] == [
        (1, "p_9__", 1, (0,)), (2, "p_9___split", 2, (1, 0)), (3, "fc_1", 3, (0,)),
    ]


def test_two_populations_never_share_a_class() -> None:
    program = assemble(two_cores())
    same = replace(program, populations=tuple(
        replace(p, name=name) for p, name in zip(program.populations, ["in", "x-1", "x_1", "x-1.copies"], strict=True)))
    assert [c.name for c in corelets(same)] == ["x_1", "x_1_2"]


def test_a_core_belongs_to_the_corelet_with_most_of_its_columns() -> None:
    model = to_model(assemble(two_cores()))
    assert [dict(core) for core in model.corelets] == [
        {"coreletClass": "a", "coreletId": 1, "coreNumber": 0, "parentCoreletId": [0]},
        {"coreletClass": "b", "coreletId": 2, "coreNumber": 0, "parentCoreletId": [0]},
    ]


def test_the_map_says_where_everything_is(tmp_path: Path) -> None:
    plan = two_cores()
    program = assemble(plan)
    found = json.loads(emit(network_of(plan), program)["connectors.json"])
    assert found["inputs"] == [{"name": "in", "shape": [2], "neurons": [[[0, 0, 3]], [[0, 1, 3]]]}]
    (output,) = found["outputs"]
    assert (output["name"], output["latency"], output["first_line"]) == ("b", 1, 0)
    assert output["neurons"] == [[1, 0, -32, 0], [1, 1, -32, 1]]
    assert found["time"]["tick_of_step"] == 0
    assert found["time"]["steps_beyond_input"] == 1
    assert found["cores"][1] == {"id": 1, "chip": 0, "core": 452, "x": 4, "y": 7, "corelet": 2}
    root, a, b = found["corelets"]
    assert (root["id"], root["parents"]) == (0, [-1])
    assert a["columns"] == [
        {"core": 0, "columns": ["0:2"], "neurons": ["0:2"], "copies": False},
        {"core": 0, "columns": ["3:5"], "neurons": ["0:2"], "copies": True},
    ]
    assert [entry["from"] for entry in b["inputs"]] == ["a", "a"]
    assert [(entry["axons"], entry["neurons"], entry["delay"]) for entry in b["inputs"]] == [(["0:2"], ["0:2"], 0), (["3:5"], ["0:2"], 6)]
    assert (a["outputs"], b["outputs"]) == (["b"], ["off the chip"])


def test_connector_maps_of_the_chips_own_form() -> None:
    plan = two_cores()
    files = emit(network_of(plan), assemble(plan))
    (inputs,), (outputs,) = (read_connectors(files[name]) for name in (INPUT_MAP, OUTPUT_MAP))
    assert (inputs.name, inputs.output, inputs.core.tolist(), inputs.pin.tolist()) == ("in", False, [0, 0], [0, 1])
    assert (outputs.name, outputs.output, outputs.core.tolist(), outputs.pin.tolist()) == ("b", True, [1, 1], [0, 1])


def test_the_same_program_gives_the_same_bytes() -> None:
    plan = random_plan(3)
    one, other = (emit(network_of(plan), assemble(random_plan(3))) for _ in range(2))
    assert one == other


# ---- RANC's subset ----


def changed(**values: Any) -> Program:
    """The two cores with other parameters of a."""
    plan = two_cores()
    plan.populations[1].params["kappa"][:] = 0
    for name, value in values.items():
        plan.populations[0].params[name][:] = value
    return assemble(plan)


def form_of(program: Program) -> Any:
    return ranc_form(program, to_model(program))


def test_what_ranc_does_not_have_is_named() -> None:
    assert form_of(changed()).reasons == ()
    for values, word in (({"epsilon": 1}, "epsilon"), ({"gamma": 2}, "gamma = 2"), ({"kappa": 1, "beta": 5}, "kappa = 1")):
        form = form_of(changed(**values))
        assert form.model is None
        (reason,) = form.reasons
        assert "`a`" in reason
        assert word in reason


def test_leak_reversal_of_no_leak_is_nothing() -> None:
    assert form_of(changed(epsilon=1, leak=0)).model is not None


def test_kappa_makes_no_difference_where_reset_and_floor_are_the_same() -> None:
    # R = 2^3 - 1 = 7 above and so -7 below: what kappa = 1 does with a floor of -7.
    form = form_of(changed(kappa=1, beta=7, vr=3, sigma_vr=1))
    assert form.model is not None
    assert form.ticks is None
    assert form_of(changed(kappa=1, beta=7, vr=3, sigma_vr=-1)).model is None


def test_how_long_a_floor_is_out_of_reach_is_counted() -> None:
    # Neuron 1 hears two axons of -3 and has no leak: it starts at -1 and loses at most 6 a tick.
    values = {"kappa": 1, "leak": 0, "beta": 6001, "vr": 0}
    form = form_of(changed(**values))
    assert form.model is not None
    assert form.ticks == 1000
    assert not form.model.kappa.any()
    # With a leak of -1 of neuron 1 it is 7 a tick: (6001 - 1) / 7.
    assert form_of(changed(**{**values, "leak": [0, -1, 0]})).ticks == 857
    # Nothing lowers the others, so their floor is never reached however near it is.
    assert form_of(changed(**{**values, "beta": [0, 6001, 0]})).ticks == 1000
    form = form_of(changed(**{**values, "beta": 60}))
    assert form.model is None
    assert "after 9 ticks" in form.reasons[0]


def test_the_count_of_ticks_is_right_to_the_tick() -> None:
    """The worst input there is: the membrane is above the floor in the last tick that is proved, and below it in the next."""
    program = changed(kappa=1, leak=0, beta=6001, vr=0)
    ticks = form_of(program).ticks
    model = to_model(program)
    events = input_events(program, {"in": np.ones((ticks + 5, 2), np.int32)})
    # The first input acts in tick 4, as its axons have three further steps.
    before, after = (simulate(model, events, 4 + ticks + more).potentials[0, 1] for more in (0, 2))
    assert before == -1 - 6 * ticks == -6001
    assert after == -6001


def test_a_large_program_is_not_written_for_ranc() -> None:
    program = changed()
    many = replace(program, cores=program.cores * 129)
    assert "258 cores" in ranc_form(many, SimpleNamespace(cores=258)).reasons[0]  # type: ignore[arg-type]


def test_no_ranc_files_without_a_ranc_model(tmp_path: Path) -> None:
    plan = two_cores()
    plan.populations[0].params["gamma"][:] = 2
    program = assemble(plan)
    folder = written(tmp_path, plan, program, [sample_of(plan, 0)])
    assert not (folder / "ranc").exists()
    found = json.loads((folder / "connectors.json").read_bytes())
    assert any("gamma = 2" in reason for reason in found["ranc"]["why_not"])
    assert "gamma = 2" in (folder / "README.txt").read_text()
    assert reread(folder, network_of(plan), program) == []


# ---- files that are not what was meant ----


def spoilt(folder: Path, name: str, old: str, new: str, count: int = 1) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, count))


@pytest.mark.parametrize(("name", "old", "new", "said"), [
    ("model.json", '"alpha":5', '"alpha":6', "threshold"),
    ("model.json", '"destCores":["1x6"', '"destCores":["1x5",0', "target core"),
    ("model.json", '"D8 00', '"C8 00', "synapse"),
    ("model.json", '"coreCount":2', '"coreCount":3', "model.json"),
    ("connectors.json", '"axons": ["0:2"]', '"axons": ["0:1", 2]', "connectors.json"),
    ("model_inpMap.bin", "i", "j", "model_inpMap.bin"),
    ("ranc/model.json", '"leak":-1', '"leak":-2', "ranc/model.json"),
    ("spikes/sample_0000.sfti", '"destAxon":1', '"destAxon":9', "axon 9 of core 0 is no pin"),
    ("spikes/sample_0000.sfti", '"destCore":0', '"destCore":1', "axon"),
    ("spikes/sample_0000.sfti", '"srcTime":3', '"srcTime":1', "in step -2"),
    ("ranc/packets_0000.json", '"destination_axon":1', '"destination_axon":77', "axon 77 of core 0 is no pin"),
    ("ranc/packets_0000.json", '"destination_core":[0,0]', '"destination_core":[9,0]', "packets_0000.json: it cannot be read"),
])
def test_spoilt_files_are_told(tmp_path: Path, name: str, old: str, new: str, said: str) -> None:
    plan = two_cores()
    plan.populations[1].params["kappa"][:] = 0
    program = assemble(plan)
    folder = written(tmp_path, plan, program, [{"in": np.ones((4, 2), np.int32)}])
    assert reread(folder, network_of(plan), program) == []
    if name.endswith(".bin"):
        (folder / name).write_bytes((folder / name).read_bytes().replace(old.encode(), new.encode()))
    else:
        spoilt(folder, name, old, new)
    told = reread(folder, network_of(plan), program)
    assert told
    assert any(said in text and name.split("/")[-1] in text for text in told), told


def test_a_program_that_no_crossbar_makes_is_told(tmp_path: Path) -> None:
    plan = two_cores()
    program = assemble(plan)
    folder = written(tmp_path, plan, program, [])
    blocks = []
    for block in program.blocks:
        shape = block.synapses.weights.shape
        # The axons of a block are of one type, on which a neuron has one weight.
        weights = np.arange(11, 11 + int(np.prod(shape)), dtype=np.int32).reshape(shape)
        blocks.append(replace(block, synapses=replace(block.synapses, weights=weights)))
    (told,) = reread(folder, network_of(plan), replace(program, blocks=tuple(blocks)))
    assert told.startswith("program.h5: ")


def test_a_spike_on_some_of_its_pins_alone_is_told(tmp_path: Path) -> None:
    plan = two_cores()
    plan.runs.append(Run(1, "in", np.arange(2), "b", 3, 2, np.ones((2, 1), int), np.ones((2, 2), bool)))
    program = assemble(plan)
    sample = {"in": np.array([[1, 0], [0, 1]])}
    folder = written(tmp_path, plan, program, [sample])
    path = folder / "spikes/sample_0000.sfti"
    lines = path.read_text().splitlines(keepends=True)
    # Two heads, then four spikes: two neurons with two pins each.
    assert len(lines) == 6
    path.write_text("".join(lines[:-1]))
    told = reread(folder, network_of(plan), program)
    assert any("is not on all of its pins" in text for text in told)
    path.write_text("".join([*lines, lines[-1]]))
    assert any("there twice" in text for text in reread(folder, network_of(plan), program))


def test_missing_files_are_told(tmp_path: Path) -> None:
    plan = two_cores()
    program = assemble(plan)
    folder = written(tmp_path, plan, program, [])
    for name in ("model.json", "connectors.json"):
        (folder / name).unlink()
        assert any(name in text for text in reread(folder, network_of(plan), program))


# ---- programs of another kind ----


def test_programs_of_another_kind_are_refused() -> None:
    program = assemble(two_cores())
    late = tuple(replace(block, delay=block.delay + (k == 0)) for k, block in enumerate(program.blocks))
    with pytest.raises(ValueError, match="different times"):
        axon_delays(replace(program, blocks=late))
    routes = (Routes(np.array([0, 2, 2, 2]), np.array([1, 1]), np.array([0, 1])), *program.routes[1:])
    with pytest.raises(ValueError, match="more than one destination"):
        to_model(replace(program, routes=routes))
    far = tuple(replace(block, axon=block.axon + 300) for block in program.blocks)
    with pytest.raises(ValueError, match="256 axons"):
        axon_delays(replace(program, blocks=far))
    with pytest.raises(ValueError, match="two neurons drive"):
        axon_sources(replace(program, routes=(program.routes[1], program.routes[1].__class__(
            program.routes[1].indptr, program.routes[1].core, program.routes[1].axon[::-1].copy()), program.routes[2])))
    back = Routes(np.array([0, 1, 1]), np.array([0]), np.array([0]))
    with pytest.raises(ValueError, match="output neuron sends"):
        to_model(replace(program, routes=(*program.routes[:2], back)))
