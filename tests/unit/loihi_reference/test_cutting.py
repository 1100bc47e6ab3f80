"""The cuts against what the compiler's tables print: tiles, runs, allocations on the way, numbers of iterations.

Source: stored outputs of lava-dl's netx notebooks (tutorials/lava/lib/dl/netx: oxford/run, pilotnet_snn/benchmark,
pilotnet_sdnn/benchmark, mnist/run, yolo_kp/run). The demands are written out here from the published budget model.
"""

from __future__ import annotations

from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmap.partition.grid import CutProblem, Cutter, check_grid
from nmap_loihi_reference import PARTITIONER, LoihiReference
from nmap_loihi_reference.cutting import Rule

RESOURCES = ("neurons", "synapse_memory", "input_axons", "memory_words")
PLAIN = LoihiReference(rule=Rule())
"""The chip's caps alone: what a version of the compiler does when the caps are its own."""


def words(bits):
    return -(-bits // 64)


def dense(neurons, inputs, bits, synapses=16_000):
    """A dense layer, and the synapse memory of the whole runs that were asked for, in order."""
    asked = []

    def demand(extent):
        (n,) = extent
        memory = inputs * words(n * (12 + bits) + 10)
        asked.append((n, memory))
        return np.array([n, memory, inputs, memory + inputs + 2 * n])

    return CutProblem("dense", (neurons,), RESOURCES, np.array([4095, synapses, 16_000, 20_000]), demand), asked


def conv(shape, inputs, taps, bits, synapses=16_000):
    """A convolution: kernel rows shared by the neurons of a core, one word of axon map per pixel."""
    asked = []

    def demand(extent):
        channels, height, width = extent
        memory = inputs * taps * words(channels * bits + 10) if taps else 0
        asked.append((channels, memory))
        return np.array([prod(extent), memory, 2, memory + 2 + height * width + prod(extent)])

    return CutProblem("conv", shape, RESOURCES, np.array([4095, synapses, 16_000, 20_000]), demand), asked


# (channels, height, width), input channels, taps, weight bits; the printed tile as (x, y, channels) and cores; the caps of its version.
TILES = {
    "pilotnet input": ((3, 66, 200), 0, 0, 8, (16, 66, 3), 13, 12_000),
    "pilotnet lif 1": ((24, 32, 99), 3, 9, 5, (4, 32, 24), 25, 12_000),
    "pilotnet lif 2": ((36, 15, 49), 24, 9, 4, (4, 15, 36), 13, 12_000),
    "pilotnet lif 3": ((48, 7, 24), 36, 9, 4, (8, 7, 48), 3, 12_000),
    "pilotnet lif 4": ((64, 4, 22), 48, 9, 4, (8, 4, 64), 3, 12_000),
    "pilotnet lif 5": ((64, 2, 20), 64, 9, 4, (16, 2, 64), 2, 12_000),
    "pilotnet sdnn 1": ((24, 32, 99), 3, 9, 6, (4, 32, 24), 25, 12_000),
    "pilotnet sdnn 2": ((36, 15, 49), 24, 9, 5, (4, 15, 36), 13, 12_000),
    "pilotnet sdnn 3": ((48, 7, 24), 36, 9, 4, (8, 7, 48), 3, 12_000),
    "pilotnet sdnn 4": ((64, 4, 22), 48, 9, 5, (8, 4, 64), 3, 12_000),
    "pilotnet sdnn 5": ((64, 2, 20), 64, 9, 4, (16, 2, 64), 2, 12_000),
    "yolo 1": ((16, 224, 224), 3, 9, 5, (8, 28, 16), 224, 16_000),
    "yolo 2": ((32, 112, 112), 16, 9, 6, (8, 14, 32), 112, 16_000),
    "yolo 3": ((64, 56, 56), 32, 9, 5, (4, 14, 64), 56, 16_000),
    "yolo 4": ((128, 28, 28), 64, 9, 5, (4, 7, 128), 28, 16_000),
    "yolo 5": ((256, 28, 28), 128, 9, 5, (4, 7, 128), 56, 16_000),
    "yolo 6": ((256, 14, 14), 256, 9, 4, (8, 7, 64), 16, 16_000),
    "yolo 7": ((512, 14, 14), 256, 9, 5, (8, 7, 64), 32, 16_000),
    "yolo 8": ((256, 14, 14), 512, 1, 5, (2, 7, 256), 14, 16_000),
    "yolo 9": ((512, 14, 14), 256, 9, 5, (8, 7, 64), 32, 16_000),
    "yolo 10": ((48, 14, 14), 512, 1, 6, (4, 14, 48), 4, 16_000),
}


@pytest.mark.parametrize("name", TILES)
@pytest.mark.parametrize("both", [False, True], ids=["its version", "both versions"])
def test_tiles_are_those_printed(name, both):
    shape, inputs, taps, bits, printed, cores, cap = TILES[name]
    problem, _ = conv(shape, inputs, taps, bits, 16_000 if both else cap)
    grid = (PARTITIONER if both else PLAIN).cut(problem)
    largest = tuple(max(stop - start for start, stop in parts) for parts in reversed(grid))
    # A printed width is that of a whole tile, which may reach over the edge.
    assert largest == (min(printed[0], shape[2]), *printed[1:])
    assert prod(map(len, grid)) == cores


# (neurons, inputs, weight bits), the cap; the violations printed on the way; cores, and mean synapse memory per core as printed.
RUNS = {
    "oxford 0": ((256, 200, 8), 12_000, [16_200] * 4 + [16_000], 3, 5400),
    "oxford 1": ((200, 256, 8), 12_000, [16_128] * 5, 2, 8064),
    "pilotnet lif 7": ((100, 2560, 3), 12_000, [61_440] * 3 + [12_800], 12, 7253),
    "pilotnet sdnn 7": ((100, 2560, 4), 12_000, [66_560] * 3 + [12_800], 12, 7253),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_way_to_the_runs_is_the_one_printed(name):
    (neurons, inputs, bits), cap, violations, cores, mean = RUNS[name]
    problem, asked = dense(neurons, inputs, bits, cap)
    ((*runs,),) = PLAIN.cut(problem)
    assert [memory for _, memory in asked if memory > cap] == violations
    assert len(runs) == cores
    assert sum(inputs * words((stop - start) * (12 + bits) + 10) for start, stop in runs) // cores == mean


def test_mnist_converges_after_as_many_iterations_as_printed():
    """Five: 128 neurons whole at limits 4095, 1365, 455, 151; runs of 50 then, as printed (1.22 % of 4095 neurons, 12 544 words)."""
    problem, asked = dense(128, 784, 8)
    ((*runs,),) = PLAIN.cut(problem)
    assert len(asked) == 5
    assert asked[-1] == (50, 12_544)
    assert [stop - start for start, stop in runs] == [50, 50, 28]


def test_yolo_converges_after_as_many_iterations_as_printed():
    """Three, of the layer that takes longest: 512, 128, 64 channels."""
    rounds = []
    for name, (shape, inputs, taps, bits, *_) in TILES.items():
        if name.startswith("yolo"):
            problem, asked = conv(shape, inputs, taps, bits)
            PLAIN.cut(problem)
            rounds.append(len(asked))
    assert max(rounds) == 3


@pytest.mark.parametrize(("most", "same"), [(13_826, True), (15_359, True), (13_825, False), (15_360, False)])
def test_the_fitted_limit_has_the_margin_that_is_told(most, same):
    """The largest accepted core holds 13 824 words and 2 axons (YOLO-KP), the smallest divided one 12 800 and 2560 (PilotNet)."""
    cutter = LoihiReference(rule=Rule(divisor=12_000, most=most))
    yolo = conv(*TILES["yolo 7"][:4])[0]
    pilot = dense(100, 2560, 3)[0]
    parts = [prod(map(len, cutter.cut(problem))) for problem in (yolo, pilot)]
    tile = max(stop - start for start, stop in cutter.cut(yolo)[0])
    assert ((tile, parts[1]) == (64, 12)) is same


def test_caps_of_one_version_do_not_explain_the_other():
    assert len(PLAIN.cut(dense(256, 200, 8, 16_000)[0])[0]) == 2  # 3 are published
    assert len(PLAIN.cut(dense(128, 784, 8, 12_000)[0])[0]) == 6  # 3 are published


def test_a_neuron_that_only_the_core_takes_is_cut_by_the_core():
    """9000 inputs: 9000 words and 9000 axons are beyond the rule's 14 000 for a single neuron, within the core's 20 000."""
    problem, _ = dense(5, 9000, 8)
    grid = PARTITIONER.cut(problem)
    check_grid(problem, grid)
    # Three neurons take two words per axon, which is too much; the limits are 4095, 2047, ..., 7, 3, 1.
    assert len(grid[0]) == 5


def test_zeros_count_unless_not_even_one_neuron_fits_with_them():
    """Lists of ten words a neuron; in a matrix it takes 2000 words, so that runs of 4 fit (limits 4095, 240, 14, 4), or 30 000: none."""

    def listed(extent):
        return np.array([extent[0], 10 * extent[0], 10, 10 * extent[0]])

    def matrix(inputs):
        return lambda extent: np.array([extent[0], inputs * extent[0], 10, inputs * extent[0]])

    capacity = np.array([4095, 16_000, 16_000, 20_000])
    for inputs, cores in ((2000, 25), (30_000, 1)):
        problem = CutProblem("lists", (100,), RESOURCES, capacity, listed, matrix(inputs))
        assert len(PARTITIONER.cut(problem)[0]) == cores


def test_chips_with_other_resources_are_cut_by_their_capacity():
    """Ten units a core, two a neuron: 40 neurons overflow eight times, so that five fit."""
    problem = CutProblem("list", (40,), ("slots",), np.array([10]), lambda extent: np.array([2 * prod(extent)]))
    assert PARTITIONER.cut(problem) == (tuple((start, start + 5) for start in range(0, 40, 5)),)


def test_maps_of_two_and_of_four_dimensions_are_cut():
    def demand(extent):
        return np.array([prod(extent)])

    plane = CutProblem("plane", (6, 8), ("neurons",), np.array([16]), demand)
    # Six rows of two and three of four columns need four cores, two of eight three.
    assert PARTITIONER.cut(plane) == (((0, 2), (2, 4), (4, 6)), ((0, 8),))
    stack = CutProblem("stack", (2, 1, 4, 4), ("neurons",), np.array([16]), demand)
    assert PARTITIONER.cut(stack) == (((0, 1), (1, 2)), ((0, 1),), ((0, 4),), ((0, 4),))


def test_it_is_a_cutter():
    assert isinstance(PARTITIONER, Cutter)


@given(
    shape=st.one_of(st.tuples(st.integers(1, 300)), st.tuples(st.integers(1, 24), st.integers(1, 20), st.integers(1, 20))),
    neurons=st.integers(1, 200), synapses=st.integers(1, 3000), axons=st.integers(1, 60), per_neuron=st.integers(0, 20),
    shared=st.booleans(), most=st.one_of(st.none(), st.integers(1, 500)),
)
def test_every_cut_covers_its_population_and_fits(shape, neurons, synapses, axons, per_neuron, shared, most):
    """Whatever one neuron fits is cut; the same question has the same answer."""
    inputs = min(axons, 30)

    def demand(extent):
        listed = extent[0] if shared else prod(extent)
        memory = min(inputs * words(max(1, per_neuron * listed)), 10**9)
        return np.array([prod(extent), memory, inputs])

    problem = CutProblem("any", shape, RESOURCES[:3], np.array([neurons, max(synapses, inputs), max(axons, inputs)]), demand)
    cutter = LoihiReference(rule=Rule(divisor=most, most=most))
    grid = cutter.cut(problem)
    check_grid(problem, grid)
    assert grid == cutter.cut(problem)
