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
from nmap.diagnostics import Diagnostic, Findings, NmapError, named
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap_spinnaker.arithmetic import ONE, SATURATION, decay, decay_and_init, encode_weights, raw, ring_shift, weight_scale

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
_POSITIVE, _NOT_NEGATIVE = ("tau_m", "cm", "tau_syn_E", "tau_syn_I"), ("tau_refrac",)
_FORMAT = SynapseFormat(bits=16, sign="excitatory")


def _each(values: Any, shape: tuple[int, ...], dtype: Any, what: str, label: str) -> Array:
    """Return values of a shape, of which one may stand for all."""
    try:
        spread = np.broadcast_to(values, shape)
    except ValueError:
        raise NmapError(Diagnostic(
            "NM106", "error", f"`{what}` of `{label}` has the shape {np.shape(values)}; one number or {shape} is needed", label,
        )) from None
    return frozen_array(spread, dtype)


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
        NmapError: there is no such model (NM104), it has no such parameter or initial value (NM104), or values are not one for each neuron
            (NM106).
    """

    label: str
    size: int
    model: Literal["IF_curr_exp", "IF_curr_delta", "IF_trunc_delta"]
    params: dict[str, Array]
    v: Array
    bound: tuple[float | None, float | None] = (None, None)
    start: dict[str, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.model not in MODEL_DEFAULTS:
            raise NmapError(Diagnostic(
                "NM104", "error", f"`{self.label}` is of the model {self.model}; there are {', '.join(MODEL_DEFAULTS)}",
            ))
        for what, given, defaults in (
            ("parameter", self.params, MODEL_DEFAULTS[self.model]), ("initial value", self.start, START_DEFAULTS[self.model]),
        ):
            unknown = sorted(set(given) - set(defaults))
            if unknown:
                raise NmapError(Diagnostic("NM104", "error", f"{self.model} has no {what} {', '.join(unknown)}", self.label))
            for name, default in defaults.items():
                given[name] = _each(given.get(name, np.float64(default)), (self.size,), np.float64, name, self.label)
        object.__setattr__(self, "v", _each(self.v, (self.size,), np.float64, "v", self.label))


@dataclass(frozen=True, slots=True, eq=False)
class SpikeSources:
    """A SpikeSourceArray: the times of every source's spikes in ms.

    Raises:
        NmapError: there are not as many sources as lists of times (NM106).
    """

    label: str
    size: int
    times_ms: tuple[Array, ...]

    def __post_init__(self) -> None:
        if len(self.times_ms) != self.size:
            raise NmapError(Diagnostic(
                "NM106", "error", f"`{self.label}` has {self.size} sources and times of {len(self.times_ms)}", self.label,
            ))


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

    Raises:
        NmapError: there is not one of each for every synapse (NM106).
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
            object.__setattr__(self, name, _each(getattr(self, name), np.shape(self.pre_index), dtype, name, self.label))


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


def _initial(cells: Cells, params: Mapping[str, Array], findings: Findings) -> dict[str, Array]:
    """Return the kernel's initial state, only what is not 0 beside v; record where no current of 32 bits decays to an initial value."""
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
            findings.error("NM305", f"no current of 32 bits decays to an {theirs} of `{cells.label}`", where=cells.label)
        found[ours] = before
    return {name: values for name, values in found.items() if name == "v" or values.any()}


def _few(values: Array) -> str:
    """Return the first of some values."""
    return ", ".join(f"{value:g}" for value in values[:3].tolist()) + (" and more" if values.size > 3 else "")


