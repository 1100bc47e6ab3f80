"""TrueNorth's text model format: what is read, what is refused, what is written."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap_truenorth.model.model import NOWHERE, OFF_CHIP, Model, differences
from nmap_truenorth.model.read import read_model
from nmap_truenorth.model.text import text_reasons, write_text
from tests.unit.truenorth.model_files import EMPTY_ROW, NEURONS, neuron_type, notes, old_model, rows, small_model, text_model, told


def read(folder: Path, text: str | bytes, findings: Findings | None = None) -> Model:
    path = folder / "m.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_model(path, Findings() if findings is None else findings)


def refused(folder: Path, text: str | bytes) -> list[tuple[str, str]]:
    with pytest.raises(NmapError) as caught:
        read(folder, text)
    return told(caught.value)


def test_a_model_is_read_field_by_field(tmp_path: Path) -> None:
    """Every parameter of two types, both targets, hexadecimal type numbers and the first row's bits."""
    findings = Findings()
    model = read(tmp_path, text_model(), findings)
    assert (model.cores, model.axons, model.neurons, model.dialect, model.input_delay) == (1, 256, 256, "truenorth", 1)
    assert model.weights[0, 0].tolist() == [4, -2, 0, 255]
    assert (model.leak[0, 0], model.threshold[0, 0], model.floor[0, 0], model.reset[0, 0], model.potential[0, 0]) == (-3, 22, 5, -7, -7)
    assert model.leak_reversal[0, 0]
    assert not model.kappa[0, 0]
    # `types` 31 is N0000001F, the only type of gamma 0.
    assert (model.gamma[0, 127], model.gamma[0, 128]) == (1, 0)
    assert model.enabled[0].tolist() == [True] * 129 + [False] * 127
    assert model.target[0].tolist() == [0] * 128 + [OFF_CHIP] + [NOWHERE] * 127
    assert (model.target_core[0, 128], model.target_axon[0, 128], model.delay[0, 128]) == (-32, 7, 1)
    assert (model.target_axon[0, 3], model.delay[0, 3]) == (131, 15)
    assert np.flatnonzero(np.unpackbits(model.crossbar[0, 0])).tolist() == [0, 1, 255]
    assert not model.crossbar[0, 1:].any()
    assert model.axon_types[0].tolist() == [2] + [0] * 255
    assert model.seeds.tolist() == [4294967295]
    assert model.corelets == ({"coreletClass": "one", "coreletId": 0, "coreNumber": 0, "parentCoreletId": [-1]},)
    assert model.exact
    assert not notes(findings)


def test_comments_and_texts_that_look_like_comments(tmp_path: Path) -> None:
    """Both kinds of comment anywhere; two slashes in a text are no comment, nor is a quote in a comment."""
    text = text_model().replace('"one"', '"http://one/*x*/ \\" // \\\\"').replace('"id":0', '/* " a quote */ "id":0 // and " another\n')
    model = read(tmp_path, b"\xef\xbb\xbf/* first */" + text.encode())
    assert model.corelets[0]["coreletClass"] == 'http://one/*x*/ " // \\'


def test_hexadecimal_digits_of_either_case_and_spacing(tmp_path: Path) -> None:
    """Rows without blanks, with lower case and in both forms of the bus read alike."""
    usual = "DE AD BE EF" + " 00" * 28
    model = read(tmp_path, text_model(crossbar=f'{{"rows":[{",".join(rows(usual))}]}}'))
    for other in (usual.lower(), usual.replace(" ", ""), usual.replace(" ", "  ")):
        assert not differences(model, read(tmp_path, text_model(crossbar=f'{{"rows":[{",".join(rows(other))}]}}')))


def test_crossbars_are_shared_by_name_or_stand_in_the_core(tmp_path: Path) -> None:
    """A prototype and the same rows in the core are one model."""
    inline = read(tmp_path, text_model())
    library = f'"crossbarTypes":[{{"name":"coreProt0000001","crossbar":{{"rows":[{",".join(rows())}]}}}}],"neuronTypes"'
    shared = text_model(crossbar='{"name":"coreProt0000001"}').replace('"neuronTypes"', library)
    assert not differences(inline, read(tmp_path, shared))


