"""Annealing of multicast traffic: every link of a net's tree of routes counts once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import fsum, isqrt

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array
from nmap.place.board import Board
from nmap.place.chance import CHANCES
from nmap.place.links import link_hops, ways
from nmap.place.metric import measure
from nmap.place.moves import NEAR, Annealer, Where, below, draw
from nmap.place.problem import Nets, PlacementProblem
from nmap.place.traffic import unit

__all__ = ["Routes", "TreeAnnealer", "as_pairs", "listed_routes", "merged"]

_ROUTERS = 160
"""Routers up to which all routes are listed one by one, where they differ from pair to pair."""
_ALIKE = 256
"""Routers up to which all routes are listed where they depend on the displacement only."""


@compiled(inline="always")
def _tree(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    net, source, start, target, px, py, port_x, port_y, across, up, forth, upward, reach, place, slot, port_place, first, link, hops,
    seen, tick,
):
    """Return the hops of a net's tree. `reach` (2, columns) and `seen` (links,) are for work: zero, and smaller than `tick`."""
    total = np.int64(0)
    s = source[net]
    if first.shape[0] > 0:
        row = (place[slot[s]] if s >= 0 else port_place) * (port_place + 1)
        for k in range(start[net], start[net + 1]):
            entry = row + place[slot[target[k]]]
            for e in range(first[entry], first[entry + 1]):
                i = link[e]
                if seen[i] != tick:
                    seen[i] = tick
                    total += hops[i]
        return total
    sx = px[s] if s >= 0 else port_x
    sy = py[s] if s >= 0 else port_y
    right = np.int64(0)
    left = np.int64(0)
    for k in range(start[net], start[net + 1]):
        x = px[target[k]]
        y = py[target[k]]
        if forth[sx, x]:
            right = max(right, across[sx, x])
        else:
            left = max(left, across[sx, x])
        way = np.int64(upward[sy, y])
        if up[sy, y] > reach[way, x]:
            total += up[sy, y] - reach[way, x]
            reach[way, x] = up[sy, y]
    for k in range(start[net], start[net + 1]):
        x = px[target[k]]
        reach[0, x] = 0
        reach[1, x] = 0
    return total + right + left


@compiled()
def _trees(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    x, y, place, across, up, forth, upward, port_x, port_y, port_place, first, link, hops, cells, listed, kind, movable, fixed, home,
    move_cost, pair_start, other, source, start, target, weight, member, nets, cost, slot, holder, px, py, chances, moves, reach, wrap,
    near, temperature, state,
):
    """Try moves at one temperature, as `nmap.place.moves._anneal` does; `cost` (nets,) are the hops of the trees, kept up to date."""
    extent = np.zeros((2, across.shape[0]), np.int64)
    seen = np.zeros(hops.shape[0], np.int64)
    stamp = np.zeros(cost.shape[0], np.int64)
    mine = np.empty(cost.shape[0], np.int64)
    fresh = np.empty(cost.shape[0], np.int64)
    tick = np.int64(0)
    total = np.int64(0)
    spread = 0.0
    tried = 0
    taken = 0
    changed = 0
    for move in range(moves):
        a = movable[below(state, movable.shape[0])]
        at = slot[a]
        xa = px[a]
        ya = py[a]
        to = draw(
            state, a, xa, ya, px, py, slot, home, pair_start[a], pair_start[a + 1] - pair_start[a], other, cells, listed, kind, reach,
            wrap, near,
        )
        if to < 0 or to == at:
            continue
        b = holder[to]
        if b >= 0 and fixed[b]:
            continue
        tried += 1
        slot[a] = to
        px[a] = x[to]
        py[a] = y[to]
        if b >= 0:
            slot[b] = at
            px[b] = xa
            py[b] = ya
        change = np.int64(0)
        count = 0
        for side in range(2):
            c = a if side == 0 else b
            if c < 0:
                continue
            for e in range(member[c], member[c + 1]):
                net = nets[e]
                if stamp[net] == move + 1:
                    continue
                stamp[net] = move + 1
                tick += 1
                now = _tree(
                    net, source, start, target, px, py, port_x, port_y, across, up, forth, upward, extent, place, slot, port_place, first,
                    link, hops, seen, tick,
                )
                change += weight[net] * (now - cost[net])
                mine[count] = net
                fresh[count] = now
                count += 1
            if move_cost > 0 and home[c] >= 0:
                was = at if side == 0 else to
                change += move_cost * ((slot[c] != home[c]) - np.int64(was != home[c]))
        if temperature < 0 and change != 0:
            changed += 1
            spread += float(abs(change)) / 1024.0
        if temperature >= 0 and (change <= 0 or change <= temperature * chances[below(state, 4096)]):
            holder[to] = a
            holder[at] = b
            for k in range(count):
                cost[mine[k]] = fresh[k]
            total += change
            taken += 1
            if change != 0:
                changed += 1
        else:
            slot[a] = at
            px[a] = xa
            py[a] = ya
            if b >= 0:
                slot[b] = to
                px[b] = x[to]
                py[b] = y[to]
    return total, tried, taken, changed, spread


@compiled()
def _all_trees(cost, place, across, up, forth, upward, port_x, port_y, first, link, hops, source, start, target, slot, px, py, port_place):  # type: ignore[no-untyped-def] # pragma: no cover
    """Fill `cost` (nets,) with the hops of all trees."""
    extent = np.zeros((2, across.shape[0]), np.int64)
    seen = np.zeros(hops.shape[0], np.int64)
    for net in range(cost.shape[0]):
        cost[net] = _tree(
            net, source, start, target, px, py, port_x, port_y, across, up, forth, upward, extent, place, slot, port_place, first, link,
            hops, seen, net + 1,
        )


