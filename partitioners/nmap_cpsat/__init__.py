"""The `cpsat` partitioner: OR-tools CP-SAT on top of the greedy start, with proofs."""

from __future__ import annotations

from dataclasses import dataclass

from nmap.partition.neurons import Partition, PartitionProblem
from nmap.partition.partitioner import Budget
from nmap.partition.problem import PackingProblem, PackingSolution
from nmap.partition.tiles import TilingProblem, TilingSolution
from nmap.place.problem import PlacementProblem, PlacementSolution

__all__ = ["PARTITIONER", "CpSat"]


@dataclass(frozen=True, slots=True)
class CpSat:
    """Exact where the problem is small, better than greedy and honest about the gap where it is not."""

    name: str = "cpsat"

    def choose_tiles(self, problem: TilingProblem, budget: Budget) -> TilingSolution:
        """Return the choice of fewest copies on the cores that may be used, proved where the solver closes."""
        from nmap_cpsat.tiling import choose_tiles

        return choose_tiles(problem, budget)

    def pack(self, problem: PackingProblem, budget: Budget) -> PackingSolution:
        """Return a packing on the fewest cores found, then with the least traffic across cuts, with the proved bound."""
        from nmap_cpsat.packing import pack

        return pack(problem, budget)

    def partition(self, problem: PartitionProblem, budget: Budget) -> Partition:
        """Return the best of several annealed partitions, placed when the problem has a board, with bounds of cores and packets."""
        from nmap.partition.joint import solve

        return solve(problem, budget)

    def place(self, problem: PlacementProblem, budget: Budget) -> PlacementSolution:
        """Return a placement, proved optimal where the search space is small enough.

        Raises:
            ValueError: there are fewer slots than clusters.
        """
        from nmap_cpsat.placing import place

        return place(problem, budget)


PARTITIONER = CpSat()
