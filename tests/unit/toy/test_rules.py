from __future__ import annotations

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense
from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap.network import Conventions, Model, Network, Neuron, Projection, Provenance, Resonator
from nmap.options import Options
from nmap.rules import run_rules
from nmap.simulate.fixed import simulate
from nmap.testing.networks import FOREIGN_NETWORKS, RANDOM_NETWORKS, build, lif
from nmap_toy import TARGET


def judge(network: Network, options: Options | None = None) -> list[Diagnostic]:
    findings = Findings()
    for rule in TARGET.rules:
        rule(network, TARGET.spec, options or Options(), findings)
    return list(findings)


def neuron(alpha=0.0, gain_in=1.0, gain_v=1.0, beta=0.5, threshold=1.0, v_reset=0.0, spiking=True) -> Neuron:
    values = (alpha, gain_in, gain_v, beta, 0.0, threshold, v_reset)
    return Neuron("N", *(np.array([x]) for x in values), spiking=spiking)


def chain(*neurons: Model, conventions: Conventions | None = None, delays: tuple[int, ...] = ()) -> Network:
    names = ["input", *(f"p{k}" for k in range(len(neurons)))]
    populations = {"input": ((1,), None)} | {f"p{k}": ((1,), n) for k, n in enumerate(neurons)}
    projections = [
        (a, b, Dense(np.ones((1, 1))), None, d)
        for a, b, d in zip(names, names[1:], (*delays, *(0,) * len(neurons)), strict=False)
    ]
    return build("chain.nir", populations, projections, conventions=conventions)


def test_takes_every_random_network_that_remembers() -> None:
    for kind, make in RANDOM_NETWORKS.items():
        # A shift of 0 is no leak at all, so there is none that forgets everything.
        assert [d.code for d in judge(make(0))] == (["NM205"] if kind == "memoryless" else [])


def test_all_offences_of_all_populations_are_told_at_once() -> None:
    bad = chain(
        neuron(alpha=0.5), neuron(spiking=False), neuron(beta=0.9), neuron(beta=1.5), neuron(gain_v=0.0), neuron(threshold=-1.0),
        neuron(v_reset=0.5), delays=(5,),
    )
    found = judge(bad, Options(bits=5, payload=(0, 3)))
    assert [d.code for d in found] == ["NM004", "NM201", "NM201", "NM202", "NM305", "NM205", "NM305", "NM305", "NM204", "NM203"]
    assert {d.severity for d in found} == {"error"}
    assert all(d.help for d in found if d.code not in ("NM004", "NM204"))
    assert all(d.where and d.where.startswith("chain.nir:/") for d in found[1:])


def test_other_resets_are_refused_for_all_populations_at_once() -> None:
    for mode in ("subtract", "delayed"):
        (found,) = judge(chain(neuron(), neuron(), conventions=Conventions(1e-3, mode)))  # type: ignore[arg-type]
        assert (found.code, found.where) == ("NM202", "chain.nir:/p0, /p1")
        assert found.help[0] == "`--reset zero`, if the network was trained that way"
    found = judge(chain(neuron(), conventions=Conventions(1e-3, "subtract", multiple=True)))
    assert [d.code for d in found] == ["NM202", "NM202"]
    assert "several spikes in a step stay refused" in found[0].help[0]


@pytest.mark.parametrize(("offence", "code", "words"), [
    ({"alpha": 0.5}, "NM201", "`p0`, `p2` (N) have a synaptic current"),
    ({"spiking": False}, "NM201", "`p0`, `p2` (N) never fire"),
    ({"v_reset": 0.5}, "NM202", "`p0`, `p2` reset to values other than 0"),
    ({"beta": 1.5}, "NM305", "2 decay factors of `p0`, `p2` are outside"),
    ({"beta": 0.9}, "NM205", "2 decay factors of `p0`, `p2` are not 1 - 2^-k"),
    ({"gain_v": -1.0}, "NM305", "2 neurons of `p0`, `p2` have an input gain"),
    ({"threshold": -1.0}, "NM305", "2 thresholds of `p0`, `p2` are too low"),
])
def test_a_rule_names_all_its_offenders_once_and_says_what_to_do(offence: dict[str, float], code: str, words: str) -> None:
    bad = neuron(**offence)  # type: ignore[arg-type]
    (found,) = judge(chain(bad, neuron(), bad, neuron()))
    assert (found.code, found.where) == (code, "chain.nir:/p0, /p2")
    assert words in found.message
    assert found.why
    assert found.help


