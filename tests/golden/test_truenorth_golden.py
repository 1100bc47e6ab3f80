"""A published RANC network of 11 cores, trained on handwritten digits, with ten images and the outputs of RANC's own test bench."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap_truenorth.model.engine import simulate
from nmap_truenorth.model.model import Events, Model
from nmap_truenorth.model.read import read_model, read_spikes
from tests.support import shared_data


@pytest.fixture(scope="module")
def folder() -> Path:
    """Return the network's folder, or skip."""
    return shared_data() / "golden" / "ranc_tea_256"


@pytest.fixture(scope="module")
def network(folder: Path) -> tuple[Model, Events]:
    """Return the network and its spikes."""
    findings = Findings()
    model = read_model(folder / "net.json", findings)
    return model, read_spikes(folder / "spikes.json", model, findings)


def _lines(model: Model, events: Array) -> list[list[int]]:
    """Return spikes of outputs as [tick, line]."""
    index = {int(number): k for k, number in enumerate(model.ids)}
    return [[int(tick), int(model.target_core[index[int(core)], neuron])] for tick, core, neuron in events]


@pytest.mark.parametrize("jobs", [1, 2])
def test_outputs_are_the_expected_ones(folder: Path, network: tuple[Model, Events], jobs: int) -> None:
    model, events = network
    expected = json.loads((folder / "expected.json").read_text())
    done = simulate(model, events, expected["ticks"], jobs=jobs)
    assert sorted(_lines(model, done.events)) == sorted(expected["out"])
    assert done.merged == 0
    assert not done.outside.any()


def test_each_image_gives_what_the_test_bench_recorded(folder: Path, network: tuple[Model, Events]) -> None:
    model, events = network
    expected = json.loads((folder / "expected.json").read_text())
    rows = _lines(model, simulate(model, events, expected["ticks"]).events)
    for image, lines in enumerate(expected["tb_correct"]):
        assert sorted(line for tick, line in rows if tick == image + expected["latency"]) == sorted(lines), image


def test_an_image_alone_gives_what_it_gives_among_others(network: tuple[Model, Events]) -> None:
    # The neurons have no memory: they are at 0 after every tick.
    model, events = network
    image = events.tick == 4
    alone = simulate(model, Events(events.tick[image], events.core[image], events.axon[image]), 6)
    among = simulate(model, events, 6)
    assert np.array_equal(alone.events[alone.events[:, 0] == 5], among.events[among.events[:, 0] == 5])
    assert not among.potentials.any()
