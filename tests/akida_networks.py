"""Random networks of every kind of layer that Akida 1.0 has, and what they compute when each inference is written out in real numbers.

Chains are made layer by layer. Thresholds are put where the layer's own potentials are, so that most layers send something. `whole`
networks have weights, biases and thresholds that the chip holds as they are, so their spikes are known beforehand (`Case.wanted`); others
have to be rounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nmap.connectivity import Connectivity, Conv2d, Dense, Sparse
from nmap.network import Conventions, Network, Neuron
from nmap.options import Options
from nmap.testing.networks import build

SAMPLES = 3
TOP = {1: 1, 2: 1, 4: 7}
"""Largest whole number of hidden weights, by bits."""
MODES = ("threshold", "multiple", "rate")
KINDS = (
    "conv1", "conv3", "conv5", "conv7", "stride", "rectangle", "signal", "depthwise", "separable", "sum_pool", "sum_pool_conv", "blocks",
    "max_pool", "majority", "global_pool", "dense", "sparse",
)
"""Hidden layers; `max_pool` comes with the convolution behind it."""
LINES = ("line", "line_strided")
"""Convolutions of signals, as files state them: populations of shape (channels, length) behind kernels of one row."""
IMAGES = ("image_same", "image_valid", "image_strided")
_IMAGE_SUM = 500_000
"""Sum that the first layer's filters stay below."""


@dataclass(frozen=True, slots=True)
class Case:
    """A network, its samples and how it is deployed.

    `wanted` holds what every population sends in every inference, (samples, inferences, neurons), by name; empty unless `whole`.
    """

    network: Network
    inputs: np.ndarray
    options: Options
    window: int
    whole: bool
    kinds: tuple[str, ...]
    wanted: dict[str, np.ndarray] = field(default_factory=dict)


