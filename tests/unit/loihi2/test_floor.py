from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap_loihi2 import TARGET
from nmap_loihi2.demand import demand_floor

HERE = Provenance("net", "/")


def network(shape, *connections, bits=8):
    ports = tuple(QuantizedPopulation(f"in{k}", (c.in_size,), None, {}, HERE) for k, c in enumerate(connections))
    links = tuple(
        QuantizedProjection(f"p{k}", f"in{k}", "a", c, SynapseFormat(bits), 0, HERE) for k, c in enumerate(connections)
    )
    return QuantizedNetwork((*ports, QuantizedPopulation("a", shape, "lif", {}, HERE)), links, tuple(p.name for p in ports), ("a",))


def small_chip(**limits):
    spec = TARGET.spec
    resources = {name: r.model_copy(update={"max": limits.get(name, r.max)}) for name, r in spec.resources.items()}
    return spec.model_copy(update={"resources": resources})


@pytest.mark.parametrize("seed", range(60))
def test_no_cut_into_boxes_that_fit_takes_less(seed):
    rng = np.random.default_rng([41, seed])
    groups = int(rng.choice([1, 1, 2, 3]))
    inputs = (groups * int(rng.integers(1, 4)), int(rng.integers(4, 9)), int(rng.integers(4, 9)))
    channels = groups * int(rng.integers(1, 5))

    def conv(source):
        return Conv2d(np.ones((channels, source // groups, 3, 3), np.int32), (source, *inputs[1:]), padding=(1, 1), groups=groups)

    layers = [conv(inputs[0])]
    if seed % 3 == 0:
        layers.append(conv(groups))
    if seed % 4 == 0:
        layers.append(Dense(np.ones((layers[0].out_size, 3), np.int32)))
    net = network(layers[0].out_shape, *layers, bits=int(rng.integers(1, 9)))
    spec = small_chip(
        neurons=int(rng.integers(8, 90)), synapse_memory=int(rng.integers(60, 300)), memory_words=int(rng.integers(120, 500)),
    )
    floor = demand_floor(net, "a", spec)
    found = 0
    for _ in range(60):
        cuts = [
            sorted({0, size, *rng.integers(1, size + 1, int(rng.integers(0, size + 1))).tolist()}) for size in layers[0].out_shape
        ]
        boxes = [()]
        for axis in cuts:
            boxes = [(*box, side) for box in boxes for side in pairwise(axis)]
        demands = [TARGET.demand(net, "a", box) for box in boxes]
        if any(amount > spec.resources[name].max for d in demands for name, amount in d.items()):
            continue
        found += 1
        for name in spec.resources:
            assert floor[name] <= sum(d[name] for d in demands) + 1e-6, name
    assert found or floor["memory_words"] > 0


def test_every_piece_pays_for_its_kernels():
    # 64 channels of 3 x 3 x 64 kernels: 576 rows of ceil((8 c + 10) / 64) words; 16 x 16 positions, 16 384 neurons.
    net = network((64, 16, 16), Conv2d(np.ones((64, 64, 3, 3), np.int32), (64, 16, 16), padding=(1, 1)))
    best = min(576 * -(-(8 * c + 10) // 64) / min(256 * c, 4095, (20000 - 576 * -(-(8 * c + 10) // 64) - 2) // 2) for c in range(1, 65))
    floor = demand_floor(net, "a", TARGET.spec)
    assert floor["synapse_memory"] == pytest.approx(16384 * best)
    assert floor["neuron_groups"] == -(-16384 // 4095)
    assert floor["input_axons"] == 2 * 5
    # What had been known of it: every weight is stored once.
    assert floor["synapse_memory"] > 64 * 64 * 9 * 8 / 64
