from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.diagnostics import NmapError
from nmap.network import Network
from nmap.simulate import floating
from nmap.simulate.floating import simulate
from tests.unit.simulate.builders import edge, network, neuron, single, trace

_RNG = np.random.default_rng(3)


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
    assert trace(single(neuron(beta=0.5), conventions={"reset": reset}), inputs) == (spikes, potentials)


def test_the_comparison() -> None:
    assert trace(single(neuron()), [1.0, 0.5])[0] == [0, 1]
    assert trace(single(neuron(), conventions={"compare": ">="}), [1.0, 0.5])[0] == [1, 0]


def test_reset_value_and_drive() -> None:
    assert trace(single(neuron(beta=0.5, drive=0.25, v_reset=-1.0)), [1.0, 0.0]) == ([1, 0], [-1.0, -0.25])


def test_the_current_is_updated_before_the_potential_and_acts_in_the_same_step() -> None:
    run = simulate(
        single(neuron(alpha=0.5, gain_in=2.0, gain_v=0.25, beta=0.5, threshold=9.0)),
        np.array([[[1.0], [0.0], [0.0]]]),
        record=["n:u", "n:v"],
    )
    assert run.u["n"][0, :, 0].tolist() == [2.0, 1.0, 0.5]
    assert run.v["n"][0, :, 0].tolist() == [0.5, 0.5, 0.375]
    assert run.spikes == {}


def test_states_are_truncated_toward_zero() -> None:
    model = neuron(alpha=0.5, beta=0.75, threshold=99.0, quantum=1 / 4)
    run = simulate(single(model), np.array([[[-1.25], [0.0], [0.0]]]), record=["n:u", "n:v"])
    assert run.u["n"][0, :, 0].tolist() == [-1.25, -0.5, -0.25]
    assert run.v["n"][0, :, 0].tolist() == [-1.25, -1.25, -1.0]


@pytest.mark.parametrize("delay", [0, 1, 3])
def test_a_delay_shifts_the_effect(delay: int) -> None:
    spikes, _ = trace(single(neuron(threshold=0.5), delay=delay), [1.0, 0.0, 0.0, 0.0, 0.0])
    assert spikes == [int(t == delay) for t in range(5)]


def test_a_delay_beyond_the_run_has_no_effect() -> None:
    assert trace(single(neuron(threshold=0.5), delay=9), [1.0, 1.0])[0] == [0, 0]


def test_delays_per_synapse_add_to_the_projections() -> None:
    connection = edge("in", "n", Dense(np.array([[1.0, 2.0, 4.0]])), delay=1, delays=np.array([[0, 2, 1]]))
    net = network({"in": ((3,), None), "n": ((1,), neuron(beta=0.0, threshold=99.0))}, [connection])
    inputs = np.zeros((1, 6, 3), int)
    inputs[0, 0] = 1
    assert simulate(net, inputs, record=["n:v"]).v["n"][0, :, 0].tolist() == [0, 1, 4, 2, 0, 0]


def test_biases_act_from_the_first_step() -> None:
    net = single(neuron(beta=0.0, threshold=99.0), bias=np.array([0.5]), delay=2)
    assert trace(net, [1.0, 0.0, 0.0])[1] == [0.5, 0.5, 1.5]


def test_recurrent_projections_take_the_previous_step() -> None:
    """A spike travels once around a ring of three, one step per edge with delay 1."""
    ring = {name: ((1,), neuron(beta=0.0, threshold=0.5)) for name in "abc"}
    one = Dense(np.ones((1, 1)))
    edges = [edge("in", "a", one), edge("a", "b", one), edge("b", "c", one), edge("c", "a", one, delay=1)]
    net = network({"in": ((1,), None), **ring}, edges)
    inputs = np.zeros((1, 4, 1), int)
    inputs[0, 0] = 1
    run = simulate(net, inputs, record=["a", "b", "c"])
    assert {k: v[0, :, 0].tolist() for k, v in run.spikes.items()} == {name: [1, 1, 1, 1] for name in "abc"}
    late = network({"in": ((1,), None), **ring}, [edges[0], edge("a", "b", one, delay=1), edges[2], edges[3]])
    assert simulate(late, inputs, record=["b"]).spikes["b"][0, :, 0].tolist() == [0, 1, 0, 1]


def test_delays_per_synapse_inside_a_loop() -> None:
    loop = edge("n", "n", Dense(np.array([[0.0, 1.0], [1.0, 0.0]])), delay=1, delays=np.array([[0, 1], [0, 0]]))
    net = network({"in": ((2,), None), "n": ((2,), neuron(2, beta=0.0, threshold=0.5))}, [edge("in", "n", Dense(np.eye(2))), loop])
    inputs = np.zeros((1, 6, 2), int)
    inputs[0, 0, 0] = 1
    assert simulate(net, inputs).spikes["n"][0].tolist() == [[1, 0], [0, 1], [0, 0], [1, 0], [0, 1], [0, 0]]


