"""SpiNNaker 1, as sPyNNaker programs it: fixed-point neurons, a PyNN script and our own placement. SpiNNaker 2 is in `spinnaker2`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nmap.connectivity import Array
from nmap.diagnostics import Check, Diagnostic, Findings
from nmap.emulate.kernel import Kernel
from nmap.network import Network
from nmap.options import Options
from nmap.program import Program, Slice
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Demand, Details, NeuronDemand, Rule, VendorRun
from nmap.target.machine import Machine
from nmap.target.spec import ChipSpec, load_spec

if TYPE_CHECKING:
    from nmap.estimate import Load
    from nmap.report.model import Estimate

__all__ = ["TARGET", "Spinnaker1"]


class Spinnaker1:
    """The target; see `nmap.target.backend.Target`. Modules that need compiled or vendor code are imported when used."""

    name = "spinnaker1"
    artefact = "spynnaker"

    @cached_property
    def spec(self) -> ChipSpec:
        """The chip data."""
        return load_spec("nmap_spinnaker", "chip1.toml")

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        """Neuron kernels by the name used in programs."""
        from nmap_spinnaker.kernels import KERNELS

        return KERNELS

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Design rules."""
        from nmap_spinnaker.rules import RULES

        return RULES

    def quantize(self, network: Network, options: Options, findings: Findings) -> QuantizedNetwork:
        """Return the network in the chip's numbers."""
        from nmap_spinnaker.quantize import quantize

        return quantize(network, self.spec, options, findings)

    def demand(self, network: QuantizedNetwork, population: str, part: Slice) -> Demand:
        """Return what a slice takes on one core."""
        from nmap_spinnaker.demand import demand

        return demand(network, population, part)

    def demand_at_most(self, network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
        """Return an upper bound over all boxes of an extent."""
        from nmap_spinnaker.demand import demand_at_most

        return demand_at_most(network, population, extent)

    def demand_floor(self, network: QuantizedNetwork, population: str) -> dict[str, float]:
        """Return a lower bound over all cuts of a population."""
        from nmap_spinnaker.demand import demand_floor

        return demand_floor(network, population, self.spec)

    def neuron_demand(self, network: QuantizedNetwork, population: str) -> NeuronDemand:
        """Return the prices of single neurons and axons."""
        from nmap_spinnaker.demand import neuron_demand

        return neuron_demand(network, population)

    def measure(self, program: Program) -> tuple[Demand, ...]:
        """Count what each core of a stored program takes."""
        from nmap_spinnaker.measure import measure

        return measure(program)

    def audit(self, program: Program, machine: Machine) -> tuple[Diagnostic, ...]:
        """Check what cores of a chip share; see `nmap.target.backend.Auditing`."""
        from nmap_spinnaker.audit import audit

        return audit(program, machine)

    def emit(self, network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
        """Return the PyNN script and its arrays."""
        from nmap_spinnaker.emit import emit

        return emit(network, program)

    def reread(self, folder: Path, network: QuantizedNetwork, program: Program) -> list[str]:
        """Return where the written arrays are not the program; see `nmap.target.backend.Rereader`."""
        from nmap_spinnaker.reread import reread

        return reread(folder, network, program)

    def details(self, network: QuantizedNetwork, program: Program) -> Details:
        """Return what the report tells of slices, memory, keys and load; see `nmap.target.backend.Detailed`."""
        from nmap_spinnaker.details import details

        return details(network, program)

    def estimate(self, load: Load, machine: Machine) -> Estimate:
        """Return time and energy; see `nmap.target.backend.Estimating`."""
        from nmap_spinnaker.estimate import estimate

        return estimate(load, machine)

    def run_vendor(self, folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
        """Run the emitted script with the vendor's own software in a subprocess."""
        from nmap_spinnaker.vendor import run_vendor

        return run_vendor(folder, inputs, steps, timeout)

    def vendor_tools(self) -> tuple[Check, ...]:
        """Return whether the vendor's software is there; see `nmap.target.backend.Vendored`."""
        from nmap_spinnaker.vendor import vendor_tools

        return vendor_tools()


TARGET = Spinnaker1()
