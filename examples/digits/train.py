"""Train a spiking network on scikit-learn's digits in plain numpy, and write it as NIR.

    python examples/digits/train.py

writes `net.h5` (the network) and `samples.npz` (the held-out samples with the spikes this network answers) beside this file.
Needs scikit-learn for the images; nothing of nmap is used, as with any training framework.

The network is 64-96-10 leaky integrate-and-fire neurons with biases, 16 time steps:

    v = beta v + W x + b;  spike where v > 1;  v = 0 where spike

It is trained by backpropagation through time with a surrogate gradient: forward, a spike is a step of v - 1; backward, the step's
derivative is replaced by 1 / (1 + 4 |v - 1|)^2. The reset is not differentiated. The class is the output neuron with most spikes.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve().parent
STEPS, HIDDEN, CLASSES = 16, 96, 10
BETA = 0.875
DT = 1e-3
EPOCHS, BATCH, RATE = 120, 64, 4e-3
SEED = 1

Array = NDArray[np.float64]


def encode(images: Array) -> NDArray[np.uint8]:
    """Turn pixels 0..16 into that many evenly spaced spikes: (samples, 64) -> (samples, STEPS, 64)."""
    steps = np.arange(STEPS)[None, :, None]
    pixels = images[:, None, :].astype(np.int64)
    return ((steps + 1) * pixels // STEPS > steps * pixels // STEPS).astype(np.uint8)


def layer(inputs: Array, weights: Array, bias: Array) -> tuple[Array, Array]:
    """Run one layer: (samples, steps, n) -> membranes before reset, and spikes."""
    current = inputs @ weights.T + bias
    membrane, spikes = np.empty_like(current), np.empty_like(current)
    v = np.zeros((current.shape[0], current.shape[2]))
    for t in range(current.shape[1]):
        v = BETA * v + current[:, t]
        membrane[:, t], spikes[:, t] = v, v > 1
        v = np.where(v > 1, 0.0, v)
    return membrane, spikes


def layer_gradient(membrane: Array, spikes: Array, to_spikes: Array) -> Array:
    """Return the gradient with respect to the layer's input current, given the one with respect to its spikes."""
    to_current = np.empty_like(membrane)
    later = np.zeros((membrane.shape[0], membrane.shape[2]))
    for t in reversed(range(membrane.shape[1])):
        surrogate = 1 / (1 + 4 * np.abs(membrane[:, t] - 1)) ** 2
        # A spike cuts the path through the membrane, since v starts again from 0.
        later = to_spikes[:, t] * surrogate + BETA * later * (1 - spikes[:, t])
        to_current[:, t] = later
    return to_current


def gradients(parameters: list[Array], inputs: Array, labels: NDArray[np.int64]) -> list[Array]:
    """Return the gradients of the cross-entropy of the spike counts."""
    w1, b1, w2, b2 = parameters
    v1, s1 = layer(inputs, w1, b1)
    v2, s2 = layer(s1, w2, b2)
    counts = s2.sum(1)
    p = np.exp(counts - counts.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p[np.arange(labels.size), labels] -= 1
    to_s2 = np.repeat(p[:, None, :] / labels.size, STEPS, 1)
    i2 = layer_gradient(v2, s2, to_s2)
    i1 = layer_gradient(v1, s1, i2 @ w2)
    return [
        np.einsum("btn,btm->nm", i1, inputs, optimize=True), i1.sum((0, 1)),
        np.einsum("btn,btm->nm", i2, s1, optimize=True), i2.sum((0, 1)),
    ]


def train(inputs: Array, labels: NDArray[np.int64]) -> list[Array]:
    """Return weights and biases after Adam with a cosine schedule."""
    rng = np.random.default_rng(SEED)
    parameters = [
        rng.normal(0, 1.5 / np.sqrt(64), (HIDDEN, 64)), np.zeros(HIDDEN),
        rng.normal(0, 1.5 / np.sqrt(HIDDEN), (CLASSES, HIDDEN)), np.zeros(CLASSES),
    ]
    mean, square = ([np.zeros_like(p) for p in parameters] for _ in range(2))
    step, steps = 0, EPOCHS * -(-labels.size // BATCH)
    for _ in range(EPOCHS):
        order = rng.permutation(labels.size)
        for start in range(0, labels.size, BATCH):
            batch = order[start : start + BATCH]
            step += 1
            rate = RATE * 0.5 * (1 + np.cos(np.pi * step / steps))
            for k, gradient in enumerate(gradients(parameters, inputs[batch], labels[batch])):
                mean[k] += 0.1 * (gradient - mean[k])
                square[k] += 0.001 * (gradient**2 - square[k])
                unbiased = np.sqrt(square[k] / (1 - 0.999**step)) + 1e-8
                parameters[k] -= rate * mean[k] / (1 - 0.9**step) / unbiased
    # float32, as frameworks store them; everything after this uses what is stored.
    return [p.astype(np.float32).astype(np.float64) for p in parameters]


def write_nir(path: Path, parameters: list[Array]) -> None:
    """Write the network as NIR: tau dv/dt = v_leak - v + r i, so beta = 1 - dt / tau, and r = tau / dt makes the input gain 1."""
    w1, b1, w2, b2 = parameters
    tau = DT / (1 - BETA)

    def lif(n: int) -> dict[str, object]:
        values = {"tau": tau, "r": tau / DT, "v_leak": 0.0, "v_threshold": 1.0, "v_reset": 0.0}
        return {"type": "LIF"} | {name: np.full(n, value) for name, value in values.items()}

    nodes: dict[str, dict[str, object]] = {
        "input": {"type": "Input", "shape": np.array([64])},
        "fc1": {"type": "Affine", "weight": w1.astype(np.float32), "bias": b1.astype(np.float32)},
        "lif1": lif(HIDDEN),
        "fc2": {"type": "Affine", "weight": w2.astype(np.float32), "bias": b2.astype(np.float32)},
        "lif2": lif(CLASSES),
        "output": {"type": "Output", "shape": np.array([CLASSES])},
    }
    metadata = {"dt": DT, "reset_mechanism": "zero", "reset_delay": 0, "spike_rule": "v>theta"}
    text = h5py.string_dtype()
    with h5py.File(path, "w") as file:
        file.create_dataset("version", data="1.0.8", dtype=text)
        graph = file.create_group("node")
        graph.create_dataset("type", data="NIRGraph", dtype=text)
        graph.create_dataset("edges", data=list(zip(nodes, list(nodes)[1:], strict=False)), dtype=text)
        for name, fields in (*((f"nodes/{name}", fields) for name, fields in nodes.items()), ("metadata", metadata)):
            group = graph.create_group(name)
            for key, value in fields.items():
                group.create_dataset(key, data=value, dtype=text if isinstance(value, str) else None)


def main() -> None:
    """Train, evaluate on the held-out fifth, write both files."""
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.data, digits.target, test_size=360, random_state=SEED, stratify=digits.target
    )
    parameters = train(encode(train_x).astype(np.float64), train_y)
    inputs = encode(test_x)
    _, hidden = layer(inputs.astype(np.float64), *parameters[:2])
    _, spikes = layer(hidden, *parameters[2:])
    accuracy = (spikes.sum(1).argmax(1) == test_y).mean()
    write_nir(HERE / "net.h5", parameters)
    np.savez_compressed(
        HERE / "samples.npz", inputs=inputs, labels=test_y.astype(np.int64), reference_spikes=spikes.astype(np.uint8)
    )
    print(f"accuracy {accuracy:.4f} on {test_y.size} held-out samples")


if __name__ == "__main__":
    main()
