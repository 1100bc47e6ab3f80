"""Sharing out networks over cores whose neurons have one destination each, so that copies of them send to the others.

What a neuron takes depends on how the populations behind it are cut: one copy for every axon that listens to it. So populations are cut
from the outputs backwards, each when the copies of its neurons are known, exactly and position by position; those of a loop by turns, until
the copies suffice. A piece goes where cores that are open have room for one that is hardly dearer, else onto a core of its own; in the end
the pieces are packed once more like any others, where there are few enough of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from math import ceil, fsum, prod
from typing import Protocol

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, Exit, Findings, NmapError, named
from nmap.mapping import Packed, Shard, in_order
from nmap.options import Options
from nmap.ordering import components
from nmap.partition.fill import fill, finish
from nmap.partition.irregular import irregular_populations
from nmap.partition.partitioner import Budget, Partitioner
from nmap.partition.problem import CoreClass, Item, PackingProblem, PackingSolution, Piece, area_bound, check_packing
from nmap.partition.regular import even_parts, row_axis
from nmap.program import Box, Slice, slice_indices
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.backend import Replicating, Target
from nmap.target.machine import Machine

__all__ = ["pack_replicated"]

_ROUNDS = 24
"""Times that the populations of a loop are cut until their neurons have enough copies."""
_SEARCHED = 1500
"""Pieces that ways of cutting a population are tried with, for each step of effort."""
_SOLVED = 300
"""Pieces that a solver packs; more are filled in greedily."""
_FILLED = 1200
"""Pieces that are filled in greedily."""
_FIRST = 64
"""Cores up to which the network is packed with the least copies, which seldom are enough in larger ones."""
_WHOLE = 1 << 20
"""A core, as what pieces take is added up in whole numbers."""
_DEARER = (100, 130, 1000)
"""Per cent of its price on a core of its own that a neuron may cost on one with little room."""


class Copying(Target, Replicating, Protocol):
    """A target whose neurons need copies."""


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What is shared out, and how.

    Args:
        pack: packs some populations, or all, with the copies that the network has.
        irregular: populations that are cut neuron by neuron.
        order, into, behind: of each population its place, what leads to it, and the populations that hear it.
        lists: pieces of populations that were cut neuron by neuron, with fewer copies or more than there are to be.
    """

    network: QuantizedNetwork
    target: Copying
    machine: Machine
    partitioner: Partitioner
    options: Options
    budget: Budget
    pack: Callable[[QuantizedNetwork, frozenset[str] | None], Packed]
    irregular: frozenset[str] = field(init=False)
    order: dict[str, int] = field(init=False)
    into: dict[str, list[QuantizedProjection]] = field(init=False)
    behind: dict[str, list[str]] = field(init=False)
    lists: dict[str, list[Slice]] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        order = {p.name: k for k, p in enumerate(self.network.populations)}
        into: dict[str, list[QuantizedProjection]] = {name: [] for name in order}
        behind: dict[str, list[str]] = {name: [] for name in order}
        for projection in self.network.projections:
            into[projection.target].append(projection)
            behind[projection.source].append(projection.target)
        irregular = frozenset(irregular_populations(self.network))
        for name, value in (("irregular", irregular), ("order", order), ("into", into), ("behind", behind)):
            object.__setattr__(self, name, value)

    @property
    def capacity(self) -> dict[str, int]:
        """What a core may hold at most."""
        return self.machine.largest

    @property
    def limits(self) -> Array:
        """The same, (resources,) int64."""
        return np.array(list(self.capacity.values()), np.int64)

    def around(self, names: Sequence[str]) -> QuantizedNetwork:
        """Return the part of the network that says what some populations hear; in a large one nothing is found quickly."""
        kept = set(names) | {p.source for name in names for p in self.into[name]}
        listed = sorted(kept, key=self.order.__getitem__)
        projections = tuple(p for name in sorted(set(names), key=self.order.__getitem__) for p in self.into[name])
        inputs, outputs = (tuple(name for name in ends if name in kept) for ends in (self.network.inputs, self.network.outputs))
        return QuantizedNetwork(tuple(self.network.populations[self.order[name]] for name in listed), projections, inputs, outputs)

    def listening(self, names: Sequence[str]) -> list[str]:
        """Return the populations that hear some."""
        return list(dict.fromkeys(target for name in names for target in self.behind[name]))


