"""Packing without a solver: fill cores by decreasing items, several ways, and keep the best.

Every packing algorithm can start from it and use its helpers. A packing is a matrix `units`, (items, clusters) int64: units of an item
on a cluster. One piece per item and cluster is enough wherever demand tables are subadditive, and is always feasible.
"""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array
from nmap.partition.problem import Item, PackingProblem, PackingSolution, Piece

__all__ = ["balance", "fill", "finish", "loads", "most_cores", "most_units", "quality", "seams", "spend_slack"]


class _Cores:
    """Cores opened so far, with what they hold."""

    def __init__(self, problem: PackingProblem) -> None:
        self.problem = problem
        self.count = 0
        self._load = np.zeros((16, len(problem.resources)), np.int64)
        self._units = np.zeros((16, len(problem.items)), np.int64)
        # Whole numbers, so that the order of a sum cannot change a choice.
        self._price = (1 << 20) // problem.capacity

    @property
    def units(self) -> Array:
        """(items, clusters) int64."""
        return self._units[: self.count].T.copy()

    def open(self, index: int, units: int, cores: int = 1) -> None:
        """Put pieces of `units` on that many new cores."""
        stop = self.count + cores
        if stop > self._load.shape[0]:
            grow = max(stop, 2 * self._load.shape[0]) - self._load.shape[0]
            self._load = np.pad(self._load, ((0, grow), (0, 0)))
            self._units = np.pad(self._units, ((0, grow), (0, 0)))
        new = np.arange(self.count, stop)
        self.count = stop
        self.add(index, units, new)

    def add(self, index: int, units: int, cores: Array) -> None:
        """Put a piece of `units` on each of the cores, none of which holds the item yet."""
        self._units[cores, index] = units
        self._load[cores] += self.problem.items[index].demand[:, units]

    def room(self, index: int) -> Array:
        """Return (clusters,) int64: units of the item each open core still takes; 0 where it already has some."""
        room = most_units(self.problem.items[index], self.problem.capacity - self._load[: self.count])
        room[self._units[: self.count, index] > 0] = 0
        return room

    def fullest(self, cores: Array) -> Array:
        """Return the cores from the fullest to the emptiest."""
        return cores[np.argsort(-(self._load[cores] @ self._price), kind="stable")]

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
            if split and room.sum() >= units:
                left = units
                for core in largest:
                    part = min(left, int(room[core]))
                    self.add(index, part, np.array([core]))
                    left -= part
                    if not left:
                        break
            else:
                self.open(index, units)


def most_units(item: Item, free: Array) -> Array:
    """Return (m,) int64: the most units of an item that fit into each row of `free`, (m, resources) int64."""
    fits = [np.searchsorted(item.demand[r], free[:, r], side="right") - 1 for r in range(item.demand.shape[0])]
    return np.clip(np.min(fits, axis=0), 0, None).astype(np.int64)


def loads(problem: PackingProblem, units: Array) -> Array:
    """Return (clusters, resources) int64, what every cluster takes."""
    load = np.zeros((units.shape[1], len(problem.resources)), np.int64)
    for item, row in zip(problem.items, units, strict=True):
        load += item.demand[:, row].T
    return load


def seams(problem: PackingProblem, units: Array) -> int:
    """Return the packets per step that cutting costs: each piece of an item but the first adds its seam."""
    return sum(item.seam * (int(np.count_nonzero(row)) - 1) for item, row in zip(problem.items, units, strict=True))


def quality(problem: PackingProblem, units: Array) -> tuple[int, int, int]:
    """Return what is better when smaller: cores, seams, and how far apart in the items' order the items on one core are."""
    present = units > 0
    if not present.size:
        return 0, 0, 0
    first, last = present.argmax(0), present.shape[0] - 1 - present[::-1].argmax(0)
    return units.shape[1], seams(problem, units), int((last - first).sum())


