"""Mapping again: what is kept, what moves and why, on a chip that can be checked by hand and with a naive partitioner of its own."""

from __future__ import annotations

from dataclasses import replace
from math import fsum

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.diagnostics import NmapError
from nmap.options import Options
from nmap.partition.cut import pack_network, place_clusters, placement_problem
from nmap.partition.incremental import Start, pack_again, place_again, told
from nmap.partition.partitioner import Budget
from nmap.partition.problem import PackingSolution, Piece
from nmap.partition.tiles import sweep
from nmap.place.board import Board
from nmap.place.problem import PlacementProblem, PlacementSolution, placement_cost
from nmap.program import Core, slice_indices
from tests.unit.partition.fake import FakeTarget, convolution, covered, machine, mlp, spec

OPTIONS = Options(effort=0, slack=0.0)
BUDGET = Budget(0)


def cost(problem: PlacementProblem, slot: np.ndarray) -> float:
    """Traffic times hops plus what moves cost, one flow at a time."""
    total = []
    for source, target, weight in zip(problem.source, problem.target, problem.weight, strict=True):
        start = problem.board.port if source < 0 else problem.board.slots[slot[source]]
        total.append(weight * float(np.abs(np.asarray(start) - problem.board.slots[slot[target]]).sum()))
    if problem.home is not None:
        total.append(problem.move_cost * sum(a != b for a, b in zip(problem.home, slot, strict=True) if a >= 0))
    return fsum(total)


class Naive:
    """First fit, then swaps as long as one helps; does what the problems say, and no more."""

    name = "naive"

    def pack(self, problem, budget):
        room = [] if problem.taken is None else [problem.capacity - taken for taken in problem.taken]
        old, pieces = len(room), []
        for number, item in enumerate(problem.items):
            left = item.size
            while left:
                for cluster, free in enumerate(room):
                    fits = [n for n in range(1, min(left, item.max_piece) + 1) if (item.demand[:, n] <= free).all()]
                    if fits:
                        room[cluster] = free - item.demand[:, fits[-1]]
                        pieces.append(Piece(number, fits[-1], cluster))
                        left -= fits[-1]
                        break
                else:
                    room.append(problem.capacity)
        status = "feasible" if len(room) <= problem.cores else "infeasible"
        return PackingSolution(tuple(pieces) if status == "feasible" else (), len(room), max(old, 1), status)

    def choose_tiles(self, problem, budget):
        return sweep(problem)

    def partition(self, problem, budget):
        raise NotImplementedError

    def place(self, problem, budget):
        pinned = problem.pinned if problem.pinned is not None else np.full(problem.clusters, -1)
        wish = problem.home if problem.home is not None else np.full(problem.clusters, -1)
        free = [s for s in range(problem.board.size) if s not in {*pinned.tolist(), *wish.tolist()}]
        slot = np.array([p if p >= 0 else w if w >= 0 else free.pop(0) for p, w in zip(pinned, wish, strict=True)], np.int64)
        better = True
        while better:
            better = False
            for a in np.flatnonzero(pinned < 0):
                for to in range(problem.board.size):
                    other = np.flatnonzero(slot == to)
                    if other.size and pinned[other[0]] >= 0:
                        continue
                    tried = slot.copy()
                    if other.size:
                        tried[other[0]] = slot[a]
                    tried[a] = to
                    if cost(problem, tried) < cost(problem, slot) - 1e-9:
                        slot, better = tried, True
        return PlacementSolution(slot, placement_cost(problem, slot), 0.0, "feasible", budget.seed)


NAIVE = Naive()


def deploy(network, chip, dead=(), chips=None):
    """Return the mapping and the program of a network from scratch."""
    laid = machine(chip, dead=dead, chips=chips)
    packed = pack_network(network, FakeTarget(chip), laid, NAIVE, OPTIONS, BUDGET)
    problem = placement_problem(network, FakeTarget(chip), laid, packed)
    mapping = place_clusters(laid, packed, problem, NAIVE.place(problem, BUDGET), False)
    return mapping, build_program(network, "fake", mapping)


def again(network, chip, program, dead=(), chips=None):
    """Return the mapping from an earlier program, and what is told of it."""
    laid = machine(chip, dead=dead, chips=chips)
    packed, start = pack_again(network, FakeTarget(chip), laid, NAIVE, OPTIONS, program, BUDGET)
    problem = placement_problem(network, FakeTarget(chip), laid, packed)
    mapping = place_clusters(laid, packed, problem, place_again(problem, start, NAIVE, BUDGET), False)
    return mapping, told(start, mapping.cores, laid)


