"""Compact lists of TrueNorth's text format."""

from __future__ import annotations

import numpy as np
import pytest

from nmap_truenorth.model.lists import compact, expand
from nmap_truenorth.model.source import MalformedError


@pytest.mark.parametrize(
    ("items", "numbers"),
    [
        ([], []),
        ([5, -2], [5, -2]),
        (["-2x4"], [-2, -2, -2, -2]),
        (["0:3"], [0, 1, 2, 3]),
        (["-2:1"], [-2, -1, 0, 1]),
        (["231:4:243", 0], [231, 235, 239, 243, 0]),
        (["28:-11:6"], [28, 17, 6]),
        (["5:3:9"], [5, 8]),
        (["-33:-1:-35"], [-33, -34, -35]),
        (["7:7"], [7]),
        (["3x0", 1], [1]),
        ([" 1 x 2 ", "4 : 5"], [1, 1, 4, 5]),
        (["12"], [12]),
        ("0:2", [0, 1, 2]),
        (4, [4]),
    ],
)
def test_each_form_stands_for_its_numbers(items: object, numbers: list[int]) -> None:
    """Numbers, repeats and ranges with their end, as the files of IBM's tools have them."""
    assert expand(items, 256).tolist() == numbers


@pytest.mark.parametrize(
    "items",
    [
        ["3:1"],
        ["1:-1:3"],
        ["1:0:3"],
        ["1:2:3:4"],
        ["x3"],
        ["2x"],
        ["2x-1"],
        ["1.5"],
        [1.5],
        [True],
        [None],
        [[1]],
        ["N01"],
        [""],
        [2**31],
        ["1x256", 2],
    ],
)
def test_what_is_no_list_is_refused(items: list[object]) -> None:
    """Empty ranges, other texts and lists that are too long say so."""
    with pytest.raises(MalformedError):
        expand(items, 256)


@pytest.mark.parametrize("item", ["1x999999999999999999", "0:999999999999999999", "5x257", "0:256", "9" * 4000])
def test_no_item_makes_a_list_of_more_than_its_limit(item: str) -> None:
    """A few letters cannot ask for memory."""
    with pytest.raises(MalformedError):
        expand([item], 256)


@pytest.mark.parametrize(
    ("numbers", "items"),
    [
        ([], []),
        ([4], [4]),
        ([1, 1], [1, 1]),
        ([1, 1, 1], ["1x3"]),
        ([0, 1, 2, 3], ["0:3"]),
        ([10, 7, 4], ["10:-3:4"]),
        ([3, 7, 11, 0, 0, 0, 0], ["3:4:11", "0x4"]),
        ([5, 9, 9, 9, 1], [5, "9x3", 1]),
    ],
)
def test_runs_of_three_become_one_item(numbers: list[int], items: list[int | str]) -> None:
    """Shorter runs stay numbers, as in the files of IBM's tools."""
    assert compact(np.array(numbers)) == items
