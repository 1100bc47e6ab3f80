"""Loihi 2 quantization: grids, shared scale, exactness where it is possible, and a word for every loss."""

from __future__ import annotations

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.diagnostics import Findings, NmapError
from nmap.network import Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.options import Options
from nmap.rules import run_rules
from nmap.simulate.fixed import simulate
from nmap.trace import Probe
from nmap_loihi2 import TARGET

W = Provenance("net.h5", "/node")


def neuron(n, *, beta=0.9, alpha=0.0, threshold=1.0, drive=0.0, v_reset=0.0, spiking=True, gain=1.0):
    full = [np.broadcast_to(np.asarray(x, float), (n,)) for x in (alpha, 1.0, gain, beta, drive, threshold, v_reset)]
    return Neuron("LIF", *full, spiking=spiking)


def network(shape, neurons, projections, **conventions):
    pops = [Population("in", shape, None, W)]
    pops += [Population(name, s, x, W) for name, s, x in neurons]
    return Network("net.h5", "nir", "", tuple(pops), tuple(projections), ("in",), (pops[-1].name,), Conventions(1e-4, **conventions))


def project(source, target, connectivity, bias=None, delay=0, delays=None):
    return Projection(f"{source}>{target}", source, target, connectivity, bias, delay, W, delays)


def quantize(net, **options):
    findings = Findings()
    run_rules(net, TARGET, Options(**options), findings)
    quantized = TARGET.quantize(net, Options(**options), findings)
    findings.raise_errors()
    return quantized, findings


def codes(findings):
    return sorted({d.code for d in findings})


def test_mixed_weights_are_even_and_reach_the_end_of_the_grid():
    w = np.array([[0.5, -0.5, 0.123]])
    q, _ = quantize(network((3,), [("a", (1,), neuron(1))], [project("in", "a", Dense(w))]))
    stored = q.projections[0].connectivity.weights
    assert (stored % 2 == 0).all()
    assert stored.max() == 254
    assert q.projections[0].format.sign == "mixed"
    np.testing.assert_allclose(stored / q.losses[0].scale, w, atol=1 / q.losses[0].scale)


@pytest.mark.parametrize(("bits", "sign", "values"), [
    *((bits, "excitatory", [0.1, 0.7, 1.0]) for bits in range(1, 9)),
    *((bits, "inhibitory", [-0.1, -0.7, -1.0]) for bits in range(1, 9)),
    *((bits, "mixed", [-1.0, 0.3, 1.0]) for bits in range(2, 9)),
])
def test_every_width_keeps_lava_s_grid(bits, sign, values):
    q, _ = quantize(network((3,), [("a", (1,), neuron(1))], [project("in", "a", Dense(np.array([values])))]), bits=bits)
    stored, form = q.projections[0].connectivity.weights, q.projections[0].format
    assert form.sign == sign
    step = 2 ** (8 - bits + (sign == "mixed"))
    assert (stored % step == 0).all()
    low, high = {"excitatory": (0, 255), "inhibitory": (-255, 0), "mixed": (-256, 254)}[sign]
    assert low <= stored.min()
    assert stored.max() <= high
    assert form.bits == bits


def test_one_bit_holds_no_mixed_matrix():
    with pytest.raises(NmapError) as caught:
        quantize(network((2,), [("a", (1,), neuron(1))], [project("in", "a", Dense(np.array([[1.0, -1.0]])))]), bits=1)
    assert caught.value.diagnostics[0].code == "NM004"


def test_input_and_recurrent_weights_share_their_scale():
    rng = np.random.default_rng(0)
    w, r = rng.normal(0, 0.2, (6, 9)), rng.normal(0, 1.0, (6, 6))
    q, _ = quantize(network((9,), [("a", (6,), neuron(6))], [project("in", "a", Dense(w)), project("a", "a", Dense(r), delay=1)]))
    scale = q.losses[0].scale
    for p, real in zip(q.projections, (w, r), strict=True):
        effect = p.connectivity.weights * 2.0 ** (p.format.exponent - q.losses[0].exponent)
        assert p.format.exponent >= 0
        assert np.abs(effect - real * scale).max() <= 2.0 ** (p.format.exponent - q.losses[0].exponent)
    # The weaker matrix uses what the shared exponent leaves of the 8 bits.
    assert q.projections[0].format.exponent < q.projections[1].format.exponent
    assert q.projections[1].connectivity.weights.max() == 254 or q.projections[1].connectivity.weights.min() == -256