def where(mapping):
    """(chip, core) of every neuron by population and index."""
    found = {}
    for shard in mapping.shards:
        core = mapping.cores[shard.cluster]
        shape = SHAPES[shard.population]
        found.update({(shard.population, int(k)): (core.chip, core.core) for k in slice_indices(shard.slice, shape)})
    return found


def together(mapping, names):
    """The slices of some populations, core by core."""
    lying = {}
    for shard in mapping.shards:
        if shard.population in names:
            lying.setdefault(shard.cluster, []).append((shard.population, shard.slice))
    return sorted(lying.values())


SHAPES = {"fc1": (30,), "fc2": (12,), "fc3": (5,)}
NET = mlp(10, 30, 12, 5)
CHIP = spec(neurons=8, axons=80, synapses=400)


@pytest.fixture(scope="module")
def first():
    return deploy(NET, CHIP)


def check(network, chip, mapping, remap):
    """Everything lies somewhere, no core holds too much, and the counts add up."""
    assert all((times == 1).all() for name, times in covered(network, mapping).items() if network[name].kernel is not None)
    capacity = mapping.machine.capacity
    assert all(amount[name] <= capacity[name] for amount in mapping.used() for name in capacity)
    usable = {(c.chip, c.core) for c in mapping.machine.cores}
    assert {(c.chip, c.core) for c in mapping.cores} <= usable
    assert len({(c.chip, c.core) for c in mapping.cores}) == len(mapping.cores) == mapping.packing.clusters
    assert mapping.packing.lower_bound <= mapping.packing.clusters
    assert remap.before == remap.kept + len(remap.moved) + remap.freed
    assert len(mapping.cores) == remap.kept + len(remap.moved) + remap.new
    del chip


def test_nothing_changed_nothing_moves(first):
    mapping, program = first
    same, remap = again(NET, CHIP, program)
    check(NET, CHIP, same, remap)
    assert where(same) == where(mapping)
    assert (remap.kept, remap.moved, remap.freed, remap.new, remap.recut, remap.removed) == (len(mapping.cores), (), 0, 0, (), ())
    # All demand is of neurons: 47 of 8 a core.
    assert same.packing.lower_bound == 6


def test_dead_core_moves_alone_to_the_best_free_place(first):
    mapping, program = first
    # The core of the output, which sends nothing: no place for it costs much.
    lost = mapping.cores[-1]
    after, remap = again(NET, CHIP, program, dead=[(lost.chip, lost.core)])
    check(NET, CHIP, after, remap)
    assert remap.kept == len(mapping.cores) - 1
    (move,) = remap.moved
    assert (move.old, move.why) == (lost, "dead")
    before, now = where(mapping), where(after)
    changed = {key for key in before if before[key] != now[key]}
    assert changed == {key for key, core in before.items() if core == (lost.chip, lost.core)}
    # No other free slot is better for it while all others stay.
    problem = placement_problem(NET, FakeTarget(CHIP), after.machine, after_packed(after))
    taken = {(c.chip, c.core) for c in after.cores}
    slots = {(c.chip, c.core): k for k, c in enumerate(after.machine.cores)}
    slot = np.array([slots[c.chip, c.core] for c in after.cores])
    cluster = next(k for k, c in enumerate(after.cores) if c == move.new)
    for free in set(slots) - taken:
        other = slot.copy()
        other[cluster] = slots[free]
        assert cost(problem, other) >= cost(problem, slot) - 1e-9


def after_packed(mapping):
    from nmap.mapping import Packed

    return Packed(mapping.shards, mapping.packing)


def test_several_dead_cores_and_a_smaller_machine(first):
    mapping, program = first
    lost = [(c.chip, c.core) for c in mapping.cores[:3]]
    after, remap = again(NET, CHIP, program, dead=lost)
    check(NET, CHIP, after, remap)
    assert {(m.old.chip, m.old.core) for m in remap.moved if m.why == "dead"} == set(lost)
    wide, program = deploy(NET, CHIP, dead=[(0, k) for k in range(14)], chips=2)
    assert 1 in {c.chip for c in wide.cores}
    narrow, remap = again(NET, CHIP, program)
    check(NET, CHIP, narrow, remap)
    assert {m.why for m in remap.moved if m.old.chip == 1} == {"absent"}


