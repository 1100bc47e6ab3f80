from __future__ import annotations

from pathlib import Path

import pytest

_COLUMNS = ("framework", "version", "network", "options", "cells", "spikes", "mismatches")
_rows: list[tuple[str, ...]] = []


@pytest.fixture
def compared() -> list[tuple[str, ...]]:
    """Rows of the table printed after the run."""
    return _rows


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = {
        (Path(r.nodeid).name.partition("[")[2].rstrip("]"), str(r.longrepr[2]).removeprefix("Skipped: "))
        for r in terminalreporter.stats.get("skipped", [])
        if "check_exports" in r.nodeid and isinstance(r.longrepr, tuple)
    }
    if not _rows and not skipped:
        return
    table = [_COLUMNS, *sorted(_rows), *((name, "skipped", reason, "", "", "", "") for name, reason in sorted(skipped))]
    widths = [max(len(row[k]) for row in table if row[1] != "skipped" or k < 2) for k in range(len(_COLUMNS))]
    terminalreporter.section("exports")
    for row in table:
        terminalreporter.write_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
