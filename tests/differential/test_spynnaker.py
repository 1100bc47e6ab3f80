"""The emitted script mapped by sPyNNaker itself, in virtual mode: places, memory images and routes are those of the program.

Needs sPyNNaker 7.4.1, in this Python or in the one that NMAP_SPYNNAKER_PYTHON names; a run takes 5 to 20 seconds.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap_spinnaker.emit import emit
from nmap_spinnaker.reread import read_folder
from nmap_spinnaker.vendor import compare, find_spynnaker, run_vendor
from tests.spinnaker_programs import convolved, layered, ringed

FOUND = find_spynnaker()
pytestmark = pytest.mark.skipif(isinstance(FOUND, str), reason=FOUND if isinstance(FOUND, str) else "")

MAKERS: dict[str, Callable[[], Any]] = {
    "delta, pieces far from each other, 1 ms": layered, "integrators, 0.1 ms": lambda: layered(3, "if_trunc", 100),
    "convolution in boxes of two sizes": convolved, "delays as long as the rings": ringed,
}


def _written(folder: Path, made: Any) -> Path:
    folder.mkdir()
    for name, content in emit(*made).items():
        (folder / name).write_bytes(content)
    return folder


def _samples(network: Any, samples: int, steps: int = 12) -> np.ndarray:
    size = sum(network[name].size for name in network.inputs)
    return (np.random.default_rng(6).random((samples, steps, size)) < 0.4).astype(np.int32)


@pytest.mark.parametrize("name", MAKERS)
def test_the_vendor_would_load_exactly_the_program(tmp_path: Path, name: str) -> None:
    made = MAKERS[name]()
    run = run_vendor(_written(tmp_path / "spynnaker", made), _samples(made[0], 1), 20, 200.0)
    assert run.missing is None
    assert run.version is not None
    assert (run.compared, run.differences, run.spikes) == ("mapping", (), {})
    assert run.facts["cores"] == len(made[1].cores)
    assert 0 < int(run.facts["largest_table"]) <= 1023


def test_several_samples_and_records_are_mapped_once_and_a_change_is_seen(tmp_path: Path) -> None:
    made = layered(4, "if_curr_exp", 2000)
    folder = _written(tmp_path / "spynnaker", made)
    inputs = _samples(made[0], 3)
    # A sample without any spike, and the busiest one last.
    inputs[1], inputs[2, 5] = 0, 1
    np.savez(tmp_path / "samples.npz", inputs=inputs)
    (tmp_path / ".spynnaker.cfg").write_text("[Machine]\n")
    assert not isinstance(FOUND, str)
    run = subprocess.run(
        [FOUND[0], str(folder / "run.py"), "--input", str(tmp_path / "samples.npz"), "--virtual", "--record", "v,gsyn", "--probe", "all",
         "--work", str(tmp_path / "work")],
        env={**os.environ, "HOME": str(tmp_path)}, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert "mapped; sPyNNaker's reports are in " in run.stdout
    assert run.stdout.count("Resetting") + run.stderr.count("Resetting") == 2
    [report] = (tmp_path / "work" / "reports").glob("*/run_1")
    assert compare(read_folder(folder), report)[0] == ()
    other = layered(11, "if_curr_exp", 2000)
    differences, _ = compare(read_folder(_written(tmp_path / "other", other)), report)
    assert any("`tau_m` of neuron" in sentence for sentence in differences)
    assert any("synapse" in sentence for sentence in differences)
