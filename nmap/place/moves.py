"""Placement by compiled local search: moves and swaps with exact whole-number deltas, under a cooling threshold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array
from nmap.place.chance import CHANCES, next_number, seeded
from nmap.place.metric import Metric, Mover, measure, mover
from nmap.place.problem import PlacementProblem
from nmap.place.traffic import Traffic, collect

__all__ = ["NEAR", "Annealer", "Where", "below", "draw"]

_STEPS = 160
_SLOW, _FAST = 0.97, 0.9
_BUSY, _IDLE = 0.6, 0.02
"""A temperature is followed by one so many times as high: slowly while the share of moves taken lies between these."""
_QUIET = 4
"""Temperatures without a change of cost after which the search is over."""
_CHUNK = 400_000
"""Moves between two questions whether to stop: less than a tenth of a second."""
_TABLE = 1 << 22
"""Entries up to which costs are kept in tables: 32 MiB."""
NEAR = 96
"""Of 256 moves, those that aim next to a partner."""




@dataclass(frozen=True, slots=True, eq=False)
class Where:
    """A placement while it is searched: slot of each cluster, cluster of each slot (-1 for none), column and row of each cluster."""

    slot: Array
    holder: Array
    px: Array
    py: Array


@compiled(inline="always")
def below(state, n):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return a random number from 0 to n - 1, n up to 2^31."""
    return (next_number(state) * n) >> 31


@compiled(inline="always")
def draw(state, a, x, y, px, py, slot, home, first, partners, other, cells, listed, kind, reach, wrap, near):  # type: ignore[no-untyped-def] # pragma: no cover
    """Return a slot for cluster `a` at column x and row y to try, -1 for none.

    Next to one of its `partners` (entries of `other` from `first` on), or anywhere within `reach` columns and rows; a cluster away from
    home sometimes tries that.
    """
    columns = cells.shape[1]
    rows = cells.shape[2]
    random = next_number(state)
    if home[a] >= 0 and home[a] != slot[a] and (random >> 27) == 0:
        return home[a]
    if partners > 0 and (random & 255) < near:
        j = other[first + ((((random >> 8) & 0xFFFF) * partners) >> 16)]
        x = px[j] + ((random >> 24) & 15) % 3 - 1
        y = py[j] + (random >> 28) % 3 - 1
        if wrap:
            x = (x + columns) % columns
            y = (y + rows) % rows
        elif x < 0 or y < 0 or x >= columns or y >= rows:
            return -1
    elif wrap:
        x = (x + (((random >> 8) & 0x7FF) * (2 * reach + 1) >> 11) - reach + columns) % columns
        y = (y + (((random >> 19) & 0x7FF) * (2 * reach + 1) >> 11) - reach + rows) % rows
    else:
        low = max(0, x - reach)
        x = low + (((random >> 8) & 0x7FF) * (min(columns - 1, x + reach) - low + 1) >> 11)
        low = max(0, y - reach)
        y = low + (((random >> 19) & 0x7FF) * (min(rows - 1, y + reach) - low + 1) >> 11)
    count = cells[kind[a], x, y, 1]
    if count == 0:
        return -1
    begin = cells[kind[a], x, y, 0]
    if count == 1:
        return listed[begin]
    return listed[begin + below(state, count)]


@compiled()
def _between(start, other, weight, a, b):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the traffic between two clusters; rows are ascending."""
    if start[b + 1] - start[b] < start[a + 1] - start[a]:
        a, b = b, a
    low = start[a]
    high = start[a + 1]
    while high - low > 4:
        middle = (low + high) >> 1
        if other[middle] <= b:
            low = middle
        else:
            high = middle
    for k in range(low, high):
        if other[k] == b:
            return weight[k]
    return 0


@compiled()
def _tabulate(table, across, up, start, other, weight, px, py):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Fill `table` (clusters, columns + rows): the cost of a cluster's traffic along x in every column, then along y in every row."""
    columns = across.shape[0]
    table[:] = 0
    for a in range(table.shape[0]):
        for k in range(start[a], start[a + 1]):
            u = across[px[other[k]]]
            v = up[py[other[k]]]
            for i in range(columns):
                table[a, i] += weight[k] * u[i]
            for i in range(up.shape[0]):
                table[a, columns + i] += weight[k] * v[i]


@compiled()
def _retabulate(table, shift, across, up, start, other, weight, c, x0, y0, x1, y1):  # type: ignore[no-untyped-def] # pragma: no cover
    """Bring the rows of the partners of cluster `c` up to date after its move."""
    columns = across.shape[0]
    low = columns if x0 == x1 else 0
    high = columns if y0 == y1 else shift.shape[0]
    for i in range(columns):
        shift[i] = across[x1, i] - across[x0, i]
    for i in range(up.shape[0]):
        shift[columns + i] = up[y1, i] - up[y0, i]
    for k in range(start[c], start[c + 1]):
        w = weight[k]
        row = table[other[k]]
        for i in range(low, high):
            row[i] += w * shift[i]


