"""Loihi 2 neurons in the arithmetic of Lava's fixed-point process models, bit for bit.

Every kernel computes what Lava 0.10.0 computes for whatever sums arrive, overflow and saturation included: dendritic sums are taken modulo
2^32, as Lava's channels carry them. `step` and `reference_step` are written separately on purpose: the loops of `loops` are compiled, the
reference steps are plain numpy beside the equations they follow.
"""

from __future__ import annotations

from nmap.emulate.kernel import Kernel
from nmap_loihi2.kernels.adaptive import ATRLIF
from nmap_loihi2.kernels.lif import LIF, LIF_RESET, TERNARY_LIF
from nmap_loihi2.kernels.relay import RELAY
from nmap_loihi2.kernels.resonator import RF, RF_IZ
from nmap_loihi2.kernels.sigma_delta import DELTA, SIGMA, SIGMA_DELTA

__all__ = ["ATRLIF", "DELTA", "KERNELS", "LIF", "LIF_RESET", "RELAY", "RF", "RF_IZ", "SIGMA", "SIGMA_DELTA", "TERNARY_LIF"]

KERNELS: dict[str, Kernel] = {
    kernel.name: kernel for kernel in (LIF, TERNARY_LIF, LIF_RESET, DELTA, SIGMA_DELTA, SIGMA, RF, RF_IZ, ATRLIF, RELAY)
}
"""Kernels by name."""
