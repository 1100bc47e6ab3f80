from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nmap.connectivity import Array, Dense
from nmap.network import Conventions, Network
from nmap.testing.networks import build
from tests.unit.spinnaker.quantizing import cells, fixed, measured, quantized, random_network, real, spikes_in, wide

KINDS = ("lif", "cuba", "if", "memoryless", "slow")
STEPS = st.sampled_from([1e-4, 2.5e-4, 5e-4, 1e-3, 1.3e-3, 2e-3])
FEW = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


@FEW
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS), dt=STEPS, rate=st.floats(0.02, 1.0))
def test_nothing_wraps_and_the_kernels_compute_the_equations(seed: int, kind: str, dt: float, rate: float) -> None:
    net = random_network(seed, kind, dt=dt)
    made, _ = quantized(net)
    spikes = spikes_in(net, seed, steps=50, rate=rate)
    seen, chip = wide(made, spikes, 50), fixed(made, spikes, 50)
    assert seen.largest < 2**31
    assert seen.saturated == 0
    for name, values in seen.spikes.items():
        if name != "in":
            np.testing.assert_array_equal(chip[name], values)


@FEW
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(KINDS), dt=STEPS)
def test_spikes_are_the_networks_own_and_samples_saturate_nothing(seed: int, kind: str, dt: float) -> None:
    net = random_network(seed, kind, dt=dt)
    spikes, steps = spikes_in(net, seed, steps=50, rate=0.1), 50
    made, _ = quantized(net, calibration=measured(net, spikes, steps))
    sent, _ = real(net, spikes, steps)
    seen = wide(made, spikes, steps + made.latency)
    assert seen.saturated == 0
    assert seen.largest < 2**31
    for name in ("a", "b"):
        late = made[name].latency
        assert not seen.spikes[name][:late].any()
        assert (seen.spikes[name][late : late + steps] == sent[name]).mean() > 0.97


def _layer(weights: Array, neurons: dict[str, Any], bias: float, dt: float) -> Network:
    n = weights.shape[0]
    return build(
        "layer.nir", {"in": ((weights.shape[1],), None), "a": ((n,), cells(n, **neurons))},
        [("in", "a", Dense(weights), np.full(n, bias), 0)], conventions=Conventions(dt),
    )


@FEW
@given(
    seed=st.integers(0, 10**6), size=st.floats(-6, 6), threshold=st.floats(-6, 6), gain=st.floats(-4, 4),
    beta=st.one_of(st.floats(0, 0.99996), st.just(0.0)), alpha=st.one_of(st.floats(0, 0.9999), st.just(0.0)),
    bias=st.floats(-2, 2), dt=STEPS,
)
def test_any_magnitudes_stay_in_range(
    seed: int, size: float, threshold: float, gain: float, beta: float, alpha: float, bias: float, dt: float
) -> None:
    """Weights, thresholds and gains over 12 decades, all inputs at once, none, and at random: no number ever wraps."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(0, 10.0**size, (3, 5))
    net = _layer(
        weights, {"beta": beta, "alpha": alpha, "threshold": 10.0**threshold, "gain_in": 10.0**gain, "v_reset": -(10.0**threshold)},
        bias * 10.0**size, dt,
    )
    made, found = quantized(net)
    if any(d.severity == "error" for d in found):
        assert {d.code for d in found if d.severity == "error"} == {"NM305"}
        return
    up = np.tile(weights[:1, None] > 0, (1, 60, 1))
    flood = np.concatenate([np.ones((1, 60, 5)), np.zeros((1, 60, 5)), rng.random((2, 60, 5)) < 0.5, up])
    given_ = {"in": flood.astype(np.int32)}
    seen, chip = wide(made, given_, 60), fixed(made, given_, 60)
    assert seen.largest < 2**31
    np.testing.assert_array_equal(chip["a"], seen.spikes["a"])
