"""A recurrent population whose neurons lie in turn on three cores: the emulated cores and Lava compute the same spikes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.connectivity import Dense, Sparse
from nmap.diagnostics import Findings
from nmap.emulate.engine import emulate
from nmap.options import Options
from nmap.partition import map_network
from nmap.partition.neurons import Partition, partition_packets
from nmap.target.machine import build_machine
from nmap.testing.networks import build, lif
from nmap.verify.mapping import verify_mapping
from nmap_loihi2 import TARGET
from nmap_loihi2.vendor import find_lava, run_lava
from tests.unit.partition.sequential import Sequential


class InTurn(Sequential):
    """Neuron k on core k mod 3."""

    def partition(self, problem, budget):
        part = np.arange(problem.neurons) % 3
        return Partition(part, 3, 1, partition_packets(problem, part), 0.0, "feasible", 0)


def liquid():
    rng = np.random.default_rng(8)
    n = 60
    inner = np.where(rng.random((n, n)) < 0.1, rng.normal(0, 0.4, (n, n)), 0)
    outer = np.where(rng.random((n, 8)) < 0.3, 0.8, 0)
    return build(
        "liquid.nir", {"in": ((8,), None), "liquid": ((n,), lif(n)), "out": ((4,), lif(4))},
        [
            ("in", "liquid", Sparse.from_dense(outer), None, 0), ("liquid", "liquid", Sparse.from_dense(inner), None, 1),
            ("liquid", "out", Dense(rng.normal(0, 0.2, (4, n))), None, 0),
        ],
    )


def test_a_liquid_cut_neuron_by_neuron(tmp_path):
    found = find_lava()
    if isinstance(found, str):
        pytest.skip(found)
    options = Options(effort=0)
    network = liquid()
    quantized = TARGET.quantize(network, options, Findings())
    machine = build_machine(TARGET.spec)

    class Apart(InTurn):
        """Every bunch keeps a core of its own."""

        def pack(self, problem, budget):
            answer = super().pack(problem, budget)
            assert len(problem.items) == 4
            pieces = tuple(type(piece)(piece.item, piece.units, piece.item % 3) for piece in answer.pieces)
            return type(answer)(pieces, 3, 1, "feasible")

    mapping = map_network(quantized, TARGET, machine, Apart(), options)
    program = build_program(quantized, "loihi2", mapping)
    assert verify_mapping(program, TARGET, machine) == ()
    for name, data in TARGET.emit(quantized, program).items():
        (tmp_path / name).write_bytes(data)
    slices = [part for core in json.loads((tmp_path / "core_map.json").read_text())["cores"] for part in core["slices"]]
    assert sorted(part["indices"][1] for part in slices if "indices" in part) == [3, 4, 5]
    inputs = (np.random.default_rng(2).random((2, 40, 8)) < 0.3).astype(np.int32)
    steps = 40 + quantized.latency
    run = run_lava(tmp_path, inputs, steps, timeout=120)
    assert run.missing is None
    chip = emulate(program, TARGET.kernels, inputs, steps, record=["liquid", "out"])
    assert chip.spikes["liquid"].sum() > 100
    for name in ("liquid", "out"):
        np.testing.assert_array_equal(chip.spikes[name], run.spikes[name], err_msg=name)
