"""Operations counted in closed form against loops over listed synapses."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nmap import flow
from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.diagnostics import Exit
from nmap.estimate import Activity, activity_of_rates, load_of, operations
from nmap.mapping import Shard
from nmap.network import Provenance
from nmap.options import Options
from nmap.program import Core
from nmap.quantized import QuantizedNetwork, QuantizedPopulation
from nmap.report.model import Traffic
from nmap.testing.networks import build, dense, lif, random_inputs
from nmap.writers import write


def synapses(conv):
    """Return every (target, source) pair of a convolution, as coordinates, that has a weight other than zero: from the definition."""
    (channels, height, width), (out, rows, columns) = conv.in_shape, conv.out_shape
    per_in, per_out = channels // conv.groups, out // conv.groups
    pairs = []
    for o, y, x, i, a, b in product(
        range(out), range(rows), range(columns), range(per_in), range(conv.weights.shape[2]), range(conv.weights.shape[3])
    ):
        line = y * conv.stride[0] - conv.padding[0] + a * conv.dilation[0]
        place = x * conv.stride[1] - conv.padding[1] + b * conv.dilation[1]
        if 0 <= line < height and 0 <= place < width and conv.weights[o, i, a, b] != 0:
            pairs.append(((o, y, x), (o // per_out * per_in + i, line, place)))
    return pairs


def naive(pairs, box, counts):
    inside = [source for target, source in pairs if all(low <= at < high for at, (low, high) in zip(target, box, strict=True))]
    return sum(int(counts[source]) for source in inside)


@pytest.mark.parametrize(("shape", "kernel", "stride", "padding", "dilation", "groups"), [
    ((2, 5, 6), (4, 2, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    ((2, 6, 5), (4, 2, 3, 2), (2, 1), (1, 0), (1, 1), 1),
    ((4, 6, 6), (6, 2, 2, 3), (1, 2), (1, 2), (2, 1), 2),
    ((3, 4, 4), (3, 1, 3, 3), (1, 1), (1, 1), (1, 1), 3),
    ((1, 3, 3), (2, 1, 2, 2), (3, 3), (4, 4), (1, 1), 1),
])
def test_spikes_times_taps_inside_the_image(shape, kernel, stride, padding, dilation, groups):
    rng = np.random.default_rng(5)
    weights = rng.integers(-2, 3, kernel).astype(np.int32)
    conv = Conv2d(weights, shape, stride, padding, dilation, groups)
    counts = rng.integers(0, 5, shape)
    pairs = synapses(conv)
    whole = tuple((0, size) for size in conv.out_shape)
    some = [tuple((low := int(rng.integers(size)), int(rng.integers(low, size)) + 1) for size in conv.out_shape) for _ in range(12)]
    for box in (whole, *some):
        assert operations(conv, box, conv.out_shape, counts.ravel()) == naive(pairs, box, counts)
    assert operations(conv, whole, conv.out_shape, counts.ravel()) > 0


def test_stored_zeros_of_dense_and_listed_synapses_count():
    counts = np.array([3, 0, 2])
    weights = np.array([[1, 0, 0], [0, 0, 2]], np.int32)
    assert operations(Dense(weights), ((0, 2),), (2,), counts) == 10
    assert operations(Dense(weights), np.array([1]), (2,), counts) == 5
    listed = Sparse(np.array([0, 2, 3]), np.array([0, 2, 2]), np.array([1, 0, 4], np.int32), 3)
    assert operations(listed, ((0, 1),), (2,), counts) == 5
    assert operations(listed, np.array([1]), (2,), counts) == 2


def test_convolution_needs_a_box():
    with pytest.raises(ValueError, match="not a box"):
        operations(Conv2d(np.ones((1, 1, 2, 2)), (1, 3, 3)), np.array([0]), (1, 2, 2), np.ones(9, np.int64))


def two_cores():
    """Return a convolution, its two halves on two cores, and what they do: 2 samples of 5 steps."""
    rng = np.random.default_rng(11)
    conv = Conv2d(rng.integers(-1, 2, (3, 2, 3, 3)).astype(float), (2, 5, 5), padding=(1, 1))
    network = build("net", {"input": ((2, 5, 5), None), "a": ((3, 5, 5), lif(75)), "b": ((2,), lif(2))}, [
        ("input", "a", conv, None, 0), ("a", "b", Dense(np.ones((2, 75))), None, 0),
    ])
    counts = {"input": rng.integers(0, 11, 50), "a": rng.integers(0, 11, 75), "b": np.array([4, 0])}
    halves = (((0, 3), (0, 5), (0, 2)), ((0, 3), (0, 5), (2, 5)))
    shards = (Shard("a", halves[0], 0, {}), Shard("a", halves[1], 1, {}), Shard("b", ((0, 2),), 1, {}))
    cores = (Core(0, 0, 0, 0), Core(0, 1, 0, 4))
    load = load_of(network, shards, cores, Activity("chip", 2, 5, counts), Traffic("unicast", 6.5, 20.0, 17.0))
    first, second = (naive(synapses(conv), half, counts["input"].reshape(2, 5, 5)) for half in halves)
    return load, counts, first, second + 2 * int(counts["a"].sum())


def test_cores_do_what_their_neurons_receive():
    load, counts, first, second = two_cores()
    assert load.operations.tolist() == [first, second]
    assert load.updates.tolist() == [30, 47]
    left = int(counts["a"].reshape(3, 5, 5)[:, :, :2].sum())
    assert load.spikes.tolist() == [left, int(counts["a"].sum()) - left + 4]
    assert (load.packets, load.hops, load.runs) == (6.5, 20.0, 10)


def test_packets_are_spread_over_the_steps_of_the_chip():
    """Traffic is counted in the network's steps; 2 of the chip's 5 are those that the output runs behind."""
    load, counts, _, _ = two_cores()
    rest = (load.cores, Activity("chip", 2, 5, counts, 2), Traffic("unicast", 6.5, 20.0, 17.0))
    network = build("net", {"input": ((2, 5, 5), None), "b": ((2,), lif(2))}, [("input", "b", Dense(np.ones((2, 50))), None, 0)])
    again = load_of(network, (Shard("b", ((0, 2),), 0, {}),), *rest)
    assert (again.packets, again.hops) == (pytest.approx(6.5 * 3 / 5), pytest.approx(12))


def test_hops_are_those_that_the_chip_routes():
    load, counts, *_ = two_cores()
    network = build("net", {"input": ((3,), None), "b": ((2,), lif(2))}, [("input", "b", Dense(np.ones((2, 3))), None, 0)])
    shards = (Shard("b", np.array([0, 1]), 0, {}),)
    activity = Activity("float", 1, 4, {"input": np.array([1, 0, 2]), "b": counts["b"]})
    shared = load_of(network, shards, load.cores[:1], activity, Traffic("multicast", 3.0, 9.0, 7.0))
    assert (shared.hops, shared.operations.tolist(), shared.spikes.tolist()) == (7.0, [6], [4])
    bare = load_of(network, shards, load.cores[:1], activity)
    assert (bare.packets, bare.hops) == (None, None)


def test_rates_become_whole_spikes_and_the_pipeline_adds_steps():
    where = Provenance("net", "/")
    populations = (
        QuantizedPopulation("input", (2,), None, {}, where), QuantizedPopulation("extra", (2,), "k", {}, where),
        QuantizedPopulation("out", (1,), "k", {}, where, latency=3),
    )
    network = QuantizedNetwork(populations, (), ("input",), ("out",))
    activity = activity_of_rates({"input": np.array([[1 / 3], [2 / 3]]), "out": np.array([0.1])}, 3, 10, network)
    assert (activity.level, activity.samples, activity.steps) == ("float", 3, 13)
    assert {name: counts.tolist() for name, counts in activity.counts.items()} == {"input": [10, 20], "extra": [30, 30], "out": [3]}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A convolution and a dense layer, and samples for them, on disk."""
    folder = tmp_path_factory.mktemp("small")
    rng = np.random.default_rng(3)
    network = build("small", {"input": ((1, 6, 6), None), "a": ((2, 3, 3), lif(18, beta=0.5)), "b": ((4,), lif(4, beta=0.5))}, [
        ("input", "a", Conv2d(rng.integers(1, 4, (2, 1, 2, 2)) / 4, (1, 6, 6), (2, 2)), None, 0),
        ("a", "b", Dense(rng.integers(1, 4, (4, 18)) / 4), None, 0),
    ])
    write(network, folder / "small.nir")
    inputs = (rng.random((3, 12, 1, 6, 6)) < 0.4).astype(np.uint8)
    np.savez(folder / "samples.npz", inputs=inputs)
    return folder, inputs


