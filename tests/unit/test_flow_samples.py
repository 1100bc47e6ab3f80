"""Samples through the pipeline: several inputs and outputs, outputs that never fire, data sets larger than memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap import flow, running
from nmap.cli.main import run as command
from nmap.options import Options
from nmap.report.json import run_to_json, schema, to_json
from nmap.report.text import percent, run_text, to_text
from nmap.verify import comparison
from tests.unit.readers.builders import chain, if_, li, lif, linear, port, sink, write_nir
from tests.unit.report.schema_check import problems

SHAPES = {"wl": (5, 4), "wr": (5, 3), "wa": (3, 5), "wb": (2, 5), "wrb": (2, 3)}
WEIGHTS = {name: np.random.default_rng(k).integers(-2, 6, shape) / 4 for k, (name, shape) in enumerate(SHAPES.items())}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network with inputs `left` and `right` and outputs `a` and `b`, to which a skip edge leads, and samples with labels for `b`."""
    folder = tmp_path_factory.mktemp("two")
    nodes: dict[str, Any] = {
        "left": port(4), "right": port(3), **{name: linear(w) for name, w in WEIGHTS.items()}, "hidden": if_(5, th=2.0),
        "a": if_(3, th=2.0), "b": if_(2, th=2.0), "out_a": sink(3), "out_b": sink(2),
    }
    edges = [
        *chain("left", "wl", "hidden"), *chain("right", "wr", "hidden"), *chain("hidden", "wa", "a", "out_a"),
        *chain("hidden", "wb", "b", "out_b"), *chain("right", "wrb", "b"),
    ]
    write_nir(folder / "two.nir", nodes, edges, {"reset_mechanism": "zero"})
    rng = np.random.default_rng(2)
    np.savez(
        folder / "two.npz",
        **{
            "inputs.left": (rng.random((7, 12, 4)) < 0.4).astype(np.uint8), "inputs.right": (rng.random((7, 12, 3)) < 0.4).astype(np.uint8),
            "labels.b": np.arange(7) % 2,
        },
    )
    return folder / "two.nir", folder / "two.npz"


@pytest.mark.parametrize("target", ["toy", "loihi2"])
def test_several_inputs_and_outputs_are_mapped(two: tuple[Path, Path], target: str, tmp_path: Path) -> None:
    net, given = two
    outcome = flow.deploy(net, target=target, options=Options(), source="norse", input=given, output=tmp_path / "bundle")
    assert outcome.status == "ok", outcome.diagnostics
    checked = outcome.verification
    assert checked is not None
    assert checked.chip_vs_fixed is not None
    assert (checked.mapping, checked.chip_vs_fixed.mismatches, checked.chip_vs_fixed.samples) == ("ok", 0, 7)
    assert checked.chip_vs_fixed.spikes > 100
    assert checked.vendor is not None
    assert checked.vendor.mismatches in (0, None)
    chip, fixed = (flow.run(tmp_path / "bundle", input=given, level=level) for level in ("chip", "fixed"))
    assert set(chip.arrays) == {"spikes.a", "spikes.b", "counts.a", "counts.b"}
    for name, size in (("a", 3), ("b", 2)):
        np.testing.assert_array_equal(chip.outputs[name], fixed.outputs[name])
        assert chip.outputs[name].shape == (7, 12, size)
        np.testing.assert_array_equal(chip.scores[name], chip.outputs[name].sum(1))
    assert chip.scored == "b"
    assert chip.accuracy == pytest.approx(np.mean(chip.scores["b"].argmax(1) == np.arange(7) % 2))
    # Generated spikes stand in for samples, for every input.
    assert flow.verify(tmp_path / "bundle", against="fixed").status == "ok"


def test_what_each_input_sends_reaches_its_own_synapses(two: tuple[Path, Path]) -> None:
    """The `float` level against the same arithmetic written out: integrate-and-fire, reset to zero, everything in one step."""
    net, given = two
    result = flow.run(net, input=given, framework="norse")
    with np.load(given) as file:
        left, right = file["inputs.left"], file["inputs.right"]
    states = {name: np.zeros((7, size)) for name, size in (("hidden", 5), ("a", 3), ("b", 2))}
    fired: dict[str, np.ndarray] = {}
    for t in range(12):
        for name, arrives in (
            ("hidden", lambda t=t: left[:, t] @ WEIGHTS["wl"].T + right[:, t] @ WEIGHTS["wr"].T),
            ("a", lambda: fired["hidden"] @ WEIGHTS["wa"].T),
            ("b", lambda t=t: fired["hidden"] @ WEIGHTS["wb"].T + right[:, t] @ WEIGHTS["wrb"].T),
        ):
            states[name] = states[name] + _gain(net) * arrives()
            fired[name] = (states[name] > 2.0).astype(int)
            states[name] = np.where(fired[name] > 0, 0.0, states[name])
        for name in ("a", "b"):
            np.testing.assert_array_equal(result.outputs[name][:, t], fired[name])


def _gain(net: Path) -> float:
    """Gain of the neurons' input, which depends on the time step that the reader settles."""
    from nmap.readers import read

    neuron = read(net, source="norse")["hidden"].neuron
    return float(neuron.gain_v[0] * neuron.gain_in[0])  # type: ignore[union-attr]


