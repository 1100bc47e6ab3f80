"""Which links packets take: ways, multicast trees, and the load of every link."""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, fsum

import numpy as np

from nmap.connectivity import Array
from nmap.place.board import Board, Fabric
from nmap.place.metric import Metric, measure
from nmap.place.problem import Nets

__all__ = ["LinkLoads", "link_hops", "link_loads", "tree_hops", "ways"]


@dataclass(frozen=True, slots=True, eq=False)
class LinkLoads:
    """Packets per step on directed links; links without any are left out.

    Args:
        link: (m, 4) int64 (x, y, x, y), from a router to the next one, ascending.
        load: (m,) float64 packets per step.
    """

    link: Array
    load: Array

    @property
    def largest(self) -> float:
        """The heaviest link's packets per step."""
        return float(self.load.max(initial=0.0))


def ways(fabric: Fabric, first: Array, second: Array) -> tuple[Array, Array]:
    """Return the links of the routes between routers pair by pair.

    Args:
        fabric: gives the routes.
        first, second: (m, 2) int64 positions.

    Returns:
        (m + 1,) int64, compressed rows, and (k, 4) int64 links (x, y, x, y) in the order a packet takes them.

    Raises:
        ValueError: dead links leave no way.
    """
    first, second = np.asarray(first, np.int64).reshape(-1, 2), np.asarray(second, np.int64).reshape(-1, 2)
    # Without boundaries and faults a route depends on the displacement only.
    alike = not fabric.units and not fabric.faulty
    shift = second - first
    if fabric.wrap and alike:
        shift %= np.array(fabric.size, np.int64)
    distinct, where = np.unique(shift if alike else np.concatenate([first, second], 1), axis=0, return_inverse=True)
    # Somewhere in the middle, so that no position is negative on an endless mesh.
    origin = np.maximum(0, -distinct.min(0, initial=0)) if alike else np.zeros(2, np.int64)
    steps = []
    for row in distinct:
        end = origin + row if alike else row[2:]
        if alike and fabric.wrap:
            end = end % np.array(fabric.size, np.int64)
        way = fabric.route(origin if alike else row[:2], end)
        steps.append(np.concatenate([way[:-1], way[1:]], 1))
    length = np.array([step.shape[0] for step in steps], np.int64)
    where = where.ravel()
    start = np.concatenate([[0], np.cumsum(length[where])]).astype(np.int64)
    begin = np.cumsum(length) - length
    entry = np.arange(start[-1]) - np.repeat(start[:-1] - begin[where], length[where])
    link = np.concatenate([np.zeros((0, 4), np.int64), *steps])[entry]
    if alike:
        link = link + np.tile(np.repeat(first - origin, length[where], axis=0), 2)
        if fabric.wrap:
            link %= np.array([*(fabric.size or (1, 1))] * 2, np.int64)
    return start, link


def _pins(nets: Nets, slot: Array) -> tuple[Array, Array, Array]:
    """Return of every packet's copy its net, the slot it comes from (-1 for the port) and the slot it goes to."""
    net = np.repeat(np.arange(nets.source.size), np.diff(nets.start))
    source = nets.source[net]
    at = np.where(source >= 0, slot[source] if slot.size else source, -1)
    return net, at, slot[nets.target]


def _ends(metric: Metric, at: Array) -> tuple[Array, Array]:
    """Return columns and rows of slots, -1 being the port."""
    return np.append(metric.x, metric.port[0])[at], np.append(metric.y, metric.port[1])[at]


def _positions(board: Board, at: Array) -> Array:
    return np.concatenate([board.slots, np.array([board.port], np.int64)])[at]


def tree_hops(board: Board, nets: Nets, slot: Array) -> Array:
    """Return (nets,) int64: the hops of the links on the routes from each net's source to its targets, each link counted once.

    Args:
        board: the slots and the network between them.
        nets: the packets.
        slot: (clusters,) int64.
    """
    hops = np.zeros(nets.source.size, np.int64)
    if not nets.target.size:
        return hops
    net, at, to = _pins(nets, slot)
    # Along x, then along y: such ways leave the source's row once for every column and direction.
    if not (board.fabric.hexagonal or board.fabric.faulty):
        metric = measure(Board(board.slots, board.port, board.fabric))
        (sx, sy), (tx, ty) = _ends(metric, at), _ends(metric, to)
        for key, far in (
            (net * 2 + metric.forth[sx, tx], metric.across[sx, tx]),
            ((net * metric.column.size + tx) * 2 + metric.upward[sy, ty], metric.up[sy, ty]),
        ):
            branch, where = np.unique(key, return_inverse=True)
            longest = np.zeros(branch.size, np.int64)
            np.maximum.at(longest, where.ravel(), far)
            of = np.zeros(branch.size, np.int64)
            of[where.ravel()] = net
            np.add.at(hops, of, longest)
        return hops
    start, link = ways(board.fabric, _positions(board, at), _positions(board, to))
    row = np.unique(np.concatenate([np.repeat(net, np.diff(start))[:, None], link], 1), axis=0)
    np.add.at(hops, row[:, 0], link_hops(board.fabric, row[:, 1:]))
    return hops


