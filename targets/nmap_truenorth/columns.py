"""How many columns of a core every neuron takes: a neuron sends to one axon of one core, so that each further one takes a copy of it.

A copy has the neuron's own column of the crossbar and its parameters, and lies on the same core, where it hears the same axons: it computes
the same spikes in the same steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from nmap.connectivity import Array, Dense
from nmap.mapping import Shard
from nmap.quantized import QuantizedNetwork
from nmap_truenorth.codes import code_of, needed, needed_by_all
from nmap_truenorth.demand import least_of

__all__ = ["columns", "least_columns", "replicate"]

_COLUMNS = 256
_TURNS = 16
"""Times that columns and the cores they fill are counted; what is found holds after any of them."""


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
    """Return columns that each neuron takes at least, however the network is shared out.

    Several cores that share a population need no fewer axons of a source in all than one core with all neurons would, since the neuron with
    most axons of each type lies on one of them. And as a core has 256 columns, a population of more of them lies on several cores, each of
    which takes its own axons of every source that all neurons hear. The columns found so make those of populations before, so that this
    is done by turns, a few times; in a loop they might grow without end. Populations without a code count nothing.
    """
    own = [p for p in network.populations if p.kernel is not None and code_of(network, p.name) is not None]
    wires = {p.name: network.afferents(p.name) for p in own}
    together = {p.name: needed_by_all(network, p.name) for p in own}
    each = {
        p.name: [
            least_of(code, number, one) if isinstance(one.connectivity, Dense) else None for number, one in enumerate(wires[p.name])
        ]
        for p in own if (code := code_of(network, p.name)) is not None
    }
    cores = {p.name: 0 for p in own}
    held: dict[str, Array] = {}
    for _ in range(_TURNS):
        targets = {p.name: np.zeros(p.size, np.int64) for p in network.populations}
        for name, projections in wires.items():
            for projection, axons, least in zip(projections, together[name], each[name], strict=True):
                targets[projection.source] += axons if least is None else np.maximum(axons, cores[name] * least)
        held = _with_outputs(network, targets)
        found = {p.name: -(-int(held[p.name].sum()) // _COLUMNS) for p in own}
        if found == cores or all(number <= 1 for number in found.values()):
            break
        cores = found
    return held


def replicate(network: QuantizedNetwork, shards: Sequence[Shard] | None) -> QuantizedNetwork:
    """See `nmap.target.backend.Replicating.replicate`."""
    wanted = least_columns(network) if shards is None else columns(network, shards)
    return replace(network, populations=tuple(replace(p, copies=wanted.get(p.name)) for p in network.populations))
