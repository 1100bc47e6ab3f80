"""The periodic reset at the float level, against arithmetic by hand and against runs of their own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.network import Conventions, Network
from nmap.simulate import floating
from nmap.simulate.floating import simulate
from nmap.testing.networks import FOREIGN_NETWORKS, build, lif, recurrent


def _counter(hops: int = 0, **conventions: Any) -> Network:
    """Return a neuron that adds one in every step and never fires."""
    made = build(
        "c.nir", {"input": ((1,), None), "a": ((1,), replace(lif(1, beta=1.0, threshold=1e9), alpha=np.full(1, 0.5)))},
        [("input", "a", Dense(np.ones((1, 1))), None, 0)], conventions=Conventions(1e-3, **conventions),
    )
    return replace(made, populations=tuple(replace(p, hops=hops) if p.neuron is not None else p for p in made.populations))


@pytest.mark.parametrize(("interval", "offset", "hops"), [
    (4, 0, 0), (4, 3, 0), (4, 3, 2), (1, 0, 5), (7, 6, 1), (5, 13, 9), (40, 0, 0), (40, 3, 0),
])
def test_current_and_membrane_start_anew(interval: int, offset: int, hops: int) -> None:
    network = _counter(hops, reset_interval=interval, reset_offset=offset)
    run = simulate(network, np.ones((2, 30, 1)), record=["a:v", "a:u"])
    u = v = 0.0
    for t in range(30):
        if (t - hops) % interval == offset % interval:
            u = v = 0.0
        u = 0.5 * u + 1
        v += u
        assert (run.u["a"][:, t, 0] == u).all()
        assert (run.v["a"][:, t, 0] == v).all()


@pytest.mark.parametrize("reset", ["zero", "subtract", "delayed"])
def test_between_two_resets_the_network_runs_as_if_it_began_there(reset: Any) -> None:
    """Without connections between neurons a window of steps is a run of its own, whatever was pending before."""
    rng = np.random.default_rng(0)
    made = build(
        "w.nir", {"input": ((6,), None), "a": ((5,), lif(5, beta=0.9, threshold=0.7))},
        [("input", "a", Dense(rng.normal(0.3, 0.5, (5, 6))), rng.normal(0, 0.1, 5), 0)], conventions=Conventions(1e-3, reset),
    )
    x = rng.integers(0, 2, (3, 33, 6))
    periodic = replace(made, conventions=replace(made.conventions, reset_interval=8, reset_offset=1))
    run = simulate(periodic, x, record=["a", "a:v"])
    assert run.spikes["a"].any()
    for first, last in ((0, 1), (1, 9), (9, 17), (17, 25), (25, 33)):
        alone = simulate(made, x[:, first:last], record=["a", "a:v"])
        np.testing.assert_array_equal(run.spikes["a"][:, first:last], alone.spikes["a"])
        np.testing.assert_array_equal(run.v["a"][:, first:last], alone.v["a"])
    assert (run.spikes["a"] != simulate(made, x, record=["a"]).spikes["a"]).any()


def test_spikes_under_way_arrive_after_a_reset() -> None:
    """A spike sent in the step before a reset acts through a delayed edge in its step."""
    made = build(
        "d.nir", {"input": ((1,), None), "a": ((1,), lif(1, threshold=0.5)), "b": ((1,), lif(1, beta=1.0, threshold=9.0))},
        [("input", "a", Dense(np.ones((1, 1))), None, 0), ("a", "b", Dense(np.ones((1, 1))), None, 1)],
        conventions=Conventions(1e-3, reset_interval=3),
    )
    x = np.zeros((1, 8, 1))
    x[0, [1, 2, 5]] = 1
    run = simulate(made, x, record=["a", "b:v"])
    assert run.spikes["a"][0, :, 0].tolist() == [0, 1, 1, 0, 0, 1, 0, 0]
    assert run.v["b"][0, :, 0].tolist() == [0, 0, 1, 1, 1, 1, 1, 1]


def test_blocks_of_time_do_not_change_it(monkeypatch: pytest.MonkeyPatch) -> None:
    network = recurrent(1)
    network = replace(network, conventions=replace(network.conventions, reset_interval=5, reset_offset=2))
    x = np.random.default_rng(4).integers(0, 2, (2, 40, 6))
    whole = simulate(network, x, record=["hidden", "output"]).spikes
    monkeypatch.setattr(floating, "_CHUNK_BYTES", 1)
    monkeypatch.setattr(floating, "_LEAST_BLOCK", 3)
    parts = simulate(network, x, record=["hidden", "output"]).spikes
    assert all((whole[name] == parts[name]).all() for name in whole)
    assert whole["hidden"].any()


@pytest.mark.parametrize("kind", ["adaptive", "resonator", "izhikevich", "sigma delta"])
def test_other_models_keep_their_state(kind: str) -> None:
    network = FOREIGN_NETWORKS[kind]()
    x = np.random.default_rng(1).integers(0, 2, (2, 25, 2))
    cleared = replace(network, conventions=replace(network.conventions, reset_interval=4))
    names = [p.name for p in network.populations if p.neuron is not None]
    record = [f"{name}{what}" for name in names for what in ("", ":v")]
    before, after = simulate(network, x, record=record), simulate(cleared, x, record=record)
    assert all((before.spikes[n] == after.spikes[n]).all() and (before.v[n] == after.v[n]).all() for n in names)


def test_readouts_start_anew_too() -> None:
    network = FOREIGN_NETWORKS["silent"]()
    x = np.ones((1, 12, 2))
    x[..., 1] = 0
    cleared = replace(network, conventions=replace(network.conventions, reset_interval=4))
    run = simulate(cleared, x, record=["first"])
    np.testing.assert_array_equal(run.v["first"][0, :4], run.v["first"][0, 4:8])
    assert (run.v["first"][0, :4] != simulate(network, x, record=["first"]).v["first"][0, 4:8]).any()
