"""Public netx files against the published table of their sizes, and neurons against spikes that lava-dl's trainer computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Conv2d
from nmap.network import Network, Neuron, Projection, Resonator, SigmaDelta
from nmap.readers import read
from nmap.simulate.floating import simulate
from tests.support import shared_data
from tests.unit.readers.builders import write_netx

# lava-dl's files: populations with neurons, their model, neurons, stored weights, non-zero ones, and edges, those that connections have
# after convolutions are listed, without those into the padding and without the input block's own one per neuron.
TABLE = {
    "oxford.net": (2, "CUBA", 456, 102400, 90396, 102400),
    "tiny.net": (3, "LOIHI", 1668, 23400, 14157, 86400),
    "pilotnet_lif.net": (10, "LOIHI", 158509, 349998, 132037, 14144550),
    "pilotnet_sdnn.net": (10, "SDNN", 158509, 349998, 164736, 14144550),
    "bootstrap_mnist.net": (4, "CUBA", 1818, 668672, 489774, 668672),
}


def edges(projection: Projection) -> int:
    """Count the synapses of a connection; a kernel of ones sums the ones it finds, which are not in the padding."""
    c = projection.connectivity
    if not isinstance(c, Conv2d):
        return c.synapses
    channels, height, width = c.in_shape
    one = Conv2d(np.ones((1, 1, *c.kernel_size)), (1, height, width), c.stride, c.padding, c.dilation)
    return int(one.apply(np.ones(height * width)).sum()) * channels // c.groups * c.weights.shape[0]


@pytest.mark.parametrize("name", list(TABLE))
def test_the_published_files(name: str) -> None:
    network = read(shared_data() / "lava_dl" / name)
    layers, model, neurons, stored, used, connected = TABLE[name]
    found = [p.neuron for p in network.populations if p.neuron is not None]
    assert (len(found), network.neurons) == (layers, neurons)
    last = found.pop() if name == "bootstrap_mnist.net" else None
    assert {n.model for n in found} == {model}
    # An input block's neurons take one pixel each, through no weights of the file.
    projections = [p for p in network.projections if p.name != "input"]
    assert sum(p.connectivity.weights.size for p in projections) == stored
    assert sum(int(np.count_nonzero(p.connectivity.weights)) for p in projections) == used
    assert sum(edges(p) for p in projections) == connected
    assert not network.diagnostics
    # The readout of this one has no neuron.
    assert last is None or network[network.outputs[0]].silent


def test_the_sigma_delta_network() -> None:
    network = read(shared_data() / "lava_dl" / "pilotnet_sdnn.net")
    models = [p.neuron for p in network.populations if isinstance(p.neuron, SigmaDelta)]
    assert [m.role for m in models] == ["delta", *["sigma_delta"] * 8, "sigma"]
    assert all(np.all(m.threshold == 6 * 4096) and (m.spike_exp, m.state_exp, m.rectify) == (6, 6, True) for m in models)
    assert (models[1].bias.min(), models[1].bias.max()) == (-14 * 4096, 20 * 4096)
    assert [p.shape for p in network.populations[2:5]] == [(24, 32, 99), (36, 15, 49), (48, 7, 24)]
    # A still image: after the deltas have passed through, the steering angle stands still.
    image = np.random.default_rng(0).integers(-32, 32, (3, 66, 200))
    angle = simulate(network, np.repeat(image[None, None], 24, axis=1)).spikes["layer10"][0, :, 0]
    assert np.all(angle[14:] == angle[14])
    assert angle[14] != 0


# The runs of lava-dl d825ac5 (slayer.block.*.Dense, torch on the CPU): weights 64 times those of the blocks, and the steps of the spikes
# of each neuron. For ADRF_IZHIKEVICH, whose `forward` lacks an argument there, `dynamics` and `spike` were called in turn.
REAL = [[96, -48], [32, 80], [-32, 112]]
IMAGINARY = [[-48, 64], [80, 32], [16, -64]]
ROTATION = {"sinDecay": 2920, "cosDecay": 2510}
ADAPTIVE = {"thDecay": 328, "refDecay": 819}
RUNS: dict[str, tuple[dict[str, int], list[list[int]]]] = {
    "ALIF": (
        {"iDecay": 1638, "vDecay": 614, **ADAPTIVE, "vThMant": 76, "vThStep": 25},
        [
            [3, 6, 9, 11, 15, 19, 22, 26, 29, 32, 36, 40, 44, 47],
            [1, 4, 6, 9, 11, 14, 16, 20, 22, 25, 28, 31, 34, 37, 40, 43, 45],
            [1, 5, 9, 12, 17, 22, 27, 31, 35, 39, 45],
        ],
    ),
    "RF_PHASE": ({**ROTATION, "vThMant": 51}, [[16, 27, 31, 37], [], [2, 10, 18, 24]]),
    "RF_IZHIKEVICH": (
        {**ROTATION, "vThMant": 51},
        [
            [5, 8, 12, 16, 20, 23, 27, 31, 37, 38, 42, 45],
            [1, 5, 6, 9, 11, 12, 14, 16, 20, 21, 24, 26, 27, 29, 31, 34, 36, 39, 41, 42, 44, 45, 46],
            [3, 11, 14, 19, 22, 25, 29, 35, 40, 44, 47],
        ],
    ),
    "ADRF_PHASE": ({**ROTATION, **ADAPTIVE, "vThMant": 25, "vThStep": 19}, [[16, 27, 37], [6, 39], [2, 10, 18, 35]]),
    "ADRF_IZHIKEVICH": (
        {**ROTATION, **ADAPTIVE, "vThMant": 51, "vThStep": 19},
        [[5, 12, 23, 38], [1, 10, 17, 31, 41, 46], [3, 11, 25, 36]],
    ),
}


def one_layer(folder: Path, model: str) -> Network:
    weight: Any = np.array(REAL, np.float32)
    if model != "ALIF":
        weight = {"real": weight, "imag": np.array(IMAGINARY, np.float32)}
    neuron = {"type": model, **RUNS[model][0], "gradedSpike": False}
    return read(write_netx(folder / "a.net", [{"type": "dense", "shape": [3], "weight": weight, "neuron": neuron}]))


@pytest.mark.parametrize("model", list(RUNS))
def test_spikes_as_the_trainer_computed_them(tmp_path: Path, model: str) -> None:
    network = one_layer(tmp_path, model)
    step = np.arange(48)
    inputs = np.stack([step * 7 % 5 < 2, step * 3 % 11 < 3], axis=1).astype(np.int64)
    spikes = simulate(network, inputs[None]).spikes["layer0"][0]
    assert [np.flatnonzero(column).tolist() for column in spikes.T] == RUNS[model][1]
    neuron = network["layer0"].neuron
    assert isinstance(neuron, Neuron if model == "ALIF" else Resonator)
    assert (neuron.adaptation is None) == ("vThStep" not in RUNS[model][0])
