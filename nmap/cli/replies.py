"""From outcomes to what a command answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nmap.cli.serve import Reply

if TYPE_CHECKING:
    from nmap.report.model import Outcome

__all__ = ["comparison_reply", "inspection_reply", "outcome_reply"]

_WORST_FIRST = (70, 2, 4, 3, 1, 5, 0)
"""Of several targets the exit status is that of the one that went worst; what is proved comes before what could not be told."""


def outcome_reply(outcome: Outcome, *, writes: bool = False) -> Reply:
    """Return the answer about one network on one target.

    Args:
        outcome: what was found out.
        writes: True for a command that writes a bundle.
    """
    from nmap.report.json import to_json
    from nmap.report.text import target_name, to_text, verdict

    report = to_json(outcome)
    # After a mistake in the command or its files there is nothing to report that the diagnostics do not say.
    told = outcome.network if outcome.status != "error" or outcome.mapping is not None else None
    text = to_text(report) if told is not None else ""
    short = f"{told.file}  {target_name(report)}  {verdict(report)}" if told is not None else ""
    written = outcome.bundle is not None if writes else None
    return Reply(text, report, outcome.diagnostics, int(outcome.exit_status), short, written)


def inspection_reply(outcome: Outcome) -> Reply:
    """Return the answer about what a file holds."""
    from nmap.report.json import to_json
    from nmap.report.text import inspection_text

    report = to_json(outcome)
    text = inspection_text(report) if outcome.network is not None else ""
    return Reply(text, report, outcome.diagnostics, int(outcome.exit_status))


def comparison_reply(outcomes: Sequence[Outcome], command: Sequence[str]) -> Reply:
    """Return the answer about one network on several targets; a diagnostic that every target repeats is printed once."""
    from nmap.report.json import comparison_to_json, to_json
    from nmap.report.text import comparison_text, target_name, verdict

    reports = [to_json(outcome) for outcome in outcomes]
    exit_status = min((int(outcome.exit_status) for outcome in outcomes), key=_WORST_FIRST.index)
    diagnostics = list({(d.code, d.where, d.message): d for outcome in outcomes for d in outcome.diagnostics}.values())
    text = comparison_text(reports) if any(outcome.network is not None for outcome in outcomes) else ""
    short = "\n".join(f"{target_name(report)}  {verdict(report)}" for report in reports)
    return Reply(text, comparison_to_json(reports, command, exit_status), diagnostics, exit_status, short)
