"""Train four spiking networks for Akida 1.0 on scikit-learn's digits in plain numpy, and write them as NIR.

    python examples/akida_digits/train.py [threshold] [trinary] [rate] [conv]

writes `NAME.nir` (the network) and `NAME.npz` (the held-out samples with the spikes the network answers) beside this file, for the
networks named, or for all. Needs scikit-learn for the images; nothing of nmap is used, as with any training framework.

All arithmetic is in integers, as on the chip: whole weights W, biases b and thresholds theta. A memoryless neuron computes, in every step,

    v = W x + b;  spike where v > theta

and a neuron that integrates and fires

    v = v + W x + b;  spike where v >= theta;  then v = v - theta

Of an integrating network only the numbers of spikes are trained: over T steps in which x adds up to n, a neuron that waited for all of its
input would send

    clip(floor((W n + T b) / theta), 0, T)

spikes, which is what the chip computes. What the network answers step by step is in the samples.

Trained are real numbers that are rounded for the forward pass and updated as if they had not been (straight-through). A spike is a step of
v - theta; backward, the step's derivative is replaced by 1 / (1 + 2 |v - theta - 1/2| / theta)^2, that of a number of spikes by
1 / (1 + 2 d / theta)^2 with d the distance from where it is not clipped, both divided by theta (by 64 at most: the gradients of a layer
are scaled by Adam anyway), and that of the largest of four spikes by 1 where one spike more or less changes it. The class is the output
neuron with most spikes. Of all epochs the last one that is best on the validation samples is kept; the test samples take no part in it.

The same seed gives the same files whatever BLAS multiplies the matrices: gradients are rounded to a grid on which every sum over samples,
steps and synapses is exact in float64, so that the order of a summation does not matter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Literal

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
TWO_BITS, FOUR_BITS, EIGHT_BITS = 1, 7, 127
"""Largest weight, of either sign, in so many bits: Akida has no -2, -8 and -128."""
PACE = {TWO_BITS: 0.6, FOUR_BITS: 1.0, EIGHT_BITS: 16.0}
"""How fast weights of a range are trained."""
COUNTED = 15
"""Steps of the integrating network, and the largest number of spikes that 4 bits hold."""
MOVES = [(y, x) for y in (0, -1, 1) for x in (0, -1, 1)]
"""Rows and columns by which the image is moved in each step of `conv`."""

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Numbers = NDArray[np.uint8]


@dataclass(frozen=True)
class Layer:
    """One population and what leads into it.

    Args:
        kind: `dense`; `conv`; `separable`, a convolution within each channel and then one across channels; or `pool`, which fires where
            one of 2 by 2 neurons does.
        size: the population's shape.
        source: shape of what it reads.
        shapes: of the trained weights: (targets, sources); (channels, channels of the image, 3, 3); or (channels of the image, 3, 3) and
            (channels, channels of the image).
        taps: (targets, sources) which of the flattened weights of the kernels, or of the matrix, each synapse has; -1 for no synapse.
        most: weights lie from -most to most.
        threshold: theta.
        stride: of a convolution.
    """

    kind: Literal["dense", "conv", "separable", "pool"]
    size: tuple[int, ...]
    source: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    taps: Ints
    most: int
    threshold: int
    stride: int = 1

    @property
    def bias_of(self) -> Ints:
        """(targets,) which of the biases each neuron has: one a channel."""
        return np.repeat(np.arange(self.size[0]), prod(self.size[1:]))

    @property
    def grain(self) -> int:
        """Biases are multiples of it."""
        return max(self.threshold // 16, 1)


def dense(targets: int, source: tuple[int, ...], most: int, threshold: int) -> Layer:
    """Return a fully connected layer."""
    shape = (targets, prod(source))
    return Layer("dense", (targets,), source, (shape,), np.arange(prod(shape)).reshape(shape), most, threshold)


def conv(source: tuple[int, int, int], channels: int, most: int, threshold: int, stride: int = 1, separable: bool = False) -> Layer:
    """Return a convolution with kernels of 3 by 3 and one pixel of padding; `source` is (channels, height, width)."""
    depth, height, width = source
    rows, columns = -(-height // stride), -(-width // stride)
    taps = np.full((channels, rows, columns, depth, height, width), -1)
    for c, y, x, i, ky, kx in np.ndindex(channels, rows, columns, depth, 3, 3):
        row, column = y * stride + ky - 1, x * stride + kx - 1
        if 0 <= row < height and 0 <= column < width:
            taps[c, y, x, i, row, column] = ((c * depth + i) * 3 + ky) * 3 + kx
    return Layer(
        "separable" if separable else "conv", (channels, rows, columns), source,
        ((depth, 3, 3), (channels, depth)) if separable else ((channels, depth, 3, 3),),
        taps.reshape(channels * rows * columns, -1), most, threshold, stride,
    )


def pool(source: tuple[int, int, int]) -> Layer:
    """Return neurons that fire where one of 2 by 2 does: its matrix is full of ones where there are synapses."""
    depth, height, width = source
    taps = np.full((depth, height // 2, width // 2, *source), -1)
    for c, y, x in np.ndindex(depth, height, width):
        taps[c, y // 2, x // 2, c, y, x] = 0
    return Layer("pool", (depth, height // 2, width // 2), source, (), taps.reshape(-1, prod(source)), 1, 0)


@dataclass(frozen=True)
class Plan:
    """What is trained, and how.

    Args:
        layers: first to last.
        epochs, rate: of Adam, whose rate falls linearly to zero.
        steps: steps that one pass through the network stands for: 1 for memoryless neurons, all of them for integrating ones.
    """

    layers: tuple[Layer, ...]
    epochs: int
    rate: float
    steps: int = 1


IMAGE = (1, 10, 10)
PLANS = {
    "threshold": Plan((dense(128, (64,), FOUR_BITS, 16), dense(CLASSES, (128,), FOUR_BITS, 16)), 40, 0.1),
    "trinary": Plan((dense(128, (64,), TWO_BITS, 4), dense(CLASSES, (128,), TWO_BITS, 4)), 40, 0.1),
    "rate": Plan((dense(64, (64,), FOUR_BITS, 64), dense(CLASSES, (64,), FOUR_BITS, 64)), 60, 0.1, COUNTED),
    "conv": Plan(
        (
            conv(IMAGE, 8, EIGHT_BITS, 16384),
            pool((8, 10, 10)),
            conv((8, 5, 5), 16, FOUR_BITS, 8, stride=2),
            conv((16, 3, 3), 32, FOUR_BITS, 32, separable=True),
            dense(CLASSES, (32, 3, 3), FOUR_BITS, 16),
        ),
        30, 0.2,
    ),
}


def dithered(images: Array, steps: int) -> Numbers:
    """Turn pixels 0..16 into floor(pixel * steps / 16) spikes, each pixel in its own order: (samples, 64) -> (samples, steps, 64)."""
    order = np.argsort(np.random.default_rng(SEED).random((steps, images.shape[1])), axis=0)
    return (images[:, None, :] * steps >= 16 * (order + 1)).astype(np.uint8)


def moved(images: Array) -> Numbers:
    """Show pixels 0..16 as 0..255 on a dark border, moved by up to a pixel: (samples, 64) -> (samples, 9, 100)."""
    bright = np.minimum(images.reshape(-1, 8, 8) * 16, 255).astype(np.uint8)
    wide = np.pad(bright, ((0, 0), (2, 2), (2, 2)))
    return np.stack([wide[:, 1 + y : 11 + y, 1 + x : 11 + x] for y, x in MOVES], axis=1).reshape(len(images), len(MOVES), 100)


ENCODINGS: dict[str, Callable[[Array], Numbers]] = {
    "threshold": lambda images: dithered(images, 16),
    "trinary": lambda images: dithered(images, 16),
    "rate": lambda images: dithered(images, COUNTED),
    "conv": moved,
}


def kernels(layer: Layer, weights: list[Array]) -> Array:
    """Return a layer's matrix or kernels, flattened."""
    if layer.kind == "separable":
        return np.asarray(weights[1][:, :, None, None] * weights[0][None]).ravel()
    return weights[0].ravel() if weights else np.ones(1)


