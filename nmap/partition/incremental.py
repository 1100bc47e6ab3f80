"""Map a network again so that little moves: an earlier mapping is the hint, and what is kept of it is told.

An old core is *kept* when all that still exists of it stays together on the same core. A population is the same one where name and shape
are the same; what is left is matched in order by shape, since files without names number their layers. Weights do not matter, only what
the neurons take of a core now. Populations that are new, or whose pieces no longer fit their cores, are cut anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Exit, NmapError
from nmap.mapping import Packed, Shard, in_order
from nmap.options import Options
from nmap.partition.cut import pack_network
from nmap.partition.partitioner import Budget, Partitioner
from nmap.partition.problem import PackingSolution
from nmap.place.bound import certify
from nmap.place.problem import Nets, PlacementProblem, PlacementSolution, check_placement, placement_cost
from nmap.program import Core, Program, Slice, slice_indices
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Replicating, Target
from nmap.target.machine import Machine

__all__ = ["Moved", "Remap", "Start", "pack_again", "place_again", "told"]

_WORTH = 0.05
"""Traffic above that of a free choice of places, as a share of it, that is accepted for cores that stay where they are."""
_CHARGES = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""What a move has to save, in shares of the mean traffic of a core, from few moves to many."""


@dataclass(frozen=True, slots=True)
class Moved:
    """A core's content that lies on another core now.

    Args:
        old, new: where it was and where it is.
        why: the old core is `dead`; it is `absent` from the machine (fewer chips, or cut off); or the move saves `traffic`.
    """

    old: Core
    new: Core
    why: str


@dataclass(frozen=True, slots=True)
class Remap:
    """What a mapping kept of an earlier one: `before` = `kept` + moved + `freed`.

    Args:
        before: cores of the earlier mapping.
        kept: of these, those whose content stayed.
        moved: those whose content lies elsewhere now, in the order of the earlier mapping.
        freed: number of earlier cores whose content exists no more, or lies scattered over others.
        new: number of cores in use with nothing that lay together before.
        recut: populations cut anew, in the network's order.
        removed: populations of the earlier mapping that exist no more.
        repacked: everything was packed again, since what changed did not fit beside what was kept.
    """

    before: int
    kept: int
    moved: tuple[Moved, ...]
    freed: int
    new: int
    recut: tuple[str, ...]
    removed: tuple[str, ...]
    repacked: bool


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """Where the clusters of a packed network lay before.

    Args:
        old: (clusters,) the core each cluster lay on; None for a new one.
        home: (clusters,) int64 slot of that core on the machine, -1 where it is not usable or the cluster is new.
        before: all cores of the earlier mapping.
        recut, removed, repacked: see `Remap`.
    """

    old: tuple[Core | None, ...]
    home: Array
    before: tuple[Core, ...]
    recut: tuple[str, ...]
    removed: tuple[str, ...]
    repacked: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Old:
    """Pieces of an earlier mapping under the names of the populations that they are now.

    Args:
        pieces: (population, slice) by core, an entry for every core of the program.
        missing: populations of the network that the program does not have.
        removed: populations of the program that the network does not have.
    """

    pieces: list[list[tuple[str, Slice]]]
    missing: set[str]
    removed: tuple[str, ...]


def _renamed(network: QuantizedNetwork, program: Program) -> dict[str, str]:
    """Return the present name by earlier name, of populations on cores that still exist."""
    held = {g.population for g in program.groups} - program.copies.keys()
    was = {program.populations[k].name: program.populations[k].shape for k in sorted(held)}
    now = {p.name: p.shape for p in network.populations if p.kernel is not None}
    same = {name: name for name, shape in was.items() if now.get(name) == shape}
    left, right = [name for name in was if name not in same], [name for name in now if name not in same]
    # Longest common run of shapes in the order of the layers; longest[i][j] is that of left[i:] and right[j:].
    longest = np.zeros((len(left) + 1, len(right) + 1), np.int64)
    for i in reversed(range(len(left))):
        for j in reversed(range(len(right))):
            alike = was[left[i]] == now[right[j]]
            longest[i, j] = longest[i + 1, j + 1] + 1 if alike else max(longest[i + 1, j], longest[i, j + 1])
    i = j = 0
    while i < len(left) and j < len(right):
        if was[left[i]] == now[right[j]]:
            same[left[i]] = right[j]
            i, j = i + 1, j + 1
        elif longest[i + 1, j] >= longest[i, j + 1]:
            i += 1
        else:
            j += 1
    return same


