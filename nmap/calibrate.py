"""What a network in real numbers does on samples: the spikes of its busiest step, and the largest input that a neuron gets in one step.

Chips that add input up in narrow words choose their scale by it, and chips that must keep up with time the number of neurons per core.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from nmap.connectivity import Array
from nmap.network import Network, Projection
from nmap.options import Calibration
from nmap.simulate.synapses import applied

__all__ = ["calibrate"]

_BLOCK_BYTES = 2**26


class _Recorded:
    """What one population sent, from step 0 on; see `nmap.simulate.synapses.Source`."""

    def __init__(self, spikes: Array) -> None:
        self.spikes = spikes

    def span(self, first: int, stop: int) -> Array:
        """See `nmap.simulate.synapses.Source.span`."""
        return self.spikes[:, first:stop]


def calibrate(network: Network, activity: Mapping[str, Array]) -> tuple[Calibration, ...]:
    """Return what every population does; non-spiking ones, which send no spikes, are not told of.

    Args:
        network: the network.
        activity: (samples, steps, n) spikes by population, input ports included, as `nmap.simulate.floating` records them.
    """
    found = []
    for population in network.populations:
        if population.silent:
            continue
        sent = np.count_nonzero(activity[population.name], axis=2)
        largest = [_largest(network, population.name, activity, sign) for sign in (1, -1)]
        found.append(Calibration(population.name, float(sent.mean()), float(sent.max()), *largest))
    return tuple(found)


def _largest(network: Network, name: str, activity: Mapping[str, Array], sign: int) -> float:
    """Return the largest sum over one neuron and step of the synapses with positive weights (sign 1), or negative ones (sign -1)."""
    parts = [_only(p, sign) for p in network.projections if p.target == name and not network[p.source].silent]
    parts = [p for p in parts if p.connectivity.weights.any()]
    if not parts:
        return 0.0
    samples, steps = activity[parts[0].source].shape[:2]
    size, most = network[name].size, 0.0
    block = max(1, _BLOCK_BYTES // (8 * steps * max(size, *(activity[p.source].shape[2] for p in parts))))
    for start in range(0, samples, block):
        total = np.zeros((min(block, samples - start), steps, size))
        for p in parts:
            applied(p, steps, looped=False).add(total, _Recorded(activity[p.source][start : start + block]), 0)
        most = max(most, float(total.max(initial=0.0)))
    return most


def _only(projection: Projection, sign: int) -> Projection:
    """Return a projection with its weights of one sign, made positive, and no bias."""
    weights = np.maximum(sign * np.asarray(projection.connectivity.weights, np.float64), 0.0)
    return replace(projection, connectivity=projection.connectivity.with_weights(weights), bias=None)
