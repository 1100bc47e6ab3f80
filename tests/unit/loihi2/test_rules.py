"""What Loihi 2 refuses: every model and convention by name, all populations at once, and the one command that would do."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Array, Dense
from nmap.diagnostics import Exit, Findings, NmapError
from nmap.network import Adaptation, Conventions, Model, Network, Neuron, Resonator
from nmap.options import Options
from nmap.rules import run_rules
from nmap.testing.networks import FOREIGN_NETWORKS, build, lif
from nmap_loihi2 import TARGET


def refused(network: Network, *approximate: str) -> list[tuple[str, str, tuple[str, ...]]]:
    """Return (code, message, help) of every error; each names a place and says why."""
    with pytest.raises(NmapError) as caught:
        run_rules(network, TARGET, Options(approximate=frozenset(approximate)), Findings())
    assert caught.value.exit_status == Exit.DOES_NOT_FIT
    assert all(d.where and d.why for d in caught.value.diagnostics)
    return [(d.code, d.message, d.help) for d in caught.value.diagnostics]


@pytest.mark.parametrize(("kind", "code", "words"), [
    ("adaptive", "NM201", "cannot compute the adaptive threshold of 2 populations: `first`, `second` exactly"),
    ("adaptive resonator", "NM201", "no resonate-and-fire neuron with an adaptive threshold (2 populations: `first`, `second`)"),
    ("silent", "NM201", "no non-spiking neuron whose state can be sent (2 populations: `first`, `second`)"),
    ("relay", "NM201", "passes sums on without a neuron (2 populations: `first`, `second`)"),
    ("multiple", "NM202", "at most one spike in a step"),
    ("floor", "NM202", "stop at -1 times the threshold (2 populations: `first`, `second`)"),
    ("early reset", "NM202", "reset by subtraction (2 populations: `first`, `second`)"),
    ("delay of 1000", "NM204", "needs a synaptic delay of 999 steps"),
])
def test_every_foreign_model_and_convention_is_refused_by_name(kind: str, code: str, words: str) -> None:
    found = refused(FOREIGN_NETWORKS[kind]())
    assert any(c == code and words in message for c, message, _ in found), found


@pytest.mark.parametrize("kind", [
    "lag", "lag of 3", "late bias", "resonator", "izhikevich", "complex weights", "delta", "sigma", "sigma delta",
])
def test_what_is_exact_is_taken_without_a_word(kind: str) -> None:
    findings = Findings()
    run_rules(FOREIGN_NETWORKS[kind](), TARGET, Options(), findings)
    assert len(findings) == 0


def test_rules_about_decays_look_at_integrating_neurons_and_run_beside_foreign_ones() -> None:
    """A network with an adaptive resonator, an unstable LIF and a reset of its own: all three are told, nothing crashes."""
    foreign = FOREIGN_NETWORKS["adaptive resonator"]()
    odd = build(
        "odd.nir", {"input": ((2,), None), "first": ((2,), foreign["first"].neuron), "second": ((2,), lif(2, beta=1.5))},
        [("input", "first", Dense(np.eye(2)), None, 0), ("first", "second", Dense(np.eye(2)), np.ones(2), 0)],
        conventions=Conventions(1e-3, "subtract"),
    )
    found = refused(odd)
    assert [code for code, _, _ in found] == ["NM201", "NM305", "NM202"]
    # The reset is that of the LIF only.
    assert "1 population: `second`" in found[2][1]


def sinabs() -> Network:
    """A network under Sinabs' conventions with a loop too short for its hops: four approximations are needed."""
    one = Dense(np.ones((1, 1)))
    made = build(
        "cnn.nir", {"input": ((1,), None), "a": ((1,), lif(1)), "b": ((1,), lif(1))},
        [("input", "a", one, None, 0), ("a", "b", one, None, 0), ("b", "a", Dense(-np.ones((1, 1))), None, 1)],
    )
    return replace(made, conventions=Conventions(None, "subtract", "exact", ">=", multiple=True, floor=-1.0))


