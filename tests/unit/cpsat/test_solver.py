"""The solver's run: limited by deterministic time, and ended by the user."""

from __future__ import annotations

import numpy as np
import pytest
from ortools.sat.python import cp_model

from nmap.partition.partitioner import Budget
from nmap_cpsat.solver import solve

ENDLESS = 1e6
"""Deterministic seconds that no test lasts."""


def market_split(rows, columns, seed):
    """Cornuejols and Dawande's equations (1998), which take days beyond six rows, with a way to miss them: feasible, never proved."""
    rng = np.random.default_rng(seed)
    model = cp_model.CpModel()
    chosen = [model.new_bool_var("") for _ in range(columns)]
    missed = []
    for _ in range(rows):
        amounts = rng.integers(0, 100, columns)
        over, under = model.new_int_var(0, 10**6, ""), model.new_int_var(0, 10**6, "")
        model.add(cp_model.LinearExpr.weighted_sum([*chosen, under, over], [*amounts.tolist(), 1, -1]) == int(amounts.sum()) // 2)
        missed += [over, under]
    model.minimize(sum(missed))
    return model


def test_the_best_so_far_is_returned_when_the_user_wants_it():
    asked = []

    def stopped():
        asked.append(True)
        return len(asked) > 5

    solver, status, time = solve(market_split(8, 70, 1), Budget(stopped=stopped), ENDLESS)
    assert status == cp_model.FEASIBLE
    assert 0 < solver.best_objective_bound + 1 <= solver.objective_value
    assert time < ENDLESS


def test_an_interrupt_ends_the_solver_too():
    def stopped():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        solve(market_split(8, 70, 1), Budget(stopped=stopped), ENDLESS)


def test_the_limit_is_deterministic_and_so_is_the_answer():
    runs = [solve(market_split(5, 40, 2), Budget(seed=3, stopped=lambda: False), 0.1) for _ in range(2)]
    assert all(status == cp_model.FEASIBLE for _, status, _ in runs)
    first, second = ((solver.objective_value, solver.best_objective_bound, time) for solver, _, time in runs)
    assert first == second
    assert first[2] < 1


def test_a_wrong_model_is_a_bug():
    model = cp_model.CpModel()
    model.add(sum(model.new_int_var(-(1 << 62), 1 << 62, "") for _ in range(4)) == 0)
    with pytest.raises(RuntimeError, match="invalid model"):
        solve(model, Budget(), 1.0)
