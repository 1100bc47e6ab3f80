"""How long the vendor's simulator may run, and what is said of it. A stand-in takes its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap import flow
from nmap.options import Options
from nmap.report.json import to_json
from nmap.report.text import to_text
from nmap.target.backend import VendorRun
from nmap_toy import TARGET
from tests.unit.readers.builders import chain, if_, linear, port, sink, write_nir

STEPS = 14
"""12 of the samples and 2 of the two layers. There are 5 populations and projections: 0.05 s * 5 = 0.25 s a step, 3.5 s a sample."""


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    nodes = {
        "input": port(6), "w1": linear(np.full((5, 6), 0.5)), "n1": if_(5, th=2.0),
        "w2": linear(np.full((3, 5), 0.5)), "n2": if_(3, th=2.0), "output": sink(3),
    }
    write_nir(Path("net.nir"), nodes, chain(*nodes), {"reset_mechanism": "zero"})
    np.savez("few.npz", inputs=np.ones((5, 12, 6), np.uint8))
    np.savez("many.npz", inputs=np.ones((400, 12, 6), np.uint8))
    flow.deploy(Path("net.nir"), target="toy", output=Path("out"), options=Options(partitioner="greedy"), verify=False)
    return Path("out")


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, float]]:
    """(samples, steps, time limit) of each run of the vendor's simulator."""
    found: list[tuple[int, int, float]] = []

    def run(_self: Any, _folder: Path, inputs: np.ndarray, steps: int, timeout: float) -> VendorRun:
        found.append((len(inputs), steps, timeout))
        return VendorRun("stand-in", "1")

    monkeypatch.setattr(type(TARGET), "run_vendor", run)
    return found


def test_the_limit_follows_steps_and_processes(bundle: Path, runs: list[tuple[int, int, float]]) -> None:
    said: list[str] = []
    outcome = flow.verify(bundle, input=Path("few.npz"), against="vendor", progress=lambda _stage, text: said.append(text))
    # 60 + 5 * 3.5 = 77.5, and a little for the synapses.
    assert runs == [(5, STEPS, 78.0)]
    assert any("runs samples 1 to 5 of 5, stopped after 78 s" in text for text in said)
    assert outcome.verification is not None
    assert outcome.verification.vendor is not None
    assert outcome.verification.vendor.samples == 5


@pytest.mark.parametrize(("against", "samples", "longest"), [("vendor", 400, 900), (None, 1000 // STEPS, 300)])
def test_many_samples_run_in_several_goes(
    against: str | None, samples: int, longest: int, bundle: Path, runs: list[tuple[int, int, float]],
) -> None:
    flow.verify(bundle, input=Path("many.npz"), against=against)
    assert len(runs) > 1
    assert sum(number for number, _, _ in runs) == samples
    for number, steps, limit in runs:
        assert steps == STEPS
        assert abs(limit - (60 + 3.5 * number)) <= 1
        assert limit <= longest
    # No more goes than the limit makes.
    assert len(runs) == -(-samples // int((longest - 60) / 3.5))


def test_a_vendor_that_maps_only_is_told_as_such(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    differences: tuple[str, ...] = ()

    def run(_self: Any, _folder: Path, _inputs: np.ndarray, _steps: int, _timeout: float) -> VendorRun:
        return VendorRun("mapper", "2", compared="mapping", differences=differences, facts={"hops": 3.5})

    monkeypatch.setattr(type(TARGET), "run_vendor", run)
    outcome = flow.verify(bundle, input=Path("few.npz"), against="vendor")
    assert outcome.status == "ok"
    vendor = to_json(outcome)["verification"]["vendor"]
    assert vendor == {
        "name": "mapper", "version": "2", "mismatches": 0, "samples": None, "skipped_reason": None, "compared": "mapping",
        "facts": {"hops": 3.5},
    }
    assert "mapper 2 maps it, computes nothing, and agrees" in to_text(to_json(outcome))
    differences = tuple(f"slice {k} lies elsewhere" for k in range(7))
    outcome = flow.verify(bundle, input=Path("few.npz"), against="vendor")
    assert outcome.status == "differs"
    (told,) = outcome.diagnostics
    assert told.code == "NM703"
    assert told.why is not None
    assert told.why.startswith("slice 0 lies elsewhere; ")
    assert told.why.endswith("and 2 more")


def test_spikes_of_software_without_a_pipeline(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # All 6 inputs of weight 0.5 meet a threshold of 2 in the first step: every neuron of n1 fires, and likewise of n2 one step later.
    every = {"n1": np.ones((5, 12, 5), np.int32), "n2": np.ones((5, 12, 3), np.int32)}

    def run(_self: Any, _folder: Path, _inputs: np.ndarray, _steps: int, _timeout: float) -> VendorRun:
        return VendorRun("stand-in", "1", every, first={"n1": 1, "n2": 2})

    monkeypatch.setattr(type(TARGET), "run_vendor", run)
    for wrong in (0, 1):
        outcome = flow.verify(bundle, input=Path("few.npz"), against="vendor")
        assert outcome.verification is not None
        assert outcome.verification.vendor is not None
        assert outcome.verification.vendor.mismatches == wrong
        every["n2"][2, 11, 1] = 0


def test_software_that_runs_where_it_is_asked_for_only(
    bundle: Path, runs: list[tuple[int, int, float]], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(TARGET, "spec", TARGET.spec.model_copy(update={"vendor": "asked"}))
    outcome = flow.verify(bundle, input=Path("few.npz"))
    assert outcome.verification is not None
    assert outcome.verification.vendor is not None
    assert "--against vendor" in str(outcome.verification.vendor.skipped_reason)
    assert runs == []
    flow.verify(bundle, input=Path("few.npz"), against="vendor")
    assert len(runs) == 1


def test_a_bundle_says_why_software_on_request_was_not_run(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TARGET, "spec", TARGET.spec.model_copy(update={"vendor": "asked"}))
    flow.deploy(Path("net.nir"), target="toy", output=Path("asked"), options=Options(partitioner="greedy"))
    assert "--against vendor" in json.loads(Path("asked/report.json").read_text())["verification"]["vendor"]["skipped_reason"]
