"""The choice of units and passes: by hand on small chains, and against enumeration."""

from __future__ import annotations

from itertools import combinations_with_replacement, pairwise, product

import numpy as np
import pytest

from nmap.diagnostics import Exit, NmapError
from nmap.partition.problem import PackingSolution
from nmap.target.machine import build_machine
from nmap_akida import TARGET
from nmap_akida.demand import size_of
from nmap_akida.form import Form
from nmap_akida.passes import choose, fewest_fnp2
from nmap_akida.units import class_of, pass_of, unit_of
from nmap_akida.ways import Room, Way, cut, parts_of, ways_of
from tests.akida_chains import Chain, arranged, programmed

ROOM = Room.of(build_machine(TARGET.spec, "AKD1000"))
SMALL = Room.of(build_machine(TARGET.spec, "AKD1500"))


def _room(cnp: int, fnp3: int, fnp2: int, passes: int) -> Room:
    units = {"cnp": cnp, "cnp2": 0, "fnp3": fnp3, "fnp2": fnp2, "hrc": 1}
    return Room(units, passes, 44800, 43008, 32, 256, 504, 0, 2048, 2048)


def _enumerated(layers: list[tuple[Way, ...]], room: Room) -> tuple[int, ...] | None:
    """Return passes, NPs, FNP2 and dense layers as convolutions of the best plan, trying every one."""
    best = None
    runs = [at for at in combinations_with_replacement(range(min(room.passes, len(layers))), len(layers)) if at[0] == 0]
    for ways in product(*layers):
        for at in runs:
            if any(b - a > 1 for a, b in pairwise(at)):
                continue
            for number in set(at):
                here = [way for way, p in zip(ways, at, strict=True) if p == number]
                counts = {unit: sum(way.unit == unit for way in here) for unit in ("FNP3", "FNP2", "HRC")}
                nps = sum(way.filters * way.rows * way.columns for way in here if way.unit != "HRC")
                single = sum(way.dense and way.unit == "CNP" and way.filters == 1 for way in here)
                total = room.units["cnp"] + room.units["fnp3"] + room.units["fnp2"]
                if counts["FNP3"] > room.units["fnp3"] or counts["FNP2"] > room.units["fnp2"] or counts["HRC"] > 1 or nps > total or (
                    single > room.units["cnp"]
                ):
                    break
            else:
                found = (
                    max(at) + 1, sum(way.filters * way.rows * way.columns for way in ways if way.unit != "HRC"),
                    sum(way.unit == "FNP2" for way in ways), sum(way.dense and way.unit == "CNP" for way in ways),
                )
                best = found if best is None else min(best, found)
    return best


def _drawn(rng: np.random.Generator, first: bool) -> tuple[Way, ...]:
    kind = int(rng.integers(0, 6))
    if kind == 0 and first:
        return (Way("HRC"),)
    if kind < 2:
        return (Way("CNP", int(rng.integers(1, 4)), int(rng.integers(1, 3))),)
    ways = [Way("FNP2", dense=True)]
    if kind in (2, 3):
        ways.insert(0, Way("FNP3", dense=True))
    if kind in (3, 4):
        ways.append(Way("CNP", int(rng.integers(1, 4)), dense=True))
    return tuple(ways)


@pytest.mark.parametrize("seed", range(60))
def test_plans_are_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng([91, seed])
    layers = [_drawn(rng, k == 0) for k in range(int(rng.integers(1, 6)))]
    room = _room(int(rng.integers(1, 6)), int(rng.integers(0, 3)), int(rng.integers(0, 3)), int(rng.choice([1, 2, 4])))
    plan = choose(layers, room)
    best = _enumerated(layers, room)
    if best is None:
        assert plan.status == "infeasible"
        return
    assert plan.status == "optimal"
    assert plan.lower_bound == plan.nps
    fnp2, convolutions = sum(w.unit == "FNP2" for w in plan.ways), sum(w.dense and w.unit == "CNP" for w in plan.ways)
    assert (plan.passes, plan.nps, fnp2, convolutions) == best
    assert list(plan.at) == sorted(plan.at)


def test_random_plans_are_of_both_kinds() -> None:
    """The test above compares with plans of several passes, and with instances that have none."""
    found = []
    for seed in range(60):
        rng = np.random.default_rng([91, seed])
        layers = [_drawn(rng, k == 0) for k in range(int(rng.integers(1, 6)))]
        room = _room(int(rng.integers(1, 6)), int(rng.integers(0, 3)), int(rng.integers(0, 3)), int(rng.choice([1, 2, 4])))
        found.append(_enumerated(layers, room))
    assert sum(best is None for best in found) > 5
    assert sum(best is not None and best[0] > 1 for best in found) > 5
    assert sum(best is not None and best[2] > 0 for best in found) > 5


