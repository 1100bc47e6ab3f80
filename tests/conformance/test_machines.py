"""A small network on every machine that the toy chip's variants make: deployed, proved, and its hops counted again by hand."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from nmap import flow
from nmap.mapping import Mapping
from nmap.options import WHOLE_CHIP, Options
from nmap.partition.incremental import Remap
from nmap.program import Core
from nmap.target.registry import find_target
from tests.cli.runner import Runner
from tests.unit.readers.builders import chain, if_, linear, port, sink, write_nir

SIZES = (6, 8, 8, 8, 8, 8, 8, 3)
Place = tuple[int, int, int]
"""Chip, x and y of a core."""


def write_layers(path: Path, sizes: tuple[int, ...]) -> Path:
    """Write dense layers of integrate-and-fire neurons."""
    rng = np.random.default_rng(1)
    nodes = {"input": port(sizes[0])}
    for k, (before, size) in enumerate(pairwise(sizes)):
        nodes |= {f"w{k}": linear(rng.integers(-3, 6, (size, before)) / 4), f"n{k}": if_(size, th=2.0)}
    nodes["output"] = sink(sizes[-1])
    write_nir(path, nodes, chain(*nodes), {"reset_mechanism": "zero"})
    return path


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Layers each of which fills a core's synapse slots."""
    return write_layers(tmp_path_factory.mktemp("machines") / "net.nir", SIZES)


def mesh(a: Place, b: Place) -> int:
    return abs(a[1] - b[1]) + abs(a[2] - b[2])


def torus(a: Place, b: Place) -> int:
    return sum(min(abs(p - q), 4 - abs(p - q)) for p, q in zip(a[1:], b[1:], strict=True))


