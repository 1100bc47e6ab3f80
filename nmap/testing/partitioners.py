"""The conformance suite of partitioners."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.partition.neurons import check_partition, partition_packets
from nmap.partition.partitioner import Budget, Partitioner
from nmap.partition.problem import check_packing
from nmap.partition.tiles import check_tiling
from nmap.place.problem import check_placement
from nmap.testing.problems import best_placement, best_tiling, bound_placement, neurons, overfull_packing, packing, placement, tiling

__all__ = ["PartitionerConformance"]


class PartitionerConformance:
    """Tests every partitioner must pass. Subclass it (the name starting with `Test`) and give it a fixture `partitioner`."""

    def test_is_a_partitioner(self, partitioner: Partitioner) -> None:
        """It has the contract's members and a name."""
        assert isinstance(partitioner, Partitioner)
        assert partitioner.name

    @pytest.mark.parametrize("seed", range(6))
    def test_packing_is_feasible_and_its_bound_holds(self, partitioner: Partitioner, seed: int) -> None:
        """Pieces cover the items within every budget, and the bound is below what is known to be enough."""
        problem, enough = packing(seed)
        solution = partitioner.pack(problem, Budget(effort=0))
        assert solution.status in {"optimal", "feasible", "unknown"}, f"{enough} cores are enough, and there are {enough}"
        assert solution.lower_bound <= enough
        if solution.status != "unknown":
            check_packing(problem, solution)
        if solution.status == "optimal":
            assert solution.clusters == solution.lower_bound

    def test_packing_finds_room_where_there_is_plenty(self, partitioner: Partitioner) -> None:
        """With cores to spare there is no excuse for an answer without pieces."""
        problem, enough = packing(3)
        solution = partitioner.pack(replace(problem, cores=4 * enough), Budget(effort=0))
        assert solution.status in {"optimal", "feasible"}
        check_packing(replace(problem, cores=4 * enough), solution)

    def test_packing_never_claims_what_cannot_be(self, partitioner: Partitioner) -> None:
        """Too few cores are told apart from a solver that gave up, and neither comes with a mapping."""
        solution = partitioner.pack(overfull_packing(), Budget(effort=0))
        assert solution.status in {"infeasible", "unknown"}
        assert solution.lower_bound <= 3

    @pytest.mark.parametrize("seed", range(2))
    def test_packing_is_deterministic(self, partitioner: Partitioner, seed: int) -> None:
        """The same problem and budget give the same answer."""
        problem, _ = packing(seed, items=7)
        first, second = (partitioner.pack(problem, Budget(effort=0, seed=seed)) for _ in range(2))
        assert first == second

    @pytest.mark.parametrize("seed", range(4))
    def test_tiling_is_within_its_cores_and_its_bound_holds(self, partitioner: Partitioner, seed: int) -> None:
        """Every layer has an option, and no choice has fewer copies than is claimed."""
        problem = tiling(seed)
        solution = partitioner.choose_tiles(problem, Budget(effort=0))
        assert solution.lower_bound <= best_tiling(problem)
        check_tiling(problem, solution)

    @pytest.mark.parametrize("board", [False, True])
    @pytest.mark.parametrize("seed", range(3))
    def test_partition_is_feasible_and_its_bounds_hold(self, partitioner: Partitioner, seed: int, board: bool) -> None:
        """Clusters keep to every budget, and the bounds are below what a known partition has."""
        problem, planted = neurons(seed, board)
        solution = partitioner.partition(problem, Budget(effort=0, seed=seed))
        assert solution.status in {"optimal", "feasible", "unknown"}, "3 cores are enough, and there are 3"
        assert solution.lower_bound <= 3
        if solution.status != "unknown":
            assert solution.packets_bound <= partition_packets(problem, planted) + 1e-9
            check_partition(problem, solution)
        if solution.status == "optimal":
            assert solution.clusters == solution.lower_bound

    def test_partition_finds_room_where_there_is_plenty(self, partitioner: Partitioner) -> None:
        """With a core for every neuron there is no excuse for an answer without clusters."""
        problem = replace(neurons(0)[0], cores=12)
        solution = partitioner.partition(problem, Budget(effort=0))
        assert solution.status in {"optimal", "feasible"}
        check_partition(problem, solution)

    def test_partition_is_deterministic(self, partitioner: Partitioner) -> None:
        """The same problem and budget give the same answer."""
        problem = replace(neurons(1, board=True)[0], cores=4)
        first, second = (partitioner.partition(problem, Budget(effort=0, seed=1)) for _ in range(2))
        assert first.slot is not None
        assert second.slot is not None
        np.testing.assert_array_equal(first.part, second.part)
        np.testing.assert_array_equal(first.slot, second.slot)
        assert (first.packets, first.lower_bound, first.status) == (second.packets, second.lower_bound, second.status)

    @pytest.mark.parametrize("seed", range(4))
    def test_placement_is_valid_and_its_bound_holds(self, partitioner: Partitioner, seed: int) -> None:
        """Slots are distinct, the objective is the assignment's, the bound is below the true optimum, and `optimal` means it."""
        problem = placement(seed)
        solution = partitioner.place(problem, Budget(effort=0, seed=seed))
        check_placement(problem, solution)
        best = best_placement(problem)
        assert solution.lower_bound <= best + 1e-9
        if solution.status == "optimal":
            assert solution.objective == pytest.approx(best)

    @pytest.mark.parametrize("multicast", [False, True])
    @pytest.mark.parametrize("seed", range(3))
    def test_placement_keeps_to_side_constraints(self, partitioner: Partitioner, seed: int, multicast: bool) -> None:
        """Classes and pins are kept, homes and trees are paid for, on a mesh, a torus and several chips."""
        problem = bound_placement(seed, multicast)
        solution = partitioner.place(problem, Budget(effort=0, seed=seed))
        check_placement(problem, solution)
        best = best_placement(problem)
        assert solution.lower_bound <= best + 1e-9
        if solution.status == "optimal":
            assert solution.objective == pytest.approx(best)

    def test_placement_says_when_there_is_no_place(self, partitioner: Partitioner) -> None:
        """Too few slots of a class, and a pin to a slot of another class, are errors of the caller."""
        problem = bound_placement(0)
        with pytest.raises(ValueError, match="one class"):
            partitioner.place(replace(problem, board=replace(problem.board, kind=np.full(6, 7))), Budget(effort=0))
        with pytest.raises(ValueError, match="pinned"):
            partitioner.place(replace(problem, pinned=np.array([0, 0, -1, -1])), Budget(effort=0))

    def test_placement_returns_when_it_is_stopped(self, partitioner: Partitioner) -> None:
        """A stopped search still has an answer, and says so honestly."""
        problem = placement(1, clusters=11, mesh=(4, 4))
        check_placement(problem, partitioner.place(problem, Budget(effort=2, stopped=lambda: True)))

    @pytest.mark.parametrize("seed", range(2))
    def test_placement_is_deterministic(self, partitioner: Partitioner, seed: int) -> None:
        """The same problem and budget give the same answer."""
        problem = placement(seed, clusters=11, mesh=(4, 4))
        first, second = (partitioner.place(problem, Budget(effort=0, seed=seed)) for _ in range(2))
        np.testing.assert_array_equal(first.slot, second.slot)
        assert (first.objective, first.lower_bound, first.status) == (second.objective, second.lower_bound, second.status)
        check_placement(problem, first)

    def test_one_cluster_is_placed(self, partitioner: Partitioner) -> None:
        """A single cluster goes to a slot nearest to the input port."""
        problem = placement(0, clusters=1)
        solution = partitioner.place(problem, Budget(effort=0))
        check_placement(problem, solution)
        assert solution.objective == best_placement(problem)
