"""Multicast placement where several slots share a router: groups of clusters move from router to router, large groups first.

Where 16 cores hang on one router, most of the cost is decided by who shares a router. Single moves find that slowly: what belongs together
has to leave a router together. So clusters are gathered into groups by the packets they share, the groups of a router's size are annealed
first, then their parts, down to single clusters. A move takes one group to another router, and as many of that router's groups back as
have to make room; sometimes two routers exchange all that they hold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import fsum

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array
from nmap.place.board import Board
from nmap.place.chance import CHANCES, next_number, seeded
from nmap.place.moves import below
from nmap.place.multicast import Routes, merged
from nmap.place.problem import Nets, PlacementProblem
from nmap.place.traffic import unit

__all__ = ["ChipAnnealer", "gather"]

_STEPS = 120
_SLOW, _FAST = 0.96, 0.9
_BUSY, _IDLE = 0.6, 0.02
"""A temperature is followed by one so many times as high: slowly while the share of moves taken lies between these."""
_QUIET = 4
"""Temperatures without a change of cost after which a level is over."""
_CHUNK = 100_000
"""Moves between two questions whether to stop."""
_MOST_CLUSTERS = 2048
"""Clusters up to which groups are gathered: every pair of them is compared."""
_MOST_COUNTS = 1 << 26
"""Nets times routers up to which it is counted how many targets a net has at each router: 256 MiB."""
_TRIES = 6
"""Annealings of the coarsest groups, the best of which goes on."""
_LEAST = 20_000
"""Moves that a level gets however few groups it has."""
_FIRST_HEAT, _HEAT = 0.5, 0.05
"""First temperature of the coarsest and of every other level, in mean changes of a random move."""


@compiled(inline="always")
def _links(net, source, start, target, at, port, first, link, hops, seen, been, tick):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the hops of a net's tree; `seen` (links,) and `been` (routers,) are for work, and smaller than `tick`."""
    total = np.int64(0)
    s = source[net]
    row = (at[s] if s >= 0 else port) * (port + 1)
    for k in range(start[net], start[net + 1]):
        r = at[target[k]]
        if been[r] == tick:
            continue
        been[r] = tick
        for e in range(first[row + r], first[row + r + 1]):
            i = link[e]
            if seen[i] != tick:
                seen[i] = tick
                total += hops[i]
    return total


