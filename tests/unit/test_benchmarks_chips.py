from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

import other_chips
from chips.programs import ALL_KERNELS, Workload, akida, spinnaker, truenorth
from chips.reference import reference
from chips.truenorth import NEURON

from nmap.compiled import compiled
from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.emulate.engine import Emulator
from nmap.emulate.kernel import SHARED, Kernel
from nmap.pointers import call_native
from nmap.program import ConvTile, Core, NeuronGroup, Program, ProgramPopulation, Routes, SynapseBlock
from nmap_akida.kernels import BINARY, GRADED

CHIPS = (NEURON, GRADED, BINARY)


@compiled("void(int64, int64, int64, int64, int64, int64, int64, int64, int64, int64)")
def _call(step, constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    call_native(step, (constants, shared, state, dendrite, sent, n, first, last, time))


def native_step(
    kernel: Kernel, params: dict[str, Array], state: dict[str, Array], dendrite: Array, span: tuple[int, int] | None = None,
    shared: bool = False,
) -> tuple[Array, dict[str, Array]]:
    """Run the compiled step; what it does not touch shows as 77."""
    n = next(iter(params.values())).size
    constants = np.ascontiguousarray(kernel.constants(params))
    assert constants.dtype == np.int32
    assert constants.shape[1] == n
    held = np.zeros((len(kernel.state), n), np.int32)
    for row, name in enumerate(kernel.state):
        held[row] = state[name]
    came = np.ascontiguousarray(dendrite, np.int32)
    sent = np.full(n, 77, np.int32 if kernel.graded else np.uint8)
    first, last = span or (0, n)
    at = [array.ctypes.data for array in (constants, held, came, sent)]
    _call(kernel.step.address, at[0], SHARED if shared else 0, at[1], at[2], at[3], n, first, last, 5)
    assert np.array_equal(came, dendrite.astype(np.int32))
    return sent.astype(np.int64), {name: held[row].astype(np.int64) for row, name in enumerate(kernel.state)}


def drawn(kernel: Kernel, n: int, seed: int) -> tuple[dict[str, Array], dict[str, Array], Array]:
    """Parameters, state and dendrite from all over what the chip can hold, small numbers as likely as large ones."""
    random = np.random.default_rng(seed)

    def whole(low: int, high: int) -> Array:
        # Of every size: uniform numbers would hardly ever meet a threshold.
        size = 2.0 ** random.uniform(0, np.log2(max(2, high - low)), n)
        return np.clip(np.rint(random.choice([-1, 1], n) * size).astype(np.int64), low, high)

    if kernel is NEURON:
        params = {
            "alpha": whole(0, 2**18 - 1), "beta": whole(0, 2**18 - 1), "leak": whole(-256, 255), "epsilon": random.integers(0, 2, n),
            "gamma": random.integers(0, 3, n), "kappa": random.integers(0, 2, n), "sigma_vr": random.choice([-1, 1], n),
            "vr": random.integers(0, 19, n),
        }
        return params, {"v": whole(-(2**18), 2**18)}, whole(-(2**17), 2**17)
    params = {"threshold": whole(-(2**19), 2**19 - 1)}
    if kernel is GRADED:
        params |= {"act_step": whole(1, 65535 * 16), "act_bits": random.choice([1, 2, 4], n)}
    return params, {}, whole(-(2**31), 2**31 - 1)


@pytest.mark.parametrize("kernel", CHIPS, ids=lambda kernel: kernel.name)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 70), shared=st.booleans())
def test_compiled_steps_compute_what_the_plain_ones_do(kernel: Kernel, seed: int, n: int, shared: bool) -> None:
    params, state, dendrite = drawn(kernel, n, seed)
    if shared:
        params = {name: np.full(n, values[0]) for name, values in params.items()}
    expected_state = dict(state)
    expected = kernel.reference_step(params, expected_state, dendrite, 5)
    sent, after = native_step(kernel, params, state, dendrite, shared=shared)
    assert np.array_equal(sent, expected)
    for name in kernel.state:
        assert np.array_equal(after[name], expected_state[name]), name


