"""The memory formulas against the published tables of Intel's Loihi 2 compiler (lava-dl netx notebooks)."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from nmap.connectivity import Dense, Sparse
from nmap.program import ConvTile, Core, NeuronGroup, Program, ProgramPopulation, Routes, SynapseBlock
from nmap_loihi2 import TARGET
from nmap_loihi2.measure import axon_list_words, block_words, kernel_words, measure, stored_bits, total_words
from tests.golden.published import yolo_kp
from tests.support import shared_data

# network, AxonIn, Neurons, SynMem, AxonMap, AxonMem, Total: percent of each cap per core, as printed.
ROWS = [
    ("mnist", 0.40, 0.24, 1.60, 0.06, 0.00, 1.71),
    ("mnist", 0.80, 1.56, 16.80, 0.40, 0.00, 14.72),
    ("mnist", 4.90, 1.22, 78.40, 0.31, 0.00, 67.14),
    ("yolo", 0.01, 65.64, 19.20, 16.80, 0.00, 42.26),
    ("yolo", 0.01, 87.52, 86.40, 0.35, 0.17, 87.47),
    ("yolo", 0.01, 87.52, 67.20, 0.09, 0.35, 72.04),
    ("yolo", 0.01, 87.52, 86.40, 0.35, 0.35, 87.61),
    ("yolo", 0.01, 87.52, 72.00, 0.35, 2.80, 78.05),
    ("yolo", 0.01, 87.52, 79.20, 0.17, 0.17, 81.57),
    ("yolo", 0.01, 87.52, 39.60, 0.17, 0.35, 50.03),
    ("yolo", 0.01, 87.52, 10.80, 0.35, 0.17, 26.99),
    ("yolo", 0.01, 87.52, 3.60, 0.70, 0.35, 21.65),
    ("yolo", 0.01, 87.52, 0.34, 1.40, 0.70, 19.88),
]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}-{row[-1]}")
def test_total_reproduces_the_printed_column(row):
    _, axon_in, neurons, syn_mem, axon_map, axon_mem, printed = row
    caps = {name: resource.max for name, resource in TARGET.spec.resources.items()}
    words = total_words(
        round(axon_in / 100 * caps["input_axons"]), round(syn_mem / 100 * caps["synapse_memory"]), round(axon_map / 100 * caps["axon_map"]),
        round(axon_mem / 100 * caps["axon_words"]), round(neurons / 100 * caps["neurons"]),
    )
    # Each printed part is rounded to 0.005 points, of four caps of 16000 words.
    assert 100 * words / caps["memory_words"] == pytest.approx(printed, abs=0.02)


# Layer of YOLO-KP, tile that gives the row's neurons and cores: 3584 or 2688 neurons, the channels x height x width of ROWS in turn.
TILES = [
    (9, (48, 4, 14)), (8, (64, 4, 14)), (7, (256, 1, 14)), (6, (64, 4, 14)), (5, (64, 4, 14)), (4, (128, 1, 28)), (3, (128, 1, 28)),
    (2, (64, 1, 56)), (1, (32, 1, 112)), (0, (16, 1, 224)),
]


@pytest.mark.parametrize(("row", "tile"), list(zip(ROWS[3:], TILES, strict=True)), ids=[f"layer{layer}" for layer, _ in TILES])
def test_rows_of_yolo_are_reproduced(row, tile):
    """The axon map has a word per position where convolutions read a layer, and one per neuron of the output."""
    (_, axon_in, neurons, syn_mem, axon_map, axon_mem, total), (layer, extent) = row, tile
    need = TARGET.demand(yolo_kp(), f"layer{layer}", tuple((0, size) for size in extent))
    assert need == TARGET.demand_at_most(yolo_kp(), f"layer{layer}", extent)
    share = {name: 100 * amount / TARGET.spec.resources[name].max for name, amount in need.items()}
    assert share["neurons"] == pytest.approx(neurons, abs=0.0051)
    assert share["axon_map"] == pytest.approx(axon_map, abs=0.0051)
    assert share["input_axons"] == pytest.approx(axon_in, abs=0.0051)
    if layer < 9:
        # The output's rows of 48 channels take 6 words, as with 7 bits per weight: neither the 6 of this network nor the 8 of nmap's 7.
        assert share["synapse_memory"] == pytest.approx(syn_mem, abs=0.0051)
    # 16 000 words are 80 % of the pool. Of the axon memory nmap counts nothing.
    assert share["memory_words"] - 0.8 * share["synapse_memory"] == pytest.approx(total - 0.8 * (syn_mem + axon_mem), abs=0.02)


@pytest.mark.parametrize(("targets", "words"), [(10, 4), (64, 21), (50, 16), (256, 81), (200, 63)])
def test_dense_figures_at_8_bits(targets, words):
    assert int(axon_list_words(targets, 8)) == words


def bits_of(weights: np.ndarray) -> int:
    """Weight bits by lava-dl's published rule (`optimize_weight_bits`)."""
    w = weights.astype(int)
    mixed = int(w.min() < 0 <= w.max())
    if mixed:
        scale = min(127 / w.max() if w.max() > 0 else np.inf, -128 / w.min())
    else:
        scale = -256 / w.min() if w.max() < 0 else 255 / w.max()
    left = int(np.floor(np.log2(scale))) + mixed
    even = max(k for k in range(9) if not (w % 2**k).any())
    return 8 - left - (even - mixed)


