"""A machine: a chip variant times a number of chips, less the dead cores."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, Exit, NmapError
from nmap.program import Core
from nmap.target.spec import ChipSpec

__all__ = ["Machine", "build_machine"]


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """Usable cores with positions.

    Args:
        spec: the chip family.
        variant: variant name.
        chips: number of chips.
        cores: usable cores, ascending by chip and core number.
        dead: (chip, core) pairs that must not be used.
    """

    spec: ChipSpec
    variant: str
    chips: int
    cores: tuple[Core, ...]
    dead: tuple[tuple[int, int], ...] = ()

    @property
    def capacity(self) -> dict[str, int]:
        """Budget of one core by resource."""
        return {name: resource.max for name, resource in self.spec.resources.items()}

    def positions(self) -> Array:
        """Return (cores, 2) int64 router positions on one plane: chips stand in a row, `chip_link_hops` further apart than neighbours."""
        variant = self.spec.variants[self.variant]
        stride = variant.mesh[0] + variant.chip_link_hops
        return np.array([[core.chip * stride + core.x, core.y] for core in self.cores], np.int64).reshape(-1, 2)


def build_machine(spec: ChipSpec, variant: str | None = None, chips: int | None = None, dead: Iterable[tuple[int, int]] = ()) -> Machine:
    """Lay out a machine.

    Args:
        spec: chip data.
        variant: None for the default one.
        chips: None for the variant's own number.
        dead: (chip, core) pairs.

    Raises:
        NmapError: NM003 unknown variant, NM004 a number of chips or a dead core the variant does not have.
    """
    name = variant or spec.default_variant
    if name not in spec.variants:
        known = ", ".join(f"`{spec.name}:{v}`" for v in spec.variants)
        raise NmapError(Diagnostic("NM003", "error", f"`{spec.name}` has no variant `{name}`", why=f"Known variants: {known}."))
    data = spec.variants[name]
    count = data.chips if chips is None else chips
    if not 1 <= count <= data.max_chips:
        raise NmapError(Diagnostic("NM004", "error", f"`{spec.name}:{name}` takes 1 to {data.max_chips} chips, not {count}"))
    dead = tuple(sorted(set(dead)))
    beyond = [f"{chip}:{core}" for chip, core in dead if not (0 <= chip < count and 0 <= core < data.cores)]
    if beyond:
        raise NmapError(Diagnostic(
            "NM004", "error", f"dead cores that `{spec.name}:{name}` does not have: {', '.join(beyond)}",
            why=f"It has {count} chips of {data.cores} cores, numbered from 0.",
        ))
    width = data.mesh[0]
    cores = []
    for chip in range(count):
        for number in range(data.cores):
            router = number // data.cores_per_router
            if (chip, number) not in dead:
                cores.append(Core(chip, router % width, router // width, number))
    if not cores:
        raise NmapError(Diagnostic("NM402", "error", "every core of the machine is marked dead"), Exit.DOES_NOT_FIT)
    return Machine(spec, name, count, tuple(cores), dead)
