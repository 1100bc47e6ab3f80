"""Networks for the tests of quantization, and two computations of them that share no code with what is tested.

`real` is the network in real numbers, synapse by synapse and step by step. `wide` is the chip's arithmetic in numbers that do not wrap; it
tells how large they became.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nmap.connectivity import Array, Connectivity, Dense, Sparse
from nmap.diagnostics import Diagnostic, Findings
from nmap.network import Conventions, Network, Neuron
from nmap.options import Calibration, Options
from nmap.quantized import QuantizedNetwork
from nmap.simulate.fixed import simulate
from nmap.testing.networks import build
from nmap_spinnaker import TARGET
from nmap_spinnaker.arithmetic import decay_and_init, expk

SPEC = TARGET.spec
KERNELS = TARGET.kernels


def cells(n: int, **given: Any) -> Neuron:
    """Return n neurons; LIF with a factor of 0.9 and a threshold of 1 unless `given` says otherwise."""
    values = {"alpha": 0.0, "gain_in": 1.0, "gain_v": 1.0, "beta": 0.9, "drive": 0.0, "threshold": 1.0, "v_reset": 0.0} | given
    more = {key: values.pop(key) for key in ("spiking", "quantum", "adaptation") if key in values}
    return Neuron("LIF", **{key: np.broadcast_to(np.asarray(value, np.float64), (n,)) for key, value in values.items()}, **more)


def judged(net: Network, *approximate: str, **options: Any) -> list[Diagnostic]:
    """Return what the rules find."""
    findings = Findings()
    for rule in TARGET.rules:
        rule(net, SPEC, Options(approximate=frozenset(approximate), **options), findings)
    return list(findings)


def quantized(net: Network, *approximate: str, **options: Any) -> tuple[QuantizedNetwork, list[Diagnostic]]:
    """Return a network that the rules take in the chip's numbers, and what was found on the way."""
    refused = [d.message for d in judged(net, *approximate, **options) if d.severity == "error"]
    assert not refused, refused
    findings = Findings()
    made = TARGET.quantize(net, Options(approximate=frozenset(approximate), **options), findings)
    return made, list(findings)


def _random_cells(rng: np.random.Generator, n: int, kind: str) -> Neuron:
    def between(low: float, high: float) -> Array:
        return rng.uniform(low, high, n)

    beta = {
        "lif": between(0.3, 0.995), "cuba": between(0.3, 0.99), "if": np.ones(n), "memoryless": np.zeros(n), "slow": between(0.999, 0.9995),
    }
    threshold = between(0.5, 2)
    return cells(
        n, alpha=between(0, 0.95) if kind == "cuba" else 0.0, gain_in=between(0.2, 2), gain_v=between(0.2, 2), beta=beta[kind],
        drive=0.0 if kind == "if" else rng.normal(0, 0.2, n) * (1 - beta[kind]), threshold=threshold,
        v_reset=-between(0, 1) if kind == "if" else threshold - between(0.4, 1.5),
    )


def random_network(seed: int, kind: str, *, dt: float | None = 1e-3, compare: str = ">") -> Network:
    """Return in -> a (with a loop) -> b <- in with biases and delays, every parameter of each neuron its own.

    Args:
        seed: of all of it.
        kind: `lif`, `cuba` (currents, too), `if` (no leak, nothing negative), `memoryless` or `slow` (long time constants).
        dt: seconds per step.
        compare: with the threshold.
    """
    rng = np.random.default_rng([31, seed, sorted(["lif", "cuba", "if", "memoryless", "slow"]).index(kind)])
    sizes, positive = {"in": 9, "a": 11, "b": 7}, kind == "if"

    def weights(target: str, source: str) -> Array:
        shape = sizes[target], sizes[source]
        return np.abs(rng.normal(0.1, 0.3, shape)) if positive else rng.normal(0.15, 0.4, shape)

    def bias(name: str) -> Array:
        return np.abs(rng.normal(0, 0.05, sizes[name])) if positive else rng.normal(0, 0.1, sizes[name])

    few = Sparse.from_dense(weights("b", "a") * (rng.random((sizes["b"], sizes["a"])) < 0.6))
    links: list[tuple[str, str, Connectivity, Array | None, int]] = [
        ("in", "a", Dense(weights("a", "in")), bias("a"), 0), ("a", "a", Dense(weights("a", "a") * 0.3), None, 2),
        ("a", "b", few, bias("b"), 0), ("in", "b", Dense(weights("b", "in") * 0.5), None, 0),
    ]
    populations = {"in": ((sizes["in"],), None), **{name: ((sizes[name],), _random_cells(rng, sizes[name], kind)) for name in ("a", "b")}}
    net = build(f"{kind}-{seed}.nir", populations, links, conventions=Conventions(dt, compare=compare))
    delayed = {0: rng.integers(0, 5, (sizes["a"], sizes["in"])), 2: rng.integers(0, 9, few.synapses)}
    return replace(net, projections=tuple(replace(p, delays=delayed.get(k)) for k, p in enumerate(net.projections)))


