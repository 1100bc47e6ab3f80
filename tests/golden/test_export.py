"""Real trained networks as netx files: what a file read back computes, and what it holds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nmap import samples
from nmap.connectivity import Array, Conv2d
from nmap.diagnostics import Findings
from nmap.network import Network, Neuron, Population, SigmaDelta
from nmap.options import Options
from nmap.quantized import QuantizedNetwork
from nmap.readers import read
from nmap.simulate.fixed import simulate as simulate_fixed
from nmap.simulate.floating import simulate as simulate_floating
from nmap_loihi2 import TARGET
from tests.support import shared_data


def quantized(network: Network, approximate: str = "", plain: bool = False) -> QuantizedNetwork:
    findings = Findings()
    allowed = frozenset(filter(None, approximate.split(",")))
    found = TARGET.quantize(network, Options(approximate=allowed, plain=plain, payload=(-(1 << 15), 1 << 15) if sdnn(network) else (0, 1)),
                            findings)
    findings.raise_errors()
    return found


def sdnn(network: Network) -> bool:
    return any(isinstance(p.neuron, SigmaDelta) for p in network.populations)


def written(network: QuantizedNetwork, place: Path) -> Network:
    """Export a network and read it back."""
    findings = Findings()
    file = TARGET.export(network, "netx", findings)
    assert file is not None, [d.message for d in findings]
    place.write_bytes(file.content)
    return read(place)


def compare(source: QuantizedNetwork, back: Network, x: Array) -> dict[str, int]:
    """Compare what every population sends, step by step of the chip's time; return how much that is.

    Args:
        x: (samples, steps, *shape).
    """
    names = [p.name for p in source.populations if p.kernel is not None]
    theirs = [p.name for p in back.populations if p.neuron is not None]
    want = simulate_fixed(source, TARGET.kernels, {source.inputs[0]: x}, x.shape[1], record=names).spikes
    sent = simulate_floating(back, {"input": x.reshape(*x.shape[:2], *back["input"].shape)}, record=theirs).spikes
    for ours, other in zip(names, theirs, strict=True):
        np.testing.assert_array_equal(sent[other].reshape(want[ours].shape), want[ours], err_msg=ours)
    return {name: int(np.count_nonzero(want[name])) for name in names}


@pytest.mark.parametrize("name", [
    "digits_mlp_64_64_10_zero", "mnist_mlp_784_128_10_zero", "fsdd_rsnn_64_96r_10", "mnist_convpool_4c3_p2_8c3_p2_10",
])
def test_trained_networks(name: str, tmp_path: Path) -> None:
    """The plain form computes the same from its file, classifies within a point of the network, and most cells as deployed."""
    folder = shared_data() / "trained"
    network = read(folder / f"{name}.nir")
    deployed, plain = quantized(network), quantized(network, plain=True)
    given = samples.load(folder / f"{name}.npz", network)
    (port,) = network.inputs
    few = given.first(40 if "conv" in name or "fsdd" in name else 200)[port]
    padded = np.concatenate([few, np.zeros((few.shape[0], plain.latency, *few.shape[2:]), few.dtype)], axis=1)
    assert min(compare(plain, written(plain, tmp_path / "x.net"), padded[:5]).values()) > 0
    (output,) = network.outputs
    sent = [
        simulate_fixed(q, TARGET.kernels, {port: padded}, padded.shape[1], record=[output]).spikes[output][:, q.latency :]
        for q in (deployed, plain)
    ]
    assert np.mean(sent[0] == sent[1]) > 0.97
    right = [np.mean(spikes.sum(1).argmax(1) == given.labels[: few.shape[0]]) for spikes in sent]
    assert right[1] >= right[0] - 0.01


def test_oxford_goes_round(tmp_path: Path) -> None:
    """Weights, decays and thresholds come back as they were, and with them the verified spikes."""
    folder = shared_data() / "lava_dl"
    network = read(folder / "oxford.net")
    source = quantized(network)
    back = written(source, tmp_path / "x.net")
    for ours, theirs in zip(network.projections, back.projections, strict=True):
        np.testing.assert_array_equal(ours.connectivity.weights, theirs.connectivity.weights)
    for ours, theirs in zip(neurons(network), neurons(back), strict=True):
        for field in ("alpha", "beta", "threshold", "drive", "gain_in", "gain_v"):
            np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field))
    with np.load(folder / "oxford_verified.npz") as stored:
        x, wanted = stored["input"].T[None], stored["s1"]
    steps = wanted.shape[1]
    sent = simulate_floating(back, {"input": x[:, :steps]}, record=["layer1"]).spikes["layer1"]
    np.testing.assert_array_equal(sent[0].reshape(steps, -1).T != 0, wanted != 0)


def neurons(network: Network) -> list[Neuron]:
    return [p.neuron for p in network.populations if isinstance(p.neuron, Neuron)]


def test_bootstrap_mnist(tmp_path: Path) -> None:
    """Its input block and its two spiking layers; the readout behind them never fires, which no chip's neuron does."""
    network = read(shared_data() / "lava_dl" / "bootstrap_mnist.net")
    spiking = [p for p in network.populations if not p.silent]
    names = {p.name for p in spiking}
    cut = replace(
        network, populations=tuple(spiking), projections=tuple(p for p in network.projections if {p.source, p.target} <= names),
        outputs=(spiking[-1].name,),
    )
    source = quantized(cut)
    back = written(source, tmp_path / "x.net")
    x = np.random.default_rng(1).integers(0, 120, (2, 12, *cut["input"].shape))
    graded = QuantizedNetwork(
        source.populations,
        tuple(replace(p, format=replace(p.format, message_bits=7 if p.source == "input" else 0)) for p in source.projections),
        source.inputs, source.outputs,
    )
    assert min(compare(graded, back, x).values()) > 0
    for ours, theirs in zip(cut.projections[1:], back.projections[1:], strict=True):
        np.testing.assert_array_equal(ours.connectivity.weights, theirs.connectivity.weights)


