"""Neurons with two dendritic inputs and accumulators that wrap: emulator and reference against sums written out here."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import carray

from nmap.compile import build_program
from nmap.compiled import native
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.diagnostics import NmapError
from nmap.emulate.engine import emulate
from nmap.emulate.kernel import STEP
from nmap.mapping import Mapping, Shard
from nmap.network import Provenance
from nmap.pointers import int32_at
from nmap.program import Core, Program, read_program, write_program
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.simulate.fixed import simulate
from nmap.target.machine import Machine
from nmap.trace import Probe

HERE = Provenance("net.h5", "/")
STEPS, SAMPLES, SIZE = 9, 3, 6


@native(STEP)
def pair(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def]
    kept, arrived, out = carray(int32_at(state), (2, n)), carray(int32_at(dendrite), (2, n)), carray(int32_at(sent), n)
    for k in range(first, last):
        kept[0, k], kept[1, k] = arrived[0, k], arrived[1, k]
        out[k] = arrived[0, k] - arrived[1, k]


class Pair:
    """Keeps both inputs of a step and sends their difference."""

    name, params, state, receptors, graded, step = "pair", (), ("first", "second"), 2, True, pair

    def constants(self, params: Any) -> Any:
        return np.zeros((0, 0), np.int32)

    def reference_step(self, params: Any, state: Any, dendrite: Any, step: int) -> Any:
        del params, step
        state["first"], state["second"] = np.split(dendrite, 2, axis=-1)
        return state["first"] - state["second"]


KERNELS = {"pair": Pair()}


def wrapped(value: int, bits: int) -> int:
    """The low bits of a Python integer, read in two's complement."""
    if bits == 0:
        return value
    low = value & ((1 << bits) - 1)
    return low - (1 << bits) if low >> (bits - 1) else low


def network(exponent: int, accumulator: int, loop: bool) -> QuantizedNetwork:
    rng = np.random.default_rng([exponent + 9, accumulator])

    def weights(*shape: int) -> np.ndarray:
        return rng.integers(-200, 200, shape).astype(np.int32)

    def form(message_bits: int = 16) -> SynapseFormat:
        return SynapseFormat(8, exponent, "mixed", message_bits, accumulator)

    conv = Conv2d(weights(2, 2, 1, 2), (2, 1, 4))
    sparse = Sparse.from_dense(weights(SIZE, 8) * (rng.random((SIZE, 8)) < 0.6))
    projections = [
        QuantizedProjection("dense", "in", "a", Dense(weights(SIZE, 8)), form(), 0, HERE, rng.integers(0, 3, (SIZE, 8)), 1),
        QuantizedProjection("sparse", "in", "a", sparse, form(), 1, HERE, None, 0),
        QuantizedProjection("conv", "in", "a", conv, form(), 0, HERE, None, 1),
        QuantizedProjection("binary", "in", "a", Dense(weights(SIZE, 8)), form(0), 2, HERE, None, 0),
    ]
    if loop:
        projections.append(QuantizedProjection("loop", "a", "a", Dense(weights(SIZE, SIZE)), form(), 0, HERE, None, 1))
    populations = (QuantizedPopulation("in", (2, 1, 4), None, {}, HERE), QuantizedPopulation("a", (2, 1, 3), "pair", {}, HERE))
    return QuantizedNetwork(populations, tuple(projections), ("in",), ("a",))


def mapped(net: QuantizedNetwork) -> Program:
    spec = type("Spec", (), {"name": "x", "resources": {}})()
    shards = (Shard("a", ((0, 1), (0, 1), (0, 3)), 0, {}), Shard("a", ((1, 2), (0, 1), (0, 3)), 1, {}))
    return build_program(net, "x", Mapping(Machine(spec, "x", 1, ()), shards, (Core(0, 0, 0, 0), Core(0, 1, 0, 1)), None, None, False))


