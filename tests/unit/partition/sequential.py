"""A partitioner for tests: neurons in a given order, one core filled after the other."""

from __future__ import annotations

import numpy as np

from nmap.partition.fill import fill, finish
from nmap.partition.neurons import Partition, cluster_loads, partition_hops, partition_packets
from nmap.partition.problem import area_bound
from nmap.partition.tiles import sweep
from nmap.place.problem import PlacementSolution, placement_cost


class Sequential:
    """Fills cores with neurons in the order that `order(problem)` gives (ids by default); the rest is as simple as it can be."""

    name = "sequential"

    def __init__(self, order=None, status="feasible"):
        self.order, self.status, self.problems = order, status, []

    def choose_tiles(self, problem, budget):
        return sweep(problem)

    def pack(self, problem, budget):
        return finish(problem, fill(problem), area_bound(problem))

    def place(self, problem, budget):
        slot = np.arange(problem.clusters) if problem.home is None else problem.home
        return PlacementSolution(slot, placement_cost(problem, slot), 0.0, "feasible", budget.seed)

    def partition(self, problem, budget):
        self.problems.append(problem)
        if self.status == "unknown":
            return Partition(np.zeros(0, np.int64), problem.cores + 1, 1, 0.0, 0.0, "unknown", budget.seed)
        order = np.arange(problem.neurons) if self.order is None else self.order(problem)
        part, cluster = np.full(problem.neurons, -1), 0
        for neuron in order.tolist():
            part[neuron] = cluster
            if (load(problem, part, cluster) > problem.capacity).any():
                cluster += 1
                part[neuron] = cluster
        packets = partition_packets(problem, part)
        slot = hops = None
        if problem.board is not None:
            slot = np.arange(cluster + 1)
            hops = partition_hops(problem, problem.board, part, slot)
        assert (cluster_loads(problem, part) <= problem.capacity).all()
        return Partition(part, cluster + 1, 1, packets, 0.0, "feasible", budget.seed, slot, hops)


def load(problem, part, cluster):
    """What one cluster takes, axon by axon."""
    here = part == cluster
    total = problem.neuron[:, here].sum(1)
    for axon in range(problem.axons):
        targets = problem.target[problem.start[axon] : problem.start[axon + 1]]
        if here[targets].any():
            total = total + problem.axon[:, axon]
        source = problem.source[axon]
        if source >= 0 and here[source]:
            elsewhere = set(part[targets].tolist()) - {cluster, -1}
            total = total + len(elsewhere) * problem.route
    return total
