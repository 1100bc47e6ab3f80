"""What a slice of a population takes on a Loihi 2 core, in closed form.

The model is read from the compiler outputs stored in lava-dl's netx notebooks: one pool of 20 000 words of 64 bits per core holds synapse
memory, input axons, the axon map, axon memory and one word per neuron, and each kind has a cap of its own (`chip.toml`). A dense synapse
takes its weight bits and a 12-bit index, zeros included; rows of a convolution kernel have no index and are shared by all neurons.
"""

from __future__ import annotations

import numpy as np

from nmap.compile import conv_halo
from nmap.connectivity import Conv2d, Dense
from nmap.program import Box, box_indices, box_size
from nmap.quantized import QuantizedNetwork, QuantizedProjection
from nmap.target.backend import Demand

__all__ = ["demand", "demand_at_most", "demand_floor"]

_INDEX_BITS = 12
_HEADER_BITS = 10
_WORD = 64
_CONV_AXONS = 2
"""Input axons of a convolution per core: the published compilations show one or two, never one per source neuron."""


def _words(bits: int) -> int:
    return -(-bits // _WORD)


def _width(projection: QuantizedProjection) -> int:
    """Memory bits of one weight: there is no 7-bit format."""
    return 8 if projection.format.bits == 7 else projection.format.bits


def _conv_words(conv: Conv2d, bits: int, low: int, high: int) -> int:
    """Words of the kernel rows of output channels low..high-1: one row per listening input channel and tap."""
    per_in, per_out = conv.in_shape[0] // conv.groups, conv.weights.shape[0] // conv.groups
    kh, kw = conv.kernel_size
    rows = 0
    for group in range(low // per_out, (high - 1) // per_out + 1):
        here = min((group + 1) * per_out, high) - max(group * per_out, low)
        rows += per_in * _words(here * bits + _HEADER_BITS)
    return rows * kh * kw


def _synapses(projection: QuantizedProjection, box: Box, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (input axons, synapse words) of a projection into a box."""
    whole, bits = projection.connectivity, _width(projection)
    if isinstance(whole, Conv2d):
        if not box_size(conv_halo(whole, box)):
            return 0, 0  # a tile that reads padding only
        return _CONV_AXONS, _conv_words(whole, bits, *box[0])
    if isinstance(whole, Dense):
        return whole.in_size, whole.in_size * _words(box_size(box) * (_INDEX_BITS + bits) + _HEADER_BITS)
    rows = np.zeros(whole.out_size, bool)
    rows[box_indices(box, shape)] = True
    per_axon = np.bincount(whole.indices[rows[whole.targets]], minlength=whole.in_size)
    per_axon = per_axon[per_axon > 0]
    return int(per_axon.size), int(-(-(per_axon * (_INDEX_BITS + bits) + _HEADER_BITS) // _WORD).sum()) if per_axon.size else 0


def _total(neurons: int, parts: list[tuple[int, int]]) -> Demand:
    axons, words = sum(p[0] for p in parts), sum(p[1] for p in parts)
    return {
        "neurons": neurons, "neuron_groups": 1, "synapse_memory": words, "input_axons": axons, "axon_map": neurons, "axon_words": 0,
        "memory_words": words + axons + 2 * neurons,
    }


def demand(network: QuantizedNetwork, population: str, box: Box) -> Demand:
    """See `nmap.target.backend.Target.demand`."""
    shape = network[population].shape
    return _total(box_size(box), [_synapses(p, box, shape) for p in network.afferents(population)])


def demand_at_most(network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
    """See `nmap.target.backend.Target.demand_at_most`; exact for dense layers and for whole channel groups of convolutions."""
    n = int(np.prod(extent))
    parts = []
    for projection in network.afferents(population):
        whole, bits = projection.connectivity, _width(projection)
        if isinstance(whole, Conv2d):
            channels = whole.weights.shape[0]
            starts = range(channels - extent[0] + 1)
            if whole.groups == 1:
                starts = range(1)
            parts.append((_CONV_AXONS, max(_conv_words(whole, bits, low, low + extent[0]) for low in starts)))
        elif isinstance(whole, Dense):
            parts.append((whole.in_size, whole.in_size * _words(n * (_INDEX_BITS + bits) + _HEADER_BITS)))
        else:
            # No slice of n neurons holds more synapses than the n most connected ones, nor more axons than synapses.
            degrees = np.sort(np.diff(whole.indptr))[::-1]
            synapses = int(degrees[:n].sum())
            axons = min(synapses, whole.in_size)
            bits_total = synapses * (_INDEX_BITS + bits) + axons * (_HEADER_BITS + _WORD - 1)
            parts.append((axons, bits_total // _WORD))
    return _total(n, parts)


def demand_floor(network: QuantizedNetwork, population: str) -> dict[str, float]:
    """See `nmap.target.backend.Target.demand_floor`."""
    size = network[population].size
    axons, words = 0.0, 0.0
    for projection in network.afferents(population):
        whole, bits = projection.connectivity, _width(projection)
        if isinstance(whole, Conv2d):
            extents = (d * (k - 1) + 1 for d, k in zip(whole.dilation, whole.kernel_size, strict=True))
            if all(p < extent for p, extent in zip(whole.padding, extents, strict=True)):
                # No tile reads padding only, so every stored weight lies on at least one core.
                axons += _CONV_AXONS
                words += whole.weights.size * bits / _WORD
        elif isinstance(whole, Dense):
            n = np.arange(1, size + 1)
            # The cheapest words per neuron any piece size gives; a piece pays its header and its last word's padding.
            words += whole.in_size * size * float((-(-(n * (_INDEX_BITS + bits) + _HEADER_BITS) // _WORD) / n).min())
            axons += whole.in_size
        else:
            used = np.unique(whole.indices).size
            axons += used
            words += max(used, whole.indices.size * (_INDEX_BITS + bits) / _WORD)
    return {
        "neurons": float(size), "neuron_groups": 1.0, "synapse_memory": words, "input_axons": axons, "axon_map": float(size),
        "axon_words": 0.0, "memory_words": words + axons + 2.0 * size,
    }
