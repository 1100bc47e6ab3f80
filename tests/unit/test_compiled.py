"""Compiled loops run where numba can keep nothing on disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numba
import pytest

from nmap.compiled import compiled

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nmap", "targets/nmap_loihi2", "targets/nmap_toy")
SCRIPT = """
import sys
import numpy as np
import nmap
from nmap.emulate.accumulate import add_dense
from nmap.place.anneal import search
from nmap.place.board import Board
from nmap.place.problem import PlacementProblem
from nmap_loihi2.kernels import LIF as cuba
from nmap_toy.kernels import LIF as toy

assert nmap.__file__.startswith(sys.argv[1]), nmap.__file__
out = np.zeros((2, 1), np.int64)
add_dense(np.ones((2, 3), np.int32), np.arange(3, dtype=np.int32), np.full((3, 1), 5, np.int32), True, 0, 2, 1, out)
assert out.tolist() == [[0], [15]]
for kernel, params in ((toy, [0, 0, 8]), (cuba, [4095, 0, 1, 0, 0])):
    state = np.zeros((len(kernel.state), 1), np.int64)
    spikes = np.zeros((1, 1), np.int32)
    kernel.run(np.array(params, np.int64)[:, None], state, np.full((1, 1), 20), spikes, np.zeros((0, 0, 0), np.int64), 0)
    assert spikes.tolist() == [[1]], kernel.name
slots = np.array([[0, 0], [1, 0], [2, 0], [3, 0]])
problem = PlacementProblem(3, Board(slots), np.array([0]), np.array([2]), np.array([9]))
where = slots[search(problem, 0, 0)]
assert abs(where[0] - where[2]).sum() == 1
"""


def test_no_place_for_machine_code(tmp_path: Path) -> None:
    # Files where numba wants folders: unlike permissions, they stop every user.
    for package in PACKAGES:
        copy = tmp_path / Path(package).name
        shutil.copytree(ROOT / package, copy, ignore=shutil.ignore_patterns("__pycache__"))
        for folder in (copy, *(p for p in copy.rglob("*") if p.is_dir())):
            (folder / "__pycache__").touch()
    home = tmp_path / "home"
    home.touch()
    env = {key: value for key, value in os.environ.items() if not key.startswith("NUMBA_")}
    env |= {"HOME": str(home), "XDG_CACHE_HOME": str(home / "cache"), "LOCALAPPDATA": str(home), "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-B", "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_machine_code_is_kept_where_it_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))

    @compiled("int64(int64)")
    def double(value: int) -> int:
        return 2 * value

    assert double(21) == 42
    assert list(tmp_path.rglob("*.nbc"))


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numba.config.CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._save_data", full)

    @compiled("int64(int64)")
    def triple(value: int) -> int:
        return 3 * value

    assert triple(14) == 42


def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(numba.core.errors.TypingError):
        @compiled("int64(int64)")
        def wrong(value: int) -> int:
            return value.no_such_thing  # type: ignore[attr-defined]

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("another failure")

    monkeypatch.setattr("numba.njit", fail)
    with pytest.raises(RuntimeError, match="another failure"):
        compiled()(fail)
