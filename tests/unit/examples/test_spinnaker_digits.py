"""The SpiNNaker example's files belong together, stay within the chips' weights, and are what their README says."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.network import Network, Neuron
from nmap.readers import read
from nmap.simulate.floating import simulate

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "spinnaker_digits"
NAMES = ("rate", "latency", "rows")


@pytest.fixture(scope="module")
def training() -> ModuleType:
    pytest.importorskip("sklearn", reason="the example is trained on scikit-learn's digits")
    spec = importlib.util.spec_from_file_location("spinnaker_digits_train", FOLDER / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def weights_into(network: Network, name: str) -> list[tuple[str, int, np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """Return source, delay, weights and bias of every projection into a population."""
    found = []
    for p in network.projections:
        if p.target == name:
            assert isinstance(p.connectivity, Dense)
            assert p.delays is None
            bias = np.zeros(p.connectivity.out_size) if p.bias is None else p.bias
            found.append((p.source, p.delay, p.connectivity.weights, bias))
    return found


def naive(network: Network, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Run one sample, (steps, inputs), neuron by neuron; return the last layer's spikes."""
    spikes = {"input": inputs.astype(float)}
    for population in network.populations[1:]:
        neuron = population.neuron
        assert isinstance(neuron, Neuron)
        sent = spikes[population.name] = np.zeros((len(inputs), population.size))
        i, v = np.zeros(population.size), np.zeros(population.size)
        into = weights_into(network, population.name)
        for t in range(len(inputs)):
            for k in range(population.size):
                x = 0.0
                for source, delay, weights, bias in into:
                    x += bias[k]
                    if t >= delay:
                        x += float(weights[k] @ spikes[source][t - delay])
                i[k] = neuron.alpha[k] * i[k] + x
                v[k] = neuron.beta[k] * v[k] + i[k]
                if v[k] > 1:
                    sent[t, k], v[k] = 1, 0
    return spikes[network.populations[-1].name]


@pytest.mark.parametrize(
    ("name", "sizes", "model", "steps", "least"),
    [
        ("rate", [64, 64, 10], "LIF", 24, 0.97),
        ("latency", [64, 64, 10], "CubaLIF", 24, 0.975),
        ("rows", [8, 64, 10], "CubaLIF", 32, 0.93),
    ],
)
def test_the_file_is_the_network_its_reference_spikes_came_from(name: str, sizes: list[int], model: str, steps: int, least: float) -> None:
    network = read(FOLDER / f"{name}.nir")
    assert [p.size for p in network.populations] == sizes
    assert [p.neuron.model for p in network.populations if p.neuron is not None] == [model] * 2
    assert (network.conventions.reset, network.conventions.compare, network.conventions.dt) == ("zero", ">", 1e-3)
    with np.load(FOLDER / f"{name}.npz") as samples:
        assert samples["inputs"].shape == (360, steps, sizes[0])
        run = simulate(network, samples["inputs"])
        np.testing.assert_array_equal(run.spikes[network.outputs[0]], samples["reference_spikes"])
        assert len(samples["labels"]) == 360
        assert run.accuracy(samples["labels"]) >= least


@pytest.mark.parametrize("name", NAMES)
def test_a_naive_network_answers_the_same(name: str) -> None:
    network = read(FOLDER / f"{name}.nir")
    with np.load(FOLDER / f"{name}.npz") as samples:
        for k in (0, 7):
            found = naive(network, samples["inputs"][k])
            assert found.any()
            np.testing.assert_array_equal(found, samples["reference_spikes"][k])


def test_the_recurrent_network_has_loops_of_1_to_4_steps() -> None:
    loops = {p.delay: p.connectivity for p in read(FOLDER / "rows.nir").projections if p.source == p.target}
    assert sorted(loops) == [1, 2, 3, 4]
    for delay, loop in loops.items():
        assert isinstance(loop, Dense)
        assert set(np.flatnonzero(loop.weights.any(axis=0)) % 4) == {delay - 1}


@pytest.mark.parametrize(("name", "units"), [("rate", (1 / 64, 1 / 64)), ("latency", (1 / 128, 1 / 128)), ("rows", (1 / 8, 1 / 64))])
def test_weights_are_multiples_that_spinnaker_2_can_hold(name: str, units: tuple[float, float]) -> None:
    network = read(FOLDER / f"{name}.nir")
    for layer, unit in zip(network.populations[1:], units, strict=True):
        into = weights_into(network, layer.name)
        most = 15 if any(delay > 1 for _, delay, _, _ in into) else 127
        for _, _, weights, bias in into:
            np.testing.assert_array_equal(weights / unit, np.rint(weights / unit))
            assert np.abs(weights / unit).max() <= most
            assert (name == "rate") == bool(bias.any())


