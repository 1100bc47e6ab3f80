"""Partition at neuron level and placement together: coarsen, grow cores, anneal under all budgets, place, anneal under the placement."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

import numpy as np

from nmap.connectivity import Array
from nmap.partition.coarsen import Level, bottom, collapse, cost_scale, group_twins
from nmap.partition.core_bounds import area_cores, fewest_cores
from nmap.partition.neurons import Partition, PartitionProblem, partition_hops, partition_packets
from nmap.partition.overlap import grow
from nmap.partition.partitioner import Budget
from nmap.partition.refine import Refiner
from nmap.place.anneal import search
from nmap.place.board import Board
from nmap.place.problem import PlacementProblem, placement_cost

__all__ = ["packets_bound", "solve"]

_WORK = (1.5e8, 1.6e9, 2.0e10)
"""Numbers looked at by effort, over all annealings of one number of cores, for a network of `_PINS`; it grows with their cube root."""
_PINS = 400_000
_ALONE = 0.4
"""Share of the work where a core holds neurons of one population only: most of its moves are exchanges, which
settle early (not at effort 0, which has none to spare)."""
_MOVES = (400, 2000, 20_000)
"""Most moves per node by effort in one annealing."""
_RESTARTS = (1, 4, 8)
"""Most annealings by effort from the same start, of which the best goes on."""
_PACKET = 3
"""Hops that a packet counts beyond those it makes: what it costs to be sent and received at all."""
_SHARES = (24, 96)
"""Nodes of a coarse level are no heavier than a core over this."""


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """A level, and the groups of the level below that are its nodes."""

    level: Level
    group: Array


def packets_bound(problem: PartitionProblem) -> float:
    """Return packets per step that no partition is below.

    The targets of an axon fill a number of cores, resource by resource; one of these may be the source's own.
    """
    owner = np.repeat(np.arange(problem.axons), np.diff(problem.start))
    need = (np.diff(problem.start) > 0).astype(np.int64)
    for r in range(len(problem.resources)):
        room = problem.capacity[r] - problem.axon[r]
        total = np.bincount(owner, weights=problem.neuron[r][problem.target], minlength=problem.axons)
        need = np.maximum(need, np.where(total > 0, np.ceil(total / np.maximum(room, 1) - 1e-9), 0).astype(np.int64))
    return float(problem.rate @ np.maximum(need - (problem.source >= 0), 0))


def _alone(level: Level) -> Array:
    """Return (nodes, R) int64, what every node takes on a core of its own, destinations aside."""
    total = level.weight.copy()
    owner = np.repeat(np.arange(level.nets), np.diff(level.start))
    for r in range(total.shape[1]):
        np.add.at(total[:, r], level.target, level.take[owner, r])
    return total


class _Search:
    """The state of one solve."""

    def __init__(self, problem: PartitionProblem, budget: Budget) -> None:
        self.problem = problem
        self.budget = budget
        self.scale = cost_scale(problem)
        self.stages = self._coarsen()
        alone = bool((2 * problem.axon > problem.capacity[:, None]).any()) and len(self.stages) == 1
        self.share = _ALONE if alone and budget.effort else 1.0
        self.seed = budget.seed * 1_000_003

    def _coarsen(self) -> list[_Stage]:
        level = bottom(self.problem, self.scale)
        stages = [_Stage(level, np.arange(level.nodes))]
        for share in reversed(_SHARES):
            most = np.maximum(self.problem.capacity // share, 1)
            for kin in (False, True):
                group, groups = group_twins(level, most, kin)
                if groups < level.nodes:
                    coarse = collapse(level, group, groups)
                    # Twins bring no axons that one of them alone does not need.
                    most_alone = np.zeros((groups, most.size), np.int64)
                    np.maximum.at(most_alone, group, _alone(level))
                    together = _alone(coarse)
                    grown = 4 * together > 5 * most_alone
                    grown[:, level.take.any(0) == 0] = False
                    wide = (grown & (together > np.maximum(self.problem.capacity // 4, 1))).any(1)
                    if wide[group].any():
                        # Groups whose members share too little to fit a core with ease stay apart.
                        _, group = np.unique(np.where(wide[group], groups + np.arange(level.nodes), group), return_inverse=True)
                        group = group.ravel()
                        groups = int(group.max()) + 1
                        coarse = collapse(level, group, groups)
                    level = coarse
                    stages.append(_Stage(level, group))
        # Most is gained where nodes are few; the neurons themselves are for what is left. Levels between only cost time.
        if level.nodes > 0.8 * stages[0].level.nodes:
            return stages[:1]
        group = np.arange(stages[0].level.nodes)
        for stage in stages[1:]:
            group = stage.group[group]
        return [stages[0], _Stage(level, group)]

    def next_seed(self) -> int:
        self.seed += 1
        return self.seed

    def moves(self, refiner: Refiner, nodes: int, share: float) -> int:
        """Return the moves that a share of the work pays for, up to the most there are."""
        effort = self.budget.effort
        work = self.share * _WORK[effort] * float(np.cbrt(max(self.problem.target.size, 1) / _PINS))
        return int(min(_MOVES[effort] * nodes, share * work / refiner.work)) + 1

    def refiner(self, level: Level, part: Array, cores: int, far: Array) -> Refiner:
        return Refiner(level, part, cores, self.problem.capacity, self.problem.route, far, self.next_seed())


def _apart(cores: int) -> Array:
    """Return distances where every packet to another core counts the same."""
    return 1 - np.eye(cores + 1, dtype=np.int64)


def _distances(board: Board, slot: Array) -> Array:
    """Return (cores + 1, cores + 1) int64 distances of the slots, the port's last."""
    k = slot.size
    far = np.zeros((k + 1, k + 1), np.int64)
    first, second = np.divmod(np.arange(k * k), max(k, 1))
    far[:k, :k] = board.hops_between(slot[first], slot[second]).reshape(k, k)
    far[k, :k] = far[:k, k] = board.port_hops()[slot]
    return far


