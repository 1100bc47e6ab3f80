"""The emitted Lava program without Lava: its files, their bytes, and what they say."""

from __future__ import annotations

import ast
import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.program import Core, NeuronGroup, Program, ProgramPopulation, Routes, SynapseBlock
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap_loihi2 import TARGET

HERE = Provenance("n.h5", "/")
ODD = 'a "layer"\n\'with\' {{ odd }} names \\'


def lif(name, shape, kernel="loihi2.lif", **params):
    values = {"du": 1, "dv": 2, "vth": 3, "bias_mant": 0, "bias_exp": 0, **params}
    return QuantizedPopulation(name, shape, kernel, {k: np.asarray(v) for k, v in values.items()}, HERE, {"v": np.asarray(7)})


def small() -> tuple[QuantizedNetwork, Program]:
    rng = np.random.default_rng(0)
    conv = Conv2d(rng.integers(-9, 9, (2, 1, 2, 3)).astype(np.int32) * 2, (1, 4, 5), stride=(1, 2), padding=(0, 1), dilation=(2, 1))
    n = conv.out_size
    neurons = (
        QuantizedPopulation("in", (1, 4, 5), None, {}, HERE), lif("conv", conv.out_shape, vth=np.arange(n)),
        lif(ODD, (3,), "loihi2.ternary_lif", vth_lo=-3), lif("out", (2,)),
    )

    def projection(name, source, target, connectivity, delay=0, delays=None, **form):
        return QuantizedProjection(name, source, target, connectivity, SynapseFormat(**{"bits": 8, **form}), delay, HERE, delays)

    network = QuantizedNetwork(
        neurons,
        (
            projection("c0", "in", "conv", conv),
            projection("c1", "conv", ODD, Dense(np.full((3, n), 4, np.int32)), sign="excitatory", exponent=-1, message_bits=5),
            projection(
                "c2", ODD, "out", Dense(np.full((2, 3), -4, np.int32)), 2, np.arange(6).reshape(2, 3), sign="inhibitory"
            ),
            projection("c3", "out", "out", Sparse.diagonal(np.array([2, -2], np.int32)), delay=1, bits=6),
            projection("c4", "in", "conv", conv, delay=3),
        ),
        ("in",), ("out",),
    )
    program = Program(
        "loihi2", "kapoho-point",
        tuple(ProgramPopulation(p.name, p.shape, p.latency, p.kernel is None, p.name == "out") for p in neurons),
        (Core(1, 3, 2, 77),), (NeuronGroup(0, 3, ((0, 2),), "loihi2.lif", {}, {}),),
        (SynapseBlock(0, 0, 5, Dense(np.zeros((2, 3), np.int32)), None, 0, 0, 0, 8, "mixed"),), (Routes([0, 0, 0], [], []),),
    )
    return network, program


@pytest.fixture
def artefact():
    return TARGET.emit(*small())


def test_files(artefact):
    assert set(artefact) == {"network.py", "weights.npz", "core_map.json", "README.txt"}


def test_the_same_input_gives_the_same_bytes(artefact):
    assert TARGET.emit(*small()) == artefact


def test_weights_carry_no_time_and_read_back(artefact):
    with zipfile.ZipFile(io.BytesIO(artefact["weights.npz"])) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert archive.testzip() is None
    network, _ = small()
    with np.load(io.BytesIO(artefact["weights.npz"])) as file:
        for k in range(5):
            np.testing.assert_array_equal(file[f"c{k}.weights"], network.projections[k].connectivity.weights)
        np.testing.assert_array_equal(file["p0.vth"], np.arange(network["conv"].size))
        # The realised delay and the synapses' own delays are one number in Lava, which insists on int64.
        np.testing.assert_array_equal(file["c2.delays"], [[2, 3, 4], [5, 6, 7]])
        assert file["c2.delays"].dtype == np.int64


