"""Lava's fixed-point arithmetic in plain numpy, for the reference steps and for what the compiled steps have prepared of parameters.

The compiled steps have arithmetic of their own. All functions take and return int64 arrays, whatever the width they compute in, unless
they say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nmap.connectivity import Array

__all__ = ["factors", "saturate", "scale", "scaled_bias", "shift_left", "shift_right", "toward_zero", "words", "wrap24_once", "wrap32"]

_HALF = 1 << 23


def wrap32(values: Array) -> Array:
    """Return what a 32-bit two's complement register keeps."""
    return values.astype(np.int32).astype(np.int64)


def wrap24_once(values: Array) -> Array:
    """Return values moved by 2^24 once where they leave (-2^23, 2^23]."""
    return values + 2 * _HALF * ((values <= -_HALF).astype(np.int64) - (values > _HALF))


def saturate(values: Array) -> Array:
    """Return values clipped to +-(2^23 - 1)."""
    return np.clip(values, 1 - _HALF, _HALF - 1)


def toward_zero(product: Array, bits: Array | int = 12) -> Array:
    """Return product / 2^bits, the fraction cut off."""
    return np.sign(product) * (np.abs(product) >> np.minimum(bits, 63))


def shift_left(values: Array, bits: Array) -> Array:
    """Return values << bits in 32 bits as numpy computes it: nothing is left of a shift by a negative number or by 32 and more."""
    shifted = wrap32(values << np.clip(bits, 0, 31))
    return np.where((bits >= 0) & (bits < 32), shifted, 0)


def shift_right(values: Array, bits: Array) -> Array:
    """Return values >> bits in 32 bits as numpy computes it: the sign is left of a shift by a negative number or by 32 and more."""
    return np.where((bits >= 0) & (bits < 32), values >> np.clip(bits, 0, 31), -(values < 0).astype(np.int64))


def scaled_bias(params: Mapping[str, Array]) -> Array:
    """Return bias_mant 2^bias_exp (rounded down), both of 16 bits, the result of 32."""
    mantissa, exponent = (params[name].astype(np.int16).astype(np.int64) for name in ("bias_mant", "bias_exp"))
    return np.where(exponent >= 0, shift_left(mantissa, exponent), shift_right(mantissa, -exponent))


def scale(bits: Array) -> Array:
    """Return what `shift_left` multiplies by in 32 bits."""
    return shift_left(np.ones_like(bits), bits)


def factors(*kept: Array) -> list[Array]:
    """Return factors of decays, in 1/4096, that the compiled steps can multiply by.

    Raises:
        ValueError: one of them is beyond +-2^19; fields of the chip hold 0 to 2^12.
    """
    if any((np.abs(factor) > 1 << 19).any() for factor in kept):
        raise ValueError(f"a decay keeps more than {1 << 19} / 4096 of what it works on")
    return list(kept)


def words(*rows: Array) -> Array:
    """Return rows of (n,) integers of 32 bits as (rows, n) int32."""
    return np.array(rows).astype(np.int32)
