"""Fewest cores, then least traffic across cuts: greedy packings, column generation, CP-SAT."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from nmap.connectivity import Array
from nmap.partition.fill import Filled, fill, finish, fits, loads, most_cores, quality, seams, spend_slack
from nmap.partition.partitioner import Budget
from nmap.partition.problem import CoreClass, PackingProblem, PackingSolution, area_bound
from nmap_cpsat.encoding import FINE, Encoding, encode

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

__all__ = ["pack"]

_TIME = (0.2, 1.0, 20.0)
"""Deterministic time of one solve by effort."""
_CELLS = 4000
"""Items times cores of one model; beyond it CP-SAT rarely closes (measured)."""
_PART_CELLS = (500, 500, 2000)
"""The same of a model for the seams of a part of the cores, by effort; larger ones found nothing in their time (measured)."""
_STEPS = 40_000
"""Literals that may be spent on demand tables in one model."""
_WINDOWS = (0, 40, 400)
"""Windows of a few cores that are packed again, by effort."""
_WINDOW_CELLS = 160
_WINDOW_TIME = 0.05
"""Deterministic time of one window."""


@dataclass(frozen=True, slots=True, eq=False)
class _Answer:
    """Of one solve: the packing or None, the proved bound of the objective, deterministic seconds spent."""

    filled: Filled | None
    bound: float
    time: float


def _slots(problem: PackingProblem, cores: int) -> Array:
    """Return (slots,) the kinds of the cores of a model: the taken ones, then as many of each class as an answer on `cores` may use."""
    new = cores - problem.old
    number = [min(core.cores, new) for core in problem.classes] or [new]
    return np.repeat(np.arange(-1, len(number)), [problem.old, *number])


def _solve(
    problem: PackingProblem, hint: Filled, encodings: list[Encoding], fewest: int, cores: int, pieces: bool, limit: float, budget: Budget,
) -> _Answer:
    """Solve one model.

    Args:
        problem: all its items are modelled.
        hint: a packing to start from.
        encodings: of the items.
        fewest: proved number of cores.
        cores: cores the model may use.
        pieces: minimise seams, then how far apart the items on a core are, instead of cores.
        limit: deterministic seconds.
        budget: see `nmap_cpsat.solver.solve`.
    """
    # The solver takes half a second to import: longer than many packings that never get here.
    from ortools.sat.python import cp_model

    from nmap_cpsat.solver import solve

    model = cp_model.CpModel()
    kind = _slots(problem, cores)
    room = problem.rooms(kind)
    old, slots = problem.old, kind.size
    free = np.flatnonzero(kind >= 0)
    # Cores of a class are alike: used ones come first, ordered by the units of the largest item.
    lead = max(range(len(problem.items)), key=lambda k: (problem.items[k].size / problem.items[k].max_piece, -k))
    start = np.zeros((len(problem.items), slots), np.int64)
    start[:, :old] = hint.units[:, :old]
    for k in np.unique(kind[free]):
        from_hint = np.flatnonzero(hint.kind == k)
        from_hint = from_hint[np.argsort(-hint.units[lead, from_hint], kind="stable")]
        to = np.flatnonzero(kind == k)
        count = min(to.size, from_hint.size)
        start[:, to[:count]] = hint.units[:, from_hint[:count]]
    single = not problem.classes
    used = [
        model.new_constant(1) if c < old or (single and c < fewest) else model.new_bool_var("") for c in range(slots)
    ]
    units, present = [], []
    # One flat sum per core and resource: nested expressions are slow to build, and fail in OR-tools 9.14.
    load: list[list[list[tuple[cp_model.IntVar, int]]]] = [[[] for _ in problem.resources] for _ in range(slots)]
    for index, (item, code) in enumerate(zip(problem.items, encodings, strict=True)):
        row, here = [], []
        largest = item.most_units(room)
        for c in range(slots):
            n = model.new_int_var(0, int(largest[c]), "")
            at = model.new_bool_var("")
            model.add(n <= int(largest[c]) * at)
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
    for c in range(slots):
        for r, terms in enumerate(load[c]):
            if terms:
                variables, prices = zip(*terms, (used[c], -int(room[c, r]) * FINE), strict=True)
                model.add(cp_model.LinearExpr.weighted_sum(variables, prices) <= 0)
        if c > old and kind[c] == kind[c - 1]:
            model.add_implication(used[c], used[c - 1])
            model.add(units[lead][c - 1] >= units[lead][c])
        if c >= old and not (single and c < fewest):
            model.add_hint(used[c], bool(start[:, c].any()))
    if not single:
        model.add(sum(used) <= cores)
        model.add(sum(used) >= fewest)
    if pieces:
        cost = []
        for c in range(slots):
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
        spread = slots * len(problem.items) * (slots + 1)
        cut = sum((spread + 1) * item.seam * sum(here) for item, here in zip(problem.items, present, strict=True))
        model.minimize(cut + (slots + 1) * sum(cost) + sum(used))
    else:
        model.minimize(sum(used))
    solver, status, time = solve(model, budget, limit)
    if status == cp_model.INFEASIBLE:
        return _Answer(None, cores + 1.0, time)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return _Answer(None, fewest, time)
    found = np.array([[solver.value(n) for n in row] for row in units], np.int64)
    kept = found.any(0) | (kind < 0)
    return _Answer(Filled(found[:, kept], kind[kept]), float(solver.best_objective_bound), time)


@dataclass(frozen=True, slots=True, eq=False)
class _Window:
    """Some clusters of a packing as a problem of their own.

    Args:
        problem: the items on them, with the units they have there.
        filled: how they are packed now.
        items: (items,) their indices in the whole problem.
        clusters: which ones.
    """

    problem: PackingProblem
    filled: Filled
    items: Array
    clusters: Array


def _window(problem: PackingProblem, filled: Filled, clusters: Array) -> _Window:
    """Return the clusters, ascending, as a problem; taken cores must be all or none of them."""
    inner = filled.units[:, clusters]
    chosen = np.flatnonzero(inner.any(1))
    whole = clusters.size == filled.clusters
    items = tuple(
        item if whole else replace(item, size=int(inner[k].sum()), floor=np.zeros(len(problem.resources)))
        for k, item in ((int(k), problem.items[k]) for k in chosen)
    )
    outside = np.delete(filled.kind, clusters)
    classes = tuple(
        CoreClass(core.capacity, max(core.cores - int((outside == k).sum()), 0)) for k, core in enumerate(problem.classes)
    )
    taken = problem.taken if (filled.kind[clusters] == -1).any() else None
    part = replace(problem, items=items, cores=int(clusters.size), classes=classes, taken=taken)
    return _Window(part, Filled(inner[chosen], filled.kind[clusters]), chosen, clusters)


def _put_back(filled: Filled, window: _Window, inner: Filled) -> Filled:
    """Return the packing with the window's clusters packed as `inner`."""
    kept = np.delete(np.arange(filled.clusters), window.clusters)
    packed = np.zeros((filled.units.shape[0], inner.clusters), np.int64)
    packed[window.items] = inner.units
    units, kind = np.concatenate([filled.units[:, kept], packed], axis=1), np.concatenate([filled.kind[kept], inner.kind])
    order = np.argsort(kind != -1, kind="stable")
    return Filled(units[:, order], kind[order])


