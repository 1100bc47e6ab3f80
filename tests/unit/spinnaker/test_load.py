from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense
from nmap.quantized import QuantizedNetwork
from nmap_spinnaker.demand import demand
from nmap_spinnaker.layout import busy_of, own_ticks, spike_buffer, spike_ticks
from nmap_spinnaker.load import at_scale, layer_time_scale, least_time_scale, real_time_neurons
from tests.spinnaker1_networks import cells, network, port, projection, random_network


def mlp(inputs: int, hidden: int, busy: float | None) -> QuantizedNetwork:
    first, source, load = port("in", (inputs,), busy)
    dense = Dense(np.ones((hidden, inputs), np.int32))
    return network((first, source, cells("a", (hidden,))), (load, projection("p", "in.source", "a", dense)), ("a",))


def test_the_dense_layer_of_the_data_sheet_overruns_a_millisecond_fivefold() -> None:
    """784 sources of which 118 spike, 256 neurons: 118 (453 + 6400) instructions, 5 ms with 1.3 cycles each."""
    tick = demand(mlp(784, 256, 118.0), "a", ((0, 256),))["tick"]
    instructions = 582 + 113.2 * 256 + 118 * (453 + 25 * 256)
    assert tick == pytest.approx(instructions * 1.3 / 200_000 * 1e9, rel=1e-5)
    assert 5e9 < tick < 6e9


def test_real_time_is_measured_in_cores_of_32_neurons() -> None:
    quantized = mlp(784, 256, 118.0)
    # 582 + 113.2 * 32 + 118 (453 + 800) instructions are 0.99 ms at 1.3 cycles each; one spike more is too many.
    assert least_time_scale(quantized) == 1
    assert least_time_scale(mlp(784, 256, 120.0)) == 2
    assert least_time_scale(mlp(784, 256, 1200.0)) == 10
    assert real_time_neurons(quantized, "a") == 32
    assert real_time_neurons(at_scale(quantized, 4), "a") == 128
    assert real_time_neurons(mlp(784, 256, 784.0), "a") is None


def test_pieces_are_no_larger_than_delays_allow() -> None:
    """With 4096 steps a core holds 2 neurons: 582 + 2 * 113.2 + 200 (453 + 2 * 25) instructions at 1.3 cycles are 0.66 ms."""
    quantized = mlp(784, 256, 200.0)
    slow = replace(quantized, projections=tuple(replace(p, delay=4095) if p.name == "p" else p for p in quantized.projections))
    assert least_time_scale(quantized) == 2
    assert least_time_scale(slow) == 1
    assert real_time_neurons(slow, "a") == 2
    assert real_time_neurons(quantized, "a") == 8


def test_a_shorter_step_needs_more_time() -> None:
    quantized = mlp(784, 256, 118.0)
    fine = network(quantized.populations, quantized.projections, ("a",), {"timestep_us": 100, "time_scale": 1})
    assert least_time_scale(fine) == 10


def test_the_own_time_scale_does_not_matter() -> None:
    quantized = mlp(100, 40, 90.0)
    assert least_time_scale(at_scale(quantized, 7)) == least_time_scale(quantized)


def test_what_is_not_known_spikes_at_thirty_hertz() -> None:
    assert busy_of(None, 1000, {"timestep_us": 1000, "time_scale": 5}) == 30
    assert busy_of(None, 1000, {"timestep_us": 100, "time_scale": 1}) == 3
    assert busy_of(2.5, 1000, {}) == 2.5
    assert own_ticks({"timestep_us": 1000, "time_scale": 2})[1] == 367_900
    assert spike_ticks(10.0, 10, {}) == (2_944_500, 162_500)


def test_a_buffer_holds_more_than_a_busy_step_sends() -> None:
    assert [spike_buffer(busy_of(float(n), 1, {})) for n in (0, 255, 256, 511, 512, 5000)] == [256, 256, 512, 512, 1024, 4096]


@pytest.mark.parametrize("seed", range(3))
def test_with_the_least_scale_a_cut_is_in_time_and_with_less_none_is(seed: int) -> None:
    rng = np.random.default_rng([6, seed])
    conv = Conv2d(np.ones((6, 2, 3, 3), np.int32), (2, 7, 7))
    inputs, source, load = port("in", (2, 7, 7), float(rng.integers(98, 9000)))
    quantized = network((inputs, source, cells("a", conv.out_shape)), (load, projection("p", "in.source", "a", conv)), ("a",))
    scale = least_time_scale(quantized)

    def quickest(time_scale: int) -> int:
        slow = at_scale(quantized, time_scale)
        found = []
        for extent in product(*(range(1, n + 1) for n in conv.out_shape)):
            if np.prod(extent) >= 32:
                corner = [(n - e) // 2 for n, e in zip(conv.out_shape, extent, strict=True)]
                found.append(demand(slow, "a", tuple((c, c + e) for c, e in zip(corner, extent, strict=True)))["tick"])
        return min(found)

    assert quickest(scale) <= 10**9
    if scale > 2:
        assert quickest(scale // 2) > 10**9


def test_every_layer_has_a_scale_of_its_own() -> None:
    quantized = random_network(np.random.default_rng(3))
    scales = {p.name: layer_time_scale(quantized, p.name) for p in quantized.populations}
    assert scales["in"] == scales["in.source"] == 1
    assert least_time_scale(quantized) == max(scales.values())
