"""Random networks on SpiNNaker 2: weights in range, chip equal to reference and to a naive run of the written arrays, bit for bit."""

from __future__ import annotations

import io
import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.connectivity import Array, Dense
from nmap.diagnostics import Findings
from nmap.emulate.engine import emulate
from nmap.network import Conventions, Network, Neuron
from nmap.options import Options
from nmap.simulate.fixed import simulate
from nmap.target.registry import find_partitioner
from nmap.testing.networks import build
from nmap.testing.targets import compile_network
from nmap_spinnaker.second.quantize import start_values
from nmap_spinnaker.spinnaker2 import TARGET

F = np.float32


def drawn(seed: int, current: bool, delayed: bool, reset: str, compare: str) -> Network:
    rng = np.random.default_rng(seed)
    inputs, hidden, outputs = (int(n) for n in rng.integers(1, 9, 3))
    dt = float(rng.choice([1e-4, 5e-4, 1e-3, 2e-3]))

    def cells(n: int) -> Neuron:
        tau, synapse = rng.uniform(2 * dt, 20 * dt, n), rng.uniform(1.5 * dt, 8 * dt, n)
        return Neuron(
            "CubaLIF" if current else "LIF", 1 - dt / synapse if current else np.zeros(n), dt / synapse if current else np.ones(n),
            dt / tau * rng.uniform(0.5, 2, n), 1 - dt / tau, np.zeros(n), rng.uniform(0.01, 0.3, n), np.zeros(n),
        )

    weights = [rng.normal(0.4, 0.6, shape) for shape in ((hidden, inputs), (hidden, hidden), (outputs, hidden))]
    network = build(
        "random.nir", {"input": ((inputs,), None), "hidden": ((hidden,), cells(hidden)), "output": ((outputs,), cells(outputs))},
        [
            (
                "input", "hidden", Dense(weights[0]), None if current else rng.normal(0, 0.02, hidden),
                int(rng.integers(0, 5)) if delayed else 0,
            ),
            ("hidden", "hidden", Dense(weights[1]), None, 1), ("hidden", "output", Dense(weights[2]), None, 0),
        ],
        conventions=Conventions(dt, reset, compare=compare),  # type: ignore[arg-type]
    )
    network.check()
    return network


def naive(content: bytes, inputs: Array, steps: int) -> dict[str, Array]:
    """Run what `network.npz` says, sample by sample and neuron by neuron."""
    with np.load(io.BytesIO(content)) as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(arrays["meta"].tobytes())
    entries = meta["populations"]
    spikes = {entry["name"]: np.zeros((len(inputs), steps, len(arrays[f"p{k}.order"])), np.int64) for k, entry in enumerate(entries)}
    for sample, columns in enumerate(inputs):
        spikes[entries[0]["name"]][sample, : len(columns)] = columns
        states = {}
        for k in range(len(entries)):
            for place, neuron in enumerate(arrays[f"p{k}.order"]):
                start = arrays[f"p{k}.v_init"][place] if f"p{k}.v_init" in arrays else F(0)
                states[k, int(neuron)] = [F(start), F(0), F(0), place]
        for t in range(steps):
            arrived: dict[tuple[int, int], list[int]] = {}
            for number, (source, target) in enumerate(meta["projections"]):
                sent = spikes[entries[source]["name"]][sample]
                for a, b, w, d in zip(*(arrays[f"e{number}.{name}"].tolist() for name in ("pre", "post", "weight", "delay")), strict=True):
                    if t - 1 - d >= 0 and sent[t - 1 - d, a]:
                        arrived.setdefault((target, b), [0, 0])[w < 0] += abs(w)
            for (k, neuron), (v, up, down, place) in states.items():
                if entries[k]["input"]:
                    continue
                p = {name.partition(".")[2]: values[place] for name, values in arrays.items() if name.startswith(f"p{k}.")}
                more, less = arrived.get((k, neuron), [0, 0])
                total = F(more - less)
                if "exc_decay" in p:
                    up, down = p["exc_decay"] * up + F(more), p["inh_decay"] * down + F(less)
                    total = up - down
                v = p["alpha_decay"] * v + total + p["i_offset"]
                if v > p["threshold"]:
                    spikes[entries[k]["name"]][sample, t, neuron] = 1
                    v = v - p["threshold"] if entries[k]["reset"] == "reset_by_subtraction" else p["v_reset"]
                assert isinstance(v, F)
                states[k, neuron] = [v, up, down, place]
    return spikes


@settings(max_examples=15, deadline=None)
@given(
    st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.sampled_from(["zero", "subtract"]), st.sampled_from([">", ">="]),
)
def test_chip_reference_and_the_written_arrays_agree(seed: int, current: bool, delayed: bool, reset: str, compare: str) -> None:
    network = drawn(seed, current, delayed, reset, compare)
    made = compile_network(TARGET, network, find_partitioner("greedy"), Options(partitioner="greedy", effort=0, seed=1))
    for p in made.quantized.projections:
        top = 15 if made.quantized[p.target].kernel in ("spinnaker2.lif", "spinnaker2.lif_curr_exp") else 127
        assert np.abs(p.connectivity.weights).max(initial=0) <= top
        assert p.delay <= (7 if top == 15 else 0)
    inputs = (np.random.default_rng([seed, 1]).random((2, 16, network["input"].size)) < 0.4).astype(np.int32)
    steps, names = 16 + made.quantized.latency, ["hidden", "output"]
    chip = emulate(made.program, TARGET.kernels, inputs, steps, record=names)
    fixed = simulate(made.quantized, TARGET.kernels, inputs, steps, record=names)
    written = naive(TARGET.emit(made.quantized, made.program)["network.npz"], inputs, steps)
    for name in names:
        np.testing.assert_array_equal(chip.spikes[name], fixed.spikes[name])
        np.testing.assert_array_equal(chip.spikes[name].reshape(2, steps, -1), written[name])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["zero", "subtract"]))
def test_conversion_is_the_networks_own_equation_in_units_of_weights(seed: int, reset: str) -> None:
    network = drawn(seed, True, False, reset, ">")
    quantized = TARGET.quantize(network, Options(), Findings())
    for population in network.populations:
        neuron = population.neuron
        if not isinstance(neuron, Neuron):
            continue
        largest = max(float(np.abs(p.connectivity.weights).max()) for p in network.projections if p.target == population.name)
        params = quantized[population.name].params
        held = params["threshold"].astype(np.int32).view(F).astype(np.float64)
        np.testing.assert_allclose(held, neuron.threshold / neuron.gain_in / neuron.gain_v * 127 / largest, rtol=1e-6)
        for key, exact in (("alpha_decay", neuron.beta), ("exc_decay", neuron.alpha)):
            np.testing.assert_array_equal(params[key].astype(np.int32).view(F), exact.astype(F))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5))
def test_start_values_are_exact_or_not_there(seed: int, steps: int) -> None:
    rng = np.random.default_rng(seed)
    decay, offset, threshold = rng.choice([0.0, 0.3, 0.9, 1.0], 20), rng.normal(0, 1, 20), rng.uniform(0.1, 4, 20)
    start, possible = start_values(decay, offset, threshold, steps)
    v = start.copy()
    for _ in range(steps):
        assert (v[possible & (decay > 0)] <= threshold[possible & (decay > 0)]).all()
        v = decay * v + offset
    kept = possible & (decay > 0)
    np.testing.assert_allclose(v[kept], 0, atol=1e-9)
    assert (start[~possible] == 0).all()
