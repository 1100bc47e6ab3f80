"""What a slice of a population takes on a core, in closed form, by the chip's `MemoryModel`.

Loihi 2's model is read from the compiler outputs stored in lava-dl's netx notebooks: one pool of 20 000 words of 64 bits per core holds
synapse memory, input axons, the axon map, axon memory and the neurons' states, and each kind has a cap of its own (`chip.toml`). A dense
synapse takes its weight bits and a 12-bit index, zeros included; rows of a convolution kernel have no index and are shared by all neurons
of the core. Loihi 1's is nengo-loihi's (`loihi1.toml`): lists of synapses in runs of 64, tables of parameter sets, convolutions listed
synapse by synapse. A listed convolution is never expanded: how many synapses a source has on a tile is a product of three numbers, one per
dimension, so that a count of each number's values is enough.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from math import prod

import numpy as np

from nmap.compile import conv_halo
from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.program import Slice, box_size, slice_indices, slice_size
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.backend import Demand, NeuronDemand
from nmap.target.spec import ChipSpec
from nmap_loihi2.memory import LOIHI2, MemoryModel, Profile

__all__ = ["demand", "demand_at_most", "demand_floor", "neuron_demand"]

_WORD = 64
_CONV_AXONS = 2
"""Input axons of a convolution with shared kernels per core: the published compilations show one or two, never one per source neuron."""
_FAR = 8
"""Padding beyond which tiles at the edge are not told apart from those inside, which take no less."""


def _words(bits: int) -> int:
    return -(-bits // _WORD)


def _stored(projection: QuantizedProjection) -> int:
    """Memory bits of one weight: there is no 7-bit format."""
    return 8 if projection.format.bits == 7 else projection.format.bits


def _delayed(projection: QuantizedProjection) -> bool:
    return projection.delay > 0 or projection.delays is not None


def _width(projection: QuantizedProjection, model: MemoryModel) -> int:
    """Memory bits of one listed synapse."""
    index = model.dense_index if isinstance(projection.connectivity, Dense) else model.sparse_index
    return _stored(projection) + index + (model.delay if _delayed(projection) else 0)


def _shared(projection: QuantizedProjection, model: MemoryModel) -> bool:
    """Whether a projection is a convolution whose kernel rows the neurons of a core share."""
    return isinstance(projection.connectivity, Conv2d) and model.shared_kernels and not _delayed(projection)


def _list_words(synapses: Array, width: int, model: MemoryModel) -> Array:
    """Return the words of the lists of axons with so many synapses on a core, of the same shape."""
    runs, rest = np.divmod(synapses, model.run)
    return runs * _words(model.run * width + model.header) + (rest > 0) * -(-(rest * width + model.header) // _WORD)


def _row_words(channels: int, bits: int, model: MemoryModel) -> int:
    """Words of one kernel row that serves that many output channels."""
    return _words(channels * bits + model.header) if channels else 0


def _by_group(conv: Conv2d, low: int, high: int) -> tuple[tuple[int, int], ...]:
    """Return (output channels, groups) of the groups that output channels low..high-1 touch: so many groups with so many channels."""
    per_out = conv.weights.shape[0] // conv.groups
    first = min(per_out - low % per_out, high - low)
    whole, left = divmod(high - low - first, per_out)
    return ((first, 1), (per_out, whole), (left, 1 if left else 0))


def _starts(conv: Conv2d, channels: int) -> range:
    """Return where slices of so many output channels begin, one for every way they may take from groups: that alone matters."""
    return range(min(conv.weights.shape[0] - channels + 1, conv.weights.shape[0] // conv.groups) if conv.groups > 1 else 1)


def _conv_words(conv: Conv2d, bits: int, low: int, high: int, model: MemoryModel) -> int:
    """Words of the kernel rows of output channels low..high-1: one row per listening input channel and tap."""
    rows = sum(groups * _row_words(channels, bits, model) for channels, groups in _by_group(conv, low, high))
    return rows * int(conv.weights.shape[1]) * prod(conv.kernel_size)


def _reached(conv: Conv2d, axis: int, low: int, high: int) -> Array:
    """Return how many source rows (axis 0) or columns (1) reach 0, 1, 2, ... of the outputs low..high-1, int64; padding left out."""
    size = conv.in_shape[axis + 1]
    taps = np.arange(conv.kernel_size[axis]) * conv.dilation[axis] - conv.padding[axis]
    at = np.arange(low, high)[:, None] * conv.stride[axis] + taps
    inside = at[(at >= 0) & (at < size)]
    return np.bincount(np.bincount(inside - inside.min())) if inside.size else np.zeros(1, np.int64)


def _listed_words(conv: Conv2d, width: int, channels: tuple[tuple[int, int], ...], rows: Array, columns: Array, model: MemoryModel) -> int:
    """Words of a convolution's lists on a tile: `channels` of `_by_group`, `rows` and `columns` of `_reached`."""
    outputs = np.arange(rows.size)[:, None] * np.arange(columns.size)
    sources = rows[:, None] * columns
    words = sum(groups * int((_list_words(outputs * count, width, model) * sources).sum()) for count, groups in channels)
    return words * int(conv.weights.shape[1])


