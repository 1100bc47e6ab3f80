"""What sPyNNaker's host makes of a network: roundings, ring-buffer shifts, the file form."""

from __future__ import annotations

import json
from math import exp

import numpy as np
import pytest

from nmap.diagnostics import NmapError
from nmap.simulate.fixed import simulate
from nmap.trace import Probe
from nmap_spinnaker.kernels import KERNELS
from nmap_spinnaker.pynn import (
    MODEL_DEFAULTS,
    Cells,
    PynnNetwork,
    SpikeSources,
    Synapses,
    _poisson_bound,
    default_bounds,
    load,
    quantized,
    save,
    shifts,
    spike_steps,
    start_values,
    step_delays,
    timestep_us,
)
from tests.oracles import spinnaker_reference as oracle

RNG = np.random.default_rng(0)


def joined(weight, delay=1.0, *, post=(0,), pre=None, receptor="excitatory", source="in", label="w") -> Synapses:
    post = np.asarray(post)
    pre = np.arange(post.size) if pre is None else pre
    return Synapses(label, source, "out", receptor, pre, post, np.asarray(weight, np.float64), np.asarray(delay))


def network(
    *synapses: Synapses, timestep: float = 1.0, bound=(None, None), model="IF_curr_delta", times=((0.0,), ()), size: int = 3,
    v: float = -65.0, start=None, **params,
) -> PynnNetwork:
    sources = SpikeSources("in", len(times), tuple(np.array(of_one, np.float64) for of_one in times))
    cells = Cells("out", size, model, params, np.float64(v), bound, dict(start or {}))
    return PynnNetwork(timestep, (cells,), (sources,), synapses)


@pytest.mark.parametrize(("step_us", "delays", "steps"), [
    (1000, [1.0, 1.4, 1.5, 2.5, 2.51, 60.0], [1, 1, 2, 2, 3, 60]),
    # Below a step: raised to one.
    (1000, [0.0, 0.3, 0.5, 0.99], [1, 1, 1, 1]),
    (100, [0.1, 0.3, 0.7, 1.0, 3.2, 6.3], [1, 3, 7, 10, 32, 63]),
    (2000, [1.0, 2.0, 3.0, 4.9, 5.1], [1, 1, 2, 2, 3]),
])  # fmt: skip
def test_delays_in_steps(step_us: int, delays: list[float], steps: list[int]) -> None:
    assert step_delays(np.array(delays), step_us).tolist() == steps


def test_delays_of_whole_steps_are_kept() -> None:
    for step_us in (100, 200, 500, 1000, 1700, 2000):
        count = np.arange(1, 300)
        assert np.array_equal(step_delays(count * (step_us / 1000), step_us), count)


def test_spike_times_in_ticks() -> None:
    assert spike_steps(np.array([0.0, 0.1, 0.9994, 1.0, 1.0009, 1.0011, 2.0]), 1000).tolist() == [0, 1, 1, 1, 1, 2, 2]
    assert spike_steps(np.array([0.05, 0.1, 0.3, 0.6, 0.7]), 100).tolist() == [1, 1, 3, 6, 7]
    for step_us in (100, 500, 1000, 2000):
        assert np.array_equal(spike_steps(np.arange(500) * (step_us / 1000), step_us), np.arange(500))


@pytest.mark.parametrize(("step_us", "mean", "deviation", "synapses", "bound"), [
    # As sPyNNaker 7.4.1's own function returns them, at 30 spikes per second.
    (100, 4.563777886388609, 1.8199073273015396, 3054, 116.14029537095882),
    (100, 2.7073061012454587, 0.8991356716121544, 104, 8.79616073689405),
    (100, 4.163220738266989, 0.0, 13, 4.2732167059069655),
    (500, 0.16792787652732177, 2.1889663392898324, 6, 3.164173491073916),
    (500, 1.9183877713094173, 2.991629807367633, 48493, 1654.1227712082919),
    (1000, 4.675362118938841, 2.4475606623645962, 1, 4.6959592075962675),
    (1000, 1.6093469553797108, 1.7829000905990904, 41, 15.26679622924019),
    (1000, 0.9925652225462767, 0.0, 592, 38.542605376163465),
    (2000, 1.3489335688193516, 0.12292057180858407, 1, 1.7394826670175951),
    (2000, 0.29284017402597173, 1.0083511816369812, 5, 2.9140310011304944),
    (100, 1.0303270556837452, 1.5761147256031847, 59286, 308.7273799453522),
])  # fmt: skip
def test_the_host_s_poisson_bound(step_us: int, mean: float, deviation: float, synapses: int, bound: float) -> None:
    assert _poisson_bound(mean, deviation, 30.0, synapses, 1e6 / step_us) == pytest.approx(bound, rel=1e-12)


