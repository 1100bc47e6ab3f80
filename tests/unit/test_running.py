"""Data sets from file to result: types of samples, threads, limits on memory, and results that are written as they come."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap import flow, running
from nmap.connectivity import Dense
from nmap.diagnostics import NmapError
from nmap.emulate import engine
from nmap.memory import size_text
from nmap.options import Options
from nmap.report.json import run_to_json, schema
from nmap.report.model import RunResult
from nmap.samples import Samples, in_memory, load
from nmap.testing import networks
from nmap.trace import SpikeEvents
from nmap.writers import write
from nmap.writers.archive import write_archive
from tests.unit.readers.builders import chain, if_, li, lif, linear, port, sink, write_nir
from tests.unit.report.schema_check import problems

_RNG = np.random.default_rng(11)
WEIGHTS = {name: _RNG.integers(-2, 6, shape) / 4 for name, shape in {"w": (6, 5), "v": (3, 6)}.items()}
INPUTS = (_RNG.random((23, 12, 5)) < 0.4).astype(np.uint8)
PROBES = ("hidden:v", "hidden:spikes", "input")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of two layers, its bundle for the toy chip, and 23 samples."""
    folder = tmp_path_factory.mktemp("made")
    nodes: dict[str, Any] = {
        "input": port(5), "w": linear(WEIGHTS["w"]), "hidden": if_(6, th=2.0), "v": linear(WEIGHTS["v"]), "out": if_(3, th=2.0),
        "output": sink(3),
    }
    write_nir(folder / "n.nir", nodes, chain(*nodes), {"reset_mechanism": "zero"})
    np.savez(folder / "s.npz", inputs=INPUTS, labels=np.arange(23) % 3)
    outcome = flow.deploy(
        folder / "n.nir", target="toy", options=Options(), source="norse", input=folder / "s.npz", output=folder / "bundle", verify=False,
    )
    assert outcome.status == "ok", outcome.diagnostics
    return folder


def _run(made: Path, **more: Any) -> RunResult:
    return flow.run(made / "bundle", **{"input": made / "s.npz", **more})


def _same(one: RunResult, two: RunResult) -> None:
    assert one.arrays.keys() == two.arrays.keys()
    for name, values in one.arrays.items():
        np.testing.assert_array_equal(two.arrays[name], values)
        assert two.arrays[name].dtype == values.dtype
    assert (one.accuracy, one.output_spikes) == (two.accuracy, two.output_spikes)


# ---- types of samples -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    ("dtype", "low", "high", "handed"),
    [
        (bool, 0, 1, np.uint8), (np.uint8, 0, 255, np.uint8), (np.int8, 0, 127, np.uint8), (np.int8, -128, 127, np.int32),
        (np.uint16, 0, 255, np.uint8), (np.uint16, 0, 256, np.int32), (np.dtype(">u2"), 0, 65535, np.int32), (np.int64, 0, 3, np.uint8),
        (np.int64, -1, 0, np.int32), (np.uint64, 0, 2**31 - 1, np.int32),
    ],
)
def test_samples_are_handed_out_in_the_narrowest_type(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: Any, low: int, high: int, handed: type, compressed: bool
) -> None:
    from nmap.readers import read

    monkeypatch.setattr("nmap.samples.model.CHUNK_BYTES", 1000)
    monkeypatch.setattr("nmap.samples.dense.CHUNK_BYTES", 1000)
    values = np.random.default_rng(1).integers(low, high, (23, 12, 5), endpoint=True)
    values.flat[:2] = low, high
    (np.savez_compressed if compressed else np.savez)(tmp_path / "s.npz", inputs=values.astype(dtype))
    network = read(made / "n.nir", source="norse")
    for steps in (None, 7, 15):
        given = load(tmp_path / "s.npz", network, steps)
        parts = [part["input"] for part in given.chunks()]
        assert len(parts) > 3
        wanted = np.zeros((23, steps or 12, 5), np.int64)
        wanted[:, : min(steps or 12, 12)] = values[:, : steps or 12]
        np.testing.assert_array_equal(np.concatenate(parts), wanted)
        expected = np.uint8 if wanted.min() >= 0 and wanted.max() <= 255 else np.int32
        assert {part.dtype for part in parts} == {np.dtype(expected)}
        if steps is None:
            assert expected is handed
            assert given.chunk_bytes_each == 12 * 5 * np.dtype(handed).itemsize
    parts = [part["input"] for part in in_memory({"input": values.astype(dtype)}).chunks()]
    np.testing.assert_array_equal(np.concatenate(parts), values)
    assert {part.dtype for part in parts} == {np.dtype(handed)}


