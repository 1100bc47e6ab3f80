from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.network import Conventions, Network
from nmap.options import Calibration
from nmap.quantized import QuantizedNetwork, QuantizedPopulation
from nmap.readers import read
from nmap.simulate.fixed import simulate
from nmap.simulate.floating import simulate as simulate_float
from nmap.testing.networks import build
from nmap.trace import Probe
from nmap_spinnaker.arithmetic import decay_and_init, expk
from nmap_spinnaker.factors import WHOLE, leak, membrane_time, synapse_time
from nmap_spinnaker.quantize import _SHIFT, MARGIN
from tests.support import shared_data
from tests.unit.spinnaker.quantizing import KERNELS, SPEC, cells, fixed, measured, quantized, random_network, real, spikes_in, wide

KINDS = ("lif", "cuba", "if", "memoryless", "slow")


def one_layer(weights: Array, *, bias: Array | None = None, conventions: Conventions | None = None, **given: object) -> Network:
    """Return in -> a."""
    return build(
        "one.nir", {"in": ((weights.shape[1],), None), "a": ((weights.shape[0],), cells(weights.shape[0], **given))},
        [("in", "a", Dense(weights), bias, 0)], conventions=conventions,
    )


def chain(*, bias: Array, **given: object) -> Network:
    """Return in -> a -> b -> c, all of two neurons and without a spike but the input's, with a bias into b and c."""
    quiet = cells(2, threshold=1e4, beta=0.8)
    populations = {"in": ((2,), None), "a": ((2,), quiet), "b": ((2,), cells(2, **given)), "c": ((2,), cells(2, **given))}
    eye = Dense(np.eye(2))
    return build("chain.nir", populations, [("in", "a", eye, None, 0), ("a", "b", eye, bias, 0), ("b", "c", eye, bias, 0)])


