from __future__ import annotations

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.options import Options
from nmap.quantized import QuantizedNetwork
from nmap_truenorth.neuron import NEURON
from nmap_truenorth.ranges import FOR_EVER, ranges
from tests.unit.truenorth.quantizing import SPEC, compiled, network, neurons, one_layer


def worst(made: QuantizedNetwork, ticks: int, high: bool) -> tuple[list[int], list[int]]:
    """V before the comparison and after each tick if all inputs of one sign spike for ever, by the equations."""
    out, weights = made["out"], made.projections[0].connectivity.weights
    total = np.where(weights > 0 if high else weights < 0, weights, 0).sum(1)
    state = {"v": out.initial.get("v", np.zeros(out.size, np.int64)).copy()}
    before, after = [], []
    for t in range(ticks):
        moved = state["v"] + total
        before.append(int((moved + np.where(out.params["epsilon"] == 1, 0, out.params["leak"]))[0]))
        NEURON.reference_step(out.params, state, total, t)
        after.append(int(state["v"][0]))
    return before, after


@pytest.mark.parametrize("reset", ["zero", "subtract"])
@pytest.mark.parametrize("seed", range(6))
def test_no_input_leaves_the_bounds(reset: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    neuron = neurons(1, threshold=float(rng.integers(5, 200)), drive=float(rng.integers(-3, 4)))
    net = one_layer(rng.integers(-3, 8, (1, 20)).astype(float), neuron, reset=reset)
    made, _ = compiled(net, Options(steps=50))
    found = ranges(made, made["out"], SPEC)
    for high in (True, False):
        before, after = worst(made, 300, high)
        for t, v in enumerate(before):
            assert found.low[0] <= v <= found.high[0] + t * found.rise[0]
        assert min(after) >= -262143
    drawn, state = rng.random((400, 20)) < 0.5, {"v": made["out"].initial.get("v", np.zeros(1, np.int64))}
    for t in range(400):
        total = (made.projections[0].connectivity.weights * drawn[t]).sum(1)
        v = int(state["v"][0] + total[0] + made["out"].params["leak"][0])
        assert found.low[0] <= v <= found.high[0] + t * found.rise[0]
        NEURON.reference_step(made["out"].params, state, total, t)


def test_the_number_of_ticks_by_hand() -> None:
    # 200 arrive in a tick and 100 are taken off: V is 99 + 200 at most at first, and 100 more in every tick. 524287 - 299 = 523988:
    # 5239 further ticks stay inside, the next would not.
    net = one_layer(np.array([[120.0, 80.0, -1.0]]), neurons(1, threshold=100.0), reset="subtract")
    made, findings = compiled(net)
    found = ranges(made, made["out"], SPEC)
    assert (int(found.high[0]), int(found.rise[0]), int(found.inside[0])) == (299, 100, 5240)
    assert [d.data["ticks"] for d in findings if d.code == "NM304"] == [5240]
    # 524287 is the last value of the field
    assert 299 + 5239 * 100 <= 524287 < 299 + 5240 * 100


def test_a_run_beyond_what_is_proved_is_refused() -> None:
    net = one_layer(np.array([[120.0, 80.0, -1.0]]), neurons(1, threshold=100.0), reset="subtract")
    for steps, severity in ((5239, "note"), (5240, "error")):
        _, findings = compiled(net, Options(steps=steps), accepted=False)
        assert [d.severity for d in findings if d.code == "NM304"] == [severity], steps
    assert "5240 ticks" in findings.errors[0].message
    assert findings.errors[0].help[0].startswith("--steps 5239")


def test_the_steps_are_those_of_the_samples_then_of_the_option_then_of_the_chip() -> None:
    net = one_layer(np.array([[120.0, 80.0, -1.0]]), neurons(1, threshold=100.0), reset="subtract")
    long, short, both = Options(horizon=5240, steps=9), Options(horizon=60, steps=9000), Options(horizon=5239)
    assert [bool(compiled(net, options, accepted=False)[1].errors) for options in (long, short, both)] == [True, False, False]
    assert SPEC.horizon == 1000
    # 600 arrive and 1 is taken off: 524287 - 600 over 599 is 874, less than the 1000 steps that stand in
    net = one_layer(np.array([[251.0, 250.0, 99.0]]), neurons(1, threshold=1.0), reset="subtract")
    (told,) = compiled(net, accepted=False)[1].errors
    assert (told.data["ticks"], told.data["proved_steps"]) == (875, 874)
    assert "1001 are needed" in told.message


@pytest.mark.parametrize("seed", range(4))
def test_the_steps_that_the_refusal_names_are_not_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    net = one_layer(rng.normal(20, 9, (3, 14)), neurons(3, threshold=float(rng.uniform(1, 60))), bias=rng.normal(0, 3, 3), reset="subtract")
    refused = compiled(net, Options(horizon=40000), accepted=False)[1].errors[0]
    steps = int(refused.help[0].split()[1].rstrip(","))
    made, findings = compiled(net, Options(horizon=steps))
    assert min(d.data["proved_steps"] for d in findings if "proved_steps" in d.data) >= steps
    assert all(int(value) >= steps + made.latency for value in ranges(made, made["out"], SPEC).inside)


def test_a_population_before_the_last_has_to_hold_until_the_last_is_done() -> None:
    first, last = neurons(1, threshold=100.0), neurons(1, threshold=1.0)
    net = network(
        {"in": ((3,), None), "a": ((1,), first), "b": ((1,), last)},
        [
            {"source": "in", "target": "a", "by": Dense(np.array([[120.0, 80.0, -1.0]]))},
            {"source": "a", "target": "b", "by": Dense(np.ones((1, 1)))},
        ], reset="subtract",
    )
    made, findings = compiled(net)
    assert (made["a"].latency, made.latency) == (1, 2)
    # As by hand above: 5240 ticks, two of which are the network's latency
    assert [d.data["proved_steps"] for d in findings if d.code == "NM304"] == [5238]


def test_what_resets_to_a_value_holds_for_ever() -> None:
    made, findings = compiled(one_layer(np.array([[120.0, 80.0]]), neurons(1, threshold=100.0)))
    assert int(ranges(made, made["out"], SPEC).inside[0]) == FOR_EVER
    assert not [d for d in findings if d.code == "NM304"]


def test_the_floor_of_the_chip_is_told_where_the_run_may_meet_it() -> None:
    # 262143 / 127 = 2064.1: after 2064 ticks V may stand at -262128, and the next would go below the floor
    net = one_layer(np.array([[-127.0, 1.0]]), neurons(1, threshold=5.0))
    for steps, told in ((2000, []), (2063, []), (2064, [2064])):
        _, findings = compiled(net, Options(steps=steps))
        assert [d.data["ticks"] for d in findings if d.code == "NM304"] == told, steps
    own = one_layer(np.array([[-127.0, 1.0]]), neurons(1, threshold=5.0), floor=-1.0)
    assert not [d for d in compiled(own, Options(steps=5000))[1] if d.code == "NM304"]
