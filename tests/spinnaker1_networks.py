"""Quantized networks for SpiNNaker 1 with random synapses, cut and placed at random: what its counting is tested on."""

from __future__ import annotations

from math import prod

import numpy as np

from nmap.compile import build_program
from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.mapping import Mapping, Shard, in_order
from nmap.network import Provenance
from nmap.partition.problem import PackingSolution
from nmap.place.problem import PlacementSolution
from nmap.program import Program, Slice
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.machine import Machine

WHERE = Provenance("net.h5", "/")
FORMAT = SynapseFormat(bits=16, sign="excitatory")
SOURCE = "spinnaker1.source"


def cells(name: str, shape: tuple[int, ...], kernel: str = "spinnaker1.if_curr_delta", busy: float | None = None) -> QuantizedPopulation:
    """Return a population; its parameters do not matter here."""
    return QuantizedPopulation(name, shape, kernel, {}, WHERE, scale=np.ones(1), busy=busy)


def port(
    name: str, shape: tuple[int, ...], busy: float | None = None,
) -> tuple[QuantizedPopulation, QuantizedPopulation, QuantizedProjection]:
    """Return an input port, its spike source and the way between them."""
    load = Sparse.diagonal(np.ones(prod(shape), np.int32))
    return (
        QuantizedPopulation(name, shape, None, {}, WHERE), cells(f"{name}.source", shape, SOURCE, busy),
        projection(f"{name}.load", name, f"{name}.source", load),
    )


def projection(
    name: str, source: str, target: str, connectivity: Connectivity, *, delay: int = 0, delays: Array | None = None, receptor: int = 0,
) -> QuantizedProjection:
    """Return a projection with 16-bit weights."""
    return QuantizedProjection(name, source, target, connectivity, FORMAT, delay, WHERE, delays, receptor)


def weights(rng: np.random.Generator, shape: tuple[int, ...], density: float) -> Array:
    """Return weights of 1 to 65535, or 0 where there is no synapse, int32."""
    return (rng.integers(1, 65536, shape) * (rng.random(shape) < density)).astype(np.int32)


def network(
    populations: tuple[QuantizedPopulation, ...], projections: tuple[QuantizedProjection, ...], outputs: tuple[str, ...],
    settings: dict[str, int] | None = None,
) -> QuantizedNetwork:
    """Return a network; ports are the populations without a kernel."""
    inputs = tuple(p.name for p in populations if p.kernel is None)
    return QuantizedNetwork(populations, projections, inputs, outputs, settings=settings or {"timestep_us": 1000, "time_scale": 1})


def random_network(rng: np.random.Generator) -> QuantizedNetwork:
    """Return a port, a convolution, a dense layer of both signs and a recurrent layer with listed synapses and delays."""
    channels, size, groups = int(rng.integers(1, 3)) * 2, int(rng.integers(4, 7)), int(rng.integers(1, 3))
    conv = Conv2d(
        weights(rng, (4, channels // groups, 3, 3), 0.6), (channels, size, size), (int(rng.integers(1, 3)),) * 2,
        (int(rng.integers(0, 2)),) * 2, (1, int(rng.integers(1, 3))) if size > 5 else (1, 1), groups,
    )
    inputs, source, load = port("in", (channels, size, size), float(rng.integers(1, 40)))
    middle = cells("conv", conv.out_shape, "spinnaker1.if_trunc", float(rng.random() * 9))
    dense, loop = cells("dense", (23,), "spinnaker1.if_curr_exp"), cells("loop", (31,), busy=3.5)
    signs = rng.random((23, middle.size)) < 0.5
    matrix = weights(rng, signs.shape, 0.8)
    listed = Sparse.from_dense(weights(rng, (31, 31), 0.2))
    inner = Sparse.from_dense(weights(rng, (31, 23), 0.3))
    return network(
        (inputs, source, middle, dense, loop),
        (
            load, projection("p", "in.source", "conv", conv),
            projection("q", "conv", "dense", Dense(np.where(signs, matrix, 0).astype(np.int32))),
            projection("q.inhibitory", "conv", "dense", Dense(np.where(signs, 0, matrix).astype(np.int32)), receptor=1),
            projection("r", "dense", "loop", inner, delay=2),
            projection("r.loop", "loop", "loop", listed, delays=rng.integers(0, 12, listed.synapses), receptor=1),
        ),
        ("loop",), {"timestep_us": 1000, "time_scale": int(rng.integers(1, 4))},
    )


def place(target: object, quantized: QuantizedNetwork, machine: Machine, parts: dict[str, list[Slice]], cores: Array) -> Program:
    """Return the program of a network whose slices lie on given cores of a machine, one on each.

    Args:
        target: prices the slices.
        quantized: the network.
        machine: whose cores are used.
        parts: slices by population.
        cores: (slices,) indices of `machine.cores`, in the order of `parts`.
    """
    shards = [
        Shard(name, part, k, target.demand(quantized, name, part))  # type: ignore[attr-defined]
        for k, (name, part) in enumerate((name, part) for name, listed in parts.items() for part in listed)
    ]
    chosen = tuple(machine.cores[int(k)] for k in cores[: len(shards)])
    solution = PlacementSolution(np.asarray(cores[: len(shards)], np.int64), 0.0, 0.0, "feasible", 0)
    mapping = Mapping(machine, in_order(shards, quantized), chosen, PackingSolution((), len(shards), 1, "feasible"), solution, False)
    return build_program(quantized, "spinnaker1", mapping)
