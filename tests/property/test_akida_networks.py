"""Random networks of every kind of layer on Akida 1.0: four ways of computing them agree, layer by layer and inference by inference.

The quantized network on the reference simulator, the mapped program on the emulator, the emitted model read by an interpreter of its own
(`tests/akida_machine.py`), and, where the network's numbers are whole ones that the chip holds, the network's own sums in real numbers.
"""

from __future__ import annotations

import numpy as np
import pytest

from nmap.compile import compile_program
from nmap.diagnostics import Findings
from nmap.emulate.engine import emulate
from nmap.partition import map_network
from nmap.simulate.fixed import simulate
from nmap.target.machine import build_machine
from nmap.target.registry import find_partitioner
from nmap.testing.targets import judge
from nmap.windows import windowed
from nmap_akida import TARGET
from nmap_akida.form import form_of
from nmap_akida.layers import layers_of
from nmap_akida.model import layer_names
from tests import akida_machine as machine
from tests.akida_networks import IMAGES, KINDS, LINES, MODES, Case, random_case, with_layer

SEEDS = {True: (0, 1), False: (2,)}
"""Of networks whose numbers the chip holds, and of others."""
CHAINS = range(24)
MODEL = "model.akida.json"
FORMS = {
    "separable": "SEPARABLE", "max_pool": "POOLED", "dense": "DENSE", "sparse": "DENSE", "image_same": "IMAGE", "image_valid": "IMAGE",
    "image_strided": "IMAGE",
}
"""What a kind of layer becomes, where that is no convolution."""


def compiled(case: Case, variant: str = "AKD1000"):
    """The quantized network and its program."""
    refused = [d for d in judge(TARGET, case.network, case.options) if d.severity == "error"]
    assert refused == []
    findings = Findings()
    quantized = TARGET.quantize(case.network, case.options, findings)
    findings.raise_errors()
    chip = build_machine(TARGET.spec, variant)
    mapping = map_network(quantized, TARGET, chip, find_partitioner("greedy"), case.options, None)
    return quantized, compile_program(quantized, TARGET, mapping)


def observed(layers) -> dict[str, str]:
    """The population whose neurons are a layer's outputs, by the layer's name in the model."""
    return {name: layer.pooled or layer.name for name, layer in zip(layer_names(layers), layers, strict=True)}


def check(case: Case, variant: str = "AKD1000"):
    """Compare everything; return the quantized network and what its populations send."""
    quantized, program = compiled(case, variant)
    given = windowed(case.inputs, quantized.window)
    assert quantized.window == case.window
    samples, inferences = given.shape[:2]
    names = [p.name for p in quantized.populations if p.kernel is not None]
    steps = inferences + quantized.latency
    fixed = simulate(quantized, TARGET.kernels, given, steps, record=names)
    chip = emulate(program, TARGET.kernels, given, steps, record=names)
    spikes = {}
    for name in names:
        np.testing.assert_array_equal(chip.spikes[name], fixed.spikes[name], err_msg=f"chip: {name}")
        first = quantized[name].latency
        spikes[name] = chip.spikes[name][:, first : first + inferences].reshape(samples * inferences, -1)
    for name, wanted in case.wanted.items():
        np.testing.assert_array_equal(spikes[name], wanted.reshape(samples * inferences, -1), err_msg=f"real numbers: {name}")

    model = machine.load(TARGET.emit(quantized, program)[MODEL])
    first = model["layers"][0]["parameters"]
    width, height, channels = (first[f"input_{axis}"] for axis in ("width", "height", "channels"))
    tensors = machine.from_rows(given.reshape(samples * inferences, -1), (channels, height, width))
    sent = machine.run(model, tensors)
    layers = layers_of(quantized)
    assert set(sent) == set(observed(layers))
    for layer, population in observed(layers).items():
        np.testing.assert_array_equal(machine.in_rows(sent[layer]), spikes[population], err_msg=f"model: {population}")
    return quantized, spikes


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "real"])
@pytest.mark.parametrize("kind", [*KINDS, *LINES, *IMAGES])
def test_a_layer_of_every_kind(kind, whole):
    seen = 0
    for seed in SEEDS[whole]:
        case = with_layer(kind, seed, whole=whole)
        quantized, spikes = check(case)
        if kind in case.kinds:
            forms = {form_of(quantized.settings, name).name for name in spikes}
            assert FORMS.get(kind, "CONV") in forms
            assert any(name.endswith(".pool") for name in spikes) == (kind == "sum_pool_conv")
            assert any(quantized.settings.get(f"{name}.global") for name in spikes) == (kind == "global_pool")
            seen += any(sent.any() for name, sent in spikes.items())
    assert seen


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_every_width_of_weights_in_every_mode(mode, bits):
    for kind in ("conv3", "dense"):
        check(with_layer(kind, 77, mode, bits))


@pytest.mark.parametrize("seed", CHAINS)
def test_random_chains(seed):
    check(random_case(seed, whole=seed % 4 != 3), ("AKD1000", "AKD1500")[seed % 2])


def test_the_chains_are_of_every_kind():
    cases = [random_case(seed, whole=seed % 4 != 3) for seed in CHAINS]
    assert len({kind for case in cases for kind in case.kinds} & set(KINDS)) >= len(KINDS) - 4
    assert {case.options.bits for case in cases} == {1, 2, 4}
    assert {case.window for case in cases} >= {1, 2, 15}
    assert {case.options.payload[1] for case in cases} >= {1, 3, 15, 20}
    assert sum(sent.any() for case in cases for sent in case.wanted.values()) > 0.8 * sum(len(case.wanted) for case in cases)
