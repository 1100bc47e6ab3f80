"""Run an emitted Lava program in a process of its own, with a time limit.

Lava forks one process per population and projection and waits for ever when one of them dies, so it is never imported here.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from nmap.connectivity import Array
from nmap.target.backend import VendorRun

__all__ = ["INTERPRETER_VARIABLE", "find_lava", "run_lava"]

INTERPRETER_VARIABLE = "NMAP_LAVA_PYTHON"
"""Environment variable with the path of a Python 3.10 that has Lava, for use from another Python."""

_PACKAGE = "lava-nc"
_GRACE = 3.0
"""Seconds a stopped run has to remove its shared memory."""


def find_lava() -> tuple[str, str] | str:
    """Return (interpreter, version of lava-nc), or the reason why there is none."""
    if sys.version_info[:2] == (3, 10):
        try:
            return sys.executable, version(_PACKAGE)
        except PackageNotFoundError:
            pass
    chosen = os.environ.get(INTERPRETER_VARIABLE)
    if not chosen:
        return (
            'Lava is not installed for this Python: pip install "nmap-snn[lava]" on Python 3.10, '
            f"or set {INTERPRETER_VARIABLE} to a Python 3.10 that has it"
        )
    question = f"from importlib.metadata import version; print(version({_PACKAGE!r}))"
    try:
        answer = subprocess.run([chosen, "-c", question], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        return f"{INTERPRETER_VARIABLE} is `{chosen}`, which cannot say its version of {_PACKAGE}: {reason.strip().splitlines()[-1]}"
    return chosen, answer.stdout.strip()


def _stop(process: subprocess.Popen[str]) -> None:
    """End a run and everything it forked."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            break
        try:
            process.communicate(timeout=_GRACE)
        except subprocess.TimeoutExpired:
            continue


def run_lava(folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
    """Run `network.py` in a folder written by `emit` on Lava's fixed-point models.

    Args:
        folder: where the files lie.
        inputs: (samples, time, input neurons) integers.
        steps: chip steps per sample.
        timeout: seconds until the run is given up and every process of it ended.

    Returns:
        Spikes of every population, (samples, steps, neurons) int32; or the reason why there are none.
    """
    found = find_lava()
    if isinstance(found, str):
        return VendorRun(_PACKAGE, None, missing=found)
    interpreter, lava_version = found
    with tempfile.TemporaryDirectory(prefix="nmap-lava-") as scratch:
        source, result = Path(scratch) / "inputs.npz", Path(scratch) / "spikes.npz"
        np.savez(source, inputs=np.asarray(inputs, np.int32))
        command = [interpreter, str((folder / "network.py").resolve()), "--input", str(source), "--output", str(result)]
        process = subprocess.Popen(
            [*command, "--steps", str(steps), "--probe"], cwd=scratch, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True,
        )
        try:
            _, errors = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            return VendorRun(_PACKAGE, lava_version, missing=f"Lava did not finish within {timeout:g} s and was stopped")
        finally:
            # Also after a normal end: a crashed run leaves children behind that wait for ever.
            _stop(process)
        if process.returncode != 0 or not result.is_file():
            last = (errors.strip().splitlines() or ["no message"])[-1]
            return VendorRun(_PACKAGE, lava_version, missing=f"Lava stopped with status {process.returncode}: {last}")
        with np.load(result) as file:
            spikes = {name.removesuffix(".spikes"): file[name] for name in file.files if name.endswith(".spikes")}
    return VendorRun(_PACKAGE, lava_version, spikes)
