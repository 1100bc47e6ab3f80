"""Traffic of a placement problem as compiled code and bounds want it: whole numbers, by cluster."""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, fsum

import numpy as np

from nmap.connectivity import Array
from nmap.place.problem import PlacementProblem

__all__ = ["Traffic", "collect", "unit"]


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Undirected traffic between clusters, and traffic from the port.

    Weights are whole multiples of 1 / `scale`, so that sums are exact in any order.

    Args:
        start: (clusters + 1,) int64, compressed rows by cluster.
        other: (entries,) int64, the cluster at the other end; every pair appears in both rows.
        weight: (entries,) int64, both directions added.
        port: (clusters,) int64.
        move: cost of a cluster away from home.
        scale: units of a weight per packet per step, a power of two.
    """

    start: Array
    other: Array
    weight: Array
    port: Array
    move: int
    scale: float


def collect(problem: PlacementProblem, bits: int = 50) -> Traffic:
    """Gather the traffic by cluster, each weight rounded down to a multiple of 2 to some power.

    Args:
        problem: numbers to gather; traffic of a cluster to itself costs nothing and is left out.
        bits: the cost of any assignment stays below two to this power.
    """
    n = problem.clusters
    scale = unit(problem, fsum(problem.weight.tolist()), bits)
    whole = np.floor(problem.weight * scale).astype(np.int64)
    inner = (problem.source >= 0) & (problem.source != problem.target)
    first, second = problem.source[inner], problem.target[inner]
    key = np.concatenate([first * n + second, second * n + first])
    pairs, where = np.unique(key, return_inverse=True)
    weight = np.zeros(pairs.size, np.int64)
    np.add.at(weight, where.ravel(), np.concatenate([whole[inner], whole[inner]]))
    port = np.zeros(n, np.int64)
    entering = problem.source < 0
    np.add.at(port, problem.target[entering], whole[entering])
    start = np.searchsorted(pairs, np.arange(n + 1) * n)
    return Traffic(start, pairs % max(n, 1), weight, port, int(problem.move_cost * scale), scale)


def unit(problem: PlacementProblem, weight: float, bits: int) -> float:
    """Return the power of two by which costs become whole numbers whose sums stay below two to the power of `bits`.

    Args:
        problem: gives the longest distance and the cost of moving.
        weight: of all packets together.
        bits: the cost of any assignment stays below two to this power.
    """
    board = problem.board
    reach = 1 + int(board.port_hops().max(initial=0))
    if board.distance is not None:
        reach = max(reach, 1 + int(board.distance.max(initial=0)))
    elif board.size:
        low, high = board.slots.min(0), board.slots.max(0)
        # No way is longer than the one along both sides, and crossings are counted for every link of it.
        reach = max(reach, (1 + int((high - low).sum())) * (1 + 2 * sum(crossing for _, _, crossing in board.fabric.units)))
    return float(2.0 ** (bits - 1 - frexp(max(weight * reach + problem.move_cost * problem.clusters, 1e-200))[1]))
