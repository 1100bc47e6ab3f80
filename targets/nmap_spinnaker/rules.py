"""What SpiNNaker 1 takes and what it refuses. Every rule looks at the whole network and records all it finds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from nmap.connectivity import Array, Conv2d
from nmap.diagnostics import Findings
from nmap.network import Model, Network, Neuron, Population, Resonator, SigmaDelta
from nmap.options import Options
from nmap.rules import FLOAT, have, meets_floor, models_of, names_of, neurons_of, places
from nmap.target.backend import Rule
from nmap.target.spec import ChipSpec
from nmap_spinnaker.factors import WHOLE
from nmap_spinnaker.models import chosen_model, keeps_floor, keeps_whole, reset_value, rounds_to_one, timestep_us
from nmap_spinnaker.quantize import timing

__all__ = [
    "RULES", "decays", "delays", "finite", "floors", "gains", "graded", "integrators", "late_bias", "lossless_bias", "magnitudes", "models",
    "one_spike", "periodic_reset", "periods", "resets", "rounded_states", "thresholds", "weight_bits",
]

_MEASURED = "and measures what that costs on --input"


def weight_bits(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Weights have 1 to 16 bits."""
    limit = spec.limits["weight_bits"]
    if options.bits is not None and not limit.min <= options.bits <= limit.max:
        findings.error("NM004", f"`--bits {options.bits}`: {_CHIP}'s weights have {limit.min} to {limit.max} bits", why=limit.source)


