from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense
from nmap.diagnostics import Diagnostic, Findings
from nmap.network import Network, Neuron
from nmap.options import Options
from nmap.simulate.fixed import simulate
from nmap.simulate.floating import simulate as simulate_float
from nmap.testing.networks import FOREIGN_NETWORKS, FOREIGN_OFFENDERS
from nmap_truenorth.rules import RULES
from tests.unit.truenorth.quantizing import KERNELS, SPEC, compiled, network, neurons, one_layer


def judged(net: Network, *approximate: str, **options: Any) -> list[Diagnostic]:
    findings = Findings()
    for rule in RULES:
        rule(net, SPEC, Options(approximate=frozenset(approximate), **options), findings)
    return list(findings)


def errors(net: Network, *approximate: str, **options: Any) -> list[Diagnostic]:
    return [d for d in judged(net, *approximate, **options) if d.severity == "error"]


def plain(**conventions: Any) -> Network:
    return network(
        {"in": ((2,), None), "first": ((2,), neurons(2)), "second": ((2,), neurons(2))},
        [
            {"source": "in", "target": "first", "by": Dense(np.array([[2.0, -2.0], [-2.0, 2.0]]))},
            {"source": "first", "target": "second", "by": Dense(np.array([[2.0, -2.0], [-2.0, 2.0]]))},
        ], **conventions,
    )


def with_neurons(net: Network, **fields: Any) -> Network:
    def changed(neuron: Neuron) -> Neuron:
        return replace(neuron, **{key: np.broadcast_to(value, neuron.threshold.shape) if key != "spiking" else value
                                  for key, value in fields.items()})

    return replace(net, populations=tuple(p if p.neuron is None else replace(p, neuron=changed(p.neuron)) for p in net.populations))


def test_integrators_and_gates_pass_every_rule() -> None:
    assert judged(plain()) == []
    assert judged(plain(reset="subtract", compare=">")) == []
    assert judged(plain(floor=-1.0)) == []
    assert judged(with_neurons(plain(), beta=0.0, threshold=-3.0)) == []
    assert judged(plain(lag=2)) == []


@pytest.mark.parametrize(
    ("net", "code", "feature"),
    [
        (with_neurons(plain(), beta=0.9), "NM205", "lif"),
        (with_neurons(plain(), alpha=0.5), "NM201", "cubalif"),
        (with_neurons(plain(), spiking=False), "NM201", "li"),
        (with_neurons(plain(), spiking=False, beta=0.0), "NM201", "relay"),
        (with_neurons(plain(), threshold=-1.0), "NM305", "negative_threshold"),
        (plain(reset="delayed"), "NM202", "reset_delayed"),
        (plain(reset="subtract", early_reset=True), "NM202", "early_reset"),
        (plain(reset="subtract", multiple=True), "NM202", "multiple_spikes"),
        (plain(floor=0.5), "NM202", "voltage_floor"),
        (plain(reset_interval=10), "NM202", "periodic_reset"),
    ],
)
def test_refusals_name_both_populations_the_reason_and_the_feature(net: Network, code: str, feature: str) -> None:
    (found,) = [d for d in errors(net) if d.data.get("feature") == feature]
    assert found.code == code
    assert "`first`" in found.message
    assert "`second`" in found.message
    assert found.why
    assert found.help
    assert feature in SPEC.features


@pytest.mark.parametrize("kind", sorted(FOREIGN_NETWORKS))
def test_what_other_chips_have_is_refused_by_name(kind: str) -> None:
    found = errors(FOREIGN_NETWORKS[kind]())
    text = " ".join(f"{d.message} {d.where}" for d in found)
    assert found
    assert [name for name in FOREIGN_OFFENDERS[kind] if name not in text] == []


@pytest.mark.parametrize(
    ("net", "name"),
    [
        (with_neurons(plain(), beta=0.9), "leak"), (plain(reset="delayed"), "reset"),
        (plain(reset="subtract", early_reset=True), "reset"), (plain(reset="subtract", multiple=True), "multiple"),
    ],
)
def test_approximations_need_the_users_word_and_are_told(net: Network, name: str) -> None:
    assert [d.data.get("approximate") for d in errors(net)] == [name]
    assert errors(net, name) == []
    assert [d.code for d in judged(net, name)] == ["NM205"]


def test_bits_outside_the_range_are_wrong_usage() -> None:
    assert [d.code for d in errors(plain(), bits=9)] == ["NM004"]
    assert [d.code for d in errors(plain(), bits=1)] == ["NM004"]
    assert errors(plain(), bits=8) == []


