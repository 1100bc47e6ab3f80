"""Processes of vendors' tools: what they say, and that nothing they start outlives them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nmap.processes import ask, end_all

LEAVES = "import subprocess, sys; child = subprocess.Popen(['sleep', '60']); print(child.pid, flush=True)"


def _gone(number: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{number}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    return False


def test_a_command_says_what_it_has_to_say() -> None:
    answer = ask([sys.executable, "-c", "import sys; print('out'); sys.stderr.write('err'); sys.exit(3)"], 20)
    assert (answer.returncode, answer.stdout.strip(), answer.stderr) == (3, "out", "err")


def test_what_holds_the_pipes_open_is_ended_in_time(tmp_path: Path) -> None:
    number = tmp_path / "number"
    script = f"{LEAVES}; open({str(number)!r}, 'w').write(str(child.pid))"
    with pytest.raises(subprocess.TimeoutExpired):
        ask([sys.executable, "-c", script], 2)
    assert _gone(int(number.read_text()))


def test_a_command_that_there_is_not_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="missing"):
        ask([str(tmp_path / "missing")], 1)


def test_children_end_with_a_process_that_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", LEAVES], stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        process.wait(20)
        os.kill(child, 0)
        end_all(process)
    assert _gone(child)
    assert process.returncode not in (-signal.SIGTERM, -signal.SIGKILL)
