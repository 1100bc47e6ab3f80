"""Fewest cores, then least traffic across cuts, with CP-SAT."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from ortools.sat.python import cp_model

from nmap.connectivity import Array
from nmap.partition.fill import fill, finish, loads, most_cores, quality, seams, spend_slack
from nmap.partition.partitioner import Budget
from nmap.partition.problem import Item, PackingProblem, PackingSolution, area_bound
from nmap_cpsat.solver import solve

__all__ = ["pack"]

_TIME = (0.2, 1.0, 20.0)
"""Deterministic time of one solve by effort."""
_CELLS = 4000
"""Items times cores of one model; beyond it CP-SAT rarely closes (measured)."""
_STEPS = 40_000
"""Literals that may be spent on demand tables in one model."""
_FINE = 1 << 12
"""Resolution of an envelope's slope."""


@dataclass(frozen=True, slots=True)
class _Encoding:
    """One item's demand as the model sees it: `fixed` + `slope` times units, plus, for the other resources, a step function.

    All numbers are in units of 1 / scale of a resource.

    Args:
        slope, fixed: (resources,) int, of the affine resources; 0 elsewhere.
        ends: last unit of each step, ascending; empty when every resource is affine.
        steps: (steps, resources) int, the demand of the other resources on each step; 0 for the affine ones.
    """

    slope: tuple[int, ...]
    fixed: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]


def _encode(item: Item, budget: int, upper: bool) -> tuple[_Encoding, bool]:
    """Return the encoding of an item with at most `budget` steps, and whether it is exact.

    Where more steps would be needed the table is replaced by its affine envelope: from above if `upper` (what the model packs fits),
    from below otherwise (what the model cannot pack does not fit).
    """
    n = np.arange(1, item.max_piece + 1)
    table = item.demand[:, 1:]
    slope = table[:, -1] - table[:, -2] if item.max_piece > 1 else np.zeros(table.shape[0], np.int64)
    fixed = table[:, 0] - slope
    affine = (table == fixed[:, None] + slope[:, None] * n).all(1)
    stepped = np.flatnonzero(~affine)
    ends = np.flatnonzero(np.append((np.diff(table[stepped], axis=1) != 0).any(0), True)) + 1 if stepped.size else np.zeros(0, np.int64)
    slope, fixed = slope * _FINE, fixed * _FINE
    exact = ends.size <= budget
    if exact:
        slope[stepped] = fixed[stepped] = 0
        steps = np.zeros((ends.size, table.shape[0]), np.int64)
        steps[:, stepped] = table[stepped][:, ends - 1].T * _FINE
    else:
        for r in stepped:
            slope[r] = _FINE * int(table[r, -1] - table[r, 0]) // (item.max_piece - 1)
            rest = _FINE * table[r] - slope[r] * n
            fixed[r] = rest.max() if upper else rest.min()
        ends, steps = np.zeros(0, np.int64), np.zeros((0, table.shape[0]), np.int64)
    return _Encoding(tuple(slope.tolist()), tuple(fixed.tolist()), tuple(ends.tolist()), tuple(map(tuple, steps.tolist()))), exact


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """Of one solve: the packing or None, the proved bound of the objective, deterministic seconds spent."""

    units: Array | None
    bound: float
    time: float


def _solve(
    problem: PackingProblem, hint: Array, encodings: list[_Encoding], fewest: int, cores: int, pieces: bool, limit: float, seed: int,
) -> _Answer:
    """Solve one model.

    Args:
        problem: all its items are modelled.
        hint: (items, clusters) int64, a packing to start from.
        encodings: of the items.
        fewest: proved number of cores.
        cores: cores the model has.
        pieces: minimise seams, then how far apart the items on a core are, instead of cores.
        limit: deterministic seconds.
        seed: of the solver.
    """
    model = cp_model.CpModel()
    start = np.zeros((len(problem.items), cores), np.int64)
    start[:, : hint.shape[1]] = hint[:, :cores]
    # Cores are alike: order them by the units of the largest item.
    lead = max(range(len(problem.items)), key=lambda k: (problem.items[k].size / problem.items[k].max_piece, -k))
    start = start[:, np.lexsort((-start[lead], ~start.any(0)))]
    used = [model.new_bool_var("") if c >= fewest else model.new_constant(1) for c in range(cores)]
    units, present = [], []
    # One flat sum per core and resource: nested expressions are slow to build, and fail in OR-tools 9.14.
    load: list[list[list[tuple[cp_model.IntVar, int]]]] = [[[] for _ in problem.resources] for _ in range(cores)]
    for index, (item, code) in enumerate(zip(problem.items, encodings, strict=True)):
        row, here = [], []
        for c in range(cores):
            n = model.new_int_var(0, item.max_piece, "")
            at = model.new_bool_var("")
            model.add(n <= item.max_piece * at)
            model.add(n >= at)
            model.add_implication(at, used[c])
            model.add_hint(n, int(start[index, c]))
            model.add_hint(at, bool(start[index, c]))
            for r in range(len(problem.resources)):
                if code.slope[r] or code.fixed[r]:
                    load[c][r] += [(n, code.slope[r]), (at, code.fixed[r])]
            if code.ends:
                literals = [model.new_bool_var("") for _ in code.ends]
                model.add(sum(literals) == at)
                model.add(cp_model.LinearExpr.weighted_sum([n, *literals], [-1, *code.ends]) >= 0)
                for r, price in enumerate(zip(*code.steps, strict=True)):
                    if any(price):
                        load[c][r] += zip(literals, price, strict=True)
                step = int(np.searchsorted(code.ends, start[index, c])) if start[index, c] else -1
                for k, literal in enumerate(literals):
                    model.add_hint(literal, k == step)
            row.append(n)
            here.append(at)
        model.add(sum(row) == item.size)
        model.add(sum(here) >= item.fewest_pieces)
        units.append(row)
        present.append(here)
    for c in range(cores):
        for r, terms in enumerate(load[c]):
            if terms:
                variables, prices = zip(*terms, (used[c], -int(problem.capacity[r]) * _FINE), strict=True)
                model.add(cp_model.LinearExpr.weighted_sum(variables, prices) <= 0)
        if c:
            model.add_implication(used[c], used[c - 1])
            model.add(units[lead][c - 1] >= units[lead][c])
        if c >= fewest:
            model.add_hint(used[c], bool(start[:, c].any()))
    if pieces:
        cost = []
        for c in range(cores):
            first, last = (model.new_int_var(0, len(problem.items) - 1, "") for _ in range(2))
            for index, here in enumerate(present):
                model.add(last >= index).only_enforce_if(here[c])
                model.add(first <= index).only_enforce_if(here[c])
            model.add(last >= first)
            cost.append(last - first)
            held = np.flatnonzero(start[:, c])
            model.add_hint(first, int(held[0]) if held.size else 0)
            model.add_hint(last, int(held[-1]) if held.size else 0)
        # A seam counts more than any spread, a spread more than a core.
        spread = cores * len(problem.items) * (cores + 1)
        cut = sum((spread + 1) * item.seam * sum(here) for item, here in zip(problem.items, present, strict=True))
        model.minimize(cut + (cores + 1) * sum(cost) + sum(used))
    else:
        model.minimize(sum(used))
    solver, status, time = solve(model, seed, limit)
    if status == cp_model.INFEASIBLE:
        return _Answer(None, cores + 1.0, time)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return _Answer(None, fewest, time)
    found = np.array([[solver.value(n) for n in row] for row in units], np.int64)
    return _Answer(found[:, found.any(0)], float(solver.best_objective_bound), time)


