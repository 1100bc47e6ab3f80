"""Against the `nir` package itself: it accepts what nmap writes, and its graphs read in memory as their files do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nmap
from nmap.connectivity import Conv2d, Dense
from nmap.network import Network, Neuron
from nmap.writers.compare import differences
from nmap.writers.nir import MAX_MATRIX
from tests.property.test_round_trip import random_graph, random_network
from tests.support import shared_data

nir = pytest.importorskip("nir", reason="the package `nir` is not installed")
_VERSION = tuple(int(part) for part in nir.version.split(".")[:3])
# Neurons that came with NIR 1.0.5.
_NEW = {"CubaLI"}


def _read(path: Path, *, check: bool) -> Any:
    return nir.read(path, type_check=check) if _VERSION >= (1, 0, 7) else nir.read(path)


def _unchecked(network: Network) -> bool:
    """Return whether a network has what the type check of `nir` gets wrong."""
    for p in network.projections:
        source, target, c = network[p.source].shape, network[p.target].shape, p.connectivity
        out: tuple[int, ...] = (c.out_size,)
        if isinstance(c, Conv2d):
            rows = None if p.bias is None else p.bias.reshape(c.out_shape[0], -1)
            biased = rows is not None and np.any(rows != rows[:, :1])
            matrix = (biased or p.delays is not None) and c.in_size * c.out_size <= MAX_MATRIX
            line = source == (c.in_shape[0], c.in_shape[2]) and c.in_shape[1] == 1
            # Output sizes are computed with the kernel's first axis only, input channels without the groups, and nothing unflattens.
            if not matrix and (c.groups > 1 or (not line and (c.kernel_size[0] != c.kernel_size[1] or source != c.in_shape))):
                return True
            out = (out if matrix else (c.out_shape[0], c.out_shape[2])) if line or matrix else c.out_shape
        elif not isinstance(c, Dense) and c.in_size == c.out_size == c.synapses and np.array_equal(c.indices, c.targets) and p.bias is None:
            out = source
        if out != target and len(target) > 1:
            return True
    return False


def _has_new(network: Network) -> bool:
    """Return whether a network has neurons of NIR 1.0.5, or a reset value, which came with 1.0.6."""
    models = [p.neuron for p in network.populations if isinstance(p.neuron, Neuron)]
    return any(m.model in _NEW or np.any(m.v_reset) for m in models)


def test_the_package_accepts_what_is_written(tmp_path: Path) -> None:
    checked = 0
    for seed in range(80):
        made = random_network(seed)
        if _VERSION < (1, 0, 6) and _has_new(made):
            continue
        path = nmap.write(made, tmp_path / f"{seed}.nir")
        check = not _unchecked(made)
        if not check and _VERSION < (1, 0, 7):
            continue
        graph = _read(path, check=check)
        checked += check
        # What the package makes of the file is the network as well, in memory and written by the package itself.
        assert differences(made, nmap.read(graph)) == [], seed
        nir.write(tmp_path / "theirs.nir", graph)
        assert differences(made, nmap.read(tmp_path / "theirs.nir")) == [], seed
    assert checked >= 8


@pytest.mark.parametrize("folder", ["nir", "trained"])
def test_real_networks_pass_through_the_package(folder: str, tmp_path: Path) -> None:
    for path in sorted((shared_data() / folder).glob("*.nir")):
        try:
            first = nmap.read(path)
        except nmap.NmapError:
            continue
        graph = _read(nmap.write(first, tmp_path / "net.nir"), check=not _unchecked(first))
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
