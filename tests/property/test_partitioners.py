"""Random problems: every answer is feasible, every bound holds, `infeasible` is true, and the same question has the same answer."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from functools import cache
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nmap_cpsat
import nmap_cpsat.packing
import nmap_greedy
from nmap.partition.partitioner import Budget
from nmap.partition.problem import Item, PackingProblem, area_bound
from nmap.place.board import Board
from nmap.place.problem import PlacementProblem

PARTITIONERS = [nmap_greedy.PARTITIONER, nmap_cpsat.PARTITIONER]


@st.composite
def packings(draw, largest=6, items=3):
    """Small packing problems whose tables have steps, some of them not subadditive."""
    capacity = np.array([draw(st.integers(4, 12)), draw(st.integers(4, 30))])
    made = []
    for k in range(draw(st.integers(1, items))):
        size = draw(st.integers(1, largest))
        steps = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=size, max_size=size))
        table = np.concatenate([np.zeros((2, 1), int), np.cumsum(np.array(steps), axis=0).T], axis=1)
        most = int(np.flatnonzero((table <= capacity[:, None]).all(0))[-1])
        if most == 0:
            table[:, 1:] = np.minimum(table[:, 1:], capacity[:, None])
            most = size
        made.append(Item(f"i{k}", size, table[:, : most + 1], np.zeros(2)))
    return PackingProblem(("a", "b"), capacity, tuple(made), draw(st.integers(1, 5)))


def fewest_cores(problem):
    """The optimum by trying all cuts: every core takes a multiset of pieces, several of one item included."""
    sizes = tuple(item.size for item in problem.items)
    capacity = tuple(problem.capacity.tolist())

    @cache
    def contents(k, room):
        """All (units of item k, k + 1, ...) one core with that much room can hold."""
        if k == len(problem.items):
            return frozenset({()})
        table = problem.items[k].demand
        own, frontier = {(0, room)}, {(0, room)}
        while frontier:
            frontier = {
                (n + a, tuple(r - d for r, d in zip(left, table[:, a].tolist(), strict=True)))
                for n, left in frontier for a in range(1, table.shape[1])
                if n + a <= sizes[k] and (table[:, a] <= np.array(left)).all()
            } - own
            own |= frontier
        return frozenset((n, *rest) for n, left in own for rest in contents(k + 1, left))

    options = contents(0, capacity)
    reached, cores = {sizes}, 0
    while not any(not any(left) for left in reached):
        reached = {
            tuple(max(0, a - b) for a, b in zip(left, taken, strict=True)) for left, taken in product(reached, options)
        }
        reached = {
            left for left in reached
            if not any(other != left and all(a <= b for a, b in zip(other, left, strict=True)) for other in reached)
        }
        cores += 1
    return cores


def recheck(problem, answer):
    load = np.zeros((answer.clusters, problem.capacity.size), int)
    units = np.zeros((answer.clusters, len(problem.items)), int)
    for piece in answer.pieces:
        load[piece.cluster] += problem.items[piece.item].demand[:, piece.units]
        units[piece.cluster, piece.item] += piece.units
    assert (load <= problem.capacity).all()
    assert units.sum(0).tolist() == [item.size for item in problem.items]
    assert units.any(1).all()
    assert answer.clusters <= problem.cores
    assert [piece.item for piece in answer.pieces] == sorted(piece.item for piece in answer.pieces)


@pytest.mark.parametrize("partitioner", PARTITIONERS, ids=lambda p: p.name)
@settings(max_examples=60, deadline=None, derandomize=True)
@given(problem=packings())
def test_packings_are_feasible_and_their_bounds_hold(partitioner, problem):
    best = fewest_cores(problem)
    assert area_bound(problem) <= best
    answer = partitioner.pack(problem, Budget(1, 0))
    assert answer.lower_bound <= best <= answer.clusters
    if answer.status in ("optimal", "feasible"):
        recheck(problem, answer)
        assert (answer.status == "optimal") == (answer.clusters == answer.lower_bound)
    else:
        assert not answer.pieces
        assert answer.clusters > problem.cores
        if answer.status == "infeasible":
            assert best > problem.cores


@settings(max_examples=60, deadline=None, derandomize=True)
@given(problem=packings(largest=9), fixed=st.lists(st.integers(0, 9), min_size=3, max_size=3))
def test_cpsat_is_exact_where_joint_pieces_never_cost_more(problem, fixed):
    # A fixed price per piece plus a rounded-up price per unit, as axons and memory words are.
    items = []
    for item, price in zip(problem.items, fixed, strict=False):
        n = np.arange(item.size + 1)
        table = np.where(n > 0, [n, price + -(-3 * n // 2)], 0)
        most = int(np.flatnonzero((table <= np.array([[9], [14]])).all(0))[-1])
        items.append(Item(item.name, item.size, table[:, : most + 1], np.zeros(2)))
    exact = PackingProblem(("a", "b"), np.array([9, 14]), tuple(items), 99)
    answer = nmap_cpsat.PARTITIONER.pack(exact, Budget(1, 0))
    recheck(exact, answer)
    assert (answer.status, answer.clusters) == ("optimal", fewest_cores(exact))


@pytest.mark.parametrize(("limit", "value"), [("_STEPS", 0), ("_CELLS", 4)])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(problem=packings(largest=9))
def test_cpsat_stays_feasible_and_honest_where_the_model_is_too_large(limit, value, problem):
    # No steps: every table that is not affine becomes an envelope. Few cells: only the emptiest cores are packed again.
    best = fewest_cores(problem)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nmap_cpsat.packing, limit, value)
        answer = nmap_cpsat.PARTITIONER.pack(problem, Budget(1, 0))
    assert answer.lower_bound <= best <= answer.clusters
    if answer.pieces:
        recheck(problem, answer)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(problem=packings(), slack=st.sampled_from([0.3, 1.0]))
@pytest.mark.parametrize("partitioner", PARTITIONERS, ids=lambda p: p.name)
def test_slack_is_spent_on_smaller_seams_only(partitioner, problem, slack):

    def cut(answer):
        return sum(problem.items[piece.item].seam for piece in answer.pieces)

    problem = replace(problem, items=tuple(replace(item, seam=3 + 5 * k) for k, item in enumerate(problem.items)))
    tight = partitioner.pack(problem, Budget(0, 0))
    loose = partitioner.pack(replace(problem, slack=slack), Budget(0, 0))
    if not tight.pieces:
        assert not loose.pieces
        return
    recheck(problem, loose)
    assert loose.clusters <= max(tight.clusters, int(tight.clusters * (1 + slack)))
    if loose.clusters > tight.clusters:
        assert cut(loose) < cut(tight)


@st.composite
def placements(draw):
    width, height, sharing = draw(st.integers(1, 4)), draw(st.integers(1, 3)), draw(st.integers(1, 2))
    slots = [(x, y) for y in range(height) for x in range(width) for _ in range(sharing)]
    live = draw(st.lists(st.sampled_from(range(len(slots))), unique=True, min_size=1, max_size=6))
    slots = [slots[k] for k in sorted(live)]
    clusters = draw(st.integers(1, min(5, len(slots))))
    edges = draw(st.lists(st.tuples(st.integers(-1, clusters - 1), st.integers(0, clusters - 1), st.integers(0, 800)), max_size=12))
    source, target, weight = (np.array([edge[k] for edge in edges]) for k in range(3))
    return PlacementProblem(clusters, Board(np.array(slots), draw(st.sampled_from([(0, 0), (2, 1)]))), source, target, weight / 7)


def cheapest(problem):
    def cost(slot):
        ends = [(problem.board.slots[slot[s]] if s >= 0 else np.array(problem.board.port), problem.board.slots[slot[t]]) for s, t in pairs]
        return sum(w * int(np.abs(a - b).sum()) for w, (a, b) in zip(problem.weight.tolist(), ends, strict=True))

    pairs = list(zip(problem.source.tolist(), problem.target.tolist(), strict=True))
    return min(cost(slot) for slot in permutations(range(len(problem.board.slots)), problem.clusters)), cost


@pytest.mark.parametrize("partitioner", PARTITIONERS, ids=lambda p: p.name)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(problem=placements())
def test_placements_are_feasible_and_their_bounds_hold(partitioner, problem):
    best, cost = cheapest(problem)
    answer = partitioner.place(problem, Budget(0, 0))
    assert len(set(answer.slot.tolist())) == problem.clusters
    assert answer.objective == pytest.approx(cost(answer.slot.tolist()))
    assert answer.lower_bound <= best + 1e-9 * max(1, best)
    assert answer.objective >= best - 1e-9 * max(1, best)
    if partitioner.name == "cpsat":
        assert answer.status == "optimal"
    if answer.status == "optimal":
        assert answer.objective == pytest.approx(best)


QUESTION = """
import numpy as np
import {module}
from nmap.partition.partitioner import Budget
from nmap.partition.problem import Item, PackingProblem
from nmap.place.board import Board
from nmap.place.problem import PlacementProblem
rng = np.random.default_rng(4)
items = []
for k in range(6):
    n, fan_in = np.arange(61), int(rng.integers(50, 300))
    table = np.where(n > 0, [n, fan_in + 0 * n, n * fan_in], 0)
    most = np.flatnonzero((table <= np.array([[64], [400], [6000]])).all(0))[-1]
    items.append(Item(f"i{{k}}", 60, table[:, : most + 1], np.zeros(3)))
packed = {module}.PARTITIONER.pack(PackingProblem(("n", "axons", "synapses"), np.array([64, 400, 6000]), tuple(items), 99), Budget(0, 3))
slots = np.array([(x, y) for y in range(5) for x in range(5)])
source, target = rng.integers(-1, 20, 60), rng.integers(0, 20, 60)
placed = {module}.PARTITIONER.place(PlacementProblem(20, Board(slots), source, target, rng.random(60)), Budget(1, 3))
print(packed)
print(placed.slot.tolist(), placed.objective.hex(), placed.lower_bound.hex(), placed.status, placed.deterministic_time)
"""


@pytest.mark.parametrize("partitioner", PARTITIONERS, ids=lambda p: p.name)
def test_the_same_question_has_the_same_answer_in_every_process(partitioner):
    question = QUESTION.format(module=type(partitioner).__module__)
    answers = set()
    for seed in ("0", "1", "77"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run([sys.executable, "-c", question], env=environment, capture_output=True, text=True, timeout=300, check=True)
        answers.add(run.stdout)
    assert len(answers) == 1
    assert "clusters=" in answers.pop()