def test_every_remedy_is_the_one_command_that_works() -> None:
    found = refused(sinabs())
    assert [code for code, _, _ in found] == ["NM202", "NM202", "NM202", "NM204"]
    assert {helps[0].split()[1] for _, _, helps in found} == {"delay,floor,multiple,reset"}
    # What is already allowed stays in the command.
    again = refused(sinabs(), "reset", "multiple")
    assert len(again) == 2
    assert {helps[0].split()[1] for _, _, helps in again} == {"delay,floor,multiple,reset"}
    flags = again[0][2][0].split()[1].split(",")
    run_rules(sinabs(), TARGET, Options(approximate=frozenset(flags)), Findings())


def test_allowed_approximations_are_told_one_by_one_and_networks_without_need_for_them_are_silent() -> None:
    findings, every = Findings(), Options(approximate=frozenset({"reset", "multiple", "floor", "delay"}))
    run_rules(sinabs(), TARGET, every, findings)
    assert [(d.code, d.severity) for d in findings] == [("NM205", "warning")] * 3
    TARGET.quantize(sinabs(), every, findings)
    assert [d.code for d in findings if d.severity == "warning"] == ["NM205"] * 4
    plain = Findings()
    run_rules(build("p.nir", {"input": ((1,), None), "a": ((1,), lif(1))}, [("input", "a", Dense(np.ones((1, 1))), None, 0)]),
              TARGET, every, plain)
    assert len(plain) == 0


def test_a_floor_that_no_membrane_can_meet_asks_for_nothing() -> None:
    plain = build("p.nir", {"input": ((1,), None), "a": ((1,), lif(1))}, [("input", "a", Dense(np.ones((1, 1))), None, 0)],
                  conventions=Conventions(1e-3, floor=-1.0))
    run_rules(plain, TARGET, Options(), Findings())
    with pytest.raises(NmapError, match="membranes have no lower bound"):
        run_rules(plain, TARGET, Options(payload=(-1, 1)), Findings())


def test_a_single_approximation_keeps_its_own_words() -> None:
    (found,) = refused(FOREIGN_NETWORKS["floor"]())
    assert found[2][0] == "--approximate floor leaves the bound out and measures what that costs on --input"


def test_conventions_do_not_concern_who_never_resets() -> None:
    """Silent populations and foreign models have no reset, floor or number of spikes of the network's conventions."""
    network = FOREIGN_NETWORKS["silent and delayed"]()
    assert [code for code, _, _ in refused(network)] == ["NM201"]
    adaptive = replace(FOREIGN_NETWORKS["adaptive"](), conventions=Conventions(1e-3, "subtract", multiple=True, floor=-1.0))
    assert [code for code, _, _ in refused(adaptive)] == ["NM201"]


def placed(kind: str, *names: str) -> Network:
    """Return input -> a -> b of which the named ones are the population `first` of a foreign network, the others LIFs."""
    neuron = FOREIGN_NETWORKS[kind]()["first"].neuron
    assert neuron is not None
    n = 2
    populations = {"input": ((n,), None), **{name: ((n,), neuron if name in names else lif(n)) for name in ("a", "b")}}
    return build("net.nir", populations, [("input", "a", Dense(np.eye(n)), None, 0), ("a", "b", Dense(np.eye(n)), None, 0)])


@pytest.mark.parametrize("kind", ["silent", "relay"])
def test_remedies_for_silent_populations_depend_on_where_they_are(kind: str) -> None:
    ((_, _, inside),) = refused(placed(kind, "a"))
    ((_, _, last),) = refused(placed(kind, "b"))
    ((_, _, both),) = refused(placed(kind, "a", "b"))
    assert "`a`" in inside[0]
    assert not any("end the network" in line for line in inside)
    assert last[0].startswith("end the network in a spiking population")
    assert [inside[0], last[0]] == list(both[:2])
    assert all("nmap run NET --level float" in found[-1] for found in (inside, last, both))


@pytest.mark.parametrize(("threshold", "reset", "compare", "fine"), [
    (-1.0, 0.0, ">", False), (0.0, 0.0, ">", True), (0.0, 0.0, ">=", False), (-1.0, -2.0, ">", True), (0.5, 1.0, ">", False),
    (1.0, 1.0, ">=", False),
])
def test_thresholds_below_the_reset_value_are_refused_with_a_remedy(threshold: float, reset: float, compare: str, fine: bool) -> None:
    network = build(
        "low.nir", {"input": ((1,), None), "a": ((1,), lif(1, threshold=threshold, reset=reset))},
        [("input", "a", Dense(np.ones((1, 1))), None, 0)], conventions=Conventions(1e-3, "zero", compare=compare),  # type: ignore[arg-type]
    )
    if fine:
        run_rules(network, TARGET, Options(), Findings())
        return
    ((code, message, helps),) = refused(network)
    assert code == "NM305"
    assert "(1 population: `a`)" in message
    assert "train with thresholds above" in helps[0]


