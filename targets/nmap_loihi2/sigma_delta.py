"""Sigma-delta neurons in Loihi 2's integers: what a file states is what Lava's models compute with, so that nothing is rounded.

Source: Lava 0.10.0, `lava/proc/sdn/models.py`; threshold and bias are those of the process times 2^(spike_exp + state_exp).
"""

from __future__ import annotations

from typing import Final

import numpy as np

from nmap.connectivity import Array
from nmap.network import SigmaDelta
from nmap.quantized import LayerLoss, QuantizedPopulation
from nmap_loihi2.synapses import Job, Made, connect, counted, split_signs

__all__ = ["quantize_sigma_delta"]

_KERNEL: Final = {"delta": "loihi2.delta", "sigma_delta": "loihi2.sigma_delta", "sigma": "loihi2.sigma"}


def quantize_sigma_delta(job: Job, model: SigmaDelta, taken: set[str]) -> Made:
    """Return sigma-delta neurons; a biased population that runs behind the input is an error (NM306).

    Args:
        job: the population.
        model: its neurons.
        taken: names of populations and projections; receives new ones.
    """
    population, real = job.population, job.weights
    made = connect(job, real, split_signs(job, real), 1.0, 0, True, taken)
    params: dict[str, Array] = {}
    if model.role != "sigma":
        params = {
            "vth": job.whole(model.threshold, "the threshold", f"{model.role}_vth"),
            "spike_exp": np.array(model.spike_exp), "state_exp": np.array(model.state_exp), "cum_error": np.array(0),
        }
    if model.role == "sigma_delta":
        params |= {"bias": job.whole(model.bias, "the bias", "bias"), "rectify": np.array(int(model.rectify))}
        sent = model.bias if not model.rectify else np.maximum(model.bias, 0)
        early = int(np.count_nonzero(sent))
        if job.latency and early:
            job.findings.error(
                "NM306", f"the bias of {counted(early, 'neuron')} of `{job.name}` acts before the first input can arrive", where=job.where,
                why=f"They run {job.latency} steps behind the input, and a sigma-delta neuron sends its bias in its first step.",
                help=("let the bias of the first layers be 0",),
            )
    rounded = np.abs(np.rint(model.threshold) - model.threshold) / np.maximum(np.abs(model.threshold), 1)
    shifted = np.abs(np.rint(model.bias) - model.bias) / np.maximum(np.abs(model.bias), 1)
    tally = made.tally
    loss = LayerLoss(
        job.name, made.bits, 1.0, 0, tally.sqnr_db, tally.clipped, tally.zeroed, float(rounded.max(initial=0)), 0.0,
        float(shifted.max(initial=0)),
    )
    out = QuantizedPopulation(
        job.name, population.shape, _KERNEL[model.role], params, population.where, {}, np.ones(1), job.timing.spikes[job.name],
    )
    return Made([*made.relays, out], made.projections, loss)
