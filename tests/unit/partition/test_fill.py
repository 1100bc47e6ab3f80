from __future__ import annotations

import numpy as np
import pytest

from nmap.partition.fill import Filled, balance, fill, finish, quality, spend_slack
from nmap.partition.problem import CoreClass, Item, PackingProblem, Piece, area_bound, check_packing


def item(name, size, fixed, per_unit, capacity, floor=None):
    """Demand fixed + per_unit n on each resource, cut off at the capacity."""
    n = np.arange(size + 1)
    table = np.array([[0 if k == 0 else f + p * k for k in n] for f, p in zip(fixed, per_unit, strict=True)])
    most = int(np.flatnonzero((table <= np.array(capacity)[:, None]).all(0))[-1])
    return Item(name, size, table[:, : most + 1], np.zeros(len(capacity)) if floor is None else floor)


def problem(items, capacity, cores=100, slack=0.0):
    return PackingProblem(tuple(f"r{k}" for k in range(len(capacity))), capacity, tuple(items), cores, slack)


def packed(units):
    """A packing on cores of one class."""
    return Filled(np.array(units), np.zeros(len(units[0]), np.int64))


def test_area_bound_takes_the_better_of_floor_and_table():
    cap = (10, 100)
    # Pieces of at most 10 units; a piece pays 20 for its inputs: 30 units take 3 cores by units, and 3 x 20 + 30 x 4 = 180 of 100.
    one = item("a", 30, (0, 20), (1, 4), cap)
    assert area_bound(problem([one], cap)) == 3
    assert area_bound(problem([item("a", 30, (0, 20), (1, 4), cap, np.array([0.0, 501.0]))], cap)) == 6
    assert area_bound(problem([], cap)) == 0


def test_joins_is_false_where_two_pieces_beat_one():
    cap = np.array([10])
    assert item("a", 9, (3,), (1,), cap).joins(cap)
    # Two single units take 2, a piece of two takes 5.
    assert not Item("b", 2, np.array([[0, 1, 5]]), np.zeros(1)).joins(cap)
    # The largest piece is one unit, and yet two of them fit a core.
    split = Item("c", 2, np.array([[0, 1]]), np.zeros(1))
    assert not split.joins(cap)
    assert area_bound(problem([split], (10,))) == 1
    assert area_bound(problem([Item("d", 2, np.array([[0, 6]]), np.zeros(1))], (10,))) == 2


def test_most_units_looks_at_every_resource():
    cap = (10, 100)
    a = item("a", 30, (0, 20), (1, 4), cap)
    assert a.most_units(np.array([[10, 100], [3, 100], [10, 29], [10, 19], [0, 0]])).tolist() == [10, 3, 2, 0, 0]


def test_fill_reaches_hand_made_optimum_where_remainders_share():
    cap = (10,)
    # 14 + 6: one full core, 4 + 6 share the other.
    p = problem([item("a", 14, (0,), (1,), cap), item("b", 6, (0,), (1,), cap)], cap)
    filled = fill(p)
    assert filled.clusters == 2
    assert quality(p, filled) == (False, 2, 1, 1)


def test_balance_evens_pieces_without_overfilling():
    cap = (10,)
    p = problem([item("a", 14, (0,), (1,), cap), item("b", 5, (0,), (1,), cap)], cap)
    assert balance(p, packed([[10, 4], [0, 5]])).units.tolist() == [[9, 5], [0, 5]]
    assert balance(p, packed([[10, 4, 0], [0, 0, 5]])).units.tolist() == [[7, 7, 0], [0, 0, 5]]


def test_finish_orders_clusters_along_the_items_and_names_the_status():
    cap = (10,)
    p = problem([item("a", 14, (0,), (1,), cap), item("b", 16, (0,), (1,), cap)], cap)
    # Cluster 0 is shared; it belongs between a's own and b's own.
    solution = finish(p, packed([[4, 10, 0], [6, 0, 10]]), 3)
    assert solution.status == "optimal"
    assert [(x.item, x.cluster) for x in solution.pieces] == [(0, 0), (0, 1), (1, 1), (1, 2)]
    check_packing(p, solution)
    too_few = problem(p.items, cap, cores=2)
    assert finish(too_few, packed([[4, 10, 0], [6, 0, 10]]), 3).status == "infeasible"
    assert finish(too_few, packed([[4, 10, 0], [6, 0, 10]]), 2).status == "unknown"