def test_reset_zero_alone_is_not_advised_where_more_is_needed() -> None:
    """Rockpool's and Sinabs' files: with `--reset zero` the other conventions still ask to be approximated."""
    one = Dense(np.ones((1, 1)))
    chain = build("r.nir", {"input": ((1,), None), "a": ((1,), lif(1))}, [("input", "a", one, None, 0)])
    for network, more in (
        (replace(chain, conventions=Conventions(1e-4, "subtract")), ""),
        (replace(chain, conventions=Conventions(1e-4, "subtract", multiple=True)), " --approximate multiple"),
        (replace(chain, conventions=Conventions(1e-4, "subtract", multiple=True, early_reset=True, floor=-1.0)), " --approximate multiple"),
        (sinabs(), " --approximate delay,floor,multiple"),
    ):
        found = refused(network)
        assert found[0][2][1].endswith(f"say so: --reset zero{more}")
        zero = replace(network, conventions=replace(network.conventions, reset="zero", early_reset=False))
        run_rules(zero, TARGET, Options(approximate=frozenset(more.split()[-1].split(",") if more else ())), Findings())


def test_features_and_approximations_are_stated() -> None:
    levels = {name: feature.level for name, feature in TARGET.spec.features.items()}
    assert {name: levels[name] for name in (
        "adaptive_threshold", "adaptive_resonator", "resonator", "sigma_delta", "li", "relay", "complex_weights", "constant_input",
        "periodic_reset", "multiple_spikes", "voltage_floor", "early_reset", "spike_lag", "late_bias",
    )} == {
        **dict.fromkeys(("adaptive_resonator", "li", "relay", "constant_input"), "refused"),
        **dict.fromkeys(("multiple_spikes", "voltage_floor", "early_reset"), "approximate"),
        **dict.fromkeys(
            ("spike_lag", "late_bias", "adaptive_threshold", "resonator", "sigma_delta", "complex_weights", "periodic_reset"), "exact"
        ),
    }
    assert set(TARGET.spec.approximations) == {"reset", "multiple", "floor", "delay"}


def _alif(n: int = 2, quantum: float | None = 1 / 64, step: float | list[float] = 10.0, **changed: float) -> Neuron:
    """Return neurons with lava-dl's arithmetic, which Lava's ATRLIF repeats, unless a value is changed."""
    values = {"alpha": 0.75, "beta": 0.5, "gain_in": 1.0, "threshold": 80.0, "decay": 0.25, **changed}
    full = {key: np.full(n, value) for key, value in values.items()}
    adaptation = Adaptation(full["decay"], full["decay"], np.broadcast_to(step, (n,)), quantum)
    one, zero = np.ones(n), np.zeros(n)
    return Neuron(
        "ALIF", full["alpha"], full["gain_in"], one, full["beta"], zero, full["threshold"], zero, True, quantum, adaptation
    )


def _one_layer(neuron: Model, weight: float = 20.0, bias: Array | None = None, **conventions: Any) -> Network:
    return build(
        "one.net", {"input": ((2,), None), "a": ((2,), neuron)}, [("input", "a", Dense(np.full((2, 2), weight)), bias, 1)],
        conventions=Conventions(None, "zero", "steps", **conventions),
    )


