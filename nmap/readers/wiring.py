"""What reaches each population of a NIR graph through its linear nodes: weights, biases and delays.

A *term* is what one population sends to another along one way through linear nodes. Where a way cannot be one connection, a
*relay* divides it: a linear node read as a population of its own, without memory, that passes its input on in the same step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.ordering import components, topological_order
from nmap.readers.graph import CONVS, LINEAR, NEURONS, POOLS, Graph, Key, Node, natural
from nmap.readers.hdf5 import Tree
from nmap.readers.linear import MAX_UNROLLED, Diagonal, Pool, Stage, apply_chain, effort, joined, reduced, room
from nmap.readers.shapes import at_shape, conv_of, matrix_of, pool_window

__all__ = ["Edge", "Wiring", "behind"]

_MAX_TERMS = 2**12
_MAX_RELAYS = 2**8
# Elementary steps (see `Tree.work`) of carrying a term through a node, and of carrying one more of its nodes along.
_CARRY, _STEP = 2**13, 2**4
# Elementary steps of listing a synapse.
_LISTED = 2**4


@dataclass(slots=True, eq=False)
class _Term:
    """What one source sends through a chain of linear nodes.

    Args:
        source: population node.
        stages: what the chain computes.
        through: its nodes, with the number of stages up to each.
        bias: (targets,) constant that the chain adds from step `bias_from` on, or None.
        delay: steps, the same for all.
        before, after: further steps of each source and of each target, or None.
    """

    source: Key
    stages: list[Stage] = field(default_factory=list)
    through: list[tuple[Node, int]] = field(default_factory=list)
    bias: Array | None = None
    bias_from: int = 0
    delay: int = 0
    before: Array | None = None
    after: Array | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Edge:
    """One projection to be: all but its name.

    Args:
        source, target: population nodes.
        through: the linear nodes it is made of.
        connectivity, bias, bias_from, delay, delays: as in `nmap.network.Projection`.
        least: a lower bound of its synapses' delays.
        merged: whether several weights were merged into one.
        where: place in the file.
    """

    source: Key
    target: Key
    through: tuple[Node, ...]
    connectivity: Connectivity
    bias: Array | None
    bias_from: int
    delay: int
    delays: Array | None
    least: int
    merged: bool
    where: Provenance


def behind(key: Key, graph: Graph, before: Mapping[Key, list[Key]], delays: Mapping[Key, Array]) -> Key:
    """Return the node whose output a node passes on: itself, or the one behind nodes that change nothing."""
    while len(before[key]) == 1 and (
        graph.nodes[key].type == "Flatten" or (graph.nodes[key].type == "Delay" and key in delays and not np.any(delays[key]))
    ):
        key = before[key][0]
    return key


class Wiring:
    """Work out the projections of a graph, and the relays that they need.

    Args:
        graph: with shapes.
        tree: the file, for its limits and findings.
        delays: steps of each Delay node, int64, one value or one per element.
        readouts: nodes to be read as relays because an Output reads them.
    """

    def __init__(self, graph: Graph, tree: Tree, delays: Mapping[Key, Array], readouts: Iterable[Key]) -> None:
        self.graph, self.tree, self.findings, self.delays = graph, tree, tree.findings, delays
        self.before = graph.before()
        self.relays: dict[Key, str] = dict.fromkeys(readouts, "")
        self._cuts: dict[Key, str] = {}
        self._claimed: set[Key] = set()
        self._stages: dict[Key, tuple[list[Stage], Array | None]] = {}
        self._made: dict[tuple[Key, ...], Connectivity | tuple[int, ...]] = {}

    def edges(self) -> list[Edge]:
        """Return all projections, sources and targets in their natural order; `relays` then holds every relay and why it is one."""
        while not self.findings.errors:
            self._cuts = {}
            terms = self._terms()
            if self.findings.errors:
                break
            made = [self._edge(target, term) for target, found in terms for term in found] if not self._cuts else []
            if not self._cuts:
                # The edges hold what they need; the rest is not kept while the network is built.
                self._stages.clear()
                self._made.clear()
                return [edge for edge in made if edge is not None]
            if len(self.relays) + len(self._cuts) > _MAX_RELAYS:
                node = self.graph.nodes[min(self._cuts, key=natural)]
                message = f"more than {_MAX_RELAYS} linear nodes cannot be merged with others, `{node.name}` among them"
                self.findings.error("NM110", message, where=str(node.where))
            for key, why in self._cuts.items():
                self.relays.setdefault(key, why)
        return []

    def _populations(self) -> list[Key]:
        nodes = self.graph.nodes
        return sorted((k for k, n in nodes.items() if n.type in NEURONS or k in self.relays), key=natural)

    def _terms(self) -> list[tuple[Key, list[_Term]]]:
        """Return, for each population, what reaches it from each source through linear nodes.

        A term that must be divided goes on from there, so that one pass finds all places; no edge can be made of it.
        """
        nodes = self.graph.nodes
        flow: dict[Key, list[_Term]] = {}
        leading: dict[Key, list[_Term]] = {}
        for key in self._order():
            node = nodes[key]
            arriving = self._arriving(node, flow)
            if arriving is None or not self._room(node, arriving):
                return []
            passed = self._delayed(node, arriving) if node.type == "Delay" else self._weighed(node, arriving)
            if self.findings.errors:
                return []
            if key in self.relays:
                leading[key] = passed
            flow[key] = passed
        populations = self._populations()
        for key in populations:
            if key not in leading:
                arriving = self._arriving(nodes[key], flow)
                if arriving is None:
                    return []
                leading[key] = arriving
        return [(key, leading[key]) for key in populations]

    def _order(self) -> list[Key]:
        """Return the linear nodes in the order of the signal; a loop among them is divided at its Delay."""
        nodes = self.graph.nodes
        linear = dict.fromkeys(key for key, node in nodes.items() if node.type in LINEAR)
        edges = [(s, t) for s, t in self.graph.edges if s in linear and t in linear and s not in self.relays]
        to_itself = {s for s, t in edges if s == t}
        loops = [part for part in components(linear, edges) if len(part) > 1 or part[0] in to_itself]
        for key in sorted((key for part in loops for key in part), key=natural):
            if key in self.delays and np.all(self.delays[key] >= 1):
                self.relays[key] = "it closes a loop without a neuron"
                edges = [(s, t) for s, t in edges if s != key]
        try:
            return topological_order(linear, edges, natural)
        except ValueError:
            import networkx as nx

            looped = nx.DiGraph()
            looped.add_nodes_from(linear)
            looped.add_edges_from(edges)
            loop = [s for s, _ in nx.find_cycle(looped)]
            self.findings.error(
                "NM108",
                f"{' -> '.join(f'`{nodes[k].name}`' for k in [*loop, loop[0]])} is a loop without a neuron",
                where=str(nodes[loop[0]].where),
                why="its signal would have to be known before it is computed",
                help=("put a neuron or a Delay of at least one step into the loop",),
            )
            return []

    def _arriving(self, node: Node, flow: Mapping[Key, list[_Term]]) -> list[_Term] | None:
        """Return copies of all terms that reach a node, or None beyond the limits."""
        result: list[_Term] = []
        for key in sorted(self.before[node.key], key=natural):
            found = flow[key] if key in flow and key not in self.relays else [_Term(key)]
            if len(result) + len(found) > _MAX_TERMS:
                message = f"more than {_MAX_TERMS} ways lead through linear nodes to `{node.name}`"
                self.findings.error("NM110", message, where=str(node.where))
                return None
            length = sum(len(t.stages) + len(t.through) for t in found)
            if not self.tree.work(_CARRY * len(found) + _STEP * length, str(node.where), f"the ways through linear nodes to `{node.name}`"):
                return None
            result.extend(replace(t, stages=list(t.stages), through=list(t.through)) for t in found)
        return result

    def _room(self, node: Node, arriving: list[_Term]) -> bool:
        """Claim memory for a node's scale and bias, once."""
        wide = node.type in ("Scale", "Delay") or "bias" in node.fields or any(term.bias is not None for term in arriving)
        if not wide or node.key in self._claimed:
            return True
        self._claimed.add(node.key)
        return self.tree.claim(prod(node.shape_in or ()) + prod(node.shape_out or ()), 8, str(node.where), f"`{node.name}`")

    def _weighed(self, node: Node, arriving: list[_Term]) -> list[_Term]:
        """Return the terms behind a node that weighs them."""
        if node.key not in self._stages:
            what = f"the {'kernel' if node.type in POOLS else 'weight'} of `{node.name}`"
            if not self.tree.claim(_elements(node), 8, str(node.where), what):
                return []
            self._stages[node.key] = _stages(node)
        stages, own = self._stages[node.key]
        passed: list[_Term] = []
        for term in arriving:
            if term.after is not None and any(not isinstance(s, Diagonal) for s in stages):
                # Each element came with a delay of its own; weights mix them.
                delay = next(n for n, _ in reversed(term.through) if n.type == "Delay" and self.delays[n.key].size > 1)
                self._cuts[delay.key] = f"its delays lie between the weights before and behind it (`{node.name}`)"
                term = _Term(delay.key)
            if term.bias is not None and stages and not self.tree.spare(*effort(stages)):
                biased = next(n for n, _ in reversed(term.through) if n.type != "Flatten")
                self._cuts[biased.key] = f"its bias would take too much work to carry through `{node.name}`"
                term = _Term(biased.key)
            term.stages.extend(stages)
            term.through.append((node, len(term.stages)))
            if term.bias is not None:
                term.bias = apply_chain(stages, term.bias)
            passed.append(term)
        if own is not None and passed:
            # The node's own bias acts once however many edges feed it.
            free = next((t for t in passed if t.bias is None or t.bias_from == 0), None)
            if free is None:
                delay = next(n for n, _ in reversed(passed[0].through) if n.type == "Delay")
                self._cuts[delay.key] = f"it delays a bias, and `{node.name}` behind it adds another"
                passed = [_Term(delay.key, list(stages), [(node, len(stages))], own)]
            else:
                free.bias, free.bias_from = own if free.bias is None else free.bias + own, 0
        return passed

    def _delayed(self, node: Node, arriving: list[_Term]) -> list[_Term]:
        """Return the terms behind a Delay."""
        steps, passed = self.delays[node.key], []
        for term in arriving:
            if steps.size == 1:
                term.delay += int(steps.flat[0])
                if term.bias is not None:
                    term.bias_from += int(steps.flat[0])
            elif term.bias is not None:
                biased = term.through[-1][0]
                self._cuts[biased.key] = f"it is biased, and the delays of `{node.name}` behind it differ"
                term = _Term(biased.key, before=steps)
            elif not self.tree.claim(int(steps.size), 8, str(node.where), f"the sum of delays up to `{node.name}`"):
                return []
            elif all(isinstance(stage, Diagonal) for stage in term.stages):
                term.before = steps if term.before is None else term.before + steps
            else:
                term.after = steps if term.after is None else term.after + steps
            term.through.append((node, len(term.stages)))
            passed.append(term)
        return passed

    def _edge(self, target: Key, term: _Term) -> Edge | None:
        """Return a term as a projection, or None where it must be divided (see `_cuts`) or is beyond a limit."""
        nodes = self.graph.nodes
        through = tuple(n for n, _ in term.through if n.type != "Flatten")
        where = next((n.where for n in through if "weight" in n.fields), (through or (nodes[target],))[0].where)
        label = "+".join(n.name for n in through) or nodes[target].name
        connectivity = self._connection(target, term, where, label)
        if connectivity is None:
            return None
        delays = None
        if term.before is not None or term.after is not None:
            if isinstance(connectivity, Conv2d):
                if connectivity.synapses > MAX_UNROLLED:
                    self._divide_at_delays(term)
                    return None
                if not self._listable(connectivity.synapses, where, label):
                    return None
                connectivity = connectivity.unrolled()
            if not self.tree.claim(int(connectivity.weights.size), 8, str(where), f"the list of delays of `{label}`"):
                return None
            zero = np.zeros(1, np.int64)
            before, after = (zero if d is None else d for d in (term.before, term.after))
            before, after = np.broadcast_to(before, connectivity.in_size), np.broadcast_to(after, connectivity.out_size)
            if isinstance(connectivity, Sparse):
                delays = after[connectivity.targets] + before[connectivity.indices]
            else:
                delays = after[:, None] + before
        least = term.delay + sum(int(d.min()) for d in (term.before, term.after) if d is not None)
        bias = None if term.bias is None or not np.any(term.bias) else term.bias
        start = 0 if bias is None else term.bias_from
        merged = len(term.stages) > 1
        return Edge(term.source, target, through, connectivity, bias, start, term.delay, delays, least, merged, where)

    def _connection(self, target: Key, term: _Term, where: Provenance, label: str) -> Connectivity | None:
        """Return the one connection of a term's stages; ask for relays where there is none."""
        route = (term.source, target, *(node.key for node, _ in term.through))
        if route not in self._made:
            size = prod(self.graph.nodes[term.source].shape_out or ())
            ends_size = prod(self.graph.nodes[target].shape_out or ()) + size
            if not self.tree.claim(ends_size, 8, str(where), f"`{label}`"):
                return None
            chain, ends = reduced(term.stages, self.tree)
            if len(chain) < 2 and not self.tree.claim(room(chain, size), 1, str(where), f"`{label}`"):
                return None
            found = joined(chain, size, self.tree)
            self._made[route] = tuple(ends[:-1]) if found is None else found
        made = self._made[route]
        if not isinstance(made, tuple):
            return made
        for end in made:
            node = next(n for n, count in term.through if count == end)
            self._cuts[node.key] = "no single connection equals it together with what follows it, or none that is worth its work"
        return None

    def _listable(self, synapses: int, where: Provenance, label: str) -> bool:
        what = f"the list of synapses of `{label}`"
        return self.tree.claim(synapses, 20, str(where), what) and self.tree.work(_LISTED * synapses, str(where), what)

    def _divide_at_delays(self, term: _Term) -> None:
        """Ask for relays so that delays stand apart from a convolution too large to list its synapses."""
        several = [k for k, (n, _) in enumerate(term.through) if n.type == "Delay" and self.delays[n.key].size > 1]
        why = "its delays differ, and the convolution beside it is too large to list its synapses"
        if term.before is not None:
            last = max(k for k in several if self._is_before(term, k))
            self._cuts[term.through[last][0].key] = why
        if term.after is not None:
            first = next(k for k in several if not self._is_before(term, k))
            self._cuts[term.through[first - 1][0].key] = why

    def _is_before(self, term: _Term, place: int) -> bool:
        return all(isinstance(stage, Diagonal) for stage in term.stages[: term.through[place][1]])


