"""Dense samples: an array (samples, time, *input shape) of an `.npz` file, read sample by sample."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.samples.archive import Member, Reader
from nmap.samples.model import CHUNK_BYTES, DType, Found, Tally, check_length, narrowed

__all__ = ["DenseSource", "check_integers", "read_dense"]

_BLOCK = 2**20


@dataclass(frozen=True, slots=True, eq=False)
class DenseSource:
    """Rows of a stored array; `length` is its own number of time steps, `row` the number of values of a sample."""

    member: Member
    samples: int
    length: int
    row: int

    def scratch(self, size: int) -> int:
        """See `Source.scratch`."""
        return min(size * self.row * self.member.dtype.itemsize, CHUNK_BYTES)

    def chunks(self, size: int, steps: int, dtype: DType) -> Iterator[Array]:
        """See `Source.chunks`."""
        most = CHUNK_BYTES // self.member.dtype.itemsize
        with self.member.open() as reader:
            for start in range(0, self.samples, size):
                count = min(size, self.samples - start)
                if steps == self.length and count * self.row <= most:
                    # As it lies in the file, without a copy where the type allows it.
                    yield narrowed(reader.take(count * self.row), dtype).reshape(count, steps, -1)
                    continue
                out = np.zeros((count, steps, self.row // self.length), dtype)
                for sample, step, values in self._pieces(reader, count, most):
                    part = narrowed(values[:, : max(0, steps - step)], dtype)
                    out[sample : sample + part.shape[0], step : step + part.shape[1]] = part
                yield out

    def tally(self, steps: int) -> Tally:
        """See `Source.tally`."""
        low = high = 0
        with self.member.open() as reader:
            for _, step, values in self._pieces(reader, self.samples, _BLOCK):
                part = values[:, : max(0, steps - step)]
                if part.size:
                    low, high = min(low, int(part.min())), max(high, int(part.max()))
        return Tally(low, high)

    def _pieces(self, reader: Reader, count: int, most: int) -> Iterator[tuple[int, int, Array]]:
        """Yield (first sample, first step, (samples, steps, neurons)) of the next samples: whole ones, or a part of one.

        Args:
            reader: gives the samples.
            count: how many.
            most: values in a piece; more only where a single time step has more.
        """
        neurons = self.row // self.length
        whole = most // self.row
        if whole:
            for sample in range(0, count, whole):
                rows = min(whole, count - sample)
                yield sample, 0, reader.take(rows * self.row).reshape(rows, self.length, neurons)
            return
        width = max(1, most // neurons)
        for sample in range(count):
            for step in range(0, self.length, width):
                rows = min(width, self.length - step)
                yield sample, step, reader.take(rows * neurons).reshape(1, rows, neurons)


def read_dense(member: Member, port: str, shape: tuple[int, ...], cut: int | None, findings: Findings) -> Found | None:
    """Return the samples of one input; None with NM802 where they do not fit.

    Args:
        member: the array.
        port: name of the input.
        shape: of the input.
        cut: time steps that are run; None for all.
        findings: receives the diagnostics.
    """
    where, given = member.where, member.shape
    fits_type = check_integers(member, findings, cast=None, fractions=("encode the values as spikes over time",))
    if len(given) < 2 or given[2:] != shape:
        findings.error(
            "NM802",
            f"`{member.key}` has shape {given}; the network's input `{port}` needs (samples, time, {', '.join(map(str, shape))})",
            where=where,
            help=_remedy(member.key, given, shape),
        )
    elif given[0] == 0 or given[1] == 0:
        findings.error(
            "NM802", f"`{member.key}` of shape {given} holds no {'samples' if given[0] == 0 else 'time steps'}", where=where
        )
    elif check_length(given[1], cut, prod(shape), where, findings) and fits_type:
        return Found(DenseSource(member, given[0], given[1], prod(given[1:])), given[0], given[1], False, where)
    return None


def _remedy(key: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[str, ...]:
    """Return the numpy call that would make the shape fit, where one is evident."""
    rest, listed = shape[2:], ", ".join(map(str, wanted))
    if shape[1:] == wanted:
        return (f"`{key}[:, None]` for samples of one time step each", "encode each value as spikes over time")
    if len(shape) >= 3 and prod(rest) == prod(wanted) and prod(rest) > 0:
        if rest[::-1] == wanted or sorted(rest) == sorted(wanted):
            axes = _axes(rest, wanted)
            return (f"`{key}.transpose(0, 1, {', '.join(str(2 + a) for a in axes)})`: the axes are in another order",)
        return (f"`{key}.reshape({shape[0]}, {shape[1]}, {listed})`: the values are there, in another shape",)
    if shape[1:-1] == wanted:
        return (f"`np.moveaxis({key}, -1, 1)`: time comes second, not last",)
    if shape == wanted:
        return (f"`{key}[None, None]` for a single sample of one time step",)
    return ()


def _axes(rest: tuple[int, ...], wanted: tuple[int, ...]) -> list[int]:
    """Return the order in which the axes of `rest` make `wanted`; the first fit among equal lengths."""
    left = list(range(len(rest)))
    order = []
    for length in wanted:
        axis = next(a for a in left if rest[a] == length)
        left.remove(axis)
        order.append(axis)
    return order


def check_integers(
    member: Member, findings: Findings, *, cast: str | None = "int64", whole: tuple[str, ...] = (), fractions: tuple[str, ...] = ()
) -> bool:
    """Record NM802 unless an array is of an integer or bool type; say what to cast to, which takes a look at its values.

    Args:
        member: the array.
        findings: receives the diagnostic.
        cast: the type that holds whole numbers; None for the smallest one that does.
        whole: more remedies for whole numbers.
        fractions: remedies for other ones.
    """
    key, dtype, where = member.key, member.dtype, member.where
    if dtype.kind in "biu":
        return True
    if dtype.kind != "f":
        findings.error("NM802", f"`{key}` is of type {member.type}; integers are needed", where=where)
        return False
    low, high, integral = np.inf, -np.inf, True
    with member.open() as reader:
        for start in range(0, prod(member.shape), _BLOCK):
            values = reader.take(min(_BLOCK, prod(member.shape) - start))
            finite = np.isfinite(values)
            if not finite.all():
                first = int(np.flatnonzero(~finite)[0])
                place = tuple(int(k) for k in np.unravel_index(start + first, member.shape))
                findings.error("NM802", f"`{key}` holds {float(values[first])} at {place}; integers are needed", where=where)
                return False
            integral = integral and bool((values == np.floor(values)).all())
            low, high = min(low, float(values.min())), max(high, float(values.max()))
    low, high = (low, high) if low <= high else (0.0, 0.0)
    if integral:
        kind = cast or ("uint8" if low >= 0 and high <= 255 else "int32")
        findings.error(
            "NM802",
            f"`{key}` is of type {member.type}; integers are needed",
            where=where,
            why=f"its values are whole numbers from {low:.6g} to {high:.6g}",
            help=(f"`{key}.astype(np.{kind})`", *whole),
        )
    else:
        findings.error(
            "NM802",
            f"`{key}` is of type {member.type} and holds fractions; integers are needed",
            where=where,
            help=fractions,
        )
    return False
