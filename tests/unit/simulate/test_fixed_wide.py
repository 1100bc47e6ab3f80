"""The reference's products where they pass what float64 holds exactly."""

from __future__ import annotations

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.simulate.fixed import simulate
from nmap.trace import Probe

HERE = Provenance("net.h5", "/")
N = 40_000


class Keep:
    """Keeps what it receives."""

    name, params, state, receptors = "keep", (), ("x",), 1

    def run(self, *_):
        raise AssertionError("the reference does not call the compiled form")

    def reference_step(self, params, state, dendrite, step):
        del params, step
        state["x"] = dendrite
        return np.zeros(dendrite.shape, np.int64)


@pytest.mark.parametrize("kind", ["dense", "sparse", "conv", "delayed"])
def test_large_payloads_are_summed_exactly(kind):
    """40,000 synapses of about 250 and payloads of 31 bits pass 2^53; Python's integers are the reference."""
    rng = np.random.default_rng(1)
    weights = rng.integers(240, 256, (1, N)).astype(np.int32) * np.where(rng.random(N) < 0.001, -1, 1).astype(np.int32)
    payload = rng.integers(2**31 - 99, 2**31, (1, 1, N)) * np.where(rng.random(N) < 0.001, -1, 1)
    connectivity = {
        "dense": Dense(weights), "delayed": Dense(weights), "sparse": Sparse.from_dense(weights),
        "conv": Conv2d(weights.reshape(1, 4, 100, 100), (4, 100, 100)),
    }[kind]
    delays = np.ones((1, N), np.int64) if kind == "delayed" else None
    edge = QuantizedProjection("p", "in", "a", connectivity, SynapseFormat(8, 0, "mixed", 32, 32), 0, HERE, delays)
    populations = (QuantizedPopulation("in", (4, 100, 100), None, {}, HERE), QuantizedPopulation("a", (1,), "keep", {}, HERE))
    net = QuantizedNetwork(populations, (edge,), ("in",), ("a",))
    trace = simulate(net, {"keep": Keep()}, payload.reshape(1, 1, 4, 100, 100), 4, probes=[Probe("a", "x")])
    total = sum(int(w) * int(p) for w, p in zip(weights[0], payload[0, 0], strict=True))
    assert total > 2**53
    low = total % 2**32
    assert trace.state["a.x"][0, 2 if kind == "delayed" else 1, 0] == low - (low >> 31) * 2**32
