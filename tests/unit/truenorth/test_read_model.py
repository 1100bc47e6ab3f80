"""Telling model files apart, and files as a whole: recorded data, binary models, files that cannot be read."""

from __future__ import annotations

import json
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.diagnostics import Findings, NmapError
from nmap_truenorth.model import source
from nmap_truenorth.model.engine import simulate
from nmap_truenorth.model.model import NOWHERE, OFF_CHIP, Events, Model, differences, pack_crossbar
from nmap_truenorth.model.read import read_model, read_outputs_file, read_spikes
from tests.support import shared_data
from tests.unit.truenorth.model_files import neuron_type, ranc_config, ranc_model, small_model, text_model


def dialect(folder: Path, content: Any) -> str:
    path = folder / "m.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_model(path, Findings()).dialect


def test_models_are_told_apart_by_content(tmp_path: Path) -> None:
    """Whatever the order of the keys."""
    (tmp_path / "config.json").write_text(json.dumps(ranc_config()))
    assert dialect(tmp_path, text_model()) == "truenorth"
    assert dialect(tmp_path, dict(reversed(ranc_model().items()))) == "ranc"
    neuron = {"weights": [], "leak": 0, "alpha": 1, "beta": 0, "reset": 0, "gamma": 0, "v0": 0, "dest": None}
    assert dialect(tmp_path, {"cores": [{"types": [0], "crossbar": [[0]], "neurons": [neuron]}], "axons": 1, "neurons": 1}) == "neutral"


@pytest.mark.parametrize("name", ["absent.json", "."])
def test_files_that_cannot_be_read(tmp_path: Path, name: str) -> None:
    """A missing file and a folder, as model and as spikes."""
    for read in (lambda: read_model(tmp_path / name, Findings()), lambda: read_spikes(tmp_path / name, small_model(), Findings())):
        with pytest.raises(NmapError) as caught:
            read()
        assert [d.code for d in caught.value.diagnostics] == ["NM101"]


def test_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of them is read."""
    monkeypatch.setattr(source, "MOST_BYTES", 10)
    (tmp_path / "m.json").write_text(text_model())
    with pytest.raises(NmapError) as caught:
        read_model(tmp_path / "m.json", Findings())
    assert [d.code for d in caught.value.diagnostics] == ["NM110"]


def test_a_faulty_configuration_is_named(tmp_path: Path) -> None:
    """The place of the diagnostic is the configuration."""
    (tmp_path / "m.json").write_text(json.dumps(ranc_model()))
    (tmp_path / "config.json").write_text('{"num_axons":')
    with pytest.raises(NmapError) as caught:
        read_model(tmp_path / "m.json", Findings())
    assert [(d.code, str(d.where).endswith("config.json")) for d in caught.value.diagnostics] == [("NM103", True)]


def naive(model: Model, events: Events, ticks: int) -> list[tuple[int, int, int]]:
    """Return (tick, core index, neuron) of spikes that leave the chip, by the equations, one neuron at a time."""
    pending: dict[int, set[tuple[int, int]]] = {}
    for tick, core, axon in zip(events.tick.tolist(), events.core.tolist(), events.axon.tolist(), strict=True):
        pending.setdefault(tick + model.input_delay, set()).add((core, axon))
    bits = np.unpackbits(model.crossbar, axis=2, count=model.neurons)
    potential = {(c, j): int(model.potential[c, j]) for c, j in np.argwhere(model.enabled).tolist()}
    fired: list[tuple[int, int, int]] = []
    for tick in range(ticks):
        current: dict[tuple[int, int], int] = {}
        for core, axon in pending.pop(tick, set()):
            for j in np.flatnonzero(bits[core, axon]).tolist():
                current[core, j] = current.get((core, j), 0) + int(model.weights[core, j, model.axon_types[core, axon]])
        for (core, j), before in potential.items():
            v = before + current.get((core, j), 0) + int(model.leak[core, j])
            alpha, beta, reset = int(model.threshold[core, j]), int(model.floor[core, j]), int(model.reset[core, j])
            linear = int(model.gamma[core, j]) == 1
            if v >= alpha:
                v = v - alpha if linear else reset
                if model.target[core, j] == OFF_CHIP:
                    fired.append((tick, core, j))
                elif model.target[core, j] != NOWHERE:
                    to = int(model.target[core, j]), int(model.target_axon[core, j])
                    pending.setdefault(tick + int(model.delay[core, j]), set()).add(to)
            elif v < -beta:
                v = v + beta if linear else -reset
            potential[core, j] = v
    return fired


def test_the_recorded_network_gives_its_outputs() -> None:
    """The neutral JSON of a trained network with its spikes and outputs: fields, orientation of the crossbar and timing."""
    folder = shared_data() / "golden" / "ranc_tea_256"
    findings = Findings()
    model = read_model(folder / "net.json", findings)
    assert (model.cores, model.axons, model.neurons) == (11, 256, 256)
    events = read_spikes(folder / "spikes.json", model, findings)
    expected = json.loads((folder / "expected.json").read_text())
    fired = [(tick, int(model.target_core[core, j])) for tick, core, j in naive(model, events, expected["ticks"])]
    assert sorted(fired) == sorted((tick, line) for tick, line in expected["out"])
    assert not list(findings)


def bits_of(row: dict[str, int]) -> int:
    """Return a neuron row's parameters as a number, by the places the layout gives them."""
    places = {
        "gamma": (2, 2),
        "kappa": (4, 1),
        "TM": (10, 5),
        "beta": (15, 18),
        "alpha": (33, 18),
        "c": (51, 1),
        "leak": (52, 9),
        "epsilon": (61, 1),
    }
    places |= {"b0": (62, 1), "s3": (66, 9), "s2": (75, 9), "s1": (84, 9), "s0": (93, 9), "VR": (5, 5), "V": (358, 20)}
    return sum((row[key] & (1 << width) - 1) << at for key, (at, width) in places.items() if key in row)


