"""Read the written arrays back and compare them with the network that they are to compute, by another way than they were written."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense
from nmap.program import Program, slice_indices
from nmap.quantized import QuantizedNetwork, QuantizedProjection
from nmap_spinnaker.second.emit import ARRAYS, emit

__all__ = ["reread"]

_NIR = "network.nir"
_BITS = ("threshold", "alpha_decay", "i_offset", "v_reset", "exc_decay", "inh_decay")


def reread(folder: Path, network: QuantizedNetwork, program: Program) -> list[str]:
    """Return a sentence for everything in the files of `emit` that is not the network or its mapping, [] where they hold the same.

    Args:
        folder: where the files of `emit` lie.
        network: what was mapped; synapses, parameters and start values are compared with it.
        program: its mapping; slices are compared with it.
    """
    try:
        with np.load(folder / ARRAYS, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        meta = json.loads(arrays.pop("meta").tobytes())
        names = [entry["name"] for entry in meta["populations"]]
        listed = {(names[source], names[target]): number for number, (source, target) in enumerate(meta["projections"])}
        told = [] if sorted(names) == sorted(p.name for p in network.populations) else [f"{ARRAYS} has populations {names}"]
        if not told:
            for number, entry in enumerate(meta["populations"]):
                told += _population(number, entry, arrays, network, program)
            told += _synapses(listed, arrays, network)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, zipfile.BadZipFile) as error:
        return [f"{ARRAYS} cannot be read: {error}"]
    files = emit(network, program)
    content = files.pop(ARRAYS)
    # What the network contradicts is told once.
    return (told or _same(arrays, meta, content)) + _other_files(folder, files)


def _same(arrays: dict[str, Array], meta: dict[str, Any], content: bytes) -> list[str]:
    """Return the arrays and the entries of `meta` that are not what would be written."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        due = {name: file[name] for name in file.files}
    described = json.loads(due.pop("meta").tobytes())
    told = [f"{ARRAYS}: `{name}` of `meta` is not what was written" for name in _differing(meta, described)]
    for name in sorted(arrays.keys() | due.keys()):
        if name not in due or name not in arrays:
            told.append(f"{ARRAYS}: `{name}` is {'missing' if name in due else 'not a part of it'}")
        elif any(a != b for a, b in zip(_content(arrays[name]), _content(due[name]), strict=True)):
            told.append(f"{ARRAYS}: `{name}` is not what was written")
    return told


def _content(array: Array) -> tuple[np.dtype[Any], tuple[int, ...], bytes]:
    return array.dtype, array.shape, array.tobytes()


def _differing(found: dict[str, Any], due: dict[str, Any]) -> list[str]:
    """Return the names of the entries that differ, in value or kind."""
    def kept(entry: object) -> str:
        return json.dumps(entry, sort_keys=True)

    return [
        name for name in sorted(found.keys() | due.keys())
        if name not in found or name not in due or kept(found[name]) != kept(due[name])
    ]


def _other_files(folder: Path, files: dict[str, bytes]) -> list[str]:
    """Return the files beside the arrays that are not what would be written, or would not be there."""
    told = []
    if _NIR not in files and (folder / _NIR).exists():
        told.append(f"{_NIR} is not what was written for this program: there is none")
    for name, content in files.items():
        try:
            if (folder / name).read_bytes() != content:
                told.append(f"{name} is not what was written for this program")
        except OSError as error:
            told.append(f"{name} cannot be read: {error.strerror or error}")
    return told


def _population(number: int, entry: dict[str, Any], arrays: dict[str, Array], network: QuantizedNetwork, program: Program) -> list[str]:
    """Return what is wrong with one population."""
    name = entry["name"]
    whole, order = network[name], arrays[f"p{number}.order"].astype(np.int64)
    if not np.array_equal(np.sort(order), np.arange(whole.size)):
        return [f"{ARRAYS}: the order of `{name}` does not name each of its neurons once"]
    if whole.kernel is None:
        return [] if entry["model"] == "spike_list" else [f"{ARRAYS}: the input `{name}` is a {entry['model']}"]
    told = []
    if f"spinnaker2.{entry['model']}" != whole.kernel:
        told.append(f"{ARRAYS}: `{name}` is a {entry['model']}, not a {whole.kernel}")
    resets = whole.params["subtract"] != 0
    if (resets != (entry["reset"] == "reset_by_subtraction")).any():
        told.append(f"{ARRAYS}: the reset of `{name}` is {entry['reset']}")
    values = {key: whole.params[key] for key in _BITS if key in whole.params} | {"v_init": whole.initial.get("v", np.zeros(whole.size))}
    for key, expected in values.items():
        written = arrays.get(f"p{number}.{key}", np.zeros(whole.size, np.float32))
        wrong = written.dtype != np.float32 or written.shape != (whole.size,)
        if wrong or (written.view(np.int32).astype(np.int64) != np.asarray(expected, np.int64)[order]).any():
            told.append(f"{ARRAYS}: `{key}` of `{name}` is not the network's")
    if _slices(entry, order) != {
        tuple(sorted(slice_indices(group.slice, whole.shape).tolist())) for group in program.groups
        if program.populations[group.population].name == name
    }:
        told.append(f"{ARRAYS}: the slices of `{name}` are not those of the mapping")
    return told


def _slices(entry: dict[str, Any], order: Array) -> set[tuple[int, ...]]:
    """Return the neurons of every slice that py-spinnaker2 will make."""
    found, first = set(), 0
    for size, atoms in zip(entry["sizes"], entry["atoms"], strict=True):
        for low in range(first, first + size, atoms):
            found.add(tuple(sorted(order[low : min(low + atoms, first + size)].tolist())))
        first += size
    return found


def _synapses(listed: dict[tuple[str, str], int], arrays: dict[str, Array], network: QuantizedNetwork) -> list[str]:
    """Return the pairs of populations whose synapses are not the network's."""
    expected: dict[tuple[str, str], list[Array]] = {}
    for p in network.projections:
        expected.setdefault((p.source, p.target), []).append(_rows(p))
    told = []
    for pair in sorted(expected.keys() | listed.keys()):
        rows = np.concatenate([*expected.get(pair, []), np.zeros((0, 4), np.int64)])
        rows = rows[rows[:, 3] != 0]
        written = np.zeros((0, 4), np.int64)
        if pair in listed:
            written = np.stack([arrays[f"e{listed[pair]}.{name}"].astype(np.int64) for name in ("pre", "post", "delay", "weight")], 1)
        if not np.array_equal(_sorted(rows), _sorted(written)):
            told.append(f"{ARRAYS}: the synapses from `{pair[0]}` to `{pair[1]}` are not the network's")
    return told


def _rows(projection: QuantizedProjection) -> Array:
    """Return pre, post, delay and signed weight of every synapse, (k, 4) int64."""
    whole = projection.connectivity
    if isinstance(whole, Conv2d):
        whole = whole.unrolled()
    if isinstance(whole, Dense):
        pre, post = np.tile(np.arange(whole.in_size), whole.out_size), np.repeat(np.arange(whole.out_size), whole.in_size)
    else:
        pre, post = whole.indices, whole.targets
    delay = np.full(pre.size, projection.delay) + (0 if projection.delays is None else projection.delays.ravel())
    weight = whole.weights.ravel().astype(np.int64) * (-1 if projection.receptor else 1)
    return np.stack([pre, post, delay, weight], 1).astype(np.int64)


def _sorted(rows: Array) -> Array:
    return np.asarray(rows[np.lexsort(rows.T)])
