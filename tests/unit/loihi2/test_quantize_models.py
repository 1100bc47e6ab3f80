"""From netx files of every neuron model to Loihi 2: the integers are the file's, and the fixed level computes what the float level does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nmap
from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.diagnostics import Findings, NmapError
from nmap.network import Conventions, Model, Network, Neuron, Population, Projection, Provenance, Resonator, SigmaDelta
from nmap.options import Options
from nmap.quantized import QuantizedNetwork
from nmap.readers import read
from nmap.rules import run_rules
from nmap.simulate.fixed import simulate as fixed
from nmap.simulate.floating import simulate as floating
from nmap.testing.networks import FOREIGN_NETWORKS, build
from nmap.trace import Probe
from nmap_loihi2 import TARGET
from tests.unit.readers.builders import cuba, write_netx

_W = Provenance("net.net", "/layer")


def quantized(network: Network, **options: Any) -> tuple[QuantizedNetwork, Findings]:
    findings, chosen = Findings(), Options(**options)
    run_rules(network, TARGET, chosen, findings)
    made = TARGET.quantize(network, chosen, findings)
    findings.raise_errors()
    return made, findings


def assert_same(network: Network, made: QuantizedNetwork, inputs: Array) -> int:
    """Compare messages and both states of every population at the two levels; return the number of messages."""
    names = [p.name for p in network.populations if p.neuron is not None]
    steps, samples = inputs.shape[1], inputs.shape[0]
    run = floating(network, inputs, record=[f"{n}{what}" for n in names for what in ("", ":u", ":v")])
    latency = max(p.latency for p in made.populations)
    trace = fixed(
        made, TARGET.kernels, inputs, steps + latency, record=names, probes=[Probe(n, v) for n in names for v in ("u", "v")]
    )
    for n in names:
        at, scale = made[n].latency, made[n].scale
        np.testing.assert_array_equal(trace.spikes[n][:, at : at + steps], run.spikes[n].reshape(samples, steps, -1), err_msg=n)
        for key, values in ((f"{n}.u", run.u[n]), (f"{n}.v", run.v[n])):
            np.testing.assert_array_equal(trace.state[key][:, at : at + steps], values * scale, err_msg=key)
    return sum(int(np.count_nonzero(run.spikes[n])) for n in names)


def even(rng: np.random.Generator, *shape: int, most: int = 60) -> Array:
    """Return weights on the grid of a mixed matrix with 8 bits."""
    return 2 * rng.integers(-most, most + 1, shape)


def sdnn(threshold: int = 3, **more: Any) -> dict[str, Any]:
    return {"type": "SDNN", "vThMant": threshold, **more}


def _sdnn_file(path: Path, rng: np.random.Generator) -> Path:
    return write_netx(path, [
        {"type": "input", "shape": [2, 5, 4], "neuron": sdnn(2)},
        {"type": "conv", "shape": [3, 3, 2], "weight": even(rng, 3, 2, 3, 3), "bias": rng.integers(-9, 9, 3), "stride": [1, 1],
         "padding": [0, 0], "dilation": [1, 1], "groups": 1, "neuron": sdnn(4, activation="relu")},
        {"type": "flatten", "shape": [18]},
        {"type": "dense", "shape": [6], "weight": even(rng, 6, 18), "bias": rng.integers(-9, 9, 6), "delay": rng.integers(0, 5, (6, 18)),
         "neuron": sdnn(activation="identity")},
        {"type": "dense", "shape": [3], "weight": even(rng, 3, 6), "neuron": sdnn(sigma_output=True)},
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_a_sigma_delta_network_is_computed_exactly(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    network = read(_sdnn_file(tmp_path / "s.net", rng))
    made, findings = quantized(network, payload=(-50, 50))
    assert [p.kernel for p in made.populations] == [None, "loihi2.delta", "loihi2.sigma_delta", "loihi2.sigma_delta", "loihi2.sigma"]
    assert not [d for d in findings if d.severity != "note"]
    sent = assert_same(network, made, rng.integers(-50, 51, (3, 30, 2, 5, 4)))
    assert sent > 3000


def test_sigma_delta_integers_are_those_of_the_file(tmp_path: Path) -> None:
    """Threshold and bias times 2^(6 + 6); messages of 24 bits behind every population; weights as stored."""
    rng = np.random.default_rng(9)
    network = read(_sdnn_file(tmp_path / "s.net", rng))
    made, _ = quantized(network, payload=(-50, 50))
    assert [made[f"layer{k}"].params["vth"][0] for k in (0, 1, 3)] == [2 * 4096, 4 * 4096, 3 * 4096]
    assert [set(made[f"layer{k}"].params["rectify"].tolist()) for k in (1, 3)] == [{1}, {0}]
    assert all(made[f"layer{k}"].params[key][0] == value for k in (0, 1) for key, value in (
        ("spike_exp", 6), ("state_exp", 6), ("cum_error", 0),
    ))
    (stored,) = [p.neuron for p in network.populations if p.name == "layer1"]
    assert isinstance(stored, SigmaDelta)
    np.testing.assert_array_equal(made["layer1"].params["bias"], stored.bias)
    assert stored.bias.any()
    by_name = {p.name: p for p in made.projections}
    assert [p.format.message_bits for p in made.projections] == [7, 24, 24, 24]
    for p in network.projections:
        effect = by_name[p.name].connectivity.weights * 2.0 ** by_name[p.name].format.exponent
        np.testing.assert_array_equal(effect, p.connectivity.weights)
    assert isinstance(by_name["conv1"].connectivity, Conv2d)


def test_a_delta_neuron_by_hand() -> None:
    """vth 2 on an input of 1, 1, 3, 3, 0: differences 1 and 1 wait as residue, 3 - 1 is sent with it, and so on."""
    model = SigmaDelta("SDNN", "delta", np.array([2.0 * 4096]), np.zeros(1))
    network = build("d.net", {"input": ((1,), None), "a": ((1,), model)}, [("input", "a", Dense(np.ones((1, 1))), None, 1)])
    made, _ = quantized(network, payload=(0, 3))
    x = np.array([1, 1, 3, 3, 0, 0])[None, :, None]
    spikes = fixed(made, TARGET.kernels, x, 7).spikes["a"][0, :, 0]
    # d = x - act + residue: 1 (kept), 0 + 1 (kept), 2 + 1 = 3 (sent), 0, -3 (sent), 0; messages count 64 each.
    np.testing.assert_array_equal(spikes, [0, 0, 0, 3 * 64, 0, -3 * 64, 0])


def test_binary_and_graded_populations_feed_each_other() -> None:
    """A LIF behind sigma-delta neurons gets their payloads, sigma-delta neurons behind a LIF a 1 for each spike."""
    rng = np.random.default_rng(3)
    delta = SigmaDelta("SDNN", "delta", np.full(4, 2.0 * 4096), np.zeros(4))
    sigma = SigmaDelta("SDNN", "sigma_delta", np.full(3, 128.0), rng.integers(-2, 3, 3) * 64.0)
    network = build(
        "m.net",
        {"input": ((4,), None), "d": ((4,), delta), "lif": ((5,), _cuba(5, 5000.0)), "s": ((3,), sigma), "out": ((2,), _cuba(2, 50.0))},
        [
            ("input", "d", Sparse.diagonal(np.ones(4)), None, 1), ("d", "lif", Dense(even(rng, 5, 4, most=5).astype(float)), None, 1),
            ("lif", "s", Dense(even(rng, 3, 5).astype(float)), None, 1), ("s", "out", Dense(even(rng, 2, 3).astype(float)), None, 1),
        ],
        conventions=Conventions(None, "zero", "steps"),
    )
    made, _ = quantized(network, payload=(-20, 20))
    assert [p.format.message_bits for p in made.projections] == [6, 24, 0, 24]
    assert assert_same(network, made, rng.integers(-20, 21, (4, 40, 4))) > 300
    assert floating(network, rng.integers(-20, 21, (4, 40, 4)), record=["out"]).spikes["out"].any()


def _cuba(n: int, threshold: float) -> Any:
    full = {key: np.full(n, value) for key, value in (("zero", 0.0), ("one", 1.0), ("alpha", 0.75), ("beta", 0.875), ("vth", threshold))}
    return Neuron(
        "CUBA", full["alpha"], full["one"], full["one"], full["beta"], full["zero"], full["vth"], full["zero"], True, 1 / 64,
    )


@pytest.mark.parametrize(("role", "bias", "error"), [
    ("sigma_delta", 4096.0, True), ("sigma_delta", -4096.0, False), ("sigma_delta", 0.0, False), ("delta", 0.0, False),
])
def test_a_bias_before_the_first_input_is_refused_where_it_would_be_sent(role: Any, bias: float, error: bool) -> None:
    """Such a population runs one step behind the input; a negative bias is rectified to 0 and sends nothing."""
    model = SigmaDelta("SDNN", role, np.full(2, 4096.0), np.full(2, bias))
    network = build("b.net", {"input": ((2,), None), "a": ((2,), model)}, [("input", "a", Dense(np.full((2, 2), 2.0)), None, 0)])
    if error:
        with pytest.raises(NmapError) as caught:
            quantized(network)
        assert [(d.code, "2 neurons of `a`" in d.message) for d in caught.value.diagnostics] == [("NM306", True)]
        return
    made, _ = quantized(network)
    assert made["a"].latency == 1
    rng = np.random.default_rng(1)
    assert_same(network, made, rng.integers(0, 2, (2, 20, 2)))


def _rf_file(path: Path, rng: np.random.Generator, first: str, second: str) -> Path:
    def rotation(n: int) -> dict[str, Any]:
        angle, length = rng.uniform(0.1, 1.5, n), rng.uniform(3000, 4090, n)
        return {"sinDecay": (length * np.sin(angle)).astype(int), "cosDecay": (length * np.cos(angle)).astype(int)}

    return write_netx(path, [
        {"type": "dense", "shape": [7], "weight": {"real": even(rng, 7, 6), "imag": even(rng, 7, 6)},
         "neuron": {"type": first, "vThMant": 60, **rotation(7)}},
        {"type": "dense", "shape": [5], "weight": {"real": even(rng, 5, 7), "imag": even(rng, 5, 7)},
         "neuron": {"type": second, "vThMant": rng.integers(40, 80, 5), **rotation(5)}},
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("first", "second"), [("RF_PHASE", "RF_IZHIKEVICH"), ("RF_IZHIKEVICH", "RF_PHASE")])
def test_resonators_with_complex_weights_are_computed_exactly(first: str, second: str, seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng([seed, len(first)])
    network = read(_rf_file(tmp_path / "r.net", rng, first, second))
    made, findings = quantized(network)
    assert not [d for d in findings if d.severity != "note"]
    assert [p.receptor for p in made.projections] == [0, 1, 0, 1]
    assert [p.kernel for p in made.populations[1:]] == ["loihi2.rf" if kind == "RF_PHASE" else "loihi2.rf_iz" for kind in (first, second)]
    for p in network.populations:
        if isinstance(p.neuron, Resonator):
            np.testing.assert_array_equal(made[p.name].params["sin"], p.neuron.fields["sinDecay"])
            np.testing.assert_array_equal(made[p.name].params["cos"], p.neuron.fields["cosDecay"])
            np.testing.assert_array_equal(made[p.name].params["vth"], 64 * p.neuron.fields["vThMant"])
    assert assert_same(network, made, rng.integers(0, 2, (4, 60, 6))) > 50


def test_a_resonator_of_real_numbers_is_rounded_and_says_how_much() -> None:
    network = FOREIGN_NETWORKS["resonator"]()
    made, findings = quantized(network)
    assert not [d for d in findings if d.severity != "note"]
    neuron, loss = network["first"].neuron, made.losses[0]
    assert isinstance(neuron, Resonator)
    assert loss.decay_error == max(np.abs(np.rint(4096 * v) / 4096 - v).max() for v in (neuron.cos, neuron.sin))
    assert 0 < loss.decay_error < 1 / 4096
    # Weights of 2 and -2 stand at both ends of the grid; the state counts 64 per weight unit.
    assert loss.scale == pytest.approx(127, abs=1)
    assert made["first"].params["vth"][0] == int(np.ceil(64 * loss.scale))
    rng = np.random.default_rng(0)
    x = rng.integers(0, 2, (8, 200, 2))
    run = floating(network, x, record=["first", "second"])
    trace = fixed(made, TARGET.kernels, x, 202, record=["first", "second"])
    for k, name in enumerate(("first", "second"), 1):
        agree = np.mean(trace.spikes[name][:, k : k + 200] == run.spikes[name])
        assert agree > 0.99
        assert run.spikes[name].sum() > 50


def _alif_file(path: Path, rng: np.random.Generator, bias: bool, seed: int = 0) -> Path:
    def alif(**more: Any) -> dict[str, Any]:
        return cuba(kind="ALIF", i_decay=1024, v_decay=256, vThStep=20, thDecay=300, refDecay=900, **more)

    layer: dict[str, Any] = {"type": "dense", "shape": [7], "weight": even(rng, 7, 6), "neuron": alif(threshold=80)}
    if bias:
        # Odd ones of both signs, and one that no single synapse holds.
        layer["bias"] = np.array([7, -9, 0, 13, -2, 28, 300 + seed])
    return write_netx(path, [
        layer,
        {"type": "dense_rec", "shape": [5], "weight": even(rng, 5, 7), "weight_rec": even(rng, 5, 5, most=20),
         "neuron": alif(threshold=100)},
    ])  # fmt: skip


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_adaptive_neurons_are_computed_exactly(seed: int, bias: bool, tmp_path: Path) -> None:
    """With a bias, which lava-dl sends through the current, it arrives as spikes of a further neuron."""
    rng = np.random.default_rng([7, seed])
    network = read(_alif_file(tmp_path / "a.net", rng, bias, seed))
    made, findings = quantized(network)
    assert not [d for d in findings if d.severity != "note"]
    params = {key: int(values[0]) for key, values in made["layer0"].params.items()}
    assert params == {
        "delta_i": 1023, "delta_v": 256, "delta_theta": 300, "delta_r": 900, "theta_0": 80, "theta_step": 20, "bias_mant": 0,
        "bias_exp": 0,
    }
    assert ("layer0.bias" in [p.name for p in made.populations]) == bias
    assert assert_same(network, made, rng.integers(0, 2, (4, 60, 6))) > 200


@pytest.mark.parametrize(("field", "value"), [("threshold", 4096.0), ("step", 5000.0)])
def test_an_adaptive_threshold_beyond_its_field_is_refused(field: str, value: float, tmp_path: Path) -> None:
    network = read(_alif_file(tmp_path / "a.net", np.random.default_rng(0), False))
    first = network["layer0"].neuron
    assert first is not None
    assert not isinstance(first, SigmaDelta)
    assert first.adaptation is not None
    changed = (
        replace(first, threshold=np.full(7, value)) if field == "threshold"
        else replace(first, adaptation=replace(first.adaptation, step=np.full(7, value)))
    )
    populations = tuple(replace(p, neuron=changed) if p.name == "layer0" else p for p in network.populations)
    with pytest.raises(NmapError) as caught:
        quantized(replace(network, populations=populations))
    (error,) = caught.value.diagnostics
    assert (error.code, "`layer0`" in error.message, f"outside 0..4095: {value:g}" in error.message) == ("NM305", True, True)


# ---- per-neuron parameters and the periodic reset --------------------------------------------------------------------------------------


def _cuba_file(path: Path, rng: np.random.Generator) -> Path:
    return write_netx(path, [
        {"type": "dense", "shape": [8], "weight": even(rng, 8, 6), "bias": rng.integers(-20, 20, 8),
         "neuron": cuba(i_decay=rng.integers(0, 4097, 8), v_decay=rng.integers(0, 4097, 8), threshold=rng.integers(50, 90, 8))},
        {"type": "dense", "shape": [6], "weight": even(rng, 6, 8), "bias": rng.integers(-20, 20, 6), "neuron": cuba(i_decay=2000)},
        {"type": "dense_rec", "shape": [4], "weight": even(rng, 4, 6), "weight_rec": even(rng, 4, 4), "delay": 3, "neuron": cuba()},
    ])  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_parameters_per_neuron_stay_the_integers_of_the_file(seed: int, tmp_path: Path) -> None:
    """Unequal thresholds become unequal weights only where weights are real numbers."""
    rng = np.random.default_rng([11, seed])
    network = read(_cuba_file(tmp_path / "c.net", rng))
    made, findings = quantized(network)
    assert not [d for d in findings if d.severity != "note"]
    assert np.unique(made["layer0"].params["vth"]).size > 1
    assert assert_same(network, made, rng.integers(0, 2, (3, 50, 6))) > 50


@pytest.mark.parametrize("offset", [0, 1, 4])
@pytest.mark.parametrize("interval", [1, 2, 7, 16])
def test_a_periodic_reset_in_a_netx_file_is_computed_exactly(interval: int, offset: int, tmp_path: Path) -> None:
    rng = np.random.default_rng([interval, offset])
    path = _cuba_file(tmp_path / "c.net", rng)
    network = read(path, reset_interval=interval, reset_offset=offset)
    made, _ = quantized(network)
    assert all(p.kernel in (None, "loihi2.lif_reset") for p in made.populations)
    # Chip step c is Lava's time step c + 1, and layer k's input column 0 arrives in step k + 1.
    for k in range(3):
        assert set(made[f"layer{k}"].params["reset_offset"].tolist()) == {(offset + k + 2) % interval}
    x = rng.integers(0, 2, (2, 50, 6))
    assert assert_same(network, made, x) > 0
    if interval == 7:
        names = [p.name for p in network.populations if p.neuron is not None]
        without = floating(read(path), x, record=names).spikes
        assert any((floating(network, x, record=names).spikes[n] != without[n]).any() for n in names)


def _chain(*, interval: int, offset: int, bias: float, hops: int = 3, alpha: float = 0.0) -> Network:
    """Return a chain in which a feed-forward edge takes no step of the network, so that the chip runs behind it."""
    rng = np.random.default_rng(5)
    populations = [Population("input", (3,), None, _W)]
    projections = []
    for k in range(hops):
        full = [np.full(3, v) for v in (alpha, 1.0, 1.0, 0.5, bias, 40.0, 0.0)]
        model: Model = Neuron("LIF", *full, True, 1 / 64)
        populations.append(Population(f"n{k}", (3,), model, _W))
        w = 2.0 * rng.integers(-10, 30, (3, 3))
        projections.append(Projection(f"p{k}", populations[-2].name, f"n{k}", Dense(w), None, 0, _W))
    return Network(
        "chain.net", "nir", "", tuple(populations), tuple(projections), ("input",), (f"n{hops - 1}",),
        Conventions(1e-3, "zero", "steps", reset_interval=interval, reset_offset=offset),
    )


@pytest.mark.parametrize("alpha", [0.0, 0.75])
@pytest.mark.parametrize(("interval", "offset", "bias"), [
    (16, 0, 4.0), (16, 5, 4.0), (5, 1, 4.0), (2, 0, 4.0), (1, 0, 4.0), (2, 1, 0.0), (4, 3, 0.0), (3, 2, 0.0),
])
def test_chip_time_of_a_reset_is_the_networks_plus_the_latency(interval: int, offset: int, bias: float, alpha: float) -> None:
    network = _chain(interval=interval, offset=offset, bias=bias, alpha=alpha)
    made, findings = quantized(network)
    assert "NM306" not in [d.code for d in findings]
    for k in range(3):
        assert set(made[f"n{k}"].params["reset_offset"].tolist()) == {(offset + (k + 1) + 1) % interval}
    rng = np.random.default_rng(8)
    assert assert_same(network, made, rng.integers(0, 2, (4, 40, 3))) > 0


@pytest.mark.parametrize(("interval", "offset", "late"), [(2, 1, ["n0", "n1", "n2"]), (4, 2, ["n1", "n2"]), (4, 1, ["n2"]), (5, 1, [])])
def test_a_reset_before_the_first_step_is_told_where_a_bias_follows_it(interval: int, offset: int, late: list[str]) -> None:
    """Population k runs k + 1 steps before the network's step 0, and a reset offset - interval steps before it lies in them."""
    _, findings = quantized(_chain(interval=interval, offset=offset, bias=4.0))
    told = [d for d in findings if d.code == "NM306"]
    assert [d.severity for d in told] == ["warning"] * len(late)
    assert [name for name in ("n0", "n1", "n2") if any(f"`{name}`" in d.message for d in told)] == late


