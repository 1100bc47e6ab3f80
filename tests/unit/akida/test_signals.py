"""Signals of one dimension from NIR files, whose populations have the shape (channels, length), deployed from end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nmap
from nmap.connectivity import Array
from tests import akida_machine as machine
from tests.unit.readers import builders as nir

LENGTH = 9


def _threshold(*shape: int) -> dict[str, Any]:
    return {"type": "Threshold", "threshold": np.full(shape, 1.5)}


def _conv(filters: int, channels: int, size: int, length: int, stride: int = 1) -> dict[str, Any]:
    weights = np.random.default_rng([71, filters, size]).integers(-3, 5, (filters, channels, size))
    return nir.conv1d(weights.astype(np.float32), stride=stride, padding=size // 2, bias=np.zeros(filters), input_shape=length)


def _dense(outputs: int, inputs: int) -> dict[str, Any]:
    return {"type": "Linear", "weight": np.random.default_rng(72).integers(-3, 5, (outputs, inputs)).astype(np.float32)}


def _flat(*shape: int) -> dict[str, Any]:
    return {"type": "Flatten", "start_dim": 0, "end_dim": -1, "input_type": np.array(shape)}


NETWORKS: dict[str, tuple[list[dict[str, Any]], tuple[int, ...]]] = {
    "one": ([_conv(4, 5, 3, 9), _threshold(4, 9), _flat(4, 9), _dense(3, 36), _threshold(3)], (3,)),
    "two": ([_conv(4, 5, 5, 9), _threshold(4, 9), _conv(6, 4, 3, 9), _threshold(6, 9), _flat(6, 9), _dense(3, 54), _threshold(3)], (3,)),
    "output": ([_conv(4, 5, 3, 9), _threshold(4, 9), _conv(6, 4, 3, 9), _threshold(6, 9)], (6, 9)),
    "points": ([_conv(4, 5, 1, 9), _threshold(4, 9), _conv(3, 4, 1, 9), _threshold(3, 9)], (3, 9)),
    "strided": ([_conv(4, 5, 3, 9, 2), _threshold(4, 5), _conv(6, 4, 7, 5), _threshold(6, 5)], (6, 5)),
}


def _by_hand(nodes: list[dict[str, Any]], inputs: Array) -> Array:
    """What the last neurons send for inputs (n, channels, length), written out tap by tap."""
    values = inputs.astype(np.float64)
    for node in nodes:
        if node["type"] == "Threshold":
            values = (values > 1.5).astype(np.float64)
        elif node["type"] == "Flatten":
            values = values.reshape(len(values), -1)
        elif node["type"] == "Linear":
            values = values @ node["weight"].T
        else:
            (_, _, size), stride, padding = node["weight"].shape, node["stride"], node["padding"]
            padded = np.pad(values, ((0, 0), (0, 0), (padding, padding)))
            places = range(0, values.shape[2] + 2 * padding - size + 1, stride)
            values = np.stack([np.einsum("nck,fck->nf", padded[:, :, x : x + size], node["weight"]) for x in places], axis=2)
    return values


@pytest.mark.parametrize("name", NETWORKS)
def test_signals_are_deployed_and_equal_the_network(tmp_path: Path, name: str) -> None:
    nodes, shape = NETWORKS[name]
    named = {
        "input": {"type": "Input", "shape": np.array([5, LENGTH])}, **{f"n{k}": node for k, node in enumerate(nodes)},
        "output": {"type": "Output", "shape": np.array(shape)},
    }
    file = nir.write_nir(tmp_path / "net.nir", named, nir.chain(*named))
    inputs = (np.random.default_rng(73).random((4, 3, 5, LENGTH)) < 0.4).astype(np.uint8)
    np.savez(tmp_path / "samples.npz", inputs=inputs)
    deployment = nmap.deploy(
        file, "akida", input=tmp_path / "samples.npz", output=tmp_path / "bundle", dt=1e-3, reset="zero",
    )
    verification = deployment.report["verification"]
    assert (deployment.report["status"], verification["mapping"]) == ("ok", "ok")
    assert verification["chip_vs_float"]["spike_agreement"] == 1
    wanted = _by_hand(nodes, inputs.reshape(12, 5, LENGTH)).reshape(12, -1)
    assert wanted.any()
    chip = nmap.run(tmp_path / "bundle", tmp_path / "samples.npz", level="chip")
    np.testing.assert_array_equal(np.asarray(chip.spikes).reshape(12, -1), wanted)

    model = machine.load((tmp_path / "bundle" / "akida" / "model.akida.json").read_bytes())
    sent = machine.run(model, machine.from_rows(inputs.reshape(12, -1).astype(np.int64), (5, 1, LENGTH)))
    np.testing.assert_array_equal(machine.in_rows(list(sent.values())[-1]), wanted)
    core_map = json.loads((tmp_path / "bundle" / "akida" / "core_map.json").read_text())
    assert core_map["inputs"]["shape"] == [5, LENGTH]
    assert core_map["layers"][0]["in_shape"] == [5, 1, LENGTH]


def test_a_misaligned_stride_of_a_signal_is_refused(tmp_path: Path) -> None:
    nodes = [_conv(4, 5, 3, 8, 2), _threshold(4, 4)]
    named = {
        "input": {"type": "Input", "shape": np.array([5, 8])}, **{f"n{k}": node for k, node in enumerate(nodes)},
        "output": {"type": "Output", "shape": np.array([4, 4])},
    }
    file = nir.write_nir(tmp_path / "net.nir", named, nir.chain(*named))
    deployment = nmap.deploy(file, "akida", output=tmp_path / "bundle", dt=1e-3, reset="zero")
    assert deployment.status != "ok"
    assert any("stride 2 over 8 columns" in told["message"] for told in deployment.report["diagnostics"])
    assert not (tmp_path / "bundle").exists()
