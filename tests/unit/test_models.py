"""Model files of a chip's own tools: what is handed to the target, what is refused, what is written."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nmap
from nmap.diagnostics import NmapError
from nmap.models import TAIL, refuse_options, run_model
from nmap.report.json import model_to_json, schema
from nmap.report.text import model_text
from nmap.running import usable_cores
from tests.model_target import MODEL, SPIKES, Repeater, install
from tests.unit.readers.builders import chain, if_, linear, port, sink, write_nir
from tests.unit.report.schema_check import problems

LAST = 5
"""The last tick of `SPIKES`."""


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Repeater:
    monkeypatch.chdir(tmp_path)
    Path("m.json").write_text(json.dumps(MODEL))
    Path("s.json").write_text(json.dumps(SPIKES))
    return install(monkeypatch)


def failure(**given: Any) -> Any:
    """Return the one diagnostic of a run that fails."""
    source = given.pop("source", Path("m.json"))
    with pytest.raises(NmapError) as caught:
        run_model(source, **{"target": "repeater", "input": Path("s.json"), **given})
    (found,) = caught.value.diagnostics
    return found


def test_what_is_asked_for_reaches_the_target(chip: Repeater) -> None:
    nmap.run("m.json", "s.json", target="repeater:2x2", steps=3, probes=("all",), seed=7, jobs=2)
    nmap.run("m.json", target="repeater")
    assert chip.calls == [
        {"spikes": Path("s.json"), "steps": 3, "every": True, "seed": 7, "jobs": 2},
        {"spikes": None, "steps": None, "every": False, "seed": 0, "jobs": usable_cores()},
    ]


@pytest.mark.usefixtures("chip")
def test_a_run_has_the_spikes_and_what_is_known_of_them() -> None:
    result = nmap.run("m.json", "s.json", target="repeater")
    assert result.events.tolist() == [[0, 0, 1], [2, 1, 3]]
    assert result.events.dtype == np.int32
    assert (result.steps, result.exact, result.target, result.kind) == (LAST + 1 + TAIL, True, "repeater:2x2", "list of cores")
    assert (result.tail, result.input, result.model, result.diagnostics) == (TAIL, "s.json", "m.json", ())
    assert result.timings["chip"] == pytest.approx(0.002 * 22)
    assert nmap.run("m.json", "s.json", target="repeater", probes=["all"]).events.tolist() == [[0, 0, 1], [2, 1, 3], [5, 0, 0]]
    assert nmap.run("m.json", "s.json", target="repeater", steps=2).tail is None


@pytest.mark.usefixtures("chip")
def test_the_archive_holds_events_and_steps_and_is_the_same_each_time() -> None:
    for name in ("a.npz", "b.npz", "bare"):
        nmap.run("m.json", "s.json", target="repeater", output=name)
    with np.load("a.npz") as file:
        assert sorted(file) == ["events", "steps"]
        assert file["events"].tolist() == [[0, 0, 1], [2, 1, 3]]
        assert (file["events"].dtype, file["steps"].dtype, int(file["steps"])) == (np.int32, np.int64, 22)
    assert Path("a.npz").read_bytes() == Path("b.npz").read_bytes() == Path("bare").read_bytes()


@pytest.mark.usefixtures("chip")
def test_spikes_without_any_are_an_array_of_three_columns() -> None:
    nmap.run("m.json", target="repeater", output="a.npz")
    with np.load("a.npz") as file:
        assert file["events"].shape == (0, 3)
        assert file["events"].dtype == np.int32


@pytest.mark.usefixtures("chip")
def test_other_endings_are_the_targets() -> None:
    nmap.run("m.json", "s.json", target="repeater", output="o.TXT")
    assert Path("o.TXT").read_text() == "0 0 1\n2 1 3\n"


def test_an_ending_nobody_knows_is_refused_before_the_run(chip: Repeater) -> None:
    for name in ("o.h5", "o.sfti"):
        found = failure(output=Path(name))
        assert (found.code, found.where) == ("NM004", "--output")
        assert f"`{Path(name).suffix}`" in found.message
        assert "o.npz" in found.help[0]
        assert not Path(name).exists()
    assert chip.calls == []


def test_no_file_that_is_read_is_written_over(chip: Repeater) -> None:
    for name in ("m.json", "s.json"):
        assert failure(output=Path(name)).code == "NM601"
    assert failure(output=Path("nowhere/o.npz")).code == "NM601"
    assert chip.calls == []


@pytest.mark.usefixtures("chip")
def test_progress_names_the_file_and_what_the_target_says() -> None:
    told: list[tuple[str, str]] = []
    run_model(Path("m.json"), target="repeater", input=Path("s.json"), progress=lambda stage, text: told.append((stage, text)))
    assert told == [("read", "m.json"), ("chip", "22 ticks")]


def test_every_option_that_is_about_networks_is_refused_together(chip: Repeater) -> None:
    options: dict[str, Any] = {
        "level": "fixed", "raw_time": True, "dt": 0.1, "reset": "zero", "framework": "norse", "reset_interval": 4, "reset_offset": 1,
        "split": 2, "memory_limit": 2048, "scheduler": "tcp://host:1", "keep": False,
    }
    names = [
        "--level", "--raw-time", "--dt", "--reset", "--source", "--reset-interval", "--reset-offset", "--split", "--memory-limit",
        "--scheduler", "keep=False",
    ]
    run: Any = nmap.run
    with pytest.raises(NmapError) as caught:
        run("m.json", "s.json", target="repeater", **options)
    (found,) = caught.value.diagnostics
    assert found.code == "NM004"
    assert found.message.partition(": ")[0].split(", ") == names
    for (key, value), name in zip(options.items(), names, strict=True):
        with pytest.raises(NmapError, match=f"{name}: not for a model file"):
            run("m.json", "s.json", target="repeater", **{key: value})
    assert chip.calls == []
    refuse_options(Path("m.json"), level="chip")


def test_a_bundle_settles_its_target(chip: Repeater) -> None:
    Path("bundle").mkdir()
    found = failure(source=Path("bundle"))
    assert found.code == "NM004"
    assert "nmap run bundle --input FILE, without --target" in found.help
    assert chip.calls == []


def test_a_network_is_deployed_first(chip: Repeater) -> None:
    nodes = {"input": port(2), "w": linear(np.ones((1, 2))), "n": if_(1), "output": sink(1)}
    write_nir(Path("net.nir"), nodes, chain(*nodes), {"reset_mechanism": "zero"})
    for target in ("repeater:2x2", "toy"):
        found = failure(source=Path("net.nir"), target=target)
        assert found.code == "NM004"
        assert found.help[0] == f"nmap deploy net.nir --target {target} -o DIR, then nmap run DIR"
    assert chip.calls == []


@pytest.mark.usefixtures("chip")
def test_a_file_that_only_begins_as_hdf5_is_the_targets_to_judge() -> None:
    Path("odd.bin").write_bytes(b"\x89HDF\r\n\x1a\n and then nothing of the kind")
    assert failure(source=Path("odd.bin")).code == "NM102"


def test_targets(chip: Repeater) -> None:
    unknown, variant, unable = failure(target="repeate"), failure(target="repeater:9x9"), failure(target="toy")
    assert (unknown.code, variant.code, unable.code) == ("NM003", "NM003", "NM004")
    assert "did you mean `repeater`?" in unknown.help
    assert "`repeater:2x2`" in variant.why
    assert unable.help == ("of these targets it runs model files: `repeater`",)
    assert chip.calls == []


def test_no_target_that_can_is_no_help(chip: Repeater, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nmap.target.registry.entry_points", lambda *, group: [])
    assert failure(target="toy").code == "NM003"
    assert chip.calls == []


@pytest.mark.parametrize(("given", "where", "told"), [
    ({"steps": 0}, "--steps", "0"), ({"steps": -3}, "--steps", "-3"), ({"steps": 2**31}, "--steps", "2147483648"),
    ({"steps": 2.5}, "--steps", "2.5"), ({"steps": True}, "--steps", "True"), ({"seed": -1}, "--seed", "-1"),
    ({"seed": 2**63}, "--seed", str(2**63)), ({"jobs": 0}, "--jobs", "0"), ({"jobs": 10**6}, "--jobs", "1000000"),
])
def test_numbers_out_of_range(chip: Repeater, given: dict[str, Any], where: str, told: str) -> None:
    found = failure(**given)
    assert (found.code, found.where) == ("NM004", where)
    assert found.message.endswith(f"not {told}")
    assert chip.calls == []


def test_probes_other_than_all(chip: Repeater) -> None:
    found = failure(probes=("all", "lif:v"))
    assert (found.code, found.where) == ("NM004", "--probe")
    assert "`lif:v`" in found.message
    assert "`all`" not in found.message
    assert "--probe all" in found.help[0]
    assert chip.calls == []


def test_files_that_are_none(chip: Repeater) -> None:
    Path("folder").mkdir()
    os.mkfifo("pipe")
    for key, code in (("source", "NM101"), ("input", "NM801")):
        names = ("none", "pipe", "x" * 300, "nul\0l") if key == "source" else ("none", "folder", "pipe", "x" * 300, "nul\0l")
        for name in names:
            found = failure(**{key: Path(name)})
            assert found.code == code
            assert name in found.message
    assert chip.calls == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="an administrator may read everything")
def test_a_file_that_may_not_be_read(chip: Repeater) -> None:
    Path("m.json").chmod(0)
    assert failure().code == "NM101"
    assert chip.calls == []


@pytest.mark.usefixtures("chip")
def test_what_a_network_needs_is_asked_for_as_before() -> None:
    run: Any = nmap.run
    with pytest.raises(NmapError, match="needs samples"):
        run("net.nir")
    with pytest.raises(NmapError, match="no seed is needed"):
        run("net.nir", "s.npz", seed=1)


@pytest.mark.usefixtures("chip")
def test_report_follows_the_schema_and_says_what_ran() -> None:
    result = nmap.run("m.json", "s.json", target="repeater")
    report = model_to_json(result, ["nmap", "run"], "o.npz")
    assert problems(report, schema(), closed=True) == []
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    run = report["run"]
    assert (run["level"], run["steps"], run["output_spikes"], run["network"]) == ("chip", 22, 2, None)
    assert run["model"] == {
        "file": "m.json", "format": "list", "kind": "list of cores", "sha256": result.run.sha256, "cores": 2, "neurons": 4,
        "input": "s.json", "input_spikes": 4, "merged": 1, "steps_after_input": 16, "recorded": "outputs", "events": 2, "exact": True,
        "why_not_exact": None, "seed": 0, "seconds_per_tick": pytest.approx(0.002),
    }
    assert (report["target"]["name"], report["target"]["variant"], report["written"]) == ("repeater", "2x2", ["o.npz"])
    text = model_text(report)
    assert max(map(len, text.splitlines())) <= 80
    for part in (
        "m.json on repeater:2x2", "no chip is involved", "list of cores · 2 cores · 4 neurons", "4 input spikes", "1 spike merged",
        "22 ticks: 16 beyond", "· 2 output spikes", "output spikes bit-accurate", "2 ms per tick", "Wrote o.npz",
    ):
        assert part in " ".join(text.split()), part
    brief = model_text(report, brief=True)
    assert "no chip is involved" in " ".join(brief.split())
    assert not any(word in brief for word in ("Wrote", "merged", "per tick"))


@pytest.mark.usefixtures("chip")
def test_random_models_are_marked() -> None:
    Path("m.json").write_text(json.dumps({**MODEL, "random": True}))
    report = model_to_json(nmap.run("m.json", target="repeater", steps=5, seed=9, probes=("all",)), ["nmap", "run"], None)
    assert problems(report, schema(), closed=True) == []
    model = report["run"]["model"]
    assert (model["exact"], model["why_not_exact"], model["seed"]) == (False, "1 neuron has a stochastic leak", 9)
    assert (report["run"]["output_spikes"], model["recorded"], model["steps_after_input"], model["input"]) == (None, "all", None, None)
    for text in (model_text(report), model_text(report, brief=True)):
        assert "not bit-accurate: 1 neuron has a stochastic leak" in " ".join(text.split())
        assert "0 spikes of all neurons" in text
        assert "5 ticks, as asked" in text
    assert "seed 9" in model_text(report)
    assert "  input     none\n" in model_text(report)
