"""The toy chip: 2 x 2 cores, small enough to map by hand. The fixture of the documentation and of the tests."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.emulate.kernel import Kernel
from nmap.network import Network
from nmap.options import Options
from nmap.program import Program, Slice
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Demand, NeuronDemand, Rule, VendorRun
from nmap.target.spec import ChipSpec, load_spec
from nmap_toy.demand import demand, demand_at_most, demand_floor, neuron_demand
from nmap_toy.emit import emit
from nmap_toy.kernels import LIF
from nmap_toy.measure import measure
from nmap_toy.quantize import quantize
from nmap_toy.rules import RULES

__all__ = ["TARGET", "Toy"]


class Toy:
    """The toy chip as `nmap.target.backend.Target`; every method does what the contract says."""

    name = "toy"
    artefact = "toy"

    @cached_property
    def spec(self) -> ChipSpec:
        """The chip data of `chip.toml`."""
        return load_spec("nmap_toy")

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        """The one neuron kernel."""
        return {LIF.name: LIF}

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The design rules of `nmap_toy.rules`."""
        return RULES

    def quantize(self, network: Network, options: Options, findings: Findings) -> QuantizedNetwork:
        """Return the network in 4-bit weights and the chip's own time."""
        return quantize(network, self.spec, options, findings)

    def demand(self, network: QuantizedNetwork, population: str, part: Slice) -> Demand:
        """Return what the neurons of a slice take on one core."""
        return demand(network, population, part)

    def demand_at_most(self, network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
        """Return an upper bound of `demand` over all boxes of this extent."""
        return demand_at_most(network, population, extent)

    def demand_floor(self, network: QuantizedNetwork, population: str) -> dict[str, float]:
        """Return a lower bound of the total demand of any cut."""
        return demand_floor(network, population, self.spec)

    def neuron_demand(self, network: QuantizedNetwork, population: str) -> NeuronDemand:
        """Return the prices of single neurons and axons."""
        return neuron_demand(network, population)

    def measure(self, program: Program) -> tuple[Demand, ...]:
        """Return what each core of a stored program takes."""
        return measure(program)

    def emit(self, network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
        """Return the program as text."""
        return emit(network, program)

    def run_vendor(self, folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:  # noqa: ARG002
        """Return that nothing but the emulator runs the toy."""
        return VendorRun("toy", None, missing="the toy chip has no vendor and no simulator of its own")


TARGET = Toy()
