"""One step of the chip for several steps of the network: what goes in is summed, and what comes out is compared with sums."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap import flow, running
from nmap.diagnostics import Findings, NmapError
from nmap.options import Options
from nmap.program import read_program
from nmap.quantized import QuantizedNetwork
from nmap.readers import read
from nmap.report.json import run_to_json, schema, to_json
from nmap.report.text import run_text, to_text
from nmap.simulate import fixed, floating
from nmap.windows import told_window, window_count, windowed
from tests.unit.readers.builders import chain, if_, linear, port, sink, write_nir
from tests.unit.report.schema_check import problems
from tests.window_target import TARGET, WINDOW, install

SAMPLES, STEPS, WINDOWS = 11, 8, 3
"""The last window has two steps."""
_RNG = np.random.default_rng(4)
INPUTS = (_RNG.random((SAMPLES, STEPS, 5)) < 0.5).astype(np.uint8)
LABELS = np.arange(SAMPLES) % 3


def _sums(values: np.ndarray, window: int) -> np.ndarray:
    """Sum step by step."""
    out = np.zeros((values.shape[0], -(-values.shape[1] // window), *values.shape[2:]), np.float64)
    for step in range(values.shape[1]):
        out[:, step // window] += values[:, step]
    return out


# ---- sums -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.bool_, np.uint8, np.int8, np.int32, np.int64, np.float64])
@pytest.mark.parametrize(("steps", "window"), [(0, 3), (1, 3), (3, 3), (8, 3), (15, 15), (7, 20), (6, 1)])
def test_values_are_summed_over_windows(dtype: Any, steps: int, window: int) -> None:
    values = np.random.default_rng(steps).integers(0, 100, (2, steps, 3, 2)).astype(dtype)
    found = windowed(values, window)
    np.testing.assert_array_equal(found, _sums(values, window))
    assert found.shape[1] == window_count(steps, window)
    assert found.dtype == (dtype if window == 1 else np.float64 if dtype is np.float64 else np.int32)


def test_a_window_of_one_step_copies_nothing() -> None:
    values = np.ones((2, 3, 4), np.uint8)
    assert windowed(values, 1) is values


def test_bytes_do_not_wrap_and_sums_beyond_32_bits_are_refused() -> None:
    assert windowed(np.full((1, 15, 1), 255, np.uint8), 15).tolist() == [[[3825]]]
    assert windowed(np.full((1, 2, 1), -(2**30), np.int32) + 1, 2).tolist() == [[[-(2**31) + 2]]]
    for value in (2**30, -(2**30)):
        with pytest.raises(NmapError, match=r"NM802.*beyond 32 bits"):
            windowed(np.full((1, 2, 1), value, np.int32), 2)


def test_a_last_window_that_is_shorter_is_told() -> None:
    assert told_window(30, 15) == ()
    assert told_window(8, 1) == ()
    (short,) = told_window(10, 15, "s.npz")
    assert (short.code, short.severity, short.where) == ("NM803", "warning", "s.npz")
    assert "10 steps" in short.message
    assert "--steps 10" in short.help[0]
    (long,) = told_window(32, 15)
    assert "the last 2 are run as if they were 15" in long.message


# ---- levels -----------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a network, labelled samples, and its bundle for a chip with windows of 3 steps."""
    folder = tmp_path_factory.mktemp("windows")
    rng = np.random.default_rng(7)
    nodes: dict[str, Any] = {
        "input": port(5), "w": linear(rng.integers(-2, 6, (6, 5)) / 4), "hidden": if_(6, th=2.0),
        "v": linear(rng.integers(-2, 6, (3, 6)) / 4), "out": if_(3, th=2.0), "output": sink(3),
    }
    write_nir(folder / "n.nir", nodes, chain(*nodes), {"reset_mechanism": "zero"})
    np.savez(folder / "s.npz", inputs=INPUTS, labels=LABELS)
    with pytest.MonkeyPatch.context() as patch:
        install(patch)
        outcome = flow.deploy(
            folder / "n.nir", target="toy", options=Options(), source="norse", input=folder / "s.npz", output=folder / "bundle",
        )
        assert outcome.status == "ok", outcome.diagnostics
        yield folder


