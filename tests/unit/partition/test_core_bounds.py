"""Every bound against brute force on small instances, and against arithmetic by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.partition.core_bounds import area_cores, fewest_axons, fewest_cores, group_demands, young_minimum
from nmap.partition.neurons import PartitionProblem, cluster_loads


def windows(size, kernel, stride, pad):
    """Per output of a one-dimensional window, the inputs it listens to."""
    count = (size + 2 * pad - kernel) // stride + 1
    return [[i for i in range(o * stride - pad, o * stride - pad + kernel) if 0 <= i < size] for o in range(count)]


def convolution(size, kernel, stride, pad, channels=1, inputs=1, depthwise=False):
    """(neurons, pins) of a square convolution, channel-major."""
    rows = windows(size, kernel, stride, pad)
    side = len(rows)
    pins = [
        (c * side * side + y * side + x, d * size * size + v * size + u)
        for c in range(channels) for y in range(side) for x in range(side)
        for d in ([c] if depthwise else range(inputs)) for v in rows[y] for u in rows[x]
    ]
    return channels * side * side, pins


def least_axons(neurons, pins, most):
    """By trying every set of neurons."""
    heard = np.zeros(neurons, np.uint64)
    for i, a in pins:
        heard[i] |= np.uint64(1) << np.uint64(a)
    union, size = np.zeros(1, np.uint64), np.zeros(1, np.int64)
    for own in heard:
        union, size = np.concatenate([union, union | own]), np.concatenate([size, size + 1])
    axons = np.array([bin(x).count("1") for x in union.tolist()])
    return [int(axons[size == n].min()) for n in range(most + 1)]


def bound(neurons, pins, most):
    neuron, axon = np.array(sorted(pins)).T
    _, axon = np.unique(axon, return_inverse=True)
    return fewest_axons(neurons, neuron, axon.ravel(), most).tolist()


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad"), [(4, 3, 1, 1), (4, 2, 1, 0), (6, 3, 1, 0), (6, 2, 2, 0), (7, 3, 2, 1), (4, 1, 1, 0)],
)
def test_a_convolutions_axons_are_exact_on_small_grids(size, kernel, stride, pad):
    neurons, pins = convolution(size, kernel, stride, pad)
    assert bound(neurons, pins, neurons) == least_axons(neurons, pins, neurons)


@pytest.mark.parametrize("depthwise", [False, True])
def test_channels_share_a_place_or_have_their_own(depthwise):
    neurons, pins = convolution(4, 3, 1, 0, channels=3, inputs=2, depthwise=depthwise)
    assert neurons == 12
    assert bound(neurons, pins, 12) == least_axons(neurons, pins, 12)


def test_a_large_convolutions_axons_by_hand():
    # 3 x 3, padded, 16 x 16 places of 4 channels, 2 input channels: four neurons fill one place, best in a corner with 2 x 2 sources.
    neurons, pins = convolution(16, 3, 1, 1, channels=4, inputs=2)
    least = bound(neurons, pins, 256)
    assert least[4] == 2 * 4
    assert least[5] == 2 * 6
    assert least[16] == 2 * 9
    # 8 x 8 places in a corner reach 9 x 9 sources, four columns of 16 five of them.
    assert least[256] == 2 * min(81, 5 * 16)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.integers(1, 7), st.lists(st.tuples(st.integers(0, 6), st.integers(0, 9)), min_size=1, max_size=30, unique=True))
def test_axons_of_any_graph_are_never_overestimated(neurons, pins):
    pins = [(i % neurons, a) for i, a in pins]
    pins = sorted(set(pins))
    assert all(a <= b for a, b in zip(bound(neurons, pins, neurons), least_axons(neurons, pins, neurons), strict=True))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_products_of_shifted_intervals_are_never_overestimated(data):
    """Boxes whose ends do not fall: irregular windows, of which convolutions are a case."""

    def ends(count):
        first = np.cumsum([0, *data.draw(st.lists(st.integers(0, 2), min_size=count - 1, max_size=count - 1))])
        return [(int(a), int(a) + data.draw(st.integers(0, 2))) for a in first]

    columns, rows = ends(3), ends(data.draw(st.integers(1, 3)))
    width = 1 + max(b for _, b in columns)
    pins = [
        (y * 3 + x, v * width + u)
        for y, (top, bottom) in enumerate(rows) for x, (left, right) in enumerate(columns)
        for v in range(top, bottom + 1) for u in range(left, right + 1)
    ]
    neurons = 3 * len(rows)
    assert all(a <= b for a, b in zip(bound(neurons, pins, neurons), least_axons(neurons, pins, neurons), strict=True))


def test_young_minimum_tries_every_diagram():
    height, width = np.array([0, 3, 4, 6]), np.array([0, 2, 5, 6, 9])
    diagrams = [c for c in product(range(5), repeat=3) if list(c) == sorted(c, reverse=True)]
    cost = [(sum(c), sum((height[t + 1] - height[t]) * width[c[t]] for t in range(3))) for c in diagrams]
    assert young_minimum(height, width, 12).tolist() == [min(price for size, price in cost if size >= n) for n in range(13)]


def partition_problem(caps, neurons, pins, sources=None, layer=None, axon_price=1):
    """Neurons, axons and synapses as the three budgets."""
    pins = sorted({(a, i) for i, a in pins})
    axons = 1 + max((a for a, _ in pins), default=-1)
    target = np.array([i for _, i in pins], np.int64)
    fan_in = np.bincount(target, minlength=neurons)
    start = np.concatenate([[0], np.cumsum(np.bincount([a for a, _ in pins], minlength=axons))])
    neuron = np.stack([np.ones(neurons, np.int64), np.zeros(neurons, np.int64), fan_in])
    axon = np.zeros((3, axons), np.int64)
    axon[1] = axon_price
    return PartitionProblem(
        ("neurons", "axons", "synapses"), np.array(caps), neuron, axon, np.zeros(3, np.int64),
        np.full(axons, -1) if sources is None else sources, start, target, np.ones(axons), 99, layer=layer,
    )


def fewest_by_brute_force(problem):
    """Try every partition, as restricted growth strings."""

    def grow(part, clusters):
        if len(part) == problem.neurons:
            if (cluster_loads(problem, np.array(part)) <= problem.capacity).all():
                best[0] = min(best[0], clusters)
            return
        for k in range(min(clusters + 1, best[0] - 1)):
            grow([*part, k], max(clusters, k + 1))

    best = [problem.neurons + 1]
    grow([], 0)
    return best[0]


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=4, max_size=20, unique=True),
    st.integers(2, 4), st.integers(0, 2), st.integers(0, 3), st.integers(1, 3),
)
def test_no_partition_has_fewer_cores_than_the_bound(pins, most, more_axons, more_synapses, layers):
    fan_in = np.bincount([i for i, _ in pins]).max()
    problem = partition_problem(
        (most, fan_in + more_axons, fan_in + more_synapses), 6, pins, layer=np.arange(6) % layers,
    )
    best = fewest_by_brute_force(problem)
    assert area_cores(problem) <= fewest_cores(problem) <= best


def test_two_dense_layers_that_cannot_share_a_core():
    # 512 neurons with 784 inputs, of which 83 fit 65536 synapses, and 10 that listen to all 512: 784 + 512 axons exceed 1024.
    pins = [(i, a) for i in range(512) for a in range(784)] + [(512 + i, 784 + a) for i in range(10) for a in range(512)]
    problem = partition_problem((256, 1024, 65536), 522, pins, layer=np.repeat([0, 1], [512, 10]))
    assert area_cores(problem) == 7
    # 512 / 83 and a core for the second layer are more than seven.
    assert fewest_cores(problem) == 8


def test_axons_of_two_layers_on_one_source_count_once():
    # Both layers listen to the same four axons: one core holds all, and a bound that adds them would say two.
    pins = [(i, a) for i in range(4) for a in range(4)]
    problem = partition_problem((4, 4, 16), 4, pins, layer=np.array([0, 0, 1, 1]))
    assert fewest_cores(problem) == 1
    assert sum(int(group.demand[1, 1]) for group in group_demands(problem)) == 4


def test_dear_axons_and_impossible_neurons():
    pins = [(0, 0), (1, 1), (2, 2)]
    assert fewest_cores(partition_problem((3, 6, 9), 3, pins, axon_price=3)) == 2
    with pytest.raises(ValueError, match="does not fit"):
        fewest_cores(partition_problem((3, 6, 0), 3, pins))
