"""An untrusted file must not reach other files, load code, or make the reader allocate what it does not hold."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from h5py import h5d, h5p, h5s, h5t, h5z

from nmap.diagnostics import Findings
from nmap.readers import hdf5, read
from nmap.readers.hdf5 import Group, Tree, printable
from nmap.readers.nir import read_nir
from nmap.readers.sniff import open_tree
from tests.unit.readers.builders import chain, if_, lif, linear, port, refused, sink, write_nir

_NODES = {"in": port(2), "w": linear(np.ones((2, 2))), "n": if_(2), "out": sink(2)}
_EDGES = chain("in", "w", "n", "out")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_nir(tmp_path / "net.nir", _NODES, _EDGES)


def test_soft_links_are_not_followed(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/nodes/w/weight"]
        file["elsewhere"] = np.ones((2, 2))
        file["node/nodes/w/weight"] = h5py.SoftLink("/elsewhere")
    with refused("NM109") as found:
        read(path)
    assert found[0].where == f"{path}:/node/nodes/w/weight"


def test_external_links_are_not_followed(path: Path, tmp_path: Path) -> None:
    other = write_nir(tmp_path / "other.nir", _NODES, _EDGES)
    with h5py.File(path, "a") as file:
        del file["node/nodes/w/weight"]
        file["node/nodes/w/weight"] = h5py.ExternalLink(str(other), "/node/nodes/w/weight")
    with refused("NM109") as found:
        read(path)
    assert "external link" in found[0].message


def test_an_external_root_is_not_followed(path: Path, tmp_path: Path) -> None:
    outer = tmp_path / "outer.nir"
    with h5py.File(outer, "w") as file:
        file["node"] = h5py.ExternalLink(str(path), "/node")
    with refused("NM102", "NM109"):
        read(outer)


def test_external_storage_and_virtual_datasets_are_refused(path: Path, tmp_path: Path) -> None:
    (tmp_path / "raw.bin").write_bytes(bytes(32))
    with h5py.File(path, "a") as file:
        del file["node/nodes/w/weight"]
        file["node/nodes/w"].create_dataset("weight", (2, 2), "f8", external=[(str(tmp_path / "raw.bin"), 0, 32)])
        layout = h5py.VirtualLayout((2,), "f8")
        layout[:] = h5py.VirtualSource(str(tmp_path / "raw.nir"), "x", (2,))
        del file["node/nodes/n/r"]
        file["node/nodes/n"].create_virtual_dataset("r", layout)
    with refused("NM109", "NM109"):
        read(path)


def test_declared_sizes_are_checked_before_memory_is_asked_for(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/nodes/w/weight"]
        file["node/nodes/w"].create_dataset("weight", (2**20, 2**20), "f4", chunks=(64, 64))
    with refused("NM110") as found:
        read(path)
    assert str(2**40) in found[0].message


def test_more_than_a_gibibyte_is_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/nodes/w/weight"]
        file["node/nodes/w"].create_dataset("weight", (2**14, 2**14 + 1), "f4", chunks=(64, 64))
    with refused("NM110"):
        read(path)


def test_an_array_that_was_declared_but_never_written_is_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/nodes/w/weight"]
        file["node/nodes/w"].create_dataset("weight", (2, 2), "f4", chunks=(2, 2))
    with refused("NM103"):
        read(path)


def test_a_mostly_absent_array_is_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/nodes/w/weight"]
        data = file["node/nodes/w"].create_dataset("weight", (8192, 8192), "f4", chunks=(16, 16))
        data[:16, :16] = 1
    with refused("NM110"):
        read(path)


def test_compressed_constant_parameters_are_read(tmp_path: Path) -> None:
    n = 40_000
    path = write_nir(tmp_path / "net.nir", {"in": port(n), "n": if_(n), "out": sink(n)}, chain("in", "n", "out"))
    with h5py.File(path, "a") as file:
        for entry in ("r", "v_threshold"):
            del file[f"node/nodes/n/{entry}"]
            file["node/nodes/n"].create_dataset(entry, data=np.ones(n), compression="gzip", compression_opts=9, shuffle=True)
    assert read(path).neurons == n


def test_a_declared_input_without_storage_behind_it_allocates_nothing(tmp_path: Path) -> None:
    scalar = {"type": "LIF", "tau": 1e-3, "r": 10.0, "v_leak": 0.0, "v_threshold": 1.0}
    huge = write_nir(tmp_path / "huge.nir", {"in": port(1, 2**15, 2**15), "n": scalar, "out": sink(1)}, chain("in", "n"))
    with h5py.File(huge, "a") as file:
        del file["node/edges"]
        file["node"].create_dataset("edges", data=np.array([["in", "n"], ["n", "out"]], object), dtype=h5py.string_dtype())
        del file["node/nodes/out/shape"]
    with refused("NM110"):
        read(huge)
    beyond = write_nir(tmp_path / "beyond.nir", {"in": port(2**20, 2**20), "n": scalar, "out": sink(1)}, chain("in", "n", "out"))
    with refused("NM110"):
        read(beyond)


@pytest.mark.parametrize("inside", ["node/nodes", "node/nodes/n", "node/metadata"])
@pytest.mark.parametrize("target", ["/", "node"])
def test_a_group_that_lies_in_itself_is_refused(path: Path, inside: str, target: str) -> None:
    with h5py.File(path, "a") as file:
        file.require_group(inside)["loop" if inside.endswith("s") else "nmap"] = file[target]
    with open_tree(path, Findings()) as tree:
        group: Group | None = tree.root
        for name in inside.split("/"):
            group = group.group(name) if group else None
        assert group is not None
        assert group.group(group.names()[0] if inside.endswith("data") else "loop" if inside.endswith("s") else "nmap") is None
        assert [d.code for d in tree.findings] == ["NM109"]
        assert "lies in" in next(iter(tree.findings)).message


def test_a_graph_that_contains_itself_is_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["node/nodes/loop"] = file["node"]
    with refused("NM109", "NM103") as found:
        read(path)
    assert found[0].where == f"{path}:/node/nodes/loop"


def test_a_soft_link_cycle_is_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/nodes/w/weight"]
        file["node/nodes/w/weight"] = h5py.SoftLink("/node/nodes/w/weight")
    with refused("NM109"):
        read(path)


def test_text_where_numbers_belong(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/nodes/w/weight"]
        file["node/nodes/w/weight"] = "__import__('os').system('true')"
    with refused("NM107"):
        read(path)


def test_every_problem_of_the_entries_is_reported_at_once(tmp_path: Path) -> None:
    nodes = {
        "in": port(2), "d": {"type": "Warp", "delay": np.ones(2)}, "s": {"type": "Spline"}, "out": sink(2),
        "n": lif(2, tau=float("nan")), "m": {"type": "LIF", "tau": np.ones(2)},
    }  # fmt: skip
    path = write_nir(tmp_path / "net.nir", nodes, [*chain("in", "d", "s", "n", "m"), ("m", "nowhere")])
    with refused("NM104", "NM104", "NM107", "NM103", "NM105") as found:
        read(path)
    by_code = {d.code: d for d in found}
    assert by_code["NM107"].where == f"{path}:/node/nodes/n/tau[0]"
    assert "`nowhere`" in by_code["NM105"].message
    assert {"`Warp`", "`Spline`"} <= {word.strip(",") for d in found if d.code == "NM104" for word in d.message.split()}
    assert "`r`, `v_leak`, `v_threshold`" in by_code["NM103"].message


def test_a_heap_that_would_make_the_library_walk_for_ever_is_refused(path: Path) -> None:
    content = bytearray(path.read_bytes())
    start = content.find(b"GCOL")
    position = start + 16
    while int.from_bytes(content[position : position + 2], "little"):
        position += 16 + -(-int.from_bytes(content[position + 8 : position + 16], "little") // 8) * 8
    content[position + 8 : position + 16] = bytes(8)
    path.write_bytes(content)
    with refused("NM103") as found:
        read(path)
    assert f"offset {start}" in found[0].message


@pytest.mark.parametrize("field", [0, 4, 12])
def test_a_string_that_points_nowhere_is_refused(path: Path, field: int) -> None:
    with h5py.File(path) as file:
        offset = file["node/nodes/n/type"].id.get_offset()
    content = bytearray(path.read_bytes())
    content[offset + field : offset + field + 4] = b"\xff\xff\xff\x7f"
    path.write_bytes(content)
    with refused("NM103") as found:
        read(path)
    assert found[0].where == f"{path}:/node/nodes/n/type"


@pytest.mark.parametrize("options", [{"userblock_size": 1024}, {"libver": "latest"}, {"libver": "earliest"}, {"track_order": True}])
def test_variants_of_the_container_are_read(path: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    other = tmp_path / "other.nir"
    with h5py.File(path) as old, h5py.File(other, "w", **options) as new:
        for name in old:
            old.copy(name, new)
    assert [p.name for p in read(other).populations] == ["in", "n"]


def test_chunked_names_and_names_of_fixed_length_are_read(path: Path) -> None:
    with h5py.File(path, "a") as file:
        edges = file["node/edges"][()]
        del file["node/edges"]
        file["node"].create_dataset("edges", data=edges, dtype=h5py.string_dtype(), chunks=(1, 2), compression="gzip")
        del file["node/nodes/n/type"]
        file["node/nodes/n/type"] = np.array([b"IF"], "S10")
    assert [p.name for p in read(path).populations] == ["in", "n"]


# What an array may hold


@contextmanager
def stored(tmp_path: Path, write: Callable[[Any], None]) -> Iterator[Tree]:
    """Open a file that `write` has filled."""
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        write(file)
    with open_tree(path, Findings()) as tree:
        yield tree


def codes(tree: Tree) -> list[str]:
    return [d.code for d in tree.findings]


def create(file: Any, dtype: Any, shape: tuple[int, ...], set_up: Callable[[Any], None] = lambda plist: None, name: bytes = b"x") -> Any:
    """Create a dataset through the library's own interface."""
    plist = h5p.create(h5p.DATASET_CREATE)
    set_up(plist)
    return h5d.create(file.id, name, dtype, h5s.create_simple(shape), plist)


