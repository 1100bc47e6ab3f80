"""Signals of one dimension: files state their layers without rows, cores take boxes of rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nmap import flow
from nmap.options import Options
from tests.unit.readers.builders import chain, conv1d, flatten, lif, linear, port, sink, write_nir


@pytest.mark.parametrize("last", ["conv", "dense"])
@pytest.mark.parametrize("target", ["loihi2", "spinnaker2", "akida"])
def test_convolutions_over_signals_go_all_the_way(target: str, last: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    # Of LIF neurons that forget at once, which every one of these chips has; Akida's weights are exact, too.
    kernel = rng.integers(-7, 8, (4, 5, 3)).astype(np.float32)
    nodes = {"input": port(5, 12), "w1": conv1d(kernel, padding=1), "n1": lif((4, 12), tau=1e-3, r=1.0)}
    if last == "dense":
        nodes |= {"f": flatten(), "w2": linear(rng.integers(-7, 8, (3, 48))), "n2": lif(3, tau=1e-3, r=1.0), "output": sink(3)}
    else:
        nodes |= {"output": sink(4, 12)}
    write_nir(tmp_path / "net.nir", nodes, chain(*nodes), {"dt": 1e-3, "reset_mechanism": "zero"})
    np.savez(tmp_path / "in.npz", inputs=(rng.random((3, 9, 5, 12)) < 0.4).astype(np.uint8))
    outcome = flow.deploy(
        tmp_path / "net.nir", target=target, input=tmp_path / "in.npz", output=tmp_path / "out", options=Options(partitioner="greedy"),
    )
    assert outcome.verification is not None, outcome.diagnostics
    assert outcome.verification.chip_vs_fixed is not None
    assert outcome.verification.chip_vs_fixed.mismatches == 0
    assert outcome.verification.chip_vs_float is not None
    alike = outcome.verification.chip_vs_float.spike_agreement
    assert alike is not None
    assert alike == 1 if target == "akida" else alike > 0.9
    ran = flow.run(tmp_path / "out", input=tmp_path / "in.npz")
    assert ran.spikes.shape == (3, 9, *((3,) if last == "dense" else (4, 12)))
    assert ran.spikes.any()
    assert not ran.spikes.all()
