"""Which form each population of a network takes, also of networks that readers have merged, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.diagnostics import Findings
from nmap.network import Conventions, Network, Neuron
from nmap.options import Options
from nmap.readers import read
from nmap.simulate.fixed import simulate as fixed
from nmap.simulate.floating import simulate
from nmap.testing.networks import build, lif
from nmap_akida import TARGET
from nmap_akida.form import Form
from nmap_akida.structure import Offence, Step, chain
from tests.unit.readers import builders as nir

RATE = frozenset({"rate"})


def steps_of(network: Network, **options: Any) -> tuple[Step, ...]:
    steps, offences = chain(network, TARGET.spec, Options(**options))
    assert offences == ()
    assert [s.population.name for s in steps] == [p.name for p in network.populations if p.neuron is not None]
    assert all(s.projection.target == s.population.name for s in steps)
    assert all(isinstance(s.connectivity, Dense) == (s.form is Form.DENSE) for s in steps)
    return steps


def forms_of(network: Network, **options: Any) -> list[Form]:
    return [step.form for step in steps_of(network, **options)]


def offences_of(network: Network, **options: Any) -> list[Offence]:
    return list(chain(network, TARGET.spec, Options(**options))[1])


def unit(n: int, threshold: float = 0.5) -> Neuron:
    return lif(n, beta=0.0, threshold=threshold)


def layered(shape: tuple[int, ...], *links: Connectivity, thresholds: dict[int, float] | None = None) -> Network:
    """Return a chain of units without memory; populations are named p0, p1, ..."""
    populations: dict[str, Any] = {"input": (shape, None)}
    for k, link in enumerate(links):
        out = link.out_shape if isinstance(link, Conv2d) else (link.out_size,)
        populations[f"p{k}"] = (out, unit(link.out_size, (thresholds or {}).get(k, 0.5)))
    return build("layered.nir", populations, [(a, b, link, None, 0) for (a, b), link in zip(pairwise(populations), links, strict=True)])


def counting(network: Network) -> Network:
    """Return the network with neurons that keep all of their membrane."""
    populations = tuple(
        replace(p, neuron=lif(p.size, beta=1.0, threshold=p.neuron.threshold)) if isinstance(p.neuron, Neuron) else p
        for p in network.populations
    )
    return replace(network, populations=populations, conventions=Conventions(1e-3, "subtract"))


def kernel(filters: int, channels: int, size: int, seed: int = 0) -> Array:
    return np.random.default_rng([30, seed]).normal(size=(filters, channels, size, size))


def conv(filters: int, in_shape: tuple[int, int, int], size: int = 3, stride: int = 1, **more: Any) -> Conv2d:
    return Conv2d(kernel(filters, in_shape[0], size), in_shape, (stride, stride), **{"padding": (size // 2,) * 2, **more})


def any_of_four(in_shape: tuple[int, int, int]) -> Conv2d:
    return Conv2d(np.ones((in_shape[0], 1, 2, 2)), in_shape, (2, 2), groups=in_shape[0])


def saved(path: Path, *nodes: dict[str, Any]) -> Network:
    """Return a NIR chain as the reader makes it; the first and last node are the ports."""
    named = {"input": nodes[0], **{f"n{k}": node for k, node in enumerate(nodes[1:-1])}, "output": nodes[-1]}
    return read(nir.write_nir(path / "net.nir", named, nir.chain(*named)), dt=1e-3)


def memoryless(*shape: int) -> dict[str, Any]:
    return {"type": "Threshold", "threshold": np.full(shape, 0.5)}


def stored_conv(filters: int, channels: int, size: int, side: int, **more: Any) -> dict[str, Any]:
    weights = kernel(filters, channels // more.get("groups", 1), size).astype(np.float32)
    return nir.conv(weights, **{"padding": size // 2, **more}, input_shape=np.array([side, side]))


def stored_pool(kind: str, size: int) -> dict[str, Any]:
    return nir.pool(kind, np.array([size, size]), np.array([size, size]), np.array([0, 0]))


def test_dense_chains_are_dense_whatever_the_input_looks_like() -> None:
    network = layered((2, 3, 3), Dense(np.ones((5, 18))), Sparse.from_dense(np.eye(5)[:4]), Dense(np.ones((3, 4))))
    steps = steps_of(network)
    assert [s.form for s in steps] == [Form.DENSE] * 3
    np.testing.assert_array_equal(steps[1].connectivity.weights, np.eye(5)[:4])


@pytest.mark.parametrize(("channels", "size", "stride", "padding"), [(1, 3, 1, 1), (3, 5, 1, 2), (1, 7, 1, 3), (3, 3, 2, 0), (1, 5, 3, 0)])
def test_the_first_convolution_of_an_image_takes_the_input_unit(channels: int, size: int, stride: int, padding: int) -> None:
    first = conv(4, (channels, 11, 11), size, stride, padding=(padding, padding))
    (step,) = steps_of(layered((channels, 11, 11), first), payload=(0, 255))
    assert (step.form, step.received, step.sent) == (Form.IMAGE, 255, 1)


@pytest.mark.parametrize(
    "first", [
        conv(4, (2, 8, 8)), conv(4, (1, 4, 8)), conv(513, (1, 8, 8)), conv(193, (3, 8, 8)), conv(4, (1, 257, 5)), conv(4, (1, 8, 8), 1),
    ], ids=["channels", "small", "filters", "filters of 3 channels", "rows", "kernel"],
)
def test_what_the_input_unit_does_not_take_is_a_convolution_of_small_values(first: Conv2d) -> None:
    network = layered(first.in_shape, first)
    expected = Form.IMAGE if first.kernel_size == (1, 1) else Form.CONV
    assert forms_of(network, payload=(0, 15)) == [expected]
    (offence,) = offences_of(network, payload=(0, 16)) or [None]
    assert (offence is None) == (expected is Form.IMAGE)
    assert offence is None or offence.names == ("input->p0",)


def test_hidden_convolutions_are_told_from_separable_ones() -> None:
    first, shape = conv(4, (2, 8, 8)), (4, 8, 8)
    across = np.random.default_rng(31).normal(size=(6, 4))
    product = Conv2d(across[:, :, None, None] * kernel(4, 1, 3)[:, 0], shape, padding=(1, 1))
    within = Conv2d(kernel(4, 1, 3), shape, padding=(1, 1), groups=4)
    for link in (product, within):
        network = layered((2, 8, 8), first, link)
        assert forms_of(network) == [Form.CONV, Form.SEPARABLE]
        # The factors of a separable layer have 2 or 4 bits.
        assert forms_of(network, bits=1) == [Form.CONV, Form.CONV]
    assert forms_of(layered((2, 8, 8), first, conv(6, shape))) == [Form.CONV, Form.CONV]
    # A kernel of 1 by 1 is no separable one, and a single filter of a single channel gains nothing by it.
    assert forms_of(layered((2, 8, 8), first, conv(6, shape, 1))) == [Form.CONV, Form.CONV]
    assert forms_of(layered((2, 8, 8), conv(1, (2, 8, 8)), conv(1, (1, 8, 8)))) == [Form.CONV, Form.CONV]


def test_any_of_four_is_pooled_only_where_the_chip_can() -> None:
    shape = (4, 8, 8)
    first, pool, last = conv(4, (2, 8, 8)), any_of_four(shape), conv(3, (4, 4, 4))
    assert forms_of(layered((2, 8, 8), first, pool, last)) == [Form.CONV, Form.POOLED, Form.CONV]
    image = conv(4, (1, 8, 8))
    assert forms_of(layered((1, 8, 8), image, pool, last)) == [Form.IMAGE, Form.POOLED, Form.CONV]
    # Last, before a dense layer, behind a dense layer's input, of a majority, of nothing at all, or of counts: a layer of its own.
    assert forms_of(layered((2, 8, 8), first, pool)) == [Form.CONV, Form.CONV]
    assert forms_of(layered((2, 8, 8), first, pool, Dense(np.ones((3, 64))))) == [Form.CONV, Form.CONV, Form.DENSE]
    assert forms_of(layered((4, 8, 8), pool, last)) == [Form.CONV, Form.CONV]
    for threshold in (1.5, -0.5, 1.0):
        network = layered((2, 8, 8), first, pool, last, thresholds={1: threshold})
        assert forms_of(network) == [Form.CONV, Form.CONV, Form.CONV], threshold
    equal = layered((2, 8, 8), first, pool, last, thresholds={1: 1.0})
    equal = replace(equal, conventions=Conventions(1e-3, compare=">="))
    assert forms_of(equal) == [Form.CONV, Form.POOLED, Form.CONV]
    counts = layered((2, 8, 8), first, pool, last)
    assert forms_of(counting(counts), approximate=RATE, horizon=4) == [Form.CONV, Form.CONV, Form.CONV]
    # Only the first of two pools has a convolution of its own in front of it.
    twice = layered((2, 8, 8), first, pool, any_of_four((4, 4, 4)), conv(3, (4, 2, 2)))
    assert forms_of(twice) == [Form.CONV, Form.POOLED, Form.CONV, Form.CONV]


def test_a_reader_s_merged_layers_are_taken_apart(tmp_path: Path) -> None:
    head = (nir.port(2, 8, 8), stored_conv(4, 2, 3, 8), memoryless(4, 8, 8))
    separable = saved(tmp_path, *head, stored_conv(4, 4, 3, 8, groups=4), stored_conv(6, 4, 1, 8), memoryless(6, 8, 8), nir.sink(6, 8, 8))
    assert forms_of(separable) == [Form.CONV, Form.SEPARABLE]

    overall = saved(tmp_path, *head, stored_conv(6, 4, 3, 8), stored_pool("Avg", 8), nir.flatten(), memoryless(6), nir.sink(6))
    step = steps_of(overall)[1]
    assert (step.form, step.global_pool) == (Form.CONV, True)

    pooled = saved(tmp_path, *head, stored_pool("Sum", 2), stored_conv(6, 4, 3, 4), memoryless(6, 4, 4), nir.sink(6, 4, 4))
    step = steps_of(pooled)[1]
    assert (step.form, step.pool_before, step.received) == (Form.CONV, True, 4)
    image = np.random.default_rng(32).integers(0, 2, (4, 8, 8))
    sums = image.reshape(4, 4, 2, 4, 2).sum(axis=(2, 4))
    np.testing.assert_allclose(step.connectivity.apply(sums.ravel()), pooled.projections[1].connectivity.apply(image.ravel()))

    # The wide dense layer computes the same without a layer for the pool, which takes NPs.
    dense = nir.linear(kernel(1, 1, 64)[0, 0, :10])
    flat = saved(tmp_path, *head, stored_pool("Avg", 2), nir.flatten(), dense, memoryless(10), nir.sink(10))
    step = steps_of(flat)[1]
    assert (step.form, step.pool_before, step.connectivity.in_size) == (Form.DENSE, False, 256)

    spikes = saved(
        tmp_path, *head, stored_pool("Sum", 2), memoryless(4, 4, 4), stored_conv(3, 4, 3, 4), memoryless(3, 4, 4), nir.sink(3, 4, 4)
    )
    assert forms_of(spikes) == [Form.CONV, Form.POOLED, Form.CONV]


def whole_conv(filters: int, channels: int, size: int, side: int, top: int = 3, **more: Any) -> dict[str, Any]:
    weights = np.random.default_rng([35, filters, size]).integers(-top, top + 1, (filters, channels // more.get("groups", 1), size, size))
    return nir.conv(weights.astype(np.float32), **{"padding": size // 2, **more}, input_shape=np.array([side, side]))


def above(height: float, *shape: int) -> dict[str, Any]:
    return {"type": "Threshold", "threshold": np.full(shape, height)}


HEAD = (nir.port(2, 8, 8), whole_conv(4, 2, 3, 8), above(2.5, 4, 8, 8))
PIXELS = (nir.port(1, 9, 9), whole_conv(4, 1, 3, 9, 9, stride=2), above(200.5, 4, 5, 5))
MERGED: dict[str, tuple[tuple[dict[str, Any], ...], list[Form]]] = {
    "separable": (
        (*HEAD, whole_conv(4, 4, 3, 8, groups=4), whole_conv(6, 4, 1, 8), above(5.5, 6, 8, 8), nir.sink(6, 8, 8)),
        [Form.CONV, Form.SEPARABLE],
    ),
    "average over the image": (
        (*HEAD, whole_conv(6, 4, 3, 8), stored_pool("Avg", 8), nir.flatten(), above(0.52, 6), nir.sink(6)), [Form.CONV, Form.CONV],
    ),
    "sum before a convolution": (
        (*HEAD, stored_pool("Sum", 2), whole_conv(6, 4, 3, 4), above(3.5, 6, 4, 4), nir.sink(6, 4, 4)), [Form.CONV, Form.CONV],
    ),
    "any of four": (
        (*HEAD, stored_pool("Sum", 2), above(0.5, 4, 4, 4), whole_conv(3, 4, 3, 4), above(2.5, 3, 4, 4), nir.sink(3, 4, 4)),
        [Form.CONV, Form.POOLED, Form.CONV],
    ),
    "sum of sixteen": ((*HEAD, stored_pool("Sum", 4), above(3.5, 4, 2, 2), nir.sink(4, 2, 2)), [Form.CONV, Form.CONV]),
    "image": ((*PIXELS, whole_conv(4, 4, 3, 5, stride=2), above(1.5, 4, 3, 3), nir.sink(4, 3, 3)), [Form.IMAGE, Form.CONV]),
}


@pytest.mark.parametrize("kind", sorted(MERGED))
def test_whole_numbers_fire_on_the_chip_as_in_the_network(kind: str, tmp_path: Path) -> None:
    nodes, forms = MERGED[kind]
    network, top = saved(tmp_path, *nodes), 255 if kind == "image" else 1
    assert forms_of(network, payload=(0, top)) == forms
    findings = Findings()
    quantized = TARGET.quantize(network, Options(payload=(0, top)), findings)
    findings.raise_errors()
    (port,) = network.inputs
    samples = np.random.default_rng(36).integers(0, top + 1, (2, 5, *network[port].shape)).astype(np.int32)
    names = [p.name for p in network.populations if p.neuron is not None]
    made = fixed(quantized, TARGET.kernels, {port: samples}, 5 + quantized.latency, record=names).spikes
    given = simulate(network, samples, record=names).spikes
    for name in names:
        late = quantized[name].latency
        np.testing.assert_array_equal(made[name][:, late : late + 5], given[name], err_msg=name)
        assert 0 < given[name].mean() < 1


def test_signals_are_images_of_one_row(tmp_path: Path) -> None:
    first = nir.conv1d(kernel(4, 2, 5)[:, :, 0].astype(np.float32), padding=2, input_shape=32)
    signal = saved(tmp_path, nir.port(2, 32), first, memoryless(4, 32), nir.sink(4, 32))
    assert forms_of(signal) == [Form.CONV]


def test_networks_of_lava_dl_are_a_step_later_at_each_layer(tmp_path: Path) -> None:
    neuron = nir.cuba(i_decay=4096, v_decay=4096)
    layers: list[dict[str, Any]] = [{"type": "input", "shape": np.array([4], np.int32)}]
    layers += [
        {"type": "dense", "neuron": neuron, "shape": np.array([2 + k], np.int32), "weight": np.full((2 + k, inputs), 6.0, np.float32)}
        for k, inputs in enumerate((4, 2))
    ]
    network = read(nir.write_netx(tmp_path / "net.net", layers))
    assert [(s.form, s.late) for s in steps_of(network)] == [(Form.DENSE, 1), (Form.DENSE, 2)]
    # The pipeline of the chip's layers is the network's own delay.
    quantized = TARGET.quantize(network, Options(), Findings())
    names = [p.name for p in network.populations if p.neuron is not None]
    assert [quantized[name].latency for name in names] == [0, 0]
    samples = np.random.default_rng(37).integers(0, 2, (2, 8, 4)).astype(np.int32)
    made = fixed(quantized, TARGET.kernels, {network.inputs[0]: samples}, 8, record=names).spikes
    given = simulate(network, samples, record=names).spikes
    for name in names:
        np.testing.assert_array_equal(made[name], given[name], err_msg=name)
        assert 0 < given[name].mean() < 1


def test_a_dense_layer_is_pooled_before_it_where_that_spares_an_np_with_memory_beside_the_chip() -> None:
    shape = (8, 16, 16)
    blocks = np.kron(np.random.default_rng(33).normal(size=(60, 8, 8, 8)), np.ones((2, 2))).reshape(60, -1)
    network = layered((2, 16, 16), conv(8, (2, 16, 16)), Dense(blocks))
    step = steps_of(network)[1]
    assert blocks.size // 2 > TARGET.spec.classes["fnp3"].budget["weight_memory"]
    assert (step.pool_before, step.connectivity.in_size, step.received) == (True, 8 * 8 * 8, 4)
    image = np.random.default_rng(34).integers(0, 2, shape)
    sums = image.reshape(8, 8, 2, 8, 2).sum(axis=(2, 4))
    np.testing.assert_allclose(step.connectivity.apply(sums.ravel()), Dense(blocks).apply(image.ravel()))
    # Sums of four counts of 4 bits have 6.
    assert not steps_of(counting(network), approximate=RATE, horizon=15)[1].pool_before
    assert steps_of(counting(network), approximate=RATE, horizon=3)[1].received == 12


def test_connections_neuron_by_neuron_and_with_one_pixel() -> None:
    shape = (3, 4, 4)
    channels = Sparse.diagonal(np.repeat([1.0, 2.0, 3.0], 16))
    first, second = steps_of(replace(layered((2, 4, 4), conv(3, (2, 4, 4)), channels)))
    assert first.form is second.form is Form.CONV
    np.testing.assert_array_equal(second.connectivity.weights.ravel(), [1, 2, 3])
    single = Sparse.diagonal(np.arange(1.0, 49.0))
    assert forms_of(layered((2, 4, 4), conv(3, (2, 4, 4)), single)) == [Form.CONV, Form.DENSE]
    whole = Conv2d(kernel(5, 3, 4), shape)
    network = layered(shape, whole, Conv2d(kernel(2, 5, 3), (5, 1, 1), padding=(1, 1)))
    for step, link in zip(steps_of(network), network.projections, strict=True):
        assert step.form is Form.DENSE
        spikes = np.eye(step.connectivity.in_size)
        np.testing.assert_allclose(step.connectivity.apply(spikes), link.connectivity.apply(spikes))


def test_a_sum_over_too_small_or_too_large_an_image_is_dense() -> None:
    from nmap_akida.geometry import summed_over_image

    for side, form in ((2, Form.DENSE), (3, Form.CONV), (32, Form.CONV), (33, Form.DENSE)):
        summed = summed_over_image(conv(4, (2, side, side), 1))
        step = steps_of(layered((2, side, side), summed))[0]
        assert (step.form, step.global_pool) == (form, form is Form.CONV)


@pytest.mark.parametrize(("horizon", "sent"), [(1, 1), (2, 3), (3, 3), (4, 15), (15, 15), (0, 15)])
def test_counts_have_the_bits_that_the_steps_need(horizon: int, sent: int) -> None:
    network = layered((4,), Dense(np.ones((3, 4))), Dense(np.ones((2, 3))))
    steps = steps_of(counting(network), approximate=RATE, horizon=horizon)
    assert [s.received for s in steps] == [horizon or 15, sent]
    assert [s.sent for s in steps] == [sent, sent]
    # What the user allows is not done where nothing asks for it.
    assert [s.sent for s in steps_of(network, approximate=RATE, horizon=horizon)] == [1, 1]


@pytest.mark.parametrize(("weight", "sent"), [(0.25, 1), (0.5, 3), (1.0, 15), (3.75, 15), (4.0, None)])
def test_several_spikes_a_step_need_a_proof(weight: float, sent: int | None) -> None:
    network = replace(
        layered((4,), Dense(np.full((3, 4), weight)), thresholds={0: 1.0}), conventions=Conventions(1e-3, multiple=True, compare=">=")
    )
    if sent is not None:
        assert steps_of(network)[0].sent == sent
    else:
        (offence,) = offences_of(network)
        assert (offence.rule, offence.names) == ("multiple", ("p0",))
        assert "16 spikes" in offence.reason


@pytest.mark.parametrize(
    ("network", "options", "rule"),
    [
        (layered((4,), Dense(np.ones((2, 4)))), {"payload": (-1, 1)}, "signed"),
        (layered((4,), Dense(np.ones((2, 4)))), {"payload": (0, 16)}, "large_inputs"),
        (counting(layered((4,), Dense(np.ones((2, 4))))), {"payload": (0, 2), "approximate": RATE, "horizon": 15}, "large_inputs"),
        (layered((1, 8, 8), conv(2, (1, 8, 8))), {"payload": (0, 256)}, "image_values"),
        (layered((2, 8, 8), conv(2, (2, 8, 8))), {"payload": (0, 16)}, "image_channels"),
        (layered((1, 8, 8), conv(2, (1, 8, 8), padding=(2, 2))), {"payload": (0, 16)}, "image_kernel"),
        (layered((1, 8, 8), conv(97, (1, 8, 8), 7)), {"payload": (0, 16)}, "image_filters"),
        (layered((1, 4, 8), conv(2, (1, 4, 8))), {"payload": (0, 16)}, "image_size"),
        (layered((16,), Dense(np.ones((16, 16))), conv(2, (1, 4, 4))), {}, "after_dense"),
        (layered((2, 4, 4), conv(4, (2, 4, 4)), conv(2, (1, 8, 8))), {}, "reshaped"),
        (layered((2, 4, 4), conv(4, (2, 4, 4)), conv(2, (4, 4, 4), padding=(0, 0))), {}, "padding"),
        (layered((2, 4, 4), conv(4, (2, 4, 4)), conv(2, (4, 4, 4), stride=2)), {}, "alignment"),
        (layered((2, 9, 9), conv(4, (2, 9, 9)), conv(2, (4, 9, 9), 5, 2)), {}, "stride"),
        (layered((2, 9, 9), conv(4, (2, 9, 9)), conv(2, (4, 9, 9), 9)), {}, "kernel"),
        (layered((2, 9, 9), conv(4, (2, 9, 9)), conv(2, (4, 9, 9), 4, padding=(2, 2))), {}, "even_kernel"),
        (layered((2, 9, 9), conv(4, (2, 9, 9)), any_of_four((4, 9, 9))), {}, "pool"),
        (layered((2, 9, 9), Conv2d(np.ones((2, 1, 3, 3)), (2, 9, 9), (3, 3), groups=2)), {}, "pool"),
        (layered((2, 9, 9), Conv2d(np.kron(kernel(3, 2, 3), np.ones((2, 2))), (2, 9, 9), (2, 2))), {}, "pool"),
        (layered((2, 3, 3), conv(2049, (2, 3, 3), 1)), {}, "filters"),
        (layered((2049, 2, 2), Conv2d(np.ones((1, 2049, 1, 1)), (2049, 2, 2))), {}, "channels"),
        (layered((57335,), Dense(np.ones((1, 57335)))), {}, "dense_inputs"),
        (layered((2, 6000), Sparse.diagonal(np.ones(12000))), {}, "matrix"),
    ],
)
def test_refusals(network: Network, options: dict[str, Any], rule: str) -> None:
    found = offences_of(network, **options)
    assert [(o.rule, o.names) for o in found] == [(rule, (network.projections[-1].name,) if rule != "signed" else ("input",))]
    assert all(o.reason and o.remedy for o in found)


def test_pools_of_counts_beyond_four_bits_are_refused() -> None:
    merged = Conv2d(np.kron(kernel(3, 2, 3), np.ones((2, 2))), (2, 8, 8), (2, 2), (2, 2))
    network = counting(layered((2, 8, 8), conv(2, (2, 8, 8)), merged))
    assert steps_of(network, approximate=RATE, horizon=3)[1].received == 12
    (offence,) = offences_of(network, approximate=RATE, horizon=4)
    assert (offence.rule, offence.names) == ("pool_sum", ("p0->p1",))
    assert "60" in offence.reason
    assert "--steps 3" in str(offence.remedy)


def test_a_pool_of_four_by_four_is_two_of_two_by_two() -> None:
    wide = Conv2d(np.ones((2, 1, 4, 4)), (2, 8, 8), (4, 4), groups=2)
    step = steps_of(layered((2, 8, 8), conv(2, (2, 8, 8)), wide))[1]
    assert (step.form, step.pool_before, step.received) == (Form.CONV, True, 4)
    assert step.connectivity.weights.shape == (2, 1, 2, 2)


def test_networks_that_are_no_chain_name_all_who_make_it_so() -> None:
    n = {"left": ((2,), None), "right": ((2,), None), **{name: ((2,), unit(2)) for name in ("a", "b", "c", "d")}}
    eye = Dense(np.eye(2))
    network = build("graph.nir", n, [
        ("left", "a", eye, None, 0), ("right", "a", eye, None, 0), ("a", "a", eye, None, 1), ("a", "b", eye, None, 0),
        ("a", "c", eye, None, 0), ("b", "d", eye, None, 2), ("c", "d", eye, None, 0),
    ])
    network = replace(network, outputs=("b", "d"))
    found = {(o.rule, o.names) for o in offences_of(network)}
    assert found == {
        ("recurrent", ("a->a",)), ("ports", ("left", "right")), ("afferents", ("a", "d")), ("branches", ("a",)), ("outputs", ("b",)),
        ("outputs", ("b", "d")), ("delays", ("b->d",)),
    }


def _pooled_twice() -> dict[str, tuple[list[dict[str, Any]], tuple[int, ...]]]:
    first = [stored_conv(4, 4, 3, 9), memoryless(4, 9, 9)]
    even = [stored_conv(4, 4, 3, 8), memoryless(4, 8, 8)]
    padded = nir.pool("Sum", np.array([3, 3]), np.array([2, 2]), np.array([1, 1]))
    last = [stored_conv(5, 4, 3, 4), memoryless(5, 4, 4)]
    return {
        "odd pool": ([*first, stored_pool("Sum", 2), *last], (4, 9, 9)), "padded pool": ([*even, padded, *last], (4, 8, 8)),
        "strided": ([*even, stored_conv(4, 4, 3, 8, stride=2), *last], (4, 8, 8)), "first": ([stored_pool("Sum", 2), *last], (4, 9, 9)),
    }


@pytest.mark.parametrize("name", _pooled_twice())
def test_merged_convolutions_of_no_geometry_of_the_chip_are_refused_and_not_written_out(tmp_path: Path, name: str) -> None:
    nodes, shape = _pooled_twice()[name]
    network = saved(tmp_path, nir.port(*shape), *nodes, nir.sink(5, 4, 4))
    (found,) = offences_of(network)
    assert found.rule == "merged"
    assert found.names == (network.projections[-1].name,)
    assert "to 4 x 4 pixels" in found.reason
    assert "2 x 2" in str(found.remedy)
    # The same pool in front of neurons is refused likewise, and in front of one pixel, or of dense neurons, it is a dense layer.
    if name == "odd pool":
        alone = saved(tmp_path, nir.port(*shape), *nodes[:3], memoryless(4, 4, 4), nir.sink(4, 4, 4))
        assert [o.rule for o in offences_of(alone)] == ["pool"]
        one = [*nodes[:3], nir.conv(kernel(5, 4, 4).astype(np.float32), input_shape=np.array([4, 4])), memoryless(5, 1, 1)]
        assert forms_of(saved(tmp_path, nir.port(*shape), *one, nir.sink(5, 1, 1))) == [Form.CONV, Form.DENSE]


def test_every_layer_that_does_not_map_is_found_at_once() -> None:
    links = [conv(4, (2, 9, 9)), conv(4, (4, 9, 9), 4, padding=(2, 2)), conv(4, (4, 10, 10), 3, 2), conv(4, (4, 5, 5), padding=(0, 0))]
    found = offences_of(layered((2, 9, 9), *links))
    assert [o.rule for o in found] == ["even_kernel", "alignment", "padding"]
    # Only the first layer is told of the input unit, which may lack padding.
    first = offences_of(layered((2, 9, 9), conv(4, (2, 9, 9), padding=(0, 0)), conv(4, (4, 7, 7), padding=(0, 0))))
    assert ["channels" in str(o.remedy) for o in first] == [True, False]
