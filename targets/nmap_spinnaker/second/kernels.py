"""SpiNNaker 2's neurons as py-spinnaker2 has them: integer weights, float32 state, every operation rounded by itself.

One step, with s the sum of the weights that arrive (of `lif_curr_exp` the positive ones s_0 and the negative ones without their sign s_1):

    lif, lif_no_delay:            v = (alpha_decay v + s) + i_offset
    lif_curr_exp, .._no_delay:    i_exc = exc_decay i_exc + s_0;  i_inh = inh_decay i_inh + s_1
                                  v = (alpha_decay v + (i_exc - i_inh)) + i_offset
    spike where v > threshold:    v = v - threshold (`reset_by_subtraction`), or v_reset (`reset_to_v_reset`)

The models with and without delays compute the same; they differ in what their synapses hold. Recorded chip traces pin the order of
these lines, both resets, and the offset that acts from the first step on. They do not pin whether products are rounded before they are
added, in which order v is summed, and whether i_exc and i_inh are two numbers: other ways give the same spikes there.

A number that is none has many forms of bits, and which one an operation returns depends on the order of its operands; here there is one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from nmap.compiled import Native
from nmap.connectivity import Array
from nmap_spinnaker.second.numbers import real

__all__ = ["CURRENT", "CURRENT_DELAYED", "KERNELS", "LIF", "LIF_DELAYED", "CurrentKernel", "LifKernel"]

_NAN: Final = 0x7FC00000
_COMMON = ("alpha_decay", "threshold", "i_offset", "v_reset", "subtract")


def _words(values: Array) -> Array:
    """Return the bits of float32 numbers, int64; those of every number that is none are the same."""
    words = np.ascontiguousarray(values, np.float32).view(np.int32).astype(np.int64)
    return np.where(np.isnan(values), _NAN, words)


def _fire(params: Mapping[str, Array], v: Array) -> tuple[Array, Array]:
    """Return the bits of v after the comparison and the reset, and the payloads."""
    threshold, reset = real(params["threshold"]), real(params["v_reset"])
    fires = v > threshold
    after = np.where(fires, np.where(params["subtract"] != 0, v - threshold, reset), v)
    return _words(after), fires.astype(np.int64)


@dataclass(frozen=True, slots=True)
class LifKernel:
    """`lif` and `lif_no_delay`; see `nmap.emulate.kernel.Kernel`.

    Parameters and v are bits of float32 numbers; `subtract` is 1 for `reset_by_subtraction`, 0 for `reset_to_v_reset`.
    """

    name: str
    params: tuple[str, ...] = _COMMON
    receptors: int = 1
    state: tuple[str, ...] = ("v",)
    graded: bool = False

    @property
    def floats(self) -> tuple[str, ...]:
        """State variables that are real numbers: all."""
        return self.state

    @property
    def step(self) -> Native:
        """The compiled step."""
        # numba takes longer to import than the whole command line, so only a run pays for it.
        from nmap_spinnaker.second.loops import lif

        return lif

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the parameters, (5, n) int32."""
        return np.stack([params[name] for name in self.params]).astype(np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:  # noqa: ARG002
        """Advance one step in plain numpy; return the payloads, int64; shapes as in the contract."""
        with np.errstate(over="ignore", invalid="ignore"):
            v = real(params["alpha_decay"]) * real(state["v"])
            v = v + dendrite.astype(np.float32)
            state["v"], sent = _fire(params, v + real(params["i_offset"]))
        return sent


@dataclass(frozen=True, slots=True)
class CurrentKernel:
    """`lif_curr_exp` and `lif_curr_exp_no_delay`; see `nmap.emulate.kernel.Kernel`.

    Receptor 0 gets the positive weights, receptor 1 the negative ones without their sign. Parameters and state are bits of float32
    numbers; `subtract` as in `LifKernel`. A refractory time is not modelled: how the chip counts it is not published, and s2_nir writes 0.
    """

    name: str
    params: tuple[str, ...] = (*_COMMON, "exc_decay", "inh_decay")
    receptors: int = 2
    state: tuple[str, ...] = ("v", "i_exc", "i_inh")
    graded: bool = False

    @property
    def floats(self) -> tuple[str, ...]:
        """State variables that are real numbers: all."""
        return self.state

    @property
    def step(self) -> Native:
        """The compiled step."""
        from nmap_spinnaker.second.loops import lif_curr_exp

        return lif_curr_exp

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the parameters, (7, n) int32."""
        return np.stack([params[name] for name in self.params]).astype(np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:  # noqa: ARG002
        """Advance one step in plain numpy; return the payloads, int64; shapes as in the contract."""
        n = params["threshold"].size
        arrived = dendrite.astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            excited = real(params["exc_decay"]) * real(state["i_exc"])
            excited = excited + arrived[..., :n]
            inhibited = real(params["inh_decay"]) * real(state["i_inh"])
            inhibited = inhibited + arrived[..., n:]
            v = real(params["alpha_decay"]) * real(state["v"])
            v = v + (excited - inhibited)
            state["i_exc"], state["i_inh"] = _words(excited), _words(inhibited)
            state["v"], sent = _fire(params, v + real(params["i_offset"]))
        return sent


LIF = LifKernel("spinnaker2.lif_no_delay")
LIF_DELAYED = LifKernel("spinnaker2.lif")
CURRENT = CurrentKernel("spinnaker2.lif_curr_exp_no_delay")
CURRENT_DELAYED = CurrentKernel("spinnaker2.lif_curr_exp")

KERNELS: Final[dict[str, LifKernel | CurrentKernel]] = {
    kernel.name: kernel for kernel in (LIF, LIF_DELAYED, CURRENT, CURRENT_DELAYED)
}
