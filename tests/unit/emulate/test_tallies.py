"""State variables that count: emulator, reference, and what a user is told of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import carray

from nmap.compile import build_program
from nmap.compiled import native
from nmap.connectivity import Dense
from nmap.emulate.engine import Emulator
from nmap.emulate.kernel import STEP, Counted, counters
from nmap.mapping import Mapping, Shard
from nmap.network import Provenance
from nmap.pointers import int32_at, uint8_at
from nmap.program import Core, Program
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.simulate.fixed import simulate
from nmap.target.machine import Machine
from nmap.verify.tallies import told_tallies

HERE = Provenance("net.h5", "/")
SIZE, STEPS, SAMPLES = 10, 12, 7


@native(STEP)
def limited(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def]
    kept, arrived, out = carray(int32_at(state), (3, n)), carray(int32_at(dendrite), n), carray(uint8_at(sent), n)
    for k in range(first, last):
        kept[0, k] = min(arrived[k], np.int32(5))
        kept[1, k] += np.int32(arrived[k] > 5)
        kept[2, k] += np.int32(arrived[k] > 9)
        out[k] = kept[0, k] > 3


class Limited:
    """Cuts what arrives at 5, and counts how often it was above 5, and above 9."""

    name, params, state, receptors, graded, step = "limited", (), ("v", "cut", "far"), 1, False, limited
    counters = {"cut": Counted("a sum was cut at 5", "send less"), "far": Counted("a sum was above 9", "send less")}  # noqa: RUF012 - as a dataclass's property

    def constants(self, params: Any) -> Any:
        return np.zeros((0, 0), np.int32)

    def reference_step(self, params: Any, state: Any, dendrite: Any, step: int) -> Any:
        del params, step
        state["v"] = np.minimum(dendrite, 5)
        state["cut"] = state["cut"] + (dendrite > 5)
        state["far"] = state["far"] + (dendrite > 9)
        return (state["v"] > 3).astype(np.int64)


KERNELS = {"limited": Limited()}


def network() -> QuantizedNetwork:
    rng = np.random.default_rng(3)
    form = SynapseFormat(8)
    populations = (
        QuantizedPopulation("in", (8,), None, {}, HERE), QuantizedPopulation("a", (SIZE,), "limited", {}, HERE),
        QuantizedPopulation("b", (4,), "limited", {}, HERE),
    )
    projections = (
        QuantizedProjection("f", "in", "a", Dense(rng.integers(0, 4, (SIZE, 8)).astype(np.int32)), form, 0, HERE),
        QuantizedProjection("r", "a", "a", Dense(rng.integers(-2, 3, (SIZE, SIZE)).astype(np.int32)), form, 0, HERE),
        QuantizedProjection("o", "a", "b", Dense(rng.integers(-3, 4, (4, SIZE)).astype(np.int32)), form, 1, HERE),
    )
    return QuantizedNetwork(populations, projections, ("in",), ("b",))


def mapped(net: QuantizedNetwork) -> Program:
    spec = type("Spec", (), {"name": "x", "resources": {}})()
    shards = (Shard("a", ((0, 4),), 0, {}), Shard("a", ((4, SIZE),), 1, {}), Shard("b", ((0, 4),), 1, {}))
    return build_program(net, "x", Mapping(Machine(spec, "x", 1, ()), shards, (Core(0, 0, 0, 0), Core(0, 1, 0, 1)), None, None, False))


@pytest.mark.parametrize(("jobs", "team"), [(1, 1), (3, 1), (1, 2)])
def test_counts_of_all_samples_are_added_up(jobs: int, team: int) -> None:
    net = network()
    inputs = (np.random.default_rng(4).random((SAMPLES, STEPS, 8)) < 0.6).astype(np.uint8)
    emulator = Emulator(mapped(net), KERNELS, team)
    found = emulator.run(inputs, STEPS, jobs=jobs).tallies
    expected = {"a.cut": 0, "a.far": 0, "b.cut": 0, "b.far": 0}
    sent = np.zeros((SAMPLES, STEPS + 1, SIZE), np.int64)
    matrices = {p.name: p.connectivity.weights for p in net.projections}
    for sample in range(SAMPLES):
        for step in range(STEPS):
            a = (matrices["f"] @ inputs[sample, step - 1] if step else 0) + matrices["r"] @ sent[sample, step]
            sent[sample, step + 1] = a > 3
            b = matrices["o"] @ sent[sample, step - 1] if step else np.zeros(4)
            for name, arrived in (("a", a), ("b", b)):
                expected[f"{name}.cut"] += int((arrived > 5).sum())
                expected[f"{name}.far"] += int((arrived > 9).sum())
    assert found == expected
    assert expected["a.far"] > 0
    assert emulator.run(inputs, STEPS, jobs=jobs).tallies == expected
    assert simulate(net, KERNELS, inputs, STEPS).tallies == expected


def test_a_user_is_told_what_was_counted() -> None:
    told = told_tallies(mapped(network()), KERNELS, {"a.cut": 12, "a.far": 0, "b.cut": 1}, 3)
    assert [(d.code, d.severity, d.message) for d in told] == [
        ("NM304", "warning", "a sum was cut at 5, in `a` 12 times"), ("NM304", "warning", "a sum was cut at 5, in `b` 1 time"),
    ]
    assert told[0].help == ("send less",)
    assert told[0].data == {"population": "a", "variable": "cut", "count": 12, "samples": 3}


def test_most_kernels_count_nothing() -> None:
    from nmap_toy.kernels import LIF

    assert counters(LIF) == {}
    assert counters(None) == {}
