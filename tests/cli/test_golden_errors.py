"""What a user who made a mistake reads, word for word.

The texts lie in `tests/golden/errors`; nothing rewrites them: whoever changes a message changes its file, and reads it as a user would.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nmap.bundle import write_bundle
from tests.cli.runner import ROOT, Runner

GOLDEN = ROOT / "tests" / "golden" / "errors"
TOY = "--target toy --partitioner greedy"


def nothing() -> None:
    """Prepare nothing."""


def a_text_file() -> None:
    Path("notes.nir").write_text("not a network")


def somebody_elses_folder() -> None:
    Path("out").mkdir()
    Path("out/thesis.tex").write_text("years of work")


def damaged_bundle() -> None:
    write_bundle(Path("out"), {"program.h5": b"program", "report.json": b"{}"}, {})
    Path("out/program.h5").write_bytes(b"progrom")
    Path("out/report.json").unlink()


CASES: dict[str, tuple[str, Callable[[], None], int]] = {
    "missing-file": (f"deploy none.nir {TOY}", nothing, 2),
    "not-hdf5": (f"check notes.nir {TOY}", a_text_file, 2),
    "unknown-target": ("check net.nir --target tyo", nothing, 2),
    "unknown-variant": ("check net.nir --target toy:3x3", nothing, 2),
    "two-targets": ("deploy net.nir --target toy,toy:4x4", nothing, 2),
    "too-big": (f"deploy big.nir {TOY}", nothing, 1),
    "refused-neuron": (f"check leaky.nir {TOY}", nothing, 1),
    "dead-cores": (f"check net.nir {TOY} --dead-cores c1,4,x:2", nothing, 2),
    "unknown-command": ("depoly net.nir", nothing, 2),
    "sarif": (f"check net.nir {TOY} --format sarif", nothing, 2),
    "scanner": ("-sS 10.0.0.0/8", nothing, 2),
    "folder-taken": (f"deploy net.nir {TOY} -o out", somebody_elses_folder, 2),
    "no-bundle": ("report out", nothing, 2),
    "damaged-bundle": ("report out", damaged_bundle, 2),
    "level-of-a-file": ("run net.nir --input s.npz --level chip", nothing, 2),
    "no-lock": (f"deploy net.nir {TOY} -o out --locked", nothing, 2),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("net", "big", "leaky", "samples")
def test_message(case: str, nmap: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    words, prepare, status = CASES[case]
    prepare()
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))
    result = nmap(*words.split())
    assert result.status == status
    assert result.err == (GOLDEN / f"{case}.txt").read_text(encoding="utf-8")


def test_every_text_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.txt")} == set(CASES)