def test_integrate_and_fire_is_exact():
    """Without leak and with integer weights on the grid, v counts weights: fixed equals a plain integer sum."""
    rng = np.random.default_rng(1)
    w = rng.integers(-127, 128, (5, 20)).astype(float)
    w[0, 0] = 127
    for compare in (">", ">="):
        net = network((20,), [("a", (5,), neuron(5, beta=1.0, threshold=300.0))], [project("in", "a", Dense(w))], compare=compare)
        q, _ = quantize(net)
        x = (rng.random((1, 50, 20)) < 0.3).astype(np.int64)
        spikes = simulate(q, TARGET.kernels, x, 51).spikes["a"][0, 1:]
        v = np.zeros(5)
        for t in range(50):
            v = v + w @ x[0, t]
            fired = v > 300 if compare == ">" else v >= 300
            np.testing.assert_array_equal(spikes[t], fired)
            v[fired] = 0


def test_unequal_thresholds_become_unequal_weights():
    w = np.full((2, 3), 0.5)
    q, findings = quantize(network((3,), [("a", (2,), neuron(2, threshold=[1.0, 2.0]))], [project("in", "a", Dense(w))]))
    assert np.unique(q["a"].params["vth"]).size == 1
    stored = q.projections[0].connectivity.weights
    assert abs(stored[0, 0] - 2 * stored[1, 0]) <= 1
    assert codes(findings) == []


def test_biased_neurons_start_so_that_they_rest_when_input_comes():
    """Two layers; the second idles two steps. After them its voltage is exactly the starting one, for every bias and decay."""
    rng = np.random.default_rng(2)
    n = 200
    beta = rng.uniform(0.3, 0.999, n)
    bias = rng.uniform(-0.05, 0.2, n)
    net = network(
        (3,), [("a", (4,), neuron(4)), ("b", (n,), neuron(n, beta=beta))],
        [project("in", "a", Dense(rng.normal(0, 1, (4, 3)))), project("a", "b", Dense(rng.normal(0, 1, (n, 4))), bias=bias)],
    )
    q, _ = quantize(net)
    assert q["b"].latency == 2
    silent = np.zeros((1, 1, 3), np.int64)
    trace = simulate(q, TARGET.kernels, silent, 3, probes=[Probe("b", "v"), Probe("b", "spikes")])
    assert (trace.state["b.v"][0, 1] == 0).all()
    assert not trace.spikes["b"][0, :2].any()
    assert (trace.state["b.v"][0, 2] == q["b"].params["bias_mant"] << q["b"].params["bias_exp"]).all()


def test_reset_value_moves_to_zero():
    w = np.array([[0.5]])
    net = network((1,), [("a", (1,), neuron(1, v_reset=-0.5, threshold=1.0))], [project("in", "a", Dense(w))])
    q, _ = quantize(net)
    unit = 64 * q.losses[0].scale * 2 ** q.losses[0].exponent
    # In shifted coordinates v' = v + 0.5: threshold 1.5, start 0.5, and the leak toward v = 0 is a drive toward v' = 0.5.
    assert abs(q["a"].params["vth"][0] * 64 - 1.5 * unit) <= 64
    idle = simulate(q, TARGET.kernels, np.zeros((1, 40, 1), np.int64), 41, probes=[Probe("a", "v")]).state["a.v"][0]
    np.testing.assert_allclose(idle[1:] / unit, 0.5, rtol=0.02)


def test_leak_that_rounds_away_is_reported():
    _, findings = quantize(network((1,), [("a", (1,), neuron(1, beta=1 - 1e-5))], [project("in", "a", Dense(np.ones((1, 1))))]))
    assert "NM303" in codes(findings)


