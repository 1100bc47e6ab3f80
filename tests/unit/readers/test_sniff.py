from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap.readers import read
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


@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
def test_a_file_cut_short_is_never_a_traceback(tmp_path: Path, kept: float) -> None:
    path = write_nir(tmp_path / "net.nir", {"in": port(1), "n": if_(), "out": sink(1)}, chain("in", "n", "out"))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with refused("NM103"):
        read(path)


def test_wrong_options_are_reported_together(tmp_path: Path) -> None:
    with refused("NM004", "NM004", "NM004"):
        read(tmp_path / "absent", dt=-1.0, reset="hard", source="brian")
    with refused("NM004"):
        read(tmp_path / "absent", dt=float("nan"))
