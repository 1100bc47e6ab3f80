from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap.diagnostics import Findings
from nmap.readers import read, storage
from nmap.readers.sniff import open_tree
from nmap.readers.storage import MAX_FILE_BYTES, Unaccepted, snapshot
from tests.unit.readers.builders import chain, cuba, if_, port, refused, sink, write_netx, write_nir


def _attr(name: str, value: str) -> Callable[[Any], None]:
    return lambda file: file.attrs.__setitem__(name, value)


def _groups(*names: str) -> Callable[[Any], None]:
    return lambda file: [file.create_group(name) for name in names] and None


@pytest.mark.parametrize(
    ("build", "name"),
    [
        (_attr("__type__", "NIRGraphData"), "NIRData"),
        (_attr("model_config", "{}"), "Keras model"),
        (_attr("keras_version", "2.1"), "Keras model"),
        (_groups("model_weights"), "Keras model"),
        (_groups("nodes", "edges"), "SONATA"),
        (_groups("spikes", "labels"), "SHD"),
        (_groups("layer"), "lists no layers"),
        (_groups(), "empty HDF5 file"),
        (_groups("whatever"), "unknown kind"),
    ],
)
def test_other_hdf5_kinds_are_named(tmp_path: Path, build: Callable[[Any], None], name: str) -> None:
    path = tmp_path / "net.nir"
    with h5py.File(path, "w") as file:
        build(file)
    with refused("NM102") as found:
        read(path)
    assert name in found[0].message


def test_the_suffix_is_no_guide(tmp_path: Path) -> None:
    nir = write_nir(tmp_path / "a.net", {"in": port(1), "n": if_(), "out": sink(1)}, chain("in", "n", "out"))
    netx = write_netx(tmp_path / "b.nir", [{"type": "dense", "shape": [1], "weight": np.ones((1, 2)), "neuron": cuba()}])
    assert (read(nir).format, read(netx).format) == ("nir", "netx")


@pytest.mark.parametrize(
    ("content", "code", "word"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "NM102", "LFS pointer"),
        (b"", "NM101", "empty"),
        (b"hello world, this is text", "NM101", "not an HDF5 file"),
        (b"\x80\x04\x95pickle", "NM101", "pickle"),
        (b'{"a": 1}', "NM101", "JSON"),
    ],
)
def test_files_that_are_not_hdf5(tmp_path: Path, content: bytes, code: str, word: str) -> None:
    path = tmp_path / "net.h5"
    path.write_bytes(content)
    with refused(code) as found:
        read(path)
    assert word in found[0].message


