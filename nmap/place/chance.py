"""Random numbers of the compiled searches: the same from the same seed on every machine."""

from __future__ import annotations

from math import log

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array

__all__ = ["CHANCES", "next_number", "seeded"]

# -ln of evenly spaced numbers, rounded so that the last place of a platform's logarithm does not matter: a move that costs `delta` more
# is taken when `delta` <= temperature x a random entry, which is Metropolis' rule.
CHANCES = np.array([round(-log((k + 0.5) / 4096) * 2**20) / 2**20 for k in range(4096)])


def seeded(seed: int) -> Array:
    """Return the state of a generator, (1,) uint64, never zero."""
    return np.array([(seed * 0x9E3779B97F4A7C15 + 0xD1B54A32D192ED03) % 2**64 or 1], np.uint64)


@compiled(inline="always")
def next_number(state):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return a random number below 2^31, int64, and move the state on."""
    # xorshift64* (Marsaglia 2003, Vigna 2016)
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return np.int64((x * np.uint64(2685821657736338717)) >> np.uint64(33))
