from __future__ import annotations

from itertools import pairwise
from math import prod

import numpy as np
import pytest

from nmap.connectivity import Connectivity, Conv2d, Dense, Sparse
from nmap.readers.linear import Diagonal, Pool, Stage, effort, joined, padded_same, reduced, room

_RNG = np.random.default_rng(0)


class _Purse:
    """An allowance of so many steps and bytes."""

    def __init__(self, work: float = float("inf"), size: float = float("inf")) -> None:
        self.work, self.size, self.most = work, size, 0.0
        self._first = size

    def spare(self, work: int, size: int) -> bool:
        assert work >= 0
        assert size >= 0
        if work > self.work or size > self.size:
            return False
        self.work, self.size = self.work - work, self.size - size
        self.most = max(self.most, self._first - self.size)
        return True

    def release(self, work: int, size: int) -> None:
        self.work, self.size = self.work + work, self.size + size


def _composed(stages: list[Stage], size: int) -> Connectivity | None:
    return joined(reduced(stages, _Purse())[0], size, _Purse())


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
    composed = _composed(stages, stages[0].in_size)
    assert isinstance(composed, kind)
    for x in _RNG.normal(size=(5, stages[0].in_size)):
        np.testing.assert_allclose(composed.apply(x), _naive(stages, x), rtol=1e-9, atol=1e-9)


def test_no_stage_at_all_connects_each_neuron_to_its_namesake() -> None:
    x = _RNG.normal(size=6)
    composed = _composed([], 6)
    assert composed is not None
    np.testing.assert_array_equal(composed.apply(x), x)


def test_a_large_chain_without_closed_form_is_given_up() -> None:
    first = Conv2d(np.ones((4, 1, 3, 3)), (1, 128, 128), padding=(1, 1))
    second = Conv2d(np.ones((4, 4, 3, 3)), (4, 128, 128), padding=(1, 1))
    assert _composed([first, second], first.in_size) is None


def test_what_is_left_of_a_chain_says_how_far_each_part_goes() -> None:
    stages: list[Stage] = [
        Diagonal(_CHANNELS),
        _image_conv(4, 4, 8, 3, padding=1),
        _POOL,
        _image_conv(4, 2, 4, 3, padding=1),
        Diagonal(_RNG.normal(size=(2, 4, 4))),
    ]
    chain, ends = reduced(stages, _Purse())
    assert ends == [2, 4, 5]
    x = _RNG.normal(size=256)
    parts = [joined([stage], stage.in_size, _Purse()) for stage in chain]
    found = x
    for part in parts:
        assert part is not None
        found = part.apply(found)
    np.testing.assert_allclose(found, _naive(stages, x), rtol=1e-9, atol=1e-9)


def test_matrices_whose_product_is_beyond_memory_stay_two() -> None:
    narrow: list[Stage] = [Dense(np.ones((1, 2**14))), Dense(np.ones((2**14, 1)))]
    assert reduced(narrow, _Purse())[1] == [1, 2]
    assert _composed(narrow, 2**14) is None


def test_a_line_is_merged_as_an_image_of_height_one() -> None:
    line = Conv2d(_RNG.normal(size=(3, 2, 1, 3)), (2, 1, 9), (1, 2))
    after = Conv2d(_RNG.normal(size=(2, 3, 1, 2)), (3, 1, 4), dilation=(1, 2))
    composed = _composed([line, after], 18)
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


_BIG = 500_000
_HEAVY: list[list[Stage]] = [
    [Pool((1, 4000, 4000), (2000, 2000), (1, 1), 1.0), Pool((1, 2001, 2001), (2000, 2000), (1, 1), 1.0)],
    [Pool((1, 2000, 2000), (1000, 1000), (1, 1), 1e-6), Dense(np.ones((1, 1001 * 1001)))],
    [Conv2d(np.ones((1, 1, 900, 900)), (1, 2000, 2000)), Conv2d(np.ones((1, 1, 900, 900)), (1, 1101, 1101))],
    [Conv2d(np.ones((1, 1, 3, 3)), (1, 3000, 3000)), Pool((1, 2998, 2998), (1000, 1000), (1, 1), 1.0)],
    [Dense(np.ones((2, 4000))), Dense(np.ones((4000, 2)))],
]


@pytest.mark.parametrize("stages", _HEAVY)
def test_what_takes_too_much_work_stays_apart(stages: list[Stage]) -> None:
    purse = _Purse(work=_BIG)
    chain, ends = reduced(stages, purse)
    assert len(chain) > 1
    assert ends[-1] == len(stages)
    # What was refused was not paid for.
    assert len(chain) < len(stages) or purse.work == _BIG


def test_a_large_expansion_stays_apart() -> None:
    conv = Conv2d(np.ones((1, 1, 63, 63)), (1, 64, 64), padding=(31, 31))
    chain: list[Stage] = [conv, Diagonal(_RNG.normal(size=(1, 64, 64))), conv]
    assert len(reduced(chain, _Purse())[0]) == 3
    assert joined(chain, 4096, _Purse(work=2**32)) is None


