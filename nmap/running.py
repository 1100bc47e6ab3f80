"""Samples through one level of a network, chunk by chunk: how many at once, how much memory that takes, and where the results go.

A level runs on this machine, or on the workers of a Dask cluster, where it is made once in each process (`Remote`).
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from functools import partial
from math import prod
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Protocol

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, NmapError
from nmap.distribute import CHUNK_BYTES, chunks_ahead, run_chunks
from nmap.emulate.kernel import Kernel, floats
from nmap.memory import largest, resident, size_text
from nmap.network import Network
from nmap.program import Program
from nmap.quantized import QuantizedNetwork
from nmap.recorded import Recorded, Result, Sink
from nmap.report.model import Memory
from nmap.samples import Samples
from nmap.trace import Probe, SpikeEvents, SpikeTrace, parse_probes
from nmap.windows import window_count, windowed

if TYPE_CHECKING:
    from nmap.simulate.fixed import Reference

__all__ = [
    "ChipLevel", "Described", "FixedLevel", "FloatLevel", "Level", "Local", "Mapped", "Ran", "Remote", "chip_level", "fixed_level",
    "run_samples", "usable_cores",
]

_RESERVE = 2**25
"""What Python, numpy and its products allocate beside the arrays that are counted."""
_CHUNK_BYTES = 2**29
"""What a chunk may take without `--memory-limit`: more at once is no faster."""
_SUMS = 12
"""Bytes of a sum of samples over a window, in 32 bits and before in 64."""
_MAX_KEPT_BYTES = 2**33
"""Largest array of output spikes or of a probe that is kept in memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """What a run found out.

    Args:
        outputs, probes: (samples, steps of the level, *shape) by output and by `POP.VARIABLE`; of no samples where they were not kept.
        scores: (samples, neurons) by output: spikes in all, int64, or the state in the last step where it never fires.
        sent: spikes of the outputs that fire.
        memory: what it took.
        window: steps of the network that one of these steps stands for.
        tallies: what the chip's neurons counted, by `POPULATION.VARIABLE`.
    """

    outputs: dict[str, Array]
    probes: dict[str, Array]
    scores: dict[str, Array]
    sent: int
    memory: Memory
    window: int = 1
    tallies: dict[str, int] = field(default_factory=dict)


_TALLY = "#"
"""Before the name of what neurons counted in a chunk, among the arrays that it gives."""


