"""Relays: populations that pass spikes on, for delays beyond a neuron's own and for neurons with more targets than copies are good for.

A neuron sends to one axon. A source p therefore needs f targets, summed over the cores that hear it: the axons that it has there, and one
for every output. In-core copies give them at no tick's cost: f identical neurons on one core, m f / 256 cores for m neurons, all of which
hear the layer before. A splitter, `X.split`, is a relay for each neuron, one tick later, whose copies have one axon in place of a whole
fan-in: the layer itself keeps m / 256 cores, so that the layer before it needs fewer targets in turn. Which layers have one is decided
from the number of cores that all layers need together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense
from nmap.diagnostics import Findings, named
from nmap.ordering import components
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.spec import ChipSpec
from nmap_truenorth.codes import code_of
from nmap_truenorth.draft import FORMAT, Draft, Edge, Unit, identity, nonzero, relay_parameters
from nmap_truenorth.neuron import NEURON

__all__ = ["Layer", "Plan", "chained", "longest_delay", "plan", "with_splitters"]

_ENUMERATED = 10
"""Layers that might have a splitter up to which all ways are tried; beyond, they are decided one by one."""


# ---- delays -----------------------------------------------------------------------------------------------------------------------------


def longest_delay(spec: ChipSpec) -> int:
    """Return the largest delay beyond the hop that a chain of relays and a neuron's own make."""
    own = spec.limits["delay"].max
    return own + spec.limits["relays"].max * (own + 1)


def chained(network: QuantizedNetwork, draft: Draft, spec: ChipSpec, findings: Findings) -> QuantizedNetwork:
    """Return the network with chains of relays where a delay exceeds a neuron's own.

    All projections of a source share its chain. Synapses of one projection whose delays end at different relays become one projection for
    each of these, the first of which keeps the name.

    Args:
        network: in the chip's time, delays of any length.
        draft: knows the names that are taken.
        spec: the largest delay of a neuron.
        findings: receives a note that says how many relays there are.
    """
    own = spec.limits["delay"].max
    draft = replace(draft, taken=set(draft.taken))
    projections: list[QuantizedProjection] = []
    chains: dict[str, list[tuple[QuantizedPopulation, QuantizedProjection]]] = {}
    for p in network.projections:
        for number, (relays, connectivity, delays) in enumerate(_sections(p, own + 1)):
            source, chain = p.source, chains.setdefault(p.source, [])
            while len(chain) < relays:
                chain.append(_relay(network[p.source], chain, draft, own, p))
            if relays:
                source = chain[relays - 1][0].name
            least = p.delay - relays * (own + 1)
            if delays is not None:
                # What a relay overshoots of the projection's own delay is taken off its synapses', which are that long.
                delays, least = delays + min(least, 0), max(least, 0)
            name = p.name if number == 0 else draft.fresh(f"{p.name}.late")
            projections.append(replace(p, name=name, source=source, connectivity=connectivity, delay=least, delays=delays))
    made = [pair for chain in chains.values() for pair in chain]
    if not made:
        return network
    findings.note(
        "NM204", f"{sum(population.size for population, _ in made)} relay neurons make delays beyond {own + 1} ticks",
        where=str(made[0][0].where),
        why=f"{named([population.name for population, _ in made])}: each passes on, {own + 1} ticks later, what it hears.",
        data={"populations": [population.name for population, _ in made]},
    )
    populations = [q for population in network.populations for q in (population, *(r for r, _ in chains.get(population.name, ())))]
    return replace(network, populations=tuple(populations), projections=(*projections, *(feed for _, feed in made)))


