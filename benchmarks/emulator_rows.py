"""Peers `numpy` and `scipy`: one step after the other, the rows of the neurons that spiked are added up. Exact.

    python emulator_rows.py FOLDER --engine numpy --repeat 3

Prints one JSON object, as every peer does; see `emulator_peers`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from emulator_networks import Cells, Net, digest, fan_out, load

__all__ = ["simulate"]


def _numpy_rows(pointer: np.ndarray, targets: np.ndarray, weights: np.ndarray, size: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the function that adds up rows, by lists of what each holds."""
    wide = weights.astype(np.float64)

    def add(ids: np.ndarray) -> np.ndarray:
        counts = pointer[ids + 1] - pointer[ids]
        places = np.repeat(pointer[ids] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
        # Whole numbers far below 2^53, so float64 sums are exact.
        return np.bincount(targets[places], wide[places], minlength=size).astype(np.int64)

    return add


def _scipy_rows(pointer: np.ndarray, targets: np.ndarray, weights: np.ndarray, size: int) -> Callable[[np.ndarray], np.ndarray]:
    from scipy.sparse import csr_matrix

    matrix = csr_matrix((weights.astype(np.int32), targets, pointer), shape=(pointer.size - 1, size))
    return lambda ids: matrix[ids].T.dot(np.ones(ids.size, np.int32)).astype(np.int64)


def _dense_rows(matrix: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda ids: matrix[ids].sum(axis=0, dtype=np.int64)


def _leak(x: np.ndarray, factor: int) -> np.ndarray:
    product = x * factor
    return np.where(product < 0, -(-product >> 12), product >> 12)


def _step(cells: Cells, u: np.ndarray, v: np.ndarray, a: np.ndarray, bias: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    assert cells.vth is not None
    u = _leak(u, 4095 - cells.du) + (a << 6)
    v = _leak(v, 4096 - cells.dv) + u + bias
    # The chip's registers: u wraps at 24 bits, v stops there.
    u_over = (u > 1 << 23).astype(np.int64) - (u <= -(1 << 23))
    if u_over.any():
        v -= u_over << 24
        u = u - (u_over << 24)
    v = np.clip(v, 1 - (1 << 23), (1 << 23) - 1)
    fired = v > cells.vth << 6
    v[fired] = 0
    return u, v, np.flatnonzero(fired)


def simulate(net: Net, sample: int = 0, engine: str = "numpy", steps: int | None = None) -> tuple[dict[str, list[np.ndarray]], float]:
    """Run one sample; return the neurons that spiked, ascending, step by step for every population, and the seconds all steps took."""
    steps = net.steps if steps is None else steps
    rows = {}
    for link in net.links:
        if engine == "numpy" and link.kind == "dense" and link.pool == 1:
            rows[link] = _dense_rows(np.ascontiguousarray(link.weights.T, np.int32))
        else:
            make = _numpy_rows if engine == "numpy" else _scipy_rows
            rows[link] = make(*fan_out(net, link), net[link.target].size)
    cells = [c for c in net.cells if c.vth is not None]
    u = {c.name: np.zeros(c.size, np.int64) for c in cells}
    v = {c.name: np.broadcast_to(np.asarray(c.start, np.int64), (c.size,)).copy() for c in cells}
    bias = {c.name: np.broadcast_to(c.bias, (c.size,)) for c in cells}
    ports = [c for c in net.cells if c.vth is None]
    sent = {c.name: [np.zeros(0, np.int64)] for c in net.cells}
    begin = time.perf_counter()
    for step in range(steps):
        sums = {c.name: np.zeros(c.size, np.int64) for c in cells}
        for link in net.links:
            ids = sent[link.source][-1] if step else sent[link.source][0]
            if ids.size:
                sums[link.target] += rows[link](ids) << link.exponent
        # What a population sends in this step is taken up in the next, so all of them are appended together.
        now = {c.name: np.flatnonzero(net.rasters[sample, step]) for c in ports}
        for c in cells:
            u[c.name], v[c.name], now[c.name] = _step(c, u[c.name], v[c.name], sums[c.name], bias[c.name])
        for name, ids in now.items():
            sent[name].append(ids)
    seconds = time.perf_counter() - begin
    return {name: ids[1:] for name, ids in sent.items()}, seconds


def main() -> None:
    """Time and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--engine", choices=("numpy", "scipy"), default="numpy")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--steps", type=int)
    args = parser.parse_args()
    net = load(args.folder)
    steps = net.steps if args.steps is None else min(args.steps, net.steps)
    taken = [simulate(net, 0, args.engine, steps) for _ in range(args.repeat)]
    spikes = taken[0][0]
    if args.engine == "numpy":
        version = np.__version__
    else:
        import scipy

        version = scipy.__version__
    print(json.dumps({
        "version": version, "ms": [1e3 * seconds / steps for _, seconds in taken], "steps": steps,
        "counts": {name: int(sum(ids.size for ids in lists)) for name, lists in spikes.items()},
        "digests": {
            name: digest(np.repeat(np.arange(steps), [ids.size for ids in lists]), np.concatenate(lists)) for name, lists in spikes.items()
        },
    }))


if __name__ == "__main__":
    main()