def test_a_pair_without_closed_form_is_not_paid_for() -> None:
    stages: list[Stage] = [_SKEW, _image_conv(4, 2, 4, 3)]
    purse = _Purse(1e9, 1e9)
    assert len(reduced([_SKEW, Conv2d(np.ones((2, 4, 3, 3)), (4, 4, 3), padding=(1, 1))], purse)[0]) == 2
    assert (purse.work, purse.size) == (1e9, 1e9)
    assert len(reduced([*stages[:1], Conv2d(np.ones((1, 12, 1, 1)), (12, 2, 2))], purse)[0]) == 2
    assert (purse.work, purse.size) == (1e9, 1e9)


def test_memory_of_what_is_merged_again_is_given_back() -> None:
    stages: list[Stage] = [Dense(np.ones((64, 64))) for _ in range(12)]
    purse = _Purse(size=1e9)
    (only,), _ = reduced(stages, purse)
    assert isinstance(only, Dense)
    assert purse.size == 1e9 - 8 * 64 * 64
    assert purse.most == 2 * 8 * 64 * 64


def test_memory_limits_what_is_merged() -> None:
    outer: list[Stage] = [Dense(np.ones((1, 1000))), Dense(np.ones((1000, 1)))]
    assert len(reduced(outer, _Purse(size=7_999_999))[0]) == 2
    assert len(reduced(outer, _Purse(size=8_000_000))[0]) == 1


@pytest.mark.parametrize(
    ("stages", "rows"),
    [
        ([Diagonal(np.ones(7))], 3),
        ([Dense(np.ones((100, 300)))], 2),
        ([_image_conv(2, 4, 16, 3, padding=1, groups=2)], 5),
        ([Pool((3, 16, 16), (4, 4), (1, 1), 1.0)], 1),
    ],
)
def test_effort_covers_the_products_and_the_arrays(stages: list[Stage], rows: int) -> None:
    (stage,) = stages
    steps, size = effort(stages, rows)
    if isinstance(stage, Pool):
        products, arrays = prod(stage.kernel) * stage.out_size * rows, rows * stage.in_size
    elif isinstance(stage, Conv2d):
        products, arrays = stage.synapses * rows, rows * stage.in_size
    else:
        products, arrays = rows * (stage.out_size if isinstance(stage, Diagonal) else stage.synapses), rows * stage.in_size
    assert steps >= products // 8
    assert size >= 8 * arrays


def test_room_is_what_a_single_stage_becomes() -> None:
    pool = Pool((3, 16, 16), (4, 4), (1, 1), 1.0)
    assert room([pool], 768) == pool.conv.weights.nbytes
    assert room([Dense(np.ones((2, 3)))], 3) == 0
    sparse = joined([], 50, _Purse())
    assert isinstance(sparse, Sparse)
    assert room([], 50) >= sparse.weights.nbytes + sparse.indices.nbytes + sparse.indptr.nbytes - 8
    assert room([Diagonal(np.ones(50))], 50) == room([], 50)


def test_a_long_chain_is_reduced_in_linear_time() -> None:
    conv = Conv2d(np.ones((1, 1, 3, 3)), (1, 3, 3), padding=(1, 1))
    odd = Diagonal(np.arange(1.0, 10.0).reshape(1, 3, 3))
    # Half of the chain merges, half has no closed form: a merge must not look at all of the rest again.
    stages: list[Stage] = [*([Dense(np.eye(9))] * 4000), *([conv, odd] * 2000)]
    calls = 0

    class Counting(_Purse):
        def spare(self, work: int, size: int) -> bool:
            nonlocal calls
            calls += 1
            return super().spare(work, size)

    chain, ends = reduced(stages, Counting())
    assert len(chain) == 4001
    assert ends[0] == 4000
    assert calls < 3 * len(stages)


@pytest.mark.parametrize("seed", range(40))
def test_stages_that_a_reshape_lies_between_are_not_merged_as_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    c, h, w = (int(n) for n in rng.integers(1, 5, 3))
    kernel = int(rng.integers(1, h + 1)), int(rng.integers(1, w + 1))
    stride = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    first: Stage = (
        Pool((c, h, w), kernel, stride, 1.0)
        if rng.random() < 0.5
        else Conv2d(rng.integers(-3, 4, (2, c, *kernel)).astype(float), (c, h, w), stride)
    )
    channels, height, width = first.out_shape
    shape = (channels, 1, height * width) if rng.random() < 0.5 else (channels * height, 1, width)
    taps = int(rng.integers(1, shape[2] + 1))
    kernels = rng.integers(-3, 4, (2, shape[0], 1, taps)).astype(float)
    second: Stage = Pool(shape, (1, taps), (1, 1), 1.0) if rng.random() < 0.3 else Conv2d(kernels, shape)
    found = _composed([first, second], first.in_size)
    assert found is not None
    for x in rng.integers(0, 3, (4, first.in_size)):
        np.testing.assert_array_equal(found.apply(x), _naive([first, second], x))


