"""What a slice of a population takes on a Loihi 2 core, in closed form.

The model is read from the compiler outputs stored in lava-dl's netx notebooks: one pool of 20 000 words of 64 bits per core holds synapse
memory, input axons, the axon map, axon memory and one word per neuron, and each kind has a cap of its own (`chip.toml`). A dense synapse
takes its weight bits and a 12-bit index, zeros included; rows of a convolution kernel have no index and are shared by all neurons.
"""

from __future__ import annotations

from math import prod

import numpy as np

from nmap.compile import conv_halo
from nmap.connectivity import Array, Conv2d, Dense
from nmap.program import Slice, box_size, slice_indices, slice_size
from nmap.quantized import QuantizedNetwork, QuantizedProjection
from nmap.target.backend import Demand, NeuronDemand
from nmap.target.spec import ChipSpec

__all__ = ["demand", "demand_at_most", "demand_floor", "neuron_demand"]

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


def _row_words(channels: int, bits: int) -> int:
    """Words of one kernel row that serves that many output channels."""
    return _words(channels * bits + _HEADER_BITS) if channels else 0


def _conv_words(conv: Conv2d, bits: int, low: int, high: int) -> int:
    """Words of the kernel rows of output channels low..high-1: one row per listening input channel and tap."""
    per_in, per_out = conv.in_shape[0] // conv.groups, conv.weights.shape[0] // conv.groups
    first = min(per_out - low % per_out, high - low)
    whole, left = divmod(high - low - first, per_out)
    rows = _row_words(first, bits) + whole * _row_words(per_out, bits) + _row_words(left, bits)
    return rows * per_in * prod(conv.kernel_size)