def _emptiest(problem: PackingProblem, filled: Filled, cells: int) -> Array:
    """Return the emptiest clusters, ascending, as many as a model of `cells` can hold; full ones are left as they are."""
    full = (loads(problem, filled.units) / np.maximum(problem.rooms(filled.kind), 1)).max(1)
    order = problem.old + np.argsort(full[problem.old :], kind="stable")
    held = np.zeros(len(problem.items), bool)
    count = 0
    for cluster in order:
        held |= filled.units[:, cluster] > 0
        if (count + 1) * int(held.sum()) > cells:
            break
        count += 1
    return np.sort(order[: max(count, 1)])


def _shrink(problem: PackingProblem, filled: Filled, bound: int, budget: Budget) -> tuple[Filled, float]:
    """Pack a few clusters at a time again, on one core fewer; return the packing and deterministic seconds."""
    rng = np.random.Generator(np.random.PCG64(budget.seed))
    spent = 0.0
    for _ in range(_WINDOWS[budget.effort]):
        if filled.clusters <= bound or budget.over:
            break
        new = np.arange(problem.old, filled.clusters)
        room = problem.rooms(filled.kind)
        empty = 1 - (loads(problem, filled.units) / np.maximum(room, 1)).max(1)[new]
        # The emptiest ones, with some luck.
        order = new[np.argsort(-empty - 0.3 * rng.random(new.size), kind="stable")]
        held = np.zeros(len(problem.items), bool)
        count = 0
        for cluster in order:
            held |= filled.units[:, cluster] > 0
            if count >= 3 and (count + 1) * int(held.sum()) > _WINDOW_CELLS:
                break
            count += 1
        window = _window(problem, filled, np.sort(order[:count]))
        part = window.problem
        fewest = area_bound(part)
        if fewest >= count:
            continue
        each = _STEPS // (count * len(part.items))
        encodings = [encode(item, each, upper=True)[0] for item in part.items]
        answer = _solve(part, window.filled, encodings, fewest, count - 1, False, _WINDOW_TIME, budget)
        spent += answer.time
        if answer.filled is not None:
            filled = _put_back(filled, window, answer.filled)
    return filled, spent


