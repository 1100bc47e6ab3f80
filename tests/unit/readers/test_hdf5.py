"""An untrusted file must not reach other files, load code, or make the reader allocate what it does not hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap.readers import read
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


def test_a_graph_that_contains_itself_ends(path: Path) -> None:
    with h5py.File(path, "a") as file:
        file["node/nodes/loop"] = file["node"]
    with refused("NM110"):
        read(path)


def test_metadata_that_contain_themselves_end(path: Path) -> None:
    with h5py.File(path, "a") as file:
        metadata = file["node"].create_group("metadata")
        metadata["dt"] = 1e-3
        metadata["nmap"] = metadata
    assert read(path).conventions.dt == 1e-3


def test_text_where_numbers_belong(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/nodes/w/weight"]
        file["node/nodes/w/weight"] = "__import__('os').system('true')"
    with refused("NM107"):
        read(path)


def test_every_problem_of_the_entries_is_reported_at_once(tmp_path: Path) -> None:
    nodes = {
        "in": port(2), "d": {"type": "Delay", "delay": np.ones(2)}, "s": {"type": "Spline"}, "out": sink(2),
        "n": lif(2, tau=float("nan")), "m": {"type": "LIF", "tau": np.ones(2)},
    }  # fmt: skip
    path = write_nir(tmp_path / "net.nir", nodes, [*chain("in", "d", "s", "n", "m"), ("m", "outt")])
    with refused("NM104", "NM104", "NM107", "NM103", "NM105") as found:
        read(path)
    by_code = {d.code: d for d in found}
    assert by_code["NM107"].where == f"{path}:/node/nodes/n/tau[0]"
    assert by_code["NM105"].help == ("nearest name: `out`",)
    assert {"`Delay`", "`Spline`"} <= {word.strip(",") for d in found if d.code == "NM104" for word in d.message.split()}
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
