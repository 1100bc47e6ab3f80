"""The compact lists of TrueNorth's text format: numbers, `"vxN"` (v N times), `"a:b"` and `"a:s:b"` (ranges with their end)."""

from __future__ import annotations

from collections.abc import Sequence
from re import compile as pattern
from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap_truenorth.model.source import MalformedError

__all__ = ["compact", "expand"]

_REPEAT = pattern(r"\s*([+-]?\d{1,18})\s*[xX]\s*(\d{1,18})\s*")
_RANGE = pattern(r"\s*([+-]?\d{1,18})\s*:\s*(?:([+-]?\d{1,18})\s*:\s*)?([+-]?\d{1,18})\s*")
_NUMBER = pattern(r"\s*[+-]?\d{1,18}\s*")
_INT32 = 2**31


def expand(items: Any, most: int) -> Array:
    """Return the numbers that a compact list stands for.

    Args:
        items: the JSON list; a single number or text stands for a list of itself.
        most: numbers that the list may stand for.

    Returns:
        Array: (n,) int64.

    Raises:
        MalformedError: where an item is none of the four forms, a range is empty, a number does not fit in 32 bits (signed) or
            there are more numbers than `most`.
    """
    if not isinstance(items, list):
        items = [items]
    values: list[int] = []
    for item in items:
        if type(item) is int:
            values.append(item)
        elif isinstance(item, str):
            values.extend(_stands_for(item, most - len(values)))
        else:
            raise MalformedError(f"`{_short(item)}` is neither a number nor one of `vxN`, `a:b` and `a:s:b`")
        if len(values) > most:
            raise MalformedError(f"the list has more than {most} numbers")
    if values and not -_INT32 <= min(values) <= max(values) < _INT32:
        raise MalformedError("a number of the list does not fit in 32 bits")
    return np.array(values, np.int64)


def _stands_for(item: str, most: int) -> Sequence[int]:
    numbers: Sequence[int]
    if found := _REPEAT.fullmatch(item):
        value, times = int(found[1]), int(found[2])
        if times > most:
            raise MalformedError(f"`{item}` makes the list longer than it may be")
        numbers = [value] * times
    elif found := _RANGE.fullmatch(item):
        first, last = int(found[1]), int(found[3])
        step = int(found[2]) if found[2] else 1
        if step == 0 or (last - first) * step < 0:
            raise MalformedError(f"the range `{item}` is empty")
        numbers = range(first, last + (1 if step > 0 else -1), step)
        if len(numbers) > most:
            raise MalformedError(f"`{item}` makes the list longer than it may be")
    elif _NUMBER.fullmatch(item):
        numbers = [int(item)]
    else:
        raise MalformedError(f"`{_short(item)}` is none of the forms `vxN`, `a:b` and `a:s:b`")
    return numbers


def _short(item: Any) -> str:
    text = item if isinstance(item, str) else repr(item)
    return text if len(text) <= 40 else text[:37] + "..."


def compact(values: Array) -> list[int | str]:
    """Return the compact list of whole numbers; `expand` gives them back.

    Three or more equal numbers, and three or more in steps of one size, become one item; the longest from the left first.

    Args:
        values: (n,) whole numbers.
    """
    numbers = [int(value) for value in values]
    items: list[int | str] = []
    at = 0
    while at < len(numbers):
        end = at + 1
        if end < len(numbers):
            step = numbers[end] - numbers[at]
            while end < len(numbers) and numbers[end] - numbers[end - 1] == step:
                end += 1
        if end - at < 3:
            items.append(numbers[at])
            at += 1
            continue
        first, last = numbers[at], numbers[end - 1]
        items.append(f"{first}x{end - at}" if step == 0 else f"{first}:{last}" if step == 1 else f"{first}:{step}:{last}")
        at = end
    return items