class _Maker:
    def __init__(self, seed: int, mode: str, bits: int, whole: bool, image: tuple[int, int, int], top: int, window: int,
                 lines: bool = False) -> None:
        self.rng = np.random.default_rng([9, seed])
        self.mode, self.bits, self.whole, self.window, self.top = mode, bits, whole, window, top
        self.shape: tuple[int, ...] = image
        self.kinds: list[str] = []
        self.lines = lines
        self.populations: dict = {"input": (self.stated(image), None)}
        self.projections: list = []
        inferences = 4 if mode != "rate" else 2
        density = self.rng.uniform(0.2, 0.6)
        steps = (SAMPLES, inferences * window, int(np.prod(image)))
        self.inputs = (self.rng.integers(1, top + 1, steps) * (self.rng.random(steps) < density)).astype(np.uint8)
        self.sent = self.inputs.reshape(SAMPLES, inferences, window, -1).sum(2, dtype=np.int64)
        self.largest = top * window
        self.wanted = {}

    def stated(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of a population as the network has it."""
        return (shape[0], shape[2]) if self.lines and len(shape) == 3 else shape

    def number(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def weights(self, shape: tuple[int, ...], top: int | None = None) -> np.ndarray:
        """None of the filters all zero."""
        if not self.whole:
            drawn = self.rng.normal(0.1, 0.5, shape)
            return np.abs(drawn) if self.bits == 1 and top is None else drawn
        top = TOP[self.bits] if top is None else top
        low = 0 if self.bits == 1 and top == 1 else -top
        drawn = self.rng.integers(low, top + 1, shape) * (self.rng.random(shape) < 0.7)
        flat = drawn.reshape(shape[0], -1)
        flat[np.arange(shape[0]), self.rng.integers(0, flat.shape[1], shape[0])] = top
        if self.mode == "multiple":
            flat[::2] = np.abs(flat[::2])
        return drawn.astype(np.float64)

    def add(self, kind: str, connectivity: Connectivity, shape: tuple[int, ...], threshold: float | None = None) -> None:
        """Append a population; its thresholds are drawn unless given."""
        filters = shape[0]
        pixels = int(np.prod(shape[1:]))
        bias = np.zeros(filters)
        gain = np.ones(filters)
        if threshold is None and self.rng.random() < 0.6:
            bias = self.rng.integers(-2, 3, filters).astype(np.float64)
        if threshold is None and not self.whole:
            bias, gain = bias * self.rng.uniform(0, 0.3, filters), self.rng.uniform(0.5, 2, filters)
        each = lambda values: np.repeat(values, pixels)  # noqa: E731 - shorter
        potential = connectivity.apply(self.sent) + each(bias) * self.window
        bound = (connectivity.row_sums()[0] * self.largest + each(bias) * self.window) * each(gain)
        theta = np.full(filters, threshold) if threshold is not None else self.thresholds(
            (potential * each(gain)).reshape(*potential.shape[:2], filters, pixels), bound,
        )
        n = filters * pixels
        zeros = np.zeros(n)
        neuron = Neuron(
            "IF" if self.mode == "rate" else "LIF", zeros, np.ones(n), each(gain), zeros + (self.mode == "rate"), zeros, each(theta), zeros,
        )
        name, source = f"layer{len(self.populations)}", list(self.populations)[-1]
        self.populations[name] = (self.stated(shape), neuron)
        self.projections.append((source, name, connectivity, each(bias) if bias.any() else None, 0))
        self.fire(name, potential * each(gain), bound, each(theta))
        self.shape = shape
        self.kinds.append(kind)

    def thresholds(self, potentials: np.ndarray, bound: np.ndarray) -> np.ndarray:
        """One for each filter, where a part of its neurons is above.

        `potentials` are (samples, inferences, filters, pixels); `bound` holds the largest that there can be, of each neuron.
        """
        filters = potentials.shape[2]
        highest = potentials.max((0, 1, 3))
        drawn = [np.quantile(potentials[:, :, f], self.rng.uniform(0.5, 0.85)) for f in range(filters)]
        theta = np.minimum(drawn, highest - (0.5 if self.mode == "threshold" else 0.0))
        if self.mode == "rate":
            theta = theta / self.rng.uniform(0.7, self.window, filters)
        if self.mode == "multiple":
            # What counts 15 spikes at most, whatever comes in, is seldom reached.
            bound = bound.reshape(filters, -1).max(1)
            highest = bound.max() / max(1e-9, theta.max())
            theta = np.maximum(theta / self.rng.uniform(1, 4, filters), bound / (3 if highest < 4 else 15))
        if self.whole:
            if self.mode == "threshold":
                return np.maximum(np.floor(theta) + 0.5 * self.rng.integers(0, 2, filters), 0.5)
            return np.maximum(np.ceil(theta), 1.0)
        return np.maximum(theta, 0.05)

    def fire(self, name: str, potential: np.ndarray, bound: np.ndarray, theta: np.ndarray) -> None:
        if self.mode == "threshold":
            self.sent, self.largest = (potential > theta).astype(np.int64), 1
        elif self.mode == "multiple":
            self.sent = np.maximum(np.trunc(potential / theta), 0).astype(np.int64)
            self.largest = next((level for level in (1, 3) if (np.trunc(bound / theta) <= level).all()), 15)
        else:
            self.largest = 15 if self.window > 3 else 3 if self.window > 1 else 1
            self.sent = np.clip(np.floor(potential / theta), 0, self.largest).astype(np.int64)
        self.wanted[name] = self.sent

    # ------------------------------------------------------------ layers

    def convolution(self, kind: str, kernel: np.ndarray, stride: tuple[int, int] = (1, 1), padding: tuple[int, int] | None = None,
                    groups: int = 1, threshold: float | None = None) -> None:
        padding = tuple(k // 2 for k in kernel.shape[2:]) if padding is None else padding
        layer = Conv2d(kernel, self.shape, stride, padding, (1, 1), groups)
        self.add(kind, layer, layer.out_shape, threshold)

    def allowed(self, kind: str) -> bool:
        """Whether a kind of layer can follow here."""
        if kind in ("dense", "sparse"):
            return True
        if len(self.shape) != 3:
            return False
        channels, height, width = self.shape
        even = height % 2 == 0 and width % 2 == 0 and min(height, width) >= 4
        small = self.largest * 4 <= 15
        return {
            "stride": height % 2 == 1 and width % 2 == 1 and min(height, width) >= 3,
            "rectangle": min(height, width) >= 3,
            "signal": height == 1 and width >= 5,
            "line": height == 1 and width >= 3,
            "line_strided": height == 1 and width >= 3 and width % 2 == 1,
            "separable": self.bits > 1 and channels >= 2 and min(height, width) >= 3,
            "sum_pool": even,
            "sum_pool_conv": even and small,
            "blocks": even,
            "max_pool": even and self.mode == "threshold" and self.kinds[-1:] != [] and self.kinds[-1] not in (
                "dense", "sparse", "max_pool", "sum_pool", "global_pool",
            ),
            "majority": even,
            "global_pool": min(height, width) >= 3 and max(height, width) <= 9,
        }.get(kind, min(height, width) >= 3 or kind == "conv1")

    def follow(self, kind: str) -> None:
        """Append a layer of a kind."""
        filters = self.number(1, 4)
        if kind in ("dense", "sparse"):
            n = int(np.prod(self.shape))
            matrix = self.weights((self.number(2, 9), n))
            if kind == "sparse":
                matrix = matrix * (self.rng.random(matrix.shape) < 0.5)
                matrix[:, 0] = 1
            self.add(kind, Sparse.from_dense(matrix) if kind == "sparse" else Dense(matrix), (len(matrix),))
            return
        channels, height, width = self.shape
        if kind.startswith("conv"):
            size = int(kind[-1])
            self.convolution(kind, self.weights((filters, channels, size, size)))
        elif kind == "stride":
            self.convolution(kind, self.weights((filters, channels, 3, 3)), (2, 2))
        elif kind == "rectangle":
            self.convolution(kind, self.weights((filters, channels, 3, 1)))
        elif kind in LINES:
            stride = 2 if kind == "line_strided" else 1
            self.convolution(kind, self.weights((filters, channels, 1, 3)), (1, stride))
        elif kind == "signal":
            self.convolution(kind, self.weights((filters, channels, 1, 5)))
        elif kind == "depthwise":
            self.convolution(kind, self.weights((channels, 1, 3, 3)), groups=channels)
        elif kind == "separable":
            size, filters = int(self.rng.choice([3, 5])), self.number(6, 9)
            depth, point = self.weights((channels, size, size)), self.weights((filters, channels))
            self.convolution(kind, point[:, :, None, None] * depth)
        elif kind == "sum_pool":
            # Neurons that count what four others sent, or ask for a number of them.
            self.convolution(kind, np.repeat(np.ones((1, 1, 2, 2)), channels, 0), (2, 2), (0, 0), channels)
        elif kind in ("sum_pool_conv", "blocks"):
            size = 3 if kind == "sum_pool_conv" else 1
            kernel = np.kron(self.weights((filters, channels, size, size)), np.ones((2, 2)))
            self.convolution(kind, kernel, (2, 2), (size // 2 * 2,) * 2)
        elif kind == "max_pool":
            self.convolution(kind, np.repeat(np.ones((1, 1, 2, 2)), channels, 0), (2, 2), (0, 0), channels, threshold=0.5)
            self.follow("conv3")
        elif kind == "majority":
            self.convolution(kind, np.repeat(np.ones((1, 1, 2, 2)), channels, 0), (2, 2), (0, 0), channels,
                             threshold=2.0 if self.mode == "threshold" else None)
        else:
            size = int(self.rng.choice([1, 3]))
            small = self.weights((filters, channels, size, size))
            kernel = np.zeros((filters, channels, size + height - 1, size + width - 1))
            for y in range(height):
                for x in range(width):
                    kernel[:, :, y : y + size, x : x + size] += small
            self.convolution(kind, kernel, padding=(size // 2, size // 2))

    def begin(self, kind: str) -> None:
        """Append the convolution of an image of 8 bits."""
        channels, height, width = self.shape
        size = int(self.rng.choice([3, 5, 7] if kind == "image_same" else [3, 5]))
        top = max(1, min(127, int(_IMAGE_SUM / (self.largest * channels * size * size))))
        kernel = self.weights((self.number(1, 4), channels, size, size), top)
        if not self.whole:
            kernel = kernel * 0.1
        stride = int(self.rng.choice([s for s in (2, 3) if (height - 1) % s == 0 and (width - 1) % s == 0] or [1]))
        valid = kind == "image_valid"
        self.convolution(kind, kernel, (stride, stride) if kind == "image_strided" else (1, 1), (0, 0) if valid else None)

    def case(self) -> Case:
        counts = self.mode != "threshold"
        conventions = Conventions(
            1e-3, "subtract" if counts else "zero", compare=">=" if counts else ">", multiple=self.mode == "multiple",
        )
        network = build("random.nir", self.populations, self.projections, conventions=conventions)
        options = Options(
            bits=self.bits, partitioner="greedy", effort=0, payload=(0, self.top), horizon=self.window,
            approximate=frozenset({"rate"} if self.mode == "rate" else ()),
        )
        return Case(network, self.inputs, options, self.window, self.whole, tuple(self.kinds), self.wanted if self.whole else {})


def _start(
    seed: int, mode: str | None, bits: int | None, whole: bool, image: bool, side: tuple[int, int] | None, lines: bool = False
) -> _Maker:
    rng = np.random.default_rng([8, seed])
    mode = str(rng.choice(MODES)) if mode is None else mode
    bits = int(rng.choice([1, 2, 4])) if bits is None else bits
    if bits == 1 and not whole:
        # Weights of 0 and 1 leave no choice of units in which thresholds would be whole numbers, as counting needs them.
        mode = "threshold"
    window = int(rng.choice([1, 2, 3, 7, 15])) if mode == "rate" else 1
    height, width = (int(n) for n in rng.integers(5, 10, 2)) if side is None else side
    if image:
        top = min(int(rng.choice([3, 20, 255])), 255 // window)
        channels = int(rng.choice([1, 3]))
    else:
        top = int(rng.choice([1, 1, 3, 15])) if mode != "rate" else 1
        channels = int(rng.choice([2, 4]))
    return _Maker(seed, mode, bits, whole, (channels, height, width), top, window, lines)


def with_layer(kind: str, seed: int, mode: str | None = None, bits: int | None = None, whole: bool = True) -> Case:
    """A network with a layer of a kind, of `KINDS`, `LINES` or `IMAGES`, with others before and behind it."""
    image = kind in IMAGES
    if kind == "max_pool":
        mode = "threshold"
    if kind == "separable" and bits in (None, 1):
        bits = 2 + 2 * (seed % 2)
    side = {"stride": (7, 9), "signal": (1, 9), "image_strided": (9, 7), "line": (1, 9), "line_strided": (1, 9)}.get(kind)
    if kind in ("sum_pool", "sum_pool_conv", "blocks", "max_pool", "majority"):
        side = (6, 8)
    maker = _start(seed, mode, bits, whole, image, side, kind in LINES)
    if image:
        maker.begin(kind)
        maker.follow("conv3" if len(maker.shape) == 3 and min(maker.shape[1:]) >= 3 else "dense")
    else:
        if kind in LINES:
            maker.follow("line")
        elif kind == "signal":
            maker.follow("signal")
        elif kind != "separable" and (kind not in ("dense", "sum_pool_conv") or maker.largest > 3):
            maker.follow("conv3")
        if kind == "max_pool":
            assert maker.allowed(kind)
        if maker.allowed(kind):
            maker.follow(kind)
    maker.follow("dense")
    return maker.case()


def chain_of(kind: str, count: int, seed: int) -> Case:
    """A network of so many layers of one kind."""
    maker = _start(seed, "threshold", 4, True, False, None)
    for _ in range(count):
        maker.follow(kind)
    return maker.case()


def random_case(seed: int, mode: str | None = None, whole: bool = True) -> Case:
    """A network of one to four random layers and a dense one."""
    image = seed % 3 == 0
    maker = _start(seed, mode, None, whole, image, (None, (8, 6), (7, 9))[seed // 3 % 3])
    if image:
        maker.begin(str(maker.rng.choice(IMAGES[:2])))
    for _ in range(maker.number(1, 4)):
        allowed = [kind for kind in KINDS if maker.allowed(kind)]
        maker.follow(str(maker.rng.choice(allowed)))
    if maker.rng.random() < 0.7 or maker.kinds[-1] == "max_pool":
        maker.follow("dense")
    return maker.case()
