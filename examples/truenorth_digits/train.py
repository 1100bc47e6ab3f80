"""Train three spiking networks for TrueNorth's neuron on scikit-learn's digits in plain numpy, and write them as NIR.

    python examples/truenorth_digits/train.py [digits] [conv] [recurrent]

writes `NAME.nir` (the network) and `NAME.npz` (the held-out samples with the spikes the network answers) beside this file, for the
networks named, or for all. Needs scikit-learn for the images; nothing of nmap is used, as with any training framework.

All arithmetic is in integers, as on the chip. A neuron computes, in every step,

    v = v + W x + R s + b;  spike where v > theta;  then v = 0, or v - theta where the network subtracts     (integrate and fire)
    v = W x + b;            spike where v > theta                                                            (memoryless)

with whole W, R, b and theta; s are its own population's spikes of the step before. Trained are real numbers that are rounded for
the forward pass and updated as if they had not been (straight-through). A spike is a step of v - theta; backward, the step's derivative
is replaced by 1 / theta / (1 + 2 |v - theta - 1/2| / theta)^2. The reset is not differentiated. The class is the output neuron with most
spikes. Of all epochs the last one that is best on the validation samples is kept; the test samples take no part in it.

The same seed gives the same files whatever BLAS multiplies the matrices: gradients are rounded to a grid on which every sum over samples,
steps and synapses is exact in float64, so that the order of a summation does not matter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve().parent
CLASSES, DT = 10, 1e-3
SEED, TEST, VALIDATION, BATCH = 1, 360, 240, 64
GRID = 2.0**24
"""Gradients are multiples of 1 / GRID."""
NOISE = 2
"""Training images change in every epoch by whole numbers from -NOISE to NOISE a pixel."""
FOUR_BITS, THREE_BITS, TWO_BITS, TRINARY = (-8, 7), (-4, 3), (-2, 1), (-1, 1)
MOST = 255
"""Largest bias: the chip's constant leak has 8 bits and a sign."""

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Spikes = NDArray[np.uint8]


@dataclass(frozen=True)
class Layer:
    """One population and what leads into it.

    Args:
        shape: of the trained weights: (targets, sources), or of kernels (channels, channels of the image / groups, 3, 3).
        taps: (targets, sources) which of the flattened weights each synapse has; -1 for no synapse.
        bias_of: (targets,) which of the biases each neuron has.
        weights: least and largest weight.
        threshold: theta.
        memory: whether neurons integrate; False for memoryless ones.
        loop: whether all neurons are connected to all of their own population.
        size: the population's shape.
        stride, groups: of a convolution.
        image: height and width of what a convolution reads; None for a dense layer.
    """

    shape: tuple[int, ...]
    taps: Ints
    bias_of: Ints
    weights: tuple[int, int]
    threshold: int
    memory: bool
    loop: bool
    size: tuple[int, ...]
    stride: int = 1
    groups: int = 1
    image: tuple[int, int] | None = None


def dense(targets: int, sources: int, weights: tuple[int, int], threshold: int, memory: bool = False, loop: bool = False) -> Layer:
    """Return a fully connected layer."""
    taps = np.arange(targets * sources).reshape(targets, sources)
    return Layer((targets, sources), taps, np.arange(targets), weights, threshold, memory, loop, (targets,))


