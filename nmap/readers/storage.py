"""The bytes of an HDF5 file: one snapshot of them, its strings of variable length, and the compressed pieces of its arrays.

What is parsed here would make the HDF5 library loop, write behind a buffer or ask for any amount of memory on a crafted file: its
global heaps and its filters trust the lengths they find. Sources: HDF5 file format specification 3.0, sections II.A (superblock),
III.E (global heap), IV.A.2.l (filters); the LZF format of liblzf.
"""

from __future__ import annotations

import os
import stat
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from nmap.connectivity import Array

__all__ = ["FILTERS", "MAX_FILE_BYTES", "Heaps", "Superblock", "Unaccepted", "decoded", "native", "snapshot"]

MAX_FILE_BYTES = 2**31
"""Largest file, in bytes; it is read whole, so that nobody can change it under the reader."""
MAX_HEAP_OBJECTS = 2**22
"""Largest number of strings of variable length in a file."""
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}
"""The HDF5 filters that are undone here, by number."""
SIGNATURE = b"\x89HDF\r\n\x1a\n"
_HEAP = b"GCOL\x01\x00\x00\x00"
_MIN_HEAP = 4096


class Unaccepted(Exception):  # noqa: N818 - a refusal, not a failure
    """A file that is not read, for a reason a diagnostic states; the message is that reason, `code` the diagnostic's."""

    def __init__(self, code: str, message: str, help: str | None = None) -> None:  # noqa: A002 - the diagnostic's own name
        super().__init__(message)
        self.code = code
        self.help = help


class Superblock:
    """What the first bytes of an HDF5 file say.

    Args:
        base: offset of the signature, the length of the user block before it.
        widths: bytes of an address and of a length.
        open_for_writing: whether a writer has marked the file as open and not taken the mark back.
    """

    def __init__(self, base: int, head: bytes) -> None:
        self.base = base
        version = head[8]
        self.widths = (head[13], head[14]) if version < 2 else (head[9], head[10])
        # The library looks at the mark from version 3 on.
        self.open_for_writing = version >= 3 and bool(head[11] & 5)


