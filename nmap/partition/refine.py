"""Refinement of a partition by compiled annealing: moves and swaps of nodes between cores with exact whole-number deltas.

The cost is spikes per step times the distance between cores; budgets are a penalty that rises until nothing is over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array
from nmap.partition.coarsen import Level
from nmap.place.chance import CHANCES, next_number, seeded

__all__ = ["UNIT", "Refiner"]

UNIT = 1 << 20
"""Penalty units of one whole core of one resource over its budget."""
_PRICE = 10.0
"""Cost of one mean node over a budget, in what a random move changes (measured: softer budgets end in costly repairs)."""
_HARD = 1 << 30
_STEPS = 120
"""Temperatures of an annealing."""
_CHUNK = 12_000_000
"""Numbers looked at between two questions whether to stop: about a tenth of a second."""



class _Net(NamedTuple):
    weight: Array
    source: Array
    start: Array
    target: Array
    cost: Array
    take: Array
    axons: Array
    inward_start: Array
    inward: Array
    outward_start: Array
    outward: Array
    loop: Array
    capacity: Array
    unit: Array
    route: Array
    far: Array


class _State(NamedTuple):
    part: Array
    cells: Array
    base: Array
    length: Array
    load: Array
    before: Array
    after: Array
    hand: Array
    lost: Array
    won: Array
    hub: Array
    touched: Array
    state: Array


@compiled()
def _look(cells, base, length, e, c):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return how many targets net `e` has on core `c`: a row of counts, or a list of (core, count) where `length` is not negative."""
    b = base[e]
    n = length[e]
    if n < 0:
        return cells[b + c]
    for i in range(b, b + 2 * n, 2):
        if cells[i] == c:
            return cells[i + 1]
    return np.int32(0)


@compiled()
def _shift(cells, base, length, e, c, change):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    b = base[e]
    n = length[e]
    if n < 0:
        cells[b + c] += change
        return
    for i in range(b, b + 2 * n, 2):
        if cells[i] == c:
            cells[i + 1] += change
            if cells[i + 1] == 0:
                cells[i] = cells[b + 2 * n - 2]
                cells[i + 1] = cells[b + 2 * n - 1]
                length[e] = n - 1
            return
    cells[b + 2 * n] = c
    cells[b + 2 * n + 1] = change
    length[e] = n + 1


@compiled()
def _link(s, v, c):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    h = s.hand[c]
    if h < 0:
        s.hand[c] = v
        s.before[v] = v
        s.after[v] = v
        return
    p = s.before[h]
    s.after[p] = v
    s.before[v] = p
    s.after[v] = h
    s.before[h] = v


@compiled()
def _unlink(s, v, c):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    if s.after[v] == v:
        s.hand[c] = -1
        return
    s.after[s.before[v]] = s.after[v]
    s.before[s.after[v]] = s.before[v]
    if s.hand[c] == v:
        s.hand[c] = s.after[v]


