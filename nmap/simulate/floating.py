"""The `float` level: the network as read, in float64 and plain numpy.

Populations are computed loop by loop (strongly connected components, in topological order): outside loops a projection is
applied to all samples and steps at once and only the neurons' recurrence runs over time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import networkx as nx
import numpy as np

from nmap.connectivity import Array, Connectivity, Dense, Sparse
from nmap.diagnostics import Exit, Findings
from nmap.network import Conventions, Network, Neuron, Population, Projection

__all__ = ["FloatRun", "simulate"]

_CHUNK_BYTES = 2**27


@dataclass(frozen=True, slots=True, eq=False)
class FloatRun:
    """What a network computed.

    Args:
        spikes: (samples, steps, neurons) by population: uint8 for neurons, int64 as given for an input port. Neuron indices are C order
            over the population's shape.
        v: membrane potential after the step and its reset, (samples, steps, neurons) float64: of non-spiking populations that
            were recorded, and of those recorded as `NAME:v`.
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
            return self.spikes[name].sum(axis=1, dtype=np.int64)
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
    inputs: Array,
    *,
    steps: int | None = None,
    record: Iterable[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FloatRun:
    """Run a network on samples.

    Args:
        network: with one input port.
        inputs: (samples, time, *input shape), spikes or graded values.
        steps: time steps to run; the input is cut, or continued with zeros; None for the input's length.
        record: population names to return, `NAME:v` and `NAME:u` for their states; None for the network's outputs.
        progress: called with (samples done, samples) after each chunk.

    Raises:
        NmapError: NM802 where the inputs do not fit the network, NM004 where a recorded population does not exist.
    """
    wanted = tuple(dict.fromkeys(network.outputs if record is None else record))
    inputs = np.asarray(inputs)
    _check(network, inputs, steps, wanted)
    port = network[network.inputs[0]]
    samples, given = inputs.shape[:2]
    run = given if steps is None else steps
    plan = _Plan(network, wanted)
    stores: dict[str, Array] = {name: np.zeros((samples, run, network[name.partition(":")[0]].size), plan.dtype(name)) for name in wanted}
    chunk = max(1, min(samples, _CHUNK_BYTES // max(1, 8 * run * plan.widest)))
    for start in range(0, samples, chunk):
        part = np.zeros((min(chunk, samples - start), run, port.size))
        shared = min(given, run)
        part[:, :shared] = inputs[start : start + chunk, :shared].reshape(part.shape[0], shared, port.size)
        plan.run(part, {name: store[start : start + chunk] for name, store in stores.items()})
        if progress is not None:
            progress(min(start + chunk, samples), samples)
    spikes = {name: store for name, store in stores.items() if ":" not in name and not plan.silent(name)}
    spikes.update({name.removesuffix(":spikes"): store for name, store in stores.items() if name.endswith(":spikes")})
    v = {name.partition(":")[0]: store for name, store in stores.items() if name.endswith(":v") or (":" not in name and plan.silent(name))}
    u = {name.partition(":")[0]: store for name, store in stores.items() if name.endswith(":u")}
    return FloatRun(spikes, v, u, network.outputs)


def _check(network: Network, inputs: Array, steps: int | None, wanted: Sequence[str]) -> None:
    findings = Findings()
    if len(network.inputs) != 1:
        findings.error(
            "NM802", f"the network has {len(network.inputs)} inputs ({', '.join(network.inputs)}); samples feed one", where=network.file
        )
    else:
        shape = network[network.inputs[0]].shape
        if inputs.ndim < 2 or inputs.shape[2:] != shape:
            findings.error(
                "NM802", f"inputs have shape {inputs.shape}; (samples, time, {', '.join(map(str, shape))}) is needed", where=network.file
            )
        elif inputs.dtype.kind not in "biuf":
            findings.error("NM802", f"inputs are of type {inputs.dtype}; numbers are needed", where=network.file)
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


class _Plan:
    """The order of computation, and what must be kept for how long."""

    def __init__(self, network: Network, wanted: Sequence[str]) -> None:
        self.network, self.wanted = network, wanted
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

    def silent(self, name: str) -> bool:
        """Return whether a population has neurons that never fire."""
        neuron = self.populations[name].neuron
        return neuron is not None and not neuron.spiking

    def dtype(self, name: str) -> type:
        """Return the type of a recorded array."""
        population, _, variable = name.partition(":")
        if variable in ("v", "u") or (not variable and self.silent(population)):
            return np.float64
        return np.uint8 if self.populations[population].neuron is not None else np.int64

    def run(self, inputs: Array, stores: dict[str, Array]) -> None:
        """Compute one chunk: `inputs` (samples, steps, size) float64; fill `stores`."""
        samples, steps = inputs.shape[:2]
        sent: dict[str, Array] = {self.network.inputs[0]: inputs}
        for k, members in enumerate(self.groups):
            inside = set(members)
            recurrent = len(members) > 1 or any(p.source == members[0] for p in self.into[members[0]])
            neurons = [self.populations[name] for name in members if self.populations[name].neuron is not None]
            arriving: dict[str, Array] = {}
            for population in neurons:
                total = np.zeros((samples, steps, population.size))
                for projection in self.into[population.name]:
                    if projection.bias is not None:
                        total += projection.bias
                    if projection.source not in inside:
                        _add_delayed(total, projection, sent[projection.source])
                arriving[population.name] = total
            if neurons:
                self._advance(neurons, arriving, sent, stores, inside if recurrent else set())
            for name in members:
                if name in stores and self.populations[name].neuron is None:
                    stores[name][:] = sent[name]
            for name in [n for n in sent if self.last[n] <= k]:
                del sent[name]

    def _advance(
        self, neurons: Sequence[Population], arriving: dict[str, Array], sent: dict[str, Array], stores: dict[str, Array], inside: set[str]
    ) -> None:
        """Run the neurons of one group over time; `inside` are the members of a loop."""
        states = {p.name: _State(p.neuron, self.network.conventions, arriving[p.name].shape[0]) for p in neurons if p.neuron is not None}
        for population in neurons:
            # A byte suffices for a spike; a product with real weights is taken in float64 by the connection.
            sent[population.name] = np.zeros(arriving[population.name].shape, np.uint8)
        loops = {p.name: [_Loop(q) for q in self.into[p.name] if q.source in inside] for p in neurons}
        for t in range(next(iter(arriving.values())).shape[1]):
            for population in neurons:
                name = population.name
                x = arriving[name][:, t]
                for loop in loops[name]:
                    x = loop.add(x, sent[loop.source], t)
                state = states[name]
                sent[name][:, t] = state.step(x)
                for suffix, values in ((":v", state.v), (":u", state.i)):
                    if name + suffix in stores:
                        stores[name + suffix][:, t] = values
                if name in stores and not state.neuron.spiking:
                    stores[name][:, t] = state.v
        for population in neurons:
            for key in (population.name, f"{population.name}:spikes"):
                if key in stores and not (key == population.name and self.silent(key)):
                    stores[key][:] = sent[population.name]


class _State:
    """State of one population over (samples, neurons)."""

    def __init__(self, neuron: Neuron, conventions: Conventions, samples: int) -> None:
        self.neuron, self.conventions = neuron, conventions
        size = neuron.threshold.size
        self.v: Array = np.zeros((samples, size))
        self.i: Array = np.zeros((samples, size))
        self.fired: Array = np.zeros((samples, size), bool)

    def _decayed(self, state: Array, factor: Array) -> Array:
        quantum = self.neuron.quantum
        return state * factor if quantum is None else np.trunc(state * factor / quantum) * quantum

    def step(self, x: Array) -> Array:
        """Advance one step with the summed input x (samples, neurons); return the spikes."""
        n, reset = self.neuron, self.conventions.reset
        self.i = self._decayed(self.i, n.alpha) + n.gain_in * x
        self.v = self._decayed(self.v, n.beta) + n.gain_v * self.i + n.drive
        if not n.spiking:
            return self.fired
        if reset == "delayed":
            self.v = self.v - n.threshold * self.fired
        self.fired = self.v > n.threshold if self.conventions.compare == ">" else self.v >= n.threshold
        if reset == "zero":
            self.v = np.where(self.fired, n.v_reset, self.v)
        elif reset == "subtract":
            self.v = self.v - n.threshold * self.fired
        return self.fired


class _Loop:
    """A projection inside a loop, applied one step at a time."""

    def __init__(self, projection: Projection) -> None:
        self.source = projection.source
        self.parts = _by_delay(projection)

    def add(self, x: Array, sent: Array, t: int) -> Array:
        """Return x plus what arrives in step t from `sent` (samples, steps, sources)."""
        for delay, connectivity in self.parts:
            if t >= delay:
                x = x + _apply(connectivity, sent[:, t - delay])
        return x


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
