"""Run an emitted Lava program in a process of its own, with a time limit.

Lava forks one process per population and projection and waits for ever when one of them dies, so it is never imported here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Check
from nmap.processes import end_all, version_elsewhere
from nmap.target.backend import VendorRun

__all__ = ["INTERPRETER_VARIABLE", "LavaRun", "find_lava", "lava_tools", "run_lava", "run_program"]

INTERPRETER_VARIABLE = "NMAP_LAVA_PYTHON"
"""Environment variable with the path of a Python 3.10 that has Lava, for use from another Python."""

_PACKAGE = "lava-nc"
_ASK_TIMEOUT = 20.0
"""Seconds an interpreter has to say its version of Lava."""
_LOOK = 0.5
"""Seconds between two looks at the run's children."""
_OWN = "network.py: "
"""What the program's own messages begin with."""
_SPIKES = ".spikes"


@dataclass(frozen=True, slots=True)
class LavaRun:
    """What an emitted program recorded.

    Args:
        version: of lava-nc; None when there is none.
        spikes: (samples, chip steps, neurons) int32 by population.
        states: the same by `population.variable`, after each step, of the variables that Lava's models have; empty when not asked for.
        missing: why there are no records, else None.
    """

    version: str | None
    spikes: dict[str, Array] = field(default_factory=dict)
    states: dict[str, Array] = field(default_factory=dict)
    missing: str | None = None


def find_lava() -> tuple[str, str] | str:
    """Return (interpreter, version of lava-nc), or the reason why there is none."""
    if sys.version_info[:2] == (3, 10):
        try:
            return sys.executable, version(_PACKAGE)
        except PackageNotFoundError:
            pass
    there = version_elsewhere(INTERPRETER_VARIABLE, _PACKAGE, _ASK_TIMEOUT)
    if there is not None:
        return there
    return (
        'Lava is not installed for this Python: pip install "nmap-snn[lava]" on Python 3.10, '
        f"or set {INTERPRETER_VARIABLE} to a Python 3.10 that has it"
    )


def _killed_child(process: subprocess.Popen[str]) -> str | None:
    """Return how one of a run's own children died, or None: on Linux, where /proc tells, and only of a child that failed."""
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii").split()
        for child in children:
            # Everything after the program's name, which may hold any character: the state first, the exit status last.
            fields = Path(f"/proc/{child}/stat").read_text(errors="replace").rpartition(")")[2].split()
            status = int(fields[-1])
            if fields[0] == "Z" and status:
                number = status & 0x7F
                return f"was killed by signal {number}" if number else f"ended with status {status >> 8}"
    except (OSError, ValueError, IndexError):
        # No /proc, or the child was gone before it could be read.
        return None
    return None


def _wait(process: subprocess.Popen[str], timeout: float) -> str | None:
    """Wait for the end of a run and return what it wrote to stderr, or None when it hangs: `timeout` is over."""
    end = time.monotonic() + timeout
    while True:
        left = end - time.monotonic()
        try:
            return process.communicate(timeout=max(0.0, min(left, _LOOK)))[1]
        except subprocess.TimeoutExpired:
            if left <= 0:
                return None
        # Lava waits for ever for a process that is gone.
        died = _killed_child(process)
        if died is not None and process.poll() is None:
            return f"network.py: a process of Lava {died}"


def _last_words(errors: str) -> str:
    """Return the line of stderr that says why a run failed: its own message, else the last line that is not about cleaning up."""
    lines = [line.strip() for line in errors.splitlines() if line.strip() and "resource_tracker" not in line]
    own = [line.removeprefix(_OWN) for line in lines if line.startswith(_OWN)]
    return own[0] if own else lines[-1] if lines else "no message"


def run_program(folder: Path, inputs: Array, steps: int, timeout: float, *, states: bool = False) -> LavaRun:
    """Run `network.py` in a folder written by `emit` on Lava's fixed-point models.

    Args:
        folder: where the files lie.
        inputs: (samples, time, input neurons) integers, the ports side by side.
        steps: chip steps per sample.
        timeout: seconds until the run is given up and every process of it ended.
        states: record the neurons' states, too.
    """
    found = find_lava()
    if isinstance(found, str):
        return LavaRun(None, missing=found)
    interpreter, lava_version = found
    with tempfile.TemporaryDirectory(prefix="nmap-lava-") as scratch:
        source, result = Path(scratch) / "inputs.npz", Path(scratch) / "spikes.npz"
        np.savez(source, inputs=np.asarray(inputs, np.int32))
        command = [interpreter, str((folder / "network.py").resolve()), "--input", str(source), "--output", str(result)]
        process = subprocess.Popen(
            [*command, "--steps", str(steps), *(["--states"] if states else []), "--probe"], cwd=scratch, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
        )
        try:
            errors = _wait(process, timeout)
        finally:
            # Also after a normal end: a crashed run leaves children behind that wait for ever.
            end_all(process)
        if errors is None:
            return LavaRun(lava_version, missing=f"Lava did not finish within {timeout:g} s and was stopped")
        if process.returncode != 0 or not result.is_file():
            return LavaRun(lava_version, missing=f"Lava stopped with status {process.returncode}: {_last_words(errors)}")
        with np.load(result) as file:
            spikes = {name.removesuffix(_SPIKES): file[name] for name in file.files if name.endswith(_SPIKES)}
            # What is left are the outputs' spikes once more, as `spikes` or `spikes.NAME`.
            traced = [name for name in file.files if states and not name.endswith(_SPIKES) and not f"{name}.".startswith("spikes.")]
            return LavaRun(lava_version, spikes, {name: file[name] for name in traced})


def run_lava(folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
    """Return the spikes of `run_program`, of every population, or the reason why there are none."""
    run = run_program(folder, inputs, steps, timeout)
    return VendorRun(_PACKAGE, run.version, run.spikes, run.missing)


def lava_tools() -> tuple[Check, ...]:
    """Return whether Lava is in this interpreter, and in the one that the environment names."""
    try:
        here = Check(_PACKAGE, "ok", version(_PACKAGE))
    except PackageNotFoundError:
        here = Check(_PACKAGE, "absent", "not installed in this interpreter; it cross-checks `loihi2`")
    return here, _named_interpreter()


def _named_interpreter() -> Check:
    name, interpreter = INTERPRETER_VARIABLE, os.environ.get(INTERPRETER_VARIABLE)
    if not interpreter:
        return Check(name, "absent", "not set; it names an interpreter that has lava-nc")
    question = f"import importlib.metadata as m; print(m.version('{_PACKAGE}'))"
    remedy = f"create it: python3.10 -m venv DIR, DIR/bin/pip install {_PACKAGE}, then set {name}=DIR/bin/python"
    try:
        answer = subprocess.run(
            [interpreter, "-c", question], capture_output=True, text=True, timeout=_ASK_TIMEOUT, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        return Check(name, "broken", f"{interpreter} did not answer within {_ASK_TIMEOUT:g} s", remedy)
    except OSError as error:
        return Check(name, "broken", f"{interpreter} cannot be run: {error}", remedy)
    if answer.returncode:
        return Check(name, "broken", f"{interpreter} has no {_PACKAGE}", remedy)
    return Check(name, "ok", f"{interpreter} has {_PACKAGE} {answer.stdout.strip()}")