NUMBERS = ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "i1", "u1", "<i2", ">i2", "<u4", ">u8", "<i8", "?"]


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (3, 2)},
        {"chunks": (3, 2), "compression": "gzip"},
        {"chunks": (2, 4), "compression": "lzf", "shuffle": True},
        {"chunks": (4, 3), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (5, 7), "fletcher32": True},
        {"chunks": (1, 7), "shuffle": True, "maxshape": (None, None)},
    ],
)
def test_numbers_of_every_kind_and_storage_are_read_in_native_order(tmp_path: Path, dtype: str, options: dict[str, Any]) -> None:
    values = np.arange(-17, 18).reshape(5, 7).astype(dtype)
    with stored(tmp_path, lambda file: file.create_dataset("x", data=values, **options)) as tree:
        read_back = tree.root.array("x")
    assert read_back is not None
    assert read_back.dtype == np.dtype(dtype).newbyteorder("=")
    assert read_back.dtype.isnative
    assert read_back.flags.aligned
    np.testing.assert_array_equal(read_back, values)


@pytest.mark.parametrize("options", [{"compression": "gzip"}, {"compression": "lzf"}, {"compression": "gzip", "shuffle": True}, {}])
def test_larger_arrays_are_put_together_from_their_chunks(tmp_path: Path, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(3)
    values = np.where(rng.random((131, 77, 3)) < 0.7, 0, rng.normal(size=(131, 77, 3))).astype("<f4")
    with stored(tmp_path, lambda file: file.create_dataset("x", data=values, chunks=(50, 10, 2), fletcher32=True, **options)) as tree:
        np.testing.assert_array_equal(tree.root.array("x"), values)


@pytest.mark.parametrize(("count", "second"), [(16, 9), (100_000, 90_001)])
def test_a_checksum_tells_words_that_changed_places(tmp_path: Path, count: int, second: int) -> None:
    values = np.random.default_rng(7).permutation(np.arange(count) % 60_000).astype(">u2")
    name = tmp_path / "x.h5"
    with h5py.File(name, "w") as file:
        file.create_dataset("x", data=values, chunks=values.shape, fletcher32=True)
    content, raw = bytearray(name.read_bytes()), values.tobytes()
    start = content.index(raw)
    one, other = start + 2 * 5, start + 2 * second
    assert content[one : one + 2] != content[other : other + 2]
    # The plain sum of all words stays the same.
    content[one : one + 2], content[other : other + 2] = content[other : other + 2], content[one : one + 2]
    name.write_bytes(content)
    with open_tree(name, Findings()) as tree:
        assert tree.root.array("x") is None
        assert codes(tree) == ["NM103"]


def test_long_doubles_become_doubles(tmp_path: Path) -> None:
    with stored(tmp_path, lambda file: file.create_dataset("x", data=np.array([1.5, -2.25], np.longdouble))) as tree:
        read_back = tree.root.array("x")
    assert read_back is not None
    assert read_back.dtype == np.float64
    assert read_back.tolist() == [1.5, -2.25]


def test_numbers_that_numpy_lacks_are_widened(tmp_path: Path) -> None:
    brain = h5t.IEEE_F32LE.copy()
    brain.set_fields(15, 7, 8, 0, 7)
    brain.set_size(2)
    brain.set_ebias(127)
    twelve = h5t.STD_I16LE.copy()
    twelve.set_precision(12)

    def write(file: Any) -> None:
        for name, dtype, values in ((b"b", brain, np.array([1.5, -0.25, 3.0], "f4")), (b"t", twelve, np.array([-2048, 5, 2047], "i2"))):
            create(file, dtype, (3,), name=name).write(h5s.ALL, h5s.ALL, values)

    with stored(tmp_path, write) as tree:
        bf16, i12 = tree.root.array("b"), tree.root.array("t")
        assert not codes(tree)
    assert bf16 is not None
    assert i12 is not None
    assert bf16.tolist() == [1.5, -0.25, 3.0]
    assert i12.tolist() == [-2048, 5, 2047]


def test_compact_arrays_committed_types_scalars_and_empty_ones_are_read(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        create(file, h5t.STD_I32BE, (3,), lambda plist: plist.set_layout(h5d.COMPACT)).write(h5s.ALL, h5s.ALL, np.arange(3, dtype="i4"))
        file["type"] = np.dtype(">f4")
        file.create_dataset("committed", data=np.array([0.5, 1.5]), dtype=file["type"])
        file["scalar"] = 7
        file["none"] = h5py.Empty("f4")
        file["zero"] = np.zeros((0, 3))

    with stored(tmp_path, write) as tree:
        values = {name: tree.root.array(name) for name in ("x", "committed", "scalar", "none", "zero")}
        assert not codes(tree)
    assert {name: (v.shape, v.tolist()) for name, v in values.items() if v is not None} == {
        "x": ((3,), [0, 1, 2]), "committed": ((2,), [0.5, 1.5]), "scalar": ((), 7), "none": ((0,), []), "zero": ((0, 3), []),
    }  # fmt: skip


_PAIR = np.dtype([("a", "f4"), ("b", "i4")])


@pytest.mark.parametrize(
    ("write", "kind"),
    [
        (lambda file: file.create_dataset("x", data=np.ones(2, complex)), "complex numbers"),
        (lambda file: file.create_dataset("x", data=np.zeros(2, _PAIR)), "compound data"),
        (lambda file: file.create_dataset("x", data=np.zeros(2, "V5")), "opaque data"),
        (lambda file: file.create_dataset("x", data=file.ref, dtype=h5py.ref_dtype), "references"),
        (lambda file: file.create_dataset("x", (2,), dtype=h5py.regionref_dtype), "references"),
        (lambda file: file.create_dataset("x", (2,), dtype=h5py.vlen_dtype("i4")), "lists of variable length"),
        (lambda file: file.create_dataset("x", (2,), dtype=np.dtype(("f4", (3,)))), "arrays of fixed size"),
        (lambda file: create(file, h5t.STD_B8LE, (2,)), "bit fields"),
        (lambda file: file.create_dataset("x", data="text"), "strings"),
    ],
)
def test_what_is_not_numbers_is_named(tmp_path: Path, write: Callable[[Any], None], kind: str) -> None:
    with stored(tmp_path, write) as tree:
        assert tree.root.array("x") is None
        assert codes(tree) == ["NM107"]
        assert kind in next(iter(tree.findings)).message
        if kind != "strings":
            assert tree.root.strings("x") is None
            assert codes(tree) == ["NM107", "NM104"]


def test_groups_and_types_are_no_data(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        file.create_group("g")
        file["t"] = np.dtype("f4")

    with stored(tmp_path, write) as tree:
        assert [tree.root.array(name) for name in ("g", "t", "absent")] == [None] * 3
        assert codes(tree) == ["NM103", "NM103"]


# Declared sizes


@pytest.mark.parametrize(
    ("shape", "codes_"),
    [((1,) * 8, []), ((1,) * 9, ["NM110"]), ((1,) * 32, ["NM110"]), ((0, 2**40), ["NM110"]), ((2**33, 0, 1), ["NM110"])],
)
def test_ranks_and_lengths_of_axes_are_limited(tmp_path: Path, shape: tuple[int, ...], codes_: list[str]) -> None:
    values = np.ones(shape, "f4") if 0 not in shape else None
    with stored(tmp_path, lambda file: file.create_dataset("x", shape, "f4", data=values)) as tree:
        assert (tree.root.array("x") is None) == bool(codes_)
        assert codes(tree) == codes_


def _chunk(file: Any, content: bytes, filters: Callable[[Any], None], shape: tuple[int, ...] = (2, 2)) -> None:
    def set_up(plist: Any) -> None:
        plist.set_chunk(shape)
        filters(plist)

    create(file, h5t.IEEE_F64LE, shape, set_up).write_direct_chunk((0,) * len(shape), content)


def test_a_chunk_that_inflates_to_more_than_it_declares_is_refused(tmp_path: Path) -> None:
    # 256 MiB from 255 KiB, in a chunk of 32 bytes: the library doubles its buffer until the stream ends.
    bomb = zlib.compressobj(9)
    content = b"".join([*(bomb.compress(bytes(2**22)) for _ in range(64)), bomb.flush()])
    with stored(tmp_path, lambda file: _chunk(file, content, lambda plist: plist.set_deflate(9))) as tree:
        assert tree.root.array("x") is None
        assert codes(tree) == ["NM103"]
        assert "more than it declares" in str(next(iter(tree.findings)).why)


def test_nested_compression_is_refused(tmp_path: Path) -> None:
    def twice(plist: Any) -> None:
        plist.set_deflate(9)
        plist.set_filter(h5z.FILTER_DEFLATE, h5z.FLAG_MANDATORY, (9,))

    with stored(tmp_path, lambda file: _chunk(file, zlib.compress(zlib.compress(bytes(32))), twice)) as tree:
        assert tree.root.array("x") is None
        assert codes(tree) == ["NM109"]
        assert "twice" in next(iter(tree.findings)).message


@pytest.mark.parametrize("number", [h5z.FILTER_SCALEOFFSET, 305, 32001])
def test_other_filters_are_refused_and_none_is_loaded(tmp_path: Path, number: int) -> None:
    def write(file: Any) -> None:
        if number == h5z.FILTER_SCALEOFFSET:
            file.create_dataset("x", data=np.arange(6), scaleoffset=True)
        else:
            _chunk(file, bytes(32), lambda plist: plist.set_filter(number, h5z.FLAG_OPTIONAL, ()))

    with stored(tmp_path, write) as tree:
        assert tree.root.array("x") is None
        assert codes(tree) == ["NM109"]


def test_n_bit_packing_is_refused(tmp_path: Path) -> None:
    def packed(plist: Any) -> None:
        plist.set_chunk((4,))
        plist.set_filter(h5z.FILTER_NBIT, h5z.FLAG_OPTIONAL, ())

    with stored(tmp_path, lambda file: create(file, h5t.STD_I16LE, (4,), packed).write(h5s.ALL, h5s.ALL, np.arange(4, dtype="i2"))) as tree:
        assert tree.root.array("x") is None
        assert codes(tree) == ["NM109"]


def test_a_chunk_of_gigabytes_around_little_data_is_refused(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        space = h5s.create_simple((4,), (h5s.UNLIMITED,))
        plist = h5p.create(h5p.DATASET_CREATE)
        plist.set_chunk((2**28,))
        plist.set_deflate(1)
        h5d.create(file.id, b"x", h5t.IEEE_F64LE, space, plist).write_direct_chunk((0,), zlib.compress(bytes(32)))

    with stored(tmp_path, write) as tree:
        assert tree.root.array("x") is None
        assert codes(tree) == ["NM110"]
        assert "chunk" in next(iter(tree.findings)).message


def test_too_many_chunks_are_refused(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        data = file.create_dataset("x", (2**9 + 1, 2**9), "i1", chunks=(1, 1))
        data[:40, :40] = 1

    with stored(tmp_path, write) as tree:
        assert tree.root.array("x") is None
        assert codes(tree) == ["NM110"]
        assert str(hdf5.MAX_CHUNKS) in next(iter(tree.findings)).message


def test_a_partly_written_array_is_refused(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        file.create_dataset("x", (8,), "f4", chunks=(4,))[:4] = 1

    with stored(tmp_path, write) as tree:
        assert tree.root.array("x") is None
        assert codes(tree) == ["NM103"]
        assert "never written" in str(next(iter(tree.findings)).why)


def test_stored_bytes_unpacked_again_and_again_are_counted(tmp_path: Path) -> None:
    with stored(tmp_path, lambda file: file.create_dataset("x", data=np.ones(1000), compression="gzip")) as tree:
        tree.look_at(hdf5.MAX_TOTAL_BYTES)
        assert tree.root.array("x") is None
        assert codes(tree) == ["NM103"]


def test_an_unlimited_virtual_dataset_opens_no_source(tmp_path: Path) -> None:
    # Opening a FIFO that nobody writes to would wait for ever.
    os.mkfifo(tmp_path / "source0.h5")

    def write(file: Any) -> None:
        layout = h5py.VirtualLayout((4,), "f8", maxshape=(None,))
        layout[0:4] = h5py.VirtualSource(str(tmp_path / "source0.h5"), "x", (4,), maxshape=(None,))[0:4]
        file.create_virtual_dataset("x", layout)

    with stored(tmp_path, write) as tree:
        assert tree.root.array("x") is None
        assert codes(tree) == ["NM109"]


# Strings


@pytest.mark.parametrize(
    "options",
    [
        {}, {"chunks": (2, 2)}, {"chunks": (1, 2), "compression": "gzip"}, {"chunks": (2, 1), "compression": "gzip", "shuffle": True},
        {"chunks": (3, 2), "compression": "lzf"}, {"maxshape": (None, 2)},
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [h5py.string_dtype(), h5py.string_dtype("ascii"), h5py.string_dtype("utf-8", 12), "S12"])
def test_names_of_every_storage_are_read(tmp_path: Path, options: dict[str, Any], dtype: Any) -> None:
    names = [["a", "b0"], ["b0", "a rather"], ["", "c"]]
    values = np.array(names, dtype)
    with stored(tmp_path, lambda file: file.create_dataset("x", data=values, dtype=dtype, **options)) as tree:
        read_back = tree.root.strings("x")
    assert read_back is not None
    assert read_back.tolist() == names


def test_names_inside_an_object_header_are_refused(tmp_path: Path) -> None:
    text = h5t.py_create(h5py.string_dtype(), logical=True)
    with stored(tmp_path, lambda file: create(file, text, (1,), lambda plist: plist.set_layout(h5d.COMPACT))) as tree:
        assert tree.root.string("x") is None
        assert codes(tree) == ["NM109"]


def test_a_text_ends_at_its_first_nul_as_in_c(tmp_path: Path) -> None:
    with stored(tmp_path, lambda file: file.create_dataset("x", data=np.array([b"IF\0LIF"], "S8"))) as tree:
        assert tree.root.string("x") == "IF"


@pytest.mark.parametrize("length", [hdf5.MAX_NAME, hdf5.MAX_NAME + 1])
def test_long_texts_are_refused(tmp_path: Path, length: int) -> None:
    with stored(tmp_path, lambda file: file.create_dataset("x", data="x" * length)) as tree:
        assert (tree.root.string("x") is None) == (length > hdf5.MAX_NAME)
        assert codes(tree) == ["NM110"] * (length > hdf5.MAX_NAME)


@pytest.mark.parametrize("chunks", [None, (4096,)])
def test_names_that_all_point_at_one_text_do_not_multiply(tmp_path: Path, chunks: tuple[int, ...] | None) -> None:
    path = tmp_path / "file.h5"
    count = 2**15
    with h5py.File(path, "w") as file:
        file.create_dataset("x", data=["y" * 1000, *["z"] * (count - 1)], dtype=h5py.string_dtype(), chunks=chunks)
        data = file["x"].id
        places = [data.get_offset()] if chunks is None else [data.get_chunk_info(k).byte_offset for k in range(data.get_num_chunks())]
    content = bytearray(path.read_bytes())
    record = content[places[0] : places[0] + 16]
    for place in places:
        length = 16 * count // len(places)
        content[place : place + length] = record * (length // 16)
    path.write_bytes(content)
    with open_tree(path, Findings()) as tree:
        assert tree.root.strings("x") is None
        assert codes(tree) == ["NM110"]
        assert "longer than the file" in next(iter(tree.findings)).message


def test_too_many_names_are_refused(tmp_path: Path) -> None:
    with stored(tmp_path, lambda file: file.create_dataset("x", data=np.full(hdf5.MAX_STRINGS + 1, b"a"))) as tree:
        assert tree.root.strings("x") is None
        assert codes(tree) == ["NM110"]


@pytest.mark.parametrize("field", [0, 4, 12])
def test_a_chunked_string_that_points_nowhere_is_refused(tmp_path: Path, field: int) -> None:
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        place = file.create_dataset("x", data=["abc"], dtype=h5py.string_dtype(), chunks=(1,)).id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + field : place + field + 4] = b"\xff\xff\xff\x7f"
    path.write_bytes(content)
    with open_tree(path, Findings()) as tree:
        assert tree.root.strings("x") is None
        assert codes(tree) == ["NM103"]


# Attributes


def test_attributes_are_numbers_or_texts_of_fixed_length(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        file.attrs.update({"dt": 0.5, "n": 3, "kind": np.bytes_(b"NIR\x1b"), "free": "text", "many": [1, 2]})
        file.attrs["long"] = np.bytes_(b"x" * 2000)

    with stored(tmp_path, write) as tree:
        found = {name: tree.root.attribute(name) for name in ("dt", "n", "kind", "free", "many", "long", "absent")}
        assert found == {"dt": 0.5, "n": 3.0, "kind": "NIR\\x1b", "free": None, "many": None, "long": None, "absent": None}
        assert [tree.root.has_attribute(name) for name in ("free", "absent")] == [True, False]
        assert not codes(tree)


def test_an_attribute_whose_text_points_nowhere_does_no_harm(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["node"].attrs["note"] = "some text that is found again"
        file.attrs["note"] = "x"
    content = bytearray(path.read_bytes())
    at = content.find(b"note\0")
    while at >= 0:
        # Name, type and shape are padded to 8 bytes; the record of the text comes last.
        content[at + 8 : at + 96] = content[at + 8 : at + 96].replace((29).to_bytes(4, "little"), b"\xff\xff\xff\x7f")
        at = content.find(b"note\0", at + 1)
    path.write_bytes(content)
    assert read(path).neurons == 2


# Names


HOSTILE = ["\x1b[31mred\x1b[0m", "new\nline", "bell\x07", "\u202egnp.exe", "\ufeffbom", "a\u2028b", "tab\there"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_that_would_steer_a_terminal_are_escaped(tmp_path: Path, name: str) -> None:
    nodes = {"in": port(2), name: if_(2), "out": sink(2)}
    network = read(write_nir(tmp_path / "net.nir", nodes, chain("in", name, "out")))
    shown = network.populations[1].name
    assert shown.isprintable()
    assert shown == name.encode("unicode_escape").decode()


def test_a_type_that_would_steer_a_terminal_is_escaped(tmp_path: Path) -> None:
    nodes = {"in": port(2), "n": {"type": "\x1b[2JLIF"}, "out": sink(2)}
    with refused("NM104") as found:
        read(write_nir(tmp_path / "net.nir", nodes, chain("in", "n", "out")))
    assert "`\\x1b[2JLIF`" in found[0].message


def test_names_that_are_not_utf8_are_escaped_and_still_match(path: Path) -> None:
    with h5py.File(path, "a") as file:
        nodes = file["node/nodes"].id
        nodes.links.move(b"n", nodes, b"caf\xe9")
        edges = np.array([[b"in", b"w"], [b"w", b"caf\xe9"], [b"caf\xe9", b"out"]], "S8")
        del file["node/edges"]
        file["node/edges"] = edges
    assert [p.name for p in read(path).populations] == ["in", "caf\\xe9"]


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("\u5c3e", "\u05e9\u05dc\u05d5\u05dd", "back\\slash", "a b", "\U0001f642", ""):
        assert printable(name) == printable(name.encode()) == name


def test_names_that_print_alike_are_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["node/nodes"].copy("n", "a\x1b")
        file["node/nodes"].copy("n", "a\\x1b")
    with refused("NM109") as found:
        read(path)
    assert "printed like another" in found[0].message


def test_long_names_are_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["node/nodes"].copy("n", "x" * 60_000)
    with refused("NM110") as found:
        read(path)
    assert "60000 bytes" in found[0].message
    assert all(len(text) < 500 for d in found for text in (d.message, d.where or ""))


@pytest.mark.parametrize("name", [b"a/b", b"/ab", b"..", b"."])
def test_a_name_that_is_a_path_is_refused(path: Path, tmp_path: Path, name: bytes) -> None:
    # Such a name would be looked up piece by piece, through an external link if there is one. The library never writes one.
    stands_for = b"QXQ"[: len(name)]
    with h5py.File(path, "a") as file:
        file["node/nodes"].copy("n", stands_for.decode())
        file["node/nodes/a"] = h5py.SoftLink("/")
    content = path.read_bytes()
    assert content.count(stands_for + b"\0") == 1
    path.write_bytes(content.replace(stands_for + b"\0", name + b"\0"))
    with open_tree(path, Findings()) as tree:
        nodes = tree.root.group("node")
        nodes = nodes.group("nodes") if nodes else None
        assert nodes is not None
        if name == b"..":
            # To HDF5 this is a name as any other.
            assert nodes.group("..") is not None
        else:
            assert name.decode() not in nodes
            assert nodes.group(name.decode()) is None
            assert codes(tree) == ["NM109"]


def test_a_user_defined_link_is_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/nodes/w/weight"]
        file["node/nodes/w/weight"] = h5py.ExternalLink("elsewhere.h5", "/x")
    content = bytearray(path.read_bytes())
    # A link message: version, flags, kind of link (64 is external), ..., name, ...; kinds from 65 on are a program's own.
    at = content.rfind(b"\x40", 0, content.find(b"weight", content.find(b"elsewhere.h5") - 40))
    content[at] = 65
    path.write_bytes(content)
    with refused("NM109") as found:
        read(path)
    assert "user-defined link" in found[0].message


def test_a_group_of_a_hundred_thousand_members_is_refused(tmp_path: Path) -> None:
    def write(file: Any) -> None:
        group, _ = file.create_group("g").id, file.create_group("t")
        for k in range(hdf5.MAX_MEMBERS + 1):
            group.links.create_hard(b"%d" % k, file.id, b"t")

    with stored(tmp_path, write) as tree:
        group = tree.root.group("g")
        assert group is not None
        assert group.names() == ()
        assert codes(tree) == ["NM110"]


def test_graphs_nested_without_end_are_refused(path: Path) -> None:
    with h5py.File(path, "a") as file:
        group = file["node"]
        for _ in range(300):
            file.copy("node/nodes/in", group.require_group("nodes"), "in2")
            group = group["nodes"].create_group("deeper")
            group["type"] = "NIRGraph"
            group.create_dataset("edges", (0, 2), dtype=h5py.string_dtype())
            group.create_group("nodes")
    with refused("NM110") as found:
        read(path)
    assert "deep" in found[0].message


# The file as a whole


def test_the_file_may_vanish_once_it_is_open(path: Path) -> None:
    content = path.read_bytes()
    with open_tree(path, Findings()) as tree:
        path.write_bytes(b"\0" * 10)
        path.unlink()
        node = tree.root.group("node")
        assert node is not None
        assert node.string("type") == "NIRGraph"
        assert tree.sha256 == hashlib.sha256(content).hexdigest()


def test_no_file_stays_open(path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list open files under /proc")
    before = {p.name for p in descriptors.iterdir()}
    with open_tree(path, Findings()) as tree:
        assert {p.name for p in descriptors.iterdir()} == before
        assert tree.root.names() == ("node", "version")


def test_the_library_does_not_write_into_the_file_it_was_given(path: Path) -> None:
    content = path.read_bytes()
    with open_tree(path, Findings()) as tree:
        read_nir(tree, tree.sha256, dt=None, reset=None, source=None)
    assert tree.content == content
