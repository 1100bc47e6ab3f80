"""Side constraints, multicast trees, link loads and other fabrics, against naive walks and all placements tried."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import replace

import numpy as np
import pytest

import nmap_cpsat
import nmap_greedy
from nmap.partition.partitioner import Budget
from nmap.place.anneal import search, start_order
from nmap.place.assign import assignment, settle
from nmap.place.board import Board, Fabric
from nmap.place.bound import gilmore_lawler_bound, packet_bound
from nmap.place.congestion import relieve
from nmap.place.links import link_loads, tree_hops, ways
from nmap.place.metric import measure
from nmap.place.moves import Annealer, Where
from nmap.place.multicast import TreeAnnealer, as_pairs, listed_routes, merged
from nmap.place.problem import Nets, PlacementProblem, check_placement, largest_link, moved_clusters, placement_cost

FABRICS = {
    "mesh": Fabric(),
    "torus": Fabric((4, 3), wrap=True),
    "hexagonal": Fabric((4, 3), hexagonal=True),
    "hexagonal torus": Fabric((4, 3), wrap=True, hexagonal=True),
    "chips": Fabric((4, 3), chip=(2, 3), crossing=3),
    "dead link": Fabric((4, 3), dead=((1, 0, 2, 0), (1, 1, 1, 2))),
}
PARTITIONERS = [nmap_greedy.PARTITIONER, nmap_cpsat.PARTITIONER]


def random_nets(rng, clusters, count):
    source = rng.integers(-1, clusters, count)
    rows = [np.setdiff1d(np.flatnonzero(rng.random(clusters) < 0.5), [s]) for s in source]
    return Nets(source, np.cumsum([0, *map(len, rows)]), np.concatenate(rows), rng.integers(1, 40, count) / 4)


def random_problem(seed, fabric, multicast, clusters=4, slots=6, constraints=True):
    rng = np.random.default_rng([seed, 3])
    routers = np.array([(x, y) for y in range(3) for x in range(4)])
    chosen = routers[np.sort(rng.integers(0, 12, slots))]
    kind = rng.integers(0, 2, slots) if constraints and seed % 2 else None
    somewhere = rng.permutation(slots)[:clusters]
    pinned = np.where(np.arange(clusters) == seed % clusters, somewhere, -1) if constraints and seed % 3 == 0 else None
    home = np.where(rng.random(clusters) < 0.7, rng.permutation(slots)[:clusters], -1) if constraints and seed % 5 < 2 else None
    nets = random_nets(rng, clusters, 6)
    net = np.repeat(np.arange(6), np.diff(nets.start))
    return PlacementProblem(
        clusters, Board(chosen, (1, 2), fabric, kind=kind), nets.source[net], nets.target, nets.weight[net], nets, multicast,
        None if kind is None else kind[somewhere], pinned, home, 1.75,
    )


def walk(problem, slot):
    """The objective and the loads of links, hop by hop along the fabric's routes."""
    board, nets = problem.board, problem.nets
    total, loads = 0.0, defaultdict(float)
    for k, source in enumerate(nets.source.tolist()):
        start = board.slots[slot[source]] if source >= 0 else np.array(board.port)
        taken = []
        for target in nets.target[nets.start[k] : nets.start[k + 1]]:
            way = board.fabric.route(start, board.slots[slot[target]]).tolist()
            taken += [(*a, *b) for a, b in itertools.pairwise(way)]
        for link in set(taken) if problem.multicast else taken:
            loads[link] += nets.weight[k]
            total += nets.weight[k] * int(board.fabric.hops(np.array(link[:2]), np.array(link[2:])))
    if problem.home is not None:
        total += problem.move_cost * sum(h not in (-1, s) for h, s in zip(problem.home.tolist(), slot.tolist(), strict=True))
    return total, dict(loads)