def calls(artefact, function):
    """The process calls in a function of the program, in order: (class, keyword sources)."""
    tree = ast.parse(artefact["network.py"])
    body = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function)
    known = {"LIF", "TernaryLIF", "Dense", "DelayDense", "Sparse", "DelaySparse", "Conv"}
    found = [node for node in ast.walk(body) if isinstance(node, ast.Call) and getattr(node.func, "id", "") in known]
    found.sort(key=lambda node: node.lineno)
    return [(node.func.id, {k.arg: ast.unparse(k.value) for k in node.keywords}) for node in found]


def test_neurons(artefact):
    first, second, third = calls(artefact, "populations")
    assert first == ("LIF", {
        "shape": "(12,)", "du": "1", "dv": "2", "vth": "w['p0.vth']", "bias_mant": "0", "bias_exp": "0", "v": "7",
    })
    assert second[0] == "TernaryLIF"
    assert (second[1]["vth_hi"], second[1]["vth_lo"]) == ("3", "-3")
    assert third == ("LIF", {"shape": "(2,)", "du": "1", "dv": "2", "vth": "3", "bias_mant": "0", "bias_exp": "0", "v": "7"})


def test_synapses_say_their_format(artefact):
    conv, dense, delayed, sparse, late = calls(artefact, "projections")
    # Lava's axes are (width, height, channel); its Conv has no exponent and no sign mode.
    assert conv == ("Conv", {
        "weight": "kernel(w['c0.weights'])", "input_shape": "(5, 4, 1)", "stride": "(2, 1)", "padding": "(1, 0)", "dilation": "(1, 2)",
        "groups": "1", "num_weight_bits": "8", "num_message_bits": "0",
    })
    assert dense == ("Dense", {
        "weights": "w['c1.weights']", "num_weight_bits": "8", "weight_exp": "-1", "sign_mode": "SignMode.EXCITATORY",
        "num_message_bits": "5",
    })
    assert (delayed[0], delayed[1]["delays"], delayed[1]["sign_mode"]) == ("DelayDense", "w['c2.delays']", "SignMode.INHIBITORY")
    assert (sparse[0], sparse[1]["num_weight_bits"], sparse[1]["sign_mode"]) == ("DelaySparse", "6", "SignMode.MIXED")
    assert late[0] == "DelaySparse"
    assert late[1]["weights"].startswith("unroll(w['c4.weights'], (1, 4, 5), (2, 2, 3)"), late


def test_names_of_the_file_are_only_ever_strings(artefact):
    tree = ast.parse(artefact["network.py"])
    strings = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)]
    assert strings.count(ODD) == 3
    assert "{{" not in artefact["network.py"].decode().replace(repr(ODD), "")


def test_the_program_needs_only_numpy_and_lava(artefact):
    roots = set()
    for node in ast.walk(ast.parse(artefact["network.py"])):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(node.module.split(".")[0])
    # scipy is what Lava's Sparse is built on, and comes with it.
    assert roots == {"argparse", "importlib", "sys", "tempfile", "pathlib", "numpy", "lava", "scipy"}


def test_the_integer_models_are_chosen_by_name(artefact):
    assert 'Loihi2SimCfg(select_tag="fixed_pt"' in artefact["network.py"].decode()


def test_core_map(artefact):
    core_map = json.loads(artefact["core_map.json"])
    assert (core_map["target"], core_map["variant"]) == ("loihi2", "kapoho-point")
    (core,) = core_map["cores"]
    assert (core["chip"], core["x"], core["y"], core["core"]) == (1, 3, 2, 77)
    assert core["slices"] == [{"population": "out", "neurons": 2, "box": [[0, 2]]}]
    assert core["input_axons"] == [{"first": 5, "count": 3, "to": "out"}]
    assert core["used"] == TARGET.measure(small()[1])[0]
    assert core["used"]["neurons"] == 2


def test_core_map_lists_neurons_that_are_no_box():
    network, program = small()
    listed = replace(program, groups=(replace(program.groups[0], slice=np.array([1])),), blocks=(), routes=(Routes([0, 0], [], []),))
    (core,) = json.loads(TARGET.emit(network, listed)["core_map.json"])["cores"]
    assert core["slices"] == [{"population": "out", "neurons": 1, "indices": [1]}]


def test_readme_names_the_command(artefact):
    assert "python network.py --input S.npz" in artefact["README.txt"].decode()
