"""TrueNorth: crossbar cores of 256 axons and 256 neurons, from the network to the chip's own model files and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from nmap.connectivity import Array
from nmap.diagnostics import Check, Findings
from nmap.emulate.kernel import Kernel
from nmap.estimate import Load
from nmap.mapping import Mapping as Mapped
from nmap.mapping import Shard
from nmap.network import Network
from nmap.options import Options
from nmap.program import Program, Slice
from nmap.quantized import QuantizedNetwork
from nmap.report.model import Estimate
from nmap.target.backend import Demand, Details, ModelRun, NeuronDemand, Rule, VendorRun
from nmap.target.machine import Machine
from nmap.target.spec import ChipSpec, load_spec
from nmap_truenorth.neuron import NEURON

__all__ = ["TARGET", "TrueNorth"]


class TrueNorth:
    """TrueNorth as `nmap.target.backend.Target`, `Replicating`, `Estimating`, `Detailed`, `SampleEmitter`, `Rereader`, `Vendored` and
    `ModelRunner`.

    Every method does what those contracts say.
    """

    name = "truenorth"
    artefact = "truenorth"

    @cached_property
    def spec(self) -> ChipSpec:
        """The chip data of `chip.toml`."""
        return load_spec("nmap_truenorth")

    @property
    def kernels(self) -> Mapping[str, Kernel]:
        """The one neuron kernel."""
        return {NEURON.name: NEURON}

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The design rules of `nmap_truenorth.rules`."""
        from nmap_truenorth.rules import RULES

        return RULES

    def quantize(self, network: Network, options: Options, findings: Findings) -> QuantizedNetwork:
        """Return the network in integers that four weights a neuron and crossbar bits can make, and in the chip's own time."""
        from nmap_truenorth.quantize import quantize

        return quantize(network, self.spec, options, findings)

    def demand(self, network: QuantizedNetwork, population: str, part: Slice) -> Demand:
        """Return what the neurons of a slice take on one core."""
        from nmap_truenorth.demand import demand

        return demand(network, population, part)

    def demand_at_most(self, network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
        """Return an upper bound of `demand` over all boxes of this extent."""
        from nmap_truenorth.demand import demand_at_most

        return demand_at_most(network, population, extent)

    def demand_floor(self, network: QuantizedNetwork, population: str) -> dict[str, float]:
        """Return a lower bound of the total demand of any cut."""
        from nmap_truenorth.demand import demand_floor

        return demand_floor(network, population)

    def neuron_demand(self, network: QuantizedNetwork, population: str) -> NeuronDemand:
        """Return the prices of single neurons and axons."""
        from nmap_truenorth.demand import neuron_demand

        return neuron_demand(network, population)

    def replicate(self, network: QuantizedNetwork, shards: Sequence[Shard] | None) -> QuantizedNetwork:
        """Return the network with the copies that this way of sharing it out needs."""
        from nmap_truenorth.columns import replicate

        return replicate(network, shards)

    def build(self, network: QuantizedNetwork, mapping: Mapped, seed: int) -> Program:
        """Return axons, crossbars, neurons and their copies."""
        from nmap_truenorth.build import build

        return build(network, mapping, seed)

    def measure(self, program: Program) -> tuple[Demand, ...]:
        """Return what each core of a stored program takes."""
        from nmap_truenorth.measure import measure

        return measure(program)

    def details(self, network: QuantizedNetwork, program: Program) -> Details:
        """Return axons per source, copies, splitters and crossbar density."""
        from nmap_truenorth.details import details

        return details(network, program)

    def estimate(self, load: Load, machine: Machine) -> Estimate:
        """Return time and energy from published constants and counted crossbar events."""
        from nmap_truenorth.estimate import estimate

        return estimate(load, machine, self.spec)

    def emit(self, network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
        """Return the chip's model file, RANC's where it can run the program, and the map of inputs and outputs."""
        from nmap_truenorth.emit import emit

        return emit(network, program)

    def emit_samples(self, program: Program, samples: Iterator[dict[str, Array]], steps: int) -> dict[str, bytes]:
        """Return spike files."""
        from nmap_truenorth.emit import emit_samples

        return emit_samples(program, samples, steps)

    def reread(self, folder: Path, network: QuantizedNetwork, program: Program) -> list[str]:
        """Return where the written files differ from the program."""
        from nmap_truenorth.emit import reread

        return reread(folder, network, program)

    def run_vendor(self, folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
        """Run RANC's simulator, where one is named."""
        from nmap_truenorth.vendor import run_vendor

        return run_vendor(folder, inputs, steps, timeout)

    def vendor_tools(self) -> tuple[Check, ...]:
        """Return whether RANC's simulator is there; see `nmap.target.backend.Vendored`."""
        from nmap_truenorth.vendor import ranc_tools

        return ranc_tools()

    @property
    def models(self) -> Mapping[str, str]:
        """The model files that can be run without the chip."""
        from nmap_truenorth.model.run import MODELS

        return MODELS

    def run_model(
        self, model: Path, spikes: Path | None, *, steps: int | None, every: bool, seed: int, jobs: int,
        progress: Callable[[str], None] | None,
    ) -> ModelRun:
        """Run a model file of TrueNorth's tools or RANC's."""
        from nmap_truenorth.model.run import run_model

        return run_model(model, spikes, steps=steps, every=every, seed=seed, jobs=jobs, progress=progress)

    def spike_file(self, run: ModelRun, suffix: str) -> bytes | None:
        """Return a run's spikes in a format of TrueNorth's tools."""
        from nmap_truenorth.model.run import spike_file

        return spike_file(run, suffix)


TARGET = TrueNorth()
