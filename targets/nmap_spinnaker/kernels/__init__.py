"""SpiNNaker 1's neurons in sPyNNaker 7.4.1's arithmetic, bit for bit.

Parameters are raw numbers exactly as a core's SDRAM holds them (`nmap_spinnaker.arithmetic`); `constants` derives what a core derives when
it starts. One step of the kernel is one timer tick t, in this order, with total_r the plain sum of the 16-bit weights that arrive on
receptor r (0 excitatory, 1 inhibitory), which counts modulo 2^32:

    slot_r = min(65535, total_r)                                         every unit beyond is lost; `saturated` counts such slots
    x_r = wrap(slot_r << shift_r)
    exp:    syn_r = wrap(syn_r + decay(x_r, I0_r))                       decay(x, d) = x d / 2^32, rounded down
    delta:  syn_r = mul(x_r, scale)                                      mul(a, b) = wrap(a b / 2^15), rounded down
    trunc:  syn_r = x_r
    where refract <= 0:  I = wrap(syn_0 - syn_1 + i_offset)
        exp, delta:      alpha = wrap(mul(I, R) + v_rest);  v = wrap(alpha - mul(E, wrap(alpha - v)))
        trunc:           v = max(wrap(mul(I, R) + v), v_reset)
    elsewhere:           refract = refract - 1
    spike where v >= v_thresh, while refractory too: v = v_reset, refract = T_ref
    exp:    syn_r = decay(syn_r, D_r)

    R = tau_m / cm;  E = exp(-timestep / tau_m);  T_ref = ceil(tau_refrac / timestep);  scale = 1 / timestep
    D_r = exp(-timestep / tau_syn_r);  I0_r = tau_syn_r / timestep (1 - D_r)

sPyNNaker records v before the tick's update and gsyn after the tick's input: v of tick t is the kernel's v after step t - 1. `IF_CURR_EXP`
keeps `syn_r` as it is before its decay, which is applied at the beginning of the next step: gsyn of tick t is its syn_r after step t. The
others keep no current: gsyn of tick t is x_r.

`step` and `reference_step` are written separately: the loops of `loops` are compiled, with whole numbers of 32 bits only; the reference
steps are plain numpy with 64.
"""

from __future__ import annotations

from nmap.emulate.kernel import Kernel
from nmap_spinnaker.kernels.delta import IF_CURR_DELTA
from nmap_spinnaker.kernels.exponential import IF_CURR_EXP
from nmap_spinnaker.kernels.source import SOURCE
from nmap_spinnaker.kernels.trunc import IF_TRUNC

__all__ = ["IF_CURR_DELTA", "IF_CURR_EXP", "IF_TRUNC", "KERNELS", "SOURCE"]

KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in (IF_CURR_EXP, IF_CURR_DELTA, IF_TRUNC, SOURCE)}
"""Kernels by name."""
