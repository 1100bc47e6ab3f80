"""What was written is read back as sPyNNaker's host reads it; every change is found."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.program import slice_indices
from nmap_spinnaker.artefact import npz
from nmap_spinnaker.emit import emit
from nmap_spinnaker.reread import reread
from tests.spinnaker_programs import convolved, layered

MAKERS: dict[str, Callable[[], Any]] = {
    "layered": layered, "trunc at 0.1 ms": lambda: layered(3, "if_trunc", 100), "exp at 2 ms": lambda: layered(4, "if_curr_exp", 2000),
    "convolved": convolved,
}


def _written(folder: Path, made: tuple[Any, Any]) -> None:
    for name, content in emit(*made).items():
        (folder / name).write_bytes(content)


def _change(folder: Path, name: str, value: Callable[[np.ndarray], np.ndarray]) -> None:
    with np.load(folder / "network.npz") as file:
        arrays = {key: file[key] for key in file.files}
    arrays[name] = value(arrays[name])
    (folder / "network.npz").write_bytes(npz(arrays))


@pytest.mark.parametrize("name", MAKERS)
def test_what_was_written_is_the_program(tmp_path: Path, name: str) -> None:
    made = MAKERS[name]()
    _written(tmp_path, made)
    assert reread(tmp_path, *made) == []


@pytest.mark.parametrize("name", ["layered", "convolved"])
@pytest.mark.parametrize("seed", range(4))
def test_one_changed_weight_is_found(tmp_path: Path, name: str, seed: int) -> None:
    made, rng = MAKERS[name](), np.random.default_rng(seed)
    _written(tmp_path, made)
    with np.load(tmp_path / "network.npz") as file:
        key = str(rng.choice([entry for entry in file.files if entry.endswith(".weights")]))

    def other(weights: np.ndarray) -> np.ndarray:
        changed = weights.copy()
        there = np.flatnonzero(changed)
        at = int(rng.choice(there))
        changed.flat[at] = changed.flat[at] ^ 1 or 2
        return changed

    _change(tmp_path, key, other)
    found = reread(tmp_path, *made)
    assert len(found) == 1
    assert found[0].startswith("a synapse into")


def test_changed_numbers_are_named(tmp_path: Path) -> None:
    made = layered()
    _written(tmp_path, made)
    _change(tmp_path, "p2.param.v_thresh", lambda values: values + (np.arange(13) == 6))
    [found] = reread(tmp_path, *made)
    raw = int(made[0]["hidden"].params["v_thresh"][6])
    assert found == f"`v_thresh` of neuron 6 of `hidden` is {raw + 1} in the PyNN script, {raw} in the program"
    _written(tmp_path, made)
    _change(tmp_path, "p2.initial.v", lambda _: np.int32(76))
    assert len(reread(tmp_path, *made)) == 3
    _written(tmp_path, made)
    _change(tmp_path, "c0.delays", lambda values: values + (np.arange(values.size) == 3))
    [found] = reread(tmp_path, *made)
    assert "a synapse into `hidden`" in found
    _written(tmp_path, made)
    _change(tmp_path, "c2.weights", lambda values: np.where(np.arange(values.size) == 0, 0, values).astype(np.uint16))
    [found] = reread(tmp_path, *made)
    assert "synapses in the PyNN script" in found


def test_changed_initial_states_are_named(tmp_path: Path) -> None:
    """Currents are compared as a core holds them: many currents decay to one, and which of them the kernel had is no matter."""
    network, program = layered(5, "if_curr_exp")
    state = {"refract": np.arange(13) % 4, "syn_0": 2**20 + np.arange(13), "syn_1": np.zeros(13, np.int64)}
    hidden = replace(network["hidden"], initial=state)
    network = replace(network, populations=tuple(hidden if p.name == "hidden" else p for p in network.populations))
    groups = tuple(
        replace(group, initial={key: values[slice_indices(group.slice, hidden.shape)] for key, values in state.items()})
        if program.populations[group.population].name == "hidden" else group for group in program.groups
    )
    program = replace(program, groups=groups)
    _written(tmp_path, (network, program))
    assert reread(tmp_path, network, program) == []
    _change(tmp_path, "p2.initial.refract_timer", lambda values: values + (np.arange(13) == 6))
    [found] = reread(tmp_path, network, program)
    assert found == "`refract_timer` of neuron 6 of `hidden` is 3 in the PyNN script, 2 in the program"
    _written(tmp_path, (network, program))
    _change(tmp_path, "p2.initial.isyn_exc", lambda values: values - (np.arange(13) == 12))
    [found] = reread(tmp_path, network, program)
    assert found.startswith("`isyn_exc` of neuron 12 of `hidden` is ")
    # Some other current that decays to the same: of tau 8 steps and more, two neighbours often do, never three.
    _written(tmp_path, (network, program))
    told = []
    for more in (1, -1, 3):
        moved = replace(program, groups=tuple(
            replace(group, initial={**group.initial, "syn_0": group.initial["syn_0"] + more}) if "syn_0" in group.initial else group
            for group in program.groups
        ))
        told.append(reread(tmp_path, network, moved))
    assert told[2]
    assert all(sentence.startswith("`isyn_exc`") for sentences in told for sentence in sentences)


def _archive(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    with np.load(folder / "network.npz") as file:
        arrays = {key: file[key] for key in file.files}
    change(arrays)
    (folder / "network.npz").write_bytes(npz(arrays))


def test_arrays_are_compared_before_any_cast(tmp_path: Path) -> None:
    """What the host would round or wrap to the same numbers, and arrays that nothing reads, are changes."""
    made = layered()
    changes: list[tuple[Callable[[dict[str, np.ndarray]], None], str]] = [
        (lambda a: a.update({"c2.weights": a["c2.weights"].astype(np.float64)}), "`c2.weights` of network.npz is float64 of shape"),
        (lambda a: a.update({"p2.initial.v": a["p2.initial.v"] + 0.25}), "`p2.initial.v` of network.npz is float64 of shape"),
        (lambda a: a.update({"c9.weights": np.zeros(1, np.uint16)}), "network.npz has the array `c9.weights`, the program has none"),
    ]
    for change, says in changes:
        _written(tmp_path, made)
        _archive(tmp_path, change)
        [found] = reread(tmp_path, *made)
        assert found.startswith(says)
    _written(tmp_path, made)
    with np.load(tmp_path / "network.npz") as file:
        np.savez(tmp_path / "again.npz", **{key: file[key] for key in reversed(file.files)})
    (tmp_path / "again.npz").replace(tmp_path / "network.npz")
    assert reread(tmp_path, *made) == []


@pytest.mark.parametrize("name", ["run.py", "spynnaker.cfg", "README.txt", "core_map.json"])
def test_texts_are_compared_byte_for_byte(tmp_path: Path, name: str) -> None:
    made = layered()
    _written(tmp_path, made)
    path = tmp_path / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert reread(tmp_path, *made) == [f"{name} is not what nmap writes for this program"]
    _written(tmp_path, made)
    path.unlink()
    [found] = reread(tmp_path, *made)
    assert name in found or "cannot be read" in found


def test_changes_of_more_than_one_file_are_all_told(tmp_path: Path) -> None:
    made = layered()
    _written(tmp_path, made)
    _change(tmp_path, "p2.param.v_thresh", lambda values: values + (np.arange(13) == 6))
    (tmp_path / "run.py").write_bytes(b"")
    found = reread(tmp_path, *made)
    assert [sentence.split(" ")[0] for sentence in found] == ["`v_thresh`", "run.py"]


def _map(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    core_map = json.loads((folder / "core_map.json").read_text())
    change(core_map)
    (folder / "core_map.json").write_text(json.dumps(core_map))


def test_other_places_are_named(tmp_path: Path) -> None:
    made = layered()
    _written(tmp_path, made)

    def moved(core_map: dict[str, Any]) -> None:
        core_map["populations"][1]["parts"][0]["slices"][1]["p"] = 9

    _map(tmp_path, moved)
    assert reread(tmp_path, *made) == [
        "the PyNN script puts nothing of `hidden` on processor 3 of chip (0, 0), the program 5 neurons",
        "the PyNN script puts neurons of `hidden` on processor 9 of chip (0, 0), the program none",
    ]
    _written(tmp_path, made)

    def swapped(core_map: dict[str, Any]) -> None:
        core_map["populations"][1]["parts"][0]["slices"][1]["neurons"] = [1, 2, 8, 10, 9]

    _map(tmp_path, swapped)
    assert reread(tmp_path, *made) == [
        "the PyNN script puts 5 other neurons of `hidden` on processor 3 of chip (0, 0), the program 5 neurons",
    ]
    _written(tmp_path, made)
    # The second slice becomes longer than the runs are.
    _map(tmp_path, lambda core_map: core_map["populations"][1]["parts"][0].update(neurons_per_core=4))
    assert any("are not of 4 neurons each" in sentence for sentence in reread(tmp_path, *made))


def test_a_bound_that_gives_another_shift_is_found(tmp_path: Path) -> None:
    made = layered()
    _written(tmp_path, made)
    _map(tmp_path, lambda core_map: core_map["populations"][1].update(max_expected_summed_weight=[9.0, 1.5]))
    found = reread(tmp_path, *made)
    assert any("`shift_0` of neuron" in sentence for sentence in found)


@pytest.mark.parametrize("name", ["network.npz", "core_map.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04 nothing", None])
def test_damaged_files_are_one_sentence(tmp_path: Path, name: str, content: bytes | None) -> None:
    made = layered()
    _written(tmp_path, made)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    [found] = reread(tmp_path, *made)
    assert found.startswith("the files of the PyNN script cannot be read: ")


def test_the_files_of_another_network_are_refused(tmp_path: Path) -> None:
    _written(tmp_path, layered())
    network, program = convolved()
    [found] = reread(tmp_path, network, program)
    assert found.startswith("the PyNN script has populations ['hidden', 'in.source', 'out'], the program")
    other = layered(8)
    found = reread(tmp_path, *other)
    assert len(found) > 2


def test_pickles_are_not_read(tmp_path: Path) -> None:
    made = layered()
    _written(tmp_path, made)
    buffer = io.BytesIO()
    np.savez(buffer, **{"c0.weights": np.array([{}], object)})
    (tmp_path / "network.npz").write_bytes(buffer.getvalue())
    [found] = reread(tmp_path, *made)
    assert "cannot be read" in found


def test_the_programs_blocks_count_and_not_the_networks_projections(tmp_path: Path) -> None:
    network, program = layered()
    _written(tmp_path, (network, program))
    blocks = list(program.blocks)
    number = next(k for k, block in enumerate(blocks) if program.groups[block.group].kernel == "spinnaker1.if_curr_exp")
    blocks[number] = replace(blocks[number], delay=blocks[number].delay + 1)
    [found] = reread(tmp_path, network, replace(program, blocks=tuple(blocks)))
    assert "a synapse into `out`" in found