def _traffic(level: Level, part: Array, cores: int, scale: float) -> tuple[Array, Array, Array]:
    """Return sources, targets and packets per step between cores."""
    owner = np.repeat(np.arange(level.nets), np.diff(level.start))
    pairs = np.unique(owner * cores + part[level.target])
    net, to = np.divmod(pairs, cores)
    home = np.where(level.source[net] >= 0, part[level.source[net]], cores)
    total = np.zeros((cores + 1, cores), np.int64)
    np.add.at(total, (home, to), level.cost[net])
    total[np.arange(cores), np.arange(cores)] = 0
    source, target = np.nonzero(total)
    return np.where(source == cores, -1, source), target, total[source, target] / scale


def _place(search_: _Search, level: Level, part: Array, cores: int, slot: Array | None, effort: int) -> Array:
    """Return slots for the cores, no worse than those given."""
    board = search_.problem.board
    assert board is not None
    source, target, weight = _traffic(level, part, cores, search_.scale)
    problem = PlacementProblem(cores, board, source, target, weight)
    found = search(problem, effort, search_.next_seed())
    if slot is not None and placement_cost(problem, slot) <= placement_cost(problem, found):
        return slot
    return found


def _dissolve(level: Level, part: Array, load: Array, capacity: Array, keep: int) -> Array:
    """Return the nodes on the fullest `keep` cores; those of the others go where most of their inputs are already."""
    cores = load.shape[0]
    full = (load / np.maximum(capacity, 1)).max(1)
    order = np.argsort(-full, kind="stable")[:keep]
    index = np.full(cores, -1, np.int64)
    index[np.sort(order)] = np.arange(keep)
    part = index[part]
    for v in np.flatnonzero(part < 0):
        nets = level.inward[level.inward_start[v] : level.inward_start[v + 1]]
        votes = np.zeros(keep, np.int64)
        for e in nets[:64]:
            near = part[level.target[level.start[e] : level.start[e + 1]]]
            near = np.unique(near[near >= 0])
            votes[near] += level.count[e]
        part[v] = int(votes.argmax()) if votes.any() else int(v) % keep
    return part


