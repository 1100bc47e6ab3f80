"""The emulated chip beside the fixed-point reference and beside the network in real numbers.

Samples are compared in chunks, by threads of this machine or by the workers of a Dask cluster. What is found is added up in the order of
the samples, so that neither the size of the chunks nor who computed them changes a result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, Findings, NmapError, named
from nmap.distribute import CHUNK_BYTES, run_chunks
from nmap.estimate import Activity
from nmap.memory import largest, resident, size_text
from nmap.network import Network, SigmaDelta
from nmap.program import Program
from nmap.quantized import QuantizedNetwork
from nmap.report.model import ChipVsFixed, ChipVsFloat
from nmap.samples import Samples
from nmap.target.backend import Target
from nmap.trace import Probe, SpikeEvents
from nmap.verify.lockstep import Difference, compare, describe
from nmap.verify.tallies import told_tallies
from nmap.windows import told_window, window_count, windowed

__all__ = ["Comparison", "samples_at_once"]

_PROBED_SAMPLES = 2
"""Samples whose every state variable is compared; spikes are compared on all."""
_PROBED_ELEMENTS = 1 << 25
"""State values compared at most, so that networks of millions of neurons are compared in their first steps only."""
_PROBED_BYTES = 32
"""Memory for each of them: 8 on both sides, and what they come from."""
_COMPARE_ELEMENTS = 1 << 25
"""Recorded places per chunk, where nothing more is known of the memory they take."""
_ROOM = 1 << 29
"""Memory that chunks may take without a limit: larger ones are not faster."""
_SHARE = 4
"""Chunks for each thread at least, so that none waits long for the last one."""
_FLOAT_CHUNK = 1 << 27
"""Memory of one array of the float level at most, unless a single sample takes more; see `nmap.simulate.floating`."""
_SUMS = 12
"""Bytes of a sum of samples over a window, in 32 bits and before in 64."""
_FLOAT_ARRAYS = 4
"""Arrays of its widest population that the float level holds."""


def samples_at_once(quantized: QuantizedNetwork, steps: int) -> int:
    """Return how many samples are run at a time where every population is recorded."""
    return max(1, _COMPARE_ELEMENTS // max(1, steps * sum(p.size for p in quantized.populations)))


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What is compared, and how.

    Args:
        target: name of the chip family.
        network: as imported; its activity is compared where `real`.
        quantized: the reference; compared where `fixed`.
        program: what the emulator runs.
        steps: of the samples.
        scored: output whose neurons the labels number.
        fixed, real: what to compare with.
        probed: state values compared at most.
        jobs: threads of the emulator inside a chunk.
        split: threads of the emulator that share a sample.
        room: bytes that the emulator may take for a chunk; None where its whole footprint fits.
    """

    target: str
    network: Network
    quantized: QuantizedNetwork
    program: Program
    steps: int
    scored: str | None
    fixed: bool
    real: bool
    probed: int = _PROBED_ELEMENTS
    jobs: int = 1
    split: int = 1
    room: int | None = None

    @property
    def chip_steps(self) -> int:
        """Steps that the chip runs for a sample."""
        return self.windows + self.quantized.latency

    @property
    def windows(self) -> int:
        """Steps of the chip that the steps of a sample are."""
        return window_count(self.steps, self.quantized.window)

    @property
    def names(self) -> list[str]:
        """Populations whose spikes are compared."""
        return [p.name for p in self.quantized.populations if p.kernel is not None]

    @property
    def recorded(self) -> list[str]:
        """Populations whose spikes the chip records."""
        return list(dict.fromkeys([*([*self.names, *self.copied] if self.fixed else ()), *self.quantized.outputs]))

    @property
    def copied(self) -> dict[str, tuple[str, Array]]:
        """The program's copies by name: the population they copy, and which of its neurons each of them copies."""
        populations = self.program.populations
        return {populations[k].name: (populations[origin].name, neurons) for k, (origin, neurons) in self.program.copies.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Some samples: the number of the first, (samples, steps, *shape) by input, and their labels.

    With `states` it is the first samples again, whose every state variable is compared.
    """

    first: int
    part: dict[str, Array]
    labels: Array | None = None
    states: bool = False

    @property
    def samples(self) -> int:
        """How many."""
        return int(next(iter(self.part.values())).shape[0])


@dataclass(slots=True, eq=False)
class _Found:
    """What was found out about some samples.

    Args:
        samples: how many.
        difference: of the spikes from the fixed-point reference's; samples are numbered among all.
        states: likewise of the state variables, of the first samples.
        spikes: that the reference sent.
        counts: spikes of each neuron, (neurons,) int64 by population.
        largest: largest payload by population.
        tallies: what the chip's neurons count, by `POPULATION.VARIABLE`.
        places, alike: places of the outputs compared with the network in real numbers, and those that agree.
        neurons, equal: (sample, output neuron) whose spikes are counted on both, and those with equal counts.
        outputs, largest_alike: (sample, output) of those, and those whose largest count is the same neuron's.
        right: samples classified right by that network and by the chip.
    """

    samples: int = 0
    difference: Difference = field(default_factory=lambda: Difference(0, {}, None))
    states: Difference = field(default_factory=lambda: Difference(0, {}, None))
    spikes: int = 0
    counts: dict[str, Array] = field(default_factory=dict)
    largest: dict[str, int] = field(default_factory=dict)
    tallies: dict[str, int] = field(default_factory=dict)
    places: int = 0
    alike: int = 0
    neurons: int = 0
    equal: int = 0
    outputs: int = 0
    largest_alike: int = 0
    right: tuple[int, int] = (0, 0)


class _SideBySide:
    """Runs the emulator and what it is compared with on the same samples; several threads may do so at a time."""

    def __init__(self, plan: _Plan) -> None:
        from nmap.emulate.engine import Emulator
        from nmap.simulate.fixed import Reference
        from nmap.target.registry import find_target

        self.plan = plan
        self.kernels = find_target(plan.target).kernels
        self.emulator = Emulator(plan.program, self.kernels, plan.split)
        self.reference = Reference(plan.quantized, self.kernels, plan.chip_steps) if plan.fixed else None

    def footprint(self, samples: int) -> int:
        """Return the bytes that comparing so many samples takes at its peak, what is there before left out."""
        return self.emulated(samples) + self.beside(samples)

    def emulated(self, samples: int, *, least: bool = False) -> int:
        """Return the emulator's part of the footprint; with `least` what it can do with, see `Emulator.footprint`."""
        plan = self.plan
        taken = self.emulator.footprint(samples, plan.chip_steps, record=plan.recorded, jobs=plan.jobs, dense=False, least=least)
        return taken - self.emulator.layout.nbytes

    def beside(self, samples: int) -> int:
        """Return the footprint of what the emulator is compared with."""
        plan, taken = self.plan, 0
        if self.reference is not None:
            taken += self.reference.footprint(samples, plan.names)
        if plan.real:
            widest = 8 * max(1, plan.steps) * max(p.size for p in plan.network.populations)
            taken += _FLOAT_ARRAYS * widest * max(1, min(samples, _FLOAT_CHUNK // widest))
            taken += 12 * samples * plan.steps * sum(plan.network[name].size for name in plan.quantized.outputs)
        if plan.quantized.window > 1:
            taken += _SUMS * samples * plan.windows * sum(plan.quantized[name].size for name in plan.quantized.inputs)
        return taken

    def __call__(self, chunk: _Chunk) -> _Found:
        """Compare a chunk."""
        if chunk.states:
            return _Found(states=self._states(chunk.part))
        plan, found = self.plan, _Found(chunk.samples)
        part = self._windowed(chunk.part)
        limit = None if plan.room is None else plan.room + self.emulator.layout.nbytes
        trace = self.emulator.run(
            part, plan.chip_steps, record=plan.recorded, jobs=plan.jobs, dense=False, memory_limit=limit,
        )
        chip, found.tallies = trace.events, trace.tallies
        if self.reference is not None:
            for name in plan.names:
                sent = chip[name]
                found.counts[name] = np.bincount(sent.neuron, minlength=sent.neurons).astype(np.int64)
                found.largest[name] = _largest(sent)
            for name, given in part.items():
                found.counts[name] = np.count_nonzero(given.reshape(-1, prod(given.shape[2:])), axis=0).astype(np.int64)
            due = self.reference.run(part, record=plan.names)
            found.spikes = sum(due.counts[name] for name in plan.names)
            copies = {name: due.spikes[origin][..., neurons] for name, (origin, neurons) in plan.copied.items()}
            found.difference = compare({**due.spikes, **copies}, chip).counted_from(chunk.first)
        if plan.real:
            self._real(chunk, {name: chip[name].dense() for name in plan.quantized.outputs}, found)
        return found

    def _windowed(self, part: Mapping[str, Array]) -> dict[str, Array]:
        """Return what the chip is given of some samples."""
        return {name: windowed(values, self.plan.quantized.window) for name, values in part.items()}

    def _states(self, part: Mapping[str, Array]) -> Difference:
        """Compare the states of the first samples, in as many steps as memory allows."""
        from nmap.simulate.fixed import Reference

        plan = self.plan
        probes = [
            Probe(p.name, variable) for p in plan.quantized.populations if p.kernel is not None for variable in self.kernels[p.kernel].state
        ]
        values = _PROBED_SAMPLES * sum(plan.quantized[probe.population].size for probe in probes)
        steps = min(plan.chip_steps, max(1, plan.probed // max(1, values)))
        given = self._windowed(part)
        return compare(
            Reference(plan.quantized, self.kernels, steps).run(given, record=(), probes=probes).state,
            self.emulator.run(given, steps, record=(), probes=probes).state,
        )

    def _real(self, chunk: _Chunk, chip: Mapping[str, Array], found: _Found) -> None:
        """Compare the outputs (samples, chip steps, neurons) with those of the network in real numbers."""
        from nmap.simulate.floating import simulate

        plan, window = self.plan, self.plan.quantized.window
        real = simulate(plan.network, chunk.part)
        ours = {}
        for name, sent in chip.items():
            latency = plan.quantized[name].latency
            ours[name] = sent[:, latency : latency + plan.windows]
            if name in real.spikes:
                due = windowed(real.spikes[name], window)
                counted = window > 1 or isinstance(plan.network[name].neuron, SigmaDelta)
                same = ours[name] == due if counted else (ours[name] != 0) == (due != 0)
                found.places += same.size
                found.alike += int(np.count_nonzero(same))
                _count(ours[name].sum(1, dtype=np.int64), real.counts(name), found)
        if plan.scored is not None and chunk.labels is not None:
            scores = (real.counts(plan.scored), ours[plan.scored].sum(1, dtype=np.int64))
            theirs, own = (int(np.count_nonzero(score.argmax(1) == chunk.labels)) for score in scores)
            found.right = (theirs, own)


def _count(ours: Array, theirs: Array, found: _Found) -> None:
    """Compare the counts of an output's neurons over whole samples, (samples, neurons) each; of equal ones the first is the largest."""
    found.neurons += ours.size
    found.equal += int(np.count_nonzero(ours == theirs))
    found.outputs += ours.shape[0]
    found.largest_alike += int(np.count_nonzero(ours.argmax(1) == theirs.argmax(1)))


def _largest(sent: SpikeEvents) -> int:
    if sent.payload is None:
        return min(1, sent.neuron.size)
    return max(int(sent.payload.max(initial=0)), -int(sent.payload.min(initial=0)))


class Comparison:
    """The emulator side by side with the reference and with the network in real numbers.

    Args:
        network, target, quantized, program: what was mapped.
        samples: what to run.
        findings: receives the first place that differs, and warnings.
        say: called with lines of progress.
        jobs: threads that chunks are shared out to.
        split: threads of the emulator that share each sample.
        memory_limit: bytes that this process may take; None for no limit.
        scheduler: address of a Dask scheduler whose workers do the work; None for this machine.
    """

    def __init__(
        self, network: Network, target: Target, quantized: QuantizedNetwork, program: Program, samples: Samples, findings: Findings,
        say: Callable[[str], None], *, jobs: int = 1, split: int = 1, memory_limit: int | None = None, scheduler: str | None = None,
    ) -> None:
        self.network, self.target, self.quantized, self.program = network, target, quantized, program
        self.samples, self.findings, self.say = samples, findings, say
        self.jobs, self.split, self.memory_limit, self.scheduler = jobs, split, memory_limit, scheduler
        self.chip_vs_fixed: ChipVsFixed | None = None
        self.chip_vs_float: ChipVsFloat | None = None
        self.activity: Activity | None = None

    def run(self, *, fixed: bool, real: bool) -> None:
        """Compare.

        Raises:
            NmapError: NM802, the memory limit is too low; NM005 or NM006, see `nmap.distribute.run_chunks`; or of the samples' file.
        """
        scored = self.samples.scored if self.samples.labels is not None else None
        plan = _Plan(
            self.target.name, self.network, self.quantized, self.program, self.samples.steps, scored, fixed, real, split=self.split,
        )
        self.findings.extend(told_window(self.samples.steps, self.quantized.window, self.samples.name or None))
        total = _Found()
        for found in self._results(plan):
            _add(total, found)
            self.say(f"{total.samples} of {self.samples.samples} samples")
        # Where spikes differ, states do.
        difference = total.difference if total.difference.mismatches else total.states
        if difference.first is not None:
            self.findings.extend([describe(difference, "NM701", "the fixed-point reference", "the emulated chip")])
        self._tell_wide_payloads(total.largest)
        self.findings.extend(told_tallies(self.program, self.target.kernels, total.tallies, total.samples))
        if fixed:
            self.chip_vs_fixed = ChipVsFixed(total.samples, plan.chip_steps, total.spikes, difference.mismatches)
            if total.samples and plan.chip_steps:
                self.activity = Activity("chip", total.samples, plan.chip_steps, total.counts, self.quantized.latency)
        if real:
            labelled = self.samples.labels is not None and total.samples > 0
            theirs, ours = (right / total.samples if labelled else None for right in total.right)
            self.chip_vs_float = ChipVsFloat(
                _share(total.alike, total.places), theirs, ours, total.samples, _share(total.equal, total.neurons),
                _share(total.largest_alike, total.outputs), self.quantized.window,
            )
            if total.alike < total.places:
                self._tell_wraps(1 - total.alike / total.places)

    def _results(self, plan: _Plan) -> Iterator[_Found]:
        """Yield what was found about each chunk, in the order of the samples."""
        each = max(1, self.samples.chunk_bytes_each)
        if self.scheduler is not None:
            at_once = min(samples_at_once(self.quantized, plan.chip_steps), max(1, CHUNK_BYTES // each))
            yield from run_chunks(partial(_SideBySide, plan), self._chunks(plan, at_once), scheduler=self.scheduler, say=self.say)
            return
        side, at_once, jobs = self._planned(plan)
        yield from run_chunks(lambda: side, self._chunks(plan, at_once), jobs=jobs)

    def _chunks(self, plan: _Plan, at_once: int) -> Iterator[_Chunk]:
        if plan.fixed and self.samples.samples:
            yield _Chunk(0, self.samples.first(_PROBED_SAMPLES), states=True)
        first, labels = 0, self.samples.labels
        for part in self.samples.chunks(at_once):
            stop = first + int(next(iter(part.values())).shape[0])
            yield _Chunk(first, part, None if labels is None else labels[first:stop])
            first = stop

    def _planned(self, plan: _Plan) -> tuple[_SideBySide, int, int]:
        """Return what compares a chunk on this machine, how many samples are one, and how many of them run at a time.

        Raises:
            NmapError: NM802, not even one sample fits into the memory limit.
        """
        side, samples, limit = _SideBySide(plan), self.samples, self.memory_limit
        used = resident()
        room = _ROOM if limit is None else min(_ROOM, limit - used)

        def given(count: int, jobs: int) -> int:
            # One chunk more than there are threads is waiting, another is being read.
            return (jobs + 2) * count * samples.chunk_bytes_each + samples.scratch(count)

        def taken(count: int, jobs: int) -> int:
            return given(count, jobs) + jobs * side.footprint(count)

        def fits(jobs: int, count: int) -> bool:
            return taken(count, jobs) <= room

        jobs = max(1, min(self.jobs, samples.samples))
        most = max(1, min(samples.most_at_once, -(-samples.samples // (_SHARE * jobs))))
        fitting = ((largest(most, partial(fits, jobs)), jobs) for jobs in range(jobs, 0, -1))
        at_once, jobs = next((found for found in fitting if found[0]), (0, 1))
        peak, tight = used + taken(max(1, at_once), jobs), None
        if at_once == 0 and limit is not None and peak > limit:
            tight = limit - used - given(1, 1) - side.beside(1)
            needed = limit - tight + side.emulated(1, least=True)
            if needed > limit:
                raise NmapError(Diagnostic(
                    "NM802", "error",
                    f"comparing one sample at a time takes {size_text(needed)} of memory, beyond the limit of {size_text(limit)}",
                    "--memory-limit", f"{size_text(used)} are in use, with the network and its tables.",
                    (f"--memory-limit {-(-needed // 2**20)}M at least", "run fewer steps with --steps"),
                ))
            peak = limit
        at_once = max(1, at_once)
        probed = _PROBED_ELEMENTS if limit is None else min(_PROBED_ELEMENTS, max(1, room // _PROBED_BYTES))
        # With fewer samples than threads, the emulator has the rest of them inside a sample.
        side.plan = replace(plan, probed=probed, jobs=max(1, self.jobs // jobs), room=tight)
        limited = "" if limit is None else f" of {size_text(limit)}"
        self.say(
            f"at most {size_text(peak)}{limited} of memory: {at_once} samples at a time, {jobs} thread{'s' if jobs > 1 else ''}"
            f"{f', {self.split} for each sample' if self.split > 1 else ''}"
        )
        return side, at_once, jobs

    def _tell_wraps(self, differing: float) -> None:
        """Warn where outputs differ from the network's and sums may have wrapped, which real numbers never do."""
        unproved = [p for p in self.quantized.projections if p.format.accumulator]
        if unproved:
            names = named([p.name for p in unproved])
            self.findings.warning(
                "NM304",
                f"{100 * differing:.3g} % of the outputs differ from the network's, and sums of {names} may have wrapped",
                where=str(unproved[0].where),
                why="They are not proved to fit the chip's accumulators on all inputs. The network in real numbers has no such limit.",
                help=("send smaller graded payloads",),
            )

    def _tell_wide_payloads(self, largest: Mapping[str, int]) -> None:
        """Warn of graded spikes that the projections they leave by have too few bits for, sign included."""
        for name, payload in largest.items():
            widths = [p.format.message_bits for p in self.quantized.projections if p.source == name and p.format.message_bits]
            if widths and payload.bit_length() >= max(min(widths), 2):
                self.findings.warning(
                    "NM304", f"graded spikes of `{name}` reach {payload}, beyond the {min(widths)} bits of their payload",
                    where=str(self.quantized[name].where),
                    why="Emulator and reference send them in full; the chip's messages may not.",
                )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _add(total: _Found, found: _Found) -> None:
    """Add what was found about further samples."""
    total.samples += found.samples
    total.spikes += found.spikes
    total.places += found.places
    total.alike += found.alike
    total.neurons += found.neurons
    total.equal += found.equal
    total.outputs += found.outputs
    total.largest_alike += found.largest_alike
    total.right = (total.right[0] + found.right[0], total.right[1] + found.right[1])
    total.difference = total.difference.joined(found.difference)
    total.states = total.states.joined(found.states)
    for name, counts in found.counts.items():
        total.counts[name] = total.counts[name] + counts if name in total.counts else counts
    for key, count in found.tallies.items():
        total.tallies[key] = total.tallies.get(key, 0) + count
    for name, payload in found.largest.items():
        total.largest[name] = max(total.largest.get(name, 0), payload)
