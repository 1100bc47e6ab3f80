"""How many columns of a core every neuron takes: a neuron sends to one axon of one core, so that each further one takes a copy of it.

A copy has the neuron's own column of the crossbar and its parameters, and lies on the same core, where it hears the same axons: it computes
the same spikes in the same steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from nmap.connectivity import Array
from nmap.mapping import Shard
from nmap.quantized import QuantizedNetwork
from nmap_truenorth.codes import code_of, needed, needed_by_all

__all__ = ["columns", "least_columns", "replicate"]


def _with_outputs(network: QuantizedNetwork, targets: dict[str, Array]) -> dict[str, Array]:
    """Return the columns of every neuron from the axons it sends to; one of an output's neuron sends off the chip."""
    return {
        p.name: np.maximum(targets[p.name] + (p.name in network.outputs), 1) for p in network.populations if p.kernel is not None
    }


def columns(network: QuantizedNetwork, shards: Iterable[Shard]) -> dict[str, Array]:
    """Return the columns that each neuron takes, (n,) int64 by population: one for each axon it sends to, and one for an output.

    Args:
        network: whose populations all have codes.
        shards: how it is shared out; every shard has axons of its own.
    """
    targets = {p.name: np.zeros(p.size, np.int64) for p in network.populations}
    for shard in shards:
        for projection, found in zip(network.afferents(shard.population), needed(network, shard.population, shard.slice), strict=True):
            np.add.at(targets[projection.source], found.source, found.axons.sum(1, dtype=np.int64))
    return _with_outputs(network, targets)


def least_columns(network: QuantizedNetwork) -> dict[str, Array]:
    """Return columns that each neuron takes at least, however the network is shared out: those of populations that lie together.

    Several cores that share a population need no fewer axons of a source in all, since the neuron with most axons of each type lies on one
    of them. Populations without a code count nothing.
    """
    targets = {p.name: np.zeros(p.size, np.int64) for p in network.populations}
    for population in network.populations:
        if population.kernel is not None and code_of(network, population.name) is not None:
            for projection, axons in zip(network.afferents(population.name), needed_by_all(network, population.name), strict=True):
                targets[projection.source] += axons
    return _with_outputs(network, targets)


def replicate(network: QuantizedNetwork, shards: Sequence[Shard] | None) -> QuantizedNetwork:
    """See `nmap.target.backend.Replicating.replicate`."""
    wanted = least_columns(network) if shards is None else columns(network, shards)
    return replace(network, populations=tuple(replace(p, copies=wanted.get(p.name)) for p in network.populations))