def spikes_of(folder, bundle):
    probed = flow.run(bundle, input=folder / "samples.npz", probes=["a:spikes", "b:spikes"], raw_time=True).probes
    return {name: probed[f"{name}.spikes"] for name in ("a", "b")}


def test_deployment_counts_on_the_emulated_chip(small):
    folder, inputs = small
    outcome = flow.deploy(folder / "small.nir", target="loihi2", options=Options(), input=folder / "samples.npz", output=folder / "out")
    assert outcome.exit_status == Exit.OK, outcome.diagnostics
    found, sent = outcome.estimate, spikes_of(folder, folder / "out")
    steps = 12 + outcome.quantized.latency
    # 2 x 2 kernel, stride 2: every pixel has one tap in each of the two channels; every spike of `a` has four synapses.
    done = 2 * int(inputs.sum()) + 4 * np.count_nonzero(sent["a"])
    assert np.count_nonzero(sent["a"]) > 10
    assert (found.level, found.samples, found.steps) == ("chip", 3, steps)
    assert found.per_step["synaptic_operations"] == pytest.approx(done / (3 * steps))
    assert found.per_step["neuron_updates"] == 22
    assert found.per_step["spikes"] == pytest.approx((np.count_nonzero(sent["a"]) + np.count_nonzero(sent["b"])) / (3 * steps))
    assert found.latency_s == pytest.approx(steps * found.step_s)
    assert found.energy_j_per_sample == pytest.approx(sum(found.energy_j.values()))


