"""The reference of whole numbers against loops over single synapses in Python's integers, and its memory."""

from __future__ import annotations

import tracemalloc
from collections import defaultdict
from itertools import product

import numpy as np
import pytest

from nmap import connectivity
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.simulate import fixed
from nmap.trace import Probe

HERE = Provenance("net.h5", "/")


class Echo:
    """Leaky sums of up to two receptors; sends the first, cut to a few bits where it is odd, so that messages have any sign and size."""

    name, params, state, graded = "echo", ("leak",), ("x", "y"), True

    def __init__(self, receptors):
        self.receptors = receptors

    def reference_step(self, params, state, dendrite, step):
        parts = np.split(dendrite, self.receptors, axis=-1)
        state["x"] = (state["x"] >> params["leak"]) + parts[0] + step % 3
        state["y"] = state["y"] + parts[-1]
        return np.where(state["x"] % 2 == 1, np.sign(state["x"]) * (np.abs(state["x"]) % 200), 0)


class Once:
    """Spikes where the sum is large enough, and forgets it then."""

    name, params, state, receptors, graded = "once", ("level",), ("x",), 1, False

    def reference_step(self, params, state, dendrite, step):
        del step
        total = state["x"] + dendrite
        state["x"] = np.where(total >= params["level"], 0, total)
        return (total >= params["level"]).astype(np.int64)


KERNELS = {"echo1": Echo(1), "echo2": Echo(2), "once": Once()}


def wrapped(value, bits):
    """Return the low bits of a whole number as two's complement."""
    low = value % 2**bits
    return low - 2**bits if low >= 2 ** (bits - 1) else low


def synapses(edge):
    """Yield (target, source, weight, delay) of each synapse of a projection, delays counted from the step of sending."""
    made, delays = edge.connectivity, edge.delays
    if isinstance(made, Dense):
        for target, source in np.ndindex(made.weights.shape):
            extra = 0 if delays is None else int(delays[target, source])
            yield target, source, int(made.weights[target, source]), 1 + edge.delay + extra
    elif isinstance(made, Sparse):
        for target in range(made.out_size):
            for k in range(made.indptr[target], made.indptr[target + 1]):
                extra = 0 if delays is None else int(delays[k])
                yield target, int(made.indices[k]), int(made.weights[k]), 1 + edge.delay + extra
    else:
        (_, height, width), (c_out, h_out, w_out) = made.in_shape, made.out_shape
        per_out, (_, per_in, kh, kw) = c_out // made.groups, made.weights.shape
        for o, y, x, i, a, b in product(range(c_out), range(h_out), range(w_out), range(per_in), range(kh), range(kw)):
            row = y * made.stride[0] - made.padding[0] + a * made.dilation[0]
            column = x * made.stride[1] - made.padding[1] + b * made.dilation[1]
            if 0 <= row < height and 0 <= column < width:
                channel = o // per_out * per_in + i
                source = (channel * height + row) * width + column
                yield (o * h_out + y) * w_out + x, source, int(made.weights[o, i, a, b]), 1 + edge.delay


def by_loops(net, inputs, steps):
    """Return spikes (samples, steps, neurons) by population and states by `POPULATION.VARIABLE`, one synapse after the other."""
    listed = {edge.name: list(synapses(edge)) for edge in net.projections}
    samples = len(next(iter(inputs.values())))
    spikes = {p.name: np.zeros((samples, steps, p.size), object) for p in net.populations}
    states = {f"{p.name}.{v}": np.zeros((samples, steps, p.size), object) for p in net.populations if p.kernel
              for v in KERNELS[p.kernel].state}
    for sample in range(samples):
        for port, given in inputs.items():
            length = min(steps, given.shape[1])
            spikes[port][sample, :length] = given[sample, :length].reshape(length, -1)
        state = {p.name: {v: p.initial.get(v, np.zeros(p.size, np.int64)).copy() for v in KERNELS[p.kernel].state}
                 for p in net.populations if p.kernel}
        for step in range(steps):
            for p in (p for p in net.populations if p.kernel):
                kernel = KERNELS[p.kernel]
                dendrite = [0] * (kernel.receptors * p.size)
                for edge in net.afferents(p.name):
                    sums = defaultdict(int)
                    for target, source, weight, delay in listed[edge.name]:
                        if step >= delay:
                            message = int(spikes[edge.source][sample, step - delay, source])
                            if edge.format.message_bits == 0:
                                message = int(message != 0)
                            sums[target, delay] += weight * message
                    for (target, _), total in sums.items():
                        form = edge.format
                        held = wrapped(total, form.accumulator) if form.accumulator else total
                        held = held * 2**form.exponent if form.exponent >= 0 else held // 2**-form.exponent
                        held = wrapped(held, form.accumulator) if form.accumulator else held
                        dendrite[edge.receptor * p.size + target] += held
                arrived = np.array([wrapped(total, 32) for total in dendrite], np.int64)
                spikes[p.name][sample, step] = kernel.reference_step(p.params, state[p.name], arrived, step)
                for variable, values in state[p.name].items():
                    states[f"{p.name}.{variable}"][sample, step] = values
    return spikes, states


