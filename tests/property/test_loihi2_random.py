"""Random integer networks of every kind for Loihi 2: the emulated cores, the fixed level and Lava's equations compute the same.

The networks hold every kernel, dense, sparse, convolved and delayed synapses, loops, graded payloads of both signs and sums that wrap. They
are cut by the product's own partitioner for cores of seven neurons.
"""

from __future__ import annotations

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.emulate.engine import emulate
from nmap.options import Options
from nmap.partition import map_network
from nmap.simulate.fixed import simulate
from nmap.target.machine import build_machine
from nmap.target.registry import find_partitioner
from nmap.trace import Probe
from nmap_loihi2 import TARGET
from tests.loihi2_networks import KERNELS, TRACED, random_network, reference

SEEDS = range(14)
WRAPPING = (3, 27)
"""Seeds whose networks have sums beyond 24 and beyond 32 bits."""


def small_cores():
    """A machine whose cores hold seven neurons, so that small networks are cut."""
    spec = TARGET.spec
    neurons = spec.resources["neurons"].model_copy(update={"max": 7})
    return build_machine(spec.model_copy(update={"resources": {**spec.resources, "neurons": neurons}}))


@pytest.mark.parametrize("seed", SEEDS)
def test_three_ways_of_computing_agree(seed):
    case = random_network(seed)
    network = case.network
    wanted = reference(network, case.inputs, case.steps)
    assert any(wanted.spikes[p.name].any() for p in network.populations if p.kernel is not None)

    mapping = map_network(network, TARGET, small_cores(), find_partitioner("greedy"), Options(partitioner="greedy", effort=0))
    program = build_program(network, "loihi2", mapping)
    assert len(program.cores) > 1
    names = [p.name for p in network.populations]
    probes = [Probe(p.name, variable) for p in network.populations if p.kernel is not None for variable in TRACED[p.kernel]]
    for level, trace in (
        ("fixed", simulate(network, TARGET.kernels, case.inputs, case.steps, record=names, probes=probes)),
        ("chip", emulate(program, TARGET.kernels, case.inputs, case.steps, record=names, probes=probes)),
    ):
        for name in names:
            np.testing.assert_array_equal(trace.spikes[name], wanted.spikes[name], err_msg=f"{level}: {name}")
        for key, values in wanted.states.items():
            np.testing.assert_array_equal(trace.state[key], values, err_msg=f"{level}: {key}")


def test_the_networks_are_of_every_kind():
    networks = [random_network(seed).network for seed in SEEDS]
    projections = [p for network in networks for p in network.projections]
    forms = [p.format for p in projections]
    assert {p.kernel for network in networks for p in network.populations} == {*KERNELS, None}
    assert {type(p.connectivity) for p in projections} == {Dense, Sparse, Conv2d}
    assert {form.accumulator for form in forms} == {0, 24, 32}
    assert {form.sign for form in forms} == {"mixed", "excitatory", "inhibitory"}
    assert {form.bits for form in forms} == set(range(1, 9))
    assert min(form.exponent for form in forms) == -8
    assert max(form.exponent for form in forms) == 7
    assert {0, 24} < {form.message_bits for form in forms}
    assert {p.receptor for p in projections} == {0, 1}
    assert max(int(p.delays.max(initial=0)) for p in projections if p.delays is not None) == 62
    assert any(p.delay and isinstance(p.connectivity, Conv2d) for p in projections)
    assert any(p.source == p.target for p in projections)
    assert {len(network.inputs) for network in networks} == {len(network.outputs) for network in networks} == {1, 2}


def test_sums_of_both_widths_wrap():
    cases = [random_network(seed) for seed in WRAPPING]
    assert set().union(*(reference(case.network, case.inputs, case.steps).wrapped for case in cases)) == {24, 32}
