"""The neuron that passes on what it receives: Lava's GradedVec with a threshold of 0.

Lava 0.10.0, `lava/proc/graded/models.py` (`PyGradedVecModelFixed`): v += a; sends v where |v| > vth; v = 0. In 32 bits |-2^31| = -2^31,
which is not above 0, so this one sum is not sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from nmap.compiled import Native
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
    graded: bool = True

    @property
    def step(self) -> Native:
        """See `nmap.emulate.kernel.Kernel.step`; the model does not depend on time."""
        from nmap_loihi2.kernels import loops

        return loops.relay

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return no rows."""
        del params
        return np.empty((0, 0), np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:
        """See `nmap.emulate.kernel.Kernel.reference_step`."""
        del params, step
        total = wrap32(state["v"] + dendrite)
        state["v"] = np.zeros_like(total)
        return np.where(wrap32(np.abs(total)) > 0, total, 0)


RELAY = PassingNeuron("loihi2.relay")
"""Sends the sum it receives."""