def test_a_current_fed_by_a_bias_is_cleared_and_fed_again() -> None:
    """A bias that builds up in the current arrives as spikes in every step, the step of a reset included."""
    network = _chain(interval=8, offset=3, bias=0.0, alpha=0.5)
    biased = tuple(replace(p, bias=np.array([1.0, 2.0, 3.0])) for p in network.projections)
    network = replace(network, projections=biased)
    made, _ = quantized(network)
    assert [p.kernel for p in made.populations if p.name.endswith(".bias")] == ["loihi2.lif"] * 3
    rng = np.random.default_rng(2)
    assert assert_same(network, made, rng.integers(0, 2, (3, 40, 3))) > 0


# ---- what Lava accepts in silence -------------------------------------------------------------------------------------------------------


def _one(path: Path, weight: Any = 10, **neuron: Any) -> Network:
    w = np.broadcast_to(np.asarray(weight, float), (2, 3))
    bias = neuron.pop("bias", None)
    layer: dict[str, Any] = {"type": "dense", "shape": [2], "weight": w, "neuron": cuba(**neuron)}
    return read(write_netx(path, [layer | ({} if bias is None else {"bias": np.asarray(bias)})]))


@pytest.mark.parametrize(("weight", "code", "words"), [
    ([[1000, 10, 10], [10, 10, 10]], "NM301", ("1000 into `layer0`", "hold 0 to 255")),
    ([[1000, 300, 10], [10, 2000, 10]], "NM301", ("2000 into `layer0` and 2 other weights are clipped: 8 bits hold 0 to 255",)),
    ([[300, -10, 10], [10, 10, 10]], "NM301", ("300 into `layer0`", "hold -256 to 254")),
    ([[-300, -10, -20], [-10, -40, -10]], "NM301", ("-300 into `layer0`", "hold -255 to 0")),
    ([[201, -10, 10], [10, 10, 10]], "NM302", ("1 integer weight into `layer0`: 201 becomes 20",)),
])
def test_weights_beyond_the_grid_are_told_with_value_and_limit(weight: Any, code: str, words: tuple[str, ...], tmp_path: Path) -> None:
    _, findings = quantized(_one(tmp_path / "w.net", weight))
    (told,) = [d for d in findings if d.severity == "warning"]
    assert told.code == code
    assert [word for word in words if word not in told.message] == []