def _reference(net: Network, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """The same equations, one neuron, one step and one synapse matrix at a time."""
    steps = inputs.shape[0]
    sent = {p.name: np.zeros((steps, p.size)) for p in net.populations}
    sent[net.inputs[0]] = inputs.reshape(steps, -1).astype(float)
    matrices = {p.name: p.connectivity.apply(np.eye(p.connectivity.in_size)).T for p in net.projections}
    state = {p.name: np.zeros(p.size) for p in net.populations}
    for t in range(steps):
        for population in net.populations:
            n = population.neuron
            if n is None:
                continue
            for k in range(population.size):
                x = 0.0
                for p in net.projections:
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
    hidden, out = neuron(conv.out_size, beta=0.8, threshold=0.9), neuron(5, beta=0.9, drive=0.01, threshold=0.7)
    sparse = _RNG.normal(size=(5, 5)) * (_RNG.random((5, 5)) < 0.4)
    sparse[2] = 0
    edges = [
        edge("in", "hidden", conv, bias=_RNG.normal(size=conv.out_size) * 0.1),
        edge("hidden", "out", Dense(_RNG.normal(size=(5, conv.out_size)))),
        edge("out", "out", Sparse.from_dense(sparse), delay=1),
        edge("in", "out", Sparse.from_dense(_RNG.normal(size=(5, 16)) * (_RNG.random((5, 16)) < 0.2)), delay=2),
    ]
    net = network({"in": ((1, 4, 4), None), "hidden": (conv.out_shape, hidden), "out": ((5,), out)}, edges)
    inputs = (_RNG.random((7, 12, 1, 4, 4)) < 0.3).astype(np.uint8)
    monkeypatch.setattr(floating, "_CHUNK_BYTES", 8 * 12 * conv.out_size * 3)
    calls: list[tuple[int, int]] = []
    run = simulate(net, inputs, record=["in", "hidden", "out"], progress=lambda done, total: calls.append((done, total)))
    assert calls == [(3, 7), (6, 7), (7, 7)]
    for sample in range(7):
        expected = _reference(net, inputs[sample])
        for name, spikes in run.spikes.items():
            np.testing.assert_array_equal(spikes[sample], expected[name], err_msg=name)
    assert run.spikes["hidden"].sum() > 0
    assert run.spikes["out"].dtype == np.uint8


def test_steps_cut_or_continue_the_input() -> None:
    net = single(neuron(threshold=0.5))
    inputs = np.ones((1, 3, 1), int)
    assert simulate(net, inputs, steps=2).spikes["n"][0, :, 0].tolist() == [1, 1]
    assert simulate(net, inputs, steps=5).spikes["n"][0, :, 0].tolist() == [1, 1, 1, 0, 0]
    assert simulate(net, inputs, steps=0).spikes["n"].shape == (1, 0, 1)


def test_an_output_that_does_not_spike_gives_its_potential() -> None:
    net = network({"in": ((1,), None), "n": ((2,), neuron(2, spiking=False))}, [edge("in", "n", Dense(np.array([[1.0], [-1.0]])))])
    run = simulate(net, np.ones((3, 4, 1), int))
    assert run.spikes == {}
    assert run.v["n"][0].tolist() == [[1, -1], [2, -2], [3, -3], [4, -4]]
    assert run.counts().tolist() == [[4, -4]] * 3
    assert run.accuracy(np.array([0, 0, 1])) == pytest.approx(2 / 3)


def test_counts_and_accuracy_of_spikes() -> None:
    net = network({"in": ((2,), None), "n": ((2,), neuron(2, threshold=0.5))}, [edge("in", "n", Dense(np.eye(2)))])
    inputs = np.array([[[1, 0], [1, 1]], [[0, 1], [0, 0]], [[1, 0], [0, 1]]])
    run = simulate(net, inputs)
    assert run.counts("n").tolist() == [[2, 1], [0, 1], [1, 1]]
    assert run.accuracy(np.array([0, 1, 0])) == 1.0
    assert run.accuracy(np.array([0, 1, 1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("inputs", "more", "code", "word"),
    [
        (np.ones((1, 3, 2)), {}, "NM802", "(1, 3, 2)"),
        (np.ones(3), {}, "NM802", "samples, time"),
        (np.array([[["a"]]]), {}, "NM802", "numbers"),
        (np.array([[[0.0], [np.nan]]]), {}, "NM802", "finite"),
        (np.ones((1, 3, 1)), {"record": ["m"]}, "NM004", "`m`"),
        (np.ones((1, 3, 1)), {"record": ["n:w"]}, "NM004", "n:w"),
        (np.ones((1, 3, 1)), {"record": ["in:v"]}, "NM004", "in:v"),
        (np.ones((1, 3, 1)), {"steps": -1}, "NM004", "negative"),
    ],
)
def test_wrong_use_is_a_diagnostic(inputs: np.ndarray, more: dict[str, Any], code: str, word: str) -> None:
    with pytest.raises(NmapError, match=re.escape(word)) as caught:
        simulate(single(neuron()), inputs, **more)
    assert [d.code for d in caught.value.diagnostics] == [code]


def _two_ports() -> Network:
    edges = [edge("left", "n", Dense(np.array([[1.0, 10.0]]))), edge("right", "n", Dense(np.array([[100.0]])))]
    return network({"left": ((2,), None), "right": ((1,), None), "n": ((1,), neuron(beta=0.0, threshold=999.0))}, edges)


def test_several_inputs_are_given_by_name() -> None:
    left, right = np.array([[[1, 0], [1, 1]]]), np.array([[[0.5], [0.0]]])
    run = simulate(_two_ports(), {"right": right, "left": left}, steps=3, record=["n:v", "left", "right"])
    assert run.v["n"][0, :, 0].tolist() == [51.0, 11.0, 0.0]
    assert run.spikes["left"].tolist() == [[[1, 0], [1, 1], [0, 0]]]
    assert run.spikes["left"].dtype == np.int64
    assert run.spikes["right"].ravel().tolist() == [0.5, 0.0, 0.0]
    assert run.counts("right").tolist() == [[0.5]]


def test_one_input_may_be_given_by_name_too() -> None:
    assert simulate(single(neuron(threshold=0.5)), {"in": np.ones((1, 2, 1), int)}).spikes["n"].ravel().tolist() == [1, 1]


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.ones((1, 3, 2)), ["2 inputs (`left`, `right`)"]),
        ({"left": np.ones((1, 3, 2))}, ["lack the input `right`"]),
        ({}, ["lack the inputs `left`, `right`"]),
        ({"left": np.ones((1, 3, 2)), "rigth": np.ones((1, 3, 1))}, ["`rigth`", "lack the input `right`"]),
        ({"left": np.ones((1, 3, 2)), "right": np.ones((1, 4, 1))}, ["different numbers"]),
        ({"left": np.ones((1, 3, 1)), "right": np.ones((1, 3, 2))}, ["inputs of `left`", "inputs of `right`"]),
    ],
)
def test_inputs_that_do_not_fit_several_ports(inputs: Any, words: list[str]) -> None:
    with pytest.raises(NmapError) as caught:
        simulate(_two_ports(), inputs)
    found = caught.value.diagnostics
    assert [d.code for d in found] == ["NM802"] * len(words)
    assert all(word in d.message for word, d in zip(words, found, strict=True))


