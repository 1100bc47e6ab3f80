from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.readers.linear import Diagonal, Pool, Stage, compose, joined, padded_same, reduced

_RNG = np.random.default_rng(0)


def _image_conv(c_in: int, c_out: int, side: int, kernel: int, stride: int = 1, padding: int = 0, groups: int = 1) -> Conv2d:
    return Conv2d(
        _RNG.normal(size=(c_out, c_in // groups, kernel, kernel)), (c_in, side, side), (stride, stride), (padding, padding), groups=groups
    )


def _naive_pool(pool: Pool, x: np.ndarray) -> np.ndarray:
    image, (c, h, w) = x.reshape(pool.in_shape), pool.out_shape
    out = np.zeros((c, h, w))
    for k in range(c):
        for i in range(h):
            for j in range(w):
                top, left = i * pool.stride[0], j * pool.stride[1]
                out[k, i, j] = image[k, top : top + pool.kernel[0], left : left + pool.kernel[1]].sum() * pool.factor
    return out.ravel()


def _naive(stages: list[Stage], x: np.ndarray) -> np.ndarray:
    for stage in stages:
        if isinstance(stage, Pool):
            x = _naive_pool(stage, x)
        elif isinstance(stage, Diagonal):
            x = x * stage.scale.ravel()
        else:
            x = stage.apply(x)
    return x


_POOL = Pool((4, 8, 8), (2, 2), (2, 2), 0.25)
_SKEW = Pool((4, 9, 7), (3, 2), (2, 2), 1.0)
_CHANNELS = np.repeat(np.arange(1.0, 5.0), 64).reshape(4, 8, 8)


@pytest.mark.parametrize(
    ("stages", "kind"),
    [
        ([Dense(_RNG.normal(size=(3, 5))), Dense(_RNG.normal(size=(2, 3)))], Dense),
        ([Diagonal(_RNG.normal(size=5)), Dense(_RNG.normal(size=(3, 5))), Diagonal(_RNG.normal(size=3))], Dense),
        ([Diagonal(_RNG.normal(size=5)), Diagonal(_RNG.normal(size=5))], Sparse),
        ([_POOL], Conv2d),
        ([_POOL, _image_conv(4, 6, 4, 3, padding=1)], Conv2d),
        ([_image_conv(2, 4, 8, 3, padding=1), _POOL], Conv2d),
        ([_image_conv(4, 4, 8, 3, padding=1, groups=2), _POOL], Conv2d),
        ([_POOL, Pool((4, 4, 4), (2, 2), (2, 2), 1.0)], Conv2d),
        ([_POOL, Dense(_RNG.normal(size=(3, 64)))], Dense),
        ([_SKEW, Dense(_RNG.normal(size=(3, 48)))], Dense),
        ([Diagonal(_CHANNELS), _POOL, Dense(_RNG.normal(size=(3, 64)))], Dense),
        ([Diagonal(_CHANNELS), _image_conv(4, 6, 8, 3, padding=1, groups=2)], Conv2d),
        ([_image_conv(2, 4, 8, 3, padding=1), Diagonal(_CHANNELS)], Conv2d),
        ([Diagonal(np.full((4, 8, 8), 3.0)), _POOL, Diagonal(np.full((4, 4, 4), 0.5))], Conv2d),
        ([_image_conv(2, 3, 8, 3, stride=2, padding=1), _image_conv(3, 4, 4, 2)], Conv2d),
        ([_image_conv(2, 3, 8, 3), _image_conv(3, 4, 6, 3, padding=1)], Sparse),
        ([_SKEW, _image_conv(4, 2, 4, 3)], Sparse),
        ([Diagonal(_RNG.normal(size=(4, 8, 8))), _image_conv(4, 2, 8, 3)], Sparse),
        ([_image_conv(2, 3, 6, 3), Dense(_RNG.normal(size=(4, 48)))], Dense),
    ],
)  # fmt: skip
def test_a_chain_equals_its_stages_one_after_the_other(stages: list[Stage], kind: type) -> None:
    if isinstance(stages[-1], Conv2d) and stages[0] is _SKEW:
        stages = [_SKEW, Conv2d(_RNG.normal(size=(2, 4, 3, 3)), _SKEW.out_shape, padding=(1, 1))]
    assert all(a.out_size == b.in_size for a, b in pairwise(stages))
    composed = compose(stages, stages[0].in_size)
    assert isinstance(composed, kind)
    for x in _RNG.normal(size=(5, stages[0].in_size)):
        np.testing.assert_allclose(composed.apply(x), _naive(stages, x), rtol=1e-9, atol=1e-9)


def test_no_stage_at_all_connects_each_neuron_to_its_namesake() -> None:
    x = _RNG.normal(size=6)
    composed = compose([], 6)
    assert composed is not None
    np.testing.assert_array_equal(composed.apply(x), x)


def test_a_large_chain_without_closed_form_is_given_up() -> None:
    first = Conv2d(np.ones((4, 1, 3, 3)), (1, 128, 128), padding=(1, 1))
    second = Conv2d(np.ones((4, 4, 3, 3)), (4, 128, 128), padding=(1, 1))
    assert compose([first, second], first.in_size) is None


def test_what_is_left_of_a_chain_says_how_far_each_part_goes() -> None:
    stages: list[Stage] = [
        Diagonal(_CHANNELS),
        _image_conv(4, 4, 8, 3, padding=1),
        _POOL,
        _image_conv(4, 2, 4, 3, padding=1),
        Diagonal(_RNG.normal(size=(2, 4, 4))),
    ]
    chain, ends = reduced(stages)
    assert ends == [2, 4, 5]
    x = _RNG.normal(size=256)
    parts = [joined([stage], stage.in_size) for stage in chain]
    found = x
    for part in parts:
        assert part is not None
        found = part.apply(found)
    np.testing.assert_allclose(found, _naive(stages, x), rtol=1e-9, atol=1e-9)


def test_matrices_whose_product_is_beyond_memory_stay_two() -> None:
    narrow: list[Stage] = [Dense(np.ones((1, 2**14))), Dense(np.ones((2**14, 1)))]
    assert reduced(narrow)[1] == [1, 2]
    assert compose(narrow, 2**14) is None


def test_a_line_is_merged_as_an_image_of_height_one() -> None:
    line = Conv2d(_RNG.normal(size=(3, 2, 1, 3)), (2, 1, 9), (1, 2))
    after = Conv2d(_RNG.normal(size=(2, 3, 1, 2)), (3, 1, 4), dilation=(1, 2))
    composed = compose([line, after], 18)
    assert isinstance(composed, Conv2d)
    assert composed.weights.shape == (2, 2, 1, 7)
    x = _RNG.normal(size=18)
    np.testing.assert_allclose(composed.apply(x), after.apply(line.apply(x)), rtol=1e-9)


@pytest.mark.parametrize(("kernel", "dilation"), [((3, 3), (1, 1)), ((2, 3), (1, 1)), ((4, 2), (1, 3)), ((2, 2), (2, 1)), ((1, 4), (1, 2))])
def test_same_padding_keeps_the_size_and_pads_the_far_edge_more(kernel: tuple[int, int], dilation: tuple[int, int]) -> None:
    weights = _RNG.normal(size=(2, 1, *kernel))
    image = _RNG.normal(size=(1, 7, 6))
    made, padding, spread = padded_same(weights, dilation)
    conv = Conv2d(made, (1, 7, 6), padding=padding, dilation=spread)
    assert conv.out_shape == (2, 7, 6)
    expected = np.zeros((2, 7, 6))
    for i in range(7):
        for j in range(6):
            for a in range(kernel[0]):
                for b in range(kernel[1]):
                    y = i + a * dilation[0] - dilation[0] * (kernel[0] - 1) // 2
                    x = j + b * dilation[1] - dilation[1] * (kernel[1] - 1) // 2
                    if 0 <= y < 7 and 0 <= x < 6:
                        expected[:, i, j] += weights[:, 0, a, b] * image[0, y, x]
    np.testing.assert_allclose(conv.apply(image.ravel()), expected.ravel(), rtol=1e-12, atol=1e-12)