@pytest.mark.parametrize("kernel", CHIPS, ids=lambda kernel: kernel.name)
def test_a_step_leaves_other_neurons_alone(kernel: Kernel) -> None:
    params, state, dendrite = drawn(kernel, 50, 3)
    all_sent, all_after = native_step(kernel, params, state, dendrite)
    sent, after = native_step(kernel, params, state, dendrite, (13, 31))
    assert np.array_equal(sent[13:31], all_sent[13:31])
    assert (sent[:13] == 77).all()
    assert (sent[31:] == 77).all()
    for name in kernel.state:
        assert np.array_equal(after[name][13:31], all_after[name][13:31])
        assert np.array_equal(after[name][:13], state[name][:13])
        assert np.array_equal(after[name][31:], state[name][31:])


@pytest.mark.parametrize("kernel", CHIPS, ids=lambda kernel: kernel.name)
def test_plain_steps_take_samples_and_contract(kernel: Kernel) -> None:
    params, state, dendrite = drawn(kernel, 20, 4)
    one = dict(state)
    sent = kernel.reference_step(params, one, dendrite, 0)
    many = {name: np.stack([values, values]) for name, values in state.items()}
    both = kernel.reference_step(params, many, np.stack([dendrite, dendrite]), 0)
    assert np.array_equal(both, np.stack([sent, sent]))
    assert all(np.array_equal(many[name][1], one[name]) for name in kernel.state)
    assert isinstance(kernel, Kernel)


def _truenorth(v: int, a: int, **given: int) -> tuple[int, int]:
    values = {"alpha": 10, "beta": 20, "leak": 0, "epsilon": 0, "gamma": 0, "kappa": 0, "sigma_vr": 1, "vr": 0} | given
    params = {name: np.array([value]) for name, value in values.items()}
    sent, after = native_step(NEURON, params, {"v": np.array([v])}, np.array([a]))
    return int(sent[0]), int(after["v"][0])


@pytest.mark.parametrize(("given", "expected"), [
    # Reaching alpha is enough; hard reset, reset to +-(2^vr - 1), linear reset, and no reset below a ceiling of alpha.
    ({"v": 4, "a": 5}, (0, 9)),
    ({"v": 4, "a": 6}, (1, 0)),
    ({"v": 4, "a": 8, "vr": 3}, (1, 7)),
    ({"v": 4, "a": 8, "vr": 3, "sigma_vr": -1}, (1, -7)),
    ({"v": 4, "a": 8, "gamma": 1}, (1, 2)),
    ({"v": 4, "a": 8, "gamma": 2}, (1, 10)),
    # The floor: -beta itself stays; below it kappa holds, else V is reset as gamma says.
    ({"v": -18, "a": -2}, (0, -20)),
    ({"v": -18, "a": -5, "kappa": 1}, (0, -20)),
    ({"v": -18, "a": -5, "vr": 2}, (0, -3)),
    ({"v": -18, "a": -5, "gamma": 1}, (0, -3)),
    ({"v": -18, "a": -5, "gamma": 2}, (0, -23)),
    # The leak is added; with epsilon it leads away from 0, or to 0 and not beyond.
    ({"v": 2, "a": 1, "leak": -4}, (0, -1)),
    ({"v": 2, "a": 1, "leak": -4, "epsilon": 1}, (0, 0)),
    ({"v": -2, "a": -4, "leak": -4, "epsilon": 1}, (0, -2)),
    ({"v": -2, "a": -4, "leak": 4, "epsilon": 1}, (0, -10)),
    ({"v": 2, "a": -2, "leak": 4, "epsilon": 1}, (0, 0)),
    ({"v": 2, "a": 1, "leak": 255, "alpha": 262143}, (0, 258)),
    ({"v": 2, "a": 1, "leak": -256, "beta": 262143}, (0, -253)),
])
def test_truenorth_by_hand(given: dict[str, int], expected: tuple[int, int]) -> None:
    assert _truenorth(**given) == expected