def matrix(layer: Layer, weights: list[Array]) -> Array:
    """Return a layer's weights as a (targets, sources) matrix."""
    return np.append(kernels(layer, weights), 0.0)[layer.taps]


def rounded(plan: Plan, parameters: list[list[Array]]) -> list[list[Array]]:
    """Return the whole numbers that the network computes with: by layer its weights, then its biases."""
    result = []
    for layer, values in zip(plan.layers, parameters, strict=True):
        *weights, bias = values
        result.append([np.clip(np.rint(w), -layer.most, layer.most) for w in weights] + [np.rint(bias) * layer.grain])
    return result


def run(plan: Plan, layer: Layer, values: list[Array], inputs: Array) -> tuple[Array, Array]:
    """Run one layer: (samples, passes, sources) -> what its thresholds are compared with and what it sends, (samples, passes, targets)."""
    v = inputs @ matrix(layer, values[:-1]).T + plan.steps * values[-1][layer.bias_of]
    if plan.steps == 1:
        return v, (v > layer.threshold).astype(float)
    return v, np.clip(np.floor(v / layer.threshold), 0, plan.steps)


def on_grid(values: Array) -> Array:
    """Return the values rounded to multiples of 1 / GRID."""
    return np.rint(values * GRID) / GRID


def slope(plan: Plan, layer: Layer, v: Array) -> Array:
    """Return what takes the place of the derivative of what is sent by v."""
    if layer.kind == "pool":
        return (v <= 1).astype(float)
    theta = layer.threshold
    if plan.steps == 1:
        return on_grid(1 / (1 + np.abs(v - theta - 0.5) * (2 / theta)) ** 2 / min(theta, 64))
    beyond = np.maximum(np.maximum(-v, v - (plan.steps + 1) * theta), 0)
    return on_grid(1 / (1 + beyond * (2 / theta)) ** 2 / theta)


