"""Processes of vendors' tools, in a group of their own: what they start is ended with them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

__all__ = ["ask", "end_all", "last_line", "version_elsewhere"]

_GRACE = 3.0
"""Seconds that a process has to clean up, to remove shared memory for example, before it is killed."""


def ask(command: Sequence[str], limit: float) -> subprocess.CompletedProcess[str]:
    """Run a command that says something about itself, without input, and end what it leaves behind.

    Args:
        command: the program and its arguments.
        limit: seconds that it has.

    Raises:
        OSError: it cannot be run.
        subprocess.TimeoutExpired: it did not end in time, or left something that holds its pipes open.
    """
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True,
    ) as process:
        try:
            answer, errors = process.communicate(timeout=limit)
        finally:
            end_all(process)
    return subprocess.CompletedProcess(command, process.returncode, answer, errors)


def version_elsewhere(variable: str, package: str, limit: float) -> tuple[str, str] | str | None:
    """Return what another Python says of a package: (interpreter, version), or why it says nothing; None where no Python is named.

    Args:
        variable: of the environment, which names the interpreter.
        package: name of its distribution.
        limit: seconds that the interpreter has.
    """
    chosen = os.environ.get(variable)
    if not chosen:
        return None
    what = f"{variable} is `{chosen}`, which"
    try:
        answer = ask([chosen, "-c", f"from importlib.metadata import version; print(version({package!r}))"], limit)
    except OSError as error:
        return f"{what} cannot be run: {error.strerror or error}"
    except subprocess.TimeoutExpired:
        return f"{what} did not answer within {limit:g} s"
    if answer.returncode:
        return f"{what} cannot say its version of {package}: {last_line(answer.stderr)}"
    if not answer.stdout.strip():
        return f"{what} does not answer as a Python does"
    return chosen, answer.stdout.strip()


def last_line(text: str) -> str:
    """Return the last line of a message that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def end_all(process: subprocess.Popen[Any]) -> None:
    """End a process and everything that it started, also after its own end; it leads a session of its own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.communicate(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            continue