@pytest.mark.parametrize(("file", "figures"), [
    ("pilotnet_lif.net", {7: (100, 24), 8: (50, 13), 9: (10, 3), 10: (1, 1)}),
    ("pilotnet_sdnn.net", {7: (100, 26), 8: (50, 15), 9: (10, 3), 10: (1, 1)}),
])
def test_dense_figures_of_pilotnet(file, figures):
    with h5py.File(shared_data() / "lava_dl" / file, "r") as net:
        # The last layer's matrix has one row and is stored without it.
        weights = {k: np.atleast_2d(net[f"layer/{k}/weight"][()]) for k in figures}
    for k, (targets, words) in figures.items():
        assert weights[k].shape[0] == targets
        assert int(axon_list_words(targets, bits_of(weights[k]))) == words, f"layer {k}"


def test_seven_bits_take_the_space_of_eight():
    assert [stored_bits(bits) for bits in range(1, 9)] == [1, 2, 3, 4, 5, 6, 8, 8]


def test_an_axon_without_synapses_takes_nothing():
    assert axon_list_words(np.array([0, 1, 3]), 4).tolist() == [0, 1, 1]
    assert kernel_words(np.array([0, 13, 14]), 4).tolist() == [0, 1, 2]


def synapse_block(synapses, bits=8):
    return SynapseBlock(0, 0, 0, synapses, None, 0, 0, 0, bits, "mixed")


