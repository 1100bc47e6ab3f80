"""Random networks on random cores: the program computes what the network does, keeps one destination a neuron, and encodes.

A hundred networks; with NMAP_LONG=1 in the environment four hundred.
"""

from __future__ import annotations

import os
from functools import lru_cache

import numpy as np
import pytest

from nmap.emulate.engine import emulate
from nmap.program import program_bytes, read_program
from nmap.simulate.fixed import simulate
from nmap.target.spec import load_spec
from nmap.trace import Probe
from nmap_truenorth.build import build
from nmap_truenorth.codes import encode_core
from nmap_truenorth.columns import columns, least_columns
from nmap_truenorth.demand import demand
from nmap_truenorth.measure import measure
from nmap_truenorth.neuron import NEURON
from tests.unit.truenorth.random_programs import random_mapping, random_network

KERNELS = {NEURON.name: NEURON}
SPEC = load_spec("nmap_truenorth")
STEPS = 25
BLOCKS = 16 if os.environ.get("NMAP_LONG") else 4


@lru_cache(maxsize=128)
def made(seed):
    network = random_network(seed)
    mapping = random_mapping(network, SPEC, seed)
    return network, mapping, build(network, mapping, seed)


def ports(network, seed):
    rng = np.random.default_rng([73, seed])
    return {name: (rng.random((2, STEPS, *network[name].shape)) < 0.4).astype(np.int32) for name in network.inputs}


@pytest.mark.parametrize("block", range(BLOCKS))
def test_the_chip_computes_what_the_network_does(block):
    """Spikes of all neurons and copies, and potentials, of twenty-five networks."""
    for seed in range(25 * block, 25 * block + 25):
        network, _, program = made(seed)
        names = [p.name for p in network.populations]
        probes = [Probe(p.name, "v") for p in network.populations if p.kernel]
        inputs, steps = ports(network, seed), STEPS + network.latency
        fixed = simulate(network, KERNELS, inputs, steps, record=names, probes=probes)
        copies = {program.populations[k].name: (program.populations[origin].name, of) for k, (origin, of) in program.copies.items()}
        chip = emulate(program, KERNELS, inputs, steps, record=[*names, *copies], probes=probes)
        for name in names:
            np.testing.assert_array_equal(chip.spikes[name], fixed.spikes[name], err_msg=f"{seed} {name}")
        for name, (origin, of) in copies.items():
            theirs = fixed.spikes[origin]
            np.testing.assert_array_equal(chip.spikes[name], theirs[..., of], err_msg=f"{seed} {name}")
        for key in fixed.state:
            np.testing.assert_array_equal(chip.state[key], fixed.state[key], err_msg=f"{seed} {key}")


@pytest.mark.parametrize("block", range(BLOCKS))
def test_a_program_is_what_cores_can_hold(block):
    """One destination a neuron, one driver an axon, demands as counted, and types and values that make all weights."""
    for seed in range(15 * block, 15 * block + 15):
        network, mapping, program = made(seed)
        driven = set()
        tables = [(program.populations[g.population], r) for g, r in zip(program.groups, program.routes, strict=True)]
        for population, routes in tables:
            each = np.diff(routes.indptr)
            assert each.max(initial=0) <= (0 if population.is_output else 1), population.name
        for routes in [*program.inputs.values(), *program.routes]:
            pairs = set(zip(routes.core.tolist(), routes.axon.tolist(), strict=True))
            assert len(pairs) == routes.core.size
            assert not pairs & driven
            driven |= pairs
        heard = {(b.core, axon) for b in program.blocks for axon in range(b.axon, b.axon + b.axons)}
        assert heard == driven
        held = columns(network, mapping.shards)
        least = least_columns(network)
        measured = measure(program)
        assert sum(core["neurons"] for core in measured) == sum(int(number.sum()) for number in held.values())
        assert all((least[name] <= held[name]).all() for name in held)
        wanted = [dict.fromkeys(("axons", "originals"), 0) for _ in mapping.cores]
        for shard in mapping.shards:
            for name, amount in demand(network, shard.population, shard.slice).items():
                if name in wanted[0]:
                    wanted[shard.cluster][name] += amount
        assert [{name: core[name] for name in ("axons", "originals")} for core in measured] == wanted
        check_codes(program, measured)


@pytest.mark.parametrize("seed", range(5))
def test_a_program_is_read_as_it_was_written(seed, tmp_path):
    *_, program = made(seed)
    path = tmp_path / "program.h5"
    path.write_bytes(program_bytes(program))
    assert program_bytes(read_program(path)) == program_bytes(program)


def check_codes(program, measured):
    """The types, values and bits of every core give back the weights of its blocks, synapse by synapse; so many bits were counted."""
    for core in range(len(program.cores)):
        types, values, bits = encode_core(program, core)
        assert types.max(initial=0) < 4
        assert bits.sum() == measured[core]["synapses"]
        assert np.abs(values).max(initial=0) <= 255
        effective = bits * values[:, types].T
        start, column = {}, 0
        for number, group in enumerate(program.groups):
            if group.core == core:
                start[number] = column
                column += group.size
        assert bits.shape == (types.size, column)
        stated = np.zeros(bits.shape, np.int64)
        for block in (b for b in program.blocks if b.core == core):
            dense = block.synapses.apply(np.eye(block.axons)).astype(np.int64)
            at = start[block.group]
            stated[block.axon : block.axon + block.axons, at : at + dense.shape[1]] += dense
        np.testing.assert_array_equal(effective, stated)
