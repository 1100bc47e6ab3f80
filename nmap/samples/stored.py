"""Careful access to an HDF5 recording that need not fit in memory: groups by hard links, numbers, and datasets row by row.

As in `nmap.readers.hdf5`, the library is asked only for what it can tell without trusting a length in the file; chunks are unpacked by
`nmap.readers.storage`, never beyond their size. Strings are not read at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from math import isfinite, prod
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5t

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.readers.hdf5 import MAX_MEMBERS, MAX_NAME, printable
from nmap.readers.storage import FILTERS, SIGNATURE, Superblock, decoded, native
from nmap.samples.archive import READ_ERRORS, Keep, check_stamp, damaged
from nmap.samples.model import CHUNK_BYTES, MAX_SAMPLE_BYTES, SHORTER

__all__ = ["SLAB_BYTES", "Node", "Rows", "open_recording"]

SLAB_BYTES = 2**22
"""Rows are read from an unchunked dataset in pieces of about this size, in bytes."""
_MAX_BAND_BYTES = 2**28
"""Largest size of the chunks that hold the same rows, which are unpacked together, in bytes."""
# Deflate cannot exceed 1032:1; anything beyond is a declaration without storage behind it.
_MAX_RATIO = 1100
_SLACK = 2**16


@contextmanager
def open_recording(path: Path, mark: tuple[int, ...], findings: Findings, keep: Keep) -> Iterator[Node]:
    """Give the root of an HDF5 file.

    Args:
        path: the file.
        mark: its `stamp`.
        findings: receives the diagnostics.
        keep: what of its datasets may stay in memory.

    Raises:
        NmapError: NM801, the file is damaged; NM109, its addresses are not of 8 bytes.
    """
    with path.open("rb") as stream:
        base = 0
        while True:
            stream.seek(base)
            head = stream.read(64)
            if head.startswith(SIGNATURE) or not head:
                break
            base = max(512, 2 * base)
    if len(head) < 16 or Superblock(base, head).widths != (8, 8):
        findings.error("NM109", f"`{path}` stores addresses and lengths not in 8 bytes, as every exporter does", where=str(path))
    findings.raise_errors()
    with damaged(path):
        file = h5py.File(path, "r")
    try:
        yield Node(path, h5g.open(file.id, b"/"), (), mark, findings, keep)
    finally:
        file.close()


class Node:
    """A group of the file.

    Args:
        file: the file.
        handle: h5py's identifier of the group.
        names: of the groups on the way to it, as stored.
        mark: `stamp` of the file.
        findings: receives the diagnostics.
        keep: see `open_recording`.
    """

    def __init__(
        self, file: Path, handle: Any, names: tuple[bytes, ...], mark: tuple[int, ...], findings: Findings, keep: Keep
    ) -> None:
        self._file, self._handle, self._names, self._mark, self._findings, self._keep = file, handle, names, mark, findings, keep

    @property
    def where(self) -> str:
        """This group's place."""
        return f"{self._file}:/" + "/".join(printable(name) for name in self._names)

    def place(self, name: str) -> str:
        """Return the place of a member."""
        return f"{self.where.rstrip('/')}/{name}"

    @contextmanager
    def _guard(self, where: str) -> Iterator[None]:
        try:
            yield
        except READ_ERRORS as error:
            why = printable(str(error).splitlines()[0])[:MAX_NAME] if str(error) else None
            self._findings.error("NM103", f"the file is damaged: `{where.rpartition(':')[2]}` cannot be read", where=where, why=why)

    @property
    def names(self) -> tuple[str, ...]:
        """The members' names, printable and sorted."""
        with self._guard(self.where):
            count = self._handle.get_num_objs()
            if count > MAX_MEMBERS:
                self._findings.error("NM110", f"a group has {count} members; the limit is {MAX_MEMBERS}", where=self.where)
                return ()
            return tuple(sorted(printable(raw) for raw in self._handle if len(raw) <= MAX_NAME))
        return ()

    def __contains__(self, name: str) -> bool:
        with self._guard(self.place(name)):
            return "/" not in name and name not in ("", ".") and bool(self._handle.links.exists(name.encode()))
        return False

    def _member(self, name: str) -> Any:
        where = self.place(name)
        if name not in self:
            return None
        with self._guard(where):
            kind = self._handle.links.get_info(name.encode()).type
            if kind != h5l.TYPE_HARD:
                told = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "an external link"}.get(kind, "a user-defined link")
                self._findings.error(
                    "NM109", f"`{name}` is {told}, which is not followed in an untrusted file", where=where,
                    help=("write the data itself into the file",),
                )
                return None
            return h5o.open(self._handle, name.encode())
        return None

    def child(self, name: str) -> Node | None:
        """Return a member group; None (with NM103 or NM109) where there is none."""
        before, member = len(self._findings), self._member(name)
        if isinstance(member, h5g.GroupID):
            return Node(self._file, member, (*self._names, name.encode()), self._mark, self._findings, self._keep)
        if len(self._findings) == before:
            self._findings.error("NM103", f"the group `{name}` is missing", where=self.place(name))
        return None

    def has_attribute(self, name: str) -> bool:
        """Return whether an attribute of that name exists."""
        with self._guard(self.where):
            return bool(h5a.exists(self._handle, name.encode()))
        return False

    def number(self, name: str) -> float | None:
        """Return an attribute above 0; None with NM103 or NM107 where it is absent or no such number."""
        if not self.has_attribute(name):
            self._findings.error("NM103", f"the attribute `{name}` is missing", where=self.where)
            return None
        with self._guard(self.where):
            attribute = h5a.open(self._handle, name.encode())
            if prod(attribute.shape) != 1 or attribute.get_type().get_class() not in (h5t.INTEGER, h5t.FLOAT):
                self._findings.error("NM107", f"the attribute `{name}` is not a number", where=self.where)
                return None
            values = np.zeros(attribute.shape, np.float64)
            attribute.read(values)
            value = float(values.reshape(-1)[0])
            if not isfinite(value) or value <= 0:
                self._findings.error("NM107", f"the attribute `{name}` is {value}; a number above 0 is needed", where=self.where)
                return None
            return value
        return None

    def rows(self, name: str, axes: str) -> Rows | None:
        """Return a dataset's rows; None with a diagnostic where it is absent, not numeric or not really stored.

        Args:
            name: of the dataset.
            axes: what its axes are, as in `(samples, events)`.
        """
        where, before = self.place(name), len(self._findings)
        member = self._member(name)
        if not isinstance(member, h5d.DatasetID):
            if len(self._findings) == before:
                self._findings.error("NM103", f"`{name}` is missing or not a dataset", where=where)
            return None
        with self._guard(where):
            return self._rows(member, name, axes, where)
        return None

    def _rows(self, member: Any, name: str, axes: str, where: str) -> Rows | None:
        findings, plist = self._findings, member.get_create_plist()
        # Before the shape is asked for: a virtual dataset may open its sources to tell.
        if plist.get_layout() == h5d.VIRTUAL or plist.get_external_count():
            findings.error("NM109", f"the data of `{name}` lies in another file, which is not followed", where=where)
            return None
        kind = member.get_type()
        dtype = np.dtype(kind.dtype) if kind.get_class() in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM) else None
        if dtype is None or dtype.kind not in "biuf" or dtype.itemsize != kind.get_size():
            findings.error("NM107", f"`{name}` does not hold numbers", where=where)
            return None
        shape = tuple(int(n) for n in member.shape)
        if len(shape) != axes.count(",") + 1 or 0 in shape:
            findings.error("NM802", f"`{name}` has shape {shape}; {axes} is needed", where=where)
            return None
        filters = [plist.get_filter(k) for k in range(plist.get_nfilters())]
        unknown = [f[0] for f in filters if f[0] not in FILTERS]
        if unknown or len({f[0] for f in filters}) < len(filters):
            findings.error(
                "NM109", f"`{name}` is compressed with HDF5 filters {[f[0] for f in filters]}, which nmap does not undo", where=where,
                help=("write it with gzip or without compression",),
            )
            return None
        total, stored = prod(shape) * dtype.itemsize, int(member.get_storage_size())
        if total > stored * _MAX_RATIO + (_SLACK if stored else 0) or (plist.get_layout() != h5d.CHUNKED and stored < total):
            findings.error(
                "NM110" if stored else "NM103",
                f"`{name}` declares {prod(shape)} elements of which {'hardly any are' if stored else 'none is'} stored", where=where,
                why=f"{total} bytes declared, {stored} bytes stored",
            )
            return None
        band = int(plist.get_chunk()[0]) if plist.get_layout() == h5d.CHUNKED else 1
        row = prod(shape[1:]) * dtype.itemsize
        largest = max(row, prod(plist.get_chunk()) * dtype.itemsize) if plist.get_layout() == h5d.CHUNKED else row
        if row > MAX_SAMPLE_BYTES:
            findings.error(
                "NM110", f"a sample of `{name}`, of shape {shape[1:]}, takes {row} bytes, which is beyond the limit", where=where,
                why=f"the limit is {MAX_SAMPLE_BYTES} bytes", help=(SHORTER[0], "store it as a smaller type"),
            )
            return None
        if max(largest, min(band, shape[0]) * row) > max(row, _MAX_BAND_BYTES):
            findings.error(
                "NM110", f"the chunks of `{name}` hold {band} samples of {row} bytes at once, which is beyond the limit", where=where,
                why=f"the limit for chunks unpacked together is {_MAX_BAND_BYTES} bytes",
                help=("write it with chunks of fewer samples",),
            )
            return None
        return Rows(self._file, (*self._names, name.encode()), shape, dtype, band, self._mark, where, self._keep)