def pack(problem: PackingProblem, budget: Budget) -> PackingSolution:
    """Return a packing on the fewest cores found, then with the least traffic across cuts; see the package's README."""
    bound = area_bound(problem)
    filled = fill(problem)
    if not problem.items:
        return finish(problem, filled, bound, 0.0)
    spent = 0.0
    limit = _TIME[budget.effort]
    over = not fits(problem, filled)
    if filled.clusters > bound or over:
        from nmap_cpsat.columns import generate

        budget.say(f"packing {len(problem.items)} items: {filled.clusters} cores found, at least {bound}")
        filled, bound, time = generate(problem, filled, bound, budget)
        spent += time
    # One model for the whole problem where it is small enough, else for its emptiest cores.
    whole = filled.units.size * len(problem.kinds) <= _CELLS
    if (filled.clusters > bound or not fits(problem, filled)) and whole:
        budget.say(f"packing {len(problem.items)} items: {filled.clusters} cores found, at least {bound}")
        each = _STEPS // filled.units.size
        upper = [encode(item, each, upper=True) for item in problem.items]
        answer = _solve(problem, filled, [code for code, _ in upper], bound, filled.clusters, False, limit, budget)
        spent += answer.time
        if answer.filled is not None and quality(problem, answer.filled) < quality(problem, filled):
            filled = answer.filled
        if all(item.joins(room) for item in problem.items for room in np.unique(problem.rooms(_slots(problem, filled.clusters)), axis=0)):
            if not all(exact for _, exact in upper):
                lower = [encode(item, each, upper=False)[0] for item in problem.items]
                answer = _solve(problem, filled, lower, bound, filled.clusters, False, limit, budget)
                spent += answer.time
            bound = max(bound, int(np.ceil(answer.bound - 1e-6)))
            if fits(problem, filled):
                bound = min(bound, filled.clusters)
    if filled.clusters > bound and not whole:
        budget.say(f"packing {len(problem.items)} items: {filled.clusters} cores found, at least {bound}")
        filled, time = _shrink(problem, filled, bound, budget)
        spent += time
    if not fits(problem, filled):
        return finish(problem, filled, bound, spent)
    part_of = np.arange(filled.clusters) if whole else _emptiest(problem, filled, _PART_CELLS[budget.effort])
    window = _window(problem, filled, part_of)
    part, inner = window.problem, window.filled
    total = filled.clusters
    extra = most_cores(problem, total) - total
    least = sum(item.seam * (item.fewest_pieces - 1) for item in part.items)
    _, _, cut, spread = quality(part, inner)
    # On one core there is one packing.
    if cut + spread > least and part.items and inner.clusters + extra > 1:
        budget.say(f"packing on {filled.clusters} cores, least traffic across cuts")
        encodings = [encode(item, _STEPS // inner.units.size, upper=True)[0] for item in part.items]
        part = replace(part, cores=inner.clusters + extra)
        fewest = max(bound, part.old) if whole else area_bound(part)
        answer = _solve(part, inner, encodings, fewest, inner.clusters + extra, True, limit, budget)
        spent += answer.time
        # More cores only for less traffic.
        if answer.filled is not None and (
            quality(part, answer.filled) < quality(part, inner) or seams(part, answer.filled.units) < cut
        ):
            filled = _put_back(filled, window, answer.filled)
    # The model had its share of the slack already; a greedy answer with smaller seams is no worse on as many cores.
    return finish(problem, spend_slack(replace(problem, cores=min(total + extra, problem.cores)), filled), bound, spent)
