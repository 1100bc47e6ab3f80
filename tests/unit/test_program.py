"""Programs on disk: what is written is read back, and nothing malformed gets past the reader."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from nmap.connectivity import Dense, Sparse
from nmap.diagnostics import NmapError
from nmap.program import (
    ConvTile,
    Core,
    NeuronGroup,
    Program,
    ProgramPopulation,
    Routes,
    Slice,
    SynapseBlock,
    box_indices,
    program_bytes,
    read_program,
    slice_indices,
    slice_size,
    write_program,
)

PLANE = (2, 3, 3)


def group(core: int, population: int, part: Slice, n: int) -> NeuronGroup:
    values = np.arange(n, dtype=np.int64)
    return NeuronGroup(core, population, part, "some.kernel", {"leak": values, "threshold": values + 9}, {"v": -values})


def example() -> Program:
    """An input port of 18, a convolution of 16 on core 0, five dense and sparse neurons in turn on cores 0 and 1."""
    rng = np.random.default_rng(1)
    kernel = rng.integers(-9, 9, (4, 1, 2, 2)).astype(np.int32)
    tile = ConvTile(kernel, PLANE, (4, 2, 2), ((0, 2), (0, 3), (0, 3)), ((0, 4), (0, 2), (0, 2)), (1, 1), (0, 0), (1, 1), 2)
    dense = rng.integers(-9, 9, (3, 16)).astype(np.int32)
    sparse = Sparse.from_dense(rng.integers(0, 2, (2, 16)).astype(np.int32) * 5)
    blocks = (
        SynapseBlock(0, 0, 0, tile, None, 0, 0, 0, 8, "mixed"),
        SynapseBlock(0, 1, 18, Dense(dense), rng.integers(0, 4, (3, 16)), 1, -2, 8, 8, "mixed"),
        SynapseBlock(1, 2, 0, sparse, np.arange(sparse.synapses), 0, 3, 0, 8, "excitatory"),
    )
    onto_both = np.stack([np.arange(18, 34), np.arange(16)], 1).ravel()
    routes = (
        Routes(np.arange(17) * 2, np.tile([0, 1], 16), onto_both), Routes(np.zeros(4), np.zeros(0), np.zeros(0)),
        Routes(np.zeros(3), np.zeros(0), np.zeros(0)),
    )
    populations = (
        ProgramPopulation("in", PLANE, 0, True, False), ProgramPopulation("conv", (4, 2, 2), 1, False, False),
        ProgramPopulation("out", (5,), 2, False, True),
    )
    groups = (group(0, 1, ((0, 4), (0, 2), (0, 2)), 16), group(0, 2, np.array([0, 2, 4]), 3), group(1, 2, np.array([1, 3]), 2))
    inputs = {0: Routes(np.arange(19), np.zeros(18), np.arange(18))}
    return Program("some", "small", populations, (Core(0, 1, 2, 3), Core(1, 0, 0, 7)), groups, blocks, routes, inputs, 2**32 - 1)


def plain(value: object) -> object:
    """A program as lists and numbers, which can be compared."""
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.tolist()]
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [plain(entry) for entry in value]
    fields = getattr(value, "__dataclass_fields__", None)
    return value if fields is None else [type(value).__name__, {name: plain(getattr(value, name)) for name in fields}]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "program.h5"
    write_program(example(), path)
    return path


def reason(path: Path) -> str:
    with pytest.raises(NmapError) as caught:
        read_program(path)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "NM602"
    assert diagnostic.where == str(path)
    assert diagnostic.why
    return diagnostic.why


def test_what_is_written_is_read_back(stored: Path) -> None:
    assert plain(read_program(stored)) == plain(example())


def test_bytes_do_not_depend_on_the_place(stored: Path, tmp_path: Path) -> None:
    assert stored.read_bytes() == program_bytes(example())
    write_program(read_program(stored), tmp_path / "other name.h5")
    assert (tmp_path / "other name.h5").read_bytes() == stored.read_bytes()


def test_another_program_has_other_bytes() -> None:
    program = example()
    assert program_bytes(program) != program_bytes(
        Program("some", "small", program.populations, program.cores, program.groups, program.blocks, program.routes, program.inputs, 1)
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full, a disk that is always full")
def test_a_full_disk_is_an_os_error() -> None:
    with pytest.raises(OSError, match="No space left"):
        write_program(example(), Path("/dev/full"))


def test_box_indices_are_c_order() -> None:
    assert box_indices(((1, 3), (0, 2)), (3, 4)).tolist() == [4, 5, 8, 9]


def test_slices_are_boxes_or_lists() -> None:
    assert (slice_size(((1, 3), (0, 2))), slice_indices(((1, 3), (0, 2)), (3, 4)).tolist()) == (4, [4, 5, 8, 9])
    listed = np.array([2, 5, 11])
    assert (slice_size(listed), slice_indices(listed, (3, 4)).tolist()) == (3, [2, 5, 11])


def test_an_index_list_cannot_be_changed_afterwards() -> None:
    listed = np.array([0, 2])
    made = group(0, 2, listed, 2)
    listed[0] = 1
    assert isinstance(made.slice, np.ndarray)
    assert made.slice.tolist() == [0, 2]
    assert not made.slice.flags.writeable


def test_a_list_longer_than_its_population_is_not_read(stored: Path) -> None:
    with h5py.File(stored, "r+") as file:
        del file["groups/000002/neurons"]
        # A terabyte that takes no room in the file.
        file["groups/000002"].create_dataset("neurons", (2**37,), "i8", chunks=(2**16,))
    assert "lists 137438953472 neurons of a population of 5" in reason(stored)


def test_a_slice_is_a_box_or_a_list(stored: Path) -> None:
    with h5py.File(stored, "r+") as file:
        header = json.loads(file["groups/000000"].attrs["header"])
        assert header[2] is not None
        header[2] = None
        file["groups/000000"].attrs["header"] = json.dumps(header)
    assert "groups/000000/neurons` is missing" in reason(stored)


def entries(kind: type) -> list[str]:
    names: list[str] = []
    with h5py.File(io.BytesIO(program_bytes(example())), "r") as file:
        file.visititems(lambda name, node: names.append(name) if isinstance(node, kind) else None)
    return names


def attributes() -> list[tuple[str, str]]:
    with h5py.File(io.BytesIO(program_bytes(example())), "r") as file:
        return [(name, key) for name in ("/", *entries(h5py.Group)) for key in file[name].attrs]


def test_the_example_has_all_kinds_of_entries() -> None:
    assert len(entries(h5py.Dataset)) == 1 + 3 * (3 + 3) + 2 + (1 + 2 + 4) + 3
    assert {"delays", "indptr", "leak", "neurons", "v"} <= {name.rpartition("/")[2] for name in entries(h5py.Dataset)}


@pytest.mark.parametrize("name", entries(h5py.Dataset))
def test_a_missing_dataset(stored: Path, name: str) -> None:
    with h5py.File(stored, "r+") as file:
        del file[name]
    assert name.rpartition("/")[2] in reason(stored)


@pytest.mark.parametrize("name", entries(h5py.Group))
def test_a_missing_group(stored: Path, name: str) -> None:
    with h5py.File(stored, "r+") as file:
        del file[name]
    reason(stored)


@pytest.mark.parametrize(("name", "key"), attributes())
@pytest.mark.parametrize("value", [None, "no json {", "[" * 100_000, "null", "[]", '["a", 1, null]', 7, "1.5", "-1"])
def test_a_wrong_attribute(stored: Path, name: str, key: str, value: object) -> None:
    with h5py.File(stored, "r+", libver="v110") as file:
        del file[name].attrs[key]
        if value is not None:
            file[name].attrs[key] = value
    reason(stored)


def replaced(path: Path, name: str, change: Callable[[np.ndarray], object]) -> str:
    with h5py.File(path, "r+") as file:
        values = change(file[name][()])
        del file[name]
        file[name] = values
    return reason(path)


@pytest.mark.parametrize("name", entries(h5py.Dataset))
def test_a_wrong_type(stored: Path, name: str) -> None:
    assert "whole numbers" in replaced(stored, name, lambda values: values.astype(float))


@pytest.mark.parametrize("name", entries(h5py.Dataset))
def test_a_wrong_rank(stored: Path, name: str) -> None:
    assert "rank" in replaced(stored, name, lambda values: values[..., None])


@pytest.mark.parametrize("name", entries(h5py.Dataset))
@pytest.mark.parametrize("value", ["text", 3, h5py.Empty("i8")], ids=["text", "number", "nothing"])
def test_no_array(stored: Path, name: str, value: object) -> None:
    assert "rank" in replaced(stored, name, lambda values: value)


@pytest.mark.parametrize("name", [name for name in entries(h5py.Dataset) if name != "cores"])
def test_a_wrong_length(stored: Path, name: str) -> None:
    replaced(stored, name, lambda values: np.concatenate([values, values[-1:], values[:1]] if values.size else [values, [0]]))


BOUNDED = ("indptr", "indices", "core", "axon", "neurons", "weights")


@pytest.mark.parametrize("name", [name for name in entries(h5py.Dataset) if name.endswith(BOUNDED)])
@pytest.mark.parametrize("value", [-(2**31) - 1, 2**31, 2**62])
def test_a_value_out_of_range(stored: Path, name: str, value: int) -> None:
    def change(values: np.ndarray) -> np.ndarray:
        changed = values.astype(np.int64) if values.size else np.zeros(1, np.int64)
        changed.flat[-1] = value
        return changed

    replaced(stored, name, change)


def at(index: int, value: int) -> Callable[[np.ndarray], np.ndarray]:
    def change(values: np.ndarray) -> np.ndarray:
        values = values.copy()
        values.flat[index] = value
        return values

    return change


@pytest.mark.parametrize(("name", "change", "said"), [
    ("groups/000000/routes/core", at(3, 2), "core 2 of 2"),
    ("groups/000000/routes/core", at(3, -1), "outside 0 to"),
    ("groups/000000/routes/axon", at(1, 16), "input axon 16 of core 1, which has 16"),
    ("groups/000000/routes/indptr", at(5, 0), "does not divide 32 entries"),
    ("inputs/000000/axon", at(0, 34), "input axon 34 of core 0, which has 34"),
    ("blocks/000002/indices", at(0, 16), "outside 0 to 15"),
    ("blocks/000001/delays", at(0, -1), "outside 0 to"),
    ("cores", lambda values: values[:1], "core 1 of 1"),
    ("cores", lambda values: values[:, :3], "3 columns"),
    ("groups/000001/params/leak", lambda values: values[:2], "2 values of `leak` for 3 neurons"),
    ("groups/000001/neurons", at(0, 2), "not an ascending list"),
    ("groups/000001/neurons", at(0, 3), "not an ascending list"),
    ("groups/000001/neurons", at(2, 5), "outside 0 to 4"),
    ("groups/000001/neurons", at(0, -1), "outside 0 to 4"),
    ("groups/000001/neurons", lambda values: values[:0], "not an ascending list"),
    ("groups/000001/neurons", lambda values: values[:2], "values of `leak` for 2 neurons"),
    ("groups/000002/initial/v", lambda values: np.zeros(3, int), "3 values of `v` for 2 neurons"),
    ("blocks/000001/weights", lambda values: values[:2], "2 targets for the 3 neurons"),
    ("blocks/000001/delays", lambda values: values[:, :5], "one delay per synapse"),
    ("blocks/000000/weights", lambda values: values[:2], "do not belong to its tile"),
    ("blocks/000002/indptr", lambda values: values[[0, 2]], "1 targets for the 2 neurons"),
])
def test_parts_that_do_not_belong_together(stored: Path, name: str, change: Callable[[np.ndarray], object], said: str) -> None:
    assert said in replaced(stored, name, change)


POPULATION = ["in", [2, 3, 3], 0, True, False]


@pytest.mark.parametrize(("name", "key", "position", "value", "said"), [
    ("/", "target", 1, "", "variant"),
    ("/", "target", 0, 3, "does not hold"),
    ("/", "populations", 0, POPULATION[:4], "does not hold"),
    ("/", "populations", 0, ["in", [2, 3, 4], 0, True, False], "routes of 18 neurons instead of 24"),
    ("/", "populations", 0, ["in", [2, 3, 3], 0, False, False], "hold 0 of its 18 neurons"),
    ("/", "populations", 0, ["conv", [2, 3, 3], 0, True, False], "one name"),
    ("/", "populations", 0, ["in", [2, 0, 3], 0, True, False], "shape"),
    ("/", "populations", 2, ["out", [5], 2**20, False, True], "latency 1048576"),
    ("/", "populations", 2, ["out", [5], -1, False, True], "latency -1"),
    ("/", "populations", 2, ["out", [5], 2, False, False], "no population is an output"),
    ("/", "populations", 2, ["out", [10**12], 2, False, True], "hold 5 of its 1000000000000"),
    ("groups/000000", "header", 0, 2, "core 2 of 2"),
    ("groups/000000", "header", 0, -1, "core -1 of 2"),
    ("groups/000000", "header", 0, True, "does not hold"),
    ("groups/000000", "header", 1, 3, "population 3 of 3"),
    ("groups/000000", "header", 1, 0, "input port"),
    ("groups/000000", "header", 2, [[0, 4], [0, 2], [1, 3]], "outside population `conv`"),
    ("groups/000000", "header", 2, [[0, 16]], "outside population `conv`"),
    ("groups/000000", "header", 2, [[0, 4], [0, 2], [2, 0]], "outside population `conv`"),
    ("groups/000000", "header", 2, [0, 4], "pairs"),
    ("groups/000000", "header", 2, "[0, 4]", "does not hold"),
    ("groups/000000", "header", 3, None, "does not hold"),
    ("groups/000000", "arrays", "params", None, "does not list"),
    ("groups/000000", "arrays", "initial", ["u"], "initial/u` is missing"),
    ("blocks/000000", "arrays", "delays", True, "delays` is missing"),
    ("blocks/000001", "header", 0, 7, "core 7 of 2"),
    ("blocks/000001", "header", 0, 1, "serves neuron group 1 on core 0"),
    ("blocks/000001", "header", 1, 3, "neuron group 3 of 3"),
    ("blocks/000001", "header", 1, -1, "neuron group -1 of 3"),
    ("blocks/000001", "header", 2, 19, "beyond the 34"),
    ("blocks/000001", "header", 2, -1, "beyond the 34"),
    ("blocks/000001", "header", 3, -1, "no chip has"),
    ("blocks/000001", "header", 4, 64, "no chip has"),
    ("blocks/000001", "header", 4, 10**30, "no chip has"),
    ("blocks/000001", "header", 5, -1, "no chip has"),
    ("blocks/000001", "header", 5, 65, "payloads of 65"),
    ("blocks/000001", "header", 6, 65, "weights of 65 bits"),
    ("blocks/000001", "header", 6, 2**70, "no chip has"),
    ("blocks/000001", "header", 6, -1, "weights of -1 bits"),
    ("blocks/000001", "header", 7, "odd", "sign mode `odd`"),
    ("blocks/000000", "conv", 2, [[0, 2], [0, 3], [0, 4]], "outside its convolution"),
    ("blocks/000000", "conv", 3, [[0, 4], [0, 2], [1, 3]], "outside its convolution"),
    ("blocks/000000", "conv", 3, [[0, 4], [0, 2], [0, 1]], "8 targets for the 16 neurons"),
    ("blocks/000000", "conv", 0, [2, 3], "describe a convolution"),
    ("blocks/000000", "conv", 4, [0, 1], "describe a convolution"),
    ("blocks/000000", "conv", 5, [-1, 0], "describe a convolution"),
    ("blocks/000000", "conv", 6, ["1", 1], "describe a convolution"),
    ("blocks/000000", "conv", 7, 3, "do not belong to its tile"),
    ("blocks/000000", "conv", 7, 0, "describe a convolution"),
])
def test_wrong_words_in_a_header(stored: Path, name: str, key: str, position: int | str, value: object, said: str) -> None:
    with h5py.File(stored, "r+") as file:
        header = json.loads(file[name].attrs[key])
        header[position] = value
        file[name].attrs[key] = json.dumps(header)
    assert said in reason(stored)


@pytest.mark.parametrize("name", ["1", "000003", "first", "²"])
def test_routes_of_what_is_no_input_port(stored: Path, name: str) -> None:
    with h5py.File(stored, "r+") as file:
        file.copy("inputs/000000", f"inputs/{name}")
    assert "/inputs" in reason(stored)


def test_groups_are_numbered(stored: Path) -> None:
    with h5py.File(stored, "r+") as file:
        file.move("groups/000001", "groups/000007")
    assert "not numbered 0 to 2" in reason(stored)


def test_files_that_are_no_program(tmp_path: Path) -> None:
    reason(tmp_path / "missing.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    reason(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["schema"] = json.dumps("nmap.program/0")
    assert "nmap.program/0" in reason(tmp_path / "other.h5")


def test_a_cut_file(stored: Path, tmp_path: Path) -> None:
    content = stored.read_bytes()
    for part in range(1, 8):
        (tmp_path / "cut.h5").write_bytes(content[: len(content) * part // 8])
        reason(tmp_path / "cut.h5")


# ---- many small parts -------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example as a program of many groups and blocks is stored."""
    monkeypatch.setattr("nmap.program._LOOSE", 0)
    path = tmp_path / "packed.h5"
    write_program(example(), path)
    return path


