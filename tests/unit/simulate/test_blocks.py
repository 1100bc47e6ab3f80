"""Long samples: blocks of time change no result and bound the memory."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.diagnostics import NmapError
from nmap.network import Adaptation, Network, Resonator, SigmaDelta
from nmap.simulate import floating
from nmap.simulate.floating import FloatRun, simulate
from tests.unit.simulate.builders import edge, network, neuron

_N = 4


def _in_blocks(net: Network, inputs: np.ndarray, block: int | None, **more: Any) -> FloatRun:
    """Run one sample at a time, in blocks of `block` steps, or all at once."""
    with pytest.MonkeyPatch.context() as patch:
        if block is not None:
            patch.setattr(floating, "_LEAST_BLOCK", block)
            patch.setattr(floating, "_CHUNK_BYTES", 0)
        return simulate(net, inputs, **more)


def _same(first: FloatRun, second: FloatRun) -> None:
    for kind in ("spikes", "v", "u"):
        theirs, ours = getattr(first, kind), getattr(second, kind)
        assert theirs.keys() == ours.keys()
        for name, values in theirs.items():
            assert values.dtype == ours[name].dtype
            np.testing.assert_array_equal(values, ours[name], err_msg=f"{kind} of {name}")


def _weights(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Multiples of 1/16, so that every order of summation gives the same sum."""
    return rng.integers(-8, 17, shape) / 16


def _mixed(rng: np.random.Generator, conventions: dict[str, Any]) -> Network:
    """A convolution, a loop of two populations with delays per synapse, every model, and skips with long delays."""
    grid = rng.random
    adaptation = Adaptation(grid(_N), grid(_N), grid(_N))
    resonators = [
        Resonator("RF", 0.9 * np.ones(_N), 0.3 * np.ones(_N), 0.2 * np.ones(_N), np.zeros(_N), firing) for firing in ("phase", "izhikevich")
    ]
    shaped = {
        "conv": neuron(_N, beta=grid(_N), alpha=grid(_N), threshold=0.4),
        "a": neuron(_N, beta=grid(_N), threshold=0.6),
        "b": neuron(_N, beta=grid(_N), threshold=0.5, drive=0.01),
        "adaptive": neuron(_N, beta=grid(_N), adaptation=adaptation),
        "phase": resonators[0],
        "izhikevich": resonators[1],
        "li": neuron(_N, beta=0.5, spiking=False),
        "out": neuron(_N, beta=grid(_N), threshold=0.7),
    }
    populations: dict[str, Any] = {"in": ((1, 3, 3), None)}
    populations |= {name: ((_N,) if name != "conv" else (1, 2, 2), model) for name, model in shaped.items()}
    pairs = [
        ("conv", "a", 0, None),
        ("a", "b", 0, (_N, _N)),
        ("b", "a", 1, (_N, _N)),
        ("b", "adaptive", 2, (_N, 1)),
        ("a", "phase", 1, (1, _N)),
        ("b", "izhikevich", 3, None),
        ("adaptive", "li", 0, None),
        ("li", "out", 6, None),
        ("phase", "out", 0, (_N, 1)),
        ("izhikevich", "out", 0, (1, _N)),
        ("conv", "out", 11, None),
    ]
    edges = [edge("in", "conv", Conv2d(_weights(rng, 1, 1, 2, 2), (1, 3, 3)), bias=_weights(rng, _N), bias_from=3)]
    for source, target, delay, shape in pairs:
        delays = None if shape is None else np.broadcast_to(rng.integers(0, 9, shape), (_N, _N))
        edges.append(edge(source, target, Dense(_weights(rng, _N, _N)), delay=delay, delays=delays))
    edges.append(edge("in", "out", Sparse.from_dense(_weights(rng, _N, 9)), delay=2, delays=None))
    return network(populations, edges, **conventions)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.sampled_from(
        [
            {},
            {"reset": "subtract", "multiple": True, "floor": -1.0},
            {"reset": "subtract", "early_reset": True, "compare": ">="},
            {"reset": "delayed", "lag": 1},
            {"lag": 5},
        ]
    ),
    st.integers(0, 40),
)
def test_the_length_of_a_block_changes_no_bit(seed: int, block: int, conventions: dict[str, Any], steps: int) -> None:
    rng = np.random.default_rng(seed)
    net = _mixed(rng, conventions)
    names = [p.name for p in net.populations]
    record = [*names, *(f"{name}:{variable}" for name in names[1:] for variable in ("v", "u", "spikes"))]
    inputs = (rng.random((2, 25, 1, 3, 3)) < 0.4).astype(np.uint8)
    try:
        whole = _in_blocks(net, inputs, None, steps=steps, record=record)
    except NmapError as error:
        # Several spikes a step and a loop may grow beyond what a message holds, which every length of block tells.
        with pytest.raises(NmapError, match=error.diagnostics[0].code):
            _in_blocks(net, inputs, block, steps=steps, record=record)
        return
    _same(whole, _in_blocks(net, inputs, block, steps=steps, record=record))


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20))
def test_sigma_delta_networks_in_blocks(seed: int, block: int) -> None:
    rng = np.random.default_rng(seed)
    roles = {
        role: SigmaDelta("SDNN", role, rng.integers(0, 900, _N), rng.integers(-99, 99, _N)) for role in ("delta", "sigma_delta", "sigma")
    }
    names = ["in", *roles]
    edges = [edge(a, b, Dense(rng.integers(-20, 60, (_N, _N)).astype(float)), delay=k) for k, (a, b) in enumerate(pairwise(names))]
    net = network({"in": ((_N,), None)} | {role: ((_N,), model) for role, model in roles.items()}, edges)
    record = [*roles, *(f"{role}:{variable}" for role in roles for variable in "uv")]
    inputs = rng.integers(0, 50, (2, 20, _N))
    whole = _in_blocks(net, inputs, None, record=record)
    assert whole.spikes["sigma_delta"].any()
    _same(whole, _in_blocks(net, inputs, block, record=record))


