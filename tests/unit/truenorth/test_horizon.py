"""The steps for which membranes are proved to stay in 20 bits, from the samples to the runs of the bundle."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nmap
from nmap import flow
from nmap.connectivity import Dense
from nmap.diagnostics import Exit, NmapError
from nmap.manifest import read_manifest
from nmap.network import Conventions, Network
from nmap.options import Options
from nmap.target.registry import find_target
from nmap.target.spec import load_spec
from nmap.testing.networks import build, lif

MOST = 1223
"""By hand: 16 inputs bring 448 a tick and 20 are taken off, so V is 467 at most at first and 428 higher with every tick: (524287 - 467) //
428 is 1223 further ticks; of the 1224, one is the latency."""


def climbing(reset: str = "subtract") -> Network:
    weights = np.full((1, 16), 27.0) + 2 * (np.arange(16) % 2)
    return build(
        "climbing.nir", {"in": ((16,), None), "a": ((1,), lif(1, beta=1.0, threshold=20.0))}, [("in", "a", Dense(weights), None, 0)],
        conventions=Conventions(1e-3, reset=reset, compare=">="),
    )


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return nmap.write(climbing(), tmp_path / "climbing.nir")


def ones(place: Path, steps: int) -> Path:
    path = place / f"s{steps}.npz"
    np.savez(path, inputs=np.ones((1, steps, 16), np.int32))
    return path


def deployed(net: Path, length: int | None = None, **options: int) -> nmap.Deployment:
    return nmap.deploy(
        net, "truenorth", input=None if length is None else ones(net.parent, length), output=net.parent / "bundle", verify=False,
        partitioner="greedy", **options,
    )


def horizon(net: Path) -> int:
    return int(json.loads((net.parent / "bundle" / "manifest.json").read_text())["options"]["horizon"])


@pytest.mark.parametrize(
    ("steps", "option", "stated"), [(60, {}, 60), (None, {}, 1000), (None, {"steps": 70}, 70), (60, {"steps": 50}, 50)],
)
def test_samples_and_the_option_say_for_how_long(net: Path, steps: int | None, option: dict[str, int], stated: int) -> None:
    assert deployed(net, steps, **option).outcome.exit_status == Exit.OK
    assert horizon(net) == stated
    bundle = net.parent / "bundle"
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert read_manifest(bundle, manifest).choices().horizon == stated


def test_samples_longer_than_the_proof_are_refused_at_deployment(net: Path) -> None:
    assert deployed(net, MOST).outcome.exit_status == Exit.OK
    for length, option, needed in ((None, {"steps": MOST + 1}, MOST + 2), (1500, {}, 1501)):
        out = deployed(net, length, **option).outcome
        assert out.exit_status == Exit.DOES_NOT_FIT
        (told,) = [d for d in out.diagnostics if d.severity == "error"]
        assert told.code == "NM304"
        assert f"for {MOST + 1} ticks, and {needed} are needed" in told.message
        assert told.help[0].startswith(f"--steps {MOST},")
    # The remedy, followed literally
    assert deployed(net, 1500, steps=MOST).outcome.exit_status == Exit.OK
    assert horizon(net) == MOST


def test_check_takes_the_samples_too(net: Path) -> None:
    for steps, fits in ((60, True), (1500, False)):
        (checked,) = nmap.check(net, ["truenorth"], input=ones(net.parent, steps), partitioner="greedy")
        assert (checked.outcome.exit_status == Exit.OK) is fits


@pytest.mark.parametrize("level", ["chip", "fixed"])
def test_a_run_beyond_the_proof_is_refused(net: Path, level: str) -> None:
    deployed(net, 60)
    bundle = net.parent / "bundle"
    ran = nmap.run(bundle, ones(net.parent, MOST), level=level, probes=("a:v",))
    assert ran.arrays["a.v"].max() <= 524287
    for given in ({"input": ones(net.parent, MOST + 1)}, {"input": ones(net.parent, 60), "steps": MOST + 1}):
        with pytest.raises(NmapError) as caught:
            nmap.run(bundle, level=level, **given)
        (told,) = caught.value.diagnostics
        assert told.code == "NM802"
        assert told.message == f"the bundle is proved for {MOST} steps, these samples have {MOST + 1}"
        assert told.help == (f"cut the run with `--steps {MOST}`", f"deploy again with --input and these samples, or --steps {MOST + 1}")
    # In real numbers nothing has a range.
    assert nmap.run(bundle, ones(net.parent, 1500), level="float").spikes.shape[1] == 1500


def test_verify_beyond_the_proof_is_refused(net: Path) -> None:
    deployed(net, 60)
    bundle = net.parent / "bundle"
    for given in ({"input": ones(net.parent, 1500)}, {"input": ones(net.parent, 60), "steps": 1500}, {"steps": 1500}):
        with pytest.raises(NmapError) as caught:
            nmap.verify(bundle, **given)
        assert [d.code for d in caught.value.diagnostics] == ["NM802"]
        assert caught.value.exit_status == Exit.USAGE
    assert "the run has 1500" in caught.value.diagnostics[0].message
    assert nmap.verify(bundle).outcome.exit_status == Exit.OK


def test_random_spikes_last_no_longer_than_the_proof(tmp_path: Path) -> None:
    # 255 x 255 bring 65025 a tick and 1 is taken off: 524287 - 65025 over 65024 is 7, so that 8 ticks stay inside
    wide = build(
        "wide.nir", {"in": ((255,), None), "a": ((1,), lif(1, beta=1.0, threshold=1.0))},
        [("in", "a", Dense(np.r_[254.0, np.full(254, 255.0)][None]), None, 0)],
        conventions=Conventions(1e-3, reset="subtract", compare=">="),
    )
    path = nmap.write(wide, tmp_path / "wide.nir")
    np.savez(tmp_path / "s.npz", inputs=np.zeros((1, 5, 255), np.int32))
    out = nmap.deploy(path, "truenorth", input=tmp_path / "s.npz", output=tmp_path / "b", partitioner="greedy").outcome
    assert out.exit_status == Exit.OK
    again = nmap.verify(tmp_path / "b").outcome
    assert again.exit_status == Exit.OK
    assert again.samples is not None
    assert again.samples.steps == 7


def test_what_holds_for_ever_runs_for_as_long_as_it_likes(tmp_path: Path) -> None:
    path = nmap.write(climbing("zero"), tmp_path / "climbing.nir")
    deployed(path, 60)
    assert nmap.run(tmp_path / "bundle", ones(tmp_path, 3000)).spikes.shape[1] == 3000


def test_other_targets_keep_their_manifests_and_hashes(net: Path) -> None:
    net = nmap.write(climbing("zero"), net)
    out = nmap.deploy(net, "toy", input=ones(net.parent, 60), output=net.parent / "bundle", verify=False, partitioner="greedy").outcome
    assert out.exit_status == Exit.OK, out.diagnostics
    manifest = json.loads((net.parent / "bundle" / "manifest.json").read_text())
    assert "horizon" not in manifest["options"]
    assert "horizon" not in Options().to_json()
    spec = find_target("toy").spec
    same = SimpleNamespace(spec=spec.model_copy(update={"horizon": 7}))
    assert flow._chip_sha256(same) != flow._chip_sha256(SimpleNamespace(spec=spec)) == manifest["target"]["chip_sha256"]
    assert load_spec("nmap_truenorth").horizon == 1000


def test_a_horizon_is_a_whole_number() -> None:
    for wrong in (-1, 1.5, None, True):
        with pytest.raises(NmapError, match="horizon"):
            Options(horizon=wrong)  # type: ignore[arg-type]
