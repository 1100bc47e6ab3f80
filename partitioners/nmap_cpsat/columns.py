"""Core counts by column generation: a linear program over contents of whole cores gives the bound, and rounding it the answer.

A *pattern* is what one core may hold. The linear program takes patterns in fractional numbers so that all units are held by as few cores as
possible (Gilmore and Gomory 1961); patterns are found when they are needed. Bounds never rest on the program's floating point: see
`proved`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import numpy as np
from ortools.sat.python import cp_model

from nmap.compiled import compiled
from nmap.connectivity import Array
from nmap.partition.fill import Filled, fill, fits, loads, quality
from nmap.partition.glop import pywraplp
from nmap.partition.partitioner import Budget
from nmap.partition.problem import CoreClass, Item, PackingProblem
from nmap_cpsat.encoding import FINE, encode
from nmap_cpsat.solver import solve

__all__ = ["Bins", "Types", "bins_of", "generate", "proved", "types_of"]

_SCALE = 1 << 30
"""What a core costs in whole-number prices."""
_ROUNDS = (12, 60, 300)
"""Rounds of the linear program by effort."""
_EXACT_TIME = (0.02, 0.1, 0.5)
"""Deterministic seconds of one exact search for a pattern by effort."""
_STEPS = 4000
"""Literals that may be spent on demand tables in one exact search."""
_PRIMAL = "change_status_to_imprecise: false use_dual_simplex: false"
_POLISHED = 24
_PIECES = 48
_DIVE_ROUNDS = 3
_REST = 1.5
_NEARLY_ONE = 0.75
_NEAR = 1 / 500


@dataclass(frozen=True, slots=True, eq=False)
class Bins:
    """Cores by what they can take, those in use first.

    Args:
        room: (bins, resources) int64.
        number: (bins,) int64, how many there are.
        price: (bins,) int64, 1 for a new core, 0 for one in use.
    """

    room: Array
    number: Array
    price: Array


def bins_of(problem: PackingProblem) -> Bins:
    """Return the kinds of cores of a problem; of cores without classes there are as many as it takes."""
    old, number = np.unique(problem.rooms(np.full(problem.old, -1)), axis=0, return_counts=True)
    kinds = problem.kinds
    most = [core.cores if problem.classes else sum(item.size for item in problem.items) for core in kinds]
    return Bins(
        np.concatenate([old.reshape(-1, len(problem.resources)), np.stack([core.capacity for core in kinds])]),
        np.concatenate([number, np.array(most, np.int64)]),
        np.concatenate([np.zeros(len(old), np.int64), np.ones(len(kinds), np.int64)]),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Types:
    """Items of equal tables and sizes as one.

    Args:
        items: one item each, whose table is a lower bound of what any pieces of the type's items take on a core.
        lanes: the problem's items of each type.
    """

    items: tuple[Item, ...]
    lanes: tuple[tuple[int, ...], ...]


def _closure(item: Item, size: int, room: Array) -> Array:
    """Return (resources, n + 1) int64: for each resource alone, the least that any pieces of m units in total take, m up to size.

    It ends where a resource no longer fits `room`, (resources,), so that every set of pieces that fits a core is in it.
    """
    most = min(item.max_piece, item.size)
    price = item.demand[:, 1 : most + 1]
    best = np.zeros((price.shape[0], min(size, 2 * most) + 1), np.int64)
    total = 0
    while total < size:
        total += 1
        if total == best.shape[1]:
            best = np.pad(best, ((0, 0), (0, min(total, size + 1 - total))))
        last = min(total, most)
        best[:, total] = (price[:, :last] + best[:, total - last : total][:, ::-1]).min(1)
        if (best[:, total] > room).any():
            total -= 1
            break
    return best[:, : total + 1]


def types_of(problem: PackingProblem) -> Types:
    """Group the problem's items. The types' problem needs no more cores than the items': every packing of these is one of those."""
    rooms = bins_of(problem).room
    highest = rooms.max(0)
    groups: dict[tuple[int, tuple[int, ...], bytes], list[int]] = {}
    for index, item in enumerate(problem.items):
        groups.setdefault((item.size, item.demand.shape, item.demand.tobytes()), []).append(index)
    items = []
    for lanes in groups.values():
        item = problem.items[lanes[0]]
        size = item.size * len(lanes)
        table = item.demand
        if len(lanes) > 1 or not all(item.joins(room) for room in rooms):
            table = _closure(item, size, highest)
        items.append(replace(item, size=size, demand=table[:, : size + 1], floor=np.zeros(rooms.shape[1])))
    return Types(tuple(items), tuple(tuple(lanes) for lanes in groups.values()))


