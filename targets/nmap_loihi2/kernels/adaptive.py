"""The neuron with an adaptive threshold and a refractory state: Lava's ATRLIF.

The equations are those of Lava 0.10.0, `lava/proc/atrlif/models.py` (`PyATRLIFModelFixed`), restated: with T0(x) = x / 2^12 rounded toward
zero and a the dendritic sum of the step,

    u     = W( T0(u (4096 - delta_i - 1)) + (a << 6) )                  W: one wrap into (-2^23, 2^23]
    v     = clip( T0(v (4096 - delta_v)) + u + (bias_mant << bias_exp), +-(2^23 - 1) )
    theta = T0((theta - rest) (4096 - delta_theta)) + rest              rest = theta_0 << 6
    rho   = T0(rho (4096 - delta_r))
    spike where v - rho >= theta; there rho += 2 theta, then theta += theta_step << 6; u and v stay

All sums are computed in 32 bits that wrap; theta and rho are neither wrapped at 24 bits nor clipped. theta is `rest` before the first
chip step, whatever initial value was given. Lava's u and rho are named i and r.

What the integers mean to Lava, as observed by running it: the process must be given delta / 4096 as a Python float, which its fixed-point
model, in spite of the declared unsigned 16-bit integers, multiplies by 4096 as it is; every product is exact. Given as integers the deltas
count 4096 each, and the current's product wraps in 32 bits. theta_0 and theta_step are given unshifted. theta_step must be one number per
population: with an array Lava stops (and hangs) in the first step in which not all neurons spike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nmap.compiled import Native
from nmap.connectivity import Array
from nmap_loihi2.kernels.arithmetic import factors, saturate, scaled_bias, toward_zero, words, wrap24_once, wrap32

__all__ = ["ATRLIF", "AdaptiveNeuron"]


@dataclass(frozen=True, slots=True)
class AdaptiveNeuron:
    """A current and a voltage without reset, a threshold and a refractory state that spikes raise; see `nmap.emulate.kernel.Kernel`.

    Args:
        name: of the kernel.
        params: decays of u, v, theta and rho in 1/4096 per step, `theta_0` and `theta_step` in units of 64, `bias_mant`, `bias_exp`.
    """

    name: str
    params: tuple[str, ...] = ("delta_i", "delta_v", "delta_theta", "delta_r", "theta_0", "theta_step", "bias_mant", "bias_exp")
    state: tuple[str, ...] = ("u", "v", "theta", "rho")
    receptors: int = 1
    graded: bool = False

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`."""
        from nmap_loihi2.kernels import loops

        return loops.adaptive

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the rows of `loops`, (7, n) int32.

        Raises:
            ValueError: a decay is more than a hundred times beyond its field.
        """
        kept = factors(4095 - params["delta_i"], *(4096 - params[name] for name in ("delta_v", "delta_theta", "delta_r")))
        return words(*kept, scaled_bias(params), wrap32(params["theta_0"] << 6), wrap32(params["theta_step"] << 6))

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        rest, rise = wrap32(params["theta_0"] << 6), wrap32(params["theta_step"] << 6)
        theta = state["theta"] if step > 0 else np.broadcast_to(rest, state["theta"].shape)
        u = wrap24_once(wrap32(toward_zero(state["u"] * (4095 - params["delta_i"])) + (dendrite << 6)))
        v = saturate(wrap32(toward_zero(state["v"] * (4096 - params["delta_v"])) + u + scaled_bias(params)))
        theta = wrap32(toward_zero(wrap32(theta - rest) * (4096 - params["delta_theta"])) + rest)
        rho = wrap32(toward_zero(state["rho"] * (4096 - params["delta_r"])))
        spikes = (wrap32(v - rho) >= theta).astype(np.int64)
        state["u"], state["v"] = u, v
        state["rho"] = wrap32(rho + 2 * theta * spikes)
        state["theta"] = wrap32(theta + rise * spikes)
        return spikes


ATRLIF = AdaptiveNeuron("loihi2.atrlif")
"""Leaky integrate-and-fire with adaptive threshold and refractoriness."""