def test_equal_delays_expect_every_spike_at_once() -> None:
    """The largest weight times the largest fan-in, summed over projections; inhibition by itself; slow steps expect more than one spike."""
    synapses = (
        joined([1.0, 2.0, 0.5], post=(0, 0, 1)), joined([3.0, 1.0], post=(2, 1), label="x"),
        joined([0.25, 0.125], post=(1, 1), receptor="inhibitory", label="y"),
    )
    assert default_bounds(synapses, 1000) == (2 * 2.0 + 3.0, 0.5)
    assert default_bounds(synapses, 50000) == (1.5 * 7.0, 0.75)
    assert default_bounds((), 1000) == (0.0, 0.0)
    assert shifts(network(*synapses), network().cells[0]) == (3, 0)


def test_mixed_delays_expect_a_poisson_sum() -> None:
    weight, delay = RNG.uniform(0.5, 1.5, 2000), RNG.integers(1, 9, 2000) * 1.0
    one = joined(weight, delay, post=np.zeros(2000, int))
    expected = _poisson_bound(float(weight.mean()), float(weight.std()), 30.0, 2000, 1000.0)
    assert default_bounds((one,), 1000)[0] == pytest.approx(expected)
    # 60 spikes a step of mean 1 and their deviation: far below all 2000 at once.
    assert 90 < expected < 110
    assert shifts(network(one), network().cells[0])[0] == 7


def test_a_bound_is_at_least_the_largest_weight_and_at_most_all_at_once() -> None:
    assert default_bounds((joined([9.0, 0.1, 0.1], [1.0, 2.0, 3.0], post=(0, 0, 0)),), 1000)[0] == 9.0
    assert default_bounds((joined([9.0, 9.0], [1.0, 2.0], post=(0, 1)),), 1000)[0] == 9.0


def test_projections_count_in_the_host_s_order() -> None:
    """Those of one source together, else in order: the sums are of floats."""
    parts = [
        joined(
            RNG.uniform(0, 1, 50), RNG.integers(1, 5, 50) * 1.0, post=RNG.integers(0, 3, 50), pre=np.arange(50), source=source, label=label,
        )
        for source, label in (("a", "first"), ("b", "second"), ("a", "third"))
    ]
    assert default_bounds(parts, 1000) == default_bounds([parts[0], parts[2], parts[1]], 1000)


def test_a_dense_layer_has_the_sheet_s_default_shift() -> None:
    weight = np.abs(RNG.normal(0, 0.05, (512, 784)))
    excitatory = np.abs(RNG.normal(0, 1, weight.shape)) > 0.67
    post, pre = np.nonzero(excitatory)
    one = joined(weight[post, pre], post=post, pre=pre)
    assert shifts(network(one, size=512), network(size=512).cells[0])[0] in (6, 7)
    bounded = network(one, size=512, bound=(5.26, None))
    assert shifts(bounded, bounded.cells[0]) == (3, 0)