def hexagonal(a: Place, b: Place) -> int:
    ways = [(b[1] - a[1] + 4 * i, b[2] - a[2] + 4 * j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    return min(max(abs(x), abs(y)) if x * y > 0 else abs(x) + abs(y) for x, y in ways)


def board(a: Place, b: Place) -> int:
    across, up = abs(a[0] % 2 - b[0] % 2), abs(a[0] // 2 - b[0] // 2)
    wide = abs(a[0] % 2 * 2 + a[1] - b[0] % 2 * 2 - b[1]) + abs(a[0] // 2 * 2 + a[2] - b[0] // 2 * 2 - b[2])
    return wide + 2 * across + 2 * up


def rack(a: Place, b: Place) -> int:
    columns = [chip // 4 * 2 + chip % 2 for chip in (a[0], b[0])]
    rows = [chip % 4 // 2 for chip in (a[0], b[0])]
    wide = abs(columns[0] * 2 + a[1] - columns[1] * 2 - b[1]) + abs(rows[0] * 2 + a[2] - rows[1] * 2 - b[2])
    return wide + 2 * abs(columns[0] - columns[1]) + 2 * abs(rows[0] - rows[1]) + 3 * abs(a[0] // 4 - b[0] // 4)


DISTANCE: dict[str, Callable[[Place, Place], int]] = {
    "4x4": mesh, "4x4-mixed": mesh, "4x4-torus": torus, "4x4-hexagonal": hexagonal, "2x2-board": board, "2x2-rack": rack,
}


def hops(mapping: Mapping, distance: Callable[[Place, Place], int]) -> int:
    """Packets times hops where every neuron spikes once: to each core of the next layer but its own, from the port at (0, 0) of chip 0."""

    def at(core: Core) -> Place:
        return core.chip, core.x, core.y

    pieces: dict[str, list[tuple[int, Core]]] = {}
    for shard in mapping.shards:
        pieces.setdefault(shard.population, []).append((shard.demand["neurons"], mapping.cores[shard.cluster]))
    layers = [[(SIZES[0], Core(0, 0, 0, -1))], *pieces.values()]
    return sum(
        size * distance(at(core), at(listener))
        for before, after in pairwise(layers) for size, core in before for listener in {core for _, core in after}
        if listener != core
    )


@pytest.mark.parametrize("variant", DISTANCE)
def test_network_on_every_variant(variant: str, net: Path, tmp_path: Path) -> None:
    outcome = flow.deploy(net, target=f"toy:{variant}", options=Options(partitioner="greedy", effort=0), output=tmp_path / "out")
    assert outcome.status == "ok", outcome.diagnostics
    assert outcome.verification is not None
    assert (outcome.verification.mapping, outcome.verification.chip_vs_fixed.mismatches) == ("ok", 0)
    assert outcome.mapping is not None
    assert outcome.traffic is not None
    assert outcome.traffic.unicast_hops == hops(outcome.mapping, DISTANCE[variant]) > 0
    objective = outcome.mapping.placement.objective
    if variant == "4x4-hexagonal":
        # Routers copy packets: every link of a tree counts once.
        assert outcome.traffic.kind == "multicast"
        assert 0 < objective == outcome.traffic.multicast_hops <= outcome.traffic.unicast_hops
    else:
        assert objective == outcome.traffic.unicast_hops


def test_every_variant_of_the_toy_chip_is_tried() -> None:
    assert {*DISTANCE, "2x2"} == set(find_target("toy").spec.variants)


def test_small_cores_hold_no_more_than_they_can(net: Path) -> None:
    (outcome,) = flow.check(net, targets=["toy:4x4-mixed"], options=Options(partitioner="greedy", effort=0))
    assert outcome.mapping is not None
    small = [used for used, core in zip(outcome.mapping.used(), outcome.mapping.cores, strict=True) if core.core >= 8]
    assert all(used["neurons"] <= 4 and used["axons"] <= 8 and used["synapse_memory"] <= 32 for used in small)


def within_budgets(mapping: Mapping) -> bool:
    """Whether every core of `toy:4x4-mixed` keeps to the budgets of its class."""
    return all(
        all(used[name] <= limit for name, limit in zip(("neurons", "axons", "synapse_memory"), most, strict=True))
        for used, core in zip(mapping.used(), mapping.cores, strict=True) for most in [(4, 8, 32) if core.core >= 8 else (8, 16, 64)]
    )


def test_small_cores_are_used_where_the_others_are_not_enough(net: Path, tmp_path: Path) -> None:
    # Four ordinary cores are left for seven layers, of which five fill a core's synapse slots; two small cores hold such a layer.
    dead = Options(partitioner="greedy", effort=0, dead=tuple((0, core) for core in range(4)))
    outcome = flow.deploy(net, target="toy:4x4-mixed", options=dead, output=tmp_path / "out")
    assert outcome.status == "ok", outcome.diagnostics
    assert outcome.mapping is not None
    assert {core.core >= 8 for core in outcome.mapping.cores} == {False, True}
    assert within_budgets(outcome.mapping)


def test_mapping_again_knows_classes_of_cores(net: Path, tmp_path: Path) -> None:
    def again(before: str | None, after: str, dead: tuple[int, ...] = (), file: Path = net) -> tuple[Mapping, Remap | None]:
        options = Options(partitioner="greedy", effort=0, dead=tuple((0, core) for core in dead))
        earlier = None if before is None else tmp_path / before
        outcome = flow.deploy(file, target="toy:4x4-mixed", options=options, output=tmp_path / after, from_bundle=earlier)
        assert outcome.status == "ok", outcome.diagnostics
        assert outcome.mapping is not None
        assert within_budgets(outcome.mapping)
        assert not {core.core for core in outcome.mapping.cores} & set(dead)
        return outcome.mapping, outcome.remap

    # Seven layers on seven of the eight ordinary cores: all stay, or one goes to the eighth, since no small core takes it whole.
    first, _ = again(None, "first")
    assert [core.core < 8 for core in first.cores] == [True] * 7
    same, told = again("first", "same")
    assert told is not None
    assert (told.kept, told.freed, told.new, told.recut, same.cores) == (7, 0, 0, (), first.cores)
    gone = first.cores[0].core
    _, told = again("first", "one", (gone,))
    assert told is not None
    assert (told.freed, told.new, told.recut, told.repacked) == (0, 0, (), False)
    assert [move.old.core for move in told.moved if move.why == "dead"] == [gone]
    # With five ordinary cores left the full layers must be cut again, for small ones.
    small, told = again("first", "three", (0, 1, 2))
    assert told is not None
    assert told.repacked
    assert any(core.core >= 8 for core in small.cores)
    back, told = again("three", "back", (0, 1, 2))
    assert told is not None
    assert (told.kept, told.freed, told.new, back.cores) == (len(small.cores), 0, 0, small.cores)
    # A narrower last layer goes beside what is kept, on small cores too.
    narrow = write_layers(tmp_path / "narrow.nir", (*SIZES[:-1], 2))
    _, told = again("three", "narrow", (0, 1, 2), narrow)
    assert told is not None
    assert (told.recut, told.repacked) == (("n6",), False)
    assert told.kept + len(told.moved) >= len(small.cores) - 1


def test_dead_chips_and_links_are_gone_round(net: Path) -> None:
    # Without chip 1 and the links from chip 0 across and from chip 2's core 1 to chip 3, ways lead around.
    dead = Options(partitioner="greedy", effort=0, dead=((1, WHOLE_CHIP), (0, 3)), dead_links=(((0, 0), (0, 1)), ((2, 1), (3, 0))))
    (outcome,) = flow.check(net, targets=["toy:2x2-rack"], options=dead)
    assert outcome.status == "ok", outcome.diagnostics
    assert outcome.mapping is not None
    places = {(core.chip, core.core) for core in outcome.mapping.cores}
    assert all(chip != 1 for chip, _ in places)
    assert (0, 3) not in places

    # By hand, in routers of the whole rack: 8 x 4, the board's boundary between columns 3 and 4.
    gone = {(x, y) for x in (2, 3) for y in (0, 1)}
    cut = [{(0, 0), (1, 0)}, {(1, 2), (2, 2)}]
    far: dict[tuple[int, int], dict[tuple[int, int], int]] = {}
    every = [(x, y) for x in range(8) for y in range(4) if (x, y) not in gone]
    for start in every:
        far[start] = {start: 0}
        # Bellman and Ford's rounds, as often as there are routers.
        for _ in every:
            for x, y in list(far[start]):
                for there in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                    if there in every and {(x, y), there} not in cut:
                        cost = 1 + 2 * (x // 2 != there[0] // 2) + 2 * (y // 2 != there[1] // 2) + 3 * (x // 4 != there[0] // 4)
                        far[start][there] = min(far[start].get(there, 10**6), far[start][x, y] + cost)

    def router(place: Place) -> tuple[int, int]:
        chip, x, y = place
        return (chip // 4 * 2 + chip % 2) * 2 + x, chip % 4 // 2 * 2 + y

    assert outcome.mapping.placement.objective == hops(outcome.mapping, lambda a, b: far[router(a)][router(b)])


def test_cores_that_are_cut_off_are_told_and_not_used(net: Path) -> None:
    cut_off = Options(partitioner="greedy", effort=0, dead_links=(((0, 3), (0, 2)), ((0, 3), (0, 7))))
    (outcome,) = flow.check(net, targets=["toy:4x4"], options=cut_off)
    assert outcome.status == "ok"
    assert [d.message for d in outcome.diagnostics if d.code == "NM403"] == ["a core cannot be reached over the links that are left: 0:3"]
    assert outcome.mapping is not None
    assert 3 not in {core.core for core in outcome.mapping.cores}


def test_a_network_that_does_not_fit_what_is_left(net: Path) -> None:
    dead = Options(partitioner="greedy", effort=0, dead=((1, WHOLE_CHIP), (2, WHOLE_CHIP)))
    (outcome,) = flow.check(net, targets=["toy:2x2-board"], options=dead)
    assert outcome.status == "does_not_fit"
    codes = [(d.code, d.severity) for d in outcome.diagnostics]
    # Chip 3 is behind the dead ones; chip 0 alone has 4 cores for 7 layers.
    assert ("NM403", "warning") in codes
    assert ("NM402", "error") in codes


def test_dead_cores_and_chips_on_the_command_line(net: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nmap = Runner(capsys)
    words = ("check", net, "--target", "toy:2x2-rack", "--partitioner", "greedy", "--effort", 0, "--format", "json")
    report = nmap(*words, "--dead-cores", "1:*,0:3,7:*").json
    assert (report["target"]["cores"], report["target"]["dead_cores"]) == (32 - 9, 9)
    wrong = nmap(*words[:-2], "--dead-cores", "8:*,0:4")
    assert wrong.status == 2
    assert "dead cores that `toy:2x2-rack` does not have: 0:4, 8:*" in " ".join(wrong.err.split())


def test_dead_links_on_the_command_line(net: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nmap, words = Runner(capsys), ("--target", "toy:4x4", "--partitioner", "greedy", "--effort", 0)
    (tmp_path / "links.txt").write_text("# core 3 stands alone\nc3-c2\n0:7-3\n")
    told = nmap("deploy", net, *words, "--dead-links", tmp_path / "links.txt", "-o", tmp_path / "out")
    assert told.status == 0
    assert "warning[NM403]: a core cannot be reached over the links that are left: 0:3" in told.err
    assert nmap("verify", tmp_path / "out").status == 0, "the bundle remembers its dead links"
    wrong = nmap("check", net, *words, "--dead-links", "c0-c1,c0-c5,0:15-16")
    assert wrong.status == 2
    assert "dead links that `toy:4x4` does not have: 0:0-0:5" in " ".join(wrong.err.split())
    assert "dead links between cores that `toy:4x4` does not have: 0:15-0:16" in " ".join(wrong.err.split())


@pytest.mark.parametrize("seed", range(3))
def test_a_twentieth_of_the_cores_dead_at_random(seed: int, net: Path) -> None:
    dead = tuple((int(k) // 4, int(k) % 4) for k in np.random.default_rng(seed).choice(32, 2, replace=False))
    (outcome,) = flow.check(net, targets=["toy:2x2-rack"], options=Options(partitioner="greedy", effort=0, dead=dead))
    assert outcome.status == "ok"
    assert outcome.mapping is not None
    assert not {(core.chip, core.core) for core in outcome.mapping.cores} & set(dead)
