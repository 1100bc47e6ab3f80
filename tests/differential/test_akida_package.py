"""Akida's own package beside the emulated chip, on the machine of whoever asks for it.

The package is proprietary, and its licence forbids to publish what comes of testing it. So these tests run only where NMAP_AKIDA is 1 and
the package is there, for this Python or for the one that NMAP_AKIDA_PYTHON names; nothing is expected of it but what nmap computes itself,
and nothing of what it computes is kept. `make test-akida` runs them.
"""

from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nmap.emulate.engine import emulate
from nmap.processes import ask
from nmap.target.machine import build_machine
from nmap.windows import windowed
from nmap_akida import TARGET
from nmap_akida.emit import files_of
from nmap_akida.form import Form, form_of
from nmap_akida.vendor import extra_files, find_akida
from tests.akida_networks import IMAGES, KINDS, Case, chain_of, random_case, with_layer
from tests.property.test_akida_networks import compiled

SEEDS = range(100, 102)
CHAINS = range(200, 210)
VARIANTS = ("AKD1000", "AKD1500")
LIMIT = 300.0


@pytest.fixture(autouse=True, scope="module")
def _asked() -> None:
    if os.environ.get("NMAP_AKIDA") != "1":
        pytest.skip("NMAP_AKIDA is not 1: the vendor's package is run only where it is asked for")
    found = find_akida()
    if isinstance(found, str):
        pytest.skip(found)


def every_layer_is_the_same(case: Case, folder: Path, variant: str = "AKD1000") -> None:
    quantized, program = compiled(case, variant)
    for path, content in files_of(quantized, program).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    given = windowed(case.inputs, quantized.window)
    inferences = given.shape[1]
    steps = inferences + quantized.latency
    run = TARGET.run_vendor(folder, given, steps, LIMIT)
    assert run.missing is None
    populations = [p.name for p in quantized.populations if p.kernel is not None]
    fused = [before for before, name in pairwise(populations) if form_of(quantized.settings, name) is Form.POOLED]
    assert sorted(run.spikes) == sorted(set(populations) - set(fused))
    chip = emulate(program, TARGET.kernels, given, steps, record=list(run.spikes))
    for name, spikes in run.spikes.items():
        first = run.first[name]
        assert first == quantized[name].latency
        np.testing.assert_array_equal(spikes, chip.spikes[name][:, first : first + inferences], err_msg=name)


@pytest.mark.parametrize("kind", [*KINDS, *IMAGES])
def test_every_layer_of_every_kind(kind: str, tmp_path: Path) -> None:
    for seed in SEEDS:
        every_layer_is_the_same(with_layer(kind, seed, whole=seed % 2 == 0), tmp_path / str(seed))


@pytest.mark.parametrize("seed", CHAINS)
def test_random_chains(seed: int, tmp_path: Path) -> None:
    every_layer_is_the_same(random_case(seed), tmp_path, VARIANTS[seed % 2])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_mapper_is_asked(variant: str) -> None:
    quantized, _ = compiled(with_layer("max_pool", 100), variant)
    machine = build_machine(TARGET.spec, variant)
    found = TARGET.survey(quantized, machine)
    assert found.missing is None
    assert found.fits is True
    assert found.cores == sum(found.layers.values())
    assert set(found.layers) == {
        p.name for p in quantized.populations if p.kernel is not None and form_of(quantized.settings, p.name) is not Form.POOLED
    }
    assert found.facts["passes"] >= 1


def test_dense_layers_become_convolutions_where_nps_run_out() -> None:
    quantized, _ = compiled(chain_of("dense", 30, 3))
    found = TARGET.survey(quantized, build_machine(TARGET.spec))
    assert found.missing is None
    assert found.fits is True
    # 18 NPs for dense layers with their weights inside and 4 with them outside: `device objects` in chip.toml.
    assert len(str(found.facts["dense_layers_as_convolutions"]).split(", ")) >= 30 - 18 - 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_its_files_are_the_same_every_time(variant: str) -> None:
    quantized, program = compiled(with_layer("conv3", 100), variant)
    files = files_of(quantized, program)
    first, second = (extra_files(files, variant) for _ in range(2))
    assert set(first) == {"model.fbz", "program_0.bin"}
    assert first == second
    assert all(first.values())
    assert TARGET.emit(quantized, program) == {**files, **first}


@pytest.mark.parametrize("mode", ["threshold", "rate"])
def test_the_script_runs_on_its_software_engine(mode: str, tmp_path: Path) -> None:
    case = with_layer("conv3", 100, mode)
    quantized, program = compiled(case)
    for path, content in files_of(quantized, program).items():
        (tmp_path / path).write_bytes(content)
    shape = quantized[quantized.inputs[0]].shape
    np.savez(tmp_path / "samples.npz", inputs=case.inputs.reshape(*case.inputs.shape[:2], *shape))
    found = find_akida()
    assert not isinstance(found, str)
    command = [found[0], str(tmp_path / "run.py"), str(tmp_path / "samples.npz"), "-o", str(tmp_path / "out.npz"), "--device", "software"]
    ended = ask(command, LIMIT)
    assert ended.returncode == 0, ended.stderr
    assert "software" in ended.stdout + ended.stderr
    given = windowed(case.inputs, quantized.window)
    output = quantized[quantized.outputs[0]]
    chip = emulate(program, TARGET.kernels, given, given.shape[1] + quantized.latency, record=[output.name])
    with np.load(tmp_path / "out.npz") as out:
        sent = chip.spikes[output.name][:, output.latency : output.latency + given.shape[1]]
        np.testing.assert_array_equal(out["spikes"].reshape(sent.shape), sent)
