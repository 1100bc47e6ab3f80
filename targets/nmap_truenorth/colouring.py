"""Types for axons so that every source needs one axon only.

An axon of type c adds s_j^c to each neuron j whose crossbar bit is set. One axon a source is enough exactly where the sources can be
coloured with the four types so that, for every neuron, all its sources of one colour have one weight: where the graph whose edges join two
sources that some neuron hears with different weights is 4-colourable. Sources with the same weights at the same neurons are one vertex.

DSATUR (Brelaz 1979) looks for the colours first. Where it finds none, five vertices that are joined to each other prove that there are
none, and CP-SAT decides what is left of small graphs: the vertices that remain when those with fewer than four neighbours are taken away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nmap.connectivity import Array

__all__ = ["COLOURS", "Colouring", "colour_sources"]

COLOURS = 4
"""Axon types of a core."""
_SATURATED = 8192
"""Vertices up to which the next one is that with the fewest colours left; of more, they come in their order."""
_GRAPH = 256
"""Vertices of a graph that CP-SAT is asked about."""
_SEEDS = 8
"""Vertices from which a clique is looked for."""
_LIMIT = 2.0
"""Deterministic seconds of CP-SAT."""


@dataclass(frozen=True, slots=True, eq=False)
class Colouring:
    """The answer for a set of sources.

    Args:
        colours: (sources,) uint8; None without any.
        status: `found`, `none` (proved: there is no such colouring) or `unknown`.
    """

    colours: Array | None
    status: Literal["found", "none", "unknown"]


def colour_sources(source: Array, neuron: Array, weight: Array, sources: int) -> Colouring:
    """Return a colour for every source so that a neuron's sources of one colour have one weight, if there is one.

    Args:
        source, neuron, weight: (k,) int64, of each synapse; no weight is 0.
        sources: number of sources; those without synapses get colour 0.
    """
    if not source.size:
        return Colouring(np.zeros(sources, np.uint8), "found")
    rows, neuron = np.unique(neuron, return_inverse=True)
    order = np.lexsort((neuron, source))
    source, neuron, weight = source[order], neuron.reshape(-1)[order], weight[order]
    same = (source[1:] == source[:-1]) & (neuron[1:] == neuron[:-1])
    if (same & (weight[1:] != weight[:-1])).any():
        # A neuron hears one source with two weights, which are two axons.
        return Colouring(None, "none")
    kept = np.append(True, ~same)
    source, neuron, weight = source[kept], neuron[kept], weight[kept]
    graph = _merged(source, neuron, weight, rows.size)
    found = _greedy(graph)
    status: Literal["found", "none", "unknown"] = "found"
    if found is None:
        found, status = _decided(graph)
    if found is None:
        return Colouring(None, status)
    colours = np.zeros(sources, np.uint8)
    colours[graph.members] = found[graph.vertex]
    return Colouring(colours, "found")


@dataclass(frozen=True, slots=True, eq=False)
class _Graph:
    """Sources merged into vertices.

    Args:
        members: (heard sources,) int64, the sources with synapses, ascending.
        vertex: (heard sources,) int64, the vertex of each.
        start: (vertices + 1,) int64, where the synapses of each vertex begin.
        neuron, weight: (synapses of all vertices,) int64, by vertex.
        into: for every neuron the synapses that lead to it: (synapses,) int64, by neuron.
        into_start: (neurons + 1,) int64.
    """

    members: Array
    vertex: Array
    start: Array
    neuron: Array
    weight: Array
    into: Array
    into_start: Array

    @property
    def vertices(self) -> int:
        return int(self.start.size - 1)

    @property
    def owner(self) -> Array:
        """The vertex of each synapse."""
        return np.repeat(np.arange(self.vertices), np.diff(self.start))


def _merged(source: Array, neuron: Array, weight: Array, neurons: int) -> _Graph:
    first = np.flatnonzero(np.append(True, source[1:] != source[:-1]))
    edges = np.append(first, source.size)
    pairs = np.stack([neuron, weight], 1)
    known: dict[bytes, int] = {}
    vertex = np.zeros(first.size, np.int64)
    taken: list[int] = []
    for k in range(first.size):
        number = known.setdefault(pairs[edges[k] : edges[k + 1]].tobytes(), len(known))
        vertex[k] = number
        if number == len(taken):
            taken.append(k)
    lengths = np.diff(edges)[taken]
    start = np.concatenate([[0], np.cumsum(lengths)])
    picked = np.repeat(edges[taken] - start[:-1], lengths) + np.arange(start[-1])
    neuron, weight = neuron[picked], weight[picked]
    return _Graph(
        source[first], vertex, start, neuron, weight, np.argsort(neuron, kind="stable"),
        np.concatenate([[0], np.cumsum(np.bincount(neuron, minlength=neurons))]),
    )


def _greedy(graph: _Graph) -> Array | None:
    """Return colours by DSATUR, None where a vertex is left without one."""
    count, owner = graph.vertices, graph.owner
    value = np.zeros((COLOURS, graph.into_start.size - 1), np.int64)
    barred = np.zeros((count, COLOURS), bool)
    colours = np.full(count, -1, np.int64)
    size = np.diff(graph.start)
    # Vertices of equal saturation: the one with the most synapses first, then in their order.
    waiting = np.lexsort((np.arange(count), -size))
    rank = np.empty(count, np.int64)
    rank[waiting] = np.arange(count)
    urgency = -rank
    for step in range(count):
        at = int(np.argmax(urgency)) if count <= _SATURATED else int(waiting[step])
        free = np.flatnonzero(~barred[at])
        if not free.size:
            return None
        colour = int(free[0])
        colours[at] = colour
        urgency[at] = np.iinfo(np.int64).min
        here = slice(graph.start[at], graph.start[at + 1])
        fresh = value[colour, graph.neuron[here]] == 0
        neurons, weights = graph.neuron[here][fresh], graph.weight[here][fresh]
        value[colour, neurons] = weights
        # Whoever hears these neurons with another weight can no longer have this colour.
        lengths = graph.into_start[neurons + 1] - graph.into_start[neurons]
        listed = graph.into[
            np.repeat(graph.into_start[neurons] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
        ]
        against = np.zeros(count, bool)
        against[owner[listed[graph.weight[listed] != np.repeat(weights, lengths)]]] = True
        against &= ~barred[:, colour] & (colours < 0)
        barred[against, colour] = True
        urgency[against] += count
    return colours


def _neighbours(graph: _Graph, owner: Array, vertex: int) -> Array:
    """Return which vertices a neuron hears with another weight than this one, (vertices,) bool."""
    here = slice(graph.start[vertex], graph.start[vertex + 1])
    weight = np.zeros(graph.into_start.size - 1, np.int64)
    weight[graph.neuron[here]] = graph.weight[here]
    against = np.zeros(graph.vertices, bool)
    against[owner[(weight[graph.neuron] != 0) & (weight[graph.neuron] != graph.weight)]] = True
    return against


def _decided(graph: _Graph) -> tuple[Array | None, Literal["found", "none", "unknown"]]:
    """Return colours that DSATUR did not find, or whether it is proved that there are none."""
    owner = graph.owner
    for seed in np.argsort(-np.diff(graph.start), kind="stable")[:_SEEDS].tolist():
        members, common = [seed], _neighbours(graph, owner, seed)
        while common.any() and len(members) <= COLOURS:
            # Of the common neighbours the one with the most synapses.
            following = int(np.argmax(np.where(common, np.diff(graph.start), -1)))
            members.append(following)
            common &= _neighbours(graph, owner, following)
        if len(members) > COLOURS:
            return None, "none"
    if graph.vertices > _GRAPH:
        return None, "unknown"
    joined = np.stack([_neighbours(graph, owner, k) for k in range(graph.vertices)])
    # A vertex with fewer neighbours than colours always finds one; they are coloured last, in the opposite order.
    left, peeled = np.ones(graph.vertices, bool), []
    while (easy := np.flatnonzero(left & ((joined & left).sum(1) < COLOURS))).size:
        peeled.append(int(easy[0]))
        left[easy[0]] = False
    core = np.flatnonzero(left)
    colours = np.full(graph.vertices, -1, np.int64)
    if core.size:
        colours[core], status = _solved(joined[np.ix_(core, core)])
        if status != "found":
            return None, status
    for vertex in reversed(peeled):
        used = colours[joined[vertex] & (colours >= 0)]
        colours[vertex] = min(set(range(COLOURS)) - set(used.tolist()))
    return colours, "found"


def _solved(joined: Array) -> tuple[Array, Literal["found", "none", "unknown"]]:
    """Ask CP-SAT for the colours of a graph, (vertices, vertices) bool."""
    # Takes half a second to import, and few networks come here.
    from ortools.sat.python import cp_model

    count = len(joined)
    model = cp_model.CpModel()
    has = [[model.new_bool_var(f"{k} {c}") for c in range(COLOURS)] for k in range(count)]
    for row in has:
        model.add_exactly_one(row)
    for a, b in zip(*(index.tolist() for index in np.nonzero(np.triu(joined))), strict=True):
        for c in range(COLOURS):
            model.add_bool_or([has[a][c].negated(), has[b][c].negated()])
    # Colours are alike: those of two joined vertices may be chosen.
    first = int(np.argmax(joined.sum(1)))
    model.add(has[first][0] == 1)
    if joined[first].any():
        model.add(has[int(np.argmax(joined[first]))][1] == 1)
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    # The solver would take Ctrl-C for itself, and the answer would depend on when the key was pressed.
    solver.parameters.catch_sigint_signal = False
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = _LIMIT
    status = solver.solve(model)
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return np.array([next(c for c in range(COLOURS) if solver.boolean_value(row[c])) for row in has], np.int64), "found"
    return np.zeros(count, np.int64), "none" if status == cp_model.INFEASIBLE else "unknown"
