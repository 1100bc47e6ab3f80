"""The `greedy` partitioner: no solver, milliseconds for packing, seconds for placement."""

from __future__ import annotations

from dataclasses import dataclass

from nmap.partition.fill import fill, finish, spend_slack
from nmap.partition.partitioner import Budget
from nmap.partition.problem import PackingProblem, PackingSolution, area_bound
from nmap.place.anneal import search
from nmap.place.bound import certify, lower_bound
from nmap.place.problem import PlacementProblem, PlacementSolution

__all__ = ["PARTITIONER", "Greedy"]


@dataclass(frozen=True, slots=True)
class Greedy:
    """Decreasing fill for the number of cores, annealing from a Hilbert-like curve for the traffic."""

    name: str = "greedy"

    def pack(self, problem: PackingProblem, budget: Budget) -> PackingSolution:  # noqa: ARG002 - takes no time worth a budget
        """Return the best of several greedy packings; its bound is `area_bound`."""
        return finish(problem, spend_slack(problem, fill(problem)), area_bound(problem))

    def place(self, problem: PlacementProblem, budget: Budget) -> PlacementSolution:
        """Return an annealed placement with the better of the packet and the Gilmore-Lawler bound.

        Raises:
            ValueError: there are fewer slots than clusters.
        """
        slot = search(problem, budget.effort, budget.seed, budget.progress)
        return certify(problem, slot, lower_bound(problem), budget.seed)


PARTITIONER = Greedy()