def test_dendrites_say_which_neuron_an_entry_is(tmp_path: Path) -> None:
    """Entry i belongs to neuron dendrites[i], which has that column of the crossbar."""
    neurons = NEURONS.replace('["0:255"]', '["255:-1:0"]')
    model = read(tmp_path, text_model(neurons=neurons))
    assert model.enabled[0].tolist() == [False] * 127 + [True] * 129
    assert model.target_axon[0, 255] == 128
    assert (model.target[0, 127], model.gamma[0, 127]) == (OFF_CHIP, 0)
    assert np.flatnonzero(np.unpackbits(model.crossbar[0, 0])).tolist() == [0, 1, 255]


def test_neurons_that_are_not_listed_are_disabled(tmp_path: Path) -> None:
    """A short list is read with a note."""
    findings = Findings()
    lists = '"dendrites":[3,"7:8"],"types":["1x3"],"destCores":["0x3"],"destAxons":[0,0,0],"destDelays":["2x3"]'
    model = read(tmp_path, text_model(neurons=lists), findings)
    assert np.flatnonzero(model.enabled[0]).tolist() == [3, 7, 8]
    assert ["lists 3 neurons" in note for note in notes(findings)] == [True]


def test_the_older_dialect(tmp_path: Path) -> None:
    """Types by name, one object for each neuron, `neuronClass` with a capital letter, no classes and no shared crossbars."""
    neurons = [
        {"type": "-4611", "dendrite": 2, "destCore": 0, "destAxon": 9, "delay": 4},
        {"type": "77", "dendrite": 0, "destCore": -1, "destAxon": -1, "delay": 1},
        {"type": "77", "dendrite": 1, "destCore": -32, "destAxon": -1, "delay": 1},
    ]
    model = read(tmp_path, old_model(neurons, ["77", "-4611"]))
    # A type of its own for what is not used is something that this dialect does not have.
    assert model.enabled[0, :4].tolist() == [False, True, True, False]
    assert model.target[0, :3].tolist() == [NOWHERE, OFF_CHIP, 0]
    assert (model.target_axon[0, 2], model.delay[0, 2]) == (9, 4)
    assert np.unpackbits(model.crossbar[0, 0]).tolist() == [1] * 8 + [0] * 248
    assert model.seeds.tolist() == [1]


def test_targets_are_ids_of_cores_in_any_order(tmp_path: Path) -> None:
    """`destCore` names an id, not a place in the file."""
    one = text_model(count=2)
    other = one[one.index('"core":') : one.rindex("}")].replace('"id":0', '"id":4')
    text = text_model(count=2, more="," + other).replace('"id":0', '"id":9').replace('"0x128",-32', '"9x64","4x64",-40')
    model = read(tmp_path, text)
    assert model.ids.tolist() == [9, 4]
    assert model.target[0, [0, 64, 128]].tolist() == [0, 1, OFF_CHIP]
    assert model.target_core[0, [0, 64, 128, 129]].tolist() == [9, 4, -40, -1]


def test_no_target_and_not_used_differ(tmp_path: Path) -> None:
    """-2 is no target, -1 says that a neuron is not used, whatever its type; axon and delay beside them are not looked at."""
    findings = Findings()
    neurons = NEURONS.replace('"0x128",-32', '"-2x100","-1x28",-32').replace('"15x128"', '"0x128"').replace('"128:255"', '"-1x128"')
    model = read(tmp_path, text_model(neurons=neurons), findings)
    assert model.enabled[0].tolist() == [True] * 100 + [False] * 28 + [True] + [False] * 127
    assert model.target_core[0, [0, 100, 128, 200]].tolist() == [-2, -1, -32, -1]
    assert notes(findings) == ["neuron 100 of core 0 has a type, but a `destCore` of -1: it is not used, and neither are 27 more"]
    assert model.target[0, :129].tolist() == [NOWHERE] * 128 + [OFF_CHIP]


