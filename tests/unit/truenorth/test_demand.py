"""Demands against counting from the synapses: exact, at most at any position, at least in any cut, and by neuron."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.program import box_indices, slice_indices
from nmap_truenorth.codes import code_of
from nmap_truenorth.demand import demand, demand_at_most, demand_floor, neuron_demand
from tests.unit.truenorth.random_programs import WEIGHTS, random_network, random_parts, weights
from tests.unit.truenorth.test_codes import full, layer

CAPACITY = {"axons": 256, "originals": 256, "neurons": 256, "synapses": 65536}


def extents(shape):
    return product(*(range(1, size + 1) for size in shape))


def boxes(shape, extent):
    for start in product(*(range(size - n + 1) for size, n in zip(shape, extent, strict=True))):
        yield tuple((low, low + n) for low, n in zip(start, extent, strict=True))


def check_boxes(network, tight):
    """`demand_at_most` is the most over all boxes, where it should be exact, and grows with the extent."""
    shape = network["b"].shape
    known = {}
    for extent in extents(shape):
        most = demand_at_most(network, "b", extent)
        each = [demand(network, "b", box) for box in boxes(shape, extent)]
        for name in CAPACITY:
            largest = max(one[name] for one in each)
            assert most[name] == largest if tight else most[name] >= largest, (extent, name)
        known[extent] = most
        for axis, size in enumerate(extent):
            if size > 1:
                smaller = known[(*extent[:axis], size - 1, *extent[axis + 1 :])]
                assert all(smaller[name] <= most[name] for name in CAPACITY)
    floor = demand_floor(network, "b")
    whole = demand(network, "b", tuple((0, size) for size in shape))
    single = [demand(network, "b", box) for box in boxes(shape, (1,) * len(shape))]
    for name in CAPACITY:
        assert floor[name] <= whole[name]
        assert floor[name] <= sum(one[name] for one in single)


@pytest.mark.parametrize("seed", range(10))
def test_boxes_of_a_convolution(seed):
    rng = np.random.default_rng([1, seed])
    groups, kernel = 1 + seed % 2, (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
    w = weights(rng, (2 * groups, 2 * kernel[0] * kernel[1]), str(rng.choice(WEIGHTS))).reshape(2 * groups, 2, *kernel)
    stride, padding = tuple(rng.integers(1, 3, 2).tolist()), tuple(rng.integers(0, 3, 2).tolist())
    conv = Conv2d(w, (2 * groups, 5, 5), stride, padding, (1, 1 + seed % 2), groups)
    check_boxes(layer(conv, shape=conv.out_shape), tight=True)


@pytest.mark.parametrize("seed", range(8))
def test_neurons_in_a_row(seed):
    rng = np.random.default_rng([2, seed])
    w = weights(rng, (11, 9), str(rng.choice(WEIGHTS)), 0.4)
    check_boxes(layer(Sparse.from_dense(w) if seed % 2 else Dense(w)), tight=True)


def test_two_afferents_and_two_dimensions():
    rng = np.random.default_rng(3)
    check_boxes(layer(Dense(weights(rng, (12, 5), "short")), Sparse.from_dense(weights(rng, (12, 6), "short", 0.2)), shape=(4, 3)), False)


def test_a_core_by_hand():
    """Seven sources with all of -8 to 7 take 1, 2, 4 and -8: the bits of a number are its axons, and -8 + 1 + 2 + 4 is -1."""
    network = layer(full(-8, 7))
    weight = network.projections[0].connectivity.weights
    # A neuron whose weights are all even has twice the values and half the numbers.
    number = weight // np.gcd.reduce(weight, axis=1)[:, None]
    bits = np.array([bin(w % 16).count("1") for w in range(-8, 8)])[number + 8].sum(1)
    code = code_of(network, "b")
    assert sorted(abs(int(v)) for v in code.values[0]) == [1, 2, 4, 8]
    assert demand(network, "b", ((0, 300),)) == {"axons": 28, "originals": 300, "neurons": 0, "synapses": 0}
    assert demand(network, "b", np.array([7])) == {"axons": int(bits[7]), "originals": 1, "neurons": 0, "synapses": 0}


@pytest.mark.parametrize("seed", range(25))
def test_prices_of_neurons_bound_every_list(seed):
    network = random_network(seed)
    rng = np.random.default_rng([4, seed])
    for population in network.populations:
        afferents = network.afferents(population.name)
        if population.kernel is None or any(isinstance(p.connectivity, Conv2d) for p in afferents):
            continue
        price = neuron_demand(network, population.name)
        heard = [p.connectivity.with_weights(np.ones_like(p.connectivity.weights)).apply(np.eye(p.connectivity.in_size)).T > 0
                 for p in afferents]
        for count in range(1, population.size + 1):
            chosen = np.sort(rng.choice(population.size, count, replace=False))
            exact = demand(network, population.name, chosen)
            exact = np.array([exact[name] for name in price.resources])
            for prices, sign in ((price.axon, 1), (price.axon_least or price.axon, -1)):
                bound = price.fixed + price.neuron[:, chosen].sum(1)
                bound = bound + sum((amount * rows[chosen].any(0)).sum(1) for amount, rows in zip(prices, heard, strict=True))
                assert (sign * bound >= sign * exact).all()


def test_prices_of_convolutions_are_refused():
    conv = Conv2d(np.ones((1, 1, 2, 2), np.int32), (1, 3, 3))
    with pytest.raises(ValueError, match="convolution"):
        neuron_demand(layer(conv, shape=conv.out_shape), "b")


@pytest.mark.parametrize("seed", range(15))
def test_no_cut_takes_less_than_the_floor(seed):
    network = random_network(seed)
    rng = np.random.default_rng([5, seed])
    for population in network.populations:
        if population.kernel is None:
            continue
        floor = demand_floor(network, population.name)
        for _ in range(4):
            pieces = [demand(network, population.name, part) for part in random_parts(rng, network, population.name)]
            assert all(floor[name] <= sum(piece[name] for piece in pieces) for name in CAPACITY)


def test_a_list_takes_what_its_box_takes():
    rng = np.random.default_rng(6)
    network = layer(Dense(weights(rng, (12, 7), "trinary")), shape=(3, 4))
    for box in (((0, 2), (1, 3)), ((1, 3), (0, 4)), ((2, 3), (3, 4))):
        assert demand(network, "b", box) == demand(network, "b", box_indices(box, (3, 4)))


def test_copies_take_columns():
    rng = np.random.default_rng(7)
    plain = layer(Dense(weights(rng, (6, 4), "trinary")))
    copies = np.array([1, 5, 2, 2, 9, 1])
    network = replace(plain, populations=(plain.populations[0], replace(plain.populations[1], copies=copies)))
    assert demand(network, "b", np.array([1, 4]))["originals"] == 14
    assert demand(network, "b", ((0, 3),)) == demand(plain, "b", ((0, 3),)) | {"originals": 8}
    assert [demand_at_most(network, "b", (n,))["originals"] for n in (1, 2, 3, 6)] == [9, 14, 16, 20]
    assert demand_floor(network, "b")["originals"] == 20
    price = neuron_demand(network, "b")
    assert price.neuron[price.resources.index("originals")].tolist() == copies.tolist()


def test_a_population_without_a_code_fits_nowhere():
    network = layer(Dense(np.array([[100_000, 1]], np.int32)))
    for amount in (demand(network, "b", ((0, 1),)), demand_at_most(network, "b", (1,)), demand_floor(network, "b")):
        assert amount["axons"] > 256
    with pytest.raises(ValueError, match="no four values"):
        neuron_demand(network, "b")


def test_slices_of_tiles_are_counted_from_their_synapses():
    """Axons of a tile: for every source the neurons that hear it, from the unrolled convolution."""
    rng = np.random.default_rng(8)
    conv = Conv2d(weights(rng, (3, 2 * 4), "short").reshape(3, 2, 2, 2), (2, 5, 5), (2, 1), (1, 0))
    network = layer(conv, shape=conv.out_shape)
    code, whole = code_of(network, "b"), conv.unrolled()
    for box in (((0, 3), (0, 2), (1, 3)), ((1, 2), (1, 3), (0, 4)), ((0, 1), (0, 1), (0, 1))):
        rows = slice_indices(box, conv.out_shape)
        axons = 0
        for source in range(conv.in_size):
            needs = np.zeros(4, int)
            for row in rows:
                here = slice(whole.indptr[row], whole.indptr[row + 1])
                for w in whole.weights[here][whole.indices[here] == source]:
                    ways = [e for e in product(range(2), repeat=4) if np.dot(e, code.values[row].astype(int)) == w]
                    assert len(ways) == 1
                    needs = np.maximum(needs, ways[0])
            axons += int(needs.sum())
        assert demand(network, "b", box)["axons"] == axons