def _emptiest(problem: PackingProblem, units: Array) -> Array:
    """Return the emptiest clusters, ascending, as many as one model can hold; full ones are left as they are."""
    order = np.argsort((loads(problem, units) / problem.capacity).max(1), kind="stable")
    held = np.zeros(len(problem.items), bool)
    count = 0
    for cluster in order:
        held |= units[:, cluster] > 0
        if (count + 1) * int(held.sum()) > _CELLS:
            break
        count += 1
    return np.sort(order[: max(count, 1)])


def pack(problem: PackingProblem, budget: Budget) -> PackingSolution:
    """Return a packing on the fewest cores found, then with the least traffic across cuts; see the package's README."""
    bound = area_bound(problem)
    units = fill(problem)
    if not problem.items:
        return finish(problem, units, bound, 0.0)
    whole = units.size <= _CELLS
    window = np.arange(units.shape[1]) if whole else _emptiest(problem, units)
    kept = np.delete(units, window, axis=1)
    chosen = np.flatnonzero(units[:, window].any(1))
    no_floor = np.zeros(len(problem.resources))
    items = tuple(replace(problem.items[k], size=int(units[k, window].sum()), floor=no_floor) for k in chosen)
    part = replace(problem, items=items, cores=int(window.size))
    inner = units[np.ix_(chosen, window)]
    fewest = bound if whole else area_bound(part)
    each = _STEPS // inner.size
    upper = [_encode(item, each, upper=True) for item in part.items]
    exact = all(flag for _, flag in upper)
    encodings = [code for code, _ in upper]
    spent = 0.0
    limit = _TIME[budget.effort]
    if inner.shape[1] > fewest:
        if budget.progress:
            budget.progress(f"packing {len(part.items)} items, {inner.shape[1]} cores found, at least {fewest}")
        answer = _solve(part, inner, encodings, fewest, inner.shape[1], False, limit, budget.seed)
        spent += answer.time
        if answer.units is not None and answer.units.shape[1] < inner.shape[1]:
            inner = answer.units
        if whole and all(item.joins(problem.capacity) for item in problem.items):
            proved = answer
            if not exact:
                lower = [_encode(item, each, upper=False)[0] for item in part.items]
                proved = _solve(part, inner, lower, fewest, inner.shape[1], False, limit, budget.seed)
                spent += proved.time
            bound = max(bound, min(int(np.ceil(proved.bound - 1e-6)), inner.shape[1]))
            fewest = bound
    total = kept.shape[1] + inner.shape[1]
    extra = most_cores(problem, total) - total
    least = sum(item.seam * (item.fewest_pieces - 1) for item in part.items)
    _, cut, spread = quality(part, inner)
    if total <= problem.cores and cut + spread > least:
        if budget.progress:
            budget.progress(f"packing on {total} cores, least traffic across cuts")
        answer = _solve(part, inner, encodings, fewest, inner.shape[1] + extra, True, limit, budget.seed)
        spent += answer.time
        # More cores only for less traffic.
        if answer.units is not None and (quality(part, answer.units) < quality(part, inner) or seams(part, answer.units) < cut):
            inner = answer.units
    packed = np.zeros((len(problem.items), inner.shape[1]), np.int64)
    packed[chosen] = inner
    units = np.concatenate([kept, packed], axis=1)
    # The model had its share of the slack already; a greedy answer with smaller seams is no worse on as many cores.
    return finish(problem, spend_slack(replace(problem, cores=total + extra), units), bound, spent)