def conv(image: tuple[int, int, int], channels: int, stride: int, groups: int, threshold: int) -> Layer:
    """Return a convolution of integrating neurons: trinary 3 x 3 kernels, one pixel of padding; `image` is (channels, height, width)."""
    depth, height, width = image
    rows, columns = -(-height // stride), -(-width // stride)
    inner, outer = depth // groups, channels // groups
    taps = np.full((channels, rows, columns, depth, height, width), -1)
    for c, y, x, i, ky, kx in np.ndindex(channels, rows, columns, inner, 3, 3):
        row, column = y * stride + ky - 1, x * stride + kx - 1
        if 0 <= row < height and 0 <= column < width:
            taps[c, y, x, c // outer * inner + i, row, column] = ((c * inner + i) * 3 + ky) * 3 + kx
    size = (channels, rows, columns)
    return Layer(
        (channels, inner, 3, 3), taps.reshape(channels * rows * columns, -1), np.repeat(np.arange(channels), rows * columns),
        TRINARY, threshold, True, False, size, stride, groups, (height, width),
    )


@dataclass(frozen=True)
class Plan:
    """What is trained, and how.

    Args:
        layers: first to last.
        reset: `zero` or `subtract`.
        epochs, rate: of Adam, whose rate falls linearly to zero.
        shape: of the input.
    """

    layers: tuple[Layer, ...]
    reset: str
    epochs: int
    rate: float
    shape: tuple[int, ...]


PLANS = {
    "digits": Plan((dense(128, 64, FOUR_BITS, 16), dense(CLASSES, 128, TWO_BITS, 4)), "zero", 60, 0.1, (64,)),
    "conv": Plan(
        (
            conv((1, 8, 8), 8, 1, 1, 1),
            conv((8, 8, 8), 16, 2, 2, 2),
            conv((16, 4, 4), 32, 2, 2, 2),
            dense(CLASSES, 128, TRINARY, 4, memory=True),
        ),
        "subtract", 50, 0.06, (1, 8, 8),
    ),
    "recurrent": Plan(
        (dense(48, 32, THREE_BITS, 8, memory=True, loop=True), dense(CLASSES, 48, THREE_BITS, 8, memory=True)), "zero", 300, 0.3, (32,)
    ),
}


def dithered(images: Array, steps: int) -> Spikes:
    """Turn pixels 0..16 into floor(pixel * steps / 16) spikes, each pixel in its own order: (samples, 64) -> (samples, steps, 64)."""
    order = np.argsort(np.random.default_rng(SEED).random((steps, images.shape[1])), axis=0)
    return (images[:, None, :] * steps >= 16 * (order + 1)).astype(np.uint8)


def by_rows(images: Array) -> Spikes:
    """Show a row of pixels a step, each as 4 spikes: > 2, 6, 10, 14; then 4 blank steps: (samples, 64) -> (samples, 12, 32)."""
    levels = images.reshape(-1, 8, 8, 1) > np.array([2, 6, 10, 14])
    return np.pad(levels.reshape(-1, 8, 32), ((0, 0), (0, 4), (0, 0))).astype(np.uint8)


ENCODINGS: dict[str, Callable[[Array], Spikes]] = {
    "digits": lambda images: dithered(images, 16),
    "conv": lambda images: dithered(images, 8).reshape(-1, 8, 1, 8, 8),
    "recurrent": by_rows,
}


def matrix(layer: Layer, weights: Array) -> Array:
    """Return a layer's weights as a (targets, sources) matrix."""
    return np.append(weights, 0.0)[layer.taps]


def rounded(plan: Plan, parameters: list[list[Array]]) -> list[list[Array]]:
    """Return the whole numbers that the network computes with: by layer its weights, its biases and, in a loop, those weights.

    A layer's input comes to it one step later than to the layer before, while its bias acts on the chip from the first step on. An
    integrating neuron makes up for that with a v to start from, which a negative bias takes back to 0 in time; it must not fire at once.
    """
    result = []
    for late, (layer, values) in enumerate(zip(plan.layers, parameters, strict=True)):
        least = -(layer.threshold // late) if layer.memory and late else -MOST
        limits = [layer.weights, (least, MOST), layer.weights]
        result.append([np.clip(np.rint(v), *limit) for v, limit in zip(values, limits, strict=False)])
    return result


def run(layer: Layer, reset: str, values: list[Array], inputs: Array) -> tuple[Array, Array]:
    """Run one layer: (samples, steps, sources) -> membranes before the reset and spikes, (samples, steps, targets)."""
    current = inputs @ matrix(layer, values[0]).T + values[1][layer.bias_of]
    if not layer.memory:
        return current, (current > layer.threshold).astype(float)
    membrane, spikes = np.empty_like(current), np.empty_like(current)
    v, fired = np.zeros_like(current[:, 0]), np.zeros_like(current[:, 0])
    for t in range(current.shape[1]):
        v = v + current[:, t]
        if layer.loop:
            v = v + fired @ values[2].reshape(v.shape[1], -1).T
        fired = (v > layer.threshold).astype(float)
        membrane[:, t], spikes[:, t] = v, fired
        v = v * (1 - fired) if reset == "zero" else v - layer.threshold * fired
    return membrane, spikes


def on_grid(values: Array) -> Array:
    """Return the values rounded to multiples of 1 / GRID."""
    return np.rint(values * GRID) / GRID


def back(layer: Layer, reset: str, values: list[Array], membrane: Array, spikes: Array, to_spikes: Array) -> Array:
    """Return the gradient with respect to the input current, given the one with respect to the spikes."""
    slope = on_grid(1 / (1 + np.abs(membrane - layer.threshold - 0.5) * (2 / layer.threshold)) ** 2 / layer.threshold)
    if not layer.memory:
        return on_grid(to_spikes * slope)
    to_current = np.empty_like(membrane)
    later = np.zeros_like(membrane[:, 0])
    for t in reversed(range(membrane.shape[1])):
        arriving = to_spikes[:, t]
        if layer.loop and t + 1 < membrane.shape[1]:
            arriving = arriving + later @ values[2].reshape(later.shape[1], -1)
        # A reset to zero cuts the path through the membrane.
        kept = later * (1 - spikes[:, t]) if reset == "zero" else later
        later = on_grid(arriving * slope[:, t] + kept)
        to_current[:, t] = later
    return to_current


def answer(plan: Plan, whole: list[list[Array]], inputs: Spikes) -> Array:
    """Return the output spikes, (samples, steps, classes)."""
    spikes = inputs.reshape(*inputs.shape[:2], -1).astype(float)
    for layer, values in zip(plan.layers, whole, strict=True):
        _, spikes = run(layer, plan.reset, values, spikes)
    return spikes


def accuracy(spikes: Array, labels: Ints) -> float:
    """Return the share of samples whose class has most spikes; the lowest index wins a tie."""
    return float((spikes.sum(1).argmax(1) == labels).mean())


def gradients(plan: Plan, whole: list[list[Array]], inputs: Array, labels: Ints) -> list[list[Array]]:
    """Return the gradients of the cross-entropy of half the output's spike counts, by layer and parameter."""
    sent, membranes = [inputs], []
    for layer, values in zip(plan.layers, whole, strict=True):
        v, s = run(layer, plan.reset, values, sent[-1])
        membranes.append(v)
        sent.append(s)
    scores = sent[-1].sum(1) / 2
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(labels.size), labels] -= 1
    steps = inputs.shape[1]
    to_spikes = np.repeat(np.rint(p * 2.0**16)[:, None, :] / 2.0**16, steps, 1)
    result: list[list[Array]] = []
    for k in reversed(range(len(plan.layers))):
        layer, values = plan.layers[k], whole[k]
        i = back(layer, plan.reset, values, membranes[k], sent[k + 1], to_spikes)
        flat = i.reshape(-1, i.shape[2])
        full = flat.T @ sent[k].reshape(-1, sent[k].shape[2])
        there = layer.taps >= 0
        found = [
            np.bincount(layer.taps[there], full[there], values[0].size),
            np.bincount(layer.bias_of, flat.sum(0), values[1].size),
        ]
        if layer.loop:
            found.append((i[:, 1:].reshape(-1, i.shape[2]).T @ sent[k + 1][:, :-1].reshape(-1, i.shape[2])).ravel())
        result.insert(0, found)
        to_spikes = on_grid(i @ matrix(layer, values[0]))
    return result


def train(
    plan: Plan, encode: Callable[[Array], Spikes], images: Array, labels: Ints, held: Array, held_labels: Ints
) -> tuple[list[list[Array]], float]:
    """Return the whole-number parameters that were best on the validation samples after some epoch of Adam, and their accuracy there."""
    rng = np.random.default_rng(SEED)
    parameters: list[list[Array]] = []
    for layer in plan.layers:
        most = layer.weights[1]
        weights = [(2 * rng.random(int(np.prod(layer.shape))) - 1) * 0.6 * most]
        if layer.loop:
            weights.append((2 * rng.random(len(layer.taps) ** 2) - 1) * 0.1 * most)
        parameters.append([weights[0], np.zeros(layer.bias_of.max() + 1), *weights[1:]])
    flat = [values for layer_values in parameters for values in layer_values]
    mean, square = ([np.zeros_like(p) for p in flat] for _ in range(2))
    fade, fade_square = 1.0, 1.0
    step, steps = 0, plan.epochs * -(-labels.size // BATCH)
    best, score = rounded(plan, parameters), -1.0
    shown = encode(held)
    for _ in range(plan.epochs):
        order = rng.permutation(labels.size)
        seen = encode(np.clip(images + rng.integers(-NOISE, NOISE + 1, images.shape), 0, 16))
        data = seen.reshape(*seen.shape[:2], -1).astype(float)
        for start in range(0, labels.size, BATCH):
            batch = order[start : start + BATCH]
            rate = plan.rate * (1 - step / steps)
            step += 1
            fade, fade_square = fade * 0.9, fade_square * 0.999
            found = gradients(plan, rounded(plan, parameters), data[batch], labels[batch])
            for k, gradient in enumerate(g for layer_gradients in found for g in layer_gradients):
                mean[k] += 0.1 * (gradient - mean[k])
                square[k] += 0.001 * (gradient * gradient - square[k])
                flat[k] -= rate * mean[k] / (1 - fade) / (np.sqrt(square[k] / (1 - fade_square)) + 1e-8)
            for layer, values in zip(plan.layers, parameters, strict=True):
                for trained in (values[0], *values[2:]):
                    np.clip(trained, layer.weights[0] - 0.45, layer.weights[1] + 0.45, out=trained)
        now = rounded(plan, parameters)
        reached = accuracy(answer(plan, now, shown), held_labels)
        if reached >= score:
            best, score = now, reached
    return best, score


def split(images: Array, labels: Ints) -> tuple[tuple[Array, Ints], tuple[Array, Ints], tuple[Array, Ints]]:
    """Return training, validation and test samples, each class in its share."""
    rest, test_x, rest_y, test_y = train_test_split(images, labels, test_size=TEST, random_state=SEED, stratify=labels)
    train_x, held_x, train_y, held_y = train_test_split(rest, rest_y, test_size=VALIDATION, random_state=SEED, stratify=rest_y)
    return (train_x, train_y), (held_x, held_y), (test_x, test_y)


def write_nir(path: Path, plan: Plan, whole: list[list[Array]]) -> None:
    """Write the network as NIR: memoryless neurons as Threshold, integrating ones as IF, `r` = 1 / dt so that their input gain is 1.

    Every neuron's weights, bias and threshold are divided by the power of two that brings its largest weight to 1 or just below, as
    after a training with normalised weights; that loses nothing.
    """
    nodes: dict[str, dict[str, object]] = {"input": {"type": "Input", "shape": np.array(plan.shape)}}
    edges: list[tuple[str, str]] = []
    before = "input"
    for k, (layer, values) in enumerate(zip(plan.layers, whole, strict=True), 1):
        channels = layer.shape[0]
        trained = [values[0].reshape(layer.shape), *(v.reshape(channels, -1) for v in values[2:])]
        largest = np.max([np.abs(weights).reshape(channels, -1).max(1) for weights in trained], axis=0)
        unit = 2.0 ** np.ceil(np.log2(np.maximum(largest, 1)))
        weights, *loop = [(w / unit.reshape(-1, *[1] * (w.ndim - 1))).astype(np.float32) for w in trained]
        linear: dict[str, object] = {"type": "Affine", "weight": weights, "bias": (values[1] / unit).astype(np.float32)}
        if layer.image is not None:
            linear |= {
                "type": "Conv2d", "stride": np.full(2, layer.stride), "padding": np.ones(2, int), "dilation": np.ones(2, int),
                "groups": layer.groups, "input_shape": np.array(layer.image),
            }
        threshold = (layer.threshold / unit)[layer.bias_of].reshape(layer.size).astype(np.float32)
        neuron: dict[str, object] = {"type": "Threshold", "threshold": threshold}
        if layer.memory:
            zero = np.zeros(layer.size, np.float32)
            neuron = {"type": "IF", "r": zero + np.float32(1 / DT), "v_threshold": threshold, "v_reset": zero}
        chain = [f"{'fc' if layer.image is None else 'conv'}{k}", f"layer{k}"]
        if layer.image is None and k > 1 and len(plan.layers[k - 2].size) > 1:
            nodes["flatten"] = {"type": "Flatten", "start_dim": 0, "end_dim": -1, "input_type": np.array(plan.layers[k - 2].size)}
            chain.insert(0, "flatten")
        nodes |= {chain[-2]: linear, chain[-1]: neuron}
        edges += zip([before, *chain], chain, strict=False)
        before = chain[-1]
        for weights in loop:
            nodes[f"loop{k}"] = {"type": "Linear", "weight": weights}
            edges += [(before, f"loop{k}"), (f"loop{k}", before)]
    nodes["output"] = {"type": "Output", "shape": np.array([CLASSES])}
    edges.append((before, "output"))
    metadata = {"dt": DT, "reset_mechanism": plan.reset, "reset_delay": 0, "spike_rule": "v>theta"}
    text = h5py.string_dtype()
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("version", data="1.0.8", dtype=text)
        graph = file.create_group("node")
        graph.create_dataset("type", data="NIRGraph", dtype=text)
        graph.create_dataset("edges", data=edges, dtype=text)
        for name, fields in (*((f"nodes/{name}", fields) for name, fields in nodes.items()), ("metadata", metadata)):
            group = graph.create_group(name)
            for key, value in fields.items():
                packed = {"compression": "gzip", "shuffle": True} if isinstance(value, np.ndarray) and value.size > 256 else {}
                group.create_dataset(key, data=value, dtype=text if isinstance(value, str) else None, **packed)


def make(name: str, folder: Path) -> str:
    """Train one network, write its two files into `folder`, and return a line that says how good it is."""
    plan, encode = PLANS[name], ENCODINGS[name]
    digits = load_digits()
    (train_x, train_y), (held_x, held_y), (test_x, test_y) = split(digits.data, digits.target)
    whole, held = train(plan, encode, train_x, train_y, held_x, held_y)
    inputs = encode(test_x)
    spikes = answer(plan, whole, inputs)
    write_nir(folder / f"{name}.nir", plan, whole)
    np.savez_compressed(
        folder / f"{name}.npz", inputs=inputs, labels=test_y.astype(np.int64), reference_spikes=spikes.astype(np.uint8)
    )
    reached = accuracy(spikes, test_y)
    return f"{name}: accuracy {reached:.4f} on {test_y.size} test samples ({held:.4f} on {held_y.size} validation samples)"


def main(names: list[str]) -> None:
    """Make the networks named, or all."""
    unknown = [name for name in names if name not in PLANS]
    if unknown:
        sys.exit(f"no network {', '.join(unknown)}; there are {', '.join(PLANS)}")
    for name in names or PLANS:
        print(make(name, HERE))


if __name__ == "__main__":
    main(sys.argv[1:])
