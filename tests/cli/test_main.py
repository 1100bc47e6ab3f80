"""The entry point: help, version, usage errors, streams, start-up time."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nmap.cli import main
from tests.cli.runner import ROOT, Runner, spawn

COMMANDS = ("deploy", "check", "run", "verify", "export", "report", "inspect", "targets", "doctor")


def test_help_lists_every_command_and_the_exit_statuses(nmap: Runner) -> None:
    result = nmap("--help")
    assert result.status == 0
    listed = [line.split()[0] for line in result.out.split("Commands:")[1].splitlines() if line[2:3].strip()]
    assert listed[: len(COMMANDS)] == list(COMMANDS)
    assert "70 a bug in nmap" in " ".join(result.out.split())
    assert "5 could not tell" in " ".join(result.out.split())
    assert nmap().out == result.out
    assert nmap("-h").out == result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_fits_80_columns(command: str, nmap: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    result = nmap(command, "--help")
    assert result.status == 0
    assert "\x1b" not in result.out
    assert max(map(len, result.out.splitlines())) <= 80


def test_version(nmap: Runner) -> None:
    result = nmap("--version")
    assert result.status == 0
    assert result.out.startswith("nmap-snn ")


@pytest.mark.parametrize("words", [
    "frobnicate", "deploy", "deploy a.h5", "deploy a.h5 --target t --frob", "check a.h5 --target t --effort 7",
    "run b --level gpu --input i",
    "inspect a.h5 --dt soon", "deploy a.h5 b.h5 --target t", "--frob", "check a.h5 --target t --bits 0", "report",
    "check a.h5 --target t -o d",
])
def test_usage_errors_are_one_message_and_exit_2(words: str, nmap: Runner) -> None:
    result = nmap(*words.split())
    assert result.status == 2
    assert result.out == ""
    assert result.err.count("error[NM004]: ") == 1
    assert "Traceback" not in result.err
    report = nmap(*words.split(), "--format", "json")
    assert report.status == 2
    assert report.json["exit_status"] == 2
    assert nmap(*words.split(), "--format=json").json["status"] == "error"


def test_near_misses_are_offered(nmap: Runner) -> None:
    assert "did you mean `nmap deploy`?" in nmap("depoly").err


def test_bug_while_parsing_is_a_crash_not_a_traceback(nmap: Runner, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken(*_args: object) -> None:
        raise RuntimeError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(main.typer.main, "get_command", broken)
    result = nmap("targets")
    assert result.status == 70
    assert result.err.startswith("nmap: a bug in nmap stopped it: RuntimeError")


def test_interruption_while_parsing(nmap: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main.typer.main, "get_command", interrupted)
    assert nmap("targets").status == 130


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_start_imports_nothing_heavy(word: str) -> None:
    code = (
        "import sys; from nmap.cli.main import run; assert run([sys.argv[1]]) == 0;"
        "heavy = {'numba', 'ortools', 'h5py', 'numpy', 'networkx', 'pydantic', 'rich'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code, word], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


def test_start_is_fast() -> None:
    times = []
    for _ in range(3):
        start = time.perf_counter()
        assert spawn("--help").status == 0
        times.append(time.perf_counter() - start)
    # The aim is 0.3 s; a loaded machine gets some air. One import of numba alone takes this long.
    assert min(times) < 1.0


def test_streams_are_split(tmp_path: Path) -> None:
    result = spawn("inspect", tmp_path / "none.nir", "--format", "json")
    assert result.status == 2
    assert json.loads(result.out)["diagnostics"][0]["code"] == "NM101"
    assert result.err.startswith("error[NM101]")
    listing = spawn("targets", NO_COLOR="1")
    assert listing.status == 0
    assert "toy" in listing.out
    assert listing.err == ""


def test_narrow_locale() -> None:
    result = spawn("targets", "toy", PYTHONIOENCODING="ascii")
    assert result.status == 0
    assert result.out.isascii()


def test_reader_that_leaves_early_is_no_error() -> None:
    code = f"{sys.executable} -m nmap.cli targets toy | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "0"


def test_closed_stdout_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as gone:
        command = [sys.executable, "-m", "nmap.cli", "targets", "toy"]
        done = subprocess.run(command, stdout=gone, stderr=subprocess.PIPE, text=True, cwd=ROOT, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A device that takes nothing, of the test's own."""
    path = tmp_path / "full"
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        with path.open("wb") as stream:
            stream.write(b"x")
    except PermissionError:
        pytest.skip("devices cannot be made here")
    except OSError:
        return path
    raise AssertionError("the device takes text")


@pytest.mark.parametrize(("words", "status", "said"), [
    ("targets toy > full", 2, "nmap: output cannot be written: No space left on device\n"),
    ("targets toy --format json > full", 2, "nmap: output cannot be written: No space left on device\n"),
    ("--help > full", 2, "nmap: output cannot be written: No space left on device\n"),
    ("targets toy >&-", 2, "nmap: output cannot be written: the stream is closed\n"),
    ("targets toy > full 2> full", 2, ""),
    ("targets toy >&- 2>&-", 2, ""),
    ("targets toi 2> full", 2, ""),
    ("targets toi 2>&-", 2, ""),
    ("depoly 2>&-", 2, ""),
    ("targets toy 2>&- > /dev/null", 0, ""),
])
def test_streams_that_take_nothing(words: str, status: int, said: str, full: Path) -> None:
    folders = os.pathsep.join(str(ROOT / name) for name in ("", "targets", "partitioners"))
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m nmap.cli {words}"], capture_output=True, text=True, cwd=full.parent, check=False, timeout=60,
        env={**os.environ, "PYTHONPATH": folders},
    )
    assert (done.returncode, done.stderr) == (status, said)
    assert [path.name for path in full.parent.iterdir()] == ["full"]


@pytest.mark.parametrize(("given", "expected"), [({}, "1 1 1"), ({"OPENBLAS_NUM_THREADS": "3", "MKL_NUM_THREADS": "2"}, "3 1 2")])
def test_products_have_one_thread_unless_the_user_says_otherwise(given: dict[str, str], expected: str) -> None:
    """Their library reads the number when numpy is imported: until then it must be set."""
    program = (
        "import os, sys; from nmap.cli.main import run; assert 'numpy' not in sys.modules; "
        "class_ = type('Finder', (), {'find_spec': staticmethod(lambda name, path=None, target=None: seen(name))}); "
        "names = ('OPENBLAS_NUM_THREADS', 'OMP_NUM_THREADS', 'MKL_NUM_THREADS'); told = []; "
        "seen = lambda name: told.append(' '.join(os.environ.get(n, '-') for n in names)) if name == 'numpy' else None; "
        "sys.meta_path.insert(0, class_); "
        "run(['inspect', 'missing.nir']); import numpy; print(told[0])"
    )
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_NUM_THREADS")}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={**environment, **given}, timeout=120,
    )
    assert done.stdout.splitlines()[-1] == expected


def test_the_package_is_the_command_too() -> None:
    done = subprocess.run([sys.executable, "-m", "nmap", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("nmap-snn ")