def test_subtractive_reset_is_refused_or_flagged():
    net = network((1,), [("a", (1,), neuron(1))], [project("in", "a", Dense(np.ones((1, 1))))], reset="subtract")
    with pytest.raises(NmapError) as caught:
        quantize(net)
    assert [d.code for d in caught.value.diagnostics] == ["NM202"]
    _, findings = quantize(net, approximate=frozenset({"reset"}))
    assert codes(findings) == ["NM205"]


def test_every_offending_population_at_once():
    net = network(
        (2,), [("a", (2,), neuron(2, beta=-0.5)), ("b", (2,), neuron(2, spiking=False)), ("c", (2,), neuron(2, alpha=1.0))],
        [project("in", "a", Dense(np.eye(2))), project("a", "b", Dense(np.eye(2))), project("b", "c", Dense(np.eye(2)), bias=np.ones(2))],
    )
    with pytest.raises(NmapError) as caught:
        quantize(net)
    assert sorted(d.code for d in caught.value.diagnostics) == ["NM201", "NM203", "NM305"]


@pytest.mark.parametrize("convolution", [False, True])
def test_thresholds_far_above_the_weights_make_room(convolution):
    """A threshold that would not hold takes scale from the weights; the neuron still fires in time."""
    weight, threshold = 0.01, 40.0
    if convolution:
        shape, connection = (1, 1, 1), Conv2d(np.full((1, 1, 1, 1), weight), (1, 1, 1))
    else:
        shape, connection = (1,), Dense(np.full((1, 1), weight))
    q, findings = quantize(network(shape, [("a", shape, neuron(1, threshold=threshold, beta=1.0))], [project("in", "a", connection)]))
    assert q["a"].params["vth"][0] <= 131071
    assert codes(findings) == ["NM302"]
    spikes = simulate(q, TARGET.kernels, np.ones((1, 4200, *shape), np.int64).reshape(1, 4200, -1), 4201).spikes["a"][0, 1:, 0]
    assert abs(int(np.argmax(spikes)) - 4000) <= 40


def test_threshold_and_bias_that_leave_no_weights_are_reported():
    net = network((1,), [("a", (1,), neuron(1, threshold=1e9, beta=1.0))], [project("in", "a", Dense(np.full((1, 1), 0.01)))])
    q, _ = quantize(net)
    assert q.losses[0].zeroed == 1
    net = network((1,), [("a", (1,), neuron(1, threshold=-1.0))], [project("in", "a", Dense(np.full((1, 1), 0.01)))])
    with pytest.raises(NmapError) as caught:
        quantize(net)
    assert caught.value.diagnostics[0].code == "NM305"


def test_skip_connection_is_delayed_to_line_up():
    eye = np.eye(2)
    net = network(
        (2,), [("a", (2,), neuron(2)), ("b", (2,), neuron(2)), ("c", (2,), neuron(2))],
        [project("in", "a", Dense(eye)), project("a", "b", Dense(eye)), project("b", "c", Dense(eye)), project("in", "c", Dense(eye))],
    )
    q, _ = quantize(net)
    assert [p.delay for p in q.projections] == [0, 0, 0, 2]
    assert [p.latency for p in q.populations] == [0, 1, 2, 3]


def test_loop_over_two_populations_is_refused_or_made_longer():
    eye = np.eye(2)
    net = network(
        (2,), [("a", (2,), neuron(2)), ("b", (2,), neuron(2))],
        [project("in", "a", Dense(eye)), project("a", "b", Dense(eye)), project("b", "a", Dense(eye), delay=1)],
    )
    with pytest.raises(NmapError) as caught:
        quantize(net)
    assert [d.code for d in caught.value.diagnostics] == ["NM204"]
    q, findings = quantize(net, approximate=frozenset({"delay"}))
    assert codes(findings) == ["NM205"]
    assert q.projections[2].delay == 0


