"""Real trained networks on Loihi 2: mapped, emulated, equal to the reference, and as accurate as in real numbers within a point."""

from __future__ import annotations

import numpy as np
import pytest

from nmap import samples
from nmap.compile import build_program
from nmap.diagnostics import Findings
from nmap.emulate.engine import emulate
from nmap.options import Options
from nmap.partition import map_network
from nmap.readers import read
from nmap.rules import run_rules
from nmap.simulate.fixed import simulate
from nmap.target.machine import build_machine
from nmap.verify.mapping import verify_mapping
from nmap_cpsat import PARTITIONER
from nmap_loihi2 import TARGET
from tests.support import shared_data


def deployed(network, **options):
    findings = Findings()
    chosen = Options(**options)
    run_rules(network, TARGET, chosen, findings)
    quantized = TARGET.quantize(network, chosen, findings)
    findings.raise_errors()
    machine = build_machine(TARGET.spec)
    mapping = map_network(quantized, TARGET, machine, PARTITIONER, chosen)
    program = build_program(quantized, "loihi2", mapping)
    assert verify_mapping(program, TARGET, machine) == ()
    return quantized, mapping, program


@pytest.mark.parametrize(("name", "cores"), [
    ("digits_mlp_64_64_10_zero", 1), ("mnist_mlp_784_128_10_zero", 3), ("fsdd_rsnn_64_96r_10", 1), ("mnist_convpool_4c3_p2_8c3_p2_10", 2),
])
def test_accuracy_and_equality(name, cores):
    folder = shared_data() / "trained"
    network = read(folder / f"{name}.nir")
    given = samples.load(folder / f"{name}.npz", network)
    with np.load(folder / f"{name}.npz") as stored:
        reference, accuracy = stored["reference_spikes"], float(stored["reference_accuracy"])
    quantized, mapping, program = deployed(network)
    assert mapping.packing.clusters == cores == mapping.packing.lower_bound
    output, latency = network.outputs[0], quantized.latency
    inputs = given.inputs.reshape(*given.inputs.shape[:2], -1)
    steps = inputs.shape[1] + latency
    spikes = emulate(program, TARGET.kernels, inputs, steps).spikes[output]
    found = spikes[:, latency:]
    assert abs(float(np.mean(found.sum(1).argmax(1) == given.labels)) - accuracy) <= 0.01
    assert np.mean((found != 0) == (reference != 0)) > 0.96
    few = simulate(quantized, TARGET.kernels, inputs[:20], steps).spikes[output]
    np.testing.assert_array_equal(few, spikes[:20])
    assert few.any()


def test_oxford_computes_the_verified_spikes_on_fewer_cores():
    """lava-dl's own network and spikes, both layers; the vendor's compiler takes 5 cores."""
    folder = shared_data() / "lava_dl"
    network = read(folder / "oxford.net")
    quantized, mapping, program = deployed(network)
    with np.load(folder / "oxford_verified.npz") as verified:
        inputs, layers = verified["input"].T[None].astype(np.int32), (verified["s0"], verified["s1"])
    names = [p.name for p in quantized.populations if p.kernel is not None]
    spikes = emulate(program, TARGET.kernels, inputs, inputs.shape[1], record=names).spikes
    for name, expected in zip(names, layers, strict=True):
        np.testing.assert_array_equal(spikes[name][0].T, expected)
    assert mapping.packing.clusters == 3


def test_approximated_reset_is_measured():
    folder = shared_data() / "trained"
    network = read(folder / "digits_mlp_64_64_10_subtract_delayed.nir")
    quantized, _, program = deployed(network, approximate=frozenset({"reset"}))
    given = samples.load(folder / "digits_mlp_64_64_10_subtract_delayed.npz", network)
    inputs = given.inputs.reshape(*given.inputs.shape[:2], -1)
    spikes = emulate(program, TARGET.kernels, inputs, inputs.shape[1] + quantized.latency).spikes[network.outputs[0]]
    assert float(np.mean(spikes.sum(1).argmax(1) == given.labels)) > 0.9
