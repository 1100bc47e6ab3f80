"""Loihi 2 core demand in closed form: the published figures, bounds over positions and cuts, agreement with what is stored."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.compile import build_program
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.mapping import Mapping, Shard
from nmap.network import Provenance
from nmap.program import Core, slice_indices
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.machine import Machine
from nmap_loihi2 import TARGET
from tests.unit.loihi1 import counting

W = Provenance("net.h5", "/")


def network(shape, *connections):
    """One population fed by every given connection, each from an input of its own size."""
    params = {"du": np.array(0), "dv": np.array(0), "vth": np.array(1), "bias_mant": np.array(0), "bias_exp": np.array(0)}
    inputs = [QuantizedPopulation(f"in{k}", (c.in_size,), None, {}, W) for k, (c, _) in enumerate(connections)]
    projections = tuple(
        QuantizedProjection(f"p{k}", f"in{k}", "a", c, SynapseFormat(bits), 0, W) for k, (c, bits) in enumerate(connections)
    )
    populations = (*inputs, QuantizedPopulation("a", shape, "loihi2.lif", params, W))
    return QuantizedNetwork(populations, projections, tuple(p.name for p in inputs), ("a",))


@pytest.mark.parametrize(("targets", "words"), [(10, 4), (64, 21), (50, 16), (256, 81)])
def test_published_words_per_axon(targets, words):
    """lava-dl notebooks, 8-bit weights: MNIST layers and Oxford layer 0."""
    net = network((targets,), (Dense(np.ones((targets, 7), np.int32)), 8))
    assert TARGET.demand(net, "a", ((0, targets),))["synapse_memory"] == 7 * words


def test_published_total_of_a_core():
    """MNIST's first layer: 784 axons, 50 neurons, 12544 words, 67.14 % of 20 000."""
    net = network((50,), (Dense(np.ones((50, 784), np.int32)), 8))
    demand = TARGET.demand(net, "a", ((0, 50),))
    assert demand["synapse_memory"] == 12544
    assert demand["memory_words"] / 20000 == pytest.approx(0.6714)


