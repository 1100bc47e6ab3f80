"""Distances of a board in the form that search and bounds want: a table by column and one by row, or one by place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array
from nmap.place.board import Board, Fabric

__all__ = ["Metric", "Mover", "measure", "mover"]


@dataclass(frozen=True, slots=True, eq=False)
class Metric:
    """Where slots lie and how far apart they are.

    Where packets go along x and then along y, hops are a sum of a column's and a row's part, and the tables are small. Elsewhere
    `matrix` holds the hops between places; slots at one router are one place unless the board gives its own distances.

    Args:
        x, y: (slots,) int64, column and row of each slot, counted over those in use (the port's included).
        column, row: (columns,) and (rows,) int64, their positions.
        port: (column, row) of the input port.
        across: (columns, columns) int64 hops between columns; up: the same between rows. Zero where there is a matrix.
        forth, upward: (columns, columns) and (rows, rows) bool, whether a packet goes in the positive direction (the way round a torus).
        place: (slots,) int64; matrix: (places, places) int64, or (0, 0) without one.
        wrap: whether the last column lies next to the first one.
    """

    x: Array
    y: Array
    column: Array
    row: Array
    port: tuple[int, int]
    across: Array
    up: Array
    forth: Array
    upward: Array
    place: Array
    matrix: Array
    wrap: bool

    @property
    def separable(self) -> bool:
        """Whether hops are a column's part and a row's part."""
        return self.matrix.shape[0] == 0

    @property
    def plain(self) -> bool:
        """Whether hops are the differences of columns and of rows."""
        tables = self.across, self.up
        return self.separable and all(
            np.array_equal(table, np.abs(np.arange(table.shape[0])[:, None] - np.arange(table.shape[0]))) for table in tables
        )


def _axis(fabric: Fabric, axis: int, position: Array) -> tuple[Array, Array]:
    """Return the hops between positions along an axis, (n, n) int64, and whether packets go up it, (n, n) bool."""
    at, to = position[:, None], position[None, :]
    if not fabric.wrap or fabric.size is None:
        ways = [to - at]
    else:
        ways = [(to - at) % fabric.size[axis], -((at - to) % fabric.size[axis])]
    hops = [np.abs(way) for way in ways]
    for unit in fabric.units:
        hops = [far + unit[2] * np.abs((at + way) // unit[axis] - at // unit[axis]) for far, way in zip(hops, ways, strict=True)]
    if len(hops) == 1:
        return hops[0].astype(np.int64), np.asarray(ways[0] >= 0)
    return np.minimum(*hops).astype(np.int64), np.asarray(hops[0] <= hops[1])


def measure(board: Board) -> Metric:
    """Return the distances of a board; a matrix only where its routes are not first along x, then along y."""
    slots = board.slots.reshape(-1, 2)
    column, x = np.unique(np.append(slots[:, 0], board.port[0]), return_inverse=True)
    row, y = np.unique(np.append(slots[:, 1], board.port[1]), return_inverse=True)
    x, y = x.ravel().astype(np.int64), y.ravel().astype(np.int64)
    port = (int(x[-1]), int(y[-1]))
    every = np.arange(board.size)
    none = np.zeros((0, 0), np.int64)
    if board.distance is None and not board.fabric.hexagonal and not board.fabric.faulty:
        across, forth = _axis(board.fabric, 0, column)
        up, upward = _axis(board.fabric, 1, row)
        return Metric(x[:-1], y[:-1], column, row, port, across, up, forth, upward, every, none, board.fabric.wrap)
    if board.distance is not None:
        place, matrix = every, np.asarray(board.distance, np.int64)
    else:
        _, first, where = np.unique(slots, axis=0, return_index=True, return_inverse=True)
        place = where.ravel().astype(np.int64)
        matrix = board.part(first).hops()
    flat = [np.zeros((a.size, a.size), kind) for kind in (np.int64, np.bool_) for a in (column, row)]
    matrix = np.array(matrix, np.int64)
    return Metric(x[:-1], y[:-1], column, row, port, flat[0], flat[1], flat[2], flat[3], place, matrix, board.fabric.wrap)


@dataclass(frozen=True, slots=True, eq=False)
class Mover:
    """What random moves are drawn from.

    Args:
        cells: (classes, columns, rows, 2) int64, first entry and number of entries of `listed` for the slots of a class in a cell.
        listed: (slots,) int64, slots by class and cell.
        kind: (clusters,) int64 class of each cluster, 0 for all without classes.
        movable: (movable,) int64 clusters that are not pinned.
        fixed: (clusters,) bool.
    """

    cells: Array
    listed: Array
    kind: Array
    movable: Array
    fixed: Array


def mover(metric: Metric, slot_kind: Array | None, kind: Array | None, pinned: Array | None, clusters: int) -> Mover:
    """Gather slots by class and cell, and the clusters that may move.

    Args:
        metric: of the board.
        slot_kind: (slots,) class of each slot, None for one class.
        kind: (clusters,) class of each cluster, None for one class.
        pinned: (clusters,) slot of each pinned cluster, -1 for the others; None pins none.
        clusters: their number.
    """
    columns, rows = metric.column.size, metric.row.size
    if slot_kind is None or kind is None:
        classes, of_slot, of_cluster = 1, np.zeros(metric.x.size, np.int64), np.zeros(clusters, np.int64)
    else:
        names, which = np.unique(np.concatenate([slot_kind, kind]), return_inverse=True)
        classes, of_slot, of_cluster = names.size, which.ravel()[: slot_kind.size], which.ravel()[slot_kind.size :]
    cell = (of_slot * columns + metric.x) * rows + metric.y
    count = np.bincount(cell, minlength=classes * columns * rows)
    cells = np.stack([np.cumsum(count) - count, count], 1).reshape(classes, columns, rows, 2)
    fixed = np.zeros(clusters, np.bool_) if pinned is None else pinned >= 0
    return Mover(
        cells.astype(np.int64), np.argsort(cell, kind="stable").astype(np.int64), of_cluster.astype(np.int64), np.flatnonzero(~fixed), fixed
    )
