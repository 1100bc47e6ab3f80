"""The network as its file states it: populations, projections, conventions, and where each came from.

PyNN's words: a *population* is a group of neurons with one model; a *projection* connects two populations. Connectivity stays
implicit (`nmap.connectivity`). Nothing here knows a chip.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, frozen_array
from nmap.diagnostics import Diagnostic

if TYPE_CHECKING:
    import networkx as nx

__all__ = [
    "Adaptation",
    "Assumption",
    "Conventions",
    "Model",
    "Network",
    "Neuron",
    "Population",
    "Projection",
    "Provenance",
    "Resonator",
    "SigmaDelta",
]

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
        dt: seconds per time step; None where the file counts in steps (netx, Sinabs) whose length is not known.
        reset: `zero` sets v to the neuron's reset value on a spike; `subtract` takes the threshold off in the same step;
            `delayed` takes it off in the next step.
        decay: `euler` 1 - dt/tau; `exact` exp(-dt/tau); `steps` decay factors are stored in the file as 12-bit integers and the
            state is truncated toward zero after each decay, as the exporting framework does.
        compare: `>` or `>=` against the threshold.
        multiple: a neuron may send several spikes in one step, trunc(v / threshold) of them, and its subtracting reset takes that
            many thresholds off (Sinabs, Rockpool); False for at most one.
        floor: v is not left below `floor` times the threshold (Sinabs' import: -1); None for no floor.
        early_reset: a `subtract` reset as snnTorch computes it: a threshold is taken off before the comparison where the membrane was
            left above it by the step before, and given back where the neuron then does not fire.
        lag: steps between a threshold's crossing and the spike it sends (Spyx: 1).
        late_bias: the bias of a recurrent projection acts from the step in which its first spike can arrive (Norse), not from step 0.
        gain: into the membrane and the current: `euler` r dt/tau; `exact` r (1 - exp(-dt/tau)), for an input constant over the step.
        reset_interval, reset_offset: before every step t with (t - hops) % reset_interval equal to reset_offset % reset_interval, i and v
            of integrate-and-fire neurons (`Neuron` without adaptation) become 0, whatever the neuron's reset value is; then the step goes
            on as usual. `hops` is the population's. Interval 0: never. Spikes under way stay under way.
        in_steps: the file's time constants, gains and delays count steps although dt is known, which then says how long one lasts.
    """

    dt: float | None
    reset: Reset = "zero"
    decay: Literal["euler", "exact", "steps"] = "euler"
    compare: Literal[">", ">="] = ">"
    multiple: bool = False
    floor: float | None = None
    early_reset: bool = False
    lag: int = 0
    late_bias: bool = False
    gain: Literal["euler", "exact"] = "euler"
    in_steps: bool = False
    reset_interval: int = 0
    reset_offset: int = 0

    @property
    def unit(self) -> float:
        """The time step in the unit of the file's time constants: dt, or 1 where they count steps."""
        return 1.0 if self.in_steps or self.dt is None else self.dt


@dataclass(frozen=True, slots=True, eq=False)
class Adaptation:
    """An adaptive threshold with a refractory state, one value per neuron (arrays (n,) float64, read-only; lava-dl's ALIF and ADRF).

    In each step, before the comparison, the threshold decays towards its resting value and the refractory state towards 0:

        theta = threshold + threshold_decay (theta - threshold)
        rho = refractory_decay rho
        spike where v >= theta + rho; then rho += 2 theta, theta += step (with the theta of the comparison)

    At the start theta is the threshold and rho 0. Here v is a `Neuron`'s membrane or a `Resonator`'s re (`phase`, together with its
    crossing of im) or im (`izhikevich`); nothing is reset, and the comparison is >= whatever `Conventions.compare` says.

    Args:
        threshold_decay, refractory_decay: factors per step.
        step: added to the threshold on a spike.
        quantum: resolution: both decays, and v for the comparison, are truncated toward zero to multiples of it; None means real numbers.
    """

    threshold_decay: Array
    refractory_decay: Array
    step: Array
    quantum: float | None = None

    def __post_init__(self) -> None:
        _freeze(self, "threshold_decay", "refractory_decay", "step")


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
        adaptation: adaptive threshold instead of the reset of `Conventions`, or None.
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
    adaptation: Adaptation | None = None
    fields: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _freeze(self, "alpha", "gain_in", "gain_v", "beta", "drive", "threshold", "v_reset")