def test_netx_integers_are_kept():
    """They are shifted as far as the grid has room, and stored in the bits that are left.

    By hand: -5 x 2^5 is the last in -256..254, and 3 and 5 need 3 bits beside the sign. -256 and 254 fill all 8. -8 x 2^4 is the last
    in -255..0, and 8 and 4 are 2 and 1 times 4: 2 bits, the sign is the matrix's.
    """
    for values, exponent, bits in (
        (np.array([[3.0, -5.0]]), -5, 4), (np.array([[254.0, -256.0]]), 0, 8), (np.array([[-8.0, -4.0]]), -4, 2),
    ):
        net = network((2,), [("a", (1,), neuron(1, threshold=10.0))], [project("in", "a", Dense(values), delay=1)], decay="steps")
        q, findings = quantize(net)
        p = q.projections[0]
        np.testing.assert_array_equal(p.connectivity.weights * 2.0**p.format.exponent, values)
        assert (p.format.exponent, p.format.bits) == (exponent, bits)
        assert q["a"].params["vth"][0] == 10
        assert q["a"].latency == 0
        assert codes(findings) == []


def test_weights_that_no_grid_holds_are_counted():
    values = np.array([[255.0, -3.0, 10.0]])
    net = network((3,), [("a", (1,), neuron(1, threshold=10.0))], [project("in", "a", Dense(values), delay=1)], decay="steps")
    q, findings = quantize(net)
    assert q.losses[0].sqnr_db is not None
    assert codes(findings) == ["NM302"]
    assert "2 integer weights" in next(iter(findings)).message


def test_mostly_zero_matrices_become_sparse_with_their_delays():
    rng = np.random.default_rng(3)
    w = rng.normal(0, 1, (20, 30)) * (rng.random((20, 30)) < 0.1)
    delays = rng.integers(0, 9, (20, 30))
    net = network((30,), [("a", (20,), neuron(20))], [project("in", "a", Dense(w), delays=delays)])
    q, _ = quantize(net)
    p = q.projections[0]
    assert isinstance(p.connectivity, Sparse)
    dense = np.zeros((20, 30), int)
    dense[p.connectivity.targets, p.connectivity.indices] = p.delays
    kept = np.zeros((20, 30), bool)
    kept[p.connectivity.targets, p.connectivity.indices] = True
    np.testing.assert_array_equal(dense[kept], delays[kept])


def test_convolutions_have_no_exponent():
    conv = Conv2d(np.random.default_rng(4).normal(0, 1, (3, 2, 3, 3)), (2, 6, 6), padding=(1, 1))
    q, _ = quantize(network((2, 6, 6), [("a", (3, 6, 6), neuron(108))], [project("in", "a", conv)]))
    assert q.projections[0].format.exponent == 0


def test_graded_input_needs_message_bits():
    net = network((2,), [("a", (2,), neuron(2))], [project("in", "a", Dense(np.eye(2)))])
    q, _ = quantize(net, payload=(0, 1))
    assert q.projections[0].format.message_bits == 0
    q, _ = quantize(net, payload=(-100, 98))
    assert q.projections[0].format.message_bits == 8


def test_current_that_may_wrap_is_noted():
    w = np.full((1, 2000), 1.0)
    _, findings = quantize(network((2000,), [("a", (1,), neuron(1, alpha=0.999))], [project("in", "a", Dense(w))]))
    assert "NM304" in codes(findings)


def test_sums_beyond_the_current_make_room():
    """Large graded payloads take scale from a convolution, and a negative exponent from a matrix; nothing wraps."""
    rng = np.random.default_rng(8)
    conv = Conv2d(rng.uniform(0.5, 1.0, (1, 1, 3, 3)), (1, 6, 6))
    q, findings = quantize(network((1, 6, 6), [("a", (1, 4, 4), neuron(16, threshold=3e4))], [project("in", "a", conv)]), payload=(0, 4000))
    assert codes(findings) == ["NM302"]
    assert q.projections[0].connectivity.weights.sum() * 4000 * 64 < 2**23
    w = rng.uniform(0.1, 1.0, (3, 784))
    net = network((784,), [("a", (3,), neuron(3, threshold=400.0))], [project("in", "a", Dense(w))])
    q, _ = quantize(net, payload=(0, 255))
    assert q.projections[0].format.exponent < 0
    inputs = rng.integers(0, 256, (2, 30, 784))
    u = simulate(q, TARGET.kernels, inputs, 31, probes=[Probe("a", "u")]).state["a.u"][:, 1:] / q["a"].scale
    np.testing.assert_allclose(u, inputs @ w.T, rtol=0.02)


