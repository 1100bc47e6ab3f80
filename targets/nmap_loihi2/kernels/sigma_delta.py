"""Neurons that send changes: Lava's Delta, SigmaDelta and Sigma.

The equations are those of Lava 0.10.0, `lava/proc/sdn/models.py` (`PyDeltaModelFixed`, `PySigmaDeltaModelFixed`, `PySigmaModelFixed`),
restated; a is the dendritic sum of the step:

    Delta:       x = a << (spike_exp + state_exp)
    SigmaDelta:  sigma += a; x = sigma + bias, and 0 where that is negative if `rectify`
    both:        d = x - act + residue; o = d where |d| >= vth, else 0; residue = d - o; act = x; sends o >> state_exp (rounded down)
    cum_error:   error += d; o = d where |error| >= vth, else 0; error = 0 where o is not 0
    Sigma:       sigma += a; sends sigma

All of it in 32 bits that wrap. There |-2^31| = -2^31: below a threshold from 0 on, and no change that would clear the error. What
`>> state_exp` cuts off is lost. A model that keeps it, `PySigmaDeltaModelFixedCorrected`, was added to Lava's repository after 0.10.0,
and is not the one that Lava selects.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nmap.compiled import Native
from nmap.connectivity import Array
from nmap_loihi2.kernels.arithmetic import scale, shift_left, shift_right, words, wrap32

__all__ = ["DELTA", "SIGMA", "SIGMA_DELTA", "ChangeNeuron", "Summation"]


@dataclass(frozen=True, slots=True)
class ChangeNeuron:
    """A neuron that sends how much its activation has changed; see `nmap.emulate.kernel.Kernel`.

    Args:
        name: of the kernel.
        extra: parameters beside `vth` (already times 2^(spike_exp + state_exp)), `spike_exp`, `state_exp` and `cum_error` (0 or 1): `bias`
            (scaled like vth) and `rectify` (0 or 1) of a neuron that sums what it receives.
        state: u is the sum (of a neuron that does not sum: the input of the step), v the activation.
    """

    name: str
    extra: tuple[str, ...] = ()
    state: tuple[str, ...] = ("u", "v", "residue", "error")
    receptors: int = 1
    graded: bool = True

    @property
    def params(self) -> tuple[str, ...]:
        """Parameter names in row order."""
        return ("vth", "spike_exp", "state_exp", "cum_error", *self.extra)

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`; the model does not depend on time."""
        from nmap_loihi2.kernels import loops

        return loops.sigma_delta if self.extra else loops.delta

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return the rows of `loops`, (5, n) int32 of a neuron that sums what it receives, else (4, n)."""
        down = params["state_exp"]
        down = np.where((down >= 0) & (down < 32), down, 31)
        rows = [wrap32(params["vth"]), down, -(params["cum_error"] != 0).astype(np.int64)]
        if self.extra:
            rows += [wrap32(params["bias"]), np.where(params["rectify"] != 0, 0, -(1 << 31))]
        else:
            rows.append(scale(params["spike_exp"] + params["state_exp"]))
        return words(*rows)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        del step
        if self.extra:
            u = wrap32(state["u"] + dendrite)
            x = wrap32(u + params["bias"])
            x = np.where((params["rectify"] != 0) & (x < 0), 0, x)
        else:
            u = wrap32(dendrite)
            x = shift_left(u, params["spike_exp"] + params["state_exp"])
        change = wrap32(x - state["v"] + state["residue"])
        cumulative = params["cum_error"] != 0
        error = np.where(cumulative, wrap32(state["error"] + change), state["error"])
        sent = np.where(wrap32(np.abs(np.where(cumulative, error, change))) >= wrap32(params["vth"]), change, 0)
        state["u"], state["v"], state["residue"] = u, x, wrap32(change - sent)
        state["error"] = np.where(cumulative & (wrap32(np.abs(sent)) > 0), 0, error)
        return shift_right(sent, params["state_exp"])


@dataclass(frozen=True, slots=True)
class Summation:
    """A neuron that sends the sum of all it has received; see `nmap.emulate.kernel.Kernel`. u and v are both the sum."""

    name: str
    params: tuple[str, ...] = ()
    state: tuple[str, ...] = ("u", "v")
    receptors: int = 1
    graded: bool = True

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`; the model does not depend on time."""
        from nmap_loihi2.kernels import loops

        return loops.sigma

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return no rows."""
        del params
        return np.empty((0, 0), np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        del params, step
        state["u"] = state["v"] = wrap32(state["v"] + dendrite)
        return state["v"]


DELTA = ChangeNeuron("loihi2.delta")
"""Sends the changes of its input that reach `vth`."""
SIGMA_DELTA = ChangeNeuron("loihi2.sigma_delta", ("bias", "rectify"))
"""Sums the changes it receives and sends the changes of its activation that reach `vth`."""
SIGMA = Summation("loihi2.sigma")
"""Sends the sum of the changes it receives."""
