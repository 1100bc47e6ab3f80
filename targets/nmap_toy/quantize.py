"""From a real-valued network to the toy chip's integers and the chip's own time (README.md, section 4)."""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.network import Network, Neuron, Population
from nmap.options import Options
from nmap.quantize.timing import Timing, realise_delays
from nmap.quantized import LayerLoss, QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.spec import ChipSpec
from nmap_toy.kernels import LIF, V_MAX, V_MIN

__all__ = ["gain", "nearest_leak", "quantize", "start_values", "timing"]


def gain(neuron: Neuron) -> Array:
    """Return g of v = beta v + g x + drive: (n,) float64. Valid for neurons without synaptic current."""
    return neuron.gain_in * neuron.gain_v


def nearest_leak(beta: Array, spec: ChipSpec) -> tuple[Array, Array]:
    """Return the leak shift whose decay factor is nearest to `beta`, and that factor: (n,) int64 and float64."""
    shifts = np.arange(spec.limits["leak"].min, spec.limits["leak"].max + 1)
    factors = np.where(shifts > 0, 1.0 - 0.5**shifts, 1.0)
    nearest = np.abs(beta[:, None] - factors[None, :]).argmin(1)
    return shifts[nearest], factors[nearest]


def timing(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> Timing:
    """Return latencies and delays in chip steps; what cannot line up is recorded (NM204, or NM205 under `--approximate delay`)."""
    allow = "delay" in options.approximate
    return realise_delays(network, findings, max_delay=spec.limits["delay"].max, allow_longer=allow)


def start_values(leak: Array, bias: Array, threshold: Array, steps: int) -> tuple[Array, Array]:
    """Return the v that the bias alone brings to 0 in `steps` steps, and where it exists: (n,) int64 and bool.

    u - (u >> k) = y is solved by u = 2^k q + r with q, r the quotient and remainder of y by 2^k - 1. A start does not exist where v
    would leave its range or reach the threshold on the way. Where it does not exist the value is 0.
    """
    v, possible = np.zeros_like(bias), np.ones(bias.shape, bool)
    period = np.left_shift(1, leak)
    for _ in range(steps):
        possible &= v < threshold
        y = v - bias
        q, r = np.divmod(y, np.maximum(period - 1, 1))
        v = np.where(leak > 0, period * q + r, y)
        possible &= (v >= V_MIN) & (v <= V_MAX)
        v = np.where(possible, v, 0)
    return v, possible


def quantize(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> QuantizedNetwork:
    """Return the network in the toy chip's integers. The network has passed `nmap_toy.rules.RULES`."""
    bits = options.bits or spec.limits["weight_bits"].max
    time = timing(network, spec, options, findings)
    populations, losses, scales = [], [], {}
    for population in network.populations:
        neuron = population.neuron
        if neuron is None:
            populations.append(QuantizedPopulation(population.name, population.shape, None, {}, population.where))
            continue
        if not isinstance(neuron, Neuron):
            raise TypeError(f"{population.name} is a {type(neuron).__name__}, which the rules refuse")
        scales[population.name] = _scale(network, population, neuron, spec, bits)
        quantized, loss = _population(
            network, population, neuron, scales[population.name], time, spec, bits, findings
        )
        populations.append(quantized)
        losses.append(loss)
    projections = tuple(
        QuantizedProjection(
            p.name, p.source, p.target,
            p.connectivity.with_weights(np.rint(p.connectivity.weights * scales[p.target]).astype(np.int32)),
            SynapseFormat(bits), time.delay[p.name], p.where, p.delays,
        )
        for p in network.projections
    )
    return QuantizedNetwork(tuple(populations), projections, network.inputs, network.outputs, tuple(losses))


def _bias(network: Network, population: Population, neuron: Neuron) -> Array:
    bias = neuron.drive / gain(neuron)
    for p in network.projections:
        if p.target == population.name and p.bias is not None:
            bias = bias + p.bias
    return bias


def _scale(network: Network, population: Population, neuron: Neuron, spec: ChipSpec, bits: int) -> float:
    weights = [np.abs(p.connectivity.weights).max(initial=0.0) for p in network.projections if p.target == population.name]
    room = (
        (2 ** (bits - 1) - 1, max(weights, default=0.0)),
        # one less: a comparison with `>` adds one
        (spec.limits["threshold"].max - 1, (neuron.threshold / gain(neuron)).max()),
        (spec.limits["bias"].max, np.abs(_bias(network, population, neuron)).max()),
    )
    return float(min((limit / largest for limit, largest in room if largest > 0), default=1.0))


def _population(
    network: Network, population: Population, neuron: Neuron, scale: float, time: Timing, spec: ChipSpec, bits: int, findings: Findings,
) -> tuple[QuantizedPopulation, LayerLoss]:
    name, where, latency = population.name, str(population.where), time.latency[population.name]
    leak, factor = nearest_leak(neuron.beta, spec)
    real_threshold = neuron.threshold / gain(neuron) * scale
    threshold = np.floor(real_threshold) + 1 if network.conventions.compare == ">" else np.ceil(real_threshold)
    threshold = np.maximum(threshold, spec.limits["threshold"].min).astype(np.int64)
    real_bias = _bias(network, population, neuron) * scale
    bias = np.rint(real_bias).astype(np.int64)
    start, possible = start_values(leak, bias, threshold, latency)

    signal = noise = 0.0
    zeroed = 0
    for p in network.projections:
        if p.target == name:
            weights = np.asarray(p.connectivity.weights, np.float64)
            integer = np.rint(weights * scale)
            signal += float((weights**2).sum())
            noise += float(((integer / scale - weights) ** 2).sum())
            zeroed += int(((integer == 0) & (weights != 0)).sum())
    if zeroed:
        findings.warning("NM302", f"{zeroed} weights into `{name}` round to 0", where=where, why=f"One weight step is {1 / scale:.3g}.",
                         data={"population": name, "weights": zeroed})
    lost = int(((bias == 0) & (real_bias != 0)).sum())
    if lost:
        findings.warning("NM302", f"{lost} biases of `{name}` round to 0", where=where, why=f"One bias step is {1 / scale:.3g}.",
                         data={"population": name, "biases": lost})
    no_leak = int(((leak == 0) & (neuron.beta != 1)).sum())
    if no_leak:
        findings.warning("NM303", f"the decay of {no_leak} neurons of `{name}` rounds to no leak", where=where,
                         data={"population": name, "neurons": no_leak})
    if not possible.all():
        count = int((~possible).sum())
        findings.warning(
            "NM306", f"{count} neurons of `{name}` start from 0 and are driven by their bias before the first input arrives", where=where,
            why=f"`{name}` runs {latency} steps late, and no start value below the threshold brings v to 0 in them.",
            data={"population": name, "neurons": count},
        )
    quantized = QuantizedPopulation(
        name, population.shape, LIF.name, {"leak": leak, "bias": bias, "threshold": threshold}, population.where, {"v": start},
        scale / gain(neuron), time.spikes[name],
    )
    # The exact integer threshold of `>` lies between two states, so the nearest of them is what it is compared with.
    threshold_error = np.abs(threshold - (network.conventions.compare == ">") - real_threshold) / np.maximum(real_threshold, 1.0)
    biased = real_bias != 0
    loss = LayerLoss(
        name, bits, scale, 0, None if noise == 0 else float(10 * np.log10(signal / noise)), 0, zeroed,
        float(threshold_error.max()), float(np.abs(factor - neuron.beta).max()),
        float(np.abs(bias[biased] / real_bias[biased] - 1).max()) if biased.any() else None,
    )
    return quantized, loss
