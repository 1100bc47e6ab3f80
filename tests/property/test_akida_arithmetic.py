"""Networks on Akida compute what they compute in real numbers: bit for bit where the chip holds them, and by arithmetic where it rounds."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.connectivity import Conv2d, Dense
from nmap.diagnostics import Findings
from nmap.network import Conventions, Network, Neuron
from nmap.options import Options
from nmap.quantized import QuantizedNetwork
from nmap.simulate import fixed, floating
from nmap.testing.networks import build
from nmap_akida import TARGET
from nmap_akida.layers import layers_of
from tests.akida_networks import IMAGES, KINDS, Case, random_case, with_layer

SEEDS = st.integers(0, 2**32 - 1)


def quantized(network: Network, options: Options) -> QuantizedNetwork:
    findings = Findings()
    net = TARGET.quantize(network, options, findings)
    assert not findings.errors, findings.errors
    return net


def on_chip(net: QuantizedNetwork, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """What every population sends in each inference, (samples, inferences, neurons); `inputs` are (samples, inferences, *shape)."""
    count = inputs.shape[1]
    names = [p.name for p in net.populations if p.kernel is not None]
    trace = fixed.simulate(net, TARGET.kernels, inputs.astype(np.int32), count + net.latency, record=names)
    return {name: trace.spikes[name][:, net[name].latency : net[name].latency + count].astype(np.int64) for name in names}


def check_case(case: Case) -> None:
    net = quantized(case.network, case.options)
    shape = case.network.populations[0].shape
    samples, steps = case.inputs.shape[:2]
    summed = case.inputs.reshape(samples, steps // case.window, case.window, -1).sum(2)
    sent = on_chip(net, summed.reshape(*summed.shape[:2], *shape))
    for name, wanted in case.wanted.items():
        np.testing.assert_array_equal(sent[name], wanted, err_msg=name)
    if not case.options.approximate:
        given_ = case.inputs.reshape(samples, steps, *shape)
        run = floating.simulate(case.network, given_, record=list(case.wanted))
        for name in case.wanted:
            np.testing.assert_array_equal(sent[name], run.spikes[name], err_msg=name)


@pytest.mark.parametrize("kind", KINDS + IMAGES)
def test_whole_networks_with_every_kind_of_layer_are_exact(kind: str) -> None:
    for seed in range(2):
        check_case(with_layer(kind, seed))


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, mode=st.sampled_from(["threshold", "multiple", "rate"]))
def test_whole_random_networks_are_exact(seed: int, mode: str) -> None:
    case = random_case(seed, mode)
    if case.options.payload[1] * case.window <= 255:
        check_case(case)


def cells(rng: np.random.Generator, n: int, theta: np.ndarray, beta: float, plain: bool = False) -> Neuron:
    """Neurons with gains of both signs, and a drive."""
    gain_in = np.ones(n) if plain else rng.choice([1.0, 0.5, -1.0, 0.3, -0.7, 0.0], n, p=[0.4, 0.1, 0.1, 0.2, 0.1, 0.1])
    gain_v = np.ones(n) if plain else rng.choice([1.0, 0.1, 3.0], n)
    drive = np.zeros(n) if plain else rng.choice([0.0, 0.25, -0.1, 1.0], n)
    gain = np.abs(np.where(gain_in == 0, 1, gain_in * gain_v))
    return Neuron("LIF", np.zeros(n), gain_in, gain_v, np.full(n, beta), drive, theta * gain, np.zeros(n))


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, compare=st.sampled_from([">", ">="]), bits=st.sampled_from([2, 4]), high=st.sampled_from([1, 6, 15]))
def test_whole_dense_networks_with_gains_drives_and_biases_are_exact(seed: int, compare: str, bits: int, high: int) -> None:
    """Thresholds are put on sums that occur, so that ties occur, and their rounding in real numbers is the chip's."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 9, 3)
    top = {2: 1, 4: 7}[bits]
    populations: dict = {"input": ((int(sizes[0]),), None)}
    links = []
    for k, (inputs, n) in enumerate(pairwise(sizes)):
        weights = rng.integers(-top, top + 1, (n, inputs)).astype(np.float64)
        bias = rng.choice([0.0, 1.0, -2.0, 0.5, 0.1], n) if rng.random() < 0.6 else None
        theta = rng.integers(-3, 4 * top, n) + rng.choice([0, 0.5, 0.3], n)
        populations[f"p{k}"] = ((int(n),), cells(rng, int(n), theta.astype(np.float64), 0.0))
        links.append((list(populations)[-2], f"p{k}", Dense(weights), bias, 0))
    network = build("dense.nir", populations, links, conventions=Conventions(1e-3, compare=compare))  # type: ignore[arg-type]
    given_ = rng.integers(0, high + 1, (3, 8, int(sizes[0])))
    net = quantized(network, Options(bits=bits, payload=(0, high)))
    sent = on_chip(net, given_)
    run = floating.simulate(network, given_, record=["p0", "p1"])
    for name in ("p0", "p1"):
        np.testing.assert_array_equal(sent[name], run.spikes[name], err_msg=name)


