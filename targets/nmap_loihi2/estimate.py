"""Time and energy of a mapped network on Loihi, from the constants in `chip.toml`.

A step takes as long as the core that is busiest on average, a last spike across the chip, and the barrier that ends the step:

    t = f max over cores (operations t_synop + neurons t_update) + t_mesh + t_barrier

and costs what its operations cost, and the chips' static power as long as it takes:

    E = operations e_synop + neurons e_update + packets e_tile + hops e_hop + chips P_static t

t_ and e_ are the constants that Davies 2018 gives for Loihi 1. Nobody has published such a table for Loihi 2. f is calibrated on the one
public measurement of a Loihi 2, PilotNet-LIF, and P_static is measured there; on Loihi 1 itself f is 1 and P_static not known.
"""

from __future__ import annotations

import numpy as np

from nmap.estimate import Load
from nmap.report.model import BusiestCore, Estimate, Published
from nmap.target.machine import Machine
from nmap.target.spec import Constant

__all__ = ["estimate"]

_UNITS = {"pJ": 1e-12, "ns": 1e-9, "us": 1e-6, "W": 1.0, "1": 1.0}
_ENERGIES = (
    "synaptic_operation_energy", "neuron_update_active_energy", "spike_within_tile_energy", "hop_north_south_energy",
)
_TIMES = (
    "synaptic_operation_time", "neuron_update_active_time", "spike_within_tile_time", "hop_east_west_time", "hop_north_south_time",
    "barrier_time_all_tiles",
)
_CALIBRATED = ("step_time_factor", "pilotnet_static_power")
"""Of Loihi 2 alone."""
_EXCLUDED = "input, output and host"
_CHIPS = "links between chips and their common barrier"


def estimate(load: Load, machine: Machine) -> Estimate:
    """Return time and energy of a sample, and what they are made of.

    Every neuron is taken to cost an active update and every hop that of the dearer direction; the split of hops by direction and the share
    of idle neurons would take off little. The mean over all steps is taken before the busiest core is chosen, so that a step in which
    another core is busier takes longer than estimated.

    Args:
        load: counted operations; of at least one step.
        machine: what the network is mapped onto.
    """
    constants = machine.spec.constants
    first = not constants.keys() >= set(_CALIBRATED)
    used = (*_ENERGIES, *_TIMES, *(() if first else _CALIBRATED))
    value = {name: constants[name].value * _UNITS[constants[name].unit] for name in used}
    runs, steps = load.runs, load.activity.steps
    busy = load.operations / runs * value["synaptic_operation_time"] + load.updates * value["neuron_update_active_time"]
    core = int(np.argmax(busy))
    width, height = machine.spec.variants[machine.variant].mesh
    across = (width - 1) * value["hop_east_west_time"] + (height - 1) * value["hop_north_south_time"] + value["spike_within_tile_time"]
    ended = across + value["barrier_time_all_tiles"]
    raw = float(busy[core]) + ended
    step = raw if first else float(busy[core]) * value["step_time_factor"] + ended
    operations, updates = int(load.operations.sum()), int(load.updates.sum())
    spikes = None
    if load.packets is not None and load.hops is not None:
        spikes = load.packets * value["spike_within_tile_energy"] + load.hops * value["hop_north_south_energy"]
    dynamic = {
        "synaptic_operations": operations / runs * value["synaptic_operation_energy"],
        "neuron_updates": updates * value["neuron_update_active_energy"],
        "spikes": spikes,
    }
    energy = {name: None if joule is None else joule * steps for name, joule in dynamic.items()}
    energy["static"] = None if first else machine.chips * value["pilotnet_static_power"] * step * steps
    return Estimate(
        _sum(energy), step * steps, _sources(constants, first), step_s=step, steps=steps, energy_j=energy,
        per_step={
            "synaptic_operations": operations / runs, "neuron_updates": float(updates), "spikes": int(load.spikes.sum()) / runs,
            "packets": load.packets, "hops": load.hops,
        },
        busiest=BusiestCore(load.cores[core], int(load.operations[core]) / runs, int(load.updates[core])),
        level=load.activity.level, samples=load.activity.samples,
        published=Published("Loihi 1", raw, _sum({name: energy[name] for name in dynamic})),
        factor=None if first else constants["estimate_factor"].value,
        within=None if first else "the one published measurement, PilotNet-LIF on Loihi 2 (Oheo Gulch)",
        constants={name: constants[name] for name in used},
        excludes=(_EXCLUDED, *((_CHIPS,) if machine.chips > 1 else ())),
    )


def _sum(parts: dict[str, float | None]) -> float | None:
    known = [part for part in parts.values() if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _sources(constants: dict[str, Constant], first: bool) -> tuple[str, ...]:
    """Return what the numbers rest on, in sentences."""
    davies = "Energies and times of operations: Loihi 1, 0.75 V, pre-silicon SPICE simulation (Davies 2018, table 2, second hand)."
    if first:
        return (davies, "Nothing of it was compared with a measurement. Static power is not published per chip.")
    factor, most = constants["step_time_factor"], constants["estimate_factor"]
    step, static = constants["pilotnet_step_time"].value, constants["pilotnet_static_power"].value
    sdnn, other = constants["pilotnet_sdnn_step_time"].value, constants["pilotnet_sdnn_static_power"].value
    calibration = "calibrated on one network on Loihi 2 (Oheo Gulch), PilotNet-LIF"
    return (
        davies,
        f"Times on cores are scaled by {factor.value:g}, {calibration}: {step:g} us per step. One point cannot validate itself.",
        "Energies of operations are not scaled: they give 0.99 of the dynamic energy measured in that run.",
        f"Static power: {static:g} W per chip in that run, {other:g} W in the run of PilotNet-SDNN.",
        f"Within a factor of {most.value:g} of that run, step by step; for other networks there is nothing to compare with.",
        f"Consistent with PilotNet-SDNN, whose {sdnn:g} us per step are bound by its input: the estimate is far below.",
    )
