"""Lower a core program to flat arrays: which source drives which synapse row, and in which order groups can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import networkx as nx
import numpy as np

from nmap.connectivity import Array, Dense, Sparse
from nmap.diagnostics import Diagnostic, NmapError
from nmap.emulate.kernel import Kernel
from nmap.program import ConvTile, Program, Routes

__all__ = ["Feed", "Layout", "Part", "lower"]


_NOTHING = np.zeros(0)


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Synapses of one block that share one delay, arranged by axon.

    Args:
        block: index into `Program.blocks`.
        group: the neuron group that receives.
        delay: steps between sending and acting.
        kind: `dense` (weights (axons, n)), `sparse` (indptr, targets, weights) or `conv` (kernel, geometry, tile).
        arrays: in the order `nmap.emulate.accumulate` takes them.
        tile: (height, width, channels) of a convolution's tile, else None.
    """

    block: int
    group: int
    delay: int
    kind: str
    arrays: tuple[Array, ...]
    tile: tuple[int, int, int] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Feed:
    """A source (neuron group, or input port as -1 - population) that drives a block: `axon_of` (slots,) int32, -1 for none."""

    source: int
    block: int
    axon_of: Array


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A program ready to run.

    Args:
        parts: by block index.
        feeds: by block index.
        components: groups in an order in which sources come first; each component is (groups, whether it feeds itself).
    """

    parts: tuple[tuple[Part, ...], ...]
    feeds: tuple[tuple[Feed, ...], ...]
    components: tuple[tuple[tuple[int, ...], bool], ...]


def lower(program: Program, kernels: Mapping[str, Kernel]) -> Layout:
    """Resolve routes and arrange synapse memory by axon.

    Raises:
        NmapError: NM602, a group has no such kernel or not its parameters, a block leads to a receptor that its neurons do not have, a
            route leads to an axon that no block has, or one neuron drives one axon row twice.
    """
    for number, group in enumerate(program.groups):
        if group.kernel not in kernels:
            raise _damaged(f"neuron group {number} has the kernel `{group.kernel}`, which the target does not have")
        wrong = [name for name in kernels[group.kernel].params if group.params.get(name, _NOTHING).shape != (group.size,)]
        wrong += [name for name, values in group.initial.items() if values.shape != (group.size,)]
        if wrong:
            raise _damaged(f"neuron group {number} does not have one value per neuron of {', '.join(f'`{name}`' for name in wrong)}")
    for number, block in enumerate(program.blocks):
        if block.receptor >= kernels[program.groups[block.group].kernel].receptors:
            raise _damaged(f"synapse block {number} leads to receptor {block.receptor}, which its neurons do not have")
    feeds = _feeds(program)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(program.groups)))
    for index, into in enumerate(feeds):
        graph.add_edges_from((feed.source, program.blocks[index].group) for feed in into if feed.source >= 0)
    condensed = nx.condensation(graph)
    components = []
    for node in nx.lexicographical_topological_sort(condensed, key=lambda c: min(condensed.nodes[c]["members"])):
        members = tuple(sorted(condensed.nodes[node]["members"]))
        components.append((members, len(members) > 1 or graph.has_edge(members[0], members[0])))
    return Layout(tuple(_parts(program, index) for index in range(len(program.blocks))), feeds, tuple(components))


def _feeds(program: Program) -> tuple[tuple[Feed, ...], ...]:
    axons = [0] * len(program.cores)
    for block in program.blocks:
        axons[block.core] = max(axons[block.core], block.axon + block.axons)
    starts = np.concatenate([[0], np.cumsum(axons)])
    owner = np.full(int(starts[-1]), -1, np.int64)
    for index, block in enumerate(program.blocks):
        owner[starts[block.core] + block.axon : starts[block.core] + block.axon + block.axons] = index
    first_axon = np.array([block.axon for block in program.blocks], np.int64)

    feeds: list[list[Feed]] = [[] for _ in program.blocks]
    sources: list[tuple[int, Routes]] = list(enumerate(program.routes))
    sources += [(-1 - population, routes) for population, routes in sorted(program.inputs.items())]
    for source, routes in sources:
        if not routes.core.size:
            continue
        slot = np.repeat(np.arange(routes.indptr.size - 1), np.diff(routes.indptr))
        place = starts[routes.core] + routes.axon
        valid = (routes.axon >= 0) & (place < starts[routes.core + 1])
        block_of = np.where(valid, owner[np.where(valid, place, 0)], -1) if owner.size else np.full(place.shape, -1)
        if (block_of < 0).any():
            raise _damaged("a route leads to an input axon that no synapse block has")
        for block in np.unique(block_of):
            here = block_of == block
            axon_of = np.full(routes.indptr.size - 1, -1, np.int32)
            axon_of[slot[here]] = routes.axon[here] - first_axon[block]
            if np.count_nonzero(axon_of >= 0) != np.count_nonzero(here):
                raise _damaged("one neuron drives two rows of one synapse block")
            feeds[block].append(Feed(source, int(block), axon_of))
    return tuple(tuple(into) for into in feeds)


def _damaged(why: str) -> NmapError:
    return NmapError(Diagnostic("NM602", "error", "the program cannot be run", why=why))


def _parts(program: Program, index: int) -> tuple[Part, ...]:
    block = program.blocks[index]
    synapses, delay = block.synapses, 1 + block.delay
    if isinstance(synapses, ConvTile):
        return (_conv_part(index, block.group, delay, synapses),)
    if block.delays is None:
        return (_matrix_part(index, block.group, delay, synapses),)
    return tuple(
        _matrix_part(index, block.group, delay + int(extra), _sparse(synapses, block.delays == extra))
        for extra in np.unique(block.delays)
    )


def _sparse(synapses: Dense | Sparse, keep: Array) -> Sparse:
    if isinstance(synapses, Dense):
        return Sparse.from_dense(np.where(keep, synapses.weights, 0))
    counts = np.bincount(synapses.targets[keep], minlength=synapses.out_size)
    return Sparse(np.concatenate([[0], np.cumsum(counts)]), synapses.indices[keep], synapses.weights[keep], synapses.in_size)


def _matrix_part(index: int, group: int, delay: int, synapses: Dense | Sparse) -> Part:
    if isinstance(synapses, Dense):
        return Part(index, group, delay, "dense", (_array(synapses.weights.T),))
    order = np.lexsort((synapses.targets, synapses.indices))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(synapses.indices, minlength=synapses.in_size))]).astype(np.int64)
    arrays = (indptr, _array(synapses.targets[order]), _array(synapses.weights[order]))
    return Part(index, group, delay, "sparse", arrays)


def _array(values: Array) -> Array:
    """Return a fresh writable copy: the compiled loops' signatures take no read-only arrays."""
    return np.array(values, np.int32, order="C", copy=True)


def _conv_part(index: int, group: int, delay: int, tile: ConvTile) -> Part:
    (c0, _), (y0, y1), (x0, x1) = tile.in_box
    (o0, o1), (r0, r1), (q0, q1) = tile.out_box
    geometry = np.array([
        c0, y0, x0, y1 - y0, x1 - x0, o0, r0, q0, *tile.stride, *tile.padding, *tile.dilation,
        tile.in_shape[0] // tile.groups, tile.out_shape[0] // tile.groups,
    ], np.int64)
    return Part(index, group, delay, "conv", (_array(tile.weights.transpose(1, 2, 3, 0)), geometry), (r1 - r0, q1 - q0, o1 - o0))
