"""The mapping suite's problems: twelve networks and placement problems in three families, drawn from fixed seeds.

Each function takes the seed of its random numbers; `NETWORKS` and `PLACEMENTS` give the suite's own. Neuron numbers are in raster order
with the channel first, as a file importer gives them. Rates are drawn per neuron, log-normal with sigma 0.6 about a mean per layer.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from neutral import NeutralPartition, NeutralPlacement, distinct

from nmap.connectivity import Array

__all__ = ["CORES", "NETWORKS", "PLACEMENTS", "make"]

CORES = {"L": (1024, 4096, 131072), "M": (512, 2048, 65536), "S": (256, 1024, 65536), "P": (128, 8192, 65536)}
"""Neurons, incoming axons and synapses of a core: Loihi-like, medium, small, SpiNNaker-like."""
_SPREAD = 0.6


class _Builder:
    """Collects populations and synapses; inputs are sources below zero until the end."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self._first: dict[str, tuple[bool, int, int]] = {}
        self._rates: dict[bool, list[Array]] = {True: [], False: []}
        self._layer: list[Array] = []
        self._source: list[Array] = []
        self._target: list[Array] = []

    def _count(self, inputs: bool) -> int:
        return sum(rates.size for rates in self._rates[inputs])

    def add(self, name: str, size: int, rate: float, inputs: bool = False) -> None:
        """Add a population, or the inputs."""
        self._first[name] = inputs, self._count(inputs), size
        normal = self.random.normal(-_SPREAD * _SPREAD / 2, _SPREAD, size)
        self._rates[inputs].append((rate * np.exp(normal)).astype(np.float32))
        if not inputs:
            self._layer.append(np.full(size, len(self._layer), np.int32))

    def connect(self, source: str, target: str, i: Array, j: Array) -> None:
        """Add synapses from unit i of one population to unit j of the other, pair by pair; repeated ones count once."""
        inputs, first, _ = self._first[source]
        units = np.asarray(i, np.int64) + first
        self._source.append(-1 - units if inputs else units)
        self._target.append(np.asarray(j, np.int64) + self._first[target][1])

    def dense(self, source: str, target: str) -> None:
        """Connect all with all."""
        wide = self._first[target][2]
        i, j = np.divmod(np.arange(self._first[source][2] * wide), wide)
        self.connect(source, target, i, j)

    def conv(
        self, source: str, shape: tuple[int, int, int], target: str, channels: int, kernel: int, stride: int = 1, pad: int = 0,
        each: bool = False,
    ) -> tuple[int, int, int]:
        """Connect as a convolution over (channels, height, width), channel by channel when `each`; return the shape of its output."""
        deep, high, wide = shape
        rows, columns = ((n + 2 * pad - kernel) // stride + 1 for n in (high, wide))
        y, x, dy, dx = np.ogrid[:rows, :columns, :kernel, :kernel]
        y_in, x_in = np.broadcast_arrays(y * stride + dy - pad, x * stride + dx - pad)
        inside = (y_in >= 0) & (y_in < high) & (x_in >= 0) & (x_in < wide)
        seen = (y_in * wide + x_in)[inside]
        made = np.broadcast_to(y * columns + x, inside.shape)[inside]
        pairs = [(c, c) for c in range(channels)] if each else [(d, c) for c in range(channels) for d in range(deep)]
        for d, c in pairs:
            self.connect(source, target, seen + d * high * wide, made + c * rows * columns)
        return channels, rows, columns

    def pool(self, source: str, shape: tuple[int, int, int], target: str, size: int) -> tuple[int, int, int]:
        """Connect as a pooling layer."""
        return self.conv(source, shape, target, shape[0], size, size, 0, True)

    def build(self, core: str, side: int) -> NeutralPartition:
        """Return the problem on a square mesh: one axon per unit with listeners, neurons first, inputs after them."""
        n, inputs = self._count(False), self._count(True)
        source = np.concatenate(self._source)
        # One number per synapse sorts by axon, then by target.
        axon = np.where(source < 0, n - 1 - source, source)
        synapse = distinct(axon * n + np.concatenate(self._target))
        axon, target = synapse // n, synapse % n
        listeners = np.bincount(axon, minlength=n + inputs)
        used = listeners > 0
        number = np.concatenate([np.arange(n), np.full(inputs, -1)]).astype(np.int32)
        rate = np.concatenate([*self._rates[False], *self._rates[True]])
        return NeutralPartition(
            n=n, hsrc=number[used], hptr=np.concatenate([[0], np.cumsum(listeners[used])]).astype(np.int64), hdst=target.astype(np.int32),
            rate=rate[used], caps=np.array(CORES[core], np.int64), mesh=(side, side), io_xy=(0, 0), dead=np.zeros(0, np.int32),
            layer=np.concatenate(self._layer),
        )


def _mlp_mnist(seed: int = 1) -> NeutralPartition:
    net = _Builder(seed)
    net.add("in", 784, 0.1, True)
    net.add("hidden", 512, 0.05)
    net.add("out", 10, 0.1)
    net.dense("in", "hidden")
    net.dense("hidden", "out")
    return net.build("S", 4)


def _lenet_mnist(seed: int = 2) -> NeutralPartition:
    net = _Builder(seed)
    net.add("in", 28 * 28, 0.15, True)
    net.add("c1", 6 * 28 * 28, 0.08)
    shape = net.conv("in", (1, 28, 28), "c1", 6, 5, 1, 2)
    net.add("p1", 6 * 14 * 14, 0.08)
    shape = net.pool("c1", shape, "p1", 2)
    net.add("c2", 16 * 10 * 10, 0.06)
    shape = net.conv("p1", shape, "c2", 16, 5)
    net.add("p2", 16 * 5 * 5, 0.06)
    net.pool("c2", shape, "p2", 2)
    for source, name, size, rate in (("p2", "f1", 120, 0.06), ("f1", "f2", 84, 0.06), ("f2", "out", 10, 0.1)):
        net.add(name, size, rate)
        net.dense(source, name)
    return net.build("S", 10)


def _nmnist_scnn(seed: int = 3) -> NeutralPartition:
    net = _Builder(seed)
    net.add("in", 2 * 34 * 34, 0.05, True)
    net.add("c1", 12 * 30 * 30, 0.05)
    shape = net.conv("in", (2, 34, 34), "c1", 12, 5)
    net.add("p1", 12 * 15 * 15, 0.05)
    shape = net.pool("c1", shape, "p1", 2)
    net.add("c2", 32 * 11 * 11, 0.04)
    shape = net.conv("p1", shape, "c2", 32, 5)
    net.add("p2", 32 * 5 * 5, 0.04)
    net.pool("c2", shape, "p2", 2)
    net.add("out", 10, 0.1)
    net.dense("p2", "out")
    return net.build("S", 20)


def _dvsgesture_scnn(seed: int = 4) -> NeutralPartition:
    net = _Builder(seed)
    net.add("in", 2 * 32 * 32, 0.08, True)
    net.add("c1", 16 * 32 * 32, 0.05)
    shape = net.conv("in", (2, 32, 32), "c1", 16, 5, 1, 2)
    net.add("p1", 16 * 16 * 16, 0.05)
    shape = net.pool("c1", shape, "p1", 2)
    net.add("c2", 32 * 16 * 16, 0.04)
    shape = net.conv("p1", shape, "c2", 32, 3, 1, 1)
    net.add("p2", 32 * 8 * 8, 0.04)
    net.pool("c2", shape, "p2", 2)
    net.add("f1", 512, 0.04)
    net.dense("p2", "f1")
    net.add("out", 11, 0.1)
    net.dense("f1", "out")
    return net.build("M", 16)


def _vgg9_cifar_w16(seed: int = 5) -> NeutralPartition:
    net = _Builder(seed)
    net.add("in", 3 * 32 * 32, 0.2, True)
    shape, last = (3, 32, 32), "in"
    for block, (channels, repeats) in enumerate(((16, 2), (32, 2), (64, 3))):
        for repeat in range(repeats):
            name = f"c{block}.{repeat}"
            net.add(name, channels * shape[1] * shape[2], 0.06)
            shape = net.conv(last, shape, name, channels, 3, 1, 1)
            last = name
        name = f"p{block}"
        net.add(name, channels * shape[1] * shape[2] // 4, 0.06)
        shape = net.pool(last, shape, name, 2)
        last = name
    net.add("f", 256, 0.05)
    net.dense(last, "f")
    net.add("out", 10, 0.1)
    net.dense("f", "out")
    return net.build("L", 16)


def _resnet_mini(seed: int = 6) -> NeutralPartition:
    net = _Builder(seed)
    net.add("in", 3 * 32 * 32, 0.2, True)
    net.add("stem", 16 * 32 * 32, 0.06)
    shape, last = net.conv("in", (3, 32, 32), "stem", 16, 3, 1, 1), "stem"
    for block, (channels, stride) in enumerate(((16, 1), (32, 2), (64, 2))):
        side = shape[1] // stride
        first, second = f"a{block}", f"b{block}"
        net.add(first, channels * side * side, 0.05)
        inner = net.conv(last, shape, first, channels, 3, stride, 1)
        net.add(second, channels * side * side, 0.05)
        net.conv(first, inner, second, channels, 3, 1, 1)
        # The shortcut: identity where the shape stays, 1 x 1 with the stride elsewhere.
        net.conv(last, shape, second, channels, 1, stride, 0, each=channels == shape[0] and stride == 1)
        shape, last = inner, second
    net.add("mean", 64, 0.05)
    net.pool(last, shape, "mean", 8)
    net.add("out", 10, 0.1)
    net.dense("mean", "out")
    return net.build("L", 32)


def _shd_rsnn(seed: int = 7) -> NeutralPartition:
    net = _Builder(seed)
    net.add("in", 700, 0.02, True)
    net.add("hidden", 256, 0.06)
    net.add("out", 20, 0.05)
    for source, target in (("in", "hidden"), ("hidden", "hidden"), ("hidden", "out")):
        net.dense(source, target)
    return net.build("S", 4)


def _rand1pct_10k(seed: int = 8) -> NeutralPartition:
    net, n = _Builder(seed), 10_000
    net.add("all", n, 0.02)
    i, j = (net.random.integers(0, n, n * n // 100) for _ in range(2))
    net.connect("all", "all", i[i != j], j[i != j])
    return net.build("L", 16)


def _community_20k(seed: int = 9) -> NeutralPartition:
    # 64 communities under shuffled numbers, 80 % of 100 targets in the neuron's own.
    net, n, communities, fan_out = _Builder(seed), 20_000, 64, 100
    net.add("all", n, 0.02)
    label = net.random.permutation(np.arange(n) % communities)
    i = np.repeat(np.arange(n), fan_out)
    inside = net.random.random(i.size) < 0.8
    j = net.random.integers(0, n, i.size)
    for community in range(communities):
        chosen, members = inside & (label[i] == community), np.flatnonzero(label == community)
        j[chosen] = members[net.random.integers(0, members.size, chosen.sum())]
    net.connect("all", "all", i[i != j], j[i != j])
    return net.build("M", 32)


def _smallworld_20k(seed: int = 10) -> NeutralPartition:
    # A ring with 64 neighbours each (Watts and Strogatz), a tenth of the targets drawn anew, numbers shuffled.
    net, n, half = _Builder(seed), 20_000, 32
    net.add("all", n, 0.02)
    steps = np.arange(1, half + 1)
    i = np.repeat(np.arange(n), 2 * half)
    j = (i + np.tile(np.concatenate([steps, -steps]), n)) % n
    anew = net.random.random(i.size) < 0.1
    j[anew] = net.random.integers(0, n, anew.sum())
    number = net.random.permutation(n)
    net.connect("all", "all", number[i[i != j]], number[j[i != j]])
    return net.build("M", 32)


def _lsm_4k(seed: int = 11) -> NeutralPartition:
    # A liquid of 16^3 neurons, connected with C exp(-(distance / 3)^2) (Maass 2002), 80 % of them excitatory.
    net, side = _Builder(seed), 16
    n = side**3
    net.add("in", 256, 0.05, True)
    net.add("liquid", n, 0.03)
    net.add("out", 10, 0.1)
    place = np.stack(np.unravel_index(np.arange(n), (side, side, side)), 1)
    excites = (net.random.random(n) < 0.8).astype(np.int64)
    strength = np.array([[0.1, 0.4], [0.2, 0.3]])[excites[:, None], excites[None, :]]
    for low in range(0, n, 512):
        rows = np.arange(low, min(n, low + 512))
        chance = strength[rows] * np.exp(-((place[rows, None, :] - place) ** 2).sum(2) / 9.0)
        chance[rows - low, rows] = 0
        i, j = np.nonzero(net.random.random(chance.shape) < chance)
        net.connect("liquid", "liquid", i + low, j)
    i = np.repeat(np.arange(256), 32)
    net.connect("in", "liquid", i, net.random.integers(0, n, i.size))
    read = net.random.choice(n, 1000, replace=False)
    net.connect("liquid", "out", np.repeat(read, 10), np.tile(np.arange(10), 1000))
    return net.build("S", 9)


_CORTEX_NEURONS = (20683, 5834, 21915, 5479, 4850, 1065, 14395, 2948)
_CORTEX_RATES = (0.86, 2.8, 4.45, 5.93, 7.59, 8.63, 1.1, 7.88)
_CORTEX_CHANCES = (
    (0.1009, 0.1689, 0.0437, 0.0818, 0.0323, 0.0, 0.0076, 0.0), (0.1346, 0.1371, 0.0316, 0.0515, 0.0755, 0.0, 0.0042, 0.0),
    (0.0077, 0.0059, 0.0497, 0.135, 0.0067, 0.0003, 0.0453, 0.0), (0.0691, 0.0029, 0.0794, 0.1597, 0.0033, 0.0, 0.1057, 0.0),
    (0.1004, 0.0622, 0.0505, 0.0057, 0.0831, 0.3726, 0.0204, 0.0), (0.0548, 0.0269, 0.0257, 0.0022, 0.06, 0.3158, 0.0086, 0.0),
    (0.0156, 0.0066, 0.0211, 0.0166, 0.0572, 0.0197, 0.0396, 0.2252), (0.0364, 0.001, 0.0034, 0.0005, 0.0277, 0.008, 0.0658, 0.1443),
)
"""Neurons, spikes per second and chance of a connection [target, source] of the eight populations (Potjans and Diesmann 2014, table 5)."""


def _cortical_10pct(seed: int = 12) -> NeutralPartition:
    net, chance = _Builder(seed), np.array(_CORTEX_CHANCES)
    size = np.array(_CORTEX_NEURONS) // 10
    for k, rate in enumerate(np.array(_CORTEX_RATES) * 1e-3):
        net.add(str(k), int(size[k]), rate)
    for target in range(size.size):
        for source in range(size.size):
            if chance[target, source] > 0:
                # So many draws with repetition leave an unconnected pair with 1 - chance.
                draws = round(float(np.log(1 - chance[target, source]) / np.log(1 - 1 / (size[target] * size[source]))))
                i = net.random.integers(0, size[source], draws)
                net.connect(str(source), str(target), i, net.random.integers(0, size[target], draws))
    return net.build("P", 10)


def _layers(side: int, window: int = 0, seed: int = 1) -> NeutralPlacement:
    """Return `side` layers of `side` clusters, each layer but the last two connected with the next: all, or to a window of it."""
    random = np.random.default_rng(seed)
    a, b = np.divmod(np.arange(side * side), side)
    if window:
        near = (b >= a) & (b < a + window)
        a, b = a[near], b[near]
    first = np.repeat(np.arange(side - 2) * side, a.size)
    source, target = np.tile(a, side - 2) + first, np.tile(b, side - 2) + first + side
    return NeutralPlacement(side * side, source.astype(np.int32), target.astype(np.int32), random.random(source.size), (side, side),
                            np.zeros(0, np.int32))


def _geometric(clusters: int, seed: int = 1) -> NeutralPlacement:
    """Return traffic between the eight nearest of random points, a tenth of it to anywhere instead."""
    random, degree = np.random.default_rng(seed), 8
    side = int(np.ceil(np.sqrt(clusters)))
    point = random.random((clusters, 2))
    far = ((point[:, None] - point[None]) ** 2).sum(2)
    np.fill_diagonal(far, 9)
    source, target = np.repeat(np.arange(clusters), degree), np.argsort(far, 1)[:, :degree].ravel()
    anew = random.random(source.size) < 0.1
    target[anew] = random.integers(0, clusters, anew.sum())
    keep = source != target
    weight = random.lognormal(0, 1, keep.sum())
    return NeutralPlacement(clusters, source[keep].astype(np.int32), target[keep].astype(np.int32), weight, (side, -(-clusters // side)),
                            np.zeros(0, np.int32))


NETWORKS: dict[str, Callable[..., NeutralPartition]] = {
    "mlp_mnist": _mlp_mnist, "shd_rsnn": _shd_rsnn, "lenet_mnist": _lenet_mnist, "nmnist_scnn": _nmnist_scnn,
    "dvsgesture_scnn": _dvsgesture_scnn, "vgg9_cifar_w16": _vgg9_cifar_w16, "resnet_mini": _resnet_mini, "lsm_4k": _lsm_4k,
    "cortical_10pct": _cortical_10pct, "rand1pct_10k": _rand1pct_10k, "community_20k": _community_20k, "smallworld_20k": _smallworld_20k,
}
PLACEMENTS: dict[str, Callable[..., NeutralPlacement]] = {
    **{f"geo_{k}": partial(_geometric, k) for k in (16, 36, 64, 100, 121, 1024)},
    **{f"fc_{m * m}": partial(_layers, m) for m in (8, 16, 32)},
    **{f"cv_{m * m}": partial(_layers, m, 4) for m in (8, 16, 32, 64)},
}


def make(name: str, seed: int | None = None) -> NeutralPartition | NeutralPlacement:
    """Return a problem by name; with a seed another one of the same kind.

    Raises:
        KeyError: there is no problem of that name.
    """
    maker = NETWORKS[name] if name in NETWORKS else PLACEMENTS[name]
    return maker() if seed is None else maker(seed=seed)
