"""IF_trunc: an integrator without leak that never falls below its reset value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nmap.connectivity import Array
from nmap.emulate.kernel import Counted
from nmap_spinnaker.arithmetic import kdivk, refractory_steps
from nmap_spinnaker.kernels.common import COUNTERS, as_rows, checked_shifts, reference_input, reference_mul, reference_wrap

if TYPE_CHECKING:
    from nmap.compiled import Native

__all__ = ["IF_TRUNC", "IfTrunc"]


class IfTrunc:
    """The binary of sPyNNaker's IFTruncDelta under a class that writes what the binary reads: no input type's parameters.

    sPyNNaker 7.4.1's own class writes one word for each neuron more than the binary reads, so that threshold and synapses are
    wrong on the chip. Equations and records in `nmap_spinnaker.kernels`, the contract in `nmap.emulate.kernel.Kernel`.
    """

    name = "spinnaker1.if_trunc"
    params: tuple[str, ...] = ("tau_m", "cm", "v_reset", "v_thresh", "i_offset", "tau_refrac", "timestep", "shift_0", "shift_1")
    state: tuple[str, ...] = ("v", "refract", "saturated")
    counters: Mapping[str, Counted] = COUNTERS
    receptors = 2
    graded = False

    @property
    def step(self) -> Native:
        """The compiled step."""
        # numba takes longer to import than the whole command line, so only a run pays for it.
        from nmap_spinnaker.kernels.loops import if_trunc

        return if_trunc

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return (7, n) int32: R, i_offset, v_thresh, v_reset, T_ref, both shifts.

        Raises:
            ValueError: `cm` or `timestep` is 0, or a shift is not in 0..31.
        """
        return as_rows(
            kdivk(params["tau_m"], params["cm"]), params["i_offset"], params["v_thresh"], params["v_reset"],
            refractory_steps(params["tau_refrac"], params["timestep"]), *checked_shifts(params),
        )

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:  # noqa: ARG002
        """Advance one step in plain numpy; return the payloads, int64; shapes as in the contract."""
        excitatory, inhibitory = reference_input(params, state, dendrite)
        current = reference_wrap(excitatory - inhibitory + params["i_offset"])
        risen = reference_wrap(reference_mul(current, kdivk(params["tau_m"], params["cm"])) + state["v"])
        free = state["refract"] <= 0
        v = np.where(free, np.maximum(risen, params["v_reset"]), state["v"])
        fired = v >= params["v_thresh"]
        state["v"] = np.where(fired, params["v_reset"], v)
        waited = np.where(free, state["refract"], state["refract"] - 1)
        state["refract"] = np.where(fired, refractory_steps(params["tau_refrac"], params["timestep"]), waited)
        return fired.astype(np.int64)


IF_TRUNC = IfTrunc()
