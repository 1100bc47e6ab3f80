"""What a slice of a population takes on one core: exact at a position, at most at any position, at least in any cut.

A core has 256 axons and 256 neurons. Every source that a slice hears takes the axons that its neuron with most of each type needs
(`nmap_truenorth.codes.needed_of`); every shard and afferent has axons of its own. Neurons take a column each, those that have to send to
several axons one for each of them (`QuantizedPopulation.copies`). Columns and crossbar bits, those of copies included, are counted in the
finished program.

A box of a convolution hears a source row through the kernel rows that lie on it for some target of the box, and so a source needs the
maximum over a set of kernel rows times a set of columns. There are few such sets, alike for all boxes that no edge cuts: the axons of a box
are a sum over pairs of sets, never over sources.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from itertools import pairwise
from math import prod

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, frozen_array
from nmap.program import Box, Slice, slice_size
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.backend import Demand, NeuronDemand
from nmap_truenorth.afferents import reach, synapses
from nmap_truenorth.codes import Code, code_of, fan_ins, needed_by_all, needed_of, remembered, why_no_code

__all__ = ["demand", "demand_at_most", "demand_floor", "least_of", "neuron_demand"]

_RESOURCES = ("axons", "originals", "neurons", "synapses")
_COLUMNS = 256
_WINDOWS = 1 << 22
"""Entries of a layer's axons by neuron and source up to which runs of neurons are priced one by one."""
_FULL = 0.75
"""Share of synapses from which on all runs of neurons hear the same sources."""
_HUGE = 1 << 30
"""What a population without a code takes: no core has it."""


def _demand(axons: int, neurons: int) -> Demand:
    return {"axons": axons, "originals": neurons, "neurons": 0, "synapses": 0}


def demand(network: QuantizedNetwork, population: str, part: Slice) -> Demand:
    """See `nmap.target.backend.Target.demand`; a population without a code takes more than any core has."""
    whole = network[population]
    code = code_of(network, population)
    if code is None:
        return _demand(_HUGE, slice_size(part))
    axons = 0
    for number, projection in enumerate(network.afferents(population)):
        if isinstance(projection.connectivity, Conv2d) and isinstance(part, tuple):
            axons += _conv_at(code, number, projection, part)
        else:
            axons += int(needed_of(code, number, projection, part, whole.shape).axons.sum(dtype=np.int64))
    return _demand(axons, _columns(whole, part))


def _columns(whole: QuantizedPopulation, part: Slice) -> int:
    """Return the columns of a slice's neurons, their copies included."""
    if whole.copies is None:
        return slice_size(part)
    if isinstance(part, tuple):
        return int(whole.copies.reshape(whole.shape)[tuple(slice(*span) for span in part)].sum())
    return int(whole.copies[part].sum())


# ---- convolutions at any position -------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1 << 14)
def _heard_at(conv: Conv2d, axis: int, low: int, high: int) -> tuple[tuple[int, int], ...]:
    """Return how the targets low..high-1 along an axis hear their sources: pairs (set of taps as bits, sources heard through it)."""
    heard = Counter(reach(conv, axis, low, high).taps)
    del heard[0]
    return tuple(sorted(heard.items()))


@lru_cache(maxsize=4096)
def _along(conv: Conv2d, axis: int, size: int) -> tuple[tuple[tuple[int, int], ...], ...]:
    """Return how runs of so many targets along an axis hear their sources, each way once; see `_heard_at`."""
    stride, padding, taps = conv.stride[axis], conv.padding[axis], conv.kernel_size[axis]
    extent, last = conv.dilation[axis] * (taps - 1), conv.out_shape[1 + axis] - size
    found = set()
    inner = False
    for low in range(last + 1):
        inside = low * stride >= padding and (low + size - 1) * stride - padding + extent < conv.in_shape[1 + axis]
        if not (inside and inner):
            found.add(_heard_at(conv, axis, low, low + size))
        inner |= inside
    return tuple(sorted(found))


