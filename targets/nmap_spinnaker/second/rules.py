"""What SpiNNaker 2 under py-spinnaker2 takes and what it refuses. Every rule looks at the whole network and records all it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from nmap.connectivity import Conv2d
from nmap.diagnostics import Findings
from nmap.network import Model, Network, Population, Projection, Resonator, SigmaDelta
from nmap.options import Options
from nmap.rules import FLOAT, have, meets_floor, models_of, names_of, neurons_of, places
from nmap.target.backend import Rule
from nmap.target.spec import ChipSpec
from nmap_spinnaker.second.quantize import filtered_bias, gain, scaled, timing, total_bias, weight_scale

__all__ = [
    "RULES", "biases", "conventions", "decays", "delays", "gains", "graded", "model", "numbers", "reset", "thresholds", "truncation",
    "weight_bits",
]

_MEASURED: Final = "and measures what that costs on --input"
_TAKEN: Final = "`LIF`, `IF`, `CubaLIF`"


def weight_bits(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Weights have 2 to 8 bits, the sign included."""
    limit = spec.limits["weight_bits"]
    if options.bits is not None and not limit.min <= options.bits <= limit.max:
        findings.error("NM004", f"`--bits {options.bits}`: weights of {spec.title} have {limit.min} to {limit.max} bits", why=limit.source)


