"""RANC's simulator as a process: found, run, stopped, misunderstood. A script takes its place; the real one runs where it is named."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap_truenorth.vendor import SIMULATOR_VARIABLE, find_ranc, ranc_tools, run_vendor

STAND_IN = """#!{python}
import json, sys, time
if "-h" in sys.argv:
    print("A software simulation of the RANC architecture.")
    sys.exit()
word = dict(zip(sys.argv[1::2], sys.argv[2::2]))
model = json.load(open(word["-i"]))
config = json.load(open(word["-c"]))
{body}
"""
ECHO = """
ticks, lines = int(word["--ticks"]), model["output_bus"]["num_outputs"]
rows = [[0] * lines for _ in range(ticks)]
for tick, packets in enumerate(model["packets"]):
    for packet in packets:
        assert packet["destination_tick"] == 0 and packet["destination_core"] == [0, 0], packet
        # What is processed in a tick leaves in it, and shows one row later.
        if tick + 1 < ticks:
            rows[tick + 1][packet["destination_axon"]] = 1
out = open(word["-o"], "w", encoding="utf-8-sig")
out.write("".join("".join(f"{bit} " for bit in row) + "\\n" for row in rows))
out.close()
"""
CONNECTORS: dict[str, Any] = {
    "inputs": [{"name": "in", "shape": [3], "neurons": [[[0, 0, 0]], [[0, 1, 2], [0, 3, 0]], []]}],
    "outputs": [
        {"name": "a", "shape": [2], "first_line": 0, "neurons": [[0, 0, -32, 0], [0, 1, -32, 1]]},
        {"name": "b", "shape": [2], "first_line": 2, "neurons": [[0, 2, -33, 0], [0, 3, -33, 1]]},
    ],
    "ranc": {"model": "ranc/model.json", "config": "ranc/config.json", "ticks": None, "output_bus": [1, 0], "cores": [[0, 0]]},
}


def _artefact(folder: Path, **ranc: Any) -> Path:
    (folder / "ranc").mkdir()
    (folder / "connectors.json").write_text(json.dumps({**CONNECTORS, "ranc": {**CONNECTORS["ranc"], **ranc}}))
    (folder / "ranc/model.json").write_text(json.dumps({
        "packets": [], "output_bus": {"coordinates": [1, 0], "num_outputs": 4}, "cores": [],
    }))
    (folder / "ranc/config.json").write_text("{}")
    return folder


def _stand_in(path: Path, body: str) -> Path:
    path.write_text(STAND_IN.format(python=sys.executable, body=body))
    path.chmod(0o755)
    return path


def test_nothing_is_run_where_no_simulator_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(SIMULATOR_VARIABLE, raising=False)
    run = run_vendor(_artefact(tmp_path), np.zeros((1, 2, 3)), 3, 10.0)
    assert (run.version, run.spikes) == (None, {})
    assert "github.com/UA-RCL/RANC" in str(run.missing)
    assert "cmake" in str(run.missing)
    assert [tool.state for tool in ranc_tools()] == ["absent"]


@pytest.mark.parametrize("what", ["missing", "folder", "other"])
def test_what_is_no_simulator_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str) -> None:
    path = tmp_path / "sim"
    if what == "folder":
        path.mkdir()
    elif what == "other":
        path.write_text("#!/bin/sh\necho hello\n")
        path.chmod(0o755)
    monkeypatch.setenv(SIMULATOR_VARIABLE, str(path))
    found = find_ranc()
    assert isinstance(found, str)
    assert str(path) in found
    assert [tool.state for tool in ranc_tools()] == ["broken"]


def test_spikes_go_in_one_tick_later_and_come_out_one_row_later(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SIMULATOR_VARIABLE, str(_stand_in(tmp_path / "sim", ECHO)))
    inputs = np.zeros((2, 4, 3), np.int32)
    inputs[0, 0, 0] = inputs[0, 2, 1] = 1
    inputs[1, 1, 1] = 7
    inputs[1, 3, 2] = 1
    run = run_vendor(_artefact(tmp_path), inputs, 6, 30.0)
    assert run.missing is None
    assert str(run.version).startswith("sha256 ")
    # A spike of step t is in element t + 1 + delay: that tick is the chip step in which the echo leaves.
    a, b = np.zeros((2, 6, 2), np.int32), np.zeros((2, 6, 2), np.int32)
    a[0, 1, 0] = 1
    a[0, 5, 1] = b[0, 3, 1] = 1
    a[1, 4, 1] = b[1, 2, 1] = 1
    assert np.array_equal(run.spikes["a"], a)
    assert np.array_equal(run.spikes["b"], b)
    assert run.spikes["a"].dtype == np.int32


def test_a_program_outside_the_subset_is_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SIMULATOR_VARIABLE, str(_stand_in(tmp_path / "sim", ECHO)))
    run = run_vendor(_artefact(tmp_path, why_not=["`hid` has gamma 2", "`out` has epsilon"]), np.zeros((1, 2, 3)), 3, 10.0)
    assert "`hid` has gamma 2; `out` has epsilon" in str(run.missing)


def test_no_more_ticks_than_are_proved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SIMULATOR_VARIABLE, str(_stand_in(tmp_path / "sim", ECHO)))
    folder = _artefact(tmp_path, ticks=5)
    assert run_vendor(folder, np.zeros((1, 2, 3)), 5, 30.0).missing is None
    assert "5 ticks" in str(run_vendor(folder, np.zeros((1, 2, 3)), 6, 30.0).missing)


@pytest.mark.parametrize(("body", "said"), [
    ("print('[ERROR] Error parsing input: {no}'); sys.exit(1)", "status 1: [ERROR] Error parsing input: (no)"),
    ("sys.exit()", "status 0: no message"),
    (ECHO + "open(word['-o'], 'a').write('0 0 0 0 \\n')", "wrote 4 rows, not 3"),
    (ECHO.replace('["num_outputs"]', '["num_outputs"] + 1'), "not 3 of 4 lines"),
])
def test_a_run_that_goes_wrong_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, said: str) -> None:
    monkeypatch.setenv(SIMULATOR_VARIABLE, str(_stand_in(tmp_path / "sim", body)))
    run = run_vendor(_artefact(tmp_path), np.zeros((1, 1, 3)), 2, 30.0)
    assert said in str(run.missing)
    assert run.spikes == {}


def test_a_run_that_hangs_is_ended_with_its_children(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    note = tmp_path / "child"
    body = f"import os\nchild = os.fork()\nif child: open({str(note)!r}, 'w').write(str(child))\ntime.sleep(60)"
    monkeypatch.setenv(SIMULATOR_VARIABLE, str(_stand_in(tmp_path / "sim", body)))
    folder = _artefact(tmp_path)
    run = run_vendor(folder, np.zeros((1, 1, 3)), 2, 2.0)
    assert "did not finish within 2 s" in str(run.missing)
    child = int(note.read_text())
    # Gone, or dead and not yet collected by whoever adopted it.
    stat = Path(f"/proc/{child}/stat")
    assert not stat.is_file() or stat.read_text().rpartition(")")[2].split()[0] in "ZX"


def test_files_that_cannot_be_read_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(SIMULATOR_VARIABLE, str(_stand_in(tmp_path / "sim", ECHO)))
    folder = _artefact(tmp_path)
    (folder / "ranc/model.json").write_text("{")
    assert "cannot be read" in str(run_vendor(folder, np.zeros((1, 1, 3)), 2, 30.0).missing)
    (folder / "connectors.json").unlink()
    assert "cannot be read" in str(run_vendor(folder, np.zeros((1, 1, 3)), 2, 30.0).missing)


def test_the_real_simulator_is_found_where_it_is_named() -> None:
    if not os.environ.get(SIMULATOR_VARIABLE):
        pytest.skip(f"{SIMULATOR_VARIABLE} does not name RANC's simulator")
    found = find_ranc()
    assert not isinstance(found, str), found
    assert [tool.state for tool in ranc_tools()] == ["ok"]
