"""Say a network in NIR: populations as neuron nodes, projections as linear nodes, delays as Delay nodes, conventions as metadata.

The layout is that of NIR 1.0.8 (`/node/{type,nodes,edges,metadata}`). A projection becomes at most one weight node, behind a Delay node for
what its spikes wait and before one for what its bias waits; Flatten nodes stand where the shapes on both sides of an edge differ.
What NIR has no node for is refused, all of it together, and so is what the reader would not give back bit by bit: the nodes are read
before they are written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from math import prod
from typing import Any, TypeAlias

import networkx as nx
import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap.network import Conventions, Network, Neuron, Population, Projection, Resonator, SigmaDelta
from nmap.readers.hdf5 import MAX_NAME
from nmap.readers.memory import MemoryTree
from nmap.readers.nir import read_nir
from nmap.writers.compare import Difference, delays_of, differences
from nmap.writers.fields import MODELS, own_fields, solved_fields

__all__ = ["MAX_MATRIX", "RELAY", "VERSION", "Members", "nir_of"]

VERSION = "1.0.8"
"""The version of NIR whose layout is written."""
MAX_MATRIX = 2**24
"""Largest matrix (sources x targets) a connection without a node of its own is written as."""
Members: TypeAlias = dict[str, Any]
"""The members of an HDF5 group by name: arrays, numbers, texts, and groups as mappings."""
RELAY = "Relay"
"""The model of a linear node that was read as a population, see `nmap.readers.wiring`."""
Shape: TypeAlias = tuple[int, ...]


def nir_of(network: Network) -> Members:
    """Return the root group of the NIR file of a network.

    Raises:
        NmapError: NM104, one diagnostic that names every population and projection that NIR has no word for, or that would come back
            changed.
    """
    _refuse(network, _unsayable(network))
    plan = _Plan()
    while True:
        graph = _Graph(network, plan)
        found = _changes(network, graph)
        better = plan.mended(network, found)
        if not found:
            return graph.root()
        if better == plan:
            _refuse(network, [str(difference) for difference in found], "would come back changed")
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
        reason = _unsayable_projection(projection)
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


def _unsayable_projection(projection: Projection) -> str | None:
    if projection.receptor != "input":
        return f"synapses on the receptor `{projection.receptor}`"
    biased = projection.bias is not None and bool(np.any(projection.bias))
    steps = delays_of(projection)
    if steps is not None:
        front, behind = _by_source(projection, steps), _by_target(projection, steps)
        if front is None and behind is None:
            return "delays that follow neither from the source nor from the target of a synapse"
        if front is None and biased:
            return "a bias beside delays that differ between targets"
        if front is not None and biased and front.min() < projection.bias_from:
            return "a bias that acts later than the first spikes"
    elif biased and projection.bias_from > projection.delay:
        return "a bias that acts later than the first spikes"
    connectivity = projection.connectivity
    if not _has_node(projection) and connectivity.in_size * connectivity.out_size > MAX_MATRIX:
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


def _by_end(end: Array, steps: Array, size: int) -> Array | None:
    found = np.full(size, steps.min(), np.int64)
    found[end] = steps.ravel()
    return found if np.array_equal(found[end], steps.ravel()) else None


# The nodes


@dataclass(frozen=True, slots=True)
class _Plan:
    """How to say what can be said in two ways.

    Args:
        solved: populations whose fields are solved for; the others' are the file's own.
        explicit: every delay has a node, also that of one step which readers give an edge that closes a loop.
    """

    solved: frozenset[str] = frozenset()
    explicit: bool = False

    def mended(self, network: Network, found: Iterable[Difference]) -> _Plan:
        """Return a plan that may do away with differences between the network and what was read back."""
        kinds = {difference.kind for difference in found}
        changed = {d.name for d in found if d.kind == "population"} if "network" not in kinds else {p.name for p in network.populations}
        return _Plan(self.solved | changed, self.explicit or bool(kinds & {"projection", "network"}))


def _changes(network: Network, graph: _Graph) -> list[Difference]:
    """Return what would be different in the network that the reader makes of the nodes."""
    tree = MemoryTree(graph.root(), network.file, Findings())
    try:
        back = read_nir(tree, network.sha256, dt=None, reset=None, source=None)
    except NmapError as error:
        return [Difference("network", "", "", d.message) for d in error.diagnostics]
    return differences(network, back, graph.names)


@dataclass(frozen=True, slots=True)
class _Link:
    """One node of the chain that a projection becomes.

    Args:
        node: its members.
        shape: of what it sends.
        suffix: what its name has behind the projection's.
        flat: it reads a vector.
    """

    node: Members
    shape: Shape
    suffix: str = ""
    flat: bool = False


@dataclass(slots=True)
class _Graph:
    """The nodes and edges of a network, see `_Plan`; `names` holds the nodes' names by those of the populations."""

    network: Network
    plan: _Plan
    nodes: dict[str, Members] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    _taken: set[str] = field(default_factory=set)
    _flat: dict[str, str] = field(default_factory=dict)

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
            self.nodes[sink] = {"type": "Output", "shape": _ints(network[name].shape)}
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
            return {"type": "Input", "shape": _ints(shape)}
        own = None if population.name in self.plan.solved else own_fields(neuron)
        found = own if own is not None else solved_fields(neuron, self.network.conventions)
        # Files older than NIR 1.0.6 have no v_reset, and readers of that age refuse it; absent means 0 to all.
        stored = {name: _real(values.reshape(shape)) for name, values in found.items() if name != "v_reset" or np.any(values)}
        return {"type": neuron.model, **stored}

    def _flattened(self, name: str, shape: Shape) -> str:
        """Return the node that sends as a vector what `name` sends."""
        if len(shape) == 1:
            return name
        if name not in self._flat:
            self._flat[name] = self._unique(f"{name}.flat")
            self.nodes[self._flat[name]] = {"type": "Flatten", "start_dim": 0, "end_dim": -1, "input_type": _ints(shape)}
            self.edges.append((name, self._flat[name]))
        return self._flat[name]

    def _delay(self, steps: Array | int, shape: Shape, suffix: str) -> list[_Link]:
        """Return the node that makes signals of `shape` wait; none where they do not wait."""
        if not np.any(steps):
            return []
        seconds = np.broadcast_to(np.asarray(steps, np.float64).reshape(-1) * self.network.conventions.unit, prod(shape))
        return [_Link({"type": "Delay", "delay": _real(seconds.reshape(shape))}, shape, suffix)]

    def _projection(self, projection: Projection, loop: bool, alone: bool) -> None:
        """Add a projection that lies on a loop or not, and is its target's only one or not."""
        source, target = self.network[projection.source], self.network[projection.target]
        bias = projection.bias if projection.bias is not None and np.any(projection.bias) else None
        front, behind = self._waits(projection, bias, loop)
        links = self._delay(front, source.shape, ".delay")
        links += self._weights(projection, bias, source.shape)
        shape = links[-1].shape if links else source.shape
        links += self._delay(behind, shape, ".bias_delay" if bias is not None else ".delay")
        relay = _is_relay(target)
        if not links and not relay and (self._end(self.names[source.name], shape, target), self.names[target.name]) in self.edges:
            # NIR has no two edges between the same nodes.
            links = [_Link({"type": "Scale", "scale": np.ones(shape, np.float32)}, shape)]
        last = self.names[target.name] if relay and alone and links and links[-1].shape == target.shape else None
        name, shape = self._chain(projection.name, links, self.names[source.name], source.shape, last)
        if last is not None:
            return
        if relay and self.names[target.name] not in self.nodes:
            self.nodes[self.names[target.name]] = {"type": "Scale", "scale": np.ones(target.shape, np.float32)}
        self.edges.append((self._end(name, shape, target), self.names[target.name]))

    def _end(self, name: str, shape: Shape, target: Population) -> str:
        # NIR flattens but has no word for the way back; readers take a vector in C order.
        return name if shape == target.shape else self._flattened(name, shape)

    def _chain(self, label: str, links: list[_Link], name: str, shape: Shape, last: str | None) -> tuple[str, Shape]:
        """Add the nodes of a projection, the last one under the name `last`; return the name and shape of what ends the chain."""
        # Readers call a projection after all its nodes: a name that was made so gives them back, and stays as it is.
        parts = label.split("+")
        for k, link in enumerate(links):
            before = self._flattened(name, shape) if link.flat else name
            wanted = parts[k] if len(parts) == len(links) else label + link.suffix
            name, shape = last if last is not None and link is links[-1] else self._unique(wanted), link.shape
            self.nodes[name] = link.node
            self.edges.append((before, name))
        return name, shape

    def _waits(self, projection: Projection, bias: Array | None, loop: bool) -> tuple[Array | int, Array | int]:
        """Return the steps of the Delay nodes in front of the weights and behind them."""
        steps, waiting = delays_of(projection), 0 if bias is None else projection.bias_from
        if steps is not None:
            by_source = _by_source(projection, steps)
            return (by_source - waiting, waiting) if by_source is not None else (0, np.asarray(_by_target(projection, steps)))
        late = bias is not None and self.network.conventions.late_bias
        if loop and not self.plan.explicit and projection.delay == 1 and waiting == int(late):
            return 0, 0
        return projection.delay - waiting, waiting

    def _weights(self, projection: Projection, bias: Array | None, shape: Shape) -> list[_Link]:
        """Return the node that weighs signals of `shape`; none where every weight is 1 and every neuron feeds its namesake."""
        connectivity = projection.connectivity
        if isinstance(connectivity, Conv2d) and _has_node(projection):
            return [_convolution(connectivity, bias, shape)]
        if isinstance(connectivity, Sparse) and _has_node(projection):
            scale = connectivity.weights.astype(np.float64).reshape(shape)
            return [] if np.all(scale == 1) else [_Link({"type": "Scale", "scale": _real(scale)}, shape)]
        node = {"type": "Linear" if bias is None else "Affine", "weight": _real(_matrix(projection))}
        if bias is not None:
            node["bias"] = _real(bias)
        return [_Link(node, (connectivity.out_size,), flat=True)]


