"""Networks of Intel's published compiler tables, with integer weights of no meaning where the files are not at hand.

Shapes: the architecture tables printed in lava-dl's netx notebooks. Weight bits: for a file those of its weights (netx's own rule), else
those that the printed synapse memory leaves open.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import h5py
import numpy as np

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat

_HERE = Provenance("test", "")


@dataclass(frozen=True)
class Layer:
    """A layer: (out, in) or (out channels, in channels, kernel height, kernel width) weights; None for a one-to-one input layer."""

    shape: tuple[int, ...]
    weights: np.ndarray | None
    bits: int = 8
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)


def network(port: tuple[int, ...], layers: list[Layer]) -> QuantizedNetwork:
    """Return a chain of layers after an input port."""
    populations = [QuantizedPopulation("input", port, None, {}, _HERE)]
    projections = []
    for k, layer in enumerate(layers):
        source = populations[-1]
        name = f"layer{k}"
        if layer.weights is None:
            n = source.size
            wires = Sparse(np.arange(n + 1), np.arange(n), np.ones(n, np.int32), n)
        elif layer.weights.ndim == 2:
            wires = Dense(layer.weights)
        else:
            wires = Conv2d(layer.weights, source.shape, layer.stride, layer.padding)
        populations.append(QuantizedPopulation(name, layer.shape, "loihi2.lif", {}, _HERE))
        projections.append(QuantizedProjection(
            f"into {name}", source.name, name, wires, SynapseFormat(layer.bits), 0, _HERE,
        ))
    return QuantizedNetwork(tuple(populations), tuple(projections), ("input",), (populations[-1].name,))


def fewest_bits(weights: np.ndarray) -> int:
    """Return netx's `num_weight_bits` (lava-dl, netx/utils.py): the largest weight fills the range, and common zero bits are not stored."""
    low, high = int(weights.min()), int(weights.max())
    assert low < 0 <= high, "all published layers have both signs"
    shift = 0
    while high << (shift + 1) <= 254 and -low << (shift + 1) <= 256:
        shift += 1
    zeros = next(k for k in range(9) if np.any((weights.astype(np.int64) << shift) & (1 << k)))
    return 9 - zeros


def from_file(path, skip: int = 0) -> QuantizedNetwork:
    """Return the layers of a netx file from number `skip` on, as stored."""
    layers = []
    with h5py.File(path) as file:
        groups = [file["layer"][k] for k in sorted(file["layer"], key=int)]
        shapes = [tuple(int(n) for n in np.atleast_1d(group["shape"][()])) for group in groups]
        for group, shape in zip(groups, shapes, strict=True):
            kind = group["type"][()].item().decode() if np.ndim(group["type"][()]) == 0 else group["type"][0].decode()
            if kind == "input":
                layers.append(Layer(shape, None, 1))
            elif kind in ("dense", "conv"):
                weights = np.asarray(group["weight"][()]).astype(np.int32)
                if kind == "dense":
                    weights = weights.reshape(int(np.prod(shape)), -1)
                    layers.append(Layer((int(np.prod(shape)),), weights, fewest_bits(weights)))
                else:
                    weights = weights.reshape(weights.shape[:4])
                    stride, padding = (tuple(int(n) for n in np.broadcast_to(group[name][()], 2)) for name in ("stride", "padding"))
                    layers.append(Layer(shape, weights, fewest_bits(weights), stride, padding))
    port = layers[0].shape if layers[0].weights is None else (layers[0].weights.shape[1],)
    if skip:
        port = layers[skip - 1].shape
    return network(port, layers[skip:])


def mnist() -> QuantizedNetwork:
    """Return netx/mnist: 784-128-64-10, eight bits."""
    sizes = (784, 128, 64, 10)
    return network((784,), [Layer((out,), np.zeros((out, into), np.int32)) for into, out in pairwise(sizes)])


def yolo_kp() -> QuantizedNetwork:
    """Return YOLO-KP without its input layer: 448 x 448 x 3 in, ten convolutions."""
    rows = (
        # side, channels, kernel, stride, padding, bits
        (224, 16, 3, 2, 1, 5), (112, 32, 3, 2, 1, 6), (56, 64, 3, 2, 1, 5), (28, 128, 3, 2, 1, 5), (28, 256, 3, 1, 1, 5),
        (14, 256, 3, 2, 1, 4), (14, 512, 3, 1, 1, 5), (14, 256, 1, 1, 0, 5), (14, 512, 3, 1, 1, 5), (14, 48, 1, 1, 0, 6),
    )
    layers, before = [], 3
    for side, channels, kernel, stride, padding, bits in rows:
        weights = np.zeros((channels, before, kernel, kernel), np.int32)
        layers.append(Layer((channels, side, side), weights, bits, (stride, stride), (padding, padding)))
        before = channels
    return network((3, 448, 448), layers)