def spikes_in(net: Network, seed: int, steps: int = 60, rate: float = 0.15) -> dict[str, Array]:
    """Return random spikes by port, (1, steps, n) int32."""
    rng = np.random.default_rng([32, seed])
    return {name: (rng.random((1, steps, net[name].size)) < rate).astype(np.int32) for name in net.inputs}


def _listed(connectivity: Connectivity, delays: Array | None) -> tuple[Array, Array, Array, Array]:
    """Return target, source, weight and delay of every synapse."""
    if isinstance(connectivity, Sparse):
        target, source, weight = connectivity.targets, connectivity.indices.astype(np.int64), connectivity.weights
        late = np.zeros(weight.shape, np.int64) if delays is None else delays
        return target, source, weight, late
    if isinstance(connectivity, Dense):
        target, source = (index.ravel() for index in np.indices(connectivity.weights.shape))
        late = np.zeros(target.shape, np.int64) if delays is None else delays.ravel()
        return target, source, connectivity.weights.ravel(), late
    return _listed(connectivity.unrolled(), None)


def real(net: Network, given: dict[str, Array], steps: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return spikes and v by population, (steps, n), of one sample in real numbers; reset to a value only."""
    sent = {p.name: np.zeros((steps, p.size)) for p in net.populations}
    v = {p.name: np.zeros((steps, p.size)) for p in net.populations}
    for name, values in given.items():
        sent[name][: values.shape[1]] = values[0].reshape(values.shape[1], -1)[:steps]
    current = {p.name: np.zeros(p.size) for p in net.populations}
    parts = {p.name: _by_delay(p.connectivity, p.delays) for p in net.projections}
    for t in range(steps):
        for population in net.populations:
            neuron = population.neuron
            if not isinstance(neuron, Neuron):
                continue
            x = np.zeros(population.size)
            for p in net.projections:
                if p.target != population.name:
                    continue
                for late, matrix in parts[p.name].items():
                    if t - p.delay - late >= 0:
                        x += sent[p.source][t - p.delay - late] @ matrix
                if p.bias is not None:
                    x += p.bias
            i = current[population.name] = neuron.alpha * current[population.name] + neuron.gain_in * x
            u = neuron.beta * (v[population.name][t - 1] if t else 0.0) + neuron.gain_v * i + neuron.drive
            fired = u > neuron.threshold if net.conventions.compare == ">" else u >= neuron.threshold
            sent[population.name][t] = fired
            v[population.name][t] = np.where(fired, neuron.v_reset, u)
    return sent, v


@dataclass
class Wide:
    """What `wide` computed: spikes and v by population, int64, the largest number, and slots over 65535."""

    spikes: dict[str, Array]
    v: dict[str, Array]
    largest: int
    saturated: int


def _by_delay(connectivity: Connectivity, delays: Array | None) -> dict[int, Array]:
    """Return the synapses as one matrix, (sources, targets) float64, for each delay."""
    target, source, weight, late = _listed(connectivity, delays)
    parts = {}
    for delay in np.unique(late):
        parts[int(delay)] = matrix = np.zeros((connectivity.in_size, connectivity.out_size))
        np.add.at(matrix, (source[late == delay], target[late == delay]), weight[late == delay])
    return parts


def wide(made: QuantizedNetwork, given: dict[str, Array], steps: int) -> Wide:
    """Return the chip's arithmetic without any wrap; arrays are (samples, steps, n), or (steps, n) of a single sample."""
    samples = max((values.shape[0] for values in given.values()), default=1)
    found = Wide({p.name: np.zeros((samples, steps, p.size), np.int64) for p in made.populations}, {}, 0, 0)
    for name, values in given.items():
        found.spikes[name][:, : values.shape[1]] = values.reshape(*values.shape[:2], -1)[:, :steps] != 0
    found.v = {name: np.zeros_like(spikes) for name, spikes in found.spikes.items()}
    state = {
        p.name: {key: np.tile(p.initial.get(key, np.zeros(p.size, np.int64)), (samples, 1)) for key in ("v", "syn_0", "syn_1", "refract")}
        for p in made.populations
    }
    parts = {p.name: _by_delay(p.connectivity, p.delays) for p in made.projections}

    def seen(*numbers: Array) -> None:
        for values in numbers:
            found.largest = max(found.largest, int(values.max(initial=0)), -int(values.min(initial=0)) - 1)

    for t in range(steps):
        for p in made.populations:
            if p.kernel is None:
                continue
            sums = np.zeros((2, samples, p.size), np.int64)
            for edge in made.afferents(p.name):
                for late, matrix in parts[edge.name].items():
                    if t - 1 - edge.delay - late >= 0:
                        sums[edge.receptor] += (found.spikes[edge.source][:, t - 1 - edge.delay - late] @ matrix).astype(np.int64)
            if p.kernel == "spinnaker1.source":
                found.spikes[p.name][:, t] = sums[0] > 0
                continue
            k, own = p.params, state[p.name]
            found.saturated += int((sums > 65535).sum())
            x = [np.minimum(sums[r], 65535) << k[f"shift_{r}"] for r in (0, 1)]
            seen(*x)
            resistance = (k["tau_m"] << 15) // k["cm"]
            if p.kernel == "spinnaker1.if_curr_exp":
                for r, tau in enumerate(("tau_syn_E", "tau_syn_I")):
                    keep, first = decay_and_init(k[tau], k["timestep"])
                    own[f"syn_{r}"] = (own[f"syn_{r}"] * keep >> 32) + (x[r] * first >> 32)
                x = [own["syn_0"], own["syn_1"]]
            elif p.kernel == "spinnaker1.if_curr_delta":
                x = [values * ((32768 << 15) // k["timestep"]) >> 15 for values in x]
            current = x[0] - x[1] + k["i_offset"]
            seen(*x, current)
            driven = current * resistance >> 15
            if p.kernel == "spinnaker1.if_trunc":
                seen(driven, driven + own["v"])
                v = np.maximum(driven + own["v"], k["v_reset"])
            else:
                alpha = driven + k["v_rest"]
                seen(alpha, alpha - own["v"])
                v = alpha - (expk(-((k["timestep"] << 15) // k["tau_m"])) * (alpha - own["v"]) >> 15)
            held = own["refract"] > 0
            v = np.where(held, own["v"], v)
            own["refract"] = np.where(held, own["refract"] - 1, own["refract"])
            seen(v)
            fired = v >= k["v_thresh"]
            found.spikes[p.name][:, t] = fired
            found.v[p.name][:, t] = own["v"] = np.where(fired, k["v_reset"], v)
    if samples == 1:
        found.spikes, found.v = ({name: values[0] for name, values in kind.items()} for kind in (found.spikes, found.v))
    return found


def fixed(made: QuantizedNetwork, given: dict[str, Array], steps: int) -> dict[str, Array]:
    """Return spikes by population from the reference simulator, shaped as those of `wide`."""
    names = [p.name for p in made.populations]
    run = simulate(made, KERNELS, given, steps, record=names).spikes
    return {name: spikes[0] if len(spikes) == 1 else spikes for name, spikes in run.items()}


def measured(net: Network, given: dict[str, Array], steps: int) -> tuple[Calibration, ...]:
    """Return what a network does on one sample, computed from `real`."""
    sent, _ = real(net, given, steps)
    found = []
    for population in net.populations:
        most = []
        for sign in (1, -1):
            sums = np.zeros((steps, population.size))
            for p in net.projections:
                if p.target == population.name:
                    for late, matrix in _by_delay(p.connectivity, p.delays).items():
                        before = min(steps, p.delay + late)
                        sums[before:] += sent[p.source][: steps - before] @ np.maximum(sign * matrix, 0)
            most.append(float(sums.max(initial=0)))
        per_step = sent[population.name].sum(1)
        found.append(Calibration(population.name, float(per_step.mean()), float(per_step.max()), most[0], most[1]))
    return tuple(found)