def _synapses(projection: QuantizedProjection, part: Slice, shape: tuple[int, ...], model: MemoryModel) -> tuple[int, int]:
    """Return (input axons, synapse words) of a projection into a slice, a box for a convolution."""
    whole = projection.connectivity
    if isinstance(whole, Conv2d):
        if not isinstance(part, tuple):
            raise ValueError(f"the targets of the convolution {projection.name} are not a box")
        heard = box_size(conv_halo(whole, part))
        if not heard:
            return 0, 0  # a tile that reads padding only
        if _shared(projection, model):
            return _CONV_AXONS, _conv_words(whole, _stored(projection), *part[0], model)
        rows, columns = (_reached(whole, axis, *part[axis + 1]) for axis in (0, 1))
        return heard, _listed_words(whole, _width(projection, model), _by_group(whole, *part[0]), rows, columns, model)
    width = _width(projection, model)
    if isinstance(whole, Dense):
        return whole.in_size, whole.in_size * int(_list_words(np.asarray(slice_size(part)), width, model))
    per_axon = np.bincount(whole.indices[whole.entries(slice_indices(part, shape))], minlength=whole.in_size)
    return int(np.count_nonzero(per_axon)), int(_list_words(per_axon, width, model).sum())


@lru_cache(maxsize=16)
def _entries(population: QuantizedPopulation, params: tuple[str, ...]) -> Array:
    """Return which set of parameters every neuron has, (n,) int64 from 0 on."""
    values = np.stack([population.params[name] for name in params])
    if (values == values[:, :1]).all():
        return np.zeros(population.size, np.int64)
    return np.asarray(np.unique(values, axis=1, return_inverse=True)[1].reshape(-1), np.int64)


def _distinct(population: QuantizedPopulation, profile: Profile) -> int:
    return int(_entries(population, profile.params).max(initial=0)) + 1


def _each(population: QuantizedPopulation, profile: Profile, conv: bool) -> bool:
    """Whether every neuron counts as an entry of its own: of a population with more sets than a core's table has.

    One with fewer is charged with all of them on every core, which both hold for any choice of neurons. Only the boxes that convolutions
    are cut into are counted as they are.
    """
    return not conv and _distinct(population, profile) > profile.most


def _formats(projections: tuple[QuantizedProjection, ...]) -> int:
    """Synapse formats of the projections that have synapses."""
    return len({
        (_stored(p), p.format.exponent, p.format.sign, _delayed(p), isinstance(p.connectivity, Dense))
        for p in projections if not isinstance(p.connectivity, Sparse) or p.connectivity.synapses
    })


def _has_conv(projections: tuple[QuantizedProjection, ...]) -> bool:
    return any(isinstance(p.connectivity, Conv2d) for p in projections)