def test_keys_that_are_not_known_are_noted_once(tmp_path: Path) -> None:
    """An unknown key anywhere is no error."""
    findings = Findings()
    text = text_model(types=[neuron_type(31, spare=1), neuron_type(1, spare=2)]).replace('"id":0', '"colour":"red","id":0')
    read(tmp_path, text.replace('"model":{', '"extra":[1,{"a":2}],"model":{'), findings)
    assert sorted(re.findall(r"`(\w+)`", " ".join(notes(findings)))) == ["colour", "extra", "spare"]


WRONG: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "more cores than counted": (text_model(count=0), [("NM106", "model")]),
    "fewer cores than counted": (text_model(count=4096), [("NM106", "model")]),
    "a count that asks for memory": (text_model(count=10**18), [("NM106", "model")]),
    "a missing type": (text_model(types=[neuron_type(31)]), [("NM103", "core 0:neuron 0")]),
    "a type by its decimal number": (text_model(neurons=NEURONS.replace("31", "25")), [("NM103", "core 0:neuron 128")]),
    "a delay of 0": (
        text_model(neurons=NEURONS.replace('"15x128","1x128"', '"15x127","0x129"')),
        [("NM107", "core 0:neuron 127")],
    ),
    "a delay of 16": (text_model(neurons=NEURONS.replace('"15x128","1x128"', '16,"15x127","1x128"')), [("NM107", "core 0:neuron 0")]),
    "an unknown core": (text_model(neurons=NEURONS.replace('"0x128"', '"0x5",3,"0x122"')), [("NM107", "core 0:neuron 5")]),
    "a core between outputs and cores": (text_model(neurons=NEURONS.replace("-32", "-31")), [("NM107", "core 0:neuron 128")]),
    "an axon beyond the core": (text_model(neurons=NEURONS.replace('"128:255"', '"129:256"')), [("NM107", "core 0:neuron 127")]),
    "a negative axon": (text_model(neurons=NEURONS.replace('"128:255"', '-1,"128:254"')), [("NM107", "core 0:neuron 0")]),
    "a narrow row": (text_model(crossbar=f'{{"rows":[{",".join(rows(EMPTY_ROW[3:]))}]}}'), [("NM106", "core 0:axon 0")]),
    "a wide row": (text_model(crossbar=f'{{"rows":[{",".join(rows(EMPTY_ROW + " 00"))}]}}'), [("NM106", "core 0:axon 0")]),
    "a row of other letters": (text_model(crossbar=f'{{"rows":[{",".join(rows("G0" + EMPTY_ROW[2:]))}]}}'), [("NM107", "core 0:axon 0")]),
    "too few rows": (text_model(crossbar=f'{{"rows":[{",".join(rows()[1:])}]}}'), [("NM106", "core 0")]),
    "a fifth axon type": (text_model(crossbar=f'{{"rows":[{",".join(rows(kinds="S4"))}]}}'), [("NM107", "core 0:axon 0")]),
    "a crossbar that is not there": (text_model(crossbar='{"name":"x"}'), [("NM103", "core 0")]),
    "no crossbar": (text_model(crossbar="{}"), [("NM103", "core 0")]),
    "lists of different lengths": (text_model(neurons=NEURONS.replace('"0x127"', '"0x126"', 1)), [("NM106", "core 0")]),
    "a list that is too long": (text_model(neurons=NEURONS.replace('"0x127"', '"0x128"', 1)), [("NM106", "core 0:types")]),
    "a list that is not there": (text_model(neurons=NEURONS.replace("destDelays", "delays")), [("NM103", "core 0")]),
    "one dendrite twice": (text_model(neurons=NEURONS.replace('"0:255"', '0,"0:254"')), [("NM107", "core 0:neuron 1")]),
    "a dendrite beyond the core": (text_model(neurons=NEURONS.replace('"0:255"', '"1:256"')), [("NM107", "core 0:neuron 255")]),
    "a weight beyond 8 bits": (text_model(types=[neuron_type(1), neuron_type(31, s2=256)]), [("NM107", "neuron type N0000001F")]),
    "a parameter that is not there": (text_model(types=[neuron_type(1), neuron_type(31, beta=None)]), [("NM103", "neuron type N0000001F")]),
    "a fractional number": (text_model(types=[neuron_type(1), neuron_type(31, alpha=1.5)]), [("NM107", "neuron type N0000001F")]),
    "a flag that is none": (text_model(types=[neuron_type(1), neuron_type(31, kappa="yes")]), [("NM107", "neuron type N0000001F")]),
    "two models of different sizes": (
        text_model(more=',"model":{"coreCount":1,"neuronclass":"NeuronGeneral","crossbarSize":8}'),
        [("NM106", "model")],
    ),
    "another class": (text_model(types=[neuron_type(1), neuron_type(31, **{"class": "Other"})]), [("NM104", "neuron type N0000001F")]),
    "one type twice": (text_model(types=[neuron_type(1), neuron_type(31), neuron_type(1, V=0)]), [("NM106", "neuron type N00000001")]),
    "a core of another time": (text_model().replace('"timeScaleExponent":0', '"timeScaleExponent":1'), [("NM104", "core 0")]),
    "a core without an id": (text_model().replace('"id":0,', ""), [("NM103", "1. core")]),
    "no neurons": (text_model().replace('"neurons":', '"nerves":'), [("NM103", "core 0")]),
    "a large number": (text_model().replace('"rngSeed":4294967295', f'"rngSeed":{10**400}'), [("NM107", "core 0")]),
    "an infinite number": (text_model().replace('"rngSeed":4294967295', '"rngSeed":1e400'), [("NM107", "core 0")]),
    "two at once": (text_model(count=2, neurons=NEURONS.replace("-32", "-31")), [("NM106", "model"), ("NM107", "core 0:neuron 128")]),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_what_is_wrong_is_told_with_core_and_neuron(tmp_path: Path, case: str) -> None:
    """Every fault is one diagnostic; more than ten of a kind become a count."""
    text, expected = WRONG[case]
    assert refused(tmp_path, text) == expected


