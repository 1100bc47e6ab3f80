"""Careful access to a NumPy `.npz` file that nobody vouches for.

Nothing in it is executed (no pickles), sizes are checked before memory is asked for, and an array can be read in order, piece by piece,
so that it need not fit in memory.
"""

from __future__ import annotations

import io
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Diagnostic, Findings, NmapError
from nmap.readers.hdf5 import printable

__all__ = [
    "HELD_BYTES", "MAX_NAME", "MAX_WHOLE_BYTES", "READ_ERRORS", "Archive", "Keep", "Member", "Reader", "check_stamp", "damaged", "listed",
    "short", "stamp", "told", "type_name",
]

MAX_WHOLE_BYTES = 2**28
"""Largest size of an array that is read whole (labels, offsets), in bytes."""
MAX_TURNED_BYTES = 2**28
"""Largest size of an array in Fortran order, which has to be read whole, in bytes."""
HELD_BYTES = 2**28
"""What a file's compressed arrays may take in memory, in bytes, to be unpacked only once."""
MAX_NAME = 64
"""Characters of a name that are shown."""
_MOST_NAMED = 8
_MAX_HEADER = 2**14
"""Largest header of an array, in bytes; NumPy itself reads the whole of it before it looks at its length (its own limit is 10,000)."""
_MAX_AXES = 32
"""Most axes of an array: NumPy's limit before version 2."""
_MAX_LENGTH = 2**63
_MAX_TOLD = 200
"""Characters of a library's message that are shown; it may quote the file."""
_LOCAL = struct.Struct("<4s22xHH")
"""A member's own header: signature, lengths of its name and of its extra field; https://pkware.com/appnote, section 4.3.7."""
_LOCAL_SIGNATURE = b"PK\3\4"
_PACKED = 2**16
_UNPACKED = 2**20
"""Bytes taken from the file, and made of them, at a time."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What NumPy writes. `zipfile` unpacks the other methods without a bound on what one read gives."""
# Deflate cannot exceed 1032:1; anything beyond is a declaration without storage behind it.
_MAX_RATIO = 1100
_SLACK = 2**12
READ_ERRORS = (
    OSError,
    ValueError,
    TypeError,
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    KeyError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
)
"""What zipfile, NumPy's header parser and h5py raise for damaged content."""


def stamp(path: Path) -> tuple[int, ...]:
    """Return what changes when a file is replaced or written to."""
    found = path.stat()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def check_stamp(path: Path, mark: tuple[int, ...]) -> None:
    """Check that a file is still the one that was checked before.

    Raises:
        NmapError: NM801, it is not.
    """
    with damaged(path):
        if stamp(path) != mark:
            raise NmapError(Diagnostic("NM801", "error", f"`{path}` was changed while it was being read", where=str(path)))


@contextmanager
def damaged(path: Path) -> Iterator[None]:
    """Turn what the libraries raise for damaged content into NM801."""
    try:
        yield
    except READ_ERRORS as error:
        raise NmapError(Diagnostic(
            "NM801", "error", f"`{path}` cannot be read", where=str(path), why=told(error)
        )) from error


def told(error: BaseException) -> str:
    """Return what a library says about damaged content, at most 200 characters that print."""
    text = printable(str(error)[:_MAX_TOLD]) or type(error).__name__
    return text if len(text) <= _MAX_TOLD else f"{text[:_MAX_TOLD]}..."


def type_name(dtype: np.dtype[Any]) -> str:
    """Return the name of a type; that of records is left out, since the file chooses it."""
    return "record" if dtype.names is not None or dtype.subdtype is not None else printable(str(dtype))


def short(number: int) -> str:
    """Return a whole number as text: all digits up to 15 of them, six and the power of ten beyond."""
    if abs(number) < 10**15:
        return str(number)
    if number.bit_length() < 1000:
        return f"{float(number):.6g}"
    return f"{'-' if number < 0 else ''}2**{number.bit_length() - 1} or more"


