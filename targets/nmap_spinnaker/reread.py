"""Read an emitted folder back, as sPyNNaker's host would turn it into integers, and compare it with the program that it is of."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.diagnostics import NmapError
from nmap.program import ConvTile, Program, SynapseBlock, axon_sources, box_indices, box_size, slice_indices
from nmap.quantized import QuantizedNetwork
from nmap_spinnaker.arithmetic import ONE, weight_scale
from nmap_spinnaker.artefact import ARRAYS, CELLS, CORE_MAP, RECEPTORS, SCHEMA, SOURCE, cores, expand
from nmap_spinnaker.emit import emit
from nmap_spinnaker.pynn import START_DEFAULTS, Cells, PynnNetwork, SpikeSources, Synapses, quantized, start_values

__all__ = ["Stored", "StoredPart", "StoredSlice", "read_arrays", "read_folder", "reread", "stored_synapses"]

_TOLD = 5
"""Differences of one kind that are told."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredSlice:
    """Neurons of a population, (n,) int64, -1 for one that fills up the slice, on processor `core` = (x, y, p)."""

    core: tuple[int, int, int]
    place: tuple[int, int]
    neurons: Array


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A PyNN population: its label, the neurons of each of its slices but the last, and its slices."""

    label: str
    per_core: int
    slices: tuple[StoredSlice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """What the emitted files say.

    Args:
        network: the network, its neurons in nmap's order.
        parts: the PyNN populations of each population.
        shifts: the ring-buffer shifts for which a population's weights were stored, by population and receptor.
        buffers: `incoming_spike_buffer_size` of each population of neurons.
    """

    network: PynnNetwork
    parts: dict[str, tuple[StoredPart, ...]]
    shifts: dict[tuple[str, int], int]
    buffers: dict[str, int]


def read_arrays(content: bytes) -> dict[str, Array]:
    """Read all arrays of an .npz archive.

    Raises:
        ValueError: it is no such archive, or holds pickles.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{ARRAYS} is no .npz archive: {error}") from error


def read_folder(folder: Path) -> Stored:
    """Read the files of `nmap_spinnaker.emit`.

    Raises:
        OSError, ValueError, KeyError, TypeError, IndexError: they are not there, or are none of these files.
    """
    core_map = json.loads((folder / CORE_MAP).read_bytes())
    if core_map["schema"] != SCHEMA:
        raise ValueError(f"{CORE_MAP} is none of schema {SCHEMA}")
    arrays = read_arrays((folder / ARRAYS).read_bytes())
    timestep = core_map["settings"].get("timestep_us", 1000) / 1000
    cells, sources, parts, shifts = [], [], {}, {}
    buffers = {}
    for entry in core_map["populations"]:
        size = prod(entry["shape"])
        parts[entry["name"]] = tuple(
            StoredPart(part["label"], part["neurons_per_core"], tuple(
                StoredSlice((s["x"], s["y"], s["p"]), (s["chip"], s["core"]), expand(s["neurons"])) for s in part["slices"]
            )) for part in entry["parts"]
        )
        if entry["sources"]:
            sources.append(SpikeSources(entry["name"], size, tuple(np.zeros(0) for _ in range(size))))
        else:
            cells.append(_cells(entry, size, arrays))
            buffers[entry["name"]] = int(entry["incoming_spike_buffer_size"])
    synapses = []
    for number, entry in enumerate(core_map["projections"]):
        shifts[entry["target"], RECEPTORS.index(entry["receptor"])] = entry["shift"]
        pre, post, weights, delays = _listed(number, entry, arrays)
        synapses.append(Synapses(
            entry["name"], entry["source"], entry["target"], entry["receptor"], pre, post, weights / weight_scale(entry["shift"]),
            delays * timestep,
        ))
    return Stored(PynnNetwork(timestep, tuple(cells), tuple(sources), tuple(synapses)), parts, shifts, buffers)


