"""SpiNNaker 1 in plain numpy: what sPyNNaker 7.4.1 writes for a network of IF cells, and what its core binaries compute from it.

Written from the reference sheet of the chip (number formats, initialisation, order of a tick, weight encoding, default shifts of ring
buffers) and independent of the target's own code, whose kernels the tests compare with it. It is compared bit for bit with recordings
of the shipped binaries (tests/golden/spinnaker). Networks are pairs (meta, arrays) of the file form that `spinnaker_binaries.py` describes.

Every number is a whole number in int64; `wrap` brings a result back to 32 bits wherever the chip's registers do.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

Network = tuple[dict[str, Any], dict[str, np.ndarray]]

ONE = 1 << 15
RECEPTORS = ("excitatory", "inhibitory")
RATE, SIGMA, POISSON_SIGMA = 30.0, 5.0, 3.0


def read(path: Path) -> Network:
    """A network of a `.npz` file and, where it has them, its recordings."""
    with np.load(path) as file:
        return json.loads(str(file["meta"])), {name: file[name] for name in file.files if name != "meta"}


# --- arithmetic of the chip ---


def wrap(values: Any) -> np.ndarray:
    """The 32-bit two's complement reading of whole numbers."""
    return ((np.asarray(values, dtype=np.int64) + (1 << 31)) & 0xFFFFFFFF) - (1 << 31)


def multiply(a: Any, b: Any) -> np.ndarray:
    """s16.15 product, rounded down."""
    return wrap((np.asarray(a, dtype=np.int64) * np.asarray(b, dtype=np.int64)) >> 15)


def decayed(a: Any, factor: Any) -> np.ndarray:
    """s16.15 number times u0.32 factor, rounded down. Factors take all 32 bits, so the product is formed in halves."""
    a, factor = np.asarray(a, dtype=np.int64), np.asarray(factor, dtype=np.int64)
    low = a * (factor & 0xFFFF)
    return wrap((a * (factor >> 16) + (low >> 16)) >> 16)