def test_integer_sums_beyond_the_accumulators_are_told():
    """A file's own integers are not rescaled, so sums may overflow: the user is told, and the accumulator wraps."""
    w = np.full((1, 4), 254.0)
    net = network((4,), [("a", (1,), neuron(1, threshold=10.0))], [project("in", "a", Dense(w), delay=1)], decay="steps")
    # 4 x 254 x 30,000 is below 2^25, the rest is not; the sum itself has 32 bits.
    _, findings = quantize(net, payload=(0, 30_000))
    assert "overflow" not in str([d.message for d in findings])
    q, findings = quantize(net, payload=(0, 40_000))
    assert [d.severity for d in findings if d.code == "NM304"] == ["warning"]
    assert q.projections[0].format.accumulator == 0
    q, findings = quantize(net, payload=(0, 3_000_000))
    assert q.projections[0].format.accumulator == 32


def test_far_apart_thresholds_keep_the_weights():
    rng = np.random.default_rng(9)
    w = rng.normal(0, 0.1, (10, 40))
    threshold = np.ones(10)
    threshold[0] = 0.003
    q, findings = quantize(network((40,), [("a", (10,), neuron(10, threshold=threshold))], [project("in", "a", Dense(w))]))
    assert q.losses[0].zeroed < 20
    vth = q["a"].params["vth"]
    assert vth[1] > 300 * vth[0] > 0
    assert (vth[1:] == vth[1]).all()
    assert codes(findings) == ["NM206"]


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_sums_that_meet_the_threshold_fire_under_greater_or_equal(beta):
    net = network((1,), [("a", (1,), neuron(1, beta=beta))], [project("in", "a", Dense(np.ones((1, 1))))], compare=">=")
    q, _ = quantize(net)
    spikes = simulate(q, TARGET.kernels, np.ones((1, 8, 1), np.int64), 9).spikes["a"][0, 1:, 0]
    assert spikes.tolist() == [1] * 8
    net = network((1,), [("a", (1,), neuron(1, beta=0.0))], [project("in", "a", Dense(np.ones((1, 1))))])
    q, _ = quantize(net)
    assert not simulate(q, TARGET.kernels, np.ones((1, 8, 1), np.int64), 9).spikes["a"].any()


def test_outliers_that_zero_the_other_weights_are_a_warning():
    w = np.full((10, 50), 0.001)
    w[0, 0] = 1.0
    _, findings = quantize(network((50,), [("a", (10,), neuron(10))], [project("in", "a", Dense(w))]))
    assert codes(findings) == ["NM302"]
    assert "499 of 500 weights" in next(iter(findings)).message


def test_integer_biases_use_the_whole_field():
    net = network((1,), [("a", (4,), neuron(4, threshold=100.0, drive=[4095, -4096, 3, 1]))],
                  [project("in", "a", Dense(np.full((4, 1), 2.0)), delay=1)], decay="steps")
    q, findings = quantize(net)
    assert (q["a"].params["bias_mant"] << q["a"].params["bias_exp"]).tolist() == [64 * b for b in (4095, -4096, 3, 1)]
    assert codes(findings) == []
    net = network((1,), [("a", (2,), neuron(2, threshold=100.0, drive=[5000, 3]))],
                  [project("in", "a", Dense(np.full((2, 1), 2.0)), delay=1)], decay="steps")
    _, findings = quantize(net)
    assert codes(findings) == ["NM302"]


def test_a_bias_neuron_takes_a_free_name_and_holds_small_biases_beside_large_ones():
    bias = np.array([20.0, 0.02, 0.03, -0.01, 0.02])
    net = network(
        (5,), [("a", (5,), neuron(5, alpha=0.5)), ("a.bias", (5,), neuron(5))],
        [project("in", "a", Dense(np.eye(5)), bias=bias), project("a", "a.bias", Dense(np.eye(5)))],
    )
    q, _ = quantize(net, bits=4)
    assert [p.name for p in q.populations] == ["in", "a.bias_", "a", "a.bias"]
    carried = sum(p.connectivity.weights[:, 0] * 2.0**p.format.exponent for p in q.projections if p.source == "a.bias_")
    np.testing.assert_allclose(carried / (q["a"].scale / 64), bias, rtol=0.2, atol=0.005)


