"""Numbers of SpiNNaker 2's neurons: float32, kept as their 32 bits."""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array

__all__ = ["below", "bits", "real"]


def bits(values: Array) -> Array:
    """Return the 32 bits of real numbers rounded to float32, as int64 of the same shape; a negative number's are negative."""
    return np.asarray(values, np.float64).astype(np.float32).view(np.int32).astype(np.int64)


def real(words: Array) -> Array:
    """Return the float32 numbers of 32 bits each, of the same shape; bits above are left out."""
    return np.asarray(words, np.int64).astype(np.int32).view(np.float32)


def below(values: Array) -> Array:
    """Return the largest float32 below each real number, float64: `v > below(x)` holds for a float32 v where `v >= x` does."""
    near = np.asarray(values, np.float64).astype(np.float32)
    lower = np.nextafter(near, np.float32(-np.inf))
    return np.where(near >= values, lower, near).astype(np.float64)
