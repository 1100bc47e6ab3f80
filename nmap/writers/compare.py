"""What it means for two networks to be equal, and where they are not.

Equal are networks with the same populations, projections, inputs, outputs and conventions. Left out is what says where a network came
from (file, format, hash, places, assumptions, notes, diagnostics, a model's `fields`), the order of populations and projections, and
the names of projections. Numbers are compared bit by bit. A connection is the same as another one with the same synapses, however it
is stored; synapses of weight zero, biases of zero, the sign of a zero among biases and the split of a delay into `delay` and `delays`
have no meaning and do not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.network import Adaptation, Conventions, Network, Neuron, Population, Projection, Resonator, SigmaDelta

__all__ = ["LEFT_OUT", "MAX_LISTED", "Difference", "delays_of", "differences"]

MAX_LISTED = 2**24
"""Largest number of synapses for which connections of different kinds are compared synapse by synapse."""
LEFT_OUT: dict[type, frozenset[str]] = {
    Network: frozenset({"file", "format", "sha256", "assumptions", "notes", "diagnostics"}),
    Population: frozenset({"where"}),
    Projection: frozenset({"name", "where"}),
    Neuron: frozenset({"fields"}),
    Resonator: frozenset({"fields"}),
    SigmaDelta: frozenset({"fields"}),
    Adaptation: frozenset(),
    Conventions: frozenset(),
}
"""The fields that do not count, by type."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference between two networks.

    Args:
        kind: what differs.
        name: its name in the first network; empty for the network itself.
        field: the field that differs; empty where the other network lacks the whole thing.
        text: the difference in words.
    """

    kind: Literal["network", "population", "projection"]
    name: str
    field: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind} `{self.name}`: {self.text}" if self.name else self.text


def differences(first: Network, second: Network, names: Mapping[str, str] | None = None) -> list[Difference]:
    """Return where two networks differ; nothing where they are equal.

    Args:
        first, second: the networks.
        names: population names of the second network by those of the first, where they differ.
    """
    renamed = {p.name: (names or {}).get(p.name, p.name) for p in first.populations}
    found: list[Difference] = []
    for entry in _counting(Network):
        mine, theirs = getattr(first, entry), getattr(second, entry)
        if entry == "populations":
            found += _populations(first, second, renamed)
        elif entry == "projections":
            found += _projections(first, second, renamed)
        elif entry in ("inputs", "outputs"):
            if tuple(renamed.get(name, name) for name in mine) != theirs:
                found.append(Difference("network", "", entry, f"{entry} are {', '.join(mine)}, then {', '.join(theirs)}"))
        else:
            found += [Difference("network", "", entry, f"{entry}: {text}") for _, text in _fields(mine, theirs)]
    return found


def delays_of(projection: Projection) -> Array | None:
    """Return the steps each synapse waits, of the shape of the weights; None where all wait for `Projection.delay`."""
    if projection.delays is None or not projection.delays.size:
        return None
    return projection.delays + projection.delay


def _counting(kind: type) -> list[str]:
    return [f.name for f in fields(kind) if f.name not in LEFT_OUT[kind]]


def _populations(first: Network, second: Network, renamed: Mapping[str, str]) -> list[Difference]:
    theirs, found = {p.name: p for p in second.populations}, []
    for mine in first.populations:
        other = theirs.pop(renamed[mine.name], None)
        if other is None:
            found.append(Difference("population", mine.name, "", "it is missing"))
            continue
        for entry in _counting(Population):
            a, b = getattr(mine, entry), getattr(other, entry)
            a = renamed[mine.name] if entry == "name" else a
            found += [Difference("population", mine.name, name or entry, text) for name, text in _fields(a, b, entry)]
    return found + [Difference("population", name, "", "it is new") for name in theirs]


def _projections(first: Network, second: Network, renamed: Mapping[str, str]) -> list[Difference]:
    between: dict[tuple[str, str], list[Projection]] = defaultdict(list)
    for projection in second.projections:
        between[projection.source, projection.target].append(projection)
    found = []
    for mine in first.projections:
        candidates = between[renamed[mine.source], renamed[mine.target]]
        unlike = [_unlike(mine, other) for other in candidates]
        best = min(range(len(candidates)), key=lambda k: len(unlike[k]), default=None)
        if best is None:
            found.append(Difference("projection", mine.name, "", "it is missing"))
            continue
        found += [Difference("projection", mine.name, entry, text) for entry, text in unlike[best]]
        del candidates[best]
    left = [other for candidates in between.values() for other in candidates]
    return found + [Difference("projection", other.name, "", "it is new") for other in left]


def _unlike(first: Projection, second: Projection) -> list[tuple[str, str]]:
    """Return the fields in which two projections between the same populations differ, with the difference in words."""
    found = []
    # Adding 0 takes the sign of a zero away.
    biases = [None if p.bias is None or not np.any(p.bias) else p.bias + 0.0 for p in (first, second)]
    for entry in _counting(Projection):
        a, b = getattr(first, entry), getattr(second, entry)
        if entry in ("source", "target", "delays"):
            # The caller has paired source and target; delays are compared with `delay`, together with the synapses.
            continue
        if entry == "connectivity":
            if not _same_synapses(first, second):
                found.append((entry, "its synapses differ"))
        elif entry == "delay":
            if (delays_of(first) is None) == (delays_of(second) is None) and delays_of(first) is None and a != b:
                found.append((entry, f"its delay is {a}, then {b}"))
        elif entry == "bias":
            found += [(entry, text) for _, text in _fields(biases[0], biases[1], entry)]
        elif entry != "bias_from" or biases[0] is not None:
            found += [(entry, text) for _, text in _fields(a, b, entry)]
    return found


def _same_synapses(first: Projection, second: Projection) -> bool:
    a, b = first.connectivity, second.connectivity
    plain = delays_of(first) is None and delays_of(second) is None
    if plain and type(a) is type(b) and all(_same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a)):
        return True
    if (a.in_size, a.out_size) != (b.in_size, b.out_size) or max(a.synapses, b.synapses) > MAX_LISTED:
        return False
    mine, theirs = _listed(a, delays_of(first)), _listed(b, delays_of(second))
    steps = [np.broadcast_to(p.delay, w.size) if d is None else d for p, (_, w, d) in ((first, mine), (second, theirs))]
    # Uniform delays are a field of their own, with a message of its own.
    return _same(mine[0], theirs[0]) and _same(mine[1], theirs[1]) and (plain or _same(np.array(steps[0]), np.array(steps[1])))


def _listed(connectivity: Connectivity, delays: Array | None) -> tuple[Array, Array, Array | None]:
    """Return (synapses, 2) target and source, (synapses,) weight and delay of the synapses whose weight is not zero, in one order."""
    if isinstance(connectivity, Dense):
        targets, sources = np.nonzero(connectivity.weights)
        weights = connectivity.weights[targets, sources]
        steps = None if delays is None else delays[targets, sources]
    else:
        sparse: Sparse = connectivity.unrolled() if isinstance(connectivity, Conv2d) else connectivity
        kept = np.flatnonzero(sparse.weights)
        targets, sources, weights = sparse.targets[kept], sparse.indices[kept], sparse.weights[kept]
        steps = None if delays is None else delays[kept]
    return np.stack([targets, sources], axis=1).astype(np.int64), weights.astype(np.float64), steps


def _fields(first: Any, second: Any, entry: str = "") -> list[tuple[str, str]]:
    """Return the fields in which two values differ, with the difference in words; a value that is no dataclass is one field."""
    if is_dataclass(first) and not isinstance(first, type) and type(first) is type(second):
        found = []
        for name in _counting(type(first)):
            found += [(inner or name, text) for inner, text in _fields(getattr(first, name), getattr(second, name), name)]
        return found
    return [] if _same(first, second) else [(entry, _words(entry, first, second))]


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray):
        a, b = first, second
        if a.dtype != b.dtype and a.dtype.kind == b.dtype.kind == "f":
            a, b = a.astype(np.float64), b.astype(np.float64)
        return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return not isinstance(first, np.ndarray) and not isinstance(second, np.ndarray) and bool(first == second)


def _words(entry: str, first: Any, second: Any) -> str:
    if isinstance(first, np.ndarray) and isinstance(second, np.ndarray) and first.shape == second.shape:
        at = np.flatnonzero((first != second).ravel())
        if at.size:
            k = int(at[0])
            return f"{entry}[{k}] is {float(first.ravel()[k])!r}, then {float(second.ravel()[k])!r}"
        return f"{entry} differs in its bits"
    return f"{entry} is {_brief(first)}, then {_brief(second)}"


def _brief(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.size} values"
    return type(value).__name__ if is_dataclass(value) else str(value)
