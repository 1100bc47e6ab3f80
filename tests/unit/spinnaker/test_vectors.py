"""Recordings of the shipped core binaries (made by tests/oracles/spinnaker_binaries.py) against everything that claims to compute the same.

Every potential, every synaptic input and every spike of every step: the independent oracle in plain numpy, the reference simulator and
the emulator, the last two from the arrays of the network through `nmap_spinnaker.pynn`. The shifts of ring buffers are the host's own
choice and compared too.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.emulate.engine import emulate
from nmap.simulate.fixed import simulate
from nmap.target.spec import load_spec
from nmap.trace import Probe
from nmap_spinnaker import pynn
from nmap_spinnaker.kernels import KERNELS
from tests.oracles import spinnaker_reference as oracle
from tests.unit.truenorth.random_programs import random_mapping

FOLDER = Path(__file__).resolve().parents[2] / "golden" / "spinnaker"
FILES = sorted(FOLDER.glob("*.npz"))
IDS = [file.stem for file in FILES]
RECORDED = ("v", "gsyn_exc", "gsyn_inh", "spikes")
each_vector = pytest.mark.parametrize("file", FILES, ids=IDS)


@lru_cache(maxsize=2)
def expected(file: Path) -> tuple[oracle.Network, dict[str, np.ndarray]]:
    """The file, and what the oracle computes from it."""
    network = oracle.read(file)
    return network, oracle.simulate(network)


def cells_of(meta) -> list[int]:
    return [number for number, entry in enumerate(meta["populations"]) if entry["kind"] == "cells"]


def differences(meta, arrays, found: dict[str, np.ndarray]) -> dict[str, int]:
    """Cells of the recordings that differ, by recording; none are left out."""
    names = [f"r{number}.{name}" for number in cells_of(meta) for name in RECORDED]
    for name in names:
        assert found[name].shape == arrays[name].shape == (meta["steps"], meta["populations"][int(name[1 : name.index(".")])]["size"])
    return {name: int((found[name] != arrays[name]).sum()) for name in names}


def test_the_vectors_cover_what_they_are_for() -> None:
    """Models, time steps, both receptors, saturation, masked weights, delays of all slots and beyond, wrap-around, more than one core."""
    assert len(FILES) == 20
    assert sum(file.stat().st_size for file in FILES) < 1_500_000
    assert max(file.stat().st_size for file in FILES) < 150_000
    metas = {file.stem: oracle.read(file) for file in FILES}
    cells = [(meta, entry) for meta, _ in metas.values() for entry in meta["populations"] if entry["kind"] == "cells"]
    pairs = {(entry["model"], meta["timestep_ms"]) for meta, entry in cells}
    assert {model for model, _ in pairs} == {"IF_curr_exp", "IF_curr_delta", "IF_trunc_delta"}
    assert {step for model, step in pairs if model == "IF_curr_exp"} == {0.1, 0.5, 1.0, 2.0}
    assert {step for model, step in pairs if model == "IF_curr_delta"} == {0.1, 0.5, 1.0, 2.0}
    assert {projection["receptor"] for meta, _ in metas.values() for projection in meta["projections"]} == {"excitatory", "inhibitory"}
    assert max(max(filter(None, meta["saturations"]), default=0) for meta, _ in metas.values()) > 10_000
    assert any(entry["bound"] is None for _, entry in cells)
    assert any(entry["bound"] is not None for _, entry in cells)
    assert any(entry["size"] > entry["neurons_per_core"] for _, entry in cells)
    assert all(arrays[f"r{number}.spikes"].any() for meta, arrays in metas.values() for number in cells_of(meta))
    meta, arrays = metas["exp_slots"]
    longest = max(int(np.rint(arrays[f"e{k}.delay"].max() / meta["timestep_ms"])) for k in range(len(meta["projections"])))
    assert longest == meta["slots"][1] == 32
    for name in ("exp_extension", "delta_extension"):
        meta, arrays = metas[name]
        assert meta["delay_cores"] > 0
        assert max(arrays[f"e{k}.delay"].max() / meta["timestep_ms"] for k in range(len(meta["projections"]))) > 2 * meta["slots"][1]
    meta, arrays = metas["exp_mask"]
    assert any(
        (np.rint(arrays[f"e{k}.weight"] * 2.0 ** (15 - meta["shifts"][1][projection["receptor"] == "inhibitory"])) > 65535).any()
        for k, projection in enumerate(meta["projections"])
    )


@each_vector
def test_the_oracle_computes_what_the_binaries_do(file: Path) -> None:
    (meta, arrays), found = expected(file)
    assert set(differences(meta, arrays, found).values()) == {0}


@each_vector
def test_ring_buffer_shifts_are_the_host_s(file: Path) -> None:
    network, _ = expected(file)
    loaded, _ = pynn.load(file)
    by_label = {cells.label: cells for cells in loaded.cells}
    for number in cells_of(network[0]):
        wanted = tuple(network[0]["shifts"][number])
        assert oracle.shifts(network, number) == wanted
        assert pynn.shifts(loaded, by_label[network[0]["populations"][number]["label"]]) == wanted


def check(trace, file: Path) -> None:
    """Compare a trace of the chip's numbers with the recordings: v of tick t is the state after step t - 1, the input that of step t."""
    (meta, arrays), found = expected(file)
    for number in cells_of(meta):
        entry = meta["populations"][number]
        label = entry["label"]
        assert np.array_equal(trace.spikes[label][0], arrays[f"r{number}.spikes"]), label
        assert np.array_equal(trace.state[f"{label}.v"][0, :-1], arrays[f"r{number}.v"][1:]), label
        if entry["model"] == "IF_curr_exp":
            for receptor, name in enumerate(("gsyn_exc", "gsyn_inh")):
                assert np.array_equal(trace.state[f"{label}.syn_{receptor}"][0], arrays[f"r{number}.{name}"]), (label, name)
        assert trace.tallies[f"{label}.saturated"] == found[f"r{number}.saturations"].sum(), label


def probes(meta) -> list[Probe]:
    return [
        Probe(entry["label"], variable)
        for entry in meta["populations"]
        if entry["kind"] == "cells"
        for variable in ("v", *(("syn_0", "syn_1") if entry["model"] == "IF_curr_exp" else ()))
    ]


def check_simulator_and_emulator(file: Path) -> None:
    """Run the network of a file through everything of nmap's own and compare with the recordings of the file."""
    (meta, arrays), _ = expected(file)
    loaded, recordings = pynn.load(file)
    made, inputs = pynn.quantized(loaded, strict=False)
    names = [meta["populations"][number]["label"] for number in cells_of(meta)]
    for number, label in zip(cells_of(meta), names, strict=True):
        assert np.array_equal(made[label].initial["v"] + np.zeros(made[label].size, np.int64), arrays[f"r{number}.v"][0])
        assert np.array_equal(recordings[label]["v"], arrays[f"r{number}.v"])
    check(simulate(made, KERNELS, inputs, meta["steps"], record=names, probes=probes(meta)), file)
    # The cut over cores is any: the way a program is cut does not depend on the chip.
    program = build_program(made, "spinnaker1", random_mapping(made, load_spec("nmap_truenorth"), len(file.stem)))
    check(emulate(program, KERNELS, inputs, meta["steps"], record=names, probes=probes(meta)), file)


@each_vector
def test_simulator_and_emulator_compute_what_the_binaries_do(file: Path) -> None:
    check_simulator_and_emulator(file)
