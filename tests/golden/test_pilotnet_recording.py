"""PilotNet-LIF end to end: fed with the recorded image, every layer's spikes, currents and voltages are those of the recording.

The recording (lava-dl's own ground truth) is of a chip that reset its states every 17 steps, one step later in each layer, and whose
probe reads 128 in a spike's step where v is 0. It starts at the input layer's first step, which here is step 1: the image takes a step
to get there. What a layer did before its first reset depends on that, and is left out.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from nmap.diagnostics import Findings
from nmap.network import Network
from nmap.options import Options
from nmap.quantized import QuantizedNetwork
from nmap.readers import read
from nmap.rules import run_rules
from nmap.simulate.fixed import simulate
from nmap.trace import Probe, SpikeTrace
from nmap_loihi2 import TARGET
from tests.support import shared_data

_LAYERS = {
    "layer0": "input", "layer1": "conv-0", "layer2": "conv-1", "layer3": "conv-2", "layer4": "conv-3", "layer5": "conv-4",
    "layer7": "fc-0", "layer8": "fc-1", "layer9": "fc-2",
}
_STEPS = 25


def _folder() -> Path:
    return shared_data() / "lava_dl" / "pilotnet_lif_gt"


def _load(file: str) -> np.ndarray | None:
    """Return a recording as (steps, neurons) in C order over (channels, height, width), or None where there is none."""
    path = _folder() / f"{file}.npy"
    if not path.is_file():
        return None
    array = np.load(path)
    return array.transpose(*range(array.ndim)[::-1]).reshape(array.shape[-1], -1)


@cache
def _computed() -> tuple[Network, QuantizedNetwork, SpikeTrace]:
    network = read(shared_data() / "lava_dl" / "pilotnet_lif.net", reset_interval=17)
    image = np.load(_folder() / "image.npy").transpose(2, 1, 0)
    options, findings = Options(payload=(0, int(image.max()))), Findings()
    run_rules(network, TARGET, options, findings)
    quantized = TARGET.quantize(network, options, findings)
    assert [d.code for d in findings if d.severity != "note"] == ["NM206"]
    samples = np.broadcast_to(image, (1, _STEPS, *image.shape))
    probes = [Probe(name, variable) for name in (*_LAYERS, "layer10") for variable in ("u", "v")]
    return network, quantized, simulate(quantized, TARGET.kernels, samples, _STEPS, record=[*_LAYERS, "layer10"], probes=probes)


def test_nothing_is_lost_on_the_way_to_the_chip() -> None:
    network, quantized, _ = _computed()
    assert network.neurons == sum(p.size for p in quantized.populations if p.kernel is not None) == 158509
    assert all(loss.sqnr_db is None and not (loss.clipped or loss.zeroed or loss.bias_error) for loss in quantized.losses)


@pytest.mark.parametrize("name", _LAYERS)
def test_every_layer_computes_what_was_recorded(name: str) -> None:
    _, _, trace = _computed()
    layer, file = int(name.removeprefix("layer")), _LAYERS[name]
    # Flattening is a layer of the file, but no step.
    first = layer - (layer > 5)
    spikes = _load(file)
    assert spikes is not None
    # Column c of the recording is step c + 1.
    window = slice(first, min(len(spikes), _STEPS - 1))
    sent = trace.spikes[name][0, first + 1 : window.stop + 1]
    np.testing.assert_array_equal(sent, spikes[window])
    recorded = [variable for variable in ("u", "v") if _load(f"{file}-{variable}") is not None]
    assert recorded == ([] if layer < 2 else ["u", "v"])
    for variable in recorded:
        expected = _load(f"{file}-{variable}")
        assert expected is not None
        computed = trace.state[f"{name}.{variable}"][0, first + 1 : window.stop + 1]
        if variable == "v":
            computed = np.where(sent == 1, 128, computed)
        np.testing.assert_array_equal(computed, expected[window])


def test_the_readout_sums_the_recorded_spikes_of_the_layer_before() -> None:
    """The recording of the readout (fc-3) is of another run: it is the weighted sum of the recorded fc-2 spikes in no alignment."""
    network, _, trace = _computed()
    (weights,) = (p.connectivity.weights for p in network.projections if p.target == "layer10")
    before = _load("fc-2")
    assert before is not None
    u = 64 * before.astype(np.int64) @ weights.ravel().astype(np.int64)
    first = 9
    np.testing.assert_array_equal(trace.state["layer10.u"][0, first + 1 :, 0], u[first - 1 : _STEPS - 2])
    assert not trace.spikes["layer10"].any()
    # Reset before step 10, and not again until step 27: from there on v is all that arrived.
    np.testing.assert_array_equal(trace.state["layer10.v"][0, first + 1 :, 0], np.cumsum(u[first - 1 : _STEPS - 2]))


def test_the_recording_holds_a_second_reset_in_every_layer() -> None:
    """The comparison would not notice a missing reset if there were none: state is far from zero before, and cleared by it."""
    _, _, trace = _computed()
    for name in list(_LAYERS)[1:8]:
        first = int(name.removeprefix("layer"))
        reset = first - (first > 5) + 17
        v = trace.state[f"{name}.v"][0]
        if reset + 1 < _STEPS:
            assert np.count_nonzero(v[reset]) > 0.3 * v[reset].size
