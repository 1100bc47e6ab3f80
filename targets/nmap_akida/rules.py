"""What Akida 1.0 takes and what it refuses. Every rule looks at the whole network and records all it finds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.diagnostics import Findings
from nmap.network import Model, Network, Neuron, Population, Resonator, SigmaDelta
from nmap.options import Options
from nmap.rules import FLOAT, have, meets_floor, models_of, names_of, neurons_of, places
from nmap.target.backend import Rule
from nmap.target.spec import ChipSpec
from nmap_akida.form import Form, Mode
from nmap_akida.structure import Offence, Step, chain, chosen_mode, default_bits, late_steps

__all__ = [
    "RULES", "early_bias", "finite", "floors", "lags", "layers", "memory", "models", "one_kind", "one_spike", "periodic_reset",
    "quiet_start", "resets", "thresholds", "weight_bits",
]


def weight_bits(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Weights have 1, 2 or 4 bits."""
    if options.bits is not None and options.bits not in (1, 2, 4):
        findings.error(
            "NM004", f"`--bits {options.bits}`: Akida 1.0's weights have 1, 2 or 4 bits",
            why="1.0 hardware page: weights of convolutions and fully connected layers; those of the input convolution always have 8.",
            help=("`--bits 4`",),
        )


def finite(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Weights, biases and parameters are numbers."""
    broken = [
        p for p in network.projections
        if not np.isfinite(p.connectivity.weights).all() or (p.bias is not None and not np.isfinite(p.bias).all())
    ]
    if broken:
        findings.error("NM107", f"weights or biases of {names_of(broken)} are not finite", where=places(broken))
    odd = [p for p, neuron in _firing(network) if not all(np.isfinite(v).all() for v in (_gain(neuron), neuron.drive, neuron.threshold))]
    if odd:
        findings.error("NM107", f"parameters of {names_of(odd)} are not finite", where=places(odd))


def models(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Neurons compare the sum of their inputs with a fixed threshold."""
    for feature, (what, asks) in _FOREIGN.items():
        foreign = [p for p in network.populations if p.neuron is not None and asks(p.neuron)]
        if foreign:
            findings.error(
                "NM201", f"{models_of(foreign)} {have(foreign)} {what}; Akida 1.0 has none", where=places(foreign),
                why=spec.features[feature].note, help=(f"train with {_TAKEN}", FLOAT), data={"feature": feature},
            )
    quiet = [(p, neuron) for p, neuron in neurons_of(network) if not neuron.spiking and neuron.adaptation is None]
    for feature, silent in (
        ("li", [p for p, neuron in quiet if neuron.alpha.any() or neuron.beta.any()]),
        ("relay", [p for p, neuron in quiet if not (neuron.alpha.any() or neuron.beta.any())]),
    ):
        if silent:
            inner = [p for p in silent if any(edge.source == p.name != edge.target for edge in network.projections)]
            findings.error(
                "NM201", f"{models_of(silent)} never {_verb(silent, 'fires', 'fire')}; what a layer of Akida 1.0 sends is unsigned and has"
                " 4 bits at most", where=places(silent), why=spec.features[feature].note, help=(
                    *((f"put {_TAKEN} in the place of {names_of(inner)}",) if inner else ()),
                    *((f"end the network in {_TAKEN} and count their spikes",) if len(inner) < len(silent) else ()), FLOAT,
                ), data={"feature": feature},
            )


def memory(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A neuron keeps nothing from step to step; or all of it, in rate mode."""
    currents = [(p, neuron) for p, neuron in _firing(network) if neuron.alpha.any()]
    if currents:
        found, largest = [p for p, _ in currents], max(float(np.abs(neuron.alpha).max()) for _, neuron in currents)
        findings.error(
            "NM201", f"{models_of(found)} {have(found)} a synaptic current; Akida 1.0 keeps nothing from step to step", where=places(found),
            why=f"{spec.features['cubalif'].note} Synaptic decay factors reach {largest:.4g}, and only 0 is possible.",
            help=(f"train with {_TAKEN}", FLOAT), data={"feature": "cubalif"},
        )
    leaky = [(p, neuron.beta[(neuron.beta != 0) & (neuron.beta != 1)]) for p, neuron in _firing(network)]
    leaky = [(p, values) for p, values in leaky if values.size]
    if leaky:
        found, decays = [p for p, _ in leaky], np.concatenate([values for _, values in leaky])
        kept = f"{decays.min():.4g}" if decays.min() == decays.max() else f"{decays.min():.4g} to {decays.max():.4g}"
        findings.error(
            "NM201", f"{models_of(found)} {_verb(found, 'decays', 'decay')} from step to step; Akida 1.0 has no membrane state",
            where=places(found), why=f"{spec.features['lif'].note} Decay factors are {kept}; 0 is exact (tau equal to the time step), and 1"
            " (`IF`) is taken with `--approximate rate`.",
            help=("train with units without memory: `Threshold`, or LIF with tau equal to the time step",
                  "train with `IF` neurons and a subtracting reset, and use `--approximate rate`", FLOAT), data={"feature": "lif"},
        )
    whole = [p for p, neuron in _firing(network) if neuron.beta.any() and ((neuron.beta == 0) | (neuron.beta == 1)).all()]
    if whole and chosen_mode(options, network) is not Mode.RATE:
        rank = {p.name: k for k, p in enumerate(network.populations)}
        looped = any(rank[p.source] >= rank[p.target] for p in network.projections)
        also = ", with a subtracting reset," if network.conventions.reset == "zero" else ""
        findings.error(
            "NM205", f"{models_of(whole)} {_verb(whole, 'keeps its', 'keep their')} membrane from step to step; Akida 1.0 takes that only"
            " as counts of spikes", where=places(whole), why=spec.features["if"].note, help=(
                "train without recurrent weights: then `--approximate rate` makes all steps of a sample one inference" if looped else
                f"`--approximate rate`{also} makes all steps of a sample one inference and measures what that costs on --input",
                "train with units without memory: `Threshold`, or LIF with tau equal to the time step",
            ), data={"feature": "if", "populations": [p.name for p in whole]} | ({} if looped else {"approximate": "rate"}),
        )


def one_kind(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """All neurons of a network forget everything at each step, or all forget nothing."""
    forgets = [p for p, neuron in _firing(network) if not neuron.beta.all()]
    keeps = [p for p, neuron in _firing(network) if neuron.beta.any()]
    pure = all(((neuron.beta == 0) | (neuron.beta == 1)).all() for _, neuron in _firing(network))
    if pure and forgets and keeps:
        findings.error(
            "NM201", f"{models_of(forgets)} {_verb(forgets, 'keeps', 'keep')} nothing from step to step and {models_of(keeps)}"
            f" {_verb(keeps, 'keeps its', 'keep their')} membrane; Akida 1.0 takes networks of one kind", where=places([*forgets, *keeps]),
            why="One inference stands for one step of a network without memory, or for all steps of one that forgets nothing.",
            help=(
                "train all layers with units without memory (`Threshold`)",
                "train all layers with `IF` neurons, and use `--approximate rate`", FLOAT,
            ), data={"feature": "if"},
        )


def resets(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A spike leaves no trace in a later step; in rate mode it takes its threshold off the sum."""
    conventions, rate = network.conventions, chosen_mode(options, network) is Mode.RATE
    found = [p for p, _ in _firing(network)]
    summing = [p for p, neuron in _firing(network) if (neuron.beta == 1).all()]
    if conventions.reset == "zero" and summing and (rate or len(summing) == len(found)):
        findings.error(
            "NM202", f"{names_of(summing)} {_verb(summing, 'resets', 'reset')} to a value; the counts of the rate mode take a threshold off"
            " for every spike", where=places(summing), why="What a reset to zero drops depends on when the spikes come, which one inference"
            " on counts does not know.", help=("`--reset subtract`, if the network was trained that way",
                                              "train with a subtracting reset (snnTorch: reset_mechanism='subtract')", FLOAT),
            data={"feature": "reset_zero"},
        )
    # Of neurons that all keep their membrane, `memory` tells that the rate mode takes them, and either of these resets.
    late = conventions.reset == "delayed" and not rate and len(summing) < len(found)
    early = conventions.early_reset and conventions.reset == "subtract" and (rate or len(summing) < len(found))
    if early and rate:
        findings.warning(
            "NM205", f"{names_of(found)} {_verb(found, 'takes', 'take')} the threshold off in advance where it was left above it; when"
            " is left out", where=places(found),
            why="One inference sends a spike for every threshold that the sum of all steps holds. Step by step, what was left above the"
            " threshold fires again only above twice the threshold, so that spikes come later, or no more within the sample. The cost is"
            " what `chip_vs_float` measures on the given samples.",
            data={"populations": [p.name for p in found]},
        )
        return
    if found and (late or early):
        kind = "reset_delayed" if late else "early_reset"
        what = "one step after the spike" if late else "in advance where it was left above the threshold"
        findings.error(
            "NM202", f"{names_of(found)} {_verb(found, 'takes', 'take')} the threshold off {what}; Akida 1.0 keeps nothing from step to"
            " step", where=places(found), why=spec.features[kind].note, help=(
                *(("`--reset subtract` or `--reset zero`, if the network was trained that way: without memory they are the same",)
                  if late else ()),
                "train with a reset to zero in the step of the spike (snnTorch: reset_mechanism='zero', reset_delay=False)", FLOAT,
            ), data={"feature": kind},
        )


def one_spike(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Several spikes in a step are compared by >=."""
    found = [p for p, _ in _firing(network)]
    if found and network.conventions.multiple and network.conventions.compare == ">" and chosen_mode(options, network) is Mode.THRESHOLD:
        findings.error(
            "NM202", f"the neurons of {names_of(found)} may send several spikes in a step, and none at the threshold itself",
            where=places(found), why=f"{spec.features['multiple_spikes'].note} Activations rise at multiples of the threshold, at the first"
            " like at the others.",
            help=("train with at most one spike per step (Sinabs: spike_fn=SingleSpike)", FLOAT), data={"feature": "multiple_spikes"},
        )


def floors(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A membrane's floor is left out in rate mode; a unit without memory has none to fall to."""
    found = [p for p in meets_floor(network, options) if isinstance(p.neuron, Neuron) and p.neuron.beta.any()]
    if found and chosen_mode(options, network) is Mode.RATE:
        findings.warning(
            "NM205", f"the floor under the membranes of {names_of(found)} is left out", where=places(found),
            why=f"{spec.features['voltage_floor'].note} The cost is what `chip_vs_float` measures on the given samples.",
            data={"populations": [p.name for p in found]},
        )


def periodic_reset(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """No clock resets a sum within an inference."""
    interval, cleared = network.conventions.reset_interval, [p for p, neuron in _firing(network) if neuron.beta.any()]
    if interval and cleared and chosen_mode(options, network) is Mode.RATE:
        findings.error(
            "NM202", f"the neurons of {names_of(cleared)} are reset every {interval} steps; nothing resets Akida 1.0 within an inference",
            where=places(cleared), why=spec.features["periodic_reset"].note,
            help=("leave `--reset-interval` out, and give each sample a run of its own", FLOAT), data={"feature": "periodic_reset"},
        )


def lags(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A spike leaves in the step that found it."""
    found = [p for p, _ in _firing(network)]
    if found and network.conventions.lag and chosen_mode(options, network) is Mode.THRESHOLD:
        findings.error(
            "NM204", f"the spikes of {names_of(found)} leave {_counted(network.conventions.lag, 'step')} after their threshold was crossed;"
            " Akida 1.0's leave in the same inference", where=places(found), why=spec.features["spike_lag"].note,
            help=("train with spikes that act in their own step", FLOAT), data={"feature": "spike_lag"},
        )


def early_bias(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """A bias acts from the first step on that the input can reach."""
    reached = late_steps(network)
    late = [p for p in network.projections if p.bias is not None and p.bias.any() and p.bias_from > reached[p.target]]
    if late:
        begins = ", ".join(f"step {first}" for first in sorted({p.bias_from for p in late}))
        findings.error(
            "NM203", f"the bias of {names_of(late)} begins in {begins}; Akida 1.0's act from the first inference on",
            where=f"{places(late)} (into {names_of([network[p.target] for p in late])})", why=spec.features["late_bias"].note,
            help=("train without these biases", FLOAT), data={"feature": "late_bias"},
        )


def quiet_start(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:  # noqa: ARG001
    """Where a layer is a step behind the one before it, no neuron fires before the input reaches it."""
    found = [p for p, neuron in _firing(network) if _starts(network, p, neuron)]
    if found and any(late_steps(network).values()):
        findings.error(
            "NM204", f"{names_of(found)} {_verb(found, 'fires', 'fire')} without any input, and the input comes"
            " some steps later; an inference of Akida 1.0 begins with its input", where=places(found),
            why=f"{spec.features['delays'].note} What the network does in the steps before its input gets there is no inference.",
            help=("train with biases below the thresholds", "state the network without delays (NIR)", FLOAT), data={"feature": "delays"},
        )


def thresholds(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Counts of spikes are in units of a threshold above 0."""
    if chosen_mode(options, network) is not Mode.RATE and not network.conventions.multiple:
        return
    low = [(p, neuron.threshold[neuron.threshold <= 0]) for p, neuron in _firing(network)]
    found = [p for p, values in low if values.size]
    if found:
        values = np.concatenate([values for _, values in low])
        findings.error(
            "NM305", f"{values.size} thresholds of {names_of(found)} are not above 0, so that nothing can be counted in them",
            where=places(found), why=f"{spec.features['negative_threshold'].note} The lowest is {values.min():.4g}.",
            help=("train with thresholds above 0", FLOAT), data={"feature": "negative_threshold"},
        )


def layers(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A network is a chain of the chip's layers, each of a geometry that the chip has, with one threshold for each filter."""
    steps, offences = chain(network, spec, options)
    groups: dict[str, list[Offence]] = {}
    for offence in offences:
        groups.setdefault(offence.rule, []).append(offence)
    for rule, alike in groups.items():
        _tell(network, spec, rule, alike, findings)
    _tell_written_out(steps, options, findings)
    uneven = [step for step in steps if step.form is not Form.DENSE and not _one_per_filter(step)]
    if uneven:
        found = [step.population for step in uneven]
        findings.error(
            "NM203", f"the neurons of a channel of {names_of(found)} do not have the same threshold, bias and input gain; Akida 1.0 has one"
            f" threshold for each filter of a convolution (here {names_of([step.projection for step in uneven])})", where=places(found),
            why=spec.features["per_neuron_threshold"].note, help=(
                "train with one threshold and one bias per channel",
                "a bias in front of a padded convolution, or of a pool and one, differs at the image's border: move it behind them", FLOAT,
            ), data={"feature": "per_neuron_threshold", "populations": [p.name for p in found]},
        )


def _tell_written_out(steps: Sequence[Step], options: Options, findings: Findings) -> None:
    """Note convolutions and lists of synapses that become fully connected layers, with what that costs."""
    bits = default_bits(options)
    for step in steps:
        given = step.projection.connectivity
        if step.form is not Form.DENSE or isinstance(given, Dense) or (isinstance(given, Conv2d) and given.in_shape[1:] == (1, 1)):
            continue
        why = "The chip has no lists of synapses: zeros are stored like other weights." if isinstance(given, Sparse) else (
            f"The convolution has one output pixel of an image of {given.in_shape[1]} x {given.in_shape[2]}, and is no kernel of the chip"
            " summed over the image."
        )
        taken, own = (-(-weights * bits // 8) for weights in (step.connectivity.weights.size, given.weights.size))
        instead = "" if taken == own else f" instead of {own:,}"
        findings.note(
            "NM203", f"`{step.projection.name}` is computed as a fully connected layer: {taken:,} bytes of weights{instead}",
            where=places([step.projection]), why=f"{why} The results are the same.",
            data={"feature": "dense", "layers": [step.projection.name], "weight_bytes": taken, "own_bytes": own},
        )


@dataclass(frozen=True, slots=True)
class _Told:
    """How a rule about layers is told: its code, what the chip demands, the limit that says so, and the feature it is about."""

    code: str
    demand: str
    feature: str
    limit: str | None = None


_TOLD: Final[dict[str, _Told]] = {
    "even_kernel": _Told("NM203", "Akida 1.0's kernels are odd", "conv", "kernel"),
    "kernel": _Told("NM203", "Akida 1.0's kernels are 1 x 1, 3 x 3, 5 x 5 or 7 x 7", "conv", "kernel"),
    "stride": _Told("NM203", "Akida 1.0's convolutions have stride 1, or stride 2 with a kernel of 3 x 3", "conv", "stride"),
    "padding": _Told("NM203", "Akida 1.0's hidden convolutions keep the image's size", "conv_unpadded", "padding"),
    "alignment": _Told(
        "NM203", "Akida 1.0 pads images of even size behind their end, where torch pads on both sides", "conv", "padding",
    ),
    "filters": _Told("NM203", "Akida 1.0's convolutions have at most {most}", "conv", "filters"),
    "channels": _Told("NM203", "Akida 1.0's convolutions have at most {most}", "conv", "channels"),
    "pool": _Told("NM203", "Akida 1.0 sums windows of 2 x 2 of images of even size", "sum_pool", "sum_pool"),
    "merged": _Told(
        "NM203", "between neurons Akida 1.0 has one convolution, or a sum of windows of 2 x 2 and one", "conv", "sum_pool",
    ),
    "pool_sum": _Told("NM203", "Akida 1.0's activations have 4 bits", "sum_pool", "input_value"),
    "after_dense": _Told("NM203", "neurons of Akida 1.0's dense layers have no places on an image", "conv"),
    "reshaped": _Told("NM203", "Akida 1.0's layers hand on their image as it is", "conv"),
    "dense_inputs": _Told("NM203", "Akida 1.0's fully connected layers have at most {most}", "dense", "dense_inputs"),
    "matrix": _Told("NM203", "such a connection has to be written out as a dense layer", "sparse", "matrix"),
    "signed": _Told("NM203", "Akida 1.0's inputs are unsigned", "graded", "input_value"),
    "large_inputs": _Told("NM203", "inputs of Akida 1.0's layers have 4 bits", "graded", "input_value"),
    "image_values": _Told("NM203", "Akida 1.0's images have 8 bits", "graded", "image_value"),
    "image_channels": _Told("NM203", "values beyond 4 bits are for images of 1 or 3 channels", "graded", "image_channels"),
    "image_filters": _Told("NM203", "values beyond 4 bits are for the input convolution", "graded"),
    "image_kernel": _Told("NM203", "values beyond 4 bits are for the input convolution", "graded", "image_kernel"),
    "image_size": _Told("NM203", "values beyond 4 bits are for the input convolution", "graded", "image_size"),
    "ports": _Told("NM203", "a model of Akida 1.0 has one input", "several_ports"),
    "afferents": _Told("NM203", "a model of Akida 1.0 is a chain of layers", "skip"),
    "branches": _Told("NM203", "a model of Akida 1.0 is a chain of layers", "skip"),
    "outputs": _Told("NM203", "a model of Akida 1.0 has one output, its last layer", "several_ports"),
    "recurrent": _Told("NM204", "an inference of Akida 1.0 goes through the layers once", "recurrent"),
    "delays": _Told("NM204", "nothing of Akida 1.0 waits for a later inference", "delays"),
    "imaginary": _Told("NM203", "a layer of Akida 1.0 has one input of real weights", "complex_weights"),
    "multiple": _Told("NM202", "Akida 1.0's activations have 4 bits", "multiple_spikes", "input_value"),
}
"""By the rule of an offence."""


def _tell(network: Network, spec: ChipSpec, rule: str, offences: Sequence[Offence], findings: Findings) -> None:
    """Record one error for all that break a rule: what each has, what the chip demands, its limit and where that comes from."""
    told = _TOLD[rule]
    names = [name for offence in offences for name in offence.names]
    edges = [p for name in names for p in network.projections if p.name == name]
    where = places(edges) if edges else places([network[name] for name in names])
    shown = [f"{', '.join(f'`{name}`' for name in offence.names[:_MOST])} {offence.reason}" for offence in offences[:_MOST]]
    more = f"; and {len(offences) - _MOST} more" if len(offences) > _MOST else ""
    why, demand = spec.features[told.feature].note, told.demand
    if told.limit is not None:
        limit = spec.limits[told.limit]
        bounds = f"{limit.min} to {limit.max}" if limit.min < limit.max else str(limit.max)
        why = " ".join(filter(None, (limit.note, f"The limit is {bounds} ({limit.source}).")))
        demand = demand.format(most=limit.max)
    into = f" (into {names_of(list(dict.fromkeys(network[p.target] for p in edges)))})" if edges else ""
    remedies = dict.fromkeys(offence.remedy for offence in offences if offence.remedy is not None)
    findings.error(
        told.code, f"{'; '.join(shown)}{more}; {demand}", where=where + into, why=why, help=(*list(remedies)[:2], FLOAT),
        data={"feature": told.feature, "rule": rule, "layers": names} | ({} if told.limit is None else {"limit": told.limit}),
    )


def _one_per_filter(step: Step) -> bool:
    """Return whether the neurons of every channel compare the same sum with the same threshold."""
    neuron = step.population.neuron
    if not isinstance(neuron, Neuron):
        return True
    gain, bias = _gain(neuron), 0 if step.projection.bias is None else step.projection.bias
    size = np.where(gain == 0, 1, np.abs(gain))
    unit = neuron.threshold / size
    compared = [np.sign(gain), unit - np.sign(gain) * bias - neuron.drive / size]
    # Counts of spikes are counts of thresholds, which then must be the same themselves.
    pixels = step.connectivity.out_size // step.connectivity.weights.shape[0]
    return all(_even(values, pixels) for values in (compared if step.sent == 1 else [*compared, unit]))


def _starts(network: Network, population: Population, neuron: Neuron) -> bool:
    """Return whether a neuron fires without input, with its bias or without."""
    biases = [np.maximum(_gain(neuron) * p.bias, 0) for p in network.projections if p.target == population.name and p.bias is not None]
    rest = neuron.drive + sum(biases)
    return bool((rest > neuron.threshold).any() if network.conventions.compare == ">" else (rest >= neuron.threshold).any())


def _even(values: Array, pixels: int) -> bool:
    rows = values.reshape(-1, pixels)
    return np.allclose(rows, rows[:, :1], rtol=1e-9, atol=1e-12)


def _gain(neuron: Neuron) -> Array:
    return np.asarray(neuron.gain_in * neuron.gain_v)


def _verb(populations: Sequence[Population], one: str, many: str) -> str:
    return one if len(populations) == 1 else many


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _firing(network: Network) -> list[tuple[Population, Neuron]]:
    """Populations to which the network's reset and number of spikes apply."""
    return [(p, neuron) for p, neuron in neurons_of(network) if neuron.spiking and neuron.adaptation is None]


_MOST: Final = 6
_TAKEN: Final = "units without memory (`Threshold`), or `IF` neurons in rate mode"

_FOREIGN: Final[dict[str, tuple[str, Callable[[Model], bool]]]] = {
    "resonator": ("resonate-and-fire neurons", lambda n: isinstance(n, Resonator) and n.adaptation is None),
    "adaptive_resonator": (
        "resonate-and-fire neurons with an adaptive threshold", lambda n: isinstance(n, Resonator) and n.adaptation is not None,
    ),
    "sigma_delta": ("sigma-delta neurons", lambda n: isinstance(n, SigmaDelta)),
    "adaptive_threshold": ("adaptive thresholds", lambda n: isinstance(n, Neuron) and n.adaptation is not None),
}
"""By feature: what the chip lacks, and which neurons ask for it."""


RULES: tuple[Rule, ...] = (
    weight_bits, finite, models, memory, one_kind, resets, one_spike, floors, periodic_reset, lags, early_bias, quiet_start, thresholds,
    layers,
)