def test_a_bool_that_is_stored_as_another_byte_is_one_spike(made: Path, tmp_path: Path) -> None:
    from nmap.readers import read

    raw = np.where(INPUTS, 7, 0).astype(np.uint8)
    np.savez(tmp_path / "s.npz", inputs=raw.view(bool))
    np.testing.assert_array_equal(load(tmp_path / "s.npz", read(made / "n.nir", source="norse")).inputs, INPUTS)


@pytest.mark.parametrize("kind", ["events", "recording"])
def test_events_become_bytes_where_their_sums_fit(made: Path, tmp_path: Path, kind: str) -> None:
    from nmap.readers import read

    network = read(made / "n.nir", source="norse")
    for value, handed in ((100, np.uint8), (300, np.int32)):
        # Two events and a third that takes one back: beyond a byte on the way.
        amounts = np.array([value, 200, -200], np.int64)
        np.savez(tmp_path / "s.npz", t=np.ones(3, int), index=np.full(3, 2), value=amounts, steps=4)
        given = load(tmp_path / "s.npz", network)
        (part,) = given.chunks()
        assert part["input"].dtype == handed
        assert np.argwhere(part["input"]).tolist() == [[0, 1, 2]]
        assert part["input"][0, 1, 2] == value


@pytest.mark.parametrize("level", ["chip", "fixed", "float"])
def test_every_type_of_samples_gives_the_same_result(made: Path, tmp_path: Path, level: Any) -> None:
    first = _run(made, level=level, probes=PROBES)
    assert first.output_spikes
    for k, dtype in enumerate((bool, np.int8, np.int64)):
        np.savez_compressed(tmp_path / f"{k}.npz", inputs=INPUTS.astype(dtype), labels=np.arange(23) % 3)
        _same(first, _run(made, level=level, probes=PROBES, input=tmp_path / f"{k}.npz"))