def forward(plan: Plan, whole: list[list[Array]], inputs: Numbers) -> tuple[list[Array], list[Array]]:
    """Return by layer what its thresholds are compared with; and the input, then by layer what it sends."""
    data = inputs if plan.steps == 1 else inputs.sum(1, keepdims=True)
    sent, seen = [data.astype(float)], []
    for layer, values in zip(plan.layers, whole, strict=True):
        v, s = run(plan, layer, values, sent[-1])
        seen.append(v)
        sent.append(s)
    return seen, sent


def answer(plan: Plan, whole: list[list[Array]], inputs: Numbers) -> Array:
    """Return the output spikes of all steps, (samples, steps, classes)."""
    if plan.steps == 1:
        return forward(plan, whole, inputs)[1][-1]
    spikes = inputs.astype(float)
    for layer, values in zip(plan.layers, whole, strict=True):
        current = spikes @ matrix(layer, values[:-1]).T + values[-1][layer.bias_of]
        v, spikes = np.zeros_like(current[:, 0]), np.empty_like(current)
        for t in range(current.shape[1]):
            v = v + current[:, t]
            spikes[:, t] = v >= layer.threshold
            v = v - layer.threshold * spikes[:, t]
    return spikes


def accuracy(spikes: Array, labels: Ints) -> float:
    """Return the share of samples whose class has most spikes; the lowest index wins a tie."""
    return float((spikes.sum(1).argmax(1) == labels).mean())


def gradients(plan: Plan, whole: list[list[Array]], inputs: Numbers, labels: Ints) -> list[list[Array]]:
    """Return the gradients of the cross-entropy of half the output's spike counts, by layer and parameter."""
    seen, sent = forward(plan, whole, inputs)
    scores = sent[-1].sum(1) / 2
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(labels.size), labels] -= 1
    to_sent = np.repeat(np.rint(p * 2.0**16)[:, None, :] / 2.0**16, sent[-1].shape[1], 1)
    result: list[list[Array]] = []
    for k in reversed(range(len(plan.layers))):
        layer, (*weights, bias) = plan.layers[k], whole[k]
        to_v = on_grid(to_sent * slope(plan, layer, seen[k]))
        flat = to_v.reshape(-1, to_v.shape[2])
        found: list[Array] = []
        if weights:
            full = flat.T @ sent[k].reshape(-1, sent[k].shape[2])
            there = layer.taps >= 0
            single = np.bincount(layer.taps[there], full[there], kernels(layer, weights).size)
            if layer.kind == "separable":
                taken = single.reshape(*layer.shapes[1], 3, 3)
                found = [(taken * weights[1][:, :, None, None]).sum(0), (taken * weights[0]).sum((2, 3))]
            else:
                found = [single.reshape(layer.shapes[0])]
        found.append(plan.steps * layer.grain * np.bincount(layer.bias_of, flat.sum(0), bias.size))
        result.insert(0, found)
        to_sent = on_grid(to_v @ matrix(layer, weights))
    return result


