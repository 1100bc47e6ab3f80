"""RANC's JSON and configuration, and the neutral JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap_truenorth.model.model import NOWHERE, OFF_CHIP, Events, Model, differences
from nmap_truenorth.model.ranc import as_ranc, ranc_reasons, write_packets, write_ranc
from nmap_truenorth.model.read import read_model, read_spikes
from tests.unit.truenorth.model_files import notes, ranc_config, ranc_model, ranc_neuron, small_model, told


def read(folder: Path, content: Any, config: Any = None, findings: Findings | None = None) -> Model:
    path = folder / "m.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    beside = folder / "config.json"
    beside.unlink(missing_ok=True)
    if config is not None:
        beside.write_text(json.dumps(config))
    return read_model(path, Findings() if findings is None else findings)


def refused(folder: Path, content: Any, config: Any = None) -> list[tuple[str, str]]:
    with pytest.raises(NmapError) as caught:
        read(folder, content, config)
    return told(caught.value)


def first_neuron(**changed: Any) -> dict[str, Any]:
    model = ranc_model()
    model["cores"][0]["neurons"][0] = ranc_neuron(**changed)
    return model


def test_ranc_s_fields(tmp_path: Path) -> None:
    """Each key's meaning: neuron-major connections, signed negative threshold, offsets, ticks that count from the next."""
    model = read(tmp_path, ranc_model(), ranc_config())
    assert (model.dialect, model.cores, model.axons, model.neurons, model.input_delay, model.symmetric) == ("ranc", 2, 3, 2, 0, False)
    assert model.ids.tolist() == [0, 1]
    assert model.places is not None
    assert model.places.tolist() == [[0, 0], [1, 0]]
    assert model.axon_types.tolist() == [[0, 1, 2], [2, 0, 0]]
    bits = np.unpackbits(model.crossbar, axis=2, count=2)
    assert bits[0].T.tolist() == [[1, 0, 1], [1, 0, 0]]
    assert bits[1].T.tolist() == [[0, 1, 0], [0, 0, 0]]
    assert model.weights[0, 0].tolist() == [3, -2, 7, 0]
    assert (model.leak[0, 0], model.threshold[0, 0], model.floor[0, 0], model.reset[0, 0], model.potential[0, 0]) == (-1, 5, 4, 2, -3)
    assert model.gamma.tolist() == [[1, 0], [1, 0]]
    assert not model.kappa.any()
    assert model.enabled.tolist() == [[True, True], [True, False]]
    assert model.target.tolist() == [[1, 1], [OFF_CHIP, NOWHERE]]
    assert (model.target_axon[0, 0], model.delay[0, 0]) == (1, 3)
    assert (model.target_core[1, 0], model.delay[1, 0]) == (3, 1)
    assert model.exact


def test_the_floor_test_comes_from_the_configuration(tmp_path: Path) -> None:
    """neuron_reset_type 1 is symmetric; without a configuration the choice is told where it can matter."""
    assert read(tmp_path, ranc_model(), ranc_config(neuron_reset_type=1)).symmetric
    findings = Findings()
    model = read(tmp_path, ranc_model(), None, findings)
    assert not model.symmetric
    assert (model.axons, model.neurons) == (3, 2)
    assert [d.severity for d in findings] == ["warning"]
    findings = Findings()
    harmless = ranc_neuron(negative_threshold=0, reset_potential=0)
    cores = [{"coordinates": [0, 0], "axons": [0], "connections": [[1]], "neurons": [harmless | {"destination_tick": 0}]}]
    read(tmp_path, ranc_model(cores=cores, output_bus={"coordinates": [1, 0], "num_outputs": 2}), None, findings)
    assert len(findings) == 0


def test_a_configuration_may_be_named(tmp_path: Path) -> None:
    """It comes before the one beside the model, and is told."""
    assert read(tmp_path, ranc_model(), ranc_config(num_axons=5)).axons == 5
    named = tmp_path / "elsewhere.txt"
    named.write_text(json.dumps(ranc_config(num_axons=7)))
    findings = Findings()
    assert read_model(tmp_path / "m.json", findings, config=named).axons == 7
    assert [str(named) in note for note in notes(findings)] == [True]


