"""Traffic of a placement problem as compiled code and bounds want it: whole numbers, by cluster."""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp, fsum

import numpy as np

from nmap.connectivity import Array
from nmap.place.problem import PlacementProblem

__all__ = ["Traffic", "collect"]


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """Undirected traffic between clusters, and traffic from the port.

    Weights are whole multiples of 1 / `scale`, so that sums are exact in any order.

    Args:
        start: (clusters + 1,) int64, compressed rows by cluster.
        other: (entries,) int64, the cluster at the other end; every pair appears in both rows.
        weight: (entries,) int64, both directions added.
        port: (clusters,) int64.
        scale: units of a weight per packet per step, a power of two.
    """

    start: Array
    other: Array
    weight: Array
    port: Array
    scale: float


def collect(problem: PlacementProblem, bits: int = 50) -> Traffic:
    """Gather the traffic by cluster, each weight rounded down to a multiple of 2 to some power.

    Args:
        problem: numbers to gather; traffic of a cluster to itself costs nothing and is left out.
        bits: the cost of any assignment stays below two to this power.
    """
    n = problem.clusters
    reach = 1 + int(problem.board.port_hops().max(initial=0))
    if problem.board.distance is not None:
        reach = max(reach, 1 + int(problem.board.distance.max(initial=0)))
    else:
        reach = max(reach, 1 + int(np.ptp(problem.board.slots, axis=0).sum()) if problem.board.slots.size else 1)
    scale = 2.0 ** (bits - 1 - frexp(max(fsum(problem.weight.tolist()) * reach, 1e-200))[1])
    whole = np.floor(problem.weight * scale).astype(np.int64)
    inner = (problem.source >= 0) & (problem.source != problem.target)
    first, second = problem.source[inner], problem.target[inner]
    key = np.concatenate([first * n + second, second * n + first])
    pairs, where = np.unique(key, return_inverse=True)
    weight = np.zeros(pairs.size, np.int64)
    np.add.at(weight, where, np.concatenate([whole[inner], whole[inner]]))
    port = np.zeros(n, np.int64)
    entering = problem.source < 0
    np.add.at(port, problem.target[entering], whole[entering])
    start = np.searchsorted(pairs, np.arange(n + 1) * n)
    return Traffic(start, pairs % max(n, 1), weight, port, scale)
