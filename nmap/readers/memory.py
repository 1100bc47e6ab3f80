"""Present a NIR graph in memory as the file that `nir.write` would make of it, so that one reader serves both.

Nothing of the `nir` package is imported: a graph is anything with `nodes` (a mapping from name to node) and `edges` (pairs of names),
a node's type is the name of its class, its fields are its attributes, and an array is whatever NumPy or torch makes numbers of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import is_dataclass
from types import TracebackType
from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap.readers.hdf5 import MAX_BYTES, MAX_MEMBERS, Group, Ledger, Tree, printable

__all__ = ["FILE", "MemoryGroup", "MemoryTree", "is_graph", "tree_of"]

FILE = "NIRGraph"
"""Stands for the file's name in a network read from memory, and in the places of diagnostics."""
_MAX_DEPTH = 64
_MAX_GROUPS = 2**18
_LEAVES = (str, bytes, bool, int, float, complex, np.generic, np.ndarray, list, tuple, set, frozenset, type, type(None))
# What NIR derives from other nodes and does not store.
_DERIVED = frozenset({"input_type", "output_type"})
_ACCEPTED = "a NIR graph has `nodes` (a mapping from names to nodes) and `edges` (pairs of names), as `nir.NIRGraph` does"


def is_graph(value: object) -> bool:
    """Return whether an object is a NIR graph: it has `nodes`, a mapping, and `edges`, pairs of names."""
    nodes, edges = getattr(value, "nodes", None), getattr(value, "edges", None)
    # A networkx graph has both as well, but there they are views that can be called.
    return isinstance(nodes, Mapping) and not callable(nodes) and isinstance(edges, Collection) and not isinstance(edges, str | bytes)


def tree_of(graph: object, findings: Findings) -> MemoryTree:
    """Return a NIR graph as a tree for the NIR reader.

    Args:
        graph: see `is_graph`.
        findings: receives the diagnostics met while reading.

    Raises:
        NmapError: NM101 where the object is no NIR graph.
    """
    if not is_graph(graph):
        raise NmapError(_refusal(graph))
    return MemoryTree({"node": graph}, FILE, findings)


def _refusal(value: object) -> Diagnostic:
    kind = type(value)
    title = "None" if value is None else f"an object of type `{kind.__module__}.{kind.__qualname__}`".replace("`builtins.", "`")
    remedies = ["give the path of a NIR or netx file, or a `nir.NIRGraph`"]
    if isinstance(value, Mapping):
        remedies.insert(0, "make a graph of a NIR dictionary first: `nir.dict2NIRNode(...)`")
    elif hasattr(value, "state_dict") and hasattr(value, "parameters"):
        remedies.insert(0, "export the module with its framework, for example `snntorch.export_nir.export_to_nir(module, sample)`")
    elif hasattr(value, "input_type") and hasattr(value, "output_type"):
        remedies.insert(0, "put the node into a graph first: `nir.NIRGraph.from_list(...)`")
    return Diagnostic("NM101", "error", f"{title} is not a network that nmap reads", why=_ACCEPTED, help=tuple(remedies))


class MemoryTree(Tree):
    """A tree of groups that lies in memory instead of in a file.

    Args:
        root: the root group's members: arrays, numbers, strings, mappings and NIR nodes by name.
        name: stands for the file's name.
        findings: receives the diagnostics.
    """

    def __init__(self, root: Mapping[str, Any], name: str, findings: Findings) -> None:
        # Not the parent's constructor, which opens a file.
        Ledger.__init__(self, name, findings)
        self._root = root

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        return None

    @property
    def root(self) -> MemoryGroup:
        """The root group."""
        return MemoryGroup(self, dict(self._root), "/")

    @property
    def sha256(self) -> str:
        """SHA-256 of the content in hexadecimal, the same in every process.

        Hashed are, group by group and in the order of their names, each entry's path, element type (little endian; all integers as
        64 bits), shape and bytes in C order. Edges are hashed in sorted order, since they often come from a set. An entry that
        is neither numbers nor text, and that a file could not hold, counts by the name of its type.
        """
        digest = hashlib.sha256()
        for place, value in self._entries():
            kind, shape, content = _canonical(place, value)
            digest.update(f"{place}\0{kind}\0{shape}\0{len(content)}\0".encode("utf-8", "surrogatepass"))
            digest.update(content)
        return digest.hexdigest()

    def _entries(self) -> Iterator[tuple[str, Any]]:
        """Walk over all entries; graphs that hold themselves are cut off, and reading refuses them."""
        todo: list[tuple[str, int, dict[str, Any]]] = [("", 0, dict(self._root))]
        groups = 0
        while todo:
            path, depth, members = todo.pop()
            groups += 1
            inner = []
            for name, value in sorted(members.items()):
                found = _members(value)
                if found is None:
                    yield f"{path}/{name}", value
                elif depth < _MAX_DEPTH and groups < _MAX_GROUPS:
                    yield f"{path}/{name}/", None
                    inner.append((f"{path}/{name}", depth + 1, found))
            todo.extend(reversed(inner))


