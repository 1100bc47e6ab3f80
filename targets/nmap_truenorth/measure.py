"""What each core of a program takes, counted from the stored program alone. Shares no code with `nmap_truenorth.demand`."""

from __future__ import annotations

import numpy as np

from nmap.program import Program
from nmap.target.backend import Demand

__all__ = ["measure"]


def measure(program: Program) -> tuple[Demand, ...]:
    """Return the demand of every core, in the order of `Program.cores`.

    `axons` are distinct ones, since blocks of one core may hear the same; `columns` are all neurons and `neurons` those that are no copies;
    `synapses` are the crossbar bits that are set, of copies too.
    """
    totals: list[Demand] = [{"axons": 0, "originals": 0, "neurons": 0, "synapses": 0} for _ in program.cores]
    for group in program.groups:
        totals[group.core]["neurons"] += group.size
        totals[group.core]["originals"] += 0 if group.population in program.copies else group.size
    heard: list[set[int]] = [set() for _ in program.cores]
    for block in program.blocks:
        heard[block.core].update(range(block.axon, block.axon + block.axons))
        totals[block.core]["synapses"] += int(np.count_nonzero(block.synapses.weights))
    for total, axons in zip(totals, heard, strict=True):
        total["axons"] = len(axons)
    return tuple(totals)
