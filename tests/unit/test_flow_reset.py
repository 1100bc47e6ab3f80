"""A periodic reset from the command line into the bundle, and from the bundle alone into every run and check."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nmap
from nmap.diagnostics import Findings, NmapError
from nmap.manifest import read_manifest
from nmap.options import Options
from nmap.rules import run_rules
from nmap.testing.networks import dense
from nmap_toy import TARGET as TOY
from tests.unit.readers.builders import cuba, write_netx

_OPTIONS: dict[str, Any] = {"partitioner": "greedy", "effort": 0}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network that remembers for long, and samples of 24 steps."""
    rng, folder = np.random.default_rng(0), tmp_path_factory.mktemp("reset")
    layers = [
        {"type": "dense", "shape": [n], "weight": 2 * rng.integers(-20, 40, (n, m)), "neuron": cuba(i_decay=64, v_decay=32, threshold=400)}
        for n, m in ((8, 6), (5, 8))
    ]
    samples = folder / "s.npz"
    np.savez(samples, inputs=rng.integers(0, 2, (3, 24, 6)))
    return write_netx(folder / "n.net", layers), samples


@pytest.fixture(scope="module")
def bundle(files: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    network, samples = files
    place = tmp_path_factory.mktemp("bundles") / "b"
    made = nmap.deploy(network, "loihi2", input=samples, output=place, reset_interval=8, reset_offset=1, **_OPTIONS)
    assert made.status == "ok"
    assert made.verdict is not None
    assert made.verdict.chip_vs_fixed is not None
    assert made.verdict.chip_vs_float is not None
    assert (made.verdict.chip_vs_fixed.mismatches, made.verdict.chip_vs_float.spike_agreement) == (0, 1.0)
    return place


def test_the_manifest_keeps_what_was_stated(bundle: Path, files: tuple[Path, Path], tmp_path: Path) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    assert content["conventions"] == {"dt": None, "reset": None, "source": None, "reset_interval": 8, "reset_offset": 1}
    found = read_manifest(bundle, content).conventions
    assert (found.reset_interval, found.reset_offset) == (8, 1)
    # Without one the manifest is that of a version that knew none.
    plain = nmap.deploy(files[0], "loihi2", output=tmp_path / "plain", verify=False, **_OPTIONS)
    assert plain.bundle is not None
    content = json.loads((plain.bundle / "manifest.json").read_text())
    assert content["conventions"] == {"dt": None, "reset": None, "source": None}
    found = read_manifest(plain.bundle, content).conventions
    assert (found.reset_interval, found.reset_offset) == (None, None)


@pytest.mark.parametrize("wrong", [-1, 2.5, "8", True])
def test_a_manifest_with_another_kind_of_number_is_damaged(wrong: Any, bundle: Path) -> None:
    content = json.loads((bundle / "manifest.json").read_text())
    content["conventions"]["reset_interval"] = wrong
    with pytest.raises(NmapError) as caught:
        read_manifest(bundle, content)
    assert [(d.code, "conventions.reset_interval" in (d.why or "")) for d in caught.value.diagnostics] == [("NM602", True)]


def test_the_bundle_alone_runs_with_its_reset(bundle: Path, files: tuple[Path, Path]) -> None:
    network, samples = files
    outputs = {level: nmap.run(bundle, samples, level=level).arrays["spikes"] for level in ("chip", "fixed", "float")}  # type: ignore[arg-type]
    stated = nmap.run(network, samples, reset_interval=8, reset_offset=1).arrays["spikes"]
    without = nmap.run(network, samples).arrays["spikes"]
    assert stated.any()
    assert all((values == stated).all() for values in outputs.values())
    assert (stated != without).any()
    assert nmap.verify(bundle, input=samples).status == "ok"


def test_a_bundle_takes_no_other_reset(bundle: Path, files: tuple[Path, Path]) -> None:
    with pytest.raises(NmapError, match="--reset-interval, --reset-offset: a bundle's conventions are settled"):
        nmap.run(bundle, files[1], reset_interval=4, reset_offset=0)


def test_a_check_takes_it_too(files: tuple[Path, Path]) -> None:
    network, _ = files
    (found,) = nmap.check(network, "loihi2", reset_interval=12, **_OPTIONS)
    assert [d.code for d in found.outcome.diagnostics if d.severity == "warning"] == ["NM206"]
    assert "12 steps" in str(found)
    assert nmap.read(network, reset_interval=12).conventions.reset_interval == 12


def test_a_target_without_such_a_reset_refuses_it() -> None:
    made = dense(0)
    periodic = replace(made, conventions=replace(made.conventions, reset_interval=8))
    allowed = Options(approximate=frozenset({"leak"}))
    with pytest.raises(NmapError) as caught:
        run_rules(periodic, TOY, allowed, Findings())
    assert [(d.code, d.data.get("feature")) for d in caught.value.diagnostics] == [("NM202", "periodic_reset")]
    run_rules(made, TOY, allowed, Findings())
