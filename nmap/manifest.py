"""What a bundle's manifest must hold for the bundle to be run again, under a strict schema: it may have been edited or damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nmap.diagnostics import Diagnostic, NmapError
from nmap.options import WHOLE_CHIP, Calibration, Options

__all__ = ["Manifest", "read_manifest"]

_Count = Annotated[int, Field(ge=0)]
_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _Strict(BaseModel):
    # Further entries are for people: hashes, versions, the command.
    model_config = ConfigDict(extra="ignore", frozen=True, strict=True)


class _Network(_Strict):
    file: Annotated[str, Field(min_length=1, pattern=r"^[^/\\]+$")]


class _Target(_Strict):
    name: str
    variant: str
    chips: Annotated[int, Field(gt=0)]


class _Conventions(_Strict):
    dt: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None
    reset: Literal["zero", "subtract", "delayed"] | None
    source: str | None
    reset_interval: _Count | None = None
    reset_offset: _Count | None = None

    def stated(self) -> dict[str, Any]:
        """Return the conventions as `nmap.readers.read` takes them."""
        return self.model_dump()


class _Calibration(_Strict):
    population: str
    spikes: _Amount
    busy: _Amount
    excitatory: _Amount
    inhibitory: _Amount


class _Options(_Strict):
    bits: Annotated[int, Field(gt=0, le=64)] | None
    partitioner: str
    effort: Literal[0, 1, 2]
    seed: _Count
    chips: Annotated[int, Field(gt=0)] | None
    dead: list[Annotated[list[_Count], Field(min_length=2, max_length=2)]]
    dead_chips: list[_Count] = []
    dead_links: list[Annotated[list[_Count], Field(min_length=4, max_length=4)]] = []
    slack: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    approximate: list[str]
    steps: Annotated[int, Field(gt=0)] | None
    payload: Annotated[list[int], Field(min_length=2, max_length=2)]
    horizon: _Count = 0
    calibration: list[_Calibration] = []
    slowdown: Annotated[int, Field(gt=0)] | None = None


class Manifest(_Strict):
    """The part of `manifest.json` that runs depend on."""

    network: _Network
    target: _Target
    conventions: _Conventions
    options: _Options

    def choices(self) -> Options:
        """Return the options the bundle was made with, on as many chips as it was mapped to."""
        o = self.options
        return Options(
            bits=o.bits, partitioner=o.partitioner, effort=o.effort, seed=o.seed, chips=self.target.chips,
            dead=(*((chip, core) for chip, core in o.dead), *((chip, WHOLE_CHIP) for chip in o.dead_chips)),
            dead_links=tuple(((a, b), (c, d)) for a, b, c, d in o.dead_links), slack=o.slack,
            approximate=frozenset(o.approximate), steps=o.steps, payload=(o.payload[0], o.payload[1]),
            horizon=o.horizon, calibration=tuple(Calibration(**found.model_dump()) for found in o.calibration), slowdown=o.slowdown,
        )


def read_manifest(folder: Path, content: dict[str, Any]) -> Manifest:
    """Return the checked manifest of a bundle.

    Raises:
        NmapError: NM602, with every entry that is missing or of the wrong kind.
    """
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        why = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg'].lower()}" for e in error.errors()[:5])
        raise NmapError(Diagnostic(
            "NM602", "error", f"the manifest of `{folder}` lacks what a bundle needs", str(folder / "manifest.json"), why,
            ("deploy the network again",),
        )) from error
