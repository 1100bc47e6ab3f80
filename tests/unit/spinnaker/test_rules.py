from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense
from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap.network import Conventions, Network, Neuron
from nmap.options import Options
from nmap.rules import run_rules
from nmap.simulate.fixed import simulate
from nmap.simulate.floating import simulate as simulate_float
from nmap.testing.networks import FOREIGN_NETWORKS, FOREIGN_OFFENDERS, RANDOM_NETWORKS, build, random_inputs
from nmap_spinnaker import TARGET
from nmap_spinnaker.rules import RULES
from tests.unit.spinnaker.quantizing import KERNELS, SPEC, cells, judged, quantized

WEIGHTS = np.array([[2.0, -2.0], [-2.0, 2.0]])


def two(first: Any = None, second: Any = None, *, bias: Any = None, weights: Any = WEIGHTS, **conventions: Any) -> Network:
    """Return in -> first -> second, two neurons each."""
    conventions = {"dt": 1e-3} | conventions
    return build(
        "two.nir", {"in": ((2,), None), "first": ((2,), first or cells(2)), "second": ((2,), second or first or cells(2))},
        [("in", "first", Dense(weights), bias, 0), ("first", "second", Dense(weights), bias, 0)], conventions=Conventions(**conventions),
    )


def errors(net: Network, *approximate: str, **options: Any) -> list[Diagnostic]:
    return [d for d in judged(net, *approximate, **options) if d.severity == "error"]


def only(net: Network, *approximate: str, **options: Any) -> Diagnostic:
    """Return the one error, which names both populations or both projections."""
    found = errors(net, *approximate, **options)
    assert len(found) == 1, [(d.code, d.message) for d in found]
    text = f"{found[0].message} {found[0].where}"
    assert "first" in text
    assert "second" in text
    return found[0]


@pytest.mark.parametrize("given", [{"v_reset": 1e300}, {"gain_v": 1e-303, "beta": 1.0}, {"threshold": 1e300}, {"drive": 1e300}])
def test_a_number_out_of_all_ranges_is_one_error(given: dict[str, float]) -> None:
    assert only(two(cells(2, **given))).code == "NM305"


@pytest.mark.parametrize("given", [{"v_reset": np.inf}, {"gain_in": -np.inf}, {"beta": np.nan}, {"threshold": -np.inf}])
def test_a_number_that_is_none_is_one_error(given: dict[str, float]) -> None:
    assert only(two(cells(2, **given))).code == "NM107"


def test_neurons_that_never_fire_are_told_by_that_alone() -> None:
    """Their threshold is infinite because they have none."""
    found = errors(two(cells(2), cells(2, threshold=np.inf, spiking=False)))
    assert [d.code for d in found] == ["NM201"]


@pytest.mark.parametrize(("dt", "most"), [(1e-3, 21474), (1e-4, 214748), (2e-3, 10737)])
def test_a_step_is_one_that_the_timer_can_count(dt: float, most: int) -> None:
    """2^32 cycles of 200 MHz are 21.47 s."""
    assert errors(two(dt=dt), slowdown=most) == []
    [found] = errors(two(dt=dt), slowdown=most + 1)
    assert found.code == "NM004"
    assert f"at most `--slowdown {most}`" in found.help


def test_plain_networks_pass() -> None:
    for kind in ("dense", "recurrent", "skip", "conv", "sparse", "one_to_one"):
        assert judged(RANDOM_NETWORKS[kind](0)) == []


@pytest.mark.parametrize("kind", sorted(FOREIGN_NETWORKS))
def test_what_it_lacks_is_refused_by_name_or_taken(kind: str) -> None:
    found = errors(FOREIGN_NETWORKS[kind]())
    taken = {"delay of 1000", "lag", "lag of 3", "several ports"}
    assert (not found) == (kind in taken)
    text = " ".join(f"{d.message} {d.where}" for d in found)
    assert all(name in text for name in FOREIGN_OFFENDERS[kind]) or kind in taken
    assert all(d.why or d.help for d in found)


@pytest.mark.parametrize("kind", ["early reset", "floor", "multiple"])
def test_what_is_allowed_to_be_approximate_is(kind: str) -> None:
    net = FOREIGN_NETWORKS[kind]()
    named = {d.data["approximate"] for d in errors(net)}
    assert named
    found = judged(net, *named)
    assert not [d for d in found if d.severity == "error"]
    assert {d.code for d in found} == {"NM205"}
    assert all(d.severity == "warning" for d in found)
    quantized(net, *named)


def test_the_core_says_what_takes_all() -> None:
    with pytest.raises(NmapError) as caught:
        run_rules(FOREIGN_NETWORKS["multiple"](), TARGET, Options(), Findings())
    assert all("--approximate multiple,reset" in d.help[0] for d in caught.value.diagnostics)


