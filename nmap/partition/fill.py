"""Packing without a solver: fill cores by decreasing items, several ways, and keep the best.

Every packing algorithm can start from it and use its helpers. One piece per item and cluster is enough wherever demand tables are
subadditive, and is always feasible.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array
from nmap.partition.problem import PackingProblem, PackingSolution, Piece

__all__ = ["Filled", "balance", "fill", "finish", "fits", "loads", "most_cores", "quality", "seams", "spend_slack"]


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """A packing as a matrix. It may use more cores than there are, in all or of a class.

    Args:
        units: (items, clusters) int64, units of an item on a cluster; the taken cores first, the others non-empty.
        kind: (clusters,) int64, class of each cluster; -1 for the taken cores.
    """

    units: Array
    kind: Array

    @property
    def clusters(self) -> int:
        """Number of clusters, taken cores included."""
        return int(self.kind.size)


class _Cores:
    """Cores opened so far, with what they hold."""

    def __init__(self, problem: PackingProblem, thrifty: bool = False) -> None:
        self.problem = problem
        self.thrifty = thrifty
        self.count = problem.old
        rows = problem.old + 16
        self._free = np.zeros((rows, len(problem.resources)), np.int64)
        self._units = np.zeros((rows, len(problem.items)), np.int64)
        self._kind = np.full(rows, -1, np.int64)
        self._free[: self.count] = problem.rooms(self._kind[: self.count])
        # Whole numbers, so that the order of a sum cannot change a choice.
        self._price = (1 << 20) // np.maximum(problem.capacity, 1)
        self._left = [core.cores for core in problem.kinds]
        self._rooms = np.stack([core.capacity for core in problem.kinds])

    @property
    def filled(self) -> Filled:
        """What the cores hold."""
        return Filled(self._units[: self.count].T.copy(), self._kind[: self.count].copy())

    def open(self, index: int, units: int, copies: int = 1) -> int:
        """Put pieces of at most `units` on that many new cores; return their size, fewer than `units` where no free core takes more."""
        most = np.minimum(self.problem.items[index].most_units(self._rooms), units)
        # Beyond the cores there are, an answer shows how many it would take.
        enough = [bool(most[k]) and (left >= copies or not self.problem.classes) for k, left in enumerate(self._left)]
        if not any(enough):
            enough = [bool(units) for units in most]
        size = self._rooms @ self._price
        kind = max((k for k in range(most.size) if enough[k]), key=lambda k: (most[k], -size[k] if self.thrifty else size[k], -k))
        self._left[kind] -= copies
        stop = self.count + copies
        if stop > self._free.shape[0]:
            grow = max(stop, 2 * self._free.shape[0]) - self._free.shape[0]
            self._free = np.pad(self._free, ((0, grow), (0, 0)))
            self._units = np.pad(self._units, ((0, grow), (0, 0)))
            self._kind = np.pad(self._kind, (0, grow))
        new = np.arange(self.count, stop)
        self._free[new] = self._rooms[kind]
        self._kind[new] = kind
        self.count = stop
        self.add(index, int(most[kind]), new)
        return int(most[kind])

    def add(self, index: int, units: int, cores: Array) -> None:
        """Put a piece of `units` on each of the cores, none of which holds the item yet."""
        self._units[cores, index] = units
        self._free[cores] -= self.problem.items[index].demand[:, units]

    def room(self, index: int) -> Array:
        """Return (clusters,) int64: units of the item each open core still takes; 0 where it already has some."""
        room = self.problem.items[index].most_units(self._free[: self.count])
        room[self._units[: self.count, index] > 0] = 0
        return room

    def fullest(self, cores: Array) -> Array:
        """Return the cores from the fullest to the emptiest."""
        return cores[np.argsort(self._free[cores] @ self._price, kind="stable")]

    def place(self, index: int, units: int, copies: int, split: bool) -> None:
        """Place `copies` pieces of `units` each, on the fullest cores that take them, then in the gaps (if `split`), then on new cores."""
        if not copies:
            return
        room = self.room(index)
        whole = self.fullest(np.flatnonzero(room >= units))[:copies]
        self.add(index, units, whole)
        for _ in range(copies - whole.size):
            room = self.room(index)
            largest = np.argsort(-room, kind="stable")
            left = units
            if split and room.sum() >= units:
                for core in largest:
                    part = min(left, int(room[core]))
                    self.add(index, part, np.array([core]))
                    left -= part
                    if not left:
                        break
            while left:
                left -= self.open(index, left)


def loads(problem: PackingProblem, units: Array) -> Array:
    """Return (clusters, resources) int64, what every cluster takes of its room; what cores had given away before is not in it."""
    load = np.zeros((units.shape[1], len(problem.resources)), np.int64)
    for item, row in zip(problem.items, units, strict=True):
        load += item.demand[:, row].T
    return load


def fits(problem: PackingProblem, filled: Filled) -> bool:
    """Return whether there are as many cores, in all and of each class."""
    number = np.bincount(filled.kind[problem.old :], minlength=len(problem.kinds))
    return filled.clusters <= problem.cores and bool((number <= [core.cores for core in problem.kinds]).all())


def seams(problem: PackingProblem, units: Array) -> int:
    """Return the packets per step that cutting costs: each piece of an item but the first adds its seam."""
    return sum(item.seam * (int(np.count_nonzero(row)) - 1) for item, row in zip(problem.items, units, strict=True))


def quality(problem: PackingProblem, filled: Filled) -> tuple[bool, int, int, int]:
    """Return what is better when smaller: too few cores of a class, cores, seams, how far apart in their order the items on a core are."""
    present = filled.units > 0
    spread = 0
    if present.size:
        first, last = present.argmax(0), present.shape[0] - 1 - present[::-1].argmax(0)
        spread = int((last - first)[present.any(0)].sum())
    # Whether the cores of all classes are enough; of one class the number alone says it.
    over = bool(problem.classes) and not fits(problem, filled)
    return over, filled.clusters, seams(problem, filled.units), spread


def _decreasing(problem: PackingProblem, even: bool, split: bool, thrifty: bool) -> Filled:
    share = [float((item.least_demand() / np.maximum(problem.capacity, 1)).max()) for item in problem.items]
    order = sorted(range(len(share)), key=lambda k: (-share[k], k))
    cores = _Cores(problem, thrifty)
    if even:
        for index in order:
            item = problem.items[index]
            low, more = divmod(item.size, item.fewest_pieces)
            cores.place(index, low + 1, more, split)
            cores.place(index, low, item.fewest_pieces - more, split)
        return cores.filled
    rest = []
    for index in order:
        item = problem.items[index]
        full, left = divmod(item.size, item.max_piece)
        if problem.classes or problem.old:
            cores.place(index, item.max_piece, full, split)
        elif full:
            cores.open(index, item.max_piece, full)
        if left:
            rest.append((-float((item.demand[:, left] / np.maximum(problem.capacity, 1)).max()), index, left))
    for _, index, left in sorted(rest):
        cores.place(index, left, 1, split)
    return cores.filled


def _in_order(problem: PackingProblem, thrifty: bool) -> Filled:
    cores = _Cores(problem, thrifty)
    for index, item in enumerate(problem.items):
        left = item.size
        if cores.count:
            room = cores.room(index)
            # Cores that were in use before are open to every item, of the others only the last one.
            for core in (*np.argsort(-room[: problem.old], kind="stable").tolist(), *range(max(problem.old, cores.count - 1), cores.count)):
                part = min(left, int(room[core]))
                # A head that costs the item one piece more is not worth its copies of the inputs.
                if part and (core < problem.old or -(-(left - part) // item.max_piece) < item.fewest_pieces):
                    cores.add(index, part, np.array([core]))
                    left -= part
        while left:
            left -= cores.open(index, left)
    return cores.filled


def _answers(problem: PackingProblem) -> list[Filled]:
    ways = (False, True) if problem.classes else (False,)
    return [
        answer for thrifty in ways
        for answer in (
            _in_order(problem, thrifty),
            *(_decreasing(problem, even, split, thrifty) for even in (False, True) for split in (False, True)),
        )
    ]


def fill(problem: PackingProblem) -> Filled:
    """Return the best of several greedy packings by `quality`. It may use more cores than there are."""
    return min(_answers(problem), key=lambda filled: quality(problem, filled))


def spend_slack(problem: PackingProblem, filled: Filled) -> Filled:
    """Return the packing of least seams among `filled` and the greedy ones on at most the problem's slack more cores."""
    most = most_cores(problem, filled.clusters)
    if most == filled.clusters:
        return filled
    answers = [filled, *(answer for answer in _answers(problem) if answer.clusters <= most and fits(problem, answer))]
    return min(answers, key=lambda answer: (seams(problem, answer.units), quality(problem, answer)))


