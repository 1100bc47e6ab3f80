"""Routing tables of a placed program: multicast trees, entries, and what is left of them after merging.

A slice's packets run along a tree: the routes of the fabric, longest dimension first, each joined to the tree where it last meets it. At a
router where packets come in by a link and leave by the opposite one only, no entry is needed. Elsewhere the keys of a population are
covered by as few aligned blocks as are possible without overlap; keys that never come to a router may be covered by any entry.

Tables of more than 1023 entries are compressed: entries may then overlap, and the first that matches counts. The blocks of all keys form a
binary tree, on which prefixes are chosen from the leaves up and then from the root down, as by Draves et al. 1999 for address tables, which
gives the fewest entries of this kind.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from nmap.place.board import Fabric
from nmap_spinnaker.keys import KEY_BITS

__all__ = ["ENTRIES", "Arrival", "Entry", "Net", "compress", "decode", "merge", "processor", "trees"]

ENTRIES = 1023
"""Entries of a router's table that are free for applications (version_spin1.py)."""
_STEPS = ((1, 0), (1, 1), (0, 1), (-1, 0), (-1, -1), (0, -1))
"""Links 0 to 5: east, north-east, north, west, south-west, south."""
_FULL = (1 << KEY_BITS) - 1


def processor(core: int) -> int:
    """Return the processor's number of a core: 0 is the monitor program's, 1 the extra monitor's (see chip1.toml, `lacking`)."""
    return core + 2


@dataclass(frozen=True, slots=True)
class Net:
    """The packets of one slice.

    Args:
        key: its first key.
        bits: its block has 2^bits keys.
        source: (x, y) of its router.
        targets: (x, y, processor) of every core that listens.
    """

    key: int
    bits: int
    source: tuple[int, int]
    targets: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A block of keys that comes to a router.

    Args:
        key, bits: the block.
        route: where it goes on: bit k for link k, bit 6 + p for processor p.
        straight: whether it goes there without an entry.
    """

    key: int
    bits: int
    route: int
    straight: bool = False


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of a table: keys with `key` under `mask` take `route`."""

    key: int
    mask: int
    route: int


def trees(fabric: Fabric, nets: Iterable[Net]) -> dict[tuple[int, int], list[Arrival]]:
    """Return by router which blocks come to it and where they go.

    Args:
        fabric: gives routes between routers.
        nets: of all slices; no two blocks overlap.

    Raises:
        ValueError: dead links leave no way.
    """
    ways: dict[tuple[int, int, int, int], list[tuple[int, int]]] = {}
    found: dict[tuple[int, int], list[Arrival]] = {}
    for net in nets:
        if not net.targets:
            continue
        routes: dict[tuple[int, int], int] = {net.source: 0}
        came: dict[tuple[int, int], int] = {}
        for x, y, number in net.targets:
            ends = (*net.source, x, y)
            way = ways.get(ends)
            if way is None:
                routers = fabric.route(np.array(net.source), np.array([x, y])).tolist()
                way = ways[ends] = [(a, b) for a, b in routers]
            joined = max(k for k, router in enumerate(way) if router in routes)
            for here, there in zip(way[joined:-1], way[joined + 1 :], strict=True):
                link = _link(fabric, here, there)
                routes[here] |= 1 << link
                routes.setdefault(there, 0)
                came[there] = link
            routes[x, y] |= 1 << (6 + number)
        for router, route in routes.items():
            found.setdefault(router, []).append(Arrival(net.key, net.bits, route, router in came and route == 1 << came[router]))
    return found


def _link(fabric: Fabric, here: tuple[int, int], there: tuple[int, int]) -> int:
    for number, (dx, dy) in enumerate(_STEPS):
        x, y = here[0] + dx, here[1] + dy
        if fabric.wrap and fabric.size is not None:
            x, y = x % fabric.size[0], y % fabric.size[1]
        if (x, y) == there:
            return number
    raise ValueError(f"no link leads from {here} to {there}")


