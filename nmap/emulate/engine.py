"""Run a core program: integers, event-driven, one compiled neuron kernel per group.

Groups run in topological order of their strongly connected components. A group that does not feed back runs all its steps at once from
its sources' spikes; a component with feedback runs step by step. Cores are a layout of the data, not a loop: no two of them share a
step's work. Samples are carried side by side, each with its own state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nmap.connectivity import Array
from nmap.emulate.accumulate import add_conv, add_dense, add_sparse
from nmap.emulate.kernel import Kernel
from nmap.emulate.lower import Layout, Part, lower
from nmap.program import NeuronGroup, Program, slice_indices
from nmap.trace import Probe, SpikeTrace

__all__ = ["emulate"]

_CHUNK_BYTES = 256 << 20
"""Samples are taken in chunks whose working arrays stay below this."""


def emulate(
    program: Program, kernels: Mapping[str, Kernel], inputs: Array | Mapping[str, Array], steps: int,
    *, record: Sequence[str] | None = None, probes: Sequence[Probe] = (), progress: Callable[[int, int], None] | None = None,
) -> SpikeTrace:
    """Run a program on samples.

    Args:
        program: the program.
        kernels: the target's neuron kernels by name.
        inputs: (samples, time, *input shape) integers by input port, or of the only one; column t is sent in chip step t, nothing after
            the last column.
        steps: chip steps to run per sample.
        record: populations whose spikes to keep; None for the outputs.
        probes: state variables (or spikes) to keep.
        progress: called with (samples done, samples).

    Returns:
        Spikes and states in chip time, equal for any number of samples run together.

    Raises:
        NmapError: NM602, the program contradicts itself.
        ValueError: a port has no input.
    """
    layout = lower(program, kernels)
    kept = set(record if record is not None else (p.name for p in program.populations if p.is_output))
    kept |= {p.population for p in probes if p.variable == "spikes"}
    wanted = {p.key for p in probes if p.variable != "spikes"}
    sent = _by_port(program, inputs)
    samples = next(iter(sent.values())).shape[0]
    neurons = sum(group.size for group in program.groups) + sum(values.shape[2] for values in sent.values())
    chunk = max(1, int(_CHUNK_BYTES // max(1, steps * neurons * 12)))
    sizes = {p.name: int(np.prod(p.shape)) for p in program.populations}
    trace = SpikeTrace(
        {name: np.zeros((samples, steps, sizes[name]), np.int32) for name in sizes if name in kept},
        {}, dict.fromkeys(sizes, 0),
    )
    for start in range(0, samples, chunk):
        part = {port: values[start : start + chunk] for port, values in sent.items()}
        run = _Run(program, layout, kernels, part, steps, wanted)
        run.execute()
        run.store(trace, start, samples)
        if progress is not None:
            progress(min(start + chunk, samples), samples)
    return trace


def _by_port(program: Program, inputs: Array | Mapping[str, Array]) -> dict[int, Array]:
    """Return (samples, time, neurons) by the input port's index."""
    names = {program.populations[index].name: index for index in program.inputs}
    given = inputs if isinstance(inputs, Mapping) else dict.fromkeys(names, inputs)
    if set(given) != set(names) or (len(names) > 1 and not isinstance(inputs, Mapping)):
        raise ValueError(f"the program's input ports are {', '.join(sorted(names))}")
    return {names[name]: values.reshape(values.shape[0], values.shape[1], -1) for name, values in given.items()}


