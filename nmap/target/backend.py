"""The contract a chip implements: everything the core asks of a target plug-in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.emulate.kernel import Kernel
from nmap.network import Network
from nmap.options import Options
from nmap.program import Box, Program
from nmap.quantized import QuantizedNetwork
from nmap.target.spec import ChipSpec

__all__ = ["Demand", "Rule", "Target", "VendorRun"]

Demand: TypeAlias = dict[str, int]
"""Units of each of the chip's resources; keys are those of `ChipSpec.resources`."""

Rule: TypeAlias = Callable[[Network, ChipSpec, Options, Findings], None]
"""A design rule: looks at the whole network and records every offence it finds."""


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


@runtime_checkable
class Target(Protocol):
    """A chip family.

    Quantities are per population and box, so that a partitioner never sees a neuron: `demand` is exact at a position,
    `demand_at_most` holds for any position of a box of that extent, `demand_floor` for the sum over any way of cutting.
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

    def demand(self, network: QuantizedNetwork, population: str, box: Box) -> Demand:
        """Return what the neurons of a box, with their synapses and input axons, take on one core."""

    def demand_at_most(self, network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
        """Return an upper bound of `demand` over all boxes of this extent, non-decreasing in the extent; tight for regular layers."""

    def demand_floor(self, network: QuantizedNetwork, population: str) -> dict[str, float]:
        """Return a lower bound of the total demand over all pieces of any cut of the population."""

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
