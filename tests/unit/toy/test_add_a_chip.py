"""`docs/add-a-chip.md` quotes the toy chip's code: every quotation stands there still, and every example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "add-a-chip.md").read_text(encoding="utf-8")
QUOTED = re.findall(r"<!-- from (\S+) -->\n```\w+\n(.*?)```\n", PAGE, re.DOTALL)
RUNNABLE = re.findall(r"<!-- run -->\n```python\n(.*?)```\n", PAGE, re.DOTALL)


def test_every_block_is_quoted_or_run() -> None:
    assert len(QUOTED) + len(RUNNABLE) == PAGE.count("```") // 2
    assert len(re.findall(r"^## \d\. ", PAGE, re.MULTILINE)) == 7


@pytest.mark.parametrize(("file", "text"), QUOTED, ids=[f"{file}:{k}" for k, (file, _) in enumerate(QUOTED)])
def test_the_quotation_stands_in_the_code(file: str, text: str) -> None:
    assert text in (ROOT / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("code", RUNNABLE, ids=range(len(RUNNABLE)))
def test_the_example_runs(code: str) -> None:
    exec(compile(code, "add-a-chip.md", "exec"), {})


def test_files_named_in_the_pages_exist() -> None:
    for page in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        text = page.read_text(encoding="utf-8")
        links = [page.parent / link for link in re.findall(r"\]\(([^)#:]+)\)", text)]
        paths = [ROOT / path for path in re.findall(r"`((?:nmap|targets|partitioners|tests|docs|examples)/[\w./]+)`", text)]
        assert [str(p) for p in (*links, *paths) if not p.exists()] == [], page.name
