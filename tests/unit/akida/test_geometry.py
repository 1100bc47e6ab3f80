"""Which convolutions are the chip's: against a plain-loop reading of the documented arithmetic, and against all kernels there could be."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from nmap.connectivity import Array, Conv2d, Dense, fold_pool
from nmap_akida.geometry import (
    HIDDEN_SIZES,
    Misfit,
    SameKernel,
    as_matrix,
    global_pool,
    image_kernel,
    pool_taps,
    pooled_by_four,
    pooled_window,
    same_kernel,
    separable,
    summed_over_image,
    unpooled,
)


def akida(kernel: Array, stride: int, valid: bool, image: Array) -> Array:
    """Return the chip's convolution of an image (channels, height, width) in plain loops.

    A true convolution, with the kernel flipped on both axes, of the image with TensorFlow's zeros around it.
    """
    flipped = kernel[:, :, ::-1, ::-1]
    size = kernel.shape[2]
    counts, starts = [], []
    for n in image.shape[1:]:
        count = max(0, -(-(n - size + 1) // stride)) if valid else -(-n // stride)
        total = 0 if valid else max((count - 1) * stride + size - n, 0)
        counts.append(count)
        starts.append(total // 2)
    out = np.zeros((kernel.shape[0], *counts), kernel.dtype)
    for f, i, j in product(*(range(n) for n in out.shape)):
        for c, a, b in product(range(image.shape[0]), range(size), range(size)):
            y, x = i * stride - starts[0] + a, j * stride - starts[1] + b
            if 0 <= y < image.shape[1] and 0 <= x < image.shape[2]:
                out[f, i, j] += image[c, y, x] * flipped[f, c, size - 1 - a, size - 1 - b]
    return out


def spanned(conv: Conv2d, ways: list[tuple[int, int, bool]]) -> bool:
    """Return whether any kernel of one channel and one filter computes the same, by solving for its weights."""
    wanted = conv.apply(np.eye(conv.in_size)).T
    for size, stride, valid in ways:
        images = np.eye(conv.in_size).reshape(-1, *conv.in_shape)
        shape = akida(np.zeros((1, 1, size, size)), stride, valid, images[0]).shape
        if shape != conv.out_shape or 0 in shape:
            continue
        kernels = np.eye(size * size).reshape(-1, 1, 1, size, size)
        basis = np.stack([
            np.stack([akida(kernel, stride, valid, image).ravel() for image in images], axis=1).ravel() for kernel in kernels
        ], axis=1)
        found = np.linalg.lstsq(basis, wanted.ravel(), rcond=None)[0]
        if np.abs(basis @ found - wanted.ravel()).max(initial=0) < 1e-9:
            return True
    return False


def random_conv(rng: np.random.Generator, channels: int, filters: int, groups: int = 1, most: int = 9) -> Conv2d | None:
    """Return a convolution with whole-number weights, or None where the kernel is larger than its padded image."""
    kernel, size = rng.integers(1, 8, 2), rng.integers(1, most + 1, 2)
    if rng.random() < 0.7:
        kernel[1] = kernel[0]
    stride = (int(rng.integers(1, 4)),) * 2 if rng.random() < 0.8 else tuple(int(s) for s in rng.integers(1, 4, 2))
    dilation = (1, 1) if rng.random() < 0.7 else tuple(int(d) for d in rng.integers(1, 4, 2))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    padding = tuple(s // 2 for s in spans) if rng.random() < 0.6 else tuple(int(p) for p in rng.integers(0, 4, 2))
    weights = rng.integers(-3, 4, (filters, channels // groups, *kernel)).astype(np.int32)
    if any(n + 2 * p < s for n, p, s in zip(size, padding, spans, strict=True)):
        return None
    return Conv2d(weights, (channels, int(size[0]), int(size[1])), stride, padding, dilation, groups)


@pytest.mark.parametrize("seed", range(8))
def test_a_kernel_of_the_chip_computes_what_the_convolution_does(seed: int) -> None:
    rng = np.random.default_rng([20, seed])
    taken = {"same": 0, "image": 0}
    for _ in range(60):
        groups = int(rng.choice([1, 1, 2]))
        conv = random_conv(rng, 2, 2 * int(rng.integers(1, 3)), groups, 8)
        if conv is None:
            continue
        image = rng.integers(0, 16, conv.in_shape)
        for name, found in (("same", same_kernel(conv)), ("image", image_kernel(conv))):
            if isinstance(found, Misfit):
                continue
            taken[name] += 1
            assert found.kernel.dtype == np.int32
            size, sides = found.kernel.shape[2], found.kernel.shape[2:]
            assert sides == (size, size)
            assert size in ((3, 5, 7) if name == "image" else (1, 3, 5, 7))
            assert name == "image" or (not found.valid and found.stride in ((1, 2) if size == 3 else (1,)))
            out = akida(found.kernel, found.stride, found.valid, image)
            np.testing.assert_array_equal(out.ravel(), conv.apply(image.ravel()))
    assert min(taken.values()) > 2


@pytest.mark.parametrize("seed", range(3))
def test_what_is_refused_no_kernel_of_the_chip_computes(seed: int) -> None:
    rng = np.random.default_rng([21, seed])
    same = [(size, stride, False) for size in HIDDEN_SIZES for stride in ((1, 2) if size == 3 else (1,))]
    image = [(size, stride, valid) for size in (3, 5, 7) for stride in (1, 2, 3) for valid in (False, True)]
    refused = taken = 0
    for _ in range(35):
        conv = random_conv(rng, 1, 1, most=5)
        if conv is None or not conv.with_weights(np.ones_like(conv.weights)).apply(np.ones(conv.in_size)).all():
            # Where padding alone makes an output, its stride does not matter.
            continue
        conv = conv.with_weights(np.abs(conv.weights) + 1)
        even = any((k - 1) * d % 2 for k, d in zip(conv.kernel_size, conv.dilation, strict=True))
        for found, ways in ((same_kernel(conv), same), (image_kernel(conv), image)):
            if isinstance(found, SameKernel):
                taken += 1
                assert spanned(conv, ways)
            elif not even:
                refused += 1
                assert not spanned(conv, ways), conv
    assert refused > 2
    assert taken > 2


@pytest.mark.parametrize(
    ("conv", "rule", "told"),
    [
        (Conv2d(np.ones((1, 1, 2, 2)), (1, 6, 6)), "even_kernel", "2 x 2"),
        (Conv2d(np.ones((1, 1, 4, 4)), (1, 7, 7), padding=(2, 2)), "even_kernel", "4 x 4"),
        (Conv2d(np.arange(4.0).reshape(1, 1, 2, 2), (1, 6, 6), (2, 2)), "even_kernel", "2 x 2"),
        (Conv2d(np.ones((1, 1, 9, 9)), (1, 9, 9), padding=(4, 4)), "kernel", "9 x 9"),
        (Conv2d(np.ones((1, 1, 3, 3)), (1, 9, 9), padding=(4, 4), dilation=(4, 4)), "kernel", "dilation 4 x 4"),
        (Conv2d(np.ones((1, 1, 3, 3)), (1, 9, 9), (3, 3), (1, 1)), "stride", "3 x 3"),
        (Conv2d(np.ones((1, 1, 5, 5)), (1, 9, 9), (2, 2), (2, 2)), "stride", "2 x 2"),
        (Conv2d(np.ones((1, 1, 3, 3)), (1, 9, 9), (2, 1), (1, 1)), "stride", "2 x 1"),
        (Conv2d(np.ones((1, 1, 3, 3)), (1, 9, 9)), "padding", "9 x 9 pixels become 7 x 7"),
        (Conv2d(np.ones((1, 1, 3, 3)), (1, 9, 9), padding=(2, 2)), "padding", "11 x 11"),
        (Conv2d(np.ones((1, 1, 3, 3)), (1, 33, 34), (2, 2), (1, 1)), "alignment", "34 columns"),
        (Conv2d(np.ones((1, 1, 3, 3)), (1, 34, 33), (2, 2), (1, 1)), "alignment", "34 rows"),
    ],
)
def test_refusals_say_what_is_wrong(conv: Conv2d, rule: str, told: str) -> None:
    found = same_kernel(conv)
    assert isinstance(found, Misfit)
    assert found.rule == rule
    assert told in found.reason
    assert found.remedy


def test_a_pool_of_four_is_a_kernel_of_three() -> None:
    pool = Conv2d(np.full((2, 1, 2, 2), 0.25), (2, 6, 4), (2, 2), groups=2)
    found = same_kernel(pool)
    assert isinstance(found, SameKernel)
    assert found.stride == 2
    expected = np.zeros((2, 2, 3, 3))
    expected[0, 0, :2, :2] = expected[1, 1, :2, :2] = 0.25
    np.testing.assert_array_equal(found.kernel, expected)
    np.testing.assert_array_equal(pooled_by_four(pool), [0.25, 0.25])
    mixing = Conv2d(np.ones((2, 2, 2, 2)), (2, 6, 4), (2, 2))
    np.testing.assert_array_equal(pool_taps(mixing), np.ones((2, 2)))
    assert pooled_by_four(mixing) is None
    assert pool_taps(Conv2d(np.arange(4.0).reshape(1, 1, 2, 2), (1, 4, 4), (2, 2))) is None


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("whole", [True, False])
def test_a_connection_behind_a_sum_pool_is_found_again(seed: int, whole: bool) -> None:
    rng = np.random.default_rng([22, seed])
    shape, half = (2, 8, 6), (2, 4, 3)
    kernel = int(rng.choice([1, 3]))
    weights = rng.integers(-7, 8, (3, 2, kernel, kernel)).astype(np.float64)
    matrix = rng.integers(-7, 8, (5, 24)).astype(np.float64)
    factor = 1.0 if whole else 0.25 * rng.random()
    pools = [
        Conv2d(weights, half, padding=(kernel // 2,) * 2),
        Conv2d(weights[:2, :1], half, padding=(kernel // 2,) * 2, groups=2), Dense(matrix),
    ]
    summing = Conv2d(np.ones((2, 1, 2, 2)), shape, (2, 2), groups=2)
    for inner in pools:
        merged = fold_pool(inner, half, shape, (2, 2), (2, 2), factor)
        assert merged is not None
        if whole:
            merged = merged.with_weights(merged.weights.astype(np.int32))
        found = unpooled(merged, shape)
        assert type(found) is type(inner)
        assert found.weights.dtype == merged.weights.dtype
        image = rng.integers(0, 4, shape).ravel()
        np.testing.assert_allclose(found.apply(summing.apply(image)), merged.apply(image), rtol=1e-12, atol=1e-12)


def test_the_windows_of_pools_are_found() -> None:
    for side in (2, 3, 4):
        assert pooled_window(Conv2d(np.ones((2, 1, side, side)), (2, 12, 12), (side, side), groups=2)) == side
    weights = np.arange(1.0, 10.0).reshape(1, 1, 3, 3)
    merged = np.kron(weights, np.ones((3, 3)))
    assert pooled_window(Conv2d(merged, (1, 12, 12), (3, 3), (3, 3))) == 3
    assert pooled_window(Conv2d(weights, (1, 12, 12), (3, 3))) is None
    assert pooled_window(Conv2d(np.ones((1, 1, 3, 3)), (1, 12, 12), (2, 2), (1, 1))) is None
    assert pooled_window(Conv2d(np.zeros((1, 1, 2, 2)), (1, 12, 12), (2, 2))) is None


def test_what_is_no_sum_pool_is_left_alone() -> None:
    rng = np.random.default_rng(23)
    blocks = np.kron(rng.integers(1, 8, (1, 1, 3, 3)), np.ones((2, 2)))
    assert unpooled(Conv2d(blocks, (1, 8, 8), (2, 2), (2, 2)), (1, 8, 8)) is not None
    assert unpooled(Conv2d(blocks, (1, 7, 7), (2, 2), (2, 2)), (1, 7, 7)) is None
    assert unpooled(Conv2d(blocks, (1, 8, 8), (2, 2), (1, 1)), (1, 8, 8)) is None
    assert unpooled(Conv2d(blocks, (1, 8, 8), (1, 1), (2, 2)), (1, 8, 8)) is None
    other = blocks.copy()
    other[0, 0, 5, 5] += 1e-3
    assert unpooled(Conv2d(other, (1, 8, 8), (2, 2), (2, 2)), (1, 8, 8)) is None
    assert unpooled(Dense(rng.random((3, 16))), (1, 4, 4)) is None
    assert unpooled(Dense(np.ones((3, 16))), (16,)) is None


@pytest.mark.parametrize(("size", "stride", "sides"), [(1, 1, (5, 4)), (3, 1, (5, 4)), (5, 1, (6, 6)), (7, 1, (3, 3)), (3, 2, (7, 5))])
@pytest.mark.parametrize("whole", [True, False])
def test_a_sum_over_the_image_is_found_again(size: int, stride: int, sides: tuple[int, int], whole: bool) -> None:
    rng = np.random.default_rng([24, size, stride])
    weights = rng.integers(-7, 8, (3, 2, size, size)).astype(np.int32)
    weights[:, :, 0, 0] = 3
    small = Conv2d(weights if whole else weights * 0.3, (2, *sides), (stride, stride), (size // 2, size // 2))
    merged = summed_over_image(small)
    assert merged.out_shape == (3, 1, 1)
    image = rng.integers(0, 16, small.in_size)
    total = small.apply(image).reshape(3, -1).sum(axis=1)
    np.testing.assert_allclose(merged.apply(image), total, rtol=1e-12)
    found = global_pool(merged)
    assert found is not None
    assert found.weights.dtype == merged.weights.dtype
    chips = same_kernel(found)
    assert isinstance(chips, SameKernel)
    sums = akida(chips.kernel, chips.stride, False, image.reshape(small.in_shape)).reshape(3, -1).sum(axis=1)
    np.testing.assert_allclose(sums, total, rtol=1e-9)
    if whole:
        np.testing.assert_array_equal(summed_over_image(found).weights, merged.weights)


def test_zeros_at_a_kernels_edge_do_not_hide_a_sum_over_the_image() -> None:
    weights = np.zeros((1, 1, 3, 3), np.int32)
    weights[0, 0, 1, :2] = 2, 1
    merged = summed_over_image(Conv2d(weights, (1, 6, 6), padding=(1, 1)))
    found = global_pool(merged)
    assert found is not None
    np.testing.assert_array_equal(summed_over_image(found).apply(np.eye(36)), merged.apply(np.eye(36)))
    assert global_pool(Conv2d(np.arange(36).reshape(1, 1, 6, 6), (1, 6, 6))) is None


@pytest.mark.parametrize("seed", range(4))
def test_a_matrix_computes_what_a_convolution_with_one_pixel_does(seed: int) -> None:
    rng = np.random.default_rng([25, seed])
    found = 0
    while found < 20:
        conv = random_conv(rng, 2, 4, int(rng.choice([1, 2])), 6)
        if conv is not None and conv.out_shape[1:] == (1, 1):
            found += 1
            np.testing.assert_array_equal(as_matrix(conv).apply(np.eye(conv.in_size)), conv.apply(np.eye(conv.in_size)))


@pytest.mark.parametrize("largest", [1, 7])
def test_products_of_whole_numbers_are_factored_within_their_bits(largest: int) -> None:
    rng = np.random.default_rng([26, largest])
    for _ in range(40):
        filters, channels = rng.integers(1, 5, 2)
        depth = rng.integers(-largest, largest + 1, (channels, 3, 3))
        point = rng.integers(-largest, largest + 1, (filters, channels))
        kernel = (point[:, :, None, None] * depth).astype(np.int32)
        found = separable(kernel, largest)
        assert found is not None
        within, across = found
        assert within.dtype == across.dtype == np.int32
        assert max(np.abs(within).max(), np.abs(across).max()) <= largest
        np.testing.assert_array_equal(across[:, :, None, None] * within, kernel)


def test_products_beyond_their_bits_are_refused() -> None:
    kernel = np.zeros((1, 1, 3, 3), np.int32)
    kernel[0, 0, 0, :2] = 1, 8
    assert separable(kernel, 7) is None
    kernel[0, 0, 0, :2] = 11, 22
    assert separable(kernel, 7) is None
    kernel[0, 0, 0, :2] = 14, 28
    within, across = separable(kernel, 7) or (None, None)
    assert within is not None
    assert across is not None
    np.testing.assert_array_equal(within[0, 0] * across[0, 0], [14, 28, 0])


def test_real_products_are_factored_and_others_are_not() -> None:
    rng = np.random.default_rng(27)
    depth, point = rng.normal(size=(4, 5, 5)), rng.normal(size=(6, 4))
    depth[2] = 0
    kernel = point[:, :, None, None] * depth
    found = separable(kernel)
    assert found is not None
    within, across = found
    np.testing.assert_allclose(across[:, :, None, None] * within, kernel, rtol=1e-12)
    np.testing.assert_allclose(np.abs(within).reshape(4, -1).max(axis=1), [1, 1, 0, 1])
    kernel[1, 3, 2, 2] *= 1.001
    assert separable(kernel) is None
