"""Quantized chains that a netx file can hold, one per feature of the format, for the tests of the export."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat

STEPS = 40


@dataclass
class Chain:
    """A quantized chain in the making, an input for it, and how netx takes it."""

    rng: np.random.Generator
    shape: tuple[int, ...]
    message_bits: int = 0

    def __post_init__(self) -> None:
        self.populations = [QuantizedPopulation("input", self.shape, None, {}, Provenance("made", "/"))]
        self.projections: list[QuantizedProjection] = []
        self.arguments: dict[str, int] = {}

    def add(self, connectivity, kernel: str, shape: tuple[int, ...], exponent: int = 0, delays: Array | None = None, **params) -> Chain:
        name, where = f"p{len(self.populations)}", Provenance("made", "/")
        parts = connectivity if isinstance(connectivity, tuple) else (connectivity,)
        bits = self.message_bits if len(self.populations) == 1 else 24 if params.pop("graded", False) else 0
        for receptor, part in enumerate(parts):
            self.projections.append(QuantizedProjection(
                f"{name}.{receptor}", self.populations[-1].name, name, part, SynapseFormat(8, exponent, "mixed", bits), 0, where, delays,
                receptor,
            ))
        values = {key: np.asarray(value) for key, value in params.items()}
        self.populations.append(QuantizedPopulation(name, shape, kernel, values, where, latency=len(self.populations)))
        return self

    def loop(self, weights: Array) -> Chain:
        name = self.populations[-1].name
        self.projections.append(QuantizedProjection(
            f"{name}.loop", name, name, Dense(weights), SynapseFormat(8), 0, Provenance("made", "/")
        ))
        return self

    @property
    def network(self) -> QuantizedNetwork:
        return QuantizedNetwork(tuple(self.populations), tuple(self.projections), ("input",), (self.populations[-1].name,))


def even(rng: np.random.Generator, *shape: int, top: int = 60) -> Array:
    return (2 * rng.integers(-top // 2, top // 2 + 1, shape)).astype(np.int32)


def lif(rng: np.random.Generator, n: int, threshold: int = 60, bias: bool = True, **more):
    """Parameters that differ from neuron to neuron."""
    return {
        "du": rng.integers(-1, 4096, n), "dv": rng.integers(0, 4097, n), "vth": rng.integers(threshold // 2, threshold, n),
        "bias_mant": rng.integers(-3, 9, n) if bias else 0, "bias_exp": 6, **more,
    }


def of_images(rng: np.random.Generator, channels: int, pixels: int, **more):
    """Parameters that differ from channel to channel."""
    return {key: np.repeat(value, pixels) if np.ndim(value) else value for key, value in lif(rng, channels, **more).items()}


def inputs_of(name: str, chain: Chain, rng: np.random.Generator) -> Array:
    """Return an input (*shape, STEPS) int32: spikes, or graded ones where the chain takes them."""
    low, high = (-15, 16) if name == "graded" else (-40, 90) if name == "sdnn" else (0, 2)
    return rng.integers(low, high, (*chain.shape, STEPS)).astype(np.int32)


def networks() -> dict[str, Chain]:
    """One chain per feature of the format."""
    rng, made = np.random.default_rng(5), {}
    made["dense"] = Chain(rng, (8,)).add(Dense(even(rng, 12, 8)), "loihi2.lif", (12,), **lif(rng, 12)).add(
        Dense(even(rng, 6, 12, top=254)), "loihi2.lif", (6,), **lif(rng, 6, 200)
    )
    odd = rng.integers(-100, 100, (9, 8)).astype(np.int32)
    made["odd"] = Chain(rng, (8,)).add(Dense(2 * odd), "loihi2.lif", (9,), exponent=-1, **lif(rng, 9))
    made["positive"] = Chain(rng, (8,)).add(
        Dense(rng.integers(0, 256, (9, 8)).astype(np.int32)), "loihi2.lif", (9,), **lif(rng, 9, 400)
    )
    made["negative"] = Chain(rng, (8,)).add(
        Dense(-2 * rng.integers(0, 90, (9, 8)).astype(np.int32)), "loihi2.lif", (9,), **lif(rng, 9, 10)
    )
    made["graded"] = Chain(rng, (8,), 5).add(Dense(even(rng, 9, 8)), "loihi2.lif", (9,), **lif(rng, 9, 500))
    made["graded"].arguments["input_message_bits"] = 5
    delays = rng.integers(0, 12, (9, 8))
    made["delayed"] = Chain(rng, (8,)).add(Dense(even(rng, 9, 8)), "loihi2.lif", (9,), delays=delays, **lif(rng, 9))
    sparse = even(rng, 9, 8) * (rng.random((9, 8)) < 0.4).astype(np.int32)
    made["sparse"] = Chain(rng, (8,)).add(Sparse.from_dense(sparse), "loihi2.lif", (9,), **lif(rng, 9))
    made["recurrent"] = Chain(rng, (8,)).add(Dense(even(rng, 10, 8)), "loihi2.lif", (10,), **lif(rng, 10)).loop(
        even(rng, 10, 10, top=30)
    ).add(Dense(even(rng, 4, 10)), "loihi2.lif", (4,), **lif(rng, 4))
    first = Conv2d(even(rng, 4, 2, 3, 2), (2, 9, 7), (2, 1), (1, 0))
    second = Conv2d(even(rng, 6, 2, 2, 2), first.out_shape, (1, 2), (0, 1), (2, 1), 2)
    made["conv"] = (
        Chain(rng, (2, 9, 7)).add(first, "loihi2.lif", first.out_shape, **of_images(rng, 4, first.out_size // 4))
        .add(second, "loihi2.lif", second.out_shape, **of_images(rng, 6, second.out_size // 6))
        .add(Dense(even(rng, 5, second.out_size)), "loihi2.lif", (5,), **lif(rng, 5, 300))
    )
    made["block"] = Chain(rng, (6,)).add(
        Sparse.diagonal(np.ones(6, np.int32)), "loihi2.lif", (6,), **lif(rng, 6, 3, bias=False)
    ).add(Dense(even(rng, 5, 6)), "loihi2.lif", (5,), **lif(rng, 5))
    ones = Conv2d(np.ones((2, 1, 1, 1), np.int32), (2, 4, 5), groups=2)
    made["image block"] = Chain(rng, (2, 4, 5)).add(
        ones, "loihi2.lif", (2, 4, 5), **of_images(rng, 2, 20, threshold=3, bias=False)
    ).add(Dense(even(rng, 5, 40)), "loihi2.lif", (5,), **lif(rng, 5))
    own = np.random.default_rng(6)
    made["flat image"] = Chain(own, (2, 3, 4)).add(Dense(even(own, 7, 24)), "loihi2.lif", (7,), **lif(own, 7))
    made["reset"] = Chain(rng, (8,))
    for k, (n, m) in enumerate(((10, 8), (7, 10))):
        made["reset"].add(Dense(even(rng, n, m)), "loihi2.lif_reset", (n,), reset_interval=8, reset_offset=3 + 1 + k, **lif(rng, n, 200))
    made["reset"].arguments.update(reset_interval=8, reset_offset=3)
    made["sdnn"] = sigma_delta(rng)
    for kind in ("rf", "rf_iz"):
        made[kind] = resonators(rng, kind, 1717, 3333)
        made[f"{kind} off"] = resonators(rng, kind, *off_by_one())
        angle = rng.uniform(0.1, 2, 7)
        made[f"{kind} many"] = resonators(
            rng, kind, *(np.trunc(4000 * part(angle)).astype(np.int64) for part in (np.sin, np.cos))
        )
    return made


def sigma_delta(rng: np.random.Generator) -> Chain:
    unit, usual = 1 << 12, {"spike_exp": 6, "state_exp": 6, "cum_error": 0}
    bias = np.repeat([1, 0, -2], 30) * unit
    ones = Conv2d(np.ones((2, 1, 1, 1), np.int32), (2, 6, 5), groups=2)
    conv = Conv2d(even(rng, 3, 2, 3, 3, top=40), (2, 6, 5), (1, 1), (1, 1))
    return (
        Chain(rng, (2, 6, 5), 16).add(ones, "loihi2.delta", (2, 6, 5), vth=2 * unit, **usual)
        .add(conv, "loihi2.sigma_delta", conv.out_shape, graded=True, vth=3 * unit, bias=bias, rectify=1, **usual)
        .add(Dense(even(rng, 5, 90, top=30)), "loihi2.sigma_delta", (5,), graded=True, vth=2 * unit, bias=3 * unit, rectify=1, **usual)
        .add(Dense(even(rng, 3, 5, top=30)), "loihi2.sigma", (3,), graded=True)
    )


def resonators(rng: np.random.Generator, kind: str, sin: int | Array, cos: int | Array) -> Chain:
    usual = {"sin": sin, "cos": cos, "vth": 100 << 6, "state_exp": 6, "decay_bits": 12}
    weights = Dense(even(rng, 7, 8)), Dense(even(rng, 7, 8))
    return Chain(rng, (8,)).add(weights, f"loihi2.{kind}", (7,), **usual).add(Dense(even(rng, 4, 7)), "loihi2.lif", (4,), **lif(rng, 4, 10))


def off_by_one() -> tuple[int, int]:
    """Return a rotation that netx computes anew one unit off."""
    for sin in range(1000, 2000):
        s, c = sin / 4096, 3000 / 4096
        period, left = 1 / (np.arctan2(s, c) / 2 / np.pi), 1 - (1 - np.sqrt(s**2 + c**2))
        turned = int(left * np.sin(np.pi * 2 * 1 / period) * 4096), int(left * np.cos(np.pi * 2 * 1 / period) * 4096)
        if turned != (sin, 3000):
            return sin, 3000
    raise AssertionError("every rotation survives")
