"""Read NIR files (Neuromorphic Intermediate Representation, HDF5) without the `nir` package.

The layout is that of NIR 0.2 to 1.0.8: `/node/{type,nodes,edges,metadata}`, nested graphs the same way inside a node. Shapes are
inferred here, since files do not hold them; parameters of length 1 are broadcast; chains of linear nodes become one projection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from math import isfinite, prod
from typing import Any, TypeAlias

import networkx as nx
import numpy as np

from nmap.connectivity import Array, Conv2d, Dense
from nmap.diagnostics import Findings
from nmap.network import Assumption, Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.readers.conventions import RESETS, NeuronFacts, Stated, settle
from nmap.readers.hdf5 import MAX_BYTES, MAX_ELEMENTS, Group, Tree
from nmap.readers.linear import MAX_EXPANDED, Diagonal, Pool, Stage, apply_chain, compose, padded_same

__all__ = ["read_nir"]

Key: TypeAlias = tuple[str, ...]
Shape: TypeAlias = tuple[int, ...]

_LIF = ("tau", "r", "v_leak", "v_threshold")
_CUBA = ("tau_syn", "tau_mem", "r", "v_leak")
# Required and optional fields by node type. v_reset and w_in came with later versions of NIR.
_FIELDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Input": ((), ("shape", "input_type", "output_type")),
    "Output": ((), ("shape", "input_type", "output_type")),
    "Affine": (("weight", "bias"), ()),
    "Linear": (("weight",), ()),
    "Scale": (("scale",), ()),
    "Conv2d": (("weight", "stride", "padding"), ("dilation", "groups", "bias", "input_shape")),
    "SumPool2d": (("kernel_size",), ("stride", "padding")),
    "AvgPool2d": (("kernel_size",), ("stride", "padding")),
    "Flatten": ((), ("start_dim", "end_dim", "input_type")),
    "IF": (("r", "v_threshold"), ("v_reset",)),
    "I": (("r",), ()),
    "LI": (("tau", "r", "v_leak"), ()),
    "LIF": (_LIF, ("v_reset",)),
    "CubaLI": (_CUBA, ("w_in",)),
    "CubaLIF": ((*_CUBA, "v_threshold"), ("v_reset", "w_in")),
    "Threshold": (("threshold",), ()),
}
_NEURONS = frozenset({"IF", "I", "LI", "LIF", "CubaLI", "CubaLIF", "Threshold"})
_SILENT = frozenset({"I", "LI", "CubaLI"})
_LINEAR = frozenset({"Affine", "Linear", "Scale", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten"})
_POOLS = frozenset({"SumPool2d", "AvgPool2d"})
_POSITIVE = frozenset({"tau", "tau_syn", "tau_mem"})
_MAX_NODES = 2**16
_MAX_DEPTH = 32
_MAX_TERMS = 2**12


@dataclass(slots=True, eq=False)
class _Node:
    """A node of the flattened graph. `shape` is (in, out), each None until inferred."""

    key: Key
    type: str
    where: Provenance
    fields: dict[str, Array] = field(default_factory=dict)
    padding: str | None = None
    shape_in: Shape | None = None
    shape_out: Shape | None = None

    @property
    def name(self) -> str:
        return ".".join(self.key)


@dataclass(slots=True, eq=False)
class _Term:
    """What one source sends through a chain of linear nodes; `bias` is the constant that chain adds."""

    source: Key
    stages: list[Stage]
    through: list[_Node]
    bias: Array | None


@dataclass(slots=True)
class _Graph:
    nodes: dict[Key, _Node] = field(default_factory=dict)
    edges: list[tuple[Key, Key]] = field(default_factory=list)
    stated: Stated = field(default_factory=Stated)
    notes: list[str] = field(default_factory=list)

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


def read_nir(tree: Tree, sha256: str, *, dt: float | None, reset: str | None, source: str | None) -> Network:
    """Read an open NIR file.

    Args:
        tree: the file.
        sha256: its hash.
        dt, reset, source: the command line's conventions, valid, or None.

    Raises:
        NmapError: with everything that is wrong with the stage that failed (entries and edges, then shapes, then values in their
            conventions).
    """
    return _Reader(tree, sha256, dt, reset, source).read()


class _Reader:
    def __init__(self, tree: Tree, sha256: str, dt: float | None, reset: str | None, source: str | None) -> None:
        self.tree, self.findings, self.sha256 = tree, tree.findings, sha256
        self.dt, self.reset, self.source = dt, reset, source
        self.graph = _Graph()
        self.count = 0

    def read(self) -> Network:
        root = self.tree.root.group("node")
        if root is not None:
            self._level(root, (), 0)
        self.findings.raise_errors()
        _join_subgraphs(self.graph, self.findings)
        self._check_ends()
        self.findings.raise_errors()
        shapes = _Shapes(self.graph, self.findings)
        shapes.infer()
        self.findings.raise_errors()
        return self._network()

    # Entries and edges

    def _level(self, group: Group, prefix: Key, depth: int) -> None:
        """Read one graph and the graphs nested in it."""
        if depth > _MAX_DEPTH:
            self.findings.error("NM110", f"graphs are nested more than {_MAX_DEPTH} deep", where=str(group.where))
            return
        if "metadata" in group:
            self._metadata(group.group("metadata"))
        names: list[str] = []
        inner: set[str] = set()
        nodes = group.group("nodes")
        if nodes is None:
            self.findings.error("NM103", f"{_graph_title(prefix)} has no `nodes`: the file was cut short while it was written", where=group.place("nodes"))
        else:
            for name in nodes.names():
                self.count += 1
                if self.count > _MAX_NODES:
                    self.findings.error("NM110", f"the graph has more than {_MAX_NODES} nodes", where=str(nodes.where))
                    return
                names.append(name)
                node = nodes.group(name)
                if node is None:
                    self.findings.error("NM103", f"node `{name}` is not a group with fields", where=nodes.place(name))
                elif self._node(node, (*prefix, name), depth):
                    inner.add(name)
        self._edges(group, prefix, names, inner)

    def _node(self, group: Group, key: Key, depth: int) -> bool:
        """Read one node; return whether it is a nested graph."""
        name = ".".join(key)
        if "type" not in group:
            groups = [member for member in group.names() if group.is_group(member)]
            self.findings.error(
                "NM103", f"node `{name}` has no `type`", where=group.place("type"),
                why=f"it holds the groups {', '.join(f'`{g}`' for g in groups[:4])}: a `/` in a node's name splits it in HDF5" if groups
                else "the file was cut short while it was written",
            )
            return False
        kind = group.string("type")
        if kind is None:
            return False
        if "metadata" in group:
            self._metadata(group.group("metadata"))
        if kind == "NIRGraph":
            self._level(group, key, depth + 1)
            return True
        node = _Node(key, kind, group.where)
        self.graph.nodes[key] = node
        if kind not in _FIELDS:
            self.findings.error(
                "NM104", f"node `{name}` is of type `{kind}`, which nmap does not support", where=str(group.where),
                help=(f"supported are {', '.join(_FIELDS)} and NIRGraph",),
            )
            return False
        required, optional = _FIELDS[kind]
        present = set(group.names())
        missing = [f for f in required if f not in present]
        if missing:
            self.findings.error(
                "NM103", f"node `{name}` ({kind}) lacks {', '.join(f'`{f}`' for f in missing)}", where=str(group.where),
                why="the entry is absent: the file was cut short while it was written, or its exporter left it out",
            )
        unknown = sorted(present - {*required, *optional, "type", "metadata"})
        if unknown:
            self.graph.notes.append(f"node `{name}` ({kind}) has {', '.join(f'`{f}`' for f in unknown)}, which NIR does not define; ignored")
        for entry in (*required, *optional):
            if entry in present:
                self._field(group, node, entry)
        return False

    def _field(self, group: Group, node: _Node, entry: str) -> None:
        place = group.place(entry)
        if node.type == "Conv2d" and entry == "padding" and group.is_string(entry):
            node.padding = group.string(entry)
            if node.padding not in ("same", "valid"):
                self.findings.error("NM107", f"padding of `{node.name}` is `{node.padding}`; it may be numbers, `same` or `valid`", where=place)
            return
        if group.is_string(entry) and entry in ("input_shape", "input_type", "output_type", "bias"):
            if group.string(entry) not in ("None", "null", ""):
                self.findings.error("NM107", f"`{entry}` of `{node.name}` is text", where=place)
            return
        values = group.array(entry)
        if values is None or values.size == 0:
            return
        if not np.all(np.isfinite(values)):
            bad = np.argwhere(~np.isfinite(values))[0]
            value = float(values[tuple(bad)])
            self.findings.error(
                "NM107", f"`{entry}` of `{node.name}` is not finite: {value}", where=f"{place}{_index(bad)}",
                why="an infinite time constant is no leak (snnTorch writes it for beta = 1)" if entry in _POSITIVE and value > 0 else None,
                help=("use an IF neuron for a membrane without leak",) if entry in _POSITIVE and value > 0 else (),
                data={"index": [int(k) for k in bad], "count": int(np.sum(~np.isfinite(values)))},
            )
            return
        if entry in _POSITIVE and np.any(values <= 0):
            bad = np.argwhere(values <= 0)[0]
            self.findings.error(
                "NM107", f"`{entry}` of `{node.name}` is {float(values[tuple(bad)]):.6g}; a time constant is positive", where=f"{place}{_index(bad)}",
                data={"index": [int(k) for k in bad], "count": int(np.sum(values <= 0))},
            )
            return
        node.fields[entry] = values

    def _edges(self, group: Group, prefix: Key, names: list[str], inner: set[str]) -> None:
        if "edges" not in group:
            self.findings.error(
                "NM103", f"{_graph_title(prefix)} has no `edges`: the file was cut short while it was written", where=group.place("edges"),
                help=("export the network again; an exporter that fails midway leaves such a file",),
            )
            return
        edges = group.strings("edges")
        if edges is None or edges.size == 0:
            return
        if edges.ndim != 2 or edges.shape[1] != 2:
            self.findings.error("NM103", f"`edges` has shape {edges.shape}; it lists pairs of node names", where=group.place("edges"))
            return
        seen: set[tuple[str, str]] = set()
        for number, (first, second) in enumerate(edges):
            pair: list[Key] = []
            for name, port in ((first, "output"), (second, "input")):
                key = self._resolve(name, port, prefix, names, inner)
                if key is None:
                    near = get_close_matches(name, names, 1, 0.3) if len(names) < 1000 else []
                    self.findings.error(
                        "NM105", f"edge `{first}` -> `{second}` names `{name}`, which does not exist in {_graph_title(prefix)}",
                        where=f"{group.place('edges')}[{number}]", why=f"its nodes are {', '.join(f'`{n}`' for n in names[:12])}{', ...' if len(names) > 12 else ''}",
                        help=(f"nearest name: `{near[0]}`",) if near else (),
                    )
                else:
                    pair.append(key)
            if len(pair) == 2:
                if (first, second) in seen:
                    self.graph.notes.append(f"edge `{first}` -> `{second}` is listed twice; read once")
                    continue
                seen.add((first, second))
                self.graph.edges.append((pair[0], pair[1]))

    def _resolve(self, name: str, port: str, prefix: Key, names: list[str], inner: set[str]) -> Key | None:
        """Return the node an edge's end names; a nested graph's name stands for its port."""
        if name in names:
            return (*prefix, name, f":{port}") if name in inner else (*prefix, name)
        if f"{name}.{port}" in names:
            self.graph.notes.append(f"an edge names `{name}`, whose graph was flattened; read as `{name}.{port}`")
            return (*prefix, f"{name}.{port}")
        head, dot, tail = name.partition(".")
        if dot and head in inner and (*prefix, head, tail) in self.graph.nodes:
            return (*prefix, head, tail)
        return None

    def _metadata(self, group: Group | None) -> None:
        """Collect the conventions a graph's or node's metadata state."""
        if group is None:
            return
        if group.is_group("nmap"):
            self._metadata(group.group("nmap"))
        stated, present = self.graph.stated, set(group.names())
        if "dt" in present:
            value = group.array("dt") if not group.is_string("dt") else None
            step = float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None
            if step is None or not isfinite(step) or step <= 0:
                self.findings.error("NM107", "`dt` in the metadata is not a positive number of seconds", where=group.place("dt"))
            else:
                stated.add("dt", step, group.place("dt"))
        texts = {key: group.string(key) for key in ("reset", "reset_mechanism", "decay", "compare", "spike_rule", "exporter") if group.is_string(key)}
        mechanism = texts.get("reset") or texts.get("reset_mechanism")
        if mechanism is not None:
            place = group.place("reset" if texts.get("reset") else "reset_mechanism")
            late = self._flag(group, "reset_delay") if "reset_delay" in present else False
            if mechanism == "subtract" and late:
                mechanism = "delayed"
            if mechanism == "zero" and late:
                self.findings.error(
                    "NM104", "the metadata state a reset to zero one step after the spike, which nmap does not support", where=group.place("reset_delay")
                )
            elif mechanism not in RESETS:
                self.findings.error("NM104", f"the metadata state the reset `{mechanism}`, which nmap does not support", where=place, help=(f"supported are {', '.join(RESETS)}",))
            else:
                stated.add("reset", mechanism, place)
        if "decay" in texts:
            self._one_of(group, "decay", texts["decay"], {"euler": "euler", "exact": "exact"}, "decay")
        for entry in ("compare", "spike_rule"):
            if entry in texts:
                text = (texts[entry] or "").replace(" ", "")
                self._one_of(group, entry, text, {">": ">", ">=": ">=", "v>theta": ">", "v>=theta": ">=", "v>v_threshold": ">", "v>=v_threshold": ">="}, "compare")
        if texts.get("exporter"):
            stated.add("exporter", texts["exporter"], group.place("exporter"))

    def _flag(self, group: Group, name: str) -> bool:
        value = group.array(name) if not group.is_string(name) else None
        return bool(value is not None and value.size == 1 and value.reshape(-1)[0])

    def _one_of(self, group: Group, entry: str, text: str | None, meanings: dict[str, str], key: str) -> None:
        if text in meanings:
            self.graph.stated.add(key, meanings[text], group.place(entry))
        else:
            self.findings.error("NM104", f"the metadata state `{entry}` = `{text}`, which nmap does not know", where=group.place(entry), help=(f"known are {', '.join(meanings)}",))

    def _check_ends(self) -> None:
        """Check that the graph has ports and that every node lies on a way from an input to an output."""
        nodes, top = self.graph.nodes, str(Provenance(self.tree.name, "/node"))
        inputs = [n for n in nodes.values() if n.type == "Input"]
        outputs = [n for n in nodes.values() if n.type == "Output"]
        if not inputs:
            self.findings.error("NM108", "the graph has no Input node", where=top)
        if not outputs:
            self.findings.error("NM108", "the graph has no Output node", where=top)
        if not inputs or not outputs:
            return
        before, after = self.graph.before(), self.graph.after()
        reached = _closure([n.key for n in inputs], after)
        leading = _closure([n.key for n in outputs], before)
        lost = [n for n in nodes.values() if n.key not in reached]
        if lost:
            self.findings.error(
                "NM108", f"no input reaches {', '.join(f'`{n.name}`' for n in lost[:8])}{f' and {len(lost) - 8} more' if len(lost) > 8 else ''}",
                where=str(lost[0].where), help=("connect it, or remove it from the graph",), data={"nodes": [n.name for n in lost]},
            )
        idle = [n for n in nodes.values() if n.key in reached and n.key not in leading]
        for node in idle:
            left_out = node.type in _LINEAR and self._drop(node.key)
            self.graph.notes.append(f"`{node.name}` ({node.type}) leads to no output{'; left out' if left_out else ''}")
        for node in outputs:
            for key in before[node.key]:
                if nodes[key].type == "Input":
                    self.findings.error("NM104", f"Output `{node.name}` is fed by Input `{nodes[key].name}`: there is no neuron between them", where=str(node.where))

    def _drop(self, key: Key) -> bool:
        """Remove a linear node that leads to no output, unless it feeds a neuron; return whether it was removed."""
        if any(self.graph.nodes[t].type in _NEURONS for t in _closure([key], self.graph.after())):
            return False
        self.graph.edges = [(s, t) for s, t in self.graph.edges if key not in (s, t)]
        del self.graph.nodes[key]
        return True

    # Populations and projections

    def _network(self) -> Network:
        graph, findings = self.graph, self.findings
        nodes, before = graph.nodes, graph.before()
        neurons = [n for n in nodes.values() if n.type in _NEURONS]
        conventions, assumptions, notes = settle(
            [_facts(n) for n in neurons if n.type != "Threshold"], graph.stated, findings, dt=self.dt, reset=self.reset, source=self.source, file=self.tree.name
        )
        findings.raise_errors()
        graph.notes.extend(notes)
        models = {n.key: self._neuron(n, conventions) for n in neurons}
        findings.raise_errors()
        terms = self._terms(before)
        outputs = self._outputs(before)
        findings.raise_errors()

        names = _unique_names([n for n in nodes.values() if n.type in _NEURONS or n.type == "Input"])
        edges = sorted({(term.source, target) for target, found in terms.items() for term in found})
        starts = sorted((n.key for n in nodes.values() if n.type == "Input"), key=_natural)
        feedback = _feedback(starts, edges)
        projections = self._projections(terms, names, feedback)
        findings.raise_errors()
        forward = nx.DiGraph()
        forward.add_nodes_from(names)
        forward.add_edges_from(edge for edge in edges if edge not in feedback)
        order = [*starts, *(k for k in nx.lexicographical_topological_sort(forward, key=_natural) if nodes[k].type != "Input")]
        rank = {key: k for k, key in enumerate(order)}
        if feedback:
            loops = ", ".join(f"`{names[s]}` -> `{names[t]}`" for s, t in sorted(feedback))
            assumptions = (
                *assumptions,
                Assumption("timing", "1 step for recurrent edges", "default", f"{loops} close{'s' if len(feedback) == 1 else ''} a loop; NIR states no delay and every framework takes the previous step"),
            )
        populations = tuple(Population(names[k], nodes[k].shape_out or (), models.get(k), nodes[k].where) for k in order)
        place = {names[k]: rank[k] for k in order}
        network = Network(
            file=self.tree.name, format="nir", sha256=self.sha256, populations=populations,
            projections=tuple(sorted(projections, key=lambda p: (place[p.target], place[p.source], p.name))),
            inputs=tuple(names[k] for k in starts), outputs=tuple(dict.fromkeys(names[k] for k in outputs)),
            conventions=conventions, assumptions=assumptions, notes=tuple(dict.fromkeys(graph.notes)),
        )
        network.check()
        return network

    def _outputs(self, before: dict[Key, list[Key]]) -> list[Key]:
        """Return the neuron nodes that feed an Output, through nothing but Flatten nodes."""
        nodes, result = self.graph.nodes, []
        for node in sorted((n for n in nodes.values() if n.type == "Output"), key=lambda n: _natural(n.key)):
            for key in sorted(before[node.key], key=_natural):
                while nodes[key].type == "Flatten" and len(before[key]) == 1:
                    key = before[key][0]
                feeder = nodes[key]
                if feeder.type in _LINEAR:
                    self.findings.error(
                        "NM104", f"Output `{node.name}` is fed by `{feeder.name}` ({feeder.type}), not by a neuron", where=str(feeder.where),
                        why="chips send spikes; a weighted sum without a neuron behind it has no place on them",
                        help=("add a neuron in front of the output (a leaky integrator, LI, for a readout)", f"make the node before `{feeder.name}` the output, and weigh its spikes in software"),
                    )
                elif feeder.type in _NEURONS:
                    result.append(key)
        return result

    def _neuron(self, node: _Node, conventions: Conventions) -> Neuron | None:
        """Return the difference equation of a neuron node (see `nmap.network.Neuron`)."""
        shape, size = node.shape_out or (), prod(node.shape_out or ())
        if not self.tree.claim(size * 8, 8, str(node.where), f"the state and parameters of `{node.name}`"):
            return None
        f = {k: _broadcast(v, shape).astype(np.float64).ravel() for k, v in node.fields.items() if k in _parameters(node.type)}
        dt, kind = conventions.dt or 1.0, node.type
        zero, one = np.zeros(size), np.ones(size)
        if kind == "Threshold":
            if conventions.reset == "delayed":
                self.findings.error("NM111", f"`{node.name}` (Threshold) has no state that a delayed reset could change", where=str(node.where), help=("--reset zero", "--reset subtract"))
            return Neuron(kind, zero, one, one, zero, zero, f["threshold"], zero, fields=f)
        firing = {"threshold": f.get("v_threshold", np.full(size, np.inf)), "v_reset": f.get("v_reset", zero), "spiking": kind not in _SILENT, "fields": f}
        if kind in ("I", "IF"):
            return Neuron(kind, zero, one, f["r"] * dt, one, zero, **firing)
        cuba = kind.startswith("Cuba")
        tau = f["tau_mem" if cuba else "tau"]
        beta, alpha = self._decay(node, "tau_mem" if cuba else "tau", tau, conventions), zero
        gain_in = one
        if cuba:
            alpha = self._decay(node, "tau_syn", f["tau_syn"], conventions)
            gain_in = f.get("w_in", one) * dt / f["tau_syn"]
        drive = f["v_leak"] * (1 - beta)
        if conventions.reset != "zero" and np.any(f.get("v_reset", zero) != 0):
            self.graph.notes.append(f"`{node.name}` states v_reset, which a subtracting reset does not use")
        return Neuron(kind, alpha, gain_in, f["r"] * dt / tau, beta, drive, **firing)

    def _decay(self, node: _Node, entry: str, tau: Array, conventions: Conventions) -> Array:
        """Return the decay factor per step: 1 - dt/tau, or exp(-dt/tau)."""
        dt = conventions.dt or 1.0
        ratio = dt / tau
        if conventions.decay == "exact":
            return np.asarray(np.exp(-ratio))
        if np.any(ratio > 1 + 1e-5):
            worst = int(np.argmax(ratio))
            shortest = float(tau[worst])
            remedies = [f"--dt {shortest:.3g} or less"]
            if "r" in node.fields and np.allclose(node.fields["r"], 1):
                remedies.insert(0, "--dt 1e-6 if Norse 1.1 wrote the file: it stores tau multiplied by its dt of 1e-3")
            self.findings.error(
                "NM111", f"`{entry}` of `{node.name}` is {shortest:.6g} s, shorter than the time step of {dt:.6g} s", where=f"{node.where}/{entry}",
                why=f"1 - dt/tau = {1 - float(ratio[worst]):.6g} is no decay", help=remedies,
            )
        if np.any(np.abs(ratio - 1) <= 1e-5):
            self.graph.notes.append(f"`{entry}` of `{node.name}` equals the time step: no memory")
        return np.asarray(np.maximum(1 - ratio, 0.0))

    def _terms(self, before: dict[Key, list[Key]]) -> dict[Key, list[_Term]]:
        """Return, for each neuron node, what reaches it from each source through linear nodes."""
        nodes = self.graph.nodes
        linear = nx.DiGraph()
        linear.add_nodes_from(key for key, node in nodes.items() if node.type in _LINEAR)
        linear.add_edges_from((s, t) for s, t in self.graph.edges if nodes[s].type in _LINEAR and nodes[t].type in _LINEAR)
        if not nx.is_directed_acyclic_graph(linear):
            loop = [s for s, _ in nx.find_cycle(linear)]
            self.findings.error(
                "NM108", f"{' -> '.join(f'`{nodes[k].name}`' for k in [*loop, loop[0]])} is a loop without a neuron", where=str(nodes[loop[0]].where),
                why="its signal would have to be known before it is computed",
            )
            return {}
        flow: dict[Key, list[_Term]] = {}
        for key in nx.lexicographical_topological_sort(linear, key=_natural):
            node = nodes[key]
            arriving = self._arriving(before[key], flow)
            total = sum(len(f) for f in flow.values()) + len(arriving)
            if total > _MAX_TERMS:
                self.findings.error("NM110", f"more than {_MAX_TERMS} ways lead through linear nodes to `{node.name}`", where=str(node.where))
                return {}
            wide = node.type == "Scale" or "bias" in node.fields or any(term.bias is not None for term in arriving)
            if wide and not self.tree.claim(prod(node.shape_in or ()) + prod(node.shape_out or ()), 8, str(node.where), f"`{node.name}`"):
                return {}
            stages, own = _stages(node)
            for k, term in enumerate(arriving):
                term.stages.extend(stages)
                term.through.append(node)
                if term.bias is not None:
                    term.bias = apply_chain(stages, term.bias)
                # The node's own bias acts once however many edges feed it.
                if k == 0 and own is not None:
                    term.bias = own if term.bias is None else term.bias + own
            flow[key] = arriving
        return {node.key: self._arriving(before[node.key], flow) for node in nodes.values() if node.type in _NEURONS}

    def _arriving(self, sources: Iterable[Key], flow: dict[Key, list[_Term]]) -> list[_Term]:
        result: list[_Term] = []
        for key in sorted(sources, key=_natural):
            if key in flow:
                result.extend(_Term(t.source, list(t.stages), list(t.through), t.bias) for t in flow[key])
            elif self.graph.nodes[key].type in _SILENT:
                self.findings.error(
                    "NM104", f"`{self.graph.nodes[key].name}` ({self.graph.nodes[key].type}) never fires, yet feeds other neurons", where=str(self.graph.nodes[key].where),
                    why="only spikes travel between neurons; an integrator can be an output only", help=("use a spiking neuron",),
                )
            else:
                result.append(_Term(key, [], [], None))
        return result

    def _projections(self, terms: dict[Key, list[_Term]], names: dict[Key, str], feedback: set[tuple[Key, Key]]) -> list[Projection]:
        nodes, used, result = self.graph.nodes, set(), []
        for target in sorted(terms, key=_natural):
            for term in terms[target]:
                weighing = [n for n in term.through if n.type != "Flatten"]
                where = next((n.where for n in weighing if "weight" in n.fields), (weighing or [nodes[target]])[0].where)
                label = "+".join(n.name for n in weighing) or f"{names[term.source]}->{names[target]}"
                if label in used:
                    label = f"{label} ({names[term.source]}->{names[target]})"
                base, k = label, 2
                while label in used:
                    label, k = f"{base} #{k}", k + 1
                used.add(label)
                size = prod(nodes[term.source].shape_out or ())
                if not self.tree.claim(prod(nodes[target].shape_out or ()) + size, 8, str(where), f"`{label}`"):
                    continue
                connectivity = compose(term.stages, size)
                if connectivity is None:
                    kinds = " -> ".join(f"`{n.name}` ({n.type})" for n in weighing)
                    self.findings.error(
                        "NM106", f"the linear nodes between `{names[term.source]}` and `{names[target]}` cannot become one connection: {kinds}", where=str(where),
                        why=f"no closed form exists, and listing {size} x {prod(nodes[target].shape_out or ())} synapses is beyond the limit of {MAX_EXPANDED}",
                        help=("put a neuron between the nodes", "merge the nodes before the export"),
                    )
                    continue
                if not self.tree.claim(int(connectivity.weights.size), 8, str(where), f"`{label}`"):
                    continue
                if len(term.stages) > 1:
                    self.graph.notes.append(f"{', '.join(f'`{n.name}`' for n in weighing)} were merged into one projection from `{names[term.source]}` to `{names[target]}`")
                bias = None if term.bias is None or not np.any(term.bias) else term.bias
                delay = int((term.source, target) in feedback)
                result.append(Projection(label, names[term.source], names[target], connectivity, bias, delay, where))
        return result


def _graph_title(prefix: Key) -> str:
    return f"graph `{'.'.join(prefix)}`" if prefix else "the graph"


def _index(position: Array) -> str:
    return f"[{', '.join(str(int(k)) for k in position)}]" if position.size else ""


def _natural(key: Key) -> tuple[tuple[int, int, str], ...]:
    """Sort `2` before `10`."""
    return tuple((0, int(part), "") if part.isascii() and part.isdecimal() and len(part) < 19 else (1, 0, part) for part in key)


def _closure(starts: Iterable[Key], step: dict[Key, list[Key]]) -> set[Key]:
    reached, todo = set(), list(starts)
    while todo:
        key = todo.pop()
        if key not in reached:
            reached.add(key)
            todo.extend(step[key])
    return reached


def _unique_names(nodes: Iterable[_Node]) -> dict[Key, str]:
    names: dict[Key, str] = {}
    used: set[str] = set()
    for node in sorted(nodes, key=lambda n: (len(n.key), _natural(n.key))):
        name, k = node.name, 2
        while name in used:
            name, k = f"{node.name}_{k}", k + 1
        used.add(name)
        names[node.key] = name
    return names


def _join_subgraphs(graph: _Graph, findings: Findings) -> None:
    """Replace the ports of nested graphs by direct edges; record NM105 where an edge does not say which of several ports it means."""
    inner = {key: node for key, node in graph.nodes.items() if len(key) > 1 and node.type in ("Input", "Output")}
    ports: dict[Key, list[Key]] = defaultdict(list)
    for key, node in inner.items():
        ports[(*key[:-1], ":input" if node.type == "Input" else ":output")].append(key)
    for name in sorted({key for edge in graph.edges for key in edge if key[-1].startswith(":") and len(ports[key]) > 1}):
        choices = ", ".join(f"`{'.'.join(key)}`" for key in sorted(ports[name]))
        findings.error(
            "NM105", f"an edge names graph `{'.'.join(name[:-1])}`, which has several {name[-1][1:]} ports: {choices}", where=str(inner[ports[name][0]].where),
            help=("name the port in the edge",),
        )
    pairs: set[tuple[Key, Key]] = set()
    for source, target in graph.edges:
        for s in ports[source] if source[-1].startswith(":") else [source]:
            pairs.update((s, t) for t in (ports[target] if target[-1].startswith(":") else [target]))
    for key in sorted(inner, key=len, reverse=True):
        sources = [s for s, t in pairs if t == key and s != key]
        targets = [t for s, t in pairs if s == key and t != key]
        pairs = {(s, t) for s, t in pairs if key not in (s, t)} | {(s, t) for s in sources for t in targets}
        del graph.nodes[key]
    graph.edges = sorted(pairs)


def _feedback(starts: Iterable[Key], edges: Iterable[tuple[Key, Key]]) -> set[tuple[Key, Key]]:
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
        stack: list[tuple[Key, Iterator[Key]]] = [(start, iter(sorted(after[start], key=_natural)))]
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
                stack.append((following, iter(sorted(after[following], key=_natural))))
    return closing


def _parameters(kind: str) -> tuple[str, ...]:
    required, optional = _FIELDS[kind]
    return (*required, *optional)


def _facts(node: _Node) -> NeuronFacts:
    f = {k: v.astype(np.float64).ravel() for k, v in node.fields.items()}
    cuba = node.type.startswith("Cuba")
    sizes = {v.size for v in f.values()} - {1}
    width = max(sizes, default=1)
    wide = {k: np.broadcast_to(v, width) if v.size == 1 else v for k, v in f.items()} if len(sizes) <= 1 else f
    return NeuronFacts(node.name, node.where, wide["r"], wide.get("tau_mem" if cuba else "tau"), wide.get("tau_syn"), wide.get("w_in"))


def _stages(node: _Node) -> tuple[list[Stage], Array | None]:
    """Return the linear node's stages and its bias, (targets,) or None; shapes have been checked."""
    f, kind, shape = node.fields, node.type, node.shape_in or ()
    if kind in ("Affine", "Linear"):
        weights = _matrix(f["weight"]).astype(np.float64)
        bias = np.broadcast_to(f["bias"].ravel(), weights.shape[0]).astype(np.float64) if "bias" in f else None
        return [Dense(weights)], bias
    if kind == "Scale":
        return [Diagonal(_broadcast(f["scale"], shape).astype(np.float64))], None
    if kind == "Conv2d":
        conv = _conv(node, (shape[0], shape[1], shape[2]))
        if "bias" not in f:
            return [conv], None
        _, h, w = conv.out_shape
        return [conv], np.broadcast_to(f["bias"].ravel(), conv.out_shape[0]).astype(np.float64).repeat(h * w)
    if kind in _POOLS:
        kernel, stride, padding = _pool(node)
        channels, height, width = shape
        factor = 1 / prod(kernel) if kind == "AvgPool2d" else 1.0
        if any(padding):
            window = np.full((channels, 1, *kernel), factor)
            return [Conv2d(window, (channels, height, width), stride, padding, groups=channels)], None
        return [Pool((channels, height, width), kernel, stride, factor)], None
    return [], None


