"""The Python interface: what it is given reaches the pipeline under the pipeline's own names."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

import nmap
from nmap import api, flow
from nmap.diagnostics import Exit
from nmap.report.model import Outcome

SHARED = {"jobs": 1, "split": 3, "memory_limit": 2048, "scheduler": "tcp://host:1", "steps": 7}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `flow.run`, `flow.verify` and `flow.deploy` are called with."""
    found: list[dict[str, Any]] = []
    outcome = Outcome(status="ok", exit_status=Exit.OK, command=(), diagnostics=(), timings={})

    def note(place: Path, **given: Any) -> Outcome:
        found.append({"place": place, **given})
        return outcome

    for name in ("run", "verify", "deploy"):
        monkeypatch.setattr(flow, name, note)
    return found


def test_run_hands_on_everything(calls: list[dict[str, Any]]) -> None:
    more: dict[str, Any] = {
        **SHARED, "level": "fixed", "probes": ("n:v",), "raw_time": True, "dt": 0.1, "reset": "zero", "framework": "norse",
        "reset_interval": 4, "reset_offset": 1, "keep": False,
    }
    nmap.run("net.nir", "s.npz", output="o.h5", **more)
    nmap.run("net.nir", "s.npz")
    full, plain = calls
    assert full == {"place": Path("net.nir"), "input": Path("s.npz"), "output": Path("o.h5"), **more}
    assert (plain["output"], plain["keep"], plain["jobs"], plain["split"], plain["scheduler"], plain["memory_limit"]) == (
        None, True, None, 1, None, None,
    )


def test_verify_hands_on_everything(calls: list[dict[str, Any]]) -> None:
    nmap.verify("bundle", input="s.npz", against="float", strict=True, **SHARED)
    assert calls == [{"place": Path("bundle"), "input": Path("s.npz"), "against": "float", "strict": True, **SHARED}]


def test_deploy_hands_on_threads_and_memory(calls: list[dict[str, Any]]) -> None:
    nmap.deploy("net.nir", "toy", jobs=3, memory_limit=4096, steps=5)
    (call,) = calls
    assert (call["jobs"], call["memory_limit"], call["options"].steps) == (3, 4096, 5)


@pytest.mark.parametrize("name", ["run", "verify", "deploy"])
def test_no_option_of_the_pipeline_is_out_of_reach(name: str) -> None:
    """All but what belongs to a terminal: progress, the words typed, and Ctrl-C."""
    options = set(inspect.signature(getattr(flow, name)).parameters) - {"progress", "command", "keep_best"}
    reachable = set(inspect.signature(getattr(api, name)).parameters)
    assert options - {"path", "bundle", "source"} <= reachable