def test_resized_layer_is_cut_anew_and_the_rest_stays(first):
    mapping, program = first
    wider = mlp(10, 30, 14, 5)
    after, remap = again(wider, CHIP, program)
    check(wider, CHIP, after, remap)
    assert (remap.recut, remap.removed, remap.repacked) == (("fc2",), (), False)
    assert together(after, {"fc1", "fc3"}) == together(mapping, {"fc1", "fc3"})
    # Kept or moved: every core that held something of what stayed.
    assert remap.freed == len(mapping.cores) - len(together(mapping, {"fc1", "fc3"}))
    stayed = {(move.old.chip, move.old.core) for move in remap.moved}
    lay = {(mapping.cores[s.cluster].chip, mapping.cores[s.cluster].core) for s in mapping.shards if s.population != "fc2"}
    now = {(after.cores[s.cluster].chip, after.cores[s.cluster].core) for s in after.shards if s.population != "fc2"}
    assert lay - stayed <= now


def test_room_on_kept_cores_is_used_before_further_cores():
    chip = spec(neurons=8, axons=80, synapses=400, cores=2, mesh=(2, 1))
    small = mlp(4, 6)
    _, program = deploy(small, chip)
    longer = mlp(4, 6, 2)
    after, remap = again(longer, chip, program)
    check(longer, chip, after, remap)
    # 6 + 2 neurons are one core's.
    assert (len(after.cores), remap.kept, remap.new, remap.recut) == (1, 1, 0, ("fc2",))


def test_removed_layer_frees_its_cores(first):
    mapping, program = first
    shorter = mlp(10, 30, 5)
    after, remap = again(shorter, CHIP, program)
    check(shorter, CHIP, after, remap)
    # fc2 has five neurons now: those of what was fc3.
    assert (remap.recut, remap.removed) == ((), ("fc2",))
    was = [(shard.population, shard.slice) for shard in mapping.shards if shard.population != "fc2"]
    assert [({"fc2": "fc3"}.get(shard.population, shard.population), shard.slice) for shard in after.shards] == was
    assert remap.freed == len(mapping.cores) - len({shard.cluster for shard in mapping.shards if shard.population != "fc2"})


def test_grown_fan_in_moves_out_what_no_longer_fits():
    chip = spec(neurons=8, axons=24, synapses=100)
    small = mlp(10, 8, 6)
    _, program = deploy(small, chip)
    # fc2 now has 15 synapses a neuron: six of them take 90, fc1's eight 80, and seven of 15 are too many for a core.
    large = replace(small, populations=(*small.populations[:1], *mlp(10, 15, 6).populations[1:]), projections=mlp(10, 15, 6).projections)
    after, remap = again(large, chip, program)
    check(large, chip, after, remap)
    assert "fc1" in remap.recut


def test_change_that_does_not_fit_beside_the_kept_is_packed_anew():
    chip = spec(neurons=8, axons=80, synapses=1000, cores=2, mesh=(2, 1))
    narrow = mlp(4, 5, 5)
    _, program = deploy(narrow, chip)
    # 5 + 5 lie on two cores as 5 + 3 and 2; fc1 with 11 needs 8 + 3, beside 5 of fc2: no kept core may be broken up for it.
    wide = mlp(4, 11, 5)
    after, remap = again(wide, chip, program)
    check(wide, chip, after, remap)
    assert len(after.cores) == 2
    with pytest.raises(NmapError) as caught:
        again(mlp(4, 40, 5), chip, program)
    assert caught.value.diagnostics[0].code == "NM402"


def test_convolutions_keep_their_boxes():
    chip = spec(neurons=64, axons=200, synapses=1500)
    network = convolution()
    mapping, program = deploy(network, chip)
    assert len(mapping.cores) > 3
    lost = mapping.cores[0]
    after, remap = again(network, chip, program, dead=[(lost.chip, lost.core)])
    check(network, chip, after, remap)
    assert [(s.population, s.slice) for s in after.shards] == [(s.population, s.slice) for s in mapping.shards]
    assert [m.old for m in remap.moved if m.why == "dead"] == [lost]


def test_layers_without_names_are_matched_in_order_by_shape():
    chip = spec(neurons=16, axons=80, synapses=400)
    _, program = deploy(mlp(4, 12, 16, 9), chip)
    # A layer of 7 goes in: fc2 is new, fc3 and fc4 are what fc2 and fc3 were.
    longer = mlp(4, 12, 7, 16, 9)
    after, remap = again(longer, chip, program)
    check(longer, chip, after, remap)
    assert remap.recut == ("fc2",)
    assert remap.removed == ()


