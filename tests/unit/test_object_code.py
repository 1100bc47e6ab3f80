"""Native functions from disk: without numba where they can be, and wherever something does not do what it did."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nmap.compiled import Native, compiled, native
from nmap.object_code import Placed, assemble

PLUGIN = """
from nmap.compiled import compiled, native
from nmap.pointers import atomic_add, call_native, carray, int64_at

@compiled()
def larger(a, b):
    return a if a > b else b

@native("int64(int64, int64)")
def largest(at, n):
    numbers = carray(int64_at(at), n)
    best = numbers[0]
    for k in range(1, n):
        best = larger(best, numbers[k])
    return best

@native("int64(int64, int64)")
def rest(a, b):
    return a % b

@native("void(int64, int64)")
def count(at, times):
    for _ in range(times):
        atomic_add(at, 1)

@native("void(int64, int64, int64)")
def forward(address, at, times):
    call_native(address, (at, times))

@native("int64(int64)")
def choosy(x):
    if x > 3:
        raise ValueError("too large")
    return x + 1
"""
WORK = """
import sys
from array import array
import plug

numbers = array("q", [3, 11, -4, 0])
assert plug.largest(numbers.buffer_info()[0], 4) == 11
assert plug.rest(17, 5) == 2 and plug.rest(17, 0) == 0
total = array("q", [5])
plug.forward(plug.count.address, total.buffer_info()[0], 4)
assert total[0] == 9
print("numba" in sys.modules)
"""


@pytest.fixture
def process(tmp_path: Path) -> Callable[[str], Any]:
    """Return what runs a script beside the plug-in in a process of its own."""
    (tmp_path / "plug.py").write_text(PLUGIN)
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "kept")}
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *([env["PYTHONPATH"]] if "PYTHONPATH" in env else [])])

    def run(script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=120, check=False)

    return run


def test_the_second_process_does_without_numba(process: Callable[[str], Any]) -> None:
    for said in ("True", "False"):
        done = process(WORK)
        assert (done.returncode, done.stdout.strip()) == (0, said), done.stderr


def test_an_error_is_told_by_code_from_disk_too(process: Callable[[str], Any]) -> None:
    for _ in range(2):
        done = process("import plug; print(plug.choosy(3)); plug.choosy(4); print(plug.choosy(1))")
        assert done.stdout.split() == ["4", "2"], done.stderr
        assert "ValueError: too large" in done.stderr


def made() -> Native:
    """Return a function that adds 2 to a number."""

    @native("int64(int64)")
    def two_more(x: int) -> int:
        return x + 2

    return two_more


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where machine code is kept, with that of `made`."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    assert made()(1) == 3
    assert isinstance(_ready(made())._code, Placed)
    return tmp_path / "kept"


def _ready(function: Native) -> Native:
    assert function.address
    return function


def _fail(*_: object, **__: object) -> Any:
    raise AttributeError("another version")


@pytest.mark.parametrize("name", ["binding.create_mcjit_compiler", "binding.ObjectFileRef.from_data", "pickle.loads", "_engine"])
def test_code_that_cannot_be_loaded_is_compiled(kept: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(f"nmap.object_code.{name}", _fail)
    function = _ready(made())
    assert not isinstance(function._code, Placed)
    assert function(40) == 42


@pytest.mark.parametrize("name", ["_without_errors", "_machine", "assemble"])
def test_code_that_cannot_be_kept_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(f"nmap.{'numba_code' if name == 'assemble' else 'object_code'}.{name}", _fail)
    assert made()(40) == 42
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_numba_without_what_keeping_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nmap.numba_cache", None)  # type: ignore[arg-type]

    @compiled("int64(int64)")
    def three_more(x: int) -> int:
        return x + 3

    assert three_more(39) == 42
    assert made()(40) == 42


@pytest.mark.parametrize("name", ["CompileResult._rebuild", "dumps", "add_runtime", "_variant"])
def test_a_numba_that_keeps_code_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    for broken in (False, True, True):
        if broken:
            monkeypatch.setattr(f"nmap.numba_cache.{name}", _fail)

        @compiled("int64(int64)")
        def four_more(x: int) -> int:
            return x + 4

        assert four_more(38) == 42


def test_addresses_of_the_process_are_not_kept() -> None:
    text = """
@numba.dynamic.globals.140 = internal global i64 140
define i64 @f() {
    %x = load i64, ptr @numba.dynamic.globals.140
    ret i64 %x
}
"""
    assert assemble(text, "f") is None
    assert assemble(text.replace("numba.dynamic.globals.140", "own"), "f") is not None
