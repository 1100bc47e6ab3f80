"""Careful access to an HDF5 file that nobody vouches for: the reader's security boundary.

The file is read into memory once (`nmap.readers.storage`), so that it cannot change under the reader, and the HDF5 library is asked
only for what it can tell without trusting a length in the file: the links of a group, the shape and type of an array, where its
pieces lie. Strings of variable length and filtered pieces, which the library would follow or unpack without bounds, are undone here.

Accepted: hard links; arrays of integers, floating-point numbers of any width (bfloat16 included) and byte order, and booleans, stored
contiguously, in the object header, or in chunks with the filters gzip, shuffle, fletcher32 and lzf; strings of fixed or variable
length; a user block before the signature; every version of the container with addresses of 8 bytes; names in any bytes but `/`.

Refused (NM109): soft, external and user-defined links; groups that contain themselves; virtual and external storage; other filters,
or one filter twice; names with `/` and `.`; strings of variable length inside an object header. Refused as wrong kind (NM107, NM104):
compound, complex, opaque, reference, variable-length and other data where numbers or names belong.

Limits (NM110): `MAX_FILE_BYTES`, `MAX_ELEMENTS` and `MAX_BYTES` of one array or chunk, `MAX_TOTAL_BYTES` of all arrays together and of
all stored bytes unpacked, `MAX_RANK`, `MAX_CHUNKS`, `MAX_MEMBERS`, `MAX_STRINGS`, `MAX_NAME`; all are checked before memory is asked for.
Numbers narrower than float64 count as what they become. What is computed from the arrays is limited too: a file of a few kilobytes can
ask for hours. `MAX_WORK` elementary steps are allowed to one file, about ten seconds; half of it, and of `MAX_TOTAL_BYTES`, is for
what only makes the network smaller, so that a file is read without that rather than refused.

What is wrong becomes a diagnostic in `Tree.findings` and the value becomes None, so that a reader can collect all problems of a file.
Names and texts are handed out printable: bytes that are not UTF-8 and characters that would steer a terminal are escaped.
"""

from __future__ import annotations

import hashlib
from functools import cache
from itertools import product
from math import prod
from types import TracebackType
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5s, h5t

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.network import Provenance
from nmap.readers.storage import FILTERS, MAX_FILE_BYTES, Heaps, decoded, native

__all__ = [
    "MAX_BYTES",
    "MAX_CHUNKS",
    "MAX_ELEMENTS",
    "MAX_FILE_BYTES",
    "MAX_MEMBERS",
    "MAX_NAME",
    "MAX_RANK",
    "MAX_STRINGS",
    "MAX_TOTAL_BYTES",
    "MAX_WORK",
    "Group",
    "Ledger",
    "Tree",
    "printable",
    "too_large",
]

MAX_ELEMENTS = 2**31
"""Largest number of elements one array may declare, and largest length of one of its axes."""
MAX_BYTES = 2**30
"""Largest size of one array or chunk, in the file or made from it, in bytes."""
MAX_TOTAL_BYTES = 2**32
"""Largest size of all arrays of a file together, in bytes; also of all stored bytes that are looked at."""
MAX_WORK = 2**32
"""Largest number of elementary steps of about 2 ns that are spent on what is computed from a file: additions, products, copies."""
MAX_RANK = 8
"""Largest number of axes of an array."""
MAX_CHUNKS = 2**18
"""Largest number of chunks of an array."""
MAX_STRINGS = 2**18
"""Largest number of names in one array."""
MAX_MEMBERS = 2**16
"""Largest number of members of a group."""
MAX_NAME = 1024
"""Largest length of a name or text, in bytes."""
# Deflate cannot exceed 1032:1; anything beyond is a declaration without storage behind it.
_MAX_RATIO = 1100
_SLACK = 2**16
_H5_ERRORS = (OSError, RuntimeError, LookupError, ValueError, TypeError, MemoryError, ArithmeticError)
# The library neither copies nor frees an image opened with H5LT_FILE_IMAGE_DONT_COPY | H5LT_FILE_IMAGE_DONT_RELEASE.
_SHARED_IMAGE = 2 | 4
# A string of variable length is stored as length (4 bytes), address of a heap (8) and index in it (4).
_RECORD = 16
_WHERE_STORED = ("write the data itself into the file",)
_KINDS = {
    h5t.INTEGER: "integers",
    h5t.FLOAT: "numbers",
    h5t.STRING: "strings",
    h5t.BITFIELD: "bit fields",
    h5t.OPAQUE: "opaque data",
    h5t.COMPOUND: "compound data",
    h5t.REFERENCE: "references",
    h5t.ENUM: "enumerated values",
    h5t.VLEN: "lists of variable length",
    h5t.ARRAY: "arrays of fixed size",
}


