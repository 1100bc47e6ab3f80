"""A network in integers that is not yet in the chip's time: what is inserted into it changes every latency behind it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.quantized import SynapseFormat

__all__ = [
    "FORMAT", "Draft", "Edge", "Unit", "counted", "gate_parameters", "identity", "nonzero", "relay_parameters", "row_maxima", "unlisted",
]

FORMAT = SynapseFormat(9)
"""Of all synapses: nine bits, signed; sums of at most 256 axons need no accumulator."""


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A population.

    Args:
        name, shape, where: as in `nmap.quantized.QuantizedPopulation`.
        params: (n,) int64 by name; None for an input port.
        start: (n,) int64, v before the network's first step.
        scale: (n,) float64, units of v per unit of the network's own v; None for a port.
    """

    name: str
    shape: tuple[int, ...]
    where: Provenance
    params: dict[str, Array] | None = None
    start: Array | None = None
    scale: Array | None = None

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(np.prod(self.shape))


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """A projection in the network's own time.

    Args:
        connectivity: int32 weights.
        delay: as in `nmap.network.Projection`.
        delays: steps of each synapse added to it, of the weights' shape, or None.
    """

    name: str
    source: str
    target: str
    connectivity: Connectivity
    delay: int
    where: Provenance
    delays: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """Populations and projections in order."""

    units: tuple[Unit, ...]
    edges: tuple[Edge, ...]
    taken: set[str] = field(default_factory=set)

    def __getitem__(self, name: str) -> Unit:
        return next(unit for unit in self.units if unit.name == name)

    def into(self, name: str) -> list[Edge]:
        """Return the projections into a population, in order."""
        return [edge for edge in self.edges if edge.target == name]

    def out_of(self, name: str) -> list[Edge]:
        """Return the projections out of a population, in order."""
        return [edge for edge in self.edges if edge.source == name]

    def fresh(self, wanted: str) -> str:
        """Return a name that nothing has, and take it."""
        used = {unit.name for unit in self.units} | {edge.name for edge in self.edges} | self.taken
        name = wanted
        while name in used:
            name += "_"
        self.taken.add(name)
        return name

    def with_edges(self, changed: dict[str, tuple[Edge, ...]]) -> Draft:
        """Return the draft with each named projection replaced by others, in its place."""
        return replace(self, edges=tuple(new for edge in self.edges for new in changed.get(edge.name, (edge,))))


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts, as a message has it."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def gate_parameters(threshold: Array) -> dict[str, Array]:
    """Return the parameters of neurons without memory that fire where the sum of a tick reaches their threshold, (n,) int64 each."""
    zero, one = np.zeros_like(threshold), np.ones_like(threshold)
    return {
        "alpha": zero, "beta": zero, "leak": -threshold, "epsilon": zero, "gamma": zero, "kappa": one, "sigma_vr": one, "vr": zero,
    }


def relay_parameters(neurons: int) -> dict[str, Array]:
    """Return the parameters of neurons that pass on every spike which arrives by a synapse of weight 1."""
    zero, one = np.zeros(neurons, np.int64), np.ones(neurons, np.int64)
    return {"alpha": one, "beta": zero, "leak": zero, "epsilon": zero, "gamma": zero, "kappa": one, "sigma_vr": one, "vr": zero}


def identity(shape: tuple[int, ...]) -> Connectivity:
    """Return synapses of weight 1 from each neuron to the one in its place; as regular as the shape is."""
    if len(shape) == 3:
        channels, height, width = shape
        return Conv2d(np.ones((channels, 1, 1, 1), np.int32), (channels, height, width), groups=channels)
    return Sparse.diagonal(np.ones(int(np.prod(shape)), np.int32))


def unlisted(connectivity: Connectivity, delays: Array | None) -> tuple[Sparse, Array | None]:
    """Return the synapses whose weight is not 0 one by one, and their delays in the same order."""
    if isinstance(connectivity, Conv2d):
        return connectivity.unrolled(), None
    if isinstance(connectivity, Dense):
        listed = Sparse.from_dense(connectivity.weights)
        return listed, None if delays is None else delays[connectivity.weights != 0]
    kept = connectivity.weights != 0
    counts = np.bincount(connectivity.targets[kept], minlength=connectivity.out_size)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    listed = Sparse(indptr, connectivity.indices[kept], connectivity.weights[kept], connectivity.in_size)
    return listed, None if delays is None else delays[kept]


def nonzero(connectivity: Connectivity) -> Array:
    """Return how many synapses of each target have a weight other than 0, (targets,) int64; of a convolution, taps on the padding too."""
    weights = connectivity.weights
    if isinstance(connectivity, Dense):
        return np.count_nonzero(weights, axis=1)
    if isinstance(connectivity, Sparse):
        return np.bincount(connectivity.targets[weights != 0], minlength=connectivity.out_size)
    return np.repeat(np.count_nonzero(weights.reshape(weights.shape[0], -1), axis=1), int(np.prod(connectivity.out_shape[1:])))


def row_maxima(connectivity: Connectivity) -> Array:
    """Return the largest size of a weight of each target, (targets,)."""
    size = np.abs(connectivity.weights)
    if isinstance(connectivity, Dense):
        return size.max(axis=1, initial=0)
    if isinstance(connectivity, Conv2d):
        return np.repeat(size.reshape(size.shape[0], -1).max(axis=1, initial=0), int(np.prod(connectivity.out_shape[1:])))
    out = np.zeros(connectivity.out_size, size.dtype)
    np.maximum.at(out, connectivity.targets, size)
    return out
