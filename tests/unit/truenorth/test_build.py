"""Programs by hand: which axons, which copies, which routes."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.mapping import Shard
from nmap.program import slice_indices
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.machine import build_machine
from nmap.target.spec import load_spec
from nmap.verify.belonging import changed_values, foreign_parts
from nmap.verify.mapping import verify_mapping
from nmap_truenorth.build import build
from nmap_truenorth.measure import measure
from nmap_truenorth.neuron import NEURON
from tests.unit.truenorth.random_programs import FORM, HERE, mapped, neurons, random_mapping, random_network

SPEC = load_spec("nmap_truenorth")


def network_of(links, sizes, outputs, delays=None):
    """Populations "p0" (the port), "p1", ...; links are (source, target, matrix, delay)."""
    rng = np.random.default_rng(0)
    populations = [QuantizedPopulation("p0", (sizes[0],), None, {}, HERE)]
    populations += [neurons(rng, f"p{k}", (n,), k) for k, n in enumerate(sizes[1:], 1)]
    projections = tuple(
        QuantizedProjection(f"{a}->{b}.{k}", f"p{a}", f"p{b}", Dense(np.array(w, np.int32)), FORM, delay, HERE, delays)
        for k, (a, b, w, delay) in enumerate(links)
    )
    return QuantizedNetwork(tuple(populations), projections, ("p0",), tuple(f"p{k}" for k in outputs))


def shards(*parts):
    return [Shard(name, np.array(neurons_), cluster, {}) for name, neurons_, cluster in parts]


def routes_of(program, population):
    """(core, axon) pairs of every neuron of a population, by neuron."""
    found = {}
    for group, routes in zip(program.groups, program.routes, strict=True):
        if group.population == population:
            for k, neuron in enumerate(slice_indices(group.slice, program.populations[population].shape).tolist()):
                here = slice(routes.indptr[k], routes.indptr[k + 1])
                found[neuron] = list(zip(routes.core[here].tolist(), routes.axon[here].tolist(), strict=True))
    return found


def test_two_listening_cores_take_a_copy():
    """One neuron that two cores hear sends to the first itself; a copy on its core, with its inputs, sends to the other."""
    network = network_of([(0, 1, [[5]], 0), (1, 2, [[3], [4]], 1)], (1, 1, 2), (2,))
    mapping = mapped(shards(("p1", [0], 0), ("p2", [0], 1), ("p2", [1], 2)), 3, build_machine(SPEC))
    program = build(network, mapping, 7)
    assert program.seed == 7
    assert [p.name for p in program.populations] == ["p0", "p1", "p2", "p1.copies"]
    assert program.copies[3][0] == 1
    assert program.copies[3][1].tolist() == [0]
    assert routes_of(program, 1) == {0: [(1, 0)]}
    assert routes_of(program, 3) == {0: [(2, 0)]}
    own, copy = (next(g for g in program.groups if g.population == k) for k in (1, 3))
    assert own.core == copy.core == 0
    assert {name: values.tolist() for name, values in own.params.items()} == {name: values.tolist() for name, values in copy.params.items()}
    assert {name: values.tolist() for name, values in own.initial.items()} == {k: v.tolist() for k, v in copy.initial.items()}
    heard = [(b.core, b.group, b.axon, b.delay, b.synapses.weights.tolist()) for b in program.blocks]
    first, second = program.groups.index(own), program.groups.index(copy)
    assert sorted(heard) == sorted([(0, first, 0, 0, [[5]]), (0, second, 0, 0, [[5]]), (1, 1, 0, 1, [[3]]), (2, 2, 0, 1, [[4]])])
    assert measure(program) == (
        {"axons": 1, "originals": 1, "neurons": 2, "synapses": 2}, {"axons": 1, "originals": 1, "neurons": 1, "synapses": 1},
        {"axons": 1, "originals": 1, "neurons": 1, "synapses": 1},
    )


def test_an_output_sends_off_the_chip_and_its_copies_to_others():
    network = network_of([(0, 1, [[5]], 0), (1, 1, [[-2]], 0)], (1, 1), (1,))
    program = build(network, mapped(shards(("p1", [0], 0)), 1, build_machine(SPEC)), 0)
    assert routes_of(program, 1) == {0: []}
    assert routes_of(program, 2) == {0: [(0, 1)]}


def test_an_input_port_sends_to_every_axon():
    """Five sources with weights of both signs and two sizes take several axons each; the port drives all of them."""
    matrix = np.array([[1, 2, -3, 3, 1], [2, -3, 1, 1, 3], [-3, 1, 2, 2, -3], [3, 3, 3, -3, 2]])
    network = network_of([(0, 1, matrix, 0)], (5, 4), (1,))
    program = build(network, mapped(shards(("p1", range(4), 0)), 1, build_machine(SPEC)), 0)
    axons = measure(program)[0]["axons"]
    assert axons > 5
    assert sorted(program.inputs[0].axon.tolist()) == list(range(axons))
    total = np.zeros((4, 5), np.int64)
    for block in program.blocks:
        dense = block.synapses.apply(np.eye(block.axons)).T.astype(np.int64)
        for k in range(block.axons):
            at = int(np.flatnonzero(program.inputs[0].axon == block.axon + k)[0])
            total[:, np.searchsorted(program.inputs[0].indptr, at, side="right") - 1] += dense[:, k]
    np.testing.assert_array_equal(total, matrix)


def test_delays_of_synapses_are_runs_of_their_own():
    network = network_of([(0, 1, [[5, 5], [5, 5]], 2)], (2, 2), (1,), delays=np.array([[0, 3], [0, 0]]))
    program = build(network, mapped(shards(("p1", [0, 1], 0)), 1, build_machine(SPEC)), 0)
    assert sorted((b.delay, b.axons) for b in program.blocks) == [(2, 2), (5, 1)]
    assert all(b.delays is None for b in program.blocks)


def test_names_of_copies_are_new():
    network = network_of([(0, 1, [[5]], 0), (1, 2, [[3], [4]], 0)], (1, 1, 2), (2,))
    named = QuantizedNetwork(
        (*network.populations, QuantizedPopulation("p1.copies", (1,), None, {}, HERE)), network.projections, ("p0", "p1.copies"), ("p2",),
    )
    program = build(named, mapped(shards(("p1", [0], 0), ("p2", [0], 1), ("p2", [1], 2)), 3, build_machine(SPEC)), 0)
    names = [p.name for p in program.populations]
    assert len(set(names)) == len(names) == 5
    assert program.inputs[3].core.size == 0


@pytest.mark.parametrize("seed", range(0, 60, 3))
def test_the_independent_checks_find_nothing_but_full_cores(seed):
    """Random mappings keep no budget; delays beyond the chip's and parameters beyond its fields are not made."""
    network = random_network(seed)
    mapping = random_mapping(network, SPEC, seed)
    program = build(network, mapping, 0)
    target = SimpleNamespace(spec=SPEC, kernels={NEURON.name: NEURON}, measure=measure)
    found = [d for d in verify_mapping(program, target, mapping.machine) if dict(d.data)["kind"] != "budget"]
    assert [d.message for d in found] == []
    assert foreign_parts(program, network) == []
    assert changed_values(program, network) == []


def test_the_program_is_the_same_again():
    network = random_network(4)
    mapping = random_mapping(network, SPEC, 4)
    first, second = build(network, mapping, 0), build(network, mapping, 0)
    for a, b in zip(first.blocks, second.blocks, strict=True):
        assert (a.core, a.group, a.axon, a.delay) == (b.core, b.group, b.axon, b.delay)
        np.testing.assert_array_equal(a.synapses.weights, b.synapses.weights)


def test_a_population_without_a_code_is_refused():
    network = network_of([(0, 1, [[100_000]], 0)], (1, 1), (1,))
    with pytest.raises(ValueError, match="no four values"):
        build(network, mapped(shards(("p1", [0], 0)), 1, build_machine(SPEC)), 0)
