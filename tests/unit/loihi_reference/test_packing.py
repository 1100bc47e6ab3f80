from __future__ import annotations

import numpy as np
import pytest

from nmap.partition.partitioner import Budget
from nmap.partition.problem import CoreClass, Item, PackingProblem, check_packing
from nmap_loihi_reference import PARTITIONER


def item(size, per_unit=1, most=None):
    most = size if most is None else most
    return Item(f"item of {size}", size, np.arange(most + 1)[None] * per_unit, np.array([float(size * per_unit)]))


def solve(problem):
    answer = PARTITIONER.pack(problem, Budget())
    if answer.pieces:
        check_packing(problem, answer)
    return answer


def test_no_two_pieces_share_a_core():
    """Three items of one, two and three units fit one core of ten, and get one each."""
    answer = solve(PackingProblem(("slots",), np.array([10]), (item(1), item(2), item(3)), 5))
    assert [(piece.item, piece.units, piece.cluster) for piece in answer.pieces] == [(0, 1, 0), (1, 2, 1), (2, 3, 2)]
    assert (answer.clusters, answer.lower_bound, answer.status) == (3, 1, "feasible")


def test_one_piece_on_one_core_is_proved():
    assert solve(PackingProblem(("slots",), np.array([10]), (item(9),), 5)).status == "optimal"


def test_an_item_beyond_its_table_is_cut_into_largest_pieces():
    answer = solve(PackingProblem(("slots",), np.array([10]), (item(23, most=10),), 5))
    assert [piece.units for piece in answer.pieces] == [10, 10, 3]


@pytest.mark.parametrize(("cores", "status"), [(2, "unknown"), (1, "unknown"), (0, "infeasible")])
def test_a_machine_too_small_for_its_way_is_told_from_one_too_small_for_any(cores, status):
    """Three small items fit one core together, which this way of cutting cannot use."""
    answer = solve(PackingProblem(("slots",), np.array([10]), (item(1), item(2), item(3)), cores))
    assert (answer.pieces, answer.status, answer.clusters, answer.lower_bound) == ((), status, 3, 1)


def test_small_cores_take_small_pieces_and_halves_of_large_ones():
    """One core of ten and five of four units: nine units lie on the large one, and seven are halved."""
    classes = (CoreClass(np.array([4]), 5), CoreClass(np.array([10]), 1))
    problem = PackingProblem(("slots",), np.array([10]), (item(3), item(7), item(9)), 6, classes=classes)
    answer = solve(problem)
    assert [(piece.item, piece.units) for piece in answer.pieces] == [(0, 3), (1, 4), (1, 3), (2, 9)]
    assert answer.kind == (0, 0, 0, 1)


def test_pieces_without_a_core_of_their_class_are_no_proof():
    """Two units fit the core that is left over, one by one; the partitioner needs three cores."""
    classes = (CoreClass(np.array([1]), 1), CoreClass(np.array([10]), 1))
    assert solve(PackingProblem(("slots",), np.array([10]), (item(2), item(2)), 2, classes=classes)).status == "unknown"


def test_what_cores_in_use_hold_stays_alone():
    """Two cores are in use, one of them nearly empty: new pieces get cores of their own, after them."""
    answer = solve(PackingProblem(("slots",), np.array([10]), (item(2), item(3)), 4, taken=np.array([[9], [1]])))
    assert [(piece.item, piece.cluster) for piece in answer.pieces] == [(0, 2), (1, 3)]
    assert answer.clusters == 4
    full = solve(PackingProblem(("slots",), np.array([10]), (item(2), item(3)), 3, taken=np.array([[9], [1]])))
    assert full.status == "unknown"


def test_nothing_to_pack():
    answer = solve(PackingProblem(("slots",), np.array([10]), (), 4))
    assert (answer.clusters, answer.pieces) == (0, ())