@pytest.fixture
def integrator(tmp_path: Path) -> Path:
    """A network whose output is a leaky integrator."""
    nodes = {"input": port(3), "w": linear(np.eye(2, 3)), "n": lif(2), "v": linear(np.eye(2)), "out": li(2), "output": sink(2)}
    return write_nir(tmp_path / "li.nir", nodes, chain(*nodes))


def test_outputs_that_never_fire_give_their_membrane(integrator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "s.npz", inputs=(rng.random((6, 20, 3)) < 0.7).astype(np.uint8), labels=np.zeros(6, int))
    result = flow.run(integrator, input=tmp_path / "s.npz", dt=1e-4, probes=["out:v"])
    assert set(result.arrays) == {"out.v", "counts"}
    assert (result.arrays["out.v"].shape, result.arrays["out.v"].dtype) == ((6, 20, 2), np.float64)
    np.testing.assert_array_equal(result.arrays["counts"], result.arrays["out.v"][:, -1])
    np.testing.assert_array_equal(result.probes["out.v"], result.spikes)
    assert (result.output_spikes, result.silent) == (None, ("out",))
    assert result.spikes.max() > 0
    assert result.accuracy == np.mean(result.spikes[:, -1].argmax(1) == 0)


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from Linux's accounting")
@pytest.mark.parametrize("kind", ["dense", "events"])
def test_peak_memory_does_not_grow_with_the_samples(tmp_path: Path, kind: str) -> None:
    """A small file and one of 1.3 GB once dense: the difference in peak memory is a few chunks, not what is read."""
    nodes = {"input": port(2000), "w": linear(np.full((4, 2000), 1e-3)), "n": lif(4), "output": sink(4)}
    write_nir(tmp_path / "n.nir", nodes, chain(*nodes))
    peaks = []
    for samples in (20, 4000):
        rng = np.random.default_rng(samples)
        if kind == "dense":
            np.savez_compressed(tmp_path / "s.npz", inputs=np.zeros((samples, 40, 2000), np.uint8))
        else:
            np.savez(
                tmp_path / "s.npz", t=rng.integers(0, 40, samples * 50), index=rng.integers(0, 2000, samples * 50),
                offsets=np.arange(samples + 1) * 50, steps=40,
            )
        program = (
            "import sys; from pathlib import Path; from nmap import flow; folder = Path(sys.argv[1]); "
            "made = flow.run(folder / 'n.nir', input=folder / 's.npz', dt=1e-4); "
            # Not ru_maxrss, which begins with the size of the process that this one was forked from.
            "peak = next(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')); "
            "print(made.spikes.shape[0], peak)"
        )
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True)
        ran, peak = (int(word) for word in done.stdout.split())
        assert ran == samples
        peaks.append(peak * 1024)
    assert peaks[1] - peaks[0] < 400 * 2**20


def test_verification_does_not_depend_on_the_chunks(two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net, given = two
    whole = flow.deploy(net, target="toy", options=Options(), source="norse", input=given, output=tmp_path / "a")
    monkeypatch.setattr(comparison, "_ROOM", 1)
    pieces = flow.deploy(net, target="toy", options=Options(), source="norse", input=given, output=tmp_path / "b")
    assert whole.verification == pieces.verification


def test_run_refuses_to_keep_more_than_the_limit(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "_MAX_KEPT_BYTES", 100)
    with pytest.raises(flow.NmapError, match="NM802"):
        flow.run(two[0], input=two[1], framework="norse")


def test_accuracy_names_its_output_where_there_are_several(two: tuple[Path, Path], integrator: Path, tmp_path: Path) -> None:
    result = flow.run(two[0], input=two[1], framework="norse")
    report = run_to_json(result, ["nmap", "run"], None)
    assert problems(report, schema(), closed=True) == []
    assert report["samples"]["scored"] == "b"
    assert f"accuracy {percent(result.accuracy)} (output `b`)" in " ".join(run_text(report).split())
    deployed = flow.deploy(two[0], target="toy", options=Options(), source="norse", input=two[1], output=tmp_path / "bundle")
    told = to_json(deployed)
    assert "chip emulator (output `b`)" in " ".join(to_text(told).split())
    np.savez(tmp_path / "s.npz", inputs=np.ones((2, 5, 3), np.uint8), labels=[0, 1])
    alone = run_to_json(flow.run(integrator, input=tmp_path / "s.npz", dt=1e-4), ["nmap", "run"], None)
    assert alone["samples"]["scored"] is None
    assert "accuracy" in run_text(alone)
    assert "(output" not in run_text(alone)


def test_command_writes_what_is_said(two: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = command(["run", str(two[0]), "--input", str(two[1]), "--source", "norse", "-o", str(tmp_path / "o.npz")])
    assert status == 0, capsys.readouterr().err
    with np.load(tmp_path / "o.npz") as file:
        assert sorted(file.files) == ["counts.a", "counts.b", "spikes.a", "spikes.b"]
        assert file["spikes.b"].dtype == np.int32
