"""Connections of netx layers: what lava-dl's synapses compute, on (channels, height, width) in C order."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.readers.netx_entries import Layer

__all__ = ["Built", "convolution", "delays", "dense", "grouped_mean", "pool", "transposed", "unpool", "unrolled"]

# Index arrays, their sorted copies and the weights while a connection is listed.
_BYTES_PER_SYNAPSE = 64
# Elementary steps (see `Tree.work`) of listing a synapse and sorting it.
_STEPS_PER_SYNAPSE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """A connection and the shape of its target: (channels, height, width) or (n,)."""

    connectivity: Connectivity
    shape: tuple[int, ...]


def _kernel(layer: Layer, weights: Array, shape: tuple[int, ...]) -> Array | None:
    if weights.ndim == 5 and weights.shape[4] == 1:
        weights = weights[..., 0]
    if weights.ndim != 4 or 0 in weights.shape or len(shape) != 3:
        layer.mismatch(
            f"{layer.title} has weight {weights.shape} on an input of shape {shape}",
            "weight",
            "a convolution needs a kernel of rank 4 and an input of (channels, height, width)",
        )
        return None
    return weights


def _shared_kernel(layer: Layer, weights: Array, shape: tuple[int, ...]) -> Array | None:
    """Return the one kernel of all channels."""
    kernel = _kernel(layer, weights, shape)
    if kernel is not None and kernel.shape[:2] != (1, 1):
        layer.mismatch(f"{layer.title} has weight {kernel.shape}; one kernel (1, 1, height, width) belongs here", "weight")
        return None
    return kernel


@dataclass(frozen=True, slots=True)
class _Numbers:
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


def _numbers(layer: Layer) -> _Numbers | None:
    stride, padding, dilation = layer.pair("stride", 1), layer.pair("padding", 0), layer.pair("dilation", 1)
    groups = layer.pair("groups", 1)
    if stride is None or padding is None or dilation is None or groups is None:
        return None
    return _Numbers(stride, padding, dilation, groups[0])


def _listable(layer: Layer, count: int) -> bool:
    where, what = str(layer.group.where), f"the list of synapses of layer {layer.number}"
    return layer.tree.claim(count, _BYTES_PER_SYNAPSE, where, what) and layer.tree.work(_STEPS_PER_SYNAPSE * count, where, what)


def unrolled(layer: Layer, connectivity: Conv2d) -> Sparse | None:
    """Return a convolution listed synapse by synapse, or None (NM110) beyond the limits."""
    return connectivity.unrolled() if _listable(layer, connectivity.synapses) else None


def dense(layer: Layer, weights: Array, rows: int | None, columns: int, entry: str = "weight") -> Built | None:
    """Return an all-to-all connection from weights of rank 1 (rows times columns) or 2, or of higher rank with trailing ones.

    Args:
        layer: the layer.
        weights: as stored.
        rows: neurons the layer declares, or None.
        columns: values that arrive.
        entry: the weights' name in the file.
    """
    if weights.ndim == 1:
        height = rows or 1
        if weights.size != height * columns:
            layer.mismatch(f"{entry} of {layer.title} has {weights.size} entries for {height} x {columns} synapses", entry)
            return None
        weights = weights.reshape(height, -1)
    if weights.ndim > 2 and prod(weights.shape[2:]) == 1:
        weights = weights.reshape(weights.shape[:2])
    if weights.ndim != 2 or 0 in weights.shape:
        layer.mismatch(f"{entry} of {layer.title} has shape {weights.shape}; (targets, sources) belongs here", entry)
        return None
    if weights.shape[1] != columns:
        layer.mismatch(
            f"{layer.title} reads {weights.shape[1]} values, but {columns} arrive", entry, f"{entry} has shape {weights.shape}"
        )
        return None
    if rows is not None and rows != weights.shape[0]:
        layer.mismatch(f"{layer.title} states {rows} neurons, but its {entry} has {weights.shape[0]} rows", "shape")
        return None
    return Built(Dense(weights), (weights.shape[0],))


def convolution(layer: Layer, weights: Array, shape: tuple[int, ...]) -> Built | None:
    """Return torch's cross-correlation with a kernel (out channels, in channels / groups, height, width[, 1])."""
    kernel, numbers = _kernel(layer, weights, shape), _numbers(layer)
    if kernel is None or numbers is None:
        return None
    try:
        conv = Conv2d(kernel, (shape[0], shape[1], shape[2]), numbers.stride, numbers.padding, numbers.dilation, numbers.groups)
    except ValueError as error:
        layer.mismatch(f"{layer.title} does not fit its input of shape {shape}: {error}", "weight")
        return None
    return Built(conv, conv.out_shape)


