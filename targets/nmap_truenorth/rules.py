"""What TrueNorth takes and what it refuses. Every rule looks at the whole network and records all it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from nmap.connectivity import Conv2d
from nmap.diagnostics import Findings
from nmap.network import Model, Network, Neuron, Population, Resonator, SigmaDelta
from nmap.options import Options
from nmap.rules import FLOAT, have, meets_floor, models_of, names_of, neurons_of, places
from nmap.target.backend import Rule
from nmap.target.spec import ChipSpec
from nmap_truenorth.draft import counted
from nmap_truenorth.quantize import gain, kinds, linear_leak, timing

__all__ = [
    "RULES", "decay", "delays", "early_bias", "floors", "graded", "models", "one_spike", "periodic_reset", "resets", "shared_kernels",
    "thresholds", "weight_bits",
]


def weight_bits(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Weights have 2 to 8 bits."""
    limit = spec.limits["rounded_bits"]
    if options.bits is not None and not limit.min <= options.bits <= limit.max:
        findings.error(
            "NM004", f"`--bits {options.bits}`: TrueNorth's weights have {limit.min} to {limit.max} bits",
            why=f"{limit.note} {limit.source}.",
        )


def models(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Neurons have one state, the membrane, and fire at a fixed threshold."""
    for feature, (what, asks) in _FOREIGN.items():
        foreign = [p for p in network.populations if p.neuron is not None and asks(p.neuron)]
        if foreign:
            findings.error(
                "NM201", f"{models_of(foreign)} {have(foreign)} {what}; TrueNorth has none", where=places(foreign),
                why=spec.features[feature].note, help=(f"train with {_TAKEN}", FLOAT), data={"feature": feature},
            )
    for feature, silent in (
        ("li", [p for p, neuron in neurons_of(network) if not neuron.spiking and (neuron.alpha.any() or neuron.beta.any())]),
        ("relay", [p for p, neuron in neurons_of(network) if not neuron.spiking and not (neuron.alpha.any() or neuron.beta.any())]),
    ):
        if silent:
            inner = [p for p in silent if any(edge.source == p.name != edge.target for edge in network.projections)]
            findings.error(
                "NM201", f"{models_of(silent)} never {'fires' if len(silent) == 1 else 'fire'}; every neuron of TrueNorth does",
                where=places(silent), why=spec.features[feature].note, help=(
                    *((f"put {_TAKEN} in the place of {names_of(inner)}",) if inner else ()),
                    *((f"end the network in {_TAKEN} and count their spikes",) if len(inner) < len(silent) else ()), FLOAT,
                ), data={"feature": feature},
            )
    currents = [(p, neuron) for p, neuron in neurons_of(network) if neuron.spiking and neuron.alpha.any()]
    if currents:
        found, largest = [p for p, _ in currents], max(float(neuron.alpha.max()) for _, neuron in currents)
        findings.error(
            "NM201", f"{models_of(found)} {have(found)} a synaptic current; TrueNorth's neuron has none", where=places(found),
            why=f"{spec.features['cubalif'].note} Synaptic decay factors reach {largest:.4g}, and only 0 is possible.",
            help=(f"train with {_TAKEN}", FLOAT), data={"feature": "cubalif"},
        )


def decay(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """The membrane keeps all of its value from step to step, or nothing; its leak is linear."""
    wrong = [(p, neuron) for p, neuron in neurons_of(network) if ((neuron.beta < 0) | (neuron.beta > 1)).any()]
    if wrong:
        found, values = [p for p, _ in wrong], np.concatenate([neuron.beta for _, neuron in wrong])
        outside = int(((values < 0) | (values > 1)).sum())
        findings.error(
            "NM305", f"{counted(outside, 'decay factor')} of {names_of(found)} {'is' if outside == 1 else 'are'} outside 0 to 1",
            where=places(found),
            why=f"They lie between {values.min():.4g} and {values.max():.4g}.",
            help=("give the time step the network was trained with: `--dt SECONDS`",),
        )
    leaky = [
        (p, neuron, kinds(neuron)[1]) for p, neuron in neurons_of(network)
        if neuron.spiking and neuron.adaptation is None and kinds(neuron)[1].any() and p not in [q for q, _ in wrong]
    ]
    if not leaky:
        return
    found = [p for p, _, _ in leaky]
    count = sum(int(decays.sum()) for _, _, decays in leaky)
    beta = np.concatenate([neuron.beta[decays] for _, neuron, decays in leaky])
    heights = [np.maximum(np.abs(neuron.threshold), 1e-300) for _, neuron, _ in leaky]
    step = np.concatenate([(linear_leak(neuron) / high)[decays] for (_, neuron, decays), high in zip(leaky, heights, strict=True)])
    worst = int(step.argmax())
    allowed = "leak" in options.approximate
    fitted = (
        f"A decay by {beta[worst]:.6g} a step becomes {step[worst]:.4g} thresholds a step towards 0, the constant nearest to it between 0"
        f" and the threshold; it is off by up to as much, {step[worst] / 3**0.5:.4g} on average (root mean square)."
    )
    if allowed:
        findings.note(
            "NM205", f"the exponential decay of {counted(count, 'neuron')} of {names_of(found)} becomes a linear leak",
            where=places(found),
            why=f"{fitted} What that costs is measured: `chip_vs_float`.",
            data={"populations": [p.name for p in found], "neurons": count, "error": float(step[worst])},
        )
    else:
        findings.error(
            "NM205", f"{counted(count, 'neuron')} of {names_of(found)} decay{'s' if count == 1 else ''} exponentially;"
            " TrueNorth's leak is linear", where=places(found),
            why=f"{spec.features['leak'].note} {fitted}",
            help=(
                "`--approximate leak` takes the linear leak nearest to it and measures what that costs on --input", f"train with {_TAKEN}",
            ),
            data={"populations": [p.name for p in found], "neurons": count, "error": float(step[worst]), "approximate": "leak",
                  "feature": "lif"},
        )
    moved = [p for p, neuron, decays in leaky if network.conventions.reset == "zero" and neuron.v_reset[decays].any()]
    if moved:
        findings.error(
            "NM202", f"{names_of(moved)} {'resets' if len(moved) == 1 else 'reset'} to values other than 0 and decay towards 0",
            where=places(moved), why=spec.features["reset_value"].note, help=("train with a reset value of 0 (`v_reset`)", FLOAT),
            data={"feature": "reset_value"},
        )


def resets(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A spike sets the membrane to a value or takes the threshold off, in the same step and after one comparison."""
    conventions = network.conventions
    kind = "reset_delayed" if conventions.reset == "delayed" else "early_reset"
    if conventions.reset != "delayed" and not (conventions.early_reset and conventions.reset == "subtract"):
        return
    found = _resetting(network)
    if not found:
        return
    what = "one step after the spike" if kind == "reset_delayed" else "in advance where it was left above the threshold"
    if "reset" in options.approximate:
        findings.warning(
            "NM205", f"the threshold is taken off the membranes of {names_of(found)} in the step of the spike", where=places(found),
            why=f"The network takes it off {what}. The cost is what `chip_vs_float` measures on the given samples.",
        )
    else:
        findings.error(
            "NM202",
            f"{names_of(found)} {'takes' if len(found) == 1 else 'take'} the threshold off {what}; TrueNorth in the step of the spike",
            where=places(found), why=spec.features[kind].note, help=(
                "`--approximate reset` takes it off in the step of the spike and measures what that costs on --input",
                "`--reset subtract`, if the network was trained that way" if kind == "reset_delayed"
                else "train with reset_delay=False (snnTorch)",
            ), data={"approximate": "reset", "feature": kind},
        )


def one_spike(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A neuron sends at most one spike in a step."""
    found = _resetting(network) if network.conventions.multiple else []
    if not found:
        return
    if "multiple" in options.approximate:
        findings.warning(
            "NM205", f"the neurons of {names_of(found)} that may send several spikes in a step send one", where=places(found),
            why="The cost is what `chip_vs_float` measures on the given samples.",
        )
    else:
        findings.error(
            "NM202", f"the neurons of {names_of(found)} may send several spikes in a step; TrueNorth's send one", where=places(found),
            why=spec.features["multiple_spikes"].note, help=(
                "`--approximate multiple` sends one and measures what that costs on --input",
                "train with at most one spike per step (Sinabs: spike_fn=SingleSpike)",
            ), data={"approximate": "multiple", "feature": "multiple_spikes"},
        )


def floors(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A membrane's floor lies at 0 or below."""
    floor = network.conventions.floor
    found = [
        p for p in meets_floor(network, options)
        if floor is not None and isinstance(p.neuron, Neuron) and ((floor * p.neuron.threshold > 0) & ~kinds(p.neuron)[0]).any()
    ]
    if found:
        findings.error(
            "NM202", f"the membranes of {names_of(found)} have a floor above 0; TrueNorth's lie at 0 or below", where=places(found),
            why=f"{spec.features['voltage_floor'].note} The floor is at {floor:g} times the threshold.", help=(FLOAT,),
            data={"feature": "voltage_floor"},
        )


def periodic_reset(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """No clock resets a membrane."""
    interval, cleared = network.conventions.reset_interval, [p for p, _ in neurons_of(network)]
    if interval and cleared:
        findings.error(
            "NM202",
            f"the neurons of {names_of(cleared)} are reset every {interval} steps; nothing but its spike and its floor resets TrueNorth's",
            where=places(cleared), why=spec.features["periodic_reset"].note,
            help=("leave `--reset-interval` out, and give each sample a run of its own", FLOAT), data={"feature": "periodic_reset"},
        )


def early_bias(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """A bias acts from the first step on."""
    late = [p for p in network.projections if p.bias_from and p.bias is not None and p.bias.any()]
    if late:
        begins = ", ".join(f"step {first}" for first in sorted({p.bias_from for p in late}))
        findings.error(
            "NM203", f"the bias of {names_of(late)} begins in {begins}; TrueNorth's leak acts from its first step on",
            where=f"{places(late)} (into {names_of([network[p.target] for p in late])})", why=spec.features["late_bias"].note,
            help=("train without these biases", FLOAT), data={"feature": "late_bias"},
        )


def thresholds(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """The threshold of a neuron with a memory lies at the value it resets to, or above it, and at 0 or above."""
    low = []
    for p, neuron in neurons_of(network):
        if not neuron.spiking or neuron.adaptation is not None:
            continue
        height = neuron.threshold - np.maximum(neuron.v_reset if network.conventions.reset == "zero" else 0, 0)
        height = height[~kinds(neuron)[0]]
        if (height < 0).any():
            low.append((p, float(height.min())))
    if low:
        found = [p for p, _ in low]
        findings.error(
            "NM305", f"the thresholds of {names_of(found)} are too low for TrueNorth", where=places(found),
            why=f"{spec.features['negative_threshold'].note} The lowest lies {-min(height for _, height in low):.4g} below 0 or the reset"
            " value.",
            help=("train with thresholds that are not below 0 or the reset value: such neurons fire without any input", FLOAT),
            data={"feature": "negative_threshold"},
        )


def delays(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Hops fit into the delays of every loop, delays into chains of relays, and projections lead to the one input."""
    imaginary = [p for p in network.projections if p.receptor == "imaginary"]
    if imaginary:
        findings.error(
            "NM203",
            f"{names_of(imaginary)} {'carries' if len(imaginary) == 1 else 'carry'} complex weights; TrueNorth's neurons have one input",
            where=places(imaginary), why=spec.features["complex_weights"].note,
            help=(f"train with {_TAKEN}, whose weights are real", FLOAT), data={"feature": "complex_weights"},
        )
    listed = [p for p in network.projections if p.delays is not None and isinstance(p.connectivity, Conv2d)]
    if listed:
        findings.error(
            "NM204",
            f"the convolution{'' if len(listed) == 1 else 's'} {names_of(listed)} {have(listed)} a delay per synapse; TrueNorth takes one"
            " for all of them", where=places(listed), help=("train with one delay per convolution", FLOAT),
        )
    found = Findings()
    timing(network, spec, options, found)
    findings.extend(found.errors)


def shared_kernels(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Neurons of one output channel share their kernel, so they share their input gain."""
    found = []
    for p in network.projections:
        neuron = network[p.target].neuron
        if isinstance(p.connectivity, Conv2d) and isinstance(neuron, Neuron):
            by_channel = gain(neuron).reshape(p.connectivity.out_shape[0], -1)
            if not np.allclose(by_channel, by_channel[:, :1], rtol=1e-6, atol=0):
                found.append(p)
    if found:
        findings.error(
            "NM203", f"neurons of one channel behind {names_of(found)} have different input gains, but share a kernel", where=places(found),
            why="The gain (r, tau, dt) is folded into the weights; a kernel has one value for all positions.",
            help=("use one tau and one r per channel",),
        )


def graded(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Spikes are binary."""
    if options.message_bits:
        findings.error(
            "NM203", f"the samples hold values from {options.payload[0]} to {options.payload[1]}; TrueNorth's spikes are binary",
            where=places([network[name] for name in network.inputs]), why=spec.features["graded"].note,
            help=("encode the values as spikes over time", "events that add up: store `binary` = True beside them"),
            data={"feature": "graded"},
        )


_TAKEN: Final = "integrate-and-fire neurons (`IF`) or units without memory (`Threshold`)"

_FOREIGN: Final[dict[str, tuple[str, Callable[[Model], bool]]]] = {
    "resonator": ("resonate-and-fire neurons", lambda n: isinstance(n, Resonator) and n.adaptation is None),
    "adaptive_resonator": (
        "resonate-and-fire neurons with an adaptive threshold", lambda n: isinstance(n, Resonator) and n.adaptation is not None,
    ),
    "sigma_delta": ("sigma-delta neurons", lambda n: isinstance(n, SigmaDelta)),
    "adaptive_threshold": ("adaptive thresholds", lambda n: isinstance(n, Neuron) and n.adaptation is not None),
}
"""By feature: what the chip lacks, and which neurons ask for it."""


def _resetting(network: Network) -> list[Population]:
    """Populations to which the network's reset and number of spikes apply."""
    return [p for p, neuron in neurons_of(network) if neuron.spiking and neuron.adaptation is None]


RULES: tuple[Rule, ...] = (
    weight_bits, models, resets, one_spike, floors, periodic_reset, early_bias, decay, thresholds, delays, shared_kernels, graded,
)
