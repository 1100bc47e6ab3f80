"""What the toy chip takes and what it refuses. Every rule looks at the whole network and records all it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from nmap.connectivity import Conv2d
from nmap.diagnostics import Findings
from nmap.network import Model, Network, Resonator, SigmaDelta
from nmap.options import Options
from nmap.rules import FLOAT, have, meets_floor, models_of, names_of, neurons_of, places
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
    for feature, (what, asks) in _FOREIGN.items():
        foreign = [p for p in network.populations if p.neuron is not None and asks(p.neuron)]
        if foreign:
            findings.error(
                "NM201", f"{models_of(foreign)} {have(foreign)} {what}; the toy chip has none", where=places(foreign),
                why=spec.features[feature].note, help=(f"train with integrate-and-fire neurons ({_TAKEN})", FLOAT),
                data={"feature": feature},
            )
    silent = [p for p, neuron in neurons_of(network) if not neuron.spiking]
    if silent:
        inner = [p for p in silent if any(edge.source == p.name != edge.target for edge in network.projections)]
        findings.error(
            "NM201", f"{models_of(silent)} never {'fires' if len(silent) == 1 else 'fire'}; every neuron of the toy chip does",
            where=places(silent), why=spec.features["li"].note, help=(
                *((f"put spiking neurons ({_TAKEN}) in the place of {names_of(inner)}",) if inner else ()),
                *((f"end the network in a spiking population ({_TAKEN}) and count its spikes",) if len(inner) < len(silent) else ()),
                FLOAT,
            ), data={"feature": "li"},
        )
    currents = [(p, neuron) for p, neuron in neurons_of(network) if neuron.alpha.any()]
    if currents:
        found, largest = [p for p, _ in currents], max(float(neuron.alpha.max()) for _, neuron in currents)
        findings.error(
            "NM201", f"{models_of(found)} {have(found)} a synaptic current; the toy chip's neuron has none", where=places(found),
            why=f"Synaptic decay factors reach {largest:.4g}, and only 0 is possible.",
            help=(f"train with neurons without a synaptic current ({_TAKEN})", FLOAT), data={"feature": "cubalif"},
        )


def reset(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Reset is to zero, in the step of the spike."""
    mode = network.conventions.reset
    spiking = [(p, neuron) for p, neuron in neurons_of(network) if neuron.spiking]
    if mode != "zero" and spiking:
        found = [p for p, _ in spiking]
        findings.error(
            "NM202", f"{names_of(found)} {'resets' if len(found) == 1 else 'reset'} by `{mode}`; the toy chip resets to zero",
            where=places(found), why=spec.features[f"reset_{mode}"].note, help=(
                "`--reset zero`, if the network was trained that way"
                + ("; its several spikes in a step stay refused" if network.conventions.multiple else ""),
                "train with a reset to zero (snnTorch: reset_mechanism='zero', reset_delay=False)",
            ), data={"feature": f"reset_{mode}"},
        )
    elsewhere = [(p, neuron) for p, neuron in spiking if mode == "zero" and neuron.v_reset.any()]
    if elsewhere:
        found = [p for p, _ in elsewhere]
        values = np.concatenate([neuron.v_reset for _, neuron in elsewhere])
        findings.error(
            "NM202", f"{names_of(found)} {'resets' if len(found) == 1 else 'reset'} to values other than 0", where=places(found),
            why=f"v_reset reaches {values[np.abs(values).argmax()]:.4g}.", help=("train with a reset value of 0 (`v_reset`)",),
            data={"feature": "reset_value"},
        )


