"""Partition problems at neuron level as pure numbers: which neurons share a core, under all budgets at once.

The network is a directed hypergraph: one *axon* per spiking source, from the source to every neuron that listens to it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.distinct import distinct
from nmap.place.board import Board

__all__ = ["Partition", "PartitionProblem", "check_partition", "cluster_loads", "partition_hops", "partition_packets"]


@dataclass(frozen=True, slots=True, eq=False)
class PartitionProblem:
    """Share neurons out over few cores so that traffic between cores is least.

    What a core takes of a resource is the sum of three things: `neuron` over its neurons, `axon` over the distinct axons with at
    least one target on it, and `route` over the pairs (axon whose source is on it, *other* core with a target of that axon).

    Args:
        resources: names, R of them.
        capacity: (R,) int64, of one core.
        neuron: (R, n) int64, what a neuron takes wherever it lies, its synapses included.
        axon: (R, axons) int64, what an incoming axon takes on every core with a target of it.
        route: (R,) int64, what one destination of an axon takes on its source's core.
        source: (axons,) int64 neuron, -1 for a source outside of every core (an input port, a population that is mapped otherwise).
        start: (axons + 1,) int64, compressed rows of `target`.
        target: (pins,) int32 neurons, ascending and distinct within an axon.
        rate: (axons,) float64, expected spikes per step.
        cores: number of cores there are.
        slack: share of cores that may be spent on less traffic. At 0 the answer has the fewest cores found, whatever the traffic; above,
            cores are given up only as long as that costs no packets, and the share comes on top.
        layer: (n,) int32 population of each neuron, a hint; None means one population.
        board: the slots; given, the traffic to minimise is packets times hops and the answer has a placement; None counts packets.
        previous: (n,) int64, the core group each neuron had before, -1 for none: to start from; None means a new problem.
    """

    resources: tuple[str, ...]
    capacity: Array
    neuron: Array
    axon: Array
    route: Array
    source: Array
    start: Array
    target: Array
    rate: Array
    cores: int
    slack: float = 0.05
    layer: Array | None = None
    board: Board | None = None
    previous: Array | None = None

    def __post_init__(self) -> None:
        for name, dtype in (
            ("capacity", np.int64), ("neuron", np.int64), ("axon", np.int64), ("route", np.int64), ("source", np.int64),
            ("start", np.int64), ("target", np.int32), ("rate", np.float64), ("layer", np.int32), ("previous", np.int64),
        ):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, frozen_array(getattr(self, name), dtype))

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return int(self.neuron.shape[1])

    @property
    def axons(self) -> int:
        """Number of axons."""
        return int(self.source.size)


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """A cluster for every neuron, and with a board a slot for every cluster.

    Args:
        part: (n,) int64, 0..clusters-1, every cluster non-empty; size 0 without a feasible answer.
        clusters: number of cores used. Without a feasible answer: the fewest cores found to be enough if there were that many.
        lower_bound: proved: no partition needs fewer cores.
        packets: expected packets per step, one per spike and other core that listens.
        packets_bound: proved lower bound of `packets`.
        status: `optimal` (in the number of cores), `feasible`, `infeasible` (proved: more cores needed than there are), `unknown`.
        seed: the seed used.
        slot: (clusters,) int64 distinct slots of the board, None without one.
        hops: expected packets times hops per step, None without a board.
    """

    part: Array
    clusters: int
    lower_bound: int
    packets: float
    packets_bound: float
    status: Literal["optimal", "feasible", "infeasible", "unknown"]
    seed: int
    slot: Array | None = None
    hops: float | None = None


def _reached(problem: PartitionProblem, part: Array) -> tuple[Array, Array]:
    """Return the distinct (axon, cluster) pairs with a target, ascending by axon, then cluster."""
    clusters = int(part.max(initial=-1)) + 1
    axon = np.repeat(np.arange(problem.axons), np.diff(problem.start))
    pairs = distinct(axon * max(clusters, 1) + part[problem.target])
    return pairs // max(clusters, 1), pairs % max(clusters, 1)


def cluster_loads(problem: PartitionProblem, part: Array) -> Array:
    """Return (clusters, R) int64, what every cluster takes."""
    clusters = int(part.max(initial=-1)) + 1
    load = np.zeros((clusters, len(problem.resources)), np.int64)
    np.add.at(load, part, problem.neuron.T)
    axon, cluster = _reached(problem, part)
    np.add.at(load, cluster, problem.axon.T[axon])
    source = problem.source[axon]
    leaves = source >= 0
    leaves[leaves] = part[source[leaves]] != cluster[leaves]
    np.add.at(load, part[source[leaves]], problem.route)
    return load


def partition_packets(problem: PartitionProblem, part: Array) -> float:
    """Return the expected packets per step."""
    axon, cluster = _reached(problem, part)
    home = np.where(problem.source[axon] >= 0, part[problem.source[axon]], -1)
    return float(problem.rate[axon[home != cluster]].sum())


def partition_hops(problem: PartitionProblem, board: Board, part: Array, slot: Array) -> float:
    """Return the expected packets times hops per step, one packet per spike and other core that listens."""
    axon, cluster = _reached(problem, part)
    home = np.where(problem.source[axon] >= 0, part[problem.source[axon]], -1)
    inner, port = (home >= 0) & (home != cluster), home < 0
    total = problem.rate[axon[inner]] @ board.hops_between(slot[home[inner]], slot[cluster[inner]])
    return float(total + problem.rate[axon[port]] @ board.port_hops()[slot[cluster[port]]])


def check_partition(problem: PartitionProblem, solution: Partition) -> None:
    """Check a feasible answer against the problem.

    Raises:
        ValueError: a neuron has no cluster, a cluster is empty or over a budget, there are more clusters than cores, slots are not
            distinct, or a bound contradicts the answer.
    """
    part = solution.part
    if part.shape != (problem.neurons,) or not np.array_equal(distinct(part), np.arange(solution.clusters)):
        raise ValueError("not every neuron has a cluster, or a cluster is empty")
    if solution.clusters > problem.cores:
        raise ValueError(f"{solution.clusters} clusters on {problem.cores} cores")
    over = (cluster_loads(problem, part) > problem.capacity).any(1)
    if over.any():
        raise ValueError(f"clusters over their budget: {np.flatnonzero(over).tolist()}")
    if solution.lower_bound > solution.clusters or solution.packets_bound > solution.packets * (1 + 1e-9) + 1e-9:
        raise ValueError("a bound is above the answer")
    if abs(partition_packets(problem, part) - solution.packets) > 1e-6 * max(1.0, solution.packets):
        raise ValueError(f"the packets are not {solution.packets}")
    if problem.board is not None:
        slot = solution.slot
        if slot is None or slot.shape != (solution.clusters,) or np.unique(slot).size != slot.size:
            raise ValueError("not every cluster has a slot of its own")
        if slot.size and not 0 <= slot.min() <= slot.max() < problem.board.size:
            raise ValueError("a cluster lies on a slot that does not exist")
        hops = partition_hops(problem, problem.board, part, slot)
        if solution.hops is None or abs(hops - solution.hops) > 1e-6 * max(1.0, hops):
            raise ValueError(f"the hops are not {solution.hops}")
