"""What a slice of a population takes on one processing element.

Synapse memory is 2 bytes a synapse and 4 bytes for every source neuron that has a row here. Weights of 0 are no synapses, but those of a
convolution are counted, since a tap is there for all its places or for none. Neurons with synaptic currents have two projections for each
of the network's, one for either sign: of convolutions, whose places are the same in both, the first alone counts, and of dense ones the
rows of the first.
"""

from __future__ import annotations

from math import prod

import numpy as np

from nmap.compile import conv_halo
from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.program import Slice, box_size, slice_indices, slice_size
from nmap.quantized import QuantizedNetwork, QuantizedProjection
from nmap.target.backend import Demand, NeuronDemand
from nmap.target.spec import ChipSpec

__all__ = ["ROW_BYTES", "SYNAPSE_BYTES", "demand", "demand_at_most", "demand_floor", "neuron_demand"]

SYNAPSE_BYTES = 2
"""A synaptic word has 16 bits."""
ROW_BYTES = 4
"""What a source neuron's row takes beside its synapses: where it begins, or how long it is. Assumed; the layout is not published."""
_RESOURCES = ("populations", "neurons", "memory")


def _counted(projection: QuantizedProjection) -> bool:
    return projection.receptor == 0 or not isinstance(projection.connectivity, Conv2d)


def _rows(projection: QuantizedProjection, whole: Dense) -> int:
    """Return how many sources of a dense projection have a row of its own."""
    return whole.in_size if projection.receptor == 0 else 0


def _synapses(whole: Dense | Sparse) -> Array:
    """Return how many synapses each target has, (n,) int64."""
    there = whole.weights != 0
    if isinstance(whole, Dense):
        return np.asarray(there.sum(1), np.int64)
    return np.bincount(whole.targets[there], minlength=whole.out_size).astype(np.int64)


def _taps(conv: Conv2d, axis: int) -> Array:
    """Return the taps inside the source for each output row (axis 0) or column (1), int64."""
    outputs, taps = np.arange(conv.out_shape[axis + 1]), np.arange(conv.kernel_size[axis])
    positions = outputs[:, None] * conv.stride[axis] - conv.padding[axis] + taps[None, :] * conv.dilation[axis]
    inside: Array = ((positions >= 0) & (positions < conv.in_shape[axis + 1])).sum(1)
    return inside


def _bytes(axons: int, synapses: int) -> int:
    return ROW_BYTES * axons + SYNAPSE_BYTES * synapses


def demand(network: QuantizedNetwork, population: str, part: Slice) -> Demand:
    """See `nmap.target.backend.Target.demand`.

    Raises:
        ValueError: the targets of a convolution are not a box.
    """
    memory = 0
    for projection in network.afferents(population):
        whole = projection.connectivity
        if not _counted(projection):
            continue
        if isinstance(whole, Conv2d):
            if not isinstance(part, tuple):
                raise ValueError(f"the targets of the convolution {projection.name} are not a box")
            synapses = (part[0][1] - part[0][0]) * int(whole.weights.shape[1]) * prod(
                int(_taps(whole, axis)[start:stop].sum()) for axis, (start, stop) in enumerate(part[1:])
            )
            memory += _bytes(box_size(conv_halo(whole, part)), synapses)
        elif isinstance(whole, Dense):
            # Of a vector, a span needs no copy.
            one = isinstance(part, tuple) and len(part) == 1
            chosen = slice(*part[0]) if one else slice_indices(part, network[population].shape)
            memory += _bytes(_rows(projection, whole), int(np.count_nonzero(whole.weights[chosen])))
        else:
            entries = whole.entries(slice_indices(part, network[population].shape))
            memory += _bytes(np.unique(whole.indices[entries]).size, int(np.count_nonzero(whole.weights[entries])))
    return {"populations": 1, "neurons": slice_size(part), "memory": memory}


def neuron_demand(network: QuantizedNetwork, population: str) -> NeuronDemand:
    """See `nmap.target.backend.Target.neuron_demand`; exact, since nothing is rounded.

    Raises:
        ValueError: an afferent is a convolution.
    """
    neuron = np.zeros((3, network[population].size), np.int64)
    neuron[1] = 1
    axons = []
    for projection in network.afferents(population):
        whole = projection.connectivity
        if isinstance(whole, Conv2d):
            raise ValueError(f"{projection.name} is a convolution, which is cut into boxes")
        neuron[2] += SYNAPSE_BYTES * _synapses(whole)
        has_rows = isinstance(whole, Sparse) or projection.receptor == 0
        axons.append(np.array([[0], [0], [ROW_BYTES if has_rows else 0]]))
    return NeuronDemand(_RESOURCES, 1, neuron, tuple(axons), np.array([1, 0, 0]), np.zeros(3, np.int64))


