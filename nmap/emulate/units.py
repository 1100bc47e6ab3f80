"""Populations put together again from the cores that hold them, and the sources that drive every input axon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, NmapError
from nmap.emulate.kernel import SHARED, Kernel, shared_rows
from nmap.ordering import components as connected
from nmap.ordering import topological_order
from nmap.program import ConvTile, Program, slice_indices

__all__ = ["Drivers", "Unit", "components", "damaged", "drivers", "units"]

_INT32 = np.iinfo(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """One population, or one input port, whichever cores it lies on.

    Args:
        population: index into `Program.populations`.
        order: population index of each neuron, (n,) int64: neurons of one core lie together; channels last where the unit receives a
            convolution, so that what a spike adds to lies together, too.
        position: the inverse of `order`, (n,) int64.
        kernel: the neuron model; None for an input port.
        constants: (rows, n) int32, `Kernel.constants`.
        shared: which rows of `constants` hold one number: `nmap.emulate.kernel.shared_rows`.
        initial: (variables, n) int32.
    """

    population: int
    order: Array
    position: Array
    kernel: Kernel | None
    constants: Array
    shared: int
    initial: Array

    @property
    def size(self) -> int:
        """Number of neurons."""
        return int(self.order.size)


@dataclass(frozen=True, slots=True, eq=False)
class Drivers:
    """Which source drives each input axon of each block.

    Args:
        first: (blocks,) int64, place of a block's first axon.
        unit, neuron: one pair of arrays per rank, (axons of all blocks,) int32: an axon's first driver, its second one and so on; -1 for
            none.
    """

    first: Array
    unit: tuple[Array, ...]
    neuron: tuple[Array, ...]

    def of(self, block: int, axons: int) -> list[tuple[Array, Array]]:
        """Return the units and neurons that drive a block's axons, by rank, (axons,) int32 each, -1 for none."""
        here = slice(int(self.first[block]), int(self.first[block]) + axons)
        found = [(unit[here], neuron[here]) for unit, neuron in zip(self.unit, self.neuron, strict=True)]
        return [(unit, neuron) for rank, (unit, neuron) in enumerate(found) if rank == 0 or (unit >= 0).any()]


def damaged(why: str) -> NmapError:
    """Return the error of a program that contradicts itself."""
    return NmapError(Diagnostic("NM602", "error", "the program cannot be run", why=why))


def units(program: Program, kernels: Mapping[str, Kernel]) -> tuple[Unit, ...]:
    """Put the populations together, one unit per population, in their order.

    Raises:
        NmapError: NM602, a group has no such kernel, not its parameters, parameters the kernel cannot compute with, or initial values
            beyond 32 bits; or groups of one population have different kernels.
    """
    members: list[list[int]] = [[] for _ in program.populations]
    for number, group in enumerate(program.groups):
        if group.kernel not in kernels:
            raise damaged(f"neuron group {number} has the kernel `{group.kernel}`, which the target does not have")
        wrong = [name for name in kernels[group.kernel].params if name not in group.params or group.params[name].shape != (group.size,)]
        wrong += [name for name, values in group.initial.items() if values.shape != (group.size,)]
        if wrong:
            raise damaged(f"neuron group {number} does not have one value per neuron of {', '.join(f'`{name}`' for name in wrong)}")
        members[group.population].append(number)
    shapes: dict[int, tuple[int, int, int]] = {}
    for block in program.blocks:
        if isinstance(block.synapses, ConvTile):
            shapes.setdefault(program.groups[block.group].population, block.synapses.out_shape)
    return tuple(_unit(program, kernels, index, members[index], shapes.get(index)) for index in range(len(program.populations)))


