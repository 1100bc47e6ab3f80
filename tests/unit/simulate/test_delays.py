"""Delays per synapse, in float64 and in integers, against one synapse at a time."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.connectivity import Connectivity, Dense, Sparse
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.simulate import fixed, floating
from tests.unit.simulate.builders import edge, network, neuron

_KINDS = ("target", "source", "same", "synapse")


def _delays(rng: np.random.Generator, kind: str, shape: tuple[int, int], longest: int) -> np.ndarray:
    size = {"target": (shape[0], 1), "source": (1, shape[1]), "same": (1, 1), "synapse": shape}[kind]
    return np.broadcast_to(rng.integers(0, longest + 1, size), shape)


def _listed(weights: np.ndarray, delays: np.ndarray, sparse: bool) -> tuple[Connectivity, np.ndarray]:
    if not sparse:
        return Dense(weights), delays
    return Sparse.from_dense(weights), delays[np.nonzero(weights)]


def _arriving(weights: np.ndarray, delays: np.ndarray, sent: np.ndarray, t: int) -> np.ndarray:
    """What reaches each target in step t of `sent` (steps, sources)."""
    x = np.zeros(weights.shape[0])
    for i, j in np.ndindex(weights.shape):
        if t >= delays[i, j]:
            x[i] += weights[i, j] * sent[t - delays[i, j], j]
    return x


@settings(deadline=None, max_examples=120)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(_KINDS),
    st.sampled_from(_KINDS),
    st.booleans(),
    st.integers(0, 12),
    st.integers(0, 2),
    st.sampled_from([1, 2, 3, 5, 16]),
    st.sampled_from([1, 7, 2**24]),
    st.sampled_from([0, 2**12]),
)
def test_delays_equal_the_sum_over_single_synapses(
    seed: int, kind: str, back: str, sparse: bool, longest: int, delay: int, block: int, buffer: int, product: int
) -> None:
    """Two samples of a layer and its recurrent connection, delays shorter and longer than the run; weights are multiples of 1/8."""
    rng = np.random.default_rng(seed)
    steps, sources, n = 9, 4, 5
    forward, loop = (rng.integers(-8, 9, (n, k)) / 8 * (rng.random((n, k)) < 0.8) for k in (sources, n))
    d_forward, d_loop = _delays(rng, kind, (n, sources), longest), _delays(rng, back, (n, n), longest)
    edges = []
    for names, weights, delays, extra in ((("in", "n"), forward, d_forward, delay), (("n", "n"), loop, d_loop, 1 + delay)):
        connection, listed = _listed(weights, delays, sparse)
        edges.append(edge(*names, connection, delay=extra, delays=listed))
    net = network({"in": ((sources,), None), "n": ((n,), neuron(n, beta=0.5, threshold=0.5))}, edges)
    inputs = (rng.random((2, steps, sources)) < 0.5).astype(np.uint8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(floating, "_LEAST_BLOCK", block)
        patch.setattr(floating, "_CHUNK_BYTES", 0)
        patch.setattr("nmap.simulate.synapses._BUFFER", buffer)
        patch.setattr("nmap.simulate.synapses._PRODUCT", product)
        result = floating.simulate(net, inputs, record=["n", "n:v"])
    for sample in range(2):
        sent, v = np.zeros((steps, n)), np.zeros(n)
        for t in range(steps):
            v = v / 2 + _arriving(forward, d_forward + delay, inputs[sample], t) + _arriving(loop, d_loop + delay + 1, sent, t)
            sent[t] = v > 0.5
            v = np.where(v > 0.5, 0, v)
            assert result.v["n"][sample, t].tolist() == v.tolist()
            assert result.spikes["n"][sample, t].tolist() == sent[t].tolist()


def _peak(function: Any) -> int:
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


_SIZE = 300


@pytest.mark.parametrize("kind", [*_KINDS, "all different"])
@pytest.mark.parametrize("looped", [False, True])
def test_memory_does_not_grow_with_the_number_of_different_delays(monkeypatch: pytest.MonkeyPatch, kind: str, looped: bool) -> None:
    """A copy of the weights for each of about 1000 delays would be 720 MB; the bound is below 30 MB."""
    monkeypatch.setattr("nmap.simulate.synapses._BUFFER", 2**16)
    monkeypatch.setattr(floating, "_CHUNK_BYTES", 8 * _SIZE * 100)
    rng = np.random.default_rng(1)
    shape = (_SIZE, _SIZE)
    delays = rng.permutation(_SIZE**2).reshape(shape) // 90 if kind == "all different" else _delays(rng, kind, shape, 999)
    layer = edge("n" if looped else "in", "n", Dense(rng.normal(size=shape)), delay=1, delays=delays)
    first = [edge("in", "n", Sparse.diagonal(np.ones(_SIZE)))] if looped else []
    net = network({"in": ((_SIZE,), None), "n": ((_SIZE,), neuron(_SIZE))}, [*first, layer])
    steps = 1000
    inputs = np.ones((1, steps, _SIZE), np.uint8)
    peak = _peak(lambda: floating.simulate(net, inputs))
    assert peak < 64 * _SIZE**2 + 64 * steps * _SIZE


class _Sum:
    """A kernel that sends what it receives."""

    name, params, state, receptors = "sum", (), ("x",), 1

    def run(self, *_: Any) -> None:
        raise AssertionError("the reference does not call the compiled form")

    def reference_step(self, params: dict[str, np.ndarray], state: dict[str, np.ndarray], dendrite: np.ndarray, step: int) -> np.ndarray:
        del params, step
        state["x"] = dendrite
        return (dendrite > 0).astype(np.int64)


_HERE = Provenance("net.h5", "/")


def _quantized(sources: int, n: int, projections: list[QuantizedProjection]) -> QuantizedNetwork:
    populations = (QuantizedPopulation("in", (sources,), None, {}, _HERE), QuantizedPopulation("n", (n,), "sum", {}, _HERE))
    return QuantizedNetwork(populations, tuple(projections), ("in",), ("n",))


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from(_KINDS),
    st.sampled_from(_KINDS),
    st.booleans(),
    st.integers(0, 12),
    st.sampled_from([-2, -1, 0, 1]),
    st.sampled_from([1, 2**24]),
    st.sampled_from([0, 4]),
)
def test_integer_delays_equal_the_sum_over_single_synapses(
    seed: int, kind: str, back: str, sparse: bool, longest: int, exponent: int, buffer: int, fill: int
) -> None:
    """The sum of each delay is shifted, rounding down, before the sums of all delays meet."""
    rng = np.random.default_rng(seed)
    steps, sources, n = 8, 4, 5
    projections, matrices = [], []
    for k, (source, size, which, delay) in enumerate((("in", sources, kind, 0), ("n", n, back, 1))):
        weights = (rng.integers(-9, 10, (n, size)) * (rng.random((n, size)) < 0.8)).astype(np.int32)
        delays = _delays(rng, which, (n, size), longest)
        connection, listed = _listed(weights, delays, sparse)
        form = SynapseFormat(8, exponent, "mixed", 8)
        projections.append(QuantizedProjection(str(k), source, "n", connection, form, delay, _HERE, listed))
        matrices.append((source, weights, delays + delay + 1))
    inputs = rng.integers(0, 4, (2, steps, sources))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fixed, "_BUFFER", buffer)
        patch.setattr(fixed, "_FILL", fill)
        trace = fixed.simulate(_quantized(sources, n, projections), {"sum": _Sum()}, inputs, steps, probes=[fixed.Probe("n", "x")])
    for sample in range(2):
        sent = {"in": inputs[sample], "n": np.zeros((steps, n), np.int64)}
        for t in range(steps):
            x = np.zeros(n, np.int64)
            for source, weights, delays in matrices:
                for d in range(int(delays.max()) + 1):
                    if t >= d:
                        x += np.floor((weights * (delays == d)) @ sent[source][t - d] * 2.0**exponent).astype(np.int64)
            sent["n"][t] = x > 0
            assert trace.state["n.x"][sample, t].tolist() == x.tolist()


@pytest.mark.parametrize("kind", _KINDS)
def test_memory_of_integer_delays(kind: str) -> None:
    """A copy of the weights for each of the delays 0 to 59 would be 22 MB and more."""
    rng = np.random.default_rng(1)
    shape = (_SIZE, _SIZE)
    weights = Dense(rng.integers(-99, 99, shape).astype(np.int32))
    delays = _delays(rng, kind, shape, 59)
    net = _quantized(*shape, [QuantizedProjection("p", "in", "n", weights, SynapseFormat(8), 0, _HERE, delays)])
    peak = _peak(lambda: fixed.simulate(net, {"sum": _Sum()}, np.ones((1, 64, _SIZE), np.int32), 64))
    assert peak < 100 * _SIZE**2
