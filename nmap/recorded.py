"""What a run records, whichever level computes it, on its way to where it is kept or written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeAlias

from nmap.connectivity import Array
from nmap.trace import SpikeEvents

__all__ = ["Recorded", "Result", "Sink"]

Recorded: TypeAlias = Array | SpikeEvents
"""What a chunk of samples sent or how a state went: dense, (samples, steps, neurons), or spikes as events."""


@dataclass(frozen=True, slots=True)
class Result:
    """One array of what a run finds out.

    Args:
        name: under which it is written: `spikes`, `spikes.NAME`, `POP.VARIABLE`.
        key: `POP.VARIABLE`, as the levels record it.
        population: whose.
        shape: of the population.
        spikes: whether it holds what was sent, not a state.
        output: whether it is an output's, and not a probe's.
    """

    name: str
    key: str
    population: str
    shape: tuple[int, ...]
    spikes: bool
    output: bool


class Sink(Protocol):
    """Where results go, chunk by chunk in the order of the samples."""

    def add(self, result: Result, first: int, values: Recorded) -> None:
        """Take a chunk of one result, its time the one asked for.

        Args:
            result: which.
            first: number of the chunk's first sample.
            values: the chunk.
        """