def test_many_parts_are_packed_and_few_are_not(stored: Path) -> None:
    many = example()
    many = Program(
        many.target, many.variant, many.populations, many.cores, many.groups, many.blocks[1:2] * 300 + many.blocks, many.routes, many.inputs
    )
    with h5py.File(io.BytesIO(program_bytes(many)), "r") as file:
        assert json.loads(file.attrs["schema"]) == "nmap.program/3"
        assert set(file["blocks"]) == {"directory", "int8", "int16", "int32", "int64"}
    with h5py.File(stored, "r") as file:
        assert json.loads(file.attrs["schema"]) == "nmap.program/2"
        assert set(file["blocks"]) == {"000000", "000001", "000002"}


def test_packed_parts_are_read_back(packed: Path) -> None:
    assert plain(read_program(packed)) == plain(example())
    assert program_bytes(read_program(packed)) == packed.read_bytes()


@pytest.mark.parametrize("value", [0, 127, -128, 128, 2**15 - 1, -(2**15), 2**15, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63)])
def test_packed_numbers_of_every_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: int) -> None:
    monkeypatch.setattr("nmap.program._LOOSE", 0)
    before = example()
    group = before.groups[2]
    changed = NeuronGroup(1, 2, group.slice, "some.kernel", {"leak": np.array([value, 3])}, {})
    program = Program("some", "small", before.populations, before.cores, (*before.groups[:2], changed), before.blocks, before.routes,
                      before.inputs)
    write_program(program, tmp_path / "p.h5")
    found = read_program(tmp_path / "p.h5").groups[2].params["leak"]
    assert found.tolist() == [value, 3]
    assert found.dtype == np.int64