@pytest.mark.parametrize(("width", "step", "excess", "level"), [
    # One bit: the strict threshold alone. Four bits: 16 d / q rounded up. Two: a level is four times as wide.
    (1, 16, 0, 0), (1, 16, 1, 1), (1, 999, 1, 1), (1, 16, 400, 1),
    (4, 16, 0, 0), (4, 16, 1, 1), (4, 16, 7, 7), (4, 16, 15, 15), (4, 16, 16, 15), (4, 16, -5, 0),
    (4, 40, 5, 2), (4, 40, 6, 3), (4, 1, 1, 15),
    (2, 16, 4, 1), (2, 16, 5, 2), (2, 16, 12, 3), (2, 16, 99, 3),
])  # fmt: skip
def test_akida_by_hand(width: int, step: int, excess: int, level: int) -> None:
    for threshold in (-300, 0, 700):
        params = {"threshold": np.array([threshold]), "act_step": np.array([step]), "act_bits": np.array([width])}
        assert native_step(GRADED, params, {}, np.array([threshold + excess]))[0].tolist() == [level]
        if width == 1:
            assert native_step(BINARY, {"threshold": np.array([threshold])}, {}, np.array([threshold + excess]))[0].tolist() == [level]


def test_akida_potentials_saturate_at_20_bits() -> None:
    top = 2**19 - 1
    assert native_step(BINARY, {"threshold": np.array([top - 1, top])}, {}, np.array([2**30, 2**30]))[0].tolist() == [1, 0]
    params = {"threshold": np.array([top - 3]), "act_step": np.array([16]), "act_bits": np.array([4])}
    assert native_step(GRADED, params, {}, np.array([2**30]))[0].tolist() == [3]


def test_the_plain_reference_by_hand() -> None:
    """Two inputs, three neurons on two cores: delays, payloads, negative weights, and neurons that feed each other."""
    populations = (ProgramPopulation("in", (2,), 0, True, False), ProgramPopulation("n", (3,), 0, False, True))
    neuron = {name: np.zeros(1, np.int64) for name in NEURON.params}
    neuron |= {"alpha": np.array([2]), "sigma_vr": np.array([1]), "beta": np.array([9])}
    pair = {name: np.repeat(values, 2) for name, values in neuron.items()}
    groups = (
        NeuronGroup(0, 1, ((0, 2),), NEURON.name, pair, {}), NeuronGroup(1, 1, ((2, 3),), NEURON.name, neuron, {"v": np.array([1])}),
    )
    blocks = (
        # Input 0 reaches neuron 0 with 2 one step later; input 1 reaches neuron 1 with 1 one step later and with its payload 3 steps later.
        SynapseBlock(0, 0, 0, Dense(np.array([[2, 0], [0, 1]], np.int32)), None, 0, 0, 0, 8, "mixed"),
        SynapseBlock(0, 0, 2, Sparse(np.array([0, 0, 1]), np.array([0]), np.array([1], np.int32), 1), np.array([2]), 0, 0, 8, 8, "mixed"),
        # Neuron 0 reaches neuron 2, in two steps.
        SynapseBlock(1, 1, 0, Dense(np.array([[1]], np.int32)), None, 1, 0, 0, 8, "mixed"),
        # Neuron 2 holds neuron 0 down.
        SynapseBlock(0, 0, 3, Dense(np.array([[-1], [0]], np.int32)), None, 0, 0, 0, 8, "mixed"),
    )
    routes = (Routes(np.array([0, 1, 1]), np.array([1]), np.array([0])), Routes(np.array([0, 1]), np.array([0]), np.array([3])))
    ports = {0: Routes(np.array([0, 1, 3]), np.array([0, 0, 0]), np.array([0, 1, 2]))}
    program = Program("t", "v", populations, (Core(0, 0, 0, 0), Core(0, 0, 0, 1)), groups, blocks, routes, ports)
    given = np.zeros((1, 2, 2), np.uint8)
    given[0, 0] = 1, 5
    sent = reference(program, ALL_KERNELS, {"in": given}, 6)
    # Step 1: neuron 0 has 2 and fires, neuron 1 has 1. Step 3: neuron 1 gets 5; neuron 2, at 1, gets 1 and fires. Step 4: neuron 0 has -1.
    assert sent["n"][0].tolist() == [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 1, 1], [0, 0, 0], [0, 0, 0]]
    assert sent["in"][0].tolist() == [[1, 5], [0, 0], [0, 0], [0, 0], [0, 0], [0, 0]]
    trace = Emulator(program, ALL_KERNELS).run({"in": given}, 6, record=("n",))
    assert np.array_equal(trace.spikes["n"], sent["n"])