def test_the_fewest_fnp2_do_not_depend_on_how_many_there_are() -> None:
    only, either, small = (Way("FNP2", dense=True),), (Way("FNP2", dense=True), Way("CNP", 3, dense=True)), (Way("FNP3", dense=True),)
    assert fewest_fnp2([only, either, only, small], _room(2, 1, 0, 1)) == 2
    # Two layers that fit an FNP3, of which there is one.
    both = (Way("FNP3", dense=True), Way("FNP2", dense=True))
    assert fewest_fnp2([both, both], _room(2, 1, 0, 1)) == 1


def test_runs_are_even_and_begin_at_multiples() -> None:
    assert cut(10, 3) == ((0, 3), (3, 6), (6, 10))
    assert cut(10, 3, 2) == ((0, 2), (2, 6), (6, 10))
    assert cut(4, 1) == ((0, 4),)


def _ways(chain: Chain, name: str, room: Room = ROOM, pooled: bool = False) -> tuple[Way, ...]:
    return ways_of(size_of(chain.network(), name), pooled, room)[0]


def test_a_dense_layer_that_fits_has_three_ways() -> None:
    # 896 x 100 weights of 4 bits are 44,800 bytes, one more input is too many.
    assert _ways(Chain(896).dense("fc", 100), "fc") == (
        Way("FNP3", dense=True), Way("FNP2", dense=True), Way("CNP", 1, dense=True),
    )
    assert _ways(Chain(897).dense("fc", 100), "fc") == (Way("FNP2", dense=True), Way("CNP", 2, dense=True))


def test_a_wide_dense_layer_is_no_convolution() -> None:
    assert _ways(Chain(2049).dense("fc", 10), "fc") == (Way("FNP3", dense=True), Way("FNP2", dense=True))
    assert _ways(Chain(8).dense("fc", 2049), "fc") == (Way("FNP3", dense=True), Way("FNP2", dense=True))


def test_a_dense_layer_over_an_image_is_no_convolution() -> None:
    chain = Chain(2, 8, 8).conv("c", 4).dense("fc", 10)
    assert _ways(chain, "fc") == (Way("FNP3", dense=True), Way("FNP2", dense=True))
    # A port's shape does not matter, and one pixel is none.
    assert Way("CNP", 1, dense=True) in _ways(Chain(2, 8, 8).dense("fc", 10), "fc")
    assert Way("CNP", 1, dense=True) in _ways(Chain(2, 8, 8).over_image("c", 4).dense("fc", 10), "fc")


def test_filters_of_an_np_are_limited_by_number_and_by_memory() -> None:
    # 505 filters of 2 channels are 2 parts on AKD1000 and 1 on AKD1500, which take 504 and 512.
    chain = Chain(2, 6, 6).conv("c", 505)
    assert _ways(chain, "c") == (Way("CNP", 2),)
    assert _ways(chain, "c", SMALL) == (Way("CNP", 1),)
    # 256 channels x 9 taps x 4 bits are 1152 bytes a filter, of which 38 fit 44,800 bytes: 100 filters are 3 parts.
    assert _ways(Chain(256, 6, 6).conv("c", 100), "c") == (Way("CNP", 3),)
    # Separable: 256 x 9 taps are shared (1152 bytes), each filter has 256 more (128 bytes): 341 fit.
    assert _ways(Chain(256, 6, 6).conv("c", 341, form=Form.SEPARABLE), "c") == (Way("CNP", 1),)
    assert _ways(Chain(256, 6, 6).conv("c", 342, form=Form.SEPARABLE), "c") == (Way("CNP", 2),)


def test_filters_of_one_channel_lie_in_even_eights_on_akd1000() -> None:
    # 24 filters are 3 eights, so they are divided: 12 are 2 eights.
    assert _ways(Chain(1, 6, 6).conv("c", 24), "c") == (Way("CNP", 2),)
    assert _ways(Chain(1, 6, 6).conv("c", 24), "c", SMALL) == (Way("CNP", 1),)
    assert _ways(Chain(1, 6, 6).conv("c", 8), "c") == (Way("CNP", 1),)
    assert _ways(Chain(1, 6, 6).conv("c", 32), "c") == (Way("CNP", 1),)


