"""Populations with sparse afferents, cut neuron by neuron: who shares a core is decided by shared inputs, not by numbering.

All such populations of a network make up one `PartitionProblem`, whose answer is a set of *bunches*: the neurons that share a core. A
bunch is then one indivisible item of the packing problem, so that what it leaves free can take slices of regular populations.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import lcm

import numpy as np

from nmap.connectivity import Array, Conv2d, Sparse
from nmap.distinct import distinct
from nmap.mapping import Shard
from nmap.partition.neurons import Partition, PartitionProblem, check_partition, cluster_loads
from nmap.partition.partitioner import Budget, Partitioner
from nmap.partition.problem import Item, PackingSolution, Piece
from nmap.place.board import Board
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Target

__all__ = ["Bunch", "Bunches", "Priced", "bunch_shards", "cut_irregular", "irregular_populations", "neuron_problem"]

_MOST_PINS = 1 << 24
"""Synapses of all irregular populations together beyond which they are cut into runs: some 200 bytes each are needed at a time."""

_DENSE = 8
"""Axons that reach more than one in so many neurons on average: any choice of neurons shares most of them."""

_FULL = 64
"""Steps between the least and the most prices of axons."""
_USUAL = 36
"""Prices to begin with. Rests of words that are spread evenly make 32; lists of full cores were seen to take 31 to 35."""


@dataclass(frozen=True, slots=True, eq=False)
class Bunch:
    """Neurons of irregular populations that share a core.

    Args:
        population: the one with most neurons in it, for messages.
        parts: (population, ascending neurons (k,) int64, exact demand), in the network's order of populations.
        item: the packing problem's view of it, one unit. Its floors hold for the sum over all bunches of a network.
        exact: False, see `Lane.exact`.
    """

    population: str
    parts: tuple[tuple[str, Array, dict[str, int]], ...]
    item: Item
    exact: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Bunches:
    """The irregular part of a network.

    Args:
        bunches: its neurons, each in one bunch.
        lower_bound: proved: these populations alone need so many cores.
        slot: (bunches,) int64 slot of the board that was asked for, None without one.
    """

    bunches: tuple[Bunch, ...] = ()
    lower_bound: int = 0
    slot: Array | None = None

    def settled(self) -> PackingSolution:
        """Return the packing with every bunch on a core of its own; its bound and status are those of this way of cutting."""
        pieces = tuple(Piece(number, 1, number) for number in range(len(self.bunches)))
        return PackingSolution(pieces, len(pieces), len(pieces), "optimal")


def irregular_populations(network: QuantizedNetwork) -> tuple[str, ...]:
    """Return the populations to cut neuron by neuron, in the network's order.

    Those with dense and sparse afferents only, where a source of a sparse one has several targets, so that it matters which targets
    share a core; and those that such a population drives one to one, which should follow its cut.
    """
    sparse: dict[str, list[tuple[str, Sparse]]] = {}
    for population in network.populations:
        afferents = [(p.source, p.connectivity) for p in network.afferents(population.name)]
        if population.kernel is not None and not any(isinstance(whole, Conv2d) for _, whole in afferents):
            sparse[population.name] = [(source, whole) for source, whole in afferents if isinstance(whole, Sparse)]
    chosen = {
        name for name, afferents in sparse.items()
        if any(np.bincount(whole.indices, minlength=1).max() > 1 for _, whole in afferents)
    }
    while True:
        more = {name for name, afferents in sparse.items() if name not in chosen and any(source in chosen for source, _ in afferents)}
        if not more:
            return tuple(p.name for p in network.populations if p.name in chosen)
        chosen |= more


@dataclass(frozen=True, slots=True, eq=False)
class _Axons:
    """Axons being collected.

    Args:
        source: (axons,) int64 neuron of the whole network, -1 for what is no axon of one neuron.
        count: (axons,) int64, number of targets.
        target: (pins,) int64, ascending within an axon.
        amount: (2, R, axons) int64, what it takes of a core at most and at least.
        rate: (axons,) float64.
    """

    source: Array
    count: Array
    target: Array
    amount: Array
    rate: Array


def _axons(source: Array, target: Array, neurons: int, amount: Array, rate: Array, first: int = 0) -> _Axons:
    """Return one axon per distinct source of the synapses (source, target).

    Args:
        source, target: (synapses,) int64, the source as a neuron of the whole network.
        neurons: number of targets there are.
        amount: (2, R, 1), or (2, R, sources) from source `first` on.
        rate: of every neuron of the network.
        first: see `amount`.
    """
    pins = distinct(source * neurons + target)
    owner = pins // neurons
    first_pin = np.flatnonzero(np.append(True, owner[1:] != owner[:-1])[: owner.size])
    sources, count = owner[first_pin], np.diff(np.append(first_pin, owner.size))
    columns = np.zeros_like(sources) if amount.shape[2] == 1 else sources - first
    return _Axons(sources, count, pins % neurons, amount[:, :, columns], rate[sources])


def _both(most: Array, least: Array) -> Array:
    """Return two arrays of prices, (R, 1) or (R, sources) each, as one."""
    return np.stack(np.broadcast_arrays(most, least))


@dataclass(frozen=True, slots=True, eq=False)
class Priced:
    """A partition problem in a target's prices.

    Args:
        problem: its prices are never too low.
        least: (R, axons) int64, what its axons take at least.
        scale: of the prices, see `NeuronDemand`.
    """

    problem: PartitionProblem
    least: Array
    scale: int


def neuron_problem(
    network: QuantizedNetwork, target: Target, names: tuple[str, ...], capacity: dict[str, int], cores: int, slack: float,
    rates: dict[str, Array] | None = None, board: Board | None = None,
) -> Priced:
    """Return the problem of sharing out the neurons of some populations, numbered one population after the other.

    A source with synapses in several projections takes an input axon per projection and sends one packet per core: it becomes one
    axon per projection, which costs memory, and one over all of them, which costs packets. What a core pays once for a population
    (also the axons of dense afferents, which all of its neurons share) is an axon to all of its neurons; its packets are counted
    apart, even if a source has sparse synapses on the same core. Where the chip has a price for routes, which are one per projection,
    packets are counted per projection, too.

    Args:
        network, target: as in `map_network`.
        names: of the populations.
        capacity: of one core by resource.
        cores, slack, board: as in `PartitionProblem`.
        rates: as in `map_network`.
    """
    prices = {name: target.neuron_demand(network, name) for name in names}
    scale = lcm(*(price.scale for price in prices.values()))
    routed = any(price.route.any() for price in prices.values())
    sizes = [network[name].size for name in names]
    neurons = sum(sizes)
    start = dict(zip(names, np.cumsum([0, *sizes]).tolist(), strict=False))
    first = dict(zip((p.name for p in network.populations), np.cumsum([0, *(p.size for p in network.populations)]).tolist(), strict=False))
    rate = np.concatenate([
        np.ones(p.size) if rates is None else np.asarray(rates[p.name], np.float64).ravel() for p in network.populations
    ])
    inside = np.full(rate.size + 1, -1, np.int64)
    axons: list[_Axons] = []
    shared: list[_Axons] = []
    amounts, route = [], np.zeros(len(capacity), np.int64)
    for name, size in zip(names, sizes, strict=True):
        inside[first[name] : first[name] + size] = start[name] + np.arange(size)
        price = prices[name]
        rows, factor = [price.resources.index(resource) for resource in capacity], scale // price.scale
        amounts.append(price.neuron[rows] * factor)
        route = np.maximum(route, price.route[rows] * factor)
        fixed, packets = _both(price.fixed[rows], price.fixed[rows]) * factor, 0.0
        for projection, most, least in zip(network.afferents(name), price.axon, price.axon_least or price.axon, strict=True):
            whole, at = projection.connectivity, first[projection.source]
            amount = _both(most[rows], least[rows]) * factor
            if isinstance(whole, Sparse):
                axons.append(_axons(whole.indices.astype(np.int64) + at, whole.targets + start[name], neurons, amount, rate, at))
            elif routed:
                source, goal = np.indices((whole.in_size, size)).reshape(2, -1)
                axons.append(_axons(source + at, goal + start[name], neurons, amount, rate, at))
            else:
                fixed = fixed + np.broadcast_to(amount, (*amount.shape[:2], whole.in_size)).sum(2)
                # With places known, packets from other cores must not count as if they came from the port.
                if board is None or projection.source not in names:
                    packets += float(rate[at : at + whole.in_size].sum())
        if fixed.any() or packets:
            everyone = start[name] + np.arange(size)
            shared.append(_Axons(np.array([-1]), np.array([size]), everyone, fixed[:, :, None], np.array([packets])))
    if not routed:
        axons = _merged(axons, neurons, rate)
    axons += shared
    most, least = np.concatenate([part.amount for part in axons], axis=2)
    problem = PartitionProblem(
        tuple(capacity), np.array(list(capacity.values()), np.int64) * scale, np.concatenate(amounts, axis=1),
        most, route, inside[np.concatenate([part.source for part in axons])],
        np.concatenate([[0], np.cumsum(np.concatenate([part.count for part in axons]))]), np.concatenate([part.target for part in axons]),
        np.concatenate([part.rate for part in axons]), cores, slack, np.repeat(np.arange(len(names)), sizes), board,
    )
    return Priced(problem, least, scale)


def _merged(axons: list[_Axons], neurons: int, rate: Array) -> list[_Axons]:
    """Return the axons with the packets of every source on one of them only: on another one where it has several."""
    times = np.bincount(np.concatenate([part.source for part in axons]), minlength=rate.size)
    several = [times[part.source] > 1 for part in axons]
    if not any(mask.any() for mask in several):
        return axons
    pins = [np.repeat(mask, part.count) for part, mask in zip(axons, several, strict=True)]
    source = np.concatenate([np.repeat(part.source, part.count)[mask] for part, mask in zip(axons, pins, strict=True)])
    goal = np.concatenate([part.target[mask] for part, mask in zip(axons, pins, strict=True)])
    free = np.zeros((*axons[0].amount.shape[:2], 1), np.int64)
    quiet = [_paid(replace(part, rate=np.where(mask, 0.0, part.rate))) for part, mask in zip(axons, several, strict=True)]
    return [*quiet, _axons(source, goal, neurons, free, rate)]


def _paid(axons: _Axons) -> _Axons:
    """Return the axons without those that neither take anything nor send packets."""
    kept = axons.amount.any((0, 1)) | (axons.rate > 0)
    if kept.all():
        return axons
    target = axons.target[np.repeat(kept, axons.count)]
    return _Axons(axons.source[kept], axons.count[kept], target, axons.amount[:, :, kept], axons.rate[kept])


def cut_irregular(
    network: QuantizedNetwork, target: Target, names: tuple[str, ...], capacity: dict[str, int], cores: int, partitioner: Partitioner,
    budget: Budget, slack: float, rates: dict[str, Array] | None = None, board: Board | None = None,
) -> Bunches:
    """Share the neurons of irregular populations out over cores.

    There are no bunches where there are no such populations, where they have more than 2^24 synapses, or where the partitioner knows no
    way onto the cores there are: the caller then cuts them into runs, or says why that is not possible either.

    Args:
        network, target, partitioner, budget: as in `pack_network`.
        names: of `irregular_populations`.
        capacity: of one core by resource.
        cores, slack, board: as in `PartitionProblem`; with a board the bunches get slots of it.
        rates: as in `map_network`.

    Raises:
        RuntimeError: the target's prices are below its demand, or the partitioner's answer is none.
    """
    synapses = sum(p.connectivity.synapses for p in network.projections if p.target in names and isinstance(p.connectivity, Sparse))
    if not names or synapses > _MOST_PINS:
        return Bunches()
    priced = neuron_problem(network, target, names, capacity, cores, slack, rates, board)
    spread, limit = priced.problem.axon - priced.least, np.array(list(capacity.values()), np.int64)
    exact = not spread.any()
    share, previous = _FULL if exact else _USUAL, None
    if priced.problem.target.size * _DENSE > priced.problem.neurons * priced.problem.axons:
        # Ten times the search was seen to save a thousandth of the packets of such layers.
        budget = replace(budget, effort=max(budget.effort - 1, 0))
    while True:
        problem = replace(priced.problem, axon=priced.problem.axon - spread * (_FULL - share) // _FULL, previous=previous)
        answer = partitioner.partition(problem, budget)
        if answer.status not in ("optimal", "feasible"):
            return Bunches()
        check_partition(problem, answer)
        groups = _groups(network, target, names, answer, capacity)
        taken = np.array([[sum(demand[resource] for _, _, demand in group) for resource in capacity] for group in groups], np.int64)
        if (taken <= limit).all():
            break
        if share == _FULL:
            raise RuntimeError(
                f"cores take up to {taken.max(0).tolist()} of {capacity}: neuron_demand of target `{target.name}` is not an upper bound "
                "of its demand"
            )
        share, previous = _next_share(priced, answer.part, taken), answer.part
    floors = [target.demand_floor(network, name) for name in names]
    floor = np.array([sum(part[resource] for part in floors) for resource in capacity]) / len(groups)
    bunches = []
    for number, (group, amounts) in enumerate(zip(groups, taken, strict=True)):
        largest = max(group, key=lambda part: part[1].size)[0]
        item = Item(f"neurons of {largest}, {number + 1}", 1, np.stack([np.zeros_like(amounts), amounts], axis=1), floor)
        bunches.append(Bunch(largest, group, item))
    return Bunches(tuple(bunches), answer.lower_bound if exact else 0, answer.slot)


def _next_share(priced: Priced, part: Array, taken: Array) -> int:
    """Return where between the least and the most prices those lie that are right for full cores, and a little more; in 1 / `_FULL`.

    Args:
        priced: the problem.
        part: the last answer, with clusters over their budgets.
        taken: (clusters, R) int64, what they take in truth, in the target's units.
    """
    most = cluster_loads(priced.problem, part)
    least = cluster_loads(replace(priced.problem, axon=priced.least), part)
    full = (most > priced.problem.capacity) & (most > least)
    shares = -((least - taken * priced.scale) * _FULL)[full] // (most - least)[full]
    return min(int(shares.max()) + 2, _FULL)


def _groups(
    network: QuantizedNetwork, target: Target, names: tuple[str, ...], answer: Partition, capacity: dict[str, int],
) -> list[tuple[tuple[str, Array, dict[str, int]], ...]]:
    """Return by cluster which neurons of which populations it holds, ascending, and what they take in truth."""
    edges = np.cumsum([0, *(network[name].size for name in names)])
    order = np.argsort(answer.part, kind="stable")
    groups = []
    for members in np.split(order, np.cumsum(np.bincount(answer.part, minlength=answer.clusters))[:-1]):
        lists = np.split(members, np.searchsorted(members, edges[1:-1]))
        held = [(name, listed - low) for name, listed, low in zip(names, lists, edges.tolist(), strict=False) if listed.size]
        groups.append(tuple((name, listed, _priced(network, target, name, listed, capacity)) for name, listed in held))
    return groups


def _priced(network: QuantizedNetwork, target: Target, name: str, neurons: Array, capacity: dict[str, int]) -> dict[str, int]:
    demand = target.demand(network, name, neurons)
    return {resource: int(demand[resource]) for resource in capacity}


def bunch_shards(
    network: QuantizedNetwork, target: Target, bunches: tuple[Bunch, ...], clusters: Array, capacity: dict[str, int],
) -> tuple[Shard, ...]:
    """Return the shards of bunches that lie on the given clusters, (bunches,) int64; neurons of one population on a core are one shard."""
    lying: dict[tuple[int, str], list[tuple[Array, dict[str, int]]]] = {}
    for bunch, cluster in zip(bunches, clusters.tolist(), strict=True):
        for name, listed, demand in bunch.parts:
            lying.setdefault((cluster, name), []).append((listed, demand))
    shards = []
    for (cluster, name), parts in lying.items():
        if len(parts) == 1:
            shards.append(Shard(name, parts[0][0], cluster, parts[0][1]))
        else:
            listed = np.sort(np.concatenate([listed for listed, _ in parts]))
            shards.append(Shard(name, listed, cluster, _priced(network, target, name, listed, capacity)))
    return tuple(shards)
