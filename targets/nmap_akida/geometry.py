"""Which convolutions of a network are convolutions of the chip, and with which kernel.

All functions take whole-number and real weights alike. A kernel is in the orientation of `Conv2d` (cross-correlation) and has all input
channels, groups filled with zeros. Images are (channels, height, width).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense

__all__ = [
    "HIDDEN_SIZES", "IMAGE_SIZES", "SEPARABLE_SIZES", "Misfit", "SameKernel", "alike", "as_matrix", "before", "expanded", "global_pool",
    "image_kernel", "pool_taps", "pooled_by_four", "pooled_window", "same_kernel", "separable", "summed_over_image", "unpooled",
]

HIDDEN_SIZES: Final = (1, 3, 5, 7)
"""Kernels of hidden convolutions: Akida 1.0 hardware constraints."""
SEPARABLE_SIZES: Final = (3, 5, 7)
"""Kernels of separable convolutions: Akida 1.0 hardware constraints."""
IMAGE_SIZES: Final = (3, 5, 7)
"""Kernels of the input convolution unit: Akida 1.0 hardware constraints."""
_EQUAL: Final = 1e-9
"""Real weights are equal where they differ by no more than this share of the largest: sums of them were rounded in different orders."""


@dataclass(frozen=True, slots=True, eq=False)
class SameKernel:
    """A convolution as the chip takes it.

    Args:
        kernel: (filters, channels, K, K) in cross-correlation orientation, of the given weights' type.
        stride: of both axes.
        valid: no padding, instead of the padding that keeps the image's size.
    """

    kernel: Array
    stride: int
    valid: bool = False


@dataclass(frozen=True, slots=True)
class Misfit:
    """Why a convolution is none of the chip's.

    Args:
        rule: what is broken.
        reason: the numbers, a phrase that follows the layer's name.
        remedy: the nearest change that would map.
    """

    rule: Literal["even_kernel", "kernel", "stride", "padding", "alignment"]
    reason: str
    remedy: str


def before(size: int, kernel: int, stride: int) -> int:
    """Return the zeros in front of an axis: half of what padding `same` adds, which has its odd one at the end (TensorFlow's rule)."""
    return max((-(-size // stride) - 1) * stride + kernel - size, 0) // 2


def same_kernel(conv: Conv2d, sizes: Sequence[int] = HIDDEN_SIZES) -> SameKernel | Misfit:
    """Return a convolution as one with padding `same`, stride 1, or stride 2 with a kernel of 3 (Akida 1.0 hardware constraints).

    The smallest kernel of `sizes` is taken that holds every tap which is not zero and meets the image somewhere. Where there is none, no
    such kernel computes the same, with two exceptions: even kernels are not put into odd ones, unless they sum windows of 2 by 2 pixels,
    and strides are asked for even where all outputs but one see nothing but padding.
    """
    even = _even(conv)
    if even is not None:
        return even
    ways = [(size, stride, False) for stride in (1, 2) for size in sizes if stride == 1 or size == 3]
    return _embedded(conv, ways) or _misfit(conv, max(sizes))


def image_kernel(conv: Conv2d) -> SameKernel | Misfit:
    """Return a convolution as the input convolution unit takes it: kernels 3, 5 or 7, stride 1, 2 or 3, padding `same` or none."""
    even = _even(conv)
    if even is not None:
        return even
    ways = [(size, stride, valid) for size in IMAGE_SIZES for valid in (False, True) for stride in (1, 2, 3)]
    return _embedded(conv, ways) or _misfit(conv, max(IMAGE_SIZES), image=True)


def pool_taps(conv: Conv2d) -> Array | None:
    """Return the weight of every filter and channel, (filters, channels), of a sum over windows of 2 by 2; None where it is none."""
    if conv.stride != (2, 2) or conv.padding != (0, 0) or conv.dilation != (1, 1) or conv.kernel_size != (2, 2):
        return None
    taps = conv.weights.reshape(*conv.weights.shape[:2], 4)
    if not alike(taps, taps[:, :, :1]):
        return None
    return expanded(conv)[:, :, 0, 0]


def pooled_by_four(conv: Conv2d) -> Array | None:
    """Return the weights, (channels,), of a convolution that sums 2 by 2 pixels within each channel; None where it is something else."""
    taps = pool_taps(conv)
    if taps is None or taps.shape[0] != taps.shape[1] or np.count_nonzero(taps - np.diag(np.diag(taps))):
        return None
    return np.diag(taps).copy()


def pooled_window(conv: Conv2d) -> int | None:
    """Return the side of the largest windows whose sums are all that a convolution sees; None where it sees single pixels.

    Such convolutions are pools, and what readers make of a pool and a convolution behind it.
    """
    if conv.dilation != (1, 1) or not conv.weights.any():
        return None
    for side in range(min(min(conv.kernel_size), min(conv.stride)), 1, -1):
        if any(value % side for value in (*conv.kernel_size, *conv.stride, *conv.padding)):
            continue
        shape = conv.weights.shape
        blocks = conv.weights.reshape(*shape[:2], shape[2] // side, side, shape[3] // side, side)
        if alike(blocks, blocks[:, :, :, :1, :, :1]):
            return side
    return None


def expanded(conv: Conv2d) -> Array:
    """Return the kernel with all input channels, (filters, channels, height, width), groups filled with zeros."""
    filters, within = conv.weights.shape[:2]
    if conv.groups == 1:
        return conv.weights
    full = np.zeros((filters, conv.in_shape[0], *conv.kernel_size), conv.weights.dtype)
    per_out = filters // conv.groups
    for group in range(conv.groups):
        rows = slice(group * per_out, (group + 1) * per_out)
        full[rows, group * within : (group + 1) * within] = conv.weights[rows]
    return full


def unpooled(connectivity: Connectivity, source_shape: tuple[int, ...]) -> Dense | Conv2d | None:
    """Return the connection that, behind a sum over windows of 2 by 2 pixels, computes the same; None where there is none.

    Args:
        connectivity: from an image, dense or a convolution.
        source_shape: (channels, height, width); both sizes must be even, as the chip's own sum of windows has one output more than the
            network's on odd ones.
    """
    if len(source_shape) != 3 or source_shape[1] % 2 or source_shape[2] % 2:
        return None
    channels, height, width = source_shape
    half = (channels, height // 2, width // 2)
    if isinstance(connectivity, Dense):
        blocks = connectivity.weights.reshape(-1, *_blocks(source_shape))
        kept = blocks[:, :, :, :1, :, :1]
        if not alike(blocks, kept):
            return None
        return Dense(np.ascontiguousarray(kept).reshape(connectivity.out_size, -1))
    if not isinstance(connectivity, Conv2d) or connectivity.in_shape != source_shape or connectivity.dilation != (1, 1):
        return None
    conv = connectivity
    if any(k % 2 or s % 2 or p % 2 for k, s, p in zip(conv.kernel_size, conv.stride, conv.padding, strict=True)):
        return None
    shape = conv.weights.shape
    blocks = conv.weights.reshape(shape[0], *_blocks((shape[1], *conv.kernel_size)))
    kept = blocks[:, :, :, :1, :, :1]
    if not alike(blocks, kept):
        return None
    kernel = np.ascontiguousarray(kept).reshape(*shape[:2], shape[2] // 2, shape[3] // 2)
    if any(n + 2 * (p // 2) < k for n, p, k in zip(half[1:], conv.padding, kernel.shape[2:], strict=True)):
        return None
    inner = Conv2d(
        kernel, half, (conv.stride[0] // 2, conv.stride[1] // 2), (conv.padding[0] // 2, conv.padding[1] // 2), (1, 1), conv.groups
    )
    return inner if inner.out_shape == conv.out_shape else None


def global_pool(conv: Conv2d) -> Conv2d | None:
    """Return the convolution of the chip whose outputs, summed over the whole image, are the one output of each filter, or None.

    Readers merge a convolution and a pool over the whole image into one kernel: the sum of the small kernel at all its positions
    (`summed_over_image`). What is returned is the small one, with the same padding and groups, and `same_kernel` takes it.
    """
    if conv.out_shape[1:] != (1, 1) or conv.dilation != (1, 1):
        return None
    sizes = range(1, max(HIDDEN_SIZES) + 1)
    for stride, high, wide in product((1, 2), sizes, sizes):
        kernel = _summed(conv, stride, (high, wide))
        if kernel is not None:
            inner = Conv2d(kernel, conv.in_shape, (stride, stride), conv.padding, (1, 1), conv.groups)
            if not isinstance(same_kernel(inner), Misfit):
                return inner
    return None


def summed_over_image(inner: Conv2d) -> Conv2d:
    """Return the convolution with one output pixel that is the sum of all outputs of another one: the reverse of `global_pool`."""
    kernel = inner.weights
    for axis, (count, stride) in enumerate(zip(inner.out_shape[1:], inner.stride, strict=True)):
        whole = (count - 1) * stride + inner.kernel_size[axis]
        kernel = np.moveaxis(_box_sum(np.moveaxis(kernel, 2 + axis, 0), whole, stride), 0, 2 + axis)
    return Conv2d(np.ascontiguousarray(kernel), inner.in_shape, inner.stride, inner.padding, (1, 1), inner.groups)


def separable(kernel: Array, largest: int | None = None) -> tuple[Array, Array] | None:
    """Return a kernel as one within each channel and one of 1 by 1 across channels; None where it is no such product.

    Args:
        kernel: (filters, channels, K, K).
        largest: of whole-number weights of both factors; None for real numbers.

    Returns:
        (channels, K, K) and (filters, channels) whose product is the kernel: bit for bit where `largest` is given, both int32 then and
        between -largest and largest. Of real numbers, the first has a largest magnitude of 1 in every channel that is not all zero.
    """
    filters, channels = kernel.shape[:2]
    rows = kernel.reshape(filters, channels, -1).swapaxes(0, 1)
    if largest is None:
        return _real_factors(rows, kernel.shape)
    depth, points = np.zeros(rows[:, 0].shape, np.int32), np.zeros((filters, channels), np.int32)
    for c, taps in enumerate(rows.astype(np.int64)):
        made = _whole_factors(taps, largest)
        if made is None:
            return None
        depth[c], points[:, c] = made
    return depth.reshape(channels, *kernel.shape[2:]), points


def as_matrix(conv: Conv2d) -> Dense:
    """Return a convolution with one output pixel as a matrix, (filters, channels x height x width), of the same type."""
    height, width = conv.in_shape[1:]
    kernel, matrix = expanded(conv), np.zeros((conv.weights.shape[0], *conv.in_shape), conv.weights.dtype)
    places = [
        np.arange(size) * d - p for size, d, p in zip(conv.kernel_size, conv.dilation, conv.padding, strict=True)
    ]
    (rows, lines), (columns, across) = (
        (np.flatnonzero((at >= 0) & (at < n)), at[(at >= 0) & (at < n)]) for at, n in zip(places, (height, width), strict=True)
    )
    matrix[:, :, lines[:, None], across] = kernel[:, :, rows[:, None], columns]
    return Dense(matrix.reshape(matrix.shape[0], -1))


def alike(values: Array, others: Array) -> bool:
    """Return whether whole numbers are the same, and real ones up to rounding."""
    if values.dtype.kind in "biu":
        return bool(np.array_equal(values, np.broadcast_to(others, values.shape)))
    return bool(np.all(np.abs(values - others) <= _EQUAL * _largest(values)))


def _largest(values: Array) -> float:
    return float(np.abs(values).max(initial=0))


def _blocks(shape: tuple[int, int, int]) -> tuple[int, ...]:
    return shape[0], shape[1] // 2, 2, shape[2] // 2, 2


def _even(conv: Conv2d) -> Misfit | None:
    spans = [d * (k - 1) + 1 for k, d in zip(conv.kernel_size, conv.dilation, strict=True)]
    if all(span % 2 for span in spans) or _sums_pairs(conv):
        return None
    high, wide = spans
    odd = [span + 1 - span % 2 for span in spans]
    return Misfit(
        "even_kernel", f"has an even kernel of {high} x {wide}",
        f"train with a kernel of {max(odd)} x {max(odd)} and a padding of {max(odd) // 2}",
    )


def _sums_pairs(conv: Conv2d) -> bool:
    """Return whether the kernel sums windows of two pixels along an axis, or both, that do not overlap."""
    if conv.padding != (0, 0) or conv.dilation != (1, 1):
        return False
    if any((k, s) not in ((2, 2), (1, 1)) for k, s in zip(conv.kernel_size, conv.stride, strict=True)):
        return False
    taps = conv.weights.reshape(*conv.weights.shape[:2], -1)
    return alike(taps, taps[:, :, :1])


def _offsets(conv: Conv2d, axis: int) -> tuple[Array, Array]:
    """Return where each tap lies from the first target's place on, (taps,), and whether it meets the image for any target."""
    offsets = np.arange(conv.kernel_size[axis]) * conv.dilation[axis] - conv.padding[axis]
    met = np.array([target.stop > target.start for target, _ in (conv.overlap(axis, tap) for tap in range(offsets.size))])
    return offsets, met


def _embedded(conv: Conv2d, ways: Iterable[tuple[int, int, bool]]) -> SameKernel | None:
    (rows, above), (columns, left) = _offsets(conv, 0), _offsets(conv, 1)
    live = conv.weights.any(axis=(0, 1)) & above[:, None] & left
    used = [rows[live.any(axis=1)], columns[live.any(axis=0)]]
    for size, stride, valid in ways:
        starts = [_start(conv, axis, size, stride, valid) for axis in (0, 1)]
        if any(
            start is None or (at.size and not (at.min() >= start and at.max() < start + size))
            for start, at in zip(starts, used, strict=True)
        ):
            continue
        kernel = np.zeros((conv.weights.shape[0], conv.in_shape[0], size, size), conv.weights.dtype)
        taps = np.argwhere(live)
        down, right = rows[taps[:, 0]] - starts[0], columns[taps[:, 1]] - starts[1]
        kernel[:, :, down, right] = expanded(conv)[:, :, taps[:, 0], taps[:, 1]]
        return SameKernel(kernel, stride, valid)
    return None


def _start(conv: Conv2d, axis: int, size: int, stride: int, valid: bool) -> int | None:
    """Return the offset of the chip's first tap, or None where the chip has another number of targets or another distance of them."""
    n, count = conv.in_shape[1 + axis], conv.out_shape[1 + axis]
    if count != (-(-(n - size + 1) // stride) if valid else -(-n // stride)) or (count > 1 and stride != conv.stride[axis]):
        return None
    return 0 if valid else -before(n, size, stride)


def _misfit(conv: Conv2d, widest: int, image: bool = False) -> Misfit:
    """Say why a convolution with an odd kernel fits no kernel of the chip; the first reason in the order of a user's changes."""
    spans = [d * (k - 1) + 1 for k, d in zip(conv.kernel_size, conv.dilation, strict=True)]
    sizes, counts, stride = conv.in_shape[1:], conv.out_shape[1:], conv.stride
    named = "{} x {}".format
    if max(spans) > widest:
        spread = f" (dilation {named(*conv.dilation)})" if conv.dilation != (1, 1) else ""
        return Misfit(
            "kernel", f"has a kernel of {named(*spans)}{spread}",
            f"train with kernels of at most {widest} x {widest} and a padding of half the kernel",
        )
    most = 3 if image else 2
    if max(stride) > most or (stride[0] != stride[1] and min(counts) > 1) or (not image and max(stride) == 2 and max(spans) > 3):
        return Misfit("stride", f"has stride {named(*stride)} and a kernel of {named(*spans)}", _stride_remedy(image))
    wanted = tuple(-(-n // max(stride)) for n in sizes)
    if counts != wanted or conv.padding[0] > spans[0] // 2 or conv.padding[1] > spans[1] // 2 or not any(conv.padding):
        half = max(spans) // 2
        return Misfit(
            "padding", f"has padding {named(*conv.padding)} with a kernel of {named(*spans)} ({named(*sizes)} pixels become"
            f" {named(*counts)})", f"train with a padding of {half}, half of the kernel"
            + (", on images of odd size" if max(stride) == 2 else ""),
        )
    axis = next((k for k in (1, 0) if (sizes[k] - 1) % max(stride)), 1)
    return Misfit(
        "alignment", f"has stride {max(stride)} over {sizes[axis]} {('rows', 'columns')[axis]}",
        "train it on images of odd size, or with stride 1 and a sum pool of 2 x 2 behind its neurons",
    )


def _stride_remedy(image: bool) -> str:
    return "train with stride 1, 2 or 3, the same on both axes" if image else (
        "train with stride 1, or with stride 2, a kernel of 3 and a padding of 1 on images of odd size"
    )


def _summed(conv: Conv2d, stride: int, sizes: tuple[int, int]) -> Array | None:
    """Return the kernel of the given size that, summed over its targets, gives the convolution's kernel; None where there is none."""
    kernel = conv.weights
    for axis, (size, whole) in enumerate(zip(sizes, conv.kernel_size, strict=True)):
        count, rest = divmod(whole - size, stride)
        if rest or count < 0 or count + 1 != (conv.in_shape[1 + axis] + 2 * conv.padding[axis] - size) // stride + 1:
            return None
        kernel = np.moveaxis(_unsummed(np.moveaxis(kernel, 2 + axis, 0), count + 1, stride, size), 0, 2 + axis)
    again = kernel
    for axis, whole in enumerate(conv.kernel_size):
        again = np.moveaxis(_box_sum(np.moveaxis(again, 2 + axis, 0), whole, stride), 0, 2 + axis)
    return np.ascontiguousarray(kernel) if alike(conv.weights, again) else None


def _unsummed(values: Array, count: int, stride: int, size: int) -> Array:
    """Return the first `size` of s from values[t] = s[t] + s[t - stride] + ... (count terms)."""
    found = np.zeros((size, *values.shape[1:]), values.dtype)
    for t in range(size):
        found[t] = values[t] - (values[t - stride] if t >= stride else 0) + (found[t - stride * count] if t >= stride * count else 0)
    return found


def _box_sum(values: Array, whole: int, stride: int) -> Array:
    total = np.zeros((whole, *values.shape[1:]), values.dtype)
    for start in range(0, whole - values.shape[0] + 1, stride):
        total[start : start + values.shape[0]] += values
    return total


def _real_factors(rows: Array, shape: tuple[int, ...]) -> tuple[Array, Array] | None:
    filters, channels = shape[:2]
    depth, points = np.zeros(rows[:, 0].shape), np.zeros((filters, channels))
    for c, taps in enumerate(rows.astype(np.float64, copy=False)):
        best, tap = np.unravel_index(np.abs(taps).argmax(), taps.shape)
        if taps[best, tap] == 0:
            continue
        depth[c] = taps[best] / abs(taps[best, tap])
        points[:, c] = taps[:, tap] / depth[c, tap]
        if not alike(taps, points[:, c, None] * depth[c]):
            return None
    return depth.reshape(channels, *shape[2:]), points


def _whole_factors(taps: Array, largest: int) -> tuple[Array, Array] | None:
    """Return one channel's factors, (taps,) and (filters,)."""
    shared = int(np.gcd.reduce(taps.ravel()))
    if shared == 0:
        return taps[0], taps[:, 0]
    first = taps[np.flatnonzero(taps.any(axis=1))[0]]
    depth = first // int(np.gcd.reduce(first))
    tap = int(np.abs(depth).argmax())
    points = taps[:, tap] // depth[tap]
    if not np.array_equal(taps, points[:, None] * depth):
        return None
    common = int(np.gcd.reduce(points))
    for factor in range(1, largest + 1):
        if common % factor == 0 and np.abs(points).max() // factor <= largest and np.abs(depth).max() * factor <= largest:
            return depth * factor, points // factor
    return None

