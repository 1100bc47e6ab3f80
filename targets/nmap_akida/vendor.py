"""What the vendor's package makes of an emitted model: what every layer computes, how it lies on a virtual device, and the files it writes.

The package is proprietary and never imported here: `vendor_driver.py` runs in a process of its own, with a time limit, on a Python that has
it. Whoever installs it accepts its licence, which forbids to publish what comes of testing it; nothing of that is stored by nmap.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Check
from nmap.processes import ask, last_line, version_elsewhere
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Survey, VendorRun
from nmap.target.machine import Machine
from nmap_akida.form import Form
from nmap_akida.model import CORE_MAP, MODEL, layer_names, model_bytes

__all__ = ["INTERPRETER_VARIABLE", "extra_files", "find_akida", "run_vendor", "survey", "vendor_tools"]

INTERPRETER_VARIABLE = "NMAP_AKIDA_PYTHON"
"""Environment variable with the path of a Python that has the vendor's package, for use from another Python."""

_NAME, _PACKAGE = "akida", "akida"
_WHERE = "it exists for CPython 3.10 to 3.12 on Linux and Windows, not for macOS"
_HELP = (
    f'pip install "nmap-snn[akida]" ({_WHERE}; its licence is yours to accept), or set {INTERPRETER_VARIABLE} to a Python that has it'
)
_ASK_TIMEOUT = 20.0
"""Seconds an interpreter has to say its version of the package."""
_SURVEY_TIMEOUT = 300.0
"""Seconds that mapping onto a virtual device may take."""
_MODES = {"AKD1000": ("Minimal",), "AKD1500": ("Minimal", "HwPr")}
"""How the package's mapper is asked to map, in this order: with the fewest NPs, then in as many passes as it takes."""


def find_akida() -> tuple[str, str] | str:
    """Return (interpreter, version of the package), or the reason why there is none; the package is not imported."""
    here = _own_version()
    if here is not None:
        return sys.executable, here
    there = version_elsewhere(INTERPRETER_VARIABLE, _PACKAGE, _ASK_TIMEOUT)
    return f"the package {_PACKAGE} is not installed for this Python ({_this()}): {_HELP}" if there is None else there


def vendor_tools() -> tuple[Check, ...]:
    """Return whether the vendor's package is there, for `nmap doctor`."""
    found = find_akida()
    if not isinstance(found, str):
        return (Check(_NAME, "ok", f"{found[1]} at {found[0]}; samples are run on it only where that is asked for"),)
    if os.environ.get(INTERPRETER_VARIABLE):
        return (Check(_NAME, "broken", found, _HELP),)
    return (Check(_NAME, "absent", f"it is not installed for this Python ({_this()}); it cross-checks `akida`", _HELP),)