def test_a_bias_far_above_the_weights_is_told():
    net = network((3,), [("a", (3,), neuron(3, alpha=0.8))], [project("in", "a", Dense(np.eye(3)), bias=np.array([-1e4, 0, 0]))])
    q, findings = quantize(net)
    assert q.projections[0].format.exponent >= 0
    assert "NM302" in codes(findings)


def test_approximated_resets_do_not_use_the_reset_value():
    net = network((1,), [("a", (1,), neuron(1, v_reset=0.8))], [project("in", "a", Dense(np.ones((1, 1))))], reset="subtract")
    q, _ = quantize(net, approximate=frozenset({"reset"}))
    assert not q["a"].initial
    assert abs(int(q["a"].params["vth"][0]) - q.losses[0].scale * 2 ** q.losses[0].exponent) <= 1


@pytest.mark.parametrize("large", [1.0, 60.0])
def test_bias_through_a_current_is_exact(large):
    """Against the difference equation itself, with the realised integers; the first bias arrives in the network's first step."""
    rng = np.random.default_rng(5)
    n = 30
    alpha, beta = 0.75, 0.875
    bias = np.where(rng.random(n) < 0.8, rng.uniform(-0.02, 0.03, n), 0) * large
    first = project("in", "a", Dense(rng.normal(0, 0.1, (4, 3))))
    net = network(
        (3,), [("a", (4,), neuron(4)), ("b", (n,), neuron(n, alpha=alpha, beta=beta, threshold=2.0 * large))],
        [first, project("a", "b", Dense(rng.normal(0, 0.1, (n, 4))), bias=bias)],
    )
    q, _ = quantize(net)
    assert [p.name for p in q.populations] == ["in", "a", "b.bias", "b"]
    silent = np.zeros((1, 40, 3), np.int64)
    trace = simulate(q, TARGET.kernels, silent, 42, probes=[Probe("b", "u"), Probe("b.bias", "spikes"), Probe("b", "spikes")])
    assert trace.spikes["b.bias"][0, :, 0].tolist() == [0, *[1] * 41]
    carriers = [p for p in q.projections if p.source == "b.bias"]
    per_step = sum(p.connectivity.weights[:, 0].astype(np.int64) << p.format.exponent for p in carriers)
    unit = q["b"].scale / 64
    np.testing.assert_allclose(per_step / unit, bias, atol=np.abs(bias).max() / 100)
    assert per_step.any()
    u = np.zeros(n)
    for t in range(40):
        u = np.trunc(u * alpha) + 64 * per_step
        np.testing.assert_array_equal(trace.state["b.u"][0, t + 2], u)


def test_a_delayed_convolution_reads_a_relay():
    rng = np.random.default_rng(6)
    conv = Conv2d(rng.normal(0, 1, (4, 1, 3, 3)), (2, 6, 5), padding=(1, 1), groups=2)
    same = Conv2d(rng.normal(0, 1, (4, 4, 3, 3)), (4, 6, 5), padding=(1, 1))
    net = network(
        (2, 6, 5), [("a", (4, 6, 5), neuron(120)), ("b", (4, 6, 5), neuron(120))],
        [project("in", "a", conv), project("a", "b", same), project("in", "b", conv)],
    )
    q, findings = quantize(net)
    late = q.projections[2]
    assert (late.source, late.delay) == ("in>b.relay", 0)
    feed = next(p for p in q.projections if p.target == "in>b.relay")
    # A spike of step t reaches the relay in t + 1, which sends it then: one step of delay, and the hop from there.
    assert (feed.source, feed.delay, q["in>b.relay"].latency) == ("in", 0, 1)
    assert codes(findings) == []
    x = (rng.random((2, 12, 60)) < 0.3).astype(np.int64)
    sent = simulate(q, TARGET.kernels, x, 14, record=["in>b.relay"]).spikes["in>b.relay"]
    np.testing.assert_array_equal(sent[:, 1:13], x)
    scaled = conv.with_weights(np.rint(conv.weights * q.losses[1].scale / 2) * 2)
    np.testing.assert_array_equal(late.connectivity.apply(x), scaled.apply(x))


