"""Annealing keeps its books: cost, loads and budgets after thousands of moves and exchanges are those of the partition it ends with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nmap.partition.coarsen import Level, bottom
from nmap.partition.neurons import PartitionProblem
from nmap.partition.refine import UNIT, Refiner


def _problem(seed: int, neurons: int, most_targets: int, route: int, alone: bool) -> PartitionProblem:
    """Return axons to random neurons, and, if cores hold one half of the neurons only, an axon to each half."""
    rng = np.random.default_rng(seed)
    targets = [np.sort(rng.choice(neurons, rng.integers(1, most_targets + 1), replace=False)) for _ in range(neurons)]
    amounts = rng.integers(0, 3, (2, neurons))
    source, rate = rng.integers(-1, neurons, neurons), rng.integers(1, 9, neurons).astype(np.float64)
    if alone:
        targets += [np.arange(neurons // 2), np.arange(neurons // 2, neurons)]
        amounts = np.concatenate([amounts, [[0, 0], [70, 70]]], axis=1)
        source, rate = np.append(source, [-1, -1]), np.append(rate, [0.0, 0.0])
    return PartitionProblem(
        ("words", "slots"), np.array([120, 100]), rng.integers(1, 4, (2, neurons)), amounts, np.array([route, 0]), source,
        np.concatenate([[0], np.cumsum([t.size for t in targets])]), np.concatenate(targets), rate, 1000,
    )


def _counted(problem: PartitionProblem, part: np.ndarray, cores: int, far: np.ndarray) -> tuple[float, np.ndarray, int]:
    """Return the cost, the loads and the excess of a partition, axon by axon."""
    load, cost = np.zeros((cores, 2), np.int64), 0.0
    np.add.at(load, part, problem.neuron.T)
    for axon, (begin, end) in enumerate(pairwise(problem.start.tolist())):
        source = int(problem.source[axon])
        home = int(part[source]) if source >= 0 else cores
        for core in set(part[problem.target[begin:end]].tolist()):
            load[core] += problem.axon[:, axon]
            cost += problem.rate[axon] * far[home, core]
            if home not in (core, cores):
                load[home] += problem.route
    return cost, load, int((np.maximum(load - problem.capacity, 0) * (UNIT // problem.capacity)).sum())


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("route", [0, 1])
# Few targets on many cores are lists, many on few are rows of counts; 130 cores take three words of a row.
@pytest.mark.parametrize(("neurons", "cores", "most_targets"), [(60, 5, 12), (300, 130, 6), (300, 130, 40)])
def test_books_after_annealing(neurons: int, cores: int, most_targets: int, route: int, alone: bool) -> None:
    problem = _problem(neurons + most_targets, neurons, most_targets, route, alone)
    level: Level = bottom(problem, 1.0)
    rng = np.random.default_rng(1)
    far = rng.integers(1, 9, (cores + 1, cores + 1))
    np.fill_diagonal(far, 0)
    part = np.arange(neurons) * cores // neurons
    before = _counted(problem, part, cores, far)
    refiner = Refiner(level, part, cores, problem.capacity, problem.route, far, 3)
    assert (refiner.cost, refiner.over) == (before[0], before[2])
    refiner.anneal(40_000, lambda: False)
    cost, load, over = _counted(problem, refiner.part, cores, far)
    assert (refiner.cost, refiner.over) == (cost, over)
    assert np.array_equal(refiner.load(), load)
    assert (over, cost) < (before[2], before[0])
