"""Programs whose neurons have copies: on disk, checked against limits and network, counted, and run beside the reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.diagnostics import Findings, NmapError
from nmap.estimate import Activity, load_of_program
from nmap.network import Provenance
from nmap.options import Options
from nmap.partition.routes import program_nets
from nmap.program import Core, NeuronGroup, Program, ProgramPopulation, Routes, SynapseBlock, read_program, write_program
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.report.model import Traffic
from nmap.samples import in_memory
from nmap.target.machine import build_machine
from nmap.target.registry import find_target
from nmap.testing.networks import build, lif
from nmap.verify.belonging import changed_values, foreign_parts
from nmap.verify.comparison import Comparison
from nmap.verify.mapping import verify_mapping

FIRST, SECOND = np.array([[3, -2], [1, 4]]), np.array([[2, 5], [-3, 7]])
"""Weights from two inputs to two neurons, and from those to two outputs, one of them on each of two cores."""
FORM = SynapseFormat(4)


def params(threshold: int) -> dict[str, np.ndarray]:
    return {"leak": np.zeros(2, np.int64), "bias": np.zeros(2, np.int64), "threshold": np.full(2, threshold)}


def network() -> QuantizedNetwork:
    where = Provenance("net.nir", "/net")
    populations = (
        QuantizedPopulation("in", (2,), None, {}, where), QuantizedPopulation("hidden", (2,), "toy.lif", params(3), where),
        QuantizedPopulation("out", (2,), "toy.lif", params(5), where, latency=1),
    )
    wires = (
        QuantizedProjection("a", "in", "hidden", Dense(FIRST.astype(np.int32)), FORM, 0, where),
        QuantizedProjection("b", "hidden", "out", Dense(SECOND.astype(np.int32)), FORM, 0, where),
    )
    return QuantizedNetwork(populations, wires, ("in",), ("out",))


def block(core: int, group: int, axon: int, weights: np.ndarray) -> SynapseBlock:
    return SynapseBlock(core, group, axon, Dense(weights.astype(np.int32)), None, 0, 0, 0, 4, "mixed")


def program() -> Program:
    """Hidden neurons and a copy of each on core 0, one output on core 0 and one on core 1."""
    populations = (
        ProgramPopulation("in", (2,), 0, True, False), ProgramPopulation("hidden", (2,), 0, False, False),
        ProgramPopulation("out", (2,), 1, False, True), ProgramPopulation("hidden.copies", (2,), 0, False, False),
    )
    half = {name: values[:1] for name, values in params(5).items()}
    groups = (
        NeuronGroup(0, 1, ((0, 2),), "toy.lif", params(3), {}), NeuronGroup(0, 3, ((0, 2),), "toy.lif", params(3), {}),
        NeuronGroup(0, 2, ((0, 1),), "toy.lif", half, {}), NeuronGroup(1, 2, ((1, 2),), "toy.lif", half, {}),
    )
    blocks = (
        block(0, 0, 0, FIRST), block(0, 1, 0, FIRST[::-1]), block(0, 2, 2, SECOND[:1]), block(1, 3, 0, SECOND[1:, ::-1]),
    )
    # The copies stand in the other order: copy 0 is of neuron 1.
    routes = (
        Routes(np.arange(3), np.zeros(2), np.array([2, 3])), Routes(np.arange(3), np.ones(2), np.array([0, 1])),
        Routes(np.zeros(2), np.zeros(0), np.zeros(0)), Routes(np.zeros(2), np.zeros(0), np.zeros(0)),
    )
    inputs = {0: Routes(np.arange(3), np.zeros(2), np.arange(2))}
    return Program(
        "toy", "2x2", populations, (Core(0, 0, 0, 0), Core(0, 1, 0, 1)), groups, blocks, routes, inputs, 0,
        {3: (1, np.array([1, 0]))},
    )


def said(found: Program) -> list[str]:
    return [d.message for d in verify_mapping(found, find_target("toy"), build_machine(find_target("toy").spec))]


def test_copies_are_stored(tmp_path):
    write_program(program(), tmp_path / "program.h5")
    back = read_program(tmp_path / "program.h5")
    ((number, (origin, neurons)),) = back.copies.items()
    assert (number, origin, neurons.tolist()) == (3, 1, [1, 0])


@pytest.mark.parametrize(("copies", "told"), [
    ({3: (3, np.array([0, 1]))}, "copies population 3"), ({3: (9, np.array([0, 1]))}, "copies population 9"),
    ({2: (1, np.array([0, 1]))}, "cannot be an input port or an output"), ({3: (0, np.array([0, 1]))}, "cannot be an input port"),
    ({3: (1, np.array([0]))}, "does not fit"), ({3: (1, np.array([0, 2]))}, "does not fit"), ({7: (1, np.array([0, 1]))}, "population 7"),
])
def test_contradicting_copies_are_not_read(tmp_path, copies, told):
    write_program(replace(program(), copies=copies), tmp_path / "program.h5")
    with pytest.raises(NmapError, match="NM602") as error:
        read_program(tmp_path / "program.h5")
    assert told in str(error.value.diagnostics[0].why)


def test_groups_may_share_the_very_same_axons():
    assert said(program()) == []


def test_axons_that_overlap_otherwise_are_told():
    shifted = list(program().blocks)
    shifted[1] = replace(shifted[1], axon=1)
    assert any("shares input axons with another block" in text for text in said(replace(program(), blocks=tuple(shifted))))


def test_the_same_neurons_take_an_axon_once():
    twice = (*program().blocks, program().blocks[0])
    assert any("another block of the same neurons" in text for text in said(replace(program(), blocks=twice)))


def test_copies_belong_to_the_network():
    assert foreign_parts(program(), network()) == []
    assert changed_values(program(), network()) == []


def test_a_copy_with_another_threshold_is_told():
    groups = list(program().groups)
    groups[1] = replace(groups[1], params={**groups[1].params, "threshold": np.array([3, 4])})
    (told,) = changed_values(replace(program(), groups=tuple(groups)), network())
    # Copy 1 is of neuron 0.
    assert told == "the value of `threshold` of neuron 0 of `hidden` is 4, the network's is 3"


def test_a_population_that_copies_nothing_is_foreign():
    assert foreign_parts(replace(program(), copies={}), network()) == ["the network has no population `hidden.copies`"]


def compared(found: Program) -> tuple[int, list[str]]:
    rng = np.random.default_rng(3)
    samples = in_memory({"in": (rng.random((4, 20, 2)) < 0.5).astype(np.int32)})
    findings = Findings()
    imported = build(
        "net.nir", {"in": ((2,), None), "hidden": ((2,), lif(2)), "out": ((2,), lif(2))},
        [("in", "hidden", Dense(FIRST / 1.0), None, 0), ("hidden", "out", Dense(SECOND / 1.0), None, 0)],
    )
    run = Comparison(imported, find_target("toy"), network(), found, samples, findings, lambda text: None)
    run.run(fixed=True, real=False)
    assert run.chip_vs_fixed is not None
    assert run.chip_vs_fixed.spikes > 0
    assert run.activity is not None
    assert set(run.activity.counts) == {"in", "hidden", "out"}
    return run.chip_vs_fixed.mismatches, [d.message for d in findings]


def test_copies_spike_as_what_they_copy():
    assert compared(program()) == (0, [])


def test_a_copy_that_spikes_otherwise_is_told():
    """Its spikes go nowhere, so that nothing else would tell it."""
    routes = list(program().routes)
    routes[1] = Routes(np.zeros(3), np.zeros(0), np.zeros(0))
    blocks = (program().blocks[0], block(0, 1, 0, FIRST), *program().blocks[2:])
    lost = replace(program(), routes=tuple(routes), blocks=blocks)
    mismatches, told = compared(lost)
    assert mismatches > 0
    assert "`hidden.copies`" in told[0] or "`out`" in told[0]


def test_work_is_counted_with_copies():
    counts = {"in": np.array([3, 5]), "hidden": np.array([2, 7]), "out": np.array([1, 4])}
    load = load_of_program(program(), Activity("chip", 1, 10, counts, 1), Traffic("unicast", 2.0, 4.0))
    # Core 0: 8 input spikes reach 4 neurons each, 9 hidden spikes one output; core 1: 9 spikes of copies reach the other.
    assert load.operations.tolist() == [8 * 4 + 9, 9]
    assert load.updates.tolist() == [5, 1]
    assert load.spikes.tolist() == [9 + 9 + 1, 4]
    assert (load.packets, load.hops) == (1.8, 3.6)


def test_weights_of_zero_are_no_operation():
    blocks = list(program().blocks)
    blocks[3] = block(1, 3, 0, np.array([[0, 5]]))
    load = load_of_program(replace(program(), blocks=tuple(blocks)), Activity("chip", 1, 10, {
        "in": np.array([3, 5]), "hidden": np.array([2, 7]), "out": np.array([1, 4]),
    }))
    # Axon 0 of core 1 is driven by copy 0, of neuron 1, and reaches nothing.
    assert load.operations.tolist() == [8 * 4 + 9, 2]
    assert load.packets is None


def test_each_copy_sends_packets_of_its_own():
    nets = program_nets(program(), {"in": np.array([0.5, 0.25]), "hidden": np.array([0.5, 0.125]), "out": np.zeros(2)})
    found = {
        (int(source), int(nets.target[start])): float(weight)
        for source, start, weight in zip(nets.source, nets.start, nets.weight, strict=False)
    }
    # From the input port to core 0, and from core 0's copies to core 1; what stays on a core is no packet.
    assert found == {(-1, 0): 0.75, (0, 1): 0.625}
    everything = program_nets(program(), None)
    assert everything.weight.tolist() == [2.0, 2.0]


def test_options_know_nothing_of_copies():
    assert "copies" not in Options().to_json()


def test_settings_and_busy_steps_are_the_networks() -> None:
    settled = replace(network(), settings={"timestep_us": 1000, "time_scale": 2})
    told = changed_values(replace(program(), settings={"time_scale": 9}), settled)
    assert told == [
        "setting `time_scale` is 9, the network's is 2", "setting `timestep_us` is missing, the network's is 1000",
    ]
    populations = list(program().populations)
    first = next(k for k in range(len(populations)) if k not in program().copies)
    populations[first] = replace(populations[first], busy=7.0)
    (told,) = changed_values(replace(program(), populations=tuple(populations)), network())
    assert told == f"`{populations[first].name}` sends 7.0 spikes in its busiest step, by the network it is None"