def pack_replicated(
    network: QuantizedNetwork, target: Copying, machine: Machine, partitioner: Partitioner, options: Options, budget: Budget,
    pack: Callable[[QuantizedNetwork, frozenset[str] | None], Packed],
) -> Packed:
    """Share a network out over cores; see `nmap.partition.pack_network`.

    With the least copies that any mapping needs, the answer's bound holds for all of them, and so does what does not fit. If its own copies
    fit as well, it is an answer, and if it takes no more cores than must be, the answer.

    Raises:
        NmapError: NM401 or NM402 (proved, exit status 1); NM501 where no way was found, which is not proved to be none.
    """
    task = _Task(network, target, machine, partitioner, options, budget, pack)
    least = target.replicate(network, None)
    _check_copies(task, least)
    bound = _floor(task, least)
    first = None
    if bound <= _FIRST or bound > len(machine.cores):
        first = pack(least, None)
        _keep_lists(task, first.shards)
        bound = first.packing.lower_bound
    if first is None or _overfull(task, first.shards):
        first = _packed(task, bound)
    elif first.packing.clusters > bound:
        try:
            first = min(first, _packed(task, bound), key=lambda found: found.packing.clusters)
        except NmapError as error:
            if error.exit_status != Exit.UNKNOWN:
                raise
    alone: dict[str, QuantizedNetwork] = {}
    shards = []
    for shard in first.shards:
        name = shard.population
        alone.setdefault(name, task.around([name]))
        shards.append(replace(shard, demand=target.demand(alone[name], name, shard.slice)))
    status = "optimal" if bound == first.packing.clusters else "feasible"
    return Packed(tuple(shards), replace(first.packing, lower_bound=bound, status=status), first.slot)


def _floor(task: _Task, least: QuantizedNetwork) -> int:
    """Return how many cores all populations take at least, as the sum of what each takes."""
    floors = [task.target.demand_floor(least, p.name) for p in least.populations if p.kernel is not None]
    return max(1, *(ceil(fsum(floor[name] for floor in floors) / limit - 1e-9) for name, limit in task.capacity.items() if limit))


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


# ---- cores that are open ----------------------------------------------------------------------------------------------------------------


class _Rooms:
    """What open cores have left.

    Args:
        limits: (resources,) int64, of an empty core.
    """

    def __init__(self, limits: Array) -> None:
        self.limits = limits
        self.price = _WHOLE // np.maximum(limits, 1)
        self.count = 0
        self._free = np.zeros((16, limits.size), np.int64)

    def copy(self) -> _Rooms:
        """Return the same rooms, to be filled otherwise."""
        other = _Rooms(self.limits)
        other.count, other._free = self.count, self._free.copy()
        return other

    def any_fits(self, amounts: Array) -> bool:
        """Return whether some open core has room."""
        return bool((self._free[: self.count] >= amounts).all(1).any())

    def put(self, amounts: Array) -> int:
        """Put a piece where least is left over, or on a new core; return which."""
        fits = np.flatnonzero((self._free[: self.count] >= amounts).all(1))
        if fits.size:
            core = int(fits[np.argmin((self._free[fits] - amounts) @ self.price)])
        else:
            core = self.open()
        self._free[core] -= amounts
        return core

    def open(self) -> int:
        """Return a new core."""
        if self.count == len(self._free):
            self._free = np.concatenate([self._free, np.zeros_like(self._free)])
        self._free[self.count] = self.limits
        self.count += 1
        return self.count - 1

    def put_new(self, amounts: Array) -> int:
        """Put a piece on a new core."""
        core = self.open()
        self._free[core] -= amounts
        return core

    def value(self) -> int:
        """Return what the open cores count: half for being open, and half by what they have least of."""
        used = ((self.limits - self._free[: self.count]) * self.price).max(1)
        return int(used.sum()) + self.count * _WHOLE


# ---- cutting ----------------------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Cuts:
    """What is cut so far.

    Args:
        rooms: of the cores that are open; None where every piece has a cluster of its own.
        pieces: of each population.
        cores: of each piece, where there are rooms.
        amounts: what each piece takes, (resources,) int64.
    """

    rooms: _Rooms | None
    pieces: dict[str, list[Slice]] = field(default_factory=dict)
    cores: dict[str, list[int]] = field(default_factory=dict)
    amounts: dict[str, list[Array]] = field(default_factory=dict)

    def put(self, name: str, pieces: list[Slice], cores: list[int], amounts: list[Array]) -> None:
        """Note how a population is cut."""
        self.pieces[name], self.cores[name], self.amounts[name] = pieces, cores, amounts


