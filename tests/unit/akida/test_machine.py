"""The interpreter of models that the tests rely on, against sums done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.akida_machine import SaturatesError, from_rows, in_rows, run

ONE_BIT = {"activation": 1, "act_bits": 1}
PLAIN = {"pool_type": 0, "pooling_width": -1, "pooling_height": -1, "pooling_stride_x": -1, "pooling_stride_y": -1}
MAX = {"pool_type": 1, "pooling_width": 2, "pooling_height": 2, "pooling_stride_x": 2, "pooling_stride_y": 2}
RAW = {"activation": 0, "act_bits": 1}


def variable(values, dtype):
    values = np.asarray(values)
    return {"shape": list(values.shape), "dtype": dtype, "bitwidth": 8, "data": values.tolist()}


def data(shape, bits=4):
    size = dict(zip(("input_width", "input_height", "input_channels"), shape, strict=True))
    parameters = {"layer_type": "InputData", "input_bits": bits, "input_signed": 0, **size}
    return {"name": "in", "parameters": parameters, "variables": {}, "inbounds": []}


def layer(kind, weights, *, threshold=0, step=1.0, point=None, **parameters):
    weights = np.asarray(weights)
    filters = (weights if point is None else np.asarray(point)).shape[-1]
    held = {
        "weights": variable(weights, "int8"), "threshold": variable(np.full(filters, threshold), "int32"),
        "act_step": variable(np.full(filters, step), "float32"),
    }
    if point is not None:
        held["weights_pw"] = variable(point, "int8")
    return {
        "name": "out", "variables": held, "inbounds": [] if kind == "InputConvolutional" else ["in"],
        "parameters": {"layer_type": kind, "weights_bits": 4, "stride_x": 1, "stride_y": 1, "padding": 1, **PLAIN, **RAW, **parameters},
    }


def computed(layers, inputs):
    model = {"Akida version": "2.19.0", "IP version": "v1", "learning": None, "layers": layers}
    return run(model, inputs)["out"]


def line(values):
    """A picture of one row: width, height 1, one channel."""
    return np.array(values).reshape(1, -1, 1, 1)


def taps(values):
    """Such a row of a kernel of 3 by 3, (kx, ky, channels, filters)."""
    kernel = np.zeros((3, 3, 1, 1), int)
    kernel[:, 1, 0, 0] = values
    return kernel


def test_hidden_kernels_are_mirrored_and_those_of_images_are_not():
    given = line([0, 0, 1, 0, 0])
    assert computed([data((5, 1, 1)), layer("Convolutional", taps([1, 2, 3]))], given).ravel().tolist() == [0, 1, 2, 3, 0]
    separable = layer("SeparableConvolutional", taps([1, 2, 3]), point=[[[[1, -2]]]])
    assert computed([data((5, 1, 1)), separable], given)[0, :, 0].T.tolist() == [[0, 1, 2, 3, 0], [0, -2, -4, -6, 0]]
    image = layer("InputConvolutional", taps([1, 2, 3]), weights_bits=8, padding_value=0, input_width=5, input_height=1, input_channels=1)
    assert computed([image], given).ravel().tolist() == [0, 3, 2, 1, 0]
    image["parameters"]["padding_value"] = 10
    rows = np.zeros((5, 1))
    assert computed([image], rows.reshape(1, 5, 1, 1)).ravel().tolist() == [10, 0, 0, 0, 30]


def test_stride_two_pads_an_even_side_at_its_end():
    # 5 places: one zero on either side. 4 places: the whole zero behind them.
    kernel = layer("Convolutional", taps([3, 2, 1]), stride_x=2, stride_y=2)
    assert computed([data((5, 1, 1)), kernel], line([1, 2, 3, 4, 5])).ravel().tolist() == [2 + 3 * 2, 2 + 2 * 3 + 3 * 4, 4 + 2 * 5]
    assert computed([data((4, 1, 1)), kernel], line([1, 2, 3, 4])).ravel().tolist() == [1 + 2 * 2 + 3 * 3, 3 + 2 * 4]


def test_pools_come_before_the_activation():
    given = np.arange(9).reshape(1, 3, 3, 1)
    minus = layer("Convolutional", [[[[-1]]]], **MAX)
    # The largest of negative numbers, and nothing from outside the picture.
    assert computed([data((3, 3, 1)), minus], given)[0, ..., 0].tolist() == [[0, -2], [-6, -8]]
    total = layer("Convolutional", [[[[2]]]], pool_type=2, activation=1, act_bits=4, threshold=60, step=4.0)
    assert computed([data((3, 3, 1)), total], given).tolist() == [[[[3]]]]


@pytest.mark.parametrize(
    ("bits", "step", "sent"),
    [
        (1, 1.0, [0, 0, 0, 1, 1, 1, 1]),
        # One step of 4 bits is 1 / 16 at least; of 2 bits four times what is said, cut to sixteenths.
        (4, 2.0, [0, 0, 0, 1, 1, 2, 3]),
        (4, 0.0625, [0, 0, 0, 15, 15, 15, 15]),
        (4, 1.09, [0, 0, 0, 1, 2, 3, 5]),
        (2, 0.5, [0, 0, 0, 1, 1, 2, 3]),
        (2, 0.28, [0, 0, 0, 1, 2, 3, 3]),
    ],
)
def test_activations_count_the_steps_above_the_threshold(bits, step, sent):
    dense = layer("FullyConnected", [[[[-5, 1, 2, 3, 4, 5, 7]]]], activation=1, act_bits=bits, threshold=2, step=step)
    assert computed([data((1, 1, 1)), dense], np.ones((1, 1, 1, 1), int)).ravel().tolist() == sent


def test_a_fully_connected_layer_reads_rows_of_a_channel_first():
    # Input number c Y X + y X + x, so an image in the order (channels, height, width) keeps its order.
    dense = layer("FullyConnected", np.eye(24, dtype=int)[None, None])
    rows = np.arange(24)[None] % 16
    given = from_rows(rows, (2, 4, 3))
    assert given.shape == (1, 3, 4, 2)
    np.testing.assert_array_equal(computed([data((3, 4, 2)), dense], given).ravel(), rows[0])
    np.testing.assert_array_equal(in_rows(given), rows)


def test_sums_of_more_than_20_bits_are_refused_also_midway():
    image = {"weights_bits": 8, "padding_value": 0, "input_width": 20, "input_height": 20, "input_channels": 1}
    kernel = np.full((7, 7, 1, 1), 41)
    given = np.full((1, 20, 20, 1), 255)
    assert computed([layer("InputConvolutional", kernel, **image)], given).max() == 255 * 41 * 49
    for wrong in (kernel + 1, np.where(np.arange(7)[:, None, None, None] < 4, 127 + 0 * kernel, -127)):
        with pytest.raises(SaturatesError):
            computed([layer("InputConvolutional", wrong, **image)], given)


def test_values_that_the_form_does_not_have_are_refused():
    one = np.ones((1, 1, 1, 1), int)
    for weights, bits in ((-1, 1), (2, 2), (-8, 4)):
        with pytest.raises(AssertionError):
            computed([data((1, 1, 1)), layer("FullyConnected", [[[[weights]]]], weights_bits=bits)], one)
    with pytest.raises(AssertionError):
        computed([data((1, 1, 1), bits=2), layer("FullyConnected", [[[[1]]]])], 4 * one)
