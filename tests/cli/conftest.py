from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.runner import Runner
from tests.unit.readers.builders import chain, if_, lif, linear, port, sink, write_nir


@pytest.fixture
def nmap(capsys: pytest.CaptureFixture[str]) -> Runner:
    return Runner(capsys)


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, so that messages name files without their folders."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def net(work: Path) -> Path:
    """`net.nir`: 6 inputs, 5 and 3 integrate-and-fire neurons, which the toy chip takes exactly."""
    rng = np.random.default_rng(1)
    nodes = {
        "input": port(6), "w1": linear(rng.integers(-3, 6, (5, 6)) / 4), "n1": if_(5, th=2.0),
        "w2": linear(rng.integers(-3, 6, (3, 5)) / 4), "n2": if_(3, th=2.0), "output": sink(3),
    }
    write_nir(work / "net.nir", nodes, chain(*nodes), {"reset_mechanism": "zero"})
    return Path("net.nir")


@pytest.fixture
def big(work: Path) -> Path:
    """`big.nir`: more neurons than the toy chip has."""
    nodes = {"input": port(4), "w": linear(np.full((40, 4), 0.5)), "n": if_(40, th=2.0), "output": sink(40)}
    write_nir(work / "big.nir", nodes, chain(*nodes), {"reset_mechanism": "zero"})
    return Path("big.nir")


@pytest.fixture
def leaky(work: Path) -> Path:
    """`leaky.nir`: a decay of 0.9, which the toy chip can only approximate."""
    nodes = {"input": port(4), "w": linear(np.full((3, 4), 0.5)), "n": lif(3), "output": sink(3)}
    write_nir(work / "leaky.nir", nodes, chain(*nodes))
    return Path("leaky.nir")


@pytest.fixture
def samples(work: Path) -> Path:
    """`s.npz`: 5 samples of 12 steps with labels."""
    rng = np.random.default_rng(2)
    np.savez(work / "s.npz", inputs=(rng.random((5, 12, 6)) < 0.4).astype(np.uint8), labels=np.array([0, 1, 2, 0, 1]))
    return Path("s.npz")