def tile(out_channels, in_channels, c_in, c_out, groups):
    low, high = out_channels
    return ConvTile(
        np.zeros((high - low, c_in // groups, 3, 2)), (c_in, 5, 5), (c_out, 3, 4), (in_channels, (0, 5), (0, 5)),
        (out_channels, (0, 3), (0, 4)), (1, 1), (0, 0), (1, 1), groups,
    )


def test_blocks():
    # Per axon 3 * (12 + 8) + 10 = 70 bits: 2 words.
    assert block_words(synapse_block(Dense(np.zeros((3, 7), np.int32)))) == 7 * 2
    # Axons with 0, 1, 2, 3 synapses of 20 bits and a header of 10: 0, 30, 50, 70 bits.
    listed = Sparse(np.array([0, 3, 5, 6]), np.array([1, 2, 3, 2, 3, 3]), np.ones(6, np.int32), 4)
    assert block_words(synapse_block(listed)) == 0 + 1 + 1 + 2
    # 8 channels of 8 bits and a header: 74 bits, 2 words for each of 4 input channels and 6 taps.
    assert block_words(synapse_block(tile((0, 8), (0, 4), 4, 8, 1))) == 4 * 6 * 2
    # 2 groups of 4 channels: 42 bits, 1 word; the half tile of channels 2..4 lies in group 0 and hears channels 0, 1 only.
    assert block_words(synapse_block(tile((0, 8), (0, 4), 4, 8, 2))) == 4 * 6 * 1
    assert block_words(synapse_block(tile((2, 4), (0, 2), 4, 8, 2))) == 2 * 6 * 1


def test_measure_adds_up_a_core():
    def group(core, population, n):
        return NeuronGroup(core, population, ((0, n),), "loihi2.lif", {}, {})

    def block(core, number, axon, synapses):
        return SynapseBlock(core, number, axon, synapses, None, 0, 0, 0, 8, "mixed")

    program = Program(
        "loihi2", "oheo-gulch", tuple(ProgramPopulation(n, (s,), 0, n == "in", n == "b") for n, s in (("in", 784), ("a", 50), ("b", 10))),
        (Core(0, 0, 0, 0), Core(0, 0, 0, 1), Core(0, 0, 0, 2)),
        (group(0, 1, 50), group(1, 2, 10), group(1, 2, 10)),
        (
            block(0, 0, 0, Dense(np.zeros((50, 784), np.int32))), block(1, 1, 0, Dense(np.zeros((10, 64), np.int32))),
            block(1, 2, 64, Dense(np.zeros((10, 64), np.int32))),
        ),
        tuple(Routes([0], [], []) for _ in range(3)),
    )
    # The first core is the published one of netx/mnist's first layer: 784 axons, 50 neurons, 12544 words, 67.14 % in total.
    first, second, idle = measure(program)
    assert first == {
        "neurons": 50, "neuron_groups": 1, "synapse_memory": 12544, "input_axons": 784, "axon_map": 50, "axon_words": 0,
        "memory_words": 13428,
    }
    assert 100 * first["memory_words"] / 20000 == pytest.approx(67.14, abs=0.005)
    assert (second["neurons"], second["neuron_groups"], second["synapse_memory"], second["input_axons"]) == (20, 2, 512, 128)
    assert set(idle.values()) == {0}
    assert set(first) == set(TARGET.spec.resources)


def test_states_and_delayed_convolutions():
    """A resonator's two variables fit one word, ATRLIF's four take two; a delayed convolution is a list, not a row of kernels."""
    def group(population, kernel):
        return NeuronGroup(0, population, ((0, 2), (0, 2), (0, 3)), kernel, {}, {})

    whole = ((0, 2), (0, 2), (0, 3))
    feed = ConvTile(np.ones((2, 1, 1, 1)), (2, 2, 3), (2, 2, 3), whole, whole, (1, 1), (0, 0), (1, 1), 2)
    program = Program(
        "loihi2", "oheo-gulch", tuple(ProgramPopulation(n, (2, 2, 3), 0, n == "in", n == "b") for n in ("in", "a", "b")),
        (Core(0, 0, 0, 0),), (group(1, "loihi2.rf"), group(2, "loihi2.atrlif")),
        (
            SynapseBlock(0, 0, 0, feed, None, 3, 0, 0, 8, "excitatory"), SynapseBlock(0, 1, 12, feed, None, 0, 0, 0, 8, "excitatory"),
        ),
        tuple(Routes([0] * 13, [], []) for _ in range(2)),
    )
    # 12 sources of ceil((12 + 8 + 10) / 64) words and axons; 2 rows and 2 axons; 12 + 24 words of state. The axon map has one for each of
    # the 2 x 3 positions of a, which no list reads, and of each of b's 12 neurons, an output.
    assert measure(program) == ({
        "neurons": 24, "neuron_groups": 2, "synapse_memory": 12 + 2, "input_axons": 12 + 2, "axon_map": 6 + 12, "axon_words": 0,
        "memory_words": 14 + 14 + 18 + 12 + 24,
    },)
