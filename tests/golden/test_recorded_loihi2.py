"""The emulator against a recorded Loihi 2 chip and against Lava's fixed-point outputs."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.connectivity import Dense
from nmap.diagnostics import Findings
from nmap.emulate.engine import emulate
from nmap.mapping import Mapping, Shard
from nmap.network import Provenance
from nmap.options import Options
from nmap.program import Core
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.readers import read
from nmap.simulate.fixed import simulate
from nmap.target.machine import Machine
from nmap.trace import Probe
from nmap_loihi2 import TARGET
from nmap_loihi2.integers import read_integer_network
from nmap_loihi2.kernels import KERNELS
from tests.support import shared_data

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "golden" / "lava"


def scattered(network, cores):
    """Cut every population in `cores` pieces along its first axis and give each piece a core."""
    shards = []
    for population in network.populations:
        if population.kernel is None:
            continue
        first, *others = population.shape
        cuts = np.linspace(0, first, min(cores, first) + 1).astype(int).tolist()
        shards += [Shard(population.name, ((a, b), *((0, n) for n in others)), k, {}) for k, (a, b) in enumerate(pairwise(cuts))]
    spec = type("Spec", (), {"name": "x", "resources": {}})()
    return Mapping(Machine(spec, "x", 1, ()), tuple(shards), tuple(Core(0, k, 0, k) for k in range(cores)), None, None, False)


@pytest.mark.parametrize(("trace", "voltages_differ"), [("lif_lava_loihi_fixed", 4), ("lif_lava_cpu_fixed", 0)])
def test_recorded_neuron(trace, voltages_differ):
    """One LIF neuron, 1000 steps; the chip's probe reads 128 in the four steps in which the neuron spikes."""
    recorded = np.loadtxt(shared_data() / "golden" / f"{trace}.csv", delimiter=",")
    where = Provenance(trace, "/")
    neuron = {"du": 4095, "dv": 163, "vth": 25, "bias_mant": 0, "bias_exp": 0}
    network = QuantizedNetwork(
        (
            QuantizedPopulation("in", (1,), None, {}, where),
            QuantizedPopulation("lif", (1,), "loihi2.lif", {k: np.array(v) for k, v in neuron.items()}, where),
        ),
        (QuantizedProjection("w", "in", "lif", Dense(np.array([[10]], np.int32)), SynapseFormat(8, sign="excitatory"), 0, where),),
        ("in",), ("lif",),
    )
    inputs = recorded[:, 0].astype(np.int64)[None, :, None]
    probes = [Probe("lif", "v")]
    for found in (
        emulate(build_program(network, "loihi2", scattered(network, 1)), KERNELS, inputs, 1000, probes=probes),
        simulate(network, KERNELS, inputs, 1000, probes=probes),
    ):
        spikes, voltage = found.spikes["lif"][0, :, 0], found.state["lif.v"][0, :, 0]
        np.testing.assert_array_equal(spikes, recorded[:, 2])
        assert spikes.sum() == 4
        differ = voltage != recorded[:, 1]
        assert differ.sum() == voltages_differ
        assert (spikes[differ] == 1).all()


PAIRS = sorted({"a_lif3", "c_graded_delay", "f_latency"} | {path.name.removesuffix(".out.npz") for path in FOLDER.glob("*.out.npz")})
"""Every recorded pair that is there; the three public ones are skipped with the reason where they are not."""

STATES = {"u": "u", "v": "v", "sigma": "u", "act": "v", "residue": "residue", "error": "error", "theta": "theta", "r": "rho"}
"""The kernels' names of the states in a recording."""


