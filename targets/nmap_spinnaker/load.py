"""Real time: how busy a core is in a busy step, and how much longer than real time a step has to last.

The busiest step of a population on the calibration samples (`QuantizedPopulation.busy`) is taken to be the busiest of all of its targets'
sources at once, its spikes spread evenly over its neurons: the largest load that samples give a reason for, not a bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from nmap.quantized import QuantizedNetwork, QuantizedPopulation
from nmap_spinnaker.demand import demand_at_most
from nmap_spinnaker.layout import FULL_TICK, SOURCE, cells_at_most, population_delay

__all__ = ["LEAST_PIECE", "at_scale", "layer_time_scale", "least_time_scale", "real_time_neurons"]

LEAST_PIECE = 32
"""Neurons that a core should hold at least: what a received spike costs does not shrink with the slice."""


def at_scale(network: QuantizedNetwork, scale: int) -> QuantizedNetwork:
    """Return the network with steps that last `scale` times as long as they stand for."""
    return replace(network, settings={**network.settings, "time_scale": scale})


def layer_time_scale(network: QuantizedNetwork, population: str, neurons: int = LEAST_PIECE) -> int:
    """Return the least time scale with which some way of cutting a population into pieces of so many neurons is in time.

    Args:
        network: its own time scale does not matter.
        population: name.
        neurons: of a piece at least; as many as a core can hold where that is fewer, or the whole population.
    """
    whole = network[population]
    if whole.kernel is None or whole.kernel == SOURCE:
        return 1
    least = _held(network, whole, neurons)

    def tick(scale: int) -> int:
        slow = at_scale(network, scale)
        return min(demand_at_most(slow, population, extent)["tick"] for extent in _pieces(whole, least))

    scale = max(1, -(-tick(1) // FULL_TICK))
    while tick(scale) > FULL_TICK:
        scale += 1
    # Prices are rounded up at scale 1, a thousand times less at a thousand.
    while scale > 1 and tick(scale - 1) <= FULL_TICK:
        scale -= 1
    return scale


def _held(network: QuantizedNetwork, population: QuantizedPopulation, neurons: int) -> int:
    """Return the least of so many neurons, the population's, and those that a core holds beside ring buffers for its delays."""
    return min(neurons, population.size, max(1, cells_at_most(population_delay(network, population.name))))


def _pieces(population: QuantizedPopulation, neurons: int) -> Iterator[tuple[int, ...]]:
    """Yield extents of boxes of at least so many neurons, none larger than it has to be along its last axis."""
    first, last = population.shape[:-1], population.shape[-1]

    def extents(axes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if not axes:
            yield ()
            return
        size = 1
        while True:
            for rest in extents(axes[1:]):
                yield (min(size, axes[0]), *rest)
            if size >= axes[0]:
                return
            size *= 2

    for extent in extents(first):
        held = 1
        for size in extent:
            held *= size
        if held * last >= neurons:
            yield (*extent, -(-neurons // held))


def least_time_scale(network: QuantizedNetwork) -> int:
    """Return the least time scale with which every population can be cut into pieces that are in time.

    Pieces have 32 neurons, or as many as the population has or a core holds beside ring buffers for its delays.

    Args:
        network: quantized, `settings["timestep_us"]` filled; its own time scale does not matter.
    """
    return max((layer_time_scale(network, p.name) for p in network.populations), default=1)


def real_time_neurons(network: QuantizedNetwork, population: str) -> int | None:
    """Return how many neurons of a population (a power of 2, or all) a core can hold in time; None where not even one is."""
    whole = network[population]
    best = None
    for neurons in sorted({_held(network, whole, 2**k) for k in range(9)}):
        if min(demand_at_most(network, population, extent)["tick"] for extent in _pieces(whole, neurons)) <= FULL_TICK:
            best = neurons
    return best
