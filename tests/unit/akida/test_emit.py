"""The artefact: its files, the map of the NPs, and the script, run with a stand-in for the vendor's package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nmap.program import Core, NeuronGroup, Program, ProgramPopulation
from nmap.simulate.fixed import simulate
from nmap.windows import windowed
from nmap_akida import TARGET, emit
from nmap_akida.emit import files_of, fully_connected
from nmap_akida.form import Form
from tests.akida_networks import Case, with_layer
from tests.property.test_akida_networks import compiled

TESTS = Path(__file__).resolve().parents[2]
PACKAGE = '''\
"""A stand-in for the vendor's package: tests/akida_machine.py computes, and boards are listed in BOARDS."""
import json, os
from types import SimpleNamespace
import akida_machine

__version__ = os.environ.get("VERSION", "2.19.7")
MapMode = SimpleNamespace(AllNps=1, HwPr=2, Minimal=3)

def devices():
    return [SimpleNamespace(desc=name) for name in os.environ.get("BOARDS", "").split()]

class Model:
    def __init__(self, model):
        self.model, self.mapped = model, "nothing"

    @staticmethod
    def from_json(text):
        model = json.loads(text)
        if model["Akida version"].split(".")[:2] != __version__.split(".")[:2]:
            raise ValueError("it is of another version")
        return Model(model)

    def map(self, device, hw_only=False, mode=1):
        if device is not None:
            assert hw_only
            if device.desc.startswith("small") or (device.desc.startswith("picky") and mode != MapMode.HwPr):
                raise RuntimeError(f"{device.desc} has too few NPs")
            part = "Software" if device.desc.startswith("half") else "Hardware"
            self.sequences = [SimpleNamespace(backend="BackendType." + part)]
        self.mapped = device

    def forward(self, images):
        assert self.mapped != "nothing" and images.dtype == "uint8"
        if os.environ.get("BROKEN"):
            raise ValueError("no good")
        print("batch of", len(images))
        return list(akida_machine.run(self.model, images).values())[-1].astype("uint8")