def binary(rows: dict[int, tuple[int, int, int, int]], types: dict[int, int], seed: int = 77) -> bytes:
    """Return a binary model of one core: by neuron its parameters and crossbar, destination, delay and axon; by axon its type."""
    off = sum(1 << (255 - j) for j in range(256) if j not in rows)
    kinds = sum(kind << 2 * (255 - axon) for axon, kind in types.items())
    block = b"TNCB\xff\xff" + off.to_bytes(32, "little") + bytes(6) + struct.pack("<I", seed) + kinds.to_bytes(64, "little")
    data = b"TNBM" + struct.pack("<7I", 6, 8, 0x0F1C, 1, 0, 0, 0) + block
    for j in range(256):
        parameters, dest, delay, axon = rows.get(j, (0, 3, 0, 0))
        tail = (delay << 2) | (axon << 6)
        data += parameters.to_bytes(48, "little") + struct.pack("<i", dest) + tail.to_bytes(8, "little")
    return data


def test_a_binary_model(tmp_path: Path) -> None:
    """Every field at its place; the maps of neurons and of axon types count down."""
    parameters = {
        "gamma": 2,
        "kappa": 1,
        "TM": 8,
        "beta": 3,
        "alpha": 2**18 - 1,
        "leak": -7,
        "epsilon": 1,
        "s0": -255,
        "s1": 4,
        "s2": 0,
        "s3": 9,
    }
    crossbar = 1 << 102 | 1 << 112 | 1 << 357
    path = tmp_path / "m.tnbm"
    path.write_bytes(binary({5: (bits_of(parameters) | crossbar, 0, 15, 200), 250: (bits_of({"alpha": 1}), -33, 1, 4)}, {0: 3, 10: 1}))
    model = read_model(path, Findings())
    assert np.flatnonzero(model.enabled[0]).tolist() == [5, 250]
    assert model.weights[0, 5].tolist() == [-255, 4, 0, 9]
    assert (model.leak[0, 5], model.threshold[0, 5], model.floor[0, 5], model.gamma[0, 5], model.mask[0, 5]) == (-7, 2**18 - 1, 3, 2, 8)
    assert model.kappa[0, 5]
    assert model.leak_reversal[0, 5]
    assert not model.leak_stochastic[0, 5]
    assert (model.target[0, 5], model.target_axon[0, 5], model.delay[0, 5]) == (0, 200, 15)
    assert (model.target[0, 250], model.target_core[0, 250]) == (OFF_CHIP, -33)
    assert np.argwhere(np.unpackbits(model.crossbar[0], axis=1)).tolist() == [[0, 5], [10, 5], [255, 5]]
    assert model.axon_types[0].tolist() == [3] + [0] * 9 + [1] + [0] * 245
    assert model.seeds.tolist() == [77]


