"""What a slice takes of a processing element, against a count of its synapses one by one."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from nmap.compile import compile_program
from nmap.connectivity import Dense, Sparse
from nmap.diagnostics import Findings
from nmap.network import Network
from nmap.options import Options
from nmap.program import Slice, box_indices, slice_indices
from nmap.quantized import QuantizedNetwork
from nmap.target.registry import find_partitioner
from nmap.testing.networks import RANDOM_NETWORKS, build, lif
from nmap.testing.targets import compile_network
from nmap_spinnaker.second.measure import measure
from nmap_spinnaker.spinnaker2 import TARGET

OPTIONS = Options(partitioner="greedy", effort=0, approximate=frozenset({"bias"}))


def with_currents(network: Network) -> Network:
    """Return the network with a synaptic current in every neuron."""
    return replace(network, populations=tuple(
        p if p.neuron is None else replace(p, neuron=replace(p.neuron, alpha=np.full(p.size, 0.5)))  # type: ignore[type-var]
        for p in network.populations
    ))


def quantized(network: Network) -> QuantizedNetwork:
    return TARGET.quantize(network, OPTIONS, Findings())


def counted(network: QuantizedNetwork, population: str, part: Slice) -> int:
    """Bytes of the rows, synapse by synapse."""
    chosen = slice_indices(part, network[population].shape)
    total = 0
    for p in network.afferents(population):
        whole = p.connectivity
        if isinstance(whole, Sparse):
            entries = zip(whole.targets.tolist(), whole.indices.tolist(), whole.weights.tolist(), strict=True)
            places = {(s, t, w) for t, s, w in entries if t in chosen}
            total += 4 * len({s for s, _, _ in places}) + 2 * sum(w != 0 for _, _, w in places)
        elif isinstance(whole, Dense):
            total += 4 * whole.in_size * (p.receptor == 0)
            total += 2 * sum(w != 0 for t in chosen.tolist() for w in whole.weights[t].tolist())
        elif p.receptor == 0:
            ones = whole.with_weights(np.ones_like(whole.weights))
            matrix = ones.apply(np.eye(whole.in_size)).T[chosen]
            # The halo is a box: every position between the first and the last that is read.
            read = np.argwhere(matrix.any(0).reshape(whole.in_shape))
            channels = {c for c, _, _ in read.tolist()}
            rows = len(channels) * int(np.prod(read.max(0)[1:] - read.min(0)[1:] + 1))
            total += 4 * rows + 2 * int(matrix.sum())
    return total


@pytest.mark.parametrize("current", [False, True])
@pytest.mark.parametrize("kind", ["dense", "recurrent", "conv", "sparse"])
def test_demand_is_what_is_counted(kind: str, current: bool) -> None:
    source = RANDOM_NETWORKS[kind](1)
    network = quantized(with_currents(source) if current else source)
    for population in network.populations:
        if population.kernel is None:
            continue
        spans = [[(a, b) for a in range(size) for b in range(a + 1, size + 1)] for size in population.shape]
        for box in product(*spans):
            need = TARGET.demand(network, population.name, box)
            assert need == {
                "populations": 1, "neurons": box_indices(box, population.shape).size, "memory": counted(network, population.name, box),
            }


@pytest.mark.parametrize("kind", ["dense", "recurrent", "conv", "sparse", "skip"])
def test_the_stored_program_takes_what_was_planned(kind: str) -> None:
    made = compile_network(TARGET, with_currents(RANDOM_NETWORKS[kind](2)), find_partitioner("greedy"), OPTIONS)
    assert list(measure(made.program)) == made.mapping.used()
    assert measure(compile_program(made.quantized, TARGET, made.mapping)) == measure(made.program)


@pytest.mark.parametrize("current", [False, True])
def test_zeros_of_a_matrix_take_no_memory_and_the_bounds_hold(current: bool) -> None:
    weights = np.zeros((6, 4))
    weights[[0, 0, 1, 5], [0, 3, 1, 2]] = 1.0, -1.0, 0.5, 0.001
    source = build("zeros.nir", {"input": ((4,), None), "cells": ((6,), lif(6))}, [("input", "cells", Dense(weights), None, 0)])
    network = quantized(with_currents(source) if current else source)
    # 4 rows of 4 bytes, and three weights: 0.127 is truncated to 0.
    assert TARGET.demand(network, "cells", ((0, 6),))["memory"] == 16 + 2 * 3
    assert TARGET.demand(network, "cells", np.array([1, 5]))["memory"] == 16 + 2
    assert TARGET.demand_floor(network, "cells") == {"populations": 1.0, "neurons": 6.0, "memory": 22.0}
    for size in range(1, 7):
        most = TARGET.demand_at_most(network, "cells", (size,))["memory"]
        assert all(TARGET.demand(network, "cells", ((k, k + size),))["memory"] <= most for k in range(7 - size))
    assert TARGET.neuron_demand(network, "cells").neuron[2].tolist() == [4, 2, 0, 0, 0, 0]
    made = compile_network(TARGET, with_currents(source) if current else source, find_partitioner("greedy"), OPTIONS)
    assert sum(element["memory"] for element in measure(made.program)) == 22


def test_a_population_never_shares_an_element() -> None:
    made = compile_network(TARGET, RANDOM_NETWORKS["dense"](0), find_partitioner("greedy"), OPTIONS)
    assert all(element["populations"] == 1 for element in measure(made.program))
