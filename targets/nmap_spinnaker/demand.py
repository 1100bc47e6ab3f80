"""What a slice of a population takes on one core: exact at a position, at most at any position, at least in any cut.

Resources (chip1.toml): `populations`, `neurons`, `sources` of a SpikeSourceArray, bytes of `dtcm` and `sdram`, and the `tick` of a busy
step in billionths; `nmap_spinnaker.layout` has the amounts. `neurons` counts the 256 places of a core: a neuron of a population with
delays above 32 steps takes several, since its core's ring buffers hold fewer neurons.

Rows of a dense afferent are counted as long as the slice, those of a convolution as long as the longest one that the box makes, for all
neurons of the source population, as sPyNNaker stores them. Of listed synapses only rows that hold something count, without padding: what
padding adds depends on the whole cut, and the chip's sum is checked with it (`nmap_spinnaker.audit`). A weight of 0 is no synapse, but a
dense or listed source counts as received wherever it is stated. Each projection's row of a spike counts as received on its own.

A convolution's rows are counted in closed form: along each axis source positions differ only by the set of taps through which they
reach the box, of which there are few.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import TypeAlias

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, Sparse, frozen_array
from nmap.program import Box, Slice, slice_indices, slice_size
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.backend import Demand, NeuronDemand
from nmap.target.spec import ChipSpec
from nmap_spinnaker.layout import (
    CELLS_PER_CORE,
    SOURCE,
    SOURCES_PER_CORE,
    cells_dtcm,
    cells_sdram,
    own_ticks,
    places_of,
    population_delay,
    population_dtcm,
    received,
    source_sdram,
    spike_ticks,
)

__all__ = ["RESOURCES", "demand", "demand_at_most", "demand_floor", "neuron_demand"]

RESOURCES = ("populations", "neurons", "sources", "dtcm", "sdram", "tick")
_Sets: TypeAlias = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """What an afferent puts onto a core: bytes of its rows, rows received when every source spikes, synapses in them."""

    sdram: int
    heard: int
    synapses: int


# ---- what does not depend on the synapses -----------------------------------------------------------------------------------------------


def _fixed(network: QuantizedNetwork, population: QuantizedPopulation, delay: int) -> tuple[int, int, int]:
    """Return what every core of a population with such a longest delay takes: dtcm, sdram, tick."""
    dtcm = population_dtcm(population.size, delay, received(network, population))
    # Lists of odd length are padded: one neuron more on every core keeps the sum of pieces simple.
    return dtcm, cells_sdram(str(population.kernel), 0) + 16, own_ticks(network.settings)[0]


def _each(network: QuantizedNetwork, population: QuantizedPopulation) -> tuple[int, int, int]:
    """Return what every neuron adds: dtcm, sdram, tick."""
    kernel = str(population.kernel)
    return cells_dtcm(kernel, 1), (cells_sdram(kernel, 2) - cells_sdram(kernel, 0)) // 2, own_ticks(network.settings)[1]


def _source_demand(sources: int) -> Demand:
    return {"populations": 1, "neurons": 0, "sources": sources, "dtcm": 0, "sdram": source_sdram(sources), "tick": 0}


def _cells_demand(network: QuantizedNetwork, population: QuantizedPopulation, neurons: int, rows: list[_Rows]) -> Demand:
    delay = population_delay(network, population.name)
    fixed, each = _fixed(network, population, delay), _each(network, population)
    dtcm, sdram, tick = (a + neurons * b for a, b in zip(fixed, each, strict=True))
    for projection, held in zip(network.afferents(population.name), rows, strict=True):
        row, synapse = _prices(network, projection)
        sdram += held.sdram
        tick += row * held.heard + synapse * held.synapses
    return {"populations": 1, "neurons": places_of(delay) * neurons, "sources": 0, "dtcm": dtcm, "sdram": sdram, "tick": tick}


def _prices(network: QuantizedNetwork, projection: QuantizedProjection) -> tuple[int, int]:
    source = network[projection.source]
    return spike_ticks(source.busy, source.size, network.settings)


# ---- exact ------------------------------------------------------------------------------------------------------------------------------


def demand(network: QuantizedNetwork, population: str, part: Slice) -> Demand:
    """See `nmap.target.backend.Target.demand`.

    Raises:
        ValueError: the targets of a convolution are not a box.
    """
    whole = network[population]
    if whole.kernel == SOURCE:
        return _source_demand(slice_size(part))
    rows = [_rows(projection, part, whole.shape) for projection in network.afferents(population)]
    return _cells_demand(network, whole, slice_size(part), rows)


def _rows(projection: QuantizedProjection, part: Slice, shape: tuple[int, ...]) -> _Rows:
    whole = projection.connectivity
    if isinstance(whole, Conv2d):
        if not isinstance(part, tuple):
            raise ValueError(f"the targets of the convolution {projection.name} are not a box")
        return _conv_rows(whole, part)
    neurons = slice_indices(part, shape)
    counts = int(_fan_in(whole)[neurons].sum())
    if isinstance(whole, Dense):
        return _Rows(_dense_bytes(whole, neurons.size), whole.in_size, counts)
    sources = np.unique(whole.indices[whole.entries(neurons)]).size
    return _Rows(12 * sources + 4 * counts, sources, counts)


def _dense_bytes(dense: Dense, neurons: int) -> int:
    return 4 * dense.in_size * (3 + neurons)


@lru_cache(maxsize=512)
def _fan_in(whole: Dense | Sparse) -> Array:
    """Return (n,) int64: the synapses of each target."""
    if isinstance(whole, Dense):
        return frozen_array(np.count_nonzero(whole.weights, axis=1), np.int64)
    return frozen_array(np.bincount(whole.targets, whole.weights != 0, minlength=whole.out_size), np.int64)


# ---- convolutions -----------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 14)
def _reach(conv: Conv2d, axis: int, start: int, stop: int) -> tuple[Array, Array]:
    """Return through which taps the sources along an axis reach targets start..stop-1.

    Returns:
        (u, taps) int64 of 0 and 1, the sets of taps that there are, none of them empty, and (u,) int64 sources of each.
    """
    taps = np.arange(conv.kernel_size[axis])
    position = np.arange(start, stop)[:, None] * conv.stride[axis] - conv.padding[axis] + taps * conv.dilation[axis]
    # Only sources between the first and the last tap: an image may be large.
    low, high = max(0, int(position.min())), min(conv.in_shape[1 + axis], int(position.max()) + 1)
    table = np.zeros((max(0, high - low), taps.size), np.int64)
    inside = (position >= low) & (position < high)
    table[position[inside] - low, np.broadcast_to(taps, position.shape)[inside]] = 1
    sets, count = np.unique(table[table.any(1)], axis=0, return_counts=True)
    return frozen_array(sets), frozen_array(count, np.int64)


@lru_cache(maxsize=64)
def _nonzero(conv: Conv2d) -> Array:
    return frozen_array(conv.weights != 0, np.int64)


@lru_cache(maxsize=1 << 14)
def _conv_rows(conv: Conv2d, box: Box) -> _Rows:
    (first, stop), rows, columns = box
    down, times = _reach(conv, 0, *rows)
    across, by = _reach(conv, 1, *columns)
    share, taps = conv.weights.shape[0] // conv.groups, _nonzero(conv)
    edges = [first, *range((first // share + 1) * share, stop, share), stop]
    longest = heard = synapses = 0
    for low, high in pairwise(edges):
        kernel = taps[low:high].sum(0)
        words = np.einsum("ua,iab,vb->iuv", down, kernel, across)
        longest = max(longest, int(words.max(initial=0)))
        heard += int(((words > 0) * (times[:, None] * by)).sum())
        synapses += int((words * (times[:, None] * by)).sum())
    return _Rows(_conv_bytes(conv, longest), heard, synapses)


def _conv_bytes(conv: Conv2d, longest: int) -> int:
    return 4 * conv.in_size * (3 + longest) if longest else 0


@lru_cache(maxsize=4096)
def _anywhere(conv: Conv2d, axis: int, size: int) -> tuple[_Sets, int, Array]:
    """Return what runs of so many targets along an axis reach wherever they are.

    Returns:
        Sets of taps as 0 and 1, of which none is part of another; the most sources of a run; (c, taps) int64, targets that each tap
        has inside the source, for runs of which none has fewer by all taps than another.
    """
    stride, padding = conv.stride[axis], conv.padding[axis]
    extent, last = conv.dilation[axis] * (conv.kernel_size[axis] - 1), conv.out_shape[1 + axis] - size
    sets, sources, counts = [], 0, []
    seen = False
    for start in range(last + 1):
        inside = start * stride >= padding and (start + size - 1) * stride - padding + extent < conv.in_shape[1 + axis]
        # Runs that no edge cuts are alike.
        if inside and seen:
            continue
        seen |= inside
        reached, times = _reach(conv, axis, start, start + size)
        sets.append(reached)
        sources = max(sources, int(times.sum()))
        counts.append(times @ reached)
    return tuple(map(tuple, _largest(np.concatenate(sets)).tolist())), sources, _largest(np.array(counts))


def _largest(rows: Array) -> Array:
    """Return those rows that no other row reaches in every place."""
    rows = np.unique(rows, axis=0)
    covered = (rows[:, None] <= rows[None]).all(2) & ~np.eye(len(rows), dtype=bool)
    return np.asarray(rows[~covered.any(1)])


def _windows(values: Array, size: int) -> Array:
    """Return sums over runs of so many along the first axis."""
    total = np.concatenate([np.zeros((1, *values.shape[1:]), np.int64), np.cumsum(values, axis=0)])
    return np.asarray(total[size:] - total[:-size])


@lru_cache(maxsize=8)
def _single(conv: Conv2d, channels: int) -> Array:
    """Return (k, taps) float64: the synapses that one source channel has through each tap, for every run of channels of one group."""
    taps, share = _nonzero(conv), conv.weights.shape[0] // conv.groups
    if taps.all():
        return np.full((1, prod(conv.kernel_size)), float(channels))
    grouped = taps.reshape(conv.groups, share, *taps.shape[1:])
    runs = np.concatenate([_windows(group, channels) for group in grouped])
    return frozen_array(runs.reshape(-1, prod(conv.kernel_size)), np.float64)


@lru_cache(maxsize=4096)
def _together(conv: Conv2d, channels: int) -> tuple[Array, int]:
    """Return what runs of so many channels have wherever they are.

    Returns:
        (k, taps) float64 synapses of all source channels through each tap; the most source channels of a run.
    """
    taps, share = _nonzero(conv), conv.weights.shape[0] // conv.groups
    starts = range(min(share, conv.weights.shape[0] - channels + 1))
    groups = max((start + channels - 1) // share - start // share + 1 for start in starts)
    runs = np.unique(_windows(taps.sum(1).reshape(taps.shape[0], -1), channels), axis=0)
    return frozen_array(runs, np.float64), groups * int(taps.shape[1])


def _most(kernels: Array, down: Array, across: Array) -> int:
    """Return the largest sum over taps of a kernel's entries, times how often their row and column count, over all kernels and ways."""
    times = (down[:, None, :, None] * across[None, :, None, :]).reshape(-1, down.shape[1] * across.shape[1])
    # In floating point, exact far below 2^53: products of whole numbers are slow.
    return int((kernels @ times.T.astype(np.float64)).max(initial=0))


