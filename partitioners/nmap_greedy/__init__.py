"""The `greedy` partitioner: no solver, milliseconds for packing, seconds for placement."""

from __future__ import annotations

from dataclasses import dataclass

from nmap.partition.fill import fill, finish, spend_slack
from nmap.partition.neurons import Partition, PartitionProblem
from nmap.partition.partitioner import Budget
from nmap.partition.problem import PackingProblem, PackingSolution, area_bound
from nmap.partition.tiles import TilingProblem, TilingSolution, sweep
from nmap.place.anneal import anneal
from nmap.place.problem import PlacementProblem, PlacementSolution

__all__ = ["PARTITIONER", "Greedy"]


@dataclass(frozen=True, slots=True)
class Greedy:
    """Decreasing fill for the number of cores, annealing from a Hilbert-like curve for the traffic."""

    name: str = "greedy"

    def choose_tiles(self, problem: TilingProblem, budget: Budget) -> TilingSolution:  # noqa: ARG002 - takes no time worth a budget
        """Return the choice of a sweep along the layers' convex hulls, with the bound of the linear relaxation."""
        return sweep(problem)

    def pack(self, problem: PackingProblem, budget: Budget) -> PackingSolution:  # noqa: ARG002 - takes no time worth a budget
        """Return the best of several greedy packings; its bound is `area_bound`."""
        return finish(problem, spend_slack(problem, fill(problem)), area_bound(problem))

    def partition(self, problem: PartitionProblem, budget: Budget) -> Partition:
        """Return the best of several annealed partitions, placed when the problem has a board, with bounds of cores and packets."""
        from nmap.partition.joint import solve

        return solve(problem, budget)

    def place(self, problem: PlacementProblem, budget: Budget) -> PlacementSolution:
        """Return an annealed placement with the better of the packet and the Gilmore-Lawler bound.

        Raises:
            ValueError: there are fewer slots than clusters (of a class), or a cluster is pinned to a slot that it cannot have.
        """
        return anneal(problem, budget.effort, budget.seed, budget.progress, budget.stopped)


PARTITIONER = Greedy()
