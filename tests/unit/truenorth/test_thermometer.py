from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.diagnostics import Findings
from nmap.network import Provenance
from nmap_truenorth.draft import Draft, Edge, Unit
from nmap_truenorth.thermometer import Wide, check_fan_in, levels, split_sums
from tests.unit.truenorth.quantizing import SPEC, compiled, network, neurons, one_layer

AT = Provenance("net.nir", "/out")


def wide(name: str, axons: int | None = 300) -> Wide:
    return Wide(name, "net.nir:/out", 1, 100, axons, 256, 3, 50, None, "")


@pytest.mark.parametrize("seed", range(20))
def test_gates_deliver_the_sum_one_step_later(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 5)), int(rng.integers(3, 120))
    weights = rng.integers(-2, 3, (n, m)) * rng.integers(1, 4, (n, 1))
    if seed % 2:
        weights = np.where(rng.random((n, m)) < 0.5, weights, 0)
    weights = weights.astype(np.int32)
    net = one_layer(weights.astype(float), neurons(n))
    made, _ = compiled(net)
    whole = replace(made, projections=(replace(made.projections[0], connectivity=Dense(weights)),))
    unit = Unit("out", (n,), AT, {name: values.copy() for name, values in made["out"].params.items()}, np.zeros(n, np.int64), np.ones(n))
    draft = Draft((Unit("in", (m,), AT), unit), (Edge("in->out", "in", "out", Dense(weights), 0, AT),))
    needed = levels(whole, "out")
    findings = Findings()
    split = split_sums(draft, whole, [wide("out")], findings)
    sizes = np.abs(weights).sum(1)
    assert needed.tolist() == [int(size) // max(int(np.gcd.reduce(row)), 1) for size, row in zip(sizes, np.abs(weights), strict=True)]
    if needed.max() > 256:
        assert split is draft
        return
    assert [unit.name for unit in split.units] == ["in", "out.part", "out"]
    assert len(findings) == 1
    gates, = (edge for edge in split.edges if edge.target == "out.part")
    back, = (edge for edge in split.edges if edge.target == "out")
    part = split["out.part"]
    assert part.params is not None
    assert part.size == int(needed.sum())
    assert isinstance(back.connectivity, Sparse)
    for _ in range(30):
        spikes = (rng.random(m) < rng.random()).astype(np.int64)
        # A gate without memory: fires where its sum and its leak reach 0
        fires = (gates.connectivity.apply(spikes) + part.params["leak"] >= 0).astype(np.int64)
        assert back.connectivity.apply(fires).tolist() == (weights @ spikes).tolist()
    # No gate fires by itself
    assert (part.params["leak"] < 0).all()


def test_delays_stay_with_their_synapses() -> None:
    weights, delays = np.array([[1, -2, 1]], np.int32), np.array([[0, 3, 1]])
    made, _ = compiled(one_layer(weights.astype(float), neurons(1)))
    unit = Unit("out", (1,), AT, dict(made["out"].params), np.zeros(1, np.int64), np.ones(1))
    draft = Draft((Unit("in", (3,), AT), unit), (Edge("in->out", "in", "out", Dense(weights), 2, AT, delays),))
    split = split_sums(draft, made, [wide("out")], Findings())
    edge = next(edge for edge in split.edges if edge.target == "out.part")
    assert isinstance(edge.connectivity, Sparse)
    assert edge.delay == 2
    assert edge.delays is not None
    # Sums from -2 to 2: two gates for each sign, all of which hear all three
    assert sorted(zip(edge.connectivity.indices.tolist(), edge.delays.tolist(), strict=True)) == [
        *[(0, 0)] * 4, *[(1, 3)] * 4, *[(2, 1)] * 4,
    ]


def test_what_has_no_code_or_too_many_levels_is_left_alone() -> None:
    weights = np.full((1, 100), 3, np.int32)
    weights[0, 0] = 2
    made, _ = compiled(one_layer(weights.astype(float), neurons(1)))
    draft = Draft(
        (Unit("in", (100,), AT), Unit("out", (1,), AT, dict(made["out"].params))), (Edge("in->out", "in", "out", Dense(weights), 0, AT),)
    )
    # 299 levels
    assert split_sums(draft, made, [wide("out")], Findings()) is draft
    assert split_sums(draft, made, [wide("out", None)], Findings()) is draft


def test_the_widest_neuron_is_told() -> None:
    rng = np.random.default_rng(1)
    weights = np.where(rng.random((3, 400)) < np.array([[0.2], [1.0], [0.5]]), 1.0, 0.0)
    made, findings = compiled(one_layer(weights, neurons(3)), accepted=False)
    found, = check_fan_in(made, SPEC)
    assert (found.synapses, found.axons, found.neurons) == (400, 400, 1)
    assert "400" in findings.errors[0].message
    assert findings.errors[0].data["synapses"] == 400


def test_convolutions_are_refused_by_their_kernel() -> None:
    # 40 channels x 3 x 3 x 2 steps and 1: 360 inputs
    kernel = np.full((1, 40, 3, 3), 2.0)
    kernel[0, 0, 0, 0] = -1.0
    net = network(
        {"in": ((40, 5, 5), None), "out": ((1, 3, 3), neurons(9))},
        [{"source": "in", "target": "out", "by": Conv2d(kernel, (40, 5, 5))}],
    )
    _, findings = compiled(net, accepted=False)
    (error,) = findings.errors
    assert error.code == "NM401"
    assert "9 neurons" in error.message
    assert "360 sources" in (error.why or "")
    # 359 x 2 + 1 levels
    assert "719" in (error.why or "")
    assert any("groups" in remedy for remedy in error.help)
