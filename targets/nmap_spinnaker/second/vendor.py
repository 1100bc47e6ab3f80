"""Run the emitted script with py-spinnaker2's own simulator, where that is installed. Best effort: no such installation was at hand."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Check
from nmap.target.backend import VendorRun

__all__ = ["run_vendor", "vendor_tools"]

_PACKAGE, _MODULE = "py-spinnaker2", "spinnaker2"
_ABSENT = "py-spinnaker2 is not installed for this Python; it is not on PyPI (https://gitlab.com/spinnaker2/py-spinnaker2)"
_SPIKES = ".spikes"


def run_vendor(folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
    """Run `run.py` on py-spinnaker2's Brian2 backend, in a process of its own; untested. See `nmap.target.backend.Target.run_vendor`.

    That backend computes in float64, and its lif_curr_exp is documented to differ from the chip's.
    """
    found = _version()
    if found is None:
        return VendorRun(_PACKAGE, None, missing=_ABSENT)
    with tempfile.TemporaryDirectory(prefix="nmap-spinnaker2-") as scratch:
        source, result = Path(scratch) / "inputs.npz", Path(scratch) / "spikes.npz"
        np.savez(source, inputs=np.asarray(inputs, np.int32))
        command = [sys.executable, str((folder / "run.py").resolve()), "--input", str(source), "--out", str(result)]
        try:
            done = subprocess.run(
                [*command, "--steps", str(steps), "--brian2", "--probe", "all", "--raw-time"], cwd=scratch, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, errors="replace", timeout=timeout, check=False,
            )
        except subprocess.TimeoutExpired:
            return VendorRun(_PACKAGE, None, missing=f"py-spinnaker2 did not finish within {timeout:g} s and was stopped")
        if done.returncode or not result.is_file():
            lines = done.stderr.strip().splitlines()
            return VendorRun(
                _PACKAGE, None, missing=f"py-spinnaker2 stopped with status {done.returncode}: {lines[-1] if lines else 'no message'}"
            )
        with np.load(result) as file:
            spikes = {name.removesuffix(_SPIKES): file[name] for name in file.files if name.endswith(_SPIKES)}
            spikes = {name: values.reshape(*values.shape[:2], -1) for name, values in spikes.items()}
        return VendorRun(_PACKAGE, found, spikes)


def vendor_tools() -> tuple[Check, ...]:
    """Return whether py-spinnaker2 is in this interpreter."""
    found = _version()
    if found is None:
        return (Check(_PACKAGE, "absent", "not installed in this interpreter; it is not on PyPI, and runs what `spinnaker2` emits"),)
    return (Check(_PACKAGE, "ok", found),)


def _version() -> str | None:
    """Return py-spinnaker2's version, `unknown` where it does not say, None where there is none."""
    if find_spec(_MODULE) is None:
        return None
    for name in (_PACKAGE, _MODULE):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"
