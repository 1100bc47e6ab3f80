"""SpiNNaker 2's conversion against numbers worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Array, Dense, Sparse
from nmap.diagnostics import Findings
from nmap.network import Conventions, Network, Neuron
from nmap.options import Options
from nmap.quantized import QuantizedNetwork
from nmap.testing.networks import build
from nmap_spinnaker.second.numbers import bits, real
from nmap_spinnaker.second.quantize import start_values
from nmap_spinnaker.spinnaker2 import TARGET

BIAS = frozenset({"bias"})


def cells(
    n: int, *, alpha: float = 0.0, beta: float = 0.5, gain_in: float = 1.0, gain_v: float = 1.0, threshold: float = 1.0, drive: float = 0.0,
    reset: float = 0.0,
) -> Neuron:
    def full(value: float) -> Array:
        return np.full(n, value)

    values = (alpha, gain_in, gain_v, beta, drive, threshold, reset)
    return Neuron("CubaLIF" if alpha else "LIF", *(full(value) for value in values))


def one(neuron: Neuron, weights: Array, bias: Array | None = None, loop: Array | None = None, **conventions: object) -> Network:
    n = weights.shape[0]
    projections = [("input", "cells", Dense(weights), bias, 0)]
    if loop is not None:
        projections.append(("cells", "cells", Dense(loop), None, 1))
    return build(
        "one.nir", {"input": ((weights.shape[1],), None), "cells": ((n,), neuron)}, projections,
        conventions=Conventions(1e-3, **conventions),  # type: ignore[arg-type]
    )


def made(network: Network, approximate: frozenset[str] = frozenset(), **how: object) -> tuple[QuantizedNetwork, Findings]:
    findings = Findings()
    return TARGET.quantize(network, Options(approximate=approximate, **how), findings), findings  # type: ignore[arg-type]


def value(network: QuantizedNetwork, name: str) -> Array:
    return real(network["cells"].params[name])


def test_one_scale_for_all_projections_and_truncation_toward_zero() -> None:
    network = one(cells(2), np.array([[1.0, -0.99], [0.5, 0.004]]), loop=np.array([[0.0, -2.0], [0.75, 0.3]]))
    quantized, findings = made(network)
    # 127 / 2 = 63.5
    first, loop = (p.connectivity.weights for p in quantized.projections)
    np.testing.assert_array_equal(first, [[63, -62], [31, 0]])
    np.testing.assert_array_equal(loop, [[0, -127], [47, 19]])
    np.testing.assert_array_equal(value(quantized, "threshold"), [63.5, 63.5])
    assert [d.code for d in findings] == ["NM302"]
    nearest, _ = made(network, frozenset({"rounding"}))
    np.testing.assert_array_equal(nearest.projections[0].connectivity.weights, [[64, -63], [32, 0]])
    assert nearest.losses[0].sqnr_db > quantized.losses[0].sqnr_db  # type: ignore[operator]


def test_fewer_bits_on_request() -> None:
    quantized, _ = made(one(cells(1), np.array([[1.0, -0.5]])), bits=4)
    np.testing.assert_array_equal(quantized.projections[0].connectivity.weights, [[7, -3]])
    assert quantized.losses[0].bits == 4


def test_gains_go_into_threshold_and_offset() -> None:
    network = one(cells(1, gain_v=0.25, threshold=0.5, drive=0.125, reset=0.25), np.array([[1.0]]), np.array([-2.0]))
    quantized, _ = made(network)
    # In units of weights: v = v_network / 0.25 * 127.
    assert value(quantized, "threshold") == 0.5 / 0.25 * 127
    assert value(quantized, "v_reset") == 0.25 / 0.25 * 127
    assert value(quantized, "i_offset") == (0.125 / 0.25 - 2) * 127
    assert value(quantized, "alpha_decay") == 0.5
    assert quantized["cells"].scale == pytest.approx(127 / 0.25)


def test_both_currents_get_the_weights_of_their_sign() -> None:
    network = one(cells(2, alpha=0.75, gain_in=0.5, gain_v=0.5), np.array([[1.0, -1.0], [0.0, 0.5]]))
    quantized, _ = made(network)
    up, down = quantized.projections
    assert (up.name, up.receptor, down.name, down.receptor) == ("input->cells", 0, "input->cells.inhibitory", 1)
    np.testing.assert_array_equal(up.connectivity.weights, [[127, 0], [0, 63]])
    np.testing.assert_array_equal(down.connectivity.weights, [[0, 127], [0, 0]])
    assert quantized["cells"].kernel == "spinnaker2.lif_curr_exp_no_delay"
    for name in ("exc_decay", "inh_decay"):
        np.testing.assert_array_equal(value(quantized, name), [0.75, 0.75])
    np.testing.assert_array_equal(value(quantized, "threshold"), [4 * 127, 4 * 127])


def test_listed_synapses_are_divided_by_sign() -> None:
    weights = np.array([[1.0, -1.0, 0.0], [0.0, 0.0, -0.5]])
    network = build(
        "sparse.nir", {"input": ((3,), None), "cells": ((2,), cells(2, alpha=0.5))},
        [("input", "cells", Sparse.from_dense(weights), None, 0)],
    )
    quantized, _ = made(network)
    dense = [p.connectivity.apply(np.eye(3)).T for p in quantized.projections]
    np.testing.assert_array_equal(dense[0] - dense[1], [[127, -127, 0], [0, 0, -63]])
    assert [p.connectivity.synapses for p in quantized.projections] == [1, 2]


def test_a_bias_through_a_current_becomes_its_steady_value_and_starts_at_once() -> None:
    network = one(cells(1, alpha=0.75, gain_in=0.5), np.array([[2.0]]), np.array([0.5]))
    quantized, _ = made(network, BIAS)
    assert value(quantized, "i_offset") == 0.5 / (1 - 0.75) * 63.5
    assert quantized["cells"].initial == {}


def test_a_bias_on_v_is_prepared_for_unless_the_vendors_start_is_asked_for() -> None:
    network = one(cells(1), np.array([[1.0]]), np.array([-0.5]))
    quantized, findings = made(network)
    # The input arrives one step late: 0.5 v - 63.5 = 0.
    np.testing.assert_array_equal(real(quantized["cells"].initial["v"]), [127.0])
    assert [d.code for d in findings] == []
    assert made(network, BIAS)[0]["cells"].initial == {}


def test_a_start_above_the_threshold_is_told() -> None:
    network = one(cells(1, threshold=0.5), np.array([[1.0]]), np.array([-0.5]))
    quantized, findings = made(network)
    assert quantized["cells"].initial == {}
    assert [d.code for d in findings] == ["NM306"]


def test_starts_lead_to_zero() -> None:
    decay, offset = np.array([0.9, 0.5, 1.0, 0.0, 0.0]), np.array([0.3, -0.4, 0.25, 2.0, 0.5])
    start, possible = start_values(decay, offset, np.ones(5), 3)
    np.testing.assert_array_equal(possible, [True, False, True, False, True])
    v = start.copy()
    for _ in range(3):
        v = decay * v + offset
    np.testing.assert_allclose(v[[0, 2]], 0, atol=1e-12)
    np.testing.assert_array_equal(start[[1, 3, 4]], 0)


def test_equality_fires_where_the_network_says_so() -> None:
    network = one(cells(1, threshold=1.0), np.array([[127.0]]), compare=">=")
    quantized, _ = made(network)
    # In units of weights the threshold is 1: v > the float32 before it.
    np.testing.assert_array_equal(quantized["cells"].params["threshold"], bits(np.array([1.0])) - 1)


def test_resets() -> None:
    for reset, flag in (("zero", 0), ("subtract", 1)):
        quantized, _ = made(one(cells(2), np.ones((2, 1)), reset=reset))
        np.testing.assert_array_equal(quantized["cells"].params["subtract"], [flag, flag])


def test_a_delay_leaves_four_bits_and_a_sign() -> None:
    network = one(cells(2), np.array([[1.0, -0.5], [0.3, 0.0]]))
    late = replace(network, projections=(replace(network.projections[0], delays=np.array([[0, 3], [7, 0]])),))
    quantized, findings = made(late)
    projection = quantized.projections[0]
    assert quantized["cells"].kernel == "spinnaker2.lif"
    np.testing.assert_array_equal(projection.connectivity.weights, [[15, -7], [4, 0]])
    np.testing.assert_array_equal(projection.delays, [[0, 3], [7, 0]])
    assert quantized.losses[0].bits == 5
    assert [d.code for d in findings] == ["NM206"]
    assert value(quantized, "threshold")[0] == 15


def test_settings_say_how_long_a_step_lasts() -> None:
    network = one(cells(1), np.ones((1, 1)))
    assert made(network)[0].settings == {"timestep_us": 1000, "time_scale": 1}
    assert made(network, slowdown=4)[0].settings == {"timestep_us": 1000, "time_scale": 4}