class Described(Protocol):
    """What is known of a level before it runs."""

    @property
    def latency(self) -> Mapping[str, int]:
        """Steps by which each population runs behind the network's own time."""

    @property
    def extra(self) -> int:
        """Steps to run beyond the samples' own."""

    @property
    def window(self) -> int:
        """Steps of the samples that one step of the level stands for."""

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """Shape of each population."""

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What is recorded beside the outputs."""


class Level(Described, Protocol):
    """A way to run samples in chunks."""

    @property
    def ahead(self) -> int:
        """Chunks of samples in memory beside the one that is being read."""

    def most(self, samples: Samples) -> int:
        """Return how many samples a chunk has at most, whatever the memory."""

    def footprint(self, samples: int, steps: int, *, least: bool = False) -> int:
        """Return the bytes a chunk takes at its peak, what is recorded of it included, its input not.

        What does not depend on the samples is in memory after the first call, and not counted.

        Args:
            samples: of the chunk.
            steps: of the samples.
            least: count what `results` can do with if it must, see `room`.
        """

    def results(
        self, parts: Iterator[dict[str, Array]], tell: Callable[[int, int], None], room: int | None
    ) -> Generator[dict[str, Recorded], None, None]:
        """Yield what the outputs sent and what was probed, by `POPULATION.VARIABLE`, of each chunk in order.

        What neurons counted comes beside it, (1,) under the same kind of name behind `_TALLY`.

        Args:
            parts: (samples, steps, *shape) by input port.
            tell: called with (samples done, samples) of the chunk.
            room: bytes that a chunk may take, not below `footprint(..., least=True)`; None where its whole footprint fits.
        """


def usable_cores() -> int:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run_samples(
    samples: Samples, network: Network, level: Level, say: Callable[[str], None], *, real: bool, raw_time: bool, jobs: int = 1,
    split: int = 1, memory_limit: int | None = None, output: Path | None = None, facts: Mapping[str, str | int | bool] | None = None,
    keep: bool = True,
) -> Ran:
    """Run all samples.

    Args:
        samples: what to run.
        network: as read.
        level: how to run it.
        say: told what memory it takes, and how far it is.
        real: whether the level computes with real numbers: outputs that never fire are recorded by their membrane potential.
        raw_time: keep the level's own time; else every population's is shifted to the network's.
        jobs: threads that the level was made with, or that its cluster has.
        split: threads that share each sample.
        memory_limit: bytes that the whole process may take; None for no limit.
        output: HDF5 file that results are written to as they come.
        facts: what that file says of the run.
        keep: whether outputs and probes are kept.

    Raises:
        NmapError: NM802, the memory limit is too low, or an array too large to be kept; NM601, the output cannot be written; or of the
            samples' file.
    """
    wanted = _results(network, level, real=real)
    length = window_count(samples.steps, level.window) + (level.extra if raw_time else 0)
    scores, kept = _Scores(samples.samples, level.window > 1), _Kept(samples.samples if keep else 0)
    each = _Scores.bytes_each(wanted) + (_Kept.bytes_each(wanted, length) if keep else 0)
    memory, room = _plan(samples, level, samples.samples * each, jobs * split, memory_limit)
    memory = replace(memory, jobs=jobs, split=split)
    limit = "" if memory_limit is None else f" of {size_text(memory_limit)}"
    threads = f"{jobs * split} thread{'s' if jobs * split > 1 else ''}{' for each' if split > 1 else ''}"
    say(f"at most {size_text(memory.peak)}{limit} of memory: {memory.at_once} samples at a time, {threads}")
    sinks: list[Sink] = [scores, *([kept] if keep else [])]
    with ExitStack() as stack:
        file = None
        if output is not None:
            from nmap.writers.recording import recording

            told = {**(facts or {}), **({"window": level.window} if level.window > 1 else {})}
            file = stack.enter_context(recording(output, samples.samples, length, told))
            sinks.append(file)
        tallies = _execute(samples, level, wanted, sinks, memory.at_once, room, say, length, raw_time=raw_time)
        if file is not None:
            alone = len(network.outputs) == 1
            file.put({"counts" if alone else f"counts.{name}": values for name, values in scores.scores.items()})
    for result in wanted if not keep else ():
        kept.add(result, 0, np.zeros((0, length, prod(result.shape)), np.int32 if result.spikes else np.float64))
    arrays = {result: kept.arrays[result].reshape(-1, length, *result.shape) for result in wanted}
    return Ran(
        {result.population: values for result, values in arrays.items() if result.output},
        {result.key: values for result, values in arrays.items() if not result.output}, scores.scores, scores.sent, memory,
        level.window, tallies,
    )


def _results(network: Network, level: Described, *, real: bool) -> tuple[Result, ...]:
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
    samples: Samples, level: Level, wanted: Sequence[Result], sinks: Sequence[Sink], at_once: int, room: int | None,
    say: Callable[[str], None], length: int, *, raw_time: bool,
) -> dict[str, int]:
    """Run all samples; return what neurons counted, by `POPULATION.VARIABLE`."""
    start, tallies = 0, dict[str, int]()

    def tell(done: int, of: int) -> None:
        del of
        say(f"{start + done} of {samples.samples} samples")

    with closing(level.results(samples.chunks(at_once), tell, room)) as chunks:
        for made in chunks:
            for key, values in made.items():
                if key.startswith(_TALLY) and not isinstance(values, SpikeEvents):
                    tallies[key[len(_TALLY) :]] = tallies.get(key[len(_TALLY) :], 0) + int(values[0])
            for result in wanted:
                values = _cut(made[result.key], 0 if raw_time else level.latency[result.population], length)
                for sink in sinks:
                    sink.add(result, start, values)
            start += _samples(made)
    return tallies


def _samples(made: Mapping[str, Recorded]) -> int:
    """Return how many samples a result is of."""
    some = next(iter(made.values()))
    return some.samples if isinstance(some, SpikeEvents) else int(some.shape[0])


def _ahead(parts: Iterator[dict[str, Array]]) -> Generator[dict[str, Array], None, None]:
    """Yield what an iterator yields; another thread is always at work on the next item."""
    with ThreadPoolExecutor(1) as other:
        coming = other.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = other.submit(next, parts, None)
            yield part


def _cut(values: Recorded, first: int, length: int) -> Recorded:
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


def _plan(samples: Samples, level: Level, kept: int, jobs: int, limit: int | None) -> tuple[Memory, int | None]:
    """Return how many samples run at a time and the memory that takes; `kept` bytes of results stay until the end.

    Also returned is the room that the level must do with, where not even one sample fits in comfort.

    Raises:
        NmapError: NM802, not even one sample at a time fits.
    """
    # First, since it may lay out tables, which are then seen in what the process takes.
    least = level.footprint(1, samples.steps, least=True)
    used = resident() + _RESERVE

    def given(count: int) -> int:
        # What runs, what is being read, and what reading it takes.
        return (level.ahead + 1) * count * samples.chunk_bytes_each + samples.scratch(count)

    def chunk(count: int) -> int:
        return given(count) + level.footprint(count, samples.steps)

    most = max(1, min(samples.samples, samples.most_at_once, level.most(samples)))
    left = _CHUNK_BYTES if limit is None else limit - used - kept
    at_once = largest(most, lambda count: chunk(count) <= min(_CHUNK_BYTES, left))
    if at_once == 0 and limit is not None and chunk(1) > left:
        needed = used + kept + given(1) + least
        if needed <= limit:
            return Memory(limit, limit, 1, jobs), left - given(1)
        raise NmapError(Diagnostic(
            "NM802", "error",
            f"a run of one sample at a time takes {size_text(needed)} of memory, beyond the limit of {size_text(limit)}",
            "--memory-limit",
            f"{size_text(used)} are in use, with the network and its tables; {size_text(kept)} are results kept until the end; "
            f"one sample takes {size_text(least)} and the reading of it {size_text(given(1))}.",
            help=(
                *(("write the results as they come: -o OUT.h5",) if kept > given(1) + least else ()),
                f"--memory-limit {-(-needed // 2**20)}M at least", "run fewer steps with --steps",
            ),
        ))
    at_once = max(1, at_once)
    return Memory(used + kept + chunk(at_once), limit, at_once, jobs), None


# ---- results ----------------------------------------------------------------------------------------------------------------------------


class _Scores:
    """Spikes of each output's neurons by sample and in all; of an output that never fires, its state in the last step.

    Args:
        samples: how many.
        counts: what a neuron sends is a number of spikes.
    """

    def __init__(self, samples: int, counts: bool = False) -> None:
        self.scores: dict[str, Array] = {}
        self.sent = 0
        self._samples, self._counts = samples, counts

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
            self.sent += int(made.sum()) if self._counts else values.neuron.size
        elif result.spikes:
            made = values.sum(1, dtype=np.int64)
            self.sent += int(made.sum()) if self._counts else int(np.count_nonzero(values))
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


class Local(ABC):
    """What the levels share that run on the machine they are made on: one chunk runs while the next one is read."""

    ahead: int = 1

    def most(self, samples: Samples) -> int:
        """See `Level`."""
        return samples.samples

    @abstractmethod
    def run(self, part: dict[str, Array], tell: Callable[[int, int], None], room: int | None = None) -> dict[str, Recorded]:
        """Return the results of a chunk; see `Level.results`. Several threads may call this at a time."""

    def results(
        self, parts: Iterator[dict[str, Array]], tell: Callable[[int, int], None], room: int | None
    ) -> Generator[dict[str, Recorded], None, None]:
        """See `Level`."""
        with closing(_ahead(parts)) as coming:
            for part in coming:
                yield self.run(part, tell, room)


class FloatLevel(Local):
    """The network as read.

    Args:
        network: the network.
        probes: `POP`, `POP:v`, `POP:u` or `POP:spikes`.

    Raises:
        NmapError: NM004, a probe names nothing.
    """

    extra: int = 0
    window: int = 1

    def __init__(self, network: Network, probes: Sequence[str]) -> None:
        from nmap.simulate.floating import simulate

        self.network, self._simulate = network, simulate
        self.latency = dict.fromkeys((p.name for p in network.populations), 0)
        self.shapes = {p.name: p.shape for p in network.populations}
        self.probes = parse_probes(probes, {p.name: ("v", "u") if p.neuron is not None else () for p in network.populations})

    def footprint(self, samples: int, steps: int, *, least: bool = False) -> int:
        """See `Level`: nothing is let go before the end, all of it in 8 bytes."""
        del least
        recorded = sum(self.network[name].size for name in (*self.network.outputs, *(p.population for p in self.probes)))
        weights = sum(p.connectivity.weights.size for p in self.network.projections)
        return 8 * (samples * steps * (sum(p.size for p in self.network.populations) + recorded) + weights)

    def run(self, part: dict[str, Array], tell: Callable[[int, int], None], room: int | None = None) -> dict[str, Recorded]:
        """See `Local`."""
        del room
        names = [f"{p.population}:{p.variable}" for p in self.probes]
        made = self._simulate(self.network, part, record=[*self.network.outputs, *names], progress=tell)
        found: dict[str, Recorded] = {}
        for variable, arrays in (("spikes", made.spikes), ("v", made.v), ("u", made.u)):
            found.update({f"{name}.{variable}": values for name, values in arrays.items()})
        return found


class Mapped:
    """Names, times and probes of a bundle's program.

    Args:
        program: the program.
        kernels: the target's neuron kernels.
        probes: `POP`, `POP:VARIABLE` or `POP:spikes`.

    Raises:
        NmapError: NM004, a probe names nothing.
    """

    def __init__(self, program: Program, kernels: Mapping[str, Kernel], probes: Sequence[str]) -> None:
        kernel = {program.populations[g.population].name: g.kernel for g in program.groups}
        states = {p.name: kernels[kernel[p.name]].state if p.name in kernel else () for p in program.populations}
        self.kernels = kernels
        self.floats = {f"{name}.{variable}" for name in kernel for variable in floats(kernels[kernel[name]])}
        self.probes = parse_probes(probes, states)
        self.latency = {p.name: p.latency for p in program.populations}
        self.shapes = {p.name: (prod(p.shape),) for p in program.populations}
        # What is probed may run further behind than the last output.
        self.extra = max(program.latency, *(self.latency[probe.population] for probe in self.probes), 0)
        self.window = program.window
        self._ports = sum(prod(p.shape) for p in program.populations if p.is_input)

    def _chip_steps(self, steps: int) -> int:
        """Return the chip's steps for samples of that many."""
        return window_count(steps, self.window) + self.extra

    def _given(self, samples: int, steps: int) -> int:
        """Return the bytes of the samples' sums over windows, and of making them."""
        return 0 if self.window == 1 else _SUMS * samples * window_count(steps, self.window) * self._ports

    def _of(self, trace: SpikeTrace) -> dict[str, Recorded]:
        """Return what was recorded, as `Level.results` yields it; states that are real numbers as such."""
        found: dict[str, Recorded] = {
            key: values.astype(np.int32).view(np.float32).astype(np.float64) if key in self.floats else values
            for key, values in trace.state.items()
        }
        for recorded in (trace.spikes, trace.events):
            found.update({f"{name}.spikes": values for name, values in recorded.items()})
        found.update({_TALLY + key: np.array([count]) for key, count in trace.tallies.items()})
        return found


