"""Say a network in NIR: populations as neuron nodes, projections as linear nodes, delays as Delay nodes, conventions as metadata.

The layout is that of NIR 1.0.8 (`/node/{type,nodes,edges,metadata}`). A projection becomes a weight node, behind a Delay node for
what its spikes wait and before one for what its bias waits. Where the shapes on both sides of an edge differ, Flatten nodes and the
nodes of `nmap.writers.images` stand between them, so that the shapes fit in the type inference of the package `nir` too. What NIR has
no node for is refused, all of it together, and so is what the reader would not give back bit by bit: the nodes are read before they
are written.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from math import prod

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap.network import Conventions, Network, Neuron, Population, Projection, Resonator, SigmaDelta
from nmap.ordering import components
from nmap.readers.hdf5 import MAX_NAME
from nmap.readers.memory import MemoryTree
from nmap.readers.nir import read_nir
from nmap.writers.compare import Difference, delays_of, differences
from nmap.writers.fields import MODELS, own_fields, solved_fields
from nmap.writers.images import Link, Members, Shape, flattening, inserted, ints, merged, shaped

__all__ = ["MAX_MATRIX", "RELAY", "VERSION", "nir_of"]

VERSION = "1.0.8"
"""The version of NIR whose layout is written."""
MAX_MATRIX = 2**24
"""Largest matrix (sources x targets) a connection without a node of its own is written as."""
# What the names of a projection's nodes have behind its own.
_SUFFIX = re.compile(r"\.(delay|bias_delay|scale|pool|bias|shape)(_\d+)?$")
RELAY = "Relay"
"""The model of a linear node that was read as a population, see `nmap.readers.wiring`."""


def nir_of(network: Network) -> Members:
    """Return the root group of the NIR file of a network.

    One kind of network that the reader makes cannot be said: a shape that begins with 1 and that only a convolution keeps (with a bias,
    if only of zeros, since NIR has none without), behind delays that differ from target to target, which the reader takes through no
    bias.

    Raises:
        NmapError: NM104, one diagnostic that names every population and projection that NIR has no word for, or that would come back
            changed.
    """
    _refuse(network, _unsayable(network))
    plan, least = _Plan(), list[Difference]()
    while True:
        graph = _Graph(network, plan)
        found = _changes(network, graph)
        if not found:
            return graph.root()
        least = found if not least or len(found) < len(least) else least
        better = plan.mended(network, graph, found)
        if better == plan:
            _refuse(network, [str(difference) for difference in least], "would come back changed")
        plan = better


def _refuse(network: Network, reasons: list[str], what: str = "has no word in NIR") -> None:
    if not reasons:
        return
    count = f"{len(reasons)} part{'s' if len(reasons) > 1 else ''} of the network"
    verb = what if len(reasons) == 1 else what.replace("has", "have", 1)
    raise NmapError(
        Diagnostic(
            "NM104",
            "error",
            f"{count} {verb}: {'; '.join(reasons)}",
            where=network.file,
            why="a file is written only where it says the same network",
            data={"parts": reasons},
        )
    )


# What NIR has no word for


def _unsayable(network: Network) -> list[str]:
    found = []
    if network.conventions.decay == "steps":
        found.append("decay factors stored as 12-bit integers")
    for population in network.populations:
        reason = _unsayable_population(population, network)
        if reason:
            found.append(f"population `{population.name}`: {reason}")
    for projection in network.projections:
        reason = _unsayable_projection(projection, network)
        if reason:
            found.append(f"projection `{projection.name}`: {reason}")
    return found


def _unsayable_population(population: Population, network: Network) -> str | None:
    model = population.neuron
    if model is None:
        return None if population.name in network.inputs else "neither neurons nor an input"
    if isinstance(model, Resonator):
        return f"resonate-and-fire neurons ({model.model})"
    if isinstance(model, SigmaDelta):
        return f"sigma-delta neurons ({model.model})"
    if model.adaptation is not None:
        return f"an adaptive threshold ({model.model})"
    if model.quantum is not None:
        return f"integer states ({model.model})"
    if model.model not in MODELS and model.model != RELAY:
        return f"the model `{model.model}`; NIR has {', '.join(MODELS)}"
    return None


def _unsayable_projection(projection: Projection, network: Network) -> str | None:
    if projection.receptor != "input":
        return f"synapses on the receptor `{projection.receptor}`"
    biased = projection.bias is not None and bool(np.any(projection.bias))
    steps = delays_of(projection)
    if steps is not None:
        front, behind = _by_source(projection, steps), _by_target(projection, steps)
        if front is None and behind is None and _by_both(projection, steps) is None:
            return "delays that are no sum of one of the source and one of the target of a synapse"
        if front is None and biased:
            return "a bias beside delays that differ between targets"
        if front is not None and biased and front.min() < projection.bias_from:
            return "a bias that acts later than the first spikes"
    elif biased and projection.bias_from > projection.delay:
        return "a bias that acts later than the first spikes"
    connectivity = projection.connectivity
    rows = _rows(projection, network[projection.source].shape, network[projection.target].shape)
    if not _has_node(projection) and rows is None and connectivity.in_size * connectivity.out_size > MAX_MATRIX:
        return (
            f"{connectivity.synapses} single synapses, which would be a matrix of {connectivity.out_size} x {connectivity.in_size} "
            f"(limit {MAX_MATRIX})"
        )
    return None


def _has_node(projection: Projection) -> bool:
    """Return whether a node of NIR says the connection with its bias; what has none becomes a matrix."""
    connectivity, bias = projection.connectivity, projection.bias
    biased = bias is not None and bool(np.any(bias))
    if isinstance(connectivity, Sparse):
        return not biased and _one_to_one(connectivity)
    return isinstance(connectivity, Dense) or not biased or _by_channel(connectivity, np.asarray(bias)) is not None


def _rows(projection: Projection, source: Shape, target: Shape) -> Array | None:
    """Return a connection that leaves every row of neurons apart as one matrix for each row, (..., targets, sources); None for others."""
    connectivity = projection.connectivity
    if len(source) < 2 or source[0] == 1 or source[:-1] != target[:-1]:
        # The reader takes leading dimensions of 1 off such matrices.
        return None
    if isinstance(connectivity, Sparse):
        if source != target or not _one_to_one(connectivity) or connectivity.in_size * source[-1] > MAX_MATRIX:
            return None
        own = connectivity.weights.astype(np.float64).reshape(source)
        return np.asarray(own[..., None] * np.eye(source[-1]))
    if not isinstance(connectivity, Conv2d) or any(connectivity.padding):
        return None
    apart = connectivity.groups == prod(source[:-1]) and connectivity.kernel_size == connectivity.in_shape[1:] == (1, source[-1])
    return connectivity.weights.reshape(*target, source[-1]) if apart else None


def _one_to_one(connectivity: Sparse) -> bool:
    n = connectivity.in_size
    return n == connectivity.out_size == connectivity.synapses and np.array_equal(connectivity.indices, connectivity.targets)


def _by_channel(connectivity: Conv2d, bias: Array) -> Array | None:
    """Return a bias as one value per channel, or None where it differs inside one."""
    rows = bias.reshape(connectivity.out_shape[0], -1)
    return rows[:, 0] if rows.tobytes() == np.repeat(rows[:, :1], rows.shape[1], axis=1).tobytes() else None


def _ends(projection: Projection) -> tuple[Array, Array]:
    """Return target and source of each synapse, in the order of the flattened weights."""
    connectivity = projection.connectivity
    if isinstance(connectivity, Sparse):
        return connectivity.targets, connectivity.indices
    targets, sources = np.indices(connectivity.weights.shape)
    return targets.ravel(), sources.ravel()


def _by_source(projection: Projection, steps: Array) -> Array | None:
    """Return delays as one number of steps per source, or None where they are none; what has no synapses waits like the rest."""
    return _by_end(_ends(projection)[1], steps, projection.connectivity.in_size)


def _by_target(projection: Projection, steps: Array) -> Array | None:
    return _by_end(_ends(projection)[0], steps, projection.connectivity.out_size)


def _by_both(projection: Projection, steps: Array) -> tuple[Array, Array] | None:
    """Return delays as one number of steps per source and one per target that add up, or None where they are no such sum."""
    targets, sources = _ends(projection)
    flat, size, out = steps.ravel(), projection.connectivity.in_size, projection.connectivity.out_size
    # Parts of the connection that share no neuron, each under the number of its first source.
    part, parts = np.arange(size), np.full(out, size)
    while True:
        np.minimum.at(parts, targets, part[sources])
        before = part.copy()
        np.minimum.at(part, sources, parts[targets])
        if np.array_equal(part, before):
            break
    # In each part the first source waits 0 steps for now; the others follow from what they share targets with.
    front, behind = np.zeros(size, np.int64), np.zeros(out, np.int64)
    known, reached = part == np.arange(size), np.zeros(out, bool)
    while True:
        fresh = known[sources] & ~reached[targets]
        behind[targets[fresh]] = flat[fresh] - front[sources[fresh]]
        reached[targets[fresh]] = True
        back = reached[targets] & ~known[sources]
        front[sources[back]] = flat[back] - behind[targets[back]]
        known[sources[back]] = True
        if not (fresh.any() or back.any()):
            break
    least = np.zeros(size + 1, np.int64)
    np.minimum.at(least, part, front)
    front, behind = front - least[part], behind + np.where(reached, least[parts], 0)
    fits = np.array_equal(front[sources] + behind[targets], flat) and behind.min(initial=0) >= 0
    return (front, behind) if fits else None


def _by_end(end: Array, steps: Array, size: int) -> Array | None:
    found = np.full(size, steps.min(), np.int64)
    found[end] = steps.ravel()
    return found if np.array_equal(found[end], steps.ravel()) else None


# The nodes


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to say what can be said in several ways.

    Args:
        solved: populations whose fields are solved for; the others' are the file's own.
        explicit: every delay has a node, also that of one step which readers give an edge that closes a loop.
        zeros: weights into and out of relays have a bias, if only of zeros; one behind a Delay keeps the relay apart from the next.
        plain: projections without the nodes that only give a shape, and without pools.
    """

    solved: frozenset[str] = frozenset()
    explicit: bool = False
    zeros: bool = False
    plain: frozenset[str] = frozenset()

    def mended(self, network: Network, graph: _Graph, found: Iterable[Difference]) -> _Plan:
        """Return the next plan that may do away with differences between the network and what was read back; this one if none is left."""
        kinds = {difference.kind for difference in found}
        everything = "network" in kinds
        changed = {d.name for d in found if d.kind == "population"} if not everything else {p.name for p in network.populations}
        exact = replace(self, solved=self.solved | changed, explicit=self.explicit or bool(kinds & {"projection", "network"}))
        if exact != self:
            return exact
        relays = any(_is_relay(p) for p in network.populations)
        if relays and not self.zeros:
            return replace(self, zeros=True)
        names = {d.name for d in found} | {graph.owners[d.name] for d in found if d.name in graph.owners}
        return replace(self, plain=self.plain | {p.name for p in network.projections if everything or p.name in names})


