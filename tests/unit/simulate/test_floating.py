from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Connectivity, Conv2d, Dense, Sparse
from nmap.diagnostics import NmapError
from nmap.network import Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.simulate import floating
from nmap.simulate.floating import simulate

_HERE = Provenance("net.nir", "/")
_RNG = np.random.default_rng(3)


def _neuron(n: int = 1, **values: Any) -> Neuron:
    fields: dict[str, Any] = {"alpha": 0.0, "gain_in": 1.0, "gain_v": 1.0, "beta": 1.0, "drive": 0.0, "threshold": 1.0, "v_reset": 0.0}
    flags = {k: values.pop(k) for k in ("spiking", "quantum") if k in values}
    fields |= values
    return Neuron("LIF", **{k: np.broadcast_to(np.asarray(v, float), n) for k, v in fields.items()}, **flags)


def _network(
    populations: dict[str, tuple[tuple[int, ...], Neuron | None]], edges: list[Projection], reset: Any = "zero", compare: Any = ">"
) -> Network:
    made = tuple(Population(name, shape, neuron, _HERE) for name, (shape, neuron) in populations.items())
    network = Network(
        "net.nir", "nir", "", made, tuple(edges), (made[0].name,), (made[-1].name,), Conventions(1.0, reset, "euler", compare)
    )
    network.check()
    return network


def _edge(source: str, target: str, connectivity: Connectivity, delay: int = 0, bias: Any = None, delays: Any = None) -> Projection:
    return Projection(f"{source}->{target}", source, target, connectivity, bias, delay, _HERE, delays)


def _single(neuron: Neuron, reset: Any = "zero", compare: Any = ">", **edge: Any) -> Network:
    return _network({"in": ((1,), None), "n": ((1,), neuron)}, [_edge("in", "n", Dense(np.ones((1, 1))), **edge)], reset, compare)


def _trace(network: Network, inputs: list[float]) -> tuple[list[int], list[float]]:
    run = simulate(network, np.array(inputs).reshape(1, -1, 1), record=["n", "n:v"])
    return run.spikes["n"][0, :, 0].tolist(), run.v["n"][0, :, 0].tolist()


@pytest.mark.parametrize(
    ("reset", "spikes", "potentials"),
    [
        ("zero", [0, 1, 0, 1], [0.75, 0.0, 0.75, 0.0]),
        ("subtract", [0, 1, 0, 1], [0.75, 0.125, 0.8125, 0.15625]),
        ("delayed", [0, 1, 0, 1], [0.75, 1.125, 0.3125, 0.90625 + 0.25]),
    ],
)
def test_resets_by_hand(reset: str, spikes: list[int], potentials: list[float]) -> None:
    inputs = [0.75, 0.75, 0.75, 1.0] if reset == "delayed" else [0.75] * 4
    assert _trace(_single(_neuron(beta=0.5), reset), inputs) == (spikes, potentials)


def test_the_comparison() -> None:
    assert _trace(_single(_neuron()), [1.0, 0.5])[0] == [0, 1]
    assert _trace(_single(_neuron(), compare=">="), [1.0, 0.5])[0] == [1, 0]


def test_reset_value_and_drive() -> None:
    assert _trace(_single(_neuron(beta=0.5, drive=0.25, v_reset=-1.0)), [1.0, 0.0]) == ([1, 0], [-1.0, -0.25])


def test_the_current_is_updated_before_the_potential_and_acts_in_the_same_step() -> None:
    run = simulate(
        _single(_neuron(alpha=0.5, gain_in=2.0, gain_v=0.25, beta=0.5, threshold=9.0)),
        np.array([[[1.0], [0.0], [0.0]]]),
        record=["n:u", "n:v"],
    )
    assert run.u["n"][0, :, 0].tolist() == [2.0, 1.0, 0.5]
    assert run.v["n"][0, :, 0].tolist() == [0.5, 0.5, 0.375]
    assert run.spikes == {}


def test_states_are_truncated_toward_zero() -> None:
    neuron = _neuron(alpha=0.5, beta=0.75, threshold=99.0, quantum=1 / 4)
    run = simulate(_single(neuron), np.array([[[-1.25], [0.0], [0.0]]]), record=["n:u", "n:v"])
    assert run.u["n"][0, :, 0].tolist() == [-1.25, -0.5, -0.25]
    assert run.v["n"][0, :, 0].tolist() == [-1.25, -1.25, -1.0]


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_delay_shifts_the_effect(delay: int) -> None:
    spikes, _ = _trace(_single(_neuron(threshold=0.5), delay=delay), [1.0, 0.0, 0.0, 0.0, 0.0])
    assert spikes == [int(t == delay) for t in range(5)]