class _ConvPrices:
    """The axons of boxes of a convolution.

    Args:
        code: of the population.
        number: of the afferent.
        conv: the convolution.
    """

    def __init__(self, code: Code, number: int, conv: Conv2d) -> None:
        self.conv, self.switched = conv, code.conv_uses(number, conv)
        self._windows: dict[int, list[tuple[int, Array]]] = {}
        self._heard: dict[tuple[int, int, int], Array] = {}

    def windows(self, channels: int) -> list[tuple[int, Array]]:
        """Return what runs of so many channels switch on: pairs of where windows begin to be added up, and (windows, in channels, kernel's
        height, width, 4) uint8 the most over each window, window by window one channel further on.
        """
        if channels not in self._windows:
            per_out = self.conv.weights.shape[0] // self.conv.groups
            starts = self.conv.weights.shape[0] - channels + 1
            parts: list[tuple[int, Array]] = []
            for start in range(starts) if self.conv.groups > 1 else ():
                # A run of channels of several groups hears other sources in each.
                stop = start + channels
                edges = [start, *range((start // per_out + 1) * per_out, stop, per_out), stop]
                parts += [(start, self.switched[a:b].max(0)[None]) for a, b in pairwise(edges)]
            if self.conv.groups == 1:
                most = self.switched[:starts].copy()
                for k in range(1, channels):
                    np.maximum(most, self.switched[k : k + starts], out=most)
                parts = [(0, most)]
            self._windows[channels] = parts
        return self._windows[channels]

    def heard(self, channels: int, down: int, across: int) -> Array:
        """Return the axons of a position, all its channels, that runs of channels hear through kernel rows and columns: (starts,)."""
        key = (channels, down, across)
        if key not in self._heard:
            rows, columns = ([k for k in range(mask.bit_length()) if mask >> k & 1] for mask in (down, across))
            total = np.zeros(self.conv.weights.shape[0] - channels + 1, np.int64)
            for start, most in self.windows(channels):
                total[start : start + len(most)] += most[:, :, rows][:, :, :, columns].max((2, 3)).sum((1, 2), dtype=np.int64)
            self._heard[key] = total
        return self._heard[key]

    def at(self, box: Box) -> int:
        """Return the axons of a box."""
        (first, stop), *spans = box
        rows, columns = (_heard_at(self.conv, axis, *span) for axis, span in enumerate(spans))
        axons = 0
        for down, times in rows:
            for across, by in columns:
                axons += times * by * int(self.heard(stop - first, down, across)[first])
        return axons

    def most(self, extent: tuple[int, ...]) -> int:
        """Return the most axons of a box of an extent."""
        channels = extent[0]
        tall, wide = (_along(self.conv, axis, extent[1 + axis]) for axis in (0, 1))
        axons = 0
        for rows in tall:
            for columns in wide:
                total = np.zeros(self.conv.weights.shape[0] - channels + 1, np.int64)
                for down, times in rows:
                    for across, by in columns:
                        total += times * by * self.heard(channels, down, across)
                axons = max(axons, int(total.max()))
        return axons


@remembered
def _conv_prices(code: Code, number: int, projection: QuantizedProjection) -> _ConvPrices:
    assert isinstance(projection.connectivity, Conv2d)
    return _ConvPrices(code, number, projection.connectivity)


@lru_cache(maxsize=1 << 15)
def _conv_at(code: Code, number: int, projection: QuantizedProjection, box: Box) -> int:
    return _conv_prices(code, number, projection).at(box)


@lru_cache(maxsize=1 << 14)
def _conv_most(code: Code, number: int, projection: QuantizedProjection, extent: tuple[int, ...]) -> int:
    return _conv_prices(code, number, projection).most(extent)


# ---- dense and sparse afferents at any position -----------------------------------------------------------------------------------------


@lru_cache(maxsize=128)
def _largest_sums(values: _Key) -> Array:
    """Return (n + 1,) int64: the sum of the 0, 1, ... n largest."""
    return frozen_array(np.concatenate([[0], np.cumsum(np.sort(values.array)[::-1])]))


class _Key:
    """An array that never changes, as a key of a cache."""

    def __init__(self, array: Array) -> None:
        self.array = array

    def __hash__(self) -> int:
        return id(self.array)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self.array is other.array


@lru_cache(maxsize=64)
def _switched(code: Code, number: int, projection: QuantizedProjection) -> Array | None:
    """Return the axons that each neuron of a row of neurons hears of each source, (n, sources, delays * 4) uint8.

    None where nothing is gained by it: where nearly all sources are heard by every neuron, or the layer is large.
    """
    whole = projection.connectivity
    delays = 1 if projection.delays is None else int(projection.delays.max(initial=0)) + 1
    size = whole.out_size * whole.in_size
    if size * delays > _WINDOWS:
        return None
    listed = synapses(projection, np.arange(whole.out_size))
    if listed.target.size > _FULL * size:
        return None
    heard = np.zeros((whole.out_size, delays, whole.in_size, 4), np.uint8)
    heard[listed.target, listed.delay, listed.source] = code.uses(number, listed.target, listed.source, listed.delay, listed.weight)
    return heard.reshape(whole.out_size, -1)


@lru_cache(maxsize=1 << 14)
def _run_most(code: Code, number: int, projection: QuantizedProjection, count: int) -> int | None:
    """Return the most axons of so many neurons in a row; None where `_switched` has nothing."""
    heard = _switched(code, number, projection)
    if heard is None:
        return None
    doubled, span = heard, 1
    while 2 * span <= count:
        doubled, span = np.maximum(doubled[:-span], doubled[span:]), 2 * span
    rest = count - span
    most = np.maximum(doubled[: len(doubled) - rest], doubled[rest:])
    return int(most.sum(1, dtype=np.int64).max())


def demand_at_most(network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
    """See `nmap.target.backend.Target.demand_at_most`; exact for convolutions, and for neurons in a row unless the layer is very large."""
    whole, neurons = network[population], prod(extent)
    copies = neurons if whole.copies is None else int(_largest_sums(_Key(whole.copies))[neurons])
    code = code_of(network, population)
    if code is None:
        return _demand(_HUGE, copies)
    axons = 0
    alone, together = fan_ins(network, population), needed_by_all(network, population)
    for number, projection in enumerate(network.afferents(population)):
        if isinstance(projection.connectivity, Conv2d):
            axons += _conv_most(code, number, projection, extent)
            continue
        run = _run_most(code, number, projection, neurons) if len(extent) == 1 else None
        axons += min(int(_largest_sums(_Key(alone[number]))[neurons]), int(together[number].sum())) if run is None else run
    return _demand(axons, copies)


# ---- any cut, and any set of neurons ----------------------------------------------------------------------------------------------------


@remembered
def least_of(code: Code, number: int, projection: QuantizedProjection) -> Array:
    """Return (sources,) int64: the axons that a source of a dense or sparse afferent takes at least on any core whose neurons hear it.

    A weight of 0 is a synapse that takes none.
    """
    whole = projection.connectivity
    assert not isinstance(whole, Conv2d)
    listed = synapses(projection, np.arange(whole.out_size))
    switched = code.uses(number, listed.target, listed.source, listed.delay, listed.weight).sum(1, dtype=np.int64)
    # What a neuron takes of a source, its delays together.
    key = listed.target * whole.in_size + listed.source
    order = np.argsort(key, kind="stable")
    first = np.flatnonzero(np.append(True, np.diff(key[order]) > 0)[: key.size])
    taken = np.add.reduceat(switched[order], first) if first.size else np.zeros(0, np.int64)
    source = key[order][first] % whole.in_size
    least = np.full(whole.in_size, _HUGE, np.int64)
    np.minimum.at(least, source, taken)
    if isinstance(whole, Dense):
        stated = np.full(whole.in_size, whole.out_size)
    else:
        pairs = np.unique(whole.targets * whole.in_size + whole.indices)
        stated = np.bincount(pairs % whole.in_size, minlength=whole.in_size)
    least[np.bincount(source, minlength=whole.in_size) < stated] = 0
    return frozen_array(np.where(least == _HUGE, 0, least))


def demand_floor(network: QuantizedNetwork, population: str) -> dict[str, float]:
    """See `nmap.target.backend.Target.demand_floor`; holds for every cut into pieces that fit a core.

    All pieces together take no fewer axons of a source than one core with all neurons would, and of a dense afferent each piece takes its
    least.
    """
    whole = network[population]
    neurons = whole.size if whole.copies is None else int(whole.copies.sum())
    code = code_of(network, population)
    if code is None:
        return {name: float(amount) for name, amount in _demand(_HUGE, neurons).items()}
    pieces = -(-neurons // _COLUMNS)
    axons = 0
    for number, (projection, together) in enumerate(zip(network.afferents(population), needed_by_all(network, population), strict=True)):
        least = together
        if isinstance(projection.connectivity, Dense):
            least = np.maximum(together, pieces * least_of(code, number, projection))
        axons += int(least.sum())
    return {name: float(amount) for name, amount in _demand(axons, neurons).items()}


def neuron_demand(network: QuantizedNetwork, population: str) -> NeuronDemand:
    """See `nmap.target.backend.Target.neuron_demand`; a source's axons are priced as if its most demanding neurons lay on every core.

    Raises:
        ValueError: an afferent is a convolution, or the population has no code.
    """
    whole, afferents = network[population], network.afferents(population)
    for projection in afferents:
        if isinstance(projection.connectivity, Conv2d):
            raise ValueError(f"{projection.name} is a convolution, which is cut into boxes")
    code = code_of(network, population)
    if code is None:
        raise ValueError(why_no_code(network, population))
    neuron = np.zeros((len(_RESOURCES), whole.size), np.int64)
    neuron[_RESOURCES.index("originals")] = 1 if whole.copies is None else whole.copies
    most: list[Array] = []
    least: list[Array] = []
    for number, (projection, together) in enumerate(zip(afferents, needed_by_all(network, population), strict=True)):
        for prices, amount in ((most, together), (least, least_of(code, number, projection))):
            price = np.zeros((len(_RESOURCES), amount.size), np.int64)
            price[_RESOURCES.index("axons")] = amount
            prices.append(price)
    nothing = np.zeros(len(_RESOURCES), np.int64)
    exact = all((a == b).all() for a, b in zip(most, least, strict=True))
    return NeuronDemand(_RESOURCES, 1, neuron, tuple(most), nothing, nothing, None if exact else tuple(least))