def test_check_counts_on_the_float_level(small):
    folder, inputs = small
    outcome, = flow.check(folder / "small.nir", targets=["loihi2"], options=Options(), input=folder / "samples.npz")
    real = flow.run(folder / "small.nir", input=folder / "samples.npz", probes=["a:spikes"]).probes["a.spikes"]
    steps = 12 + outcome.quantized.latency
    done = 2 * int(inputs.sum()) + 4 * np.count_nonzero(real)
    assert (outcome.estimate.level, outcome.estimate.steps) == ("float", steps)
    assert outcome.estimate.per_step["synaptic_operations"] == pytest.approx(done / (3 * steps))


def unknown(found):
    return (found.energy_j_per_sample, found.latency_s, found.step_s, found.energy_j, found.per_step, found.level) == (None,) * 6


def test_without_samples_nothing_is_known(small):
    folder, _ = small
    outcome, = flow.check(folder / "small.nir", targets=["loihi2"], options=Options())
    assert outcome.exit_status == Exit.OK, outcome.diagnostics
    assert unknown(outcome.estimate)
    assert outcome.estimate.reason.endswith("give samples with --input")


def test_chip_without_constants_knows_nothing(tmp_path):
    network = dense(0)
    np.savez(tmp_path / "samples.npz", inputs=random_inputs(network, 0))
    outcome, = flow.check(write(network, tmp_path / "net.nir"), targets=["toy"], options=Options(), input=tmp_path / "samples.npz")
    assert outcome.exit_status == Exit.OK, outcome.diagnostics
    assert unknown(outcome.estimate)
    assert outcome.estimate.reason == "no constants of time and energy are published for `toy`"


def test_unverified_deployment_falls_back_to_the_float_level(small):
    folder, _ = small
    outcome = flow.deploy(
        folder / "small.nir", target="loihi2", options=Options(), input=folder / "samples.npz", output=folder / "plain", verify=False
    )
    assert outcome.estimate.level == "float"
    generated = flow.deploy(folder / "small.nir", target="loihi2", options=Options(), output=folder / "generated")
    assert generated.verification.chip_vs_fixed.mismatches == 0
    assert generated.estimate.reason is not None