def merged(nets: Nets) -> Nets:
    """Return nets with distinct sources and targets: weights of equal ones added, targets ascending and without the source itself."""
    total: dict[tuple[int, bytes], list[float]] = {}
    for k, source in enumerate(nets.source.tolist()):
        target = np.unique(nets.target[nets.start[k] : nets.start[k + 1]])
        target = target[target != source]
        if target.size:
            total.setdefault((source, target.tobytes()), []).append(float(nets.weight[k]))
    # A fixed order, whatever order the nets came in.
    keys = sorted(total)
    targets = [np.frombuffer(key[1], np.int64) for key in keys]
    start = np.cumsum([0, *(target.size for target in targets)])
    source = np.array([key[0] for key in keys], np.int64)
    return Nets(source, start, np.concatenate([np.zeros(0, np.int64), *targets]), np.array([fsum(total[key]) for key in keys]))


def as_pairs(problem: PlacementProblem) -> PlacementProblem:
    """Return the problem of nets as one of pairs: every copy of a packet travels alone."""
    if problem.nets is None:
        return problem
    net = np.repeat(np.arange(problem.nets.source.size), np.diff(problem.nets.start))
    pairs = problem.nets.source[net], problem.nets.target, problem.nets.weight[net]
    return replace(problem, source=pairs[0], target=pairs[1], weight=pairs[2], nets=None, multicast=False)


@dataclass(frozen=True, slots=True, eq=False)
class Routes:
    """The links of the routes between all places, the port being the last one.

    Args:
        place: (slots,) int64.
        first: (places^2 + 1,) int64, compressed rows of `link` by source and target.
        link: link numbers.
        hops: (links,) int64, what each link counts.
    """

    place: Array
    first: Array
    link: Array
    hops: Array

    @property
    def places(self) -> int:
        """Number of places."""
        return isqrt(max(0, self.first.size - 1))


def listed_routes(board: Board) -> Routes | None:
    """Return all routes of a board, None where they would be too many."""
    router, place = np.unique(board.slots, axis=0, return_inverse=True)
    alike = not (board.fabric.faulty or board.fabric.units)
    if router.shape[0] > (_ALIKE if alike else _ROUTERS):
        return None
    ends = np.concatenate([router, np.array([board.port], np.int64)])
    first, link = ways(board.fabric, np.repeat(ends, ends.shape[0], axis=0), np.tile(ends, (ends.shape[0], 1)))
    distinct, number = np.unique(link, axis=0, return_inverse=True)
    return Routes(place.ravel().astype(np.int64), first, number.ravel().astype(np.int64), link_hops(board.fabric, distinct))


class TreeAnnealer(Annealer):
    """Anneals placements of one problem, links of multicast trees counted once.

    Args:
        problem: what to place, with nets.
        nets: its merged nets.
        routes: what `listed_routes` returns, None where the routes go along x, then along y.
    """

    def __init__(self, problem: PlacementProblem, nets: Nets, routes: Routes | None) -> None:
        board = problem.board
        super().__init__(as_pairs(problem), measure(Board(board.slots, board.port, board.fabric)))
        self._scale = unit(problem, fsum((nets.weight * np.diff(nets.start)).tolist()), 50)
        self._weight: Array = np.floor(nets.weight * self._scale).astype(np.int64)
        self._nets = nets
        empty = np.zeros(0, np.int64)
        self._routes = routes or Routes(self.metric.place, empty, empty, empty)
        pins = np.diff(nets.start)
        # A cluster's nets: those it sends and those it gets.
        cluster = np.concatenate([nets.source, nets.target])
        net = np.concatenate([np.arange(nets.source.size), np.repeat(np.arange(nets.source.size), pins)])
        order = np.lexsort((net, cluster))
        order = order[cluster[order] >= 0]
        self._member: Array = np.searchsorted(cluster[order], np.arange(problem.clusters + 1)).astype(np.int64)
        self._listed: Array = net[order].astype(np.int64)
        self._cost: Array = np.zeros(nets.source.size, np.int64)

    @property
    def work(self) -> float:
        """About how many numbers a move looks at."""
        pins = np.diff(self._nets.start)
        length = 3.0 if self.metric.separable else 1.0 + self._routes.link.size / max(1, self._routes.first.size)
        return 20 + 2 * length * float(pins[self._listed].sum() + self._listed.size) / max(1, self.problem.clusters)

    def _begin(self, at: Where) -> None:
        m, r, n = self.metric, self._routes, self._nets
        _all_trees(
            self._cost, r.place, m.across, m.up, m.forth, m.upward, *m.port, r.first, r.link, r.hops, n.source, n.start, n.target, at.slot,
            at.px, at.py, r.places - 1,
        )

    def _cooled(self, at: Where, ratio: float) -> None:
        """Nothing changes with the temperature."""

    def _try(self, at: Where, moves: int, reach: int, temperature: float, state: Array) -> tuple[int, int, int, int, float]:
        m, r, n, v, t = self.metric, self._routes, self._nets, self.mover, self.traffic
        change, tried, taken, changed, spread = _trees(
            m.x, m.y, r.place, m.across, m.up, m.forth, m.upward, *m.port, r.places - 1, r.first, r.link, r.hops, v.cells, v.listed, v.kind,
            v.movable, v.fixed, self.home, int(self.problem.move_cost * self._scale), t.start, t.other, n.source, n.start, n.target,
            self._weight, self._member, self._listed, self._cost, at.slot, at.holder, at.px, at.py, CHANCES, moves, reach, m.wrap, NEAR,
            temperature, state,
        )
        return int(change), int(tried), int(taken), int(changed), float(spread)