@cache
def _native_type(dtype: np.dtype[Any]) -> Any:
    """Return the HDF5 type of numbers of a numpy type."""
    return h5t.py_create(dtype)


def printable(raw: bytes | str) -> str:
    """Return a text that is safe to print: bytes that are not UTF-8, and characters that do not print, are escaped."""
    text = raw.decode("utf-8", "backslashreplace") if isinstance(raw, bytes) else raw
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def too_large(what: str, values: Array) -> str:
    """Return the message about an entry with integers beyond `MAX_ELEMENTS`."""
    return f"{what} is [{', '.join(f'{float(v):.0f}' for v in values[:8])}], which is too large; the reader's limit is {MAX_ELEMENTS}"


class Ledger:
    """What a network that is being read has taken of the reader's limits, and what was found wrong in it.

    Args:
        name: the file's name, for diagnostics.
        findings: receives the diagnostics.
    """

    def __init__(self, name: str, findings: Findings) -> None:
        self.name = name
        self.findings = findings
        self._bytes = 0
        self._full = False
        self._work = 0
        self._tired = False
        self._told: set[str] = set()

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

    def work(self, count: int, where: str, what: str) -> bool:
        """Count `count` elementary steps about to be done; record NM110 and return False where the file takes too many.

        Args:
            count: additions, products or copies of one number, of about 2 ns each.
            where: place in the file.
            what: what takes them, for the message.
        """
        if self._work + count > MAX_WORK:
            if not self._tired:
                self.findings.error(
                    "NM110",
                    f"the file takes more work to read than the reader's limit, reached at {what}",
                    where=where,
                    why=f"{self._work} elementary steps so far and {count} more; the limit is {MAX_WORK}",
                )
            self._tired = True
            return False
        self._work += count
        return True

    def spare(self, work: int, size: int) -> bool:
        """Reserve elementary steps and bytes for what can be done without; return False, reserving nothing, where they are too many.

        At most half of the limits goes to such things, so that they leave room for what a file cannot be read without.
        """
        if size > MAX_BYTES or self._work + work > MAX_WORK // 2 or self._bytes + size > MAX_TOTAL_BYTES // 2:
            return False
        self._work += work
        self._bytes += size
        return True

    def release(self, work: int, size: int) -> None:
        """Give back elementary steps that were not done, and bytes that are used no more."""
        self._work -= work
        self._bytes -= size

    def first(self, where: str) -> bool:
        """Return whether a place is complained about for the first time; a member may be looked at more than once."""
        new = where not in self._told
        self._told.add(where)
        return new

    def text(self, raw: object) -> str:
        """Return a stored string, printable; as in C, it ends at its first NUL."""
        return printable(raw.partition(b"\0")[0] if isinstance(raw, bytes) else str(raw).partition("\0")[0])


class Tree(Ledger):
    """An open file and what was found wrong in it.

    Args:
        name: the file's name, for diagnostics.
        content: the whole file.
        base: length of the user block, from which the file's addresses count.
        findings: receives the diagnostics.

    Raises:
        OSError, RuntimeError, ValueError, LookupError: the HDF5 library cannot open the file or its root group.
        Unaccepted: its strings are damaged or too many.
    """

    def __init__(self, name: str, content: bytes, base: int, findings: Findings) -> None:
        super().__init__(name, findings)
        self.size = len(content)
        self.content = content
        self._looked_at = 0
        self._text = 0
        self._heaps = Heaps(content, base)
        # Opened from memory: nothing is locked, and nobody can change the file meanwhile.
        self._file = h5py.File(h5f.open_file_image(content, flags=_SHARED_IMAGE))
        try:
            self._root = h5g.open(self._file.id, b"/")
        except Exception:
            self._file.close()
            raise

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    @property
    def root(self) -> Group:
        """The root group."""
        return Group(self, self._root, "/")

    @property
    def sha256(self) -> str:
        """SHA-256 of the file as it was read, in hexadecimal."""
        return hashlib.sha256(self.content).hexdigest()

    def guard(self, where: str) -> _Guard:
        """Turn the HDF5 library's own errors into a diagnostic."""
        return _Guard(self, where)

    def look_at(self, size: int) -> None:
        """Count stored bytes that are about to be unpacked: a crafted file may name the same ones again and again.

        Raises:
            ValueError: there are more than `MAX_TOTAL_BYTES` by now.
        """
        self._looked_at += size
        if self._looked_at > MAX_TOTAL_BYTES:
            raise ValueError(f"the file's chunks are together beyond {MAX_TOTAL_BYTES} bytes")

    def stored_string(self, record: bytes) -> bytes:
        """Return the string of variable length whose record (length, heap address, index) is given.

        The library would follow a damaged record for ever, ask for the memory it names, or write behind its buffer.

        Raises:
            ValueError: the record leads nowhere.
        """
        return self._heaps.string(record)

    def read_text(self, size: int) -> bool:
        """Count the bytes of texts handed out; entries may all point at one text, which would multiply on reading."""
        self._text += size
        return self._text <= 16 * self.size



