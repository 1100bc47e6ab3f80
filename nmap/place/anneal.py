"""Search for a placement: starts along a curve, annealing, restarts, and exact assignments, with side constraints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from nmap.connectivity import Array
from nmap.place.assign import polish, settle
from nmap.place.bound import certify, lower_bound
from nmap.place.chips import ChipAnnealer
from nmap.place.congestion import relieve
from nmap.place.hilbert import curve_order
from nmap.place.metric import measure
from nmap.place.moves import Annealer
from nmap.place.multicast import TreeAnnealer, as_pairs, listed_routes, merged
from nmap.place.problem import PlacementProblem, PlacementSolution, check_possible, largest_link, placement_cost, slot_classes

__all__ = ["anneal", "search", "start_order"]

_MOVES = (1_500, 15_000, 150_000)
"""Moves per cluster by effort, all restarts together."""
_LEAST = (20_000, 6_000_000, 40_000_000)
"""Moves by effort that even the smallest problem gets."""
_VISITS = (50_000_000, 900_000_000, 9_000_000_000)
"""Traffic entries looked at by effort, over all restarts: what the time goes with."""
_RESTARTS = (1, 6, 12)
_LONGEST = 25_000
"""Moves per cluster of one restart beyond which another restart is worth more."""
_HEAT = 0.5
"""First temperature of a search, in mean changes of a random move."""
_NEARBY = 0.02
"""The same around an older placement, or one whose chips are settled."""
_TREES = 0.1
"""The same for trees, after pairs."""
_CHIP_RESTARTS = (1, 6, 24)
"""Restarts by effort where several slots share a router, which have a search of their own."""
_CHIP_MOVES = (2_000, 6_000, 12_000)
"""Moves per cluster of one such restart by effort."""
_CHIP_LEAST = (200_000, 1_000_000, 2_000_000)
_CHIP_VISITS = (50_000_000, 300_000_000, 4_000_000_000)
"""The same as `_LEAST` and `_VISITS`, of one restart."""
_CHIP_STARTS = 3
"""Levels of groups that restarts begin with, the coarsest ones."""


def start_order(problem: PlacementProblem) -> Array:
    """Return (clusters,) int64: clusters in order along a Hilbert-like curve through the slots of their class; pinned ones where they must.

    Either through the slots nearest to the port (a triangle in the corner), or through the curve's own first ones (a square), or chip by
    chip; the cheapest one.

    Raises:
        ValueError: there are fewer slots than clusters, or a cluster is pinned to a slot of another class or of another cluster.
    """
    board = problem.board
    order = curve_order(board.slots)
    port = board.port_hops()
    walks: list[Array | None] = [None, order]
    if board.fabric.units:
        width, height, _ = board.fabric.units[0]
        chip = board.slots // np.array([width, height])
        # Chips in the order of a curve of their own, and the slots of a chip along the curve through all.
        chips, of = np.unique(chip, axis=0, return_inverse=True)
        rank = np.empty(chips.shape[0], np.int64)
        rank[curve_order(chips)] = np.arange(chips.shape[0])
        walks.append(order[np.argsort(rank[of.ravel()][order], kind="stable")])
    starts = []
    for walk in walks:
        slot = np.full(problem.clusters, -1, np.int64) if problem.pinned is None else problem.pinned.copy()
        free = np.ones(board.size, bool)
        free[slot[slot >= 0]] = False
        for clusters, usable in slot_classes(problem):
            loose = clusters[slot[clusters] < 0]
            if walk is None:
                open_ = order[free[order] & usable[order]]
                near = np.zeros(board.size, bool)
                near[open_[np.argsort(port[open_], kind="stable")[: loose.size]]] = True
                slot[loose] = order[near[order]]
            else:
                slot[loose] = walk[free[walk] & usable[walk]][: loose.size]
        starts.append(slot)
    return min(starts, key=lambda slot: placement_cost(problem, slot))


def _pool(problem: PlacementProblem) -> Array:
    """Return the indices of the slots worth drawing from: all, or on a machine much larger than needed those nearest to the port.

    Pinned clusters' slots and homes are among them, and as many slots near the homes as near the port.
    """
    board = problem.board
    if board.size <= 4 * problem.clusters + 64:
        return np.arange(board.size)
    keep = np.zeros(board.size, bool)
    known = np.concatenate([a[a >= 0] for a in (problem.pinned, problem.home) if a is not None] or [np.zeros(0, np.int64)])
    keep[known] = True
    far = [board.port_hops()]
    if known.size:
        middle = np.sort(known)[known.size // 2]
        far.append(board.hops_between(np.full(board.size, middle), np.arange(board.size)))
    for clusters, usable in slot_classes(problem):
        open_ = np.flatnonzero(usable)
        for hops in far:
            keep[open_[np.argsort(hops[open_], kind="stable")[: 4 * clusters.size + 64]]] = True
    return np.flatnonzero(keep)


def _inside(problem: PlacementProblem, pool: Array) -> PlacementProblem:
    """Return the problem on some of its slots, slots renumbered."""
    where = np.full(problem.board.size + 1, -1, np.int64)
    where[pool] = np.arange(pool.size)
    return replace(
        problem, board=problem.board.part(pool), pinned=None if problem.pinned is None else where[problem.pinned],
        home=None if problem.home is None else where[problem.home],
    )


@dataclass(slots=True)
class _Best:
    """The best placement so far: least cost, then the least load of the heaviest link, then the first."""

    problem: PlacementProblem
    slot: Array
    cost: float

    def offer(self, slot: Array) -> None:
        cost = placement_cost(self.problem, slot)
        if cost < self.cost or (cost == self.cost and largest_link(self.problem, slot) < largest_link(self.problem, self.slot)):
            self.slot, self.cost = slot, cost


def _old_places(problem: PlacementProblem, start: Array) -> Array:
    """Return the homes, new and displaced clusters assigned to free slots at least cost while the others stay."""
    if problem.home is None:
        return start
    slot = problem.home.copy()
    if problem.pinned is not None:
        slot[np.isin(slot, problem.pinned[problem.pinned >= 0])] = -1
        slot[problem.pinned >= 0] = problem.pinned[problem.pinned >= 0]
    if problem.kind is not None and problem.board.kind is not None:
        slot[(slot >= 0) & (problem.board.kind[slot] != problem.kind)] = -1
    # Of two clusters with one home the first keeps it.
    held, first = np.unique(slot, return_index=True)
    keep = np.zeros(slot.size, bool)
    keep[first[held >= 0]] = True
    slot[~keep] = -1
    return settle(problem, slot)


def _by_chips(problem: PlacementProblem) -> Annealer | None:
    """Return an annealer that sees the boundaries of chips only, None where there is one chip or a network without boundaries."""
    metric = measure(problem.board)
    if not problem.board.fabric.units or not metric.separable or problem.board.port_distance is not None:
        return None
    plain = measure(replace(problem.board, fabric=replace(problem.board.fabric, chip=None, larger=())))
    across, up = metric.across - plain.across, metric.up - plain.up
    if not (across.any() or up.any()):
        return None
    return Annealer(problem, replace(metric, across=across, up=up))


def _restarts(work: float, clusters: int, effort: int) -> tuple[int, int]:
    """Return a number of restarts and the moves of each."""
    moves = min(max(_MOVES[effort] * clusters, _LEAST[effort]), int(_VISITS[effort] / work))
    restarts = max(1, min(_RESTARTS[effort], moves // (_LONGEST * clusters)))
    return restarts, moves // restarts


def _annealed(
    problem: PlacementProblem, engine: Annealer, first: Array, effort: int, seed: int, over: Callable[[], bool]
) -> Iterator[Array]:
    """Yield one annealed placement after the other."""
    trees = None
    if problem.multicast and problem.nets is not None:
        listed = problem.board.fabric.hexagonal or problem.board.fabric.faulty
        routes = listed_routes(problem.board) if listed else None
        # Where the routes are too many to be listed, pairs must do for the search.
        nets = merged(problem.nets)
        shared = routes or listed_routes(problem.board)
        if shared is not None and ChipAnnealer.fits(problem, shared, nets):
            yield from _by_routers(problem, ChipAnnealer(problem, shared, nets), effort, seed, over)
            return
        if routes is not None or not listed:
            trees = TreeAnnealer(problem, nets, routes)
    restarts, moves = _restarts(engine.work if trees is None else trees.work, problem.clusters, effort)
    chips = _by_chips(problem)
    for restart in range(restarts):
        if over():
            return
        slot = first
        heat = _HEAT
        if problem.home is not None and (problem.home >= 0).any() and restart == 0:
            heat = _NEARBY
        elif chips is not None and restart % 2 == 0:
            slot = chips.run(first, moves // 4, seed * 1_000_003 + restart, _HEAT, over)
            heat = _NEARBY
        slot = engine.run(slot, moves, seed * 1_000_003 + restart, heat, over)
        if trees is not None:
            yield slot
            slot = trees.run(slot, moves, seed * 1_000_003 + restart, _TREES, over)
        yield slot


def _by_routers(problem: PlacementProblem, engine: ChipAnnealer, effort: int, seed: int, over: Callable[[], bool]) -> Iterator[Array]:
    """Yield placements whose clusters were annealed in groups, each begun with groups of another size."""
    moves = min(max(_CHIP_MOVES[effort] * problem.clusters, _CHIP_LEAST[effort]), int(_CHIP_VISITS[effort] / engine.work))
    for restart in range(_CHIP_RESTARTS[effort]):
        if over():
            return
        yield engine.run(moves, seed * 1_000_003 + restart, restart % _CHIP_STARTS, over)


def anneal(
    problem: PlacementProblem, effort: int, seed: int, progress: Callable[[str], None] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> PlacementSolution:
    """Return what `search` finds, with the better of the packet and the Gilmore-Lawler bound; arguments and errors as there."""
    bound = lower_bound(problem, effort)
    return certify(problem, search(problem, effort, seed, progress, stopped, bound), bound, seed)


def search(
    problem: PlacementProblem, effort: int, seed: int, progress: Callable[[str], None] | None = None,
    stopped: Callable[[], bool] | None = None, bound: float = 0.0,
) -> Array:
    """Return a placement, (clusters,) int64: the best of several annealed ones, then polished by exact assignments.

    Among equal ones the one whose heaviest link carries least.

    Args:
        problem: what to place.
        effort: 0, 1 or 2; sets the number of moves, never a time.
        seed: the same seed gives the same answer everywhere.
        progress: called with the cost of each restart.
        stopped: asked now and then; once it says True the best answer so far is returned.
        bound: a proved bound of the cost, for `progress`; the search ends when it is met.

    Raises:
        ValueError: there are fewer slots than clusters (of a class), or a cluster is pinned to a slot that it cannot have.
    """
    check_possible(problem)
    if not problem.clusters:
        return np.zeros(0, np.int64)
    pool = _pool(problem)
    part = _inside(problem, pool)
    first = start_order(part)
    best = _Best(part, first, placement_cost(part, first))
    if part.home is not None and (part.home >= 0).any():
        first = _old_places(part, first)
        best.offer(first)

    def over() -> bool:
        return best.cost <= bound * (1 + 1e-12) or (stopped is not None and stopped())

    if problem.clusters > 1 and not over():
        engine = Annealer(as_pairs(part) if part.multicast else part)
        for number, slot in enumerate(_annealed(part, engine, first, effort, seed, over)):
            best.offer(slot)
            if progress:
                least = f", at least {bound:.6g}" if bound else ""
                progress(f"placement {best.cost:.6g} packet hops per step{least}, restart {number + 1}")
        if not part.multicast:
            best.offer(polish(part, engine, best.slot, effort, over))
    if not over():
        best.offer(relieve(part, best.slot, effort))
    return pool[best.slot].astype(np.int64)
