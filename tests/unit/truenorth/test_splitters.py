from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap_truenorth.splitters import Layer, plan
from tests.unit.truenorth.quantizing import both, compiled, network, neurons

CORE = 256


def chain(sizes: list[int], axons: int, *, output: int = 1) -> list[Layer]:
    """A port and dense layers, `axons` a source everywhere."""
    names = [f"l{k}" for k in range(len(sizes))]
    return [
        Layer(
            name, size, k == len(sizes) - 1 and bool(output), k == 0, {names[k + 1]: (float(axons), 1.0)} if k + 1 < len(sizes) else {},
            k + 1 < len(sizes),
        )
        for k, (name, size) in enumerate(zip(names, sizes, strict=True))
    ]


@pytest.mark.parametrize(
    ("sizes", "axons", "cores"),
    [
        # Reference figures: 4 bits take 4 axons a source, 2 bits 2, 6 bits 8, 8 bits 14
        ([64, 64, 64, 10], 4, 3), ([128, 128, 10], 2, 2), ([32, 32, 10], 8, 2), ([18, 18, 5], 14, 2),
    ],
)
def test_published_chains_need_one_core_a_layer_and_no_splitter(sizes: list[int], axons: int, cores: int) -> None:
    found = plan(chain(sizes, axons), CORE)
    assert (found.split, found.cores, found.without) == (frozenset(), cores, cores)


def test_a_recurrent_layer_counts_its_own_copies() -> None:
    # 32 + 32 recurrent inputs of 4 axons: 32 neurons x (4 loop + 4 out) = 256 columns, one core; and the readout
    layers = [
        Layer("in", 32, False, True, {"h": (4.0, 1.0)}, False),
        Layer("h", 32, False, False, {"h": (4.0, 1.0), "out": (4.0, 1.0)}, True),
        Layer("out", 10, True, False, {}, False),
    ]
    assert plan(layers, CORE).cores == 2
    # One neuron more needs a second core, which every loop's source must reach too: 33 x (8 + 4) = 396 columns on 2 cores
    layers[1] = Layer("h", 33, False, False, {"h": (4.0, 1.0), "out": (4.0, 1.0)}, False)
    assert plan(layers, CORE).cores == 3


