"""The `fixed` level: the quantized, unmapped network in plain numpy.

It is the reference the emulator is compared with, so it shares no code with it: whole populations, whole matrices, sums in floating
point where all of them are proved to be whole numbers that it holds exactly.

A population outside all loops is given its input of many steps in one product; only its neurons go step by step. Populations that feed
each other go step by step together. Samples are computed some at a time and in blocks of time; what is kept of a block is what delays
reach back to and what is recorded. Neither changes a result, since every number is exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.emulate.kernel import Kernel, counters
from nmap.ordering import components
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.trace import Probe, SpikeTrace

__all__ = ["Reference", "simulate"]

_DENDRITE = 32
"""Bits of a dendritic accumulator; see `nmap.emulate.kernel.Kernel`."""
_EXACT = ((2.0**24, np.float32), (2.0**53, np.float64))
"""Sums of whole numbers up to this are exact in that type, whatever the order of the summands."""
_HALF_BITS = 16
_FILL = 8
"""Matrix entries for each synapse up to which a product with the matrix is the faster one."""
_BUFFER = 2**20
"""Synapses or values of a temporary array, which should stay in the processor's cache."""
_STATES = 2**17
"""Neurons, of all samples computed at a time, whose states stay in the processor's cache."""
_BLOCK = 2**21
"""Places (sample, step, neuron) kept at a time, of all populations; at least one step."""
_WORKING = 5
_STEP_ARRAYS = 10
"""Arrays of 8 bytes as large as a block, and as a step, of the widest population that there are at a time."""


class _Matrix:
    """Synapses as a matrix: outputs = matrix @ inputs."""

    def __init__(self, weights: Array) -> None:
        self.weights = weights
        self.out_size = weights.shape[0]
        self.reach = float(np.abs(weights.astype(np.float64)).sum(1).max(initial=0))
        self._cast: dict[type, Array] = {}

    def apply(self, payload: Array, dtype: type) -> Array:
        """Return the summed input, (rows, sources) -> (rows, targets), computed in `dtype`."""
        if dtype not in self._cast:
            self._cast[dtype] = self.weights.T.astype(dtype)
        return payload.astype(dtype) @ self._cast[dtype]


class _List:
    """Synapses one by one: each message adds the weights of its source to their targets.

    Args:
        targets, sources, weights: of each synapse, (synapses,) each.
        out_size, in_size: number of targets and of sources.
    """

    def __init__(self, targets: Array, sources: Array, weights: Array, out_size: int, in_size: int) -> None:
        order = np.argsort(sources, kind="stable")
        self.out_size = out_size
        self.targets, self.weights = targets[order], weights[order].astype(np.float64)
        self.start = np.concatenate([[0], np.cumsum(np.bincount(sources, minlength=in_size))])
        self.reach = float(np.bincount(targets, np.abs(weights.astype(np.float64)), minlength=1).max(initial=0))

    def apply(self, payload: Array, dtype: type) -> Array:  # noqa: ARG002 - sums are taken in float64
        """See `_Matrix.apply`."""
        out = np.zeros((payload.shape[0], self.out_size))
        row, source = np.nonzero(payload)
        value, fan_out = payload[row, source], self.start[source + 1] - self.start[source]
        before = np.cumsum(fan_out) - fan_out
        # Some messages at a time, with about `_BUFFER` synapses.
        edges = np.unique(np.append(np.searchsorted(before, np.arange(0, fan_out.sum(), _BUFFER)), row.size))
        for a, b in pairwise(edges):
            synapse = np.repeat(self.start[source[a:b]] - before[a:b] + before[a], fan_out[a:b]) + np.arange(fan_out[a:b].sum())
            first, stop = row[a], row[b - 1] + 1
            place = np.repeat((row[a:b] - first) * self.out_size, fan_out[a:b]) + self.targets[synapse]
            arriving = self.weights[synapse] * np.repeat(value[a:b], fan_out[a:b])
            out[first:stop] += np.bincount(place, arriving, (stop - first) * self.out_size).reshape(-1, self.out_size)
        return out


class _Kernel:
    """Synapses of a convolution."""

    def __init__(self, conv: Conv2d) -> None:
        self.conv = conv
        self.out_size = conv.out_size
        self.reach = float(np.abs(conv.weights.astype(np.float64)).sum((1, 2, 3)).max(initial=0))

    def apply(self, payload: Array, dtype: type) -> Array:
        """See `_Matrix.apply`."""
        return self.conv.apply(payload, dtype)


