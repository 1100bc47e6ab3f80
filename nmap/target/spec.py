"""Chip data: every limit of a chip family with its source, read from the target's `chip.toml` under a strict schema."""

from __future__ import annotations

import sys
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["ChipSpec", "Constant", "Feature", "Limit", "Resource", "Variant", "load_spec"]

Source = Annotated[str, Field(min_length=3)]


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
    """A budget of one core."""

    max: Annotated[int, Field(gt=0)]
    unit: str
    source: Source
    title: str
    note: str = ""


class Variant(_Strict):
    """A machine of this chip family.

    `mesh` is the (width, height) of a chip's router grid; `cores_per_router` cores hang on each router; `cores` of a chip are usable,
    numbered router by router in row-major order.
    """

    title: str
    chips: Annotated[int, Field(gt=0)]
    max_chips: Annotated[int, Field(gt=0)]
    cores: Annotated[int, Field(gt=0)]
    mesh: Annotated[list[Annotated[int, Field(gt=0)]], Field(min_length=2, max_length=2)]
    cores_per_router: Annotated[int, Field(gt=0)]
    chip_link_hops: Annotated[int, Field(ge=0)]
    source: Source


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

    Resources are per-core budgets (keys are what `Target.demand` returns), limits are ranges of parameter fields, features say what
    is exact, approximate or refused, approximations are the names `--approximate` takes and what each allows.
    """

    name: str
    title: str
    data_version: str
    default_variant: str
    resources: dict[str, Resource]
    limits: dict[str, Limit]
    features: dict[str, Feature]
    approximations: dict[str, str] = {}
    variants: dict[str, Variant]
    constants: dict[str, Constant] = {}


def load_spec(package: str) -> ChipSpec:
    """Read `chip.toml` of a target package.

    Raises:
        ValueError: the file breaks the schema; the message names the key.
    """
    text = files(package).joinpath("chip.toml").read_text(encoding="utf-8")
    try:
        spec = ChipSpec.model_validate(tomllib.loads(text))
    except (ValidationError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"chip.toml of {package}: {error}") from error
    if spec.default_variant not in spec.variants:
        raise ValueError(f"chip.toml of {package}: default_variant `{spec.default_variant}` is not among the variants")
    return spec
