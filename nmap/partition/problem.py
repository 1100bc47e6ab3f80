"""Core-count problems as pure numbers: no neurons, no chip.

An *item* is a run of `size` equal units (neurons of a dense population, rows of a convolution's output band) that may be cut
anywhere. A piece of n units on a core takes `demand[:, n]` of the core's resources. Pieces of different items, and of one item,
may share a core; their demands add. Cores may be of several classes, and some may be filled partly beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array, frozen_array

__all__ = ["CoreClass", "Item", "PackingProblem", "PackingSolution", "Piece", "area_bound", "check_packing"]


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """One divisible population slice.

    Args:
        name: for messages.
        size: number of units.
        demand: (resources, max_piece + 1) int64, non-decreasing along n, column 0 is zero; `max_piece` >= 1 is the largest piece
            that fits an empty core.
        floor: (resources,) float64, a valid lower bound on what *any* cut of the item takes in total over all its pieces.
        seam: packets per step that one cut more adds: inputs that the units on both sides need. Only compared, never part of a bound.
    """

    name: str
    size: int
    demand: Array
    floor: Array
    seam: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "demand", frozen_array(self.demand, np.int64))
        object.__setattr__(self, "floor", frozen_array(self.floor, np.float64))

    @property
    def max_piece(self) -> int:
        """Largest piece that fits an empty core."""
        return int(self.demand.shape[1] - 1)

    @property
    def fewest_pieces(self) -> int:
        """Pieces every cut has at least."""
        return -(-self.size // self.max_piece)

    def least_demand(self) -> Array:
        """Return (resources,) float64: no cut takes less in total, since no piece pays less per unit than the table's best price."""
        return np.asarray(self.size * (self.demand[:, 1:] / np.arange(1, self.max_piece + 1)).min(1), np.float64)

    def most_units(self, free: Array) -> Array:
        """Return (m,) int64: the most units that fit into each row of `free`, (m, resources) int64."""
        fits = [np.searchsorted(self.demand[r], free[:, r], side="right") - 1 for r in range(self.demand.shape[0])]
        return np.clip(np.min(fits, axis=0), 0, None).astype(np.int64)

    def joins(self, capacity: Array) -> bool:
        """Return whether one piece per core is as good as several: no two pieces that fit a core together take less than as one piece.

        True of any demand whose fixed part (shared inputs, a header) is paid once per piece.
        """
        most = self.max_piece
        if self._nearly_affine(capacity):
            return True
        for a in range(1, most // 2 + 1):
            b = np.arange(a, most - a + 1)
            if (self.demand[:, a + b] > self.demand[:, [a]] + self.demand[:, b]).any():
                return False
        for a in range(1, min(most, self.size) + 1):
            # Two pieces that together are larger than the largest one, and no larger than the item.
            b = np.arange(max(a, most + 1 - a), min(most, self.size - a) + 1)
            if b.size and (self.demand[:, [a]] + self.demand[:, b] <= capacity[:, None]).all(0).any():
                return False
        return True


    def _nearly_affine(self, capacity: Array) -> bool:
        """Return whether a line under the table proves `joins`, which takes no search.

        With low <= demand(n) - slope n <= high for n >= 1, two pieces of a and b units take at least 2 low + slope (a + b): no less
        than one piece where high <= 2 low, and more than a core where that exceeds the capacity for a + b = largest piece + 1.
        """
        most = self.max_piece
        run = max(most - 1, 1)
        units = np.arange(1, most + 1)
        slope = self.demand[:, -1] - self.demand[:, 1]
        rest = run * self.demand[:, 1:] - slope[:, None] * units
        low, high = rest.min(1), rest.max(1)
        if (high > 2 * low).any():
            return False
        return self.size <= most or bool((2 * low + slope * (most + 1) > run * capacity).any())


@dataclass(frozen=True, slots=True, eq=False)
class CoreClass:
    """Cores that are alike.

    Args:
        capacity: (resources,) int64, of one such core; 0 of a resource where the class cannot do what takes it.
        cores: number of such cores that are free.
    """

    capacity: Array
    cores: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "capacity", frozen_array(self.capacity, np.int64))


