"""Chains of linear nodes between two populations, composed into one connection exactly.

A chain is a list of stages in the order of the signal. Neighbours are merged where a closed form exists (matrix products, scaled
kernels, pools folded into what follows, convolutions that pad nothing in between); a chain that is left with several stages is expanded
synapse by synapse while that is small, and is several connections otherwise.

Everything that is computed here can be done without, since a chain may stay several connections. So each computation asks for an
allowance of work and memory first (`Allowance`), and is left out where that is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Protocol, TypeAlias

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse, fold_pool

__all__ = [
    "MAX_EXPANDED",
    "MAX_UNROLLED",
    "Allowance",
    "Diagonal",
    "Pool",
    "Stage",
    "apply_chain",
    "effort",
    "joined",
    "padded_same",
    "reduced",
    "room",
]

MAX_EXPANDED = 2**24
"""Largest (sources x targets) a chain without a closed form is expanded to."""
MAX_UNROLLED = 2**22
"""Largest number of synapses a convolution is listed with where each needs a delay of its own."""
_MAX_WEIGHTS = 2**27
# Elementary steps (see `Tree.work`) of one pass of a Python loop around numpy, and of writing one new element.
_PASS = 2**13
_WRITE = 4
# A matrix product is this many times faster than a pass over arrays with as many steps.
_FASTER = 8


class Allowance(Protocol):
    """Who decides whether something that can be done without is worth its work and memory."""

    def spare(self, work: int, size: int) -> bool:
        """Reserve elementary steps and bytes; return False, reserving nothing, where that is too much."""

    def release(self, work: int, size: int) -> None:
        """Give reserved steps and bytes back."""


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
        return Conv2d(_sealed(kernel), self.in_shape, self.stride, groups=self.in_shape[0])

    def apply(self, x: Array) -> Array:
        """Return the pooled x, (..., sources) -> (..., targets)."""
        return self.conv.apply(x)


Stage: TypeAlias = Dense | Conv2d | Diagonal | Pool


def apply_chain(stages: Sequence[Stage], x: Array) -> Array:
    """Return x after all stages, (..., sources) -> (..., targets) in float64."""
    for stage in stages:
        x = stage.apply(x)
    return np.asarray(x, np.float64)


def effort(stages: Sequence[Stage], rows: int = 1) -> tuple[int, int]:
    """Return what `apply_chain` takes for `rows` vectors: elementary steps (see `Tree.work`), and bytes at its peak."""
    steps, peak = 0, 0
    for stage in stages:
        if isinstance(stage, Diagonal):
            steps, peak = steps + rows * stage.out_size, max(peak, rows * stage.out_size)
        elif isinstance(stage, Dense):
            product = rows * stage.in_size * stage.out_size
            steps += stage.in_size * stage.out_size + product // _FASTER + rows * stage.out_size
            peak = max(peak, rows * (stage.in_size + stage.out_size))
        else:
            (c_in, h_in, w_in), (c_out, h_out, w_out) = stage.in_shape, stage.out_shape
            groups = c_in if isinstance(stage, Pool) else stage.groups
            plane, taps = rows * h_out * w_out, prod(_kernel(stage))
            products = c_in // groups * c_out // _FASTER
            steps += taps * (groups * _PASS + plane * (2 * c_in + 2 * c_out + products)) + rows * c_in * h_in * w_in
            peak = max(peak, rows * c_in * h_in * w_in + 3 * plane * max(c_in, c_out) // groups + plane * c_out)
    return steps, 8 * peak


def reduced(stages: Sequence[Stage], allowance: Allowance) -> tuple[list[Stage], list[int]]:
    """Merge neighbours until no two that are left have a closed form that is worth its work.

    Memory of a merged stage stays reserved, that of a merged stage which is merged again is given back.

    Returns:
        The stages left, and for each how many of the given ones are in it and before it.
    """
    chain, ends, held = list(stages), list(range(1, len(stages) + 1)), [0] * len(stages)
    # From the target's end: a pool in front of a matrix has a closed form that it loses once merged with what precedes it.
    k = len(chain) - 2
    while k >= 0:
        merged, size = _merged(chain[k], chain[k + 1], allowance)
        if merged is None:
            k -= 1
            continue
        allowance.release(0, held[k] + held[k + 1])
        chain[k : k + 2], held[k : k + 2] = [merged], [size]
        del ends[k]
        # Only the new stage's neighbours may have got a closed form with it; the one behind it comes first.
        k = min(k, len(chain) - 2)
    return chain, ends


def room(chain: Sequence[Stage], size: int) -> int:
    """Return the bytes that `joined` needs beyond those of the stages, where there are less than two.

    Args:
        chain: what `reduced` left.
        size: number of sources, for an empty chain.
    """
    if not chain or isinstance(chain[0], Diagonal):
        return 20 * (chain[0].in_size if chain else size)
    return 8 * chain[0].in_shape[0] * prod(chain[0].kernel) if isinstance(chain[0], Pool) else 0


def joined(chain: Sequence[Stage], size: int, allowance: Allowance) -> Connectivity | None:
    """Return the connection equal to what `reduced` left, or None where it is too large to be listed synapse by synapse.

    Args:
        chain: the stages; none at all means that every neuron feeds its namesake.
        size: number of sources, for an empty chain.
        allowance: for listing a chain of several stages; what fewer need is `room`.
    """
    if not chain:
        return Sparse.diagonal(np.ones(size))
    if len(chain) > 1:
        return _expand(chain, allowance)
    last = chain[0]
    if isinstance(last, Diagonal):
        return Sparse.diagonal(np.asarray(last.scale, np.float64).ravel())
    return last.conv if isinstance(last, Pool) else last


def _merged(first: Stage, second: Stage, allowance: Allowance) -> tuple[Stage | None, int]:
    """Return one stage equal to `second` after `first`, and its bytes; None where there is none, or none worth its work."""
    cost = _cost(first, second)
    if cost is None or cost[1] > _MAX_WEIGHTS:
        return None, 0
    work, size = cost[0] + _WRITE * cost[1], 8 * cost[1]
    if not allowance.spare(work, size):
        return None, 0
    merged = _merge(first, second)
    if merged is None:
        allowance.release(work, size)
    return merged, size


def _cost(first: Stage, second: Stage) -> tuple[int, int] | None:
    """Return the elementary steps and new elements that merging takes, or None where no closed form exists."""
    if isinstance(first, Diagonal):
        return _scaling_cost(first, second)
    if isinstance(second, Diagonal):
        return _scaling_cost(second, first)
    if isinstance(first, Dense):
        if not isinstance(second, Dense):
            return None
        product = first.in_size * second.out_size
        return product * first.out_size // _FASTER, product
    if isinstance(second, Dense):
        if not isinstance(first, Pool):
            return None
        return prod(first.kernel) * (_PASS + 2 * int(second.weights.size)), second.out_size * first.in_size + int(second.weights.size)
    # A reshape may lie between them, after which rows and columns are others.
    if first.out_shape != second.in_shape:
        return None
    inner, outer, depth = _kernel(first), _kernel(second), second.in_shape[0] if isinstance(second, Pool) else int(second.weights.shape[0])
    spread = (1, 1) if isinstance(second, Pool) else second.dilation
    before = (1, 1) if isinstance(first, Pool) else first.dilation
    size = prod(
        (k1 - 1) * d1 + (k2 - 1) * d2 * s + 1
        for k1, d1, k2, d2, s in zip(inner, before, outer, spread, first.stride, strict=True)
    )
    within = 1 if isinstance(second, Pool) else int(second.weights.shape[1])
    if isinstance(first, Pool):
        return prod(outer) * (_PASS + 2 * depth * within * prod(inner)), depth * within * size
    if not _convolvable(first, second):
        return None
    own = int(first.weights.shape[1]) if _depthwise(second) else first.in_shape[0]
    # Only middle channels that both groups reach are summed over.
    return prod(outer) * (_PASS + depth * own * prod(inner) * (2 + within // first.groups // _FASTER)), depth * own * size


def _scaling_cost(diagonal: Diagonal, other: Stage) -> tuple[int, int]:
    """Return the elementary steps and new elements that merging a diagonal takes; a pool that stays one has no elements."""
    if isinstance(other, Diagonal):
        elements = other.in_size
    elif isinstance(other, Pool):
        elements = 0 if _uniform(diagonal) else other.in_shape[0] * prod(other.kernel)
    else:
        elements = int(other.weights.size)
    return diagonal.in_size + elements, elements


def _kernel(stage: Pool | Conv2d) -> tuple[int, int]:
    return stage.kernel if isinstance(stage, Pool) else stage.kernel_size


def _uniform(diagonal: Diagonal) -> bool:
    return bool(np.all(diagonal.scale == diagonal.scale.flat[0]))


def _sealed(array: Array) -> Array:
    """Return a new array closed to writing, so that a connection keeps it without a copy."""
    array.setflags(write=False)
    return array


def _merge(first: Stage, second: Stage) -> Stage | None:
    """Return one stage equal to `second` after `first`, or None where no closed form exists."""
    if isinstance(first, Diagonal):
        return _scaled_sources(first, second)
    if isinstance(second, Diagonal):
        return _scaled_targets(first, second)
    if isinstance(first, Dense) and isinstance(second, Dense):
        return Dense(_sealed(second.weights.astype(np.float64, copy=False) @ first.weights))
    if isinstance(first, Pool) and isinstance(second, Pool):
        return _fold(first, second.conv)
    if isinstance(first, Pool) and isinstance(second, Dense | Conv2d):
        return _fold(first, second)
    if isinstance(first, Conv2d) and isinstance(second, Pool | Conv2d):
        return _convolved(first, second.conv if isinstance(second, Pool) else second)
    return None


def _fold(pool: Pool, inner: Dense | Conv2d) -> Dense | Conv2d | None:
    return fold_pool(inner, pool.out_shape, pool.in_shape, pool.kernel, pool.stride, pool.factor)


def _scaled_sources(diagonal: Diagonal, second: Stage) -> Stage | None:
    scale = np.asarray(diagonal.scale, np.float64)
    if isinstance(second, Diagonal):
        return Diagonal(scale.ravel() * np.asarray(second.scale, np.float64).ravel())
    if isinstance(second, Dense):
        return Dense(_sealed(second.weights * scale.ravel()))
    if isinstance(second, Pool) and _uniform(diagonal):
        return Pool(second.in_shape, second.kernel, second.stride, second.factor * float(scale.flat[0]))
    if isinstance(second, Conv2d | Pool):
        conv = second.conv if isinstance(second, Pool) else second
        per_channel = _per_channel(scale, conv.in_shape[0])
        if per_channel is None:
            return None
        groups, per_group = conv.groups, conv.weights.shape[1]
        factors = per_channel.reshape(groups, per_group).repeat(conv.weights.shape[0] // groups, axis=0)
        return conv.with_weights(_sealed(conv.weights * factors[:, :, None, None]))
    return None


def _scaled_targets(first: Stage, diagonal: Diagonal) -> Stage | None:
    scale = np.asarray(diagonal.scale, np.float64)
    if isinstance(first, Dense):
        return Dense(_sealed(first.weights * scale.reshape(-1, 1)))
    if isinstance(first, Pool) and _uniform(diagonal):
        return Pool(first.in_shape, first.kernel, first.stride, first.factor * float(scale.flat[0]))
    if isinstance(first, Conv2d | Pool):
        conv = first.conv if isinstance(first, Pool) else first
        per_channel = _per_channel(scale, conv.out_shape[0])
        return None if per_channel is None else conv.with_weights(_sealed(conv.weights * per_channel[:, None, None, None]))
    return None


def _per_channel(scale: Array, channels: int) -> Array | None:
    rows = scale.reshape(channels, -1)
    return rows[:, 0] if np.all(rows == rows[:, :1]) else None


def _depthwise(second: Pool | Conv2d) -> bool:
    """Return whether a stage has one kernel for each channel, so that it leaves the groups of a convolution in front of it as they are."""
    return isinstance(second, Pool) or second.groups == second.in_shape[0] == second.weights.shape[0]


def _convolvable(first: Conv2d, second: Pool | Conv2d) -> bool:
    """Return whether `second` after `first` is one convolution exactly.

    What `second` pads is 0, and one convolution would compute `first` there instead, which is 0 only where that has a single tap. Of two
    convolutions with groups, the second has to be depthwise.
    """
    if isinstance(second, Pool):
        return True
    if any(padding and taps > 1 for padding, taps in zip(second.padding, first.kernel_size, strict=True)):
        return False
    return _depthwise(second) or 1 in (first.groups, second.groups)


def _convolved(first: Conv2d, second: Conv2d) -> Conv2d | None:
    """Return `second` after `first` as one convolution, or None where there is none; see `_convolvable`.

    Tap (a, b) of the second reads the first at stride 1 * first.stride, so the kernels add up at a * d2 * s1 + k * d1.
    """
    if not _convolvable(first, second):
        return None
    depthwise = _depthwise(second)
    step = tuple(d * s for d, s in zip(second.dilation, first.stride, strict=True))
    size = tuple(
        (k1 - 1) * d1 + (k2 - 1) * s + 1 for k1, d1, k2, s in zip(first.kernel_size, first.dilation, second.kernel_size, step, strict=True)
    )
    kernel = np.zeros((second.weights.shape[0], first.weights.shape[1] if depthwise else first.in_shape[0], *size))
    (dh, dw), (kh, kw) = first.dilation, first.kernel_size
    for a in range(second.kernel_size[0]):
        for b in range(second.kernel_size[1]):
            tap = second.weights[:, :, a, b].astype(np.float64, copy=False)
            part = first.weights * tap[:, :, None, None] if depthwise else _summed(first, tap, second.groups)
            top, left = a * step[0], b * step[1]
            kernel[:, :, top : top + (kh - 1) * dh + 1 : dh, left : left + (kw - 1) * dw + 1 : dw] += part
    stride = (first.stride[0] * second.stride[0], first.stride[1] * second.stride[1])
    top, left = (p1 + p2 * s for p1, p2, s in zip(first.padding, second.padding, first.stride, strict=True))
    return Conv2d(_sealed(kernel), first.in_shape, stride, (top, left), (1, 1), first.groups if depthwise else 1)


def _summed(first: Conv2d, tap: Array, groups: int) -> Array:
    """Return the first convolution's kernels summed over the middle channels with one tap's weights.

    Args:
        first: of any number of groups where the second has one, else of one.
        tap: (out channels, middle channels / groups) float64.
        groups: of the second convolution.

    Returns:
        (out channels, in channels, height, width).
    """
    middle, within, *size = first.weights.shape
    parts = first.groups * groups
    left = tap.reshape(groups, -1, tap.shape[1]) if groups > 1 else tap.reshape(tap.shape[0], parts, -1).swapaxes(0, 1)
    sums = left @ first.weights.reshape(parts, middle // parts, -1)
    together = sums.reshape(-1, sums.shape[2]) if groups > 1 else sums.swapaxes(0, 1)
    return together.reshape(tap.shape[0], first.groups * within, *size)


def _expand(chain: Sequence[Stage], allowance: Allowance) -> Connectivity | None:
    """Return the chain synapse by synapse, found by sending one spike at a time through it; None where it is too large."""
    sources, targets = chain[0].in_size, chain[-1].out_size
    widest = max(stage.out_size for stage in chain)
    if sources * max(widest, sources) > MAX_EXPANDED:
        return None
    block = max(1, 2**20 // max(widest, sources))
    work, peak = effort(chain, min(block, sources))
    size = 8 * sources * targets
    if peak > 8 * _MAX_WEIGHTS or not allowance.spare(-(-sources // block) * work + _WRITE * sources * targets, size):
        return None
    matrix = np.empty((targets, sources))
    for start in range(0, sources, block):
        stop = min(start + block, sources)
        spikes = np.zeros((stop - start, sources))
        spikes[np.arange(stop - start), np.arange(start, stop)] = 1
        matrix[:, start:stop] = apply_chain(chain, spikes).T
    return Dense(_sealed(matrix)) if any(isinstance(stage, Dense) for stage in chain) else Sparse.from_dense(matrix)


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