class _Run:
    """One chunk of samples on its way through the program."""

    def __init__(
        self, program: Program, layout: Layout, kernels: Mapping[str, Kernel], inputs: Mapping[int, Array], steps: int, wanted: set[str]
    ) -> None:
        self.program, self.layout, self.kernels, self.steps, self.wanted = program, layout, kernels, steps, wanted
        self.samples = next(iter(inputs.values())).shape[0]
        self.spikes: dict[int, Array] = {}
        for population, given in inputs.items():
            length = min(steps, given.shape[1])
            sent = np.zeros((steps, self.samples, given.shape[2]), np.int32)
            sent[:length] = given[:, :length].transpose(1, 0, 2)
            self.spikes[-1 - population] = sent.reshape(steps * self.samples, -1)
        self.blocks_of: list[list[int]] = [[] for _ in program.groups]
        for index, block in enumerate(program.blocks):
            self.blocks_of[block.group].append(index)
        self.probes: dict[int, Array] = {}

    def execute(self) -> None:
        for members, feeds_itself in self.layout.components:
            if feeds_itself:
                self._run_loop(members)
            else:
                self._run_forward(members[0])

    def _variables(self, group: NeuronGroup) -> bool:
        name = self.program.populations[group.population].name
        return any(f"{name}.{variable}" in self.wanted for variable in self.kernels[group.kernel].state)

    def _parameters(self, group: NeuronGroup) -> tuple[Array, Array]:
        kernel = self.kernels[group.kernel]
        params = np.array([np.tile(group.params[name], self.samples) for name in kernel.params], np.int64)
        zero = np.zeros(group.size, np.int64)
        state = np.array([np.tile(group.initial.get(name, zero), self.samples) for name in kernel.state], np.int64)
        neurons = self.samples * group.size
        return params.reshape(len(kernel.params), neurons), state.reshape(len(kernel.state), neurons)

    def _run_forward(self, index: int) -> None:
        group, steps, n = self.program.groups[index], self.steps, self.program.groups[index].size
        kernel = self.kernels[group.kernel]
        dendrite = np.zeros((steps, kernel.receptors, self.samples, n), np.int64)
        for block in self.blocks_of[index]:
            receptor = self.program.blocks[block].receptor
            for part in self.layout.parts[block]:
                total = _buffer(part, steps * self.samples, n)
                for feed in self.layout.feeds[block]:
                    shift = part.delay * self.samples
                    self._add(part, self.spikes[feed.source], feed.axon_of, 0, steps * self.samples, shift, total)
                dendrite[:, receptor] += self._shifted(part, total).reshape(steps, self.samples, n)
        params, state = self._parameters(group)
        spikes = np.empty((steps, self.samples * n), np.int32)
        probe = np.empty((steps, len(kernel.state), self.samples * n) if self._variables(group) else (0, 0, 0), np.int64)
        kernel.run(params, state, dendrite.reshape(steps, -1), spikes, probe, 0)
        self.spikes[index] = spikes.reshape(steps * self.samples, n)
        self.probes[index] = probe

    def _run_loop(self, members: tuple[int, ...]) -> None:
        inside, rows = set(members), self.steps * self.samples
        totals: dict[int, list[tuple[Part, Array]]] = {}
        work = {}
        for index in members:
            group = self.program.groups[index]
            kernel = self.kernels[group.kernel]
            self.spikes[index] = np.zeros((rows, group.size), np.int32)
            shape = (self.steps, len(kernel.state), self.samples * group.size) if self._variables(group) else (0, 0, 0)
            self.probes[index] = np.empty(shape, np.int64)
            work[index] = self._parameters(group)
            totals[index] = [
                (part, _buffer(part, rows, group.size)) for block in self.blocks_of[index] for part in self.layout.parts[block]
            ]
            for part, total in totals[index]:
                for feed in self.layout.feeds[part.block]:
                    if feed.source not in inside:
                        self._add(part, self.spikes[feed.source], feed.axon_of, 0, rows, part.delay * self.samples, total)
        silent = np.empty((0, 0, 0), np.int64)
        for step in range(self.steps):
            for index in members:
                group = self.program.groups[index]
                row = slice(step * self.samples, (step + 1) * self.samples)
                kernel = self.kernels[group.kernel]
                dendrite = np.zeros((kernel.receptors, self.samples, group.size), np.int64)
                for part, total in totals[index]:
                    sent = step - part.delay
                    if sent >= 0:
                        for feed in self.layout.feeds[part.block]:
                            if feed.source in inside:
                                first, last = sent * self.samples, (sent + 1) * self.samples
                                self._add(part, self.spikes[feed.source], feed.axon_of, first, last, part.delay * self.samples, total)
                    dendrite[self.program.blocks[part.block].receptor] += self._shifted(part, total[row])
                params, state = work[index]
                probe = self.probes[index]
                out = self.spikes[index][row].reshape(1, -1)
                kernel.run(params, state, dendrite.reshape(1, -1), out, probe[step : step + 1] if probe.size else silent, step)

    def _add(self, part: Part, spikes: Array, axon_of: Array, first: int, last: int, shift: int, total: Array) -> None:
        binary = self.program.blocks[part.block].message_bits == 0
        if part.kind == "dense":
            add_dense(spikes, axon_of, *part.arrays, binary, first, last, shift, total)
        elif part.kind == "sparse":
            add_sparse(spikes, axon_of, *part.arrays, binary, first, last, shift, total)
        else:
            add_conv(spikes, axon_of, *part.arrays, binary, first, last, shift, total)

    def _shifted(self, part: Part, total: Array) -> Array:
        if part.tile is not None:
            # Accumulated channel-last, where kernel rows are contiguous; slots are channel-first.
            total = total.transpose(0, 3, 1, 2).reshape(total.shape[0], -1)
        block = self.program.blocks[part.block]
        total = _held(total, block.accumulator)
        return _held(total << block.exponent if block.exponent >= 0 else total >> -block.exponent, block.accumulator)

    def store(self, trace: SpikeTrace, start: int, samples: int) -> None:
        stop = start + self.samples
        for index, group in enumerate(self.program.groups):
            population = self.program.populations[group.population]
            where = slice_indices(group.slice, population.shape)
            spikes = self.spikes[index].reshape(self.steps, self.samples, group.size)
            trace.counts[population.name] += int(np.count_nonzero(spikes))
            if population.name in trace.spikes:
                trace.spikes[population.name][start:stop, :, where] = spikes.transpose(1, 0, 2)
            probe = self.probes[index]
            for row, variable in enumerate(self.kernels[group.kernel].state):
                key = f"{population.name}.{variable}"
                if key in self.wanted:
                    size = int(np.prod(population.shape))
                    kept = trace.state.setdefault(key, np.zeros((samples, self.steps, size), np.int64))
                    values = probe[:, row].reshape(self.steps, self.samples, group.size)
                    kept[start:stop, :, where] = values.transpose(1, 0, 2)
        for population_index in self.program.inputs:
            name = self.program.populations[population_index].name
            sent = self.spikes[-1 - population_index].reshape(self.steps, self.samples, -1)
            trace.counts[name] += int(np.count_nonzero(sent))
            if name in trace.spikes:
                trace.spikes[name][start:stop] = sent.transpose(1, 0, 2)


def _held(total: Array, bits: int) -> Array:
    """Return what an accumulator of that many bits holds: the low ones, with the highest as the sign; 0 bits hold everything."""
    if bits == 0:
        return total
    spare = 64 - bits
    return (total << spare) >> spare


def _buffer(part: Part, rows: int, n: int) -> Array:
    return np.zeros((rows, *part.tile) if part.tile is not None else (rows, n), np.int64)