def _all_cut(task: _Task, together: bool) -> _Cuts:
    """Return all populations cut, each once what hears it is; `together`: with a view to the room on cores that are open."""
    names = [p.name for p in task.network.populations if p.kernel is not None]
    known = set(names)
    edges = [(p.source, p.target) for p in task.network.projections if p.source in known]
    cuts = _Cuts(_Rooms(task.limits) if together else None)
    for members in reversed(components(names, edges)):
        _cut_loop(task, members, cuts)
    return cuts


def _cut_loop(task: _Task, members: list[str], cuts: _Cuts) -> None:
    """Cut the populations of a strongly connected component, those behind which are cut."""
    part = task.around([*members, *task.listening(members)])
    behind = {name: cuts.pieces[name] for name in task.listening(members) if name in cuts.pieces}
    if not any(target in members for name in members for target in task.behind[name]):
        copied = _with(part, _copies(task, part, _listed(behind), members))
        _cut(task, copied, members[0], cuts, cuts.rooms)
        return
    held = _copies(task, part, None, members)
    for _ in range(_ROUNDS):
        heard = behind | {name: cuts.pieces[name] for name in members if name in cuts.pieces}
        needed = _copies(task, part, _listed(heard), members)
        # Copies never become fewer, so that the cuts settle.
        held = {name: np.maximum(held[name], needed[name]) for name in members}
        cut = all(name in cuts.pieces for name in members)
        if cut and all(_fit(task, part, name, cuts.pieces[name], needed[name]) for name in members):
            copied = _with(part, needed)
            for name in members:
                amounts = [_amounts(task, copied, name, piece) for piece in cuts.pieces[name]]
                cores = [0] * len(amounts) if cuts.rooms is None else [cuts.rooms.put(amount) for amount in amounts]
                cuts.put(name, cuts.pieces[name], cores, amounts)
            return
        copied = _with(part, held)
        for name in members:
            _cut(task, copied, name, cuts, None)
    raise _unsettled(task, held)


def _listed(pieces: Mapping[str, Sequence[Slice]]) -> list[Shard]:
    return [Shard(name, part, 0, {}) for name, parts in pieces.items() for part in parts]


def _copies(task: _Task, part: QuantizedNetwork, shards: Sequence[Shard] | None, names: Sequence[str]) -> dict[str, Array]:
    """Return the copies of each neuron of some populations, (n,) int64 each; see `Replicating.replicate`."""
    copied = task.target.replicate(part, shards)
    return {name: _held(copied[name]) for name in names}


def _with(network: QuantizedNetwork, copies: Mapping[str, Array]) -> QuantizedNetwork:
    return replace(network, populations=tuple(
        replace(p, copies=copies[p.name]) if p.name in copies else p for p in network.populations
    ))


def _fit(task: _Task, part: QuantizedNetwork, name: str, pieces: Sequence[Slice], copies: Array) -> bool:
    copied = _with(part, {name: copies})
    return all((_amounts(task, copied, name, piece) <= task.limits).all() for piece in pieces)


def _amounts(task: _Task, copied: QuantizedNetwork, name: str, part: Slice) -> Array:
    """Return what a piece takes, (resources,) int64."""
    amounts = task.target.demand(copied, name, part)
    return np.array([amounts[resource] for resource in task.capacity], np.int64)


def _cut(
    task: _Task, copied: QuantizedNetwork, name: str, cuts: _Cuts, rooms: _Rooms | None
) -> None:
    """Cut a population whose copies are known, and put its pieces into rooms if there are any."""
    cut: _Cut
    if name in task.irregular:
        cut = _ListCut(task, copied, copied[name], rooms, _lists(task, copied, name))
    else:
        cut = _BoxCut(task, copied, copied[name], rooms)
    best = cut.best()
    cuts.put(name, best.pieces, best.cores, [cut.look(piece) for piece in best.pieces])
    if rooms is not None:
        cuts.rooms = best.rooms


def _lists(task: _Task, copied: QuantizedNetwork, name: str) -> list[Slice]:
    """Return pieces of a population that is cut neuron by neuron; what they take with the copies there are may not fit a core."""
    if name not in task.lists:
        try:
            _keep_lists(task, task.pack(copied, frozenset([name])).shards)
        except NmapError as error:
            if error.exit_status != Exit.DOES_NOT_FIT:
                raise
            raise _unsettled(task, {name: _held(copied[name])}) from error
    return task.lists[name]


