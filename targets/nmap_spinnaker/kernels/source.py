"""What stands for a SpikeSourceArray: it repeats what an input port sends it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nmap.connectivity import Array

if TYPE_CHECKING:
    from nmap.compiled import Native

__all__ = ["SOURCE", "Source"]


class Source:
    """A SpikeSourceArray, whose spikes lie in the core's memory before the run; here a port sends them one step ahead.

    It fires where its dendrite is above 0; it has no parameters and no state. The contract is `nmap.emulate.kernel.Kernel`.
    """

    name = "spinnaker1.source"
    params: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    receptors = 1
    graded = False

    @property
    def step(self) -> Native:
        """The compiled step."""
        # numba takes longer to import than the whole command line, so only a run pays for it.
        from nmap_spinnaker.kernels.loops import source

        return source

    def constants(self, params: Mapping[str, Array]) -> Array:  # noqa: ARG002
        """Return no rows, (0, 0) int32."""
        return np.zeros((0, 0), np.int32)

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:  # noqa: ARG002
        """Return the payloads, int64, of the dendrite's shape."""
        return (dendrite > 0).astype(np.int64)


SOURCE = Source()
