"""Event lists: when and where, not how much. They become dense arrays chunk by chunk.

Every event adds 1, or its value, to its input in its time step: several events of one input in one step make a graded spike, unless
the file asks for binary ones. Events need not be in order of time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import TypeAlias

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.samples.archive import Archive, Member, listed, short
from nmap.samples.dense import check_integers
from nmap.samples.model import DType, Found, Tally, check_length

__all__ = [
    "EVENT_BYTES", "SPAN_HELP", "STEP_HELP", "UNITS", "Block", "Clock", "EventSource", "bin_events", "last_step", "place_keys",
    "read_events", "steps_per", "tally_events", "time_keys", "to_steps",
]

UNITS = {"t_s": Fraction(1), "t_ms": Fraction(1, 10**3), "t_us": Fraction(1, 10**6), "t_ns": Fraction(1, 10**9)}
"""Seconds per unit of an array of times, by its name; `t` counts time steps."""
STEP_HELP = "`--dt SECONDS` says how long a time step lasts"
"""Remedy where times meet a network that counts in steps."""
SPAN_HELP = "begin every sample at time 0, or give a longer time step"
"""Remedy where a list of events spans too many time steps."""
_BLOCK = 2**20
EVENT_BYTES = 96
"""What an event takes while a chunk is made of it: as it is stored, sample, step, place and value, what is added and where."""
_SCAN_BYTES = 2**22
"""Dense size of what is binned at a time to find the range of values: it stays in the processor's cache."""
_COUNTED = 2**24
"""Entries of a sample that are counted at a time; a longer one takes several passes over the file."""
_SPARSE = 16
"""Events are sorted, not binned, where there are more than this many entries for each of them."""
_FIRST, _LAST = -(2**31), 2**31 - 1
_FASTEST = Fraction(10**300)
_NEVER = 2.0**62
"""Time step of everything that is later."""

Block: TypeAlias = tuple[int, int, Array, Array, Array, "Array | None"]
"""Events in a piece: first sample and number of samples of the chunk; sample in the chunk, time step, place and value of each event."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Length of a time step as the network and the file state it, in seconds; None where one does not.

    Args:
        network, file: the two statements.
        evidence: who settled the network's.
    """

    network: float | None
    file: float | None
    evidence: str

    @property
    def dt(self) -> float | None:
        """The length to divide times by."""
        return self.network if self.network is not None else self.file

    @property
    def origin(self) -> str:
        """Who stated `dt`."""
        return f"the network's: {self.evidence}" if self.network is not None else "`dt` of the samples"


def steps_per(unit: Fraction, dt: float) -> Fraction:
    """Return the time steps in a unit of time; both are taken as the decimal numbers they are written as."""
    return unit / Fraction(repr(float(dt)))


def to_steps(times: Array, rate: Fraction) -> Array:
    """Return the time step of each time: floor(time * rate), at most 2**62, int64.

    Exact for integers. A real number that its own rounding may have put below the start of a step counts to that step.

    Args:
        times: (events,) finite and not negative.
        rate: steps per unit of time.
    """
    if times.dtype.kind in "biu" and (int(times.max()) if times.size else 0) * rate.numerator < 2**62 and rate.denominator < 2**62:
        return (times.astype(np.int64) * rate.numerator) // rate.denominator
    with np.errstate(over="ignore"):
        exact = np.minimum(times.astype(np.float64) * float(min(rate, _FASTEST)), _NEVER)
    ulp = np.finfo(times.dtype).eps if times.dtype.kind == "f" else np.finfo(np.float64).eps
    near = np.rint(exact)
    found = np.where(np.abs(exact - near) <= 4 * ulp * np.maximum(near, 1.0), near, np.floor(exact))
    return np.minimum(found, _NEVER).astype(np.int64)


def last_step(times: Array, rate: Fraction) -> int:
    """Return the last time step of some times, exact where `to_steps` stops counting.

    Args:
        times: (events,) finite and not negative, at least one.
        rate: steps per unit of time.
    """
    last = int(to_steps(times, rate).max())
    return last if last < _NEVER else int(Fraction(times.max().item()) * rate)


def scatter(out: Array, sample: Array, step: Array, place: Array, value: Array | None, *, binary: bool) -> None:
    """Add events to a dense array (samples, steps, neurons) in place; those at or after its last step are left out.

    Sums are taken modulo the range of its type: what they come to in the end has to fit.
    """
    keep = step < out.shape[1]
    at = (sample[keep] * out.shape[1] + step[keep]) * out.shape[2] + place[keep]
    flat = out.reshape(-1)
    if binary:
        flat[at] = 1
    else:
        np.add.at(flat, at, np.ones(at.size, out.dtype) if value is None else value[keep].astype(out.dtype))