@compiled()
def _all_links(cost, source, start, target, at, port, first, link, hops):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Fill `cost` (nets,) with the hops of all trees."""
    seen = np.zeros(hops.shape[0], np.int64)
    been = np.zeros(port + 1, np.int64)
    for net in range(cost.shape[0]):
        cost[net] = _links(net, source, start, target, at, port, first, link, hops, seen, been, net + 1)


@compiled()
def _anneal(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    size, room, near, port, first, link, hops, source, start, target, weight, sent_start, sent, heard_start, heard, at, here, held, index,
    load, count, cost, chances, moves, temperature, state,
):
    """Try moves at one temperature, in place; return the change of cost, moves tried and taken, those that changed it, and their mean.

    With a temperature below zero nothing is moved: the last number is then the sum of the changes' absolute values, in 1024ths.
    """
    groups = size.shape[0]
    routers = room.shape[0]
    seen = np.zeros(hops.shape[0], np.int64)
    been = np.zeros(port + 1, np.int64)
    stamp = np.zeros(cost.shape[0], np.int64)
    mine = np.empty(cost.shape[0], np.int64)
    fresh = np.empty(cost.shape[0], np.int64)
    going = np.empty(2 * here.shape[1], np.int64)
    tick = np.int64(0)
    total = np.int64(0)
    spread = 0.0
    tried = 0
    taken = 0
    changed = 0
    for move in range(moves):
        a = below(state, groups)
        here_a = at[a]
        random = next_number(state)
        to = np.int64(-1)
        nets = sent_start[a + 1] - sent_start[a] + heard_start[a + 1] - heard_start[a]
        if nets > 0 and (random & 255) < 128:
            # Where a partner is, or next to it.
            k = below(state, nets)
            mates = sent_start[a + 1] - sent_start[a]
            net = sent[sent_start[a] + k] if k < mates else heard[heard_start[a] + k - mates]
            k = below(state, start[net + 1] - start[net] + 1)
            partner = target[start[net] + k - 1] if k > 0 else source[net]
            if partner >= 0:
                to = at[partner]
                if (random >> 8) & 3 == 0:
                    to = near[to, below(state, near.shape[1])]
        else:
            to = below(state, routers)
        if to < 0 or to == here_a:
            continue
        out = 0
        back = 0
        if (random >> 10) & 31 == 0:
            # The two routers exchange everything.
            if load[here_a] > room[to] or load[to] > room[here_a]:
                continue
            for k in range(held[here_a]):
                going[out] = here[here_a, k]
                out += 1
            for k in range(held[to]):
                going[out + back] = here[to, k]
                back += 1
        else:
            going[0] = a
            out = 1
            free = room[to] - load[to] - size[a]
            spare = room[here_a] - load[here_a] + size[a]
            left = held[to]
            more = (random >> 15) & 1
            while (free < 0 or more > 0) and left > 0 and back < 16:
                k = below(state, left)
                left -= 1
                b = here[to, k]
                # Drawn ones go to the end of the list.
                here[to, k] = here[to, left]
                here[to, left] = b
                index[here[to, k]] = k
                index[b] = left
                going[out + back] = b
                back += 1
                free += size[b]
                spare -= size[b]
                more = 0
            if free < 0 or spare < 0:
                continue
        tried += 1
        dirty = 0
        for k in range(out + back):
            c = going[k]
            old = here_a if k < out else to
            new = to if k < out else here_a
            at[c] = new
            for e in range(sent_start[c], sent_start[c + 1]):
                net = sent[e]
                if stamp[net] != move + 1:
                    stamp[net] = move + 1
                    mine[dirty] = net
                    dirty += 1
            for e in range(heard_start[c], heard_start[c + 1]):
                net = heard[e]
                count[net, old] -= np.int32(1)
                count[net, new] += np.int32(1)
                # A net's tree changes where a router hears it no longer, or for the first time.
                if (count[net, old] == 0 or count[net, new] == 1) and stamp[net] != move + 1:
                    stamp[net] = move + 1
                    mine[dirty] = net
                    dirty += 1
        change = np.int64(0)
        for k in range(dirty):
            tick += 1
            fresh[k] = _links(mine[k], source, start, target, at, port, first, link, hops, seen, been, tick)
            change += weight[mine[k]] * (fresh[k] - cost[mine[k]])
        if temperature < 0 and change != 0:
            changed += 1
            spread += float(abs(change)) / 1024.0
        if temperature >= 0 and (change <= 0 or change <= temperature * chances[next_number(state) & 4095]):
            for k in range(dirty):
                cost[mine[k]] = fresh[k]
            # Out of both lists, then into them.
            for k in range(out + back):
                c = going[k]
                old = here_a if k < out else to
                last = here[old, held[old] - 1]
                here[old, index[c]] = last
                index[last] = index[c]
                held[old] -= 1
                load[old] -= size[c]
            for k in range(out + back):
                c = going[k]
                new = at[c]
                index[c] = held[new]
                here[new, held[new]] = c
                held[new] += 1
                load[new] += size[c]
            total += change
            taken += 1
            if change != 0:
                changed += 1
        else:
            for k in range(out + back):
                c = going[k]
                old = here_a if k < out else to
                new = to if k < out else here_a
                at[c] = old
                for e in range(heard_start[c], heard_start[c + 1]):
                    count[heard[e], old] += np.int32(1)
                    count[heard[e], new] -= np.int32(1)
    return total, tried, taken, changed, spread


def gather(nets: Nets, clusters: int, most: int) -> Array:
    """Return which clusters join which groups, one join after the other, (joins, 2) int64: the second one's group becomes the first one's.

    The two groups join whose clusters share most: a net is shared by each two of its source and targets to one over their number less
    one, and sums are divided by the numbers of clusters on both sides. Ties go to the lowest numbers.

    Args:
        nets: the packets; sources of -1 count for their targets only.
        clusters: their number.
        most: clusters of a group.
    """
    # Whole numbers: sums do not depend on their order, and the products below stay under 2^53.
    pins = np.diff(nets.start)
    scale = 2.0**20 / max(float(nets.weight.max(initial=0.0)), 1e-200)
    share = np.floor(nets.weight * scale / np.maximum(pins, 1))
    member = np.zeros((pins.size, clusters))
    net = np.repeat(np.arange(pins.size), pins)
    member[net, nets.target] = 1.0
    inner = np.flatnonzero(nets.source >= 0)
    member[inner, nets.source[inner]] = 1.0
    shared = member.T @ (member * share[:, None])
    np.fill_diagonal(shared, 0.0)
    size = np.ones(clusters, np.int64)
    mean = shared.copy()
    best, value = mean.argmax(1), mean.max(1)
    joins = []
    while clusters > 1:
        a = int(value.argmax())
        if value[a] <= 0:
            break
        b = int(best[a])
        a, b = min(a, b), max(a, b)
        joins.append((a, b))
        shared[a] += shared[b]
        shared[:, a] += shared[:, b]
        size[a] += size[b]
        shared[a, a] = 0.0
        shared[b] = shared[:, b] = 0.0
        size[b] = 0
        fits = size + size[a] <= most
        row = np.where(fits & (size > 0), shared[a] / np.maximum(size * size[a], 1), 0.0)
        row[a] = 0.0
        mean[a], mean[:, a] = row, row
        mean[b] = mean[:, b] = 0.0
        stale = np.flatnonzero((best == a) | (best == b))
        best[stale], value[stale] = mean[stale].argmax(1), mean[stale].max(1)
        better = (row > value) | ((row == value) & (a < best))
        best[better], value[better] = a, row[better]
        best[a], value[a] = mean[a].argmax(), mean[a].max()
        value[b] = 0.0
    return np.array(joins, np.int64).reshape(-1, 2)


def _levels(joins: Array, clusters: int, most: int) -> list[Array]:
    """Return the groups of clusters, (clusters,) int64, for groups of a router's size, of half of it and so on, down to single ones."""
    levels: list[Array] = []
    while most > 1:
        head, size = np.arange(clusters), np.ones(clusters, np.int64)
        whole = np.ones(clusters, bool)
        for a, b in joins.tolist():
            # A join that is too large ends both sides' growth: groups of a level are parts of those of the level above.
            if whole[a] and whole[b] and size[a] + size[b] <= most:
                head[head == b] = a
                size[a] += size[b]
            else:
                whole[a] = whole[b] = False
        group = np.unique(head, return_inverse=True)[1].ravel().astype(np.int64)
        if not levels or group.max(initial=0) > levels[-1].max(initial=0):
            levels.append(group)
        most //= 2
    if not levels or levels[-1].max(initial=-1) + 1 < clusters:
        levels.append(np.arange(clusters))
    return levels


