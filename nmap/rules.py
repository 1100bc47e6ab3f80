"""Run a target's design rules: all of them, all findings together."""

from __future__ import annotations

from nmap.diagnostics import Exit, Findings
from nmap.network import Network
from nmap.options import Options
from nmap.target.backend import Target

__all__ = ["refusal", "run_rules"]


def refusal(findings: Findings) -> Exit:
    """Return the exit status of recorded errors: wrong usage when an option is wrong, else a network that breaks a rule."""
    return Exit.USAGE if any(d.code == "NM004" for d in findings.errors) else Exit.DOES_NOT_FIT


def run_rules(network: Network, target: Target, options: Options, findings: Findings) -> int:
    """Check a network against a target's rules.

    Args:
        network: as read.
        target: the chip.
        options: the user's choices, among them the approximations they allow.
        findings: receives warnings and notes.

    Returns:
        The number of rules that ran.

    Raises:
        NmapError: with every error of every rule; exit status `DOES_NOT_FIT`, or `USAGE` when an option is wrong.
    """
    for rule in target.rules:
        rule(network, target.spec, options, findings)
    findings.raise_errors(refusal(findings))
    return len(target.rules)