def test_the_network_in_the_chip_s_numbers() -> None:
    synapses = (
        joined([0.5, 1.25], [1.0, 3.0], post=(0, 2)), joined([0.75], [2.0], pre=np.array([1]), post=(1,), receptor="inhibitory", label="i"),
    )
    given = network(*synapses, bound=(2.0, 1.0), times=((0.0, 4.0), (2.2,)), v_rest=-70.5, i_offset=np.array([0.1, 0.0, -0.1]))
    made, inputs = quantized(given)
    assert (made.inputs, made.outputs, made.settings) == (("in",), ("out",), {"timestep_us": 1000, "time_scale": 1})
    assert inputs["in"][0].tolist() == [[1, 0], [0, 0], [0, 0], [0, 1], [1, 0]]
    cells = made["out"]
    assert set(cells.params) == set(KERNELS[cells.kernel].params)
    assert cells.params["v_rest"].tolist() == [-70.5 * 32768] * 3
    assert cells.params["i_offset"].tolist() == [3277, 0, -3277]
    assert cells.params["tau_m"].tolist() == [20 * 32768] * 3
    assert (cells.params["shift_0"][0], cells.params["shift_1"][0], cells.params["timestep"][0]) == (2, 1, 32768)
    assert cells.initial["v"].tolist() == [-65 * 32768] * 3
    first, second = made.projections
    assert first.connectivity.weights.tolist() == [4096, 10240]
    assert (first.delay, first.delays.tolist(), first.receptor, first.connectivity.indices.tolist()) == (0, [0, 2], 0, [0, 1])
    assert (second.delay, second.receptor, second.connectivity.weights.tolist()) == (1, 1, [12288])
    assert first.connectivity.indptr.tolist() == [0, 1, 1, 2]


def test_neurons_joined_twice() -> None:
    """Two synapses between two neurons, with delays of their own; a weight that becomes 0 is none."""
    one = joined([1.0, 2.0, 1e-9, 0.5], [2.0, 1.0, 1.0, 2.0], pre=np.zeros(4, int), post=(1, 1, 0, 1))
    made, inputs = quantized(network(one, v_rest=0.0, v_thresh=1e4, tau_m=1e-3, cm=1e-3))
    assert [p.name for p in made.projections] == ["w", "w.1", "w.2"]
    assert [p.connectivity.synapses for p in made.projections] == [1, 1, 1]
    trace = simulate(made, KERNELS, inputs, 4, record=["out"], probes=[Probe("out", "v")])
    # A membrane that forgets shows what arrives: 2 in tick 1, 1 + 0.5 in tick 2.
    assert (trace.state["out.v"][0, :, 1] / 32768).tolist() == [0, 2, 1.5, 0]
    assert not trace.state["out.v"][0, :, 0].any()


def test_an_empty_projection() -> None:
    one = Synapses("none", "in", "out", "excitatory", np.zeros(0, int), np.zeros(0, int), np.zeros(0), np.zeros(0))
    made, inputs = quantized(network(one, times=((), ())))
    assert made.projections[0].connectivity.synapses == 0
    assert inputs["in"].shape == (1, 1, 2)
    assert not simulate(made, KERNELS, inputs, 3, record=["out"]).spikes["out"].any()


