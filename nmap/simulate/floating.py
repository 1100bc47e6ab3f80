"""The `float` level: the network as read, in float64 and plain numpy.

Populations are computed loop by loop (strongly connected components, in topological order): outside loops a projection is
applied to all samples and steps at once and only the neurons' recurrence runs over time. Each family of neuron models has its own
class of state, whose `step` is the difference equation of `nmap.network`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import prod
from typing import Protocol, TypeAlias

import networkx as nx
import numpy as np

from nmap.connectivity import Array, Connectivity, Dense, Sparse
from nmap.diagnostics import Exit, Findings
from nmap.network import Adaptation, Conventions, Model, Network, Neuron, Population, Projection, Resonator, SigmaDelta

__all__ = ["FloatRun", "simulate"]

_CHUNK_BYTES = 2**27
_LARGEST = 2**31 - 1
Inputs: TypeAlias = "Array | Mapping[str, Array]"


@dataclass(frozen=True, slots=True, eq=False)
class FloatRun:
    """What a network computed.

    Args:
        spikes: (samples, steps, neurons) by population: uint8 where a neuron sends at most one spike a step; int32 where a message can
            be larger or negative (several spikes a step, sigma-delta neurons); of an input port as given, int64 or float64. Neuron
            indices are C order over the population's shape.
        v: membrane potential after the step and its reset, (samples, steps, neurons) float64: of non-spiking populations that
            were recorded, and of those recorded as `NAME:v`. Of other models, what `nmap.network` says stands for it.
        u: synaptic current after the step, likewise, of populations recorded as `NAME:u`.
        outputs: the network's output populations.
    """

    spikes: dict[str, Array]
    v: dict[str, Array] = field(default_factory=dict)
    u: dict[str, Array] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()

    def counts(self, population: str | None = None) -> Array:
        """Return the score of each neuron: (samples, neurons) spikes over all steps, or v of the last step where it does not spike.

        Args:
            population: a recorded population; the first output when None.
        """
        name = self.outputs[0] if population is None else population
        if name in self.spikes:
            spikes = self.spikes[name]
            return np.asarray(spikes.sum(axis=1, dtype=np.float64 if spikes.dtype.kind == "f" else np.int64))
        return np.asarray(self.v[name][:, -1])

    def accuracy(self, labels: Array, population: str | None = None) -> float:
        """Return the share of samples whose largest score is their label's neuron; the lowest index wins a tie.

        Args:
            labels: (samples,) integers.
            population: as in `counts`.
        """
        return float(np.mean(self.counts(population).argmax(axis=1) == np.asarray(labels)))


def simulate(
    network: Network,
    inputs: Inputs,
    *,
    steps: int | None = None,
    record: Iterable[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FloatRun:
    """Run a network on samples.

    Args:
        network: the network.
        inputs: (samples, time, *input shape), spikes or graded values; by input port, with the same samples and time, where the
            network has several ports.
        steps: time steps to run; the input is cut, or continued with zeros; None for the input's length.
        record: population names to return, `NAME:v` and `NAME:u` for their states; None for the network's outputs.
        progress: called with (samples done, samples) after each chunk.

    Raises:
        NmapError: NM802 where the inputs do not fit the network or drive its messages beyond 32 bits, NM004 where a recorded population
            does not exist.
    """
    wanted = tuple(dict.fromkeys(network.outputs if record is None else record))
    given = _check(network, inputs, steps, wanted)
    samples, length = next(iter(given.values())).shape[:2]
    run = length if steps is None else steps
    plan = _Plan(network, {name: array.dtype for name, array in given.items()})
    stores: dict[str, Array] = {name: np.zeros((samples, run, network[name.partition(":")[0]].size), plan.dtype(name)) for name in wanted}
    chunk = max(1, min(samples, _CHUNK_BYTES // max(1, 8 * run * plan.widest)))
    for start in range(0, samples, chunk):
        part = {name: _frames(array[start : start + chunk], run) for name, array in given.items()}
        plan.run(part, {name: store[start : start + chunk] for name, store in stores.items()})
        if progress is not None:
            progress(min(start + chunk, samples), samples)
    result = FloatRun({}, outputs=network.outputs)
    for name, store in stores.items():
        population, _, variable = name.partition(":")
        kinds = {"v": result.v, "u": result.u, "spikes": result.spikes, "": result.v if network[population].silent else result.spikes}
        kinds[variable][population] = store
    return result


def _frames(inputs: Array, steps: int) -> Array:
    """Return one port's samples as (samples, steps, size) float64, cut or continued with zeros."""
    shared = min(steps, inputs.shape[1])
    frames = np.zeros((inputs.shape[0], steps, prod(inputs.shape[2:])))
    frames[:, :shared] = inputs[:, :shared].reshape(inputs.shape[0], shared, frames.shape[2])
    return frames


