"""The pipeline on the shipped example: what is written, what is found, what is refused."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import nmap
from nmap import flow
from nmap.diagnostics import Exit, NmapError
from nmap.options import Options
from nmap.program import Program, read_program, write_program
from nmap.report.json import to_json
from nmap.report.text import to_text
from nmap.target.registry import find_target
from nmap.target.spec import load_spec

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits"
NET, SAMPLES = EXAMPLE / "net.h5", EXAMPLE / "samples.npz"


@pytest.fixture(scope="module")
def few(tmp_path_factory):
    """The first 40 samples."""
    with np.load(SAMPLES) as file:
        inputs, labels = file["inputs"][:40], file["labels"][:40]
    path = tmp_path_factory.mktemp("samples") / "few.npz"
    np.savez(path, inputs=inputs, labels=labels)
    return path


@pytest.fixture(scope="module")
def deployed(tmp_path_factory, few):
    folder = tmp_path_factory.mktemp("deploy") / "bundle"
    outcome = flow.deploy(NET, target="loihi2", options=Options(), input=few, output=folder)
    assert outcome.status == "ok", outcome.diagnostics
    return outcome, folder


def contents(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts
    }


def test_everything_is_checked_and_equal(deployed):
    outcome, _ = deployed
    checked = outcome.verification
    assert checked.mapping == "ok"
    assert checked.chip_vs_fixed.mismatches == 0
    assert checked.chip_vs_fixed.samples == 40
    assert checked.chip_vs_fixed.spikes > 1000
    assert checked.chip_vs_float.spike_agreement > 0.95
    assert abs(checked.chip_vs_float.accuracy_chip - checked.chip_vs_float.accuracy_float) <= 0.05
    assert outcome.mapping.packing.clusters >= outcome.mapping.packing.lower_bound >= 1
    assert set(outcome.timings) == set(flow.STAGES)


def test_same_inputs_give_the_same_bytes(deployed, few, tmp_path):
    _, first = deployed
    flow.deploy(NET, target="loihi2", options=Options(), input=few, output=tmp_path / "elsewhere", command=[])
    assert contents(first) == contents(tmp_path / "elsewhere")


def test_levels_and_time(deployed, few):
    _, folder = deployed
    chip = flow.run(folder, input=few, probes=["lif1:v", "lif2:spikes"])
    fixed = flow.run(folder, input=few, level="fixed", probes=["lif1:v"])
    real = flow.run(NET, input=few)
    with np.load(SAMPLES) as file:
        reference = file["reference_spikes"][:40]
    np.testing.assert_array_equal(chip.spikes, fixed.spikes)
    np.testing.assert_array_equal(chip.probes["lif1.v"], fixed.probes["lif1.v"])
    np.testing.assert_array_equal(real.spikes, reference)
    assert chip.spikes.dtype == np.int32
    assert chip.spikes.shape == reference.shape
    np.testing.assert_array_equal(chip.probes["lif2.spikes"], chip.spikes)
    assert (chip.spikes == reference).mean() > 0.95
    raw = flow.run(folder, input=few, raw_time=True)
    assert raw.spikes.shape[1] == reference.shape[1] + 2
    np.testing.assert_array_equal(raw.spikes[:, 2:], chip.spikes)
    np.testing.assert_array_equal(chip.counts, chip.spikes.sum(1))
    assert chip.accuracy == (chip.counts.argmax(1) == chip.labels).mean()


def test_steps_cut_and_extend(deployed, few):
    _, folder = deployed
    long = flow.run(folder, input=few, steps=30)
    assert long.spikes.shape[1] == 30
    short = flow.run(folder, input=few, steps=5)
    np.testing.assert_array_equal(long.spikes[:, :5], short.spikes)


@pytest.mark.parametrize("stage", flow.STAGES[:-2])
def test_stop_after_writes_nothing(stage, few, tmp_path):
    outcome = flow.deploy(NET, target="loihi2", options=Options(), input=few, output=tmp_path / "out", stop_after=stage)
    assert outcome.status == "ok"
    assert outcome.stopped_after == stage
    assert outcome.fits == (True if stage in ("partition", "place", "route") else None)
    assert not (tmp_path / "out").exists()


def test_stop_after_emit_writes_an_unverified_bundle(few, tmp_path):
    outcome = flow.deploy(NET, target="loihi2", options=Options(), input=few, output=tmp_path / "out", stop_after="emit")
    assert (tmp_path / "out" / "program.h5").is_file()
    assert outcome.verification.chip_vs_fixed is None


def test_verify_again(deployed, few):
    _, folder = deployed
    outcome = flow.verify(folder, input=few)
    assert outcome.status == "ok", outcome.diagnostics
    assert outcome.verification.chip_vs_fixed.mismatches == 0
    assert flow.verify(folder, input=few, against="fixed").verification.chip_vs_float is None


def tamper(folder: Path, change) -> None:
    """Change the program and make the manifest's hashes agree with it, as a defect in the mapper would."""
    path = folder / "program.h5"
    write_program(change(read_program(path)), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for name in ("manifest.json", "nmap.lock"):
        entry = json.loads((folder / name).read_text())
        entry["files"]["program.h5"] = digest
        if name == "manifest.json":
            entry["files"]["nmap.lock"] = hashlib.sha256((folder / "nmap.lock").read_bytes()).hexdigest()
        (folder / name).write_text(json.dumps(entry))
    lock = hashlib.sha256((folder / "nmap.lock").read_bytes()).hexdigest()
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["nmap.lock"] = lock
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.fixture
def copy(few, tmp_path):
    folder = tmp_path / "bundle"
    flow.deploy(NET, target="loihi2", options=Options(), input=few, output=folder, verify=False)
    return folder


def test_one_wrong_weight_is_found(copy, few):
    def change(program: Program) -> Program:
        block = program.blocks[0]
        weights = np.array(block.synapses.weights)
        weights[5, 20:30] += 40
        return replace(program, blocks=(replace(block, synapses=block.synapses.with_weights(weights)), *program.blocks[1:]))

    tamper(copy, change)
    outcome = flow.verify(copy, input=few)
    assert outcome.exit_status == Exit.DIFFERS
    assert outcome.status == "differs"
    assert outcome.verification.chip_vs_fixed.mismatches > 0
    assert "NM701" in {d.code for d in outcome.diagnostics}


def test_one_wrong_route_is_found(copy, few):
    def change(program: Program) -> Program:
        routes = program.inputs[0]
        axon = np.array(routes.axon)
        axon[[3, 9]] = axon[[9, 3]]
        return replace(program, inputs={0: replace(routes, axon=axon)})

    tamper(copy, change)
    assert flow.verify(copy, input=few).status == "differs"


def test_a_lost_axon_breaks_the_mapping(copy):
    def change(program: Program) -> Program:
        routes = program.inputs[0]
        return replace(program, inputs={0: replace(routes, indptr=np.minimum(routes.indptr, routes.core.size - 1),
                                                   core=routes.core[:-1], axon=routes.axon[:-1])})

    tamper(copy, change)
    outcome = flow.verify(copy)
    assert outcome.verification.mapping == "broken"
    assert "NM702" in {d.code for d in outcome.diagnostics}
    assert outcome.exit_status == Exit.DIFFERS


def test_changed_bytes_are_refused(copy):
    data = bytearray((copy / "program.h5").read_bytes())
    data[-1] ^= 1
    (copy / "program.h5").write_bytes(bytes(data))
    outcome = flow.verify(copy)
    assert outcome.exit_status == Exit.USAGE
    assert outcome.diagnostics[0].code == "NM602"


def test_graded_samples_need_a_graded_bundle(copy, few, tmp_path):
    with np.load(few) as file:
        np.savez(tmp_path / "graded.npz", inputs=file["inputs"].astype(int) * 3)
    with pytest.raises(NmapError) as caught:
        flow.run(copy, input=tmp_path / "graded.npz")
    assert caught.value.diagnostics[0].code == "NM802"
    outcome = flow.deploy(NET, target="loihi2", options=Options(), input=tmp_path / "graded.npz", output=tmp_path / "graded")
    assert outcome.verification.chip_vs_fixed.mismatches == 0
    assert flow.run(tmp_path / "graded", input=tmp_path / "graded.npz").spikes.sum() > 0


def test_lock(copy, few):
    same = flow.deploy(NET, target="loihi2", options=Options(), input=few, output=copy, locked=True, verify=False)
    assert same.status == "ok"
    other = flow.deploy(NET, target="loihi2", options=Options(seed=5), input=few, output=copy, locked=True, verify=False)
    assert other.exit_status == Exit.USAGE
    assert other.diagnostics[0].code == "NM603"


def test_strict_turns_a_warning_into_a_failure(few):
    plain = flow.check(NET, targets=["loihi2"], options=Options(bits=2), input=few)[0]
    strict = flow.check(NET, targets=["loihi2"], options=Options(bits=2, strict=True), input=few)[0]
    assert plain.status == "ok"
    assert [d.severity for d in plain.diagnostics] == ["warning", "warning"]
    assert strict.exit_status == Exit.DOES_NOT_FIT


def test_dead_cores_are_not_used(few):
    dead = tuple((0, k) for k in range(20))
    outcome = flow.check(NET, targets=["loihi2"], options=Options(dead=dead), input=few)[0]
    assert {(c.chip, c.core) for c in outcome.mapping.cores}.isdisjoint(dead)


def test_random_spikes_stand_in(tmp_path):
    outcome = flow.deploy(NET, target="loihi2", options=Options(), output=tmp_path / "out")
    assert outcome.samples.file is None
    assert outcome.spike_hops_per_step is None
    assert outcome.verification.chip_vs_fixed.mismatches == 0
    assert outcome.verification.chip_vs_float.accuracy_chip is None


def test_python_interface(few, tmp_path):
    deployment = nmap.deploy(NET, "loihi2", input=few, output=tmp_path / "out")
    assert deployment.status == "ok"
    assert deployment.report["schema"] == "nmap.report/1"
    assert deployment.verdict.chip_vs_fixed.mismatches == 0
    assert "loihi2" in deployment._repr_html_()
    assert nmap.run(tmp_path / "out", few).level == "chip"
    assert nmap.verify(tmp_path / "out", input=few).status == "ok"
    assert [d.status for d in nmap.check(NET, ["loihi2"], input=few)] == ["ok"]
    assert nmap.read(NET).neurons == 106
    assert {"akida", "loihi1", "loihi2", "spinnaker1", "spinnaker2", "toy", "truenorth"} <= set(nmap.targets())
    everywhere = {d.report["target"]["name"]: d.status for d in nmap.check(NET, target="all", input=few)}
    taking = {"loihi1", "loihi2", "spinnaker1", "spinnaker2"}
    assert {name for name, status in everywhere.items() if status == "ok"} == taking
    assert everywhere["akida"] == everywhere["toy"] == everywhere["truenorth"] == "does_not_fit"
    assert nmap.__version__
    with pytest.raises(NmapError):
        nmap.deploy(tmp_path / "missing.h5", "loihi2")


@pytest.mark.parametrize("wrong", [
    {"approximate": "bogus"}, {"approximate": ["reset", "bogus"]}, {"effort": 9}, {"bits": "x"}, {"seed": -1}, {"steps": 0}, {"chips": 0},
    {"slack": float("nan")}, {"stop_after": "bogus"}, {"bits": True},
])
def test_nonsense_is_refused(wrong, tmp_path):
    with pytest.raises(NmapError) as caught:
        nmap.deploy(NET, "loihi2", output=tmp_path / "out", **wrong)
    assert [d.code for d in caught.value.diagnostics] == ["NM004"]
    assert caught.value.exit_status == Exit.USAGE
    assert not (tmp_path / "out").exists()


def test_unknown_levels_and_checks_are_refused(copy, few):
    calls = (
        lambda: nmap.run(copy, few, level="bogus"), lambda: nmap.verify(copy, against="bogus"), lambda: nmap.run(copy, few, dt=1.0),
    )
    for call in calls:
        with pytest.raises(NmapError) as caught:
            call()
        assert caught.value.diagnostics[0].code == "NM004"


def test_verify_keeps_to_the_steps_asked_for(copy):
    assert flow.verify(copy, steps=5, against="fixed").verification.chip_vs_fixed.steps == 7


def test_a_strict_warning_writes_nothing(few, tmp_path):
    outcome = flow.deploy(NET, target="loihi2", options=Options(bits=2, strict=True), input=few, output=tmp_path / "out")
    assert outcome.status == "error"
    assert outcome.exit_status == Exit.DOES_NOT_FIT
    assert outcome.fits
    assert not (tmp_path / "out").exists()


def test_a_bundle_of_other_chip_data_says_so(copy, few):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["target"]["chip_sha256"] = "0" * 64
    (copy / "manifest.json").write_text(json.dumps(manifest))
    outcome = flow.verify(copy, input=few, against="fixed")
    assert outcome.status == "ok"
    assert [d.code for d in outcome.diagnostics] == ["NM603"]


def test_the_chip_data_of_a_bundle_are_those_of_its_own_target():
    """Both Loihi targets are in one package; what counts is the content, in whatever file."""
    one, two = (find_target(name) for name in ("loihi1", "loihi2"))
    assert flow._chip_sha256(one) != flow._chip_sha256(two)
    assert flow._chip_sha256(one) == flow._chip_sha256(SimpleNamespace(spec=load_spec("nmap_loihi2", "loihi1.toml")))
    tighter = one.spec.resources["neurons"].model_copy(update={"max": 512})
    changed = one.spec.model_copy(update={"resources": {**one.spec.resources, "neurons": tighter}})
    assert flow._chip_sha256(SimpleNamespace(spec=changed)) != flow._chip_sha256(one)


def test_output_axons_are_reported_once_there_are_routes(few):
    """Digits on Loihi 1: each of 64 inputs and 96 hidden neurons reaches one list per core of its targets; outputs reach none."""
    planned = flow.deploy(NET, target="loihi1", options=Options(effort=0), input=few, stop_after="place")
    assert to_json(planned)["utilization"]["output_axons"]["used"] is None
    routed = flow.deploy(NET, target="loihi1", options=Options(effort=0), input=few, stop_after="route")
    cores = {shard.cluster for shard in routed.mapping.shards if shard.population == "lif2"}
    use = to_json(routed)["utilization"]["output_axons"]
    assert use["used"] == 96 * len(cores)
    assert "output axons" in to_text(to_json(routed))


@pytest.mark.parametrize(("entry", "value"), [
    ("bits", "8"), ("bits", 99), ("payload", [0]), ("payload", ["a", "b"]), ("dead", [[0]]), ("chips", "x"), ("effort", 5),
])
def test_a_damaged_manifest_is_refused(copy, entry, value):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["options"][entry] = value
    (copy / "manifest.json").write_text(json.dumps(manifest))
    outcome = flow.verify(copy)
    assert [d.code for d in outcome.diagnostics] == ["NM602"]
    assert entry in outcome.diagnostics[0].why


def test_rates_are_those_of_the_input_ports_too(few):
    journal = flow._Journal((), None)
    network = nmap.read(NET)
    samples, _ = flow._load_samples(journal, few, network, Options())
    rates = flow._observe(journal, network, find_target("loihi2"), samples).rates
    assert set(rates) == {p.name for p in network.populations}
    with np.load(few) as file:
        first = file["inputs"][:16]
    np.testing.assert_allclose(rates[network.inputs[0]], (first != 0).mean((0, 1)).ravel())


def test_a_search_that_is_stopped_is_told(few, tmp_path):
    @contextmanager
    def at_once(tell):
        tell()
        yield lambda: True

    said = []
    outcome = flow.deploy(
        NET, target="loihi2", options=Options(partitioner="greedy"), input=few, output=tmp_path / "out", verify=False,
        keep_best=at_once, progress=lambda *words: said.append(words),
    )
    assert outcome.status == "ok"
    assert outcome.interrupted == ("partition", "place")
    assert [d.severity for d in outcome.diagnostics if d.code == "NM502"] == ["note"]
    assert ("place", "taking the best so far; Ctrl-C again aborts") in said
    assert json.loads((tmp_path / "out" / "nmap.lock").read_text())["interrupted"] is True
    whole = flow.deploy(NET, target="loihi2", options=Options(partitioner="greedy"), input=few, output=tmp_path / "whole", verify=False)
    assert whole.interrupted == ()
    assert "interrupted" not in json.loads((tmp_path / "whole" / "nmap.lock").read_text())


def test_traffic_is_that_of_the_mapping(few):
    outcome = flow.check(NET, targets=["loihi2"], options=Options(partitioner="greedy"), input=few)[0]
    traffic, mapping = outcome.traffic, outcome.mapping
    assert traffic.kind == "unicast"
    assert traffic.unicast_hops == mapping.placement.objective
    assert traffic.multicast_hops <= traffic.unicast_hops
    # One core: what it gets is every spike of the input, and nothing else leaves it.
    assert len(mapping.cores) == 1
    network = nmap.read(NET)
    journal = flow._Journal((), None)
    samples, _ = flow._load_samples(journal, few, network, Options())
    rates = flow._observe(journal, network, find_target("loihi2"), samples).rates
    assert traffic.packets == pytest.approx(rates[network.inputs[0]].sum(), rel=1e-6)


@pytest.mark.parametrize(("entry", "value"), [("seed", 5), ("slack", 0.5), ("approximate", ["reset"])])
def test_a_manifest_edited_into_another_one_is_refused(copy, entry, value):
    manifest = json.loads((copy / "manifest.json").read_text())
    assert manifest["options"][entry] != value
    manifest["options"][entry] = value
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (told,) = flow.verify(copy).diagnostics
    assert told.code == "NM602"
    assert f"options.{entry}" in told.message