def test_a_cell_without_a_core_takes_spikes_to_nowhere(tmp_path: Path) -> None:
    """The grid's other cells have cores that never fire."""
    model = read(tmp_path, first_neuron(destination_core_offset=[2, 1]), ranc_config())
    assert model.target[0].tolist() == [NOWHERE, 1]
    assert model.enabled[0].all()


def test_listed_neurons_with_ranc_s_own_values_are_disabled(tmp_path: Path) -> None:
    """As those that a short list leaves out; one with a synapse is not."""
    still = {"weights": [0, 0], "leak": 0, "positive_threshold": 1, "negative_threshold": 0, "reset_potential": 0, "reset_mode": 0}
    content = first_neuron(**still, current_potential=0)
    assert read(tmp_path, content, ranc_config()).enabled[0].tolist() == [True, True]
    content["cores"][0]["connections"][0] = []
    assert read(tmp_path, content, ranc_config()).enabled[0].tolist() == [False, True]


CORE_KEYS = ("coordinates", "axons", "connections", "neurons")


@pytest.mark.parametrize("key", sorted(ranc_neuron()))
def test_each_key_of_a_neuron_is_needed(tmp_path: Path, key: str) -> None:
    """As RANC itself refuses a file without it."""
    assert refused(tmp_path, first_neuron(**{key: None}), ranc_config())[0] == ("NM103", "core 0:neuron 0")


