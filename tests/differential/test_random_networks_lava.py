"""Random integer networks of every kind: Lava computes the same spikes and states from the emitted program.

A few networks by default; with NMAP_LAVA_LONG=1 many. What the emulator and the fixed level make of such networks is compared with the same
reference in `tests/property/test_loihi2_random.py`.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from nmap.program import Program, ProgramPopulation
from nmap_loihi2.emit import emit
from nmap_loihi2.vendor import find_lava, run_program
from tests.loihi2_networks import random_network, reference

LONG = os.environ.get("NMAP_LAVA_LONG") == "1"
SEEDS = range(40) if LONG else (3, 11, 12, 27)


@pytest.fixture(scope="module", autouse=True)
def _lava():
    found = find_lava()
    if isinstance(found, str):
        pytest.skip(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_lava_computes_the_same(seed, tmp_path):
    case = random_network(seed)
    network = case.network
    populations = tuple(
        ProgramPopulation(p.name, p.shape, p.latency, p.kernel is None, p.name in network.outputs) for p in network.populations
    )
    # Without cores: the emitter computes from the network.
    for name, data in emit(network, Program("loihi2", "oheo-gulch", populations, (), (), (), ())).items():
        (tmp_path / name).write_bytes(data)
    run = run_program(tmp_path, case.flat, case.steps, timeout=180, states=True)
    assert run.missing is None
    wanted = reference(network, case.inputs, case.steps)
    assert set(run.spikes) == {p.name for p in network.populations if p.kernel is not None}
    assert set(run.states) == set(wanted.states)
    for name, spikes in run.spikes.items():
        np.testing.assert_array_equal(spikes, wanted.spikes[name], err_msg=name)
    for key, values in run.states.items():
        np.testing.assert_array_equal(values, wanted.states[key], err_msg=key)
