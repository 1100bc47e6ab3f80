"""The networks that the emulator and its peers are timed on, in numpy alone: peers read them in environments that have no nmap.

Every neuron is a leaky integrate-and-fire one of Loihi 2, in integers. With T0(x) = x / 2^12 rounded toward zero and a the sum of the
weights of the spikes sent one step before,

    u = T0(u (4095 - du)) + (a << 6)
    v = T0(v (4096 - dv)) + u + (bias_mant << bias_exp)
    spike where v > (vth << 6), v = 0 there

Weights are even numbers of -256..254, which is what eight bits of both signs hold on the chip. Thresholds and biases were chosen so that
the activity is that of the workloads' table; `numbers` counts it for whatever spikes a run gave.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["NETWORKS", "Cells", "Link", "Net", "degrees", "digest", "fan_out", "folded", "load", "make", "numbers", "save"]

_SCALARS = ("du", "dv", "vth", "bias_exp")


@dataclass(frozen=True, eq=False)
class Cells:
    """A population; an input port where `vth` is None.

    Args:
        name, shape: as in nmap.
        du, dv, vth, bias_exp: the kernel's parameters, one number for all neurons.
        bias_mant: (n,) integers, or one number.
        start: v before the first step, (n,) integers, or one number.
    """

    name: str
    shape: tuple[int, ...]
    du: int = 1024
    dv: int = 128
    vth: int | None = None
    bias_mant: Any = 0
    bias_exp: int = 0
    start: Any = 0

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.shape)

    @property
    def bias(self) -> Any:
        """What is added to v in every step: (n,) int64 or one number."""
        mantissa = np.asarray(self.bias_mant, np.int64)
        return mantissa << self.bias_exp if self.bias_exp >= 0 else mantissa >> -self.bias_exp


@dataclass(frozen=True, eq=False)
class Link:
    """A projection. What its source sends may be pooled first: sums over windows of `pool` by `pool`, an incomplete edge left out.

    Args:
        source, target: populations.
        weights: dense (targets, sources behind the pool); conv (out channels, in channels, height, width), zero padding `padding`; sparse
            (synapses,), by target.
        indptr, indices: of sparse ones: row pointers by target (targets + 1,) int64 and sources (synapses,) int32, ascending in a row.
        stride, padding: of a convolution, (height, width).
        groups: of its channels.
        exponent: power of two that the sum is multiplied with.
    """

    source: str
    target: str
    weights: np.ndarray
    indptr: np.ndarray | None = None
    indices: np.ndarray | None = None
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    groups: int = 1
    pool: int = 1
    exponent: int = 0

    @property
    def kind(self) -> str:
        """`sparse`, `conv` or `dense`."""
        return "sparse" if self.indptr is not None else "conv" if self.weights.ndim == 4 else "dense"


@dataclass(frozen=True, eq=False)
class Net:
    """A workload.

    Args:
        name: as on the command line.
        title: what it is.
        cells: populations, the input port first, in an order in which sources come first but for feedback.
        links: projections.
        rasters: what the input port sends, (samples, steps, neurons) uint8, 0 or 1.
        steps: steps of one sample.
    """

    name: str
    title: str
    cells: tuple[Cells, ...]
    links: tuple[Link, ...]
    rasters: np.ndarray
    steps: int
    sizes: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", {cells.name: cells.size for cells in self.cells})

    def __getitem__(self, name: str) -> Cells:
        return next(cells for cells in self.cells if cells.name == name)

    @property
    def synapses(self) -> int:
        """Synapses stored one by one; a convolution's kernel counts once."""
        return sum(int(link.weights.size) for link in self.links)


# ---- making them


def _even(rng: np.random.Generator, shape: tuple[int, ...], mean: float = 0.0, spread: float = 80.0) -> np.ndarray:
    """Return even integers of -256..254, normally distributed."""
    drawn = np.rint(rng.normal(mean / 2, spread / 2, shape)) * 2
    return np.clip(drawn, -256, 254).astype(np.int16)


