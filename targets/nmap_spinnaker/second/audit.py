"""What is to be said of a placed program beyond the elements' own budgets: room for spike lists, and what of it is verified."""

from __future__ import annotations

from math import prod
from typing import Final

from nmap.diagnostics import Diagnostic
from nmap.program import Program
from nmap.target.machine import Machine
from nmap_spinnaker.second.artefact import spike_elements
from nmap_spinnaker.second.kernels import CURRENT

__all__ = ["UNVERIFIED", "VERIFIED", "audit", "trusted"]

VERIFIED: Final = "recorded chip traces (NIR paper): arithmetic and timing of lif_curr_exp without delays, truncated weights, both resets"
UNVERIFIED: Final = "not verified against py-spinnaker2 or hardware"


def trusted(kernel: str) -> str:
    """Return what the arithmetic of a kernel rests on."""
    return VERIFIED if kernel == CURRENT.name else UNVERIFIED


def audit(program: Program, machine: Machine) -> tuple[Diagnostic, ...]:
    """See `nmap.target.backend.Auditing`.

    Spike lists take elements of their own, which py-spinnaker2 places. Router entries cannot run out: every element needs at most one on
    each router, and a machine has fewer elements than a router has entries.
    """
    most = machine.spec.limits["sources_per_element"].max
    ports = [p for p in program.populations if p.is_input]
    lists = sum(spike_elements(prod(p.shape), most) for p in ports)
    used, there = len(program.cores), len(machine.cores)
    found = []
    if used + lists > there:
        found.append(Diagnostic(
            "NM702", "error",
            f"{used} processing elements for neurons and {lists} for spike lists are more than the {there} that there are",
            why=f"A spike list of {', '.join(f'`{p.name}`' for p in ports)} takes an element for every {most} sources, which is assumed.",
            help=("a larger machine: `--target spinnaker2:48chip`",) if machine.variant != "48chip" else (),
            data={"kind": "spike lists", "elements": used + lists},
        ))
    others = sorted({g.kernel.partition(".")[2] for g in program.groups if g.kernel != CURRENT.name})
    why = f"Verified by {VERIFIED}." if any(g.kernel == CURRENT.name for g in program.groups) else None
    what = f"{', '.join(others)}: " if others else "room, routes and times of the elements: "
    found.append(Diagnostic(
        "NM604", "note", f"{what}{UNVERIFIED}; py-spinnaker2 is not on PyPI, and the script it would run was not run", why=why,
    ))
    return tuple(found)
