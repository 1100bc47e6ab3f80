"""The choice of tile shapes as pure numbers: no neurons, no chip.

Every layer has some ways of being cut into tiles, each with the cores it fills and the copies of input axons it needs: the neurons of
the layers before, counted once for every tile that listens to them. Larger tiles share more inputs but fill their cores less well.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from nmap.connectivity import Array, frozen_array

__all__ = ["Layer", "TilingProblem", "TilingSolution", "check_tiling", "core_budget", "fewest_cores", "sweep"]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer's options; choose exactly one.

    Args:
        name: for messages.
        cores: (options,) int64, what each option fills of the cores, in `TilingProblem.unit`.
        copies: (options,) int64, input axons summed over the option's tiles, in any unit of traffic.
    """

    name: str
    cores: Array
    copies: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "cores", frozen_array(self.cores, np.int64))
        object.__setattr__(self, "copies", frozen_array(self.copies, np.int64))
        if not self.cores.size or self.cores.shape != self.copies.shape or min(self.cores.min(), self.copies.min()) < 0:
            raise ValueError(f"layer `{self.name}` needs options with cores and copies of at least 0")


@dataclass(frozen=True, slots=True, eq=False)
class TilingProblem:
    """Choose one option per layer: least copies on at most the slack more than the fewest cores.

    Args:
        layers: with their options.
        unit: parts of a core in which `Layer.cores` counts.
        cores: number of whole cores there are.
        slack: share of cores beyond the fewest that may be spent on fewer copies.
    """

    layers: tuple[Layer, ...]
    unit: int
    cores: int
    slack: float = 0.05


@dataclass(frozen=True, slots=True)
class TilingSolution:
    """An option for every layer.

    Args:
        choice: option numbers, layer by layer.
        cores: their sum, in the problem's unit.
        copies: their sum.
        lower_bound: proved: no choice within the same number of cores has fewer copies.
        status: `optimal` (copies == lower_bound) or `feasible`.
        deterministic_time: solver's deterministic seconds; None for an algorithm without a solver.
    """

    choice: tuple[int, ...]
    cores: int
    copies: int
    lower_bound: int
    status: Literal["optimal", "feasible"]
    deterministic_time: float | None = None


def fewest_cores(problem: TilingProblem) -> int:
    """Return the fewest cores of any choice, in the problem's unit: the layers do not depend on each other."""
    return sum(int(layer.cores.min()) for layer in problem.layers)


def core_budget(problem: TilingProblem) -> int:
    """Return how many cores a choice may take, in the problem's unit: the fewest and the slack, but no more than there are."""
    fewest = fewest_cores(problem)
    return max(fewest, min(int(fewest * (1 + problem.slack)), problem.cores * problem.unit))


def check_tiling(problem: TilingProblem, solution: TilingSolution) -> None:
    """Check an answer against the problem.

    Raises:
        ValueError: a layer has no option, the sums are not the choice's, the budget is exceeded, or the bound contradicts the answer.
    """
    if len(solution.choice) != len(problem.layers) or not all(
        0 <= k < layer.cores.size for k, layer in zip(solution.choice, problem.layers, strict=True)
    ):
        raise ValueError("not every layer has one of its options")
    cores = sum(int(layer.cores[k]) for k, layer in zip(solution.choice, problem.layers, strict=True))
    copies = sum(int(layer.copies[k]) for k, layer in zip(solution.choice, problem.layers, strict=True))
    if (cores, copies) != (solution.cores, solution.copies):
        raise ValueError(f"the choice takes {cores} cores and {copies} copies, not {solution.cores} and {solution.copies}")
    if cores > core_budget(problem):
        raise ValueError(f"{cores} cores, allowed are {core_budget(problem)}")
    if solution.lower_bound > copies or (solution.status == "optimal") != (solution.lower_bound == copies):
        raise ValueError(f"lower bound {solution.lower_bound} and status `{solution.status}` for {copies} copies")


def _hull(layer: Layer) -> list[int]:
    """Return the options on the lower convex hull of (cores, copies), from the fewest cores to the fewest copies."""
    hull: list[int] = []
    for k in np.lexsort((np.arange(layer.cores.size), layer.copies, layer.cores)).tolist():
        if hull and layer.copies[k] >= layer.copies[hull[-1]]:
            continue
        while len(hull) > 1:
            a, b = hull[-2], hull[-1]
            first = int(layer.copies[a] - layer.copies[b]) * int(layer.cores[k] - layer.cores[b])
            second = int(layer.copies[b] - layer.copies[k]) * int(layer.cores[b] - layer.cores[a])
            if first > second:
                break
            hull.pop()
        hull.append(k)
    return hull


def sweep(problem: TilingProblem) -> TilingSolution:
    """Return a choice without a solver: from the fewest cores, take the steps that save most copies per core while they fit.

    Steps go along every layer's convex hull, so that the first one that does not fit gives the bound of the linear relaxation (Sinha
    and Zoltners 1979, the multiple-choice knapsack problem); later ones that still fit are taken, too, and so are options off the hull.
    """
    hulls = [_hull(layer) for layer in problem.layers]
    choice = [hull[0] for hull in hulls]
    cores = sum(int(layer.cores[k]) for layer, k in zip(problem.layers, choice, strict=True))
    copies = sum(int(layer.copies[k]) for layer, k in zip(problem.layers, choice, strict=True))
    room = core_budget(problem) - cores
    steps = []
    for index, (layer, hull) in enumerate(zip(problem.layers, hulls, strict=True)):
        for place, (a, b) in enumerate(pairwise(hull)):
            more, saved = int(layer.cores[b] - layer.cores[a]), int(layer.copies[a] - layer.copies[b])
            steps.append((more / saved, index, place, b, more, saved))
    bound: int | None = None
    blocked: set[int] = set()
    for _, index, _, option, more, saved in sorted(steps):
        if more > room:
            if bound is None:
                bound = copies - saved * room // more
            blocked.add(index)
        elif index not in blocked:
            choice[index], room, copies, cores = option, room - more, copies - saved, cores + more
    for index, layer in enumerate(problem.layers):
        fits = np.flatnonzero(layer.cores - layer.cores[choice[index]] <= room)
        best = int(fits[np.lexsort((fits, layer.cores[fits], layer.copies[fits]))[0]])
        more, saved = int(layer.cores[best] - layer.cores[choice[index]]), int(layer.copies[choice[index]] - layer.copies[best])
        if saved > 0:
            choice[index], room, copies, cores = best, room - more, copies - saved, cores + more
    lower = copies if bound is None else min(bound, copies)
    return TilingSolution(tuple(choice), cores, copies, lower, "optimal" if lower == copies else "feasible")