def test_the_worst_of_all_populations_is_told() -> None:
    (found,) = judge(chain(neuron(beta=0.9), neuron(beta=0.7), neuron(beta=0.26)))
    # 0.75, 0.5 and 0 are the nearest possible values: 1 - 2^-k, k = 1..7, or 1.
    assert "The worst is 0.26, realised as 0.5" in str(found.why)
    assert found.data["populations"] == ["p0", "p1", "p2"]
    (found,) = judge(chain(neuron(threshold=-1.0), neuron(threshold=-3.0)))
    assert "the lowest here is -3" in str(found.why)


def test_long_lists_of_offenders_are_cut() -> None:
    (found,) = judge(chain(*[neuron(alpha=0.5) for _ in range(9)]))
    assert "`p5` and 3 more (N) have" in found.message


def test_who_never_fires_is_told_apart_by_place() -> None:
    silent = neuron(spiking=False)
    (inside,) = judge(chain(silent, neuron()))
    assert "in the place of `p0`" in inside.help[0]
    assert not any("end the network" in line for line in inside.help)
    (last,) = judge(chain(neuron(), silent))
    assert last.help[0].startswith("end the network in a spiking population")
    assert len(judge(chain(silent, silent))[0].help) == 3
    assert all("--level float" in found.help[-1] for found in (inside, last))


def test_a_decay_between_shifts_needs_the_flag_and_is_then_measured() -> None:
    (refused,) = judge(chain(neuron(beta=0.9)))
    assert refused.severity == "error"
    assert "--approximate leak" in refused.help[0]
    (taken,) = judge(chain(neuron(beta=0.9)), Options(approximate=frozenset({"leak"})))
    assert taken.severity == "note"
    assert abs(taken.data["error"] - 0.025) < 1e-12


def test_a_threshold_of_zero_is_possible_only_where_equality_is_silent() -> None:
    assert judge(chain(neuron(threshold=0.0))) == []
    assert [d.code for d in judge(chain(neuron(threshold=0.0), conventions=Conventions(1e-3, compare=">=")))] == ["NM305"]


def test_delays_up_to_the_field_and_no_further() -> None:
    # the hop is one of the steps: a delay of 4 leaves 3 for the synapse
    assert judge(chain(neuron(), delays=(4,))) == []
    assert [d.code for d in judge(chain(neuron(), delays=(5,)))] == ["NM204"]


def test_a_loop_faster_than_its_hops_is_refused_unless_it_may_be_slower() -> None:
    one = Dense(np.ones((1, 1)))
    loop = build(
        "loop.nir", {"input": ((1,), None), "a": ((1,), lif(1)), "b": ((1,), lif(1))},
        [("input", "a", one, None, 0), ("a", "b", one, None, 0), ("b", "a", one, None, 1)],
    )
    (found,) = judge(loop)
    assert (found.code, found.where) == ("NM204", "loop.nir:/b->a")
    assert judge(loop, Options(approximate=frozenset({"delay"}))) == []


def test_a_convolution_has_one_delay() -> None:
    net = build("conv.nir", {"input": ((1, 2, 2), None), "a": ((1, 2, 2), lif(4))}, [])
    delayed = Projection("c", "input", "a", Conv2d(np.ones((1, 1, 1, 1)), (1, 2, 2)), None, 0, Provenance("conv.nir", "/c"), np.ones(4))
    found = judge(Network(net.file, net.format, net.sha256, net.populations, (delayed,), net.inputs, net.outputs, net.conventions))
    assert [d.code for d in found] == ["NM204"]