def _pieces(network: QuantizedNetwork, program: Program) -> _Old:
    names = _renamed(network, program)
    pieces: list[list[tuple[str, Slice]]] = [[] for _ in program.cores]
    for group in program.groups:
        name = names.get(program.populations[group.population].name)
        if name is not None:
            pieces[group.core].append((name, group.slice))
    mapped = {program.populations[g.population].name for g in program.groups if g.population not in program.copies}
    missing = {p.name for p in network.populations if p.kernel is not None} - set(names.values())
    # A population that is cut anew under its own name is not removed.
    gone = mapped - names.keys() - missing
    return _Old(pieces, missing, tuple(p.name for p in program.populations if p.name in gone))


def _slots(machine: Machine) -> dict[tuple[int, int], int]:
    return {(core.chip, core.core): slot for slot, core in enumerate(machine.cores)}


@dataclass(frozen=True, slots=True, eq=False)
class _Kept:
    """What stays together.

    Args:
        shards: on clusters 0, 1, ...
        cores: number in the program of each cluster's core.
        kinds: (clusters,) int64, class of each cluster's core, by index of `Machine.classes`.
        taken: (clusters, resources) int64, see `PackingProblem.taken`.
    """

    shards: tuple[Shard, ...]
    cores: tuple[int, ...]
    kinds: Array
    taken: Array


def _kinds(machine: Machine, cores: Sequence[Core]) -> Array:
    """Return (cores,) int64: the class of each core, by index of `Machine.classes`; -1 where it is not usable."""
    slots, kind = _slots(machine), machine.board().kind
    at = np.array([slots.get((core.chip, core.core), -1) for core in cores], np.int64)
    return np.where(at < 0, -1, 0 if kind is None else kind[at])


def _classed(kinds: Array, loads: Array, rooms: Array, free: Array) -> Array | None:
    """Return the classes with one for every core that has none, the smallest that takes its load; None where there is none left.

    Args:
        kinds: (clusters,) int64, -1 for those without one.
        loads: (clusters, resources) int64.
        rooms: (classes, resources) int64.
        free: (classes,) int64, cores there are.
    """
    kinds, left = kinds.copy(), free - np.bincount(kinds[kinds >= 0], minlength=free.size)
    order = sorted(range(free.size), key=lambda k: (tuple(rooms[k].tolist()), k))
    for cluster in np.flatnonzero(kinds < 0):
        fits = [k for k in order if left[k] > 0 and (loads[cluster] <= rooms[k]).all()]
        if not fits:
            return None
        kinds[cluster] = fits[0]
        left[fits[0]] -= 1
    return kinds


def _keep(network: QuantizedNetwork, target: Target, machine: Machine, program: Program, old: _Old) -> _Kept | None:
    """Return the pieces that stay where they are; populations whose pieces do not fit their cores any more join `old.missing`.

    None where what lay on cores that are gone finds none of a class that takes it.
    """
    names = tuple(machine.largest)
    rooms = np.array([[kind.capacity[name] for name in names] for kind in machine.classes], np.int64)
    largest = np.array(list(machine.largest.values()), np.int64)
    kinds = _kinds(machine, program.cores)
    limits = np.where(kinds[:, None] < 0, largest, rooms[kinds])
    size = len(names)
    amounts = [[target.demand(network, name, part) for name, part in pieces] for pieces in old.pieces]
    demands = [np.array([[amount[r] for r in names] for amount in here], np.int64).reshape(-1, size) for here in amounts]
    for pieces, demand, capacity in zip(old.pieces, demands, limits, strict=True):
        while True:
            stay = np.array([name not in old.missing for name, _ in pieces], bool)
            if (demand[stay].sum(0) <= capacity).all():
                break
            # The population that takes the most of what is short; the first of the network among equals.
            short = demand[stay].sum(0) > capacity
            share = {name: 0 for name, _ in pieces if name not in old.missing}
            for (name, _), amount in zip(pieces, demand, strict=True):
                if name in share:
                    share[name] += int(amount[short].sum())
            old.missing.add(max(share, key=lambda name: share[name]))
    shards: list[Shard] = []
    cores: list[int] = []
    load: list[Array] = []
    for core, (pieces, here, demand) in enumerate(zip(old.pieces, amounts, demands, strict=True)):
        stay = np.array([name not in old.missing for name, _ in pieces], bool)
        if not stay.any():
            continue
        for k in np.flatnonzero(stay):
            name, part = pieces[k]
            shards.append(Shard(name, part, len(cores), {r: int(here[k][r]) for r in names}))
        cores.append(core)
        load.append(demand[stay].sum(0))
    loads = np.array(load, np.int64).reshape(-1, size)
    classed = _classed(kinds[cores], loads, rooms, np.array([kind.cores.size for kind in machine.classes]))
    return None if classed is None else _Kept(tuple(shards), tuple(cores), classed, largest - rooms[classed] + loads)