def test_images_are_divided_into_tiles_of_32_columns_and_256_rows() -> None:
    assert _ways(Chain(1, 32, 33).conv("c", 4), "c") == (Way("CNP", 1, 1, 2),)
    assert _ways(Chain(1, 257, 32).conv("c", 4), "c") == (Way("CNP", 1, 2, 1),)
    # Stride 2: 33 outputs of 65 columns are three tiles of 22 columns, not two of 34.
    assert _ways(Chain(1, 9, 65).conv("c", 4, stride=2), "c") == (Way("CNP", 1, 1, 3),)


def test_tiles_fit_the_input_memory_with_what_the_kernel_reaches() -> None:
    # 512 channels x 24 x 28 pixels of 1 bit are 43,008 bytes: as it is where nothing is added, and not with rows around it.
    assert _ways(Chain(512, 24, 28).conv("c", 4), "c") == (Way("CNP", 1, 1, 1),)
    assert _ways(Chain(512, 25, 28).conv("c", 4), "c") == (Way("CNP", 1, 1, 2),)
    # Halves of 48 x 28 have one row or column more, 25 x 28 or 48 x 15, and take 44,800 or 46,080 bytes. Thirds fit: 18 x 28 or 48 x 12.
    assert _ways(Chain(512, 48, 28).conv("c", 4), "c") == (Way("CNP", 1, 3, 1),)


