"""Design rules of Loihi 1: what its compartments cannot do that Loihi 2's neurons can, and the rules that both have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from nmap.diagnostics import Findings
from nmap.network import Model, Network, Neuron, Resonator, SigmaDelta
from nmap.options import Options
from nmap.rules import places
from nmap.target.backend import Rule
from nmap.target.spec import ChipSpec
from nmap_loihi2 import rules
from nmap_loihi2.rules import FLOAT, listed

__all__ = ["RULES"]

_LIF: Final = "train with leaky integrate-and-fire neurons (lava-dl: `cuba`)"

_FOREIGN: Final[dict[str, tuple[str, str, Callable[[Model], bool]]]] = {
    "resonator": ("resonate-and-fire neuron", _LIF, lambda n: isinstance(n, Resonator)),
    "sigma_delta": ("sigma-delta neuron", _LIF, lambda n: isinstance(n, SigmaDelta)),
    "adaptive_threshold": (
        "adaptive threshold", "train with fixed thresholds (lava-dl: `cuba` instead of `alif`)",
        lambda n: not isinstance(n, SigmaDelta) and n.adaptation is not None,
    ),
}
"""By feature: what the chip lacks, how to do without, and which neurons ask for it."""


def compartments(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Neurons are compartments of fixed function: a current and a membrane that leak, a fixed threshold, binary spikes."""
    del options
    for feature, (what, remedy, asks) in _FOREIGN.items():
        found = [p for p in network.populations if p.neuron is not None and asks(p.neuron)]
        if found:
            findings.error(
                "NM201", f"{spec.name} has no {what} ({listed(found, 'population')})", where=places(found), why=spec.features[feature].note,
                help=(remedy, FLOAT), data={"feature": feature},
            )


def binary_spikes(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Spikes carry no payload."""
    if options.message_bits:
        findings.error(
            "NM203", f"the samples hold values from {options.payload[0]} to {options.payload[1]}; {spec.name}'s spikes are binary",
            where=places([network[name] for name in network.inputs]), why=spec.features["graded"].note,
            help=("encode the values as spikes over time", "events that add up: store `binary` = True beside them"),
            data={"feature": "graded"},
        )


def no_periodic_reset(network: Network, spec: ChipSpec, options: Options, findings: Findings) -> None:
    """Nothing resets a compartment between its spikes."""
    del options
    interval = network.conventions.reset_interval
    spiking = [p for p in network.populations if isinstance(p.neuron, Neuron)]
    if interval and spiking:
        findings.error(
            "NM202", f"{spec.name}'s neurons are not reset every {interval} steps ({listed(spiking, 'population')})", where=places(spiking),
            why=spec.features["periodic_reset"].note,
            help=("give each sample a run of its own: states are reset before it", FLOAT), data={"feature": "periodic_reset"},
        )


_REPLACED: Final = (rules.neuron_models, rules.constant_inputs, rules.periodic_reset, rules.payloads)
RULES: tuple[Rule, ...] = (
    compartments, binary_spikes, no_periodic_reset, *(rule for rule in rules.RULES if rule not in _REPLACED),
)
