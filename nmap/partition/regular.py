"""Ways of cutting a regular layer into tiles, each priced in closed form: cores filled, and input axons over all tiles.

A tile of th x tw outputs and tc channels listens to a halo; summed over the tiles of a grid the halos' sizes are a product of three sums,
one per dimension, so that a layer of millions of neurons costs as little to price as a small one. All channels of a pixel share their
inputs, so that tiles of all channels and small squares need the fewest copies; of depthwise layers channels are split at no cost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise, product
from math import prod

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.quantized import QuantizedNetwork, QuantizedPopulation
from nmap.target.backend import Target

__all__ = ["CORE_UNIT", "Prices", "TileOption", "even_parts", "row_axis", "tile_options"]

CORE_UNIT = 1 << 16
"""Parts of a core in which `TileOption.cores` counts."""
_RATE_UNIT = 1 << 16
"""Parts of a spike per step in which mean rates weigh copies."""


def row_axis(shape: tuple[int, ...]) -> int:
    """Return the dimension along which units are counted: rows of (channels, height, width), else the first one."""
    return 1 if len(shape) == 3 else 0


def even_parts(size: int, count: int) -> list[tuple[int, int]]:
    """Return the (start, stop) of `count` nearly equal parts, the larger ones first."""
    low, more = divmod(size, count)
    return list(pairwise([0, *accumulate(low + (k < more) for k in range(count))]))


def _largest(limit: int, fits: Callable[[int], bool]) -> int:
    """Return the largest n <= limit with fits(n), which must not turn true again once false; 0 when not even 1 fits."""
    low, high = 0, 1
    while high < limit and fits(high):
        low, high = high, 2 * high
    high = min(high, limit)
    if fits(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


class Prices:
    """What boxes of one population take, each extent asked for once.

    Args:
        network, target: as in `nmap.partition.cut.map_network`.
        population: not an input port.
        capacity: of one core by resource.
    """

    def __init__(self, network: QuantizedNetwork, target: Target, population: QuantizedPopulation, capacity: dict[str, int]) -> None:
        self.limit = np.array(list(capacity.values()), np.int64)
        self._network, self._target, self._name = network, target, population.name
        self.names = tuple(capacity)
        self._known: dict[tuple[int, ...], Array] = {}

    def demand(self, extent: tuple[int, ...]) -> Array:
        """Return (resources,) int64 that any box of an extent takes at most."""
        if extent not in self._known:
            amount = self._target.demand_at_most(self._network, self._name, extent)
            self._known[extent] = np.array([amount[name] for name in self.names], np.int64)
        return self._known[extent]

    def fits(self, extent: tuple[int, ...]) -> bool:
        """Return whether any box of an extent fits an empty core."""
        return bool((self.demand(extent) <= self.limit).all())

    def largest(self, extent: tuple[int, ...], dimension: int, limit: int) -> int:
        """Return the largest size up to `limit` along a dimension with which the extent fits; 0 when 1 does not."""
        return _largest(limit, lambda size: self.fits((*extent[:dimension], size, *extent[dimension + 1 :])))

    def share(self, extent: tuple[int, ...]) -> int:
        """Return how much of a core a box of an extent fills at most, by its scarcest resource, in `CORE_UNIT`."""
        return int((-(-self.demand(extent) * CORE_UNIT // self.limit)).max())


@dataclass(frozen=True, slots=True)
class TileOption:
    """One way of cutting a population.

    Args:
        counts: number of nearly equal parts by dimension; 1 along the axis of rows, which is cut where the cores are full.
        cores: what the tiles fill, in `CORE_UNIT`: a run of rows that ends because a core is full counts as a whole core.
        copies: input axons over all tiles, times the sources' mean rates where they are known.
    """

    counts: tuple[int, ...]
    cores: int
    copies: int


def tile_options(
    network: QuantizedNetwork, population: QuantizedPopulation, prices: Prices, rates: dict[str, Array] | None = None,
) -> tuple[TileOption, ...]:
    """Return the options of which no other is better in cores and copies, fewest cores first.

    Empty where there is nothing to choose: one dimension, connections listed synapse by synapse, or nothing fits.

    Args:
        network: what the population listens to.
        population: of any shape.
        prices: of its boxes.
        rates: mean spikes per step of every neuron by population; None weighs all alike.
    """
    shape, axis = population.shape, row_axis(population.shape)
    afferents = network.afferents(population.name)
    inputs: list[tuple[Dense | Conv2d, int]] = []
    for p in afferents:
        if isinstance(p.connectivity, Sparse):
            return ()
        rate = 1 if rates is None else round(float(np.mean(rates[p.source])) * _RATE_UNIT)
        inputs.append((p.connectivity, rate))
    if len(shape) < 2:
        return ()
    found: list[TileOption] = []
    first, *others = (k for k in range(len(shape)) if k != axis)
    for outer in _counts(shape[first]):
        for inner in product(*(_counts(shape[k]) for k in others)):
            counts = [1] * len(shape)
            for k, count in zip((first, *others), (outer, *inner), strict=True):
                counts[k] = count
            option, whole = _priced(shape, axis, tuple(counts), inputs, prices)
            if option is not None:
                found.append(option)
            if whole:
                # Smaller tiles would share less and fill no more.
                break
        if whole and all(count == 1 for count in inner):
            break
    front: list[TileOption] = []
    for option in sorted(found, key=lambda option: (option.cores, option.copies, option.counts)):
        if not front or option.copies < front[-1].copies:
            front.append(option)
    return tuple(front)


def _counts(size: int) -> list[int]:
    """Return the fewest parts for every size of the largest part, ascending."""
    return sorted({-(-size // largest) for largest in {-(-size // count) for count in range(1, size + 1)}})


def _classes(parts: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """Return nearly equal parts by size."""
    sizes = sorted({stop - start for start, stop in parts}, reverse=True)
    return [[part for part in parts if part[1] - part[0] == size] for size in sizes]


def _priced(
    shape: tuple[int, ...], axis: int, counts: tuple[int, ...], inputs: list[tuple[Dense | Conv2d, int]], prices: Prices,
) -> tuple[TileOption | None, bool]:
    """Return an option, None where a unit does not fit, and whether no lane has to be cut along its rows."""
    by_dimension = [_classes(even_parts(size, count)) for size, count in zip(shape, counts, strict=True)]
    cores, copies, whole = 0, 0, True
    for group in product(*by_dimension):
        extent = [parts[0][1] - parts[0][0] for parts in group]
        most = prices.largest(tuple(extent), axis, shape[axis])
        if not most:
            return None, False
        lanes = prod(len(parts) for parts in group)
        full, left = divmod(shape[axis], most)
        if most == shape[axis]:
            full, left = 0, most
        extent[axis] = left
        cores += lanes * (full * CORE_UNIT + (prices.share(tuple(extent)) if left else 0))
        whole = whole and most == shape[axis]
        rows = even_parts(shape[axis], -(-shape[axis] // most))
        tiles = [rows if k == axis else parts for k, parts in enumerate(group)]
        for connectivity, rate in inputs:
            copies += rate * _heard(connectivity, tiles)
    return TileOption(counts, cores, copies), whole


def _heard(connectivity: Dense | Conv2d, tiles: list[list[tuple[int, int]]]) -> int:
    """Return the source neurons that the tiles of a grid listen to, counted once per tile."""
    if isinstance(connectivity, Dense):
        return connectivity.in_size * prod(len(parts) for parts in tiles)
    per_in, per_out = connectivity.in_shape[0] // connectivity.groups, connectivity.weights.shape[0] // connectivity.groups
    channels = sum(((stop - 1) // per_out - start // per_out + 1) * per_in for start, stop in tiles[0])
    return channels * prod(_reached(connectivity, k, tiles[k + 1]) for k in range(2))


def _reached(conv: Conv2d, k: int, parts: list[tuple[int, int]]) -> int:
    """Return the source rows (k = 0) or columns (1) between first and last tap, added up over parts; padding counts nothing."""
    low, high = np.array(parts, np.int64).T
    first = np.clip(low * conv.stride[k] - conv.padding[k], 0, conv.in_shape[k + 1])
    last = (high - 1) * conv.stride[k] - conv.padding[k] + (conv.kernel_size[k] - 1) * conv.dilation[k] + 1
    return int((np.clip(last, 0, conv.in_shape[k + 1]) - first).sum())
