from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.mapping import Shard
from nmap.partition.routes import core_nets, core_traffic, sources_of
from nmap.program import box_indices, slice_indices
from nmap.quantized import QuantizedNetwork
from tests.unit.partition.fake import adjacency, convolution, dense, population, projection


@pytest.mark.parametrize("conv", [
    Conv2d(np.ones((4, 2, 3, 3), np.int32), (2, 8, 7), padding=(1, 1)),
    Conv2d(np.ones((4, 2, 3, 3), np.int32), (2, 9, 9), stride=(2, 2)),
    Conv2d(np.ones((4, 1, 3, 2), np.int32), (4, 8, 7), groups=4, padding=(2, 0)),
    Conv2d(np.ones((6, 2, 1, 1), np.int32), (4, 5, 5), groups=2),
])
def test_halo_is_exactly_what_a_tile_listens_to(conv):
    c, h, w = conv.out_shape
    for box in [((0, c), (0, h), (0, w)), ((1, 2), (1, 3), (0, w)), ((0, c), (h - 1, h), (w - 2, w)), ((c - 1, c), (0, 1), (0, 1))]:
        halo = sources_of(conv, conv.in_shape, conv.out_shape, box)
        needed = np.flatnonzero(adjacency(conv)[box_indices(box, conv.out_shape)].any(0))
        assert np.array_equal(np.sort(box_indices(halo, conv.in_shape)), needed)


def test_a_dilated_halo_covers_what_a_tile_listens_to():
    conv = Conv2d(np.ones((1, 1, 3, 3), np.int32), (1, 9, 9), dilation=(2, 3))
    halo = box_indices(sources_of(conv, conv.in_shape, conv.out_shape, ((0, 1), (1, 2), (0, 1))), conv.in_shape)
    needed = np.flatnonzero(adjacency(conv)[box_indices(((0, 1), (1, 2), (0, 1)), conv.out_shape)].any(0))
    assert set(needed) <= set(halo.tolist())
    assert halo.size == 5 * 7


def test_sparse_rows_name_their_distinct_sources():
    matrix = np.zeros((6, 5), np.int32)
    matrix[1, [0, 3]] = matrix[2, 3] = matrix[5, 4] = 1
    sparse = Sparse.from_dense(matrix)
    assert sources_of(sparse, (5,), (6,), ((1, 3),)).tolist() == [0, 3]
    assert sources_of(sparse, (5,), (6,), ((0, 1),)).tolist() == []
    # Two channels of one pixel row: rows 1 and 4 of the (2, 3) population.
    assert sources_of(sparse, (5,), (2, 3), ((0, 2), (2, 3))).tolist() == [3, 4]


def test_dense_needs_all():
    assert sources_of(Dense(np.ones((3, 12), np.int32)), (3, 4), (3,), ((1, 2),)) == ((0, 3), (0, 4))