def _quantized(made: Path) -> QuantizedNetwork:
    return TARGET.quantize(read(made / "n.nir", source="norse"), Options(), Findings())


def _due(made: Path) -> dict[str, np.ndarray]:
    """What every population sends in its own time when it is given sums: (samples, windows, neurons)."""
    quantized = _quantized(made)
    names = [p.name for p in quantized.populations if p.kernel is not None]
    summed = _sums(INPUTS, WINDOW).astype(np.int32)
    sent = fixed.simulate(quantized, TARGET.kernels, summed, WINDOWS + quantized.latency, record=names).spikes
    return {name: sent[name][:, quantized[name].latency :][:, :WINDOWS] for name in names}


def _run(made: Path, **more: Any) -> Any:
    return flow.run(made / "bundle", **{"input": made / "s.npz", **more})


def test_network_and_program_name_their_window(made: Path) -> None:
    assert _quantized(made).window == read_program(made / "bundle" / "program.h5").window == WINDOW
    assert QuantizedNetwork((), (), (), ()).window == 1


@pytest.mark.parametrize("level", ["chip", "fixed"])
def test_chip_and_reference_take_sums(made: Path, level: Any) -> None:
    result = _run(made, level=level, probes=["hidden:spikes", "input:spikes"])
    due = _due(made)
    assert due["out"].any()
    np.testing.assert_array_equal(result.spikes, due["out"])
    np.testing.assert_array_equal(result.probes["hidden.spikes"], due["hidden"])
    np.testing.assert_array_equal(result.probes["input.spikes"], _sums(INPUTS, WINDOW))
    np.testing.assert_array_equal(result.counts, due["out"].sum(1))
    assert result.accuracy == np.mean(due["out"].sum(1).argmax(1) == LABELS)
    (told,) = [d for d in result.diagnostics if d.code == "NM803"]
    assert "the last 2 are run as if they were 3" in told.message
    raw = _run(made, level=level, raw_time=True)
    assert raw.spikes.shape[1] == WINDOWS + _quantized(made).latency


def test_the_float_level_keeps_the_network_s_own_steps(made: Path) -> None:
    result = _run(made, level="float")
    real = floating.simulate(read(made / "n.nir", source="norse"), INPUTS)
    np.testing.assert_array_equal(result.spikes, real.spikes["out"])
    assert not [d for d in result.diagnostics if d.code == "NM803"]


@pytest.mark.parametrize("level", ["chip", "fixed"])
def test_neither_chunks_nor_limits_change_a_window(made: Path, level: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "resident", lambda: 0)
    monkeypatch.setattr(running, "_RESERVE", 0)
    whole = _run(made, level=level)
    limit = whole.memory.peak * 9 // 10
    tight = _run(made, level=level, memory_limit=limit)
    assert tight.memory.at_once < whole.memory.at_once == SAMPLES
    assert tight.memory.peak <= limit
    monkeypatch.setattr("nmap.samples.model.CHUNK_BYTES", 4 * STEPS * 5)
    single = _run(made, level=level, jobs=2)
    assert single.memory.at_once == 1
    for again in (tight, single):
        np.testing.assert_array_equal(again.spikes, whole.spikes)


def test_sums_are_counted_in_the_memory(made: Path) -> None:
    program, quantized = read_program(made / "bundle" / "program.h5"), _quantized(made)
    level = running.FixedLevel(quantized, program, TARGET.kernels, [])
    steps = WINDOWS + quantized.latency
    plain = fixed.Reference(quantized, TARGET.kernels, steps).footprint(4, ["out"])
    # 32-bit sums of 3 windows and 5 inputs, and those of 64 bits that they are made of.
    assert level.footprint(4, STEPS) == plain + 12 * 4 * WINDOWS * 5


