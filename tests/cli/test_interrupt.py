"""Ctrl-C while a mapping is searched: the end of it, or with `--keep-best` the best so far."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nmap.cli.interrupt import FirstInterrupt
from nmap.cli.serve import TERMINATED, Progress, Reply, Screen, answer, terminable
from nmap.report.json import schema
from tests.cli.runner import ROOT, Result, Runner
from tests.unit.report.schema_check import problems

PLUGIN = '''
import os, time
from pathlib import Path
from nmap_greedy import Greedy

class Slow(Greedy):
    def _wait(self, stage, budget):
        if os.environ["SLOW_STAGE"] != stage:
            return
        Path("searching").touch()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            time.sleep(0.005)
            if budget.over:
                Path("stopped").touch()
                if "SLOW_DEAF" not in os.environ:
                    return
        raise RuntimeError("nobody stopped the search")

    def pack(self, problem, budget):
        self._wait("partition", budget)
        return Greedy.pack(self, problem, budget)

    def place(self, problem, budget):
        self._wait("place", budget)
        return Greedy.place(self, problem, budget)

PARTITIONER = Slow("slow")
'''
"""A partitioner whose search has no end of its own in the stage that SLOW_STAGE names."""

SLOW = ("--target", "toy", "--partitioner", "slow", "-o", "out", "--format", "json")
RUN = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); from nmap.cli.main import run; sys.exit(run())"


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A folder with a partitioner `slow` that its metadata makes known."""
    folder = tmp_path / "plugin"
    info = folder / "slow-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "slow.py").write_text(textwrap.dedent(PLUGIN))
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[nmap.partitioners]\nslow = slow:PARTITIONER\n")
    return folder


