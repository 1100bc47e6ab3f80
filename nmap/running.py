"""Samples through one level of a network, chunk by chunk: how many at once, how much memory that takes, and where the results go."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, NmapError
from nmap.emulate.kernel import Kernel
from nmap.memory import largest, resident, size_text
from nmap.network import Network
from nmap.program import Program
from nmap.quantized import QuantizedNetwork
from nmap.recorded import Recorded, Result, Sink
from nmap.report.model import Memory
from nmap.samples import Samples
from nmap.trace import Probe, SpikeEvents, SpikeTrace, parse_probes

__all__ = ["ChipLevel", "FixedLevel", "FloatLevel", "Level", "Ran", "run_samples", "usable_cores"]

_RESERVE = 2**25
"""What Python, numpy and its products allocate beside the arrays that are counted."""
_CHUNK_BYTES = 2**29
"""What a chunk may take without `--memory-limit`: more at once is no faster."""
_MAX_KEPT_BYTES = 2**33
"""Largest array of output spikes or of a probe that is kept in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """What a run found out.

    Args:
        outputs, probes: (samples, steps, *shape) by output and by `POP.VARIABLE`; of no samples where they were not to be kept.
        scores: (samples, neurons) by output: spikes in all, int64, or the state in the last step where it never fires.
        sent: spikes of the outputs that fire.
        memory: what it took.
    """

    outputs: dict[str, Array]
    probes: dict[str, Array]
    scores: dict[str, Array]
    sent: int
    memory: Memory


