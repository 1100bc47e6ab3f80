"""Against the `nir` package itself: it accepts what nmap writes, and its graphs read in memory as their files do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import nmap
from nmap.connectivity import Conv2d
from nmap.network import Network, Neuron
from nmap.writers.compare import differences
from tests.property.test_round_trip import random_graph, random_network
from tests.support import shared_data

nir = pytest.importorskip("nir", reason="the package `nir` is not installed")
_VERSION = tuple(int(part) for part in nir.version.split(".")[:3])
# Neurons that came with NIR 1.0.5.
_NEW = {"CubaLI"}


def _read(path: Path, *, check: bool) -> Any:
    return nir.read(path, type_check=check) if _VERSION >= (1, 0, 7) else nir.read(path)


def _unchecked(path: Path, network: Network) -> bool:
    """Return whether a written network has what the type check of `nir` gets wrong, or what NIR cannot say in shapes."""
    with h5py.File(path, "r") as file:
        convs = [{k: v[()] for k, v in n.items()} for n in file["node/nodes"].values() if n["type"][()] in (b"Conv1d", b"Conv2d")]
    for node in convs:
        # Input channels are taken without the groups, output sizes are computed with the kernel's first axis only.
        odd = node["weight"].ndim == 4 and node["weight"].shape[2] != node["weight"].shape[3] and not isinstance(node["padding"], bytes)
        if node["groups"] > 1 or odd:
            return True
    for p in network.projections:
        source, target, c = network[p.source].shape, network[p.target].shape, p.connectivity
        vector = isinstance(c, Conv2d) and source not in (c.in_shape, (c.in_shape[0], c.in_shape[2]))
        if vector or (len(target) > 1 and p.delays is not None):
            return True
    return False


def _has_new(network: Network) -> bool:
    """Return whether a network has neurons of NIR 1.0.5, or a reset value, which came with 1.0.6."""
    models = [p.neuron for p in network.populations if isinstance(p.neuron, Neuron)]
    return any(m.model in _NEW or np.any(m.v_reset) for m in models)


def test_the_package_accepts_what_is_written(tmp_path: Path) -> None:
    checked = written = 0
    for seed in range(80):
        made = random_network(seed)
        if _VERSION < (1, 0, 6) and _has_new(made):
            continue
        path = nmap.write(made, tmp_path / f"{seed}.nir")
        written += 1
        try:
            graph = _read(path, check=True)
            checked += 1
        except (ValueError, TypeError):
            assert _unchecked(path, made), seed
            if _VERSION < (1, 0, 7):
                continue
            graph = _read(path, check=False)
        # What the package makes of the file is the network as well, in memory and written by the package itself.
        assert differences(made, nmap.read(graph)) == [], seed
        nir.write(tmp_path / "theirs.nir", graph)
        assert differences(made, nmap.read(tmp_path / "theirs.nir")) == [], seed
    assert checked >= 0.5 * written


@pytest.mark.parametrize("folder", ["nir", "trained"])
def test_real_networks_pass_through_the_package(folder: str, tmp_path: Path) -> None:
    for path in sorted((shared_data() / folder).glob("*.nir")):
        try:
            first = nmap.read(path)
        except nmap.NmapError:
            continue
        graph = _read(nmap.write(first, tmp_path / "net.nir"), check=True)
        assert differences(first, nmap.read(graph)) == [], path.name


def _object(entries: dict[str, Any]) -> Any:
    if entries["type"] == "NIRGraph":
        return nir.NIRGraph({k: _object(v) for k, v in entries["nodes"].items()}, list(entries["edges"]))
    fields = {k: v for k, v in entries.items() if k not in ("type", "shape")}
    if entries["type"] in ("Input", "Output"):
        fields["input_type" if entries["type"] == "Input" else "output_type"] = entries["shape"]
    if entries["type"] == "Conv2d":
        channels = fields["weight"].shape[0]
        fields = {"input_shape": None, "bias": np.zeros(channels, np.float32), **fields}
    if _VERSION < (1, 0, 6):
        fields.pop("v_reset", None)
    return getattr(nir, entries["type"])(**fields)


def _full(entries: dict[str, Any]) -> dict[str, Any]:
    """The package's own type check takes no parameter of length 1 on a wider layer."""
    wide = {k: np.broadcast_to(v, 4) if isinstance(v, np.ndarray) and v.shape == (1,) else v for k, v in entries.items()}
    return wide if entries["type"] == "LIF" else entries


def test_graphs_of_the_package_read_in_memory_as_their_files(tmp_path: Path) -> None:
    both = 0
    for seed in range(60):
        nodes, edges, metadata = random_graph(seed)
        try:
            graph = nir.NIRGraph({k: _object(_full(v)) for k, v in nodes.items()}, edges, metadata=metadata)
        except ValueError:
            # Its shape inference misses the types of nested graphs and chains it does not know.
            continue
        path = tmp_path / f"{seed}.nir"
        try:
            nir.write(path, graph)
        except TypeError:
            # Before 1.0.6 a convolution that states no input shape cannot be written.
            assert _VERSION < (1, 0, 6)
            continue
        found = []
        for source in (graph, path):
            try:
                found.append(nmap.read(source))
            except nmap.NmapError as error:
                found.append([(d.code, d.message.replace(str(path), "NIRGraph")) for d in error.diagnostics])
        memory, file = found
        if isinstance(file, Network) and isinstance(memory, Network):
            assert differences(file, memory) == []
            assert (file.assumptions, file.notes) == (memory.assumptions, memory.notes)
            both += 1
        else:
            assert memory == file
    assert both >= (20 if _VERSION >= (1, 0, 6) else 1)
