"""Train three spiking networks for SpiNNaker's neurons on scikit-learn's digits in plain numpy, and write them as NIR.

    python examples/spinnaker_digits/train.py [rate] [latency] [rows]

writes `NAME.nir` (the network) and `NAME.npz` (the held-out samples with the spikes the network answers) beside this file, for the
networks named, or for all. Needs scikit-learn for the images; nmap writes the files.

A neuron computes, in every step,

    i = alpha i + W x + b + sum over d of R[:, delay == d] s(t - d);  v = beta v + i;  spike where v > 1;  then v = 0

where s are its own population's spikes. alpha is 0 for neurons without synaptic current (NIR's LIF; the others are CubaLIF). Weights are
multiples of a power of two within a range that both chips' weights can hold; forward they are rounded to it, backward the rounding is
passed over (straight-through). A spike is a step of v - 1; backward, the step's derivative is replaced by 1 / (1 + 4 |v - 1|)^2. The reset
is not differentiated. The class is the output neuron with most spikes. Of all epochs the last one that is best on the validation samples
is kept; the test samples take no part in it.

The same seed gives the same files whatever BLAS multiplies the matrices: weights and gradients lie on grids on which every sum over
samples, steps and synapses is exact in float64, so that the order of a summation does not matter.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import nmap
from nmap.connectivity import Dense
from nmap.network import Conventions, Network, Neuron, Population, Projection, Provenance

HERE = Path(__file__).resolve().parent
CLASSES, DT = 10, 1e-3
SEED, TEST, VALIDATION, BATCH = 1, 360, 240, 100
GRID = 2.0**24
"""Gradients are multiples of 1 / GRID."""
NOISE = 2
"""Training images change in every epoch by whole numbers from -NOISE to NOISE a pixel."""
BIAS = 1 / 64
"""Biases are multiples of it."""

Array = NDArray[np.float64]
Ints = NDArray[np.int64]
Spikes = NDArray[np.uint8]


@dataclass(frozen=True)
class Layer:
    """One population and what leads into it.

    Args:
        targets, sources: neurons, and what they hear.
        alpha, beta: decay factors of the current and of the membrane.
        unit: what one step of a weight is.
        most: weights lie from -most to most units.
        biased: whether neurons have a bias.
        delays: (targets,) steps that a neuron's spike takes to its own population, from 1; None without a loop.
    """

    targets: int
    sources: int
    alpha: float
    beta: float
    unit: float
    most: int
    biased: bool = False
    delays: Ints | None = None


@dataclass(frozen=True)
class Plan:
    """What is trained, and how: `rate` is Adam's, which falls linearly to zero over the `epochs`; `gain` is of the first weights."""

    layers: tuple[Layer, ...]
    epochs: int
    rate: float
    gain: float


PLANS = {
    "rate": Plan(
        (Layer(64, 64, 0.0, 0.875, 1 / 64, 127, biased=True), Layer(CLASSES, 64, 0.0, 0.875, 1 / 64, 127, biased=True)), 20, 0.02, 1.5
    ),
    "latency": Plan((Layer(64, 64, 0.75, 0.875, 1 / 128, 127), Layer(CLASSES, 64, 0.75, 0.875, 1 / 128, 127)), 30, 0.02, 1.0),
    "rows": Plan(
        (Layer(64, 8, 0.5, 0.9375, 1 / 8, 15, delays=1 + np.arange(64) % 4), Layer(CLASSES, 64, 0.5, 0.9375, 1 / 64, 127)), 90, 0.02, 2.0
    ),
}


def dithered(images: Array, steps: int) -> Spikes:
    """Turn pixels 0..16 into floor(pixel * steps / 32) spikes, each pixel in its own order: (samples, 64) -> (samples, steps, 64)."""
    order = np.argsort(np.random.default_rng(SEED).random((steps, images.shape[1])), axis=0)
    return (images[:, None, :] * steps >= 32 * (order + 1)).astype(np.uint8)


def by_time(images: Array) -> Spikes:
    """Turn pixels 16..3 into one spike in step 0..13, darker ones into none: (samples, 64) -> (samples, 24, 64)."""
    return ((16 - images[:, None, :] == np.arange(24)[:, None]) & (images[:, None, :] > 2)).astype(np.uint8)