def test_usual_runs_are_one_block() -> None:
    """784 inputs, 100 steps and float64: 0.6 MB, so a run is computed whole, and many samples at a time."""
    assert floating._CHUNK_BYTES // (8 * 784) > 100 * 100


@pytest.mark.parametrize("given_as", [np.uint8, np.int64, np.float32, bool])
def test_a_long_sample_needs_the_memory_of_a_block(monkeypatch: pytest.MonkeyPatch, given_as: type) -> None:
    """6000 steps of 64 neurons are 3 MB in float64, blocks of 100 steps 51 kB; delays of 150 steps are carried, nothing else."""
    n, steps, block = 64, 6000, 100
    monkeypatch.setattr(floating, "_CHUNK_BYTES", 8 * n * block)
    names = ["in", *(f"n{k}" for k in range(2))]
    edges = [edge(a, b, Dense(np.eye(n)), delay=150 * (b == "n1")) for a, b in pairwise(names)]
    net = network({name: ((n,), None if name == "in" else neuron(n, beta=0.5)) for name in names}, edges)
    inputs = np.zeros((1, steps, n), given_as)
    inputs[0, ::7] = 1
    simulate(net, inputs[:, :300])
    tracemalloc.start()
    try:
        run = simulate(net, inputs)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert run.spikes["n1"].shape == (1, steps, n)
    assert peak < steps * n + 8 * 8 * n * block


def test_states_are_recorded_in_float64() -> None:
    """Whatever the input's type: v = 0.5 v + x is 1, 1.5, 1.75 and current and potential of a memoryless synapse begin with x."""
    net = network({"in": ((1,), None), "n": ((1,), neuron(beta=0.5, threshold=9.0))}, [edge("in", "n", Dense(np.ones((1, 1))))])
    for given_as in (np.uint8, np.int32, np.float32, bool):
        run = simulate(net, np.ones((1, 3, 1), given_as), record=["n:v", "n:u"])
        assert run.v["n"].dtype == run.u["n"].dtype == np.float64
        assert run.v["n"].ravel().tolist() == [1.0, 1.5, 1.75]
    tenth = replace(net, projections=(edge("in", "n", Dense(np.full((1, 1), 0.1))),))
    assert simulate(tenth, np.ones((1, 1, 1)), record=["n:v"]).v["n"].item() == 0.1


def test_what_an_input_port_sends_is_recorded_by_either_name() -> None:
    net = network({"in": ((2,), None), "n": ((1,), neuron())}, [edge("in", "n", Dense(np.ones((1, 2))))])
    run = simulate(net, np.array([[[1, 0], [3, 2]]]), steps=3, record=["in:spikes"])
    assert run.spikes["in"].tolist() == [[[1, 0], [3, 2], [0, 0]]]