@pytest.mark.parametrize("key", CORE_KEYS)
def test_each_key_of_a_core_is_needed(tmp_path: Path, key: str) -> None:
    """Named with its core."""
    content = ranc_model()
    del content["cores"][1][key]
    assert refused(tmp_path, content, ranc_config())[0] in [("NM103", "core 1")]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"destination_tick": 15}, [("NM107", "core 0:neuron 0")]),
        ({"destination_tick": -1}, [("NM107", "core 0:neuron 0")]),
        ({"destination_core_offset": [3, 0]}, [("NM107", "core 0:neuron 0")]),
        ({"destination_core_offset": [-1, 0]}, [("NM107", "core 0:neuron 0")]),
        ({"destination_core_offset": [1]}, [("NM106", "core 0:neuron 0")]),
        ({"destination_axon": 3}, [("NM107", "core 0:neuron 0")]),
        ({"destination_core_offset": [1, 1], "destination_axon": 4}, [("NM107", "core 0:neuron 0")]),
        ({"reset_mode": 2}, [("NM107", "core 0:neuron 0")]),
        ({"leak": 2**31}, [("NM107", "core 0:neuron 0")]),
        ({"leak": 1.5}, [("NM107", "core 0:neuron 0")]),
        ({"leak": True}, [("NM107", "core 0:neuron 0")]),
        ({"leak": 10**400}, [("NM107", "core 0:neuron 0")]),
        ({"weights": [1, 2, 3, 4, 5]}, [("NM106", "core 0:neuron 0")]),
        ({"weights": [1, None]}, [("NM103", "core 0:neuron 0")]),
    ],
)
def test_what_is_wrong_with_a_neuron(tmp_path: Path, changed: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """One diagnostic with core and neuron."""
    assert refused(tmp_path, first_neuron(**changed), ranc_config()) == expected


@pytest.mark.parametrize(
    ("core", "changed", "expected"),
    [
        (0, {"coordinates": [1, 0]}, ("NM107", "core 1")),
        (0, {"coordinates": [1, 1]}, ("NM107", "core 0")),
        (1, {"coordinates": [3, 0]}, ("NM107", "core 1")),
        (1, {"axons": [0, 1, 2, 3]}, ("NM106", "")),
        (1, {"axons": [4]}, ("NM107", "core 1:axon 0")),
        (0, {"connections": [[1]]}, ("NM106", "core 0")),
        (0, {"connections": [[1], [2]]}, ("NM107", "core 0:neuron 1")),
        (0, {"connections": [[1], 1]}, ("NM106", "core 0:neuron 1")),
        (0, {"connections": [[[1]], [1]]}, ("NM107", "core 0:neuron 0")),
        (0, {"connections": [[10**30], [1]]}, ("NM107", "core 0:neuron 0")),
        (0, {"neurons": [1, 2]}, ("NM106", "core 0:neuron 0")),
    ],
)
def test_what_is_wrong_with_a_core(tmp_path: Path, core: int, changed: dict[str, Any], expected: tuple[str, str]) -> None:
    """Named with its core."""
    content = ranc_model()
    content["cores"][core] |= changed
    assert expected in refused(tmp_path, content, ranc_config())


@pytest.mark.parametrize(
    ("content", "config", "code"),
    [
        (ranc_model(output_bus=None), None, "NM103"),
        (ranc_model(cores=None), None, "NM103"),
        (ranc_model(cores=[]), None, "NM103"),
        (ranc_model(cores=[3]), None, "NM106"),
        (ranc_model(output_bus={"coordinates": [1, 1], "num_outputs": "4"}), None, "NM107"),
        (ranc_model(), ranc_config(num_axons=2**40), "NM107"),
        (ranc_model(), ranc_config(num_axons=2**16, num_neurons=2**16), "NM110"),
        (ranc_model(), ["num_axons"], "NM106"),
        (ranc_model(), {"num_axons": 3}, "NM103"),
    ],
)
def test_what_is_wrong_with_the_whole(tmp_path: Path, content: Any, config: Any, code: str) -> None:
    """Missing parts, and a configuration that asks for memory."""
    assert code in [told_code for told_code, _ in refused(tmp_path, content, config)]


def test_the_obsolete_key_is_named(tmp_path: Path) -> None:
    """`destination_core` is what RANC read before."""
    content = first_neuron(destination_core_offset=None, destination_core=[1, 0])
    with pytest.raises(NmapError, match="`destination_core`, which RANC no longer reads"):
        read(tmp_path, content, ranc_config())


def ranc_like(seed: int, **changed: Any) -> Model:
    """Return a random model inside RANC's subset, in the text format's dialect."""
    model = small_model(seed=seed)
    zeros = np.zeros(model.kappa.shape, bool)
    plain = {"kappa": zeros, "leak_reversal": zeros, "leak_stochastic": zeros, "stochastic": np.zeros((*zeros.shape, 4), bool)}
    return replace(model, **(plain | {"mask": np.zeros(zeros.shape), "gamma": model.gamma % 2} | changed))


@pytest.mark.parametrize("seed", range(5))
def test_what_is_written_is_read_back(tmp_path: Path, seed: int) -> None:
    """Model, configuration and packets."""
    model = ranc_like(seed)
    rng = np.random.default_rng(seed)
    events = Events.ordered(rng.integers(0, 9, 40), rng.integers(0, 3, 40), rng.integers(0, 16, 40))
    text, config = write_ranc(model, events)
    again = read(tmp_path, text.decode(), json.loads(config))
    assert differences(as_ranc(model), again) == []
    assert write_ranc(again)[0] == write_ranc(model)[0]
    seen = read_spikes(tmp_path / "m.json", again, Findings())
    assert sorted(zip(seen.tick.tolist(), seen.core.tolist(), seen.axon.tolist(), strict=True)) == sorted(
        zip((events.tick + 1).tolist(), events.core.tolist(), events.axon.tolist(), strict=True)
    )
    assert int((again.target == OFF_CHIP).sum()) == int((model.enabled & (model.target == OFF_CHIP)).sum())


def test_outputs_are_numbered_in_order() -> None:
    """Lines of the bus by core, then neuron; every neuron of the file has a destination on the grid."""
    model = ranc_like(3)
    ranc = as_ranc(model)
    lines = ranc.target_core[ranc.target == OFF_CHIP]
    assert lines.tolist() == list(range(lines.size))
    content, config = (json.loads(part) for part in write_ranc(model))
    cells = {tuple(core["coordinates"]) for core in content["cores"]}
    bus = tuple(content["output_bus"]["coordinates"])
    assert bus not in cells
    assert bus != (0, 0)
    for core in content["cores"]:
        for neuron in core["neurons"]:
            x, y = (a + b for a, b in zip(core["coordinates"], neuron["destination_core_offset"], strict=True))
            assert 0 <= x < config["num_cores_x"]
            assert 0 <= y < config["num_cores_y"]
            assert neuron["destination_axon"] < (content["output_bus"]["num_outputs"] if (x, y) == bus else config["num_axons"])
            assert 0 <= neuron["destination_tick"] <= 14


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("gamma", 2, "gamma = 2"),
        ("leak_reversal", True, "epsilon"),
        ("stochastic", True, r"\(b\)"),
        ("leak_stochastic", True, r"\(c\)"),
        ("mask", 3, "TM"),
        ("kappa", True, "kappa = 1"),
        ("threshold", 2**31, "32 bits"),
    ],
)
def test_what_ranc_cannot_compute_is_said(field: str, value: Any, words: str) -> None:
    """One reason each, and no file."""
    model = ranc_like(1, leak=np.ones((3, 16)), weights=np.ones((3, 16, 4)), floor=np.full((3, 16), 9), reset=np.zeros((3, 16)))
    assert ranc_reasons(model) == []
    values = getattr(model, field).copy()
    values[tuple(np.argwhere(model.enabled)[0])] = value
    with pytest.raises(ValueError, match=words):
        write_ranc(replace(model, **{field: values}))


