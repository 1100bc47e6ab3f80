"""Random quantized networks for TrueNorth, and random ways of sharing them out over cores; nothing of the target is used."""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.mapping import Mapping, Shard
from nmap.network import Provenance
from nmap.partition.problem import PackingSolution, Piece
from nmap.place.problem import PlacementSolution
from nmap.program import Core
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.machine import Machine, build_machine

FORM = SynapseFormat(8)
HERE = Provenance("random", "/")
WEIGHTS = ("binary", "dale", "trinary", "short", "wide", "few", "powers", "factors", "codebooks", "typed")


def weights(rng, shape, kind, density=0.7):
    """Return random weights, (targets, sources) int32, of a kind that one code or another is made for."""
    targets, sources = shape
    if kind == "binary":
        w = np.ones(shape, np.int64)
    elif kind == "dale":
        w = rng.integers(1, 8, shape) * rng.choice([-1, 1], sources)
    elif kind == "trinary":
        w = rng.choice([-1, 1], shape)
    elif kind == "short":
        w = rng.integers(-8, 8, shape)
    elif kind == "wide":
        w = rng.integers(-255, 256, shape)
    elif kind == "few":
        w = rng.choice(rng.integers(-40, 41, 3), shape)
    elif kind == "powers":
        w = rng.choice([-1, 1], shape) * 2 ** rng.integers(0, 5, shape)
    elif kind == "factors":
        w = rng.integers(-3, 4, shape) * rng.integers(1, 60, (targets, 1))
    elif kind == "codebooks":
        w = np.take_along_axis(rng.integers(-200, 201, (targets, 3)), rng.integers(0, 3, shape), 1)
    else:
        # Every source has a type, every neuron a value for each type.
        w = rng.integers(-255, 256, (targets, 4))[:, rng.integers(0, 4, sources)]
    return (w * (rng.random(shape) < density)).astype(np.int32)


def neurons(rng, name, shape, latency):
    """Return a population with all deterministic modes mixed."""
    n = int(np.prod(shape))
    params = {
        "alpha": rng.integers(0, 60, n), "beta": rng.integers(0, 60, n), "leak": rng.integers(-12, 13, n), "epsilon": rng.integers(0, 2, n),
        "gamma": rng.integers(0, 3, n), "kappa": rng.integers(0, 2, n), "sigma_vr": rng.choice([-1, 1], n), "vr": rng.integers(0, 6, n),
    }
    return QuantizedPopulation(name, shape, "truenorth.neuron", params, HERE, {"v": rng.integers(-20, 20, n)}, np.ones(1), latency)


def random_network(seed):
    """Return a network of up to five populations: dense, sparse and convolved, with loops, skips, delays and several outputs."""
    rng = np.random.default_rng([71, seed])
    populations = [QuantizedPopulation("in", (2, int(rng.integers(3, 6)), 4), None, {}, HERE)]
    if rng.random() < 0.3:
        populations.append(QuantizedPopulation("more", (int(rng.integers(1, 9)),), None, {}, HERE))
    inputs = tuple(p.name for p in populations)
    projections = []

    def link(source, target, connectivity, delays=None, delay=None):
        late = int(rng.integers(0, 3)) if delay is None else delay
        projections.append(QuantizedProjection(f"{source}->{target}.{len(projections)}", source, target, connectivity, FORM, late, HERE,
                                               delays))

    if rng.random() < 0.5:
        shape, groups = populations[0].shape, int(rng.integers(1, 3))
        channels, size = groups * int(rng.integers(1, 4)), int(rng.integers(1, 4))
        kernel = weights(rng, (channels, shape[0] // groups * size * size), rng.choice(WEIGHTS)).reshape(channels, -1, size, size)
        conv = Conv2d(kernel, shape, tuple(rng.integers(1, 3, 2).tolist()), tuple(rng.integers(0, 2, 2).tolist()), (1, 1), groups)
        populations.append(neurons(rng, "conv", conv.out_shape, 1))
        link("in", "conv", conv)
    for name in ("a", "b", "c")[: int(rng.integers(1, 4))]:
        size = int(rng.integers(1, 10))
        earlier, kind = list(populations), str(rng.choice(WEIGHTS))
        populations.append(neurons(rng, name, (size,), len(populations)))
        sources = {earlier[-1].name, *(p.name for p in earlier if rng.random() < 0.35)}
        if rng.random() < 0.4:
            sources.add(name)
        for p in [p for p in populations if p.name in sources]:
            matrix = weights(rng, (size, p.size), kind, float(rng.choice([0.15, 0.7, 1.0])))
            connectivity = Sparse.from_dense(matrix) if rng.random() < 0.5 else Dense(matrix)
            delays = rng.integers(0, 4, connectivity.weights.shape) if rng.random() < 0.2 else None
            link(p.name, name, connectivity, delays)
            if rng.random() < 0.1:
                link(name, name, Dense(weights(rng, (size, size), kind)))
    hidden = [p.name for p in populations if p.kernel]
    outputs = tuple(name for name in hidden if name == hidden[-1] or rng.random() < 0.3)
    return QuantizedNetwork(tuple(populations), tuple(projections), inputs, outputs)


def _cuts(rng, size):
    edges = np.unique(np.concatenate([[0, size], rng.integers(0, size + 1, int(rng.integers(0, 3)))]))
    return list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True))


def random_parts(rng, network, population):
    """Return slices that cover a population: boxes, or index lists where no afferent is a convolution."""
    shape = network[population].shape
    if any(isinstance(p.connectivity, Conv2d) for p in network.afferents(population)) or rng.random() < 0.3:
        boxes = [()]
        for size in shape:
            boxes = [(*box, cut) for box in boxes for cut in _cuts(rng, size)]
        return boxes
    part = rng.integers(0, 3, int(np.prod(shape)))
    return [np.flatnonzero(part == k) for k in np.unique(part)]


def random_mapping(network, spec, seed):
    """Return a mapping onto a few cores; budgets are not looked at, and slices of one population may lie on one core."""
    rng = np.random.default_rng([72, seed])
    cores = int(rng.integers(1, 6))
    shards = [
        (population.name, part, int(rng.integers(0, cores)))
        for population in network.populations if population.kernel for part in random_parts(rng, network, population.name)
    ]
    used = sorted({cluster for _, _, cluster in shards})
    made = tuple(Shard(name, part, used.index(cluster), {}) for name, part, cluster in shards)
    return mapped(made, len(used), build_machine(spec))


def mapped(shards, clusters, machine: Machine):
    """Return shards as a mapping onto the machine's first cores."""
    slots = np.arange(clusters)
    cores = tuple(Core(machine.cores[k].chip, machine.cores[k].x, machine.cores[k].y, machine.cores[k].core) for k in slots)
    pieces = tuple(Piece(k, 1, shard.cluster) for k, shard in enumerate(shards))
    return Mapping(
        machine, tuple(shards), cores, PackingSolution(pieces, clusters, 1, "feasible"), PlacementSolution(slots, 0.0, 0.0, "feasible", 0),
        False,
    )
