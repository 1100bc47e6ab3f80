"""The `fixed` level: the quantized, unmapped network in plain numpy.

It is the reference the emulator is compared with, so it shares no code with it: whole populations, whole matrices, one step after
the other, integers held exactly in float64 products (payloads are halved where a sum could pass 2^53).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from nmap.connectivity import Array, Sparse
from nmap.emulate.kernel import Kernel
from nmap.quantized import QuantizedNetwork, QuantizedProjection, SynapseFormat
from nmap.trace import Probe, SpikeTrace

__all__ = ["simulate"]

_BUFFER = 2**24
_EXACT = 2.0**53
"""Whole numbers below this are exact in float64."""
_HALF_BITS = 16
_FILL = 4
"""Matrix entries for each synapse up to which a product with the matrix is the faster one."""


class _Whole:
    """A projection whose synapses have one delay."""

    def __init__(self, projection: QuantizedProjection) -> None:
        self.delay = 1 + projection.delay
        self.targets: Array | slice = slice(None)
        self.connectivity = projection.connectivity
        high, low = self.connectivity.row_sums()
        self.reach = float((high - low).max(initial=0))

    def apply(self, payload: Array) -> Array:
        """Return the summed input, (samples, sources) -> (samples, `targets`), float64."""
        return self.connectivity.apply(payload)


class _Part:
    """The synapses of one delay: as the matrix of their sources and targets or, where that is mostly empty, one by one.

    Args:
        delay: steps between sending and acting.
        targets, sources, weights: of each synapse, ordered by target: (synapses,) each.
    """

    def __init__(self, delay: int, targets: Array, sources: Array, weights: Array) -> None:
        self.delay = delay
        self.targets: Array | slice
        self.targets, row = np.unique(targets, return_inverse=True)
        self.sources, column = np.unique(sources, return_inverse=True)
        self.starts: Array | None = None
        self.reach = float(np.abs(weights.astype(np.float64)).sum())
        if self.targets.size * self.sources.size <= _FILL * weights.size:
            self.weights = np.zeros((self.targets.size, self.sources.size))
            np.add.at(self.weights, (row, column), weights)
        else:
            self.sources, self.weights = sources, weights.astype(np.float64)
            self.starts = np.flatnonzero(np.diff(row, prepend=-1))

    def apply(self, payload: Array) -> Array:
        """Return the summed input, (samples, sources of the projection) -> (samples, `targets`), float64."""
        if self.starts is None:
            return payload[:, self.sources].astype(np.float64) @ self.weights.T
        out = np.empty((payload.shape[0], self.starts.size))
        at_once = max(1, _BUFFER // self.weights.size)
        for k in range(0, payload.shape[0], at_once):
            out[k : k + at_once] = np.add.reduceat(payload[k : k + at_once, self.sources] * self.weights, self.starts, axis=1)
        return out


def _by_delay(projection: QuantizedProjection, steps: int) -> list[_Whole | _Part]:
    """Split a projection into parts of one delay each, in all as large as the projection; leave out what cannot act in `steps` steps."""
    if projection.delays is None:
        return [_Whole(projection)]
    connectivity = projection.connectivity
    weights, delays = connectivity.weights.ravel(), projection.delays.ravel()
    kept = np.flatnonzero((weights != 0) & (delays < steps - 1 - projection.delay))
    kept = kept[np.argsort(delays[kept], kind="stable")]
    weights, delays = weights[kept], delays[kept]
    if isinstance(connectivity, Sparse):
        targets, sources = connectivity.targets[kept], connectivity.indices[kept]
    else:
        targets, sources = np.divmod(kept, connectivity.in_size)
    edges = np.append(np.flatnonzero(np.diff(delays, prepend=-1)), delays.size)
    return [
        _Part(1 + projection.delay + int(delays[a]), targets[a:b], sources[a:b], weights[a:b]) for a, b in pairwise(edges)
    ]


def _product(part: _Whole | _Part, payload: Array) -> Array:
    """Return weights times payloads, int64, exact modulo 2^64."""
    if part.reach * float(np.abs(payload, dtype=np.float64).max(initial=0)) < _EXACT:
        return np.rint(part.apply(payload)).astype(np.int64)
    high, low = payload >> _HALF_BITS, payload & ((1 << _HALF_BITS) - 1)
    upper: Array = np.rint(part.apply(high)).astype(np.int64) << _HALF_BITS
    return upper + np.rint(part.apply(low)).astype(np.int64)


def _wrapped(total: Array, bits: int) -> Array:
    """Return what an accumulator of that many bits holds of a sum, in two's complement; of 0 bits, all of it."""
    if bits == 0:
        return total
    half = 1 << (bits - 1)
    return (total + half) % (2 * half) - half