@pytest.mark.parametrize(("neuron", "code", "words"), [
    ({"threshold": 200000}, "NM305", ("2 neurons of `layer0` is outside 0..131071: 200000",)),
    ({"bias": [8000, -8192]}, None, ()),
    ({"bias": [0, 40000]}, "NM305", ("1 neuron of `layer0`", "4095 x 2^7 state units: 2.56e+06", "40000 in the file's v")),
    ({"i_decay": 5000}, "NM107", ("`iDecay` of layer 0 is 5000", "between 0 and 4096")),
    ({"v_decay": -1}, "NM107", ("`vDecay` of layer 0 is -1", "between 0 and 4096")),
])
def test_fields_beyond_their_range_are_refused_with_value_limit_and_population(
    neuron: dict[str, Any], code: str | None, words: tuple[str, ...], tmp_path: Path
) -> None:
    """A mantissa of 40000 Lava stores as -25536; here a larger exponent makes room for a bias as far as it can."""
    if code is None:
        made, _ = quantized(_one(tmp_path / "n.net", **neuron))
        params = made["layer0"].params
        # The file's exponent is 6.
        np.testing.assert_array_equal(params["bias_mant"] << params["bias_exp"], np.asarray(neuron["bias"]) << 6)
        return
    with pytest.raises(NmapError) as caught:
        quantized(_one(tmp_path / "n.net", **neuron))
    assert {d.code for d in caught.value.diagnostics} == {code}
    text = " ".join(f"{d.message} {d.why}" for d in caught.value.diagnostics)
    assert [word for word in words if word not in text] == []


