"""Adaptive thresholds in Loihi 2's integers: lava-dl's ALIF, whose arithmetic Lava's ATRLIF repeats.

Both compute theta = theta_0 + T(k (theta - theta_0)), rho = T(k' rho), a spike where v - rho >= theta, then rho += 2 theta and
theta += step, with 12-bit decays, states of 1/64 and no reset of v; so integers of a file are taken as they are, and nothing is rounded.
Source: lava-dl `slayer/neuron/alif.py`; Lava 0.10.0 `lava/proc/atrlif/models.py`, `PyATRLIFModelFixed`.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from nmap.connectivity import Array
from nmap.network import Adaptation, Neuron
from nmap_loihi2.synapses import Job

__all__ = ["adaptive_threshold", "inexpressible"]

_QUANTUM = 1 / 64


def inexpressible(neuron: Neuron, adaptation: Adaptation, weights: Iterable[Array]) -> str | None:
    """Return why Lava's ATRLIF cannot compute these neurons exactly, or None where it does.

    Args:
        neuron, adaptation: their model.
        weights: those of the projections into them.
    """
    if neuron.quantum != _QUANTUM or adaptation.quantum != _QUANTUM:
        return "its states are multiples of 1/64 and these are real numbers, so that thresholds would be met in other steps"
    decays = (neuron.alpha, neuron.beta, adaptation.threshold_decay, adaptation.refractory_decay)
    if any((values * 4096 % 1).any() for values in decays):
        return "its decays are multiples of 1/4096 and these are not"
    if (neuron.threshold % 1).any() or (adaptation.step % 1).any():
        return "its threshold and the step added to it count whole weight units and these do not"
    if np.unique(adaptation.step).size > 1:
        low, high = float(adaptation.step.min()), float(adaptation.step.max())
        return f"it has one step of the threshold (`vThStep`) for all neurons, and here they differ ({low:g} to {high:g})"
    gain = neuron.gain_in * neuron.gain_v
    if (neuron.drive * 64 % 1).any() or (gain != gain[0]).any() or any((w * gain[0] % 1).any() for w in weights):
        return "its input counts whole weight units and this one does not (lava-dl divides it by 2^`weight_exp`)"
    return None


def adaptive_threshold(job: Job, neuron: Neuron, adaptation: Adaptation) -> tuple[dict[str, Array], Array]:
    """Return the kernel's parameters of the threshold, and the voltage in state units above which a neuron at rest fires, (n,) int64."""
    theta = job.whole(neuron.threshold, "the threshold", "theta_0")
    params = {
        "delta_theta": np.rint(4096 * (1 - adaptation.threshold_decay)).astype(np.int64),
        "delta_r": np.rint(4096 * (1 - adaptation.refractory_decay)).astype(np.int64),
        "theta_0": theta,
        "theta_step": job.whole(adaptation.step, "the step of the threshold", "theta_step"),
    }
    return params, (theta << 6) - 1