@dataclass(frozen=True, slots=True, eq=False)
class _Level:
    """Nets between groups, and who is in which."""

    group: Array
    size: Array
    source: Array
    start: Array
    target: Array
    weight: Array
    sent_start: Array
    sent: Array
    heard_start: Array
    heard: Array


def _rows(key: Array, value: Array, rows: int) -> tuple[Array, Array]:
    order = np.lexsort((value, key))
    return np.searchsorted(key[order], np.arange(rows + 1)).astype(np.int64), value[order].astype(np.int64)


def _level(nets: Nets, weight: Array, group: Array) -> _Level:
    """Return the nets between groups; `weight` (nets,) int64."""
    source = np.where(nets.source >= 0, np.append(group, 0)[nets.source], -1)
    coarse = merged(Nets(source, nets.start, group[nets.target], weight.astype(np.float64)))
    groups = int(group.max()) + 1
    net = np.repeat(np.arange(coarse.source.size), np.diff(coarse.start))
    inner = np.flatnonzero(coarse.source >= 0)
    return _Level(
        group, np.bincount(group, minlength=groups).astype(np.int64), coarse.source, coarse.start, coarse.target,
        coarse.weight.astype(np.int64), *_rows(coarse.source[inner], inner, groups), *_rows(coarse.target, net, groups),
    )


