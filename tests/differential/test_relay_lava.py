"""Delayed convolutions through the whole product: a relay delays what they read, and Lava computes the same messages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nmap.diagnostics import Findings
from nmap.flow import deploy
from nmap.options import Options
from nmap.readers import read
from nmap_loihi2 import TARGET
from nmap_loihi2.vendor import find_lava
from tests.unit.readers.builders import write_netx

SHAPE = (2, 6, 7)


@pytest.fixture(scope="module", autouse=True)
def _lava():
    found = find_lava()
    if isinstance(found, str):
        pytest.skip(found)


def written(path: Path, kind: str) -> Path:
    rng = np.random.default_rng(5)

    def weights(*shape: int) -> np.ndarray:
        values = 2.0 * rng.integers(-9, 10, shape)
        values.flat[:2] = 2, -2
        return values

    def neuron() -> dict:
        if kind == "SDNN":
            return {"type": "SDNN", "activation": "relu", "vThMant": 2}
        return {"type": "CUBA", "iDecay": 2048, "vDecay": 300, "vThMant": 40}

    def conv(channels: int) -> dict:
        return {
            "type": "conv", "weight": weights(3, channels, 3, 3), "stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1,
            "neuron": neuron(),
        }

    layers = [
        {"type": "input", "shape": SHAPE, "neuron": neuron()}, {**conv(2), "delay": 2}, conv(3),
    ]
    return write_netx(path, layers)


@pytest.mark.parametrize(("kind", "accumulator"), [("SDNN", 27), ("CUBA", 0)])
def test_a_relay_delays_what_a_convolution_reads(kind: str, accumulator: int, tmp_path: Path) -> None:
    path = written(tmp_path / "skip.net", kind)
    rng = np.random.default_rng(6)
    inputs = rng.integers(0, 256 if kind == "SDNN" else 90, (2, 9, *SHAPE))
    np.savez(tmp_path / "S.npz", inputs=inputs)
    network = read(path)
    payload = (0, int(inputs.max()))
    quantized = TARGET.quantize(network, Options(payload=payload), Findings())
    relays = [p for p in quantized.populations if p.kernel == "loihi2.relay"]
    assert [p.shape for p in relays] == [SHAPE]
    feed = next(p for p in quantized.projections if p.target == relays[0].name)
    # The relay's own hop is one step of the two. One synapse of weight 1 never leaves 32 bits.
    assert (feed.delay, feed.format.accumulator) == (1, 0)
    onward = [p for p in quantized.projections if p.source == relays[0].name]
    # Sums of graded messages may leave the 24 bits that Lava's convolution has for weights up to 18, stored 8 times as large.
    assert [(p.delay, p.format.exponent, p.format.accumulator) for p in onward] == [(0, -3, accumulator)]
    out = deploy(path, target="loihi2", options=Options(), input=tmp_path / "S.npz", output=tmp_path / "bundle")
    checked = out.verification
    assert checked is not None
    assert checked.chip_vs_fixed.mismatches == 0
    assert checked.chip_vs_float.spike_agreement == 1
    assert checked.vendor.mismatches == 0
    assert checked.vendor.samples == 2
    assert checked.chip_vs_fixed.spikes > 500