class _Guard:
    """Context in which errors of the HDF5 library become NM103.

    Args:
        tree: receives the diagnostic.
        where: the place that is read.
    """

    __slots__ = ("_tree", "_where")

    def __init__(self, tree: Tree, where: str) -> None:
        self._tree, self._where = tree, where

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        if not isinstance(error, _H5_ERRORS):
            return False
        tree, where = self._tree, self._where
        if tree.first(where):
            why = printable(str(error).splitlines()[0])[:MAX_NAME] if str(error) else None
            tree.findings.error("NM103", f"the file is damaged: `{where.rpartition(':')[2]}` cannot be read", where=where, why=why)
        return True


class Group:
    """A group of the file; members are reached by hard links only.

    Args:
        tree: the open file.
        handle: h5py's identifier of the group.
        path: absolute HDF5 path, printable.
        above: addresses of the groups it lies in.
    """

    def __init__(self, tree: Tree, handle: Any, path: str, above: tuple[int, ...] = ()) -> None:
        self.tree = tree
        self._handle = handle
        self.path = path
        self._above = above
        self._links: dict[str, bytes] | None = None
        self._last: tuple[str, Any] | None = None
        self._own_address: int | None = None

    @property
    def where(self) -> Provenance:
        """This group's place in the file."""
        return Provenance(self.tree.name, self.path)

    def place(self, name: str) -> str:
        """Return the place of a member, for a diagnostic."""
        return f"{self.tree.name}:{self.path.rstrip('/')}/{name}"

    @property
    def _address(self) -> int:
        if self._own_address is None:
            self._own_address = int(h5g.get_objinfo(self._handle).objno[0])
        return self._own_address

    def _stored_names(self) -> dict[str, bytes]:
        """Return the stored name of each member by its printable one."""
        if self._links is None:
            self._links = {}
            with self.tree.guard(str(self.where)):
                count = self._handle.get_num_objs()
                if count > MAX_MEMBERS:
                    if self.tree.first(str(self.where)):
                        self.tree.findings.error("NM110", f"a group has {count} members; the limit is {MAX_MEMBERS}", where=str(self.where))
                    return self._links
                for raw in self._handle:
                    self._admit(self._links, raw)
        return self._links

    def _admit(self, links: dict[str, bytes], raw: bytes) -> None:
        """Take a member's name, or record why not. A name with `/` would be a path, which may lead through any link."""
        name = printable(raw)
        problem = (
            f"has {len(raw)} bytes, more than {MAX_NAME}"
            if len(raw) > MAX_NAME
            else "is no name but a path"
            if b"/" in raw or raw in (b"", b".")
            else "is printed like another one"
            if name in links
            else None
        )
        if problem is None:
            links[name] = raw
        elif self.tree.first(self.place(name[:80])):
            self.tree.findings.error(
                "NM110" if len(raw) > MAX_NAME else "NM109",
                f"the name `{name[:80]}` of a member {problem}",
                where=str(self.where),
                help=("rename it",),
            )

    def names(self) -> tuple[str, ...]:
        """Return the members' names, printable and sorted; nothing is opened."""
        return tuple(sorted(self._stored_names()))

    def __contains__(self, name: str) -> bool:
        # Asking for the link, not the object: `in` would follow an external link into another file.
        return name in self._stored_names()

    def attribute(self, name: str) -> str | float | None:
        """Return an attribute that is one number or one string of fixed length, or None.

        A string of variable length would have to be read by the library, which trusts the length in the file.
        """
        with self.tree.guard(str(self.where)):
            if not h5a.exists(self._handle, name.encode()):
                return None
            attribute = h5a.open(self._handle, name.encode())
            kind = attribute.get_type()
            if prod(attribute.shape) != 1 or attribute.get_storage_size() > MAX_NAME:
                return None
            if kind.get_class() in (h5t.INTEGER, h5t.FLOAT):
                number = np.zeros(attribute.shape, np.float64)
                attribute.read(number)
                return float(number.reshape(-1)[0])
            if kind.get_class() == h5t.STRING and not kind.is_variable_str():
                text = np.zeros(attribute.shape, f"S{kind.get_size()}")
                attribute.read(text, mtype=kind)
                return self.tree.text(text.tobytes())
        return None

    def has_attribute(self, name: str) -> bool:
        """Return whether an attribute of that name exists."""
        with self.tree.guard(str(self.where)):
            return bool(h5a.exists(self._handle, name.encode()))
        return False

    def _member(self, name: str) -> Any:
        """Return the opened member, or None where it is absent or not accepted (with a diagnostic)."""
        # A member is asked for its kind and then for its data: it stays open in between, which saves half the time of a large graph.
        if self._last is not None and self._last[0] == name:
            return self._last[1]
        raw, where, findings = self._stored_names().get(name), self.place(name), self.tree.findings
        if raw is None:
            return None
        with self.tree.guard(where):
            link = self._handle.links.get_info(raw)
            if link.type != h5l.TYPE_HARD:
                kind = {h5l.TYPE_SOFT: "a soft link", h5l.TYPE_EXTERNAL: "an external link"}.get(link.type, "a user-defined link")
                if self.tree.first(where):
                    findings.error(
                        "NM109", f"`{name}` is {kind}, which is not followed in an untrusted file", where=where, help=_WHERE_STORED
                    )
                return None
            if link.u in self._above or link.u == self._address:
                if self.tree.first(where):
                    findings.error("NM109", f"`{name}` leads back to a group that it lies in", where=where)
                return None
            member = h5o.open(self._handle, raw)
            self._last = name, member
            return member
        return None

    def is_group(self, name: str) -> bool:
        """Return whether a member exists, is a hard link and is a group."""
        return isinstance(self._member(name), h5g.GroupID)

    def group(self, name: str) -> Group | None:
        """Return a member group, or None when there is none."""
        member = self._member(name)
        if not isinstance(member, h5g.GroupID):
            return None
        with self.tree.guard(self.place(name)):
            return Group(self.tree, member, f"{self.path.rstrip('/')}/{name}", (*self._above, self._address))
        return None

    def _dataset(self, name: str) -> _Stored | None:
        """Return a member dataset whose data is stored in this file, or None (with a diagnostic unless it is absent)."""
        member, findings, where = self._member(name), self.tree.findings, self.place(name)
        if member is None:
            return None
        if not isinstance(member, h5d.DatasetID):
            if self.tree.first(where):
                findings.error("NM103", f"`{name}` is {'a group' if isinstance(member, h5g.GroupID) else 'a type'}, not data", where=where)
            return None
        with self.tree.guard(where):
            plist = member.get_create_plist()
            # Before the shape is asked for: a virtual dataset may open its sources to tell.
            if plist.get_layout() == h5d.VIRTUAL or plist.get_external_count():
                findings.error(
                    "NM109", f"the data of `{name}` lies in another file, which is not followed", where=where, help=_WHERE_STORED
                )
                return None
            filters = [plist.get_filter(k) for k in range(plist.get_nfilters())]
            unknown = [f[0] for f in filters if f[0] not in FILTERS]
            if unknown or len({f[0] for f in filters}) < len(filters):
                findings.error(
                    "NM109",
                    f"`{name}` is compressed with HDF5 filter {unknown[0]}, which nmap does not undo"
                    if unknown
                    else f"`{name}` is compressed with the same HDF5 filter twice",
                    where=where,
                    why=f"undone are {', '.join(FILTERS.values())}" if unknown else None,
                    help=("write it with gzip or without compression",),
                )
                return None
            return _Stored(self.tree, member, plist, name, where)
        return None

    def array(self, name: str) -> Array | None:
        """Return a dataset of numbers or booleans in native byte order, or None (with a diagnostic unless it is absent)."""
        data, where = self._dataset(name), self.place(name)
        if data is None:
            return None
        with self.tree.guard(where):
            if data.kind not in (h5t.INTEGER, h5t.FLOAT, h5t.ENUM):
                self.tree.findings.error("NM107", f"`{name}` holds {data.described} where numbers belong", where=where)
                return None
            return data.numbers()
        return None

    def strings(self, name: str) -> Array | None:
        """Return a dataset of strings as an object array of printable str, or None (with a diagnostic unless it is absent)."""
        data, where = self._dataset(name), self.place(name)
        if data is None:
            return None
        with self.tree.guard(where):
            if data.kind != h5t.STRING and data.size:
                self.tree.findings.error("NM104", f"`{name}` holds {data.described} where names belong", where=where)
                return None
            if data.size > MAX_STRINGS:
                self.tree.findings.error("NM110", f"`{name}` declares {data.size} names; the limit is {MAX_STRINGS}", where=where)
                return None
            return data.names()
        return None

    def string(self, name: str) -> str | None:
        """Return a string dataset with one entry, or None (with a diagnostic unless it is absent)."""
        values = self.strings(name)
        if values is None:
            return None
        if values.size != 1:
            self.tree.findings.error("NM104", f"`{name}` holds {values.size} names where one belongs", where=self.place(name))
            return None
        return str(values.reshape(-1)[0]).strip(" ")

    def is_string(self, name: str) -> bool:
        """Return whether a member is a dataset of strings; nothing is read."""
        with self.tree.guard(self.place(name)):
            member = self._member(name)
            return isinstance(member, h5d.DatasetID) and member.get_type().get_class() == h5t.STRING
        return False