def test_an_unknown_input_is_told_the_nearest_name() -> None:
    with pytest.raises(NmapError) as caught:
        simulate(_two_ports(), {"left": np.ones((1, 1, 2)), "rigth": np.ones((1, 1, 1))})
    assert caught.value.diagnostics[0].help == ("nearest name: `right`",)


def test_delays_per_synapse_of_a_sparse_projection() -> None:
    weights = Sparse.from_dense(np.array([[1.0, 0.0, 4.0], [0.0, 2.0, 0.0]]))
    net = network(
        {"in": ((3,), None), "n": ((2,), neuron(2, beta=0.0, threshold=99.0))}, [edge("in", "n", weights, delays=np.array([0, 3, 1]))]
    )
    inputs = np.zeros((1, 5, 3), int)
    inputs[0, 0] = 1
    assert simulate(net, inputs, record=["n:v"]).v["n"][0].tolist() == [[1, 0], [0, 2], [0, 0], [4, 0], [0, 0]]


def test_silent_neurons_send_their_potential() -> None:
    """An integrator (v = 0.5 v + x) feeds a neuron in the same step, and a loop one step later."""
    net = network(
        {"in": ((1,), None), "li": ((1,), neuron(beta=0.5, spiking=False)), "n": ((1,), neuron(beta=0.0, threshold=1.4))},
        [edge("in", "li", Dense(np.ones((1, 1)))), edge("li", "n", Dense(np.array([[0.5]])))],
    )
    inputs = np.array([[[2.0], [2.0], [0.0]]])
    run = simulate(net, inputs, record=["li", "li:spikes", "n", "n:v"])
    assert run.v["li"].ravel().tolist() == [2.0, 3.0, 1.5]
    assert run.spikes["li"].ravel().tolist() == [0, 0, 0]
    assert run.spikes["n"].ravel().tolist() == [0, 1, 0]
    back = network(
        {"in": ((1,), None), "n": ((1,), neuron(beta=0.0, spiking=False))},
        [edge("in", "n", Dense(np.ones((1, 1)))), edge("n", "n", Dense(np.array([[-0.5]])), delay=1)],
    )
    assert simulate(back, inputs).v["n"].ravel().tolist() == [2.0, 1.0, -0.5]
