"""Demand, measure, emit and the run of a program, on a network mapped by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.emulate.engine import emulate
from nmap.program import Program
from nmap.simulate.fixed import simulate
from nmap.testing.networks import build, lif
from nmap_toy import TARGET
from nmap_toy.measure import measure
from tests.unit.toy.handmade import network, program, quantized

SLICES = [("a", ((0, 1),), 0), ("a", ((1, 2),), 1), ("b", ((0, 1),), 1)]


@pytest.fixture
def hand() -> Program:
    return program(quantized(network()), SLICES)


def test_demand_of_the_hand_made_slices(hand: Program) -> None:
    net = quantized(network())
    assert TARGET.demand(net, "a", ((0, 1),)) == {"neurons": 1, "axons": 3, "synapse_memory": 3}
    assert TARGET.demand(net, "a", ((0, 2),)) == {"neurons": 2, "axons": 3, "synapse_memory": 6}
    assert TARGET.demand(net, "b", ((0, 1),)) == {"neurons": 1, "axons": 2, "synapse_memory": 2}
    assert measure(hand) == ({"neurons": 1, "axons": 3, "synapse_memory": 3}, {"neurons": 2, "axons": 5, "synapse_memory": 5})


def test_listed_synapses_take_the_axons_they_use() -> None:
    weights = np.array([[1, 0, 2, 0], [0, 0, 3, 0], [0, 0, 0, 0]])
    net = quantized(build(
        "sparse.nir", {"input": ((4,), None), "a": ((3,), lif(3))}, [("input", "a", Sparse.from_dense(weights / 3), None, 0)]
    ))
    assert TARGET.demand(net, "a", ((0, 2),)) == {"neurons": 2, "axons": 2, "synapse_memory": 3}
    assert TARGET.demand(net, "a", ((1, 2),)) == {"neurons": 1, "axons": 1, "synapse_memory": 1}
    assert TARGET.demand(net, "a", ((2, 3),)) == {"neurons": 1, "axons": 0, "synapse_memory": 0}
    assert TARGET.demand_at_most(net, "a", (2,)) == {"neurons": 2, "axons": 2, "synapse_memory": 3}
    assert TARGET.demand_floor(net, "a") == {"neurons": 3.0, "axons": 2, "synapse_memory": 3}


def test_a_convolution_is_unrolled_without_its_padding() -> None:
    layer = Conv2d(np.ones((2, 1, 3, 3)), (1, 3, 3), padding=(1, 1))
    net = quantized(build("conv.nir", {"input": ((1, 3, 3), None), "a": ((2, 3, 3), lif(18))}, [("input", "a", layer, None, 0)]))
    # a corner sees 4 of its 9 taps, an edge 6, the middle all; the first row is 4 + 6 + 4 for each channel
    assert TARGET.demand(net, "a", ((0, 2), (0, 1), (0, 3))) == {"neurons": 6, "axons": 6, "synapse_memory": 28}
    assert TARGET.demand(net, "a", ((0, 1), (1, 2), (1, 2))) == {"neurons": 1, "axons": 9, "synapse_memory": 9}
    assert TARGET.demand_at_most(net, "a", (1, 1, 1)) == {"neurons": 1, "axons": 9, "synapse_memory": 9}
    assert TARGET.demand_floor(net, "a") == {"neurons": 18.0, "axons": 9.0, "synapse_memory": 98.0}


def test_every_piece_of_a_dense_population_repeats_its_axons() -> None:
    net = quantized(build("wide.nir", {"input": ((16,), None), "a": ((9,), lif(9))}, [("input", "a", Dense(np.ones((9, 16))), None, 0)]))
    # 64 slots hold 4 neurons of 16 synapses: 9 neurons need 3 pieces
    assert TARGET.demand_floor(net, "a") == {"neurons": 9.0, "axons": 48.0, "synapse_memory": 144.0}


def test_the_emulated_program_spikes_as_worked_out_by_hand(hand: Program) -> None:
    # a0 adds 7 for input 0 and 3 for input 1, spikes at 8; a1 adds -2, 5, 1; b adds 7 for a0 and -4 for a1, spikes at 8.
    # Sent in step 0: inputs 0 and 1. Steps 1 and 2: input 1. Every hop takes a step.
    inputs = np.array([[[1, 1, 0], [0, 1, 0], [0, 1, 0], [1, 1, 0], [1, 0, 0], [1, 0, 0]]], np.int32)
    trace = emulate(hand, TARGET.kernels, inputs, 9, record=("a", "b"))
    # a0: 0, 10 spike, 3, 6, 16 spike, 7, 14 spike; a1: 0, 3, 8 spike, 5, 8 spike, -2, -4
    assert trace.spikes["a"][0, :, 0].tolist() == [0, 1, 0, 0, 1, 0, 1, 0, 0]
    assert trace.spikes["a"][0, :, 1].tolist() == [0, 0, 1, 0, 1, 0, 0, 0, 0]
    # b: +7 at step 2, -4 at 3 (3), 7 - 4 at 5 (6), +7 at 7 (13, spike)
    assert trace.spikes["b"][0, :, 0].tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 0]
    again = simulate(quantized(network()), TARGET.kernels, inputs, 9, record=("a", "b"))
    for name in ("a", "b"):
        np.testing.assert_array_equal(again.spikes[name], trace.spikes[name])


def test_the_artefact_can_be_read(hand: Program) -> None:
    files = TARGET.emit(quantized(network()), hand)
    assert list(files) == ["program.txt"]
    assert files["program.txt"].decode() == """\
# toy:2x2, 2 cores; run 2 steps beyond the input
population input: shape [3], input, latency 0
population a: shape [2], hidden, latency 1
population b: shape [1], output, latency 2

input input
  0: to core 0 axon 0, core 1 axon 0
  1: to core 0 axon 1, core 1 axon 1
  2: to core 0 axon 2, core 1 axon 2

core 0: chip 0, core 0 at (0, 0); 1 neurons, 3 axons, 3 synapse memory
  neuron 0: a[0] bias 0 leak 0 threshold 8; starts at v 0; to core 1 axon 3
  axon 0: neuron 0 weight 7 delay 0
  axon 1: neuron 0 weight 3 delay 0
  axon 2: neuron 0 weight 0 delay 0

core 1: chip 0, core 1 at (1, 0); 2 neurons, 5 axons, 5 synapse memory
  neuron 0: a[1] bias 0 leak 0 threshold 8; starts at v 0; to core 1 axon 4
  neuron 1: b[0] bias 0 leak 0 threshold 8; starts at v 0; to nowhere
  axon 0: neuron 0 weight -2 delay 0
  axon 1: neuron 0 weight 5 delay 0
  axon 2: neuron 0 weight 1 delay 0
  axon 3: neuron 1 weight 7 delay 0
  axon 4: neuron 1 weight -4 delay 0
"""


def test_nothing_but_the_emulator_runs_it(tmp_path: Path) -> None:
    run = TARGET.run_vendor(tmp_path, np.zeros((1, 1, 3), np.int32), 3, 1.0)
    assert run.version is None
    assert run.missing
    assert run.spikes == {}
