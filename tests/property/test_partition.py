"""Random small partition problems against brute force, through the neutral contract."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

import nmap_cpsat
import nmap_greedy
from nmap.partition.neurons import PartitionProblem, check_partition, partition_hops, partition_packets
from nmap.partition.partitioner import Budget, Partitioner
from nmap.place.board import Board

NEURONS, CORES = 6, 3


def problem(seed, board, tight):
    """Return a random problem of 6 neurons on at most 3 cores, destinations of axons counted too."""
    rng = np.random.default_rng(seed)
    axons = 8
    source = np.concatenate([np.arange(NEURONS), [-1, -1]])
    listens = rng.random((axons, NEURONS)) < 0.45
    target = [np.flatnonzero(row) for row in listens]
    fan = listens.sum(0)
    slots = np.array([[0, 0], [1, 0], [2, 0], [1, 1]])
    return PartitionProblem(
        ("neurons", "axons", "routes"), np.array([3 if tight else 5, 6 if tight else 8, 5]),
        np.stack([np.ones(NEURONS, int), 0 * fan, 0 * fan]), np.stack([np.zeros(axons, int), np.ones(axons, int), np.zeros(axons, int)]),
        np.array([0, 0, 1]), source, np.concatenate([[0], np.cumsum([t.size for t in target])]), np.concatenate(target),
        rng.random(axons).round(2), CORES, 1.0, None, Board(slots, (0, 0)) if board else None,
    )


def loads(p, part):
    """Return what every core takes, counted pair by pair."""
    load = [[0, 0, 0] for _ in range(CORES)]
    for core in part:
        load[core][0] += 1
    for e in range(p.axons):
        cores = {part[t] for t in p.target[p.start[e] : p.start[e + 1]]}
        for core in cores:
            load[core][1] += 1
            if p.source[e] >= 0 and part[p.source[e]] != core:
                load[part[p.source[e]]][2] += 1
    return load


def answers(p):
    """Yield every partition within the budgets."""
    for part in product(range(CORES), repeat=NEURONS):
        if all(a <= b for row in loads(p, part) for a, b in zip(row, p.capacity.tolist(), strict=True)):
            yield np.array(part)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("tight", [False, True])
def test_against_brute_force(seed, tight):
    p = problem(seed, False, tight)
    found = nmap_greedy.PARTITIONER.partition(p, Budget(0, seed))
    every = list(answers(p))
    if not every:
        assert found.status in ("infeasible", "unknown")
        return
    assert found.status != "infeasible"
    fewest = min(len(set(part.tolist())) for part in every)
    assert found.lower_bound <= fewest
    least = min(partition_packets(p, part) for part in every)
    assert found.packets_bound <= least + 1e-9
    if found.part.size:
        check_partition(p, found)
        assert found.packets >= least - 1e-9


@pytest.mark.parametrize("seed", range(6))
def test_hops_are_never_below_the_best_of_all(seed):
    p = problem(seed, True, False)
    found = nmap_cpsat.PARTITIONER.partition(p, Budget(0, 1))
    assert found.part.size
    check_partition(p, found)
    slots = [np.array(s) for s in product(range(4), repeat=CORES) if len(set(s)) == CORES]
    least = min(partition_hops(p, p.board, part, slot) for part in answers(p) for slot in slots)
    assert least - 1e-9 <= found.hops <= 2.0 * least + 0.5


def test_same_seed_same_answer():
    first, second = (nmap_greedy.PARTITIONER.partition(problem(3, True, False), Budget(1, 5)) for _ in range(2))
    assert first.part.tolist() == second.part.tolist()
    assert first.slot.tolist() == second.slot.tolist()


def test_both_plug_ins_are_partitioners():
    assert isinstance(nmap_greedy.PARTITIONER, Partitioner)
    assert isinstance(nmap_cpsat.PARTITIONER, Partitioner)


def test_a_neuron_above_an_empty_core_is_proved_infeasible():
    p = PartitionProblem(
        ("axons",), np.array([1]), np.array([[0]]), np.array([[1, 1]]), np.array([0]), np.array([-1, -1]), np.array([0, 1, 2]),
        np.array([0, 0]), np.array([1.0, 1.0]), 4,
    )
    assert nmap_greedy.PARTITIONER.partition(p, Budget()).status == "infeasible"


@pytest.mark.parametrize("seed", [1, 10, 15, 26])
def test_slack_gives_way_on_a_machine_that_is_just_large_enough(seed):
    rng = np.random.default_rng(seed)
    n = 80
    listens = [np.unique(rng.integers(0, n, rng.integers(2, 9))) for _ in range(n)]
    wide = PartitionProblem(
        ("neurons", "axons"), np.array([12, 24]), np.array([[1] * n, [0] * n]), np.array([[0] * n, [1] * n]), np.zeros(2, int),
        np.arange(n), np.concatenate([[0], np.cumsum([t.size for t in listens])]), np.concatenate(listens), rng.random(n), 60, 0.0,
    )
    fewest = nmap_greedy.PARTITIONER.partition(wide, Budget(1)).clusters
    answer = nmap_greedy.PARTITIONER.partition(replace(wide, cores=fewest, slack=0.05), Budget(1))
    assert answer.clusters == fewest
    check_partition(replace(wide, cores=fewest), answer)


def test_stopping_at_once_still_gives_an_answer():
    p = problem(1, True, False)
    check_partition(p, nmap_greedy.PARTITIONER.partition(p, Budget(1, 0, None, lambda: True)))


def test_a_previous_partition_is_kept_where_nothing_is_better():
    p = PartitionProblem(
        ("neurons",), np.array([2]), np.array([[1, 1, 1, 1]]), np.zeros((1, 4), int), np.array([0]), np.arange(4), np.arange(5),
        np.array([1, 0, 3, 2]), np.ones(4), 2, previous=np.array([7, 7, 4, 4]),
    )
    found = nmap_greedy.PARTITIONER.partition(p, Budget())
    assert found.packets == 0.0
    assert found.part[0] == found.part[1] != found.part[2] == found.part[3]