# ---- files ------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compressed", [False, True])
def test_damage_is_found_wherever_it_is_in_the_data(made: Path, tmp_path: Path, compressed: bool) -> None:
    from nmap.readers import read

    network = read(made / "n.nir", source="norse")
    (np.savez_compressed if compressed else np.savez)(tmp_path / "s.npz", inputs=INPUTS)
    with zipfile.ZipFile(tmp_path / "s.npz") as archive:
        (entry,) = archive.infolist()
    content = (tmp_path / "s.npz").read_bytes()
    # Past the member's own header, and that of the array.
    first = 30 + len(entry.filename) + 150
    for at in range(first, entry.compress_size, 97):
        damaged = bytearray(content)
        damaged[at] ^= 0x10
        (tmp_path / "d.npz").write_bytes(damaged)
        with pytest.raises(NmapError, match="NM801"):
            load(tmp_path / "d.npz", network)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_is_cut_between_check_and_run_is_refused(made: Path, tmp_path: Path, compressed: bool) -> None:
    from nmap.readers import read

    (np.savez_compressed if compressed else np.savez)(tmp_path / "s.npz", inputs=INPUTS)
    given = load(tmp_path / "s.npz", read(made / "n.nir", source="norse"), held=0)
    mark = (tmp_path / "s.npz").stat()
    content = (tmp_path / "s.npz").read_bytes()
    (tmp_path / "s.npz").write_bytes(content[: len(content) // 2])
    os.utime(tmp_path / "s.npz", ns=(mark.st_atime_ns, mark.st_mtime_ns))
    with pytest.raises(NmapError, match="NM801"):
        list(given.chunks())


def test_a_compressed_file_is_kept_only_where_it_may_be(made: Path, tmp_path: Path) -> None:
    from nmap.readers import read

    network = read(made / "n.nir", source="norse")
    np.savez_compressed(tmp_path / "s.npz", inputs=INPUTS)
    kept, again = load(tmp_path / "s.npz", network), load(tmp_path / "s.npz", network, held=INPUTS.nbytes - 1)
    (tmp_path / "s.npz").unlink()
    (part,) = kept.chunks()
    np.testing.assert_array_equal(part["input"], INPUTS)
    with pytest.raises(NmapError, match="NM801"):
        list(again.chunks())


# ---- threads and memory -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [False, True])
def test_threads_change_nothing(made: Path, keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _run(made, jobs=1, probes=PROBES, keep=keep)
    for jobs, chunk in ((2, 2**26), (3, 2**26), (2, 4 * 60 * 3), (3, 4 * 60 * 5)):
        monkeypatch.setattr("nmap.samples.model.CHUNK_BYTES", chunk)
        other = _run(made, jobs=jobs, probes=PROBES, keep=keep)
        _same(first, other)
        assert other.memory is not None
        assert (other.memory.jobs, other.memory.at_once) == (jobs, min(23, chunk // 240))
    np.testing.assert_array_equal(first.counts, _run(made).spikes.sum(1))


@pytest.mark.parametrize("split", [1, 2, 3])
@pytest.mark.parametrize("keep", [False, True])
def test_threads_that_share_each_sample_change_nothing(made: Path, split: int, keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _run(made, jobs=1, probes=PROBES, keep=keep)
    monkeypatch.setattr("nmap.samples.model.CHUNK_BYTES", 4 * 60 * 9)
    other = _run(made, split=split, jobs=1, probes=PROBES, keep=keep)
    _same(first, other)
    assert other.memory is not None
    assert (other.memory.jobs, other.memory.split, other.memory.at_once) == (1, split, 9)
    report = run_to_json(other, ["nmap", "run"], None)
    assert (report["run"]["memory"]["jobs"], report["run"]["memory"]["split"]) == (1, split)
    assert problems(report, schema(), closed=True) == []


def test_a_team_leaves_no_threads_for_other_samples(made: Path) -> None:
    said: list[str] = []
    result = _run(made, split=3, progress=lambda stage, text: said.append(text))
    assert result.memory is not None
    assert (result.memory.jobs, result.memory.split) == (1, 3)
    assert any(text.endswith("23 samples at a time, 3 threads for each") for text in said)


@pytest.mark.parametrize(("options", "where"), [
    ({"jobs": 0}, "--jobs"), ({"split": 0}, "--split"), ({"jobs": 2, "split": 2}, "--split"), ({"split": 2, "level": "fixed"}, "--split"),
    ({"split": 2, "level": "float"}, "--split"),
])
def test_threads_that_cannot_be_are_refused(made: Path, options: dict[str, Any], where: str) -> None:
    with pytest.raises(NmapError) as caught:
        _run(made, **options)
    (found,) = caught.value.diagnostics
    assert (found.code, found.where) == ("NM004", where)


def test_threads_are_those_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    assert running.usable_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert running.usable_cores() == 1


@pytest.mark.parametrize("level", ["chip", "fixed", "float"])
def test_the_memory_limit_sets_how_many_samples_run_at_once(made: Path, level: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "resident", lambda: 0)
    monkeypatch.setattr(running, "_RESERVE", 0)
    whole = _run(made, level=level, probes=PROBES)
    assert whole.memory is not None
    assert (whole.memory.limit, whole.memory.at_once) == (None, 23)
    with pytest.raises(NmapError) as caught:
        _run(made, level=level, probes=PROBES, memory_limit=1000)
    (found,) = caught.value.diagnostics
    assert (found.code, found.where) == ("NM802", "--memory-limit")
    assert "beyond the limit of 1000 bytes" in found.message
    assert found.why is not None
    for part in ("are in use", "results kept until the end", "one sample takes", "the reading of it"):
        assert part in found.why
    # The smallest limit with which it runs, and one in between.
    least = _least(lambda limit: _run(made, level=level, probes=PROBES, memory_limit=limit), whole.memory.peak)
    for limit in (least, (least + whole.memory.peak) // 2):
        less = _run(made, level=level, probes=PROBES, memory_limit=limit)
        assert less.memory is not None
        assert less.memory.peak <= limit < whole.memory.peak
        assert 1 <= less.memory.at_once < 23
        _same(whole, less)
    assert less.memory is not None


def test_the_emulator_makes_do_with_less_before_it_is_refused(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sample at a time with all its steps at once does not fit, and with fewer steps at a time it does."""
    monkeypatch.setattr(running, "resident", lambda: 0)
    monkeypatch.setattr(running, "_RESERVE", 0)
    np.savez(tmp_path / "s.npz", inputs=np.tile(INPUTS[:2], (1, 300, 1)))
    given: dict[str, Any] = {"input": tmp_path / "s.npz", "probes": ["hidden:v"], "keep": False, "jobs": 1}
    whole = _run(made, **given, output=tmp_path / "a.h5")
    least = _least(lambda limit: _run(made, **given, memory_limit=limit), 2**30)
    monkeypatch.setattr(running.ChipLevel, "footprint", _without_least(running.ChipLevel.footprint))
    comfortable = _least(lambda limit: _run(made, **given, memory_limit=limit), 2**30)
    monkeypatch.undo()
    assert least < comfortable - 1000
    monkeypatch.setattr(running, "resident", lambda: 0)
    monkeypatch.setattr(running, "_RESERVE", 0)
    limits: list[int | None] = []
    monkeypatch.setattr("nmap.emulate.engine.Emulator.run", _noting(engine.Emulator.run, limits))
    tight = _run(made, **given, memory_limit=least, output=tmp_path / "b.h5")
    assert tight.memory is not None
    assert (tight.memory.peak, tight.memory.at_once) == (least, 1)
    assert limits[0] is None
    assert all(limit is not None for limit in limits[1:])
    assert tight.output_spikes == whole.output_spikes
    with h5py.File(tmp_path / "a.h5") as one, h5py.File(tmp_path / "b.h5") as two:
        np.testing.assert_array_equal(one["hidden.v"], two["hidden.v"])


def _without_least(real: Any) -> Any:
    return lambda self, samples, steps, *, least=False: real(self, samples, steps)


def _noting(real: Any, limits: list[int | None]) -> Any:
    def run(self: Any, *given: Any, memory_limit: int | None = None, **more: Any) -> Any:
        limits.append(memory_limit)
        return real(self, *given, memory_limit=memory_limit, **more)

    return run


def test_the_fixed_level_takes_what_it_says(made: Path) -> None:
    """States and spikes that are recorded included; what is said is never less, and not ten times as much."""
    import tracemalloc

    journal = flow._Journal((), None)
    opened = flow._open(journal, made / "bundle")
    quantized = flow._requantize(journal, opened)
    level = running.fixed_level("toy", quantized, flow._stored_program(opened, quantized), ("hidden:v", "hidden:spikes", "input"))
    part = {"input": np.tile(INPUTS[:20], (100, 1, 1))}
    said = level.footprint(2000, 12)
    level.run({"input": INPUTS[:2]}, lambda done, of: None)
    tracemalloc.start()
    try:
        found = level.run(part, lambda done, of: None)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert set(found) == {"hidden.v", "hidden.spikes", "input.spikes", "out.spikes"}
    assert 0.1 * said < peak <= said


def _least(run: Any, high: int) -> int:
    low = 0
    while high - low > 64:
        middle = (low + high) // 2
        try:
            run(middle)
            high = middle
        except NmapError:
            low = middle
    return high


def test_the_memory_is_stated_before_the_run(made: Path) -> None:
    said: list[tuple[str, str]] = []
    result = _run(made, memory_limit=2**40, progress=lambda stage, text: said.append((stage, text)))
    (at,) = [k for k, (stage, text) in enumerate(said) if stage == "chip" and "of memory" in text]
    assert "of 1024 GiB of memory: 23 samples at a time" in said[at][1]
    assert any("of 23 samples" in text for _, text in said[at:])
    assert not any("of 23 samples" in text for _, text in said[:at])
    report = run_to_json(result, ["nmap", "run"], None)
    assert problems(report, schema(), closed=True) == []
    assert report["run"]["memory"]["limit_bytes"] == 2**40
    assert report["run"]["memory"]["peak_bytes"] > 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from Linux's accounting")
def test_the_peak_stays_below_what_was_stated(tmp_path: Path) -> None:
    """Samples of 256 MB as the float level computes with them: they are streamed through, and the prediction covers what that takes."""
    nodes = {"input": port(2000), "w": linear(np.full((20, 2000), 0.125)), "n": if_(20, th=2.0), "output": sink(20)}
    write_nir(tmp_path / "n.nir", nodes, chain(*nodes), {"reset_mechanism": "zero"})
    np.savez_compressed(tmp_path / "s.npz", inputs=np.tile((np.arange(2000) % 50 == 0).astype(np.uint8), (400, 40, 1)))
    program = (
        "import sys; from pathlib import Path; from nmap import flow; folder = Path(sys.argv[1]); "
        "made = flow.run(folder / 'n.nir', input=folder / 's.npz', framework='norse', memory_limit=220 * 2**20, keep=False, "
        "output=folder / 'o.h5'); "
        "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')); "
        "print(made.output_spikes, made.memory.peak, made.memory.at_once, 1024 * int(peak))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
    spikes, stated, at_once, peak = (int(word) for word in done.stdout.split())
    assert spikes == 400 * 20 * 40
    assert at_once < 400
    assert stated <= 220 * 2**20
    assert peak <= 1.05 * stated


def test_sizes_are_told_in_units_that_suit_them() -> None:
    assert [size_text(n) for n in (0, 1023, 1024, 1025, 2**20, 2**30 + 1, 5 * 2**40)] == [
        "0 bytes", "1023 bytes", "1 KiB", "2 KiB", "1 MiB", "2 GiB", "5120 GiB",
    ]


# ---- results --------------------------------------------------------------------------------------------------------------------------


def _dense(group: h5py.Group, samples: int, steps: int) -> np.ndarray:
    """Read events as the documentation of the file says."""
    shape = tuple(group.attrs["shape"])
    out = np.zeros((samples, steps, int(np.prod(shape))), np.int32)
    offsets, t, index = group["offsets"][()], group["t"][()], group["index"][()]
    value = group["value"][()] if "value" in group else np.ones(t.size, int)
    assert (offsets[0], offsets[-1], offsets.size) == (0, t.size, samples + 1)
    for sample in range(samples):
        for k in range(offsets[sample], offsets[sample + 1]):
            assert out[sample, t[k], index[k]] == 0
            out[sample, t[k], index[k]] = value[k]
    return out.reshape(samples, steps, *shape)


def _equal(path: Path, result: RunResult, raw_time: bool = False) -> None:
    """Compare a file with the arrays that the same run keeps."""
    with h5py.File(path) as file:
        assert set(file) == set(result.arrays)
        samples, steps = result.spikes.shape[:2]
        assert (file.attrs["schema"], file.attrs["samples"], file.attrs["steps"]) == ("nmap.recording/1", samples, steps)
        assert (file.attrs["level"], bool(file.attrs["raw_time"])) == (result.level, raw_time)
        for name, values in result.arrays.items():
            if isinstance(file[name], h5py.Group):
                np.testing.assert_array_equal(_dense(file[name], samples, steps), values)
            else:
                np.testing.assert_array_equal(file[name][()], values)
                assert file[name].dtype == values.dtype


@pytest.mark.parametrize("level", ["chip", "fixed", "float"])
@pytest.mark.parametrize("raw_time", [False, True])
def test_a_recording_holds_what_is_kept(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: Any, raw_time: bool) -> None:
    kept = _run(made, level=level, probes=PROBES, raw_time=raw_time)
    monkeypatch.setattr("nmap.samples.model.CHUNK_BYTES", 4 * 60 * 5)
    for name in ("a.h5", "b.hdf5"):
        result = _run(made, level=level, probes=PROBES, raw_time=raw_time, output=tmp_path / name, keep=name == "b.hdf5")
        _equal(tmp_path / name, kept, raw_time and level != "float")
        assert (result.accuracy, result.output_spikes) == (kept.accuracy, kept.output_spikes)
        np.testing.assert_array_equal(result.counts, kept.counts)
        shapes = run_to_json(result, ["nmap", "run"], None)["run"]
        wanted = run_to_json(kept, ["nmap", "run"], None)["run"]
        assert {**shapes, "memory": None} == {**wanted, "memory": None}
    assert result.spikes.shape == kept.spikes.shape
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.h5", "b.hdf5"]


def test_what_is_not_kept_has_no_samples(made: Path) -> None:
    result = _run(made, probes=PROBES, keep=False)
    assert {name: values.shape for name, values in result.arrays.items()} == {
        "spikes": (0, 12, 3), "counts": (23, 3), "hidden.v": (0, 12, 6), "hidden.spikes": (0, 12, 6), "input.spikes": (0, 12, 5),
    }


def test_graded_spikes_and_outputs_that_never_fire_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmap.samples.model.CHUNK_BYTES", 4 * 60 * 2)
    nodes = {"input": port(3), "w": linear(np.eye(2, 3)), "n": lif(2), "v": linear(np.eye(2)), "out": li(2), "output": sink(2)}
    write_nir(tmp_path / "li.nir", nodes, chain(*nodes))
    # Binary at first, so that payloads begin in the middle of the file.
    given = (np.random.default_rng(0).random((6, 20, 3)) < 0.7).astype(np.int64)
    given[4:] *= -3
    np.savez(tmp_path / "s.npz", inputs=given)
    more: dict[str, Any] = {"input": tmp_path / "s.npz", "dt": 1e-4, "probes": ["n", "input"]}
    kept = flow.run(tmp_path / "li.nir", **more)
    flow.run(tmp_path / "li.nir", **more, output=tmp_path / "o.h5", keep=False)
    _equal(tmp_path / "o.h5", kept)
    with h5py.File(tmp_path / "o.h5") as file:
        assert set(np.unique(file["input.spikes/value"])) == {1, -3}
        assert "value" not in file["n.spikes"]
        assert file["out.v"].compression == "gzip"


@pytest.mark.parametrize("when", ["run", "end", "start"])
def test_an_interrupted_run_leaves_the_old_file_and_nothing_else(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    place = tmp_path / "o.h5"
    place.write_bytes(b"old")
    monkeypatch.setattr("nmap.samples.model.CHUNK_BYTES", 4 * 60 * 5)
    seen = []

    def interrupt(stage: str, text: str) -> None:
        del stage
        seen.append(sorted(path.name for path in tmp_path.iterdir()))
        if when == "run" and text.startswith("10 of 23"):
            raise KeyboardInterrupt

    def fail(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    if when == "end":
        monkeypatch.setattr("nmap.writers.recording.Recording.put", fail)
    if when == "start":
        monkeypatch.setattr("nmap.running._execute", fail)
    with pytest.raises(KeyboardInterrupt):
        _run(made, output=place, keep=False, progress=interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["o.h5"]
    assert place.read_bytes() == b"old"
    if when == "run":
        assert any(len(names) == 2 for names in seen)


def test_a_file_that_takes_no_more_is_said_so(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("nmap.writers.recording._append", full)
    with pytest.raises(NmapError, match="NM601") as caught:
        _run(made, output=tmp_path / "o.h5", keep=False)
    assert caught.value.diagnostics[0].why == "No space left on device."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_recording_needs_a_regular_file(made: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "o.h5")
    with pytest.raises(NmapError, match="NM601"):
        _run(made, output=tmp_path / "o.h5", keep=False)


def test_what_is_too_large_to_keep_names_the_recording(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_MAX_KEPT_BYTES", 100)
    with pytest.raises(NmapError, match="NM802") as caught:
        _run(made)
    assert "-o OUT.h5" in caught.value.diagnostics[0].help[0]
    assert _run(made, keep=False).output_spikes


@pytest.mark.parametrize("graded", [False, True])
def test_a_cut_of_events_is_a_cut_of_the_array(graded: bool) -> None:
    rng = np.random.default_rng(4)
    dense = (rng.random((5, 9, 4)) < 0.3).astype(np.int32)
    dense[2] = 0
    dense *= rng.integers(-5, 6, dense.shape) if graded else 1
    rows, neuron = np.nonzero(dense.reshape(45, 4))
    offsets = np.concatenate([[0], np.cumsum(np.count_nonzero(dense.reshape(45, 4), axis=1))])
    events = SpikeEvents(5, 9, 4, offsets, neuron.astype(np.int32), dense.reshape(45, 4)[rows, neuron] if graded else None)
    for first, length in ((0, 9), (0, 4), (3, 6), (2, 5), (8, 1)):
        found = running._cut(events, first, length)
        assert isinstance(found, SpikeEvents)
        np.testing.assert_array_equal(found.dense(), dense[:, first : first + length])
        np.testing.assert_array_equal(running._summed(found), dense[:, first : first + length].sum(1))
    np.testing.assert_array_equal(running._cut(dense, 3, 4), dense[:, 3:7])


def test_an_archive_is_as_numpy_reads_it_and_always_the_same(tmp_path: Path) -> None:
    arrays = {"spikes": np.eye(5, dtype=np.int32)[None], "a.v": np.linspace(0, 1, 7), "none": np.zeros((0, 3))}
    for name in "ab":
        with (tmp_path / name).open("wb") as stream:
            write_archive(stream, arrays)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with np.load(tmp_path / "a") as found:
        assert set(found) == set(arrays)
        for name, values in arrays.items():
            np.testing.assert_array_equal(found[name], values)
            assert found[name].dtype == values.dtype


def test_an_error_while_the_next_chunk_is_read_ends_the_run(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Samples.chunks

    def broken(self: Samples, size: int | None = None) -> Iterator[dict[str, np.ndarray]]:
        for k, part in enumerate(whole(self, size)):
            if k == 2:
                raise NmapError(())
            yield part

    monkeypatch.setattr("nmap.samples.model.CHUNK_BYTES", 4 * 60 * 5)
    monkeypatch.setattr(Samples, "chunks", broken)
    with pytest.raises(NmapError):
        _run(made)


def test_a_recording_can_be_the_next_networks_input(made: Path, tmp_path: Path) -> None:
    from nmap.readers import read

    result = _run(made, probes=["input"], output=tmp_path / "o.h5")
    with h5py.File(tmp_path / "o.h5") as file:
        np.savez(tmp_path / "e.npz", **{name: values[()] for name, values in file["input.spikes"].items()}, steps=12)
    again = load(tmp_path / "e.npz", read(made / "n.nir", source="norse"))
    np.testing.assert_array_equal(again.inputs, INPUTS)
    np.testing.assert_array_equal(_run(made, input=tmp_path / "e.npz").spikes, result.spikes)


# ---- a cluster --------------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=2, processes=False, dashboard_address=":0") as started:
        yield started.scheduler_address


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("level", ["chip", "fixed", "float"])
def test_a_cluster_gives_what_this_machine_gives(
    made: Path, tmp_path: Path, cluster: str, level: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = _run(made, level=level, probes=PROBES)
    # Four samples of some 20 steps, and 20 neurons of outputs and probes in 8 bytes.
    monkeypatch.setattr(running, "CHUNK_BYTES", 8 * 20 * 20 * 4)
    said: list[str] = []
    far = _run(made, level=level, probes=PROBES, scheduler=cluster, progress=lambda stage, text: said.append(text))
    _same(local, far)
    assert far.memory is not None
    assert (far.memory.jobs, far.memory.split) == (4, 1)
    assert 1 <= far.memory.at_once < 12
    assert any(cluster in text for text in said)
    counted = [int(text.split()[0]) for text in said if text.endswith("of 23 samples")]
    assert counted == sorted(counted)
    assert counted[-1] == 23
    streamed = _run(made, level=level, probes=PROBES, scheduler=cluster, keep=False, output=tmp_path / "o.h5")
    _equal(tmp_path / "o.h5", local)
    assert streamed.accuracy == local.accuracy


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_cluster_runs_a_network_file_and_teams(made: Path, cluster: str) -> None:
    given: dict[str, Any] = {"input": made / "s.npz", "framework": "norse", "probes": ["hidden:v"]}
    _same(flow.run(made / "n.nir", **given), flow.run(made / "n.nir", **given, scheduler=cluster))
    far = _run(made, scheduler=cluster, split=2)
    _same(_run(made), far)
    assert far.memory is not None
    assert far.memory.split == 2


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_memory_limit_holds_for_what_is_under_way_to_a_cluster(made: Path, cluster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "resident", lambda: 0)
    monkeypatch.setattr(running, "_RESERVE", 0)
    whole = _run(made, scheduler=cluster, keep=False)
    assert whole.memory is not None
    # Twice as many chunks as threads, one that is read and one in the file's own form; results of 8 bytes and 3 neurons twice; scores.
    steps = 12 + _latency(made)
    assert whole.memory.peak == 23 * (10 * 12 * 5 + 2 * 8 * 3 * steps + 8 * 3)
    limit = whole.memory.peak // 3
    less = _run(made, scheduler=cluster, keep=False, memory_limit=limit)
    assert less.memory is not None
    assert less.memory.peak <= limit
    assert 1 <= less.memory.at_once < 23
    np.testing.assert_array_equal(less.counts, whole.counts)
    with pytest.raises(NmapError, match="NM802"):
        _run(made, scheduler=cluster, keep=False, memory_limit=800)


def _latency(made: Path) -> int:
    """Steps that the chip runs beyond the samples'."""
    raw = _run(made, raw_time=True)
    return int(raw.spikes.shape[1]) - 12


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_a_cluster_cannot_find_is_told_before_samples_are_sent(made: Path, cluster: str) -> None:
    for level in ("chip", "fixed", "float"):
        with pytest.raises(NmapError, match="NM004"):
            _run(made, level=level, probes=["nothing:v"], scheduler=cluster)


def test_a_cluster_that_is_not_there_is_told_first(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    monkeypatch.setattr("nmap.distribute._CONNECT", 0.3)
    with pytest.raises(NmapError, match="NM006"):
        _run(made, scheduler="tcp://127.0.0.1:1", input=made / "missing.npz")


@pytest.mark.parametrize(("jobs", "split", "where"), [(100_000, 1, "--jobs"), (None, 100_000, "--split")])
def test_a_mistyped_number_of_threads_starts_none(jobs, split, where):
    with pytest.raises(NmapError) as error:
        flow._threads(jobs, split)
    assert error.value.diagnostics[0].where == where
    assert "too many" in error.value.diagnostics[0].message


def test_what_runs_further_behind_than_the_output_can_be_probed(tmp_path: Path) -> None:
    """A delay before the output leaves the layer before it behind in the chip's time."""
    network = networks.build(
        "late.nir",
        {
            "in": ((2,), None), "a": ((2,), networks.lif(2, beta=1.0, threshold=0.9)),
            "b": ((1,), networks.lif(1, beta=1.0, threshold=0.9)),
        },
        [("in", "a", Dense(np.eye(2)), None, 0), ("a", "b", Dense(np.ones((1, 2))), None, 3)],
    )
    write(network, tmp_path / "late.nir")
    inputs = np.ones((2, 9, 2), np.uint8)
    np.savez(tmp_path / "late.npz", inputs=inputs)
    made = flow.deploy(
        tmp_path / "late.nir", target="toy", input=tmp_path / "late.npz", output=tmp_path / "out", options=Options(partitioner="greedy"),
    )
    assert made.quantized is not None
    assert made.quantized["a"].latency > made.quantized.latency
    for level in ("chip", "fixed"):
        run = flow.run(tmp_path / "out", input=tmp_path / "late.npz", level=level, probes=("a:spikes",))
        assert run.probes["a.spikes"].tolist() == inputs.tolist()
