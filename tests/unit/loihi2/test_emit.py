"""The emitted Lava program without Lava: its files, their bytes, and what they say."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.program import Core, NeuronGroup, Program, ProgramPopulation, Routes, SynapseBlock
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap_loihi2 import TARGET
from tests.loihi2_networks import geometry, matrices_of

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
    found = [
        node for node in ast.walk(body)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "")[:1].isupper() and getattr(node.func, "id", "") != "SignMode"
    ]
    found.sort(key=lambda node: node.lineno)
    return [(node.func.id, {k.arg or "": ast.unparse(k.value) for k in node.keywords}) for node in found]


def stored(artefact):
    """What is set after a process is made, in order: (class, keyword sources)."""
    found = [
        node for node in ast.walk(ast.parse(artefact["network.py"]))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "stored"
    ]
    found.sort(key=lambda node: node.lineno)
    return [(node.args[0].func.id, {k.arg: ast.unparse(k.value) for k in node.keywords}) for node in found]


def test_neurons(artefact):
    first, second, third = calls(artefact, "populations")
    assert first == ("LIF", {
        "shape": "(12,)", "du": "1", "dv": "2", "vth": "w['p0.vth']", "bias_mant": "0", "bias_exp": "0", "v": "7",
    })
    assert (second[0], second[1]["v"]) == ("TernaryLIF", "7")
    assert stored(artefact) == [("TernaryLIF", {"vth_hi": "3", "vth_lo": "-3"})]
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
    # The population, a projection from it and one to it, and the width of what it sends.
    assert strings.count(ODD) == 4
    assert "{{" not in artefact["network.py"].decode().replace(repr(ODD), "")


def test_the_program_needs_only_numpy_and_lava(artefact):
    roots = set()
    for node in ast.walk(ast.parse(artefact["network.py"])):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(node.module.split(".")[0])
    # scipy is what Lava's Sparse is built on, and comes with it.
    assert roots - sys.stdlib_module_names == {"numpy", "lava", "scipy"}


def test_the_integer_models_are_chosen_by_name(artefact):
    assert 'Loihi2SimCfg(select_tag="fixed_pt"' in artefact["network.py"].decode()


def test_core_map(artefact):
    core_map = json.loads(artefact["core_map.json"])
    assert (core_map["target"], core_map["variant"]) == ("loihi2", "kapoho-point")
    (core,) = core_map["cores"]
    assert (core["chip"], core["x"], core["y"], core["core"]) == (1, 3, 2, 77)
    assert core["slices"] == [{"population": "out", "neurons": 2, "box": [[0, 2]]}]
    assert core["input_axons"] == [{
        "first": 5, "count": 3, "from": None, "to": "out", "weight_bits": 8, "weight_exp": 0, "sign": "mixed", "message_bits": 0,
        "delay": 0,
    }]
    assert core["used"] == TARGET.measure(small()[1])[0]
    assert core["used"]["neurons"] == 2


def test_core_map_tells_budgets_and_where_a_population_is():
    network, program = small()
    # The port's neuron 4 and, behind it, neuron 2 of `out` itself drive axons 5 and 6 of the core.
    routes = Routes([0, 0, 1], [0], [6])
    driven = replace(program, routes=(routes,), inputs={0: Routes([0] * 5 + [1] * 16, [0], [5])})
    core_map = json.loads(TARGET.emit(network, driven)["core_map.json"])
    assert core_map["budgets"]["neurons"] == 4095
    assert core_map["budgets"].keys() == core_map["cores"][0]["used"].keys()
    assert [(p["process"], p["cores"]) for p in core_map["populations"]] == [(None, []), ("LIF", []), ("TernaryLIF", []), ("LIF", [0])]
    assert core_map["cores"][0]["input_axons"][0]["from"] == "in"
    older = json.loads(TARGET.emit(network, replace(driven, target="loihi1"))["core_map.json"])
    assert older["budgets"]["neurons"] == 1024
    assert older["budgets"].keys() == older["cores"][0]["used"].keys()


def test_core_map_lists_neurons_that_are_no_box():
    network, program = small()
    listed = replace(program, groups=(replace(program.groups[0], slice=np.array([1])),), blocks=(), routes=(Routes([0, 0], [], []),))
    (core,) = json.loads(TARGET.emit(network, listed)["core_map.json"])["cores"]
    assert core["slices"] == [{"population": "out", "neurons": 1, "indices": [1]}]


def test_readme_names_the_command(artefact):
    text = artefact["README.txt"].decode()
    assert "python network.py --input S.npz" in text
    assert re.search(r"\((1 core|\d{2,} cores|[02-9] cores)\)", text)
    assert re.search(r"runs (1 step|\d{2,} steps|[02-9] steps) behind", text)


def test_payloads_beyond_a_ports_width_are_refused(artefact):
    ends = []

    def fail(status, message):
        ends.append((status, message))
        raise SystemExit(status)

    given = np.zeros((1, 2, 5), np.int32)
    check = function(artefact, "check_payloads", fail=fail, INPUTS=[("a", 2), ("b", 3)], MESSAGE_BITS={"a": 0, "b": 4})
    given[0, 1] = [1, 0, 15, -8, 0]
    check(given)
    assert ends == []
    for place, value, words in (
        (0, 2, "'a', which takes binary spikes"), (1, -1, "'a'"), (2, 16, "to 16 for 'b', which takes payloads of 4 bits"),
        (4, -9, "from -9 to 15 for 'b'"),
    ):
        wrong = given.copy()
        wrong[0, 0, place] = value
        with pytest.raises(SystemExit):
            check(wrong)
        assert ends[-1][0] == 2
        assert words in ends[-1][1]


def made(kernel, receptor=0, initial=None, form=None, connectivity=None, delay=0, delays=None, **params):
    """The program of two neurons of a kernel behind two inputs, by one projection."""
    cells = QuantizedPopulation("x", (2,), kernel, {k: np.asarray(v) for k, v in params.items()}, HERE, initial or {})
    synapses = Dense(np.full((2, 2), 2, np.int32)) if connectivity is None else connectivity
    form = SynapseFormat(8) if form is None else form
    network = QuantizedNetwork(
        (QuantizedPopulation("in", (2,), None, {}, HERE), cells),
        (QuantizedProjection("in to x", "in", "x", synapses, form, delay, HERE, delays, receptor),), ("in",), ("x",),
    )
    populations = tuple(ProgramPopulation(p.name, p.shape, 0, p.kernel is None, p.name == "x") for p in network.populations)
    return TARGET.emit(network, Program("loihi2", "oheo-gulch", populations, (), (), (), ()))


def function(artefact, name, **names):
    """One of the program's own functions, and what it finds under other names."""
    tree = ast.parse(artefact["network.py"])
    tree.body = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name]
    scope = {"np": np, **names}
    exec(compile(tree, "network.py", "exec"), scope)
    return scope[name]