def test_a_delay_beyond_the_run_has_no_effect() -> None:
    assert _trace(_single(_neuron(threshold=0.5), delay=9), [1.0, 1.0])[0] == [0, 0]


def test_delays_per_synapse_add_to_the_projections() -> None:
    edge = _edge("in", "n", Dense(np.array([[1.0, 2.0, 4.0]])), delay=1, delays=np.array([[0, 2, 1]]))
    network = _network({"in": ((3,), None), "n": ((1,), _neuron(beta=0.0, threshold=99.0))}, [edge])
    inputs = np.zeros((1, 6, 3), int)
    inputs[0, 0] = 1
    assert simulate(network, inputs, record=["n:v"]).v["n"][0, :, 0].tolist() == [0, 1, 4, 2, 0, 0]


def test_biases_act_from_the_first_step() -> None:
    network = _single(_neuron(beta=0.0, threshold=99.0), bias=np.array([0.5]), delay=2)
    assert _trace(network, [1.0, 0.0, 0.0])[1] == [0.5, 0.5, 1.5]


def test_recurrent_projections_take_the_previous_step() -> None:
    """A spike travels once around a ring of three, one step per edge with delay 1."""
    ring = {name: ((1,), _neuron(beta=0.0, threshold=0.5)) for name in "abc"}
    one = Dense(np.ones((1, 1)))
    edges = [_edge("in", "a", one), _edge("a", "b", one), _edge("b", "c", one), _edge("c", "a", one, delay=1)]
    network = _network({"in": ((1,), None), **ring}, edges)
    inputs = np.zeros((1, 4, 1), int)
    inputs[0, 0] = 1
    run = simulate(network, inputs, record=["a", "b", "c"])
    assert {k: v[0, :, 0].tolist() for k, v in run.spikes.items()} == {name: [1, 1, 1, 1] for name in "abc"}
    late = _network({"in": ((1,), None), **ring}, [edges[0], _edge("a", "b", one, delay=1), edges[2], edges[3]])
    assert simulate(late, inputs, record=["b"]).spikes["b"][0, :, 0].tolist() == [0, 1, 0, 1]


def test_delays_per_synapse_inside_a_loop() -> None:
    loop = _edge("n", "n", Dense(np.array([[0.0, 1.0], [1.0, 0.0]])), delay=1, delays=np.array([[0, 1], [0, 0]]))
    network = _network({"in": ((2,), None), "n": ((2,), _neuron(2, beta=0.0, threshold=0.5))}, [_edge("in", "n", Dense(np.eye(2))), loop])
    inputs = np.zeros((1, 6, 2), int)
    inputs[0, 0, 0] = 1
    assert simulate(network, inputs).spikes["n"][0].tolist() == [[1, 0], [0, 1], [0, 0], [1, 0], [0, 1], [0, 0]]


