"""Careful access to an HDF5 file that nobody vouches for.

HDF5 can follow links into other files, load filter plug-ins, and declare arrays far larger than the file. This layer takes
hard links, stored data and the library's own filters only, and checks every size before memory is asked for. What is
wrong becomes a diagnostic in `Tree.findings` and the value becomes None, so that a reader can collect all problems of a file.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import h5py
import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.network import Provenance

__all__ = ["MAX_BYTES", "MAX_ELEMENTS", "MAX_TOTAL_BYTES", "Group", "Tree", "address_bytes", "damaged_heap", "heap_objects", "too_large"]

MAX_ELEMENTS = 2**31
"""Largest number of elements one array may declare."""
MAX_BYTES = 2**30
"""Largest size of one array, in the file or made from it, in bytes."""
MAX_TOTAL_BYTES = 2**32
"""Largest size of all arrays of a file together, in bytes."""
MAX_STRINGS = 2**18
MAX_MEMBERS = 2**16
# Deflate cannot exceed 1032:1; anything beyond is a declaration without storage behind it.
_MAX_RATIO = 1100
_SLACK = 2**16
# deflate, shuffle, fletcher32, szip, n-bit, scale-offset, lzf: all compiled in, none loads code.
_FILTERS = frozenset({1, 2, 3, 4, 5, 6, 32000})
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\x01\x00\x00\x00"
_H5_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, OverflowError, UnicodeError)


def too_large(what: str, values: Array) -> str:
    """Return the message about an entry with integers beyond `MAX_ELEMENTS`."""
    return f"{what} is [{', '.join(f'{float(v):.0f}' for v in values[:8])}], which is too large; the reader's limit is {MAX_ELEMENTS}"


class Tree:
    """An open file and what was found wrong in it.

    Args:
        path: the file.
        findings: receives the diagnostics.

    Raises:
        OSError: h5py cannot open the file.
    """

    def __init__(self, path: Path, findings: Findings) -> None:
        self.name = str(path)
        self.findings = findings
        self.size = path.stat().st_size
        self._bytes = 0
        self._full = False
        self._told: set[str] = set()
        self._heaps: dict[int, dict[int, tuple[int, int]]] = {}
        self._file = h5py.File(path, "r")
        self._stream = path.open("rb")
        self._content = mmap.mmap(self._stream.fileno(), 0, access=mmap.ACCESS_READ)

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._content.close()
        self._stream.close()
        self._file.close()

    @property
    def root(self) -> Group:
        """The root group."""
        return Group(self, self._file, "/")

    def claim(self, count: int, itemsize: int, where: str, what: str) -> bool:
        """Reserve memory for an array of `count` elements; record NM110 and return False where it is beyond the limits."""
        size = count * itemsize
        if count > MAX_ELEMENTS or size > MAX_BYTES:
            self.findings.error(
                "NM110",
                f"{what} has {count} elements, which is beyond the reader's limit",
                where=where,
                why=f"{count} elements of {itemsize} bytes are {size} bytes; the limits are {MAX_ELEMENTS} elements and {MAX_BYTES} bytes",
            )
            return False
        if self._bytes + size > MAX_TOTAL_BYTES:
            if not self._full:
                self.findings.error(
                    "NM110",
                    f"the arrays of the file are together beyond the reader's limit, reached at {what}",
                    where=where,
                    why=f"{self._bytes} bytes so far and {size} more; the limit is {MAX_TOTAL_BYTES} bytes",
                )
            self._full = True
            return False
        self._bytes += size
        return True

    @contextmanager
    def guard(self, where: str) -> Iterator[None]:
        """Turn the HDF5 library's own errors into a diagnostic."""
        try:
            yield
        except _H5_ERRORS as error:
            if self.first(where):
                why = str(error).splitlines()[0] if str(error) else None
                self.findings.error("NM103", f"the file is damaged: `{where.rpartition(':')[2]}` cannot be read", where=where, why=why)

    def stored_string(self, offset: int) -> bytes:
        """Return the string of variable length whose record (length, heap address, index) lies at `offset` of the file.

        The library would follow a damaged record for ever, or ask for the memory it names.

        Raises:
            ValueError: the record leads nowhere.
        """
        record = self._content[offset : offset + 16]
        length, address, index = (int.from_bytes(record[a:b], "little") for a, b in ((0, 4), (4, 12), (12, 16)))
        if len(record) < 16:
            raise ValueError("the record of a string lies behind the end of the file")
        if length == 0:
            return b""
        start = address + int(self._file.userblock_size)
        if start not in self._heaps:
            self._heaps[start] = heap_objects(self._content, start)
        place, size = self._heaps[start].get(index, (0, 0))
        if index == 0 or length > size:
            raise ValueError(f"the record of a string names object {index} of the heap at offset {start}, which does not hold it")
        return bytes(self._content[place : place + length])

    def first(self, where: str) -> bool:
        """Return whether a place is complained about for the first time; a member may be looked at more than once."""
        new = where not in self._told
        self._told.add(where)
        return new

    def text(self, raw: object) -> str:
        """Return a stored string."""
        return (
            raw.rstrip(b"\0").decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw).encode("utf-8", "replace").decode("utf-8")
        )


