"""The compiled emulator of model files against arithmetic by hand and against the plain reference."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nmap_truenorth.model import engine
from nmap_truenorth.model.engine import Simulator, simulate, stream_key
from nmap_truenorth.model.model import Events, Model
from nmap_truenorth.model.reference import reference
from tests.unit.truenorth.modes import CASES, Case
from tests.unit.truenorth.random_models import one_core, random_events, random_model, spikes


def check(model: Model, events: Events, ticks: int, *, every: bool = True, seed: int = 0, jobs: int = 1) -> int:
    """Compare with the reference; return how many spikes there were."""
    done = simulate(model, events, ticks, every=every, seed=seed, jobs=jobs)
    rows, merged, history, outside = reference(model, events, ticks, every=every, seed=seed)
    assert done.events.dtype == np.int32
    assert np.array_equal(done.events, rows)
    assert np.array_equal(done.potentials, history[-1] if ticks else model.potential)
    assert np.array_equal(done.outside, outside)
    assert done.merged == merged
    return len(rows)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_each_mode_by_hand(case: Case) -> None:
    for ticks, potential in enumerate(case.potentials, 1):
        done = simulate(case.model, case.events, ticks)
        assert done.potentials.tolist() == [[potential]]
        assert done.events.tolist() == [[tick, 0, 0] for tick in case.fired if tick < ticks]


@pytest.mark.parametrize("seed", range(60))
def test_random_models_compute_what_the_reference_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model = random_model(rng, random=seed % 3 == 2, ranc=seed % 3 == 1)
    ticks = int(rng.integers(0, 40))
    events = random_events(rng, model, ticks + 2, float(rng.choice([0.001, 0.02, 0.5])))
    check(model, events, ticks, every=bool(rng.integers(0, 2)), seed=int(rng.integers(-5, 2**62)))


@pytest.mark.parametrize(("random", "ranc"), [(False, False), (False, True), (True, False)])
def test_results_do_not_depend_on_the_number_of_threads(random: bool, ranc: bool) -> None:
    rng = np.random.default_rng(5)
    model = random_model(rng, random=random, ranc=ranc, cores=70, axons=20, neurons=9)
    events = random_events(rng, model, 30, 0.05)
    assert check(model, events, 30, jobs=1) > 500
    assert Simulator(model, jobs=3)._team == 3
    check(model, events, 30, jobs=2)
    check(model, events, 30, jobs=3, every=False)


def test_results_do_not_depend_on_how_often_records_are_emptied(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    model = random_model(rng, cores=40, axons=20, neurons=9)
    events = random_events(rng, model, 40, 0.2)
    told: list[int] = []
    monkeypatch.setattr(engine, "_ROOM", 1)
    monkeypatch.setattr(engine, "_WORK", 7 * 40 * 9)
    for jobs in (1, 2):
        check(model, events, 40, jobs=jobs)
    simulate(model, events, 40, every=True, progress=told.append)
    assert told[-1] == 40
    assert len(told) > 6
    assert told == sorted(set(told))


def test_a_simulator_runs_again_from_the_models_potentials() -> None:
    rng = np.random.default_rng(7)
    model = random_model(rng, random=True)
    simulator, events = Simulator(model, seed=3), random_events(rng, model, 20, 0.1)
    first, second = simulator.run(events, 20, every=True), simulator.run(events, 20, every=True)
    assert np.array_equal(first.events, second.events)
    assert np.array_equal(first.potentials, second.potentials)


def test_all_delays_reach_their_tick() -> None:
    # Neuron d - 1 fires in tick 3 and reaches axon d after d ticks, whose synapse is neuron 15's; the last neuron is the output.
    synapses = np.zeros((16, 16), int)
    synapses[0, :15] = 10
    synapses[1:, 15] = 10
    target = np.where(np.arange(16) < 15, 0, -2)
    model = one_core(synapses, target=target[None], target_axon=np.arange(1, 17)[None], delay=np.arange(1, 17).clip(max=15)[None])
    assert simulate(model, spikes((3, 0, 0)), 25).events.tolist() == [[tick, 0, 15] for tick in range(4, 19)]


def test_spikes_merge_on_an_axon_whoever_sends_them() -> None:
    # Neurons 0 and 1 fire in tick 0 into axon 2 of tick 2, where an input spike arrives as well, twice.
    synapses = np.zeros((3, 3), int)
    synapses[0, 0] = synapses[1, 1] = 5
    synapses[2, 2] = 3
    model = one_core(synapses, threshold=np.array([[5, 5, 3]]), target=np.array([[0, 0, -2]]), target_axon=2, delay=2)
    done = simulate(model, spikes((0, 0, 0), (0, 0, 1), (2, 0, 2), (2, 0, 2)), 3)
    assert done.events.tolist() == [[2, 0, 2]]
    assert (done.merged, done.given) == (3, 4)
    # They merge in the scheduler: also where no tick comes in which they would be seen.
    assert simulate(model, spikes((0, 0, 0), (0, 0, 1)), 1).merged == 1


def test_input_outside_the_run_is_not_seen() -> None:
    model = one_core([[10]], input_delay=1)
    done = simulate(model, spikes((-2, 0, 0), (-1, 0, 0), (1, 0, 0), (2, 0, 0)), 3)
    assert done.events.tolist() == [[0, 0, 0], [2, 0, 0]]
    assert (done.given, done.merged) == (2, 0)


@pytest.mark.parametrize(("core", "axon"), [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_input_for_what_is_not_there_is_refused(core: int, axon: int) -> None:
    with pytest.raises(ValueError, match="does not have"):
        simulate(one_core([[10]]), spikes((0, core, axon)), 1)


def test_spikes_are_told_by_core_id_in_its_order() -> None:
    rng = np.random.default_rng(8)
    model = random_model(rng, cores=45, axons=5, neurons=7)
    assert np.any(np.diff(model.ids) < 0)
    done = simulate(model, random_events(rng, model, 9, 0.5), 9, every=True, jobs=2)
    assert len(done.events) > 100
    assert done.events.tolist() == sorted(done.events.tolist())


def test_only_outputs_are_told_unless_all_are_asked_for() -> None:
    model = one_core([[10, 10, 10]], target=np.array([[-2, -1, 0]]))
    assert simulate(model, spikes((0, 0, 0)), 1).events.tolist() == [[0, 0, 0]]
    assert simulate(model, spikes((0, 0, 0)), 1, every=True).events.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 2]]


@pytest.mark.parametrize("strength", [255, 256, 20000, 32767])
def test_sums_pass_the_numbers_that_are_computed_with(strength: int) -> None:
    # All axons at once, again and again, up and down: 16 bits do not hold the sums, nor some of the potentials.
    signs = np.where(np.arange(256) % 4 < 2, 1, -1)
    model = one_core(
        np.repeat((signs * strength)[:, None], 3, axis=1), threshold=np.array([[2**31 - 1, 12000, 200000]]), dialect="ranc",
        floor=np.array([[2**31 - 1, 300, 4000]]), gamma=np.array([[0, 1, 0]]),
    )  # fmt: skip
    rows = [(tick, 0, axon) for tick in range(12) for axon in range(256) if (signs[axon] > 0) == (tick % 5 < 3) or axon % 3 < tick % 4]
    for ticks in (1, 3, 7, 12):
        check(model, spikes(*rows), ticks)


def test_potentials_of_16_bits_are_left_and_entered_again() -> None:
    # By hand: 127 on one axon, -127 on another, one spike each a tick; 258 times up and as often down.
    model = one_core([[127], [-127]], threshold=2**18 - 1)
    up = 300
    rows = [(tick, 0, int(tick >= up)) for tick in range(2 * up)]
    for ticks in (257, 258, 259, 300, 400, 599, 600):
        assert simulate(model, spikes(*rows), ticks).potentials[0, 0] == 127 * (ticks if ticks <= up else 2 * up - ticks)


def test_a_quiet_core_wakes_up() -> None:
    model = one_core([[6, 6]], leak=np.array([[0, -1]]), threshold=10, floor=np.array([[9, 3]]), kappa=True)
    rows = spikes((50, 0, 0), (80, 0, 0))
    done = simulate(model, rows, 100, every=True)
    # The second neuron is at its floor, -3, when each spike comes.
    assert done.events.tolist() == [[80, 0, 0]]
    assert done.potentials.tolist() == [[0, -3]]
    assert simulate(model, rows, 81).potentials.tolist() == [[0, 2]]
    check(model, rows, 100)


def test_ticks_outside_20_bits_are_counted_on_the_chip_alone() -> None:
    # 524243, 524498, 524753: 2^19 is 524288. A core whose potentials stay there counts on.
    values: dict[str, Any] = {"leak": 255, "potential": 2**19 - 300, "threshold": 0, "gamma": 1}
    assert simulate(one_core([[1]], **values), spikes(), 3).outside.tolist() == [2]
    assert simulate(one_core([[1]], dialect="ranc", **values), spikes(), 3).outside.tolist() == [0]
    rest = one_core([[1]], potential=-(2**19) - 1, gamma=2, threshold=1)
    assert simulate(rest, spikes(), 5).outside.tolist() == [5]
    assert simulate(one_core([[1]], potential=-(2**19), gamma=2, threshold=1), spikes(), 5).outside.tolist() == [0]
    # What the synapses leave counts, though the leak takes it back.
    there_and_back = one_core([[255]], potential=2**19 - 200, leak=-255, gamma=2, threshold=2**18 - 1, floor=0)
    assert simulate(there_and_back, spikes((0, 0, 0)), 1).outside.tolist() == [1]


def test_random_numbers_follow_the_seeds() -> None:
    rng = np.random.default_rng(9)
    model = random_model(rng, random=True, cores=3, axons=20, neurons=40)
    events = random_events(rng, model, 30, 0.3)
    runs = [simulate(model, events, 30, every=True, seed=seed).potentials.tolist() for seed in (0, 0, 1, 2**64)]
    assert runs[0] == runs[1] == runs[3]
    assert runs[0] != runs[2]
    streams = {stream_key(model, core, seed) for core in range(3) for seed in range(4)}
    assert len(streams) == 12


def test_a_core_draws_numbers_of_its_own() -> None:
    model = random_model(np.random.default_rng(1), cores=2, axons=1, neurons=64)
    shape = (2, 64)
    values: dict[str, Any] = {name: np.zeros(shape) for name in ("floor", "leak_reversal", "gamma", "reset", "mask", "potential")}
    values |= {"leak": np.full(shape, 128), "leak_stochastic": np.ones(shape), "threshold": np.full(shape, 1000), "enabled": np.ones(shape)}
    values |= {"seeds": np.zeros(2), "crossbar": np.zeros_like(model.crossbar)}
    potentials = simulate(replace(model, **values), spikes(), 50).potentials
    assert not np.array_equal(potentials[0], potentials[1])


def test_an_empty_model_and_an_empty_run() -> None:
    model = random_model(np.random.default_rng(2))
    done = simulate(model, spikes(), 0)
    assert done.events.shape == (0, 3)
    assert np.array_equal(done.potentials, model.potential)
    off = one_core([[5]], enabled=False, leak=100)
    assert simulate(off, spikes((0, 0, 0)), 9, every=True).events.shape == (0, 3)


def test_importing_the_emulator_does_not_import_numba() -> None:
    code = "import sys, nmap_truenorth.model.engine, nmap_truenorth.model.reference; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
