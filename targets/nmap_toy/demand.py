"""What a slice of a population takes on one core: exact at a position, at most at any position, at least in any cut."""

from __future__ import annotations

from math import prod

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.program import Box, Slice, slice_indices, slice_size
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Demand, NeuronDemand
from nmap.target.spec import ChipSpec

__all__ = ["demand", "demand_at_most", "demand_floor", "neuron_demand"]


def demand(network: QuantizedNetwork, population: str, part: Slice) -> Demand:
    """Return what the neurons of a slice take: neurons, input axons, synapse slots."""
    axons = synapses = 0
    for projection in network.afferents(population):
        whole = projection.connectivity
        if isinstance(whole, Conv2d):
            if not isinstance(part, tuple):
                raise ValueError(f"the targets of the convolution {projection.name} are not a box")
            axons += prod(_halo(whole, part))
            synapses += (part[0][1] - part[0][0]) * int(whole.weights.shape[1]) * prod(
                int(_taps(whole, axis)[start:stop].sum()) for axis, (start, stop) in enumerate(part[1:])
            )
        elif isinstance(whole, Dense):
            axons += whole.in_size
            synapses += whole.in_size * slice_size(part)
        else:
            sources = whole.indices[whole.entries(slice_indices(part, network[population].shape))]
            axons += np.unique(sources).size
            synapses += sources.size
    return {"neurons": slice_size(part), "axons": axons, "synapse_memory": synapses}


def neuron_demand(network: QuantizedNetwork, population: str) -> NeuronDemand:
    """Return what single neurons and axons take; exact, since nothing is rounded.

    Raises:
        ValueError: an afferent is a convolution.
    """
    resources = ("neurons", "axons", "synapse_memory")
    neuron = np.zeros((3, network[population].size), np.int64)
    neuron[0] = 1
    afferents = network.afferents(population)
    for projection in afferents:
        whole = projection.connectivity
        if isinstance(whole, Conv2d):
            raise ValueError(f"{projection.name} is a convolution, which is cut into boxes")
        neuron[2] += whole.in_size if isinstance(whole, Dense) else np.diff(whole.indptr)
    one = np.array([[0], [1], [0]])
    return NeuronDemand(resources, 1, neuron, (one,) * len(afferents), np.zeros(3, np.int64), np.zeros(3, np.int64))


def demand_at_most(network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
    """Return an upper bound of `demand` over all boxes of this extent; it never falls when the extent grows."""
    neurons, axons, synapses = prod(extent), 0, 0
    for projection in network.afferents(population):
        whole = projection.connectivity
        if isinstance(whole, Conv2d):
            axons += prod(_widest_halo(whole, extent))
            synapses += extent[0] * int(whole.weights.shape[1]) * prod(
                _largest_window(_taps(whole, axis), size) for axis, size in enumerate(extent[1:])
            )
        elif isinstance(whole, Dense):
            axons += whole.in_size
            synapses += whole.in_size * neurons
        else:
            most = int(np.sort(np.diff(whole.indptr))[::-1][:neurons].sum())
            axons += min(most, np.unique(whole.indices).size)
            synapses += most
    return {"neurons": neurons, "axons": axons, "synapse_memory": synapses}


def demand_floor(network: QuantizedNetwork, population: str, spec: ChipSpec) -> dict[str, float]:
    """Return a lower bound of the total over all pieces of any cut.

    A neuron and a synapse are on one core each. Every piece repeats the axons of its dense projections, and there are at least as
    many pieces as neurons and synapse slots of one core demand; an axon of another projection is needed at least once.
    """
    size, afferents = network[population].size, network.afferents(population)
    dense = sum(p.connectivity.in_size for p in afferents if isinstance(p.connectivity, Dense))
    per_core = min(spec.resources["neurons"].max, spec.resources["synapse_memory"].max // max(dense, 1))
    pieces = -(-size // max(per_core, 1))
    axons, synapses = float(dense * pieces), float(dense * size)
    for projection in afferents:
        whole = projection.connectivity
        if isinstance(whole, Sparse):
            axons += np.unique(whole.indices).size
            synapses += whole.synapses
        elif isinstance(whole, Conv2d):
            axons += whole.in_shape[0] * prod(_touched(whole, axis) for axis in (0, 1))
            synapses += whole.weights.shape[0] * int(whole.weights.shape[1]) * prod(int(_taps(whole, axis).sum()) for axis in (0, 1))
    return {"neurons": float(size), "axons": axons, "synapse_memory": synapses}


def _reach(conv: Conv2d, axis: int) -> tuple[Array, Array]:
    """Source positions of the taps along height (0) or width (1), (outputs, taps), and which of them are inside the source."""
    outputs, taps = np.arange(conv.out_shape[axis + 1]), np.arange(conv.kernel_size[axis])
    positions = outputs[:, None] * conv.stride[axis] - conv.padding[axis] + taps[None, :] * conv.dilation[axis]
    return positions, (positions >= 0) & (positions < conv.in_shape[axis + 1])


def _taps(conv: Conv2d, axis: int) -> Array:
    """Taps inside the source for each output position along an axis."""
    counts: Array = _reach(conv, axis)[1].sum(1)
    return counts


def _touched(conv: Conv2d, axis: int) -> int:
    positions, inside = _reach(conv, axis)
    return int(np.unique(positions[inside]).size)


def _span(conv: Conv2d, axis: int, start: int, stop: int) -> int:
    """Source positions between the first and the last tap of the outputs start..stop-1, cut at the source's edges."""
    low = start * conv.stride[axis] - conv.padding[axis]
    high = (stop - 1) * conv.stride[axis] - conv.padding[axis] + conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
    return max(0, min(high, conv.in_shape[axis + 1]) - max(low, 0))


def _channels(conv: Conv2d, start: int, stop: int) -> int:
    """Source channels that output channels start..stop-1 read: those of every group they touch."""
    per_group = conv.weights.shape[0] // conv.groups
    return int(((stop - 1) // per_group - start // per_group + 1) * conv.weights.shape[1])


def _halo(conv: Conv2d, box: Box) -> tuple[int, int, int]:
    (c0, c1), (y0, y1), (x0, x1) = box
    return _channels(conv, c0, c1), _span(conv, 0, y0, y1), _span(conv, 1, x0, x1)


def _widest_halo(conv: Conv2d, extent: tuple[int, ...]) -> tuple[int, int, int]:
    channels, height, width = (range(whole - size + 1) for whole, size in zip(conv.out_shape, extent, strict=True))
    return (
        max(_channels(conv, c, c + extent[0]) for c in channels),
        max(_span(conv, 0, y, y + extent[1]) for y in height),
        max(_span(conv, 1, x, x + extent[2]) for x in width),
    )


def _largest_window(counts: Array, size: int) -> int:
    sums = np.concatenate([[0], np.cumsum(counts)])
    return int((sums[size:] - sums[:-size]).max())
