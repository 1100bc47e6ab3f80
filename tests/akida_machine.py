"""Akida 1.0's documented arithmetic over a model in the vendor's open JSON form, in plain numpy; it knows nothing of nmap.

Tensors are (samples, X, Y, channels). A layer with weights computes, with all sums kept exactly:

    P = sum x w                                          (over a zero padded neighbourhood; over everything where fully connected)
    then the largest P of every pool window, or the sum of P over the whole image
    y = clip(ceil(16 (P - threshold) / (floor(16 act_step) 2^(4 - bits))), 0, 2^bits - 1), or P itself without an activation

Convolutional and SeparableConvolutional flip their kernels on both axes, InputConvolutional does not. Padding `Same` is TensorFlow's: what
cannot be halved is padded at the end. A fully connected layer reads its input channel by channel, Y by Y, X by X.

Sums are 20 bits wide on the chip, and what happens to one that leaves them midway depends on the order of adding. So both the positive and
the negative terms of every sum have to fit by themselves, whatever the order; `SaturatesError` is raised where they do not.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

LOWEST, HIGHEST = -(1 << 19), (1 << 19) - 1
WITH_WEIGHTS = ("InputConvolutional", "Convolutional", "SeparableConvolutional", "FullyConnected")
VALID, SAME = 0, 1
MAX, AVERAGE = 1, 2
RANGES = {1: (0, 1), 2: (-1, 1), 4: (-7, 7), 8: (-127, 127)}


class SaturatesError(Exception):
    """A sum may leave 20 bits on its way."""


def load(model: bytes | str | dict[str, Any]) -> dict[str, Any]:
    """The model as an object; refuses what the form does not allow."""
    model = model if isinstance(model, dict) else json.loads(model)
    assert model["IP version"] == "v1"
    assert model["learning"] is None
    names = [layer["name"] for layer in model["layers"]]
    assert len(set(names)) == len(names)
    for before, layer in zip([None, *names], model["layers"], strict=False):
        assert layer["inbounds"] == ([before] if before is not None else [])
    return model


def variable(layer: dict[str, Any], name: str) -> np.ndarray:
    held = layer["variables"][name]
    values = np.array(held["data"]).astype(held["dtype"])
    assert values.shape == tuple(held["shape"]), f"{layer['name']}.{name}"
    if name.startswith("weights"):
        low, high = RANGES[layer["parameters"]["weights_bits"]]
        assert values.min() >= low, f"{layer['name']}.{name}"
        assert values.max() <= high, f"{layer['name']}.{name}"
    return values


def windows(size: int, kernel: int, stride: int, padding: int) -> tuple[int, int]:
    """Output positions along an axis, and what is padded before it."""
    if padding == VALID:
        return (size - kernel) // stride + 1, 0
    out = -(-size // stride)
    return out, max((out - 1) * stride + kernel - size, 0) // 2


def fitting(positive: np.ndarray, negative: np.ndarray, layer: str) -> np.ndarray:
    """The sums, where they fit whatever the order of adding."""
    if positive.max(initial=0) > HIGHEST or negative.min(initial=0) < LOWEST:
        raise SaturatesError(f"{layer}: {positive.max(initial=0)} and {negative.min(initial=0)}")
    return positive + negative


def neighbourhoods(x: np.ndarray, kernel: tuple[int, int], stride: tuple[int, int], padding: int, outside: int):
    """Yield (x offset, y offset, inputs (N, X', Y', C)) of every tap of a kernel."""
    shape = x.shape[1:3]
    (columns, left), (rows, top) = (windows(*of, padding) for of in zip(shape, kernel, stride, strict=True))
    around = np.full(
        (len(x), shape[0] + 2 * kernel[0] + stride[0], shape[1] + 2 * kernel[1] + stride[1], x.shape[3]), outside, np.int64,
    )
    around[:, left : left + shape[0], top : top + shape[1]] = x
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            yield i, j, around[:, i : i + columns * stride[0] : stride[0], j : j + rows * stride[1] : stride[1]]


def convolve(x, weights, stride, padding, *, flipped, outside, name):
    """(N, X, Y, C) by (KX, KY, C, F) -> (N, X', Y', F)."""
    if flipped:
        weights = weights[::-1, ::-1]
    weights = weights.astype(np.int64)
    positive = negative = 0
    for i, j, near in neighbourhoods(x, weights.shape[:2], stride, padding, outside):
        positive = positive + near @ np.maximum(weights[i, j], 0)
        negative = negative + near @ np.minimum(weights[i, j], 0)
    return fitting(positive, negative, name)


def depthwise(x, weights, stride, padding, name):
    """(N, X, Y, C) by (KX, KY, C, 1), flipped -> (N, X', Y', C)."""
    weights = weights[::-1, ::-1, :, 0].astype(np.int64)
    positive = negative = 0
    for i, j, near in neighbourhoods(x, weights.shape[:2], stride, padding, 0):
        positive = positive + near * np.maximum(weights[i, j], 0)
        negative = negative + near * np.minimum(weights[i, j], 0)
    return fitting(positive, negative, name)


def pooled(potentials, parameters, name):
    kind = parameters.get("pool_type", 0)
    if kind == AVERAGE:
        return fitting(np.maximum(potentials, 0).sum((1, 2), keepdims=True), np.minimum(potentials, 0).sum((1, 2), keepdims=True), name)
    if kind == MAX:
        size = parameters["pooling_width"], parameters["pooling_height"]
        stride = parameters["pooling_stride_x"], parameters["pooling_stride_y"]
        lowest = np.iinfo(np.int64).min
        return np.max([near for _, _, near in neighbourhoods(potentials, size, stride, parameters["padding"], lowest)], axis=0)
    assert kind == 0
    return potentials


def activated(potentials, layer):
    parameters = layer["parameters"]
    if not parameters["activation"]:
        return potentials
    bits, threshold = parameters["act_bits"], variable(layer, "threshold").astype(np.int64)
    assert bits in (1, 2, 4)
    step = np.floor(16 * variable(layer, "act_step").astype(np.float64)).astype(np.int64) << (4 - bits)
    assert step.min() > 0
    return np.clip(-((-16 * (potentials - threshold)) // step), 0, (1 << bits) - 1)


def compute(layer, x):
    name, parameters = layer["name"], layer["parameters"]
    kind = parameters["layer_type"]
    weights = variable(layer, "weights")
    if kind == "FullyConnected":
        flat = x.transpose(0, 3, 2, 1).reshape(len(x), -1)
        matrix = weights[0, 0].astype(np.int64)
        potentials = fitting(flat @ np.maximum(matrix, 0), flat @ np.minimum(matrix, 0), name)[:, None, None]
    else:
        stride, padding = (parameters["stride_x"], parameters["stride_y"]), parameters["padding"]
        if kind == "SeparableConvolutional":
            inner = depthwise(x, weights, stride, padding, name)
            potentials = convolve(inner, variable(layer, "weights_pw"), (1, 1), SAME, flipped=False, outside=0, name=name)
        else:
            image = kind == "InputConvolutional"
            outside = parameters["padding_value"] if image else 0
            potentials = convolve(x, weights, stride, padding, flipped=not image, outside=outside, name=name)
        potentials = pooled(potentials, parameters, name)
    return activated(potentials, layer)


def run(model, inputs) -> dict[str, np.ndarray]:
    """What every layer with weights sends, (N, X, Y, C) int64 by its name, for inputs (N, X, Y, C)."""
    model = load(model)
    first = model["layers"][0]
    parameters = first["parameters"]
    bits = 8 if parameters["layer_type"] == "InputConvolutional" else parameters["input_bits"]
    x = np.asarray(inputs).astype(np.int64)
    assert x.shape[1:] == tuple(parameters[f"input_{axis}"] for axis in ("width", "height", "channels"))
    assert x.min(initial=0) >= 0
    assert x.max(initial=0) < 1 << bits
    sent = {}
    for k, layer in enumerate(model["layers"]):
        kind = layer["parameters"]["layer_type"]
        if kind == "InputData":
            assert k == 0
            continue
        assert kind in WITH_WEIGHTS
        assert (kind == "InputConvolutional") <= (k == 0)
        x = compute(layer, x)
        sent[layer["name"]] = x
    return sent


def in_rows(tensor: np.ndarray) -> np.ndarray:
    """(N, X, Y, C) as (N, neurons) in the order of an image's (channels, height, width)."""
    return tensor.transpose(0, 3, 2, 1).reshape(len(tensor), -1)


def from_rows(rows: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(N, neurons) of an image of a shape (channels, height, width), or of so many neurons, as (N, X, Y, C)."""
    channels, height, width = shape if len(shape) == 3 else (rows.shape[1], 1, 1)
    return rows.reshape(len(rows), channels, height, width).transpose(0, 3, 2, 1)
