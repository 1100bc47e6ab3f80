"""Codes: every weight is made, with as few axons as the published table and as brute force."""

from __future__ import annotations

from itertools import combinations_with_replacement, product

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap_truenorth.codes import code_of, fan_in, needed, needed_by_all, why_no_code
from nmap_truenorth.patterns import fewest_axons, interval_patterns, one_sided_patterns, solve, uses
from tests.unit.truenorth.random_programs import FORM, HERE, WEIGHTS, neurons, weights


def layer(*connections, delays=None, shape=None):
    """A population "b" that hears one input port per connection."""
    ports = [QuantizedPopulation(f"in{k}", (c.in_size,), None, {}, HERE) for k, c in enumerate(connections)]
    size = connections[0].out_size
    target = neurons(np.random.default_rng(0), "b", shape or (size,), 1)
    links = tuple(
        QuantizedProjection(f"p{k}", f"in{k}", "b", c, FORM, 0, HERE, delays) for k, c in enumerate(connections)
    )
    return QuantizedNetwork((*ports, target), links, tuple(p.name for p in ports), ("b",))


def full(low, high, neurons_=300, sources=7, seed=0):
    """A dense matrix in which every source has every weight from low to high."""
    rng = np.random.default_rng(seed)
    levels = np.arange(low, high + 1)
    rows = [rng.permutation(np.resize(levels, max(neurons_, levels.size))) for _ in range(sources)]
    return Dense(np.stack(rows, 1).astype(np.int32))


def made(network, afferent=0):
    """The weights that a code makes, from its values and axons alone: (targets, sources); and the axons that each source needs."""
    code = code_of(network, "b")
    found = needed(network, "b", np.arange(network["b"].size))[afferent]
    weight = np.zeros((network["b"].size, network.projections[afferent].connectivity.in_size), np.int64)
    for target, source, use in zip(found.synapses.target, found.synapses.source, found.uses, strict=True):
        weight[target, source] += int(use.astype(np.int64) @ code.values[target].astype(np.int64))
    assert np.abs(code.values).max() <= 255
    return weight, dict(zip(found.source.tolist(), found.axons.sum(1).tolist(), strict=True))


@pytest.mark.parametrize(("low", "high", "axons"), [
    (0, 1, 1), (-1, 1, 2), (-2, 1, 2), (-4, 3, 3), (-8, 7, 4), (-7, 7, 4), (-16, 15, 6), (-32, 31, 8), (-64, 63, 10), (-128, 127, 14),
    (-255, 255, 18),
])
def test_full_ranges_take_the_published_number_of_axons(low, high, axons):
    """The table of reference/truenorth.md, 4.2, whose numbers were found by counting."""
    network = layer(full(low, high, neurons_=600))
    weight, each = made(network)
    np.testing.assert_array_equal(weight, network.projections[0].connectivity.weights)
    assert set(each.values()) == {axons}
    assert code_of(network, "b").axons == axons


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("seed", range(4))
def test_every_weight_is_made(kind, seed):
    rng = np.random.default_rng([1, seed])
    network = layer(
        Dense(weights(rng, (9, 7), kind)), Sparse.from_dense(weights(rng, (9, 12), kind, 0.3)), shape=(3, 3),
    )
    for k, projection in enumerate(network.projections):
        weight, each = made(network, k)
        whole = projection.connectivity
        np.testing.assert_array_equal(weight, whole.apply(np.eye(whole.in_size)).T.astype(np.int64))
        assert set(each) == set(np.flatnonzero((weight != 0).any(0)).tolist())
        together = needed_by_all(network, "b")[k]
        assert {source: number for source, number in enumerate(together.tolist()) if number} == each


