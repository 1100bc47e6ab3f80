"""SpiNNaker 1's numbers, as sPyNNaker 7.4.1's cores and host compute them, on whole arrays.

A real number is an accum: s16.15 in 32 bits, "raw" here, an int64 that holds value times 32768. Accums wrap in two's complement. Decay
factors are u0.32: raw is value times 2^32. Nothing saturates but the ring buffer's slots and the exponential.

Sources: `neural_modelling/src/common/maths-util.h` (kdivk), `neuron/decay.h`, `neuron/models/neuron_model_lif_impl.h` and
`neuron/synapse_types/exp_synapse_utils.h` (what a core derives from its parameters) of sPyNNaker, `stdfix-exp.c` and `utils.h` of
spinn_common (the exponential), `population_vertex.py` and `synapse_io.py` of its host (weights and delays).
"""

from __future__ import annotations

from decimal import Decimal
from math import ceil, log2

import numpy as np

from nmap.connectivity import Array

__all__ = [
    "ONE", "RING_BITS", "SATURATION", "decay", "decay_and_init", "encode_weights", "exp64", "expk", "expulr", "field_bits",
    "kdivk", "mulk", "raw", "refractory_steps", "ring_shift", "ring_slots", "ring_slots_used", "weight_scale", "wrap32",
]

ONE = 1 << 15
"""1.0 in s16.15."""
SATURATION = 65535
"""The most that a ring buffer's slot holds: 16 bits without sign."""
RING_BITS = 14
"""log2 of the slots of one core over neurons, receptors and delays (sPyNNaker's MAX_RING_BUFFER_BITS): 32 KiB."""
_LOW = 0xFFFFFFFF
_BEYOND, _BELOW = 363408, -340695
"""Arguments above the one give 0x7fffffff and below the other 0 (`expk`)."""
_WHOLE = np.array([round(Decimal(k - 13).exp() * 2**32) for k in range(26)], np.uint64)
_SIXTEENTHS = np.array([round((1 - (Decimal(-i) / 16).exp()) * 2**32) for i in range(16)], np.uint64)


def raw(values: Array | float) -> Array:
    """Return numbers as the host writes them into an accum: the shortest decimal of a number times 32768, half to even, int64.

    Raises:
        ValueError: a number is not in -65536..65536 - 2^-15, which the host refuses.
    """
    numbers = np.asarray(values, np.float64)
    if not ((numbers >= -65536) & (numbers <= 65536 - 2.0**-15)).all():
        raise ValueError("a number is beyond s16.15")
    scaled = numbers * ONE
    rounded = np.rint(scaled)
    # The shortest decimal of a float lies on the float's own side of every half, unless the float is a half itself.
    flat = rounded.ravel()
    for place in np.flatnonzero(scaled - np.floor(scaled) == 0.5):
        flat[place] = round(Decimal(repr(float(numbers.flat[place]))) * ONE)
    return flat.reshape(numbers.shape).astype(np.int64)


def wrap32(values: Array) -> Array:
    """Return int64 numbers modulo 2^32, in -2^31..2^31 - 1."""
    return ((values + 2**31) & _LOW) - 2**31


def kdivk(a: Array | int, b: Array | int) -> Array:
    """Return the accum a / b: (a << 15) / b of 64-bit numbers without sign, its low 32 bits.

    Raises:
        ValueError: b is 0.
    """
    a, b = np.asarray(a, np.int64), np.asarray(b, np.int64)
    if (b == 0).any():
        raise ValueError("a division by 0")
    quotient = (a.view(np.uint64) << np.uint64(15)) // b.view(np.uint64)
    return wrap32((quotient & np.uint64(_LOW)).astype(np.int64))


def mulk(a: Array | int, b: Array | int) -> Array:
    """Return the accum a b, rounded down; a and b of 32 bits."""
    return wrap32((np.asarray(a, np.int64) * np.asarray(b, np.int64)) >> 15)


def decay(x: Array | int, factor: Array | int) -> Array:
    """Return the accum x times a u0.32 factor, rounded down."""
    return wrap32((np.asarray(x, np.int64) * np.asarray(factor, np.int64)) >> 32)