def test_a_fault_of_many_neurons_is_one_diagnostic_that_counts_them(tmp_path: Path) -> None:
    """For each core and value."""
    with pytest.raises(NmapError) as caught:
        read(tmp_path, text_model(neurons=NEURONS.replace('"15x128"', '"0x100","16x28"').replace("31", "32")))
    assert [d.message.rpartition("; ")[2] for d in caught.value.diagnostics] == [
        "neuron 128 of core 0 is of type 32 (`N00000020`), which is not among `neuronTypes`",
        "99 more neurons of the core too",
        "27 more neurons of the core too",
    ]


@pytest.mark.parametrize("used", [True, False])
def test_a_faulty_shared_crossbar_is_told_with_a_core_that_has_it(tmp_path: Path, used: bool) -> None:
    """Or by its name where no core has it."""
    library = f'"crossbarTypes":[{{"name":"p","crossbar":{{"rows":[{",".join(rows(EMPTY_ROW[3:]))}]}}}}],"neuronTypes"'
    text = text_model(crossbar='{"name":"p"}') if used else text_model()
    assert refused(tmp_path, text.replace('"neuronTypes"', library)) == [("NM106", "core 0:axon 0" if used else "crossbar p:axon 0")]


def test_letters_that_are_no_digits_are_quoted_once(tmp_path: Path) -> None:
    """As they stand in the file."""
    with pytest.raises(NmapError) as caught:
        read(tmp_path, text_model(crossbar=f'{{"rows":[{",".join(rows("GG" + EMPTY_ROW[2:]))}]}}'))
    [found] = caught.value.diagnostics
    assert found.message.endswith(': `"GG 00 00 00 00 00 00 00 00 00 00 00 ...`')