@pytest.mark.parametrize(
    ("rows", "code"),
    [
        ({5: (bits_of({"alpha": 1}), 1, 1, 0)}, "NM107"),
        ({5: (bits_of({"alpha": 1}), 0, 0, 0)}, "NM107"),
        ({5: (bits_of({"alpha": 1, "TM": 19}), 0, 1, 0)}, "NM107"),
        ({5: (bits_of({"alpha": 1, "gamma": 3}), 0, 1, 0)}, "NM107"),
        ({5: (bits_of({"alpha": 1, "VR": 1}), 0, 1, 0)}, "NM104"),
        ({5: (bits_of({"alpha": 1, "V": 1}), 0, 1, 0)}, "NM104"),
    ],
)
def test_binary_models_that_are_refused(tmp_path: Path, rows: dict[int, tuple[int, int, int, int]], code: str) -> None:
    """Named with core and neuron."""
    path = tmp_path / "m.tnbm"
    path.write_bytes(binary(rows, {}))
    with pytest.raises(NmapError) as caught:
        read_model(path, Findings())
    assert [(d.code, str(d.where).endswith(":core 0:neuron 5")) for d in caught.value.diagnostics] == [(code, True)]


def test_a_binary_model_of_extreme_values(tmp_path: Path) -> None:
    """Everything else that fits in a field is some neuron; of one that is disabled, nothing is looked at."""
    lowest = {"alpha": 0, "beta": 2**18 - 1, "leak": -256, "s0": -256, "s1": 255, "b0": 1, "c": 1, "TM": 18, "gamma": 2}
    path = tmp_path / "m.tnbm"
    data = bytearray(binary({5: (bits_of(lowest), -2, 0, 255), 6: (bits_of({}), -32, 15, 255)}, {}))
    row = 32 + 112 + 60 * 7
    data[row : row + 48] = b"\xff" * 48
    path.write_bytes(data)
    model = read_model(path, Findings())
    assert np.flatnonzero(model.enabled[0]).tolist() == [5, 6]
    assert model.weights[0, 5].tolist() == [-256, 255, 0, 0]
    assert (model.leak[0, 5], model.threshold[0, 5], model.floor[0, 5], model.mask[0, 5]) == (-256, 0, 2**18 - 1, 18)
    assert (model.target[0, 5], model.target[0, 6], model.target_axon[0, 6], model.delay[0, 6]) == (NOWHERE, OFF_CHIP, 255, 15)
    assert simulate(model, Events(np.zeros(0), np.zeros(0), np.zeros(0)), 3).events.tolist() == [[tick, 0, 6] for tick in range(3)]


def test_cut_binary_models(tmp_path: Path) -> None:
    """And a count that asks for memory."""
    path = tmp_path / "m.tnbm"
    data = binary({}, {})
    for faulty in (data[:-1], data[:20], data[:4], data[:16] + b"\xff" * 4 + data[20:], data[:32] + b"XXXX" + data[36:]):
        path.write_bytes(faulty)
        with pytest.raises(NmapError) as caught:
            read_model(path, Findings())
        assert all(d.code in ("NM103", "NM106") for d in caught.value.diagnostics)


def test_a_text_model_runs_as_its_equations_say(tmp_path: Path) -> None:
    """A neuron of the file fires in the tick its input is seen, and its spike arrives `delay` ticks later."""
    neurons = (
        '"dendrites":["0:255"],"types":[1,1,"0x254"],"destCores":[0,-32,"-1x254"],"destAxons":[1,0,"0x254"],"destDelays":[4,1,"1x254"]'
    )
    bars = ['{"type":"S0","synapses":"80' + " 00" * 31 + '"}', '{"type":"S0","synapses":"40' + " 00" * 31 + '"}']
    bars += ['{"type":"S0","synapses":"' + " ".join(["00"] * 32) + '"}'] * 254
    memoryless = neuron_type(1, s0=1, alpha=1, beta=0, gamma=0, VR=0, V=0, **{"lambda": 0}, epsilon=False)
    (tmp_path / "m.json").write_text(text_model(types=[memoryless], neurons=neurons, crossbar=f'{{"rows":[{",".join(bars)}]}}'))
    model = read_model(tmp_path / "m.json", Findings())
    (tmp_path / "s.sfti").write_text('{"spike":{"srcTime":2,"destCore":0,"destAxon":0}}')
    events = read_spikes(tmp_path / "s.sfti", model, Findings())
    assert naive(model, events, 20) == [(2 + 1 + 4, 0, 1)]