def test_sigma_delta_neurons_get_unscaled_numbers_or_every_neuron_its_own():
    common = {"spike_exp": 6, "state_exp": 5, "cum_error": 1}
    artefact = made("loihi2.sigma_delta", vth=64, bias=[-3, 5], rectify=0, initial={"u": np.array([4, 4])}, **common)
    assert calls(artefact, "populations") == [("SigmaDelta", {
        "shape": "(2,)", "vth": "64 / 2048", "bias": "w['p0.bias'] / 2048", "act_mode": "ActivationMode.UNIT", "cum_error": "True",
        "spike_exp": "6", "state_exp": "5",
    })]
    assert stored(artefact) == [("SigmaDelta", {"sigma": "4"})]
    artefact = made("loihi2.delta", vth=[1, 2], **common)
    assert calls(artefact, "populations")[0][1]["vth"] == "0"
    assert stored(artefact) == [("Delta", {"vth": "w['p0.vth']"})]
    assert calls(made("loihi2.sigma", initial={"v": np.array([1, 2])}), "populations") == [("Sigma", {"shape": "(2,)"})]


def test_resonators_have_two_inputs():
    artefact = made("loihi2.rf_iz", 1, cos=[7, -8], sin=9, vth=640, state_exp=6, decay_bits=12)
    ((name, arguments),) = calls(artefact, "populations")
    assert (name, arguments) == ("RF_IZ", {"shape": "(2,)", "": "turn(w['p0.cos'], 9, 12)", "state_exp": "6", "vth": "640 / 64"})
    text = artefact["network.py"].decode()
    assert "('in', 'x', 'a_imag_in', Dense(" in text
    assert "('in', 'x', 'a_real_in', Dense(" in made("loihi2.rf", cos=7, sin=9, vth=64, state_exp=6, decay_bits=12)["network.py"].decode()


