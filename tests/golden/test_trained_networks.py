"""Real files: what the reader says about them, and the exporting framework's own spikes, reproduced exactly."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nmap import samples
from nmap.network import Network
from nmap.readers import read
from nmap.simulate.floating import simulate
from tests.support import shared_data
from tests.unit.readers.builders import refused

_TRAINED = (
    "digits_mlp_64_64_10_zero",
    "digits_mlp_64_64_10_subtract_delayed",
    "mnist_mlp_784_128_10_zero",
    "mnist_convpool_4c3_p2_8c3_p2_10",
    "fsdd_rsnn_64_96r_10",
)


@pytest.mark.parametrize("name", _TRAINED)
def test_trained_networks_compute_the_frameworks_own_spikes(name: str) -> None:
    folder = shared_data() / "trained"
    network = read(folder / f"{name}.nir")
    given = samples.load(folder / f"{name}.npz", network)
    with np.load(folder / f"{name}.npz") as stored:
        spikes, accuracy = stored["reference_spikes"], float(stored["reference_accuracy"])
    run = simulate(network, given.inputs)
    assert given.labels is not None
    np.testing.assert_array_equal(run.spikes[network.outputs[0]], spikes)
    assert run.accuracy(given.labels) == pytest.approx(accuracy, abs=1e-12)


def test_the_reset_matters() -> None:
    folder = shared_data() / "trained"
    stem = folder / "digits_mlp_64_64_10_subtract_delayed"
    with np.load(stem.with_suffix(".npz")) as stored:
        inputs, spikes = stored["inputs"], stored["reference_spikes"]
    run = simulate(read(stem.with_suffix(".nir"), reset="subtract"), inputs)
    agreement = float(np.mean(run.spikes["3"] == spikes))
    assert 0.85 < agreement < 0.97


@pytest.mark.parametrize(
    ("name", "neurons", "conventions"),
    [
        ("lif_norse", 1, (1e-4, "zero", "euler", ">")),
        ("lif_rockpool", 1, (1e-4, "subtract", "exact", ">=")),
        ("two_lif_neurons", 2, (1e-4, "zero", "euler", ">")),
        ("cnn_sinabs", 8970, (None, "subtract", "exact", ">=")),
        ("braille_noDelay_bias_zero", 45, (1e-4, "zero", "euler", ">")),
        ("braille_checkpoint_scalar_params", 62, (1e-4, "zero", "euler", ">")),
        ("braille_flattened_190043", 45, (None, "zero", "euler", ">")),
    ],
)
def test_public_nir_files(name: str, neurons: int, conventions: tuple[float | None, str, str, str]) -> None:
    network = read(shared_data() / "nir" / f"{name}.nir")
    c = network.conventions
    assert (network.neurons, (c.dt, c.reset, c.decay, c.compare)) == (neurons, conventions)


def test_a_dangling_edge_is_read_in_its_one_sensible_meaning() -> None:
    network = read(shared_data() / "nir" / "braille_noDelay_bias_zero_subgraph.nir")
    assert network.neurons == 45
    assert [d.code for d in network.diagnostics] == ["NM112"]
    assert all(word in network.diagnostics[0].message for word in ("`lif`", "`lif1`"))


def test_a_truncated_file_says_so() -> None:
    with refused("NM103", "NM103") as found:
        read(shared_data() / "nir" / "truncated_scnn_model.nir")
    assert any("cut short" in d.message for d in found)


def _lava(name: str) -> Path:
    return shared_data() / "lava_dl" / name


def test_oxford_equals_lava_and_slayer_in_raw_time() -> None:
    """Input column j acts in column j + 1 of the first layer, and so on: every projection has delay 1, also the input's."""
    network = read(_lava("oxford.net"))
    with np.load(_lava("oxford_verified.npz")) as stored:
        inputs, s0, s1 = stored["input"], stored["s0"], stored["s1"]
    run = simulate(network, inputs.T[None], record=["layer0", "layer1"])
    np.testing.assert_array_equal(run.spikes["layer0"][0].T, s0)
    np.testing.assert_array_equal(run.spikes["layer1"][0].T, s1)


@pytest.mark.parametrize(
    ("name", "neurons"), [("tiny", 1668), ("pilotnet_lif", 158509), ("bootstrap_mnist", 1818), ("pilotnet_sdnn", 158509)]
)
def test_public_netx_files(name: str, neurons: int) -> None:
    assert read(_lava(f"{name}.net")).neurons == neurons


def _one_layer(network: Network, target: str) -> Network:
    """Return one layer alone, fed by a port in the step of its input (delay 0)."""
    projection = next(p for p in network.projections if p.target == target)
    port = replace(network[projection.source], neuron=None)
    return replace(
        network, populations=(port, network[target]), projections=(replace(projection, delay=0),), inputs=(port.name,), outputs=(target,)
    )


def test_tinynet_layer_by_layer() -> None:
    """The recording is aligned layer by layer and starts with an empty column; from there each layer equals it exactly."""
    network, folder = read(_lava("tiny.net")), _lava("tinynet_gt")
    bias = np.load(folder / "input_bias.npy").transpose(2, 1, 0)
    spikes = [np.moveaxis(np.load(folder / f"{name}.npy")[0], -1, 0) for name in ("input", "layer1", "output")]
    run = simulate(network, np.repeat(bias[None], 16, 0)[None], record=["layer0"])
    np.testing.assert_array_equal(run.spikes["layer0"][0], spikes[0].reshape(16, -1))
    for target, sent, expected in (("layer1", spikes[0], spikes[1]), ("layer2", spikes[1], spikes[2])):
        run = simulate(_one_layer(network, target), sent[None, 1:])
        np.testing.assert_array_equal(run.spikes[target][0], expected[1:].reshape(15, -1))


@pytest.mark.parametrize(
    ("target", "source_file", "file", "reset"),
    [
        ("layer2", "conv-0", "conv-1", 2),
        ("layer3", "conv-1", "conv-2", 3),
        ("layer4", "conv-2", "conv-3", 4),
        ("layer5", "conv-3", "conv-4", 5),
        ("layer7", "conv-4", "fc-0", 6),
        ("layer8", "fc-0", "fc-1", 7),
        ("layer9", "fc-1", "fc-2", 8),
    ],
)
def test_pilotnet_layer_by_layer(target: str, source_file: str, file: str, reset: int) -> None:
    """u in every step, spikes and v between the two resets that the recording made, 17 steps apart and one step later per layer.

    The recording is of a chip, whose probe reads 128 in a spike's step where v is 0.
    """
    network, folder = read(_lava("pilotnet_lif.net")), _lava("pilotnet_lif_gt")

    def load(name: str) -> np.ndarray:
        """Return (steps, neurons) in C order over (channels, height, width)."""
        array = np.load(folder / f"{name}.npy")
        return array.transpose(*range(array.ndim)[::-1]).reshape(array.shape[-1], -1)

    sent, spikes, u, v = load(source_file), load(file), load(f"{file}-u") / 64, load(f"{file}-v") / 64
    shape = network[next(p.source for p in network.projections if p.target == target)].shape
    window = slice(reset, min(reset + 17, sent.shape[0]))
    delayed = sent[window.start - 1 : window.stop - 1]
    run = simulate(_one_layer(network, target), delayed.reshape(1, -1, *shape), record=[target, f"{target}:u", f"{target}:v"])
    np.testing.assert_array_equal(run.u[target][0], u[window])
    np.testing.assert_array_equal(run.spikes[target][0], spikes[window])
    np.testing.assert_array_equal(np.where(run.spikes[target][0] == 1, 2.0, run.v[target][0]), v[window])
