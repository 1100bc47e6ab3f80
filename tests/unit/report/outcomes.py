"""A small deployment made by hand, so that every number of its report can be told without running anything.

input (4) -> hidden (3 neurons, dense, recurrent) -> output (2 neurons); hidden lies in two pieces on two cores.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nmap.connectivity import Conv2d, Dense
from nmap.diagnostics import Diagnostic, Exit
from nmap.mapping import Mapping, Shard
from nmap.network import Assumption, Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.partition.problem import PackingSolution, Piece
from nmap.place.problem import PlacementSolution
from nmap.program import Core
from nmap.quantized import LayerLoss, QuantizedNetwork, QuantizedPopulation
from nmap.report.model import ChipVsFixed, ChipVsFloat, Outcome, Samples, Traffic, VendorCheck, Verification
from nmap.target.backend import Survey
from nmap.target.machine import Machine, build_machine
from nmap.target.spec import ChipSpec

SHA = "ab" * 32


def place(path: str, file: str = "net.h5") -> Provenance:
    return Provenance(file, path)


def neuron(size: int) -> Neuron:
    zeros = np.zeros(size)
    return Neuron("LIF", zeros, zeros, zeros, zeros, zeros, np.ones(size), zeros)


def network(file: str = "net.h5") -> Network:
    return Network(
        file, "nir", SHA,
        (
            Population("input", (4,), None, place("/input", file)),
            Population("hidden", (3,), neuron(3), place("/hidden", file)),
            Population("output", (2,), neuron(2), place("/output", file)),
        ),
        (
            Projection("a", "input", "hidden", Dense(np.ones((3, 4))), None, 0, place("/a", file)),
            Projection("r", "hidden", "hidden", Dense(np.ones((3, 3))), None, 1, place("/r", file)),
            Projection("b", "hidden", "output", Dense(np.ones((2, 3))), None, 0, place("/b", file)),
        ),
        ("input",), ("output",), Conventions(1e-3),
        (Assumption("dt", "0.001 s", "default", "the file does not say"),), ("a pool was fused",),
    )


def conv_network() -> Network:
    conv = Conv2d(np.ones((12, 2, 5, 5)), (2, 8, 8))
    out = Population("conv1", (12, 4, 4), neuron(192), place("/conv1"))
    return replace(
        network(), populations=(Population("input", (2, 8, 8), None, place("/input")), out),
        projections=(Projection("c", "input", "conv1", conv, None, 0, place("/c")),), outputs=("conv1",),
    )


def spec() -> ChipSpec:
    source = "made up for tests"
    return ChipSpec.model_validate({
        "name": "tiny", "title": "Tiny chip", "data_version": "7", "default_variant": "two",
        "resources": {
            "neurons": {"max": 10, "unit": "neurons", "source": source, "title": "neurons"},
            "words": {"max": 20, "unit": "words", "source": source, "title": "synapse memory"},
        },
        "limits": {"weight": {"min": -7, "max": 7, "source": source}},
        "features": {"lif": {"level": "exact", "note": "as it is"}},
        "variants": {
            "two": {
                "title": "2 x 2", "chips": 1, "max_chips": 3, "cores": 4, "mesh": [2, 2], "cores_per_router": 1, "chip_link_hops": 1,
                "source": source,
            },
        },
    })


def mapping(machine: Machine) -> Mapping:
    box = ((0, 2),)
    return Mapping(
        machine,
        (
            Shard("hidden", box, 0, {"neurons": 2, "words": 15}),
            Shard("hidden", ((2, 3),), 1, {"neurons": 1, "words": 7}),
            Shard("output", ((0, 2),), 1, {"neurons": 2, "words": 6}),
        ),
        (Core(0, 1, 0, 1), Core(0, 0, 1, 2)),
        PackingSolution(((Piece(0, 2, 0), Piece(0, 1, 1)), (Piece(1, 2, 1),)), 2, 2, "optimal", 0.25),
        PlacementSolution(np.array([1, 2]), 12.0, 10.0, "feasible", 5, 0.5),
        True,
    )


def quantized() -> QuantizedNetwork:
    populations = tuple(
        QuantizedPopulation(p.name, p.shape, None if p.neuron is None else "tiny.lif", {}, p.where, latency=k)
        for k, p in enumerate(network().populations)
    )
    return QuantizedNetwork(
        populations, (), ("input",), ("output",),
        (LayerLoss("hidden", 8, 50.0, 2, 41.25, 3, 1, 0.004, 1e-4), LayerLoss("output", 8, 25.0, 2, None, 0, 0)),
    )


def warning() -> Diagnostic:
    return Diagnostic("NM301", "warning", "3 weights of `hidden` were clipped", "net.h5:/hidden", "127 is the largest.", ("--bits 9",))


def outcome(**changes: Any) -> Outcome:
    """A deployment that went well; `changes` replace fields."""
    machine = build_machine(spec(), dead=[(0, 0)])
    good = Outcome(
        "ok", Exit.OK, ("nmap", "deploy", "net.h5", "--target", "tiny", "-o", "out", "--input", "s.npz"), network(), "tiny", spec(), "two",
        machine, quantized(), mapping(machine),
        Verification("ok", ChipVsFixed(8, 20, 1234, 0), ChipVsFloat(0.9996, 0.5, 0.25, 8), VendorCheck("sim", "1.2", 0, 2)),
        6.5, None, Samples("s.npz", "cd" * 32, 8, 18, True), (warning(),), {"read": 0.12, "check": 0.01, "quantize": 2.0, "verify": 61.26},
        Path("out"), 4, "cpsat", 5, None, ("manifest.json", "program.h5"), traffic=Traffic("unicast", 4.5, 12.0, 9.5, 3.0),
    )
    return replace(good, **changes)


def misfit() -> Outcome:
    """A network that is proved not to fit."""
    error = Diagnostic("NM402", "error", "the network needs 5 cores, `tiny:two` has 3", "net.h5", "5 > 3", ("--chips 2",))
    return outcome(
        status="does_not_fit", exit_status=Exit.DOES_NOT_FIT, mapping=None, verification=None, spike_hops_per_step=None, traffic=None,
        diagnostics=(error,), timings={"read": 0.1, "partition": 0.2}, bundle=None, written=(),
    )


def folded(passes: int = 2) -> ChipSpec:
    """The tiny chip, its last core a smaller one, that computes a network in several passes; its budgets are estimates."""
    data = spec().model_dump()
    data["estimated"] = True
    # A core has one of it, or none.
    data["resources"]["layers"] = {"max": 1, "unit": "layers", "source": "made up", "title": "layers"}
    data["classes"] = {
        name: {"title": name, "budget": budget, "source": "made up"}
        for name, budget in {"large": {"words": 20}, "small": {"words": 5, "layers": 0}}.items()
    }
    data["variants"]["two"] |= {"passes": passes, "classes": {"large": [0, 1, 2], "small": [3]}}
    return ChipSpec.model_validate(data)


def guessed(survey: Survey | None = None, passes: int = 2, **changes: Any) -> Outcome:
    """The deployment on that chip, core 0 of which is dead, in its first and its second pass."""
    machine = build_machine(folded(passes), dead=[(0, 0)])
    made = mapping(machine)
    shards = tuple(replace(shard, demand={**shard.demand, "layers": 1}) for shard in made.shards)
    placed = replace(
        made, shards=shards[:2], cores=(machine.cores[0], machine.cores[3 * passes - 2]),
        placement=replace(made.placement, slot=np.array([0, 3 * passes - 2])),
    )
    return outcome(**{"spec": machine.spec, "machine": machine, "mapping": placed, "survey": survey, **changes})
