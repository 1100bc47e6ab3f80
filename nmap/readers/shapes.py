"""Infer the shapes of a NIR graph, which its files do not hold, and check that they fit."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from math import prod

import numpy as np

from nmap.connectivity import Array, Conv2d
from nmap.diagnostics import Findings
from nmap.readers.graph import CONVS, FIELDS, NEURONS, POOLS, Graph, Key, Node, Shape, natural, parameters_of
from nmap.readers.hdf5 import MAX_BYTES, MAX_ELEMENTS, too_large
from nmap.readers.linear import padded_same

__all__ = ["Shapes", "at_shape", "conv_of", "core_shape", "fits_layer", "matrix_of", "pair_of", "plane_of", "pool_window"]

_ELEMENTWISE = frozenset({"Scale", "Delay"})


def matrix_of(weight: Array) -> Array:
    """Return a weight as a matrix, or as one matrix for each of its leading dimensions: (..., targets, sources).

    Leading dimensions of 1 carry nothing and are left out.
    """
    k = 0
    while weight.ndim - k > 2 and weight.shape[k] == 1:
        k += 1
    return weight.reshape(weight.shape[k:])


def pair_of(values: Array | None, default: int) -> tuple[int, int]:
    """Return (height, width) of a field with one or two entries."""
    if values is None:
        return default, default
    flat = [int(v) for v in values.ravel()]
    return (flat[0], flat[0]) if len(flat) == 1 else (flat[0], flat[1])


def pool_window(node: Node) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return kernel, stride and padding of a pool, (height, width) each."""
    kernel = pair_of(node.fields["kernel_size"], 1)
    stride = pair_of(node.fields["stride"], 1) if "stride" in node.fields else kernel
    return kernel, stride, pair_of(node.fields.get("padding"), 0)


def plane_of(node: Node, shape: Shape) -> tuple[int, int, int]:
    """Return a convolution's or pool's (channels, height, width); a signal of one dimension is an image of height 1."""
    return (shape[0], 1, shape[1]) if node.type == "Conv1d" else (shape[0], shape[1], shape[2])


def conv_of(node: Node, shape: Shape) -> Conv2d:
    """Return a Conv1d or Conv2d node's connection on an input of `shape` (channels, width) or (channels, height, width).

    Raises:
        ValueError: kernel, groups and input do not fit.
    """
    f, line = node.fields, node.type == "Conv1d"
    weights = f["weight"].astype(np.float64)
    weights = weights[:, :, None] if line else weights

    def pair(entry: str, default: int) -> tuple[int, int]:
        height, width = pair_of(f.get(entry), default)
        return (default, width) if line else (height, width)

    padding, dilation = pair("padding", 0), pair("dilation", 1)
    if node.padding == "same":
        weights, padding, dilation = padded_same(weights, dilation)
    groups = int(f["groups"].ravel()[0]) if "groups" in f else 1
    return Conv2d(weights, plane_of(node, shape), pair("stride", 1), padding, dilation, groups)


def at_shape(values: Array, shape: Shape) -> Array:
    """Return a parameter at the layer's shape; the fit has been checked by `fits_layer`."""
    if values.size == 1:
        return np.broadcast_to(values.reshape(()), shape)
    return values.reshape(shape) if values.size == prod(shape) else np.broadcast_to(values, shape)


def fits_layer(values: Array, shape: Shape) -> bool:
    """Return whether a parameter is a scalar, of the layer's shape, or broadcasts to it axis by axis."""
    if values.size == 1 or core_shape(values.shape) == core_shape(shape):
        return True
    return values.ndim == len(shape) and all(a in (1, b) for a, b in zip(values.shape, shape, strict=True))


def core_shape(shape: Shape) -> Shape:
    """Return a shape without leading ones."""
    k = 0
    while k < len(shape) - 1 and shape[k] == 1:
        k += 1
    return tuple(shape[k:])