@pytest.mark.parametrize("bits", [17, 32])
def test_bits(bits: int) -> None:
    found = errors(two(), bits=bits)
    assert [d.code for d in found] == ["NM004"]
    assert "1 to 16 bits" in found[0].message
    assert errors(two(), bits=16) == errors(two(), bits=1) == []


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_are_finite(value: float) -> None:
    weights = np.array([[1.0, value], [0.0, 1.0]])
    assert only(two(weights=weights)).code == "NM107"
    assert only(two(bias=np.array([0.0, value]))).code == "NM107"
    for field in ("threshold", "beta", "gain_in", "drive"):
        assert "NM107" in [d.code for d in errors(two(cells(2, **{field: value})))], field


@pytest.mark.parametrize("given", [{"threshold": 1e35}, {"gain_in": 1e-35}, {"gain_v": 1e31}])
def test_parameters_beyond_the_representable(given: dict[str, float]) -> None:
    assert only(two(cells(2, **given))).code == "NM305"


@pytest.mark.parametrize("scale", [1e40, 1e-40])
def test_weights_beyond_the_representable(scale: float) -> None:
    assert only(two(weights=WEIGHTS * scale)).code == "NM305"
    tiny = WEIGHTS.copy()
    tiny[0, 0] = 1e-40
    assert errors(two(weights=tiny)) == []


def test_everything_is_told_at_once() -> None:
    net = two(
        cells(2, beta=1.2, threshold=-1.0, gain_in=0.0), reset="subtract", multiple=True, reset_interval=8, floor=-1.0,
        weights=np.array([[np.nan, 1.0], [1.0, 1.0]]),
    )
    late = replace(net, projections=tuple(replace(p, bias=np.ones(2), bias_from=3) for p in net.projections))
    found = errors(late, payload=(0, 5), bits=20)
    assert {d.code for d in found} == {"NM004", "NM107", "NM202", "NM203", "NM305"}
    assert len(found) == 11, [d.message for d in found]


def test_silent_neurons_are_refused_with_their_place() -> None:
    inner = only(two(cells(2, spiking=False, beta=0.9)))
    assert (inner.code, inner.data["feature"]) == ("NM201", "li")
    assert "in the place of `first`" in inner.help[0]
    assert "end the network" in inner.help[1]
    relay = only(two(cells(2, spiking=False, beta=0.0)))
    assert relay.data["feature"] == "relay"


@pytest.mark.parametrize(("given", "count"), [({"beta": 1.0001}, 4), ({"beta": -0.1}, 4), ({"alpha": 1.5}, 4), ({"alpha": [0.5, -0.5]}, 2)])
def test_decays_outside_0_to_1(given: dict[str, Any], count: int) -> None:
    found = only(two(cells(2, **given)))
    assert found.code == "NM305"
    assert f"{count} decay factors" in found.message


@pytest.mark.parametrize("given", [
    {"beta": 0.99999}, {"alpha": 0.99999}, {"alpha": 1.0}, {"alpha": 0.5, "beta": 1.0}, {"beta": [1.0, 0.5]}, {"beta": [0.99998, 0.5]},
])
def test_decays_that_round_to_none(given: dict[str, Any]) -> None:
    net = two(cells(2, **given))
    found = only(net)
    assert (found.code, found.data["approximate"]) == ("NM205", "leak")
    assert "32766/32768" in (found.why or "")
    assert [d.code for d in judged(net, "leak")] == ["NM205"]
    made, _ = quantized(net, "leak")
    assert made["first"].kernel == ("spinnaker1.if_curr_exp" if "alpha" in given else "spinnaker1.if_curr_delta")


def test_an_almost_endless_time_constant_is_stated() -> None:
    assert "100000 steps" in (only(two(cells(2, beta=np.exp(-1e-5)))).why or "").replace("1e+05", "100000")