def _accumulated(total: Array, form: SynapseFormat) -> Array:
    """Return what the sum of one step and one delay adds to the dendrite."""
    held = _wrapped(total, form.accumulator)
    return _wrapped(held << form.exponent if form.exponent >= 0 else held >> -form.exponent, form.accumulator)


def simulate(
    network: QuantizedNetwork, kernels: Mapping[str, Kernel], inputs: Array | Mapping[str, Array], steps: int,
    *, record: Sequence[str] | None = None, probes: Sequence[Probe] = (),
) -> SpikeTrace:
    """Run the quantized network.

    Args:
        network: the network.
        kernels: the target's neuron kernels by name; only `reference_step` is used.
        inputs: (samples, time, *input shape) integers by input port, or of the only one; column t is sent in chip step t, nothing after
            the last column.
        steps: chip steps to run.
        record: populations whose spikes to keep; None for the outputs.
        probes: state variables (or spikes) to keep.

    Returns:
        Spikes and states in chip time.

    Raises:
        ValueError: a port has no input.
    """
    given = dict(inputs) if isinstance(inputs, Mapping) else {network.inputs[0]: inputs}
    if set(given) != set(network.inputs):
        raise ValueError(f"the network's input ports are {', '.join(network.inputs)}")
    samples = next(iter(given.values())).shape[0]
    kept = set(network.outputs if record is None else record) | {p.population for p in probes if p.variable == "spikes"}
    wanted = {p.key for p in probes if p.variable != "spikes"}
    spikes = {p.name: np.zeros((steps, samples, p.size), np.int32) for p in network.populations}
    state_trace: dict[str, Array] = {}
    for port, values in given.items():
        length = min(steps, values.shape[1])
        spikes[port][:length] = values[:, :length].reshape(samples, length, -1).transpose(1, 0, 2)

    neurons = [p for p in network.populations if p.kernel is not None]
    state = {
        p.name: {
            v: np.tile(p.initial.get(v, np.zeros(p.size, np.int64)), (samples, 1)) for v in kernels[str(p.kernel)].state
        }
        for p in neurons
    }
    parts = {p.name: [(q, _by_delay(q, steps)) for q in network.afferents(p.name)] for p in neurons}
    for step in range(steps):
        for population in neurons:
            kernel = kernels[str(population.kernel)]
            dendrite = np.zeros((samples, kernel.receptors, population.size), np.int64)
            for projection, by_delay in parts[population.name]:
                source = spikes[projection.source]
                for part in by_delay:
                    if step < part.delay:
                        continue
                    payload: Array = source[step - part.delay]
                    if not payload.any():
                        continue
                    if projection.format.message_bits == 0:
                        payload = payload != 0
                    dendrite[:, projection.receptor, part.targets] += _accumulated(_product(part, payload), projection.format)
            arrived = dendrite.reshape(samples, -1)
            spikes[population.name][step] = kernel.reference_step(population.params, state[population.name], arrived, step)
            for variable, values in state[population.name].items():
                key = f"{population.name}.{variable}"
                if key in wanted:
                    if key not in state_trace:
                        state_trace[key] = np.empty((steps, samples, population.size), np.int64)
                    state_trace[key][step] = values
    return SpikeTrace(
        {name: values.transpose(1, 0, 2).copy() for name, values in spikes.items() if name in kept},
        {key: values.transpose(1, 0, 2).copy() for key, values in state_trace.items()},
        {name: int(np.count_nonzero(values)) for name, values in spikes.items()},
    )