def _unit(
    program: Program, kernels: Mapping[str, Kernel], index: int, members: Sequence[int], conv_shape: tuple[int, int, int] | None
) -> Unit:
    population = program.populations[index]
    if population.is_input:
        order = np.arange(int(np.prod(population.shape)))
        nothing = np.zeros((0, order.size), np.int32)
        return Unit(index, order, order, None, nothing, SHARED, nothing)
    groups = [program.groups[k] for k in members]
    names = sorted({group.kernel for group in groups})
    if len(names) > 1:
        raise damaged(f"the neurons of `{population.name}` have several kernels: {', '.join(f'`{name}`' for name in names)}")
    kernel = kernels[names[0]]
    slots = [slice_indices(group.slice, population.shape) for group in groups]
    listed = np.concatenate(slots)
    size = listed.size
    if conv_shape is not None and int(np.prod(conv_shape)) == size:
        order = np.arange(size).reshape(conv_shape).transpose(1, 2, 0).ravel()
    else:
        first = np.array([int(slot[0]) for slot in slots])
        order = np.concatenate([slots[k] for k in np.argsort(first, kind="stable")])
    position = np.full(size, -1, np.int64)
    position[order] = np.arange(size)
    if (position < 0).any() or np.unique(listed).size != size:
        raise damaged(f"the neuron groups of `{population.name}` do not hold each of its neurons once")
    where = position[listed]
    params = {name: _placed([group.params[name] for group in groups], where) for name in kernel.params}
    initial = np.zeros((len(kernel.state), size), np.int32)
    for row, variable in enumerate(kernel.state):
        values = _placed([group.initial.get(variable, np.zeros(group.size, np.int64)) for group in groups], where)
        if values.size and not _INT32.min <= int(values.min()) <= int(values.max()) <= _INT32.max:
            raise damaged(f"initial values of `{variable}` of `{population.name}` are beyond 32 bits")
        initial[row] = values
    try:
        constants = np.ascontiguousarray(kernel.constants(params), np.int32)
    except ValueError as error:
        raise damaged(f"parameters of `{population.name}`: {error}") from error
    return Unit(index, order, position, kernel, constants, shared_rows(constants), initial)


def _placed(parts: Sequence[Array], where: Array) -> Array:
    values = np.empty(where.size, np.int64)
    values[where] = np.concatenate(parts)
    return values


def drivers(program: Program, found: Sequence[Unit]) -> Drivers:
    """Resolve the routes.

    Raises:
        NmapError: NM602, a route leads to an axon that no block has, or one neuron drives one block twice.
    """
    axons = [0] * len(program.cores)
    for block in program.blocks:
        axons[block.core] = max(axons[block.core], block.axon + block.axons)
    starts = np.concatenate([[0], np.cumsum(axons)]).astype(np.int64)
    first = np.array([starts[block.core] + block.axon for block in program.blocks], np.int64)
    owned = np.zeros(int(starts[-1]), bool)
    for begin, block in zip(first, program.blocks, strict=True):
        owned[begin : begin + block.axons] = True

    places, units_, neurons = [], [], []
    by_population = {unit.population: unit for unit in found}
    sources = [(group.population, slice_indices(group.slice, program.populations[group.population].shape), routes)
               for group, routes in zip(program.groups, program.routes, strict=True)]
    sources += [(population, by_population[population].order, routes) for population, routes in sorted(program.inputs.items())]
    for population, slots, routes in sources:
        if not routes.core.size:
            continue
        place = starts[routes.core] + routes.axon
        valid = (routes.axon >= 0) & (place < starts[routes.core + 1])
        if not valid.all() or not owned[place].all():
            raise damaged("a route leads to an input axon that no synapse block has")
        places.append(place)
        units_.append(np.full(place.size, population, np.int32))
        neurons.append(np.repeat(by_population[population].position[slots], np.diff(routes.indptr)).astype(np.int32))
    if not places:
        return Drivers(first, (np.full(owned.size, -1, np.int32),), (np.full(owned.size, -1, np.int32),))
    return Drivers(first, *_ranked(np.concatenate(places), np.concatenate(units_), np.concatenate(neurons), owned.size))


def _ranked(place: Array, unit: Array, neuron: Array, size: int) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Spread the drivers of each place over ranks."""
    by_unit, by_neuron = [], []
    while place.size:
        units_, neurons = np.full(size, -1, np.int32), np.full(size, -1, np.int32)
        # Of several drivers of a place the last one written stays; the others are of the next rank.
        winner = np.full(size, -1, np.int64)
        winner[place] = np.arange(place.size)
        placed = winner[place] == np.arange(place.size)
        units_[place[placed]], neurons[place[placed]] = unit[placed], neuron[placed]
        by_unit.append(units_)
        by_neuron.append(neurons)
        place, unit, neuron = place[~placed], unit[~placed], neuron[~placed]
    return tuple(by_unit), tuple(by_neuron)


def components(edges: set[tuple[int, int]], count: int) -> tuple[tuple[int, ...], ...]:
    """Return the units' strongly connected components, sources first."""
    found = [sorted(members) for members in connected(range(count), sorted(edges))]
    of = {unit: number for number, members in enumerate(found) for unit in members}
    between = sorted({(of[a], of[b]) for a, b in edges if of[a] != of[b]})
    order = topological_order(range(len(found)), between, lambda number: found[number][0])
    return tuple(tuple(found[number]) for number in order)
