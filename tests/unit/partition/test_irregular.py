"""Populations with sparse afferents: which are cut neuron by neuron, at what price, and what comes of the answer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.connectivity import Sparse
from nmap.diagnostics import Exit, NmapError
from nmap.partition import map_network
from nmap.partition.cut import pack_network
from nmap.partition.irregular import irregular_populations, neuron_problem
from nmap.partition.neurons import Partition, cluster_loads, partition_packets
from nmap.partition.partitioner import Budget, Partitioner
from nmap.program import slice_indices
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import NeuronDemand
from tests.unit.partition.fake import (
    OPTIONS,
    FakeTarget,
    adjacency,
    convolution,
    covered,
    dense,
    machine,
    mlp,
    packets,
    population,
    projection,
    recurrent,
    spec,
)
from tests.unit.partition.sequential import Sequential


def sparse(rng, targets, sources, density):
    """A random connection in which every neuron has an input."""
    matrix = (rng.random((targets, sources)) < density).astype(np.int32)
    matrix[np.arange(targets), rng.integers(0, sources, targets)] = 1
    return Sparse.from_dense(matrix)


def column(seed, inputs=7, sizes=(12, 9), density=0.3):
    """Two populations that drive themselves and each other, one with a dense input, one with a sparse one; a dense readout."""
    rng = np.random.default_rng(seed)
    a, b = sizes
    populations = (
        population("in", (inputs,), None), population("side", (5,), None), population("a", (a,)), population("b", (3, b // 3)),
        population("out", (2,)),
    )
    projections = (
        projection("in", "a", dense(a, inputs)), projection("side", "b", sparse(rng, b, 5, density)),
        projection("a", "a", sparse(rng, a, a, density)), projection("a", "b", sparse(rng, b, a, density)),
        projection("b", "a", sparse(rng, a, b, density)), projection("b", "b", sparse(rng, b, b, density)),
        projection("a", "out", dense(2, a)),
    )
    return QuantizedNetwork(populations, projections, ("in", "side"), ("out",))


def liquid(seed, n=24, inputs=6, density=0.15):
    """Nothing but irregular populations."""
    rng = np.random.default_rng(seed)
    populations = (population("in", (inputs,), None), population("rec", (n,)))
    projections = (projection("in", "rec", sparse(rng, n, inputs, density)), projection("rec", "rec", sparse(rng, n, n, density)))
    return QuantizedNetwork(populations, projections, ("in",), ("rec",))


def random_rates(network, seed):
    rng = np.random.default_rng(seed)
    return {p.name: rng.integers(0, 9, p.size) / 8 for p in network.populations}


def test_which_populations_are_irregular():
    assert irregular_populations(column(0)) == ("a", "b")
    assert irregular_populations(recurrent()) == ("rec",)
    assert irregular_populations(mlp(4, 5, 6)) == ()
    assert irregular_populations(convolution()) == ()


def test_one_to_one_populations_follow_the_cut_of_their_source_only():
    rng = np.random.default_rng(1)
    one = np.ones(8, np.int32)
    populations = tuple(population(name, (8,), None if name == "in" else "fake.lif") for name in ("in", "a", "b", "c", "d"))
    links = [
        projection("in", "a", Sparse.diagonal(one)), projection("a", "b", sparse(rng, 8, 8, 0.5)),
        projection("b", "c", Sparse.diagonal(one)), projection("c", "d", Sparse.diagonal(one)),
    ]
    network = QuantizedNetwork(populations, tuple(links), ("in",), ("d",))
    # `a` only passes its inputs on: any cut of it shares nothing. `c` and `d` hang on `b`, whose inputs are shared.
    assert irregular_populations(network) == ("b", "c", "d")
    assert irregular_populations(QuantizedNetwork(populations, (links[0],), ("in",), ("a",))) == ()


def test_a_population_with_a_convolution_is_cut_into_boxes():
    network = convolution()
    first = network.projections[0].connectivity
    skip = projection("c1", "c1", Sparse.from_dense(np.ones((126, 126), np.int32)))
    assert first.out_shape == network["c1"].shape
    assert irregular_populations(QuantizedNetwork(network.populations, (*network.projections, skip), ("in",), ("out",))) == ()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("make", [column, liquid])
def test_the_problem_prices_any_partition_as_the_target_and_the_network_do(make, seed):
    network, chip = make(seed), spec()
    target, rates = FakeTarget(chip), random_rates(network, seed)
    names = irregular_populations(network)
    problem = neuron_problem(network, target, names, machine(chip).capacity, 16, 0.05, rates).problem
    part = np.unique(np.random.default_rng(seed).integers(0, 4, problem.neurons), return_inverse=True)[1]
    start, loads, cluster = 0, np.zeros((part.max() + 1, 3), int), {p.name: np.full(p.size, -1) for p in network.populations}
    for number, name in enumerate(names):
        mine = part[start : start + network[name].size]
        assert (problem.layer[start : start + mine.size] == number).all()
        cluster[name], start = mine, start + mine.size
        for k in np.unique(mine):
            loads[k] += list(target.demand(network, name, np.flatnonzero(mine == k)).values())
    assert start == problem.neurons
    assert cluster_loads(problem, part).tolist() == loads.tolist()
    # One packet per spike and other cluster that listens, whatever the number of projections.
    expected = 0.0
    for p in network.populations:
        for neuron in range(p.size):
            goes = set()
            for q in network.projections:
                if q.source == p.name and q.target in names:
                    goes |= set(cluster[q.target][adjacency(q.connectivity)[:, neuron]].tolist())
            expected += rates[p.name][neuron] * len(goes - {int(cluster[p.name][neuron])})
    assert partition_packets(problem, part) == pytest.approx(expected)


def test_dense_inputs_from_inside_do_not_count_as_from_the_port_when_places_are_known():
    rng, chip = np.random.default_rng(5), spec()
    populations = (population("in", (3,), None), population("rec", (8,)))
    links = (projection("in", "rec", sparse(rng, 8, 3, 0.5)), projection("rec", "rec", dense(8, 8)))
    network = QuantizedNetwork(populations, links, ("in",), ("rec",))
    problems = [
        neuron_problem(network, FakeTarget(chip), ("rec",), machine(chip).capacity, 16, 0.0, None, board).problem
        for board in (None, machine(chip).board())
    ]
    assert [problem.rate.sum() for problem in problems] == [3 + 8, 3]
    for problem in problems:
        assert cluster_loads(problem, np.zeros(8, int))[0].tolist() == list(FakeTarget(chip).demand(network, "rec", np.arange(8)).values())


def test_prices_of_different_scale_and_of_routes():
    class Fine(FakeTarget):
        """Half an axon more per axon into `b`; a route takes one synapse."""

        def neuron_demand(self, network, population):
            exact = super().neuron_demand(network, population)
            if population == "a":
                return exact.__class__(exact.resources, 1, exact.neuron, exact.axon, exact.fixed, [0, 0, 1])
            more = tuple(2 * axon + [[0], [1], [0]] for axon in exact.axon)
            return exact.__class__(exact.resources, 2, 2 * exact.neuron, more, [0, 0, 3], [0, 0, 0], exact.axon)

    network, chip = column(3), spec()
    problem = neuron_problem(network, Fine(chip), ("a", "b"), machine(chip).capacity, 16, 0.0).problem
    assert problem.capacity.tolist() == [32, 128, 1024]
    assert problem.route.tolist() == [0, 0, 2]
    whole = FakeTarget(chip).demand(network, "b", ((0, 3), (0, 3)))
    part = np.repeat([0, 1], [12, 9])
    load = cluster_loads(problem, part)
    routes = sum(int(adjacency(p.connectivity).any(0).sum()) for p in network.projections if (p.source, p.target) == ("b", "a"))
    assert load[1].tolist() == [2 * whole["neurons"], 3 * whole["axons"], 2 * whole["synapses"] + 3 + 2 * routes]
    # Where routes have a price, dense inputs are listed too: every source has a route of its own.
    assert problem.axons == sum(int(adjacency(p.connectivity).any(0).sum()) for p in network.projections if p.target in ("a", "b")) + 1


def interleaved(problem):
    """Every third neuron first, so that no cluster is a run."""
    return np.argsort(np.arange(problem.neurons) % 3, kind="stable")


@pytest.mark.parametrize("make", [column, liquid, recurrent])
@pytest.mark.parametrize("with_rates", [False, True])
def test_index_lists_are_mapped_like_boxes(make, with_rates):
    network, chip = make() if make is recurrent else make(2), spec(neurons=6, axons=45)
    target = FakeTarget(chip)
    rates = random_rates(network, 4) if with_rates else None
    partitioner = Sequential(interleaved)
    assert isinstance(partitioner, Partitioner)
    mapping = map_network(network, target, machine(chip), partitioner, OPTIONS, rates)
    for p in network.populations:
        assert (covered(network, mapping)[p.name] == (p.kernel is not None)).all()
    names = irregular_populations(network)
    listed = [shard for shard in mapping.shards if not isinstance(shard.slice, tuple)]
    assert {shard.population for shard in listed} == set(names)
    assert any((np.diff(shard.slice) > 1).any() for shard in listed)
    assert all((np.diff(shard.slice) > 0).all() for shard in listed)
    for shard in mapping.shards:
        assert shard.demand == {k: int(v) for k, v in target.demand(network, shard.population, shard.slice).items()}
    assert len({(shard.population, shard.cluster) for shard in listed}) == len(listed)
    assert all(amount <= chip.resources[r].max for core in mapping.used() for r, amount in core.items())
    # Traffic is counted from the shards as from boxes.
    at = [(core.x, core.y) for core in mapping.cores]
    ends = {pair: (at[pair[0]] if pair[0] >= 0 else (0, 0), at[pair[1]]) for pair in packets(network, mapping, rates)}
    hops = sum(
        weight * (abs(ends[pair][0][0] - ends[pair][1][0]) + abs(ends[pair][0][1] - ends[pair][1][1]))
        for pair, weight in packets(network, mapping, rates).items()
    )
    assert mapping.placement.objective == pytest.approx(hops)


def test_what_a_bunch_leaves_free_takes_regular_neurons():
    network, chip = column(2), spec(neurons=16, axons=64)
    packed = pack_network(network, FakeTarget(chip), machine(chip), Sequential(), OPTIONS)
    (out,) = (shard for shard in packed.shards if shard.population == "out")
    assert out.slice == ((0, 2),)
    assert out.cluster in {shard.cluster for shard in packed.shards if shard.population != "out"}


def test_a_network_of_irregular_populations_only_is_placed_together_with_the_cut():
    network, chip = liquid(1), spec(neurons=6)
    partitioner = Sequential()
    packed = pack_network(network, FakeTarget(chip), machine(chip), partitioner, OPTIONS)
    (problem,) = partitioner.problems
    assert problem.board is not None
    assert packed.slot.tolist() == list(range(packed.packing.clusters))
    assert [shard.cluster for shard in packed.shards] == list(range(4))
    # With a readout there is more to place than the partitioner knows of.
    partitioner = Sequential()
    assert pack_network(column(1), FakeTarget(chip), machine(chip), partitioner, OPTIONS).slot is None
    assert partitioner.problems[0].board is None


def test_the_bound_on_cores_is_one_for_any_cut():
    network, chip = liquid(1), spec(neurons=6)
    # Axons are the scarce resource of this cut: 24 neurons need four cores, the answer more.
    tight = spec(neurons=6, axons=20)
    packed = pack_network(network, FakeTarget(tight), machine(tight), Sequential(interleaved), OPTIONS)
    assert packed.packing.clusters > 4
    assert (packed.packing.lower_bound, packed.packing.status) == (4, "feasible")
    packed = pack_network(network, FakeTarget(chip), machine(chip), Sequential(), OPTIONS)
    assert (packed.packing.clusters, packed.packing.lower_bound, packed.packing.status) == (4, 4, "optimal")


def test_a_bound_of_the_partitioner_counts_where_prices_are_exact():
    class Knows(Sequential):
        def partition(self, problem, budget):
            answer = super().partition(problem, budget)
            return Partition(answer.part, answer.clusters, answer.clusters, answer.packets, 0.0, "optimal", 0, answer.slot, answer.hops)

    network, chip = liquid(1), spec(neurons=6, axons=20)
    found = [pack_network(network, kind(chip), machine(chip), Knows(interleaved), OPTIONS).packing for kind in (FakeTarget, Words)]
    assert [packing.lower_bound for packing in found] == [found[0].clusters, 4]
    assert [packing.status for packing in found] == ["optimal", "feasible"]


class Words(FakeTarget):
    """Synapses lie in words of four, axon by axon."""

    def demand(self, network, population, part):
        rows = slice_indices(part, network[population].shape)
        words = sum(-(-adjacency(p.connectivity)[rows].sum(0) // 4).sum() for p in network.afferents(population))
        return super().demand(network, population, part) | {"synapses": int(words)}

    def neuron_demand(self, network, population):
        exact = super().neuron_demand(network, population)
        most, least = (tuple(np.array([[0], [4], [rest]]) for _ in exact.axon) for rest in (3, 0))
        neuron = np.array(exact.neuron) * [[4], [4], [1]]
        return NeuronDemand(exact.resources, 4, neuron, most, exact.fixed, exact.route, least)


@pytest.mark.parametrize("synapses", range(14, 60, 5))
def test_rounded_prices_are_taken_as_the_last_answer_shows_them(synapses):
    network, chip = liquid(3), spec(neurons=24, axons=100, synapses=synapses, cores=64, mesh=(8, 8))
    partitioner = Sequential()
    packed = pack_network(network, Words(chip), machine(chip), partitioner, OPTIONS)
    assert all(core.demand["synapses"] <= synapses for core in packed.shards)
    prices = [problem.axon[2].max() for problem in partitioner.problems]
    # Half of the rest of a word at first; more only after an answer with too little room, and never more than the worst case.
    assert prices[0] == 2
    assert prices == sorted(prices)
    assert prices[-1] <= 3
    assert len(prices) < 4
    (first, *_) = partitioner.problems
    worst = Sequential().partition(replace(first, axon=np.maximum(first.axon, [[0], [4], [3]])), Budget())
    assert packed.packing.clusters <= worst.clusters


def test_some_answers_with_half_the_rounding_fit_and_some_do_not():
    attempts = set()
    for synapses in range(14, 60, 3):
        partitioner = Sequential()
        chip = spec(neurons=24, axons=100, synapses=synapses, cores=64, mesh=(8, 8))
        pack_network(liquid(3), Words(chip), machine(chip), partitioner, OPTIONS)
        attempts.add(len(partitioner.problems))
        for problem, before in zip(partitioner.problems[1:], partitioner.problems, strict=False):
            assert problem.previous is not None
            assert (problem.axon >= before.axon).all()
    assert attempts > {1}


def test_without_an_answer_runs_of_neurons_are_tried():
    network, chip = column(2), spec()
    packed = pack_network(network, FakeTarget(chip), machine(chip), Sequential(status="unknown"), OPTIONS)
    assert all(isinstance(shard.slice, tuple) for shard in packed.shards)


def test_a_neuron_that_fits_no_core_is_reported_with_the_regular_ones():
    network, chip = column(2), spec(axons=4)
    with pytest.raises(NmapError) as caught:
        pack_network(network, FakeTarget(chip), machine(chip), Sequential(), OPTIONS)
    assert caught.value.exit_status is Exit.DOES_NOT_FIT
    assert sorted(d.message.split("`")[1] for d in caught.value.diagnostics) == ["a", "b", "out"]


def test_too_few_cores_are_told_with_the_layers_that_need_them():
    network, chip = column(2), spec(neurons=3, cores=4, mesh=(2, 2), max_chips=1)
    with pytest.raises(NmapError) as caught:
        pack_network(network, FakeTarget(chip), machine(chip), Sequential(status="unknown"), OPTIONS)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "NM402"


def test_prices_below_the_demand_are_the_targets_fault():
    class Optimist(FakeTarget):
        def neuron_demand(self, network, population):
            exact = super().neuron_demand(network, population)
            return exact.__class__(exact.resources, 1, 0 * exact.neuron, tuple(0 * axon for axon in exact.axon), exact.fixed, exact.route)

    chip = spec()
    with pytest.raises(RuntimeError, match="neuron_demand of target `fake` is not an upper bound"):
        pack_network(column(2), Optimist(chip), machine(chip), Sequential(), OPTIONS)


def test_an_answer_that_is_none_is_not_taken():
    class Careless(Sequential):
        def partition(self, problem, budget):
            return Partition(np.zeros(problem.neurons, np.int64), 1, 1, 0.0, 0.0, "feasible", 0)

    chip = spec()
    with pytest.raises(ValueError, match="over their budget"):
        pack_network(column(2), FakeTarget(chip), machine(chip), Careless(), OPTIONS)


def test_two_bunches_on_one_core_are_one_shard():
    class Halves(Sequential):
        """Bunches of two neurons, which the packing then puts together."""

        def partition(self, problem, budget):
            part = np.arange(problem.neurons) // 2
            return Partition(part, part.max() + 1, 1, partition_packets(problem, part), 0.0, "feasible", 0)

    network, chip = column(4), spec(neurons=16, axons=200, synapses=600)
    target = FakeTarget(chip)
    packed = pack_network(network, target, machine(chip), Halves(), OPTIONS)
    assert packed.packing.clusters < 10
    lists = [shard for shard in packed.shards if not isinstance(shard.slice, tuple)]
    assert len({(shard.population, shard.cluster) for shard in lists}) == len(lists) < 11
    for shard in lists:
        assert shard.demand == {k: int(v) for k, v in target.demand(network, shard.population, shard.slice).items()}