def test_cores_move_where_what_is_displaced_would_cost_too_much():
    # A row of ten slots; 0 and 1 lie at its left end. 2 talks to 0 and lost its core; the next free slot is far away.
    board = Board(np.stack([np.arange(10), np.zeros(10, np.int64)], 1))
    cores = tuple(Core(0, k, 0, k) for k in range(10))
    problem = PlacementProblem(9, board, np.array([-1, 0]), np.array([0, 8]), np.array([1.0, 100.0]))
    home = np.array([0, 1, 2, 3, 4, 5, 6, 7, -1])
    start = Start(cores[:9], home, cores[:9], (), (), False)
    answer = place_again(problem, start, NAIVE, BUDGET)
    # Slot 8 would cost 800. One of those without traffic makes room beside 0, and at most 0 itself moves with it.
    assert answer.objective <= 1.05 * cost(problem, NAIVE.place(problem, BUDGET).slot) < 120
    assert 1 <= ((answer.slot != home) & (home >= 0)).sum() <= 2


def test_what_lay_badly_before_stays_as_long_as_nothing_forces_it():
    board = Board(np.stack([np.arange(10), np.zeros(10, np.int64)], 1))
    cores = (Core(0, 0, 0, 0), Core(0, 9, 0, 9), Core(0, 1, 0, 1))
    problem = PlacementProblem(3, board, np.array([0, -1]), np.array([1, 2]), np.array([100.0, 1.0]))
    start = Start(cores, np.array([0, 9, 1]), cores, (), (), False)
    answer = place_again(problem, start, NAIVE, BUDGET)
    assert answer.slot.tolist() == [0, 9, 1]
    assert answer.objective == 901.0
    # Still true where another core is new and can lie well.
    more = replace(problem, clusters=4, source=np.array([0, -1, 2]), target=np.array([1, 2, 3]), weight=np.array([100.0, 1.0, 5.0]))
    grown = Start((*cores, None), np.array([0, 9, 1, -1]), cores, (), (), False)
    assert place_again(more, grown, NAIVE, BUDGET).slot.tolist() == [0, 9, 1, 2]


def test_answer_that_ignores_pins_is_not_believed():
    class Stubborn(Naive):
        def place(self, problem, budget):
            return super().place(replace(problem, pinned=None), budget)

    board = Board(np.stack([np.arange(4), np.zeros(4, np.int64)], 1))
    problem = PlacementProblem(2, board, np.array([-1, 0]), np.array([0, 1]), np.array([1.0, 1.0]))
    start = Start((Core(0, 3, 0, 3), None), np.array([3, -1]), (Core(0, 3, 0, 3),), (), (), False)
    with pytest.raises(ValueError, match="pin"):
        place_again(problem, start, Stubborn(), BUDGET)


@pytest.mark.parametrize("seed", range(4))
def test_traffic_stays_near_that_of_a_free_choice_and_fewer_cores_move(seed):
    rng = np.random.default_rng(seed)
    board = Board(np.array([(x, y) for y in range(4) for x in range(4)]))
    links = [(s, t) for s in range(-1, 9) for t in range(9) if s != t and rng.random() < 0.3]
    source, target = np.array(links).T
    problem = PlacementProblem(9, board, source, target, rng.integers(1, 20, source.size).astype(np.float64))
    before = NAIVE.place(problem, BUDGET).slot
    home = before.copy()
    # Two cores died, one cluster is new.
    home[rng.choice(9, 3, replace=False)] = -1
    alive = np.setdiff1d(np.arange(16), before[home < 0])
    smaller = replace(problem, board=board.part(alive))
    home = np.array([-1 if h < 0 else int(np.searchsorted(alive, h)) for h in home])
    cores = tuple(Core(0, 0, 0, k) for k in range(9))
    start = Start(cores, home, cores, (), (), False)
    answer, free = place_again(smaller, start, NAIVE, BUDGET), NAIVE.place(smaller, BUDGET)
    assert answer.objective == pytest.approx(cost(smaller, answer.slot))
    pinned = NAIVE.place(replace(smaller, pinned=home), BUDGET).slot

    def forced(slot):
        """Traffic with what died, by hand."""
        flows = [(s, t, w) for s, t, w in zip(smaller.source, smaller.target, smaller.weight, strict=True)
                 if home[t] < 0 or (s >= 0 and home[s] < 0)]
        at = smaller.board.slots
        return sum(w * np.abs((np.zeros(2, int) if s < 0 else at[slot[s]]) - at[slot[t]]).sum() for s, t, w in flows)

    as_before = cost(smaller, pinned) - forced(pinned) + forced(free.slot)
    enough = 1.05 * max(cost(smaller, free.slot), as_before)
    assert answer.objective <= enough + 1e-9
    left = (home >= 0) & (answer.slot != home)
    # Where staying is good enough, all stay.
    assert left.any() == (cost(smaller, pinned) > enough)