def effect(population: QuantizedPopulation) -> Array:
    """Return what one 16-bit unit on either receptor adds to the network's v in its step, (2, n), from the raw parameters alone."""
    p = population.params
    free = np.ones(population.size)
    share = np.ones(population.size)
    if population.kernel != "spinnaker1.if_trunc":
        free = 1 - expk(-((p["timestep"] << 15) // p["tau_m"])) / 2**15
        share = np.full(population.size, 32768 / float(p["timestep"][0]))
        share = np.floor(share * 32768) / 32768
    if population.kernel == "spinnaker1.if_curr_exp":
        share = decay_and_init(p["tau_syn_E"], p["timestep"])[1] / 2**32
    resistance = ((p["tau_m"] << 15) // p["cm"]) / 2**15
    assert population.scale is not None
    return np.array([2.0 ** p[f"shift_{r}"] * share * resistance * free / population.scale for r in (0, 1)])


def test_a_shift_is_what_the_chip_data_say() -> None:
    assert SPEC.limits["shift"].max == _SHIFT


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dt", [1e-4, 3e-4, 1e-3, 2e-3])
def test_the_spikes_are_the_networks_own(kind: str, dt: float) -> None:
    steps, same, fired = 60, [], 0
    for seed in range(3):
        net = random_network(seed, kind, dt=dt, compare=(">", ">=")[seed % 2])
        given = spikes_in(net, seed)
        made, _ = quantized(net)
        sent, _ = real(net, given, steps)
        chip = fixed(made, given, steps + made.latency)
        for name in ("a", "b"):
            late = made[name].latency
            assert not chip[name][:late].any(), "a neuron fires before its input can arrive"
            same.append(float((chip[name][late : late + steps] == sent[name]).mean()))
            fired += int(sent[name].sum())
    assert fired > 100
    assert np.mean(same) > 0.998
    assert min(same) > 0.98


@pytest.mark.parametrize("kind", KINDS)
def test_membranes_follow_the_networks_own(kind: str) -> None:
    """Until the first spike that differs, v is the network's within rounding."""
    steps = 40
    for seed in range(4):
        net = random_network(seed, kind)
        given = spikes_in(net, seed)
        made, _ = quantized(net)
        sent, v = real(net, given, steps)
        chip = wide(made, given, steps + made.latency)
        late, scale = made["a"].latency, made["a"].scale
        assert scale is not None
        differ = np.flatnonzero((chip.spikes["a"][late : late + steps] != sent["a"]).any(1))
        upto = int(differ[0]) if differ.size else steps
        assert upto > 10
        error = np.abs(chip.v["a"][late : late + upto] / scale - v["a"][:upto])
        # 16-bit weights and 15-bit factors: each of the steps takes up to 2^-15 of v, whose size some have far below their reset value.
        assert error.max() < (steps * 2.0**-15 + 5e-4) * max(1.0, float(np.abs(v["a"]).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_weights_and_parameters_mean_what_the_network_says(kind: str) -> None:
    """The effect of a synapse, decays, thresholds and constants, computed from the raw parameters, are the network's within half a bit."""
    net = random_network(5, kind, dt=5e-4)
    made, _ = quantized(net)
    for population in net.populations:
        neuron = population.neuron
        if neuron is None:
            continue
        chip = made[population.name]
        unit, p = effect(chip), chip.params
        gain = neuron.gain_in * neuron.gain_v
        for edge in net.projections:
            if edge.target != population.name:
                continue
            dense = edge.connectivity.with_weights(edge.connectivity.weights).apply(np.eye(edge.connectivity.in_size)).T
            stored = np.zeros_like(dense)
            for part in made.projections:
                if part.name in (edge.name, f"{edge.name}.inhibitory"):
                    sign = 1 - 2 * part.receptor
                    stored += sign * part.connectivity.apply(np.eye(edge.connectivity.in_size)).T * unit[part.receptor][:, None]
            assert (np.abs(stored - gain[:, None] * dense) <= 0.5000001 * unit.max(0)[:, None]).all()
        assert chip.scale is not None
        # Above the network's, since a tie does not fire there, by half of the leak's last bit at most.
        above = p["v_thresh"] / chip.scale - neuron.threshold
        assert ((above > 0) & (above <= neuron.threshold / 2**16 + 2 / chip.scale)).all()
        np.testing.assert_allclose(p["v_reset"] / chip.scale, neuron.v_reset, rtol=0, atol=1e-5)
        if kind != "if":
            kept = expk(-((p["timestep"] << 15) // p["tau_m"])) / 2**15
            np.testing.assert_allclose(kept, neuron.beta, rtol=0, atol=3e-5)


def test_the_losses_are_those_of_the_weights() -> None:
    net = random_network(2, "cuba")
    made, _ = quantized(net, bits=7)
    for loss in made.losses:
        chip = made[loss.name]
        unit = effect(chip) / (net[loss.name].neuron.gain_in * net[loss.name].neuron.gain_v)[None]
        signal = noise = zeroed = 0.0
        for edge in net.projections:
            if edge.target != loss.name:
                continue
            eye = np.eye(edge.connectivity.in_size)
            dense = edge.connectivity.apply(eye).T
            stored = np.zeros_like(dense)
            for part in made.projections:
                if part.name in (edge.name, f"{edge.name}.inhibitory"):
                    stored += (1 - 2 * part.receptor) * part.connectivity.apply(eye).T * unit[part.receptor][:, None]
            signal, noise = signal + float((dense**2).sum()), noise + float(((stored - dense) ** 2).sum())
            zeroed += int(((stored == 0) & (dense != 0)).sum())
        assert loss.sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=1e-3)
        assert loss.zeroed == zeroed
        assert loss.bits == 7
        weights = [part.connectivity.weights.max() for part in made.afferents(loss.name)]
        assert max(weights) in (126, 127)
        neuron = net[loss.name].neuron
        kept = expk(-((chip.params["timestep"] << 15) // chip.params["tau_m"])) / 2**15
        currents = decay_and_init(chip.params["tau_syn_E"], chip.params["timestep"])[0] / 2**32
        worst = max(np.abs(kept - neuron.beta).max(), np.abs(currents - neuron.alpha).max())
        assert loss.decay_error == pytest.approx(worst)
        assert loss.threshold_error is not None
        assert loss.threshold_error < 1e-4
        assert loss.bias_error is not None
        # Half a raw unit of the smallest one, which 7 bits of weights bring to a thousand units.
        assert loss.bias_error < 1e-3


@pytest.mark.parametrize("compare", [">", ">="])
def test_equality_with_the_threshold_is_exact(compare: str) -> None:
    """Whole weights meet the threshold exactly: three spikes of 1/3 of it fire with >= only, and a fourth with both."""
    net = one_layer(
        np.full((2, 1), 5.0), beta=1.0, threshold=np.array([15.0, 14.999]), conventions=Conventions(1e-3, compare=compare),
    )
    made, _ = quantized(net)
    assert made["a"].kernel == "spinnaker1.if_trunc"
    spikes = fixed(made, {"in": np.ones((1, 4, 1), np.int32)}, 4 + made.latency)["a"][made["a"].latency :]
    np.testing.assert_array_equal(np.flatnonzero(spikes[:, 0]), [2] if compare == ">=" else [3])
    np.testing.assert_array_equal(np.flatnonzero(spikes[:, 1]), [2])


@pytest.mark.parametrize("weights", [np.array([[3.0, -7.0, 120.0]]), np.array([[0.125, 0.375, -1.5]]), np.array([[0.3, -0.9, 30.0]])])
def test_weights_on_a_grid_stay_exact(weights: Array) -> None:
    made, found = quantized(one_layer(weights))
    assert made.losses[0].sqnr_db is None or made.losses[0].sqnr_db > 250
    assert made.losses[0].zeroed == 0
    assert [d.code for d in found] == ["NM304"]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 15, 16])
def test_weights_keep_to_their_bits(bits: int) -> None:
    net = random_network(4, "lif")
    made, _ = quantized(net, bits=bits)
    for p in made.projections:
        assert p.connectivity.weights.max() <= 2**bits - 1
        assert p.connectivity.weights.min() >= 0
    assert max(loss.bits for loss in made.losses) <= bits


def test_without_samples_no_slot_can_saturate() -> None:
    for seed in range(4):
        net = random_network(seed, "lif")
        made, found = quantized(net)
        for name in ("a", "b"):
            sums = np.zeros((2, made[name].size))
            for p in made.afferents(name):
                sums[p.receptor] += p.connectivity.apply(np.ones(p.connectivity.in_size))
            assert sums.max() <= 65535
            # The 16 bits are used: on one receptor at least to the half, but for the room of rounding.
            assert sums.max() > 32000
        assert [(d.code, d.severity) for d in found if "possible" in d.message] == [("NM304", "note")]


def test_samples_make_weights_finer_and_saturate_nothing_of_their_own() -> None:
    net = random_network(3, "lif")
    given = spikes_in(net, 3, rate=0.05)
    steps = 60
    plain, _ = quantized(net)
    made, found = quantized(net, calibration=measured(net, given, steps))
    assert all(after.scale > before.scale for before, after in zip(plain.losses, made.losses, strict=True))
    assert wide(made, given, steps + made.latency).saturated == 0
    flood = {"in": np.ones((1, steps, 9), np.int32)}
    assert wide(made, flood, steps + made.latency).saturated > 0
    names = [p.name for p in made.populations]
    probed = simulate(made, KERNELS, flood, steps + made.latency, record=names, probes=[Probe("a", "saturated")])
    assert next(iter(probed.state.values())).max() > 0
    told = next(d for d in found if d.code == "NM304")
    assert told.severity == "note"
    assert f"{MARGIN:g} times" in told.message


def test_calibrated_sums_leave_their_margin() -> None:
    """A slot holds 1.25 times the measured sum, no less, and where a weight does not limit it hardly more."""
    net = one_layer(np.full((1, 40), 0.5))
    made, _ = quantized(net, calibration=(Calibration("in", 1, 4), Calibration("a", 1, 1, 4.0, 0.0)))
    unit = made.projections[1].connectivity.weights[0, 0] / 0.5
    assert 0.99 * 65535 / 5.0 <= unit <= 65535 / 5.0


def test_ports_have_sources() -> None:
    net = random_network(0, "lif")
    made, _ = quantized(net, calibration=(Calibration("in", 1.5, 4.0), Calibration("a", 2.5, 7.0, 3.0, 3.0)))
    assert made["in"].kernel is None
    assert (made["in"].latency, made["in"].busy) == (0, 4.0)
    source = made["in.source"]
    assert (source.kernel, source.shape, source.latency, source.params, source.busy) == ("spinnaker1.source", (9,), 1, {}, 4.0)
    assert (made["a"].busy, made["b"].busy) == (7.0, None)
    load = made.projections[0]
    assert (load.name, load.source, load.target, load.delay, load.receptor) == ("in.load", "in", "in.source", 0, 0)
    np.testing.assert_array_equal(load.connectivity.apply(np.eye(9)), np.eye(9))
    assert {p.source for p in made.projections[1:]} == {"in.source", "a"}
    assert made.inputs == ("in",)
    given = spikes_in(net, 1)
    chip = fixed(made, given, 61)
    np.testing.assert_array_equal(chip["in.source"][1:], given["in"][0])


def test_names_that_are_taken_are_left_alone() -> None:
    mixed = Dense(np.array([[1.0, -1.0]]))
    net = build(
        "taken.nir", {"in": ((2,), None), "in.source": ((1,), cells(1)), "b": ((1,), cells(1))},
        [("in", "in.source", mixed, None, 0), ("in.source", "b", Dense(np.ones((1, 1))), None, 0)],
    )
    second = replace(net.projections[1], name=f"{net.projections[0].name}.inhibitory")
    made, _ = quantized(replace(net, projections=(net.projections[0], second)))
    names = [p.name for p in made.populations] + [p.name for p in made.projections]
    assert len(set(names)) == len(names)
    assert made["in.source"].kernel == "spinnaker1.if_curr_delta"
    assert made["in.source_"].kernel == "spinnaker1.source"


def test_signs_part_into_receptors() -> None:
    weights = np.array([[0.5, -0.25, 0.0], [1.0, -0.75, 0.0]])
    listed = Sparse.from_dense(weights)
    kernel = np.array([[[[1.0, -0.5]]]])
    net = build(
        "signs.nir",
        {"in": ((1, 1, 3), None), "dense": ((2,), cells(2)), "listed": ((2,), cells(2)), "minus": ((2,), cells(2)),
         "conv": ((1, 1, 2), cells(2))},
        [
            ("in", "dense", Dense(weights), None, 0), ("in", "listed", listed, None, 0), ("in", "minus", Dense(-np.abs(weights)), None, 0),
            ("in", "conv", Conv2d(kernel, (1, 1, 3)), None, 0),
        ],
    )
    delayed = replace(net.projections[1], delays=np.array([3, 1, 2, 7]))
    net = replace(net, projections=(net.projections[0], delayed, *net.projections[2:]))
    made, _ = quantized(net)
    parts = {p.name: p for p in made.projections}
    assert list(parts) == [
        "in.load", "in->dense", "in->dense.inhibitory", "in->listed", "in->listed.inhibitory", "in->minus", "in->conv",
        "in->conv.inhibitory",
    ]
    assert [parts[name].receptor for name in list(parts)[1:]] == [0, 1, 0, 1, 1, 0, 1]
    np.testing.assert_array_equal(parts["in->dense"].connectivity.weights > 0, weights > 0)
    np.testing.assert_array_equal(parts["in->dense.inhibitory"].connectivity.weights > 0, weights < 0)
    np.testing.assert_array_equal(parts["in->listed"].connectivity.weights > 0, [True, True])
    np.testing.assert_array_equal(parts["in->listed"].delays, [3, 2])
    np.testing.assert_array_equal(parts["in->listed.inhibitory"].delays, [1, 7])
    np.testing.assert_array_equal(parts["in->conv"].connectivity.weights > 0, kernel > 0)
    np.testing.assert_array_equal(parts["in->conv.inhibitory"].connectivity.weights > 0, kernel < 0)
    forms = {(p.format.bits, p.format.exponent, p.format.sign, p.format.message_bits, p.format.accumulator) for p in made.projections}
    assert forms == {(16, 0, "excitatory", 0, 0)}


@pytest.mark.parametrize(
    ("dt", "step"), [(1e-4, 100), (1e-3, 1000), (2e-3, 2000), (2.5e-4, 250), (1e-5, 1000), (5e-3, 1000), (0.00010005, 1000), (None, 1000)],
)
def test_the_timestep_is_the_networks_where_spynnaker_takes_it(dt: float | None, step: int) -> None:
    made, found = quantized(one_layer(np.ones((1, 1)), conventions=Conventions(dt)))
    assert made.settings["timestep_us"] == step
    assert made["a"].params["timestep"][0] == round(step / 1000 * 32768)
    assert ("NM112" in [d.code for d in found]) == (dt is None or round(dt * 1e9) != step * 1000)


def test_the_time_scale_is_the_users_or_the_loads() -> None:
    net = one_layer(np.ones((1, 1)))
    assert quantized(net, slowdown=7)[0].settings == {"timestep_us": 1000, "time_scale": 7}
    assert quantized(net)[0].settings["time_scale"] >= 1


def _membranes(net: Network, made: QuantizedNetwork, name: str, steps: int) -> tuple[Array, Array]:
    """Return v of the network without input and that of the chip from the network's first step on, in the network's unit."""
    _, v = real(net, {}, steps)
    chip = wide(made, {}, steps + made[name].latency)
    scale = made[name].scale
    assert scale is not None
    return v[name], chip.v[name][made[name].latency :] / scale


@pytest.mark.parametrize("given", [
    {"beta": 0.9}, {"beta": 0.9, "alpha": 0.8}, {"beta": 0.99, "alpha": 0.95, "gain_v": 0.3}, {"beta": 0.0}, {"beta": 0.5, "v_reset": -0.5},
])
@pytest.mark.parametrize("size", [0.02, -0.02, -3.0])
def test_a_bias_finds_the_membrane_at_its_start(given: dict[str, float], size: float) -> None:
    """However large and of either sign: v, without input, is the network's from its first step on."""
    net = chain(bias=np.array([size, 0.5 * size]), threshold=1.0, **given)
    made, found = quantized(net)
    assert not [d for d in found if d.code == "NM306"]
    for name in ("b", "c"):
        assert made[name].latency > 2
        mine, chips = _membranes(net, made, name, 30)
        np.testing.assert_allclose(chips, mine, rtol=0, atol=2e-3 * max(1.0, float(np.abs(mine).max())))


@pytest.mark.parametrize("size", [0.25, 0.75])
def test_an_integrators_bias_finds_it_at_its_start(size: float) -> None:
    net = chain(bias=np.array([size, 0.0]), beta=1.0, threshold=2.5)
    made, _ = quantized(net)
    assert made["c"].kernel == "spinnaker1.if_trunc"
    mine, chips = _membranes(net, made, "c", 20)
    np.testing.assert_allclose(chips, mine, atol=1e-6)
    assert mine.max() > 1


def test_a_current_that_cannot_be_prepared_is_told() -> None:
    """A current that forgets nearly all in a step would have to start beyond every number."""
    net = chain(bias=np.array([0.3, 0.3]), alpha=1e-4, threshold=1e3)
    made, found = quantized(net)
    told = [d for d in found if d.code == "NM306"]
    assert [d.data["population"] for d in told] == ["b", "c"]
    mine, chips = _membranes(net, made, "c", 30)
    # What is missing has decayed after a step.
    np.testing.assert_allclose(chips[1:], mine[1:], atol=2e-3)


def test_thresholds_far_above_the_weights_cost_bits() -> None:
    net = one_layer(np.array([[1.0, 0.4]]), threshold=1e8, beta=1.0)
    made, found = quantized(net)
    assert any(d.code == "NM302" and d.severity == "warning" and "room for a threshold" in d.message for d in found)
    assert made.losses[0].bits < 16
    assert made["a"].params["v_thresh"][0] < 2**31


def test_thresholds_far_below_the_weights_are_refused() -> None:
    _, found = quantized(one_layer(np.array([[1e9, 1.0]]), threshold=1e-7))
    assert [d.code for d in found if d.severity == "error"] == ["NM305"]
    assert next(d for d in found if d.severity == "error").where == "one.nir:/a"


def test_a_population_without_synapses_runs_on_its_bias() -> None:
    net = build(
        "alone.nir", {"in": ((1,), None), "a": ((2,), cells(2, drive=np.array([0.11, 0.3])))},
        [("in", "a", Dense(np.zeros((2, 1))), None, 0)],
    )
    made, _ = quantized(net)
    sent, _ = real(net, {}, 50)
    late = made["a"].latency
    np.testing.assert_array_equal(fixed(made, {"in": np.zeros((1, 50, 1), np.int32)}, 50 + late)["a"][late:], sent["a"])


def test_quantization_is_the_same_twice() -> None:
    net = random_network(6, "cuba")
    first, second = (quantized(net)[0] for _ in range(2))
    for a, b in zip(first.populations, second.populations, strict=True):
        assert a.params.keys() == b.params.keys()
        assert all((a.params[key] == b.params[key]).all() for key in a.params)
        assert all((a.initial[key] == b.initial[key]).all() for key in a.initial)


@pytest.mark.parametrize("timestep", [3277, 32768])
def test_no_time_constant_gives_a_nearer_factor(timestep: int) -> None:
    """Brute force over all time constants up to 40 steps."""
    every = np.arange(1, 40 * timestep if timestep < 4000 else 4 * timestep)
    limit = 0.97 if timestep < 4000 else 0.75
    wanted = np.concatenate([[0.0, 1e-6, 1e-5, 1e-4, limit], np.random.default_rng(5).uniform(0, limit, 20)])
    kept = expk(-((timestep << 15) // every)) / 2**15
    reached = leak(membrane_time(wanted, timestep), timestep) / 2**15
    best = np.abs(kept[None, :] - wanted[:, None]).min(1)
    np.testing.assert_allclose(np.abs(reached - wanted), best, atol=1e-12)
    currents = decay_and_init(every, np.full(every.shape, timestep))[0] / 2**32
    got = decay_and_init(synapse_time(wanted, timestep), np.full(wanted.shape, timestep))[0] / 2**32
    np.testing.assert_allclose(np.abs(got - wanted), np.abs(currents[None, :] - wanted[:, None]).min(1), atol=1e-12)


@pytest.mark.parametrize("timestep", [3277, 16384, 32768, 65536])
def test_long_time_constants_keep_the_membrane_open(timestep: int) -> None:
    """A factor of 1 would let no input in: the longest time constant stays below it, and within what is called the same as 1."""
    wanted = np.array([0.9999, WHOLE, 0.99999, 1.0])
    kept = leak(membrane_time(wanted, timestep), timestep)
    assert (kept < 32768).all()
    np.testing.assert_allclose(kept / 2**15, wanted, atol=7e-5)


@pytest.mark.parametrize(
    ("name", "approximate"), [("digits_mlp_64_64_10_zero", ()), ("mnist_convpool_4c3_p2_8c3_p2_10", ("reset", "floor", "leak"))],
)
def test_a_trained_network_keeps_its_spikes_and_its_accuracy(name: str, approximate: tuple[str, ...]) -> None:
    folder = shared_data() / "trained"
    net, data = read(folder / f"{name}.nir"), np.load(folder / f"{name}.npz")
    inputs, labels = data["inputs"][:40].astype(np.int32), data["labels"][:40]
    made, _ = quantized(net, *approximate)
    steps = inputs.shape[1]
    spiking = [p.name for p in net.populations if p.neuron is not None]
    chip = simulate(made, KERNELS, inputs, steps + made.latency, record=spiking).spikes
    float_run = simulate_float(net, inputs, record=spiking)
    for population in spiking:
        late = made[population].latency
        assert (chip[population][:, late : late + steps] == float_run.spikes[population]).mean() > 0.999
    out, late = net.outputs[0], made[net.outputs[0]].latency
    counted = chip[out][:, late : late + steps].sum(1)
    assert (counted.argmax(1) == labels).mean() == pytest.approx(float_run.accuracy(labels, out), abs=0.03)


@pytest.mark.parametrize("beta", [0.5, 0.75, 0.9, 0.95])
@pytest.mark.parametrize("compare", [">", ">="])
def test_ties_with_the_threshold_count_as_in_the_network(beta: float, compare: str) -> None:
    """Weights of a quarter bring many membranes exactly to their threshold of 1, where the chip's leak is off in its last bits."""
    rng = np.random.default_rng(3)
    net = one_layer(rng.integers(-3, 5, (40, 20)) / 4, conventions=Conventions(1e-3, "zero", compare=compare), beta=beta)
    made, _ = quantized(net)
    inputs, steps = (rng.random((8, 60, 20)) < 0.15).astype(np.int32), 60
    late = made["a"].latency
    chip = simulate(made, KERNELS, inputs, steps + late, record=["a"]).spikes["a"][:, late:]
    own = simulate_float(net, inputs, record=["a"]).spikes["a"]
    assert own.sum() > 1000
    np.testing.assert_array_equal(chip, own)