def _fewest(search_: _Search, level: Level, part: Array, cores: int, bound: int) -> tuple[Array, int]:
    """Return a partition on as few cores as annealing finds; with slack, cores are given up only as long as that costs no packets.

    On cores that are filled to the last word every choice is gone: a tenth fewer cores were measured to cost a quarter more packet hops.
    """
    problem, budget = search_.problem, search_.budget
    # On a machine with fewer cores than are used so far there is no choice.
    lean = problem.slack <= 0 or cores > problem.cores
    step = max(1, (cores - bound) // 4)
    failures = 0
    cost: int | None = None
    if not lean:
        at = search_.refiner(level, part, cores, _apart(cores))
        at.anneal(search_.moves(at, level.nodes, 0.05), lambda: budget.over)
        if at.over == 0:
            part, cost = at.part.copy(), at.cost
    while cores > bound and failures < 3 and not budget.over:
        wanted = max(bound, cores - step)
        at = search_.refiner(level, part, cores, _apart(cores))
        at = search_.refiner(level, _dissolve(level, part, at.load(), problem.capacity, wanted), wanted, _apart(wanted))
        at.anneal(search_.moves(at, level.nodes, 0.05), lambda: budget.over, legal=lean)
        if at.over == 0 and (lean or cost is None or at.cost <= cost):
            part, cores, cost = at.part.copy(), wanted, at.cost
            budget.say(f"{cores} cores, at least {bound}")
        elif step == 1:
            break
        else:
            failures += 1
            step = max(1, step // 3)
    return part, cores


def _repaired(search_: _Search, level: Level, part: Array, cores: int, far: Array, share: float) -> tuple[Array, int]:
    """Return the part, moved so that nothing is over budget if that is found, and what is over."""
    at = search_.refiner(level, part, cores, far)
    for heat in (1e-4, 1e-3, 1e-2, 5e-2):
        if at.over == 0 or search_.budget.over:
            break
        at.run(search_.moves(at, level.nodes, share), heat, heat / 10, lambda: search_.budget.over, legal=True)
    return at.part.copy(), at.over


def _first(search_: _Search) -> tuple[Array, int, bool]:
    """Return a partition of the coarsest level within all budgets, its number of cores, and whether it is within them."""
    problem, level = search_.problem, search_.stages[-1].level
    part, cores = grow(level, problem.capacity)
    for _ in range(12):
        part, over = _repaired(search_, level, part, cores, _apart(cores), 0.1)
        if over == 0:
            return part, cores, True
        cores += max(1, cores // 16)
    return part, cores, False


def _finish(problem: PartitionProblem, part: Array, slot: Array | None, bound: int, seed: int) -> Partition:
    """Return the answer: cores without neurons are dropped."""
    used, part = np.unique(part, return_inverse=True)
    part = part.ravel().astype(np.int64)
    clusters = int(used.size)
    packets = partition_packets(problem, part)
    floor_ = min(packets_bound(problem), packets)
    hops = None
    if problem.board is not None:
        slot = np.asarray(slot)[used]
        hops = partition_hops(problem, problem.board, part, slot)
    return Partition(part, clusters, bound, packets, floor_, "optimal" if clusters == bound else "feasible", seed, slot, hops)


def _annealed(search_: _Search, part: Array, cores: int) -> tuple[float, Array, Array | None]:
    """Return the value, infinite if over budget, the neurons' cores and the slots of a partition refined on all levels.

    Packets first, on the coarsest level; with a board then packets times hops, placed anew before each annealing: a hot one there, and a
    cold one on every finer level, which only settles what the coarse one left.
    """
    problem, budget, stages = search_.problem, search_.budget, search_.stages
    level = stages[-1].level
    best = search_.refiner(level, part, cores, _apart(cores))
    least = packets_bound(problem) * (1 + 1e-9)
    # Where neurons have no twins one annealing is as good as another.
    for restart in range(_RESTARTS[budget.effort] if len(stages) > 1 else 1):
        if best.over == 0 and best.cost <= least * search_.scale:
            break
        at = search_.refiner(level, part, cores, _apart(cores))
        moves = search_.moves(at, level.nodes, 0.3)
        if restart and moves < _MOVES[budget.effort] * level.nodes:
            break
        at.anneal(moves, lambda: budget.over)
        if (at.over > 0, at.cost) < (best.over > 0, best.cost):
            best = at
        budget.say(f"{cores} cores, {best.cost / search_.scale:.6g} packets per step, at least {least:.6g}")
    part = best.part.copy()
    slot: Array | None = None
    for stage in reversed(stages):
        coarsest = stage is stages[-1]
        shares = () if coarsest and problem.board is None else (0.2, 0.05) if coarsest else (0.15,)
        for share in shares:
            far = _apart(cores)
            if problem.board is not None:
                slot = _place(search_, stage.level, part, cores, slot, 0)
                far = _distances(problem.board, slot) + _PACKET * far
            at = search_.refiner(stage.level, part, cores, far)
            before = (at.over > 0, at.cost)
            at.anneal(min(search_.moves(at, stage.level.nodes, share), _MOVES[budget.effort] * stage.level.nodes // 4), lambda: budget.over)
            if (at.over > 0, at.cost) < before:
                part = at.part.copy()
                budget.say(f"{cores} cores, {at.cost / search_.scale:.6g} packets and packet hops per step")
        if stage is not stages[0]:
            part = part[stage.group]
    if problem.board is not None:
        slot = _place(search_, stages[0].level, part, cores, slot, budget.effort)
    far = _apart(cores) if slot is None or problem.board is None else _distances(problem.board, slot) + _PACKET * _apart(cores)
    part, over = _repaired(search_, stages[0].level, part, cores, far, 0.1)
    if over:
        return float("inf"), part, slot
    cost = partition_packets(problem, part) if problem.board is None or slot is None else partition_hops(problem, problem.board, part, slot)
    return cost, part, slot


def _kept(search_: _Search, previous: Array) -> tuple[Array, Array | None] | None:
    """Return the neurons' cores and the slots of the previous partition, with new neurons added and little changed; None if it fails."""
    problem, level = search_.problem, search_.stages[0].level
    old = previous >= 0
    names, index = np.unique(previous[old], return_inverse=True)
    cores = int(names.size)
    if cores > problem.cores:
        return None
    part = np.arange(problem.neurons) % cores
    part[old] = index.ravel()
    slot: Array | None = None
    far = _apart(cores)
    if problem.board is not None:
        slot = _place(search_, level, part, cores, None, search_.budget.effort)
        far = _distances(problem.board, slot)
    at = search_.refiner(level, part, cores, far)
    at.run(search_.moves(at, level.nodes, 0.1), 1e-3, 1e-4, lambda: search_.budget.over)
    part, over = _repaired(search_, level, at.part.copy(), cores, far, 0.1)
    return None if over else (part, slot)


def solve(problem: PartitionProblem, budget: Budget) -> Partition:
    """Return the best partition found, placed when the problem has a board."""
    bound = area_cores(problem)
    none = np.zeros(0, np.int64)
    if not problem.neurons:
        slot, hops = (None, None) if problem.board is None else (none, 0.0)
        return Partition(none, 0, 0, 0.0, 0.0, "optimal", budget.seed, slot, hops)
    search_ = _Search(problem, budget)
    possible = not (_alone(search_.stages[0].level) > problem.capacity).any()
    if possible and budget.effort:
        bound = max(bound, fewest_cores(problem))
    if not possible or bound > problem.cores:
        return Partition(none, bound, bound, 0.0, 0.0, "infeasible", budget.seed)
    if problem.previous is not None and (problem.previous >= 0).any():
        kept = _kept(search_, problem.previous)
        if kept is not None:
            return _finish(problem, kept[0], kept[1], bound, budget.seed)
    part, cores, legal = _first(search_)
    if legal:
        part, cores = _fewest(search_, search_.stages[-1].level, part, cores, bound)
    if not legal or cores > problem.cores:
        return Partition(none, cores, bound, 0.0, 0.0, "unknown", budget.seed)
    most = min(max(cores, floor(cores * (1 + problem.slack))), problem.cores)
    value, answer, slot = _annealed(search_, part, most)
    if value == float("inf"):
        for stage in reversed(search_.stages[1:]):
            part = part[stage.group]
        answer, slot = part, None
        if problem.board is not None:
            slot = _place(search_, search_.stages[0].level, part, cores, None, budget.effort)
    return _finish(problem, answer, slot, bound, budget.seed)
