"""`nmap run MODEL --target T`: the command line of model files, word for word where a user reads it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nmap.report.json import schema
from tests.cli.runner import Runner
from tests.model_target import MODEL, SPIKES, Repeater, install
from tests.support import shared_data
from tests.unit.report.schema_check import problems
from tests.unit.truenorth.test_run import write_model, write_ranc, write_spikes

RUN = ("run", "m.json", "--target", "repeater", "--input", "s.json")


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch, work: Path) -> Repeater:
    (work / "m.json").write_text(json.dumps(MODEL))
    (work / "s.json").write_text(json.dumps(SPIKES))
    return install(monkeypatch)


@pytest.mark.usefixtures("chip")
def test_a_run_as_it_is_read(nmap: Runner) -> None:
    result = nmap(*RUN, "-o", "o.npz")
    assert (result.status, result.err) == (0, "")
    assert result.out == """\
m.json on repeater:2x2  level chip emulator: nmap's emulator runs what the model
                        file holds; no chip is involved
  model     list of cores · 2 cores · 4 neurons
  input     s.json · 4 input spikes
            1 spike merged with another on the same axon in the same tick, as on
            the chip
  run       22 ticks: 16 beyond the last that sees input · 2 output spikes
            bit-accurate
  time      2 ms per tick

Wrote o.npz
"""
    with np.load("o.npz") as file:
        assert file["events"].tolist() == [[0, 0, 1], [2, 1, 3]]


@pytest.mark.usefixtures("chip")
def test_quiet_says_only_what_ran(nmap: Runner) -> None:
    assert nmap(*RUN, "-q").out == """\
m.json on repeater:2x2  level chip emulator: nmap's emulator runs what the model
                        file holds; no chip is involved
  run       22 ticks: 16 beyond the last that sees input · 2 output spikes
            bit-accurate
