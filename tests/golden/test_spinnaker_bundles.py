"""Deployments to SpiNNaker of networks trained elsewhere and by us: proved bit for bit, and what the bundles hold beside that."""

from __future__ import annotations

import json
import py_compile
from pathlib import Path

import numpy as np
import pytest

import nmap
from nmap.connectivity import Array
from tests.support import shared_data

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "spinnaker_digits"
FILES = {
    "spinnaker1": ("spynnaker", {"README.txt", "core_map.json", "network.npz", "run.py", "spynnaker.cfg"}),
    "spinnaker2": ("py-spinnaker2", {"README.txt", "core_map.json", "network.npz", "run.py"}),
}


def proved(deployment: nmap.Deployment) -> None:
    """Check that emulator and reference were compared, and agreed everywhere."""
    verification = deployment.report["verification"]
    assert deployment.report["status"] == "ok"
    assert verification["mapping"] == "ok"
    assert verification["chip_vs_fixed"]["spikes"] > 0
    assert verification["chip_vs_fixed"]["mismatches"] == 0



def braille(folder: Path) -> tuple[Path, Path, dict[str, Array]]:
    """Return the network's file, a sample's file and the recordings."""
    data = shared_data()
    recorded = dict(np.load(data / "golden" / "braille_bias_zero.npz"))
    np.savez(folder / "samples.npz", inputs=recorded["input_spikes"][None].astype(np.uint8))
    return data / "nir" / "braille_noDelay_bias_zero.nir", folder / "samples.npz", recorded


def hidden(bundle: Path, samples: Path) -> Array:
    """Return the hidden layer's spikes on the emulated chip, in the network's own time."""
    run = nmap.run(bundle, samples, level="chip", probes=("lif1.lif:spikes",))
    return np.asarray(run.probes["lif1.lif.spikes"][0])


def test_braille_on_spinnaker_2_is_the_recorded_chip(tmp_path: Path) -> None:
    network, samples, recorded = braille(tmp_path)
    proved(nmap.deploy(network, "spinnaker2", input=samples, output=tmp_path / "out", approximate="bias", partitioner="greedy"))
    trace = recorded["s2__noDelay_bias_zero"]
    found = hidden(tmp_path / "out", samples)
    # What the chip's recording calls step t is the step in which input column t - 1 acts.
    assert trace.sum() > 100
    assert int((found[:-1] != trace[1:]).sum()) == 0
    assert not trace[0].any()


def test_braille_on_spinnaker_1_computes_the_network(tmp_path: Path) -> None:
    network, samples, recorded = braille(tmp_path)
    proved(nmap.deploy(network, "spinnaker1", input=samples, output=tmp_path / "out", partitioner="greedy"))
    found, trace = hidden(tmp_path / "out", samples), recorded["snntorch__noDelay_bias_zero"]
    # The recording of the framework whose equations these are; 16-bit weights change no spike.
    assert trace.sum() > 100
    np.testing.assert_array_equal(found, trace)


@pytest.mark.parametrize("target", sorted(FILES))
@pytest.mark.parametrize("name", ["rate", "latency", "rows"])
def test_the_digits_are_proved_and_stay_as_accurate(tmp_path: Path, name: str, target: str) -> None:
    with np.load(EXAMPLE / f"{name}.npz") as stored:
        np.savez(tmp_path / "samples.npz", inputs=stored["inputs"][:60], labels=stored["labels"][:60])
    done = nmap.deploy(EXAMPLE / f"{name}.nir", target, input=tmp_path / "samples.npz", output=tmp_path / "out", partitioner="greedy")
    proved(done)
    against = done.report["verification"]["chip_vs_float"]
    assert against["accuracy_float"] >= 0.9
    assert abs(against["accuracy_chip"] - against["accuracy_float"]) <= 2 / 60
    assert against["spike_agreement"] > 0.9
    folder, files = FILES[target]
    there = {path.name for path in (tmp_path / "out" / folder).iterdir()}
    assert files <= there
    py_compile.compile(str(tmp_path / "out" / folder / "run.py"), cfile=str(tmp_path / "run.pyc"), doraise=True)
    listed = json.loads((tmp_path / "out" / folder / "core_map.json").read_bytes())
    assert listed["slices" if target == "spinnaker2" else "populations"]


@pytest.mark.parametrize("target", sorted(FILES))
def test_the_same_deployment_gives_the_same_bytes(tmp_path: Path, target: str) -> None:
    with np.load(EXAMPLE / "rate.npz") as stored:
        np.savez(tmp_path / "samples.npz", inputs=stored["inputs"][:2])
    folder, _ = FILES[target]
    found = []
    for k in range(2):
        out = tmp_path / f"out{k}"
        nmap.deploy(EXAMPLE / "rate.nir", target, input=tmp_path / "samples.npz", output=out, partitioner="greedy", verify=False)
        found.append({path.name: path.read_bytes() for path in (out / folder).iterdir()} | {"program": (out / "program.h5").read_bytes()})
    assert found[0] == found[1]


def test_spinnaker_1_places_every_neuron_once_on_a_core_of_the_board(tmp_path: Path) -> None:
    with np.load(EXAMPLE / "rows.npz") as stored:
        np.savez(tmp_path / "samples.npz", inputs=stored["inputs"][:2])
    nmap.deploy(EXAMPLE / "rows.nir", "spinnaker1:4chip", input=tmp_path / "samples.npz", output=tmp_path / "out", partitioner="greedy")
    listed = json.loads((tmp_path / "out" / "spynnaker" / "core_map.json").read_bytes())
    places, sizes = [], {}
    for population in listed["populations"]:
        neurons: list[int] = []
        for part in population["parts"]:
            for piece in part["slices"]:
                places.append((piece["x"], piece["y"], piece["p"]))
                for n in piece["neurons"]:
                    neurons += range(n[0], n[1] + 1) if isinstance(n, list) else [n]
        own = [n for n in neurons if n >= 0]
        assert sorted(own) == list(range(len(own)))
        sizes[population["name"]] = len(own)
    assert sizes == {"input.source": 8, "layer1": 64, "layer2": 10}
    assert len(set(places)) == len(places)
    # A SpiNN-3 board is 2 x 2 chips; processors 0 and 1 are the monitors', and 2 the gatherer's on the chip with Ethernet.
    assert all(x in (0, 1) and y in (0, 1) and (3 if (x, y) == (0, 0) else 2) <= p <= 17 for x, y, p in places)