def _cells(entry: dict[str, Any], size: int, arrays: dict[str, Array]) -> Cells:
    first = f"p{entry['number']}."
    params = {name.removeprefix(f"{first}param."): raw / ONE for name, raw in arrays.items() if name.startswith(f"{first}param.")}
    excitatory, inhibitory = entry["max_expected_summed_weight"]
    model = {"IF_trunc": "IF_trunc_delta"}.get(CELLS[entry["kernel"]], CELLS[entry["kernel"]])
    start = {name: arrays[key] for name in START_DEFAULTS[model] if (key := f"{first}initial.{name}") in arrays}
    for name in start:
        if name != "refract_timer":
            start[name] = start[name] / ONE
    return Cells(
        entry["name"], size, model, params, arrays[f"{first}initial.v"] / ONE, (excitatory, inhibitory), start,  # type: ignore[arg-type]
    )


def _listed(number: int, entry: dict[str, Any], arrays: dict[str, Array]) -> tuple[Array, Array, Array, Array]:
    """Return the sources, targets, 16-bit weights and delays in ticks of a projection's synapses."""
    shape, key = entry["connectivity"], f"c{number}"
    weights = arrays[f"{key}.weights"]
    if shape["kind"] == "dense":
        post, pre = np.nonzero(weights)
        weights = weights[post, pre]
    else:
        if shape["kind"] == "conv":
            listed = Conv2d(
                weights.astype(np.int32), tuple(shape["in_shape"]), tuple(shape["stride"]), tuple(shape["padding"]),
                tuple(shape["dilation"]), shape["groups"],
            ).unrolled()
            indptr, pre, weights = listed.indptr, listed.indices, listed.weights
        else:
            indptr, pre = arrays[f"{key}.indptr"], arrays[f"{key}.indices"]
        post, there = np.repeat(np.arange(indptr.size - 1), np.diff(indptr)), weights > 0
        pre, post, weights = pre[there], post[there], weights[there]
    delays = arrays.get(f"{key}.delays", np.int64(entry["delays"][0]))
    return pre.astype(np.int64), post, weights.astype(np.int64), np.broadcast_to(delays, weights.shape).astype(np.int64)


def stored_synapses(network: QuantizedNetwork, target: str) -> Array:
    """Return the synapses into a population, (k, 6) int64 in ascending order.

    Columns: target neuron, source population by its place in `network.populations`, source neuron, receptor, 16-bit weight, delay in ticks.
    """
    names = [population.name for population in network.populations]
    found = [np.zeros((0, 6), np.int64)]
    for projection in network.afferents(target):
        listed = projection.connectivity
        if not isinstance(listed, Sparse):
            raise TypeError(f"{projection.name} is not listed synapse by synapse")
        extra = 0 if projection.delays is None else projection.delays
        same = (names.index(projection.source), projection.receptor)
        found.append(_rows(listed.targets, same[0], listed.indices, same[1], listed.weights, 1 + projection.delay + extra))
    return _sorted(np.concatenate(found))


def _rows(*columns: Any) -> Array:
    """Return columns, of which the first has all rows and others may be one number, side by side."""
    return np.stack([np.broadcast_to(np.asarray(column, np.int64), columns[0].shape) for column in columns], axis=1)


def _sorted(rows: Array) -> Array:
    return rows[np.lexsort(rows.T[::-1])]