@pytest.mark.parametrize("library", [True, False])
@pytest.mark.parametrize("last", ["model", "neuronTypes"])
def test_the_order_of_parts_makes_no_difference(tmp_path: Path, last: str, library: bool) -> None:
    """Crossbars and cores before the `model` that says how wide they are are read, with a warning where the order is not IBM's."""
    bars = [json.loads(f'{{"type":"S{i % 4}","synapses":"{1 << i:02X}"}}') for i in range(8)]
    lists = {"types": ["1x8"], "destCores": ["-32x8"], "destAxons": ["0:7"], "destDelays": ["1x8"]}
    parts: dict[str, Any] = {
        "crossbarTypes": [{"name": "p", "crossbar": {"rows": bars}}],
        "core": {"id": 3, "neurons": lists, "crossbar": {"name": "p"} if library else {"rows": bars}},
        "model": {"coreCount": 1, "neuronclass": "NeuronGeneral", "crossbarSize": 8},
        "neuronTypes": [json.loads(neuron_type(1))],
    }
    usual = read(tmp_path, json.dumps({key: parts[key] for key in ("model", "crossbarTypes", "neuronTypes", "core")}))
    findings = Findings()
    model = read(tmp_path, json.dumps({**{key: value for key, value in parts.items() if key != last}, last: parts[last]}), findings)
    assert (model.axons, model.neurons) == (8, 8)
    assert np.unpackbits(model.crossbar[0], axis=1).tolist() == np.eye(8)[::-1].tolist()
    assert model.axon_types.tolist() == [[0, 1, 2, 3] * 2]
    assert differences(usual, model) == []
    assert ["before all else" in note for note in notes(findings)] == [True]


def test_a_faulty_crossbar_before_the_model_is_told(tmp_path: Path) -> None:
    """Its width is that of the `model` behind it."""
    library = f'"crossbarTypes":[{{"name":"p","crossbar":{{"rows":[{",".join(rows(EMPTY_ROW[3:]))}]}}}}],'
    text = text_model(crossbar='{"name":"p"}')
    at = text.index('"model"')
    assert refused(tmp_path, text[:at] + library + text[at:]) == [("NM106", "core 0:axon 0")]


def test_whole_numbers_with_a_point_are_whole(tmp_path: Path) -> None:
    """Some programs write every number so; what is behind the point counts."""
    usual = read(tmp_path, text_model())
    text = text_model(types=[neuron_type(31, gamma=0.0), neuron_type(1, alpha=22.0, s3=2.55e2, kappa=0.0)])
    text = text.replace('"id":0', '"id":0.0').replace('"destDelays":["15x128"', '"destDelays":[15.0,"15x127"')
    assert differences(usual, read(tmp_path, text)) == []
    assert refused(tmp_path, text.replace("22.0", "22.000001")) == [("NM107", "neuron type N00000001")]


def test_two_cores_of_one_id(tmp_path: Path) -> None:
    """An id names one core."""
    one = text_model(count=2)
    assert refused(tmp_path, text_model(count=2, more="," + one[one.index('"core":') : one.rindex("}")])) == [("NM107", "core 0")]


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "NM102"),
        ("no model", "NM102"),
        ("{}", "NM102"),
        ('{"core":', "NM103"),
        (text_model()[:-300], "NM103"),
        (text_model().replace("parameters */", "parameters"), "NM103"),
        ('{"core":' + "[" * 100_000, "NM110"),
        (f'{{"core":{"9" * 5000}}}', "NM107"),
        ('{"core":NaN}', "NM107"),
        (text_model() + "{}", "NM106"),
        ('{"neuronTypes":[]}', "NM103"),
    ],
)
def test_text_that_is_no_model(tmp_path: Path, text: str, code: str) -> None:
    """Cut, empty and hostile texts are diagnostics."""
    assert code in [told_code for told_code, _ in refused(tmp_path, text)]


