"""Run a target's design rules: all of them, all findings together, each with the one command that would do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

from nmap.diagnostics import Diagnostic, Exit, Findings, NmapError, named
from nmap.network import Network, Neuron, Population, Projection
from nmap.options import Options
from nmap.target.backend import Target
from nmap.target.spec import ChipSpec

__all__ = ["FLOAT", "have", "meets_floor", "models_of", "names_of", "neurons_of", "places", "refusal", "run_rules"]

FLOAT: Final = "`nmap run NET --level float --input SAMPLES` runs the network as it is, without a chip"
"""A remedy for networks that no change makes fit for a chip."""


def refusal(findings: Findings) -> Exit:
    """Return the exit status of recorded errors: wrong usage when an option is wrong, else a network that breaks a rule."""
    return Exit.USAGE if any(d.code == "NM004" for d in findings.errors) else Exit.DOES_NOT_FIT


def places(things: Sequence[Population] | Sequence[Projection]) -> str:
    """Return where the first six come from: the file, and the place of each in it."""
    return ", ".join([str(things[0].where), *(p.where.path for p in things[1:6])])


def names_of(things: Sequence[Population] | Sequence[Projection]) -> str:
    """Return names for a message."""
    return named([p.name for p in things])


def models_of(populations: Sequence[Population]) -> str:
    """Return names for a message, with the files' names of the neurons' models."""
    models = sorted({p.neuron.model for p in populations if p.neuron is not None})
    return f"{names_of(populations)} ({', '.join(models)})"


def have(things: Sequence[Population] | Sequence[Projection]) -> str:
    """Return the verb behind names."""
    return "has" if len(things) == 1 else "have"


def neurons_of(network: Network) -> Iterator[tuple[Population, Neuron]]:
    """Yield the populations of integrate-and-fire neurons and leaky integrators."""
    return ((p, p.neuron) for p in network.populations if isinstance(p.neuron, Neuron))


def run_rules(network: Network, target: Target, options: Options, findings: Findings) -> int:
    """Check a network against a target's rules.

    An error may say in its `data` what would lift it: `approximate`, a name of the target's approximations that its first remedy tells of;
    and `feature`, the key of the target's features it is about. Where several approximations are needed, every such remedy names all of
    them; where other installed targets have the feature, or have it exactly where this one approximates it, a remedy names those.

    Args:
        network: as read.
        target: the chip.
        options: the user's choices, among them the approximations they allow.
        findings: receives warnings and notes.

    Returns:
        The number of rules that ran.

    Raises:
        NmapError: with every error of every rule; exit status `DOES_NOT_FIT`, or `USAGE` when an option is wrong.
    """
    found = Findings()
    for rule in target.rules:
        rule(network, target.spec, options, found)
    findings.extend(_with_other_targets(_with_one_command(tuple(found), options), target))
    findings.raise_errors(refusal(findings))
    return len(target.rules)


def meets_floor(network: Network, options: Options) -> list[Population]:
    """Return the populations whose membrane may fall below the floor of the network's conventions; none where there is no floor.

    A membrane that never receives anything negative stays at 0 or above, so that a floor below 0 changes nothing.
    """
    conventions = network.conventions
    if conventions.floor is None:
        return []
    # A reset in the next step, or in advance, may take a threshold off a membrane that does not hold it any more.
    falls = conventions.floor > 0 or conventions.reset == "delayed" or conventions.early_reset
    return [
        p for p in network.populations
        if isinstance(p.neuron, Neuron) and p.neuron.spiking and p.neuron.adaptation is None
        and (falls or _may_fall(network, p, p.neuron, options))
    ]


def _may_fall(network: Network, population: Population, neuron: Neuron, options: Options) -> bool:
    constants = (neuron.threshold, neuron.v_reset, neuron.drive, neuron.beta, neuron.alpha, neuron.gain_in * neuron.gain_v)
    if any((values < 0).any() for values in constants):
        return True
    for p in network.projections:
        if p.target != population.name:
            continue
        source = network[p.source]
        negative = options.payload[0] < 0 if source.neuron is None else not isinstance(source.neuron, Neuron) or source.silent
        if negative or (p.connectivity.weights < 0).any() or (p.bias is not None and (p.bias < 0).any()):
            return True
    return False


def _with_one_command(found: Iterable[Diagnostic], options: Options) -> list[Diagnostic]:
    found = list(found)
    needed = {d.data["approximate"] for d in found if d.severity == "error" and "approximate" in d.data} | options.approximate
    if len(needed) < 2:
        return found
    remedy = f"--approximate {','.join(sorted(needed))} takes all that can be approximated and measures what that costs on --input"
    return [
        replace(d, help=(remedy, *d.help[1:])) if d.severity == "error" and "approximate" in d.data else d for d in found
    ]


def _level(spec: ChipSpec, feature: str) -> int:
    """Return how well a chip does what a feature asks for: 0 not at all, 2 exactly."""
    return 0 if feature not in spec.features else ("refused", "approximate", "exact").index(spec.features[feature].level)


def _with_other_targets(found: Iterable[Diagnostic], target: Target) -> list[Diagnostic]:
    found = list(found)
    asked = {
        feature: _level(target.spec, feature) for feature in (d.data.get("feature") for d in found if d.severity == "error") if feature
    }
    if not asked:
        return found
    from nmap.target.registry import find_target, target_names

    able: dict[str, list[str]] = {feature: [] for feature in asked}
    for name in target_names():
        if name == target.name:
            continue
        try:
            spec = find_target(name).spec
        except NmapError:
            # A plug-in that cannot be loaded takes nothing; `nmap doctor` says why.
            continue
        for feature, own in asked.items():
            level = _level(spec, feature)
            if level > own:
                able[feature].append(f"`{name}`" + (" (approximately)" if level == 1 else ""))
    return [
        replace(d, help=(*d.help[:2], f"installed targets that take it: {', '.join(able[d.data['feature']])}"))
        if d.severity == "error" and able.get(d.data.get("feature", "")) else d
        for d in found
    ]
