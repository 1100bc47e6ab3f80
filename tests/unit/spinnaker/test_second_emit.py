"""The script for py-spinnaker2, run on a stand-in for that package that knows only what its documentation says."""

from __future__ import annotations

import io
import json
import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

import nmap
from nmap.connectivity import Array
from nmap.emulate.engine import emulate
from nmap.network import Network
from nmap.options import Options
from nmap.target.registry import find_partitioner
from nmap.testing.networks import RANDOM_NETWORKS, random_inputs
from nmap.testing.targets import Compiled, compile_network
from nmap_spinnaker.second.artefact import runs_of
from nmap_spinnaker.spinnaker2 import TARGET
from tests.unit.spinnaker.test_second_demand import with_currents

F = np.float32
KEYS = {"threshold", "alpha_decay", "i_offset", "v_init", "v_reset", "reset"}
CURRENT_KEYS = KEYS | {"exc_decay", "inh_decay", "t_refrac"}


class Population:
    """py-spinnaker2's `snn.Population`."""

    def __init__(self, size: int, neuron_model: str, params: dict[str, Any], name: str, record: tuple[str, ...] = ()) -> None:
        self.size, self.model, self.params, self.name, self.record = size, neuron_model, params, name, record
        self.atoms = 250
        self.spikes: list[tuple[int, int]] = []
        if neuron_model != "spike_list":
            assert set(params) <= (CURRENT_KEYS if "curr_exp" in neuron_model else KEYS)
            assert params["reset"] in ("reset_by_subtraction", "reset_to_v_reset")

    def set_max_atoms_per_core(self, n: int) -> None:
        assert 1 <= n <= 250
        self.atoms = n

    def get_spikes(self) -> dict[int, list[int]]:
        assert "spikes" in self.record
        return {n: [t for t, m in self.spikes if m == n] for n in range(self.size)}


class Projection:
    """py-spinnaker2's `snn.Projection`."""

    def __init__(self, pre: Population, post: Population, connections: list[list[int]]) -> None:
        top, longest = (15, 7) if post.model in ("lif", "lif_curr_exp") else (127, 0)
        assert connections
        for i, j, w, d in connections:
            assert 0 <= i < pre.size
            assert 0 <= j < post.size
            assert 0 < abs(w) <= top
            assert 0 <= d <= longest
        self.pre, self.post, self.connections = pre, post, connections


