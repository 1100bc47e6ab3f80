"""Run CP-SAT so that the answer depends on nothing but the model, the seed and the limit."""

from __future__ import annotations

from ortools.sat.python import cp_model

__all__ = ["solve"]


def solve(model: cp_model.CpModel, seed: int, limit: float) -> tuple[cp_model.CpSolver, int, float]:
    """Solve a model within a limit of deterministic time.

    Args:
        model: what to solve.
        seed: of the search.
        limit: deterministic seconds.

    Returns:
        The solver with its answer, the status, and the deterministic seconds spent.
    """
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    # The solver would take Ctrl-C for itself and return what it has, which then depends on when the key was pressed.
    solver.parameters.catch_sigint_signal = False
    solver.parameters.random_seed = seed % 2**31
    solver.parameters.max_deterministic_time = limit
    status = solver.solve(model)
    if status == cp_model.MODEL_INVALID:
        raise RuntimeError(f"an invalid model was built: {model.validate()}")
    return solver, int(status), float(solver.response_proto.deterministic_time)
