"""Each convention by hand, and all of them against the equations written out neuron by neuron."""

from __future__ import annotations

from itertools import product
from math import trunc
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.diagnostics import NmapError
from nmap.network import Conventions, Neuron
from nmap.simulate.floating import simulate
from tests.unit.simulate.builders import edge, network, neuron, run, single, trace


def _net(reset: str = "subtract", /, **conventions: Any) -> Any:
    return single(neuron(threshold=1.0), conventions={"reset": reset, "compare": ">=", **conventions})


def test_several_spikes_take_their_thresholds_off() -> None:
    assert trace(_net(multiple=True), [3.5, 0.5, 0.25, -4.0]) == ([3, 1, 0, 0], [0.5, 0.0, 0.25, -3.75])
    assert trace(_net("delayed", multiple=True), [2.5, 0.0, 0.5]) == ([2, 0, 1], [2.5, 0.5, 1.0])
    assert trace(_net("zero", multiple=True), [2.5, 0.5]) == ([2, 0], [0.0, 0.5])


def test_several_spikes_weigh_on_what_they_reach() -> None:
    net = network(
        {"in": ((1,), None), "a": ((1,), neuron()), "n": ((1,), neuron(threshold=9.0))},
        [edge("in", "a", Dense(np.ones((1, 1)))), edge("a", "n", Dense(np.array([[0.25]])))],
        reset="subtract",
        multiple=True,
    )
    result = run(net, [3.5, 0.0, 1.0])
    assert result.v["n"][0, :, 0].tolist() == [0.75, 0.75, 1.0]


def test_the_comparison_decides_about_the_first_of_several_spikes() -> None:
    assert trace(_net(multiple=True), [1.0])[0] == [1]
    assert trace(_net(multiple=True, compare=">"), [1.0, 1.0])[0] == [0, 2]


def test_a_threshold_that_cannot_be_counted_in_gives_one_spike() -> None:
    net = single(neuron(threshold=0.0), conventions={"reset": "subtract", "compare": ">=", "multiple": True})
    assert trace(net, [5.0, -9.0])[0] == [1, 0]


def test_types_of_spikes() -> None:
    assert run(_net(), [2.0]).spikes["n"].dtype == np.uint8
    assert run(_net(multiple=True), [300.0]).spikes["n"].dtype == np.int32
    assert run(_net(multiple=True), [300.0]).spikes["n"].ravel().tolist() == [300]


@pytest.mark.parametrize("value", [2.0**31, 1e300])
def test_a_message_beyond_32_bits_is_a_diagnostic(value: float) -> None:
    assert run(_net(multiple=True), [2.0**31 - 1]).spikes["n"].ravel().tolist() == [2**31 - 1]
    with pytest.raises(NmapError, match="`n` send") as caught:
        run(_net(multiple=True), [value])
    assert [d.code for d in caught.value.diagnostics] == ["NM802"]


def test_the_floor_holds_v_after_the_step() -> None:
    net = single(neuron(threshold=2.0), conventions={"reset": "subtract", "floor": -1.0})
    assert trace(net, [-1.5, -1.5, 1.0, 4.0]) == ([0, 0, 0, 1], [-1.5, -2.0, -1.0, 1.0])


def test_the_floor_is_no_matter_of_neurons_that_never_fire() -> None:
    net = single(neuron(threshold=np.inf, spiking=False), conventions={"floor": 0.0})
    assert simulate(net, np.full((1, 2, 1), -1.5)).v["n"].ravel().tolist() == [-1.5, -3.0]


def test_snntorchs_subtraction_in_the_same_step() -> None:
    """By hand with beta = 1/2, threshold 1: v = 3 fires and is left at 2, above the threshold; see the second step.

    Step 2: 2 / 2 + 0.5 - 1 = 0.5 does not fire, although 1.5 would have, and the threshold is given back: 1.5.
    Step 3: 1.5 / 2 + 1.5 - 1 = 1.25 fires, the one taken off early counts: 1.25. Step 4: 1.25 / 2 - 1 < 1: 0.625.
    """
    inputs = [3.0, 0.5, 1.5, 0.0]
    early = single(neuron(beta=0.5), conventions={"reset": "subtract", "early_reset": True})
    assert trace(early, inputs) == ([1, 0, 1, 0], [2.0, 1.5, 1.25, 0.625])
    plain = single(neuron(beta=0.5), conventions={"reset": "subtract"})
    assert trace(plain, inputs) == ([1, 1, 1, 0], [2.0, 0.5, 0.75, 0.375])


def test_a_lag_shifts_spikes_and_not_the_reset() -> None:
    assert trace(_net(lag=1), [1.5, 0.5, 0.0, 0.0]) == ([0, 1, 1, 0], [0.5, 0.0, 0.0, 0.0])
    assert trace(_net(lag=9), [1.5, 0.5])[0] == [0, 0]
    # Spyx, V = V + x - spikes with spikes of the V before: the reset comes with the spike.
    assert trace(_net("delayed", lag=1), [1.5, 0.0, 0.75]) == ([0, 1, 0], [1.5, 0.5, 1.25])


