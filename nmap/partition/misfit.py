"""Why a network does not fit, with the arithmetic, and remedies that were tried on the numbers."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.diagnostics import Diagnostic
from nmap.partition.problem import Item, PackingProblem, PackingSolution
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.backend import Target
from nmap.target.machine import Machine, cores_of

__all__ = ["explain_neuron", "more_cores", "too_many_cores"]


def _number(value: int) -> str:
    return f"{value:,}".replace(",", " ")


def _fan_in(connectivity: Connectivity) -> int:
    """Return the largest number of synapses of one target neuron."""
    if isinstance(connectivity, Dense):
        return connectivity.in_size
    if isinstance(connectivity, Sparse):
        return int(np.diff(connectivity.indptr).max(initial=0))
    return prod(connectivity.weights.shape[1:])


def _one_neuron(connectivity: Connectivity, synapses: int) -> tuple[Connectivity, tuple[int, ...]]:
    """Return a connection onto a single neuron that keeps at most that many of the largest fan-in's synapses, and its source shape."""
    if isinstance(connectivity, Dense):
        keep = max(1, min(synapses, connectivity.in_size))
        return Dense(connectivity.weights[:1, :keep]), (keep,)
    if isinstance(connectivity, Sparse):
        row = int(np.diff(connectivity.indptr).argmax())
        keep = max(1, min(synapses, _fan_in(connectivity)))
        first = int(connectivity.indptr[row])
        weights = connectivity.weights[first : first + keep]
        return Sparse(np.array([0, keep]), np.arange(keep), weights, keep), (keep,)
    kh, kw = connectivity.kernel_size
    keep = max(1, min(synapses // (kh * kw), connectivity.weights.shape[1]))
    dh, dw = connectivity.dilation
    shape = (keep, (kh - 1) * dh + 1, (kw - 1) * dw + 1)
    return Conv2d(connectivity.weights[:1, :keep], shape, dilation=connectivity.dilation), shape


def _alone(
    network: QuantizedNetwork, population: QuantizedPopulation, synapses: int | None = None, bits: int | None = None,
) -> QuantizedNetwork:
    """Return a network of one neuron of the population with its inputs, each projection cut to at most `synapses` of them."""
    rank = len(population.shape)
    neuron = QuantizedPopulation(
        population.name, (1,) * rank, population.kernel, {name: values[:1] for name, values in population.params.items()}, population.where,
        {name: values[:1] for name, values in population.initial.items()}, None, population.latency,
    )
    sources: list[QuantizedPopulation] = []
    projections: list[QuantizedProjection] = []
    for number, projection in enumerate(network.afferents(population.name)):
        limit = _fan_in(projection.connectivity) if synapses is None else synapses
        connectivity, shape = _one_neuron(projection.connectivity, limit)
        source = QuantizedPopulation(f"input {number} of {population.name}", shape, None, {}, projection.where)
        style = projection.format if bits is None else replace(projection.format, bits=min(bits, projection.format.bits))
        sources.append(source)
        delays = None if projection.delays is None else projection.delays[:1, : prod(shape)]
        projections.append(replace(projection, source=source.name, connectivity=connectivity, format=style, delays=delays))
    return QuantizedNetwork((*sources, neuron), tuple(projections), tuple(s.name for s in sources), (population.name,))


def _fits(network: QuantizedNetwork, target: Target, machine: Machine, population: QuantizedPopulation) -> bool:
    amount = target.demand_at_most(network, population.name, (1,) * len(population.shape))
    return all(amount[name] <= limit for name, limit in machine.largest.items())


def _remedies(network: QuantizedNetwork, target: Target, machine: Machine, population: QuantizedPopulation) -> list[str]:
    if any(p.delays is not None and not isinstance(p.connectivity, Dense) for p in network.afferents(population.name)):
        return []
    where = f"a core of {machine.spec.name}"
    remedies = []
    fan_ins = [_fan_in(p.connectivity) for p in network.afferents(population.name)]
    if not fan_ins:
        return []
    low, high = 0, max(fan_ins)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _fits(_alone(network, population, middle), target, machine, population) else (low, middle)
    if low:
        kept = sum(_fan_in(p.connectivity) for p in _alone(network, population, low).projections)
        share = round(100 * (1 - kept / sum(fan_ins)))
        remedies.append(
            f"keep at most {_number(kept)} of the {_number(sum(fan_ins))} inputs of a neuron of `{population.name}` "
            f"(prune {share} %): one neuron then fits {where}"
        )
    for projection in network.afferents(population.name):
        shape = network[projection.source].shape
        if isinstance(projection.connectivity, Dense) and len(shape) == 3 and min(shape[1:]) >= 2:
            pooled = shape[0] * (shape[1] // 2) * (shape[2] // 2)
            if len(fan_ins) == 1 and pooled <= low:
                remedies.append(f"sum-pool 2x2 before `{population.name}`: {_number(pooled)} inputs, one neuron then fits {where}")
    most = max(p.format.bits for p in network.afferents(population.name))
    for bits in range(most - 1, 0, -1):
        if _fits(_alone(network, population, bits=bits), target, machine, population):
            remedies.append(f"store weights in {bits} bits instead of {most} (`--bits {bits}`): one neuron then fits {where}")
            break
    return remedies[:3]


def explain_neuron(network: QuantizedNetwork, target: Target, machine: Machine, population: QuantizedPopulation) -> Diagnostic:
    """Return NM401 for a population of which not even one neuron fits an empty core."""
    need = target.demand_at_most(network, population.name, (1,) * len(population.shape))
    lines, sources, data = [], [], {}
    for name, resource in machine.spec.resources.items():
        amount = int(need[name])
        data[name] = {"need": amount, "limit": resource.max}
        if amount > resource.max:
            lines.append(
                f"{resource.title}: one neuron needs {_number(amount)}, a core has {_number(resource.max)}: over by "
                f"{_number(amount - resource.max)} ({amount / resource.max:.2g}x)."
            )
            sources.append(f"{resource.title}: chip.toml [resources.{name}], {resource.source}")
    why = " ".join((
        *lines, "A neuron's inputs must all arrive at one core, so cutting the population into smaller shards cannot help.",
        f"Limits: {'; '.join(sources)}.",
    ))
    return Diagnostic(
        "NM401", "error", f"no core of {machine.spec.name} can hold even one neuron of `{population.name}`", str(population.where), why,
        tuple(_remedies(network, target, machine, population)), data,
    )


def too_many_cores(machine: Machine, problem: PackingProblem, packing: PackingSolution, layers: list[tuple[str, Item]]) -> Diagnostic:
    """Return NM402.

    Args:
        machine: what there is.
        problem, packing: what was asked and answered; `packing.clusters` cores are enough, and its bound is above the cores there are.
        layers: population and item, in the problem's order.
    """
    demand: dict[str, Array] = {}
    for name, item in layers:
        demand[name] = demand.get(name, np.zeros(len(problem.resources))) + item.least_demand() / problem.capacity
    worst = sorted(demand, key=lambda name: -float(demand[name].max()))[:3]
    titles = [machine.spec.resources[name].title for name in problem.resources]
    shares = [f"`{name}` {demand[name].max():.1f} cores ({titles[int(demand[name].argmax())]})" for name in worst]
    return Diagnostic(
        "NM402", "error",
        f"the network needs at least {_number(packing.lower_bound)} cores, and {machine.spec.name}:{machine.variant} has "
        f"{_number(problem.cores)} usable ones",
        why=f"Lower bound proved; {_number(packing.clusters)} cores are enough. Largest shares: {', '.join(shares)}.",
        help=more_cores(machine, problem, packing),
        data={
            "available": problem.cores, "lower_bound": packing.lower_bound, "enough": packing.clusters,
            "layers": {name: float(values.max()) for name, values in demand.items()},
        },
    )


def more_cores(machine: Machine, problem: PackingProblem, packing: PackingSolution) -> tuple[str, ...]:
    """Return remedies that offer the `packing.clusters` cores which are known to be enough."""
    variant = machine.spec.variants[machine.variant]
    chips = machine.chips + -(-(packing.clusters - problem.cores) // variant.cores)
    enough = f"{_number(packing.clusters)} are enough"
    unusable = cores_of(variant, machine.chips) - problem.cores
    while chips < variant.max_chips and cores_of(variant, chips) - unusable < packing.clusters:
        chips += 1
    if chips <= variant.max_chips and cores_of(variant, chips) - unusable >= packing.clusters:
        remedies = [f"`--chips {chips}`: {_number(cores_of(variant, chips) - unusable)} cores, {enough}"]
    else:
        remedies = [
            f"`--target {machine.spec.name}:{name}`: {_number(cores_of(other, other.chips))} cores, {enough}"
            for name, other in machine.spec.variants.items()
            if cores_of(other, other.chips) >= packing.clusters
        ][:1]
    if machine.dead and packing.clusters <= problem.cores + len(machine.dead):
        remedies.append(f"without the {len(machine.dead)} dead cores it would fit")
    return tuple(remedies)