def finite(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Weights, biases and parameters are numbers."""
    broken = [
        p for p in network.projections
        if not np.isfinite(p.connectivity.weights).all() or (p.bias is not None and not np.isfinite(p.bias).all())
    ]
    if broken:
        findings.error("NM107", f"weights or biases of {names_of(broken)} are not finite", where=places(broken))
    odd = [p for p, neuron in neurons_of(network) if _endless(neuron)]
    if odd:
        findings.error("NM107", f"parameters of {names_of(odd)} are not finite", where=places(odd))


def magnitudes(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Weights and parameters are numbers that 32 bits can hold beside each other, whatever their unit is."""
    far = [p for p in network.projections if _beyond(np.atleast_1d(np.abs(p.connectivity.weights).max(initial=0.0)))]
    if far:
        findings.error(
            "NM305", f"the largest weights of {names_of(far)} are beyond what can be represented", where=places(far),
            why=f"Numbers between {_SMALLEST:g} and {_LARGEST:g} can be brought to the units of a core.",
            help=("scale weights and thresholds of these layers alike",),
        )
    odd = [p for p, neuron in neurons_of(network) if _far(neuron)]
    if odd:
        findings.error(
            "NM305", f"parameters of {names_of(odd)} are beyond what can be represented", where=places(odd),
            why=f"Numbers between {_SMALLEST:g} and {_LARGEST:g} can be brought to the units of a core.",
        )


def periods(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A tick of the clock is one that a core's timer can count."""
    limit, step = spec.limits["period_us"], timestep_us(network.conventions, spec)
    if options.slowdown is not None and options.slowdown * step > limit.max:
        findings.error(
            "NM004", f"`--slowdown {options.slowdown}`: {_CHIP}'s timer counts up to {limit.max / 1e6:g} s, and a step would take"
            f" {options.slowdown * step / 1e6:g} s", why=limit.source, help=(f"at most `--slowdown {limit.max // step}`",),
        )


def models(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Neurons integrate, with or without a synaptic current, and fire at a fixed threshold."""
    for feature, (what, asks) in _FOREIGN.items():
        foreign = [p for p in network.populations if p.neuron is not None and asks(p.neuron)]
        if foreign:
            findings.error(
                "NM201", f"{models_of(foreign)} {have(foreign)} {what}; sPyNNaker's integrate-and-fire neurons have none",
                where=places(foreign), why=spec.features[feature].note, help=(f"train with {_TAKEN}", FLOAT), data={"feature": feature},
            )
    quiet = [(p, neuron) for p, neuron in neurons_of(network) if not neuron.spiking and neuron.adaptation is None]
    for feature, silent in (
        ("li", [p for p, neuron in quiet if neuron.alpha.any() or neuron.beta.any()]),
        ("relay", [p for p, neuron in quiet if not (neuron.alpha.any() or neuron.beta.any())]),
    ):
        if silent:
            inner = [p for p in silent if any(edge.source == p.name != edge.target for edge in network.projections)]
            findings.error(
                "NM201", f"{models_of(silent)} never {'fires' if len(silent) == 1 else 'fire'}; what leaves a core of {_CHIP} are spikes",
                where=places(silent), why=spec.features[feature].note, help=(
                    *((f"put {_TAKEN} in the place of {names_of(inner)}",) if inner else ()),
                    *((f"end the network in {_TAKEN} and count their spikes",) if len(inner) < len(silent) else ()), FLOAT,
                ), data={"feature": feature},
            )


def resets(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A spike sets the membrane to a value."""
    mode, found = network.conventions.reset, [p for p, _ in _resetting(network)]
    if mode == "zero" or not found:
        return
    what = "by subtraction" if mode == "subtract" else "by subtraction, one step later"
    if "reset" in options.approximate:
        findings.warning(
            "NM205", f"the reset of {names_of(found)} {what} is approximated by a reset to zero", where=places(found),
            why="The cost is what `chip_vs_float` measures on the given samples.",
        )
        return
    early = f" {spec.features['early_reset'].note}" if network.conventions.early_reset else ""
    findings.error(
        "NM202", f"{names_of(found)} {'resets' if len(found) == 1 else 'reset'} {what}; {_CHIP}'s neurons reset to a value",
        where=places(found), why=spec.features[f"reset_{mode}"].note + early, help=(
            f"`--approximate reset` maps it to a reset to zero {_MEASURED}",
            "`--reset zero`, if the network was trained that way"
            + ("; its several spikes in a step stay refused" if network.conventions.multiple else ""),
            "train with a reset to zero (snnTorch: reset_mechanism='zero', reset_delay=False)",
        ), data={"approximate": "reset", "feature": f"reset_{mode}"},
    )


def one_spike(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A neuron sends at most one spike in a step."""
    found = [p for p, _ in _resetting(network)] if network.conventions.multiple else []
    if not found:
        return
    if "multiple" in options.approximate:
        findings.warning(
            "NM205", f"the neurons of {names_of(found)} that may send several spikes in a step send one", where=places(found),
            why="The cost is what `chip_vs_float` measures on the given samples.",
        )
        return
    findings.error(
        "NM202", f"the neurons of {names_of(found)} may send several spikes in a step; {_CHIP}'s send one", where=places(found),
        why=spec.features["multiple_spikes"].note, help=(
            f"`--approximate multiple` sends one {_MEASURED}",
            "train with at most one spike per step (Sinabs: spike_fn=SingleSpike)",
        ), data={"approximate": "multiple", "feature": "multiple_spikes"},
    )


def integrators(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A membrane without leak is never left below its reset value."""
    things = [p for p, neuron in _resetting(network) if _sound(neuron) and keeps_whole(neuron) and not keeps_floor(network, p, neuron)]
    if "leak" not in options.approximate and network.conventions.floor is not None:
        # A floor that the network has itself is another rule's.
        wanted = meets_floor(network, options)
        things = [p for p in things if p not in wanted]
    if not things:
        return
    if "leak" in options.approximate:
        findings.warning(
            "NM205", f"{names_of(things)} {'leaks' if len(things) == 1 else 'leak'}: 1/16384 of v in a step", where=places(things),
            why="IF_curr_delta's longest time constant stands for none. The cost is what `chip_vs_float` measures on the given samples.",
        )
    elif "floor" in options.approximate:
        findings.warning(
            "NM205", f"the membranes of {names_of(things)} are not left below their reset value", where=places(things),
            why="The network has no such floor. The cost is what `chip_vs_float` measures on the given samples.",
        )
    else:
        findings.error(
            "NM202", f"inhibition may take the membranes of {names_of(things)} below their reset value; {_CHIP}'s neuron without leak stops"
            " there", where=places(things), why=spec.features["if"].note, help=(
                f"`--approximate leak` takes a neuron that loses 1/16384 of v in a step {_MEASURED}",
                f"`--approximate floor` stops membranes at the reset value {_MEASURED}",
                "train with a leak, or with a floor at the reset value (Sinabs: min_v_mem=0)",
            ), data={"approximate": "leak", "feature": "if"},
        )


def floors(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A membrane has no lower bound but the reset value of a neuron without leak."""
    floor, wanted = network.conventions.floor, meets_floor(network, options)
    found = [
        (p, neuron) for p, neuron in _resetting(network)
        if p in wanted and not (keeps_whole(neuron) and keeps_floor(network, p, neuron))
    ]
    if floor is None or not found:
        return
    things = [p for p, _ in found]
    stopped = [p for p, neuron in found if chosen_model(network, p, neuron, options) == "if_trunc"]
    what = " or ".join(
        [*(["is left out"] if len(stopped) < len(found) else []), *(["becomes the reset value"] if stopped else [])]
    )
    if "floor" in options.approximate:
        findings.warning(
            "NM205", f"the lower bound of the membranes of {names_of(things)} {what}", where=places(things),
            why=f"The network stops them at {floor:g} times the threshold. The cost is what `chip_vs_float` measures on the given samples.",
        )
        return
    findings.error(
        "NM202", f"the membranes of {names_of(things)} stop at {floor:g} times the threshold; {_CHIP}'s have no such bound",
        where=places(things), why=spec.features["voltage_floor"].note, help=(
            f"`--approximate floor` takes another bound or none {_MEASURED}",
            "train without a lower bound (Sinabs: min_v_mem=None)",
        ), data={"approximate": "floor", "feature": "voltage_floor"},
    )


def periodic_reset(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """No clock resets a membrane."""
    interval, cleared = network.conventions.reset_interval, [p for p, _ in neurons_of(network)]
    if interval and cleared:
        findings.error(
            "NM202", f"the neurons of {names_of(cleared)} are reset every {interval} steps; nothing but its spike resets one of {_CHIP}'s",
            where=places(cleared), why=spec.features["periodic_reset"].note,
            help=("leave `--reset-interval` out, and give each sample a run of its own", FLOAT), data={"feature": "periodic_reset"},
        )


def late_bias(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """A bias acts from the first step on."""
    late = [p for p in network.projections if p.bias_from and p.bias is not None and p.bias.any()]
    if late:
        begins = ", ".join(f"step {first}" for first in sorted({p.bias_from for p in late}))
        findings.error(
            "NM203", f"the bias of {names_of(late)} begins in {begins}; {_CHIP}'s i_offset acts from the first step on",
            where=f"{places(late)} (into {names_of([network[p.target] for p in late])})", why=spec.features["late_bias"].note,
            help=("train without a bias in the recurrent weights", FLOAT), data={"feature": "late_bias"},
        )


def lossless_bias(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """A bias leads into a current that decays, else the current grows without bound."""
    neurons = {p.name: neuron for p, neuron in _sound_neurons(network)}
    found = [
        p for p in network.projections
        if p.bias is not None and p.target in neurons and ((neurons[p.target].alpha >= 1) & (p.bias != 0)).any()
    ]
    if found:
        findings.error(
            "NM203", f"the bias of {names_of(found)} leads into a current that never decays", where=places(found),
            why="Such a current grows without bound.", help=("give the time step the network was trained with: `--dt SECONDS`",),
        )


def decays(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Decay factors lie between 0 and 1, and below the largest one of the chip."""
    outside: list[tuple[Population, Array]] = []
    near: list[tuple[Population, Neuron]] = []
    for p, neuron in _sound_neurons(network):
        factors = np.concatenate([neuron.alpha, neuron.beta])
        if ((factors < 0) | (factors > 1)).any():
            outside.append((p, factors))
        elif neuron.spiking and neuron.adaptation is None and rounds_to_one(neuron).any() and not keeps_whole(neuron):
            near.append((p, neuron))
    if outside:
        things, values = [p for p, _ in outside], np.concatenate([factors for _, factors in outside])
        count = int(((values < 0) | (values > 1)).sum())
        findings.error(
            "NM305",
            f"{count} decay factor{'' if count == 1 else 's'} of {names_of(things)} {'is' if count == 1 else 'are'} outside 0 to 1",
            where=places(things), why=f"They lie between {values.min():.4g} and {values.max():.4g}.",
            help=("give the time step the network was trained with: `--dt SECONDS`",),
        )
    if not near:
        return
    things = [p for p, _ in near]
    count = sum(int(rounds_to_one(neuron).sum()) for _, neuron in near)
    worst = max(float(np.maximum(neuron.alpha, neuron.beta).max()) for _, neuron in near)
    why = (
        f"The chip's factors have 15 fraction bits, and the largest below 1 is 32766/32768; here they reach {worst:.9g}"
        + (", which keeps all." if worst == 1 else f", a time constant of {-1 / np.log(worst):.4g} steps.")
        + (" IF_trunc keeps all of v, in populations whose neurons all do and have no synaptic current." if worst == 1 else "")
    )
    if "leak" in options.approximate:
        findings.warning(
            "NM205",
            f"{count} neurons of {names_of(things)} lose 1/16384 of v or of their current in a step", where=places(things), why=why,
        )
    else:
        findings.error(
            "NM205", f"the decay of {count} neuron{'' if count == 1 else 's'} of {names_of(things)} rounds to none", where=places(things),
            why=why,
            help=(f"`--approximate leak` takes the longest time constant {_MEASURED}", f"train with decay factors up to {WHOLE:.7g}"),
            data={"approximate": "leak", "feature": "leak"},
        )


def rounded_states(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """States are not truncated to a resolution of the network's own."""
    found = [
        p for p, neuron in _resetting(network)
        if neuron.quantum is not None and (((neuron.alpha > 0) & (neuron.alpha < 1)) | ((neuron.beta > 0) & (neuron.beta < 1))).any()
    ]
    if not found:
        return
    if "rounding" in options.approximate:
        findings.warning(
            "NM205", f"the states of {names_of(found)} are rounded to finer numbers than the network's", where=places(found),
            why="The cost is what `chip_vs_float` measures on the given samples.",
        )
    else:
        findings.error(
            "NM205",
            f"the states of {names_of(found)} are truncated after each decay; {_CHIP}'s are rounded otherwise", where=places(found),
            why=spec.features["integer_decay"].note,
            help=(f"`--approximate rounding` rounds as the chip does, to finer numbers, {_MEASURED}", "keep the network in NIR"),
            data={"approximate": "rounding", "feature": "integer_decay"},
        )


def gains(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Gains are positive, so that they can be moved into the units of currents and membranes."""
    counts = {p.name: int(((neuron.gain_in <= 0) | (neuron.gain_v <= 0)).sum()) for p, neuron in _sound_neurons(network)}
    found = [p for p in network.populations if counts.get(p.name)]
    if found:
        findings.error(
            "NM305", f"{sum(counts.values())} neurons of {names_of(found)} have an input gain of 0 or less", where=places(found),
            why="A gain (r, w_in, tau, dt) becomes the unit in which a neuron's current or membrane is counted.",
            help=("use a positive `r`, and turn the sign of the weights instead",),
        )


def thresholds(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """A neuron without input stays silent: thresholds lie above the value at the start and the reset value."""
    equal = network.conventions.compare == ">="
    low = []
    for p, neuron in _resetting(network):
        if not _sound(neuron):
            continue
        height = neuron.threshold - np.maximum(reset_value(network, neuron), 0)
        wrong = (height <= 0) if equal else (height < 0)
        if wrong.any():
            low.append((p, height[wrong]))
    if low:
        found, values = [p for p, _ in low], np.concatenate([values for _, values in low])
        findings.error(
            "NM305", f"{values.size} threshold{'' if values.size == 1 else 's'} of {names_of(found)} {'is' if values.size == 1 else 'are'}"
            " not above the reset value and 0", where=places(found),
            why=f"The lowest lies {-values.min():.4g} below, compared with `{network.conventions.compare}`.",
            help=("train with thresholds above the reset value: such a neuron fires without any input", FLOAT),
            data={"feature": "negative_threshold"},
        )


def delays(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Hops fit into the delays of every loop, delays into ring buffers, and projections lead to the one input."""
    imaginary = [p for p in network.projections if p.receptor == "imaginary"]
    if imaginary:
        findings.error(
            "NM203",
            f"{names_of(imaginary)} {'carries' if len(imaginary) == 1 else 'carry'} complex weights; {_CHIP}'s neurons have one membrane",
            where=places(imaginary), why=spec.features["complex_weights"].note,
            help=(f"train with {_TAKEN}, whose weights are real", FLOAT), data={"feature": "complex_weights"},
        )
    listed = [p for p in network.projections if p.delays is not None and isinstance(p.connectivity, Conv2d)]
    if listed:
        findings.error(
            "NM204", f"the convolution{'' if len(listed) == 1 else 's'} {names_of(listed)} {have(listed)} a delay per synapse, which nmap"
            " places for dense and sparse connections only", where=places(listed), help=("train with one delay per convolution", FLOAT),
        )
    negative = [p for p in network.projections if p.delay < 0 or (p.delays is not None and p.delays.size and p.delays.min() + p.delay < 0)]
    if negative:
        findings.error(
            "NM204", f"delays of {names_of(negative)} are negative: spikes would act before they are sent", where=places(negative),
        )
        return
    found = Findings()
    timing(network, spec, options, found)
    # Quantization realises the delays again and tells what was approximated.
    findings.extend(found.errors)


def graded(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Spikes are binary."""
    if options.message_bits:
        findings.error(
            "NM203", f"the samples hold values from {options.payload[0]} to {options.payload[1]}; {_CHIP}'s spikes are binary",
            where=places([network[name] for name in network.inputs]), why=spec.features["graded"].note,
            help=("encode the values as spikes over time", "events that add up: store `binary` = True beside them"),
            data={"feature": "graded"},
        )


_CHIP: Final = "SpiNNaker 1"
_SMALLEST, _LARGEST = 1e-30, 1e30
_TAKEN: Final = "integrate-and-fire neurons (`LIF`, `CubaLIF`, `IF`)"

_FOREIGN: Final[dict[str, tuple[str, Callable[[Model], bool]]]] = {
    "resonator": ("a membrane that rotates", lambda n: isinstance(n, Resonator) and n.adaptation is None),
    "adaptive_resonator": (
        "a membrane that rotates and an adaptive threshold", lambda n: isinstance(n, Resonator) and n.adaptation is not None,
    ),
    "sigma_delta": ("graded spikes", lambda n: isinstance(n, SigmaDelta)),
    "adaptive_threshold": ("adaptive thresholds", lambda n: isinstance(n, Neuron) and n.adaptation is not None),
}
"""By feature: what the neurons lack, and which neurons ask for it."""


def _resetting(network: Network) -> list[tuple[Population, Neuron]]:
    """Populations to which the network's reset, floor and number of spikes apply."""
    return [(p, neuron) for p, neuron in neurons_of(network) if neuron.spiking and neuron.adaptation is None]


def _constants(neuron: Neuron) -> tuple[Array, ...]:
    return neuron.alpha, neuron.beta, neuron.gain_in, neuron.gain_v, neuron.drive, neuron.threshold, neuron.v_reset


def _endless(neuron: Neuron) -> bool:
    """Whether a parameter is not finite; neurons that never fire have no threshold."""
    held = _constants(neuron) if neuron.spiking else _constants(neuron)[:5]
    return not all(np.isfinite(values).all() for values in held)


def _far(neuron: Neuron) -> bool:
    return any(_beyond(values) for values in _constants(neuron)[2:])


def _sound(neuron: Neuron) -> bool:
    """Whether `finite` and `magnitudes` take its parameters; what else is wrong with others follows from that."""
    return not (_endless(neuron) or _far(neuron))


def _sound_neurons(network: Network) -> list[tuple[Population, Neuron]]:
    return [(p, neuron) for p, neuron in neurons_of(network) if _sound(neuron)]


def _beyond(values: Array) -> bool:
    size = np.abs(values[np.isfinite(values)])
    return bool(((size > _LARGEST) | ((size > 0) & (size < _SMALLEST))).any())


RULES: tuple[Rule, ...] = (
    weight_bits, periods, finite, magnitudes, models, resets, one_spike, integrators, floors, periodic_reset, late_bias, lossless_bias,
    decays, rounded_states, gains, thresholds, delays, graded,
)