def conventions(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A neuron sends one spike in a step, its membrane has no floor, no clock resets it, and its bias acts from the first step on."""
    spiking = [population for population, neuron in neurons_of(network) if neuron.spiking]
    several = spiking if network.conventions.multiple else []
    for feature, asking, what, remedy in (
        (
            "multiple_spikes", several, "may send several spikes in a step; the toy chip's neurons send one",
            "train with at most one spike per step (Sinabs: spike_fn=SingleSpike)",
        ),
        (
            "voltage_floor", meets_floor(network, options), "may fall to the floor under their membrane; the toy chip's have none",
            "train without a lower bound (Sinabs: min_v_mem=None)",
        ),
    ):
        if asking:
            findings.error(
                "NM202", f"the neurons of {names_of(asking)} {what}", where=places(asking), why=spec.features[feature].note,
                help=(remedy, FLOAT), data={"feature": feature},
            )
    interval, cleared = network.conventions.reset_interval, [population for population, _ in neurons_of(network)]
    if interval and cleared:
        findings.error(
            "NM202", f"the neurons of {names_of(cleared)} are reset every {interval} steps; nothing but its spike resets the toy chip's",
            where=places(cleared), why=spec.features["periodic_reset"].note,
            help=("leave `--reset-interval` out, and give each sample a run of its own", FLOAT), data={"feature": "periodic_reset"},
        )
    late = [p for p in network.projections if p.bias_from and p.bias is not None and p.bias.any()]
    if late:
        begins = ", ".join(f"step {first}" for first in sorted({p.bias_from for p in late}))
        findings.error(
            "NM203", f"the bias of {names_of(late)} begins in {begins}; the toy chip's act from its first step on", where=places(late),
            why=spec.features["late_bias"].note, help=("train without a bias in the recurrent weights", FLOAT),
            data={"feature": "late_bias"},
        )


def decay(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """The membrane decays by 1 - 2^-k a step, k = 1..7, or not at all."""
    unstable, between = [], []
    for population, neuron in neurons_of(network):
        if ((neuron.beta < 0) | (neuron.beta > 1)).any():
            unstable.append((population, neuron.beta))
            continue
        _, factor = nearest_leak(neuron.beta, spec)
        if (np.abs(factor - neuron.beta) > 1e-12).any():
            between.append((population, neuron.beta, factor))
    if unstable:
        found, values = [p for p, _ in unstable], np.concatenate([beta for _, beta in unstable])
        findings.error(
            "NM305",
            f"{int(((values < 0) | (values > 1)).sum())} decay factors of {names_of(found)} are outside 0 to 1", where=places(found),
            why=f"They lie between {values.min():.4g} and {values.max():.4g}.",
            help=("give the time step the network was trained with: `--dt SECONDS`",),
        )
    if between:
        found = [p for p, _, _ in between]
        given, factor = np.concatenate([beta for _, beta, _ in between]), np.concatenate([near for _, _, near in between])
        error, allowed = np.abs(factor - given), "leak" in options.approximate
        count, worst = int((error > 1e-12).sum()), int(error.argmax())
        findings.add(
            "NM205", "note" if allowed else "error",
            f"{count} decay factors of {names_of(found)} are not 1 - 2^-k" + (" and are rounded to it" if allowed else ""),
            where=places(found), why=f"The worst is {given[worst]:.6g}, realised as {factor[worst]:.6g}.",
            help=() if allowed else ("`--approximate leak` takes the nearest and reports the error",),
            data={"populations": [p.name for p in found], "neurons": count, "error": float(error[worst])}
            | ({} if allowed else {"approximate": "leak"}),
        )


def gains(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Input gains are positive, so that they can be moved into threshold and bias."""
    counts = {p.name: int((gain(neuron) <= 0).sum()) for p, neuron in neurons_of(network)}
    found = [p for p in network.populations if counts.get(p.name)]
    if found:
        findings.error(
            "NM305", f"{sum(counts.values())} neurons of {names_of(found)} have an input gain of 0 or less", where=places(found),
            why="Threshold and bias are divided by the gain (r, tau, dt), which the chip does not have.",
            help=("use a positive `r`, and turn the sign of the weights instead",),
        )


def thresholds(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """A neuron without input stays silent: thresholds are not negative, and not 0 where equality fires."""
    equal = network.conventions.compare == ">="
    low = [(p, neuron.threshold[(neuron.threshold < 0) | (equal & (neuron.threshold == 0))]) for p, neuron in neurons_of(network)]
    found = [p for p, values in low if values.size]
    if found:
        limit, values = spec.limits["threshold"], np.concatenate([values for _, values in low])
        findings.error(
            "NM305", f"{values.size} thresholds of {names_of(found)} are too low for the toy chip", where=places(found),
            why=f"The field holds {limit.min} to {limit.max} ({limit.source}); the lowest here is {values.min():.4g}.",
            help=("train with thresholds above 0: such a neuron fires without any input", FLOAT), data={"feature": "negative_threshold"},
        )


def delays(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Hops fit into the delays of every loop, delays into their field, and projections lead to the one input."""
    imaginary = [p for p in network.projections if p.receptor == "imaginary"]
    if imaginary:
        findings.error(
            "NM203", f"{names_of(imaginary)} {'carries' if len(imaginary) == 1 else 'carry'} complex weights; the toy chip's synapses have "
            "one input to lead to", where=places(imaginary), why=spec.features["complex_weights"].note,
            help=(f"train with integrate-and-fire neurons ({_TAKEN}), whose weights are real", FLOAT), data={"feature": "complex_weights"},
        )
    listed = [p for p in network.projections if p.delays is not None and isinstance(p.connectivity, Conv2d)]
    if listed:
        findings.error(
            "NM204",
            f"the convolution{'' if len(listed) == 1 else 's'} {names_of(listed)} {have(listed)} a delay per synapse; the toy chip takes"
            " one for all of them", where=places(listed), help=("train with one delay per convolution", FLOAT),
        )
    found = Findings()
    timing(network, spec, options, found)
    findings.extend(found.errors)


def graded(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Spikes are binary."""
    if options.message_bits:
        findings.error(
            "NM203", f"the samples hold values from {options.payload[0]} to {options.payload[1]}; the toy chip's spikes are binary",
            where=places([network[name] for name in network.inputs]), why=spec.features["graded"].note,
            help=("encode the values as spikes over time", "events that add up: store `binary` = True beside them"),
            data={"feature": "graded"},
        )


_TAKEN: Final = "`LIF`, `IF`"

_FOREIGN: Final[dict[str, tuple[str, Callable[[Model], bool]]]] = {
    "resonator": ("resonate-and-fire neurons", lambda n: isinstance(n, Resonator)),
    "sigma_delta": ("sigma-delta neurons", lambda n: isinstance(n, SigmaDelta)),
    "adaptive_threshold": (
        "adaptive thresholds", lambda n: not isinstance(n, SigmaDelta | Resonator) and n.adaptation is not None,
    ),
}
"""By feature: what the chip lacks, and which neurons ask for it."""


RULES: tuple[Rule, ...] = (weight_bits, model, reset, conventions, decay, gains, thresholds, delays, graded)