class _Stored:
    """A dataset whose bytes lie in this file.

    Args:
        tree: the open file.
        handle: h5py's identifier of the dataset.
        plist: how it was created.
        name: its name.
        where: its place, for diagnostics.
    """

    def __init__(self, tree: Tree, handle: Any, plist: Any, name: str, where: str) -> None:
        self._tree, self._handle, self._plist, self._name, self._where = tree, handle, plist, name, where
        space = handle.get_space()
        # An empty dataspace holds nothing, which reads as an array without elements.
        self.shape = (0,) if space.get_simple_extent_type() == h5s.NULL else tuple(int(n) for n in space.get_simple_extent_dims())
        self.size = prod(self.shape)
        self._type = handle.get_type()
        self.kind = self._type.get_class()
        self._variable = self.kind == h5t.STRING and bool(self._type.is_variable_str())
        self._itemsize = _RECORD if self._variable else int(self._type.get_size())

    @property
    def described(self) -> str:
        """What the entries are, for a message."""
        if self.kind == h5t.COMPOUND and {self._type.get_member_name(k) for k in range(self._type.get_nmembers())} == {b"r", b"i"}:
            return "complex numbers"
        return _KINDS.get(self.kind, "data of an unknown kind")

    def numbers(self) -> Array | None:
        """Return the entries of a numeric dataset."""
        dtype = np.dtype(self._type.dtype)
        if dtype.kind not in "biuf":
            raise TypeError(f"numbers of type {dtype} are not supported")
        stored = self._bytes()
        if stored is None:
            return None
        if dtype.itemsize != self._itemsize or (self.kind != h5t.ENUM and self._type != _native_type(dtype)):
            # Numbers that numpy does not have (bfloat16, 12-bit integers) become the next wider ones.
            room = np.zeros(self.size * max(dtype.itemsize, self._itemsize), np.uint8)
            room[: stored.size] = stored
            h5t.convert(self._type, _native_type(dtype), self.size, room)
            stored = room[: self.size * dtype.itemsize]
        return native(dtype, stored.view(dtype).reshape(self.shape))

    def names(self) -> Array | None:
        """Return the entries of a dataset of strings, as an object array of printable str."""
        out = np.empty(self.shape, object)
        stored = self._bytes() if self.size else np.zeros(0, np.uint8)
        if stored is None:
            return None
        records = stored.tobytes()
        for place, index in enumerate(np.ndindex(*self.shape)):
            record = records[place * self._itemsize : (place + 1) * self._itemsize]
            text = (self._tree.stored_string(record) if self._variable else record).partition(b"\0")[0]
            if len(text) > MAX_NAME or not self._tree.read_text(len(text)):
                self._tree.findings.error(
                    "NM110",
                    f"`{self._name}` holds a text of {len(text)} bytes; the limit is {MAX_NAME}"
                    if len(text) > MAX_NAME
                    else f"the names in `{self._name}` are longer than the file",
                    where=self._where,
                )
                return None
            out[index] = printable(text)
        return out

    def _bytes(self) -> Array | None:
        """Return the stored bytes, (size * itemsize,) uint8 and not shared with the file, or None (with a diagnostic)."""
        tree, handle, total = self._tree, self._handle, self.size * self._itemsize
        if len(self.shape) > MAX_RANK or any(n > MAX_ELEMENTS for n in self.shape):
            tree.findings.error(
                "NM110",
                f"`{self._name}` declares the shape {self.shape[:MAX_RANK]}"
                + (f" and {len(self.shape) - MAX_RANK} axes more; the limit is {MAX_RANK}" if len(self.shape) > MAX_RANK else ""),
                where=self._where,
                why=f"the limits are {MAX_RANK} axes of at most {MAX_ELEMENTS} elements",
            )
            return None
        stored = int(handle.get_storage_size()) if self.size else 0
        beyond = self.size > MAX_ELEMENTS or total > MAX_BYTES
        if not beyond and total > stored * _MAX_RATIO + (_SLACK if stored else 0):
            tree.findings.error(
                "NM110" if stored else "NM103",
                f"`{self._name}` declares {self.size} elements of which {'hardly any are' if stored else 'none is'} stored",
                where=self._where,
                why=f"{total} bytes declared, {stored} bytes stored",
            )
            return None
        room = self._itemsize if self.kind == h5t.STRING else max(self._itemsize, 8)
        if not tree.claim(self.size, room, self._where, f"`{self._name}`"):
            return None
        if not self.size:
            return np.zeros(0, np.uint8)
        layout = self._plist.get_layout()
        if layout == h5d.CHUNKED:
            return self._chunks(self._plist)
        if stored < total:
            raise ValueError(f"{total} bytes declared, {stored} bytes stored")
        if layout == h5d.CONTIGUOUS:
            return np.frombuffer(tree.content, np.uint8, total, handle.get_offset()).copy()
        if self._variable:
            tree.findings.error(
                "NM109", f"`{self._name}` keeps names inside its header, which is not read", where=self._where,
                help=("write it with contiguous or chunked storage",),
            )  # fmt: skip
            return None
        compact = np.zeros(self.shape, f"V{self._itemsize}")
        handle.read(h5s.ALL, h5s.ALL, compact, mtype=self._type)
        return np.frombuffer(compact.tobytes(), np.uint8)

    def _chunks(self, plist: Any) -> Array | None:
        """Return the bytes of a chunked dataset, put together."""
        tree, handle, chunk = self._tree, self._handle, tuple(int(n) for n in plist.get_chunk())
        grid = [range(0, length, step) for length, step in zip(self.shape, chunk, strict=True)]
        count, size = prod(len(steps) for steps in grid), prod(chunk) * self._itemsize
        if count > MAX_CHUNKS:
            tree.findings.error("NM110", f"`{self._name}` lies in {count} chunks; the limit is {MAX_CHUNKS}", where=self._where)
            return None
        if not tree.claim(prod(chunk), self._itemsize, self._where, f"a chunk of `{self._name}`"):
            return None
        filters = [(f[0], tuple(f[2])) for f in (plist.get_filter(k) for k in range(plist.get_nfilters()))]
        out = np.zeros((*self.shape, self._itemsize), np.uint8)
        for corner in product(*grid):
            length = handle.get_chunk_info_by_coord(corner).size
            if not length:
                raise ValueError(f"the chunk at {corner} was never written")
            if length > tree.size:
                raise ValueError(f"the chunk at {corner} states {length} bytes, more than the file has")
            tree.look_at(length)
            skipped, stored = handle.read_direct_chunk(corner)
            block = np.frombuffer(decoded(stored, filters, skipped, size), np.uint8).reshape(*chunk, self._itemsize)
            part = tuple(slice(start, start + step) for start, step in zip(corner, chunk, strict=True))
            inside = out[part]
            inside[...] = block[tuple(slice(0, n) for n in inside.shape)]
        return out.reshape(-1)