class Level(Protocol):
    """A way to run a chunk of samples."""

    @property
    def latency(self) -> Mapping[str, int]:
        """Steps by which each population runs behind the network's own time."""

    @property
    def extra(self) -> int:
        """Steps to run beyond the samples' own."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each population."""

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What is recorded beside the outputs."""

    @property
    def most(self) -> int | None:
        """Samples to run at a time at most; None where only memory says so."""

    def footprint(self, samples: int, steps: int) -> int:
        """Return the bytes a chunk takes at its peak, what is recorded of it included, its input not.

        Args:
            samples: of the chunk.
            steps: of the samples.
        """

    def run(self, part: dict[str, Array], say: Callable[[int, int], None]) -> dict[str, Recorded]:
        """Return what the outputs sent and what was probed, by `POPULATION.VARIABLE`.

        Args:
            part: (samples, steps, *shape) by input port.
            say: called with (samples done, samples).
        """


def usable_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_samples(
    samples: Samples, network: Network, level: Level, say: Callable[[str], None], *, real: bool, raw_time: bool, jobs: int = 1,
    memory_limit: int | None = None, output: Path | None = None, facts: Mapping[str, str | int | bool] | None = None, keep: bool = True,
) -> Ran:
    """Run all samples.

    Args:
        samples: what to run.
        network: as read.
        level: how to run it.
        say: told what memory it takes, and how far it is.
        real: whether the level computes with real numbers: outputs that never fire are recorded by their membrane potential.
        raw_time: keep the level's own time; else every population's is shifted to the network's.
        jobs: threads that the level was made with.
        memory_limit: bytes that the whole process may take; None for no limit.
        output: HDF5 file that results are written to as they come.
        facts: what that file says of the run.
        keep: whether outputs and probes are kept.

    Raises:
        NmapError: NM802, the memory limit is too low, or an array too large to be kept; NM601, the output cannot be written; or of the
            samples' file.
    """
    wanted = _results(network, level, real=real)
    length = samples.steps + (level.extra if raw_time else 0)
    scores, kept = _Scores(samples.samples), _Kept(samples.samples if keep else 0)
    each = _Scores.bytes_each(wanted) + (_Kept.bytes_each(wanted, length) if keep else 0)
    memory = _plan(samples, level, samples.samples * each, jobs, memory_limit)
    limit = "" if memory_limit is None else f" of {size_text(memory_limit)}"
    say(f"at most {size_text(memory.peak)}{limit} of memory: {memory.at_once} samples at a time, {jobs} thread{'s' if jobs > 1 else ''}")
    sinks: list[Sink] = [scores, *([kept] if keep else [])]
    with ExitStack() as stack:
        file = None
        if output is not None:
            from nmap.writers.recording import recording

            file = stack.enter_context(recording(output, samples.samples, length, facts or {}))
            sinks.append(file)
        _execute(samples, level, wanted, sinks, memory.at_once, say, length, raw_time=raw_time)
        if file is not None:
            alone = len(network.outputs) == 1
            file.put({"counts" if alone else f"counts.{name}": values for name, values in scores.scores.items()})
    for result in wanted if not keep else ():
        kept.add(result, 0, np.zeros((0, length, prod(result.shape)), np.int32 if result.spikes else np.float64))
    arrays = {result: kept.arrays[result].reshape(-1, length, *result.shape) for result in wanted}
    return Ran(
        {result.population: values for result, values in arrays.items() if result.output},
        {result.key: values for result, values in arrays.items() if not result.output}, scores.scores, scores.sent, memory,
    )


def _results(network: Network, level: Level, *, real: bool) -> tuple[Result, ...]:
    """Return the arrays a run finds out; see `run_samples`."""
    shapes = {p.name: p.shape for p in network.populations}
    alone, found = len(network.outputs) == 1, []
    for name in network.outputs:
        never = network[name].silent
        variable = "v" if never and real else "spikes"
        written = f"{name}.v" if never else "spikes" if alone else f"spikes.{name}"
        found.append(Result(written, f"{name}.{variable}", name, shapes[name], variable == "spikes", True))
    for probe in level.probes:
        # Not every population of a program is one of the network.
        shape = shapes.get(probe.population, level.shapes[probe.population])
        found.append(Result(probe.key, probe.key, probe.population, shape, probe.variable == "spikes", False))
    return tuple(found)


def _execute(
    samples: Samples, level: Level, wanted: Sequence[Result], sinks: Sequence[Sink], at_once: int, say: Callable[[str], None],
    length: int, *, raw_time: bool,
) -> None:
    """Run all samples; the next chunk is read while one runs."""
    start = 0
    with closing(_ahead(samples.chunks(at_once))) as parts:
        for part in parts:

            def tell(done: int, of: int, start: int = start) -> None:  # noqa: ARG001 - the simulators' own signature
                say(f"{start + done} of {samples.samples} samples")

            made = level.run(part, tell)
            for result in wanted:
                values = _window(made[result.key], 0 if raw_time else level.latency[result.population], length)
                for sink in sinks:
                    sink.add(result, start, values)
            start += next(iter(part.values())).shape[0]


def _ahead(parts: Iterator[dict[str, Array]]) -> Generator[dict[str, Array], None, None]:
    """Yield what an iterator yields; another thread is always at work on the next item."""
    with ThreadPoolExecutor(1) as other:
        coming = other.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = other.submit(next, parts, None)
            yield part


def _window(values: Recorded, first: int, length: int) -> Recorded:
    """Return `length` steps of what was recorded, from step `first` on."""
    if not isinstance(values, SpikeEvents):
        return values[:, first : first + length]
    if first == 0 and length == values.steps:
        return values
    pointers = values.offsets[:-1].reshape(values.samples, values.steps)[:, first : first + length]
    steps = pointers.shape[1]
    ends = values.offsets[np.arange(values.samples) * values.steps + first + steps]
    counts = np.diff(np.concatenate([pointers, ends[:, None]], axis=1), axis=1)
    kept = np.zeros(values.neuron.size + 1, np.int32)
    np.add.at(kept, pointers[:, 0], 1)
    np.add.at(kept, ends, -1)
    inside = np.cumsum(kept[:-1]).astype(bool)
    return SpikeEvents(
        values.samples, steps, values.neurons, np.concatenate([[0], np.cumsum(counts.ravel())]), values.neuron[inside],
        None if values.payload is None else values.payload[inside],
    )


# ---- memory -----------------------------------------------------------------------------------------------------------------------------


def _plan(samples: Samples, level: Level, kept: int, jobs: int, limit: int | None) -> Memory:
    """Return how many samples run at a time and the memory that takes; `kept` bytes of results stay until the end.

    Raises:
        NmapError: NM802, not even one sample at a time fits.
    """
    used = resident() + _RESERVE

    def chunk(count: int) -> int:
        # One that runs, one that is being read, and what reading it takes.
        given = 2 * count * samples.chunk_bytes_each + samples.scratch(count)
        return given + level.footprint(count, samples.steps)

    most = max(1, min(samples.samples, samples.most_at_once, level.most or samples.samples))
    room = _CHUNK_BYTES if limit is None else min(_CHUNK_BYTES, limit - used - kept)
    at_once = largest(most, lambda count: chunk(count) <= room)
    if at_once == 0 and limit is not None:
        one = level.footprint(1, samples.steps)
        raise NmapError(Diagnostic(
            "NM802", "error",
            f"a run of one sample at a time takes {size_text(used + kept + chunk(1))} of memory, beyond the limit of {size_text(limit)}",
            "--memory-limit",
            f"{size_text(used)} are in use, with the network and its tables; {size_text(kept)} are results kept until the end; "
            f"one sample takes {size_text(one)} and the reading of it {size_text(chunk(1) - one)}.",
            help=(
                *(("write the results as they come: -o OUT.h5",) if kept > chunk(1) else ()),
                f"--memory-limit {-(-(used + kept + chunk(1)) // 2**20)}M at least", "run fewer steps with --steps",
            ),
        ))
    at_once = max(1, at_once)
    return Memory(used + kept + chunk(at_once), limit, at_once, jobs)


# ---- results ----------------------------------------------------------------------------------------------------------------------------


class _Scores:
    """Spikes of each output's neurons by sample and in all; of an output that never fires, its state in the last step.

    Args:
        samples: how many.
    """

    def __init__(self, samples: int) -> None:
        self.scores: dict[str, Array] = {}
        self.sent = 0
        self._samples = samples

    @staticmethod
    def bytes_each(wanted: Sequence[Result]) -> int:
        """Return what the scores take for each sample."""
        return 8 * sum(prod(result.shape) for result in wanted if result.output)

    def add(self, result: Result, first: int, values: Recorded) -> None:
        """See `Sink`."""
        if not result.output:
            return
        if isinstance(values, SpikeEvents):
            made = _summed(values)
            self.sent += values.neuron.size
        elif result.spikes:
            made = values.sum(1, dtype=np.int64)
            self.sent += int(np.count_nonzero(values))
        else:
            made = values[:, -1]
        if result.population not in self.scores:
            self.scores[result.population] = np.zeros((self._samples, *made.shape[1:]), made.dtype)
        self.scores[result.population][first : first + made.shape[0]] = made


def _summed(events: SpikeEvents) -> Array:
    """Return the payloads of each neuron, summed over time, (samples, neurons) int64."""
    out = np.zeros(events.samples * events.neurons, np.int64)
    per_sample = np.diff(events.offsets[:: events.steps]) if events.steps else np.zeros(events.samples, np.int64)
    at = np.repeat(np.arange(events.samples) * events.neurons, per_sample) + events.neuron
    np.add.at(out, at, 1 if events.payload is None else events.payload.astype(np.int64))
    return out.reshape(events.samples, events.neurons)


class _Kept:
    """All results in memory, (samples, steps, neurons) each.

    Args:
        samples: how many.
    """

    def __init__(self, samples: int) -> None:
        self.arrays: dict[Result, Array] = {}
        self._samples = samples

    @staticmethod
    def bytes_each(wanted: Sequence[Result], length: int) -> int:
        """Return what the results take for each sample of `length` steps."""
        return length * sum((4 if result.spikes else 8) * prod(result.shape) for result in wanted)

    def add(self, result: Result, first: int, values: Recorded) -> None:
        """See `Sink`.

        Raises:
            NmapError: NM802, an array would be beyond `_MAX_KEPT_BYTES`.
        """
        dense = values.dense() if isinstance(values, SpikeEvents) else values
        if result not in self.arrays:
            self.arrays[result] = _room(result.population if result.output else result.key, self._samples, dense)
        self.arrays[result][first : first + dense.shape[0]] = dense


def _room(key: str, samples: int, values: Array) -> Array:
    """Return an array for what is kept of all samples.

    Raises:
        NmapError: NM802, it would be beyond `_MAX_KEPT_BYTES`.
    """
    shape = (samples, *values.shape[1:])
    # The float level sends bytes where a neuron sends at most one spike a step.
    dtype = np.dtype(np.int32) if values.dtype == np.uint8 else values.dtype
    if prod(shape) * dtype.itemsize > _MAX_KEPT_BYTES:
        raise NmapError(Diagnostic(
            "NM802", "error", f"what is kept of `{key}`, {shape}, is beyond the limit of {_MAX_KEPT_BYTES} bytes",
            help=("write the results as they come: -o OUT.h5", "run the samples in several files"),
        ))
    return np.zeros(shape, dtype)


# ---- levels -----------------------------------------------------------------------------------------------------------------------------


class FloatLevel:
    """The network as read.

    Args:
        network: the network.
        probes: `POP`, `POP:v`, `POP:u` or `POP:spikes`.

    Raises:
        NmapError: NM004, a probe names nothing.
    """

    extra: int = 0
    most: int | None = None

    def __init__(self, network: Network, probes: Sequence[str]) -> None:
        from nmap.simulate.floating import simulate

        self.network, self._simulate = network, simulate
        self.latency = dict.fromkeys((p.name for p in network.populations), 0)
        self.shapes = {p.name: p.shape for p in network.populations}
        self.probes = parse_probes(probes, {p.name: ("v", "u") if p.neuron is not None else () for p in network.populations})

    def footprint(self, samples: int, steps: int) -> int:
        """See `Level`: nothing is let go before the end, all of it in 8 bytes."""
        recorded = sum(self.network[name].size for name in (*self.network.outputs, *(p.population for p in self.probes)))
        weights = sum(p.connectivity.weights.size for p in self.network.projections)
        return 8 * (samples * steps * (sum(p.size for p in self.network.populations) + recorded) + weights)

    def run(self, part: dict[str, Array], say: Callable[[int, int], None]) -> dict[str, Recorded]:
        """See `Level`."""
        names = [f"{p.population}:{p.variable}" for p in self.probes]
        made = self._simulate(self.network, part, record=[*self.network.outputs, *names], progress=say)
        found: dict[str, Recorded] = {}
        for variable, arrays in (("spikes", made.spikes), ("v", made.v), ("u", made.u)):
            found.update({f"{name}.{variable}": values for name, values in arrays.items()})
        return found


class _Mapped:
    """What the levels of a bundle share: names, times and probes of its program."""

    most: int | None = None

    def __init__(self, program: Program, kernels: Mapping[str, Kernel], probes: Sequence[str]) -> None:
        self.kernels = kernels
        kernel = {program.populations[g.population].name: g.kernel for g in program.groups}
        states = {p.name: kernels[kernel[p.name]].state if p.name in kernel else () for p in program.populations}
        self.probes = parse_probes(probes, states)
        self.latency = {p.name: p.latency for p in program.populations}
        self.shapes = {p.name: (prod(p.shape),) for p in program.populations}
        self.extra = program.latency


class ChipLevel(_Mapped):
    """The mapped program on the emulator.

    Args:
        program: the program.
        kernels: the target's neuron kernels.
        probes: see `FloatLevel`.
        jobs: threads.
        dense: give spikes as arrays, not as events.

    Raises:
        NmapError: NM004, a probe names nothing; NM602, the program contradicts itself.
    """

    def __init__(
        self, program: Program, kernels: Mapping[str, Kernel], probes: Sequence[str], *, jobs: int = 1, dense: bool = True
    ) -> None:
        from nmap.emulate.engine import Emulator

        super().__init__(program, kernels, probes)
        self.jobs, self.dense = jobs, dense
        self.emulator = Emulator(program, kernels)
        # Machine code is loaded now, beside the samples, and counts in what the process takes when memory is looked at.
        silence = {program.populations[k].name: np.zeros((1, 1, *program.populations[k].shape), np.uint8) for k in program.inputs}
        self.emulator.run(silence, 1)

    def footprint(self, samples: int, steps: int) -> int:
        """See `Level`; the tables are in memory already."""
        all_of_it = self.emulator.footprint(samples, steps + self.extra, probes=self.probes, jobs=self.jobs, dense=self.dense)
        return all_of_it - self.emulator.layout.nbytes

    def run(self, part: dict[str, Array], say: Callable[[int, int], None]) -> dict[str, Recorded]:
        """See `Level`."""
        steps = next(iter(part.values())).shape[1] + self.extra
        return _of(self.emulator.run(part, steps, probes=self.probes, progress=say, jobs=self.jobs, dense=self.dense))


class FixedLevel(_Mapped):
    """The quantized reference.

    Args:
        quantized: the network.
        program: the mapped program, whose names and times are taken.
        kernels: the target's neuron kernels.
        probes: see `FloatLevel`.

    Raises:
        NmapError: NM004, a probe names nothing.
    """

    def __init__(self, quantized: QuantizedNetwork, program: Program, kernels: Mapping[str, Kernel], probes: Sequence[str]) -> None:
        from nmap.simulate.fixed import simulate

        super().__init__(program, kernels, probes)
        self.quantized, self._simulate = quantized, simulate

    def footprint(self, samples: int, steps: int) -> int:
        """See `Level`: all spikes in 4 bytes; what is recorded again, and states in 8, both once more when they are put in order."""
        spikes = sum(p.size for p in self.quantized.populations)
        recorded = sum(self.quantized[name].size for name in self.quantized.outputs)
        probed = sum(self.quantized[p.population].size * (1 if p.variable == "spikes" else 4) for p in self.probes)
        # Products are taken in float64, of weights likewise.
        step = 8 * 4 * max(p.size for p in self.quantized.populations)
        weights = 8 * sum(p.connectivity.weights.size for p in self.quantized.projections)
        return samples * ((steps + self.extra) * 4 * (spikes + recorded + probed) + step) + weights

    def run(self, part: dict[str, Array], say: Callable[[int, int], None]) -> dict[str, Recorded]:
        """See `Level`."""
        count, steps = next(iter(part.values())).shape[:2]
        trace = self._simulate(self.quantized, self.kernels, part, steps + self.extra, probes=self.probes)
        say(count, count)
        return _of(trace)


def _of(trace: SpikeTrace) -> dict[str, Recorded]:
    found: dict[str, Recorded] = dict(trace.state)
    for recorded in (trace.spikes, trace.events):
        found.update({f"{name}.spikes": values for name, values in recorded.items()})
    return found
