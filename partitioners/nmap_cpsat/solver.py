"""Run CP-SAT so that the answer depends on nothing but the model, the seed and the limit, unless the user stops it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress

from ortools.sat.python import cp_model

from nmap.partition.partitioner import Budget

__all__ = ["solve"]

_POLL = 0.1
"""Seconds between two looks at whether the user wants the best so far; they change no answer of a search that is not stopped."""


def solve(model: cp_model.CpModel, budget: Budget, limit: float) -> tuple[cp_model.CpSolver, int, float]:
    """Solve a model within a limit of deterministic time.

    The solver runs in a thread of its own, since Python takes Ctrl-C in the main thread only, and not within a call of the solver.

    Args:
        model: what to solve.
        budget: its seed is that of the search, which ends with the best so far once it is over.
        limit: deterministic seconds.

    Returns:
        The solver with its answer, the status, and the deterministic seconds spent.
    """
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    # The solver would take Ctrl-C for itself and return what it has, which then depends on when the key was pressed.
    solver.parameters.catch_sigint_signal = False
    solver.parameters.random_seed = budget.seed % 2**31
    solver.parameters.max_deterministic_time = limit
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(solver.solve, model)
        try:
            while not running.done():
                if wait([running], _POLL).not_done and budget.over:
                    solver.stop_search()
        except BaseException:
            # Leaving the block waits for the thread.
            while not running.done():
                with suppress(KeyboardInterrupt):
                    solver.stop_search()
                    wait([running], _POLL)
            raise
        status = running.result()
    if status == cp_model.MODEL_INVALID:
        raise RuntimeError(f"an invalid model was built: {model.validate()}")
    return solver, int(status), float(solver.response_proto.deterministic_time)