def reread(folder: Path, network: QuantizedNetwork, program: Program) -> list[str]:
    """Return a sentence for everything in the written arrays that is not the program; empty where they hold the same.

    Floats are read as the script makes them and rounded as sPyNNaker's host rounds them (`nmap_spinnaker.pynn`). Compared are raw
    parameters, initial states, ring-buffer shifts, every synapse's 16-bit weight, receptor and delay, and where each neuron lies. Beyond
    that every file has to be what `nmap_spinnaker.emit` writes: texts byte for byte, arrays in dtype, shape and value.

    Args:
        folder: where the files of `nmap_spinnaker.emit` lie.
        network: the network that the program is of.
        program: what the files are of.
    """
    try:
        stored = read_folder(folder)
        found, _ = quantized(stored.network, strict=False)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError, NmapError) as error:
        return [f"the files of the PyNN script cannot be read: {type(error).__name__}: {error}"]
    names = {population.name for population in found.populations}
    due = {population.name for population in program.populations if not population.is_input}
    if names != due or set(stored.parts) != due:
        return [f"the PyNN script has populations {sorted(names)}, the program {sorted(due)}"]
    said = list(_neurons(found, program))
    said += _placement(stored, program)
    for number, population in enumerate(program.populations):
        if population.is_input or network[population.name].kernel == SOURCE:
            continue
        held, wanted = stored_synapses(found, population.name), _program_synapses(program, number, found)
        if held.shape != wanted.shape:
            said.append(f"`{population.name}` has {len(held)} synapses in the PyNN script, {len(wanted)} in the program")
        elif (held != wanted).any():
            first = int(np.flatnonzero((held != wanted).any(axis=1))[0])
            said.append(f"a synapse into `{population.name}` is {_synapse(held[first], found)} in the PyNN script, "
                        f"{_synapse(wanted[first], found)} in the program")
    return [*said, *_bytes(folder, network, program, bool(said))]


def _bytes(folder: Path, network: QuantizedNetwork, program: Program, told: bool) -> Iterator[str]:
    """Yield what differs between the files and what `emit` writes; `told`: differences of what arrays and core map say are known.

    Arrays are compared by name, dtype, shape and value, for archives of equal arrays may differ in their compression.
    """
    try:
        due = emit(network, program)
    except ValueError as error:
        yield f"the program cannot be written as a PyNN script: {error}"
        return
    for name, content in due.items():
        if name == ARRAYS or (told and name == CORE_MAP):
            continue
        try:
            held = (folder / name).read_bytes()
        except OSError as error:
            yield f"{name} cannot be read: {type(error).__name__}: {error}"
            continue
        if held != content:
            yield f"{name} is not what nmap writes for this program"
    if told:
        return
    held_arrays, due_arrays = read_arrays((folder / ARRAYS).read_bytes()), read_arrays(due[ARRAYS])
    for name in sorted({*held_arrays, *due_arrays}):
        ours, theirs = held_arrays.get(name), due_arrays.get(name)
        if ours is None or theirs is None:
            lacks, has = (ARRAYS, "the program") if ours is None else ("the program", ARRAYS)
            yield f"{has} has the array `{name}`, {lacks} has none"
        elif (ours.dtype, ours.shape) != (theirs.dtype, theirs.shape):
            yield (f"`{name}` of {ARRAYS} is {ours.dtype} of shape {ours.shape}, of the program it is {theirs.dtype} of shape"
                   f" {theirs.shape}")
        elif not np.array_equal(ours, theirs):
            yield f"`{name}` of {ARRAYS} holds other numbers than the program's"


def _synapse(row: Array, network: QuantizedNetwork) -> str:
    target, source, neuron, receptor, weight, delay = row.tolist()
    name = network.populations[source].name
    return f"{RECEPTORS[receptor]}, from neuron {neuron} of `{name}` to {target}, weight {weight}, delay {delay}"


def _neurons(found: QuantizedNetwork, program: Program) -> Iterator[str]:
    """Yield what differs in neurons' raw parameters and initial states, these as a core holds them: a current decayed by a step."""
    told, starts = 0, {}
    for group in program.groups:
        population = program.populations[group.population]
        if group.kernel == SOURCE:
            continue
        read, here = found[population.name], slice_indices(group.slice, population.shape)
        if read.kernel != group.kernel:
            yield f"neurons of `{population.name}` are {read.kernel} in the PyNN script, {group.kernel} in the program"
            continue
        pairs = [(key, read.params.get(key), values) for key, values in sorted(group.params.items())]
        if read.name not in starts:
            starts[read.name] = start_values(group.kernel, read.params, read.initial)
        begun = start_values(group.kernel, group.params, group.initial)
        pairs += [(key, starts[read.name][key], values) for key, values in begun.items()]
        for key, ours, theirs in pairs:
            values = np.zeros(0, np.int64) if ours is None else ours[here]
            wrong = np.flatnonzero(values != theirs) if values.size else np.arange(1)
            if wrong.size and told < _TOLD:
                told += 1
                held = values[wrong[0]] if values.size else "missing"
                yield (f"`{key}` of neuron {here[wrong[0]]} of `{population.name}` is {held} in the PyNN script, "
                       f"{theirs[wrong[0]]} in the program")