def _check(network: Network, inputs: Inputs, steps: int | None, wanted: Sequence[str]) -> dict[str, Array]:
    """Return the input of each port, (samples, time, *port shape).

    Raises:
        NmapError: NM802, NM004; see `simulate`.
    """
    findings = Findings()
    given = _ports(network, inputs, findings)
    for name, array in given.items():
        shape = network[name].shape
        title = "inputs have" if len(network.inputs) == 1 else f"inputs of `{name}` have"
        if array.ndim < 2 or array.shape[2:] != shape:
            needed = ", ".join(("samples", "time", *map(str, shape)))
            findings.error("NM802", f"{title} shape {array.shape}; ({needed}) is needed", where=network.file)
        elif array.dtype.kind not in "biuf":
            findings.error("NM802", f"{title} type {array.dtype}; numbers are needed", where=network.file)
        elif array.dtype.kind == "f" and not np.all(np.isfinite(array)):
            findings.error("NM802", f"{title} values that are not finite", where=network.file)
    if not findings.errors and len({array.shape[:2] for array in given.values()}) > 1:
        told = ", ".join(f"`{name}` {array.shape[:2]}" for name, array in given.items())
        findings.error("NM802", f"the input ports have different numbers of samples and steps: {told}", where=network.file)
    if steps is not None and steps < 0:
        findings.error("NM004", f"the number of steps must not be negative: {steps}")
    for name in wanted:
        population, _, variable = name.partition(":")
        found = next((p for p in network.populations if p.name == population), None)
        if found is None:
            findings.error(
                "NM004",
                f"there is no population `{population}` to record",
                help=(f"populations are {', '.join(p.name for p in network.populations[:12])}",),
            )
        elif variable not in ("", "v", "u", "spikes") or (variable in ("v", "u") and found.neuron is None):
            findings.error("NM004", f"`{name}` cannot be recorded; `v`, `u` and `spikes` of neurons can")
    findings.raise_errors(Exit.USAGE)
    return given


def _ports(network: Network, inputs: Inputs, findings: Findings) -> dict[str, Array]:
    """Return the arrays by input port; record NM802 where ports are missing or unknown."""
    names = ", ".join(f"`{name}`" for name in network.inputs)
    if not isinstance(inputs, Mapping):
        if len(network.inputs) == 1:
            return {network.inputs[0]: np.asarray(inputs)}
        message = f"the network has {len(network.inputs)} inputs ({names}), and one array of samples was given"
        findings.error("NM802", message, where=network.file, help=("give the samples of each input by its name",))
        return {}
    for name in inputs:
        if name not in network.inputs:
            near = get_close_matches(str(name), network.inputs, 1, 0.3)
            findings.error(
                "NM802",
                f"the samples name the input `{name}`, which the network does not have",
                where=network.file,
                why=f"its inputs are {names}",
                help=(f"nearest name: `{near[0]}`",) if near else (),
            )
    missing = [name for name in network.inputs if name not in inputs]
    if missing:
        told = ", ".join(f"`{name}`" for name in missing)
        findings.error("NM802", f"the samples lack the input{'s' if len(missing) > 1 else ''} {told}", where=network.file)
    return {name: np.asarray(inputs[name]) for name in network.inputs if name in inputs}


