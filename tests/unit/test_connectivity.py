"""Connections: every form computes the same as plain loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.connectivity import Conv2d, Dense, Sparse, fold_pool


@st.composite
def convolutions(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    groups = draw(st.sampled_from([1, 2]))
    out, within = groups * draw(st.integers(1, 2)), draw(st.integers(1, 2))
    kernel = rng.integers(-3, 4, (out, within, draw(st.integers(1, 3)), draw(st.integers(1, 3))))
    pair = st.tuples(st.integers(1, 2), st.integers(1, 2))
    shape = (kernel.shape[1] * groups, draw(st.integers(5, 7)), draw(st.integers(5, 7)))
    return Conv2d(kernel.astype(float), shape, draw(pair), draw(st.tuples(st.integers(0, 2), st.integers(0, 2))), draw(pair), groups)


def plain(conv, x):
    """The definition, loop by loop."""
    image, (c_out, h, w) = x.reshape(conv.in_shape), conv.out_shape
    out = np.zeros(conv.out_shape)
    per_in, per_out = conv.in_shape[0] // conv.groups, c_out // conv.groups
    for o in range(c_out):
        for y in range(h):
            for z in range(w):
                for c in range(per_in):
                    for i in range(conv.weights.shape[2]):
                        for j in range(conv.weights.shape[3]):
                            a = y * conv.stride[0] - conv.padding[0] + i * conv.dilation[0]
                            b = z * conv.stride[1] - conv.padding[1] + j * conv.dilation[1]
                            if 0 <= a < image.shape[1] and 0 <= b < image.shape[2]:
                                out[o, y, z] += conv.weights[o, c, i, j] * image[o // per_out * per_in + c, a, b]
    return out.ravel()


@settings(max_examples=40, deadline=None)
@given(convolutions(), st.integers(0, 99))
def test_convolution_and_its_list_equal_the_definition(conv, seed):
    x = np.random.default_rng(seed).integers(0, 3, conv.in_size).astype(float)
    expected = plain(conv, x)
    np.testing.assert_array_equal(conv.apply(x), expected)
    listed = conv.unrolled()
    np.testing.assert_array_equal(listed.apply(x), expected)
    assert listed.synapses <= conv.synapses
    high, low = conv.row_sums()
    assert (high >= listed.row_sums()[0]).all()
    assert (low <= listed.row_sums()[1]).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999))
def test_sparse_and_dense_agree(seed):
    rng = np.random.default_rng(seed)
    w = rng.integers(-5, 6, (7, 9)) * (rng.random((7, 9)) < 0.4)
    x = rng.integers(0, 4, (3, 9))
    np.testing.assert_array_equal(Sparse.from_dense(w).apply(x), Dense(w).apply(x))
    np.testing.assert_array_equal(Sparse.from_dense(w).row_sums(), Dense(w).row_sums())


@settings(max_examples=60, deadline=None)
@given(convolutions(), st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(0, 99))
def test_a_folded_pool_equals_pool_then_connection(conv, kernel, stride, extra, seed):
    """Where folding is refused nothing is claimed; where it is done it is exact."""
    pooled = conv.in_shape
    shape = (pooled[0], *((p - 1) * stride + kernel + min(extra, stride - 1) for p in pooled[1:]))
    x = np.random.default_rng(seed).integers(0, 3, int(np.prod(shape))).astype(float)
    window = Conv2d(np.full((shape[0], 1, kernel, kernel), 0.25), shape, (stride, stride), groups=shape[0])
    assert window.out_shape == pooled
    dense = Dense(np.random.default_rng(seed).integers(-3, 4, (4, conv.in_size)).astype(float))
    folded = fold_pool(dense, pooled, shape, (kernel, kernel), (stride, stride), 0.25)
    np.testing.assert_allclose(folded.apply(x), dense.apply(window.apply(x)))
    folded = fold_pool(conv, pooled, shape, (kernel, kernel), (stride, stride), 0.25)
    if folded is not None:
        np.testing.assert_allclose(folded.apply(x), conv.apply(window.apply(x)))
