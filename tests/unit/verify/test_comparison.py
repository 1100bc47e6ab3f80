"""The chip beside its references: chunks, threads, memory limits and clusters change nothing, and what differs is found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap import flow, running
from nmap.connectivity import Dense
from nmap.diagnostics import NmapError
from nmap.emulate import engine
from nmap.options import Options
from nmap.simulate import fixed
from nmap.verify import comparison
from tests.unit.readers.builders import chain, if_, linear, port, sink, write_nir

SAMPLES = 23


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for the small chip, and labelled samples."""
    folder = tmp_path_factory.mktemp("comparison")
    rng = np.random.default_rng(5)
    nodes = {
        "input": port(6), "w1": linear(rng.normal(0.4, 0.6, (5, 6))), "n1": if_(5, th=2.0),
        "w2": linear(rng.normal(0.4, 0.6, (3, 5))), "n2": if_(3, th=2.0), "output": sink(3),
    }
    write_nir(folder / "net.nir", nodes, chain(*nodes), {"reset_mechanism": "zero"})
    inputs = (rng.random((SAMPLES, 12, 6)) < 0.4).astype(np.uint8)
    np.savez(folder / "S.npz", inputs=inputs, labels=rng.integers(0, 3, SAMPLES))
    flow.deploy(
        folder / "net.nir", target="toy", output=folder / "out", options=Options(partitioner="greedy"), verify=False,
    )
    return folder


def verified(place: Path, **more: Any) -> flow.Outcome:
    outcome = flow.verify(place / "out", input=place / "S.npz", **{"against": None, **more})
    assert outcome.verification is not None, outcome.diagnostics
    return outcome


def told(outcome: flow.Outcome) -> tuple[Any, ...]:
    checked = outcome.verification
    assert checked is not None
    return checked.chip_vs_fixed, checked.chip_vs_float, outcome.status, [d.to_json() for d in outcome.diagnostics]


def spoilt(monkeypatch: pytest.MonkeyPatch, rest: int) -> None:
    """Let the reference say something else of neuron 2 of `n1`: later in the first samples than in others."""
    real = fixed.Reference.run

    def run(self: Any, inputs: Any, **more: Any) -> Any:
        trace = real(self, inputs, **more)
        if "n1" in trace.spikes:
            several = trace.spikes["n1"]
            several[:, 9, 2] ^= 1
            # The input of the sample tells which one it is.
            several[inputs["input"].reshape(len(several), -1).sum(1) % 3 == rest, 7, 2] ^= 1
        return trace

    monkeypatch.setattr(fixed.Reference, "run", run)


