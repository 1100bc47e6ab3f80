"""The `loihi-reference` partitioner: cuts as the compiler behind lava-dl's published Loihi 2 tables does, for comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from nmap.connectivity import Array
from nmap.partition.grid import CutProblem, Grid
from nmap.partition.neurons import Partition, PartitionProblem
from nmap.partition.partitioner import Budget
from nmap.partition.problem import PackingProblem, PackingSolution
from nmap.partition.tiles import TilingProblem, TilingSolution, sweep
from nmap.place.anneal import anneal
from nmap.place.problem import PlacementProblem, PlacementSolution
from nmap_loihi_reference.cutting import Rule, cut_list, cut_map
from nmap_loihi_reference.packing import pack

__all__ = ["BOTH", "PARTITIONER", "LoihiReference"]

BOTH = Rule(divisor=12_000, most=14_000)
"""The rule that reproduces both versions of the compiler whose outputs are published.

That of 2022-23 prints a cap of 12 000 words of synapse memory; cores of that of 2024 hold 12 544 and 13 824 words. Overloads are measured
against the printed 12 000, and synapse memory with input axons may reach 14 000 words. The latter is fitted: any value from 13 826 to
15 359 gives the published core counts.
"""


_Demand = Callable[[tuple[int, ...]], Array]


def _within(demand: _Demand, alone: tuple[int, ...], extent: tuple[int, ...]) -> Array:
    return demand((*alone, *extent))


def _larger(first: _Demand, second: _Demand, extent: tuple[int, ...]) -> Array:
    return np.maximum(first(extent), second(extent))


@dataclass(frozen=True, slots=True)
class LoihiReference:
    """Every population on cores of its own, divided again and again until a core takes the pieces.

    Args:
        rule: when a core counts as too full.
    """

    name: str = "loihi-reference"
    rule: Rule = BOTH

    def cut(self, problem: CutProblem) -> Grid:
        """Return runs of neurons of a list, tiles of a map; of a stack of maps, every one is cut alike.

        Matrices count with their zeros, which the published compiler stores, unless not even one neuron fits so.
        """
        stack, shape = problem.shape[:-3], problem.shape[-3:]
        demand = problem.demand
        if problem.whole is not None and (problem.whole(tuple(1 for _ in problem.shape)) <= problem.capacity).all():
            demand = partial(_larger, problem.whole, problem.demand)
        if stack:
            demand = partial(_within, demand, tuple(1 for _ in stack))
        box = CutProblem(problem.name, shape, problem.resources, problem.capacity, demand)
        grid = cut_list(self.rule, box) if len(shape) == 1 else cut_map(self.rule, box)
        return (*(tuple((k, k + 1) for k in range(size)) for size in stack), *grid)

    def choose_tiles(self, problem: TilingProblem, budget: Budget) -> TilingSolution:  # noqa: ARG002 - takes no time worth a budget
        """Return a choice as `greedy` makes it; the pipeline never asks, since `cut` has chosen."""
        return sweep(problem)

    def pack(self, problem: PackingProblem, budget: Budget) -> PackingSolution:  # noqa: ARG002 - takes no time worth a budget
        """Return every item on cores of its own; its bound is that of any packing, `area_bound`."""
        return pack(problem)

    def partition(self, problem: PartitionProblem, budget: Budget) -> Partition:
        """Return the best of several annealed partitions, as the other partitioners do: no published table tells of single neurons."""
        from nmap.partition.joint import solve

        return solve(problem, budget)

    def place(self, problem: PlacementProblem, budget: Budget) -> PlacementSolution:
        """Return an annealed placement with the better of the packet and the Gilmore-Lawler bound.

        Raises:
            ValueError: there are fewer slots than clusters (of a class), or a cluster is pinned to a slot that it cannot have.
        """
        return anneal(problem, budget.effort, budget.seed, budget.progress, budget.stopped)


PARTITIONER = LoihiReference()