def edited(path: Path, name: str, change: Callable[[list], None]) -> str:
    """What is said of a directory that was changed."""
    with h5py.File(path, "r+") as file:
        listed = json.loads(bytes(file[f"{name}/directory"][()]))
        change(listed)
        del file[f"{name}/directory"]
        file[f"{name}/directory"] = np.frombuffer(json.dumps(listed).encode(), np.uint8)
    return reason(path)


def directory(*place: object, value: object) -> Callable[[list], None]:
    def change(listed: list) -> None:
        inner: object = listed
        for step in place[:-1]:
            inner = inner[step]  # type: ignore[index]
        inner[place[-1]] = value  # type: ignore[index]

    return change


@pytest.mark.parametrize(("name", "change", "said"), [
    ("blocks", directory(0, 1, "weights", 2, value=[5, 1, 2, 2]), "numbers left"),
    ("blocks", directory(0, 1, "weights", 2, value=[2**30, 2**30, 2**30, 2**30]), "numbers left"),
    ("blocks", directory(0, 1, "weights", 2, value=[-4, -1, 2, 2]), "does not say what `/blocks/000000/weights` holds"),
    ("blocks", directory(0, 1, "weights", 2, value=[True, 4, 2, 2]), "does not say"),
    ("blocks", directory(0, 1, "weights", 2, value=[1] * 40), "does not say"),
    ("blocks", directory(0, 1, "weights", 2, value=[16]), "rank 4"),
    ("blocks", directory(0, 1, "weights", 2, value=16), "does not say"),
    ("blocks", directory(0, 1, "weights", 1, value="int64"), "numbers left"),
    ("blocks", directory(0, 1, "weights", 1, value="float64"), "does not say"),
    ("blocks", directory(0, 1, "weights", 0, value="float32"), "does not say"),
    ("blocks", directory(0, 1, "weights", 0, value=["int8"]), "does not say"),
    ("blocks", directory(0, 1, "weights", value=None), "does not say"),
    ("blocks", directory(0, 1, value={}), "belong to no folder"),
    ("blocks", directory(0, 1, value=[]), "does not say what `/blocks/000000` holds"),
    ("blocks", directory(0, value={}), "does not say"),
    ("blocks", lambda listed: listed.pop(), "belong to no folder"),
    ("blocks", lambda listed: listed.append([{}, {}]), "attribute `header` of `/blocks/000003` is missing"),
    ("blocks", directory(1, 0, "header", 0, value=7), "core 7 of 2"),
    ("blocks", directory(1, 0, "header", value=None), "does not hold"),
    ("blocks", directory(0, 0, "conv", 7, value=3), "do not belong to its tile"),
    ("blocks", directory(2, 0, "in_size", value=15), "outside 0 to 14"),
    ("groups", directory(0, 0, "header", 1, value=3), "population 3 of 3"),
    ("groups", directory(0, 0, "arrays", "params", value=["nothing"]), "params/nothing` is missing"),
    ("groups", directory(1, 1, "neurons", 2, value=[4]), "numbers left"),
])
def test_packed_parts_that_contradict_themselves(packed: Path, name: str, change: Callable[[list], None], said: str) -> None:
    assert said in edited(packed, name, change)


