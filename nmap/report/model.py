"""What a command found out: the one model behind the text report, the JSON report and the exit status.

Every field that may be unknown is None; nothing here is guessed. Renderings live in `nmap.report.json` and `nmap.report.text`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, Exit
from nmap.mapping import Mapping, Packed
from nmap.network import Network
from nmap.program import Core
from nmap.quantized import QuantizedNetwork
from nmap.target.machine import Machine
from nmap.target.spec import ChipSpec, Constant

if TYPE_CHECKING:
    from nmap.partition.incremental import Remap
    from nmap.target.backend import Details, ModelRun, Survey

__all__ = [
    "BusiestCore", "ChipVsFixed", "ChipVsFloat", "Estimate", "Memory", "ModelResult", "Outcome", "Published", "RunResult", "Samples",
    "Status", "Traffic", "VendorCheck", "Verification",
]

Status = Literal["ok", "does_not_fit", "differs", "unknown", "error"]


@dataclass(frozen=True, slots=True)
class ChipVsFixed:
    """The emulated chip against the quantized reference, bit for bit.

    Args:
        samples: number of samples compared.
        steps: chip steps per sample.
        spikes: spikes the reference sent, over all populations and samples.
        mismatches: (sample, step, neuron) places whose spikes differ.
    """

    samples: int
    steps: int
    spikes: int
    mismatches: int


@dataclass(frozen=True, slots=True)
class ChipVsFloat:
    """The emulated chip against the imported network in real numbers: reported, never required to be equal.

    Args:
        spike_agreement: share (0 to 1) of (sample, step, output) places where both spike or both do not; None when unknown. Where a step
            of the chip stands for several steps of the network, of (sample, step of the chip, output) where both send equally many.
        accuracy_float, accuracy_chip: share of samples classified right; None without labels.
        samples: number of samples compared; None when unknown.
        count_agreement: share of (sample, output neuron) with equally many spikes over the sample; None when unknown.
        argmax_agreement: share of samples (of each output, where there are several) in which the same neuron spikes most, of equal ones
            the first; None when unknown.
        window: steps of the network that one step of the chip stands for.
    """

    spike_agreement: float | None
    accuracy_float: float | None = None
    accuracy_chip: float | None = None
    samples: int | None = None
    count_agreement: float | None = None
    argmax_agreement: float | None = None
    window: int = 1


@dataclass(frozen=True, slots=True)
class VendorCheck:
    """The emulated chip against the vendor's own simulator.

    Args:
        name: of the vendor's package.
        version: None when it could not be run.
        mismatches: places whose spikes differ; None when it could not be run.
        samples: number of samples compared; None when it could not be run.
        skipped_reason: why it was not run, else None.
        compared: `spikes`, or the `mapping` where the vendor's tools map the artefact without computing; `mismatches` then counts what is
            not as in the artefact.
        facts: what the vendor's tools say of their mapping, by name.
    """

    name: str
    version: str | None = None
    mismatches: int | None = None
    samples: int | None = None
    skipped_reason: str | None = None
    compared: Literal["spikes", "mapping"] = "spikes"
    facts: dict[str, int | float | str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Verification:
    """What was checked after mapping; None for a check that was not made.

    Args:
        mapping: the independent check of capacities and routes.
        chip_vs_fixed, chip_vs_float, vendor: see their classes.
    """

    mapping: Literal["ok", "broken"] | None = None
    chip_vs_fixed: ChipVsFixed | None = None
    chip_vs_float: ChipVsFloat | None = None
    vendor: VendorCheck | None = None


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples a command worked on.

    Args:
        file: as the user named it; None for generated samples.
        sha256: of the file; None for generated samples.
        samples: number of samples.
        steps: the network's own time steps per sample.
        labels: True when the file carries labels.
        scored: the output that the labels number, where the network has several; else None.
    """

    file: str | None
    sha256: str | None
    samples: int
    steps: int
    labels: bool = False
    scored: str | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What a run of samples takes.

    Args:
        peak: bytes of the process at its peak, as predicted before the run.
        limit: bytes it may take, None without a limit.
        at_once: samples that run at a time.
        jobs: threads that samples are shared out to; with a scheduler those of its workers.
        split: threads that share each sample.
    """

    peak: int
    limit: int | None
    at_once: int
    jobs: int
    split: int = 1


@dataclass(frozen=True, slots=True)
class Traffic:
    """Packets per step between cores and from the input port, under the rates that were measured or assumed.

    Args:
        kind: what the placement keeps low: hops of a packet to each destination, or links of routes that share their way.
        packets: one per spike and core that listens, other than the spike's own.
        unicast_hops: packets times hops.
        multicast_hops: links passed when a spike's packets share their way; None when not known.
        max_link: packets over the busiest link; None when not known.
        packets_bound: proved lower bound of `packets`; None when not known.
    """

    kind: Literal["unicast", "multicast"]
    packets: float
    unicast_hops: float | None
    multicast_hops: float | None = None
    max_link: float | None = None
    packets_bound: float | None = None


@dataclass(frozen=True, slots=True)
class BusiestCore:
    """The core that a step waits for.

    Args:
        core: which one.
        operations: its synaptic operations per step.
        updates: its neurons, all updated in a step.
    """

    core: Core
    operations: float
    updates: int


@dataclass(frozen=True, slots=True)
class Published:
    """What the constants give as they were published, for the chip that they are of.

    Args:
        generation: that chip.
        step_s: seconds per step.
        energy_j: dynamic energy, joule per sample; None where a part is not known.
    """

    generation: str
    step_s: float
    energy_j: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """An estimate from published constants and counted activity, never a measurement.

    Args:
        energy_j_per_sample: joule; None when a part of it is not known.
        latency_s: seconds from a sample's first step to its last output: chip steps times `step_s`; None when not known.
        sources: what the numbers rest on.
        step_s: seconds per chip step.
        steps: chip steps per sample, those that the last output runs behind included.
        energy_j: joule per sample by part (`synaptic_operations`, `neuron_updates`, `spikes`, `static`); None where not known.
        per_step: mean counts per chip step (`synaptic_operations`, `neuron_updates`, `spikes`, `packets`, `hops`).
        busiest: the core that a step waits for.
        level, samples: where the activity was counted, and on how many samples.
        published: the same from the constants as published, without calibration.
        factor, within: how far off it may be, and of what; None where nothing was compared.
        constants: those used, by name, each with the chip that it was measured on.
        excludes: what is not counted.
        powered: chips whose static power is counted; None: all of them.
        reason: why there is no estimate.
    """

    energy_j_per_sample: float | None
    latency_s: float | None
    sources: tuple[str, ...] = ()
    step_s: float | None = None
    steps: int | None = None
    energy_j: dict[str, float | None] | None = None
    per_step: dict[str, float | None] | None = None
    busiest: BusiestCore | None = None
    level: Literal["chip", "float"] | None = None
    samples: int | None = None
    published: Published | None = None
    factor: float | None = None
    within: str | None = None
    constants: dict[str, Constant] = field(default_factory=dict)
    excludes: tuple[str, ...] = ()
    powered: int | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The result of one command on one network and one target.

    A stage that did not run leaves its field None. `status` is `error` for wrong usage, unreadable files and missing packages.

    Args:
        status, exit_status: see `nmap.diagnostics.Exit`.
        command: the words of the command line, without the interpreter.
        network: what was read.
        target: name of the chip family as registered.
        spec: its chip data.
        variant: the variant asked for or the default one.
        machine: the machine laid out.
        quantized, mapping, verification: results of the stages.
        measured: what each core of the mapping takes, counted in the finished program, where routes take anything.
        spike_hops_per_step: measured or expected link traversals per step.
        estimate: from published constants.
        samples: the samples used for traffic and verification.
        diagnostics: of all stages, in the order found.
        timings: seconds by stage, in the order run.
        bundle: the folder written or read.
        rules: number of design rules that ran.
        partitioner, seed: as chosen.
        stopped_after: the stage of `--stop-after`, when it stopped there.
        written: paths written, relative to `bundle` where they lie inside it.
        packed: the partition, known before the mapping.
        traffic: of the mapping.
        remap: what was kept of an earlier mapping; None without one.
        remapped_from: sha256 of the earlier mapping's program.
        survey: what the vendor's own mapper said; None where it was not asked.
        interrupted: stages (`partition`, `place`) whose search the user stopped.
        details: what only this target has to say of the mapping.
    """

    status: Status
    exit_status: Exit
    command: tuple[str, ...] = ()
    network: Network | None = None
    target: str | None = None
    spec: ChipSpec | None = None
    variant: str | None = None
    machine: Machine | None = None
    quantized: QuantizedNetwork | None = None
    mapping: Mapping | None = None
    verification: Verification | None = None
    spike_hops_per_step: float | None = None
    estimate: Estimate | None = None
    samples: Samples | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    bundle: Path | None = None
    rules: int | None = None
    partitioner: str | None = None
    seed: int | None = None
    stopped_after: str | None = None
    written: tuple[str, ...] = ()
    packed: Packed | None = None
    traffic: Traffic | None = None
    remap: Remap | None = None
    remapped_from: str | None = None
    survey: Survey | None = None
    interrupted: tuple[str, ...] = ()
    measured: tuple[dict[str, int], ...] | None = None
    details: Details | None = None

    @property
    def partition(self) -> Packed | None:
        """How the network is shared out over cores, placed or not; None before that stage."""
        return self.packed if self.mapping is None else Packed(self.mapping.shards, self.mapping.packing)

    @property
    def fits(self) -> bool | None:
        """True when the cores suffice, False when it is proved that they do not, None when that is not known.

        Where the vendor's own mapper was asked, it is what that says.
        """
        if self.survey is not None and self.survey.fits is not None:
            return self.survey.fits
        if self.partition is not None:
            return True
        return False if self.status == "does_not_fit" else None

    @property
    def passes(self) -> int | None:
        """Parts that the chip computes the network in, one after the other; None where that is not known."""
        if self.machine is None:
            return None
        chip = self.machine.spec.variants.get(self.machine.variant)
        if chip is None or chip.passes == 1:
            return 1
        if self.mapping is None:
            return None
        return 1 + max(core.core for core in self.mapping.cores) // chip.cores


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """Spikes of a run, and which level computed them.

    Args:
        level: `chip` is the emulator on the mapped program, `fixed` the quantized reference, `float` the imported network.
        spikes: (samples, time, *output shape) int32 of the first output; if that never fires, its membrane potential, float64. Of no
            samples where they were not kept but written as they came, or not at all; so are `outputs` and `probes`.
        counts: (samples, neurons) of the first output: int64, spikes summed over time; if it never fires, v of the last step, float64.
        probes: arrays by `POP.v`, `POP.u` or `POP.spikes`, (samples, time, *shape).
        labels: (samples,) or None.
        accuracy: share of samples whose label is the neuron with the largest count, None without labels.
        raw_time: True when time is the chip's own, False when realigned to the network's.
        samples: what was run.
        diagnostics: of the run.
        timings: seconds by stage.
        network: name of the network's file.
        target: `name:variant`, None at level `float` of a network file.
        bundle: the bundle that was run, None for a network file.
        outputs, scores: `spikes` and `counts` of every output by name.
        silent: outputs that never fire.
        scored: the output that the labels number; None without labels.
        imported: the network as read, with what was assumed.
        ran: number of samples; None for those of `spikes`.
        sent: number of spikes of the outputs that fire; None for those in `outputs`.
        memory: what the run took.
        window: steps of the network that one step of `spikes` stands for.
    """

    level: Literal["chip", "fixed", "float"]
    spikes: Array
    counts: Array
    probes: dict[str, Array] = field(default_factory=dict)
    labels: Array | None = None
    accuracy: float | None = None
    raw_time: bool = False
    samples: Samples | None = None
    diagnostics: tuple[Diagnostic, ...] = ()
    timings: dict[str, float] = field(default_factory=dict)
    network: str | None = None
    target: str | None = None
    bundle: Path | None = None
    outputs: dict[str, Array] = field(default_factory=dict)
    scores: dict[str, Array] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    scored: str | None = None
    imported: Network | None = None
    ran: int | None = None
    sent: int | None = None
    memory: Memory | None = None
    window: int = 1

    @property
    def output_spikes(self) -> int | None:
        """Number of spikes the outputs sent; None when none of them ever fires."""
        if self.sent is not None:
            return self.sent if not self.outputs or len(self.silent) < len(self.outputs) else None
        sent = [values for name, values in self.outputs.items() if name not in self.silent] if self.outputs else [self.spikes]
        return sum(int(np.count_nonzero(values)) for values in sent) if sent else None

    @property
    def arrays(self) -> dict[str, Array]:
        """What `nmap run -o` writes: `spikes` and `counts`, with several outputs `spikes.NAME` and `counts.NAME`; and the probes.

        An output that never fires has `NAME.v` instead of spikes.
        """
        if not self.outputs:
            return {"spikes": self.spikes, "counts": self.counts, **self.probes}
        alone, written = len(self.outputs) == 1, {}
        for name, values in self.outputs.items():
            written[f"{name}.v" if name in self.silent else "spikes" if alone else f"spikes.{name}"] = values
        for name, values in self.scores.items():
            written["counts" if alone else f"counts.{name}"] = values
        return {**written, **self.probes}


