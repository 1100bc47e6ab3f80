"""A machine: a chip variant times a number of chips, less what is dead."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, overload

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.diagnostics import Diagnostic, Exit, Findings, NmapError
from nmap.options import WHOLE_CHIP
from nmap.place.board import Board, Fabric
from nmap.program import Core
from nmap.target.spec import ORDINARY, ChipSpec, Variant

__all__ = ["CoreKind", "Cores", "Machine", "build_machine", "cores_of"]

_NAMED = 12
"""Cores named in a message; the rest are counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Cores(Sequence[Core]):
    """Usable cores, ascending by chip and core number, as two arrays; `Core` objects are made when they are asked for.

    Args:
        chip: (n,) int64.
        number: (n,) int64, the core's number on its chip, of a later pass with the cores of all earlier ones counted before it.
        width: routers in a row of a chip.
        cores_per_router: cores that hang on one router.
        cores: of a chip.
    """

    chip: Array
    number: Array
    width: int
    cores_per_router: int
    cores: int

    def __post_init__(self) -> None:
        for name in ("chip", "number"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.int64))

    def __len__(self) -> int:
        return int(self.number.size)

    @overload
    def __getitem__(self, index: int) -> Core: ...

    @overload
    def __getitem__(self, index: slice) -> Cores: ...

    def __getitem__(self, index: int | slice) -> Core | Cores:
        if isinstance(index, slice):
            return replace(self, chip=self.chip[index], number=self.number[index])
        return self._core(int(self.chip[index]), int(self.number[index]))

    def __iter__(self) -> Iterator[Core]:
        return map(self._core, self.chip.tolist(), self.number.tolist())

    def _core(self, chip: int, number: int) -> Core:
        router = number % self.cores // self.cores_per_router
        return Core(chip, router % self.width, router // self.width, number)


class CoreKind(NamedTuple):
    """Usable cores of one class: its name, the budget of one core by resource, and (k,) int64 indices into `Machine.cores`."""

    name: str
    capacity: dict[str, int]
    cores: Array


@dataclass(frozen=True, slots=True, eq=False)
class Machine:
    """Usable cores with positions.

    Args:
        spec: the chip family.
        variant: variant name.
        chips: number of chips.
        cores: usable cores, ascending by chip and core number.
        dead: (chip, core) pairs that must not be used in any pass, those of dead chips and those that dead links cut off included.
        lacking: (chip, core) pairs that chips of this machine do not have, by their places (`Variant.lacking`).
        fabric: the network of routers over all chips, without dead links and the routers of dead chips.
        port: (x, y) of the router by which spikes enter.
        warnings: what the user should know about it.
    """

    spec: ChipSpec
    variant: str
    chips: int
    cores: Sequence[Core]
    dead: tuple[tuple[int, int], ...] = ()
    fabric: Fabric = field(default_factory=Fabric)
    port: tuple[int, int] = (0, 0)
    warnings: tuple[Diagnostic, ...] = ()
    lacking: tuple[tuple[int, int], ...] = ()

    @property
    def capacity(self) -> dict[str, int]:
        """What every core has of each resource: the smallest budget where cores are of several classes."""
        return self._budget_of(min)

    @property
    def largest(self) -> dict[str, int]:
        """What some core has of each resource: the largest budget where cores are of several classes, not always on one core."""
        return self._budget_of(max)

    def _budget_of(self, choose: Callable[[Iterable[int]], int]) -> dict[str, int]:
        if not self._listed():
            return _budget(self.spec, ORDINARY)
        budgets = [kind.capacity for kind in self.classes]
        return {name: choose([budget[name] for budget in budgets]) for name in self.spec.resources}

    @property
    def classes(self) -> tuple[CoreKind, ...]:
        """Classes that have a usable core: the ordinary one, then in the chip data's order. Slots' kinds on the board are indices of it."""
        names = [ORDINARY, *self.spec.classes]
        kind = self._kinds()
        return tuple(
            CoreKind(name, _budget(self.spec, name), np.flatnonzero(kind == k)) for k, name in enumerate(names) if (kind == k).any()
        )

    def _listed(self) -> dict[str, list[int]]:
        """Return the core numbers of a chip by class."""
        return self.spec.variants[self.variant].classes if self.variant in self.spec.variants else {}

    def _numbers(self) -> tuple[Array, Array]:
        """Return the cores' chips and numbers, (cores,) int64 each."""
        if isinstance(self.cores, Cores):
            return self.cores.chip, self.cores.number
        return np.array([core.chip for core in self.cores], np.int64), np.array([core.core for core in self.cores], np.int64)

    def _kinds(self) -> Array:
        """Return (cores,) int64: 0 for ordinary cores, else 1 + the class's place in the chip data."""
        _, number = self._numbers()
        if self.variant in self.spec.variants:
            number = number % self.spec.variants[self.variant].cores
        kind = np.zeros(int(number.max(initial=0)) + 1, np.int64)
        listed = self._listed()
        for k, name in enumerate(self.spec.classes, 1):
            cores = np.array(listed.get(name, []), np.int64)
            kind[cores[cores < kind.size]] = k
        return np.asarray(kind[number])

    def board(self) -> Board:
        """Return the slots for placement: slot k is core k.

        Positions are those of the routers over all chips, side by side; the fabric prices the links between chips.
        """
        classes = self.classes
        kind = None
        if len(classes) > 1:
            kind = np.empty(len(self.cores), np.int64)
            for k, (_, _, cores) in enumerate(classes):
                kind[cores] = k
        data = self.spec.variants[self.variant]
        return Board(_plane(data, _chip_places(data, self.chips), *self._numbers()), self.port, self.fabric, kind=kind)


def _budget(spec: ChipSpec, kind: str) -> dict[str, int]:
    less = spec.classes[kind].budget if kind in spec.classes else {}
    return {name: less.get(name, resource.max) for name, resource in spec.resources.items()}


def _chip_places(data: Variant, chips: int) -> Array:
    """Return (chips, 2) int64: the column and row of every chip."""
    number = np.arange(chips)
    if data.chip_grid is None:
        return np.stack([number, np.zeros_like(number)], 1)
    absent = {(x, y) for x, y in data.absent}
    columns, rows = data.chip_grid
    inner = np.array([(x, y) for y in range(rows) for x in range(columns) if (x, y) not in absent], np.int64)
    place = inner[number % len(inner)]
    unit = np.array(data.chip_grid, np.int64)
    number = number // len(inner)
    for level in data.levels:
        columns, rows = level.grid
        at = number % (columns * rows)
        place = place + np.stack([at % columns, at // columns], 1) * unit
        number = number // (columns * rows)
        unit = unit * np.array(level.grid, np.int64)
    return np.asarray(place)


def _plane(data: Variant, places: Array, chip: Array, number: Array) -> Array:
    """Return (cores, 2) int64: the positions of cores' routers over all chips, which stand side by side."""
    router = number % data.cores // data.cores_per_router
    mesh = np.array(data.mesh, np.int64)
    return np.asarray(places[chip] * mesh + np.stack([router % mesh[0], router // mesh[0]], 1))


def _fabric(data: Variant, places: Array) -> Fabric:
    """Return the network of routers over all chips; places in its rectangle without a chip have no routers.

    Fewer chips than the grids hold make a smaller machine, of whole boards where it is a torus.
    """
    wrap = data.topology.endswith("torus")
    extent = places.max(0) + 1
    unit = np.array(data.chip_grid or [1, 1], np.int64)
    if wrap and data.levels:
        for level in data.levels[:-1]:
            unit = unit * np.array(level.grid, np.int64)
        extent = -(-extent // unit) * unit
    mesh = np.array(data.mesh, np.int64)
    width, height = (extent * mesh).tolist()
    larger = []
    unit = np.array(data.chip_grid or [1, 1], np.int64) * mesh
    for level in data.levels:
        larger.append((int(unit[0]), int(unit[1]), level.link_hops))
        unit = unit * np.array(level.grid, np.int64)
    gone = np.ones(tuple(extent.tolist()), bool)
    gone[places[:, 0], places[:, 1]] = False
    chip = (data.mesh[0], data.mesh[1]) if len(places) > 1 else None
    return Fabric(
        (width, height), wrap, data.topology.startswith("hexagonal"), chip, data.chip_link_hops if chip else 0,
        tuple(larger) if len(places) > 1 else (), missing=_routers(np.argwhere(gone), mesh),
    )


def _routers(places: Array, mesh: Array) -> tuple[tuple[int, int], ...]:
    """Return the positions of all routers of the chips at some places."""
    inside = np.indices((int(mesh[0]), int(mesh[1]))).reshape(2, -1).T
    found = (places[:, None, :] * mesh + inside[None]).reshape(-1, 2)
    return tuple((x, y) for x, y in found.tolist())


def _named(cores: Iterable[tuple[int, int]]) -> str:
    names = [f"{chip}:{core}" for chip, core in cores]
    return ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")


def _exist(core: tuple[int, int], chips: int, data: Variant) -> bool:
    return 0 <= core[0] < chips and 0 <= core[1] < data.cores


def _lacking(data: Variant, places: Array) -> Array:
    """Return (chips, cores) bool, the cores that chips lack by their places in the smallest unit."""
    unit = np.array(data.chip_grid or [data.max_chips, 1], np.int64)
    lacking = np.zeros((*unit.tolist(), data.cores), bool)
    if data.lacking:
        lacking[tuple(np.array(data.lacking, np.int64).T)] = True
    column, row = (places % unit).T
    return np.asarray(lacking[column, row])


def cores_of(data: Variant, chips: int) -> int:
    """Return how many cores so many chips of a variant have, none of them dead."""
    return data.cores * chips - int(_lacking(data, _chip_places(data, chips)).sum())


def _mask(
    spec: ChipSpec, name: str, chips: int, dead: Iterable[tuple[int, int]], findings: Findings,
) -> tuple[Array, list[int]]:
    """Return (chips, cores) bool, which cores are not dead, and the dead chips; record dead cores that there are not."""
    data = spec.variants[name]
    usable = np.ones((chips, data.cores), bool)
    entries = sorted(set(dead))
    whole = [chip for chip, core in entries if core == WHOLE_CHIP and 0 <= chip < chips]
    single = [core for core in entries if _exist(core, chips, data)]
    usable[whole] = False
    if single:
        usable[tuple(np.array(single, np.int64).T)] = False
    beyond = [
        f"{chip}:{'*' if core == WHOLE_CHIP else core}" for chip, core in entries
        if not (_exist((chip, core), chips, data) or (core == WHOLE_CHIP and 0 <= chip < chips))
    ]
    if beyond:
        findings.error(
            "NM004", f"dead cores that `{spec.name}:{name}` does not have: {', '.join(beyond)}",
            why=f"It has {chips} chips of {data.cores} cores, numbered from 0.",
        )
    return usable, whole


def _links(
    spec: ChipSpec, name: str, chips: int, fabric: Fabric, places: Array, dead: Iterable[tuple[tuple[int, int], tuple[int, int]]],
    findings: Findings,
) -> tuple[tuple[int, int, int, int], ...]:
    """Return the dead links as positions of routers; record those that there are not."""
    data = spec.variants[name]
    entries = sorted({(min(link), max(link)) for link in dead})
    text = {link: f"{link[0][0]}:{link[0][1]}-{link[1][0]}:{link[1][1]}" for link in entries}
    beyond = [text[link] for link in entries if not (_exist(link[0], chips, data) and _exist(link[1], chips, data))]
    if beyond:
        findings.error(
            "NM004", f"dead links between cores that `{spec.name}:{name}` does not have: {', '.join(beyond)}",
            why=f"It has {chips} chips of {data.cores} cores, numbered from 0.",
        )
    known = [link for link in entries if text[link] not in beyond]
    if not known:
        return ()
    ends = np.array(known, np.int64)
    first, second = (_plane(data, places, ends[:, k, 0], ends[:, k, 1]) for k in (0, 1))
    joined = Fabric(fabric.size, fabric.wrap, fabric.hexagonal).hops(first, second) == 1
    apart = [text[link] for link, ok in zip(known, joined.tolist(), strict=True) if not ok]
    if apart:
        findings.error(
            "NM004", f"dead links that `{spec.name}:{name}` does not have: {', '.join(apart)}",
            why="A link joins the routers of two cores that are neighbours; cores of one router need no link.",
        )
    return tuple((a, b, c, d) for (a, b), (c, d) in zip(first.tolist(), second.tolist(), strict=True))


def build_machine(
    spec: ChipSpec, variant: str | None = None, chips: int | None = None, dead: Iterable[tuple[int, int]] = (),
    dead_links: Iterable[tuple[tuple[int, int], tuple[int, int]]] = (),
) -> Machine:
    """Lay out a machine.

    The routers of dead cores still pass packets on; those of dead chips do not. A dead core is so in every pass. Cores that cannot be
    reached from the port over the links that are left are masked, with a warning. Where the port's own chip is dead, spikes enter at the
    first usable core.

    Args:
        spec: chip data.
        variant: None for the default one.
        chips: None for the variant's own number.
        dead: (chip, core) pairs; core `nmap.options.WHOLE_CHIP` stands for a whole chip.
        dead_links: pairs of (chip, core): the link between the routers of the two cores is used in neither direction.

    Raises:
        NmapError: NM003 unknown variant; NM004 a number of chips, dead cores or dead links the variant does not have; NM402 no core is
            left.
    """
    name = variant or spec.default_variant
    if name not in spec.variants:
        known = ", ".join(f"`{spec.name}:{v}`" for v in spec.variants)
        raise NmapError(Diagnostic("NM003", "error", f"`{spec.name}` has no variant `{name}`", why=f"Known variants: {known}."))
    data = spec.variants[name]
    count = data.chips if chips is None else chips
    if not 1 <= count <= data.max_chips:
        raise NmapError(Diagnostic("NM004", "error", f"`{spec.name}:{name}` takes 1 to {data.max_chips} chips, not {count}"))
    places = _chip_places(data, count)
    fabric = _fabric(data, places)
    findings = Findings()
    usable, gone = _mask(spec, name, count, dead, findings)
    lacking = _lacking(data, places)
    usable &= ~lacking
    links = _links(spec, name, count, fabric, places, dead_links, findings)
    findings.raise_errors()
    lost = _routers(places[gone], np.array(data.mesh, np.int64))
    fabric = replace(fabric, dead=links, missing=(*fabric.missing, *lost))
    if not usable.any():
        raise NmapError(Diagnostic("NM402", "error", "every core of the machine is marked dead"), Exit.DOES_NOT_FIT)
    warnings = Findings()
    port = _port(data, places, fabric, usable)
    if fabric.faulty:
        _cut_off(data, places, fabric, port, usable, warnings)
    chip, number = np.nonzero(np.tile(usable, (1, data.passes)))
    return Machine(
        spec, name, count, Cores(chip, number, data.mesh[0], data.cores_per_router, data.cores),
        _pairs(~usable & ~lacking), fabric, port, tuple(warnings), _pairs(lacking),
    )


def _pairs(marked: Array) -> tuple[tuple[int, int], ...]:
    return tuple((chip, core) for chip, core in np.argwhere(marked).tolist())


def _port(data: Variant, places: Array, fabric: Fabric, usable: Array) -> tuple[int, int]:
    """Return the router by which spikes enter."""
    x, y = data.port
    width, height = fabric.size or (0, 0)
    if x < width and y < height and (x, y) not in fabric.missing:
        return x, y
    chip, number = np.nonzero(usable)
    x, y = _plane(data, places, chip[:1], number[:1])[0].tolist()
    return x, y


def _cut_off(data: Variant, places: Array, fabric: Fabric, port: tuple[int, int], usable: Array, findings: Findings) -> None:
    """Mask the cores that cannot be reached from the port, with a warning.

    Raises:
        NmapError: NM402, that leaves none.
    """
    chip, number = np.nonzero(usable)
    lost = ~fabric.reached(port, _plane(data, places, chip, number))
    if not lost.any():
        return
    cores = list(zip(chip[lost].tolist(), number[lost].tolist(), strict=True))
    why = f"No way leads there from the input port at router ({port[0]}, {port[1]})."
    if lost.all():
        raise NmapError(
            Diagnostic("NM402", "error", f"every core that is not dead is cut off by dead links: {_named(cores)}", why=why),
            Exit.DOES_NOT_FIT,
        )
    findings.warning(
        "NM403",
        f"{'a core' if len(cores) == 1 else f'{len(cores)} cores'} cannot be reached over the links that are left: {_named(cores)}",
        why=f"{why} Nothing is mapped onto such a core.", data={"cores": [list(core) for core in cores]},
    )
    usable[chip[lost], number[lost]] = False
