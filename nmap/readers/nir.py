"""Read NIR files (Neuromorphic Intermediate Representation, HDF5) without the `nir` package.

The layout is that of NIR 0.1 to 1.0.8: `/node/{type,nodes,edges,metadata}`, nested graphs the same way inside a node. Versions up to
1.0.5 write no `v_reset`, up to 0.2 no `w_in` and no `input_shape` of a convolution; before 0.1 edges were pairs of indices and an Output
had no shape. Shapes are inferred here, since files do not hold them; parameters of length 1 are broadcast; chains of linear nodes
become one projection where one connection equals them (`nmap.readers.wiring`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from math import isfinite, prod

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import named
from nmap.network import Assumption, Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.ordering import components, topological_order
from nmap.readers.conventions import MAX_INTERVAL, RESETS, NeuronFacts, Periodic, settle
from nmap.readers.graph import (
    CONVS,
    FIELDS,
    GAINS,
    LINEAR,
    NEURONS,
    PORT,
    POSITIVE,
    SILENT,
    Graph,
    Key,
    Node,
    Repair,
    closure,
    feedback,
    join_subgraphs,
    natural,
    parameters_of,
)
from nmap.readers.hdf5 import Group, Tree
from nmap.readers.shapes import Shapes, at_shape
from nmap.readers.wiring import Edge, Wiring, behind

__all__ = ["read_nir"]

_NOISE = 1e-6
_SAID = frozenset({f.name for f in fields(Conventions)} | {"exporter", "reset_mechanism", "reset_delay", "spike_rule"})
"""What the metadata's group `nmap` may state."""
_MOST_DANGLING = 256
_MAX_NODES = 2**14
_MAX_DEPTH = 32
_MAX_GUESSES = 2**14
_MAX_DELAY = 2**20
_MAX_NAME = 2**8
_KINDS = {
    "floor": "a number", "lag": "a number of steps", "reset_interval": "a number of steps", "reset_offset": "a number of steps",
}


def read_nir(
    tree: Tree, sha256: str, *, dt: float | None, reset: str | None, source: str | None, periodic: Periodic | None = None,
) -> Network:
    """Read an open NIR file.

    Args:
        tree: the file.
        sha256: its hash.
        dt, reset, source: the command line's conventions, valid, or None.
        periodic: the command line's periodic reset.

    Raises:
        NmapError: with everything that is wrong with the stage that failed (entries and edges, then shapes, then values in their
            conventions).
    """
    return _Reader(tree, sha256, dt, reset, source, periodic or Periodic()).read()