def test_a_floor_that_holds_is_ranc_s_where_it_makes_no_difference() -> None:
    """kappa = 1 with a hard reset to the floor's value, or with a floor that is never passed."""
    kappa = np.ones((3, 16), bool)
    model = ranc_like(1, kappa=kappa, gamma=np.zeros((3, 16)), floor=np.full((3, 16), 5), reset=np.full((3, 16), 5))
    assert ranc_reasons(model) == []
    other = replace(model, floor=np.full((3, 16), 6))
    assert len(ranc_reasons(other)) == 1
    assert ranc_reasons(other, unreached=kappa) == []


def test_packets_name_cells() -> None:
    """A list for every tick, in which a spike is seen one tick after it was sent."""
    model = as_ranc(ranc_like(0))
    events = Events(np.array([0, 2]), np.array([2, 1]), np.array([4, 5]))
    packets = write_packets(replace(model, input_delay=1), events)
    assert [len(tick) for tick in packets] == [0, 1, 0, 1]
    assert packets[1][0] == {"destination_core": [0, 1], "destination_axon": 4, "destination_tick": 0}
    assert packets[3][0]["destination_core"] == [1, 0]


def neutral(**changed: Any) -> dict[str, Any]:
    neuron = {"weights": [1, -1, 2, 0], "leak": -2, "alpha": 3, "beta": 4, "reset": 5, "gamma": 1, "v0": 6}
    neurons = [neuron | {"dest": dest} for dest in ([1, 1, 15], ["out", 8], None)]
    core = {"name": "a", "types": [0, 3], "crossbar": [[1, 0, 0], [0, 1, 1]], "neurons": neurons}
    return {"axons": 2, "neurons": 3, "cores": [core, core | {"neurons": [neuron | {"dest": [0, 0, 1]}] * 3}]} | changed


def test_the_neutral_fields(tmp_path: Path) -> None:
    """Axon-major crossbar, three kinds of destinations, spikes seen in their own tick."""
    model = read(tmp_path, neutral())
    assert (model.dialect, model.input_delay, model.ids.tolist()) == ("neutral", 0, [0, 1])
    assert np.unpackbits(model.crossbar[0], axis=1, count=3).tolist() == [[1, 0, 0], [0, 1, 1]]
    assert model.target[0].tolist() == [1, OFF_CHIP, NOWHERE]
    assert (model.target_axon[0, 0], model.delay[0, 0], model.target_core[0, 1]) == (1, 15, 8)
    assert (model.leak[0, 0], model.threshold[0, 0], model.floor[0, 0], model.reset[0, 0], model.gamma[0, 0], model.potential[0, 0]) == (
        -2,
        3,
        4,
        5,
        1,
        6,
    )


