"""Samples as commands see them: how many, how long, their values' range, and their content in pieces."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol, TypeAlias

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.diagnostics import Diagnostic, Findings
from nmap.samples.archive import short

__all__ = [
    "CHUNK_BYTES", "MAX_SAMPLE_BYTES", "MAX_STEPS", "SHORTER", "DType", "Found", "Samples", "Source", "Tally", "check_length", "fitted",
    "in_memory", "most_steps", "narrowed",
]

DType: TypeAlias = np.dtype[Any]

CHUNK_BYTES = 2**26
"""Samples are handed out in chunks of at most this size in bytes as 32-bit integers, or one by one where a single one is larger."""
MAX_SAMPLE_BYTES = 2**30
"""Largest size of one sample of all inputs as dense 32-bit arrays, in bytes.

A sample is whole in memory while it is run, beside the one before it, a piece of the file, and what a simulator derives from it and
records. Six seconds of an event camera of 128 x 128 x 2 in steps of 1 ms take three quarters of this.
"""
MAX_STEPS = 2**22
"""Largest number of time steps of one sample; a run takes tens of microseconds for each, a minute or two at this limit."""
SHORTER = ("cut it into several samples", "run its beginning with --steps")
"""Remedies for a sample that is too long."""


@dataclass(frozen=True, slots=True)
class Tally:
    """What the samples of one input hold.

    Args:
        low, high: range of the values, 0 included.
        events: number of events; None where the file holds a value for every time step.
        merged: events that share their neuron and time step with another one.
    """

    low: int
    high: int
    events: int | None = None
    merged: int = 0

    @property
    def dtype(self) -> DType:
        """The type that the samples are handed out in: uint8 where every value is in 0..255, else int32."""
        return _dtype(self.low, self.high)


class Source(Protocol):
    """What one input of the network receives."""

    def tally(self, steps: int) -> Tally:
        """Return what the first `steps` time steps hold; reads everything once.

        Raises:
            NmapError: NM801, the file is damaged.
        """

    def scratch(self, size: int) -> int:
        """Return the bytes that making a chunk of `size` samples takes beside the chunk."""

    def chunks(self, size: int, steps: int, dtype: DType) -> Iterator[Array]:
        """Yield all samples in order, `size` at a time: (samples, steps, neurons); cut, or continued with silence, to `steps`.

        Args:
            size: samples per chunk.
            steps: time steps of each.
            dtype: of the chunks, one that holds every value (`Tally.dtype`); they may be read-only.

        Raises:
            NmapError: NM801, the file was changed or is damaged.
        """


@dataclass(frozen=True, slots=True)
class Found:
    """What a file holds for one input.

    Args:
        source: the values.
        samples: how many.
        steps: how long.
        open_end: True where more steps of silence may follow, since a list of events states no end.
        where: place in the file.
        rule: what became of times and of events that fall together, as a phrase; None where the file holds spikes on a grid.
    """

    source: Source
    samples: int
    steps: int
    open_end: bool
    where: str
    rule: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """Values in memory, (samples, time, neurons) of any integer type."""

    values: Array

    def tally(self, steps: int) -> Tally:
        """See `Source.tally`."""
        return Tally(*_range(self.values[:, :steps]))

    def scratch(self, size: int) -> int:
        """See `Source.scratch`."""
        del size
        return 0

    def chunks(self, size: int, steps: int, dtype: DType) -> Iterator[Array]:
        """See `Source.chunks`."""
        for start in range(0, self.values.shape[0], size):
            yield fitted(self.values[start : start + size], steps, dtype)


def most_steps(neurons: int) -> int:
    """Return how many time steps a sample of an input may have."""
    return min(MAX_SAMPLE_BYTES // (4 * max(1, neurons)), MAX_STEPS)


def check_length(steps: int, cut: int | None, neurons: int, where: str, findings: Findings, help: tuple[str, ...] = ()) -> bool:  # noqa: A002
    """Record NM802 where what is run of a sample is beyond `MAX_SAMPLE_BYTES` or `MAX_STEPS`.

    Args:
        steps: of the sample.
        cut: time steps that are run; None for all.
        neurons: of the input.
        where: place in the file.
        findings: receives the diagnostic.
        help: the best remedies.
    """
    if min(steps, steps if cut is None else cut) <= most_steps(neurons):
        return True
    findings.error(
        "NM802", f"a sample has {short(steps)} time steps of {neurons} inputs; at most {most_steps(neurons)} can be run", where=where,
        why=f"the limits are {MAX_SAMPLE_BYTES} bytes, 4 for each input and step, and {MAX_STEPS} steps", help=(*help, *SHORTER)[:3],
    )
    return False


def _range(values: Array) -> tuple[int, int]:
    return (min(0, int(values.min())), max(0, int(values.max()))) if values.size else (0, 0)


def _dtype(low: int, high: int) -> DType:
    return np.dtype(np.uint8 if low >= 0 and high <= 255 else np.int32)


def narrowed(values: Array, dtype: DType) -> Array:
    """Return integers as one of the types of `Tally.dtype`, in place where their own type has the same bytes."""
    if dtype.itemsize == 1 and values.dtype.kind == "b":
        # A file may hold any byte under the name of a bool.
        return np.minimum(values.view(np.uint8), np.uint8(1))
    if dtype.itemsize == 1 and values.dtype.itemsize == 1:
        return values.view(np.uint8)
    return values.astype(dtype, copy=False)


def fitted(values: Array, steps: int, dtype: DType) -> Array:
    """Return (samples, time, neurons) in a type that holds them, with the time axis cut to `steps`, or continued with silence."""
    if values.shape[1] >= steps:
        return np.ascontiguousarray(narrowed(values[:, :steps], dtype))
    out = np.zeros((values.shape[0], steps, values.shape[2]), dtype)
    out[:, : values.shape[1]] = values
    return out


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Samples of a network. Their content is read in pieces, as often as it is asked for; it need not fit in memory.

    Args:
        samples: number of samples.
        steps: time steps of each of them.
        shapes: shape of each input by name, in the network's order.
        sources: what each input receives.
        dtypes: type in which each input's samples are handed out, see `Tally.dtype`.
        low, high: smallest and largest value of all inputs.
        labels: (samples,) int64, read-only, or None.
        scored: the output whose neurons the labels number.
        sha256: of the file.
        name: the file's name.
        diagnostics: notes about how the file was read.
    """

    samples: int
    steps: int
    shapes: Mapping[str, tuple[int, ...]]
    sources: Mapping[str, Source]
    dtypes: Mapping[str, DType]
    low: int
    high: int
    labels: Array | None
    scored: str | None
    sha256: str
    name: str
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def bytes_each(self) -> int:
        """Size of one sample of all inputs as dense 32-bit arrays."""
        return 4 * self.steps * sum(prod(shape) for shape in self.shapes.values())

    @property
    def chunk_bytes_each(self) -> int:
        """Size of one sample of all inputs in a chunk."""
        return self.steps * sum(self.dtypes[name].itemsize * prod(shape) for name, shape in self.shapes.items())

    def scratch(self, size: int) -> int:
        """Return the bytes that making a chunk of `size` samples takes beside the chunk."""
        return sum(source.scratch(size) for source in self.sources.values())

    @property
    def most_at_once(self) -> int:
        """Samples in a chunk at most."""
        return max(1, CHUNK_BYTES // max(1, self.bytes_each))

    def chunks(self, size: int | None = None) -> Iterator[dict[str, Array]]:
        """Yield all samples in order, by input: (samples, steps, *shape); 0 is no spike, other values are graded spikes.

        Each input has one type throughout: uint8 where all its values are in 0..255, else int32. The arrays may be read-only.

        Args:
            size: samples per chunk; fewer where `CHUNK_BYTES` says so. None for as many as that allows.

        Raises:
            NmapError: NM801, the file was changed since it was checked.
        """
        size = self.most_at_once if size is None else max(1, min(size, self.most_at_once))
        streams = [source.chunks(size, self.steps, self.dtypes[name]) for name, source in self.sources.items()]
        for parts in zip(*streams, strict=True):
            yield {
                name: part.reshape(*part.shape[:2], *shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
            }

    def first(self, count: int) -> dict[str, Array]:
        """Return the first `count` samples by input; fewer where they are larger than `CHUNK_BYTES`."""
        return {name: values[:count] for name, values in next(self.chunks(count)).items()}

    @property
    def inputs(self) -> Array:
        """All samples of the only input, (samples, steps, *shape) int32, in memory.

        Raises:
            ValueError: there are several inputs.
        """
        (name,) = self.shapes
        values = np.concatenate([part[name] for part in self.chunks()])
        return frozen_array(values, np.int32)


def in_memory(inputs: Mapping[str, Array], **more: Any) -> Samples:
    """Return samples that lie in memory.

    Args:
        inputs: (samples, time, *shape) integers by input.
        more: `labels`, `scored`, `sha256` and `name`.
    """
    some = next(iter(inputs.values()))
    ranges = [_range(v) for v in inputs.values()]
    dtypes = {name: _dtype(*span) for name, span in zip(inputs, ranges, strict=True)}
    return Samples(
        samples=some.shape[0], steps=some.shape[1], shapes={name: v.shape[2:] for name, v in inputs.items()},
        sources={name: Held(v.reshape(*v.shape[:2], -1)) for name, v in inputs.items()}, dtypes=dtypes,
        low=min(low for low, _ in ranges), high=max(high for _, high in ranges),
        **{"labels": None, "scored": None, "sha256": "", "name": "", **more},
    )
