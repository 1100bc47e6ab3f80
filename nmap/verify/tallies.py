"""What neurons of the emulated chip counted: events that are no spikes, and that a user should know of."""

from __future__ import annotations

from collections.abc import Mapping

from nmap.diagnostics import Diagnostic
from nmap.emulate.kernel import Kernel, counters
from nmap.program import Program

__all__ = ["told_tallies"]


def told_tallies(program: Program, kernels: Mapping[str, Kernel], tallies: Mapping[str, int], samples: int) -> tuple[Diagnostic, ...]:
    """Return a warning for everything that was counted, population by population.

    Args:
        program: what was run.
        kernels: the target's, by name.
        tallies: by `POPULATION.VARIABLE`, as in `nmap.trace.SpikeTrace`.
        samples: how many were run.
    """
    used = {program.populations[group.population].name: group.kernel for group in program.groups}
    told = []
    for key, count in tallies.items():
        population, _, variable = key.rpartition(".")
        if count:
            found = counters(kernels[used[population]])[variable]
            told.append(Diagnostic(
                "NM304", "warning", f"{found.what}, in `{population}` {count} time{'' if count == 1 else 's'}",
                why=f"Counted on the emulated chip over {samples} sample{'' if samples == 1 else 's'}.", help=(found.remedy,),
                data={"population": population, "variable": variable, "count": count, "samples": samples},
            ))
    return tuple(told)
