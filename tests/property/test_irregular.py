"""Random sparse networks on the toy chip: any way of sharing neurons out is mapped soundly and computes what the network does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nmap.compile import build_program
from nmap.connectivity import Dense, Sparse
from nmap.diagnostics import Findings, NmapError
from nmap.emulate.engine import emulate
from nmap.options import Options
from nmap.partition import map_network
from nmap.partition.irregular import irregular_populations
from nmap.program import program_bytes, read_program
from nmap.simulate.fixed import simulate
from nmap.target.machine import build_machine
from nmap.target.registry import find_partitioner
from nmap.testing.networks import build, lif
from nmap.testing.targets import judge
from nmap.verify.mapping import verify_mapping
from nmap_toy import TARGET
from tests.unit.partition.sequential import Sequential

OPTIONS = Options(partitioner="greedy", effort=0)
STEPS = 20


def connection(rng, targets, sources, fan_in):
    """Every target listens to a few sources; some synapses are as strong as the threshold."""
    matrix = np.zeros((targets, sources))
    for row in matrix:
        chosen = rng.choice(sources, min(sources, int(rng.integers(1, fan_in + 1))), replace=False)
        row[chosen] = rng.choice([-0.5, 0.5, 1.0], chosen.size)
    return Sparse.from_dense(matrix)


@st.composite
def networks(draw):
    """An input, a recurrent population, perhaps a second one of two dimensions in a loop with it, perhaps a dense readout."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    inputs, a, fan_in = draw(st.integers(2, 6)), draw(st.integers(3, 12)), draw(st.integers(1, 3))
    populations = {"in": ((inputs,), None), "a": ((a,), lif(a))}
    links = [("in", "a", connection(rng, a, inputs, 2), None, 0), ("a", "a", connection(rng, a, a, fan_in), None, 1)]
    last, size = "a", a
    if draw(st.booleans()):
        rows = draw(st.integers(1, 3))
        populations["b"] = ((rows, 2), lif(2 * rows))
        links += [("a", "b", connection(rng, 2 * rows, a, fan_in), None, 0), ("b", "a", connection(rng, a, 2 * rows, 1), None, 2)]
        last, size = "b", 2 * rows
    if draw(st.booleans()):
        populations["out"] = ((2,), lif(2))
        links.append((last, "out", Dense(rng.choice([-0.5, 1.0], (2, size))), None, 0))
    return build("random.nir", populations, links)


def check(network, partitioner, seed, folder):
    assume(not any(d.severity == "error" for d in judge(TARGET, network, OPTIONS)))
    quantized = TARGET.quantize(network, OPTIONS, Findings())
    machine = build_machine(TARGET.spec)
    try:
        mapping = map_network(quantized, TARGET, machine, partitioner, OPTIONS)
    except NmapError:
        assume(False)  # too large for four cores
    program = build_program(quantized, TARGET.name, mapping)
    path = folder / "program.h5"
    path.write_bytes(program_bytes(program))
    program = read_program(path)
    assert verify_mapping(program, TARGET, machine) == ()
    assert list(TARGET.measure(program)) == mapping.used()
    inputs = (np.random.default_rng(seed).random((2, STEPS, network["in"].size)) < 0.4).astype(np.int32)
    names = [p.name for p in quantized.populations]
    steps = STEPS + quantized.latency
    fixed = simulate(quantized, TARGET.kernels, inputs, steps, record=names)
    chip = emulate(program, TARGET.kernels, inputs, steps, record=names)
    for name in names:
        np.testing.assert_array_equal(chip.spikes[name], fixed.spikes[name], err_msg=name)
    return quantized, mapping


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("programs")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(network=networks(), seed=st.integers(0, 2**32))
def test_any_order_of_neurons(network, seed, folder):
    def shuffled(problem):
        return np.random.default_rng(seed).permutation(problem.neurons)

    quantized, mapping = check(network, Sequential(shuffled), seed, folder)
    listed = {shard.population for shard in mapping.shards if not isinstance(shard.slice, tuple)}
    assert listed == set(irregular_populations(quantized))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(network=networks(), seed=st.integers(0, 2**32))
def test_the_built_in_algorithm(network, seed, folder):
    _, mapping = check(network, find_partitioner("greedy"), seed, folder)
    assert mapping.packing.lower_bound <= mapping.packing.clusters
