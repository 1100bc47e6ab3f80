"""What parts of layers take: numbers by hand, and bounds on chains that the shared random networks do not have."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nmap.connectivity import Conv2d
from nmap.quantized import QuantizedNetwork
from nmap_akida.demand import demand, demand_at_most, demand_floor, neuron_demand, size_of
from nmap_akida.form import Form
from tests.akida_chains import Chain


def test_a_dense_layer_takes_its_rows_and_all_inputs() -> None:
    network = Chain(1958).dense("fc", 100).network()
    # 1958 x 100 x 4 bits, and 1958 x 1 bit.
    assert demand(network, "fc", ((0, 100),)) == {"layers": 1, "image_layers": 0, "weight_memory": 97900, "input_memory": 245}
    assert demand(network, "fc", np.array([3, 5, 8]))["weight_memory"] == 2937
    wide = Chain(7, input_bits=4).dense("fc", 3, bits=1).network()
    assert demand(wide, "fc", ((0, 3),)) == {"layers": 1, "image_layers": 0, "weight_memory": 3, "input_memory": 4}


def test_a_convolution_takes_filters_and_the_rows_that_its_kernel_reaches() -> None:
    network = Chain(6, 20, 30, input_bits=4).conv("c", 16, 5).network()
    # 10 filters x 6 channels x 25 x 4 bits; rows 4..13 reach 2..15, columns 0..9 reach 0..11: 6 x 14 x 12 x 4 bits.
    assert demand(network, "c", ((2, 12), (4, 14), (0, 10))) == {
        "layers": 1, "image_layers": 0, "weight_memory": 750, "input_memory": 504,
    }


def test_groups_take_all_channels_as_the_chip_has_none() -> None:
    conv = Conv2d(np.ones((8, 2, 3, 3), np.int32), (8, 6, 6), padding=(1, 1), groups=4)
    network = Chain(8, 6, 6).add("c", Form.CONV, conv, conv.out_shape).network()
    assert demand(network, "c", ((0, 2), (0, 6), (0, 6))) == {"layers": 1, "image_layers": 0, "weight_memory": 72, "input_memory": 36}


def test_a_pool_becomes_a_kernel_of_3() -> None:
    conv = Conv2d(np.ones((8, 1, 2, 2), np.int32), (8, 6, 6), (2, 2), groups=8)
    network = Chain(8, 6, 6, bits=1).add("sum", Form.CONV, conv, conv.out_shape).network()
    assert size_of(network, "sum").side == 3
    assert demand(network, "sum", ((0, 8), (0, 3), (0, 3)))["weight_memory"] == 8 * 8 * 9 // 8


def test_taps_of_zero_at_the_edge_are_not_stored() -> None:
    kernel = np.zeros((2, 3, 5, 5), np.int32)
    kernel[:, :, 1:4, 2] = 1
    conv = Conv2d(kernel, (3, 9, 9), padding=(2, 2))
    network = Chain(3, 9, 9).add("c", Form.CONV, conv, conv.out_shape).network()
    assert demand(network, "c", ((0, 2), (0, 9), (0, 9)))["weight_memory"] == 2 * 3 * 9 * 4 // 8


def test_a_separable_layer_shares_what_is_within_channels() -> None:
    network = Chain(10, 8, 8).conv("s", 20, form=Form.SEPARABLE).network()
    # 10 x 9 taps and 5 x 10 weights across channels, at 4 bits.
    assert demand(network, "s", ((0, 5), (0, 8), (0, 8)))["weight_memory"] == 70


def test_a_sum_over_the_image_takes_the_small_kernel_and_the_whole_image() -> None:
    network = Chain(4, 6, 9, input_bits=4).over_image("g", 8).network()
    # 8 filters x 4 channels x 1 x 4 bits; 4 x 54 pixels x 4 bits.
    assert demand(network, "g", ((0, 8), (0, 1), (0, 1))) == {"layers": 1, "image_layers": 0, "weight_memory": 16, "input_memory": 108}


def test_images_take_the_input_unit_and_pooled_populations_nothing() -> None:
    network = Chain(3, 12, 12).conv("image", 4, form=Form.IMAGE).pool("p").conv("c", 2).network()
    assert demand(network, "image", ((0, 4), (0, 12), (0, 12))) == {
        "layers": 0, "image_layers": 1, "weight_memory": 4 * 3 * 9, "input_memory": 0,
    }
    assert set(demand(network, "p", ((0, 4), (0, 6), (0, 6))).values()) == {0}
    assert set(demand_floor(network, "p").values()) == {0.0}


def test_fewer_bits_are_kept_by_images_and_limited_for_separable_layers() -> None:
    network = Chain(3, 12, 12).conv("image", 4, form=Form.IMAGE).conv("s", 4, form=Form.SEPARABLE).conv("c", 2).dense("fc", 3).network()
    bits = {name: [size_of(network, name).with_bits(b).weight_bits for b in (4, 2, 1)] for name in ("image", "s", "c", "fc")}
    assert bits == {"image": [8, 8, 8], "s": [4, 2, 2], "c": [4, 2, 1], "fc": [4, 2, 1]}


def _networks() -> dict[str, tuple[QuantizedNetwork, str]]:
    strided = Conv2d(np.ones((3, 5, 3, 3), np.int32), (5, 7, 9), (2, 2), (1, 1))
    return {
        "conv": (Chain(5, 5, 6, input_bits=2).conv("x", 2, 5).network(), "x"),
        "stride": (Chain(5, 7, 9).add("x", Form.CONV, strided, strided.out_shape).network(), "x"),
        "separable": (Chain(3, 4, 5, bits=2).conv("x", 3, form=Form.SEPARABLE).network(), "x"),
        "image": (Chain(1, 5, 5).conv("x", 2, form=Form.IMAGE).network(), "x"),
        "global": (Chain(3, 4, 5).over_image("x", 4).network(), "x"),
        "pooled": (Chain(2, 6, 8).conv("c", 3).pool("x").conv("d", 1).network(), "x"),
    }


@pytest.mark.parametrize("kind", ["conv", "stride", "separable", "image", "global", "pooled"])
def test_bounds_hold_for_every_box(kind: str) -> None:
    network, name = _networks()[kind]
    shape = network[name].shape
    floor = demand_floor(network, name)
    spans = [[(a, b) for a in range(n) for b in range(a + 1, n + 1)] for n in shape]
    most: dict[tuple[int, ...], dict[str, int]] = {}
    for box in product(*spans):
        extent = tuple(b - a for a, b in box)
        bound = most.setdefault(extent, demand_at_most(network, name, extent))
        need = demand(network, name, box)
        assert all(need[key] <= bound[key] for key in need)
    for extent, bound in most.items():
        for axis in range(3):
            larger = most.get((*extent[:axis], extent[axis] + 1, *extent[axis + 1 :]), bound)
            assert all(larger[key] >= bound[key] for key in bound)
    whole = tuple((0, n) for n in shape)
    pieces = [demand(network, name, ((f, f + 1), *whole[1:])) for f in range(shape[0])]
    assert all(sum(piece[key] for piece in pieces) >= floor[key] for key in floor)
    assert all(demand(network, name, whole)[key] >= floor[key] for key in floor)


@pytest.mark.parametrize(("inputs", "bits", "arriving"), [(1, 1, 1), (3, 2, 4), (9, 4, 1), (13, 1, 2)])
def test_prices_of_neurons_enclose_every_list(inputs: int, bits: int, arriving: int) -> None:
    network = Chain(inputs, input_bits=arriving).dense("fc", 11, bits=bits).network()
    price = neuron_demand(network, "fc")
    for count in range(1, 12):
        need = demand(network, "fc", np.arange(count))
        exact = np.array([need[key] for key in price.resources]) * price.scale
        low = price.fixed + price.neuron[:, :count].sum(1)
        assert price.axon_least is not None
        assert (low + inputs * price.axon_least[0][:, 0] <= exact).all()
        assert (exact <= low + inputs * price.axon[0][:, 0]).all()


def test_convolutions_are_cut_into_boxes() -> None:
    network = Chain(2, 6, 6).conv("c", 4).network()
    with pytest.raises(ValueError, match="not a box"):
        demand(network, "c", np.arange(4))
    with pytest.raises(ValueError, match="cut into boxes"):
        neuron_demand(network, "c")


def test_connections_that_are_none_of_the_chip_s_are_told() -> None:
    even = Conv2d(np.ones((2, 2, 4, 4), np.int32), (2, 8, 8), padding=(2, 2))
    network = Chain(2, 8, 8).add("c", Form.CONV, even, even.out_shape).network()
    with pytest.raises(ValueError, match="even kernel"):
        size_of(network, "c")
    rng = np.random.default_rng(0)
    mixed = Conv2d(rng.integers(-7, 8, (2, 2, 8, 8)).astype(np.int32), (2, 8, 8))
    chain = Chain(2, 8, 8).add("g", Form.CONV, mixed, mixed.out_shape)
    chain.settings["g.global"] = 1
    with pytest.raises(ValueError, match="summed over the image"):
        size_of(chain.network(), "g")
