"""The core program: what the chip's cores hold, in integers. The emulator runs it and the emitters translate it.

Per core: its neuron groups (one slice of one population each), its input axons, its synapse memory, and for every neuron the
(core, axon) pairs its spikes go to. Nothing here refers to the network it came from except by population name and index, so that
results can be put back in order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf, prod
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from nmap.connectivity import Array, Dense, Sparse, frozen_array
from nmap.diagnostics import Diagnostic, NmapError
from nmap.folders import Entry, Folder, LooseFolder, pack, unpack, write_array, write_loose, write_word

__all__ = [
    "Box",
    "ConvTile",
    "Core",
    "NeuronGroup",
    "Program",
    "ProgramPopulation",
    "Routes",
    "Slice",
    "SynapseBlock",
    "axon_sources",
    "box_indices",
    "box_size",
    "program_bytes",
    "read_program",
    "slice_indices",
    "slice_size",
    "write_program",
]

SCHEMA = "nmap.program/2"
PACKED = "nmap.program/3"
"""Of programs whose neuron groups and synapse blocks are packed; see `nmap.folders`."""

_LOOSE = 256
"""Neuron groups and synapse blocks up to which each is a group of the file, which any HDF5 tool shows."""

Box: TypeAlias = tuple[tuple[int, int], ...]
"""A block of a population: (start, stop) per dimension of its shape."""

Slice: TypeAlias = Box | Array
"""Some neurons of a population: a box, or the list of their indices, (k,) int64 ascending and distinct."""


def box_size(box: Box) -> int:
    """Number of neurons in a box."""
    return prod(stop - start for start, stop in box)


def box_indices(box: Box, shape: tuple[int, ...]) -> Array:
    """Return the population indices of a box's neurons, (box_size,) int64, C order inside the box."""
    grid = np.ix_(*(np.arange(start, stop) for start, stop in box))
    return np.ravel_multi_index(np.broadcast_arrays(*grid), shape).ravel().astype(np.int64)


def slice_size(part: Slice) -> int:
    """Number of neurons in a slice."""
    return box_size(part) if isinstance(part, tuple) else int(part.size)


def slice_indices(part: Slice, shape: tuple[int, ...]) -> Array:
    """Return the population indices of a slice's neurons, (slice_size,) int64, in the order of the slots on a core."""
    return box_indices(part, shape) if isinstance(part, tuple) else part


@dataclass(frozen=True, slots=True)
class ProgramPopulation:
    """A population's identity: what is needed to name and order spikes. `latency` and `busy` as in `QuantizedPopulation`."""

    name: str
    shape: tuple[int, ...]
    latency: int
    is_input: bool
    is_output: bool
    busy: float | None = None


@dataclass(frozen=True, slots=True)
class Core:
    """A used core: chip number, (x, y) position of its router on the chip, and its number on the chip."""

    chip: int
    x: int
    y: int
    core: int


@dataclass(frozen=True, slots=True, eq=False)
class NeuronGroup:
    """Neurons of one population on one core.

    Args:
        core: index into `Program.cores`.
        population: index into `Program.populations`.
        slice: which neurons of the population, slots are in C order of a box or in the order of an index list.
        kernel: name of the target's neuron kernel.
        params: (n,) int64 by name.
        initial: (n,) int64 by state variable.
    """

    core: int
    population: int
    slice: Slice
    kernel: str
    params: dict[str, Array]
    initial: dict[str, Array]

    def __post_init__(self) -> None:
        if not isinstance(self.slice, tuple):
            object.__setattr__(self, "slice", frozen_array(self.slice, np.int64))

    @property
    def size(self) -> int:
        """Number of neurons."""
        return slice_size(self.slice)


