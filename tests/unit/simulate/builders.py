"""Small networks made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from nmap.connectivity import Connectivity, Dense
from nmap.network import Conventions, Model, Network, Neuron, Population, Projection, Provenance
from nmap.simulate.floating import FloatRun, simulate

HERE = Provenance("net.nir", "/")


def neuron(n: int = 1, **values: Any) -> Neuron:
    """Return neurons without decay, gain 1 and threshold 1, unless stated otherwise."""
    fields: dict[str, Any] = {"alpha": 0.0, "gain_in": 1.0, "gain_v": 1.0, "beta": 1.0, "drive": 0.0, "threshold": 1.0, "v_reset": 0.0}
    flags = {k: values.pop(k) for k in ("spiking", "quantum", "adaptation") if k in values}
    fields |= values
    return Neuron("LIF", **{k: np.broadcast_to(np.asarray(v, float), n) for k, v in fields.items()}, **flags)


def network(
    populations: dict[str, tuple[tuple[int, ...], Model | None]], edges: list[Projection], outputs: tuple[str, ...] = (), **conventions: Any
) -> Network:
    """Return a network; populations without neurons are its inputs, the last one its output."""
    made = tuple(Population(name, shape, model, HERE) for name, (shape, model) in populations.items())
    ports = tuple(p.name for p in made if p.neuron is None)
    result = Network("net.nir", "nir", "", made, tuple(edges), ports, outputs or (made[-1].name,), Conventions(1.0, **conventions))
    result.check()
    return result


def edge(
    source: str, target: str, connectivity: Connectivity, delay: int = 0, bias: Any = None, delays: Any = None, **more: Any
) -> Projection:
    """Return a projection named `source->target`."""
    bias = None if bias is None else np.asarray(bias, float)
    name = f"{source}->{target}" + (f" {more['receptor']}" if "receptor" in more else "")
    return Projection(name, source, target, connectivity, bias, delay, HERE, delays, **more)


def single(model: Model, *, conventions: dict[str, Any] | None = None, **more: Any) -> Network:
    """Return one neuron `n` behind one input with weight 1."""
    return network({"in": ((1,), None), "n": ((1,), model)}, [edge("in", "n", Dense(np.ones((1, 1))), **more)], **(conventions or {}))


def run(net: Network, inputs: list[float]) -> FloatRun:
    """Run one sample of a network of one input and one neuron `n`; record its spikes, v and u."""
    return simulate(net, np.array(inputs, float).reshape(1, -1, 1), record=["n", "n:v", "n:u"])


def trace(net: Network, inputs: list[float]) -> tuple[list[float], list[float]]:
    """Return the spikes and v of neuron `n`, step by step."""
    result = run(net, inputs)
    return result.spikes["n"][0, :, 0].tolist(), result.v["n"][0, :, 0].tolist()