@contextmanager
def started(plugin: Path, net: Path, stage: str, *words: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a deployment until its search has begun."""
    for name in ("searching", "stopped"):
        Path(name).unlink(missing_ok=True)
    folders = [str(plugin), *(str(ROOT / name) for name in ("", "targets", "partitioners"))]
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, "deploy", str(net), *SLOW, *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders), "SLOW_STAGE": stage, **environment},
    )
    try:
        wait_for("searching", process)
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(name: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not Path(name).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, f"no `{name}`"
        time.sleep(0.01)


def interrupt(process: subprocess.Popen[str]) -> Result:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    return Result(process.returncode, out, err)


@pytest.mark.parametrize(("stage", "stopped"), [("partition", (True, True)), ("place", (False, True))])
def test_keep_best_goes_on_to_a_proved_bundle(stage: str, stopped: tuple[bool, bool], plugin: Path, net: Path, nmap: Runner) -> None:
    with started(plugin, net, stage, "--keep-best") as process:
        result = interrupt(process)
    assert result.status == 0, result.err
    report = result.json
    assert problems(report, schema(), closed=True) == []
    assert (report["partition"]["interrupted"], report["placement"]["interrupted"]) == stopped
    assert report["verification"]["chip_vs_fixed"]["mismatches"] == 0
    (note,) = [d for d in report["diagnostics"] if d["code"] == "NM502"]
    assert note["severity"] == "note"
    assert "do not give this bundle again" in note["why"]
    assert json.loads(Path("out/manifest.json").read_text())["interrupted"] is True
    assert json.loads(Path("out/report.json").read_text())["placement"]["interrupted"] is True
    # Its lock is none to keep to.
    result = nmap("deploy", net, "--target", "toy", "--partitioner", "greedy", "-o", "out", "--locked")
    assert result.status == 2
    assert "interrupted is absent, the lock has true" in " ".join(result.err.split())


def test_without_keep_best_the_old_bundle_stays(plugin: Path, net: Path, nmap: Runner) -> None:
    assert nmap("deploy", net, "--target", "toy", "--partitioner", "greedy", "-o", "out").status == 0
    before = {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()}
    with started(plugin, net, "place") as process:
        result = interrupt(process)
    assert (result.status, result.out) == (130, "")
    assert "nmap: interrupted" in result.err
    assert {path: path.read_bytes() for path in Path("out").rglob("*") if path.is_file()} == before


def test_the_second_interrupt_aborts(plugin: Path, net: Path) -> None:
    with started(plugin, net, "place", "--keep-best", "-v", SLOW_DEAF="1") as process:
        process.send_signal(signal.SIGINT)
        wait_for("stopped", process)
        result = interrupt(process)
    assert result.status == 130
    assert "taking the best so far; Ctrl-C again aborts" in result.err
    assert not Path("out").exists()


def test_handler_is_there_only_around_a_search() -> None:
    before, told = signal.getsignal(signal.SIGINT), []
    keep = FirstInterrupt()
    with keep(lambda: told.append(1)) as stopped:
        assert not stopped()
        signal.raise_signal(signal.SIGINT)
        assert (stopped(), told) == (True, [1])
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    # The wish holds for the searches that follow.
    with keep(lambda: told.append(2)) as stopped:
        assert stopped()
    assert told == [1]


def test_other_threads_leave_signals_alone() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def work() -> None:
        with FirstInterrupt()(lambda: None) as stopped:
            seen.append((stopped(), signal.getsignal(signal.SIGINT) is before))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, True)]


def test_a_handler_is_put_back_after_a_failure() -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="broken"), FirstInterrupt()(lambda: None):
        raise ValueError("broken")
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("words", [(), ("--keep-best",)])
def test_sigterm_ends_a_search_whatever_ctrl_c_means(words: tuple[str, ...], plugin: Path, net: Path) -> None:
    with started(plugin, net, "place", *words) as process:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert "nmap: terminated" in err
    assert not Path("out").exists()


LAVA = """#!/bin/sh
sleep 600 &
echo $$ $! > "$HANGING.new"
mv "$HANGING.new" "$HANGING"
wait
"""
"""An interpreter that hangs, and so does a child of it; it says which processes these are."""


def lives(process: int) -> bool:
    """Whether a process runs; an orphan that was killed may stay a zombie where nothing reaps it."""
    stat = Path(f"/proc/{process}/stat")
    if stat.parent.parent.joinpath("self").exists():
        return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_sigterm_leaves_nothing_of_the_vendors_run(net: Path, work: Path) -> None:
    script, hanging, scratch = work / "python", work / "hanging", work / "scratch"
    script.write_text(LAVA)
    script.chmod(0o755)
    scratch.mkdir()
    words = ("deploy", "net.nir", "--target", "loihi2", "--partitioner", "greedy", "--effort", "0", "-o", "out", "-v")
    folders = [str(ROOT / name) for name in ("", "targets", "partitioners")]
    start = (
        "import sys; from nmap.cli.main import run; from nmap_loihi2 import vendor; "
        f"vendor.find_lava = lambda: ({str(script)!r}, '9.9'); sys.exit(run())"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", start, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders), "HANGING": str(hanging), "TMPDIR": str(scratch)},
    )
    try:
        wait_for(str(hanging), process)
        assert all(lives(int(number)) for number in hanging.read_text().split())
        assert any(path.name.startswith("nmap-lava-") for path in scratch.iterdir())
        # As `timeout` does it: to the process, and to its group.
        for _ in range(2):
            process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 143, err
    assert "nmap: terminated" in err
    assert re.search(r"verify +vendor  lava runs samples 1 to \d+ of \d+, stopped after \d+ s", err), err
    assert not Path("out").exists()
    assert [path.name for path in scratch.iterdir() if path.name.startswith("nmap-")] == []
    assert [lives(int(number)) for number in hanging.read_text().split()] == [False, False]


def test_sigterm_is_handled_only_while_a_command_runs() -> None:
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    with terminable() as came:
        assert not came()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert came()
        # The second one does not interrupt the tidying up.
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_someone_else_stays() -> None:
    seen = []
    signal.signal(signal.SIGTERM, lambda _number, _frame: seen.append(1))
    try:
        with terminable() as came:
            signal.raise_signal(signal.SIGTERM)
            assert (seen, came()) == ([1], False)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_sigterm_that_compiled_code_swallows_comes_again() -> None:
    class Swallowing:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    def work(_screen: Screen, _progress: Progress) -> Reply:
        thing = Swallowing()
        del thing
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            time.sleep(0.005)
        raise AssertionError("nobody ended the work")

    with terminable() as came:
        assert answer(Screen(), work) == TERMINATED == 143
        assert came()
