"""The choice among the ways of all layers, and of the pass in which each is computed, as a CP-SAT model.

Passes are consecutive runs of the chain of layers, so that what a pass begins with is all that the one before it leaves. In this order:
fewest passes, then fewest NPs, then fewest fully connected layers on an FNP2, then fewest dense layers as convolutions, then early passes.

A part of a run that fits one pass fits one too. So passes that each take as many layers as they hold are fewest, no layer can be computed
in an earlier pass than with them, and, from the end on, in none later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Literal, TypeAlias

from nmap_akida.ways import Room, Way

if TYPE_CHECKING:
    from ortools.sat.python import cp_model

__all__ = ["Plan", "choose", "fewest_fnp2"]

Status: TypeAlias = Literal["optimal", "feasible", "infeasible", "unknown"]

_LIMIT = 2.0
"""Deterministic seconds of CP-SAT at effort 1."""
_FREE = 10**6
"""Units of a kind of which there are to be enough."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Ways and passes of all layers.

    Args:
        ways: the chosen way of each layer.
        at: the pass of each layer, from 0 on.
        lower_bound: NPs of any plan with as few passes, proved.
        status: `optimal`, `feasible`, `infeasible` (proved) or `unknown`; the latter two have no ways.
        deterministic_time: of the solver.
    """

    ways: tuple[Way, ...]
    at: tuple[int, ...]
    lower_bound: int
    status: Status
    deterministic_time: float = 0.0

    @property
    def nps(self) -> int:
        """Number of NPs, summed over passes."""
        return sum(way.nps for way in self.ways)

    @property
    def passes(self) -> int:
        """Number of passes."""
        return max(self.at, default=-1) + 1


_NONE = Plan((), (), 0, "infeasible")


def choose(layers: Sequence[Sequence[Way]], room: Room, effort: int = 1) -> Plan:
    """Return the best plan; see the module.

    Args:
        layers: the ways of each layer, in order; at least one layer, and one way each.
        room: of one pass, and the most passes.
        effort: 0, 1 or 2.
    """
    limit = _LIMIT * (1, 2, 8)[effort]
    one = _solved(layers, room, [(0, 0)] * len(layers), limit)
    if one.status != "infeasible" or room.passes == 1:
        return one
    early = _runs(layers, room, limit)
    if isinstance(early, str):
        return replace(_NONE, status=early)
    last = early[-1]
    if last >= room.passes:
        return _NONE
    back = _runs(layers[::-1], room, limit)
    if isinstance(back, str):
        return replace(_NONE, status=back)
    late = [last - number for number in reversed(back)]
    return _solved(layers, room, list(zip(early, late, strict=True)), limit)


def fewest_fnp2(layers: Sequence[Sequence[Way]], room: Room) -> int | None:
    """Return how many FNP2 the layers need in one pass at least, were there enough of them and of NPs altogether; None: not known."""
    free = replace(room, units={**room.units, "fnp2": _FREE, "cnp": _FREE})
    plan = _solved(layers, free, [(0, 0)] * len(layers), _LIMIT, fnp2_first=True)
    return sum(way.unit == "FNP2" for way in plan.ways) if plan.status == "optimal" else None


def _runs(layers: Sequence[Sequence[Way]], room: Room, limit: float) -> list[int] | Status:
    """Return the pass of each layer where each pass takes as many as it holds."""
    at: list[int] = []
    number = 0
    while len(at) < len(layers):
        start, fits, over = len(at), len(at), len(layers) + 1
        step = 1
        while over - fits > 1:
            # Doubling steps until a run is too long, then halves.
            end = min(fits + step, len(layers)) if over > len(layers) else (fits + over) // 2
            status = _solved(layers[start:end], room, [(0, 0)] * (end - start), limit).status
            if status == "unknown":
                return status
            if status == "infeasible":
                over = end
            else:
                fits, step = end, 2 * step
        if fits == start:
            return "infeasible"
        at += [number] * (fits - start)
        number += 1
    return at


def _solved(
    layers: Sequence[Sequence[Way]], room: Room, windows: Sequence[tuple[int, int]], limit: float, fnp2_first: bool = False,
) -> Plan:
    """Ask CP-SAT.

    Args:
        layers: the ways of each layer.
        room: of one pass.
        windows: first and last pass in which each layer may be.
        limit: deterministic seconds.
        fnp2_first: few FNP2 are worth more than few NPs.
    """
    # Takes half a second to import, and is needed only here.
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    passes = 1 + max(last for _, last in windows)
    # Each objective outweighs all that come after it.
    late = 1 + sum(last for _, last in windows)
    each = len(layers) + 1
    weights = (each * each * late, each * late, late)
    if fnp2_first:
        weights = (each * late, each * late * (1 + sum(max(way.nps for way in ways) for ways in layers)), late)
    chosen: list[dict[tuple[int, int], cp_model.IntVar]] = []
    at: list[cp_model.LinearExprT] = []
    for number, (ways, (first, last)) in enumerate(zip(layers, windows, strict=True)):
        row = {(k, p): model.new_bool_var(f"{number} {k} {p}") for k in range(len(ways)) for p in range(first, last + 1)}
        model.add_exactly_one(row.values())
        at.append(sum(p * var for (_, p), var in row.items()))
        if number:
            model.add(at[number] >= at[number - 1])
        chosen.append(row)
    for p in range(passes):
        here = [(layers[number][k], var) for number, row in enumerate(chosen) for (k, q), var in row.items() if q == p]
        for free, taken in (
            (room.nps, [(way.nps, var) for way, var in here]),
            (room.units["hrc"], [(way.unit == "HRC", var) for way, var in here]),
            (room.units["fnp3"], [(way.unit == "FNP3", var) for way, var in here]),
            (room.units["fnp2"], [(way.unit == "FNP2", var) for way, var in here]),
            (room.plain, [(way.plain, var) for way, var in here]),
        ):
            terms = [int(amount) * var for amount, var in taken if amount]
            if terms:
                model.add(sum(terms) <= free)
    costs = [
        (weights[0] * way.nps + weights[1] * (way.unit == "FNP2") + weights[2] * (way.dense and way.unit == "CNP") + p) * var
        for ways, row in zip(layers, chosen, strict=True) for (k, p), var in row.items() for way in (ways[k],)
    ]
    model.minimize(sum(costs))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    # The solver would take Ctrl-C for itself, and the answer would depend on when the key was pressed.
    solver.parameters.catch_sigint_signal = False
    solver.parameters.random_seed = 0
    solver.parameters.max_deterministic_time = limit
    status = solver.solve(model)
    time = float(solver.response_proto.deterministic_time)
    if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return Plan((), (), 0, "infeasible" if status == cp_model.INFEASIBLE else "unknown", time)
    picked = [next(key for key, var in row.items() if solver.boolean_value(var)) for row in chosen]
    bound = solver.best_objective_bound
    lower = 0 if fnp2_first or bound == -inf else round(bound) // weights[0]
    return Plan(
        tuple(ways[k] for ways, (k, _) in zip(layers, picked, strict=True)), tuple(p for _, p in picked), lower,
        "optimal" if status == cp_model.OPTIMAL else "feasible", time,
    )
