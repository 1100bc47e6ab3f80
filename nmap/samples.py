"""Read input samples: spikes or graded values over time, with labels.

The file is a NumPy `.npz` with `inputs` (samples, time, *input shape) of any integer or bool type and optional `labels` (samples,).
Nothing in it is executed (no pickles), and sizes are checked before memory is asked for.
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.diagnostics import Findings
from nmap.digest import sha256_of
from nmap.network import Network

__all__ = ["MAX_BYTES", "Samples", "load"]

MAX_BYTES = 2**33
"""Largest size of one array once in memory, in bytes."""
# Deflate cannot exceed 1032:1; anything beyond is a declaration without storage behind it.
_MAX_RATIO = 1100
_SLACK = 2**12
_READ_ERRORS = (
    OSError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    MemoryError,
    SyntaxError,
)


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Input samples of a network.

    Args:
        inputs: (samples, time, *input shape) int32, read-only; 0 is no spike, larger values are graded spikes.
        labels: (samples,) int64, read-only, or None.
        sha256: of the file.
        name: the file's name.
    """

    inputs: Array
    labels: Array | None
    sha256: str
    name: str


def load(path: str | Path, network: Network) -> Samples:
    """Read samples for a network.

    Args:
        path: the `.npz` file.
        network: with one input port, whose shape the samples must have; labels must number its outputs.

    Raises:
        NmapError: NM801 where the file cannot be read or lacks `inputs`, NM802 where what it holds does not fit the network; all
            problems of a file together.
    """
    path, findings = Path(path), Findings()
    name = str(path)
    arrays: dict[str, Array] = {}
    sha256 = ""
    try:
        if path.is_dir():
            findings.error("NM801", f"`{name}` is a folder, not a file of samples", where=name)
        elif not path.exists():
            findings.error("NM801", f"`{name}` does not exist", where=name)
        elif not zipfile.is_zipfile(path):
            findings.error(
                "NM801",
                f"`{name}` is not a .npz file",
                where=name,
                help=("write it with `np.savez_compressed(file, inputs=..., labels=...)`",),
            )
        else:
            sha256 = sha256_of(path)
            arrays = _members(path, findings)
    except _READ_ERRORS as error:
        findings.error("NM801", f"`{name}` cannot be read", where=name, why=str(error) or type(error).__name__)
    findings.raise_errors()
    inputs = _inputs(arrays["inputs"], network, name, findings)
    labels = _labels(arrays["labels"], arrays["inputs"], network, name, findings) if "labels" in arrays else None
    findings.raise_errors()
    return Samples(frozen_array(inputs, np.int32), None if labels is None else frozen_array(labels, np.int64), sha256, path.name)


def _members(path: Path, findings: Findings) -> dict[str, Array]:
    """Return `inputs` and `labels` of the archive; record NM801 for what cannot be read."""
    arrays: dict[str, Array] = {}
    size = path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: info for info in archive.infolist()}
        if "inputs.npy" not in entries:
            held = sorted(n.removesuffix(".npy") for n in entries)
            findings.error(
                "NM801",
                f"`{path}` has no array `inputs`",
                where=str(path),
                why=(
                    "its member `inputs` is not in NumPy's format: arrays of a .npz file are members named `*.npy`"
                    if "inputs" in entries else f"it holds {', '.join(f'`{n}`' for n in held[:12]) or 'nothing'}"
                ),
                help=(
                    "write it with `np.savez_compressed(file, inputs=..., labels=...)`" if "inputs" in entries
                    else "store the samples under the name `inputs`, of shape (samples, time, *input shape)",
                ),
            )
        for key in ("inputs", "labels"):
            info = entries.get(f"{key}.npy")
            where = f"{path}:{key}"
            if info is None:
                continue
            if info.flag_bits & 1:
                findings.error("NM801", f"`{key}` is encrypted", where=where)
                continue
            with archive.open(info) as stream:
                shape, dtype = _header(stream)
            if dtype.hasobject:
                findings.error(
                    "NM801",
                    f"`{key}` is pickled Python objects, which are not loaded from a file",
                    where=where,
                    why="unpickling runs code that the file contains",
                    help=("store a plain integer array",),
                )
                continue
            declared = prod(shape) * dtype.itemsize
            if declared > MAX_BYTES or prod(shape) * 4 > MAX_BYTES:
                findings.error(
                    "NM801",
                    f"`{key}` of shape {shape} is beyond the limit of {MAX_BYTES} bytes",
                    where=where,
                    help=("run the samples in several files",),
                )
            elif info.compress_size > size or declared > info.compress_size * _MAX_RATIO + _SLACK or declared > info.file_size:
                findings.error(
                    "NM801",
                    f"`{key}` declares {declared} bytes that the file does not hold",
                    where=where,
                    why=f"{info.compress_size} bytes are stored",
                )
            else:
                with archive.open(info) as stream:
                    arrays[key] = np.lib.format.read_array(stream, allow_pickle=False)
    return arrays


