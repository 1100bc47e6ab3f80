"""Distances and routes of every kind of fabric, against shortest paths in a graph that is built link by link."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.place import board as module
from nmap.place.board import Board, Fabric, fabric_code
from nmap.place.hops import hops_kernel


def graph(fabric: Fabric) -> nx.Graph:
    """The fabric as its definition says: one node a router, one edge a link."""
    assert fabric.size is not None
    width, height = fabric.size
    made = nx.Graph()
    made.add_nodes_from(itertools.product(range(width), range(height)))
    for x, y in list(made):
        for dx, dy in [(1, 0), (0, 1), *([(1, 1)] if fabric.hexagonal else [])]:
            weight = 1
            for w, h, crossing in ([(*fabric.chip, fabric.crossing)] if fabric.chip else []) + list(fabric.larger):
                weight += crossing * (((x + dx) // w != x // w) + ((y + dy) // h != y // h))
            if fabric.wrap:
                there = ((x + dx) % width, (y + dy) % height)
            elif x + dx < width and y + dy < height:
                there = (x + dx, y + dy)
            else:
                continue
            if there != (x, y) and not made.has_edge((x, y), there):
                made.add_edge((x, y), there, weight=weight)
    for x1, y1, x2, y2 in fabric.dead:
        if made.has_edge((x1, y1), (x2, y2)):
            made.remove_edge((x1, y1), (x2, y2))
    made.remove_nodes_from(fabric.missing)
    return made


def shortest(fabric: Fabric) -> dict[tuple[int, int], dict[tuple[int, int], int]]:
    return {a: dict(found) for a, found in nx.all_pairs_dijkstra_path_length(graph(fabric))}


def routers(fabric: Fabric) -> np.ndarray:
    assert fabric.size is not None
    gone = set(fabric.missing)
    return np.array([place for place in itertools.product(range(fabric.size[0]), range(fabric.size[1])) if place not in gone])


UNITS = [(None, 0, ()), ((1, 1), 2, ()), ((2, 2), 3, ()), ((2, 1), 1, ((4, 2, 2),))]
FABRICS = [
    Fabric(size, wrap, hexagonal, chip, crossing, larger)
    for size in [(1, 3), (2, 2), (3, 5), (4, 6)] for wrap in (False, True) for hexagonal in (False, True)
    for chip, crossing, larger in UNITS
    if not wrap or all(size[0] % w == 0 and size[1] % h == 0 for w, h, _ in ([(*chip, 0)] if chip else []) + list(larger))
]


@pytest.mark.parametrize("fabric", FABRICS, ids=str)
def test_distances_are_those_of_shortest_paths(fabric: Fabric) -> None:
    found, places = shortest(fabric), routers(fabric)
    want = np.array([[found[tuple(a)][tuple(b)] for b in places.tolist()] for a in places.tolist()])
    assert np.array_equal(fabric.hops(places[:, None], places[None]), want)
    assert np.array_equal(Board(places, fabric=fabric).hops(), want)
    code, params = fabric_code(fabric)
    assert [[hops_kernel(code, params, *a, *b) for b in places] for a in places] == want.tolist()


@pytest.mark.parametrize("fabric", FABRICS, ids=str)
def test_routes_follow_links_and_are_as_long_as_the_distance(fabric: Fabric) -> None:
    found, places = shortest(fabric), routers(fabric)
    links = {tuple(link) for link in fabric.links().tolist()}
    assert links == {(*a, *b) for u, v in graph(fabric).edges for a, b in ((u, v), (v, u))}
    for a, b in itertools.product(places, places):
        way = fabric.route(a, b)
        assert way[0].tolist() == a.tolist()
        assert way[-1].tolist() == b.tolist()
        steps = list(zip(way[:-1].tolist(), way[1:].tolist(), strict=True))
        assert all((*here, *there) in links for here, there in steps)
        assert sum(found[tuple(here)][tuple(there)] for here, there in steps) == found[tuple(a.tolist())][tuple(b.tolist())]


def way(fabric: Fabric, first: tuple[int, int], second: tuple[int, int]) -> list[tuple[int, int]]:
    return [(x, y) for x, y in fabric.route(np.array(first), np.array(second)).tolist()]


def test_packets_go_along_x_first() -> None:
    assert way(Fabric(), (0, 0), (2, 1)) == [(0, 0), (1, 0), (2, 0), (2, 1)]
    assert way(Fabric(), (2, 1), (0, 0)) == [(2, 1), (1, 1), (0, 1), (0, 0)]
    assert way(Fabric(), (1, 1), (1, 1)) == [(1, 1)]


def test_packets_go_the_shorter_way_round_a_torus_and_the_positive_one_of_two_equal_ones() -> None:
    torus = Fabric((4, 5), wrap=True)
    assert way(torus, (0, 0), (3, 0)) == [(0, 0), (3, 0)]
    assert way(torus, (3, 0), (1, 0)) == [(3, 0), (0, 0), (1, 0)]
    assert way(torus, (1, 0), (3, 0)) == [(1, 0), (2, 0), (3, 0)]
    assert way(torus, (0, 1), (0, 4)) == [(0, 1), (0, 0), (0, 4)]


def test_packets_go_the_longest_dimension_first_on_a_hexagonal_fabric() -> None:
    grid = Fabric(hexagonal=True)
    # (5, 2) is 2 diagonal steps and 3 along x, (2, 5) the same with 3 along y; the others have more diagonal steps than along one axis.
    assert way(grid, (0, 0), (5, 2)) == [(0, 0), (1, 0), (2, 0), (3, 0), (4, 1), (5, 2)]
    assert way(grid, (0, 0), (2, 5)) == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 4), (2, 5)]
    assert way(grid, (0, 0), (3, 2)) == [(0, 0), (1, 1), (2, 2), (3, 2)]
    assert way(grid, (0, 0), (-3, -4)) == [(0, 0), (-1, -1), (-2, -2), (-3, -3), (-3, -4)]
    assert way(grid, (0, 0), (4, 2)) == [(0, 0), (1, 0), (2, 0), (3, 1), (4, 2)], "of equally long ones, x comes before the diagonal"
    # Signs that differ share nothing: y is the longer.
    assert way(grid, (0, 0), (1, -2)) == [(0, 0), (0, -1), (0, -2), (1, -2)]
    assert way(grid, (0, 0), (1, -1)) == [(0, 0), (1, 0), (1, -1)]
    torus = Fabric((6, 6), wrap=True, hexagonal=True)
    assert way(torus, (0, 0), (5, 5)) == [(0, 0), (5, 5)]


def test_known_distances_by_hand() -> None:
    origin = np.zeros(2, np.int64)
    assert Fabric().hops(origin, np.array([3, -4])) == 7
    assert Fabric(hexagonal=True).hops(np.array([[0, 0]]), np.array([[3, 4], [3, -4], [-3, -1]])).tolist() == [4, 7, 3]
    # 12 x 12 SpiNNaker triads: (11, 1) is one step back and one up, (10, 10) two diagonal steps back.
    triads = Fabric((12, 12), wrap=True, hexagonal=True)
    assert triads.hops(origin, np.array([[11, 1], [10, 10], [6, 6], [11, 6]])).tolist() == [2, 2, 6, 6]
    # Two chips of 2 x 2 beside each other, 3 hops more between them.
    chips = Fabric((4, 2), chip=(2, 2), crossing=3)
    assert chips.hops(np.array([1, 0]), np.array([[2, 0], [3, 1], [0, 1]])).tolist() == [4, 6, 2]


@st.composite
def faulty(draw: st.DrawFn) -> Fabric:
    width, height = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    whole = Fabric((width, height), draw(st.booleans()), draw(st.booleans()), (1, 1), draw(st.integers(0, 2)))
    links, places = whole.links().tolist(), routers(whole).tolist()
    dead = draw(st.lists(st.sampled_from(links), max_size=6)) if links else []
    missing = draw(st.lists(st.sampled_from(places), max_size=3, unique_by=tuple))
    return Fabric(
        whole.size, whole.wrap, whole.hexagonal, whole.chip, whole.crossing, dead=tuple(tuple(link) for link in dead),
        missing=tuple(tuple(place) for place in missing),
    )


@settings(max_examples=60, deadline=None)
@given(fabric=faulty())
def test_ways_around_dead_links_are_shortest_paths(fabric: Fabric) -> None:
    found, places = shortest(fabric), routers(fabric)
    for a in places[:3].tolist():
        reached = np.array([tuple(b) in found[tuple(a)] for b in places.tolist()])
        assert np.array_equal(fabric.reached((a[0], a[1]), places), reached)
        together = places[reached]
        want = [[found[tuple(p)][tuple(q)] for q in together.tolist()] for p in together.tolist()]
        assert Board(together, (a[0], a[1]), fabric).hops().tolist() == want
        assert fabric.hops(together[:, None], together[None]).tolist() == want
        for b in together:
            way = fabric.route(np.array(a), b).tolist()
            steps = [(tuple(here), tuple(there)) for here, there in itertools.pairwise(way)]
            assert all(graph(fabric).has_edge(*step) for step in steps)
            assert (way[0], way[-1]) == (a, b.tolist())
            assert sum(found[here][there] for here, there in steps) == found[tuple(a)][tuple(b.tolist())]
        if not reached.all():
            with pytest.raises(ValueError, match="no way leads"):
                fabric.hops(np.array(a), places)
            with pytest.raises(ValueError, match="no way leads"):
                fabric.route(np.array(a), places[~reached][0])
            with pytest.raises(ValueError, match="no way leads"):
                Board(np.stack([np.array(a), places[~reached][0]]), fabric=fabric)


def test_a_dead_link_lengthens_the_ways_that_used_it() -> None:
    # 3 x 2 mesh; without (1, 0) - (2, 0) a packet goes up, right and down.
    fabric = Fabric((3, 2), dead=((2, 0, 1, 0),))
    board = Board(np.array([[0, 0], [1, 0], [2, 0], [2, 0]]), (0, 0), fabric)
    assert board.distance is not None
    assert board.hops().tolist() == [[0, 1, 4, 4], [1, 0, 3, 3], [4, 3, 0, 0], [4, 3, 0, 0]]
    assert board.port_hops().tolist() == [0, 1, 4, 4]
    assert board.hops_between(np.array([0, 1]), np.array([2, 3])).tolist() == [4, 3]
    assert not board.plain
    assert way(fabric, (0, 0), (2, 0)) == [(0, 0), (1, 0), (1, 1), (2, 1), (2, 0)]
    code, params = fabric_code(fabric)
    assert hops_kernel(code, params, 1, 0, 2, 0) == 1, "the kernel is a lower bound there"


def test_boards_too_large_for_a_matrix_ask_pair_by_pair_and_their_parts_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = Fabric((6, 5), dead=((2, 2, 3, 2), (2, 1, 3, 1)))
    places = routers(fabric)
    whole = Board(places, (5, 4), fabric)
    monkeypatch.setattr(module, "_MATRIX", 8)
    monkeypatch.setattr(module, "_ROWS", 70)
    large = Board(places, (5, 4), fabric)
    assert large.distance is None
    assert not large.plain
    assert np.array_equal(large.hops(), whole.hops())
    assert np.array_equal(large.port_hops(), whole.port_hops())
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, len(places), (2, 40))
    assert np.array_equal(large.hops_between(first, second), whole.hops()[first, second])
    chosen = np.array([3, 17, 9, 22])
    assert np.array_equal(large.part(chosen).distance, whole.hops()[np.ix_(chosen, chosen)])
    assert np.array_equal(large.part(chosen).port_hops(), whole.port_hops()[chosen])


def test_a_part_keeps_slots_port_fabric_and_kinds() -> None:
    board = Board(np.array([[0, 0], [1, 0], [2, 3]]), (2, 3), Fabric((4, 4), wrap=True), kind=np.array([0, 1, 0]))
    part = board.part(np.array([2, 1]))
    assert part.slots.tolist() == [[2, 3], [1, 0]]
    assert part.kind is not None
    assert part.kind.tolist() == [0, 1]
    assert (part.size, part.port, part.fabric) == (2, (2, 3), board.fabric)
    assert part.port_hops().tolist() == [0, 2]


def test_plain_boards_and_what_is_refused() -> None:
    assert Fabric().plain
    assert Fabric((3, 3), chip=(3, 3)).plain
    assert Fabric((6, 3), chip=(3, 3), crossing=0).plain
    assert not Fabric((6, 3), chip=(3, 3), crossing=1).plain
    assert not Fabric((3, 3), hexagonal=True).plain
    assert not Board(np.zeros((1, 2)), distance=np.zeros((1, 1))).plain
    for wrong in ({"wrap": True}, {"dead": ((0, 0, 1, 0),)}, {"size": (5, 4), "wrap": True, "chip": (2, 2), "crossing": 1}):
        with pytest.raises(ValueError, match="torus"):
            Fabric(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="endless"):
        Fabric().links()
    with pytest.raises(ValueError, match="symmetric"):
        Board(np.zeros((2, 2)), distance=np.array([[0, 1], [2, 0]]))
