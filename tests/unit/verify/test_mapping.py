"""The mapping check finds each kind of damage in a small, sound program, and nothing in the sound one."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from nmap.connectivity import Dense, Sparse
from nmap.program import ConvTile, Core, NeuronGroup, Program, ProgramPopulation, Routes, SynapseBlock
from nmap.target.machine import build_machine
from nmap.target.spec import ChipSpec
from nmap.verify.mapping import verify_mapping


def limit(low, high, **more):
    return {"min": low, "max": high, "source": "made up", **more}


SPEC = ChipSpec.model_validate({
    "name": "small", "title": "Small", "data_version": "1", "default_variant": "one",
    "resources": {
        "neurons": {"title": "neurons", "unit": "neurons", "max": 10, "source": "made up"},
        "axons": {"title": "axons", "unit": "axons", "max": 24, "source": "made up"},
    },
    "limits": {
        "vth": limit(0, 100), "du": limit(0, 7, enforced=False), "delay": limit(0, 3), "weight_bits": limit(1, 8),
        "weight_exp": limit(-2, 2), "message_bits": limit(0, 8), "weight_mixed": limit(-256, 254), "weight_excitatory": limit(0, 255),
    },
    "features": {},
    "variants": {
        "one": {"title": "one chip", "chips": 1, "max_chips": 2, "cores": 6, "mesh": [3, 1], "cores_per_router": 2,
                "chip_link_hops": 1, "source": "made up"},
    },
})


def measure(program):
    used = [{"neurons": 0, "axons": 0} for _ in program.cores]
    for group in program.groups:
        used[group.core]["neurons"] += group.size
    for block in program.blocks:
        used[block.core]["axons"] += block.axons
    return tuple(used)


KERNEL = SimpleNamespace(name="small.lif", params=("vth", "du"), state=("v",))
TARGET = SimpleNamespace(name="small", spec=SPEC, kernels={"small.lif": KERNEL}, measure=measure)


def group(core, population, box, n):
    return NeuronGroup(core, population, box, "small.lif", {"vth": np.full(n, 5), "du": np.full(n, 99)}, {"v": np.zeros(n, np.int64)})


def block(core, number, axon, synapses, **more):
    fields = {"delays": None, "delay": 0, "exponent": 0, "message_bits": 0, "bits": 8, "sign": "mixed", **more}
    return SynapseBlock(core, number, axon, synapses, **fields)


def routes(*destinations):
    """One list of (core, axon) per source neuron."""
    flat = [pair for pairs in destinations for pair in pairs]
    lengths = [len(pairs) for pairs in destinations]
    return Routes(np.concatenate([[0], np.cumsum(lengths)]), [c for c, _ in flat], [a for _, a in flat])


def sound() -> Program:
    """Input (1, 3, 3) -> 2x2 kernel -> image (2, 2, 2) on two cores by channel -> dense and delayed -> out (3,) with a loop."""
    populations = (
        ProgramPopulation("in", (1, 3, 3), 0, True, False),
        ProgramPopulation("image", (2, 2, 2), 1, False, False),
        ProgramPopulation("out", (3,), 2, False, True),
    )

    def tile(channel):
        return ConvTile(
            np.full((1, 1, 2, 2), 2), (1, 3, 3), (2, 2, 2), ((0, 1), (0, 3), (0, 3)), ((channel, channel + 1), (0, 2), (0, 2)),
            (1, 1), (0, 0), (1, 1), 1,
        )

    loop = Sparse(np.array([0, 1, 2, 3]), np.array([1, 2, 0]), np.array([4, 6, -8], np.int32), 3)
    return Program(
        "small", "one", populations,
        (Core(0, 0, 0, 0), Core(0, 1, 0, 3), Core(0, 2, 0, 4)),
        (group(0, 1, ((0, 1), (0, 2), (0, 2)), 4), group(1, 1, ((1, 2), (0, 2), (0, 2)), 4), group(2, 2, ((0, 3),), 3)),
        (
            block(0, 0, 0, tile(0)), block(1, 1, 2, tile(1)),
            block(2, 2, 0, Dense(np.full((3, 8), 6, np.int32)), delays=np.full((3, 8), 1, np.int64), delay=2, sign="excitatory", bits=7),
            block(2, 2, 8, loop, exponent=-2),
        ),
        (
            routes(*([(2, k)] for k in range(4))), routes(*([(2, 4 + k)] for k in range(4))), routes(*([(2, 8 + k)] for k in range(3))),
        ),
        {0: routes(*([(0, k), (1, 2 + k)] for k in range(9)))},
    )


def swapped(items, k, new):
    return (*items[:k], new, *items[k + 1 :])


def with_core(core):
    return replace(sound(), cores=swapped(sound().cores, 1, core))


def with_group(k, **changes):
    return replace(sound(), groups=swapped(sound().groups, k, replace(sound().groups[k], **changes)))


def with_block(k, **changes):
    return replace(sound(), blocks=swapped(sound().blocks, k, replace(sound().blocks[k], **changes)))


def with_tile(**changes):
    return with_block(1, synapses=replace(sound().blocks[1].synapses, **changes))


def with_routes(k, new):
    return replace(sound(), routes=swapped(sound().routes, k, new))


def test_a_sound_program_passes():
    assert verify_mapping(sound(), TARGET) == ()
    assert verify_mapping(sound(), TARGET, build_machine(SPEC, dead=[(0, 1)])) == ()


def listed() -> Program:
    """The sound program with its last population on two cores, its neurons in turn: 0 and 2 on core 2, 1 on core 1."""
    program = sound()
    weights = np.full((3, 8), 6, np.int32)
    rows = (np.array([0, 2]), np.array([1]))
    return replace(
        program,
        groups=(*program.groups[:2], group(2, 2, rows[0], 2), group(1, 2, rows[1], 1)),
        blocks=(
            *program.blocks[:2], block(2, 2, 0, Dense(weights[rows[0]])), block(1, 3, 11, Dense(weights[rows[1]])),
            block(2, 2, 8, Sparse([0, 1, 2], [1, 0], np.array([4, -8], np.int32), 2)),
        ),
        routes=(
            routes(*([(2, k), (1, 11 + k)] for k in range(4))), routes(*([(2, 4 + k), (1, 15 + k)] for k in range(4))),
            routes([(2, 8)], []), routes([(2, 9)]),
        ),
    )


def with_list(k, values):
    program = listed()
    return replace(program, groups=swapped(program.groups, k, replace(program.groups[k], slice=np.array(values))))


def test_index_lists_pass():
    assert verify_mapping(listed(), TARGET) == ()


LIST_DAMAGE = {
    "list beyond its population": (lambda: with_list(2, [0, 3]), "group", "leads outside of `out`"),
    "list before its population": (lambda: with_list(2, [-1, 2]), "group", "leads outside of `out`"),
    "list that is not ascending": (lambda: with_list(2, [2, 0]), "group", "not ascending"),
    "neuron listed twice": (lambda: with_list(2, [1, 2]), "cover", "several cores hold 1 of the 3 neurons of `out`, first neuron 1"),
    "neuron listed nowhere": (lambda: with_list(2, [1, 2]), "cover", "no core holds 1 of the 3 neurons of `out`, first neuron 0"),
    "empty list": (lambda: with_list(3, np.zeros(0, np.int64)), "group", "not ascending"),
    "convolution into a list": (lambda: with_group(1, slice=np.arange(4, 8)), "shape", "its neurons are a list"),
}


@pytest.mark.parametrize("name", LIST_DAMAGE)
def test_damaged_index_lists_are_found(name):
    make, kind, said = LIST_DAMAGE[name]
    assert any(d.data["kind"] == kind and said in d.message for d in verify_mapping(make(), TARGET))


DAMAGE = {
    "another target": (lambda: replace(sound(), target="large"), "target", "for `large`"),
    "unknown variant": (lambda: replace(sound(), variant="two"), "variant", "no variant `two`"),
    "core beyond the chip": (lambda: with_core(Core(0, 0, 1, 6)), "core", "core 6 of chip 0 does not exist"),
    "chip beyond the variant": (lambda: with_core(Core(2, 1, 0, 3)), "core", "core 3 of chip 2 does not exist"),
    "core used twice": (lambda: with_core(Core(0, 0, 0, 0)), "core", "used twice"),
    "wrong position": (lambda: with_core(Core(0, 2, 0, 3)), "position", "stands at (1, 0)"),
    "group on no core": (lambda: with_group(2, core=5), "group", "core 5 of 3"),
    "group of no population": (lambda: with_group(2, population=7), "group", "population 7 of 3"),
    "group of an input": (lambda: with_group(2, population=0), "group", "input port `in`"),
    "box beyond its population": (lambda: with_group(2, slice=((0, 4),)), "group", "whose shape is (3,)"),
    "neuron held twice": (
        lambda: with_group(1, slice=((0, 1), (0, 2), (0, 2))), "cover", "several cores hold 4 of the 8 neurons of `image`"
    ),
    "neuron held nowhere": (lambda: with_group(1, slice=((0, 1), (0, 2), (0, 2))), "cover", "no core holds 4 of the 8 neurons of `image`"),
    "unknown kernel": (lambda: with_group(2, kernel="small.if"), "kernel", "runs `small.if`"),
    "missing parameter": (lambda: with_group(2, params={"vth": np.full(3, 5)}), "kernel", "has parameters ['vth']"),
    "unknown state": (lambda: with_group(2, initial={"w": np.zeros(3)}), "kernel", "starts w"),
    "parameter of another length": (lambda: with_group(2, initial={"v": np.zeros(2)}), "kernel", "2 values of `v` for 3 neurons"),
    "parameter out of range": (
        lambda: with_group(2, params={"vth": np.array([5, 101, 5]), "du": np.zeros(3)}), "parameter", "`vth` of a slice of `out` is 5..101"
    ),
    "block of no group": (lambda: with_block(2, group=9), "block", "neuron group 9 of 3"),
    "block on another core": (lambda: with_block(2, core=1), "block", "lies on core 1, its neurons on core 2"),
    "targets of another group": (lambda: with_block(2, synapses=Dense(np.zeros((4, 8), np.int32)), delays=None), "shape", "4 targets"),
    "delays of another shape": (lambda: with_block(2, delays=np.zeros((3, 7), np.int64)), "shape", "delays of shape (3, 7)"),
    "negative axon": (lambda: with_block(2, axon=-1), "shape", "starts at axon -1"),
    "tile for other neurons": (lambda: with_tile(out_box=((0, 1), (0, 2), (0, 2))), "shape", "its neurons are"),
    "tile for another population": (lambda: with_tile(out_shape=(2, 2, 3)), "shape", "its population has shape (2, 2, 2)"),
    "tile with a short halo": (lambda: with_tile(in_box=((0, 1), (0, 2), (0, 3))), "shape", "in dimension 1 of its source, it needs 0..3"),
    "tile with a halo beyond the source": (lambda: with_tile(in_box=((0, 1), (0, 4), (0, 3))), "shape", "of a source of shape (1, 3, 3)"),
    "tile with another stride": (lambda: with_tile(stride=(2, 1)), "shape", "output size 2 where its geometry gives 1"),
    "tile with too many kernel rows": (lambda: with_tile(weights=np.full((2, 1, 2, 2), 2)), "shape", "kernel of shape (2, 1, 2, 2)"),
    "delay too long": (lambda: with_block(2, delays=np.full((3, 8), 2, np.int64)), "field", "`delay` of synapse block 2 into `out` is 4"),
    "exponent too low": (lambda: with_block(3, exponent=-3), "field", "`weight_exp`"),
    "too many bits": (lambda: with_block(3, bits=9), "field", "`weight_bits`"),
    "too many message bits": (lambda: with_block(3, message_bits=9), "field", "`message_bits`"),
    "unknown sign": (lambda: with_block(3, sign="both"), "field", "sign mode `both`"),
    "weight out of range": (
        lambda: with_block(2, synapses=Dense(np.full((3, 8), -2, np.int32))), "weight", "(excitatory) is -2, outside 0..255"
    ),
    "mixed weight off the grid": (
        lambda: with_block(3, synapses=replace(sound().blocks[3].synapses, weights=np.array([4, 5, -8], np.int32))),
        "weight", "1 weights of synapse block 3 into `out` are no multiples of 2",
    ),
    "weight off the grid of 7 bits": (lambda: with_block(2, synapses=Dense(np.full((3, 8), 5, np.int32))), "weight", "24 weights"),
    "axons of two blocks": (lambda: with_block(3, axon=7), "axon", "shares input axons with another block from axon 7"),
    "axon fed by nobody": (lambda: with_routes(1, routes([], *([(2, 5 + k)] for k in range(3)))), "axon", "1 of the 8 input axons"),
    "axon fed twice": (lambda: with_routes(2, routes([(2, 8), (2, 0)], [(2, 9)], [(2, 10)])), "axon", "fed by several neurons"),
    "axon of another population": (
        lambda: replace(sound(), routes=(
            sound().routes[0], routes([(2, 8)], *([(2, 5 + k)] for k in range(3))), routes([(2, 4)], [(2, 9)], [(2, 10)])
        )), "axon", "fed by several populations",
    ),
    "one neuron on two axons": (
        lambda: with_routes(1, routes([], [(2, 4), (2, 5)], [(2, 6)], [(2, 7)])), "axon", "a neuron feeds several input axons"
    ),
    "halo in another order": (
        lambda: replace(sound(), inputs={0: routes(*([(0, k), (1, 2 + 8 - k)] for k in range(9)))}), "axon", "not fed by the positions"
    ),
    "route to no core": (lambda: with_routes(2, routes([(3, 8)], [(2, 9)], [(2, 10)])), "route", "first to axon 8 of core 3"),
    "route to no axon": (lambda: with_routes(2, routes([(2, 11)], [(2, 9)], [(2, 10)])), "route", "first to axon 11 of core 2"),
    "route to a gap": (
        lambda: replace(sound(), inputs={0: routes(*([(0, k), (1, 2 + k), *([(1, 0)] if k == 0 else [])] for k in range(9)))}),
        "route", "first to axon 0 of core 1",
    ),
    "route to a negative axon": (lambda: with_routes(2, routes([(2, -1)], [(2, 9)], [(2, 10)])), "route", "first to axon -1 of core 2"),
    "route to a negative core": (lambda: with_routes(2, routes([(-1, 8)], [(2, 9)], [(2, 10)])), "route", "first to axon 8 of core -1"),
    "axon far away": (lambda: with_block(2, axon=1 << 60), "shape", "starts at axon 1152921504606846976"),
    "routes of other neurons": (lambda: with_routes(2, routes([(2, 8)], [(2, 9)])), "route", "does not fit its 3 neurons"),
    "a table is missing": (lambda: replace(sound(), routes=sound().routes[:2]), "route", "2 route tables for 3 neuron groups"),
    "input without routes": (lambda: replace(sound(), inputs={}), "route", "input port `in` has no routes"),
    "routes of no input": (lambda: replace(sound(), inputs={**sound().inputs, 2: routes([], [], [])}), "route", "population 2 is no input"),
    "budget exceeded": (
        lambda: with_block(2, synapses=Dense(np.full((3, 22), 6, np.int32)), delays=None), "budget", "takes 25 axons of axons, it has 24"
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(name):
    build, kind, text = DAMAGE[name]
    found = verify_mapping(build(), TARGET)
    assert {d.code for d in found} == {"NM702"}
    assert {d.severity for d in found} == {"error"}
    assert any(d.data["kind"] == kind and text in d.message for d in found), [d.message for d in found]


def test_a_dead_core_is_found():
    found = verify_mapping(sound(), TARGET, build_machine(SPEC, dead=[(0, 3)]))
    assert [d.message for d in found] == ["core 3 of chip 0 is marked dead"]


def test_a_machine_may_have_fewer_chips_than_the_variant():
    program = with_core(Core(1, 1, 0, 3))
    assert verify_mapping(program, TARGET, build_machine(SPEC, chips=2)) == ()
    found = verify_mapping(program, TARGET, build_machine(SPEC, chips=1))
    assert [d.message for d in found] == ["core 3 of chip 1 does not exist: there are 1 chips of 6 cores"]


def test_a_measure_must_name_every_budget():
    target = SimpleNamespace(**{**vars(TARGET), "measure": lambda program: tuple({"neurons": 1} for _ in program.cores)})
    assert all("`axons` is not measured" in d.message for d in verify_mapping(sound(), target))
    assert len(verify_mapping(sound(), target)) == 3


def test_many_problems_of_a_kind_are_counted():
    program = replace(sound(), cores=tuple(Core(0, 0, 0, 0) for _ in range(14)))
    found = [d for d in verify_mapping(program, TARGET) if d.data["kind"] == "core"]
    assert len(found) == 11
    assert found[-1].message == "and 3 more problems of this kind: core"
    assert found[0].data["count"] == 13


def test_all_problems_are_reported_together():
    program = replace(with_group(2, kernel="small.if"), variant="two", inputs={})
    assert {d.data["kind"] for d in verify_mapping(program, TARGET)} >= {"variant", "kernel", "route", "axon"}


def test_a_program_without_blocks_has_routes_to_nowhere():
    found = verify_mapping(replace(sound(), blocks=()), TARGET)
    assert {d.data["kind"] for d in found} == {"route"}
    assert found[0].data["count"] == 4 + 4 + 3 + 18


def test_a_chip_with_one_range_of_weights():
    limits = {name: entry for name, entry in SPEC.limits.items() if not name.startswith("weight_m") and not name.startswith("weight_exc")}
    spec = SPEC.model_copy(update={"limits": {**limits, "weight": SPEC.limits["weight_excitatory"].model_copy(update={"max": 5})}})
    found = verify_mapping(sound(), SimpleNamespace(**{**vars(TARGET), "spec": spec}))
    # The dense block holds 6, the loop -8..6; the kernels' 2 fits, and 8 bits demand no multiples here.
    assert [d.data["kind"] for d in found] == ["weight", "weight"]
    assert ["is 6, outside 0..5" in d.message for d in found] == [True, False]
