"""Write small NIR and netx files as their exporters do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from nmap.diagnostics import Diagnostic, NmapError

Nodes = dict[str, dict[str, Any]]
Edges = list[tuple[str, str]]


def lif(n: int | tuple[int, ...] = 1, *, tau: float = 1e-3, r: float = 10.0, th: float = 1.0, **more: Any) -> dict[str, Any]:
    full = np.full
    return {
        "type": "LIF",
        "tau": full(n, tau),
        "r": full(n, r),
        "v_leak": full(n, 0.0),
        "v_threshold": full(n, th),
        "v_reset": full(n, 0.0),
        **more,
    }


def if_(n: int | tuple[int, ...] = 1, *, r: float = 1.0, th: float = 1.0) -> dict[str, Any]:
    return {"type": "IF", "r": np.full(n, r), "v_threshold": np.full(n, th), "v_reset": np.full(n, 0.0)}


def port(*shape: int) -> dict[str, Any]:
    return {"type": "Input", "shape": np.array(shape, np.int64)}


def sink(*shape: int) -> dict[str, Any]:
    return {"type": "Output", "shape": np.array(shape, np.int64)}


def linear(weight: Any) -> dict[str, Any]:
    return {"type": "Linear", "weight": np.asarray(weight, np.float32)}


def affine(weight: Any, bias: Any) -> dict[str, Any]:
    return {"type": "Affine", "weight": np.asarray(weight, np.float32), "bias": np.asarray(bias, np.float32)}


def conv(
    weight: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: Any = None, **more: Any
) -> dict[str, Any]:
    node = {
        "type": "Conv2d",
        "weight": np.asarray(weight),
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        **more,
    }
    return node if bias is None else {**node, "bias": np.asarray(bias)}


def conv1d(
    weight: Any, *, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1, bias: Any = None, **more: Any
) -> dict[str, Any]:
    return {**conv(weight, stride=stride, padding=padding, dilation=dilation, groups=groups, bias=bias, **more), "type": "Conv1d"}


def delay(values: Any) -> dict[str, Any]:
    return {"type": "Delay", "delay": np.asarray(values, np.float64)}


def scale(values: Any) -> dict[str, Any]:
    return {"type": "Scale", "scale": np.asarray(values)}


def li(n: int | tuple[int, ...] = 1, *, tau: float = 1e-3, r: float = 10.0, v_leak: float = 0.0) -> dict[str, Any]:
    return {"type": "LI", "tau": np.full(n, tau), "r": np.full(n, r), "v_leak": np.full(n, v_leak)}


def pool(kind: str, kernel: Any, stride: Any, padding: Any = 0) -> dict[str, Any]:
    return {"type": f"{kind}Pool2d", "kernel_size": kernel, "stride": stride, "padding": padding}


def flatten(start_dim: int = 0) -> dict[str, Any]:
    return {"type": "Flatten", "start_dim": start_dim, "end_dim": -1}


def chain(*names: str) -> Edges:
    return list(pairwise(names))


def write_group(group: Any, entries: dict[str, Any]) -> None:
    for name, value in entries.items():
        if isinstance(value, dict):
            write_group(group.create_group(name), value)
        elif isinstance(value, str):
            group.create_dataset(name, data=value, dtype=h5py.string_dtype())
        else:
            group.create_dataset(name, data=value)


def write_graph(group: Any, nodes: Nodes, edges: Edges, metadata: dict[str, Any] | None = None) -> None:
    write_group(group, {"type": "NIRGraph", **({"metadata": metadata} if metadata else {})})
    group.create_dataset("edges", data=np.array(edges, object).reshape(-1, 2), dtype=h5py.string_dtype())
    for name, fields in nodes.items():
        inner = group.require_group("nodes").create_group(name)
        if fields["type"] == "NIRGraph":
            write_graph(inner, fields["nodes"], fields["edges"])
        else:
            write_group(inner, fields)


def write_nir(path: Path, nodes: Nodes, edges: Edges, metadata: dict[str, Any] | None = None) -> Path:
    with h5py.File(path, "w") as file:
        file.create_dataset("version", data="1.0.8", dtype=h5py.string_dtype())
        write_graph(file.create_group("node"), nodes, edges, metadata)
    return path


VERSIONS = ("0.0.6", "0.1", "0.1.1", "0.2.0", "1.0.1", "1.0.4", "1.0.5", "1.0.6", "1.0.8")
"""Versions of the `nir` package between which the layout of its files changed."""


def write_historic(path: Path, version: str, nodes: Nodes, edges: Edges) -> Path:
    """Write a graph as `nir.write` of a version did, as read in that package's history.

    0.0.6 numbered the nodes and listed edges by index, and an Output had no shape; 0.1 wrote no version; `input_type` of a Flatten came
    with 0.2.0, `w_in` and the `input_shape` of convolutions with 1.0, `v_reset` with 1.0.6, compression with 1.0.8.
    """
    at = VERSIONS.index(version)

    def since(first: str) -> bool:
        return at >= VERSIONS.index(first)

    dropped = {
        *(() if since("0.2.0") else ("input_type",)),
        *(() if since("1.0.1") else ("w_in", "input_shape")),
        *(() if since("1.0.6") else ("v_reset",)),
    }
    names = {name: str(k) if version == "0.0.6" else name for k, name in enumerate(nodes)}
    with h5py.File(path, "w") as file:
        if since("0.1.1"):
            file.create_dataset("version", data="1.0.1" if version == "1.0.1" else version)
        root = file.create_group("node")
        root.create_dataset("type", data="NIRGraph", dtype=h5py.string_dtype())
        if version == "0.0.6":
            root.create_dataset("edges", data=[(int(names[a]), int(names[b])) for a, b in edges])
        else:
            root.create_dataset("edges", data=edges)
        for name, fields in nodes.items():
            group = root.require_group("nodes").create_group(names[name])
            for entry, value in fields.items():
                if entry in dropped or (version == "0.0.6" and (fields["type"], entry) == ("Output", "shape")):
                    continue
                if isinstance(value, str):
                    group.create_dataset(entry, data=value, dtype=h5py.string_dtype())
                else:
                    packed = since("1.0.8") and isinstance(value, np.ndarray) and value.ndim
                    group.create_dataset(entry, data=value, compression="gzip" if packed else None)
    return path


def cuba(*, i_decay: Any = 4096, v_decay: Any = 1024, threshold: Any = 10, kind: str = "CUBA", **more: Any) -> dict[str, Any]:
    return {"type": kind, "iDecay": i_decay, "vDecay": v_decay, "vThMant": threshold, "refDelay": 1, "gradedSpike": False, **more}


def write_netx(path: Path, layers: list[dict[str, Any]]) -> Path:
    with h5py.File(path, "w") as file:
        for number, entries in enumerate(layers):
            group = file.create_group(f"layer/{number}")
            for name, value in entries.items():
                if name == "type":
                    group.create_dataset("type", data=np.array([value], "S10"))
                elif isinstance(value, dict):
                    write_group(group.create_group(name), value)
                else:
                    group.create_dataset(name, data=value)
    return path


@contextmanager
def refused(*codes: str) -> Iterator[list[Diagnostic]]:
    """Expect an `NmapError` with exactly these codes; the diagnostics are in the list afterwards."""
    found: list[Diagnostic] = []
    with pytest.raises(NmapError) as caught:
        yield found
    found.extend(caught.value.diagnostics)
    assert sorted(d.code for d in found) == sorted(codes), "\n".join(f"{d.code} {d.where} {d.message}" for d in found)
    assert all(d.severity == "error" for d in found)