def _keep_lists(task: _Task, shards: Sequence[Shard]) -> None:
    """Remember how populations were cut neuron by neuron: it takes long, and which neurons belong together depends little on copies."""
    for shard in sorted(shards, key=lambda shard: shard.cluster):
        if shard.population in task.irregular:
            task.lists.setdefault(shard.population, []).append(shard.slice)


@dataclass(frozen=True, slots=True)
class _Way:
    """One way of cutting a population: its pieces, their cores, and what is left on these."""

    pieces: list[Slice]
    cores: list[int]
    rooms: _Rooms


class _Cut(ABC):
    """Ways of cutting one population into pieces that fit a core.

    Args:
        copied: the network with the copies of the population's neurons.
        population: what is cut.
        rooms: of open cores; None where every piece has a core of its own.
    """

    def __init__(self, task: _Task, copied: QuantizedNetwork, population: QuantizedPopulation, rooms: _Rooms | None) -> None:
        self.task, self.copied, self.population = task, copied, population
        self.limits = task.limits
        self.rooms = rooms
        self.price = _WHOLE // np.maximum(self.limits, 1)
        # What is heard twice is copied twice, if it can be.
        self.hidden = any(copied[p.source].kernel is not None for p in copied.afferents(population.name))
        self._known: dict[object, Array] = {}

    @abstractmethod
    def ways(self) -> Iterator[_Way | None]:
        """Yield ways of cutting, the most promising ones first; None for one that does not exist."""

    def best(self) -> _Way:
        """Return the way that fills the fewest cores, what it makes those before it take counted in."""
        best: tuple[int, int, _Way] | None = None
        tried, most = 0, _SEARCHED * (1 + self.task.options.effort)
        for way in self.ways():
            if way is None:
                continue
            tried += len(way.pieces)
            value = way.rooms.value()
            if self.hidden:
                value += 2 * sum(int(self.look(piece) @ self.price) for piece in way.pieces)
            if best is None or (value, len(way.pieces)) < best[:2]:
                best = value, len(way.pieces), way
            if tried >= most:
                break
        if best is None:
            raise _unsettled(self.task, {self.population.name: _held(self.population)})
        return best[2]

    def look(self, piece: Slice) -> Array:
        """Return what a piece takes, (resources,) int64."""
        key = piece if isinstance(piece, tuple) else piece.tobytes()
        if key not in self._known:
            self._known[key] = _amounts(self.task, self.copied, self.population.name, piece)
        return self._known[key]

    def fits(self, piece: Slice) -> bool:
        """Return whether a piece fits an empty core."""
        return bool((self.look(piece) <= self.limits).all())

    def swept(self, lanes: Sequence[tuple[int, Callable[[int, int], Slice]]], dearer: int) -> _Way | None:
        """Return pieces that fill lanes from their first row on; None where not even a row fits.

        Args:
            lanes: number of rows, and the piece of rows start to stop.
            dearer: see `_DEARER`.
        """
        rooms = _Rooms(self.limits) if self.rooms is None else self.rooms.copy()
        way = _Way([], [], rooms)
        for rows, piece in lanes:
            start, guess, squeezed = 0, 1, 1
            while start < rows:
                at = start

                def alone(count: int, at: int = at, piece: Callable[[int, int], Slice] = piece) -> bool:
                    return self.fits(piece(at, at + count))

                def inside(count: int, at: int = at, piece: Callable[[int, int], Slice] = piece) -> bool:
                    return rooms.any_fits(self.look(piece(at, at + count)))

                taken = guess = _largest(alone, rows - start, guess)
                if taken == 0:
                    return None
                less = _largest(inside, taken, squeezed) if rooms.count and self.rooms is not None else 0
                whole, part = self.look(piece(start, start + taken)), self.look(piece(start, start + max(less, 1)))
                if less and int(part @ self.price) * taken * 100 <= int(whole @ self.price) * less * dearer:
                    taken = squeezed = less
                    core = rooms.put(part)
                else:
                    core = rooms.put_new(whole)
                way.pieces.append(piece(start, start + taken))
                way.cores.append(core)
                start += taken
        return way


def _largest(fits: Callable[[int], bool], most: int, guess: int) -> int:
    """Return the largest number up to `most` that fits, as all smaller ones do; the search begins at a guess."""
    low, high, number = 0, most, min(max(guess, 1), most)
    while low < high:
        low, high = (number, high) if fits(number) else (low, number - 1)
        # Next to the guess it is found at once, elsewhere by halving.
        number = low + 1 if low in (guess, guess - 1) else (low + high + 1) // 2
        number = min(max(number, low + 1), high)
    return low