@compiled()
def _touch(s, c, change):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Note a change in the destinations of axons from core `c`."""
    if s.hub[c] == 0:
        n = s.touched[0]
        seen = False
        for i in range(1, n + 1):
            if s.touched[i] == c:
                seen = True
        if not seen:
            s.touched[n + 1] = c
            s.touched[0] = n + 1
    s.hub[c] += change


@compiled()
def _delta(g, s, routed, v, a, b):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the change of cost when node `v` goes from core `a` to core `b`; the changes of load go to `lost`, `won` and `hub`."""
    R = g.capacity.shape[0]
    port = s.load.shape[0]
    cells, base, length = s.cells, s.base, s.length
    for r in range(R):
        s.lost[r] = -g.weight[v, r]
        s.won[r] = g.weight[v, r]
    if routed:
        for i in range(1, s.touched[0] + 1):
            s.hub[s.touched[i]] = 0
        s.touched[0] = 0
    change = np.int64(0)
    for k in range(g.inward_start[v], g.inward_start[v + 1]):
        e = g.inward[k]
        leaves = _look(cells, base, length, e, a) == 1
        enters = _look(cells, base, length, e, b) == 0
        if leaves or enters:
            u = g.source[e]
            c = port
            if u >= 0:
                c = s.part[u]
            if leaves:
                for r in range(R):
                    s.lost[r] -= g.take[e, r]
                if u != v:
                    change -= g.cost[e] * g.far[c, a]
                    if routed and u >= 0 and c != a:
                        _touch(s, c, -g.axons[e])
            if enters:
                for r in range(R):
                    s.won[r] += g.take[e, r]
                if u != v:
                    change += g.cost[e] * g.far[c, b]
                    if routed and u >= 0 and c != b:
                        _touch(s, c, g.axons[e])
    for k in range(g.outward_start[v], g.outward_start[v + 1]):
        e = g.outward[k]
        n = length[e]
        alone = False
        if g.loop[e]:
            alone = _look(cells, base, length, e, a) == 1
        reach = np.int64(0)
        was = np.int64(0)
        now = np.int64(0)
        first = base[e]
        last = first + (port if n < 0 else 2 * n)
        step = 1 if n < 0 else 2
        for i in range(first, last, step):
            if n < 0:
                if cells[i] == 0:
                    continue
                c = i - first
            else:
                c = np.int64(cells[i])
            reach -= g.far[a, c]
            was += c != a
            if not (alone and c == a):
                reach += g.far[b, c]
                now += c != b
        change += g.cost[e] * reach
        if routed:
            _touch(s, a, -was * g.axons[e])
            _touch(s, b, now * g.axons[e])
    return change


@compiled()
def _excess(g, load, c):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    out = np.int64(0)
    for r in range(g.capacity.shape[0]):
        over = load[c, r] - g.capacity[r]
        if over > 0:
            out += over * g.unit[r]
    return out


@compiled()
def _apply_load(g, s, routed, a, b, sign):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    for r in range(g.capacity.shape[0]):
        s.load[a, r] += sign * s.lost[r]
        s.load[b, r] += sign * s.won[r]
    if routed:
        for i in range(1, s.touched[0] + 1):
            c = s.touched[i]
            for r in range(g.capacity.shape[0]):
                s.load[c, r] += sign * s.hub[c] * g.route[r]


@compiled()
def _worse(g, s, routed, a, b):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Apply the changes of load found by `_delta`; return the change of what is over budget."""
    out = -_excess(g, s.load, a) - _excess(g, s.load, b)
    if routed:
        for i in range(1, s.touched[0] + 1):
            c = s.touched[i]
            if c != a and c != b:
                out -= _excess(g, s.load, c)
    _apply_load(g, s, routed, a, b, 1)
    out += _excess(g, s.load, a) + _excess(g, s.load, b)
    if routed:
        for i in range(1, s.touched[0] + 1):
            c = s.touched[i]
            if c != a and c != b:
                out += _excess(g, s.load, c)
    return out


@compiled()
def _carry(g, s, v, a, b):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Move node `v`; loads are changed elsewhere."""
    for k in range(g.inward_start[v], g.inward_start[v + 1]):
        e = g.inward[k]
        _shift(s.cells, s.base, s.length, e, a, -1)
        _shift(s.cells, s.base, s.length, e, b, 1)
    s.part[v] = b
    _unlink(s, v, a)
    _link(s, v, b)


