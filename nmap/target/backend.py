"""The contract a chip implements: everything the core asks of a target plug-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.diagnostics import Findings
from nmap.emulate.kernel import Kernel
from nmap.network import Network
from nmap.options import Options
from nmap.program import Program, Slice
from nmap.quantized import QuantizedNetwork
from nmap.target.spec import ChipSpec

if TYPE_CHECKING:
    from nmap.estimate import Load
    from nmap.report.model import Estimate
    from nmap.target.machine import Machine

__all__ = ["Demand", "Estimating", "Exporter", "NeuronDemand", "Rule", "Target", "VendorFile", "VendorRun"]

Demand: TypeAlias = dict[str, int]
"""Units of each of the chip's resources; keys are those of `ChipSpec.resources`."""

Rule: TypeAlias = Callable[[Network, ChipSpec, Options, Findings], None]
"""A design rule: looks at the whole network and records every offence it finds."""


@dataclass(frozen=True, slots=True, eq=False)
class NeuronDemand:
    """What single neurons of a population take, so that a partitioner can price any set of them by adding numbers.

    For every index list S of the population and every resource, `scale` times `Target.demand` is at most

        fixed + sum of `neuron` over S + sum over the afferents of `axon` over the distinct sources with a synapse onto S

    and, with `axon_least` in the place of `axon`, at least that. All sources of a dense afferent have a synapse onto any S.

    Args:
        resources: names, those of `ChipSpec.resources`, R of them.
        scale: the amounts are in units of 1 / scale: a chip that rounds memory up per axon has fractions of its words here.
        neuron: (R, n) int64, what a neuron takes wherever it lies, its synapses included.
        axon: one array per afferent, in the order of `QuantizedNetwork.afferents`: (R, 1) or (R, sources) int64, what a distinct
            incoming axon takes on a core.
        fixed: (R,) int64, what every core with a neuron of the population pays once.
        route: (R,) int64, what a remote destination of a spike takes on the core of its neuron; not a part of `Target.demand`.
        axon_least: see above; None where `axon` is exact.
    """

    resources: tuple[str, ...]
    scale: int
    neuron: Array
    axon: tuple[Array, ...]
    fixed: Array
    route: Array
    axon_least: tuple[Array, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("neuron", "fixed", "route"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.int64))
        for name in ("axon", "axon_least"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, tuple(frozen_array(amount, np.int64) for amount in getattr(self, name)))


@dataclass(frozen=True, slots=True, eq=False)
class VendorRun:
    """What the vendor's own software computed from the emitted artefact.

    Args:
        name, version: of the vendor's package; version is None when it could not be run.
        spikes: (samples, chip steps, neurons) int32 by population name, in raw chip time; empty when it could not be run.
        missing: why it could not be run, else None.
    """

    name: str
    version: str | None
    spikes: dict[str, Array] = field(default_factory=dict)
    missing: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class VendorFile:
    """A quantized network in a file of the vendor's own tools.

    Args:
        content: of the file; the same network gives the same bytes.
        notes: what a user has to know to use it, one sentence each.
        conventions: what `nmap.readers.read` has to be told beside the file.
    """

    content: bytes
    notes: tuple[str, ...] = ()
    conventions: dict[str, Any] = field(default_factory=dict)


@runtime_checkable
class Exporter(Protocol):
    """What a target has beside `Target` where its vendor's tools read networks from files that nmap reads too (`nmap export`)."""

    @property
    def formats(self) -> Mapping[str, str]:
        """What each format is, by the name that `nmap export --format` takes."""

    def export(self, network: QuantizedNetwork, format: str, findings: Findings) -> VendorFile | None:  # noqa: A002 - the option's name
        """Return the network as a file, or None with everything that the format cannot hold in `findings`.

        At the float level the file computes in each of its steps what the quantized network computes in that step of the chip's time.
        What a format cannot hold of a network quantized for deployment may fit after `Target.quantize` with `Options.plain`.
        """


@runtime_checkable
class Target(Protocol):
    """A chip family.

    Regular populations are cut into boxes and never neuron by neuron: `demand` is exact for a slice, `demand_at_most` holds for any
    position of a box of that extent, `demand_floor` for the sum over any way of cutting. Populations with sparse afferents are cut
    into index lists, with the prices of `neuron_demand`.
    """

    name: str
    artefact: str
    """Folder inside the bundle for the files of `emit`, named after the vendor's tool."""

    @property
    def spec(self) -> ChipSpec:
        """The chip data."""

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        """Neuron kernels by the name used in programs."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Design rules, run together before quantization."""

    def quantize(self, network: Network, options: Options, findings: Findings) -> QuantizedNetwork:
        """Return the network in the chip's integers; every loss is counted, every approximation recorded in `findings`."""

    def demand(self, network: QuantizedNetwork, population: str, part: Slice) -> Demand:
        """Return what the neurons of a slice, with their synapses and input axons, take on one core.

        A slice is a box, or an ascending index list where no afferent is a convolution.
        """

    def demand_at_most(self, network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
        """Return an upper bound of `demand` over all boxes of this extent, non-decreasing in the extent; tight for regular layers."""

    def demand_floor(self, network: QuantizedNetwork, population: str) -> dict[str, float]:
        """Return a lower bound of the total demand over all pieces of any cut of the population."""

    def neuron_demand(self, network: QuantizedNetwork, population: str) -> NeuronDemand:
        """Return the prices of the population's neurons and axons; asked only where every afferent is dense or sparse."""

    def measure(self, program: Program) -> tuple[Demand, ...]:
        """Return what each core of a program takes, counted from the stored program alone.

        This is the independent check of `demand`: it must not share code with it.
        """

    def emit(self, network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
        """Return the files of the vendor's artefact by relative path; the same input gives the same bytes."""

    def run_vendor(self, folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
        """Run the emitted artefact in `folder` with the vendor's own software.

        Args:
            folder: where the files of `emit` lie.
            inputs: (samples, time, input neurons) int32.
            steps: chip steps to run per sample.
            timeout: seconds after which the run is given up.
        """


@runtime_checkable
class Estimating(Protocol):
    """A chip family with published constants of time or energy; a target need not be one."""

    def estimate(self, load: Load, machine: Machine) -> Estimate:
        """Return time and energy of a mapped network, with the source of every constant used and what is left out.

        Args:
            load: counted operations; of at least one step.
            machine: what the network is mapped onto.
        """