class Rows:
    """A dataset that can be read row by row, again and again.

    Args:
        file: the file.
        names: the way to the dataset.
        shape, dtype: of the dataset.
        band: rows that its chunks hold together.
        mark: `stamp` of the file.
        where: its place, for diagnostics.
        keep: see `open_recording`.
    """

    def __init__(
        self, file: Path, names: tuple[bytes, ...], shape: tuple[int, ...], dtype: np.dtype[Any], band: int, mark: tuple[int, ...],
        where: str, keep: Keep,
    ) -> None:
        self.shape, self.dtype, self.where, self._keep = shape, dtype, where, keep
        self.row_bytes = prod(shape[1:]) * dtype.itemsize
        self._file, self._names, self._band, self._mark = file, names, band, mark
        self._held: Array | None = None

    @property
    def band_bytes(self) -> int:
        """Size of the rows that are unpacked together."""
        return max(self._band * self.row_bytes, min(SLAB_BYTES, self.shape[0] * self.row_bytes))

    @contextmanager
    def open(self) -> Iterator[_Reader]:
        """Give the rows in order.

        Raises:
            NmapError: NM801, the file was changed or is damaged; also from the reader.
        """
        if self._held is None:
            check_stamp(self._file, self._mark)
            with damaged(self._file):
                file = h5py.File(self._file, "r")
            try:
                with damaged(self._file):
                    handle = h5o.open(file.id, b"/" + b"/".join(self._names))
                reader = _Reader(self._file, self.shape, self.dtype, handle, self._band)
                if not self._keep.claim(self.shape[0] * self.row_bytes):
                    yield reader
                    return
                self._held = reader.take(self.shape[0])
            finally:
                file.close()
        yield _Reader(self._file, self.shape, self.dtype, None, self.shape[0], self._held)

    def pieces(self, most: int = CHUNK_BYTES) -> Iterator[tuple[int, Array]]:
        """Yield (first row, rows) of all rows, `most` bytes or one row at a time."""
        size = max(1, most // self.row_bytes)
        with self.open() as reader:
            for start in range(0, self.shape[0], size):
                yield start, reader.take(min(size, self.shape[0] - start))


class _Reader:
    """Rows of a dataset, one after the other."""

    def __init__(
        self, file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], handle: Any, band: int, left: Array | None = None
    ) -> None:
        self._file, self._shape, self._dtype, self._handle = file, shape, dtype, handle
        self._left: Array = np.zeros((0, *shape[1:]), dtype) if left is None else left
        self._next, self._band = 0 if left is None else shape[0], band

    def take(self, count: int) -> Array:
        """Return the next `count` rows."""
        parts, missing = [self._left[:count]], count - min(count, self._left.shape[0])
        self._left = self._left[count:]
        while missing > 0:
            with damaged(self._file):
                rows = self._read()
            self._next += rows.shape[0]
            parts.append(rows[:missing])
            self._left, missing = rows[missing:], missing - parts[-1].shape[0]
        kept = [part for part in parts if part.shape[0]]
        return kept[0] if len(kept) == 1 else np.concatenate(kept)

    def _read(self) -> Array:
        plist = self._handle.get_create_plist()
        if plist.get_layout() == h5d.CHUNKED:
            return self._unpack(plist)
        size = self._dtype.itemsize * prod(self._shape[1:])
        count = min(max(1, SLAB_BYTES // size), self._shape[0] - self._next)
        if plist.get_layout() != h5d.CONTIGUOUS:
            whole = np.zeros(self._shape, self._dtype)
            self._handle.read(h5py.h5s.ALL, h5py.h5s.ALL, whole)
            return native(self._dtype, whole[self._next :])
        with self._file.open("rb") as stream:
            stream.seek(self._handle.get_offset() + self._next * size)
            content = stream.read(count * size)
        if len(content) < count * size:
            raise ValueError("the data of a dataset ends early")
        return native(self._dtype, np.frombuffer(content, self._dtype).reshape(count, *self._shape[1:]))

    def _unpack(self, plist: Any) -> Array:
        chunk = tuple(int(n) for n in plist.get_chunk())
        filters = [(f[0], tuple(f[2])) for f in (plist.get_filter(k) for k in range(plist.get_nfilters()))]
        count = min(chunk[0], self._shape[0] - self._next)
        out = np.zeros((count, *self._shape[1:]), self._dtype)
        size = prod(chunk) * self._dtype.itemsize
        for corner in product([self._next], *(range(0, n, step) for n, step in zip(self._shape[1:], chunk[1:], strict=True))):
            length = self._handle.get_chunk_info_by_coord(corner).size
            if not 0 < length <= 2 * size + _SLACK:
                raise ValueError(f"the chunk at {corner} has {length} bytes in the file and {size} unpacked")
            skipped, stored = self._handle.read_direct_chunk(corner)
            block = np.frombuffer(decoded(stored, filters, skipped, size), self._dtype).reshape(chunk)
            inside = out[tuple(slice(max(0, at - self._next * (axis == 0)), None) for axis, at in enumerate(corner))]
            inside = inside[tuple(slice(0, step) for step in chunk)]
            inside[...] = block[tuple(slice(0, n) for n in inside.shape)]
        return native(self._dtype, out)
