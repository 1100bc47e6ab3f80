"""Sharing out networks over cores whose neurons have one destination each, so that copies of them send to the others.

What a neuron takes depends on how the populations behind it are cut: one copy for every axon that listens to it. So populations are cut
from the outputs backwards, each when the copies of its neurons are known, exactly and position by position; those of a loop by turns, until
the copies suffice. The pieces are then packed like any others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import prod
from typing import Protocol

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, Exit, NmapError, named
from nmap.mapping import Packed, Shard
from nmap.options import Options
from nmap.ordering import components
from nmap.partition.fill import fill, finish
from nmap.partition.irregular import irregular_populations
from nmap.partition.partitioner import Budget, Partitioner
from nmap.partition.problem import CoreClass, Item, PackingProblem, PackingSolution, area_bound, check_packing
from nmap.partition.regular import even_parts, row_axis
from nmap.program import Box, Slice
from nmap.quantized import QuantizedNetwork, QuantizedPopulation
from nmap.target.backend import Replicating, Target
from nmap.target.machine import Machine

__all__ = ["pack_replicated"]

_ROUNDS = 24
"""Times that the populations of a loop are cut until their neurons have enough copies."""
_SEARCHED = 1500
"""Pieces that ways of cutting a population are tried with, for each step of effort."""
_SOLVED = 300
"""Pieces that a solver packs; more are filled in greedily."""


class Copying(Target, Replicating, Protocol):
    """A target whose neurons need copies."""


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What is shared out, and how.

    Args:
        pack: packs some populations, or all, with the copies that the network has.
    """

    network: QuantizedNetwork
    target: Copying
    machine: Machine
    partitioner: Partitioner
    options: Options
    budget: Budget
    pack: Callable[[QuantizedNetwork, frozenset[str] | None], Packed]

    @property
    def capacity(self) -> dict[str, int]:
        """What a core may hold at most."""
        return self.machine.largest


def pack_replicated(
    network: QuantizedNetwork, target: Copying, machine: Machine, partitioner: Partitioner, options: Options, budget: Budget,
    pack: Callable[[QuantizedNetwork, frozenset[str] | None], Packed],
) -> Packed:
    """Share a network out over cores; see `nmap.partition.pack_network`.

    With the least copies that any mapping needs, the answer's bound holds for all of them, and so does what does not fit. If its own copies
    fit as well, it is the answer.

    Raises:
        NmapError: NM401 or NM402 (proved, exit status 1); NM501 where no way was found, which is not proved to be none.
    """
    task = _Task(network, target, machine, partitioner, options, budget, pack)
    first = pack(target.replicate(network, None), None)
    bound = first.packing.lower_bound
    if _overfull(task, first.shards):
        first = _packed(task, _pieces(task))
    shards = tuple(replace(shard, demand=target.demand(network, shard.population, shard.slice)) for shard in first.shards)
    status = "optimal" if bound == first.packing.clusters else "feasible"
    return Packed(shards, replace(first.packing, lower_bound=bound, status=status), first.slot)


def _overfull(task: _Task, shards: Sequence[Shard]) -> bool:
    """Return whether some core holds too much once its neurons have the copies that these shards need."""
    copied = task.target.replicate(task.network, shards)
    used: dict[int, dict[str, int]] = {}
    for shard in shards:
        amounts = task.target.demand(copied, shard.population, shard.slice)
        held = used.setdefault(shard.cluster, dict.fromkeys(task.capacity, 0))
        for name in held:
            held[name] += amounts[name]
    return any(amount > task.capacity[name] for held in used.values() for name, amount in held.items())


# ---- cutting ----------------------------------------------------------------------------------------------------------------------------


def _pieces(task: _Task) -> list[Shard]:
    """Return the pieces of all populations, each on a cluster of its own, with what they take once every neuron has its copies."""
    network = task.network
    names = [p.name for p in network.populations if p.kernel is not None]
    edges = [(p.source, p.target) for p in network.projections if p.source in set(names)]
    irregular = frozenset(irregular_populations(network))
    pieces: dict[str, list[Slice]] = {}
    for members in reversed(components(names, edges)):
        _cut_loop(task, members, pieces, irregular)
    copied = task.target.replicate(network, _listed(pieces))
    return [
        Shard(name, part, number, task.target.demand(copied, name, part))
        for number, (name, part) in enumerate((name, part) for name in names for part in pieces[name])
    ]


def _listed(pieces: dict[str, list[Slice]]) -> list[Shard]:
    return [Shard(name, part, 0, {}) for name, parts in pieces.items() for part in parts]


