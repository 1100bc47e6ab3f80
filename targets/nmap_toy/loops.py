"""The compiled form of the toy chip's neuron."""

# ruff: noqa: ARG001 - a step takes what every step takes

from __future__ import annotations

import numpy as np

from nmap.compiled import native
from nmap.emulate.kernel import STEP
from nmap.pointers import carray, int32_at, uint8_at
from nmap_toy.kernels import V_MAX, V_MIN

__all__ = ["lif"]


@native(STEP)
def lif(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Advance `nmap_toy.kernels.LIF`; arguments as in `nmap.emulate.kernel.Kernel.step`."""
    leaks, biases, thresholds = carray(int32_at(constants), (3, n))
    vs, arrived, out = carray(int32_at(state), n), carray(int32_at(dendrite), n), carray(uint8_at(sent), n)
    for k in range(first, last):
        v = vs[k]
        if leaks[k] > 0:
            v -= v >> leaks[k]
        v = min(max(v + arrived[k] + biases[k], V_MIN), V_MAX)
        fired = v >= thresholds[k]
        out[k] = fired
        vs[k] = np.int32(0) if fired else np.int32(v)