def test_the_integers_of_a_resonator_survive_lavas_own_arithmetic():
    """Lava computes int((1 - alpha) cos(2 pi / period) 2^bits) and the same with sin, which cuts off toward zero."""
    turn = function(made("loihi2.rf", cos=7, sin=9, vth=64, state_exp=6, decay_bits=12), "turn")
    rng = np.random.default_rng(0)
    for bits in (1, 8, 12):
        cos, sin = rng.integers(-(1 << bits), 1 + (1 << bits), (2, 500))
        cos[:9], sin[:9] = np.divmod(np.arange(9), 3)[0] - 1, np.arange(9) % 3 - 1
        given = turn(cos, sin, bits)
        assert given["decay_bits"] == bits
        for wanted, part in ((cos, np.cos), (sin, np.sin)):
            np.testing.assert_array_equal(np.int32((1 - given["alpha"]) * part(np.pi * 2 * 1 / given["period"]) * (1 << bits)), wanted)
    alone = turn(-3, 0, 12)
    assert int((1 - alone["alpha"]) * np.cos(2 * np.pi / alone["period"]) * 4096) == -3


def test_adaptive_neurons_get_fractions():
    artefact = made(
        "loihi2.atrlif", delta_i=1638, delta_v=[1, 2], delta_theta=0, delta_r=4096, theta_0=5, theta_step=3, bias_mant=0, bias_exp=0,
        initial={"u": np.array([1, 2]), "rho": np.array([9, 9])},
    )
    assert calls(artefact, "populations") == [("ATRLIF", {
        "shape": "(2,)", "delta_i": "1638 / 4096", "delta_v": "w['p0.delta_v'] / 4096", "delta_theta": "0 / 4096", "delta_r": "4096 / 4096",
        "theta_0": "5", "theta_step": "3", "bias_mant": "0", "bias_exp": "0", "i": "w['p0.u']", "r": "9",
    })]


def test_a_periodic_reset_that_the_chip_does_not_have_is_refused_on_hardware_only():
    lif_params = {"du": 1, "dv": 2, "vth": 3, "bias_mant": 0, "bias_exp": 0}
    odd = made("loihi2.lif_reset", reset_interval=12, reset_offset=14, **lif_params)
    ((name, arguments),) = calls(odd, "populations")
    assert (name, arguments["reset_interval"], arguments["reset_offset"]) == ("LIFReset", "12", "2")
    assert "population 'x' resets every 12 steps" in odd["network.py"].decode()
    even = made("loihi2.lif_reset", reset_interval=16, reset_offset=14, **lif_params)
    assert "resets every" not in even["network.py"].decode()


def test_a_relay_passes_everything_on():
    assert calls(made("loihi2.relay"), "populations") == [("GradedVec", {"shape": "(2,)", "vth": "0"})]


@pytest.mark.parametrize("key", ["spike_exp", "state_exp", "cum_error", "rectify"])
def test_what_lava_has_one_of_must_be_one(key):
    params = {"vth": 64, "bias": 0, "rectify": 1, "spike_exp": 6, "state_exp": 5, "cum_error": 1, key: [0, 1]}
    with pytest.raises(ValueError, match=f"neurons of x differ in {key}"):
        made("loihi2.sigma_delta", **params)


