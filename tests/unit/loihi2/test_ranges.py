"""Interval analysis against every input that small networks can get."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.diagnostics import Findings
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap_loihi2 import TARGET
from nmap_loihi2.ranges import prove_ranges

HERE = Provenance("net.h5", "/")
LIF = {"du": 4095, "dv": 0, "vth": 100, "bias_mant": 0, "bias_exp": 0}


def port(shape):
    return QuantizedPopulation("in", shape, None, {}, HERE)


def neurons(name, shape, kernel="loihi2.lif", **params):
    values = {**LIF, **params} if "lif" in kernel else params
    return QuantizedPopulation(name, shape, kernel, {k: np.array(v) for k, v in values.items()}, HERE)


def edge(source, target, connectivity, exponent=0, message_bits=24):
    form = SynapseFormat(8, exponent, "mixed", message_bits)
    return QuantizedProjection(f"{source}>{target}", source, target, connectivity, form, 0, HERE)


def prove(populations, projections, payload=(0, 1)):
    findings = Findings()
    network = QuantizedNetwork(populations, projections, ("in",), (populations[-1].name,))
    return prove_ranges(network, payload, TARGET.spec, findings), findings


@pytest.mark.parametrize("seed", range(40))
def test_the_width_is_dropped_exactly_where_no_input_needs_it(seed):
    """Three sources, payloads at the ends of their range: all combinations against the 24 or 32 bits of the accumulator."""
    rng = np.random.default_rng(seed)
    exponent = int(rng.integers(-3, 6))
    payload = tuple(int(v) for v in sorted(rng.integers(-(1 << 17), 1 << 17, 2))) if seed % 2 else (0, int(rng.integers(1, 1 << 18)))
    weights = rng.integers(-128, 128, (2, 3)).astype(np.int32) * int(2 ** rng.integers(0, 6))
    kinds = {
        "dense": (Dense(weights), 32, exponent), "sparse": (Sparse.from_dense(weights), 32, exponent),
        "conv": (Conv2d(weights.reshape(2, 3, 1, 1), (3, 1, 1)), 24, 0),
    }
    ends = [min(payload[0], 0), max(payload[1], 0)]
    for connectivity, bits, shift in kinds.values():
        net, findings = prove((port((3, 1, 1)), neurons("a", (2, 1, 1))), (edge("in", "a", connectivity, shift),), payload)
        sums = [weights.astype(object) @ np.array(x, object) for x in product(ends, repeat=3)]
        fits = all(-(1 << (bits - 1)) < v * 2 ** max(shift, 0) < 1 << (bits - 1) for total in sums for v in total)
        form = net.projections[0].format
        assert form.accumulator == (0 if fits else bits), (connectivity.kind, payload, shift)
        assert (form.bits, form.exponent, form.message_bits) == (8, shift, 24)
        if not fits:
            assert any(d.code == "NM304" and "in>a" in d.message for d in findings)


def test_binary_spikes_and_signed_ones():
    """A LIF sends 0 or 1, a ternary one -1 too, and what is binary on its way counts as 1 whatever was sent."""
    weights = Dense(np.full((1, 1 << 17), 128, np.int32))
    wide = (1 << 17,)
    for kernel, message_bits, payload, expected in [
        ("loihi2.lif", 0, 1, 0), ("loihi2.ternary_lif", 2, 1, 0), ("loihi2.lif", 0, 300, 0), ("loihi2.sigma", 24, 1, 32),
    ]:
        extra = {"vth_lo": -5} if "ternary" in kernel else {}
        populations = (port(wide), neurons("a", wide, kernel, **extra), neurons("b", (1,)))
        one = Sparse.diagonal(np.ones(1 << 17, np.int32))
        net, _ = prove(populations, (edge("in", "a", one), edge("a", "b", weights, 6, message_bits)), (0, payload))
        # 2^17 sources times 128 times 2^6 = 2^30: inside 32 bits for payloads of one unit.
        assert net.projections[1].format.accumulator == expected, kernel


def test_a_relay_hands_its_sources_bounds_on():
    one = Conv2d(np.ones((1, 1, 1, 1), np.int32), (1, 2, 2))
    conv = Conv2d(np.full((1, 1, 2, 2), 64, np.int32), (1, 2, 2))
    for payload, expected in (((0, 1 << 14), 0), ((0, 1 << 15), 24), ((-(1 << 15), 0), 24)):
        populations = (port((1, 2, 2)), neurons("r", (1, 2, 2), "loihi2.relay"), neurons("a", (1, 1, 1)))
        net, _ = prove(populations, (edge("in", "r", one), edge("r", "a", conv)), payload)
        # 4 taps of 64: 2^8 times the payload, against 2^23.
        assert net.projections[1].format.accumulator == expected


def test_deltas_are_bounded_by_their_fraction():
    params = {"vth": 64, "spike_exp": 6, "cum_error": 0}
    weights = Dense(np.full((1, 2), 64, np.int32))
    one = Sparse.diagonal(np.ones(2, np.int32))
    for state_exp, expected in ((6, 32), (8, 0)):
        populations = (port((2,)), neurons("d", (2,), "loihi2.delta", **params, state_exp=state_exp), neurons("a", (1,)))
        net, _ = prove(populations, (edge("in", "d", one), edge("d", "a", weights)))
        # 2 synapses of 64: 2^7 times 2^(31 - state_exp).
        assert net.projections[1].format.accumulator == expected


def test_a_current_that_may_wrap_is_noted_and_one_that_may_overflow_is_a_warning():
    weights = Dense(np.full((1, 2000), 254, np.int32))
    _, findings = prove((port((2000,)), neurons("a", (1,), du=4)), (edge("in", "a", weights, 0, 0),))
    # 508,000 x 64 = 2^24.9 in one step.
    assert [(d.code, d.severity) for d in findings] == [("NM304", "note")]
    _, findings = prove((port((2000,)), neurons("a", (1,), du=4)), (edge("in", "a", weights, 0, 8),), (0, 255))
    assert [(d.code, d.severity) for d in findings] == [("NM304", "warning")]
    _, findings = prove((port((2000,)), neurons("a", (1,))), (edge("in", "a", Dense(np.ones((1, 2000), np.int32)), 0, 0),))
    assert list(findings) == []


@pytest.mark.parametrize(("weights", "exponent", "delay", "bits"), [
    # Lava's Conv takes weights without a shift; stored 2^3 times as large they wrap 3 bits later.
    ([[8, -64]], -3, 0, 27), ([[8, -64]], 0, 0, 24), ([[8, -64]], 2, 0, 24),
    # It computes neither a shift that rounds nor a delay: those are lists of synapses, with 32 bits.
    ([[8, -66]], -3, 0, 32), ([[8, -64]], 0, 1, 32),
])
def test_the_width_of_a_convolution_is_that_of_the_process_it_becomes(weights, exponent, delay, bits):
    conv = Conv2d(np.array(weights, np.int32).reshape(1, 2, 1, 1), (2, 1, 1))
    p = QuantizedProjection("in>a", "in", "a", conv, SynapseFormat(8, exponent, "mixed", 32), delay, HERE)
    net, _ = prove((port((2, 1, 1)), neurons("a", (1, 1, 1))), (p,), (-(1 << 31), (1 << 31) - 1))
    assert net.projections[0].format.accumulator == bits
