"""Loihi 2 neurons in the arithmetic of Lava's fixed-point process models.

The equations are those of `lava/proc/lif/models.py` (`PyLifModelBitAcc`, `PyTernLifModelFixed`), restated: with T0(x, n) the shift
toward zero, a the dendritic sum of the step, state widths of 24 bits,

    u = W( T0(u (4096 - du - 1), 12) + (a << 6) )                     W: one wrap into (-2^23, 2^23]
    v = clip( T0(v (4096 - dv), 12) + u + (bias_mant << bias_exp), +-(2^23 - 1) )
    spike where v > (vth << 6); v = 0 there; u stays

They reproduce a recorded Loihi 2 run of one neuron spike for spike. `run` and `reference_step` are written separately on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from nmap.compiled import compiled
from nmap.connectivity import Array
from nmap.emulate.kernel import Kernel

__all__ = ["KERNELS", "LIF", "TERNARY_LIF"]

_HALF = 1 << 23
_MAX = _HALF - 1

_SIGNATURE = "void(int64[:,::1], int64[:,::1], int64[:,::1], int32[:,::1], int64[:,:,::1])"


@compiled("int64(int64, int64)", inline="always")
def _decay(value: int, factor: int) -> int:
    product = value * factor
    # An arithmetic shift rounds down; the chip rounds toward zero.
    return product >> 12 if product >= 0 else -((-product) >> 12)


@compiled("int64(int64)", inline="always")
def _wrap(value: int) -> int:
    if value > 8388608:
        return value - 16777216
    if value <= -8388608:
        return value + 16777216
    return value


@compiled("int64(int64)", inline="always")
def _saturate(value: int) -> int:
    return min(max(value, -8388607), 8388607)


@compiled("int64(int64, int64)", inline="always")
def _bias(mantissa: int, exponent: int) -> int:
    return mantissa << exponent if exponent >= 0 else mantissa >> -exponent


@compiled(_SIGNATURE)
def _run_lif(params: Any, state: Any, dendrite: Any, spikes: Any, probe: Any) -> None:
    steps, n = dendrite.shape
    keep = probe.size > 0
    for k in range(n):
        decay_u, decay_v = 4095 - params[0, k], 4096 - params[1, k]
        threshold = params[2, k] << 6
        bias = _bias(params[3, k], params[4, k])
        u, v = state[0, k], state[1, k]
        for t in range(steps):
            u = _wrap(_decay(u, decay_u) + (dendrite[t, k] << 6))
            v = _saturate(_decay(v, decay_v) + u + bias)
            if v > threshold:
                v = 0
                spikes[t, k] = 1
            else:
                spikes[t, k] = 0
            if keep:
                probe[t, 0, k] = u
                probe[t, 1, k] = v
        state[0, k] = u
        state[1, k] = v


@compiled(_SIGNATURE)
def _run_ternary_lif(params: Any, state: Any, dendrite: Any, spikes: Any, probe: Any) -> None:
    steps, n = dendrite.shape
    keep = probe.size > 0
    for k in range(n):
        decay_u, decay_v = 4095 - params[0, k], 4096 - params[1, k]
        high, low = params[2, k] << 6, params[5, k] << 6
        bias = _bias(params[3, k], params[4, k])
        u, v = state[0, k], state[1, k]
        for t in range(steps):
            u = _wrap(_decay(u, decay_u) + (dendrite[t, k] << 6))
            v = _saturate(_decay(v, decay_v) + u + bias)
            spike = (1 if v > high else 0) - (1 if v < low else 0)
            if spike != 0:
                v = 0
            spikes[t, k] = spike
            if keep:
                probe[t, 0, k] = u
                probe[t, 1, k] = v
        state[0, k] = u
        state[1, k] = v


def _toward_zero(values: Array, factor: Array) -> Array:
    product = values * factor
    return np.sign(product) * (np.abs(product) >> 12)


def _integrate(params: dict[str, Array], state: dict[str, Array], dendrite: Array) -> tuple[Array, Array]:
    u = _toward_zero(state["u"], 4095 - params["du"]) + (dendrite << 6)
    u = np.where(u > _HALF, u - 2 * _HALF, np.where(u <= -_HALF, u + 2 * _HALF, u))
    exponent = params["bias_exp"]
    bias = np.where(exponent >= 0, params["bias_mant"] << np.maximum(exponent, 0), params["bias_mant"] >> np.maximum(-exponent, 0))
    v = np.clip(_toward_zero(state["v"], 4096 - params["dv"]) + u + bias, -_MAX, _MAX)
    return u, v


def _fire(params: dict[str, Array], v: Array) -> Array:
    return (v > (params["vth"] << 6)).astype(np.int64)


def _fire_either_way(params: dict[str, Array], v: Array) -> Array:
    return _fire(params, v) - (v < (params["vth_lo"] << 6))


@dataclass(frozen=True, slots=True)
class CurrentNeuron:
    """A neuron with synaptic current u and voltage v that resets v to zero on a spike.

    Args:
        name: see `nmap.emulate.kernel.Kernel`.
        params: `du`, `dv` decays in 1/4096 per step (du = -1: no current decay, dv = 4096: no membrane memory), `vth` threshold in units
            of 64, `bias_mant`, `bias_exp`, and what the model adds.
        compiled: runs all steps.
        fire: payloads from parameters and voltage, in plain numpy.
        state: u and v.
    """

    name: str
    params: tuple[str, ...]
    compiled: Callable[..., None]
    fire: Callable[[dict[str, Array], Array], Array]
    state: tuple[str, ...] = ("u", "v")
    receptors: int = 1

    def run(self, params: Array, state: Array, dendrite: Array, spikes: Array, probe: Array, first_step: int) -> None:
        """See `nmap.emulate.kernel.Kernel.run`; the model does not depend on time."""
        del first_step
        self.compiled(params, state, dendrite, spikes, probe)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        del step
        u, v = _integrate(params, state, dendrite)
        spike = self.fire(params, v)
        state["u"], state["v"] = u, np.where(spike != 0, 0, v)
        return spike


_LIF_PARAMS = ("du", "dv", "vth", "bias_mant", "bias_exp")

LIF = CurrentNeuron("loihi2.lif", _LIF_PARAMS, _run_lif, _fire)
"""Leaky integrate-and-fire (CUBA): sends 1 above `vth`."""
TERNARY_LIF = CurrentNeuron("loihi2.ternary_lif", (*_LIF_PARAMS, "vth_lo"), _run_ternary_lif, _fire_either_way)
"""LIF that also sends -1 below `vth_lo`, in units of 64."""
KERNELS: dict[str, Kernel] = {LIF.name: LIF, TERNARY_LIF.name: TERNARY_LIF}
