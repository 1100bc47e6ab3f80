"""The conformance suites find what they are there to find: each test fails on a plug-in broken in just that way."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest

from nmap.diagnostics import Findings, NmapError
from nmap.network import Conventions, Network
from nmap.partition.neurons import Partition, PartitionProblem
from nmap.partition.partitioner import Budget
from nmap.partition.problem import PackingProblem, PackingSolution, check_packing
from nmap.partition.tiles import TilingProblem, TilingSolution
from nmap.place.problem import PlacementProblem, PlacementSolution, placement_cost
from nmap.simulate.floating import simulate
from nmap.target.registry import find_partitioner
from nmap.testing import PartitionerConformance, TargetConformance
from nmap.testing.networks import FOREIGN_NETWORKS, FOREIGN_OFFENDERS, RANDOM_NETWORKS, random_inputs, random_ports
from nmap.testing.problems import best_placement, overfull_packing, packing, placement
from nmap_toy import Toy
from nmap_toy.kernels import LifKernel

SUITE = TargetConformance()
GREEDY = find_partitioner("greedy")


class GreedyAboutAxons(Toy):
    def demand(self, network: Any, population: str, box: Any) -> Any:
        return super().demand(network, population, box) | {"axons": 1}


class TightBound(Toy):
    def demand_at_most(self, network: Any, population: str, extent: Any) -> Any:
        return {name: value - 1 for name, value in super().demand_at_most(network, population, extent).items()}


class HighFloor(Toy):
    def demand_floor(self, network: Any, population: str) -> Any:
        return {name: value + 1 for name, value in super().demand_floor(network, population).items()}


class StopsAtTheFirst(Toy):
    @property
    def rules(self) -> Any:
        def first_only(rule: Any) -> Any:
            def checked(network: Any, spec: Any, options: Any, findings: Any) -> None:
                if not findings.errors:
                    rule(network, spec, options, findings)
            checked.__doc__ = rule.__doc__
            return checked
        return tuple(first_only(rule) for rule in super().rules)


class Moody(Toy):
    calls = count()

    def quantize(self, network: Any, options: Any, findings: Any) -> Any:
        made = super().quantize(network, options, findings)
        last = made.projections[-1]
        changed = replace(last, connectivity=last.connectivity.with_weights(last.connectivity.weights + np.int32(next(self.calls))))
        return replace(made, projections=(*made.projections[:-1], changed))


class Stamped(Toy):
    calls = count()

    def emit(self, network: Any, program: Any) -> Any:
        return super().emit(network, program) | {"made.txt": str(next(self.calls)).encode()}


class StrictThreshold(LifKernel):
    def reference_step(self, params: Any, state: Any, dendrite: Any, step: int) -> Any:
        return super().reference_step(params | {"threshold": params["threshold"] + 1}, state, dendrite, step)


class OtherNeuron(Toy):
    @property
    def kernels(self) -> Any:
        return {"toy.lif": StrictThreshold()}


class Undocumented(Toy):
    @property
    def rules(self) -> Any:
        return (lambda network, spec, options, findings: None,)


class IgnoresLags(Toy):
    def quantize(self, network: Any, options: Any, findings: Any) -> Any:
        return super().quantize(replace(network, conventions=replace(network.conventions, lag=0)), options, findings)


class NoModelRule(Toy):
    @property
    def rules(self) -> Any:
        return tuple(rule for rule in super().rules if rule.__name__ != "model")


class NamesTheFirst(Toy):
    @property
    def rules(self) -> Any:
        def first_offender(rule: Any) -> Any:
            def checked(network: Any, spec: Any, options: Any, findings: Any) -> None:
                found = Findings()
                rule(network, spec, options, found)
                findings.extend(
                    replace(d, message=d.message.replace(", `second`", ""), where=d.where and d.where.split(", ")[0]) for d in found
                )
            return checked
        return tuple(first_offender(rule) for rule in super().rules)


class ApproximatesUnasked(Toy):
    @property
    def rules(self) -> Any:
        def told(network: Any, spec: Any, options: Any, findings: Any) -> None:
            findings.warning("NM205", "several spikes become one")
        return (*super().rules, told)


class TakesEveryConvention(Toy):
    """Drops what the rules on conventions would refuse."""

    @property
    def rules(self) -> Any:
        return tuple(rule for rule in super().rules if rule.__name__ not in ("conventions", "reset", "decay"))


def test_the_toy_itself_passes() -> None:
    toy = Toy()
    SUITE.test_is_a_target(toy)
    SUITE.test_rules_explain_themselves(toy)
    SUITE.test_rules_name_every_offender_at_once(toy)
    SUITE.test_quantization_is_deterministic_and_in_integers(toy, "dense")
    SUITE.test_both_forms_of_a_kernel_agree(toy, 0)
    SUITE.test_demands_are_ordered(toy, "dense")
    SUITE.test_the_mapped_program_holds_and_computes_what_it_should(toy, GREEDY, "dense", 0)
    SUITE.test_the_artefact_is_deterministic(toy, GREEDY, "dense")


@pytest.mark.parametrize("broken", [TightBound, HighFloor])
def test_bounds_that_do_not_hold_are_found(broken: type[Toy]) -> None:
    with pytest.raises(AssertionError):
        SUITE.test_demands_are_ordered(broken(), "dense")


def test_a_demand_that_differs_from_the_count_is_found() -> None:
    with pytest.raises(AssertionError):
        SUITE.test_the_mapped_program_holds_and_computes_what_it_should(GreedyAboutAxons(), GREEDY, "dense", 0)


def test_rules_that_stop_at_the_first_offence_are_found() -> None:
    with pytest.raises(AssertionError):
        SUITE.test_rules_name_every_offender_at_once(StopsAtTheFirst())
    with pytest.raises(AssertionError):
        SUITE.test_rules_explain_themselves(Undocumented())


@pytest.mark.parametrize(("broken", "kind"), [
    (IgnoresLags, "lag"), (IgnoresLags, "lag of 3"), (NamesTheFirst, "resonator"), (NamesTheFirst, "silent"), (NamesTheFirst, "delta"),
    (ApproximatesUnasked, "lag"), (TakesEveryConvention, "floor"), (TakesEveryConvention, "multiple"),
    (TakesEveryConvention, "early reset"), (TakesEveryConvention, "late bias"),
])
def test_foreign_models_that_are_not_refused_properly_are_found(broken: type[Toy], kind: str) -> None:
    SUITE.test_what_a_chip_may_lack_is_taken_or_refused_by_name(Toy(), kind)
    with pytest.raises(AssertionError):
        SUITE.test_what_a_chip_may_lack_is_taken_or_refused_by_name(broken(), kind)


@pytest.mark.parametrize("kind", ["resonator", "sigma delta", "izhikevich"])
def test_a_target_that_forgets_foreign_models_does_not_pass(kind: str) -> None:
    with pytest.raises(TypeError, match="which the rules refuse"):
        SUITE.test_what_a_chip_may_lack_is_taken_or_refused_by_name(NoModelRule(), kind)


def without(network: Network, kind: str) -> Network:
    """Return the network as a target would compute it that does not know the convention."""
    if kind == "late bias":
        return replace(network, projections=tuple(replace(p, bias_from=0) for p in network.projections))
    return replace(network, conventions=Conventions(network.conventions.dt, network.conventions.reset))


@pytest.mark.parametrize("kind", ["early reset", "floor", "lag", "lag of 3", "late bias", "multiple"])
def test_the_networks_of_a_convention_show_it(kind: str) -> None:
    """Whoever ignored the convention would spike elsewhere, so often that the suite's comparison fails."""
    network = FOREIGN_NETWORKS[kind]()
    inputs, names = random_ports(network, 0), ["first", "second"]
    as_stated, ignored = (simulate(made, inputs, record=names).spikes for made in (network, without(network, kind)))
    assert min(float(np.mean(as_stated[name] == ignored[name])) for name in names) < 0.92