class MemoryGroup(Group):
    """A group in memory, with the members a file's group would have.

    Args:
        tree: the tree it belongs to.
        members: by name.
        path: absolute path.
    """

    def __init__(self, tree: Tree, members: dict[str, Any], path: str) -> None:
        super().__init__(tree, members, path)
        self._members = members

    def names(self) -> tuple[str, ...]:
        """Return the members' names, sorted."""
        if len(self._members) > MAX_MEMBERS:
            message = f"a group has {len(self._members)} members; the limit is {MAX_MEMBERS}"
            self.tree.findings.error("NM110", message, where=str(self.where))
            return ()
        return tuple(sorted(self._members))

    def __contains__(self, name: str) -> bool:
        return name in self._members

    def attribute(self, name: str) -> str | float | None:  # noqa: ARG002 - an object in memory has no HDF5 attributes
        """Return None."""
        return None

    def has_attribute(self, name: str) -> bool:  # noqa: ARG002
        """Return False."""
        return False

    def is_group(self, name: str) -> bool:
        """Return whether a member is a graph, a node or a mapping."""
        return _members(self._members.get(name)) is not None

    def group(self, name: str) -> MemoryGroup | None:
        """Return a member that is a graph, a node or a mapping as a group, or None."""
        found = _members(self._members.get(name))
        return None if found is None else MemoryGroup(self.tree, found, f"{self.path.rstrip('/')}/{name}")

    def array(self, name: str) -> Array | None:
        """Return a copy of a member's numbers, or None (with a diagnostic unless it is absent)."""
        value = self._members.get(name)
        if value is None or _members(value) is not None:
            return None
        numbers, where = _numbers(value), self.place(name)
        if numbers is None or numbers.dtype.kind not in "biuf":
            self.tree.findings.error("NM107", f"`{name}` holds {_kind(value, numbers)} where numbers belong", where=where)
            return None
        return numbers.copy() if self.tree.claim(numbers.size, numbers.dtype.itemsize, where, f"`{name}`") else None

    def strings(self, name: str) -> Array | None:
        """Return a member's strings as an object array of str, or None (with a diagnostic unless it is absent)."""
        value = self._members.get(name)
        if value is None or _members(value) is not None:
            return None
        if name == "edges":
            return self._edges(value)
        if self.is_string(name):
            return np.vectorize(self.tree.text, otypes=[object])(np.asarray(value, object))
        self.tree.findings.error("NM104", f"`{name}` holds {_kind(value, _numbers(value))} where names belong", where=self.place(name))
        return None

    def _edges(self, edges: Iterable[Any]) -> Array | None:
        pairs = []
        for number, edge in enumerate(_ordered(edges)):
            if isinstance(edge, str | bytes) or not isinstance(edge, Iterable) or len(pair := list(edge)) != 2:
                message = f"edge {number} is `{edge!s:.60}`; an edge is a pair of node names"
                self.tree.findings.error("NM103", message, where=f"{self.place('edges')}[{number}]")
                return None
            pairs.append([printable(end if isinstance(end, bytes) else str(end)) for end in pair])
        return np.array(pairs, object).reshape(-1, 2)

    def is_string(self, name: str) -> bool:
        """Return whether a member is text, or a list of texts as edges are."""
        value = self._members.get(name)
        if name == "edges" or isinstance(value, str | bytes):
            return value is not None
        numbers = None if value is None or _members(value) is not None else _numbers(value)
        return numbers is not None and numbers.dtype.kind in "SU"


