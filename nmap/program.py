"""The core program: what the chip's cores hold, in integers. The emulator runs it and the emitters translate it.

Per core: its neuron groups (one slice of one population each), its input axons, its synapse memory, and for every neuron the
(core, axon) pairs its spikes go to. Nothing here refers to the network it came from except by population name and index, so that
results can be put back in order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import h5py
import numpy as np

from nmap.connectivity import Array, Dense, Sparse, frozen_array
from nmap.diagnostics import Diagnostic, NmapError

__all__ = [
    "Box",
    "ConvTile",
    "Core",
    "NeuronGroup",
    "Program",
    "ProgramPopulation",
    "Routes",
    "SynapseBlock",
    "box_indices",
    "box_size",
    "read_program",
    "write_program",
]

SCHEMA = "nmap.program/1"

Box: TypeAlias = tuple[tuple[int, int], ...]
"""A slice of a population: (start, stop) per dimension of its shape."""


def box_size(box: Box) -> int:
    """Number of neurons in a box."""
    return prod(stop - start for start, stop in box)


def box_indices(box: Box, shape: tuple[int, ...]) -> Array:
    """Return the population indices of a box's neurons, (box_size,) int64, C order inside the box."""
    grid = np.ix_(*(np.arange(start, stop) for start, stop in box))
    return np.ravel_multi_index(np.broadcast_arrays(*grid), shape).ravel().astype(np.int64)


@dataclass(frozen=True, slots=True)
class ProgramPopulation:
    """A population's identity: what is needed to name and order spikes. `latency` as in `QuantizedPopulation`."""

    name: str
    shape: tuple[int, ...]
    latency: int
    is_input: bool
    is_output: bool


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
        box: the slice of the population's shape, slots are C order inside it.
        kernel: name of the target's neuron kernel.
        params: (n,) int64 by name.
        initial: (n,) int64 by state variable.
    """

    core: int
    population: int
    box: Box
    kernel: str
    params: dict[str, Array]
    initial: dict[str, Array]

    @property
    def size(self) -> int:
        """Number of neurons."""
        return box_size(self.box)


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
        exponent, message_bits, bits, sign: see `SynapseFormat`.
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

    @property
    def latency(self) -> int:
        """Chip steps to run beyond the input's length."""
        return max(p.latency for p in self.populations if p.is_output)


def _write_array(group: h5py.Group, name: str, values: Array) -> None:
    # No timestamps: the same program must give the same bytes.
    kwargs: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if values.size > 512 else {}
    group.create_dataset(name, data=values, track_times=False, **kwargs)


def _write_json(group: h5py.Group, name: str, value: Any) -> None:
    group.attrs[name] = json.dumps(value, sort_keys=True)


def write_program(program: Program, path: Path) -> None:
    """Write a program to HDF5, byte for byte the same for the same program."""
    with h5py.File(path, "w", libver=("v110", "v110"), track_order=False) as file:
        _write_json(file, "schema", SCHEMA)
        _write_json(file, "target", [program.target, program.variant])
        _write_json(file, "seed", program.seed)
        _write_json(file, "populations", [[p.name, p.shape, p.latency, p.is_input, p.is_output] for p in program.populations])
        _write_array(file, "cores", np.array([[c.chip, c.x, c.y, c.core] for c in program.cores], np.int32).reshape(-1, 4))
        for k, (group, routes) in enumerate(zip(program.groups, program.routes, strict=True)):
            node = file.create_group(f"groups/{k:06d}", track_order=False)
            _write_json(node, "header", [group.core, group.population, group.box, group.kernel])
            for kind, values in (("params", group.params), ("initial", group.initial)):
                for name, array in sorted(values.items()):
                    _write_array(node.require_group(kind), name, array)
            _write_routes(node.create_group("routes"), routes)
        for k, block in enumerate(program.blocks):
            node = file.create_group(f"blocks/{k:06d}", track_order=False)
            synapses = block.synapses
            header = [block.core, block.group, block.axon, block.delay, block.exponent, block.message_bits, block.bits, block.sign]
            _write_json(node, "header", header)
            _write_array(node, "weights", synapses.weights)
            if block.delays is not None:
                _write_array(node, "delays", block.delays)
            if isinstance(synapses, ConvTile):
                _write_json(node, "conv", [
                    synapses.in_shape, synapses.out_shape, synapses.in_box, synapses.out_box, synapses.stride, synapses.padding,
                    synapses.dilation, synapses.groups,
                ])
            elif isinstance(synapses, Sparse):
                _write_array(node, "indptr", synapses.indptr)
                _write_array(node, "indices", synapses.indices)
                _write_json(node, "in_size", synapses.in_size)
        for population, routes in sorted(program.inputs.items()):
            _write_routes(file.create_group(f"inputs/{population:06d}"), routes)


def _write_routes(node: h5py.Group, routes: Routes) -> None:
    for name in ("indptr", "core", "axon"):
        _write_array(node, name, getattr(routes, name))


def _read_routes(node: h5py.Group) -> Routes:
    return Routes(node["indptr"][()], node["core"][()], node["axon"][()])


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list) else value


def read_program(path: Path) -> Program:
    """Read a program written by `write_program`.

    Raises:
        NmapError: NM602, the file is missing, damaged or of another version.
    """
    try:
        with h5py.File(path, "r") as file:
            if json.loads(file.attrs["schema"]) != SCHEMA:
                raise ValueError(f"its schema is {file.attrs['schema']}, this nmap reads {SCHEMA}")
            target, variant = json.loads(file.attrs["target"])
            groups, routes, blocks = [], [], []
            for name in sorted(file["groups"]):
                node = file["groups"][name]
                core, population, box, kernel = json.loads(node.attrs["header"])
                arrays = [
                    {key: frozen_array(values[()], np.int64) for key, values in node[kind].items()} if kind in node else {}
                    for kind in ("params", "initial")
                ]
                groups.append(NeuronGroup(core, population, _tuples(box), kernel, *arrays))
                routes.append(_read_routes(node["routes"]))
            for name in sorted(file["blocks"]) if "blocks" in file else ():
                node = file["blocks"][name]
                weights = node["weights"][()]
                synapses: Dense | Sparse | ConvTile
                if "conv" in node.attrs:
                    synapses = ConvTile(weights, *_tuples(json.loads(node.attrs["conv"])))
                elif "indptr" in node:
                    synapses = Sparse(node["indptr"][()], node["indices"][()], weights, json.loads(node.attrs["in_size"]))
                else:
                    synapses = Dense(weights)
                core, group, axon, delay, exponent, message_bits, bits, sign = json.loads(node.attrs["header"])
                delays = frozen_array(node["delays"][()], np.int64) if "delays" in node else None
                blocks.append(SynapseBlock(core, group, axon, synapses, delays, delay, exponent, message_bits, bits, sign))
            inputs = {int(name): _read_routes(file["inputs"][name]) for name in sorted(file["inputs"])} if "inputs" in file else {}
            return Program(
                target, variant,
                tuple(ProgramPopulation(n, _tuples(s), la, i, o) for n, s, la, i, o in json.loads(file.attrs["populations"])),
                tuple(Core(*(int(v) for v in row)) for row in file["cores"][()]),
                tuple(groups), tuple(blocks), tuple(routes), inputs, json.loads(file.attrs["seed"]),
            )
    except (OSError, KeyError, ValueError, TypeError) as error:
        message = f"`{path.name}` is not a program this nmap can read"
        raise NmapError(Diagnostic("NM602", "error", message, str(path), str(error))) from error
