"""The synapses of a projection that lead to some neurons, one by one, whatever kind of connection they come from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense
from nmap.program import Box
from nmap.quantized import QuantizedProjection

__all__ = ["Listed", "Reach", "conv_synapses", "phases", "reach", "synapses"]


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """Synapses one by one, none of weight 0, and at most one from a source to a target with one delay.

    Args:
        target: (k,) int64, place among the neurons asked for.
        source: (k,) int64.
        delay: (k,) int64, steps that the synapse adds to the projection's.
        weight: (k,) int64.
        tap: (k,) int64, place in the flattened kernel of a convolution; None for other connections.
    """

    target: Array
    source: Array
    delay: Array
    weight: Array
    tap: Array | None = None


def synapses(projection: QuantizedProjection, neurons: Array) -> Listed:
    """Return the synapses of a dense or sparse projection onto neurons, (n,) int64; weights of synapses that always act together added."""
    whole = projection.connectivity
    if isinstance(whole, Dense):
        weights = whole.weights[neurons]
        target, source = np.nonzero(weights)
        weight = weights[target, source].astype(np.int64)
        delay = np.zeros(target.size, np.int64) if projection.delays is None else projection.delays[neurons[target], source]
        return Listed(target, source, delay, weight)
    assert not isinstance(whole, Conv2d)
    picked = whole.entries(neurons)
    target = np.repeat(np.arange(neurons.size), whole.indptr[neurons + 1] - whole.indptr[neurons])
    source, weight = whole.indices[picked].astype(np.int64), whole.weights[picked].astype(np.int64)
    delay = np.zeros(target.size, np.int64) if projection.delays is None else projection.delays[picked]
    span = int(delay.max(initial=0)) + 1
    key = (target * span + delay) * whole.in_size + source
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.append(True, np.diff(key[order]) > 0)[: key.size])
    if first.size < key.size:
        weight = np.add.reduceat(weight[order], first)
        order = order[first]
        target, source, delay = target[order], source[order], delay[order]
    kept = np.flatnonzero(weight)
    return Listed(target[kept], source[kept], delay[kept], weight[kept])


def conv_synapses(conv: Conv2d, box: Box) -> Listed:
    """Return the synapses of a convolution onto a box of its targets; targets count in C order of the box."""
    (c0, c1), *spans = box
    per_in, per_out = conv.in_shape[0] // conv.groups, conv.weights.shape[0] // conv.groups
    places, inside = [], []
    for axis, (low, high) in enumerate(spans):
        at = np.arange(low, high)[:, None] * conv.stride[axis] - conv.padding[axis]
        at = at + np.arange(conv.kernel_size[axis]) * conv.dilation[axis]
        places.append(at)
        inside.append((at >= 0) & (at < conv.in_shape[1 + axis]))
    kernel = conv.weights[c0:c1]
    # Axes: channel, row, column of the target; then channel, row, column of the kernel.
    listed = (inside[0][:, None, :, None] & inside[1][None, :, None, :])[None, :, :, None] & (kernel != 0)[:, None, None]
    c, y, x, i, ky, kx = np.nonzero(listed)
    channel = (c + c0) // per_out * per_in + i
    source = (channel * conv.in_shape[1] + places[0][y, ky]) * conv.in_shape[2] + places[1][x, kx]
    target = (c * (spans[0][1] - spans[0][0]) + y) * (spans[1][1] - spans[1][0]) + x
    tap = np.ravel_multi_index((c + c0, i, ky, kx), conv.weights.shape)
    return Listed(target, source, np.zeros(c.size, np.int64), kernel[c, i, ky, kx].astype(np.int64), tap)


def phases(conv: Conv2d) -> tuple[Array, Array]:
    """Return the phase of every kernel row and column, (kh,) and (kw,) int64: a source position is reached by those of its own phase only.

    Source row y has the phase (y + padding) mod stride, since kernel row k of target row t lies on row t stride - padding + k dilation.
    """
    rows, columns = (
        np.arange(size) * dilation % stride for size, dilation, stride in zip(conv.kernel_size, conv.dilation, conv.stride, strict=True)
    )
    return rows, columns


@dataclass(frozen=True, slots=True)
class Reach:
    """How the targets low..high-1 along an axis of a convolution reach their sources.

    Args:
        first: the first source row (or column) that any of them reaches.
        taps: for every row from there on to the last one reached, the kernel rows that lie on it for some target, bit k for kernel row k;
            0 for a row between them that none reaches.
    """

    first: int
    taps: tuple[int, ...]


def reach(conv: Conv2d, axis: int, low: int, high: int) -> Reach:
    """Return the reach of targets low..high-1 along the rows (axis 0) or columns (1); sources in the padding left out."""
    size, stride, padding, dilation = conv.in_shape[1 + axis], conv.stride[axis], conv.padding[axis], conv.dilation[axis]
    found: dict[int, int] = {}
    for tap in range(conv.kernel_size[axis]):
        for target in range(low, high):
            place = target * stride - padding + tap * dilation
            if 0 <= place < size:
                found[place] = found.get(place, 0) | 1 << tap
    if not found:
        return Reach(0, ())
    first, last = min(found), max(found)
    return Reach(first, tuple(found.get(place, 0) for place in range(first, last + 1)))
