"""Models of cores with random contents in all modes, and random spikes into them."""

from __future__ import annotations

from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap_truenorth.model.model import NOWHERE, OFF_CHIP, Events, Model, pack_crossbar


def one_core(synapses: Any, **values: Any) -> Model:
    """Return a core with crossbar weights (axons, neurons) of types that axons have by their number, modulo 4.

    All neurons are outputs that reset to 0 from threshold 10 with a floor far away, unless `values` say otherwise; a value holds for all.
    """
    synapses = np.atleast_2d(np.asarray(synapses))
    axons, neurons = synapses.shape
    types = np.arange(axons) % 4
    weights = np.zeros((1, neurons, 4), np.int64)
    for axon, kind in enumerate(types):
        used = synapses[axon] != 0
        assert np.all((weights[0, used, kind] == 0) | (weights[0, used, kind] == synapses[axon, used]))
        weights[0, used, kind] = synapses[axon, used]
    given: dict[str, Any] = {
        "leak": 0, "leak_stochastic": False, "leak_reversal": False, "threshold": 10, "floor": 2**18 - 1, "mask": 0, "gamma": 0,
        "kappa": False, "reset": 0, "potential": 0, "enabled": True, "target": OFF_CHIP, "target_core": -32, "target_axon": 0, "delay": 1,
    }  # fmt: skip
    rest = {name: value for name, value in values.items() if name not in given}
    arrays = {name: np.broadcast_to(values.get(name, default), (1, neurons)) for name, default in given.items()}
    common: dict[str, Any] = {
        "file": "one.json", "dialect": "truenorth", "ids": [0], "places": None, "axon_types": types[None],
        "crossbar": pack_crossbar(synapses[None] != 0), "weights": weights, "stochastic": np.zeros((1, neurons, 4)), "seeds": [1],
        "input_delay": 0,
    }  # fmt: skip
    common = {**common, **rest}
    common = {name: np.asarray(value) if isinstance(value, list) else value for name, value in common.items()}
    return Model(**common, **arrays)


def random_model(rng: np.random.Generator, *, random: bool = False, ranc: bool = False, **sizes: int) -> Model:
    """Return a model with random numbers in every field that its chip has; `random` for stochastic modes."""
    cores = sizes.get("cores", int(rng.integers(1, 5)))
    axons = sizes.get("axons", int(rng.choice([1, 5, 64, 70])))
    neurons = sizes.get("neurons", int(rng.choice([1, 7, 64, 130])))
    shape = (cores, neurons)

    def some(share: float) -> Array:
        return rng.random(shape) < share

    def between(low: int, high: int, size: Any = shape) -> Array:
        return rng.integers(low, high + 1, size)

    large = rng.random() < 0.3
    strength = 10 ** int(rng.integers(3, 9)) if ranc and large else int(rng.choice([3, 20, 127, 255]))
    scale = 10 ** int(rng.integers(0, 9 if ranc else 6))
    highest, lowest = (scale, -scale) if ranc else (min(scale, 2**18 - 1), 0)
    draw = rng.random(shape)
    target = np.where(draw < 0.3, OFF_CHIP, np.where(draw < 0.4, NOWHERE, between(0, cores - 1)))
    power = np.where(some(0.5), 0, 2 ** between(0, 9) - 1)
    nothing = np.zeros(shape, bool)
    return Model(
        file="random.json", dialect="ranc" if ranc else "truenorth", ids=rng.permutation(3 * cores)[:cores].astype(np.int64), places=None,
        axon_types=rng.integers(0, 4, (cores, axons)), crossbar=pack_crossbar(rng.random((cores, axons, neurons)) < rng.random()),
        weights=between(-strength, strength, (*shape, 4)), stochastic=(rng.random((*shape, 4)) < 0.3 * random),
        leak=np.where(some(0.4), 0, between(-min(strength, 255), min(strength, 255))), leak_stochastic=some(0.3 * random),
        leak_reversal=nothing if ranc else some(0.3) & (rng.random((cores, 1)) < 0.5), threshold=between(lowest, highest),
        floor=np.where(some(0.3), 0, between(lowest, highest)), mask=np.where(some(0.3 * random), between(0, 9), 0),
        gamma=between(0, 1 if ranc else 2), kappa=nothing if ranc else some(0.5),
        reset=between(-scale, scale) if ranc else np.where(some(0.5), power, -power),
        potential=np.where(some(0.5), 0, between(-scale, scale)), enabled=~nothing if ranc else some(0.95), target=target,
        target_core=target, target_axon=between(0, axons - 1), delay=between(1, 15), seeds=rng.integers(0, 2**32, cores, dtype=np.uint32),
        symmetric=bool(ranc and rng.random() < 0.5), input_delay=int(not ranc),
    )  # fmt: skip


def random_events(rng: np.random.Generator, model: Model, ticks: int, share: float) -> Events:
    """Return spikes into about a share of the axons in each tick, several into one now and then."""
    count = int(rng.poisson(share * model.cores * model.axons * ticks))
    where = rng.integers(0, [max(ticks, 1), model.cores, model.axons], (count, 3))
    return Events.ordered(*where.T)


def spikes(*rows: tuple[int, int, int]) -> Events:
    """Return spikes (tick, core, axon)."""
    return Events.ordered(*np.array(rows, np.int64).reshape(-1, 3).T)