def some_connectivity(rng, n_in, n_out):
    weights = rng.integers(-128, 128, (n_out, n_in)).astype(np.int32)
    kind = rng.integers(3)
    if kind == 0:
        return Dense(weights)
    return Sparse.from_dense(weights * (rng.random(weights.shape) < (0.4 if kind == 1 else 0.06)))


def some_network(seed):
    """Two ports, a convolution, a loop of two populations with one of them on itself, and a readout that skips it; seeded."""
    rng = np.random.default_rng(seed)
    conv = Conv2d(
        rng.integers(-99, 99, (4, 1, 3, 2)).astype(np.int32), (2, 5, 6), (int(rng.integers(1, 3)), 1), (1, int(rng.integers(0, 3))),
        (1, int(rng.integers(1, 3))), groups=2,
    )
    sizes = {"in": 60, "side": 3, "conv": conv.out_size, "a": 12, "b": 8, "out": 6}

    def neurons(name, shape, kernel):
        params = {"leak": rng.integers(0, 4, sizes[name])} if kernel != "once" else {"level": rng.integers(1, 60, sizes[name])}
        return QuantizedPopulation(name, shape, kernel, params, HERE, {"x": rng.integers(-50, 50, sizes[name])})

    def edge(source, target, made=None, **more):
        made = some_connectivity(rng, sizes[source], sizes[target]) if made is None else made
        form = SynapseFormat(
            8, int(rng.integers(-4, 5)), "mixed", int(rng.choice([0, 24])), int(rng.choice([0, 0, 9, 24])),
        )
        if "delays" in more:
            more["delays"] = rng.integers(0, more["delays"], made.weights.shape)
        return QuantizedProjection(
            f"{source}-{target}-{len(edges)}", source, target, made, form, int(rng.integers(0, 3)), HERE, **more,
        )

    populations = (
        QuantizedPopulation("in", (2, 5, 6), None, {}, HERE), QuantizedPopulation("side", (3,), None, {}, HERE),
        neurons("conv", conv.out_shape, "once"), neurons("a", (12,), "echo2"), neurons("b", (8,), "once"), neurons("out", (6,), "echo1"),
    )
    edges: list[QuantizedProjection] = []
    for source, target, more in (
        ("in", "conv", {"made": conv}), ("conv", "a", {"receptor": 1}), ("side", "a", {"delays": 5}), ("a", "b", {"delays": 4}),
        ("b", "a", {"receptor": 1}), ("a", "a", {}), ("b", "out", {"delays": 30}), ("in", "out", {}), ("in", "out", {"delays": 3}),
    ):
        edges.append(edge(source, target, **more))
    net = QuantizedNetwork(populations, tuple(edges), ("in", "side"), ("out",))
    inputs = {
        "in": (rng.random((3, 9, 2, 5, 6)) < 0.2) * rng.integers(-9, 10, (3, 9, 2, 5, 6)),
        "side": (rng.random((3, 9, 3)) < 0.5) * rng.integers(-(2**31), 2**31, (3, 9, 3)),
    }
    return net, inputs


PROBES = [Probe("conv", "x"), Probe("a", "x"), Probe("a", "y"), Probe("b", "x"), Probe("out", "x"), Probe("out", "y")]


def run(net, inputs, steps):
    names = [p.name for p in net.populations]
    return fixed.simulate(net, KERNELS, inputs, steps, record=names, probes=PROBES)


