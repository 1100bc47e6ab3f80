"""Compiled loops: ready when they are called, wherever something or nothing can be kept on disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numba
import pytest

from nmap.compiled import compiled

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nmap", "targets/nmap_loihi2", "targets/nmap_toy")
SCRIPT = """
import ctypes
import sys
import numpy as np
import nmap
from nmap.emulate.native import routine
from nmap.place.anneal import search
from nmap.place.board import Board
from nmap.place.problem import PlacementProblem
from nmap.testing.kernels import run_kernel
from nmap_loihi2.kernels import LIF as cuba
from nmap_toy.kernels import LIF as toy

assert nmap.__file__.startswith(sys.argv[1]), nmap.__file__
weights, out = np.full((3, 32), 5, np.int8), np.zeros(32, np.int32)
matrix, sources = np.array([weights.ctypes.data, 32, 32]), np.array([0, 2], np.int32)
add = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 5)(routine("matrix", 8, 0, 32, False).address)
add(matrix.ctypes.data, sources.ctypes.data, 0, 2, out.ctypes.data)
assert out.tolist() == [10] * 32
for kernel, params in ((toy, [0, 0, 8]), (cuba, [4095, 0, 1, 0, 0])):
    spikes, _ = run_kernel(kernel, dict(zip(kernel.params, params)), np.zeros((len(kernel.state), 1)), np.full((1, 1, 1), 20))
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
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))

    @compiled("int64(int64)")
    def double(value: int) -> int:
        return 2 * value

    assert not list(tmp_path.rglob("*"))
    assert double(21) == 42
    assert [path.name.rpartition("_")[0] for path in tmp_path.rglob("*") if path.is_file()] == ["double"]


def test_a_full_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("pathlib.Path.replace", full)

    @compiled("int64(int64)")
    def triple(value: int) -> int:
        return 3 * value

    assert triple(14) == 42
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_other_failures_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    @compiled("int64(int64)")
    def wrong(value: int) -> int:
        return value.no_such_thing  # type: ignore[attr-defined]

    for _ in range(2):
        with pytest.raises(numba.core.errors.TypingError):
            wrong(1)

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("another failure")

    monkeypatch.setattr("nmap.numba_code.njit", fail)
    with pytest.raises(RuntimeError, match="another failure"):
        compiled()(fail)()


def test_a_signature_is_the_only_one() -> None:
    @compiled("int64(int64)")
    def half(value: int) -> int:
        return value // 2

    assert half(5) == 2
    with pytest.raises(TypeError):
        half("5")


def test_functions_that_call_each_other() -> None:
    @compiled(inline="always")
    def square(value: int) -> int:
        return value * value

    @compiled("int64(int64)")
    def sum_of_squares(n: int) -> int:
        return 0 if n == 0 else square(n) + sum_of_squares(n - 1)

    assert sum_of_squares(4) == 30


def test_threads_make_functions_ready_together() -> None:
    @compiled()
    def inner(value: int) -> int:
        return value + 1

    @compiled("int64(int64)")
    def outer(value: int) -> int:
        return inner(value) * 2

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda k: outer(k) if k % 2 else inner(k), range(8))) == [1, 4, 3, 8, 5, 12, 7, 16]


@pytest.mark.parametrize("statement", [
    "import nmap.compiled", "import nmap.cli.main", "from nmap import Options, deploy, read", "import nmap_loihi2, nmap_toy",
    "import nmap_cpsat.packing, nmap_cpsat.placing, nmap_greedy, nmap_loihi_reference",
    "from nmap.cli.main import run; run(['--help'])", "from nmap.cli.main import run; run(['targets'])",
    f"from nmap.cli.main import run; run(['inspect', {str(ROOT / 'examples/digits/net.h5')!r}])",
    f"from nmap.cli.main import run; run(['check', {str(ROOT / 'examples/digits/net.h5')!r}, '--target', 'loihi2'])",
])
def test_what_needs_no_loop_and_no_solver_imports_neither(statement: str) -> None:
    heavy = {"networkx", "numba", "ortools", "pandas", "scipy"}
    code = f"import sys; {statement}; found = {heavy} & set(sys.modules); assert not found, found"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