class ChipLevel(Mapped, Local):
    """The mapped program on the emulator.

    Args:
        program, kernels, probes: see `Mapped`.
        jobs: threads that samples are shared out to.
        split: threads that share each sample; more than one only where `jobs` is 1.
        dense: give spikes as arrays, not as events.

    Raises:
        NmapError: NM004, a probe names nothing; NM602, the program contradicts itself.
    """

    def __init__(
        self, program: Program, kernels: Mapping[str, Kernel], probes: Sequence[str], *, jobs: int = 1, split: int = 1, dense: bool = True
    ) -> None:
        from nmap.emulate.engine import Emulator

        super().__init__(program, kernels, probes)
        self.jobs, self.dense = jobs, dense
        self.emulator = Emulator(program, kernels, split)
        # Machine code is loaded now, beside the samples, and counts in what the process takes when memory is looked at.
        silence = {program.populations[k].name: np.zeros((1, 1, *program.populations[k].shape), np.uint8) for k in program.inputs}
        self.emulator.run(silence, 1)

    def footprint(self, samples: int, steps: int, *, least: bool = False) -> int:
        """See `Level`; the tables are in memory already."""
        all_of_it = self.emulator.footprint(
            samples, self._chip_steps(steps), probes=self.probes, jobs=self.jobs, dense=self.dense, least=least
        )
        return all_of_it - self.emulator.layout.nbytes + self._given(samples, steps)

    def run(self, part: dict[str, Array], tell: Callable[[int, int], None], room: int | None = None) -> dict[str, Recorded]:
        """See `Local`."""
        count, steps = next(iter(part.values())).shape[:2]
        limit = None if room is None else room + self.emulator.layout.nbytes - self._given(count, steps)
        given = {name: windowed(values, self.window) for name, values in part.items()}
        return self._of(self.emulator.run(
            given, self._chip_steps(steps), probes=self.probes, progress=tell, jobs=self.jobs, dense=self.dense, memory_limit=limit,
        ))