@dataclass(frozen=True, slots=True, eq=False)
class EventSource:
    """Flat arrays of events, cut into samples.

    Args:
        time: when, in units of which `rate` make a time step.
        rate: see `to_steps`.
        places: where: one array of indices, or one per axis of the input's shape.
        value: how much, or None for 1.
        offsets: (samples + 1,) int64, first event of each sample.
        shape: of the input, as the places count it.
        binary: several events of one input in one step count as one.
    """

    time: Member
    rate: Fraction
    places: tuple[Member, ...]
    value: Member | None
    offsets: Array
    shape: tuple[int, ...]
    binary: bool

    def blocks(self, size: int) -> Iterator[Block]:
        """Yield the events of `size` samples at a time, in pieces; a chunk without events is one empty piece."""
        strides = np.cumprod((1, *self.shape[:0:-1]))[::-1]
        with ExitStack() as stack:
            time = stack.enter_context(self.time.open())
            places = [stack.enter_context(member.open()) for member in self.places]
            value = None if self.value is None else stack.enter_context(self.value.open())
            for start in range(0, self.offsets.size - 1, size):
                bounds = self.offsets[start : start + size + 1]
                for first in range(int(bounds[0]), max(int(bounds[-1]), int(bounds[0]) + 1), _BLOCK):
                    count = max(0, min(_BLOCK, int(bounds[-1]) - first))
                    where = [reader.take(count).astype(np.int64) for reader in places]
                    place = where[0] if len(where) == 1 else sum(k * n for k, n in zip(where, strides, strict=True))
                    sample = np.searchsorted(bounds, np.arange(first, first + count), side="right") - 1
                    step = to_steps(time.take(count), self.rate)
                    yield start, bounds.size - 1, sample, step, np.asarray(place), None if value is None else value.take(count)

    def scratch(self, size: int) -> int:
        """See `Source.scratch`: at most the events of a piece."""
        most = int((self.offsets[size:] - self.offsets[:-size]).max()) if size < self.offsets.size else int(self.offsets[-1])
        return min(most, _BLOCK) * EVENT_BYTES

    def chunks(self, size: int, steps: int, dtype: DType) -> Iterator[Array]:
        """See `Source.chunks`."""
        return bin_events(self.blocks(size), steps, prod(self.shape), dtype, binary=self.binary)

    def tally(self, steps: int) -> Tally:
        """See `Source.tally`."""
        return tally_events(self.blocks, steps, prod(self.shape), valued=self.value is not None, binary=self.binary)