def by_hand(net: QuantizedNetwork, inputs: np.ndarray) -> np.ndarray:
    """(samples, steps, 2, SIZE): what each neuron's inputs receive, synapse by synapse in Python's integers."""
    received = np.zeros((SAMPLES, STEPS, 2, SIZE), np.int64)
    for sample in range(SAMPLES):
        sent = {"in": inputs[sample].tolist(), "a": []}
        for step in range(STEPS):
            for p in net.projections:
                for target in range(SIZE):
                    sums: dict[int, int] = {}
                    for source, weight, extra in synapses(p, target):
                        at = step - 1 - p.delay - extra
                        if at >= 0:
                            payload = sent[p.source][at][source]
                            sums[extra] = sums.get(extra, 0) + weight * (payload if p.format.message_bits else int(payload != 0))
                    for total in sums.values():
                        held = wrapped(total, p.format.accumulator)
                        held = held * 2**p.format.exponent if p.format.exponent > 0 else held // 2**-p.format.exponent
                        place = (sample, step, p.receptor, target)
                        received[place] = wrapped(int(received[place]) + wrapped(held, p.format.accumulator), 32)
            sent["a"].append((received[sample, step, 0] - received[sample, step, 1]).astype(np.int32).tolist())
    return received


def synapses(p: QuantizedProjection, target: int) -> list[tuple[int, int, int]]:
    c = p.connectivity
    if isinstance(c, Dense):
        return [(k, int(c.weights[target, k]), 0 if p.delays is None else int(p.delays[target, k])) for k in range(c.in_size)]
    if isinstance(c, Sparse):
        return [(int(c.indices[k]), int(c.weights[k]), 0) for k in range(c.indptr[target], c.indptr[target + 1])]
    channel, place = divmod(target, 3)
    return [(4 * i + place + tap, int(c.weights[channel, i, 0, tap]), 0) for i in range(2) for tap in range(2)]


@pytest.mark.parametrize("loop", [False, True])
@pytest.mark.parametrize(("exponent", "accumulator"), [(0, 0), (0, 12), (2, 14), (-3, 13), (7, 32)])
def test_both_levels_equal_the_sums_by_hand(exponent, accumulator, loop, tmp_path):
    net = network(exponent, accumulator, loop)
    # With a loop the sums grow without end, and payloads have 32 bits: few enough steps keep them inside.
    inputs = np.random.default_rng(4).integers(-40, 41, (SAMPLES, STEPS, 8)) * (np.arange(STEPS) < (3 if loop else STEPS))[:, None]
    write_program(mapped(net), tmp_path / "program.h5")
    program = read_program(tmp_path / "program.h5")
    expected = by_hand(net, inputs)
    probes = (Probe("a", "first"), Probe("a", "second"))
    fixed = simulate(net, KERNELS, inputs.reshape(SAMPLES, STEPS, 2, 1, 4), STEPS, record=["a"], probes=probes)
    chip = emulate(program, KERNELS, inputs.reshape(SAMPLES, STEPS, 2, 1, 4), STEPS, record=["a"], probes=probes)
    for trace in (fixed, chip):
        np.testing.assert_array_equal(trace.state["a.first"], expected[:, :, 0])
        np.testing.assert_array_equal(trace.state["a.second"], expected[:, :, 1])
    np.testing.assert_array_equal(fixed.spikes["a"], chip.spikes["a"])


def test_the_sums_of_this_file_do_wrap():
    net = network(0, 12, False)
    inputs = np.random.default_rng(4).integers(-40, 41, (SAMPLES, STEPS, 8))
    held = by_hand(net, inputs)
    for p in net.projections:
        object.__setattr__(p, "format", SynapseFormat(8, 0, "mixed", p.format.message_bits, 0))
    assert np.mean(by_hand(net, inputs) != held) > 0.3


def test_a_receptor_that_the_neurons_do_not_have_is_refused():
    net = network(0, 0, False)
    object.__setattr__(net.projections[0], "receptor", 2)
    with pytest.raises(NmapError) as caught:
        emulate(mapped(net), KERNELS, np.zeros((1, 2, 2, 1, 4), np.int64), 2)
    assert "receptor 2, which its neurons do not have" in str(caught.value.diagnostics[0].why)
