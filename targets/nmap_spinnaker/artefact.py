"""A core program in PyNN's terms: which PyNN populations there are, in which order their neurons stand, and on which processors they lie.

sPyNNaker cuts a population into runs of equally many consecutive neurons, of which only the last may be shorter: the key of a spike, the
rows of a synaptic matrix and the ring buffers of all its cores are laid out for one number of neurons per core. So the neurons of a
population are listed slice by slice. Slices of other sizes become PyNN populations of their own, or are filled up with silent neurons,
whichever is less.

Processors. Processor 0 of a chip is the monitor, and sPyNNaker takes one more for data, two on chips with Ethernet. Core k of a chip is
processor k + 2 (sPyNNaker 7.4.1: `enable_advanced_monitor_support`).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from nmap.connectivity import Array, Sparse, frozen_array
from nmap.program import Program, slice_indices
from nmap.quantized import QuantizedNetwork, QuantizedProjection
from nmap.target.machine import _chip_places
from nmap.target.spec import load_spec

__all__ = [
    "ARRAYS", "CELLS", "CORE_MAP", "FIRST_PROCESSOR", "RECEPTORS", "SCHEMA", "SILENT", "SOURCE", "BoardSize", "Part", "board_size",
    "bound", "compact", "cores", "expand", "loads", "npz", "one", "parts", "shift_of",
]

ARRAYS, CORE_MAP = "network.npz", "core_map.json"
SCHEMA = "nmap.spynnaker/1"
"""Of the core map."""
RECEPTORS = ("excitatory", "inhibitory")
FIRST_PROCESSOR = 2
"""Processor of nmap's core 0 of a chip."""
SOURCE = "spinnaker1.source"
CELLS = {
    "spinnaker1.if_curr_exp": "IF_curr_exp", "spinnaker1.if_curr_delta": "IF_curr_delta", "spinnaker1.if_trunc": "IF_trunc",
}
"""PyNN's cell type of each neuron kernel; the last is the script's own, see its text."""
SILENT = {"i_offset": 0, "v_rest": 0, "v_reset": 0, "v_thresh": 2**31 - 1}
"""Raw parameters of a neuron that fills up a slice: without synapses it stays at 0, below any threshold."""
_APART = 16
"""Silent neurons that cost about as much as one more PyNN population, which takes entries of every target's population table and keys."""
_SMALL_BOARD = 4
"""Chips of a SpiNN-3 board; larger machines are of SpiNN-5 boards."""
_TRIAD = 12
"""Columns and rows of chips in which three SpiNN-5 boards stand."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A PyNN population: some slices of one of the program's populations.

    Args:
        label: its name in PyNN.
        population: index into `Program.populations`.
        groups: indices into `Program.groups`, one for each slice, in the order of the slices.
        per_core: neurons of every slice but the last, which may have fewer.
        neurons: (n,) int64, the neurons of the program's population in PyNN's order; -1 for silent ones that fill up a slice.
    """

    label: str
    population: int
    groups: tuple[int, ...]
    per_core: int
    neurons: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "neurons", frozen_array(self.neurons, np.int64))

    @property
    def padding(self) -> int:
        """Silent neurons."""
        return int((self.neurons < 0).sum())

    def slices(self) -> list[Array]:
        """Return the neurons slice by slice."""
        return [self.neurons[first : first + self.per_core] for first in range(0, self.neurons.size, self.per_core)]


@dataclass(frozen=True, slots=True)
class BoardSize:
    """The machine that a program needs, as sPyNNaker's configuration names it.

    Args:
        version: of the board: 3 for four chips, 5 for 48.
        width, height: in chips.
        boards: how many.
    """

    version: int
    width: int
    height: int
    boards: int


def _cut(sizes: Sequence[int]) -> list[list[int]]:
    """Return runs of slices, by their places in `sizes`, largest first: each run becomes one PyNN population.

    All slices of a run but its last are filled up to its first. Of all ways to cut the list of sizes, from the largest to the smallest,
    the one with the fewest silent neurons is taken, `_APART` of which count as much as one more run; the fewest runs among equal ones.
    Slices of one size stay together.
    """
    order = sorted(range(len(sizes)), key=lambda k: (-sizes[k], k))
    distinct = sorted(set(sizes), reverse=True)
    many = [sizes.count(size) for size in distinct]
    slices = np.cumsum([0, *many])
    neurons = np.cumsum([0, *(size * count for size, count in zip(distinct, many, strict=True))])
    best = [(0, 0, 0)]
    for end in range(1, len(distinct) + 1):
        choices = []
        for start in range(end):
            last = distinct[start] - distinct[end - 1]
            filled = distinct[start] * int(slices[end] - slices[start]) - int(neurons[end] - neurons[start]) - last
            choices.append((best[start][0] + filled + _APART, best[start][1] + 1, start))
        best.append(min(choices))
    runs, end = [], len(distinct)
    while end:
        start = best[end][2]
        runs.append(order[slices[start] : slices[end]])
        end = start
    return runs[::-1]