@pytest.mark.parametrize("seed", range(6))
def test_convolutions_are_made(seed):
    rng = np.random.default_rng([2, seed])
    kind = str(rng.choice(WEIGHTS))
    kernel = weights(rng, (4, 2 * 9), kind).reshape(4, 2, 3, 3)
    conv = Conv2d(kernel, (4, 5, 4), (1 + seed % 2, 1), (seed % 3 % 2, 1), (1, 1), 2)
    network = layer(conv, Dense(weights(rng, (conv.out_size, 3), kind)), shape=conv.out_shape)
    code, whole = code_of(network, "b"), conv.unrolled()
    box = tuple((0, size) for size in conv.out_shape)
    found = needed(network, "b", box)[0]
    total = np.zeros((conv.out_size, conv.in_size), np.int64)
    for target, source, use in zip(found.synapses.target, found.synapses.source, found.uses, strict=True):
        total[target, source] += int(use.astype(np.int64) @ code.values[target].astype(np.int64))
    np.testing.assert_array_equal(total, whole.apply(np.eye(conv.in_size)).T.astype(np.int64))
    most = np.zeros((conv.in_size, 4), np.int64)
    np.maximum.at(most, found.synapses.source, found.uses.astype(np.int64))
    np.testing.assert_array_equal(needed_by_all(network, "b")[0], most.sum(1))
    alone = np.bincount(found.synapses.target, found.uses.sum(1), conv.out_size)
    other = needed(network, "b", box)[1]
    np.testing.assert_array_equal(fan_in(network, "b"), alone + np.bincount(other.synapses.target, other.uses.sum(1), conv.out_size))


def brute(numbers, largest):
    """The fewest axons that make a set, over all values up to `largest` and all numbers of axons."""
    for axons in range(1, 9):
        for parts in range(1, min(4, axons) + 1):
            for copies in {tuple(sorted(c, reverse=True)) for c in product(range(1, axons + 1), repeat=parts) if sum(c) == axons}:
                sizes = [v for v in range(-largest, largest + 1) if v]
                for values in product(sizes, repeat=parts):
                    sums = {0}
                    for r, v in zip(copies, values, strict=True):
                        sums = {s + e * v for s in sums for e in range(r + 1)}
                    if numbers <= sums:
                        return axons
    return None


@pytest.mark.parametrize(("low", "high"), [(a, b) for a, b in combinations_with_replacement(range(6), 2) if b])
def test_intervals_take_no_more_than_brute_force_does(low, high):
    found = interval_patterns(low, high)
    assert found[0].axons == brute(set(range(-low, high + 1)), max(low, high))
    for pattern in found:
        assert set(range(-low, high + 1)) <= set(uses(pattern))


@pytest.mark.parametrize("seed", range(12))
def test_sets_with_gaps_take_no_more_than_brute_force_does(seed):
    rng = np.random.default_rng([3, seed])
    numbers = sorted(set(rng.integers(-6, 7, int(rng.integers(1, 5))).tolist()) - {0})
    if not numbers:
        numbers = [4]
    least = brute(set(numbers), 6)
    for axons in range(1, least + 1):
        ways = {tuple(sorted(c, reverse=True)) for parts in range(1, min(4, axons) + 1)
                for c in product(range(1, axons + 1), repeat=parts) if sum(c) == axons}
        found = [pattern for copies in ways if (pattern := solve(tuple(numbers), copies)) is not None]
        assert bool(found) == (axons == least)
        assert all(set(numbers) <= set(uses(pattern)) for pattern in found)


def test_uses_are_the_fewest():
    """Every number that a pattern makes, by all ways of switching its axons on."""
    pattern = interval_patterns(16, 15)[0]
    best = {}
    for use in product(*(range(r + 1) for r in pattern.copies)):
        number = sum(e * v for e, v in zip(use, pattern.values, strict=True))
        best[number] = min(best.get(number, 99), sum(use))
    assert {number: sum(use) for number, use in uses(pattern).items()} == best
    assert all(sum(e * v for e, v in zip(use, pattern.values, strict=True)) == number for number, use in uses(pattern).items())


def test_a_lower_bound_of_axons():
    """Four axons make 16 numbers at most, five 24, six 36: one more type each."""
    assert [fewest_axons(n) for n in (1, 2, 3, 4, 5, 8, 9, 16, 17, 24, 25, 36)] == [0, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]


def test_one_sided_patterns_make_both_sides_apart():
    for pattern in one_sided_patterns(7, 7):
        for number, use in uses(pattern).items():
            if 0 < abs(number) <= 7 and all(e == 0 or (v > 0) == (number > 0) for e, v in zip(use, pattern.values, strict=True)):
                continue
            assert abs(number) > 7 or number == 0 or sum(use) <= 3