@settings(max_examples=80, deadline=None)
@given(
    seed=SEEDS, compare=st.sampled_from([">", ">="]), window=st.integers(1, 15), half=st.booleans(),
)
def test_counts_are_what_dividing_the_sum_by_the_threshold_gives(seed: int, compare: str, window: int, half: bool) -> None:
    """Everything is integrated, then it fires: floor(sum / theta) for >=, and for > a tie is not reached."""
    rng = np.random.default_rng(seed)
    inputs, n = (int(x) for x in rng.integers(1, 12, 2))
    weights = rng.integers(-3, 4, (n, inputs)) * (0.5 if half else 1.0)
    bias = rng.integers(-4, 5, n) / rng.choice([1, 2, 8])
    theta = rng.integers(1, 25, n) * (0.5 if half else 1.0)
    network = build(
        "rate.nir", {"input": ((inputs,), None), "p": ((n,), cells(rng, n, theta, 1.0, plain=True))},
        [("input", "p", Dense(weights), bias, 0)],
        conventions=Conventions(1e-3, reset="subtract", compare=compare),  # type: ignore[arg-type]
    )
    counts = rng.integers(0, window + 1, (4, 5, inputs))
    net = quantized(network, Options(approximate=frozenset({"rate"}), horizon=window))
    sent = on_chip(net, counts)["p"]
    most = 15 if window > 3 else 3 if window > 1 else 1
    for sample in range(4):
        for step in range(5):
            for k in range(n):
                total = window * Fraction(float(bias[k]))
                total += sum(Fraction(float(weights[k, j])) * int(counts[sample, step, j]) for j in range(inputs))
                quotient = total / Fraction(float(theta[k]))
                wanted = floor(quotient) if compare == ">=" else ceil(quotient) - 1
                assert sent[sample, step, k] == max(0, min(most, wanted))


@settings(max_examples=80, deadline=None)
@given(seed=SEEDS, window=st.sampled_from([1, 2, 3, 4, 9, 15]), multiple=st.booleans(), denominator=st.sampled_from([2, 4, 16, 3, 10]))
def test_counts_at_thresholds_that_are_not_whole(seed: int, window: int, multiple: bool, denominator: int) -> None:
    """All sums that can occur are counted as floor(sum / theta) in fractions, or the loss says that they are not. Weights are kept."""
    rng = np.random.default_rng(seed)
    top, n = (window if not multiple else int(rng.choice([1, 3, 9, 15]))), 6
    theta = [Fraction(int(rng.integers(1, 12 * denominator)), denominator) for _ in range(n)]
    up, down = rng.integers(1, 8, n), -rng.integers(0, 8, n)
    if multiple:
        theta = [max(t, Fraction(int(w) * top, 15)) for t, w in zip(theta, up, strict=True)]
    real = np.array([float(t) for t in theta])
    weights = np.stack([up, down], 1).astype(np.float64)
    network = build(
        "theta.nir", {"input": ((2,), None), "p": ((n,), cells(rng, n, real, 0.0 if multiple else 1.0, plain=True))},
        [("input", "p", Dense(weights), None, 0)],
        conventions=Conventions(1e-3, reset="subtract", compare=">=", multiple=multiple),
    )
    findings = Findings()
    options = Options(payload=(0, top)) if multiple else Options(approximate=frozenset({"rate"}), horizon=window)
    net = TARGET.quantize(network, options, findings)
    assert not findings.errors
    values, scale = net.projections[0].connectivity.weights, net["p"].scale
    assert scale is not None
    np.testing.assert_array_equal(values, weights * scale[:, None])
    pairs = np.stack(np.meshgrid(np.arange(top + 1), np.arange(top + 1)), -1).reshape(1, -1, 2)
    sent = on_chip(net, pairs)["p"][0]
    most = 2 ** int(net["p"].params["act_bits"][0]) - 1 if "act_bits" in net["p"].params else 1
    told = {k for d in findings if d.code == "NM302" for k in d.data["filters"]}
    for k in range(n):
        wanted = [max(0, min(most, floor(int(total) / theta[k]))) for total in (pairs[0] @ weights[k].astype(np.int64))]
        if k not in told:
            assert sent[:, k].tolist() == wanted, (theta[k], weights[k])
        # One spike at most is off, and none where thresholds are halves or quarters, which a step has.
        assert np.abs(sent[:, k] - np.array(wanted)).max() <= (1 if theta[k] >= 1 else 15)
        if theta[k].denominator in (1, 2) and most == 15:
            assert k not in told


