"""The toy chip's one neuron, twice: compiled for the emulator (`nmap_toy.loops`), and plain numpy for the reference simulator."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from nmap.compiled import Native
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
    graded = False

    @property
    def step(self) -> Native:
        """The compiled step."""
        # numba takes longer to import than the whole command line, so only a run pays for it.
        from nmap_toy.loops import lif

        return lif

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the parameters in 32 bits, (3, n) int32; a leak beyond 31 leaves what 31 leaves."""
        leak = np.clip(params["leak"], 0, 31)
        return np.array([leak, params["bias"], params["threshold"]]).astype(np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:  # noqa: ARG002
        """Advance one step in plain numpy; return the payloads, int64; shapes as in the contract."""
        v, leak = state["v"], params["leak"]
        leaked = np.where(leak > 0, v - np.right_shift(v, leak), v)
        v = np.clip(leaked + dendrite + params["bias"], V_MIN, V_MAX)
        fired = v >= params["threshold"]
        state["v"] = np.where(fired, 0, v)
        return fired.astype(np.int64)


LIF = LifKernel()
