"""The `fixed` level: the quantized, unmapped network in plain numpy.

It is the reference the emulator is compared with, so it shares no code with it: whole populations, whole matrices, one step after
the other, integers held exactly in float64 products (every sum stays below 2^53).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from nmap.connectivity import Array, Connectivity
from nmap.emulate.kernel import Kernel
from nmap.quantized import QuantizedNetwork, QuantizedProjection
from nmap.trace import Probe, SpikeTrace

__all__ = ["simulate"]


def _by_delay(projection: QuantizedProjection) -> list[tuple[int, Connectivity]]:
    """Split a projection into parts of one delay each: (steps between sending and acting, connectivity)."""
    if projection.delays is None:
        return [(1 + projection.delay, projection.connectivity)]
    weights, parts = projection.connectivity.weights, []
    for extra in np.unique(projection.delays):
        part = projection.connectivity.with_weights(np.where(projection.delays == extra, weights, 0))
        parts.append((1 + projection.delay + int(extra), part))
    return parts


def _shift(total: Array, exponent: int) -> Array:
    return total << exponent if exponent >= 0 else total >> -exponent


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
    parts = {p.name: [(q, _by_delay(q)) for q in network.afferents(p.name)] for p in neurons}
    for step in range(steps):
        for population in neurons:
            dendrite = np.zeros((samples, population.size), np.int64)
            for projection, by_delay in parts[population.name]:
                source = spikes[projection.source]
                for delay, connectivity in by_delay:
                    if step < delay:
                        continue
                    payload: Array = source[step - delay]
                    if not payload.any():
                        continue
                    if projection.format.message_bits == 0:
                        payload = payload != 0
                    total = np.rint(connectivity.apply(payload)).astype(np.int64)
                    dendrite += _shift(total, projection.format.exponent)
            kernel = kernels[str(population.kernel)]
            spikes[population.name][step] = kernel.reference_step(population.params, state[population.name], dendrite, step)
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