class _Reader:
    def __init__(self, tree: Tree, sha256: str, dt: float | None, reset: str | None, source: str | None, periodic: Periodic) -> None:
        self.tree, self.findings, self.sha256 = tree, tree.findings, sha256
        self.dt, self.reset, self.source, self.periodic = dt, reset, source, periodic
        self.graph = Graph()
        self.gains: dict[str, Callable[[Array, float], Array]] = {}
        self.late_zero: str | None = None
        self.count = 0

    def read(self) -> Network:
        root = self.tree.root.group("node")
        if root is not None:
            self._level(root, (), 0)
        self._confirm_repairs()
        self.findings.raise_errors()
        join_subgraphs(self.graph, self.findings)
        self._check_ends()
        self.findings.raise_errors()
        Shapes(self.graph, self.findings).infer()
        self._confirm_repairs()
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
        self.graph.places[prefix] = group.where
        nodes = group.group("nodes")
        if nodes is None:
            self.findings.error(
                "NM103", f"{_graph_title(prefix)} has no `nodes`: the file was cut short while it was written", where=group.place("nodes")
            )
        else:
            for stored in nodes.names():
                self.count += 1
                if self.count > _MAX_NODES:
                    self.findings.error("NM110", f"the graph has more than {_MAX_NODES} nodes", where=str(nodes.where))
                    return
                name = _readable(stored)
                if name in names:
                    self.findings.error(
                        "NM103",
                        f"two nodes of {_graph_title(prefix)} are named `{name}` once what is no text in their names is replaced",
                        where=nodes.place(name),
                        help=("give the nodes names in UTF-8",),
                    )
                    continue
                names[name] = None
                node = nodes.group(stored)
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
        self._gains(group, node)
        return False

    def _field(self, group: Group, node: Node, entry: str) -> None:
        place = group.place(entry)
        if node.type in CONVS and entry == "padding" and group.is_string(entry):
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
        if values is None:
            return
        if values.size == 0:
            node.empty.add(entry)
            return
        # An infinite time constant is no leak; whether the gain beside it makes sense is checked when the node is complete.
        finite = np.isfinite(values) | (values == np.inf) if entry in POSITIVE or entry in GAINS else np.isfinite(values)
        if not np.all(finite):
            bad = np.argwhere(~finite)[0]
            self.findings.error(
                "NM107",
                f"`{entry}` of `{node.name}` is not finite: {float(values[tuple(bad)])}",
                where=f"{place}{_index(bad)}",
                data={"index": [int(k) for k in bad], "count": int(np.sum(~finite))},
            )
            return
        if entry == "delay" and np.any(values < 0):
            bad = np.argwhere(values < 0)[0]
            self.findings.error(
                "NM107",
                f"`delay` of `{node.name}` is {float(values[tuple(bad)]):.6g}; a delay is not negative",
                where=f"{place}{_index(bad)}",
                data={"index": [int(k) for k in bad], "count": int(np.sum(values < 0))},
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

    def _gains(self, group: Group, node: Node) -> None:
        """Check that a gain is infinite only where its time constant is."""
        for gain, entry in GAINS.items():
            entry = "tau_mem" if entry == "tau" and "tau_mem" in node.fields else entry
            r, tau = (np.atleast_1d(node.fields.get(name, np.ones(1))) for name in (gain, entry))
            if gain not in node.fields or (r.shape != tau.shape and 1 not in (r.size, tau.size)):
                continue
            # Without a gain for them, spikes would be lost in a synapse that never forgets.
            wrong = np.isinf(r) != np.isinf(tau) if entry == "tau_syn" else np.isinf(r) & ~np.isinf(tau)
            if np.any(wrong):
                bad = np.argwhere(wrong)[0]
                self.findings.error(
                    "NM107",
                    f"`{gain if np.any(np.isinf(r)) else entry}` of `{node.name}` is not finite: inf",
                    where=f"{group.place(gain if np.any(np.isinf(r)) else entry)}{_index(bad)}",
                    why=f"`{gain}` and `{entry}` may be infinite only together: a state without decay, and a gain of 1 per step",
                    data={"index": [int(k) for k in bad], "count": int(np.sum(wrong))},
                )
        if "tau_syn" in node.fields and "w_in" not in node.fields and np.any(np.isinf(node.fields["tau_syn"])):
            self.findings.error(
                "NM107",
                f"`tau_syn` of `{node.name}` is not finite: inf",
                where=group.place("tau_syn"),
                why="`w_in` and `tau_syn` may be infinite only together: a state without decay, and a gain of 1 per step",
            )

    def _edges(self, group: Group, prefix: Key, names: dict[str, None], inner: set[str]) -> None:
        if "edges" not in group:
            self.findings.error(
                "NM103",
                f"{_graph_title(prefix)} has no `edges`: the file was cut short while it was written",
                where=group.place("edges"),
                help=("export the network again; an exporter that fails midway leaves such a file",),
            )
            return
        edges = group.strings("edges") if group.is_string("edges") else group.array("edges")
        if edges is None or edges.size == 0:
            return
        if edges.ndim != 2 or edges.shape[1] != 2:
            self.findings.error("NM103", f"`edges` has shape {edges.shape}; it lists pairs of node names", where=group.place("edges"))
            return
        seen: set[tuple[str, str]] = set()
        pairs: list[tuple[int, str, str]] = []
        for number, (first, second) in enumerate((str(a), str(b)) for a, b in edges.tolist()):
            if (first, second) in seen:
                self.graph.notes.append(f"edge `{first}` -> `{second}` is listed twice; read once")
                continue
            seen.add((first, second))
            pairs.append((number, first, second))
        known = {
            (name, port): self._resolve(name, port, prefix, names, inner)
            for _, first, second in pairs
            for name, port in ((first, "output"), (second, "input"))
        }
        lost = {name for (name, _), key in known.items() if key is None}
        meant = self._meant(lost, names, {key[len(prefix)] for key in known.values() if key is not None})
        if meant is not None:
            (name,) = lost
            number, first, second = next(pair for pair in pairs if name in pair[1:])
            place, edge = f"{group.place('edges')}[{number}]", f"edge `{first}` -> `{second}`"
            self.graph.repairs.append(Repair(name, (*prefix, meant), edge, place))
            self.findings.warning(
                "NM112",
                f"{edge} names `{name}`, which does not exist in {_graph_title(prefix)}; it was read as `{meant}`",
                where=place,
                why=f"`{meant}` is the nearest name, and the only node without an edge",
                help=(f"rename the node, or write `{meant}` in the edges",),
            )
            known.update({(name, port): self._resolve(meant, port, prefix, names, inner) for port in ("input", "output")})
        dangling = 0
        listed = f"its nodes are {', '.join(f'`{n[:_MAX_NAME]}`' for n in list(names)[:12])}{', ...' if len(names) > 12 else ''}"
        for number, first, second in pairs:
            source, target = known[first, "output"], known[second, "input"]
            for name in [n for n, key in ((first, source), (second, target)) if key is None]:
                dangling += 1
                if dangling > _MOST_DANGLING:
                    continue
                near = _nearest(name, names, 0.3) if dangling * len(names) < _MAX_GUESSES else []
                self.findings.error(
                    "NM105",
                    f"edge `{first}` -> `{second}` names `{name}`, which does not exist in {_graph_title(prefix)}",
                    where=f"{group.place('edges')}[{number}]",
                    why=listed,
                    help=(f"nearest name: `{near[0]}`",) if near else (),
                )
            if source is not None and target is not None:
                self.graph.edges.append((source, target))
        if dangling > _MOST_DANGLING:
            self.findings.error(
                "NM105", f"{dangling - _MOST_DANGLING} more ends of edges name nodes that do not exist", where=group.place("edges")
            )

    def _meant(self, lost: set[str], names: dict[str, None], used: set[str]) -> str | None:
        """Return the one node that a name without a node can mean: the only one without an edge, if it has the nearest name."""
        idle = [name for name in names if name not in used]
        if len(lost) != 1 or len(idle) != 1:
            return None
        return idle[0] if _nearest(next(iter(lost)), names, 0.6) == idle else None

    def _confirm_repairs(self) -> None:
        """Take back the reading of names where something else is wrong with the file: then they may mean another node."""
        if self.findings.errors:
            for repair in self.graph.repairs:
                self.findings.error(
                    "NM105",
                    f"{repair.edge} names `{repair.name}`, which does not exist",
                    where=repair.where,
                    why=f"it would be read as `{'.'.join(repair.key)}` if all else fitted together",
                    help=(f"nearest name: `{repair.key[-1]}`",),
                )

    def _resolve(self, name: str, port: str, prefix: Key, names: dict[str, None], inner: set[str]) -> Key | None:
        """Return the node an edge's end names; a nested graph's name stands for its port."""
        if name in names:
            return (*prefix, name, f"{PORT}{port}") if name in inner else (*prefix, name)
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
            step = self._number(group, "dt")
            if step is None or step <= 0:
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
                self.late_zero = group.place("reset_delay")
            if mechanism not in RESETS:
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
        if inner:
            self._fine_points(group, present)

    def _fine_points(self, group: Group, present: set[str]) -> None:
        """Collect the conventions that only nmap's own metadata state."""
        stated = self.graph.stated
        for entry in sorted(present - _SAID):
            near = _nearest(entry, _SAID, 0.6)
            self.findings.warning(
                "NM112", f"`{entry}` in the metadata is no convention that nmap knows; ignored", where=group.place(entry),
                help=(f"nearest name: `{near[0]}`",) if near else (f"known are {', '.join(sorted(_SAID))}",),
            )
        if group.is_string("gain"):
            self._one_of(group, "gain", group.string("gain"), {"euler": "euler", "exact": "exact"}, "gain")
        for entry in ("multiple", "early_reset", "late_bias", "in_steps"):
            if entry in present:
                stated.add(entry, self._flag(group, entry), group.place(entry))
        for entry, least in (("floor", -np.inf), ("lag", 0.0), ("reset_interval", 0.0), ("reset_offset", 0.0)):
            if entry not in present:
                continue
            value = self._number(group, entry)
            most = _MAX_DELAY if entry == "lag" else MAX_INTERVAL
            whole = entry == "floor" or (value is not None and value == int(value) and value <= most)
            if value is None or value < least or not whole:
                self.findings.error("NM107", f"`{entry}` in the metadata is not {_KINDS[entry]}", where=group.place(entry))
            else:
                stated.add(entry, value if entry == "floor" else int(value), group.place(entry))

    def _number(self, group: Group, name: str) -> float | None:
        values = group.array(name) if not group.is_string(name) else None
        number = float(values.reshape(-1)[0]) if values is not None and values.size == 1 else None
        return number if number is not None and isfinite(number) else None

    def _flag(self, group: Group, name: str) -> bool:
        return bool(self._number(group, name))

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
        for end, kind, verb in ((0, "Output", "leaves"), (1, "Input", "leads into")):
            for edge in (e for e in self.graph.edges if nodes[e[end]].type == kind):
                self.findings.error(
                    "NM108",
                    f"edge `{nodes[edge[0]].name}` -> `{nodes[edge[1]].name}` {verb} {kind} `{nodes[edge[end]].name}`",
                    where=str(nodes[edge[end]].where),
                    help=("name the neuron behind the Output" if kind == "Output" else "name the node behind the Input",),
                )
        if not inputs or not outputs:
            return
        before, after = self.graph.before(), self.graph.after()
        reached = closure([n.key for n in inputs], after)
        leading = closure([n.key for n in outputs], before)
        lost = [n for n in nodes.values() if n.key not in reached]
        if lost:
            self.findings.error(
                "NM108",
                f"no input reaches {named([n.name for n in lost], 8)}",
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

    # Populations and projections

    def _network(self) -> Network:
        graph, findings = self.graph, self.findings
        nodes, before = graph.nodes, graph.before()
        neurons = [n for n in nodes.values() if n.type in NEURONS]
        for n in neurons:
            self.tree.claim(prod(n.shape_out or ()) * 8, 8, str(n.where), f"the state and parameters of `{n.name}`")
        findings.raise_errors()
        facts = [_facts(n) for n in neurons if n.type != "Threshold"]
        fractions = any(np.any(n.fields["delay"] % 1) for n in nodes.values() if n.type == "Delay")
        settled = settle(
            facts, graph.stated, findings, dt=self.dt, reset=self.reset, source=self.source, file=self.tree.name, seconds=fractions,
            periodic=self.periodic,
        )
        findings.raise_errors()
        conventions = settled.conventions
        graph.notes.extend(settled.notes)
        reason, self.gains = settled.amend(facts)
        rests = any(np.any(n.fields[entry]) for n in neurons for entry in ("v_leak", "v_reset") if entry in n.fields)
        graph.notes.extend(settled.doubts(facts, rests))
        if self.gains:
            listed = " and ".join(f"`{entry}`" for entry in self.gains)
            graph.notes.append(f"{listed} of all neurons were read as what the exporter computes, not as it writes them: {reason}")
        models: dict[Key, Neuron | None] = {n.key: self._neuron(n, conventions) for n in neurons}
        delays = {n.key: self._steps(n, conventions) for n in nodes.values() if n.type == "Delay"}
        findings.raise_errors()
        outputs, readouts = self._outputs(before, delays)
        findings.raise_errors()
        wiring = Wiring(graph, self.tree, delays, readouts)
        edges = wiring.edges()
        findings.raise_errors()
        for key in wiring.relays:
            models[key] = self._relay(nodes[key])
        findings.raise_errors()

        starts = sorted((n.key for n in nodes.values() if n.type == "Input"), key=natural)
        names = _unique_names([nodes[k] for k in (*starts, *models)])
        self._tell_relays(wiring.relays, names)
        self._tell_silent(edges)
        loops = _Loops(edges, [*starts, *sorted(models, key=natural)], set(wiring.relays))
        self._late_zero(conventions, any(n.type == "CubaLIF" for n in neurons) or any(map(loops.returns, edges)))
        rank = {key: k for k, key in enumerate(loops.order(starts, names))}
        place = {names[k]: at for k, at in rank.items()}
        projections = self._projections(edges, names, loops, conventions)
        network = Network(
            file=self.tree.name,
            format="nir",
            sha256=self.sha256,
            populations=tuple(Population(names[k], nodes[k].shape_out or (), models.get(k), nodes[k].where) for k in rank),
            projections=tuple(sorted(projections, key=lambda p: (place[p.target], place[p.source], p.name))),
            inputs=tuple(names[k] for k in starts),
            outputs=tuple(dict.fromkeys(names[k] for k in outputs)),
            conventions=conventions,
            assumptions=(*settled.assumptions, *loops.timing(names, conventions)),
            notes=tuple(dict.fromkeys(graph.notes)),
            diagnostics=tuple(d for d in findings if d.severity == "warning"),
        )
        network.check()
        return network

    def _late_zero(self, conventions: Conventions, differs: bool) -> None:
        """Settle a reset to zero in the step after the spike, snnTorch's for reset_mechanism zero with reset_delay.

        Its Leaky sets v to 0 before the decay, which gives the same spikes as a reset in the step of the spike; its neurons with a
        synaptic current or recurrent weights lose that step's input too, which no convention here states.
        """
        if self.late_zero is None or conventions.reset != "zero" or self.reset is not None:
            return
        if differs:
            self.findings.error(
                "NM104",
                "the metadata state a reset to zero one step after the spike, which loses the input of that step in neurons with a "
                "synaptic current or recurrent weights; nmap does not support it",
                where=self.late_zero,
                help=("train with reset_delay=False", "--reset zero takes the reset in the step of the spike, which is another network"),
            )
            self.findings.raise_errors()
        self.graph.notes.append("a reset to zero one step late gives the same spikes as one in the step of the spike, and was read so")

    def _steps(self, node: Node, conventions: Conventions) -> Array:
        """Return a Delay's steps, int64: one value, or one per element."""
        dt, values = conventions.unit, node.fields["delay"].astype(np.float64)
        exact = (values / dt).ravel()
        if np.any(exact > _MAX_DELAY):
            self.findings.error(
                "NM110",
                f"`{node.name}` delays by {float(exact.max()):.6g} steps; the limit is {_MAX_DELAY}",
                where=f"{node.where}/delay",
                why=f"{float(values.max()):.6g} at a time step of {dt:.6g}",
                help=("--dt SECONDS, if the file's delays count in another unit",),
            )
            return np.zeros(1, np.int64)
        steps = np.rint(exact)
        off = np.abs(exact - steps)
        odd = off > 1e-6 * exact
        if np.any(odd):
            worst = int(np.argmax(off))
            self.findings.warning(
                "NM112",
                f"{int(odd.sum())} of {exact.size} delays of `{node.name}` are no whole number of steps; rounded to the nearest",
                where=f"{node.where}/delay",
                why=f"at worst {exact[worst]:.6g} steps of {dt:.6g} were read as {int(steps[worst])}",
                help=("--dt SECONDS, a step that divides all delays",),
                data={"count": int(odd.sum()), "worst": float(off[worst])},
            )
        whole = steps.astype(np.int64)
        if np.all(whole == whole[0]):
            return whole[:1]
        if not self.tree.claim(prod(node.shape_out or ()), 8, str(node.where), f"the delays of `{node.name}`"):
            return whole[:1]
        return np.array(at_shape(whole.reshape(values.shape), node.shape_out or ())).ravel()

    def _outputs(self, before: dict[Key, list[Key]], delays: Mapping[Key, Array]) -> tuple[list[Key], list[Key]]:
        """Return the populations that the Outputs read, and those of them that are relays."""
        nodes, result, relays = self.graph.nodes, list[Key](), list[Key]()
        for node in sorted((n for n in nodes.values() if n.type == "Output"), key=lambda n: natural(n.key)):
            feeders = sorted((behind(k, self.graph, before, delays) for k in before[node.key]), key=natural)
            ports = [k for k in feeders if nodes[k].type == "Input"]
            if ports:
                self.findings.error(
                    "NM104",
                    f"Output `{node.name}` is fed by Input `{nodes[ports[0]].name}`: there is no neuron between them",
                    where=str(node.where),
                )
            elif all(nodes[k].type in NEURONS for k in feeders) and len(set(feeders)) == len(feeders):
                result.extend(feeders)
                if len(feeders) > 1:
                    listed = ", ".join(f"`{nodes[k].name}`" for k in feeders)
                    self.graph.notes.append(f"Output `{node.name}` sums {listed}; each was read as an output of its own, not their sum")
            elif len(feeders) == 1:
                result.extend(feeders)
                relays.extend(feeders)
            else:
                shape = nodes[feeders[0]].shape_out
                node.shape_in = node.shape_out = shape
                result.append(node.key)
                relays.append(node.key)
        return result, list(dict.fromkeys(relays))

    def _tell_relays(self, relays: Mapping[Key, str], names: dict[Key, str]) -> None:
        for key in sorted(relays, key=natural):
            node = self.graph.nodes[key]
            why = relays[key] or "an Output reads it, with no neuron between them"
            self.graph.notes.append(f"`{node.name}` ({node.type}) was read as a population `{names[key]}` that passes its input on: {why}")

    def _tell_silent(self, edges: list[Edge]) -> None:
        for key in sorted({e.source for e in edges if self.graph.nodes[e.source].type in SILENT}, key=natural):
            node = self.graph.nodes[key]
            self.graph.notes.append(f"`{node.name}` ({node.type}) never fires; what it sends to others is its membrane potential")

    def _relay(self, node: Node) -> Neuron | None:
        """Return the model of a linear node read as a population: v is its input in the same step."""
        size = prod(node.shape_out or ())
        if not self.tree.claim(size * 8, 8, str(node.where), f"the state of `{node.name}`"):
            return None
        zero, one = np.zeros(size), np.ones(size)
        return Neuron("Relay", zero, one, one, zero, zero, np.full(size, np.inf), zero, spiking=False)

    def _neuron(self, node: Node, conventions: Conventions) -> Neuron:
        """Return the difference equation of a neuron node (see `nmap.network.Neuron`); memory for it has been claimed."""
        shape, size = node.shape_out or (), prod(node.shape_out or ())
        f = {k: at_shape(v, shape).astype(np.float64).ravel() for k, v in node.fields.items() if k in parameters_of(node.type)}
        dt, kind = conventions.unit, node.type
        zero, one = np.zeros(size), np.ones(size)
        if kind == "Threshold":
            if conventions.reset == "delayed":
                self.findings.error(
                    "NM111",
                    f"`{node.name}` (Threshold) has no state that a delayed reset could change",
                    where=str(node.where),
                    help=("--reset zero", "--reset subtract"),
                )
            if conventions.multiple:
                self.findings.error(
                    "NM111", f"`{node.name}` (Threshold) sends at most one spike in a step, by its definition", where=str(node.where)
                )
            return Neuron(kind, zero, one, one, zero, zero, f["threshold"], zero, fields=f)
        threshold, v_reset, spiking = f.get("v_threshold", np.full(size, np.inf)), f.get("v_reset", zero), kind not in SILENT
        if kind in ("I", "IF"):
            if "r of IF" in self.gains:
                f["r"] = self.gains["r of IF"](f["r"], dt)
            return Neuron(kind, zero, one, _gain(f["r"], one, dt, exact=False), one, zero, threshold, v_reset, spiking, fields=f)
        cuba, held = kind.startswith("Cuba"), conventions.gain == "exact"
        tau = f["tau_mem" if cuba else "tau"]
        if "r of LI" in self.gains and kind == "LI":
            f["r"] = f["r"] * self.gains["r of LI"](tau, dt)
        if "r" in self.gains:
            f["r"] = self.gains["r"](tau, dt)
        if "w_in" in self.gains and cuba:
            f["w_in"] = self.gains["w_in"](f["tau_syn"], dt)
        beta, alpha = self._decay(node, "tau_mem" if cuba else "tau", tau, conventions), zero
        gain_in = one
        if cuba:
            alpha = self._decay(node, "tau_syn", f["tau_syn"], conventions)
            gain_in = _gain(f.get("w_in", one), f["tau_syn"], dt, held)
            self._tell_endless(node, "tau_syn", "w_in", f)
        self._tell_endless(node, "tau_mem" if cuba else "tau", "r", f)
        drive = f["v_leak"] * (1 - beta)
        if conventions.reset != "zero" and np.any(v_reset != 0):
            self.graph.notes.append(f"`{node.name}` states v_reset, which a subtracting reset does not use")
        return Neuron(kind, alpha, gain_in, _gain(f["r"], tau, dt, held), beta, drive, threshold, v_reset, spiking, fields=f)

    def _tell_endless(self, node: Node, entry: str, gain: str, f: dict[str, Array]) -> None:
        endless = np.isinf(f[entry])
        if not np.any(endless):
            return
        both = np.any(np.isinf(f[gain][endless])) if gain in f else False
        told = (
            f"`{gain}` is infinite too (snnTorch writes both for beta = 1), so the gain per step is 1" if both else "read as an IF neuron"
        )
        what = "membrane without leak" if entry != "tau_syn" else "synaptic current without decay"
        count = f"{int(endless.sum())} of {endless.size} neurons"
        self.graph.notes.append(f"`{entry}` of `{node.name}` is infinite in {count}: a {what}; {told}")

    def _decay(self, node: Node, entry: str, tau: Array, conventions: Conventions) -> Array:
        """Return the decay factor per step: 1 - dt/tau, or exp(-dt/tau)."""
        dt = conventions.unit
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

    def _projections(self, edges: list[Edge], names: dict[Key, str], loops: _Loops, conventions: Conventions) -> list[Projection]:
        used: set[str] = set()
        result = []
        for edge in edges:
            source, target = names[edge.source], names[edge.target]
            label = "+".join(n.name for n in edge.through) or f"{source}->{target}"
            if label in used:
                label = f"{label} ({source}->{target})"
            base, k = label, 2
            while label in used:
                label, k = f"{base} #{k}", k + 1
            used.add(label)
            if edge.merged:
                merged = ", ".join(f"`{n.name}`" for n in edge.through)
                self.graph.notes.append(f"{merged} were merged into one projection from `{source}` to `{target}`")
            delay, delays, start = edge.delay, edge.delays, edge.bias_from
            if loops.closes(edge):
                # A spike sent late is in the next step already.
                step = max(1 - conventions.lag, 0)
                delay, delays = (step, None) if delays is None else (0, np.maximum(delays + delay, step))
            if delays is not None and delays.size:
                # What all synapses share is the edge's, so that a loop's steps can be counted in edges.
                shared = int(delays.min())
                delay, delays = delay + shared, delays - shared
            if conventions.late_bias and edge.bias is not None and loops.returns(edge):
                start = max(start, delay + (int(delays.min()) if delays is not None else 0))
            result.append(Projection(label, source, target, edge.connectivity, edge.bias, delay, edge.where, delays, start))
        return result


class _Loops:
    """Which projections close a loop, and the order in which populations can be computed.

    Args:
        edges: the projections to be.
        populations: inputs first.
        relays: the populations without memory among them.
    """

    def __init__(self, edges: list[Edge], populations: list[Key], relays: set[Key]) -> None:
        self.edges, self.populations = edges, populations
        every = sorted({(e.source, e.target) for e in edges})
        self.part = {key: k for k, part in enumerate(components((), every)) for key in part}
        instant = sorted({(e.source, e.target) for e in edges if e.least == 0})
        self.closing = _before_relays(feedback(populations, instant), instant, relays)

    def closes(self, edge: Edge) -> bool:
        """Return whether an edge without a Delay closes a loop, so that it takes the step that NIR leaves open."""
        return edge.least == 0 and (edge.source, edge.target) in self.closing

    def returns(self, edge: Edge) -> bool:
        """Return whether an edge closes a loop, by a Delay or without."""
        return self.closes(edge) or (edge.least > 0 and self.part[edge.source] == self.part[edge.target])

    def order(self, starts: list[Key], names: dict[Key, str]) -> list[Key]:
        """Return the inputs, then the neurons in an order in which all edges that act in the same step point forward."""
        forward = [(e.source, e.target) for e in self.edges if not self.returns(e)]
        inputs = set(starts)
        return [*starts, *(k for k in topological_order(names, forward, natural) if k not in inputs)]

    def timing(self, names: dict[Key, str], conventions: Conventions) -> tuple[Assumption, ...]:
        """Return the assumptions about recurrent edges."""
        found = []
        if self.closing:
            listed = ", ".join(f"`{names[s]}` -> `{names[t]}`" for s, t in sorted(self.closing))
            verb = "closes" if len(self.closing) == 1 else "close"
            evidence = f"{listed} {verb} a loop; NIR states no delay, every framework takes the previous step"
            if conventions.lag:
                evidence += ", and the spikes' own lag counts towards it"
            found.append(Assumption("timing", "1 step for recurrent edges", "default", evidence))
        delayed = sorted({(e.source, e.target, e.least) for e in self.edges if e.least > 0 and self.returns(e)})
        if delayed:
            listed = ", ".join(f"`{names[s]}` -> `{names[t]}` ({steps} step{'s' if steps > 1 else ''})" for s, t, steps in delayed)
            found.append(Assumption("timing", "the Delay nodes' steps for recurrent edges", "file", f"{listed} lead back through a Delay"))
        return tuple(found)


def _before_relays(closing: set[tuple[Key, Key]], edges: list[tuple[Key, Key]], relays: set[Key]) -> set[tuple[Key, Key]]:
    """Move the step that closes a loop from behind a relay to before it, where nothing else leaves the relay.

    What is late in a loop is the spikes; the biases on the way act from the first step on.
    """
    found = set(closing)
    into: dict[Key, set[Key]] = {}
    out: dict[Key, set[Key]] = {}
    for source, target in edges:
        into.setdefault(target, set()).add(source)
        out.setdefault(source, set()).add(target)
    part = {key: k for k, members in enumerate(components((), edges)) for key in members}
    todo = [s for s, _ in sorted(found) if s in relays]
    done: set[Key] = set()
    while todo:
        relay = todo.pop()
        if relay in done:
            # A loop of nothing but relays has no other place for its step.
            continue
        done.add(relay)
        leaving = {(relay, t) for t in out.get(relay, ())}
        if leaving and leaving <= found:
            entering = {(s, relay) for s in into.get(relay, ()) if part[s] == part[relay]}
            found = (found - leaving) | entering
            todo.extend(s for s, _ in sorted(entering) if s in relays)
    return found


def _nearest(name: str, names: Iterable[str], cutoff: float) -> list[str]:
    """Return the most similar name, or none; long names are not compared, which would take time with their square."""
    return get_close_matches(name, [n for n in names if len(n) <= _MAX_NAME], 1, cutoff) if len(name) <= _MAX_NAME else []


def _readable(name: str) -> str:
    """Return a name with what is not UTF-8 in it replaced, as edges are read too."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _gain(gain: Array, tau: Array, dt: float, exact: bool) -> Array:
    """Return a gain per step: gain dt / tau, or gain (1 - exp(-dt / tau)) where the input is taken as constant over a step.

    With an infinite time constant it is gain dt, an integrator's, or 1 where the gain is infinite too. Exporters write gains of tau/dt,
    in single precision; what that leaves beside a gain of 1 is taken off, since a membrane may meet its threshold exactly.
    """
    with np.errstate(invalid="ignore"):
        leaky = gain * -np.expm1(-dt / tau) if exact else gain * dt / tau
        leaky = np.where(np.abs(leaky - 1) < _NOISE, 1.0, leaky)
    return np.where(np.isinf(tau), np.where(np.isinf(gain), 1.0, gain * dt), leaky)


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
    """Return what a neuron node tells of the time step; parameters are views of one shape, or of length 1."""
    f = {k: v.astype(np.float64) for k, v in node.fields.items() if k in parameters_of(node.type)}
    cuba, shape = node.type.startswith("Cuba"), node.shape_out or ()
    wide = {k: at_shape(v, shape) for k, v in f.items()} if any(v.size > 1 for v in f.values()) else {k: v.ravel() for k, v in f.items()}
    return NeuronFacts(
        node.name,
        node.where,
        wide["r"],
        wide.get("tau_mem" if cuba else "tau"),
        wide.get("tau_syn"),
        wide.get("w_in"),
        node.type not in SILENT,
    )