def _fits(chain: Chain, rows: int, columns: int, pooled: bool) -> bool:
    """Whether so many tiles do, from the pixels that each one's kernel touches."""
    size = size_of(chain.network(), "c")
    assert size.conv is not None
    unit = 2 if pooled else 1
    spans = []
    for axis, parts in ((0, rows), (1, columns)):
        outputs, conv = size.shape[1 + axis], size.conv
        if parts > outputs // unit:
            return False
        ends = [unit * (outputs // unit * k // parts) for k in range(parts + 1)]
        widest = 0
        for low, high in pairwise(ends):
            touched = {
                o * conv.stride[axis] - conv.padding[axis] + t for o in range(low, high) for t in range(conv.kernel_size[axis])
            } & set(range(conv.in_shape[1 + axis]))
            given = {o * conv.stride[axis] + k for o in range(low, high) for k in range(conv.stride[axis])} & set(
                range(conv.in_shape[1 + axis])
            )
            if len(given) > (256, 32)[axis]:
                return False
            widest = max(widest, max(touched) - min(touched) + 1)
        spans.append(widest)
    return -(-size.channels * spans[0] * spans[1] * size.input_bits // 8) <= 43008


@pytest.mark.parametrize("seed", range(12))
def test_tiles_are_fewest(seed: int) -> None:
    rng = np.random.default_rng([92, seed])
    stride = int(rng.choice([1, 2]))
    height, width = (int(2 * n + (stride == 2)) for n in rng.integers(2, 40, 2))
    pooled = stride == 1 and bool(rng.random() < 0.5)
    channels = int(rng.integers(1, 600))
    chain = Chain(channels, height, width, input_bits=int(rng.choice([1, 4]))).conv("c", 4, stride=stride)
    (way,) = _ways(chain, "c", SMALL, pooled)
    assert _fits(chain, way.rows, way.columns, pooled)
    fewer = [(r, c) for r in range(1, way.rows * way.columns) for c in range(1, way.rows * way.columns) if r * c < way.rows * way.columns]
    assert not any(_fits(chain, r, c, pooled) for r, c in fewer)


def test_parts_cover_a_population_once() -> None:
    chain = Chain(3, 20, 14).conv("c", 10)
    size = size_of(chain.network(), "c")
    held = np.zeros(size.shape, int)
    parts = parts_of(size, Way("CNP", 3, 2, 3), pooled=True)
    assert len(parts) == 18
    for part in parts:
        assert isinstance(part, tuple)
        assert all(end % 2 == 0 for span in part[1:] for end in span)
        held[tuple(slice(*span) for span in part)] += 1
    assert (held == 1).all()


def test_fully_connected_layers_take_fnps_and_the_largest_the_scarce_one() -> None:
    network = Chain(1958).dense("fc1", 100).dense("fc2", 10).network()
    program, _ = programmed(network)
    assert [unit_of(program, name) for name in ("fc1", "fc2")] == ["FNP2", "FNP3"]
    mapping, _ = arranged(network)
    assert (mapping.packing.clusters, mapping.packing.lower_bound, mapping.packing.status) == (2, 2, "optimal")


def test_layers_beyond_the_fnp2_become_convolutions() -> None:
    chain = Chain(900)
    for k in range(6):
        chain.dense(f"fc{k}", 900)
    program, _ = programmed(chain.network())
    units = [unit_of(program, f"fc{k}") for k in range(6)]
    # 900 x 900 weights are 405,000 bytes: ten NPs as a convolution.
    assert sorted(units) == ["CNP", "CNP", "FNP2", "FNP2", "FNP2", "FNP2"]
    assert len(program.cores) == 4 + 2 * 10
    for k, unit in enumerate(units):
        index = next(i for i, p in enumerate(program.populations) if p.name == f"fc{k}")
        groups = [g for g in program.groups if g.population == index]
        assert len(groups) == (10 if unit == "CNP" else 1)
        assert {g.size for g in groups} == ({90} if unit == "CNP" else {900})


def test_small_layers_beyond_the_fnp3_lie_whole_on_plain_nps() -> None:
    chain = Chain(20)
    for k in range(30):
        chain.dense(f"fc{k}", 20)
    program, _ = programmed(chain.network())
    kinds = [class_of(program, core) for core in range(30)]
    assert kinds.count("fnp3") == 18
    assert kinds.count("fnp2") == 0
    assert [unit_of(program, f"fc{k}") for k in range(30)].count("CNP") == 12


def test_the_input_unit_computes_images_and_is_no_np() -> None:
    network = Chain(1, 28, 28).conv("image", 16, form=Form.IMAGE).conv("c", 16).dense("fc", 10).network()
    program, _ = programmed(network)
    assert [unit_of(program, name) for name in ("image", "c", "fc")] == ["HRC", "CNP", "FNP2"]
    assert class_of(program, program.groups[0].core) == "hrc"
    with pytest.raises(KeyError):
        unit_of(program, "in")


def test_a_pooled_population_lies_beside_its_layer() -> None:
    network = Chain(3, 4, 70).conv("c", 510).pool("p").conv("d", 4).network()
    mapping, _ = arranged(network)
    boxes = {shard.cluster: shard.slice for shard in mapping.shards if shard.population == "c"}
    halves = {shard.cluster: shard.slice for shard in mapping.shards if shard.population == "p"}
    assert len(boxes) == 2 * 3
    assert halves == {
        k: (f, (rows[0] // 2, rows[1] // 2), (columns[0] // 2, columns[1] // 2)) for k, (f, rows, columns) in boxes.items()
    }
    assert all(set(shard.demand.values()) == {0} for shard in mapping.shards if shard.population == "p")


def test_passes_follow_the_chain() -> None:
    chain = Chain(300)
    for k in range(30):
        chain.dense(f"fc{k}", 300)
    mapping, machine = arranged(chain.network(), "AKD1500")
    program, _ = programmed(chain.network(), "AKD1500")
    at = {}
    for group in program.groups:
        at.setdefault(group.population, set()).add(pass_of(program, group.core))
    assert all(len(found) == 1 for found in at.values())
    order = [next(iter(at[k])) for k in sorted(at)]
    assert order == sorted(order)
    assert set(order) == {0, 1}
    # A layer of 45,000 bytes takes 2 NPs, or the FNP2 that each pass has.
    assert (mapping.packing.clusters, mapping.packing.status) == (58, "optimal")
    assert max(core.core for core in mapping.cores) < 2 * machine.spec.variants["AKD1500"].cores


def test_dead_cores_are_not_used() -> None:
    network = Chain(1958).dense("fc1", 100).dense("fc2", 100).network()
    dead = (74, 75, 76, 56)
    mapping, _ = arranged(network, dead=dead)
    assert not {core.core for core in mapping.cores} & set(dead)
    assert 77 in {core.core for core in mapping.cores}
    # Without any FNP2 the first layer is a convolution of three parts; more inputs than channels would be none.
    mapping, _ = arranged(network, dead=(*dead, 77))
    assert len(mapping.cores) == 4


def test_the_packing_says_where_every_cluster_lies() -> None:
    network = Chain(2, 6, 6).conv("c", 600).dense("fc", 10).network()
    mapping, machine = arranged(network)
    packing: PackingSolution = mapping.packing
    assert len(packing.kind) == packing.clusters == len(mapping.cores)
    for cluster, kind in enumerate(packing.kind):
        assert machine.cores.index(mapping.cores[cluster]) in machine.classes[kind].cores.tolist()
    assert [(piece.item, piece.cluster) for piece in packing.pieces] == [
        (1 if shard.population == "c" else 2, shard.cluster) for shard in mapping.shards
    ]


def _refused(chain: Chain, variant: str = "AKD1000", dead: tuple[int, ...] = ()) -> NmapError:
    with pytest.raises(NmapError) as caught:
        arranged(chain.network(), variant, dead)
    assert caught.value.exit_status == Exit.DOES_NOT_FIT
    return caught.value


def test_too_many_large_layers_are_refused_with_the_arithmetic() -> None:
    chain = Chain(3000)
    for k in range(23):
        chain.dense(f"fc{k}", 3000 if k % 2 else 40)
    (error,) = _refused(chain).diagnostics
    assert error.code == "NM402"
    assert "at least 23 NPs with FNP2" in error.message
    assert "has 4 usable" in error.message
    for words in ("`fc0`: 3,000 inputs x 40 outputs at 4 bits take 60,000 bytes; an FNP3 holds 44,800", "And 19 more such layers",
                  "FNP3: 18, FNP2: 4", "estimate"):
        assert words in error.why
    # A layer with an FNP2 in each of 23 passes of AKD1500 is tried.
    assert any("akida:AKD1500" in text and "23 NPs in 23 passes" in text for text in error.help)
    assert error.data["lower_bound"] == 23


def test_fewer_bits_are_offered_where_they_help() -> None:
    # 3,000 x 40 weights: 60,000 bytes at 4 bits, 30,000 at 2: of 22 layers then 18 lie on an FNP3 and 4 on an FNP2.
    for layers, offered in ((22, True), (23, False)):
        chain = Chain(3000)
        for k in range(layers):
            chain.dense(f"fc{k}", 3000 if k % 2 else 40)
        (error,) = _refused(chain).diagnostics
        assert f"at least {layers} NPs with FNP2" in error.message
        assert any("`--bits 2`" in text and f"{layers} NPs" in text for text in error.help) == offered


def test_every_layer_that_is_too_large_is_told() -> None:
    chain = Chain(2, 64, 128).conv("image", 2000).conv("large", 30, 7).conv("small", 50).dense("fc", 10)
    errors = _refused(chain).diagnostics
    assert [error.code for error in errors] == ["NM401", "NM401"]
    large, fc = errors
    # 2,000 channels x 49 taps x 4 bits.
    assert "`large`" in large.message
    assert "take 49,000 bytes; an NP holds 44,800" in large.why
    # 50 channels of 64 x 128 pixels.
    assert "`fc`" in fc.message
    assert "409,600 inputs of 1 bit take 51,200 bytes; the input memory of an NP holds 43,008" in fc.why
    assert all("chain.nir" in str(error.where) or "/nodes" in str(error.where) for error in errors)


def test_a_layer_beyond_one_pass_is_refused_and_the_larger_chip_offered() -> None:
    # 1,024 channels x 9 taps x 4 bits: 4,608 bytes a filter, 9 on an NP, so 300 filters are 34 parts; at 2 bits 19 on an NP, 16 parts.
    chain = Chain(1024, 5, 5).conv("c", 300)
    (error,) = _refused(chain, "AKD1500").diagnostics
    assert error.code == "NM402"
    assert "`c` alone needs 34 NPs, and akida:AKD1500 has 32 usable" in error.message
    assert "not documented" in error.why
    assert any("--bits 2" in text and "16 NPs" in text for text in error.help)
    assert any("akida:AKD1000" in text and "34 NPs" in text for text in error.help)


def test_too_many_nps_are_refused_with_the_shares() -> None:
    chain = Chain(1024, 5, 5).conv("a", 600).conv("b", 600)
    (error,) = _refused(chain).diagnostics
    # a: 67 NPs; b: 600 channels, 2,700 bytes a filter, 16 on an NP: 38.
    assert "at least 105 NPs" in error.message
    assert "`a` 67 (2,764,800 bytes of weights, 67 parts of its filters)" in error.why
    assert "`b` 38" in error.why
    assert error.data["layers"] == {"a": 67, "b": 38}


def test_a_dead_input_unit_is_told() -> None:
    (error,) = _refused(Chain(1, 28, 28).conv("image", 16, form=Form.IMAGE), dead=(78,)).diagnostics
    assert "input convolution unit (HRC), which is marked dead" in error.message
    assert any("dead" in text and "would fit" in text for text in error.help)


def test_more_passes_than_planned_are_refused() -> None:
    chain = Chain(2100, bits=1)
    for k in range(65):
        chain.dense(f"fc{k}", 2100 if k % 2 else 200)
    (error,) = _refused(chain, "AKD1500").diagnostics
    assert "needs 65 passes over akida:AKD1500, and nmap plans at most 64" in error.message


def test_the_same_network_is_planned_the_same() -> None:
    chain = Chain(300)
    for k in range(12):
        chain.dense(f"fc{k}", 300)
    first, second = (arranged(chain.network(), "AKD1500")[0] for _ in range(2))
    assert first.cores == second.cores
    parts = [[(shard.population, str(shard.slice), shard.cluster) for shard in mapping.shards] for mapping in (first, second)]
    assert parts[0] == parts[1]
