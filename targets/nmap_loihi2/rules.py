"""Design rules of Loihi 2: what its neurons and synapses cannot express, each explained, all offences at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np

from nmap.connectivity import Array, Conv2d
from nmap.diagnostics import Findings, named
from nmap.network import Network, Neuron, Population, Projection, Resonator, SigmaDelta
from nmap.options import Options
from nmap.rules import meets_floor, places
from nmap.target.backend import Rule
from nmap.target.spec import ChipSpec
from nmap_loihi2.adaptive import inexpressible
from nmap_loihi2.quantize import realise_time
from nmap_loihi2.synapses import counted

__all__ = ["FLOAT", "RULES", "listed"]

_MEASURED = "and measures what that costs on --input"


def listed(things: list[Population] | list[Projection], noun: str) -> str:
    """Return how many there are, and the names of the first six."""
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}: {named([p.name for p in things])}"


def _integrators(network: Network) -> Iterator[tuple[Population, Neuron]]:
    """Populations of `Neuron`s; the other models have rules of their own."""
    return ((p, p.neuron) for p in network.populations if isinstance(p.neuron, Neuron))


def _resetting(network: Network) -> list[Population]:
    """Populations to which the network's reset, floor and number of spikes apply."""
    return [p for p, neuron in _integrators(network) if neuron.spiking and neuron.adaptation is None]