@dataclass(frozen=True, slots=True, eq=False)
class PackingProblem:
    """Cut items into pieces and put the pieces on as few cores as possible.

    Args:
        resources: names.
        capacity: (resources,) int64, of one core; with classes at least every class's.
        items: what to place.
        cores: number of cores there are, of all classes, those of `taken` included.
        slack: share of cores beyond the fewest that may be spent on smaller seams.
        classes: core classes; empty: all cores are alike, with `capacity`.
        taken: (taken cores, resources) int64, what cores that are in use already have given away of `capacity` (a core of a smaller
            class: the difference too); they are the first clusters of every answer, and only further cores are to be few.
            None: no such core.

    Raises:
        ValueError: a class or a taken core has more of a resource than `capacity`.
    """

    resources: tuple[str, ...]
    capacity: Array
    items: tuple[Item, ...]
    cores: int
    slack: float = 0.0
    classes: tuple[CoreClass, ...] = ()
    taken: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "capacity", frozen_array(self.capacity, np.int64))
        if self.taken is not None:
            object.__setattr__(self, "taken", frozen_array(np.asarray(self.taken).reshape(-1, len(self.resources)), np.int64))
            if (self.taken < 0).any() or (self.taken > self.capacity).any():
                raise ValueError("a core has given away more than it has, or less than nothing")
        if any((core.capacity > self.capacity).any() for core in self.classes):
            raise ValueError("a core class has more of a resource than the problem's capacity says")

    @property
    def old(self) -> int:
        """Number of cores that are in use already."""
        return 0 if self.taken is None else int(self.taken.shape[0])

    @property
    def kinds(self) -> tuple[CoreClass, ...]:
        """The classes; one of all cores where the problem names none."""
        return self.classes or (CoreClass(self.capacity, max(self.cores - self.old, 0)),)

    @property
    def most(self) -> int:
        """Number of cores an answer may have."""
        return min(self.cores, self.old + sum(core.cores for core in self.classes)) if self.classes else self.cores

    def rooms(self, kind: Array) -> Array:
        """Return (clusters, resources) int64, what each cluster can take.

        Args:
            kind: (clusters,) int64, class of each cluster; -1 for the taken cores, which come first.
        """
        room = np.stack([core.capacity for core in self.kinds])[kind]
        if self.taken is not None:
            room[: self.old] = self.capacity - self.taken
        return np.asarray(room, np.int64)


@dataclass(frozen=True, slots=True)
class Piece:
    """`units` consecutive units of item `item` on cluster `cluster` (cores are not yet places, only groups)."""

    item: int
    units: int
    cluster: int


@dataclass(frozen=True, slots=True)
class PackingSolution:
    """Pieces of every item, in the item's own order, and what is proved about their number of cores.

    Args:
        pieces: item by item, each item's from its first unit to its last; empty without a feasible answer.
        clusters: number of cores used; clusters are 0..clusters-1, the taken cores first, the others all non-empty. Without a feasible
            answer: the fewest cores found to be enough if there were that many.
        lower_bound: proved: no cut of these items under this resource model needs fewer cores (the taken ones included).
        status: `optimal` (clusters == lower_bound), `feasible`, `infeasible` (proved: more cores needed than there are), `unknown`.
        deterministic_time: solver's deterministic seconds; None for an algorithm without a solver.
        kind: class of each cluster, -1 for the taken cores; empty where the problem has no classes.
    """

    pieces: tuple[Piece, ...]
    clusters: int
    lower_bound: int
    status: str
    deterministic_time: float | None = None
    kind: tuple[int, ...] = ()


def _fewest(need: float, old: float, sizes: list[tuple[int, int]]) -> int:
    """Return how many bins hold `need` at least, largest first.

    Args:
        need: amount.
        old: room that costs no bin.
        sizes: (size, number) of the bins there are; beyond their number as many of the largest as it takes.
    """
    left, count = need - old, 0
    sizes = sorted(sizes, reverse=True)
    for size, number in sizes:
        if left <= 1e-9:
            return count
        if size:
            bins = min(number, int(np.ceil(left / size - 1e-9)))
            left -= bins * size
            count += bins
    largest = sizes[0][0]
    return count + (int(np.ceil(left / largest - 1e-9)) if left > 1e-9 and largest else 0)