@compiled()
def _anneal(  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    x, y, plain, place, across, up, matrix, port_hops, cells, listed, kind, movable, fixed, home, move_cost, start, other, weight, port,
    slot, holder, px, py, table, tabled, chances, moves, reach, wrap, near, temperature, state,
):
    """Try moves at one temperature, in place; return the change of cost, moves tried and taken, those that changed it, and their mean.

    With a temperature below zero nothing is moved: the last number is then the sum of the changes' absolute values, in 1024ths.
    """
    columns = across.shape[0]
    sampling = temperature < 0
    limit = np.int64(0)
    shift = np.zeros(columns + up.shape[0], np.int64)
    total = np.int64(0)
    spread = 0.0
    tried = 0
    taken = 0
    changed = 0
    for _ in range(moves):
        a = movable[below(state, movable.shape[0])]
        at = slot[a]
        xa = px[a]
        ya = py[a]
        to = draw(state, a, xa, ya, px, py, slot, home, start[a], start[a + 1] - start[a], other, cells, listed, kind, reach, wrap, near)
        if to < 0 or to == at:
            continue
        b = holder[to]
        if b >= 0 and fixed[b]:
            continue
        tried += 1
        if not sampling:
            limit = np.int64(temperature * chances[next_number(state) & 4095])
        xb = x[to]
        yb = y[to]
        if tabled:
            change = port[a] * (port_hops[to] - port_hops[at])
            change += table[a, xb] - table[a, xa] + table[a, columns + yb] - table[a, columns + ya]
            if b >= 0:
                change += port[b] * (port_hops[at] - port_hops[to])
                change += table[b, xa] - table[b, xb] + table[b, columns + ya] - table[b, columns + yb]
                if change > limit and move_cost == 0 and not sampling:
                    # Their own traffic only makes it dearer, and is slow to look up.
                    continue
                change += 2 * _between(start, other, weight, a, b) * (across[xa, xb] + up[ya, yb])
        else:
            # One body for both clusters: calls with so many arrays are slower than the sums. Their own traffic stays as long as it is.
            change = port[a] * (port_hops[to] - port_hops[at])
            if b >= 0:
                change += port[b] * (port_hops[at] - port_hops[to])
            for side in range(1 if b < 0 else 2):
                c = b if side else a
                d = a if side else b
                x0 = xb if side else xa
                y0 = yb if side else ya
                x1 = xa if side else xb
                y1 = ya if side else yb
                if plain:
                    for k in range(start[c], start[c + 1]):
                        j = other[k]
                        if j != d:
                            u = px[j]
                            v = py[j]
                            change += weight[k] * (abs(x1 - u) - abs(x0 - u) + abs(y1 - v) - abs(y0 - v))
                elif matrix.shape[0] > 0:
                    here = place[to] if side else place[at]
                    there = place[at] if side else place[to]
                    for k in range(start[c], start[c + 1]):
                        j = other[k]
                        if j != d:
                            p = place[slot[j]]
                            change += weight[k] * (matrix[there, p] - matrix[here, p])
                else:
                    for k in range(start[c], start[c + 1]):
                        j = other[k]
                        if j != d:
                            u = px[j]
                            v = py[j]
                            change += weight[k] * (across[x1, u] - across[x0, u] + up[y1, v] - up[y0, v])
        if move_cost > 0:
            if home[a] >= 0:
                change += move_cost * ((to != home[a]) - np.int64(at != home[a]))
            if b >= 0 and home[b] >= 0:
                change += move_cost * ((at != home[b]) - np.int64(to != home[b]))
        if sampling:
            if change != 0:
                changed += 1
                spread += abs(change) / 1024.0
            continue
        if change <= limit:
            slot[a] = to
            px[a] = xb
            py[a] = yb
            holder[to] = a
            holder[at] = b
            if b >= 0:
                slot[b] = at
                px[b] = xa
                py[b] = ya
            if tabled:
                _retabulate(table, shift, across, up, start, other, weight, a, xa, ya, xb, yb)
                if b >= 0:
                    _retabulate(table, shift, across, up, start, other, weight, b, xb, yb, xa, ya)
            total += change
            taken += 1
            if change != 0:
                changed += 1
    return total, tried, taken, changed, spread


