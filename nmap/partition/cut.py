"""From a quantized network to a mapping: cut populations into items, let a partitioner pack and place, and check what it answers.

A population is cut along one axis into runs of equal *units*: neurons of a one-dimensional population, output rows (all channels, full
width) of a (channels, height, width) one. The other axes are cut first, into nearly equal *lanes*: the fewest whose units fit an empty
core, or those of a tile shape that shares more inputs. A lane is one divisible item of the packing problem. A partitioner that is a
`Cutter` says itself which lanes there are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby, product
from math import fsum, prod

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense, Sparse, frozen_array
from nmap.diagnostics import Diagnostic, Exit, Findings, NmapError
from nmap.mapping import Mapping, Packed, Shard, in_order
from nmap.options import Options
from nmap.partition.fill import fill, finish, spend_slack
from nmap.partition.grid import CutProblem, Cutter, Grid, check_grid
from nmap.partition.irregular import Bunch, Bunches, bunch_shards, cut_irregular, irregular_populations
from nmap.partition.misfit import explain_neuron, more_cores, too_many_cores
from nmap.partition.partitioner import Budget, Partitioner
from nmap.partition.problem import CoreClass, Item, PackingProblem, PackingSolution, area_bound, check_packing
from nmap.partition.regular import CORE_UNIT, Prices, even_parts, row_axis, tile_options
from nmap.partition.replicated import pack_replicated
from nmap.partition.routes import core_nets, core_traffic, pairs_of_nets, program_nets, sources_of
from nmap.partition.tiles import Layer, TilingProblem, check_tiling, sweep
from nmap.place.problem import PlacementProblem, PlacementSolution, check_placement
from nmap.program import Box
from nmap.quantized import QuantizedNetwork, QuantizedPopulation
from nmap.target.backend import Arranging, Replicating, Target
from nmap.target.machine import Machine

__all__ = ["Lane", "cut_population", "map_network", "pack_network", "place_clusters", "place_network", "placement_problem"]


_TILE_SLACK = 0.05
"""Share of cores by which the price of tile shapes may be wrong."""
_MANY_LANES = 200
"""Lanes beyond which fewer ways of cutting are packed, since each takes seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """A slice of a population that is cut along one axis.

    Args:
        population: name.
        box: the slice of the population's shape.
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
        """Return the box of units start to stop, counted from the lane's first one."""
        first = self.box[self.axis][0]
        return (*self.box[: self.axis], (first + start, first + stop), *self.box[self.axis + 1 :])