def _placement(stored: Stored, program: Program) -> Iterator[str]:
    """Yield what differs in where neurons lie."""
    places = cores(program)
    held = {
        (name, piece.core, piece.place): piece.neurons[piece.neurons >= 0]
        for name, parts in stored.parts.items() for part in parts for piece in part.slices
    }
    for group in program.groups:
        name, core = program.populations[group.population].name, program.cores[group.core]
        mine = held.pop((name, places[group.core], (core.chip, core.core)), None)
        due = slice_indices(group.slice, program.populations[group.population].shape)
        if mine is None or not np.array_equal(mine, due):
            where = "nothing" if mine is None else f"{mine.size} other neurons"
            x, y, p = places[group.core]
            yield f"the PyNN script puts {where} of `{name}` on processor {p} of chip ({x}, {y}), the program {due.size} neurons"
    for name, (x, y, p), _ in held:
        yield f"the PyNN script puts neurons of `{name}` on processor {p} of chip ({x}, {y}), the program none"
    for parts in stored.parts.values():
        for part in parts:
            sizes = [piece.neurons.size for piece in part.slices]
            if any(size != part.per_core for size in sizes[:-1]) or sizes[-1] > part.per_core:
                yield f"the slices of `{part.label}` are not of {part.per_core} neurons each"


def _block_rows(block: SynapseBlock) -> tuple[Array, Array, Array, Array]:
    """Return the axons, slots, weights and delays in ticks of a block's synapses, those of weight 0 left out."""
    listed, first = block.synapses, 1 + block.delay
    if isinstance(listed, ConvTile):
        whole = Conv2d(
            np.zeros((listed.out_shape[0], *listed.weights.shape[1:]), np.int32), listed.in_shape, listed.stride, listed.padding,
            listed.dilation, listed.groups,
        )
        kernel = np.zeros(whole.weights.shape, np.int32)
        low, high = listed.out_box[0]
        kernel[low:high] = listed.weights
        unrolled = whole.with_weights(kernel).unrolled()
        slot, axon = np.full(unrolled.out_size, -1), np.full(unrolled.in_size, -1)
        slot[box_indices(listed.out_box, listed.out_shape)] = np.arange(box_size(listed.out_box))
        axon[box_indices(listed.in_box, listed.in_shape)] = np.arange(block.axons)
        inside = slot[unrolled.targets] >= 0
        rows = axon[unrolled.indices[inside]], slot[unrolled.targets[inside]], unrolled.weights[inside]
        return rows[0] + block.axon, rows[1], rows[2], np.full(rows[0].size, first)
    if isinstance(listed, Dense):
        slots, axons = np.indices(listed.weights.shape).reshape(2, -1)
    else:
        slots, axons = listed.targets, listed.indices
    weights = listed.weights.ravel()
    delays = np.full(weights.size, first) if block.delays is None else first + block.delays.ravel()
    there = weights != 0
    return axons[there] + block.axon, slots[there], weights[there], delays[there]


def _program_synapses(program: Program, number: int, found: QuantizedNetwork) -> Array:
    """Return the synapses into a population of the program as `stored_synapses` does, source populations by their places in `found`."""
    place = {population.name: k for k, population in enumerate(found.populations)}
    order = np.array([place.get(population.name, -1) for population in program.populations], np.int64)
    axons, rows = axon_sources(program), [np.zeros((0, 6), np.int64)]
    for block in program.blocks:
        group = program.groups[block.group]
        if group.population != number:
            continue
        axon, slot, weight, delay = _block_rows(block)
        neurons = slice_indices(group.slice, program.populations[number].shape)
        population, neuron = axons[block.core]
        rows.append(_rows(neurons[slot], order[population[axon]], neuron[axon], block.receptor, weight, delay))
    return _sorted(np.concatenate(rows))
