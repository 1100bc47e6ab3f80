"""Every command from its words to its output and exit status, on a network small enough for the toy chip."""

from __future__ import annotations

import json
import os
import stat
import threading
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from nmap import flow
from nmap.cli.interrupt import FirstInterrupt
from nmap.cli.main import app
from nmap.diagnostics import Diagnostic, Exit, NmapError
from nmap.report.json import schema
from tests.cli.runner import Runner
from tests.unit.report.outcomes import misfit, outcome
from tests.unit.report.schema_check import problems

TOY = ("--target", "toy", "--partitioner", "greedy")


@pytest.fixture
def bundle(net: Path, samples: Path, nmap: Runner) -> Path:
    assert nmap("deploy", net, *TOY, "--input", samples, "-o", "out", "--no-verify").status == 0
    return Path("out")


def test_deploy_writes_a_bundle_and_reports_on_stdout(net: Path, samples: Path, nmap: Runner) -> None:
    result = nmap("deploy", net, *TOY, "--input", samples, "-o", "out", "--format", "json")
    assert result.status == 0
    report = result.json
    assert problems(report, schema(), closed=True) == []
    assert report["status"] == "ok"
    assert report["command"] == ["nmap", "deploy", "net.nir", *TOY, "--input", "s.npz", "-o", "out", "--format", "json"]
    assert report["network"]["neurons"] == 8
    assert report["network"]["synapses"] == 45
    assert report["verification"]["mapping"] == "ok"
    assert report["verification"]["chip_vs_fixed"]["mismatches"] == 0
    assert report["verification"]["chip_vs_fixed"]["spikes"] > 0
    assert report["bundle"] == "out"
    assert set(report["written"]) <= {str(path.relative_to("out")) for path in Path("out").rglob("*")}


def test_deploying_twice_gives_the_same_bytes(net: Path, samples: Path, nmap: Runner) -> None:
    for name in ("one", "two"):
        assert nmap("deploy", net, *TOY, "--input", samples, "-o", name).status == 0
    contents = [
        {str(path.relative_to(name)): path.read_bytes() for path in Path(name).rglob("*") if path.is_file()} for name in ("one", "two")
    ]
    assert contents[0] == contents[1]
    text = contents[0]["report.json"].decode()
    assert json.loads(text)["timings_s"] is None
    assert str(Path.cwd()) not in text + contents[0]["manifest.json"].decode() + contents[0]["nmap.lock"].decode()


def test_text_report_and_next_command(bundle: Path, nmap: Runner) -> None:
    result = nmap("report", bundle)
    assert result.status == 0
    assert result.out.startswith("net.nir  NIR · 2 populations · 8 neurons · 45 synapses")
    assert "verdict: fits (exit 0)" in result.out
    assert "Wrote out" in result.out
    assert nmap("report", bundle, "-q").out == "out  toy:2x2  fits\n"
    stored = json.loads((bundle / "report.json").read_text())
    assert nmap("report", bundle, "--format", "json").json == {**stored, "bundle": "out"}