def _decreasing(problem: PackingProblem, even: bool, split: bool) -> Array:
    share = [float((item.least_demand() / problem.capacity).max()) for item in problem.items]
    order = sorted(range(len(share)), key=lambda k: (-share[k], k))
    cores = _Cores(problem)
    if even:
        for index in order:
            item = problem.items[index]
            low, more = divmod(item.size, item.fewest_pieces)
            cores.place(index, low + 1, more, split)
            cores.place(index, low, item.fewest_pieces - more, split)
        return cores.units
    rest = []
    for index in order:
        item = problem.items[index]
        full, left = divmod(item.size, item.max_piece)
        cores.open(index, item.max_piece, full)
        if left:
            rest.append((-float((item.demand[:, left] / problem.capacity).max()), index, left))
    for _, index, left in sorted(rest):
        cores.place(index, left, 1, split)
    return cores.units


def _in_order(problem: PackingProblem) -> Array:
    cores = _Cores(problem)
    for index, item in enumerate(problem.items):
        left = item.size
        if cores.count:
            part = min(left, int(cores.room(index)[-1]))
            # A head that costs the item one piece more is not worth its copies of the inputs.
            if part and -(-(left - part) // item.max_piece) < item.fewest_pieces:
                cores.add(index, part, np.array([cores.count - 1]))
                left -= part
        while left:
            part = min(left, item.max_piece)
            cores.open(index, part)
            left -= part
    return cores.units


def _answers(problem: PackingProblem) -> list[Array]:
    return [_in_order(problem), *(_decreasing(problem, even, split) for even in (False, True) for split in (False, True))]


def fill(problem: PackingProblem) -> Array:
    """Return the best of several greedy packings, (items, clusters) int64, by `quality`. The number of cores there are is not looked at."""
    return min(_answers(problem), key=lambda units: quality(problem, units))


def spend_slack(problem: PackingProblem, units: Array) -> Array:
    """Return the packing of least seams among `units` and the greedy ones on at most the problem's slack more cores."""
    most = most_cores(problem, units.shape[1])
    if most == units.shape[1]:
        return units
    answers = [units, *(answer for answer in _answers(problem) if answer.shape[1] <= most)]
    return min(answers, key=lambda answer: (seams(problem, answer), quality(problem, answer)))


def most_cores(problem: PackingProblem, fewest: int) -> int:
    """Return how many cores a packing may use when it could do with `fewest`."""
    return max(fewest, min(int(fewest * (1 + problem.slack)), problem.cores))


def balance(problem: PackingProblem, units: Array) -> Array:
    """Return the packing with the pieces of each item as equal as their cores allow; no piece moves to another core."""
    units = units.copy()
    load = loads(problem, units)
    for item, row in zip(problem.items, units, strict=True):
        cores = np.flatnonzero(row)
        if cores.size < 2:
            continue
        load[cores] -= item.demand[:, row[cores]].T
        limit = most_units(item, problem.capacity - load[cores])
        low, high = 1, int(limit.max())
        while low < high:
            level = (low + high + 1) // 2
            low, high = (level, high) if np.minimum(limit, level).sum() <= item.size else (low, level - 1)
        part = np.minimum(limit, low)
        part[np.flatnonzero(limit > low)[: item.size - part.sum()]] += 1
        row[cores] = part
        load[cores] += item.demand[:, part].T
    return units


def finish(problem: PackingProblem, units: Array, lower_bound: int, deterministic_time: float | None = None) -> PackingSolution:
    """Balance a packing, number its clusters along the items' order, and say what is proved.

    Args:
        problem: what was packed.
        units: (items, clusters) int64; may use more cores than there are.
        lower_bound: proved number of cores.
        deterministic_time: of the solver, or None.
    """
    clusters = int(units.shape[1])
    if clusters > problem.cores:
        status = "infeasible" if lower_bound > problem.cores else "unknown"
        return PackingSolution((), clusters, lower_bound, status, deterministic_time)
    if not clusters:
        return PackingSolution((), 0, 0, "optimal", deterministic_time)
    units = balance(problem, units)
    present = units > 0
    middle = present.argmax(0) + present.shape[0] - 1 - present[::-1].argmax(0)
    units = units[:, np.argsort(middle, kind="stable")]
    pieces = tuple(Piece(index, int(row[cluster]), int(cluster)) for index, row in enumerate(units) for cluster in np.flatnonzero(row))
    return PackingSolution(pieces, clusters, lower_bound, "optimal" if clusters == lower_bound else "feasible", deterministic_time)