class _Plan:
    """The order of computation, and what must be kept for how long."""

    def __init__(self, network: Network, ports: Mapping[str, np.dtype[np.generic]]) -> None:
        self.network, self.ports = network, ports
        self.populations = {p.name: p for p in network.populations}
        self.rank = {p.name: k for k, p in enumerate(network.populations)}
        self.into: dict[str, list[Projection]] = {name: [] for name in self.populations}
        for projection in network.projections:
            self.into[projection.target].append(projection)
        graph = nx.DiGraph()
        graph.add_nodes_from(self.populations)
        graph.add_edges_from((p.source, p.target) for p in network.projections)
        condensed = nx.condensation(graph)
        self.groups = [sorted(condensed.nodes[k]["members"], key=self.rank.__getitem__) for k in nx.topological_sort(condensed)]
        self.last = self._last_use()
        self.widest = max(p.size for p in network.populations)

    def _last_use(self) -> dict[str, int]:
        """Return the last group that reads each population."""
        last: dict[str, int] = {}
        for k, members in enumerate(self.groups):
            for name in members:
                last[name] = max(last.get(name, 0), k)
                for projection in self.into[name]:
                    last[projection.source] = max(last.get(projection.source, 0), k)
        return last

    def graded(self, population: Population) -> bool:
        """Return whether a population's messages can be other than 0 and 1."""
        neuron = population.neuron
        counting = isinstance(neuron, Neuron) and neuron.adaptation is None and self.network.conventions.multiple
        return population.silent or counting or isinstance(neuron, SigmaDelta)

    def dtype(self, name: str) -> type:
        """Return the type of a recorded array."""
        population, _, variable = name.partition(":")
        found = self.populations[population]
        if variable in ("v", "u") or (not variable and found.silent):
            return np.float64
        if found.neuron is None:
            return np.float64 if self.ports[population].kind == "f" else np.int64
        return np.int32 if self.graded(found) and not found.silent else np.uint8

    def run(self, inputs: dict[str, Array], stores: dict[str, Array]) -> None:
        """Compute one chunk: `inputs` (samples, steps, size) float64 by port; fill `stores`."""
        shape = next(iter(inputs.values())).shape[:2]
        sent = dict(inputs)
        for k, members in enumerate(self.groups):
            inside = set(members)
            neurons = [self.populations[name] for name in members if self.populations[name].neuron is not None]
            if neurons:
                arriving = {p.name: self._arriving(p, inside, sent, shape) for p in neurons}
                self._advance(neurons, arriving, sent, stores, inside)
            for name in members:
                if name in stores and self.populations[name].neuron is None:
                    stores[name][:] = sent[name]
            for name in [n for n in sent if self.last[n] <= k]:
                del sent[name]

    def _arriving(self, population: Population, inside: set[str], sent: dict[str, Array], shape: tuple[int, int]) -> list[Array]:
        """Return the summed input of each receptor, (samples, steps, neurons), from biases and from outside the loop."""
        totals = {name: np.zeros((*shape, population.size)) for name in _receptors(population.neuron)}
        for projection in self.into[population.name]:
            total = totals[projection.receptor]
            if projection.bias is not None:
                total[:, projection.bias_from :] += projection.bias
            if projection.source not in inside:
                _add_delayed(total, projection, sent[projection.source])
        return list(totals.values())

    def _advance(
        self,
        neurons: Sequence[Population],
        arriving: dict[str, list[Array]],
        sent: dict[str, Array],
        stores: dict[str, Array],
        inside: set[str],
    ) -> None:
        """Run the neurons of one group over time; `inside` are its members, which can feed each other."""
        samples, steps = next(iter(arriving.values()))[0].shape[:2]
        states = [_state(p.neuron, self.network.conventions, samples) for p in neurons if p.neuron is not None]
        loops = [[_Loop(q, _receptors(p.neuron)) for q in self.into[p.name] if q.source in inside] for p in neurons]
        for population in neurons:
            # A byte suffices for a spike; a product with real weights is taken in float64 by the connection.
            sent[population.name] = np.zeros((samples, steps, population.size), np.float64 if self.graded(population) else np.uint8)
        # What is sent late is written ahead, so that it is known to the whole loop when its step comes.
        lags = [0 if p.silent else self.network.conventions.lag for p in neurons]
        for t in range(steps):
            for population, state, loop, lag in zip(neurons, states, loops, lags, strict=True):
                x = [total[:, t] for total in arriving[population.name]]
                for projection in loop:
                    projection.add(x, sent[projection.source], t)
                message = state.step(*x)
                if t + lag < steps:
                    sent[population.name][:, t + lag] = message
                for suffix, values in ((":v", state.v), (":u", state.u)):
                    if population.name + suffix in stores:
                        stores[population.name + suffix][:, t] = values
        for population in neurons:
            self._store(population, sent[population.name], stores)

    def _store(self, population: Population, sent: Array, stores: dict[str, Array]) -> None:
        """Keep what a population sent: v of a silent one (its spikes are none), spikes or integers of others."""
        if self.graded(population) and not population.silent:
            largest = max(sent.max(initial=0), -sent.min(initial=0))
            if not largest <= _LARGEST:
                findings = Findings()
                message = f"the samples make `{population.name}` send {largest:.6g} in one step, beyond the 32 bits of a message"
                findings.error("NM802", message, where=str(population.where))
                findings.raise_errors(Exit.USAGE)
        if population.name in stores:
            stores[population.name][:] = sent
        if f"{population.name}:spikes" in stores and not population.silent:
            stores[f"{population.name}:spikes"][:] = sent


