"""RANC's own simulator on random models: every spike and every potential of every tick.

The environment variable NMAP_RANC names the program (github.com/UA-RCL/RANC, folder `simulator`).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap_truenorth.model.engine import simulate
from nmap_truenorth.model.read import read_model, read_spikes

_WIDTH, _HEIGHT = 3, 3
_BUS = (2, 1)
_TRACE = re.compile(
    r"Tick (\d+) begins|Core Controller \((\d+), (\d+)\)|Neuron (\d+) integration|(Neuron spikes)|ends at potential: (-?\d+)"
)


@pytest.fixture(scope="module")
def ranc() -> Path:
    """Return RANC's simulator."""
    program = os.environ.get("NMAP_RANC")
    if not program:
        pytest.skip("NMAP_RANC does not name RANC's simulator")
    return Path(program)


def _file(rng: np.random.Generator, axons: int, neurons: int, ticks: int) -> dict[str, Any]:
    """Return a random model in RANC's own words, with its packets; every core of the grid but two, and all their neurons, are listed."""
    places = [(x, y) for x in range(_WIDTH) for y in range(_HEIGHT) if (x, y) not in ((2, 2), _BUS)]
    rng.shuffle(places)
    lines = iter(range(1000))
    strength, scale = int(rng.choice([2, 20, 200, 10**5])), int(rng.choice([1, 30, 3000, 10**6]))

    def number(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    def neuron(x: int, y: int) -> dict[str, Any]:
        output = rng.random() < 0.2
        to = _BUS if output else places[number(0, len(places) - 1)]
        return {
            "weights": [number(-strength, strength) for _ in range(4)], "leak": number(-3, 3) * number(0, 1),
            "positive_threshold": number(-1, scale), "negative_threshold": number(-scale, 1), "reset_potential": number(-scale, scale) // 2,
            "reset_mode": number(0, 1), "current_potential": number(-scale, scale) * number(0, 1),
            "destination_core_offset": [int(to[0] - x), int(to[1] - y)], "destination_tick": number(0, 14),
            "destination_axon": next(lines) if output else number(0, axons - 1),
        }  # fmt: skip

    cores = [
        {
            "coordinates": [int(x), int(y)], "axons": [number(0, 3) for _ in range(axons)],
            "connections": (rng.random((neurons, axons)) < rng.random()).astype(int).tolist(),
            "neurons": [neuron(x, y) for _ in range(neurons)],
        }
        for x, y in places
    ]  # fmt: skip
    packets: list[list[dict[str, Any]]] = [[] for _ in range(ticks)]
    for tick in range(ticks):
        for _ in range(number(0, 12)):
            x, y = places[number(0, len(places) - 1)]
            packets[tick].append({
                "destination_core": [int(x), int(y)], "destination_axon": number(0, axons - 1),
                "destination_tick": number(0, min(14, ticks - 1 - tick)),
            })  # fmt: skip
    return {"packets": packets, "output_bus": {"coordinates": list(_BUS), "num_outputs": max(1, next(lines))}, "cores": cores}


def _trace(text: str, shape: tuple[int, int], numbers: dict[tuple[int, int], int], ticks: int) -> tuple[Array, Array]:
    """Return whether each neuron spiked, and its potential, after each tick, (ticks, cores, neurons)."""
    spikes, potentials = np.zeros((ticks, *shape), bool), np.zeros((ticks, *shape), np.int64)
    tick, core, neuron = -1, -1, -1
    for found in _TRACE.finditer(text):
        begins, x, y, which, fired, potential = found.groups()
        if begins is not None:
            # RANC's first tick is number 1.
            tick = int(begins) - 1
        elif x is not None:
            core = numbers.get((int(x), int(y)), -1)
        elif which is not None:
            neuron = int(which)
        elif core >= 0 and tick < ticks:
            if fired is not None:
                spikes[tick, core, neuron] = True
            else:
                potentials[tick, core, neuron] = int(potential)
    return spikes, potentials


@pytest.mark.parametrize("seed", range(8))
def test_random_models_compute_what_ranc_computes(ranc: Path, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    axons, neurons, ticks = int(rng.choice([4, 40])), int(rng.choice([4, 24])), 25
    written = _file(rng, axons, neurons, ticks)
    config = {
        "num_neurons": neurons, "num_axons": axons, "num_cores_x": _WIDTH, "num_cores_y": _HEIGHT, "num_weights": 4, "max_tick_offset": 16,
        "neuron_block_trace_verbosity": 1, "core_controller_trace_verbosity": 0, "scheduler_trace_verbosity": 0,
        "neuron_reset_type": seed % 2,
    }  # fmt: skip
    file, options, trace, bus = (tmp_path / name for name in ("model.json", "config.json", "trace.txt", "out.txt"))
    file.write_text(json.dumps(written))
    options.write_text(json.dumps(config))
    command = [ranc, "-i", file, "-o", bus, "-c", options, "-t", trace, "--ticks", str(ticks + 1)]
    told = subprocess.run(command, check=True, capture_output=True, timeout=120, text=True).stdout

    findings = Findings()
    model = read_model(file, findings, config=options)
    events = read_spikes(file, model, findings)
    places = [tuple(place) for place in (core["coordinates"] for core in written["cores"])]
    numbers = {place: index for index, place in enumerate(places)}
    spikes, potentials = _trace(trace.read_text(encoding="utf-8-sig"), (len(places), neurons), numbers, ticks)
    done = simulate(model, events, ticks, every=True)
    expected = [[tick, int(model.ids[core]), neuron] for tick, core, neuron in np.argwhere(spikes)]
    assert done.events.tolist() == sorted(expected)
    assert len(expected) > 50
    for last in (1, 2, 9, ticks):
        assert np.array_equal(simulate(model, events, last).potentials, potentials[last - 1]), last
    # Row r of the bus is what was sent in tick r - 1. A line has one neuron, so nothing merges there.
    rows = np.array([line.split() for line in bus.read_text(encoding="utf-8-sig").splitlines()], int)[1:]
    outputs = simulate(model, events, ticks).events
    lines = model.target_core[np.searchsorted(model.ids, outputs[:, 1]), outputs[:, 2]]
    assert np.argwhere(rows).tolist() == sorted([int(tick), int(line)] for tick, line in zip(outputs[:, 0], lines, strict=True))
    # RANC warns where a spike meets another on its axon.
    assert simulate(model, events, ticks + 1).merged == told.count("duplicate spike") > 0