@pytest.mark.parametrize(
    ("neurons", "weights", "conventions", "taken"),
    [
        (cells(2, beta=1.0), np.abs(WEIGHTS), {}, True),
        (cells(2, beta=1.0), WEIGHTS, {}, False),
        (cells(2, beta=1.0, v_reset=-0.5), np.abs(WEIGHTS), {}, True),
        (cells(2, beta=1.0, v_reset=0.5), np.abs(WEIGHTS), {}, False),
        (cells(2, beta=1.0, drive=-0.01), np.abs(WEIGHTS), {}, False),
        (cells(2, beta=1.0), WEIGHTS, {"floor": 0.0}, True),
        (cells(2, beta=1.0, v_reset=-1.0), WEIGHTS, {"floor": -1.0}, True),
        (cells(2, beta=1.0), WEIGHTS, {"floor": -1.0}, False),
        (cells(2, beta=1.0), np.abs(WEIGHTS), {"floor": -1.0}, True),
        (cells(2, beta=1.0, v_reset=-2.0), np.abs(WEIGHTS), {"floor": -1.0}, False),
    ],
)
def test_integrators_whose_floor_shows(neurons: Neuron, weights: Any, conventions: dict[str, Any], taken: bool) -> None:
    """Those that are taken compute the network's own spikes under strong inhibition; the others say why not."""
    net = two(neurons, weights=weights, **conventions)
    if not taken:
        found = only(net)
        assert found.code == "NM202"
        assert found.data["approximate"] == ("floor" if "floor" in conventions else "leak")
        for approximate in ("floor", *(() if "floor" in conventions else ("leak",))):
            told = judged(net, approximate)
            assert [(d.code, d.severity) for d in told] == [("NM205", "warning")]
            kernel = quantized(net, approximate)[0]["first"].kernel
            assert kernel == ("spinnaker1.if_trunc" if approximate == "floor" else "spinnaker1.if_curr_delta")
        return
    made, _ = quantized(net)
    assert made["first"].kernel == "spinnaker1.if_trunc"
    inputs = random_inputs(net, 3, samples=4, steps=60, rate=0.4)
    names = ["first", "second"]
    real = simulate_float(net, inputs, record=names).spikes
    chip = simulate(made, KERNELS, inputs, 60 + made.latency, record=names).spikes
    for name in names:
        np.testing.assert_array_equal(chip[name][:, made[name].latency : made[name].latency + 60], real[name])
    assert real["second"].any()


def test_an_integrator_with_its_own_floor_may_leak_instead() -> None:
    net = two(cells(2, beta=1.0), floor=-1.0)
    told = judged(net, "floor", "leak")
    assert [d.code for d in told] == ["NM205", "NM205"]
    assert any("leak" in d.message for d in told)
    assert any("left out" in d.message for d in told)


def test_an_integrator_that_leaks_a_little_is_nearer_than_one_with_a_floor() -> None:
    net = RANDOM_NETWORKS["integrators"](1)
    inputs = random_inputs(net, 1, samples=4, steps=80)
    real = simulate_float(net, inputs, record=["output"]).spikes["output"]
    same = {}
    for approximate in ("leak", "floor"):
        made, _ = quantized(net, approximate)
        late = made["output"].latency
        chip = simulate(made, KERNELS, inputs, 80 + late, record=["output"]).spikes["output"][:, late:]
        same[approximate] = (chip == real).mean()
    assert same["leak"] > 0.99
    assert same["leak"] > same["floor"]


def test_leaky_membranes_have_no_floor() -> None:
    found = only(two(floor=-1.0))
    assert (found.data["approximate"], found.data["feature"]) == ("floor", "voltage_floor")
    told = judged(two(floor=-1.0), "floor")
    assert [d.code for d in told] == ["NM205"]
    assert "left out" in told[0].message
    assert judged(two(floor=-1.0, weights=np.abs(WEIGHTS))) == []


@pytest.mark.parametrize("reset", ["subtract", "delayed"])
def test_resets_set_a_value(reset: str) -> None:
    net = two(cells(2, v_reset=-0.3), reset=reset)
    found = only(net)
    assert (found.code, found.data["feature"], found.data["approximate"]) == ("NM202", f"reset_{reset}", "reset")
    assert "`--reset zero`" in found.help[1]
    assert errors(replace(net, conventions=replace(net.conventions, reset="zero"))) == []
    made, _ = quantized(net, "reset")
    # A reset by subtraction does not use the reset value, so that its approximation does not either.
    assert not made["first"].params["v_reset"].any()


def test_clocks_and_late_biases() -> None:
    assert only(two(reset_interval=16)).data["feature"] == "periodic_reset"
    net = two(bias=np.ones(2))
    late = replace(net, projections=tuple(replace(p, bias_from=2) for p in net.projections))
    assert only(late).data["feature"] == "late_bias"


def test_a_bias_into_a_current_that_never_decays() -> None:
    found = errors(two(cells(2, alpha=1.0), bias=np.array([0.1, 0.0])), "leak")
    assert [d.code for d in found] == ["NM203"]


def test_states_that_are_truncated() -> None:
    found = only(two(cells(2, quantum=2.0**-6)))
    assert (found.code, found.data["approximate"]) == ("NM205", "rounding")
    assert [d.code for d in judged(two(cells(2, quantum=2.0**-6)), "rounding")] == ["NM205"]
    # Nothing decays, so nothing is truncated.
    assert errors(two(cells(2, beta=1.0, quantum=2.0**-6), weights=np.abs(WEIGHTS))) == []


