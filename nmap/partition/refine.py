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
"""Numbers looked at between two questions whether to stop: less than a tenth of a second."""
_SPREAD = np.uint64(0x03F79D71B4CB0A89)
"""A de Bruijn sequence: the six highest bits of its product with a power of two are another number for each power."""
_NUMBER = np.zeros(64, np.int64)
"""The power by that number."""
_NUMBER[[(int(_SPREAD) << k & (1 << 64) - 1) >> 58 for k in range(64)]] = np.arange(64)


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
    toward: Array
    alone: Array
    facts: Array


class _State(NamedTuple):
    """What changes.

    `row` is a net's row of `bits`, -1 where its counts are a list. A row has for every 64 cores two words: on which of them the net has
    targets, and on which just one. What a move and the one in exchange for it do to loads is kept apart: `lost`, `won`, `hub` and
    `touched` have a row for each.
    """

    part: Array
    cells: Array
    base: Array
    length: Array
    row: Array
    bits: Array
    load: Array
    before: Array
    after: Array
    hand: Array
    lost: Array
    won: Array
    hub: Array
    touched: Array
    stamp: Array
    state: Array


@compiled()
def _look(s, e, c):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return how many targets net `e` has on core `c`: of a row of counts, or of a list of (core, count)."""
    b = s.base[e]
    if s.row[e] >= 0:
        return s.cells[b + c]
    for i in range(b, b + 2 * s.length[e], 2):
        if s.cells[i] == c:
            return s.cells[i + 1]
    return np.int32(0)


@compiled()
def _shift(s, e, c, change):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    cells, b = s.cells, s.base[e]
    row = s.row[e]
    if row >= 0:
        cells[b + c] += change
        count = cells[b + c]
        word = 2 * (c >> 6)
        bit = np.uint64(1) << np.uint64(c & 63)
        if count > 0:
            s.bits[row, word] |= bit
        else:
            s.bits[row, word] &= ~bit
        if count == 1:
            s.bits[row, word + 1] |= bit
        else:
            s.bits[row, word + 1] &= ~bit
        return
    n = s.length[e]
    for i in range(b, b + 2 * n, 2):
        if cells[i] == c:
            cells[i + 1] += change
            if cells[i + 1] == 0:
                cells[i] = cells[b + 2 * n - 2]
                cells[i + 1] = cells[b + 2 * n - 1]
                s.length[e] = n - 1
            return
    cells[b + 2 * n] = c
    cells[b + 2 * n + 1] = change
    s.length[e] = n + 1


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
def _touch(hub, touched, c, change):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Note a change in the destinations of axons from core `c`."""
    if hub[c] == 0:
        n = touched[0]
        seen = False
        for i in range(1, n + 1):
            if touched[i] == c:
                seen = True
        if not seen:
            touched[n + 1] = c
            touched[0] = n + 1
    hub[c] += change


