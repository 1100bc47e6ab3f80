"""Delayed convolutions: neurons that pass on, some steps later, what they receive.

Lava's convolution has no delay, its sparse synapses have: one relay per source neuron, reached by a delayed synapse of weight 1, takes four
words of a core, where listing the convolution takes one for every three synapses.
"""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Conv2d
from nmap.network import Projection
from nmap.quantized import QuantizedPopulation, QuantizedProjection, SynapseFormat

__all__ = ["relay"]


def relay(
    p: Projection, conv: Conv2d, delay: int, latency: int, message_bits: int, taken: set[str]
) -> tuple[QuantizedPopulation, QuantizedProjection]:
    """Return a population that sends, `delay` steps late, what a convolution's source sends, and the synapses that feed it.

    The convolution then reads the relay without any delay: relay and convolution together take the `delay` + 1 steps of a delayed synapse.

    Args:
        p: the convolution.
        conv: its kernel and geometry.
        delay: steps beyond the one step of a hop, 1 or more.
        latency: of what the source sends.
        message_bits: of the source's payloads, 0 for binary spikes.
        taken: names of populations and projections.
    """
    name = f"{p.name}.relay"
    while name in taken:
        name += "_"
    channels = conv.in_shape[0]
    ones = Conv2d(np.ones((channels, 1, 1, 1), np.int32), conv.in_shape, groups=channels)
    population = QuantizedPopulation(name, conv.in_shape, "loihi2.relay", {}, p.where, latency=latency + delay)
    feed = QuantizedProjection(
        name, p.source, name, ones, SynapseFormat(8, 0, "excitatory", message_bits), delay - 1, p.where,
    )
    return population, feed