def _synapses(projection: QuantizedProjection, part: Slice, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (input axons, synapse words) of a projection into a slice, a box for a convolution."""
    whole, bits = projection.connectivity, _width(projection)
    if isinstance(whole, Conv2d):
        if not isinstance(part, tuple):
            raise ValueError(f"the targets of the convolution {projection.name} are not a box")
        if not box_size(conv_halo(whole, part)):
            return 0, 0  # a tile that reads padding only
        return _CONV_AXONS, _conv_words(whole, bits, *part[0])
    if isinstance(whole, Dense):
        return whole.in_size, whole.in_size * _words(slice_size(part) * (_INDEX_BITS + bits) + _HEADER_BITS)
    per_axon = np.bincount(whole.indices[whole.entries(slice_indices(part, shape))], minlength=whole.in_size)
    per_axon = per_axon[per_axon > 0]
    return int(per_axon.size), int(-(-(per_axon * (_INDEX_BITS + bits) + _HEADER_BITS) // _WORD).sum()) if per_axon.size else 0


def _total(neurons: int, parts: list[tuple[int, int]]) -> Demand:
    axons, words = sum(p[0] for p in parts), sum(p[1] for p in parts)
    return {
        "neurons": neurons, "neuron_groups": 1, "synapse_memory": words, "input_axons": axons, "axon_map": neurons, "axon_words": 0,
        "memory_words": words + axons + 2 * neurons,
    }


def demand(network: QuantizedNetwork, population: str, part: Slice) -> Demand:
    """See `nmap.target.backend.Target.demand`."""
    shape = network[population].shape
    return _total(slice_size(part), [_synapses(p, part, shape) for p in network.afferents(population)])


def _list_bits(synapses: Array, width: int) -> tuple[Array, int]:
    """Return what an axon's synapse list takes beyond `width` bits a synapse: (most, least) bits, the header and the last word's rest.

    Args:
        synapses: most synapses that the axon may have on a core, any shape; a core with fewer takes no more beyond them.
        width: bits of a synapse.
    """
    count = np.arange(1, int(synapses.max(initial=1)) + 1)
    beyond = -(-(count * width + _HEADER_BITS) // _WORD) * _WORD - count * width
    return np.maximum.accumulate(beyond)[np.maximum(synapses, 1) - 1], int(beyond.min())


def neuron_demand(network: QuantizedNetwork, population: str) -> NeuronDemand:
    """See `nmap.target.backend.Target.neuron_demand`; in bits, so that the words of an axon's list have fractions.

    Raises:
        ValueError: an afferent is a convolution.
    """
    resources = ("neurons", "neuron_groups", "synapse_memory", "input_axons", "axon_map", "axon_words", "memory_words")
    neurons, groups, memory, axons, axon_map, _, pool = range(len(resources))
    n = network[population].size
    neuron = np.zeros((len(resources), n), np.int64)
    neuron[[neurons, axon_map]], neuron[pool] = _WORD, 2 * _WORD
    most: list[Array] = []
    least: list[Array] = []
    for projection in network.afferents(population):
        whole, width = projection.connectivity, _INDEX_BITS + _width(projection)
        if isinstance(whole, Conv2d):
            raise ValueError(f"{projection.name} is a convolution: its neurons share their synapses")
        if isinstance(whole, Dense):
            neuron[[memory, pool]] += whole.in_size * width
            largest, smallest = _list_bits(np.array([n]), width)
        else:
            neuron[[memory, pool]] += np.diff(whole.indptr) * width
            largest, smallest = _list_bits(np.bincount(whole.indices, minlength=whole.in_size), width)
        for prices, bits in ((most, largest), (least, np.array([smallest]))):
            price = np.zeros((len(resources), bits.size), np.int64)
            price[memory], price[axons], price[pool] = bits, _WORD, bits + _WORD
            prices.append(price)
    fixed = np.zeros(len(resources), np.int64)
    fixed[groups] = _WORD
    return NeuronDemand(resources, _WORD, neuron, tuple(most), fixed, np.zeros_like(fixed), tuple(least))


def demand_at_most(network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
    """See `nmap.target.backend.Target.demand_at_most`; exact for dense layers and for whole channel groups of convolutions."""
    n = int(np.prod(extent))
    parts = []
    for projection in network.afferents(population):
        whole, bits = projection.connectivity, _width(projection)
        if isinstance(whole, Conv2d):
            channels = whole.weights.shape[0]
            # Only where in its group the slice starts matters.
            starts = range(min(channels - extent[0] + 1, channels // whole.groups) if whole.groups > 1 else 1)
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


def _fewest_words(conv: Conv2d, bits: int) -> Array:
    """Return (out channels,) float64: no set of 1, 2, ... output channels has fewer words of kernel rows."""
    per_in, per_out = conv.in_shape[0] // conv.groups, conv.weights.shape[0] // conv.groups
    channels = np.arange(1, conv.weights.shape[0] + 1)
    row = -(-(channels[:per_out] * bits + _HEADER_BITS) // _WORD)
    if conv.groups == 1:
        words = row.astype(np.float64)
    else:
        # Every channel at the best price per channel, and a row for every group that is touched at least.
        words = np.maximum(channels * float((row / channels[:per_out]).min()), -(-channels // per_out) * int(row[0]))
    return np.asarray(words * per_in * prod(conv.kernel_size))


def demand_floor(network: QuantizedNetwork, population: str, spec: ChipSpec) -> dict[str, float]:
    """See `nmap.target.backend.Target.demand_floor`; holds for every cut into pieces that fit a core, not only into boxes.

    A piece of n neurons of a convolution has neurons of at least n / (height width) channels, and stores the kernel rows of all of them
    beside two words per neuron: the best price per neuron over all numbers of channels bounds the words, the largest n the pieces.
    """
    size, limits = network[population].size, {name: resource.max for name, resource in spec.resources.items()}
    convs, most = [], min(limits["neurons"], limits["axon_map"], size)
    axons, words = 0.0, 0.0
    for projection in network.afferents(population):
        whole, bits = projection.connectivity, _width(projection)
        if isinstance(whole, Conv2d):
            extents = (d * (k - 1) + 1 for d, k in zip(whole.dilation, whole.kernel_size, strict=True))
            if all(p < extent for p, extent in zip(whole.padding, extents, strict=True)):
                # No tile reads padding only, so that every piece stores the kernels of its channels.
                convs.append(_fewest_words(whole, bits))
        elif isinstance(whole, Dense):
            n = np.arange(1, size + 1)
            stored = whole.in_size * -(-(n * (_INDEX_BITS + bits) + _HEADER_BITS) // _WORD)
            # The cheapest words per neuron any piece size gives; a piece pays its header and its last word's padding.
            words += size * float((stored / n).min())
            most = min(most, max(1, int(np.count_nonzero(stored <= limits["synapse_memory"]))))
            axons += whole.in_size
        else:
            # The lists of an axon on several cores, each with a header and a rest, take no less than one list of all of its synapses.
            everywhere = _synapses(projection, np.arange(size), network[population].shape)
            axons += everywhere[0]
            words += everywhere[1]
    dense = sum(p.connectivity.in_size for p in network.afferents(population) if isinstance(p.connectivity, Dense))
    kernels, shared = 0.0, 0.0
    if convs:
        kernel = np.sum(convs, axis=0)
        inputs = _CONV_AXONS * len(convs)
        room = np.minimum((limits["memory_words"] - kernel - inputs) // 2, np.arange(1, kernel.size + 1) * (size // kernel.size))
        fits = (kernel <= limits["synapse_memory"]) & (room >= 1)
        largest = np.minimum(room[fits], most)
        if largest.size:
            most = int(largest.max())
            kernels = size * float((kernel[fits] / largest).min())
            shared = size * float(((kernel[fits] + inputs) / largest).min())
    pieces = -(-size // most)
    axons += dense * (pieces - 1) + _CONV_AXONS * len(convs) * pieces
    return {
        "neurons": float(size), "neuron_groups": float(pieces), "synapse_memory": words + kernels, "input_axons": axons,
        "axon_map": float(size), "axon_words": 0.0,
        "memory_words": words + axons + 2.0 * size + max(kernels, shared - _CONV_AXONS * len(convs) * pieces),
    }