def cut_population(
    network: QuantizedNetwork, target: Target, population: QuantizedPopulation, capacity: dict[str, int],
    counts: tuple[int, ...] | None = None, prices: Prices | None = None,
) -> tuple[Lane, ...]:
    """Return the lanes of a population; none when not even one neuron fits an empty core.

    Args:
        network, target: as in `map_network`.
        population: not an input port.
        capacity: of one core by resource.
        counts: number of nearly equal parts by dimension, as in `TileOption`; None means the fewest whose units fit.
        prices: of the population's boxes, where some are known already.
    """
    shape = population.shape
    axis = row_axis(shape)
    price = prices or Prices(network, target, population, capacity)
    if counts is None:
        parts = [1] * len(shape)
        extent = (*shape[:axis], 1, *shape[axis + 1 :])
        # Width before channels: channels of one pixel share their inputs.
        for dimension in (*reversed(range(axis + 1, len(shape))), *reversed(range(axis))):
            if price.fits(extent):
                break
            parts[dimension] = -(-shape[dimension] // max(1, price.largest(extent, dimension, shape[dimension])))
            extent = (*extent[:dimension], -(-shape[dimension] // parts[dimension]), *extent[dimension + 1 :])
        if not price.fits(extent):
            return ()
        counts = tuple(parts)
    # Neurons that all listen to the same sources are interchangeable; runs of rows, or of neurons with inputs of their own, are a choice.
    # With copies each has a price of its own, and may pay for the weights that it has.
    exact = len(shape) == 1 and all(isinstance(p.connectivity, Dense) for p in network.afferents(population.name))
    exact = exact and not isinstance(target, Replicating)
    grid = tuple(tuple(even_parts(size, count)) for size, count in zip(shape, counts, strict=True))
    return _lanes(network, target, population, price, grid, exact)


def _lanes(
    network: QuantizedNetwork, target: Target, population: QuantizedPopulation, price: Prices, grid: Grid, exact: bool,
) -> tuple[Lane, ...]:
    """Return a lane for every box of a grid whose rows fit an empty core."""
    axis = row_axis(population.shape)
    floor = target.demand_floor(network, population.name)
    whole = np.array([floor[name] for name in price.names], np.float64)
    tables: dict[tuple[int, ...], Array] = {}
    lanes = []
    for number, box in enumerate(product(*grid)):
        sizes = tuple(stop - start for start, stop in box)
        if sizes not in tables:
            most = price.largest(sizes, axis, sizes[axis])
            column = (price.demand((*sizes[:axis], n, *sizes[axis + 1 :])) for n in range(1, most + 1))
            tables[sizes] = frozen_array(np.stack([np.zeros_like(price.limit), *column], axis=1), np.int64)
        name = population.name if prod(map(len, grid)) == 1 else f"{population.name} lane {number + 1}"
        share = whole * (prod(sizes) / population.size)
        item = Item(name, sizes[axis], tables[sizes], share, _seam(network, population, box, axis))
        lanes.append(Lane(population.name, box, axis, item, exact))
    return tuple(lanes)


def _with_zeros(network: QuantizedNetwork, population: str) -> QuantizedNetwork | None:
    """Return the network with the long lists of synapses into a population as matrices; None where there is none.

    Their weights are all zero: only prices are asked of it.
    """
    projections, size = [], network[population].size
    for p in network.projections:
        wires = p.connectivity
        if p.target == population and isinstance(wires, Sparse) and p.delays is None and wires.synapses > wires.in_size + size:
            zeros = np.zeros((size, wires.in_size), np.int32)
            # Nothing reads them: memory that was never written to is not taken from the machine, unless it is copied.
            zeros.setflags(write=False)
            p = replace(p, connectivity=Dense(zeros))
        projections.append(p)
    same = all(a is b for a, b in zip(projections, network.projections, strict=True))
    return None if same else replace(network, projections=tuple(projections))


def _cut_by(
    cutter: Cutter, network: QuantizedNetwork, target: Target, population: QuantizedPopulation, prices: Prices
) -> tuple[Lane, ...]:
    """Return the lanes that a partitioner cuts a population into.

    Raises:
        ValueError: its answer is none; see `check_grid`.
    """
    filled = _with_zeros(network, population.name)
    capacity = dict(zip(prices.names, prices.limit.tolist(), strict=True))
    whole = None if filled is None else Prices(filled, target, population, capacity).demand
    problem = CutProblem(population.name, population.shape, prices.names, prices.limit, prices.demand, whole)
    grid = cutter.cut(problem)
    check_grid(problem, grid)
    # What a piece of such a lane takes per neuron bounds no other way of cutting.
    return _lanes(network, target, population, prices, grid, False)


def _seam(network: QuantizedNetwork, population: QuantizedPopulation, box: Box, axis: int) -> int:
    """Return how many source neurons the units on both sides of a cut through the middle of a lane need."""
    start, stop = box[axis]
    middle = (start + stop) // 2
    if middle == start:
        return 1
    sides = [(*box[:axis], side, *box[axis + 1 :]) for side in ((start, middle), (middle, stop))]
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


def _boxes(lanes: tuple[Lane, ...], solution: PackingSolution) -> list[tuple[Lane, Box, int]]:
    """Return the box and the cluster of every piece, by lane."""
    boxes = []
    done = [0] * len(lanes)
    # Neighbouring pieces on one core are one shard.
    for (index, cluster), run in groupby(solution.pieces, key=lambda piece: (piece.item, piece.cluster)):
        if index >= len(lanes):
            continue  # a bunch
        start = done[index]
        done[index] += sum(piece.units for piece in run)
        boxes.append((lanes[index], lanes[index].piece(start, done[index]), cluster))
    return boxes


def _gathered(task: _Task, lanes: tuple[Lane, ...], solution: PackingSolution) -> tuple[Shard, ...]:
    """Return the shards of the bunches, which are the items after those of the lanes."""
    clusters = [piece.cluster for piece in solution.pieces if piece.item >= len(lanes)]
    return bunch_shards(task.network, task.target, task.bunches.bunches, np.array(clusters, np.int64), task.capacity)


def _shards(
    network: QuantizedNetwork, target: Target, lanes: tuple[Lane, ...], solution: PackingSolution, capacity: dict[str, int],
    gathered: tuple[Shard, ...],
) -> tuple[Shard, ...]:
    shards = list(gathered)
    used = [dict.fromkeys(capacity, 0) for _ in range(solution.clusters)]
    for lane, box, cluster in _boxes(lanes, solution):
        amount = target.demand(network, lane.population, box)
        shards.append(Shard(lane.population, box, cluster, {name: int(amount[name]) for name in capacity}))
    for shard in shards:
        for name in capacity:
            used[shard.cluster][name] += shard.demand[name]
    for cluster, amounts in enumerate(used):
        over = {name: amount for name, amount in amounts.items() if amount > capacity[name]}
        if over:
            raise RuntimeError(
                f"core {cluster} takes {over} of {capacity}: demand_at_most of target `{target.name}` is not an upper bound of its demand"
            )
    return in_order(shards, network)


def pack_network(
    network: QuantizedNetwork, target: Target, machine: Machine, partitioner: Partitioner, options: Options,
    budget: Budget | None = None, only: frozenset[str] | None = None, taken: Array | None = None,
    rates: dict[str, Array] | None = None, kinds: Array | None = None,
) -> Packed:
    """Cut a network into shards and pack them onto as few cores as possible; a target that is `Arranging` does so itself.

    Args:
        network: what to map.
        target: prices boxes of neurons in the chip's resources.
        machine: usable cores.
        partitioner: solves the problem.
        options: effort, seed and slack are used.
        budget: with the same effort and seed, where progress is shown or the search can be stopped; None makes one of the options.
        only: populations to pack; None means all.
        taken: see `PackingProblem.taken`, of `machine.largest`; these cores are the first clusters of the answer, whatever lies on them
            beforehand.
        rates: as in `place_network`; they weigh the inputs that tiles share.
        kinds: (taken cores,) int64, their classes, by index of `machine.classes`; None where all cores are of one class.

    Raises:
        NmapError: NM401 for every population of which not even one neuron fits a core, or NM402 when more cores are needed than there
            are (exit status 1, both proved); NM501 when the solver stopped without an answer (exit status 5).
    """
    def pack(network: QuantizedNetwork, only: frozenset[str] | None = only) -> Packed:
        return _pack(network, target, machine, partitioner, options, budget, only, taken, rates, kinds)

    if isinstance(target, Arranging):
        return target.arrange(network, machine, options, budget or Budget(options.effort, options.seed))
    if isinstance(target, Replicating) and only is None:
        return pack_replicated(network, target, machine, partitioner, options, budget or Budget(options.effort, options.seed), pack)
    return pack(network)


def _pack(
    network: QuantizedNetwork, target: Target, machine: Machine, partitioner: Partitioner, options: Options,
    budget: Budget | None, only: frozenset[str] | None, taken: Array | None, rates: dict[str, Array] | None, kinds: Array | None,
) -> Packed:
    """Pack a network once; see `pack_network`."""
    capacity = machine.largest
    findings = Findings()
    prices: dict[str, Prices] = {}
    cuts: dict[str, tuple[Lane, ...]] = {}
    populations = [p for p in network.populations if p.kernel is not None and (only is None or p.name in only)]
    irregular = tuple(name for name in irregular_populations(network) if only is None or name in only)
    for population in populations:
        prices[population.name] = Prices(network, target, population, capacity)
        if population.name in irregular:
            fits = prices[population.name].fits((1,) * len(population.shape))
        else:
            cuts[population.name] = cut_population(network, target, population, capacity, prices=prices[population.name])
            fits = bool(cuts[population.name])
        if not fits:
            findings.extend([explain_neuron(network, target, machine, population)])
    findings.raise_errors(Exit.DOES_NOT_FIT)

    budget = budget or Budget(options.effort, options.seed)
    free = len(machine.cores) - (0 if taken is None else len(taken))
    alone = taken is None and len(irregular) == len(populations) and len(machine.classes) == 1
    cutter = partitioner if isinstance(partitioner, Cutter) else None
    bunches = Bunches() if cutter is not None else cut_irregular(
        network, target, irregular, capacity, free, partitioner, budget, options.slack, rates, machine.board() if alone else None
    )
    for population in populations:
        if population.name in irregular and not bunches.bunches:
            cuts[population.name] = cut_population(network, target, population, capacity, prices=prices[population.name])
    task = _Task(network, target, machine, partitioner, options, budget, taken, kinds, rates, bunches)
    known = bunches.lower_bound
    if cutter is not None:
        lanes = tuple(lane for p in populations for lane in _cut_by(cutter, network, target, p, prices[p.name]))
        answer = partitioner.pack(task.problem(lanes, options.slack), budget)
        known = _least(task, tuple(lane for p in populations for lane in cuts[p.name]))
    else:
        lanes, answer = _best(task, _cuts(task, cuts, prices)) if bunches.slot is None else ((), bunches.settled())
    problem = task.problem(lanes, options.slack)
    parts: tuple[Lane | Bunch, ...] = (*lanes, *bunches.bunches)
    packing = _proved(problem, parts, answer, known)
    if packing.status == "infeasible":
        layers = [(part.population, part.item) for part in parts]
        raise NmapError(too_many_cores(machine, problem, packing, layers), Exit.DOES_NOT_FIT)
    if packing.status == "unknown":
        raise NmapError(_no_answer(machine, problem, packing, partitioner.name, options), Exit.UNKNOWN)
    check_packing(problem, packing)
    return Packed(_shards(network, target, lanes, packing, capacity, _gathered(task, lanes, packing)), packing, bunches.slot)


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """What `pack_network` was asked."""

    network: QuantizedNetwork
    target: Target
    machine: Machine
    partitioner: Partitioner
    options: Options
    budget: Budget
    taken: Array | None
    kinds: Array | None
    rates: dict[str, Array] | None
    bunches: Bunches

    @property
    def capacity(self) -> dict[str, int]:
        """What a core may hold at most."""
        return self.machine.largest

    def problem(self, lanes: tuple[Lane, ...], slack: float) -> PackingProblem:
        """Return the packing problem of some lanes and of all bunches, in this order."""
        capacity, kinds = self.capacity, self.machine.classes
        used = np.bincount(np.zeros(0, np.int64) if self.kinds is None else self.kinds, minlength=len(kinds)).tolist()
        classes = tuple(
            CoreClass(np.array([kind.capacity[name] for name in capacity], np.int64), kind.cores.size - count)
            for kind, count in zip(kinds, used, strict=True)
        )
        items = (*(lane.item for lane in lanes), *(bunch.item for bunch in self.bunches.bunches))
        return PackingProblem(
            tuple(capacity), np.array(list(capacity.values()), np.int64), items, len(self.machine.cores), slack,
            classes if len(kinds) > 1 else (), self.taken,
        )

    def packets(self, lanes: tuple[Lane, ...], packing: PackingSolution) -> float:
        """Return the expected packets per step between the cores of a packing, and from the input ports."""
        pieces = tuple(Shard(lane.population, box, cluster, {}) for lane, box, cluster in _boxes(lanes, packing))
        return fsum(core_traffic(self.network, (*pieces, *_gathered(self, lanes, packing)), self.rates)[2].tolist())


def _cuts(task: _Task, fewest: dict[str, tuple[Lane, ...]], prices: dict[str, Prices]) -> list[tuple[Lane, ...]]:
    """Return the lanes of every way of cutting the network that is worth packing.

    Those of fewest lanes, of fewest cores and of fewest copies of inputs within some slack, as far as they differ: the prices of a few
    lanes foretell the packing within some cores only. With many lanes they do it well, and the first kind is left out.
    """
    network, capacity = task.network, task.capacity
    options = {name: tile_options(network, network[name], prices[name], task.rates) for name in fewest}
    cuts = [fewest]
    if any(len(found) > 1 for found in options.values()):
        layers = []
        for name, found in options.items():
            cores = [option.cores for option in found] or [sum(_filled(lane.item, prices[name].limit) for lane in fewest[name])]
            layers.append(Layer(name, np.array(cores), np.array([option.copies for option in found] or [0])))
        free = len(task.machine.cores) - (0 if task.taken is None else len(task.taken))
        tiling = TilingProblem(tuple(layers), CORE_UNIT, free, max(task.options.slack, _TILE_SLACK))
        for answer in (sweep(replace(tiling, slack=0.0)), task.partitioner.choose_tiles(tiling, task.budget)):
            check_tiling(tiling, answer)
            cut = dict(fewest)
            for (name, found), k in zip(options.items(), answer.choice, strict=True):
                if found:
                    cut[name] = cut_population(network, task.target, network[name], capacity, found[k].counts, prices[name])
            if all(any(_grid(cut[name]) != _grid(other[name]) for name in cut) for other in cuts):
                cuts.append(cut)
        if len(cuts) > 1 and sum(map(len, cuts[1].values())) > _MANY_LANES:
            del cuts[0]
    return [tuple(lane for lanes in cut.values() for lane in lanes) for cut in cuts]


def _grid(lanes: tuple[Lane, ...]) -> list[Box]:
    return [lane.box for lane in lanes]


def _filled(item: Item, capacity: Array) -> int:
    """Return what an item fills of the cores, as `TileOption.cores` counts."""
    full, left = divmod(item.size, item.max_piece)
    share = -(-item.demand[:, [item.max_piece, left]] * CORE_UNIT // capacity[:, None]).max(0)
    return int(full * (CORE_UNIT if item.max_piece < item.size else share[0]) + share[1])


def _best(task: _Task, cuts: list[tuple[Lane, ...]]) -> tuple[tuple[Lane, ...], PackingSolution]:
    """Fill cores with several ways of cutting, the last one meant for the slack, and have the best one packed.

    Best is what has fewest packets on the fewest cores and the slack; the greedy filling of all of them takes as long as a solver does
    for one.
    """
    slack = task.options.slack
    if len(cuts) == 1:
        return cuts[0], task.partitioner.pack(task.problem(cuts[0], slack), task.budget)
    many = len(cuts[-1]) > _MANY_LANES
    answers = [(lanes, _quick(task.problem(lanes, 0.0))) for lanes in (cuts[:1] if many else cuts)]
    found = [pair for pair in answers if pair[1].pieces]
    if not found:
        lanes = min(answers, key=lambda pair: pair[1].clusters)[0]
        return lanes, task.partitioner.pack(task.problem(lanes, slack), task.budget)
    fewest = min(found, key=lambda pair: pair[1].clusters)
    old = 0 if task.taken is None else len(task.taken)
    most = fewest[1].clusters
    if slack:
        most = min(old + max(most - old, int((most - old) * (1 + slack))), len(task.machine.cores))
        again = [cuts[-1]] if many or fewest[0] is cuts[-1] else [fewest[0], cuts[-1]]
        more = [(lanes, _quick(replace(task.problem(lanes, slack), cores=most))) for lanes in again]
        found += [pair for pair in more if pair[1].pieces]
    found = [pair for pair in found if pair[1].clusters <= most]
    value = [(task.packets(*pair), pair[1].clusters, number) for number, pair in enumerate(found)]
    lanes, start = found[min(value)[2]]
    answer = task.partitioner.pack(replace(task.problem(lanes, slack), cores=most), task.budget)
    better = answer.pieces and (task.packets(lanes, answer), answer.clusters) <= min(value)[:2]
    if better or (answer.pieces and not slack and answer.clusters < start.clusters):
        return lanes, answer
    return lanes, replace(start, lower_bound=max(start.lower_bound, answer.lower_bound) if answer.pieces else start.lower_bound)


def _quick(problem: PackingProblem) -> PackingSolution:
    return finish(problem, spend_slack(problem, fill(problem)), area_bound(problem))


def _proved(problem: PackingProblem, lanes: tuple[Lane | Bunch, ...], answer: PackingSolution, known: int) -> PackingSolution:
    """Return the answer with what is proved of the network, where the partitioner proves things of this way of cutting it only.

    `known` is a bound that has been proved otherwise.
    """
    if all(lane.exact for lane in lanes):
        return answer
    least = sum(np.maximum(lane.item.floor, lane.item.least_demand()) if lane.exact else lane.item.floor for lane in lanes)
    bound = max(1, int(np.ceil(np.max(least / problem.capacity) - 1e-9)))
    for lane in lanes:
        if lane.exact and lane.item.fewest_pieces > bound and lane.item.joins(problem.capacity):
            bound = lane.item.fewest_pieces
    bound = max(min(bound, answer.lower_bound), known)
    if answer.status in ("optimal", "feasible"):
        return replace(answer, lower_bound=bound, status="optimal" if bound == answer.clusters else "feasible")
    return replace(answer, lower_bound=bound, status="infeasible" if bound > problem.cores else "unknown")


def _least(task: _Task, lanes: tuple[Lane, ...]) -> int:
    """Return the cores that every mapping needs at least, proved without a packing."""
    problem = task.problem(lanes, 0.0)
    return _proved(problem, lanes, PackingSolution((), 0, area_bound(problem), "unknown"), 0).lower_bound


def placement_problem(
    network: QuantizedNetwork, target: Target, machine: Machine, packed: Packed, rates: dict[str, Array] | None = None
) -> PlacementProblem:
    """Return the problem of giving the cores of a packed network their places; see `place_network`."""
    if isinstance(target, Replicating):
        # Every copy sends a packet of its own, so they are counted in the program; where its cores lie makes no difference to that.
        slot = np.arange(packed.packing.clusters)
        anywhere = PlacementSolution(slot, 0.0, 0.0, "feasible", 0)
        cores = tuple(machine.cores[: packed.packing.clusters])
        mapping = Mapping(machine, packed.shards, cores, packed.packing, anywhere, rates is not None)
        nets = program_nets(target.build(network, mapping, 0), rates)
    else:
        shared = machine.spec.variants[machine.variant].routes == "core"
        nets = core_nets(network, packed.shards, rates, shared=shared, loaded=machine.spec.inputs == "loaded")
    kind = np.array(packed.packing.kind, np.int64) if packed.packing.kind else None
    multicast = machine.spec.variants[machine.variant].routing == "multicast"
    fixed = isinstance(target, Arranging)
    return PlacementProblem(
        packed.packing.clusters, machine.board(), *pairs_of_nets(nets), nets=nets, multicast=multicast, kind=kind,
        pinned=packed.slot if fixed else None, home=None if fixed else packed.slot,
    )


def place_network(
    network: QuantizedNetwork, target: Target, machine: Machine, partitioner: Partitioner, options: Options, packed: Packed,
    rates: dict[str, Array] | None = None, budget: Budget | None = None,
) -> Mapping:
    """Give the cores of a packed network their places so that traffic is least.

    Args:
        network, target, machine, partitioner, options, budget: as in `pack_network`.
        packed: what `pack_network` returned.
        rates: mean spikes per step of every neuron, (n,) float64 by population (input ports too); None means one spike per step of each.
    """
    problem = placement_problem(network, target, machine, packed, rates)
    placement = partitioner.place(problem, budget or Budget(options.effort, options.seed))
    return place_clusters(machine, packed, problem, placement, rates is not None)


def place_clusters(machine: Machine, packed: Packed, problem: PlacementProblem, placement: PlacementSolution, rates: bool) -> Mapping:
    """Return the mapping that an answer to `placement_problem` makes.

    Args:
        machine, packed: what was placed.
        problem, placement: the problem and its answer.
        rates: the traffic was measured.

    Raises:
        ValueError: the answer is none; see `check_placement`.
    """
    check_placement(problem, placement)
    cores = tuple(machine.cores[slot] for slot in placement.slot.tolist())
    return Mapping(machine, packed.shards, cores, packed.packing, placement, rates)


def map_network(
    network: QuantizedNetwork, target: Target, machine: Machine, partitioner: Partitioner, options: Options,
    rates: dict[str, Array] | None = None, budget: Budget | None = None,
) -> Mapping:
    """Pack, then place; see `pack_network` and `place_network`."""
    packed = pack_network(network, target, machine, partitioner, options, budget, rates=rates)
    return place_network(network, target, machine, partitioner, options, packed, rates, budget)


def _no_answer(
    machine: Machine, problem: PackingProblem, packing: PackingSolution, partitioner: str, options: Options,
) -> Diagnostic:
    remedies, default = list(more_cores(machine, problem, packing)), Options().partitioner
    if partitioner != default:
        remedies.append(f"take the default algorithm: --partitioner {default}")
    if options.effort < 2:
        remedies.append(f"search longer: `--effort {options.effort + 1}`")
    if partitioner == default:
        remedies.append(f"try another algorithm than `{partitioner}`: --partitioner NAME")
    return Diagnostic(
        "NM501", "error", f"the partitioner `{partitioner}` found no way onto {problem.cores} cores, and no proof that there is none",
        why=f"At least {packing.lower_bound} cores are needed (proved); the best answer found needs {packing.clusters}.",
        help=tuple(remedies[:3]),
        data={"available": problem.cores, "lower_bound": packing.lower_bound, "found": packing.clusters},
    )