def test_a_binary_file_is_no_model(tmp_path: Path) -> None:
    """Bytes that are no text."""
    assert refused(tmp_path, b'{"core":"\xff\xfe"}') == [("NM102", "byte 9")]


def mutated(rng: np.random.Generator, text: str) -> str:
    """Return the text with one token exchanged, dropped or doubled."""
    tokens = re.findall(r'"[^"]*"|-?\d+|true|false|[{}\[\],:]|\s+', text)
    at = int(rng.integers(len(tokens)))
    exchanged = [
        "0",
        "-1",
        "1e400",
        "99999999999999999999",
        "null",
        "true",
        '""',
        '"x"',
        "[]",
        "{}",
        '"0:255"',
        "[[[]]]",
        "2147483648",
        '"1x9999999999"',
    ]
    choice = int(rng.integers(3))
    tokens[at] = exchanged[int(rng.integers(len(exchanged)))] if choice == 0 else "" if choice == 1 else tokens[at] * 2
    return "".join(tokens)


def test_edited_files_are_read_or_refused_with_diagnostics(tmp_path: Path) -> None:
    """Six hundred edits of both dialects: a model or an NmapError, nothing else."""
    rng = np.random.default_rng(7)
    narrow = [f'{{"type":"S{i % 4}","synapses":"{1 << i % 8:02X}"}}' for i in range(8)]
    lists = '"dendrites":["0:7"],"types":["1x4",31,"0x3"],"destCores":["0x4",-32,"-1x3"],"destAxons":["0:3",7,"0x3"],'
    lists += '"destDelays":["15x4","1x4"]'
    small = text_model(neurons=lists, crossbar=f'{{"rows":[{",".join(narrow)}]}}', size=8)
    objects = [{"type": "a", "dendrite": j, "destCore": 0, "destAxon": j, "delay": 1 + j} for j in range(8)]
    old = json.loads(old_model(objects, ["a"]))
    old["core"]["crossbar"]["rows"] = [json.loads(row) for row in narrow]
    old["model"]["crossbarSize"] = 8
    outcomes = {True: 0, False: 0}
    odd: list[Diagnostic] = []
    for base in (small, json.dumps(old)):
        assert read(tmp_path, base).neurons == 8
        for _ in range(300):
            text = mutated(rng, base)
            try:
                outcomes[isinstance(read(tmp_path, text), Model)] += 1
            except NmapError as error:
                odd += [d for d in error.diagnostics if not d.where or not d.code.startswith("NM1")]
                outcomes[False] += 1
    assert not odd
    assert min(outcomes.values()) > 50


@pytest.mark.parametrize("seed", range(6))
def test_what_is_written_is_read_back(tmp_path: Path, seed: int) -> None:
    """Every field of random models, with metadata and seeds; the same bytes again."""
    model = small_model(seed=seed, neurons=16 if seed % 2 else 13, axons=16 if seed % 2 else 13)
    text = write_text(model)
    again = read(tmp_path, text)
    assert differences(model, again) == []
    assert again.corelets == model.corelets
    assert again.seeds.tolist() == model.seeds.tolist()
    assert again.target_core[again.target == OFF_CHIP].tolist() == model.target_core[model.target == OFF_CHIP].tolist()
    assert write_text(again) == text


def test_the_text_is_that_of_ibm_s_tools() -> None:
    """Shared crossbars and types, compact lists and the metadata stand where those tools write them."""
    text = write_text(small_model()).decode()
    assert [text.index(f'"{key}":') for key in ("model", "crossbarTypes", "neuronTypes", "core")] == sorted(
        text.index(f'"{key}":') for key in ("model", "crossbarTypes", "neuronTypes", "core")
    )
    assert text.count('\t"core":{') == 3
    assert text.count('"name":"coreProt0000001"') == 3
    assert text.count('"rows":[') == 2
    assert '"dendrites":["0:15"]' in text
    assert '"metadata":{"coreletClass":"class 1","coreletId":1}' in text
    assert re.search(r'\{"type":"S[0-3]","synapses":"[0-9A-F]{2} [0-9A-F]{2}"\}', text)


