"""The benchmark of large TrueNorth mappings, on networks of a few cores."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import truenorth_mapping as benchmark


@pytest.mark.parametrize("network", [
    benchmark.plain_conv(8), benchmark.chains(2, 3, 8), benchmark.loops(2, 6), benchmark.local(64, 2, 5),
    benchmark.random_sparse((40, 30), 4),
], ids=["conv", "chains", "loops", "local", "random"])
def test_small_networks_are_deployed(network):
    row = benchmark.deployed(network, "ns1e")
    assert row["status"] == "ok"
    assert row["mismatches"] == 0
    assert 1 <= row["bound"] <= row["cores"] <= 20
    assert (row["chips"], row["across"]) == (1, 0)
    assert 0 < row["columns"] <= 256 * row["cores"]
    console = Console(width=250, record=True)
    console.print(benchmark.shown([row]))
    assert network.file.removesuffix(".nir") in console.export_text()


def test_networks_have_the_sizes_they_are_named_for():
    eedn = benchmark.eedn(1)
    assert [p.shape for p in eedn.populations[:3]] == [(3, 32, 32), (16, 32, 32), (16, 16, 16)]
    kernels = [p.connectivity.weights for p in eedn.projections]
    assert all(set(np.unique(kernel)) == {-1.0, 0.0, 1.0} for kernel in kernels)
    # With two axons a source no neuron hears more than a core has.
    assert max(kernel[0].size * 2 for kernel in kernels) <= 256
    chains = benchmark.chains(3, 4, 8)
    assert len(chains.populations) == 1 + 3 * 4 + 1
    local = benchmark.local(50, 1, 6).projections[0].connectivity
    assert np.diff(local.indptr).tolist() == [6] * 50
    sources = local.indices.reshape(50, 6)
    assert all(len(set(row)) == 6 for row in sources.tolist())
    assert all(((row - k) % 50 < 24).all() for k, row in enumerate(sources))