def _by_position(network: QuantizedNetwork, population: str, model: MemoryModel) -> bool:
    """Whether the neurons at one position of a tile's plane share a word of the axon map: no one reads them neuron by neuron.

    Convolutions with shared kernels do not; dense, sparse and listed connections do, and whoever takes an output's spikes. Populations
    that are not fed by convolutions may be cut into index lists, which have no plane: each of their neurons has a word.
    """
    return population not in network.outputs and _has_conv(network.afferents(population)) and all(
        _shared(p, model) or (isinstance(p.connectivity, Sparse) and not p.connectivity.synapses)
        for p in network.projections if p.source == population
    )


def _total(
    network: QuantizedNetwork, population: str, neurons: int, axon_map: int, parts: list[tuple[int, int]], entries: dict[str, int],
    model: MemoryModel,
) -> Demand:
    axons, words = sum(p[0] for p in parts), sum(p[1] for p in parts)
    state = model.neuron_words.get(str(network[population].kernel), 1)
    known = {
        "neurons": neurons, "neuron_groups": 1, "synapse_memory": words, "input_axons": axons, "axon_map": axon_map, "axon_words": 0,
        "memory_words": words + axons + axon_map + state * neurons, "output_axons": 0,
        "synapse_formats": _formats(network.afferents(population)), **entries,
    }
    return {name: known[name] for name in model.resources}


def demand(network: QuantizedNetwork, population: str, part: Slice, model: MemoryModel = LOIHI2) -> Demand:
    """See `nmap.target.backend.Target.demand`."""
    whole, afferents, size = network[population], network.afferents(population), slice_size(part)
    conv, entries = _has_conv(afferents), {}
    for profile in model.profiles:
        number = _distinct(whole, profile)
        if number > 1 and conv:
            number = np.unique(_entries(whole, profile.params)[slice_indices(part, whole.shape)]).size
        elif _each(whole, profile, conv):
            number = size
        entries[profile.resource] = number
    parts = [_synapses(p, part, whole.shape, model) for p in afferents]
    mapped = box_size(part[1:]) if isinstance(part, tuple) and _by_position(network, population, model) else size
    return _total(network, population, size, mapped, parts, entries, model)


def _list_bits(synapses: Array, width: int, model: MemoryModel) -> tuple[int, Array, int]:
    """Return the bits that a synapse of an axon's list takes, and what the list takes beyond them: (most, least) bits.

    Synapses are priced as in full runs, so that what lists take beyond does not grow with them.

    Args:
        synapses: most synapses that the axon may have on a core, any shape; a core with fewer takes no more beyond them.
        width: bits of a synapse.
        model: of the chip.
    """
    price = width
    if model.run <= _WORD:
        price = _words(model.run * width + model.header) * _WORD // model.run
    count = np.arange(1, int(synapses.max(initial=1)) + 1)
    beyond = _list_words(count, width, model) * _WORD - count * price
    return price, np.maximum.accumulate(beyond)[np.maximum(synapses, 1) - 1], int(beyond.min())