@pytest.mark.parametrize("name", [f"{part}/{kind}" for part in ("groups", "blocks") for kind in ("directory", "int8", "int16", "int64")])
def test_packed_numbers_that_are_not_there(packed: Path, name: str) -> None:
    content = packed.read_bytes()
    for change in (
        lambda values: values[:-1] if values.size else np.zeros(1, values.dtype), lambda values: np.ones(values.size + 1, values.dtype),
        lambda values: values.astype(float), lambda values: values[None], lambda _: 3, lambda _: h5py.Empty("i8"),
    ):
        packed.write_bytes(content)
        replaced(packed, name, change)
    packed.write_bytes(content)
    with h5py.File(packed, "r+") as file:
        del file[name]
    reason(packed)


@pytest.mark.parametrize("name", ["groups/directory", "blocks/int8"])
def test_packed_numbers_are_not_taken_for_granted(packed: Path, name: str) -> None:
    """A header may claim a terabyte that takes no room in the file."""
    with h5py.File(packed, "r+") as file:
        kind = file[name].dtype
        del file[name]
        file.create_dataset(name, (2**40,), kind, chunks=(2**16,), compression="gzip")
    assert "claims 1099511627776 numbers" in reason(packed)


@pytest.mark.parametrize("text", [b"", b"{", b"null", b"7", b"[" * 100_000, b"\xff\xfe", b'{"a": 1}'])
def test_a_directory_that_is_none(packed: Path, text: bytes) -> None:
    with h5py.File(packed, "r+") as file:
        del file["blocks/directory"]
        file["blocks/directory"] = np.frombuffer(text, np.uint8)
    assert "directory" in reason(packed)