def model(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Neurons integrate, with or without a synaptic current, and fire at a fixed threshold."""
    for feature, (what, asks) in _FOREIGN.items():
        foreign = [p for p in network.populations if p.neuron is not None and asks(p.neuron)]
        if foreign:
            findings.error(
                "NM201", f"{models_of(foreign)} {have(foreign)} {what}; {spec.title} has none", where=places(foreign),
                why=spec.features[feature].note, help=(f"train with integrate-and-fire neurons ({_TAKEN})", FLOAT),
                data={"feature": feature},
            )
    silent = [(p, neuron) for p, neuron in neurons_of(network) if not neuron.spiking]
    for feature, relays in (("li", False), ("relay", True)):
        found = [p for p, neuron in silent if (not neuron.alpha.any() and not neuron.beta.any()) == relays]
        if found:
            inner = [p for p in found if any(edge.source == p.name != edge.target for edge in network.projections)]
            findings.error(
                "NM201", f"{models_of(found)} never {'fires' if len(found) == 1 else 'fire'}; every neuron of {spec.title} sends spikes",
                where=places(found), why=spec.features[feature].note, help=(
                    *((f"put spiking neurons ({_TAKEN}) in the place of {names_of(inner)}",) if inner else ()),
                    *((f"end the network in a spiking population ({_TAKEN}) and count its spikes",) if len(inner) < len(found) else ()),
                    FLOAT,
                ), data={"feature": feature},
            )


def reset(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A spike sets v to a value, or takes the threshold off, in its own step and after the comparison."""
    found = _resetting(network)
    late, early = network.conventions.reset == "delayed", network.conventions.early_reset
    if not found or not (late or early):
        return
    feature = "reset_delayed" if late else "early_reset"
    what = "one step after the spike" if late else "before the comparison of the step after"
    _ask(
        "reset", f"the threshold is taken off {what}, in {names_of(found)}; {spec.title} does it in the step of the spike", found,
        spec.features[feature].note, "NM202", feature, (
            f"`--approximate reset` does it in the step of the spike {_MEASURED}",
            "train with a reset in the same step (snnTorch: reset_delay=False)",
        ), options, findings,
    )


def conventions(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A neuron sends one spike in a step, its membrane has no floor, and no clock resets it."""
    several = _resetting(network) if network.conventions.multiple else []
    if several:
        _ask(
            "multiple", f"the neurons of {names_of(several)} may send several spikes in a step; those of {spec.title} send one", several,
            spec.features["multiple_spikes"].note, "NM202", "multiple_spikes", (
                f"`--approximate multiple` sends one {_MEASURED}",
                "train with at most one spike per step (Sinabs: spike_fn=SingleSpike)",
            ), options, findings,
        )
    floored = meets_floor(network, options)
    if floored:
        _ask(
            "floor", f"the membranes of {names_of(floored)} have a lower bound; those of {spec.title} have none", floored,
            f"{spec.features['voltage_floor'].note} The network stops them at {network.conventions.floor:g} times the threshold.",
            "NM202", "voltage_floor", (
                f"`--approximate floor` leaves the bound out {_MEASURED}", "train without a lower bound (Sinabs: min_v_mem=None)",
            ), options, findings,
        )
    interval, cleared = network.conventions.reset_interval, [population for population, _ in neurons_of(network)]
    if interval and cleared:
        findings.error(
            "NM202",
            f"the neurons of {names_of(cleared)} are reset every {interval} steps; nothing but its spike resets one of {spec.title}",
            where=places(cleared), why=spec.features["periodic_reset"].note,
            help=("leave `--reset-interval` out, and give each sample a run of its own", FLOAT), data={"feature": "periodic_reset"},
        )


def biases(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A bias is added to v, in every step from the chip's first one on."""
    through = [p for p in network.populations if filtered_bias(network, p).any()]
    endless = [
        p for p, neuron in neurons_of(network) if ((neuron.alpha >= 1) & (total_bias(network, p.name) != 0)).any()
    ]
    if endless:
        findings.error(
            "NM203", f"a bias leads into a current that never decays, in {names_of(endless)}", where=places(endless),
            why="The current grows without bound, and an offset of v cannot follow it.",
            help=("train these layers without a bias", FLOAT),
        )
    if through:
        _ask(
            "bias", f"the bias of {names_of(through)} goes through a synaptic current; {spec.title} adds it to v", through,
            f"{spec.features['bias'].note} It is what s2_nir does, and what the recorded chip traces show.", "NM205", "bias", (
                f"`--approximate bias` adds it to v, with the gain 1 / (1 - synaptic decay), from the chip's first step on {_MEASURED}",
                "train without a bias in front of neurons with a synaptic current",
            ), options, findings,
        )
    late = [p for p in network.projections if p.bias_from and p.bias is not None and p.bias.any()]
    if late:
        begins = ", ".join(f"step {first}" for first in sorted({p.bias_from for p in late}))
        _ask(
            "bias", f"the bias of {names_of(late)} begins in {begins}; that of {spec.title} acts from its first step on", late,
            spec.features["late_bias"].note, "NM203", "late_bias", (
                f"`--approximate bias` lets it act from the first step on {_MEASURED}",
                "train without a bias in the recurrent weights",
            ), options, findings,
        )


def truncation(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """States are float32 numbers; those that a file truncates to integers after every decay are not."""
    found = [p for p, neuron in neurons_of(network) if neuron.quantum is not None and neuron.adaptation is None]
    if found:
        _ask(
            "truncation", f"the states of {names_of(found)} are truncated after every decay; those of {spec.title} are float32", found,
            "The file's neurons compute with integers.", "NM205", None,
            (f"`--approximate truncation` leaves that out {_MEASURED}", FLOAT), options, findings,
        )


def decays(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Decay factors lie between 0 and 1: a time step longer than a time constant has no stable equation."""
    for label, factors in (("membrane", "beta"), ("synaptic current", "alpha")):
        bad = [(p, values[(values < 0) | (values > 1)]) for p, neuron in neurons_of(network) for values in (getattr(neuron, factors),)]
        found = [p for p, values in bad if values.size]
        if found:
            values = np.concatenate([values for _, values in bad])
            findings.error(
                "NM305", f"{values.size} decay factors of the {label} of {names_of(found)} are outside 0 to 1", where=places(found),
                why=f"They lie between {values.min():.4g} and {values.max():.4g}.",
                help=("give the time step the network was trained with: `--dt SECONDS`",),
            )


def gains(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Input gains are positive, so that they can be moved into threshold and offset."""
    counts = {p.name: int((gain(neuron) <= 0).sum()) for p, neuron in neurons_of(network)}
    found = [p for p in network.populations if counts.get(p.name)]
    if found:
        findings.error(
            "NM305", f"{sum(counts.values())} neurons of {names_of(found)} have an input gain of 0 or less", where=places(found),
            why="Threshold and offset are divided by the gain (r, tau, dt), which the chip does not have.",
            help=("use a positive `r`, and turn the sign of the weights instead",),
        )


def thresholds(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """A neuron without input stays silent: thresholds are not below 0 or what v becomes on a spike, and above both where equality fires."""
    equal, to_value = network.conventions.compare == ">=", network.conventions.reset == "zero"
    low = []
    for p, neuron in neurons_of(network):
        height = neuron.threshold - (np.maximum(neuron.v_reset, 0) if to_value else 0)
        wrong = ((height <= 0) if equal else (height < 0)) & neuron.spiking
        if wrong.any():
            low.append((p, height[wrong]))
    if low:
        found, values = [p for p, _ in low], np.concatenate([values for _, values in low])
        one = values.size == 1
        findings.error(
            "NM305", f"{values.size} threshold{'' if one else 's'} of {names_of(found)} {'is' if one else 'are'} too low for {spec.title}",
            where=places(found), why=f"{spec.features['negative_threshold'].note} The lowest lies {-values.min():.4g} below 0 or the reset"
            f" value, compared with `{network.conventions.compare}`.",
            help=("train with thresholds above 0 and the reset value: such a neuron fires without any input", FLOAT),
            data={"feature": "negative_threshold"},
        )


def numbers(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Thresholds, reset values and offsets fit float32 in units of integer weights, and no threshold vanishes."""
    # A population for which spikes wait has fewer bits; which ones do is known when delays are.
    widths = {options.bits or spec.limits["weight_bits"].max, spec.limits["delayed_weight_bits"].max}
    found: list[Population] = []
    wrong: list[str] = []
    for p, neuron in neurons_of(network):
        judged = (gain(neuron) > 0) & ~(filtered_bias(network, p) & (neuron.alpha >= 1))
        names = set()
        for width in widths:
            # A width that is refused elsewhere has no weights.
            made = scaled(network, p, weight_scale(network, p.name, 2 ** (max(width, 2) - 1) - 1))
            for name in ("threshold", "v_reset", "i_offset"):
                values = made[name][judged]
                with np.errstate(invalid="ignore"):
                    if not (np.abs(values) <= _MOST).all():
                        names.add(name)
            low = np.abs(made["threshold"][judged])
            if ((low < _LEAST) & (neuron.threshold[judged] != 0)).any():
                names.add("threshold")
        if names:
            found.append(p)
            wrong.append(f"{', '.join(sorted(names))} of `{p.name}`")
    if found:
        findings.error(
            "NM305", f"numbers of {names_of(found)} do not fit float32, which {spec.title} computes in", where=places(found),
            why=f"In units of integer weights these are beyond {_MOST:.2g}, or a threshold below {_LEAST:.2g}: {'; '.join(wrong)}.",
            help=("train with weights, thresholds, reset values and leaks of one order of magnitude", FLOAT),
        )


def delays(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Hops fit into the delays of every loop, delays into their field, and projections lead to the one input."""
    imaginary = [p for p in network.projections if p.receptor == "imaginary"]
    if imaginary:
        findings.error(
            "NM203",
            f"{names_of(imaginary)} {'carries' if len(imaginary) == 1 else 'carry'} complex weights; synapses of {spec.title} have "
            "one input to lead to", where=places(imaginary), why=spec.features["complex_weights"].note,
            help=(f"train with integrate-and-fire neurons ({_TAKEN}), whose weights are real", FLOAT), data={"feature": "complex_weights"},
        )
    listed = [p for p in network.projections if p.delays is not None and isinstance(p.connectivity, Conv2d)]
    if listed:
        findings.error(
            "NM204", f"the convolution{'' if len(listed) == 1 else 's'} {names_of(listed)} {have(listed)} a delay per synapse; nmap keeps"
            " one for all of them", where=places(listed), help=("train with one delay per convolution", FLOAT),
        )
    found = Findings()
    timing(network, spec, options, found)
    longest = spec.limits["delay"].max
    remedies = (f"train with delays of at most {longest} steps; a path that skips layers waits one step for each of them", FLOAT)
    # Quantization realises the delays again and tells what was approximated.
    findings.extend([error if error.help else replace(error, help=remedies) for error in found.errors])


def graded(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Spikes are binary."""
    if options.message_bits:
        findings.error(
            "NM203", f"the samples hold values from {options.payload[0]} to {options.payload[1]}; spikes of {spec.title} are binary",
            where=places([network[name] for name in network.inputs]), why=spec.features["graded"].note,
            help=("encode the values as spikes over time", "events that add up: store `binary` = True beside them"),
            data={"feature": "graded"},
        )


_MOST: Final = float(np.finfo(np.float32).max)
"""Largest float32."""
_LEAST: Final = float(np.finfo(np.float32).tiny)
"""Smallest float32 with all its digits."""
_FOREIGN: Final[dict[str, tuple[str, Callable[[Model], bool]]]] = {
    "resonator": ("resonate-and-fire neurons", lambda n: isinstance(n, Resonator)),
    "sigma_delta": ("sigma-delta neurons", lambda n: isinstance(n, SigmaDelta)),
    "adaptive_threshold": (
        "adaptive thresholds", lambda n: not isinstance(n, SigmaDelta | Resonator) and n.adaptation is not None,
    ),
}
"""By feature: what the chip lacks, and which neurons ask for it."""


def _ask(
    name: str, message: str, found: Sequence[Population] | Sequence[Projection], why: str, code: str, feature: str | None,
    remedies: tuple[str, ...], options: Options, findings: Findings,
) -> None:
    """Record what is only approximated: a warning where the user allows it, else an error whose first remedy allows it."""
    if name in options.approximate:
        findings.warning("NM205", message, where=places(found), why=why, data={"approximated": name})
    else:
        data = {"approximate": name} | ({} if feature is None else {"feature": feature})
        findings.error(code, message, where=places(found), why=why, help=remedies, data=data)


def _resetting(network: Network) -> list[Population]:
    return [p for p, neuron in neurons_of(network) if neuron.spiking and neuron.adaptation is None]


RULES: tuple[Rule, ...] = (
    weight_bits, model, reset, conventions, biases, truncation, decays, gains, thresholds, numbers, delays, graded,
)
