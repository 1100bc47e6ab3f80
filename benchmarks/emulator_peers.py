"""The other simulators: what they need, how they are installed and run.

Every peer runs in a process and an environment of its own and prints one JSON object: `version`, `ms` (milliseconds per step and sample,
one number per repetition), `counts` (spikes of each population in the first sample), for exact peers `digests` of these spikes
(`emulator_networks.digest`), and what else is worth telling.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ENVIRONMENTS", "PEERS", "Answer", "Environment", "Peer", "ask", "install", "interpreter"]

_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class Environment:
    """Packages that are installed together, in the versions that were measured.

    Args:
        pythons: versions of Python they can be installed for, best first.
        packages: what pip is asked for.
        variable: environment variable that names an interpreter that has them already; empty for none.
    """

    pythons: tuple[str, ...]
    packages: tuple[str, ...]
    variable: str = ""


ENVIRONMENTS = {
    "lava": Environment(("3.10",), ("lava-nc==0.10.0",), "NMAP_LAVA_PYTHON"),
    "brian2": Environment(("3.12", "3.13"), ("brian2==2.10.1", "numpy==2.3.5", "setuptools==80.9.0")),
    "nest": Environment(("3.11", "3.12", "3.13"), ("nest-simulator==3.10.0", "numpy==2.4.6")),
    "torch": Environment(
        ("3.11", "3.12"),
        ("torch==2.13.0", "torchvision==0.28.0", "snntorch==1.0.0", "norse==1.1.0", "sinabs==3.1.3", "scipy==1.17.1", "numpy==2.4.6"),
    ),
}


@dataclass(frozen=True, slots=True)
class Peer:
    """A simulator in one form.

    Args:
        title: as printed.
        environment: key of `ENVIRONMENTS`; empty for this interpreter.
        script: beside this file.
        words: further arguments of the script.
        workloads: those it is timed on.
        exact: whether its spikes must equal the chip's.
        memory: GB it needs by workload, where that is much.
    """

    title: str
    environment: str
    script: str
    words: tuple[str, ...]
    workloads: tuple[str, ...]
    exact: bool = False
    memory: tuple[tuple[str, float], ...] = ()


_BATCHES = ("--batches", "1", "16", "64", "256")
_FEW = ("--batches", "1", "4", "16", "32")

PEERS = {
    "lava": Peer("Lava, fixed point", "lava", "emulator_lava.py", (), ("W1", "W2", "W3", "W4", "W5", "pilotnet"), True, (("W4", 6.0),)),
    "lava-lists": Peer(
        "Lava, convolutions as lists", "lava", "emulator_lava.py", ("--unroll",), ("W2", "pilotnet"), True, (("pilotnet", 4.0),)
    ),
    "brian2": Peer("Brian2 C++, float64", "brian2", "emulator_brian2.py", (), ("W1", "W2", "W3", "W4", "W5"), False, (("W4", 10.0),)),
    "brian2-32": Peer(
        "Brian2 C++, float32", "brian2", "emulator_brian2.py", ("--bits", "32"), ("W1", "W2", "W3", "W4", "W5"), False, (("W4", 10.0),)
    ),
    "nest": Peer("NEST", "nest", "emulator_nest.py", (), ("W1", "W2", "W3", "W4", "W5"), False, (("W4", 10.0),)),
    "snntorch": Peer("snnTorch", "torch", "emulator_torch.py", ("--engine", "snntorch"), ("W1", "W2", "W5")),
    "norse": Peer("Norse", "torch", "emulator_torch.py", ("--engine", "norse"), ("W1", "W2", "W5")),
    "sinabs": Peer("Sinabs", "torch", "emulator_torch.py", ("--engine", "sinabs"), ("W1", "W2")),
    "torch": Peer("int32 by hand on torch", "torch", "emulator_torch.py", ("--engine", "torch"), ("W1", "W2", "W5"), True),
    "numpy": Peer("numpy rows", "", "emulator_rows.py", (), ("W1", "W2", "W3", "W4", "W5"), True, (("W4", 5.0),)),
    "scipy": Peer(
        "scipy.sparse rows", "torch", "emulator_rows.py", ("--engine", "scipy"), ("W1", "W2", "W3", "W4", "W5"), True, (("W4", 5.0),)
    ),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer said, or why it said nothing."""

    told: dict[str, Any]
    missing: str | None = None


def interpreter(environment: str, folder: Path | None) -> str | None:
    """Return the interpreter of a peer's environment, or None where it is not installed."""
    if not environment:
        return sys.executable
    named = os.environ.get(ENVIRONMENTS[environment].variable or "-")
    if named:
        return named
    installed = None if folder is None else folder / environment / "bin" / "python"
    return str(installed) if installed is not None and installed.exists() else None


def _free_gb() -> float:
    """Return the memory that is free, in GB; infinity where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024 / 1e9
    except (OSError, StopIteration):
        return float("inf")


def ask(name: str, workload: str, arrays: Path, folder: Path | None, repeat: int, timeout: float) -> Answer:
    """Run a peer on the arrays of a workload, on one thread.

    Args:
        name: key of `PEERS`.
        workload: its name.
        arrays: folder that `emulator_networks.save` wrote.
        folder: where peers are installed.
        repeat: repetitions.
        timeout: seconds after which it is given up.
    """
    peer = PEERS[name]
    python = interpreter(peer.environment, folder)
    if python is None:
        return Answer({}, "not installed")
    need = dict(peer.memory).get(workload, 0.0)
    if need > _free_gb():
        return Answer({}, f"not run: takes {need:g} GB")
    words = [*peer.words]
    if peer.script == "emulator_torch.py":
        words += _FEW if workload == "W2" else _BATCHES
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [python, str(_HERE / peer.script), str(arrays), "--repeat", str(repeat), *words], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", start_new_session=True, env={**os.environ, **single},
    )
    try:
        said, errors = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        return Answer({}, f"not done after {timeout:g} s")
    finally:
        _end(process)
    line = next((text for text in reversed(said.splitlines()) if text.startswith("{")), None)
    if process.returncode or line is None:
        words = [text.strip() for text in errors.splitlines() if text.strip() and "resource_tracker" not in text]
        return Answer({}, f"failed: {words[-1][:200] if words else f'status {process.returncode}'}")
    return Answer(json.loads(line))


def _end(process: subprocess.Popen[str]) -> None:
    """End a peer and everything it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.communicate()


def _python(versions: tuple[str, ...]) -> str | None:
    for version in versions:
        found = shutil.which(f"python{version}")
        asked = [found, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        if found and subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() == version:
            return found
    own = ".".join(map(str, sys.version_info[:2]))
    return sys.executable if own in versions else None


def install(folder: Path, names: list[str] | None = None) -> dict[str, str]:
    """Make a virtual environment per peer; return what came of each: an empty text, or why there is none."""
    folder.mkdir(parents=True, exist_ok=True)
    outcome = {}
    for name, environment in ENVIRONMENTS.items():
        if names is not None and name not in names:
            continue
        python = _python(environment.pythons)
        if python is None:
            outcome[name] = f"needs Python {' or '.join(environment.pythons)}"
            continue
        home = folder / name
        steps = ([python, "-m", "venv", str(home)], [str(home / "bin" / "python"), "-m", "pip", "install", "-q", *environment.packages])
        outcome[name] = ""
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True, check=False)
            if done.returncode:
                shutil.rmtree(home, ignore_errors=True)
                words = [text for text in done.stderr.splitlines() if text.strip()]
                outcome[name] = words[-1] if words else f"status {done.returncode}"
                break
    return outcome
