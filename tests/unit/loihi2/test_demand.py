"""Loihi 2 core demand in closed form: the published figures, bounds over positions and cuts, agreement with what is stored."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.compile import build_program
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.mapping import Mapping, Shard
from nmap.network import Provenance
from nmap.program import Core
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.machine import Machine
from nmap_loihi2 import TARGET

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