def crossings(net, x, *, late=0):
    """Membranes in plain Python: one layer after the other, all on integers; returns {name: (steps, n) spikes as the network sends them}.

    Written from the docstrings of `nmap.network` alone. `late` is the number of steps between a crossing and its spike.
    """
    steps = len(x)
    sent = {"in": np.array(x)}
    order = [p.name for p in net.populations if p.neuron is not None]
    for name in order:
        sent[name] = np.zeros((steps + late, net[name].size), int)
    state = {name: (np.zeros(net[name].size), np.zeros(net[name].size)) for name in order}
    for t in range(steps):
        for name in order:
            total = np.zeros(net[name].size)
            for p in net.projections:
                if p.target != name:
                    continue
                if p.bias is not None and t >= p.bias_from:
                    total += p.bias
                if t >= p.delay:
                    total += p.connectivity.weights @ sent[p.source][t - p.delay]
            n = net[name].neuron
            i, v = state[name]
            i = n.alpha * i + total
            v = n.beta * v + i
            fired = v > n.threshold
            sent[name][t + late] = fired
            state[name] = (i, np.where(fired, 0, v))
    return {name: values[:steps] for name, values in sent.items()}


def integers(rng, shape, high=127):
    """Whole even weights that lie on the chip's grid as they are: the largest is 254 and the scale 1."""
    w = 2 * rng.integers(-high, high + 1, shape).astype(float)
    w.flat[0] = 254.0
    return w


def realigned(quantized, x):
    """Run the quantized network and return every population's spikes in the network's own time."""
    steps = x.shape[0] + max(p.latency for p in quantized.populations)
    trace = simulate(quantized, TARGET.kernels, x[None], steps, record=[p.name for p in quantized.populations])
    return {p.name: trace.spikes[p.name][0, p.latency : p.latency + x.shape[0]] for p in quantized.populations}


@pytest.mark.parametrize("lag", [0, 1, 2, 5])
@pytest.mark.parametrize("loop", [False, True])
def test_spikes_that_lag_are_exact(lag, loop):
    """A lag is a delay of every projection out of a population: skips, self-loops and longer loops keep the network's time."""
    rng = np.random.default_rng([11, lag])
    projections = [
        project("in", "a", Dense(integers(rng, (6, 8)))), project("a", "b", Dense(integers(rng, (5, 6)))),
        project("in", "b", Dense(integers(rng, (5, 8)))), project("a", "a", Dense(integers(rng, (6, 6))), delay=1),
    ]
    if loop:
        # One step of delay is too short for a loop of two hops, and long enough together with the lag.
        projections.append(project("b", "a", Dense(integers(rng, (6, 5))), delay=1 if lag else 2))
    net = network((8,), [("a", (6,), neuron(6, beta=1.0, threshold=401.0)), ("b", (5,), neuron(5, beta=1.0, threshold=301.0))],
                  projections, lag=lag)
    q, findings = quantize(net)
    assert codes(findings) == (["NM204"] if lag else [])
    assert all(d.severity == "note" for d in findings)
    assert {d.threshold_error for d in q.losses} == {0.0}
    x = (rng.random((120, 8)) < 0.3).astype(np.int64)
    wanted, got = crossings(net, x, late=lag), realigned(q, x)
    for name in ("a", "b"):
        assert wanted[name].sum() > 20
        np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)
        # An oracle that ignores the lag must not pass.
        assert not lag or (got[name] != crossings(net, x)[name]).any()