def test_settings_and_busy_populations_are_kept(tmp_path: Path) -> None:
    plain = example()
    populations = (*plain.populations[:1], replace(plain.populations[1], busy=2.5), *plain.populations[2:])
    program = replace(plain, populations=populations, settings={"timestep_us": 100, "time_scale": 3})
    write_program(program, tmp_path / "program.h5")
    back = read_program(tmp_path / "program.h5")
    assert back.settings == {"timestep_us": 100, "time_scale": 3}
    assert [p.busy for p in back.populations] == [None, 2.5, None]
    assert b"settings" not in program_bytes(plain)


@pytest.mark.parametrize("settings", ["[1]", '{"timestep_us": 0.5}', '{"timestep_us": "x"}', '"x"'])
def test_settings_that_are_no_whole_numbers_are_refused(settings: str, tmp_path: Path) -> None:
    write_program(example(), tmp_path / "program.h5")
    with h5py.File(tmp_path / "program.h5", "r+") as file:
        file.attrs["settings"] = settings
    with pytest.raises(NmapError) as caught:
        read_program(tmp_path / "program.h5")
    assert "settings" in str(caught.value.diagnostics[0].why)


@pytest.mark.parametrize("busy", ["-1", "1e999", "true", '"x"'])
def test_a_busy_step_that_there_is_not_is_refused(busy: str, tmp_path: Path) -> None:
    write_program(example(), tmp_path / "program.h5")
    with h5py.File(tmp_path / "program.h5", "r+") as file:
        rows = file.attrs["populations"]
        file.attrs["populations"] = rows.replace("true, false]", f"true, false, {busy}]", 1)
    with pytest.raises(NmapError) as caught:
        read_program(tmp_path / "program.h5")
    assert caught.value.diagnostics[0].code == "NM602"