def received(network, population, sent):
    """Return a population's dendritic sums, (neurons, steps), from the messages that its sources sent: (neurons, steps) each by name."""
    total = 0
    for projection in network.afferents(population.name):
        c, form, source = projection.connectivity, projection.format, sent[projection.source]
        weights, delays = np.zeros((c.out_size, c.in_size), np.int64), projection.delays
        if isinstance(c, Dense):
            weights[:] = c.weights
        else:
            weights[np.repeat(np.arange(c.out_size), np.diff(c.indptr)), c.indices] = c.weights
        payload = source.astype(np.int64) if form.message_bits else (source != 0).astype(np.int64)
        for delay in np.unique(delays) if delays is not None else [0]:
            late = 1 + projection.delay + int(delay)
            part = (weights if delays is None else np.where(delays == delay, weights, 0)) @ payload
            # Lava's delayed process sums in 64 bits before the shift, the others in 32.
            part = part.astype(np.int32) if form.message_bits and delays is None else part
            part = (part.astype(np.int64) << max(form.exponent, 0)) >> max(-form.exponent, 0)
            total = total + np.pad(part, ((0, 0), (late, 0)))[:, : part.shape[1]]
    return np.asarray(total).astype(np.int32)


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("name", PAIRS)
def test_lava_outputs(name, cores):
    """Messages, states and dendritic sums of every layer and step, as Lava 0.10.0 computed them."""
    folder = shared_data() / "golden" / "lava"
    network, inputs = read_integer_network(folder / f"{name}.npz")
    with np.load(folder / f"{name}.out.npz") as file:
        expected = {key: file[key] for key in file.files}
    layers = [p for p in network.populations if p.kernel is not None]
    steps = expected["s0"].shape[1]
    # Lava's source starts again at its end.
    inputs = inputs[:, np.arange(steps) % inputs.shape[1]]
    probes = [Probe(p.name, variable) for p in layers for variable in (*KERNELS[p.kernel].state, "spikes")]
    for found in (
        emulate(build_program(network, "loihi2", scattered(network, cores)), KERNELS, inputs, steps, probes=probes),
        simulate(network, KERNELS, inputs, steps, probes=probes),
    ):
        for k, population in enumerate(layers):
            np.testing.assert_array_equal(found.spikes[population.name][0].T, expected[f"s{k}"])
            compared = 0
            for recorded, ours in STATES.items():
                # Lava keeps a `sigma` for Delta too, and never uses it.
                unused = recorded == "sigma" and population.kernel == "loihi2.delta"
                if f"{recorded}{k}" in expected and ours in KERNELS[population.kernel].state and not unused:
                    np.testing.assert_array_equal(found.state[f"{population.name}.{ours}"][0].T, expected[f"{recorded}{k}"])
                    compared += 1
            assert compared >= 2 or population.kernel not in ("loihi2.lif", "loihi2.ternary_lif", "loihi2.lif_reset")
        assert sum(int(np.abs(expected[f"s{k}"]).sum()) for k in range(len(layers))) > 0
    sent = {"input": inputs[0].T, **{p.name: expected[f"s{k}"] for k, p in enumerate(layers)}}
    for k, population in enumerate(layers):
        if f"a{k}" in expected:
            np.testing.assert_array_equal(received(network, population, sent), expected[f"a{k}"])


@pytest.mark.parametrize("cores", [1, 4])
def test_oxford(cores):
    """lava-dl's public network of 456 neurons over 2000 steps: every spike of both layers, as Lava and SLAYER computed them."""
    path = shared_data() / "lava_dl" / "oxford_verified.npz"
    findings = Findings()
    network, inputs = read_integer_network(path, findings)
    assert not list(findings)
    with np.load(path) as file:
        expected = {"layer0": file["s0"], "layer1": file["s1"]}
    program = build_program(network, "loihi2", scattered(network, cores))
    found = [emulate(program, KERNELS, inputs, inputs.shape[1], record=list(expected))]
    if cores == 1:
        found.append(simulate(network, KERNELS, inputs, inputs.shape[1], record=list(expected)))
    for trace in found:
        for name, spikes in expected.items():
            np.testing.assert_array_equal(trace.spikes[name][0].T, spikes)


@pytest.mark.parametrize(
    ("target", "source_file", "file"), [("layer0", "", "input"), ("layer1", "input", "layer1"), ("layer2", "layer1", "output")]
)
def test_tinynet(target, source_file, file):
    """lava-dl's public convolutional network in the chip's integers, layer by layer.

    The recording of the two convolutions is aligned with what they received, and its first column is empty: they start in the second.
    """
    folder = shared_data() / "lava_dl"
    network = read(folder / "tiny.net")
    if source_file:
        sent, first = np.moveaxis(np.load(folder / "tinynet_gt" / f"{source_file}.npy")[0], -1, 0)[1:], 1
    else:
        image = np.load(folder / "tinynet_gt" / "input_bias.npy").transpose(2, 1, 0)
        sent, first = np.broadcast_to(image, (16, *image.shape)), 0
    expected = np.moveaxis(np.load(folder / "tinynet_gt" / f"{file}.npy")[0], -1, 0)[first:]
    projection = next(p for p in network.projections if p.target == target)
    port = replace(network[projection.source], neuron=None)
    # The image takes a step to the first layer, whose recording begins with what it sent before.
    projection = replace(projection, delay=0 if source_file else 1)
    layer = replace(network, populations=(port, network[target]), projections=(projection,), inputs=(port.name,), outputs=(target,))
    findings = Findings()
    quantized = TARGET.quantize(layer, Options(payload=(int(sent.min()), int(sent.max()))), findings)
    assert not findings.errors
    inputs, latency = sent[None].astype(np.int32), quantized.latency
    steps = len(expected) + latency
    for found in (
        emulate(build_program(quantized, "loihi2", scattered(quantized, 5)), KERNELS, inputs, steps),
        simulate(quantized, KERNELS, inputs, steps),
    ):
        np.testing.assert_array_equal(found.spikes[target][0, latency:], expected.reshape(len(expected), -1))
    assert expected.any()
