"""Read NIR files (Neuromorphic Intermediate Representation, HDF5) without the `nir` package.

The layout is that of NIR 0.2 to 1.0.8: `/node/{type,nodes,edges,metadata}`, nested graphs the same way inside a node. Shapes are
inferred here, since files do not hold them; parameters of length 1 are broadcast; chains of linear nodes become one projection.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from math import isfinite, prod

import networkx as nx
import numpy as np

from nmap.connectivity import Array, Conv2d, Dense
from nmap.network import Assumption, Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.readers.conventions import RESETS, NeuronFacts, settle
from nmap.readers.graph import (
    FIELDS,
    LINEAR,
    NEURONS,
    POOLS,
    POSITIVE,
    SILENT,
    Graph,
    Key,
    Node,
    closure,
    feedback,
    join_subgraphs,
    natural,
    parameters_of,
)
from nmap.readers.hdf5 import Group, Tree
from nmap.readers.linear import MAX_EXPANDED, Diagonal, Pool, Stage, apply_chain, compose
from nmap.readers.shapes import Shapes, at_shape, conv_of, matrix_of, pool_window

__all__ = ["read_nir"]

_MAX_NODES = 2**14


_MAX_DEPTH = 32
_MAX_GUESSES = 2**14


_MAX_TERMS = 2**12


@dataclass(slots=True, eq=False)
class _Term:
    """What one source sends through a chain of linear nodes; `bias` is the constant that chain adds."""

    source: Key
    stages: list[Stage]
    through: list[Node]
    bias: Array | None


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
        self.graph = Graph()
        self.count = 0

    def read(self) -> Network:
        root = self.tree.root.group("node")
        if root is not None:
            self._level(root, (), 0)
        self.findings.raise_errors()
        join_subgraphs(self.graph, self.findings)
        self._check_ends()
        self.findings.raise_errors()
        shapes = Shapes(self.graph, self.findings)
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
        names: dict[str, None] = {}
        inner: set[str] = set()
        nodes = group.group("nodes")
        if nodes is None:
            self.findings.error(
                "NM103", f"{_graph_title(prefix)} has no `nodes`: the file was cut short while it was written", where=group.place("nodes")
            )
        else:
            for name in nodes.names():
                self.count += 1
                if self.count > _MAX_NODES:
                    self.findings.error("NM110", f"the graph has more than {_MAX_NODES} nodes", where=str(nodes.where))
                    return
                names[name] = None
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
                "NM103",
                f"node `{name}` has no `type`",
                where=group.place("type"),
                why=f"it holds the groups {', '.join(f'`{g}`' for g in groups[:4])}: a `/` in a node's name splits it in HDF5"
                if groups
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
        node = Node(key, kind, group.where)
        self.graph.nodes[key] = node
        if kind not in FIELDS:
            self.findings.error(
                "NM104",
                f"node `{name}` is of type `{kind}`, which nmap does not support",
                where=str(group.where),
                help=(f"supported are {', '.join(FIELDS)} and NIRGraph",),
            )
            return False
        required, optional = FIELDS[kind]
        present = set(group.names())
        missing = [f for f in required if f not in present]
        if missing:
            self.findings.error(
                "NM103",
                f"node `{name}` ({kind}) lacks {', '.join(f'`{f}`' for f in missing)}",
                where=str(group.where),
                why="the entry is absent: the file was cut short while it was written, or its exporter left it out",
            )
        unknown = sorted(present - {*required, *optional, "type", "metadata"})
        if unknown:
            self.graph.notes.append(
                f"node `{name}` ({kind}) has {', '.join(f'`{f}`' for f in unknown)}, which NIR does not define; ignored"
            )
        for entry in (*required, *optional):
            if entry in present:
                self._field(group, node, entry)
        return False

    def _field(self, group: Group, node: Node, entry: str) -> None:
        place = group.place(entry)
        if node.type == "Conv2d" and entry == "padding" and group.is_string(entry):
            node.padding = group.string(entry)
            if node.padding not in ("same", "valid"):
                self.findings.error(
                    "NM107", f"padding of `{node.name}` is `{node.padding}`; it may be numbers, `same` or `valid`", where=place
                )
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
                "NM107",
                f"`{entry}` of `{node.name}` is not finite: {value}",
                where=f"{place}{_index(bad)}",
                why="an infinite time constant is no leak (snnTorch writes it for beta = 1)" if entry in POSITIVE and value > 0 else None,
                help=("use an IF neuron for a membrane without leak",) if entry in POSITIVE and value > 0 else (),
                data={"index": [int(k) for k in bad], "count": int(np.sum(~np.isfinite(values)))},
            )
            return
        if entry in POSITIVE and np.any(values <= 0):
            bad = np.argwhere(values <= 0)[0]
            self.findings.error(
                "NM107",
                f"`{entry}` of `{node.name}` is {float(values[tuple(bad)]):.6g}; a time constant is positive",
                where=f"{place}{_index(bad)}",
                data={"index": [int(k) for k in bad], "count": int(np.sum(values <= 0))},
            )
            return
        node.fields[entry] = values

    def _edges(self, group: Group, prefix: Key, names: dict[str, None], inner: set[str]) -> None:
        if "edges" not in group:
            self.findings.error(
                "NM103",
                f"{_graph_title(prefix)} has no `edges`: the file was cut short while it was written",
                where=group.place("edges"),
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
        dangling = 0
        for number, (first, second) in enumerate(edges):
            pair: list[Key] = []
            for name, port in ((first, "output"), (second, "input")):
                key = self._resolve(name, port, prefix, names, inner)
                if key is None:
                    dangling += 1
                    near = get_close_matches(name, names, 1, 0.3) if dangling * len(names) < _MAX_GUESSES else []
                    self.findings.error(
                        "NM105",
                        f"edge `{first}` -> `{second}` names `{name}`, which does not exist in {_graph_title(prefix)}",
                        where=f"{group.place('edges')}[{number}]",
                        why=f"its nodes are {', '.join(f'`{n}`' for n in list(names)[:12])}{', ...' if len(names) > 12 else ''}",
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

    def _resolve(self, name: str, port: str, prefix: Key, names: dict[str, None], inner: set[str]) -> Key | None:
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

    def _metadata(self, group: Group | None, inner: bool = False) -> None:
        """Collect the conventions a graph's or node's metadata state."""
        if group is None:
            return
        if not inner and group.is_group("nmap"):
            self._metadata(group.group("nmap"), inner=True)
        stated, present = self.graph.stated, set(group.names())
        if "dt" in present:
            value = group.array("dt") if not group.is_string("dt") else None
            step = float(value.reshape(-1)[0]) if value is not None and value.size == 1 else None
            if step is None or not isfinite(step) or step <= 0:
                self.findings.error("NM107", "`dt` in the metadata is not a positive number of seconds", where=group.place("dt"))
            else:
                stated.add("dt", step, group.place("dt"))
        texts = {
            key: group.string(key)
            for key in ("reset", "reset_mechanism", "decay", "compare", "spike_rule", "exporter")
            if group.is_string(key)
        }
        mechanism = texts.get("reset") or texts.get("reset_mechanism")
        if mechanism is not None:
            place = group.place("reset" if texts.get("reset") else "reset_mechanism")
            late = self._flag(group, "reset_delay") if "reset_delay" in present else False
            if mechanism == "subtract" and late:
                mechanism = "delayed"
            if mechanism == "zero" and late:
                self.findings.error(
                    "NM104",
                    "the metadata state a reset to zero one step after the spike, which nmap does not support",
                    where=group.place("reset_delay"),
                )
            elif mechanism not in RESETS:
                self.findings.error(
                    "NM104",
                    f"the metadata state the reset `{mechanism}`, which nmap does not support",
                    where=place,
                    help=(f"supported are {', '.join(RESETS)}",),
                )
            else:
                stated.add("reset", mechanism, place)
        if "decay" in texts:
            self._one_of(group, "decay", texts["decay"], {"euler": "euler", "exact": "exact"}, "decay")
        for entry in ("compare", "spike_rule"):
            if entry in texts:
                text = (texts[entry] or "").replace(" ", "")
                self._one_of(
                    group,
                    entry,
                    text,
                    {">": ">", ">=": ">=", "v>theta": ">", "v>=theta": ">=", "v>v_threshold": ">", "v>=v_threshold": ">="},
                    "compare",
                )
        if texts.get("exporter"):
            stated.add("exporter", texts["exporter"], group.place("exporter"))

    def _flag(self, group: Group, name: str) -> bool:
        value = group.array(name) if not group.is_string(name) else None
        return bool(value is not None and value.size == 1 and value.reshape(-1)[0])

    def _one_of(self, group: Group, entry: str, text: str | None, meanings: dict[str, str], key: str) -> None:
        if text in meanings:
            self.graph.stated.add(key, meanings[text], group.place(entry))
        else:
            self.findings.error(
                "NM104",
                f"the metadata state `{entry}` = `{text}`, which nmap does not know",
                where=group.place(entry),
                help=(f"known are {', '.join(meanings)}",),
            )

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
        reached = closure([n.key for n in inputs], after)
        leading = closure([n.key for n in outputs], before)
        lost = [n for n in nodes.values() if n.key not in reached]
        if lost:
            self.findings.error(
                "NM108",
                f"no input reaches {', '.join(f'`{n.name}`' for n in lost[:8])}{f' and {len(lost) - 8} more' if len(lost) > 8 else ''}",
                where=str(lost[0].where),
                help=("connect it, or remove it from the graph",),
                data={"nodes": [n.name for n in lost]},
            )
        idle = [n for n in nodes.values() if n.key in reached and n.key not in leading]
        useful = closure([n.key for n in nodes.values() if n.type in NEURONS], before)
        for node in idle:
            left_out = node.type in LINEAR and node.key not in useful
            if left_out:
                del nodes[node.key]
            self.graph.notes.append(f"`{node.name}` ({node.type}) leads to no output{'; left out' if left_out else ''}")
        self.graph.edges = [(s, t) for s, t in self.graph.edges if s in nodes and t in nodes]
        for node in outputs:
            for key in before[node.key]:
                if nodes[key].type == "Input":
                    self.findings.error(
                        "NM104",
                        f"Output `{node.name}` is fed by Input `{nodes[key].name}`: there is no neuron between them",
                        where=str(node.where),
                    )

    # Populations and projections

    def _network(self) -> Network:
        graph, findings = self.graph, self.findings
        nodes, before = graph.nodes, graph.before()
        neurons = [n for n in nodes.values() if n.type in NEURONS]
        conventions, assumptions, notes = settle(
            [_facts(n) for n in neurons if n.type != "Threshold"],
            graph.stated,
            findings,
            dt=self.dt,
            reset=self.reset,
            source=self.source,
            file=self.tree.name,
        )
        findings.raise_errors()
        graph.notes.extend(notes)
        models = {n.key: self._neuron(n, conventions) for n in neurons}
        findings.raise_errors()
        terms = self._terms(before)
        outputs = self._outputs(before)
        findings.raise_errors()

        names = _unique_names([n for n in nodes.values() if n.type in NEURONS or n.type == "Input"])
        edges = sorted({(term.source, target) for target, found in terms.items() for term in found})
        starts = sorted((n.key for n in nodes.values() if n.type == "Input"), key=natural)
        closing = feedback(starts, edges)
        projections = self._projections(terms, names, closing)
        findings.raise_errors()
        forward = nx.DiGraph()
        forward.add_nodes_from(names)
        forward.add_edges_from(edge for edge in edges if edge not in closing)
        order = [*starts, *(k for k in nx.lexicographical_topological_sort(forward, key=natural) if nodes[k].type != "Input")]
        rank = {key: k for k, key in enumerate(order)}
        if closing:
            loops = ", ".join(f"`{names[s]}` -> `{names[t]}`" for s, t in sorted(closing))
            assumptions = (
                *assumptions,
                Assumption(
                    "timing",
                    "1 step for recurrent edges",
                    "default",
                    f"{loops} close{'s' if len(closing) == 1 else ''} a loop; NIR states no delay, every framework takes the previous step",
                ),
            )
        populations = tuple(Population(names[k], nodes[k].shape_out or (), models.get(k), nodes[k].where) for k in order)
        place = {names[k]: rank[k] for k in order}
        network = Network(
            file=self.tree.name,
            format="nir",
            sha256=self.sha256,
            populations=populations,
            projections=tuple(sorted(projections, key=lambda p: (place[p.target], place[p.source], p.name))),
            inputs=tuple(names[k] for k in starts),
            outputs=tuple(dict.fromkeys(names[k] for k in outputs)),
            conventions=conventions,
            assumptions=assumptions,
            notes=tuple(dict.fromkeys(graph.notes)),
        )
        network.check()
        return network

    def _outputs(self, before: dict[Key, list[Key]]) -> list[Key]:
        """Return the neuron nodes that feed an Output, through nothing but Flatten nodes."""
        nodes, result = self.graph.nodes, []
        for node in sorted((n for n in nodes.values() if n.type == "Output"), key=lambda n: natural(n.key)):
            for key in sorted(before[node.key], key=natural):
                while nodes[key].type == "Flatten" and len(before[key]) == 1:
                    key = before[key][0]
                feeder = nodes[key]
                if feeder.type in LINEAR:
                    self.findings.error(
                        "NM104",
                        f"Output `{node.name}` is fed by `{feeder.name}` ({feeder.type}), not by a neuron",
                        where=str(feeder.where),
                        why="chips send spikes; a weighted sum without a neuron behind it has no place on them",
                        help=(
                            "add a neuron in front of the output (a leaky integrator, LI, for a readout)",
                            f"make the node before `{feeder.name}` the output, and weigh its spikes in software",
                        ),
                    )
                elif feeder.type in NEURONS:
                    result.append(key)
        return result

    def _neuron(self, node: Node, conventions: Conventions) -> Neuron | None:
        """Return the difference equation of a neuron node (see `nmap.network.Neuron`)."""
        shape, size = node.shape_out or (), prod(node.shape_out or ())
        if not self.tree.claim(size * 8, 8, str(node.where), f"the state and parameters of `{node.name}`"):
            return None
        f = {k: at_shape(v, shape).astype(np.float64).ravel() for k, v in node.fields.items() if k in parameters_of(node.type)}
        dt, kind = conventions.dt or 1.0, node.type
        zero, one = np.zeros(size), np.ones(size)
        if kind == "Threshold":
            if conventions.reset == "delayed":
                self.findings.error(
                    "NM111",
                    f"`{node.name}` (Threshold) has no state that a delayed reset could change",
                    where=str(node.where),
                    help=("--reset zero", "--reset subtract"),
                )
            return Neuron(kind, zero, one, one, zero, zero, f["threshold"], zero, fields=f)
        threshold, v_reset, spiking = f.get("v_threshold", np.full(size, np.inf)), f.get("v_reset", zero), kind not in SILENT
        if kind in ("I", "IF"):
            return Neuron(kind, zero, one, f["r"] * dt, one, zero, threshold, v_reset, spiking, fields=f)
        cuba = kind.startswith("Cuba")
        tau = f["tau_mem" if cuba else "tau"]
        beta, alpha = self._decay(node, "tau_mem" if cuba else "tau", tau, conventions), zero
        gain_in = one
        if cuba:
            alpha = self._decay(node, "tau_syn", f["tau_syn"], conventions)
            gain_in = f.get("w_in", one) * dt / f["tau_syn"]
        drive = f["v_leak"] * (1 - beta)
        if conventions.reset != "zero" and np.any(v_reset != 0):
            self.graph.notes.append(f"`{node.name}` states v_reset, which a subtracting reset does not use")
        return Neuron(kind, alpha, gain_in, f["r"] * dt / tau, beta, drive, threshold, v_reset, spiking, fields=f)

    def _decay(self, node: Node, entry: str, tau: Array, conventions: Conventions) -> Array:
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
                "NM111",
                f"`{entry}` of `{node.name}` is {shortest:.6g} s, shorter than the time step of {dt:.6g} s",
                where=f"{node.where}/{entry}",
                why=f"1 - dt/tau = {1 - float(ratio[worst]):.6g} is no decay",
                help=remedies,
            )
        if np.any(np.abs(ratio - 1) <= 1e-5):
            self.graph.notes.append(f"`{entry}` of `{node.name}` equals the time step: no memory")
        return np.asarray(np.maximum(1 - ratio, 0.0))

    def _terms(self, before: dict[Key, list[Key]]) -> dict[Key, list[_Term]]:
        """Return, for each neuron node, what reaches it from each source through linear nodes."""
        nodes = self.graph.nodes
        linear = nx.DiGraph()
        linear.add_nodes_from(key for key, node in nodes.items() if node.type in LINEAR)
        linear.add_edges_from((s, t) for s, t in self.graph.edges if nodes[s].type in LINEAR and nodes[t].type in LINEAR)
        if not nx.is_directed_acyclic_graph(linear):
            loop = [s for s, _ in nx.find_cycle(linear)]
            self.findings.error(
                "NM108",
                f"{' -> '.join(f'`{nodes[k].name}`' for k in [*loop, loop[0]])} is a loop without a neuron",
                where=str(nodes[loop[0]].where),
                why="its signal would have to be known before it is computed",
            )
            return {}
        flow: dict[Key, list[_Term]] = {}
        ways = 0
        for key in nx.lexicographical_topological_sort(linear, key=natural):
            node = nodes[key]
            arriving = self._arriving(before[key], flow)
            ways += len(arriving)
            if ways > _MAX_TERMS:
                self.findings.error(
                    "NM110", f"more than {_MAX_TERMS} ways lead through linear nodes to `{node.name}`", where=str(node.where)
                )
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
        return {node.key: self._arriving(before[node.key], flow) for node in nodes.values() if node.type in NEURONS}

    def _arriving(self, sources: Iterable[Key], flow: dict[Key, list[_Term]]) -> list[_Term]:
        result: list[_Term] = []
        for key in sorted(sources, key=natural):
            if key in flow:
                result.extend(_Term(t.source, list(t.stages), list(t.through), t.bias) for t in flow[key])
            elif self.graph.nodes[key].type in SILENT:
                self.findings.error(
                    "NM104",
                    f"`{self.graph.nodes[key].name}` ({self.graph.nodes[key].type}) never fires, yet feeds other neurons",
                    where=str(self.graph.nodes[key].where),
                    why="only spikes travel between neurons; an integrator can be an output only",
                    help=("use a spiking neuron",),
                )
            else:
                result.append(_Term(key, [], [], None))
        return result

    def _projections(self, terms: dict[Key, list[_Term]], names: dict[Key, str], closing: set[tuple[Key, Key]]) -> list[Projection]:
        nodes, used, result = self.graph.nodes, set(), []
        for target in sorted(terms, key=natural):
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
                        "NM106",
                        f"the linear nodes between `{names[term.source]}` and `{names[target]}` cannot become one connection: {kinds}",
                        where=str(where),
                        why=f"no closed form exists, and {size} sources are too many to list their synapses (limit {MAX_EXPANDED})",
                        help=("put a neuron between the nodes", "merge the nodes before the export"),
                    )
                    continue
                if not self.tree.claim(int(connectivity.weights.size), 8, str(where), f"`{label}`"):
                    continue
                if len(term.stages) > 1:
                    merged = ", ".join(f"`{n.name}`" for n in weighing)
                    self.graph.notes.append(f"{merged} were merged into one projection from `{names[term.source]}` to `{names[target]}`")
                bias = None if term.bias is None or not np.any(term.bias) else term.bias
                delay = int((term.source, target) in closing)
                result.append(Projection(label, names[term.source], names[target], connectivity, bias, delay, where))
        return result


def _graph_title(prefix: Key) -> str:
    return f"graph `{'.'.join(prefix)}`" if prefix else "the graph"


def _index(position: Array) -> str:
    return f"[{', '.join(str(int(k)) for k in position)}]" if position.size else ""


def _unique_names(nodes: Iterable[Node]) -> dict[Key, str]:
    names: dict[Key, str] = {}
    used: set[str] = set()
    for node in sorted(nodes, key=lambda n: (len(n.key), natural(n.key))):
        name, k = node.name, 2
        while name in used:
            name, k = f"{node.name}_{k}", k + 1
        used.add(name)
        names[node.key] = name
    return names


def _facts(node: Node) -> NeuronFacts:
    f = {k: v.astype(np.float64).ravel() for k, v in node.fields.items()}
    cuba = node.type.startswith("Cuba")
    sizes = {v.size for v in f.values()} - {1}
    width = max(sizes, default=1)
    wide = {k: np.broadcast_to(v, width) if v.size == 1 else v for k, v in f.items()} if len(sizes) <= 1 else f
    return NeuronFacts(node.name, node.where, wide["r"], wide.get("tau_mem" if cuba else "tau"), wide.get("tau_syn"), wide.get("w_in"))


def _stages(node: Node) -> tuple[list[Stage], Array | None]:
    """Return the linear node's stages and its bias, (targets,) or None; shapes have been checked."""
    f, kind, shape = node.fields, node.type, node.shape_in or ()
    if kind in ("Affine", "Linear"):
        weights = matrix_of(f["weight"]).astype(np.float64)
        bias = np.broadcast_to(f["bias"].ravel(), weights.shape[0]).astype(np.float64) if "bias" in f else None
        return [Dense(weights)], bias
    if kind == "Scale":
        return [Diagonal(at_shape(f["scale"], shape).astype(np.float64))], None
    if kind == "Conv2d":
        conv = conv_of(node, (shape[0], shape[1], shape[2]))
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
