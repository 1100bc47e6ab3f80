"""Time and energy of a mapped network on SpiNNaker 1, from the constants in `chip1.toml`.

A step takes its time step times the time scale, whatever happens in it. What a sample costs is

    E = t (chips P_idle + cores P_active) + passages E_router

with the chips that hold a core of the network, all of its cores taken to be active all the time, and a packet's passages through
routers: the links that it takes, and the router that it starts at. So an active core's power holds neuron updates and synaptic
operations, which have no published energies of their own. Sharp et al. 2012 give 100 nJ a neuron and millisecond and 43 nJ a synaptic
event for four chips, of which the second estimate is made.
"""

from __future__ import annotations

from nmap.estimate import Load
from nmap.report.model import BusiestCore, Estimate, Published
from nmap.target.machine import Machine

__all__ = ["estimate"]

_USED = ("chip_idle_power", "core_active_power", "router_packet_energy", "neuron_millisecond_energy", "synaptic_event_energy")
_UNITS = {"W": 1.0, "nJ": 1e-9}
_SOURCES = (
    (
        "Idle: 0.35 W for each chip with a core of the network. Active: 0.034 W for each core, all the time (both measured on boxed boards "
        "of 48 chips, SpiNNMachine). An active core's power holds its neuron updates and synaptic operations."
    ),
    "A packet is 1 nJ in every router that it passes: 25 pJ a bit, 40 bits (published for the chip).",
    "A step takes the time step times the time scale; nothing of the set-up and of reading back is in it.",
    "The published figure is from 100 nJ a neuron and millisecond and 43 nJ a synaptic event (Sharp et al. 2012, four chips).",
)


def estimate(load: Load, machine: Machine) -> Estimate:
    """Return time and energy of a sample, and what they are made of.

    Args:
        load: counted operations; of at least one step.
        machine: what the network is mapped onto.
    """
    constants = {name: machine.spec.constants[name] for name in _USED}
    idle, active, packet, neuron, event = (constants[name].value * _UNITS[constants[name].unit] for name in _USED)
    step, scale = load.settings.get("timestep_us", 1000) * 1e-6, load.settings.get("time_scale", 1)
    runs, steps = load.runs, load.activity.steps
    seconds = steps * step * scale
    operations, updates = int(load.operations.sum()), int(load.updates.sum())
    chips = len({core.chip for core in load.cores})
    static = seconds * (chips * idle + len(load.cores) * active)
    passages = None if load.hops is None else load.hops + int(load.spikes.sum()) / runs
    spikes = None if passages is None else passages * steps * packet
    sharp = steps * (updates * neuron * step * 1e3 + operations / runs * event)
    busiest = int(load.operations.argmax())
    return Estimate(
        None if spikes is None else static + spikes, seconds, _SOURCES,
        step_s=step * scale, steps=steps,
        energy_j={"synaptic_operations": None, "neuron_updates": None, "spikes": spikes, "static": static},
        per_step={
            "synaptic_operations": operations / runs, "neuron_updates": float(updates), "spikes": int(load.spikes.sum()) / runs,
            "packets": load.packets, "hops": load.hops,
        },
        busiest=BusiestCore(load.cores[busiest], int(load.operations[busiest]) / runs, int(load.updates[busiest])),
        level=load.activity.level, samples=load.activity.samples,
        published=Published("SpiNNaker 1, Sharp et al. 2012", step * scale, sharp), constants=constants,
        excludes=("input, output and host", "chips that hold nothing", "boards, power supplies and cooling"), powered=chips,
    )
