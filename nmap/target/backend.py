"""The contract a chip implements: everything the core asks of a target plug-in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.diagnostics import Check, Diagnostic, Findings
from nmap.emulate.kernel import Kernel
from nmap.network import Network
from nmap.options import Options
from nmap.program import Program, Slice
from nmap.quantized import QuantizedNetwork
from nmap.target.spec import ChipSpec

if TYPE_CHECKING:
    from nmap.estimate import Load
    from nmap.mapping import Mapping as Mapped
    from nmap.mapping import Packed, Shard
    from nmap.partition.partitioner import Budget
    from nmap.report.model import Estimate
    from nmap.target.machine import Machine

__all__ = [
    "Arranging", "Auditing", "Demand", "Detailed", "Details", "Estimating", "Exporter", "ModelRun", "ModelRunner", "NeuronDemand",
    "Replicating", "Rereader", "Rule", "SampleEmitter", "Survey", "Surveying", "Target", "VendorFile", "VendorRun", "Vendored",
]

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
        compared: what there is to compare: the `spikes`, or the `mapping` that the vendor's tools made of the artefact without computing.
        differences: a sentence for everything in the vendor's mapping that is not as in the artefact.
        facts: what the vendor's tools say of their mapping, by name.
        first: chip step of the first entry of `spikes` by population, where the vendor's software knows no pipeline that fills; with it
            there is an entry for each step of the input.
    """

    name: str
    version: str | None
    spikes: dict[str, Array] = field(default_factory=dict)
    missing: str | None = None
    compared: Literal["spikes", "mapping"] = "spikes"
    differences: tuple[str, ...] = ()
    facts: dict[str, int | float | str] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)


@runtime_checkable
class Vendored(Protocol):
    """A target that says which software of its vendor is there."""

    def vendor_tools(self) -> tuple[Check, ...]:
        """Return what was looked for; a tool that does not answer is broken, never waited for without end."""


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


@runtime_checkable
class Replicating(Protocol):
    """A chip family whose neurons have too few destinations each, so that copies of them send to the others.

    What a neuron needs depends on how the neurons behind it are shared out over cores, so partition and copies are found by turns.
    """

    def replicate(self, network: QuantizedNetwork, shards: Sequence[Shard] | None) -> QuantizedNetwork:
        """Return the network with the copies that its neurons need (`QuantizedPopulation.copies`).

        Args:
            network: its own copies do not matter.
            shards: how it is shared out, exactly what their axons need; populations without shards listen to nothing. None for the least
                copies that any way of sharing it out needs.
        """

    def build(self, network: QuantizedNetwork, mapping: Mapped, seed: int) -> Program:
        """Return the core program of a mapped network, copies included, whatever `copies` the network says."""


@runtime_checkable
class Arranging(Protocol):
    """A chip family whose layers have few ways onto it each, of which it chooses for the chip as a whole: no partitioner is asked."""

    def arrange(self, network: QuantizedNetwork, machine: Machine, options: Options, budget: Budget) -> Packed:
        """Share a network out over cores, with their places.

        Returns:
            The shards; `slot` says for every cluster which of the machine's cores it is.

        Raises:
            NmapError: NM401 or NM402 where it is proved not to fit (exit status 1), NM501 where no answer was found (5).
        """


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What the vendor's own mapper says of a network that is to go onto a chip.

    Args:
        name, version: of the vendor's package; version is None when it could not be asked.
        missing: why it could not be asked, else None.
        fits: whether it maps the whole network onto the chip, nothing left to the host; None when it could not be asked.
        reason: its own words where it does not.
        cores: used, counted as `Target.measure` does; None where it does not say.
        layers: cores by population, as far as it says.
        facts: what else it says, by name.
    """

    name: str
    version: str | None = None
    missing: str | None = None
    fits: bool | None = None
    reason: str | None = None
    cores: int | None = None
    layers: dict[str, int] = field(default_factory=dict)
    facts: dict[str, int | float | str] = field(default_factory=dict)


@runtime_checkable
class Surveying(Protocol):
    """A chip family whose memory layout is not published, so that what nmap says of it is an estimate, and the vendor's mapper knows."""

    def survey(self, network: QuantizedNetwork, machine: Machine) -> Survey:
        """Return what the vendor's mapper says; at once, with `missing`, where it is not installed."""


