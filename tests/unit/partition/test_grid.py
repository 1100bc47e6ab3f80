"""Partitioners that cut themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest

import nmap_greedy
from nmap.connectivity import Sparse
from nmap.diagnostics import NmapError
from nmap.partition import pack_network
from nmap.partition.grid import CutProblem, Cutter, check_grid
from nmap_greedy import Greedy
from tests.unit.partition.fake import OPTIONS, FakeTarget, convolution, covered, machine, mlp, recurrent, spec


@dataclass(frozen=True, slots=True)
class Quarters(Greedy):
    """Greedy, on pieces of at most `length` along every dimension."""

    name: str = "quarters"
    length: int = 4

    def cut(self, problem):
        return tuple(
            tuple((start, min(start + self.length, size)) for start in range(0, size, self.length)) for size in problem.shape
        )


def problem(shape=(4, 6), capacity=24):
    return CutProblem("p", shape, ("neurons",), np.array([capacity]), lambda extent: np.array([np.prod(extent)]))


@pytest.mark.parametrize("grid", [
    (((0, 4),),),
    (((0, 4),), ((0, 3), (4, 6))),
    (((0, 4),), ((0, 4), (3, 6))),
    (((0, 4),), ((0, 3), (3, 3), (3, 6))),
    (((0, 4),), ((0, 5),)),
    (((0, 4),), ((1, 6),)),
    (((0, 4),), ()),
], ids=["dimension", "gap", "overlap", "empty part", "short", "late", "none"])
def test_a_grid_that_does_not_cover_the_shape_once_is_refused(grid):
    with pytest.raises(ValueError, match="do not cover its shape"):
        check_grid(problem(), grid)


def test_a_grid_beyond_a_core_is_refused():
    grid = (((0, 4),), ((0, 1), (1, 6)))
    check_grid(problem(capacity=20), grid)
    with pytest.raises(ValueError, match="does not fit a core"):
        check_grid(problem(capacity=19), grid)


def test_only_partitioners_with_a_cut_are_cutters():
    assert isinstance(Quarters(), Cutter)
    assert not isinstance(nmap_greedy.PARTITIONER, Cutter)


@pytest.mark.parametrize(("build", "limits"), [
    (lambda: mlp(20, 30, 10), {}), (convolution, {"neurons": 80, "axons": 200, "synapses": 2000}), (recurrent, {"axons": 40}),
], ids=["dense", "conv", "sparse"])
def test_populations_are_cut_as_the_partitioner_says(build, limits):
    network, chip = build(), spec(cores=64, mesh=(8, 8), **limits)
    target = FakeTarget(chip)
    mapping = pack_network(network, target, machine(chip), Quarters(), OPTIONS)
    for p in network.populations:
        assert (covered(network, mapping)[p.name] == (p.kernel is not None)).all()
    for shard in mapping.shards:
        assert isinstance(shard.slice, tuple)
        # Neighbouring pieces on one core are one shard along the axis that is counted; along the others they are not.
        counted = 1 if len(shard.slice) == 3 else 0
        for dimension, (start, stop) in enumerate(shard.slice):
            size = network[shard.population].shape[dimension]
            assert start % 4 == 0 or dimension == counted
            assert stop - start == min(4, size - start) or dimension == counted


def test_the_bound_is_that_of_the_usual_lanes():
    """30 neurons of 20 inputs on cores of 16 neurons: two cores by neurons, three by 600 + 300 synapses of 512 a core."""
    network, chip = mlp(20, 30, 10), spec()
    usual = pack_network(network, FakeTarget(chip), machine(chip), nmap_greedy.PARTITIONER, OPTIONS)
    own = pack_network(network, FakeTarget(chip), machine(chip), Quarters(), OPTIONS)
    assert own.packing.lower_bound == usual.packing.lower_bound == 3


def test_a_cut_beyond_a_core_is_an_error_of_the_partitioner():
    network, chip = mlp(20, 30, 10), spec()
    with pytest.raises(ValueError, match="does not fit a core"):
        pack_network(network, FakeTarget(chip), machine(chip), Quarters(length=30), OPTIONS)


def test_a_neuron_that_fits_no_core_is_told_before_anything_is_cut():
    network, chip = mlp(20, 30, 10), spec(axons=10)
    with pytest.raises(NmapError) as error:
        pack_network(network, FakeTarget(chip), machine(chip), Quarters(), OPTIONS)
    assert {d.code for d in error.value.diagnostics} == {"NM401"}


@dataclass(frozen=True, slots=True)
class Watching(Quarters):
    """Keeps what it was asked."""

    seen: tuple[list[CutProblem]] = ([],)

    def cut(self, problem):
        self.seen[0].append(problem)
        return Quarters.cut(self, problem)


def test_long_lists_are_also_priced_with_their_zeros():
    """`FakeTarget` counts the synapses of non-zero structure: a matrix has all of them, whatever its weights."""
    network, chip = recurrent(), spec(axons=60, synapses=2000, cores=64, mesh=(8, 8))
    # 20 neurons with 20 + 17 + 15 synapses among themselves.
    matrix = sum(np.eye(20, k=k, dtype=np.int32) for k in (0, 3, 5))
    loop = replace(network.projections[1], connectivity=Sparse.from_dense(matrix))
    network = replace(network, projections=(network.projections[0], loop, network.projections[2]))
    watching = Watching(seen=([],))
    pack_network(network, FakeTarget(chip), machine(chip), watching, OPTIONS)
    for problem in watching.seen[0]:
        afferents = network.afferents(problem.name)
        lists = [p for p in afferents if isinstance(p.connectivity, Sparse)]
        long = any(p.connectivity.synapses > p.connectivity.in_size + p.connectivity.out_size for p in lists)
        assert (problem.whole is not None) == long
        if long:
            sources = sum(p.connectivity.in_size for p in afferents)
            assert problem.whole((2,)).tolist() == [2, sources, 2 * sources]
            assert (problem.demand((2,)) <= problem.whole((2,))).all()
    assert any(problem.whole is not None for problem in watching.seen[0])
    assert any(problem.whole is None for problem in watching.seen[0])