@compiled()
def _delta(g, s, routed, v, a, b, w):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the change of cost when node `v` goes from core `a` to core `b`; the changes of load go to `lost`, `won` and `hub`.

    A node `w` of zero or above went from `b` to `a` just before, which the state does not show; its nets are stamped.
    """
    # Arrays are taken out of their tuples once: each time counts references, which takes longer than the sums here.
    inward, outward, facts, far, toward, axons = g.inward, g.outward, g.facts, g.far, g.toward, g.axons
    bits, row, cells, part, stamp = s.bits, s.row, s.cells, s.part, s.stamp
    R = g.capacity.shape[0]
    port = s.load.shape[0]
    second = np.int64(w >= 0)
    lost, won, hub, touched = s.lost[second], s.won[second], s.hub[second], s.touched[second]
    tick = stamp[-1]
    for r in range(R):
        lost[r] = -g.weight[v, r]
        won[r] = g.weight[v, r]
    if routed:
        for i in range(1, touched[0] + 1):
            hub[touched[i]] = 0
        touched[0] = 0
    one = np.uint64(1)
    word_a, bit_a = 2 * (a >> 6), np.uint64(a & 63)
    word_b, bit_b = 2 * (b >> 6), np.uint64(b & 63)
    change = np.int64(0)
    for k in range(g.inward_start[v], g.inward_start[v + 1]):
        e = inward[k]
        i = row[e]
        if i >= 0:
            leaves = (bits[i, word_a + 1] >> bit_a) & one == one
            enters = (bits[i, word_b] >> bit_b) & one != one
            if second == 1 and stamp[e] == tick:
                leaves = False
                enters = (bits[i, word_b + 1] >> bit_b) & one == one
        else:
            leaves = _look(s, e, a) == 1
            enters = _look(s, e, b) == 0
            if second == 1 and stamp[e] == tick:
                leaves = False
                enters = _look(s, e, b) == 1
        if leaves or enters:
            u = facts[e, 0]
            c = port
            if u >= 0:
                c = a if u == w else part[u]
            if leaves:
                for r in range(R):
                    lost[r] -= facts[e, 2 + r]
                if u != v:
                    change -= facts[e, 1] * toward[a, c]
                    if routed and u >= 0 and c != a:
                        _touch(hub, touched, c, -axons[e])
            if enters:
                for r in range(R):
                    won[r] += facts[e, 2 + r]
                if u != v:
                    change += facts[e, 1] * toward[b, c]
                    if routed and u >= 0 and c != b:
                        _touch(hub, touched, c, axons[e])
    for k in range(g.outward_start[v], g.outward_start[v + 1]):
        e = outward[k]
        mixed = second == 1 and stamp[e] == tick
        alone = False
        if g.loop[e] and not mixed:
            alone = _look(s, e, a) == 1
        reach = np.int64(0)
        was = np.int64(0)
        now = np.int64(0)
        i = row[e]
        if i >= 0:
            for word in range(0, bits.shape[1], 2):
                left = bits[i, word]
                if mixed:
                    if word == word_b:
                        left &= ~(bits[i, word + 1] & (one << bit_b))
                    if word == word_a:
                        left |= one << bit_a
                while left != 0:
                    low = left & (~left + one)
                    left ^= low
                    c = 32 * word + _NUMBER[(low * _SPREAD) >> np.uint64(58)]
                    reach -= far[a, c]
                    was += c != a
                    if not (alone and c == a):
                        reach += far[b, c]
                        now += c != b
        else:
            for j in range(s.base[e], s.base[e] + 2 * s.length[e], 2):
                c = np.int64(cells[j])
                if mixed and (c == a or (c == b and cells[j + 1] == 1)):
                    continue
                reach -= far[a, c]
                was += c != a
                if not (alone and c == a):
                    reach += far[b, c]
                    now += c != b
            if mixed:
                reach += far[b, a]
                now += 1
        change += facts[e, 1] * reach
        if routed:
            _touch(hub, touched, a, -was * axons[e])
            _touch(hub, touched, b, now * axons[e])
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
def _apply_load(g, s, routed, a, b, second, sign):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    for r in range(g.capacity.shape[0]):
        s.load[a, r] += sign * s.lost[second, r]
        s.load[b, r] += sign * s.won[second, r]
    if routed:
        for i in range(1, s.touched[second, 0] + 1):
            c = s.touched[second, i]
            for r in range(g.capacity.shape[0]):
                s.load[c, r] += sign * s.hub[second, c] * g.route[r]


@compiled()
def _worse(g, s, routed, a, b, second):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Apply the changes of load found by `_delta`; return the change of what is over budget."""
    out = -_excess(g, s.load, a) - _excess(g, s.load, b)
    if routed:
        for i in range(1, s.touched[second, 0] + 1):
            c = s.touched[second, i]
            if c != a and c != b:
                out -= _excess(g, s.load, c)
    _apply_load(g, s, routed, a, b, second, 1)
    out += _excess(g, s.load, a) + _excess(g, s.load, b)
    if routed:
        for i in range(1, s.touched[second, 0] + 1):
            c = s.touched[second, i]
            if c != a and c != b:
                out += _excess(g, s.load, c)
    return out