class Annealer:
    """Anneals placements of one problem, its traffic counted pair by pair.

    Args:
        problem: what to place.
        metric: other distances than the board's, such as those between chips only; None measures the board.
    """

    def __init__(self, problem: PlacementProblem, metric: Metric | None = None) -> None:
        self.problem = problem
        self.metric: Metric = metric or measure(problem.board)
        self._plain = self.metric.plain
        self.traffic: Traffic = collect(problem)
        self.mover: Mover = mover(self.metric, problem.board.kind, problem.kind, problem.pinned, problem.clusters)
        self.home: Array = np.full(problem.clusters, -1, np.int64) if problem.home is None else np.array(problem.home)
        if problem.kind is not None and problem.board.kind is not None:
            # A home of another class is out of reach: what leaving it costs is the same everywhere.
            self.home[(self.home >= 0) & (problem.board.kind[self.home] != problem.kind)] = -1
        self.port_hops: Array = np.array(problem.board.port_hops())
        span = self.metric.column.size + self.metric.row.size
        fits = self.metric.separable and problem.clusters * span <= _TABLE
        self._table: Array = np.zeros((problem.clusters if fits else 0, span), np.int64)
        self._tabled = False

    @property
    def work(self) -> float:
        """About how many numbers a move looks at."""
        return 12 + 2.5 * self.traffic.other.size / max(1, self.problem.clusters)

    def _begin(self, at: Where) -> None:  # noqa: ARG002 - trees are measured there
        """Get ready for a start."""
        self._tabled = False

    def _cooled(self, at: Where, ratio: float) -> None:
        """Get ready for the next temperature: `ratio` of the moves were taken."""
        # A move tried costs a look at every partner, or nothing with tables, which a move taken must then bring up to date.
        tabled = self._table.shape[0] > 0 and ratio * (self._table.shape[1] / 4 + 8) < 3
        if tabled and not self._tabled:
            m, t = self.metric, self.traffic
            _tabulate(self._table, m.across, m.up, t.start, t.other, t.weight, at.px, at.py)
        self._tabled = tabled

    def _try(self, at: Where, moves: int, reach: int, temperature: float, state: Array) -> tuple[int, int, int, int, float]:
        m, v, t = self.metric, self.mover, self.traffic
        change, tried, taken, changed, spread = _anneal(
            m.x, m.y, self._plain, m.place, m.across, m.up, m.matrix, self.port_hops, v.cells, v.listed, v.kind, v.movable, v.fixed,
            self.home, t.move, t.start, t.other, t.weight, t.port, at.slot, at.holder, at.px, at.py, self._table, self._tabled, CHANCES,
            moves, reach, m.wrap, NEAR, temperature, state,
        )
        return int(change), int(tried), int(taken), int(changed), float(spread)

    def run(self, slot: Array, moves: int, seed: int, heat: float = 0.5, stopped: Callable[[], bool] | None = None) -> Array:
        """Return a better placement, never a worse one.

        Args:
            slot: (clusters,) int64, where to start.
            moves: tried in all; fewer where nothing changes any more.
            seed: of the random moves; the same seed gives the same answer everywhere.
            heat: the first temperature, in mean changes of cost of a random move.
            stopped: asked now and then; once it says True the search ends.
        """
        if not self.mover.movable.size:
            return slot.copy()
        m = self.metric
        at = Where(slot.copy(), np.full(self.problem.board.size, -1, np.int64), m.x[slot], m.y[slot])
        at.holder[slot] = np.arange(slot.size)
        state = seeded(seed)
        each = moves // (_STEPS + 2) + 1
        # The window covers at most 2048 columns, which is what a move's random bits can tell apart.
        radius = widest = float(min(1023, max(m.column.size, m.row.size)))
        self._begin(at)
        _, _, _, changed, spread = self._try(at, min(each, _CHUNK), int(widest), -1.0, state)
        temperature = heat * 1024.0 * spread / max(1, changed)
        total = quiet = step = 0
        while step <= _STEPS:
            tried = taken = moved = 0
            for first in range(0, each, _CHUNK):
                if stopped is not None and stopped():
                    return at.slot if total < 0 else slot.copy()
                batch = min(_CHUNK, each - first)
                change, a, b, c, _ = self._try(at, batch, int(max(1.0, radius)), temperature if step < _STEPS else 0.0, state)
                total, tried, taken, moved = total + change, tried + a, taken + b, moved + c
            ratio = taken / max(1, tried)
            self._cooled(at, ratio)
            temperature *= _FAST if ratio > _BUSY or ratio < _IDLE else _SLOW
            # VPR's rule: a window in which 44 % of the moves are taken.
            radius = min(widest, max(1.0, radius * (0.56 + ratio)))
            quiet = quiet + 1 if not moved else 0
            step = _STEPS if quiet == _QUIET and step < _STEPS else step + 1
        return at.slot if total < 0 else slot.copy()