class _State(Protocol):
    """State of one population over (samples, neurons)."""

    v: Array
    u: Array

    def step(self, *x: Array) -> Array:
        """Advance one step with the summed input x (samples, neurons) of each receptor; return what the neurons send."""
        ...


def _receptors(model: Model | None) -> tuple[str, ...]:
    return ("input", "imaginary") if isinstance(model, Resonator) else ("input",)


def _state(model: Model, conventions: Conventions, samples: int) -> _State:
    if isinstance(model, Resonator):
        return _Resonator(model, samples)
    if isinstance(model, SigmaDelta):
        return {"delta": _Delta, "sigma_delta": _SigmaDelta, "sigma": _Sigma}[model.role](model, samples)
    if not model.spiking:
        return _Integrator(model, samples)
    if model.adaptation is not None:
        return _Adaptive(model, model.adaptation, samples)
    kinds = {"zero": _ResetToValue, "subtract": _EarlySubtract if conventions.early_reset else _Subtract, "delayed": _DelayedSubtract}
    return kinds[conventions.reset](model, conventions, samples)


def _toward_zero(values: Array, quantum: float | None) -> Array:
    """Return the values truncated toward zero to multiples of `quantum`; unchanged where it is None."""
    return values if quantum is None else np.trunc(values / quantum) * quantum


class _Integrator:
    """`Neuron`s that never fire: current and membrane; they send v."""

    def __init__(self, neuron: Neuron, samples: int) -> None:
        self.neuron = neuron
        self.memoryless = not neuron.alpha.any()
        self.v: Array = np.zeros((samples, neuron.threshold.size))
        self.u: Array = np.zeros_like(self.v)

    def step(self, *x: Array) -> Array:
        self.integrate(x[0])
        return self.v

    def integrate(self, x: Array) -> None:
        """Advance current and membrane: u = alpha u + gain_in x, v = beta v + gain_v u + drive."""
        n = self.neuron
        arriving = n.gain_in * x
        self.u = arriving if self.memoryless else _toward_zero(self.u * n.alpha, n.quantum) + arriving
        self.v = _toward_zero(self.v * n.beta, n.quantum) + n.gain_v * self.u + n.drive


class _Firing(_Integrator):
    """`Neuron`s that fire and reset as `Conventions` say; the subclasses are its resets."""

    def __init__(self, neuron: Neuron, conventions: Conventions, samples: int) -> None:
        super().__init__(neuron, samples)
        self.strict, self.multiple = conventions.compare == ">", conventions.multiple
        self.lowest = None if conventions.floor is None else conventions.floor * neuron.threshold
        # Counting needs a threshold to count in; a neuron without a positive one sends at most one spike.
        self.unit = np.where(neuron.threshold > 0, neuron.threshold, np.inf)

    def crossed(self) -> Array:
        """Return whether v passes the threshold: (samples, neurons) bool."""
        return self.v > self.neuron.threshold if self.strict else self.v >= self.neuron.threshold

    def fire(self) -> Array:
        """Return the spikes of this step: 0 or 1 as bool, or their number trunc(v / threshold) as float64."""
        crossed = self.crossed()
        return np.maximum(np.trunc(self.v / self.unit), 1) * crossed if self.multiple else crossed

    def bound(self) -> None:
        """Lift v to its floor."""
        if self.lowest is not None:
            self.v = np.maximum(self.v, self.lowest)


