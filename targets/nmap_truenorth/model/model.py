"""What the cores of a TrueNorth model file hold, whichever file format they came from.

A `Model` is the content of the chip's memories: axon types, crossbars, neuron parameters and targets of every core. Equations
and fields are those of Cassidy et al., IJCNN 2013, in the encoding of the chip's own model files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from nmap.connectivity import Array, frozen_array

__all__ = ["NOWHERE", "OFF_CHIP", "Dialect", "Events", "Model", "differences", "pack_crossbar"]

Dialect = Literal["truenorth", "ranc", "neutral"]

NOWHERE = -1
"""`Model.target` of a neuron that sends no spike."""
OFF_CHIP = -2
"""`Model.target` of a neuron whose spikes leave the chip: an output."""

_DTYPES: dict[str, Any] = {
    "ids": np.int64,
    "places": np.int64,
    "axon_types": np.uint8,
    "crossbar": np.uint8,
    "weights": np.int32,
    "stochastic": np.bool_,
    "leak": np.int32,
    "leak_stochastic": np.bool_,
    "leak_reversal": np.bool_,
    "threshold": np.int64,
    "floor": np.int64,
    "mask": np.uint8,
    "gamma": np.uint8,
    "kappa": np.bool_,
    "reset": np.int32,
    "potential": np.int32,
    "enabled": np.bool_,
    "target": np.int32,
    "target_core": np.int64,
    "target_axon": np.int32,
    "delay": np.uint8,
    "seeds": np.uint32,
}


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """C cores of A axons and N neurons each. Arrays are read-only; (C, N) unless their shape is named.

    Args:
        file: the file's name as the user gave it.
        dialect: the kind of file: TrueNorth's text (or binary) format, RANC's JSON, or the neutral JSON of recorded data.
        ids: (C,) int64, the number by which events and spike files name a core, no two alike.
        places: (C, 2) int64, RANC's grid coordinates (x, y), or None.
        axon_types: (C, A) uint8, 0..3.
        crossbar: (C, A, ceil(N / 8)) uint8, `np.packbits` order over neurons: bit 7 of byte 0 is neuron 0.
        weights: (C, N, 4) int32, sigma * s by axon type.
        stochastic: (C, N, 4) bool, b: a synapse of this type adds sgn(s) where |s| >= rho for a random rho of 0 to 255, so with
            probability (|s| + 1) / 256; nothing where s is 0.
        leak: int32, sigma_lambda * lambda.
        leak_stochastic: bool, c.
        leak_reversal: bool, epsilon: the leak takes the sign of the potential.
        threshold: int64, alpha.
        floor: int64, beta: the floor test is V < -beta. RANC's may be negative.
        mask: uint8, TM: M = 2**TM - 1 masks the random part of the threshold.
        gamma: uint8, what a spike does: 0 V = R, 1 V = V - (alpha + eta), 2 V stays (at most alpha + M).
        kappa: bool, the floor holds the potential at -beta; otherwise it resets by gamma.
        reset: int32, R = sigma_VR * (2**VR - 1) in TrueNorth's files, any number in RANC's.
        potential: int32, V at the start.
        enabled: bool, False: the neuron is never computed.
        target: int32, index of the core a spike goes to (not its id), `NOWHERE` or `OFF_CHIP`.
        target_core: int64, the target as the file states it: TrueNorth's destCore (<= -32 for outputs, -2 for no target, -1 for a
            neuron that is not used), RANC's line of the output bus, the neutral format's number of the output.
        target_axon: int32, axon of the target core; -1 or as the file states it where there is no target core.
        delay: uint8, ticks from firing to arrival, 1..15 where there is a target.
        seeds: (C,) uint32, seed of each core's random numbers.
        symmetric: the floor test is V <= -beta (RANC's neuron_reset_type 1).
        input_delay: an input spike of tick t is seen in tick t + input_delay.
        corelets: metadata of each core in a TrueNorth file, as JSON values; () where the file has none.

    Raises:
        ValueError: where shapes do not fit together.
    """

    file: str
    dialect: Dialect
    ids: Array
    places: Array | None
    axon_types: Array
    crossbar: Array
    weights: Array
    stochastic: Array
    leak: Array
    leak_stochastic: Array
    leak_reversal: Array
    threshold: Array
    floor: Array
    mask: Array
    gamma: Array
    kappa: Array
    reset: Array
    potential: Array
    enabled: Array
    target: Array
    target_core: Array
    target_axon: Array
    delay: Array
    seeds: Array
    symmetric: bool = False
    input_delay: int = 1
    corelets: tuple[dict[str, Any], ...] = ()

    NOWHERE = NOWHERE
    OFF_CHIP = OFF_CHIP

    def __post_init__(self) -> None:
        cores, axons = self.axon_types.shape
        neurons = self.leak.shape[1]
        shapes: dict[str, tuple[int, ...]] = {
            "ids": (cores,),
            "places": (cores, 2),
            "axon_types": (cores, axons),
            "crossbar": (cores, axons, -(-neurons // 8)),
            "weights": (cores, neurons, 4),
            "stochastic": (cores, neurons, 4),
            "seeds": (cores,),
        }
        for name, dtype in _DTYPES.items():
            values = getattr(self, name)
            if values is None:
                continue
            shape = shapes.get(name, (cores, neurons))
            if values.shape != shape:
                raise ValueError(f"`{name}` has shape {values.shape}, not {shape}")
            object.__setattr__(self, name, frozen_array(values, dtype))
        if self.corelets and len(self.corelets) != cores:
            raise ValueError(f"metadata of {len(self.corelets)} cores for {cores}")

    @property
    def cores(self) -> int:
        """C, the number of cores."""
        return int(self.axon_types.shape[0])

    @property
    def axons(self) -> int:
        """A, the number of axons of each core."""
        return int(self.axon_types.shape[1])

    @property
    def neurons(self) -> int:
        """N, the number of neurons of each core."""
        return int(self.leak.shape[1])

    @property
    def why_not_exact(self) -> str | None:
        """Say which neurons draw random numbers whose sequence on the chip is not public, or None where there is none."""
        counts: list[str] = []
        # A stochastic synapse of strength 0 and one without a crossbar bit on an axon of its type draw nothing that is added.
        synapse = np.zeros((self.cores, self.neurons), bool)
        drawn = self.stochastic & (self.weights != 0) & self.enabled[..., None]
        for core in np.flatnonzero(drawn.any(axis=(1, 2))):
            for kind in range(4):
                if drawn[core, :, kind].any():
                    rows = np.bitwise_or.reduce(self.crossbar[core][self.axon_types[core] == kind], axis=0)
                    synapse[core] |= drawn[core, :, kind] & np.unpackbits(rows, count=self.neurons).astype(bool)
        leak = self.leak_stochastic & (self.leak != 0) & self.enabled
        threshold = (self.mask > 0) & self.enabled
        for found, what in ((synapse, "stochastic synapses"), (leak, "a stochastic leak"), (threshold, "a stochastic threshold")):
            many = int(np.count_nonzero(found))
            if many:
                counts.append(f"{many} neuron{'s have' if many > 1 else ' has'} {what}")
        if not counts:
            return None
        return f"{', '.join(counts)}; the chip's sequence of random numbers is not public"

    @property
    def exact(self) -> bool:
        """Whether no enabled neuron draws a random number that can matter."""
        return self.why_not_exact is None


@dataclass(frozen=True, slots=True, eq=False)
class Events:
    """Spikes into a model, sorted by tick. Two on one axon in one tick are allowed: they merge.

    Args:
        tick: (n,) int64, the tick a spike is sent in; it is seen `Model.input_delay` ticks later.
        core: (n,) int32, index of the core (not its id).
        axon: (n,) int32.

    Raises:
        ValueError: where lengths differ or ticks are not in order.
    """

    tick: Array
    core: Array
    axon: Array

    def __post_init__(self) -> None:
        for name, dtype in (("tick", np.int64), ("core", np.int32), ("axon", np.int32)):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype))
        if not self.tick.shape == self.core.shape == self.axon.shape or self.tick.ndim != 1:
            raise ValueError("ticks, cores and axons of events differ in length")
        if self.tick.size and np.any(np.diff(self.tick) < 0):
            raise ValueError("events are not in the order of their ticks")

    @staticmethod
    def ordered(tick: Array, core: Array, axon: Array) -> Events:
        """Return events given in any order; those of one tick are sorted by core and axon."""
        order = np.lexsort((axon, core, tick))
        return Events(np.asarray(tick)[order], np.asarray(core)[order], np.asarray(axon)[order])

    def __len__(self) -> int:
        return int(self.tick.size)


def pack_crossbar(bits: Array) -> Array:
    """Return a crossbar (..., A, N) of 0 and 1 in the packed form of `Model.crossbar`."""
    return np.packbits(np.asarray(bits, bool), axis=-1)


_NEURON_FIELDS: tuple[tuple[str, str], ...] = (
    ("weights", "weights"),
    ("stochastic", "stochastic synapses (b)"),
    ("leak", "leak"),
    ("leak_stochastic", "stochastic leak (c)"),
    ("leak_reversal", "leak reversal (epsilon)"),
    ("threshold", "threshold (alpha)"),
    ("floor", "floor (beta)"),
    ("mask", "threshold mask (TM)"),
    ("gamma", "gamma"),
    ("kappa", "kappa"),
    ("reset", "reset value"),
    ("potential", "potential at the start"),
    ("target", "target core"),
    ("target_core", "target as stated"),
    ("target_axon", "target axon"),
    ("delay", "delay"),
)


def differences(a: Model, b: Model, most: int = 10) -> list[str]:
    """Say where two models compute differently or would be written differently; [] where they are equal.

    Cores are matched by id. File names, dialects, input delays, metadata and seeds are not compared; nor are the parameters of
    neurons that are disabled in both models, which nothing reads. Axons and neurons that only one model has are compared with
    what pads a core: axons of type 0 without synapses, disabled neurons.

    Args:
        a: the first model.
        b: the second model.
        most: sentences of one kind that are spelled out; a count follows.
    """
    found: list[str] = []
    if a.symmetric != b.symmetric:
        found.append(f"the floor test of {'the first' if a.symmetric else 'the second'} model alone is symmetric")
    one, other = set(a.ids.tolist()), set(b.ids.tolist())
    for lone, which in ((one - other, "first"), (other - one, "second")):
        if lone:
            shown = ", ".join(str(number) for number in sorted(lone)[:most])
            found.append(f"only the {which} model has core {shown}" + (f" and {len(lone) - most} more" if len(lone) > most else ""))
    common = np.asarray(sorted(one & other), np.int64)
    if not common.size:
        return found
    first = np.argsort(a.ids, kind="stable")[np.searchsorted(np.sort(a.ids), common)]
    second = np.argsort(b.ids, kind="stable")[np.searchsorted(np.sort(b.ids), common)]
    axons, neurons = max(a.axons, b.axons), max(a.neurons, b.neurons)
    for name, what in (("places", "place"),):
        left, right = getattr(a, name), getattr(b, name)
        if left is not None and right is not None:
            unlike = np.flatnonzero((left[first] != right[second]).any(axis=1))
            found += _told(
                (f"core {common[c]}: {what} {left[first[c]].tolist()} and {right[second[c]].tolist()}" for c in unlike), unlike.size, most
            )
    left, right = _wide(a.axon_types[first], axons), _wide(b.axon_types[second], axons)
    where = np.argwhere(left != right)
    found += _told((f"core {common[c]} axon {i}: type {left[c, i]} and {right[c, i]}" for c, i in where), len(where), most)
    found += _synapses(a, b, first, second, common, axons, neurons, most)
    left, right = _wide(a.enabled[first], neurons), _wide(b.enabled[second], neurons)
    where = np.argwhere(left != right)
    found += _told(
        (f"core {common[c]} neuron {j}: {'disabled' if right[c, j] else 'enabled'} only in the first" for c, j in where), len(where), most
    )
    both = left & right
    for name, what in _NEURON_FIELDS:
        left, right = _values(a, name)[first], _values(b, name)[second]
        if name == "target":
            left, right = _by_id(a, left), _by_id(b, right)
        left, right = _wide(left, neurons), _wide(right, neurons)
        unequal = left != right
        where = np.argwhere((unequal.any(axis=2) if unequal.ndim == 3 else unequal) & both)
        found += _told(
            (f"core {common[c]} neuron {j}: {what} {left[c, j].tolist()} and {right[c, j].tolist()}" for c, j in where), len(where), most
        )
    return found


def _values(model: Model, name: str) -> Array:
    """Return a field with what means nothing made alike: the delay and the axon of a spike that goes nowhere."""
    values: Array = getattr(model, name)
    if name in ("delay", "target_axon"):
        return np.where(model.target == NOWHERE, 0, values)
    if name == "target_core":
        return np.where(model.target >= 0, 0, np.where(model.target == NOWHERE, NOWHERE, values))
    return values


def _by_id(model: Model, target: Array) -> Array:
    """Return targets named by core id; below every id where there is no core."""
    lowest = int(min(model.ids.min(), 0))
    return np.where(target >= 0, model.ids[np.maximum(target, 0)], lowest + target.astype(np.int64))


def _wide(values: Array, width: int) -> Array:
    padding = [(0, 0)] * values.ndim
    padding[1] = (0, width - values.shape[1])
    return np.pad(values, padding)


def _synapses(a: Model, b: Model, first: Array, second: Array, common: Array, axons: int, neurons: int, most: int) -> list[str]:
    width = -(-neurons // 8)
    sentences: list[str] = []
    total = 0
    for at, (one, other) in enumerate(zip(first, second, strict=True)):
        bits = [np.zeros((axons, width), np.uint8), np.zeros((axons, width), np.uint8)]
        for packed, source in zip(bits, (a.crossbar[one], b.crossbar[other]), strict=True):
            packed[: source.shape[0], : source.shape[1]] = source
        if not np.array_equal(bits[0], bits[1]):
            where = np.argwhere(np.unpackbits(bits[0] ^ bits[1], axis=1, count=neurons))
            total += len(where)
            for i, j in where[: most - len(sentences)]:
                only = "first" if np.unpackbits(bits[0][i], count=neurons)[j] else "second"
                sentences.append(f"core {common[at]}: the synapse of axon {i} and neuron {j} is only in the {only}")
    return sentences + ([f"and {total - len(sentences)} more synapses"] if total > len(sentences) else [])


def _told(sentences: Iterator[str], total: int, most: int) -> list[str]:
    shown = [sentence for sentence, _ in zip(sentences, range(most), strict=False)]
    return shown + ([f"and {total - len(shown)} more like the last"] if total > len(shown) else [])
