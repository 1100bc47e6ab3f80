"""Large regular networks for the scale benchmark: random weights, every neuron a leaky integrate-and-fire one.

Both are built in memory; `nmap.write(network, "mobilenet.nir")` makes a file of one.
"""

from __future__ import annotations

from math import prod

import numpy as np

from nmap.connectivity import Connectivity, Conv2d, Dense
from nmap.network import Network, Neuron
from nmap.testing.networks import build, lif

__all__ = ["LARGE", "deep_conv", "mobilenet"]

_PAIRS = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""Output channels and stride of MobileNet's depthwise and pointwise pairs (Howard et al. 2017, arXiv 1704.04861, table 1)."""


class _Chain:
    """A feed-forward network built layer by layer."""

    def __init__(self, shape: tuple[int, int, int], seed: int) -> None:
        self.rng = np.random.default_rng([16, seed])
        self.populations: dict[str, tuple[tuple[int, ...], Neuron | None]] = {"input": (shape, None)}
        self.projections: list[tuple[str, str, Connectivity, None, int]] = []
        self.last, self.shape = "input", shape

    def _add(self, name: str, connectivity: Connectivity, shape: tuple[int, ...]) -> None:
        self.projections.append((self.last, name, connectivity, None, 0))
        self.populations[name] = (shape, lif(prod(shape)))
        self.last = name

    def conv(self, name: str, channels: int, kernel: int = 3, stride: int = 1, padding: int | None = None, groups: int = 1) -> None:
        """Add a convolution; padding None keeps the size at stride 1."""
        size, pad = (channels, self.shape[0] // groups, kernel, kernel), kernel // 2 if padding is None else padding
        weights = self.rng.normal(0.5, 1.0, size) / np.sqrt(prod(size[1:]))
        layer = Conv2d(weights, self.shape, (stride, stride), (pad, pad), groups=groups)
        self._add(name, layer, layer.out_shape)
        self.shape = layer.out_shape

    def dense(self, name: str, neurons: int) -> None:
        """Add a fully connected layer."""
        inputs = prod(self.shape)
        self._add(name, Dense(self.rng.normal(0.5, 1.0, (neurons, inputs)) / np.sqrt(inputs)), (neurons,))


def mobilenet(width: float = 1.0, size: int = 224, classes: int = 1000, seed: int = 0) -> Network:
    """Return MobileNet v1 with spiking neurons behind every layer: 5.04 million neurons and 569 million synapses at full size.

    Args:
        width: factor of all channel numbers.
        size: height and width of the input, three channels; a multiple of 32.
        classes: neurons of the last layer.
        seed: of the weights.
    """
    chain = _Chain((3, size, size), seed)
    chain.conv("conv", int(32 * width), stride=2)
    for number, (channels, stride) in enumerate(_PAIRS, 1):
        chain.conv(f"depthwise{number}", chain.shape[0], stride=stride, groups=chain.shape[0])
        chain.conv(f"pointwise{number}", int(channels * width), kernel=1)
    chain.conv("pool", chain.shape[0], kernel=size // 32, padding=0, groups=chain.shape[0])
    chain.dense("classes", classes)
    return build(f"mobilenet-{width:g}-{size}.nir", chain.populations, chain.projections)


def deep_conv(width: int = 56, size: int = 64, classes: int = 10, seed: int = 0) -> Network:
    """Return a plain convolutional network: 250 million synapses (taps on the padding included) and 0.67 million neurons at full size.

    Args:
        width: channels of the first layer.
        size: height and width of the input, two channels as of an event camera; a multiple of 16.
        classes: neurons of the last layer.
        seed: of the weights.
    """
    chain = _Chain((2, size, size), seed)
    for number, (channels, stride) in enumerate(((width, 1), (width, 1), (2 * width, 2), (width, 1), (2 * width, 2)), 1):
        chain.conv(f"conv{number}", channels, stride=stride)
    chain.conv("pool", chain.shape[0], kernel=2, stride=2, padding=0, groups=chain.shape[0])
    chain.dense("classes", classes)
    return build(f"deep-conv-{width}-{size}.nir", chain.populations, chain.projections)


LARGE = {"mobilenet": mobilenet, "deep_conv": deep_conv}
"""Full-size networks of the scale benchmark by name."""