def tally_events(blocks: Callable[[int], Iterator[Block]], steps: int, neurons: int, *, valued: bool, binary: bool) -> Tally:
    """Return what events become in the first `steps` time steps; the memory it takes does not grow with `steps`.

    Args:
        blocks: gives the events of as many samples at a time as it is asked for.
        steps, neurons: time steps that count, and inputs.
        valued: events have a value.
        binary: as in `EventSource`.
    """
    size = max(1, _SCAN_BYTES // max(1, 8 * steps * neurons))
    width = max(1, min(steps, _COUNTED // neurons))
    low = high = events = merged = 0
    for first in range(0, steps, width):
        counter = _Counter(first, min(width, steps - first), neurons, valued=valued and not binary)
        current = -1
        for start, count, sample, step, place, value in blocks(size):
            if start != current:
                counter.begin(count)
                current = start
            counter.add(sample, step, place, value)
        found = counter.tally()
        low, high = min(low, found.low), max(high, found.high)
        events, merged = events + (found.events or 0), merged + found.merged
    return Tally(low, min(high, 1) if binary else high, events, merged)


def bin_events(blocks: Iterator[Block], steps: int, neurons: int, dtype: DType, *, binary: bool) -> Iterator[Array]:
    """Yield what events become, (samples, steps, neurons) for the samples of each chunk, in a type that holds their sums."""
    current, out = -1, np.zeros((0, steps, neurons), dtype)
    for start, count, sample, step, place, value in blocks:
        if start != current:
            if current >= 0:
                yield out
            current, out = start, np.zeros((count, steps, neurons), dtype)
        scatter(out, sample, step, place, value, binary=binary)
    if current >= 0:
        yield out


class _Counter:
    """Bins events of some samples to see what they become.

    Args:
        first, width: the time steps that count: `width` of them from `first` on.
        neurons: of the input.
        valued: events add their value, not 1.
    """

    def __init__(self, first: int, width: int, neurons: int, *, valued: bool) -> None:
        self._first, self._shape, self._valued = first, (width, neurons), valued
        self._low = self._high = self._events = self._cells = self._samples = 0
        self._waiting: tuple[Array, Array | None] | None = None
        self._counts: Array = np.zeros(0, np.int64)
        self._sums: Array | None = None
        self._binned = False

    def begin(self, samples: int) -> None:
        """Finish the samples before and start the next ones."""
        self._flush()
        self._samples, self._binned = samples, False

    def add(self, sample: Array, step: Array, place: Array, value: Array | None) -> None:
        """Add events of the samples in hand."""
        width, neurons = self._shape
        keep = (step >= self._first) & (step < self._first + width)
        at = (sample[keep] * width + (step[keep] - self._first)) * neurons + place[keep]
        self._events += at.size
        worth = value[keep].astype(np.int64) if self._valued and value is not None else None
        if self._waiting is None and not self._binned:
            self._waiting = at, worth
            return
        self._bin_waiting()
        self._bin(at, worth)

    def _bin_waiting(self) -> None:
        if self._waiting is not None:
            size = self._samples * self._shape[0] * self._shape[1]
            self._counts, self._sums = np.zeros(size, np.int64), np.zeros(size, np.int64) if self._valued else None
            self._bin(*self._waiting)
            self._waiting, self._binned = None, True

    def _bin(self, at: Array, worth: Array | None) -> None:
        np.add.at(self._counts, at, 1)
        if self._sums is not None and worth is not None:
            np.add.at(self._sums, at, worth)

    def _flush(self) -> None:
        if self._waiting is not None:
            at, worth = self._waiting
            if self._samples * self._shape[0] * self._shape[1] > _SPARSE * at.size:
                places, entry, self._counts = np.unique(at, return_inverse=True, return_counts=True)
                self._waiting, self._binned = None, True
                if worth is not None:
                    self._sums = np.zeros(places.size, np.int64)
                    np.add.at(self._sums, entry, worth)
        self._bin_waiting()
        if not self._binned or not self._counts.size:
            return
        self._cells += int(np.count_nonzero(self._counts))
        values = self._counts if self._sums is None else self._sums
        self._low, self._high = min(self._low, int(values.min())), max(self._high, int(values.max()))

    def tally(self) -> Tally:
        """Return what was found."""
        self.begin(0)
        return Tally(self._low, self._high, self._events, self._events - self._cells)


def time_keys(archive: Archive, suffix: str) -> list[str]:
    """Return the names of an input's arrays of times; more than one contradict each other."""
    return [key + suffix for key in ("t", *UNITS) if key + suffix in archive]


def place_keys(archive: Archive, suffix: str) -> list[str]:
    """Return the names of an input's arrays of places."""
    return [key + suffix for key in ("index", "x", "y", "p") if key + suffix in archive]


def read_events(
    archive: Archive, suffix: str, port: str, shape: tuple[int, ...], clock: Clock, steps: int | None, cut: int | None, findings: Findings
) -> Found | None:
    """Return the events of one input; None with NM801 or NM802 where they do not fit.

    Args:
        archive: the file, which holds times of this input.
        suffix: what follows the arrays' names, for example `.left`; empty for an only input.
        port: name of the input.
        shape: of the input.
        clock: length of a time step.
        steps: time steps the file states, or None.
        cut: time steps that are run; None for all.
        findings: receives the diagnostics.
    """
    before = len(findings)
    time = archive.member(time_keys(archive, suffix)[0])
    places, dims = _places(archive, suffix, port, shape, findings)
    value = archive.member(f"value{suffix}")
    if time is None or places is None or len(findings) > before:
        return None
    members = [time, *places, *([] if value is None else [value])]
    for member in members:
        if member.shape != time.shape or len(member.shape) != 1:
            findings.error(
                "NM802", f"`{member.key}` has shape {member.shape}; one entry per event is needed", where=member.where,
                why=f"`{time.key}` has shape {time.shape}",
            )
    rate = _rate(time, suffix, clock, findings)
    offsets = _offsets(archive, suffix, prod(time.shape), findings)
    for member in places:
        check_integers(member, findings)
    if value is not None:
        check_integers(value, findings)
    if rate is None or offsets is None or len(findings) > before:
        return None
    last = _scan(time, places, dims, value, rate, findings)
    if len(findings) > before:
        return None
    source = EventSource(time, rate, places, value, offsets, dims, _flag(archive, f"binary{suffix}", findings))
    span = last + 1
    if steps is not None and span > steps:
        late = sum(int(np.count_nonzero(step >= steps)) for *_, step, _, _ in source.blocks(_BLOCK))
        findings.error(
            "NM802", f"{late} events of `{port}` lie at or after the {steps} time steps that `steps` states, the last one in step "
            f"{short(last)}", where=time.where, help=("leave `steps` out of the file and cut the run with --steps",),
        )
    elif span == 0 and steps is None:
        findings.error("NM802", f"there is no event for `{port}`, and nothing says how many time steps there are", where=time.where,
                       help=("store `steps`, the number of time steps",))
    if len(findings) > before:
        return None
    if not check_length(span if steps is None else steps, cut, prod(shape), time.where, findings, (SPAN_HELP,) if steps is None else ()):
        return None
    rule = "events of one neuron in one step " + ("count once (`binary`)" if source.binary else "add up")
    if time.key.removesuffix(suffix) in UNITS:
        rule = f"`{time.key}` was divided into time steps of {clock.dt:g} s ({clock.origin}); {rule}"
    return Found(source, offsets.size - 1, span if steps is None else steps, steps is None, time.where, rule)


def _places(
    archive: Archive, suffix: str, port: str, shape: tuple[int, ...], findings: Findings
) -> tuple[tuple[Member, ...] | None, tuple[int, ...]]:
    """Return the arrays that say where events are, and the lengths of the axes they count."""
    where = str(archive.path)
    keys = place_keys(archive, suffix)
    if f"index{suffix}" in archive:
        if len(keys) > 1:
            findings.error(
                "NM802", f"{listed(keys)} {'both' if len(keys) == 2 else 'all'} say where the events of `{port}` are; "
                "which of them counts is not known", where=where, help=(f"leave out {listed(keys[:1])}, or {listed(keys[1:])}",),
            )
            return None, ()
        member = archive.member(f"index{suffix}")
        return (None if member is None else (member,)), (prod(shape),)
    named = {axis: f"{axis}{suffix}" for axis in "pyx"}
    if named["x"] not in archive and named["y"] not in archive:
        findings.error(
            "NM802", f"the events of `{port}` have a time but no place", where=where,
            help=(f"store `index{suffix}`, the number of the input, or `x{suffix}`, `y{suffix}` and `p{suffix}`",),
        )
        return None, ()
    if len(shape) not in (2, 3):
        formula = "x" if len(shape) < 2 else "..."
        findings.error(
            "NM802", f"the events of `{port}` have x and y, but its shape {shape} has no rows and columns", where=where,
            help=(f"store `index{suffix}` = (p * height + y) * width + {formula}, as the network numbers its inputs",),
        )
        return None, ()
    flat = len(shape) == 2 or (shape[0] == 1 and named["p"] not in archive)
    axes = "yx" if flat else "pyx"
    missing = [named[axis] for axis in axes if named[axis] not in archive]
    if missing:
        findings.error(
            "NM802", f"the events of `{port}` lack {', '.join(f'`{m}`' for m in missing)}", where=where,
            why=f"its shape {shape} is (polarity, height, width): `p` is the channel, `y` the row, `x` the column",
        )
        return None, ()
    members = tuple(archive.member(named[axis]) for axis in axes)
    return (None if None in members else tuple(m for m in members if m is not None)), shape[-len(axes):]


def _rate(time: Member, suffix: str, clock: Clock, findings: Findings) -> Fraction | None:
    name = time.key.removesuffix(suffix)
    if time.dtype.kind not in "biuf":
        findings.error("NM802", f"`{time.key}` is of type {time.type}; numbers are needed", where=time.where)
        return None
    if name not in UNITS:
        unit = f"name it `t_s{suffix}`, `t_ms{suffix}`, `t_us{suffix}` or `t_ns{suffix}` if it holds times: `{time.key}` counts steps"
        return Fraction(1) if check_integers(time, findings, whole=(unit,), fractions=(unit,)) else None
    if clock.dt is None:
        findings.error(
            "NM802", f"`{time.key}` holds times, and nothing says how long a time step is", where=time.where,
            why="the network counts in steps whose length its file does not state",
            help=(STEP_HELP, "store `dt`, the seconds of a time step, beside the events"),
        )
        return None
    return steps_per(UNITS[name], clock.dt)


def _offsets(archive: Archive, suffix: str, events: int, findings: Findings) -> Array | None:
    key = f"offsets{suffix}"
    if key not in archive:
        return np.array([0, events], np.int64)
    member = archive.member(key)
    where = f"{archive.path}:{key}"
    if member is None or not check_integers(member, findings):
        return None
    values = archive.whole(key)
    if values is None:
        return None
    if values.ndim != 1 or values.size < 2:
        findings.error("NM802", f"`{key}` has shape {values.shape}; the first event of each sample and the end are needed", where=where)
        return None
    if int(values[0]) != 0 or int(values[-1]) != events:
        findings.error(
            "NM802", f"`{key}` runs from {int(values[0])} to {int(values[-1])}; it must run from 0 to {events}, the number of events",
            where=where,
        )
        return None
    back = np.flatnonzero(values[1:] < values[:-1])
    if back.size:
        at = int(back[0])
        findings.error(
            "NM802", f"`{key}` goes back from {int(values[at])} to {int(values[at + 1])} at entry {at + 1}", where=where,
            why="samples lie one after the other",
        )
        return None
    return values.astype(np.int64)


def _flag(archive: Archive, key: str, findings: Findings) -> bool:
    values = archive.whole(key)
    if values is None:
        return False
    if values.size != 1 or values.dtype.kind not in "biu" or values.reshape(-1)[0] not in (0, 1):
        findings.error("NM802", f"`{key}` must be True or False", where=f"{archive.path}:{key}")
        return False
    return bool(values.reshape(-1)[0])


class _Offence:
    """The first entry of an array that is wrong, and how many are."""

    def __init__(self) -> None:
        self.count, self.first, self.value = 0, 0, 0.0

    def see(self, wrong: Array, values: Array, start: int) -> None:
        found = int(np.count_nonzero(wrong))
        if found and not self.count:
            at = int(np.argmax(wrong))
            self.first, self.value = start + at, values[at].item()
        self.count += found


def _scan(
    time: Member, places: Sequence[Member], dims: tuple[int, ...], value: Member | None, rate: Fraction, findings: Findings
) -> int:
    """Check every entry of the arrays; return the last time step, -1 without events."""
    last, events = -1, time.shape[0]
    infinite, negative = _Offence(), _Offence()
    with time.open() as reader:
        for start in range(0, events, _BLOCK):
            part = reader.take(min(_BLOCK, events - start))
            if part.dtype.kind == "f":
                # Real numbers of more than 64 bits may be finite where none of 64 bits is.
                with np.errstate(over="ignore"):
                    part = part.astype(np.float64) if part.dtype.itemsize > 8 else part
                infinite.see(~np.isfinite(part), part, start)
            negative.see(part < 0, part, start)
            if not infinite.count and not negative.count:
                last = max(last, last_step(part, rate))
    for offence, kind in ((infinite, "not a number of time"), (negative, "before the start of the sample")):
        if offence.count:
            findings.error(
                "NM802", f"{offence.count} of `{time.key}` are {kind}, the first is {offence.value} of event {offence.first}",
                where=f"{time.where}[{offence.first}]",
            )
    for member, length in zip(places, dims, strict=True):
        outside = _Offence()
        with member.open() as reader:
            for start in range(0, events, _BLOCK):
                part = reader.take(min(_BLOCK, events - start))
                outside.see((part < 0) | (part >= length), part, start)
        if outside.count:
            findings.error(
                "NM802",
                f"{outside.count} of `{member.key}` are outside 0..{length - 1}, the first is {outside.value} of event {outside.first}",
                where=f"{member.where}[{outside.first}]", help=_place_help(member.key, outside.value, length),
            )
    if value is not None:
        beyond = _Offence()
        with value.open() as reader:
            for start in range(0, events, _BLOCK):
                part = reader.take(min(_BLOCK, events - start))
                beyond.see((part > _LAST) | (part < _FIRST), part, start)
        if beyond.count:
            findings.error(
                "NM802", f"{beyond.count} of `{value.key}` are no 32-bit integers, the first is {beyond.value} of event {beyond.first}",
                where=f"{value.where}[{beyond.first}]",
            )
    return last


def _place_help(key: str, value: float, length: int) -> tuple[str, ...]:
    if key.split(".")[0] == "p" and value == -1:
        return (f"`({key} > 0)` for polarities of -1 and 1",)
    if key.split(".")[0] == "p" and length == 1:
        return ("leave `p` out, since the network's input has one channel",)
    return ()
