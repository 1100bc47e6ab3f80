"""Chains of linear nodes between two populations, composed into one connection exactly.

A chain is a list of stages in the order of the signal. Neighbours are merged where a closed form exists (matrix products, scaled
kernels, pools folded into what follows, convolutions without padding); a chain that is left with several stages is expanded
synapse by synapse while that is small, and is several connections otherwise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse, fold_pool

__all__ = ["MAX_EXPANDED", "MAX_UNROLLED", "Diagonal", "Pool", "Stage", "apply_chain", "compose", "joined", "padded_same", "reduced"]

MAX_EXPANDED = 2**24
"""Largest (sources x targets) a chain without a closed form is expanded to."""
MAX_UNROLLED = 2**22
"""Largest number of synapses a convolution is listed with where each needs a delay of its own."""
_MAX_WEIGHTS = 2**27


@dataclass(frozen=True, slots=True, eq=False)
class Diagonal:
    """Elementwise product with `scale`, an array of the layer's shape."""

    scale: Array

    @property
    def in_size(self) -> int:
        """Number of sources."""
        return int(self.scale.size)

    out_size = in_size

    def apply(self, x: Array) -> Array:
        """Return scale * x, (..., n) -> (..., n)."""
        return np.asarray(x, np.float64) * self.scale.ravel()


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Sum over windows, times `factor`; no padding.

    Args:
        in_shape: (channels, height, width).
        kernel, stride: (height, width) each.
        factor: 1 for a sum pool, 1 / window size for an average pool.
    """

    in_shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    factor: float

    @property
    def out_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) after the pool."""
        h, w = ((size - k) // s + 1 for size, k, s in zip(self.in_shape[1:], self.kernel, self.stride, strict=True))
        return self.in_shape[0], h, w

    @property
    def in_size(self) -> int:
        """Number of sources."""
        return prod(self.in_shape)

    @property
    def out_size(self) -> int:
        """Number of targets."""
        return prod(self.out_shape)

    @property
    def conv(self) -> Conv2d:
        """The same operation as a depthwise convolution."""
        kernel = np.full((self.in_shape[0], 1, *self.kernel), self.factor, np.float64)
        return Conv2d(kernel, self.in_shape, self.stride, groups=self.in_shape[0])

    def apply(self, x: Array) -> Array:
        """Return the pooled x, (..., sources) -> (..., targets)."""
        return self.conv.apply(x)


Stage: TypeAlias = Dense | Conv2d | Diagonal | Pool


def apply_chain(stages: Sequence[Stage], x: Array) -> Array:
    """Return x after all stages, (..., sources) -> (..., targets) in float64."""
    for stage in stages:
        x = stage.apply(x)
    return np.asarray(x, np.float64)


def compose(stages: Sequence[Stage], size: int) -> Connectivity | None:
    """Return the one connection equal to a chain of stages, or None where there is none within the limits.

    Args:
        stages: in the order of the signal; none at all means that every neuron feeds its namesake.
        size: number of sources, for an empty chain.
    """
    return joined(reduced(stages)[0], size)


def reduced(stages: Sequence[Stage]) -> tuple[list[Stage], list[int]]:
    """Merge neighbours until no two that are left have a closed form.

    Returns:
        The stages left, and for each how many of the given ones are in it and before it.
    """
    chain, ends = list(stages), list(range(1, len(stages) + 1))
    while len(chain) > 1:
        # From the target's end: a pool in front of a matrix has a closed form that it loses once merged with what precedes it.
        for k in range(len(chain) - 2, -1, -1):
            merged = _merge(chain[k], chain[k + 1])
            if merged is not None:
                chain[k : k + 2] = [merged]
                del ends[k]
                break
        else:
            break
    return chain, ends


def joined(chain: Sequence[Stage], size: int) -> Connectivity | None:
    """Return the connection equal to what `reduced` left, or None where it is too large to be listed synapse by synapse."""
    if not chain:
        return Sparse.diagonal(np.ones(size))
    if len(chain) > 1:
        return _expand(chain)
    last = chain[0]
    if isinstance(last, Diagonal):
        return Sparse.diagonal(np.asarray(last.scale, np.float64).ravel())
    return last.conv if isinstance(last, Pool) else last


def _merge(first: Stage, second: Stage) -> Stage | None:
    """Return one stage equal to `second` after `first`, or None where no closed form exists."""
    if isinstance(first, Diagonal):
        return _scaled_sources(first, second)
    if isinstance(second, Diagonal):
        return _scaled_targets(first, second)
    if isinstance(first, Dense) and isinstance(second, Dense):
        # A bottleneck between wide layers is smaller as two matrices, and its product may be beyond all memory.
        return Dense(second.weights.astype(np.float64) @ first.weights) if second.out_size * first.in_size <= _MAX_WEIGHTS else None
    if isinstance(first, Pool) and isinstance(second, Pool):
        return _fold(first, second.conv)
    if isinstance(first, Pool) and isinstance(second, Dense | Conv2d):
        return _fold(first, second)
    if isinstance(first, Conv2d) and isinstance(second, Pool | Conv2d):
        return _convolved(first, second.conv if isinstance(second, Pool) else second)
    return None


def _fold(pool: Pool, inner: Dense | Conv2d) -> Dense | Conv2d | None:
    if isinstance(inner, Conv2d):
        kh, kw = (((k - 1) * d) * s + p for k, d, s, p in zip(inner.kernel_size, inner.dilation, pool.stride, pool.kernel, strict=True))
        weights = prod(inner.weights.shape[:2]) * kh * kw
    else:
        weights = inner.out_size * pool.in_size
    if weights > _MAX_WEIGHTS:
        return None
    return fold_pool(inner, pool.out_shape, pool.in_shape, pool.kernel, pool.stride, pool.factor)


def _scaled_sources(diagonal: Diagonal, second: Stage) -> Stage | None:
    scale = np.asarray(diagonal.scale, np.float64)
    if isinstance(second, Diagonal):
        return Diagonal(scale.ravel() * np.asarray(second.scale, np.float64).ravel())
    if isinstance(second, Dense):
        return Dense(second.weights * scale.ravel())
    if isinstance(second, Pool) and np.all(scale == scale.flat[0]):
        return Pool(second.in_shape, second.kernel, second.stride, second.factor * float(scale.flat[0]))
    if isinstance(second, Conv2d | Pool):
        conv = second.conv if isinstance(second, Pool) else second
        per_channel = _per_channel(scale, conv.in_shape[0])
        if per_channel is None:
            return None
        groups, per_group = conv.groups, conv.weights.shape[1]
        factors = per_channel.reshape(groups, per_group).repeat(conv.weights.shape[0] // groups, axis=0)
        return conv.with_weights(conv.weights * factors[:, :, None, None])
    return None


def _scaled_targets(first: Stage, diagonal: Diagonal) -> Stage | None:
    scale = np.asarray(diagonal.scale, np.float64)
    if isinstance(first, Dense):
        return Dense(first.weights * scale.reshape(-1, 1))
    if isinstance(first, Pool) and np.all(scale == scale.flat[0]):
        return Pool(first.in_shape, first.kernel, first.stride, first.factor * float(scale.flat[0]))
    if isinstance(first, Conv2d | Pool):
        conv = first.conv if isinstance(first, Pool) else first
        per_channel = _per_channel(scale, conv.out_shape[0])
        return None if per_channel is None else conv.with_weights(conv.weights * per_channel[:, None, None, None])
    return None


def _per_channel(scale: Array, channels: int) -> Array | None:
    rows = scale.reshape(channels, -1)
    return rows[:, 0] if np.all(rows == rows[:, :1]) else None


def _convolved(first: Conv2d, second: Conv2d) -> Conv2d | None:
    """Return `second` after `first` as one convolution; exact where `second` adds no padding of its own.

    Tap (a, b) of the second reads the first at stride 1 * first.stride, so the kernels add up at a * d2 * s1 + k * d1.
    """
    if any(second.padding):
        return None
    depthwise = second.groups == second.in_shape[0] == second.weights.shape[0]
    if not depthwise and (first.groups != 1 or second.groups != 1):
        return None
    step = tuple(d * s for d, s in zip(second.dilation, first.stride, strict=True))
    size = tuple(
        (k1 - 1) * d1 + (k2 - 1) * s + 1 for k1, d1, k2, s in zip(first.kernel_size, first.dilation, second.kernel_size, step, strict=True)
    )
    shape = (second.weights.shape[0], first.weights.shape[1], *size)
    if prod(shape) > _MAX_WEIGHTS:
        return None
    kernel = np.zeros(shape)
    (dh, dw), (kh, kw) = first.dilation, first.kernel_size
    for a in range(second.kernel_size[0]):
        for b in range(second.kernel_size[1]):
            tap = second.weights[:, :, a, b].astype(np.float64)
            part = first.weights * tap[:, :, None, None] if depthwise else np.tensordot(tap, first.weights, axes=1)
            top, left = a * step[0], b * step[1]
            kernel[:, :, top : top + (kh - 1) * dh + 1 : dh, left : left + (kw - 1) * dw + 1 : dw] += part
    stride = (first.stride[0] * second.stride[0], first.stride[1] * second.stride[1])
    return Conv2d(kernel, first.in_shape, stride, first.padding, (1, 1), first.groups)


def _expand(chain: Sequence[Stage]) -> Connectivity | None:
    """Return the chain synapse by synapse, found by sending one spike at a time through it; None where it is too large."""
    sources, targets = chain[0].in_size, chain[-1].out_size
    widest = max(stage.out_size for stage in chain)
    if sources * max(widest, sources) > MAX_EXPANDED:
        return None
    matrix = np.empty((targets, sources))
    block = max(1, 2**20 // max(widest, sources))
    for start in range(0, sources, block):
        stop = min(start + block, sources)
        spikes = np.zeros((stop - start, sources))
        spikes[np.arange(stop - start), np.arange(start, stop)] = 1
        matrix[:, start:stop] = apply_chain(chain, spikes).T
    return Dense(matrix) if any(isinstance(stage, Dense) for stage in chain) else Sparse.from_dense(matrix)


def padded_same(weights: Array, dilation: tuple[int, int]) -> tuple[Array, tuple[int, int], tuple[int, int]]:
    """Return kernel, padding and dilation of torch's `padding='same'` with symmetric padding only.

    The output keeps the input's size, so dilation * (kernel - 1) zeros are added, the odd one at the far edge. An odd total is
    realised by a leading row of zeros in the kernel, which moves it to the near edge.

    Args:
        weights: (out channels, in channels, height, width).
        dilation: (height, width).
    """
    total = [d * (k - 1) for d, k in zip(dilation, weights.shape[2:], strict=True)]
    if not any(t % 2 for t in total):
        return weights, (total[0] // 2, total[1] // 2), dilation
    odd = [t % 2 for t in total]
    kernel = np.zeros((*weights.shape[:2], total[0] + 1 + odd[0], total[1] + 1 + odd[1]), weights.dtype)
    kernel[:, :, odd[0] :: dilation[0], odd[1] :: dilation[1]] = weights
    return kernel, ((total[0] + odd[0]) // 2, (total[1] + odd[1]) // 2), (1, 1)