class _ResetToValue(_Firing):
    """Reset `zero`: v takes its reset value."""

    def step(self, *x: Array) -> Array:
        self.integrate(x[0])
        fired = self.fire()
        self.v = np.where(fired, self.neuron.v_reset, self.v)
        self.bound()
        return fired


class _Subtract(_Firing):
    """Reset `subtract`: each spike takes one threshold off in its own step."""

    def step(self, *x: Array) -> Array:
        self.integrate(x[0])
        fired = self.fire()
        self.v = self.v - self.neuron.threshold * fired
        self.bound()
        return fired


class _EarlySubtract(_Firing):
    """snnTorch's `subtract`: what was left above the threshold loses one before the comparison, and has it back if it does not fire."""

    def step(self, *x: Array) -> Array:
        early = self.crossed()
        self.integrate(x[0])
        self.v = self.v - self.neuron.threshold * early
        fired = self.fire()
        self.v = self.v - self.neuron.threshold * np.subtract(fired, early, dtype=np.float64)
        self.bound()
        return fired


class _DelayedSubtract(_Firing):
    """Reset `delayed`: each spike takes one threshold off in the next step."""

    def __init__(self, neuron: Neuron, conventions: Conventions, samples: int) -> None:
        super().__init__(neuron, conventions, samples)
        self.fired: Array = np.zeros(self.v.shape, bool)

    def step(self, *x: Array) -> Array:
        self.integrate(x[0])
        self.v = self.v - self.neuron.threshold * self.fired
        self.fired = self.fire()
        self.bound()
        return self.fired


class _Threshold:
    """Adaptive threshold and refractory state, see `Adaptation`."""

    def __init__(self, adaptation: Adaptation, resting: Array, samples: int) -> None:
        self.adaptation, self.resting = adaptation, resting
        self.theta: Array = np.broadcast_to(resting, (samples, resting.size))
        self.rho: Array = np.zeros((samples, resting.size))

    def fire(self, v: Array, allowed: Array | bool = True) -> Array:
        """Advance one step; return where v reaches the threshold and may fire: (samples, neurons) bool."""
        a = self.adaptation
        theta = self.resting + _toward_zero(a.threshold_decay * (self.theta - self.resting), a.quantum)
        rho = _toward_zero(a.refractory_decay * self.rho, a.quantum)
        fired: Array = (_toward_zero(v, a.quantum) >= theta + rho) & allowed
        self.theta, self.rho = theta + a.step * fired, rho + 2 * theta * fired
        return fired


class _Adaptive(_Integrator):
    """`Neuron`s with an adaptive threshold, which stands in for the reset."""

    def __init__(self, neuron: Neuron, adaptation: Adaptation, samples: int) -> None:
        super().__init__(neuron, samples)
        self.threshold = _Threshold(adaptation, neuron.threshold, samples)

    def step(self, *x: Array) -> Array:
        self.integrate(x[0])
        return self.threshold.fire(self.v)


class _Resonator:
    """`Resonator`s: a complex state, u real and v imaginary, that rotates and decays."""

    def __init__(self, model: Resonator, samples: int) -> None:
        self.model = model
        self.u: Array = np.zeros((samples, model.threshold.size))
        self.v: Array = np.zeros_like(self.u)
        self.threshold = None if model.adaptation is None else _Threshold(model.adaptation, model.threshold, samples)

    def step(self, *x: Array) -> Array:
        m, q = self.model, self.model.quantum
        re = _toward_zero(m.cos * self.u, q) - _toward_zero(m.sin * self.v, q) + x[0] + m.drive
        im = _toward_zero(m.sin * self.u, q) + _toward_zero(m.cos * self.v, q) + x[1]
        before, self.u, self.v = self.v, re, im
        if m.firing == "phase":
            rising = (im >= 0) & (before < 0)
            return (re >= m.threshold) & rising if self.threshold is None else self.threshold.fire(re, rising)
        if self.threshold is not None:
            return self.threshold.fire(im)
        fired: Array = im >= m.threshold
        self.u, self.v = np.where(fired, 0, re), np.where(fired, m.threshold - (q or 0), im)
        return fired