def taps(conv, box):
    """The source box of a tile, tap by tap: everything between the first and the last tap, padding left out."""
    per_in, per_out = conv.in_shape[0] // conv.groups, conv.weights.shape[0] // conv.groups
    heard = [set(), set(), set()]
    for channel in range(*box[0]):
        heard[0] |= {channel // per_out * per_in + k for k in range(per_in)}
    for k in range(2):
        for at in range(*box[k + 1]):
            heard[k + 1] |= {at * conv.stride[k] - conv.padding[k] + tap * conv.dilation[k] for tap in range(conv.kernel_size[k])}
    spans = [range(max(min(positions), 0), min(max(positions) + 1, size)) for positions, size in zip(heard, conv.in_shape, strict=True)]
    grid = np.zeros(conv.in_shape, bool)
    grid[np.ix_(*spans)] = True
    return np.flatnonzero(grid)


def naive_nets(network, shards, rates):
    """Packets per step by (source cluster, set of listening clusters), neuron by neuron."""
    home = {p.name: np.full(p.size, -1) for p in network.populations}
    for shard in shards:
        home[shard.population][slice_indices(shard.slice, network[shard.population].shape)] = shard.cluster
    nets = {}
    for p in network.populations:
        goes = [set() for _ in range(p.size)]
        for q in (q for q in network.projections if q.source == p.name):
            for shard in (shard for shard in shards if shard.population == q.target):
                if isinstance(q.connectivity, Conv2d):
                    heard = taps(q.connectivity, shard.slice)
                else:
                    heard = np.flatnonzero(adjacency(q.connectivity)[slice_indices(shard.slice, network[q.target].shape)].any(0))
                for neuron in heard.tolist():
                    goes[neuron].add(shard.cluster)
        for neuron, clusters in enumerate(goes):
            key = (int(home[p.name][neuron]), tuple(sorted(clusters - {int(home[p.name][neuron])})))
            if key[1]:
                nets[key] = nets.get(key, 0.0) + (1.0 if rates is None else float(rates[p.name][neuron]))
    return {key: weight for key, weight in nets.items() if weight}


def random_boxes(rng, shape, cuts):
    """Split a shape into boxes by random cuts of random boxes."""
    boxes = [tuple((0, size) for size in shape)]
    for _ in range(cuts):
        box = boxes.pop(int(rng.integers(len(boxes))))
        wide = [k for k, (a, b) in enumerate(box) if b - a > 1]
        if not wide:
            boxes.append(box)
            continue
        k = int(rng.choice(wide))
        at = int(rng.integers(box[k][0] + 1, box[k][1]))
        boxes += [(*box[:k], (box[k][0], at), *box[k + 1 :]), (*box[:k], (at, box[k][1]), *box[k + 1 :])]
    return boxes


def layers():
    """Every kind of connection: strided, padded, dilated, grouped convolutions, a pool, a skip, dense, sparse, a loop, a reshape."""
    ones = np.ones
    populations = (
        population("in", (2, 9, 8), None), population("a", (4, 9, 8)), population("b", (4, 4, 4)), population("c", (4, 2, 2)),
        population("d", (7,)), population("e", (6,)), population("f", (2, 2, 1)),
    )
    sparse = np.zeros((6, 7), np.int32)
    sparse[[0, 1, 1, 3, 4, 5], [2, 0, 6, 3, 3, 5]] = 1
    projections = (
        projection("in", "a", Conv2d(ones((4, 2, 3, 3), np.int32), (2, 9, 8), padding=(1, 1))),
        projection("a", "b", Conv2d(ones((4, 2, 2, 3), np.int32), (4, 9, 8), stride=(2, 2), dilation=(2, 1), padding=(0, 1), groups=2)),
        projection("in", "b", Conv2d(ones((4, 2, 1, 1), np.int32), (2, 9, 8), stride=(3, 3), padding=(1, 2))),
        projection("b", "c", Conv2d(ones((4, 1, 2, 2), np.int32), (4, 4, 4), stride=(2, 2), groups=4)),
        projection("b", "c", Conv2d(ones((4, 4, 1, 1), np.int32), (4, 4, 4), stride=(3, 3))),
        projection("c", "d", dense(7, 16)), projection("d", "e", Sparse.from_dense(sparse)),
        projection("e", "e", Sparse.diagonal(ones(6, np.int32))),
        projection("d", "f", dense(4, 7)), projection("c", "f", Conv2d(ones((2, 1, 3, 4), np.int32), (1, 4, 4))),
    )
    return populations, projections


def random_case(seed):
    """Some of the layers with their populations, random shards on shared clusters, and rates."""
    rng = np.random.default_rng([21, seed])
    populations, projections = layers()
    kept = tuple(p for p in projections if seed % 4 == 0 or rng.random() < 0.6)
    if seed % 2:
        # Without listed connections no neuron is looked at by itself.
        kept = tuple(p for p in kept if p.source not in ("c", "d", "e") or p.target == "d")
    network = QuantizedNetwork(populations, kept, ("in",), ("f",))
    clusters = int(rng.integers(2, 12))
    shards = []
    for p in populations[1:]:
        convolved = any(isinstance(q.connectivity, Conv2d) for q in network.afferents(p.name))
        if not convolved and seed % 3 == 0:
            part = rng.integers(0, 3, p.size)
            slices = [np.flatnonzero(part == k) for k in np.unique(part)]
        else:
            slices = random_boxes(rng, p.shape, int(rng.integers(0, 9)))
        shards += [Shard(p.name, part, int(rng.integers(clusters)), {}) for part in slices]
    rates = None if seed % 5 == 0 else {p.name: rng.integers(0, 5, p.size) / 8 for p in populations}
    return network, tuple(shards), rates


@pytest.mark.parametrize("seed", range(40))
def test_nets_and_pairs_are_what_single_neurons_send(seed):
    network, shards, rates = random_case(seed)
    expected = naive_nets(network, shards, rates)
    nets = core_nets(network, shards, rates)
    rows = [tuple(nets.target[a:b].tolist()) for a, b in pairwise(nets.start.tolist())]
    found = dict(zip(zip(nets.source.tolist(), rows, strict=True), nets.weight.tolist(), strict=True))
    assert len(found) == len(rows)
    assert found == expected
    pairs = {}
    for (source, targets), weight in expected.items():
        for target in targets:
            pairs[source, target] = pairs.get((source, target), 0.0) + weight
    source, target, weight = core_traffic(network, shards, rates)
    assert dict(zip(zip(source.tolist(), target.tolist(), strict=True), weight.tolist(), strict=True)) == pairs
    assert list(zip(source.tolist(), target.tolist(), strict=True)) == sorted(pairs)


def test_the_cases_hold_both_boxes_and_lists():
    cases = [random_case(seed) for seed in range(40)]
    kinds = {isinstance(shard.slice, tuple) for _, shards, _ in cases for shard in shards}
    assert kinds == {True, False}
    listed = [any(isinstance(p.connectivity, Sparse) for p in network.projections) for network, _, _ in cases]
    assert any(listed)
    assert not all(listed)


def test_nets_do_not_depend_on_the_order_of_shards():
    network, shards, rates = random_case(4)
    first, second = core_nets(network, shards, rates), core_nets(network, shards[::-1], rates)
    for name in ("source", "start", "target", "weight"):
        assert np.array_equal(getattr(first, name), getattr(second, name))


def test_populations_without_shards_hear_nothing_and_send_as_ports():
    network = convolution()
    shards = (Shard("c2", ((0, 4), (0, 3), (0, 3)), 0, {}),)
    source, target, weight = core_traffic(network, shards, None)
    # 2 x 2 kernel with stride 2 on 7 x 6: six rows and columns of three channels.
    assert (source.tolist(), target.tolist(), weight.tolist()) == ([-1], [0], [3 * 6 * 6.0])


def test_no_shards_no_traffic():
    nets = core_nets(convolution(), (), None)
    assert (nets.source.size, nets.start.tolist(), nets.target.size) == (0, [0], 0)
    assert [part.size for part in core_traffic(convolution(), (), None)] == [0, 0, 0]


def test_the_targets_of_a_convolution_are_a_box():
    conv = Conv2d(np.ones((1, 1, 1, 1), np.int32), (1, 2, 2))
    with pytest.raises(ValueError, match="box"):
        sources_of(conv, conv.in_shape, conv.out_shape, np.array([0, 3]))


def shared_nets(network, shards, rates):
    """As `naive_nets`, where the neurons that a population has on a cluster go together wherever any of them is heard."""
    nets = {}
    for p in network.populations:
        own = sorted({shard.cluster for shard in shards if shard.population == p.name}) or [-1]
        for cluster in own:
            alone = [
                shard for shard in shards
                if shard.population != p.name or shard.cluster == cluster
            ]
            neurons = [
                slice_indices(shard.slice, p.shape) for shard in alone if shard.population == p.name
            ] or [np.arange(p.size)]
            neurons = np.concatenate(neurons)
            goes = set()
            for q in (q for q in network.projections if q.source == p.name):
                for shard in (shard for shard in shards if shard.population == q.target):
                    part = slice_indices(shard.slice, network[q.target].shape)
                    if isinstance(q.connectivity, Conv2d):
                        heard = taps(q.connectivity, shard.slice)
                    else:
                        heard = np.flatnonzero(adjacency(q.connectivity)[part].any(0))
                    if np.intersect1d(heard, neurons).size:
                        goes.add(shard.cluster)
            weight = float(neurons.size if rates is None else rates[p.name][neurons].sum())
            key = (cluster, tuple(sorted(goes - {cluster})))
            if key[1] and weight:
                nets[key] = nets.get(key, 0.0) + weight
    return nets


@pytest.mark.parametrize("seed", range(40))
def test_neurons_of_a_core_share_a_route(seed):
    network, shards, rates = random_case(seed)
    nets = core_nets(network, shards, rates, shared=True)
    rows = [tuple(nets.target[a:b].tolist()) for a, b in pairwise(nets.start.tolist())]
    found = dict(zip(zip(nets.source.tolist(), rows, strict=True), nets.weight.tolist(), strict=True))
    assert len(found) == len(rows)
    assert found == shared_nets(network, shards, rates)


def test_spikes_that_are_loaded_beforehand_are_no_packets():
    network, shards, rates = random_case(1)
    every, loaded = core_nets(network, shards, rates), core_nets(network, shards, rates, loaded=True)
    assert (every.source == -1).any()
    assert not (loaded.source == -1).any()
    assert np.array_equal(loaded.weight, every.weight[every.source >= 0])
