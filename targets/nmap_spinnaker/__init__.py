"""SpiNNaker 1, as sPyNNaker programs it: fixed-point neurons, a PyNN script and our own placement. SpiNNaker 2 is in `spinnaker2`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
    package = "nmap_spinnaker"
    """Holds the modules that do the work: `quantize`, `demand`, `emit` and so on."""
    data = "chip1.toml"

    def _module(self, name: str) -> Any:
        return import_module(f"{self.package}.{name}")

    @cached_property
    def spec(self) -> ChipSpec:
        """The chip data."""
        return load_spec("nmap_spinnaker", self.data)

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        """Neuron kernels by the name used in programs."""
        found: Mapping[str, Kernel] = self._module("kernels").KERNELS
        return found

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Design rules."""
        found: tuple[Rule, ...] = self._module("rules").RULES
        return found

    def quantize(self, network: Network, options: Options, findings: Findings) -> QuantizedNetwork:
        """Return the network in the chip's numbers."""
        found: QuantizedNetwork = self._module("quantize").quantize(network, self.spec, options, findings)
        return found

    def demand(self, network: QuantizedNetwork, population: str, part: Slice) -> Demand:
        """Return what a slice takes on one core."""
        found: Demand = self._module("demand").demand(network, population, part)
        return found

    def demand_at_most(self, network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
        """Return an upper bound over all boxes of an extent."""
        found: Demand = self._module("demand").demand_at_most(network, population, extent)
        return found

    def demand_floor(self, network: QuantizedNetwork, population: str) -> dict[str, float]:
        """Return a lower bound over all cuts of a population."""
        found: dict[str, float] = self._module("demand").demand_floor(network, population, self.spec)
        return found

    def neuron_demand(self, network: QuantizedNetwork, population: str) -> NeuronDemand:
        """Return the prices of single neurons and axons."""
        found: NeuronDemand = self._module("demand").neuron_demand(network, population)
        return found

    def measure(self, program: Program) -> tuple[Demand, ...]:
        """Count what each core of a stored program takes."""
        found: tuple[Demand, ...] = self._module("measure").measure(program)
        return found

    def audit(self, program: Program, machine: Machine) -> tuple[Diagnostic, ...]:
        """Check what cores of a chip share; see `nmap.target.backend.Auditing`."""
        found: tuple[Diagnostic, ...] = self._module("audit").audit(program, machine)
        return found

    def emit(self, network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
        """Return the PyNN script and its arrays."""
        found: dict[str, bytes] = self._module("emit").emit(network, program)
        return found

    def reread(self, folder: Path, network: QuantizedNetwork, program: Program) -> list[str]:
        """Return where the written arrays are not the program; see `nmap.target.backend.Rereader`."""
        found: list[str] = self._module("reread").reread(folder, network, program)
        return found

    def details(self, network: QuantizedNetwork, program: Program) -> Details:
        """Return what the report tells of slices, memory, keys and load; see `nmap.target.backend.Detailed`."""
        found: Details = self._module("details").details(network, program)
        return found

    def estimate(self, load: Load, machine: Machine) -> Estimate:
        """Return time and energy; see `nmap.target.backend.Estimating`."""
        found: Estimate = self._module("estimate").estimate(load, machine)
        return found

    def run_vendor(self, folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
        """Run the emitted script with the vendor's own software in a subprocess."""
        found: VendorRun = self._module("vendor").run_vendor(folder, inputs, steps, timeout)
        return found

    def vendor_tools(self) -> tuple[Check, ...]:
        """Return whether the vendor's software is there; see `nmap.target.backend.Vendored`."""
        found: tuple[Check, ...] = self._module("vendor").vendor_tools()
        return found


TARGET = Spinnaker1()
