"""A model that was written is read back as the program; every change of the file, and every change of the program, is found."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Conventions, Neuron
from nmap.options import Options
from nmap.program import ConvTile, Program, SynapseBlock
from nmap.testing.networks import build
from nmap_akida.emit import files_of
from nmap_akida.form import Form, form_of
from nmap_akida.reread import _rows, _tile_rows, read_model, reread
from tests.akida_networks import IMAGES, KINDS, Case, with_layer
from tests.property.test_akida_networks import compiled

MODEL = "model.akida.json"
SEVERAL = ("conv3", "stride", "separable", "max_pool", "global_pool", "dense", "sum_pool", "image_valid", "image_strided")
_MODES = {"sum_pool": "threshold", "max_pool": "threshold"}


@lru_cache
def made(kind: str, mode: str = "rate") -> tuple[Case, Any, Program]:
    case = with_layer(kind, 4, _MODES.get(kind, mode), 4)
    return case, *compiled(case)


@lru_cache
def files(network: Any, program: Program) -> dict[str, bytes]:
    return files_of(network, program)


def write(folder: Path, network: Any, program: Program) -> None:
    for name, content in files(network, program).items():
        (folder / name).write_bytes(content)


def read(folder: Path) -> dict[str, Any]:
    model: dict[str, Any] = json.loads((folder / MODEL).read_bytes())
    return model


def store(folder: Path, model: dict[str, Any]) -> None:
    (folder / MODEL).write_text(json.dumps(model))


@pytest.mark.parametrize("mode", ["threshold", "rate"])
@pytest.mark.parametrize("kind", [*KINDS, *IMAGES])
def test_what_was_written_is_the_program(tmp_path: Path, kind: str, mode: str) -> None:
    _, network, program = made(kind, mode)
    write(tmp_path, network, program)
    assert reread(tmp_path, network, program) == []


@lru_cache
def divided(variant: str) -> tuple[Any, Program]:
    """Layers over several NPs: a wide image in tiles with its pooling, and a dense layer that has to be a convolution on AKD1500."""
    rng = np.random.default_rng(7)
    shapes: dict[str, tuple[int, ...]] = {"input": (2, 6, 70), "wide": (4, 6, 70), "max": (4, 3, 35), "next": (4, 3, 35), "d1": (300,)}
    shapes |= {"d2": (400,), "d3": (5,)}
    populations: dict[str, Any] = {"input": (shapes["input"], None)}
    connections = {
        "wide": Conv2d(rng.integers(-7, 8, (4, 2, 3, 3)).astype(float), (2, 6, 70), padding=(1, 1)),
        "max": Conv2d(np.ones((4, 1, 2, 2)), (4, 6, 70), stride=(2, 2), groups=4),
        "next": Conv2d(rng.integers(-7, 8, (4, 4, 5, 5)).astype(float), (4, 3, 35), padding=(2, 2)),
        "d1": Dense(rng.integers(-7, 8, (300, 420)).astype(float)), "d2": Dense(rng.integers(-7, 8, (400, 300)).astype(float)),
        "d3": Dense(rng.integers(-7, 8, (5, 400)).astype(float)),
    }
    projections: list[Any] = []
    for name, connectivity in connections.items():
        n = int(np.prod(shapes[name]))
        zero, one = np.zeros(n), np.ones(n)
        projections.append((list(populations)[-1], name, connectivity, None, 0))
        populations[name] = shapes[name], Neuron("LIF", zero, one, one, zero, zero, zero + 0.5, zero)
    network = build("divided.nir", populations, projections, conventions=Conventions(1e-3, "zero", compare=">"))
    options = Options(bits=4, partitioner="greedy", effort=0, payload=(0, 1), horizon=1)
    return compiled(Case(network, np.zeros((1, 1, 840), np.uint8), options, 1, True, ()), variant)


@pytest.mark.parametrize("variant", ["AKD1000", "AKD1500"])
def test_layers_over_several_nps(tmp_path: Path, variant: str) -> None:
    network, program = divided(variant)
    write(tmp_path, network, program)
    assert reread(tmp_path, network, program) == []
    entries = json.loads((tmp_path / "core_map.json").read_bytes())["layers"]
    assert [(entry["population"], entry["unobserved"]) for entry in entries][:2] == [("max", "wide"), ("next", None)]
    assert len(entries[0]["nps"]) == 3
    model = {entry["name"]: entry["parameters"]["layer_type"] for entry in read(tmp_path)["layers"]}
    whole = [name for name in ("d1", "d2", "d3") if model[name] == "FullyConnected"]
    assert whole == [entry["name"] for entry in entries if entry["form"] == "fully connected"]
    assert (len(whole) < 3) == (variant == "AKD1500")
    # Each part of a layer is looked at: weights of every block in turn.
    for index, block in enumerate(program.blocks):
        name = program.populations[program.groups[block.group].population].name
        said = reread(tmp_path, network, _tampered(program, block, index, np.random.default_rng(index)))
        assert any(sentence.startswith(f"`{name}`: ") for sentence in said) == (name != "max"), (name, said)


@pytest.mark.parametrize("kind", SEVERAL)
@pytest.mark.parametrize("array", ["weights", "weights_pw", "threshold", "act_step"])
def test_a_changed_number_of_the_file_is_found(tmp_path: Path, kind: str, array: str) -> None:
    _, network, program = made(kind)
    for number in range(len(network.populations)):
        write(tmp_path, network, program)
        model = read(tmp_path)
        if number >= len(model["layers"]) or array not in model["layers"][number]["variables"]:
            continue
        held = model["layers"][number]["variables"][array]
        values = np.array(held["data"])
        at = np.unravel_index(int(np.random.default_rng(number).integers(values.size)), values.shape)
        values[at] = values[at] - 1 if values[at] > 1 else values[at] + 1
        held["data"] = values.tolist()
        store(tmp_path, model)
        said = reread(tmp_path, network, program)
        assert any(f"layer {model['layers'][number]['name']!r}" in sentence for sentence in said), said


_PARAMETERS = {
    "act_bits": (1, 2), "weights_bits": (8, 4), "stride_x": (2, 1), "kernel_width": (5, 3), "padding": (0, 1), "pool_type": (1, 0),
    "pooling_width": (2, 3), "filters": (1, 2), "units": (1, 2), "layer_type": ("FullyConnected", "Convolutional"), "activation": (0, 1),
    "padding_value": (3, 0), "input_bits": (3, 2), "input_width": (99, 1), "input_signed": (1, 0),
}


@pytest.mark.parametrize("kind", ["conv3", "separable", "image_valid"])
@pytest.mark.parametrize("key", _PARAMETERS)
def test_a_changed_parameter_of_the_file_is_found(tmp_path: Path, kind: str, key: str) -> None:
    _, network, program = made(kind)
    write(tmp_path, network, program)
    whole = read(tmp_path)
    changed = 0
    for entry in whole["layers"]:
        before = entry["parameters"].get(key)
        if before is None:
            continue
        entry["parameters"][key] = next(value for value in _PARAMETERS[key] if value != before)
        store(tmp_path, whole)
        assert reread(tmp_path, network, program) != [], entry["name"]
        entry["parameters"][key], changed = before, changed + 1
    assert changed or (key in ("input_bits", "input_signed") and kind in IMAGES) or (key == "padding_value" and kind not in IMAGES)


@pytest.mark.parametrize(("change", "words"), [
    (lambda m: m["layers"].pop(), "layers, the network"),
    (lambda m: m["layers"].reverse(), "does not follow"),
    (lambda m: m["layers"][1].update(name=m["layers"][0]["name"]), "same name"),
    (lambda m: m["layers"][1].update(name="other"), "does not follow"),
    (lambda m: m["layers"][1].pop("variables"), "cannot be read: KeyError"),
    (lambda m: m["layers"][1]["variables"]["weights"].update(data=[1, 2]), "does not hold int8"),
    (lambda m: m["layers"][1]["variables"]["threshold"].update(dtype="int64"), "does not hold int32"),
    (lambda m: m["layers"][1]["variables"]["threshold"]["data"].__setitem__(0, 2**40), "beyond int32"),
    (lambda m: m["layers"][1]["parameters"].update(layer_type="Dense2D"), "cannot be read: KeyError"),
    (lambda m: m.update({"IP version": "v2"}), "no model of Akida 1.0"),
    (lambda m: m.update({"learning": {}}), "no model of Akida 1.0"),
    (lambda m: m.update(layers=m["layers"][:1]), "it has no layers"),
    (lambda m: m.update(layers=7), "cannot be read: TypeError"),
    (lambda m: m.update({"Akida version": "2.18.0"}), "is not what nmap writes"),
])
def test_a_damaged_file_is_told(tmp_path: Path, change: Callable[[dict[str, Any]], object], words: str) -> None:
    _, network, program = made("conv3")
    write(tmp_path, network, program)
    model = read(tmp_path)
    change(model)
    store(tmp_path, model)
    said = reread(tmp_path, network, program)
    assert any(words in sentence for sentence in said), said


@pytest.mark.parametrize("name", [MODEL, "core_map.json"])
def test_a_missing_or_changed_file_is_told(tmp_path: Path, name: str) -> None:
    _, network, program = made("conv3")
    write(tmp_path, network, program)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes() + b"\n")
    assert reread(tmp_path, network, program) == [f"{name} is not what nmap writes for this program"]
    (tmp_path / name).unlink()
    said = reread(tmp_path, network, program)
    assert any(sentence.startswith(f"{name} cannot be read: FileNotFoundError") for sentence in said)


def _other_block(program: Program, index: int, **changes: Any) -> Program:
    blocks = list(program.blocks)
    blocks[index] = replace(blocks[index], **changes)
    return replace(program, blocks=tuple(blocks))


def _tampered(program: Program, block: SynapseBlock, index: int, rng: np.random.Generator) -> Program:
    """The program with one weight more or less by 1, one that reaches something."""
    synapses = block.synapses
    weights = np.array(synapses.weights)
    if isinstance(synapses, ConvTile):
        # The middle of the kernel lies on the image for some position of any layer here.
        at = (*(int(rng.integers(n)) for n in weights.shape[:2]), weights.shape[2] // 2, weights.shape[3] // 2)
    else:
        at = tuple(int(rng.integers(n)) for n in weights.shape)
    weights[at] += 1
    changed = replace(synapses, weights=weights) if isinstance(synapses, ConvTile) else Dense(weights)
    return _other_block(program, index, synapses=changed)


@pytest.mark.parametrize("kind", [*KINDS, *IMAGES])
def test_a_changed_weight_of_the_program_is_found(tmp_path: Path, kind: str) -> None:
    _, network, program = made(kind)
    write(tmp_path, network, program)
    for index, block in enumerate(program.blocks):
        name = program.populations[program.groups[block.group].population].name
        if form_of(program.settings, name) is Form.POOLED:
            continue
        said = reread(tmp_path, network, _tampered(program, block, index, np.random.default_rng(index)))
        assert any(sentence.startswith(f"`{name}`: the weight") for sentence in said), (name, said)


@pytest.mark.parametrize("kind", SEVERAL)
@pytest.mark.parametrize("key", ["threshold", "act_step", "act_bits"])
def test_a_changed_parameter_of_the_program_is_found(tmp_path: Path, kind: str, key: str) -> None:
    _, network, program = made(kind)
    write(tmp_path, network, program)
    for index, group in enumerate(program.groups):
        name = program.populations[group.population].name
        if key not in group.params or form_of(program.settings, name) is Form.POOLED:
            continue
        values = group.params[key].copy()
        values[int(np.random.default_rng(index).integers(values.size))] += 1
        groups = list(program.groups)
        groups[index] = replace(group, params={**group.params, key: values})
        said = reread(tmp_path, network, replace(program, groups=tuple(groups)))
        assert any(sentence.startswith(f"`{name}`: `{key}` of neuron") for sentence in said), said


@pytest.mark.parametrize(("changes", "words"), [
    ({"delay": 1}, "have delays"), ({"exponent": 1}, "have delays"), ({"receptor": 1}, "have delays"), ({"accumulator": 16}, "have delays"),
    ({"bits": 5}, "weights have 5 bits"),
])
@pytest.mark.parametrize("kind", ["dense", "max_pool"])
def test_synapses_that_the_chip_has_not_are_found(tmp_path: Path, kind: str, changes: dict[str, int], words: str) -> None:
    _, network, program = made(kind)
    write(tmp_path, network, program)
    for index, block in enumerate(program.blocks):
        pooled = form_of(program.settings, program.populations[program.groups[block.group].population].name) is Form.POOLED
        said = reread(tmp_path, network, _other_block(program, index, **changes))
        if not pooled:
            assert any(words in sentence for sentence in said), said
        elif "bits" not in changes:
            assert any("not those of a pooling" in sentence for sentence in said), said


def _pooling(program: Program) -> int:
    return next(
        k for k, block in enumerate(program.blocks)
        if form_of(program.settings, program.populations[program.groups[block.group].population].name) is Form.POOLED
    )


def test_another_pooling_is_found(tmp_path: Path) -> None:
    _, network, program = made("max_pool")
    write(tmp_path, network, program)
    index = _pooling(program)
    block = program.blocks[index]
    tile = block.synapses
    assert isinstance(tile, ConvTile)
    for at in ((0, 0, 0, 0), (-1, 0, 1, 1)):
        weights = np.array(tile.weights)
        weights[at] = 0
        said = reread(tmp_path, network, _other_block(program, index, synapses=replace(tile, weights=weights)))
        assert any("do not send the largest of 2 by 2" in sentence for sentence in said), said
    twice = replace(tile, weights=2 * tile.weights)
    assert reread(tmp_path, network, _other_block(program, index, synapses=twice)) == []
    group = program.groups[block.group]
    for threshold in (-1, int(tile.weights.min())):
        values = group.params["threshold"].copy()
        values[-1] = threshold
        groups = list(program.groups)
        groups[block.group] = replace(group, params={"threshold": values})
        said = reread(tmp_path, network, replace(program, groups=tuple(groups)))
        assert any("do not send the largest of 2 by 2" in sentence for sentence in said), said


@pytest.mark.parametrize("kind", ["conv3", "dense", "max_pool"])
def test_spikes_that_go_astray_are_found(tmp_path: Path, kind: str) -> None:
    _, network, program = made(kind)
    write(tmp_path, network, program)
    for index, routes in enumerate(program.routes):
        if not routes.axon.size:
            continue
        axons = routes.axon.copy()
        axons[[0, -1]] = axons[[-1, 0]]
        changed = list(program.routes)
        changed[index] = replace(routes, axon=axons)
        said = reread(tmp_path, network, replace(program, routes=tuple(changed)))
        assert said, program.populations[program.groups[index].population].name
    for population, routes in program.inputs.items():
        axons = routes.axon.copy()
        axons[[0, -1]] = axons[[-1, 0]]
        assert reread(tmp_path, network, replace(program, inputs={population: replace(routes, axon=axons)}))


def test_what_a_tile_lacks_is_found(tmp_path: Path) -> None:
    _, network, program = made("conv3")
    write(tmp_path, network, program)
    index = next(k for k, block in enumerate(program.blocks) if isinstance(block.synapses, ConvTile))
    tile = program.blocks[index].synapses
    assert isinstance(tile, ConvTile)
    small = replace(tile, in_box=(tile.in_box[0], (tile.in_box[1][0], tile.in_box[1][1] - 1), tile.in_box[2]))
    assert reread(tmp_path, network, _other_block(program, index, synapses=small))


def test_the_program_of_another_network_is_told(tmp_path: Path) -> None:
    _, network, program = made("conv3")
    write(tmp_path, network, program)
    populations = tuple(replace(p, is_output=False) for p in program.populations)
    assert any("not the program's output" in sentence for sentence in reread(tmp_path, network, replace(program, populations=populations)))


@pytest.mark.parametrize("kind", ["conv3", "stride", "global_pool", "image_strided", "separable", "conv7"])
def test_rows_of_weights_are_those_of_the_convolution(tmp_path: Path, kind: str) -> None:
    """Both ways of listing weights against the network's own unrolled connections."""
    _, network, program = made(kind)
    write(tmp_path, network, program)
    stored = {layer.name: layer for layer in read_model((tmp_path / MODEL).read_bytes()).layers}
    seen = 0
    for block in program.blocks:
        group = program.groups[block.group]
        name = program.populations[group.population].name
        if not isinstance(block.synapses, ConvTile):
            continue
        seen += 1
        (projection,) = network.afferents(name)
        whole = np.eye(projection.connectivity.in_size)
        wanted = projection.connectivity.apply(whole).T
        np.testing.assert_array_equal(_rows(stored[name], np.arange(len(wanted))), wanted)
        tile = block.synapses
        neurons = np.arange(group.size)
        held = np.zeros((group.size, wanted.shape[1]))
        grid = np.arange(wanted.shape[1]).reshape(tile.in_shape)[tuple(slice(*span) for span in tile.in_box)]
        held[:, grid.ravel()] = _tile_rows(tile, neurons)
        own = np.arange(len(wanted)).reshape(tile.out_shape)[tuple(slice(*span) for span in tile.out_box)]
        np.testing.assert_array_equal(held, wanted[own.ravel()])
    assert seen