def pack_again(
    network: QuantizedNetwork, target: Target, machine: Machine, partitioner: Partitioner, options: Options, program: Program,
    budget: Budget | None = None, rates: dict[str, Array] | None = None,
) -> tuple[Packed, Start]:
    """Share a network out over cores so that as much as possible of an earlier program stays together.

    What is new or cut anew goes into the room that is left on kept cores and onto further ones. Where that is not enough, everything is
    packed again, and each cluster has the core with which it shares the most neurons for its home.

    Args:
        network, target, machine, partitioner, options, budget, rates: as in `pack_network`.
        program: of the same target and variant.

    Raises:
        NmapError: as `pack_network`.
    """
    old = _pieces(network, program)
    kept = _keep(network, target, machine, program, old)
    recut = tuple(p.name for p in network.populations if p.name in old.missing)
    # Neurons before a layer that is cut anew need other copies.
    if kept is not None and kept.shards and not (recut and isinstance(target, Replicating)):
        try:
            added = None
            if recut:
                only = frozenset(recut)
                added = pack_network(network, target, machine, partitioner, options, budget, only, kept.taken, rates, kept.kinds)
            return _joined(network, target, machine, program, kept, added, recut, old.removed)
        except NmapError as error:
            if error.exit_status not in (Exit.DOES_NOT_FIT, Exit.UNKNOWN):
                raise
    packed = pack_network(network, target, machine, partitioner, options, budget, rates=rates)
    return packed, _matched(network, machine, program, packed, old, recut)


def _joined(
    network: QuantizedNetwork, target: Target, machine: Machine, program: Program, kept: _Kept, added: Packed | None,
    recut: tuple[str, ...], removed: tuple[str, ...],
) -> tuple[Packed, Start]:
    clusters = len(kept.cores) if added is None else added.packing.clusters
    shards = in_order((*kept.shards, *(() if added is None else added.shards)), network)
    largest = np.max([list(kind.capacity.values()) for kind in machine.classes], axis=0)
    floors = [target.demand_floor(network, p.name) for p in network.populations if p.kernel is not None]
    floor = np.sum([[amount[r] for r in machine.capacity] for amount in floors], axis=0)
    # What is proved of the added part beside the kept cores says nothing of a mapping that is free to move them.
    bound = min(max(1, int(np.ceil(np.max(floor / largest) - 1e-9))), clusters)
    time = None if added is None else added.packing.deterministic_time
    kinds = kept.kinds.tolist() if added is None else [*kept.kinds.tolist(), *added.packing.kind[len(kept.cores) :]]
    status = "optimal" if bound == clusters else "feasible"
    packing = PackingSolution((), clusters, bound, status, time, tuple(kinds) if len(machine.classes) > 1 else ())
    slots = _slots(machine)
    old = (*(program.cores[core] for core in kept.cores), *(None for _ in range(clusters - len(kept.cores))))
    home = np.array([-1 if core is None else slots.get((core.chip, core.core), -1) for core in old], np.int64)
    return Packed(shards, packing), Start(old, home, program.cores, recut, removed, False)


def _matched(
    network: QuantizedNetwork, machine: Machine, program: Program, packed: Packed, old: _Old, recut: tuple[str, ...]
) -> Start:
    """Return the earlier core of each cluster of a fresh packing: pairs with the most common neurons first, each core once.

    A core of another class than the cluster needs is none of its own.
    """
    clusters, cores = packed.packing.clusters, len(program.cores)
    was = {p.name: np.full(p.size, -1, np.int64) for p in network.populations}
    shape = {p.name: p.shape for p in network.populations}
    for core, pieces in enumerate(old.pieces):
        for name, part in pieces:
            was[name][slice_indices(part, shape[name])] = core
    common: dict[tuple[int, int], int] = {}
    for shard in packed.shards:
        lay = was[shard.population][slice_indices(shard.slice, shape[shard.population])]
        for core, neurons in zip(*(part.tolist() for part in np.unique(lay[lay >= 0], return_counts=True)), strict=True):
            common[shard.cluster, core] = common.get((shard.cluster, core), 0) + neurons
    best: list[Core | None] = [None] * clusters
    free = np.ones(cores, bool)
    kinds = _kinds(machine, program.cores)
    needed = packed.packing.kind or (0,) * clusters
    for cluster, core in sorted(common, key=lambda pair: (-common[pair], pair)):
        if best[cluster] is None and free[core] and kinds[core] in (-1, needed[cluster]):
            best[cluster], free[core] = program.cores[core], False
    slots = _slots(machine)
    home = np.array([-1 if core is None else slots.get((core.chip, core.core), -1) for core in best], np.int64)
    everything = tuple(p.name for p in network.populations if p.kernel is not None)
    return Start(tuple(best), home, program.cores, everything if not free.all() else recut, old.removed, True)


