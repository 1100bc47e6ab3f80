"""A model file and its spikes through the emulator: ticks, notes, what is exact. The models are written by hand, entry by entry."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.diagnostics import NmapError
from nmap.target.backend import ModelRun
from nmap_truenorth.model.run import MODELS, Run, run_model, spike_file

PLAIN: dict[str, Any] = {
    "class": "NeuronGeneral", **{f"sigma{k}": 1 for k in range(4)}, **{f"s{k}": int(k == 0) for k in range(4)},
    **{f"b{k}": False for k in range(4)}, "sigma_lambda": 1, "lambda": 0, "c_lambda": False, "epsilon": False, "alpha": 1, "beta": 0,
    "TM": 0, "gamma": 0, "kappa": True, "sigma_VR": 1, "VR": 0, "V": 0,
}
"""Fires in the tick in which a spike arrives, and forgets."""
FIRST = [(0, 1), (0, 1), (3, 0), (3, 1)]
"""Tick and axon of input spikes: axon 0 makes neuron 0 fire, which is an output; axon 1 makes neuron 1, which sends to axon 0 after 3."""


def write_model(path: Path, *kinds: dict[str, Any]) -> Path:
    """Write a TrueNorth model of core 7: neuron 0 and 1 as `FIRST` has it, and a neuron for each of `kinds`, an output on its own axon."""
    types = [PLAIN, *({**PLAIN, **kind} for kind in kinds)]
    neurons = 2 + len(kinds)
    bits = np.eye(256, dtype=bool) & (np.arange(256) < neurons)
    rows = [{"type": "S0", "synapses": np.packbits(row).tobytes().hex(" ")} for row in bits]
    core = {
        "id": 7, "rngSeed": 11, "metadata": {},
        "neurons": {
            "dendrites": ["0:255"], "types": ["1x2", *range(2, len(types) + 1), f"0x{256 - neurons}"],
            "destCores": [-32, 7, *range(-33, -33 - len(kinds), -1), f"-1x{256 - neurons}"],
            "destAxons": ["0x2", *([f"0x{len(kinds)}"] if kinds else []), f"-1x{256 - neurons}"], "destDelays": [1, 3, f"1x{254}"],
        },
        "crossbar": {"rows": rows},
    }
    named = [{"name": f"N{number:08X}", **kind} for number, kind in enumerate(types, 1)]
    model = {"coreCount": 1, "neuronclass": "NeuronGeneral", "crossbarSize": 256, "crossbarclass": "CrossbarBinary"}
    path.write_text(json.dumps({"model": model, "neuronTypes": named, "core": core}))
    return path


def write_spikes(path: Path, spikes: list[tuple[int, int]], core: int = 7) -> Path:
    lines = [json.dumps({"spike": {"srcTime": tick, "destCore": core, "destAxon": axon}}) for tick, axon in spikes]
    path.write_text("\n".join([json.dumps({"class": "SpikeWriter", "encoding": "TEXT"}), *lines]) + "\n")
    return path


def go(path: Path, spikes: Path | None = None, **given: Any) -> Run:
    return run_model(path, spikes, **{"steps": None, "every": False, "seed": 0, "jobs": 1, "progress": None, **given})


def test_ticks_and_delays(tmp_path: Path) -> None:
    model, spikes = write_model(tmp_path / "m.json"), write_spikes(tmp_path / "s.sfti", FIRST)
    told: list[str] = []
    run = go(model, spikes, progress=told.append)
    # Seen one tick after it was sent: neuron 1 fires in ticks 1 and 4 and reaches axon 0 in ticks 4 and 7; the input of axon 0 is seen in
    # tick 4, too.
    assert run.events.tolist() == [[4, 7, 0], [7, 7, 0]]
    assert run.events.dtype == np.int32
    # Tick 4 is the last that sees input; ticks 0 to 4, and 16 more. Twice two spikes met: on axon 1 in tick 1, on axon 0 in tick 4.
    assert (run.steps, run.given, run.merged) == (21, 4, 2)
    assert (run.cores, run.neurons, run.every, run.exact, run.why, run.diagnostics) == (1, 2, False, True, None, ())
    assert (run.format, MODELS[run.format]) == ("truenorth", "TrueNorth model file")
    assert told == ["the emulator; at first use it is compiled for this machine", "tick 21 of 21"]
    assert run.seconds is not None
    assert run.seconds > 0
    every = go(model, spikes, every=True)
    assert every.events.tolist() == [[1, 7, 1], [4, 7, 0], [4, 7, 1], [7, 7, 0]]
    assert every.every


def test_input_after_the_last_tick_is_told(tmp_path: Path) -> None:
    model, spikes = write_model(tmp_path / "m.json"), write_spikes(tmp_path / "s.sfti", FIRST)
    run = go(model, spikes, steps=4, every=True)
    assert run.events.tolist() == [[1, 7, 1]]
    (note,) = run.diagnostics
    assert (note.code, note.severity) == ("NM803", "note")
    assert note.message.startswith("2 of 4 input spikes come after the last of the 4 ticks")
    assert run.given == 4


def test_who_says_nothing_of_ticks(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.json")
    with pytest.raises(NmapError) as caught:
        go(model)
    (found,) = caught.value.diagnostics
    assert found.code == "NM004"
    assert any("--steps" in line for line in found.help)
    assert go(model, steps=5).events.shape == (0, 3)


def test_a_spike_file_without_spikes_is_told(tmp_path: Path) -> None:
    run = go(write_model(tmp_path / "m.json"), write_spikes(tmp_path / "s.sfti", []))
    (warning,) = run.diagnostics
    assert (warning.code, warning.severity, run.steps) == ("NM803", "warning", 16)


def test_a_tick_beyond_all_bounds(tmp_path: Path) -> None:
    model, spikes = write_model(tmp_path / "m.json"), write_spikes(tmp_path / "s.sfti", [(2**31 - 17, 0)])
    with pytest.raises(NmapError) as caught:
        go(model, spikes)
    (found,) = caught.value.diagnostics
    assert found.code == "NM107"
    assert go(model, spikes, steps=2).diagnostics[0].code == "NM803"


def test_a_model_that_runs_by_itself(tmp_path: Path) -> None:
    # Up by 5 each tick from 1, a spike at 16 and back to 0: 6, 11, 16; 5, 10, 15, 20; and so on every 4 ticks.
    model = write_model(tmp_path / "m.json", {"lambda": 5, "alpha": 16, "V": 1})
    assert go(model, steps=12).events.tolist() == [[2, 7, 2], [6, 7, 2], [10, 7, 2]]


def test_random_neurons_follow_the_seed_and_are_marked(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.json", {"sigma_lambda": 1, "lambda": 128, "c_lambda": True, "alpha": 1})
    once, again, other = (go(model, steps=64, seed=seed) for seed in (1, 1, 2))
    assert once.events.tolist() == again.events.tolist() != other.events.tolist()
    assert 10 < len(once.events) < 54
    assert not once.exact
    assert once.why is not None
    assert "1 neuron has a stochastic leak" in once.why


def test_a_potential_beyond_20_bits_is_marked(tmp_path: Path) -> None:
    # Nothing holds this one: gamma 2 and kappa 0 leave it below its floor. 255 a tick from -2^19 + 600: too low in the third tick.
    model = write_model(tmp_path / "m.json", {"sigma_lambda": -1, "lambda": 255, "gamma": 2, "kappa": False, "V": 600 - 2**19})
    assert go(model, steps=2).exact
    run = go(model, steps=3)
    assert not run.exact
    assert run.why is not None
    assert "core 7 left the chip's 20 bits" in run.why


def write_ranc(path: Path, packets: list[list[int]]) -> Path:
    """Write a RANC model of one core at (1, 0) whose neuron 0 repeats axon 0 to line 3 of the bus; packets by tick, as axons."""
    neuron = {
        "weights": [1, 0, 0, 0], "leak": 0, "positive_threshold": 1, "negative_threshold": 0, "reset_potential": 0, "reset_mode": 0,
        "current_potential": 0, "destination_core_offset": [-1, 1], "destination_axon": 3, "destination_tick": 0,
    }
    core = {"coordinates": [1, 0], "axons": [0], "connections": [[1]], "neurons": [neuron]}
    inputs = [[{"destination_core": [1, 0], "destination_axon": axon, "destination_tick": 0} for axon in tick] for tick in packets]
    path.write_text(json.dumps({"packets": inputs, "output_bus": {"coordinates": [0, 1], "num_outputs": 4}, "cores": [core]}))
    return path


def test_ranc_holds_its_input_or_takes_another(tmp_path: Path) -> None:
    model, other = write_ranc(tmp_path / "m.json", [[0], [], [0], []]), write_ranc(tmp_path / "p.json", [[], [0]])
    inside = go(model)
    # A packet acts in its own tick.
    assert inside.events.tolist() == [[0, 0, 0], [2, 0, 0]]
    assert (inside.steps, inside.format, inside.given) == (19, "ranc", 2)
    outside = go(model, other)
    assert outside.events.tolist() == [[1, 0, 0]]
    assert outside.steps == 18
    silent = write_ranc(tmp_path / "silent.json", [])
    with pytest.raises(NmapError, match="how many ticks"):
        go(silent)


def test_spikes_in_the_chips_own_text(tmp_path: Path) -> None:
    model, spikes = write_model(tmp_path / "m.json"), write_spikes(tmp_path / "s.sfti", [(0, 1)])
    content = spike_file(go(model, spikes, every=True), ".sfto")
    assert content is not None
    lines = [json.loads(line) for line in content.decode().splitlines()]
    found = [line["spike"] for line in lines if "spike" in line]
    keys = ("srcTime", "srcCore", "srcNeuron", "destCore", "destAxon")
    assert [tuple(spike[key] for key in keys) for spike in found] == [(1, 7, 1, 7, 0), (4, 7, 0, -32, 0)]


def test_endings(tmp_path: Path) -> None:
    run = go(write_model(tmp_path / "m.json"), steps=1)
    nothing = ModelRun(run.events, 1, 1, 1, 0, False, True, None, "", 0, "")
    for suffix in (".sfto", ".rawo6"):
        assert spike_file(nothing, suffix) is not None
        assert spike_file(run, suffix)
    assert spike_file(run, ".sfti") is None
    assert spike_file(nothing, ".h5") is None