def _elements(node: Node) -> int:
    """Return how many numbers `_stages` makes of a node that its fields and `Wiring._room` do not hold."""
    if node.type in POOLS:
        kernel, _, padding = pool_window(node)
        return (node.shape_in or (1,))[0] * prod(kernel) if any(padding) else 0
    return int(node.fields["weight"].size) if "weight" in node.fields else 0


def _stages(node: Node) -> tuple[list[Stage], Array | None]:
    """Return the linear node's stages and its bias, (targets,) or None; shapes have been checked."""
    f, kind, shape = node.fields, node.type, node.shape_in or ()
    if kind in ("Affine", "Linear"):
        weights = matrix_of(f["weight"]).astype(np.float64, copy=False)
        # Closed to writing, so that a connection keeps it without a copy.
        weights.setflags(write=False)
        *blocks, rows, columns = weights.shape
        size = prod(blocks) * rows
        own = None
        if "bias" in f:
            bias = f["bias"].ravel().astype(np.float64)
            own = np.broadcast_to(bias, size) if bias.size in (1, size) else np.tile(bias, prod(blocks))
        if blocks:
            # One matrix for each block of neurons: a convolution over the rows, in as many groups.
            return [Conv2d(weights.reshape(size, 1, 1, columns), (prod(blocks), 1, columns), groups=prod(blocks))], own
        return [Dense(weights)], own
    if kind == "Scale":
        return [Diagonal(at_shape(f["scale"], shape).astype(np.float64))], None
    if kind in CONVS:
        conv = conv_of(node, shape)
        if "bias" not in f:
            return [conv], None
        _, h, w = conv.out_shape
        return [conv], np.broadcast_to(f["bias"].ravel(), conv.out_shape[0]).astype(np.float64).repeat(h * w)
    if kind in POOLS:
        kernel, stride, padding = pool_window(node)
        channels, height, width = shape
        factor = 1 / prod(kernel) if kind == "AvgPool2d" else 1.0
        if any(padding):
            window = np.full((channels, 1, *kernel), factor)
            return [Conv2d(window, (channels, height, width), stride, padding, groups=channels)], None
        return [Pool((channels, height, width), kernel, stride, factor)], None
    return [], None
