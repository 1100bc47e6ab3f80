"""The toy chip's one neuron, twice: compiled for the emulator, and plain numpy for the reference simulator."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array

__all__ = ["LIF", "V_MAX", "V_MIN", "LifKernel"]

V_MIN, V_MAX = -2048, 2047
"""Range of the 12-bit state (README.md, section 3); `chip.toml` states the same numbers and a test compares them."""


class LifKernel:
    """Integer leaky integrate-and-fire (README.md, section 3); the contract is `nmap.emulate.kernel.Kernel`."""

    name = "toy.lif"
    params: tuple[str, ...] = ("leak", "bias", "threshold")
    state: tuple[str, ...] = ("v",)
    receptors = 1

    def run(self, params: Array, state: Array, dendrite: Array, spikes: Array, probe: Array, first_step: int) -> None:  # noqa: ARG002
        """Advance all neurons by the rows of `dendrite`; shapes and dtypes as in the contract."""
        _compiled()(params, state, dendrite, spikes, probe)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:  # noqa: ARG002
        """Advance one step in plain numpy; return the payloads, int64; shapes as in the contract."""
        v, leak = state["v"], params["leak"]
        leaked = np.where(leak > 0, v - np.right_shift(v, leak), v)
        v = np.clip(leaked + dendrite + params["bias"], V_MIN, V_MAX)
        fired = v >= params["threshold"]
        state["v"] = np.where(fired, 0, v)
        return fired.astype(np.int64)


@cache
def _compiled() -> Callable[..., None]:
    # numba takes longer to import than the whole command line, so only a run pays for it.
    return compiled("void(int64[:,::1], int64[:,::1], int64[:,::1], int32[:,::1], int64[:,:,::1])")(_run)


def _run(params: Any, state: Any, dendrite: Any, spikes: Any, probe: Any) -> None:
    wanted = probe.size > 0
    for n in range(dendrite.shape[1]):
        leak, bias, threshold = params[0, n], params[1, n], params[2, n]
        v = state[0, n]
        for t in range(dendrite.shape[0]):
            if leak > 0:
                v -= v >> leak
            v = min(max(v + dendrite[t, n] + bias, V_MIN), V_MAX)
            if v >= threshold:
                spikes[t, n] = 1
                v = 0
            else:
                spikes[t, n] = 0
            if wanted:
                probe[t, 0, n] = v
        state[0, n] = v


LIF = LifKernel()
