"""How one population connects to another, without ever listing synapses before that is needed.

Each class is frozen, holds its arrays read-only, and serves real weights (`Network`, float64) and integer weights
(`QuantizedNetwork` and core programs, int32) alike. Neuron indices are C order over the population's shape.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Connectivity", "Conv2d", "Dense", "Sparse", "fold_pool", "frozen_array"]

Array: TypeAlias = NDArray[Any]

_SEEN = 2**20
"""Values that the kernels of a convolution see at a time, unless a single image has more."""


def frozen_array(values: Any, dtype: Any = None) -> Array:
    """Return `values` as a C-contiguous array that cannot be written to."""
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.flags.writeable:
        if array is values or array.base is not None:
            array = array.copy()
        array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Dense:
    """All-to-all connection: y = weights @ x.

    Args:
        weights: (targets, sources).
    """

    weights: Array

    def __post_init__(self) -> None:
        if self.weights.ndim != 2:
            raise ValueError(f"a dense connection needs a matrix, not an array of rank {self.weights.ndim}")
        object.__setattr__(self, "weights", frozen_array(self.weights))

    kind = "dense"

    @property
    def in_size(self) -> int:
        """Number of source neurons."""
        return int(self.weights.shape[1])

    @property
    def out_size(self) -> int:
        """Number of target neurons."""
        return int(self.weights.shape[0])

    @property
    def synapses(self) -> int:
        """Number of synapses, zeros included."""
        return int(self.weights.size)

    def with_weights(self, weights: Array) -> Dense:
        """Return the same structure with other weights of the same shape."""
        return Dense(weights.reshape(self.weights.shape))

    def apply(self, x: Array) -> Array:
        """Return the summed input of the targets, (..., sources) -> (..., targets), in float64."""
        return np.asarray(x, np.float64) @ self.weights.T.astype(np.float64, copy=False)

    def row_sums(self) -> tuple[Array, Array]:
        """Return the largest and the smallest possible summed input of each target for 0/1 sources: (targets,) each."""
        w = self.weights
        return np.where(w > 0, w, 0).sum(1), np.where(w < 0, w, 0).sum(1)


@dataclass(frozen=True, eq=False)
class Sparse:
    """Connection listed synapse by synapse: compressed rows by target.

    Args:
        indptr: (targets + 1,) int64.
        indices: (synapses,) int32, the source of each synapse, ascending inside a row.
        weights: (synapses,).
        in_size: number of source neurons.
    """

    indptr: Array
    indices: Array
    weights: Array
    in_size: int

    def __post_init__(self) -> None:
        for name, dtype in (("indptr", np.int64), ("indices", np.int32), ("weights", None)):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype))
        if self.indices.size and (self.indices.min() < 0 or self.indices.max() >= self.in_size):
            raise ValueError("a synapse's source is outside the source population")
        if self.indptr[0] != 0 or self.indptr[-1] != self.indices.size or self.weights.shape != self.indices.shape:
            raise ValueError("row pointers, sources and weights do not belong together")

    kind = "sparse"

    @staticmethod
    def from_dense(weights: Array) -> Sparse:
        """Keep the non-zero entries of a (targets, sources) matrix."""
        rows, cols = np.nonzero(weights)
        indptr = np.concatenate([[0], np.cumsum(np.bincount(rows, minlength=weights.shape[0]))])
        return Sparse(indptr, cols, weights[rows, cols], int(weights.shape[1]))

    @staticmethod
    def diagonal(weights: Array) -> Sparse:
        """Connect neuron k to neuron k with weights (n,)."""
        n = weights.size
        return Sparse(np.arange(n + 1), np.arange(n), weights.ravel(), n)

    @property
    def out_size(self) -> int:
        """Number of target neurons."""
        return int(self.indptr.size - 1)

    @property
    def synapses(self) -> int:
        """Number of synapses listed."""
        return int(self.indices.size)

    @cached_property
    def targets(self) -> Array:
        """The target of each synapse: (synapses,) int64."""
        return np.repeat(np.arange(self.out_size), np.diff(self.indptr))

    def entries(self, targets: Array) -> Array:
        """Return where the synapses of some targets, (k,) int64, are listed: (synapses of those,) int64, target by target."""
        lengths = self.indptr[targets + 1] - self.indptr[targets]
        return np.repeat(self.indptr[targets] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())

    def with_weights(self, weights: Array) -> Sparse:
        """Return the same structure with other weights of the same shape."""
        return replace(self, weights=weights)

    def apply(self, x: Array) -> Array:
        """Return the summed input of the targets, (..., sources) -> (..., targets), in float64."""
        x = np.asarray(x, np.float64)
        flat = x.reshape(-1, self.in_size)
        out = np.zeros((flat.shape[0], self.out_size))
        for k in range(flat.shape[0]):
            out[k] = np.bincount(self.targets, self.weights * flat[k, self.indices], minlength=self.out_size)
        return out.reshape(*x.shape[:-1], self.out_size)

    def row_sums(self) -> tuple[Array, Array]:
        """Return the largest and the smallest possible summed input of each target for 0/1 sources: (targets,) each."""
        w = self.weights.astype(np.float64)
        high = np.bincount(self.targets, np.where(w > 0, w, 0), minlength=self.out_size)
        low = np.bincount(self.targets, np.where(w < 0, w, 0), minlength=self.out_size)
        return high, low


@dataclass(frozen=True, eq=False)
class Conv2d:
    """Two-dimensional cross-correlation, zero padded (the operation torch calls Conv2d).

    Args:
        weights: (out channels, in channels / groups, kernel height, kernel width).
        in_shape: (channels, height, width) of the source population.
        stride, padding, dilation: (height, width) each.
        groups: number of channel groups.
    """

    weights: Array
    in_shape: tuple[int, int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def __post_init__(self) -> None:
        if self.weights.ndim != 4:
            raise ValueError(f"a convolution needs a kernel of rank 4, not {self.weights.ndim}")
        object.__setattr__(self, "weights", frozen_array(self.weights))
        channels = self.in_shape[0]
        if channels % self.groups or self.weights.shape[0] % self.groups or self.weights.shape[1] * self.groups != channels:
            raise ValueError(
                f"kernel {self.weights.shape} with {self.groups} groups does not take {channels} input channels"
            )
        if min(self.out_shape) < 1:
            raise ValueError(f"kernel {self.weights.shape[2:]} is larger than the padded input {self.in_shape[1:]}")

    kind = "conv"

    @property
    def kernel_size(self) -> tuple[int, int]:
        """Kernel (height, width)."""
        return int(self.weights.shape[2]), int(self.weights.shape[3])

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of the target population."""
        h, w = (
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, p, d, k, s in zip(
                self.in_shape[1:], self.padding, self.dilation, self.kernel_size, self.stride, strict=True
            )
        )
        return int(self.weights.shape[0]), int(h), int(w)

    @property
    def in_size(self) -> int:
        """Number of source neurons."""
        return prod(self.in_shape)

    @property
    def out_size(self) -> int:
        """Number of target neurons."""
        return prod(self.out_shape)

    @property
    def synapses(self) -> int:
        """Number of synapses of the unrolled convolution, taps on the padding included."""
        return self.out_size * int(prod(self.weights.shape[1:]))

    def with_weights(self, weights: Array) -> Conv2d:
        """Return the same structure with other weights of the same shape."""
        return replace(self, weights=weights.reshape(self.weights.shape))

    def apply(self, x: Array, dtype: Any = np.float64) -> Array:
        """Return the summed input of the targets, (..., sources) -> (..., targets), computed in `dtype`: float64 or float32."""
        (h_in, w_in), (c_out, h_out, w_out) = self.in_shape[1:], self.out_shape
        per_in, kh, kw = self.weights.shape[1:]
        images = np.asarray(x).reshape(-1, self.groups, per_in, h_in, w_in)
        kernels = self.weights.astype(dtype).reshape(self.groups, c_out // self.groups, -1)
        taps = [(a, b, *self.overlap(0, a), *self.overlap(1, b)) for a in range(kh) for b in range(kw)]
        out = np.empty((images.shape[0], self.groups, kernels.shape[1], h_out * w_out), dtype)
        # What the kernel sees from each target, for some images at a time: one product with it sums over channels and taps.
        at_once = max(1, _SEEN // max(1, h_out * w_out * self.weights[0].size))
        seen = np.zeros((min(at_once, images.shape[0]), per_in, kh, kw, h_out, w_out), dtype)
        for start in range(0, images.shape[0], at_once):
            some = images[start : start + at_once]
            for group in range(self.groups):
                for a, b, rows, lines, columns, places in taps:
                    seen[: len(some), :, a, b, rows, columns] = some[:, group, :, lines, places]
                np.matmul(kernels[group], seen[: len(some)].reshape(len(some), -1, h_out * w_out), out=out[start : start + at_once, group])
        return out.reshape(*np.shape(x)[:-1], self.out_size)

    def overlap(self, axis: int, tap: int, span: tuple[int, int] | None = None) -> tuple[slice, slice]:
        """Return the targets along an axis for which a tap of the kernel lies on the image, and the places where it lies.

        With a `span` only its targets, first and end, are asked for.

        Zeros are not added to the image instead: a file may state padding without bounds.
        """
        size, count, stride = self.in_shape[1 + axis], self.out_shape[1 + axis], self.stride[axis]
        start = tap * self.dilation[axis] - self.padding[axis]
        low, high = (0, count) if span is None else span
        first = max(low, -(start // stride))
        stop = max(first, min(high, (size - 1 - start) // stride + 1))
        place = start + first * stride
        return slice(first, stop), slice(place, place + (stop - first - 1) * stride + 1 if stop > first else place, stride)

    def unrolled(self) -> Sparse:
        """Return the same connection listed synapse by synapse, taps on the padding and zero weights left out.

        Takes about 40 bytes for each of `synapses` while it works.
        """
        (c_in, h_in, w_in), (c_out, h_out, w_out) = self.in_shape, self.out_shape
        per_in, per_out = c_in // self.groups, c_out // self.groups
        # Axes in the order of the list: out channel, row, column of the target; then channel, row, column of the kernel.
        (kh, kw), shape = self.kernel_size, (c_out, h_out, w_out, per_in, *self.kernel_size)
        y = np.arange(h_out)[:, None] * self.stride[0] - self.padding[0] + np.arange(kh) * self.dilation[0]
        x = np.arange(w_out)[:, None] * self.stride[1] - self.padding[1] + np.arange(kw) * self.dilation[1]
        inside = ((y >= 0) & (y < h_in))[:, None, None, :, None] & ((x >= 0) & (x < w_in))[None, :, None, None, :]
        kernel = self.weights[:, None, None]
        listed = inside & (kernel != 0)
        channel = np.arange(c_out)[:, None] // per_out * per_in + np.arange(per_in)
        place = y[:, None, :, None] * w_in + x[None, :, None, :]
        sources = (channel * (h_in * w_in))[:, None, None, :, None, None] + place[None, :, :, None]
        indptr = np.concatenate([[0], np.cumsum(np.count_nonzero(listed.reshape(self.out_size, -1), axis=1))])
        return Sparse(indptr, sources[listed], np.broadcast_to(kernel, shape)[listed], self.in_size)

    def row_sums(self) -> tuple[Array, Array]:
        """Return bounds of the summed input of each target for 0/1 sources: (targets,) each; padding is ignored (a superset)."""
        _, h, w = self.out_shape
        k = self.weights.reshape(self.weights.shape[0], -1)
        high, low = np.where(k > 0, k, 0).sum(1), np.where(k < 0, k, 0).sum(1)
        return np.repeat(high, h * w), np.repeat(low, h * w)


Connectivity: TypeAlias = Dense | Sparse | Conv2d


def fold_pool(
    inner: Dense | Conv2d, pooled_shape: tuple[int, int, int], in_shape: tuple[int, int, int], kernel: tuple[int, int],
    stride: tuple[int, int], scale: float,
) -> Dense | Conv2d | None:
    """Return the one connection equal to a sum pool (times `scale`) followed by `inner`, or None where that is not exact.

    Args:
        inner: the connection after the pool; reads `pooled_shape`.
        pooled_shape: (channels, height, width) after the pool.
        in_shape: (channels, height, width) before the pool.
        kernel, stride: of the pool, which has no padding.
        scale: 1 for a sum pool, 1 / window size for an average pool.
    """
    if isinstance(inner, Dense):
        matrix = inner.weights.reshape(inner.out_size, *pooled_shape) * scale
        wide = np.zeros((inner.out_size, *in_shape))
        _, h, w = pooled_shape
        for a in range(kernel[0]):
            for b in range(kernel[1]):
                wide[:, :, a : a + stride[0] * (h - 1) + 1 : stride[0], b : b + stride[1] * (w - 1) + 1 : stride[1]] += matrix
        # Closed to writing, the connection keeps it without a copy.
        wide.setflags(write=False)
        return Dense(wide.reshape(inner.out_size, -1))
    if inner.in_shape != pooled_shape:
        # What lies between them is a reshape, after which rows and columns are others.
        return None
    leftover = [size - (p - 1) * s - k for size, p, s, k in zip(in_shape[1:], pooled_shape[1:], stride, kernel, strict=True)]
    # Rows that the pool drops at the far edge, and windows that overlap, would leak into the padding's taps.
    if any(p and (left or k != s) for p, left, k, s in zip(inner.padding, leftover, kernel, stride, strict=True)):
        return None
    (kh, kw), (dh, dw) = inner.kernel_size, inner.dilation
    big = np.zeros((*inner.weights.shape[:2], (kh - 1) * dh * stride[0] + kernel[0], (kw - 1) * dw * stride[1] + kernel[1]))
    for i in range(kh):
        for j in range(kw):
            top, left = i * dh * stride[0], j * dw * stride[1]
            big[:, :, top : top + kernel[0], left : left + kernel[1]] += inner.weights[:, :, i, j, None, None] * scale
    big.setflags(write=False)
    folded = Conv2d(
        big, in_shape, (inner.stride[0] * stride[0], inner.stride[1] * stride[1]),
        (inner.padding[0] * stride[0], inner.padding[1] * stride[1]), (1, 1), inner.groups,
    )
    return folded if folded.out_shape == inner.out_shape else None
