"""Chip data: every limit of a chip family with its source, read from the target's `chip.toml` under a strict schema."""

from __future__ import annotations

import sys
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["ORDINARY", "ChipSpec", "Constant", "CoreClass", "Feature", "Level", "Limit", "Resource", "Variant", "load_spec"]

ORDINARY = "ordinary"
"""The class of the cores that a variant lists under no class."""

Source = Annotated[str, Field(min_length=3)]
_Count = Annotated[int, Field(ge=0)]
_Pair = Annotated[list[_Count], Field(min_length=2, max_length=2)]
_Triple = Annotated[list[_Count], Field(min_length=3, max_length=3)]
_Size = Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=2, max_length=2)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Limit(_Strict):
    """A bound of one parameter field; `min` and `max` are both inclusive."""

    min: int
    max: int
    source: Source
    enforced: bool = True
    note: str = ""


class Resource(_Strict):
    """A budget of one core, the largest one where cores differ.

    What is `routed` depends on where the targets of a core's neurons lie: `Target.demand` says 0 of it, and `Target.measure` counts it in
    the finished program, whose check fails where a core has not enough.
    """

    max: Annotated[int, Field(gt=0)]
    unit: str
    source: Source
    title: str
    note: str = ""
    routed: bool = False


class CoreClass(_Strict):
    """Cores with smaller budgets than the chip's `resources` state.

    `budget` holds those that differ; 0 is for what such a core cannot hold.
    """

    title: str
    budget: Annotated[dict[str, _Count], Field(min_length=1)]
    source: Source


class Level(_Strict):
    """Larger units of a machine: boards of chips, racks of boards.

    `grid` is how many (columns, rows) of this unit stand in the next larger one, or in the machine; a link that leaves the unit counts
    `link_hops` hops beyond what it counts already.
    """

    name: str
    grid: _Size
    link_hops: _Count


class Variant(_Strict):
    """A machine of this chip family.

    `mesh` is the (width, height) of a chip's router grid; `cores_per_router` cores hang on each router; `cores` of a chip are usable,
    numbered router by router in row-major order.

    `topology` is that of the whole machine: links to four neighbours (`mesh`, `torus`), or to six as on SpiNNaker (`hexagonal`,
    `hexagonal-torus`). Chips stand in `chip_grid` = (columns, rows), numbered row by row, in one row when it is left out; `absent` are its
    (column, row) without a chip. A link from one chip to the next counts `chip_link_hops` hops more. With `levels`, smallest first,
    `chip_grid` is that of the smallest unit (the chips of a board), and chips are numbered unit by unit.

    `routing` is `unicast` where a spike is one packet to every core that listens, `multicast` where routers copy one packet. `routes` are
    those of every `neuron`, or one for all neurons that a population has on a `core`, whose spikes then reach what any of them is for.

    `port` is the (x, y) of the router by which spikes enter, over all chips; where a machine of few chips has none there, it is the first
    usable core's. `classes` lists the core numbers of a chip by their class. `lacking` lists cores that there are not, as (column, row,
    core) for the chip at that place of every smallest unit.

    Where a chip computes a network in up to `passes` parts, one after the other, core c of its pass p has the number p cores + c.
    """

    title: str
    chips: Annotated[int, Field(gt=0)]
    max_chips: Annotated[int, Field(gt=0)]
    cores: Annotated[int, Field(gt=0)]
    mesh: _Size
    cores_per_router: Annotated[int, Field(gt=0)]
    chip_link_hops: _Count
    source: Source
    topology: Literal["mesh", "torus", "hexagonal", "hexagonal-torus"] = "mesh"
    routing: Literal["unicast", "multicast"] = "unicast"
    routes: Literal["neuron", "core"] = "neuron"
    chip_grid: _Size | None = None
    absent: list[_Pair] = []
    levels: list[Level] = []
    port: _Pair = [0, 0]
    classes: dict[str, Annotated[list[_Count], Field(min_length=1)]] = {}
    lacking: list[_Triple] = []
    passes: Annotated[int, Field(gt=0)] = 1

    @model_validator(mode="after")
    def _hangs_together(self) -> Variant:
        if self.chips > self.max_chips:
            raise ValueError(f"chips is {self.chips}, max_chips {self.max_chips}")
        if self.cores > self.mesh[0] * self.mesh[1] * self.cores_per_router:
            raise ValueError(f"{self.cores} cores do not hang on {self.mesh[0]} x {self.mesh[1]} routers of {self.cores_per_router}")
        self._check_grid()
        listed = [core for cores in self.classes.values() for core in cores]
        if len(set(listed)) != len(listed):
            raise ValueError("a core is listed in two classes, or twice")
        if listed and max(listed) >= self.cores:
            raise ValueError(f"a class lists core {max(listed)} of {self.cores}")
        grid = self.chip_grid or [self.max_chips, 1]
        if any(x >= grid[0] or y >= grid[1] or core >= self.cores for x, y, core in self.lacking):
            raise ValueError("lacking lists a core outside of chip_grid, or one that no chip has")
        return self

    def _check_grid(self) -> None:
        columns, rows = self.chip_grid or (self.max_chips, 1)
        for level in self.levels:
            columns, rows = columns * level.grid[0], rows * level.grid[1]
        if self.port[0] >= columns * self.mesh[0] or self.port[1] >= rows * self.mesh[1]:
            raise ValueError(f"there is no router at port ({self.port[0]}, {self.port[1]})")
        if self.chip_grid is None:
            if self.levels or self.absent:
                raise ValueError("levels and absent need chip_grid")
            return
        absent = {tuple(place) for place in self.absent}
        if len(absent) != len(self.absent) or any(x >= self.chip_grid[0] or y >= self.chip_grid[1] for x, y in absent):
            raise ValueError("absent lists a place twice, or one outside of chip_grid")
        room = columns * rows // (self.chip_grid[0] * self.chip_grid[1]) * (self.chip_grid[0] * self.chip_grid[1] - len(absent))
        if room < self.max_chips:
            raise ValueError(f"max_chips is {self.max_chips}, and the grids have room for {room}")


