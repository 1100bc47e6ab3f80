"""BrainChip's Akida 1.0 as a target of nmap: the documented integer arithmetic, and models for the vendor's package."""

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
from nmap.target.backend import Demand, Details, NeuronDemand, Rule, Survey, VendorRun
from nmap.target.spec import ChipSpec
from nmap_akida.kernels import KERNELS
from nmap_akida.units import chip

if TYPE_CHECKING:
    from nmap.mapping import Packed
    from nmap.partition.partitioner import Budget
    from nmap.target.machine import Machine

__all__ = ["TARGET", "Akida"]


class Akida:
    """Akida 1.0 as `nmap.target.backend.Target`; every method does what the contract says."""

    name = "akida"
    artefact = "akida"

    @cached_property
    def spec(self) -> ChipSpec:
        """The chip data of `chip.toml`."""
        return chip()

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        """The neurons of `nmap_akida.kernels`."""
        return KERNELS

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The design rules of `nmap_akida.rules`."""
        from nmap_akida.rules import RULES

        return RULES

    def quantize(self, network: Network, options: Options, findings: Findings) -> QuantizedNetwork:
        """Return the network in weights of 1, 2, 4 or 8 bits, thresholds and steps of activations."""
        from nmap_akida.quantize import quantize

        return quantize(network, self.spec, options, findings)

    def demand(self, network: QuantizedNetwork, population: str, part: Slice) -> Demand:
        """Return what the neurons of a slice take on one NP."""
        from nmap_akida.demand import demand

        return demand(network, population, part)

    def demand_at_most(self, network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
        """Return an upper bound of `demand` over all boxes of this extent."""
        from nmap_akida.demand import demand_at_most

        return demand_at_most(network, population, extent)

    def demand_floor(self, network: QuantizedNetwork, population: str) -> dict[str, float]:
        """Return a lower bound of the total demand of any cut."""
        from nmap_akida.demand import demand_floor

        return demand_floor(network, population)

    def neuron_demand(self, network: QuantizedNetwork, population: str) -> NeuronDemand:
        """Return the prices of single neurons and axons."""
        from nmap_akida.demand import neuron_demand

        return neuron_demand(network, population)

    def arrange(self, network: QuantizedNetwork, machine: Machine, options: Options, budget: Budget) -> Packed:
        """Return which NPs compute each layer: of which kind, how many, and in which pass."""
        from nmap_akida.plan import arrange

        return arrange(network, machine, options, budget)

    def measure(self, program: Program) -> tuple[Demand, ...]:
        """Return what each NP of a stored program takes."""
        from nmap_akida.measure import measure

        return measure(program)

    def audit(self, program: Program, machine: Machine) -> tuple[Diagnostic, ...]:
        """Return what is wrong with a placed program beyond its NPs' memories."""
        from nmap_akida.audit import audit

        return audit(program, machine)

    def details(self, network: QuantizedNetwork, program: Program) -> Details:
        """Return layers, NPs by kind and passes."""
        from nmap_akida.details import details

        return details(network, program)

    def emit(self, network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
        """Return the model in the vendor's open JSON form and the script that runs it."""
        from nmap_akida.emit import emit

        return emit(network, program)

    def reread(self, folder: Path, network: QuantizedNetwork, program: Program) -> list[str]:
        """Return how the model differs from the program."""
        from nmap_akida.reread import reread

        return reread(folder, network, program)

    def run_vendor(self, folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
        """Return what every layer of the emitted model computes in the vendor's package."""
        from nmap_akida.vendor import run_vendor

        return run_vendor(folder, inputs, steps, timeout)

    def survey(self, network: QuantizedNetwork, machine: Machine) -> Survey:
        """Return what the vendor's package makes of the network's way onto the chip."""
        from nmap_akida.vendor import survey

        return survey(network, machine)

    def vendor_tools(self) -> tuple[Check, ...]:
        """Return whether the vendor's package is there."""
        from nmap_akida.vendor import vendor_tools

        return vendor_tools()


TARGET = Akida()