@lru_cache(maxsize=1 << 14)
def _longest(conv: Conv2d, channels: int, down: _Sets, across: _Sets) -> int:
    """Return the words of the longest row; most extents reach sources through the same sets of taps."""
    return _most(_single(conv, channels), np.array(down), np.array(across)) if down and across else 0


@lru_cache(maxsize=1 << 14)
def _conv_most(conv: Conv2d, extent: tuple[int, ...]) -> _Rows:
    together, channels = _together(conv, extent[0])
    down, tall, lines = _anywhere(conv, 0, extent[1])
    across, wide, places = _anywhere(conv, 1, extent[2])
    share = conv.weights.shape[0] // conv.groups
    longest, synapses = _longest(conv, min(extent[0], share), down, across), _most(together, lines, places)
    return _Rows(_conv_bytes(conv, longest), min(channels * tall * wide, synapses), synapses)


# ---- bounds -----------------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _largest_sums(whole: Dense | Sparse) -> tuple[Array, Array]:
    """Return (n + 1,) int64 each: the most synapses, stated and not 0, of 0, 1, ... n targets."""
    stated = np.diff(whole.indptr) if isinstance(whole, Sparse) else np.full(whole.out_size, whole.in_size)
    tops = [frozen_array(np.concatenate([[0], np.cumsum(np.sort(values)[::-1])]), np.int64) for values in (stated, _fan_in(whole))]
    return tops[0], tops[1]