@pytest.mark.parametrize(("broken", "says"), [
    (lambda: quantized(network(v_rest=1e5)), r"NM305 .*s16\.15"),
    (lambda: quantized(network(joined([1.0], post=(7,)))), "NM106 w: `w` names neurons that `out` does not have: 7"),
    (lambda: quantized(network(joined([1.0], source="elsewhere"))), "NM105 w: .*elsewhere"),
    (lambda: quantized(network(joined([-1.0, 2.0], post=(0, 1)))), "NM107 w: 1 weight of `w` is no number from 0 up: -1"),
    (lambda: network(tau_syn_E=1.0), "tau_syn_E"),
    (lambda: network(start={"isyn_exc": 1.0}), "no initial value isyn_exc"),
    (lambda: quantized(network(start={"refract_timer": 1.5})), "NM107 .*whole number of steps"),
    (lambda: quantized(network(start={"refract_timer": 2.0**31})), "NM107 .*whole number of steps"),
    # A factor of e^-1000 is 0: nothing decays to 1. With e^-3 about 20 times a value decays to it, and 65535 / 2 is too much.
    (lambda: quantized(network(model="IF_curr_exp", tau_syn_E=1e-3, start={"isyn_exc": 1.0})), "no current of 32 bits decays to"),
    (lambda: quantized(network(model="IF_curr_exp", tau_syn_I=1 / 3, start={"isyn_inh": -32767.5})), "decays to an isyn_inh"),
    (lambda: SpikeSources("in", 3, ()), "NM106 in: .*3 sources"),
    (lambda: Cells("a", 2, "Izhikevich", {}, np.float64(0)), "NM104 `a` is of the model Izhikevich"),
    (lambda: network(v_rest=np.zeros(2)), "NM106 out: `v_rest` of `out` has the shape"),
    (lambda: joined([1.0, 2.0, 3.0], post=(0, 1)), "NM106 w: `weight`"),
    (lambda: quantized(network(joined([1.0], receptor="imaginary"))), "NM104 w: .*imaginary"),
    (lambda: quantized(network(joined([1.0]), joined([1.0]))), "NM103 several projections are called `w`"),
    (lambda: quantized(PynnNetwork(1.0, (network().cells[0],) * 2)), "NM103 several populations are called `out`"),
    (lambda: quantized(network(joined([np.nan, 2.0], post=(0, 1)))), "NM107 w: 1 weight .*nan"),
    (lambda: quantized(network(joined([np.inf, 2.0], post=(0, 1)))), "NM107 w: 1 weight .*inf"),
    (lambda: quantized(network(joined([1e300])), strict=False), "NM305 w: weights of `w` are beyond"),
    (lambda: quantized(network(joined([1.0], np.nan))), "NM107 w: delays of `w` are nan ms"),
    (lambda: quantized(network(joined([1.0], np.inf)), strict=False), "NM107 w: delays of `w` are inf ms"),
    (lambda: quantized(network(joined([1.0], -1.0)), strict=False), "NM107 w: delays of `w` are -1 ms"),
    (lambda: quantized(network(joined([1.0], 0.0))), "NM107 w: 1 delays of `w` are below one step of 1 ms: 0 ms"),
    (lambda: quantized(network(joined([1.0], 1e12))), "NM305 w: delays of `w` are beyond"),
    (lambda: quantized(network(joined([1000.0, 1.0], post=(0, 1)), bound=(1.5, 1.0))),
     "NM305 w: 1 weight of `w` is beyond the 16 bits of a synapse, which hold up to 3.99994: 1000"),
    (lambda: quantized(network(timestep=0.0)), "NM107 the time step is 0.0 ms"),
    (lambda: quantized(network(timestep=np.nan), strict=False), "NM107 the time step is nan ms"),
    (lambda: quantized(network(timestep=2.1)), "NM107 the time step is 2.1 ms"),
    (lambda: quantized(network(times=((np.nan,), ()))), "NM107 in: spike times of `in` are nan ms"),
    (lambda: quantized(network(times=((-1.0,), ()))), "NM107 in: spike times of `in` are -1 ms"),
    (lambda: quantized(network(times=((2.0**31,), ()))), "NM305 in: spike times of `in`"),
    (lambda: quantized(network(tau_m=0.0)), "NM107 out: `tau_m` of `out` is 0, 0, 0; a number above 0 is needed"),
    (lambda: quantized(network(cm=-1.0)), "NM107 out: `cm` of `out` is -1"),
    (lambda: quantized(network(cm=1e-6)), "NM305 out: `cm` of `out` is 1e-06"),
    (lambda: quantized(network(tau_refrac=-1.0)), "NM107 out: `tau_refrac`"),
    (lambda: quantized(network(v=np.inf)), "NM107 out: `v` of `out` is inf"),
    (lambda: quantized(network(bound=(np.nan, 1.0))), "NM107 out: the expected summed weights"),
])  # fmt: skip
def test_what_is_no_network(broken, says: str) -> None:
    with pytest.raises(NmapError, match=says) as caught:
        broken()
    assert len(caught.value.diagnostics) == 1


def test_all_that_is_wrong_is_told_at_once() -> None:
    bad = network(joined([-1.0], np.nan, post=(9,)), tau_m=0.0, v_rest=1e5, times=((-1.0,), ()))
    with pytest.raises(NmapError) as caught:
        quantized(bad)
    assert sorted(d.code for d in caught.value.diagnostics) == ["NM106", "NM107", "NM107", "NM107", "NM107", "NM305"]