def most_cores(problem: PackingProblem, fewest: int) -> int:
    """Return how many cores a packing may use when it could do with `fewest`."""
    return max(fewest, min(int(fewest * (1 + problem.slack)), problem.most))


def balance(problem: PackingProblem, filled: Filled) -> Filled:
    """Return the packing with the pieces of each item as equal as their cores allow; no piece moves to another core."""
    units = filled.units.copy()
    room = problem.rooms(filled.kind) - loads(problem, units)
    for item, row in zip(problem.items, units, strict=True):
        cores = np.flatnonzero(row)
        if cores.size < 2:
            continue
        room[cores] += item.demand[:, row[cores]].T
        limit = item.most_units(room[cores])
        low, high = 1, int(limit.max())
        while low < high:
            level = (low + high + 1) // 2
            low, high = (level, high) if np.minimum(limit, level).sum() <= item.size else (low, level - 1)
        part = np.minimum(limit, low)
        part[np.flatnonzero(limit > low)[: item.size - part.sum()]] += 1
        row[cores] = part
        room[cores] -= item.demand[:, part].T
    return Filled(units, filled.kind)


def finish(problem: PackingProblem, filled: Filled, lower_bound: int, deterministic_time: float | None = None) -> PackingSolution:
    """Balance a packing, number its clusters along the items' order, and say what is proved.

    Args:
        problem: what was packed.
        filled: the packing; may use more cores than there are.
        lower_bound: proved number of cores.
        deterministic_time: of the solver, or None.
    """
    clusters = filled.clusters
    if not fits(problem, filled):
        status = "infeasible" if lower_bound > problem.most else "unknown"
        return PackingSolution((), clusters, lower_bound, status, deterministic_time)
    filled = balance(problem, filled)
    order = np.arange(clusters)
    if filled.units.size:
        present = filled.units > 0
        middle = present.argmax(0) + present.shape[0] - 1 - present[::-1].argmax(0)
        middle[: problem.old] = -1
        order = np.argsort(middle, kind="stable")
    units = filled.units[:, order]
    pieces = tuple(Piece(index, int(row[cluster]), int(cluster)) for index, row in enumerate(units) for cluster in np.flatnonzero(row))
    kind = tuple(filled.kind[order].tolist()) if problem.classes else ()
    status = "optimal" if clusters == lower_bound else "feasible"
    return PackingSolution(pieces, clusters, lower_bound, status, deterministic_time, kind)
