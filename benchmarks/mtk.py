"""A baseline on Mt-KaHyPar, where it is installed (`pip install mtkahypar`, MIT licence): its partition, placed by nmap's annealing.

Mt-KaHyPar balances one weight per neuron and knows no limit on the distinct axons of a block. A neuron's weight is the largest of its
shares of a core's neurons, axons and synapses; blocks above a limit are split by next fit in receptive-field order.
"""

from __future__ import annotations

import time
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from baselines import Answer, MissingError, next_fit, receptive_order, row_major, traffic_of
from neutral import NeutralPartition, board, score_partition
from solving import find

from nmap.connectivity import Array

__all__ = ["mtkahypar"]

_UNIT = 10_000
"""Weight of a full core."""
_RATE_UNIT = 1e5
_IMBALANCE = 0.03
_EXTRA = (1.0, 1.1, 1.25)
"""Numbers of blocks tried, as multiples of the fewest that the weights allow."""


@cache
def _library() -> tuple[Any, Any]:
    """Return the library and its initializer, which can be made only once in a process."""
    if find_spec("mtkahypar") is None:
        raise MissingError("the package mtkahypar is not installed")
    import mtkahypar as library

    return library, library.initialize(1)


def _weights(problem: NeutralPartition) -> Array:
    """Return (n,) int64 weights. An axon's share is divided among the neurons that could listen to it on one core."""
    together = np.clip(np.diff(problem.hptr), 1, max(1, int(problem.caps[0])))
    axons = np.bincount(problem.hdst, np.repeat(1 / together, np.diff(problem.hptr)), minlength=problem.n)
    fan_in = np.bincount(problem.hdst, minlength=problem.n)
    shares = np.stack([np.ones(problem.n), axons, fan_in]) / np.maximum(problem.caps[:, None], 1)
    return np.maximum(np.ceil(shares.max(0) * _UNIT), 1).astype(np.int64)


def _hyperedges(problem: NeutralPartition) -> tuple[list[list[int]], list[int]]:
    """Return pins and whole-number weights: an axon's targets and its source, to which no packet goes."""
    edges, rates = [], []
    for axon, source in enumerate(problem.hsrc.tolist()):
        pins = problem.hdst[problem.hptr[axon] : problem.hptr[axon + 1]]
        if source >= 0:
            pins = np.union1d(pins, source)
        if pins.size > 1:
            edges.append(pins.tolist())
            rates.append(max(1, round(float(problem.rate[axon]) * _RATE_UNIT)))
    return edges, rates


def _place(problem: NeutralPartition, part: Array, seed: int) -> Array:
    """Return (clusters, 2) cores by nmap's annealing (partitioner `greedy`)."""
    from nmap.partition.partitioner import Budget
    from nmap.place.problem import PlacementProblem

    traffic, slots = traffic_of(problem, part), board(problem)
    clusters = traffic.port.size
    source = np.repeat(np.arange(clusters), np.diff(traffic.start))
    once = source < traffic.other
    placing = PlacementProblem(
        clusters, slots, np.concatenate([source[once], np.full(clusters, -1)]),
        np.concatenate([traffic.other[once], np.arange(clusters)]), np.concatenate([traffic.weight[once], traffic.port]),
    )
    return np.asarray(slots.slots[find("greedy").place(placing, Budget(1, seed)).slot])


def mtkahypar(problem: NeutralPartition, seed: int = 0) -> Answer:
    """Return the answer with the fewest packets of those that fit the machine.

    Raises:
        MissingError: the package is not installed, or no partition fits the machine.
    """
    library, engine = _library()
    begin = time.process_time()
    weight, (edges, rates) = _weights(problem), _hyperedges(problem)
    order, cores = receptive_order(problem), problem.mesh[0] * problem.mesh[1] - problem.dead.size
    rank = np.empty(problem.n, np.int64)
    rank[order] = np.arange(problem.n)
    library.set_seed(seed)
    context = engine.context_from_preset(library.PresetType.DEFAULT)
    context.logging = False
    graph = engine.create_hypergraph(context, problem.n, len(edges), edges, weight.tolist(), rates)
    found: list[tuple[float, Array]] = []
    for extra in _EXTRA:
        blocks = max(2, int(np.ceil(weight.sum() / _UNIT * extra)))
        context.set_partitioning_parameters(blocks, _IMBALANCE, library.Objective.KM1)
        block = np.array(graph.partition(context).get_partition(), np.int64)
        part = next_fit(problem, np.lexsort((rank, block)), block)
        clusters = int(part.max()) + 1
        if clusters <= cores:
            found.append((score_partition(problem, part, row_major(problem, clusters)).packets, part))
    if not found:
        raise MissingError("no partition fits the machine")
    part = min(found, key=lambda pair: pair[0])[1]
    return Answer(part, _place(problem, part, seed), time.process_time() - begin)
