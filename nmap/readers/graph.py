"""The node graph of a NIR file, as read: nodes with their fields, edges between them, and walks over it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.network import Provenance
from nmap.readers.conventions import Stated

__all__ = [
    "CONVS",
    "FIELDS",
    "GAINS",
    "LINEAR",
    "NEURONS",
    "POOLS",
    "PORT",
    "POSITIVE",
    "SILENT",
    "Graph",
    "Key",
    "Node",
    "Port",
    "Repair",
    "Shape",
    "closure",
    "feedback",
    "join_subgraphs",
    "natural",
    "parameters_of",
]

Key: TypeAlias = tuple[str, ...]
PORT = "\0"
"""Begins the last part of a key that stands for a nested graph's port; no name of a file holds it."""
Shape: TypeAlias = tuple[int, ...]


_LIF = ("tau", "r", "v_leak", "v_threshold")
_CUBA = ("tau_syn", "tau_mem", "r", "v_leak")
# Required and optional fields by node type. v_reset and w_in came with later versions of NIR.
FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Input": ((), ("shape", "input_type", "output_type")),
    "Output": ((), ("shape", "input_type", "output_type")),
    "Affine": (("weight", "bias"), ()),
    "Linear": (("weight",), ()),
    "Scale": (("scale",), ()),
    "Conv1d": (("weight", "stride", "padding"), ("dilation", "groups", "bias", "input_shape")),
    "Conv2d": (("weight", "stride", "padding"), ("dilation", "groups", "bias", "input_shape")),
    "SumPool2d": (("kernel_size",), ("stride", "padding")),
    "AvgPool2d": (("kernel_size",), ("stride", "padding")),
    "Flatten": ((), ("start_dim", "end_dim", "input_type")),
    "Delay": (("delay",), ()),
    "IF": (("r", "v_threshold"), ("v_reset",)),
    "I": (("r",), ()),
    "LI": (("tau", "r", "v_leak"), ()),
    "LIF": (_LIF, ("v_reset",)),
    "CubaLI": (_CUBA, ("w_in",)),
    "CubaLIF": ((*_CUBA, "v_threshold"), ("v_reset", "w_in")),
    "Threshold": (("threshold",), ()),
}
NEURONS = frozenset({"IF", "I", "LI", "LIF", "CubaLI", "CubaLIF", "Threshold"})
SILENT = frozenset({"I", "LI", "CubaLI"})