def parts(program: Program) -> tuple[Part, ...]:
    """Return the PyNN populations of a program, in the order of its populations."""
    held: list[list[int]] = [[] for _ in program.populations]
    for number, group in enumerate(program.groups):
        held[group.population].append(number)
    found = []
    for index, population in enumerate(program.populations):
        runs = _cut([program.groups[number].size for number in held[index]])
        for place, run in enumerate(runs):
            groups = tuple(held[index][k] for k in run)
            per_core = program.groups[groups[0]].size
            neurons = []
            for number in groups:
                own = slice_indices(program.groups[number].slice, population.shape)
                last = number == groups[-1]
                neurons.append(own if last else np.concatenate([own, np.full(per_core - own.size, -1, np.int64)]))
            label = population.name if len(runs) == 1 else f"{population.name}#{place}"
            found.append(Part(label, index, groups, per_core, np.concatenate(neurons)))
    return tuple(found)


def cores(program: Program) -> tuple[tuple[int, int, int], ...]:
    """Return the chip's column and row and the processor of each of the program's cores."""
    data = load_spec("nmap_spinnaker", "chip1.toml").variants[program.variant]
    places = _chip_places(data, 1 + max(core.chip for core in program.cores))
    return tuple((*places[core.chip].tolist(), core.core + FIRST_PROCESSOR) for core in program.cores)


def board_size(program: Program) -> BoardSize:
    """Return the smallest machine of the variant's boards that has all of the program's chips where they are."""
    data = load_spec("nmap_spinnaker", "chip1.toml").variants[program.variant]
    used = cores(program)
    columns, rows = (1 + max(core[axis] for core in used) for axis in (0, 1))
    if data.max_chips <= _SMALL_BOARD:
        return BoardSize(3, 2, 2, 1)
    places = {tuple(place) for place in _chip_places(data, min(48, data.max_chips)).tolist()}
    if all((x, y) in places for x, y, _ in used):
        return BoardSize(5, 8, 8, 1)
    width, height = (-(-size // _TRIAD) * _TRIAD for size in (columns, rows))
    return BoardSize(5, width, height, 3 * (width // _TRIAD) * (height // _TRIAD))


def bound(shift: int) -> float:
    """Return a largest expected summed weight for which sPyNNaker's host takes this ring-buffer shift.

    The host takes the least shift p with 2^p above the bound (`get_ring_buffer_shifts` of `population_vertex.py`).
    """
    return 0.75 * 2.0**shift if shift else 0.5


def shift_of(network: QuantizedNetwork, projection: QuantizedProjection) -> int:
    """Return the ring-buffer shift that a projection's weights are stored for; 0 for one into a source.

    Raises:
        ValueError: neurons of the target differ in it.
    """
    target = network[projection.target]
    if target.kernel == SOURCE:
        return 0
    return one(target.name, f"shift_{projection.receptor}", target.params[f"shift_{projection.receptor}"])


def one(name: str, key: str, values: Array) -> int:
    """Return the number that all neurons of a population share.

    Raises:
        ValueError: they differ.
    """
    if (values != values[0]).any():
        raise ValueError(f"neurons of `{name}` differ in {key}, of which a population has one")
    return int(values[0])


def loads(network: QuantizedNetwork) -> dict[str, str]:
    """Return the input port by the name of the population of sources that sends its spikes on.

    Raises:
        ValueError: a population of sources is not fed by one port, neuron by neuron, in the next step.
    """
    ports: dict[str, str] = {}
    for population in network.populations:
        if population.kernel != SOURCE:
            continue
        into = network.afferents(population.name)
        if len(into) != 1 or network[into[0].source].kernel is not None or not _one_to_one(into[0]):
            raise ValueError(f"sources of `{population.name}` do not each send on the spikes of one input neuron")
        ports[population.name] = into[0].source
    return ports


def _one_to_one(projection: QuantizedProjection) -> bool:
    listed = projection.connectivity
    if not isinstance(listed, Sparse) or projection.delay or projection.delays is not None:
        return False
    own = np.arange(listed.in_size)
    return bool(
        listed.out_size == listed.in_size and np.array_equal(listed.indices, own) and np.array_equal(listed.targets, own)
        and (listed.weights == 1).all()
    )


def compact(neurons: Array) -> list[int | list[int]]:
    """Return a list of neurons with runs of three and more consecutive ones as [first, last]."""
    values = neurons.tolist()
    found: list[int | list[int]] = []
    start = 0
    for k in range(1, len(values) + 1):
        if k < len(values) and values[k] == values[k - 1] + 1 and values[k - 1] >= 0:
            continue
        found += [[values[start], values[k - 1]]] if k - start > 2 else values[start:k]
        start = k
    return found


def expand(listed: Sequence[int | Sequence[int]]) -> Array:
    """Return what `compact` was given, (n,) int64."""
    runs = [np.arange(entry[0], entry[1] + 1) if isinstance(entry, Sequence) else np.array([entry]) for entry in listed]
    return np.concatenate([np.zeros(0, np.int64), *runs]).astype(np.int64)


def npz(arrays: Mapping[str, Any]) -> bytes:
    """Return an .npz file, the same bytes for the same arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            # A fixed date and system: zip entries otherwise carry the time of writing.
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(info, member.getvalue(), compresslevel=6)
    return buffer.getvalue()
