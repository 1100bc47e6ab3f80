"""A network and a mapping small enough to check with pencil and paper, shared by the toy's tests.

    input (3) --W1--> a (2) --W2--> b (1), threshold 1, no leak, `>`

Weights are multiples of 1/7 with largest 1, so the scale is 7, one integer weight step is 1/7 and a threshold of 1 becomes 8.
"""

from __future__ import annotations

import numpy as np

from nmap.compile import build_program
from nmap.connectivity import Dense
from nmap.diagnostics import Findings
from nmap.mapping import Mapping, Shard
from nmap.network import Network
from nmap.options import Options
from nmap.partition.problem import PackingSolution
from nmap.place.problem import PlacementSolution
from nmap.program import Box, Program, box_size
from nmap.quantized import QuantizedNetwork
from nmap.target.machine import build_machine
from nmap.testing.networks import build, lif
from nmap_toy import TARGET

W1 = np.array([[7, 3, 0], [-2, 5, 1]]) / 7
W2 = np.array([[7, -4]]) / 7


def network() -> Network:
    return build(
        "hand.nir",
        {"input": ((3,), None), "a": ((2,), lif(2, beta=1.0)), "b": ((1,), lif(1, beta=1.0))},
        [("input", "a", Dense(W1), None, 0), ("a", "b", Dense(W2), None, 0)],
    )


def quantized(net: Network) -> QuantizedNetwork:
    findings = Findings()
    for rule in TARGET.rules:
        rule(net, TARGET.spec, Options(), findings)
    findings.raise_errors()
    return TARGET.quantize(net, Options(), findings)


def program(net: QuantizedNetwork, slices: list[tuple[str, Box, int]]) -> Program:
    """Build the program of slices (population, box, core) without any partitioner; core k of the list of used cores is chip core k."""
    machine = build_machine(TARGET.spec)
    used = sorted({core for _, _, core in slices})
    shards = tuple(
        Shard(name, box, used.index(core), {"neurons": box_size(box), "axons": 0, "synapse_memory": 0}) for name, box, core in slices
    )
    mapping = Mapping(
        machine, shards, tuple(machine.cores[core] for core in used), PackingSolution((), len(used), 1, "feasible"),
        PlacementSolution(np.array(used), 0.0, 0.0, "feasible", 0), False,
    )
    return build_program(net, "toy", mapping)