class _Delta:
    """`SigmaDelta` neurons of role `delta`: they send how much their input has changed, once it is enough."""

    def __init__(self, model: SigmaDelta, samples: int) -> None:
        self.model = model
        self.v: Array = np.zeros((samples, model.threshold.size))
        self.u: Array = np.zeros_like(self.v)
        self.residue: Array = np.zeros_like(self.v)

    def step(self, *x: Array) -> Array:
        self.u = x[0]
        return self.change(self.u * 2.0 ** (self.model.spike_exp + self.model.state_exp))

    def change(self, activation: Array) -> Array:
        """Advance to the new activation; return the change, in units of a message."""
        difference = activation - self.v + self.residue
        sent = np.where(np.abs(difference) >= self.model.threshold, difference, 0)
        self.residue, self.v = difference - sent, activation
        return np.floor(sent / 2.0**self.model.state_exp)


class _SigmaDelta(_Delta):
    """`SigmaDelta` neurons of role `sigma_delta`: they sum the changes they receive and send the changes of their activation."""

    def step(self, *x: Array) -> Array:
        self.u = self.u + x[0]
        activation = self.u + self.model.bias
        return self.change(np.maximum(activation, 0) if self.model.rectify else activation)


class _Sigma(_Delta):
    """`SigmaDelta` neurons of role `sigma`: they send the sum of the changes they receive."""

    def step(self, *x: Array) -> Array:
        self.u = self.v = self.u + x[0]
        return self.v


class _Loop:
    """A projection inside a loop, applied one step at a time."""

    def __init__(self, projection: Projection, receptors: tuple[str, ...]) -> None:
        self.source = projection.source
        self.receptor = receptors.index(projection.receptor)
        self.parts = _by_delay(projection)

    def add(self, x: list[Array], sent: Array, t: int) -> None:
        """Add to x, by receptor, what arrives in step t from `sent` (samples, steps, sources)."""
        for delay, connectivity in self.parts:
            if t >= delay:
                x[self.receptor] = x[self.receptor] + _apply(connectivity, sent[:, t - delay])


def _by_delay(projection: Projection) -> list[tuple[int, Connectivity]]:
    """Split a projection with delays per synapse into one connection per delay."""
    connectivity = projection.connectivity
    if projection.delays is None:
        return [(projection.delay, connectivity)]
    delays = projection.delays.reshape(connectivity.weights.shape)
    return [
        (projection.delay + int(d), connectivity.with_weights(np.where(delays == d, connectivity.weights, 0))) for d in np.unique(delays)
    ]


def _add_delayed(total: Array, projection: Projection, sent: Array) -> None:
    """Add what arrives from `sent` (samples, steps, sources) to `total` (samples, steps, targets)."""
    steps = sent.shape[1]
    for delay, connectivity in _by_delay(projection):
        if delay < steps:
            total[:, delay:] += _apply(connectivity, sent[:, : steps - delay])


def _apply(connectivity: Connectivity, x: Array) -> Array:
    """Return `connectivity.apply(x)`, (..., sources) -> (..., targets), in numpy calls over all rows at once."""
    if isinstance(connectivity, Dense):
        return np.asarray(x, np.float64) @ connectivity.weights.T
    if not isinstance(connectivity, Sparse):
        return connectivity.apply(x)
    x = np.asarray(x, np.float64)
    flat = x.reshape(-1, connectivity.in_size)
    out = np.zeros((flat.shape[0], connectivity.out_size))
    rows = np.flatnonzero(np.diff(connectivity.indptr))
    if rows.size:
        block = max(1, _CHUNK_BYTES // max(1, 8 * connectivity.synapses))
        for start in range(0, flat.shape[0], block):
            products = flat[start : start + block, connectivity.indices] * connectivity.weights
            out[start : start + block, rows] = np.add.reduceat(products, connectivity.indptr[rows], axis=1)
    return out.reshape(*x.shape[:-1], connectivity.out_size)