class Shapes:
    """Infer and check the shapes on all edges.

    A node's output shape follows from its own parameters where they tell it, from its sources otherwise; a fixed point over the
    graph handles loops.
    """

    def __init__(self, graph: Graph, findings: Findings) -> None:
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
        self._spread(sorted(nodes, key=natural), todo)
        for key in sorted(todo, key=natural):
            if key in todo and self._settle(nodes[key], True):
                todo.discard(key)
                self._spread([*self.before[key], *self.after[key]], todo)
        for node in nodes.values():
            if node.type == "Input":
                self._port(node)
        for key in self.graph.ports:
            self._inner_port(key)
        open_ends = [nodes[k] for k in sorted(todo, key=natural) if k not in self.bad and nodes[k].type != "Output"]
        if open_ends and not self.bad:
            self.findings.error(
                "NM106",
                f"the shape of {', '.join(f'`{n.name}`' for n in open_ends[:6])} cannot be inferred",
                where=str(open_ends[0].where),
                why="neither its parameters nor what feeds it tell a size",
                help=("state the shape in the Input node",),
            )
        if not self.findings.errors:
            for source, target in self.graph.edges:
                self._check_edge(nodes[source], nodes[target])

    def _spread(self, starts: Iterable[Key], todo: set[Key]) -> None:
        """Infer shapes from `starts` onwards; remove from `todo` what is known."""
        queue = deque(starts)
        while queue:
            key = queue.popleft()
            if key in todo and (key in self.bad or self._settle(self.graph.nodes[key], False)):
                todo.discard(key)
                queue.extend(self.after[key])
                queue.extend(self.before[key])

    def _error(self, node: Node, message: str, *, why: str | None = None, entry: str | None = None) -> None:
        self.bad.add(node.key)
        self.findings.error("NM106", message, where=f"{node.where}/{entry}" if entry else str(node.where), why=why)

    def _check_fields(self, node: Node) -> None:
        """Check what one node's fields say about each other."""
        f, name = node.fields, node.name
        if node.type in ("Affine", "Linear"):
            weight = matrix_of(f["weight"]) if "weight" in f else None
            if weight is None or weight.ndim < 2:
                found = "is empty" if weight is None else f"has shape {weight.shape}"
                self._error(node, f"weight of `{name}` {found}; a matrix (targets, sources) belongs here", entry="weight")
                return
            if "bias" in f and f["bias"].size not in (1, weight.shape[-2], prod(weight.shape[:-1])):
                self._error(node, f"bias of `{name}` has {f['bias'].size} entries for {prod(weight.shape[:-1])} targets", entry="bias")
            self._bias_is_there(node)
            return
        if node.type in CONVS:
            weight, rank = f.get("weight"), 3 if node.type == "Conv1d" else 4
            if weight is None or weight.ndim != rank:
                found = "is empty" if weight is None else f"has shape {weight.shape}"
                sides = "width" if rank == 3 else "height, width"
                self._error(node, f"weight of `{name}` {found}; a kernel (out channels, in channels, {sides}) belongs here", entry="weight")
                return
            if "bias" in f and f["bias"].size not in (1, weight.shape[0]):
                self._error(node, f"bias of `{name}` has {f['bias'].size} entries for {weight.shape[0]} channels", entry="bias")
            self._bias_is_there(node)
            groups = self._integers(node, "groups", 1, (1,))
            if groups and weight.shape[0] % groups[0]:
                self._error(node, f"the {weight.shape[0]} out channels of `{name}` do not divide into {groups[0]} groups", entry="groups")
            for entry, least in (("stride", 1), ("padding", 0), ("dilation", 1)):
                self._integers(node, entry, least, (1,) if node.type == "Conv1d" else (1, 2))
            if node.padding == "same" and pair_of(f.get("stride"), 1) != (1, 1):
                self._error(node, f"`{name}` has padding `same` with a stride, which no framework defines", entry="padding")
            reach = prod(d * (k - 1) + 2 for d, k in zip(pair_of(f.get("dilation"), 1)[4 - rank :], weight.shape[2:], strict=True))
            if node.padding == "same" and prod(weight.shape[:2]) * reach * 8 > MAX_BYTES:
                self._error(node, f"the dilated kernel of `{name}` is beyond the reader's limit of {MAX_BYTES} bytes", entry="dilation")
        elif node.type in POOLS:
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
        elif node.type in NEURONS or node.type in _ELEMENTWISE:
            empty = [entry for entry in FIELDS[node.type][0] if entry not in f]
            if empty:
                verb = "is" if len(empty) == 1 else "are"
                self._error(node, f"{', '.join(f'`{e}`' for e in empty)} of `{name}` {verb} empty", entry=empty[0])

    def _bias_is_there(self, node: Node) -> None:
        if "bias" in node.empty:
            self._error(node, f"bias of `{node.name}` is empty", entry="bias")

    def _integers(self, node: Node, entry: str, least: int, sizes: tuple[int, ...] | None) -> list[int]:
        values = node.fields.get(entry)
        if values is None:
            return []
        flat = values.ravel().astype(np.float64)
        if (sizes is not None and flat.size not in sizes) or np.any(flat != np.floor(flat)) or np.any(flat < least):
            self._error(node, f"`{entry}` of `{node.name}` is {flat[:8].tolist()}; integers of at least {least} belong here", entry=entry)
            del node.fields[entry]
            return []
        if np.any(flat > MAX_ELEMENTS):
            self.bad.add(node.key)
            self.findings.error("NM110", too_large(f"`{entry}` of `{node.name}`", flat), where=f"{node.where}/{entry}")
            del node.fields[entry]
            return []
        return [int(v) for v in flat]

    def _declared(self, node: Node) -> Shape | None:
        values = node.fields.get("shape")
        return tuple(int(v) for v in values.ravel()) if values is not None else None

    def _own(self, node: Node) -> Shape | None:
        """Return the shape that a neuron's or Scale's parameters tell; None where all are scalars."""
        wide = [v.shape for k, v in node.fields.items() if k in parameters_of(node.type) and v.size > 1]
        if not wide:
            return None
        best: Shape = max(wide, key=lambda s: (prod(s), len(s)))
        for entry, values in node.fields.items():
            if not fits_layer(values, best):
                self._error(node, f"parameters of `{node.name}` have different shapes: {entry} {values.shape} and {best}", entry=entry)
                return None
        return best

    def _arriving(self, node: Node) -> Shape | None:
        shapes = [self.graph.nodes[k].shape_out for k in sorted(self.before[node.key], key=natural)]
        return next((s for s in shapes if s is not None), None)

    def _settle(self, node: Node, guess: bool) -> bool:
        """Infer one node's shapes; return whether they are known. With `guess`, parameters stand in for what feeds the node."""
        if node.type == "Input":
            node.shape_out = self._declared(node) or self._wanted(node)
            return node.shape_out is not None
        if node.type == "Output":
            return True
        arriving = self._arriving(node)
        if node.type in ("Affine", "Linear"):
            *blocks, rows, columns = matrix_of(node.fields["weight"]).shape
            node.shape_in, node.shape_out = (*blocks, columns), (*blocks, rows)
        elif node.type in NEURONS or node.type in _ELEMENTWISE:
            own = self._own(node)
            if node.key in self.bad:
                return True
            if own is not None and 1 in own and arriving is None and not guess:
                return False
            if own is not None and arriving is not None and core_shape(own) == core_shape(arriving):
                own = min(own, arriving, key=len)
            elif own is not None and arriving is not None and prod(own) != prod(arriving) and len(own) == len(arriving):
                wide = tuple(max(a, b) for a, b in zip(own, arriving, strict=True))
                own = wide if all(a in (1, b) for a, b in zip(own, wide, strict=True)) and wide == arriving else own
            shape = own or arriving
            if shape is None:
                return False
            node.shape_in = node.shape_out = shape
        elif node.type == "Flatten":
            stated = node.fields.get("input_type")
            if arriving is None and guess and stated is not None and np.all(stated >= 1):
                arriving = tuple(int(v) for v in stated.ravel())
            if arriving is None:
                return False
            start = int(node.fields["start_dim"].ravel()[0]) if "start_dim" in node.fields else 1
            stop = int(node.fields["end_dim"].ravel()[0]) if "end_dim" in node.fields else -1
            rank = len(arriving)
            start, stop = (start + rank if start < 0 else start), (stop + rank if stop < 0 else stop)
            node.shape_in = arriving
            node.shape_out = (
                (*arriving[:start], prod(arriving[start : stop + 1]), *arriving[stop + 1 :]) if 0 <= start < stop < rank else arriving
            )
        else:
            return self._settle_image(node, arriving, guess)
        return True

    def _settle_image(self, node: Node, arriving: Shape | None, guess: bool) -> bool:
        f, name, rank = node.fields, node.name, 2 if node.type == "Conv1d" else 3
        stated = f.get("input_shape")
        channels = f["weight"].shape[1] * (int(f["groups"].ravel()[0]) if "groups" in f else 1) if node.type in CONVS else None
        plane = tuple(int(v) for v in stated.ravel()) if stated is not None and stated.size == rank - 1 else None
        if guess and arriving is None and plane is not None and channels is not None:
            arriving = (channels, *plane)
        if arriving is None:
            return False
        image = core_shape(arriving) if len(arriving) > rank else arriving
        if len(image) < rank and len(arriving) >= rank:
            image = arriving[-rank:]
        if len(image) == rank + 1 and all(self.graph.nodes[k].type == "Input" for k in self.before[node.key]):
            # A batch; `_port` tells it.
            image = image[1:]
        if len(image) == rank - 1 and channels in (1, None):
            image = (1, *image)
        if len(image) == 1 and plane is not None and channels is not None and prod(image) == channels * prod(plane):
            image = (channels, *plane)
        if len(image) != rank:
            sides = "(channels, width)" if rank == 2 else "(channels, height, width)"
            self._error(node, f"`{name}` ({node.type}) reads {sides}, but shape {arriving} arrives")
            return True
        if channels is not None and image[0] != channels:
            self._error(
                node,
                f"`{name}` ({node.type}) reads {channels} channels, but {image[0]} arrive",
                entry="weight",
                why=f"weight {f['weight'].shape}, groups {channels // f['weight'].shape[1]}, arriving shape {arriving}",
            )
            return True
        if plane is not None and plane != image[1:]:
            self._error(node, f"`{name}` states an input of {plane}, but {image[1:]} arrives", entry="input_shape")
            return True
        node.shape_in = image
        try:
            if node.type in CONVS:
                channels_out, height, width = conv_of(node, image).out_shape
                node.shape_out = (channels_out, width) if rank == 2 else (channels_out, height, width)
            else:
                kernel, stride, padding = pool_window(node)
                if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
                    raise ValueError(f"padding {padding} is more than half the window {kernel}")
                h, w = ((n + 2 * p - k) // s + 1 for n, p, k, s in zip(image[1:], padding, kernel, stride, strict=True))
                if min(h, w) < 1:
                    raise ValueError(f"window {kernel} is larger than the padded input {image[1:]}")
                node.shape_out = (image[0], h, w)
        except ValueError as error:
            self._error(node, f"`{name}` ({node.type}) does not fit its input of shape {image}: {error}")
        return True

    def _wanted(self, node: Node) -> Shape | None:
        """Return the shape an Input's consumers read."""
        found: list[Shape] = []
        todo, seen = [node.key], {node.key}
        while todo:
            for key in sorted(self.after[todo.pop()], key=natural):
                reader = self.graph.nodes[key]
                if reader.shape_in is not None:
                    found.append(reader.shape_in)
                if reader.type in _ELEMENTWISE and key not in seen and all(v.size == 1 for v in reader.fields.values()):
                    # It passes on what it gets: what follows tells the shape.
                    seen.add(key)
                    todo.append(key)
        return min(found, key=len, default=None)

    def _port(self, node: Node) -> None:
        """Give an Input the shape its consumers read where it differs by leading ones, or was not stated."""
        declared, wanted = self._declared(node), self._wanted(node)
        if declared is None and wanted is not None:
            node.shape_out = wanted
            self.graph.notes.append(f"input `{node.name}` states no shape; read as {wanted} from what it feeds")
        elif declared is not None and wanted is not None and len(declared) > len(wanted) and core_shape(declared) == core_shape(wanted):
            node.shape_out = wanted
            self.graph.notes.append(
                f"leading dimensions of 1 of input `{node.name}` {declared} were taken as batch or time and stripped: {wanted}"
            )
        elif declared is not None and wanted is not None and declared[1:] == wanted and self._feeds_images(node):
            node.shape_out = wanted
            self.graph.notes.append(
                f"the first dimension of input `{node.name}` {declared} was taken as a batch of {declared[0]} and stripped: {wanted}"
            )

    def _feeds_images(self, node: Node) -> bool:
        return all(self.graph.nodes[k].type in CONVS or self.graph.nodes[k].type in POOLS for k in self.after[node.key])

    def _inner_port(self, key: Key) -> None:
        """Note where a nested graph's port declares another shape than what passes through it."""
        node = self.graph.ports[key].node
        declared, found = self._declared(node), self._passing(key)
        if declared is not None and found is not None and core_shape(declared) != core_shape(found) and prod(declared) != prod(found):
            self.graph.notes.append(f"port `{node.name}` declares {declared}, but what is connected to it has shape {found}: read as that")

    def _passing(self, key: Key) -> Shape | None:
        """Return the shape of what passes through a nested graph's port: as its sources send it, or else as its targets read it."""
        nodes, port = self.graph.nodes, self.graph.ports[key]
        sent = (nodes[k].shape_out if k in nodes else self._passing(k) for k in port.sources)
        read = (nodes[k].shape_in if k in nodes else self._passing(k) for k in port.targets)
        return next((shape for shapes in (sent, read) for shape in shapes if shape is not None), None)

    def _check_edge(self, source: Node, target: Node) -> None:
        shape, wanted = source.shape_out, target.shape_in
        if target.type == "Output":
            wanted = self._declared(target)
            if wanted is None:
                self.graph.notes.append(f"output `{target.name}` states no shape; read as {shape}")
                return
            if shape is not None and core_shape(shape) == core_shape(wanted) and len(wanted) > len(shape):
                self.graph.notes.append(
                    f"leading dimensions of 1 of output `{target.name}` {wanted} were taken as batch or time and stripped: {shape}"
                )
                return
            if shape and wanted[-len(shape) :] == shape and len(wanted) > len(shape):
                # What leaves a network has the shape that its last node sends, whatever batch an exporter traced it with.
                self.graph.notes.append(f"leading dimensions of output `{target.name}` {wanted} were taken as batch or time: {shape}")
                return
        if shape is None or wanted is None or shape == wanted or core_shape(shape) == core_shape(wanted):
            return
        if prod(shape) == prod(wanted) and 1 in (len(core_shape(shape)), len(core_shape(wanted))):
            self.graph.notes.append(f"shape {shape} of `{source.name}` was read as {wanted} by `{target.name}`, in C order")
            return
        self.findings.error(
            "NM106",
            f"`{source.name}` ({source.type}) sends shape {shape}, but `{target.name}` ({target.type}) reads {wanted}",
            where=str(target.where),
            why=f"{prod(shape)} values for {prod(wanted)}" if prod(shape) != prod(wanted) else None,
        )