def test_an_integrator_has_no_lag() -> None:
    net = network(
        {"in": ((1,), None), "li": ((1,), neuron(spiking=False)), "n": ((1,), neuron(threshold=9.0, beta=0.0))},
        [edge("in", "li", Dense(np.ones((1, 1)))), edge("li", "n", Dense(np.ones((1, 1))))],
        lag=1,
    )
    assert run(net, [1.0, 2.0]).v["n"].ravel().tolist() == [1.0, 3.0]


def test_late_spikes_reach_the_loop_in_the_step_in_which_they_are_sent() -> None:
    net = network(
        {"in": ((1,), None), "n": ((1,), neuron(threshold=1.0, beta=0.0))},
        [edge("in", "n", Dense(np.ones((1, 1)))), edge("n", "n", Dense(np.full((1, 1), 0.25)), delay=0)],
        reset="subtract",
        lag=1,
    )
    assert trace(net, [2.0, 0.0, 0.0]) == ([0, 1, 0], [1.0, 0.25, 0.0])


def test_a_bias_may_begin_later() -> None:
    net = single(neuron(beta=0.0, threshold=9.0), bias=[0.5], bias_from=2, delay=1)
    assert trace(net, [1.0, 1.0, 0.0, 0.0])[1] == [0.0, 1.0, 1.5, 0.5]


def _step(n: Neuron, k: int, c: Conventions, state: dict[str, float], x: float) -> int:
    """One neuron, one step, in Python numbers: the equations of `Neuron` and `Conventions`."""
    above = (lambda v: v > n.threshold[k]) if c.compare == ">" else (lambda v: v >= n.threshold[k])
    before = 1 if c.early_reset and above(state["v"]) else 0
    state["i"] = n.alpha[k] * state["i"] + n.gain_in[k] * x
    v = n.beta[k] * state["v"] + n.gain_v[k] * state["i"] + n.drive[k]
    if c.reset == "delayed":
        v -= n.threshold[k] * state["spikes"]
    v -= before * n.threshold[k]
    spikes = 0
    if above(v):
        spikes = max(1, trunc(v / n.threshold[k])) if c.multiple else 1
    if c.reset == "zero" and spikes:
        v = n.v_reset[k]
    if c.reset == "subtract":
        v -= n.threshold[k] * (spikes - before)
    if c.floor is not None:
        v = max(v, c.floor * n.threshold[k])
    state["v"], state["spikes"] = v, spikes
    return spikes


@pytest.mark.parametrize(
    ("reset", "compare", "multiple", "floor", "lag", "early"),
    [
        case
        for case in product(("zero", "subtract", "delayed"), (">", ">="), (False, True), (None, -0.5), (0, 2), (False, True))
        if not case[5] or case[0] == "subtract"
    ],
)
def test_recurrent_networks_equal_the_equations_written_out(
    reset: Any, compare: Any, multiple: bool, floor: float | None, lag: int, early: bool
) -> None:
    """Values are multiples of 1/8, so that v meets the threshold exactly and no sum is rounded."""
    rng = np.random.default_rng(5)
    size, steps = 6, 24

    def grid(low: float, high: float, *shape: int) -> np.ndarray:
        return rng.integers(int(low * 8), int(high * 8) + 1, shape) / 8

    model = neuron(
        size, alpha=np.full(size, 0.5), beta=rng.choice([0.5, 1.0, 0.0], size), drive=grid(-0.25, 0.25, size),
        threshold=grid(0.5, 1.5, size), v_reset=grid(-0.5, 0.25, size),
    )  # fmt: skip
    first, back, bias = grid(-1, 2, size, 3), grid(-0.5, 0.5, size, size), grid(-0.25, 0.5, size)
    edges = [edge("in", "n", Dense(first)), edge("n", "n", Dense(back), delay=1, bias=bias, bias_from=3)]
    conventions = {"reset": reset, "compare": compare, "multiple": multiple, "floor": floor, "lag": lag, "early_reset": early}
    net = network({"in": ((3,), None), "n": ((size,), model)}, edges, **conventions)
    inputs = rng.integers(0, 3, (2, steps, 3))
    result = simulate(net, inputs, record=["n", "n:v"])
    for sample in range(2):
        states = [{"i": 0.0, "v": 0.0, "spikes": 0.0} for _ in range(size)]
        sent = np.zeros((steps + lag, size))
        for t in range(steps):
            feedback = sent[t - 1] if t else np.zeros(size)
            for k in range(size):
                x = float(first[k] @ inputs[sample, t] + back[k] @ feedback) + (bias[k] if t >= 3 else 0)
                sent[t + lag, k] = _step(model, k, net.conventions, states[k], x)
                assert result.v["n"][sample, t, k] == states[k]["v"], (t, k)
        np.testing.assert_array_equal(result.spikes["n"][sample], sent[:steps])
    assert 0 < np.count_nonzero(result.spikes["n"]) < result.spikes["n"].size
    assert multiple == bool(result.spikes["n"].max() > 1)