@compiled()
def _goal(g, s, v):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return a core for `v` to go to: of another target of one of its nets, of a source, of a listener, or any."""
    cores = s.load.shape[0]
    dice = next_number(s.state) & 31
    inward = g.inward_start[v + 1] - g.inward_start[v]
    outward = g.outward_start[v + 1] - g.outward_start[v]
    if dice < 18 and inward > 0:
        e = g.inward[g.inward_start[v] + next_number(s.state) % inward]
        u = g.source[e]
        if u >= 0 and dice < 6:
            return s.part[u]
        return s.part[g.target[g.start[e] + next_number(s.state) % (g.start[e + 1] - g.start[e])]]
    if dice < 30 and outward > 0:
        e = g.outward[g.outward_start[v] + next_number(s.state) % outward]
        return s.part[g.target[g.start[e] + next_number(s.state) % (g.start[e + 1] - g.start[e])]]
    return next_number(s.state) % cores


@compiled()
def _try(g, s, chances, routed, moves, temperature, price):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Try moves; return the changes of cost and of what is over budget, and, at a negative temperature, only the mean change of cost."""
    nodes = s.part.shape[0]
    total = np.int64(0)
    over = np.int64(0)
    spread = 0.0
    sampled = 0
    for _ in range(moves):
        v = next_number(s.state) % nodes
        a = s.part[v]
        b = _goal(g, s, v)
        if b == a:
            continue
        u = v
        bar = temperature * chances[next_number(s.state) & 4095]
        change = np.int64(0)
        worse = np.int64(0)
        # The move; where only a budget stops it, a node comes back in exchange; where that is not worth it either, all goes back.
        for stage in range(3):
            delta = _delta(g, s, routed, u, a, b)
            if temperature < 0.0:
                if delta != 0:
                    sampled += 1
                    spread += abs(delta) / 1024.0
                break
            more = _worse(g, s, routed, a, b)
            if stage == 2:
                _carry(g, s, u, a, b)
                break
            if change + delta + price * (worse + more) <= bar:
                total += change + delta
                over += worse + more
                _carry(g, s, u, a, b)
                break
            if stage == 0 and (more <= 0 or delta > bar or s.hand[b] < 0):
                _apply_load(g, s, routed, a, b, -1)
                break
            if stage == 0:
                u = s.hand[b]
                s.hand[b] = s.after[u]
                _carry(g, s, v, a, b)
            else:
                _apply_load(g, s, routed, a, b, -1)
                u = v
                a, b = b, a
            change += delta
            worse += more
            a, b = b, a
    return total, over, 1024.0 * spread / max(1, sampled)