def _cut_loop(task: _Task, members: list[str], pieces: dict[str, list[Slice]], irregular: frozenset[str]) -> None:
    """Cut the populations of a strongly connected component, those behind which are cut."""
    held = _copies(task, None, members)
    for _ in range(_ROUNDS):
        needed = _copies(task, _listed(pieces), members)
        # Copies never become fewer, so that the cuts settle.
        held = {name: np.maximum(held[name], needed[name]) for name in members}
        if all(name in pieces for name in members) and all(_fit(task, name, pieces[name], needed[name]) for name in members):
            return
        copied = _with(task.network, held)
        for name in members:
            pieces[name] = list(_cut(task, copied, name, irregular))
    raise _unsettled(task, held)


def _copies(task: _Task, shards: Sequence[Shard] | None, names: Sequence[str]) -> dict[str, Array]:
    """Return the copies of each neuron of some populations, (n,) int64 each; see `Replicating.replicate`."""
    copied = task.target.replicate(task.network, shards)
    return {name: _held(copied[name]) for name in names}


def _with(network: QuantizedNetwork, copies: Mapping[str, Array]) -> QuantizedNetwork:
    return replace(network, populations=tuple(
        replace(p, copies=copies[p.name]) if p.name in copies else p for p in network.populations
    ))


def _fit(task: _Task, name: str, parts: Sequence[Slice], copies: Array) -> bool:
    copied = _with(task.network, {name: copies})
    return all(_within(task, task.target.demand(copied, name, part)) for part in parts)


def _within(task: _Task, amounts: dict[str, int]) -> bool:
    return all(amounts[name] <= limit for name, limit in task.capacity.items())


def _cut(task: _Task, copied: QuantizedNetwork, name: str, irregular: frozenset[str]) -> Iterator[Slice]:
    """Yield the pieces of a population whose copies are known."""
    if name in irregular:
        try:
            yield from (shard.slice for shard in task.pack(copied, frozenset([name])).shards)
        except NmapError as error:
            if error.exit_status != Exit.DOES_NOT_FIT:
                raise
            raise _unsettled(task, {name: _held(copied[name])}) from error
        return
    yield from _Cut(task, copied, copied[name]).best()