def all_placements(problem):
    for slots in itertools.permutations(range(problem.board.size), problem.clusters):
        slot = np.array(slots)
        if problem.kind is not None and (problem.board.kind[slot] != problem.kind).any():
            continue
        if problem.pinned is None or ((problem.pinned < 0) | (problem.pinned == slot)).all():
            yield slot


@pytest.mark.parametrize("multicast", [False, True])
@pytest.mark.parametrize("fabric", FABRICS)
def test_cost_and_loads_are_those_of_a_walk(fabric, multicast):
    for seed in range(8):
        problem = random_problem(seed, FABRICS[fabric], multicast)
        slot = np.random.default_rng(seed).permutation(6)[:4]
        total, loads = walk(problem, slot)
        assert placement_cost(problem, slot) == pytest.approx(total)
        found = link_loads(problem.board, slot, problem.source, problem.target, problem.weight, problem.nets if multicast else None)
        assert {tuple(link): load for link, load in zip(found.link.tolist(), found.load.tolist(), strict=True)} == pytest.approx(loads)
        assert largest_link(problem, slot) == pytest.approx(max(loads.values(), default=0.0))


@pytest.mark.parametrize("multicast", [False, True])
@pytest.mark.parametrize("fabric", FABRICS)
def test_small_problems_against_all_placements(fabric, multicast):
    for seed in range(3):
        problem = random_problem(seed, FABRICS[fabric], multicast)
        best = min(placement_cost(problem, slot) for slot in all_placements(problem))
        assert packet_bound(problem) <= best + 1e-9
        assert gilmore_lawler_bound(problem) <= best + 1e-9
        for partitioner in PARTITIONERS:
            answer = partitioner.place(problem, Budget(0, seed))
            check_placement(problem, answer)
            assert answer.lower_bound <= best + 1e-9
            assert answer.objective <= 1.1 * best + 1e-9
            assert answer.max_link == pytest.approx(max(walk(problem, answer.slot)[1].values(), default=0.0))
            assert answer.moved == moved_clusters(problem, answer.slot)
            if answer.status == "optimal":
                assert answer.objective == pytest.approx(best)
        if not multicast:
            assert answer.status == "optimal"


@pytest.mark.parametrize("tabled", [False, True])
@pytest.mark.parametrize("fabric", FABRICS)
def test_moves_of_pairs_add_up_exactly(fabric, tabled):
    for seed in range(6):
        problem = random_problem(seed, FABRICS[fabric], False, clusters=9, slots=14)
        engine = Annealer(problem)
        slot = start_order(problem)
        m, state = engine.metric, np.array([seed + 1], np.uint64)
        at = Where(slot.copy(), np.full(14, -1, np.int64), m.x[slot], m.y[slot])
        at.holder[slot] = np.arange(9)
        if tabled:
            engine._cooled(at, 0.0)
        for temperature in (1e15, 1e12, 0.0):
            before = placement_cost(problem, at.slot)
            change = engine._try(at, 40, 3, temperature, state)[0]
            assert placement_cost(problem, at.slot) - before == pytest.approx(change / engine.traffic.scale, abs=1e-6)
        assert np.array_equal(at.px, m.x[at.slot])
        assert np.array_equal(np.flatnonzero(at.holder >= 0), np.sort(at.slot))
        assert np.array_equal(at.slot[at.holder[at.slot]], at.slot)


@pytest.mark.parametrize("fabric", FABRICS)
def test_moves_of_trees_add_up_exactly(fabric):
    for seed in range(6):
        problem = random_problem(seed, FABRICS[fabric], True, clusters=9, slots=14)
        listed = problem.board.fabric.hexagonal or problem.board.fabric.faulty
        nets = merged(problem.nets)
        engine = TreeAnnealer(problem, nets, listed_routes(problem.board) if listed else None)
        slot = start_order(problem)
        m, state = engine.metric, np.array([seed + 1], np.uint64)
        at = Where(slot.copy(), np.full(14, -1, np.int64), m.x[slot], m.y[slot])
        at.holder[slot] = np.arange(9)
        engine._begin(at)
        assert engine._cost.tolist() == tree_hops(problem.board, nets, slot).tolist()
        for temperature in (1e15, 0.0):
            before = placement_cost(problem, at.slot)
            change = engine._try(at, 60, 3, temperature, state)[0]
            assert placement_cost(problem, at.slot) - before == pytest.approx(change / engine._scale, abs=1e-6)
        assert engine._cost.tolist() == tree_hops(problem.board, nets, at.slot).tolist()


