from __future__ import annotations

import numpy as np
import pytest

from nmap.connectivity import Conv2d, Dense, Sparse
from nmap.partition.routes import sources_of
from nmap.program import box_indices
from tests.unit.partition.fake import adjacency


@pytest.mark.parametrize("conv", [
    Conv2d(np.ones((4, 2, 3, 3), np.int32), (2, 8, 7), padding=(1, 1)),
    Conv2d(np.ones((4, 2, 3, 3), np.int32), (2, 9, 9), stride=(2, 2)),
    Conv2d(np.ones((4, 1, 3, 2), np.int32), (4, 8, 7), groups=4, padding=(2, 0)),
    Conv2d(np.ones((6, 2, 1, 1), np.int32), (4, 5, 5), groups=2),
])
def test_halo_is_exactly_what_a_tile_listens_to(conv):
    c, h, w = conv.out_shape
    for box in [((0, c), (0, h), (0, w)), ((1, 2), (1, 3), (0, w)), ((0, c), (h - 1, h), (w - 2, w)), ((c - 1, c), (0, 1), (0, 1))]:
        halo = sources_of(conv, conv.in_shape, conv.out_shape, box)
        needed = np.flatnonzero(adjacency(conv)[box_indices(box, conv.out_shape)].any(0))
        assert np.array_equal(np.sort(box_indices(halo, conv.in_shape)), needed)


def test_a_dilated_halo_covers_what_a_tile_listens_to():
    conv = Conv2d(np.ones((1, 1, 3, 3), np.int32), (1, 9, 9), dilation=(2, 3))
    halo = box_indices(sources_of(conv, conv.in_shape, conv.out_shape, ((0, 1), (1, 2), (0, 1))), conv.in_shape)
    needed = np.flatnonzero(adjacency(conv)[box_indices(((0, 1), (1, 2), (0, 1)), conv.out_shape)].any(0))
    assert set(needed) <= set(halo.tolist())
    assert halo.size == 5 * 7


def test_sparse_rows_name_their_distinct_sources():
    matrix = np.zeros((6, 5), np.int32)
    matrix[1, [0, 3]] = matrix[2, 3] = matrix[5, 4] = 1
    sparse = Sparse.from_dense(matrix)
    assert sources_of(sparse, (5,), (6,), ((1, 3),)).tolist() == [0, 3]
    assert sources_of(sparse, (5,), (6,), ((0, 1),)).tolist() == []
    # Two channels of one pixel row: rows 1 and 4 of the (2, 3) population.
    assert sources_of(sparse, (5,), (2, 3), ((0, 2), (2, 3))).tolist() == [3, 4]


def test_dense_needs_all():
    assert sources_of(Dense(np.ones((3, 12), np.int32)), (3, 4), (3,), ((1, 2),)) == ((0, 3), (0, 4))