def _matrix(weight: Array) -> Array:
    """Return a weight as a matrix; leading dimensions of 1 carry nothing."""
    return weight.reshape(weight.shape[-2:]) if weight.ndim > 2 and prod(weight.shape[:-2]) == 1 else weight


def _pair(values: Array | None, default: int) -> tuple[int, int]:
    if values is None:
        return default, default
    flat = [int(v) for v in values.ravel()]
    return (flat[0], flat[0]) if len(flat) == 1 else (flat[0], flat[1])


def _pool(node: _Node) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    kernel = _pair(node.fields["kernel_size"], 1)
    stride = _pair(node.fields["stride"], 1) if "stride" in node.fields else kernel
    return kernel, stride, _pair(node.fields.get("padding"), 0)


def _conv(node: _Node, shape: tuple[int, int, int]) -> Conv2d:
    f = node.fields
    weights, dilation = f["weight"].astype(np.float64), _pair(f.get("dilation"), 1)
    padding = _pair(f.get("padding"), 0)
    if node.padding == "same":
        weights, padding, dilation = padded_same(weights, dilation)
    groups = int(f["groups"].ravel()[0]) if "groups" in f else 1
    return Conv2d(weights, shape, _pair(f.get("stride"), 1), padding, dilation, groups)


def _broadcast(values: Array, shape: Shape) -> Array:
    """Return a parameter at the layer's shape; the fit has been checked by `_fits_layer`."""
    if values.size == 1:
        return np.broadcast_to(values.reshape(()), shape)
    return values.reshape(shape) if values.size == prod(shape) else np.broadcast_to(values, shape)


