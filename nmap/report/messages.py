"""Diagnostics as text: the message, its place, the reason and the remedies, at most 80 columns wide."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import wrap

from nmap.diagnostics import Diagnostic

__all__ = ["LIMIT", "render", "render_all"]

LIMIT = 10
"""Diagnostics of one severity printed in full; the rest is counted."""

_ORDER = {"error": 0, "warning": 1, "note": 2}


def render(diagnostic: Diagnostic, width: int = 80) -> str:
    """Return one diagnostic as lines of text without a trailing newline.

    Lines that start with a blank are kept as they are, so that arithmetic set out as a table stays one.
    """
    lines = _filled(f"{diagnostic.severity}[{diagnostic.code}]: ", "  ", diagnostic.message, width)
    if diagnostic.where:
        lines.append(f"  --> {diagnostic.where}")
    if diagnostic.why:
        lines += _filled("  why   ", "        ", diagnostic.why, width)
    for remedy in diagnostic.help:
        lines += _filled("  help  ", "        ", remedy, width)
    return "\n".join(lines)


def render_all(diagnostics: Iterable[Diagnostic], width: int = 80, notes: bool = True) -> str:
    """Return diagnostics worst first, `LIMIT` of each severity and a count of the rest; an empty string for none.

    Args:
        diagnostics: in the order found, which is kept inside a severity.
        width: columns.
        notes: include the notes.
    """
    ordered = sorted((d for d in diagnostics if notes or d.severity != "note"), key=lambda d: _ORDER[d.severity])
    blocks = []
    for severity in _ORDER:
        group = [d for d in ordered if d.severity == severity]
        blocks += [render(d, width) for d in group[:LIMIT]]
        if len(group) > LIMIT:
            more = len(group) - LIMIT
            blocks.append(f"{severity}: {more} more {severity}{'s' if more > 1 else ''} not shown; `--format json` lists all of them")
    text = ""
    for k, block in enumerate(blocks):
        # One-line messages stand close together, longer ones apart.
        close = k > 0 and "\n" not in block and "\n" not in blocks[k - 1]
        text += ("" if k == 0 else "\n" if close else "\n\n") + block
    return text


def _filled(first: str, other: str, text: str, width: int) -> list[str]:
    lines: list[str] = []
    for k, line in enumerate(text.splitlines() or [""]):
        lead = first if k == 0 else other
        if line.startswith(" "):
            lines.append(lead + line if k == 0 else line)
        else:
            # Words are kept whole: a path or a command that is broken cannot be pasted.
            lines += wrap(lead + line, width, subsequent_indent=other, break_long_words=False, break_on_hyphens=False)
    return lines
