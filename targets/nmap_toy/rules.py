"""What the toy chip takes and what it refuses. Every rule looks at the whole network and records all it finds."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nmap.connectivity import Conv2d
from nmap.diagnostics import Findings
from nmap.network import Model, Network, Neuron, Population, Resonator, SigmaDelta
from nmap.options import Options
from nmap.rules import meets_floor
from nmap.target.backend import Rule
from nmap.target.spec import ChipSpec
from nmap_toy.quantize import gain, nearest_leak, timing

__all__ = ["RULES", "conventions", "decay", "delays", "gains", "graded", "model", "reset", "thresholds", "weight_bits"]


def weight_bits(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Weights have 2 to 4 bits."""
    limit = spec.limits["weight_bits"]
    if options.bits is not None and not limit.min <= options.bits <= limit.max:
        findings.error("NM004", f"`--bits {options.bits}`: the toy chip's weights have {limit.min} to {limit.max} bits", why=limit.source)


def model(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Neurons integrate, fire at a fixed threshold, and have no synaptic current."""
    for population in network.populations:
        foreign = _foreign(population.neuron)
        if foreign is not None:
            feature, what = foreign
            findings.error(
                "NM201", f"`{population.name}` has {what}; the toy chip has none", where=str(population.where),
                why=spec.features[feature].note, data={"feature": feature},
            )
    for population, neuron in _neurons(network):
        if not neuron.spiking:
            findings.error(
                "NM201", f"`{population.name}` ({neuron.model}) never fires; every neuron of the toy chip does",
                where=str(population.where), why=spec.features["li"].note, data={"feature": "li"},
            )
        if neuron.alpha.any():
            findings.error(
                "NM201", f"`{population.name}` ({neuron.model}) has a synaptic current; the toy chip's neuron has none",
                where=str(population.where), why=f"Synaptic decay factors reach {neuron.alpha.max():.4g}, and only 0 is possible.",
                data={"feature": "cubalif"},
            )


def reset(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Reset is to zero, in the step of the spike."""
    mode = network.conventions.reset
    for population, neuron in _neurons(network):
        if mode != "zero":
            findings.error(
                "NM202", f"`{population.name}` resets by `{mode}`; the toy chip resets to zero", where=str(population.where),
                why=spec.features[f"reset_{mode}"].note, help=("`--reset zero`, if the network was trained that way",),
                data={"feature": f"reset_{mode}"},
            )
        elif neuron.v_reset.any():
            findings.error(
                "NM202", f"`{population.name}` resets to values other than 0", where=str(population.where),
                why=f"v_reset reaches {neuron.v_reset[np.abs(neuron.v_reset).argmax()]:.4g}.",
            )


def conventions(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A neuron sends one spike in a step, its membrane has no floor, and its bias acts from the first step on."""
    spiking = [population for population, neuron in _neurons(network) if neuron.spiking]
    several = spiking if network.conventions.multiple else []
    for feature, asking, what in (
        ("multiple_spikes", several, "may send several spikes in a step; the toy chip's neurons send one"),
        ("voltage_floor", meets_floor(network, options), "may fall to the floor under their membrane; the toy chip's have none"),
    ):
        if asking:
            findings.error(
                "NM202", f"the neurons of {', '.join(f'`{p.name}`' for p in asking)} {what}",
                where=", ".join([str(asking[0].where), *(p.where.path for p in asking[1:])]), why=spec.features[feature].note,
                data={"feature": feature},
            )
    for p in network.projections:
        if p.bias_from and p.bias is not None and p.bias.any():
            findings.error(
                "NM203", f"the bias of `{p.name}` begins in step {p.bias_from}; the toy chip's act from its first step on",
                where=str(p.where), why=spec.features["late_bias"].note, data={"feature": "late_bias"},
            )


def decay(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """The membrane decays by 1 - 2^-k a step, k = 1..7, or not at all."""
    for population, neuron in _neurons(network):
        outside = int(((neuron.beta < 0) | (neuron.beta > 1)).sum())
        if outside:
            findings.error(
                "NM305", f"{outside} decay factors of `{population.name}` are outside 0 to 1", where=str(population.where),
                why=f"They lie between {neuron.beta.min():.4g} and {neuron.beta.max():.4g}.",
                help=("give the time step the network was trained with: `--dt SECONDS`",),
            )
            continue
        _, factor = nearest_leak(neuron.beta, spec)
        error = np.abs(factor - neuron.beta)
        count, worst = int((error > 1e-12).sum()), int(error.argmax())
        if count:
            allowed = "leak" in options.approximate
            findings.add(
                "NM205", "note" if allowed else "error",
                f"{count} decay factors of `{population.name}` are not 1 - 2^-k" + (" and are rounded to it" if allowed else ""),
                where=str(population.where), why=f"The worst is {neuron.beta[worst]:.6g}, realised as {factor[worst]:.6g}.",
                help=() if allowed else ("`--approximate leak` takes the nearest and reports the error",),
                data={"population": population.name, "neurons": count, "error": float(error[worst])}
                | ({} if allowed else {"approximate": "leak"}),
            )


def gains(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Input gains are positive, so that they can be moved into threshold and bias."""
    for population, neuron in _neurons(network):
        count = int((gain(neuron) <= 0).sum())
        if count:
            findings.error("NM305", f"{count} neurons of `{population.name}` have an input gain of 0 or less", where=str(population.where))


def thresholds(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """A neuron without input stays silent: thresholds are not negative, and not 0 where equality fires."""
    for population, neuron in _neurons(network):
        low = neuron.threshold < 0 if network.conventions.compare == ">" else neuron.threshold <= 0
        if low.any():
            limit = spec.limits["threshold"]
            findings.error(
                "NM305", f"{int(low.sum())} thresholds of `{population.name}` are too low for the toy chip", where=str(population.where),
                why=f"The field holds {limit.min} to {limit.max} ({limit.source}); the lowest here is {neuron.threshold.min():.4g}.",
            )


def delays(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Hops fit into the delays of every loop, delays into their field, and projections lead to the one input."""
    for p in network.projections:
        if p.receptor == "imaginary":
            findings.error(
                "NM203", f"`{p.name}` carries complex weights; the toy chip's synapses have one input to lead to", where=str(p.where),
                why=spec.features["complex_weights"].note, data={"feature": "complex_weights"},
            )
        if p.delays is not None and isinstance(p.connectivity, Conv2d):
            findings.error(
                "NM204", f"the convolution `{p.name}` has a delay per synapse; the toy chip takes one for all of them", where=str(p.where)
            )
    found = Findings()
    timing(network, spec, options, found)
    findings.extend(found.errors)


def graded(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Spikes are binary."""
    if options.message_bits:
        findings.error(
            "NM203", f"the samples hold values from {options.payload[0]} to {options.payload[1]}; the toy chip's spikes are binary",
            where=", ".join(str(network[name].where) for name in network.inputs), why=spec.features["graded"].note,
            data={"feature": "graded"},
        )


def _neurons(network: Network) -> Iterator[tuple[Population, Neuron]]:
    return ((p, p.neuron) for p in network.populations if isinstance(p.neuron, Neuron))


def _foreign(neuron: Model | None) -> tuple[str, str] | None:
    """Return the feature and the words for a model that is not integrate-and-fire with a fixed threshold, else None."""
    if isinstance(neuron, Resonator):
        return "resonator", f"resonate-and-fire neurons ({neuron.model})"
    if isinstance(neuron, SigmaDelta):
        return "sigma_delta", f"sigma-delta neurons ({neuron.model})"
    if neuron is not None and neuron.adaptation is not None:
        return "adaptive_threshold", f"adaptive thresholds ({neuron.model})"
    return None


RULES: tuple[Rule, ...] = (weight_bits, model, reset, conventions, decay, gains, thresholds, delays, graded)