def _pair(rng: np.random.Generator, single: bool) -> tuple[Conv2d, Conv2d]:
    """Two convolutions in a row, of any groups, strides and dilations; with `single` the first has one tap and the second pads."""
    groups, parts = (int(n) for n in rng.choice([1, 2, 3], 2))
    channels, middle = groups * int(rng.integers(1, 3)), groups * parts * int(rng.integers(1, 3))
    outer = parts * int(rng.integers(1, 3))
    if rng.random() < 0.3:
        parts = outer = middle
    taps = (1, 1) if single else tuple(rng.integers(1, 4, 2).tolist())
    side = tuple(rng.integers(7, 10, 2).tolist())

    def two(high: int, low: int = 1) -> tuple[int, int]:
        height, width = rng.integers(low, high + 1, 2).tolist()
        return height, width

    first = Conv2d(
        rng.integers(-3, 4, (middle, channels // groups, *taps)).astype(float), (channels, *side), two(2), two(1, 0), two(2), groups,
    )
    second = Conv2d(
        rng.integers(-3, 4, (outer, middle // parts, *two(2))).astype(float), first.out_shape, two(2), two(2, 0) if single else (0, 0),
        two(2), parts,
    )
    return first, second


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("seed", range(60))
def test_two_convolutions_are_one_where_that_is_exact(seed: int, single: bool) -> None:
    rng = np.random.default_rng(seed)
    first, second = _pair(rng, single)
    chain, _ = reduced([first, second], _Purse())
    depthwise = second.groups == second.weights.shape[0] == second.in_shape[0]
    assert (len(chain) == 1) is (depthwise or 1 in (first.groups, second.groups))
    if len(chain) == 1:
        (merged,) = chain
        assert isinstance(merged, Conv2d)
        assert merged.groups == (first.groups if depthwise else 1)
        for x in rng.integers(-2, 3, (3, first.in_size)):
            np.testing.assert_array_equal(merged.apply(x), second.apply(first.apply(x)))


def test_a_separable_convolution_is_one_kernel_of_the_products() -> None:
    """By hand: output channel f sees input channel c by pointwise[f, c] times the channel's own kernel."""
    depthwise = Conv2d(np.array([[[[1.0, 2.0, 3.0]]], [[[4.0, 5.0, 6.0]]]]), (2, 1, 5), padding=(0, 1), groups=2)
    pointwise = Conv2d(np.array([[10.0, 1.0], [0.0, -1.0], [2.0, 0.0]]).reshape(3, 2, 1, 1), (2, 1, 5))
    ((merged,), ends) = reduced([depthwise, pointwise], _Purse())
    assert isinstance(merged, Conv2d)
    assert (merged.groups, merged.padding, merged.out_shape, ends) == (1, (0, 1), (3, 1, 5), [2])
    expected = [[[10, 20, 30], [4, 5, 6]], [[0, 0, 0], [-4, -5, -6]], [[2, 4, 6], [0, 0, 0]]]
    np.testing.assert_array_equal(merged.weights[:, :, 0], expected)


def test_what_a_second_convolution_pads_keeps_it_apart_unless_the_first_has_one_tap() -> None:
    narrow, padded = Conv2d(np.ones((1, 1, 1, 3)), (1, 1, 40)), Conv2d(np.ones((1, 1, 1, 3)), (1, 1, 38), padding=(0, 1))
    assert len(reduced([narrow, padded], _Purse())[0]) == 2
    # Along the other axis, where neither pads, a kernel of several taps may be the first.
    tall = Conv2d(np.ones((1, 1, 3, 1)), (1, 6, 9))
    across = Conv2d(np.ones((1, 1, 1, 3)), (1, 4, 9), padding=(0, 1))
    ((merged,), _) = reduced([tall, across], _Purse())
    x = np.arange(54.0)
    np.testing.assert_array_equal(merged.apply(x), across.apply(tall.apply(x)))


def test_merging_a_separable_convolution_is_paid_for() -> None:
    depthwise = Conv2d(np.ones((64, 1, 3, 3)), (64, 8, 8), padding=(1, 1), groups=64)
    pointwise = Conv2d(np.ones((128, 64, 1, 1)), (64, 8, 8))
    purse = _Purse(size=1e9)
    ((merged,), _) = reduced([depthwise, pointwise], purse)
    assert isinstance(merged, Conv2d)
    assert merged.weights.nbytes == 1e9 - purse.size == 8 * 128 * 64 * 9
    assert len(reduced([depthwise, pointwise], _Purse(size=8 * 128 * 64 * 9 - 1))[0]) == 2
    # Each of the 128 * 64 * 9 new weights is one product.
    assert len(reduced([depthwise, pointwise], _Purse(work=128 * 64 * 9 - 1))[0]) == 2
