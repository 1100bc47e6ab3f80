"""Time constants whose decay factors on the chip come nearest to a network's.

A core derives its factors from raw time constants (`nmap_spinnaker.arithmetic`): E = exp(-timestep / tau_m) as an accum of 15 fraction
bits, D = exp(-timestep / tau_syn) and I0 = tau_syn / timestep (1 - D) with 32. The argument of the exponential has 15 fraction bits itself:
every E from 0 to 32766 exists for time constants that are long beside the timestep's last bit, and D comes about as near to any factor.
"""

from __future__ import annotations

import numpy as np

from nmap.connectivity import Array
from nmap_spinnaker.arithmetic import ONE, decay_and_init, expk, kdivk, wrap32

__all__ = ["WHOLE", "leak", "membrane_time", "synapse_time"]

WHOLE = 1.0 - 2.0**-15
"""Decay factors above this are nearer to 1 than to the largest E below it, 32766 / 32768; with E = 1 a membrane takes no input."""
_LONGEST = 2**31 - 1
_NO_MEMORY = 340696
"""The least argument of the exponential, raw, that gives 0."""


def leak(tau_m: Array, timestep: int) -> Array:
    """Return E of time constants, both raw, (n,) int64 raw."""
    return expk(wrap32(-kdivk(timestep, tau_m)))


def membrane_time(beta: Array, timestep: int) -> Array:
    """Return the raw tau_m, (n,) int64, whose E is nearest to `beta` (0 to 1) and below 1.

    Args:
        beta: (n,) factors per step.
        timestep: raw ms.
    """
    tau = _candidates(beta, timestep)
    return _nearest(tau, leak(tau, timestep) / ONE, beta)


def synapse_time(alpha: Array, timestep: int) -> Array:
    """Return the raw tau_syn, (n,) int64, whose D is nearest to `alpha` (0 to 1) and below 1; arguments as in `membrane_time`."""
    tau = _candidates(alpha, timestep)
    return _nearest(tau, decay_and_init(tau, np.full_like(tau, timestep))[0] / 2.0**32, alpha)


def _candidates(factor: Array, timestep: int) -> Array:
    """Return time constants of the arguments around -ln(factor), (candidates, n) int64 raw."""
    with np.errstate(divide="ignore"):
        argument = np.minimum(-np.log(np.maximum(factor, 0.0)) * ONE, _NO_MEMORY)
    around = np.clip(np.floor(argument)[None] + np.arange(-1, 3)[:, None], 1, _NO_MEMORY).astype(np.int64)
    # The least factor is 0, whatever its logarithm: below the last argument every exponential is 0.
    shortest = np.full((1, factor.size), _NO_MEMORY, np.int64)
    tau = (np.int64(timestep) << 15) // np.concatenate([around, shortest])
    return np.clip(np.concatenate([tau, tau + 1]), 1, _LONGEST)


def _nearest(tau: Array, reached: Array, wanted: Array) -> Array:
    # A factor of 1 is none of the chip's: its argument is 0.
    error = np.where(reached >= 1.0, np.inf, np.abs(reached - wanted[None]))
    best: Array = np.take_along_axis(tau, error.argmin(0)[None], 0)[0]
    return best
