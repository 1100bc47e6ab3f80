"""Layers in the vendor's open JSON form: what is written, and that it computes the layers' cross-correlations."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nmap_akida.form import Form
from nmap_akida.layers import Layer
from nmap_akida.model import VERSION, layer_names, model_bytes
from tests import akida_machine as machine

TOP = {1: 1, 2: 1, 4: 7, 8: 127}


def _weights(rng: np.random.Generator, bits: int, shape: tuple[int, ...]) -> np.ndarray:
    drawn = rng.integers(0 if bits == 1 else -TOP[bits], TOP[bits] + 1, shape, np.int32)
    drawn.reshape(shape[0], -1)[:, 0] = 1
    return drawn


def _layer(name: str, form: Form, in_shape: tuple[int, int, int], filters: int, rng: np.random.Generator, **given) -> Layer:
    """A layer with random weights, thresholds and steps."""
    size, stride, valid = given.get("size", 1), given.get("stride", 1), given.get("valid", False)
    bits = given.get("bits", 8 if form is Form.IMAGE else 4)
    channels, height, width = in_shape
    depthwise = pointwise = None
    out_shape = (filters, *(-(-(n - (size - 1 if valid else 0)) // stride) for n in (height, width)))
    if form is Form.DENSE:
        kernel, out_shape = _weights(rng, bits, (filters, channels * height * width)), (filters, 1, 1)
    elif form is Form.SEPARABLE:
        depthwise, pointwise = _weights(rng, bits, (channels, size, size)), _weights(rng, bits, (filters, channels))
        kernel = pointwise[:, :, None, None] * depthwise
    else:
        kernel = _weights(rng, bits, (filters, channels, size, size))
    output_bits = given.get("output_bits", 4)
    return Layer(
        name, f"to {name}", form, in_shape, out_shape, kernel, depthwise, pointwise, stride, valid, given.get("global_pool", False),
        given.get("pooled"), bits, 8 if form is Form.IMAGE else given.get("input_bits", 4), output_bits,
        rng.integers(-9, 10, filters), rng.integers(1, 400, filters) if output_bits > 1 else np.full(filters, 16),
    )


def _potentials(layer: Layer, x: np.ndarray) -> np.ndarray:
    """(N, C, H, W) to (N, F, H', W'), position by position and tap by tap."""
    if layer.form is Form.DENSE:
        return np.einsum("ni,fi->nf", x.reshape(len(x), -1), layer.kernel.astype(np.int64))[:, :, None, None]
    size, stride = layer.kernel.shape[-1], layer.stride
    filters, rows, columns = layer.out_shape
    before = [0 if layer.valid else max((out - 1) * stride + size - n, 0) // 2 for out, n in ((rows, x.shape[2]), (columns, x.shape[3]))]
    found = np.zeros((len(x), filters, rows, columns), np.int64)
    for row, column, a, b in np.ndindex(rows, columns, size, size):
        y, z = row * stride + a - before[0], column * stride + b - before[1]
        if 0 <= y < x.shape[2] and 0 <= z < x.shape[3]:
            found[:, :, row, column] += np.einsum("nc,fc->nf", x[:, :, y, z], layer.kernel[:, :, a, b].astype(np.int64))
    return found


def _sent(layer: Layer, x: np.ndarray) -> np.ndarray:
    potential = _potentials(layer, x)
    if layer.pooled is not None:
        potential = np.maximum.reduce([potential[:, :, a::2, b::2] for a in range(2) for b in range(2)])
    if layer.global_pool:
        potential = potential.sum(axis=(2, 3), keepdims=True)
    above = potential - layer.threshold[:, None, None]
    levels = np.ceil(16 * above / (layer.step[:, None, None] * 2.0 ** (4 - layer.output_bits)))
    return np.clip(levels, 0, 2**layer.output_bits - 1).astype(np.int64)


def _chains() -> dict[str, tuple[tuple[Layer, ...], set[str]]]:
    rng = np.random.default_rng(5)
    made: dict[str, tuple[tuple[Layer, ...], set[str]]] = {}
    for size, stride in ((1, 1), (3, 1), (3, 2), (5, 1), (7, 1)):
        for shape in ((2, 6, 9), (3, 7, 4)):
            made[f"conv {size} by {stride} of {shape}"] = (_layer("a", Form.CONV, shape, 3, rng, size=size, stride=stride),), set()
    for size in (3, 5):
        for stride in (1, 2, 3):
            for valid in (False, True):
                layer = _layer("a", Form.IMAGE, (3, 8, 11), 4, rng, size=size, stride=stride, valid=valid)
                made[f"image {size} by {stride}, {'valid' if valid else 'same'}"] = (layer,), set()
    made["separable"] = (_layer("a", Form.SEPARABLE, (3, 6, 5), 4, rng, size=3, bits=2),), set()
    made["fully connected over an image"] = (
        _layer("a", Form.CONV, (1, 4, 5), 3, rng, size=3), _layer("b", Form.DENSE, (3, 4, 5), 6, rng, output_bits=1),
    ), {"b"}
    made["dense both ways"] = tuple(
        _layer(name, Form.DENSE, (n, 1, 1), out, rng, bits=bits, input_bits=2, output_bits=2)
        for name, n, out, bits in (("a", 7, 9, 1), ("b", 9, 4, 2), ("c", 4, 3, 4))
    ), {"b"}
    made["pools"] = (
        _layer("a", Form.CONV, (2, 8, 6), 3, rng, size=3, pooled="a.max", output_bits=1),
        _layer("b", Form.SEPARABLE, (3, 4, 3), 4, rng, size=3, global_pool=True, input_bits=1),
        _layer("c", Form.DENSE, (4, 1, 1), 5, rng),
    ), set()
    return made


CHAINS = _chains()


@pytest.mark.parametrize("name", CHAINS)
def test_a_model_computes_the_layers(name: str) -> None:
    layers, connected = CHAINS[name]
    top = 2 ** layers[0].input_bits
    x = np.random.default_rng(len(name)).integers(0, top, (4, *layers[0].in_shape))
    found = machine.run(model_bytes(layers, connected), x.transpose(0, 3, 2, 1))
    for layer in layers:
        x = _sent(layer, x)
        np.testing.assert_array_equal(found[layer.name].transpose(0, 3, 2, 1), x, err_msg=layer.name)


def _by_hand() -> Layer:
    # Channel 0 has taps 0..8 row by row, channel 1 none but the last, which is -2.
    kernel = np.zeros((1, 2, 3, 3), np.int32)
    kernel[0, 0] = np.arange(9).reshape(3, 3) % 8
    kernel[0, 1, 2, 2] = -2
    return Layer(
        "conv", "p", Form.CONV, (2, 4, 5), (1, 4, 5), kernel, None, None, 1, False, False, None, 4, 1, 2, np.array([-300]), np.array([40]),
    )


def test_the_form_by_hand() -> None:
    model = json.loads(model_bytes([_by_hand()], ()))
    assert model.keys() == {"Akida version", "IP version", "layers", "learning"}
    assert (model["Akida version"], model["IP version"], model["learning"]) == ("2.19.x", "v1", None)
    assert model["layers"][0] == {
        "name": "input", "variables": {}, "inbounds": [],
        "parameters": {
            "layer_type": "InputData", "input_width": 5, "input_height": 4, "input_channels": 2, "input_bits": 1, "input_signed": 0,
        },
    }
    conv = model["layers"][1]
    assert conv["inbounds"] == ["input"]
    assert conv["parameters"] == {
        "layer_type": "Convolutional", "filters": 1, "kernel_width": 3, "kernel_height": 3, "stride_x": 1, "stride_y": 1, "padding": 1,
        "pool_type": 0, "pooling_width": -1, "pooling_height": -1, "pooling_stride_x": -1, "pooling_stride_y": -1, "weights_bits": 4,
        "activation": 1, "act_bits": 2,
    }
    # x from right to left, y from bottom to top: mirrored; then channel, then filter.
    assert conv["variables"]["weights"] == {
        "shape": [3, 3, 2, 1], "dtype": "int8", "bitwidth": 4, "data": [
            [[[0], [-2]], [[5], [0]], [[2], [0]]],
            [[[7], [0]], [[4], [0]], [[1], [0]]],
            [[[6], [0]], [[3], [0]], [[0], [0]]],
        ],
    }
    assert conv["variables"]["threshold"] == {"shape": [1], "dtype": "int32", "bitwidth": 10, "data": [-300]}
    assert conv["variables"]["act_step"] == {"shape": [1], "dtype": "float32", "bitwidth": 0, "data": [2.5]}


def test_an_image_is_the_first_layer_s_own_input_and_its_kernel_is_not_mirrored() -> None:
    rng = np.random.default_rng(0)
    layer = _layer("eye", Form.IMAGE, (1, 6, 8), 2, rng, size=3, stride=2, valid=True)
    (entry,) = json.loads(model_bytes([layer], ()))["layers"]
    given = entry["parameters"]
    assert (given["layer_type"], given["input_width"], given["input_height"], given["input_channels"]) == ("InputConvolutional", 8, 6, 1)
    assert (given["padding"], given["padding_value"], given["stride_x"], given["weights_bits"]) == (0, 0, 2, 8)
    assert entry["inbounds"] == []
    data = np.array(entry["variables"]["weights"]["data"])
    assert data.shape == (3, 3, 1, 2)
    for x, y, f in np.ndindex(3, 3, 2):
        assert data[x, y, 0, f] == layer.kernel[f, 0, y, x]


def test_bits_hold_every_integer_in_two_s_complement() -> None:
    rng = np.random.default_rng(1)
    for bits, wanted in ((1, 2), (2, 2), (4, 4)):
        layer = _layer("a", Form.CONV, (1, 6, 6), 40, rng, size=3, bits=bits)
        held = json.loads(model_bytes([layer], ()))["layers"][1]["variables"]
        assert held["weights"]["bitwidth"] == wanted
        assert -(2 ** (held["threshold"]["bitwidth"] - 1)) <= layer.threshold.min() <= layer.threshold.max() < 2 ** (
            held["threshold"]["bitwidth"] - 1
        )


def test_names_are_plain_and_differ() -> None:
    rng = np.random.default_rng(2)
    wanted = {
        "a.b-c_1": "a.b-c_1", "a/b": "a_b", "a b": "a_b_2", "a_b_2": "a_b_2_2", "é": "_", "名": "__2", "": "__3", "input": "input_2",
        'q"\n': "q__",
    }
    layers = [_layer(name, Form.DENSE, (2, 1, 1), 2, rng) for name in wanted]
    assert layer_names(layers) == tuple(wanted.values())
    model = json.loads(model_bytes(layers, wanted))
    assert [entry["name"] for entry in model["layers"]] == ["input", *wanted.values()]


def test_the_same_layers_give_the_same_plain_bytes() -> None:
    layers, connected = CHAINS["pools"]
    content = model_bytes(layers, connected)
    assert content == model_bytes(layers, set(connected))
    assert content.isascii()
    assert VERSION.encode() in content


def test_layers_that_do_not_follow_each_other_are_no_model() -> None:
    rng = np.random.default_rng(3)
    first = _layer("a", Form.CONV, (1, 4, 4), 2, rng, size=3)
    with pytest.raises(ValueError, match="`b` takes"):
        model_bytes([first, _layer("b", Form.CONV, (2, 4, 5), 2, rng, size=3)], ())
    with pytest.raises(ValueError, match="`b` takes"):
        model_bytes([first, _layer("b", Form.DENSE, (33, 1, 1), 2, rng)], {"b"})
    over = _layer("b", Form.DENSE, (2, 4, 4), 2, rng)
    with pytest.raises(ValueError, match="over an image"):
        model_bytes([first, over], ())
    assert [entry["parameters"]["layer_type"] for entry in json.loads(model_bytes([first, over], {"b"}))["layers"]] == [
        "InputData", "Convolutional", "FullyConnected",
    ]