def by_rows(images: Array) -> Spikes:
    """Show a row of pixels for 3 steps, where it is > 12, > 7, > 2; then 8 blank steps: (samples, 64) -> (samples, 32, 8)."""
    levels = images.reshape(-1, 8, 1, 8) > np.array([12, 7, 2])[:, None]
    return np.pad(levels.reshape(-1, 24, 8), ((0, 0), (0, 8), (0, 0))).astype(np.uint8)


ENCODINGS: dict[str, Callable[[Array], Spikes]] = {
    "rate": lambda images: dithered(images, 24), "latency": by_time, "rows": by_rows,
}


def rounded(plan: Plan, parameters: list[list[Array]]) -> list[list[Array]]:
    """Return the numbers that the network computes with: by layer its weights, its biases and, in a loop, those weights."""
    result = []
    for layer, values in zip(plan.layers, parameters, strict=True):
        weights, bias, *loop = values
        inner, *outer = [np.clip(np.rint(w / layer.unit), -layer.most, layer.most) * layer.unit for w in (weights, *loop)]
        result.append([inner, np.clip(np.rint(bias / BIAS) * BIAS, -0.5, 0.5) if layer.biased else np.zeros_like(bias), *outer])
    return result


def delayed(layer: Layer, spikes: Array, t: int) -> Array:
    """Return the spikes of a looped population that arrive at itself in step t, (samples, neurons)."""
    assert layer.delays is not None
    arriving = np.zeros_like(spikes[:, 0])
    for d in range(1, min(t, int(layer.delays.max())) + 1):
        arriving[:, layer.delays == d] = spikes[:, t - d, layer.delays == d]
    return arriving


def run(layer: Layer, values: list[Array], inputs: Array) -> tuple[Array, Array]:
    """Run one layer: (samples, steps, sources) -> membranes before the reset and spikes, (samples, steps, targets)."""
    current = inputs @ values[0].T + values[1]
    membrane, spikes = np.empty_like(current), np.empty_like(current)
    i, v = np.zeros_like(current[:, 0]), np.zeros_like(current[:, 0])
    for t in range(current.shape[1]):
        arriving = current[:, t]
        if layer.delays is not None:
            arriving = arriving + delayed(layer, spikes, t) @ values[2].T
        i = layer.alpha * i + arriving
        v = layer.beta * v + i
        membrane[:, t], spikes[:, t] = v, v > 1
        v = np.where(v > 1, 0.0, v)
    return membrane, spikes


def on_grid(values: Array) -> Array:
    """Return the values rounded to multiples of 1 / GRID."""
    return np.rint(values * GRID) / GRID


def back(layer: Layer, values: list[Array], membrane: Array, spikes: Array, to_spikes: Array) -> Array:
    """Return the gradient with respect to what arrives, given the one with respect to the spikes."""
    slope = on_grid(1 / (1 + 4 * np.abs(membrane - 1)) ** 2)
    found = np.empty_like(membrane)
    steps = membrane.shape[1]
    to_v, to_i = np.zeros_like(membrane[:, 0]), np.zeros_like(membrane[:, 0])
    for t in reversed(range(steps)):
        arriving = to_spikes[:, t].copy()
        if layer.delays is not None:
            for d in range(1, min(steps - 1 - t, int(layer.delays.max())) + 1):
                arriving[:, layer.delays == d] += found[:, t + d] @ values[2][:, layer.delays == d]
        # A reset to zero cuts the path through the membrane.
        to_v = on_grid(arriving * slope[:, t] + layer.beta * to_v * (1 - spikes[:, t]))
        to_i = on_grid(to_v + layer.alpha * to_i)
        found[:, t] = to_i
    return found


def answer(plan: Plan, whole: list[list[Array]], inputs: Spikes) -> Array:
    """Return the output spikes, (samples, steps, classes)."""
    spikes = inputs.astype(float)
    for layer, values in zip(plan.layers, whole, strict=True):
        _, spikes = run(layer, values, spikes)
    return spikes


def accuracy(spikes: Array, labels: Ints) -> float:
    """Return the share of samples whose class has most spikes; the lowest index wins a tie."""
    return float((spikes.sum(1).argmax(1) == labels).mean())