class FixedLevel(Mapped, Local):
    """The quantized reference.

    Args:
        quantized: the network.
        program: the mapped program, whose names and times are taken.
        kernels, probes: see `Mapped`.

    Raises:
        NmapError: NM004, a probe names nothing.
    """

    def __init__(self, quantized: QuantizedNetwork, program: Program, kernels: Mapping[str, Kernel], probes: Sequence[str]) -> None:
        super().__init__(program, kernels, probes)
        self.quantized = quantized
        self._made: Reference | None = None
        self._lock = Lock()

    def _reference(self, steps: int) -> Reference:
        """Return the reference for samples of that many steps, which is made once."""
        from nmap.simulate.fixed import Reference

        length = self._chip_steps(steps)
        with self._lock:
            if self._made is None or self._made.steps != length:
                self._made = Reference(self.quantized, self.kernels, length)
            return self._made

    def footprint(self, samples: int, steps: int, *, least: bool = False) -> int:
        """See `Level`."""
        del least
        sent = {*self.quantized.outputs, *(p.population for p in self.probes if p.variable == "spikes")}
        states = sum(self.quantized[p.population].size for p in self.probes if p.variable != "spikes")
        taken = self._reference(steps).footprint(samples, sorted(sent)) + 8 * samples * self._chip_steps(steps) * states
        return taken + self._given(samples, steps)

    def run(self, part: dict[str, Array], tell: Callable[[int, int], None], room: int | None = None) -> dict[str, Recorded]:
        """See `Local`."""
        del room
        count, steps = next(iter(part.values())).shape[:2]
        given = {name: windowed(values, self.window) for name, values in part.items()}
        trace = self._reference(steps).run(given, probes=self.probes)
        tell(count, count)
        return self._of(trace)


