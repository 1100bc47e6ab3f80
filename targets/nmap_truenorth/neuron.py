"""TrueNorth's neuron in its deterministic modes.

The equations are those of Cassidy et al., IJCNN 2013, in the order that recorded traces of IBM's simulator NSCS show. With a the sum of the
tick's synapses, sgn(0) = 0, and lam (`leak`), alpha, beta, R, epsilon, gamma, kappa parameters of each neuron,

    V  = V + a
    V' = V + lam, or V + sgn(V) lam where epsilon = 1; and 0 where epsilon = 1, lam < 0 and V' has another sign than V
    spike where V' >= alpha:      V = R, V' - alpha or min(V', alpha) for gamma = 0, 1, 2
    else where V' < -beta:        V = -beta where kappa = 1, else -R, V' + beta or V' for gamma = 0, 1, 2

The stochastic modes need the chip's random numbers, whose sequence is not public. Potentials have 20 bits on the chip; the compiler proves
that they stay inside (`nmap_truenorth.ranges`), and nothing saturates here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nmap.compiled import Native
from nmap.connectivity import Array

__all__ = ["FLOOR", "NEURON", "TrueNorthNeuron"]

FLOOR = (1 << 18) - 1
"""The largest alpha and beta, 18 bits: no membrane has a floor below -FLOOR."""


@dataclass(frozen=True, slots=True)
class TrueNorthNeuron:
    """A neuron of TrueNorth without random modes; see `nmap.emulate.kernel.Kernel`.

    Parameters: `alpha` and `beta` 0..2^18 - 1, `leak` -256..255, `epsilon` and `kappa` 0 or 1, `gamma` 0..2; the reset potential R is
    2^`vr` - 1 with `vr` 0..18, negative where `sigma_vr` is.
    """

    name: str = "truenorth.neuron"
    params: tuple[str, ...] = ("alpha", "beta", "leak", "epsilon", "gamma", "kappa", "sigma_vr", "vr")
    receptors: int = 1
    state: tuple[str, ...] = ("v",)
    graded: bool = False

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`."""
        # numba takes longer to import than the whole command line, so only a run pays for it.
        from nmap_truenorth.loops import neuron

        return neuron

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return two words a neuron, packed as the chip does, (2, n) int32: a million neurons are bound by memory.

        The first holds alpha (bits 0 to 17), epsilon (18), whether gamma is 1 (19) or 2 (20), kappa (21) and the leak (23 to 31); the
        second beta (0 to 17), vr (18 to 22) and the sign of the reset potential (31).
        """
        flags = (params["epsilon"], params["gamma"] == 1, params["gamma"] == 2, params["kappa"])
        word = params["alpha"] | params["leak"] << 23
        for bit, flag in enumerate(flags, 18):
            word = word | flag.astype(np.int64) << bit
        other = params["beta"] | params["vr"] << 18 | (params["sigma_vr"] < 0).astype(np.int64) << 31
        return np.stack([word, other]).astype(np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:  # noqa: ARG002
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        v = state["v"] + dendrite
        leak, alpha, beta, gamma = params["leak"], params["alpha"], params["beta"], params["gamma"]
        reset = np.where(params["sigma_vr"] < 0, -1, 1) * (2 ** params["vr"] - 1)
        moved = v + np.where(params["epsilon"] == 1, np.sign(v), 1) * leak
        moved = np.where((params["epsilon"] == 1) & (leak < 0) & (np.sign(moved) != np.sign(v)), 0, moved)
        fires, below = moved >= alpha, moved < -beta
        fired = np.choose(gamma, [reset + 0 * moved, moved - alpha, np.minimum(moved, alpha)])
        raised = np.where(params["kappa"] == 1, -beta, np.choose(gamma, [-reset + 0 * moved, moved + beta, moved]))
        state["v"] = np.where(fires, fired, np.where(below, raised, moved))
        return fires.astype(np.int64)


NEURON = TrueNorthNeuron()
