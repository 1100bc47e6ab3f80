"""The periodic reset as a convention: from the command line or a NIR file's metadata into the network, with its evidence."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nmap
from nmap.diagnostics import NmapError
from nmap.network import Network
from nmap.readers import read
from tests.unit.readers.builders import chain, cuba, lif, linear, port, refused, sink, write_netx, write_nir


def _nir(path: Path, metadata: dict[str, Any] | None = None) -> Path:
    nodes = {"in": port(3), "w": linear(np.ones((2, 3))), "n": lif(2), "out": sink(2)}
    return write_nir(path, nodes, chain("in", "w", "n", "out"), metadata)


def _netx(path: Path) -> Path:
    dense = {"type": "dense", "shape": [2], "weight": np.full((2, 3), 2.0), "neuron": cuba()}
    return write_netx(path, [dense, {**dense, "weight": np.full((2, 2), 2.0)}, {**dense, "weight": np.full((2, 2), 2.0)}])


def _settled(network: Network) -> tuple[int, int, list[tuple[str, str, str]]]:
    found = [(a.value, a.source, a.evidence) for a in network.assumptions if a.name == "periodic reset"]
    return network.conventions.reset_interval, network.conventions.reset_offset, found


@pytest.mark.parametrize("make", [_nir, _netx])
@pytest.mark.parametrize(("given", "interval", "offset", "value"), [
    ({}, 0, 0, None),
    ({"reset_interval": 0}, 0, 0, None),
    ({"reset_interval": 16}, 16, 0, "every 16 steps"),
    ({"reset_interval": 1, "reset_offset": 5}, 1, 0, "every 1 step"),
    ({"reset_interval": 16, "reset_offset": 3}, 16, 3, "every 16 steps, from step 3"),
    ({"reset_interval": 16, "reset_offset": 35}, 16, 3, "every 16 steps, from step 3"),
])
def test_the_command_line_states_it(
    make: Any, given: dict[str, int], interval: int, offset: int, value: str | None, tmp_path: Path
) -> None:
    found = _settled(read(make(tmp_path / "n.h5"), **given))
    assert found == (interval, offset, [] if value is None else [(value, "command line", "--reset-interval")])


@pytest.mark.parametrize("make", [_nir, _netx])
@pytest.mark.parametrize(("given", "count"), [
    ({"reset_interval": -1}, 1), ({"reset_interval": 1 << 31}, 1), ({"reset_interval": True}, 1), ({"reset_interval": 2.5}, 1),
    ({"reset_interval": 4, "reset_offset": -1}, 1), ({"reset_interval": "8", "reset_offset": "1"}, 2),
    ({"reset_offset": 3}, 1), ({"reset_interval": 0, "reset_offset": 3}, 1),
])
def test_numbers_without_a_meaning_are_refused(make: Any, given: dict[str, Any], count: int, tmp_path: Path) -> None:
    path = make(tmp_path / "n.h5")
    with refused(*["NM004"] * count):
        read(path, **given)


def test_the_range_that_is_told_is_the_one_that_is_taken(tmp_path: Path) -> None:
    with pytest.raises(NmapError, match="--reset-interval is a number of steps from 1 to 1073741824, not 2147483648"):
        read(_nir(tmp_path / "n.nir"), reset_interval=1 << 31)
    with pytest.raises(NmapError, match="--reset-offset is a number of steps from 0 to 1073741824, not -1"):
        read(_nir(tmp_path / "n.nir"), reset_interval=4, reset_offset=-1)


def test_layers_of_a_netx_file_are_reset_one_after_the_other(tmp_path: Path) -> None:
    """As in netx, whose layer k has the offset of the layer before plus 1; a NIR file's layers see the input in the same step."""
    assert [p.hops for p in read(_netx(tmp_path / "n.net")).populations] == [0, 1, 2, 3]
    assert [p.hops for p in read(_nir(tmp_path / "n.nir")).populations] == [0, 0]


def test_metadata_of_a_nir_file_state_it(tmp_path: Path) -> None:
    path = _nir(tmp_path / "n.nir", {"nmap": {"reset_interval": 8, "reset_offset": 3}})
    interval, offset, ((value, source, evidence),) = _settled(read(path))
    assert (interval, offset, value, source) == (8, 3, "every 8 steps, from step 3", "file")
    assert evidence.endswith("/reset_interval")
    # The command line has the last word; another interval begins at step 0 unless told otherwise.
    assert _settled(read(path, reset_interval=4)) == (4, 0, [("every 4 steps", "command line", "--reset-interval")])
    assert _settled(read(path, reset_offset=5)) == (8, 5, [("every 8 steps, from step 5", "command line", "--reset-offset")])
    assert _settled(read(path, reset_interval=0)) == (0, 0, [])


@pytest.mark.parametrize("value", [-1.0, 2.5, float("nan"), 2.0**31])
def test_metadata_that_are_no_number_of_steps_are_refused(value: float, tmp_path: Path) -> None:
    with refused("NM107") as found:
        read(_nir(tmp_path / "n.nir", {"nmap": {"reset_interval": value}}))
    assert found[0].where is not None
    assert found[0].where.endswith("/reset_interval")


def test_a_written_network_keeps_it(tmp_path: Path) -> None:
    network = read(_nir(tmp_path / "n.nir"), reset_interval=16, reset_offset=3)
    back = nmap.read(nmap.write(network, tmp_path / "again.nir"))
    assert back.conventions == network.conventions
    none = replace(network, conventions=replace(network.conventions, reset_interval=0, reset_offset=0))
    assert nmap.read(nmap.write(none, tmp_path / "none.nir")).conventions == none.conventions
