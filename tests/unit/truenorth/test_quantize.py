from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.diagnostics import Findings
from nmap.network import Network, Neuron
from nmap.options import Options
from nmap.simulate.fixed import simulate
from nmap_truenorth.neuron import NEURON
from nmap_truenorth.rules import RULES
from tests.unit.truenorth.quantizing import KERNELS, SPEC, both, codes, compiled, network, neurons, one_layer

# ---- what is exact ----------------------------------------------------------------------------------------------------------------------


def exact_network(seed: int) -> Network:
    """Everything that is exact on the chip, drawn at random: on binary fractions, so that the float level rounds nothing."""
    rng = np.random.default_rng([77, seed])
    step = 2.0 ** -int(rng.integers(0, 4))
    top = int(rng.choice([1, 3, 7]))
    conventions: dict[str, Any] = {"compare": str(rng.choice([">", ">="])), "reset": str(rng.choice(["zero", "subtract"]))}
    if rng.random() < 0.3:
        conventions["floor"] = -float(rng.integers(0, 3))

    def weights(shape: tuple[int, ...]) -> Array:
        return rng.integers(-top, top + 1, shape) * step

    def some(n: int, own: bool = True) -> Neuron:
        gain = np.ones(n)
        if own and not conventions.get("floor"):
            gain = rng.choice([1.0, 2.0, 0.5, -1.0], n)
        if rng.random() < 0.3:
            return neurons(n, beta=0.0, threshold=rng.integers(-4, 3 * top, n) * step / 2, gain=gain)
        reset = 0.0
        if conventions["reset"] == "zero" and rng.random() < 0.3:
            reset = -rng.integers(0, 6, n) * step
        return neurons(
            n, threshold=rng.integers(1, 4 * top, n) * step, drive=rng.integers(-2, 3, n) * step * (rng.random() < 0.5), reset=reset,
            gain=gain,
        )

    kind = seed % 4
    if kind == 0:
        edges = [
            {"source": "in", "target": "a", "by": Dense(weights((9, 7))), "bias": rng.integers(-2, 3, 9) * step * 0.5},
            {"source": "a", "target": "b", "by": Dense(weights((5, 9)))},
            {"source": "in", "target": "b", "by": Dense(weights((5, 7))), "delay": int(rng.integers(0, 5))},
        ]
        return network({"in": ((7,), None), "a": ((9,), some(9)), "b": ((5,), some(5))}, edges, **conventions)
    if kind == 1:
        edges = [
            {"source": "in", "target": "a", "by": Dense(weights((6, 4)))},
            {"source": "a", "target": "a", "by": Dense(weights((6, 6))), "delay": 1},
            {"source": "a", "target": "b", "by": Sparse.from_dense(weights((4, 6)) * (rng.random((4, 6)) < 0.5))},
        ]
        return network({"in": ((4,), None), "a": ((6,), some(6)), "b": ((4,), some(4))}, edges, **conventions)
    if kind == 2:
        conv = Conv2d(weights((3, 2, 3, 3)), (2, 6, 6), (2, 1), (1, 0))
        n = conv.out_size
        edges = [
            {"source": "in", "target": "a", "by": conv, "bias": np.repeat(rng.integers(-1, 2, 3), n // 3) * step},
            {"source": "a", "target": "b", "by": Dense(weights((4, n)) * (rng.random((4, n)) < 0.4))},
        ]
        return network({"in": ((2, 6, 6), None), "a": (conv.out_shape, some(n, own=False)), "b": ((4,), some(4))}, edges, **conventions)
    spread = rng.integers(0, 40, (6, 5))
    edges = [
        {"source": "in", "target": "a", "by": Dense(weights((6, 5))), "delays": spread, "delay": int(rng.integers(0, 3))},
        {"source": "a", "target": "b", "by": Dense(weights((3, 6))), "delay": int(rng.integers(0, 35))},
    ]
    return network({"in": ((5,), None), "a": ((6,), some(6)), "b": ((3,), some(3))}, edges, **conventions)


@pytest.mark.parametrize("seed", range(120))
def test_exact_networks_spike_as_their_float_level_does(seed: int) -> None:
    net = exact_network(seed)
    made, findings = compiled(net)
    assert all(loss.sqnr_db is None and loss.zeroed == 0 and loss.clipped == 0 for loss in made.losses)
    # A start that cannot be prepared, and a floor that is met, are told, and are the only ways to differ.
    late = {d.data["population"] for d in findings if d.code == "NM306"}
    for name, (real, fixed) in both(net, made, seed).items():
        if not late:
            np.testing.assert_array_equal(fixed, real, err_msg=name)
        assert fixed.shape == real.shape


def test_most_of_these_networks_are_compared_and_spike() -> None:
    told, rates = 0, []
    for seed in range(0, 120, 3):
        net = exact_network(seed)
        made, findings = compiled(net)
        told += any(d.code == "NM306" for d in findings)
        rates.append(both(net, made, seed)["b"][1].mean())
    assert told < 20
    assert np.mean(np.array(rates) > 0.02) > 0.6


def test_integers_by_hand() -> None:
    # Steps of 0.5: weights 2, -1, 0; threshold 1.6 lies above 3 steps, so 4; bias 1 step
    net = one_layer(np.array([[1.0, -0.5, 0.0]]), neurons(1, threshold=1.6, drive=0.5), compare=">=")
    made, _ = compiled(net)
    out = made["out"]
    assert made.projections[0].connectivity.weights.tolist() == [[2, -1, 0]]
    assert {key: int(values[0]) for key, values in out.params.items()} == {
        "alpha": 4, "beta": 262143, "leak": 1, "epsilon": 0, "gamma": 0, "kappa": 1, "sigma_vr": 1, "vr": 0,
    }
    assert out.latency == 1
    # One tick late with a leak of 1: V starts at -1
    assert out.initial["v"].tolist() == [-1]
    assert out.scale is not None
    assert out.scale.tolist() == [2.0]
    assert made.losses[0].sqnr_db is None
    assert made.losses[0].bits == 3


def test_every_neuron_has_a_scale_of_its_own() -> None:
    net = one_layer(np.array([[0.3, 0.1], [700.0, -1400.0]]), neurons(2, threshold=np.array([0.35, 2000.0])))
    made, _ = compiled(net)
    assert made.projections[0].connectivity.weights.tolist() == [[3, 1], [1, -2]]
    # 0.35 / 0.1 -> 4; 2000 / 700 = 2.86 -> 3
    assert made["out"].params["alpha"].tolist() == [4, 3]


def test_a_bias_between_the_steps_of_the_weights_gets_a_gain() -> None:
    # Weights 1 and -1; a bias of a quarter of a weight: everything counts four times
    net = one_layer(np.array([[2.0, -2.0]]), neurons(1, threshold=6.0, drive=0.5))
    made, _ = compiled(net)
    assert made.projections[0].connectivity.weights.tolist() == [[4, -4]]
    assert made["out"].params["leak"].tolist() == [1]
    assert made["out"].params["alpha"].tolist() == [12]


@pytest.mark.parametrize(("compare", "alpha", "start"), [(">=", 5, None), (">", 5, [-1])])
def test_a_subtracting_reset_takes_off_the_threshold_itself(compare: str, alpha: int, start: list[int] | None) -> None:
    net = one_layer(np.array([[3.0, 1.0]]), neurons(1, threshold=5.0), compare=compare, reset="subtract")
    made, _ = compiled(net)
    assert made["out"].params["alpha"].tolist() == [alpha]
    assert made["out"].params["gamma"].tolist() == [1]
    assert (made["out"].initial["v"].tolist() if start else made["out"].initial) == (start or {})


def test_a_comparison_with_greater_is_one_unit_more_where_a_spike_resets_to_a_value() -> None:
    made, _ = compiled(one_layer(np.array([[3.0, 1.0]]), neurons(1, threshold=5.0), compare=">"))
    assert made["out"].params["alpha"].tolist() == [6]


@pytest.mark.parametrize(("reset", "sign", "power", "alpha", "start"), [(-3.0, -1, 2, 6, 0), (-2.0, 1, 0, 8, 2), (1.0, 1, 1, 6, 0)])
def test_a_reset_value_is_named_or_shifted(reset: float, sign: int, power: int, alpha: int, start: int) -> None:
    # -3 = -(2^2 - 1); -2 has no such form, so 0 moves there: threshold 6 -> 8, start 0 -> 2
    made, _ = compiled(one_layer(np.array([[3.0, 1.0]]), neurons(1, threshold=6.0, reset=reset)))
    out = made["out"]
    assert (int(out.params["sigma_vr"][0]), int(out.params["vr"][0]), int(out.params["alpha"][0])) == (sign, power, alpha)
    assert out.initial.get("v", np.zeros(1)).tolist() == [start]


def test_a_unit_without_memory_is_a_gate() -> None:
    # 3 a + b >= 3.4 - 0.4 -> the sum must reach 3
    made, _ = compiled(one_layer(np.array([[3.0, 1.0]]), neurons(1, beta=0.0, threshold=3.4, drive=0.4)))
    assert {key: int(values[0]) for key, values in made["out"].params.items()} == {
        "alpha": 0, "beta": 0, "leak": -3, "epsilon": 0, "gamma": 0, "kappa": 1, "sigma_vr": 1, "vr": 0,
    }


def test_gates_that_cannot_fire_or_always_do_need_no_large_leak() -> None:
    # 16 inputs of 100 reach 1600, far beyond a leak; what none of their sums decides needs none of them
    for high, low in ((1e9, -1e9), (1e30, -1e30), (1601.0, -1.0)):
        net = one_layer(np.full((2, 16), 100.0), neurons(2, beta=0.0, threshold=np.array([high, low])))
        made, findings = compiled(net)
        assert made["out"].params["leak"].tolist() == [-1, 0]
        assert not made.projections[0].connectivity.weights.any()
        assert not codes(findings, "warning")
        real, chip = both(net, made)["out"]
        assert np.array_equal(real, chip)
        assert chip[..., 0].sum() == 0
        assert chip[..., 1].all()


def test_gates_of_a_kernel_that_fire_always_beside_others_keep_their_weights() -> None:
    kernel = Conv2d(np.array([[[[1.0, -1.0]]]]), (1, 1, 3))
    net = network(
        {"in": ((1, 1, 3), None), "out": ((1, 1, 2), neurons(2, beta=0.0, threshold=np.array([1.0, -5.0])))},
        [{"source": "in", "target": "out", "by": kernel}],
    )
    made, _ = compiled(net)
    assert made.projections[0].connectivity.weights.ravel().tolist() == [1, -1]
    real, chip = both(net, made)["out"]
    assert np.array_equal(real, chip)


def _gates(latency: int) -> Network:
    """Gates that fire unless they are inhibited, one or two hops behind the input, and an integrator that counts their spikes."""
    names = ["a", "b"][2 - latency :]
    populations = {name: ((3,), neurons(3, beta=0.0, threshold=np.array([0.0, -1.0, -2.0]))) for name in names}
    net = {"in": ((3,), None), **populations, "sum": ((1,), neurons(1, threshold=7.0))}
    weights = {name: np.array([[-1.0, 0, 0], [-1, -1, 0], [-1, -1, -1]]) for name in names} | {"sum": np.ones((1, 3))}
    chain = list(net)
    return network(net, [{"source": p, "target": q, "by": Dense(weights[q])} for p, q in pairwise(chain)])


def test_a_gate_that_fires_by_itself_is_kept_quiet_for_one_tick() -> None:
    # The leaks are 0, 1 and 2: V' of tick 0 is -1, which neither fires nor passes the floor of 0
    net = _gates(1)
    made, findings = compiled(net)
    assert made["b"].params["leak"].tolist() == [0, 1, 2]
    assert made["b"].initial["v"].tolist() == [-1, -2, -3]
    assert not codes(findings, "warning")
    for real, chip in both(net, made).values():
        assert real.any()
        assert np.array_equal(real, chip)
    names = ["b", "sum"]
    # In the chip's own ticks: nothing fires before the first input is there, and then all of `b` does, for lack of any.
    silence = simulate(made, KERNELS, {"in": np.zeros((1, 9, 3), np.int32)}, 9, record=names).spikes
    assert silence["b"][0].sum(1).tolist() == [0] + [3] * 8


def test_a_gate_that_fires_by_itself_cannot_be_kept_quiet_for_two() -> None:
    _, findings = compiled(_gates(2))
    assert [(d.code, d.data["population"], d.data["neurons"]) for d in findings if d.severity == "warning"] == [("NM306", "b", 3)]
    # No V does: the first tick leaves it at 0, whatever it was, and the second one then fires.
    params = {key: np.array([value]) for key, value in
              {"alpha": 0, "beta": 0, "leak": 1, "epsilon": 0, "gamma": 0, "kappa": 1, "sigma_vr": 1, "vr": 0}.items()}
    for start in (-524288, -3, -2, -1, 0, 5, 524000):
        state = {"v": np.array([start])}
        fired = [int(NEURON.reference_step(params, state, np.zeros(1, np.int64), t)[0]) for t in range(2)]
        assert sum(fired) > 0, start


def test_the_remedy_for_lost_weights_is_that_of_their_cause() -> None:
    weights = np.array([[1.0, -0.7, 0.31, 0.123]])
    # alpha ends at 262143, so that a threshold of 1e6 leaves a weight of 1 a quarter of a step
    _, findings = compiled(one_layer(weights, neurons(1, threshold=1e6)))
    assert [d.message for d in findings if d.severity == "warning"] == [
        "4 of 4 weights into `out` round to 0", "the weights of 1 neuron of `out` keep fewer than 8 bits",
    ]
    assert all("thresholds and biases" in d.help[0] for d in findings if d.severity == "warning")
    _, findings = compiled(one_layer(np.c_[weights, 1000.0], neurons(1, threshold=1.0)))
    (told,) = [d for d in findings if d.severity == "warning"]
    assert told.message == "4 of 5 weights into `out` round to 0"
    assert "the largest weight is 1.43e+03 times the median" in str(told.why)
    assert "outliers" in told.help[0]


def test_a_negative_bias_over_a_floor_at_rest_needs_no_other_start() -> None:
    # Two ticks late V would have to start at 6, and be compared at 3 >= 2; but with its floor at 0 it stays there by itself.
    net = network(
        {"in": ((1,), None), "a": ((1,), neurons(1)), "b": ((1,), neurons(1, threshold=2.0, drive=-3.0))},
        [{"source": "in", "target": "a", "by": Dense(np.ones((1, 1)))}, {"source": "a", "target": "b", "by": Dense(np.full((1, 1), 6.0))}],
        floor=0.0,
    )
    made, findings = compiled(net)
    assert not codes(findings, "warning")
    for real, chip in both(net, made).values():
        assert real.any()
        assert np.array_equal(real, chip)


def test_the_floor_of_the_network_is_that_of_the_chip() -> None:
    made, _ = compiled(one_layer(np.array([[1.0, -1.0]]), neurons(1, threshold=3.0), floor=-2.0))
    assert made["out"].params["beta"].tolist() == [6]
    assert made["out"].params["kappa"].tolist() == [1]


def test_a_positive_bias_waits_below_zero_and_a_negative_one_above_it() -> None:
    chain = network(
        {"in": ((1,), None), "a": ((1,), neurons(1)), "b": ((2,), neurons(2, threshold=100.0, drive=np.array([3.0, -2.0])))},
        [{"source": "in", "target": "a", "by": Dense(np.ones((1, 1)))}, {"source": "a", "target": "b", "by": Dense(np.ones((2, 1)))}],
    )
    made, _ = compiled(chain)
    assert made["b"].latency == 2
    assert made["b"].initial["v"].tolist() == [-6, 4]


def test_a_bias_that_would_start_above_the_threshold_is_told() -> None:
    # One tick late, 2 - 2 = 0 is the start; V would begin at 2 and be compared at 0 only: fine. Two ticks: 4, compared at 2 >= 1.
    net = network(
        {"in": ((1,), None), "a": ((1,), neurons(1)), "b": ((1,), neurons(1, threshold=1.0, drive=-2.0))},
        [{"source": "in", "target": "a", "by": Dense(np.ones((1, 1)))}, {"source": "a", "target": "b", "by": Dense(np.ones((1, 1)))}],
    )
    made, findings = compiled(net)
    assert codes(findings, "warning") == ["NM306"]
    assert "v" not in made["b"].initial


# ---- what is rounded --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("inputs", "bits"), [(18, 8), (19, 7), (32, 6), (42, 5), (64, 4), (65, 3), (85, 3), (128, 2)])
def test_as_many_bits_as_the_fan_in_leaves_room_for(inputs: int, bits: int) -> None:
    rng = np.random.default_rng(inputs)
    made, findings = compiled(one_layer(rng.normal(size=(3, inputs)), neurons(3, threshold=3.0)))
    assert made.losses[0].bits == bits
    assert f"{inputs} synapses" in next(d.why or "" for d in findings if d.code == "NM302" and d.severity == "note")
    weights = made.projections[0].connectivity.weights
    assert np.abs(weights // np.maximum(np.gcd.reduce(weights, axis=1), 1)[:, None]).max() <= 2 ** (bits - 1) - 1


def test_the_user_chooses_the_bits() -> None:
    rng = np.random.default_rng(5)
    made, _ = compiled(one_layer(rng.normal(size=(4, 20)), neurons(4, threshold=3.0)), Options(bits=3))
    weights = made.projections[0].connectivity.weights
    assert made.losses[0].bits == 3
    assert all(np.unique(np.abs(row)).size <= 4 for row in weights)


def test_rounding_is_the_best_of_all_scales_but_for_a_little() -> None:
    rng = np.random.default_rng(8)
    weights = rng.normal(size=(6, 30))
    made, _ = compiled(one_layer(weights, neurons(6, threshold=0.001)), Options(bits=2))
    for row, stored in zip(weights, made.projections[0].connectivity.weights, strict=True):
        sign = np.sign(stored)

        def error(step: float, row: Array = row) -> float:
            return float(((np.clip(np.rint(row / step), -1, 1) * step - row) ** 2).sum())

        best = min(error(step) for step in np.linspace(0.05, 3, 2000))
        # The least error that these signs allow, whatever they stand for
        step = float((sign * row).sum() / max((sign**2).sum(), 1))
        assert ((sign * step - row) ** 2).sum() <= 1.1 * best


def test_thresholds_of_subtracting_neurons_are_whole_where_weights_are_rounded() -> None:
    rng = np.random.default_rng(4)
    made, _ = compiled(one_layer(rng.normal(0.2, 1, size=(5, 40)), neurons(5, threshold=2.7), reset="subtract"))
    out = made["out"]
    assert out.scale is not None
    np.testing.assert_allclose(out.params["alpha"], 2.7 * out.scale, rtol=1e-6)


def test_rounded_networks_behave_nearly_as_their_float_level() -> None:
    rng = np.random.default_rng(9)
    net = one_layer(rng.normal(0.2, 1, size=(20, 30)), neurons(20, threshold=4.0, drive=rng.normal(0, 0.1, 20)))
    made, _ = compiled(net)
    real, fixed = both(net, made)["out"]
    assert np.mean(real == fixed) > 0.95
    assert made.losses[0].sqnr_db is not None
    assert made.losses[0].sqnr_db > 25


def test_weights_far_below_the_threshold_lose_bits_to_it() -> None:
    # 8 bits of the weights would make the threshold 127 x 1e5 units; the field ends at 262143, so a weight of 1 is 2.62 units at most
    made, findings = compiled(one_layer(np.array([[1.0, 0.3712345]]), neurons(1, threshold=1e5)))
    assert 200000 < made["out"].params["alpha"][0] <= 262143
    assert made.projections[0].connectivity.weights.tolist() == [[3, 1]]
    assert codes(findings, "warning") == ["NM302"]


def test_biases_that_vanish_are_counted() -> None:
    weights = np.array([[200.0, -131.7, 77.77]])
    made, findings = compiled(one_layer(weights, neurons(1, threshold=500.0, drive=0.001)))
    assert made["out"].params["leak"].tolist() == [0]
    assert [d.data.get("biases") for d in findings if d.severity == "warning"] == [1]


# ---- fan-in -----------------------------------------------------------------------------------------------------------------------------


def test_more_sources_than_axons_are_refused_with_the_numbers_all_at_once() -> None:
    net = network(
        {"in": ((300,), None), "a": ((4,), neurons(4)), "b": ((3,), neurons(3)), "c": ((2,), neurons(2))},
        [
            {"source": "in", "target": "a", "by": Dense(np.ones((4, 300)))},
            {"source": "in", "target": "b", "by": Dense(np.ones((3, 300)))},
            {"source": "b", "target": "c", "by": Dense(np.ones((2, 3)))},
        ],
    )
    _, findings = compiled(net, accepted=False)
    assert [(d.code, d.data["population"]) for d in findings.errors] == [("NM401", "a"), ("NM401", "b")]
    assert "4 neurons of `a`" in findings.errors[0].message
    assert "300 of 256" in findings.errors[0].message
    assert "300 sources" in (findings.errors[0].why or "")


def test_weights_of_four_bits_that_do_not_fit_are_refused_and_fewer_bits_offered() -> None:
    weights = np.random.default_rng(0).choice([-7, -6, -5, -3, 3, 5, 6, 7], (40, 127)).astype(float)
    net = one_layer(weights, neurons(40, threshold=9.0))
    _, findings = compiled(net, accepted=False)
    assert [d.code for d in findings.errors] == ["NM401"]
    assert findings.errors[0].help[0].startswith("--bits 2 ")
    assert "254" in findings.errors[0].help[0]
    made, findings = compiled(net, Options(bits=2))
    assert made.losses[0].bits == 2
    assert made.losses[0].sqnr_db is not None


# ---- time -------------------------------------------------------------------------------------------------------------------------------


def test_long_delays_are_chains_of_relays() -> None:
    net = network(
        {"in": ((3,), None), "out": ((2,), neurons(2, threshold=2.0))},
        [{"source": "in", "target": "out", "by": Dense(np.array([[1.0, 2.0, -1.0], [2.0, 1.0, 1.0]])), "delay": 40}],
    )
    made, findings = compiled(net)
    assert [p.name for p in made.populations] == ["in", "in.relay", "in.relay2", "out"]
    # 40 steps: 15 for each relay, which leaves 10, one of them the hop's
    by_name = {p.name: (p.source, p.delay) for p in made.projections}
    assert by_name == {"in->out": ("in.relay2", 9), "in->in.relay": ("in", 14), "in.relay->in.relay2": ("in.relay", 14)}
    assert codes(findings, "note") == ["NM204"]
    real, fixed = both(net, made, steps=70)["out"]
    np.testing.assert_array_equal(fixed, real)
    assert fixed[:, :40].sum() == 0
    assert fixed.sum() > 20


def test_a_delay_beyond_all_chains_is_refused() -> None:
    net = one_layer(np.ones((1, 1)), neurons(1))
    far = network(
        {"in": ((1,), None), "out": ((1,), neurons(1))}, [{"source": "in", "target": "out", "by": Dense(np.ones((1, 1))), "delay": 1000}],
    )
    findings = Findings()
    for rule in RULES:
        rule(net, SPEC, Options(), findings)
    assert len(findings) == 0
    for rule in RULES:
        rule(far, SPEC, Options(), findings)
    assert [d.code for d in findings.errors] == ["NM204"]


def test_small_networks_keep_their_structure() -> None:
    net = exact_network(0)
    made, _ = compiled(net)
    assert [p.name for p in made.populations] == [p.name for p in net.populations]
    assert [p.name for p in made.projections] == [p.name for p in net.projections]
    assert all(p.format.bits == 9 and 0 <= p.delay <= 14 for p in made.projections)
