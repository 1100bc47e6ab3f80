"""Recorded traces of SpiNNaker 2 (NIR paper, BSD-3): what the kernels and a deployed network compute is what the chip did.

The Braille network's hidden layer was recorded on a chip. The single neuron's file says SpiNNaker 2 and was made by py-spinnaker2's Brian2
backend in float64 (the paper's script): its spikes are ours, its voltages as far as float32 goes.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

import nmap
from nmap.cli.main import run
from nmap.connectivity import Array
from nmap.testing.kernels import run_kernel
from nmap_spinnaker.second.kernels import CURRENT, LIF
from nmap_spinnaker.second.numbers import bits, real
from tests.support import shared_data


def node(file: h5py.File, name: str) -> dict[str, Array]:
    place = file["node/nodes"]
    for part in name.split("/"):
        place = place[part] if part in place else place["nodes"][part]
    return {key: np.asarray(place[key][()]) for key in place if isinstance(place[key], h5py.Dataset) and key != "type"}


def converted(path: Path) -> tuple[Array, Array, dict[str, Array]]:
    """Return integer weights of input and recurrence and the hidden neurons' parameters, as s2_nir's formulas give them (forward Euler)."""
    dt = 1e-4
    with h5py.File(path) as file:
        first, loop, cell = (node(file, name) for name in ("fc1", "lif1.w_rec", "lif1.lif"))
    scale = 127 / max(np.abs(first["weight"]).max(), np.abs(loop["weight"]).max())
    resistance, gain = dt / cell["tau_mem"] * cell["r"], dt / cell["tau_syn"] * cell["w_in"]
    bias = first.get("bias", 0) + loop.get("bias", 0)
    n = cell["tau_mem"].size
    params = {
        "alpha_decay": bits(1 - dt / cell["tau_mem"]), "threshold": bits(cell["v_threshold"] / resistance / gain * scale),
        "i_offset": bits(bias * cell["w_in"] / gain * scale * np.ones(n)), "v_reset": bits(np.zeros(n)),
        "exc_decay": bits(1 - dt / cell["tau_syn"]), "inh_decay": bits(1 - dt / cell["tau_syn"]), "subtract": np.zeros(n, np.int64),
    }
    return np.trunc(first["weight"] * scale).astype(np.int64), np.trunc(loop["weight"] * scale).astype(np.int64), params


def test_the_kernel_is_the_chip_on_the_recurrent_braille_network() -> None:
    data = shared_data()
    recorded = np.load(data / "golden" / "braille_bias_zero.npz")
    trace, given = recorded["s2__noDelay_bias_zero"], recorded["input_spikes"].astype(np.int64)
    first, loop, params = converted(data / "nir" / "braille_noDelay_bias_zero.nir")
    n, state = first.shape[0], np.zeros((3, first.shape[0]), np.int64)
    last, heard = np.zeros(n, np.int64), np.zeros(given.shape[1], np.int64)
    differing = 0
    for t in range(trace.shape[0]):
        arrived = [np.maximum(sign * first, 0) @ heard + np.maximum(sign * loop, 0) @ last for sign in (1, -1)]
        sent, after = run_kernel(CURRENT, params, state, np.array([arrived]))
        last, heard, state = sent[0], given[t], after[0]
        differing += int((last != trace[t]).sum())
    assert trace.shape == (256, 38)
    assert trace.sum() > 100
    assert differing == 0


@pytest.mark.parametrize("name", ["braille_noDelay_bias_zero", "braille_noDelay_bias_zero_subgraph"])
def test_a_deployed_braille_network_is_the_chip(tmp_path: Path, name: str) -> None:
    data = shared_data()
    recorded = np.load(data / "golden" / "braille_bias_zero.npz")
    given = tmp_path / "in.npz"
    np.savez(given, inputs=recorded["input_spikes"][None].astype(np.uint8))
    command = ["deploy", str(data / "nir" / f"{name}.nir"), "--target", "spinnaker2", "--approximate", "bias", "--input", str(given)]
    assert run([*command, "-o", str(tmp_path / "bundle"), "-q"]) == 0
    hidden = next(
        p.name for p in nmap.read(data / "nir" / f"{name}.nir").populations if p.neuron is not None and p.size == 38
    )
    out = tmp_path / "out.npz"
    command = ["run", str(tmp_path / "bundle"), "--input", str(given), "--probe", f"{hidden}:spikes", "--raw-time", "-o", str(out), "-q"]
    assert run(command) == 0
    trace = recorded["s2__noDelay_bias_zero"]
    np.testing.assert_array_equal(np.load(out)[f"{hidden}.spikes"][0, : trace.shape[0]], trace)


def test_the_braille_network_needs_the_users_word_for_its_bias(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = shared_data() / "nir" / "braille_noDelay_bias_zero.nir"
    assert run(["deploy", str(path), "--target", "spinnaker2", "-o", str(tmp_path / "bundle")]) == 1
    assert "--approximate bias" in capsys.readouterr().err


def test_the_single_neuron_fires_as_recorded_and_its_voltage_is_that_of_float32() -> None:
    data = shared_data()
    spikes_in, voltage, spikes_out = np.loadtxt(data / "golden" / "lif_spinnaker2.csv", delimiter=",").T
    # The script scales weight and threshold by 102.02; py-spinnaker2 truncates the weight to 102.
    with h5py.File(data / "nir" / "lif_norse.nir") as file:
        tau = float(node(file, "1")["tau"].ravel()[0])
    one = np.ones(1)
    params = {
        "alpha_decay": bits((1 - 1e-4 / tau) * one), "threshold": bits(0.1 * 102.02 / (1e-4 / tau) * one), "i_offset": bits(0 * one),
        "v_reset": bits(0 * one), "subtract": np.zeros(1, np.int64),
    }
    sent, after = run_kernel(LIF, params, np.zeros((1, 1), np.int64), (102 * spikes_in).astype(np.int64)[:, None, None])
    np.testing.assert_array_equal(sent[:, 0], spikes_out)
    assert spikes_out.sum() == 4
    # 1000 steps of rounding to 24 bits; the file's own scale is 2.5 at most.
    np.testing.assert_allclose(real(after[:, 0, 0]) / 102.02, voltage, rtol=0, atol=5e-7)
