"""All rules run, and refusals say what the user can do: one command, and other targets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.diagnostics import Diagnostic, Exit, Findings, NmapError
from nmap.network import Conventions, Model, Network, SigmaDelta
from nmap.options import Options
from nmap.rules import meets_floor, run_rules
from nmap.simulate.floating import simulate
from nmap.testing.networks import build, dense, lif


def asks(code: str, *helps: str, severity: str = "error", **data: Any) -> Any:
    def rule(network: Any, spec: Any, options: Any, findings: Findings) -> None:
        findings.add(code, severity, f"about {code}", help=helps, data=data)  # type: ignore[arg-type]
    return rule


def judge(
    *rules: Any, approximate: tuple[str, ...] = (), name: str = "made-up", levels: dict[str, str] | None = None
) -> tuple[Diagnostic, ...]:
    features = {feature: SimpleNamespace(level=level) for feature, level in (levels or {}).items()}
    target: Any = SimpleNamespace(rules=rules, spec=SimpleNamespace(features=features), name=name)
    findings = Findings()
    with pytest.raises(NmapError) as caught:
        run_rules(dense(0), target, Options(approximate=frozenset(approximate)), findings)
    assert caught.value.exit_status == Exit.DOES_NOT_FIT
    return caught.value.diagnostics


def test_rules_after_an_error_still_run() -> None:
    assert [d.code for d in judge(asks("NM201"), asks("NM203"))] == ["NM201", "NM203"]


def test_one_approximation_keeps_its_words_and_several_become_one_command() -> None:
    (alone,) = judge(asks("NM202", "--approximate reset in short", "train anew", approximate="reset"))
    assert alone.help == ("--approximate reset in short", "train anew")
    both = judge(
        asks("NM202", "--approximate reset in short", "train anew", approximate="reset"), asks("NM204", "its own", approximate="delay"),
        asks("NM203", "cannot be lifted"),
    )
    assert [d.help[0].split(" takes")[0] for d in both] == ["--approximate delay,reset", "--approximate delay,reset", "cannot be lifted"]
    assert both[0].help[1:] == ("train anew",)


def test_what_is_allowed_already_stays_in_the_command() -> None:
    (more,) = judge(asks("NM202", "its own", approximate="multiple"), approximate=("reset",))
    assert more.help[0].startswith("--approximate multiple,reset ")


def test_warnings_need_no_command() -> None:
    found = judge(asks("NM202", "its own", approximate="a"), asks("NM205", "as it is", severity="warning", approximate="b"))
    assert found[0].help == ("its own",)


def test_other_installed_targets_that_have_the_feature_are_named() -> None:
    (found,) = judge(asks("NM201", "one", "two", "three", feature="cubalif"))
    assert found.help == ("one", "two", "installed targets that take it: `loihi1`, `loihi2`, `spinnaker1`, `spinnaker2`")
    (found,) = judge(asks("NM202", feature="reset_subtract"))
    roughly = "`akida` (approximately), `loihi1` (approximately), `loihi2` (approximately), `spinnaker1` (approximately)"
    some = f"{roughly}, `spinnaker2`, `truenorth`"
    assert found.help == (f"installed targets that take it: {some}",)
    (found,) = judge(asks("NM201", "one", feature="resonator"))
    assert found.help == ("one", "installed targets that take it: `loihi2`")
    (found,) = judge(asks("NM201", "one", feature="learning"))
    assert found.help == ("one",)


def test_targets_that_do_no_better_are_not_recommended() -> None:
    """Loihi 1 and 2 approximate a reset by subtraction, as this target does; others have it, and all have the reset to zero."""
    levels = {"reset_subtract": "approximate", "reset_zero": "approximate", "cubalif": "exact", "li": "refused"}
    subtract, zero, cubalif, li = judge(*(asks("NM202", "one", feature=feature) for feature in levels), levels=levels)
    assert [found.help for found in (cubalif, li)] == [("one",)] * 2
    assert subtract.help == ("one", "installed targets that take it: `spinnaker2`, `truenorth`")
    assert zero.help == (
        "one", "installed targets that take it: `akida`, `loihi1`, `loihi2`, `spinnaker1`, `spinnaker2`, `toy`, `truenorth`",
    )


def test_a_target_does_not_recommend_itself() -> None:
    (found,) = judge(asks("NM202", feature="reset_subtract"), name="loihi2")
    some = "`akida` (approximately), `loihi1` (approximately), `spinnaker1` (approximately), `spinnaker2`, `truenorth`"
    assert found.help == (f"installed targets that take it: {some}",)


def floored(weights: list[list[float]], *, source: Model | None = None, **changes: Any) -> Network:
    """Return input -> a -> b with a floor at -1; `a` has the neurons of `source`, the edge into `b` the weights."""
    made = build(
        "floor.nir", {"input": ((2,), None), "a": ((2,), source or lif(2)), "b": ((2,), replace(lif(2), **changes))},
        [("input", "a", Dense(np.eye(2)), None, 0), ("a", "b", Dense(np.array(weights)), None, 0)],
    )
    return replace(made, conventions=Conventions(1e-3, "subtract", floor=-1.0))


POSITIVE = [[1.0, 0.0], [0.5, 2.0]]


def meeting(network: Network, **options: Any) -> list[str]:
    return [p.name for p in meets_floor(network, Options(**options))]


def test_a_floor_concerns_only_membranes_that_can_fall_to_it() -> None:
    assert meeting(floored(POSITIVE)) == []
    assert meeting(floored([[1.0, -0.1], [0.5, 2.0]])) == ["b"]
    assert meeting(floored(POSITIVE), payload=(-1, 1)) == ["a"]
    for changes in ({"drive": np.array([0.0, -0.1])}, {"v_reset": np.array([-1.0, 0.0])}, {"gain_v": np.array([1.0, -1.0])},
                    {"threshold": np.array([1.0, -1.0])}):
        assert meeting(floored(POSITIVE, **changes)) == ["b"]
    biased = floored(POSITIVE)
    low = replace(biased, projections=(biased.projections[0], replace(biased.projections[1], bias=np.array([0.0, -0.5]))))
    assert meeting(low) == ["b"]


def test_what_is_sent_may_be_negative() -> None:
    """A silent population and a sigma-delta one send negative numbers too."""
    silent = replace(lif(2), spiking=False)
    assert meeting(floored(POSITIVE, source=silent)) == ["b"]
    assert meeting(floored(POSITIVE, source=SigmaDelta("SDNN", "delta", np.ones(2), np.zeros(2)))) == ["b"]


def test_a_late_or_early_reset_can_take_more_than_there_is() -> None:
    plain = floored(POSITIVE)
    assert meeting(replace(plain, conventions=replace(plain.conventions, reset="delayed"))) == ["a", "b"]
    assert meeting(replace(plain, conventions=replace(plain.conventions, early_reset=True))) == ["a", "b"]
    assert meeting(replace(plain, conventions=replace(plain.conventions, floor=0.5))) == ["a", "b"]
    assert meeting(replace(plain, conventions=replace(plain.conventions, floor=None))) == []


@pytest.mark.parametrize("seed", range(4))
def test_a_floor_that_no_membrane_meets_changes_no_spike(seed: int) -> None:
    rng = np.random.default_rng([13, seed])
    network = floored(rng.uniform(0, 1, (2, 2)).tolist())
    assert meeting(network) == []
    inputs = (rng.random((3, 60, 2)) < 0.4).astype(np.int32)
    bare = replace(network, conventions=replace(network.conventions, floor=None))
    with_floor, without = (simulate(made, inputs, record=["a", "b"]).spikes for made in (network, bare))
    for name in ("a", "b"):
        assert with_floor[name].any()
        np.testing.assert_array_equal(with_floor[name], without[name])