def neuron_demand(network: QuantizedNetwork, population: str, model: MemoryModel = LOIHI2) -> NeuronDemand:
    """See `nmap.target.backend.Target.neuron_demand`; in bits, so that the words of an axon's list have fractions.

    Raises:
        ValueError: an afferent is a convolution.
    """
    whole, afferents = network[population], network.afferents(population)
    row = {name: k for k, name in enumerate(model.resources)}
    pooled = [row[name] for name in ("synapse_memory", "memory_words") if name in row]
    neuron = np.zeros((len(row), whole.size), np.int64)
    fixed, route = np.zeros(len(row), np.int64), np.zeros(len(row), np.int64)
    state = model.neuron_words.get(str(whole.kernel), 1)
    for prices, name, amount in (
        (neuron, "neurons", 1), (neuron, "axon_map", 1), (neuron, "memory_words", 1 + state), (fixed, "neuron_groups", 1),
        (fixed, "synapse_formats", _formats(afferents)), (route, "output_axons", 1),
    ):
        if name in row:
            prices[row[name]] = amount * _WORD
    for profile in model.profiles:
        if _each(whole, profile, conv=False):
            neuron[row[profile.resource]] = _WORD
        else:
            fixed[row[profile.resource]] = _distinct(whole, profile) * _WORD
    most: list[Array] = []
    least: list[Array] = []
    for projection in afferents:
        synapses = projection.connectivity
        if isinstance(synapses, Conv2d):
            raise ValueError(f"{projection.name} is a convolution: its neurons share their synapses")
        if isinstance(synapses, Dense):
            number, listed = np.asarray(synapses.in_size), np.array([whole.size])
        else:
            number, listed = np.diff(synapses.indptr), np.bincount(synapses.indices, minlength=synapses.in_size)
        price, largest, smallest = _list_bits(listed, _width(projection, model), model)
        neuron[pooled] += number * price
        for amounts, bits in ((most, largest), (least, np.array([smallest]))):
            axon = np.zeros((len(row), bits.size), np.int64)
            axon[pooled] = bits
            for name in ("input_axons", "memory_words"):
                if name in row:
                    axon[row[name]] += _WORD
            amounts.append(axon)
    return NeuronDemand(model.resources, _WORD, neuron, tuple(most), fixed, route, tuple(least))


