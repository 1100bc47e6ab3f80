"""Neurons of SpiNNaker 1 and SpiNNaker 2.

SpiNNaker 1: sPyNNaker 7.4.1's IF_curr_exp is the target's own kernel, `nmap_spinnaker.kernels`.

SpiNNaker 2: py-spinnaker2's `lif` as its users describe it, which is not checked against the chip beyond a few traces. In float32, each
operation rounded by itself: v = (alpha_decay v + a) + i_offset; spike where v > threshold, then v - threshold or v_reset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numba import carray

from nmap.compiled import Native, compiled, native
from nmap.connectivity import Array
from nmap.emulate.kernel import SHARED, STEP
from nmap.pointers import float32_at, int32_at, uint8_at
from nmap_spinnaker.kernels import IF_CURR_EXP

__all__ = ["SPINNAKER1", "SPINNAKER2", "Spinnaker2Lif", "bits", "real"]


def bits(values: Array) -> Array:
    """Return the 32 bits of float32 numbers, as int64."""
    return np.asarray(values, np.float32).view(np.int32).astype(np.int64)


def real(words: Array) -> Array:
    """Return the float32 numbers of 32 bits each."""
    return words.astype(np.int32).view(np.float32)


@compiled(inline="always")
def _advance2(v, total, alpha, threshold, offset, reset, subtract):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    """Return whether the neuron fires, and its potential afterwards."""
    v = np.float32(np.float32(np.float32(alpha * v) + np.float32(total)) + offset)
    fires = v > threshold
    lowered = np.float32(v - threshold) if subtract != np.int32(0) else reset
    return fires, lowered if fires else v


@native(STEP)
def _step2(constants, shared, state, dendrite, sent, n, first, last, time):  # type: ignore[no-untyped-def] # pragma: no cover - compiled
    count, row, own = last - first, 4 * n, constants + 4 * first
    v, total = carray(float32_at(state + 4 * first), count), carray(int32_at(dendrite + 4 * first), count)
    spikes = carray(uint8_at(sent + first), count)
    if shared == SHARED:
        c, mode = carray(float32_at(constants), (5, n)), carray(int32_at(constants), (5, n))
        alpha, threshold, offset, reset, subtract = c[0, 0], c[1, 0], c[2, 0], c[3, 0], mode[4, 0]
        for j in range(count):
            spikes[j], v[j] = _advance2(v[j], total[j], alpha, threshold, offset, reset, subtract)
    else:
        c0, c1 = carray(float32_at(own), count), carray(float32_at(own + row), count)
        c2, c3 = carray(float32_at(own + 2 * row), count), carray(float32_at(own + 3 * row), count)
        c4 = carray(int32_at(own + 4 * row), count)
        for j in range(count):
            spikes[j], v[j] = _advance2(v[j], total[j], c0[j], c1[j], c2[j], c3[j], c4[j])


@dataclass(frozen=True, slots=True)
class Spinnaker2Lif:
    """py-spinnaker2's `lif`; see `nmap.emulate.kernel.Kernel`.

    Parameters and state are the bits of float32 numbers (`bits`), `subtract` is 1 for a reset by subtraction of the threshold, else 0.
    """

    name: str = "spinnaker2.lif"
    params: tuple[str, ...] = ("alpha_decay", "threshold", "i_offset", "v_reset", "subtract")
    receptors: int = 1
    state: tuple[str, ...] = ("v",)
    graded: bool = False

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`."""
        return _step2

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the parameters, (5, n) int32."""
        return np.stack([params[name] for name in self.params]).astype(np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        alpha, threshold, offset, reset = (real(params[name]) for name in self.params[:4])
        v = alpha * real(state["v"])
        v = v + dendrite.astype(np.float32)
        v = v + offset
        fires = v > threshold
        state["v"] = bits(np.where(fires, np.where(params["subtract"] == 1, v - threshold, reset), v))
        return fires.astype(np.int64)


SPINNAKER1 = IF_CURR_EXP
SPINNAKER2 = Spinnaker2Lif()
