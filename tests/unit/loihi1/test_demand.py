"""Loihi 1 core demand in closed form: nengo-loihi's bits, bounds over positions and cuts, agreement with what is stored."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.compile import build_program
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.program import slice_indices
from nmap_loihi2.loihi1 import TARGET
from tests.unit.loihi1.counting import convolutions, cuts, flat_networks, halo, mapped, network, synapses_by_source, words_in_runs

LIF = "loihi1.lif"
STORED = {7: 8}


def counted(net, part):
    """What a slice takes, synapse by synapse."""
    neurons = slice_indices(part, net["a"].shape).tolist()
    words = axons = 0
    for p in net.afferents("a"):
        width = STORED.get(p.format.bits, p.format.bits)
        width += (0 if isinstance(p.connectivity, Dense) else 10) + (6 if p.delay or p.delays is not None else 0)
        reached = synapses_by_source(p.connectivity, neurons)
        words += sum(words_in_runs(n, width, 64) for n in reached.values())
        axons += halo(p.connectivity, part) if isinstance(p.connectivity, Conv2d) else len(reached)
    return {"neurons": len(neurons), "synapse_memory": words, "input_axons": axons, "output_axons": 0}


@pytest.mark.parametrize(("targets", "bits", "words"), [
    # One run: ceil((n b + 10) / 64). 64 of 8 bits: 522 bits. 100 are runs of 64 and 36: 9 + ceil(298 / 64). 1024: 16 full runs.
    (1, 8, 1), (6, 8, 1), (7, 8, 2), (64, 8, 9), (65, 8, 10), (100, 8, 14), (1024, 8, 144), (54, 1, 1), (55, 1, 2),
])
def test_words_of_a_dense_axon(targets, bits, words):
    net = network((targets,), (Dense(np.ones((targets, 3), np.int32)), bits, 0, None), kernel=LIF)
    assert TARGET.demand(net, "a", ((0, targets),))["synapse_memory"] == 3 * words


def test_indices_and_delays_take_bits():
    listed = Sparse.from_dense(np.ones((5, 2), np.int32))
    # 5 synapses of 8 + 10 bits and a header of 10: 100 bits; with 6 bits of delay: 130.
    assert TARGET.demand(network((5,), (listed, 8, 0, None), kernel=LIF), "a", ((0, 5),))["synapse_memory"] == 2 * 2
    assert TARGET.demand(network((5,), (listed, 8, 3, None), kernel=LIF), "a", ((0, 5),))["synapse_memory"] == 2 * 3
    delayed = network((5,), (listed, 8, 0, np.zeros(10, np.int64)), kernel=LIF)
    assert TARGET.demand(delayed, "a", ((0, 5),))["synapse_memory"] == 2 * 3


def test_convolutions_are_listed():
    # 4 channels, 3 x 3 taps, same padding, 5 x 5: a source in the middle reaches 9 positions of 4 channels.
    conv = Conv2d(np.ones((4, 1, 3, 3), np.int32), (1, 5, 5), padding=(1, 1))
    net = network((4, 5, 5), (conv, 8, 0, None), kernel=LIF)
    # 36, 24 and 16 synapses of 18 bits and a header: ceil(658 / 64), ceil(442 / 64), ceil(298 / 64).
    assert TARGET.demand(net, "a", ((0, 4), (0, 5), (0, 5))) == {
        "neurons": 100, "synapse_memory": 9 * 11 + 12 * 7 + 4 * 5, "input_axons": 25, "output_axons": 0, "compartment_configs": 1,
        "threshold_configs": 1, "synapse_formats": 1,
    }


def check(net, slices):
    """Compare demand, bounds, program and the slow count of a complete cut."""
    demands = [TARGET.demand(net, "a", part) for part in slices]
    for part, need in zip(slices, demands, strict=True):
        expected = counted(net, part)
        assert {name: need[name] for name in expected} == expected
    floor = TARGET.demand_floor(net, "a")
    assert set(floor) == set(TARGET.spec.resources)
    fits = all(need[r] <= TARGET.spec.resources[r].max for need in demands for r in need)
    for resource in TARGET.spec.resources:
        assert not fits or floor[resource] <= sum(d[resource] for d in demands) + 1e-9, resource
    program = build_program(net, "loihi1", mapped(TARGET, "single", slices, demands))
    measured = TARGET.measure(program)
    assert [core | {"output_axons": 0} for core in measured] == demands
    return demands


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_convolutions(data):
    shape = (data.draw(st.sampled_from([1, 2, 3, 4, 6])), data.draw(st.integers(2, 7)), data.draw(st.integers(2, 7)))
    afferents = [
        (data.draw(convolutions(shape))[0], data.draw(st.integers(1, 8)), data.draw(st.sampled_from([0, 0, 3])), None)
        for _ in range(data.draw(st.integers(1, 2)))
    ]
    levels = data.draw(st.sampled_from([1, 3, 50]))
    sets = np.random.default_rng(levels).integers(1, 1 + levels, (shape[0], *((1, 1) if data.draw(st.booleans()) else shape[1:])))
    params = {"vth": np.broadcast_to(sets, shape).ravel(), "du": np.broadcast_to(sets // 2, shape).ravel()}
    net = network(shape, *afferents, kernel=LIF, params=params)
    boxes = data.draw(cuts(shape))
    for box, need in zip(boxes, check(net, boxes), strict=True):
        inside = slice_indices(box, shape)
        assert need["threshold_configs"] == np.unique(params["vth"][inside]).size
        assert need["compartment_configs"] == np.unique(params["du"][inside]).size
        extent = tuple(b - a for a, b in box)
        most = TARGET.demand_at_most(net, "a", extent)
        assert all(need[r] <= most[r] for r in need)
        for axis, size in enumerate(extent):
            if size < shape[axis]:
                larger = TARGET.demand_at_most(net, "a", (*extent[:axis], size + 1, *extent[axis + 1 :]))
                assert all(larger[r] >= most[r] for r in most)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_the_bound_of_a_convolution_is_reached_at_some_position(data):
    shape = (data.draw(st.sampled_from([2, 4])), data.draw(st.integers(2, 6)), data.draw(st.integers(2, 6)))
    net = network(shape, (data.draw(convolutions(shape))[0], 8, 0, None), kernel=LIF)
    extent = tuple(data.draw(st.integers(1, size)) for size in shape)
    starts = np.ndindex(*(size - e + 1 for size, e in zip(shape, extent, strict=True)))
    needs = [TARGET.demand(net, "a", tuple((a, a + e) for a, e in zip(start, extent, strict=True))) for start in starts]
    assert TARGET.demand_at_most(net, "a", extent) == {r: max(need[r] for need in needs) for r in needs[0]}


def test_wide_padding_is_bounded_from_above():
    """The tiles of a convolution with much padding are not tried one by one."""
    conv = Conv2d(np.ones((2, 1, 21, 21), np.int32), (1, 12, 12), padding=(10, 10))
    net = network((2, 12, 12), (conv, 8, 0, None), kernel=LIF)
    previous = None
    for size in range(1, 13):
        most = TARGET.demand_at_most(net, "a", (2, size, size))
        needs = [TARGET.demand(net, "a", ((0, 2), (a, a + size), (a, a + size))) for a in range(13 - size)]
        assert all(need[r] <= most[r] for need in needs for r in need)
        assert previous is None or all(previous[r] <= most[r] for r in most)
        previous = most


@settings(max_examples=100, deadline=None)
@given(net=flat_networks(LIF), data=st.data())
def test_any_neurons(net, data):
    n = net["a"].size
    part = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 3, n)
    slices = [np.flatnonzero(part == k) for k in range(3) if (part == k).any()]
    demands = check(net, slices)
    price = TARGET.neuron_demand(net, "a")
    assert price.resources == tuple(TARGET.spec.resources)
    assert dict(zip(price.resources, price.route.tolist(), strict=True)) == {**dict.fromkeys(price.resources, 0), "output_axons": 64}
    dense, listed = (p.connectivity for p in net.afferents("a"))
    for chosen, need in zip(slices, demands, strict=True):
        heard = np.isin(np.arange(listed.in_size), listed.indices[listed.entries(chosen)])
        for sign, amounts in ((1, price.axon), (-1, price.axon_least)):
            total = price.fixed + price.neuron[:, chosen].sum(1) + amounts[0][:, 0] * dense.in_size + (amounts[1] * heard).sum(1)
            slack = sign * (total / 64 - [need[r] for r in price.resources])
            assert (slack >= -1e-9).all()
            # Lists are priced to within two words, however long they are; nothing else has a slack.
            assert (slack <= [2 * (dense.in_size + heard.sum()) * (r == "synapse_memory") + 1e-9 for r in price.resources]).all()
        vth = np.unique(net["a"].params["vth"]).size
        assert need["threshold_configs"] == (vth if vth <= 8 else chosen.size)


def test_a_halfway_price_of_an_axon_is_never_negative():
    """A search may take prices between the bounds."""
    for bits in range(1, 9):
        for delay in (0, 4):
            sources = np.concatenate([[1, 2, 3, 63, 64, 65, 127, 200], np.arange(1, 190, 7)])
            matrix = (np.arange(200)[:, None] < sources).astype(np.int32)
            price = TARGET.neuron_demand(network((200,), (Sparse.from_dense(matrix), bits, delay, None), kernel=LIF), "a")
            assert (36 * price.axon[0] + 28 * price.axon_least[0] >= 0).all(), (bits, delay)


def test_formats_are_counted_once_each():
    ones = Dense(np.ones((4, 2), np.int32))
    listed = Sparse.from_dense(np.eye(4, dtype=np.int32))
    empty = Sparse.from_dense(np.zeros((4, 4), np.int32))
    same = network((4,), (ones, 8, 0, None), (ones, 8, 0, None), (empty, 3, 0, None), kernel=LIF)
    assert TARGET.demand(same, "a", ((0, 2),))["synapse_formats"] == 1
    other = network((4,), (ones, 8, 0, None), (ones, 8, 1, None), (listed, 8, 0, None), (ones, 5, 0, None), kernel=LIF)
    assert TARGET.demand(other, "a", ((0, 2),))["synapse_formats"] == 4
