"""Realised delays: random graphs keep the network's own time exactly, or say where they cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.connectivity import Dense
from nmap.diagnostics import Findings
from nmap.network import Conventions, Network, Population, Projection, Provenance
from nmap.quantize.timing import realise_delays
from nmap.testing.networks import lif

W = Provenance("net.h5", "/")
ONE = Dense(np.ones((1, 1)))


def graph(n, edges):
    populations = tuple(Population(str(k), (1,), None, W) for k in range(n))
    projections = tuple(Projection(f"{k}:{a}>{b}", str(a), str(b), ONE, None, d, W) for k, (a, b, d) in enumerate(edges))
    return Network("net.h5", "nir", "", populations, projections, ("0",), (str(n - 1),), Conventions(1e-4))


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 7), st.data())
def test_forward_and_self_loops_are_exact(n, data):
    edges = [(k, k + 1, 0) for k in range(n - 1)]
    skips = data.draw(st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=6))
    edges += [(a, b, data.draw(st.integers(0, 3))) for a, b in skips if a < b]
    edges += [(k, k, 1) for k in data.draw(st.sets(st.integers(1, n - 1)))]
    net, findings = graph(n, edges), Findings()
    timing = realise_delays(net, findings, max_delay=62, allow_longer=False)
    assert len(findings) == 0
    for p in net.projections:
        # Sent in chip step L(source) + t, acts 1 + delay later: in the target's own step t + network delay.
        assert timing.latency[p.source] + 1 + timing.delay[p.name] == timing.latency[p.target] + p.delay
        assert timing.delay[p.name] >= 0
    assert timing.latency["0"] == 0


def test_netx_time_needs_no_latency():
    timing = realise_delays(graph(3, [(0, 1, 1), (1, 2, 1)]), Findings(), max_delay=62, allow_longer=False)
    assert set(timing.latency.values()) == {0}
    assert set(timing.delay.values()) == {0}


def test_only_the_loop_s_own_projection_is_late():
    findings = Findings()
    timing = realise_delays(graph(4, [(0, 1, 0), (1, 2, 0), (2, 3, 0), (3, 1, 1)]), findings, max_delay=62, allow_longer=False)
    assert [d.code for d in findings] == ["NM204"]
    assert "`3:3>1` acts 2 steps later" in next(iter(findings)).message
    assert [timing.latency[str(k)] for k in range(4)] == [0, 1, 2, 3]


def test_a_loop_with_enough_delay_is_exact():
    findings = Findings()
    timing = realise_delays(graph(3, [(0, 1, 0), (1, 2, 0), (2, 1, 2)]), findings, max_delay=62, allow_longer=False)
    assert len(findings) == 0
    assert timing.delay["2:2>1"] == 0


def test_delay_beyond_the_chip():
    findings = Findings()
    realise_delays(graph(2, [(0, 1, 70)]), findings, max_delay=62, allow_longer=False)
    assert [d.code for d in findings] == ["NM204"]


def lagging(n, edges, lag):
    net = graph(n, edges)
    populations = tuple(replace(p, neuron=lif(1)) if p.name != "0" else p for p in net.populations)
    return replace(net, populations=populations, conventions=Conventions(1e-4, lag=lag))


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 7), st.integers(1, 6), st.data())
def test_a_lag_is_kept_on_every_edge_and_no_spike_is_due_before_the_start(n, lag, data):
    edges = [(k, k + 1, 0) for k in range(n - 1)]
    skips = data.draw(st.lists(st.tuples(*[st.integers(0, n - 1)] * 2), max_size=6))
    edges += [(a, b, data.draw(st.integers(0, 3))) for a, b in skips if a < b]
    edges += [(k, k, data.draw(st.integers(0, 2))) for k in data.draw(st.sets(st.integers(1, n - 1)))]
    net, findings = lagging(n, edges, lag), Findings()
    timing = realise_delays(net, findings, max_delay=62, allow_longer=False)
    assert len(findings) == 0
    for p in net.projections:
        # The crossing of the network's step t happens in chip step t + latency; its spike, stated for step t + lag, acts delay later.
        crossing = timing.latency[p.source]
        after = 0 if p.source == "0" else lag
        assert crossing + 1 + timing.delay[p.name] == timing.latency[p.target] + after + p.delay
        assert timing.delay[p.name] >= 0
    for name, steps in timing.spikes.items():
        assert steps == timing.latency[name] - (0 if name == "0" else lag)
        assert steps >= 0


def test_a_lag_lengthens_a_loop_that_is_too_short():
    edges = [(0, 1, 0), (1, 2, 0), (2, 1, 1)]
    findings = Findings()
    realise_delays(graph(3, edges), findings, max_delay=62, allow_longer=False)
    assert [d.code for d in findings] == ["NM204"]
    findings = Findings()
    realise_delays(lagging(3, edges, 1), findings, max_delay=62, allow_longer=False)
    assert len(findings) == 0


def test_a_least_latency_is_kept_and_passed_on():
    timing = realise_delays(graph(3, [(0, 1, 4), (1, 2, 0)]), Findings(), max_delay=62, allow_longer=False, earliest={"1": 2})
    assert timing.latency == {"0": 0, "1": 2, "2": 3}
    assert timing.delay == {"0:0>1": 5, "1:1>2": 0}


def test_a_delay_too_long_says_what_it_is_made_of():
    findings = Findings()
    realise_delays(lagging(4, [(0, 1, 0), (1, 2, 0), (2, 3, 0), (1, 3, 60)], 5), findings, max_delay=62, allow_longer=False)
    (found,) = findings
    # 60 + 5, less the hop that the edge itself takes, and 1 more to wait for the path over 2.
    assert "needs a synaptic delay of" in found.message
    assert found.why.startswith("60 of the edge, 5 between crossing and spike")
