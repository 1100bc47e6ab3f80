"""Random networks of every kind of connection, small enough for the smallest chip.

All neurons decay by 1 - 2^-k, reset to zero and compare with `>`, which every chip family can do; a target that takes more is tested
beyond this by its own tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from math import prod
from typing import Any, Final, Literal

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.network import Adaptation, Conventions, Model, Network, Neuron, Population, Projection, Provenance, Resonator, SigmaDelta

__all__ = [
    "FOREIGN_NETWORKS", "FOREIGN_OFFENDERS", "RANDOM_NETWORKS", "build", "conv", "dense", "integrators", "lif", "memoryless", "one_to_one",
    "random_inputs", "random_ports", "recurrent", "skip", "sparse",
]


def lif(n: int, *, beta: float | Array = 0.875, threshold: float | Array = 1.0, drive: float | Array = 0.0, reset: float = 0.0) -> Neuron:
    """Return n LIF neurons v = beta v + x + drive; scalars are repeated, arrays are (n,)."""
    def each(value: float | Array) -> Array:
        return np.broadcast_to(np.asarray(value, np.float64), (n,))
    return Neuron("LIF", each(0.0), each(1.0), each(1.0), each(beta), each(drive), each(threshold), each(reset))


def build(
    name: str, populations: Mapping[str, tuple[tuple[int, ...], Model | None]],
    projections: list[tuple[str, str, Connectivity, Array | None, int]], *, conventions: Conventions | None = None,
) -> Network:
    """Return a checked network from the least one has to say.

    Args:
        name: stands for the file's name.
        populations: (shape, neurons) by name, input ports (neurons None) first; the last population is the output.
        projections: (source, target, connectivity, bias or None, delay) each.
        conventions: dt 1 ms, reset to zero, `>` when None.
    """
    made = tuple(Population(key, shape, neuron, Provenance(name, f"/{key}")) for key, (shape, neuron) in populations.items())
    names = [p.name for p in made]
    links = tuple(
        Projection(f"{source}->{target}", source, target, connectivity, bias, delay, Provenance(name, f"/{source}->{target}"))
        for source, target, connectivity, bias, delay in projections
    )
    network = Network(
        name, "nir", sha256(name.encode()).hexdigest(), made, links, tuple(p.name for p in made if p.neuron is None), (names[-1],),
        conventions or Conventions(1e-3),
    )
    network.check()
    return network


def _neurons(rng: np.random.Generator, n: int) -> Neuron:
    return lif(n, beta=1 - 0.5 ** rng.integers(1, 6, n), threshold=rng.uniform(0.5, 1.5, n))


def _weights(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    # A mean above zero keeps most neurons firing, so that a comparison of spikes means something.
    return rng.normal(0.3, 0.5, shape)


def dense(seed: int, sizes: tuple[int, ...] = (8, 6, 4)) -> Network:
    """Return fully connected layers of the given sizes with biases; the first size is the input's."""
    rng = np.random.default_rng([1, seed])
    populations: dict[str, tuple[tuple[int, ...], Neuron | None]] = {"input": ((sizes[0],), None)}
    populations |= {f"layer{k}": ((n,), _neurons(rng, n)) for k, n in enumerate(sizes[1:])}
    names = list(populations)
    projections: list[tuple[str, str, Connectivity, Array | None, int]] = [
        (names[k], names[k + 1], Dense(_weights(rng, (n, m))), rng.normal(0, 0.1, n), 0)
        for k, (m, n) in enumerate(pairwise(sizes))
    ]
    return build(f"dense-{seed}.nir", populations, projections)


def recurrent(seed: int, inputs: int = 6, hidden: int = 5, outputs: int = 3) -> Network:
    """Return a population with a one-step recurrent projection onto itself, and a readout population."""
    rng = np.random.default_rng([2, seed])
    return build(
        f"recurrent-{seed}.nir",
        {"input": ((inputs,), None), "hidden": ((hidden,), _neurons(rng, hidden)), "output": ((outputs,), _neurons(rng, outputs))},
        [
            ("input", "hidden", Dense(_weights(rng, (hidden, inputs))), None, 0),
            ("hidden", "hidden", Dense(rng.normal(0, 0.5, (hidden, hidden))), None, 1),
            ("hidden", "output", Dense(_weights(rng, (outputs, hidden))), None, 0),
        ],
    )