def test_one_sign_a_source_takes_one_axon():
    rng = np.random.default_rng(4)
    network = layer(Dense(((rng.random((40, 60)) < 0.6) * rng.choice([-1, 1], 60)).astype(np.int32)))
    assert code_of(network, "b").kind == "colours"
    assert set(made(network)[1].values()) == {1}


def test_neurons_share_a_pattern_but_for_a_factor():
    """4-bit weights times a factor of each neuron, of either sign, take the axons of 4-bit weights."""
    rng = np.random.default_rng(5)
    matrix = full(-7, 7, 200).weights * rng.choice([-30, -7, 1, 12], (200, 1))
    network = layer(Dense(matrix.astype(np.int32)))
    weight, each = made(network)
    np.testing.assert_array_equal(weight, matrix)
    assert set(each.values()) == {4}


def test_three_weights_of_its_own_each_take_three_axons():
    rng = np.random.default_rng(6)
    own = rng.permuted(np.resize(np.arange(-120, 121), (40, 241)), axis=1)[:, :3] * 2 + 1
    matrix = np.take_along_axis(own, rng.integers(0, 3, (40, 50)), 1)
    network = layer(Dense(matrix.astype(np.int32)))
    weight, each = made(network)
    np.testing.assert_array_equal(weight, matrix)
    assert set(each.values()) == {3}
    assert code_of(network, "b").kind == "codebooks"


def test_dale_with_magnitudes_takes_fewer_than_both_signs_would():
    """Sources of one sign with weights 1 to 3: two axons each, where -3..3 take three."""
    rng = np.random.default_rng(7)
    matrix = np.stack([rng.permutation(np.resize([1, 2, 3], 30)) for _ in range(40)], 1) * rng.choice([-1, 1], 40)
    network = layer(Dense(matrix.astype(np.int32)))
    assert set(made(network)[1].values()) == {2}


def test_weights_beyond_the_field_are_sums_of_several_axons():
    network = layer(Dense(np.array([[300, -301], [7, 510]], np.int32)))
    weight, _ = made(network)
    np.testing.assert_array_equal(weight, [[300, -301], [7, 510]])


def test_no_code():
    network = layer(Dense(np.array([[100_000, 1]], np.int32)))
    assert code_of(network, "b") is None
    assert "100000" in why_no_code(network, "b")
    with pytest.raises(ValueError, match="no four values"):
        fan_in(network, "b")
    with pytest.raises(ValueError, match="no four values"):
        needed(network, "b", np.array([0]))


def test_no_weights():
    network = layer(Dense(np.zeros((3, 2), np.int32)))
    assert code_of(network, "b").kind == "silent"
    assert fan_in(network, "b").tolist() == [0, 0, 0]
    assert needed(network, "b", np.arange(3))[0].source.size == 0


def test_synapses_of_several_delays_are_axons_of_their_own():
    """One source heard after 0 and after 2 steps, with one synapse listed twice: weights that act together are added."""
    sparse = Sparse(np.array([0, 3]), np.array([1, 1, 1]), np.array([2, 3, 4], np.int32), 2)
    network = layer(sparse, delays=np.array([0, 2, 0]))
    found = needed(network, "b", np.array([0]))[0]
    assert sorted(zip(found.synapses.delay.tolist(), found.synapses.weight.tolist(), strict=True)) == [(0, 6), (2, 3)]
    assert found.delay.tolist() == [0, 2]
    assert found.source.tolist() == [1, 1]


def test_the_code_is_kept():
    network = layer(full(-8, 7))
    assert code_of(network, "b") is code_of(network, "b")


def test_rows_that_nobody_uses_are_left_out():
    """A slice of neurons needs the axons of its own synapses only."""
    matrix = np.array([[1, 0, -7], [0, 3, 0], [2, 2, 2]], np.int32)
    network = layer(Dense(matrix))
    assert needed(network, "b", np.array([0]))[0].source.tolist() == [0, 2]
    assert needed(network, "b", np.array([1]))[0].source.tolist() == [1]
