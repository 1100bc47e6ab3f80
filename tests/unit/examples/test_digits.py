"""The example's files belong together, and are what its README says."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from nmap.readers import read
from nmap.simulate.floating import simulate

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "digits"


@pytest.fixture(scope="module")
def training() -> ModuleType:
    pytest.importorskip("sklearn", reason="the example is trained on scikit-learn's digits")
    spec = importlib.util.spec_from_file_location("digits_train", FOLDER / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_file_is_the_network_its_reference_spikes_came_from() -> None:
    network = read(FOLDER / "net.h5")
    assert [(p.shape, p.neuron is None) for p in network.populations] == [((64,), True), ((96,), False), ((10,), False)]
    assert {a.name: a.source for a in network.assumptions}["dt"] == "file"
    with np.load(FOLDER / "samples.npz") as samples:
        run = simulate(network, samples["inputs"])
        np.testing.assert_array_equal(run.spikes[network.outputs[0]], samples["reference_spikes"])
        assert samples["inputs"].shape == (360, 16, 64)
        assert run.accuracy(samples["labels"]) >= 0.96


def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 1 << 20


def test_pixels_become_that_many_even_spikes(training: ModuleType) -> None:
    spikes = training.encode(np.arange(17.0)[None, :])[0]
    assert spikes.sum(0).tolist() == list(range(17))
    assert np.flatnonzero(spikes[:, 4]).tolist() == [3, 7, 11, 15]


def test_the_training_model_is_leaky_and_resets_to_zero(training: ModuleType) -> None:
    membrane, spikes = training.layer(np.ones((1, 4, 1)), np.array([[0.6]]), np.array([0.0]))
    # 0.6; 0.875 * 0.6 + 0.6 = 1.125 fires; 0.6 from zero again; 1.125 fires
    np.testing.assert_allclose(membrane[0, :, 0], [0.6, 1.125, 0.6, 1.125])
    assert spikes[0, :, 0].tolist() == [0, 1, 0, 1]


def test_the_gradient_is_that_of_the_smoothed_spike(training: ModuleType) -> None:
    # Far below threshold nothing resets, so the current of step 0 reaches v of step k with 0.875^k.
    membrane, spikes = training.layer(np.zeros((1, 3, 1)), np.array([[1.0]]), np.array([0.1]))
    slopes = 1 / (1 + 4 * np.abs(membrane[0, :, 0] - 1)) ** 2
    gradient = training.layer_gradient(membrane, spikes, np.ones((1, 3, 1)))
    assert gradient[0, 0, 0] == pytest.approx(sum(0.875**k * slopes[k] for k in range(3)))


def test_training_again_writes_a_file_that_can_be_read(training: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    parameters = [rng.normal(size=shape) for shape in ((96, 64), (96,), (10, 96), (10,))]
    training.write_nir(tmp_path / "net.h5", parameters)
    network = read(tmp_path / "net.h5")
    np.testing.assert_allclose(network.projections[0].connectivity.weights, parameters[0], rtol=1e-6)
    hidden = network.populations[1].neuron
    assert hidden is not None
    assert (hidden.beta[0], hidden.gain_v[0], hidden.threshold[0]) == (0.875, pytest.approx(1.0), 1.0)
