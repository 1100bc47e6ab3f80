"""Time and energy on SpiNNaker 2: what is published is the power of a whole chip, so neither is estimated.

A network's energy lies between that of a chip asleep and of one whose elements are all busy, for as long as it runs; how long a step
takes depends on costs that nobody has published.
"""

from __future__ import annotations

import numpy as np

from nmap.estimate import Load
from nmap.report.model import BusiestCore, Estimate
from nmap.target.machine import Machine

__all__ = ["estimate"]

_USED = ("power_idle", "power_busy", "event_rate", "event_energy_level")


def estimate(load: Load, machine: Machine) -> Estimate:
    """Return what was counted, with the published constants beside it; energy and time are None.

    Args:
        load: counted operations; of at least one step.
        machine: what the network is mapped onto.
    """
    constants = {name: machine.spec.constants[name] for name in _USED}
    runs = load.runs
    core = int(np.argmax(load.operations))
    idle, busy, level = (constants[name].value for name in ("power_idle", "power_busy", "event_energy_level"))
    sources = (
        f"Power of one chip, third party: {idle:g} mW with all elements asleep, {busy:g} mW with all of them busy (arXiv:2607.24396).",
        (
            f"Less than {level:g} nJ for a synaptic event is a whole busy chip's power over its published rate of events, third party: a"
            " level from above, and no energy of one event."
        ),
    )
    return Estimate(
        None, None, sources, steps=load.activity.steps,
        per_step={
            "synaptic_operations": int(load.operations.sum()) / runs, "neuron_updates": float(load.updates.sum()),
            "spikes": int(load.spikes.sum()) / runs, "packets": load.packets, "hops": load.hops,
        },
        busiest=BusiestCore(load.cores[core], int(load.operations[core]) / runs, int(load.updates[core])),
        level=load.activity.level, samples=load.activity.samples, constants=constants, excludes=("input, output and host",),
        reason="neither the energy of an operation nor its time is published for SpiNNaker 2, only the power of whole chips",
    )