def snapshot(path: Path) -> tuple[bytes, Superblock | None]:
    """Return a file's content at one moment, and its superblock.

    Where the file has no superblock, and so is not HDF5, only its first 64 bytes are returned.

    Args:
        path: the file.

    Raises:
        OSError: it cannot be opened or read.
        Unaccepted: it is no regular file (NM101), larger than `MAX_FILE_BYTES` (NM110), or changed meanwhile (NM103).
    """
    # A FIFO without a writer would wait for ever.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as stream:  # noqa: PTH123 - a descriptor, not a path
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            raise Unaccepted("NM101", "is not a regular file")
        base = 0
        while True:
            stream.seek(base)
            head = stream.read(64)
            if base == 0:
                first = head
            if head.startswith(SIGNATURE) and len(head) >= 16:
                break
            base = max(512, 2 * base)
            if base >= before.st_size:
                return first, None
        if before.st_size > MAX_FILE_BYTES:
            raise Unaccepted("NM110", f"has {before.st_size} bytes; the reader's limit is {MAX_FILE_BYTES}")
        stream.seek(0)
        content = stream.read(before.st_size)
        after = os.fstat(descriptor)
        if len(content) < before.st_size or (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise Unaccepted("NM103", "changed while it was read", "wait until the program that writes it is done")
    return content, Superblock(base, head)


class Heaps:
    """The strings of variable length of a file.

    HDF5 keeps them in collections (global heaps), whose every object starts with its index and its size.

    Args:
        content: the file, with addresses and lengths of 8 bytes.
        base: what addresses count from.

    Raises:
        Unaccepted: a collection does not add up (NM103), or there are more than `MAX_HEAP_OBJECTS` (NM110).
    """

    def __init__(self, content: bytes, base: int) -> None:
        self._content, self._base = content, base
        self._objects: dict[int, tuple[array[int], array[int]]] = {}
        count, start = 0, content.find(_HEAP)
        while start >= 0:
            found, end = self._collection(start)
            self._objects[start] = found
            count += len(found[0])
            if count > MAX_HEAP_OBJECTS:
                raise Unaccepted("NM110", f"holds more than {MAX_HEAP_OBJECTS} strings of variable length")
            # Collections lie side by side: looking into one for others would take quadratic time on a crafted file.
            start = content.find(_HEAP, end)

    def _collection(self, start: int) -> tuple[tuple[array[int], array[int]], int]:
        """Return indices (ascending) and offsets of a collection's objects, and the offset behind it."""
        content = self._content
        end = start + int.from_bytes(content[start + 8 : start + 16], "little")
        damaged = Unaccepted("NM103", f"is damaged: the strings at offset {start} do not add up")
        if not start + _MIN_HEAP <= end <= len(content):
            raise damaged
        found: dict[int, int] = {}
        position = start + 16
        while position + 16 <= end:
            index = int.from_bytes(content[position : position + 2], "little")
            size = int.from_bytes(content[position + 8 : position + 16], "little")
            if index == 0:
                # Free space counts its own header, and is the last object.
                position += size
                break
            found[index] = position
            position += 16 + -(-size // 8) * 8
        if not end - 16 < position <= end:
            raise damaged
        order = sorted(found)
        return (array("H", order), array("q", [found[index] for index in order])), end

    def string(self, record: bytes) -> bytes:
        """Return the string that a stored record of 16 bytes names: length, address of the collection, index in it.

        Raises:
            ValueError: the record leads nowhere.
        """
        length, address, index = (int.from_bytes(record[a:b], "little") for a, b in ((0, 4), (4, 12), (12, 16)))
        if length == 0:
            return b""
        indices, offsets = self._objects.get(address + self._base, (array("H"), array("q")))
        k = bisect_left(indices, index)
        if k < len(indices) and indices[k] == index:
            place = offsets[k]
            if length <= int.from_bytes(self._content[place + 8 : place + 16], "little"):
                return self._content[place + 16 : place + 16 + length]
        raise ValueError(f"the record of a string names object {index} of a heap at address {address}, which does not hold it")


def decoded(stored: bytes, filters: Sequence[tuple[int, tuple[int, ...]]], skipped: int, size: int) -> bytes:
    """Return a chunk as it was before its filters.

    Args:
        stored: what the file holds.
        filters: number and parameters of each of `FILTERS`, in the order of writing.
        skipped: bit k is set where filter k was left out for this chunk.
        size: bytes of the chunk; never more is asked for.

    Raises:
        ValueError: the bytes are damaged, or hold more or fewer than `size`.
    """
    # A checksum of 4 bytes may lie between two filters.
    limit = size + 4
    for k in range(len(filters) - 1, -1, -1):
        number, parameters = filters[k]
        if skipped >> k & 1:
            continue
        if number == 1:
            stored = _inflated(stored, limit)
        elif number == 2:
            stored = _unshuffled(stored, parameters[0] if parameters else 1)
        elif number == 3:
            stored = _summed(stored)
        else:
            stored = _unlzf(stored, limit)
    if len(stored) != size:
        raise ValueError(f"a chunk of {size} bytes holds {len(stored)}")
    return stored


def _inflated(stored: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        out = stream.decompress(stored, limit + 1)
    except zlib.error as error:
        raise ValueError(f"a compressed chunk is damaged: {error}") from None
    if len(out) > limit or not stream.eof:
        raise ValueError("a compressed chunk is cut short or holds more than it declares")
    return out


def _unshuffled(stored: bytes, itemsize: int) -> bytes:
    count = len(stored) // itemsize if itemsize > 1 else 0
    if count < 2:
        return stored
    whole = count * itemsize
    planes = np.frombuffer(stored, np.uint8, whole).reshape(itemsize, count)
    return planes.T.tobytes() + stored[whole:]


def _summed(stored: bytes) -> bytes:
    """Return the bytes before the Fletcher checksum at their end, which must be right."""
    if len(stored) < 4:
        raise ValueError("a chunk lacks its checksum")
    data, claimed = stored[:-4], int.from_bytes(stored[-4:], "little")
    words = np.frombuffer(data + b"\0" * (len(data) % 2), ">u2").astype(np.int64)
    low = high = 0
    for start in range(0, len(words), 1 << 15):
        part = words[start : start + (1 << 15)]
        high = (high + len(part) * low + int(np.dot(part, np.arange(len(part), 0, -1)))) % 65535
        low = (low + int(part.sum())) % 65535
    if (claimed & 0xFFFF) % 65535 != low or (claimed >> 16) % 65535 != high:
        raise ValueError("the checksum of a chunk is wrong")
    return data


def _unlzf(stored: bytes, limit: int) -> bytes:
    out, position = bytearray(), 0
    try:
        while position < len(stored):
            control = stored[position]
            position += 1
            if control < 32:
                run = stored[position : position + control + 1]
                if len(run) <= control:
                    raise IndexError
                out += run
                position += control + 1
            else:
                length = control >> 5
                if length == 7:
                    length += stored[position]
                    position += 1
                length += 2
                start = len(out) - ((control & 31) << 8) - stored[position] - 1
                position += 1
                if start < 0:
                    raise IndexError
                piece = out[start : start + length]
                out += (piece * -(-length // len(piece)))[:length]
            if len(out) > limit:
                raise ValueError("a compressed chunk holds more than it declares")
    except IndexError:
        raise ValueError("a compressed chunk is cut short") from None
    return bytes(out)


def native(dtype: np.dtype[np.generic], values: Array) -> Array:
    """Return numbers in the machine's own byte order, at most 8 bytes wide; copied only where that changes them."""
    if dtype.kind == "f" and dtype.itemsize > 8:
        with np.errstate(over="ignore"):
            return values.astype(np.float64)
    return values.astype(dtype.newbyteorder("="), copy=False)