"""


def test_every_option_reaches_the_target(chip: Repeater, nmap: Runner) -> None:
    result = nmap(*RUN, "--steps", 4, "--probe", "all", "--seed", 5, "--jobs", 2, "--level", "chip", "--format", "json", "-o", "o.txt")
    assert result.status == 0
    assert chip.calls == [{"spikes": Path("s.json"), "steps": 4, "every": True, "seed": 5, "jobs": 2}]
    assert problems(result.json, schema(), closed=True) == []
    assert result.json["run"]["model"]["events"] == 2
    assert result.json["command"][1:3] == ["run", "m.json"]
    assert result.json["written"] == ["o.txt"]
    assert Path("o.txt").read_text() == "0 0 1\n2 1 3\n"


@pytest.mark.usefixtures("chip")
def test_verbose_shows_how_far_it_is(nmap: Runner) -> None:
    assert nmap(*RUN, "-v").err == "read       m.json\nchip       22 ticks\n"


@pytest.mark.usefixtures("chip")
def test_what_the_target_warns_of_counts_under_strict(nmap: Runner) -> None:
    Path("m.json").write_text(json.dumps({**MODEL, "odd": ["core 3 is empty"]}))
    loose, strict = nmap(*RUN), nmap(*RUN, "--strict")
    assert (loose.status, strict.status) == (0, 1)
    assert loose.err == "warning[NM112]: core 3 is empty\n  --> m.json\n"
    assert loose.out == strict.out


REFUSED = {
    "level": (("--level", "fixed"), "--level: not for a model file"),
    "options": (
        ("--dt", "1ms", "--reset", "zero", "--source", "norse", "--scheduler", "tcp://h:1", "--split", 2, "--raw-time",
         "--memory-limit", "1G", "--reset-interval", 3, "--reset-offset", 1, "--level", "float"),
        "--level, --raw-time, --dt, --reset, --source, --reset-interval, --reset-offset, --split, --memory-limit, --scheduler: not for a",
    ),
    "probe": (("--probe", "lif:v", "--probe", "out"), "a model has no probe `lif:v`, `out`"),
    "output": (("-o", "o.h5"), "spikes of a model of `repeater` are not written as `.h5`"),
    "place": (("-o", "no/o.npz"), "`no/o.npz` cannot be written"),
    "ticks": (("--steps", -4), "Invalid value for '--steps'"),
    "seed": (("--seed", -1), "Invalid value for '--seed'"),
    "jobs": (("--jobs", 100_000), "`--jobs` takes a whole number"),
    "variant": (("--target", "repeater:9"), "`repeater` has no variant `9`"),
    "unable": (("--target", "toy"), "nmap runs no model files of `toy`"),
    "unknown": (("--target", "repeated"), "no target `repeated` is installed"),
    "spikes": (("--input", "none"), "`none` does not exist"),
    "folder": (("--input", "."), "`.` is a folder, not a file of input spikes"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_message_for_each_mistake(case: str, chip: Repeater, nmap: Runner) -> None:
    words, told = REFUSED[case]
    result = nmap(*RUN, *words)
    assert result.status == 2
    assert result.err.count("error[") == 1
    assert told in " ".join(result.err.split())
    assert result.err.endswith("error: 1 problem (exit 2)\n")
    assert result.out == ""
    assert chip.calls == []


def test_files_of_other_kinds(chip: Repeater, net: Path, nmap: Runner) -> None:
    Path("b").mkdir()
    told = {
        str(net): "`net.nir` is a network file: on `repeater` it runs once it is deployed",
        "b": "`--target` goes with a model file", "none.json": "`none.json` does not exist",
    }
    for name, text in told.items():
        result = nmap("run", name, "--target", "repeater", "--input", "s.json")
        assert result.status == 2
        assert result.err.count("error[") == 1
        assert text in " ".join(result.err.split())
    assert chip.calls == []


def test_a_failure_in_json(chip: Repeater, nmap: Runner) -> None:
    Path("m.json").write_text("nothing")
    result = nmap(*RUN, "--format", "json", "-o", "o.npz")
    assert result.status == 2
    assert problems(result.json, schema(), closed=True) == []
    assert [d["code"] for d in result.json["diagnostics"]] == ["NM102"]
    assert not Path("o.npz").exists()
    assert len(chip.calls) == 1


@pytest.mark.usefixtures("chip")
def test_who_forgets_the_target_is_told(nmap: Runner) -> None:
    forgotten, absent = nmap("run", "m.json", "--input", "s.json"), nmap("run", "none.json", "--input", "s.json")
    assert (forgotten.status, absent.status) == (2, 2)
    assert "help if it is a model file of a chip's own tools: nmap run m.json --target T --input FILE" in " ".join(forgotten.err.split())
    assert "model file" not in absent.err


@pytest.mark.usefixtures("chip")
def test_a_model_that_runs_by_itself(nmap: Runner) -> None:
    assert "  input     none\n  run       3 ticks, as asked · 0 output spikes · bit-accurate\n" in nmap(*RUN[:4], "--steps", 3).out


def test_without_a_target_samples_are_needed_and_no_seed(net: Path, nmap: Runner) -> None:
    missing, seeded = nmap("run", net), nmap("run", net, "--input", "s.npz", "--seed", 1)
    assert (missing.status, seeded.status) == (2, 2)
    told = "error[NM004]: Missing option '--input'\n  help  nmap run --help lists what it takes\n\nerror: 1 problem (exit 2)\n"
    assert missing.err == told
    assert "no seed is needed" in seeded.err


def test_a_recorded_ranc_network(work: Path, nmap: Runner) -> None:
    folder = shared_data() / "golden" / "ranc_tea_256"
    net, expected = (json.loads((folder / f"{name}.json").read_text()) for name in ("net", "expected"))
    result = nmap(
        "run", folder / "net.json", "--target", "truenorth", "--input", folder / "spikes.json", "--steps", expected["ticks"],
        "-o", work / "o.npz", "--format", "json",
    )
    assert result.status == 0
    assert result.json["run"]["model"]["exact"] is True
    with np.load(work / "o.npz") as file:
        events = file["events"]
    lines = [[tick, net["cores"][core]["neurons"][neuron]["dest"]] for tick, core, neuron in events.tolist()]
    assert all(kind == "out" for _, (kind, _) in lines)
    assert sorted([tick, line] for tick, (_, line) in lines) == sorted(expected["out"])


def test_a_truenorth_model_and_its_spike_files(work: Path, nmap: Runner) -> None:
    write_model(work / "m.json")
    write_spikes(work / "s.sfti", [(0, 1), (6, 0)])
    words = ("run", "m.json", "--target", "truenorth", "--input", "s.sfti", "--probe", "all")
    result = nmap(*words, "-o", "o.npz")
    assert (result.status, result.err) == (0, "")
    assert "model     TrueNorth model file · 1 core · 2 neurons\n" in result.out
    assert "24 ticks: 16 beyond the last that sees input\n            3 spikes of all neurons · bit-accurate\n" in result.out
    with np.load("o.npz") as file:
        # Axon 1 makes neuron 1 fire in tick 1; that reaches axon 0 three ticks later, and the second spike tick 7.
        assert file["events"].tolist() == [[1, 7, 1], [4, 7, 0], [7, 7, 0]]
    assert nmap(*words, "-o", "o.sfto").status == 0
    assert Path("o.sfto").read_text().count('"srcTime"') == 3


BAD = {
    "core": ("m.json", "9.sfti", "NM107", "core 9"),
    "axon": ("m.json", "300.sfti", "NM107", "axon 300"),
    "tick": ("m.json", "early.sfti", "NM107", "-1"),
    "text": ("m.json", "notes.txt", "NM102", "`notes.txt` is no spike file"),
    "empty": ("m.json", "empty", "NM102", "`empty` is no spike file"),
    "packets": ("m.json", "r.json", "NM106", "packets"),
    "model": ("notes.txt", "s.sfti", "NM102", "`notes.txt`"),
    "unknown": ("other.json", "s.sfti", "NM102", "`other.json`"),
    "nothing": ("empty", "s.sfti", "NM102", "`empty`"),
}


@pytest.mark.parametrize("case", BAD)
def test_one_diagnostic_for_a_file_that_cannot_be_run(case: str, work: Path, nmap: Runner) -> None:
    write_model(work / "m.json")
    write_ranc(work / "r.json", [[0]])
    write_spikes(work / "s.sfti", [(0, 1)])
    write_spikes(work / "9.sfti", [(0, 1)], core=9)
    write_spikes(work / "300.sfti", [(0, 300)])
    write_spikes(work / "early.sfti", [(-1, 0)])
    for name, text in (("notes.txt", "spikes\n"), ("empty", ""), ("other.json", '{"layers": []}')):
        (work / name).write_text(text)
    model, spikes, code, told = BAD[case]
    result = nmap("run", model, "--target", "truenorth", "--input", spikes, "-o", "o.npz")
    assert result.status == 2
    assert result.err.count("error[") == 1
    assert f"error[{code}]" in result.err
    assert told in result.err.partition("\n")[0]
    assert not Path("o.npz").exists()