def test_the_host_masks_weights_and_lengthens_delays_without_a_word() -> None:
    """A bound of 1.5 gives a shift of 1, so 16384 units for 1: 5 is 81920, of which 16384 is left."""
    given = network(joined([5.0, 1000.0, 1.0], [0.0, 1.0, 0.4], post=(0, 1, 2), pre=np.zeros(3, int)), bound=(1.5, 1.0))
    made, _ = quantized(given, strict=False)
    [one] = made.projections
    assert dict(zip(one.connectivity.targets.tolist(), one.connectivity.weights.tolist(), strict=True)) == {
        0: 5 * 16384 % 65536, 2: 16384, **({1: 1000 * 16384 % 65536} if 1000 * 16384 % 65536 else {}),
    }
    assert (one.delay, one.delays.tolist()) == (0, [0, 0])
    with pytest.raises(NmapError, match="NM107 w: 2 delays"):
        quantized(given)


def test_missing_parameters_are_pynn_s_defaults() -> None:
    cells = Cells("a", 2, "IF_trunc_delta", {"v_thresh": np.array([2.0, 3.0])}, np.float64(0))
    assert cells.params["v_thresh"].tolist() == [2, 3]
    assert cells.params["tau_refrac"].tolist() == [1, 1]
    assert set(cells.params) == set(MODEL_DEFAULTS["IF_trunc_delta"])


def test_a_file_brings_the_network_back(tmp_path) -> None:
    given = network(
        joined([0.5, 1.25], [0.1, 0.3], post=(0, 2)), timestep=0.1, model="IF_curr_exp", bound=(None, 4.0), times=((0.0, 0.7), (0.3,)),
        tau_m=np.array([1.0, 2.0, 3.0]),
    )
    recorded = {"out": {"v": RNG.integers(-5, 5, (6, 3)).astype(np.int32), "spikes": np.zeros((6, 3), np.uint8)}}
    save(tmp_path / "a.npz", given, 6, recorded)
    back, recordings = load(tmp_path / "a.npz")
    assert (back.timestep_ms, timestep_us(back)) == (0.1, 100)
    assert back.cells[0].bound == (None, 4.0)
    assert {name: values.tolist() for name, values in recordings["out"].items()} == {k: v.tolist() for k, v in recorded["out"].items()}
    (made, inputs), (again, theirs) = quantized(given), quantized(back)
    assert np.array_equal(inputs["in"], theirs["in"])
    for name, values in made["out"].params.items():
        assert np.array_equal(again["out"].params[name], values), name
    assert [p.connectivity.weights.tolist() for p in again.projections] == [p.connectivity.weights.tolist() for p in made.projections]
    assert again.projections[0].delays.tolist() == made.projections[0].delays.tolist() == [0, 2]


def test_numbers_may_stand_in_the_file_s_text(tmp_path) -> None:
    meta = {
        "timestep_ms": 1.0, "steps": 2, "projections": [],
        "populations": [
            {"label": "s", "size": 2, "kind": "source"},
            {
                "label": "c", "size": 2, "kind": "cells", "model": "IF_curr_delta", "params": {"tau_m": 10, "cm": "array"}, "v": -60.0,
                "bound": None,
            },
        ],
    }
    arrays = {"s0.neuron": np.array([1, 1]), "s0.step": np.array([0, 3]), "p1.cm": np.array([1.0, 2.0])}
    np.savez(tmp_path / "b.npz", meta=np.array(json.dumps(meta)), **arrays)
    back, recordings = load(tmp_path / "b.npz")
    assert [times.tolist() for times in back.sources[0].times_ms] == [[], [0.0, 3.0]]
    assert back.cells[0].params["tau_m"].tolist() == [10, 10]
    assert back.cells[0].params["cm"].tolist() == [1, 2]
    assert (back.cells[0].v.tolist(), back.cells[0].bound, recordings) == ([-60, -60], (None, None), {"c": {}})


