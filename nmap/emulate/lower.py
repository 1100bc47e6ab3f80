"""Lower a core program to what the engine runs: units, what is added to their dendrites, and the order in which they can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nmap.emulate.kernel import Kernel
from nmap.emulate.parts import Accumulator, Part, synapses_into
from nmap.emulate.units import Unit, components, damaged, drivers, units
from nmap.program import Program

__all__ = ["Layout", "lower"]


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A program ready to run. Cores have left no trace in it but the order of the neurons.

    Args:
        units: one per population, in the program's order.
        accumulators: what is added to each unit's dendrite, by unit.
        components: units in an order in which sources come first; those of one component feed each other.
    """

    units: tuple[Unit, ...]
    accumulators: tuple[tuple[Accumulator, ...], ...]
    components: tuple[tuple[int, ...], ...]

    @property
    def parts(self) -> list[Part]:
        """All parts, in order."""
        return [part for into in self.accumulators for accumulator in into for part in accumulator.parts]

    @property
    def nbytes(self) -> int:
        """Memory of synapses, constants, initial states and index maps."""
        held = sum(part.nbytes for part in self.parts)
        return held + sum(u.order.nbytes + u.position.nbytes + u.constants.nbytes + u.initial.nbytes for u in self.units)

    def reach(self, unit: int) -> int:
        """Return the longest delay of what a unit sends, 1 at least."""
        return max([1, *(part.delay for part in self.parts if part.source == unit)])


def lower(program: Program, kernels: Mapping[str, Kernel]) -> Layout:
    """Put populations and projections together again from the cores' groups, blocks and routes.

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
    accumulators = tuple(
        synapses_into(program, found, by, blocks, target) if blocks else () for target, blocks in enumerate(into)
    )
    edges = {(part.source, target) for target, some in enumerate(accumulators) for one in some for part in one.parts}
    return Layout(found, accumulators, components(edges, len(found)))
