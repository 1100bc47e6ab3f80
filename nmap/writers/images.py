"""Nodes that change nothing but a signal's shape.

NIR flattens, but has no node for the way back. These are exact: every value passes with a weight of 1. The package `nir` infers their
shapes as nmap's reader does.

- A Flatten over no dimension at all inserts one of size 1: `nir` takes the product of nothing for its size, nmap's reader leaves the
  shape as it is, and the convolution behind it states what it reads.
- A convolution over a line divides it: with a dilation of length / n, the kernel that is 1 at place k for channel k takes n parts of it
  to n channels. Groups, which would do so for each of several channels, are beyond `nir`.
- A convolution with a kernel of h x h that is 1 on its other diagonal, padded by h - 1 rows and dilated by w columns, takes a line of h
  w values to a plane (h, w): its output at (y, x) reads the one row at column y w + x.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np

from nmap.connectivity import Array

__all__ = ["MAX_WORK", "Link", "Members", "Shape", "flattening", "inserted", "ints", "merged", "shaped"]

MAX_WORK = 2**28
"""Largest number of multiplications that reading a shape's nodes may take (sources x targets x taps of their kernels)."""
Members: TypeAlias = dict[str, Any]
"""The members of an HDF5 group by name: arrays, numbers, texts, and groups as mappings."""
Shape: TypeAlias = tuple[int, ...]
# A kernel has the cube of the number of parts as weights.
_MAX_PARTS = 16


@dataclass(frozen=True, slots=True)
class Link:
    """One node of the chain that a projection becomes.

    Args:
        node: its members.
        reads: shape of what it reads.
        shape: of what it sends.
        suffix: what its name has behind the projection's.
    """

    node: Members
    reads: Shape
    shape: Shape
    suffix: str = ""

    @property
    def flattens(self) -> bool:
        """Whether it is a Flatten, which readers do not name in a projection."""
        return bool(self.node["type"] == "Flatten")

    @property
    def dims(self) -> tuple[int, int]:
        """First and last dimension of a Flatten."""
        return self.node["start_dim"], self.node["end_dim"]


def ints(values: Iterable[int]) -> Array:
    """Return integers as NIR stores them."""
    return np.array([int(v) for v in values], np.int64)


def flattening(shape: Shape, start: int, stop: int) -> Link:
    """Return the Flatten of the dimensions from `start` to `stop` (included, -1 for the last one)."""
    end = len(shape) - 1 if stop == -1 else stop
    out = (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])
    return Link({"type": "Flatten", "start_dim": start, "end_dim": stop, "input_type": ints(shape)}, shape, out)


def merged(shape: Shape, wanted: Shape) -> Link | None:
    """Return the one Flatten that gives `wanted`, or None where none does."""
    count = len(shape) - len(wanted)
    for start in range(len(wanted)) if count > 0 else ():
        stop = start + count
        if (*shape[:start], prod(shape[start : stop + 1]), *shape[stop + 1 :]) == wanted:
            return flattening(shape, start, -1 if stop == len(shape) - 1 else stop)
    return None


def inserted(rank: int, size: int) -> list[Link]:
    """Return the Flatten nodes that make (1, ..., size) of `rank` dimensions from (size,); nmap's reader sees a vector behind them."""
    shapes = [(*(1,) * k, size) for k in range(rank)]
    return [
        Link({"type": "Flatten", "start_dim": 0, "end_dim": -len(shape) - 1, "input_type": ints(shape)}, shape, (1, *shape))
        for shape in shapes[:-1]
    ]


def shaped(vector: Shape, wanted: Shape, sources: int) -> list[Link]:
    """Return the nodes that give a vector another shape, in C order.

    None are returned where no node has signals of that many dimensions (NIR has convolutions over one and two), or where `sources`
    times the nodes' multiplications are more than `MAX_WORK`, since a reader must work them out to see that they change nothing.

    Args:
        vector: (values,).
        wanted: (channels, width) or (channels, height, width), of as many values.
        sources: number of sources of the projection that the nodes are part of.
    """
    (size,) = vector
    if len(wanted) not in (2, 3):
        return []
    line, channels, width = len(wanted) == 2, wanted[0], wanted[-1]
    height = 1 if line else wanted[1]
    parts = [channels] if line else _parts(channels)
    before = [prod(parts[:k]) for k in range(len(parts))]
    taps = sum(b * p if line else b * p * p for b, p in zip(before, parts, strict=True)) + channels * height**2
    if sources * size * taps > MAX_WORK:
        return []
    links = inserted(len(wanted), size) + [_division(p, b, size // (b * p), line) for b, p in zip(before, parts, strict=True)]
    return links if height == 1 else [*links, _plane(channels, height, width)]


def _parts(channels: int) -> list[int]:
    """Return factors of a number of channels, each small where the number allows it; [1] for one channel."""
    found: list[int] = []
    while channels > 1:
        small = next((d for d in range(min(channels, _MAX_PARTS), 1, -1) if channels % d == 0), None)
        found.append(small or next(d for d in range(2, channels + 1) if channels % d == 0))
        channels //= found[-1]
    return found or [1]


def _division(count: int, channels: int, length: int, line: bool) -> Link:
    """Return the convolution that takes (channels, count * length) to (channels * count, length), with a height of 1 unless `line`."""
    # Channel c gives the channels c * count + k, each from its part k.
    weight = np.einsum("cd,kt->ckdt", np.eye(channels), np.eye(count)).reshape(channels * count, channels, count).astype(np.float32)
    before, after = channels, channels * count
    if line:
        return _convolution(weight, (before, count * length), (after, length), 1, 0, length)
    # `nir` knows square kernels only: the other rows lie on padding, and the stride leaves one row of outputs.
    square = np.zeros((after, before, count, count), np.float32)
    square[:, :, -1] = weight
    return _convolution(square, (before, 1, count * length), (after, 1, length), (count, 1), (count - 1, 0), (1, length))


def _plane(channels: int, height: int, width: int) -> Link:
    """Return the convolution that takes (channels, 1, height * width) to (channels, height, width)."""
    weight = np.eye(channels, dtype=np.float32)[:, :, None, None] * np.eye(height, dtype=np.float32)[::-1]
    return _convolution(weight, (channels, 1, height * width), (channels, height, width), (1, 1), (height - 1, 0), (1, width))


def _convolution(weight: Array, reads: Shape, shape: Shape, stride: Any, padding: Any, dilation: Any) -> Link:
    """Return a convolution that adds no bias, over a line (with numbers) or a plane (with pairs)."""
    line = len(reads) == 2
    node: Members = {"type": "Conv1d" if line else "Conv2d", "weight": weight, "bias": np.zeros(shape[0], np.float32), "groups": 1}
    node["input_shape"] = reads[1] if line else ints(reads[1:])
    node |= {name: value if line else ints(value) for name, value in (("stride", stride), ("padding", padding), ("dilation", dilation))}
    return Link(node, reads, shape, ".shape")