LINEAR = frozenset({"Affine", "Linear", "Scale", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", "Delay"})
CONVS = frozenset({"Conv1d", "Conv2d"})
POOLS = frozenset({"SumPool2d", "AvgPool2d"})


POSITIVE = frozenset({"tau", "tau_syn", "tau_mem"})
# A gain that may be infinite where this time constant is: together they state a gain of 1 per step.
GAINS = {"r": "tau", "w_in": "tau_syn"}
_MAX_EDGES = 2**20


@dataclass(slots=True, eq=False)
class Node:
    """A node of the flattened graph.

    Args:
        key: its name, behind the names of the graphs it is nested in.
        type: its NIR type.
        where: place in the file.
        fields: the finite numeric fields it has.
        padding: `same` or `valid` where a convolution's padding is a word.
        empty: the fields it has without a single value.
        shape_in, shape_out: what it reads and sends; None until inferred.
    """

    key: Key
    type: str
    where: Provenance
    fields: dict[str, Array] = field(default_factory=dict)
    padding: str | None = None
    empty: set[str] = field(default_factory=set)
    shape_in: Shape | None = None
    shape_out: Shape | None = None

    @property
    def name(self) -> str:
        """The key as one name."""
        return ".".join(self.key)


@dataclass(frozen=True, slots=True)
class Port:
    """An Input or Output of a nested graph, with what lay on both sides of it when it was replaced by direct edges."""

    node: Node
    sources: tuple[Key, ...]
    targets: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """A name that edges use and no node has, read as the one node it can mean."""

    name: str
    key: Key
    edge: str
    where: str


@dataclass(slots=True)
class Graph:
    """A flattened graph.

    Args:
        nodes: by key.
        edges: between keys.
        stated: the conventions its metadata state.
        notes: notes on the reading.
        places: of the nested graphs.
        ports: of nested graphs, by key; no longer among the nodes.
        repairs: names read as another.
    """

    nodes: dict[Key, Node] = field(default_factory=dict)
    edges: list[tuple[Key, Key]] = field(default_factory=list)
    stated: Stated = field(default_factory=Stated)
    notes: list[str] = field(default_factory=list)
    places: dict[Key, Provenance] = field(default_factory=dict)
    ports: dict[Key, Port] = field(default_factory=dict)
    repairs: list[Repair] = field(default_factory=list)

    def before(self) -> dict[Key, list[Key]]:
        """Predecessors of each node."""
        result: dict[Key, list[Key]] = {key: [] for key in self.nodes}
        for source, target in self.edges:
            result[target].append(source)
        return result

    def after(self) -> dict[Key, list[Key]]:
        """Successors of each node."""
        result: dict[Key, list[Key]] = {key: [] for key in self.nodes}
        for source, target in self.edges:
            result[source].append(target)
        return result


def parameters_of(kind: str) -> tuple[str, ...]:
    """Return the fields of a node type, required ones first."""
    required, optional = FIELDS[kind]
    return (*required, *optional)


def natural(key: Key) -> tuple[tuple[int, int, str], ...]:
    """Sort `2` before `10`."""
    return tuple((0, int(part), "") if part.isascii() and part.isdecimal() and len(part) < 19 else (1, 0, part) for part in key)


def closure(starts: Iterable[Key], step: dict[Key, list[Key]]) -> set[Key]:
    """Return all nodes reached from `starts`, themselves included."""
    reached, todo = set(), list(starts)
    while todo:
        key = todo.pop()
        if key not in reached:
            reached.add(key)
            todo.extend(step[key])
    return reached


def join_subgraphs(graph: Graph, findings: Findings) -> None:
    """Replace the ports of nested graphs by direct edges.

    Records NM105 where an edge does not say which of several ports it means, NM108 where a graph has no port for it.
    """
    inner = {key: node for key, node in graph.nodes.items() if len(key) > 1 and node.type in ("Input", "Output")}
    ports: dict[Key, list[Key]] = defaultdict(list)
    for key, node in inner.items():
        side = f"{PORT}input" if node.type == "Input" else f"{PORT}output"
        port = (*key[:-1], side)
        ports[port].append(key)
    used = sorted({key for edge in graph.edges for key in edge if key[-1].startswith(PORT)})
    for name in (key for key in used if not ports[key]):
        findings.error(
            "NM108",
            f"an edge names graph `{'.'.join(name[:-1])}`, which has no {name[-1][1:].capitalize()} node",
            where=str(graph.places[name[:-1]]),
            help=("name a node inside the graph in the edge, or give the graph its port",),
        )
    for name in (key for key in used if len(ports[key]) > 1):
        choices = ", ".join(f"`{'.'.join(key)}`" for key in sorted(ports[name]))
        findings.error(
            "NM105",
            f"an edge names graph `{'.'.join(name[:-1])}`, which has several {name[-1][1:]} ports: {choices}",
            where=str(inner[ports[name][0]].where),
            help=("name the port in the edge",),
        )
    before: dict[Key, set[Key]] = defaultdict(set)
    after: dict[Key, set[Key]] = defaultdict(set)
    for source, target in graph.edges:
        for s in ports[source] if source[-1].startswith(PORT) else [source]:
            for t in ports[target] if target[-1].startswith(PORT) else [target]:
                before[t].add(s)
                after[s].add(t)
    for key in sorted(inner, key=len, reverse=True):
        sources, targets = before.pop(key, set()) - {key}, after.pop(key, set()) - {key}
        if len(sources) * len(targets) > _MAX_EDGES:
            findings.error("NM110", f"more than {_MAX_EDGES} edges meet in port `{inner[key].name}`", where=str(inner[key].where))
            sources = set()
        for s in sources:
            after[s] = (after[s] - {key}) | targets
        for t in targets:
            before[t] = (before[t] - {key}) | sources
        graph.ports[key] = Port(inner[key], tuple(sorted(sources)), tuple(sorted(targets)))
        del graph.nodes[key]
    graph.edges = sorted((s, t) for s, found in after.items() for t in found)


def feedback(starts: Iterable[Key], edges: Iterable[tuple[Key, Key]]) -> set[tuple[Key, Key]]:
    """Return the edges that close a cycle in a depth-first walk from the inputs."""
    after: dict[Key, list[Key]] = defaultdict(list)
    for s, t in edges:
        after[s].append(t)
    state: dict[Key, int] = {}
    closing: set[tuple[Key, Key]] = set()
    for start in starts:
        if start in state:
            continue
        state[start] = 1
        stack: list[tuple[Key, Iterator[Key]]] = [(start, iter(sorted(after[start], key=natural)))]
        while stack:
            key, rest = stack[-1]
            following = next(rest, None)
            if following is None:
                state[key] = 2
                stack.pop()
            elif state.get(following, 0) == 1:
                closing.add((key, following))
            elif following not in state:
                state[following] = 1
                stack.append((following, iter(sorted(after[following], key=natural))))
    return closing