def _scaled(x: Array, y: Array) -> Array:
    """Return x y / 2^32 as spinn_common's `scale64` rounds it: up where the low half's lost part is 0x7fffffff or more; uint64 all."""
    half = np.uint64(32)
    low, high = (x & np.uint64(_LOW)) * y, (x >> half) * y
    return (low >> half) + ((low & np.uint64(_LOW)) >= np.uint64(0x7FFFFFFF)).astype(np.uint64) + high


def exp64(n: Array | int) -> Array:
    """Return e^(n / 32768) with 32 fraction bits, uint64, for n in -340695..363408."""
    n = np.asarray(n, np.int64)
    whole, part = n >> 15, n & 0x7FFF
    broken = part != 0
    rest = np.where(broken, 32768 - part, 0)
    start = _WHOLE[13 + whole + broken]
    stepped = start - _scaled(start, _SIXTEENTHS[rest >> 11])
    y = (rest & 0x7FF).astype(np.uint64) << np.uint64(17)
    half = np.uint64(32)
    series = np.uint64(4293434720) - ((np.uint64(2081624032) * y) >> half)
    series = ((series * y) >> half) + np.uint64(5294)
    return np.where(broken, stepped - _scaled(stepped, series), start)


def _exponential(n: Array | int, drop: int) -> Array:
    n = np.asarray(n, np.int64)
    value = ((exp64(np.clip(n, _BELOW, _BEYOND)) >> np.uint64(drop)) & np.uint64(_LOW)).astype(np.int64)
    return np.where(n > _BEYOND, 0x7FFFFFFF, np.where(n < _BELOW, 0, value))


def expk(n: Array | int) -> Array:
    """Return the accum e^n of an accum, rounded down; 0x7fffffff above 363408, 0 below -340695."""
    return wrap32(_exponential(n, 17))


def expulr(n: Array | int) -> Array:
    """Return e^n of an accum as u0.32, its low 32 bits; the same ends as `expk`."""
    return _exponential(n, 0)


def refractory_steps(tau_refrac: Array, timestep: Array) -> Array:
    """Return steps of a refractory time, both raw ms, rounded up, int64."""
    steps = kdivk(tau_refrac, timestep)
    return (steps >> 15) + ((steps & 0x7FFF) > 0)


def decay_and_init(tau: Array, timestep: Array) -> tuple[Array, Array]:
    """Return what an exponential synapse keeps in a step and the share of its input that acts at once, u0.32 raw; times in raw ms.

    The share is tau (1 - keep) / timestep, which makes the charge of a spike its weight times the time constant.
    """
    keep = expulr(wrap32(-kdivk(timestep, tau)))
    first = ((kdivk(tau, timestep) * (_LOW - keep)) >> 15) & _LOW
    return keep, first


def ring_shift(bound: float) -> int:
    """Return the shift of a receptor whose summed weight in a step is expected to stay below `bound`: the least p with 2^p > bound, from 0.

    The slot's least significant bit is then 2^(p - 15) and it saturates at 2^(p + 1).
    """
    if bound <= 0:
        return 0
    power = ceil(max(0.0, log2(bound)))
    return power + (2.0**power <= bound)


def weight_scale(shift: int) -> float:
    """Return slot units per unit of weight: 2^(15 - shift)."""
    return 2.0 ** (15 - shift)


def encode_weights(weights: Array, shift: int) -> Array:
    """Return weights >= 0 as the synaptic words hold them: rounded half to even, int64, the low 16 bits (the host does not clip)."""
    return np.rint(np.abs(np.asarray(weights, np.float64)) * weight_scale(shift)).astype(np.int64) & SATURATION


def field_bits(things: int) -> int:
    """Return the bits of a field that tells so many things apart, neurons, receptors or delays: ceil(log2 n), but 1 for one thing."""
    return max(1, (things - 1).bit_length()) if things else 0


def ring_slots(neurons: int, receptors: int = 2) -> int:
    """Return how many steps of delay the ring buffers of one core can hold: 2^(14 - bits of the neuron - bits of the receptor)."""
    return 1 << (RING_BITS - field_bits(neurons) - field_bits(receptors))


def ring_slots_used(longest: int, neurons: int, receptors: int = 2) -> int:
    """Return how many steps the ring buffers of one core are made for, when the longest delay into its population has so many steps.

    A delay as long as the ring is written into the slot of the step itself, which has been read before.
    """
    return min(1 << field_bits(longest), ring_slots(neurons, receptors))