def _raster(rng: np.random.Generator, samples: int, steps: int, neurons: int, rate: float) -> np.ndarray:
    raster = np.empty((samples, steps, neurons), np.uint8)
    for sample in range(samples):
        raster[sample] = rng.random((steps, neurons), np.float32) < rate
    return raster


def _mlp() -> Net:
    rng = np.random.default_rng([6, 1])
    sizes = (784, 512, 256, 10)
    cells = [Cells("in", (784,)), Cells("hidden1", (512,), vth=11300), Cells("hidden2", (256,), vth=5200), Cells("out", (10,), vth=2400)]
    links = [
        Link(a.name, b.name, _even(rng, (n, m), 4.0)) for a, b, m, n in zip(cells, cells[1:], sizes, sizes[1:], strict=False)
    ]
    return Net("W1", "dense 784-512-256-10", tuple(cells), tuple(links), _raster(rng, 256, 100, 784, 0.1), 100)


def _conv() -> Net:
    rng = np.random.default_rng([6, 2])
    cells = (
        Cells("in", (2, 34, 34)), Cells("conv1", (16, 30, 30), vth=1800), Cells("conv2", (32, 13, 13), vth=7000),
        Cells("dense", (512,), vth=24000), Cells("out", (10,), vth=2400),
    )
    links = (
        Link("in", "conv1", _even(rng, (16, 2, 5, 5), 8.0)),
        Link("conv1", "conv2", _even(rng, (32, 16, 3, 3), 4.0), pool=2),
        Link("conv2", "dense", _even(rng, (512, 1152), 4.0), pool=2),
        Link("dense", "out", _even(rng, (10, 512), 4.0)),
    )
    return Net("W2", "convolutional 34x34x2-16c5-p2-32c3-p2-512-10", cells, links, _raster(rng, 32, 100, 2312, 0.05), 100)


def _recurrent(name: str, title: str, neurons: int, fan_in: int, steps: int, vth: int, period: float, seed: int) -> Net:
    """Return neurons that fire every `period` steps by a constant drive, and disturb each other through random synapses.

    A target takes one source out of each of `fan_in` equal stretches of the population, so no list needs sorting, and which targets a
    source has is as random as can be.
    """
    rng = np.random.default_rng([6, seed])
    stretch, inputs = neurons // fan_in, 100
    indices = rng.integers(0, stretch, (neurons, fan_in), np.int32)
    indices += np.arange(0, neurons, stretch, dtype=np.int32)
    weights = np.clip(rng.normal(0, 1, (neurons, fan_in)).astype(np.float32) * 32, -128, 127).astype(np.int16) * np.int16(2)
    indptr = np.arange(0, neurons * fan_in + 1, fan_in)
    given = rng.random((neurons, inputs), np.float32) < fan_in / neurons
    rows, columns = np.nonzero(given)
    into = np.concatenate([[0], np.cumsum(np.count_nonzero(given, axis=1))])
    dv = 16
    # Where v settles without a threshold is bias 4096 / dv, which it nears with a time constant of 4096 / dv steps.
    bias = rng.uniform(0.7, 1.3, neurons) * (vth << 6) * (dv / 4096) / (1 - np.exp(-period * dv / 4096))
    cells = (
        Cells("in", (inputs,)),
        Cells("net", (neurons,), dv=dv, vth=vth, bias_mant=np.rint(bias).astype(np.int32), start=rng.integers(0, vth << 6, neurons)),
    )
    links = (
        Link("in", "net", _even(rng, (rows.size,), 0.0), into, columns.astype(np.int32)),
        Link("net", "net", weights.reshape(-1), indptr, indices.reshape(-1)),
    )
    return Net(name, title, cells, links, _raster(rng, 1, steps, inputs, 0.1), steps)


