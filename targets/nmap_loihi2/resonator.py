"""Resonate-and-fire neurons in Loihi 2's integers.

A rotation is a pair of integers of 1/4096, the state counts 64 units per weight unit, and the threshold is compared with the state
itself. Source: Lava 0.10.0, `lava/proc/rf/models.py` and `lava/proc/rf_iz/models.py`.
"""

from __future__ import annotations

import numpy as np

from nmap.network import Resonator
from nmap.quantized import LayerLoss, QuantizedPopulation
from nmap_loihi2.synapses import Job, Made, connect, shared_scale, split_signs

__all__ = ["quantize_resonator"]

_DECAY_BITS = 12
_STATE_EXP = 6
_HEADROOM = 4
"""Times the threshold that the state can hold at least, where the weights' scale is nmap's to choose."""


def quantize_resonator(job: Job, model: Resonator, taken: set[str]) -> Made:
    """Return resonate-and-fire neurons: integers of a file as they are, real numbers on one scale per population.

    Args:
        job: the population.
        model: its neurons.
        taken: names of populations and projections; receives new ones.
    """
    population, real = job.population, job.weights
    grids = split_signs(job, real)
    integer = model.quantum is not None
    scale = 1.0
    if not integer:
        highest = float(np.abs(model.threshold).max(initial=0)) * _HEADROOM * (1 << _STATE_EXP)
        scale = min(shared_scale(real, grids), job.spec.limits["state"].max / highest if highest else np.inf)
    made = connect(job, real, grids, scale, 0, integer, taken)
    unit = scale * (1 << _STATE_EXP)
    exact = model.threshold * unit
    # A state that meets the threshold fires, so a rounded threshold is one that integers reach no earlier.
    kernel = "rf" if model.firing == "phase" else "rf_iz"
    vth = job.whole(np.ceil(exact - 1e-9 * np.maximum(np.abs(exact), 1)), "the threshold", f"{kernel}_vth")
    whole = 1 << _DECAY_BITS
    cos, sin = (np.rint(values * whole).astype(np.int64) for values in (model.cos, model.sin))
    decay_error = max(float(np.abs(stored / whole - values).max(initial=0)) for stored, values in ((cos, model.cos), (sin, model.sin)))
    error = np.abs(vth - exact) / np.where(exact != 0, np.abs(exact), 1)
    tally = made.tally
    loss = LayerLoss(
        job.name, made.bits, scale, 0, tally.sqnr_db, tally.clipped, tally.zeroed, float(error.max(initial=0)), decay_error, 0.0,
    )
    params = {
        "cos": cos, "sin": sin, "vth": vth, "state_exp": np.array(_STATE_EXP), "decay_bits": np.array(_DECAY_BITS),
    }
    out = QuantizedPopulation(
        job.name, population.shape, f"loihi2.{kernel}", params, population.where, {},
        np.full(1, unit), job.timing.spikes[job.name],
    )
    return Made([*made.relays, out], made.projections, loss)
