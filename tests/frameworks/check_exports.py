"""Run the recipes of docs/export.md in their frameworks, read what they export, and compare the spikes. `make test-frameworks`.

The file's name keeps it out of the ordinary suite, which needs no framework.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest

from tests.frameworks.environments import make_all, python_of, reason
from tests.frameworks.recipes import Recipe, environments, recipes

_SECONDS = 300
_SEED = "import torch; torch.manual_seed(0)\n"


@pytest.fixture(scope="session", autouse=True)
def frameworks() -> None:
    """Make the environments first; a minute or more each where they are not there yet."""
    make_all()


@cache
def _version(framework: str) -> str:
    told = f"from importlib.metadata import version; print(version({framework!r}))"
    return subprocess.run([str(python_of(framework)), "-c", told], capture_output=True, text=True, check=True).stdout.strip()


def _export(recipe: Recipe, folder: Path) -> Path:
    """Run a recipe's script in its framework's environment; return the file it exported."""
    (folder / "export.py").write_text(_SEED + recipe.script, encoding="utf-8")
    # A package that installs others when it is imported must not.
    environment = {**os.environ, "PIP_NO_INDEX": "1", "PYTHONPATH": "", "MPLCONFIGDIR": str(folder)}
    command = [str(python_of(recipe.framework)), "-W", "ignore", "export.py"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    (exported,) = folder.glob("net.*")
    return exported


def _nmap(*arguments: str, folder: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "FORCE_COLOR"}
    command = [sys.executable, "-m", "nmap.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0, done.stderr


def _without_metadata(exported: Path) -> Path:
    bare = exported.with_name(f"bare{exported.suffix}")
    bare.write_bytes(exported.read_bytes())
    with h5py.File(bare, "r+") as file:
        del file["node/metadata"]
    return bare


@pytest.mark.parametrize("recipe", recipes(), ids=str)
def test_nmap_computes_the_frameworks_own_spikes(recipe: Recipe, tmp_path: Path, compared: list[tuple[str, ...]]) -> None:
    missing = next(reason(e) for e in environments() if e.framework == recipe.framework)
    if missing is not None:
        pytest.skip(missing)
    exported = _export(recipe, tmp_path)
    with np.load(tmp_path / "samples.npz") as samples:
        expected = samples["spikes"]
    assert 0.005 < np.mean(expected > 0) < 0.8, "the network is silent, or fires all the time: it shows nothing"
    files: list[tuple[Path, tuple[str, ...]]] = [(exported, ())]
    if recipe.options is not None:
        files.append((_without_metadata(exported), recipe.options))
    differ = []
    for file, options in files:
        _nmap("run", file.name, "--input", "samples.npz", "--level", "float", "-o", f"{file.stem}.npz", *options, folder=tmp_path)
        with np.load(tmp_path / f"{file.stem}.npz") as run:
            wrong = int(np.sum(run["spikes"] != expected))
        given = " ".join(options) or ("metadata" if exported.suffix == ".nir" else "none")
        counts = (expected.size, int(expected.sum()), wrong)
        compared.append((recipe.framework, _version(recipe.framework), recipe.network, given, *map(str, counts)))
        if wrong:
            differ.append(f"{given}: {wrong} of {expected.size} cells differ")
    assert not differ
