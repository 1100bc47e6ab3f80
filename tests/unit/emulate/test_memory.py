"""What a run is said to take, it takes at most: all neurons firing, spikes kept as events, states probed, several threads."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from nmap.compile import build_program
from nmap.connectivity import Conv2d, Dense
from nmap.diagnostics import NmapError
from nmap.emulate.engine import Emulator
from nmap.quantized import QuantizedNetwork
from nmap.trace import Probe
from nmap_loihi2.kernels import KERNELS
from tests.loihi2_networks import population, port, projection
from tests.unit.emulate.test_reassembly import spread

STEPS, SAMPLES = 40, 12


def emulator():
    rng = np.random.default_rng(0)
    conv = Conv2d(np.full((8, 2, 3, 3), 90, np.int32), (2, 20, 20), (1, 1), (1, 1), (1, 1), 1)
    first = population("a", conv.out_shape, du=4095, dv=90, vth=1, bias_mant=100, bias_exp=0)
    second = population("b", (300,), du=4095, dv=90, vth=1, bias_mant=100, bias_exp=0)
    net = QuantizedNetwork(
        (port("in", (2, 20, 20)), first, second),
        (projection("in", "a", conv), projection("a", "b", Dense(np.ones((300, conv.out_size), np.int32)))), ("in",), ("b",),
    )
    return Emulator(build_program(net, "loihi2", spread(net, rng, 10**6)), KERNELS)


OPTIONS = [
    {"record": ["in", "a", "b"], "dense": False}, {"record": ["in", "a", "b"], "dense": False, "jobs": 2},
    {"record": ["in", "a", "b"]}, {"probes": [Probe("a", "u"), Probe("a", "v")]}, {"probes": [Probe("a", "v")], "jobs": 2},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_run_takes_what_is_said_at_most(options):
    made = emulator()
    inputs = np.ones((SAMPLES, STEPS, 800), np.uint8)
    made.run(inputs[:1], 2, **options)
    stated = made.footprint(SAMPLES, STEPS, **options) - made.layout.nbytes
    tracemalloc.start()
    try:
        trace = made.run(inputs, STEPS, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert trace.counts["a"] > 0.9 * SAMPLES * STEPS * 3200
    assert peak <= stated


@pytest.mark.parametrize("options", OPTIONS)
def test_a_limit_changes_the_run_and_no_result(options):
    made = emulator()
    inputs = (np.random.default_rng(1).random((SAMPLES, STEPS, 800)) < 0.3).astype(np.uint8)
    free = made.run(inputs, STEPS, **options)
    least = made.footprint(SAMPLES, STEPS, least=True, **options)
    for limit in (least, least + (1 << 20), 4 * least):
        bound = made.run(inputs, STEPS, memory_limit=limit, **options)
        assert bound.counts == free.counts
        for name, values in free.spikes.items():
            np.testing.assert_array_equal(bound.spikes[name], values)
        for name, events in free.events.items():
            np.testing.assert_array_equal(bound.events[name].dense(), events.dense())
        for name, values in free.state.items():
            np.testing.assert_array_equal(bound.state[name], values)
    with pytest.raises(NmapError) as error:
        made.run(inputs, STEPS, memory_limit=least - 1, **options)
    assert error.value.diagnostics[0].code == "NM802"
    assert str(least) in error.value.diagnostics[0].message