def test_folded_pools(tmp_path: Path) -> None:
    network = read(shared_data() / "nir" / "cnn_sinabs.nir")
    source = quantized(network, "reset,multiple,floor")
    back = written(source, tmp_path / "x.net")
    assert [type(p.connectivity) for p in back.projections][:3] == [Conv2d] * 3
    assert back["input"].shape == (2, 34, 34)
    x = (np.random.default_rng(2).random((1, 24, 2, 34, 34)) < 0.3).astype(np.int32)
    assert min(compare(source, back, x).values()) > 0


def test_braille(tmp_path: Path) -> None:
    """Its biases lead into synaptic currents, which netx has not; without them it is a recurrent layer and a dense one."""
    network = read(shared_data() / "nir" / "braille_noDelay_bias_zero.nir")
    findings = Findings()
    assert TARGET.export(quantized(network, plain=True), "netx", findings) is None
    (told,) = findings
    assert told.data["parts"] == ["lif1.lif.bias", "lif2.bias"]
    assert told.help
    unbiased = replace(network, projections=tuple(replace(p, bias=None) for p in network.projections))
    source = quantized(unbiased, plain=True)
    back = written(source, tmp_path / "x.net")
    assert [p.source == p.target for p in back.projections].count(True) == 1
    with np.load(shared_data() / "golden" / "braille_bias_zero.npz") as stored:
        x = stored["input_spikes"][None, :120].astype(np.int32)
    assert min(compare(source, back, x).values()) > 0


@pytest.mark.parametrize("name", ["tiny", "pilotnet_lif", "pilotnet_sdnn"])
def test_convolutions_come_back(name: str, tmp_path: Path) -> None:
    network = read(shared_data() / "lava_dl" / f"{name}.net")
    source = quantized(network)
    back = written(source, tmp_path / "x.net")
    assert [(p.name, p.shape) for p in network.populations] == [(p.name, p.shape) for p in back.populations]
    for ours, theirs in zip(source.projections, back.projections, strict=True):
        effective = ours.connectivity.weights * 2.0**ours.format.exponent
        if hasattr(theirs.connectivity, "unrolled") or theirs.connectivity.weights.ndim == 2:
            np.testing.assert_array_equal(np.asarray(theirs.connectivity.weights).reshape(-1), dense_of(ours, effective))
    for one, other in zip(network.populations, back.populations, strict=True):
        same_neuron(one, other)


def dense_of(projection, effective: Array) -> Array:
    """Return the effective weights as the file lists them: all of them."""
    c = projection.connectivity
    if c.kind != "sparse":
        return np.asarray(effective).reshape(-1)
    full = np.zeros((c.out_size, c.in_size))
    full[c.targets, c.indices] = effective
    return full.reshape(-1)


def same_neuron(one: Population, other: Population) -> None:
    assert type(one.neuron) is type(other.neuron)
    if isinstance(one.neuron, Neuron) and isinstance(other.neuron, Neuron):
        for field in ("alpha", "beta", "threshold", "drive"):
            np.testing.assert_array_equal(getattr(one.neuron, field), getattr(other.neuron, field))
    if isinstance(one.neuron, SigmaDelta) and isinstance(other.neuron, SigmaDelta):
        assert (one.neuron.role, one.neuron.rectify) == (other.neuron.role, other.neuron.rectify)
        # A `sigma` has no threshold, whatever its file states.
        for field in ("threshold", "bias") if one.neuron.role != "sigma" else ():
            np.testing.assert_array_equal(getattr(one.neuron, field), getattr(other.neuron, field))