def test_gains_are_positive() -> None:
    for given in ({"gain_in": 0.0}, {"gain_v": [-1.0, 1.0]}):
        assert only(two(cells(2, **given))).code == "NM305"


@pytest.mark.parametrize(
    ("given", "compare", "taken"),
    [
        ({"threshold": 0.5, "v_reset": 0.5}, ">", True), ({"threshold": 0.5, "v_reset": 0.5}, ">=", False),
        ({"threshold": 0.5, "v_reset": 0.6}, ">", False), ({"threshold": 0.0}, ">", True), ({"threshold": 0.0}, ">=", False),
        ({"threshold": -0.1, "v_reset": -1.0}, ">", False), ({"threshold": [1.0, 0.1], "v_reset": 0.2}, ">=", False),
    ],
)
def test_thresholds_at_or_below_the_reset_value(given: dict[str, Any], compare: str, taken: bool) -> None:
    net = two(cells(2, **given), compare=compare)
    if taken:
        assert errors(net) == []
        made, _ = quantized(net)
        chip = simulate(made, KERNELS, np.zeros((1, 20, 2), np.int32), 24, record=["first"])
        assert not chip.spikes["first"].any()
    else:
        assert only(net).code == "NM305"


def test_loops_need_a_step_for_every_hop() -> None:
    ring = two()
    eye = Dense(np.eye(2))
    back = replace(ring.projections[1], name="back", source="second", target="first", connectivity=eye, delay=1)
    net = replace(ring, projections=(*ring.projections, back))
    found = errors(net)
    assert [(d.code, d.data["approximate"]) for d in found] == [("NM204", "delay")]
    assert errors(net, "delay") == []
    none = replace(net, projections=(*ring.projections, replace(back, delay=0)))
    assert [d.code for d in errors(none)] == ["NM204"]
    enough = replace(net, projections=(*ring.projections, replace(back, delay=2)))
    assert errors(enough) == []
    quantized(enough)


def test_delays_end_where_ring_buffers_do() -> None:
    net = two()
    longest = SPEC.limits["delay"].max
    # 2^14 slots over two receptors and two neurons; a hop takes one step itself.
    assert longest == 2**12 - 1
    for steps, taken in ((longest + 1, True), (longest + 2, False)):
        late = replace(net, projections=tuple(replace(p, delay=steps) for p in net.projections))
        found = errors(late)
        assert (not found) == taken
        assert {d.code for d in found} <= {"NM204"}


def test_negative_delays() -> None:
    net = two()
    wrong = replace(net, projections=tuple(replace(p, delays=np.array([[0, -1], [0, 0]])) for p in net.projections))
    assert only(wrong).code == "NM204"


def test_convolutions_have_one_delay() -> None:
    conv = Conv2d(np.ones((1, 1, 1, 1)), (1, 1, 2))
    net = build(
        "conv.nir", {"in": ((1, 1, 2), None), "first": ((1, 1, 2), cells(2)), "second": ((1, 1, 2), cells(2))},
        [("in", "first", conv, None, 0), ("first", "second", conv, None, 0)],
    )
    listed = replace(net, projections=tuple(replace(p, delays=np.zeros((1, 1, 1, 1), np.int64)) for p in net.projections))
    assert only(listed).code == "NM204"


def test_graded_input() -> None:
    found = errors(two(), payload=(-1, 3))
    assert [(d.code, d.data["feature"]) for d in found] == [("NM203", "graded")]


def test_every_remedy_that_names_an_approximation_lifts_its_error() -> None:
    nets = [
        two(reset="subtract"), two(reset="delayed"), two(multiple=True, reset="subtract"), two(floor=-1.0), two(cells(2, beta=1.0)),
        two(cells(2, beta=0.99999)), two(cells(2, quantum=0.25)), two(cells(2, beta=1.0), floor=-1.0, reset="subtract", multiple=True),
    ]
    for net in nets:
        first = errors(net)
        assert first
        assert {d.data["approximate"] for d in first} <= set(SPEC.approximations)
        assert errors(net, *(d.data["approximate"] for d in first)) == []


def test_every_feature_that_a_refusal_names_is_in_the_data() -> None:
    for kind in sorted(FOREIGN_NETWORKS):
        for d in errors(FOREIGN_NETWORKS[kind]()):
            assert SPEC.features[d.data["feature"]].level in ("refused", "approximate")


def test_rules_say_what_they_demand() -> None:
    assert all((rule.__doc__ or "").strip().endswith(".") for rule in RULES)
