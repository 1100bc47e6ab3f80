"""Deployed bundles by their files alone: model, spikes and map as somebody without nmap's program would use them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import nmap
from nmap import flow
from nmap.options import Options
from nmap_truenorth.model.run import run_model
from tests.unit.readers.builders import chain, if_, linear, port, sink, write_nir

LENGTH = 20


def _chain(path: Path, rng: np.random.Generator) -> int:
    nodes = {
        "input": port(10), "w1": linear(rng.integers(-5, 10, (16, 10)).astype(float)), "n1": if_(16, th=15.0),
        "w2": linear(rng.integers(-5, 10, (12, 16)).astype(float)), "n2": if_(12, th=25.0),
        "w3": linear(rng.integers(-1, 3, (4, 12)).astype(float)), "n3": if_(4, th=3.0), "output": sink(4),
    }
    write_nir(path, nodes, chain(*nodes), {"reset_mechanism": "subtract"})
    return 10


def _loop(path: Path, rng: np.random.Generator) -> int:
    nodes = {
        "input": port(6), "w": linear(rng.integers(-2, 4, (9, 6)).astype(float)), "n": if_(9, th=4.0),
        "back": linear(rng.integers(-2, 4, (9, 9)).astype(float)), "w2": linear(rng.integers(-2, 4, (3, 9)).astype(float)),
        "out": if_(3, th=3.0), "output": sink(3),
    }
    edges = [*chain("input", "w", "n", "w2", "out", "output"), ("n", "back"), ("back", "n")]
    write_nir(path, nodes, edges, {"reset_mechanism": "zero"})
    return 6


@pytest.mark.parametrize("make", [_chain, _loop])
def test_the_files_alone_compute_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: object) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(5)
    size = make(Path("net.nir"), rng)  # type: ignore[operator]
    np.savez("samples.npz", inputs=(rng.random((2, LENGTH, size)) < 0.5).astype(np.uint8))
    flow.deploy(Path("net.nir"), target="truenorth", input=Path("samples.npz"), output=Path("out"), options=Options(partitioner="greedy"))
    fixed = nmap.run("out", "samples.npz", level="fixed")
    folder = Path("out/truenorth")
    found = json.loads((folder / "connectors.json").read_bytes())
    (output,) = found["outputs"]
    place = {(core, neuron): k for k, (core, neuron, _, _) in enumerate(output["neurons"])}
    for number in range(2):
        path = folder / f"spikes/sample_{number:04d}.sfti"
        run = run_model(folder / "model.json", path, steps=LENGTH + output["latency"], every=False, seed=0, jobs=1, progress=None)
        assert run.exact
        assert run.merged == 0
        spikes = np.zeros((LENGTH, len(place)), np.int32)
        for tick, core, neuron in run.events.tolist():
            step = tick - found["time"]["tick_of_step"] - output["latency"]
            # What a neuron sends before its latency is over is none of the network's steps.
            if 0 <= step < LENGTH:
                spikes[step, place[core, neuron]] += 1
        assert spikes.any()
        assert np.array_equal(spikes, np.asarray(fixed.spikes[number]).reshape(LENGTH, -1))
    # Every pin of an input neuron has its spikes, and no other axon is an input's.
    heard = {(core, axon) for neuron in found["inputs"][0]["neurons"] for core, axon, _ in neuron}
    assert len(heard) == sum(len(neuron) for neuron in found["inputs"][0]["neurons"])
