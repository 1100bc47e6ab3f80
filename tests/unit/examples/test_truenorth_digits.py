"""The TrueNorth example's files belong together, obey the chip's rules, and are what their README says."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from nmap.readers import read
from nmap.simulate.floating import simulate

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "truenorth_digits"
NAMES = ("digits", "conv", "recurrent")
AXONS = {(-1, 1): 2, (-2, 1): 2, (-4, 3): 3, (-8, 7): 4}
"""Axons that a source needs for weights in a range, by the reference sheet's table of minimal codes."""
RANGES = {
    "digits": {"layer1": (-8, 7), "layer2": (-2, 1)},
    "conv": dict.fromkeys(("layer1", "layer2", "layer3", "layer4"), (-1, 1)),
    "recurrent": {"layer1": (-4, 3), "layer2": (-4, 3)},
}


@pytest.fixture(scope="module")
def training() -> ModuleType:
    pytest.importorskip("sklearn", reason="the example is trained on scikit-learn's digits")
    spec = importlib.util.spec_from_file_location("truenorth_digits_train", FOLDER / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def nodes_of(path: Path) -> dict[str, dict[str, Any]]:
    """Return the file's nodes as it stores them."""
    with h5py.File(path) as file:
        return {
            name: {key: value[()].decode() if value.dtype.kind == "O" else value[()] for key, value in group.items()}
            for name, group in file["node/nodes"].items()
        }


def whole(values: np.ndarray[Any, Any], unit: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return values times one number a target (the first axis), which must be whole numbers."""
    scaled = values.astype(np.float64) * unit.reshape(-1, *[1] * (values.ndim - 1))
    found = np.rint(scaled).astype(np.int64)
    np.testing.assert_array_equal(found, scaled)
    return found


def linear_into(nodes: dict[str, dict[str, Any]], layer: str) -> tuple[dict[str, Any], np.ndarray[Any, Any], dict[str, Any] | None]:
    """Return a layer's linear node, the power of two that makes its targets' weights whole numbers, and the node of its loop."""
    number = layer.removeprefix("layer")
    linear, loop = nodes.get(f"fc{number}") or nodes[f"conv{number}"], nodes.get(f"loop{number}")
    rows = [n["weight"].reshape(len(n["weight"]), -1) for n in (linear, loop) if n is not None]
    unit = np.ones(len(linear["weight"]))
    for k in range(len(unit)):
        while any(np.any(row[k] * unit[k] % 1) for row in rows):
            unit[k] *= 2
            assert unit[k] <= 16
    return linear, unit, loop


def naive(path: Path, inputs: np.ndarray[Any, Any], reset: str) -> np.ndarray[Any, Any]:
    """Run one sample, (steps, *input shape), in integers, neuron by neuron; return the last layer's spikes."""
    nodes = nodes_of(path)
    layers = sorted(name for name in nodes if name.startswith("layer"))
    v: dict[str, dict[tuple[int, ...], int]] = {name: {} for name in layers}
    before: dict[str, np.ndarray[Any, Any]] = {}
    result = []
    for image in inputs.astype(np.int64):
        sent = image
        for name in layers:
            linear, unit, loop = linear_into(nodes, name)
            weights, bias = whole(linear["weight"], unit), whole(linear["bias"], unit)
            neuron = nodes[name]
            theta = neuron["threshold" if neuron["type"] == "Threshold" else "v_threshold"]
            spikes = np.zeros(theta.shape, np.int64)
            for at in np.ndindex(theta.shape):
                c = at[0]
                if linear["type"] == "Conv2d":
                    stride, depth = int(linear["stride"][0]), weights.shape[1]
                    first = c // (len(weights) // int(linear["groups"])) * depth
                    padded = np.pad(sent[first : first + depth], ((0, 0), (1, 1), (1, 1)))
                    y, x = at[1] * stride, at[2] * stride
                    arriving = int((weights[c] * padded[:, y : y + 3, x : x + 3]).sum())
                else:
                    arriving = int(weights[c] @ sent.ravel())
                arriving += int(bias[c])
                if loop is not None and name in before:
                    arriving += int(whole(loop["weight"], unit)[c] @ before[name])
                threshold = round(float(theta[at] * unit[c]))
                if neuron["type"] == "Threshold":
                    spikes[at] = arriving > threshold
                    continue
                value = v[name].get(at, 0) + arriving
                spikes[at] = value > threshold
                v[name][at] = value if value <= threshold else 0 if reset == "zero" else value - threshold
            before[name] = sent = spikes
        result.append(sent)
    return np.stack(result)


@pytest.mark.parametrize(
    ("name", "shapes", "models", "reset", "least"),
    [
        ("digits", [(64,), (128,), (10,)], ["Threshold", "Threshold"], "zero", 0.975),
        ("conv", [(1, 8, 8), (8, 8, 8), (16, 4, 4), (32, 2, 2), (10,)], ["IF"] * 4, "subtract", 0.97),
        ("recurrent", [(32,), (48,), (10,)], ["IF", "IF"], "zero", 0.89),
    ],
)
def test_the_file_is_the_network_its_reference_spikes_came_from(
    name: str, shapes: list[tuple[int, ...]], models: list[str], reset: str, least: float
) -> None:
    network = read(FOLDER / f"{name}.nir")
    assert [p.shape for p in network.populations] == shapes
    assert [p.neuron.model for p in network.populations if p.neuron is not None] == models
    assert (network.conventions.reset, network.conventions.compare, network.conventions.dt) == (reset, ">", 1e-3)
    with np.load(FOLDER / f"{name}.npz") as samples:
        run = simulate(network, samples["inputs"])
        np.testing.assert_array_equal(run.spikes[network.outputs[0]], samples["reference_spikes"])
        assert len(samples["labels"]) == 360
        assert run.accuracy(samples["labels"]) >= least


def test_the_recurrent_network_has_one_loop_of_one_step() -> None:
    loops = [p for p in read(FOLDER / "recurrent.nir").projections if p.source == p.target]
    assert [(p.source, p.delay, p.delays) for p in loops] == [("layer1", 1, None)]


@pytest.mark.parametrize("name", NAMES)
def test_a_naive_integer_network_answers_the_same(name: str) -> None:
    with np.load(FOLDER / f"{name}.npz") as samples:
        for k, steps in ((0, 5),) if name == "conv" else ((0, 16), (1, 16)):
            found = naive(FOLDER / f"{name}.nir", samples["inputs"][k, :steps], "subtract" if name == "conv" else "zero")
            assert found.any()
            np.testing.assert_array_equal(found, samples["reference_spikes"][k, :steps])


@pytest.mark.parametrize(("name", "layer"), [(name, layer) for name in NAMES for layer in RANGES[name]])
def test_the_integers_fit_the_chip(name: str, layer: str) -> None:
    nodes = nodes_of(FOLDER / f"{name}.nir")
    linear, unit, loop = linear_into(nodes, layer)
    low, high = RANGES[name][layer]
    fan_in = 0
    for node in (linear, loop):
        if node is not None:
            weights = whole(node["weight"], unit)
            assert low <= weights.min() < 0 < weights.max() <= high
            fan_in += np.count_nonzero(weights.reshape(len(weights), -1), axis=1).max()
    assert fan_in * AXONS[low, high] <= 256
    neuron = nodes[layer]
    memoryless = neuron["type"] == "Threshold"
    theta = neuron["threshold" if memoryless else "v_threshold"]
    thresholds = whole(theta, unit)
    biases = whole(linear["bias"], unit).reshape(-1, *[1] * (theta.ndim - 1))
    assert thresholds.min() > 0
    # Without memory the chip's constant leak is the bias less the threshold, which is the one above theta.
    leak = biases - thresholds - 1 if memoryless else biases
    assert np.abs(leak).max() <= 255
    if not memoryless:
        assert not neuron["v_reset"].any()
        # A bias acts from the first step, the input comes `late` steps after it: v starts at -late * bias and must stay below theta.
        late = int(layer.removeprefix("layer")) - 1
        assert (-late * biases <= thresholds).all()


def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 200_000


def test_pixels_become_their_share_of_spikes_in_different_orders(training: ModuleType) -> None:
    images = np.repeat(np.arange(17.0)[:, None], 64, axis=1)
    for steps in (8, 16):
        spikes = training.dithered(images, steps)
        np.testing.assert_array_equal(spikes.sum(1), np.repeat(np.arange(17) * steps // 16, 64).reshape(17, 64))
        assert len({spikes[8, :, k].tobytes() for k in range(64)}) > 32


def test_rows_are_shown_one_a_step(training: ModuleType) -> None:
    image = np.zeros((1, 64))
    image[0, 8 * 3 + 5] = 11
    spikes = training.by_rows(image)
    assert spikes.shape == (1, 12, 32)
    assert np.argwhere(spikes[0]).tolist() == [[3, 20], [3, 21], [3, 22]]


def test_the_three_parts_of_the_data_share_no_sample(training: ModuleType) -> None:
    labels = np.repeat(np.arange(10), 180)
    parts = training.split(np.arange(1800.0)[:, None], labels)
    assert [len(y) for _, y in parts] == [1200, 240, 360]
    assert np.unique(np.concatenate([x.ravel() for x, _ in parts])).size == 1800
    for _, y in parts:
        assert np.bincount(y).tolist() == [len(y) // 10] * 10


def test_trained_numbers_become_whole_ones_within_limits(training: ModuleType) -> None:
    layer = training.dense(1, 3, (-2, 1), 5, memory=True)
    plan = training.Plan((layer, layer, layer), "zero", 1, 0.1, (3,))
    found = training.rounded(plan, [[np.array([-2.6, 0.4, 0.6]), np.array([-20.3])]] * 3)
    assert [weights.tolist() for weights, _ in found] == [[-2, 0, 1]] * 3
    assert [bias.tolist() for _, bias in found] == [[-20], [-5], [-2]]


def test_neurons_integrate_and_reset_as_stated(training: ModuleType) -> None:
    layer = replace(training.dense(1, 1, (-8, 7), 4, memory=True, loop=True), bias_of=np.array([0]))
    values = [np.array([3.0]), np.array([1.0]), np.array([-2.0])]
    membrane, spikes = training.run(layer, "zero", values, np.ones((1, 5, 1)))
    # 4; 8 fires; 0 + 4 - 2; 2 + 4 fires; 0 + 4 - 2
    assert membrane[0, :, 0].tolist() == [4, 8, 2, 6, 2]
    assert spikes[0, :, 0].tolist() == [0, 1, 0, 1, 0]
    # 4; 8 fires; 8 - 4 + 4 - 2 = 6 fires; 6 - 4 + 4 - 2 = 4; 8 fires
    assert training.run(layer, "subtract", values, np.ones((1, 5, 1)))[0][0, :, 0].tolist() == [4, 8, 6, 4, 8]


def test_the_gradient_is_that_of_the_smoothed_spike(training: ModuleType) -> None:
    layer = training.dense(1, 1, (-8, 7), 4, memory=True, loop=True)
    values = [np.array([1.0]), np.array([0.0]), np.array([-2.0])]
    membrane, spikes = training.run(layer, "zero", values, np.ones((1, 3, 1)))
    assert membrane[0, :, 0].tolist() == [1, 2, 3]
    slope = [1 / 4 / (1 + 2 * abs(v - 4.5) / 4) ** 2 for v in (1, 2, 3)]
    found = training.back(layer, "zero", values, membrane, spikes, np.ones((1, 3, 1)))[0, :, 0]
    # Into the current of a step: by its own spike, by the membrane of the next step, and by its spike's way round the loop.
    last = slope[2]
    middle = (1 - 2 * last) * slope[1] + last
    first = (1 - 2 * middle) * slope[0] + middle
    np.testing.assert_allclose(found, [first, middle, last], atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_do_not_depend_on_the_order_of_summation(training: ModuleType, name: str) -> None:
    plan, rng = training.PLANS[name], np.random.default_rng(3)
    values = random_values(training, name, rng)
    data = (rng.random((40, 6, int(np.prod(plan.shape)))) < 0.4).astype(float)
    labels = rng.integers(0, 10, 40)
    shuffled = rng.permutation(40)
    one = training.gradients(plan, values, data, labels)
    other = training.gradients(plan, values, data[shuffled], labels[shuffled])
    for a, b in ((a, b) for pair in zip(one, other, strict=True) for a, b in zip(*pair, strict=True)):
        assert a.any()
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_computes_what_was_trained(training: ModuleType, name: str, tmp_path: Path) -> None:
    plan, rng = training.PLANS[name], np.random.default_rng(4)
    values = random_values(training, name, rng)
    training.write_nir(tmp_path / "net.nir", plan, values)
    inputs = (rng.random((20, 10, *plan.shape)) < 0.4).astype(np.uint8)
    network = read(tmp_path / "net.nir")
    expected = training.answer(plan, values, inputs)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(simulate(network, inputs).spikes[network.outputs[0]], expected)


def test_training_again_writes_the_same_files(training: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(training.PLANS, "recurrent", replace(training.PLANS["recurrent"], epochs=1))
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        assert training.make("recurrent", folder).startswith("recurrent: accuracy 0.")
    for file in ("recurrent.nir", "recurrent.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    with np.load(tmp_path / "a" / "recurrent.npz") as made, np.load(FOLDER / "recurrent.npz") as kept:
        np.testing.assert_array_equal(made["inputs"], kept["inputs"])
        np.testing.assert_array_equal(made["labels"], kept["labels"])


def test_an_unknown_name_is_told(training: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no network digit; there are digits, conv, recurrent"):
        training.main(["digit"])


def random_values(training: ModuleType, name: str, rng: np.random.Generator) -> list[list[Any]]:
    """Return whole-number parameters of one of the networks, drawn from all that the chip can hold in it."""
    result = []
    for layer in training.PLANS[name].layers:
        low, high = layer.weights
        sizes = [int(np.prod(layer.shape)), *([layer.taps.shape[0] ** 2] if layer.loop else [])]
        weights = [rng.integers(low, high + 1, n).astype(float) for n in sizes]
        result.append([weights[0], rng.integers(-2, layer.threshold + 2, layer.bias_of.max() + 1).astype(float), *weights[1:]])
    return result
