"""What other platforms computed from the same files, reproduced under their conventions.

The files and recordings of the NIR paper (BSD-3-Clause); `simulated_nmnist_ref_cnn_sinabs.npz` holds output spikes of 300 steps.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nmap.network import Network
from nmap.readers import read
from nmap.simulate.floating import simulate
from tests.support import shared_data


@pytest.mark.parametrize(
    ("platform", "options"),
    [
        ("snntorch", {}),
        ("snntorch", {"source": "snntorch", "reset": "zero"}),
        ("norse", {"source": "norse"}),
        ("spyx", {"source": "spyx"}),
    ],
)
@pytest.mark.parametrize("file", ["braille_noDelay_bias_zero", "braille_noDelay_bias_zero_subgraph"])
def test_braille_hidden_layer_step_by_step(file: str, platform: str, options: dict[str, Any]) -> None:
    """All 256 steps of 38 neurons, and of one file the other platforms' spikes differ."""
    network = read(shared_data() / "nir" / f"{file}.nir", **options)
    hidden = next(p.name for p in network.populations if p.size == 38)
    with np.load(shared_data() / "golden" / "braille_bias_zero.npz") as stored:
        inputs, spikes = stored["input_spikes"], {name.partition("__")[0]: stored[name] for name in stored if "__" in name}
    ours = simulate(network, inputs[None], record=[hidden]).spikes[hidden][0]
    differing = {name: int(np.sum(ours != theirs)) for name, theirs in spikes.items()}
    assert differing.pop(platform) == 0
    assert min(differing.values()) > 20


@pytest.mark.parametrize(
    ("recorded", "unit", "error", "options"),
    [
        ("norse", 1.0, 2.5e-8, {"source": "norse"}),
        ("snntorch", 25.0, 4.5e-8, {"source": "snntorch", "reset": "zero"}),
        ("spinnaker2", 25.0, 2.5e-5, {}),
    ],
)
def test_single_neuron_traces(recorded: str, unit: float, error: float, options: dict[str, Any]) -> None:
    """tau = 2.5 ms, r = 1, threshold 0.1, steps of 0.1 ms; two platforms scale the weight to 1, v by tau/(r dt) = 25."""
    network = read(shared_data() / "nir" / "lif_norse.nir", dt=1e-4, **options)
    trace = np.loadtxt(shared_data() / "golden" / f"lif_{recorded}.csv", delimiter=",")
    run = simulate(network, trace[None, :, :1], record=["1", "1:v"])
    np.testing.assert_array_equal(run.spikes["1"][0, :, 0], trace[:, 2])
    np.testing.assert_allclose(run.v["1"][0, :, 0], trace[:, 1] / unit, rtol=0, atol=error)
    assert run.spikes["1"].sum() == 4


@pytest.mark.parametrize("source", [None, "rockpool"])
def test_the_file_rockpool_wrote_under_its_conventions(source: str | None) -> None:
    """tau = 2.5 ms, steps of 0.1 ms: v = e v + x with e = exp(-0.04), as LIFNeuronTorch computes; r = (tau/dt) e is how it is written."""
    network = read(shared_data() / "nir" / "lif_rockpool.nir", source=source)
    c = network.conventions
    assert (c.dt, c.reset, c.decay, c.compare, c.multiple) == (1e-4, "subtract", "exact", ">=", True)
    neuron = next(p.neuron for p in network.populations if p.neuron is not None)
    weight, threshold = float(network.projections[0].connectivity.weights[0, 0]), float(neuron.threshold[0])
    inputs = np.zeros(60)
    inputs[[3, 10, 11, 30]] = 1, 2, 90, 4
    v, expected = 0.0, []
    for x in inputs:
        v = np.exp(-0.04) * v + weight * x
        spikes = max(0, int(v / threshold))
        v -= spikes * threshold
        expected.append(spikes)
    run = simulate(network, inputs[None, :, None])
    assert run.spikes[network.outputs[0]][0, :, 0].tolist() == expected
    assert max(expected) > 1


def _frames(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and the recorded output spikes (samples, 300, 10) of the first samples."""
    with np.load(shared_data() / "datasets" / "simulated_nmnist100_frames.npz") as stored:
        inputs = stored["inputs"][:count]
    with np.load(shared_data() / "datasets" / "simulated_nmnist_ref_cnn_sinabs.npz") as stored:
        spikes = np.unpackbits(stored["out_spikes_packed"], axis=0)[:300].transpose(1, 0, 2)[:count]
        np.testing.assert_array_equal(spikes.sum(1), stored["out_counts"][:count])
    return inputs, spikes


@pytest.mark.parametrize("source", [None, "sinabs"])
def test_the_convolutional_network_of_sinabs(source: str | None) -> None:
    """The first 4 of 100 samples, every step of every output; all 100 are equal, and 94 of them right."""
    network = read(shared_data() / "nir" / "cnn_sinabs.nir", source=source)
    inputs, spikes = _frames(4)
    run = simulate(network, inputs, steps=300)
    np.testing.assert_array_equal(run.spikes[network.outputs[0]], spikes)


def test_the_first_layer_of_sinabs_neuron_by_neuron() -> None:
    network = read(shared_data() / "nir" / "cnn_sinabs.nir", source="sinabs")
    inputs, _ = _frames(1)
    first = next(p.target for p in network.projections if p.source == network.inputs[0])
    with np.load(shared_data() / "datasets" / "simulated_nmnist_ref_cnn_sinabs.npz") as stored:
        counts = stored["layer1_counts_sample0"].ravel()
    np.testing.assert_array_equal(simulate(network, inputs, steps=300, record=[first]).counts(first)[0], counts)


def _recording() -> np.ndarray:
    """Return one recorded digit as frames of 1 ms, (1, 300, 2, 34, 34)."""
    with np.load(shared_data() / "datasets" / "real_nmnist_1sample.npz") as stored:
        frame = stored["t_us"] // 1000
        frames = np.zeros((1, int(frame.max()) + 1, 2, 34, 34), np.int64)
        np.add.at(frames[0], (frame, stored["p"].astype(int), stored["y"], stored["x"]), 1)
    return frames[:, :300]


def _class_four(network: Network) -> tuple[int, int]:
    run = simulate(network, _recording())
    assert run.accuracy(np.array([4])) == 1.0
    return int(run.counts()[0, 4]), int(run.counts().sum())


def test_a_recorded_digit_is_a_four() -> None:
    network = read(shared_data() / "nir" / "cnn_sinabs.nir", source="sinabs")
    _class_four(network)
    unbounded = replace(network, conventions=replace(network.conventions, floor=None))
    assert _class_four(unbounded) == (251, 267)
    _class_four(read(shared_data() / "nir" / "cnn_sinabs.nir", source="sinabs-multispike"))