class _Cut:
    """Ways of cutting one regular population into boxes that fit a core.

    Args:
        copied: the network with the copies of the population's neurons.
        population: what is cut.
    """

    def __init__(self, task: _Task, copied: QuantizedNetwork, population: QuantizedPopulation) -> None:
        self.task, self.copied, self.population = task, copied, population
        self.axis = row_axis(population.shape)
        self._known: dict[Box, tuple[bool, float]] = {}
        mean = -(-int(_held(population).sum()) // population.size)
        self._alike = _with(task.network, {population.name: np.full(population.size, mean)})

    def best(self) -> list[Box]:
        """Return the boxes of the way that takes least in all, then of the fewest boxes."""
        best: tuple[float, int, list[Box]] | None = None
        tried, most = 0, _SEARCHED * (1 + self.task.options.effort)
        for counts in self._candidates():
            boxes = self._swept(counts)
            if boxes is None:
                continue
            tried += len(boxes)
            # What all neurons take together is the same however they are cut; what two pieces hear is taken twice, and copied before.
            value = (sum(self._look(box)[1] for box in boxes), len(boxes))
            if best is None or value < best[:2]:
                best = (*value, boxes)
            if tried >= most:
                break
        if best is None:
            raise _unsettled(self.task, {self.population.name: _held(self.population)})
        return best[2]

    def _look(self, box: Box) -> tuple[bool, float]:
        """Return whether a box fits a core, and what it takes, as shares of a core's resources."""
        if box not in self._known:
            amounts = self.task.target.demand(self.copied, self.population.name, box)
            self._known[box] = (_within(self.task, amounts), self._share(amounts))
        return self._known[box]

    def _share(self, amounts: dict[str, int]) -> float:
        return sum(amounts[name] / limit for name, limit in self.task.capacity.items())

    def _candidates(self) -> list[tuple[int, ...]]:
        """Return numbers of parts along the dimensions other than the rows', the most promising first by their prices."""
        shape, axis = self.population.shape, self.axis
        ways = []
        for dimension, size in enumerate(shape):
            # Only numbers that make the largest part smaller: 8 in 5 parts is 8 in 4 with one more seam.
            sizes = {-(-size // count): count for count in range(size, 0, -1)}
            ways.append([1] if dimension == axis else sorted(sizes.values()))
        priced = []
        for counts in product(*ways):
            extent = [-(-size // count) for size, count in zip(shape, counts, strict=True)]
            rows = self._rows(tuple(extent))
            if rows == 0:
                priced.append((float("inf"), prod(counts), counts))
                continue
            extent[axis] = rows
            priced.append((self._share(self._at_most(tuple(extent))) * prod(counts) * shape[axis] / rows, prod(counts), counts))
        return [counts for _, _, counts in sorted(priced)]

    def _at_most(self, extent: tuple[int, ...]) -> dict[str, int]:
        """Return what a box of this extent takes where all neurons have the mean number of copies."""
        return self.task.target.demand_at_most(self._alike, self.population.name, extent)

    def _rows(self, extent: tuple[int, ...]) -> int:
        """Return how many rows of lanes of this extent fit where all neurons have the mean number of copies."""
        low, high = 0, self.population.shape[self.axis]
        while low < high:
            middle = (low + high + 1) // 2
            fits = _within(self.task, self._at_most((*extent[: self.axis], middle, *extent[self.axis + 1 :])))
            low, high = (middle, high) if fits else (low, middle - 1)
        return low

    def _swept(self, counts: tuple[int, ...]) -> list[Box] | None:
        """Return boxes that fill lanes from their first row on, each as large as fits; None where not even a row does."""
        boxes: list[Box] = []
        grid = [even_parts(size, count) for size, count in zip(self.population.shape, counts, strict=True)]
        for lane in product(*grid):
            start, stop = lane[self.axis]
            guess = 1
            while start < stop:
                taken = self._largest(lane, start, stop, guess)
                if taken == 0:
                    return None
                boxes.append((*lane[: self.axis], (start, start + taken), *lane[self.axis + 1 :]))
                start, guess = start + taken, taken
        return boxes

    def _largest(self, lane: Box, start: int, stop: int, guess: int) -> int:
        """Return how many rows from `start` on fit; the search begins at as many as fitted before."""
        def fits(rows: int) -> bool:
            return self._look((*lane[: self.axis], (start, start + rows), *lane[self.axis + 1 :]))[0]

        low, high, rows = 0, stop - start, min(guess, stop - start)
        while low < high:
            low, high = (rows, high) if fits(rows) else (low, rows - 1)
            # Next to the guess it is found at once, elsewhere by halving.
            rows = low + 1 if low in (guess, guess - 1) else (low + high + 1) // 2
            rows = min(max(rows, low + 1), high)
        return low


# ---- packing ----------------------------------------------------------------------------------------------------------------------------


def _packed(task: _Task, pieces: list[Shard]) -> Packed:
    """Share the pieces out over as few cores as possible."""
    capacity = task.capacity
    items = []
    for number, piece in enumerate(pieces):
        column = np.array([piece.demand[name] for name in capacity], np.int64)
        items.append(Item(f"piece {number}", 1, np.stack([np.zeros_like(column), column], 1), column.astype(np.float64)))
    limits = np.array(list(capacity.values()), np.int64)
    classes = tuple(
        CoreClass(np.array([kind.capacity[name] for name in capacity], np.int64), kind.cores.size) for kind in task.machine.classes
    )
    problem = PackingProblem(tuple(capacity), limits, tuple(items), len(task.machine.cores), classes=classes if len(classes) > 1 else ())
    answer = finish(problem, fill(problem), area_bound(problem))
    if len(items) <= _SOLVED:
        solved = task.partitioner.pack(problem, task.budget)
        if solved.pieces and (not answer.pieces or solved.clusters <= answer.clusters):
            answer = solved
    if not answer.pieces:
        names = list(dict.fromkeys(piece.population for piece in pieces))
        raise _unsettled(task, _copies(task, pieces, names), answer)
    check_packing(problem, answer)
    shards = tuple(replace(pieces[piece.item], cluster=piece.cluster) for piece in answer.pieces)
    order = {p.name: k for k, p in enumerate(task.network.populations)}

    def place(shard: Shard) -> tuple[int, tuple[int, ...]]:
        part = shard.slice
        return order[shard.population], tuple(start for start, _ in part) if isinstance(part, tuple) else (int(part[0]),)

    return Packed(tuple(sorted(shards, key=place)), answer)


def _held(population: QuantizedPopulation) -> Array:
    return np.ones(population.size, np.int64) if population.copies is None else population.copies


def _unsettled(task: _Task, copies: Mapping[str, Array], answer: PackingSolution | None = None) -> NmapError:
    """Return the error where no way was found, with the copies that were needed."""
    worst = max(copies, key=lambda name: int(copies[name].max()))
    neurons, total = sum(found.size for found in copies.values()), sum(int(found.sum()) for found in copies.values())
    why = (
        f"Each of the chip's neurons has one destination: the {neurons} neurons of {named(list(copies))} were found to take {total}"
        f" of them, copies included, one of `{worst}` up to {int(copies[worst].max())}"
    )
    if answer is not None:
        why += f", on at least {max(answer.lower_bound, answer.clusters)} cores, and there are {len(task.machine.cores)}"
    return NmapError(Diagnostic(
        "NM501", "error", "no way was found to share out the neurons with the copies that send to all their targets",
        where=str(task.network[worst].where), why=f"{why}. That no other way exists is not proved.",
        help=("make the layers behind narrower, or their weights smaller, so that fewer axons listen to a neuron",),
        data={"neurons": neurons, "copies": total, "population": worst},
    ), Exit.UNKNOWN)
