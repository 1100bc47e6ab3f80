"""Time and energy of a mapped network on TrueNorth, from the constants in `chip.toml`.

A tick takes 1 ms, whatever happens in it. What a sample costs is

    E = events e_event + (cores / cores of a chip) P_chip t

An event is an active axon that meets a set crossbar bit, so axons of one source and copies of one neuron all count. e_event is 26 pJ, from
a chip of a million neurons with 128 active synapses at 20 Hz: 2^20 * 128 * 20 Hz * 26 pJ is 70 mW, the power of the whole chip. So it holds
the chip's static power at that activity, and spikes and neuron updates, too. What a chip takes that does less is not published; as others
do (Diehl 2016 counts 17 uW for one core of 4096), used cores are charged their share of the chip's power. A network as busy as that chip is
charged twice by this: its estimate is at most twice what it takes.
"""

from __future__ import annotations

from nmap.estimate import Load
from nmap.report.model import Estimate, Published
from nmap.target.machine import Machine
from nmap.target.spec import ChipSpec

__all__ = ["estimate"]

_UNITS = {"pJ": 1e-12, "mW": 1e-3, "ms": 1e-3}
_SOURCES = (
    (
        "A synaptic event, an active axon on a set crossbar bit, is 26 pJ (Merolla 2014, second hand): the power of a whole chip over its "
        "events, with 128 active synapses and 20 Hz a neuron. Neuron updates, spikes and static power are in it."
    ),
    (
        "Static: the used cores' share of 65 mW, the power of a busy chip. That counts the events of a busy network a second time: the sum "
        "is at most twice what such a network takes. What an idle core takes is not published."
    ),
    "A tick is 1 ms; the chip can be run faster.",
    "Nothing of it was compared with a measurement of a network of this compiler.",
)
_USED = ("synaptic_event_energy", "chip_power", "tick")


def estimate(load: Load, machine: Machine, spec: ChipSpec) -> Estimate:
    """Return time and energy of a sample, and what they are made of.

    Args:
        load: counted operations, copies included; of at least one step.
        machine: what the network is mapped onto.
        spec: the chip data.
    """
    constants = {name: spec.constants[name] for name in _USED}
    event, power, tick = (constants[name].value * _UNITS[constants[name].unit] for name in _USED)
    runs, steps = load.runs, load.activity.steps
    operations, updates = int(load.operations.sum()), int(load.updates.sum())
    dynamic = operations / runs * event * steps
    static = len(load.cores) / spec.variants[machine.variant].cores * power * tick * steps
    return Estimate(
        dynamic + static, tick * steps,
        _SOURCES,
        step_s=tick, steps=steps,
        energy_j={"synaptic_operations": dynamic, "neuron_updates": None, "spikes": None, "static": static},
        per_step={
            "synaptic_operations": operations / runs, "neuron_updates": float(updates), "spikes": int(load.spikes.sum()) / runs,
            "packets": load.packets, "hops": load.hops,
        },
        level=load.activity.level, samples=load.activity.samples, published=Published("TrueNorth", tick, dynamic), constants=constants,
        excludes=("input, output and host", "links between chips") if machine.chips > 1 else ("input, output and host",),
    )