def merge(arrivals: Sequence[Arrival], zone_bits: int) -> list[Entry]:
    """Return a router's table: the fewest aligned blocks within each zone that do not overlap.

    Args:
        arrivals: the blocks that come to the router, none overlaps another.
        zone_bits: a zone has 2^zone_bits keys; blocks of different zones are not merged.
    """
    zones: dict[int, list[Arrival]] = {}
    for arrival in sorted(arrivals, key=lambda a: a.key):
        zones.setdefault(arrival.key >> zone_bits, []).append(arrival)
    return [entry for zone, blocks in sorted(zones.items()) for entry in _blocks(blocks, zone << zone_bits, zone_bits)]


def _blocks(arrivals: Sequence[Arrival], first: int, bits: int) -> list[Entry]:
    if all(arrival.straight for arrival in arrivals):
        return []
    if len({arrival.route for arrival in arrivals}) == 1:
        return [Entry(first, _mask(bits), arrivals[0].route)]
    low, high = _halves(arrivals, first, bits)
    return [*_blocks(low, first, bits - 1), *_blocks(high, first + (1 << (bits - 1)), bits - 1)]


def _halves(arrivals: Sequence[Arrival], first: int, bits: int) -> tuple[Sequence[Arrival], Sequence[Arrival]]:
    middle = first + (1 << (bits - 1))
    at = next((k for k, arrival in enumerate(arrivals) if arrival.key >= middle), len(arrivals))
    return arrivals[:at], arrivals[at:]


def _mask(bits: int) -> int:
    return _FULL ^ ((1 << bits) - 1)


@dataclass(frozen=True, slots=True)
class _Node:
    """A block of the key tree.

    Args:
        first, bits: the block.
        routes: one of these above it saves an entry for it.
        inside: entries below it when one of `routes` is above it.
        bare: entries below it, or for it, when none is above it.
        halves: where keys of it lie.
    """

    first: int
    bits: int
    routes: frozenset[int]
    inside: int
    bare: int
    halves: tuple[_Node, ...] = ()


def compress(arrivals: Sequence[Arrival]) -> list[Entry]:
    """Return a router's table with entries that overlap, longest masks first; see the module.

    Args:
        arrivals: as for `merge`.
    """
    if not arrivals:
        return []
    entries: list[Entry] = []
    waiting: list[tuple[_Node, int | None]] = [(_tree(sorted(arrivals, key=lambda a: a.key), 0, KEY_BITS), None)]
    while waiting:
        node, above = waiting.pop()
        if above is None and (not node.bare or (node.halves and sum(half.bare for half in node.halves) <= node.inside + 1)):
            waiting += [(half, None) for half in node.halves if node.bare]
            continue
        if above not in node.routes:
            above = min(node.routes)
            entries.append(Entry(node.first, _mask(node.bits), above))
        waiting += [(half, above) for half in node.halves]
    return sorted(entries, key=lambda entry: (-entry.mask, entry.key))


def _tree(arrivals: Sequence[Arrival], first: int, bits: int) -> _Node:
    """Return the tree of some blocks, of which there is one."""
    free = all(arrival.straight for arrival in arrivals)
    if len({arrival.route for arrival in arrivals}) == 1:
        return _Node(first, bits, frozenset({arrivals[0].route}), 0, 0 if free else 1)
    middle = first + (1 << (bits - 1))
    parts = zip(_halves(arrivals, first, bits), (first, middle), strict=True)
    halves = tuple(_tree(part, start, bits - 1) for part, start in parts if part)
    common = frozenset.intersection(*(half.routes for half in halves))
    inside = sum(half.inside for half in halves) + (0 if common else 1)
    bare = 0 if free else min(inside + 1, sum(half.bare for half in halves))
    return _Node(first, bits, common or frozenset.union(*(half.routes for half in halves)), inside, bare, halves)


def decode(entries: Sequence[Entry], key: int) -> int | None:
    """Return the route of the first entry that matches a key; None where none does."""
    return next((entry.route for entry in entries if key & entry.mask == entry.key), None)
