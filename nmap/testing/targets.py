"""The conformance suite of targets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
import pytest

from nmap.compile import compile_program
from nmap.connectivity import Array, Connectivity, Conv2d, Dense
from nmap.diagnostics import Diagnostic, Findings
from nmap.emulate.engine import emulate
from nmap.emulate.kernel import Kernel
from nmap.mapping import Mapping, Shard
from nmap.network import Conventions, Network, Neuron
from nmap.options import Options
from nmap.partition import map_network
from nmap.partition.partitioner import Partitioner
from nmap.partition.problem import PackingSolution, Piece
from nmap.place.problem import PlacementSolution
from nmap.program import Box, Program, Slice, box_indices, box_size
from nmap.quantized import QuantizedNetwork
from nmap.simulate.fixed import simulate
from nmap.simulate.floating import simulate as simulate_float
from nmap.target.backend import Target
from nmap.target.machine import Machine, build_machine
from nmap.target.registry import find_partitioner
from nmap.target.spec import ChipSpec, Constant, Limit, Resource, Variant
from nmap.testing.kernels import run_kernel
from nmap.testing.networks import FOREIGN_NETWORKS, FOREIGN_OFFENDERS, RANDOM_NETWORKS, build, lif, random_inputs, random_ports
from nmap.trace import Probe
from nmap.verify.lockstep import compare
from nmap.verify.mapping import verify_mapping
from nmap.verify.vendor import side_by_side

__all__ = ["Compiled", "TargetConformance", "compile_network", "judge"]

KINDS = sorted(RANDOM_NETWORKS)
FOREIGN = sorted(FOREIGN_NETWORKS)
_ALIKE = 0.95
"""Share of places in which a target that takes a network without approximation must spike as the network does: weights are rounded."""
REFUSALS = {"NM201", "NM202", "NM203", "NM204", "NM205"}


@dataclass(frozen=True, slots=True, eq=False)
class Compiled:
    """A random network all the way to its program."""

    network: Network
    quantized: QuantizedNetwork
    machine: Machine
    mapping: Mapping
    program: Program


def judge(target: Target, network: Network, options: Options) -> tuple[Diagnostic, ...]:
    """Return what the target's design rules find in a network."""
    findings = Findings()
    for rule in target.rules:
        rule(network, target.spec, options, findings)
    return tuple(findings)


def compile_network(target: Target, network: Network, partitioner: Partitioner, options: Options) -> Compiled:
    """Quantize and map a network, or skip the calling test where the target's rules refuse it."""
    refused = [d for d in judge(target, network, options) if d.severity == "error"]
    if refused:
        pytest.skip(f"{target.name} refuses {network.file}: {refused[0].message}")
    findings = Findings()
    quantized = target.quantize(network, options, findings)
    findings.raise_errors()
    machine = build_machine(target.spec)
    mapping = map_network(quantized, target, machine, partitioner, options, None)
    return Compiled(network, quantized, machine, mapping, compile_program(quantized, target, mapping))


