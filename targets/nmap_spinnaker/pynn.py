"""Networks in PyNN's terms, and what sPyNNaker 7.4.1's host makes of them: the integers that its cores compute with.

`quantized` follows the host: parameters become accums, weights 16-bit numbers under the ring-buffer shift of their receptor, delays and
spike times become steps. Its result runs on the reference simulator and on the emulator, so that a network can be compared with what the
shipped binaries compute (`load`), and an emitted script with the program it was made from.

Sources, all of sPyNNaker 7.4.1: `population_vertex.py` (`get_ring_buffer_shifts`, `_Stats`), `from_list_connector.py` (statistics of a
connection list, delays rounded to steps), `synapse_io.py` and `synapse_dynamics_static.py` (words of synapses),
`spike_source_array_vertex.py` (ticks), `data_type.py` (accums), `spynnaker.cfg` (30 spikes per second, 5 sigma),
`neuron_model_leaky_integrate_and_fire.py`, `neuron_model_if_trunc.py` and `synapse_type_exponential.py` (state variables). Delays below one
step are raised to one, as the host does. Delays beyond a core's ring go through delay extensions, which keep their sum; the host addresses
their rows rightly only where source and target have the same number of neurons per core, or one core of sources and delays of at most two
rings. nmap emits no such delays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import exp, lgamma, log, sqrt
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from nmap.connectivity import Array, Sparse, frozen_array
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap_spinnaker.arithmetic import ONE, decay, decay_and_init, encode_weights, raw, ring_shift

__all__ = [
    "KERNEL_OF", "MODEL_DEFAULTS", "START_DEFAULTS", "Cells", "PynnNetwork", "Recordings", "SpikeSources", "Synapses", "default_bounds",
    "load", "quantized", "save", "shifts", "spike_steps", "start_values", "step_delays", "timestep_us",
]

Receptor: TypeAlias = Literal["excitatory", "inhibitory"]
Recordings: TypeAlias = dict[str, dict[str, Array]]
"""By label and variable, (steps, n) each: v, gsyn_exc, gsyn_inh int32 raw, as recorded before the update of a tick; spikes uint8."""

KERNEL_OF = {
    "IF_curr_exp": "spinnaker1.if_curr_exp", "IF_curr_delta": "spinnaker1.if_curr_delta", "IF_trunc_delta": "spinnaker1.if_trunc",
}
"""Kernel of each model."""
_LEAKY = {"tau_m": 20.0, "cm": 1.0, "v_rest": -65.0, "v_reset": -65.0, "v_thresh": -50.0, "tau_refrac": 0.1, "i_offset": 0.0}
MODEL_DEFAULTS: dict[str, dict[str, float]] = {
    "IF_curr_exp": {**_LEAKY, "tau_syn_E": 5.0, "tau_syn_I": 5.0},
    "IF_curr_delta": _LEAKY,
    "IF_trunc_delta": {"tau_m": 1.0, "cm": 1.0, "v_reset": 0.0, "v_thresh": 1.0, "tau_refrac": 1.0, "i_offset": 0.0},
}
"""Parameters of each model with sPyNNaker's own defaults: ms, nF, mV, nA."""
START_DEFAULTS: dict[str, dict[str, float]] = {
    "IF_curr_exp": {"refract_timer": 0, "isyn_exc": 0.0, "isyn_inh": 0.0},
    "IF_curr_delta": {"refract_timer": 0},
    "IF_trunc_delta": {"refract_timer": 0},
}
"""Initial values that a model has beside v: steps left of a refractory time, whole, and currents in nA."""
_SYNAPSES = (("syn_0", "isyn_exc", "tau_syn_E"), ("syn_1", "isyn_inh", "tau_syn_I"))
"""A kernel's current, PyNN's name of it, and its time constant."""
_RECEPTORS: tuple[Receptor, Receptor] = ("excitatory", "inhibitory")
_RATE, _SIGMA, _POISSON_SIGMA = 30.0, 5.0, 3.0
"""Spikes per second and deviations of the default bound; deviations up to which its Poisson sum goes."""
_FORMAT = SynapseFormat(bits=16, sign="excitatory")


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """A population of neurons.

    Args:
        label: its name.
        size: number of neurons.
        model: PyNN's name of the neuron; `IF_trunc_delta` is the class that writes what the binary reads.
        params: (n,) float64 by PyNN's name, a number for all; the names of `MODEL_DEFAULTS`, whose value holds where one is missing.
        v: initial potential in mV, (n,) float64 or a number for all.
        bound: `max_expected_summed_weight` of both receptors, nA; None for one that the host chooses itself.
        start: further initial values, (n,) float64 by PyNN's name, a number for all; the names of `START_DEFAULTS`, as `params`. A current
            is what acts in the first step, an input of that step not counted.

    Raises:
        ValueError: the model has no such parameter or initial value, or a refractory time is no whole number of steps.
    """

    label: str
    size: int
    model: Literal["IF_curr_exp", "IF_curr_delta", "IF_trunc_delta"]
    params: dict[str, Array]
    v: Array
    bound: tuple[float | None, float | None] = (None, None)
    start: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for what, given, defaults in (
            ("parameter", self.params, MODEL_DEFAULTS[self.model]), ("initial value", self.start, START_DEFAULTS[self.model]),
        ):
            unknown = sorted(set(given) - set(defaults))
            if unknown:
                raise ValueError(f"{self.model} has no {what} {', '.join(unknown)}")
            for name, default in defaults.items():
                given[name] = frozen_array(np.broadcast_to(given.get(name, np.float64(default)), (self.size,)), np.float64)
        waits = self.start["refract_timer"]
        if (waits != np.rint(waits)).any() or (np.abs(waits) > 2**31 - 1).any():
            raise ValueError(f"a refract_timer of {self.label} is no whole number of steps in 32 bits")
        object.__setattr__(self, "v", frozen_array(np.broadcast_to(self.v, (self.size,)), np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class SpikeSources:
    """A SpikeSourceArray: the times of every source's spikes in ms."""

    label: str
    size: int
    times_ms: tuple[Array, ...]

    def __post_init__(self) -> None:
        if len(self.times_ms) != self.size:
            raise ValueError(f"{self.label} has {self.size} sources and times of {len(self.times_ms)}")


@dataclass(frozen=True, slots=True, eq=False)
class Synapses:
    """A Projection of listed connections.

    Args:
        label: its name.
        pre, post: labels of populations.
        receptor: of the target.
        pre_index, post_index: (k,) int64.
        weight: (k,) float64, nA, not negative.
        delay_ms: (k,) float64.
    """

    label: str
    pre: str
    post: str
    receptor: Receptor
    pre_index: Array
    post_index: Array
    weight: Array
    delay_ms: Array

    def __post_init__(self) -> None:
        for name, dtype in (("pre_index", np.int64), ("post_index", np.int64), ("weight", np.float64), ("delay_ms", np.float64)):
            object.__setattr__(self, name, frozen_array(np.broadcast_to(getattr(self, name), np.shape(self.pre_index)), dtype))
        if (self.weight < 0).any():
            raise ValueError(f"{self.label} has negative weights")


@dataclass(frozen=True, slots=True, eq=False)
class PynnNetwork:
    """A network as a PyNN script builds it: time step in ms, populations and projections in the order in which they are made."""

    timestep_ms: float
    cells: tuple[Cells, ...]
    sources: tuple[SpikeSources, ...] = ()
    synapses: tuple[Synapses, ...] = field(default=())


def timestep_us(network: PynnNetwork) -> int:
    """Return the time step in whole microseconds."""
    return round(network.timestep_ms * 1000)


def step_delays(delay_ms: Array, step_us: int) -> Array:
    """Return delays in steps as the host rounds them, int64, at least 1: to the nearest step, half to even, twice."""
    per_ms, ms = 1000 / step_us, step_us / 1000
    rounded = np.rint(np.asarray(delay_ms, np.float64) * per_ms) * ms
    steps: Array = np.rint(np.maximum(rounded, ms) * per_ms).astype(np.int64)
    return steps


def spike_steps(times_ms: Array, step_us: int) -> Array:
    """Return the ticks of spike times, int64: whole microseconds, rounded down, then whole steps, rounded up."""
    return np.ceil(np.floor(np.asarray(times_ms, np.float64) * 1000.0) / step_us).astype(np.int64)


class _Running:
    """Mean and variance of groups of numbers that are told by mean, variance and count, as the host's `RunningStats` adds them."""

    def __init__(self) -> None:
        self.items, self.mean, self._squares = 0, 0.0, 0.0

    def add(self, mean: float, variance: float, items: int) -> None:
        if items > 0:
            total, apart = self.items + items, mean - self.mean
            self._squares = self._squares + variance * (items - 1.0) + (apart * apart * self.items * items) / total
            self.mean = (self.items * self.mean + items * mean) / total
            self.items = total

    @property
    def variance(self) -> float:
        return 0.0 if self.items <= 1 else self._squares / (self.items - 1.0)


def _poisson_bound(mean: float, deviation: float, rate: float, synapses: int, per_second: float) -> float:
    """Return mean plus 5 sigma of a sum of weights whose number is Poisson's, as `_ring_buffer_expected_upper_bound` does.

    The host's expression with the incomplete gamma function is the sum of the Poisson terms below `upper`, written here as that sum.
    """
    spikes = synapses * rate / per_second
    upper = round(spikes + _POISSON_SIGMA * sqrt(spikes))
    varied = 0.0
    if deviation > 0:
        largest = log(spikes) * upper - lgamma(1 + upper)
        if -701.0 < largest < 701.0 and largest != 0.0:
            below = sum(exp(k * log(spikes) - spikes - lgamma(1 + k)) for k in range(upper))
            varied = exp(log(spikes) + 2.0 * log(deviation) + log(below))
    return spikes * mean + _SIGMA * sqrt(spikes * mean**2 + varied)


def default_bounds(synapses: Iterable[Synapses], step_us: int) -> tuple[float, float]:
    """Return the summed weights that the host expects of a population's receptors, from the projections into it in the order it keeps them.

    That order groups projections by source, sources in the order of their first projection.
    """
    groups: dict[str, list[Synapses]] = {}
    for one in synapses:
        groups.setdefault(one.pre, []).append(one)
    per_second, ms = 1e6 / step_us, step_us / 1000
    bounds = []
    for receptor in _RECEPTORS:
        weights, delays, rates = _Running(), _Running(), _Running()
        total, biggest = 0.0, 0.0
        for one in (one for group in groups.values() for one in group):
            if one.receptor != receptor or not one.weight.size:
                continue
            fan_in = int(np.bincount(one.post_index).max())
            largest = float(one.weight.max())
            rounded = np.rint(one.delay_ms * (1000 / step_us)) * ms
            weights.add(float(np.mean(one.weight)), float(np.var(one.weight)), fan_in)
            # The variance of equal delays is not always 0 in floats; the host asks for 0 and so do we.
            delays.add(0.0, float(np.var(rounded)), fan_in)
            rates.add(_RATE, 0, fan_in)
            biggest = max(biggest, largest)
            total += max(1.0, _RATE / per_second) * (largest * fan_in)
        bound = total
        if delays.variance != 0.0:
            bound = min(bound, _poisson_bound(weights.mean, sqrt(weights.variance), rates.mean, weights.items, per_second))
        bounds.append(max(bound, biggest))
    return bounds[0], bounds[1]


def shifts(network: PynnNetwork, cells: Cells) -> tuple[int, int]:
    """Return the ring-buffer shifts that the host gives a population's receptors."""
    defaults = default_bounds((one for one in network.synapses if one.post == cells.label), timestep_us(network))
    given = (default if bound is None else bound for bound, default in zip(cells.bound, defaults, strict=True))
    excitatory, inhibitory = (ring_shift(bound) for bound in given)
    return excitatory, inhibitory


def start_values(kernel: str, params: Mapping[str, Array], initial: Mapping[str, Array]) -> dict[str, Array]:
    """Return the raw initial values of a kernel's neurons as a core holds them, by PyNN's name, (n,) int64 each.

    A core holds a current as it acts in its first step, the kernel as it is before its decay of that step (`nmap_spinnaker.kernels`).

    Args:
        kernel: its name.
        params: raw, (n,) int64 by name.
        initial: the kernel's initial state, (n,) int64 by state variable; 0 where one is missing.

    Raises:
        ValueError: another state variable does not start at 0.
    """
    nothing = np.zeros(params["tau_m"].shape, np.int64)
    found = {"v": initial.get("v", nothing), "refract_timer": initial.get("refract", nothing)}
    known = {"v", "refract"}
    if kernel == KERNEL_OF["IF_curr_exp"]:
        for ours, theirs, tau in _SYNAPSES:
            found[theirs] = decay(initial.get(ours, nothing), decay_and_init(params[tau], params["timestep"])[0])
            known.add(ours)
    other = sorted(name for name, values in initial.items() if name not in known and values.any())
    if other:
        raise ValueError(f"`{other[0]}` is no initial value of PyNN's")
    return {name: np.asarray(values, np.int64) for name, values in found.items()}


def _initial(cells: Cells, params: Mapping[str, Array]) -> dict[str, Array]:
    """Return the kernel's initial state, only what is not 0 beside v.

    Raises:
        ValueError: no current of 32 bits decays to an initial value.
    """
    found = {"v": raw(cells.v), "refract": cells.start["refract_timer"].astype(np.int64)}
    for ours, theirs, tau in _SYNAPSES if "isyn_exc" in cells.start else ():
        wanted = raw(cells.start[theirs])
        if not wanted.any():
            continue
        keep, _ = decay_and_init(params[tau], params["timestep"])
        # Of all x with floor(x D / 2^32) = wanted the one nearest to 0; since D < 2^32 there is one.
        least = -((-wanted << 32) // np.maximum(keep, 1))
        most = -((-(np.minimum(wanted, -1) + 1) << 32) // np.maximum(keep, 1)) - 1
        before = np.where(wanted < 0, most, least)
        if ((keep == 0) & (wanted != 0) | (np.abs(before) > 2**31 - 1)).any():
            raise ValueError(f"no current of 32 bits decays to an {theirs} of {cells.label}")
        found[ours] = before
    return {name: values for name, values in found.items() if name == "v" or values.any()}


def quantized(network: PynnNetwork, file: str = "pynn") -> tuple[QuantizedNetwork, dict[str, Array]]:
    """Return the network in the chip's numbers and its input.

    Sources become input ports: what a source sends in tick t, acting in tick t + delay, is column t of its input. Synapses whose weight the
    host rounds to 0 are left out.

    Args:
        network: the network.
        file: what provenances name as the file.

    Returns:
        The network, whose outputs are all cells; and (1, columns, n) uint8 by port, up to the last spike of all, at least one column.

    Raises:
        ValueError: a number is beyond s16.15, an index beyond its population, no current decays to an initial one, or a label is unknown.
    """
    step_us = timestep_us(network)
    sizes = {source.label: source.size for source in network.sources} | {cells.label: cells.size for cells in network.cells}
    inputs = _inputs(network.sources, step_us)
    populations = [QuantizedPopulation(one.label, (one.size,), None, {}, Provenance(file, one.label)) for one in network.sources]
    of_cells = {cells.label: shifts(network, cells) for cells in network.cells}
    for cells in network.cells:
        params = {name: raw(values) for name, values in cells.params.items()}
        params |= {"timestep": raw(step_us / 1000)} | {f"shift_{k}": np.array(shift) for k, shift in enumerate(of_cells[cells.label])}
        populations.append(QuantizedPopulation(
            cells.label, (cells.size,), KERNEL_OF[cells.model], params, Provenance(file, cells.label), _initial(cells, params),
            np.array([float(ONE)]),
        ))
    projections: list[QuantizedProjection] = []
    for one in network.synapses:
        if one.pre not in sizes or one.post not in of_cells:
            raise ValueError(f"{one.label} joins `{one.pre}` and `{one.post}`, which are not a population and cells")
        receptor = _RECEPTORS.index(one.receptor)
        weight = encode_weights(one.weight, of_cells[one.post][receptor])
        projections += _projections(one, weight, step_delays(one.delay_ms, step_us), receptor, sizes, file)
    made = QuantizedNetwork(
        tuple(populations), tuple(projections), tuple(inputs), tuple(cells.label for cells in network.cells),
        settings={"timestep_us": step_us, "time_scale": 1},
    )
    return made, inputs


def _inputs(sources: tuple[SpikeSources, ...], step_us: int) -> dict[str, Array]:
    steps = {source.label: [spike_steps(times, step_us) for times in source.times_ms] for source in sources}
    columns = 1 + max((int(of_one.max(initial=0)) for found in steps.values() for of_one in found), default=0)
    inputs = {}
    for label, found in steps.items():
        inputs[label] = np.zeros((1, columns, len(found)), np.uint8)
        for neuron, of_one in enumerate(found):
            inputs[label][0, of_one[of_one >= 0], neuron] = 1
    return inputs


def _projections(
    one: Synapses, weight: Array, delay: Array, receptor: int, sizes: Mapping[str, int], file: str,
) -> list[QuantizedProjection]:
    """Return the synapses as one projection, or as several where two neurons are joined more than once."""
    for index, size in ((one.pre_index, sizes[one.pre]), (one.post_index, sizes[one.post])):
        if index.size and not 0 <= int(index.min()) <= int(index.max()) < size:
            raise ValueError(f"{one.label} names neurons that its populations do not have")
    kept = np.flatnonzero(weight)
    kept = kept[np.lexsort((delay[kept], one.pre_index[kept], one.post_index[kept]))]
    pair = one.post_index[kept] * sizes[one.pre] + one.pre_index[kept]
    starts = np.flatnonzero(np.diff(pair, prepend=-1))
    again: Array = np.arange(pair.size) - np.repeat(starts, np.diff(np.append(starts, pair.size)))
    found: list[QuantizedProjection] = []
    for turn in range(int(again.max(initial=0)) + 1):
        here = kept[again == turn]
        indptr = np.searchsorted(one.post_index[here], np.arange(sizes[one.post] + 1))
        listed = Sparse(indptr, one.pre_index[here], weight[here].astype(np.int32), sizes[one.pre])
        name = one.label if turn == 0 else f"{one.label}.{turn}"
        shortest = int(delay[here].min(initial=1 << 31)) if here.size else 1
        found.append(QuantizedProjection(
            name, one.pre, one.post, listed, _FORMAT, shortest - 1, Provenance(file, name), delay[here] - shortest, receptor,
        ))
    return found


def load(path: Path | str) -> tuple[PynnNetwork, Recordings]:
    """Read a network and what was recorded of it; the number of steps of a recording is its arrays' length.

    The file is an .npz with `meta`, JSON of {timestep_ms, steps, populations: [{label, size, kind: "cells" or "source", model, params:
    {name: number or "array"}, v: number or "array", bound: null or [number or null, number or null], start: {name: number or "array"} of
    the other initial values, which may be missing}], projections: [{label, pre, post, receptor}]}, and the arrays `p{k}.{name}` of
    population k (a parameter, v or another initial value), `s{k}.neuron` and `s{k}.step` of a source, `e{k}.pre`, `.post`, `.weight` and
    `.delay` (ms) of projection k, and `r{k}.v`, `.gsyn_exc`, `.gsyn_inh` and `.spikes` recorded of population k.
    """
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(str(arrays.pop("meta")))
    cells, sources, recordings = [], [], {}
    for k, entry in enumerate(meta["populations"]):
        label, size = entry["label"], int(entry["size"])
        if entry["kind"] == "source":
            neuron, times = arrays[f"s{k}.neuron"], arrays[f"s{k}.step"] * float(meta["timestep_ms"])
            sources.append(SpikeSources(label, size, tuple(times[neuron == j] for j in range(size))))
            continue

        def value(name: str, given: Any, k: int = k) -> Array:
            return np.asarray(arrays[f"p{k}.{name}"] if isinstance(given, str) else given, np.float64)

        bound = entry.get("bound") or (None, None)
        params = {name: value(name, given) for name, given in entry["params"].items()}
        start = {name: value(name, given) for name, given in entry.get("start", {}).items()}
        cells.append(Cells(label, size, entry["model"], params, value("v", entry["v"]), (bound[0], bound[1]), start))
        recordings[label] = {name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"r{k}.")}
    synapses = tuple(
        Synapses(
            entry["label"], entry["pre"], entry["post"], entry["receptor"], arrays[f"e{k}.pre"], arrays[f"e{k}.post"],
            arrays[f"e{k}.weight"], arrays[f"e{k}.delay"],
        )
        for k, entry in enumerate(meta["projections"])
    )
    return PynnNetwork(float(meta["timestep_ms"]), tuple(cells), tuple(sources), synapses), recordings


def save(path: Path | str, network: PynnNetwork, steps: int, recordings: Recordings | None = None) -> None:
    """Write what `load` reads; sources first, then cells. The time of a source's spike is kept in steps."""
    populations: list[dict[str, Any]] = []
    arrays: dict[str, Array] = {}
    step_us = timestep_us(network)
    for source in network.sources:
        k = len(populations)
        of_each = [spike_steps(times, step_us) for times in source.times_ms]
        arrays[f"s{k}.neuron"] = np.repeat(np.arange(source.size, dtype=np.int32), [of_one.size for of_one in of_each])
        arrays[f"s{k}.step"] = np.concatenate([np.zeros(0, np.int32), *of_each]).astype(np.int32)
        populations.append({"label": source.label, "size": source.size, "kind": "source"})
    for cells in network.cells:
        k = len(populations)
        started = {name: values for name, values in cells.start.items() if values.any()}
        arrays |= {f"p{k}.{name}": values for name, values in {**cells.params, "v": cells.v, **started}.items()}
        arrays |= {f"r{k}.{name}": values for name, values in (recordings or {}).get(cells.label, {}).items()}
        populations.append({
            "label": cells.label, "size": cells.size, "kind": "cells", "model": cells.model, "params": dict.fromkeys(cells.params, "array"),
            "v": "array", "bound": None if cells.bound == (None, None) else list(cells.bound),
            **({"start": dict.fromkeys(started, "array")} if started else {}),
        })
    for k, one in enumerate(network.synapses):
        arrays |= {f"e{k}.pre": one.pre_index, f"e{k}.post": one.post_index, f"e{k}.weight": one.weight, f"e{k}.delay": one.delay_ms}
    meta = {
        "timestep_ms": network.timestep_ms, "steps": steps, "populations": populations,
        "projections": [{"label": one.label, "pre": one.pre, "post": one.post, "receptor": one.receptor} for one in network.synapses],
    }
    arrays["meta"] = np.array(json.dumps(meta, sort_keys=True))
    np.savez_compressed(Path(path), allow_pickle=False, **arrays)