def _sections(p: QuantizedProjection, span: int) -> list[tuple[int, Connectivity, Array | None]]:
    """Return the parts of a projection by the number of relays before them: (relays, synapses, their delays)."""
    if p.delays is None or p.delay + int(p.delays.max(initial=0)) < span:
        return [(p.delay // span, p.connectivity, p.delays)]
    relays, weights = (p.delay + p.delays) // span, p.connectivity.weights
    parts: list[tuple[int, Connectivity, Array | None]] = []
    for relay in np.unique(relays[weights != 0]).tolist():
        here = (relays == relay) & (weights != 0)
        # Synapses of weight 0 get the least delay of the section.
        delays = np.where(here, p.delays, max(relay * span - p.delay, 0))
        parts.append((relay, p.connectivity.with_weights(np.where(here, weights, 0).astype(np.int32)), delays))
    return parts or [(p.delay // span, p.connectivity, np.zeros_like(p.delays))]


def _relay(
    source: QuantizedPopulation, chain: Sequence[tuple[QuantizedPopulation, QuantizedProjection]], draft: Draft, own: int,
    p: QuantizedProjection,
) -> tuple[QuantizedPopulation, QuantizedProjection]:
    """Return the next population of a source's chain, and the synapses that feed it."""
    name = draft.fresh(f"{source.name}.relay{len(chain) + 1 if chain else ''}")
    before = chain[-1][0] if chain else source
    population = QuantizedPopulation(
        name, source.shape, NEURON.name, relay_parameters(source.size), p.where, scale=np.ones(1),
        latency=before.latency + own + 1,
    )
    feed = QuantizedProjection(f"{before.name}->{name}", before.name, name, identity(source.shape), FORMAT, own, p.where)
    return population, feed


# ---- fan-out ----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layer:
    """A population as the closed forms see it.

    Args:
        name: of the population.
        neurons: number of its neurons.
        output: whether it is read from outside, which takes one target.
        port: whether spikes are injected, at any number of axons.
        into: by target population: axons that a source has on a core there, and the share of that population's cores on which it is heard;
            a loop makes a population its own target.
        may_split: whether a tick more on its way can be made up for: not inside a loop.
    """

    name: str
    neurons: int
    output: bool
    port: bool
    into: Mapping[str, tuple[float, float]]
    may_split: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """Which layers have a splitter, and the cores that the closed forms count with them and without any."""

    split: frozenset[str]
    cores: int
    without: int


def plan(layers: Sequence[Layer], size: int) -> Plan:
    """Return the ways out of each layer with the fewest cores; in case of a tie, the fewest splitters.

    Args:
        layers: in an order in which targets come after their sources, but for loops.
        size: neurons of a core.
    """
    able = [layer.name for layer in layers if layer.may_split and not layer.port]
    without = _cores(layers, frozenset(), size)
    best = (without, 0, frozenset[str]())
    if len(able) <= _ENUMERATED:
        for chosen in product((False, True), repeat=len(able)):
            split = frozenset(name for name, taken in zip(able, chosen, strict=True) if taken)
            cores = _cores(layers, split, size)
            if (cores, len(split)) < best[:2]:
                best = (cores, len(split), split)
    else:
        for name in reversed(able):
            split = best[2] | {name}
            cores = _cores(layers, split, size)
            if cores < best[0]:
                best = (cores, len(split), split)
    return Plan(best[2], best[0], without)


def _cores(layers: Sequence[Layer], split: frozenset[str], size: int) -> int:
    """Return the cores that all layers need, splitters included."""
    cores: dict[str, int] = {}
    total = 0
    for layer in reversed(layers):
        if layer.port:
            continue
        others = sum(_targets(share, cores[name]) for name, share in layer.into.items() if name != layer.name and name in cores)
        outwards = others + layer.output
        here = _holding(layer.neurons, 1 if layer.name in split else max(outwards, 1), size)
        if layer.name in layer.into:
            # Copies for the loop make cores, and cores make copies.
            for _ in range(size):
                loop = _targets(layer.into[layer.name], here)
                wanted = _holding(layer.neurons, (1 if layer.name in split else outwards) + loop, size)
                if wanted <= here:
                    break
                here = wanted
        cores[layer.name] = here
        total += here + (_holding(layer.neurons, max(outwards, 1), size) if layer.name in split else 0)
    return total


def _targets(share: tuple[float, float], cores: int) -> int:
    axons, part = share
    return int(np.ceil(axons * max(1.0, part * cores)))


def _holding(neurons: int, columns: int, size: int) -> int:
    """Return the cores that hold neurons of so many columns each; a neuron that fills more than a core counts as that many."""
    return -(-neurons // (size // columns)) if columns <= size else neurons * -(-columns // size)


def with_splitters(draft: Draft, network: QuantizedNetwork, spec: ChipSpec, findings: Findings) -> Draft:
    """Return the draft with relay populations behind the layers whose fan-out they make cheaper.

    Args:
        draft: the network in integers.
        network: the same in the chip's time.
        spec: neurons of a core.
        findings: receives a note for every splitter.
    """
    together = components([unit.name for unit in draft.units], [(edge.source, edge.target) for edge in draft.edges])
    loop = {name: number for number, names in enumerate(together) for name in names}
    order = [name for names in together for name in names]
    layers = [_layer(draft, network, name, loop) for name in order]
    found = plan(layers, spec.resources["neurons"].max)
    for name in [name for name in order if name in found.split]:
        draft = _split(draft, name, loop)
        findings.note(
            "NM203", f"`{name}` reaches its targets through a splitter, one tick later", where=str(draft[name].where),
            why=f"With splitters the closed forms count {found.cores} cores, with copies of the neurons alone {found.without}.",
            data={"population": name, "cores": found.cores, "without": found.without},
        )
    return draft


def _layer(draft: Draft, network: QuantizedNetwork, name: str, loop: Mapping[str, int]) -> Layer:
    unit, into = draft[name], {}
    for target in dict.fromkeys(edge.target for edge in draft.out_of(name)):
        code = code_of(network, target)
        axons = 0 if code is None else code.axons
        reach = max(_reach(edge) for edge in draft.out_of(name) if edge.target == target)
        into[target] = (float(axons), reach)
    outwards = [edge for edge in draft.out_of(name) if loop[edge.target] != loop[name]]
    return Layer(name, unit.size, name in network.outputs, unit.params is None, into, bool(outwards))


def _reach(edge: Edge) -> float:
    """Return the share of the target's cores in which a source is heard: of its neurons, where these lie together."""
    connectivity = edge.connectivity
    if isinstance(connectivity, Dense):
        return 1.0
    if isinstance(connectivity, Conv2d):
        # A source is heard by the windows over it, which lie side by side.
        _, height, width = connectivity.out_shape
        (kh, kw), (sh, sw) = connectivity.kernel_size, connectivity.stride
        return min(1.0, -(-kh // sh) / height) * min(1.0, -(-kw // sw) / width) / connectivity.groups
    return float(min(1.0, nonzero(connectivity).sum() / max(1, connectivity.in_size) / max(1, connectivity.out_size)))


def _split(draft: Draft, name: str, loop: Mapping[str, int]) -> Draft:
    """Return the draft with a relay for every neuron, from which all projections read that leave the neuron's loop."""
    unit = draft[name]
    start = np.zeros(unit.size, np.int64)
    split = Unit(draft.fresh(f"{name}.split"), unit.shape, unit.where, relay_parameters(unit.size), start, np.ones(1))
    feed = Edge(draft.fresh(f"{name}->{split.name}"), name, split.name, identity(unit.shape), 0, unit.where)
    # Inside a loop a tick more is a tick too many.
    changed: dict[str, tuple[Edge, ...]] = {
        edge.name: (replace(edge, source=split.name),)
        for edge in draft.out_of(name) if edge.target in loop and loop[edge.target] != loop[name]
    }
    drafted = draft.with_edges(changed)
    place = draft.units.index(unit) + 1
    return replace(drafted, units=(*draft.units[:place], split, *draft.units[place:]), edges=(*drafted.edges, feed))
