"""From real numbers to SpiNNaker 2's: integer weights with one scale into a population, float32 neurons in units of these weights.

With c = gain_in gain_v of a neuron (r and w_in times their Euler factors) and s the weight scale of its population, one for all projections
into it:

    s = 127 / max |w|                      15 / max |w| where a spike of one of the projections has to wait
    weight = trunc(s w)                    toward zero, as s2_nir converts them; to the nearest with `--approximate rounding`
    threshold = s threshold / c            alpha_decay = beta;  exc_decay = inh_decay = alpha
    i_offset = s (drive / c + bias)        of a neuron without synaptic current
             = s (drive / c + bias / (1 - alpha))     of one with, under `--approximate bias`

as in s2_nir's `convert_LIF`, `convert_IF` and `convert_CubaLIF`. The recorded traces of SpiNNaker 2 need the truncation, the joint scale
and this offset. s2_nir starts v at 0 in the chip's first step, from which biases act; nmap starts it so that v is 0 when the first input
may arrive, unless `--approximate bias` asks for s2_nir's way.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from nmap.connectivity import Array, Connectivity, Sparse
from nmap.diagnostics import Findings
from nmap.network import Network, Neuron, Population, Projection
from nmap.options import Options
from nmap.quantize.timing import Timing, realise_delays
from nmap.quantized import LayerLoss, QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.spec import ChipSpec
from nmap_spinnaker.second.artefact import NEAREST
from nmap_spinnaker.second.kernels import CURRENT, CURRENT_DELAYED, LIF, LIF_DELAYED
from nmap_spinnaker.second.numbers import below, bits, real

__all__ = ["filtered_bias", "gain", "quantize", "scaled", "start_values", "timing", "total_bias", "weight_scale"]

_TICK_US = 1000
"""The chip's own time step in py-spinnaker2's scripts (`sys_tick_in_s`)."""
_LARGEST = 1e30
"""A start value beyond it would leave float32 on the way."""


def gain(neuron: Neuron) -> Array:
    """Return c of v = beta v + c x + ..., (n,) float64; of a neuron with synaptic current, from x of a step to v of the same step."""
    return neuron.gain_in * neuron.gain_v


def timing(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> Timing:
    """Return latencies and delays in chip steps; what cannot line up is recorded (NM204, or NM205 under `--approximate delay`)."""
    return realise_delays(network, findings, max_delay=spec.limits["delay"].max, allow_longer="delay" in options.approximate)


def total_bias(network: Network, population: str) -> Array:
    """Return the sum of the biases of all projections into a population, (n,) float64."""
    total = np.zeros(network[population].size)
    for p in network.projections:
        if p.target == population and p.bias is not None:
            total = total + p.bias
    return total


def filtered_bias(network: Network, population: Population) -> Array:
    """Return which neurons have a bias that the network sends through a synaptic current, (n,) bool."""
    neuron = population.neuron
    if not isinstance(neuron, Neuron):
        return np.zeros(population.size, bool)
    return (total_bias(network, population.name) != 0) & (neuron.alpha != 0)


def weight_scale(network: Network, population: str, top: int) -> float:
    """Return the integer weight units per unit of weight into a population whose largest weight becomes `top`; 1 without weights."""
    largest = max(
        (float(np.abs(p.connectivity.weights).max(initial=0.0)) for p in network.projections if p.target == population), default=0.0
    )
    return top / largest if largest > 0 else 1.0


def scaled(network: Network, population: Population, scale: float) -> dict[str, Array]:
    """Return `threshold`, `v_reset` and `i_offset` of a population in integer weight units, and their `factor`: (n,) float64 each.

    Numbers that leave float64 on the way are infinite or none.

    Args:
        network: of the population.
        population: of integrating neurons.
        scale: of its weights.
    """
    neuron = population.neuron
    if not isinstance(neuron, Neuron):
        raise TypeError(f"{population.name} has no integrating neurons")
    filtered = filtered_bias(network, population)
    with np.errstate(all="ignore"):
        # In this order the rounded numbers are those of s2_nir.
        factor = (1.0 / neuron.gain_v) * (1.0 / neuron.gain_in) * scale
        steady = np.where(filtered, 1.0 / np.where(filtered, 1.0 - neuron.alpha, 1.0), 1.0)
        return {
            "factor": factor, "threshold": neuron.threshold * factor, "v_reset": neuron.v_reset * factor,
            "i_offset": neuron.drive * factor + total_bias(network, population.name) * steady * scale,
        }


def start_values(decay: Array, offset: Array, threshold: Array, steps: int) -> tuple[Array, Array]:
    """Return the v that offsets alone bring to 0 in some steps, and where there is one: (n,) float64 and bool.

    There is none where v would pass the threshold on the way, or leave float32. Where there is none the value is 0. A neuron without
    memory needs none.

    Args:
        decay, offset, threshold: (n,) float64.
        steps: of the chip before the first input may arrive.
    """
    v, possible = np.zeros_like(offset), np.ones(offset.shape, bool)
    keeps = decay != 0
    if steps:
        possible &= np.where(keeps, True, offset <= threshold)
    for _ in range(steps):
        with np.errstate(over="ignore"):
            v = np.where(keeps, (v - offset) / np.where(keeps, decay, 1.0), 0.0)
        possible &= (np.abs(v) < _LARGEST) & ((v <= threshold) | ~keeps)
        v = np.where(possible, v, 0.0)
    return v, possible


def quantize(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> QuantizedNetwork:
    """Return the network in SpiNNaker 2's numbers. The network has passed `nmap_spinnaker.second.rules.RULES`.

    Args:
        network: as read.
        spec: field ranges.
        options: `bits` (default 8; 5 is four and a sign), `slowdown` and allowed approximations.
        findings: receives every loss.
    """
    time = timing(network, spec, options, findings)
    populations: list[QuantizedPopulation] = []
    losses: list[LayerLoss] = []
    made: dict[str, list[QuantizedProjection]] = {}
    for population in network.populations:
        neuron = population.neuron
        if neuron is None:
            populations.append(QuantizedPopulation(
                population.name, population.shape, None, {}, population.where, latency=time.spikes[population.name],
                busy=_busy(options, population.name),
            ))
            continue
        if not isinstance(neuron, Neuron):
            raise TypeError(f"{population.name} is a {type(neuron).__name__}, which the rules refuse")
        afferents = [p for p in network.projections if p.target == population.name]
        waits = [p for p in afferents if time.delay[p.name] or p.delays is not None]
        width = _width(population, waits, spec, options, findings)
        top = 2 ** (width - 1) - 1
        scale = weight_scale(network, population.name, top)
        integers = {p.name: _integers(p, scale, options) for p in afferents}
        for p in afferents:
            made[p.name] = _projections(p, integers[p.name], neuron, width, time.delay[p.name])
        quantized, loss = _population(network, population, neuron, bool(waits), scale, time, options, findings)
        populations.append(quantized)
        losses.append(_weighed(loss, afferents, integers, width, scale, population, "rounding" in options.approximate, findings))
    ordered = tuple(one for p in network.projections for one in made[p.name])
    settings = {"timestep_us": _TICK_US, "time_scale": options.slowdown or 1}
    if "rounding" in options.approximate:
        settings[NEAREST] = 1
    return QuantizedNetwork(tuple(populations), ordered, network.inputs, network.outputs, tuple(losses), settings=settings)


def _busy(options: Options, population: str) -> float | None:
    known = options.calibrated(population)
    return None if known is None else known.busy


def _width(population: Population, waits: list[Projection], spec: ChipSpec, options: Options, findings: Findings) -> int:
    """Return the bits of the weights into a population: fewer where a synapse holds a delay beside them."""
    chosen = options.bits or spec.limits["weight_bits"].max
    delayed = spec.limits["delayed_weight_bits"].max
    if not waits or chosen <= delayed:
        return chosen
    findings.warning(
        "NM206", f"weights into `{population.name}` have {delayed - 1} bits and a sign instead of {chosen - 1}, because spikes wait for it",
        where=str(population.where),
        why=f"`{waits[0].name}` has a delay beyond one step, and a synapse of py-spinnaker2 holds 4 bits, a sign and a delay of 0 to 7, or"
        " 7 bits and a sign. What a delay of d means in steps is not verified; nmap takes d + 1.",
        data={"population": population.name, "bits": delayed},
    )
    return delayed


def _integers(projection: Projection, scale: float, options: Options) -> Array:
    """Return integer weights, int64."""
    scaled = np.asarray(projection.connectivity.weights, np.float64) * scale
    return (np.rint(scaled) if "rounding" in options.approximate else np.trunc(scaled)).astype(np.int64)


def _projections(
    projection: Projection, weights: Array, neuron: Neuron, width: int, delay: int
) -> list[QuantizedProjection]:
    """Return the projections that a projection becomes: one, or one for each of the two currents of its neurons."""
    whole = projection.connectivity.with_weights(weights.astype(np.int32))
    one = QuantizedProjection(
        projection.name, projection.source, projection.target, whole, SynapseFormat(width), delay, projection.where, projection.delays
    )
    if not neuron.alpha.any():
        return [one]
    parts = []
    for receptor, sign in enumerate((1, -1)):
        connectivity, delays = _of_sign(whole, projection.delays, sign)
        if connectivity is not None:
            name = projection.name + (".inhibitory" if receptor else "")
            parts.append(replace(one, name=name, connectivity=connectivity, delays=delays, receptor=receptor))
    return parts


def _of_sign(whole: Connectivity, delays: Array | None, sign: int) -> tuple[Connectivity | None, Array | None]:
    """Return the synapses of one sign without it; a regular connection keeps its form and holds 0 for the others."""
    if not isinstance(whole, Sparse):
        return whole.with_weights(np.maximum(whole.weights * sign, 0).astype(np.int32)), delays
    kept = whole.weights * sign > 0 if sign < 0 else whole.weights >= 0
    if not kept.any() and sign < 0:
        return None, None
    indptr = np.concatenate([[0], np.cumsum(np.bincount(whole.targets[kept], minlength=whole.out_size))])
    part = Sparse(indptr, whole.indices[kept], np.abs(whole.weights[kept]).astype(np.int32), whole.in_size)
    return part, None if delays is None else delays[kept]


def _population(
    network: Network, population: Population, neuron: Neuron, waits: bool, scale: float, time: Timing, options: Options, findings: Findings,
) -> tuple[QuantizedPopulation, LayerLoss]:
    """Return the neurons, and what became of threshold, decay and bias; the loss's weights are filled in by the caller."""
    name, latency = population.name, time.latency[population.name]
    current = bool(neuron.alpha.any())
    numbers = scaled(network, population, scale)
    factor, threshold, offset = numbers["factor"], numbers["threshold"], numbers["i_offset"]
    stored = below(threshold) if network.conventions.compare == ">=" else threshold.astype(np.float32).astype(np.float64)
    bias = total_bias(network, name)
    vendor = "bias" in options.approximate and bool(bias.any())
    start = np.zeros(population.size)
    if not vendor:
        start, possible = start_values(neuron.beta, offset, stored, latency)
        if not possible.all():
            count = int((~possible).sum())
            findings.warning(
                "NM306", f"{count} neurons of `{name}` start from 0 and are driven by their bias before the first input arrives",
                where=str(population.where),
                why=f"`{name}` runs {latency} steps late, and no start value below the threshold brings v to 0 in them.",
                data={"population": name, "neurons": count},
            )
    params = {
        "alpha_decay": bits(neuron.beta), "threshold": bits(stored), "i_offset": bits(offset), "v_reset": bits(numbers["v_reset"]),
        "subtract": np.full(population.size, int(network.conventions.reset != "zero")),
    }
    if current:
        params |= {"exc_decay": bits(neuron.alpha), "inh_decay": bits(neuron.alpha)}
    kernel = (CURRENT_DELAYED if waits else CURRENT) if current else (LIF_DELAYED if waits else LIF)
    initial = {"v": bits(start)} if start.any() else {}
    quantized = QuantizedPopulation(
        name, population.shape, kernel.name, params, population.where, initial, factor, time.spikes[name], busy=_busy(options, name),
    )
    held = real(bits(stored)).astype(np.float64)
    biased = offset != 0
    loss = LayerLoss(
        name, 0, scale, 0, None, 0, 0, float(np.max(np.abs(held - threshold) / np.maximum(np.abs(threshold), 1e-30))),
        float(np.abs(real(bits(neuron.beta)).astype(np.float64) - neuron.beta).max()),
        float(np.abs(real(bits(offset)).astype(np.float64)[biased] / offset[biased] - 1).max()) if biased.any() else None,
    )
    return quantized, loss


def _weighed(
    loss: LayerLoss, afferents: list[Projection], integers: dict[str, Array], width: int, scale: float, population: Population,
    nearest: bool, findings: Findings,
) -> LayerLoss:
    """Return the loss with what became of the weights; those that became 0 are told."""
    signal = noise = 0.0
    zeroed = 0
    for p in afferents:
        # In units of integer weights, whose squares stay in range.
        weights = np.asarray(p.connectivity.weights, np.float64) * scale
        signal += float((weights**2).sum())
        noise += float(((integers[p.name] - weights) ** 2).sum())
        zeroed += int(((integers[p.name] == 0) & (weights != 0)).sum())
    if zeroed:
        findings.warning(
            "NM302", f"{zeroed} weights into `{population.name}` become 0", where=str(population.where),
            why=f"One weight step is {1 / scale:.3g}; the largest weight of all projections into it sets the step.",
            help=() if nearest else ("`--approximate rounding` rounds weights to the nearest step instead of toward zero",),
            data={"population": population.name, "weights": zeroed},
        )
    return replace(loss, bits=width, sqnr_db=None if noise == 0 else float(10 * np.log10(signal / noise)), zeroed=zeroed)