def skip(seed: int, inputs: int = 5, hidden: int = 4, outputs: int = 3) -> Network:
    """Return two layers and a projection that skips the first one."""
    rng = np.random.default_rng([3, seed])
    return build(
        f"skip-{seed}.nir",
        {"input": ((inputs,), None), "hidden": ((hidden,), _neurons(rng, hidden)), "output": ((outputs,), _neurons(rng, outputs))},
        [
            ("input", "hidden", Dense(_weights(rng, (hidden, inputs))), None, 0),
            ("hidden", "output", Dense(_weights(rng, (outputs, hidden))), None, 0),
            ("input", "output", Dense(_weights(rng, (outputs, inputs))), None, 0),
        ],
    )


def conv(seed: int, in_shape: tuple[int, int, int] = (1, 4, 4), channels: int = 2, outputs: int = 3) -> Network:
    """Return a 3 x 3 convolution, strided and padded by turns, and a dense readout."""
    rng = np.random.default_rng([4, seed])
    geometry = [((1, 1), (0, 0)), ((2, 2), (1, 1)), ((2, 1), (0, 0))][seed % 3]
    layer = Conv2d(_weights(rng, (channels, in_shape[0], 3, 3)), in_shape, *geometry)
    size = prod(layer.out_shape)
    bias = np.repeat(rng.normal(0, 0.05, channels), size // channels)
    return build(
        f"conv-{seed}.nir",
        {"input": (in_shape, None), "features": (layer.out_shape, _neurons(rng, size)), "output": ((outputs,), _neurons(rng, outputs))},
        [("input", "features", layer, bias, 0), ("features", "output", Dense(_weights(rng, (outputs, size))), None, 0)],
    )


def sparse(seed: int, inputs: int = 12, hidden: int = 9, outputs: int = 4, density: float = 0.35) -> Network:
    """Return two layers of listed synapses; some neurons may have none."""
    rng = np.random.default_rng([5, seed])
    first, second = (_weights(rng, shape) * (rng.random(shape) < density) for shape in ((hidden, inputs), (outputs, hidden)))
    return build(
        f"sparse-{seed}.nir",
        {"input": ((inputs,), None), "hidden": ((hidden,), _neurons(rng, hidden)), "output": ((outputs,), _neurons(rng, outputs))},
        [("input", "hidden", Sparse.from_dense(first), None, 0), ("hidden", "output", Sparse.from_dense(second), None, 0)],
    )


def one_to_one(seed: int, n: int = 7) -> Network:
    """Return an input that drives a population neuron by neuron, as files without weights on an edge do."""
    rng = np.random.default_rng([6, seed])
    return build(
        f"one-to-one-{seed}.nir",
        {"input": ((n,), None), "relay": ((n,), _neurons(rng, n)), "output": ((2,), _neurons(rng, 2))},
        [
            ("input", "relay", Sparse.diagonal(np.ones(n)), None, 0),
            ("relay", "output", Dense(_weights(rng, (2, n))), rng.normal(0, 0.1, 2), 0),
        ],
    )


def integrators(seed: int, inputs: int = 7, hidden: int = 6, outputs: int = 4) -> Network:
    """Return neurons without leak, a part of them in a loop: what chips take that have no exponential decay."""
    rng = np.random.default_rng([8, seed])

    def whole(n: int) -> Neuron:
        return lif(n, beta=1.0, threshold=rng.uniform(0.8, 2.5, n))

    return build(
        f"integrators-{seed}.nir",
        {"input": ((inputs,), None), "hidden": ((hidden,), whole(hidden)), "output": ((outputs,), whole(outputs))},
        [
            ("input", "hidden", Dense(_weights(rng, (hidden, inputs))), None, 0),
            ("hidden", "hidden", Dense(rng.normal(0, 0.3, (hidden, hidden))), None, 1),
            ("hidden", "output", Dense(_weights(rng, (outputs, hidden))), None, 0),
        ],
    )


def memoryless(seed: int, side: int = 5, channels: int = 2, outputs: int = 3) -> Network:
    """Return a convolution that keeps the image's size and a dense layer, of neurons that forget at once: what chips without state take."""
    rng = np.random.default_rng([9, seed])
    layer = Conv2d(_weights(rng, (channels, 1, 3, 3)), (1, side, side), (1, 1), (1, 1))
    size = layer.out_size

    def alike(n: int, each: int = 1) -> Neuron:
        return lif(n * each, beta=0.0, threshold=np.repeat(rng.uniform(0.3, 0.9, n), each))

    return build(
        f"memoryless-{seed}.nir",
        {
            "input": ((1, side, side), None), "features": (layer.out_shape, alike(channels, side * side)),
            "output": ((outputs,), alike(outputs)),
        },
        [
            ("input", "features", layer, np.repeat(rng.normal(0, 0.05, channels), side * side), 0),
            ("features", "output", Dense(rng.normal(0, 0.2, (outputs, size))), rng.normal(0, 0.05, outputs), 0),
        ],
    )


RANDOM_NETWORKS: Final[dict[str, Callable[[int], Network]]] = {
    "dense": dense, "recurrent": recurrent, "skip": skip, "conv": conv, "sparse": sparse, "one_to_one": one_to_one,
    "integrators": integrators, "memoryless": memoryless,
}
"""Makers of random networks by kind; the argument is the seed."""


def _plain(n: int) -> Neuron:
    return lif(n, beta=0.5, threshold=0.9)


def _leaky(n: int) -> Neuron:
    return lif(n, threshold=0.9)


def _adaptive(n: int) -> Neuron:
    fixed = _plain(n)
    return replace(fixed, model="ALIF", adaptation=_adaptation(n))


def _adaptation(n: int) -> Adaptation:
    return Adaptation(np.full(n, 0.9), np.full(n, 0.8), np.full(n, 0.25))


def _resonator(n: int, firing: Literal["phase", "izhikevich"] = "phase", adapts: bool = False) -> Resonator:
    turn = 0.95 * np.exp(0.4j)
    return Resonator(
        "RF", np.full(n, turn.real), np.full(n, turn.imag), np.ones(n), np.zeros(n), firing,
        adaptation=_adaptation(n) if adapts else None,
    )


def _sigma_delta(n: int, role: Literal["delta", "sigma_delta", "sigma"]) -> SigmaDelta:
    return SigmaDelta("SDNN", role, np.full(n, 64.0), np.zeros(n))


def _silent(n: int, beta: float) -> Neuron:
    return replace(lif(n, beta=beta), spiking=False)


def _foreign(name: str, make: Callable[[int], Model], **conventions: Any) -> Network:
    """Return input -> first -> second, both made by `make`, with a reset to zero unless `conventions` say otherwise.

    The weights are large and of both signs, so that membranes hold several thresholds and fall below a floor.
    """
    weights = Dense(np.array([[2.0, -2.0], [-2.0, 2.0]]))
    return build(
        f"{name}.nir", {"input": ((2,), None), "first": ((2,), make(2)), "second": ((2,), make(2))},
        [("input", "first", weights, None, 0), ("first", "second", weights, None, 0)],
        conventions=Conventions(1e-3, **conventions),
    )


def _complex(name: str) -> Network:
    plain = _foreign(name, _resonator)
    extra = tuple(replace(p, name=f"{p.name}.imaginary", receptor="imaginary") for p in plain.projections)
    return replace(plain, projections=(*plain.projections, *extra))


def _late_bias(name: str) -> Network:
    plain = _foreign(name, _leaky, late_bias=True)
    changed = tuple(replace(p, bias=np.full(2, 0.5), bias_from=8) for p in plain.projections)
    return replace(plain, projections=changed)


def _delayed(name: str, steps: int) -> Network:
    plain = _foreign(name, _plain)
    return replace(plain, projections=tuple(replace(p, delay=steps) for p in plain.projections))


def _relay(name: str) -> Network:
    return build(
        f"{name}.nir",
        {"input": ((2,), None), "first": ((2,), _silent(2, 0.0)), "second": ((2,), _silent(2, 0.0)), "output": ((2,), _plain(2))},
        [(a, b, Dense(np.eye(2)), None, 0) for a, b in (("input", "first"), ("first", "second"), ("second", "output"))],
    )


def _ports(name: str) -> Network:
    made = build(
        f"{name}.nir", {"left": ((2,), None), "right": ((3,), None), "first": ((2,), _plain(2)), "second": ((2,), _plain(2))},
        [
            ("left", "first", Dense(np.array([[2.0, -2.0], [-2.0, 2.0]])), None, 0),
            ("right", "second", Dense(np.array([[2.0, -2.0, 2.0], [-2.0, 2.0, 2.0]])), None, 0),
            ("first", "second", Dense(np.eye(2)), None, 0),
        ],
    )
    return replace(made, outputs=("first", "second"))


def _resonators(**how: Any) -> Callable[[int], Resonator]:
    return lambda n: _resonator(n, **how)


def _sigma_deltas(role: Literal["delta", "sigma_delta", "sigma"]) -> Callable[[int], SigmaDelta]:
    return lambda n: _sigma_delta(n, role)


FOREIGN_NETWORKS: Final[dict[str, Callable[[], Network]]] = {
    "adaptive": lambda: _foreign("adaptive", _adaptive),
    "adaptive resonator": lambda: _foreign("adaptive-resonator", _resonators(adapts=True)),
    "complex weights": lambda: _complex("complex"),
    "delay of 1000": lambda: _delayed("delay", 1000),
    "delta": lambda: _foreign("delta", _sigma_deltas("delta")),
    "early reset": lambda: _foreign("early", _leaky, reset="subtract", early_reset=True),
    "floor": lambda: _foreign("floor", _leaky, floor=-1.0),
    "izhikevich": lambda: _foreign("izhikevich", _resonators(firing="izhikevich")),
    "lag": lambda: _foreign("lag", _plain, lag=1),
    "lag of 3": lambda: _foreign("lag3", _plain, lag=3),
    "late bias": lambda: _late_bias("late"),
    "multiple": lambda: _foreign("multiple", _leaky, reset="subtract", multiple=True),
    "relay": lambda: _relay("relay"),
    "resonator": lambda: _foreign("resonator", _resonator),
    "several ports": lambda: _ports("ports"),
    "sigma": lambda: _foreign("sigma", _sigma_deltas("sigma")),
    "sigma delta": lambda: _foreign("sigma-delta", _sigma_deltas("sigma_delta")),
    "silent": lambda: _foreign("silent", lambda n: _silent(n, 0.875)),
    "silent and delayed": lambda: _foreign(
        "silent-delayed", lambda n: _silent(n, 0.875), reset="delayed", lag=1, multiple=True, floor=-1.0
    ),
}
"""Makers of networks with a neuron model or convention that not every chip has; two populations ask for it."""

FOREIGN_OFFENDERS: Final[dict[str, tuple[str, ...]]] = {
    name: ("input->first", "first->second") if name == "delay of 1000" else ("first", "second") for name in FOREIGN_NETWORKS
}
"""What a refusal must name: populations, or projections."""


def random_inputs(network: Network, seed: int, samples: int = 3, steps: int = 24, rate: float = 0.3) -> Array:
    """Return random binary spikes for a network's first input port: (samples, steps, input neurons) int32."""
    size = network[network.inputs[0]].size
    return (np.random.default_rng([7, seed]).random((samples, steps, size)) < rate).astype(np.int32)


def random_ports(network: Network, seed: int, samples: int = 3, steps: int = 24, rate: float = 0.3) -> dict[str, Array]:
    """Return random binary spikes by input port: (samples, steps, *shape of the port) int32 each."""
    rng = np.random.default_rng([7, seed])
    return {name: (rng.random((samples, steps, *network[name].shape)) < rate).astype(np.int32) for name in network.inputs}
