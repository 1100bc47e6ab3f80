"""Demand tables as CP-SAT models see them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.partition.problem import Item

__all__ = ["FINE", "Encoding", "encode"]

FINE = 1 << 12
"""Resolution of an envelope's slope."""


@dataclass(frozen=True, slots=True)
class Encoding:
    """One item's demand as the model sees it: `fixed` + `slope` times units, plus, for the other resources, a step function.

    All numbers are in units of 1 / `FINE` of a resource.

    Args:
        slope, fixed: (resources,) int, of the affine resources; 0 elsewhere.
        ends: last unit of each step, ascending; empty when every resource is affine.
        steps: (steps, resources) int, the demand of the other resources on each step; 0 for the affine ones.
    """

    slope: tuple[int, ...]
    fixed: tuple[int, ...]
    ends: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]


def encode(item: Item, budget: int, upper: bool) -> tuple[Encoding, bool]:
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
    slope, fixed = slope * FINE, fixed * FINE
    exact = ends.size <= budget
    if exact:
        slope[stepped] = fixed[stepped] = 0
        steps = np.zeros((ends.size, table.shape[0]), np.int64)
        steps[:, stepped] = table[stepped][:, ends - 1].T * FINE
    else:
        for r in stepped:
            slope[r] = FINE * int(table[r, -1] - table[r, 0]) // (item.max_piece - 1)
            rest = FINE * table[r] - slope[r] * n
            fixed[r] = rest.max() if upper else rest.min()
        ends, steps = np.zeros(0, np.int64), np.zeros((0, table.shape[0]), np.int64)
    return Encoding(tuple(slope.tolist()), tuple(fixed.tolist()), tuple(ends.tolist()), tuple(map(tuple, steps.tolist()))), exact
