"""The layout of netx files, apart from any target, and how files are put in their place."""

from __future__ import annotations

import io
import os
from pathlib import Path

import h5py
import numpy as np
import pytest

from nmap.connectivity import Conv2d
from nmap.diagnostics import NmapError
from nmap.readers import read
from nmap.writers.netx import NetxLayer, conv_entries, dense_entries, netx_bytes
from nmap.writers.place import check_place, write_file

LIF = {"type": "CUBA", "iDecay": 4096, "vDecay": 512, "vThMant": 20}


def layers() -> tuple[NetxLayer, ...]:
    rng = np.random.default_rng(0)
    conv = Conv2d(2 * rng.integers(-20, 20, (4, 3, 2, 3)), (3, 6, 8), (1, 2), (0, 1))
    size = conv.out_size
    return (
        NetxLayer("input", (3, 6, 8)),
        NetxLayer("conv", conv.out_shape, conv_entries(conv), dict(LIF)),
        NetxLayer("flatten", (size,)),
        NetxLayer("dense", (5,), {**dense_entries(2 * rng.integers(-9, 9, (5, size))), "delay": np.arange(5)}, dict(LIF)),
    )


def test_nmap_reads_what_it_writes(tmp_path: Path) -> None:
    (tmp_path / "x.net").write_bytes(netx_bytes(layers()))
    network = read(tmp_path / "x.net")
    assert [(p.name, p.shape) for p in network.populations] == [("input", (3, 6, 8)), ("layer1", (4, 5, 4)), ("layer3", (5,))]
    conv, dense = network.projections
    assert isinstance(conv.connectivity, Conv2d)
    assert (conv.connectivity.stride, conv.connectivity.padding) == ((1, 2), (0, 1))
    np.testing.assert_array_equal(conv.connectivity.weights, layers()[1].entries["weight"])
    np.testing.assert_array_equal(dense.connectivity.weights, layers()[3].entries["weight"])
    assert dense.delays is not None
    np.testing.assert_array_equal(dense.delays[:, 0], np.arange(5))
    assert not network.diagnostics


def test_types_and_order() -> None:
    content = netx_bytes(layers())
    assert content == netx_bytes(layers())
    with h5py.File(io.BytesIO(content)) as file:
        assert list(file) == ["layer"]
        assert list(file["layer"]) == ["0", "1", "2", "3"]
        for k, kind in enumerate((b"input", b"conv", b"flatten", b"dense")):
            stored = file[f"layer/{k}/type"]
            assert (stored.shape, stored.dtype) == ((1,), "S10")
            assert stored[0] == kind
        assert file["layer/1/weight"].dtype == np.float32
        assert file["layer/1/neuron/vThMant"].shape == ()
        assert file["layer/1/stride"].dtype == np.int64


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    place = tmp_path / "x.net"
    write_file(place, lambda stream: stream.write(b"one"))
    (tmp_path / "link.net").symlink_to(place)
    write_file(tmp_path / "link.net", lambda stream: stream.write(b"two"))
    assert place.read_bytes() == b"two"
    assert (tmp_path / "link.net").is_symlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["link.net", "x.net"]


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "x.net"
    place.write_bytes(b"old")

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(NmapError, match="NM601"):
        write_file(place, lambda stream: stream.write(b"new"))
    assert place.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.net"]


def test_places_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "net.nir").write_bytes(b"x")
    for place, why in (
        (tmp_path, "folder"), (tmp_path / "none" / "x.net", "does not exist"), (tmp_path / "net.nir", "which this run reads"),
        (tmp_path / "net.nir" / "x.net", "Not a directory"),
    ):
        with pytest.raises(NmapError) as caught:
            check_place(place, [tmp_path / "net.nir"])
        assert caught.value.diagnostics[0].code == "NM601"
        assert why in str(caught.value.diagnostics[0].why)
    check_place(tmp_path / "x.net", [tmp_path / "net.nir"])


def test_pipes_are_written_through(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_place(pipe, [])
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_file(pipe, lambda stream: stream.write(b"content"))
        assert os.read(reader, 100) == b"content"
    finally:
        os.close(reader)
    assert not pipe.is_file()