def _header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(stream)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    elif version == (2, 0):
        shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    else:
        raise ValueError(f"version {version[0]}.{version[1]} of the .npy format holds no plain integers")
    return tuple(int(n) for n in shape), dtype


def _inputs(values: Array, network: Network, name: str, findings: Findings) -> Array:
    where = f"{name}:inputs"
    fits_type = _integer(values, "inputs", where, findings)
    if len(network.inputs) != 1:
        findings.error(
            "NM802", f"the network has {len(network.inputs)} inputs ({', '.join(network.inputs)}); samples feed one", where=network.file
        )
        return values
    shape = network[network.inputs[0]].shape
    if values.ndim < 2 or values.shape[2:] != shape:
        wanted = f"(samples, time, {', '.join(map(str, shape))})"
        findings.error(
            "NM802",
            f"`inputs` has shape {values.shape}; the network's input `{network.inputs[0]}` needs {wanted}",
            where=where,
            help=_remedy(values.shape, shape),
        )
    elif values.shape[0] == 0 or values.shape[1] == 0:
        findings.error(
            "NM802", f"`inputs` of shape {values.shape} holds no {'samples' if values.shape[0] == 0 else 'time steps'}", where=where
        )
    elif fits_type and (int(values.max()) > 2**31 - 1 or int(values.min()) < -(2**31)):
        findings.error("NM802", f"`inputs` holds values up to {int(values.max())}; spikes are 32-bit integers", where=where)
    return values


def _remedy(shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[str, ...]:
    """Return the numpy call that would make the shape fit, where one is evident."""
    rest, listed = shape[2:], ", ".join(map(str, wanted))
    if shape[1:] == wanted:
        return ("`inputs[:, None]` for samples of one time step each", "encode each value as spikes over time")
    if len(shape) >= 3 and prod(rest) == prod(wanted) and prod(rest) > 0:
        if rest[::-1] == wanted or sorted(rest) == sorted(wanted):
            axes = _axes(rest, wanted)
            return (f"`inputs.transpose(0, 1, {', '.join(str(2 + a) for a in axes)})`: the axes are in another order",)
        return (f"`inputs.reshape({shape[0]}, {shape[1]}, {listed})`: the values are there, in another shape",)
    if shape[1:-1] == wanted:
        return ("`np.moveaxis(inputs, -1, 1)`: time comes second, not last",)
    if shape == wanted:
        return ("`inputs[None, None]` for a single sample of one time step",)
    return ()


def _axes(rest: tuple[int, ...], wanted: tuple[int, ...]) -> list[int]:
    """Return the order in which the axes of `rest` make `wanted`; the first fit among equal lengths."""
    left = list(range(len(rest)))
    order = []
    for length in wanted:
        axis = next(a for a in left if rest[a] == length)
        left.remove(axis)
        order.append(axis)
    return order


def _integer(values: Array, key: str, where: str, findings: Findings) -> bool:
    """Record NM802 unless the array is of an integer or bool type; say what to cast to."""
    if values.dtype.kind in "biu":
        return True
    if values.dtype.kind != "f":
        findings.error("NM802", f"`{key}` is of type {values.dtype}; integers are needed", where=where)
    elif not np.all(np.isfinite(values)):
        bad = np.argwhere(~np.isfinite(values))[0]
        findings.error(
            "NM802", f"`{key}` holds {float(values[tuple(bad)])} at {tuple(int(k) for k in bad)}; integers are needed", where=where
        )
    elif np.all(values == np.floor(values)):
        low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
        kind = "uint8" if low >= 0 and high <= 255 and key == "inputs" else "int32" if key == "inputs" else "int64"
        findings.error(
            "NM802",
            f"`{key}` is of type {values.dtype}; integers are needed",
            where=where,
            why=f"its values are whole numbers from {low:.6g} to {high:.6g}",
            help=(f"`{key}.astype(np.{kind})`",),
        )
    else:
        findings.error(
            "NM802",
            f"`{key}` is of type {values.dtype} and holds fractions; integers are needed",
            where=where,
            help=("encode the values as spikes over time",) if key == "inputs" else (),
        )
    return False


def _labels(values: Array, inputs: Array, network: Network, name: str, findings: Findings) -> Array:
    where = f"{name}:labels"
    outputs = sum(network[p].size for p in network.outputs)
    samples = inputs.shape[0] if inputs.ndim else 0
    whole = _integer(values, "labels", where, findings)
    if values.shape != (samples,):
        findings.error(
            "NM802",
            f"`labels` has shape {values.shape}; ({samples},) is needed, one for each sample",
            where=where,
            help=("`labels.argmax(axis=1)` for one-hot labels",) if values.shape == (samples, outputs) else (),
        )
    elif whole and values.size and (int(values.min()) < 0 or int(values.max()) >= outputs):
        bad = int(np.flatnonzero((values < 0) | (values >= outputs))[0])
        findings.error(
            "NM802", f"label {int(values[bad])} of sample {bad} is outside the network's {outputs} outputs", where=f"{where}[{bad}]"
        )
    return values
