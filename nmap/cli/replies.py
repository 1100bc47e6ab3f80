"""From outcomes to what a command answers."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from shutil import get_terminal_size
from typing import TYPE_CHECKING

from nmap.cli.serve import Reply

if TYPE_CHECKING:
    from nmap.diagnostics import Diagnostic
    from nmap.report.model import Outcome

__all__ = ["comparison_reply", "inspection_reply", "outcome_reply"]

_NARROW, _WIDE = 80, 140
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
    # Not so after mere warnings under --strict, which also make an error.
    told = outcome.network if outcome.status != "error" or outcome.mapping is not None or int(outcome.exit_status) == 1 else None
    text = to_text(report) if told is not None else ""
    short = f"{told.file}  {target_name(report)}  {verdict(report)}" if told is not None else ""
    written = outcome.bundle is not None if writes else None
    return Reply(text, report, outcome.diagnostics, int(outcome.exit_status), short, written)


def inspection_reply(outcome: Outcome) -> Reply:
    """Return the answer about what a file holds."""
    from nmap.report.json import to_json
    from nmap.report.text import inspection_text

    report = to_json(outcome)
    # A pipe and a file are read at any width; the screen is used as far as lines stay readable.
    columns = get_terminal_size((_NARROW, 24)).columns if sys.stdout.isatty() else _NARROW
    text = inspection_text(report, min(max(columns, _NARROW), _WIDE)) if outcome.network is not None else ""
    return Reply(text, report, outcome.diagnostics, int(outcome.exit_status))


def comparison_reply(outcomes: Sequence[Outcome], names: Sequence[str], command: Sequence[str]) -> Reply:
    """Return the answer about one network on several targets.

    A diagnostic that every target repeats is printed once; one that does not begins with the targets it is about.

    Args:
        outcomes: at least one.
        names: the targets as the user named them, in the same order.
        command: the words of the command line.
    """
    from nmap.report.json import comparison_to_json, name_target, to_json
    from nmap.report.text import comparison_text, target_name, verdict

    reports = [to_json(outcome) for outcome in outcomes]
    # A target that is not installed is in no outcome.
    reports = [name_target(report, name) if report["target"] is None else report for report, name in zip(reports, names, strict=True)]
    labels = [target_name(report) for report in reports]
    worst = min(outcomes, key=lambda outcome: _WORST_FIRST.index(int(outcome.exit_status)))
    diagnostics = _of_targets((label, outcome.diagnostics) for label, outcome in zip(labels, outcomes, strict=True))
    text = comparison_text(reports) if any(outcome.network is not None for outcome in outcomes) else ""
    short = "\n".join(f"{label}  {verdict(report)}" for label, report in zip(labels, reports, strict=True))
    exit_status = int(worst.exit_status)
    return Reply(text, comparison_to_json(reports, command, worst.status, exit_status, diagnostics), diagnostics, exit_status, short)


def _of_targets(found: Iterable[tuple[str, Sequence[Diagnostic]]]) -> list[Diagnostic]:
    """Return each diagnostic once, with the targets it is about where these are not all."""
    labels: dict[str, None] = {}
    owners: dict[tuple[str, str | None, str], tuple[Diagnostic, dict[str, None]]] = {}
    for label, diagnostics in found:
        labels[label] = None
        for d in diagnostics:
            owners.setdefault((d.code, d.where, d.message), (d, {}))[1][label] = None
    return [
        d if len(about) == len(labels) else replace(d, message=f"{', '.join(about)}: {d.message}") for d, about in owners.values()
    ]