class Feature(_Strict):
    """How the target realises something a network may ask for."""

    level: Literal["exact", "approximate", "refused"]
    note: str


class Constant(_Strict):
    """A published physical constant."""

    value: float
    unit: str
    source: Source
    measured_on: str


class ChipSpec(_Strict):
    """One chip family.

    Resources are per-core budgets (keys are what `Target.demand` returns), classes name cores with less, limits are ranges of parameter
    fields, features say what is exact, approximate or refused, approximations are the names `--approximate` takes and what each allows.

    A `horizon` above 0 says that quantization proves for a number of steps that no state leaves its range, and stands for that number where
    neither samples nor `--steps` say more (`Options.horizon`); such a quantization names in the data of a finding, as `proved_steps`, the
    steps of the network for which it holds, where that is not for ever.

    `inputs` says how spikes of input ports get in: over the `port`, along links, or `loaded` into the cores' memory beforehand.
    `calibrates` asks for what the network does on samples before it is quantized (`Options.calibration`). A chip is `paced` whose steps
    last a time that its software is told, and can be told to be longer (`Options.slowdown`).

    Budgets are `estimated` where the vendor has not published how memory is used. The `vendor`'s software is run where it is there, or
    only where it is `asked` for.
    """

    name: str
    title: str
    data_version: str
    default_variant: str
    resources: dict[str, Resource]
    classes: dict[str, CoreClass] = {}
    limits: dict[str, Limit]
    features: dict[str, Feature]
    approximations: dict[str, str] = {}
    variants: dict[str, Variant]
    constants: dict[str, Constant] = {}
    horizon: _Count = 0
    inputs: Literal["port", "loaded"] = "port"
    calibrates: bool = False
    paced: bool = False
    estimated: bool = False
    vendor: Literal["there", "asked"] = "there"

    @model_validator(mode="after")
    def _names_are_known(self) -> ChipSpec:
        if self.default_variant not in self.variants:
            raise ValueError(f"default_variant `{self.default_variant}` is not among the variants")
        if ORDINARY in self.classes:
            raise ValueError(f"`{ORDINARY}` is the class of the cores that are listed under none")
        for name, kind in self.classes.items():
            for resource, budget in kind.budget.items():
                if resource not in self.resources:
                    raise ValueError(f"class `{name}` has a budget of `{resource}`, which is no resource")
                if budget > self.resources[resource].max:
                    raise ValueError(f"class `{name}` has {budget} of `{resource}`; the resource's max is for the largest core")
        for name, variant in self.variants.items():
            unknown = sorted(variant.classes.keys() - self.classes.keys())
            if unknown:
                raise ValueError(f"variant `{name}` has cores of `{unknown[0]}`, which is no class")
        return self


def load_spec(package: str, name: str = "chip.toml") -> ChipSpec:
    """Read the chip data of a target package.

    Args:
        package: that holds the file.
        name: of the file; a package of several targets has more than one.

    Raises:
        ValueError: the file breaks the schema; the message names the key.
    """
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    try:
        return ChipSpec.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{name} of {package}: {error}") from error
