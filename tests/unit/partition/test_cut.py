from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import nmap_cpsat
import nmap_greedy
from nmap.connectivity import Conv2d
from nmap.diagnostics import Exit, NmapError
from nmap.partition import map_network
from nmap.partition.cut import cut_population
from nmap.partition.problem import PackingSolution
from nmap.partition.routes import core_traffic
from nmap.quantized import QuantizedNetwork
from tests.unit.partition.fake import (
    OPTIONS,
    FakeTarget,
    convolution,
    covered,
    machine,
    mlp,
    packets,
    population,
    projection,
    recurrent,
    spec,
)

PARTITIONERS = [nmap_greedy.PARTITIONER, nmap_cpsat.PARTITIONER]
NETWORKS = {
    "dense": (lambda: mlp(20, 30, 10), {}),
    "recurrent": (recurrent, {"axons": 40}),
    "conv": (convolution, {"neurons": 40, "axons": 200, "synapses": 800}),
}


@pytest.mark.parametrize("partitioner", PARTITIONERS, ids=lambda p: p.name)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_neuron_is_mapped_once_within_every_budget(name, partitioner):
    build, limits = NETWORKS[name]
    network, chip = build(), spec(**limits)
    target = FakeTarget(chip)
    mapping = map_network(network, target, machine(chip), partitioner, OPTIONS, None)
    for p in network.populations:
        assert (covered(network, mapping)[p.name] == (p.kernel is not None)).all()
    used = [dict.fromkeys(chip.resources, 0) for _ in mapping.cores]
    for shard in mapping.shards:
        for resource, amount in target.demand(network, shard.population, shard.slice).items():
            used[shard.cluster][resource] += amount
    assert used == mapping.used()
    assert all(amount <= chip.resources[r].max for core in used for r, amount in core.items())
    assert len(set(mapping.cores)) == len(mapping.cores) == mapping.packing.clusters
    assert mapping.rates is False


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("with_rates", [False, True])
def test_traffic_counts_one_packet_per_spike_and_listening_core(name, with_rates):
    build, limits = NETWORKS[name]
    network, chip = build(), spec(**limits)
    rates = None
    if with_rates:
        rng = np.random.default_rng(3)
        rates = {p.name: rng.integers(0, 9, p.size) / 8 for p in network.populations}
    mapping = map_network(network, FakeTarget(chip), machine(chip), nmap_greedy.PARTITIONER, OPTIONS, rates)
    source, target, weight = core_traffic(network, mapping.shards, rates)
    found = dict(zip(zip(source.tolist(), target.tolist(), strict=True), weight.tolist(), strict=True))
    assert found == {pair: amount for pair, amount in packets(network, mapping, rates).items() if amount}
    assert mapping.rates is with_rates
    # The objective is those packets times the hops between the cores' routers; the port is router (0, 0).
    at = [(core.x, core.y) for core in mapping.cores]
    ends = {pair: (at[pair[0]] if pair[0] >= 0 else (0, 0), at[pair[1]]) for pair in found}
    hops = sum(w * (abs(ends[pair][0][0] - ends[pair][1][0]) + abs(ends[pair][0][1] - ends[pair][1][1])) for pair, w in found.items())
    assert mapping.placement.objective == pytest.approx(hops)


def test_rows_are_units_and_the_width_is_split_before_the_channels():
    network = convolution()
    c1 = network["c1"]

    def lanes(neurons):
        chip = spec(neurons=neurons, axons=10_000, synapses=10_000)
        return cut_population(network, FakeTarget(chip), c1, machine(chip).capacity)

    whole = lanes(18)
    assert [(lane.box, lane.item.size) for lane in whole] == [(((0, 3), (0, 7), (0, 6)), 7)]
    # One row of 3 channels x 6 columns does not fit 10 neurons; 3 channels x 3 columns do.
    assert [lane.box for lane in lanes(10)] == [((0, 3), (0, 7), (0, 3)), ((0, 3), (0, 7), (3, 6))]
    # A single column of 3 channels does not fit 2 neurons: every column is a lane, and the channels are split 2 + 1.
    by_channel = lanes(2)
    assert len(by_channel) == 12
    assert {lane.box[0] for lane in by_channel} == {(0, 2), (2, 3)}
    floor = FakeTarget(spec()).demand_floor(network, "c1")
    for split in (whole, by_channel):
        assert np.sum([lane.item.floor for lane in split], axis=0) == pytest.approx(list(floor.values()))


def test_tables_stop_at_the_largest_piece_that_fits():
    network, chip = mlp(20, 30), spec(neurons=16, axons=64, synapses=200)
    (lane,) = cut_population(network, FakeTarget(chip), network["fc1"], machine(chip).capacity)
    # 20 synapses a neuron: ten neurons make 200.
    assert lane.item.max_piece == 10
    assert lane.item.demand.tolist() == [list(range(11)), [0] + [20] * 10, [20 * n for n in range(11)]]


def test_the_seam_of_a_lane_is_what_both_sides_of_a_cut_need():
    network, chip = convolution(), spec(neurons=400, axons=1000, synapses=8000)
    seams = {name: [lane.item.seam for lane in cut_population(network, FakeTarget(chip), network[name], machine(chip).capacity)]
             for name in ("c1", "c2", "c3", "out")}
    # 3 x 3 kernel: two rows of 2 channels x 6 columns. Stride as large as the kernel, or a 1 x 1 kernel: nothing. Dense: everything.
    assert seams == {"c1": [24], "c2": [1], "c3": [1], "out": [36 + 126]}