@st.composite
def networks(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    bits = draw(st.integers(1, 8))
    if draw(st.booleans()):
        groups = draw(st.sampled_from([1, 2, 3]))
        shape = (groups * draw(st.integers(1, 2)), draw(st.integers(3, 8)), draw(st.integers(3, 8)))
        out, kh, kw = groups * draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
        kernel = rng.integers(-9, 9, (out, shape[0] // groups, kh, kw))
        conv = Conv2d(kernel.astype(np.int32), shape, (draw(st.integers(1, 2)),) * 2, (draw(st.integers(0, 1)),) * 2, groups=groups)
        return network(conv.out_shape, (conv, bits))
    n = draw(st.integers(1, 60))
    dense = Dense(rng.integers(-9, 9, (n, draw(st.integers(1, 40)))).astype(np.int32))
    matrix = rng.integers(-9, 9, (n, 50)) * (rng.random((n, 50)) < draw(st.floats(0, 0.5)))
    return network((n,), (dense, bits), (Sparse.from_dense(matrix.astype(np.int32)), bits))


@settings(max_examples=80, deadline=None)
@given(net=networks(), data=st.data())
def test_bounds_and_stored_program(net, data):
    shape = net["a"].shape
    cuts = [sorted({0, size, *data.draw(st.lists(st.integers(1, size), max_size=2))}) for size in shape]
    boxes = [()]
    for axis in cuts:
        boxes = [(*box, (a, b)) for box in boxes for a, b in pairwise(axis)]
    demands = [TARGET.demand(net, "a", box) for box in boxes]
    floor = TARGET.demand_floor(net, "a")
    for resource in TARGET.spec.resources:
        assert floor[resource] <= sum(d[resource] for d in demands) + 1e-9
    for box, demand in zip(boxes, demands, strict=True):
        most = TARGET.demand_at_most(net, "a", tuple(b - a for a, b in box))
        assert all(demand[r] <= most[r] for r in demand)
    shards = tuple(Shard("a", box, k, d) for k, (box, d) in enumerate(zip(boxes, demands, strict=True)))
    machine = Machine(TARGET.spec, "oheo-gulch", 1, ())
    mapping = Mapping(machine, shards, tuple(Core(0, 0, 0, k) for k in range(len(boxes))), None, None, False)
    assert TARGET.measure(build_program(net, "loihi2", mapping)) == tuple(demands)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32), n=st.integers(1, 90), sources=st.integers(1, 40), density=st.floats(0.01, 1), bits=st.integers(1, 8),
    share=st.floats(0.05, 1),
)
def test_prices_of_neurons_hold_for_any_list_and_lose_less_than_a_word_per_axon(seed, n, sources, density, bits, share):
    rng = np.random.default_rng(seed)
    matrix = (rng.random((n, sources)) < density).astype(np.int32)
    dense = Dense(rng.integers(-9, 9, (n, 3)).astype(np.int32))
    net = network((n,), (Sparse.from_dense(matrix), bits), (dense, 5))
    price = TARGET.neuron_demand(net, "a")
    chosen = np.flatnonzero(rng.random(n) < share)
    if not chosen.size:
        return
    need = TARGET.demand(net, "a", chosen)
    heard = matrix[chosen].any(0)
    # One list of ceil((synapses x (bits + 12) + 10) / 64) words per axon; there is no 7-bit format.
    stored = {7: 8}.get(bits, bits)
    words = sum(-(-(int(matrix[chosen, k].sum()) * (stored + 12) + 10) // 64) for k in np.flatnonzero(heard))
    words += 3 * -(-(chosen.size * 17 + 10) // 64)
    assert need["synapse_memory"] == words
    for sign, amounts in ((1, price.axon), (-1, price.axon_least)):
        total = price.fixed + price.neuron[:, chosen].sum(1) + (amounts[0] * heard).sum(1) + 3 * amounts[1][:, 0]
        bound = dict(zip(price.resources, (total / price.scale).tolist(), strict=True))
        for resource, amount in need.items():
            slack = (heard.sum() + 3) * 63 / 64 if resource in ("synapse_memory", "memory_words") else 0
            assert -1e-9 <= sign * (bound[resource] - amount) <= slack + 1e-9, resource


def test_convolutions_have_no_prices_of_neurons_and_no_lists():
    conv = Conv2d(np.ones((2, 1, 2, 2), np.int32), (1, 4, 4))
    net = network(conv.out_shape, (conv, 8))
    with pytest.raises(ValueError, match="convolution"):
        TARGET.neuron_demand(net, "a")
    with pytest.raises(ValueError, match="not a box"):
        TARGET.demand(net, "a", np.array([0, 5]))


def test_larger_pieces_never_take_less():
    rng = np.random.default_rng(0)
    sparse = Sparse.from_dense((rng.integers(-9, 9, (40, 60)) * (rng.random((40, 60)) < 0.1)).astype(np.int32))
    net = network((40,), (sparse, 8))
    table = [TARGET.demand_at_most(net, "a", (n,)) for n in range(1, 41)]
    for less, more in pairwise(table):
        assert all(less[r] <= more[r] for r in less)


# Words of a neuron's state: two 24-bit variables fit one.
STATES = {"loihi2.lif": 1, "loihi2.sigma_delta": 1, "loihi2.rf": 1, "loihi2.relay": 1, "loihi2.atrlif": 2}


def counted(net, part):
    """What a slice takes of synaptic memory, axons and the pool, synapse by synapse; published rules, rows of kernels shared."""
    neurons = slice_indices(part, net["a"].shape).tolist()
    words = axons = 0
    for p in net.afferents("a"):
        whole, bits = p.connectivity, {7: 8}.get(p.format.bits, p.format.bits)
        if isinstance(whole, Conv2d) and not p.delay:
            if not counting.halo(whole, part):
                continue
            per_out = whole.weights.shape[0] // whole.groups
            channels = Counter(channel // per_out for channel in range(*part[0]))
            rows = sum(-(-(reached * bits + 10) // 64) for reached in channels.values())
            words += rows * int(np.prod(whole.weights.shape[1:]))
            axons += 2
        else:
            reached = counting.synapses_by_source(whole, neurons)
            words += sum(-(-(number * (12 + bits) + 10) // 64) for number in reached.values())
            axons += counting.halo(whole, part) if isinstance(whole, Conv2d) else len(reached)
    pool = words + axons + len(neurons) * (1 + STATES[net["a"].kernel])
    return {"neurons": len(neurons), "axon_map": len(neurons), "synapse_memory": words, "input_axons": axons, "memory_words": pool}


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_delayed_convolutions_are_lists_and_states_take_words(data):
    shape = (data.draw(st.sampled_from([1, 2, 3, 4, 6])), data.draw(st.integers(2, 6)), data.draw(st.integers(2, 6)))
    afferents = []
    for _ in range(data.draw(st.integers(1, 3))):
        conv, alone = data.draw(counting.convolutions(shape))
        # Relays are fed one to one; the model prices any delayed convolution as its list.
        afferents.append((conv, data.draw(st.integers(1, 8)), data.draw(st.sampled_from([0, 3] if alone else [0, 0, 3])), None))
    net = counting.network(shape, *afferents, kernel=data.draw(st.sampled_from(sorted(STATES))))
    boxes = data.draw(counting.cuts(shape))
    demands = [TARGET.demand(net, "a", box) for box in boxes]
    floor = TARGET.demand_floor(net, "a")
    assert all(floor[r] <= sum(d[r] for d in demands) + 1e-9 for r in TARGET.spec.resources)
    for box, need in zip(boxes, demands, strict=True):
        expected = counted(net, box)
        assert {name: need[name] for name in expected} == expected
        extent = tuple(b - a for a, b in box)
        most = TARGET.demand_at_most(net, "a", extent)
        assert all(need[r] <= most[r] for r in need)
        for axis, size in enumerate(extent):
            if size < shape[axis]:
                larger = TARGET.demand_at_most(net, "a", (*extent[:axis], size + 1, *extent[axis + 1 :]))
                assert all(larger[r] >= most[r] for r in most)
    program = build_program(net, "loihi2", counting.mapped(TARGET, "oheo-gulch", boxes, demands))
    assert TARGET.measure(program) == tuple(demands)


READERS = {
    # (reads neuron by neuron, connection, delay) of n neurons of a shape
    "conv": lambda shape: (False, Conv2d(np.ones((2, shape[0], 1, 2), np.int32), shape, (2, 1), (1, 1)), 0),
    "relay": lambda shape: (True, Conv2d(np.ones((shape[0], 1, 1, 1), np.int32), shape, groups=shape[0]), 2),
    "dense": lambda shape: (True, Dense(np.ones((2, int(np.prod(shape))), np.int32)), 0),
    "sparse": lambda shape: (True, Sparse.from_dense(np.eye(2, int(np.prod(shape)), dtype=np.int32)), 0),
    "nothing": lambda shape: (False, Sparse.from_dense(np.zeros((2, int(np.prod(shape))), np.int32)), 0),
}


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_axon_map_has_a_word_per_position_for_convolutions_and_one_per_neuron_for_lists(data):
    shape = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 5)), data.draw(st.integers(2, 5)))
    fed = data.draw(st.booleans())
    afferent = Dense(np.ones((int(np.prod(shape)), 3), np.int32))
    if fed:
        afferent = Conv2d(np.ones((shape[0], 1, 1, 1), np.int32), (1, *shape[1:]))
    names = data.draw(st.lists(st.sampled_from(sorted(READERS)), max_size=3))
    net = counting.network(shape, (afferent, 8, 0, None))
    readers = [READERS[name](shape) for name in names]
    ends = tuple(
        QuantizedPopulation(f"r{k}", reads.out_shape if isinstance(reads, Conv2d) else (2,), "loihi2.lif", dict(counting.PARAMS_OF_ONE), W)
        for k, (_, reads, _) in enumerate(readers)
    )
    projections = tuple(
        QuantizedProjection(f"q{k}", "a", f"r{k}", reads, SynapseFormat(8), delay, W) for k, (_, reads, delay) in enumerate(readers)
    )
    outputs = ("a",) if data.draw(st.booleans()) or not ends else tuple(end.name for end in ends)
    net = replace(net, populations=net.populations + ends, projections=net.projections + projections, outputs=outputs)
    boxes = data.draw(counting.cuts(shape))
    demands = [TARGET.demand(net, "a", box) for box in boxes]
    single = not fed or outputs == ("a",) or any(reads_neurons for reads_neurons, _, _ in readers)
    for box, need in zip(boxes, demands, strict=True):
        neurons = np.unravel_index(slice_indices(box, shape), shape)
        assert need["axon_map"] == (len(neurons[0]) if single else len(set(zip(*neurons[1:], strict=True))))
        assert need["memory_words"] == need["axon_map"] + need["synapse_memory"] + need["input_axons"] + need["neurons"]
        extent = tuple(b - a for a, b in box)
        most = TARGET.demand_at_most(net, "a", extent)
        assert all(need[r] <= most[r] for r in need)
        for axis, size in enumerate(extent):
            if size < shape[axis]:
                larger = TARGET.demand_at_most(net, "a", (*extent[:axis], size + 1, *extent[axis + 1 :]))
                assert all(larger[r] >= most[r] for r in most)
    floor = TARGET.demand_floor(net, "a")
    assert all(floor[r] <= sum(d[r] for d in demands) + 1e-9 for r in TARGET.spec.resources)
    assert floor["axon_map"] == (np.prod(shape) if single else shape[1] * shape[2])
    pieces = [("a", box, need) for box, need in zip(boxes, demands, strict=True)]
    for end in ends:
        whole = tuple((0, size) for size in end.shape)
        pieces.append((end.name, whole, TARGET.demand(net, end.name, whole)))
    cores = tuple(Core(0, 0, 0, k) for k in range(len(pieces)))
    shards = tuple(Shard(name, box, k, need) for k, (name, box, need) in enumerate(pieces))
    mapping = Mapping(Machine(TARGET.spec, "oheo-gulch", 1, ()), shards, cores, None, None, False)
    assert TARGET.measure(build_program(net, "loihi2", mapping)) == tuple(need for _, _, need in pieces)


def test_a_relay_is_a_list_of_one_synapse_per_source():
    """2 x 4 x 3 source neurons, one axon and ceil((12 + 8 + 10) / 64) = 1 word each, and two words per neuron."""
    feed = Conv2d(np.ones((2, 1, 1, 1), np.int32), (2, 4, 3), groups=2)
    net = counting.network((2, 4, 3), (feed, 8, 4, None), kernel="loihi2.relay")
    half = {"neurons": 12, "neuron_groups": 1, "synapse_memory": 12, "input_axons": 12, "axon_map": 12, "axon_words": 0, "memory_words": 48}
    assert TARGET.demand(net, "a", ((0, 2), (0, 2), (0, 3))) == TARGET.demand_at_most(net, "a", (2, 2, 3)) == half
    floor = TARGET.demand_floor(net, "a")
    assert (floor["synapse_memory"], floor["input_axons"], floor["memory_words"]) == (24, 24, 96)


@pytest.mark.parametrize(("kernel", "words"), sorted(STATES.items()))
def test_words_of_a_state(kernel, words):
    net = counting.network((10,), (Dense(np.ones((10, 3), np.int32)), 8, 0, None), kernel=kernel)
    # 3 axons of ceil(210 / 64) words each, their 3 words, 10 of the axon map and the states.
    assert TARGET.demand(net, "a", ((0, 10),))["memory_words"] == 12 + 3 + 10 + 10 * words
    price = TARGET.neuron_demand(net, "a")
    row = price.resources.index("memory_words")
    assert price.neuron[row].tolist() == [64 * (1 + words) + 3 * 20] * 10


def test_two_receptors_are_two_lists():
    real = Dense(np.ones((10, 3), np.int32))
    net = counting.network((10,), (real, 8, 0, None), (real, 8, 0, None), kernel="loihi2.rf")
    second = replace(net.projections[1], source="in0", receptor=1)
    both = replace(net, projections=(net.projections[0], second))
    assert TARGET.demand(both, "a", ((0, 10),)) == TARGET.demand(net, "a", ((0, 10),))
    assert TARGET.demand(both, "a", ((0, 10),))["synapse_memory"] == 2 * 3 * 4
