"""From a network in real numbers to Akida's integers: weights of few bits, thresholds, steps of activations.

A neuron without memory fires where g (w x + b) + drive > theta (or >=). With a scale s of its filter, integers q about s w, and P the sum
of q x, that is P > t for one whole number t, which is found exactly: biases and gains go into it (`threshold` mode).

Where a neuron counts more than one spike, because several a step are allowed or because all steps of a sample are one inference (`rate`
mode), Theta = s theta / g is what a spike takes, and with B the biases of all these steps times s it sends

    y = floor((P + B) / Theta)        for >=
    y = ceil((P + B) / Theta) - 1     for >

held between 0 and what the layer's bits hold: the number of spikes of an integrate-and-fire neuron that integrates everything, then fires.
The chip's threshold and its step, in sixteenths, are chosen together for that (`nmap_akida.scales.settle`). Weights are never rounded for
the threshold's sake.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Final

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense
from nmap.diagnostics import Findings, named
from nmap.network import Network, Neuron, Population, Projection
from nmap.options import Options
from nmap.quantized import LayerLoss, QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.spec import ChipSpec, Limit
from nmap_akida.form import Form, Mode
from nmap_akida.geometry import expanded, global_pool, separable, summed_over_image
from nmap_akida.kernels.neuron import BINARY, GRADED
from nmap_akida.layers import IMAGE_BITS
from nmap_akida.proof import LIMIT, divisors, ends, separable_divisors, separable_ends
from nmap_akida.scales import (
    HUGE,
    SIXTEENTHS,
    TOLERANCE,
    Chosen,
    Counting,
    choose,
    is_whole,
    lowest,
    nearest_step,
    range_of,
    settle,
    spikes_from,
)
from nmap_akida.structure import Step, chain, chosen_mode, default_bits, most_spikes, window_of

__all__ = ["quantize"]

_MANY_ZEROED: Final = 0.25
"""Share of weights rounded to zero above which a warning says so; the table of losses counts them always."""
_IMAGE_LEVELS: Final = 7
"""Largest integer that the largest weight of an image layer keeps where the proof asks for small ones: as many levels as 4 bits have."""


def quantize(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> QuantizedNetwork:
    """Return the network in Akida's integers. The network has passed `nmap_akida.rules.RULES`.

    A layer that sums windows of 2 by 2 pixels in front of population q is a population `q.pool`, fed by `<projection>.pool`. Of the scales
    of a layer's filters, its `LayerLoss` states the smallest.

    Args:
        network: in real numbers.
        spec: of the chip.
        options: `bits`, `approximate`, `payload` and `horizon` matter.
        findings: receives every loss, and as errors what a layer's fields do not hold (NM305), sums that are not proved to stay in the
            potential's range (NM304), and samples of more steps than one inference counts (NM205).

    The setting `<port>.highest` is the largest value of one inference's input for which that is proved: the largest of the port's bits,
    or, where the proof fails for that one, the largest of the samples.

    Raises:
        TypeError: the network breaks a rule.
    """
    mode, window = chosen_mode(options, network), window_of(spec, options, network)
    steps, offences = chain(network, spec, options)
    if offences:
        raise TypeError(f"{offences[0].names[0]} {offences[0].reason}, which the rules refuse")
    if mode is Mode.RATE:
        _tell_rate(network, spec, window, findings)
    taken = {p.name for p in network.populations} | {p.name for p in network.projections}
    populations = [QuantizedPopulation(p.name, p.shape, None, {}, p.where) for p in network.populations if p.neuron is None]
    projections: list[QuantizedProjection] = []
    losses: list[LayerLoss] = []
    settings = {"mode": int(mode)} | ({"window": window} if mode is Mode.RATE else {})
    source, bits, late = populations[0], 0, 0
    for step in steps:
        job = _Job(network, step, spec, options, findings, mode, window)
        first = not bits
        bits = bits or (IMAGE_BITS if step.form is Form.IMAGE else _bits_of(step.received if not step.pool_before else step.received // 4))
        # The port's width first; later layers' inputs are as wide as they say.
        largest = max(step.received, ((1 << bits) - 1) * (4 if step.pool_before else 1)) if first else step.received
        if step.pool_before:
            source, link = _pool(job, source, bits, taken)
            populations.append(replace(source, latency=len(populations) - late))
            projections.append(link)
            settings[f"{source.name}.form"] = int(Form.CONV)
            bits = 4
        made, given = (_pooled(job), 1) if step.form is Form.POOLED else _layer(job, largest)
        if first:
            settings[f"{network.inputs[0]}.highest"] = given // (4 if step.pool_before else 1)
        # Where the network's own time runs behind, as from layer to layer of a netx file, inferences do not wait for it.
        p, late = job.projection, step.late
        projections.append(QuantizedProjection(
            p.name, source.name, p.target, made.connectivity,
            SynapseFormat(made.loss.bits, message_bits=0 if bits == 1 else bits + 1), 0, p.where,
        ))
        source = QuantizedPopulation(
            job.name, job.population.shape, made.kernel, made.params, job.population.where, scale=made.scale,
            latency=len(populations) - late,
        )
        populations.append(source)
        losses.append(made.loss)
        settings[f"{job.name}.form"] = int(step.form)
        if step.global_pool:
            settings[f"{job.name}.global"] = 1
        bits = _bits_of(step.sent)
    return QuantizedNetwork(tuple(populations), tuple(projections), network.inputs, network.outputs, tuple(losses), settings)


def _bits_of(largest: int) -> int:
    """Return the bits of values up to a number, at least 1."""
    return max(1, int(largest).bit_length())


def _tell_rate(network: Network, spec: ChipSpec, window: int, findings: Findings) -> None:
    limit, last = spec.limits["window"], network[network.outputs[0]]
    if window > limit.max:
        findings.error(
            "NM205", f"{window} steps do not fit in one inference of 4 bits", where=str(last.where),
            why="In rate mode one inference stands for all steps of a sample, and a neuron's number of spikes has 4 bits: at most"
            f" {limit.max} steps ({limit.source}).",
            help=(f"--steps {limit.max} takes the first {limit.max} steps of every sample", f"train with at most {limit.max} steps"),
        )
        return
    names = [p.name for p in network.populations if p.neuron is not None]
    findings.warning(
        "NM205",
        f"{named(names)} {'counts' if len(names) == 1 else 'count'} the spikes of {window} steps in one inference: when they fire is not"
        " kept",
        where=str(last.where),
        why="The number of spikes is exact for a neuron that integrates all its input first and fires then; step by step it may fire"
        " earlier, and more often where inhibition comes late.",
        data={"approximation": "rate", "populations": names, "proved_steps": window},
    )


@dataclass(frozen=True, eq=False)
class _Job:
    """A population to quantize, with the layer that computes it."""

    network: Network
    step: Step
    spec: ChipSpec
    options: Options
    findings: Findings
    mode: Mode
    window: int

    @property
    def population(self) -> Population:
        return self.step.population

    @property
    def projection(self) -> Projection:
        return self.step.projection

    @cached_property
    def neuron(self) -> Neuron:
        if not isinstance(self.population.neuron, Neuron):
            raise TypeError(f"{self.population.name} is a {type(self.population.neuron).__name__}, which the rules refuse")
        return self.population.neuron

    @property
    def bits(self) -> int:
        return IMAGE_BITS if self.step.form is Form.IMAGE else default_bits(self.options)

    @property
    def name(self) -> str:
        return self.population.name

    @property
    def where(self) -> str:
        return str(self.projection.where)

    @cached_property
    def filters(self) -> int:
        return int(self.step.connectivity.weights.shape[0])

    @property
    def counts(self) -> bool:
        """Whether neurons count spikes; those that send one at most compare once."""
        return self.step.sent > 1

    def first(self, values: Array) -> Array:
        """Return the value of each filter, (f,): all its neurons have the same."""
        return np.asarray(values.reshape(self.filters, -1)[:, 0])

    def each(self, values: Array) -> Array:
        """Return the value of each neuron, (n,)."""
        return np.repeat(values, self.population.size // self.filters)

    def limit(self, name: str) -> Limit:
        return self.spec.limits[name]


@dataclass(frozen=True, slots=True, eq=False)
class _Made:
    """A layer in integers; see `QuantizedPopulation` and `QuantizedProjection`."""

    kernel: str
    params: dict[str, Array]
    scale: Array
    connectivity: Connectivity
    loss: LayerLoss


def _pool(job: _Job, source: QuantizedPopulation, bits: int, taken: set[str]) -> tuple[QuantizedPopulation, QuantizedProjection]:
    """Return the layer that sums windows of 2 by 2 pixels in front of a population, and what leads to it."""
    channels, height, width = source.shape
    where = job.population.where
    conv = Conv2d(np.ones((channels, 1, 2, 2), np.int32), (channels, height, width), (2, 2), groups=channels)
    params = {"threshold": np.array(0), "act_step": np.array(SIXTEENTHS), "act_bits": np.array(4)}
    pool = QuantizedPopulation(_free(f"{job.name}.pool", taken), conv.out_shape, GRADED.name, params, where, scale=np.ones(1))
    link = QuantizedProjection(
        _free(f"{job.projection.name}.pool", taken), source.name, pool.name, conv,
        SynapseFormat(1, message_bits=0 if bits == 1 else bits + 1), 0, where,
    )
    return pool, link


def _free(name: str, taken: set[str]) -> str:
    """Return a name that nothing has yet, and take it."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _pooled(job: _Job) -> _Made:
    """Return a population that asks whether any of 2 by 2 neurons fired."""
    given = job.step.connectivity
    ones = given.with_weights((given.weights != 0).astype(np.int32))
    scale = job.each(1 / job.first(job.neuron.gain_in * job.neuron.gain_v))
    return _Made(BINARY.name, {"threshold": np.array(0)}, scale, ones, LayerLoss(job.name, 1, 1.0, 0, None, 0, 0))


