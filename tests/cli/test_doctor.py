from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from nmap.diagnostics import Exit
from nmap.doctor import Check, diagnose, exit_status, to_text
from nmap.report import versions
from nmap_loihi2 import vendor
from tests.cli.runner import Runner


def state(name: str) -> Check:
    return next(check for check in diagnose() if check.name == name)


def test_this_installation_is_healthy(nmap: Runner) -> None:
    result = nmap("doctor", "--format", "json")
    assert result.status == 0
    assert result.json["schema"] == "nmap.doctor/1"
    assert (result.json["status"], result.json["exit_status"], result.json["diagnostics"]) == ("ok", 0, [])
    assert result.json["command"] == ["nmap", "doctor", "--format", "json"]
    found = {check["name"]: check for check in result.json["checks"]}
    assert {"nmap-snn", "python", "platform", "numpy", "h5py", "ortools", "numba", "networkx", "solver", "numba cache"} <= set(found)
    assert {"target toy", "target loihi2", "partitioner cpsat", "partitioner greedy", "import name nmap", "command nmap"} <= set(found)
    assert found["python"]["detail"].startswith(".".join(map(str, sys.version_info[:3])))
    assert [name for name, check in found.items() if check["state"] == "broken"] == []
    text = nmap("doctor")
    assert text.status == 0
    assert text.out.endswith("verdict: everything nmap needs is there (exit 0)\n")


def test_missing_package_is_broken_with_a_remedy(monkeypatch: pytest.MonkeyPatch, nmap: Runner) -> None:
    def absent(name: str) -> str:
        raise versions.PackageNotFoundError(name)

    monkeypatch.setattr(versions, "version", absent)
    assert state("numpy") == Check("numpy", "broken", "not installed", "pip install numpy")
    assert nmap("doctor").status == 4
    report = nmap("doctor", "--format", "json").json
    assert (report["status"], report["exit_status"]) == ("error", 4)
    assert ("NM005", "numpy: not installed", ["pip install numpy"]) in [(d["code"], d["message"], d["help"]) for d in report["diagnostics"]]


def test_solver_that_does_not_load_or_solve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ortools.sat.python", None)
    assert state("solver").state == "broken"
    monkeypatch.undo()
    from ortools.sat.python import cp_model

    monkeypatch.setattr(cp_model.CpSolver, "solve", lambda *_: cp_model.UNKNOWN)
    assert "UNKNOWN" in state("solver").detail


def test_cache_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    assert state("numba cache").state == "broken"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "made" / "later"))
    assert state("numba cache").state == "ok"


@pytest.mark.parametrize(("script", "found", "words"), [
    ("#!/bin/sh\necho 0.10.0\n", "ok", "has lava-nc 0.10.0"), ("#!/bin/sh\nexit 1\n", "broken", "has no lava-nc"),
])
def test_other_interpreter_for_lava(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, found: str, words: str) -> None:
    python = tmp_path / "python"
    python.write_text(script)
    python.chmod(0o755)
    monkeypatch.setenv("NMAP_LAVA_PYTHON", str(python))
    check = state("NMAP_LAVA_PYTHON")
    assert check.state == found
    assert words in check.detail


def test_other_interpreter_that_is_none_or_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NMAP_LAVA_PYTHON", str(tmp_path / "none"))
    assert "cannot be run" in state("NMAP_LAVA_PYTHON").detail
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\nexec sleep 30\n")
    python.chmod(0o755)
    monkeypatch.setenv("NMAP_LAVA_PYTHON", str(python))
    monkeypatch.setattr(vendor, "_ASK_TIMEOUT", 0.2)
    assert state("NMAP_LAVA_PYTHON").detail == f"{python} did not answer within 0.2 s"
    monkeypatch.delenv("NMAP_LAVA_PYTHON")
    assert state("NMAP_LAVA_PYTHON").state == "absent"


def points(**named: str) -> Any:
    def find(*, group: str) -> list[EntryPoint]:
        return [EntryPoint(name, value, group) for name, value in named.items() if group == "nmap.targets"]

    return find


def test_broken_plugin_is_told_and_hides_no_other(monkeypatch: pytest.MonkeyPatch, nmap: Runner) -> None:
    monkeypatch.setattr("nmap.target.registry.entry_points", points(bad="no_such_package:TARGET", toy="nmap_toy:TARGET", odd="json:loads"))
    assert state("target toy").state == "ok"
    assert "ModuleNotFoundError" in state("target bad").detail
    assert "contract" in state("target odd").detail
    assert state("partitioners").state == "broken"
    result = nmap("targets")
    assert result.status == 4
    assert "toy" in result.out
    assert result.err.count("error[NM002]") == 2


def test_text_has_remedies_and_the_verdict() -> None:
    checks = (Check("a", "ok", "fine"), Check("long name", "broken", "gone", "get it"))
    assert exit_status(checks) == Exit.MISSING
    assert to_text(checks) == (
        "  ok      a          fine\n"
        "  broken  long name  gone\n"
        "                     help: get it\n"
        "\n"
        "verdict: 1 of 2 checks found something broken (exit 4)\n"
    )
