"""The contract a partitioning algorithm implements. It sees numbers only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from nmap.partition.problem import PackingProblem, PackingSolution
from nmap.place.problem import PlacementProblem, PlacementSolution

__all__ = ["Budget", "Partitioner"]


@dataclass(frozen=True, slots=True)
class Budget:
    """How hard to try. Limits are deterministic work, never wall clock, so that an answer does not depend on the machine's load.

    Args:
        effort: 0, 1 or 2.
        seed: for every random choice.
        progress: called now and then with a short text; for display only.
    """

    effort: int = 1
    seed: int = 0
    progress: Callable[[str], None] | None = None


@runtime_checkable
class Partitioner(Protocol):
    """An algorithm for the two problems of mapping: fewest cores, then least traffic."""

    name: str

    def pack(self, problem: PackingProblem, budget: Budget) -> PackingSolution:
        """Cut items into pieces and share the pieces out over as few cores as possible."""

    def place(self, problem: PlacementProblem, budget: Budget) -> PlacementSolution:
        """Give every cluster a slot of its own so that traffic times hops is least."""
