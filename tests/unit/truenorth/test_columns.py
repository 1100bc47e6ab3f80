"""Columns of neurons: one for each axon they send to, against counting by hand, and packing and copying by turns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.diagnostics import Exit, NmapError
from nmap.mapping import Shard
from nmap.options import Options
from nmap.partition import pack_network
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.machine import build_machine
from nmap.target.registry import find_partitioner, find_target
from nmap_truenorth.columns import columns, least_columns, replicate
from nmap_truenorth.demand import demand_at_most
from tests.unit.truenorth.random_programs import FORM, HERE, neurons, random_network, random_parts


def full_four_bits(shape, seed):
    """Weights with every value from -8 to 7 in every column."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(np.resize(np.arange(-8, 8), shape[0])) for _ in range(shape[1])], 1).astype(np.int32)


def chain(*sizes, loop=False):
    """Fully connected 4-bit layers; the first is the input port; with a loop, the first layer hears itself."""
    rng = np.random.default_rng(0)
    populations = [QuantizedPopulation("p0", (sizes[0],), None, {}, HERE)]
    populations += [neurons(rng, f"p{k}", (n,), k) for k, n in enumerate(sizes[1:], 1)]
    links = [(k, k + 1) for k in range(len(sizes) - 1)] + ([(1, 1)] if loop else [])
    projections = tuple(
        QuantizedProjection(f"{a}->{b}", f"p{a}", f"p{b}", Dense(full_four_bits((sizes[b], sizes[a]), 10 * a + b)), FORM, 0, HERE)
        for a, b in links
    )
    return QuantizedNetwork(tuple(populations), projections, ("p0",), (f"p{len(sizes) - 1}",))


def first_fit(network):
    """One population after the other, as many neurons in a row as a core's axons and columns take."""
    shards, cluster = [], 0
    for p in network.populations:
        start = 0
        while p.kernel and start < p.size:
            stop = start + 1
            assert demand_at_most(network, p.name, (1,))["axons"] <= 256
            while stop < p.size and int(p.copies[start : stop + 1].sum()) <= 256 and (
                demand_at_most(network, p.name, (stop + 1 - start,))["axons"] <= 256
            ):
                stop += 1
            shards.append(Shard(p.name, np.arange(start, stop), cluster, {}))
            start, cluster = stop, cluster + 1
    return shards


def settled(network):
    """Pack, count the copies, and pack again with no fewer of them, until they are enough."""
    network = replicate(network, None)
    for _ in range(25):
        shards = first_fit(network)
        needed = replicate(network, shards)
        if all((needed[p.name].copies <= p.copies).all() for p in network.populations if p.kernel):
            return shards, needed
        network = replace(network, populations=tuple(
            replace(p, copies=np.maximum(p.copies, needed[p.name].copies)) if p.kernel else p for p in network.populations
        ))
    raise AssertionError("it does not end")


def test_chains_of_64_take_a_core_a_layer():
    """64 inputs of 4 axons, 64 neurons of 4 columns: reference/truenorth.md, 4.3."""
    shards, network = settled(chain(64, 64, 64, 32))
    assert len(shards) == 3
    assert set(network["p1"].copies.tolist()) == {4}
    assert set(network["p3"].copies.tolist()) == {1}


def test_a_recurrent_layer_of_32_takes_a_core():
    """32 inputs and 32 neurons fill 256 axons; each neuron sends to 4 axons of its own core and to 4 of the readout."""
    shards, network = settled(chain(32, 32, 16, loop=True))
    assert len(shards) == 2
    assert set(network["p1"].copies.tolist()) == {8}


@pytest.mark.parametrize("seed", range(20))
def test_columns_are_counted_axon_by_axon(seed):
    """From each shard's own synapses: for every source the axons that the shard's uses need, whatever kind of connection."""
    from nmap_truenorth.codes import needed

    network = random_network(seed)
    rng = np.random.default_rng([1, seed])
    shards = [
        Shard(p.name, part, k, {}) for p in network.populations if p.kernel for k, part in enumerate(random_parts(rng, network, p.name))
    ]
    counted = {p.name: [int(p.name in network.outputs)] * p.size for p in network.populations}
    for shard in shards:
        for projection, found in zip(network.afferents(shard.population), needed(network, shard.population, shard.slice), strict=True):
            needs = {}
            for source, delay, use in zip(found.synapses.source.tolist(), found.synapses.delay.tolist(), found.uses, strict=True):
                needs[source, delay] = np.maximum(needs.get((source, delay), 0), use)
            for (source, _), use in needs.items():
                counted[projection.source][source] += int(use.sum())
    held, least = columns(network, shards), least_columns(network)
    for p in network.populations:
        if p.kernel:
            assert held[p.name].tolist() == [max(number, 1) for number in counted[p.name]]
            assert (least[p.name] <= held[p.name]).all()
        else:
            assert p.name not in held


