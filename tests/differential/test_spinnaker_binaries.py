"""SpiNNaker 1's shipped core binaries on fresh random networks: every potential, synaptic input and spike of every step.

The environment variable NMAP_SPYNNAKER_PYTHON names an interpreter that has sPyNNaker 7.4.1 and Unicorn 2; without it, this interpreter
if it has both. NMAP_SPYNNAKER_SEEDS (such as `3,4,5`) names other networks than the usual ones.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.oracles import spinnaker_binaries
from tests.unit.spinnaker.test_vectors import cells_of, check_simulator_and_emulator, differences, expected

TOOL = Path(spinnaker_binaries.__file__)
SEEDS = [int(seed) for seed in os.environ.get("NMAP_SPYNNAKER_SEEDS", "100").split(",")]
PRESENT = "import importlib.util as u, sys; sys.exit(not all(u.find_spec(name) for name in ('spynnaker', 'unicorn')))"


@pytest.fixture(scope="module")
def interpreter() -> str:
    """Return an interpreter that can run the binaries."""
    found = os.environ.get("NMAP_SPYNNAKER_PYTHON", sys.executable)
    if subprocess.run([found, "-c", PRESENT], check=False, timeout=60).returncode:
        pytest.skip(f"{found} has not both sPyNNaker and Unicorn (NMAP_SPYNNAKER_PYTHON names an interpreter that has)")
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_random_network_on_the_binaries(interpreter: str, seed: int, tmp_path: Path) -> None:
    file = tmp_path / f"seed_{seed}.npz"
    made = subprocess.run(
        [interpreter, str(TOOL), "random", str(seed), str(file)], check=False, capture_output=True, text=True, timeout=900, cwd=tmp_path
    )
    assert made.returncode == 0, made.stderr[-2000:]
    (meta, arrays), found = expected(file)
    drawn, _ = spinnaker_binaries.random_recipe(seed).build()
    assert [entry["size"] for entry in meta["populations"]] == [entry["size"] for entry in drawn["populations"]]
    assert set(differences(meta, arrays, found).values()) == {0}
    assert any(np.any(arrays[f"r{number}.v"]) for number in cells_of(meta))
    check_simulator_and_emulator(file)