def place_again(problem: PlacementProblem, start: Start, partitioner: Partitioner, budget: Budget) -> PlacementSolution:
    """Give clusters their slots so that few of them leave their homes.

    All stay, and the others take the best of the free slots, where the traffic is then at most a twentieth above that of a free choice of
    all slots, or would be if the others lay as well as in a free choice: what was no better before is no reason to move. Otherwise
    clusters move for a price, which falls until the traffic is that low.

    Args:
        problem: whose homes, where it has any, are no more than a start.
        start: of the same clusters.
        partitioner, budget: as in `place_network`.

    Returns:
        A placement whose objective is the traffic alone and whose bound is that of a free choice of all slots.
    """
    free = partitioner.place(problem, budget)
    check_placement(problem, free)
    staying = start.home >= 0
    if not staying.any():
        return free
    plain = replace(problem, home=None, move_cost=0.0)
    pinned = replace(plain, pinned=start.home, home=start.home)
    stayed = partitioner.place(pinned, budget)
    check_placement(pinned, stayed)
    among = _among(plain, staying)
    others = placement_cost(plain, free.slot) - placement_cost(among, free.slot)
    enough = (1 + _WORTH) * max(free.objective, placement_cost(among, stayed.slot) + others)
    best = stayed.slot
    mean = free.objective / int(staying.sum())
    for charge in _CHARGES:
        if placement_cost(plain, best) <= enough or budget.over:
            break
        charged = replace(plain, home=start.home, move_cost=charge * mean)
        moved = partitioner.place(charged, budget)
        check_placement(charged, moved)
        best = min(best, moved.slot, key=lambda slot: placement_cost(plain, slot))
    if placement_cost(plain, best) > enough:
        best = free.slot
    return certify(replace(plain, home=start.home), best, free.lower_bound, budget.seed, free.deterministic_time)


def _among(problem: PlacementProblem, staying: Array) -> PlacementProblem:
    """Return the problem with the traffic alone that touches none but the clusters that stay, (clusters,) bool, and the port."""
    # Index -1, the port, is the last entry.
    stays = np.append(staying, True)
    inner = stays[problem.source] & stays[problem.target]
    nets = problem.nets
    if nets is not None:
        count = np.diff(nets.start)
        net = np.repeat(np.arange(count.size), count)
        whole = stays[nets.source] & (np.bincount(net[~stays[nets.target]], minlength=count.size) == 0)
        nets = Nets(
            nets.source[whole], np.concatenate([[0], np.cumsum(count[whole])]), nets.target[whole[net]], nets.weight[whole],
        )
    return replace(problem, source=problem.source[inner], target=problem.target[inner], weight=problem.weight[inner], nets=nets)


def told(start: Start, cores: Sequence[Core], machine: Machine) -> Remap:
    """Return what became of an earlier mapping.

    Args:
        start: of the clusters.
        cores: the core of each cluster.
        machine: the machine mapped onto.
    """
    pairs = [(old, new) for old, new in zip(start.old, cores, strict=True) if old is not None]
    usable, dead = _slots(machine), set(machine.dead)
    moved = []
    for old, new in pairs:
        where = old.chip, old.core
        if where != (new.chip, new.core):
            moved.append(Moved(old, new, "traffic" if where in usable else "dead" if where in dead else "absent"))
    rank = {(core.chip, core.core): k for k, core in enumerate(start.before)}
    moved.sort(key=lambda move: rank[move.old.chip, move.old.core])
    return Remap(
        len(start.before), len(pairs) - len(moved), tuple(moved), len(start.before) - len(pairs), len(start.old) - len(pairs),
        start.recut, start.removed, start.repacked,
    )