def pool(layer: Layer, weights: Array, shape: tuple[int, ...]) -> Built | None:
    """Return lava-dl's pooling with one kernel for all channels.

    lava-dl stacks the channels into one tall image, appends `height % kernel` rows of zeros to each channel (and columns likewise), and
    convolves that image: a window may span two channels. Where none can, this is a convolution with one group per channel.
    """
    kernel, numbers = _shared_kernel(layer, weights, shape), _numbers(layer)
    if kernel is None or numbers is None:
        return None
    (channels, height, width), (kh, kw) = shape, kernel.shape[2:]
    extra = height % kh, width % kw
    tall = 1, channels * (height + extra[0]), width + extra[1]
    try:
        if extra == (0, 0) and (numbers.stride[0], numbers.padding[0], numbers.dilation[0]) == (kh, 0, 1):
            if not layer.tree.claim(channels * kernel.size, 8, str(layer.group.where), f"the kernels of layer {layer.number}"):
                return None
            conv = Conv2d(
                np.repeat(kernel, channels, axis=0),
                (channels, height, width),
                numbers.stride,
                numbers.padding,
                numbers.dilation,
                channels,
            )
            return Built(conv, conv.out_shape)
        stacked = Conv2d(kernel, tall, numbers.stride, numbers.padding, numbers.dilation)
    except ValueError as error:
        layer.mismatch(f"{layer.title} does not fit its input of shape {shape}: {error}", "weight")
        return None
    if stacked.out_shape[1] % channels:
        layer.mismatch(
            f"{layer.title} computes {stacked.out_shape[1]} rows, which do not belong to {channels} channels",
            "weight",
            f"lava-dl pools the channels as one image of {tall[1]} rows",
        )
        return None
    listed = unrolled(layer, stacked)
    if listed is None:
        return None
    row, column = listed.indices // tall[2], listed.indices % tall[2]
    channel, row = row // (height + extra[0]), row % (height + extra[0])
    real = (row < height) & (column < width)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(listed.targets[real], minlength=listed.out_size))])
    sources = ((channel * height + row) * width + column)[real]
    connection = Sparse(indptr, sources, listed.weights[real], prod(shape))
    return Built(connection, (channels, stacked.out_shape[1] // channels, stacked.out_shape[2]))


def _transposed(
    layer: Layer, kernel: Array, shape: tuple[int, int, int], numbers: _Numbers
) -> tuple[Connectivity, tuple[int, int, int]] | None:
    """Return torch's ConvTranspose2d without output padding: kernel (in channels, out channels / groups, height, width)."""
    groups = numbers.groups
    if shape[0] % groups or kernel.shape[0] != shape[0]:
        layer.mismatch(f"{layer.title} has weight {kernel.shape} with {groups} groups, but {shape[0]} channels arrive", "weight")
        return None
    out = tuple(
        (size - 1) * s - 2 * p + d * (k - 1) + 1
        for size, s, p, d, k in zip(shape[1:], numbers.stride, numbers.padding, numbers.dilation, kernel.shape[2:], strict=True)
    )
    if min(out) < 1:
        layer.mismatch(f"{layer.title} does not fit its input of shape {shape}: the padding takes everything away", "padding")
        return None
    target = kernel.shape[1] * groups, out[0], out[1]
    padding = tuple(d * (k - 1) - p for d, k, p in zip(numbers.dilation, kernel.shape[2:], numbers.padding, strict=True))
    if numbers.stride == (1, 1) and min(padding) >= 0:
        parted = kernel.reshape(groups, shape[0] // groups, *kernel.shape[1:]).swapaxes(1, 2)
        flipped = parted.reshape(target[0], shape[0] // groups, *kernel.shape[2:])[:, :, ::-1, ::-1]
        return Conv2d(flipped, shape, (1, 1), (padding[0], padding[1]), numbers.dilation, groups), target
    if not _listable(layer, max(prod(shape) * prod(kernel.shape[1:]), prod(target))):
        return None
    # Transposed as a matrix, this is the convolution that leads from the target back to the source.
    back = Conv2d(kernel, target, numbers.stride, numbers.padding, numbers.dilation, groups).unrolled()
    order = np.lexsort((back.targets, back.indices))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(back.indices, minlength=prod(target)))])
    return Sparse(indptr, back.targets[order], back.weights[order], prod(shape)), target


def transposed(layer: Layer, weights: Array, shape: tuple[int, ...]) -> Built | None:
    """Return torch's ConvTranspose2d, kernel (in channels, out channels / groups, height, width[, 1])."""
    kernel, numbers = _kernel(layer, weights, shape), _numbers(layer)
    if kernel is None or numbers is None:
        return None
    built = _transposed(layer, kernel, (shape[0], shape[1], shape[2]), numbers)
    return None if built is None else Built(*built)


def unpool(layer: Layer, weights: Array, shape: tuple[int, ...]) -> Built | None:
    """Return lava-dl's unpooling: a transposed convolution of all channels stacked into one tall image."""
    kernel, numbers = _shared_kernel(layer, weights, shape), _numbers(layer)
    if kernel is None or numbers is None:
        return None
    channels, height, width = shape
    built = _transposed(layer, kernel, (1, channels * height, width), numbers)
    if built is None:
        return None
    connection, (_, rows, columns) = built
    if rows % channels:
        layer.mismatch(
            f"{layer.title} computes {rows} rows, which do not belong to {channels} channels",
            "weight",
            f"lava-dl unpools the channels as one image of {channels * height} rows",
        )
        return None
    if isinstance(connection, Conv2d):
        listed = unrolled(layer, connection)
        if listed is None:
            return None
        connection = listed
    return Built(connection, (channels, rows // channels, columns))


def grouped_mean(layer: Layer, outputs: int, sources: int) -> Sparse | None:
    """Return the means of equal runs of consecutive sources: (outputs) from (sources)."""
    if not _listable(layer, sources):
        return None
    share = sources // outputs
    return Sparse(np.arange(outputs + 1) * share, np.arange(sources), np.full(sources, 1.0 / share), sources)


def delays(connectivity: Dense | Sparse, steps: Array, late: Array) -> Array:
    """Return the delay of each synapse, of the shape of the weights, from steps (targets or 1, sources or 1) and late (sources or 1)."""
    if isinstance(connectivity, Dense):
        return np.broadcast_to(steps + late, connectivity.weights.shape)
    shape = connectivity.out_size, connectivity.in_size
    own = np.broadcast_to(steps, shape)[connectivity.targets, connectivity.indices]
    return np.asarray(own + np.broadcast_to(late, shape[1])[connectivity.indices])