@compiled()
def _carry(g, s, v, a, b):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Move node `v`; loads are changed elsewhere."""
    for k in range(g.inward_start[v], g.inward_start[v + 1]):
        e = g.inward[k]
        _shift(s, e, a, -1)
        _shift(s, e, b, 1)
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
def _try(g, s, chances, routed, moves, temperature, price, excess):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Try moves; return the changes of cost and of what is over budget, and, at a negative temperature, only the mean change of cost.

    `excess` is what is over budget before.
    """
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
        bar = temperature * chances[next_number(s.state) & 4095]
        w = s.hand[b]
        if w >= 0 and g.alone[v] >= 0 and g.alone[w] >= 0 and g.alone[v] != g.alone[w]:
            continue
        change = _delta(g, s, routed, v, a, b, -1)
        if temperature < 0.0:
            if change != 0:
                sampled += 1
                spread += abs(change) / 1024.0
            continue
        # Where nothing is over a budget, nothing makes up for cost.
        if change > bar and excess + over == 0:
            continue
        worse = _worse(g, s, routed, a, b, 0)
        if change + price * worse <= bar:
            total += change
            over += worse
            _carry(g, s, v, a, b)
            continue
        # Where only a budget stops it, a node comes back in exchange.
        if worse > 0 and change <= bar and w >= 0:
            s.hand[b] = s.after[w]
            s.stamp[-1] += 1
            for k in range(g.inward_start[v], g.inward_start[v + 1]):
                s.stamp[g.inward[k]] = s.stamp[-1]
            change += _delta(g, s, routed, w, b, a, v)
            worse += _worse(g, s, routed, b, a, 1)
            if change + price * worse <= bar:
                total += change
                over += worse
                _carry(g, s, v, a, b)
                _carry(g, s, w, b, a)
                continue
            _apply_load(g, s, routed, b, a, 1, -1)
            # Its turn to be exchanged is over.
            _unlink(s, v, a)
            _link(s, v, a)
        _apply_load(g, s, routed, a, b, 0, -1)
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
            if _look(s, e, c) == 0:
                total += g.cost[e] * g.far[home, c]
                for r in range(R):
                    s.load[c, r] += g.take[e, r]
                    if home < cores and home != c:
                        s.load[home, r] += g.axons[e] * g.route[r]
            if s.row[e] >= 0:
                s.cells[s.base[e] + c] += np.int32(1)
            else:
                _shift(s, e, c, 1)
        if s.row[e] >= 0:
            for c in range(cores):
                count = s.cells[s.base[e] + c]
                if count > 0:
                    s.bits[s.row[e], 2 * (c >> 6)] |= np.uint64(1) << np.uint64(c & 63)
                if count == 1:
                    s.bits[s.row[e], 2 * (c >> 6) + 1] |= np.uint64(1) << np.uint64(c & 63)
    return total


def _alone(level: Level, capacity: Array) -> Array:
    """Return (nodes,) int64 a net of each node that takes more than half of a core, so that no two of these share one; -1 for none."""
    wide = 2 * level.take > capacity
    out = np.full(level.nodes, -1, np.int64)
    if wide.any():
        for e in np.flatnonzero(wide[:, int(wide.sum(0).argmax())]).tolist():
            out[level.target[level.start[e] : level.start[e + 1]]] = e
    return out


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
    row = np.where(listed, -1, np.cumsum(~listed) - 1)
    unit = np.maximum(1, UNIT // np.maximum(capacity, 1))
    routed = bool(route.any())
    net = _Net(
        level.weight, level.source, level.start, level.target, level.cost, level.take, level.count, level.inward_start, level.inward,
        level.outward_start, level.outward, loop, capacity.astype(np.int64), unit.astype(np.int64), route.astype(np.int64),
        np.ascontiguousarray(far, np.int64), np.ascontiguousarray(far.T, np.int64), _alone(level, capacity),
        np.concatenate([level.source[:, None], level.cost[:, None], level.take], 1),
    )
    R = capacity.size
    state = _State(
        part.astype(np.int64).copy(), np.zeros(int(room.sum()), np.int32), base.astype(np.int64), np.zeros(level.nets, np.int32),
        row.astype(np.int64), np.zeros((int((~listed).sum()), 2 * (-(-cores // 64))), np.uint64), np.zeros((cores, R), np.int64),
        np.full(level.nodes, -1, np.int32), np.full(level.nodes, -1, np.int32), np.full(cores, -1, np.int32),
        np.zeros((2, R), np.int64), np.zeros((2, R), np.int64), np.zeros((2, cores), np.int64), np.zeros((2, cores + 2), np.int64),
        np.zeros(level.nets + 1, np.int64), seeded(seed),
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
        change, over, mean = _try(self._net, self._state, CHANCES, self._routed, moves, temperature, price, self.over)
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
