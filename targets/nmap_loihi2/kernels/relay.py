"""The neuron that passes on what it receives: Lava's GradedVec with a threshold of 0.

Lava 0.10.0, `lava/proc/graded/models.py` (`PyGradedVecModelFixed`): v += a; sends v where |v| > vth; v = 0. In 32 bits |-2^31| = -2^31,
which is not above 0, so this one sum is not sent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array
from nmap_loihi2.kernels.arithmetic import wrap32

__all__ = ["RELAY", "PassingNeuron"]


@dataclass(frozen=True, slots=True)
class PassingNeuron:
    """A neuron without memory that sends its dendritic sum; see `nmap.emulate.kernel.Kernel`. v is an initial value, then 0."""

    name: str
    params: tuple[str, ...] = ()
    state: tuple[str, ...] = ("v",)
    receptors: int = 1

    def run(self, params: Array, state: Array, dendrite: Array, spikes: Array, probe: Array, first_step: int) -> None:
        """See `nmap.emulate.kernel.Kernel.run`; copying needs no compiled loop."""
        del params, first_step
        spikes[:] = dendrite
        spikes[:1] += state.astype(np.int32)
        spikes[spikes == -(1 << 31)] = 0
        state[:] = 0
        probe[:] = 0

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        del params, step
        total = wrap32(state["v"] + dendrite)
        state["v"] = np.zeros_like(total)
        return np.where(wrap32(np.abs(total)) > 0, total, 0)


RELAY = PassingNeuron("loihi2.relay")
"""Sends the sum it receives."""