@pytest.mark.parametrize("model", ["IF_curr_exp", "IF_curr_delta", "IF_trunc_delta"])
@pytest.mark.parametrize("timestep", [0.1, 1.0, 2.0])
def test_start_values_are_those_of_the_core(tmp_path, model: str, timestep: float) -> None:
    """Against the oracle of the binaries, whose state is set as the core's memory holds it; through a file and back."""
    rng = np.random.default_rng([8, int(10 * timestep)])
    n = 40
    start = {"refract_timer": rng.integers(-1, 6, n)}
    params = {"tau_m": rng.uniform(2, 40, n) * timestep, "v_reset": 0.0, "v_thresh": rng.uniform(0.5, 20, n), "tau_refrac": 2 * timestep}
    if model != "IF_trunc_delta":
        params["v_rest"] = 0.0
    if model == "IF_curr_exp":
        params |= {"tau_syn_E": rng.uniform(0.3, 60, n) * timestep, "tau_syn_I": rng.uniform(0.3, 60, n) * timestep}
        start |= {name: rng.choice([-2.0**-15, 0, 2.0**-15, 1, -40.3, 500.7, 1200], n) for name in ("isyn_exc", "isyn_inh")}
    given = network(timestep=timestep, model=model, size=n, v=0.3, start=start, cm=1.5 * timestep, i_offset=rng.uniform(-1, 3, n), **params)
    save(tmp_path / "a.npz", given, 12)
    back, _ = load(tmp_path / "a.npz")
    assert set(back.cells[0].start) == set(start)
    assert all(np.array_equal(back.cells[0].start[name], values) for name, values in start.items())
    made, inputs = quantized(back)
    currents = ("syn_0", "syn_1") if model == "IF_curr_exp" else ()
    trace = simulate(made, KERNELS, inputs, 12, record=["out"], probes=[Probe("out", name) for name in ("v", *currents)])
    cells = oracle.Cells(oracle.read(tmp_path / "a.npz"), 1)
    cells.timer[:] = start["refract_timer"]
    for receptor, name in enumerate(("isyn_exc", "isyn_inh") if currents else ()):
        cells.synapse[receptor] = np.rint(start[name] * 32768)
    fired = 0
    for step in range(12):
        _, recorded, spikes = cells.step(np.zeros((2, n), np.int64))
        assert np.array_equal(trace.spikes["out"][0, step], spikes)
        assert np.array_equal(trace.state["out.v"][0, step], cells.v)
        for receptor, name in enumerate(currents):
            assert np.array_equal(trace.state[f"out.{name}"][0, step], recorded[receptor])
        fired += int(spikes.sum())
    assert fired
    # What the core holds comes back from what the kernel starts with.
    held = start_values(made["out"].kernel, made["out"].params, made["out"].initial)
    assert held["v"].tolist() == [9830] * n
    for name, values in start.items():
        assert held[name].tolist() == (np.rint(values * (1 if name == "refract_timer" else 32768))).tolist()


def test_other_states_have_no_initial_value() -> None:
    made, _ = quantized(network(model="IF_trunc_delta"))
    out = made["out"]
    assert set(out.initial) == {"v"}
    with pytest.raises(ValueError, match="`saturated` is no initial value"):
        start_values(out.kernel, out.params, {"saturated": np.ones(3, np.int64)})
    with pytest.raises(ValueError, match="`syn_0` is no initial value"):
        start_values(out.kernel, out.params, {"syn_0": np.ones(3, np.int64)})


def test_a_spike_acts_after_its_delay() -> None:
    """A source's spike of tick 2 with a delay of 3 steps moves the membrane in tick 5, whatever the length of a step."""
    for timestep in (0.1, 1.0, 2.0):
        given = network(
            joined([8.0], [3 * timestep]), timestep=timestep, times=((2 * timestep,), ()), v=0.0, v_rest=0.0, v_thresh=1e4,
            tau_m=20.0 * timestep, cm=20.0,
        )
        made, inputs = quantized(given)
        v = simulate(made, KERNELS, inputs, 8, record=["out"], probes=[Probe("out", "v")]).state["out.v"][0, :, 0] / 32768
        assert v[:5].tolist() == [0] * 5
        # The jump of a current w / timestep for one step: tau_m / cm is the time step.
        assert v[5] == pytest.approx(8.0 * (1 - exp(-1 / 20)), rel=2e-2)
