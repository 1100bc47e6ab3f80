"""Delays up to the longest that ring buffers hold: cores take fewer neurons, and compute the same spikes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.compile import compile_program
from nmap.connectivity import Dense
from nmap.diagnostics import Findings
from nmap.emulate.engine import emulate
from nmap.network import Network
from nmap.options import Options
from nmap.partition import map_network
from nmap.program import slice_size
from nmap.simulate.fixed import simulate
from nmap.target.machine import build_machine
from nmap.target.registry import find_partitioner
from nmap.testing.networks import build
from nmap.verify.mapping import verify_mapping
from nmap_spinnaker import TARGET
from nmap_spinnaker.arithmetic import ring_slots
from nmap_spinnaker.kernels import KERNELS
from tests.unit.spinnaker.quantizing import cells

OPTIONS = Options(partitioner="greedy", effort=0)
MACHINE = build_machine(TARGET.spec)
OUT = 40


def late(rng: np.random.Generator, hidden: int, longest: int) -> Network:
    """Return in -> a -> b; delays into `a` are of every size up to `longest` steps, those into `b` up to 32.

    Args:
        rng: of weights and delays.
        hidden: neurons of `a`.
        longest: steps of the slowest synapse, its hop included.
    """
    links = [
        ("in", "a", Dense(rng.normal(0.3, 0.3, (hidden, 12))), None, 0), ("a", "b", Dense(rng.normal(0.3, 0.3, (OUT, hidden))), None, 0),
    ]
    sizes = {"a": ((hidden,), cells(hidden)), "b": ((OUT,), cells(OUT))}
    net = build("late.nir", {"in": ((12,), None), **sizes}, links)
    steps = np.exp(rng.uniform(0, np.log(longest), (hidden, 12))).astype(np.int64) - 1
    steps[int(rng.integers(0, hidden)), int(rng.integers(0, 12))] = longest - 1
    few = rng.integers(0, 32, (OUT, hidden))
    return replace(net, projections=tuple(replace(p, delays=by) for p, by in zip(net.projections, (steps, few), strict=True)))


@pytest.mark.parametrize(
    ("hidden", "longest"), [(300, 1), (300, 32), (150, 33), (150, 64), (150, 100), (50, 300), (25, 1024), (7, 4096)],
)
def test_slices_leave_room_for_the_ring_buffers_and_spikes_are_the_same(hidden: int, longest: int) -> None:
    rng = np.random.default_rng([83, longest])
    net, findings = late(rng, hidden, longest), Findings()
    for rule in TARGET.rules:
        rule(net, TARGET.spec, OPTIONS, findings)
    quantized = TARGET.quantize(net, OPTIONS, findings)
    assert not [d for d in findings if d.severity == "error"]
    mapping = map_network(quantized, TARGET, MACHINE, find_partitioner("greedy"), OPTIONS, None)
    largest = {name: max(slice_size(s.slice) for s in mapping.shards if s.population == name) for name in ("a", "b")}
    # As many slots as the host finds for slices of that size, and no more cores than that needs.
    assert ring_slots(largest["a"]) >= longest
    assert largest["b"] == OUT
    assert sum(s.population == "a" for s in mapping.shards) == -(-hidden // max(n for n in range(2, 257) if ring_slots(n) >= longest))
    program = compile_program(quantized, TARGET, mapping)
    assert verify_mapping(program, TARGET, MACHINE) == ()
    assert [d for d in TARGET.audit(program, MACHINE) if d.severity != "note"] == []
    steps = longest + 80
    spikes = {"in": (rng.random((1, steps, 12)) < 0.1).astype(np.int32)}
    names = [p.name for p in quantized.populations]
    fixed = simulate(quantized, KERNELS, spikes, steps, record=names)
    chip = emulate(program, KERNELS, spikes, steps, record=names)
    for name in names:
        np.testing.assert_array_equal(chip.spikes[name], fixed.spikes[name])
    assert fixed.spikes["b"].any()


def test_the_slowest_synapse_acts_when_it_is_due() -> None:
    """A spike in step 3 of the input is the source's in step 4, and acts 4096 steps later."""
    links = [("in", "a", Dense(np.full((2, 1), 2.0)), None, 0)]
    net = build("one.nir", {"in": ((1,), None), "a": ((2,), cells(2))}, links)
    (only,) = net.projections
    findings = Findings()
    quantized = TARGET.quantize(replace(net, projections=(replace(only, delays=np.array([[4095], [0]])),)), OPTIONS, findings)
    mapping = map_network(quantized, TARGET, MACHINE, find_partitioner("greedy"), OPTIONS, None)
    program = compile_program(quantized, TARGET, mapping)
    given = np.zeros((1, 4200, 1), np.int32)
    given[0, 3] = 1
    sent = emulate(program, KERNELS, {"in": given}, 4200, record=["a"]).spikes["a"]
    assert np.argwhere(np.asarray(sent).reshape(4200, 2)).tolist() == [[5, 1], [4100, 0]]
