"""The view of a quantized network as layers of the chip, from settings and whole numbers alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from nmap.connectivity import Array, Connectivity, Conv2d, Dense, Sparse
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap_akida.form import Form
from nmap_akida.geometry import summed_over_image
from nmap_akida.layers import layers_of

WHERE = Provenance("made.nir", "/")


def network(shape: tuple[int, ...], *parts: tuple[str, Form, Connectivity, dict[str, Any]]) -> QuantizedNetwork:
    """Return a chain; the last entry of a part may hold `bits`, `message`, `threshold` (one per filter), `step`, `levels` and `sums`."""
    populations = [QuantizedPopulation("input", shape, None, {}, WHERE)]
    projections, settings = [], {"mode": 1}
    for latency, (name, form, link, more) in enumerate(parts, 1):
        out = link.out_shape if isinstance(link, Conv2d) else (link.out_size,)
        pixels = link.out_size // out[0]
        params = {"threshold": np.repeat(more.get("threshold", np.arange(out[0])), pixels)}
        if "step" in more:
            params |= {"act_step": np.repeat(more["step"], pixels), "act_bits": np.full(link.out_size, more["levels"])}
        kernel = "akida.neuron" if "step" in more else "akida.binary"
        source = populations[-1].name
        populations.append(QuantizedPopulation(name, out, kernel, params, WHERE, latency=latency))
        form_of_weights = SynapseFormat(more.get("bits", 4), message_bits=more.get("message", 0))
        projections.append(QuantizedProjection(f"to {name}", source, name, link, form_of_weights, 0, WHERE))
        settings[f"{name}.form"] = int(form)
        if more.get("sums"):
            settings[f"{name}.global"] = 1
    return QuantizedNetwork(tuple(populations), tuple(projections), ("input",), (populations[-1].name,), settings=settings)


def whole(*shape: int, seed: int = 0, top: int = 7) -> Array:
    weights = np.random.default_rng([40, seed]).integers(-top, top + 1, shape).astype(np.int32)
    weights.reshape(-1)[0] = top
    return weights


def test_all_forms_of_a_chain() -> None:
    within, across = whole(4, 3, 3, seed=1), whole(6, 4, seed=2)
    product = (across[:, :, None, None] * within).astype(np.int32)
    made = network(
        (1, 12, 12),
        ("image", Form.IMAGE, Conv2d(whole(4, 1, 3, 3, top=100), (1, 12, 12), padding=(1, 1)),
         {"bits": 8, "message": 9, "threshold": [9, 8, 7, 6]}),
        ("any", Form.POOLED, Conv2d(np.ones((4, 1, 2, 2), np.int32), (4, 12, 12), (2, 2), groups=4), {"threshold": np.zeros(4, np.int64)}),
        ("sep", Form.SEPARABLE, Conv2d(product, (4, 6, 6), padding=(1, 1)), {"step": np.arange(16, 22), "levels": 2}),
        ("pool", Form.CONV, Conv2d(np.ones((6, 1, 2, 2), np.int32), (6, 6, 6), (2, 2), groups=6),
         {"bits": 1, "message": 3, "threshold": np.zeros(6, np.int64), "step": np.full(6, 16), "levels": 4}),
        ("sums", Form.CONV, summed_over_image(Conv2d(whole(5, 6, 3, 3, seed=3), (6, 3, 3), padding=(1, 1))), {"message": 5, "sums": True}),
        ("out", Form.DENSE, Dense(whole(3, 5, seed=4)), {"bits": 2}),
    )
    image, sep, pool, sums, out = layers_of(made)
    assert [(x.name, x.projection, x.form) for x in (image, sep, pool, sums, out)] == [
        ("image", "to image", Form.IMAGE), ("sep", "to sep", Form.SEPARABLE), ("pool", "to pool", Form.CONV),
        ("sums", "to sums", Form.CONV), ("out", "to out", Form.DENSE),
    ]
    assert (image.in_shape, image.out_shape, image.pooled, image.sent_shape) == ((1, 12, 12), (4, 12, 12), "any", (4, 6, 6))
    assert (image.weight_bits, image.input_bits, image.output_bits, image.valid) == (8, 8, 1, False)
    np.testing.assert_array_equal(image.threshold, [9, 8, 7, 6])
    np.testing.assert_array_equal(image.step, [16] * 4)
    assert (sep.in_shape, sep.out_shape, sep.input_bits, sep.output_bits) == ((4, 6, 6), (6, 6, 6), 1, 2)
    assert sep.depthwise is not None
    assert sep.pointwise is not None
    np.testing.assert_array_equal(sep.pointwise[:, :, None, None] * sep.depthwise, product)
    assert (sep.weights, sep.weight_bytes) == (4 * 9 + 24, (36 + 24) // 2)
    np.testing.assert_array_equal(sep.step, np.arange(16, 22))
    assert (pool.stride, pool.size, pool.input_bits, pool.output_bits, pool.out_shape) == (2, 3, 2, 4, (6, 3, 3))
    expected = np.zeros((6, 6, 3, 3))
    expected[np.arange(6), np.arange(6), :2, :2] = 1
    np.testing.assert_array_equal(pool.kernel, expected)
    assert pool.weight_bytes == -(-6 * 6 * 9 // 8)
    assert (sums.global_pool, sums.in_shape, sums.out_shape, sums.sent_shape) == (True, (6, 3, 3), (5, 3, 3), (5, 1, 1))
    np.testing.assert_array_equal(sums.kernel, whole(5, 6, 3, 3, seed=3))
    assert (out.in_shape, out.out_shape, out.filters, out.size, out.weight_bytes) == ((5, 1, 1), (3, 1, 1), 3, 1, -(-15 * 2 // 8))
    np.testing.assert_array_equal(out.kernel, whole(3, 5, seed=4))


def test_an_image_layer_may_lack_padding() -> None:
    made = network((3, 9, 11), ("image", Form.IMAGE, Conv2d(whole(2, 3, 5, 5), (3, 9, 11), (2, 2)), {"bits": 8, "message": 9}))
    (layer,) = layers_of(made)
    assert (layer.valid, layer.stride, layer.out_shape, layer.size) == (True, 2, (2, 3, 4), 5)


def test_a_dense_layer_reads_the_image_before_it_and_a_first_one_is_flat() -> None:
    made = network(
        (2, 4, 4), ("conv", Form.CONV, Conv2d(whole(3, 2, 3, 3), (2, 4, 4), padding=(1, 1)), {}),
        ("out", Form.DENSE, Dense(whole(5, 48)), {}),
    )
    assert layers_of(made)[1].in_shape == (3, 4, 4)
    (first,) = layers_of(network((2, 4, 4), ("out", Form.DENSE, Dense(whole(5, 32)), {})))
    assert (first.in_shape, first.threshold.tolist()) == ((32, 1, 1), [0, 1, 2, 3, 4])


@pytest.mark.parametrize(
    ("form", "link", "more"),
    [
        (Form.DENSE, Conv2d(whole(2, 1, 3, 3), (1, 6, 6), padding=(1, 1)), {}),
        (Form.CONV, Dense(whole(2, 36)), {}),
        (Form.CONV, Sparse.from_dense(whole(2, 36)), {}),
        (Form.CONV, Conv2d(whole(2, 1, 3, 3), (1, 6, 6)), {}),
        (Form.CONV, Conv2d(whole(2, 1, 6, 6), (1, 6, 6)), {"sums": True}),
        (Form.SEPARABLE, Conv2d(whole(4, 1, 3, 3), (1, 6, 6), padding=(1, 1)), {}),
    ],
)
def test_what_is_not_of_its_form_is_a_defect(form: Form, link: Connectivity, more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="made"):
        layers_of(network((1, 6, 6), ("made", form, link, more)))
