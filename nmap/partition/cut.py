"""From a quantized network to a mapping: cut populations into items, let a partitioner pack and place, and check what it answers.

A population is cut along one axis into runs of equal *units*: neurons of a one-dimensional population, output rows (all channels, full
width) of a (channels, height, width) one. Where one unit does not fit an empty core, the other axes are cut first, into the fewest nearly
equal *lanes* whose units fit; a lane is one divisible item of the packing problem.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate, groupby, pairwise, product
from math import prod

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense
from nmap.diagnostics import Diagnostic, Exit, Findings, NmapError
from nmap.mapping import Mapping, Packed, Shard
from nmap.options import Options
from nmap.partition.misfit import explain_neuron, more_cores, too_many_cores
from nmap.partition.partitioner import Budget, Partitioner
from nmap.partition.problem import Item, PackingProblem, PackingSolution, check_packing
from nmap.partition.routes import core_traffic, sources_of
from nmap.place.board import Board
from nmap.place.problem import PlacementProblem, check_placement
from nmap.program import Box
from nmap.quantized import QuantizedNetwork, QuantizedPopulation
from nmap.target.backend import Target
from nmap.target.machine import Machine

__all__ = ["Lane", "cut_population", "map_network", "pack_network", "place_network"]


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """A slice of a population that is cut along one axis.

    Args:
        population: name.
        box: the slice of the population's shape; its extent along `axis` is the whole one.
        axis: along which units are counted.
        item: the packing problem's view of it.
        exact: the item's table is the price of *any* set of neurons of the population, so that a bound on the items holds for every cut.
    """

    population: str
    box: Box
    axis: int
    item: Item
    exact: bool

    def piece(self, start: int, stop: int) -> Box:
        """Return the box of units start to stop."""
        return (*self.box[: self.axis], (start, stop), *self.box[self.axis + 1 :])


def _largest(limit: int, fits: Callable[[int], bool]) -> int:
    """Return the largest n <= limit with fits(n), which must not turn true again once false; 0 when not even 1 fits."""
    low, high = 0, 1
    while high < limit and fits(high):
        low, high = high, 2 * high
    high = min(high, limit)
    if fits(high):
        return high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _even(size: int, largest: int) -> list[tuple[int, int]]:
    """Return the (start, stop) of the fewest nearly equal parts of at most `largest`."""
    count = -(-size // largest)
    low, more = divmod(size, count)
    edges = [0, *accumulate(low + (k < more) for k in range(count))]
    return list(pairwise(edges))


def cut_population(
    network: QuantizedNetwork, target: Target, population: QuantizedPopulation, capacity: dict[str, int],
) -> tuple[Lane, ...]:
    """Return the lanes of a population; none when not even one neuron fits an empty core.

    Args:
        network, target: as in `map_network`.
        population: not an input port.
        capacity: of one core by resource.
    """
    shape = population.shape
    axis = 1 if len(shape) == 3 else 0
    cache: dict[tuple[int, ...], Array] = {}
    limit = np.array(list(capacity.values()), np.int64)

    def demand(extent: tuple[int, ...]) -> Array:
        if extent not in cache:
            amount = target.demand_at_most(network, population.name, extent)
            cache[extent] = np.array([amount[name] for name in capacity], np.int64)
        return cache[extent]

    def fits(extent: tuple[int, ...]) -> bool:
        return bool((demand(extent) <= limit).all())

    def along(extent: tuple[int, ...], dimension: int, size: int) -> tuple[int, ...]:
        return (*extent[:dimension], size, *extent[dimension + 1 :])

    extent = along(shape, axis, 1)
    parts: list[list[tuple[int, int]]] = [[(0, size)] for size in shape]
    # Width before channels: channels of one pixel share their inputs.
    for dimension in (*reversed(range(axis + 1, len(shape))), *reversed(range(axis))):
        if fits(extent):
            break
        largest = max(1, _largest(shape[dimension], lambda n, at=dimension, base=extent: fits(along(base, at, n))))  # type: ignore[misc]
        parts[dimension] = _even(shape[dimension], largest)
        extent = along(extent, dimension, max(stop - start for start, stop in parts[dimension]))
    if not fits(extent):
        return ()
    # Neurons that all listen to the same sources are interchangeable; runs of rows, or of neurons with inputs of their own, are a choice.
    exact = len(shape) == 1 and all(isinstance(p.connectivity, Dense) for p in network.afferents(population.name))
    floor = target.demand_floor(network, population.name)
    whole = np.array([floor[name] for name in capacity], np.float64)
    lanes = []
    for number, box in enumerate(product(*parts)):
        sizes = tuple(stop - start for start, stop in box)
        most = _largest(shape[axis], lambda n, base=sizes: fits(along(base, axis, n)))  # type: ignore[misc]
        table = np.stack([np.zeros_like(limit), *(demand(along(sizes, axis, n)) for n in range(1, most + 1))], axis=1)
        name = population.name if prod(map(len, parts)) == 1 else f"{population.name} lane {number + 1}"
        item = Item(name, shape[axis], table, whole * (prod(sizes) / population.size), _seam(network, population, box, axis))
        lanes.append(Lane(population.name, tuple(box), axis, item, exact))
    return tuple(lanes)


def _seam(network: QuantizedNetwork, population: QuantizedPopulation, box: Box, axis: int) -> int:
    """Return how many source neurons the units on both sides of a cut through the middle of a lane need."""
    middle = box[axis][1] // 2
    if not middle:
        return 1
    sides = [(*box[:axis], side, *box[axis + 1 :]) for side in ((0, middle), (middle, box[axis][1]))]
    shared = 0
    for projection in network.afferents(population.name):
        connectivity, source = projection.connectivity, network[projection.source].shape
        if isinstance(connectivity, Dense):
            shared += connectivity.in_size
        else:
            shape = connectivity.in_shape if isinstance(connectivity, Conv2d) else source
            low, high = (sources_of(connectivity, shape, population.shape, side) for side in sides)
            shared += _common(low, high)
    return max(shared, 1)


def _common(first: Box | Array, second: Box | Array) -> int:
    if isinstance(first, tuple) and isinstance(second, tuple):
        return prod(max(0, min(a[1], b[1]) - max(a[0], b[0])) for a, b in zip(first, second, strict=True))
    return int(np.intersect1d(np.asarray(first), np.asarray(second), assume_unique=True).size)


def _shards(
    network: QuantizedNetwork, target: Target, lanes: list[Lane], solution: PackingSolution, capacity: dict[str, int],
) -> tuple[Shard, ...]:
    shards = []
    used = [dict.fromkeys(capacity, 0) for _ in range(solution.clusters)]
    done = [0] * len(lanes)
    # Neighbouring pieces on one core are one shard.
    for (index, cluster), run in groupby(solution.pieces, key=lambda piece: (piece.item, piece.cluster)):
        lane, start = lanes[index], done[index]
        done[index] += sum(piece.units for piece in run)
        box = lane.piece(start, done[index])
        amount = target.demand(network, lane.population, box)
        shards.append(Shard(lane.population, box, cluster, {name: int(amount[name]) for name in capacity}))
        for name in capacity:
            used[cluster][name] += int(amount[name])
    for cluster, amounts in enumerate(used):
        over = {name: amount for name, amount in amounts.items() if amount > capacity[name]}
        if over:
            raise RuntimeError(
                f"core {cluster} takes {over} of {capacity}: demand_at_most of target `{target.name}` is not an upper bound of its demand"
            )
    order = {p.name: k for k, p in enumerate(network.populations)}
    return tuple(sorted(shards, key=lambda shard: (order[shard.population], shard.box)))


def pack_network(
    network: QuantizedNetwork, target: Target, machine: Machine, partitioner: Partitioner, options: Options,
    progress: Callable[[str], None] | None = None,
) -> Packed:
    """Cut a network into shards and pack them onto as few cores as possible.

    Args:
        network: what to map.
        target: prices boxes of neurons in the chip's resources.
        machine: usable cores.
        partitioner: solves the problem.
        options: effort, seed and slack are used.
        progress: called with short texts, for display only.

    Raises:
        NmapError: NM401 for every population of which not even one neuron fits a core, or NM402 when more cores are needed than there
            are (exit status 1, both proved); NM501 when the solver stopped without an answer (exit status 5).
    """
    capacity = machine.capacity
    findings = Findings()
    lanes: list[Lane] = []
    for population in network.populations:
        if population.kernel is None:
            continue
        cut = cut_population(network, target, population, capacity)
        if not cut:
            findings.extend([explain_neuron(network, target, machine, population)])
        lanes.extend(cut)
    findings.raise_errors(Exit.DOES_NOT_FIT)

    problem = PackingProblem(
        tuple(capacity), np.array(list(capacity.values()), np.int64), tuple(lane.item for lane in lanes), len(machine.cores), options.slack,
    )
    answer = partitioner.pack(problem, Budget(options.effort, options.seed, progress))
    packing = _proved(problem, lanes, answer)
    if packing.status == "infeasible":
        layers = [(lane.population, lane.item) for lane in lanes]
        raise NmapError(too_many_cores(machine, problem, packing, layers), Exit.DOES_NOT_FIT)
    if packing.status == "unknown":
        raise NmapError(_no_answer(machine, problem, packing, partitioner.name, options), Exit.UNKNOWN)
    check_packing(problem, packing)
    return Packed(_shards(network, target, lanes, packing, capacity), packing)


def _proved(problem: PackingProblem, lanes: list[Lane], answer: PackingSolution) -> PackingSolution:
    """Return the answer with what is proved of the network, where the partitioner proves things of this way of cutting it only."""
    if all(lane.exact for lane in lanes):
        return answer
    least = sum(np.maximum(lane.item.floor, lane.item.least_demand()) if lane.exact else lane.item.floor for lane in lanes)
    bound = max(1, int(np.ceil(np.max(least / problem.capacity) - 1e-9)))
    for lane in lanes:
        if lane.exact and lane.item.fewest_pieces > bound and lane.item.joins(problem.capacity):
            bound = lane.item.fewest_pieces
    bound = min(bound, answer.lower_bound)
    if answer.status in ("optimal", "feasible"):
        return replace(answer, lower_bound=bound, status="optimal" if bound == answer.clusters else "feasible")
    return replace(answer, lower_bound=bound, status="infeasible" if bound > problem.cores else "unknown")


def place_network(
    network: QuantizedNetwork, machine: Machine, partitioner: Partitioner, options: Options, packed: Packed,
    rates: dict[str, Array] | None = None, progress: Callable[[str], None] | None = None,
) -> Mapping:
    """Give the cores of a packed network their places so that traffic is least.

    Args:
        network, machine, partitioner, options, progress: as in `pack_network`.
        packed: what `pack_network` returned.
        rates: mean spikes per step of every neuron, (n,) float64 by population (input ports too); None means one spike per step of each.
    """
    source, sink, weight = core_traffic(network, packed.shards, rates)
    problem = PlacementProblem(packed.packing.clusters, Board(machine.positions()), source, sink, weight)
    placement = partitioner.place(problem, Budget(options.effort, options.seed, progress))
    check_placement(problem, placement)
    cores = tuple(machine.cores[slot] for slot in placement.slot.tolist())
    return Mapping(machine, packed.shards, cores, packed.packing, placement, rates is not None)


def map_network(
    network: QuantizedNetwork, target: Target, machine: Machine, partitioner: Partitioner, options: Options,
    rates: dict[str, Array] | None = None, progress: Callable[[str], None] | None = None,
) -> Mapping:
    """Pack, then place; see `pack_network` and `place_network`."""
    packed = pack_network(network, target, machine, partitioner, options, progress)
    return place_network(network, machine, partitioner, options, packed, rates, progress)


def _no_answer(
    machine: Machine, problem: PackingProblem, packing: PackingSolution, partitioner: str, options: Options,
) -> Diagnostic:
    remedies = list(more_cores(machine, problem, packing))
    if options.effort < 2:
        remedies.append(f"search longer: `--effort {options.effort + 1}`")
    remedies.append(f"try another algorithm than `{partitioner}`: --partitioner NAME")
    return Diagnostic(
        "NM501", "error", f"the partitioner `{partitioner}` found no way onto {problem.cores} cores, and no proof that there is none",
        why=f"At least {packing.lower_bound} cores are needed (proved); the best answer found needs {packing.clusters}.",
        help=tuple(remedies[:3]),
        data={"available": problem.cores, "lower_bound": packing.lower_bound, "found": packing.clusters},
    )
