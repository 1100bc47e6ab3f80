"""Placement where several slots share a router: groups, and the search that moves them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from nmap.connectivity import Array
from nmap.place.anneal import anneal, search
from nmap.place.board import Board, Fabric
from nmap.place.chips import ChipAnnealer, gather
from nmap.place.multicast import listed_routes, merged
from nmap.place.problem import Nets, PlacementProblem, check_placement, placement_cost


def _board(width: int, height: int, cores: int, hexagonal: bool = True) -> Board:
    slots = [(x, y) for y in range(height) for x in range(width) for _ in range(cores)]
    return Board(np.array(slots), fabric=Fabric((width, height), hexagonal=hexagonal))


def _problem(board: Board, clusters: int, nets: list[tuple[int, list[int], float]]) -> PlacementProblem:
    start = np.cumsum([0, *(len(targets) for _, targets, _ in nets)])
    packets = Nets(
        np.array([source for source, _, _ in nets]), start, np.array([t for _, targets, _ in nets for t in targets]),
        np.array([weight for _, _, weight in nets]),
    )
    none = np.zeros(0)
    return PlacementProblem(clusters, board, none, none, none, nets=packets, multicast=True)


def _modules(board: Board, modules: int, size: int, seed: int) -> tuple[PlacementProblem, Array]:
    """Modules on a ring under shuffled numbers: each cluster sends to its own module and to the next one."""
    number = np.random.default_rng(seed).permutation(modules * size).reshape(modules, size)
    nets = []
    for k in range(modules):
        for cluster in number[k].tolist():
            targets = sorted({*number[k].tolist(), *number[(k + 1) % modules].tolist()} - {cluster})
            nets.append((cluster, targets, 1.0))
    return _problem(board, modules * size, nets), number


def _route(a: tuple[int, int], b: tuple[int, int]) -> set[tuple[tuple[int, int], tuple[int, int]]]:
    """SpiNNaker's way, step by step: the longest of x, y and the diagonal first."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    slant = 0 if dx * dy <= 0 else min(dx, dy) if dx > 0 else max(dx, dy)
    legs = sorted([((1, 0), dx - slant), ((0, 1), dy - slant), ((1, 1), slant)], key=lambda leg: -abs(leg[1]))
    links, at = set(), a
    for (sx, sy), count in legs:
        for _ in range(abs(count)):
            to = (at[0] + sx * (1 if count > 0 else -1), at[1] + sy * (1 if count > 0 else -1))
            links.add((at, to))
            at = to
    return links


def _naive(problem: PlacementProblem, place: list[tuple[int, int]]) -> float:
    assert problem.nets is not None
    total = 0.0
    for k, source in enumerate(problem.nets.source.tolist()):
        links: set[tuple[tuple[int, int], tuple[int, int]]] = set()
        for target in problem.nets.target[problem.nets.start[k] : problem.nets.start[k + 1]].tolist():
            links |= _route(place[source], place[target])
        total += float(problem.nets.weight[k]) * len(links)
    return total


def _annealer(problem: PlacementProblem) -> ChipAnnealer:
    routes = listed_routes(problem.board)
    assert routes is not None
    assert problem.nets is not None
    return ChipAnnealer(problem, routes, merged(problem.nets))


def test_gather_joins_what_shares_packets() -> None:
    problem, number = _modules(_board(3, 3, 4), 3, 4, 1)
    assert problem.nets is not None
    head = np.arange(12)
    for a, b in gather(problem.nets, 12, 4).tolist():
        head[head == head[b]] = head[a]
    for module in number:
        assert np.unique(head[module]).size == 1
    assert np.unique(head).size == 3


def test_groups_stay_within_a_router() -> None:
    problem, _ = _modules(_board(3, 3, 4), 4, 5, 2)
    assert problem.nets is not None
    head = np.arange(20)
    for a, b in gather(problem.nets, 20, 3).tolist():
        head[head == head[b]] = head[a]
    assert np.bincount(head).max() <= 3