@lru_cache(maxsize=1 << 12)
def _run_most(whole: Dense | Sparse, count: int) -> int:
    """Return the most synapses of so many targets in a row."""
    return int(_windows(_fan_in(whole), count).max())


@lru_cache(maxsize=512)
def _sources(whole: Sparse) -> int:
    return int(np.unique(whole.indices).size)


def demand_at_most(network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
    """See `nmap.target.backend.Target.demand_at_most`."""
    whole, neurons = network[population], prod(extent)
    if whole.kernel == SOURCE:
        return _source_demand(neurons)
    rows = []
    for projection in network.afferents(population):
        wires = projection.connectivity
        if isinstance(wires, Conv2d):
            rows.append(_conv_most(wires, extent))
            continue
        stated, held = (int(top[neurons]) for top in _largest_sums(wires))
        synapses = _run_most(wires, neurons) if len(extent) == 1 else held
        if isinstance(wires, Dense):
            rows.append(_Rows(_dense_bytes(wires, neurons), wires.in_size, synapses))
        else:
            sources = min(stated, _sources(wires))
            rows.append(_Rows(12 * sources + 4 * synapses, sources, synapses))
    return _cells_demand(network, whole, neurons, rows)


def demand_floor(network: QuantizedNetwork, population: str, spec: ChipSpec) -> dict[str, float]:
    """See `nmap.target.backend.Target.demand_floor`; holds for every cut into pieces that fit a core.

    Neurons and synapses lie on one core each. Every piece repeats what a core pays once and the rows of its dense afferents; there are at
    least as many pieces as one core's neurons, data memory, SDRAM and time allow.
    """
    whole = network[population]
    if whole.kernel == SOURCE:
        pieces = -(-whole.size // SOURCES_PER_CORE)
        return {name: float(amount) for name, amount in (_source_demand(whole.size) | {"populations": pieces}).items()}
    delay = population_delay(network, population)
    places = whole.size * places_of(delay)
    fixed, each = list(_fixed(network, whole, delay)), _each(network, whole)
    shared = [whole.size * amount for amount in each]
    for projection in network.afferents(population):
        wires, (row, synapse) = projection.connectivity, _prices(network, projection)
        if isinstance(wires, Conv2d):
            synapses = int(np.einsum("a,ab,b->", *_everything(wires)))
            shared[2] += synapse * synapses
            continue
        synapses = int(_fan_in(wires).sum())
        shared[2] += synapse * synapses
        if isinstance(wires, Dense):
            fixed[1] += 12 * wires.in_size
            fixed[2] += row * wires.in_size
            shared[1] += 4 * wires.in_size * whole.size
        else:
            shared[1] += 12 * _sources(wires) + 4 * synapses
            shared[2] += row * _sources(wires)
    pieces = -(-places // CELLS_PER_CORE)
    for name, once, amount in zip(("dtcm", "sdram", "tick"), fixed, shared, strict=True):
        room = spec.resources[name].max - once
        pieces = max(pieces, -(-amount // room) if room > 0 else 1)
    dtcm, sdram, tick = (float(pieces * once + amount) for once, amount in zip(fixed, shared, strict=True))
    return {"populations": float(pieces), "neurons": float(places), "sources": 0.0, "dtcm": dtcm, "sdram": sdram, "tick": tick}


def _everything(conv: Conv2d) -> tuple[Array, Array, Array]:
    """Return how often each tap along the rows lies inside the source, how many kernels have each tap, and the same along the columns."""
    down, across = (times @ sets for sets, times in (_reach(conv, axis, 0, conv.out_shape[1 + axis]) for axis in (0, 1)))
    return down, _nonzero(conv).sum((0, 1)), across


# ---- neuron by neuron -------------------------------------------------------------------------------------------------------------------


def neuron_demand(network: QuantizedNetwork, population: str) -> NeuronDemand:
    """See `nmap.target.backend.Target.neuron_demand`; exact.

    Raises:
        ValueError: an afferent is a convolution.
    """
    whole = network[population]
    fixed, neuron = np.zeros(len(RESOURCES), np.int64), np.zeros((len(RESOURCES), whole.size), np.int64)
    axons: list[Array] = []
    nothing = np.zeros(len(RESOURCES), np.int64)
    fixed[0] = 1
    if whole.kernel == SOURCE:
        neuron[2] = 1
        fixed[4], neuron[4] = source_sdram(0), source_sdram(1) - source_sdram(0)
        free = tuple(np.zeros((len(RESOURCES), 1), np.int64) for _ in network.afferents(population))
        return NeuronDemand(RESOURCES, 1, neuron, free, fixed, nothing)
    delay = population_delay(network, population)
    neuron[1] = places_of(delay)
    fixed[3:], neuron[3:] = _fixed(network, whole, delay), np.array(_each(network, whole))[:, None]
    for projection in network.afferents(population):
        wires, (row, synapse) = projection.connectivity, _prices(network, projection)
        if isinstance(wires, Conv2d):
            raise ValueError(f"{projection.name} is a convolution, which is cut into boxes")
        axon = np.zeros((len(RESOURCES), 1), np.int64)
        axon[4], axon[5] = 12, row
        axons.append(axon)
        neuron[4] += 4 * (wires.in_size if isinstance(wires, Dense) else _fan_in(wires))
        neuron[5] += synapse * _fan_in(wires)
    return NeuronDemand(RESOURCES, 1, neuron, tuple(axons), fixed, nothing)