def test_graded_samples_late_biases_and_unequal_gains_are_refused() -> None:
    assert [d.code for d in errors(plain(), payload=(0, 3))] == ["NM203"]
    late = replace(plain(), projections=tuple(replace(p, bias=np.ones(2), bias_from=3) for p in plain().projections))
    assert [d.data["feature"] for d in errors(late)] == ["late_bias"]
    image = network(
        {"in": ((1, 3, 3), None), "out": ((1, 2, 2), neurons(4, gain=np.array([1.0, 2.0, 1.0, 1.0])))},
        [{"source": "in", "target": "out", "by": Conv2d(np.ones((1, 1, 2, 2)), (1, 3, 3))}],
    )
    assert [d.code for d in errors(image)] == ["NM203"]


def test_a_loop_with_too_few_steps_is_refused_or_made_longer() -> None:
    net = network(
        {"in": ((1,), None), "a": ((1,), neurons(1)), "b": ((1,), neurons(1))},
        [
            {"source": "in", "target": "a", "by": Dense(np.ones((1, 1)))}, {"source": "a", "target": "b", "by": Dense(np.ones((1, 1)))},
            {"source": "b", "target": "a", "by": Dense(np.ones((1, 1))), "delay": 1},
        ],
    )
    assert [d.code for d in errors(net)] == ["NM204"]
    assert errors(net, "delay") == []


@pytest.mark.parametrize(("source", "hops", "remedies"), [("in", 1, 2), ("a", 2, 1)])
def test_a_delay_beyond_the_longest_chain_is_said_to_be_beyond_nmaps(source: str, hops: int, remedies: int) -> None:
    def chain(steps: int) -> Network:
        return network(
            {"in": ((1,), None), "a": ((1,), neurons(1)), "b": ((1,), neurons(1))}, [
                {"source": "in", "target": "a", "by": Dense(np.ones((1, 1))), "delay": steps if source == "in" else 0},
                {"source": "a", "target": "b", "by": Dense(np.ones((1, 1))), "delay": steps if source == "a" else 0},
            ],
        )

    # 64 x 15 + 14 = 974, beyond the steps that the hops on the way take of a delay.
    assert errors(chain(974 + hops)) == []
    (told,) = errors(chain(975 + hops))
    assert told.code == "NM204"
    assert "975 ticks" in told.message
    assert "nmap makes up to 974" in told.message
    assert "chip" not in told.message
    assert len(told.help) == remedies


def test_one_of_a_kind_is_told_as_one() -> None:
    net = one_layer(np.ones((1, 1)), neurons(1, beta=1.5))
    assert [d.message for d in errors(net)] == ["1 decay factor of `out` is outside 0 to 1"]
    net = one_layer(np.ones((2, 1)), neurons(2, beta=1.5))
    assert [d.message for d in errors(net)] == ["2 decay factors of `out` are outside 0 to 1"]


# ---- the linear leak --------------------------------------------------------------------------------------------------------------------


def test_the_linear_leak_by_hand() -> None:
    # 20 % of v a step, for v from 0 to 1.5: 0.15 on average. A weight of 1 is 1 unit at a gain of 1; the gain brings 0.15 near an integer.
    net = one_layer(np.array([[1.0, -1.0]]), neurons(1, beta=0.8, threshold=1.5))
    made, _ = compiled(net, Options(approximate=frozenset({"leak"})))
    out = made["out"]
    assert out.scale is not None
    unit = float(out.scale[0])
    assert out.params["epsilon"].tolist() == [1]
    assert abs(-out.params["leak"][0] / unit - 0.15) <= 0.5 / unit
    assert abs(out.params["alpha"][0] / unit - 1.5) <= 1 / unit
    assert unit >= 50


@pytest.mark.parametrize("beta", [0.95, 0.9, 0.8])
def test_the_linear_leak_is_better_than_none_and_than_twice_as_much(beta: float) -> None:
    rng = np.random.default_rng(1)
    net = one_layer(rng.normal(0.1, 1, (40, 20)), neurons(40, beta=beta, threshold=5.0))
    made, _ = compiled(net, Options(approximate=frozenset({"leak"})))
    inputs = (rng.random((6, 200, 20)) < 0.15).astype(np.int32)
    real = simulate_float(net, inputs, record=["out"]).spikes["out"]

    def wrong(factor: float) -> float:
        leak = np.rint(made["out"].params["leak"] * factor).astype(np.int64)
        other = replace(made["out"], params={**made["out"].params, "leak": leak})
        tried = replace(made, populations=(made.populations[0], other))
        return float(np.mean(simulate(tried, KERNELS, {"in": inputs}, 201, record=["out"]).spikes["out"][:, 1:] != real))

    assert wrong(1) < wrong(0)
    assert wrong(1) < wrong(2)
