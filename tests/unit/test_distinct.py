"""Distinct values against Python's sets."""

from __future__ import annotations

import numpy as np
import pytest

from nmap.distinct import distinct


@pytest.mark.parametrize("values", [[], [3], [2, 2, 2], [5, -1, 5, 0, -1], list(range(100, 0, -1)), [-(1 << 62), 1 << 62, 0]])
@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.int32])
def test_distinct_values_ascend(values, dtype):
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    values = [min(max(value, int(low)), int(high)) for value in values]
    found = distinct(np.array(values, dtype))
    assert found.dtype == dtype
    assert found.tolist() == sorted(set(values))