def _fits_layer(values: Array, shape: Shape) -> bool:
    if values.size == 1 or _core(values.shape) == _core(shape):
        return True
    return values.ndim == len(shape) and all(a in (1, b) for a, b in zip(values.shape, shape, strict=True))


def _core(shape: Shape) -> Shape:
    """Return a shape without leading ones."""
    k = 0
    while k < len(shape) - 1 and shape[k] == 1:
        k += 1
    return tuple(shape[k:])


class _Shapes:
    """Infer and check the shapes on all edges.

    A node's output shape follows from its own parameters where they tell it, from its sources otherwise; a fixed point over the
    graph handles loops.
    """

    def __init__(self, graph: _Graph, findings: Findings) -> None:
        self.graph, self.findings = graph, findings
        self.before, self.after = graph.before(), graph.after()
        self.bad: set[Key] = set()

    def infer(self) -> None:
        """Set `shape_in` and `shape_out` of every node, or record what does not fit."""
        nodes = self.graph.nodes
        for node in nodes.values():
            self._check_fields(node)
        if self.findings.errors:
            return
        todo = set(nodes)
        guess = False
        while todo:
            settled = {key for key in sorted(todo, key=_natural) if key in self.bad or self._settle(nodes[key], guess)}
            if not settled and guess:
                break
            guess = not settled
            todo -= settled
        for node in nodes.values():
            if node.type == "Input":
                self._port(node)
        open_ends = [nodes[k] for k in sorted(todo, key=_natural) if k not in self.bad and nodes[k].type != "Output"]
        if open_ends and not self.bad:
            self.findings.error(
                "NM106", f"the shape of {', '.join(f'`{n.name}`' for n in open_ends[:6])} cannot be inferred", where=str(open_ends[0].where),
                why="neither its parameters nor what feeds it tell a size", help=("state the shape in the Input node",),
            )
        if not self.findings.errors:
            for source, target in self.graph.edges:
                self._check_edge(nodes[source], nodes[target])

    def _error(self, node: _Node, message: str, *, why: str | None = None, entry: str | None = None) -> None:
        self.bad.add(node.key)
        self.findings.error("NM106", message, where=f"{node.where}/{entry}" if entry else str(node.where), why=why)

    def _check_fields(self, node: _Node) -> None:
        """Check what one node's fields say about each other."""
        f, name = node.fields, node.name
        if node.type in ("Affine", "Linear"):
            weight = _matrix(f["weight"]) if "weight" in f else None
            if weight is None or weight.ndim != 2:
                shape = None if weight is None else weight.shape
                self._error(node, f"weight of `{name}` has shape {shape}; a matrix (targets, sources) belongs here", entry="weight")
            elif "bias" in f and f["bias"].size not in (1, weight.shape[0]):
                self._error(node, f"bias of `{name}` has {f['bias'].size} entries for {weight.shape[0]} targets", entry="bias")
            return
        if node.type == "Conv2d":
            weight = f.get("weight")
            if weight is None or weight.ndim != 4:
                shape = None if weight is None else weight.shape
                self._error(node, f"weight of `{name}` has shape {shape}; a kernel (out channels, in channels, height, width) belongs here", entry="weight")
                return
            if "bias" in f and f["bias"].size not in (1, weight.shape[0]):
                self._error(node, f"bias of `{name}` has {f['bias'].size} entries for {weight.shape[0]} channels", entry="bias")
            groups = self._integers(node, "groups", 1, (1,))
            if groups and weight.shape[0] % groups[0]:
                self._error(node, f"the {weight.shape[0]} out channels of `{name}` do not divide into {groups[0]} groups", entry="groups")
            for entry, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
                self._integers(node, entry, least, (1, 2))
            if node.padding == "same" and _pair(f.get("stride"), 1) != (1, 1):
                self._error(node, f"`{name}` has padding `same` with a stride, which no framework defines", entry="padding")
            reach = prod(d * (k - 1) + 2 for d, k in zip(_pair(f.get("dilation"), 1), weight.shape[2:], strict=True))
            if node.padding == "same" and prod(weight.shape[:2]) * reach * 8 > MAX_BYTES:
                self._error(node, f"the dilated kernel of `{name}` is beyond the reader's limit of {MAX_BYTES} bytes", entry="dilation")
        elif node.type in _POOLS:
            for entry, least in (("kernel_size", 1), ("stride", 1), ("padding", 0)):
                self._integers(node, entry, least, (1, 2))
            if "kernel_size" not in f:
                self._error(node, f"`{name}` has an empty kernel size", entry="kernel_size")
        elif node.type in ("Input", "Output"):
            size = prod(self._integers(node, "shape", 1, None))
            if size > MAX_ELEMENTS:
                self.bad.add(node.key)
                self.findings.error("NM110", f"`{name}` declares {size} values; the limit is {MAX_ELEMENTS}", where=f"{node.where}/shape")
        elif node.type == "Flatten":
            for entry in ("start_dim", "end_dim"):
                self._integers(node, entry, -32, (1,))
        elif node.type in _NEURONS or node.type == "Scale":
            for entry in _FIELDS[node.type][0]:
                if entry not in f:
                    self._error(node, f"`{entry}` of `{name}` is empty", entry=entry)

    def _integers(self, node: _Node, entry: str, least: int, sizes: tuple[int, ...] | None) -> list[int]:
        values = node.fields.get(entry)
        if values is None:
            return []
        flat = values.ravel()
        if (sizes is not None and flat.size not in sizes) or np.any(flat != np.floor(flat)) or np.any(flat < least) or np.any(flat > 2**31):
            self._error(node, f"`{entry}` of `{node.name}` is {flat[:8].tolist()}; integers of at least {least} belong here", entry=entry)
            del node.fields[entry]
            return []
        return [int(v) for v in flat]

    def _declared(self, node: _Node) -> Shape | None:
        values = node.fields.get("shape")
        return tuple(int(v) for v in values.ravel()) if values is not None else None

    def _own(self, node: _Node) -> Shape | None:
        """Return the shape that a neuron's or Scale's parameters tell; None where all are scalars."""
        wide = [v.shape for k, v in node.fields.items() if k in _parameters(node.type) and v.size > 1]
        if not wide:
            return None
        best: Shape = max(wide, key=lambda s: (prod(s), len(s)))
        for entry, values in node.fields.items():
            if not _fits_layer(values, best):
                self._error(node, f"parameters of `{node.name}` have different shapes: {entry} {values.shape} and {best}", entry=entry)
                return None
        return best

    def _arriving(self, node: _Node) -> Shape | None:
        shapes = [self.graph.nodes[k].shape_out for k in sorted(self.before[node.key], key=_natural)]
        return next((s for s in shapes if s is not None), None)

    def _settle(self, node: _Node, guess: bool) -> bool:
        """Infer one node's shapes; return whether they are known. With `guess`, parameters of shape (C, 1, 1) are taken as they are."""
        if node.type == "Input":
            node.shape_out = self._declared(node) or self._wanted(node)
            return node.shape_out is not None
        if node.type == "Output":
            return True
        arriving = self._arriving(node)
        if node.type in ("Affine", "Linear"):
            rows, columns = _matrix(node.fields["weight"]).shape
            node.shape_in, node.shape_out = (columns,), (rows,)
        elif node.type in _NEURONS or node.type == "Scale":
            own = self._own(node)
            if node.key in self.bad:
                return True
            if own is not None and 1 in own and arriving is None and not guess:
                return False
            if own is not None and arriving is not None and _core(own) == _core(arriving):
                own = arriving if len(arriving) <= len(own) or node.type == "Scale" else own
            elif own is not None and arriving is not None and prod(own) != prod(arriving) and len(own) == len(arriving):
                wide = tuple(max(a, b) for a, b in zip(own, arriving, strict=True))
                own = wide if all(a in (1, b) for a, b in zip(own, wide, strict=True)) and wide == arriving else own
            shape = own or arriving
            if shape is None:
                return False
            node.shape_in = node.shape_out = shape
        elif node.type == "Flatten":
            if arriving is None:
                return False
            start = int(node.fields["start_dim"].ravel()[0]) if "start_dim" in node.fields else 1
            stop = int(node.fields["end_dim"].ravel()[0]) if "end_dim" in node.fields else -1
            rank = len(arriving)
            start, stop = (start + rank if start < 0 else start), (stop + rank if stop < 0 else stop)
            node.shape_in = arriving
            node.shape_out = (*arriving[:start], prod(arriving[start : stop + 1]), *arriving[stop + 1 :]) if 0 <= start < stop < rank else arriving
        else:
            return self._settle_image(node, arriving)
        return True

    def _settle_image(self, node: _Node, arriving: Shape | None) -> bool:
        f, name = node.fields, node.name
        stated = f.get("input_shape")
        channels = f["weight"].shape[1] * (int(f["groups"].ravel()[0]) if "groups" in f else 1) if node.type == "Conv2d" else None
        plane = tuple(int(v) for v in stated.ravel()) if stated is not None and stated.size == 2 else None
        if arriving is None and plane is not None and channels is not None:
            arriving = (channels, *plane)
        if arriving is None:
            return False
        image = _core(arriving) if len(arriving) > 3 else arriving
        if len(image) < 3 and len(arriving) >= 3:
            image = arriving[-3:]
        if len(image) == 2 and channels in (1, None):
            image = (1, *image)
        if len(image) == 1 and plane is not None and channels is not None and prod(image) == channels * prod(plane):
            image = (channels, *plane)
        if len(image) != 3:
            self._error(node, f"`{name}` ({node.type}) reads (channels, height, width), but shape {arriving} arrives")
            return True
        if channels is not None and image[0] != channels:
            self._error(
                node, f"`{name}` (Conv2d) reads {channels} channels, but {image[0]} arrive", entry="weight",
                why=f"weight {f['weight'].shape}, groups {channels // f['weight'].shape[1]}, arriving shape {arriving}",
            )
            return True
        if plane is not None and plane != image[1:]:
            self._error(node, f"`{name}` states an input of {plane}, but {image[1:]} arrives", entry="input_shape")
            return True
        node.shape_in = image
        try:
            if node.type == "Conv2d":
                node.shape_out = _conv(node, (image[0], image[1], image[2])).out_shape
            else:
                kernel, stride, padding = _pool(node)
                if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
                    raise ValueError(f"padding {padding} is more than half the window {kernel}")
                h, w = ((n + 2 * p - k) // s + 1 for n, p, k, s in zip(image[1:], padding, kernel, stride, strict=True))
                if min(h, w) < 1:
                    raise ValueError(f"window {kernel} is larger than the padded input {image[1:]}")
                node.shape_out = (image[0], h, w)
        except ValueError as error:
            self._error(node, f"`{name}` ({node.type}) does not fit its input of shape {image}: {error}")
        return True

    def _wanted(self, node: _Node) -> Shape | None:
        """Return the shape an Input's consumers read."""
        return next((s for s in (self.graph.nodes[k].shape_in for k in sorted(self.after[node.key], key=_natural)) if s is not None), None)

    def _port(self, node: _Node) -> None:
        """Give an Input the shape its consumers read where it differs by leading ones, or was not stated."""
        declared, wanted = self._declared(node), self._wanted(node)
        if declared is None and wanted is not None:
            node.shape_out = wanted
            self.graph.notes.append(f"input `{node.name}` states no shape; read as {wanted} from what it feeds")
        elif declared is not None and wanted is not None and len(declared) > len(wanted) and _core(declared) == _core(wanted):
            node.shape_out = wanted
            self.graph.notes.append(f"leading dimensions of 1 of input `{node.name}` {declared} were taken as batch or time and stripped: {wanted}")

    def _check_edge(self, source: _Node, target: _Node) -> None:
        shape, wanted = source.shape_out, target.shape_in
        if target.type == "Output":
            wanted = self._declared(target)
            if wanted is None:
                self.graph.notes.append(f"output `{target.name}` states no shape; read as {shape}")
                return
            if shape is not None and _core(shape) == _core(wanted) and len(wanted) > len(shape):
                self.graph.notes.append(f"leading dimensions of 1 of output `{target.name}` {wanted} were taken as batch or time and stripped: {shape}")
                return
        if shape is None or wanted is None or shape == wanted or _core(shape) == _core(wanted):
            return
        if prod(shape) == prod(wanted) and 1 in (len(_core(shape)), len(_core(wanted))):
            self.graph.notes.append(f"shape {shape} of `{source.name}` was read as {wanted} by `{target.name}`, in C order")
            return
        self.findings.error(
            "NM106", f"`{source.name}` ({source.type}) sends shape {shape}, but `{target.name}` ({target.type}) reads {wanted}", where=str(target.where),
            why=f"{prod(shape)} values for {prod(wanted)}" if prod(shape) != prod(wanted) else None,
        )
