"""What a stored Loihi 1 program takes, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Dense, Sparse
from nmap.program import ConvTile, Core, NeuronGroup, Program, ProgramPopulation, Routes, SynapseBlock
from nmap_loihi2.loihi1 import TARGET
from nmap_loihi2.measure import axon_list_words, block_words, measure
from nmap_loihi2.memory import LOIHI1


def block(synapses, bits=8, *, core=0, group=0, axon=0, delays=None, delay=0, exponent=0, sign="mixed"):
    return SynapseBlock(core, group, axon, synapses, delays, delay, exponent, 0, bits, sign)


@pytest.mark.parametrize(("synapses", "bits", "dense", "delayed", "words"), [
    # Runs of 64 behind 10 bits: 8-bit weights without index: 522 bits; 10 bits of index: 1162; 6 of delay: 906 and 1546.
    (64, 8, True, False, 9), (64, 8, False, False, 19), (64, 8, True, True, 15), (64, 8, False, True, 25),
    (128, 8, True, False, 18), (130, 8, True, False, 19), (3, 7, True, False, 1), (7, 7, True, False, 2), (0, 8, False, False, 0),
])
def test_words_of_a_list(synapses, bits, dense, delayed, words):
    assert int(axon_list_words(synapses, bits, LOIHI1, dense=dense, delayed=delayed)) == words


def test_blocks():
    assert block_words(block(Dense(np.zeros((64, 7), np.int32))), LOIHI1) == 7 * 9
    assert block_words(block(Dense(np.zeros((64, 7), np.int32)), delay=1), LOIHI1) == 7 * 15
    # Axons with 0, 1, 3 and 4 synapses of 18 bits: 0, 28, 64 and 82 bits.
    listed = Sparse(np.array([0, 3, 5, 7, 8]), np.array([1, 2, 3, 2, 3, 2, 3, 3]), np.ones(8, np.int32), 4)
    assert block_words(block(listed), LOIHI1) == 0 + 1 + 1 + 2
    assert block_words(block(listed, delays=np.zeros(8, np.int64)), LOIHI1) == 0 + 1 + 2 + 2
    # 2 channels of 1 x 4 outputs from 1 x 9 sources, 3 taps at stride 2: sources 0, 1, 3, 5, 7, 8 reach one place, 2, 4, 6 two.
    tile = ConvTile(
        np.zeros((2, 1, 1, 3)), (1, 1, 9), (2, 1, 4), ((0, 1), (0, 1), (0, 9)), ((0, 2), (0, 1), (0, 4)), (1, 2), (0, 0), (1, 1), 1,
    )
    assert block_words(block(tile), LOIHI1) == 6 * 1 + 3 * 2
    # 46 and 82 bits; in tables of Loihi 2 the three taps share one row each.
    assert block_words(block(tile)) == 3


def program(**changes):
    """Three neurons on core 0 that drive two each on cores 1 and 2."""
    def group(core, population, part, vth, du):
        n = part[0][1] - part[0][0]
        values = {"du": du, "dv": [0] * n, "vth": vth, "bias_mant": [0] * n, "bias_exp": [0] * n}
        return NeuronGroup(core, population, part, "loihi1.lif", {k: np.array(v) for k, v in values.items()}, {})

    made = Program(
        "loihi1", "single", tuple(ProgramPopulation(n, (s,), 0, n == "in", n == "b") for n, s in (("in", 5), ("a", 3), ("b", 4))),
        (Core(0, 0, 0, 0), Core(0, 0, 0, 1), Core(0, 0, 0, 2)),
        (
            group(0, 1, ((0, 3),), [1, 1, 2], [7, 8, 8]), group(1, 2, ((0, 2),), [1, 1], [0, 0]), group(2, 2, ((2, 4),), [1, 9], [0, 0]),
        ),
        (
            block(Dense(np.zeros((3, 5), np.int32))),
            block(Dense(np.zeros((2, 3), np.int32)), core=1, group=1), block(Dense(np.zeros((2, 3), np.int32)), core=2, group=2),
            block(Dense(np.zeros((2, 2), np.int32)), 5, core=1, group=1, axon=3),
        ),
        (Routes([0, 2, 4, 6], [1, 2] * 3, [0, 0, 1, 1, 2, 2]), Routes([0, 1, 2], [1, 1], [3, 4]), Routes([0, 0, 0], [], [])),
        {0: Routes(np.arange(6), [0] * 5, np.arange(5))},
    )
    return replace(made, **changes)


def test_measure_adds_up_cores():
    first, second, third = measure(program())
    # 5 axons of 34 bits; 6 output axons; two pairs of decays, two thresholds.
    assert first == {
        "neurons": 3, "synapse_memory": 5, "input_axons": 5, "output_axons": 6, "compartment_configs": 2, "threshold_configs": 2,
        "synapse_formats": 1,
    }
    # The second population has two thresholds and two formats, and its cores are charged with both.
    assert second == {
        "neurons": 2, "synapse_memory": 3 + 2, "input_axons": 5, "output_axons": 2, "compartment_configs": 1, "threshold_configs": 2,
        "synapse_formats": 2,
    }
    assert third == {
        "neurons": 2, "synapse_memory": 3, "input_axons": 3, "output_axons": 0, "compartment_configs": 1, "threshold_configs": 2,
        "synapse_formats": 2,
    }
    assert list(first) == list(TARGET.spec.resources)


def test_more_sets_than_a_table_holds_count_by_neuron():
    groups = program().groups
    params = {name: np.zeros(12, np.int64) for name in groups[0].params} | {"vth": np.arange(12) % 9, "du": np.arange(12) % 9}
    wide = NeuronGroup(0, 1, ((0, 12),), "loihi1.lif", params, {})
    blocks = (block(Dense(np.zeros((12, 5), np.int32))), *program().blocks[1:])
    made = program(groups=(wide, *groups[1:]), blocks=blocks)
    # Nine thresholds are more than 8: one per neuron; nine pairs of decays are not more than 32.
    assert (measure(made)[0]["threshold_configs"], measure(made)[0]["compartment_configs"]) == (12, 9)


def test_a_program_without_parameters_is_measured_all_the_same():
    """Other checks say what is wrong with it."""
    bare = tuple(replace(group, params={}) for group in program().groups)
    assert [core["neurons"] for core in measure(program(groups=bare))] == [3, 2, 2]