@pytest.mark.parametrize(
    ("dest", "place"),
    [
        ([2, 0, 1], "core 0:neuron 0"),
        ([1, 2, 1], "core 0:neuron 0"),
        ([1, 0, 0], "core 0:neuron 0"),
        ([1, 0, 16], "core 0:neuron 0"),
        ("x", "core 0:neuron 0"),
    ],
)
def test_wrong_neutral_destinations(tmp_path: Path, dest: Any, place: str) -> None:
    """One diagnostic with core and neuron."""
    content = neutral()
    content["cores"][0]["neurons"][0]["dest"] = dest
    assert [found for _, found in refused(tmp_path, content)] == [place]


def test_neutral_flags(tmp_path: Path) -> None:
    """True, false, 1 and 0; one for each axon type in `b`."""
    content = neutral()
    content["cores"][0]["neurons"][0] |= {"kappa": True, "epsilon": 0, "c": 1, "b": [False, 1, 0, True]}
    model = read(tmp_path, content)
    assert (model.kappa[0, 0], model.leak_reversal[0, 0], model.leak_stochastic[0, 0]) == (True, False, True)
    assert model.stochastic[0].tolist() == [[False, True, False, True]] + [[False] * 4] * 2


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"kappa": "false"}, "NM107"),
        ({"epsilon": 7}, "NM107"),
        ({"c": None}, "NM107"),
        ({"b": [1]}, "NM106"),
        ({"b": True}, "NM106"),
        ({"b": [0, 0, 0, 2]}, "NM107"),
    ],
)
def test_neutral_flags_that_are_none(tmp_path: Path, changed: dict[str, Any], code: str) -> None:
    """Each is a diagnostic with core and neuron."""
    content = neutral()
    content["cores"][0]["neurons"][1] |= changed
    assert refused(tmp_path, content) == [(code, "core 0:neuron 1")]


def test_neutral_sizes(tmp_path: Path) -> None:
    """Too long lists and missing sizes."""
    assert refused(tmp_path, neutral(axons=1))[0][0] == "NM106"
    assert refused(tmp_path, {"cores": neutral()["cores"]})[0][0] == "NM103"
    assert read(tmp_path, neutral(axons=4, neurons=9)).enabled.sum() == 6


def test_edited_files_are_read_or_refused_with_diagnostics(tmp_path: Path) -> None:
    """Five hundred edits: a model or an NmapError, nothing else."""
    rng = np.random.default_rng(3)
    values: list[Any] = [None, True, -1, 2**31, 10**30, 1.5, "x", [], {}, [[]], [None], "Infinity"]
    outcomes = {True: 0, False: 0}
    odd: list[Diagnostic] = []
    for turn in range(500):
        content: Any = ranc_model() if turn % 2 else neutral()
        node, steps = content, int(rng.integers(1, 7))
        for _ in range(steps):
            keys = list(node) if isinstance(node, dict) else list(range(len(node)))
            key = keys[int(rng.integers(len(keys)))]
            if not isinstance(node[key], (dict, list)) or not node[key] or _ == steps - 1:
                node[key] = values[int(rng.integers(len(values)))]
                break
            node = node[key]
        findings = Findings()
        try:
            outcomes[isinstance(read(tmp_path, content, ranc_config() if turn % 4 == 1 else None, findings), Model)] += 1
        except NmapError as error:
            odd += [d for d in error.diagnostics if not d.where or not d.code.startswith("NM1")]
            outcomes[False] += 1
    assert not odd
    assert min(outcomes.values()) > 40


def test_unknown_keys_are_noted(tmp_path: Path) -> None:
    """And not used."""
    findings = Findings()
    content = ranc_model(author="somebody")
    content["cores"][0]["colour"] = content["cores"][1]["colour"] = "red"
    read(tmp_path, content, ranc_config(), findings)
    told_keys = [note for note in notes(findings) if "config.json" not in note]
    assert ["`author`" in note or "`colour`" in note for note in told_keys] == [True, True]


def test_a_configuration_without_the_kind_of_floor_test(tmp_path: Path) -> None:
    """As before RANC had one; a warning says how it was read."""
    findings = Findings()
    config = ranc_config()
    del config["neuron_reset_type"]
    assert not read(tmp_path, ranc_model(), config, findings).symmetric
    assert [(d.severity, "neuron_reset_type" in d.message) for d in findings] == [("warning", True), ("note", False)]