def _feedback() -> Net:
    rng = np.random.default_rng([6, 5])
    cells = (Cells("in", (700,)), Cells("hidden", (256,), vth=9700), Cells("out", (20,), vth=1700))
    links = (
        Link("in", "hidden", _even(rng, (256, 700), 6.0)), Link("hidden", "hidden", _even(rng, (256, 256), -2.0)),
        Link("hidden", "out", _even(rng, (20, 256), 4.0)),
    )
    return Net("W5", "700-256 recurrent-20", cells, links, _raster(rng, 256, 250, 700, 0.05), 250)


NETWORKS = {
    "W1": _mlp,
    "W2": _conv,
    "W3": lambda: _recurrent("W3", "10,000 recurrent, 1.0e6 synapses", 10_000, 100, 1000, 4000, 53.0, 3),
    "W4": lambda: _recurrent("W4", "100,000 recurrent, 1.0e8 synapses", 100_000, 1000, 100, 16000, 100.0, 4),
    "W5": _feedback,
}
"""Makers of the workloads by name."""


def make(name: str) -> Net:
    """Return a workload, the same on every machine."""
    return NETWORKS[name]()


# ---- other forms


def folded(net: Net, link: Link) -> Link:
    """Return a link as one that reads its source itself: the pool becomes part of the kernel or the matrix.

    A convolution behind a pool is one with a larger stride, whose kernel holds every weight once for each place of the window.
    """
    p = link.pool
    if p == 1:
        return link
    shape = net[link.source].shape
    if link.kind == "conv":
        if any(link.padding):
            raise ValueError("a padded convolution behind a pool has zeros where the pool has none")
        weights = link.weights.repeat(p, axis=2).repeat(p, axis=3)
        return replace(link, weights=weights, stride=(link.stride[0] * p, link.stride[1] * p), pool=1)
    channels, height, width = shape
    matrix = link.weights.reshape(-1, channels, height // p, width // p).repeat(p, axis=2).repeat(p, axis=3)
    whole = np.zeros((matrix.shape[0], *shape), matrix.dtype)
    whole[:, :, : matrix.shape[2], : matrix.shape[3]] = matrix
    return replace(link, weights=whole.reshape(matrix.shape[0], -1), pool=1)


def fan_out(net: Net, link: Link) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a link's synapses by source: row pointers (sources + 1,) int64, targets (synapses,) int32 ascending, weights int16."""
    sources = net[link.source].size
    if link.kind == "dense":
        matrix = folded(net, link).weights.T
        row, column = np.nonzero(matrix)
        return _pointers(row, sources), column.astype(np.int32), matrix[row, column].astype(np.int16)
    if link.kind == "sparse":
        assert link.indptr is not None
        assert link.indices is not None
        order = np.argsort(link.indices, kind="stable")
        targets = np.repeat(np.arange(link.indptr.size - 1, dtype=np.int32), np.diff(link.indptr))
        return _pointers(link.indices, sources), targets[order], np.asarray(link.weights)[order].astype(np.int16)
    whole = folded(net, link)
    (inputs, height, width), (channels, rows, columns) = net[link.source].shape, net[link.target].shape
    kernel = np.asarray(whole.weights)
    o, y, x, i, a, b = np.indices((channels, rows, columns, *kernel.shape[1:]), np.int32).reshape(6, -1)
    row, column = y * whole.stride[0] - whole.padding[0] + a, x * whole.stride[1] - whole.padding[1] + b
    kept = (row >= 0) & (row < height) & (column >= 0) & (column < width) & (kernel[o, i, a, b] != 0)
    channel = o // (channels // whole.groups) * (inputs // whole.groups) + i
    source, target = ((channel * height + row) * width + column)[kept], ((o * rows + y) * columns + x)[kept]
    order = np.lexsort((target, source))
    return _pointers(source, sources), target[order].astype(np.int32), kernel[o, i, a, b][kept][order].astype(np.int16)


def _pointers(rows: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=count))]).astype(np.int64)