def weight_bits(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Weight bits are 1 to 8."""
    del network
    limit = spec.limits["weight_bits"]
    if options.bits is not None and not limit.min <= options.bits <= limit.max:
        findings.error("NM004", f"--bits {options.bits}: {spec.title} stores {limit.min} to {limit.max} bits per weight", why=limit.source)


FLOAT: Final = "nmap run NET --level float --input SAMPLES runs the network as it is, without a chip"
"""What is left where a target refuses a network."""


def neuron_models(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Neurons are those of Lava's fixed-point models: an adaptive threshold has one with the arithmetic of lava-dl's ALIF only."""
    del options
    turning = [p for p in network.populations if isinstance(p.neuron, Resonator) and p.neuron.adaptation is not None]
    if turning:
        findings.error(
            "NM201", f"{spec.name} has no resonate-and-fire neuron with an adaptive threshold ({listed(turning, 'population')})",
            where=places(turning), why=spec.features["adaptive_resonator"].note,
            help=("train with a fixed threshold (lava-dl: `rf` or `rf_iz` instead of `adrf` or `adrf_iz`)", FLOAT),
            data={"feature": "adaptive_resonator"},
        )
    reasons: dict[str, list[Population]] = {}
    for p, neuron in _integrators(network):
        reason = None if neuron.adaptation is None else inexpressible(neuron, neuron.adaptation, _weights_into(network, p.name))
        if reason is not None:
            reasons.setdefault(reason, []).append(p)
    for reason, found in reasons.items():
        findings.error(
            "NM201", f"{spec.name} cannot compute the adaptive threshold of {listed(found, 'population')} exactly", where=places(found),
            why=f"{spec.features['adaptive_threshold'].note} Lava's model does not repeat this one: {reason}.",
            help=("train with a fixed threshold, or with lava-dl's `alif`, and export netx", FLOAT),
            data={"feature": "adaptive_threshold"},
        )


def _weights_into(network: Network, name: str) -> Iterator[Array]:
    return (p.connectivity.weights for p in network.projections if p.target == name)


def constant_inputs(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Sigma-delta and resonate-and-fire neurons get no constant input but a sigma-delta neuron's own bias."""
    del options
    targets = {p.name: p.neuron for p in network.populations if isinstance(p.neuron, Resonator | SigmaDelta)}
    driven = [p for p in network.populations if isinstance(p.neuron, Resonator) and p.neuron.drive.any()]
    biased = [network[p.target] for p in network.projections if p.target in targets and p.bias is not None and p.bias.any()]
    found = list(dict.fromkeys([*driven, *biased]))
    if found:
        findings.error(
            "NM203", f"{spec.name}'s sigma-delta and resonate-and-fire neurons take no constant input in every step"
            f" ({listed(found, 'population')})", where=places(found), why=spec.features["constant_input"].note,
            help=("train these layers without a bias", FLOAT), data={"feature": "constant_input"},
        )


def periodic_reset(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A periodic reset sets LIF neurons to 0, which must be where the network's own reset goes."""
    del options
    interval = network.conventions.reset_interval
    if not interval:
        return
    feature = spec.features["periodic_reset"]
    others = [
        p for p in network.populations
        if p.neuron is not None and not (isinstance(p.neuron, Neuron) and p.neuron.adaptation is None)
    ]
    if others:
        findings.error(
            "NM202", f"a reset every {interval} steps reaches integrate-and-fire neurons only, which these are not"
            f" ({listed(others, 'population')})",
            where=places(others), why=feature.note, help=("leave --reset-interval out, and give each sample a run of its own", FLOAT),
            data={"feature": "periodic_reset"},
        )
    elsewhere = [
        (p, neuron) for p, neuron in _integrators(network)
        if neuron.adaptation is None and neuron.spiking and network.conventions.reset == "zero" and neuron.v_reset.any()
    ]
    if elsewhere:
        found = [p for p, _ in elsewhere]
        farthest = max((float(v) for _, neuron in elsewhere for v in neuron.v_reset), key=abs)
        findings.error(
            "NM202", f"the periodic reset sets v to 0, a spike sets it elsewhere ({listed(found, 'population')})", where=places(found),
            why=f"{feature.note} Both of its resets lead to the same value, and here a spike sets v to {farthest:.4g}.",
            help=("train with a reset value of 0 (`v_reset`)", "leave --reset-interval out"), data={"feature": "periodic_reset"},
        )
    if interval & (interval - 1):
        limit = spec.limits["reset_interval"]
        findings.warning(
            "NM206", f"a reset every {interval} steps: Lava computes it, the hardware wants a power of two", where=network.file,
            why=f"{limit.note} ({limit.source})", help=(f"--reset-interval {1 << interval.bit_length()}, with samples of as many steps",),
        )


def payloads(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """What the input sends fits into a message."""
    limit = spec.limits["message_bits"]
    if options.message_bits > limit.max:
        findings.error(
            "NM802", f"the samples hold values from {options.payload[0]} to {options.payload[1]}; a message has {limit.max} bits",
            where=network.file, why=limit.source, help=("scale the samples down",),
        )


def _is_relay(neuron: Neuron) -> bool:
    return not (neuron.alpha.any() or neuron.beta.any())


def spiking_neurons(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Every population spikes: what a non-spiking one sends is a real number, and the chip sends spikes."""
    del options
    silent = [(p, neuron) for p, neuron in _integrators(network) if not neuron.spiking]
    readouts = [p for p, neuron in silent if not _is_relay(neuron)]
    relays = [p for p, neuron in silent if _is_relay(neuron)]
    if readouts:
        findings.error(
            "NM201", f"{spec.name} has no non-spiking neuron whose state can be sent ({listed(readouts, 'population')})",
            where=places(readouts), why=spec.features["li"].note,
            help=_spiking_instead(network, readouts, "put a spiking population (`LIF`, `CubaLIF`, `IF`) in the place of {}"),
            data={"feature": "li"},
        )
    if relays:
        findings.error(
            "NM201", f"{spec.name} has no stage that passes sums on without a neuron ({listed(relays, 'population')})",
            where=places(relays), why=spec.features["relay"].note,
            help=_spiking_instead(network, relays, "fold {} into the weights behind, or put a spiking population there"),
            data={"feature": "relay"},
        )


def _spiking_instead(network: Network, silent: list[Population], inside: str) -> tuple[str, ...]:
    """Return the remedies for populations that do not spike: `inside` for those that others follow, and the one for outputs."""
    inner = [p for p in silent if any(edge.source == p.name != edge.target for edge in network.projections)]
    return (
        *((inside.format(named([p.name for p in inner])),) if inner else ()),
        *(("end the network in a spiking population (`LIF`, `CubaLIF`, `IF`) and count its spikes",) if len(inner) < len(silent) else ()),
        FLOAT,
    )


def decay_factors(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Decay factors lie between 0 and 1: a time step longer than a time constant has no stable equation."""
    del spec, options
    for p, neuron in _integrators(network):
        for label, factor in (("membrane", neuron.beta), ("synaptic current", neuron.alpha)):
            bad = int(np.count_nonzero((factor < 0) | (factor > 1)))
            if bad:
                findings.error(
                    "NM305", f"the {label} decay factor of {counted(bad, 'neuron')} of `{p.name}` is outside 0..1", where=str(p.where),
                    why=f"It is {float(factor.min()):.4g} at dt = {network.conventions.dt} s: the step is longer than the time constant.",
                    help=("give the time step the network was trained with: --dt SECONDS",),
                )


def thresholds(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A neuron without input stays silent: vth is unsigned, counted from the value that the reset sets, and a spike needs more."""
    del options
    conventions, found, lowest = network.conventions, [], []
    for p, neuron in _integrators(network):
        if not neuron.spiking or neuron.adaptation is not None:
            continue
        height = neuron.threshold - (neuron.v_reset if conventions.reset == "zero" else 0)
        if ((height < 0) if conventions.compare == ">" else (height <= 0)).any():
            found.append(p)
            lowest.append(float(height.min()))
    if found:
        findings.error(
            "NM305",
            f"{spec.name}'s neurons have no threshold {'below' if conventions.compare == '>' else 'at or below'} the value they reset to"
            f" ({listed(found, 'population')})", where=places(found),
            why=f"{spec.features['negative_threshold'].note} The lowest here is {min(lowest):.4g} above the reset value, compared with"
            f" `{conventions.compare}`.",
            help=("train with thresholds above the reset value: such a neuron fires without any input", FLOAT),
            data={"feature": "negative_threshold"},
        )


def reset_to_zero(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Resets set the membrane to a value; taking the threshold off is not in the chip's documented neuron models."""
    spiking, reset = _resetting(network), network.conventions.reset
    if reset == "zero" or not spiking:
        return
    if "reset" in options.approximate:
        what = "reset by subtraction" if reset == "subtract" else "delayed reset by subtraction"
        findings.warning(
            "NM205", f"{what} is approximated by a reset to zero ({listed(spiking, 'population')})", where=places(spiking),
            why="The cost is what `chip_vs_float` measures on the given samples.",
        )
    else:
        feature = f"reset_{reset}"
        how = "subtraction" if reset == "subtract" else "delayed subtraction"
        early = f" {spec.features['early_reset'].note}" if network.conventions.early_reset else ""
        findings.error(
            "NM202", f"{spec.name}'s neurons reset to zero, the network's reset by {how}"
            f" ({listed(spiking, 'population')})", where=places(spiking), why=spec.features[feature].note + early,
            help=(
                f"--approximate reset maps it to a reset to zero {_MEASURED}",
                f"if the file was trained with a reset to zero, say so: --reset zero{_besides_reset(network, spec, options)}",
                "train with a reset to zero (snnTorch: reset_mechanism='zero', reset_delay=False)",
            ), data={"approximate": "reset", "feature": feature},
        )


def _besides_reset(network: Network, spec: ChipSpec, options: Options) -> str:
    """Return the rest of the command that takes a network with `--reset zero`: the approximations which that does not make unnecessary."""
    zero = replace(network, conventions=replace(network.conventions, reset="zero", early_reset=False))
    time = Findings()
    realise_time(zero, spec, options, time)
    needed = {
        *(options.approximate - {"reset"}), *(d.data["approximate"] for d in time.errors if "approximate" in d.data),
        *(("multiple",) if zero.conventions.multiple else ()), *(("floor",) if meets_floor(zero, options) else ()),
    }
    return f" --approximate {','.join(sorted(needed))}" if needed else ""


def one_spike(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A neuron sends at most one spike in a step."""
    spiking = _resetting(network)
    if not network.conventions.multiple or not spiking:
        return
    if "multiple" in options.approximate:
        findings.warning(
            "NM205", f"neurons that may send several spikes in a step send one ({listed(spiking, 'population')})",
            where=places(spiking), why="The cost is what `chip_vs_float` measures on the given samples.",
        )
    else:
        findings.error(
            "NM202", f"{spec.name}'s neurons send at most one spike in a step, the network's one for every threshold in the membrane"
            f" ({listed(spiking, 'population')})", where=places(spiking), why=spec.features["multiple_spikes"].note,
            help=(
                f"--approximate multiple sends one {_MEASURED}",
                "train with at most one spike per step (Sinabs: spike_fn=SingleSpike)",
            ), data={"approximate": "multiple", "feature": "multiple_spikes"},
        )


def no_floor(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A membrane has no lower bound but the end of its range."""
    spiking, floor = meets_floor(network, options), network.conventions.floor
    if floor is None or not spiking:
        return
    if "floor" in options.approximate:
        findings.warning(
            "NM205", f"the membranes' lower bound is left out ({listed(spiking, 'population')})",
            where=places(spiking),
            why=f"The network stops them at {floor:g} times the threshold. The cost is what `chip_vs_float` measures on the given samples.",
        )
    else:
        findings.error(
            "NM202", f"{spec.name}'s membranes have no lower bound, the network's stop at {floor:g} times the threshold"
            f" ({listed(spiking, 'population')})", where=places(spiking), why=spec.features["voltage_floor"].note,
            help=(
                f"--approximate floor leaves the bound out {_MEASURED}",
                "train without a lower bound (Sinabs: min_v_mem=None)",
            ), data={"approximate": "floor", "feature": "voltage_floor"},
        )


def delays(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Hops fit into the delays of every loop, and delays into their field."""
    found = Findings()
    realise_time(network, spec, options, found)
    # Quantization realises the delays again and tells what was approximated.
    findings.extend(found.errors)


def lossless_bias(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """A bias into a synaptic current that never decays grows without bound."""
    del spec, options
    neurons = {p.name: neuron for p, neuron in _integrators(network)}
    for p in network.projections:
        neuron = neurons.get(p.target)
        if p.bias is not None and neuron is not None and ((neuron.alpha >= 1) & (p.bias != 0)).any():
            count = int(np.count_nonzero((neuron.alpha >= 1) & (p.bias != 0)))
            findings.error("NM203", f"a bias leads into a current that never decays, at {counted(count, 'neuron')} of `{p.target}`",
                           where=str(p.where))


def shared_kernels(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Neurons of one output channel share their kernel row, so they must share their input gain."""
    del spec, options
    neurons = {p.name: neuron for p, neuron in _integrators(network)}
    for p in network.projections:
        neuron = neurons.get(p.target)
        if not isinstance(p.connectivity, Conv2d) or neuron is None:
            continue
        gain = (neuron.gain_in * neuron.gain_v).reshape(p.connectivity.out_shape[0], -1)
        if not np.allclose(gain, gain[:, :1], rtol=1e-6, atol=0):
            findings.error(
                "NM203", f"neurons of one channel of `{p.target}` have different input gains, but share the kernel of `{p.name}`",
                where=str(p.where), why="The gain (r, tau, dt) is folded into the weights; a kernel row has one value for all positions.",
                help=("use one tau and one r per channel",),
            )


def delayed_convolutions(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Convolution synapses carry no delay."""
    del options
    for p in network.projections:
        if isinstance(p.connectivity, Conv2d) and p.delays is not None:
            findings.error(
                "NM203", f"convolution `{p.name}` has synaptic delays, which {spec.name} offers for dense and sparse synapses only",
                where=str(p.where),
            )


RULES: tuple[Rule, ...] = (
    weight_bits, payloads, neuron_models, constant_inputs, spiking_neurons, decay_factors, thresholds, reset_to_zero, periodic_reset,
    one_spike, no_floor, delays, lossless_bias, shared_kernels, delayed_convolutions,
)