@dataclass(frozen=True, slots=True, eq=False)
class Resonator:
    """Resonate-and-fire neurons, one value per neuron (arrays (n,) float64, read-only; Lava's RF and RF_IZ).

    The state is a complex number that rotates and decays; with x and y the summed inputs of the receptors `input` and `imaginary`:

        re' = T(cos re) - T(sin im) + x
        im' = T(sin re) + T(cos im) + y         (re, im of the step before; T truncates toward zero to multiples of `quantum`)
        firing `phase`: spike where re' >= threshold and im' >= 0 and im < 0; no reset
        firing `izhikevich`: spike where im' >= threshold; then re = 0, im = threshold - quantum (0 for real numbers)

    With an `adaptation`, theta + rho takes the threshold's place and nothing is reset. Recorded as `v` is im, as `u` re, both after the
    reset.

    Args:
        model: the file's own name of the model.
        cos, sin: decayed rotation per step: decay factor times cosine and sine of the angle.
        threshold: firing threshold.
        drive: constant added to re each step.
        firing: see above.
        quantum: state resolution; None means real numbers.
        adaptation: adaptive threshold, or None.
        fields: the file's own parameter values, for inspection.
    """

    model: str
    cos: Array
    sin: Array
    threshold: Array
    drive: Array
    firing: Literal["phase", "izhikevich"]
    quantum: float | None = None
    adaptation: Adaptation | None = None
    fields: dict[str, Array] = field(default_factory=dict)

    spiking = True

    def __post_init__(self) -> None:
        _freeze(self, "cos", "sin", "threshold", "drive")


@dataclass(frozen=True, slots=True, eq=False)
class SigmaDelta:
    """Sigma-delta neurons, which send graded spikes (integers) when their activation has changed enough.

    Integer arithmetic, as Lava's fixed-point models compute it; a is the summed input of a step, all states start at 0:

        role `delta`:        x = a 2^(spike_exp + state_exp)
        role `sigma_delta`:  sigma += a; x = sigma + bias, and 0 where that is negative if `rectify`
        both:                d = x - act + residue; o = d where |d| >= threshold, else 0; residue = d - o; act = x;
                             sends floor(o / 2^state_exp)
        role `sigma`:        sigma += a; sends sigma

    Recorded as `v` is act (of `sigma`, sigma), as `u` sigma (of `delta`, the summed input).

    Args:
        model: the file's own name of the model.
        role: see above.
        threshold, bias: (n,) float64 holding integers, in units of the state (the file's values times 2^(spike_exp + state_exp)).
        spike_exp, state_exp: fractional bits of a spike and of the state.
        rectify: whether the activation is a rectified linear unit; False for the identity.
        fields: the file's own parameter values, for inspection.
    """

    model: str
    role: Literal["delta", "sigma_delta", "sigma"]
    threshold: Array
    bias: Array
    spike_exp: int = 6
    state_exp: int = 6
    rectify: bool = True
    fields: dict[str, Array] = field(default_factory=dict)

    spiking = True

    def __post_init__(self) -> None:
        _freeze(self, "threshold", "bias")


Model: TypeAlias = Neuron | Resonator | SigmaDelta


def _freeze(instance: object, *names: str) -> None:
    for name in names:
        object.__setattr__(instance, name, frozen_array(np.atleast_1d(getattr(instance, name)), np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Population:
    """A group of neurons, or an input port when `neuron` is None.

    Args:
        name: unique in the network.
        shape: for example (channels, height, width) or (n,); neuron indices are C order over it.
        neuron: the model; every array has prod(shape) entries.
        where: place in the file.
        hops: steps of the network's own time that the input takes to get here, by which the periodic reset is later: a netx file's layers
            are reset one after the other, each in the step in which the same input column reaches it.
    """

    name: str
    shape: tuple[int, ...]
    neuron: Model | None
    where: Provenance
    hops: int = 0

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.shape)

    @property
    def silent(self) -> bool:
        """Whether these are neurons that never fire: what they send is their membrane potential."""
        return self.neuron is not None and not self.neuron.spiking


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
        where: place in the file.
        delays: per-synapse delays in steps, added to `delay`; of the shape of the connection's weights, (targets, sources) for a dense
            one, (synapses,) for a sparse one; or None. A convolution has none.
        bias_from: first step in which the bias acts.
        receptor: which input of the target: `input`, or `imaginary` of a `Resonator`.
    """

    name: str
    source: str
    target: str
    connectivity: Connectivity
    bias: Array | None
    delay: int
    where: Provenance
    delays: Array | None = None
    bias_from: int = 0
    receptor: Literal["input", "imaginary"] = "input"

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
        import networkx as nx

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
        by_name = {p.name: p for p in self.populations}
        for p in self.projections:
            source, target = by_name[p.source], by_name[p.target]
            if p.connectivity.in_size != source.size or p.connectivity.out_size != target.size:
                raise ValueError(f"projection {p.name} does not fit its populations")
            if p.bias is not None and p.bias.shape != (target.size,):
                raise ValueError(f"bias of {p.name} does not have one value per target neuron")
            if p.delays is not None and (isinstance(p.connectivity, Conv2d) or p.delays.shape != p.connectivity.weights.shape):
                raise ValueError(f"projection {p.name} does not have one delay per synapse")
            if p.receptor == "imaginary" and not isinstance(target.neuron, Resonator):
                raise ValueError(f"projection {p.name} leads to an imaginary part that its target does not have")
        if not self.inputs or not self.outputs:
            raise ValueError("a network needs an input and an output")