def heap_objects(content: mmap.mmap, start: int) -> dict[int, tuple[int, int]]:
    """Return offset and length of each object of a global heap collection, by its index.

    HDF5 keeps strings of variable length in such collections (HDF5 file format specification, III.E). The library takes each
    object's size on trust: a size of 0 in free space makes it walk on the spot for ever.

    Args:
        content: an HDF5 file with addresses and lengths of 8 bytes.
        start: offset of the collection.

    Raises:
        ValueError: the collection does not add up.
    """
    if start < 0 or start + 16 > len(content) or content[start : start + 8] != _HEAP:
        raise ValueError(f"there is no heap at offset {start}")
    end = start + int.from_bytes(content[start + 8 : start + 16], "little")
    found: dict[int, tuple[int, int]] = {}
    position = start + 16
    while position + 16 <= end <= len(content):
        index = int.from_bytes(content[position : position + 2], "little")
        size = int.from_bytes(content[position + 8 : position + 16], "little")
        if index == 0 and size < 16:
            break
        # Free space (index 0) counts its own header; objects do not, and are padded to 8 bytes.
        found[index] = position + 16, size
        position += size if index == 0 else 16 + -(-size // 8) * 8
    if not end - 16 < position <= end <= len(content):
        raise ValueError(f"the heap at offset {start} does not add up")
    return found


def damaged_heap(path: Path) -> int | None:
    """Return the offset of a global heap collection that does not add up, or None where all do."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_HEAP)
        while start >= 0:
            try:
                heap_objects(content, start)
            except ValueError:
                return start
            start = content.find(_HEAP, start + 1)
    return None


def address_bytes(path: Path) -> tuple[int, int] | None:
    """Return the sizes of an address and a length in an HDF5 file, from its superblock; None where there is no superblock."""
    with path.open("rb") as stream:
        size, offset = stream.seek(0, 2), 0
        while offset < size:
            stream.seek(offset)
            head = stream.read(16)
            if head.startswith(_SIGNATURE) and len(head) == 16:
                return (head[13], head[14]) if head[8] < 2 else (head[9], head[10])
            offset = max(512, 2 * offset)
    return None


class Group:
    """A group of the file; members are reached by hard links only.

    Args:
        tree: the open file.
        handle: h5py group.
        path: absolute HDF5 path.
    """

    def __init__(self, tree: Tree, handle: Any, path: str) -> None:
        self.tree = tree
        self._handle = handle
        self.path = path

    @property
    def where(self) -> Provenance:
        """This group's place in the file."""
        return Provenance(self.tree.name, self.path)

    def place(self, name: str) -> str:
        """Return the place of a member, for a diagnostic."""
        return f"{self.tree.name}:{self.path.rstrip('/')}/{name}"

    def names(self) -> tuple[str, ...]:
        """Return the members' names, sorted; nothing is opened."""
        with self.tree.guard(str(self.where)):
            if len(self._handle) > MAX_MEMBERS:
                self.tree.findings.error(
                    "NM110", f"a group has {len(self._handle)} members; the limit is {MAX_MEMBERS}", where=str(self.where)
                )
                return ()
            return tuple(sorted(self._handle.keys()))
        return ()

    def __contains__(self, name: str) -> bool:
        # Asking for the link, not the object: `in` would follow an external link into another file.
        with self.tree.guard(self.place(name)):
            return self._handle.get(name, getlink=True) is not None
        return False

    def attribute(self, name: str) -> object | None:
        """Return a scalar string attribute, or None."""
        with self.tree.guard(str(self.where)):
            if name in self._handle.attrs and h5py.check_string_dtype(self._handle.attrs.get_id(name).dtype) is not None:
                return self.tree.text(self._handle.attrs[name])
        return None

    def has_attribute(self, name: str) -> bool:
        """Return whether an attribute of that name exists."""
        with self.tree.guard(str(self.where)):
            return name in self._handle.attrs
        return False

    def _member(self, name: str) -> Any:
        with self.tree.guard(self.place(name)):
            link = self._handle.get(name, getlink=True)
            if link is None:
                return None
            if not isinstance(link, h5py.HardLink):
                kind = "an external link" if isinstance(link, h5py.ExternalLink) else "a soft link"
                if self.tree.first(self.place(name)):
                    self.tree.findings.error(
                        "NM109",
                        f"`{name}` is {kind}, which is not followed in an untrusted file",
                        where=self.place(name),
                        help=("write the data itself into the file",),
                    )
                return None
            return self._handle[name]
        return None

    def is_group(self, name: str) -> bool:
        """Return whether a member exists, is a hard link and is a group."""
        return name in self and isinstance(self._member(name), h5py.Group)

    def group(self, name: str) -> Group | None:
        """Return a member group, or None when there is none."""
        member = self._member(name)
        return Group(self.tree, member, f"{self.path.rstrip('/')}/{name}") if isinstance(member, h5py.Group) else None

    def _dataset(self, name: str) -> Any:
        """Return a member dataset whose data is stored in this file and within the limits, or None."""
        data, findings, where = self._member(name), self.tree.findings, self.place(name)
        if not isinstance(data, h5py.Dataset):
            return None
        with self.tree.guard(where):
            if data.shape is None:
                return data
            plist = data.id.get_create_plist()
            if data.is_virtual or data.external:
                findings.error(
                    "NM109",
                    f"the data of `{name}` lies in another file, which is not followed",
                    where=where,
                    help=("write the data itself into the file",),
                )
                return None
            unknown = [plist.get_filter(k)[0] for k in range(plist.get_nfilters()) if plist.get_filter(k)[0] not in _FILTERS]
            if unknown:
                findings.error(
                    "NM109",
                    f"`{name}` is compressed with HDF5 filter {unknown[0]}, which is not part of the HDF5 library",
                    where=where,
                    help=("write it with gzip or without compression",),
                )
                return None
            count, itemsize = 1, data.dtype.itemsize
            for length in data.shape:
                count *= int(length)
            stored = data.id.get_storage_size()
            if count > MAX_ELEMENTS or count * itemsize > MAX_BYTES:
                self.tree.claim(count, itemsize, where, f"`{name}`")
                return None
            if count * itemsize > stored * _MAX_RATIO + (_SLACK if stored else 0):
                findings.error(
                    "NM110" if stored else "NM103",
                    f"`{name}` declares {count} elements of which {'hardly any are' if stored else 'none is'} stored",
                    where=where,
                    why=f"{count * itemsize} bytes declared, {stored} bytes stored",
                )
                return None
            return data if self.tree.claim(count, itemsize, where, f"`{name}`") else None
        return None

    def array(self, name: str) -> Array | None:
        """Return a numeric or bool dataset, or None (with a diagnostic unless it is absent)."""
        data = self._dataset(name)
        if data is None:
            return None
        where = self.place(name)
        with self.tree.guard(where):
            if data.dtype.kind not in "biuf":
                self.tree.findings.error("NM107", f"`{name}` holds {_kind(data.dtype)} where numbers belong", where=where)
                return None
            return np.asarray(data[()] if data.shape is not None else np.zeros(0))
        return None

    def strings(self, name: str) -> Array | None:
        """Return a dataset of strings as an object array of str, or None (with a diagnostic unless it is absent)."""
        data = self._dataset(name)
        if data is None:
            return None
        where = self.place(name)
        with self.tree.guard(where):
            if data.shape is None or data.size == 0:
                return np.zeros(data.shape or (0,), object)
            if h5py.check_string_dtype(data.dtype) is None:
                self.tree.findings.error("NM104", f"`{name}` holds {_kind(data.dtype)} where names belong", where=where)
                return None
            if data.size > MAX_STRINGS:
                self.tree.findings.error("NM110", f"`{name}` declares {data.size} names; the limit is {MAX_STRINGS}", where=where)
                return None
            out = np.empty(data.shape, object)
            total = 0
            # One at a time: entries may all point at one long string, which would multiply on reading.
            offset, variable = data.id.get_offset(), data.id.get_type().is_variable_str()
            for place, index in enumerate(np.ndindex(*data.shape)):
                out[index] = self.tree.text(self.tree.stored_string(offset + 16 * place) if variable and offset else data[index])
                total += len(out[index])
                if total > 2 * self.tree.size:
                    self.tree.findings.error("NM110", f"the names in `{name}` are longer than the file", where=where)
                    return None
            return out
        return None

    def string(self, name: str) -> str | None:
        """Return a string dataset with one entry, or None (with a diagnostic unless it is absent)."""
        values = self.strings(name)
        if values is None:
            return None
        if values.size != 1:
            self.tree.findings.error("NM104", f"`{name}` holds {values.size} names where one belongs", where=self.place(name))
            return None
        return str(values.reshape(-1)[0]).strip("\0 ")

    def is_string(self, name: str) -> bool:
        """Return whether a member is a dataset of strings; nothing is read."""
        with self.tree.guard(self.place(name)):
            member = self._member(name)
            return isinstance(member, h5py.Dataset) and h5py.check_string_dtype(member.dtype) is not None
        return False


def _kind(dtype: Any) -> str:
    if h5py.check_string_dtype(dtype) is not None:
        return "strings"
    if dtype.kind == "c":
        return "complex numbers"
    return {"b": "booleans", "i": "integers", "u": "integers", "f": "numbers"}.get(dtype.kind, f"data of type {dtype}")