# ---- what is compared -------------------------------------------------------------------------------------------------------------------


class _Compare:
    """Thresholds of a layer's filters for a given scale.

    Args:
        job: the layer.
    """

    def __init__(self, job: _Job) -> None:
        neuron, bias = job.neuron, job.projection.bias
        self.strict, self.counts, self.window = job.network.conventions.compare == ">", job.counts, job.window
        self.gain_in, self.gain_v, self.drive, self.theta = (
            job.first(values) for values in (neuron.gain_in, neuron.gain_v, neuron.drive, neuron.threshold)
        )
        self.bias = np.zeros(job.filters) if bias is None else job.first(bias)
        gain = self.gain_in * self.gain_v
        self.sign, self.size = np.sign(gain), np.where(gain == 0, 1, np.abs(gain))
        self.unit = self.theta / self.size
        """Threshold in the weights' unit."""
        self.rest = self.sign * self.bias + self.drive / self.size
        """What is added to a step's sum, in the weights' unit."""

    def fires(self, at: Array, scale: Array, potential: Array) -> Array:
        """Return whether filters fire at a potential, computed as the network in real numbers computes it."""
        x = self.sign[at] * potential / scale + self.bias[at]
        v = self.gain_v[at] * (self.gain_in[at] * x) + self.drive[at]
        return np.asarray(v > self.theta[at] if self.strict else v >= self.theta[at])

    def thresholds(self, at: Array, scale: Array) -> Array:
        """Return the thresholds of filters `at` with their scales, (k,) int64, those of the first spike; held at 2^40 where they are
        beyond.
        """
        if self.counts:
            return np.asarray(self.levels(at, scale, 1)[:, 0] - 1)
        real = (self.unit[at] - self.rest[at]) * scale
        least = np.ceil(np.clip(real, -HUGE, HUGE)) + 3
        # The lowest potential that fires lies within rounding of the real threshold; whether it does is asked of the network's own formula.
        for _ in range(6):
            least = np.where(self.fires(at, scale, least - 1), least - 1, least)
        # Without a gain the potential is always 0.
        least = np.where(self.sign[at] == 0, np.where(self.fires(at, scale, np.zeros(at.size)), 0, 1), least)
        return (least - 1).astype(np.int64)

    def levels(self, at: Array, scale: Array, count: int) -> Array:
        """Return the potentials from which on there are 1, 2, ... `count` spikes, (k, count) int64."""
        return spikes_from(self.unit[at] * scale, self.window * self.rest[at] * scale, self.strict, count)

    def steps(self, at: Array, scale: Array, grain: int) -> Array:
        """Return the nearest to what one more spike takes, Theta, (k,) int64 sixteenths."""
        return nearest_step(self.unit[at] * scale, grain)

    def count(self, bounds: _Bounds, at: Array, scale: Array, sums: _Sums) -> Counting:
        """Return how filters `at` count with their scales."""
        return settle(
            self.levels(at, scale, bounds.levels), self.unit[at] * scale, sums.apart,
            (sums.up * bounds.received * bounds.pixels, sums.down * bounds.received * bounds.pixels), bounds.grain,
            (int(bounds.threshold.min), int(bounds.threshold.max)), bounds.step,
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Sums:
    """What filters' sums can be, of inputs of 0 and 1.

    Args:
        up, down: (f,) int64, the largest, and the smallest as a number from 0 on.
        apart: (f,) int64, the number of which all are multiples.
    """

    up: Array
    down: Array
    apart: Array


@dataclass(frozen=True, slots=True, eq=False)
class _Bounds:
    """What a layer's fields hold, and how large its sums may become.

    Args:
        threshold: the limit of thresholds.
        step: largest, in sixteenths.
        grain: sixteenths of which steps are multiples: the chip widens those of activations of few bits.
        levels: largest number of spikes.
        largest: input that sums are proved for.
        received: largest input that arrives in the samples, or in as many steps as an inference stands for: what counting is right for.
        pixels: that are summed.
    """

    threshold: Limit
    step: int
    grain: int
    levels: int
    largest: int
    received: int
    pixels: int

    @property
    def reach(self) -> int:
        """What a filter's sum of weights is multiplied with: the largest input, times the pixels."""
        return self.largest * self.pixels


# ---- a layer ----------------------------------------------------------------------------------------------------------------------------


def _layer(job: _Job, largest: int) -> tuple[_Made, int]:
    """Return a layer in integers, and the largest input for which it is proved: `largest`, or what arrives in the samples."""
    compare, step = _Compare(job), job.step
    given = step.connectivity
    small = given
    pixels = 1
    if step.global_pool and isinstance(given, Conv2d):
        inner = global_pool(given)
        if inner is None:
            raise TypeError(f"{job.projection.name} is no convolution summed over the image")
        small, pixels = inner, prod(inner.out_shape[1:])
    grain = 1 << (4 - _bits_of(step.sent))
    bounds = _Bounds(
        job.limit("threshold_image" if step.form is Form.IMAGE else "threshold"), int(job.limit("act_step").max) * grain, grain, step.sent,
        step.received, step.received, pixels,
    )
    matrix = np.asarray(small.weights, np.float64).reshape(job.filters, -1) * compare.sign[:, None]
    if step.form is Form.SEPARABLE and isinstance(small, Conv2d):
        _check_factors(job, small)
    else:
        _check_weights(job, matrix)
    wide = largest > step.received and not (
        job.mode is Mode.THRESHOLD and compare.counts and most_spikes(job.neuron, job.projection, given, largest) > step.sent
    )
    for bound in ([largest] if wide else []) + [step.received]:
        bounds = replace(bounds, largest=bound)
        chosen, values, sums = _separate(job, compare, bounds, small) if step.form is Form.SEPARABLE else (
            _whole_matrix(job, compare, bounds, matrix)
        )
        if chosen.fits.all():
            break
    _tell_misfits(job, compare, bounds, chosen, values)
    connectivity: Connectivity = small.with_weights(values.reshape(small.weights.shape).astype(np.int32))
    if step.global_pool and isinstance(connectivity, Conv2d):
        connectivity = summed_over_image(connectivity)
    counting = compare.count(bounds, np.arange(job.filters), chosen.scale, sums) if compare.counts else None
    return _Made(
        *_neurons(job, compare, bounds, chosen, counting), job.each(chosen.scale / compare.size), connectivity,
        _loss(job, compare, matrix, chosen, values, counting),
    ), bounds.largest


def _fits(compare: _Compare, bounds: _Bounds, at: Array, scale: Array, totals: tuple[Array, Array]) -> Array:
    """Return which filters the chip takes; `totals` are the ends of their sums for inputs of 0 and 1."""
    held = np.maximum(*totals) * bounds.reach < LIMIT
    threshold = compare.thresholds(at, scale)
    held &= (threshold >= bounds.threshold.min) & (threshold <= bounds.threshold.max)
    if compare.counts:
        held &= compare.steps(at, scale, bounds.grain) <= bounds.step
    return np.asarray(held)


def _least(job: _Job, matrix: Array) -> Array:
    """Return the scale down to which thresholds and the proof may press that of a filter: the layer's own."""
    top = range_of(job.bits)[1]
    levels = min(top, _IMAGE_LEVELS)
    return np.full(job.filters, levels / (np.abs(matrix).max(initial=0) or 1.0))


def _whole_matrix(job: _Job, compare: _Compare, bounds: _Bounds, matrix: Array) -> tuple[Chosen, Array, _Sums]:
    """Return a layer's filters in integers, those, (f, n) int64, and their sums."""

    def sums(values: Array) -> _Sums:
        return _Sums(*ends(values), divisors(values))

    chosen = choose(
        matrix, job.bits, lambda at, scale, values: _fits(compare, bounds, at, scale, ends(values)), _least(job, matrix),
        (lambda at, scale, values: compare.count(bounds, at, scale, sums(values)).missed) if compare.counts else None,
    )
    return chosen, chosen.values, sums(chosen.values)


def _separate(job: _Job, compare: _Compare, bounds: _Bounds, conv: Connectivity) -> tuple[Chosen, Array, _Sums]:
    """Return a separable layer's filters in integers: the factors across channels, the products, (f, n) int64, and their sums.

    The factors within channels get a scale for each channel, then those across channels one for each filter, with the least squared error
    of the products.
    """
    if not isinstance(conv, Conv2d):
        raise TypeError(f"{job.projection.name} is no convolution")
    # Of channels in groups, the factors across channels are 0 where a filter does not reach.
    kernel = np.asarray(expanded(conv), np.float64) * compare.sign[:, None, None, None]
    depth = _depthwise(job, kernel)
    size = (depth * depth).sum(1)
    taps, points = kernel.reshape(*kernel.shape[:2], -1), np.zeros(kernel.shape[:2])
    # Tap by tap, so that rounding does not depend on how a processor adds.
    for tap in range(taps.shape[2]):
        points += taps[:, :, tap] * depth[:, tap]
    points /= np.maximum(size, 1)

    def sums(values: Array) -> _Sums:
        return _Sums(*separable_ends(depth, values), separable_divisors(depth, values))

    chosen = choose(
        points, job.bits, lambda at, scale, values: _fits(compare, bounds, at, scale, separable_ends(depth, values)), _least(job, points),
        (lambda at, scale, values: compare.count(bounds, at, scale, sums(values)).missed) if compare.counts else None, size,
    )
    values = chosen.values[:, :, None] * depth
    exact = chosen.exact & (np.abs(taps * chosen.scale[:, None, None] - values) <= TOLERANCE).all((1, 2))
    within = conv.weights.shape[1]
    own = np.arange(job.filters)[:, None] // (job.filters // conv.groups) * within + np.arange(within)
    kept = values[np.arange(job.filters)[:, None], own]
    return replace(chosen, exact=exact), kept.reshape(job.filters, -1), sums(chosen.values)


def _depthwise(job: _Job, kernel: Array) -> Array:
    """Return the factors within channels, (channels, taps) int64, of a kernel (filters, channels, height, width)."""
    top = range_of(job.bits)[1]
    if is_whole(kernel).all() and np.abs(kernel).max(initial=0) <= top * top:
        whole = separable(np.rint(kernel).astype(np.int32), top)
        if whole is not None:
            return whole[0].reshape(kernel.shape[1], -1).astype(np.int64)
    factors = separable(kernel)
    if factors is None:
        raise TypeError(f"{job.projection.name} is not separable")
    rows = factors[0].reshape(kernel.shape[1], -1)
    return choose(rows, job.bits, _all_fit, np.zeros(len(rows))).values


def _all_fit(at: Array, scale: Array, values: Array) -> Array:
    """Say that the factors within channels fit: the proof is about the products."""
    del scale, values
    return np.ones(at.size, bool)


def _neurons(
    job: _Job, compare: _Compare, bounds: _Bounds, chosen: Chosen, counting: Counting | None
) -> tuple[str, dict[str, Array]]:
    """Return the kernel and its parameters, (n,) int64 each."""
    if counting is None:
        return BINARY.name, {"threshold": job.each(compare.thresholds(np.arange(job.filters), chosen.scale))}
    # The chip widens a step by 2^(4 - bits).
    step, bits = job.each(counting.step // bounds.grain), np.array(_bits_of(job.step.sent))
    return GRADED.name, {"threshold": job.each(counting.threshold), "act_step": step, "act_bits": bits}


def _loss(job: _Job, compare: _Compare, matrix: Array, chosen: Chosen, values: Array, counting: Counting | None) -> LayerLoss:
    """Return and tell what rounding did to the weights, and to the steps where spikes are counted."""
    real = values / chosen.scale[:, None]
    noise = float(((real - matrix) ** 2)[~chosen.exact].sum())
    signal = float((matrix**2).sum())
    zeroed, present = int(((values == 0) & (matrix != 0)).sum()), int((matrix != 0).sum())
    low, top = range_of(job.bits)
    beyond = np.rint(matrix * chosen.scale[:, None])
    clipped = int(((beyond < low) | (beyond > top)).sum()) if job.step.form is not Form.SEPARABLE else 0
    if clipped:
        farthest = float((np.abs(matrix) * chosen.scale[:, None]).max() / top)
        job.findings.warning(
            "NM301", f"{clipped} of {present} weights into `{job.name}` {'is' if clipped == 1 else 'are'} clipped", where=job.where,
            why=f"The scale of each filter is the one with the least squared error in {job.bits} bits; the farthest weight is"
            f" {farthest:.3g} times the largest that they hold.",
            help=_more_bits(job), data={"population": job.name, "weights": clipped},
        )
    if zeroed > _MANY_ZEROED * present:
        job.findings.warning(
            "NM302", f"{zeroed} of {present} weights into `{job.name}` {'rounds' if zeroed == 1 else 'round'} to 0", where=job.where,
            why=f"Weights have {job.bits} bit{'' if job.bits == 1 else 's'}: {low} to {top}, with one scale for each filter.",
            help=("train with weights of so few bits", *_more_bits(job)), data={"population": job.name, "weights": zeroed},
        )
    off = 0.0
    if counting is not None:
        off = _tell_counts(job, compare, chosen, counting)
    if not values.any(1).all():
        _tell_silent(job, ~values.any(1))
    return LayerLoss(
        job.name, job.bits, float(chosen.scale.min()), 0,
        None if noise == 0 or signal == 0 else float(10 * np.log10(signal / noise)), clipped, zeroed, off,
    )


def _tell_counts(job: _Job, compare: _Compare, chosen: Chosen, counting: Counting) -> float:
    """Tell of filters with exact weights that count otherwise than in real numbers; return the largest relative error of a step."""
    real = compare.unit * chosen.scale
    error = np.abs(counting.step / SIXTEENTHS - real) / real
    # A threshold that is a number of sixteenths but for the rounding of the file's 32 bits is held.
    error = np.where(error <= TOLERANCE, 0, error)
    wrong = chosen.exact & chosen.fits & (counting.missed > 0)
    if wrong.any():
        worst = int(np.argmax(np.where(wrong, counting.missed, -1)))
        count, limit = int(wrong.sum()), job.limit("act_step")
        noun = "neuron" if isinstance(job.step.connectivity, Dense) else "filter"
        levels = 1 << _bits_of(job.step.sent)
        job.findings.warning(
            "NM302", f"{count} of {job.filters} {noun}s of `{job.name}` may not count every sum exactly", where=job.where,
            why=f"A spike takes {real[worst]:.6g} integer weight units; the nearest that counts is a threshold of"
            f" {int(counting.threshold[worst])} and a step of {int(counting.step[worst])} sixteenths ({limit.source}), which may be one"
            f" spike off at {int(counting.missed[worst])} sums of the {levels} levels.",
            help=("train with thresholds that are whole numbers of the weights' unit",),
            data={"population": job.name, "filters": np.flatnonzero(wrong)[:20].tolist(), "missed": int(counting.missed[worst])},
        )
    return float(error[compare.sign != 0].max(initial=0))


# ---- what does not fit ------------------------------------------------------------------------------------------------------------------


def _more_bits(job: _Job) -> tuple[str, ...]:
    return ("use more bits: --bits 4",) if job.bits < 4 else ()


def _tell_silent(job: _Job, silent: Array) -> None:
    """Tell of a layer whose weights are all 0; single filters of zeros compute a constant, as in the network."""
    if not silent.all():
        return
    limit = job.limit("nonzero_weights")
    what = f"all weights into `{job.name}` are 0"
    if job.step.form in (Form.IMAGE, Form.SEPARABLE):
        layer = "an input convolution" if job.step.form is Form.IMAGE else "a separable convolution"
        job.findings.error(
            "NM305", what, where=job.where, why=f"The weights of {layer} must not all be zero ({limit.source}).",
            help=("leave the layer out, or train it again",), data={"population": job.name},
        )
    else:
        job.findings.warning(
            "NM112", what, where=job.where, why="Its neurons send the same in every inference, whatever the input. The chip refuses that of"
            f" input and separable convolutions only ({limit.source}).",
            help=("leave the layer out, or train it again",), data={"population": job.name},
        )


def _check_weights(job: _Job, matrix: Array) -> None:
    """Record weights that were made for two's complement, or that are negative where there are no negative ones."""
    bits, allowed = job.bits, "weights" in job.options.approximate
    low, top = range_of(bits)
    limit, bottom = job.limit(f"weight_{bits}"), lowest(bits)
    smallest, largest = float(matrix.min(initial=0)), float(matrix.max(initial=0))
    if allowed:
        return
    if bits > 1 and smallest == bottom and largest <= top and is_whole(matrix).all():
        count = int((matrix == bottom).sum())
        job.findings.error(
            "NM305",
            f"{count} weight{'' if count == 1 else 's'} into `{job.name}` {'is' if count == 1 else 'are'} {bottom}, which weights of"
            f" {bits} bits do not hold here",
            where=job.where,
            why=f"Weights of {bits} bits lie in {low}..{top} ({limit.source}); the layer's are whole numbers down to {bottom}.",
            help=(
                f"train with weights of {low} to {top}",
                "--approximate weights scales and rounds each filter to the range, and counts what that costs",
            ),
            data={"population": job.name, "weights": count, "approximate": "weights"},
        )
    if bits == 1 and smallest < 0:
        count = int((matrix < 0).sum())
        job.findings.error(
            "NM305", f"{count} of {matrix.size} weights into `{job.name}` are negative, and weights of 1 bit are 0 or 1", where=job.where,
            why=f"Weights of 1 bit lie in {low}..{top} ({limit.source}).",
            help=("use more bits: --bits 4", "--approximate weights makes them 0, and counts what that costs"),
            data={"population": job.name, "weights": count, "approximate": "weights"},
        )


def _check_factors(job: _Job, conv: Conv2d) -> None:
    """Record a separable convolution of whole numbers, one factor of which is two's complement's lowest number."""
    kernel, (low, top) = expanded(conv), range_of(job.bits)
    # The file may hold the product only: what its factors can be is looked for.
    if "weights" in job.options.approximate or not is_whole(kernel).all() or separable(kernel, top) is not None:
        return
    if separable(kernel, -lowest(job.bits)) is None:
        return
    limit = job.limit(f"weight_{job.bits}")
    job.findings.error(
        "NM305", f"the weights into `{job.name}` are those of a separable convolution with a factor of {lowest(job.bits)} or"
        f" {-lowest(job.bits)}, which weights of {job.bits} bits do not hold here", where=job.where,
        why=f"Weights of {job.bits} bits lie in {low}..{top} ({limit.source}), within channels and across them.",
        help=(
            f"train both convolutions with weights of {low} to {top}",
            "--approximate weights scales and rounds the factors to the range, and counts what that costs",
        ),
        data={"population": job.name, "approximate": "weights"},
    )


def _tell_filters(job: _Job, of: Array, code: str, what: str, why: str, remedies: Iterable[str]) -> None:
    count = int(of.sum())
    dense = isinstance(job.step.connectivity, Dense)
    noun = "neuron" if dense else "filter"
    job.findings.error(
        code, f"{count} of {job.filters} {noun}s of `{job.name}` {'has' if count == 1 else 'have'} {what}", where=job.where, why=why,
        help=remedies, data={"population": job.name, "filters": np.flatnonzero(of)[:20].tolist()},
    )


def _tell_misfits(job: _Job, compare: _Compare, bounds: _Bounds, chosen: Chosen, values: Array) -> None:
    """Record every filter that the chip does not take: sums that are not proved, thresholds and steps beyond their fields."""
    if chosen.fits.all():
        return
    totals, every = np.maximum(*ends(values)), np.arange(job.filters)
    over = ~chosen.fits & (totals * bounds.reach >= LIMIT)
    if over.any():
        worst = int(np.argmax(np.where(over, totals, -1)))
        pixels = bounds.pixels
        terms = f"{int(totals[worst])} x inputs up to {bounds.largest}" + (f" x {pixels} pixels" if pixels > 1 else "")
        limit = job.limit("potential")
        _tell_filters(
            job, over, "NM304", f"sums that may leave the 20 bits of a potential: up to {int(totals[worst]) * bounds.reach}",
            f"Weights of one sign add up to {terms}; the potential holds less than {LIMIT} ({limit.source}), and what a sum becomes that"
            " leaves the range on its way depends on the order of its terms.",
            (
                *(("use fewer weight bits: --bits 2",) if 2 < job.bits < IMAGE_BITS else ()),
                *((f"use fewer steps: --steps {3 if job.window > 3 else 1}",) if job.mode is Mode.RATE and job.window > 1 else ()),
                "train with fewer inputs to each neuron" if pixels == 1 else "pool the image in front of the layer",
            ),
        )
    threshold = compare.thresholds(every, chosen.scale)
    low, top = int(bounds.threshold.min), int(bounds.threshold.max)
    wide = ~chosen.fits & ~over & ((threshold < low) | (threshold > top))
    if wide.any():
        worst = int(np.argmax(np.where(wide, np.abs(threshold), -1)))
        number = f"{int(threshold[worst])}" if abs(int(threshold[worst])) < HUGE else "a number beyond any field"
        _tell_filters(
            job, wide, "NM305", f"thresholds that {top.bit_length() + 1} bits do not hold: {number}, in units of the integer weights",
            f"Thresholds lie in {low}..{top} ({bounds.threshold.source}); biases are part of them. The weights would be lost on a scale on"
            " which they fit.",
            ("train with thresholds and biases nearer to the weights' size",),
        )
    rest = ~chosen.fits & ~over & ~wide
    if rest.any():
        limit = job.limit("act_step")
        steps = compare.steps(every, chosen.scale, bounds.grain)
        worst = int(np.argmax(np.where(rest, steps, -1)))
        _tell_filters(
            job, rest, "NM305", f"thresholds in which spikes cannot be counted: {steps[worst] / SIXTEENTHS:.12g} integer weight units, at"
            f" most {bounds.step // SIXTEENTHS}",
            f"A step of the activation has {int(limit.max)} sixteenths at most ({limit.source}).",
            ("train with thresholds nearer to the weights' size",),
        )