def test_slack_buys_fewer_pieces_only():
    cap = (10,)
    items = [item(f"i{k}", 7, (0,), (1,), cap) for k in range(10)]
    tight = problem(items, cap)
    filled = fill(tight)
    assert filled.clusters == 7
    assert spend_slack(tight, filled) is filled
    loose = spend_slack(problem(items, cap, slack=0.5), filled)
    assert (loose.clusters, int((loose.units > 0).sum())) == (10, 10)
    assert spend_slack(problem(items, cap, cores=9, slack=0.5), filled).clusters <= 9


@pytest.mark.parametrize(("pieces", "clusters", "text"), [
    ((Piece(0, 9, 0), Piece(0, 4, 1)), 2, "all units"),
    ((Piece(0, 14, 0),), 1, "does not fit"),
    ((Piece(0, 10, 0), Piece(0, 4, 0)), 1, "over their budget"),
    ((Piece(0, 10, 0), Piece(0, 4, 2)), 3, "empty"),
    ((Piece(0, 10, 0), Piece(0, 4, 5)), 2, "no such"),
])
def test_check_packing_refuses(pieces, clusters, text):
    cap = (10,)
    p = problem([item("a", 14, (0,), (1,), cap)], cap)
    good = finish(p, fill(p), 2)
    check_packing(p, good)
    bad = type(good)(pieces, clusters, 1, "feasible")
    with pytest.raises(ValueError, match=text):
        check_packing(p, bad)


def test_classes_are_filled_by_what_they_can_hold():
    # Two large cores and five small ones that lack the second resource altogether.
    classes = (CoreClass(np.array([10, 8]), 2), CoreClass(np.array([6, 0]), 5))
    cap = (10, 8)
    both = item("both", 8, (0, 0), (1, 1), cap)
    plain = item("plain", 20, (0, 0), (1, 0), cap)
    p = PackingProblem(("a", "b"), np.array(cap), (both, plain), 7, classes=classes)
    # 28 of the first resource: 10 + 10 + 6 leaves 2 for a fourth core.
    assert area_bound(p) == 4
    answer = finish(p, fill(p), area_bound(p))
    check_packing(p, answer)
    assert (answer.status, answer.clusters) == ("optimal", 4)
    assert sorted(answer.kind) == [0, 0, 1, 1]
    with pytest.raises(ValueError, match="core class"):
        check_packing(p, type(answer)(answer.pieces, 4, 4, "optimal"))
    with pytest.raises(ValueError, match="more cores of a class"):
        check_packing(p, type(answer)(answer.pieces, 4, 4, "optimal", None, (0, 0, 0, 1)))
    # Without the second large core 28 units take 10 + 6 + 6 + 6.
    few = PackingProblem(("a", "b"), np.array(cap), (both, plain), 7, classes=(CoreClass(np.array([10, 8]), 1), classes[1]))
    assert area_bound(few) == 4
    none = PackingProblem(("a", "b"), np.array(cap), (both, plain), 7, classes=(CoreClass(np.array([10, 8]), 0), classes[1]))
    # 8 of the second resource fit nowhere, 28 of the first would take five of the small cores.
    assert finish(none, fill(none), area_bound(none)).pieces == ()


def test_taken_cores_come_first_and_cost_nothing():
    cap = (10,)
    p = PackingProblem(("r",), np.array(cap), (item("a", 16, (1,), (1,), cap),), 9, taken=np.array([[4], [10]]))
    # Five units fit the first taken core, none the second, nine each a new one.
    assert area_bound(p) == 2 + 2
    answer = finish(p, fill(p), 4)
    check_packing(p, answer)
    assert (answer.clusters, answer.status) == (4, "optimal")
    assert {piece.cluster for piece in answer.pieces} <= {0, 2, 3}
    idle = PackingProblem(("r",), np.array(cap), (), 9, taken=np.array([[4], [10]]))
    assert finish(idle, fill(idle), area_bound(idle)).clusters == 2
    with pytest.raises(ValueError, match="given away"):
        PackingProblem(("r",), np.array(cap), (), 9, taken=np.array([[11]]))
    with pytest.raises(ValueError, match="capacity"):
        PackingProblem(("r",), np.array(cap), (), 9, classes=(CoreClass(np.array([11]), 1),))