class TargetConformance:
    """Tests every target must pass. Subclass it (the name starting with `Test`) and give it a fixture `target`.

    `options` may be overridden where the target takes the random networks only approximately, and `partitioner` where another
    than `greedy` is wanted.
    """

    options = Options(partitioner="greedy", effort=0)

    @pytest.fixture
    def partitioner(self) -> Partitioner:
        """The partitioner that maps the random networks."""
        return find_partitioner(self.options.partitioner)

    def test_is_a_target(self, target: Target) -> None:
        """It has the contract's members, one name throughout, and a plain folder name for its artefact."""
        assert isinstance(target, Target)
        assert target.spec.name == target.name
        assert PurePosixPath(target.artefact).name == target.artefact
        for name, kernel in target.kernels.items():
            assert isinstance(kernel, Kernel)
            assert kernel.name == name
            assert name.startswith(f"{target.name}.")

    def test_chip_data_survives_a_round_trip(self, target: Target) -> None:
        """What is written as JSON is read back as the same chip."""
        assert ChipSpec.model_validate_json(target.spec.model_dump_json()) == target.spec

    def test_every_number_of_the_chip_has_a_source(self, target: Target) -> None:
        """Limits, resources, variants and constants say where they come from; ranges are not empty."""
        spec = target.spec
        stated: dict[str, Limit | Resource | Variant | Constant] = {**spec.limits, **spec.resources, **spec.variants, **spec.constants}
        assert [name for name, item in stated.items() if not item.source.strip()] == []
        assert [name for name, limit in spec.limits.items() if limit.min > limit.max] == []
        assert spec.features

    def test_every_variant_is_a_machine(self, target: Target) -> None:
        """Cores are distinct and lie on the mesh."""
        for name, variant in target.spec.variants.items():
            machine = build_machine(target.spec, name)
            cores = [machine.cores[k] for k in range(0, len(machine.cores), 1 + len(machine.cores) // 5000)]
            assert len({(c.chip, c.core) for c in cores}) == len(cores)
            if not variant.lacking:
                assert len(machine.cores) == variant.chips * variant.cores * variant.passes
            assert all(0 <= c.x < variant.mesh[0] and 0 <= c.y < variant.mesh[1] for c in cores)
            assert set(machine.capacity) == set(target.spec.resources)

    def test_rules_explain_themselves(self, target: Target) -> None:
        """Every rule says in its docstring what it demands."""
        assert target.rules
        assert [rule for rule in target.rules if not (rule.__doc__ or "").strip()] == []

    def test_rules_name_every_offender_at_once(self, target: Target) -> None:
        """A problem of two populations is told of both, and several problems are told together."""
        told: set[str] = set()
        for network in _offences():
            errors = [d for d in judge(target, network, self.options) if d.severity == "error"]
            told |= {d.code for d in errors}
            text = " ".join(f"{d.message} {d.where}" for d in errors)
            if errors:
                assert [name for name in ("first", "second") if name not in text] == [], f"{network.file}: {text}"
        assert told, "the target accepts neurons no chip can have"
        found = {d.code for network in _all_offences() for d in judge(target, network, self.options) if d.severity == "error"}
        assert told <= found

    def test_rules_find_the_same_twice(self, target: Target) -> None:
        """A rule keeps nothing between calls."""
        for network in _all_offences():
            assert judge(target, network, self.options) == judge(target, network, self.options)

    @pytest.mark.parametrize("kind", FOREIGN)
    def test_what_a_chip_may_lack_is_taken_or_refused_by_name(self, target: Target, kind: str) -> None:
        """A neuron model or convention is refused with NM201 to NM205 and the names of all who ask for it, or computed bit for bit.

        Every approximation the target offers is tried too: without the user's word none is made, and with it the network still runs.
        """
        network = FOREIGN_NETWORKS[kind]()
        network.check()
        offenders = FOREIGN_OFFENDERS[kind]
        for chosen in (self.options, replace(self.options, approximate=frozenset(target.spec.approximations))):
            found = judge(target, network, chosen)
            errors = [d for d in found if d.severity == "error"]
            assert {d.code for d in errors} <= REFUSALS, f"{kind}: {[(d.code, d.message) for d in errors]}"
            if errors:
                text = " ".join(f"{d.message} {d.where}" for d in errors)
                assert [name for name in offenders if name not in text] == [], f"{kind}: {text}"
                assert all(d.why or d.help for d in errors), f"{kind} is refused without a reason"
                continue
            told = [d for d in found if d.code == "NM205"]
            if not chosen.approximate:
                assert not told, f"{kind} is approximated without the user's word: {told}"
            self._computes(target, network, chosen)

    def _computes(self, target: Target, network: Network, options: Options) -> None:
        """Map the network; chip and reference must agree on every spike, and without approximations the network's own spikes come out."""
        made = compile_network(target, network, find_partitioner(options.partitioner), options)
        inputs = random_ports(network, 0)
        length = inputs[network.inputs[0]].shape[1]
        steps = length + max(p.latency for p in made.quantized.populations)
        names = [p.name for p in made.quantized.populations]
        fixed = simulate(made.quantized, target.kernels, inputs, steps, record=names)
        chip = emulate(made.program, target.kernels, inputs, steps, record=names)
        for name in names:
            np.testing.assert_array_equal(chip.spikes[name], fixed.spikes[name], err_msg=name)
        if options.approximate:
            return
        sending = [p.name for p in network.populations if p.neuron is not None and not p.silent]
        real = simulate_float(network, inputs, record=sending).spikes
        for name in sending:
            late = made.quantized[name].latency
            same = float(np.mean(chip.spikes[name][:, late : late + length] == real[name]))
            assert same >= _ALIKE, f"{network.file}: {same:.0%} of the spikes of `{name}` are the network's own"

    def test_takes_some_random_network(self, target: Target) -> None:
        """The rest of the suite would otherwise test nothing."""
        accepted = [
            kind for kind in KINDS if not any(d.severity == "error" for d in judge(target, RANDOM_NETWORKS[kind](0), self.options))
        ]
        assert accepted

    @pytest.mark.parametrize("kind", KINDS)
    def test_quantization_is_deterministic_and_in_integers(self, target: Target, kind: str) -> None:
        """The same network gives the same integers, in the network's own structure, with delays the chip has.

        A target may add populations and projections; the network's own keep their names and their order.
        """
        network = self._accepted(target, RANDOM_NETWORKS[kind](1))
        first, second = (target.quantize(network, self.options, Findings()) for _ in range(2))
        names, edges = {p.name for p in network.populations}, {p.name for p in network.projections}
        assert [(p.name, p.shape) for p in first.populations if p.name in names] == [(p.name, p.shape) for p in network.populations]
        kept = [(p.name, p.target) for p in first.projections if p.name in edges]
        assert kept == [(p.name, p.target) for p in network.projections]
        assert [(p.name, p.source, p.target) for p in first.projections] == [(p.name, p.source, p.target) for p in second.projections]
        for a, b in zip(first.populations, second.populations, strict=True):
            assert (a.kernel, a.latency) == (b.kernel, b.latency)
            assert a.latency >= 0
            if a.kernel is not None:
                assert set(a.params) == set(target.kernels[a.kernel].params)
                assert set(a.initial) <= set(target.kernels[a.kernel].state)
            for mine, other in ((a.params, b.params), (a.initial, b.initial)):
                assert mine.keys() == other.keys()
                for key in mine:
                    np.testing.assert_array_equal(mine[key], other[key])
        for p, q in zip(first.projections, second.projections, strict=True):
            assert (p.format, p.delay) == (q.format, q.delay)
            assert p.delay >= 0
            np.testing.assert_array_equal(p.connectivity.weights, q.connectivity.weights)

    @pytest.mark.parametrize("seed", range(3))
    def test_both_forms_of_a_kernel_agree(self, target: Target, seed: int) -> None:
        """`step`, all neurons at once and in parts, equals `reference_step` bit for bit on random parameters, states and inputs."""
        rng = np.random.default_rng([10, seed])
        n, steps = 64, 30
        for kernel in target.kernels.values():
            params = self.kernel_parameters(target, kernel, rng, n)
            if seed == 2:
                params = {name: np.full(n, values[0]) for name, values in params.items()}
            reach = (2.0 ** rng.uniform(0, 14, n)).astype(np.int64)
            inputs = (steps, kernel.receptors, n)
            dendrite = rng.integers(-reach // 2, reach + 1, inputs) * (rng.random(inputs) < 0.5)
            start = rng.integers(-500, 501, (len(kernel.state), n))
            sent, states = run_kernel(kernel, params, start, dendrite, pieces=seed + 1)
            state = {name: start[row] for row, name in enumerate(kernel.state)}
            for t in range(steps):
                payload = kernel.reference_step(params, state, dendrite[t].ravel(), t)
                np.testing.assert_array_equal(payload, sent[t], err_msg=f"{kernel.name}, step {t}")
                for row, name in enumerate(kernel.state):
                    np.testing.assert_array_equal(state[name], states[t, row], err_msg=f"{kernel.name}.{name}, step {t}")
            assert sent.any() or seed == 2, f"no neuron of {kernel.name} ever fired"

    def kernel_parameters(self, target: Target, kernel: Kernel, rng: np.random.Generator, n: int) -> dict[str, Array]:
        """Return random parameters, (n,) int64 by name: within the limit of the parameter's name, small values more often than large."""
        params = {}
        for name in kernel.params:
            low, high = (-8, 8) if name not in target.spec.limits else (target.spec.limits[name].min, target.spec.limits[name].max)
            middle = min(max(0, low), high)
            ends = np.where(rng.random(n) < 0.5, low, high)
            params[name] = (middle + np.rint((ends - middle) * rng.random(n) ** 4)).astype(np.int64)
        return params

    @pytest.mark.parametrize("kind", KINDS)
    def test_demands_are_ordered(self, target: Target, kind: str) -> None:
        """At any position `demand_at_most` >= `demand`, it never falls with the extent, and no cut takes less than `demand_floor`."""
        network = self._accepted(target, RANDOM_NETWORKS[kind](2))
        quantized = target.quantize(network, self.options, Findings())
        resources = set(target.spec.resources)
        for population in quantized.populations:
            if population.kernel is None:
                continue
            floor = target.demand_floor(quantized, population.name)
            assert set(floor) == resources
            for box in _boxes(population.shape):
                extent = tuple(stop - start for start, stop in box)
                need, most = target.demand(quantized, population.name, box), target.demand_at_most(quantized, population.name, extent)
                assert set(need) == set(most) == resources
                assert all(0 <= need[r] <= most[r] for r in resources), f"{population.name}{box}: {need} > {most}"
                for axis, size in enumerate(extent):
                    if size < population.shape[axis]:
                        larger = (*extent[:axis], size + 1, *extent[axis + 1 :])
                        grown = target.demand_at_most(quantized, population.name, larger)
                        assert all(grown[r] >= most[r] for r in resources), f"{population.name}: {larger} takes less than {extent}"
            capacity = {name: resource.max for name, resource in target.spec.resources.items()}
            for cut in _cuts(population.shape):
                pieces = [target.demand(quantized, population.name, box) for box in cut]
                if all(piece[r] <= capacity[r] for piece in pieces for r in resources):
                    total = {r: sum(piece[r] for piece in pieces) for r in resources}
                    assert all(total[r] >= floor[r] - 1e-9 for r in resources), f"{population.name}: {total} < {floor} in {cut}"

    @pytest.mark.parametrize("kind", KINDS)
    def test_prices_of_neurons_bound_the_demand_of_any_index_list(self, target: Target, kind: str) -> None:
        """`neuron_demand` is at least `demand`, with `axon_least` at most; a list that is a box takes what the box takes."""
        network = self._accepted(target, RANDOM_NETWORKS[kind](2))
        quantized = target.quantize(network, self.options, Findings())
        rng = np.random.default_rng([11, KINDS.index(kind)])
        for population in quantized.populations:
            afferents = quantized.afferents(population.name)
            if population.kernel is None or any(isinstance(p.connectivity, Conv2d) for p in afferents):
                continue
            price = target.neuron_demand(quantized, population.name)
            assert set(price.resources) == set(target.spec.resources)
            assert price.neuron.shape == (len(price.resources), population.size)
            assert min(int(values.min(initial=0)) for values in (price.neuron, price.fixed, price.route, *price.axon)) >= 0
            listening = [_adjacency(p.connectivity) for p in afferents]
            for count in (*range(1, population.size + 1), *range(1, population.size + 1)):
                chosen = np.sort(rng.choice(population.size, count, replace=False))
                need = target.demand(quantized, population.name, chosen)
                exact = np.array([need[resource] for resource in price.resources]) * price.scale
                at_most, at_least = (
                    price.fixed + price.neuron[:, chosen].sum(1) + sum(
                        (amount * heard[chosen].any(0)).sum(1) for amount, heard in zip(prices, listening, strict=True)
                    )
                    for prices in (price.axon, price.axon_least or price.axon)
                )
                assert (at_least <= exact).all(), f"{population.name}{chosen}: {need} < {at_least} / {price.scale}"
                assert (exact <= at_most).all(), f"{population.name}{chosen}: {need} > {at_most} / {price.scale}"
            for box in _boxes(population.shape):
                assert target.demand(quantized, population.name, box) == target.demand(
                    quantized, population.name, box_indices(box, population.shape)
                )

    @pytest.mark.parametrize("kind", KINDS)
    def test_index_lists_hold_and_compute_what_boxes_do(self, target: Target, kind: str) -> None:
        """Neurons shared out over cores at random: counted demand equals stated demand, no check but budgets fails, spikes are equal."""
        network = self._accepted(target, RANDOM_NETWORKS[kind](1))
        quantized = target.quantize(network, self.options, Findings())
        machine = build_machine(target.spec)
        mapping = _scattered(target, quantized, machine, np.random.default_rng([12, KINDS.index(kind)]))
        program = compile_program(quantized, target, mapping)
        assert _before_routing(target, program) == mapping.used()
        found = verify_mapping(program, target, machine)
        assert [d for d in found if dict(d.data)["kind"] != "budget"] == []
        inputs = random_inputs(network, 1)
        steps = inputs.shape[1] + quantized.latency
        names = [p.name for p in quantized.populations]
        fixed = simulate(quantized, target.kernels, inputs, steps, record=names)
        chip = emulate(program, target.kernels, inputs, steps, record=names)
        for name in names:
            np.testing.assert_array_equal(chip.spikes[name], fixed.spikes[name], err_msg=name)

    @pytest.mark.parametrize("seed", range(2))
    @pytest.mark.parametrize("kind", KINDS)
    def test_the_mapped_program_holds_and_computes_what_it_should(
        self, target: Target, partitioner: Partitioner, kind: str, seed: int
    ) -> None:
        """Counted demand equals stated demand, the independent checks pass, and chip equals fixed bit for bit."""
        made = compile_network(target, RANDOM_NETWORKS[kind](seed), partitioner, self.options)
        assert _before_routing(target, made.program) == made.mapping.used()
        assert list(verify_mapping(made.program, target, made.machine)) == []

        inputs = random_inputs(made.network, seed)
        steps = inputs.shape[1] + made.quantized.latency
        names = [p.name for p in made.quantized.populations]
        probes = [
            Probe(p.name, variable) for p in made.quantized.populations if p.kernel is not None
            for variable in target.kernels[p.kernel].state
        ]
        fixed = simulate(made.quantized, target.kernels, inputs, steps, record=names, probes=probes)
        chip = emulate(made.program, target.kernels, inputs, steps, record=names, probes=probes)
        for name in names:
            np.testing.assert_array_equal(chip.spikes[name], fixed.spikes[name], err_msg=name)
        assert chip.state.keys() == fixed.state.keys()
        for key in fixed.state:
            np.testing.assert_array_equal(chip.state[key], fixed.state[key], err_msg=key)
        assert any(fixed.counts[p.name] for p in made.quantized.populations if p.kernel is not None), "no neuron ever fired"

    @pytest.mark.parametrize("kind", KINDS)
    def test_the_artefact_is_deterministic(self, target: Target, partitioner: Partitioner, kind: str) -> None:
        """Two compilations give the same files, byte for byte, with relative paths."""
        network = self._accepted(target, RANDOM_NETWORKS[kind](0))
        emitted = []
        for _ in range(2):
            made = compile_network(target, network, partitioner, self.options)
            emitted.append(target.emit(made.quantized, made.program))
        assert emitted[0]
        assert emitted[0] == emitted[1]
        for path in emitted[0]:
            assert not PurePosixPath(path).is_absolute()
            assert ".." not in PurePosixPath(path).parts

    def test_the_vendor_computes_the_same(self, target: Target, partitioner: Partitioner, tmp_path: Path) -> None:
        """Where the vendor's software can be run, its spikes are the emulator's, or its mapping is ours; where not, the reason is given."""
        made = compile_network(target, RANDOM_NETWORKS["dense"](0), partitioner, self.options)
        for path, content in target.emit(made.quantized, made.program).items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
        inputs = random_inputs(made.network, 0, samples=2)
        steps = inputs.shape[1] + made.quantized.latency
        run = target.run_vendor(tmp_path, inputs, steps, 300.0)
        assert (run.version is None) == (run.missing is not None)
        if run.missing is not None:
            pytest.skip(run.missing)
        if run.compared == "mapping":
            assert run.differences == ()
            return
        assert set(made.quantized.outputs) <= set(run.spikes)
        chip = emulate(made.program, target.kernels, inputs, steps, record=list(run.spikes), dense=False)
        assert compare(*side_by_side(run, chip.events)).by_array == {}

    def _accepted(self, target: Target, network: Network) -> Network:
        refused = [d for d in judge(target, network, self.options) if d.severity == "error"]
        if refused:
            pytest.skip(f"{target.name} refuses {network.file}: {refused[0].message}")
        return network


def _before_routing(target: Target, program: Program) -> list[dict[str, int]]:
    """Return what a program's cores take, with 0 of everything that only routes take."""
    routed = {name for name, resource in target.spec.resources.items() if resource.routed}
    return [{name: 0 if name in routed else amount for name, amount in core.items()} for core in target.measure(program)]


def _adjacency(connectivity: Connectivity) -> Array:
    """Return which targets listen to which sources, (targets, sources) bool; zeros of a dense connection listen, too."""
    ones = connectivity.with_weights(np.ones_like(connectivity.weights))
    return np.asarray(ones.apply(np.eye(connectivity.in_size)).T > 0)


def _scattered(target: Target, network: QuantizedNetwork, machine: Machine, rng: np.random.Generator) -> Mapping:
    """Return a mapping whose shards are random index lists, where no afferent is a convolution; it need not keep any budget."""
    count = min(3, len(machine.cores))
    shards: list[Shard] = []
    for population in network.populations:
        if population.kernel is None:
            continue
        parts: dict[int, Slice] = {0: tuple((0, size) for size in population.shape)}
        if not any(isinstance(p.connectivity, Conv2d) for p in network.afferents(population.name)):
            cluster = rng.integers(0, count, population.size)
            parts = {int(k): np.flatnonzero(cluster == k) for k in np.unique(cluster)}
        for k, part in parts.items():
            shards.append(Shard(population.name, part, k, target.demand(network, population.name, part)))
    used = sorted({shard.cluster for shard in shards})
    shards = [replace(shard, cluster=used.index(shard.cluster)) for shard in shards]
    pieces = tuple(Piece(number, 1, shard.cluster) for number, shard in enumerate(shards))
    slot = rng.permutation(len(machine.cores))[: len(used)]
    return Mapping(
        machine, tuple(shards), tuple(machine.cores[int(k)] for k in slot), PackingSolution(pieces, len(used), 1, "feasible"),
        PlacementSolution(slot, 0.0, 0.0, "feasible", 0), False,
    )


def _odd_neurons() -> dict[str, Neuron]:
    """Neurons with one property each that some or all chips refuse."""
    return {
        "silent": replace(lif(1), spiking=False),
        "unstable": lif(1, beta=-0.5),
        "growing": lif(1, beta=1.5),
        "current": replace(lif(1), alpha=np.array([0.9])),
        "offset": lif(1, reset=0.25),
    }


def _chain(name: str, neurons: dict[str, Neuron], reset: Literal["zero", "subtract", "delayed"] = "zero") -> Network:
    names = ["input", *neurons]
    projections: list[tuple[str, str, Connectivity, Array | None, int]] = [
        (source, target, Dense(np.ones((1, 1))), None, 0) for source, target in pairwise(names)
    ]
    return build(
        f"{name}.nir", {"input": ((1,), None), **{key: ((1,), neuron) for key, neuron in neurons.items()}}, projections,
        conventions=Conventions(1e-3, reset),
    )


def _offences() -> Iterator[Network]:
    """Networks in which two populations have the same property that some or all chips refuse."""
    for name, neuron in _odd_neurons().items():
        yield _chain(name, {"first": neuron, "second": neuron})
    for reset in ("subtract", "delayed"):
        yield _chain(reset, {"first": lif(1), "second": lif(1)}, reset)
        # No population left that could reset at all.
        yield _chain(f"silent-{reset}", dict.fromkeys(("first", "second"), replace(lif(1), spiking=False)), reset)


def _all_offences() -> Iterator[Network]:
    """Networks in which every population has another such property, one for each kind of reset: some chips have one or two kinds only."""
    resets: tuple[Literal["zero", "subtract", "delayed"], ...] = ("zero", "subtract", "delayed")
    for reset in resets:
        yield _chain(f"all-{reset}", _odd_neurons(), reset)


def _boxes(shape: tuple[int, ...]) -> Iterator[Box]:
    """Boxes at many positions: every slice of each axis with the other axes whole, and single neurons."""
    whole: Box = tuple((0, size) for size in shape)
    for axis, size in enumerate(shape):
        for start in range(size):
            for stop in range(start + 1, size + 1):
                yield (*whole[:axis], (start, stop), *whole[axis + 1 :])
    for index in np.ndindex(*shape):
        yield tuple((k, k + 1) for k in index)


def _cuts(shape: tuple[int, ...]) -> Iterator[list[Box]]:
    """Complete cuts: each axis into runs of 1, 2, ... neurons, and all single neurons."""
    whole: Box = tuple((0, size) for size in shape)
    for axis, size in enumerate(shape):
        for run in range(1, size + 1):
            yield [(*whole[:axis], (start, min(start + run, size)), *whole[axis + 1 :]) for start in range(0, size, run)]
    yield [box for box in _boxes(shape) if box_size(box) == 1]
