"""Damaged files end in a network or in a diagnostic: never in a traceback, a hang, a crash or a memory blow-up."""

from __future__ import annotations

import collections
import os
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.property import fuzzing
from tests.support import shared_data

# A third of them change bytes only, a third the structure only; numbers are fixed, so that every run reads the same files.
BUILT = 160
REAL = 45
LARGE = 8
PEAK_BYTES = 4 * 2**30

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the watched processes limit their memory in POSIX's way")


def judge(tasks: list[tuple[Path, int]]) -> collections.Counter[str]:
    """Read the mutations; fail with the command that repeats the first faulty ones."""
    results = list(fuzzing.run(tasks, processes=min(2, os.cpu_count() or 1)))
    assert len(results) == len(tasks)
    faults = [r for r in results if r.fault is not None]
    assert not faults, "\n".join(f"{r.replay}\n{r.fault}" for r in faults[:5])
    hungry = max(results, key=lambda r: r.peak)
    assert hungry.peak < PEAK_BYTES, f"{hungry.replay}: {hungry.peak} bytes"
    return collections.Counter(code for r in results for code in r.outcome)


def test_mutations_of_built_files(tmp_path: Path) -> None:
    seeds = fuzzing.build_seeds(tmp_path)
    assert [fuzzing.outcome(seed, 0) for seed in seeds] == [["network"]] * len(seeds)
    outcomes = judge([(seed, number) for seed in seeds for number in range(BUILT)])
    # The mutations reach all stages of reading, and leave some networks whole.
    assert outcomes["network"] > 50
    assert {"NM101", "NM102", "NM103", "NM104", "NM105", "NM106", "NM107", "NM108", "NM109", "NM110"} <= set(outcomes)


def test_mutations_of_real_files() -> None:
    data = shared_data()
    seeds = sorted([*data.glob("nir/*.nir"), *data.glob("trained/*.nir"), *data.glob("lava_dl/*.net")])
    tasks = [(seed, 10_000 + k) for seed in seeds for k in range(REAL if seed.stat().st_size < 2**18 else LARGE)]
    outcomes = judge(tasks)
    assert outcomes["network"] > len(seeds)
    assert {"NM103", "NM104", "NM105"} <= set(outcomes)


def test_mutations_can_be_replayed(tmp_path: Path) -> None:
    for seed in fuzzing.build_seeds(tmp_path):
        content = seed.read_bytes()
        mutants = [fuzzing.mutant(content, number) for number in range(12)]
        # HDF5 stamps no times here, so that a structural change too comes out the same.
        assert mutants == [fuzzing.mutant(content, number) for number in range(12)]
        assert len({*mutants, content}) > 10


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("while True: pass", "no answer after 2 s"),
        ("import os; os.abort()", "died with status -6"),
        ("raise KeyError('x')", "KeyError"),
        ("bytearray(2**40)", "MemoryError"),
        ("import warnings; warnings.warn('overflow', RuntimeWarning)", "RuntimeWarning"),
    ],
)
def test_the_watch_tells_a_fault_from_an_outcome(tmp_path: Path, code: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = tmp_path / "seed.h5"
    with h5py.File(seed, "w") as file:
        file["x"] = np.zeros(3)
    # A `nmap.readers` of its own in front of the real one, which misbehaves.
    package = tmp_path / "nmap"
    for name in ("readers", "simulate"):
        (package / name).mkdir(parents=True)
        (package / name / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "diagnostics.py").write_text("class NmapError(Exception):\n    diagnostics = ()\n")
    (package / "simulate" / "floating.py").write_text("simulate = None\n")
    (package / "readers" / "__init__.py").write_text(f"def read(path, **options):\n    {code}\n")
    monkeypatch.setattr(fuzzing, "IMPORTED_FROM", (str(tmp_path),))
    results = list(fuzzing.run([(seed, 0), (seed, 1)], processes=1, timeout=2))
    assert [r.number for r in results] == [0, 1]
    for result in results:
        assert result.fault is not None
        assert fault in result.fault
        assert str(seed) in result.replay