def _checked_cells(cells: Cells, findings: Findings) -> None:
    """Record what in a population no core can hold."""
    held = {**cells.params, **{name: values for name, values in cells.start.items() if name != "refract_timer"}, "v": cells.v}
    for name, values in held.items():
        wrong, above = ~np.isfinite(values), " above 0" if name in _POSITIVE else " not below 0" if name in _NOT_NEGATIVE else ""
        if above:
            wrong |= (values <= 0) if name in _POSITIVE else (values < 0)
        if wrong.any():
            findings.error("NM107", f"`{name}` of `{cells.label}` is {_few(values[wrong])}; a number{above} is needed", where=cells.label)
            continue
        outside = (values < -65536) | (values > 65536 - 2.0**-15)
        if name in _POSITIVE:
            outside |= np.rint(values * ONE) < 1
        if outside.any():
            findings.error(
                "NM305", f"`{name}` of `{cells.label}` is {_few(values[outside])}, which s16.15 cannot represent", where=cells.label,
                why="An accum holds multiples of 1/32768 from -65536 to below 65536.",
            )
    waits = cells.start["refract_timer"]
    # A comparison with what is not a number is false.
    odd = ~((waits == np.rint(waits)) & (np.abs(waits) <= 2**31 - 1))
    if odd.any():
        findings.error(
            "NM107", f"`refract_timer` of `{cells.label}` is {_few(waits[odd])}; a whole number of steps in 32 bits is needed",
            where=cells.label,
        )
    bounds = np.array([bound for bound in cells.bound if bound is not None], np.float64)
    if not (np.isfinite(bounds) & (bounds >= 0)).all():
        findings.error("NM107", f"the expected summed weights of `{cells.label}` are {_few(bounds)}; no number below 0 can be",
                       where=cells.label)


def _checked_synapses(one: Synapses, network: PynnNetwork, strict: bool, findings: Findings) -> None:
    """Record what in a projection cannot be: its ends, indices, weights and delays."""
    sizes = {each.label: each.size for each in network.sources} | {each.label: each.size for each in network.cells}
    cells = {each.label for each in network.cells}
    if one.receptor not in _RECEPTORS:
        findings.error(
            "NM104", f"`{one.label}` leads to a receptor `{one.receptor}`; there are excitatory and inhibitory", where=one.label,
        )
    if one.pre not in sizes or one.post not in cells:
        findings.error(
            "NM105", f"`{one.label}` joins `{one.pre}` and `{one.post}`, which are not a population and cells", where=one.label,
        )
    for end, index in ((one.pre, one.pre_index), (one.post, one.post_index)):
        outside = (index < 0) | (index >= sizes.get(end, 1 << 62))
        if outside.any():
            findings.error(
                "NM106", f"`{one.label}` names neurons that `{end}` does not have: {_few(index[outside])}", where=one.label,
                why=f"It has {sizes[end]} neurons." if end in sizes else None,
            )
    wrong = ~(np.isfinite(one.weight) & (one.weight >= 0))
    if wrong.any():
        findings.error(
            "NM107", f"{_weights(wrong)} of `{one.label}` {'is' if wrong.sum() == 1 else 'are'} no number from 0 up:"
            f" {_few(one.weight[wrong])}", where=one.label,
            why="A receptor has one sign.",
            help=("give inhibitory weights as positive numbers in a projection to the inhibitory receptor",),
        )
    if (one.weight[~wrong] >= 2.0**47).any():
        findings.error("NM305", f"weights of `{one.label}` are beyond what a core can hold", where=one.label)
    step = timestep_us(network) / 1000
    wrong = ~np.isfinite(one.delay_ms) | (one.delay_ms < 0)
    if wrong.any():
        findings.error("NM107", f"delays of `{one.label}` are {_few(one.delay_ms[wrong])} ms; numbers of a step or more are needed",
                       where=one.label)
        return
    short = np.rint(one.delay_ms / step) < 1
    if strict and short.any():
        findings.error(
            "NM107", f"{int(short.sum())} delays of `{one.label}` are below one step of {step:g} ms: {_few(one.delay_ms[short])} ms",
            where=one.label, why="A spike acts in the step after it was sent, or later.",
        )
    if (one.delay_ms / step >= 2**31).any():
        findings.error("NM305", f"delays of `{one.label}` are beyond 2^31 steps", where=one.label)


def _checked_times(source: SpikeSources, step_us: int, findings: Findings) -> None:
    """Record spike times that are none."""
    times = np.concatenate([np.zeros(0), *(np.asarray(some, np.float64).ravel() for some in source.times_ms)])
    wrong = ~(np.isfinite(times) & (times >= 0))
    if wrong.any():
        findings.error("NM107", f"spike times of `{source.label}` are {_few(times[wrong])} ms; numbers from 0 up are needed",
                       where=source.label)
    late = ~wrong & (times * 1000 / step_us >= 2**31)
    if late.any():
        findings.error(
            "NM305", f"spike times of `{source.label}` are {_few(times[late])} ms, beyond 2^31 steps", where=source.label,
            why="Ticks are counted in 32 bits.",
        )


