"""Small networks in SpiNNaker 1's numbers, laid out by hand, for tests of what is written for sPyNNaker."""

from __future__ import annotations

from collections.abc import Mapping as Table
from collections.abc import Sequence
from math import prod

import numpy as np

from nmap.compile import build_program
from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.mapping import Mapping, Shard
from nmap.network import Provenance
from nmap.program import Core, Program, Slice
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.machine import Machine
from nmap.target.spec import load_spec

ONE = 1 << 15
FORMAT = SynapseFormat(16, sign="excitatory")


def where(name: str) -> Provenance:
    return Provenance("made-by-hand.nir", f"/{name}")


def cells(
    name: str, shape: tuple[int, ...], kind: str, rng: np.random.Generator, *, shifts: tuple[int, int] = (2, 1), latency: int = 2,
    start: int = 0, timestep_us: int = 1000,
) -> QuantizedPopulation:
    """Return neurons with parameters of their own."""
    n = prod(shape)
    params = {
        "tau_m": rng.integers(5 * ONE, 30 * ONE, n), "cm": rng.integers(ONE // 2, 2 * ONE, n), "v_rest": np.zeros(n),
        "v_reset": np.zeros(n), "v_thresh": rng.integers(ONE // 2, 2 * ONE, n), "i_offset": rng.integers(-500, 500, n),
        "tau_refrac": np.zeros(n), "timestep": np.full(n, round(timestep_us * ONE / 1000)), "shift_0": np.full(n, shifts[0]),
        "shift_1": np.full(n, shifts[1]),
    }
    if kind == "if_trunc":
        del params["v_rest"]
    if kind == "if_curr_exp":
        params |= {"tau_syn_E": rng.integers(2 * ONE, 9 * ONE, n), "tau_syn_I": rng.integers(2 * ONE, 9 * ONE, n)}
    initial = {"v": np.full(n, start)} if start else {}
    return QuantizedPopulation(name, shape, f"spinnaker1.{kind}", params, where(name), initial, latency=latency)


def port(name: str, shape: tuple[int, ...]) -> tuple[list[QuantizedPopulation], QuantizedProjection]:
    """Return an input port, its sources, and what joins them."""
    source = QuantizedPopulation(f"{name}.source", shape, "spinnaker1.source", {}, where(name), latency=1)
    loaded = Sparse.diagonal(np.ones(prod(shape), np.int32))
    return (
        [QuantizedPopulation(name, shape, None, {}, where(name)), source],
        QuantizedProjection(f"{name}.load", name, source.name, loaded, FORMAT, 0, where(name)),
    )


def synapses(
    source: str, target: str, listed: Connectivity, receptor: int = 0, delay: int = 0, delays: Array | None = None,
) -> QuantizedProjection:
    name = f"{source}->{target}" + (".inhibitory" if receptor else "")
    return QuantizedProjection(name, source, target, listed, FORMAT, delay, where(name), delays, receptor)


def weights(rng: np.random.Generator, shape: tuple[int, ...], density: float = 0.7) -> Array:
    return (rng.integers(1, 65536, shape) * (rng.random(shape) < density)).astype(np.int32)


def lay_out(
    network: QuantizedNetwork, slices: Table[str, Sequence[tuple[Slice, tuple[int, int]]]], variant: str = "48chip",
) -> Program:
    """Return the program of a network: for every population its slices, and the (chip, core) that each lies on."""
    spec = load_spec("nmap_spinnaker", "chip1.toml")
    used = sorted({at for pieces in slices.values() for _, at in pieces})
    shards = tuple(
        Shard(population.name, part, used.index(at), {})
        for population in network.populations if population.kernel for part, at in slices[population.name]
    )
    placed = tuple(Core(chip, 0, 0, core) for chip, core in used)
    return build_program(network, "spinnaker1", Mapping(Machine(spec, variant, 1, ()), shards, placed, None, None, False))


def layered(seed: int = 1, kind: str = "if_curr_delta", timestep_us: int = 1000) -> tuple[QuantizedNetwork, Program]:
    """Return two layers of which the first is cut in three unlike pieces on chips that are no neighbours; delays, both receptors, loops."""
    rng = np.random.default_rng(seed)
    ports, load = port("in", (2, 5))
    hidden = cells("hidden", (13,), kind, rng, start=77, timestep_us=timestep_us)
    out = cells("out", (4,), "if_curr_exp", rng, shifts=(0, 3), latency=4, timestep_us=timestep_us)
    dense, back = weights(rng, (13, 10)), weights(rng, (13, 10), 0.4)
    loop = Sparse.from_dense(weights(rng, (13, 13), 0.3))
    network = QuantizedNetwork(
        (*ports, hidden, out),
        (
            load, synapses("in.source", "hidden", Dense(dense), delays=rng.integers(0, 7, dense.shape)),
            synapses("in.source", "hidden", Dense(back), 1, delay=2), synapses("hidden", "hidden", loop, 1, 1),
            synapses("hidden", "out", Dense(weights(rng, (4, 13))), 0, 1),
            synapses("hidden", "out", Sparse.from_dense(weights(rng, (4, 13), 0.2)), 1, 3),
        ),
        ("in",), ("out",), settings={"timestep_us": timestep_us, "time_scale": 3},
    )
    pieces = [np.array([0, 3, 4, 5, 12]), np.array([1, 2, 8, 9, 10]), np.array([6, 7, 11])]
    return network, lay_out(network, {
        "in.source": [(((0, 2), (0, 3)), (0, 4)), (((0, 2), (3, 5)), (40, 2))],
        "hidden": list(zip(pieces, [(12, 0), (0, 1), (33, 14)], strict=True)), "out": [(((0, 4),), (7, 7))],
    })


def convolved(seed: int = 2) -> tuple[QuantizedNetwork, Program]:
    """Return a convolution with stride, padding and groups, cut in boxes of two sizes, and integrators behind it."""
    rng = np.random.default_rng(seed)
    ports, load = port("image", (4, 6, 5))
    conv = Conv2d(weights(rng, (6, 2, 3, 3), 0.8), (4, 6, 5), (2, 1), (1, 1), (1, 1), 2)
    features = cells("features", conv.out_shape, "if_curr_exp", rng)
    out = cells("out", (3,), "if_trunc", rng, latency=3)
    network = QuantizedNetwork(
        (*ports, features, out),
        (load, synapses("image.source", "features", conv), synapses("features", "out", Dense(weights(rng, (3, features.size))))),
        ("image",), ("out",), settings={"timestep_us": 1000, "time_scale": 1},
    )
    _, rows, columns = conv.out_shape
    return network, lay_out(network, {
        "image.source": [(((0, 4), (0, 6), (0, 5)), (1, 1))],
        "features": [
            (((0, 3), (0, rows), (0, 3)), (0, 1)), (((0, 3), (0, rows), (3, columns)), (0, 2)), (((3, 6), (0, rows), (0, 3)), (0, 3)),
            (((3, 6), (0, rows), (3, columns)), (0, 4)),
        ],
        "out": [(((0, 3),), (2, 0))],
    })


def ringed(longest: int = 128, seed: int = 5) -> tuple[QuantizedNetwork, Program]:
    """Return a loop with delays up to `longest` ticks; the ring buffers of its 64 neurons on a core hold 128."""
    rng = np.random.default_rng(seed)
    ports, load = port("in", (10,))
    hidden = cells("hidden", (64,), "if_curr_delta", rng)
    dense, loop = weights(rng, (64, 10), 0.5), Sparse.from_dense(weights(rng, (64, 64), 0.2))
    delays = rng.integers(0, longest - 27, loop.weights.shape)
    delays[:2] = 0, longest - 28
    network = QuantizedNetwork(
        (*ports, hidden),
        (
            load, synapses("in.source", "hidden", Dense(dense), delays=rng.integers(0, 128, dense.shape)),
            synapses("hidden", "hidden", loop, 1, 27, delays),
        ),
        ("in",), ("hidden",), settings={"timestep_us": 1000, "time_scale": 1},
    )
    return network, lay_out(network, {"in.source": [(((0, 10),), (0, 4))], "hidden": [(((0, 64),), (1, 0))]})