def _positions(conv: Conv2d, axis: int, size: int) -> list[tuple[int, int]]:
    """Return slices of so many outputs along an axis, one for every way in which the source's edges may cut their inputs.

    Those that nothing cuts are all alike.
    """
    pad, stride, last = conv.padding[axis], conv.stride[axis], conv.out_shape[axis + 1] - size
    reach = conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
    first = min(-(-pad // stride), last + 1)
    beyond = max((conv.in_shape[axis + 1] + pad - reach) // stride - size + 2, first)
    return [(low, low + size) for low in sorted({*range(first), min(first, last), *range(min(beyond, last + 1), last + 1)})]


def _listed_at_most(conv: Conv2d, width: int, extent: tuple[int, ...], model: MemoryModel) -> tuple[int, int]:
    """Return the most (input axons, synapse words) of a listed convolution over all boxes of an extent."""
    if max(conv.padding) > _FAR:
        return _unclipped(conv, width, extent, model)
    groups = list({tuple(g for g in _by_group(conv, low, low + extent[0]) if g[1]) for low in _starts(conv, extent[0])})
    tall, wide = (_positions(conv, axis, extent[axis + 1]) for axis in (0, 1))
    rows, columns = ([_reached(conv, axis, *place) for place in places] for axis, places in enumerate((tall, wide)))
    words = max(
        _listed_words(conv, width, group, row, column, model) for group in groups for row, column in product(rows, columns)
    )
    channels_heard = max(sum(g[1] for g in group) for group in groups) * int(conv.weights.shape[1])
    return channels_heard * max(_span(conv, 0, *place) for place in tall) * max(_span(conv, 1, *place) for place in wide), words


def _span(conv: Conv2d, axis: int, low: int, high: int) -> int:
    """Return the source rows or columns between the first and the last tap of outputs low..high-1, cut at the edges."""
    start = low * conv.stride[axis] - conv.padding[axis]
    stop = (high - 1) * conv.stride[axis] - conv.padding[axis] + conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
    return max(0, min(stop, conv.in_shape[axis + 1]) - max(start, 0))


def _unclipped(conv: Conv2d, width: int, extent: tuple[int, ...], model: MemoryModel) -> tuple[int, int]:
    """Return the (input axons, synapse words) of a tile as if its source had no edges; no tile of the extent takes more."""
    height, breadth = (
        (size - 1) * s + d * (k - 1) + 1 for size, s, d, k in zip(extent[1:], conv.stride, conv.dilation, conv.kernel_size, strict=True)
    )
    endless = Conv2d(conv.weights, (conv.in_shape[0], height, breadth), conv.stride, (0, 0), conv.dilation, conv.groups)
    return _listed_at_most(endless, width, extent, model)


def demand_at_most(network: QuantizedNetwork, population: str, extent: tuple[int, ...], model: MemoryModel = LOIHI2) -> Demand:
    """See `nmap.target.backend.Target.demand_at_most`; exact for dense layers and for whole channel groups of convolutions."""
    whole, afferents, n = network[population], network.afferents(population), prod(extent)
    parts = []
    for projection in afferents:
        synapses, width = projection.connectivity, _width(projection, model)
        if isinstance(synapses, Conv2d) and _shared(projection, model):
            starts = _starts(synapses, extent[0])
            words = max(_conv_words(synapses, _stored(projection), low, low + extent[0], model) for low in starts)
            parts.append((_CONV_AXONS, words))
        elif isinstance(synapses, Conv2d):
            parts.append(_listed_at_most(synapses, width, extent, model))
        elif isinstance(synapses, Dense):
            parts.append((synapses.in_size, synapses.in_size * int(_list_words(np.asarray(n), width, model))))
        else:
            # No slice of n neurons holds more synapses than the n most connected ones, nor more axons than synapses.
            degrees = np.sort(np.diff(synapses.indptr))[::-1]
            listed = int(degrees[:n].sum())
            axons = min(listed, synapses.in_size)
            runs = axons + listed // model.run
            parts.append((axons, (listed * width + runs * (model.header + _WORD - 1)) // _WORD))
    conv, entries = _has_conv(afferents), {}
    for profile in model.profiles:
        number = _distinct(whole, profile)
        if number > 1 and conv:
            sets = _entries(whole, profile.params).reshape(whole.shape[0], -1)
            number = min(number, extent[0] if (sets == sets[:, :1]).all() else n)
        elif _each(whole, profile, conv):
            number = n
        entries[profile.resource] = number
    mapped = prod(extent[1:]) if _by_position(network, population, model) else n
    return _total(network, population, n, mapped, parts, entries, model)


def _fewest_words(conv: Conv2d, bits: int, model: MemoryModel) -> Array:
    """Return (out channels,) float64: no set of 1, 2, ... output channels has fewer words of kernel rows."""
    per_in, per_out = conv.in_shape[0] // conv.groups, conv.weights.shape[0] // conv.groups
    channels = np.arange(1, conv.weights.shape[0] + 1)
    row = -(-(channels[:per_out] * bits + model.header) // _WORD)
    if conv.groups == 1:
        words = row.astype(np.float64)
    else:
        # Every channel at the best price per channel, and a row for every group that is touched at least.
        words = np.maximum(channels * float((row / channels[:per_out]).min()), -(-channels // per_out) * int(row[0]))
    return np.asarray(words * per_in * prod(conv.kernel_size))


def _least_words(synapses: Array, width: int, model: MemoryModel) -> Array:
    """Return words that the lists of axons with so many synapses in all take at least, on however many cores they lie.

    No cut saves bits of synapses, nor has fewer runs than full ones make.
    """
    return -(-(synapses * width + -(-synapses // model.run) * model.header) // _WORD)


def _everywhere(projection: QuantizedProjection, model: MemoryModel) -> tuple[int, int]:
    """Return the least (input axons, synapse words) of a sparse projection or a listed convolution in any cut: every axon once."""
    synapses, width = projection.connectivity, _width(projection, model)
    if isinstance(synapses, Sparse):
        per_axon = np.bincount(synapses.indices, minlength=synapses.in_size)
        return int(np.count_nonzero(per_axon)), int(_least_words(per_axon, width, model).sum())
    assert isinstance(synapses, Conv2d)
    rows, columns = (_reached(synapses, axis, 0, synapses.out_shape[axis + 1]) for axis in (0, 1))
    per_out = synapses.weights.shape[0] // synapses.groups
    reached = np.arange(rows.size)[:, None] * np.arange(columns.size) * per_out
    sources = rows[:, None] * columns * synapses.in_shape[0]
    return int(sources[reached > 0].sum()), int((_least_words(reached, width, model) * sources).sum())


def demand_floor(network: QuantizedNetwork, population: str, spec: ChipSpec, model: MemoryModel = LOIHI2) -> dict[str, float]:
    """See `nmap.target.backend.Target.demand_floor`; holds for every cut into pieces that fit a core, not only into boxes.

    A piece of n neurons of a convolution with shared kernels has neurons of at least n / (height width) channels, and stores the kernel
    rows of all of them beside the words of its neurons: the best price per neuron over all numbers of channels bounds the words, the
    largest n the pieces.
    """
    whole, afferents = network[population], network.afferents(population)
    size, limits = whole.size, {name: resource.max for name, resource in spec.resources.items()}
    state, plane = model.neuron_words.get(str(whole.kernel), 1), _by_position(network, population, model)
    # A position of a tile has one neuron per channel of the tile at most.
    mapped = size // whole.shape[0] if plane else size
    conv = _has_conv(afferents)
    single = [profile.resource for profile in model.profiles if _each(whole, profile, conv)]
    most = min(size, *(limits[name] for name in ("neurons", *(() if plane else ("axon_map",)), *single) if name in limits))
    convs, dense, axons, words = [], 0, 0.0, 0.0
    for projection in afferents:
        synapses = projection.connectivity
        if isinstance(synapses, Conv2d) and _shared(projection, model):
            extents = (d * (k - 1) + 1 for d, k in zip(synapses.dilation, synapses.kernel_size, strict=True))
            if all(p < extent for p, extent in zip(synapses.padding, extents, strict=True)):
                # No tile reads padding only, so that every piece stores the kernels of its channels.
                convs.append(_fewest_words(synapses, _stored(projection), model))
        elif isinstance(synapses, Dense):
            n = np.arange(1, size + 1)
            stored = synapses.in_size * _list_words(n, _width(projection, model), model)
            # The cheapest words per neuron any piece size gives; a piece pays its header and its last word's padding.
            words += size * float((stored / n).min())
            most = min(most, max(1, int(np.count_nonzero(stored <= limits["synapse_memory"]))))
            dense += synapses.in_size
        else:
            # The lists of an axon on several cores take no less than the list of all of its synapses would, run by run.
            everywhere = _everywhere(projection, model)
            axons += everywhere[0]
            words += everywhere[1]
    kernels, shared, inputs = 0.0, 0.0, _CONV_AXONS * len(convs)
    if convs:
        kernel = np.sum(convs, axis=0)
        channels = np.arange(1, kernel.size + 1)
        sharing = channels if plane else 1
        room = np.minimum(
            sharing * (limits["memory_words"] - kernel - inputs) // (1 + state * sharing), channels * (size // kernel.size)
        )
        fits = (kernel <= limits["synapse_memory"]) & (room >= 1)
        largest = np.minimum(room[fits], most)
        if largest.size:
            most = int(largest.max())
            kernels = size * float((kernel[fits] / largest).min())
            shared = size * float(((kernel[fits] + inputs) / largest).min())
    pieces = -(-size // most)
    axons += (dense + inputs) * pieces
    known = {
        "neurons": float(size), "neuron_groups": float(pieces), "synapse_memory": words + kernels, "input_axons": axons,
        "axon_map": float(mapped), "axon_words": 0.0,
        "memory_words": words + axons + float(mapped + state * size) + max(kernels, shared - inputs * pieces),
        "output_axons": 0.0, "synapse_formats": float(_formats(afferents) * pieces),
    }
    for profile in model.profiles:
        number = _distinct(whole, profile)
        known[profile.resource] = float(size if profile.resource in single else max(number, pieces) if conv else number * pieces)
    return {name: known[name] for name in model.resources}