class _ListCut(_Cut):
    """Ways of cutting a population into lists of neurons.

    Args:
        lists: pieces; neurons that hear the same lie near each other in them.
    """

    def __init__(
        self, task: _Task, copied: QuantizedNetwork, population: QuantizedPopulation, rooms: _Rooms | None, lists: Sequence[Slice]
    ) -> None:
        super().__init__(task, copied, population, rooms)
        self.lists = lists

    def ways(self) -> Iterator[_Way | None]:
        """See `_Cut`."""
        if all(self.fits(part) for part in self.lists):
            rooms = _Rooms(self.limits) if self.rooms is None else self.rooms.copy()
            put = rooms.put_new if self.rooms is None else rooms.put
            yield _Way(list(self.lists), [put(self.look(part)) for part in self.lists], rooms)
        order = np.concatenate([slice_indices(part, self.population.shape) for part in self.lists])
        lane = (order.size, lambda start, stop: np.sort(order[start:stop]))
        for dearer in _DEARER if self.rooms is not None else _DEARER[:1]:
            yield self.swept([lane], dearer)


class _BoxCut(_Cut):
    """Ways of cutting a regular population into boxes."""

    def __init__(self, task: _Task, copied: QuantizedNetwork, population: QuantizedPopulation, rooms: _Rooms | None) -> None:
        super().__init__(task, copied, population, rooms)
        self.axis = row_axis(population.shape)
        mean = -(-int(_held(population).sum()) // population.size)
        self._alike = _with(copied, {population.name: np.full(population.size, mean)})

    def ways(self) -> Iterator[_Way | None]:
        """See `_Cut`."""
        shape, axis = self.population.shape, self.axis
        for counts in self._candidates():
            grid = [even_parts(size, count) for size, count in zip(shape, counts, strict=True)]
            lanes = []
            for lane in product(*grid):
                def piece(start: int, stop: int, lane: Box = lane) -> Slice:
                    first = lane[axis][0]
                    return (*lane[:axis], (first + start, first + stop), *lane[axis + 1 :])

                lanes.append((lane[axis][1] - lane[axis][0], piece))
            for dearer in _DEARER if self.rooms is not None else _DEARER[:1]:
                yield self.swept(lanes, dearer)

    def _candidates(self) -> list[tuple[int, ...]]:
        """Return numbers of parts along the dimensions other than the rows', the most promising first by their prices."""
        shape, axis = self.population.shape, self.axis
        ways = []
        for dimension, size in enumerate(shape):
            # Only numbers that make the largest part smaller: 8 in 5 parts is 8 in 4 with one more seam.
            sizes = {-(-size // count): count for count in range(size, 0, -1)}
            ways.append([1] if dimension == axis else sorted(sizes.values()))
        if prod(map(len, ways)) == 1:
            return [tuple(way[0] for way in ways)]
        priced = []
        for counts in product(*ways):
            extent = [-(-size // count) for size, count in zip(shape, counts, strict=True)]
            rows = self._rows(tuple(extent))
            if rows == 0:
                priced.append((float("inf"), prod(counts), counts))
                continue
            extent[axis] = rows
            price = int(self._at_most(tuple(extent)) @ self.price)
            priced.append((price * prod(counts) * shape[axis] / rows, prod(counts), counts))
        return [counts for _, _, counts in sorted(priced)]

    def _at_most(self, extent: tuple[int, ...]) -> Array:
        """Return what a box of this extent takes where all neurons have the mean number of copies."""
        amounts = self.task.target.demand_at_most(self._alike, self.population.name, extent)
        return np.array([amounts[resource] for resource in self.task.capacity], np.int64)

    def _rows(self, extent: tuple[int, ...]) -> int:
        """Return how many rows of lanes of this extent fit where all neurons have the mean number of copies."""
        return _largest(
            lambda rows: bool((self._at_most((*extent[: self.axis], rows, *extent[self.axis + 1 :])) <= self.limits).all()),
            self.population.shape[self.axis], 0,
        )


# ---- packing ----------------------------------------------------------------------------------------------------------------------------


def _packed(task: _Task, bound: int) -> Packed:
    """Cut all populations, and share the pieces out over as few cores as possible; no fewer than `bound` are."""
    best = None
    for together in (True, False):
        found = _shared(task, _all_cut(task, together), together)
        if best is None or (found[1].pieces and (not best[1].pieces or found[1].clusters < best[1].clusters)):
            best = found
        if len(found[0]) > _FILLED or (best[1].pieces and best[1].clusters <= bound):
            break
    assert best is not None
    pieces, answer = best
    if not answer.pieces:
        names = list(dict.fromkeys(piece.population for piece in pieces))
        raise _unsettled(task, _copies(task, task.network, pieces, names), answer)
    shards = tuple(replace(pieces[piece.item], cluster=piece.cluster) for piece in answer.pieces)
    return Packed(in_order(shards, task.network), answer)


def _shared(task: _Task, cuts: _Cuts, together: bool) -> tuple[list[Shard], PackingSolution]:
    """Return the pieces, and how they are packed; an answer without pieces where there are not enough cores."""
    pieces: list[Shard] = []
    own: list[int] = []
    capacity = task.capacity
    items: list[Item] = []
    for population in task.network.populations:
        name = population.name
        for piece, core, column in zip(*(held.get(name, []) for held in (cuts.pieces, cuts.cores, cuts.amounts)), strict=True):
            items.append(Item(f"piece {len(items)}", 1, np.stack([np.zeros_like(column), column], 1), column.astype(np.float64)))
            pieces.append(Shard(name, piece, 0, {}))
            own.append(core)
    classes = tuple(
        CoreClass(np.array([kind.capacity[name] for name in capacity], np.int64), kind.cores.size) for kind in task.machine.classes
    )
    several = len(classes) > 1
    problem = PackingProblem(tuple(capacity), task.limits, tuple(items), len(task.machine.cores), classes=classes if several else ())
    answers = []
    if together and not several:
        place = {core: k for k, core in enumerate(dict.fromkeys(own))}
        listed = tuple(Piece(k, 1, place[core]) for k, core in enumerate(own))
        enough = len(place) <= len(task.machine.cores)
        answers.append(PackingSolution(listed if enough else (), len(place), 1, "feasible" if enough else "unknown"))
    if not answers or len(items) <= _FILLED:
        answers.append(finish(problem, fill(problem), area_bound(problem)))
    # No two pieces that take more than half of something share a core.
    sizes = np.stack([item.demand[:, 1] for item in items])
    least = max(area_bound(problem), int((2 * sizes > task.limits).sum(0).max()))
    if len(items) <= _SOLVED and all(found.clusters > least for found in answers):
        answers.append(task.partitioner.pack(problem, task.budget))
    answer = min(answers, key=lambda found: (not found.pieces, found.clusters))
    if answer.pieces:
        check_packing(problem, answer)
    return pieces, answer


def _held(population: QuantizedPopulation) -> Array:
    return np.ones(population.size, np.int64) if population.copies is None else population.copies


# ---- what cannot be ---------------------------------------------------------------------------------------------------------------------


def _check_copies(task: _Task, least: QuantizedNetwork) -> None:
    """Refuse neurons whose least copies do not fit a core, with the axons that make them.

    Raises:
        NmapError: NM401, for every population with such neurons.
    """
    findings = Findings()
    for population in least.populations:
        if population.kernel is None or population.copies is None or population.copies.max() == 1:
            continue
        worst = int(population.copies.argmax())
        number = int(population.copies[worst])
        # A population alone, with nothing to hear: what its copies take.
        alone = QuantizedNetwork((population,), (), (), (population.name,))
        single: Slice = tuple((int(k), int(k) + 1) for k in np.unravel_index(worst, population.shape))
        amounts = task.target.demand(alone, population.name, single)
        over = [name for name, limit in task.capacity.items() if amounts[name] > limit]
        if not over:
            continue
        parts = []
        for target in dict.fromkeys(task.behind[population.name]):
            heard = task.target.replicate(replace(task.around([target]), outputs=(target,)), None)
            parts.append((int(_held(heard[population.name])[worst]), target))
        listed = ", ".join(f"`{target}` hears it on at least {axons} axons" for axons, target in sorted(parts, reverse=True)[:3])
        findings.extend([Diagnostic(
            "NM401", "error", f"not even one neuron of `{population.name}` fits a core with its copies", str(population.where),
            f"Each of the chip's neurons has one destination, so it takes one of them for every axon that hears it, all on one core: neuron"
            f" {worst} takes at least {number}, and a core has room for {task.capacity[over[0]]} ({listed}).",
            (
                f"put several populations like `{population.name}` into the network, each leading to a part of the targets",
                "make weights smaller (`--bits`), or prune synapses, so that fewer axons hear a neuron",
            ),
            data={"population": population.name, "neuron": worst, "copies": number, "limit": task.capacity[over[0]]},
        )])
    findings.raise_errors(Exit.DOES_NOT_FIT)


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
