"""Deployments to Akida of the networks that we trained for it: proved bit for bit, and as accurate as in floating point."""

from __future__ import annotations

import json
import py_compile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import nmap
from nmap.connectivity import Array

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "akida_digits"
OPTIONS: dict[str, dict[str, Any]] = {"threshold": {}, "trinary": {"bits": 2}, "rate": {"approximate": "rate"}, "conv": {}}
CORES = {"threshold": 2, "trinary": 2, "rate": 2, "conv": 4}
"""NPs, and the input convolution unit where there is an image: every layer of these is small enough for one."""


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[nmap.Deployment, Path, Path]]:
    """Return each network's deployment to each chip, its bundle and the samples it was given."""
    folder = tmp_path_factory.mktemp("akida")
    found = {}
    for name, options in OPTIONS.items():
        with np.load(EXAMPLE / f"{name}.npz") as stored:
            samples = {key: stored[key][:60] for key in stored}
        np.savez(folder / f"{name}.npz", **samples)
        for chip in ("AKD1000", "AKD1500"):
            bundle = folder / f"{name}_{chip}"
            deployment = nmap.deploy(EXAMPLE / f"{name}.nir", f"akida:{chip}", input=folder / f"{name}.npz", output=bundle, **options)
            found[name, chip] = (deployment, bundle, folder / f"{name}.npz")
    return found


@pytest.mark.parametrize("chip", ["AKD1000", "AKD1500"])
@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_the_digits_are_proved_and_need_a_core_a_layer(
    deployed: dict[tuple[str, str], tuple[nmap.Deployment, Path, Path]], name: str, chip: str
) -> None:
    report = deployed[name, chip][0].report
    verification = report["verification"]
    assert (report["status"], verification["mapping"]) == ("ok", "ok")
    assert verification["chip_vs_fixed"]["spikes"] > 0
    assert verification["chip_vs_fixed"]["mismatches"] == 0
    assert report["quantization"]["clipped"] == 0
    assert report["partition"]["cores"] == CORES[name]
    if name != "rate":
        assert verification["chip_vs_float"]["spike_agreement"] == 1
    assert verification["chip_vs_float"]["accuracy_chip"] == verification["chip_vs_float"]["accuracy_float"]


@pytest.mark.parametrize("name", ["threshold", "trinary", "conv"])
def test_memoryless_networks_answer_on_the_chip_as_in_training(
    deployed: dict[tuple[str, str], tuple[nmap.Deployment, Path, Path]], name: str
) -> None:
    _, bundle, samples = deployed[name, "AKD1000"]
    with np.load(samples) as stored:
        assert stored["reference_spikes"].any()
        np.testing.assert_array_equal(nmap.run(bundle, samples, level="chip").spikes, stored["reference_spikes"])


def counted(path: Path, inputs: Array) -> Array:
    """Return the numbers of spikes of neurons that integrate all steps, then fire: (samples, steps, 64) -> (samples, 10)."""
    steps, sent = inputs.shape[1], inputs.sum(1).astype(float)
    with h5py.File(path) as file:
        nodes = file["node/nodes"]
        for number in (1, 2):
            weights, bias = nodes[f"fc{number}/weight"][()].astype(float), nodes[f"fc{number}/bias"][()].astype(float)
            v = sent @ weights.T + steps * bias
            sent = np.clip(np.floor(v / nodes[f"layer{number}/v_threshold"][()]), 0, steps)
    return np.asarray(sent, np.int64)


def test_integrating_neurons_send_their_counts_in_one_inference(
    deployed: dict[tuple[str, str], tuple[nmap.Deployment, Path, Path]],
) -> None:
    deployment, bundle, samples = deployed["rate", "AKD1000"]
    with np.load(samples) as stored:
        inputs, stepwise = stored["inputs"], stored["reference_spikes"].sum(1)
    wanted = counted(EXAMPLE / "rate.nir", inputs)
    ran = nmap.run(bundle, samples, level="chip")
    found = np.asarray(ran.spikes)
    assert found.shape == (60, 1, 10)
    # Counts are spikes, however few messages they are sent in.
    assert ran.sent == wanted.sum()
    np.testing.assert_array_equal(found[:, 0], wanted)
    measured = deployment.report["verification"]["chip_vs_float"]
    assert measured["window"] == 15
    assert measured["count_agreement"] == pytest.approx((wanted == stepwise).mean())
    assert measured["argmax_agreement"] == pytest.approx((wanted.argmax(1) == stepwise.argmax(1)).mean())
    assert 0 < measured["count_agreement"] < 1
    assert any(d["code"] == "NM205" and d["severity"] == "warning" for d in deployment.report["diagnostics"])


def test_the_model_holds_the_layers(deployed: dict[tuple[str, str], tuple[nmap.Deployment, Path, Path]]) -> None:
    folder = deployed["conv", "AKD1000"][1] / "akida"
    assert {p.name for p in folder.iterdir()} >= {"README.txt", "core_map.json", "model.akida.json", "run.py"}
    py_compile.compile(str(folder / "run.py"), cfile=str(folder.parent / "run.pyc"), doraise=True)
    kinds = [layer["parameters"]["layer_type"] for layer in json.loads((folder / "model.akida.json").read_text())["layers"]]
    assert [kind.lower().replace("_", "") for kind in kinds] == [
        "inputconvolutional", "convolutional", "separableconvolutional", "fullyconnected",
    ]


def test_without_the_flag_integrating_neurons_are_refused(tmp_path: Path) -> None:
    refused = nmap.deploy(EXAMPLE / "rate.nir", "akida", input=EXAMPLE / "rate.npz", output=tmp_path / "out")
    assert (refused.status, refused.outcome.exit_status) == ("does_not_fit", 1)
    errors = [d for d in refused.report["diagnostics"] if d["severity"] == "error"]
    assert [d["code"] for d in errors] == ["NM205"]
    assert all(name in errors[0]["message"] for name in ("layer1", "layer2"))
    assert any("--approximate rate" in text for text in errors[0]["help"])
    assert not (tmp_path / "out").exists()
