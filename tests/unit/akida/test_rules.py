"""What Akida 1.0 refuses: the rule, everyone who breaks it, the limit and its source, and the nearest change that would map."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Connectivity, Conv2d, Dense, Sparse
from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap.network import Conventions, Network, Neuron
from nmap.options import Options
from nmap.rules import run_rules
from nmap.testing.networks import FOREIGN_NETWORKS, FOREIGN_OFFENDERS, RANDOM_NETWORKS, build, lif
from nmap_akida import TARGET

RATE = frozenset({"rate"})
SUBTRACT = Conventions(1e-3, "subtract")


def judge(network: Network, **options: Any) -> list[Diagnostic]:
    findings = Findings()
    for rule in TARGET.rules:
        rule(network, TARGET.spec, Options(**options), findings)
    return list(findings)


def errors(network: Network, **options: Any) -> list[Diagnostic]:
    found = [d for d in judge(network, **options) if d.severity == "error"]
    assert all(d.help for d in found if d.code != "NM107")
    assert all((d.why and d.where) for d in found if d.code not in ("NM004", "NM107"))
    return found


def neurons(n: int = 2, alpha: float = 0.0, gain: float = 1.0, beta: float = 0.0, threshold: float = 0.9, spiking: bool = True) -> Neuron:
    return replace(lif(n, beta=beta, threshold=threshold), alpha=np.full(n, alpha), gain_v=np.full(n, gain), spiking=spiking, model="Made")


def chain(*made: Neuron, conventions: Conventions | None = None, bias: float | None = None) -> Network:
    populations: dict[str, Any] = {"input": ((2,), None)} | {f"p{k}": ((2,), neuron) for k, neuron in enumerate(made)}
    offset = None if bias is None else np.full(2, bias)
    links = [(a, b, Dense(np.array([[1.0, -0.5], [-0.5, 1.0]])), offset, 0) for a, b in pairwise(populations)]
    return build("chain.nir", populations, links, conventions=conventions)


def layered(shape: tuple[int, ...], *links: Connectivity) -> Network:
    populations: dict[str, Any] = {"input": (shape, None)}
    for k, link in enumerate(links):
        out = link.out_shape if isinstance(link, Conv2d) else (link.out_size,)
        populations[f"p{k}"] = (out, lif(link.out_size, beta=0.0, threshold=0.5))
    return build("layered.nir", populations, [(a, b, link, None, 0) for (a, b), link in zip(pairwise(populations), links, strict=True)])


def conv(filters: int, in_shape: tuple[int, int, int], size: int = 3, stride: int = 1, padding: int | None = None) -> Conv2d:
    weights = np.random.default_rng(50).normal(size=(filters, in_shape[0], size, size))
    return Conv2d(weights, in_shape, (stride, stride), (size // 2 if padding is None else padding,) * 2)


def test_units_without_memory_are_taken_whatever_their_reset_is() -> None:
    for conventions in (Conventions(1e-3), SUBTRACT, Conventions(1e-3, floor=-1.0), Conventions(1e-3, reset_interval=5)):
        assert judge(chain(neurons(), neurons(), conventions=conventions)) == []
    # What is allowed and not needed is not done.
    assert judge(chain(neurons(), neurons()), approximate=RATE) == []
    assert errors(RANDOM_NETWORKS["memoryless"](0)) == []


@pytest.mark.parametrize("kind", sorted(FOREIGN_NETWORKS))
@pytest.mark.parametrize("approximate", [frozenset(), RATE])
def test_foreign_networks_are_refused_by_name(kind: str, approximate: frozenset[str]) -> None:
    found = errors(FOREIGN_NETWORKS[kind](), approximate=approximate)
    assert found
    assert {d.code for d in found} <= {"NM201", "NM202", "NM203", "NM204", "NM205"}
    text = " ".join(f"{d.message} {d.where}" for d in found)
    assert [name for name in FOREIGN_OFFENDERS[kind] if name not in text] == []
    assert all(d.data["feature"] in TARGET.spec.features for d in found)


def test_memory_is_refused_with_all_who_have_it() -> None:
    made = chain(neurons(beta=0.9), neurons(), neurons(beta=0.5), neurons(alpha=0.25), neurons(beta=1.0))
    leaky, whole, current = errors(made)[1], errors(made)[2], errors(made)[0]
    assert (current.code, current.data["feature"]) == ("NM201", "cubalif")
    assert "`p3`" in current.message
    assert (leaky.code, leaky.data["feature"]) == ("NM201", "lif")
    assert "`p0`, `p2`" in leaky.message
    assert "0.5 to 0.9" in str(leaky.why)
    assert "tau equal to the time step" in leaky.help[0]
    assert (whole.code, whole.data["approximate"], whole.data["populations"]) == ("NM205", "rate", ["p4"])
    assert "--approximate rate" in whole.help[0]


def test_integrators_are_taken_as_counts_and_only_with_the_user_s_word() -> None:
    made = chain(neurons(beta=1.0), neurons(beta=1.0), conventions=SUBTRACT)
    (found,) = errors(made)
    assert (found.code, found.data["approximate"]) == ("NM205", "rate")
    assert judge(made, approximate=RATE) == []
    # Without a leak, a threshold that is taken off one step later is taken off before the next comparison all the same.
    assert judge(replace(made, conventions=Conventions(1e-3, "delayed")), approximate=RATE) == []
    # What the rate mode asks for is told before the user has asked for it.
    assert [d.code for d in errors(replace(made, conventions=Conventions(1e-3)))] == ["NM205", "NM202"]
    zero = errors(replace(made, conventions=Conventions(1e-3)), approximate=RATE)
    assert [(d.code, d.data["feature"]) for d in zero] == [("NM202", "reset_zero")]
    assert "--reset subtract" in zero[0].help[0]
    early = errors(replace(made, conventions=Conventions(1e-3, "subtract", early_reset=True)), approximate=RATE)
    assert early == []
    (told,) = judge(replace(made, conventions=Conventions(1e-3, "subtract", early_reset=True)), approximate=RATE)
    assert (told.code, told.severity, told.data["populations"]) == ("NM205", "warning", ["p0", "p1"])
    assert "Step by step" in str(told.why)
    # Nor is either told before the user has asked for the rate mode, which takes both.
    for conventions in (Conventions(1e-3, "delayed"), Conventions(1e-3, "subtract", early_reset=True)):
        assert [d.code for d in errors(replace(made, conventions=conventions))] == ["NM205"]
    memoryless = errors(chain(neurons(), conventions=Conventions(1e-3, "subtract", early_reset=True)))
    assert [(d.code, d.data["feature"]) for d in memoryless] == [("NM202", "early_reset")]
    clocked = errors(replace(made, conventions=Conventions(1e-3, "subtract", reset_interval=4)), approximate=RATE)
    assert [(d.code, d.data["feature"]) for d in clocked] == [("NM202", "periodic_reset")]
    (floor,) = judge(replace(made, conventions=Conventions(1e-3, "subtract", floor=-1.0)), approximate=RATE)
    assert (floor.code, floor.severity, floor.data["populations"]) == ("NM205", "warning", ["p0", "p1"])


def test_what_the_rate_mode_cannot_help_is_not_sent_there() -> None:
    (found, *others) = errors(RANDOM_NETWORKS["integrators"](0))
    assert (found.code, "approximate" in found.data) == ("NM205", False)
    assert found.help[0].startswith("train without recurrent weights")
    assert [d.code for d in others] == ["NM202", "NM204"]


def test_networks_of_both_kinds_are_refused_by_name() -> None:
    made = chain(neurons(beta=1.0), neurons(), neurons(beta=1.0), conventions=SUBTRACT)
    for approximate, codes in ((frozenset(), ["NM205", "NM201"]), (RATE, ["NM201"])):
        found = errors(made, approximate=approximate)
        assert [d.code for d in found] == codes
        assert "`p1`" in found[-1].message
        assert "`p0`, `p2`" in found[-1].message


@pytest.mark.parametrize(
    ("conventions", "code", "feature"),
    [
        (Conventions(1e-3, "delayed"), "NM202", "reset_delayed"),
        (Conventions(1e-3, "subtract", early_reset=True), "NM202", "early_reset"),
        (Conventions(1e-3, lag=1), "NM204", "spike_lag"),
        (Conventions(1e-3, "subtract", multiple=True), "NM202", "multiple_spikes"),
    ],
)
def test_conventions_that_leave_a_trace_are_refused(conventions: Conventions, code: str, feature: str) -> None:
    (found,) = errors(chain(neurons(), neurons(), conventions=conventions))
    assert (found.code, found.data["feature"]) == (code, feature)
    assert "`p0`, `p1`" in found.message


def test_several_spikes_at_multiples_of_the_threshold_are_taken() -> None:
    several = Conventions(1e-3, "subtract", compare=">=", multiple=True)
    assert errors(chain(neurons(), neurons(), conventions=several)) == []
    (found,) = errors(chain(neurons(), neurons(threshold=0.05), conventions=several))
    assert (found.code, found.data["rule"]) == ("NM202", "multiple")
    assert "`p1`" in found.message
    (found,) = errors(chain(neurons(), neurons(threshold=-0.5), conventions=several))
    assert (found.code, found.data["feature"]) == ("NM305", "negative_threshold")


def test_numbers_that_are_none_are_refused_and_gains_of_any_sign_taken() -> None:
    (found,) = errors(chain(neurons(threshold=np.nan), neurons(threshold=np.inf)))
    assert (found.code, "`p0`, `p1`" in found.message) == ("NM107", True)
    (found,) = errors(chain(neurons(), bias=np.inf))
    assert (found.code, "input->p0" in found.message) == ("NM107", True)
    assert errors(chain(neurons(gain=-1.0), neurons(gain=0.0))) == []


def test_bits_are_those_of_the_chip() -> None:
    for bits in (1, 2, 4):
        assert errors(chain(neurons()), bits=bits) == []
    for bits in (3, 5, 8):
        (found,) = errors(chain(neurons()), bits=bits)
        assert (found.code, f"--bits {bits}" in found.message) == ("NM004", True)


def test_a_layer_that_does_not_map_is_told_with_rule_limit_and_source() -> None:
    made = layered(
        (2, 34, 34), conv(4, (2, 34, 34)), conv(4, (4, 34, 34), stride=2), conv(4, (4, 17, 17), 4, padding=2),
        conv(3, (4, 18, 18), padding=0),
    )
    found = {d.data["rule"]: d for d in errors(made)}
    assert set(found) == {"alignment", "even_kernel", "padding"}
    assert all(d.code == "NM203" for d in found.values())
    aligned = found["alignment"]
    assert "`p0->p1` has stride 2 over 34 columns" in aligned.message
    assert (aligned.data["layers"], aligned.data["limit"]) == (["p0->p1"], "padding")
    assert str(aligned.where).startswith("layered.nir:/p0->p1")
    assert "`p1`" in str(aligned.where)
    limit = TARGET.spec.limits["kernel"]
    assert limit.source in str(found["even_kernel"].why)
    assert f"{limit.min} to {limit.max}" in str(found["even_kernel"].why)
    assert "5 x 5" in found["even_kernel"].help[0]
    assert "padding of 1" in found["padding"].help[0]


def test_all_layers_that_break_a_rule_are_told_in_one_message() -> None:
    made = layered((2, 9, 9), *(conv(2, (2, size, size), padding=0) for size in (9, 7, 5)))
    (found,) = errors(made)
    assert [f"`{a}->{b}`" in found.message for a, b in (("input", "p0"), ("p0", "p1"), ("p1", "p2"))] == [True] * 3
    assert found.data["layers"] == ["input->p0", "p0->p1", "p1->p2"]


def test_a_convolution_has_one_threshold_for_each_filter() -> None:
    made = layered((2, 4, 4), conv(3, (2, 4, 4)), conv(3, (3, 4, 4)), Dense(np.ones((2, 48))))
    assert errors(made) == []
    uneven = np.full(48, 0.5)
    uneven[5] = 0.75
    changed = tuple(
        p if p.name not in ("p0", "p1") else replace(p, neuron=lif(48, beta=0.0, threshold=uneven)) for p in made.populations
    )
    (found,) = errors(replace(made, populations=changed))
    assert (found.code, found.data["feature"], found.data["populations"]) == ("NM203", "per_neuron_threshold", ["p0", "p1"])
    # The same in the biases, and a bias that makes up for the thresholds.
    biased = tuple(replace(p, bias=uneven) if p.name == "p0->p1" else p for p in made.projections)
    (found,) = errors(replace(made, projections=biased))
    assert found.data["populations"] == ["p1"]
    only = tuple(p if p.name != "p1" else replace(p, neuron=lif(48, beta=0.0, threshold=uneven)) for p in made.populations)
    assert errors(replace(made, populations=only, projections=biased)) == []
    # A gain is a part of the threshold, and turns the weights of all neurons of a channel or of none.
    for gain, told in ((np.where(np.arange(48) == 5, 2.0, 1.0), ["p1"]), (np.where(np.arange(48) < 16, -1.0, 1.0), None)):
        scaled = tuple(
            p if p.name != "p1" else replace(p, neuron=replace(lif(48, beta=0.0, threshold=0.5), gain_v=gain)) for p in made.populations
        )
        assert [d.data["populations"] for d in errors(replace(made, populations=scaled))] == ([told] if told else [])
    # Every unit of a dense layer has its own.
    dense = layered((4,), Dense(np.ones((3, 4))))
    own = tuple(p if p.neuron is None else replace(p, neuron=lif(3, beta=0.0, threshold=np.arange(3.0))) for p in dense.populations)
    assert errors(replace(dense, populations=own)) == []


def test_layers_may_each_be_a_step_behind_the_one_before() -> None:
    made = chain(neurons(), neurons(), bias=0.25)
    late = tuple(replace(p, delay=1, bias_from=k + 1) for k, p in enumerate(made.projections))
    assert errors(replace(made, projections=late)) == []
    # A bias that begins after the input's arrival, a neuron that needs no input, and longer delays are not an inference.
    (found,) = errors(replace(made, projections=tuple(replace(p, bias_from=3) for p in late)))
    assert (found.code, found.data["feature"]) == ("NM203", "late_bias")
    loud = replace(chain(neurons(), neurons(threshold=0.125), bias=0.25), projections=late)
    (found,) = errors(loud)
    assert (found.code, found.data["feature"], "`p1`" in found.message) == ("NM204", "delays", True)
    assert errors(chain(neurons(), neurons(threshold=0.125), bias=0.25)) == []
    (found,) = errors(replace(made, projections=tuple(replace(p, delay=2) for p in late)))
    assert (found.code, found.data["layers"]) == ("NM204", ["input->p0", "p0->p1"])
    counting = chain(neurons(beta=1.0), conventions=SUBTRACT)
    (found,) = errors(replace(counting, projections=(replace(counting.projections[0], delay=1),)), approximate=RATE)
    assert found.data["rule"] == "delays"


def test_samples_beyond_what_the_layers_take_are_refused() -> None:
    (found,) = errors(layered((4,), Dense(np.ones((2, 4)))), payload=(-3, 3))
    assert ("-3" in found.message, found.data["rule"]) == (True, "signed")
    (found,) = errors(layered((4,), Dense(np.ones((2, 4)))), payload=(0, 255))
    assert ("255" in found.message, found.data["rule"]) == (True, "large_inputs")
    assert errors(layered((1, 8, 8), conv(2, (1, 8, 8))), payload=(0, 255)) == []
    (found,) = errors(layered((1, 8, 8), conv(2, (1, 8, 8))), payload=(0, 256))
    assert found.data["rule"] == "image_values"


def test_targets_that_take_what_is_refused_are_named() -> None:
    with pytest.raises(NmapError) as caught:
        run_rules(chain(neurons(beta=0.9)), TARGET, Options(), Findings())
    (found,) = caught.value.diagnostics
    assert any("`loihi2`" in remedy for remedy in found.help)
    assert len(found.help) <= 3


def test_too_many_filters_are_told_with_the_most_there_may_be() -> None:
    first = conv(4, (2, 5, 5))
    (found,) = errors(layered((2, 5, 5), first, conv(3000, (4, 5, 5))))
    assert "has 3000 filters" in found.message
    assert "at most 2048" in found.message


def test_a_convolution_of_one_pixel_is_a_dense_layer_and_told() -> None:
    first, shape = conv(4, (2, 6, 6)), (4, 6, 6)
    whole = Conv2d(np.random.default_rng(51).normal(size=(5, 4, 6, 6)), shape)
    (told,) = judge(layered((2, 6, 6), first, whole))
    assert (told.severity, told.data["layers"]) == ("note", ["p0->p1"])
    # 5 x 4 x 6 x 6 weights of 4 bits, as many as the kernel has.
    assert (told.data["weight_bytes"], told.data["own_bytes"]) == (360, 360)
    assert "360 bytes of weights" in told.message
    # Of a kernel of 3 x 3 with stride 4 on 4 x 4 pixels all 16 places count.
    small = Conv2d(np.random.default_rng(52).normal(size=(5, 4, 3, 3)), (4, 4, 4), (4, 4))
    (told,) = judge(layered((2, 4, 4), conv(4, (2, 4, 4)), small))
    assert "160 bytes of weights instead of 90" in told.message
    # 3 synapses of 4 bits, among 6 x 4.
    (told,) = judge(layered((4,), Sparse.from_dense(np.eye(6)[:, 1:5] * (np.arange(6) < 4)[:, None])))
    assert (told.severity, told.data["own_bytes"], told.data["weight_bytes"]) == ("note", 2, 12)


def test_every_refusal_has_its_feature_and_limit_in_the_chip_s_data() -> None:
    from nmap_akida.rules import _TOLD

    assert {told.feature for told in _TOLD.values()} <= set(TARGET.spec.features)
    assert {told.limit for told in _TOLD.values() if told.limit is not None} <= set(TARGET.spec.limits)