def test_merged_nets_cost_the_same_and_are_fewer():
    nets = Nets([0, 0, -1, 2, 0], [0, 2, 4, 5, 5, 7], [1, 2, 2, 1, 0, 0, 1], [1.0, 2.5, 4.0, 9.0, 0.5])
    found = merged(nets)
    rows = [
        (int(found.source[k]), *found.target[found.start[k] : found.start[k + 1]].tolist(), float(found.weight[k]))
        for k in range(found.source.size)
    ]
    assert sorted(rows) == [(-1, 0, 4.0), (0, 1, 0.5), (0, 1, 2, 3.5)]
    problem = PlacementProblem(3, Board([[0, 0], [1, 0], [2, 0]]), [], [], [], nets, True)
    assert as_pairs(problem).weight.sum() == 2 + 5 + 4 + 0.5 + 0.5


def test_multicast_search_beats_pairs_on_trees():
    rng = np.random.default_rng(5)
    nets = random_nets(rng, 25, 60)
    slots = np.array([(x, y) for y in range(5) for x in range(5)])
    net = np.repeat(np.arange(60), np.diff(nets.start))
    problem = PlacementProblem(25, Board(slots), nets.source[net], nets.target, nets.weight[net], nets, True)
    pairs = search(replace(problem, multicast=False), 0, 1)
    assert placement_cost(problem, search(problem, 0, 1)) < placement_cost(problem, pairs)


def test_homes_keep_clusters_unless_moving_pays():
    rng = np.random.default_rng(3)
    slots = np.array([(x, y) for y in range(6) for x in range(6)])
    source, target = rng.integers(0, 30, 90), rng.integers(0, 30, 90)
    fresh = PlacementProblem(30, Board(slots), source, target, rng.integers(1, 50, 90))
    old = search(fresh, 1, 0)
    # The core of cluster 4 dies: its slot goes, the others keep theirs under new numbers.
    keep = np.setdiff1d(np.arange(36), [old[4]])
    number = np.full(36, -1)
    number[keep] = np.arange(35)
    board = Board(slots[keep])
    costly = replace(fresh, board=board, home=number[old], move_cost=1e5)
    answer = nmap_greedy.PARTITIONER.place(costly, Budget(1, 0))
    assert answer.moved == 0
    best = min(
        placement_cost(costly, np.where(np.arange(30) == 4, free, number[old])) for free in np.setdiff1d(np.arange(35), number[old])
    )
    assert answer.objective == pytest.approx(best)
    cheap = nmap_greedy.PARTITIONER.place(replace(costly, move_cost=0.0), Budget(1, 0))
    assert cheap.objective <= answer.objective
    assert nmap_greedy.PARTITIONER.place(replace(costly, move_cost=1.0), Budget(1, 0)).objective <= answer.objective


def test_assignment_is_the_cheapest_of_all():
    for seed in range(10):
        rng = np.random.default_rng(seed)
        cost = rng.integers(-2, 20, (3, 5))
        options = [p for p in itertools.permutations(range(5), 3) if all(cost[k, c] >= 0 for k, c in enumerate(p))]
        found = assignment(cost)
        if not options:
            assert found is None
            continue
        assert cost[np.arange(3), found].sum() == min(sum(cost[k, c] for k, c in enumerate(p)) for p in options)