_Synapses: TypeAlias = "_Matrix | _List | _Kernel"


class _Part:
    """The synapses of a projection that have one delay.

    Args:
        projection: the projection.
        delay: steps between sending and acting.
        synapses: the synapses, between `sources` and `targets`.
    """

    def __init__(
        self, projection: QuantizedProjection, delay: int, synapses: _Synapses, sources: Array | slice = slice(None),
        targets: Array | slice = slice(None),
    ) -> None:
        self.delay, self.source, self.receptor, self.form = delay, projection.source, projection.receptor, projection.format
        self.synapses, self.sources, self.targets = synapses, sources, targets

    def add(self, dendrite: Array, sent: _Sent, step: int) -> None:
        """Add what arrives in the steps from `step` on to `dendrite` (steps, samples, receptors, targets), in place."""
        late = max(0, self.delay - step)
        payload = sent.span(step + late - self.delay, step + dendrite.shape[0] - self.delay)[:, :, self.sources]
        if not payload.any():
            return
        if self.form.message_bits == 0:
            payload = payload != 0
        total = _product(self.synapses, payload.reshape(-1, payload.shape[2]))
        dendrite[late:, :, self.receptor, self.targets] += _accumulated(total, self.form).reshape(*payload.shape[:2], -1)


def _parts(projection: QuantizedProjection, steps: int) -> list[_Part]:
    """Split a projection into parts of one delay each, in all as large as the projection; leave out what cannot act in `steps` steps."""
    if projection.delays is None:
        return [_Part(projection, 1 + projection.delay, _synapses(projection.connectivity))]
    connectivity = projection.connectivity
    weights, delays = connectivity.weights.ravel(), projection.delays.ravel()
    kept = np.flatnonzero((weights != 0) & (delays < steps - 1 - projection.delay))
    kept = kept[np.argsort(delays[kept], kind="stable")]
    weights, delays = weights[kept], delays[kept]
    if isinstance(connectivity, Sparse):
        targets, sources = connectivity.targets[kept], connectivity.indices[kept]
    else:
        targets, sources = np.divmod(kept, connectivity.in_size)
    parts = []
    for a, b in pairwise(np.append(np.flatnonzero(np.diff(delays, prepend=-1)), delays.size)):
        of, row = np.unique(targets[a:b], return_inverse=True)
        to, column = np.unique(sources[a:b], return_inverse=True)
        synapses = _listed(row, column, weights[a:b], of.size, to.size)
        parts.append(_Part(projection, 1 + projection.delay + int(delays[a]), synapses, to, of))
    return parts


def _synapses(connectivity: Connectivity) -> _Synapses:
    if isinstance(connectivity, Dense):
        return _Matrix(connectivity.weights)
    if isinstance(connectivity, Conv2d):
        return _Kernel(connectivity)
    return _listed(connectivity.targets, connectivity.indices, connectivity.weights, connectivity.out_size, connectivity.in_size)


def _listed(targets: Array, sources: Array, weights: Array, out_size: int, in_size: int) -> _Matrix | _List:
    """Return synapses stated one by one: as a matrix unless that is mostly empty."""
    if out_size * in_size > _FILL * weights.size:
        return _List(targets, sources, weights, out_size, in_size)
    matrix = np.zeros((out_size, in_size), np.int64)
    np.add.at(matrix, (targets, sources), weights)
    return _Matrix(matrix)


def _product(synapses: _Synapses, payload: Array) -> Array:
    """Return weights times payloads, (rows, sources) -> (rows, targets) int64, exact modulo 2^64."""
    largest = max(int(payload.max(initial=0)), -int(payload.min(initial=0)))
    for bound, dtype in _EXACT:
        if synapses.reach * largest <= bound:
            return synapses.apply(payload, dtype).astype(np.int64)
    high, low = payload >> _HALF_BITS, payload & ((1 << _HALF_BITS) - 1)
    upper: Array = synapses.apply(high, np.float64).astype(np.int64) << _HALF_BITS
    return upper + synapses.apply(low, np.float64).astype(np.int64)


def _wrapped(total: Array, bits: int) -> Array:
    """Return what an accumulator of that many bits holds of a sum, in two's complement; of 0 bits, all of it."""
    if bits == 0:
        return total
    half = 1 << (bits - 1)
    return ((total + half) & (2 * half - 1)) - half


def _accumulated(total: Array, form: SynapseFormat) -> Array:
    """Return what the sums of one step and one delay add to the dendrite."""
    held = _wrapped(total, form.accumulator)
    return _wrapped(held << form.exponent if form.exponent >= 0 else held >> -form.exponent, form.accumulator)


