"""The emulator against a recorded Loihi 2 chip and against Lava's fixed-point outputs."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.connectivity import Dense
from nmap.emulate.engine import emulate
from nmap.mapping import Mapping, Shard
from nmap.network import Provenance
from nmap.program import Core
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.simulate.fixed import simulate
from nmap.target.machine import Machine
from nmap.trace import Probe
from nmap_loihi2.integers import read_integer_network
from nmap_loihi2.kernels import KERNELS
from tests.support import shared_data


def scattered(network, cores):
    """Cut every population in `cores` pieces and give each piece a core."""
    shards = []
    for population in network.populations:
        if population.kernel is None:
            continue
        cuts = np.linspace(0, population.size, min(cores, population.size) + 1).astype(int).tolist()
        shards += [Shard(population.name, ((a, b),), k, {}) for k, (a, b) in enumerate(pairwise(cuts))]
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


@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("name", ["a_lif3", "c_graded_delay", "f_latency"])
def test_lava_outputs(name, cores):
    """Spikes, u and v of every layer and step, as Lava 0.10.0 computed them."""
    folder = shared_data() / "golden" / "lava"
    network, inputs = read_integer_network(folder / f"{name}.npz")
    expected = np.load(folder / f"{name}.out.npz")
    layers = [p for p in network.populations if p.kernel is not None]
    steps = expected["s0"].shape[1]
    probes = [Probe(p.name, variable) for p in layers for variable in ("u", "v", "spikes")]
    for found in (
        emulate(build_program(network, "loihi2", scattered(network, cores)), KERNELS, inputs, steps, probes=probes),
        simulate(network, KERNELS, inputs, steps, probes=probes),
    ):
        for k, population in enumerate(layers):
            np.testing.assert_array_equal(found.spikes[population.name][0].T, expected[f"s{k}"])
            np.testing.assert_array_equal(found.state[f"{population.name}.u"][0].T, expected[f"u{k}"])
            np.testing.assert_array_equal(found.state[f"{population.name}.v"][0].T, expected[f"v{k}"])
        assert sum(int(np.abs(expected[f"s{k}"]).sum()) for k in range(len(layers))) > 0