@pytest.mark.parametrize("jobs", [1, 2, 5, 40])
def test_threads_and_chunks_change_nothing(place: Path, jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = told(verified(place))
    assert expected[0].mismatches == 0
    assert expected[0].samples == SAMPLES
    assert expected[0].spikes > 100
    assert told(verified(place, jobs=jobs)) == expected
    monkeypatch.setattr(comparison, "_ROOM", 1)
    assert told(verified(place, jobs=jobs)) == expected, "one sample at a time"


@pytest.mark.parametrize("jobs", [1, 3])
def test_the_first_difference_is_told_whatever_the_chunks(place: Path, jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sums = np.load(place / "S.npz")["inputs"].reshape(SAMPLES, -1).sum(1)
    rest = (int(sums[0]) + 1) % 3
    spoilt(monkeypatch, rest)
    outcome = verified(place, jobs=jobs)
    (error,) = [d for d in outcome.diagnostics if d.severity == "error"]
    checked = outcome.verification.chip_vs_fixed
    spoilt_at = np.flatnonzero(sums % 3 == rest)
    assert (error.code, error.data["array"], error.data["step"], error.data["neuron"]) == ("NM701", "n1", 7, 2)
    assert error.data["sample"] == spoilt_at[0]
    assert checked.mismatches == SAMPLES + len(spoilt_at)
    for at_once in (1, 4):
        monkeypatch.setattr(comparison.Comparison, "_planned", _chunks_of(at_once))
        again = verified(place, jobs=jobs)
        assert again.verification.chip_vs_fixed == checked
        assert [d.data for d in again.diagnostics if d.severity == "error"] == [error.data]


def _chunks_of(at_once: int) -> Any:
    return lambda self, plan: (comparison._SideBySide(plan), at_once, self.jobs)


def test_states_are_compared_even_where_spikes_agree(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fixed.Reference.run

    def run(self: Any, inputs: Any, **more: Any) -> Any:
        trace = real(self, inputs, **more)
        for values in trace.state.values():
            values[1, 3, 0] += 1
        return trace

    monkeypatch.setattr(fixed.Reference, "run", run)
    outcome = verified(place)
    (error,) = [d for d in outcome.diagnostics if d.severity == "error"]
    assert (error.data["array"], error.data["sample"], error.data["step"], error.data["neuron"]) == ("n1.v", 1, 3, 0)


def test_a_memory_limit_makes_chunks_smaller_until_nothing_fits(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that takes nothing itself, what is said to be taken is below the limit."""
    monkeypatch.setattr(comparison, "resident", lambda: 0)
    expected = told(verified(place))
    seen = []

    def at_most(stage: str, text: str) -> None:
        if text.startswith("at most"):
            seen.append(text)

    with pytest.raises(NmapError, match="beyond the limit") as caught:
        comparison.Comparison(*_parts(place), memory_limit=1).run(fixed=True, real=True)
    least = int(caught.value.diagnostics[0].help[0].split()[1][:-1]) * 2**20
    tight = verified(place, jobs=4, memory_limit=least, progress=at_most)
    assert told(tight) == expected
    verified(place, jobs=4, memory_limit=64 * least, progress=at_most)
    assert f"of {least // 2**20} MiB of memory" in seen[0] or "GiB" in seen[0]
    assert int(seen[0].split(": ")[1].split()[0]) <= int(seen[1].split(": ")[1].split()[0])
    outcome = flow.verify(place / "out", input=place / "S.npz", against="fixed", memory_limit=1)
    assert [d.code for d in outcome.diagnostics if d.severity == "error"] == ["NM802"]


def test_the_emulator_makes_do_with_less_before_a_limit_is_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte: with what it needs at least it compares, one sample at a time, and with one byte less it does not."""
    monkeypatch.setattr(comparison, "resident", lambda: 0)
    expected = told(verified(place, against="fixed"))
    limits: list[int | None] = []
    real = engine.Emulator.run

    def run(self: Any, *given: Any, memory_limit: int | None = None, **more: Any) -> Any:
        limits.append(memory_limit)
        return real(self, *given, memory_limit=memory_limit, **more)

    monkeypatch.setattr(engine.Emulator, "run", run)
    low, high = 0, 2**30
    while high - low > 1:
        middle = (low + high) // 2
        outcome = flow.verify(place / "out", input=place / "S.npz", against="fixed", memory_limit=middle)
        low, high = (middle, high) if any(d.code == "NM802" for d in outcome.diagnostics) else (low, middle)
    limits.clear()
    assert told(verified(place, against="fixed", memory_limit=high)) == expected
    assert sum(limit is not None for limit in limits) == SAMPLES
    limits.clear()
    assert told(verified(place, against="fixed", memory_limit=2 * high)) == expected
    assert set(limits) == {None}


def _parts(place: Path) -> tuple[Any, ...]:
    """Return what a comparison is made of."""
    journal = flow._Journal((), None)
    opened = flow._open(journal, place / "out")
    samples, _ = flow._load_samples(journal, place / "S.npz", opened.network, opened.options)
    quantized = flow._requantize(journal, opened)
    return opened.network, opened.target, quantized, flow._stored_program(opened, quantized), samples, journal.findings, lambda text: None


@pytest.mark.parametrize("split", [2, 3])
def test_threads_that_share_each_sample_change_nothing(place: Path, split: int, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = told(verified(place))
    teams: list[int] = []
    monkeypatch.setattr(engine, "lower", _noting_teams(engine.lower, teams))
    assert told(verified(place, split=split)) == expected
    assert told(verified(place, split=split, jobs=1)) == expected
    assert set(teams) == {split}


def _noting_teams(real: Any, teams: list[int]) -> Any:
    def lower(program: Any, kernels: Any, team: int = 1) -> Any:
        teams.append(team)
        return real(program, kernels, team)

    return lower


def test_threads_for_samples_and_inside_of_them_exclude_each_other(place: Path) -> None:
    outcome = flow.verify(place / "out", input=place / "S.npz", jobs=2, split=2)
    (error,) = outcome.diagnostics
    assert (error.code, error.where, outcome.exit_status) == ("NM004", "--split", 2)
    assert "sample" in error.message


# Ends of connections are told by warnings of sockets in dask's own event loops.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cluster_finds_what_this_machine_finds(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers in a process of their own, which know nothing but what they are sent."""
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    monkeypatch.setattr(comparison, "CHUNK_BYTES", 4 * 12 * 6)
    monkeypatch.setattr(running, "CHUNK_BYTES", 4 * 12 * 6)
    expected = told(verified(place))
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=True, dashboard_address=":0") as started:
        assert told(verified(place, scheduler=started.scheduler_address)) == expected
        assert told(verified(place, scheduler=started.scheduler_address, split=2)) == expected
        for level in ("chip", "fixed", "float"):
            local, far = (
                flow.run(place / "out", input=place / "S.npz", level=level, probes=["n1:v"], scheduler=address)
                for address in (None, started.scheduler_address)
            )
            assert local.arrays.keys() == far.arrays.keys()
            assert all(np.array_equal(local.arrays[name], far.arrays[name]) for name in local.arrays)
            assert local.accuracy == far.accuracy


def test_one_emulator_and_one_reference_serve_all_chunks(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    for owner, name in ((engine, "Emulator"), (fixed, "Reference")):
        monkeypatch.setattr(owner, name, _counted(getattr(owner, name), made))
    monkeypatch.setattr(comparison, "_ROOM", 1)
    verified(place)
    # The states of the first samples are compared in a run of their own length.
    assert sorted(made) == ["Emulator", "Reference", "Reference"]


def _counted(kind: type, made: list[str]) -> Any:
    def make(*given: Any, **more: Any) -> Any:
        made.append(kind.__name__)
        return kind(*given, **more)

    return make


def test_counts_and_largest_counts_are_compared_with_the_network_in_real_numbers(place: Path) -> None:
    """Against what both levels send, counted in plain loops."""
    levels: tuple[Any, ...] = ("chip", "float")
    chip, real = (flow.run(place / "out", input=place / "S.npz", level=level).spikes for level in levels)
    equal = [chip[s, :, n].sum() == real[s, :, n].sum() for s in range(SAMPLES) for n in range(3)]
    largest = [list(chip[s].sum(0)).index(max(chip[s].sum(0))) == list(real[s].sum(0)).index(max(real[s].sum(0))) for s in range(SAMPLES)]
    found = verified(place).verification.chip_vs_float
    assert (found.count_agreement, found.argmax_agreement, found.window) == (sum(equal) / len(equal), sum(largest) / SAMPLES, 1)
    assert found.count_agreement > 0


def test_what_the_reference_says_it_takes_is_what_it_takes() -> None:
    """Within the sizes of temporary arrays that its products and the neurons' equations need: never more, and not a tenth of it."""
    import tracemalloc

    from nmap.network import Provenance
    from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
    from nmap_loihi2.kernels import KERNELS

    rng, here = np.random.default_rng(0), Provenance("net.h5", "/")
    params = {"du": 4095, "dv": 100, "vth": 300, "bias_mant": 0, "bias_exp": 0}
    populations = (
        QuantizedPopulation("in", (200,), None, {}, here),
        *(QuantizedPopulation(name, (150,), "loihi2.lif", {k: np.array(v) for k, v in params.items()}, here) for name in ("a", "b")),
    )
    edges = tuple(
        QuantizedProjection(f"{s}-{t}", s, t, Dense(rng.integers(-99, 99, (150, n)).astype(np.int32)), SynapseFormat(8), 0, here)
        for s, t, n in (("in", "a", 200), ("a", "b", 150))
    )
    reference = fixed.Reference(QuantizedNetwork(populations, edges, ("in",), ("b",)), KERNELS, 30)
    inputs = (rng.random((400, 30, 200)) < 0.1).astype(np.uint8)
    reference.run(inputs[:2])
    tracemalloc.start()
    try:
        reference.run(inputs, record=["a", "b"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 0.3 * reference.footprint(400, ["a", "b"]) < peak <= reference.footprint(400, ["a", "b"])


def test_a_plan_is_told_apart_from_its_copies(place: Path) -> None:
    """What goes to a worker is the plan alone: it can be pickled, and what it names is found there again."""
    import pickle

    network, target, quantized, program, samples, _, _ = _parts(place)
    plan = comparison._Plan(target.name, network, quantized, program, samples.steps, samples.scored, True, True)
    copy = pickle.loads(pickle.dumps(plan))
    part = next(samples.chunks())
    one, other = (comparison._SideBySide(some)(comparison._Chunk(0, part, samples.labels)) for some in (plan, replace(copy, jobs=2)))
    assert (one.samples, one.difference, one.spikes, one.largest, one.places, one.alike, one.right) == (
        other.samples, other.difference, other.spikes, other.largest, other.places, other.alike, other.right,
    )
