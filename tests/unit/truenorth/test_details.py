"""What is told of a mapped network, counted by hand and by loops over the core program."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.network import Provenance
from nmap.program import Program, slice_indices
from nmap.quantized import LayerLoss, QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap_truenorth.details import details
from tests.unit.truenorth.handmade import KERNEL, Plan, Population, Run, assemble, params, random_plan

HERE = Provenance("by hand", "/")
FORMAT = SynapseFormat(9)


def by_hand() -> tuple[QuantizedNetwork, Program]:
    """in (5) -> a (3 neurons, weights 1, 2, 3: two axons a source) -> a.relay (3) on the other core; a has one copy of neuron 0.

    Any two of the five sources have other weights onto some neuron, so four types do not do with one axon each.
    """
    weights = np.array([[1, 2, 3, 1, 2], [1, 1, 1, 2, 2], [3, 0, 0, 0, 0]], np.int32)
    a = Population("a", np.zeros(3, np.int64), params(3), np.zeros(3, np.int64))
    relay = Population("a.relay", np.ones(3, np.int64), params(3), np.zeros(3, np.int64), True, 1)
    extra = Run(1, "a", np.array([0]), "a.relay", 0, 4, np.ones((3, 1), int), np.array([[True], [False], [False]]))
    plan = Plan({"in": 5}, [a, relay], [
        Run(0, "in", np.arange(5), "a", 0, 0, np.ones((3, 1), int), (weights & 1).astype(bool)),
        Run(0, "in", np.arange(5), "a", 1, 0, np.full((3, 1), 2), (weights & 2).astype(bool)),
        Run(1, "a", np.arange(3), "a.relay", 0, 0, np.ones((3, 1), int), np.eye(3, dtype=bool)),
        extra,
    ], 2)
    populations = (
        QuantizedPopulation("in", (5,), None, {}, HERE), QuantizedPopulation("a", (3,), KERNEL, params(3), HERE),
        QuantizedPopulation("a.relay", (3,), KERNEL, params(3), HERE),
    )
    projections = (
        QuantizedProjection("in->a", "in", "a", Dense(weights), FORMAT, 0, HERE),
        QuantizedProjection("a->a.relay", "a", "a.relay", Dense(np.eye(3, dtype=np.int32)), FORMAT, 0, HERE),
    )
    network = QuantizedNetwork(populations, projections, ("in",), ("a.relay",), (LayerLoss("a", 3, 1.0, 0, None, 0, 0),))
    return network, assemble(plan)


def test_totals_by_hand() -> None:
    found = details(*by_hand()).totals
    # Core 0: 10 axons; core 1: 3 and the one more. Bits of a: a 3 has two, a 1 or a 2 one: 6, 5, 2; neuron 0 has a copy.
    assert found == {
        "cores": 2, "axons": 14, "neurons": 6, "columns": 7, "copies": 1, "splitters": 3, "bits": 6 + 5 + 2 + 6 + 3 + 1,
        "density": pytest.approx(23 / (2 * 65536)),
    }


def test_layers_by_hand() -> None:
    found = details(*by_hand()).layers
    assert list(found) == ["a", "a.relay"]
    a = found["a"]
    assert (a["cores"], a["columns"], a["axons"], a["bits"]) == (1, 4, 10, 19)
    assert [a[f"axons_per_source_{which}"] for which in ("min", "mean", "max")] == [2, 2.0, 2]
    assert [a[f"columns_per_neuron_{which}"] for which in ("min", "mean", "max")] == [1, pytest.approx(4 / 3), 2]
    assert a["weight_bits"] == 3
    assert a["code"] == "radix"
    assert (a["replication"], sorted(str(a["pattern"]).split())) == (2, ["1", "2"])
    relay = found["a.relay"]
    # Neuron 0 of a arrives on two axons, the others on one.
    assert [relay[f"axons_per_source_{which}"] for which in ("min", "mean", "max")] == [1, pytest.approx(4 / 3), 2]
    assert relay["weight_bits"] is None
    assert (relay["code"], relay["replication"], relay["pattern"]) == ("colouring", 1, None)


def test_cores_by_hand() -> None:
    first, second = details(*by_hand()).cores
    assert first == {"axons": 10, "columns": 4, "copies": 1, "bits": 19, "density": pytest.approx(19 / 65536), "populations": "a"}
    assert second == {"axons": 4, "columns": 3, "copies": 0, "bits": 4, "density": pytest.approx(4 / 65536), "populations": "a.relay"}


def test_every_name_has_a_title() -> None:
    found = details(*by_hand())
    named = {*found.totals, *(key for row in (*found.layers.values(), *found.cores) for key in row)}
    assert named == set(found.titles)


@pytest.mark.parametrize("seed", range(6))
def test_counts_equal_those_of_loops(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = random_plan(seed)
    program = assemble(plan)
    network: Any = SimpleNamespace(losses=())
    monkeypatch.setattr("nmap_truenorth.details.code_of", lambda _network, _name: None)
    found = details(network, program)
    of = {k: program.copies[k][0] if k in program.copies else k for k in range(len(program.populations))}
    axons, bits, columns, copies = set(), 0, 0, 0
    for group in program.groups:
        columns += group.size
        copies += group.size * (group.population in program.copies)
    for block in program.blocks:
        axons |= {(block.core, block.axon + k) for k in range(block.axons)}
        bits += int((block.synapses.weights != 0).sum())
    assert (found.totals["axons"], found.totals["columns"]) == (len(axons), columns)
    assert (found.totals["copies"], found.totals["bits"]) == (copies, bits)
    assert found.totals["splitters"] == 0
    drivers: dict[tuple[int, int], tuple[int, int]] = {}
    senders = [(k, np.arange(routes.indptr.size - 1), routes) for k, routes in program.inputs.items()]
    for group, routes in zip(program.groups, program.routes, strict=True):
        here = slice_indices(group.slice, program.populations[group.population].shape)
        neurons = program.copies[group.population][1][here] if group.population in program.copies else here
        senders.append((of[group.population], neurons, routes))
    for population, neurons, routes in senders:
        for place, neuron in enumerate(neurons):
            for k in range(routes.indptr[place], routes.indptr[place + 1]):
                drivers[int(routes.core[k]), int(routes.axon[k])] = (population, int(neuron))
    for number, population in enumerate(program.populations):
        if population.is_input or number in program.copies:
            continue
        heard = {
            (block.core, block.axon + k) for block in program.blocks if of[program.groups[block.group].population] == number
            for k in range(block.axons)
        }
        counts: dict[tuple[int, int, int], int] = {}
        for core, axon in heard:
            key = (core, *drivers[core, axon])
            counts[key] = counts.get(key, 0) + 1
        row = found.layers[population.name]
        assert row["axons"] == len(heard)
        assert row["axons_per_source_max"] == max(counts.values(), default=None)
        assert row["axons_per_source_min"] == min(counts.values(), default=None)
        assert row["axons_per_source_mean"] == (pytest.approx(sum(counts.values()) / len(counts)) if counts else None)
        times = [1] * population.shape[0]
        for copy, (origin, neurons) in program.copies.items():
            assert copy >= 0
            for neuron in neurons if origin == number else ():
                times[neuron] += 1
        assert (row["columns_per_neuron_min"], row["columns_per_neuron_max"]) == (min(times), max(times))
        assert row["columns"] == sum(times)
    assert sum(int(core["columns"] or 0) for core in found.cores) == columns
    assert sum(int(core["bits"] or 0) for core in found.cores) == bits


def test_a_population_of_the_users_with_a_dot_is_no_relay() -> None:
    network, program = by_hand()
    names = {"a.relay": "a.last"}
    program = replace(program, populations=tuple(replace(p, name=names.get(p.name, p.name)) for p in program.populations))
    network = replace(
        network, populations=tuple(replace(p, name=names.get(p.name, p.name)) for p in network.populations),
        projections=tuple(replace(p, target=names.get(p.target, p.target)) for p in network.projections), outputs=("a.last",),
    )
    assert details(network, program).totals["splitters"] == 0
