"""The quantized network: integers only, still the unmapped graph, in the chip's own time.

This is the `fixed` level. A target makes it from a `Network`; the plain reference simulator runs it; mapping cuts it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod
from typing import Literal

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, frozen_array
from nmap.network import Provenance

__all__ = ["LayerLoss", "QuantizedNetwork", "QuantizedPopulation", "QuantizedProjection", "SynapseFormat"]


@dataclass(frozen=True, slots=True)
class SynapseFormat:
    """How a projection's weights are stored and what its accumulator adds to the dendritic sum.

    The sum of weight times payload over the spikes that arrive in one step (per delay) is shifted left by `exponent`, or right
    (floor) where it is negative, and added to the target's dendritic accumulator. An accumulator of finite width wraps in two's
    complement, before the shift and after it.

    Args:
        bits: weight bits the chip stores per synapse.
        exponent: power of two applied to the accumulated sum.
        sign: sign mode of the *whole* matrix; a cut matrix keeps it, since the chip's weight grid depends on it.
        message_bits: 0 for binary spikes (any payload acts as 1), else the payload's width.
        accumulator: bits of the sum; 0 where it is proved that the chip's width is enough.
    """

    bits: int
    exponent: int = 0
    sign: Literal["mixed", "excitatory", "inhibitory"] = "mixed"
    message_bits: int = 0
    accumulator: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedPopulation:
    """Neurons with integer parameters, or an input port when `kernel` is None.

    Args:
        name, shape, where: as in `Population`.
        kernel: name of the target's neuron kernel.
        params: integer arrays, (n,) int64 each; the kernel's parameters.
        initial: integer arrays (n,) int64, initial state by state variable; a variable not named starts at 0.
        scale: integer state units per unit of the network's own v, (n,) float64 or (1,); None for an input port.
        latency: chip steps by which this population runs behind the network's own time.
        copies: (n,) int64, how many of the chip's neurons compute each neuron, itself included; None for one each. See
            `nmap.target.backend.Replicating`.
        busy: spikes that the population sends in its busiest step, as far as samples tell; None where that is not known.
    """

    name: str
    shape: tuple[int, ...]
    kernel: str | None
    params: dict[str, Array]
    where: Provenance
    initial: dict[str, Array] = field(default_factory=dict)
    scale: Array | None = None
    latency: int = 0
    copies: Array | None = None
    busy: float | None = None

    def __post_init__(self) -> None:
        if self.copies is not None:
            object.__setattr__(self, "copies", frozen_array(np.broadcast_to(self.copies, (self.size,)), np.int64))
        for values in (self.params, self.initial):
            for key, value in values.items():
                values[key] = frozen_array(np.broadcast_to(value, (self.size,)), np.int64)

    @property
    def size(self) -> int:
        """Number of neurons."""
        return prod(self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedProjection:
    """Synapses with integer weights and realised delays.

    Args:
        connectivity: int32 weights as the chip applies them (before the exponent).
        delay: chip steps beyond the one step that every hop takes: a spike sent in step t acts in step t + 1 + delay.
        delays: per-synapse steps added to `delay`, int64 like the dense weights, or None.
        receptor: number of the target's dendritic input, 0 to the kernel's `receptors` - 1.
    """

    name: str
    source: str
    target: str
    connectivity: Connectivity
    format: SynapseFormat
    delay: int
    where: Provenance
    delays: Array | None = None
    receptor: int = 0

    def __post_init__(self) -> None:
        if self.connectivity.weights.dtype != np.int32:
            raise ValueError(f"weights of {self.name} are not int32")
        if self.delays is not None:
            object.__setattr__(self, "delays", frozen_array(self.delays, np.int64))


@dataclass(frozen=True, slots=True)
class LayerLoss:
    """What quantization did to the weights that meet in one population's membrane.

    Args:
        name: population.
        bits: weight bits.
        scale: integer weight units per unit of the file's weight (before the exponent).
        exponent: shared weight exponent.
        sqnr_db: signal to quantization noise of the weights, 10 log10(sum w^2 / sum error^2); None when there is no error.
        clipped: weights clipped to the representable range.
        zeroed: non-zero weights that became 0.
        threshold_error, decay_error, bias_error: largest relative (threshold, bias) or absolute (decay factor) error.
    """

    name: str
    bits: int
    scale: float
    exponent: int
    sqnr_db: float | None
    clipped: int
    zeroed: int
    threshold_error: float | None = None
    decay_error: float | None = None
    bias_error: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedNetwork:
    """A network a target can hold: integer arithmetic, chip time.

    Time: in chip step c every population updates from what arrived in c; a spike of step c acts in step c + 1 + delay. Input
    column t is sent in step t, so a population whose `latency` is L computes the network's step t in chip step t + L.

    Args:
        populations: input ports first.
        projections: in the network's order.
        inputs, outputs: population names.
        losses: one per population with weights.
        settings: what the chip's software is told of the network as a whole, by name.

    A population behind a convolution takes the convolution's shape where its own, of as many neurons, is another: files state signals of
    one dimension without rows, and cores are given boxes of rows.
    """

    populations: tuple[QuantizedPopulation, ...]
    projections: tuple[QuantizedProjection, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    losses: tuple[LayerLoss, ...] = ()
    settings: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        made = {p.target: p.connectivity.out_shape for p in self.projections if isinstance(p.connectivity, Conv2d)}
        populations = tuple(
            replace(p, shape=made[p.name]) if p.name in made and p.shape != made[p.name] and p.size == prod(made[p.name]) else p
            for p in self.populations
        )
        object.__setattr__(self, "populations", populations)

    def __getitem__(self, name: str) -> QuantizedPopulation:
        return next(p for p in self.populations if p.name == name)

    def afferents(self, name: str) -> tuple[QuantizedProjection, ...]:
        """Projections into a population, in order."""
        return tuple(p for p in self.projections if p.target == name)

    @property
    def latency(self) -> int:
        """Chip steps to run beyond the input's length: the largest latency of an output."""
        return max(self[name].latency for name in self.outputs)

    @property
    def window(self) -> int:
        """Steps of the network that one step of the chip stands for; see `nmap.windows`."""
        return self.settings.get("window", 1)
