"""Machine code kept between runs: found again for the same code only, from folders of one's own only."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

import pytest

from nmap import machine_code
from nmap.compiled import compiled
from nmap.machine_code import Recipe, cache_folder, refusal
from nmap.object_code import Placed

HELPER = """
FACTOR = 3
"""
LOOPS = """
from nmap.compiled import compiled, native
from grown.helper import FACTOR

@compiled()
def times(x):
    return FACTOR * x

@compiled("int64(int64)")
def after(x):
    return times(x) + 1

@native("void(int64)")
def nothing(x):
    pass

def adder(n):
    @compiled("int64(int64)")
    def add(x):
        return x + n
    return add
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the machine code of this test is kept."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "kept"))
    return tmp_path / "kept" / "nmap"


@pytest.fixture
def install(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Return what installs a plug-in package `grown` at a place, changed in some words, and imports its loops as a new process would."""
    places: list[str] = []

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "grown"]:
            del sys.modules[name]
        sys.path[:] = [entry for entry in sys.path if entry not in places]
        importlib.invalidate_caches()
        for memory in (machine_code._read, machine_code._sources, machine_code._file, machine_code._usable, machine_code._versions):
            memory.cache_clear()

    def make(place: str, old: str = "", new: str = "") -> ModuleType:
        forget()
        root = tmp_path / place
        package = root / "grown"
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("")
        for name, text in (("helper", HELPER), ("loops", LOOPS)):
            (package / f"{name}.py").write_text(text.replace(old, new) if old else text)
        places.append(str(root))
        sys.path.insert(0, str(root))
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        return importlib.import_module("grown.loops")

    yield make
    forget()


def from_disk(function: Any) -> bool:
    """Tell whether a function, called before, was loaded rather than compiled."""
    code = function._dispatcher
    return bool(code.stats.cache_hits) and not code.stats.cache_misses


def test_installed_again_elsewhere(install: Callable[..., Any]) -> None:
    first = install("one")
    assert first.after(4) == 13
    assert not from_disk(first.after)
    second = install("two")
    os.utime(second.__file__, (1, 1))
    assert second.after(4) == 13
    assert from_disk(second.after)


def test_a_changed_source_of_another_module(install: Callable[..., Any]) -> None:
    assert install("one").after(4) == 13
    changed = install("two", "FACTOR = 3", "FACTOR = 5")
    assert changed.after(4) == 21
    assert not from_disk(changed.after)
    again = install("one")
    assert again.after(4) == 13
    assert from_disk(again.after)


def test_functions_of_the_same_lines(install: Callable[..., Any]) -> None:
    first = install("one")
    assert (first.adder(1)(10), first.adder(2)(10)) == (11, 12)
    second = install("two")
    twice, once = second.adder(2), second.adder(1)
    assert (once(10), twice(10)) == (11, 12)
    assert from_disk(once)
    assert from_disk(twice)


def test_native_functions(install: Callable[..., Any]) -> None:
    assert install("one").nothing.address
    again = install("two").nothing
    assert again.address
    assert isinstance(again._code, Placed)


@pytest.mark.parametrize("change", ["versions", "setting", "option"])
def test_what_makes_other_code(install: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    assert install("one").times(2) == 6
    other = install("two", "@compiled()", "@compiled(error_model='numpy')" if change == "option" else "@compiled()")
    if change == "versions":
        monkeypatch.setattr("numba.__version__", "0.0")
    elif change == "setting":
        monkeypatch.setenv("NUMBA_OPT", "1")
    assert other.times(2) == 6
    assert not from_disk(other.times)


def test_damaged_entries_are_compiled_anew(install: Callable[..., Any], folder: Path) -> None:
    assert install("one").times(2) == 6
    entries = [path for path in folder.rglob("*") if path.is_file()]
    assert len(entries) == 1
    content = entries[0].read_bytes()
    for damaged in (b"", content[:100], content[:-1] + bytes([content[-1] ^ 1])):
        entries[0].write_bytes(damaged)
        again = install("two")
        assert again.times(2) == 6
        assert not from_disk(again.times)
        later = install("three")
        assert later.times(2) == 6
        assert from_disk(later.times)


def test_errors_come_through_from_disk(install: Callable[..., Any]) -> None:
    for place in ("one", "two"):
        loops = install(place, "FACTOR * x", "FACTOR // x")
        with pytest.raises(ZeroDivisionError):
            loops.after(0)
        assert loops.after(2) == 2
    assert from_disk(loops.after)


@pytest.mark.skipif(os.name != "posix", reason="owners and modes are POSIX's")
def test_folders_that_others_can_write_to(install: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(folder) == ""
    assert install("one").times(2) == 6
    assert folder.stat().st_mode & 0o777 == 0o700
    for mode in (0o770, 0o702):
        folder.chmod(mode)
        assert "others can write" in refusal(folder)
        unsafe = install("two")
        assert unsafe.times(2) == 6
        assert not from_disk(unsafe.times)
    folder.chmod(0o700)
    folder.parent.chmod(0o777)
    assert "everybody can write" in refusal(folder)
    folder.parent.chmod(0o1777)
    assert refusal(folder) == ""
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    if folder.stat().st_uid != 0:
        assert "another user" in refusal(folder)
    else:
        os.chown(folder, 12345, -1)
        assert "another user" in refusal(folder)


def test_a_link_is_judged_by_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "open")
    assert "others can write" in refusal(tmp_path / "link")


def test_old_entries_go(install: Callable[..., Any], folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True)
    now = time.time()
    for k in range(10):
        for name in ("grown.loops", "used.daily"):
            entry = folder / f"{name}-{k:020x}"
            entry.mkdir()
            (entry / "f").write_bytes(b"code")
            os.utime(entry, (now - k - 60, now - k - 60))
    (folder / "long.ago-0").mkdir()
    os.utime(folder / "long.ago-0", (now - 200 * 86400, now - 200 * 86400))
    assert install("one").times(2) == 6
    left = sorted(path.name for path in folder.iterdir())
    assert sum(name.startswith("grown.loops-") for name in left) == 8
    assert f"grown.loops-{6:020x}" in left
    assert f"grown.loops-{7:020x}" not in left
    assert sum(name.startswith("used.daily-") for name in left) == 7
    assert "long.ago-0" not in left


def test_use_keeps_an_entry(install: Callable[..., Any], folder: Path) -> None:
    assert install("one").times(2) == 6
    (entry,) = folder.iterdir()
    os.utime(entry, (1e9, 1e9))
    assert install("two").times(2) == 6
    assert time.time() - entry.stat().st_mtime < 3600


def test_two_processes_at_once(install: Callable[..., Any], folder: Path, tmp_path: Path) -> None:
    install("one")
    script = "from grown.loops import after, times; print(after(4), times(2.5), times(2))"
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "one"), str(root)])}
    running = [subprocess.Popen([sys.executable, "-B", "-c", script], env=env, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=120)[0].split() for process in running] == [["13", "7.5", "6"]] * 2
    again = install("two")
    assert (again.after(4), again.times(2.5), again.times(2)) == (13, 7.5, 6)
    assert from_disk(again.after)
    assert from_disk(again.times)
    assert not list(folder.rglob(".*"))


def test_where_the_folder_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "nmap-snn" / "machine-code"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() == tmp_path / ".cache" / "nmap-snn" / "machine-code"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder() == tmp_path / "Library" / "Caches" / "nmap-snn" / "machine-code"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine" / "nmap"

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NUMBA_CACHE_DIR")
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder() is None


def test_what_a_source_imports() -> None:
    text = "import a.b, c as d\nfrom e import (\n    f,\n    g,\n)\n    from . import h\nfrom ..i.j import k\nfrom .l import *\n"
    found = set(machine_code._imported(text, "top.inner"))
    assert {"a.b", "c", "e", "e.f", "e.g", "top.inner", "top.inner.h", "top.i.j", "top.i.j.k", "top.inner.l"} <= found


def test_functions_without_a_description_are_not_kept(folder: Path) -> None:
    lock = Lock()

    def locked() -> object:
        return lock

    recipe = Recipe(locked)
    assert recipe.name is None
    recipe.save("", b"code")
    assert recipe.load("") is None


def test_functions_around_each_other(folder: Path) -> None:
    @compiled("int64(int64)")
    def factorial(n: int) -> int:
        return 1 if n < 2 else n * factorial(n - 1)

    assert factorial(5) == 120
    assert Recipe(factorial.py_func).name  # type: ignore[attr-defined]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root can give a folder to another user")
def test_whoever_owns_a_folder_above_can_exchange_the_cache(tmp_path: Path) -> None:
    above = tmp_path / "theirs"
    folder = above / "machine-code"
    folder.mkdir(parents=True, mode=0o700)
    assert refusal(folder) == ""
    os.chown(above, 12345, 0)
    assert "belongs to another user" in refusal(folder)
    os.chown(above, 0, 12345)
    above.chmod(0o775)
    assert "a group that is not the user's own" in refusal(folder)
    above.chmod(0o755)
    assert refusal(folder) == ""
