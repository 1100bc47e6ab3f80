"""The engine against programs run as they are written, core by core: also where routes are not those of any network.

The engine puts whole populations together from cores; where a route, a tile or a weight is not what a whole projection has, it must not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.diagnostics import NmapError
from nmap.emulate.engine import Emulator, emulate
from nmap.mapping import Mapping, Shard
from nmap.program import ConvTile, Core, Routes, SynapseBlock
from nmap.quantized import QuantizedNetwork
from nmap.target.machine import Machine
from nmap.trace import Probe
from nmap_loihi2.kernels import KERNELS
from tests.interpreter import interpret
from tests.loihi2_networks import population, port, projection, random_network

STEPS = 14


def spread(network, rng, largest):
    """Cut populations at random places, convolutions into boxes, others into lists, and put the pieces on random cores."""
    shards = []
    cores = 5
    for p in network.populations:
        if p.kernel is None:
            continue
        boxed = any(isinstance(q.connectivity, Conv2d) for q in network.afferents(p.name))
        if boxed:
            pieces = [tuple((0, size) for size in p.shape)]
            while len(pieces) < 4 and (wide := [box for box in pieces if max(b - a for a, b in box) > 1]):
                box = wide[int(rng.integers(len(wide)))]
                axis = int(rng.choice([k for k, (a, b) in enumerate(box) if b - a > 1]))
                cut = int(rng.integers(box[axis][0] + 1, box[axis][1]))
                pieces.remove(box)
                pieces += [(*box[:axis], (box[axis][0], cut), *box[axis + 1 :]), (*box[:axis], (cut, box[axis][1]), *box[axis + 1 :])]
        else:
            order = rng.permutation(p.size)
            pieces = [np.sort(part) for part in np.array_split(order, -(-p.size // largest))]
        shards += [Shard(p.name, piece, int(rng.integers(cores)), {}) for piece in pieces]
    spec = type("Spec", (), {"name": "x", "resources": {}})()
    return Mapping(Machine(spec, "x", 1, ()), tuple(shards), tuple(Core(0, k, 0, k) for k in range(cores)), None, None, False)


def rewired(program, rng, times):
    """Take routes away and add others, to axons that other neurons drive already."""
    owner = {(b.core, b.axon + k): number for number, b in enumerate(program.blocks) for k in range(b.axons)}
    # Several populations may not drive one convolution whose sums wrap or are rounded.
    alone = {k for k, b in enumerate(program.blocks) if isinstance(b.synapses, ConvTile) and (b.accumulator or b.exponent < 0)}
    places = sorted(place for place, number in owner.items() if number not in alone)

    def changed(routes):
        rows = [
            [(int(c), int(a)) for c, a in zip(routes.core[i:j], routes.axon[i:j], strict=True)]
            for i, j in zip(routes.indptr, routes.indptr[1:], strict=False)
        ]
        for _ in range(times):
            row = rows[int(rng.integers(len(rows)))]
            if row and rng.random() < 0.5:
                row.pop(int(rng.integers(len(row))))
            place = places[int(rng.integers(len(places)))]
            if owner[place] not in {owner[other] for other in row}:
                row.append(place)
        flat = [place for row in rows for place in sorted(row)]
        pointer = np.concatenate([[0], np.cumsum([len(row) for row in rows])])
        return Routes(pointer, np.array([c for c, _ in flat], np.int32), np.array([a for _, a in flat], np.int32))

    return replace(
        program, routes=tuple(changed(r) for r in program.routes), inputs={k: changed(r) for k, r in program.inputs.items()}
    )


def compare(program, inputs, steps, **options):
    """Run everything both ways; `inputs` holds (samples, time, *shape) by port."""
    names = [p.name for p in program.populations]
    kernel = {g.population: g.kernel for g in program.groups}
    probes = [Probe(names[index], v) for index in kernel for v in KERNELS[kernel[index]].state]
    trace = Emulator(program, KERNELS, options.pop("team", 1)).run(inputs, steps, record=names, probes=probes, **options)
    total = 0
    for sample in range(next(iter(inputs.values())).shape[0]):
        given = {names.index(name): values[sample].reshape(values.shape[1], -1) for name, values in inputs.items()}
        spikes, states = interpret(program, KERNELS, given, steps)
        for name in names:
            np.testing.assert_array_equal(trace.spikes[name][sample], spikes[name], err_msg=name)
            total += int(np.count_nonzero(spikes[name]))
        for key, values in states.items():
            np.testing.assert_array_equal(trace.state[key][sample], values, err_msg=key)
    assert total == sum(trace.counts.values()) > 0
    return trace


@pytest.mark.parametrize("seed", range(16))
def test_random_programs(seed):
    rng = np.random.default_rng([seed, 5])
    case = random_network(seed)
    program = build_program(case.network, "loihi2", spread(case.network, rng, 5))
    compare(rewired(program, rng, 3) if seed % 2 else program, case.inputs, STEPS, team=1 + seed % 3)


def convolution(rng, *, weights=None, stride=(1, 1), padding=(1, 1), dilation=(1, 1), groups=1):
    shape = (4, 9, 8)
    if weights is None:
        weights = rng.integers(-60, 61, (6, 4, 3, 3)).astype(np.int32)
    conv = Conv2d(weights, shape, stride, padding, dilation, groups)
    thresholds = rng.integers(100, 500, conv.out_size)
    target = population("conv", conv.out_shape, du=400, dv=90, vth=thresholds, bias_mant=0, bias_exp=0)
    return QuantizedNetwork((port("in", shape), target), (projection("in", "conv", conv),), ("in",), ("conv",))


def layout_of(program):
    return Emulator(program, KERNELS).layout


@pytest.mark.parametrize("geometry", [
    {}, {"stride": (2, 3), "padding": (0, 2)}, {"dilation": (2, 1), "padding": (3, 0)}, {"stride": (2, 2), "dilation": (3, 2)},
    {"groups": 2, "shape": (6, 2, 3, 3)}, {"groups": 4, "shape": (8, 1, 2, 3)},
    {"shape": (5, 4, 1, 1), "padding": (0, 0), "stride": (3, 2)}, {"shape": (3, 4, 9, 8), "padding": (0, 0)},
])
def test_tiles_of_a_convolution_become_one(geometry):
    rng = np.random.default_rng(3)
    weights = rng.integers(-60, 61, geometry.pop("shape", (6, 4, 3, 3))).astype(np.int32)
    net = convolution(rng, weights=weights, **geometry)
    program = build_program(net, "loihi2", spread(net, rng, 7))
    assert len(program.blocks) > 1
    (part,) = layout_of(program).parts
    assert part.kind == "runs"
    inputs = {"in": (rng.random((2, 9, 4, 9, 8)) < 0.1).astype(np.uint8)}
    for team in (1, 2, 3):
        compare(program, inputs, 12, team=team)


def test_a_tile_with_other_weights_stays_a_tile():
    rng = np.random.default_rng(4)
    net = convolution(rng)
    program = build_program(net, "loihi2", spread(net, rng, 7))
    number = next(k for k, b in enumerate(program.blocks) if b.synapses.out_box[1] != (0, 9))
    tile = program.blocks[number].synapses
    other = tile.weights.copy()
    other[0, 0, 0, 0] += 1
    blocks = list(program.blocks)
    blocks[number] = replace(blocks[number], synapses=replace(tile, weights=other))
    changed = replace(program, blocks=tuple(blocks))
    assert len(layout_of(changed).parts) == len(program.blocks)
    inputs = {"in": (rng.random((2, 9, 4, 9, 8)) < 0.1).astype(np.uint8)}
    compare(changed, inputs, 12)
    compare(changed, inputs, 12, team=2)


def test_a_convolution_with_a_wrong_route_is_no_whole_one():
    rng = np.random.default_rng(5)
    net = convolution(rng)
    program = build_program(net, "loihi2", spread(net, rng, 7))
    routes = program.inputs[0]
    axon = routes.axon.copy()
    core = int(routes.core[0])
    mine = np.flatnonzero(routes.core == core)
    axon[mine[0]], axon[mine[-1]] = axon[mine[-1]], axon[mine[0]]
    swapped = replace(program, inputs={0: Routes(routes.indptr, routes.core, axon)})
    inputs = {"in": (rng.random((2, 9, 4, 9, 8)) < 0.2).astype(np.uint8)}
    right, wrong = compare(program, inputs, 12), compare(swapped, inputs, 12)
    assert (right.spikes["conv"] != wrong.spikes["conv"]).any()


def test_the_phases_behind_a_pool_share_their_rows():
    rng = np.random.default_rng(6)
    kernel = rng.integers(-60, 61, (6, 4, 3, 3)).astype(np.int32)
    plain, pooled = (convolution(rng, weights=w, stride=s, padding=(0, 0)) for w, s in (
        (kernel, (1, 1)), (kernel.repeat(2, axis=2).repeat(2, axis=3), (2, 2)),
    ))
    sizes = [sum(p.weights.nbytes for p in layout_of(build_program(net, "loihi2", spread(net, rng, 99))).parts) for net in (plain, pooled)]
    assert sizes[0] == sizes[1]
    inputs = {"in": (rng.random((2, 9, 4, 9, 8)) < 0.2).astype(np.uint8)}
    compare(build_program(pooled, "loihi2", spread(pooled, rng, 99)), inputs, 12, team=2)


def matrix(rng, sources, targets, low=-100, high=101):
    return rng.integers(low, high, (targets, sources)).astype(np.int32)


def layer(rng, connectivity, sources, targets, **form):
    target = population("a", (targets,), du=400, dv=90, vth=rng.integers(40, 900, targets), bias_mant=0, bias_exp=0)
    return QuantizedNetwork((port("in", (sources,)), target), (projection("in", "a", connectivity, **form),), ("in",), ("a",))


def test_a_dense_matrix_whose_sources_share_rows():
    rng = np.random.default_rng(7)
    weights = np.repeat(matrix(rng, 10, 33), 4, axis=1)
    weights[:, -4:] = 0
    net = layer(rng, Dense(weights), 40, 33)
    program = build_program(net, "loihi2", spread(net, rng, 8))
    (part,) = layout_of(program).parts
    assert part.weights.shape == (9, 64)
    assert part.rows is not None
    assert (part.rows[-4:] == -1).all()
    compare(program, {"in": (rng.random((3, 9, 40)) < 0.3).astype(np.uint8)}, 12)


def test_more_spikes_than_sixteen_bits_can_hold():
    """300 sources of weight 127 at one target: 38,100; lists and kernel rows must move their sums on in time."""
    rng = np.random.default_rng(8)
    sources, targets = 600, 9000
    indptr = np.arange(targets + 1) * 3
    indices = rng.integers(0, sources, targets * 3).astype(np.int32)
    weights = np.full(targets * 3, 127, np.int32)
    # The first target hears everyone.
    indptr = np.concatenate([[0], indptr[1:] + sources - 3])
    indices, weights = np.concatenate([np.arange(sources), indices[3:]]), np.concatenate([np.full(sources, 127), weights[3:]])
    order = np.lexsort((indices, np.repeat(np.arange(targets), np.diff(indptr))))
    net = layer(rng, Sparse(indptr, indices[order].astype(np.int32), weights[order].astype(np.int32), sources), sources, targets)
    program = build_program(net, "loihi2", spread(net, rng, 2000))
    emulator = Emulator(program, KERNELS)
    x = np.ones((1, 2, sources), np.uint8)
    trace = emulator.run(x, 3, probes=[Probe("a", "u")])
    assert trace.state["a.u"][0, 1, 0] == 127 * sources << 6
    big = convolution(rng, weights=np.full((6, 4, 9, 8), 120, np.int32), padding=(0, 0))
    program = build_program(big, "loihi2", spread(big, rng, 99))
    (accumulator,) = Emulator(program, KERNELS).layout.accumulators[0][1]
    assert (accumulator.width, accumulator.limit) == (16, 32767 // 120)
    trace = emulate(program, KERNELS, np.ones((1, 1, 4, 9, 8), np.uint8), 2, probes=[Probe("conv", "u")])
    assert (trace.state["conv.u"][0, 1] == 120 * 288 << 6).all()


def test_more_targets_than_sixteen_bits_can_number():
    rng = np.random.default_rng(9)
    sources, targets = 50, 70_000
    indices = rng.integers(0, sources, targets).astype(np.int32)
    weights = rng.integers(-100, 101, targets).astype(np.int32)
    net = layer(rng, Sparse(np.arange(targets + 1), indices, weights, sources), sources, targets)
    program = build_program(net, "loihi2", spread(net, rng, 30_000))
    assert [p.tables[1].dtype for p in layout_of(program).parts] == [np.uint16, np.uint16]
    x = (rng.random((1, 1, sources)) < 0.5).astype(np.uint8)
    for team in (1, 2):
        trace = Emulator(program, KERNELS, team).run(x, 2, probes=[Probe("a", "u")])
        np.testing.assert_array_equal(trace.state["a.u"][0, 1], x[0, 0, indices] * weights * 64)


def test_wide_weights_with_a_common_power_of_two_are_kept_in_a_byte():
    rng = np.random.default_rng(10)
    net = layer(rng, Dense(matrix(rng, 20, 30) * 2), 20, 30)
    program = build_program(net, "loihi2", spread(net, rng, 8))
    (part,) = layout_of(program).parts
    assert part.weights.dtype == np.int8
    odd = replace(net.projections[0], connectivity=Dense(matrix(rng, 20, 30, -255, 256)))
    wide = replace(net, projections=(odd,))
    (part,) = layout_of(build_program(wide, "loihi2", spread(wide, rng, 8))).parts
    assert part.weights.dtype == np.int16


@pytest.mark.parametrize(("targets", "shared"), [(2048, False), (2080, False), (2048, True)])
def test_dense_blocks_of_few_sources_each_are_rows_or_runs(targets, shared):
    """Like a chip whose cores have an axon per source: no matrix over all sources and targets is made."""
    rng = np.random.default_rng(11)
    sources, cores = 2048, 64
    net = layer(rng, Dense(np.ones((targets, 1), np.int32)), 1, targets)
    program = build_program(net, "loihi2", spread(net, rng, -(-targets // cores)))
    per = sources // cores
    blocks, core, axon = [], np.zeros(sources, np.int32), np.zeros(sources, np.int32)
    used = [0] * len(program.cores)
    drives = np.array_split(rng.permutation(sources), cores)
    for block, mine in zip(program.blocks, drives, strict=True):
        blocks.append(SynapseBlock(
            block.core, block.group, used[block.core], Dense(matrix(rng, per, program.groups[block.group].size)), None, 0, 0, 0, 8, "mixed",
        ))
        core[mine], axon[mine] = block.core, used[block.core] + np.arange(per)
        used[block.core] += per
    pointer = np.arange(sources + 1)
    if shared:
        # The first source drives two blocks.
        other = int(drives[1 if 0 in drives[0] else 0][0])
        core, axon, pointer = np.append(core[other], core), np.append(axon[other], axon), np.append(0, pointer[1:] + 1)
    inputs = {0: Routes(pointer, core, axon)}
    given = (replace(program.populations[0], shape=(sources,)), *program.populations[1:])
    program = replace(program, populations=given, blocks=tuple(blocks), inputs=inputs)
    (part,) = layout_of(program).parts
    assert part.kind == ("runs" if shared else "rows")
    # Rows are as long as the longest: of 32 or 48.
    assert part.weights.size == sources * (48 if targets == 2080 else 32)
    compare(program, {"in": (rng.random((1, 4, sources)) < 0.05).astype(np.uint8)}, 6, team=2)


def test_a_tile_that_is_not_its_groups_slice_is_refused():
    rng = np.random.default_rng(12)
    net = convolution(rng)
    program = build_program(net, "loihi2", spread(net, rng, 7))
    tile = program.blocks[0].synapses
    assert isinstance(tile, ConvTile)
    group = program.groups[program.blocks[0].group]
    moved = replace(group, slice=np.sort(rng.permutation(6 * 9 * 8)[: group.size]))
    groups = list(program.groups)
    groups[program.blocks[0].group] = moved
    with pytest.raises(NmapError) as error:
        Emulator(replace(program, groups=tuple(groups)), KERNELS)
    assert "each of its neurons once" in str(error.value.diagnostics[0].why)


def one_layer(synapses, **form):
    """A program of one core: a port, and a population that it drives."""
    sources = synapses.in_size
    net = layer(np.random.default_rng(0), Dense(np.ones((synapses.out_size, sources), np.int32)), sources, synapses.out_size)
    program = build_program(net, "loihi2", spread(net, np.random.default_rng(0), 10**6))
    (block,) = program.blocks
    return replace(program, blocks=(replace(block, synapses=synapses, **form),))


@pytest.mark.parametrize(("weight", "exponent"), [(5, 40), (1 << 24, 8), (-(1 << 31), 1), (3, 31), (-(1 << 31), 0)])
def test_shifts_of_32_bits_and_more_leave_nothing(weight, exponent):
    for synapses in (Dense(np.full((3, 2), weight, np.int32)), Sparse([0, 1, 1, 1], [1], np.array([weight], np.int32), 2)):
        compare(one_layer(synapses, exponent=exponent), {"in": np.ones((1, 3, 2), np.uint8)}, 4)


def test_synapses_that_meet_are_not_cut_to_32_bits_where_sums_are_wider():
    twice = Sparse([0, 2, 4], [0, 0, 1, 1], np.array([2**31 - 1] * 2 + [-(2**31)] * 2), 2)
    for form in ({"accumulator": 40, "exponent": -3}, {"exponent": -1}, {}):
        compare(one_layer(twice, **form), {"in": np.ones((1, 3, 2), np.uint8)}, 4)


def test_weights_of_any_byte_order():
    swapped = Sparse([0, 1, 2], [0, 1], np.array([70, -3]).astype(">i4"), 2)
    compare(one_layer(swapped), {"in": np.ones((1, 3, 2), np.uint8)}, 4)


def test_delays_beyond_the_run_take_no_memory():
    far = np.array([[0, 2**31 - 1], [1, 5]], np.int64)
    program = one_layer(Dense(np.array([[50, 60], [70, 80]], np.int32)), delays=far)
    assert Emulator(program, KERNELS).footprint(1, 9) < 1 << 24
    compare(program, {"in": np.ones((1, 3, 2), np.uint8)}, 9)
    late = replace(program, blocks=(replace(program.blocks[0], delays=None, delay=2**31 - 1),))
    assert Emulator(late, KERNELS).footprint(1, 9) < 1 << 24
    compare(late, {"in": np.ones((1, 3, 2), np.uint8)}, 9)


def test_a_convolution_with_a_border_that_no_memory_holds_is_refused():
    conv = Conv2d(np.ones((1100, 1, 1, 2), np.int32), (1, 1, 2), (1, 1), (0, 1_000_000), (1, 2_000_000), 1)
    target = population("conv", conv.out_shape, du=400, dv=90, vth=9, bias_mant=0, bias_exp=0)
    net = QuantizedNetwork((port("in", (1, 1, 2)), target), (projection("in", "conv", conv),), ("in",), ("conv",))
    with pytest.raises(NmapError) as error:
        Emulator(build_program(net, "loihi2", spread(net, np.random.default_rng(0), 10**6)), KERNELS)
    assert "with its border" in str(error.value.diagnostics[0].why)


def test_two_neurons_at_one_axon_of_a_convolution_that_wraps_are_refused():
    rng = np.random.default_rng(13)
    net = convolution(rng)
    pieces = (Shard("conv", tuple((0, size) for size in net["conv"].shape), 0, {}),)
    program = build_program(net, "loihi2", replace(spread(net, rng, 99), shards=pieces))
    routes = program.inputs[0]
    axon = routes.axon.copy()
    axon[1] = axon[0]
    same = replace(program, inputs={0: Routes(routes.indptr, routes.core, axon)})
    for form, refused in (({"accumulator": 8}, True), ({"exponent": -3}, True), ({"exponent": 3}, False)):
        changed = replace(same, blocks=tuple(replace(b, **form) for b in same.blocks))
        if not refused:
            Emulator(changed, KERNELS)
            continue
        with pytest.raises(NmapError) as error:
            Emulator(changed, KERNELS)
        assert "wrap or are rounded" in str(error.value.diagnostics[0].why)


def test_a_kernel_of_large_and_of_no_weights():
    weights = np.zeros((2, 4, 3, 3), np.int32)
    net = convolution(np.random.default_rng(14), weights=weights)
    program = build_program(net, "loihi2", spread(net, np.random.default_rng(0), 99))
    heavy = weights.copy()
    heavy[:, 3] = 32_000
    for kernel in (weights, heavy):
        blocks = tuple(replace(b, synapses=replace(b.synapses, weights=kernel[: b.synapses.weights.shape[0]])) for b in program.blocks)
        emulate(replace(program, blocks=blocks), KERNELS, np.ones((1, 2, 4, 9, 8), np.uint8), 3)


@pytest.mark.parametrize(("values", "told"), [
    (np.zeros((1, 3, 3), np.uint8), "not (samples, time, 2 neurons)"), (np.zeros(3, np.uint8), "not (samples, time, 2 neurons)"),
    (np.full((1, 3, 2), 0.9), "not whole numbers"), (np.full((1, 3, 2), 2**32 + 1), "beyond 32 bits"),
    (np.full((1, 3, 2), 2**31, np.uint32), "beyond 32 bits"),
])
def test_inputs_that_do_not_fit_are_refused(values, told):
    emulator = Emulator(one_layer(Dense(np.ones((3, 2), np.int32))), KERNELS)
    with pytest.raises(ValueError) as error:
        emulator.run(values, 3)
    assert told in str(error.value)


def test_what_the_program_does_not_have_is_refused():
    program = one_layer(Dense(np.ones((3, 2), np.int32)))
    emulator = Emulator(program, KERNELS)
    x = np.ones((1, 3, 2), np.uint8)
    for probe in (Probe("a", "w"), Probe("in", "v"), Probe("b", "spikes")):
        with pytest.raises(ValueError):
            emulator.run(x, 3, probes=[probe])
    with pytest.raises(ValueError):
        emulator.run(x, 3, record=["nobody"])
    with pytest.raises(ValueError):
        emulator.run(x, -1)
    with pytest.raises(ValueError):
        Emulator(program, KERNELS, team=0)
    with pytest.raises(NmapError):
        Emulator(replace(program, inputs={}), KERNELS)


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 2)])
@pytest.mark.parametrize("dense", [True, False])
def test_no_samples_and_no_time(shape, dense):
    emulator = Emulator(one_layer(Dense(np.ones((3, 2), np.int32))), KERNELS)
    trace = emulator.run(np.zeros(shape, np.uint8), 4, dense=dense)
    spikes = trace.spikes["a"] if dense else trace.events["a"].dense()
    assert spikes.shape == (shape[0], 4, 3)
    assert not spikes.any()