def listed(names: Iterable[str], word: str = "and") -> str:
    """Return names as a phrase, at most eight of them; they come from a file, so they are made safe to print."""
    every = list(names)
    shown = [f"`{printable(name[:MAX_NAME])}{'...' if len(name) > MAX_NAME else ''}`" for name in every[:_MOST_NAMED]]
    if len(every) > _MOST_NAMED:
        return f"{', '.join(shown)} and {len(every) - _MOST_NAMED} more"
    return f"{', '.join(shown[:-1])} {word} {shown[-1]}" if len(shown) > 1 else "".join(shown)


class Keep:
    """How many bytes of a file may stay in memory between passes.

    Args:
        most: in all, in bytes.
    """

    def __init__(self, most: int) -> None:
        self.used, self._most = 0, most

    def claim(self, size: int) -> bool:
        """Return whether an array of that size may be kept; it counts from then on."""
        fits = self.used + size <= self._most
        self.used += size if fits else 0
        return fits


class Archive:
    """An `.npz` file's members; only headers are read until a member is asked for its data.

    Args:
        path: the file; `zipfile.is_zipfile` holds.
        findings: receives the diagnostics.
        keep: what of its arrays may stay in memory.

    Raises:
        any of `READ_ERRORS`: the archive's directory is damaged.
    """

    def __init__(self, path: Path, findings: Findings, keep: Keep) -> None:
        self.path, self.findings, self.mark, self.keep = path, findings, stamp(path), keep
        self._size = self.mark[2]
        self._members: dict[str, Member | None] = {}
        with zipfile.ZipFile(path) as archive:
            self._entries = {info.filename: info for info in archive.infolist()}

    def __contains__(self, key: str) -> bool:
        return f"{key}.npy" in self._entries

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of all members, printable and sorted, arrays without their ending."""
        return tuple(sorted({printable(name.removesuffix(".npy")) for name in self._entries}))

    @property
    def asked(self) -> frozenset[str]:
        """Names of the arrays that were asked for."""
        return frozenset(self._members)

    def holds_file(self, name: str) -> bool:
        """Return whether a member of exactly that file name exists."""
        return name in self._entries

    def member(self, key: str) -> Member | None:
        """Return an array that is really stored; None (with NM801 unless it is absent) otherwise."""
        if key not in self._members:
            self._members[key] = self._checked(key) if key in self else None
        return self._members[key]

    def whole(self, key: str) -> Array | None:
        """Return a small array; None (with NM801 unless it is absent) otherwise."""
        member = self.member(key)
        if member is None:
            return None
        if member.bytes > MAX_WHOLE_BYTES:
            self.findings.error(
                "NM801", f"`{key}` of shape {member.shape} is beyond the limit of {MAX_WHOLE_BYTES} bytes", where=f"{self.path}:{key}",
                help=("run the samples in several files",),
            )
            return None
        try:
            with member.open() as reader:
                values = reader.take(prod(member.shape))
        except NmapError as error:
            self.findings.extend(error.diagnostics)
            return None
        return values.reshape(member.shape)

    def _checked(self, key: str) -> Member | None:
        info, where, findings = self._entries[f"{key}.npy"], f"{self.path}:{key}", self.findings
        if info.flag_bits & 1:
            findings.error("NM801", f"`{key}` is encrypted", where=where)
            return None
        if info.compress_type not in _METHODS:
            findings.error(
                "NM801", f"`{key}` is compressed in a way that NumPy does not write (method {info.compress_type} of the zip format)",
                where=where, why="only stored and deflated arrays can be unpacked piece by piece",
                help=("write the file with `np.savez_compressed`",),
            )
            return None
        if not self._holds(info, info.file_size, key):
            return None
        try:
            with damaged(self.path), zipfile.ZipFile(self.path) as archive, archive.open(info) as stream:
                shape, dtype, fortran_order = _header(stream)
        except NmapError as error:
            findings.extend(replace(d, where=where) for d in error.diagnostics)
            return None
        if dtype.hasobject:
            findings.error(
                "NM801",
                f"`{key}` is pickled Python objects, which are not loaded from a file",
                where=where,
                why="unpickling runs code that the file contains",
                help=("store a plain integer array",),
            )
            return None
        declared = prod(shape) * dtype.itemsize
        if not self._holds(info, declared, key):
            return None
        if fortran_order and len(shape) > 1 and declared > MAX_TURNED_BYTES:
            findings.error(
                "NM801",
                f"`{key}` of {declared} bytes is stored in Fortran order, which cannot be read piece by piece",
                where=where,
                why=f"the limit for such arrays is {MAX_TURNED_BYTES} bytes",
                help=(f"store `np.ascontiguousarray({key})`",),
            )
            return None
        return Member(self, key, info, shape, dtype, fortran_order)

    def _holds(self, info: zipfile.ZipInfo, declared: int, key: str) -> bool:
        """Record NM801 where a member cannot unpack to a number of bytes."""
        stored = info.compress_size
        if stored <= self._size and declared <= stored * _MAX_RATIO + _SLACK and declared <= info.file_size:
            return True
        self.findings.error(
            "NM801", f"`{key}` declares {short(declared)} bytes that the file does not hold", where=f"{self.path}:{key}",
            why=f"{stored} bytes are stored",
        )
        return False


class Member:
    """One stored array.

    Args:
        archive: where it is stored.
        key: its name.
        info: its entry in the archive.
        shape, dtype, fortran_order: from its header.
    """

    def __init__(
        self, archive: Archive, key: str, info: zipfile.ZipInfo, shape: tuple[int, ...], dtype: np.dtype[Any], fortran_order: bool
    ) -> None:
        self.key, self.shape, self.dtype = key, shape, dtype
        self.fortran_order = fortran_order and len(shape) > 1
        self.where = f"{archive.path}:{key}"
        self._path, self._mark, self._info, self._keep = archive.path, archive.mark, info, archive.keep
        self._held: Array | None = None
        self._sound = False

    @property
    def bytes(self) -> int:
        """Size of the array in memory."""
        return prod(self.shape) * self.dtype.itemsize

    @property
    def type(self) -> str:
        """Name of the type of its elements, safe to print."""
        return type_name(self.dtype)

    @contextmanager
    def open(self) -> Iterator[Reader]:
        """Give the elements in C order.

        Raises:
            NmapError: NM801, the file was changed or is damaged; also from the reader.
        """
        with ExitStack() as stack:
            if self._held is None:
                check_stamp(self._path, self._mark)
                with damaged(self._path):
                    # What had the right checksum has it still, as long as the file is the same.
                    stream = _Content(stack.enter_context(self._path.open("rb", buffering=0)), self._info, summed=not self._sound)
                    _header(stream)
                reader = Reader(self._path, self.dtype, stream, None)
                # What is stored as it is can as well be read again.
                worth = self.fortran_order or self._info.compress_type != zipfile.ZIP_STORED
                if not (worth and self._keep.claim(self.bytes)) and not self.fortran_order:
                    yield reader
                    self._sound = self._sound or stream.sound
                    return
                whole = reader.take(prod(self.shape))
                self._held = whole.reshape(self.shape, order="F").ravel(order="C") if self.fortran_order else whole
        yield Reader(self._path, self.dtype, None, self._held)


class Reader:
    """Elements of an array, one after the other."""

    def __init__(self, path: Path, dtype: np.dtype[Any], stream: Any, held: Array | None) -> None:
        self._path, self._stream, self._dtype, self._held, self._done = path, stream, dtype, held, 0

    def take(self, count: int) -> Array:
        """Return the next `count` elements, (count,), read-only.

        Raises:
            NmapError: NM801, the data is damaged or ends early.
        """
        if self._held is not None:
            self._done += count
            return self._held[self._done - count : self._done]
        with damaged(self._path):
            content = np.empty(count * self._dtype.itemsize, np.uint8)
            self._stream.fill(content.data)
            values = content.view(self._dtype)
            values.flags.writeable = False
            return values


class _Content:
    """The bytes of a stored or deflated member, in order; their checksum is compared when the last of them is read.

    Args:
        file: the archive, unbuffered.
        info: the member; its sizes were found plausible.
        summed: whether the checksum is taken.

    Raises:
        zipfile.BadZipFile: there is no member where the archive's directory says.
    """

    def __init__(self, file: Any, info: zipfile.ZipInfo, *, summed: bool = True) -> None:
        self.sound, self._summed = False, summed
        file.seek(info.header_offset)
        self._file, self._name, self._sum, self._due = file, info.filename, info.CRC, info.file_size
        self._stored, self._found = _LOCAL.size, 0
        head = bytearray(_LOCAL.size)
        self._from_file(memoryview(head))
        signature, name, extra = _LOCAL.unpack(head)
        if signature != _LOCAL_SIGNATURE:
            raise zipfile.BadZipFile(f"no member begins at byte {info.header_offset}")
        file.seek(name + extra, io.SEEK_CUR)
        self._stored = info.compress_size
        self._inflate = None if info.compress_type == zipfile.ZIP_STORED else zlib.decompressobj(-zlib.MAX_WBITS)
        self._waiting = b""

    def read(self, count: int) -> bytes:
        """Return the next bytes.

        Raises:
            READ_ERRORS: see `fill`.
        """
        content = bytearray(count)
        self.fill(memoryview(content))
        return bytes(content)

    def fill(self, content: memoryview) -> None:
        """Fill a buffer with the next bytes.

        Raises:
            READ_ERRORS: the data ends early, cannot be unpacked, or has another checksum.
        """
        if self._inflate is None:
            self._from_file(content)
        else:
            self._unpack(content, self._inflate)
        self._due -= len(content)
        if not self._summed:
            return
        self._found = zlib.crc32(content, self._found)
        if self._due == 0 and self._found != self._sum:
            raise zipfile.BadZipFile(f"Bad CRC-32 for file {self._name!r}")
        self.sound = self._due == 0

    def _from_file(self, content: memoryview) -> None:
        filled = 0
        while filled < len(content):
            got = self._file.readinto(content[filled : filled + self._stored])
            if not got:
                raise ValueError("the data of an array ends early")
            filled += got
            self._stored -= got

    def _unpack(self, content: memoryview, inflate: Any) -> None:
        filled = 0
        while filled < len(content):
            if not self._waiting and self._stored:
                packed = bytearray(min(self._stored, _PACKED))
                self._from_file(memoryview(packed))
                self._waiting = bytes(packed)
            made = inflate.decompress(self._waiting, min(len(content) - filled, _UNPACKED))
            if not made and (inflate.eof or not self._waiting):
                raise ValueError("the data of an array ends early")
            self._waiting = inflate.unconsumed_tail
            content[filled : filled + len(made)] = made
            filled += len(made)


def _header(stream: Any) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    version = np.lib.format.read_magic(stream)
    size = stream.read(2 if version == (1, 0) else 4)
    length = int.from_bytes(size, "little")
    if length > _MAX_HEADER:
        raise ValueError(f"the header of an array has {length} bytes; the limit is {_MAX_HEADER}")
    header = io.BytesIO(size + stream.read(length))
    with warnings.catch_warnings():
        # NumPy warns about headers written by Python 2, which it reads all the same.
        warnings.simplefilter("ignore", UserWarning)
        if version == (1, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(header)
        elif version == (2, 0):
            shape, fortran_order, dtype = np.lib.format.read_array_header_2_0(header)
        else:
            raise ValueError(f"version {version[0]}.{version[1]} of the .npy format holds no plain integers")
    if len(shape) > _MAX_AXES:
        raise ValueError(f"the header declares {len(shape)} axes; the limit is {_MAX_AXES}")
    wrong = [int(n) for n in shape if not 0 <= n < _MAX_LENGTH]
    if wrong:
        raise ValueError(f"the header declares an axis of length {short(wrong[0])}")
    return tuple(int(n) for n in shape), dtype, fortran_order