@pytest.mark.parametrize(("neuron", "weight", "reason"), [
    (_alif(), 20.0, None),
    (_alif(quantum=None), 20.0, "its states are multiples of 1/64"),
    (_alif(alpha=0.7501), 20.0, "its decays are multiples of 1/4096"),
    (_alif(beta=0.3), 20.0, "its decays are multiples of 1/4096"),
    (_alif(decay=0.3), 20.0, "its decays are multiples of 1/4096"),
    (_alif(threshold=80.5), 20.0, "its threshold and the step added to it count whole weight units"),
    (_alif(step=0.25), 20.0, "its threshold and the step added to it count whole weight units"),
    (_alif(step=[10.0, 11.0]), 20.0, "here they differ (10 to 11)"),
    (_alif(), 20.5, "its input counts whole weight units"),
    (_alif(gain_in=0.125), 20.0, "its input counts whole weight units"),
    (_alif(gain_in=0.125), 16.0, None),
])
def test_an_adaptive_threshold_is_taken_exactly_or_not_at_all(neuron: Neuron, weight: float, reason: str | None) -> None:
    network, findings = _one_layer(neuron, weight), Findings()
    if reason is None:
        run_rules(network, TARGET, Options(), findings)
        assert len(findings) == 0
        return
    with pytest.raises(NmapError) as caught:
        run_rules(network, TARGET, Options(), findings)
    (error,) = caught.value.diagnostics
    assert (error.code, error.data["feature"]) == ("NM201", "adaptive_threshold")
    assert reason in (error.why or "")


@pytest.mark.parametrize("where", ["drive", "bias"])
def test_a_constant_input_of_neurons_that_have_none_is_refused(where: str) -> None:
    """Lava's RF has no bias; on the way into a sigma it would add up in every step."""
    plain = FOREIGN_NETWORKS["resonator"]()["first"].neuron
    assert isinstance(plain, Resonator)
    driven = replace(plain, drive=np.ones(2)) if where == "drive" else plain
    found = refused(_one_layer(driven, bias=np.ones(2) if where == "bias" else None))
    assert [(code, "(1 population: `a`)" in message) for code, message, _ in found] == [("NM203", True)]
    sigma = FOREIGN_NETWORKS["sigma delta"]()["first"].neuron
    assert sigma is not None
    if where == "bias":
        assert [code for code, _, _ in refused(_one_layer(sigma, bias=np.ones(2)))] == ["NM203"]


@pytest.mark.parametrize(("neuron", "reset", "code"), [
    (lif(2), "zero", None),
    (lif(2), "subtract", None),
    (replace(lif(2), v_reset=np.array([0.0, -0.25])), "zero", "NM202"),
    (replace(lif(2), v_reset=np.array([0.0, -0.25])), "subtract", None),
    (_alif(), "zero", "NM202"),
    (FOREIGN_NETWORKS["sigma delta"]()["first"].neuron, "zero", "NM202"),
    (FOREIGN_NETWORKS["resonator"]()["first"].neuron, "zero", "NM202"),
])
def test_a_periodic_reset_is_that_of_plain_integrate_and_fire_neurons(neuron: Model, reset: Any, code: str | None) -> None:
    """A subtracting reset is approximated by one to zero, so that the reset value of the file plays no part."""
    network = _one_layer(neuron)
    network = replace(network, conventions=replace(network.conventions, reset=reset, reset_interval=16))
    if code is None:
        run_rules(network, TARGET, Options(approximate=frozenset({"reset"})), Findings())
    else:
        assert [c for c, _, _ in refused(network, "reset")] == [code]
    # Without a periodic reset nothing is asked.
    plain = replace(network, conventions=replace(network.conventions, reset_interval=0))
    run_rules(plain, TARGET, Options(approximate=frozenset({"reset"})), Findings())


@pytest.mark.parametrize(("interval", "told"), [(1, False), (2, False), (16, False), (17, True), (96, True)])
def test_the_hardware_wants_a_power_of_two(interval: int, told: bool) -> None:
    findings = Findings()
    run_rules(_one_layer(lif(2), reset_interval=interval), TARGET, Options(), findings)
    assert [(d.code, d.severity) for d in findings] == ([("NM206", "warning")] if told else [])


def test_payloads_beyond_a_message_are_refused() -> None:
    run_rules(_one_layer(lif(2)), TARGET, Options(payload=(0, 2**32 - 1)), Findings())
    with pytest.raises(NmapError) as caught:
        run_rules(_one_layer(lif(2)), TARGET, Options(payload=(-1, 2**32 - 1)), Findings())
    (error,) = caught.value.diagnostics
    assert (error.code, str(2**32 - 1) in error.message, "32 bits" in error.message) == ("NM802", True, True)
