"""A walk through all slots along a Hilbert-like curve: neighbours on the walk are neighbours on the chip."""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array

__all__ = ["curve", "curve_order"]


def _sign(x: int) -> int:
    return (x > 0) - (x < 0)


def curve(width: int, height: int) -> Array:
    """Return (width * height, 2) int64: every cell of a rectangle once, (0, 0) first, along a generalised Hilbert curve.

    A rectangle is halved along its longer side, or cut in three parts (up, across, down) where it is not much longer than wide, until it is
    one cell thick. Consecutive cells are neighbours, at most diagonal ones (where a side is odd).
    """
    cells: list[tuple[int, int]] = []
    # (x, y), then the two side vectors: the walk's main direction and the direction across.
    stack = [(0, 0, width, 0, 0, height)] if width >= height else [(0, 0, 0, height, width, 0)]
    while stack:
        x, y, ax, ay, bx, by = stack.pop()
        long, across = abs(ax + ay), abs(bx + by)
        dax, day, dbx, dby = _sign(ax), _sign(ay), _sign(bx), _sign(by)
        if across == 1:
            cells.extend((x + k * dax, y + k * day) for k in range(long))
            continue
        if long == 1:
            cells.extend((x + k * dbx, y + k * dby) for k in range(across))
            continue
        # Halves toward zero, so that a part keeps its direction.
        hax, hay, hbx, hby = int(ax / 2), int(ay / 2), int(bx / 2), int(by / 2)
        if 2 * long > 3 * across:
            if abs(hax + hay) % 2 and long > 2:
                hax, hay = hax + dax, hay + day
            stack.append((x + hax, y + hay, ax - hax, ay - hay, bx, by))
            stack.append((x, y, hax, hay, bx, by))
        else:
            if abs(hbx + hby) % 2 and across > 2:
                hbx, hby = hbx + dbx, hby + dby
            stack.append((x + (ax - dax) + (hbx - dbx), y + (ay - day) + (hby - dby), -hbx, -hby, -(ax - hax), -(ay - hay)))
            stack.append((x + hbx, y + hby, ax, ay, bx - hbx, by - hby))
            stack.append((x, y, hbx, hby, hax, hay))
    return np.array(cells, np.int64).reshape(-1, 2)


def curve_order(slots: Array) -> Array:
    """Return the slots, (slots, 2) (x, y), as an order of their indices along the curve through their bounding box."""
    low = slots.min(0)
    width, height = (int(v) for v in slots.max(0) - low + 1)
    cells = curve(width, height)
    rank = np.empty((width, height), np.int64)
    rank[cells[:, 0], cells[:, 1]] = np.arange(cells.shape[0])
    at = slots - low
    return np.argsort(rank[at[:, 0], at[:, 1]], kind="stable")