class SnnNetwork:
    """py-spinnaker2's `snn.Network`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.populations: list[Population] = []
        self.projections: list[Projection] = []

    def add(self, *things: Population | Projection) -> None:
        for thing in things:
            if isinstance(thing, Population):
                self.populations.append(thing)
            else:
                self.projections.append(thing)

    def reset(self) -> None:
        for pop in self.populations:
            pop.spikes = []


class Machine:
    """py-spinnaker2's `hardware.SpiNNaker2Chip`, which computes what the documentation says, neuron by neuron."""

    def __init__(self, eth_ip: str) -> None:
        assert eth_ip == "192.0.2.1"
        self.used = False

    def run(self, net: SnnNetwork, steps: int, sys_tick_in_s: float = 1e-3) -> None:
        assert not self.used, "a connection serves one run"
        assert sys_tick_in_s == 1e-3
        self.used = True
        assert sum(-(-p.size // p.atoms) for p in net.populations) <= 148
        heard: dict[tuple[Population, int, int], list[int]] = {}
        state = {(p, n): [F(p.params.get("v_init", [0] * p.size)[n]), F(0), F(0)] for p in net.populations if p.model != "spike_list"
                 for n in range(p.size)}
        for t in range(steps):
            for p in net.populations:
                if p.model == "spike_list":
                    p.spikes += [(t, n) for n, times in p.params.items() if t in times]
            for (p, n), (v, e, i) in state.items():
                q = {key: values if key in ("reset", "t_refrac") else F(values[n]) for key, values in p.params.items()}
                up, down = heard.pop((p, n, t), [0, 0])
                total = F(up - down)
                if "exc_decay" in q:
                    e, i = q["exc_decay"] * e + F(up), q["inh_decay"] * i + F(down)
                    total = e - i
                v = q["alpha_decay"] * v + total + q["i_offset"]
                if v > q["threshold"]:
                    p.spikes.append((t, n))
                    v = v - q["threshold"] if q["reset"] == "reset_by_subtraction" else q["v_reset"]
                state[p, n] = [v, e, i]
            for projection in net.projections:
                fired = {n for s, n in projection.pre.spikes if s == t}
                for a, b, w, d in projection.connections:
                    if a in fired:
                        heard.setdefault((projection.post, b, t + 1 + d), [0, 0])[w < 0] += abs(w)


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package `spinnaker2`."""
    package: Any = ModuleType("spinnaker2")
    package.snn = SimpleNamespace(Population=Population, Projection=Projection, Network=SnnNetwork)
    package.hardware = SimpleNamespace(SpiNNaker2Chip=Machine)
    monkeypatch.setitem(sys.modules, "spinnaker2", package)


def compiled(network: Network, **how: object) -> Compiled:
    options = Options(partitioner="greedy", effort=0, approximate=frozenset({"bias"}), **how)  # type: ignore[arg-type]
    return compile_network(TARGET, network, find_partitioner("greedy"), options)


def written(made: Compiled, folder: Path) -> Path:
    for name, content in TARGET.emit(made.quantized, made.program).items():
        (folder / name).write_bytes(content)
    return folder


def arrays_of(folder: Path) -> dict[str, Array]:
    with np.load(folder / "network.npz") as file:
        return {name: file[name] for name in file.files}


def put(folder: Path, arrays: dict[str, Array]) -> None:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    (folder / "network.npz").write_bytes(buffer.getvalue())


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize(("current", "raw"), [(False, ["--raw-time"]), (True, ["--raw-time"]), (False, []), (True, [])])
@pytest.mark.parametrize("kind", ["dense", "recurrent", "conv", "sparse", "skip"])
def test_the_script_builds_the_network_that_the_emulator_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, current: bool, raw: list[str]
) -> None:
    source = RANDOM_NETWORKS[kind](1)
    made = compiled(with_currents(source) if current else source)
    folder = written(made, tmp_path)
    inputs = random_inputs(made.network, 4, samples=2, steps=10)
    np.savez(tmp_path / "in.npz", inputs=inputs)
    steps = inputs.shape[1] + made.quantized.latency
    options = ["--input", str(tmp_path / "in.npz"), "--out", str(tmp_path / "out.npz"), "--chip", "192.0.2.1", "--probe", "all"]
    monkeypatch.setattr(sys, "argv", ["run.py", *options, *raw])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(folder / "run.py"), run_name="__main__")
    assert left.value.code is None
    names = [p.name for p in made.quantized.populations if p.kernel is not None]
    chip = emulate(made.program, TARGET.kernels, inputs, steps, record=names)
    with np.load(tmp_path / "out.npz") as out:
        for name in names:
            late = 0 if raw else made.quantized[name].latency
            due = chip.spikes[name].reshape(2, steps, *made.quantized[name].shape)[:, late : late + (steps if raw else 10)]
            np.testing.assert_array_equal(out[f"{name}.spikes"], due, err_msg=name)
        np.testing.assert_array_equal(out["spikes"], out[f"{made.quantized.outputs[0]}.spikes"])
    assert any(chip.spikes[name].any() for name in names)


@pytest.mark.parametrize("kind", ["dense", "recurrent", "conv", "sparse", "skip"])
def test_what_was_written_is_read_back_as_the_program(tmp_path: Path, kind: str) -> None:
    made = compiled(with_currents(RANDOM_NETWORKS[kind](3)))
    assert TARGET.reread(written(made, tmp_path), made.quantized, made.program) == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("e0.weight", "synapses"), ("e0.delay", "synapses"), ("e1.post", "synapses"), ("p1.threshold", "`threshold`"),
        ("p1.order", "order"), ("p2.i_offset", "`i_offset`"),
    ],
)
def test_a_changed_number_is_found(tmp_path: Path, name: str, text: str) -> None:
    made = compiled(RANDOM_NETWORKS["dense"](0))
    folder = written(made, tmp_path)
    arrays = arrays_of(folder)
    changed = arrays[name].copy()
    changed[0] += 1
    put(folder, arrays | {name: changed})
    told = TARGET.reread(folder, made.quantized, made.program)
    assert len(told) == 1
    assert text in told[0]


def test_a_missing_or_broken_file_is_told(tmp_path: Path) -> None:
    made = compiled(RANDOM_NETWORKS["dense"](0))
    folder = written(made, tmp_path)
    arrays = arrays_of(folder)
    put(folder, {name: values for name, values in arrays.items() if name != "p1.order"})
    assert "cannot be read" in TARGET.reread(folder, made.quantized, made.program)[0]
    (folder / "network.npz").write_bytes(b"PK")
    assert "cannot be read" in TARGET.reread(folder, made.quantized, made.program)[0]
    (folder / "network.npz").unlink()
    assert "cannot be read" in TARGET.reread(folder, made.quantized, made.program)[0]


@pytest.mark.parametrize("name", ["run.py", "core_map.json", "README.txt", "network.nir"])
def test_a_changed_file_beside_the_arrays_is_told(tmp_path: Path, name: str) -> None:
    made = compiled(RANDOM_NETWORKS["dense"](0))
    folder = written(made, tmp_path)
    (folder / name).write_bytes((folder / name).read_bytes() + b" ")
    assert TARGET.reread(folder, made.quantized, made.program) == [f"{name} is not what was written for this program"]
    (folder / name).unlink()
    assert f"{name} cannot be read" in TARGET.reread(folder, made.quantized, made.program)[0]


@pytest.mark.parametrize(
    ("name", "value"), [("latency", 0), ("tick_s", 5), ("target", "x"), ("schema", "y"), ("more", 1), ("latency", None)],
)
def test_a_changed_description_is_told(tmp_path: Path, name: str, value: object) -> None:
    made = compiled(RANDOM_NETWORKS["dense"](0))
    folder = written(made, tmp_path)
    arrays = arrays_of(folder)
    meta = json.loads(arrays["meta"].tobytes()) | {name: value}
    put(folder, arrays | {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    assert TARGET.reread(folder, made.quantized, made.program) == [f"network.npz: `{name}` of `meta` is not what was written"]


@pytest.mark.parametrize(("key", "value"), [("output", True), ("shape", [1, 6]), ("latency", 7), ("input", True)])
def test_a_populations_changed_description_is_told(tmp_path: Path, key: str, value: object) -> None:
    made = compiled(RANDOM_NETWORKS["dense"](0))
    folder = written(made, tmp_path)
    arrays = arrays_of(folder)
    meta = json.loads(arrays["meta"].tobytes())
    assert meta["populations"][1][key] != value
    meta["populations"][1][key] = value
    put(folder, arrays | {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    assert TARGET.reread(folder, made.quantized, made.program) == ["network.npz: `populations` of `meta` is not what was written"]


def test_an_array_or_a_file_too_many_is_told(tmp_path: Path) -> None:
    made = compiled(RANDOM_NETWORKS["skip"](0))
    folder = written(made, tmp_path)
    arrays = arrays_of(folder)
    put(folder, arrays | {"zz": np.zeros(2)})
    (folder / "network.nir").write_bytes(b"")
    told = TARGET.reread(folder, made.quantized, made.program)
    assert told[0] == "network.npz: `zz` is not a part of it"
    assert told[1].startswith("network.nir is not what was written")
    assert len(told) == 2


def test_slices_changed_by_hand_are_found(tmp_path: Path) -> None:
    made = compiled(RANDOM_NETWORKS["dense"](0))
    folder = written(made, tmp_path)
    arrays = arrays_of(folder)
    meta = json.loads(arrays["meta"].tobytes())
    meta["populations"][1]["atoms"] = [1]
    put(folder, arrays | {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)})
    assert TARGET.reread(folder, made.quantized, made.program) == ["network.npz: the slices of `layer0` are not those of the mapping"]


def test_the_tick_is_the_slowed_downs(tmp_path: Path) -> None:
    folder = written(compiled(RANDOM_NETWORKS["dense"](0), slowdown=3), tmp_path)
    assert json.loads(arrays_of(folder)["meta"].tobytes())["tick_s"] == 0.003


def test_the_readme_says_what_was_not_run(tmp_path: Path) -> None:
    text = (written(compiled(RANDOM_NETWORKS["dense"](0)), tmp_path) / "README.txt").read_text()
    assert "Not run: py-spinnaker2 is not public on PyPI" in text
    assert "not verified against py-spinnaker2 or hardware" in text
    assert "recorded chip traces" not in text
    traced = (written(compiled(with_currents(RANDOM_NETWORKS["dense"](0))), tmp_path) / "README.txt").read_text()
    assert "recorded chip traces" in traced


@pytest.mark.parametrize(("sizes", "whole"), [([5], True), ([5, 5, 2], True), ([5, 3, 5], False), ([5, 5, 6], False), ([4, 3, 3], False)])
def test_slices_are_one_population_where_they_are_equal_runs(sizes: list[int], whole: bool) -> None:
    assert runs_of(sizes) is whole


def s2_nir_numbers(file: h5py.File, name: str) -> dict[str, Array]:
    """Return what s2_nir makes of a node under forward Euler with dt = 1 and weights as they are, in its own order of operations."""
    nodes = file["node/nodes"]
    node = {key: np.asarray(nodes[name][key][()]) for key in nodes[name] if key != "type"}
    into = [a.decode() for a, b in file["node/edges"][()] if b.decode() == name]
    bias = sum((nodes[k]["bias"][()] for k in into if "bias" in nodes[k]), np.zeros(node["r"].shape))
    kind = nodes[name]["type"][()].decode()
    if kind == "IF":
        return {"threshold": node["v_threshold"] / node["r"], "alpha_decay": np.ones_like(node["r"]), "i_offset": bias}
    tau = node["tau"] if kind == "LIF" else node["tau_mem"]
    scale = 1.0 / ((1.0 / tau) * node["r"])
    found = {"alpha_decay": 1 - 1.0 / tau}
    gain = np.ones_like(tau)
    if kind == "CubaLIF":
        inner = 1.0 / ((1.0 / node["tau_syn"]) * node["w_in"])
        scale, gain = scale * inner, node["w_in"] * inner
        found |= {"exc_decay": 1 - 1.0 / node["tau_syn"], "inh_decay": 1 - 1.0 / node["tau_syn"]}
    return found | {"threshold": node["v_threshold"] * scale, "i_offset": 1.0 / tau * node["v_leak"] * scale + bias * gain}


@pytest.mark.parametrize("current", [False, True])
@pytest.mark.parametrize("kind", ["dense", "recurrent", "conv", "sparse", "integrators"])
def test_the_rescaled_file_gives_the_same_numbers(tmp_path: Path, kind: str, current: bool) -> None:
    source = RANDOM_NETWORKS[kind](2)
    made = compiled(with_currents(source) if current else source)
    if current and kind == "integrators":
        assert "network.nir" not in TARGET.emit(made.quantized, made.program), "s2_nir's CubaLIF always leaks"
        return
    folder = written(made, tmp_path)
    arrays = arrays_of(folder)
    meta = json.loads(arrays["meta"].tobytes())
    with h5py.File(folder / "network.nir") as file:
        for number, entry in enumerate(meta["populations"]):
            if entry["input"]:
                continue
            found = s2_nir_numbers(file, entry["name"])
            assert {"threshold", "alpha_decay", "i_offset"} <= set(found)
            for key, values in found.items():
                written_ones = arrays[f"p{number}.{key}"]
                np.testing.assert_array_equal(values.astype(np.float32)[arrays[f"p{number}.order"]], written_ones, err_msg=key)
        for number, (source_index, target_index) in enumerate(meta["projections"]):
            weights = file["node/nodes"][f"weights_{number}"]["weight"][()]
            listed = np.zeros(weights.shape)
            listed[arrays[f"e{number}.post"], arrays[f"e{number}.pre"]] = arrays[f"e{number}.weight"]
            np.testing.assert_array_equal(weights, listed)
            names = [entry["name"] for entry in meta["populations"]]
            edges = {(a.decode(), b.decode()) for a, b in file["node/edges"][()]}
            assert {(names[source_index], f"weights_{number}"), (f"weights_{number}", names[target_index])} <= edges
    assert {p.name for p in nmap.read(folder / "network.nir", dt=1.0).populations} >= {p.name for p in made.quantized.populations}


def test_there_is_no_rescaled_file_for_delays_and_start_values() -> None:
    for made in (compiled(RANDOM_NETWORKS["skip"](0)), compile_network(
        TARGET, RANDOM_NETWORKS["dense"](0), find_partitioner("greedy"), Options(partitioner="greedy", effort=0),
    )):
        assert "network.nir" not in TARGET.emit(made.quantized, made.program)