def changed(model: Model, name: str, value: Any) -> Model:
    values = getattr(model, name).copy()
    values[np.argwhere(model.enabled)[0][0], np.argwhere(model.enabled)[0][1]] = value
    return replace(model, **{name: values})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights", 256),
        ("leak", -256),
        ("threshold", -1),
        ("threshold", 2**18),
        ("floor", -1),
        ("reset", 2),
        ("potential", 2**19),
        ("mask", 19),
    ],
)
def test_what_the_format_cannot_hold_is_said(name: str, value: int) -> None:
    """One reason, and no file."""
    model = changed(small_model(), name, value)
    assert len(text_reasons(model)) == 1
    with pytest.raises(ValueError, match="neuron"):
        write_text(model)


@pytest.mark.parametrize(
    "name",
    [
        "weights",
        "leak",
        "threshold",
        "floor",
        "mask",
        "gamma",
        "reset",
        "potential",
        "stochastic",
        "kappa",
        "leak_reversal",
        "leak_stochastic",
    ],
)
def test_a_difference_names_core_and_neuron(name: str) -> None:
    """Each field of an enabled neuron is compared."""
    model = small_model()
    core, neuron = np.argwhere(model.enabled)[0]
    values = getattr(model, name).copy()
    values[core, neuron] = ~values[core, neuron] if values.dtype == bool else values[core, neuron] + 1
    [sentence] = differences(model, replace(model, **{name: values}))
    assert sentence.startswith(f"core {model.ids[core]} neuron {neuron}: ")


def test_other_differences_are_said() -> None:
    """Cores, axon types, synapses, disabled neurons and targets."""
    model = small_model()
    assert differences(model, model) == []
    types = model.axon_types.copy()
    types[1, 5] ^= 1
    assert differences(model, replace(model, axon_types=types)) == [f"core {model.ids[1]} axon 5: type {types[1, 5] ^ 1} and {types[1, 5]}"]
    bars = model.crossbar.copy()
    bars[2, 3, 1] ^= 1 << 4
    [sentence] = differences(model, replace(model, crossbar=bars))
    assert f"core {model.ids[2]}: the synapse of axon 3 and neuron 11 " in sentence
    enabled = model.enabled.copy()
    enabled[0, 0] ^= True
    assert any("disabled" in sentence or "enabled" in sentence for sentence in differences(model, replace(model, enabled=enabled)))
    ids = model.ids.copy()
    ids[0] = 1000
    assert [s for s in differences(model, replace(model, ids=ids)) if "only the" in s] == [
        f"only the first model has core {model.ids[0]}",
        "only the second model has core 1000",
    ]
    weights = model.weights + 1
    assert differences(model, replace(model, weights=weights), most=3)[-1] == f"and {model.enabled.sum() - 3} more like the last"


def test_a_stochastic_part_that_cannot_matter_is_exact() -> None:
    """b without a synapse or a weight of its type, c without a leak, TM of a disabled neuron."""
    still = small_model(stochastic=np.zeros((3, 16, 4), bool), leak_stochastic=np.zeros((3, 16), bool), mask=np.zeros((3, 16)))
    assert still.exact
    drawn = np.ones((3, 16, 4), bool)
    assert replace(still, stochastic=drawn, weights=np.zeros((3, 16, 4))).exact
    assert replace(still, stochastic=drawn, crossbar=np.zeros_like(still.crossbar)).exact
    assert not replace(still, stochastic=drawn).exact
    assert replace(still, leak_stochastic=np.ones((3, 16), bool), leak=np.zeros((3, 16))).exact
    assert "a stochastic leak" in str(replace(still, leak_stochastic=np.ones((3, 16), bool), leak=np.ones((3, 16))).why_not_exact)
    assert replace(still, mask=np.where(still.enabled, 0, 8)).exact
    assert "1 neuron has a stochastic threshold" in str(changed(still, "mask", 8).why_not_exact)
