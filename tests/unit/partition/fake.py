"""A chip small enough to check by hand, and networks for it."""

from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.options import Options
from nmap.program import slice_indices, slice_size
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.backend import NeuronDemand
from nmap.target.machine import build_machine
from nmap.target.spec import ChipSpec, Resource, Variant

HERE = Provenance("net.h5", "/layer")


def spec(neurons=16, axons=64, synapses=512, cores=16, mesh=(4, 4), per_router=1, max_chips=4):
    def resource(limit, title):
        return Resource(max=limit, unit="-", source="made up for tests", title=title)

    variant = Variant(
        title="small", chips=1, max_chips=max_chips, cores=cores, mesh=list(mesh), cores_per_router=per_router, chip_link_hops=1,
        source="made up",
    )
    return ChipSpec(
        name="fake", title="Fake", data_version="1", default_variant="small", limits={}, features={},
        resources={
            "neurons": resource(neurons, "neurons"), "axons": resource(axons, "input axons"), "synapses": resource(synapses, "synapses"),
        },
        variants={"small": variant},
    )


def adjacency(connectivity):
    """(targets, sources) bool, synapse by synapse."""
    ones = connectivity.with_weights(np.ones_like(connectivity.weights))
    return ones.apply(np.eye(connectivity.in_size)).T > 0


class FakeTarget:
    """Neurons, distinct input axons per projection and synapses; counted synapse by synapse."""

    name = "fake"
    artefact = "fake"

    def __init__(self, chip):
        self.spec = chip
        self.kernels = {}
        self.rules = ()

    def demand(self, network, population, part):
        rows = slice_indices(part, network[population].shape)
        listen = [adjacency(p.connectivity)[rows] for p in network.afferents(population)]
        return {
            "neurons": rows.size, "axons": int(sum(a.any(0).sum() for a in listen)), "synapses": int(sum(a.sum() for a in listen)),
        }

    def demand_at_most(self, network, population, extent):
        shape = network[population].shape
        worst = dict.fromkeys(self.spec.resources, 0)
        for start in np.ndindex(*(size - length + 1 for size, length in zip(shape, extent, strict=True))):
            box = tuple((a, a + length) for a, length in zip(start, extent, strict=True))
            for name, amount in self.demand(network, population, box).items():
                worst[name] = max(worst[name], amount)
        return worst

    def demand_floor(self, network, population):
        whole = tuple((0, size) for size in network[population].shape)
        return {name: float(amount) for name, amount in self.demand(network, population, whole).items()}


    def neuron_demand(self, network, population):
        afferents = network.afferents(population)
        size = network[population].size
        neuron = [np.ones(size), np.zeros(size), sum(adjacency(p.connectivity).sum(1) for p in afferents)]
        return NeuronDemand(tuple(self.spec.resources), 1, neuron, ([[0], [1], [0]],) * len(afferents), [0, 0, 0], [0, 0, 0])


def population(name, shape, kernel="fake.lif"):
    return QuantizedPopulation(name, shape, kernel, {}, HERE)


def projection(source, target, connectivity):
    return QuantizedProjection(f"{source}->{target}", source, target, connectivity, SynapseFormat(8), 0, HERE)


def dense(targets, sources):
    return Dense(np.ones((targets, sources), np.int32))


def mlp(*sizes):
    names = ["in", *(f"fc{k}" for k in range(1, len(sizes)))]
    populations = tuple(population(n, (s,), None if n == "in" else "fake.lif") for n, s in zip(names, sizes, strict=True))
    projections = tuple(
        projection(a, b, dense(sizes[k + 1], sizes[k])) for k, (a, b) in enumerate(pairwise(names))
    )
    return QuantizedNetwork(populations, projections, ("in",), (names[-1],))


def recurrent():
    populations = (population("in", (6,), None), population("rec", (20,)), population("out", (3,)))
    matrix = np.eye(20, dtype=np.int32) + np.eye(20, k=3, dtype=np.int32)
    projections = (
        projection("in", "rec", dense(20, 6)), projection("rec", "rec", Sparse.from_dense(matrix)), projection("rec", "out", dense(3, 20)),
    )
    return QuantizedNetwork(populations, projections, ("in",), ("out",))


def convolution():
    conv = Conv2d(np.ones((3, 2, 3, 3), np.int32), (2, 7, 6), padding=(1, 1))
    down = Conv2d(np.ones((4, 3, 2, 2), np.int32), (3, 7, 6), stride=(2, 2))
    depth = Conv2d(np.ones((4, 1, 1, 1), np.int32), (4, 3, 3), groups=4)
    populations = (
        population("in", (2, 7, 6), None), population("c1", (3, 7, 6)), population("c2", (4, 3, 3)), population("c3", (4, 3, 3)),
        population("out", (5,)),
    )
    projections = (
        projection("in", "c1", conv), projection("c1", "c2", down), projection("c2", "c3", depth),
        projection("c3", "out", dense(5, 36)), projection("c1", "out", dense(5, prod((3, 7, 6)))),
    )
    return QuantizedNetwork(populations, projections, ("in",), ("out",))


def packets(network, mapping, rates=None):
    """Packets per step by (source cluster, target cluster), neuron by neuron."""
    cluster = {p.name: np.full(p.size, -1) for p in network.populations}
    for shard in mapping.shards:
        cluster[shard.population][slice_indices(shard.slice, network[shard.population].shape)] = shard.cluster
    count = {}
    for p in network.populations:
        for neuron in range(p.size):
            goes = set()
            for q in network.projections:
                if q.source == p.name:
                    goes |= set(cluster[q.target][adjacency(q.connectivity)[:, neuron]].tolist())
            at = int(cluster[p.name][neuron])
            for to in goes - {at}:
                count[at, to] = count.get((at, to), 0.0) + (1.0 if rates is None else float(rates[p.name][neuron]))
    return count


def covered(network, mapping):
    """How often each neuron is mapped, by population."""
    times = {p.name: np.zeros(p.size, int) for p in network.populations}
    for shard in mapping.shards:
        times[shard.population][slice_indices(shard.slice, network[shard.population].shape)] += 1
        assert slice_size(shard.slice) > 0
    return times


def machine(chip, **kw):
    return build_machine(chip, **kw)


OPTIONS = Options(effort=0)
