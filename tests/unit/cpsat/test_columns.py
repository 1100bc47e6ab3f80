"""Column generation: bounds below the true optimum, answers feasible, fractions safe."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.partition.fill import fill
from nmap.partition.partitioner import Budget
from nmap.partition.problem import CoreClass, Item, PackingProblem, area_bound, check_packing
from nmap.testing.problems import slices
from nmap_cpsat import PARTITIONER
from nmap_cpsat.columns import Bins, bins_of, generate, proved, types_of


def item(name, size, fixed, slope, capacity):
    units = np.arange(size + 1)
    table = np.where(units > 0, np.array(fixed)[:, None] + np.array(slope)[:, None] * units, 0)
    most = int(np.flatnonzero((table <= np.array(capacity)[:, None]).all(0))[-1])
    return Item(name, size, table[:, : most + 1], np.zeros(len(capacity)))


@st.composite
def problems(draw):
    """Items with a fixed price per piece on cores of up to two classes, one core perhaps in use."""
    capacity = np.array([draw(st.integers(6, 9)), draw(st.integers(6, 12))])
    items = []
    for k in range(draw(st.integers(1, 3))):
        fixed, slope = (0, draw(st.integers(0, 4))), (1, draw(st.integers(0, 2)))
        items.append(item(f"i{k}", draw(st.integers(1, 8)), fixed, slope, capacity))
    items = tuple(replace(one, name=f"{one.name}.{c}") for one in items for c in range(draw(st.integers(1, 2))))[:4]
    classes = ()
    if draw(st.booleans()):
        small = np.array([draw(st.integers(1, c)) for c in capacity.tolist()])
        classes = (CoreClass(capacity, draw(st.integers(0, 3))), CoreClass(small, draw(st.integers(0, 3))))
    taken = np.array([[draw(st.integers(0, c)) for c in capacity.tolist()]]) if draw(st.booleans()) else None
    return PackingProblem(("a", "b"), capacity, items, 40, classes=classes, taken=taken)


def fewest_new_cores(problem):
    """Try all contents of one core after the other; None where the cores are not enough."""
    tables = [one.demand for one in problem.items]

    def contents(room, left):
        found = [((), room)]
        for table, most in zip(tables, left, strict=True):
            found = [
                ((*units, n), free - table[:, n])
                for units, free in found for n in range(min(most, table.shape[1] - 1) + 1) if (table[:, n] <= free).all()
            ]
        kept = {units for units, _ in found}
        return [u for u in kept if not any(v != u and all(a <= b for a, b in zip(u, v, strict=True)) for v in kept)]

    @cache
    def rest(left, numbers):
        if not any(left):
            return 0
        best = 99
        for k, number in enumerate(numbers):
            if number:
                fewer = tuple(m - (j == k) for j, m in enumerate(numbers))
                for units in contents(problem.kinds[k].capacity, left):
                    if any(units):
                        best = min(best, 1 + rest(tuple(a - b for a, b in zip(left, units, strict=True)), fewer))
        return best

    sizes = tuple(one.size for one in problem.items)
    numbers = tuple(core.cores for core in problem.kinds) if problem.classes else (sum(sizes),)
    starts = {sizes}
    for taken in problem.taken if problem.taken is not None else ():
        starts = {
            tuple(a - b for a, b in zip(left, units, strict=True))
            for left in starts for units in contents(problem.capacity - taken, left)
        }
    best = min(rest(left, numbers) for left in starts)
    return None if best >= 99 else best


@settings(max_examples=40, deadline=None, derandomize=True)
@given(problems())
def test_classes_and_cores_in_use_against_brute_force(problem):
    best = fewest_new_cores(problem)
    filled, bound, _ = generate(problem, fill(problem), area_bound(problem), Budget(0, 0))
    answer = PARTITIONER.pack(problem, Budget(0, 0))
    if best is None:
        assert not answer.pieces
        return
    assert area_bound(problem) <= bound <= problem.old + best <= filled.clusters
    assert answer.lower_bound <= problem.old + best <= answer.clusters
    if answer.pieces:
        check_packing(problem, answer)


def test_the_program_proves_what_area_does_not():
    # A core takes one piece of either and nothing more: 3 + 3 cores, area says (3 x 6 + 3 x 7) / 10.
    capacity = (10, 10)
    items = tuple(item(f"{k}", 1, (0, 0), slope, capacity) for k, slope in enumerate([(6, 6)] * 3 + [(7, 7)] * 3))
    problem = PackingProblem(("a", "b"), np.array(capacity), items, 9)
    assert area_bound(problem) == 4
    _, bound, _ = generate(problem, fill(problem), 4, Budget(1, 0))
    assert bound == 6
    # Equal items are one type.
    assert sorted(len(lanes) for lanes in types_of(problem).lanes) == [3, 3]


def test_proved_is_exact_and_counts_cores_that_cost_nothing():
    bins = Bins(np.array([[5], [10]]), np.array([2, 99]), np.array([0, 1]))
    # 100 units of price 1, 10 to a new core, 5 to each of two that are there.
    assert proved(np.array([1]), np.array([100]), bins, [5, 10]) == Fraction(9)
    assert proved(np.array([0]), np.array([100]), bins, [0, 0]) == 0


def test_bins_tell_cores_in_use_from_new_ones():
    problem = PackingProblem(("a",), np.array([9]), (item("i", 4, (0,), (1,), (9,)),), 9, taken=np.array([[2], [5], [2]]))
    bins = bins_of(problem)
    assert bins.room.tolist() == [[4], [7], [9]]
    assert (bins.number.tolist(), bins.price.tolist()) == ([1, 2, 4], [0, 0, 1])


@pytest.mark.parametrize("caps", [(1024, 4096, 131072), (256, 1024, 65536)])
def test_twenty_populations_are_packed_to_the_proved_optimum(caps):
    problem = slices(20, caps, 1)
    answer = PARTITIONER.pack(replace(problem, items=tuple(replace(one, seam=0) for one in problem.items)), Budget(0, 0))
    check_packing(problem, answer)
    assert answer.clusters <= 1.02 * answer.lower_bound