def train(
    plan: Plan, encode: Callable[[Array], Numbers], images: Array, labels: Ints, held: Array, held_labels: Ints
) -> tuple[list[list[Array]], float]:
    """Return the whole-number parameters that were best on the validation samples after some epoch of Adam, and their accuracy there.

    What is best is asked as the chip computes it: an integrating network by its numbers of spikes.
    """
    rng = np.random.default_rng(SEED)
    parameters = [
        [(2 * rng.random(shape) - 1) * 0.6 * layer.most for shape in layer.shapes] + [np.zeros(layer.size[0])] for layer in plan.layers
    ]
    mean, square = ([[np.zeros_like(v) for v in values] for values in parameters] for _ in range(2))
    fade, fade_square = 1.0, 1.0
    step, steps = 0, plan.epochs * -(-labels.size // BATCH)
    best, score = rounded(plan, parameters), -1.0
    shown = encode(held)
    for _ in range(plan.epochs):
        order = rng.permutation(labels.size)
        data = encode(np.clip(images + rng.integers(-NOISE, NOISE + 1, images.shape), 0, 16))
        for start in range(0, labels.size, BATCH):
            batch = order[start : start + BATCH]
            rate = plan.rate * (1 - step / steps)
            step += 1
            fade, fade_square = fade * 0.9, fade_square * 0.999
            found = gradients(plan, rounded(plan, parameters), data[batch], labels[batch])
            for k, layer in enumerate(plan.layers):
                for j in range(len(layer.shapes) + (layer.kind != "pool")):
                    g, m, s = found[k][j], mean[k][j], square[k][j]
                    m += 0.1 * (g - m)
                    s += 0.001 * (g * g - s)
                    pace = rate * PACE[layer.most] if j < len(layer.shapes) else rate
                    parameters[k][j] -= pace * m / (1 - fade) / (np.sqrt(s / (1 - fade_square)) + 1e-8)
                    if j < len(layer.shapes):
                        np.clip(parameters[k][j], -layer.most - 0.45, layer.most + 0.45, out=parameters[k][j])
        now = rounded(plan, parameters)
        reached = accuracy(forward(plan, now, shown)[1][-1], held_labels)
        if reached >= score:
            best, score = now, reached
    return best, score


def split(images: Array, labels: Ints) -> tuple[tuple[Array, Ints], tuple[Array, Ints], tuple[Array, Ints]]:
    """Return training, validation and test samples, each class in its share."""
    rest, test_x, rest_y, test_y = train_test_split(images, labels, test_size=TEST, random_state=SEED, stratify=labels)
    train_x, held_x, train_y, held_y = train_test_split(rest, rest_y, test_size=VALIDATION, random_state=SEED, stratify=rest_y)
    return (train_x, train_y), (held_x, held_y), (test_x, test_y)


def halved(values: Array) -> Array:
    """Return for each row the power of two, 1 or more, that brings its largest number to 1 or below."""
    return 2.0 ** np.ceil(np.log2(np.maximum(np.abs(values).reshape(len(values), -1).max(1), 1)))


def convolution(weights: Array, image: tuple[int, ...], stride: int, groups: int = 1) -> dict[str, object]:
    """Return a NIR convolution that keeps the size of the image, without its bias."""
    return {
        "type": "Conv2d", "weight": weights.astype(np.float32), "stride": np.full(2, stride), "dilation": np.ones(2, int),
        "padding": np.full(2, weights.shape[2] // 2), "groups": groups, "input_shape": np.array(image),
    }


def linear_nodes(layer: Layer, weights: list[Array], bias: Array, number: int) -> tuple[dict[str, dict[str, object]], Array]:
    """Return the nodes that lead into a layer, and by channel what its whole numbers were divided by.

    A filter's weights, bias and threshold are divided by the power of two that brings its largest weight to 1 or just below, as after a
    training with normalised weights; that loses nothing.
    """
    if layer.kind == "pool":
        window: dict[str, object] = {
            "type": "SumPool2d", "kernel_size": np.full(2, 2), "stride": np.full(2, 2), "padding": np.zeros(2, int),
        }
        return {f"pool{number}": window}, np.ones(layer.size[0])
    unit = halved(weights[-1])
    last = weights[-1] / unit.reshape(-1, *[1] * (weights[-1].ndim - 1))
    if layer.kind == "dense":
        whole: dict[str, object] = {"type": "Affine", "weight": last.astype(np.float32), "bias": (bias / unit).astype(np.float32)}
        flat: dict[str, object] = {"type": "Flatten", "start_dim": 0, "end_dim": -1, "input_type": np.array(layer.source)}
        before = {"flatten": flat} if len(layer.source) > 1 else {}
        return {**before, f"fc{number}": whole}, unit
    if layer.kind == "conv":
        return {f"conv{number}": convolution(last, layer.source[1:], layer.stride) | {"bias": (bias / unit).astype(np.float32)}}, unit
    common = halved(weights[0].reshape(1, -1))
    within = convolution(weights[0][:, None] / common, layer.source[1:], layer.stride, len(weights[0]))
    unit = unit * common
    across = convolution(last[:, :, None, None], layer.size[1:], 1)
    within["bias"] = np.zeros(len(weights[0]), np.float32)
    return {f"depth{number}": within, f"point{number}": across | {"bias": (bias / unit).astype(np.float32)}}, unit


def write_nir(path: Path, plan: Plan, whole: list[list[Array]], shape: tuple[int, ...]) -> None:
    """Write the network as NIR: memoryless neurons as Threshold, integrating ones as IF, `r` = 1 / dt so that their input gain is 1."""
    nodes: dict[str, dict[str, object]] = {"input": {"type": "Input", "shape": np.array(shape)}}
    for number, (layer, (*weights, bias)) in enumerate(zip(plan.layers, whole, strict=True), 1):
        before, unit = linear_nodes(layer, weights, bias, number)
        # One spike of four is more than a half.
        theta = (0.5 if layer.kind == "pool" else layer.threshold) / unit
        threshold = theta[layer.bias_of].reshape(layer.size).astype(np.float32)
        neuron: dict[str, object] = {"type": "Threshold", "threshold": threshold}
        if plan.steps > 1:
            zero = np.zeros(layer.size, np.float32)
            neuron = {"type": "IF", "r": zero + np.float32(1 / DT), "v_threshold": threshold, "v_reset": zero}
        nodes |= {**before, f"layer{number}": neuron}
    nodes["output"] = {"type": "Output", "shape": np.array([CLASSES])}
    edges = list(zip(nodes, list(nodes)[1:], strict=False))
    metadata: dict[str, object] = {"dt": DT, "reset_mechanism": "subtract" if plan.steps > 1 else "zero", "reset_delay": 0}
    metadata["spike_rule"] = "v>=theta" if plan.steps > 1 else "v>theta"
    text = h5py.string_dtype()
    with h5py.File(path, "w", libver="latest") as file:
        file.create_dataset("version", data="1.0.8", dtype=text)
        graph = file.create_group("node")
        graph.create_dataset("type", data="NIRGraph", dtype=text)
        graph.create_dataset("edges", data=edges, dtype=text)
        for name, fields in {**{f"nodes/{name}": fields for name, fields in nodes.items()}, "metadata": metadata}.items():
            group = graph.create_group(name)
            for key, value in fields.items():
                packed = {"compression": "gzip", "shuffle": True} if isinstance(value, np.ndarray) and value.size > 256 else {}
                group.create_dataset(key, data=value, dtype=text if isinstance(value, str) else None, **packed)


def make(name: str, folder: Path) -> str:
    """Train one network, write its two files into `folder`, and return a line that says how good it is."""
    plan, encode = PLANS[name], ENCODINGS[name]
    shape = plan.layers[0].source
    digits = load_digits()
    (train_x, train_y), (held_x, held_y), (test_x, test_y) = split(digits.data, digits.target)
    whole, held = train(plan, encode, train_x, train_y, held_x, held_y)
    inputs = encode(test_x)
    spikes = answer(plan, whole, inputs)
    write_nir(folder / f"{name}.nir", plan, whole, shape)
    np.savez_compressed(
        folder / f"{name}.npz", inputs=inputs.reshape(*inputs.shape[:2], *shape), labels=test_y.astype(np.int64),
        reference_spikes=spikes.astype(np.uint8),
    )
    reached = accuracy(spikes, test_y)
    line = f"{name}: accuracy {reached:.4f} on {test_y.size} test samples ({held:.4f} on {held_y.size} validation samples)"
    if plan.steps == 1:
        return line
    return f"{line}; {accuracy(forward(plan, whole, inputs)[1][-1], test_y):.4f} by counts of all {plan.steps} steps at once"


def main(names: list[str]) -> None:
    """Make the networks named, or all."""
    unknown = [name for name in names if name not in PLANS]
    if unknown:
        sys.exit(f"no network {', '.join(unknown)}; there are {', '.join(PLANS)}")
    for name in names or PLANS:
        print(make(name, HERE))


if __name__ == "__main__":
    main(sys.argv[1:])