@pytest.mark.parametrize("first", [0, 1, 3, 200])
def test_a_bias_that_begins_later_is_exact(first):
    """Norse: the bias of a recurrent edge acts from the step in which its first spike can arrive."""
    rng = np.random.default_rng([12, first])
    small = [2.0 * rng.integers(-20, 21, (6, n)) for n in (8, 6)]
    net = network(
        (8,), [("a", (6,), neuron(6, beta=1.0, threshold=401.0)), ("b", (6,), neuron(6, beta=1.0, threshold=999.0))],
        [
            project("in", "a", Dense(integers(rng, (6, 8)))), project("in", "b", Dense(small[0])),
            project("a", "b", Dense(integers(rng, (6, 6)))),
            Projection("b>b", "b", "b", Dense(small[1]), np.array([6.0, 0.0, 20.0, 254.0, 2.0, 0.0]), 1, W, bias_from=first),
        ], late_bias=first > 0,
    )
    q, findings = quantize(net)
    assert codes(findings) == []
    assert ("b.bias" in [p.name for p in q.populations]) == (first > 0)
    x = (rng.random((260, 8)) < 0.1).astype(np.int64)
    got, wanted = realigned(q, x), crossings(net, x)
    for name in ("a", "b"):
        assert wanted[name].sum() > 20
        np.testing.assert_array_equal(got[name], wanted[name], err_msg=name)


@pytest.mark.parametrize("first", [0, 1, 7])
def test_a_bias_that_begins_later_and_passes_a_current_is_exact(first):
    bias = np.array([100.0, -50.0])
    net = network(
        (2,), [("a", (2,), neuron(2, beta=1.0, threshold=1000.0)), ("b", (2,), neuron(2, alpha=0.5, beta=1.0, threshold=60000.0))],
        [
            project("in", "a", Dense(np.array([[254.0, -2.0], [2.0, 254.0]]))),
            project("a", "b", Dense(np.array([[254.0, -2.0], [2.0, 8.0]]))),
            Projection("b>b", "b", "b", Dense(np.array([[2.0, -4.0], [0.0, 2.0]])), bias, 1, W, bias_from=first),
        ], late_bias=first > 0,
    )
    q, findings = quantize(net)
    assert codes(findings) == []
    trace = simulate(q, TARGET.kernels, np.zeros((1, 12, 2), np.int64), 14, probes=[Probe("b", "u")]).state["b.u"][0]
    u = np.zeros(2)
    assert not trace[:2].any()
    for t in range(12):
        u = np.trunc(u / 2) + (64 * bias if t >= first else 0)
        np.testing.assert_array_equal(trace[2 + t], u)


def test_a_bias_through_a_current_waits_for_a_population_without_latency():
    """A delayed edge would leave no step in which the bias could be sent before the network's first one."""
    net = network((2,), [("a", (2,), neuron(2, alpha=0.5, beta=1.0, threshold=1000.0))],
                  [project("in", "a", Dense(np.array([[254.0, 2.0], [2.0, 254.0]])), bias=np.array([100.0, 50.0]), delay=3)])
    q, _ = quantize(net)
    assert q["a"].latency == 1
    trace = simulate(q, TARGET.kernels, np.zeros((1, 4, 2), np.int64), 5, probes=[Probe("a", "u")]).state["a.u"][0]
    # u = u / 2 + bias from the network's step 0, which is chip step 1; 64 units to a weight.
    unit = q["a"].scale[0]
    np.testing.assert_allclose(trace[:4, 0] / unit, [0, 100, 150, 175], rtol=0.02)


def test_biases_that_begin_one_after_the_other_have_a_neuron_each():
    eye = Dense(np.array([[254.0, -2.0], [-2.0, 254.0]]))
    projections = [
        Projection(f"{k}", "in", "a", eye, np.array([float(b), 0.0]), 0, W, bias_from=k) for k, b in ((0, 2), (1, 4), (4, -254))
    ]
    net = network((2,), [("a", (2,), neuron(2, beta=1.0, threshold=60000.0))], projections)
    q, _ = quantize(net)
    assert [p.name for p in q.populations] == ["in", "a.bias", "a.bias_", "a"]
    v = simulate(q, TARGET.kernels, np.zeros((1, 8, 2), np.int64), 9, probes=[Probe("a", "v")]).state["a.v"][0, 1:, 0]
    per_step = [2, 6, 6, 6, -248, -248, -248, -248]
    assert q["a"].scale[0] == 64
    np.testing.assert_array_equal(v, np.cumsum(per_step) * 64)
