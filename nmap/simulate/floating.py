"""The `float` level: the network as read, in float64 and plain numpy.

Populations are computed loop by loop (strongly connected components, in topological order): outside loops a projection is
applied to all samples and steps at once and only the neurons' recurrence runs over time. Each family of neuron models has its own
class of state, whose `step` is the difference equation of `nmap.network`.

Samples are computed in chunks, and one that is too long for a chunk of its own in blocks of time; the states, and what was sent in the
steps that delays reach back over, are carried over a block's edge. Beside what is recorded, memory is bounded by the block and the
widest population. Blocks do not change a result, except that a matrix product may round its last bit differently for another number
of rows; the length of a block depends on the network alone, so that a run can be repeated bit by bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import prod
from typing import Protocol, TypeAlias

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Exit, Findings
from nmap.network import Adaptation, Conventions, Model, Network, Neuron, Population, Projection, Resonator, SigmaDelta
from nmap.ordering import components
from nmap.simulate.synapses import Source, applied

__all__ = ["FloatRun", "simulate"]

_CHUNK_BYTES = 2**27
_LEAST_BLOCK = 16
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
    plan = _Plan(network, {name: array.dtype for name, array in given.items()}, run)
    stores: dict[str, Array] = {name: np.zeros((samples, run, network[name.partition(":")[0]].size), plan.dtype(name)) for name in wanted}
    chunk = max(1, min(samples, _CHUNK_BYTES // max(1, 8 * run * plan.widest)))
    for start in range(0, samples, chunk):
        part = {name: array[start : start + chunk] for name, array in given.items()}
        plan.run(part, {name: store[start : start + chunk] for name, store in stores.items()})
        if progress is not None:
            progress(min(start + chunk, samples), samples)
    result = FloatRun({}, outputs=network.outputs)
    for name, store in stores.items():
        population, _, variable = name.partition(":")
        kinds = {"v": result.v, "u": result.u, "spikes": result.spikes, "": result.v if network[population].silent else result.spikes}
        kinds[variable][population] = store
    return result


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
        elif array.dtype.kind == "f" and not np.isfinite([array.min(initial=0), array.max(initial=0)]).all():
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

    def __init__(self, network: Network, ports: Mapping[str, np.dtype[np.generic]], steps: int) -> None:
        self.network, self.ports, self.steps = network, ports, steps
        self.populations = {p.name: p for p in network.populations}
        self.rank = {p.name: k for k, p in enumerate(network.populations)}
        self.into: dict[str, list[Projection]] = {name: [] for name in self.populations}
        for projection in network.projections:
            self.into[projection.target].append(projection)
        found = components(self.populations, ((p.source, p.target) for p in network.projections))
        self.groups = [sorted(names, key=self.rank.__getitem__) for names in found]
        self.ending = self._last_use()
        self.widest = max(p.size for p in network.populations)
        self.block = max(_LEAST_BLOCK, _CHUNK_BYTES // (8 * max(1, self.widest)))
        group = {name: k for k, members in enumerate(self.groups) for name in members}
        self.applied = {p.name: applied(p, steps, looped=group[p.source] == group[p.target]) for p in network.projections}
        self.reach = dict.fromkeys(self.populations, 0)
        for projection in network.projections:
            self.reach[projection.source] = max(self.reach[projection.source], self.applied[projection.name].reach)

    def _last_use(self) -> list[list[str]]:
        """Return the neuron populations that no group after each one reads in the same block."""
        last: dict[str, int] = {}
        for k, members in enumerate(self.groups):
            for name in members:
                for reader in (name, *(p.source for p in self.into[name])):
                    last[reader] = k
        ending: list[list[str]] = [[] for _ in self.groups]
        for name, k in last.items():
            if self.populations[name].neuron is not None:
                ending[k].append(name)
        return ending

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
        """Compute one chunk: `inputs` (samples, time, *port shape) by port; fill `stores`."""
        samples = next(iter(inputs.values())).shape[0]
        sent: dict[str, _Sent] = {}
        states: dict[str, _State] = {}
        for name, population in self.populations.items():
            if population.neuron is None:
                continue
            # A byte suffices for a spike; a product with real weights is taken in float64.
            dtype = np.float64 if self.graded(population) else np.uint8
            lag = 0 if population.silent else self.network.conventions.lag
            sent[name] = _Sent((samples, population.size), dtype, self.reach[name], lag)
        sources: dict[str, Source] = {**sent, **{name: _Port(array) for name, array in inputs.items()}}
        for start in range(0, self.steps, self.block):
            stop = min(start + self.block, self.steps)
            for k, members in enumerate(self.groups):
                neurons = [self.populations[name] for name in members if self.populations[name].neuron is not None]
                for population in neurons:
                    sent[population.name].begin(stop)
                    if start == 0 and population.neuron is not None:
                        states[population.name] = _state(population.neuron, self.network.conventions, samples)
                self._advance(neurons, set(members), sent, sources, states, stores, start, stop)
                for name in members:
                    for key in (name, f"{name}:spikes"):
                        if key in stores and self.populations[name].neuron is None:
                            stores[key][:, start:stop] = sources[name].span(start, stop)
                    if stop == self.steps:
                        states.pop(name, None)
                for name in self.ending[k]:
                    sent[name].end(last=stop == self.steps)

    def _arriving(
        self, population: Population, inside: set[str], sources: Mapping[str, Source], shape: tuple[int, int], start: int
    ) -> list[Array]:
        """Return the summed input of each receptor, (samples, steps, neurons), from biases and from outside the loop."""
        totals = {name: np.zeros((*shape, population.size)) for name in _receptors(population.neuron)}
        for projection in self.into[population.name]:
            total = totals[projection.receptor]
            if projection.bias is not None:
                total[:, max(0, projection.bias_from - start) :] += projection.bias
            if projection.source not in inside:
                self.applied[projection.name].add(total, sources[projection.source], start)
        return list(totals.values())

    def _advance(
        self,
        neurons: Sequence[Population],
        inside: set[str],
        sent: Mapping[str, _Sent],
        sources: Mapping[str, Source],
        states: Mapping[str, _State],
        stores: Mapping[str, Array],
        start: int,
        stop: int,
    ) -> None:
        """Run the neurons of one group from step `start` to `stop`; `inside` are its members, which can feed each other."""
        rows = []
        for population in neurons:
            name, receptors = population.name, _receptors(population.neuron)
            own = sent[name]
            arriving = self._arriving(population, inside, sources, (own.shape[0], stop - start), start)
            loops = [
                (self.applied[p.name], arriving[receptors.index(p.receptor)], sources[p.source])
                for p in self.into[name]
                if p.source in inside
            ]
            resets = self._resets(population, start, stop)
            rows.append((states[name], own, arriving, loops, stores.get(f"{name}:v"), stores.get(f"{name}:u"), resets))
        for t in range(start, stop):
            for state, own, arriving, loops, v, u, resets in rows:
                k = t - start
                if t in resets and isinstance(state, _Integrator):
                    state.clear()
                for projection, total, source in loops:
                    projection.add(total[:, k : k + 1], source, t)
                own.put(t, state.step(*[total[:, k] for total in arriving]))
                if v is not None:
                    v[:, t] = state.v
                if u is not None:
                    u[:, t] = state.u
        for population in neurons:
            self._store(population, sent[population.name].span(start, stop), stores, start)

    def _resets(self, population: Population, start: int, stop: int) -> range:
        """Return the steps from `start` to `stop` before which the conventions' periodic reset clears the neurons' state."""
        c, neuron = self.network.conventions, population.neuron
        if not c.reset_interval or not isinstance(neuron, Neuron) or neuron.adaptation is not None:
            return range(0)
        return range(start + (c.reset_offset + population.hops - start) % c.reset_interval, stop, c.reset_interval)

    def _store(self, population: Population, sent: Array, stores: Mapping[str, Array], start: int) -> None:
        """Keep what a population sent from step `start` on: v of a silent one (its spikes are none), spikes or integers of others."""
        if self.graded(population) and not population.silent:
            largest = max(sent.max(initial=0), -sent.min(initial=0))
            if not largest <= _LARGEST:
                findings = Findings()
                message = f"the samples make `{population.name}` send {largest:.6g} in one step, beyond the 32 bits of a message"
                findings.error("NM802", message, where=str(population.where))
                findings.raise_errors(Exit.USAGE)
        if population.name in stores:
            stores[population.name][:, start : start + sent.shape[1]] = sent
        if f"{population.name}:spikes" in stores and not population.silent:
            stores[f"{population.name}:spikes"][:, start : start + sent.shape[1]] = sent


class _Port:
    """What an input port sends: the samples (samples, time, *shape), then silence."""

    def __init__(self, inputs: Array) -> None:
        self.inputs = inputs

    def span(self, first: int, stop: int) -> Array:
        """See `Source.span`."""
        given = self.inputs[:, first:stop]
        frames = given.reshape(*given.shape[:2], prod(given.shape[2:]))
        if frames.shape[1] == stop - first:
            return frames
        out = np.zeros((frames.shape[0], stop - first, frames.shape[2]), frames.dtype)
        out[:, : frames.shape[1]] = frames
        return out


class _Sent:
    """What neurons have sent in the present block and in the `reach` steps before it, and `lag` steps ahead.

    What is sent late is written ahead, so that it is known to the whole loop when its step comes.
    """

    def __init__(self, shape: tuple[int, int], dtype: type, reach: int, lag: int) -> None:
        self.shape, self.dtype, self.reach, self.lag = shape, dtype, reach, lag
        self.base = self.stop = 0
        self.values: Array = self._rows(lag)

    def _rows(self, steps: int) -> Array:
        return np.zeros((self.shape[0], steps, self.shape[1]), self.dtype)

    def begin(self, stop: int) -> None:
        """Make room for the steps up to `stop`."""
        kept, self.stop = self.values, stop
        self.values = self._rows(stop + self.lag - self.base)
        self.values[:, : kept.shape[1]] = kept

    def end(self, *, last: bool) -> None:
        """Forget what no later block needs: everything after the `last` one."""
        first = self.stop if last else max(self.base, self.stop - self.reach)
        self.values = self._rows(0) if last else self.values[:, first - self.base :].copy()
        self.base = first

    def put(self, step: int, message: Array) -> None:
        """Send the message (samples, neurons) of a step."""
        self.values[:, step + self.lag - self.base] = message

    def span(self, first: int, stop: int) -> Array:
        """See `Source.span`."""
        return self.values[:, first - self.base : stop - self.base]


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
        self.neuron, self.samples = neuron, samples
        self.memoryless = not neuron.alpha.any()
        self.clear()

    def clear(self) -> None:
        """Forget everything: the state becomes that of the start."""
        self.v: Array = np.zeros((self.samples, self.neuron.threshold.size))
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

    def clear(self) -> None:
        """See `_Integrator.clear`."""
        super().clear()
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
        # A copy, since a view would keep a whole block alive.
        self.u = x[0].copy()
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
