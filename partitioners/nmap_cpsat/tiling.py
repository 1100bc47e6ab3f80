"""Which tile shapes the layers get: a multiple-choice knapsack problem, exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nmap.partition.partitioner import Budget
from nmap.partition.tiles import TilingProblem, TilingSolution, core_budget, sweep

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

__all__ = ["choose_tiles"]

_TIME = (0.2, 2.0, 20.0)
"""Deterministic seconds by effort; 28 layers with a hundred options each close in less than 0.1 (measured)."""
_LARGEST = 1 << 50
"""Coefficients are made smaller, rounded down, where their sum could pass this."""


def choose_tiles(problem: TilingProblem, budget: Budget) -> TilingSolution:
    """Return the choice of fewest copies within the problem's cores, with the bound where the solver did not close the gap."""
    start = sweep(problem)
    if start.status == "optimal":
        return TilingSolution(start.choice, start.cores, start.copies, start.lower_bound, start.status, 0.0)
    # The solver takes half a second to import.
    from ortools.sat.python import cp_model

    from nmap_cpsat.solver import solve

    model = cp_model.CpModel()
    most = sum(int(layer.copies.max()) for layer in problem.layers)
    step = max(1, -(-most // _LARGEST))
    kept, chosen = [], []
    cores: list[tuple[cp_model.IntVar, int]] = []
    copies: list[tuple[cp_model.IntVar, int]] = []
    for layer, hint in zip(problem.layers, start.choice, strict=True):
        order = np.lexsort((np.arange(layer.cores.size), layer.copies, layer.cores))
        # An option that is no better in cores or in copies than another is none.
        front = order[np.append(True, layer.copies[order][1:] < np.minimum.accumulate(layer.copies[order])[:-1])]
        literals = [model.new_bool_var("") for _ in front]
        model.add_exactly_one(literals)
        for literal, k in zip(literals, front.tolist(), strict=True):
            model.add_hint(literal, k == hint)
            cores.append((literal, int(layer.cores[k])))
            copies.append((literal, int(layer.copies[k]) // step))
        kept.append(front)
        chosen.append(literals)
    model.add(cp_model.LinearExpr.weighted_sum([v for v, _ in cores], [c for _, c in cores]) <= core_budget(problem))
    model.minimize(cp_model.LinearExpr.weighted_sum([v for v, _ in copies], [c for _, c in copies]))
    solver, status, time = solve(model, budget, _TIME[budget.effort])
    lower = start.lower_bound
    choice = start.choice
    if status in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        lower = max(lower, int(np.ceil(solver.best_objective_bound - 1e-6)) * step)
        found = tuple(
            int(front[[solver.boolean_value(literal) for literal in literals].index(True)])
            for front, literals in zip(kept, chosen, strict=True)
        )
        choice = min(choice, found, key=lambda c: sum(int(layer.copies[k]) for layer, k in zip(problem.layers, c, strict=True)))
    total, amount = (
        sum(int(getattr(layer, name)[k]) for layer, k in zip(problem.layers, choice, strict=True)) for name in ("cores", "copies")
    )
    lower = min(lower, amount)
    return TilingSolution(choice, total, amount, lower, "optimal" if lower == amount else "feasible", time)