def test_the_plain_reference_unrolls_a_convolution() -> None:
    random = np.random.default_rng(5)
    kernel = random.integers(-3, 4, (2, 3, 3, 2)).astype(np.int32)
    layer = Conv2d(kernel, (3, 5, 6), (2, 1), (1, 1), (1, 2))
    boxes = ((0, 3), (0, 5), (0, 6)), ((1, 2), (0, 3), (1, 5))
    tile = ConvTile(kernel[1:], layer.in_shape, layer.out_shape, *boxes, (2, 1), (1, 1), (1, 2), 1)
    images = random.integers(0, 4, (1, 1, 3, 5, 6)).astype(np.uint8)
    part = layer.apply(images.reshape(1, -1).astype(float)).reshape(layer.out_shape)[1, 0:3, 1:5].ravel().astype(np.int64)
    neurons = part.size
    params = {"threshold": np.zeros(neurons, np.int64), "act_step": np.full(neurons, 64), "act_bits": np.full(neurons, 4)}
    group = NeuronGroup(0, 1, ((0, 1), (0, 3), (0, 4)), GRADED.name, params, {})
    populations = (ProgramPopulation("in", (3, 5, 6), 0, True, False), ProgramPopulation("n", (1, 3, 4), 0, False, True))
    program = Program(
        "t", "v", populations, (Core(0, 0, 0, 0),), (group,), (SynapseBlock(0, 0, 0, tile, None, 0, 0, 4, 4, "mixed"),),
        (Routes(np.zeros(neurons + 1), np.zeros(0), np.zeros(0)),), {0: Routes(np.arange(91), np.zeros(90), np.arange(90))},
    )
    sent = reference(program, ALL_KERNELS, {"in": images}, 2)
    assert np.array_equal(sent["n"][0, 1], np.clip(-(-part // 4), 0, 15))
    assert np.count_nonzero(sent["n"]) > 3


def test_the_plain_reference_refuses_what_it_does_not_compute() -> None:
    workload = truenorth(1, 2)
    block = workload.program.blocks[0]
    for changed in (
        SynapseBlock(0, 0, 0, block.synapses, None, 0, 6, 0, 8, "mixed"),
        SynapseBlock(0, 0, 0, block.synapses, np.zeros((256, 256), np.int64), 0, 0, 0, 8, "mixed"),
        SynapseBlock(0, 0, 0, ConvTile(
            np.ones((256, 1, 1, 1), np.int32), (256, 1, 1), (256, 1, 1), ((0, 256), (0, 1), (0, 1)), ((0, 256), (0, 1), (0, 1)),
            (1, 1), (0, 0), (1, 1), 256,
        ), None, 0, 0, 0, 8, "mixed"),
    ):
        p = workload.program
        program = Program(p.target, p.variant, p.populations, p.cores, p.groups, (changed,), p.routes, p.inputs)
        with pytest.raises(ValueError, match="the plain reference has no"):
            reference(program, ALL_KERNELS, workload.inputs, 2)


SMALL = {
    "truenorth": partial(truenorth, 3, 70), "truenorth apart": partial(truenorth, 3, 70, together=False),
    "truenorth uniform": partial(truenorth, 3, 70, own=False), "spinnaker1": partial(spinnaker, 1, 600, 60, density=0.1),
    "spinnaker2": partial(spinnaker, 2, 600, 60, density=0.1), "akida graded": partial(akida, 8, True, scale=5, samples=2),
    "akida binary": partial(akida, 8, False, scale=5, samples=2),
}


@pytest.mark.parametrize("loihi", [False, True])
@pytest.mark.parametrize("name", SMALL)
def test_the_engine_computes_what_the_plain_reference_does(name: str, loihi: bool) -> None:
    workload = SMALL[name](loihi=loihi)
    expected = reference(workload.program, ALL_KERNELS, workload.inputs, workload.steps)
    emulator = Emulator(workload.program, ALL_KERNELS)
    trace = emulator.run(workload.inputs, workload.steps, record=list(expected))
    for population, payloads in expected.items():
        assert np.array_equal(trace.spikes[population], payloads), population
    spikes, events = other_chips.events_per_step(workload, emulator)
    passed = workload.steps * len(next(iter(expected.values())))
    assert spikes * passed == pytest.approx(sum(np.count_nonzero(payloads) for payloads in expected.values()))
    assert events * passed == pytest.approx(sum((workload.fan_out[k] * (payloads != 0)).sum() for k, payloads in expected.items()))


def _rate(workload: Workload, population: str, after: int) -> float:
    sent = reference(workload.program, ALL_KERNELS, workload.inputs, workload.steps)[population]
    return float((sent[:, after:] != 0).mean())


def test_truenorth_programs_are_what_they_say() -> None:
    workload = truenorth(6, 120)
    program = workload.program
    places = np.concatenate([routes.core * 256 + routes.axon for routes in program.routes])
    assert np.array_equal(np.sort(places), np.arange(6 * 256))
    weights = np.stack([block.synapses.weights for block in program.blocks])
    assert weights.dtype == np.int8
    assert 0.49 < (weights != 0).mean() < 0.51
    # Two axons of one type meet a neuron with the same weight where both are connected.
    for core in weights:
        for axon in range(0, 256, 50):
            same = [k for k in range(256) if ((core[:, k] == core[:, axon]) | (core[:, k] == 0) | (core[:, axon] == 0)).all()]
            assert 30 < len(same) < 110
    assert workload.fan_out["chip"].sum() == np.count_nonzero(weights)
    first = np.flatnonzero(weights[places[0] // 256][:, places[0] % 256]).size
    assert workload.fan_out["chip"][0] == first
    assert 0.008 < _rate(workload, "chip", 40) < 0.012


def test_one_population_or_one_for_each_core_is_the_same_network() -> None:
    together, apart = truenorth(3, 60), truenorth(3, 60, together=False)
    whole = reference(together.program, ALL_KERNELS, together.inputs, 60)["chip"]
    parts = reference(apart.program, ALL_KERNELS, apart.inputs, 60)
    assert np.array_equal(np.concatenate([parts[f"core{k:04d}"] for k in range(3)], axis=2), whole)
    assert np.array_equal(np.concatenate([apart.fan_out[f"core{k:04d}"] for k in range(3)]), together.fan_out["chip"])


def test_uniform_truenorth_neurons_spike_as_loihis_do() -> None:
    """Constant leak, hard reset and a floor that is not reached: two chips' equations, one behaviour."""
    chip, loihi = (truenorth(3, 200, loihi=loihi, own=False) for loihi in (False, True))
    runs = [reference(w.program, ALL_KERNELS, w.inputs, w.steps)["chip"] for w in (chip, loihi)]
    assert np.array_equal(*runs)
    assert runs[0].sum() > 500


@pytest.mark.parametrize(("chip", "side", "delays", "largest"), [(1, 256, 16, 1020), (2, 250, 8, 12)])
def test_spinnaker_programs_are_what_they_say(chip: int, side: int, delays: int, largest: int) -> None:
    workload = spinnaker(chip, 900, 100, density=0.05)
    blocks = workload.program.blocks
    assert [group.size for group in workload.program.groups] == [side] * 3 + [900 - 3 * side]
    assert sum(block.synapses.synapses for block in blocks) == workload.fan_out["cells"].sum() == pytest.approx(900 * 900 * 0.05, rel=0.03)
    for block in blocks:
        assert set(np.unique(block.delays)) == set(range(delays))
        assert abs(block.synapses.weights).max() <= largest
    inhibitory = [block for block in blocks if block.axon]
    assert all((block.receptor == 1) == (chip == 1) for block in inhibitory)
    assert all((block.synapses.weights > 0).all() == (chip == 1) for block in inhibitory)
    signed = spinnaker(chip, 900, 1, loihi=True, density=0.05).program.blocks
    assert all(block.receptor == 0 and ((block.synapses.weights < 0) == (block.axon > 0)).all() for block in signed)
    assert 0.015 < _rate(workload, "cells", 40) < 0.026
    assert 0.015 < _rate(spinnaker(chip, 900, 100, loihi=True, density=0.05), "cells", 40) < 0.026


@pytest.mark.parametrize("loihi", [False, True])
def test_akida_programs_are_what_they_say(loihi: bool) -> None:
    workload = akida(14, True, loihi, scale=3)
    names = [population.name for population in workload.program.populations]
    assert names == ["input", "layer0", "layer1", "layer2", "layer3", "layer4"]
    assert all(abs(block.synapses.weights).max() == 7 for block in workload.program.blocks)
    for name in names[1:5]:
        assert 0.1 < _rate(workload, name, 6) < 0.22, name
    # How many targets a spike of the first layer's inputs reaches, by what one input alone does to the layer.
    tile = workload.program.blocks[0].synapses
    assert isinstance(tile, ConvTile)
    layer = Conv2d(np.abs(np.sign(tile.weights)), tile.in_shape, tile.stride, tile.padding)
    assert np.array_equal(workload.fan_out["input"], np.count_nonzero(layer.apply(np.eye(layer.in_size)), axis=1))
    assert not workload.fan_out["layer4"].any()


def test_a_run_that_differs_is_refused() -> None:
    workload = truenorth(1, 30)
    emulator = Emulator(workload.program, ALL_KERNELS)
    other_chips.check(workload, emulator, 30)

    def wrong(*args: Any, **options: Any) -> SimpleNamespace:
        spikes = {name: values.copy() for name, values in emulator.run(*args, **options).spikes.items()}
        spikes["chip"][0, 3, 7] ^= 1
        return SimpleNamespace(spikes=spikes)

    with pytest.raises(other_chips.Different, match="1 of 7680 payloads of `chip` differ"):
        other_chips.check(workload, SimpleNamespace(run=wrong), 30)


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    case = other_chips.Case(partial(truenorth, 2, 50, own=False), partial(truenorth, 1, 20), 5, True)
    monkeypatch.setattr(other_chips, "CASES", {"one": case, "other": case})
    monkeypatch.setattr(sys, "argv", ["other_chips.py", "on", "--repeat", "1", "--json"])
    other_chips.main()
    (row,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert row["workload"] == "one"
    assert row["chip"]["spikes"] == row["loihi"]["spikes"]
    assert row["chip"]["ns_per_event"] == pytest.approx(1e3 * row["chip"]["us"] / row["chip"]["events"])
    assert row["ratio"] == pytest.approx(row["chip"]["us"] / row["loihi"]["us"])
    assert row["real_time"] == pytest.approx(1000 / row["chip"]["us"])
    monkeypatch.setattr(sys, "argv", ["other_chips.py", "--repeat", "1"])
    other_chips.main()
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["workload", "one", "other"]


def test_the_table_stops_at_a_run_that_differs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def differs(*_: Any) -> None:
        raise other_chips.Different("3 of 5 payloads of `chip` differ")

    monkeypatch.setattr(other_chips, "check", differs)
    monkeypatch.setattr(sys, "argv", ["other_chips.py", "spinnaker1"])
    with pytest.raises(SystemExit, match="spinnaker1: 3 of 5 payloads"):
        other_chips.main()
    assert len(capsys.readouterr().out.splitlines()) == 1