def degrees(net: Net, link: Link) -> np.ndarray:
    """Return how many synapses each source drives: (sources,) int64."""
    sources = net[link.source].size
    if link.kind == "sparse":
        return np.bincount(np.asarray(link.indices), minlength=sources)
    if link.kind == "dense":
        # A spike that the pool leaves out drives nothing.
        reached = (folded(net, link).weights != 0).any(axis=0) if link.pool > 1 else np.ones(sources, bool)
        return reached * net[link.target].size
    whole = folded(net, link)
    (channels, height, width), (_, rows, columns) = net[link.source].shape, net[link.target].shape
    down, across = (
        np.bincount((np.arange(count)[:, None] * step - pad + np.arange(k)).ravel().clip(-1, size) + 1, minlength=size + 2)[1:-1]
        for size, count, k, step, pad in zip(
            (height, width), (rows, columns), whole.weights.shape[2:], whole.stride, whole.padding, strict=True
        )
    )
    return np.tile((down[:, None] * across).ravel(), channels) * (whole.weights.shape[0] // whole.groups)


def numbers(net: Net, counts: dict[str, np.ndarray], steps: int) -> dict[str, Any]:
    """Return what a run did per step.

    Args:
        net: the workload.
        counts: spikes of each neuron over the run, (n,) by population.
        steps: steps of the run, over all its samples.

    Returns:
        `events`, synaptic events per step, and `activity`, the share of neurons that spike in a step by population.
    """
    total = sum(int(degrees(net, link) @ counts[link.source]) for link in net.links)
    return {"events": total / steps, "activity": {name: float(values.sum()) / values.size / steps for name, values in counts.items()}}


def digest(steps: np.ndarray, neurons: np.ndarray) -> str:
    """Return a hash of the spikes of one population in one sample, in order of step, then of neuron."""
    events = np.ascontiguousarray(np.stack([steps, neurons]), np.int64)
    return hashlib.sha256(events.tobytes()).hexdigest()[:16]


# ---- files


def save(net: Net, folder: Path) -> None:
    """Write a workload for processes that have no nmap: `net.json` and arrays beside it.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)

    def stored(name: str, values: Any) -> Any:
        if not isinstance(values, np.ndarray):
            return values
        np.save(folder / f"{name}.npy", values)
        return {"file": f"{name}.npy"}

    told: dict[str, Any] = {"name": net.name, "title": net.title, "steps": net.steps, "samples": int(net.rasters.shape[0])}
    told["cells"] = [
        {
            "name": c.name, "shape": c.shape, **{key: getattr(c, key) for key in _SCALARS},
            "bias_mant": stored(f"bias{k}", c.bias_mant), "start": stored(f"start{k}", c.start),
        }
        for k, c in enumerate(net.cells)
    ]
    told["links"] = [
        {
            **{key: getattr(link, key) for key in ("source", "target", "stride", "padding", "groups", "pool", "exponent")},
            **{key: stored(f"{key}{k}", getattr(link, key)) for key in ("weights", "indptr", "indices")},
        }
        for k, link in enumerate(net.links)
    ]
    np.save(folder / "rasters.npy", np.packbits(net.rasters, axis=2))
    (folder / "net.json").write_text(json.dumps(told), encoding="utf-8")


def load(folder: Path) -> Net:
    """Read what `save` wrote; large arrays stay on the disk until they are used.

    Raises:
        OSError: a file cannot be read.
    """
    told = json.loads((folder / "net.json").read_text(encoding="utf-8"))

    def read(value: Any) -> Any:
        return np.load(folder / value["file"], mmap_mode="r") if isinstance(value, dict) else value

    cells = tuple(Cells(**{key: read(value) for key, value in c.items()} | {"shape": tuple(c["shape"])}) for c in told["cells"])
    links = tuple(
        Link(**{key: tuple(value) if isinstance(value, list) else read(value) for key, value in link.items()}) for link in told["links"]
    )
    rasters = np.unpackbits(np.load(folder / "rasters.npy"), axis=2, count=cells[0].size)
    return Net(told["name"], told["title"], cells, links, rasters, told["steps"])