def test_clusters_without_packets_join_nothing() -> None:
    problem = _problem(_board(2, 2, 4), 5, [(0, [1], 1.0)])
    assert problem.nets is not None
    assert gather(problem.nets, 5, 4).tolist() == [[0, 1]]


@pytest.mark.parametrize("begin", [0, 1, 2, 9])
def test_every_cluster_gets_a_slot_of_its_own(begin: int) -> None:
    problem, _ = _modules(_board(3, 3, 4), 7, 5, 3)
    slot = _annealer(problem).run(5000, 4, begin)
    assert np.unique(slot).size == problem.clusters
    assert 0 <= slot.min() <= slot.max() < problem.board.size


def test_full_board_is_searched_with_smaller_groups() -> None:
    # Six pairs on four routers of three: two pairs must come apart.
    problem, _ = _modules(_board(2, 2, 3), 6, 2, 5)
    slot = _annealer(problem).run(5000, 0)
    assert sorted(slot.tolist()) == list(range(12))


def test_modules_end_at_routers_of_their_own() -> None:
    # Six modules of four on routers of four: a ring of six neighbours around a seventh router costs one link a spike.
    problem, number = _modules(_board(3, 3, 4), 6, 4, 6)
    slot = search(problem, 0, 0)
    for module in number:
        assert np.unique(problem.board.slots[slot[module]], axis=0).shape[0] == 1
    assert placement_cost(problem, slot) == 24


def test_cost_is_that_of_the_routes_walked_one_by_one() -> None:
    problem, _ = _modules(_board(4, 4, 2), 5, 4, 7)
    slot = search(problem, 0, 3)
    place = [tuple(at) for at in problem.board.slots[slot].tolist()]
    assert placement_cost(problem, slot) == _naive(problem, place)


def test_no_assignment_of_a_small_problem_is_cheaper() -> None:
    nets = [(0, [1, 2], 3.0), (1, [3], 1.0), (2, [4, 0], 2.0), (3, [0, 4], 5.0), (4, [1], 2.0)]
    problem = _problem(_board(2, 2, 2), 5, nets)
    routers = [(0, 0), (1, 0), (0, 1), (1, 1)]
    least = min(
        _naive(problem, list(place)) for place in product(routers, repeat=5) if max(place.count(router) for router in routers) <= 2
    )
    solution = anneal(problem, 0, 0)
    check_placement(problem, solution)
    assert solution.objective == least


def test_same_seed_same_answer() -> None:
    problem, _ = _modules(_board(4, 4, 4), 9, 5, 8)
    assert search(problem, 0, 5).tolist() == search(problem, 0, 5).tolist()


def test_packets_from_the_port_draw_their_targets() -> None:
    problem = _problem(_board(3, 3, 2), 3, [(-1, [2], 10.0), (0, [1], 1.0)])
    slot = search(problem, 0, 0)
    assert problem.board.slots[slot[2]].tolist() == [0, 0]
    assert placement_cost(problem, slot) == 0


def test_stopped_search_still_answers() -> None:
    problem, _ = _modules(_board(3, 3, 4), 7, 4, 9)
    slot = _annealer(problem).run(100_000, 0, 0, lambda: True)
    assert np.unique(slot).size == problem.clusters


def test_constraints_are_left_to_the_other_search() -> None:
    problem, _ = _modules(_board(3, 3, 4), 5, 4, 10)
    routes = listed_routes(problem.board)
    assert routes is not None
    assert problem.nets is not None
    pinned = np.full(problem.clusters, -1)
    pinned[3] = 7
    held = replace(problem, pinned=pinned)
    assert ChipAnnealer.fits(problem, routes, problem.nets)
    assert not ChipAnnealer.fits(held, routes, problem.nets)
    assert search(held, 0, 0)[3] == 7
    alone = replace(problem, board=_board(5, 5, 1))
    single = listed_routes(alone.board)
    assert single is not None
    assert not ChipAnnealer.fits(alone, single, problem.nets)