def area_bound(problem: PackingProblem) -> int:
    """Return a lower bound on the number of cores: for each resource total demand over capacity, and per item size over largest piece.

    The second holds where a core gains nothing from several pieces of one item (`Item.joins`). Cores that have most of a resource are
    counted first. Where there are not enough cores of all classes, the bound is what it would take if there were more of the largest.
    """
    if not problem.items:
        return problem.old
    # The floors hold for sums over items only, so the two bounds must not be mixed item by item.
    floors = np.sum([item.floor for item in problem.items], axis=0)
    tables = np.sum([item.least_demand() for item in problem.items], axis=0)
    need = np.maximum(floors, tables)
    old = problem.rooms(np.full(problem.old, -1))
    kinds = problem.kinds
    # Without classes the bound may say more cores than there are: that many would be needed.
    numbers = [core.cores if problem.classes else 2**62 for core in kinds]
    bound = 0 if problem.old else 1
    for r, free in enumerate(old.sum(0).tolist()):
        bound = max(bound, _fewest(float(need[r]), free, [(int(core.capacity[r]), k) for core, k in zip(kinds, numbers, strict=True)]))
    capacities = np.concatenate([old, [core.capacity for core in kinds]])
    for item in problem.items:
        if item.fewest_pieces <= bound and not problem.classes:
            continue
        units = [int(n) for n in item.most_units(capacities)]
        fewest = _fewest(item.size, sum(units[: problem.old]), list(zip(units[problem.old :], numbers, strict=True)))
        if fewest > bound and all(item.joins(room) for room in np.unique(capacities, axis=0)):
            bound = fewest
    return problem.old + bound


def check_packing(problem: PackingProblem, solution: PackingSolution) -> None:
    """Check a feasible answer against the problem.

    Raises:
        ValueError: units are missing, a core is over its budget, clusters are empty or too many (of a class), or the proof contradicts
            the answer.
    """
    kind = np.full(solution.clusters, -1, np.int64)
    kind[problem.old :] = 0
    if problem.classes:
        if len(solution.kind) != solution.clusters:
            raise ValueError("not every cluster has a core class")
        if any((k == -1) != (c < problem.old) or not -1 <= k < len(problem.classes) for c, k in enumerate(solution.kind)):
            raise ValueError("no such core class, or a taken core with one")
        kind = np.array(solution.kind, np.int64)
        number = np.bincount(kind[problem.old :], minlength=len(problem.classes))
        if (number > [core.cores for core in problem.classes]).any():
            raise ValueError(f"more cores of a class than there are: {number.tolist()}")
    units = np.zeros((len(problem.items), solution.clusters), np.int64)
    load = np.zeros((solution.clusters, len(problem.resources)), np.int64)
    for piece in solution.pieces:
        if not (0 <= piece.item < len(problem.items) and 0 <= piece.cluster < solution.clusters):
            raise ValueError(f"no such item or cluster: {piece}")
        item = problem.items[piece.item]
        if not 1 <= piece.units <= item.max_piece:
            raise ValueError(f"a piece of `{item.name}` does not fit a core: {piece}")
        units[piece.item, piece.cluster] += piece.units
        load[piece.cluster] += item.demand[:, piece.units]
    wrong = [item.name for item, row in zip(problem.items, units, strict=True) if row.sum() != item.size]
    if wrong:
        raise ValueError(f"the pieces do not hold all units, or too many, of {wrong}")
    over = (load > problem.rooms(kind)).any(1)
    if over.any():
        raise ValueError(f"cores over their budget: {np.flatnonzero(over).tolist()}")
    if solution.clusters > problem.cores or not units[:, problem.old :].any(0).all():
        raise ValueError("more cores than there are, or an empty one")
    if solution.clusters < problem.old or solution.lower_bound > solution.clusters:
        raise ValueError(f"lower bound {solution.lower_bound} above the {solution.clusters} cores of the answer")
