"""The neuron models beside LIF, by hand and against their equations in integers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.network import Adaptation, Network, Resonator, SigmaDelta
from nmap.simulate.floating import simulate
from tests.unit.simulate.builders import edge, network, neuron, run, single, trace


def _adaptation(n: int = 1, *, quantum: float | None = None, **values: float) -> Adaptation:
    fields = {"threshold_decay": 0.5, "refractory_decay": 0.5, "step": 1.0} | values
    return Adaptation(**{k: np.full(n, v) for k, v in fields.items()}, quantum=quantum)


def test_an_adaptive_threshold_rises_with_a_spike_and_decays() -> None:
    """v = 4 stays. Threshold 1: it fires, theta becomes 2, rho 2. Then theta = 1 + (2 - 1)/2 = 1.5, rho = 1: 4 >= 2.5 fires,
    theta = 2.5, rho = 1 + 3 = 4. Then theta = 1.75, rho = 2: 4 >= 3.75 fires, theta = 2.75, rho = 5.5. Then 1.875 + 2.75 > 4.
    """
    net = single(neuron(adaptation=_adaptation()), conventions={"reset": "subtract"})
    assert trace(net, [4.0, 0.0, 0.0, 0.0]) == ([1, 1, 1, 0], [4.0] * 4)


def test_an_adaptive_neuron_fires_on_equality_and_once_whatever_the_conventions() -> None:
    net = single(neuron(adaptation=_adaptation()), conventions={"compare": ">", "multiple": True, "floor": -1.0})
    result = run(net, [1.0, -9.0])
    assert result.spikes["n"].ravel().tolist() == [1, 0]
    assert result.spikes["n"].dtype == np.uint8
    assert result.v["n"].ravel().tolist() == [1.0, -8.0]


def _resonator(n: int = 1, **values: Any) -> Resonator:
    flags = {k: values.pop(k) for k in ("firing", "quantum", "adaptation") if k in values}
    fields = {"cos": 0.0, "sin": 1.0, "threshold": 1.0, "drive": 0.0} | values
    return Resonator("RF", **{k: np.broadcast_to(np.asarray(v, float), n) for k, v in fields.items()}, **({"firing": "phase"} | flags))


def _two_receptors(model: Resonator) -> Network:
    one = Dense(np.ones((1, 1)))
    return network(
        {"re": ((1,), None), "im": ((1,), None), "n": ((1,), model)}, [edge("re", "n", one), edge("im", "n", one, receptor="imaginary")]
    )


def _state(model: Resonator, real: list[float], imaginary: list[float]) -> tuple[list[float], list[float], list[int]]:
    inputs = {"re": np.array(real).reshape(1, -1, 1), "im": np.array(imaginary).reshape(1, -1, 1)}
    result = simulate(_two_receptors(model), inputs, record=["n", "n:u", "n:v"])
    return result.u["n"].ravel().tolist(), result.v["n"].ravel().tolist(), result.spikes["n"].ravel().tolist()


def test_a_resonator_turns_and_fires_where_im_crosses_zero_upwards() -> None:
    """A quarter turn a step, from 2 on the real axis: 2, 2i, -2, -2i, 2 (fires: im was -2 and is 0)."""
    re, im, spikes = _state(_resonator(), [2.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 5)
    assert (re, im, spikes) == ([2, 0, -2, 0, 2], [0, 2, 0, -2, 0], [0, 0, 0, 0, 1])
    assert _state(_resonator(threshold=2.5), [2.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 5)[2] == [0] * 5


def test_the_receptors_and_the_drive_of_a_resonator() -> None:
    re, im, _ = _state(_resonator(cos=0.5, sin=0.25, drive=0.5, threshold=99.0), [1.0, 0.0], [4.0, 1.0])
    assert (re, im) == ([1.5, 0.25], [4.0, 3.375])


def test_an_izhikevich_resonator_is_reset_on_the_imaginary_axis() -> None:
    re, im, spikes = _state(_resonator(firing="izhikevich", threshold=2.0, quantum=1 / 64), [0.0, 0.0], [2.0, 0.0])
    assert (re, im, spikes) == ([0.0, -(2 - 1 / 64)], [2 - 1 / 64, 0.0], [1, 0])
    assert _state(_resonator(firing="izhikevich", threshold=2.0), [0.0], [2.0])[1] == [2.0]


def test_a_loop_to_the_imaginary_part() -> None:
    """Izhikevich, no rotation: the spike of step 0 (im = 2 >= 1) comes back to im, not to re, with weight -3 in step 1."""
    model = _resonator(firing="izhikevich", sin=0.0)
    net = _two_receptors(model)
    loop = edge("n", "n", Dense(np.full((1, 1), -3.0)), delay=1, receptor="imaginary")
    net = replace(net, projections=(*net.projections, loop))
    zeros = np.zeros((1, 3, 1))
    result = simulate(net, {"re": zeros, "im": np.array([[[2.0], [0.5], [0.0]]])}, record=["n", "n:u", "n:v"])
    assert result.spikes["n"].ravel().tolist() == [1, 0, 0]
    assert result.u["n"].ravel().tolist() == [0.0, 0.0, 0.0]
    assert result.v["n"].ravel().tolist() == [1.0, -2.5, 0.0]


def _shifted(product: int) -> int:
    """A product of 12-bit factors, shifted right toward zero."""
    return (abs(product) >> 12) * (1 if product >= 0 else -1)


@pytest.mark.parametrize("firing", ["phase", "izhikevich"])
@pytest.mark.parametrize("adaptive", [False, True])
def test_resonators_equal_integer_arithmetic(firing: Any, adaptive: bool) -> None:
    """Decays in 12 bits, states in 1/64: the same in Python integers, one step after the other."""
    rng = np.random.default_rng(11)
    sin, cos, threshold, decays = 1187, 3731, 96, (3500, 3900)
    adaptation = _adaptation(quantum=1 / 64, threshold_decay=decays[0] / 4096, refractory_decay=decays[1] / 4096, step=0.25)
    model = _resonator(
        cos=cos / 4096, sin=sin / 4096, threshold=threshold / 64, firing=firing, quantum=1 / 64, adaptation=adaptation if adaptive else None
    )
    real, imaginary = rng.integers(-64, 65, (2, 200))
    re, im, spikes = _state(model, (real / 64).tolist(), (imaginary / 64).tolist())
    a, b, theta, rho = 0, 0, threshold, 0
    expected = []
    for x, y in zip(real.tolist(), imaginary.tolist(), strict=True):
        new_a = _shifted(cos * a) - _shifted(sin * b) + x
        new_b = _shifted(sin * a) + _shifted(cos * b) + y
        theta, rho = threshold + _shifted(decays[0] * (theta - threshold)), _shifted(decays[1] * rho)
        level = theta + rho if adaptive else threshold
        fires = new_a >= level and new_b >= 0 > b if firing == "phase" else new_b >= level
        a, b = new_a, new_b
        if fires and adaptive:
            theta, rho = theta + 16, rho + 2 * theta
        elif fires and firing == "izhikevich":
            a, b = 0, threshold - 1
        expected.append((a / 64, b / 64, int(fires)))
    assert list(zip(re, im, spikes, strict=True)) == expected
    assert sum(spikes) > 3


def test_adaptive_neurons_equal_integer_arithmetic() -> None:
    rng = np.random.default_rng(12)
    alpha, beta, threshold, step, decays = 3000, 3600, 64, 24, (3700, 2900)
    adaptation = _adaptation(quantum=1 / 64, threshold_decay=decays[0] / 4096, refractory_decay=decays[1] / 4096, step=step / 64)
    model = neuron(alpha=alpha / 4096, beta=beta / 4096, threshold=threshold / 64, quantum=1 / 64, adaptation=adaptation)
    inputs = rng.integers(-8, 33, 300)
    spikes, v = trace(single(model), (inputs / 64).tolist())
    i, state, theta, rho = 0, 0, threshold, 0
    expected = []
    for x in inputs.tolist():
        i = _shifted(alpha * i) + x
        state = _shifted(beta * state) + i
        theta, rho = threshold + _shifted(decays[0] * (theta - threshold)), _shifted(decays[1] * rho)
        fires = state >= theta + rho
        if fires:
            theta, rho = theta + step, rho + 2 * theta
        expected.append((int(fires), state / 64))
    assert list(zip(spikes, v, strict=True)) == expected
    assert 5 < sum(spikes) < 200


def _sigma_delta(role: Any, n: int = 1, **values: Any) -> SigmaDelta:
    fields = {"threshold": np.zeros(n), "bias": np.zeros(n)} | {k: np.full(n, values.pop(k)) for k in ("threshold", "bias") if k in values}
    return SigmaDelta("SDNN", role, **fields, **values)


def test_delta_neurons_send_changes_that_are_large_enough() -> None:
    """In units of 1/4 of a message: inputs 3, 4, 9, 9 are 12, 16, 36, 36 (times 2^(1+1)), threshold 5.

    d = 12: sends 12 / 2 = 6. d = 4: nothing, 4 stay. d = 20 + 4: sends 12. d = 0.
    """
    net = single(_sigma_delta("delta", threshold=5.0, spike_exp=1, state_exp=1))
    result = run(net, [3.0, 4.0, 9.0, 9.0])
    assert result.spikes["n"].ravel().tolist() == [6, 0, 12, 0]
    assert result.spikes["n"].dtype == np.int32
    assert result.v["n"].ravel().tolist() == [12, 16, 36, 36]
    assert result.u["n"].ravel().tolist() == [3, 4, 9, 9]


def test_messages_are_rounded_down_and_the_rest_is_lost() -> None:
    net = single(_sigma_delta("delta", threshold=0.0, spike_exp=0, state_exp=0))
    assert run(net, [5.0, -2.0]).spikes["n"].ravel().tolist() == [5, -7]
    coarse = single(_sigma_delta("sigma_delta", threshold=3.0, spike_exp=0, state_exp=1, rectify=False))
    assert run(coarse, [5.0, -8.0, 0.0]).spikes["n"].ravel().tolist() == [2, -4, 0]


@pytest.mark.parametrize(("rectify", "sent", "act"), [(True, [0, 7, -4], [0, 7, 3]), (False, [-3, 10, -4], [-3, 7, 3])])
def test_sigma_delta_neurons_sum_up_and_rectify(rectify: bool, sent: list[int], act: list[int]) -> None:
    net = single(_sigma_delta("sigma_delta", bias=2.0, spike_exp=0, state_exp=0, rectify=rectify))
    result = run(net, [-5.0, 10.0, -4.0])
    assert result.spikes["n"].ravel().tolist() == sent
    assert result.v["n"].ravel().tolist() == act
    assert result.u["n"].ravel().tolist() == [-5, 5, 1]


def test_sigma_neurons_restore_what_delta_neurons_send() -> None:
    one = Dense(np.ones((1, 1)))
    net = network(
        {"in": ((1,), None), "d": ((1,), _sigma_delta("delta", state_exp=0, spike_exp=0)), "n": ((1,), _sigma_delta("sigma"))},
        [edge("in", "d", one), edge("d", "n", one, delay=1)],
    )
    assert run(net, [3.0, -70.0, 5.0, 5.0]).spikes["n"].ravel().tolist() == [0, 3, -70, 5]
    assert run(net, [3.0, -70.0, 5.0, 5.0]).v["n"].ravel().tolist() == [0, 3, -70, 5]


def test_a_sigma_delta_network_equals_integer_arithmetic() -> None:
    rng = np.random.default_rng(13)
    first, second = rng.integers(-9, 10, (4, 3)), rng.integers(-9, 10, (4, 4))
    threshold, bias = rng.integers(0, 4000, 4), rng.integers(-3000, 3000, 4)
    models = {
        "in": ((3,), None),
        "d": ((3,), _sigma_delta("delta", 3, threshold=700.0)),
        "s": ((4,), SigmaDelta("SDNN", "sigma_delta", threshold, bias)),
        "n": ((4,), _sigma_delta("sigma", 4)),
    }
    edges = [edge("in", "d", Dense(np.eye(3))), edge("d", "s", Dense(first), delay=1), edge("s", "n", Dense(second))]
    inputs = rng.integers(-4, 5, (30, 3))
    result = simulate(network(models, edges), inputs[None], record=["d", "s", "n"])
    x, s, total = ([0] * 3, [0] * 3), ([0] * 4, [0] * 4, [0] * 4), [0] * 4
    arriving = [0] * 3
    for t, frame in enumerate(inputs.tolist()):
        sent = []
        for k in range(4):
            s[0][k] += sum(int(first[k, j]) * arriving[j] for j in range(3))
            act = max(s[0][k] + int(bias[k]), 0)
            d = act - s[1][k] + s[2][k]
            o = d if abs(d) >= threshold[k] else 0
            s[1][k], s[2][k] = act, d - o
            sent.append(o >> 6)
        for k in range(4):
            total[k] += sum(int(second[k, j]) * sent[j] for j in range(4))
        arriving = []
        for k in range(3):
            d = (frame[k] << 12) - x[0][k] + x[1][k]
            o = d if abs(d) >= 700 else 0
            x[0][k], x[1][k] = frame[k] << 12, d - o
            arriving.append(o >> 6)
        assert result.spikes["s"][0, t].tolist() == sent
        assert result.spikes["n"][0, t].tolist() == total
        assert result.spikes["d"][0, t].tolist() == arriving
    assert 0 < np.count_nonzero(result.spikes["s"]) < result.spikes["s"].size