def test_foreign_models_are_refused_by_kind_beside_everything_else() -> None:
    for kind, feature in (("resonator", "resonate-and-fire"), ("izhikevich", "resonate-and-fire"), ("sigma delta", "sigma-delta"),
                          ("adaptive", "adaptive thresholds")):
        network = FOREIGN_NETWORKS[kind]()
        (found,) = [d for d in judge(network) if d.code == "NM201"]
        assert found.where == f"{network.file}:/first, /second"
        assert feature in found.message
        assert found.why
        assert found.help
    both = judge(chain(neuron(alpha=0.5), Resonator("RF", *(np.array([x]) for x in (0.9, 0.1, 1.0, 0.0)), firing="phase")))
    assert [(d.code, d.where) for d in both] == [("NM201", "chain.nir:/p1"), ("NM201", "chain.nir:/p0")]


@pytest.mark.parametrize(("kind", "code", "words"), [
    ("multiple", "NM202", "`first`, `second` may send several spikes"), ("floor", "NM202", "`first`, `second` may fall to the floor"),
    ("late bias", "NM203", "`first->second` begins in step 8"), ("complex weights", "NM203", "carry complex weights"),
    ("early reset", "NM202", "`first`, `second` reset by `subtract`"), ("delay of 1000", "NM204", "999 steps"),
    ("relay", "NM201", "never fire"),
])
def test_conventions_that_the_toy_has_not_are_refused(kind: str, code: str, words: str) -> None:
    found = judge(FOREIGN_NETWORKS[kind]())
    assert any(d.code == code and d.severity == "error" and words in d.message for d in found), found


def test_a_loop_s_and_a_leak_s_remedies_become_one_command() -> None:
    one = Dense(np.ones((1, 1)))
    loop = build(
        "loop.nir", {"input": ((1,), None), "a": ((1,), lif(1, beta=0.9)), "b": ((1,), lif(1))},
        [("input", "a", one, None, 0), ("a", "b", one, None, 0), ("b", "a", one, None, 1)],
    )
    with pytest.raises(NmapError) as caught:
        run_rules(loop, TARGET, Options(), Findings())
    assert [(d.code, d.help[0].split(" takes")[0]) for d in caught.value.diagnostics] == [
        ("NM205", "--approximate delay,leak"), ("NM204", "--approximate delay,leak"),
    ]
    run_rules(loop, TARGET, Options(approximate=frozenset({"delay", "leak"})), Findings())


@pytest.mark.parametrize("lag", [1, 2, 3])
def test_spikes_that_lag_are_exact(lag: int) -> None:
    """Integer weights and no leak, computed by hand in a loop; the edge into `p1` and the loop of `p1` are lag steps slower."""
    made = build(
        "lag.nir", {"input": ((2,), None), "p0": ((2,), lif(2, beta=1.0, threshold=9.0)), "p1": ((1,), lif(1, beta=1.0, threshold=12.0))},
        [
            ("input", "p0", Dense(np.array([[7.0, -2.0], [1.0, 5.0]])), None, 0), ("p0", "p1", Dense(np.array([[7.0, 4.0]])), None, 0),
            ("p1", "p1", Dense(np.array([[-3.0]])), None, 1),
        ], conventions=Conventions(1e-3, lag=lag),
    )
    x = (np.random.default_rng(lag).random((80, 2)) < 0.5).astype(np.int64)
    v, w = np.zeros(2), 0.0
    sent, out = np.zeros((80 + lag, 2), int), np.zeros(80 + lag, int)
    for t in range(80):
        v = v + made.projections[0].connectivity.weights @ x[t]
        w += made.projections[1].connectivity.weights[0] @ sent[t] - (3 * out[t - 1] if t else 0)
        sent[t + lag], out[t + lag] = v > 9, w > 12
        v, w = np.where(v > 9, 0, v), 0.0 if w > 12 else w
    assert judge(made) == []
    quantized = TARGET.quantize(made, Options(), Findings())
    trace = simulate(quantized, TARGET.kernels, x[None], 80 + quantized.latency, record=["p0", "p1"])
    for name, wanted in (("p0", sent[:80]), ("p1", out[:80, None])):
        late = quantized[name].latency
        assert late >= 0
        assert wanted.sum() > 5
        np.testing.assert_array_equal(trace.spikes[name][0, late : late + 80], wanted)
