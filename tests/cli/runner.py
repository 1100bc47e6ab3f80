"""Run the command line in this process or in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from nmap.cli.main import run

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Runner:
    """Call the entry point and catch what it prints."""

    capture: pytest.CaptureFixture[str]

    def __call__(self, *words: object) -> Result:
        self.capture.readouterr()
        status = run([str(word) for word in words])
        caught = self.capture.readouterr()
        return Result(status, caught.out, caught.err)


def spawn(*words: object, **environment: str) -> Result:
    """Run `python -m nmap.cli` without a terminal."""
    folders = [str(ROOT), str(ROOT / "targets"), str(ROOT / "partitioners")]
    done = subprocess.run(
        [sys.executable, "-m", "nmap.cli", *map(str, words)], capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders), "PYTHONIOENCODING": "utf-8", **environment},
    )
    return Result(done.returncode, done.stdout, done.stderr)