def test_a_rounded_bias_is_told_with_both_values(tmp_path: Path) -> None:
    """8000 x 64 takes the exponent 7, whose smallest step is 2: an odd bias is halfway between two."""
    made, findings = quantized(_one(tmp_path / "n.net", bias=[8000, 5]))
    (told,) = [d for d in findings if d.code == "NM302"]
    held = int(made["layer0"].params["bias_mant"][1]) << int(made["layer0"].params["bias_exp"][1])
    assert held in (4 * 64, 6 * 64)
    assert told.message == f"a bias of 5 of `layer0` becomes {held // 64} beside the largest, 8000"


def test_graded_samples_stay_graded(tmp_path: Path) -> None:
    """Lava makes a 1 of a payload that meets a binary synapse; here the synapses take the samples' width."""
    network = _one(tmp_path / "g.net", [[2, 4, 6], [8, 10, 12]], threshold=1000)
    made, _ = quantized(network, payload=(0, 300))
    assert made.projections[0].format.message_bits == 9
    assert_same(network, made, np.random.default_rng(0).integers(0, 301, (2, 20, 3)))


@pytest.mark.parametrize("kind", ["delta", "rf"])
def test_a_threshold_counted_in_states_is_held_against_the_range_of_its_model(kind: str, tmp_path: Path) -> None:
    """vth << 6 of a resonator, or times 4096 of a sigma-delta neuron, has 24 bits where that of a LIF has 17."""
    w = np.full((2, 3), 2)
    layers: list[dict[str, Any]] = [
        {"type": "input", "shape": [3], "neuron": sdnn(100)}, {"type": "dense", "shape": [2], "weight": w, "neuron": sdnn(3)},
    ] if kind == "delta" else [
        {"type": "dense", "shape": [2], "weight": w, "neuron": {"type": "RF_PHASE", "sinDecay": 9, "cosDecay": 99, "vThMant": 5000}},
    ]
    made = nmap.deploy(write_netx(tmp_path / "n.net", layers), "loihi2", output=tmp_path / "b", partitioner="greedy", effort=0)
    assert made.status == "ok", made.outcome.diagnostics
    assert [d.code for d in made.outcome.diagnostics if d.severity != "note"] == []


def test_a_reset_beside_spikes_that_lag() -> None:
    """The reset is that of the step in which the threshold is crossed; the spikes of it leave two steps later."""
    network = _chain(interval=4, offset=1, bias=0.0, alpha=0.75)
    network = replace(network, conventions=replace(network.conventions, lag=2))
    made, _ = quantized(network)
    x = np.random.default_rng(6).integers(0, 2, (4, 40, 3))
    names = ["n0", "n1", "n2"]
    run = floating(network, x, record=names).spikes
    trace = fixed(made, TARGET.kernels, x, 40 + made.latency, record=names).spikes
    plain = floating(replace(network, conventions=replace(network.conventions, reset_interval=0)), x, record=names).spikes
    for name in names:
        at = made[name].latency
        np.testing.assert_array_equal(trace[name][:, at : at + 40], run[name])
    assert run["n2"].any()
    assert (run["n0"] != plain["n0"]).any()
