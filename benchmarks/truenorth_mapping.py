"""Map networks that fill many cores of TrueNorth, and tell where time and memory go.

    python benchmarks/truenorth_mapping.py                         all networks at their own size, a process each
    python benchmarks/truenorth_mapping.py eedn chains --size 4    four times as many cores or so
    python benchmarks/truenorth_mapping.py sparse --variant ns16e  on an array of 4 x 4 chips

Networks, all of neurons without memory and whole weights: `eedn`, grouped convolutions of trinary weights on an image of 3 channels, as
Esser et al. 2016 train them; `chains`, dense layers of 64 neurons and 4-bit weights one behind the other, many such chains side by side;
`recurrent`, pairs of populations of 28 neurons that hear themselves; `sparse`, layers of trinary weights listed synapse by synapse, near
their sources; `small`, two networks of a few dozen cores.

For each: cores and how many are proved to be needed, how full axons and columns are and how many crossbar bits are set, packets a step from
core to core when every neuron fires and their hops (those of the host's spikes too), chips and packets between them; then the wall seconds
of every stage of `nmap deploy` and the peak of memory.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.network import Network, Neuron
from nmap.testing.networks import build, lif

__all__ = ["NETWORKS", "chains", "deployed", "eedn", "local", "loops", "plain_conv", "random_sparse", "shown"]

_Edges = list[tuple[str, str, Connectivity, Array | None, int]]
_Parts = dict[str, tuple[tuple[int, ...], Neuron | None]]


def _units(n: int, threshold: int = 0) -> Neuron:
    """Return neurons without memory."""
    return lif(n, beta=0.0, threshold=float(threshold))


def _trinary(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.integers(-1, 2, shape).astype(np.float64)


def _convolved(name: str, shape: tuple[int, int, int], layers: list[tuple[int, int, int, int]], seed: int) -> Network:
    """Return convolutions of trinary weights, one behind the other: (channels, kernel, stride, groups) each."""
    rng = np.random.default_rng([31, seed])
    populations: _Parts = {"input": (shape, None)}
    projections: _Edges = []
    last = "input"
    for number, (channels, kernel, stride, groups) in enumerate(layers, 1):
        weights = _trinary(rng, (channels, shape[0] // groups, kernel, kernel))
        layer = Conv2d(weights, shape, (stride, stride), (kernel // 2, kernel // 2), groups=groups)
        shape = layer.out_shape
        populations[f"conv{number}"] = (shape, _units(prod(shape)))
        projections.append((last, f"conv{number}", layer, None, 0))
        last = f"conv{number}"
    return build(f"{name}.nir", populations, projections)


def eedn(size: int = 2, seed: int = 0) -> Network:
    """Return grouped convolutions on 32 x 32 spikes of 3 channels, 16 * `size` channels in the first layer."""
    wide = 16 * size
    layers = [(wide, 3, 1, 1), (wide, 3, 2, wide // 8), (2 * wide, 1, 1, wide // 16), (2 * wide, 3, 2, wide // 4),
              (4 * wide, 1, 1, wide // 16), (4 * wide, 3, 2, wide // 2), (4 * wide, 1, 1, wide // 8)]
    return _convolved(f"eedn-{size}", (3, 32, 32), layers, seed)


def plain_conv(size: int) -> Network:
    """Return three convolutions of trinary weights on a picture of `size` x `size`: 8, 16 and 16 channels, 1, 2 and 2 groups."""
    return _convolved(f"conv-{size}", (1, size, size), [(8, 3, 1, 1), (16, 3, 2, 2), (16, 3, 2, 2)], 1)


def chains(count: int, depth: int = 8, width: int = 64, seed: int = 0) -> Network:
    """Return chains of dense layers with 4-bit weights side by side; the last layers of all lead into one population of as many neurons."""
    rng = np.random.default_rng([32, seed])
    populations: _Parts = {"input": ((count * width,), None)}
    projections: _Edges = []
    for k in range(count):
        last = "input"
        for layer in range(depth):
            name = f"chain{k}_{layer}"
            populations[name] = ((width,), _units(width))
            weights = rng.integers(-8, 8, (width, width)).astype(np.float64)
            wires = Dense(weights) if layer else _share(weights, k, count)
            projections.append((last, name, wires, None, 0))
            last = name
    return _joined(f"chains-{count}x{depth}", populations, projections, [f"chain{k}_{depth - 1}" for k in range(count)])


def _share(weights: Array, k: int, count: int) -> Sparse:
    """Return the synapses of a matrix from the k-th of `count` equal parts of a population."""
    targets, sources = weights.shape
    indices = np.tile(np.arange(k * sources, (k + 1) * sources), targets)
    return Sparse(np.arange(targets + 1) * sources, indices, weights.ravel(), count * sources)


def loops(count: int, width: int = 28, seed: int = 0) -> Network:
    """Return pairs of populations with 4-bit weights, the first of which hears itself, side by side."""
    rng = np.random.default_rng([33, seed])
    populations: _Parts = {"input": ((count * width,), None)}
    projections: _Edges = []
    for k in range(count):
        for name, sources in ((f"loop{k}", (("input", 0), (f"loop{k}", 1))), (f"next{k}", ((f"loop{k}", 0),))):
            populations[name] = ((width,), _units(width, 4))
            for source, delay in sources:
                weights = rng.integers(-8, 8, (width, width)).astype(np.float64)
                projections.append((source, name, _share(weights, k, count) if source == "input" else Dense(weights), None, delay))
    return _joined(f"loops-{count}", populations, projections, [f"next{k}" for k in range(count)])


def _joined(name: str, populations: _Parts, projections: _Edges, ends: list[str]) -> Network:
    """Return the network whose output hears the first neuron of each of the ends."""
    populations["output"] = ((len(ends),), _units(len(ends)))
    for k, end in enumerate(ends):
        width = populations[end][0][0]
        indptr = np.concatenate([np.zeros(k + 1, np.int64), np.ones(len(ends) - k, np.int64)])
        projections.append((end, "output", Sparse(indptr, np.zeros(1, np.int64), np.ones(1), width), None, 0))
    return build(f"{name}.nir", populations, projections)


def local(neurons: int, layers: int = 3, fan_in: int = 24, seed: int = 0) -> Network:
    """Return layers of trinary weights, each neuron of which hears `fan_in` neurons near its own place."""
    rng = np.random.default_rng([34, seed])
    populations: _Parts = {"input": ((neurons,), None)}
    projections: _Edges = []
    last = "input"
    for layer in range(layers):
        near = np.arange(neurons)[:, None] + np.sort(rng.permuted(np.tile(np.arange(4 * fan_in), (neurons, 1)), axis=1)[:, :fan_in], axis=1)
        weights = rng.choice([-1.0, 1.0], near.size)
        indices = np.sort(near % neurons, axis=1).ravel()
        name = f"layer{layer}"
        populations[name] = ((neurons,), _units(neurons))
        projections.append((last, name, Sparse(np.arange(neurons + 1) * fan_in, indices, weights, neurons), None, 0))
        last = name
    return build(f"sparse-{neurons}.nir", populations, projections)


def random_sparse(sizes: tuple[int, ...] = (1000, 1000, 200), fan_in: int = 20, seed: int = 0) -> Network:
    """Return layers of trinary weights, each neuron of which hears `fan_in` neurons anywhere."""
    rng = np.random.default_rng([35, seed])
    populations: _Parts = {"input": ((sizes[0],), None)}
    projections: _Edges = []
    last = "input"
    for layer, (before, size) in enumerate(pairwise(sizes)):
        indices = np.concatenate([np.sort(rng.choice(before, fan_in, replace=False)) for _ in range(size)])
        populations[f"layer{layer}"] = ((size,), _units(size))
        weights = rng.choice([-1.0, 1.0], indices.size)
        projections.append((last, f"layer{layer}", Sparse(np.arange(size + 1) * fan_in, indices, weights, before), None, 0))
        last = f"layer{layer}"
    return build(f"random-{'-'.join(map(str, sizes))}.nir", populations, projections)


NETWORKS = {
    "eedn": lambda size: [eedn(2 * size)],
    "chains": lambda size: [chains(64 * size)],
    "recurrent": lambda size: [loops(128 * size)],
    "sparse": lambda size: [local(16384 * size)],
    "small": lambda size: [plain_conv(16 * size), plain_conv(32 * size), random_sparse()],
}
"""Networks by name, for a size."""


def deployed(network: Network, variant: str, effort: int = 1, verify: bool = True) -> dict[str, Any]:
    """Deploy a network and return a row of the table."""
    import nmap
    from nmap.program import read_program

    with tempfile.TemporaryDirectory() as folder:
        path = nmap.write(network, Path(folder) / network.file)
        rng, samples = np.random.default_rng(36), Path(folder) / "samples.npz"
        np.savez(samples, inputs=(rng.random((1, 10, *network[network.inputs[0]].shape)) < 0.1).astype(np.int8))
        told = nmap.deploy(path, f"truenorth:{variant}", input=samples, output=Path(folder) / "out", verify=verify, effort=effort)
        row: dict[str, Any] = {"network": network.file, "status": told.status, "packets": None, "across": None, "chips": None}
        if told.bundle is not None:
            program = read_program(told.bundle / "program.h5")
            sent = zip(program.groups, program.routes, strict=True)
            start = np.concatenate([np.full(routes.core.size, group.core) for group, routes in sent])
            stop = np.concatenate([routes.core for routes in program.routes])
            chip = np.array([core.chip for core in program.cores])
            row |= {
                "packets": int((start != stop).sum()), "across": int((chip[start] != chip[stop]).sum()), "chips": len(set(chip.tolist())),
                "program": (told.bundle / "program.h5").stat().st_size,
            }
    report = told.report
    used = {name: entry["used"] for name, entry in report["utilization"].items()}
    return row | {
        "cores": report["partition"]["cores"], "bound": report["partition"]["lower_bound"], "axons": used["axons"],
        "columns": used["neurons"], "bits": used["synapses"], "hops": report["placement"]["unicast_hops"], "seconds": report["timings_s"],
        "mismatches": (report["verification"].get("chip_vs_fixed") or {}).get("mismatches"),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def shown(rows: list[dict[str, Any]]) -> Table:
    """Return rows as a table."""
    stages = list(dict.fromkeys(stage for row in rows for stage in row["seconds"]))
    table = Table("network", "cores", "axons %", "columns %", "bits %", "packets", "hops", "chips", "between chips", *stages, "all", "MiB")
    for row in rows:
        full, seconds = 256 * row["cores"], row["seconds"]
        table.add_row(
            row["network"].removesuffix(".nir"), f"{row['cores']} (>= {row['bound']})", f"{100 * row['axons'] / full:.0f}",
            f"{100 * row['columns'] / full:.0f}", f"{100 * row['bits'] / full / 256:.1f}", str(row["packets"]), f"{row['hops']:.0f}",
            str(row["chips"]), str(row["across"]), *(f"{seconds.get(stage, 0):.1f}" for stage in stages), f"{sum(seconds.values()):.1f}",
            f"{row['peak']:.0f}",
        )
    return table


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--size", type=int, default=1, help="times as many cores, or so (default 1)")
    parser.add_argument("--variant", default="ns1e")
    parser.add_argument("--effort", type=int, default=1, choices=(0, 1, 2))
    parser.add_argument("--no-verify", action="store_true")
    parser.add_argument("--number", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    unknown = sorted(set(args.names) - set(NETWORKS))
    if unknown:
        parser.error(f"there is no network {', '.join(unknown)}")
    if args.number is not None:
        network = NETWORKS[args.names[0]](args.size)[args.number]
        print(json.dumps(deployed(network, args.variant, args.effort, not args.no_verify)))
        return
    rows = []
    for name in args.names or NETWORKS:
        for number in range(len(NETWORKS[name](args.size))):
            # A process each, so that the peak of memory is that of one network.
            words = [sys.executable, __file__, name, "--size", str(args.size), "--variant", args.variant, "--effort", str(args.effort),
                     "--number", str(number), *(["--no-verify"] if args.no_verify else [])]
            rows.append(json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]))
    Console(width=200).print(shown(rows))


if __name__ == "__main__":
    main()
