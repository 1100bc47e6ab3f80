"""Where clusters may lie, as pure numbers: slots, the network between them, and which slots take which clusters."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.distinct import distinct

__all__ = ["Board", "Fabric", "fabric_code"]

_MATRIX = 4096
"""Slots up to which the distances around dead links are kept as a matrix: 128 MiB."""
_ROWS = 1 << 22
"""Distances worked out at a time where they are not kept."""
_MESH = ((1, 0), (0, 1), (-1, 0), (0, -1))
_HEXAGONAL = ((1, 0), (1, 1), (0, 1), (-1, 0), (-1, -1), (0, -1))
"""SpiNNaker's links E, NE, N, W, SW, S (github.com/SpiNNakerManchester/SpiNNMachine)."""


@dataclass(frozen=True, slots=True)
class Fabric:
    """The routers' network: how far two routers are from each other, and the way packets take.

    A link to a neighbour counts one hop, and `crossing` more for every boundary between chips that it crosses; a diagonal link may cross
    one between columns and one between rows.

    Args:
        size: (width, height) in routers; None means an endless mesh, which is enough without `wrap`, `dead` and `missing`.
        wrap: the last router of a row (and column) is next to the first one.
        hexagonal: a router also has links to (x + 1, y + 1) and (x - 1, y - 1), as on SpiNNaker.
        chip: (width, height) in routers of one chip; None means that everything is one chip.
        crossing: hops that a link from one chip to the next counts beyond an ordinary one.
        larger: (width, height, crossing) of larger units, such as boards and racks: width and height in routers, and what a link from one
            to the next counts beyond what it counts already.
        dead: (x, y, x, y) of links not to be used in either direction.
        missing: (x, y) of routers that do not exist or let nothing through.

    Raises:
        ValueError: a size is needed and missing, or the units do not fill a torus.
    """

    size: tuple[int, int] | None = None
    wrap: bool = False
    hexagonal: bool = False
    chip: tuple[int, int] | None = None
    crossing: int = 0
    larger: tuple[tuple[int, int, int], ...] = ()
    dead: tuple[tuple[int, int, int, int], ...] = ()
    missing: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.size is None and (self.wrap or self.faulty):
            raise ValueError("a torus, dead links and missing routers need the fabric's size")
        if self.wrap and self.size is not None and any(self.size[0] % unit[0] or self.size[1] % unit[1] for unit in self.units):
            raise ValueError("a torus must consist of whole chips")

    def __hash__(self) -> int:
        # Dead links and missing routers can be thousands, and fabrics that differ in them only are few.
        return hash((self.size, self.wrap, self.hexagonal, self.chip, self.crossing, self.larger, len(self.dead), len(self.missing)))

    @property
    def units(self) -> tuple[tuple[int, int, int], ...]:
        """(width, height, crossing) of the chip and of every larger unit whose boundary costs something."""
        chip = () if self.chip is None else ((*self.chip, self.crossing),)
        return tuple(unit for unit in (*chip, *self.larger) if unit[2])

    @property
    def faulty(self) -> bool:
        """Whether links or routers are missing, so that no closed form gives the distances."""
        return bool(self.dead or self.missing)

    @property
    def plain(self) -> bool:
        """Whether the distance is Manhattan's."""
        return not (self.wrap or self.hexagonal or self.units or self.faulty)

    def hops(self, first: Array, second: Array) -> Array:
        """Return the distance between routers pair by pair: the cost of the cheapest way.

        On a hexagonal fabric dx and dy of one sign share their diagonal links: max(|dx|, |dy|) hops, else |dx| + |dy|. On a torus each of
        dx and dy goes round either way, whichever makes the sum least.

        Args:
            first, second: (..., 2) int64 positions, broadcast against each other.

        Returns:
            int64 of the broadcast shape without its last axis.

        Raises:
            ValueError: dead links leave no way.
        """
        first, second = np.asarray(first), np.asarray(second)
        if self.plain:
            return np.asarray(np.abs(first - second).sum(-1))
        if self.faulty:
            return _around(self, first, second)
        return _shortest(self, first, second)

    def route(self, first: Array, second: Array) -> Array:
        """Return the routers a packet passes, (k, 2) int64, both ends included.

        Packets go along x, then along y; on a torus the shorter way round, the positive one of two equal ones. On a hexagonal fabric they
        go along the longest of x, y and the diagonal first, as SpiNNaker's (equal ones in this order). Where that meets a dead link or a
        missing router, they take a shortest way, along the first such link in the order of `links` around each router.

        Args:
            first, second: (2,) positions.

        Raises:
            ValueError: dead links leave no way.
        """
        x, y = int(first[0]), int(first[1])
        dx, dy = _displacement(self, (x, y), (int(second[0]), int(second[1])))
        # (1, 1) steps that replace one along x and one along y each.
        slant = (min(dx, dy) if dx > 0 else max(dx, dy)) if self.hexagonal and dx * dy > 0 else 0
        legs = [((1, 0), dx - slant), ((0, 1), dy - slant), ((1, 1), slant)]
        if self.hexagonal:
            legs.sort(key=lambda leg: -abs(leg[1]))
        steps = np.array([[x, y], *([sx, sy] if count > 0 else [-sx, -sy] for (sx, sy), count in legs)], np.int64)
        way = np.cumsum(np.repeat(steps, [1, *(abs(count) for _, count in legs)], axis=0), 0)
        if self.wrap:
            way %= np.array(self.size, np.int64)
        if self.faulty and not _intact(self, way):
            return _way_around(self, way[0], way[-1])
        return way

    def links(self) -> Array:
        """Return the directed links, (m, 4) int64 (x, y, x, y), ascending by row and column of either end.

        Raises:
            ValueError: the fabric is an endless mesh.
        """
        neighbour, _ = _network(self)
        routers, fan = neighbour.shape
        origin = np.repeat(np.arange(routers), fan)
        there = neighbour.ravel()
        used = (there >= 0) & (there != origin)
        pairs = distinct(origin[used] * routers + there[used])
        width = _width(self)
        a, b = pairs // routers, pairs % routers
        return np.stack([a % width, a // width, b % width, b // width], 1)

    def reached(self, start: tuple[int, int], positions: Array) -> Array:
        """Return which of some routers, (m, 2) positions, packets from `start` can reach: (m,) bool.

        Raises:
            ValueError: the fabric is an endless mesh.
        """
        far = _ways(self, np.array([_index(self, np.array(start, np.int64))], np.int64))[0]
        return np.asarray(far[_index(self, positions)] >= 0)


def fabric_code(fabric: Fabric) -> tuple[int, Array]:
    """Return a fabric as numbers for `nmap.place.hops.hops_kernel`, the compiled distance between two routers.

    Returns:
        The code (0 for Manhattan's distance; 1 wrap, 2 hexagonal, 4 units with crossings, added), and (2 + 3 units,) int64: width and
        height of the fabric (0 where endless), then width, height and crossing of each of `fabric.units`. Dead links and missing routers
        are not part of it: with `fabric.faulty` the kernel gives lower bounds, and `Board.distance` the distances.
    """
    units = fabric.units
    code = (1 if fabric.wrap else 0) + (2 if fabric.hexagonal else 0) + (4 if units else 0)
    return code, np.array([*(fabric.size or (0, 0)), *(number for unit in units for number in unit)], np.int64)


def _ways_round(fabric: Fabric, axis: int, a: Array, b: Array) -> list[tuple[Array, Array]]:
    """Return the ways from `a` to `b` along an axis, each as (signed steps, hops for boundaries crossed): one, or two on a torus."""
    if not fabric.wrap or fabric.size is None:
        ways = [b - a]
    else:
        ways = [(b - a) % fabric.size[axis], -((a - b) % fabric.size[axis])]
    crossed = [np.zeros_like(steps) for steps in ways]
    for unit in fabric.units:
        crossed = [
            hops + unit[2] * np.abs((a + steps) // unit[axis] - a // unit[axis]) for hops, steps in zip(crossed, ways, strict=True)
        ]
    return list(zip(ways, crossed, strict=True))


def _costs(fabric: Fabric, x: tuple[Array, Array], y: tuple[Array, Array]) -> Array:
    """Return the hops of a way along x together with one along y."""
    along = np.abs(x[0]) + np.abs(y[0])
    if fabric.hexagonal:
        along = np.where(x[0] * y[0] > 0, np.maximum(np.abs(x[0]), np.abs(y[0])), along)
    return np.asarray(along + x[1] + y[1])


def _shortest(fabric: Fabric, first: Array, second: Array) -> Array:
    across = _ways_round(fabric, 0, first[..., 0], second[..., 0])
    up = _ways_round(fabric, 1, first[..., 1], second[..., 1])
    least = _costs(fabric, across[0], up[0])
    for x in across:
        for y in up:
            least = np.minimum(least, _costs(fabric, x, y))
    return least


def _displacement(fabric: Fabric, first: tuple[int, int], second: tuple[int, int]) -> tuple[int, int]:
    """Return the signed steps along x and y of the cheapest way without regard to dead links; positive ones before negative ones."""
    if not fabric.wrap:
        return second[0] - first[0], second[1] - first[1]
    a, b = np.array(first, np.int64), np.array(second, np.int64)
    ways = [(x, y) for x in _ways_round(fabric, 0, a[0], b[0]) for y in _ways_round(fabric, 1, a[1], b[1])]
    x, y = min(ways, key=lambda way: int(_costs(fabric, *way)))
    return int(x[0]), int(y[0])


def _width(fabric: Fabric) -> int:
    if fabric.size is None:
        raise ValueError("an endless mesh has no list of links")
    return fabric.size[0]


def _index(fabric: Fabric, positions: Array) -> Array:
    """Return router numbers, row by row, of (..., 2) positions."""
    positions = np.asarray(positions)
    return np.asarray(positions[..., 1] * _width(fabric) + positions[..., 0])


@lru_cache(maxsize=8)
def _network(fabric: Fabric) -> tuple[Array, Array]:
    """Return (routers, links of a router) int64: the router at the end of every link, -1 for none, and the link's hops."""
    width = _width(fabric)
    height = fabric.size[1] if fabric.size else 0
    y, x = (grid.ravel() for grid in np.indices((height, width)))
    ends, costs = [], []
    for dx, dy in _HEXAGONAL if fabric.hexagonal else _MESH:
        to_x, to_y = x + dx, y + dy
        cost = np.ones(x.size, np.int64)
        for w, h, crossing in fabric.units:
            cost += crossing * (np.abs(to_x // w - x // w) + np.abs(to_y // h - y // h))
        end = to_y % height * width + to_x % width
        if not fabric.wrap:
            end[(to_x < 0) | (to_x >= width) | (to_y < 0) | (to_y >= height)] = -1
        ends.append(end)
        costs.append(cost)
    neighbour, cost = np.stack(ends, 1).astype(np.int64), np.stack(costs, 1)
    if fabric.missing:
        gone = _index(fabric, np.array(fabric.missing, np.int64))
        neighbour[gone] = -1
        neighbour[np.isin(neighbour, gone)] = -1
    if fabric.dead:
        pairs = np.array(fabric.dead, np.int64)
        a, b = _index(fabric, pairs[:, :2]), _index(fabric, pairs[:, 2:])
        routers = width * height
        key = np.arange(routers)[:, None] * routers + neighbour
        neighbour[(neighbour >= 0) & np.isin(key, np.concatenate([a * routers + b, b * routers + a]))] = -1
    return frozen_array(neighbour, np.int64), frozen_array(cost, np.int64)


def _ways(fabric: Fabric, source: Array) -> Array:
    """Return (sources, routers) int64: the hops from some routers to all, -1 where there is no way."""
    from nmap.place.hops import walk

    return np.asarray(walk(*_network(fabric), source))


def _around(fabric: Fabric, first: Array, second: Array) -> Array:
    """Return the distances around dead links, pair by pair."""
    a, b = np.broadcast_arrays(_index(fabric, first), _index(fabric, second))
    shape = a.shape
    a, b = a.ravel(), b.ravel()
    if np.unique(a).size > np.unique(b).size:
        a, b = b, a
    source, where = np.unique(a, return_inverse=True)
    order = np.argsort(where, kind="stable")
    hops = np.empty(a.size, np.int64)
    step = max(1, _ROWS // max(1, _network(fabric)[0].shape[0]))
    for low in range(0, source.size, step):
        begin, end = np.searchsorted(where[order], [low, low + step])
        chosen = order[begin:end]
        hops[chosen] = _ways(fabric, source[low : low + step])[where[chosen] - low, b[chosen]]
    if (hops < 0).any():
        k = int(np.flatnonzero(hops < 0)[0])
        raise _no_way(fabric, a[k], b[k])
    return hops.reshape(shape)


def _no_way(fabric: Fabric, a: int, b: int) -> ValueError:
    width = _width(fabric)
    return ValueError(f"no way leads from router ({a % width}, {a // width}) to router ({b % width}, {b // width})")


def _intact(fabric: Fabric, way: Array) -> bool:
    """Return whether every step of a way is a link."""
    neighbour, _ = _network(fabric)
    router = _index(fabric, way)
    return bool((neighbour[router[:-1]] == router[1:, None]).any(1).all())


def _way_around(fabric: Fabric, first: Array, second: Array) -> Array:
    """Return a shortest way around dead links."""
    neighbour, cost = _network(fabric)
    goal, width = int(_index(fabric, second)), _width(fabric)
    far = _ways(fabric, np.array([goal], np.int64))[0]
    way = [int(_index(fabric, first))]
    if far[way[0]] < 0:
        raise _no_way(fabric, way[0], goal)
    while way[-1] != goal:
        at = way[-1]
        nearer = (neighbour[at] >= 0) & (far[neighbour[at]] + cost[at] == far[at])
        way.append(int(neighbour[at, int(np.argmax(nearer))]))
    routers = np.array(way, np.int64)
    return np.stack([routers % width, routers // width], 1)


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """Usable slots of a machine.

    Args:
        slots: (slots, 2) int64 (x, y) of every usable slot's router; dead cores are not listed. Several slots may share a router.
        port: (x, y) of the input port's router.
        fabric: the network between routers.
        distance: (slots, slots) int64 hops between slots, symmetric, where no closed form holds; None means `fabric.hops`. Left out, it is
            worked out for up to 4096 slots on a fabric with dead links; larger boards ask the fabric pair by pair, and their parts have it.
        port_distance: (slots,) int64 hops from the port, where `distance` is given; None means `fabric.hops`.
        kind: (slots,) int64, class of each slot; a cluster only goes to slots of its own class. None means that all are alike.

    Raises:
        ValueError: the distances are not symmetric, or dead links leave no way between slots.
    """

    slots: Array
    port: tuple[int, int] = (0, 0)
    fabric: Fabric = field(default_factory=Fabric)
    distance: Array | None = None
    port_distance: Array | None = None
    kind: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "slots", frozen_array(self.slots, np.int64))
        if self.fabric.faulty and self.distance is None and self.slots.shape[0] <= _MATRIX:
            object.__setattr__(self, "distance", _matrix(self.fabric, self.slots))
            if self.port_distance is None:
                object.__setattr__(self, "port_distance", self.fabric.hops(self.slots, np.asarray(self.port, np.int64)))
        for name in ("distance", "port_distance", "kind"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, frozen_array(getattr(self, name), np.int64))
        if self.distance is not None and not np.array_equal(self.distance, self.distance.T):
            raise ValueError("distances between slots must be symmetric")

    @property
    def size(self) -> int:
        """Number of slots."""
        return int(self.slots.shape[0])

    @property
    def plain(self) -> bool:
        """Whether the distance between slots is Manhattan's."""
        return self.distance is None and self.fabric.plain

    def hops(self) -> Array:
        """Return (slots, slots) int64 distances."""
        if self.distance is not None:
            return np.asarray(self.distance, np.int64)
        if self.fabric.faulty:
            return _matrix(self.fabric, self.slots)
        return self.fabric.hops(self.slots[:, None, :], self.slots[None, :, :])

    def hops_between(self, first: Array, second: Array) -> Array:
        """Return the distances between slots pair by pair, (m,) int64, without the matrix of all of them."""
        if self.distance is not None:
            return np.asarray(self.distance[first, second], np.int64)
        return self.fabric.hops(self.slots[first], self.slots[second])

    def port_hops(self) -> Array:
        """Return (slots,) int64 distances from the input port."""
        if self.port_distance is not None:
            return np.asarray(self.port_distance, np.int64)
        return self.fabric.hops(self.slots, np.asarray(self.port, np.int64))

    def part(self, chosen: Array) -> Board:
        """Return the board of some of the slots, (k,) int64 indices."""
        return Board(
            self.slots[chosen], self.port, self.fabric, None if self.distance is None else self.distance[np.ix_(chosen, chosen)],
            None if self.port_distance is None else self.port_distance[chosen], None if self.kind is None else self.kind[chosen],
        )


def _matrix(fabric: Fabric, slots: Array) -> Array:
    """Return the distances between all slots around dead links, working each router's out once."""
    router, where = np.unique(_index(fabric, slots), return_inverse=True)
    far = np.empty((router.size, router.size), np.int64)
    step = max(1, _ROWS // max(1, _network(fabric)[0].shape[0]))
    for low in range(0, router.size, step):
        far[low : low + step] = _ways(fabric, router[low : low + step])[:, router]
    if (far < 0).any():
        a, b = np.argwhere(far < 0)[0]
        raise _no_way(fabric, router[a], router[b])
    return far if where.size == router.size and np.array_equal(where, np.arange(where.size)) else far[np.ix_(where.ravel(), where.ravel())]