@settings(max_examples=40, deadline=None)
@given(seed=SEEDS, bits=st.sampled_from([2, 4]), compare=st.sampled_from([">", ">="]))
def test_rounded_weights_are_compared_with_the_real_threshold(seed: int, bits: int, compare: str) -> None:
    """With the integers that were chosen, neurons fire as fractions say; only the weights were rounded."""
    rng = np.random.default_rng(seed)
    inputs, n = (int(x) for x in rng.integers(2, 30, 2))
    weights, bias, theta = rng.normal(0, 1, (n, inputs)), rng.normal(0, 0.3, n), rng.normal(1, 1, n)
    network = build(
        "real.nir", {"input": ((inputs,), None), "p": ((n,), cells(rng, n, theta, 0.0, plain=True))},
        [("input", "p", Dense(weights), bias, 0)],
        conventions=Conventions(1e-3, compare=compare),  # type: ignore[arg-type]
    )
    net = quantized(network, Options(bits=bits))
    given_ = (rng.random((3, 6, inputs)) < 0.4).astype(np.int64)
    sent = on_chip(net, given_)["p"]
    values, scale = net.projections[0].connectivity.weights, net["p"].scale
    assert scale is not None
    assert np.abs(values).max() <= {2: 1, 4: 7}[bits]
    potential = given_ @ values.T.astype(np.int64)
    for index in np.ndindex(sent.shape):
        k = index[-1]
        real = Fraction(int(potential[index])) / Fraction(float(scale[k])) + Fraction(float(bias[k]))
        margin = real - Fraction(float(theta[k]))
        if abs(margin) > Fraction(1, 10**9):
            assert sent[index] == (margin > 0)


@settings(max_examples=30, deadline=None)
@given(seed=SEEDS, mode=st.sampled_from(["threshold", "multiple", "rate"]), whole=st.booleans())
def test_no_sum_leaves_the_potential_whatever_arrives(seed: int, mode: str, whole: bool) -> None:
    """The farthest sum of every filter, at every place of the image, for the largest inputs its source can send."""
    case = random_case(seed, mode, whole)
    options = replace(case.options, approximate=case.options.approximate | {"weights"})
    if case.options.payload[1] * case.window > 255:
        return
    findings = Findings()
    net = TARGET.quantize(case.network, options, findings)
    if findings.errors:
        assert {d.code for d in findings.errors} <= {"NM304", "NM305"}
        return
    largest = case.options.payload[1] * case.window
    for layer in layers_of(net):
        flat = layer.kernel.reshape(layer.filters, -1).astype(object)
        pixels = layer.out_shape[1] * layer.out_shape[2] if layer.global_pool else 1
        for row in flat:
            up, down = sum(w for w in row if w > 0), -sum(w for w in row if w < 0)
            assert max(up, down) * largest * pixels < 2**19
        if layer.depthwise is not None:
            for row in layer.depthwise.reshape(len(layer.depthwise), -1).astype(object):
                assert sum(abs(w) for w in row) * largest < 2**19
        largest = 2**layer.output_bits - 1


@settings(max_examples=20, deadline=None)
@given(seed=SEEDS)
def test_strided_and_grouped_convolutions_are_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    side, groups = int(rng.choice([5, 7, 9])), int(rng.choice([1, 2]))
    first = Conv2d(rng.integers(-7, 8, (4, 4 // groups, 3, 3)).astype(np.float64), (4, side, side), (2, 2), (1, 1), (1, 1), groups)
    second = Conv2d(rng.integers(-7, 8, (3, 4, 1, 1)).astype(np.float64), first.out_shape)
    network = build(
        "conv.nir",
        {
            "input": ((4, side, side), None),
            "a": (first.out_shape, cells(rng, first.out_size, np.full(first.out_size, 3.0), 0.0, plain=True)),
            "b": (second.out_shape, cells(rng, second.out_size, np.full(second.out_size, 2.0), 0.0, plain=True)),
        },
        [("input", "a", first, None, 0), ("a", "b", second, None, 0)],
    )
    given_ = (rng.random((2, 5, 4, side, side)) < 0.3).astype(np.int64)
    sent = on_chip(quantized(network, Options()), given_)
    run = floating.simulate(network, given_, record=["a", "b"])
    for name in ("a", "b"):
        np.testing.assert_array_equal(sent[name], run.spikes[name])