def gradients(plan: Plan, whole: list[list[Array]], inputs: Array, labels: Ints) -> list[list[Array]]:
    """Return the gradients of the cross-entropy of the output's spike counts, by layer and parameter."""
    sent, membranes = [inputs], []
    for layer, values in zip(plan.layers, whole, strict=True):
        v, s = run(layer, values, sent[-1])
        membranes.append(v)
        sent.append(s)
    scores = sent[-1].sum(1)
    p = np.exp(scores - scores.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(labels.size), labels] -= 1
    to_spikes = np.repeat(np.rint(p * 2.0**16)[:, None, :] / 2.0**16, inputs.shape[1], 1)
    result: list[list[Array]] = []
    for k in reversed(range(len(plan.layers))):
        layer, values = plan.layers[k], whole[k]
        i = back(layer, values, membranes[k], sent[k + 1], to_spikes)
        flat = i.reshape(-1, i.shape[2])
        found = [flat.T @ sent[k].reshape(-1, sent[k].shape[2]), flat.sum(0)]
        if layer.delays is not None:
            own = np.stack([delayed(layer, sent[k + 1], t) for t in range(i.shape[1])], axis=1)
            found.append(flat.T @ own.reshape(-1, own.shape[2]))
        result.insert(0, found)
        to_spikes = on_grid(i @ values[0])
    return result


def train(
    plan: Plan, encode: Callable[[Array], Spikes], images: Array, labels: Ints, held: Array, held_labels: Ints
) -> tuple[list[list[Array]], float]:
    """Return the rounded parameters that were best on the validation samples after some epoch of Adam, and their accuracy there."""
    rng = np.random.default_rng(SEED)
    parameters: list[list[Array]] = []
    for layer in plan.layers:
        width = plan.gain / np.sqrt(layer.sources)
        loop = [] if layer.delays is None else [(2 * rng.random((layer.targets, layer.targets)) - 1) * 0.5 / np.sqrt(layer.targets)]
        parameters.append([(2 * rng.random((layer.targets, layer.sources)) - 1) * width, np.zeros(layer.targets), *loop])
    flat = [values for layer_values in parameters for values in layer_values]
    mean, square = ([np.zeros_like(p) for p in flat] for _ in range(2))
    fade, fade_square = 1.0, 1.0
    step, steps = 0, plan.epochs * -(-labels.size // BATCH)
    best, score = rounded(plan, parameters), -1.0
    shown = encode(held)
    for _ in range(plan.epochs):
        order = rng.permutation(labels.size)
        data = encode(np.clip(images + rng.integers(-NOISE, NOISE + 1, images.shape), 0, 16)).astype(float)
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
                    np.clip(trained, -layer.most * layer.unit, layer.most * layer.unit, out=trained)
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


def network(name: str, plan: Plan, whole: list[list[Array]]) -> Network:
    """Return what was trained as a network of nmap."""
    def where(part: str) -> Provenance:
        return Provenance(f"{name}.nir", f"/node/nodes/{part}")

    sources = plan.layers[0].sources
    populations = [Population("input", (sources,), None, where("input"))]
    projections: list[Projection] = []
    for k, (layer, values) in enumerate(zip(plan.layers, whole, strict=True), 1):
        n, one = layer.targets, np.ones(layer.targets)
        neuron = Neuron(
            "CubaLIF" if layer.alpha else "LIF", layer.alpha * one, one, one, layer.beta * one, 0 * one, one, 0 * one,
        )
        before = populations[-1].name
        populations.append(Population(f"layer{k}", (n,), neuron, where(f"layer{k}")))
        bias = values[1] if layer.biased else None
        projections.append(Projection(f"fc{k}", before, f"layer{k}", Dense(values[0]), bias, 0, where(f"fc{k}")))
        # A projection for each delay: its synapses come from the neurons that have it.
        for d in [] if layer.delays is None else np.unique(layer.delays).tolist():
            loop = Dense(np.where(layer.delays == d, values[2], 0))
            projections.append(Projection(f"loop{k}_{d}", f"layer{k}", f"layer{k}", loop, None, d, where(f"loop{k}_{d}")))
    return Network(
        f"{name}.nir", "nir", "", tuple(populations), tuple(projections), ("input",), (populations[-1].name,), Conventions(DT),
    )


def make(name: str, folder: Path) -> str:
    """Train one network, write its two files into `folder`, and return a line that says how good it is."""
    plan, encode = PLANS[name], ENCODINGS[name]
    digits = load_digits()
    (train_x, train_y), (held_x, held_y), (test_x, test_y) = split(digits.data, digits.target)
    whole, held = train(plan, encode, train_x, train_y, held_x, held_y)
    inputs = encode(test_x)
    spikes = answer(plan, whole, inputs)
    nmap.write(network(name, plan, whole), folder / f"{name}.nir")
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