'''
CASES: dict[str, Callable[[], Case]] = {
    "threshold": lambda: with_layer("conv3", 1, "threshold", 4), "rate": lambda: with_layer("conv3", 3, "rate", 4),
    "image": lambda: with_layer("image_valid", 3, "threshold", 4),
}


@lru_cache
def made(name: str) -> tuple[Case, Any, Program]:
    case = CASES[name]()
    quantized, program = compiled(case)
    # The script takes samples of one inference where that stands for several steps.
    return case if case.window == 1 else replace(case, inputs=case.inputs[:, : case.window]), quantized, program


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "akida.py").write_text(PACKAGE)
    return folder


def write(folder: Path, name: str) -> tuple[Case, np.ndarray]:
    """Write the artefact and samples, of which the last has a wrong label; return what the output is to send, (samples, inferences, n)."""
    case, network, program = made(name)
    for path, content in files_of(network, program).items():
        (folder / path).write_bytes(content)
    given = windowed(case.inputs, network.window)
    inferences, output = given.shape[1], network.outputs[0]
    sent = simulate(network, TARGET.kernels, given, inferences + network.latency, record=[output]).spikes[output]
    sent = sent[:, network.latency :]
    best = sent.sum(1).argmax(1)
    best[-1] = (best[-1] + 1) % sent.shape[2]
    np.savez(folder / "samples.npz", inputs=case.inputs, labels=best)
    return case, sent


def start(folder: Path, *words: str, package: Path | None, **environment: str) -> SimpleNamespace:
    """Run the script."""
    paths = [] if package is None else [str(package), str(TESTS)]
    own = {key: value for key, value in os.environ.items() if key not in ("BOARDS", "VERSION", "BROKEN")}
    ended = subprocess.run(
        [sys.executable, "run.py", *words], cwd=folder, capture_output=True, text=True, check=False,
        env={**own, "PYTHONPATH": os.pathsep.join(paths), **environment},
    )
    assert "Traceback" not in ended.stderr, ended.stderr
    return SimpleNamespace(status=ended.returncode, out=ended.stdout, err=ended.stderr)


@pytest.mark.parametrize("name", CASES)
def test_the_script_gives_what_the_network_sends(tmp_path: Path, package: Path, name: str) -> None:
    _, wanted = write(tmp_path, name)
    ended = start(tmp_path, "samples.npz", "-o", "out.npz", package=package)
    assert (ended.status, ended.err) == (0, "")
    with np.load(tmp_path / "out.npz") as file:
        spikes, counts = file["spikes"], file["counts"]
    output = made(name)[1][made(name)[1].outputs[0]]
    assert spikes.shape == (*wanted.shape[:2], *output.shape)
    np.testing.assert_array_equal(spikes.reshape(wanted.shape), wanted)
    np.testing.assert_array_equal(counts.reshape(len(wanted), -1), wanted.sum(1))
    assert f"({len(wanted) - 1} of {len(wanted)} samples)" in ended.out
    assert "akida 2.19.7, software engine" in ended.out
    assert "there is no board" in ended.out


def test_without_a_place_for_the_result_counts_are_told(tmp_path: Path, package: Path) -> None:
    _, wanted = write(tmp_path, "threshold")
    ended = start(tmp_path, "samples.npz", "--samples", "2", "--batch", "3", "--device", "software", package=package)
    assert ended.status == 0
    assert "no board" not in ended.out
    for k in range(2):
        assert f"sample {k}: spikes per output neuron {wanted[k].sum(0).tolist()}" in ended.out
    assert "sample 2" not in ended.out
    sizes = [int(line.rpartition(" ")[2]) for line in ended.out.splitlines() if line.startswith("batch of")]
    assert max(sizes) == 3
    assert sum(sizes) == 2 * wanted.shape[1]


@pytest.mark.parametrize(("boards", "used"), [
    ("big", "board big"), ("small1 big", "board big"), ("picky", "board picky"), ("half big", "board big"),
])
def test_a_board_that_takes_the_whole_model_is_used_and_named(tmp_path: Path, package: Path, boards: str, used: str) -> None:
    write(tmp_path, "threshold")
    ended = start(tmp_path, "samples.npz", "--device", "board", package=package, BOARDS=boards)
    assert ended.status == 0
    assert f"akida 2.19.7, {used}:" in ended.out


@pytest.mark.parametrize(("boards", "why"), [
    ("", "there is no board"), ("small1 small2", "small2 has too few NPs"), ("half", "a part of the model would run on the host"),
])
def test_no_board_is_said_and_never_replaced_in_silence(tmp_path: Path, package: Path, boards: str, why: str) -> None:
    write(tmp_path, "threshold")
    ended = start(tmp_path, "samples.npz", "--device", "board", package=package, BOARDS=boards)
    assert ended.status == 4
    assert why in ended.err
    assert "samples of" not in ended.out
    ended = start(tmp_path, "samples.npz", package=package, BOARDS=boards)
    assert ended.status == 0
    assert why in ended.out
    assert "software engine: " in ended.out


def test_a_package_of_another_version_is_told_and_given_the_model_as_its_own(tmp_path: Path, package: Path) -> None:
    write(tmp_path, "threshold")
    ended = start(tmp_path, "samples.npz", package=package, VERSION="2.20.1")
    assert ended.status == 0
    assert "written for akida 2.19.x; akida 2.20.1 is installed" in ended.out
    assert "2.19.x" not in start(tmp_path, "samples.npz", package=package).out


def test_without_the_package_the_script_says_how_to_get_it(tmp_path: Path) -> None:
    write(tmp_path, "threshold")
    # A folder of this name that is no package of Python's hides one that may be installed.
    (tmp_path / "akida.py").write_text("raise ModuleNotFoundError(\"No module named 'akida'\", name='akida')\n")
    ended = start(tmp_path, "samples.npz", package=None)
    assert ended.status == 4
    assert 'pip install "akida==2.19.*"' in ended.err
    assert "3.10, 3.11 and 3.12" in ended.err
    assert "macOS" in ended.err


def test_a_package_that_stops_is_told(tmp_path: Path, package: Path) -> None:
    write(tmp_path, "threshold")
    ended = start(tmp_path, "samples.npz", package=package, BROKEN="1")
    assert (ended.status, "the package stopped: no good" in ended.err) == (5, True)


def test_what_the_network_delays_is_written_later(tmp_path: Path, package: Path) -> None:
    case, network, program = made("threshold")
    _, wanted = write(tmp_path, "threshold")
    output = network[network.outputs[0]]
    for late in (1, 2):
        populations = tuple(replace(p, latency=p.latency - late) if p is output else p for p in network.populations)
        files = files_of(replace(network, populations=populations), program)
        (tmp_path / "run.py").write_bytes(files["run.py"])
        assert json.loads(files["core_map.json"])["late"] == late
        assert start(tmp_path, "samples.npz", "-o", "out.npz", package=package).status == 0
        with np.load(tmp_path / "out.npz") as file:
            spikes = file["spikes"].reshape(wanted.shape)
        assert not spikes[:, :late].any()
        np.testing.assert_array_equal(spikes[:, late:], wanted[:, :-late])
    np.savez(tmp_path / "short.npz", inputs=case.inputs[:, :1])
    assert start(tmp_path, "short.npz", "-o", "out.npz", package=package).status == 0
    with np.load(tmp_path / "out.npz") as file:
        assert file["spikes"].shape[1] == 1
        assert not file["spikes"].any()


def _samples(case: Case, change: Callable[[dict[str, np.ndarray]], None]) -> dict[str, np.ndarray]:
    inputs = np.array(case.inputs)
    arrays = {"inputs": inputs}
    change(arrays)
    return arrays


@pytest.mark.parametrize(("change", "words"), [
    (lambda a: a.update(inputs=a["inputs"] + 0.5), "must hold integers"),
    (lambda a: a.update(inputs=a["inputs"][:, :, :-1]), "has shape"),
    (lambda a: a.update(inputs=a["inputs"].astype(np.int64) - 1), "from -1 to"),
    (lambda a: a.update(inputs=a["inputs"].astype(np.int64) + 300), "the model takes 0 to"),
    (lambda a: a.update(labels=np.zeros(1, int)), "1 labels for 3 samples"),
    (lambda a: a.update(labels=np.full(3, 1000)), "outside of the"),
    (lambda a: a.update(spikes=a.pop("inputs")), "is not an .npz file with an array `inputs`"),
])
def test_wrong_samples_are_refused(
    tmp_path: Path, package: Path, change: Callable[[dict[str, np.ndarray]], None], words: str
) -> None:
    case, _ = write(tmp_path, "threshold")
    np.savez(tmp_path / "wrong.npz", **_samples(case, change))
    ended = start(tmp_path, "wrong.npz", package=package)
    assert ended.status == 2
    assert words in ended.err


@pytest.mark.parametrize(("name", "most", "given"), [("image", 8, "whole numbers from 0 to 8"), ("rate", 2, "is at most 2")])
def test_inputs_beyond_what_is_proved_are_refused(tmp_path: Path, package: Path, name: str, most: int, given: str) -> None:
    case, network, program = made(name)
    proved = replace(network, settings={**network.settings, f"{network.inputs[0]}.highest": most})
    content = files_of(proved, program)
    for path, text in content.items():
        (tmp_path / path).write_bytes(text)
    assert json.loads(content["core_map.json"])["inputs"]["highest"] == most
    assert given in content["README.txt"].decode()
    inputs = np.zeros_like(np.array(case.inputs))
    inputs[0, 0] = most
    np.savez(tmp_path / "some.npz", inputs=inputs)
    assert start(tmp_path, "some.npz", package=package).status == 0
    inputs[0, min(1, network.window - 1)] += 1
    np.savez(tmp_path / "much.npz", inputs=inputs)
    ended = start(tmp_path, "much.npz", package=package)
    assert ended.status == 2
    assert f"the model takes 0 to {most}: beyond, its sums may leave their range" in ended.err


def test_the_widest_input_is_taken_where_no_other_is_proved() -> None:
    _, network, program = made("image")
    silent = {key: value for key, value in network.settings.items() if not key.endswith(".highest")}
    assert json.loads(files_of(replace(network, settings=silent), program)["core_map.json"])["inputs"]["highest"] == 255


def test_sums_over_a_window_have_a_limit_and_a_short_window_is_told(tmp_path: Path, package: Path) -> None:
    case, _ = write(tmp_path, "rate")
    window = made("rate")[1].window
    inputs = np.zeros_like(np.array(case.inputs))
    inputs[0, :window] = 1
    np.savez(tmp_path / "short.npz", inputs=inputs[:, : window - 1])
    ended = start(tmp_path, "short.npz", package=package)
    assert ended.status == 0
    assert f"{window - 1} time steps and are run as if they were {window}" in ended.out
    assert "3 samples of 1 inference" in ended.out
    np.savez(tmp_path / "long.npz", inputs=np.concatenate([inputs, inputs[:, :1]], axis=1))
    ended = start(tmp_path, "long.npz", package=package)
    assert ended.status == 2
    assert f"{window + 1} time steps, and an inference stands for {window}" in ended.err
    inputs[0, :window] = 2
    np.savez(tmp_path / "much.npz", inputs=inputs)
    ended = start(tmp_path, "much.npz", package=package)
    assert ended.status == 2
    assert f"sums over {window} time steps from 0 to {2 * window}" in ended.err


@pytest.mark.parametrize(("path", "words"), [("none/out.npz", "there is no folder"), ("site", "")])
def test_a_result_that_cannot_be_written_is_told_first(tmp_path: Path, package: Path, path: str, words: str) -> None:
    write(tmp_path, "threshold")
    (tmp_path / "site.npz").mkdir()
    ended = start(tmp_path, "samples.npz", "-o", path, package=package)
    assert ended.status == 2
    assert (words or "it is a folder") in ended.err


def test_the_same_program_gives_the_same_files() -> None:
    _, network, program = made("rate")
    first = files_of(network, program)
    assert list(first) == ["model.akida.json", "run.py", "core_map.json", "README.txt"]
    assert first == files_of(*compiled(CASES["rate"]()))


def test_the_core_map_lists_layers_and_nps() -> None:
    case, network, program = made("rate")
    core_map = json.loads(files_of(network, program)["core_map.json"])
    assert (core_map["schema"], core_map["variant"]) == ("nmap.akida/1", "AKD1000")
    assert (core_map["mode"], core_map["window"]) == ("rate", case.window)
    assert "estimate" in core_map["nps_are"]
    computed = [p.name for p in network.populations if p.kernel is not None]
    assert [entry["population"] for entry in core_map["layers"]] == computed
    listed = []
    for entry in core_map["layers"]:
        size = 0
        for part in entry["nps"]:
            size += int(np.prod([stop - first for first, stop in part["box"]]))
            listed.append(part["number"])
            assert (part["pass"], part["kind"] in ("cnp", "cnp2", "fnp3", "fnp2", "hrc")) == (0, True)
        assert size == network[entry["population"]].size
    assert sorted(listed) == sorted(core.core for core in program.cores)


def test_the_readme_says_what_the_user_has_to_know() -> None:
    _, network, program = made("rate")
    text = files_of(network, program)["README.txt"].decode()
    for words in ("model.akida.json", "core_map.json", "estimate", "licence", "hw_only=True", "--device board"):
        assert words in text
    assert 'pip install "akida==2.19.*"' in text
    assert f"sum over {made('rate')[0].window} time steps" in text
    assert "whole numbers from 0 to 255" in files_of(*made("image")[1:])["README.txt"].decode()


def test_files_of_the_package_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    _, network, program = made("threshold")
    asked: list[tuple[set[str], str]] = []

    def extra(files: dict[str, bytes], variant: str) -> dict[str, bytes]:
        asked.append((set(files), variant))
        return {"model.fbz": b"made"}

    monkeypatch.setattr("nmap_akida.emit.extra_files", extra)
    plain = files_of(network, program)
    assert TARGET.emit(network, program) == {**plain, "model.fbz": b"made"}
    assert asked == [(set(plain), "AKD1000")]


@pytest.mark.parametrize(("places", "wanted"), [
    ([56], True), ([77], True), ([0], False), ([30], False), ([56, 57], False),
])
def test_a_dense_layer_is_fully_connected_where_one_such_np_has_it_whole(places: list[int], wanted: bool) -> None:
    groups = tuple(
        NeuronGroup(k, 1, ((2 * k, 2 * k + 2),), "akida.binary", {"threshold": np.zeros(2, np.int64)}, {}) for k in range(len(places))
    )
    program = Program(
        "akida", "AKD1000", (ProgramPopulation("in", (3,), 0, True, False), ProgramPopulation("out", (2 * len(places),), 1, False, True)),
        tuple(Core(0, 0, 0, number) for number in places), groups, (), (),
    )
    layers: Any = (SimpleNamespace(name="out", form=Form.DENSE),)
    assert ("out" in fully_connected(program, layers)) == wanted
    assert not fully_connected(program, (SimpleNamespace(name="out", form=Form.CONV),))  # type: ignore[arg-type]
    later = replace(program, variant="AKD1500", cores=(Core(0, 0, 0, 3 * 33 + 31), *program.cores[1:]))
    assert ("out" in fully_connected(later, layers)) == (len(places) == 1)


def test_lists_of_neurons_are_runs() -> None:
    assert emit._runs(np.array([0, 1, 2, 5, 7, 8])) == [[0, 3], [5, 6], [7, 9]]
    assert emit._runs(np.array([4])) == [[4, 5]]
