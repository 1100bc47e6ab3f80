"""Neurons with a synaptic current and a voltage that a spike resets to zero: Lava's LIF, TernaryLIF and LIFReset.

The equations are those of Lava 0.10.0, `lava/proc/lif/models.py` (`PyLifModelBitAcc`, `PyTernLifModelFixed`, `PyLifResetModelBitAcc`),
restated: with T0(x) = x / 2^12 rounded toward zero and a the dendritic sum of the step,

    u = W( T0(u (4096 - du - 1)) + (a << 6) )                     W: one wrap into (-2^23, 2^23]
    v = clip( T0(v (4096 - dv)) + u + (bias_mant << bias_exp), +-(2^23 - 1) )
    spike where v > (vth << 6); v = 0 there; u stays

Everything is computed in 32 bits, so what W and the clip see has wrapped there first; bias_mant and bias_exp are numbers of 16 bits (a
negative exponent shifts right, rounding down). The shifted thresholds of TernaryLIF wrap in 32 bits too, that of LIF does not.

They reproduce a recorded Loihi 2 run of one neuron spike for spike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nmap.compiled import Native
from nmap.connectivity import Array
from nmap_loihi2.kernels.arithmetic import factors, saturate, scaled_bias, toward_zero, words, wrap24_once, wrap32

__all__ = ["LIF", "LIF_RESET", "TERNARY_LIF", "CurrentNeuron"]


@dataclass(frozen=True, slots=True)
class CurrentNeuron:
    """A neuron with synaptic current u and voltage v that resets v to zero on a spike; see `nmap.emulate.kernel.Kernel`.

    Args:
        name: of the kernel.
        extra: parameters beside `du`, `dv` decays in 1/4096 per step (du = -1: no current decay, dv = 4096: no membrane memory), `vth`
            threshold in units of 64, `bias_mant` and `bias_exp`.
    """

    name: str
    extra: tuple[str, ...] = ()
    state: tuple[str, ...] = ("u", "v")
    receptors: int = 1

    @property
    def params(self) -> tuple[str, ...]:
        """Parameter names in row order."""
        return ("du", "dv", "vth", "bias_mant", "bias_exp", *self.extra)

    @property
    def graded(self) -> bool:
        """Whether -1 is sent too."""
        return "vth_lo" in self.extra

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`."""
        from nmap_loihi2.kernels import loops

        return loops.ternary_lif if self.graded else loops.lif_reset if "reset_interval" in self.extra else loops.lif

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the rows of `loops`, (4, n) int32, 5 for TernaryLIF and 6 for LIFReset.

        Raises:
            ValueError: a decay is more than a hundred times beyond its field.
        """
        threshold = params["vth"] << 6
        # Voltages have 24 bits: beyond 32 bits a threshold is one that they always pass, or never.
        high = wrap32(threshold) if self.graded else np.clip(threshold, -(1 << 31), (1 << 31) - 1)
        rows = [*factors(4095 - params["du"], 4096 - params["dv"]), scaled_bias(params), high]
        if self.graded:
            rows.append(wrap32(params["vth_lo"] << 6))
        elif self.extra:
            interval = np.maximum(params["reset_interval"], 0)
            remainder = params["reset_offset"] % np.maximum(interval, 1)
            # No run has 2^31 steps: what comes after more than those comes once, or never.
            end = (1 << 31) - 1
            never = (interval > end) & ((remainder == 0) | (remainder > end))
            rows += [np.where(never, 0, np.minimum(interval, end)), np.where(never, 0, remainder)]
        return words(*rows)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        u, v, threshold = state["u"], state["v"], params["vth"] << 6
        if "reset_interval" in self.extra:
            # Lava counts its time steps from 1.
            interval = params["reset_interval"]
            kept = ((step + 1 - params["reset_offset"]) % np.maximum(interval, 1) != 0) | (interval < 1)
            u, v = u * kept, v * kept
        u = wrap24_once(wrap32(toward_zero(u * (4095 - params["du"])) + (dendrite << 6)))
        v = saturate(wrap32(toward_zero(v * (4096 - params["dv"])) + u + scaled_bias(params)))
        if "vth_lo" in self.extra:
            spikes = (v > wrap32(threshold)).astype(np.int64) - (v < wrap32(params["vth_lo"] << 6))
        else:
            spikes = (v > threshold).astype(np.int64)
        state["u"], state["v"] = u, np.where(spikes != 0, 0, v)
        return spikes


LIF = CurrentNeuron("loihi2.lif")
"""Leaky integrate-and-fire (CUBA): sends 1 above `vth`."""
TERNARY_LIF = CurrentNeuron("loihi2.ternary_lif", ("vth_lo",))
"""LIF that also sends -1 below `vth_lo`, in units of 64."""
LIF_RESET = CurrentNeuron("loihi2.lif_reset", ("reset_interval", "reset_offset"))
"""LIF whose u and v become zero before every chip step c with (c + 1) % reset_interval == reset_offset % reset_interval.

Chip step c counts from 0 and is Lava's time step c + 1. With a `reset_interval` of 0 there is no reset; Lava takes 1 and more.
"""
