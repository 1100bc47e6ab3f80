"""What is to be said of a placed program beyond the elements' own budgets: room for spike lists, and what of it is verified."""

from __future__ import annotations

from math import prod
from typing import Final

from nmap.diagnostics import Diagnostic, named
from nmap.program import Program
from nmap.target.machine import Machine
from nmap_spinnaker.second.artefact import NEAREST, spike_elements
from nmap_spinnaker.second.kernels import CURRENT
from nmap_spinnaker.second.numbers import real

__all__ = ["TRACED", "UNTRACED", "UNVERIFIED", "VERIFIED", "audit", "untraced"]

VERIFIED: Final = "recorded chip traces (NIR paper): arithmetic and timing of lif_curr_exp without delays, 8-bit truncated weights"
UNVERIFIED: Final = "not verified against py-spinnaker2 or hardware"
TRACED: Final = "recorded trace"
"""Of a population all of which recorded traces have."""
UNTRACED: Final = "not verified"
_BITS = 8
"""Of a weight in the recorded traces, the sign included."""


def untraced(program: Program, population: int) -> tuple[str, ...]:
    """Return what of a population no recorded trace of a chip has, in a few words each; () where traces have all of it.

    One trace has a reset to 0 and biases, the other a reset by subtraction and none. Both have truncated
    weights of 8 bits, and start at 0.

    Args:
        program: of this target.
        population: index into its populations; no input port.
    """
    members = {k: group for k, group in enumerate(program.groups) if group.population == population}
    groups = list(members.values())
    told = sorted({group.kernel.partition(".")[2] for group in groups} - {CURRENT.name.partition(".")[2]})
    subtract = any(group.params["subtract"].any() for group in groups)
    if subtract and any(real(group.params["i_offset"]).any() for group in groups):
        told.append("reset by subtraction with i_offset")
    if not subtract and any(real(group.params["v_reset"]).any() for group in groups):
        told.append("v_reset other than 0")
    if any(real(group.initial["v"]).any() for group in groups if "v" in group.initial):
        told.append("v_init other than 0")
    if program.settings.get(NEAREST):
        told.append("weights rounded to the nearest")
    if any(block.bits < _BITS for block in program.blocks if block.group in members):
        told.append(f"weights of fewer than {_BITS} bits")
    return tuple(told)


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
    doubts = {p.name: untraced(program, k) for k, p in enumerate(program.populations) if not p.is_input}
    others = {name: reasons for name, reasons in doubts.items() if reasons}
    proven = [name for name, reasons in doubts.items() if not reasons]
    why = f"{named(proven)}: verified by {VERIFIED}." if proven else None
    reasons = ", ".join(sorted({reason for told in others.values() for reason in told}))
    what = f"{named(list(others))} ({reasons}): " if others else "room, routes and times of the elements: "
    found.append(Diagnostic(
        "NM604", "note", f"{what}{UNVERIFIED}; py-spinnaker2 is not on PyPI, and the script it would run was not run", why=why,
    ))
    return tuple(found)