@pytest.mark.parametrize("seed", range(6))
def test_equals_loops_over_synapses(seed):
    """Delays, shifts both ways, accumulators that wrap, receptors, loops, 32-bit payloads, and silence after the inputs' end."""
    net, inputs = some_network(seed)
    spikes, states = by_loops(net, inputs, 13)
    trace = run(net, inputs, 13)
    assert all(np.count_nonzero(values) for values in spikes.values()), "a silent population tests nothing"
    for name, values in spikes.items():
        np.testing.assert_array_equal(trace.spikes[name], values.astype(np.int64), name)
        assert trace.spikes[name].dtype == np.int32
        assert trace.counts[name] == np.count_nonzero(values)
    for key, values in states.items():
        np.testing.assert_array_equal(trace.state[key], values.astype(np.int64), key)


@pytest.mark.parametrize("sizes", [
    {"_STATES": 1}, {"_BLOCK": 1}, {"_BUFFER": 1}, {"_SEEN": 1}, {"_FILL": 0}, {"_FILL": 1000}, {"_EXACT": ((2.0**53, np.float64),)},
    {"_STATES": 100, "_BLOCK": 2000, "_BUFFER": 7},
])
def test_sizes_of_blocks_change_nothing(sizes, monkeypatch):
    net, inputs = some_network(11)
    before = run(net, inputs, 40)
    for name, value in sizes.items():
        monkeypatch.setattr(connectivity if name == "_SEEN" else fixed, name, value)
    after = run(net, inputs, 40)
    assert after.counts == before.counts
    for one, other in ((before.spikes, after.spikes), (before.state, after.state)):
        for name, values in one.items():
            np.testing.assert_array_equal(values, other[name], name)


def test_samples_and_their_order_change_nothing():
    net, inputs = some_network(12)
    together = run(net, inputs, 20)
    order = [2, 0, 1]
    again = run(net, {name: values[order] for name, values in inputs.items()}, 20)
    alone = run(net, {name: values[1:2] for name, values in inputs.items()}, 20)
    for name, values in together.spikes.items():
        np.testing.assert_array_equal(values[order], again.spikes[name])
        np.testing.assert_array_equal(values[1], alone.spikes[name][0])


def test_what_is_not_asked_for_is_counted_and_not_kept():
    net, inputs = some_network(13)
    full, plain = run(net, inputs, 12), fixed.simulate(net, KERNELS, inputs, 12)
    assert set(plain.spikes) == {"out"}
    assert plain.state == {}
    assert plain.counts == full.counts
    np.testing.assert_array_equal(plain.spikes["out"], full.spikes["out"])


@pytest.mark.parametrize(("samples", "steps"), [(0, 5), (2, 0)])
def test_nothing_to_run_gives_empty_arrays(samples, steps):
    net, inputs = some_network(14)
    trace = run(net, {name: values[:samples] for name, values in inputs.items()}, steps)
    assert trace.spikes["out"].shape == (samples, steps, 6)
    assert trace.state["a.x"].shape == (samples, steps, 12)
    assert not any(trace.counts.values())


def test_ports_are_named_where_they_are_missing():
    net, inputs = some_network(15)
    with pytest.raises(ValueError, match="input ports are in, side"):
        fixed.simulate(net, KERNELS, {"in": inputs["in"]}, 3)


def test_memory_does_not_grow_with_the_length_of_a_sample(monkeypatch):
    """Only the reach of delays and what is recorded is kept: 200 neurons of 3,000 steps would take 2.4 MB in 32 bits."""
    monkeypatch.setattr(fixed, "_BLOCK", 2**14)
    rng = np.random.default_rng(0)

    def edge(source, target, shape, **more):
        return QuantizedProjection(
            f"{source}-{target}", source, target, Dense(rng.integers(-9, 9, shape).astype(np.int32)), SynapseFormat(8), 0, HERE, **more,
        )

    populations = (
        QuantizedPopulation("in", (2,), None, {}, HERE), QuantizedPopulation("a", (200,), "once", {"level": np.array(5)}, HERE),
        QuantizedPopulation("b", (2,), "once", {"level": np.array(5)}, HERE),
    )
    edges = (edge("in", "a", (200, 2)), edge("a", "a", (200, 200)), edge("a", "b", (2, 200), delays=rng.choice([0, 60], (2, 200))))
    net = QuantizedNetwork(populations, edges, ("in",), ("b",))

    def peak(steps):
        inputs = rng.integers(0, 2, (1, steps, 2)).astype(np.int32)
        tracemalloc.start()
        try:
            fixed.simulate(net, KERNELS, inputs, steps)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    short, long = peak(500), peak(3000)
    recorded = 2500 * 2 * 4
    assert long - short < 2 * recorded