@pytest.mark.parametrize("kind", sorted(FOREIGN_NETWORKS))
def test_foreign_networks_keep_the_contract_and_name_their_offenders(kind: str) -> None:
    network = FOREIGN_NETWORKS[kind]()
    network.check()
    known = {p.name for p in network.populations} | {p.name for p in network.projections}
    assert set(FOREIGN_OFFENDERS[kind]) <= known


def test_what_changes_from_call_to_call_is_found() -> None:
    with pytest.raises(AssertionError):
        SUITE.test_quantization_is_deterministic_and_in_integers(Moody(), "dense")
    with pytest.raises(AssertionError):
        SUITE.test_the_artefact_is_deterministic(Stamped(), GREEDY, "dense")


def test_a_reference_that_is_another_neuron_is_found() -> None:
    with pytest.raises(AssertionError):
        SUITE.test_both_forms_of_a_kernel_agree(OtherNeuron(), 0)
    with pytest.raises(AssertionError):
        SUITE.test_the_mapped_program_holds_and_computes_what_it_should(OtherNeuron(), GREEDY, "dense", 0)


class Wishful:
    """Claims what it did not prove."""

    name = "wishful"

    def choose_tiles(self, problem: TilingProblem, budget: Budget) -> TilingSolution:
        answer = GREEDY.choose_tiles(problem, budget)
        return replace(answer, lower_bound=answer.copies + 1, status="optimal")

    def partition(self, problem: PartitionProblem, budget: Budget) -> Partition:
        answer = GREEDY.partition(problem, budget)
        return replace(answer, lower_bound=4, packets_bound=answer.packets)

    def pack(self, problem: PackingProblem, budget: Budget) -> PackingSolution:
        answer = GREEDY.pack(problem, budget)
        return replace(answer, lower_bound=answer.clusters + 5, status="optimal" if answer.pieces else "feasible")

    def place(self, problem: PlacementProblem, budget: Budget) -> PlacementSolution:
        slot = np.arange(problem.clusters)[::-1].copy()
        cost = placement_cost(problem, slot)
        return PlacementSolution(slot, cost, cost, "optimal", budget.seed)