def _is_relay(population: Population) -> bool:
    return isinstance(population.neuron, Neuron) and population.neuron.model == RELAY


def _convolution(conv: Conv2d, bias: Array | None, shape: Shape) -> _Link:
    channels, height, width = conv.in_shape
    line = shape == (channels, width) and height == 1 == conv.stride[0] == conv.dilation[0] == conv.kernel_size[0] and not conv.padding[0]
    by_channel = np.zeros(conv.out_shape[0]) if bias is None else np.asarray(_by_channel(conv, bias))
    node: Members = {"type": "Conv1d" if line else "Conv2d", "groups": conv.groups, "bias": _real(by_channel)}
    node["weight"] = _real(conv.weights[:, :, 0] if line else conv.weights)
    node["input_shape"] = width if line else _ints((height, width))
    for entry in ("stride", "padding", "dilation"):
        pair = getattr(conv, entry)
        node[entry] = pair[1] if line else _ints(pair)
    out = conv.out_shape
    return _Link(node, (out[0], out[2]) if line else out, flat=not line and shape != conv.in_shape)


def _loops(network: Network) -> frozenset[str]:
    """Return the names of the projections that lie on a loop."""
    graph = network.graph
    part = {name: k for k, names in enumerate(nx.strongly_connected_components(graph)) for name in names}
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


def _ints(values: Iterable[int]) -> Array:
    return np.array([int(v) for v in values], np.int64)


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
