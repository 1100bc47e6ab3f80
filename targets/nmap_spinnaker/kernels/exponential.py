"""IF_curr_exp: a leaky integrator with exponential currents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from nmap.connectivity import Array
from nmap.emulate.kernel import Counted
from nmap_spinnaker.arithmetic import decay_and_init, expk, kdivk, refractory_steps, wrap32
from nmap_spinnaker.kernels.common import COUNTERS, as_rows, checked_shifts, reference_input, reference_leak, reference_wrap

if TYPE_CHECKING:
    from nmap.compiled import Native

__all__ = ["IF_CURR_EXP", "IfCurrExp"]


class IfCurrExp:
    """sPyNNaker's IF_curr_exp; equations and records in `nmap_spinnaker.kernels`, the contract in `nmap.emulate.kernel.Kernel`."""

    name = "spinnaker1.if_curr_exp"
    params: tuple[str, ...] = (
        "tau_m", "cm", "v_rest", "v_reset", "v_thresh", "i_offset", "tau_refrac", "tau_syn_E", "tau_syn_I", "timestep", "shift_0",
        "shift_1",
    )
    state: tuple[str, ...] = ("v", "syn_0", "syn_1", "refract", "saturated")
    counters: Mapping[str, Counted] = COUNTERS
    receptors = 2
    graded = False

    @property
    def step(self) -> Native:
        """The compiled step."""
        # numba takes longer to import than the whole command line, so only a run pays for it.
        from nmap_spinnaker.kernels.loops import if_curr_exp

        return if_curr_exp

    def constants(self, params: Mapping[str, Array]) -> Array:
        """Return (13, n) int32: R, E, v_rest, i_offset, v_thresh, v_reset, T_ref, D and I0 of receptor 0, then of receptor 1, both shifts.

        Raises:
            ValueError: a time constant, `cm` or `timestep` is 0, or a shift is not in 0..31.
        """
        shift_0, shift_1 = checked_shifts(params)
        keep_0, first_0 = decay_and_init(params["tau_syn_E"], params["timestep"])
        keep_1, first_1 = decay_and_init(params["tau_syn_I"], params["timestep"])
        return as_rows(
            kdivk(params["tau_m"], params["cm"]), expk(wrap32(-kdivk(params["timestep"], params["tau_m"]))), params["v_rest"],
            params["i_offset"], params["v_thresh"], params["v_reset"], refractory_steps(params["tau_refrac"], params["timestep"]),
            keep_0, first_0, keep_1, first_1, shift_0, shift_1,
        )

    def reference_step(self, params: dict[str, Array], state: dict[str, Array], dendrite: Array, step: int) -> Array:  # noqa: ARG002
        """Advance one step in plain numpy; return the payloads, int64; shapes as in the contract."""
        received = reference_input(params, state, dendrite)
        for receptor, tau in enumerate(("tau_syn_E", "tau_syn_I")):
            keep, first = decay_and_init(params[tau], params["timestep"])
            # Both factors are 32 bits without sign; the product with 32 bits that have one fits into 64.
            kept = state[f"syn_{receptor}"] * keep // 2**32
            state[f"syn_{receptor}"] = reference_wrap(kept + received[receptor] * first // 2**32)
        current = reference_wrap(state["syn_0"] - state["syn_1"] + params["i_offset"])
        leak = expk(wrap32(-kdivk(params["timestep"], params["tau_m"])))
        moved = reference_leak(state["v"], current, kdivk(params["tau_m"], params["cm"]), leak, params["v_rest"])
        free = state["refract"] <= 0
        v = np.where(free, moved, state["v"])
        fired = v >= params["v_thresh"]
        state["v"] = np.where(fired, params["v_reset"], v)
        waited = np.where(free, state["refract"], state["refract"] - 1)
        state["refract"] = np.where(fired, refractory_steps(params["tau_refrac"], params["timestep"]), waited)
        return fired.astype(np.int64)


IF_CURR_EXP = IfCurrExp()