def _changes(network: Network, graph: _Graph) -> list[Difference]:
    """Return what would be different in the network that the reader makes of the nodes."""
    tree = MemoryTree(graph.root(), network.file, Findings())
    try:
        back = read_nir(tree, network.sha256, dt=None, reset=None, source=None)
    except NmapError as error:
        return [Difference("network", "", "", d.message) for d in error.diagnostics]
    return differences(network, back, graph.names)


@dataclass(slots=True)
class _Graph:
    """The nodes and edges of a network, see `_Plan`.

    `names` holds the nodes' names by those of the populations, `owners` the projections' names by those of their nodes.
    """

    network: Network
    plan: _Plan
    nodes: dict[str, Members] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    owners: dict[str, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _flat: dict[tuple[str, int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        network = self.network
        # Populations first: their names are part of the network, those of the other nodes are not.
        self.names = {p.name: self._unique(p.name) for p in network.populations}
        for population in network.populations:
            if not _is_relay(population):
                self.nodes[self.names[population.name]] = self._population(population)
        loops, arriving = _loops(network), Counter(p.target for p in network.projections)
        for projection in network.projections:
            self._projection(projection, projection.name in loops, arriving[projection.target] == 1)
        digits = len(str(len(network.outputs) - 1))
        for number, name in enumerate(network.outputs):
            # Readers list outputs in the order of their nodes' names.
            sink = self._unique("output" if len(network.outputs) == 1 else f"output_{number:0{digits}d}")
            self.nodes[sink] = {"type": "Output", "shape": ints(network[name].shape)}
            self.edges.append((self.names[name], sink))

    def root(self) -> Members:
        """Return the file's root group."""
        node = {"type": "NIRGraph", "nodes": self.nodes, "edges": self.edges, "metadata": _metadata(self.network.conventions)}
        return {"version": VERSION, "node": node}

    def _unique(self, name: str) -> str:
        """Return a name that HDF5 and NIR can carry and that no other node has."""
        base = "".join(c if c.isprintable() and c != "/" else "_" for c in name).encode()[: MAX_NAME - 8].decode(errors="ignore")
        # `.` is HDF5's name for the group itself; a leading colon marks a port where graphs are nested.
        base = f"_{base[1:]}" if base in ("", ".") or base.startswith(":") else base
        result, k = base, 2
        while result in self._taken:
            result, k = f"{base}_{k}", k + 1
        self._taken.add(result)
        return result

    def _population(self, population: Population) -> Members:
        shape, neuron = population.shape, population.neuron
        if not isinstance(neuron, Neuron):
            return {"type": "Input", "shape": ints(shape)}
        own = None if population.name in self.plan.solved else own_fields(neuron)
        found = own if own is not None else solved_fields(neuron, self.network.conventions)
        # Files older than NIR 1.0.6 have no v_reset, and readers of that age refuse it; absent means 0 to all.
        stored = {name: _real(values.reshape(shape)) for name, values in found.items() if name != "v_reset" or np.any(values)}
        return {"type": neuron.model, **stored}

    def _delay(self, steps: Array | int, shape: Shape, suffix: str) -> list[Link]:
        """Return the node that makes signals of `shape` wait; none where they do not wait."""
        if not np.any(steps):
            return []
        seconds = np.broadcast_to(np.asarray(steps, np.float64).reshape(-1) * self.network.conventions.unit, prod(shape))
        return [Link({"type": "Delay", "delay": _real(seconds.reshape(shape))}, shape, shape, suffix)]

    def _projection(self, projection: Projection, loop: bool, alone: bool) -> None:
        """Add a projection that lies on a loop or not, and is its target's only one or not."""
        source, target = self.network[projection.source], self.network[projection.target]
        bias = projection.bias if projection.bias is not None and np.any(projection.bias) else None
        relay, plain = _is_relay(target), projection.name in self.plan.plain
        front, behind = self._waits(projection, bias, loop, relay)
        links = self._delay(front, source.shape, ".delay")
        links += self._weights(projection, bias, source, target)
        shape = target.shape if not plain else links[-1].shape if links else source.shape
        links += self._delay(behind, shape, ".bias_delay" if bias is not None else ".delay")
        links = _fitting(links, source.shape, target.shape, 0 if plain else projection.connectivity.in_size)
        named = [link for link in links if not link.flattens]
        if not named and not relay and (self._flattened(links, self.names[source.name]), self.names[target.name]) in self.edges:
            # NIR has no two edges between the same nodes.
            links = [Link({"type": "Scale", "scale": np.ones(source.shape, np.float32)}, source.shape, source.shape), *links]
        ends = bool(links) and not links[-1].flattens and links[-1].shape == target.shape
        last = self.names[target.name] if relay and alone and ends else None
        name = self._chain(projection.name, links, self.names[source.name], last)
        if last is not None:
            return
        if relay and self.names[target.name] not in self.nodes:
            self.nodes[self.names[target.name]] = {"type": "Scale", "scale": np.ones(target.shape, np.float32)}
        self.edges.append((name, self.names[target.name]))

    def _flattened(self, links: list[Link], name: str) -> str:
        """Return the node behind links that all flatten what `name` sends, or an empty name where it is not there yet."""
        for link in links:
            name = self._flat.get((name, *link.dims), "")
        return name

    def _chain(self, label: str, links: list[Link], name: str, last: str | None) -> str:
        """Add the nodes of a projection, the last one under the name `last`; return the name of what ends the chain."""
        # Readers call a projection after all its nodes: a name that was made so gives them back, and stays as it is.
        parts, count, k = label.split("+"), sum(not link.flattens for link in links), 0
        stems = {_SUFFIX.sub("", part) for part in parts}
        stem = stems.pop() if len(stems) == 1 else label
        for link in links:
            before = name
            if link.flattens:
                flat = (before, *link.dims)
                if flat in self._flat:
                    name = self._flat[flat]
                    continue
                name = self._flat[flat] = self._unique(f"{before}.flat")
            else:
                wanted = parts[k] if len(parts) == count else stem + link.suffix
                name = last if last is not None and link is links[-1] else self._unique(wanted)
                k += 1
                self.owners[name] = label
            self.nodes[name] = link.node
            self.edges.append((before, name))
        return name

    def _waits(self, projection: Projection, bias: Array | None, loop: bool, relay: bool) -> tuple[Array | int, Array | int]:
        """Return the steps of the Delay nodes in front of the weights and behind them."""
        steps, waiting = delays_of(projection), 0 if bias is None else projection.bias_from
        if steps is not None:
            by_source, by_target = _by_source(projection, steps), _by_target(projection, steps) if bias is None else None
            # Delays between the weights before and behind a relay are what keeps it one.
            if by_target is not None and (relay or by_source is None):
                return 0, by_target
            if by_source is None:
                return _by_both(projection, steps) or (0, 0)
            return by_source - waiting, waiting
        late = bias is not None and self.network.conventions.late_bias
        if loop and not self.plan.explicit and projection.delay == 1 and waiting == int(late):
            return 0, 0
        if relay and bias is None and self.plan.zeros:
            return 0, projection.delay
        return projection.delay - waiting, waiting

    def _weights(self, projection: Projection, bias: Array | None, source: Population, target: Population) -> list[Link]:
        """Return the nodes that weigh signals of `shape`; none where every weight is 1 and every neuron feeds its namesake."""
        connectivity, shape, plain = projection.connectivity, source.shape, projection.name in self.plan.plain
        zeros = self.plan.zeros and (_is_relay(source) or _is_relay(target))
        has_node = _has_node(projection)
        # Delays that differ make a relay only where weights lie on both sides of them.
        apart = _is_relay(target) and projection.delays is not None
        rows = _rows(projection, shape, target.shape) if not has_node or apart or isinstance(connectivity, Conv2d) else None
        if rows is not None and not plain:
            return [_weighing(rows, bias, shape, target.shape)]
        if isinstance(connectivity, Conv2d):
            pool = None if plain or bias is not None or zeros else _pool(connectivity, shape)
            if pool is not None:
                return pool
            if has_node:
                return [_convolution(connectivity, bias, shape, target.shape)]
            conv = _convolution(connectivity, None, shape, target.shape)
            if not plain and bias is not None and conv.shape == target.shape and prod(conv.shape) * conv.shape[-1] <= MAX_MATRIX:
                # A convolution has one bias per channel; rows of neurons may have one each.
                alone = np.broadcast_to(np.eye(conv.shape[-1]), (*conv.shape, conv.shape[-1]))
                return [conv, _weighing(alone, bias, conv.shape, conv.shape, ".bias")]
        if isinstance(connectivity, Sparse) and has_node:
            scale = connectivity.weights.astype(np.float64).reshape(shape)
            links = [] if np.all(scale == 1) else [Link({"type": "Scale", "scale": _real(scale)}, shape, shape)]
            if not apart:
                return links
            if len(shape) == 3:
                # A pool over single neurons counts as weights, which a Scale does not.
                one = {"kernel_size": ints((1, 1)), "stride": ints((1, 1)), "padding": ints((0, 0))}
                return [*links, Link({"type": "SumPool2d", **one}, shape, shape, ".pool")]
        wanted = np.zeros(connectivity.out_size) if bias is None and zeros else bias
        return [_weighing(_matrix(projection), wanted, (connectivity.in_size,), (connectivity.out_size,))]


def _is_relay(population: Population) -> bool:
    return isinstance(population.neuron, Neuron) and population.neuron.model == RELAY


def _fitting(links: list[Link], shape: Shape, target: Shape, sources: int) -> list[Link]:
    """Return a chain of nodes with those between them that give each the shape it reads, and the target its own.

    Args:
        links: the nodes.
        shape, target: before the first and behind the last node.
        sources: number of sources; 0 where a vector takes the place of every shape that no Flatten gives.
    """
    found: list[Link] = []
    for link in [*links, None]:
        wanted = target if link is None else link.reads
        if shape != wanted:
            merging = merged(shape, wanted)
            if merging is not None:
                found.append(merging)
            else:
                vector = (prod(shape),)
                found += [flattening(shape, 0, -1)] if len(shape) > 1 else []
                if link is None or "groups" not in link.node:
                    found += shaped(vector, wanted, sources) if sources else []
                elif sources and prod(wanted[:-1]) == 1:
                    found += inserted(len(wanted), prod(wanted))
                # Other convolutions read the vector: with more in front of them they would be none when they are read back.
        if link is not None:
            found.append(link)
            shape = link.shape
    return found


def _weighing(weights: Array, bias: Array | None, reads: Shape, shape: Shape, suffix: str = "") -> Link:
    """Return a matrix, or one for each row of neurons, as a node."""
    node: Members = {"type": "Linear" if bias is None else "Affine", "weight": _real(weights.astype(np.float64))}
    if bias is not None:
        node["bias"] = _real(np.asarray(bias).reshape(shape))
    return Link(node, reads, shape, suffix)


def _pool(conv: Conv2d, shape: Shape) -> list[Link] | None:
    """Return a convolution that only sums over windows, channel by channel, as a pool; None for others."""
    value = float(conv.weights.flat[0])
    window = prod(conv.kernel_size)
    single = conv.groups == conv.in_shape[0] == conv.weights.shape[0] and conv.dilation == (1, 1)
    half = all(2 * p <= k for p, k in zip(conv.padding, conv.kernel_size, strict=True))
    if window == 1 or value == 0 or shape != conv.in_shape or not (single and half and np.all(conv.weights == value)):
        return None
    node: Members = {"type": "AvgPool2d" if value == 1 / window else "SumPool2d"}
    node |= {"kernel_size": ints(conv.kernel_size), "stride": ints(conv.stride), "padding": ints(conv.padding)}
    pool = Link(node, shape, conv.out_shape)
    if value in (1.0, 1 / window):
        return [pool]
    return [pool, Link({"type": "Scale", "scale": _real(np.full(conv.out_shape, value))}, conv.out_shape, conv.out_shape, ".scale")]


def _convolution(conv: Conv2d, bias: Array | None, shape: Shape, target: Shape) -> Link:
    channels, height, width = conv.in_shape
    line = height == 1 == conv.stride[0] == conv.dilation[0] == conv.kernel_size[0] and not conv.padding[0]
    line = line and (shape == (channels, width) or (shape != conv.in_shape and target == (conv.out_shape[0], conv.out_shape[2])))
    by_channel = np.zeros(conv.out_shape[0]) if bias is None else np.asarray(_by_channel(conv, bias))
    node: Members = {"type": "Conv1d" if line else "Conv2d", "groups": conv.groups, "bias": _real(by_channel)}
    node["weight"] = _real(conv.weights[:, :, 0] if line else conv.weights)
    for entry in ("stride", "padding", "dilation"):
        pair = getattr(conv, entry)
        node[entry] = pair[1] if line else ints(pair)
    reads = (channels, width) if line else conv.in_shape
    node["input_shape"] = width if line else ints((height, width))
    reach = tuple(d * (k - 1) for d, k in zip(conv.dilation, conv.kernel_size, strict=True))
    odd = len(set(conv.kernel_size)) > 1
    if odd and not line and conv.stride == (1, 1) and reach == tuple(2 * p for p in conv.padding):
        # From numbers, `nir` computes both axes with the kernel's height.
        node["padding"] = "same"
    out = conv.out_shape
    return Link(node, reads, (out[0], out[2]) if line else out)


def _loops(network: Network) -> frozenset[str]:
    """Return the names of the projections that lie on a loop."""
    edges = [(p.source, p.target) for p in network.projections]
    part = {name: k for k, names in enumerate(components((p.name for p in network.populations), edges)) for name in names}
    sizes = Counter(part.values())
    return frozenset(
        p.name for p in network.projections if part[p.source] == part[p.target] and (sizes[part[p.source]] > 1 or p.source == p.target)
    )


def _matrix(projection: Projection) -> Array:
    connectivity = projection.connectivity
    if isinstance(connectivity, Dense):
        return connectivity.weights.astype(np.float64)
    sparse = connectivity.unrolled() if isinstance(connectivity, Conv2d) else connectivity
    matrix = np.zeros((sparse.out_size, sparse.in_size))
    np.add.at(matrix, (sparse.targets, sparse.indices), sparse.weights)
    return matrix


def _real(values: Array) -> Array:
    """Return numbers in single precision where that loses no bit, as frameworks store them, and in double precision otherwise."""
    with np.errstate(over="ignore", under="ignore"):
        single = values.astype(np.float32)
    return single if np.array_equal(single.astype(np.float64), values) else np.ascontiguousarray(values, np.float64)


def _metadata(conventions: Conventions) -> Members:
    """Return the conventions as metadata: dt under the key that others read too, and all of them in the group `nmap`."""
    stated = {f.name: getattr(conventions, f.name) for f in fields(conventions)}
    # A step of 1 says that the file counts in steps.
    stated["dt"] = 1.0 if conventions.dt is None else float(conventions.dt)
    return {"dt": stated["dt"], "nmap": {name: value for name, value in stated.items() if value is not None}}
