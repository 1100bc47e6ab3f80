from __future__ import annotations

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.diagnostics import Findings
from nmap.network import Conventions, Neuron
from nmap.options import Options
from nmap.testing.networks import build, lif
from nmap_toy import TARGET
from nmap_toy.quantize import nearest_leak, start_values
from tests.unit.toy.handmade import network, quantized


def one_neuron(neuron: Neuron, weight: float = 1.0, bias: float | None = None, compare: str = ">"):
    return build(
        "one.nir", {"input": ((1,), None), "n": ((1,), neuron)},
        [("input", "n", Dense(np.array([[weight]])), None if bias is None else np.array([bias]), 0)],
        conventions=Conventions(1e-3, compare=compare),  # type: ignore[arg-type]
    )


def quantize(net, **options):
    findings = Findings()
    return TARGET.quantize(net, Options(**options), findings), findings


def test_weights_share_the_scale_that_fills_four_bits() -> None:
    net = quantized(network())
    first, second = net.projections
    np.testing.assert_array_equal(first.connectivity.weights, [[7, 3, 0], [-2, 5, 1]])
    np.testing.assert_array_equal(second.connectivity.weights, [[7, -4]])
    assert net["a"].scale.tolist() == [7, 7]
    assert [loss.sqnr_db for loss in net.losses] == [None, None]


def test_threshold_of_a_strict_comparison_is_the_next_integer_above() -> None:
    # 7 * 1.0 = 7: v > 7 is v >= 8; 7 * 0.9 = 6.3: v > 6.3 is v >= 7
    for compare, threshold, expected in ((">", 1.0, 8), (">", 0.9, 7), (">=", 1.0, 7), (">=", 0.9, 7)):
        net, _ = quantize(one_neuron(lif(1, beta=1.0, threshold=threshold), compare=compare))
        assert net["n"].params["threshold"].tolist() == [expected]


def test_fewer_bits_mean_a_coarser_scale() -> None:
    net, _ = quantize(network(), bits=2)
    assert np.abs(net.projections[0].connectivity.weights).max() == 1
    assert net.losses[0].zeroed == 3  # 3/7, 2/7 and 1/7 are below half a step; 5/7 is above


def test_gains_move_into_threshold_and_bias() -> None:
    neuron = Neuron("LIF", *(np.array([x]) for x in (0.0, 1.0, 0.5, 1.0, 1.0, 2.0, 0.0)))  # gain_v 0.5, drive 1, threshold 2
    net, _ = quantize(one_neuron(neuron))
    # v / 0.5 has threshold 4 and drive 2: scale 7, so v >= 29 and bias 14
    assert net["n"].params["threshold"].tolist() == [29]
    assert net["n"].params["bias"].tolist() == [14]
    assert net["n"].scale.tolist() == [14.0]


def test_a_large_threshold_lowers_the_scale() -> None:
    net, _ = quantize(one_neuron(lif(1, beta=1.0, threshold=4092.0), weight=2.0))
    assert net["n"].params["threshold"].tolist() == [2047]
    assert net.projections[0].connectivity.weights.tolist() == [[1]]  # 2 * 2046 / 4092


def test_decay_takes_the_nearest_shift() -> None:
    shifts, factors = nearest_leak(np.array([1.0, 0.5, 0.875, 0.9, 0.0, 0.99]), TARGET.spec)
    assert shifts.tolist() == [0, 1, 3, 3, 1, 7]
    assert factors.tolist() == [1.0, 0.5, 0.875, 0.875, 0.5, 0.9921875]


def test_losses_are_counted_and_told() -> None:
    net = build(
        "loss.nir", {"input": ((2,), None), "n": ((1,), lif(1, beta=0.9995, threshold=1.0))},
        [("input", "n", Dense(np.array([[1.0, 0.01]])), np.array([0.02]), 0)],
    )
    _, findings = quantize(net, approximate=frozenset({"leak"}))
    assert sorted(d.code for d in findings) == ["NM302", "NM302", "NM303"]
    (loss,) = quantize(net)[0].losses
    assert loss.zeroed == 1
    assert loss.bias_error == 1.0
    assert loss.decay_error == pytest.approx(0.0005)
    assert loss.sqnr_db == pytest.approx(10 * np.log10((1 + 1e-4) / 1e-4))


def test_a_hop_takes_a_step_and_a_skipping_projection_waits() -> None:
    net = build(
        "skip.nir", {"input": ((1,), None), "a": ((1,), lif(1)), "b": ((1,), lif(1))},
        [
            ("input", "a", Dense(np.ones((1, 1))), None, 0), ("a", "b", Dense(np.ones((1, 1))), None, 0),
            ("input", "b", Dense(np.ones((1, 1))), None, 0), ("a", "a", Dense(np.ones((1, 1))), None, 1),
        ],
    )
    made, _ = quantize(net)
    assert {p.name: p.latency for p in made.populations} == {"input": 0, "a": 1, "b": 2}
    assert [p.delay for p in made.projections] == [0, 0, 1, 0]
    assert made.latency == 2


@pytest.mark.parametrize(("leak", "bias", "steps"), [(0, 5, 3), (0, -5, 3), (1, 3, 2), (1, -3, 4), (3, 20, 6), (3, -11, 6), (7, 100, 5)])
def test_the_bias_brings_the_start_value_to_zero(leak: int, bias: int, steps: int) -> None:
    start, possible = start_values(np.array([leak]), np.array([bias]), np.array([2047]), steps)
    assert possible.all()
    v = int(start[0])
    for _ in range(steps):
        v = v - (v // 2**leak if leak else 0) + bias
    assert v == 0


def test_no_start_where_the_way_crosses_the_threshold_or_the_range() -> None:
    # bias -5 for two steps without leak: 10 -> 5 -> 0, and 5 must stay below the threshold
    bias = np.array([-5, -5, -127])
    start, possible = start_values(np.zeros(3, int), bias, np.array([6, 5, 2047]), 2)
    assert possible.tolist() == [True, False, True]
    assert start.tolist() == [10, 0, 254]
    assert not start_values(np.array([0]), np.array([127]), np.array([9]), 20)[1][0]  # -2540 is outside 12 bits
    assert start_values(np.array([0]), np.array([127]), np.array([9]), 16)[0][0] == -2032


def test_a_neuron_that_cannot_be_prepared_is_told() -> None:
    net, findings = quantize(one_neuron(lif(1, beta=0.5, threshold=0.2), bias=-1.0))
    assert [d.code for d in findings] == []  # one step: v = -bias only, nothing between
    assert net["n"].initial["v"].tolist() == [14]  # 14 - (14 >> 1) - 7 = 0
    deep = build(
        "deep.nir", {"input": ((1,), None), "a": ((1,), lif(1)), "b": ((1,), lif(1, beta=1.0, threshold=0.2))},
        [("input", "a", Dense(np.ones((1, 1))), None, 0), ("a", "b", Dense(np.ones((1, 1))), np.array([-1.0]), 0)],
    )
    net, findings = quantize(deep)
    assert [d.code for d in findings] == ["NM306"]
    assert net["b"].initial["v"].tolist() == [0]
