"""Compiled inner loops of the emulator: spikes into dendritic accumulators.

Rows are (step, sample) pairs, steps outermost, so that one call serves any number of samples and steps; a spike of row r acts in row
r + shift. Every function skips silent sources, so its time grows with spikes, not with synapses.
"""

from __future__ import annotations

from typing import Any

import numba

from nmap.compiled import compiled

__all__ = ["add_conv", "add_dense", "add_sparse"]


@compiled("void(int32[:,::1], int32[::1], int32[:,::1], boolean, int64, int64, int64, int64[:,::1])", boundscheck=False)
def add_dense(
    spikes: Any, axon_of: Any, weights: Any, binary: bool, first: int, last: int, shift: int, out: Any
) -> None:
    """Add weight rows of the spiking sources: out[r + shift] += weights[axon_of[k]] for every spike k of rows first..last-1.

    Args:
        spikes: (rows, sources) payloads.
        axon_of: (sources,) row of `weights` a source drives, -1 for none.
        weights: (axons, targets).
        binary: any payload acts as 1.
        out: (rows, targets).
    """
    sources, targets = spikes.shape[1], weights.shape[1]
    for row in range(first, min(last, out.shape[0] - shift)):
        for k in range(sources):
            payload = spikes[row, k]
            if payload != 0 and axon_of[k] >= 0:
                if binary:
                    payload = 1
                axon = axon_of[k]
                for j in range(targets):
                    out[row + shift, j] += numba.int64(weights[axon, j]) * payload


@compiled(
    "void(int32[:,::1], int32[::1], int64[::1], int32[::1], int32[::1], boolean, int64, int64, int64, int64[:,::1])", boundscheck=False
)
def add_sparse(
    spikes: Any, axon_of: Any, indptr: Any, targets: Any, weights: Any, binary: bool, first: int, last: int, shift: int, out: Any
) -> None:
    """As `add_dense`, with synapses listed by axon: those of axon a are indptr[a]..indptr[a + 1]."""
    sources = spikes.shape[1]
    for row in range(first, min(last, out.shape[0] - shift)):
        for k in range(sources):
            payload = spikes[row, k]
            if payload != 0 and axon_of[k] >= 0:
                if binary:
                    payload = 1
                axon = axon_of[k]
                for s in range(indptr[axon], indptr[axon + 1]):
                    out[row + shift, targets[s]] += numba.int64(weights[s]) * payload


@compiled(
    "void(int32[:,::1], int32[::1], int32[:,:,:,::1], int64[::1], boolean, int64, int64, int64, int64[:,:,:,::1])", boundscheck=False
)
def add_conv(
    spikes: Any, axon_of: Any, kernel: Any, geometry: Any, binary: bool, first: int, last: int, shift: int, out: Any
) -> None:
    """As `add_dense`, for a tile of a convolution; kernel rows are never materialised.

    Args:
        kernel: (in channels / groups, kernel height, kernel width, tile channels).
        geometry: in-box start and extent (c0, y0, x0, height, width), tile start (channel, row, column), stride, padding, dilation
            (height, width each), in and out channels per group: 5 + 3 + 6 + 2 numbers.
        out: (rows, tile height, tile width, tile channels).
    """
    c0, y0, x0, in_height, in_width = geometry[0], geometry[1], geometry[2], geometry[3], geometry[4]
    tile_channel, tile_row, tile_column = geometry[5], geometry[6], geometry[7]
    stride_y, stride_x, pad_y, pad_x, dilation_y, dilation_x = (
        geometry[8], geometry[9], geometry[10], geometry[11], geometry[12], geometry[13]
    )
    per_in, per_out = geometry[14], geometry[15]
    height, width, channels = out.shape[1], out.shape[2], out.shape[3]
    sources = spikes.shape[1]
    for row in range(first, min(last, out.shape[0] - shift)):
        for k in range(sources):
            payload = spikes[row, k]
            if payload == 0 or axon_of[k] < 0:
                continue
            if binary:
                payload = 1
            axon = axon_of[k]
            c = c0 + axon // (in_height * in_width)
            y = y0 + axon // in_width % in_height
            x = x0 + axon % in_width
            group = c // per_in
            low = max(group * per_out - tile_channel, 0)
            high = min((group + 1) * per_out - tile_channel, channels)
            for i in range(kernel.shape[1]):
                at = y + pad_y - i * dilation_y
                if at < 0 or at % stride_y != 0:
                    continue
                oy = at // stride_y - tile_row
                if oy < 0 or oy >= height:
                    continue
                for j in range(kernel.shape[2]):
                    at = x + pad_x - j * dilation_x
                    if at < 0 or at % stride_x != 0:
                        continue
                    ox = at // stride_x - tile_column
                    if ox < 0 or ox >= width:
                        continue
                    for q in range(low, high):
                        out[row + shift, oy, ox, q] += numba.int64(kernel[c % per_in, i, j, q]) * payload