class ChipAnnealer:
    """Anneals which router each cluster lies at.

    Args:
        problem: what to place: multicast, without classes, pins and homes.
        routes: all routes of its board.
        nets: its merged nets.
    """

    def __init__(self, problem: PlacementProblem, routes: Routes, nets: Nets) -> None:
        self._board: Board = problem.board
        self._routes = routes
        self._clusters = problem.clusters
        self._ports = routes.places - 1
        self._room: Array = np.bincount(routes.place, minlength=self._ports).astype(np.int64)
        # Quiet nets must not vanish beside loud ones, and all costs together must stay below 2^50.
        scale = unit(problem, fsum((nets.weight * np.diff(nets.start)).tolist()), 50)
        weight = np.floor(nets.weight * scale).astype(np.int64)
        most = int(self._room.max(initial=1))
        joins = gather(nets, problem.clusters, most)
        self._levels: list[_Level] = [_level(nets, weight, group) for group in _levels(joins, problem.clusters, most)]
        hops = np.diff(routes.first).reshape(routes.places, routes.places)[: self._ports, : self._ports]
        # Each router's nearest ones, itself aside.
        ranked = np.argsort(hops + np.eye(self._ports, dtype=np.int64) * hops.max(initial=0) * 2, axis=1, kind="stable")
        # One layout for all boards: another one would be compiled anew.
        self._near: Array = np.ascontiguousarray(ranked[:, :6])

    @staticmethod
    def fits(problem: PlacementProblem, routes: Routes, nets: Nets) -> bool:
        """Return whether slots share routers, nothing binds clusters to slots, and the tables are small enough; `nets` are merged ones."""
        if problem.kind is not None or problem.pinned is not None or (problem.home is not None and problem.move_cost):
            return False
        routers = routes.places - 1
        small = problem.clusters <= _MOST_CLUSTERS and nets.source.size * routers <= _MOST_COUNTS
        return bool(small and 1 < routers < problem.board.size and nets.source.size)

    @property
    def work(self) -> float:
        """About how many numbers a move of the finest level looks at."""
        level = self._levels[-1]
        pins = np.diff(level.start)
        return 40 + 2 * float(pins.sum() + (pins * pins).sum() / 4) / max(1, self._clusters)

    def run(self, moves: int, seed: int, begin: int = 0, stopped: Callable[[], bool] | None = None) -> Array:
        """Return a placement, (clusters,) int64 slots.

        Args:
            moves: tried in all, shared out over the levels.
            seed: of the random moves; the same seed gives the same answer everywhere.
            begin: level to begin with, 0 for the groups of a router's size; finer ones where there are not so many, or they do not fit.
            stopped: asked now and then; once it says True the search ends.
        """
        begin = min(begin, len(self._levels) - 1)
        while True:
            level = self._levels[begin]
            start = self._filled(level)
            if start is not None:
                break
            begin += 1
        each = moves // (len(self._levels) - begin)
        # Coarse groups are few, so that several tries cost little: where they end decides most.
        tries = [
            self._annealed(level, start, self._share(level, each), (seed * _TRIES + k) * 64 + begin, _FIRST_HEAT, stopped)
            for k in range(_TRIES if level.size.size < self._clusters else 1)
        ]
        place = min(tries, key=lambda answer: answer[1])[0][level.group]
        for number, level in enumerate(self._levels[begin + 1 :], begin + 1):
            at = np.empty(level.size.size, np.int64)
            at[level.group] = place
            place = self._annealed(level, at, self._share(level, each), seed * _TRIES * 64 + number, _HEAT, stopped)[0][level.group]
        return self._slots(place)

    def _share(self, level: _Level, moves: int) -> int:
        """Return the moves of a level: less for fewer groups."""
        return max(min(moves, _LEAST), moves * level.size.size // self._clusters)

    def _filled(self, level: _Level) -> Array | None:
        """Return the groups on routers, first fit in the order of their size along the routers; None where they do not fit."""
        room = self._room.copy()
        at = np.empty(level.size.size, np.int64)
        for group in np.argsort(-level.size, kind="stable").tolist():
            free = np.flatnonzero(room >= level.size[group])
            if not free.size:
                return None
            at[group] = free[0]
            room[free[0]] -= level.size[group]
        return at

    def _slots(self, place: Array) -> Array:
        """Return the first slots of each router for the clusters there."""
        slot = np.empty(place.size, np.int64)
        order = np.argsort(self._routes.place, kind="stable")
        first = np.searchsorted(self._routes.place[order], np.arange(self._ports))
        clusters = np.argsort(place, kind="stable")
        rank = np.arange(place.size) - np.searchsorted(place[clusters], place[clusters])
        slot[clusters] = order[first[place[clusters]] + rank]
        return slot

    def _annealed(
        self, level: _Level, at: Array, moves: int, seed: int, heat: float, stopped: Callable[[], bool] | None
    ) -> tuple[Array, int]:
        """Return better routers for groups, and what their trees cost."""
        routes = self._routes
        groups = level.size.size
        if groups < 2 or not level.source.size:
            return at, 0
        at = at.copy()
        held = np.bincount(at, minlength=self._ports).astype(np.int64)
        load = np.zeros(self._ports, np.int64)
        np.add.at(load, at, level.size)
        order = np.argsort(at, kind="stable")
        index = np.empty(groups, np.int64)
        index[order] = np.arange(groups) - np.searchsorted(at[order], at[order])
        here = np.full((self._ports, int(self._room.max())), -1, np.int64)
        here[at, index] = np.arange(groups)
        count = np.zeros((level.source.size, self._ports), np.int32)
        net = np.repeat(np.arange(level.source.size), np.diff(level.start))
        np.add.at(count, (net, at[level.target]), 1)
        cost = np.zeros(level.source.size, np.int64)
        _all_links(cost, level.source, level.start, level.target, at, self._ports, routes.first, routes.link, routes.hops)
        state = seeded(seed)

        def attempt(tries: int, temperature: float) -> tuple[int, int, int, int, float]:
            change, tried, taken, changed, spread = _anneal(
                level.size, self._room, self._near, self._ports, routes.first, routes.link, routes.hops, level.source, level.start,
                level.target, level.weight, level.sent_start, level.sent, level.heard_start, level.heard, at, here, held, index, load,
                count, cost, CHANCES, tries, temperature, state,
            )
            return int(change), int(tried), int(taken), int(changed), float(spread)

        each = moves // (_STEPS + 2) + 1
        _, _, _, changed, spread = attempt(min(each, _CHUNK), -1.0)
        temperature = heat * 1024.0 * spread / max(1, changed)
        quiet = step = 0
        while step <= _STEPS:
            tried = taken = moved = 0
            for begin in range(0, each, _CHUNK):
                if stopped is not None and stopped():
                    return at, int(level.weight @ cost)
                _, a, b, c, _ = attempt(min(_CHUNK, each - begin), temperature if step < _STEPS else 0.0)
                tried, taken, moved = tried + a, taken + b, moved + c
            ratio = taken / max(1, tried)
            temperature *= _FAST if ratio > _BUSY or ratio < _IDLE else _SLOW
            quiet = quiet + 1 if not moved else 0
            step = _STEPS if quiet == _QUIET and step < _STEPS else step + 1
        return at, int(level.weight @ cost)