def link_hops(fabric: Fabric, link: Array) -> Array:
    """Return what links count, (m,) int64 hops; (m, 4) links between neighbours."""
    if not fabric.units:
        return np.ones(link.shape[0], np.int64)
    return np.asarray(fabric.hops(link[:, :2], link[:, 2:]), np.int64)


def link_loads(board: Board, slot: Array, source: Array, target: Array, weight: Array, nets: Nets | None = None) -> LinkLoads:
    """Return the load of every link under the fabric's routes.

    Args:
        board: the slots and the network between them.
        slot: (clusters,) int64.
        source, target, weight: (m,) the traffic as one packet per pair, as in `PlacementProblem`.
        nets: the traffic as multicast packets instead, each of which takes a link once.
    """
    if nets is None:
        net = np.arange(source.size)
        at, to = np.where(source >= 0, slot[source] if slot.size else source, -1), slot[target]
    else:
        net, at, to = _pins(nets, slot)
        weight = nets.weight
    # Whole numbers: sums that do not depend on an order.
    unit = 2.0 ** (52 - frexp(max(fsum(weight.tolist()), 1e-200))[1])
    whole = np.floor(weight * unit).astype(np.int64)
    first, second = _positions(board, at), _positions(board, to)
    if not (board.fabric.hexagonal or board.fabric.faulty or board.fabric.wrap):
        return _mesh_loads(first, second, net, whole, unit)
    start, link = ways(board.fabric, first, second)
    of = np.repeat(net, np.diff(start))
    if nets is not None:
        row = np.unique(np.concatenate([of[:, None], link], 1), axis=0)
        of, link = row[:, 0], row[:, 1:]
    distinct, where = np.unique(link, axis=0, return_inverse=True)
    load = np.zeros(distinct.shape[0], np.int64)
    np.add.at(load, where.ravel(), whole[of])
    return LinkLoads(distinct[load > 0], load[load > 0] / unit)


def _mesh_loads(first: Array, second: Array, net: Array, whole: Array, unit: float) -> LinkLoads:
    """Return the loads on a mesh: the longest of a net's ways along each row and column, as differences along them.

    Pairs are nets of one target, so that both kinds of traffic are one case.
    """
    low = np.minimum(first, second).min(0, initial=0)
    width, height = (int(v) for v in np.maximum(first, second).max(0, initial=0) - low + 1)
    sx, sy = (first - low).T
    tx, ty = (second - low).T
    links, loads = [], []
    # Where a way runs (row or column), from where, how far, and in which direction.
    legs = ((net * 2 + (tx > sx), sy, sx, tx, width, False), ((net * width + tx) * 2 + (ty > sy), tx, sy, ty, height, True))
    for key, lane, begin, end, length, upright in legs:
        far = np.abs(end - begin)
        order = np.lexsort((-far, key))
        order = order[np.append(True, key[order][1:] != key[order][:-1])] if order.size else order
        order = order[far[order] > 0]
        for sign in (1, -1):
            chosen = order[np.sign(end[order] - begin[order]) == sign]
            change = np.zeros((height if not upright else width, length + 1), np.int64)
            near, distant = np.minimum(begin, end)[chosen], np.maximum(begin, end)[chosen]
            np.add.at(change, (lane[chosen], near), whole[net[chosen]])
            np.add.at(change, (lane[chosen], distant), -whole[net[chosen]])
            load = np.cumsum(change, 1)
            where, link = np.nonzero(load)
            a, b = (link, link + 1) if sign > 0 else (link + 1, link)
            ends = [where, a, where, b] if upright else [a, where, b, where]
            links.append(np.stack(ends, 1) + np.tile(low, 2))
            loads.append(load[where, link])
    link, load = np.concatenate(links), np.concatenate(loads)
    order = np.lexsort(link.T[::-1])
    return LinkLoads(link[order].astype(np.int64), load[order] / unit)