def _reference(network: Network, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The same equations, one neuron, one step and one synapse matrix at a time."""
    steps = inputs.shape[0]
    sent = {p.name: np.zeros((steps, p.size)) for p in network.populations}
    sent[network.inputs[0]] = inputs.reshape(steps, -1).astype(float)
    matrices = {p.name: p.connectivity.apply(np.eye(p.connectivity.in_size)).T for p in network.projections}
    state = {p.name: np.zeros(p.size) for p in network.populations}
    for t in range(steps):
        for population in network.populations:
            n = population.neuron
            if n is None:
                continue
            for k in range(population.size):
                x = 0.0
                for p in network.projections:
                    if p.target == population.name:
                        x += (0 if p.bias is None else p.bias[k]) + (
                            matrices[p.name][k] @ sent[p.source][t - p.delay] if t >= p.delay else 0
                        )
                v = n.beta[k] * state[population.name][k] + n.gain_v[k] * x + n.drive[k]
                fired = v > n.threshold[k]
                sent[population.name][t, k] = fired
                state[population.name][k] = n.v_reset[k] if fired else v
    return sent


def test_a_mixed_network_equals_the_equations_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    conv = Conv2d(_RNG.normal(size=(2, 1, 2, 2)), (1, 4, 4), (1, 1), (1, 0))
    hidden, out = _neuron(conv.out_size, beta=0.8, threshold=0.9), _neuron(5, beta=0.9, drive=0.01, threshold=0.7)
    sparse = _RNG.normal(size=(5, 5)) * (_RNG.random((5, 5)) < 0.4)
    sparse[2] = 0
    edges = [
        _edge("in", "hidden", conv, bias=_RNG.normal(size=conv.out_size) * 0.1),
        _edge("hidden", "out", Dense(_RNG.normal(size=(5, conv.out_size)))),
        _edge("out", "out", Sparse.from_dense(sparse), delay=1),
        _edge("in", "out", Sparse.from_dense(_RNG.normal(size=(5, 16)) * (_RNG.random((5, 16)) < 0.2)), delay=2),
    ]
    network = _network({"in": ((1, 4, 4), None), "hidden": (conv.out_shape, hidden), "out": ((5,), out)}, edges)
    inputs = (_RNG.random((7, 12, 1, 4, 4)) < 0.3).astype(np.uint8)
    monkeypatch.setattr(floating, "_CHUNK_BYTES", 8 * 12 * conv.out_size * 3)
    calls: list[tuple[int, int]] = []
    run = simulate(network, inputs, record=["in", "hidden", "out"], progress=lambda done, total: calls.append((done, total)))
    assert calls == [(3, 7), (6, 7), (7, 7)]
    for sample in range(7):
        expected = _reference(network, inputs[sample])
        for name, spikes in run.spikes.items():
            np.testing.assert_array_equal(spikes[sample], expected[name], err_msg=name)
    assert run.spikes["hidden"].sum() > 0
    assert run.spikes["out"].dtype == np.uint8


def test_steps_cut_or_continue_the_input() -> None:
    network = _single(_neuron(threshold=0.5))
    inputs = np.ones((1, 3, 1), int)
    assert simulate(network, inputs, steps=2).spikes["n"][0, :, 0].tolist() == [1, 1]
    assert simulate(network, inputs, steps=5).spikes["n"][0, :, 0].tolist() == [1, 1, 1, 0, 0]
    assert simulate(network, inputs, steps=0).spikes["n"].shape == (1, 0, 1)


def test_an_output_that_does_not_spike_gives_its_potential() -> None:
    network = _network({"in": ((1,), None), "n": ((2,), _neuron(2, spiking=False))}, [_edge("in", "n", Dense(np.array([[1.0], [-1.0]])))])
    run = simulate(network, np.ones((3, 4, 1), int))
    assert run.spikes == {}
    assert run.v["n"][0].tolist() == [[1, -1], [2, -2], [3, -3], [4, -4]]
    assert run.counts().tolist() == [[4, -4]] * 3
    assert run.accuracy(np.array([0, 0, 1])) == pytest.approx(2 / 3)


def test_counts_and_accuracy_of_spikes() -> None:
    network = _network({"in": ((2,), None), "n": ((2,), _neuron(2, threshold=0.5))}, [_edge("in", "n", Dense(np.eye(2)))])
    inputs = np.array([[[1, 0], [1, 1]], [[0, 1], [0, 0]], [[1, 0], [0, 1]]])
    run = simulate(network, inputs)
    assert run.counts("n").tolist() == [[2, 1], [0, 1], [1, 1]]
    assert run.accuracy(np.array([0, 1, 0])) == 1.0
    assert run.accuracy(np.array([0, 1, 1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("inputs", "more", "code", "word"),
    [
        (np.ones((1, 3, 2)), {}, "NM802", "(1, 3, 2)"),
        (np.ones(3), {}, "NM802", "samples, time"),
        (np.array([[["a"]]]), {}, "NM802", "numbers"),
        (np.ones((1, 3, 1)), {"record": ["m"]}, "NM004", "`m`"),
        (np.ones((1, 3, 1)), {"record": ["n:w"]}, "NM004", "n:w"),
        (np.ones((1, 3, 1)), {"record": ["in:v"]}, "NM004", "in:v"),
        (np.ones((1, 3, 1)), {"steps": -1}, "NM004", "negative"),
    ],
)
def test_wrong_use_is_a_diagnostic(inputs: np.ndarray, more: dict[str, Any], code: str, word: str) -> None:
    with pytest.raises(NmapError, match=re.escape(word)) as caught:
        simulate(_single(_neuron()), inputs, **more)
    assert [d.code for d in caught.value.diagnostics] == [code]
