"""The contract a partitioning algorithm implements. It sees numbers only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from nmap.partition.neurons import Partition, PartitionProblem
from nmap.partition.problem import PackingProblem, PackingSolution
from nmap.partition.tiles import TilingProblem, TilingSolution
from nmap.place.problem import PlacementProblem, PlacementSolution

__all__ = ["Budget", "Partitioner"]


@dataclass(frozen=True, slots=True)
class Budget:
    """How hard to try. Limits are deterministic work, never wall clock, so that an answer does not depend on the machine's load.

    Args:
        effort: 0, 1 or 2.
        seed: for every random choice.
        progress: called now and then with a short text, with the objective and the bound so far; for display only.
        stopped: asked now and then (about ten times a second); once it says True the algorithm returns the best answer it has.
    """

    effort: int = 1
    seed: int = 0
    progress: Callable[[str], None] | None = None
    stopped: Callable[[], bool] | None = None

    def say(self, text: str) -> None:
        """Tell the user how far it is."""
        if self.progress is not None:
            self.progress(text)

    @property
    def over(self) -> bool:
        """Whether the user wants the best answer so far."""
        return self.stopped is not None and self.stopped()


@runtime_checkable
class Partitioner(Protocol):
    """An algorithm for the problems of mapping: fewest cores, then least traffic."""

    name: str

    def choose_tiles(self, problem: TilingProblem, budget: Budget) -> TilingSolution:
        """Choose a tile shape for every layer: least copies of input axons on few cores. Asked only where there is a choice."""

    def pack(self, problem: PackingProblem, budget: Budget) -> PackingSolution:
        """Cut items into pieces and share the pieces out over as few cores as possible."""

    def partition(self, problem: PartitionProblem, budget: Budget) -> Partition:
        """Share single neurons out over few cores, and place the cores when the problem has a board, so that traffic is least."""

    def place(self, problem: PlacementProblem, budget: Budget) -> PlacementSolution:
        """Give every cluster a slot of its own so that traffic times hops is least."""