def run_vendor(folder: Path, inputs: Array, steps: int, timeout: float) -> VendorRun:  # noqa: ARG001 - a model has no pipeline to fill
    """Return what every layer of the emitted model computes in the package's software engine, or the reason why it does not.

    The neurons of a layer with a fused max pooling cannot be observed, only those of the pooling.

    Args:
        folder: where the files of `nmap_akida.emit` lie; nothing is written there.
        inputs: (samples, inferences, input neurons) integers.
        steps: chip steps, which the package does not count: there is one inference for each of the inputs.
        timeout: seconds until the run is given up and its process ended.
    """
    found = find_akida()
    if isinstance(found, str):
        return VendorRun(_NAME, None, missing=found)
    number = found[1]
    try:
        listed = json.loads((folder / CORE_MAP).read_bytes())["layers"]
        layers = [(str(layer["name"]), str(layer["population"])) for layer in listed]
        # On the emulated chip every population is a step behind the one before it, those that cannot be observed included.
        places = np.cumsum([1 if layer["unobserved"] is None else 2 for layer in listed]).tolist()
        model = (folder / MODEL).resolve(strict=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        return VendorRun(_NAME, number, missing=f"the emitted model cannot be read: {error}")
    samples, inferences, neurons = inputs.shape
    order = {"task": "run", "model": str(model), "layers": [name for name, _ in layers]}
    with tempfile.TemporaryDirectory(prefix="nmap-akida-") as name:
        scratch = Path(name)
        np.save(scratch / "inputs.npy", inputs.reshape(samples * inferences, neurons))
        answer = _carried_out(found[0], scratch, order, timeout)
        if isinstance(answer, str):
            return VendorRun(_NAME, number, missing=answer)
        spikes = {
            population: np.load(scratch / f"output_{k}.npy").reshape(samples, inferences, -1) for k, (_, population) in enumerate(layers)
        }
    return VendorRun(_NAME, number, spikes, first={population: place for (_, population), place in zip(layers, places, strict=True)})


def survey(network: QuantizedNetwork, machine: Machine) -> Survey:
    """Return how the package's own mapper lays a network out on the virtual device of a machine's variant.

    Nothing may be left to the host (`hw_only=True`), and the fewest NPs are asked for. Dense layers are fully connected; where there are
    too few NPs for that, those with flat inputs are tried as convolutions with a kernel of 1, which compute the same.
    """
    found = find_akida()
    if isinstance(found, str):
        return Survey(_NAME, missing=found)
    number = found[1]
    if machine.dead:
        return Survey(_NAME, number, missing="its virtual devices have no dead NPs")
    from nmap_akida.layers import layers_of

    layers = layers_of(network)
    names = dict(zip(layer_names(layers), (layer.name for layer in layers), strict=True))
    dense = {layer.name for layer in layers if layer.form is Form.DENSE}
    most = machine.spec.limits["channels"].max
    flat = {layer.name for layer in layers if layer.in_shape[1:] == (1, 1) and most is not None and layer.in_shape[0] <= most}
    with tempfile.TemporaryDirectory(prefix="nmap-akida-") as folder:
        scratch = Path(folder)
        (scratch / "connected.json").write_bytes(model_bytes(layers, dense))
        (scratch / "convolved.json").write_bytes(model_bytes(layers, dense - flat))
        order = {"task": "survey", "variant": machine.variant, "modes": _MODES[machine.variant]}
        answer = _carried_out(found[0], scratch, order, _SURVEY_TIMEOUT)
    if isinstance(answer, str):
        return Survey(_NAME, number, missing=answer)
    if "refused" in answer:
        return Survey(_NAME, number, fits=False, reason=answer["refused"])
    used = {names[layer]: int(count) for layer, count in answer["layers"].items() if layer in names}
    facts = dict(answer["facts"])
    if answer["convolved"]:
        facts["dense_layers_as_convolutions"] = ", ".join(names[layer] for layer in answer["convolved"])
    return Survey(_NAME, number, fits=True, cores=sum(used.values()), layers=used, facts=facts)


def extra_files(files: Mapping[str, bytes], variant: str) -> dict[str, bytes]:
    """Return what the package makes of an emitted model: `model.fbz`, and a device program for each part of it, `program_<k>.bin`.

    Args:
        files: of `nmap_akida.emit`, by their path in the artefact's folder.
        variant: whose device the program is for.

    Returns:
        Nothing where the package is not there or does not take the model; no program where it does not map it onto the device.
    """
    found = find_akida()
    if isinstance(found, str):
        return {}
    with tempfile.TemporaryDirectory(prefix="nmap-akida-") as folder:
        scratch = Path(folder)
        (scratch / MODEL).write_bytes(files[MODEL])
        order = {"task": "files", "model": str(scratch / MODEL), "variant": variant, "modes": _MODES[variant]}
        answer = _carried_out(found[0], scratch, order, _SURVEY_TIMEOUT)
        if isinstance(answer, str):
            return {}
        names = ["model.fbz", *(f"program_{k}.bin" for k in range(answer["programs"]))]
        return {name: (scratch / name).read_bytes() for name in names}


def _carried_out(interpreter: str, folder: Path, order: Mapping[str, Any], limit: float) -> dict[str, Any] | str:
    """Return the driver's answer to an order, whose other files are in the folder already; or why there is none."""
    (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
    driver = Path(__file__).resolve().with_name("vendor_driver.py")
    try:
        ended = ask([interpreter, str(driver), str(folder)], limit)
    except OSError as error:
        return f"{interpreter} cannot be run: {error.strerror or error}"
    except subprocess.TimeoutExpired:
        return f"the package did not finish within {limit:g} s and was stopped"
    try:
        answer: dict[str, Any] = json.loads((folder / "answer.json").read_bytes())
    except (OSError, ValueError):
        return f"the package's process ended with status {ended.returncode}: {last_line(ended.stderr)}"
    return f"the package refuses the model: {answer['error']}" if "error" in answer else answer


def _own_version() -> str | None:
    """Return the version of the package that this Python has; a folder of the same name beside the user's files is none."""
    try:
        return version(_PACKAGE) if find_spec(_PACKAGE) is not None else None
    except (PackageNotFoundError, ValueError):
        return None


def _this() -> str:
    """Return this Python's version and system, which may be why the package cannot be installed."""
    return f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