def divide(a: int, b: int) -> int:
    """s16.15 quotient as the chip's unsigned division of raw numbers gives it."""
    return int(wrap((((a & 0xFFFFFFFFFFFFFFFF) << 15) & 0xFFFFFFFFFFFFFFFF) // (b & 0xFFFFFFFF)))


def raw(values: Any) -> np.ndarray:
    """s16.15 numbers of the host: nearest, ties to even."""
    return wrap(np.rint(np.asarray(values, dtype=np.float64) * ONE).astype(np.int64))


_WHOLE = [round(math.exp(k - 13) * 2**32) for k in range(26)]
_PART = [round((1 - math.exp(-i / 16)) * 2**32) for i in range(16)]


def _scaled(x: int, y: int) -> int:
    low, high = (x & 0xFFFFFFFF) * y, x >> 32
    return (low >> 32) + ((low & 0xFFFFFFFF) >= 0x7FFFFFFF) + high * y


def _exponential(n: int) -> int:
    z, f = n >> 15, n & 0x7FFF
    if f == 0:
        return _WHOLE[13 + z]
    f = 32768 - f
    t = _WHOLE[14 + z]
    t -= _scaled(t, _PART[f >> 11])
    y = (f & 0x7FF) << 17
    q = 4293434720 - ((2081624032 * y) >> 32)
    q = ((q * y) >> 32) + 5294
    return t - _scaled(t, q)


def exponential(n: int) -> int:
    """e^n of an s16.15 number as s16.15."""
    return 0x7FFFFFFF if n > 363408 else 0 if n < -340695 else _exponential(n) >> 17


def exponential_fraction(n: int) -> int:
    """e^n of an s16.15 number as u0.32."""
    return 0x7FFFFFFF if n > 363408 else 0 if n < -340695 else _exponential(n) & 0xFFFFFFFF


# --- the host ---


class _Running:
    """Mean and variance of groups of items that are added one group after the other."""

    def __init__(self) -> None:
        self.mean = self.square = 0.0
        self.count = 0

    def add(self, mean: float, variance: float, count: int) -> None:
        if count > 0:
            delta, total = mean - self.mean, self.count + count
            self.square += variance * (count - 1.0) + delta * delta * self.count * count / total
            self.mean = (self.count * self.mean + count * mean) / total
            self.count = total

    @property
    def variance(self) -> float:
        return self.square / (self.count - 1.0) if self.count > 1 else 0.0


def _poisson_below(k: int, rate: float) -> float:
    """Probability that a Poisson number of mean `rate` is at most `k`."""
    return math.fsum(math.exp(-rate + i * math.log(rate) - math.lgamma(i + 1)) for i in range(k + 1))


def _expected(mean: float, deviation: float, rate: float, synapses: int, steps_per_second: float) -> float:
    """Mean and five standard deviations of the weights that arrive in one step."""
    average = synapses * rate / steps_per_second
    upper = round(average + POISSON_SIGMA * math.sqrt(average))
    variance = 0.0
    if deviation > 0:
        ratio = math.log(average) * upper - math.lgamma(1 + upper)
        if -701.0 < ratio < 701.0 and ratio != 0.0:
            inner = math.exp(average) * _poisson_below(upper, average) - math.exp(ratio)
            variance = math.exp(-average + math.log(average) + 2 * math.log(deviation) + math.log(inner))
    return average * mean + SIGMA * math.sqrt(average * mean * mean + variance)


def ring_shift(bound: float) -> int:
    """The shift of a largest summed weight: the power of two above it."""
    power = 0 if bound <= 0 else math.ceil(max(0.0, math.log2(bound)))
    return power + 1 if 2**power <= bound else power


def shifts(network: Network, population: int) -> tuple[int, int]:
    """Ring-buffer shifts of the two receptors of a population of cells."""
    meta, arrays = network
    entry = meta["populations"][population]
    if entry.get("bound") is not None:
        first, second = entry["bound"]
        return ring_shift(first), ring_shift(second)
    per_second = 1000.0 / meta["timestep_ms"]
    result = []
    for receptor in RECEPTORS:
        weights, delays, rates = _Running(), _Running(), _Running()
        total = biggest = 0.0
        for number, projection in enumerate(meta["projections"]):
            if projection["post"] != entry["label"] or projection["receptor"] != receptor:
                continue
            weight = np.abs(arrays[f"e{number}.weight"])
            if not len(weight):
                continue
            delay = np.rint(arrays[f"e{number}.delay"] / meta["timestep_ms"]) * meta["timestep_ms"]
            count = int(np.bincount(arrays[f"e{number}.post"]).max())
            weights.add(float(weight.mean()), float(weight.var()), count)
            delays.add(0.0, float(delay.var()), count)
            rates.add(RATE, 0.0, count)
            biggest = max(biggest, float(weight.max()))
            total += max(1.0, RATE / per_second) * float(weight.max()) * count
        bound = max(total, biggest)
        if delays.variance != 0.0:
            bound = max(min(_expected(weights.mean, math.sqrt(weights.variance), rates.mean, weights.count, per_second), total), biggest)
        result.append(ring_shift(bound))
    return result[0], result[1]


def _parameter(network: Network, population: int, name: str, default: float = 0.0) -> np.ndarray:
    meta, arrays = network
    entry = meta["populations"][population]
    value = entry["v"] if name == "v" else entry["params"].get(name, default)
    values = arrays[f"p{population}.{name}"] if isinstance(value, str) else np.full(entry["size"], value)
    return raw(values)


# --- the cores ---


class Cells:
    """State and constants of one population of cells."""

    def __init__(self, network: Network, population: int) -> None:
        meta = network[0]
        entry = meta["populations"][population]
        self.size, self.model = entry["size"], entry["model"]
        self.exponential, self.trunc = self.model == "IF_curr_exp", self.model == "IF_trunc_delta"
        self.shift = shifts(network, population)
        step = int(raw(meta["timestep_ms"]))
        self.scale = divide(ONE, step)

        def get(name: str, default: float = 0.0) -> np.ndarray:
            return _parameter(network, population, name, default)

        self.v = get("v")
        self.rest, self.reset, self.threshold, self.offset = get("v_rest"), get("v_reset"), get("v_thresh"), get("i_offset")
        tau, capacity, refractory = get("tau_m"), get("cm"), get("tau_refrac")
        self.resistance = np.array([divide(a, b) for a, b in zip(tau.tolist(), capacity.tolist(), strict=True)])
        self.leak = np.array([exponential(int(wrap(-divide(step, a)))) for a in tau.tolist()])
        quotients = np.array([divide(a, step) for a in refractory.tolist()])
        self.pause = (quotients >> 15) + ((quotients & 0x7FFF) != 0)
        self.timer = np.zeros(self.size, dtype=np.int64)
        self.synapse = np.zeros((2, self.size), dtype=np.int64)
        self.decay = np.zeros((2, self.size), dtype=np.int64)
        self.entry = np.zeros((2, self.size), dtype=np.int64)
        if self.exponential:
            for receptor, name in enumerate(("tau_syn_E", "tau_syn_I")):
                for neuron, value in enumerate(get(name).tolist()):
                    factor = exponential_fraction(int(wrap(-divide(step, value))))
                    self.decay[receptor, neuron] = factor
                    self.entry[receptor, neuron] = ((divide(value, step) * (0xFFFFFFFF - factor)) >> 15) & 0xFFFFFFFF
        self.saturations = 0

    def step(self, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One tick on the sums of weights that arrive in it, (2, n). Returns v and the inputs as recorded, and the spikes."""
        for receptor in range(2):
            arriving = wrap(slots[receptor] << self.shift[receptor])
            if self.exponential:
                arriving = decayed(arriving, self.entry[receptor])
            self.synapse[receptor] = wrap(self.synapse[receptor] + arriving)
        v, inputs = self.v.copy(), self.synapse.copy()
        excitatory, inhibitory = inputs
        if self.model == "IF_curr_delta":
            excitatory, inhibitory = multiply(excitatory, self.scale), multiply(inhibitory, self.scale)
        current = wrap(excitatory - inhibitory + self.offset)
        if self.trunc:
            moved = np.maximum(wrap(multiply(current, self.resistance) + v), self.reset)
        else:
            target = wrap(multiply(current, self.resistance) + self.rest)
            moved = wrap(target - multiply(self.leak, wrap(target - v)))
        active = self.timer <= 0
        self.v = np.where(active, moved, v)
        self.timer = np.where(active, self.timer, self.timer - 1)
        fired = self.v >= self.threshold
        self.v = np.where(fired, self.reset, self.v)
        self.timer = np.where(fired, self.pause, self.timer)
        for receptor in range(2):
            self.synapse[receptor] = decayed(self.synapse[receptor], self.decay[receptor]) if self.exponential else 0
        return v, inputs, fired


def simulate(network: Network) -> dict[str, np.ndarray]:
    """Run the network.

    Returns:
        Recordings as in the files: `r{k}.v`, `r{k}.gsyn_exc`, `r{k}.gsyn_inh` (steps, n) int32 raw and `r{k}.spikes` (steps, n) uint8
        of every population k of cells; and `r{k}.saturations` (steps,), the ring-buffer slots that were cut at 65535.
    """
    meta, arrays = network
    steps = meta["steps"]
    labels = [entry["label"] for entry in meta["populations"]]
    cells = {k: Cells(network, k) for k, entry in enumerate(meta["populations"]) if entry["kind"] == "cells"}
    spikes = {k: np.zeros((steps, entry["size"]), dtype=np.uint8) for k, entry in enumerate(meta["populations"])}
    for k, entry in enumerate(meta["populations"]):
        if entry["kind"] == "source":
            spikes[k][arrays[f"s{k}.step"], arrays[f"s{k}.neuron"]] = 1
    synapses = []
    longest = 1
    for number, projection in enumerate(meta["projections"]):
        post = labels.index(projection["post"])
        receptor = RECEPTORS.index(projection["receptor"])
        scale = 2.0 ** (15 - cells[post].shift[receptor])
        weight = np.rint(np.abs(arrays[f"e{number}.weight"]) * scale).astype(np.int64) & 0xFFFF
        delay = np.maximum(np.rint(arrays[f"e{number}.delay"] / meta["timestep_ms"]).astype(np.int64), 1)
        longest = max(longest, int(delay.max(initial=1)))
        synapses.append(
            (labels.index(projection["pre"]), post, receptor, arrays[f"e{number}.pre"], arrays[f"e{number}.post"], weight, delay)
        )
    coming = {k: np.zeros((longest + 1, 2, one.size), dtype=np.int64) for k, one in cells.items()}
    found = {}
    for k, one in cells.items():
        for name in ("v", "gsyn_exc", "gsyn_inh"):
            found[f"r{k}.{name}"] = np.zeros((steps, one.size), dtype=np.int32)
        found[f"r{k}.saturations"] = np.zeros(steps, dtype=np.int64)
    for step in range(steps):
        for k, one in cells.items():
            slots = coming[k][step % (longest + 1)]
            found[f"r{k}.saturations"][step] = int((slots > 65535).sum())
            v, inputs, fired = one.step(np.minimum(slots, 65535))
            slots[:] = 0
            found[f"r{k}.v"][step], found[f"r{k}.gsyn_exc"][step], found[f"r{k}.gsyn_inh"][step] = v, inputs[0], inputs[1]
            spikes[k][step] = fired
        for pre, post, receptor, first, second, weight, delay in synapses:
            sent = spikes[pre][step, first].astype(bool)
            np.add.at(coming[post], ((step + delay[sent]) % (longest + 1), receptor, second[sent]), weight[sent])
    for k in cells:
        found[f"r{k}.spikes"] = spikes[k]
    return found