def _weights(which: Array) -> str:
    number = int(np.count_nonzero(which))
    return f"{number} weight{'' if number == 1 else 's'}"


def _checked(network: PynnNetwork, strict: bool) -> None:
    """Raise all that is wrong with a network together; see `quantized`."""
    findings = Findings()
    step = network.timestep_ms
    if not 0.1 <= step <= 2:
        # Nothing that is counted in steps can be judged.
        findings.error("NM107", f"the time step is {step} ms; SpiNNaker 1 takes 0.1 to 2 ms")
        findings.raise_errors()
    for what, labels in (
        ("populations", [*(one.label for one in network.sources), *(one.label for one in network.cells)]),
        ("projections", [one.label for one in network.synapses]),
    ):
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            findings.error("NM103", f"several {what} are called {named(twice)}", help=("give each a label of its own",))
    for source in network.sources:
        _checked_times(source, timestep_us(network), findings)
    for cells in network.cells:
        _checked_cells(cells, findings)
    for one in network.synapses:
        _checked_synapses(one, network, strict, findings)
    findings.raise_errors()
    if strict:
        _checked_masks(network, findings)
        findings.raise_errors()


def _checked_masks(network: PynnNetwork, findings: Findings) -> None:
    """Record weights of which the host would keep the low 16 bits only."""
    of_cells = {cells.label: shifts(network, cells) for cells in network.cells}
    for one in network.synapses:
        shift = of_cells[one.post][_RECEPTORS.index(one.receptor)]
        masked = np.rint(one.weight * weight_scale(shift)) > SATURATION
        if masked.any():
            findings.error(
                "NM305", f"{_weights(masked)} of `{one.label}` {'is' if masked.sum() == 1 else 'are'} beyond the 16 bits of a synapse,"
                f" which hold up to {SATURATION / weight_scale(shift):g}: {_few(one.weight[masked])}", where=one.label,
                why="sPyNNaker keeps the low 16 bits without a word.", help=("give a larger max_expected_summed_weight",),
                data={"weights": int(masked.sum())},
            )


def quantized(network: PynnNetwork, file: str = "pynn", *, strict: bool = True) -> tuple[QuantizedNetwork, dict[str, Array]]:
    """Return the network in the chip's numbers and its input.

    Sources become input ports: what a source sends in tick t, acting in tick t + delay, is column t of its input. Synapses whose weight the
    host rounds to 0 are left out.

    Args:
        network: the network.
        file: what provenances name as the file.
        strict: refuse what the host changes without a word: weights of more than 16 bits, of which it keeps the low ones, and delays below
            one step, which it makes one. False: do as the host does.

    Returns:
        The network, whose outputs are all cells; and (1, columns, n) uint8 by port, up to the last spike of all, at least one column.

    Raises:
        NmapError: with all that is wrong: a label is there twice (NM103) or unknown (NM105), a receptor is unknown (NM104), an index is
            outside its population (NM106), a number is not finite or out of its physical range (NM107), or a parameter, weight or time
            cannot be represented or no current of 32 bits decays to an initial one (NM305).
    """
    _checked(network, strict)
    findings = Findings()
    step_us = timestep_us(network)
    sizes = {source.label: source.size for source in network.sources} | {cells.label: cells.size for cells in network.cells}
    inputs = _inputs(network.sources, step_us)
    populations = [QuantizedPopulation(one.label, (one.size,), None, {}, Provenance(file, one.label)) for one in network.sources]
    of_cells = {cells.label: shifts(network, cells) for cells in network.cells}
    for cells in network.cells:
        params = {name: raw(values) for name, values in cells.params.items()}
        params |= {"timestep": raw(step_us / 1000)} | {f"shift_{k}": np.array(shift) for k, shift in enumerate(of_cells[cells.label])}
        populations.append(QuantizedPopulation(
            cells.label, (cells.size,), KERNEL_OF[cells.model], params, Provenance(file, cells.label), _initial(cells, params, findings),
            np.array([float(ONE)]),
        ))
    findings.raise_errors()
    projections: list[QuantizedProjection] = []
    for one in network.synapses:
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