def test_claims_without_proof_are_found() -> None:
    suite, wishful = PartitionerConformance(), Wishful()
    suite.test_is_a_partitioner(wishful)
    with pytest.raises(AssertionError):
        suite.test_packing_is_feasible_and_its_bound_holds(wishful, 0)
    with pytest.raises(AssertionError):
        suite.test_packing_never_claims_what_cannot_be(wishful)
    with pytest.raises(AssertionError):
        suite.test_tiling_is_within_its_cores_and_its_bound_holds(wishful, 0)
    with pytest.raises(AssertionError):
        suite.test_partition_is_feasible_and_its_bounds_hold(wishful, 0, False)
    with pytest.raises(AssertionError):
        suite.test_placement_is_valid_and_its_bound_holds(wishful, 0)


@pytest.mark.parametrize("kind", sorted(RANDOM_NETWORKS))
def test_random_networks_follow_their_seed(kind: str) -> None:
    first, again, other = (RANDOM_NETWORKS[kind](seed) for seed in (4, 4, 5))
    for a, b in zip(first.projections, again.projections, strict=True):
        np.testing.assert_array_equal(a.connectivity.weights, b.connectivity.weights)
    thresholds = [p.neuron.threshold for p in first.populations if p.neuron is not None]
    others = [p.neuron.threshold for p in other.populations if p.neuron is not None]
    assert any(a.shape != b.shape or (a != b).any() for a, b in zip(thresholds, others, strict=True))
    spikes = random_inputs(first, 0)
    assert spikes.shape == (3, 24, first.populations[0].size)
    assert set(np.unique(spikes)) == {0, 1}


def test_problems_have_the_answers_they_are_said_to_have() -> None:
    problem, enough = packing(0)
    assert problem.cores == enough
    check_packing(replace(problem, cores=100), GREEDY.pack(replace(problem, cores=100), Budget()))
    # 33 units of one resource unit each, 16 to a core
    assert overfull_packing().cores == 2
    tiny = placement(0, clusters=1)
    # alone, the cluster goes to the port's own router
    assert best_placement(tiny) == 0


def test_a_network_that_no_core_can_hold_is_an_error_and_not_a_skip() -> None:
    from nmap.testing.networks import dense
    from nmap.testing.targets import compile_network

    with pytest.raises(NmapError) as caught:
        compile_network(Toy(), dense(0, (17, 2)), GREEDY, TargetConformance.options)
    assert [d.code for d in caught.value.diagnostics] == ["NM401"]
