"""Intel Loihi 2, through Lava: its fixed-point neurons, emitted as a standalone Lava program. Loihi 1 is in `nmap_loihi2.loihi1`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from nmap.connectivity import Array
from nmap.diagnostics import Check, Findings
from nmap.emulate.kernel import Kernel
from nmap.network import Network
from nmap.options import Options
from nmap.program import Program, Slice
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Demand, NeuronDemand, Rule, VendorFile, VendorRun
from nmap.target.machine import Machine
from nmap.target.spec import ChipSpec, load_spec
from nmap_loihi2.memory import LOIHI2

if TYPE_CHECKING:
    from nmap.estimate import Load
    from nmap.report.model import Estimate

__all__ = ["TARGET", "Loihi2"]


class Loihi2:
    """The target; see `nmap.target.backend.Target`. Modules that need compiled or vendor code are imported when used."""

    name = "loihi2"
    artefact = "lava"
    memory = LOIHI2

    @cached_property
    def spec(self) -> ChipSpec:
        """The chip data."""
        return load_spec("nmap_loihi2")

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        """Neuron kernels by the name used in programs."""
        from nmap_loihi2.kernels import KERNELS

        return KERNELS

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Design rules."""
        from nmap_loihi2.rules import RULES

        return RULES

    def quantize(self, network: Network, options: Options, findings: Findings) -> QuantizedNetwork:
        """Return the network in Loihi 2's integers."""
        from nmap_loihi2.quantize import quantize

        return quantize(network, self.spec, options, findings)

    def demand(self, network: QuantizedNetwork, population: str, part: Slice) -> Demand:
        """Return what a slice takes on one core."""
        from nmap_loihi2.demand import demand

        return demand(network, population, part, self.memory)

    def demand_at_most(self, network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
        """Return an upper bound over all boxes of an extent."""
        from nmap_loihi2.demand import demand_at_most

        return demand_at_most(network, population, extent, self.memory)

    def demand_floor(self, network: QuantizedNetwork, population: str) -> dict[str, float]:
        """Return a lower bound over all cuts of a population."""
        from nmap_loihi2.demand import demand_floor

        return demand_floor(network, population, self.spec, self.memory)

    def neuron_demand(self, network: QuantizedNetwork, population: str) -> NeuronDemand:
        """Return the prices of single neurons and axons."""
        from nmap_loihi2.demand import neuron_demand

        return neuron_demand(network, population, self.memory)

    def measure(self, program: Program) -> tuple[Demand, ...]:
        """Count what each core of a stored program takes."""
        from nmap_loihi2.measure import measure

        return measure(program, self.memory)

    def emit(self, network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
        """Return the standalone Lava program."""
        from nmap_loihi2.emit import emit

        return emit(network, program)

    def estimate(self, load: Load, machine: Machine) -> Estimate:
        """Return time and energy; see `nmap.target.backend.Estimating`."""
        from nmap_loihi2.estimate import estimate

        return estimate(load, machine)

    def run_vendor(self, folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
        """Run the emitted program with Lava's fixed-point models in a subprocess."""
        from nmap_loihi2.vendor import run_lava

        return run_lava(folder, inputs, steps, timeout)

    def vendor_tools(self) -> tuple[Check, ...]:
        """Return whether Lava is there; see `nmap.target.backend.Vendored`."""
        from nmap_loihi2.vendor import lava_tools

        return lava_tools()

    @property
    def formats(self) -> Mapping[str, str]:
        """File formats of `export`."""
        return {"netx": "lava-dl's netx HDF5 (.net)"}

    def export(self, network: QuantizedNetwork, format: str, findings: Findings) -> VendorFile | None:  # noqa: A002, ARG002 - there is one
        """Return the network as a netx file."""
        from nmap_loihi2.netx import netx_file

        return netx_file(network, self.spec, findings)


TARGET = Loihi2()
