"""Intel Loihi 2, through Lava: fixed-point LIF neurons, emitted as a standalone Lava program."""

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

__all__ = ["TARGET", "Loihi2"]


class Loihi2:
    """The target; see `nmap.target.backend.Target`. Modules that need compiled or vendor code are imported when used."""

    name = "loihi2"
    artefact = "lava"

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

        return demand(network, population, part)

    def demand_at_most(self, network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
        """Return an upper bound over all boxes of an extent."""
        from nmap_loihi2.demand import demand_at_most

        return demand_at_most(network, population, extent)

    def demand_floor(self, network: QuantizedNetwork, population: str) -> dict[str, float]:
        """Return a lower bound over all cuts of a population."""
        from nmap_loihi2.demand import demand_floor

        return demand_floor(network, population, self.spec)

    def neuron_demand(self, network: QuantizedNetwork, population: str) -> NeuronDemand:
        """Return the prices of single neurons and axons."""
        from nmap_loihi2.demand import neuron_demand

        return neuron_demand(network, population)

    def measure(self, program: Program) -> tuple[Demand, ...]:
        """Count what each core of a stored program takes."""
        from nmap_loihi2.measure import measure

        return measure(program)

    def emit(self, network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
        """Return the standalone Lava program."""
        from nmap_loihi2.emit import emit

        return emit(network, program)

    def run_vendor(self, folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
        """Run the emitted program with Lava's fixed-point models in a subprocess."""
        from nmap_loihi2.vendor import run_lava

        return run_lava(folder, inputs, steps, timeout)


TARGET = Loihi2()