@compiled()
def _most(table, start, stop, free):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return the largest n with table[:, start + n] <= free, start + n <= stop."""
    low, high = start, stop
    while low < high:
        middle = (low + high + 1) // 2
        fits = True
        for r in range(free.size):
            if table[r, middle] > free[r]:
                fits = False
                break
        if fits:
            low = middle
        else:
            high = middle - 1
    return low - start


@compiled()
def _score(table, start, n, profit, ratio):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    share = 0.0
    for r in range(ratio.size):
        share += table[r, start + n] * ratio[r]
    return profit * n / share if share > 0 else float(profit * n)


@compiled()
def _refill(table, start, most, profit, free, units, held, count, ratio, order, bound):  # type: ignore[no-untyped-def] # pragma: no cover
    """Add pieces to a core, always the one of best value (per share of the core where `ratio` is not zero); return pieces, value.

    `order` has the items by decreasing `bound`, the score of the largest piece of each: smaller ones score no better, or hardly.
    """
    gain = 0
    while count < held.size:
        best, chosen, amount = 0.0, -1, 0
        for i in order:
            if bound[i] <= best:
                break
            if units[i] > 0:
                continue
            fits = True
            for r in range(free.size):
                if table[r, start[i] + 1] > free[r]:
                    fits = False
                    break
            if not fits:
                continue
            n = _most(table, start[i], start[i] + most[i], free)
            value = _score(table, start[i], n, profit[i], ratio)
            if value > best:
                best, chosen, amount = value, i, n
        if chosen < 0:
            break
        units[chosen] = amount
        held[count] = chosen
        count += 1
        gain += profit[chosen] * amount
        for r in range(free.size):
            free[r] -= table[r, start[chosen] + amount]
    return count, gain


@compiled()
def _polish(table, start, most, profit, free, units, held, count, value, ratios, orders, bounds):  # type: ignore[no-untyped-def] # pragma: no cover
    """Take units of one piece off a core and fill it up again, as long as that pays; return pieces, value."""
    trial_units = units.copy()
    trial_free = free.copy()
    trial_held = held.copy()
    better = True
    while better:
        better = False
        for k in range(count):
            i = held[k]
            step = 1
            while True:
                step = min(step, units[i])
                for rule in range(2):
                    trial_units[:] = 0
                    pieces = 0
                    for m in range(count):
                        j = held[m]
                        n = units[j] - (step if j == i else 0)
                        if n > 0:
                            trial_units[j] = n
                            trial_held[pieces] = j
                            pieces += 1
                    for r in range(free.size):
                        trial_free[r] = free[r] + table[r, start[i] + units[i]] - table[r, start[i] + units[i] - step]
                    worth = value - step * profit[i]
                    # Pieces that are there already may grow into the room, the best first.
                    for _ in range(2 * pieces):
                        best, chosen, amount = 0, -1, 0
                        for m in range(pieces):
                            j = trial_held[m]
                            if j == i:
                                continue
                            # Room as if the piece were not there.
                            for r in range(free.size):
                                trial_free[r] += table[r, start[j] + trial_units[j]]
                            n = _most(table, start[j], start[j] + most[j], trial_free)
                            for r in range(free.size):
                                trial_free[r] -= table[r, start[j] + trial_units[j]]
                            gain = (n - trial_units[j]) * profit[j]
                            if gain > best:
                                best, chosen, amount = gain, j, n
                        if chosen < 0:
                            break
                        for r in range(free.size):
                            trial_free[r] += table[r, start[chosen] + trial_units[chosen]] - table[r, start[chosen] + amount]
                        worth += best
                        trial_units[chosen] = amount
                        if rule == 0:
                            break
                    pieces, gain = _refill(
                        table, start, most, profit, trial_free, trial_units, trial_held, pieces, ratios[rule], orders[rule], bounds[rule],
                    )
                    worth += gain
                    if worth > value:
                        value = worth
                        units[:] = trial_units
                        free[:] = trial_free
                        held[:] = trial_held
                        count = pieces
                        better = True
                        break
                if better or step == units[i]:
                    break
                step *= 2
            if better:
                break
    return count, value


@compiled()
def _around(table, start, most, profit, room, ratios, orders, bounds, ways, item, amount, counts, values):  # type: ignore[no-untyped-def] # pragma: no cover
    """Write a good pattern around every item: its items and units, their number and the value."""
    units = np.zeros(profit.size, np.int64)
    free = np.zeros(room.size, np.int64)
    held = np.zeros(item.shape[1], np.int64)
    for seed in range(profit.size):
        first = _most(table, start[seed], start[seed] + most[seed], room)
        if profit[seed] <= 0 or first == 0:
            continue
        for way in range(ways):
            take = first if way < 2 else first // 2
            if take == 0:
                break
            units[:] = 0
            units[seed] = take
            held[0] = seed
            for r in range(room.size):
                free[r] = room[r] - table[r, start[seed] + take]
            rule = way % 2
            count, gain = _refill(table, start, most, profit, free, units, held, 1, ratios[rule], orders[rule], bounds[rule])
            value = gain + take * profit[seed]
            if value > values[seed]:
                values[seed] = value
                counts[seed] = count
                for k in range(count):
                    item[seed, k] = held[k]
                    amount[seed, k] = units[held[k]]


@compiled()
def _exchange(table, start, most, profit, room, ratios, orders, bounds, which, item, amount, counts, values):  # type: ignore[no-untyped-def] # pragma: no cover
    """Improve the patterns around the items `which`."""
    units = np.zeros(profit.size, np.int64)
    free = np.zeros(room.size, np.int64)
    held = np.zeros(item.shape[1], np.int64)
    for seed in which:
        units[:] = 0
        for r in range(room.size):
            free[r] = room[r]
        for k in range(counts[seed]):
            j = item[seed, k]
            held[k] = j
            units[j] = amount[seed, k]
            for r in range(room.size):
                free[r] -= table[r, start[j] + units[j]]
        count, value = _polish(table, start, most, profit, free, units, held, counts[seed], values[seed], ratios, orders, bounds)
        values[seed] = value
        counts[seed] = count
        for k in range(count):
            item[seed, k] = held[k]
            amount[seed, k] = units[held[k]]


class _Pricing:
    """Looks for patterns worth more than a core."""

    def __init__(self, items: tuple[Item, ...]) -> None:
        width = [item.demand.shape[1] for item in items]
        self.items = items
        self.table = np.ascontiguousarray(np.concatenate([item.demand for item in items], axis=1))
        self.start = np.concatenate([[0], np.cumsum(width)[:-1]]).astype(np.int64)
        self.most = np.array([min(item.max_piece, item.size) for item in items], np.int64)
        self.codes = [encode(item, max(_STEPS // len(items), 1), upper=False)[0] for item in items]

    def good(self, profit: Array, room: Array, most: Array, ways: int, polished: int) -> tuple[int, list[tuple[Array, Array]]]:
        """Return the best value found and patterns (items, units), best first, one around each item at most.

        Args:
            profit: (items,) int64, of one unit.
            room: (resources,) int64, of the core.
            most: (items,) int64, most units of an item that are wanted.
            ways: 1 to 4, patterns to try around each item.
            polished: how many of the best patterns to improve by exchange.
        """
        most = np.minimum(most, self.most)
        size = profit.size
        ratios = np.stack([np.zeros(room.size), 1 / np.maximum(room, 1)])
        # The largest piece of each item is the best to see which items are worth a look.
        full = np.array([item.most_units(room[None])[0] for item in self.items], np.int64)
        fit = np.minimum(full, most)
        share = np.maximum(self.table[:, self.start + fit].T @ ratios[1], 1e-12)
        worth = (profit * fit).astype(np.float64)
        bounds = np.stack([worth, worth / share])
        orders = np.argsort(-bounds, axis=1, kind="stable")
        item, amount = np.zeros((size, _PIECES), np.int64), np.zeros((size, _PIECES), np.int64)
        counts, values = np.zeros(size, np.int64), np.zeros(size, np.int64)
        task = (self.table, self.start, most, profit, np.ascontiguousarray(room), ratios, orders, bounds)
        _around(*task, ways, item, amount, counts, values)
        which = np.argsort(-values, kind="stable")[:polished]
        _exchange(*task, which[counts[which] > 0], item, amount, counts, values)
        seen = set()
        patterns = []
        for k in np.argsort(-values, kind="stable"):
            chosen = item[k, : counts[k]]
            order = np.argsort(chosen, kind="stable")
            pattern = (chosen[order], amount[k, : counts[k]][order])
            key = (pattern[0].tobytes(), pattern[1].tobytes())
            if counts[k] and key not in seen:
                seen.add(key)
                patterns.append(pattern)
        return int(values.max(initial=0)), patterns

    def exact(
        self, profit: Array, room: Array, start: tuple[Array, Array] | None, budget: Budget,
    ) -> tuple[int, tuple[Array, Array], float]:
        """Return an upper bound of the value of every pattern, the best pattern found and deterministic seconds.

        Args:
            profit, room: as in `good`.
            start: a pattern to start from.
            budget: its effort limits the search.
        """
        model = cp_model.CpModel()
        load: list[list[tuple[cp_model.IntVar, int]]] = [[] for _ in room]
        worth: list[tuple[cp_model.IntVar, int]] = []
        chosen = []
        hint = dict(zip(start[0].tolist(), start[1].tolist(), strict=True)) if start is not None else {}
        for k, code in enumerate(self.codes):
            most = int(_most(self.table, self.start[k], self.start[k] + self.most[k], room)) if profit[k] > 0 else 0
            if not most:
                continue
            n, at = model.new_int_var(0, most, ""), model.new_bool_var("")
            model.add(n <= most * at)
            model.add(n >= at)
            units = min(hint.get(k, 0), most)
            model.add_hint(n, units)
            model.add_hint(at, units > 0)
            for r in range(room.size):
                if code.slope[r]:
                    load[r].append((n, code.slope[r]))
                if code.fixed[r]:
                    load[r].append((at, code.fixed[r]))
            if code.ends:
                literals = [model.new_bool_var("") for _ in code.ends]
                model.add(sum(literals) == at)
                model.add(cp_model.LinearExpr.weighted_sum([n, *literals], [-1, *code.ends]) >= 0)
                for r, price in enumerate(zip(*code.steps, strict=True)):
                    if any(price):
                        load[r] += zip(literals, price, strict=True)
            worth.append((n, int(profit[k])))
            chosen.append((k, n))
        if not chosen:
            return 0, (np.zeros(0, np.int64), np.zeros(0, np.int64)), 0.0
        for terms, capacity in zip(load, room.tolist(), strict=True):
            if terms:
                model.add(cp_model.LinearExpr.weighted_sum([v for v, _ in terms], [c for _, c in terms]) <= capacity * FINE)
        model.maximize(cp_model.LinearExpr.weighted_sum([v for v, _ in worth], [c for _, c in worth]))
        solver, status, time = solve(model, budget, _EXACT_TIME[budget.effort])
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return int(sum(int(profit[k]) * int(self.most[k]) for k, _ in chosen)), (np.zeros(0, np.int64), np.zeros(0, np.int64)), time
        found = [(k, solver.value(n)) for k, n in chosen]
        found = [(k, n) for k, n in found if n]
        # The solver's bound of a whole-number objective is a float: one more covers its last place.
        bound = int(solver.objective_value) if status == cp_model.OPTIMAL else int(np.floor(solver.best_objective_bound)) + 1
        return bound, (np.array([k for k, _ in found], np.int64), np.array([n for _, n in found], np.int64)), time


def proved(profit: Array, sizes: Array, bins: Bins, values: list[int]) -> Fraction:
    """Return a lower bound on the number of new cores.

    Any prices p >= 0 give one: an answer's units are worth sum p size, a core of bin b holds at most `values[b]` of it, so that with any
    scale s the new cores are at least s sum p size - sum over bins of number max(0, s value - price); s = 1 / value is Farley's bound
    (1990). All in whole numbers and fractions, with the best of the scales at which a term changes sign.

    Args:
        profit: (items,) int64 >= 0, of one unit.
        sizes: (items,) int64.
        bins: the cores.
        values: per bin, at least what the best pattern is worth.
    """
    total = sum(int(p) * int(n) for p, n in zip(profit, sizes, strict=True))
    best = Fraction(0)
    for scale in sorted({Fraction(1, value) for value, price in zip(values, bins.price.tolist(), strict=True) if price and value}):
        cost = scale * total
        for value, price, number in zip(values, bins.price.tolist(), bins.number.tolist(), strict=True):
            cost -= number * max(Fraction(0), scale * value - price)
        best = max(best, cost)
    return best


class _Master:
    """The linear program over patterns: GLOP."""

    def __init__(self, sizes: Array, unit: Array, bins: Bins) -> None:
        self.solver = pywraplp.Solver.CreateSolver("GLOP")
        # An answer that is a little off is good enough: what is proved is computed in whole numbers.
        self.solver.SetSolverSpecificParametersAsString(_PRIMAL)
        # Units are counted in the most that one core holds: the program stays near 1.
        self.unit = unit.astype(np.float64)
        self.rows = [self.solver.Constraint(float(size), self.solver.infinity()) for size in sizes / self.unit]
        self.limits = [self.solver.Constraint(-self.solver.infinity(), float(number)) for number in bins.number]
        self.objective = self.solver.Objective()
        self.objective.SetMinimization()
        self.bins = bins
        self.patterns: list[tuple[int, Array, Array]] = []
        self.variables: list[pywraplp.Variable] = []
        self.closed: set[int] = set()
        self.known: set[tuple[int, bytes, bytes]] = set()
        # Units that no core holds: dear, so that the program always has an answer.
        for row in self.rows:
            missing = self.solver.NumVar(0.0, self.solver.infinity(), "")
            self.objective.SetCoefficient(missing, 4.0)
            row.SetCoefficient(missing, 1.0)

    def add(self, which: int, items: Array, units: Array) -> bool:
        """Add a pattern of bin `which`; return False if it is there already."""
        key = (which, items.tobytes(), units.tobytes())
        if key in self.known or not items.size:
            return False
        self.known.add(key)
        variable = self.solver.NumVar(0.0, self.solver.infinity(), "")
        self.objective.SetCoefficient(variable, float(self.bins.price[which]))
        for i, n in zip(items.tolist(), (units / self.unit[items]).tolist(), strict=True):
            self.rows[i].SetCoefficient(variable, n)
        self.limits[which].SetCoefficient(variable, 1.0)
        self.patterns.append((which, items, units))
        self.variables.append(variable)
        return True

    def clip(self, sizes: Array, times: Array) -> None:
        """Close patterns with more units than are left: the program would take a small part of them, which no rounding can.

        Those that `times` uses, and those of one item, go on with as many units as are left.
        """
        for k, (b, items, units) in enumerate(self.patterns[:]):
            if k not in self.closed and (units > sizes[items]).any():
                self.closed.add(k)
                self.variables[k].SetUb(0.0)
                least = np.minimum(units, sizes[items])
                if items.size == 1 or (k < times.size and times[k] > 1e-6):
                    self.add(b, items[least > 0], least[least > 0])

    def solve(self, sizes: Array, number: Array) -> tuple[float, Array, Array]:
        """Return the value, the price of a unit of every item and the number of every pattern.

        Args:
            sizes: (items,) units to hold.
            number: (bins,) cores there are.
        """
        for row, size in zip(self.rows, (sizes / self.unit).tolist(), strict=True):
            row.SetLb(size)
        for row, most in zip(self.limits, number.tolist(), strict=True):
            row.SetUb(float(most))
        status = self.solver.Solve()
        if status != pywraplp.Solver.OPTIMAL:
            # From a degenerate basis the primal simplex sometimes gives up where the dual does not.
            self.solver.SetSolverSpecificParametersAsString(_PRIMAL + " use_dual_simplex: true")
            status = self.solver.Solve()
            self.solver.SetSolverSpecificParametersAsString(_PRIMAL)
        if status != pywraplp.Solver.OPTIMAL:
            raise ArithmeticError("the linear program over patterns was not solved")
        dual = np.array([max(row.dual_value(), 0.0) for row in self.rows]) / self.unit
        return float(self.objective.Value()), dual, np.array([v.solution_value() for v in self.variables])


class _Generation:
    """Patterns, the bound they prove, and answers rounded from them."""

    def __init__(self, problem: PackingProblem, filled: Filled, bound: int, budget: Budget) -> None:
        self.problem = problem
        self.budget = budget
        self.types = types_of(problem)
        self.bins = bins_of(problem)
        self.sizes = np.array([item.size for item in self.types.items], np.int64)
        self.pricing = _Pricing(self.types.items)
        self.master = _Master(self.sizes, self.pricing.most, self.bins)
        self.best = filled
        self.bound = bound
        self.time = 0.0
        self.type_of = np.zeros(len(problem.items), np.int64)
        for k, lanes in enumerate(self.types.lanes):
            self.type_of[list(lanes)] = k
        self._start(filled)

    def _start(self, filled: Filled) -> None:
        rooms = self.problem.rooms(filled.kind)
        which = {room.tobytes(): b for b, room in reversed(list(enumerate(self.bins.room)))}
        for cluster in range(filled.clusters):
            units = np.bincount(self.type_of, weights=filled.units[:, cluster], minlength=self.sizes.size).astype(np.int64)
            items = np.flatnonzero(units)
            self.master.add(which[rooms[cluster].tobytes()], items, units[items])
        for b, room in enumerate(self.bins.room):
            for k, item in enumerate(self.types.items):
                most = min(int(item.most_units(room[None])[0]), item.size)
                if most:
                    self.master.add(b, np.array([k]), np.array([most]))

    def prices(self, dual: Array) -> Array:
        """Return whole-number prices of a unit of every type."""
        return np.asarray(np.floor(dual * _SCALE), np.int64)

    def improve(
        self, profit: Array, sizes: Array, margin: int, ways: int = 4, polished: int = _POLISHED,
    ) -> tuple[int, list[tuple[int, tuple[Array, Array]]]]:
        """Add patterns worth more than their core; return how many, and the best pattern of every bin with its worth."""
        added, best = 0, []
        for b, room in enumerate(self.bins.room):
            limit = max(0.0, -self.master.limits[b].dual_value())
            least = int(_SCALE * (int(self.bins.price[b]) + limit)) + margin
            value, patterns = self.pricing.good(profit, room, sizes, ways, polished)
            best.append((value, patterns[0] if patterns else (np.zeros(0, np.int64), np.zeros(0, np.int64))))
            for items, units in patterns:
                if int(profit[items] @ units) <= least:
                    break
                added += self.master.add(b, items, units)
        return added, best

    def solve(self) -> None:
        """Solve the linear program, as far as the budget allows."""
        margin = _SCALE >> 16
        for _ in range(_ROUNDS[self.budget.effort]):
            if self.budget.over:
                return
            value, dual, _ = self.master.solve(self.sizes, self.bins.number)
            most = int(np.ceil(value - 1e-6)) + self.problem.old
            if self.bound >= min(most, self.best.clusters) or value + self.problem.old <= self.bound * (1 + _NEAR):
                break
            profit = self.prices(dual)
            added, best = self.improve(profit, self.sizes, margin)
            if added:
                continue
            values = []
            for b, room in enumerate(self.bins.room):
                bound, (items, units), time = self.pricing.exact(profit, room, best[b][1], self.budget)
                self.time += time
                values.append(max(bound, 1))
                added += self.master.add(b, items, units)
            self.bound = max(self.bound, self.problem.old + ceil(proved(profit, self.sizes, self.bins, values)))
            if not added:
                break

    def dive(self) -> None:
        """Round the linear program to an answer, a few patterns at a time, and keep it if it is better."""
        left = np.array([item.size for item in self.problem.items], np.int64)
        number = self.bins.number.copy()
        units: list[Array] = []
        which: list[int] = []
        times = np.zeros(0)
        while left.any() and not self.budget.over:
            sizes = np.bincount(self.type_of, weights=left, minlength=self.sizes.size).astype(np.int64)
            self.master.clip(sizes, times)
            value = 0.0
            for _ in range(_DIVE_ROUNDS):
                value, dual, times = self.master.solve(sizes, number)
                if not self.improve(self.prices(dual), sizes, _SCALE >> 12, 4, 12)[0]:
                    break
            if value <= _REST:
                break
            whole = np.floor(times + 1e-6).astype(np.int64)
            if not whole.any():
                whole[times >= min(_NEARLY_ONE, float(times.max()))] = 1
            before = len(units)
            for k in np.flatnonzero(whole):
                b, items, amount = self.master.patterns[k]
                for _ in range(int(whole[k])):
                    column = self._realise(items, amount, self.bins.room[b], left)
                    if not column.any() or not number[b]:
                        break
                    left -= column
                    number[b] -= 1
                    units.append(column)
                    which.append(b)
            if len(units) == before:
                break
        self._finish(units, which, left)

    def _realise(self, items: Array, amount: Array, room: Array, left: Array) -> Array:
        """Return (items,) units on a core of that room after a pattern, as far as units are left."""
        column = np.zeros(left.size, np.int64)
        free = room.copy()
        for k, n in zip(items.tolist(), amount.tolist(), strict=True):
            lanes = np.array(self.types.lanes[k])
            # Whole lanes first: they leave no seam.
            for lane in lanes[np.argsort(-left[lanes], kind="stable")].tolist():
                item = self.problem.items[lane]
                part = min(n, int(left[lane]), int(item.most_units(free[None])[0])) if n and left[lane] else 0
                # The further lanes have no more units left and the same prices.
                if not part:
                    break
                column[lane] = part
                free -= item.demand[:, part]
                n -= part
        return column

    def _finish(self, units: list[Array], which: list[int], left: Array) -> None:
        """Fill what is left into the gaps and further cores, and keep the answer if it is better."""
        problem = self.problem
        kind = np.array([b - (self.bins.number.size - len(problem.kinds)) for b in which], np.int64)
        rooms = self.bins.room[which] if which else np.zeros((0, len(problem.resources)), np.int64)
        packed = np.array(units, np.int64).reshape(len(units), left.size).T
        # Cores in use that no pattern took.
        new = np.flatnonzero(kind >= 0)
        spare = self.bins.number - np.bincount(which, minlength=self.bins.number.size)
        spare = spare[: self.bins.number.size - len(problem.kinds)]
        old = np.flatnonzero(kind < 0)
        rooms = np.concatenate([rooms[old], np.repeat(self.bins.room[: spare.size], spare, axis=0), rooms[new]])
        packed = np.concatenate([packed[:, old], np.zeros((packed.shape[0], int(spare.sum())), np.int64), packed[:, new]], axis=1)
        taken = problem.capacity - rooms + loads(problem, packed)
        chosen = np.flatnonzero(left)
        items = tuple(replace(problem.items[k], size=int(left[k]), floor=np.zeros(rooms.shape[1])) for k in chosen)
        number = np.bincount(kind[new], minlength=len(problem.kinds))
        classes = tuple(CoreClass(core.capacity, max(core.cores - int(n), 0)) for core, n in zip(problem.classes, number, strict=False))
        rest = fill(replace(problem, items=items, taken=taken, classes=classes))
        total = np.zeros((packed.shape[0], rest.clusters), np.int64)
        total[:, : packed.shape[1]] = packed
        total[chosen] += rest.units
        order = self._old_order(rooms[: problem.old])
        filled = Filled(
            np.concatenate([total[:, order], total[:, problem.old :]], axis=1),
            np.concatenate([np.full(problem.old, -1), kind[new], rest.kind[packed.shape[1] :]]),
        )
        # Two pieces of an item on one core, one from a pattern and one from a gap, are one now, which may not fit where tables do not join.
        if any((row > item.max_piece).any() for item, row in zip(problem.items, filled.units, strict=True)):
            return
        if (loads(problem, filled.units) > problem.rooms(filled.kind)).any():
            return
        if quality(problem, filled) < quality(problem, self.best):
            self.best = filled

    def _old_order(self, rooms: Array) -> Array:
        """Return, for every core in use, a distinct row of `rooms` with as much room."""
        order = np.zeros(self.problem.old, np.int64)
        order[np.lexsort(self.problem.rooms(np.full(self.problem.old, -1)).T)] = np.lexsort(rooms.T)
        return order


def generate(problem: PackingProblem, filled: Filled, bound: int, budget: Budget) -> tuple[Filled, int, float]:
    """Return the better of `filled` and a packing by column generation, the better bound, and deterministic seconds of CP-SAT.

    Args:
        problem: has items.
        filled: a packing, on more cores than there are maybe.
        bound: proved number of cores, the taken ones included.
        budget: effort, and whether to stop.
    """
    work = _Generation(problem, filled, bound, budget)
    try:
        work.solve()
        if work.best.clusters > work.bound or not fits(problem, work.best):
            work.dive()
    except ArithmeticError:
        # The linear program was not solved: what was found until then holds.
        pass
    return work.best, work.bound, work.time