def by_hand(sizes: list[int], axons: list[int], split: tuple[bool, ...]) -> int | None:
    """Cores of a chain whose layer k hears the one before it with axons[k] a source; None where a neuron's copies fill more than a core."""
    total, behind = 0, 0
    for size, heard, parted in zip(sizes[::-1], [1, *axons[:0:-1]], split[::-1], strict=True):
        targets = heard * behind if behind else 1
        if targets > CORE:
            return None
        # How many cores it takes to seat neurons of so many columns, one after the other
        seats = [len({k // (CORE // columns) for k in range(size)}) for columns in (1, targets)]
        total += sum(seats) if parted else seats[1]
        behind = seats[0] if parted else seats[1]
    return total


def test_the_plan_is_the_best_of_all_ways() -> None:
    rng, parted, tried = np.random.default_rng(0), 0, 0
    while tried < 60:
        sizes, axons = [int(n) for n in 2 ** rng.uniform(4, 11, 4)], [0, *(int(a) for a in rng.integers(1, 5, 3))]
        ways = {way: by_hand(sizes, axons, (*way, False)) for way in product((False, True), repeat=3)}
        if None in ways.values():
            continue
        tried += 1
        names = ["a", "b", "c", "d"]
        layers = [
            Layer(name, sizes[k], k == 3, False, {names[k + 1]: (float(axons[k + 1]), 1.0)} if k < 3 else {}, k < 3)
            for k, name in enumerate(names)
        ]
        found = plan(layers, CORE)
        assert found.without == ways[(False, False, False)]
        assert found.cores == ways[tuple(name in found.split for name in names[:3])]
        assert found.cores == min(cores for cores in ways.values() if cores is not None)
        parted += bool(found.split)
    assert 5 < parted < 55


def test_a_splitter_where_copies_multiply() -> None:
    # c: 2560 neurons, 10 cores. Copies: b has 4 x 10 targets, 6 neurons a core, 10 cores; a then 10 targets, 25 a core, 10 cores: 30.
    # With a splitter behind b: b 1 core, its relays 10; a has one target and 1 core: 22. One behind a only: 1 + 10 + 10 + 10 = 31.
    layers = [
        Layer("in", 12, False, True, {"a": (1.0, 1.0)}, False), Layer("a", 250, False, False, {"b": (1.0, 1.0)}, True),
        Layer("b", 60, False, False, {"c": (4.0, 1.0)}, True), Layer("c", 2560, True, False, {}, False),
    ]
    found = plan(layers, CORE)
    assert (found.split, found.cores, found.without) == (frozenset({"b"}), 22, 30)


def test_a_split_network_spikes_as_before_one_tick_later() -> None:
    rng = np.random.default_rng(3)
    edges = [
        {"source": "in", "target": "a", "by": Dense(rng.integers(-1, 2, (250, 12)).astype(float))},
        {"source": "a", "target": "b", "by": Dense((rng.random((60, 250)) < 0.2).astype(float))},
        {"source": "b", "target": "c", "by": Dense(rng.integers(-1, 2, (2560, 60)).astype(float))},
        {"source": "a", "target": "c", "by": Sparse.from_dense(np.eye(2560, 250))},
    ]
    net = network(
        {"in": ((12,), None), "a": ((250,), neurons(250, threshold=2.0)), "b": ((60,), neurons(60, threshold=9.0)),
         "c": ((2560,), neurons(2560, threshold=3.0))}, edges,
    )
    made, findings = compiled(net)
    assert [p.name for p in made.populations] == ["in", "a", "b", "b.split", "c"]
    assert [d.data["population"] for d in findings if d.code == "NM203"] == ["b"]
    assert {p.name: p.source for p in made.afferents("c")} == {"b->c": "b.split", "a->c": "a"}
    # Without the splitter c would run 3 ticks late; the direct way waits for the longer one
    assert {p.name: p.latency for p in made.populations} == {"in": 0, "a": 1, "b": 2, "b.split": 3, "c": 4}
    assert {p.name: p.delay for p in made.afferents("c")} == {"b->c": 0, "a->c": 2}
    for name, (real, fixed) in both(net, made, steps=30).items():
        np.testing.assert_array_equal(fixed, real, err_msg=name)
        assert fixed.any()


def test_a_loop_of_one_step_keeps_its_copies() -> None:
    rng = np.random.default_rng(4)
    n, outputs = 60, 3000
    net = network(
        {"in": ((4,), None), "a": ((n,), neurons(n, threshold=2.0)), "b": ((outputs,), neurons(outputs, threshold=2.0))},
        [
            {"source": "in", "target": "a", "by": Dense(rng.integers(-1, 2, (n, 4)).astype(float))},
            {"source": "a", "target": "a", "by": Dense(rng.integers(-1, 2, (n, n)).astype(float)), "delay": 1},
            {"source": "a", "target": "b", "by": Dense(rng.integers(-1, 2, (outputs, n)).astype(float))},
        ],
    )
    made, _ = compiled(net)
    loop = next(p for p in made.projections if p.name == "a->a")
    assert (loop.source, loop.target, loop.delay) == ("a", "a", 0)
    for name, (real, fixed) in both(net, made, steps=20).items():
        np.testing.assert_array_equal(fixed, real, err_msg=name)


def test_synapses_of_a_projection_share_chains_by_their_delays() -> None:
    # Delays 0, 14 | 15, 29 | 30: the parts read from the source, its first and its second relay
    delays = np.array([[0, 14, 15, 29, 30]])
    net = network(
        {"in": ((5,), None), "out": ((1,), neurons(1, threshold=1.0))},
        [{"source": "in", "target": "out", "by": Dense(np.ones((1, 5))), "delay": 1, "delays": delays}],
    )
    made, _ = compiled(net)
    assert [(p.source, p.delay) for p in made.afferents("out")] == [("in", 0), ("in.relay", 0), ("in.relay2", 0)]
    total = np.zeros((1, 5), np.int64)
    for p in made.afferents("out"):
        used = p.connectivity.weights != 0
        before = {"in": 0, "in.relay": 15, "in.relay2": 30}[p.source]
        assert p.delays is not None
        assert p.delays.min() >= 0
        assert p.delay + p.delays.max() <= 14
        total[used] += before + p.delay + p.delays[used]
    # A delay of 1 is the hop's own step
    assert total.tolist() == delays.tolist()
    # Each input by itself arrives when it should
    real, fixed = both(net, made, steps=80, rate=0.05)["out"]
    np.testing.assert_array_equal(fixed, real)


def test_relays_of_images_are_images() -> None:
    net = network(
        {"in": ((2, 4, 4), None), "out": ((2, 3, 3), neurons(18, threshold=1.0))},
        [{"source": "in", "target": "out", "by": Conv2d(np.ones((2, 2, 2, 2)), (2, 4, 4)), "delay": 20}],
    )
    made, _ = compiled(net)
    assert made["in.relay"].shape == (2, 4, 4)
    assert isinstance(made.afferents("in.relay")[0].connectivity, Conv2d)
    real, fixed = both(net, made)["out"]
    np.testing.assert_array_equal(fixed, real)
