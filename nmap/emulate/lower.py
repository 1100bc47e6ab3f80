"""Lower a core program to what the engine runs: units, what is added to their dendrites, and the order in which they can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nmap.emulate.kernel import Kernel
from nmap.emulate.parts import Accumulator, Part, synapses_into
from nmap.emulate.units import Unit, components, damaged, drivers, units
from nmap.program import Program

__all__ = ["Layout", "lower"]

_TOGETHER = 64
"""Neurons are shared out between threads in multiples of this, a line of the cache of their spikes; those of maps in whole rows."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A program ready to run. Cores have left no trace in it but the order of the neurons.

    Args:
        units: one per population, in the program's order.
        edges: by unit, where the neurons of each thread of a team begin, and the end: (threads + 1,).
        accumulators: what is added to the dendrites of each thread's neurons, by thread and unit.
        components: units in an order in which sources come first; those of one component feed each other.
    """

    units: tuple[Unit, ...]
    edges: tuple[tuple[int, ...], ...]
    accumulators: tuple[tuple[tuple[Accumulator, ...], ...], ...]
    components: tuple[tuple[int, ...], ...]

    @property
    def parts(self) -> list[Part]:
        """All parts, in order."""
        return [part for thread in self.accumulators for into in thread for accumulator in into for part in accumulator.parts]

    @property
    def team(self) -> int:
        """Threads that share a sample."""
        return len(self.accumulators)

    @property
    def looped(self) -> list[bool]:
        """Whether each component feeds itself."""
        own = {
            target for thread in self.accumulators for target, some in enumerate(thread) for one in some for part in one.parts
            if part.source == target
        }
        return [len(component) > 1 or component[0] in own for component in self.components]

    @property
    def nbytes(self) -> int:
        """Memory of synapses, constants, initial states and index maps."""
        held = sum(part.nbytes for part in self.parts)
        return held + sum(u.order.nbytes + u.position.nbytes + u.constants.nbytes + u.initial.nbytes for u in self.units)

    def reach(self, unit: int) -> int:
        """Return the longest delay of what a unit sends, 1 at least."""
        return max([1, *(part.delay for part in self.parts if part.source == unit)])


def lower(program: Program, kernels: Mapping[str, Kernel], team: int = 1) -> Layout:
    """Put populations and projections together again from the cores' groups, blocks and routes.

    Args:
        program: the program.
        kernels: the target's neuron kernels by name.
        team: threads that share a sample; each has some neurons of every unit, and the synapses that lead to them.

    Raises:
        NmapError: NM602, the program contradicts itself: what `units`, `drivers` and `synapses_into` say, or a block leads to a receptor
            that its neurons do not have.
    """
    found = units(program, kernels)
    for number, block in enumerate(program.blocks):
        if block.receptor >= kernels[program.groups[block.group].kernel].receptors:
            raise damaged(f"synapse block {number} leads to receptor {block.receptor}, which its neurons do not have")
    by = drivers(program, found)
    into: list[list[int]] = [[] for _ in found]
    for number, block in enumerate(program.blocks):
        into[program.groups[block.group].population].append(number)
    edges = tuple(_edges(unit, program.populations[unit.population].shape, team) for unit in found)
    accumulators = tuple(
        tuple(
            synapses_into(program, found, by, blocks, target, *edges[target][thread : thread + 2]) if blocks else ()
            for target, blocks in enumerate(into)
        )
        for thread in range(team)
    )
    heard = {(part.source, target) for thread in accumulators for target, some in enumerate(thread) for one in some for part in one.parts}
    return Layout(found, edges, accumulators, components(heard, len(found)))


def _edges(unit: Unit, shape: tuple[int, ...], team: int) -> tuple[int, ...]:
    """Share out a unit's neurons: rows of a convolution's output stay whole."""
    step = _TOGETHER if len(shape) != 3 else shape[0] * shape[2]
    pieces = -(-unit.size // step)
    return (*(min(unit.size, pieces * k // team * step) for k in range(team)), unit.size)