@pytest.mark.parametrize(("delay", "form", "process"), [
    (0, {}, "Conv"),
    (0, {"exponent": 2, "accumulator": 24}, "Conv"),
    (0, {"exponent": -1}, "Conv"),  # all weights are even
    (0, {"exponent": -2}, "Sparse"),
    (0, {"accumulator": 32}, "Sparse"),
    (1, {}, "DelaySparse"),
    (1, {"accumulator": 32}, "DelaySparse"),
])
def test_convolutions_become_the_process_that_sums_like_them(delay, form, process):
    conv = Conv2d(np.full((1, 1, 1, 1), 2, np.int32), (1, 1, 2))
    artefact = made("loihi2.relay", connectivity=conv, delay=delay, form=SynapseFormat(8, **form))
    ((name, arguments),) = calls(artefact, "projections")
    assert name == process
    assert "unroll" in arguments.get("weights", "") or process == "Conv"
    with np.load(io.BytesIO(artefact["weights.npz"])) as file:
        assert file["c0.weights"].ravel().tolist() == [{2: 8, -1: 1}.get(form.get("exponent", 0), 2)]


def test_a_delayed_matrix_whose_sum_wraps_before_its_exponent_is_listed():
    forms = [(-1, 32, "DelaySparse"), (1, 32, "DelayDense"), (-1, 0, "DelayDense")]
    for exponent, accumulator, process in forms:
        artefact = made("loihi2.relay", delay=1, form=SynapseFormat(8, exponent, "mixed", 24, accumulator))
        assert calls(artefact, "projections")[0][0] == process


@pytest.mark.parametrize(("connectivity", "delay", "form"), [
    (None, 0, {"accumulator": 24}),
    (Conv2d(np.full((1, 1, 1, 1), 2, np.int32), (1, 1, 2)), 1, {"accumulator": 24}),
    (Conv2d(np.full((1, 1, 1, 1), 2, np.int32), (1, 1, 2)), 0, {"accumulator": 24, "exponent": -1}),
])
def test_a_width_that_no_process_sums_in_is_refused(connectivity, delay, form):
    with pytest.raises(ValueError, match="sums in 24 bits"):
        made("loihi2.relay", connectivity=connectivity, delay=delay, form=SynapseFormat(8, **form))


def test_the_hardware_gets_the_width_of_payloads():
    def widths(artefact):
        tree = ast.parse(artefact["network.py"])
        return next(ast.literal_eval(n.value) for n in tree.body if isinstance(n, ast.Assign) and n.targets[0].id == "MESSAGE_BITS")

    assert widths(made("loihi2.sigma", form=SynapseFormat(8, message_bits=16))) == {"in": 16, "x": 24}
    assert widths(made("loihi2.lif", du=1, dv=2, vth=3, bias_mant=0, bias_exp=0)) == {"in": 0, "x": 0}


def listed(content, shape):
    """In the place of scipy's csr_matrix: the whole matrix, from values and (rows, columns)."""
    values, (rows, columns) = content
    matrix = np.zeros(shape, np.int64)
    assert len(set(zip(rows.tolist(), columns.tolist(), strict=True))) == len(values)
    matrix[rows, columns] = values
    return matrix


@pytest.mark.parametrize("seed", range(8))
def test_listed_convolutions_have_the_synapses_of_the_convolution(seed):
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), int(rng.integers(3, 7)), int(rng.integers(3, 7)))
    kernel, keywords = geometry(rng, shape)
    conv = Conv2d(rng.integers(1, 9, kernel).astype(np.int32), shape, **keywords)
    artefact = made("loihi2.relay", connectivity=Conv2d(np.full((1, 1, 1, 1), 2, np.int32), (1, 1, 2)), delay=1)
    unroll = function(artefact, "unroll", csr_matrix=listed)
    matrix = unroll(conv.weights, conv.in_shape, conv.out_shape, conv.stride, conv.padding, conv.dilation, conv.groups)
    np.testing.assert_array_equal(matrix, matrices_of(conv))


def test_every_pair_is_listed_zeros_included():
    form = SynapseFormat(8, -1, "mixed", 24, 32)
    artefact = made("loihi2.relay", connectivity=Dense(np.array([[2, 0], [4, 6]], np.int32)), delay=1, form=form)
    (values, indices, indptr), shape = function(artefact, "every_pair", csr_matrix=lambda *given: given)(np.array([[2, 0], [4, 6]]))
    assert (values.tolist(), indices.tolist(), indptr.tolist(), shape) == ([2, 0, 4, 6], [0, 1, 0, 1], [0, 2, 4], (2, 2))