def test_shapes_are_checked() -> None:
    """A model and events that do not fit together are no model."""
    with pytest.raises(ValueError, match="`floor` has shape"):
        small_model(floor=np.zeros((3, 15)))
    with pytest.raises(ValueError, match="metadata"):
        small_model(corelets=({},))
    with pytest.raises(ValueError, match="order"):
        Events(np.array([2, 1]), np.zeros(2), np.zeros(2))
    with pytest.raises(ValueError, match="length"):
        Events(np.array([1]), np.zeros(2), np.zeros(2))
    model = small_model()
    assert not model.weights.flags.writeable
    assert pack_crossbar(np.eye(9)).tolist() == np.packbits(np.eye(9, dtype=bool), axis=1).tolist()
    assert len(Events.ordered(np.array([2, 1]), np.array([0, 1]), np.array([5, 6]))) == 2


def test_models_of_other_sizes_compare_padded() -> None:
    """A core padded with axons without synapses and disabled neurons is the same core."""
    model = small_model(cores=1)
    wide = {name: np.pad(getattr(model, name), [(0, 0), (0, 4)] + [(0, 0)] * (getattr(model, name).ndim - 2)) for name in (
        "weights", "stochastic", "leak", "leak_stochastic", "leak_reversal", "threshold", "floor", "mask", "gamma", "kappa", "reset",
        "potential", "enabled", "target_core", "target_axon", "delay")}  # fmt: skip
    wide["target"] = np.pad(model.target, [(0, 0), (0, 4)], constant_values=NOWHERE)
    wide["axon_types"] = np.pad(model.axon_types, [(0, 0), (0, 2)])
    wide["crossbar"] = np.pad(model.crossbar, [(0, 0), (0, 2), (0, 1)])
    assert differences(model, small_model(cores=1, **wide)) == []
    wide["crossbar"] = wide["crossbar"].copy()
    wide["crossbar"][0, 17, 0] = 1
    assert differences(model, small_model(cores=1, **wide)) == [
        f"core {model.ids[0]}: the synapse of axon 17 and neuron 7 is only in the second"
    ]


def test_recorded_outputs_need_their_source(tmp_path: Path) -> None:
    """An empty recording is none; a file of another kind is told."""
    path = tmp_path / "o.sfto"
    path.write_text('{"encoding":"TEXT"}\n')
    assert read_outputs_file(path, Findings()).shape == (0, 3)
    path.write_text("nothing")
    with pytest.raises(NmapError, match="no spike file"):
        read_outputs_file(path, Findings())


def test_other_files_beside_a_model_are_no_configuration(tmp_path: Path) -> None:
    """Neither by their content alone nor by their name alone; a note says which was read, a warning which was not."""
    (tmp_path / "m.json").write_text(json.dumps(ranc_model()))
    (tmp_path / "b_config.json").write_text(json.dumps(ranc_config(num_axons=9)))
    (tmp_path / "other.json").write_text(json.dumps(ranc_config(num_axons=9)))

    def axons(*expected: tuple[str, str]) -> int:
        findings = Findings()
        model = read_model(tmp_path / "m.json", findings)
        told = [(d.severity, d.message) for d in findings if ".json`" in d.message]
        assert [severity for severity, _ in told] == [severity for severity, _ in expected]
        assert all(f"`{tmp_path / name}`" in message for (_, message), (_, name) in zip(told, expected, strict=True))
        return model.axons

    assert axons() == 3
    (tmp_path / "config.json").write_text('{"tickCount": 20}')
    assert axons(("warning", "config.json")) == 3
    (tmp_path / "config.json").write_text(json.dumps(ranc_config(num_axons=4)))
    assert axons(("note", "config.json")) == 4
    (tmp_path / "m.config.json").write_text(json.dumps(ranc_config(num_axons=5)))
    assert axons(("note", "m.config.json")) == 5
    (tmp_path / "m_config.json").write_text(json.dumps(ranc_config(num_axons=6)))
    assert axons(("note", "m_config.json")) == 6
    (tmp_path / "m_config.json").write_text(" " * 2**21)
    assert axons(("warning", "m_config.json"), ("note", "m.config.json")) == 5


@pytest.mark.parametrize("read", [lambda path: read_model(path, Findings()), lambda path: read_spikes(path, small_model(), Findings())])
def test_large_files_of_another_kind_are_not_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    """Their first bytes say that they are no model and no spikes."""
    path = tmp_path / "m.json"
    with path.open("wb") as stream:
        stream.truncate(2**28)
    tracemalloc.start()
    try:
        with pytest.raises(NmapError) as caught:
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert [d.code for d in caught.value.diagnostics] == ["NM102"]
