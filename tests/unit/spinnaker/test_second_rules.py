"""What SpiNNaker 2 refuses, takes approximately, and takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Array, Dense
from nmap.diagnostics import Diagnostic, Findings
from nmap.network import Conventions, Network, Neuron
from nmap.options import Options
from nmap.testing.networks import FOREIGN_NETWORKS, build, lif
from nmap.testing.targets import judge
from nmap_spinnaker.spinnaker2 import TARGET


def found(network: Network, approximate: str = "", **how: object) -> list[Diagnostic]:
    options = Options(approximate=frozenset(approximate.split(",")) - {""}, **how)  # type: ignore[arg-type]
    return list(judge(TARGET, network, options))


def chain(neuron: Neuron, bias: float = 0.0, weight: float = 1.0, **conventions: object) -> Network:
    n = neuron.threshold.size
    return build(
        "chain.nir", {"input": ((n,), None), "first": ((n,), neuron), "second": ((n,), neuron)},
        [(a, b, Dense(np.eye(n) * weight), np.full(n, bias), 0) for a, b in (("input", "first"), ("first", "second"))],
        conventions=Conventions(1e-3, **conventions),  # type: ignore[arg-type]
    )


@pytest.mark.parametrize(
    ("kind", "code", "feature"),
    [
        ("adaptive", "NM201", "adaptive_threshold"), ("resonator", "NM201", "resonator"), ("sigma delta", "NM201", "sigma_delta"),
        ("silent", "NM201", "li"), ("relay", "NM201", "relay"), ("complex weights", "NM203", "complex_weights"),
    ],
)
def test_what_has_no_counterpart_is_refused_with_all_offenders(kind: str, code: str, feature: str) -> None:
    errors = [d for d in found(FOREIGN_NETWORKS[kind]()) if d.severity == "error"]
    told = next(d for d in errors if d.data.get("feature") == feature)
    assert told.code == code
    assert "first" in told.message
    assert "second" in told.message
    assert told.help


@pytest.mark.parametrize(
    ("network", "code", "name"),
    [
        (FOREIGN_NETWORKS["multiple"](), "NM202", "multiple"), (FOREIGN_NETWORKS["early reset"](), "NM202", "reset"),
        (FOREIGN_NETWORKS["floor"](), "NM202", "floor"), (FOREIGN_NETWORKS["late bias"](), "NM203", "bias"),
        (chain(lif(2), reset="delayed"), "NM202", "reset"), (chain(replace(lif(2), alpha=np.full(2, 0.5)), bias=0.25), "NM205", "bias"),
        (chain(replace(lif(2), quantum=1.0)), "NM205", "truncation"),
    ],
)
def test_what_is_approximated_needs_the_users_word(network: Network, code: str, name: str) -> None:
    errors = [d for d in found(network) if d.severity == "error"]
    assert [(d.code, d.data["approximate"]) for d in errors] == [(code, name)]
    assert f"--approximate {name}" in errors[0].help[0]
    allowed = found(network, name)
    assert [(d.code, d.severity) for d in allowed] == [("NM205", "warning")]


def test_every_remedy_is_an_approximation_of_the_chip() -> None:
    assert {"bias", "delay", "floor", "multiple", "reset", "rounding", "truncation"} == set(TARGET.spec.approximations)


def test_what_the_models_have_is_taken_without_a_word() -> None:
    for network in (
        chain(lif(2), bias=-0.5), chain(lif(2, reset=0.25)), chain(lif(2), reset="subtract"), chain(lif(2, beta=1.0)),
        chain(replace(lif(2), alpha=np.full(2, 0.5))), FOREIGN_NETWORKS["several ports"](), FOREIGN_NETWORKS["lag"](),
    ):
        assert found(network) == []


def test_parameters_out_of_range() -> None:
    for neuron, text in (
        (lif(2, beta=1.5), "outside 0 to 1"), (lif(2, threshold=-0.5), "too low"), (replace(lif(2), gain_v=np.full(2, -1.0)), "input gain"),
        (replace(lif(2), alpha=np.full(2, -0.5)), "synaptic current"),
    ):
        errors = [d for d in found(chain(neuron)) if d.severity == "error"]
        assert [d.code for d in errors] == ["NM305"]
        assert text in errors[0].message
    endless = [d for d in found(chain(replace(lif(2), alpha=np.ones(2)), bias=0.5), "bias") if d.severity == "error"]
    assert [d.code for d in endless] == ["NM203"]


def test_samples_are_binary_and_bits_are_two_to_eight() -> None:
    assert [d.data["feature"] for d in found(chain(lif(2)), payload=(0, 3))] == ["graded"]
    assert [d.code for d in found(chain(lif(2)), bits=9)] == ["NM004"]
    assert found(chain(lif(2)), bits=5) == []


def test_a_clocked_reset_and_a_delay_too_long_are_refused() -> None:
    clocked = chain(lif(2), reset_interval=8)
    assert [d.data["feature"] for d in found(clocked)] == ["periodic_reset"]
    late = chain(lif(2))
    late = replace(late, projections=tuple(replace(p, delay=9) for p in late.projections))
    errors = found(late)
    assert {d.code for d in errors} == {"NM204"}
    assert all("at most 7 steps" in d.help[0] for d in errors)


@pytest.mark.parametrize(
    ("change", "weight"),
    [
        ({"threshold": np.array([1.0, 1e300])}, 1.0), ({"v_reset": np.array([-1e300, 0.0])}, 1.0), ({"drive": np.array([1e300, 0.0])}, 1.0),
        ({"gain_v": np.array([1e-303, 1.0])}, 1.0), ({}, 1e200), ({}, 1e-310), ({"threshold": np.array([1e-60, 1.0])}, 1.0),
    ],
)
def test_numbers_beyond_float32_are_one_error_that_names_the_populations(change: dict[str, Array], weight: float) -> None:
    errors = found(chain(replace(lif(2), **change), weight=weight))  # type: ignore[arg-type]
    assert [(d.code, d.severity) for d in errors] == [("NM305", "error")]
    assert "`first`, `second`" in errors[0].message
    assert "float32" in errors[0].message


def test_large_weights_with_large_thresholds_are_taken() -> None:
    network = chain(lif(2, threshold=1e200), weight=0.3e200)
    assert found(network) == []
    loss = TARGET.quantize(network, Options(), Findings()).losses[0]
    assert loss.sqnr_db is None or np.isfinite(loss.sqnr_db)


@pytest.mark.parametrize(
    ("threshold", "value", "compare", "reset", "taken"),
    [
        (0.5, 0.75, ">", "zero", False), (0.5, 0.5, ">", "zero", True), (0.5, 0.5, ">=", "zero", False), (0.5, 0.25, ">=", "zero", True),
        (0.5, 0.75, ">", "subtract", True), (0.0, -0.5, ">=", "zero", False), (0.0, -0.5, ">", "zero", True),
    ],
)
def test_thresholds_lie_above_the_reset_value(threshold: float, value: float, compare: str, reset: str, taken: bool) -> None:
    errors = found(chain(lif(2, threshold=threshold, reset=value), compare=compare, reset=reset))
    assert [(d.code, d.data["feature"]) for d in errors] == ([] if taken else [("NM305", "negative_threshold")])


def test_all_offences_are_told_at_once() -> None:
    network = chain(replace(lif(2, threshold=-1.0), alpha=np.full(2, 0.5)), bias=0.5, reset="delayed", floor=-1.0, reset_interval=4)
    codes = sorted(d.code for d in found(network))
    assert codes == ["NM202", "NM202", "NM202", "NM205", "NM305"]
