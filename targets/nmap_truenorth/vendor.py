"""Run an emitted RANC model on RANC's own simulator, in a process of its own, with a time limit."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Check
from nmap.processes import ask, end_all
from nmap.target.backend import VendorRun

__all__ = ["SIMULATOR_VARIABLE", "find_ranc", "ranc_tools", "run_vendor"]

SIMULATOR_VARIABLE = "NMAP_RANC"
"""Environment variable with the path of RANC's simulator."""

_NAME = "RANC"
_HELP = (
    f"build it from github.com/UA-RCL/RANC (`cmake -S simulator -B build && cmake --build build`) and set {SIMULATOR_VARIABLE} to "
    "build/ranc_sim"
)
_ASK_TIMEOUT = 10.0
"""Seconds the simulator has to print its help."""
_WORDS = 4096
"""Bytes of what a failed run printed that are looked at."""


def find_ranc() -> tuple[Path, str] | str:
    """Return RANC's simulator and the first digits of its digest, for it has no version; or the reason why there is none."""
    chosen = os.environ.get(SIMULATOR_VARIABLE)
    if not chosen:
        return f"RANC's simulator is not named: {_HELP}"
    path, what = Path(chosen), f"{SIMULATOR_VARIABLE} is `{chosen}`, which"
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        answer = ask([str(path.absolute()), "-h"], _ASK_TIMEOUT)
    except OSError as error:
        return f"{what} cannot be run: {error.strerror or error}"
    except subprocess.TimeoutExpired:
        return f"{what} did not answer within {_ASK_TIMEOUT:g} s"
    if "RANC" not in answer.stdout:
        return f"{what} does not answer as RANC's simulator does"
    return path.absolute(), f"sha256 {digest[:12]}"


def ranc_tools() -> tuple[Check, ...]:
    """Return whether RANC's simulator is there, for `nmap doctor`."""
    found = find_ranc()
    if not isinstance(found, str):
        return (Check(_NAME, "ok", f"{found[0]}, {found[1]}"),)
    if os.environ.get(SIMULATOR_VARIABLE):
        return (Check(_NAME, "broken", found, _HELP),)
    return (Check(_NAME, "absent", f"{SIMULATOR_VARIABLE} is not set", _HELP),)


def run_vendor(folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:
    """Return the output populations' spikes as RANC's simulator computes them, or the reason why there are none.

    Args:
        folder: where the files of `nmap_truenorth.emit` lie.
        inputs: (samples, time, input neurons) integers, the ports side by side; any number but 0 is a spike.
        steps: chip steps per sample.
        timeout: seconds until the run is given up and its process ended.
    """
    found = find_ranc()
    if isinstance(found, str):
        return VendorRun(_NAME, None, missing=found)
    simulator, version = found
    try:
        connectors = json.loads((folder / "connectors.json").read_bytes())
        ranc = connectors["ranc"]
        if "why_not" in ranc:
            return VendorRun(_NAME, version, missing=f"RANC cannot run this program: {'; '.join(ranc['why_not'])}")
        model = json.loads((folder / ranc["model"]).read_bytes())
        config = (folder / ranc["config"]).resolve(strict=True)
        pins = _pins(connectors)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return VendorRun(_NAME, version, missing=f"the emitted RANC files cannot be read: {error}")
    if ranc["ticks"] is not None and steps > ranc["ticks"]:
        known = f"{ranc['ticks']} ticks, after which a membrane may reach its floor, and {steps} were asked for"
        return VendorRun(_NAME, version, missing=f"RANC's model is proved to be the same for {known}")
    del model["packets"]
    rest = json.dumps(model, separators=(",", ":"))[1:]
    spikes = {
        output["name"]: np.zeros((len(inputs), steps, len(output["neurons"])), np.int32) for output in connectors["outputs"]
    }
    end = time.monotonic() + timeout
    with tempfile.TemporaryDirectory(prefix="nmap-ranc-") as scratch:
        source = Path(scratch) / "in.json"
        for number, sample in enumerate(inputs):
            packets = json.dumps(_packets(sample, pins), separators=(",", ":"))
            source.write_text(f'{{"packets":{packets},{rest}', encoding="ascii")
            bus = _run(simulator, source, config, steps, end - time.monotonic(), model["output_bus"]["num_outputs"])
            if isinstance(bus, str):
                return VendorRun(_NAME, version, missing=bus.format(timeout=f"{timeout:g} s"))
            for output in connectors["outputs"]:
                first, values = output["first_line"], spikes[output["name"]]
                values[number] = bus[:, first : first + values.shape[2]]
    return VendorRun(_NAME, version, spikes)


def _pins(connectors: dict[str, Any]) -> list[list[tuple[int, int, int, int]]]:
    """Return (x, y, axon, further steps) of every pin of every input neuron, the ports side by side."""
    places = connectors["ranc"]["cores"]
    return [
        [(*places[core], axon, delay) for core, axon, delay in neuron] for port in connectors["inputs"] for neuron in port["neurons"]
    ]


def _packets(sample: Array, pins: list[list[tuple[int, int, int, int]]]) -> list[list[dict[str, Any]]]:
    """Return RANC's packets by tick for a sample, (time, input neurons)."""
    ticks: list[list[dict[str, Any]]] = [[] for _ in range(len(sample) + 1 + max((pin[3] for neuron in pins for pin in neuron), default=0))]
    for step, neuron in np.argwhere(sample):
        for x, y, axon, delay in pins[neuron]:
            ticks[step + 1 + delay].append({"destination_core": [x, y], "destination_axon": axon, "destination_tick": 0})
    return ticks


def _run(simulator: Path, source: Path, config: Path, steps: int, timeout: float, lines: int) -> Array | str:
    """Return what appeared on the output bus, (steps, lines) uint8, or what went wrong."""
    result, said = source.with_name("out.txt"), source.with_name("said.txt")
    result.unlink(missing_ok=True)
    # The bus shows in row r what was sent in tick r - 1, so one more tick is run.
    command = [str(simulator), "-i", str(source), "-o", str(result), "-c", str(config), "--ticks", str(steps + 1), "-r", "1000000000"]
    with said.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=source.parent, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )
        try:
            process.wait(max(0.0, timeout))
        except subprocess.TimeoutExpired:
            return "RANC's simulator did not finish within {timeout} and was stopped"
        finally:
            end_all(process)
    if process.returncode != 0 or not result.is_file():
        text = said.read_bytes()[-_WORDS:].decode(errors="replace").strip().splitlines()
        # Braces would be taken for the place of a number.
        words = (text[-1] if text else "no message").replace("{", "(").replace("}", ")")
        return f"RANC's simulator stopped with status {process.returncode}: {words}"
    rows = result.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    if len(rows) != steps + 1 or any(len(row) != 2 * lines for row in rows):
        return f"RANC's simulator wrote {len(rows)} rows, not {steps + 1} of {lines} lines"
    return np.frombuffer(b"".join(rows[1:]), np.uint8).reshape(steps, 2 * lines)[:, ::2] == ord("1")