# ---- on a cluster -----------------------------------------------------------------------------------------------------------------------


class Remote:
    """A level on the workers of a Dask cluster; see `nmap.distribute`.

    Args:
        make: makes the level in a worker's process: it and its arguments can be pickled.
        described: what is known of that level here.
        outputs: populations that it records whatever is probed.
        scheduler: address of the scheduler.
        threads: of the workers, when the run is planned; no more chunks are under way than suits them.
        say: called with a line of progress about the cluster.
    """

    def __init__(
        self, make: Callable[[], Local], described: Described, outputs: Sequence[str], scheduler: str, threads: int,
        say: Callable[[str], None],
    ) -> None:
        self.latency, self.extra, self.shapes, self.probes = described.latency, described.extra, described.shapes, described.probes
        self.window = described.window
        self.ahead = chunks_ahead(threads)
        self._make, self._outputs, self._scheduler, self._threads, self._say = make, outputs, scheduler, threads, say

    def most(self, samples: Samples) -> int:
        """See `Level`: neither what is sent to a worker nor what comes back is large."""
        return max(1, CHUNK_BYTES // max(1, samples.chunk_bytes_each, self._recorded(samples.steps)))

    def _recorded(self, steps: int) -> int:
        """Return the bytes of one sample's results at most."""
        length = window_count(steps, self.window) + self.extra
        return 8 * length * sum(prod(self.shapes[n]) for n in (*self._outputs, *(p.population for p in self.probes)))

    def footprint(self, samples: int, steps: int, *, least: bool = False) -> int:
        """See `Level`: results arrive one after another, packed, and are unpacked."""
        del least
        return 2 * samples * self._recorded(steps)

    def results(
        self, parts: Iterator[dict[str, Array]], tell: Callable[[int, int], None], room: int | None
    ) -> Generator[dict[str, Recorded], None, None]:
        """See `Level`."""
        del room
        for made in run_chunks(partial(_worker, self._make), parts, jobs=self._threads, scheduler=self._scheduler, say=self._say):
            tell(_samples(made), _samples(made))
            yield made


def _worker(make: Callable[[], Local]) -> Callable[[dict[str, Array]], dict[str, Recorded]]:
    """Make a level where it is to run, and return what runs a chunk."""
    level = make()
    return lambda part: level.run(part, _unheard)


def _unheard(done: int, of: int) -> None:
    """Tell nobody: workers have no progress line."""


def chip_level(target: str, program: Program, probes: Sequence[str], *, jobs: int = 1, split: int = 1, dense: bool = True) -> ChipLevel:
    """Make a `ChipLevel` with the kernels of an installed target, by name."""
    from nmap.target.registry import find_target

    return ChipLevel(program, find_target(target).kernels, probes, jobs=jobs, split=split, dense=dense)


def fixed_level(target: str, quantized: QuantizedNetwork, program: Program, probes: Sequence[str]) -> FixedLevel:
    """Make a `FixedLevel` with the kernels of an installed target, by name."""
    from nmap.target.registry import find_target

    return FixedLevel(quantized, program, find_target(target).kernels, probes)