def demand_at_most(network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
    """See `nmap.target.backend.Target.demand_at_most`."""
    neurons, memory = prod(extent), 0
    for projection in network.afferents(population):
        whole = projection.connectivity
        if not _counted(projection):
            continue
        if isinstance(whole, Conv2d):
            synapses = extent[0] * int(whole.weights.shape[1]) * prod(
                _largest_window(_taps(whole, axis), size) for axis, size in enumerate(extent[1:])
            )
            memory += _bytes(prod(_widest_halo(whole, extent)), synapses)
        elif isinstance(whole, Dense):
            memory += _bytes(_rows(projection, whole), int(np.sort(_synapses(whole))[::-1][:neurons].sum()))
        else:
            # A weight of 0 has its source's row nevertheless.
            rows = int(np.sort(np.diff(whole.indptr))[::-1][:neurons].sum())
            synapses = int(np.sort(_synapses(whole))[::-1][:neurons].sum())
            memory += _bytes(min(rows, np.unique(whole.indices).size), synapses)
    return {"populations": 1, "neurons": neurons, "memory": memory}


def demand_floor(network: QuantizedNetwork, population: str, spec: ChipSpec) -> dict[str, float]:
    """See `nmap.target.backend.Target.demand_floor`.

    A neuron and a synapse are on one element each. Every piece repeats the rows of its dense projections, and there are at least as many
    pieces as neurons and memory demand; a row of another projection is needed at least once.
    """
    size = network[population].size
    afferents = [p for p in network.afferents(population) if _counted(p)]
    regular = [(p, p.connectivity) for p in afferents if isinstance(p.connectivity, Dense)]
    rows = sum(_rows(p, whole) for p, whole in regular)
    synapses = sum((_synapses(whole) for _, whole in regular), np.zeros(size, np.int64))
    # No piece holds more neurons than those with the fewest synapses fill.
    filled = np.cumsum(np.sort(synapses)) * SYNAPSE_BYTES
    room = int(np.searchsorted(filled, max(spec.resources["memory"].max - ROW_BYTES * rows, 0), side="right"))
    # A population of which not even one neuron fits is refused elsewhere.
    pieces = -(-size // max(min(spec.resources["neurons"].max, room), 1))
    memory = float(_bytes(rows * pieces, int(synapses.sum())))
    for whole in (p.connectivity for p in afferents):
        if isinstance(whole, Sparse):
            memory += _bytes(np.unique(whole.indices).size, int(_synapses(whole).sum()))
        elif isinstance(whole, Conv2d):
            taps = int(whole.weights.shape[0]) * int(whole.weights.shape[1]) * prod(int(_taps(whole, axis).sum()) for axis in (0, 1))
            memory += _bytes(whole.in_shape[0] * prod(_touched(whole, axis) for axis in (0, 1)), taps)
    return {"populations": float(pieces), "neurons": float(size), "memory": memory}


def _touched(conv: Conv2d, axis: int) -> int:
    """Return how many source rows (axis 0) or columns (1) some output reads."""
    outputs, taps = np.arange(conv.out_shape[axis + 1]), np.arange(conv.kernel_size[axis])
    positions = outputs[:, None] * conv.stride[axis] - conv.padding[axis] + taps[None, :] * conv.dilation[axis]
    return int(np.unique(positions[(positions >= 0) & (positions < conv.in_shape[axis + 1])]).size)


def _span(conv: Conv2d, axis: int, start: int, stop: int) -> int:
    """Return the source rows or columns between the first and the last tap of outputs start..stop-1, cut at the source's edges."""
    low = start * conv.stride[axis] - conv.padding[axis]
    high = (stop - 1) * conv.stride[axis] - conv.padding[axis] + conv.dilation[axis] * (conv.kernel_size[axis] - 1) + 1
    return max(0, min(high, conv.in_shape[axis + 1]) - max(low, 0))


def _widest_halo(conv: Conv2d, extent: tuple[int, ...]) -> tuple[int, int, int]:
    channels, height, width = (range(whole - size + 1) for whole, size in zip(conv.out_shape, extent, strict=True))
    per_out, per_in = conv.weights.shape[0] // conv.groups, conv.in_shape[0] // conv.groups
    return (
        max(((c + extent[0] - 1) // per_out - c // per_out + 1) * per_in for c in channels),
        max(_span(conv, 0, y, y + extent[1]) for y in height),
        max(_span(conv, 1, x, x + extent[2]) for x in width),
    )


def _largest_window(counts: Array, size: int) -> int:
    sums = np.concatenate([[0], np.cumsum(counts)])
    return int((sums[size:] - sums[:-size]).max())