@runtime_checkable
class SampleEmitter(Protocol):
    """A chip family whose tools read the spikes to be injected from files."""

    def emit_samples(self, program: Program, samples: Iterator[dict[str, Array]], steps: int) -> dict[str, bytes]:
        """Return files with samples, by path relative to the artefact's folder; the same input gives the same bytes.

        Args:
            program: what the samples are for.
            samples: (time, *shape) integers by input port, one sample after the other.
            steps: chip steps of one sample.
        """


@runtime_checkable
class Rereader(Protocol):
    """A chip family whose artefact can be read back."""

    def reread(self, folder: Path, network: QuantizedNetwork, program: Program) -> list[str]:
        """Return a sentence for everything in the files of `emit` that is not the program; empty where they hold the same."""


@runtime_checkable
class Auditing(Protocol):
    """A chip family whose cores share what no core's budget shows: a chip's memory, its router's table, keys."""

    def audit(self, program: Program, machine: Machine) -> tuple[Diagnostic, ...]:
        """Return what is wrong with a placed program beyond its cores' budgets, and what is close to it."""


@dataclass(frozen=True, slots=True, eq=False)
class Details:
    """What a target has to say of a mapped network beyond the chip's resources.

    Args:
        totals: of the whole network, by name.
        layers: by population.
        cores: one for each of the program's cores.
        titles: what each name stands for, in a few words.
    """

    totals: dict[str, int | float | str | None]
    layers: dict[str, dict[str, int | float | str | None]]
    cores: tuple[dict[str, int | float | str | None], ...]
    titles: dict[str, str]


@runtime_checkable
class Detailed(Protocol):
    """A chip family with resources of its own kind."""

    def details(self, network: QuantizedNetwork, program: Program) -> Details:
        """Return what is to be told of a mapped network."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelRun:
    """What an emulator of the chip computed from a model file of the chip's own tools.

    Args:
        events: (n, 3) int32: tick, core and neuron of every spike recorded, in this order; cores by the numbers of the model file.
        steps: ticks that were run.
        cores, neurons: of the model.
        given: input spikes.
        every: whether every neuron was recorded; else those that send off the chip.
        exact: whether the spikes are bit for bit the chip's.
        why: what is not bit-accurate; None where `exact`.
        format: of the model file, a name of `ModelRunner.models`.
        merged: spikes that met another one on their axon in the same tick.
        sha256: of the model file.
        diagnostics: of reading and running.
        seconds: that the ticks took, reading and compiling aside; None where not measured.
    """

    events: Array
    steps: int
    cores: int
    neurons: int
    given: int
    every: bool
    exact: bool
    why: str | None
    format: str
    merged: int
    sha256: str
    diagnostics: tuple[Diagnostic, ...] = ()
    seconds: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "events", frozen_array(self.events, np.int32))


@runtime_checkable
class ModelRunner(Protocol):
    """A chip family whose own tools' model files can be run without the chip (`nmap run MODEL --target T`)."""

    @property
    def models(self) -> Mapping[str, str]:
        """What each kind of model file is, by its name."""

    def run_model(
        self, model: Path, spikes: Path | None, *, steps: int | None, every: bool, seed: int, jobs: int,
        progress: Callable[[str], None] | None,
    ) -> ModelRun:
        """Run a model file.

        Args:
            model: the file.
            spikes: file of input spikes; None for a model that runs by itself.
            steps: ticks to run; None for as many as the input asks for.
            every: record every neuron, not only those that send off the chip.
            seed: for random modes.
            jobs: threads.
            progress: told how far the run is.

        Raises:
            NmapError: with everything that is wrong with the files.
        """

    def spike_file(self, run: ModelRun, suffix: str) -> bytes | None:
        """Return a run's spikes as a file of the chip's own tools, by the file's ending (`.sfto`); None where it means nothing to them."""