def test_neurons_that_fit_no_core_are_reported_together_with_arithmetic_and_tried_remedies():
    network, chip = mlp(100, 90, 5), spec(axons=64)
    with pytest.raises(NmapError) as caught:
        map_network(network, FakeTarget(chip), machine(chip), nmap_greedy.PARTITIONER, OPTIONS, None)
    assert caught.value.exit_status is Exit.DOES_NOT_FIT
    first, second = caught.value.diagnostics
    assert (first.code, second.code) == ("NM401", "NM401")
    assert "`fc1`" in first.message
    assert "`fc2`" in second.message
    assert first.data["axons"] == {"need": 100, "limit": 64}
    assert all(text in first.why for text in ("over by 36", "made up for tests", "chip.toml [resources.axons]"))
    assert "synapses:" not in first.why
    assert "at most 64 of the 100 inputs" in first.help[0]
    assert "at most 64 of the 90 inputs" in second.help[0]


@pytest.mark.parametrize("partitioner", PARTITIONERS, ids=lambda p: p.name)
def test_too_many_cores_is_a_proved_no_with_a_remedy_that_works(partitioner):
    network, chip = mlp(20, 100), spec(cores=4, mesh=(2, 2))
    with pytest.raises(NmapError) as caught:
        map_network(network, FakeTarget(chip), machine(chip), partitioner, OPTIONS, None)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, caught.value.exit_status) == ("NM402", Exit.DOES_NOT_FIT)
    # 16 neurons a core: 100 neurons take 7 of the 4 cores.
    assert (diagnostic.data["lower_bound"], diagnostic.data["available"], diagnostic.data["enough"]) == (7, 4, 7)
    assert diagnostic.help[0].startswith("`--chips 2`: 8 cores")
    mapping = map_network(network, FakeTarget(chip), machine(chip, chips=2), partitioner, OPTIONS, None)
    assert len(mapping.cores) == 7
    dead = machine(chip, chips=2, dead=((0, 0), (1, 3)))
    with pytest.raises(NmapError) as caught:
        map_network(network, FakeTarget(chip), dead, partitioner, OPTIONS, None)
    assert "without the 2 dead cores" in caught.value.diagnostics[0].help[1]


def test_a_bound_of_this_way_of_cutting_is_no_proof_about_the_network():
    # 19 rows of 6 x 1 neurons, 3 rows a core by neurons: whole rows take 7 cores of 20 neurons, single neurons would fit 6.
    conv = Conv2d(np.ones((1, 1, 1, 1), np.int32), (1, 19, 6))
    network = QuantizedNetwork(
        (population("in", (1, 19, 6), None), population("c", (1, 19, 6))), (projection("in", "c", conv),), ("in",), ("c",),
    )
    chip = spec(neurons=20, axons=1000, synapses=1000, cores=6, mesh=(3, 2))
    with pytest.raises(NmapError) as caught:
        map_network(network, FakeTarget(chip), machine(chip), nmap_cpsat.PARTITIONER, OPTIONS, None)
    (diagnostic,) = caught.value.diagnostics
    assert (diagnostic.code, caught.value.exit_status) == ("NM501", Exit.UNKNOWN)
    assert (diagnostic.data["lower_bound"], diagnostic.data["found"]) == (6, 7)
    assert diagnostic.help[0].startswith("`--chips 2`: 12 cores")
    mapping = map_network(network, FakeTarget(chip), machine(chip, chips=2), nmap_cpsat.PARTITIONER, OPTIONS, None)
    assert (mapping.packing.clusters, mapping.packing.lower_bound, mapping.packing.status) == (7, 6, "feasible")


def test_unknown_is_not_does_not_fit():
    class Tired:
        name = "tired"

        def pack(self, problem, budget):
            return PackingSolution((), 9, 3, "unknown")

        def place(self, problem, budget):
            raise AssertionError

    chip = spec()
    with pytest.raises(NmapError) as caught:
        map_network(mlp(20, 30), FakeTarget(chip), machine(chip), Tired(), OPTIONS, None)
    assert caught.value.exit_status is Exit.UNKNOWN
    assert caught.value.diagnostics[0].code == "NM501"
    assert caught.value.diagnostics[0].help


def test_a_target_whose_upper_bound_is_none_is_caught():
    class Optimist(FakeTarget):
        def demand_at_most(self, network, population, extent):
            return {"neurons": 1, "axons": 1, "synapses": 1}

        def demand_floor(self, network, population):
            return {"neurons": 1.0, "axons": 1.0, "synapses": 1.0}

    chip = spec()
    with pytest.raises(RuntimeError, match="not an upper bound"):
        map_network(mlp(20, 30), Optimist(chip), machine(chip), nmap_greedy.PARTITIONER, OPTIONS, None)


def test_a_partitioner_that_overfills_cores_is_caught():
    class Careless:
        name = "careless"

        def pack(self, problem, budget):
            good = nmap_greedy.PARTITIONER.pack(problem, budget)
            return replace(good, pieces=tuple(replace(piece, cluster=0) for piece in good.pieces), clusters=1, lower_bound=1)

    chip = spec()
    with pytest.raises(ValueError, match="over their budget"):
        map_network(mlp(20, 30), FakeTarget(chip), machine(chip), Careless(), OPTIONS, None)
