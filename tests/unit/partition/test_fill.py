from __future__ import annotations

import numpy as np
import pytest

from nmap.partition.fill import balance, fill, finish, most_units, quality, spend_slack
from nmap.partition.problem import Item, PackingProblem, Piece, area_bound, check_packing


def item(name, size, fixed, per_unit, capacity, floor=None):
    """Demand fixed + per_unit n on each resource, cut off at the capacity."""
    n = np.arange(size + 1)
    table = np.array([[0 if k == 0 else f + p * k for k in n] for f, p in zip(fixed, per_unit, strict=True)])
    most = int(np.flatnonzero((table <= np.array(capacity)[:, None]).all(0))[-1])
    return Item(name, size, table[:, : most + 1], np.zeros(len(capacity)) if floor is None else floor)


def problem(items, capacity, cores=100, slack=0.0):
    return PackingProblem(tuple(f"r{k}" for k in range(len(capacity))), capacity, tuple(items), cores, slack)


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
    assert most_units(a, np.array([[10, 100], [3, 100], [10, 29], [10, 19], [0, 0]])).tolist() == [10, 3, 2, 0, 0]


def test_fill_reaches_hand_made_optimum_where_remainders_share():
    cap = (10,)
    # 14 + 6: one full core, 4 + 6 share the other.
    p = problem([item("a", 14, (0,), (1,), cap), item("b", 6, (0,), (1,), cap)], cap)
    units = fill(p)
    assert units.shape[1] == 2
    assert quality(p, units) == (2, 1, 1)


def test_balance_evens_pieces_without_overfilling():
    cap = (10,)
    p = problem([item("a", 14, (0,), (1,), cap), item("b", 5, (0,), (1,), cap)], cap)
    assert balance(p, np.array([[10, 4], [0, 5]])).tolist() == [[9, 5], [0, 5]]
    assert balance(p, np.array([[10, 4, 0], [0, 0, 5]])).tolist() == [[7, 7, 0], [0, 0, 5]]


def test_finish_orders_clusters_along_the_items_and_names_the_status():
    cap = (10,)
    p = problem([item("a", 14, (0,), (1,), cap), item("b", 16, (0,), (1,), cap)], cap)
    # Cluster 0 is shared; it belongs between a's own and b's own.
    solution = finish(p, np.array([[4, 10, 0], [6, 0, 10]]), 3)
    assert solution.status == "optimal"
    assert [(x.item, x.cluster) for x in solution.pieces] == [(0, 0), (0, 1), (1, 1), (1, 2)]
    check_packing(p, solution)
    too_few = problem(p.items, cap, cores=2)
    assert finish(too_few, np.array([[4, 10, 0], [6, 0, 10]]), 3).status == "infeasible"
    assert finish(too_few, np.array([[4, 10, 0], [6, 0, 10]]), 2).status == "unknown"


def test_slack_buys_fewer_pieces_only():
    cap = (10,)
    items = [item(f"i{k}", 7, (0,), (1,), cap) for k in range(10)]
    tight = problem(items, cap)
    units = fill(tight)
    assert units.shape[1] == 7
    assert spend_slack(tight, units) is units
    loose = spend_slack(problem(items, cap, slack=0.5), units)
    assert (loose.shape[1], int((loose > 0).sum())) == (10, 10)
    assert spend_slack(problem(items, cap, cores=9, slack=0.5), units).shape[1] <= 9


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