def test_report_of_another_version_is_refused(bundle: Path, nmap: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmap.report.json.SCHEMA", "nmap.report/2")
    result = nmap("report", bundle)
    assert result.status == 2
    assert "NM602" in result.err


def test_damaged_bundle(bundle: Path, nmap: Runner) -> None:
    (bundle / "program.h5").write_bytes(b"")
    for words in (("report", bundle), ("verify", bundle), ("run", bundle, "--input", "s.npz")):
        result = nmap(*words)
        assert result.status == 2
        assert "error[NM602]: `program.h5` of the bundle was changed" in result.err


def test_verify_again(bundle: Path, samples: Path, nmap: Runner) -> None:
    result = nmap("verify", bundle, "--input", samples, "--against", "fixed")
    assert result.status == 0
    assert "chip emulator = fixed-point reference (5 samples" in result.out


def test_levels_of_an_exact_network_agree_and_say_which_ran(bundle: Path, samples: Path, nmap: Runner) -> None:
    outputs = {}
    for level, words in (("chip", "chip emulator"), ("fixed", "quantized reference"), ("float", "imported network")):
        result = nmap("run", bundle, "--input", samples, "--level", level, "-o", f"{level}.npz")
        assert result.status == 0
        assert words in result.out
        with np.load(f"{level}.npz") as arrays:
            outputs[level] = arrays["spikes"]
            assert arrays["spikes"].dtype == np.int32
            assert arrays["spikes"].shape == (5, 12, 3)
            assert np.array_equal(arrays["counts"], arrays["spikes"].sum(1))
    assert np.array_equal(outputs["chip"], outputs["fixed"])
    assert outputs["chip"].any()


def test_a_quiet_run_prints_the_level_and_the_summary(net: Path, samples: Path, nmap: Runner) -> None:
    full, quiet = nmap("run", net, "--input", samples), nmap("run", net, "--input", samples, "-o", "o.npz", "-q")
    assert quiet.status == 0
    assert Path("o.npz").exists()
    assert "  assumed   " in full.out
    kept = quiet.out.splitlines()
    assert kept == [line for line in full.out.splitlines() if line in kept]
    assert "level float" in quiet.out
    assert kept[-1].startswith("  run       5 samples × 12 steps · ")
    assert len(kept) <= 3
    assert "assumed" not in quiet.out
    assert quiet.err == ""


def test_run_records_probes_and_prints_accuracy(bundle: Path, samples: Path, nmap: Runner) -> None:
    result = nmap("run", bundle, "--input", samples, "--probe", "n1:v", "--probe", "n2:spikes", "-o", "o.npz", "--format", "json")
    assert result.status == 0
    assert problems(result.json, schema(), closed=True) == []
    run = result.json["run"]
    with np.load("o.npz") as arrays:
        assert {name: list(arrays[name].shape) for name in ("n1.v", "n2.spikes")} == run["probes"] == {
            "n1.v": [5, 12, 5], "n2.spikes": [5, 12, 3],
        }
        right = np.mean(arrays["counts"].argmax(1) == [0, 1, 2, 0, 1])
        assert np.array_equal(arrays["n2.spikes"], arrays["spikes"])
    assert run["accuracy"] == pytest.approx(right)
    assert run["level"] == "chip"


@pytest.mark.parametrize("name", ["o.h5", "o.HDF5"])
def test_run_streams_into_hdf5(bundle: Path, samples: Path, nmap: Runner, name: str) -> None:
    words = ("run", bundle, "--input", samples, "--probe", "n1:v", "--jobs", 2, "--memory-limit", "4G")
    kept = nmap(*words, "-o", "o.npz", "--format", "json").json
    result = nmap(*words, "-o", name, "-v", "--format", "json")
    assert result.status == 0
    assert problems(result.json, schema(), closed=True) == []
    assert result.json["written"] == [name]
    for key in ("samples", "steps", "output_spikes", "accuracy", "probes"):
        assert result.json["run"][key] == kept["run"][key]
    assert result.json["run"]["memory"]["limit_bytes"] == 4 * 2**30
    assert "of 4 GiB of memory: 5 samples at a time, 2 threads" in result.err
    with h5py.File(name) as file, np.load("o.npz") as arrays:
        assert set(file) == set(arrays)
        assert np.array_equal(file["counts"], arrays["counts"])
        assert np.array_equal(file["n1.v"], arrays["n1.v"])
        assert file["spikes/t"].size == np.count_nonzero(arrays["spikes"])


def test_a_memory_limit_that_is_too_low_is_one_diagnostic(bundle: Path, samples: Path, nmap: Runner) -> None:
    result = nmap("run", bundle, "--input", samples, "-o", "o.h5", "--memory-limit", "1M")
    assert result.status == 2
    assert result.err.count("error[NM802]") == 1
    assert "beyond the limit of 1 MiB" in " ".join(result.err.split())
    assert not Path("o.h5").exists()
    assert nmap("run", bundle, "--input", samples, "--memory-limit", "many").status == 2


def test_raw_time_keeps_the_latency(bundle: Path, samples: Path, nmap: Runner) -> None:
    result = nmap("run", bundle, "--input", samples, "--raw-time", "--format", "json")
    assert result.json["run"]["raw_time"] is True
    assert result.json["run"]["steps"] > 12


def test_network_file_runs_as_float_only(net: Path, samples: Path, nmap: Runner) -> None:
    assert nmap("run", net, "--input", samples, "--format", "json").json["run"]["level"] == "float"
    assert nmap("run", net, "--input", samples, "--level", "chip").status == 2


@pytest.mark.parametrize("place", ["none/o.npz", "folder"])
def test_spikes_that_cannot_be_written_are_told_before_the_run(net: Path, samples: Path, nmap: Runner, place: str) -> None:
    Path("folder").mkdir()
    result = nmap("run", net, "--input", samples, "-o", place)
    assert result.status == 2
    assert "NM601" in result.err
    assert sorted(path.name for path in Path.cwd().iterdir()) == ["folder", "net.nir", "s.npz"]


def test_check_one_target(net: Path, nmap: Runner) -> None:
    result = nmap("check", net, *TOY)
    assert result.status == 0
    assert "Next: nmap deploy net.nir --target toy:2x2" in result.out
    assert [path.name for path in Path.cwd().iterdir()] == ["net.nir"]


def test_check_several_targets(net: Path, big: Path, nmap: Runner) -> None:
    result = nmap("check", net, "--target", "toy,toy:4x4", "--partitioner", "greedy")
    assert result.status == 0
    assert [line.split()[:2] for line in result.out.splitlines() if line.startswith("  toy")] == [["toy:2x2", "fits"], ["toy:4x4", "fits"]]
    mixed = nmap("check", big, "--target", "toy,toy:4x4", "--partitioner", "greedy", "--format", "json")
    assert mixed.status == 1
    assert mixed.json["schema"] == "nmap.comparison/1"
    assert [report["fits"] for report in mixed.json["reports"]] == [False, True]
    assert [problem for report in mixed.json["reports"] for problem in problems(report, schema(), closed=True)] == []


def test_misfit(big: Path, nmap: Runner) -> None:
    result = nmap("deploy", big, *TOY, "-o", "out")
    assert result.status == 1
    assert "verdict: does not fit (exit 1)" in result.out
    assert result.err.endswith("nothing written (exit 1)\n")
    assert not Path("out").exists()
    assert nmap("deploy", big, *TOY, "--format", "json").json["fits"] is False


def test_dead_cores_reach_the_machine(net: Path, nmap: Runner) -> None:
    report = nmap("check", net, *TOY, "--dead-cores", "c0,c2", "--format", "json").json
    assert (report["target"]["cores"], report["target"]["dead_cores"]) == (2, 2)
    assert nmap("check", net, *TOY, "--dead-cores", "c99").status == 2


def test_stop_after(net: Path, nmap: Runner) -> None:
    result = nmap("deploy", net, *TOY, "--stop-after", "quantize", "-o", "out")
    assert result.status == 0
    assert "stopped after quantize" in result.out
    assert not Path("out").exists()


def test_inspect(net: Path, nmap: Runner) -> None:
    result = nmap("inspect", net, "--dt", "1ms")
    assert result.status == 0
    assert "dt = 0.001 s (command line" in result.out
    rows = [line.split()[:3] for line in result.out.splitlines() if line.startswith(("  n1", "  n2"))]
    assert rows[:2] == [["n1", "IF", "5"], ["n2", "IF", "3"]]
    assert rows[2:] == [["n1", "n2", "dense"]]
    assert problems(nmap("inspect", net, "--format", "json").json, schema(), closed=True) == []


def test_locked_deployment(net: Path, nmap: Runner) -> None:
    words = ("deploy", net, *TOY, "-o", "out", "--no-verify", "--locked")
    assert "NM603" in nmap(*words).err
    assert nmap(*words[:-1]).status == 0
    assert nmap(*words).status == 0
    changed = nmap(*words, "--seed", 3)
    assert changed.status == 2
    assert "options.seed is 3, the lock has 0" in changed.err


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace the pipeline by one with a given outcome."""
    def use(result: Any) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []

        def deploy(path: Path, **kw: Any) -> Any:
            calls.append({"path": path, **kw})
            kw["progress"]("read", str(path))
            return result

        monkeypatch.setattr(flow, "deploy", deploy)
        monkeypatch.setattr(flow, "check", lambda path, **kw: result)
        return calls

    return use


def test_every_option_reaches_the_pipeline(pretend: Any, nmap: Runner) -> None:
    calls = pretend(outcome())
    nmap(
        "deploy", "n.h5", "--target", "tiny:v", "-o", "d", "--input", "s.npz", "--dt", "2ms", "--reset", "delayed", "--source", "norse",
        "--bits", 5, "--partitioner", "greedy", "--effort", 2, "--seed", 9, "--chips", 3, "--dead-cores", "1:2", "--steps", 7,
        "--approximate", "a,b", "--stop-after", "route", "--no-verify", "--locked", "--strict", "--slack", 0.5,
        "--from", "b", "--keep-best", "--dead-links", "c3-c4", "--reset-interval", 16, "--reset-offset", 3, "--jobs", 4,
        "--memory-limit", "3K",
    )
    (call,) = calls
    options = call.pop("options")
    del call["progress"], call["command"]
    assert isinstance(call.pop("keep_best"), FirstInterrupt)
    assert call == {
        "path": Path("n.h5"), "target": "tiny:v", "dt": 0.002, "reset": "delayed", "source": "norse", "input": Path("s.npz"),
        "output": Path("d"), "verify": False, "stop_after": "route", "locked": True,
        "from_bundle": Path("b"), "reset_interval": 16, "reset_offset": 3, "jobs": 4, "memory_limit": 3072,
    }
    assert (options.bits, options.partitioner, options.effort, options.seed, options.chips, options.dead, options.steps) == (
        5, "greedy", 2, 9, 3, ((1, 2),), 7,
    )
    assert (options.approximate, options.strict, options.slack) == ({"a", "b"}, True, 0.5)
    assert options.dead_links == (((0, 3), (0, 4)),)


def test_every_option_of_run_and_verify_reaches_the_pipeline(nmap: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def note(place: Path, **kw: Any) -> Any:
        assert kw.pop("progress") is not None
        calls.append({"place": place, **kw})
        raise NmapError(Diagnostic("NM004", "error", "enough"))

    for command in ("run", "verify"):
        monkeypatch.setattr(flow, command, note)
    shared = ("--input", "s.npz", "--steps", 7, "--memory-limit", "2K", "--scheduler", "tcp://host:1", "--split", 3, "--jobs", 1)
    words = ("--dt", "2ms", "--reset", "zero", "--source", "norse", "--reset-interval", 16, "--reset-offset", 3, "--raw-time")
    nmap("run", "b", *shared, *words, "--level", "fixed", "--probe", "n:v", "-o", "o.h5")
    nmap("run", "b", *shared, "-o", "o.npz")
    nmap("verify", "b", *shared, "--against", "fixed", "--strict")
    both = {
        "place": Path("b"), "input": Path("s.npz"), "steps": 7, "memory_limit": 2048, "scheduler": "tcp://host:1", "split": 3, "jobs": 1,
    }
    full, plain, verified = calls
    assert full == {
        **both, "dt": 0.002, "reset": "zero", "framework": "norse", "reset_interval": 16, "reset_offset": 3, "raw_time": True,
        "level": "fixed", "probes": ("n:v",), "output": Path("o.h5"), "keep": False,
    }
    assert (plain["output"], plain["keep"], plain["level"], plain["probes"]) == (None, True, None, ())
    del verified["command"]
    assert verified == {**both, "against": "fixed", "strict": True}


@pytest.mark.parametrize("command", ["run", "verify"])
def test_threads_for_samples_and_inside_of_them_exclude_each_other(bundle: Path, samples: Path, nmap: Runner, command: str) -> None:
    alone = nmap(command, bundle, "--input", samples, "--split", 2, "--format", "json")
    assert alone.status == 0
    if command == "run":
        memory = alone.json["run"]["memory"]
        assert (memory["jobs"], memory["split"]) == (1, 2)
    both = nmap(command, bundle, "--input", samples, "--split", 2, "--jobs", 2)
    assert both.status == 2
    assert both.err.count("error[NM004]") == 1
    assert nmap(command, bundle, "--input", samples, "--split", 2, "--jobs", 1).status == 0
    assert nmap(command, bundle, "--input", samples, "--split", 0).status == 2


def test_a_bundle_does_not_tell_on_how_much_of_the_machine_it_was_made(net: Path, samples: Path, nmap: Runner) -> None:
    for name, words in (("one", ()), ("two", ("--jobs", 2, "--memory-limit=8G"))):
        assert nmap("deploy", net, *TOY, "--input", samples, "-o", name, *words).status == 0
    for path in (path for path in Path("one").rglob("*") if path.is_file()):
        assert path.read_bytes() == (Path("two") / path.relative_to("one")).read_bytes(), path


def test_an_interrupt_ends_a_deployment_unless_asked_otherwise(pretend: Any, nmap: Runner) -> None:
    calls = pretend(outcome())
    nmap("deploy", "n.h5", "--target", "tiny")
    assert (calls[0]["keep_best"], calls[0]["from_bundle"]) == (None, None)


@pytest.mark.parametrize(("status", "exit_status"), [
    ("ok", Exit.OK), ("does_not_fit", Exit.DOES_NOT_FIT), ("error", Exit.USAGE), ("differs", Exit.DIFFERS), ("error", Exit.MISSING),
    ("unknown", Exit.UNKNOWN),
])
def test_exit_status_of_the_outcome_is_that_of_the_command(status: str, exit_status: Exit, pretend: Any, nmap: Runner) -> None:
    pretend(outcome(status=status, exit_status=exit_status))
    assert nmap("deploy", "n.h5", "--target", "tiny").status == exit_status


def test_strict_and_warnings(pretend: Any, nmap: Runner) -> None:
    pretend(outcome())
    assert nmap("deploy", "n.h5", "--target", "tiny").status == 0
    result = nmap("deploy", "n.h5", "--target", "tiny", "--strict")
    assert result.status == 1
    assert result.err.endswith("error: warnings count as errors under --strict (exit 1)\n")


def test_worst_of_several_targets_counts_and_what_they_share_is_told_once(pretend: Any, nmap: Runner) -> None:
    unknown = replace(misfit(), status="unknown", exit_status=Exit.UNKNOWN)
    pretend([outcome(), unknown, misfit()])
    result = nmap("check", "n.h5", "--target", "a,b,c")
    assert result.status == 1
    assert result.err.count("NM402") == 1
    assert "could not tell" in result.out
    pretend([outcome(), unknown])
    assert nmap("check", "n.h5", "--target", "a,b").status == 5


def test_verbose_shows_progress_without_a_terminal(pretend: Any, nmap: Runner) -> None:
    pretend(outcome())
    assert "read       n.h5\n" in nmap("deploy", "n.h5", "--target", "tiny", "-v").err


def test_app_runs_under_typers_own_runner(net: Path) -> None:
    result = CliRunner().invoke(app, ["inspect", str(net), "--format", "json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["network"]["neurons"] == 8
    assert CliRunner().invoke(app, ["inspect", "none.nir"]).exit_code == 2


def run_to(place: object, net: Path, samples: Path, nmap: Runner) -> Any:
    return nmap("run", net, "--input", samples, "-o", place)


def test_links_are_followed_and_files_replaced_whole(net: Path, samples: Path, nmap: Runner) -> None:
    Path("there").mkdir()
    Path("link.npz").symlink_to("there/o.npz")
    for _ in range(2):
        assert run_to("link.npz", net, samples, nmap).status == 0
        assert Path("link.npz").is_symlink()
        with np.load("there/o.npz") as file:
            assert file["spikes"].shape == (5, 12, 3)
    assert [path.name for path in Path("there").iterdir()] == ["o.npz"]


def test_no_file_of_the_user_is_taken_for_scratch(net: Path, samples: Path, nmap: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".o.npz.new").write_text("mine")
    Path(".nmap-ab.new").write_text("mine too")
    monkeypatch.setattr("secrets.token_hex", lambda _size: "ab")
    assert run_to("o.npz", net, samples, nmap).status == 2
    assert Path(".o.npz.new").read_text() == "mine"
    assert Path(".nmap-ab.new").read_text() == "mine too"


@pytest.mark.parametrize("place", ["net.nir", "s.npz", "./s.npz", "link", "hard"])
def test_inputs_are_not_overwritten(net: Path, samples: Path, nmap: Runner, place: str) -> None:
    Path("link").symlink_to("s.npz")
    Path("hard").hardlink_to("s.npz")
    before = (net.read_bytes(), samples.read_bytes())
    result = run_to(place, net, samples, nmap)
    assert result.status == 2
    assert "which this run reads" in result.err
    assert (net.read_bytes(), samples.read_bytes()) == before


def test_devices_and_pipes_stay_what_they_are(net: Path, samples: Path, nmap: Runner) -> None:
    os.mkfifo("pipe")
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(Path("pipe").read_bytes()), daemon=True)
    reader.start()
    assert run_to("pipe", net, samples, nmap).status == 0
    reader.join(10)
    assert stat.S_ISFIFO(Path("pipe").stat().st_mode)
    with np.load(BytesIO(got[0])) as file:
        assert file["counts"].shape == (5, 3)
    try:
        os.mknod("null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod("full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
        Path("null").write_bytes(b"")
    except PermissionError:
        pytest.skip("devices cannot be made here")
    assert run_to("null", net, samples, nmap).status == 0
    full = run_to("full", net, samples, nmap)
    assert full.status == 2
    assert "No space left on device" in full.err
    assert all(stat.S_ISCHR(Path(name).stat().st_mode) for name in ("null", "full"))


def test_target_that_is_not_installed_has_its_row_and_its_name(net: Path, nmap: Runner) -> None:
    result = nmap("check", net, "--target", "nope,toy", "--partitioner", "greedy")
    assert result.status == 2
    assert {"nope", "toy:2x2"} <= {line.split()[0] for line in result.out.splitlines() if line.startswith("  ")}
    assert result.out.startswith("net.nir")
    assert result.err.startswith("error[NM003]: nope: ")
    report = nmap("check", net, "--target", "nope,toy", "--partitioner", "greedy", "--format", "json").json
    assert (report["status"], report["exit_status"], report["command"][:2]) == ("error", 2, ["nmap", "check"])
    assert [part["target"]["name"] for part in report["reports"]] == ["nope", "toy"]
    assert [d["code"] for d in report["diagnostics"]] == ["NM003"]
    assert [problem for part in report["reports"] for problem in problems(part, schema(), closed=True)] == []


@pytest.mark.parametrize("place", ["out/program.h5", "out/new.npz", "out/lava/new.npz", "link.npz", "out/../out/new.npz"])
def test_nothing_is_written_into_a_bundle(place: str, net: Path, samples: Path, nmap: Runner) -> None:
    assert nmap("deploy", net, "--target", "toy", "-o", "out").status == 0
    Path("out/lava").mkdir()
    Path("link.npz").symlink_to("out/linked.npz")
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    result = run_to(place, net, samples, nmap)
    assert result.status == 2
    assert "NM601" in result.err
    assert "It would lie in the bundle" in " ".join(result.err.split())
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before