class _Sent:
    """What a population has sent in the present block of time and in the steps before it that delays reach back to."""

    def __init__(self, samples: int, size: int, reach: int) -> None:
        self.reach, self.base = reach, 0
        self.values: Array = np.zeros((0, samples, size), np.int32)

    def begin(self, first: int, stop: int) -> None:
        """Make room for the steps from `first` to `stop`, exclusive; forget those that nothing reaches back to."""
        kept = self.values[max(0, first - self.reach - self.base) :]
        self.base = first - kept.shape[0]
        self.values = np.zeros((stop - self.base, *kept.shape[1:]), np.int32)
        self.values[: kept.shape[0]] = kept

    def span(self, first: int, stop: int) -> Array:
        """Return what was sent in the steps from `first` to `stop`, exclusive: (steps, samples, neurons) int32, to be written to."""
        return self.values[first - self.base : max(first, stop) - self.base]


class Reference:
    """A quantized network ready to be run, as often as wanted.

    Args:
        network: the network.
        kernels: the target's neuron kernels by name; only `reference_step` is used.
        steps: chip steps to run.
    """

    def __init__(self, network: QuantizedNetwork, kernels: Mapping[str, Kernel], steps: int) -> None:
        self.network, self.kernels, self.steps = network, kernels, steps
        edges = [(p.source, p.target) for p in network.projections]
        self.groups = [[network[name] for name in members] for members in components((p.name for p in network.populations), edges)]
        self.parts = {p.name: [part for q in network.afferents(p.name) for part in _parts(q, steps)] for p in network.populations}
        self.reach = dict.fromkeys(self.parts, 0)
        for part in (part for parts in self.parts.values() for part in parts):
            self.reach[part.source] = max(self.reach[part.source], part.delay)

    def run(
        self, inputs: Array | Mapping[str, Array], *, record: Sequence[str] | None = None, probes: Sequence[Probe] = ()
    ) -> SpikeTrace:
        """Run samples.

        Beside what is recorded, memory is bounded by the number of neurons and the longest delay, whatever the samples' number and length.

        Args:
            inputs: (samples, time, *input shape) integers by input port, or of the only one; column t is sent in chip step t, nothing
                after the last column.
            record: populations whose spikes to keep; None for the outputs.
            probes: state variables (or spikes) to keep.

        Returns:
            Spikes and states in chip time.

        Raises:
            ValueError: a port has no input.
        """
        network, steps = self.network, self.steps
        given = dict(inputs) if isinstance(inputs, Mapping) else {network.inputs[0]: inputs}
        if set(given) != set(network.inputs):
            raise ValueError(f"the network's input ports are {', '.join(network.inputs)}")
        samples = next(iter(given.values())).shape[0]
        kept = set(network.outputs if record is None else record) | {p.population for p in probes if p.variable == "spikes"}
        size = {p.name: p.size for p in network.populations}
        spikes = {name: np.zeros((samples, steps, size[name]), np.int32) for name in size if name in kept}
        states = {p.key: np.zeros((samples, steps, size[p.population]), np.int64) for p in probes if p.variable != "spikes"}
        counts = dict.fromkeys(size, 0)
        tallies = {f"{p.name}.{v}": 0 for p in network.populations if p.kernel is not None for v in counters(self.kernels[p.kernel])}
        at_once = self._at_once()
        for start in range(0, samples, at_once):
            some = slice(start, start + at_once)
            self._run(
                {name: values[some, :steps] for name, values in given.items()},
                {name: values[some] for name, values in spikes.items()}, {key: values[some] for key, values in states.items()}, counts,
                tallies,
            )
        return SpikeTrace(spikes, states, counts, tallies=tallies)

    def _run(
        self, inputs: Mapping[str, Array], spikes: Mapping[str, Array], states: Mapping[str, Array], counts: dict[str, int],
        tallies: dict[str, int],
    ) -> None:
        """Compute some samples.

        Args:
            inputs: (samples, time, *port shape) by port.
            spikes, states: (samples, steps, neurons) by population and by `POPULATION.VARIABLE`, to be filled.
            counts: spikes by population, added to.
            tallies: what state variables count, by `POPULATION.VARIABLE`, added to.
        """
        samples = next(iter(inputs.values())).shape[0]
        sent = {p.name: _Sent(samples, p.size, self.reach[p.name]) for p in self.network.populations}
        state = {
            p.name: {v: np.tile(p.initial.get(v, np.zeros(p.size, np.int64)), (samples, 1)) for v in self.kernels[p.kernel].state}
            for p in self.network.populations if p.kernel is not None
        }
        for first, stop in self._blocks(samples):
            for members in self.groups:
                for population in members:
                    sent[population.name].begin(first, stop)
                    if population.kernel is None:
                        given = inputs[population.name][:, first:stop]
                        frames = given.reshape(*given.shape[:2], population.size).transpose(1, 0, 2)
                        sent[population.name].span(first, first + frames.shape[0])[:] = frames
                self._advance([p for p in members if p.kernel is not None], sent, state, states, first, stop)
            for name, own in sent.items():
                made = own.span(first, stop)
                counts[name] += int(np.count_nonzero(made))
                if name in spikes:
                    spikes[name][:, first:stop] = made.transpose(1, 0, 2)
        for key in tallies:
            name, _, variable = key.rpartition(".")
            tallies[key] += int(state[name][variable].sum())

    def footprint(self, samples: int, record: Sequence[str]) -> int:
        """Return the bytes that a run of so many samples takes at its peak, its inputs and what is there before left out.

        Args:
            samples: how many.
            record: populations whose spikes are kept.
        """
        at_once = min(samples, self._at_once())
        length = min(self.steps, self._length(at_once))
        sent = sum(4 * p.size * (length + min(self.steps, self.reach[p.name])) for p in self.network.populations)
        neurons = [p for p in self.network.populations if p.kernel is not None]
        state = sum(8 * len(self.kernels[str(p.kernel)].state) * p.size for p in neurons)
        # Of one population at a time: dendrites, what a product takes and gives, and temporary arrays of a step.
        widest = max(p.size for p in self.network.populations)
        working = 8 * length * (max((self.kernels[str(p.kernel)].receptors for p in neurons), default=1) + _WORKING) * widest
        kept = 4 * self.steps * sum(self.network[name].size for name in record)
        return at_once * (sent + state + working + 8 * _STEP_ARRAYS * widest) + samples * kept

    def _at_once(self) -> int:
        """Return how many samples are computed at a time."""
        return max(1, _STATES // max([1, *(p.size for p in self.network.populations if p.kernel is not None)]))

    def _length(self, samples: int) -> int:
        """Return the steps of a block, which are not fewer than are carried over from one to the next."""
        neurons = sum(p.size for p in self.network.populations)
        return max(1, _BLOCK // max(1, samples * neurons), min(self.steps, max(self.reach.values())))

    def _blocks(self, samples: int) -> Iterator[tuple[int, int]]:
        """Yield the blocks of time, first and stop."""
        length = self._length(samples)
        for first in range(0, self.steps, length):
            yield first, min(first + length, self.steps)

    def _advance(
        self, neurons: Sequence[QuantizedPopulation], sent: Mapping[str, _Sent], state: Mapping[str, dict[str, Array]],
        states: Mapping[str, Array], first: int, stop: int,
    ) -> None:
        """Run populations that feed each other, or one that is in no loop, from step `first` to `stop`."""
        inside = {p.name for p in neurons}
        dendrites, loops = {}, {}
        for p in neurons:
            name, samples = p.name, sent[p.name].values.shape[1]
            dendrites[name] = np.zeros((stop - first, samples, self.kernels[str(p.kernel)].receptors, p.size), np.int64)
            loops[name] = [part for part in self.parts[name] if part.source in inside]
            for part in self.parts[name]:
                if part.source not in inside:
                    part.add(dendrites[name], sent[part.source], first)
        for step in range(first, stop):
            for p in neurons:
                dendrite = dendrites[p.name][step - first : step - first + 1]
                for part in loops[p.name]:
                    part.add(dendrite, sent[part.source], step)
                arrived = _wrapped(dendrite.reshape(dendrite.shape[1], -1), _DENDRITE)
                made = self.kernels[str(p.kernel)].reference_step(p.params, state[p.name], arrived, step)
                sent[p.name].span(step, step + 1)[0] = made
                for variable, values in state[p.name].items():
                    key = f"{p.name}.{variable}"
                    if key in states:
                        states[key][:, step] = values


def simulate(
    network: QuantizedNetwork, kernels: Mapping[str, Kernel], inputs: Array | Mapping[str, Array], steps: int,
    *, record: Sequence[str] | None = None, probes: Sequence[Probe] = (),
) -> SpikeTrace:
    """Run the quantized network once; see `Reference`."""
    return Reference(network, kernels, steps).run(inputs, record=record, probes=probes)