@dataclass(frozen=True, slots=True, eq=False)
class ModelResult:
    """Spikes that an emulator of a chip computed from a model file of the chip's own tools; no chip is involved.

    Args:
        run: the spikes, and what the target knows of them.
        model: the model file.
        target: `name:variant`.
        kind: what kind of model file it is, in words.
        input: the file of input spikes; None without one.
        tail: ticks run beyond the last one in which an input spike is seen; None where a number of ticks was asked for.
        seed: of random modes.
        timings: seconds by stage.
    """

    run: ModelRun
    model: str
    target: str
    kind: str
    input: str | None = None
    tail: int | None = None
    seed: int = 0
    timings: dict[str, float] = field(default_factory=dict)

    @property
    def events(self) -> Array:
        """(n, 3) int32: tick, core and neuron of every spike recorded, in this order."""
        return self.run.events

    @property
    def steps(self) -> int:
        """Ticks that were run."""
        return self.run.steps

    @property
    def exact(self) -> bool:
        """Whether the spikes are bit for bit the chip's; `run.why` says why not."""
        return self.run.exact

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """Of reading and running."""
        return self.run.diagnostics

    @property
    def arrays(self) -> dict[str, Array]:
        """What `nmap run -o` writes: `events`, and `steps`, int64 without dimensions."""
        return {"events": self.run.events, "steps": np.asarray(self.run.steps, np.int64)}
