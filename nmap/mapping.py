"""The mapping: for every neuron a chip, a core and a slot; for every core what it takes; and how good that is."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.partition.problem import PackingSolution
from nmap.place.problem import PlacementSolution
from nmap.program import Core, Slice
from nmap.quantized import QuantizedNetwork
from nmap.target.machine import Machine

__all__ = ["Mapping", "Packed", "Shard", "in_order"]


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Neurons of one population that lie on one core.

    Args:
        population: name.
        slice: a box of the population's shape, or an ascending list of its neurons.
        cluster: number of the core among the used ones.
        demand: what the shard takes there, by resource.
    """

    population: str
    slice: Slice
    cluster: int
    demand: dict[str, int]

    def __post_init__(self) -> None:
        if not isinstance(self.slice, tuple):
            object.__setattr__(self, "slice", frozen_array(self.slice, np.int64))


def in_order(shards: Iterable[Shard], network: QuantizedNetwork) -> tuple[Shard, ...]:
    """Return shards in order of population, then of their first neurons."""
    order = {p.name: k for k, p in enumerate(network.populations)}

    def place(shard: Shard) -> tuple[int, tuple[int, ...]]:
        part = shard.slice
        return order[shard.population], tuple(start for start, _ in part) if isinstance(part, tuple) else (int(part[0]),)

    return tuple(sorted(shards, key=place))


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """A network shared out over cores that have no place on the chip yet.

    Args:
        shards: as in `Mapping`.
        packing: what the partitioner answered, with its bound.
        slot: (clusters,) int64, places that the partitioner gave the cores along the way, to start from; None without any.
    """

    shards: tuple[Shard, ...]
    packing: PackingSolution
    slot: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Mapping:
    """Where everything lies.

    Args:
        machine: the machine mapped onto.
        shards: in order of population, then of their first neurons.
        cores: the core of each cluster.
        packing, placement: what the partitioner answered, with bounds.
        rates: True when traffic was measured on samples; False when every neuron was taken to spike once per step.
    """

    machine: Machine
    shards: tuple[Shard, ...]
    cores: tuple[Core, ...]
    packing: PackingSolution
    placement: PlacementSolution
    rates: bool

    def used(self) -> list[dict[str, int]]:
        """Return the demand of every cluster, summed over its shards."""
        totals = [dict.fromkeys(self.machine.capacity, 0) for _ in self.cores]
        for shard in self.shards:
            for resource, amount in shard.demand.items():
                totals[shard.cluster][resource] += amount
        return totals