def test_files_are_small() -> None:
    assert max(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 150_000


def test_pixels_become_half_their_share_of_spikes_in_different_orders(training: ModuleType) -> None:
    spikes = training.dithered(np.repeat(np.arange(17.0)[:, None], 64, axis=1), 24)
    np.testing.assert_array_equal(spikes.sum(1), np.repeat(np.arange(17) * 24 // 32, 64).reshape(17, 64))
    assert len({spikes[8, :, k].tobytes() for k in range(64)}) > 32


def test_bright_pixels_come_first(training: ModuleType) -> None:
    image = np.zeros((1, 64))
    image[0, :4] = [16, 12, 3, 2]
    spikes = training.by_time(image)
    assert spikes.shape == (1, 24, 64)
    assert np.argwhere(spikes[0]).tolist() == [[0, 0], [4, 1], [13, 2]]


def test_rows_are_shown_for_three_steps(training: ModuleType) -> None:
    image = np.zeros((1, 64))
    image[0, 8 * 3 + 5] = 8
    spikes = training.by_rows(image)
    assert spikes.shape == (1, 32, 8)
    assert np.argwhere(spikes[0]).tolist() == [[10, 5], [11, 5]]


def test_the_three_parts_of_the_data_share_no_sample(training: ModuleType) -> None:
    labels = np.repeat(np.arange(10), 180)
    parts = training.split(np.arange(1800.0)[:, None], labels)
    assert [len(y) for _, y in parts] == [1200, 240, 360]
    assert np.unique(np.concatenate([x.ravel() for x, _ in parts])).size == 1800
    for _, y in parts:
        assert np.bincount(y).tolist() == [len(y) // 10] * 10


def test_neurons_integrate_and_reset_as_stated(training: ModuleType) -> None:
    layer = training.Layer(1, 1, 0.5, 0.5, 1 / 8, 15, delays=np.array([2]))
    values = [np.array([[0.75]]), np.array([0.0]), np.array([[-0.5]])]
    membrane, spikes = training.run(layer, values, np.ones((1, 5, 1)))
    # i: .75, 1.125, 1.3125, .65625 + .75 - .5, .453125 + .75 - .5; v: .75, 1.5 fires, 1.3125 fires, .90625, .453125 + .703125 fires
    assert membrane[0, :, 0].tolist() == [0.75, 1.5, 1.3125, 0.90625, 1.15625]
    assert spikes[0, :, 0].tolist() == [0, 1, 1, 0, 1]


def test_the_gradient_is_that_of_the_smoothed_spike(training: ModuleType) -> None:
    layer = training.Layer(1, 1, 0.5, 0.75, 1 / 8, 15, delays=np.array([2]))
    values = [np.array([[0.125]]), np.array([0.0]), np.array([[-0.5]])]
    membrane, spikes = training.run(layer, values, np.ones((1, 3, 1)))
    slope = 1 / (1 + 4 * np.abs(membrane[0, :, 0] - 1)) ** 2
    assert not spikes.any()
    found = training.back(layer, values, membrane, spikes, np.ones((1, 3, 1)))[0, :, 0]
    # dv and di of a step: by its own spike, the next step's membrane and current, and by its spike's way round the loop.
    v3 = i3 = slope[2]
    v2 = slope[1] + 0.75 * v3
    i2 = v2 + 0.5 * i3
    v1 = (1 - 0.5 * i3) * slope[0] + 0.75 * v2
    np.testing.assert_allclose(found, [v1 + 0.5 * i2, i2, i3], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_do_not_depend_on_the_order_of_summation(training: ModuleType, name: str) -> None:
    plan, rng = training.PLANS[name], np.random.default_rng(3)
    values = random_values(plan, rng)
    data = (rng.random((40, 6, plan.layers[0].sources)) < 0.4).astype(float)
    labels, shuffled = rng.integers(0, 10, 40), rng.permutation(40)
    one = training.gradients(plan, values, data, labels)
    other = training.gradients(plan, values, data[shuffled], labels[shuffled])
    for a, b in ((a, b) for pair in zip(one, other, strict=True) for a, b in zip(*pair, strict=True)):
        assert a.any()
        assert a.tobytes() == b.tobytes()


def test_training_again_writes_the_same_files(training: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(training.PLANS, "latency", replace(training.PLANS["latency"], epochs=1))
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        assert training.make("latency", folder).startswith("latency: accuracy 0.")
    for file in ("latency.nir", "latency.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    with np.load(tmp_path / "a" / "latency.npz") as made, np.load(FOLDER / "latency.npz") as kept:
        np.testing.assert_array_equal(made["inputs"], kept["inputs"])
        np.testing.assert_array_equal(made["labels"], kept["labels"])


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_computes_what_was_trained(training: ModuleType, name: str) -> None:
    plan, rng = training.PLANS[name], np.random.default_rng(4)
    values = random_values(plan, rng)
    network = training.network(name, plan, values)
    network.check()
    inputs = (rng.random((20, 10, plan.layers[0].sources)) < 0.4).astype(np.uint8)
    expected = training.answer(plan, values, inputs)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(simulate(network, inputs).spikes[network.outputs[0]], expected)


def test_an_unknown_name_is_told(training: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no network digit; there are rate, latency, rows"):
        training.main(["digit"])


def random_values(plan: Any, rng: np.random.Generator) -> list[list[Any]]:
    """Return parameters of one of the networks on its grids."""
    result = []
    for layer in plan.layers:
        loop = [] if layer.delays is None else [(layer.targets, layer.targets)]
        weights = [
            rng.integers(-layer.most, layer.most + 1, shape) * layer.unit for shape in ((layer.targets, layer.sources), *loop)
        ]
        bias = rng.integers(-4, 5, layer.targets) / 64 if layer.biased else np.zeros(layer.targets)
        result.append([weights[0], bias, *weights[1:]])
    return result
