"""Networks that are quantized for TrueNorth in tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from nmap.connectivity import Array, Dense
from nmap.diagnostics import Findings
from nmap.network import Conventions, Network, Neuron, Population, Projection, Provenance
from nmap.options import Options
from nmap.quantized import QuantizedNetwork
from nmap.simulate.fixed import simulate
from nmap.simulate.floating import simulate as simulate_float
from nmap.target.spec import load_spec
from nmap_truenorth.neuron import NEURON
from nmap_truenorth.quantize import quantize
from nmap_truenorth.rules import RULES

SPEC = load_spec("nmap_truenorth")
KERNELS = {NEURON.name: NEURON}
AT = Provenance("net.nir", "/node")


def neurons(n: int, *, beta: Any = 1.0, threshold: Any = 1.0, drive: Any = 0.0, reset: Any = 0.0, gain: Any = 1.0) -> Neuron:
    zero, one = np.zeros(n), np.ones(n)
    return Neuron("IF", zero, one, gain + zero, beta + zero, drive + zero, threshold + zero, reset + zero)


def network(
    populations: Mapping[str, tuple[tuple[int, ...], Neuron | None]], edges: list[dict[str, Any]], **conventions: Any
) -> Network:
    made = tuple(Population(name, shape, neuron, Provenance("net.nir", f"/{name}")) for name, (shape, neuron) in populations.items())
    links = tuple(
        Projection(
            edge.get("name", f"{edge['source']}->{edge['target']}"), edge["source"], edge["target"], edge["by"], edge.get("bias"),
            edge.get("delay", 0), AT, edge.get("delays"),
        )
        for edge in edges
    )
    whole = Network(
        "net.nir", "nir", "", made, links, tuple(p.name for p in made if p.neuron is None), (made[-1].name,),
        Conventions(1e-3, **{"compare": ">=", **conventions}),
    )
    whole.check()
    return whole


def compiled(net: Network, options: Options | None = None, accepted: bool = True) -> tuple[QuantizedNetwork, Findings]:
    options, findings = options or Options(), Findings()
    for rule in RULES:
        rule(net, SPEC, options, findings)
    assert not findings.errors, [d.message for d in findings.errors]
    made = quantize(net, SPEC, options, findings)
    assert not (accepted and findings.errors), [d.message for d in findings.errors]
    return made, findings


def codes(findings: Findings, severity: str) -> list[str]:
    return [d.code for d in findings if d.severity == severity]


def both(net: Network, made: QuantizedNetwork, seed: int = 0, steps: int = 50, rate: float = 0.3) -> dict[str, tuple[Array, Array]]:
    """Spikes of the network's float level and of the integers, in the network's own time, by population."""
    rng = np.random.default_rng([3, seed])
    inputs = {name: (rng.random((3, steps, *net[name].shape)) < rate).astype(np.int32) for name in net.inputs}
    names = [p.name for p in net.populations if p.neuron is not None]
    real = simulate_float(net, inputs, record=names).spikes
    late = {name: made[name].latency for name in names}
    fixed = simulate(made, KERNELS, inputs, steps + max(late.values()), record=names).spikes
    return {name: (real[name], fixed[name][:, late[name] : late[name] + steps]) for name in names}


def one_layer(weights: Array, neuron: Neuron, bias: Array | None = None, **conventions: Any) -> Network:
    return network(
        {"in": ((weights.shape[1],), None), "out": ((weights.shape[0],), neuron)},
        [{"source": "in", "target": "out", "by": Dense(np.asarray(weights, np.float64)), "bias": bias}], **conventions,
    )
