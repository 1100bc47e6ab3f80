"""Packing where neurons need a copy for every core that listens to them: a toy chip with one destination a neuron."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.diagnostics import Exit, NmapError
from nmap.network import Provenance
from nmap.options import Options
from nmap.partition import pack_network
from nmap.program import slice_indices
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.machine import build_machine
from nmap.target.registry import find_partitioner, find_target


class Single:
    """The toy chip, a neuron of which has one destination."""

    def __init__(self) -> None:
        self.toy = find_target("toy")
        self.rounds = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self.toy, name)

    def priced(self, network: QuantizedNetwork, population: str, demand: dict[str, int], part) -> dict[str, int]:
        copies = network[population].copies
        if copies is None:
            return demand
        if isinstance(part, tuple) and all(isinstance(side, int) for side in part):
            count = int(np.sort(copies)[::-1][: part[0]].sum())
        else:
            count = int(copies[slice_indices(part, network[population].shape)].sum())
        return {**demand, "neurons": count}

    def demand(self, network, population, part):
        return self.priced(network, population, self.toy.demand(network, population, part), part)

    def demand_at_most(self, network, population, extent):
        return self.priced(network, population, self.toy.demand_at_most(network, population, extent), extent)

    def demand_floor(self, network, population):
        floor = self.toy.demand_floor(network, population)
        return floor if network[population].copies is None else {**floor, "neurons": float(network[population].copies.sum())}

    def replicate(self, network, shards):
        self.rounds += 1
        needed = {p.name: np.ones(p.size, np.int64) for p in network.populations if p.kernel is not None}
        for p in network.projections:
            if p.source in needed and shards is not None:
                listening = sum(shard.population == p.target for shard in shards)
                needed[p.source] = np.maximum(needed[p.source], listening)
        return replace(network, populations=tuple(replace(p, copies=needed.get(p.name)) for p in network.populations))

    def build(self, network, mapping, seed):
        raise NotImplementedError


def chain(*sizes: int) -> QuantizedNetwork:
    where = Provenance("net.nir", "/net")
    names = ["in", *(f"layer{k}" for k in range(1, len(sizes)))]
    populations = tuple(
        QuantizedPopulation(name, (size,), None if name == "in" else "toy.lif", {}, where) for name, size in zip(names, sizes, strict=True)
    )
    wires = tuple(
        QuantizedProjection(f"{a}->{b}", a, b, Dense(np.ones((n, m), np.int32)), SynapseFormat(4), 0, where)
        for a, b, m, n in zip(names, names[1:], sizes, sizes[1:], strict=False)
    )
    return QuantizedNetwork(populations, wires, ("in",), (names[-1],))


def packed(network: QuantizedNetwork, variant: str = "4x4"):
    target = Single()
    machine = build_machine(target.spec, variant)
    found = pack_network(network, target, machine, find_partitioner("cpsat"), Options(slack=0.0))
    return target, machine, found


def clusters(found, name: str) -> int:
    return len({shard.cluster for shard in found.shards if shard.population == name})


def test_copies_are_added_until_they_suffice():
    # 24 outputs take three cores of 8, so four neurons before them take 12 slots, two cores; the neurons before those two each.
    target, _, found = packed(chain(2, 4, 4, 24))
    assert clusters(found, "layer3") >= 3
    slots = 4 * clusters(found, "layer3") + 4 * clusters(found, "layer2") + 24
    assert found.packing.clusters >= -(-slots // 8)
    assert target.rounds >= 3
    # What is said of a shard is what its neurons take themselves.
    assert sum(shard.demand["neurons"] for shard in found.shards) == 32
    assert all(shard.demand == find_target("toy").demand(chain(2, 4, 4, 24), shard.population, shard.slice) for shard in found.shards)


def test_the_bound_is_that_of_the_least_copies():
    _, _, found = packed(chain(2, 4, 4, 24))
    # 32 neurons need 4 cores whatever is copied.
    assert found.packing.lower_bound == 4
    assert found.packing.clusters > 4
    assert found.packing.status == "feasible"


def test_without_need_of_copies_the_answer_is_proved():
    _, _, found = packed(chain(2, 4, 4))
    assert (found.packing.clusters, found.packing.lower_bound, found.packing.status) == (1, 1, "optimal")


def test_too_many_copies_are_not_proved_too_many():
    with pytest.raises(NmapError) as error:
        packed(chain(2, 9, 60), "4x4")
    assert error.value.exit_status == Exit.UNKNOWN
    (told,) = error.value.diagnostics
    assert told.code == "NM501"
    assert "`layer1`" in str(told.why)
    assert "not proved" in str(told.why)


def test_what_never_fits_is_proved():
    with pytest.raises(NmapError) as error:
        packed(chain(2, 200), "4x4")
    assert error.value.exit_status == Exit.DOES_NOT_FIT


class Crowded(Single):
    """One whose neurons need nine copies whatever is done."""

    def replicate(self, network, shards):
        copies = {p.name: np.full(p.size, 9 if p.name == "layer1" else 1) for p in network.populations if p.kernel is not None}
        return replace(network, populations=tuple(replace(p, copies=copies.get(p.name)) for p in network.populations))


def test_a_neuron_whose_copies_exceed_a_core_is_refused_with_the_arithmetic():
    target = Crowded()
    with pytest.raises(NmapError) as error:
        pack_network(chain(2, 4, 4), target, build_machine(target.spec, "4x4"), find_partitioner("cpsat"), Options())
    assert error.value.exit_status == Exit.DOES_NOT_FIT
    (told,) = error.value.diagnostics
    assert told.code == "NM401"
    assert "`layer1`" in told.message
    assert "at least 9, and a core has room for 8 (`layer2` hears it on at least 9 axons)" in str(told.why)
    assert told.help
    assert told.data["copies"] == 9


def test_copies_that_a_mapping_shows_to_be_too_many_leave_the_other_answer():
    """With the least copies one core too many is taken; the pieces packed one by one are fewer or as many, and never an error."""
    _, _, found = packed(chain(3, 7, 7, 7))
    assert found.packing.clusters in (3, 4)
    assert found.packing.lower_bound == 3
    assert {shard.population for shard in found.shards} == {"layer1", "layer2", "layer3"}


def test_every_piece_lies_on_a_core_that_has_room_for_it():
    """All shards of a core, with the copies that this mapping needs, fit it; every neuron lies somewhere once."""
    network = chain(2, 5, 9, 3, 24)
    target, machine, found = packed(network)
    copied = target.replicate(network, found.shards)
    used: dict[int, int] = {}
    for shard in found.shards:
        used[shard.cluster] = used.get(shard.cluster, 0) + target.demand(copied, shard.population, shard.slice)["neurons"]
    assert max(used.values()) <= machine.largest["neurons"]
    assert set(used) == set(range(found.packing.clusters))
    for population in network.populations[1:]:
        parts = [slice_indices(s.slice, population.shape) for s in found.shards if s.population == population.name]
        assert sorted(np.concatenate(parts).tolist()) == list(range(population.size))