def test_a_recording_says_what_a_step_is(made: Path, tmp_path: Path) -> None:
    result = _run(made, output=tmp_path / "o.h5", keep=False)
    due = _due(made)["out"]
    with h5py.File(tmp_path / "o.h5") as file:
        assert (file.attrs["steps"], file.attrs["window"]) == (WINDOWS, WINDOW)
        np.testing.assert_array_equal(file["counts"][()], due.sum(1))
        assert file["spikes/t"].shape[0] == np.count_nonzero(due)
    assert result.spikes.shape == (0, WINDOWS, 3)
    float_file = tmp_path / "f.h5"
    _run(made, level="float", output=float_file)
    with h5py.File(float_file) as file:
        assert "window" not in file.attrs
        assert file.attrs["steps"] == STEPS


def test_a_run_s_report_says_what_a_step_is(made: Path) -> None:
    result = _run(made)
    report = run_to_json(result, ["nmap", "run"], None)
    assert problems(report, schema(), closed=True) == []
    assert (report["run"]["steps"], report["run"]["window"]) == (WINDOWS, WINDOW)
    assert run_to_json(_run(made, level="float"), ["nmap", "run"], None)["run"]["window"] == 1


def test_a_run_s_text_says_what_a_step_is(made: Path) -> None:
    report = run_to_json(_run(made), ["nmap", "run"], None)
    for window, told in ((1, False), (WINDOW, True)):
        text = run_text({**report, "run": {**report["run"], "window": window}})
        assert ("one chip step = 3 steps of the network" in text) is told


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("level", ["chip", "fixed"])
def test_a_cluster_sums_where_it_runs(made: Path, level: Any) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with distributed.LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=":0") as cluster:
        far = _run(made, level=level, scheduler=cluster.scheduler_address)
    np.testing.assert_array_equal(far.spikes, _due(made)["out"])


# ---- comparison -------------------------------------------------------------------------------------------------------------------------


def test_the_chip_is_compared_with_sums(made: Path) -> None:
    """Every share counted in plain loops."""
    outcome = flow.verify(made / "bundle", input=made / "s.npz")
    checked = outcome.verification
    assert checked is not None
    assert outcome.status == "ok", outcome.diagnostics
    assert checked.chip_vs_fixed is not None
    assert (checked.chip_vs_fixed.mismatches, checked.chip_vs_fixed.steps) == (0, WINDOWS + _quantized(made).latency)
    assert checked.chip_vs_fixed.spikes > 0
    ours, real = _due(made)["out"], floating.simulate(read(made / "n.nir", source="norse"), INPUTS).spikes["out"]
    theirs = _sums(real, WINDOW)
    places = [ours[s, c, n] == theirs[s, c, n] for s in range(SAMPLES) for c in range(WINDOWS) for n in range(3)]
    counts = [ours[s, :, n].sum() == theirs[s, :, n].sum() for s in range(SAMPLES) for n in range(3)]
    largest = [ours[s].sum(0).argmax() == theirs[s].sum(0).argmax() for s in range(SAMPLES)]
    assert 0 < sum(counts) < len(counts)
    found = checked.chip_vs_float
    assert found is not None
    assert found.spike_agreement == sum(places) / len(places)
    assert found.count_agreement == sum(counts) / len(counts)
    assert found.argmax_agreement == sum(largest) / len(largest)
    assert found.accuracy_chip == np.mean(ours.sum(1).argmax(1) == LABELS)
    assert found.window == WINDOW
    assert [d.code for d in outcome.diagnostics].count("NM803") == 1


def test_reports_tell_the_window_and_both_agreements(made: Path) -> None:
    outcome = flow.verify(made / "bundle", input=made / "s.npz")
    report = to_json(outcome)
    assert problems(report, schema(), closed=True) == []
    real = report["verification"]["chip_vs_float"]
    assert report["quantization"]["window"] == real["window"] == WINDOW
    told = " ".join(to_text(report).split())
    assert f"counts agree {100 * real['count_agreement']:.1f}" in told
    assert "one chip step = 3 steps of the network" in told
    assert "of outputs as in float" not in told


def test_random_spikes_that_stand_in_are_summed_too(made: Path) -> None:
    checked = flow.verify(made / "bundle", steps=7).verification
    assert checked is not None
    assert checked.chip_vs_fixed is not None
    assert (checked.chip_vs_fixed.mismatches, checked.chip_vs_fixed.steps) == (0, 3 + _quantized(made).latency)
