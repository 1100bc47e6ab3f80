"""The Akida example's files belong together, obey the chip's rules, and are what their README says."""

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

FOLDER = Path(__file__).resolve().parents[3] / "examples" / "akida_digits"
NAMES = ("threshold", "trinary", "rate", "conv")
LARGEST = {
    "threshold": {"fc1": 7, "fc2": 7},
    "trinary": {"fc1": 1, "fc2": 1},
    "rate": {"fc1": 7, "fc2": 7},
    "conv": {"conv1": 127, "conv3": 7, "depth4": 7, "point4": 7, "fc5": 7},
}
"""Largest weight of either sign, by the reference sheet's ranges of 8, 4 and 2 bits."""


@pytest.fixture(scope="module")
def training() -> ModuleType:
    pytest.importorskip("sklearn", reason="the example is trained on scikit-learn's digits")
    spec = importlib.util.spec_from_file_location("akida_digits_train", FOLDER / "train.py")
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


def before(nodes: dict[str, dict[str, Any]], number: int) -> list[str]:
    """Return the names of the linear nodes that lead into a layer, in order."""
    return [f"{kind}{number}" for kind in ("pool", "conv", "depth", "point", "fc") if f"{kind}{number}" in nodes]


def product(node: dict[str, Any], sent: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return what one linear node makes of an image or of a row of values, target by target."""
    if node["type"] == "SumPool2d":
        channels, height, width = sent.shape
        found = np.zeros((channels, height // 2, width // 2))
        for c, y, x in np.ndindex(found.shape):
            found[c, y, x] = sent[c, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].sum()
        return found
    weights = node["weight"].astype(float)
    if node["type"] == "Affine":
        flat = sent.ravel()
        return np.array([float(row @ flat) + float(b) for row, b in zip(weights, node["bias"], strict=True)])
    stride, edge, groups = int(node["stride"][0]), int(node["padding"][0]), int(node["groups"])
    padded = np.pad(sent, ((0, 0), (edge, edge), (edge, edge)))
    filters, depth, side, _ = weights.shape
    rows, columns = ((n + 2 * edge - side) // stride + 1 for n in sent.shape[1:])
    found = np.zeros((filters, rows, columns))
    for f, y, x in np.ndindex(found.shape):
        first = f // (filters // groups) * depth
        seen = padded[first : first + depth, y * stride : y * stride + side, x * stride : x * stride + side]
        found[f, y, x] = float((weights[f] * seen).sum()) + float(node["bias"][f])
    return found


def naive(path: Path, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Run one sample, (steps, *input shape), layer by layer; return the last layer's spikes."""
    nodes = nodes_of(path)
    layers = sorted(name for name in nodes if name.startswith("layer"))
    v: dict[str, np.ndarray[Any, Any]] = {}
    result = []
    for image in inputs:
        sent = image.astype(float)
        for name in layers:
            for linear in before(nodes, int(name.removeprefix("layer"))):
                sent = product(nodes[linear], sent)
            neuron = nodes[name]
            if neuron["type"] == "Threshold":
                sent = (sent > neuron["threshold"]).astype(float)
            else:
                v[name] = v.get(name, np.zeros(sent.shape)) + sent
                sent = (v[name] >= neuron["v_threshold"]).astype(float)
                v[name] = v[name] - sent * neuron["v_threshold"]
        result.append(sent)
    return np.stack(result)


def counted(path: Path, inputs: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Return the numbers of spikes of neurons that integrate all steps, then fire: (samples, steps, 64) -> (samples, 10)."""
    nodes, steps = nodes_of(path), inputs.shape[1]
    sent = inputs.sum(1).astype(float)
    for number in (1, 2):
        linear, theta = nodes[f"fc{number}"], nodes[f"layer{number}"]["v_threshold"]
        v = sent @ linear["weight"].T.astype(float) + steps * linear["bias"].astype(float)
        sent = np.clip(np.floor(v / theta), 0, steps)
    return sent


@pytest.mark.parametrize(
    ("name", "shapes", "model", "reset", "compare", "steps", "least"),
    [
        ("threshold", [(64,), (128,), (10,)], "Threshold", "zero", ">", 16, 0.975),
        ("trinary", [(64,), (128,), (10,)], "Threshold", "zero", ">", 16, 0.975),
        ("rate", [(64,), (64,), (10,)], "IF", "subtract", ">=", 15, 0.97),
        ("conv", [(1, 10, 10), (8, 10, 10), (8, 5, 5), (16, 3, 3), (32, 3, 3), (10,)], "Threshold", "zero", ">", 9, 0.965),
    ],
)
def test_the_file_is_the_network_its_reference_spikes_came_from(
    name: str, shapes: list[tuple[int, ...]], model: str, reset: str, compare: str, steps: int, least: float
) -> None:
    network = read(FOLDER / f"{name}.nir")
    assert [p.shape for p in network.populations] == shapes
    assert {p.neuron.model for p in network.populations if p.neuron is not None} == {model}
    assert (network.conventions.reset, network.conventions.compare, network.conventions.dt) == (reset, compare, 1e-3)
    with np.load(FOLDER / f"{name}.npz") as samples:
        assert samples["inputs"].shape == (360, steps, *shapes[0])
        run = simulate(network, samples["inputs"])
        np.testing.assert_array_equal(run.spikes[network.outputs[0]], samples["reference_spikes"])
        assert len(samples["labels"]) == 360
        assert run.accuracy(samples["labels"]) >= least


@pytest.mark.parametrize("name", NAMES)
def test_a_naive_network_answers_the_same(name: str) -> None:
    with np.load(FOLDER / f"{name}.npz") as samples:
        inputs, expected = samples["inputs"], samples["reference_spikes"]
    steps = 2 if name == "conv" else inputs.shape[1]
    for k in (0, 7):
        found = naive(FOLDER / f"{name}.nir", inputs[k, :steps])
        assert found.any()
        np.testing.assert_array_equal(found, expected[k, :steps])


def test_counts_of_all_steps_at_once_are_as_accurate() -> None:
    with np.load(FOLDER / "rate.npz") as samples:
        found, labels, stepwise = counted(FOLDER / "rate.nir", samples["inputs"]), samples["labels"], samples["reference_spikes"].sum(1)
    assert (found.argmax(1) == labels).mean() >= 0.97
    assert (found.argmax(1) == stepwise.argmax(1)).mean() >= 0.99
    # It is an approximation: some counts differ.
    assert 0.8 < (found == stepwise).mean() < 1


@pytest.mark.parametrize(("name", "linear"), [(name, linear) for name in NAMES for linear in LARGEST[name]])
def test_weights_are_whole_numbers_that_the_chip_holds(name: str, linear: str) -> None:
    nodes = nodes_of(FOLDER / f"{name}.nir")
    assert {n for n, node in nodes.items() if "weight" in node} == set(LARGEST[name])
    node, most = nodes[linear], LARGEST[name][linear]
    assert not np.any(np.abs(node["weight"]) > 1)
    largest = 0
    for weights, bias in zip(node["weight"], node["bias"], strict=True):
        unit = 1
        while np.any(weights * unit % 1):
            unit *= 2
            assert unit <= 128
        whole = weights * unit
        assert np.abs(whole).max() <= most
        largest = max(largest, int(np.abs(whole).max()))
        neuron = nodes.get(f"layer{linear[-1]}")
        assert neuron is not None
        if not linear.startswith(("depth", "point")):
            theta = neuron["threshold" if "threshold" in neuron else "v_threshold"]
            assert not np.any(theta * unit % 1)
            assert bias * unit % 1 == 0
    assert largest == most


def test_images_have_sizes_that_the_chip_can_halve() -> None:
    nodes = nodes_of(FOLDER / "conv.nir")
    assert nodes["layer1"]["threshold"].shape[1:] == (10, 10)
    assert nodes["pool2"]["kernel_size"].tolist() == nodes["pool2"]["stride"].tolist() == [2, 2]
    assert [nodes[name]["stride"].tolist() for name in ("conv1", "conv3", "depth4", "point4")] == [[1, 1], [2, 2], [1, 1], [1, 1]]
    assert nodes["conv3"]["input_shape"].tolist() == [5, 5]
    for name in ("conv1", "conv3", "depth4", "point4"):
        assert nodes[name]["padding"].tolist() == [(nodes[name]["weight"].shape[2] - 1) // 2] * 2
    assert int(nodes["depth4"]["groups"]) == 16


def test_files_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 300_000


@pytest.mark.parametrize("steps", [15, 16])
def test_pixels_become_their_share_of_spikes_in_different_orders(training: ModuleType, steps: int) -> None:
    spikes = training.dithered(np.repeat(np.arange(17.0)[:, None], 64, axis=1), steps)
    np.testing.assert_array_equal(spikes.sum(1), np.repeat(np.arange(17) * steps // 16, 64).reshape(17, 64))
    assert len({spikes[8, :, k].tobytes() for k in range(64)}) > 32


def test_images_are_moved_by_up_to_a_pixel(training: ModuleType) -> None:
    image = np.zeros((1, 64))
    image[0, [8 * 3 + 5, 0]] = [11, 16]
    frames = training.moved(image).reshape(9, 10, 10)
    assert frames[0, 4, 6] == 176
    assert frames[0, 1, 1] == 255
    places = {tuple(int(k) for k in np.argwhere(frame == 176)[0]) for frame in frames}
    assert places == {(y, x) for y in (3, 4, 5) for x in (5, 6, 7)}
    assert [np.count_nonzero(frame) for frame in frames] == [2] * 9


def test_the_three_parts_of_the_data_share_no_sample(training: ModuleType) -> None:
    labels = np.repeat(np.arange(10), 180)
    parts = training.split(np.arange(1800.0)[:, None], labels)
    assert [len(y) for _, y in parts] == [1200, 240, 360]
    assert np.unique(np.concatenate([x.ravel() for x, _ in parts])).size == 1800
    for _, y in parts:
        assert np.bincount(y).tolist() == [len(y) // 10] * 10


def test_trained_numbers_become_whole_ones_within_limits(training: ModuleType) -> None:
    plan = training.Plan((training.dense(1, (3,), 7, 64), training.dense(1, (3,), 1, 4)), 1, 0.1)
    found = training.rounded(plan, [[np.array([-7.6, 7.4, 0.6]), np.array([-2.3])], [np.array([-1.4, 0.4, 3.0]), np.array([2.6])]])
    assert [[v.tolist() for v in values] for values in found] == [[[-7, 7, 1], [-8]], [[-1, 0, 1], [3]]]


def test_neurons_compare_and_count_as_stated(training: ModuleType) -> None:
    layer, values = training.dense(1, (2,), 7, 4), [np.array([[3.0, -2.0]]), np.array([1.0])]
    memoryless, counting = training.Plan((layer,), 1, 0.1), training.Plan((layer,), 1, 0.1, 15)
    # 3 + 1; 6 + 1; -2 + 1
    v, sent = training.run(memoryless, layer, values, np.array([[[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]]))
    assert (v[0, :, 0].tolist(), sent[0, :, 0].tolist()) == ([4, 7, -1], [0, 1, 0])
    # (3 * 2 + 15) / 4 = 5.25; (3 * 15 + 15) / 4 = 15; (3 * 16 + 15) / 4 = 15.75, at most 15; (-2 * 15 + 15) / 4 < 0
    v, sent = training.run(counting, layer, values, np.array([[[2.0, 0.0], [15.0, 0.0], [16.0, 0.0], [0.0, 15.0]]]))
    assert (v[0, :, 0].tolist(), sent[0, :, 0].tolist()) == ([21, 60, 63, -15], [5, 15, 15, 0])


def test_integrating_neurons_answer_step_by_step(training: ModuleType) -> None:
    plan = training.Plan((training.dense(1, (1,), 7, 4),), 1, 0.1, 5)
    inputs = np.array([1, 1, 0, 1, 1], np.uint8).reshape(1, 5, 1)
    # 4 fires: 0; 4 fires: 0; 1; 5 fires: 1; 5 fires: 1
    assert training.answer(plan, [[np.array([[3.0]]), np.array([1.0])]], inputs)[0, :, 0].tolist() == [1, 1, 0, 1, 1]


def test_a_pool_fires_where_one_of_four_does(training: ModuleType) -> None:
    plan = training.Plan((training.pool((1, 4, 4)),), 1, 0.1)
    image = np.zeros((4, 4), np.uint8)
    image[0, 1] = image[2, 3] = image[3, 3] = 1
    seen, sent = training.forward(plan, [[np.zeros(1)]], image.reshape(1, 1, 16))
    assert sent[-1].reshape(2, 2).tolist() == [[1, 0], [0, 1]]
    # One spike more or less does not change the window with two.
    assert training.slope(plan, plan.layers[0], seen[0]).reshape(2, 2).tolist() == [[1, 1], [1, 0]]


@pytest.mark.parametrize("kind", ["dense", "conv", "separable"])
def test_gradients_are_those_of_the_smoothed_network(training: ModuleType, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare with differences of a loss whose spikes are the straight line that the derivative stands for."""
    rng = np.random.default_rng(5)
    monkeypatch.setattr(training, "CLASSES", 2)
    source = (2, 3, 3)
    layer = training.dense(2, source, 7, 64) if kind == "dense" else training.conv(source, 2, 7, 64, 1, kind == "separable")
    layers = (layer,) if kind == "dense" else (layer, training.dense(2, layer.size, 7, 64))
    plan = training.Plan(layers, 1, 0.1, 15)
    # Every neuron sends v / theta, which is the derivative of a number of spikes within the range of numbers.
    monkeypatch.setattr(training, "run", lambda plan, layer, values, inputs: (
        (v := inputs @ training.matrix(layer, values[:-1]).T + plan.steps * values[-1][layer.bias_of]), v / layer.threshold
    ))
    monkeypatch.setattr(training, "slope", lambda plan, layer, v: np.full_like(v, 1 / layer.threshold))
    values = [[rng.integers(1, 4, shape).astype(float) for shape in part.shapes] + [np.zeros(part.size[0])] for part in layers]
    inputs, labels = rng.integers(0, 2, (3, 15, 18)).astype(np.uint8), np.array([0, 1, 1])

    def loss() -> float:
        scores = training.forward(plan, values, inputs)[1][-1].sum(1) / 2
        high = scores.max(1)
        each = np.log(np.exp(scores - high[:, None]).sum(1)) + high - scores[np.arange(3), labels]
        return float(each.sum())

    found = training.gradients(plan, values, inputs, labels)
    for k, layer in enumerate(layers):
        for j, gradient in enumerate(found[k]):
            at = tuple(int(rng.integers(n)) for n in gradient.shape)
            grain = layer.grain if j == len(layer.shapes) else 1
            slope = 0.0
            for sign in (1, -1):
                values[k][j][at] += sign * 1e-4 * grain
                slope += sign * loss() / 2e-4
                values[k][j][at] -= sign * 1e-4 * grain
            # The gradients are of twice the loss: scores are half of the counts.
            assert gradient[at] / 2 == pytest.approx(slope, rel=2e-3, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_do_not_depend_on_the_order_of_summation(training: ModuleType, name: str) -> None:
    plan, rng = training.PLANS[name], np.random.default_rng(3)
    values = random_values(plan, rng)
    data, labels = random_inputs(plan, rng, 24), rng.integers(0, 10, 24)
    shuffled = rng.permutation(24)
    one = training.gradients(plan, values, data, labels)
    other = training.gradients(plan, values, data[shuffled], labels[shuffled])
    pairs = [(a, b) for pair in zip(one, other, strict=True) for a, b in zip(*pair, strict=True)]
    assert sum(a.any() for a, _ in pairs) >= 4
    for a, b in pairs:
        assert a.tobytes() == b.tobytes()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_computes_what_was_trained(training: ModuleType, name: str, tmp_path: Path) -> None:
    plan, rng = training.PLANS[name], np.random.default_rng(4)
    values = random_values(plan, rng)
    shape = plan.layers[0].source
    training.write_nir(tmp_path / "net.nir", plan, values, shape)
    inputs = random_inputs(plan, rng, 20)
    network = read(tmp_path / "net.nir")
    expected = training.answer(plan, values, inputs)
    assert 0 < expected.mean() < 1
    run = simulate(network, inputs.reshape(*inputs.shape[:2], *shape))
    np.testing.assert_array_equal(run.spikes[network.outputs[0]], expected)


def test_training_again_writes_the_same_files(training: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(training.PLANS, "rate", replace(training.PLANS["rate"], epochs=1))
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        assert training.make("rate", folder).startswith("rate: accuracy 0.")
    for file in ("rate.nir", "rate.npz"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    with np.load(tmp_path / "a" / "rate.npz") as made, np.load(FOLDER / "rate.npz") as kept:
        np.testing.assert_array_equal(made["inputs"], kept["inputs"])
        np.testing.assert_array_equal(made["labels"], kept["labels"])


def test_an_unknown_name_is_told(training: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no network digit; there are threshold, trinary, rate, conv"):
        training.main(["digit"])


def random_inputs(plan: Any, rng: np.random.Generator, samples: int) -> np.ndarray[Any, Any]:
    """Return inputs of the kind that a network takes: spikes, or an image of 8 bits."""
    shape = (samples, plan.steps if plan.steps > 1 else 6, int(np.prod(plan.layers[0].source)))
    if plan.layers[0].most == 127:
        return rng.integers(0, 256, shape).astype(np.uint8)
    return (rng.random(shape) < 0.4).astype(np.uint8)


def random_values(plan: Any, rng: np.random.Generator) -> list[list[Any]]:
    """Return whole-number parameters of one of the networks, drawn from all that the chip can hold in it."""
    result = []
    for layer in plan.layers:
        weights = [rng.integers(-layer.most, layer.most + 1, shape).astype(float) for shape in layer.shapes]
        bias = np.zeros(layer.size[0]) if layer.kind == "pool" else rng.integers(-3, 12, layer.size[0]) * float(layer.grain)
        result.append([*weights, bias])
    return result