def _members(value: Any) -> dict[str, Any] | None:
    """Return what the group of a graph, node or mapping would hold in a file; None for what would be no group."""
    if isinstance(value, Mapping):
        return {printable(str(name)): member for name, member in value.items() if member is not None}
    if is_graph(value):
        nodes = {printable(str(name)): node for name, node in value.nodes.items()}
        return {"type": "NIRGraph", "nodes": nodes, "edges": value.edges, **_metadata(value)}
    if isinstance(value, _LEAVES) or hasattr(value, "__array__") or hasattr(value, "detach"):
        return None
    if is_dataclass(value):
        names = [f.name for f in dataclass_fields(value)]
    elif hasattr(value, "__dict__"):
        names = [name for name in vars(value) if not name.startswith("_")]
    else:
        return None
    kind = type(value).__name__
    found = {name: getattr(value, name, None) for name in names if name not in _DERIVED and name != "metadata"}
    # Only these three types store a shape, under a name of its own.
    if kind in ("Input", "Output", "Flatten"):
        side = "output" if kind == "Output" else "input"
        types = getattr(value, f"{side}_type", None)
        stored = "input_type" if kind == "Flatten" else "shape"
        found[stored] = types.get(side, next(iter(types.values()), None)) if isinstance(types, Mapping) else found.get(stored, types)
    return {**{name: member for name, member in found.items() if member is not None}, "type": kind, **_metadata(value)}


def _metadata(value: Any) -> dict[str, Any]:
    metadata = getattr(value, "metadata", None)
    return {"metadata": metadata} if isinstance(metadata, Mapping) and metadata else {}


def _ordered(edges: Iterable[Any]) -> Iterable[Any]:
    """Return edges in an order that does not change from run to run."""
    return sorted(edges, key=str) if isinstance(edges, set | frozenset) else edges


def _numbers(value: Any) -> Array | None:
    """Return an array-like object as an array, or None where it is none."""
    try:
        if hasattr(value, "detach"):
            # A torch tensor may need a gradient, lie on a GPU, or be of a type that NumPy lacks (bfloat16).
            value = value.detach().cpu()
            value = value if not str(getattr(value, "dtype", "")).endswith("bfloat16") else value.float()
        # What a mask hides is no number of the network.
        numbers = np.asarray(None if np.ma.is_masked(value) else value)
    except Exception:
        # Whatever an object's own conversion raises: it holds no numbers.
        return None
    return None if numbers.dtype == object else numbers


def _kind(value: Any, numbers: Array | None) -> str:
    if numbers is None:
        return f"an object of type `{type(value).__name__}`"
    return {"U": "text", "S": "text", "c": "complex numbers"}.get(numbers.dtype.kind, f"data of type {numbers.dtype}")


def _canonical(place: str, value: Any) -> tuple[str, tuple[int, ...], bytes]:
    """Return element type, shape and bytes of an entry, see `MemoryTree.sha256`."""
    if place.endswith("/edges") and isinstance(value, Iterable):
        pairs = sorted(str(tuple(map(str, edge))) if isinstance(edge, Iterable) else str(edge) for edge in value)
        return "edges", (len(pairs),), "\0".join(pairs).encode("utf-8", "surrogatepass")
    if isinstance(value, str | bytes):
        return "text", (), value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
    numbers = None if value is None else _numbers(value)
    # An array beyond the reader's limit may be a view of one number; reading refuses it.
    if numbers is None or numbers.nbytes > MAX_BYTES:
        return type(value).__qualname__, (), b""
    if numbers.dtype.kind in "iu":
        numbers = numbers.astype("<u8" if numbers.dtype.kind == "u" and numbers.size and numbers.max() > 2**63 - 1 else "<i8")
    elif numbers.dtype.kind == "U":
        return "text", numbers.shape, "\0".join(map(str, numbers.ravel())).encode("utf-8", "surrogatepass")
    else:
        numbers = numbers.astype(numbers.dtype.newbyteorder("<"))
    return numbers.dtype.str, numbers.shape, numbers.tobytes()
