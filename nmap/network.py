"""The network as its file states it: populations, projections, conventions, and where each came from.

PyNN's words: a *population* is a group of neurons with one model; a *projection* connects two populations. Connectivity stays
implicit (`nmap.connectivity`). Nothing here knows a chip.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Literal

import networkx as nx
import numpy as np

from nmap.connectivity import Array, Connectivity, frozen_array
from nmap.diagnostics import Diagnostic

__all__ = ["Assumption", "Conventions", "Network", "Neuron", "Population", "Projection", "Provenance"]

Reset = Literal["zero", "subtract", "delayed"]


@dataclass(frozen=True, slots=True)
class Provenance:
    """A place in the user's file: the file's name and the HDF5 path inside it."""

    file: str
    path: str

    def __str__(self) -> str:
        return f"{self.file}:{self.path}"


@dataclass(frozen=True, slots=True)
class Assumption:
    """Something a file does not say and the reader settled.

    Args:
        name: what was settled (`dt`, `reset`, `decay`, `comparison`, `timing`, ...).
        value: the value, as printed.
        source: who settled it: `command line`, `file`, `inferred` or `default`.
        evidence: why, in one phrase.
    """

    name: str
    value: str
    source: Literal["command line", "file", "inferred", "default"]
    evidence: str

    def __str__(self) -> str:
        return f"{self.name} = {self.value} ({self.source}: {self.evidence})"


@dataclass(frozen=True, slots=True)
class Conventions:
    """How the file's continuous-time neurons become a difference equation.

    Args:
        dt: seconds per time step; None where the file counts in steps (netx, Sinabs), whose length is not known.
        reset: `zero` sets v to the neuron's reset value on a spike; `subtract` takes the threshold off in the same step;
            `delayed` takes it off in the next step.
        decay: `euler` 1 - dt/tau; `exact` exp(-dt/tau); `steps` decay factors are stored in the file as 12-bit integers and the
            state is truncated toward zero after each decay, as the exporting framework does.
        compare: `>` or `>=` against the threshold.
    """

    dt: float | None
    reset: Reset = "zero"
    decay: Literal["euler", "exact", "steps"] = "euler"
    compare: Literal[">", ">="] = ">"


@dataclass(frozen=True, slots=True, eq=False)
class Neuron:
    """Neurons of one model as a difference equation, one value per neuron (arrays (n,) float64, read-only).

    With x the summed input of a step (weights times spikes, plus the projections' biases):

        i = alpha i + gain_in x
        v = beta v + gain_v i + drive
        spike where v > threshold (or >=); then reset, see `Conventions.reset`

    Args:
        model: the file's own name of the model (`LIF`, `CubaLIF`, `IF`, `LI`, `CUBA`, ...).
        alpha: synaptic decay factor per step; 0 for a model without synaptic current.
        gain_in, gain_v: gains into the current and into the membrane.
        beta: membrane decay factor per step; 1 for a neuron without leak.
        drive: constant added to v each step (leak towards a resting potential, bias of an integer model).
        threshold: firing threshold.
        v_reset: value v takes on a spike when the reset is `zero`.
        spiking: False for a leaky integrator that never fires; its output is v.
        quantum: state resolution: after each decay i and v are truncated toward zero to multiples of it; None means real numbers.
        fields: the file's own parameter values, for inspection.
    """

    model: str
    alpha: Array
    gain_in: Array
    gain_v: Array
    beta: Array
    drive: Array
    threshold: Array
    v_reset: Array
    spiking: bool = True
    quantum: float | None = None
    fields: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("alpha", "gain_in", "gain_v", "beta", "drive", "threshold", "v_reset"):
            object.__setattr__(self, name, frozen_array(np.atleast_1d(getattr(self, name)), np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """A group of neurons, or an input port when `neuron` is None.

    Args:
        name: unique in the network.
        shape: for example (channels, height, width) or (n,); neuron indices are C order over it.
        neuron: the model; every array has prod(shape) entries.
        where: place in the file.
    """

    name: str
    shape: tuple[int, ...]
    neuron: Neuron | None
    where: Provenance

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Projection:
    """Synapses from one population to another.

    Args:
        name: unique in the network.
        source, target: population names.
        connectivity: real-valued weights.
        bias: (targets,) added to the summed input every step, or None.
        delay: steps between a spike and its effect in the network's own time: 0 acts in the same step (a feed-forward NIR edge),
            1 in the next one (a recurrent edge).
        delays: per-synapse delays in steps, added to `delay`; (targets, sources) for a dense connection, or None.
        where: place in the file.
    """

    name: str
    source: str
    target: str
    connectivity: Connectivity
    bias: Array | None
    delay: int
    where: Provenance
    delays: Array | None = None

    def __post_init__(self) -> None:
        if self.bias is not None:
            object.__setattr__(self, "bias", frozen_array(self.bias, np.float64))
        if self.delays is not None:
            object.__setattr__(self, "delays", frozen_array(self.delays, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """A spiking network, hardware-agnostic.

    Args:
        file: the file's name as the user gave it.
        format: `nir` or `netx`.
        sha256: of the file.
        populations: input ports first, then in an order in which feed-forward projections point forward.
        projections: in the file's order.
        inputs, outputs: population names.
        conventions: the settled conventions.
        assumptions: one per convention, with the evidence.
        notes: further facts about the reading (fusions, stripped dimensions), one sentence each.
        diagnostics: warnings about values of the file that were changed in reading, with counts.
    """

    file: str
    format: Literal["nir", "netx"]
    sha256: str
    populations: tuple[Population, ...]
    projections: tuple[Projection, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    conventions: Conventions
    assumptions: tuple[Assumption, ...] = ()
    notes: tuple[str, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    def __getitem__(self, name: str) -> Population:
        return next(p for p in self.populations if p.name == name)

    @property
    def neurons(self) -> int:
        """Number of neurons, input ports excluded."""
        return sum(p.size for p in self.populations if p.neuron is not None)

    @property
    def synapses(self) -> int:
        """Number of synapses, convolutions unrolled, padding taps included."""
        return sum(p.connectivity.synapses for p in self.projections)

    @property
    def graph(self) -> nx.MultiDiGraph:
        """Populations as nodes, projections as edges keyed by their name."""
        graph = nx.MultiDiGraph()
        graph.add_nodes_from((p.name, {"population": p}) for p in self.populations)
        graph.add_edges_from((p.source, p.target, p.name, {"projection": p}) for p in self.projections)
        return graph

    def check(self) -> None:
        """Assert the invariants a reader must establish.

        Raises:
            ValueError: an invariant does not hold; a defect of the reader, not of the file.
        """
        names = [p.name for p in self.populations]
        if len(set(names)) != len(names) or len({p.name for p in self.projections}) != len(self.projections):
            raise ValueError("names are not unique")
        for population in self.populations:
            if population.neuron is not None and population.neuron.threshold.shape != (population.size,):
                raise ValueError(f"parameters of {population.name} do not have one value per neuron")
        for p in self.projections:
            if p.connectivity.in_size != self[p.source].size or p.connectivity.out_size != self[p.target].size:
                raise ValueError(f"projection {p.name} does not fit its populations")
            if p.bias is not None and p.bias.shape != (self[p.target].size,):
                raise ValueError(f"bias of {p.name} does not have one value per target neuron")
        if not self.inputs or not self.outputs:
            raise ValueError("a network needs an input and an output")