def test_settled_clusters_without_traffic_between_them_are_optimal():
    slots = np.array([(x, y) for y in range(3) for x in range(3)])
    problem = PlacementProblem(5, Board(slots), [0, 0, 1, 2, -1], [3, 4, 3, 4, 3], [3.0, 5.0, 2.0, 7.0, 1.0])
    slot = np.array([0, 4, 8, -1, -1])
    free = [1, 2, 3, 5, 6, 7]
    best = min(placement_cost(problem, np.array([0, 4, 8, a, b])) for a, b in itertools.permutations(free, 2))
    settled = settle(problem, slot)
    assert settled[:3].tolist() == [0, 4, 8]
    assert placement_cost(problem, settled) == best


def test_relief_lowers_the_heaviest_link_at_the_same_cost():
    # All three packets leave east along one row. Mirrored at the diagonal they turn off at once, on links of their own.
    slots = np.array([(x, y) for y in range(3) for x in range(3)])
    problem = PlacementProblem(4, Board(slots, (1, 1)), [0, 0, 0], [1, 2, 3], [1.0, 1.0, 1.0])
    slot = np.array([0, 2, 5, 8])
    assert largest_link(problem, slot) == 3.0
    calm = relieve(problem, slot, 1)
    assert placement_cost(problem, calm) <= placement_cost(problem, slot)
    assert largest_link(problem, calm) < 3.0


def test_ways_are_the_fabrics_routes():
    rng = np.random.default_rng(0)
    for fabric in FABRICS.values():
        first, second = rng.integers(0, [4, 3], (30, 2)), rng.integers(0, [4, 3], (30, 2))
        start, link = ways(fabric, first, second)
        for k in range(30):
            route = fabric.route(first[k], second[k])
            assert link[start[k] : start[k + 1]].tolist() == np.concatenate([route[:-1], route[1:]], 1).tolist()


@pytest.mark.parametrize("fabric", FABRICS)
def test_measured_distances_are_the_boards(fabric):
    slots = np.array([(x, y) for y in range(3) for x in range(4) for _ in range(2)])[::-1]
    board = Board(slots, (3, 1), FABRICS[fabric])
    metric = measure(board)
    if metric.separable:
        found = metric.across[np.ix_(metric.x, metric.x)] + metric.up[np.ix_(metric.y, metric.y)]
    else:
        found = metric.matrix[np.ix_(metric.place, metric.place)]
    assert np.array_equal(found, board.hops())
    assert metric.separable == (fabric in ("mesh", "torus", "chips"))


def test_chips_first_is_no_worse_than_one_large_mesh():
    # Four groups of four, each with much traffic inside, listed in turn: a chip each.
    group = np.arange(16) % 4
    pairs = [(a, b) for a in range(16) for b in range(a) if group[a] == group[b]] + [(a, a + 1) for a in range(15)]
    source, target = np.array(pairs).T
    slots = np.array([(x, y) for y in range(4) for x in range(4)])
    board = Board(slots, fabric=Fabric((4, 4), chip=(2, 2), crossing=10))
    problem = PlacementProblem(16, board, source, target, np.where(np.arange(source.size) < 24, 9.0, 1.0))
    found = search(problem, 1, 0)
    chip = board.slots[found] // 2
    assert all(np.unique(chip[group == g], axis=0).shape[0] == 1 for g in range(4))
    unaware = search(replace(problem, board=Board(slots)), 1, 0)
    assert placement_cost(problem, found) <= placement_cost(problem, unaware)


def test_search_is_stopped_at_once_and_tells_cost_and_bound():
    problem = random_problem(4, Fabric(), False, clusters=9, slots=14, constraints=False)
    lines: list[str] = []
    search(problem, 0, 0, lines.append, None, 1.0)
    assert lines
    assert all("at least 1" in line and "placement" in line for line in lines)
    assert np.array_equal(search(problem, 2, 0, stopped=lambda: True), search(problem, 0, 5, stopped=lambda: True))