@dataclass(frozen=True, slots=True, eq=False)
class ConvTile:
    """The part of a convolution that one core holds: kernel rows shared by the core's neurons.

    Axon k of the block is source position k of `in_box`, C order.

    Args:
        weights: (out channels of the tile, in channels / groups, kh, kw) int32.
        in_shape, out_shape: (channels, height, width) of the whole source and target populations.
        in_box, out_box: source halo and target tile.
        stride, padding, dilation, groups: of the whole convolution.
    """

    weights: Array
    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    in_box: Box
    out_box: Box
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "weights", frozen_array(self.weights, np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class SynapseBlock:
    """Synapse memory of one core that serves one neuron group from a run of its input axons.

    Args:
        core: index into `Program.cores`.
        group: index into `Program.groups`, on the same core.
        axon: number of the block's first input axon on the core; axon `axon + k` drives source k of `synapses`.
        synapses: int32 weights, targets are slots of the group.
        delays: per-synapse steps, int64 like dense weights, or None.
        delay: steps beyond the one step of a hop.
        exponent, message_bits, bits, sign, accumulator: see `SynapseFormat`.
        receptor: see `QuantizedProjection`.
    """

    core: int
    group: int
    axon: int
    synapses: Dense | Sparse | ConvTile
    delays: Array | None
    delay: int
    exponent: int
    message_bits: int
    bits: int
    sign: str
    receptor: int = 0
    accumulator: int = 0

    @property
    def axons(self) -> int:
        """Number of input axons of the block."""
        return box_size(self.synapses.in_box) if isinstance(self.synapses, ConvTile) else self.synapses.in_size


@dataclass(frozen=True, slots=True, eq=False)
class Routes:
    """Destinations of a group's (or an input port's) spikes, compressed by source neuron.

    Args:
        indptr: (n + 1,) int64.
        core: (destinations,) int32, index into `Program.cores`.
        axon: (destinations,) int32, input axon on that core.
    """

    indptr: Array
    core: Array
    axon: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "indptr", frozen_array(self.indptr, np.int64))
        object.__setattr__(self, "core", frozen_array(self.core, np.int32))
        object.__setattr__(self, "axon", frozen_array(self.axon, np.int32))


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A mapped network in the chip's terms.

    Args:
        target, variant: chip family and variant (the default variant's own name, never empty).
        populations: identities, input ports included.
        cores: the used cores.
        groups: neuron groups, any order; a population's groups cover it exactly once.
        blocks: synapse blocks.
        routes: one per group, in the groups' order.
        inputs: input ports by population index: spikes the host injects.
        seed: 32-bit seed for targets with random modes.
        copies: populations, by index, whose neurons compute what neurons of another population of the network do, to send to further
            axons: the index of that population, and (n,) int64 which of its neurons each one copies.
        settings: what the chip's software is told of the network as a whole, by name.
    """

    target: str
    variant: str
    populations: tuple[ProgramPopulation, ...]
    cores: tuple[Core, ...]
    groups: tuple[NeuronGroup, ...]
    blocks: tuple[SynapseBlock, ...]
    routes: tuple[Routes, ...]
    inputs: dict[int, Routes] = field(default_factory=dict)
    seed: int = 0
    copies: dict[int, tuple[int, Array]] = field(default_factory=dict)
    settings: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frozen = {k: (origin, frozen_array(neurons, np.int64)) for k, (origin, neurons) in self.copies.items()}
        object.__setattr__(self, "copies", frozen)

    def origin(self, population: int) -> int:
        """Return the population of the network that a population is or copies, by index."""
        return self.copies[population][0] if population in self.copies else population

    def computed(self, group: NeuronGroup) -> tuple[int, Array]:
        """Return what a group computes, as itself or as copies: the population of the network, and (size,) int64 which of its neurons."""
        own = slice_indices(group.slice, self.populations[group.population].shape)
        copied = self.copies.get(group.population)
        return (group.population, own) if copied is None else (copied[0], copied[1][own])

    @property
    def latency(self) -> int:
        """Chip steps to run beyond the input's length."""
        return max(p.latency for p in self.populations if p.is_output)

    @property
    def window(self) -> int:
        """Steps of the network that one step of the chip stands for; see `nmap.windows`."""
        return self.settings.get("window", 1)


def axon_sources(program: Program) -> list[tuple[Array, Array]]:
    """Return what drives each core's axons: the population, by its place in the program, and the neuron; -1 for nothing.

    Returns:
        (axons,) int64 twice for every core.
    """
    size = [0] * len(program.cores)
    for block in program.blocks:
        size[block.core] = max(size[block.core], block.axon + block.axons)
    for routes in (*program.inputs.values(), *program.routes):
        for core in np.unique(routes.core).tolist():
            size[core] = max(size[core], 1 + int(routes.axon[routes.core == core].max()))
    found = [(np.full(n, -1, np.int64), np.full(n, -1, np.int64)) for n in size]
    senders = [(index, np.arange(prod(program.populations[index].shape)), routes) for index, routes in program.inputs.items()]
    for group, routes in zip(program.groups, program.routes, strict=True):
        senders.append((group.population, slice_indices(group.slice, program.populations[group.population].shape), routes))
    for population, neurons, routes in senders:
        each = np.repeat(neurons, np.diff(routes.indptr))
        for core in np.unique(routes.core).tolist():
            here = routes.core == core
            found[core][0][routes.axon[here]], found[core][1][routes.axon[here]] = population, each[here]
    return found


def program_bytes(program: Program) -> bytes:
    """Return a program as the content of an HDF5 file, byte for byte the same for the same program.

    The file is built in memory: HDF5 does not survive a disk that fills up while it writes.
    """
    with h5py.File("program.h5", "w", driver="core", backing_store=False, libver=("v110", "v110"), track_order=False) as file:
        _write(program, file)
        file.flush()
        return bytes(file.id.get_file_image())


def write_program(program: Program, path: Path) -> None:
    """Write `program_bytes` to a file.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_bytes(program_bytes(program))


def _write(program: Program, file: h5py.File) -> None:
    packed = len(program.groups) + len(program.blocks) > _LOOSE
    write_word(file, "schema", PACKED if packed else SCHEMA)
    write_word(file, "target", [program.target, program.variant])
    write_word(file, "seed", program.seed)
    write_word(file, "populations", [
        [p.name, p.shape, p.latency, p.is_input, p.is_output, *([] if p.busy is None else [p.busy])] for p in program.populations
    ])
    if program.settings:
        write_word(file, "settings", dict(sorted(program.settings.items())))
    write_array(file, "cores", np.array([[c.chip, c.x, c.y, c.core] for c in program.cores], np.int32).reshape(-1, 4))
    store = pack if packed else write_loose
    store(file, "groups", (_group_entry(group, routes) for group, routes in zip(program.groups, program.routes, strict=True)))
    store(file, "blocks", (_block_entry(block) for block in program.blocks))
    for population, routes in sorted(program.inputs.items()):
        node = file.create_group(f"inputs/{population:06d}", track_order=False)
        for name, values in _routes_arrays(routes).items():
            write_array(node, name, values)
    for population, (origin, neurons) in sorted(program.copies.items()):
        node = file.create_group(f"copies/{population:06d}", track_order=False)
        write_word(node, "of", origin)
        write_array(node, "neurons", neurons)


def _group_entry(group: NeuronGroup, routes: Routes) -> Entry:
    box = group.slice if isinstance(group.slice, tuple) else None
    arrays = {} if isinstance(group.slice, tuple) else {"neurons": group.slice}
    for kind, values in (("params", group.params), ("initial", group.initial)):
        arrays |= {f"{kind}/{name}": array for name, array in sorted(values.items())}
    arrays |= {f"routes/{name}": array for name, array in _routes_arrays(routes).items()}
    named = {"params": sorted(group.params), "initial": sorted(group.initial)}
    return Entry({"header": [group.core, group.population, box, group.kernel], "arrays": named}, arrays)


def _block_entry(block: SynapseBlock) -> Entry:
    synapses = block.synapses
    words: dict[str, Any] = {
        "header": [
            block.core, block.group, block.axon, block.delay, block.exponent, block.message_bits, block.bits, block.sign,
            block.receptor, block.accumulator,
        ],
        "arrays": {"delays": block.delays is not None},
    }
    arrays = {"weights": synapses.weights}
    if block.delays is not None:
        arrays["delays"] = block.delays
    if isinstance(synapses, ConvTile):
        words["conv"] = [
            synapses.in_shape, synapses.out_shape, synapses.in_box, synapses.out_box, synapses.stride, synapses.padding,
            synapses.dilation, synapses.groups,
        ]
    elif isinstance(synapses, Sparse):
        arrays |= {"indptr": synapses.indptr, "indices": synapses.indices}
        words["in_size"] = synapses.in_size
    return Entry(words, arrays)


def _routes_arrays(routes: Routes) -> dict[str, Array]:
    return {"indptr": routes.indptr, "core": routes.core, "axon": routes.axon}


def read_program(path: Path) -> Program:
    """Read a program written by `write_program`.

    What is returned can be run: every array has the length its neurons or axons ask for, and every index lies inside what it counts.
    Whether the program keeps the chip's limits, and computes the network, is asked elsewhere.

    Raises:
        NmapError: NM602, the file is missing, damaged, of another version, or contradicts itself.
    """
    try:
        with h5py.File(path, "r") as file:
            program = _read(file)
        for contradiction in _contradictions(program):
            raise ValueError(contradiction)
    # h5py raises RuntimeError and MemoryError, too, for damaged content; deeply nested JSON a RecursionError, which is a RuntimeError.
    except (OSError, KeyError, ValueError, TypeError, OverflowError, RuntimeError, MemoryError) as error:
        message = f"`{path.name}` is not a program this nmap can read"
        raise NmapError(Diagnostic("NM602", "error", message, str(path), str(error))) from error
    return program


def _read(file: h5py.File) -> Program:
    root = LooseFolder(file)
    schema = _json(root, "schema")
    if schema not in (SCHEMA, PACKED):
        raise ValueError(f"its schema is `{schema}`, this nmap reads `{SCHEMA}` and `{PACKED}`")
    target, variant = _json(root, "target", (str, str))
    seed = _json(root, "seed")
    if not _whole(seed):
        raise ValueError("attribute `seed` is not a whole number")
    cores = _integers(root, "cores", 2)
    if cores.shape[1] != 4:
        raise ValueError(f"`/cores` has {cores.shape[1]} columns, not 4")
    populations = _read_populations(root)
    stored: dict[str, Sequence[Folder]] = {
        name: unpack(file, name) if schema == PACKED else _numbered(file, name)
        for name in ("groups", "blocks") if name == "groups" or schema == PACKED or name in file
    }
    groups, routes = [], []
    for node in stored["groups"]:
        groups.append(_read_group(node, populations))
        routes.append(_read_routes(node, "routes/"))
    inputs = {number: _read_routes(node, "") for number, node in _by_population(file, "inputs")}
    copies = {}
    for number, folder in _by_population(file, "copies"):
        origin = _json(folder, "of")
        if not _whole(origin):
            raise ValueError(f"attribute `of` of `{folder.name}` is not a population's number")
        copies[number] = (origin, _integers(folder, "neurons", 1, (0, _INT32)))
    settings = _json(root, "settings") if root.has("settings") else {}
    if not isinstance(settings, dict) or not all(_whole(value) for value in settings.values()):
        raise ValueError("attribute `settings` does not hold whole numbers by name")
    blocks = tuple(_read_block(node) for node in stored.get("blocks", ()))
    return Program(
        target, variant, populations, tuple(Core(*(int(v) for v in row)) for row in cores), tuple(groups), blocks,
        tuple(routes), dict(sorted(inputs.items())), seed, dict(sorted(copies.items())), settings,
    )


def _by_population(file: h5py.File, name: str) -> Iterator[tuple[int, LooseFolder]]:
    for key in _folder(file, name) if name in file else ():
        if not (key.isascii() and key.isdigit()):
            raise ValueError(f"`/{name}/{key}` is not named by a population's number")
        yield int(key), LooseFolder(_folder(file, f"{name}/{key}"))


def _read_populations(file: LooseFolder) -> tuple[ProgramPopulation, ...]:
    rows = _json(file, "populations")
    populations = []
    for row in rows if isinstance(rows, list) else [rows]:
        known = isinstance(row, list) and len(row) == 6
        _typed("attribute `populations`", row, (str, list, int, bool, bool, *([(int, float)] if known else [])))
        name, shape, latency, is_input, is_output = row[:5]
        busy = float(row[5]) if known else None
        if busy is not None and (isinstance(row[5], bool) or not 0 <= busy < inf):
            raise ValueError(f"population `{name}` sends {row[5]} spikes in its busiest step")
        if not all(_whole(size) and size > 0 for size in shape) or not 0 <= latency < _LATENCY:
            raise ValueError(f"population `{name}` has shape {shape} and latency {latency}")
        populations.append(ProgramPopulation(name, tuple(shape), latency, is_input, is_output, busy))
    return tuple(populations)


def _read_group(node: Folder, populations: tuple[ProgramPopulation, ...]) -> NeuronGroup:
    core, population, box, kernel = _json(node, "header", (int, int, (list, type(None)), str))
    if not 0 <= population < len(populations):
        raise ValueError(f"`{node.name}` belongs to population {population} of {len(populations)}")
    part = _listed(node, prod(populations[population].shape)) if box is None else _box(node, box)
    names = _json(node, "arrays")
    arrays = []
    for kind in ("params", "initial"):
        listed = names.get(kind) if isinstance(names, dict) else None
        if not isinstance(listed, list):
            raise ValueError(f"`{node.name}` does not list its {kind}")
        arrays.append({str(key): frozen_array(_integers(node, f"{kind}/{key}", 1), np.int64) for key in listed})
    return NeuronGroup(core, population, part, kernel, *arrays)


def _read_block(node: Folder) -> SynapseBlock:
    core, group, axon, delay, exponent, message_bits, bits, sign, receptor, accumulator = _json(
        node, "header", (int, int, int, int, int, int, int, str, int, int)
    )
    synapses: Dense | Sparse | ConvTile
    if node.has("conv"):
        synapses = _read_tile(node)
    elif node.has("in_size"):
        synapses = _read_sparse(node)
    else:
        synapses = Dense(_integers(node, "weights", 2, _WEIGHT))
    arrays, delays = _json(node, "arrays"), None
    if not isinstance(arrays, dict) or not isinstance(arrays.get("delays"), bool):
        raise ValueError(f"`{node.name}` does not say whether it has delays")
    if arrays["delays"]:
        delays = frozen_array(_integers(node, "delays", synapses.weights.ndim, _STEPS), np.int64)
    return SynapseBlock(core, group, axon, synapses, delays, delay, exponent, message_bits, bits, sign, receptor, accumulator)


def _read_sparse(node: Folder) -> Sparse:
    in_size = _json(node, "in_size")
    if not _whole(in_size) or in_size < 1:
        raise ValueError(f"attribute `in_size` of `{node.name}` is not a number of sources")
    indices = _integers(node, "indices", 1, (0, in_size - 1))
    return Sparse(_pointers(node, "indptr", indices.size), indices, _integers(node, "weights", 1, _WEIGHT), in_size)


def _read_tile(node: Folder) -> ConvTile:
    weights = _integers(node, "weights", 4, _WEIGHT)
    header = _json(node, "conv", (list, list, list, list, list, list, list, int))
    in_box, out_box = _box(node, header[2]), _box(node, header[3])
    in_shape, out_shape, stride, padding, dilation = (tuple(header[k]) for k in (0, 1, 4, 5, 6))
    groups = header[7]
    rules = ((in_shape, 3, 1), (out_shape, 3, 1), (stride, 2, 1), (padding, 2, 0), (dilation, 2, 1), ((groups,), 1, 1))
    for values, length, least in rules:
        if len(values) != length or not all(_whole(v) and least <= v <= _INT32 for v in values):
            raise ValueError(f"attribute `conv` of `{node.name}` does not describe a convolution")
    if not (_inside(in_box, in_shape) and _inside(out_box, out_shape)):
        raise ValueError(f"the tile of `{node.name}` leads outside its convolution")
    if in_shape[0] % groups or out_shape[0] % groups or weights.shape[:2] != (out_box[0][1] - out_box[0][0], in_shape[0] // groups):
        raise ValueError(f"the kernel rows of `{node.name}`, {weights.shape}, do not belong to its tile")
    return ConvTile(weights, in_shape, out_shape, in_box, out_box, stride, padding, dilation, groups)


def _read_routes(node: Folder, within: str) -> Routes:
    core, axon = (_integers(node, f"{within}{name}", 1, (0, _INT32)) for name in ("core", "axon"))
    if core.shape != axon.shape:
        raise ValueError(f"`{node.name}` has {core.size} cores for {axon.size} axons")
    return Routes(_pointers(node, f"{within}indptr", core.size), core, axon)


_INT32 = 2**31 - 1
_INT64 = 2**63 - 1
_WEIGHT = (-(2**31), _INT32)
_STEPS = (0, _INT32)
_SHIFT = 62
"""The emulator's accumulators have 64 bits."""
_WIDTH = 64
"""The widest weights and payloads that the emulator's accumulators could take."""
_LATENCY = 1 << 20
"""Steps are run beyond the input's for it: bounds what a damaged file can ask for."""
_RECEPTORS = 64
"""Dendritic inputs of a neuron: bounds what a damaged file can ask for."""


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _typed(where: str, values: Any, types: tuple[type | tuple[type, ...], ...]) -> None:
    if not isinstance(values, list) or len(values) != len(types) or not all(
        _whole(value) if kind is int else isinstance(value, kind) for value, kind in zip(values, types, strict=True)
    ):
        raise ValueError(f"{where} does not hold what this nmap writes there")


def _json(node: Folder, name: str, types: tuple[type | tuple[type, ...], ...] | None = None) -> Any:
    where = f"attribute `{name}`" + (f" of `{node.name}`" if node.name != "/" else "")
    if not node.has(name):
        raise ValueError(f"{where} is missing")
    value = node.word(name)
    if types is not None:
        _typed(where, value, types)
    return value


def _folder(node: h5py.Group, name: str) -> h5py.Group:
    found = node.get(name)
    if not isinstance(found, h5py.Group):
        raise ValueError(f"group `{node.name.rstrip('/')}/{name}` is missing")
    return found


def _numbered(file: h5py.File, name: str) -> list[LooseFolder]:
    folder = _folder(file, name)
    names = [f"{k:06d}" for k in range(len(folder))]
    if set(names) != set(folder):
        raise ValueError(f"the entries of `/{name}` are not numbered 0 to {len(names) - 1}")
    return [LooseFolder(_folder(folder, k)) for k in names]


def _integers(node: Folder, name: str, rank: int, within: tuple[int, int] | None = None) -> Array:
    """Return an array of whole numbers of that rank, all of them inside `within`, ends included."""
    found, where = node.find(name), f"dataset `{node.name.rstrip('/')}/{name}`"
    if found is None:
        raise ValueError(f"{where} is missing")
    if found.dtype.kind not in "iu" or found.shape is None or len(found.shape) != rank:
        raise ValueError(f"{where} does not hold whole numbers of rank {rank}")
    values = found[()]
    if within is not None and values.size and not within[0] <= int(values.min()) <= int(values.max()) <= within[1]:
        raise ValueError(f"{where} holds a value outside {within[0]} to {within[1]}")
    if within is None and values.dtype == np.uint64 and values.size and int(values.max()) > _INT64:
        raise ValueError(f"{where} holds a value beyond {_INT64}")
    return values


def _pointers(node: Folder, name: str, entries: int) -> Array:
    values = _integers(node, name, 1, (0, entries))
    if not values.size or values[0] != 0 or values[-1] != entries or (values[1:] < values[:-1]).any():
        raise ValueError(f"dataset `{node.name}/{name}` does not divide {entries} entries")
    return values


def _box(node: Folder, value: Any) -> Box:
    if not isinstance(value, list) or not all(isinstance(v, list) and len(v) == 2 and all(map(_whole, v)) for v in value):
        raise ValueError(f"`{node.name}` has no box of (start, stop) pairs")
    return tuple((start, stop) for start, stop in value)


def _listed(node: Folder, size: int) -> Array:
    """Return an index list of a population of `size` neurons; a longer one is not read."""
    found = node.find("neurons")
    if found is not None and found.shape and found.shape[0] > size:
        raise ValueError(f"`{node.name}` lists {found.shape[0]} neurons of a population of {size}")
    values = _integers(node, "neurons", 1, (0, size - 1)).astype(np.int64)
    if not values.size or (np.diff(values) <= 0).any():
        raise ValueError(f"dataset `{node.name}/neurons` is not an ascending list of neurons")
    return values


def _inside(box: Box, shape: tuple[int, ...]) -> bool:
    return len(box) == len(shape) and all(0 <= start < stop <= size for (start, stop), size in zip(box, shape, strict=True))


def _contradictions(program: Program) -> Iterator[str]:
    """Sentences that say where parts of a program do not belong together, each of them sound in itself."""
    if not program.target or not program.variant or not 0 <= program.seed < 2**32:
        yield "the target, its variant or the seed is not one"
    if not any(p.is_output for p in program.populations):
        yield "no population is an output"
    if len({p.name for p in program.populations}) < len(program.populations):
        yield "two populations have one name"
    for number, group in enumerate(program.groups):
        yield from (f"neuron group {number} {what}" for what in _group_contradictions(program, group))
    yield from _copy_contradictions(program)
    held = [0] * len(program.populations)
    for group in program.groups:
        held[group.population] += group.size
    for index, population in enumerate(program.populations):
        if population.is_input and index not in program.inputs:
            yield f"`/inputs` has no routes of the input port `{population.name}`"
        if not population.is_input and held[index] != prod(population.shape):
            yield f"the neuron groups of `{population.name}` hold {held[index]} of its {prod(population.shape)} neurons"
    # A core's axons are numbered without gaps, so none is beyond their number.
    axons = np.zeros(len(program.cores), np.int64)
    largest = max(prod(p.shape) for p in program.populations)
    for number, block in enumerate(program.blocks):
        yield from (f"synapse block {number} {what}" for what in _block_contradictions(program, block, largest))
        axons[block.core] += block.axons
    most = axons.tolist()
    for number, block in enumerate(program.blocks):
        if not 0 <= block.axon <= most[block.core] - block.axons:
            yield f"synapse block {number} has input axons beyond the {most[block.core]} of its core"
    for number, (group, routes) in enumerate(zip(program.groups, program.routes, strict=True)):
        yield from (f"neuron group {number} {what}" for what in _route_contradictions(routes, group.size, axons))
    for index, routes in program.inputs.items():
        if index >= len(program.populations) or not program.populations[index].is_input:
            yield f"`/inputs` has routes of population {index}, which is not an input port"
        population = program.populations[index]
        yield from (f"input port `{population.name}` {what}" for what in _route_contradictions(routes, prod(population.shape), axons))


def _copy_contradictions(program: Program) -> Iterator[str]:
    count = len(program.populations)
    for number, (origin, neurons) in program.copies.items():
        if not (0 <= number < count and 0 <= origin < count) or origin in program.copies:
            yield f"population {number} copies population {origin}, which is none of the network's {count}"
            continue
        copy, copied = program.populations[number], program.populations[origin]
        if copy.is_input or copy.is_output or copied.is_input:
            yield f"`{copy.name}` and the population `{copied.name}` that it copies cannot be an input port or an output"
        if neurons.size != prod(copy.shape) or (neurons.size and neurons.max() >= prod(copied.shape)):
            yield f"`{copy.name}` has {prod(copy.shape)} neurons, and its list of what they copy in `{copied.name}` does not fit them"


def _group_contradictions(program: Program, group: NeuronGroup) -> Iterator[str]:
    if not 0 <= group.core < len(program.cores):
        yield f"lies on core {group.core} of {len(program.cores)}"
    population = program.populations[group.population]
    if population.is_input:
        yield f"belongs to the input port `{population.name}`"
    if isinstance(group.slice, tuple) and not _inside(group.slice, population.shape):
        yield f"has a box outside population `{population.name}`"
    for name, values in (*group.params.items(), *group.initial.items()):
        if values.size != group.size:
            yield f"has {values.size} values of `{name}` for {group.size} neurons"


def _block_contradictions(program: Program, block: SynapseBlock, largest: int) -> Iterator[str]:
    if not 0 <= block.core < len(program.cores):
        yield f"lies on core {block.core} of {len(program.cores)}"
    if not 0 <= block.group < len(program.groups):
        yield f"serves neuron group {block.group} of {len(program.groups)}"
    synapses, group = block.synapses, program.groups[block.group]
    if group.core != block.core:
        yield f"lies on core {block.core} and serves neuron group {block.group} on core {group.core}"
    targets = box_size(synapses.out_box) if isinstance(synapses, ConvTile) else synapses.out_size
    if targets != group.size:
        yield f"has {targets} targets for the {group.size} neurons of its group"
    if not 1 <= block.axons <= largest:
        yield f"has {block.axons} input axons, and the largest population {largest} neurons"
    if block.delays is not None and (isinstance(synapses, ConvTile) or block.delays.shape != synapses.weights.shape):
        yield "does not have one delay per synapse"
    if not 0 <= block.delay <= _INT32 or abs(block.exponent) > _SHIFT:
        yield "has a delay or an exponent that no chip has"
    if not all(0 <= width <= _WIDTH for width in (block.bits, block.message_bits)):
        yield f"has weights of {block.bits} bits and payloads of {block.message_bits}, which no chip has"
    if not 0 <= block.receptor < _RECEPTORS or not 0 <= block.accumulator <= _SHIFT:
        yield "has a receptor or an accumulator that no chip has"
    if block.sign not in ("mixed", "excitatory", "inhibitory"):
        yield f"has the sign mode `{block.sign}`"


def _route_contradictions(routes: Routes, neurons: int, axons: Array) -> Iterator[str]:
    if routes.indptr.size != neurons + 1:
        yield f"has routes of {routes.indptr.size - 1} neurons instead of {neurons}"
    if routes.core.size:
        if routes.core.max() >= axons.size:
            yield f"sends spikes to core {routes.core.max()} of {axons.size}"
        beyond = np.flatnonzero(routes.axon >= axons[routes.core])
        if beyond.size:
            core, axon = (int(values[beyond[0]]) for values in (routes.core, routes.axon))
            yield f"sends spikes to input axon {axon} of core {core}, which has {axons[core]}"