def test_the_least_is_reached_where_layers_lie_together():
    network = chain(8, 16, 16)
    shards = [Shard("p1", np.arange(16), 0, {}), Shard("p2", np.arange(16), 1, {})]
    for name, number in least_columns(network).items():
        np.testing.assert_array_equal(number, columns(network, shards)[name])


def test_copies_are_those_of_the_shards_whatever_there_were_before():
    network = chain(8, 16, 16)
    apart = [Shard("p1", np.arange(16), 0, {}), *(Shard("p2", np.array([k]), k + 1, {}) for k in range(16))]
    together = [Shard("p1", np.arange(16), 0, {}), Shard("p2", np.arange(16), 1, {})]
    more = replicate(replicate(network, apart), together)
    for name, number in columns(network, together).items():
        np.testing.assert_array_equal(more[name].copies, number)
    assert more["p0"].copies is None
    assert (replicate(network, apart)["p1"].copies > more["p1"].copies).all()


def test_populations_without_shards_listen_to_nothing():
    network = chain(8, 16, 16)
    assert set(replicate(network, [Shard("p1", np.arange(16), 0, {})])["p1"].copies.tolist()) == {1}


def test_more_columns_than_a_core_has_are_said_and_not_refused():
    """A neuron that 80 cores hear with 4 axons each: the packer refuses what takes more than a core."""
    network = chain(2, 6, 80 * 16)
    shards = [Shard("p1", np.arange(6), 0, {}), *(Shard("p2", np.arange(16 * k, 16 * k + 16), k + 1, {}) for k in range(80))]
    more = replicate(network, shards)
    assert more["p1"].copies.tolist() == [320] * 6
    assert demand_at_most(more, "p1", (1,))["originals"] == 320


def test_wide_layers_behind_need_copies_that_are_known_beforehand():
    """300 neurons that hear every source with weight 1 take two cores, each with an axon of every source: two columns each, not one."""
    network = chain(5, 20, 300)
    first, second = network.projections
    second = replace(second, connectivity=Dense(np.ones((300, 20), np.int32)))
    network = replace(network, projections=(first, second))
    least = least_columns(network)
    assert least["p2"].tolist() == [1] * 300
    assert least["p1"].tolist() == [2] * 20
    shards = [Shard("p1", np.arange(20), 0, {}), Shard("p2", np.arange(256), 1, {}), Shard("p2", np.arange(256, 300), 2, {})]
    assert columns(network, shards)["p1"].tolist() == [2] * 20


def test_columns_behind_columns_are_counted():
    """130 neurons of two columns take two cores, so what leads to each of them takes two columns, and their 150 sources two cores too."""
    network = chain(5, 150, 130, 300)
    first, *others = network.projections
    network = replace(network, projections=(
        first, *(replace(p, connectivity=Dense(np.ones_like(p.connectivity.weights))) for p in others)
    ))
    least = least_columns(network)
    assert least["p2"].tolist() == [2] * 130
    assert least["p1"].tolist() == [2] * 150
    assert (least["p1"] <= settled(network)[1]["p1"].copies).all()


def test_a_neuron_that_too_many_cores_hear_is_refused_with_the_number():
    """66000 neurons fill 258 cores, each of which takes an axon of the one neuron before them: 258 neurons of a core's 256."""
    network = chain(3, 1, 66000)
    first, second = network.projections
    network = replace(network, projections=(first, replace(second, connectivity=Dense(np.ones((66000, 1), np.int32)))))
    assert least_columns(network)["p1"].tolist() == [258]
    target = find_target("truenorth")
    with pytest.raises(NmapError) as error:
        pack_network(network, target, build_machine(target.spec), find_partitioner("greedy"), Options())
    (told,) = error.value.diagnostics
    assert (told.code, error.value.exit_status) == ("NM401", Exit.DOES_NOT_FIT)
    assert "neuron 0 takes at least 258, and a core has room for 256 (`p2` hears it on at least 258 axons)" in str(told.why)