def test_synapses_may_be_listed_one_by_one(tmp_path: Path) -> None:
    _, network, program = made("dense")
    write(tmp_path, network, program)
    index = next(k for k, block in enumerate(program.blocks) if isinstance(block.synapses, Dense))
    listed = Sparse.from_dense(program.blocks[index].synapses.weights)
    assert reread(tmp_path, network, _other_block(program, index, synapses=listed)) == []
    weights = listed.weights.copy()
    weights[-1] -= 1
    said = reread(tmp_path, network, _other_block(program, index, synapses=listed.with_weights(weights)))
    assert any("the weight from neuron" in sentence for sentence in said), said


def test_other_neurons_are_found(tmp_path: Path) -> None:
    _, network, program = made("conv3")
    write(tmp_path, network, program)
    for index, group in enumerate(program.groups):
        name = program.populations[group.population].name
        groups = list(program.groups)
        groups[index] = replace(group, kernel="akida.other")
        assert any(f"`{name}`: its neurons are akida.other" in s for s in reread(tmp_path, network, replace(program, groups=tuple(groups))))
    last = len(program.groups) - 1
    name, size = program.populations[program.groups[last].population].name, program.groups[last].size
    lacking = replace(
        program, groups=program.groups[:-1], routes=program.routes[:-1], blocks=tuple(b for b in program.blocks if b.group != last),
    )
    assert f"`{name}`: the program has 0 of {size} neurons" in reread(tmp_path, network, lacking)