@compiled()
def _fill(g, s):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Set counts, loads and member lists from `part`; return the cost."""
    cores = s.load.shape[0]
    R = g.capacity.shape[0]
    total = np.int64(0)
    for v in range(s.part.shape[0]):
        _link(s, v, s.part[v])
        for r in range(R):
            s.load[s.part[v], r] += g.weight[v, r]
    for e in range(g.source.shape[0]):
        home = np.int64(cores)
        if g.source[e] >= 0:
            home = s.part[g.source[e]]
        for k in range(g.start[e], g.start[e + 1]):
            c = s.part[g.target[k]]
            if _look(s.cells, s.base, s.length, e, c) == 0:
                total += g.cost[e] * g.far[home, c]
                for r in range(R):
                    s.load[c, r] += g.take[e, r]
                    if home < cores and home != c:
                        s.load[home, r] += g.axons[e] * g.route[r]
            _shift(s.cells, s.base, s.length, e, c, 1)
    return total


def _prepare(level: Level, part: Array, cores: int, capacity: Array, route: Array, far: Array, seed: int) -> tuple[_Net, _State, bool]:
    pins = np.diff(level.start)
    owner = np.repeat(np.arange(level.nets), pins)
    loop = np.zeros(level.nets, bool)
    loop[owner[level.target == level.source[owner]]] = True
    # A row of counts is faster than a list, and with few cores, or many targets, no larger.
    generous = 16 if level.nets * cores < 1 << 25 else 4
    listed = generous * pins < cores
    room = np.where(listed, 2 * pins, cores)
    base = np.cumsum(room) - room
    unit = np.maximum(1, UNIT // np.maximum(capacity, 1))
    routed = bool(route.any())
    net = _Net(
        level.weight, level.source, level.start, level.target, level.cost, level.take, level.count, level.inward_start, level.inward,
        level.outward_start, level.outward, loop, capacity.astype(np.int64), unit.astype(np.int64), route.astype(np.int64),
        np.ascontiguousarray(far, np.int64),
    )
    R = capacity.size
    state = _State(
        part.astype(np.int64).copy(), np.zeros(int(room.sum()), np.int32), base.astype(np.int64), np.where(listed, 0, -1).astype(np.int32),
        np.zeros((cores, R), np.int64),
        np.full(level.nodes, -1, np.int32), np.full(level.nodes, -1, np.int32), np.full(cores, -1, np.int32),
        np.zeros(R, np.int64), np.zeros(R, np.int64), np.zeros(cores, np.int64), np.zeros(cores + 2, np.int64),
        seeded(seed),
    )
    return net, state, routed


class Refiner:
    """Annealing of one level's nodes on a number of cores.

    Args:
        level: the hypergraph.
        part: (nodes,) int64 in 0..cores-1, where to start.
        cores: number of cores; some may be empty.
        capacity: (R,) int64, of one core.
        route: (R,) int64, what one destination of an axon takes on its source's core.
        far: (cores + 1, cores + 1) int64, distances between cores, the last one is the input port; zero from a core to itself.
        seed: of the random moves.

    Attributes:
        cost: of the partition now, in whole units.
        over: what is over budget now, in units of a whole core / `UNIT`.
    """

    def __init__(self, level: Level, part: Array, cores: int, capacity: Array, route: Array, far: Array, seed: int) -> None:
        self._net, self._state, self._routed = _prepare(level, part, cores, capacity, route, far, seed)
        self.cost = int(_fill(self._net, self._state))
        self.over = int((np.maximum(self._state.load - capacity, 0) * self._net.unit).sum())
        heaviest = (level.weight * self._net.unit).max(1, initial=0)
        self._size = max(1.0, float(heaviest.mean())) if level.nodes else 1.0
        pins = level.target.size / max(1, level.nodes)
        self.work = 40.0 + 2 * pins + cores * level.outward.size / max(1, level.nodes)
        self.part = self._state.part

    def load(self) -> Array:
        """Return (cores, R) int64, what every core takes."""
        return self._state.load.copy()

    def move(self, moves: int, temperature: float, price: int) -> float:
        """Try moves at one temperature; a negative one changes nothing. Return the mean change of cost of a random move then."""
        change, over, mean = _try(self._net, self._state, CHANCES, self._routed, moves, temperature, price)
        self.cost += int(change)
        self.over += int(over)
        return float(mean)

    def anneal(self, moves: int, stopped: Callable[[], bool], legal: bool = False) -> None:
        """Run from as hot as so many moves can cool down again; see `run`."""
        heat = min(0.4, 0.4 * (moves / (2000 * max(1, self.part.size))) ** 1.25)
        self.run(moves, heat, heat / 60, stopped, legal)

    def run(self, moves: int, heat: float, coldest: float, stopped: Callable[[], bool], legal: bool = False) -> None:
        """Anneal.

        Args:
            moves: tried in all.
            heat, coldest: first and last temperature, as shares of what a random move changes.
            stopped: asked now and then; once it says True the search ends.
            legal: end as soon as nothing is over budget.
        """
        each = moves // _STEPS + 1
        chunk = max(1, int(_CHUNK / self.work))
        mean = max(1.0, self.move(min(each, 2000), -1.0, 0))
        temperature = heat * mean
        cooling = (coldest / heat) ** (1.0 / _STEPS)
        # Soft enough for a node to pass through a full core while it is hot; nothing stays over a budget at the end.
        price = max(1, int(_PRICE * mean / self._size))
        for step in range(_STEPS):
            if step >= _STEPS - _STEPS // 8:
                temperature = 0.0
            for first in range(0, each, chunk):
                if stopped() or (legal and self.over == 0):
                    return
                self.move(min(chunk, each - first), temperature, price)
            temperature *= cooling
            if step >= 0.7 * _STEPS:
                price = min(2 * price, _HARD) if self.over else _HARD