def test_zip_missing_file_and_folder(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a", "b")
    (tmp_path / "net.nir").write_bytes(buffer.getvalue())
    for path, word in ((tmp_path / "net.nir", "zip archive"), (tmp_path / "absent.nir", "does not exist"), (tmp_path, "folder")):
        with refused("NM101") as found:
            read(path)
        assert word in found[0].message


@pytest.mark.parametrize("options", [{}, {"libver": "latest"}, {"userblock_size": 512}])
def test_a_file_cut_short_anywhere_is_never_a_traceback(tmp_path: Path, options: dict[str, Any]) -> None:
    whole = write_nir(tmp_path / "whole.nir", {"in": port(1), "n": if_(), "out": sink(1)}, chain("in", "n", "out"))
    path = tmp_path / "net.nir"
    with h5py.File(whole) as old, h5py.File(path, "w", **options) as new:
        old.copy("node", new)
    content = path.read_bytes()
    start = options.get("userblock_size", 0)
    for kept in {*range(0, len(content), 61), *range(start, start + 100), len(content) - 1}:
        path.write_bytes(content[:kept])
        with refused("NM101" if kept < start + 16 else "NM103"):
            read(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "net.nir")
    with refused("NM101") as found:
        read(tmp_path / "net.nir")
    assert "not a regular file" in found[0].message
    # Also where it takes the file's place after it was looked at.
    with pytest.raises(Unaccepted, match="not a regular file"):
        snapshot(tmp_path / "net.nir")


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(name: str) -> None:
    if not Path(name).exists():
        pytest.skip(f"this system has no {name}")
    with refused("NM101"):
        read(name)


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = write_nir(tmp_path / "net.nir", {"in": port(1), "n": if_(), "out": sink(1)}, chain("in", "n", "out"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with refused("NM101") as found:
        read(path)
    assert "cannot be opened" in found[0].message


def test_a_file_that_vanishes_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_nir(tmp_path / "net.nir", {"in": port(1), "n": if_(), "out": sink(1)}, chain("in", "n", "out"))
    opened = os.open
    monkeypatch.setattr(storage.os, "open", lambda *args: (path.unlink(), opened(*args))[1])
    with refused("NM101") as found:
        read(path)
    assert "cannot be opened" in found[0].message


@pytest.mark.parametrize("shrinks", [True, False])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shrinks: bool) -> None:
    path = write_nir(tmp_path / "net.nir", {"in": port(1), "n": if_(), "out": sink(1)}, chain("in", "n", "out"))
    looks = iter([lambda: None, lambda: os.truncate(path, 100) if shrinks else os.utime(path, (1, 1))])
    looked = os.fstat
    monkeypatch.setattr(storage.os, "fstat", lambda descriptor: (next(looks, lambda: None)(), looked(descriptor))[1])
    with refused("NM103") as found:
        read(path)
    assert "changed while it was read" in found[0].message


def test_a_file_beyond_the_limit_is_not_loaded(tmp_path: Path) -> None:
    path = write_nir(tmp_path / "net.nir", {"in": port(1), "n": if_(), "out": sink(1)}, chain("in", "n", "out"))
    os.truncate(path, MAX_FILE_BYTES + 1)
    with refused("NM110") as found:
        read(path)
    assert str(MAX_FILE_BYTES) in found[0].message
    # What is no HDF5 file is told by its first bytes, however large it is.
    other = tmp_path / "large.bin"
    other.write_bytes(b"PK\x03\x04")
    os.truncate(other, 2**40)
    with refused("NM101"):
        read(other)


def test_a_file_that_its_writer_did_not_close(tmp_path: Path) -> None:
    path, copy = tmp_path / "net.nir", tmp_path / "copy.nir"
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = 1
        file.swmr_mode = True
        file.flush()
        copy.write_bytes(path.read_bytes())
    with refused("NM103") as found:
        read(copy)
    assert "not closed" in found[0].message
    assert "h5clear" in found[0].help[1]


def test_addresses_of_another_width_are_refused(tmp_path: Path) -> None:
    path = write_nir(tmp_path / "net.nir", {"in": port(1), "n": if_(), "out": sink(1)}, chain("in", "n", "out"))
    content = bytearray(path.read_bytes())
    content[13] = 4
    path.write_bytes(content)
    with refused("NM109") as found:
        read(path)
    assert "(4, 8)" in found[0].message


def test_a_damaged_root_group_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.nir"
    with h5py.File(path, "w", libver="latest") as file:
        file["x"] = 1
    content = bytearray(path.read_bytes())
    # The checksum of the root's object header, which the superblock does not cover.
    content[content.find(b"OHDR") + 20] ^= 1
    path.write_bytes(content)
    with refused("NM103") as found:
        read(path)
    assert "checksum" in str(found[0].why)


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000])
def test_paths_that_cannot_be(name: str) -> None:
    with refused("NM101"):
        read(name)


def test_a_failure_leaves_no_file_open(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("this system does not list open files under /proc")
    path = tmp_path / "net.nir"
    path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes([0, 0, 0, 0, 0, 8, 8, 0]) + bytes(100))
    before = {p.name for p in descriptors.iterdir()}
    with refused("NM103"):
        open_tree(path, Findings())
    assert {p.name for p in descriptors.iterdir()} == before


def test_wrong_options_are_reported_together(tmp_path: Path) -> None:
    with refused("NM004", "NM004", "NM004"):
        read(tmp_path / "absent", dt=-1.0, reset="hard", source="brian")
    with refused("NM004"):
        read(tmp_path / "absent", dt=float("nan"))
