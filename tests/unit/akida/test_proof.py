"""The bounds of a layer's sums against all inputs there are, in all orders of small ones."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from nmap_akida.proof import LIMIT, divisors, ends, separable_divisors, separable_ends


def test_the_limit_is_the_first_sum_that_20_bits_do_not_hold() -> None:
    assert LIMIT == 524288


@pytest.mark.parametrize("seed", range(6))
def test_ends_are_the_farthest_sums_on_any_way(seed: int) -> None:
    rng = np.random.default_rng([95, seed])
    row = rng.integers(-7, 8, 5)
    up, down = ends(row[None])
    reached = set()
    for x in product((0, 1), repeat=5):
        for order in permutations(range(5)):
            total = 0
            for k in order:
                total += int(row[k]) * x[k]
                reached.add(total)
    assert (max(*reached, 0), -min(*reached, 0)) == (up[0], down[0])


@pytest.mark.parametrize("seed", range(6))
def test_separable_ends_are_those_of_the_products(seed: int) -> None:
    rng = np.random.default_rng([96, seed])
    depth, point = rng.integers(-7, 8, (3, 9)), rng.integers(-7, 8, (4, 3))
    kernel = np.stack([np.concatenate([point[f, c] * depth[c] for c in range(3)]) for f in range(4)])
    for mine, wanted in zip(separable_ends(depth, point), ends(kernel), strict=True):
        assert mine.tolist() == wanted.tolist()
    # What a channel alone adds up to never exceeds the sum over channels where a filter uses it.
    single = np.maximum(*ends(depth))
    assert (np.maximum(*ends(kernel)) >= (single * (point != 0)).max(1)).all()


def test_sums_are_multiples_of_their_divisor() -> None:
    assert divisors(np.array([[6, -4, 0], [0, 0, 0], [7, -3, 1], [-50, 100, 25]])).tolist() == [2, 1, 1, 25]
    depth, point = np.array([[2, 4], [-6, 0], [0, 0]]), np.array([[3, 1, 5], [0, 2, 1], [0, 0, 1]])
    # 3 * 2 and 6; twice 6; only zeros.
    assert separable_divisors(depth, point).tolist() == [6, 12, 1]
