"""Resonate-and-fire neurons: Lava's RF and RF_IZ.

The equations are those of Lava 0.10.0, `lava/proc/rf/models.py` and `lava/proc/rf_iz/models.py` (fixed point), restated: with
T0(x) = x / 2^decay_bits rounded toward zero and the dendritic sums a_re and a_im of the step,

    re' = clip( T0(cos re) - T0(sin im) + (a_re << state_exp), +-(2^23 - 1) )
    im' = clip( T0(sin re) + T0(cos im) + (a_im << state_exp), +-(2^23 - 1) )
    RF:     spike where re' >= vth and im' >= 0 and im < 0; no reset
    RF_IZ:  spike where im' >= vth; there re' = 0 and im' = vth - 1

The rotation is computed in 64 bits; the shifted inputs are numbers of 32 bits that wrap, and so is vth - 1. Lava makes
cos = int((1 - alpha) cos(2 pi / period) 2^decay_bits), sin likewise, and vth = int(vth 2^state_exp); decay_bits must be positive, as Lava
stops at a fraction otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nmap.compiled import Native
from nmap.connectivity import Array
from nmap_loihi2.kernels.arithmetic import saturate, scale, shift_left, toward_zero, words, wrap32

__all__ = ["RF", "RF_IZ", "ResonatorNeuron"]


@dataclass(frozen=True, slots=True)
class ResonatorNeuron:
    """A rotating state (u = re, v = im) with an input for each part; see `nmap.emulate.kernel.Kernel`.

    Args:
        name: of the kernel.
        resets: the state is put below the threshold on a spike (Izhikevich's model), and im alone fires.
        params: `cos`, `sin` in 2^-decay_bits, `vth` already shifted by `state_exp`, `state_exp`, `decay_bits`.
    """

    name: str
    resets: bool
    params: tuple[str, ...] = ("cos", "sin", "vth", "state_exp", "decay_bits")
    state: tuple[str, ...] = ("u", "v")
    receptors: int = 2
    graded: bool = False

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`; the model does not depend on time."""
        from nmap_loihi2.kernels import loops

        return loops.resonator_reset if self.resets else loops.resonator

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the rows of `loops`, (6, n) int32."""
        cos, sin, threshold = (wrap32(params[name]) for name in ("cos", "sin", "vth"))
        return words(cos, sin, threshold, scale(params["state_exp"]), np.minimum(params["decay_bits"], 63), wrap32(threshold - 1))

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        del step
        cos, sin, threshold = (wrap32(params[name]) for name in ("cos", "sin", "vth"))
        real, imaginary = (shift_left(part, params["state_exp"]) for part in np.split(dendrite, 2, axis=-1))
        bits, re, im = params["decay_bits"], state["u"], state["v"]
        new_re = saturate(toward_zero(cos * re, bits) - toward_zero(sin * im, bits) + real)
        new_im = saturate(toward_zero(sin * re, bits) + toward_zero(cos * im, bits) + imaginary)
        if self.resets:
            fired = new_im >= threshold
            state["u"], state["v"] = np.where(fired, 0, new_re), np.where(fired, wrap32(threshold - 1), new_im)
        else:
            fired = (new_re >= threshold) & (new_im >= 0) & (im < 0)
            state["u"], state["v"] = new_re, new_im
        return fired.astype(np.int64)


RF = ResonatorNeuron("loihi2.rf", resets=False)
"""Fires where the state crosses the positive real axis outside the threshold."""
RF_IZ = ResonatorNeuron("loihi2.rf_iz", resets=True)
"""Fires where im reaches the threshold."""
