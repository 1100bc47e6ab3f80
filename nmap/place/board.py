"""Where clusters may lie, as pure numbers: slots, the network between them, and which slots take which clusters."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from nmap.connectivity import Array, frozen_array

__all__ = ["Board", "Fabric"]


@dataclass(frozen=True, slots=True)
class Fabric:
    """The routers' network: how far two routers are from each other.

    Args:
        size: (width, height) in routers; None means an endless mesh, which is enough without `wrap`.
        wrap: the last router of a row (and column) is next to the first one.
        hexagonal: a router also has links to (x + 1, y + 1) and (x - 1, y - 1), as on SpiNNaker.
        chip: (width, height) in routers of one chip; None means that everything is one chip.
        crossing: hops that a link from one chip to the next counts beyond an ordinary one.
    """

    size: tuple[int, int] | None = None
    wrap: bool = False
    hexagonal: bool = False
    chip: tuple[int, int] | None = None
    crossing: int = 0

    @property
    def plain(self) -> bool:
        """Whether the distance is Manhattan's."""
        return not (self.wrap or self.hexagonal or (self.chip is not None and self.crossing))

    def hops(self, first: Array, second: Array) -> Array:
        """Return the distance between routers pair by pair; (..., 2) int64 positions, broadcast against each other."""
        return np.abs(np.asarray(first) - np.asarray(second)).sum(-1)


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """Usable slots of a machine.

    Args:
        slots: (slots, 2) int64 (x, y) of every usable slot's router; dead cores are not listed. Several slots may share a router.
        port: (x, y) of the input port's router.
        fabric: the network between routers.
        distance: (slots, slots) int64 hops between slots, symmetric, where no closed form holds (dead links); None means `fabric.hops`.
        port_distance: (slots,) int64 hops from the port, where `distance` is given; None means `fabric.hops`.
        kind: (slots,) int64, class of each slot; a cluster only goes to slots of its own class. None means that all are alike.
    """

    slots: Array
    port: tuple[int, int] = (0, 0)
    fabric: Fabric = field(default_factory=Fabric)
    distance: Array | None = None
    port_distance: Array | None = None
    kind: Array | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "slots", frozen_array(self.slots, np.int64))
        for name in ("distance", "port_distance", "kind"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, frozen_array(getattr(self, name), np.int64))
        if self.distance is not None and not np.array_equal(self.distance, self.distance.T):
            raise ValueError("distances between slots must be symmetric")

    @property
    def size(self) -> int:
        """Number of slots."""
        return int(self.slots.shape[0])

    @property
    def plain(self) -> bool:
        """Whether the distance between slots is Manhattan's."""
        return self.distance is None and self.fabric.plain

    def hops(self) -> Array:
        """Return (slots, slots) int64 distances."""
        if self.distance is not None:
            return np.asarray(self.distance, np.int64)
        return self.fabric.hops(self.slots[:, None, :], self.slots[None, :, :])

    def hops_between(self, first: Array, second: Array) -> Array:
        """Return the distances between slots pair by pair, (m,) int64, without the matrix of all of them."""
        if self.distance is not None:
            return np.asarray(self.distance[first, second], np.int64)
        return self.fabric.hops(self.slots[first], self.slots[second])

    def port_hops(self) -> Array:
        """Return (slots,) int64 distances from the input port."""
        if self.port_distance is not None:
            return np.asarray(self.port_distance, np.int64)
        return self.fabric.hops(self.slots, np.asarray(self.port, np.int64))

    def part(self, chosen: Array) -> Board:
        """Return the board of some of the slots, (k,) int64 indices."""
        return Board(
            self.slots[chosen], self.port, self.fabric, None if self.distance is None else self.distance[np.ix_(chosen, chosen)],
            None if self.port_distance is None else self.port_distance[chosen], None if self.kind is None else self.kind[chosen],
        )
