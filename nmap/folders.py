"""Numbered folders of words and whole numbers in an HDF5 file: a group each, or all of them packed into a few datasets.

A group, an attribute or a dataset of HDF5 takes a hundred microseconds or so and half a kilobyte, whatever it holds. Thousands of
folders with a dozen small arrays each are therefore stored together: the arrays of all folders one behind the other, by the width in which
their numbers fit, and a directory, in JSON, that says what each folder holds, in the same order. The directory has no offsets: arrays lie
without gaps, so none can overlap another or lead outside.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any, Protocol

import h5py
import numpy as np

from nmap.connectivity import Array

__all__ = ["Entry", "Folder", "LooseFolder", "PackedFolder", "pack", "unpack", "write_array", "write_loose", "write_word"]

_WIDTHS = ("int8", "int16", "int32", "int64")
_CHUNK = 1 << 18
"""Numbers that are compressed together."""
_RATIO = 1100
"""No compressed dataset holds more bytes per stored byte: deflate reaches 1032."""


class Stored(Protocol):
    """An array that is stored."""

    @property
    def dtype(self) -> Any:
        """Type of the numbers."""

    @property
    def shape(self) -> Any:
        """Its shape; None for an empty HDF5 dataset."""

    def __getitem__(self, key: tuple[()]) -> Array:
        """Read it."""


class Folder(Protocol):
    """One folder, to be read."""

    @property
    def name(self) -> str:
        """Its path in the file."""

    def has(self, word: str) -> bool:
        """Return whether there is such a word."""

    def word(self, word: str) -> Any:
        """Return the value of a word.

        Raises:
            ValueError: it is not JSON.
        """

    def find(self, name: str) -> Stored | None:
        """Return an array by its name, `/` included; None where there is none."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What one folder holds, to be written.

    Args:
        words: values that JSON can say, by name.
        arrays: of whole numbers, by name; `a/b` lies in a folder of its own.
    """

    words: Mapping[str, Any]
    arrays: Mapping[str, Array]


def write_word(node: h5py.Group, name: str, value: Any) -> None:
    """Store a value as an attribute."""
    node.attrs[name] = json.dumps(value, sort_keys=True)


def write_array(node: h5py.Group, name: str, values: Array) -> None:
    """Store an array as a dataset, compressed if it is large."""
    # No timestamps: the same program must give the same bytes.
    kwargs: dict[str, Any] = {"compression": "gzip", "compression_opts": 4, "shuffle": True} if values.size > 512 else {}
    node.create_dataset(name, data=values, track_times=False, **kwargs)


# ---- a group each -----------------------------------------------------------------------------------------------------------------------


def write_loose(file: h5py.File, name: str, entries: Iterable[Entry]) -> None:
    """Store folders 0, 1, ... as groups `name/000000` and so on."""
    for number, entry in enumerate(entries):
        node = file.create_group(f"{name}/{number:06d}", track_order=False)
        for key, value in entry.words.items():
            write_word(node, key, value)
        for key, values in entry.arrays.items():
            write_array(node, key, values)


@dataclass(frozen=True, slots=True)
class LooseFolder:
    """A group as `Folder`."""

    node: h5py.Group

    @property
    def name(self) -> str:
        """See `Folder`."""
        return str(self.node.name)

    def has(self, word: str) -> bool:
        """See `Folder`."""
        return word in self.node.attrs

    def word(self, word: str) -> Any:
        """See `Folder`."""
        try:
            return json.loads(self.node.attrs[word])
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"attribute `{word}` of `{self.name}` is not JSON") from error

    def find(self, name: str) -> Stored | None:
        """See `Folder`."""
        found = self.node.get(name)
        return found if isinstance(found, h5py.Dataset) else None


# ---- packed -----------------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Part:
    """An array among those packed."""

    numbers: Array
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __getitem__(self, key: tuple[()]) -> Array:
        return self.numbers.reshape(self.shape).astype(self.dtype)


@dataclass(frozen=True, slots=True)
class PackedFolder:
    """A folder among those packed, as `Folder`."""

    name: str
    words: Mapping[str, Any]
    arrays: Mapping[str, _Part] = field(repr=False)

    def has(self, word: str) -> bool:
        """See `Folder`."""
        return word in self.words

    def word(self, word: str) -> Any:
        """See `Folder`."""
        return self.words[word]

    def find(self, name: str) -> Stored | None:
        """See `Folder`."""
        return self.arrays.get(name)


def _narrow(values: Array) -> str:
    """Return the narrowest type that holds some whole numbers."""
    if not values.size:
        return _WIDTHS[0]
    low, high = int(values.min()), int(values.max())
    return next(name for name in _WIDTHS if np.iinfo(name).min <= low and high <= np.iinfo(name).max)


def pack(file: h5py.File, name: str, entries: Iterable[Entry]) -> None:
    """Store folders 0, 1, ... in the group `name`.

    Args:
        file: receives the group.
        name: of the group.
        entries: with arrays of signed types.
    """
    parts: dict[str, list[Array]] = {width: [] for width in _WIDTHS}
    listed = []
    for entry in entries:
        arrays = {}
        for key, values in entry.arrays.items():
            width = _narrow(values)
            parts[width].append(values.astype(width).ravel())
            arrays[key] = [values.dtype.name, width, list(values.shape)]
        listed.append([dict(entry.words), arrays])
    node = file.create_group(name, track_order=False)
    text = json.dumps(listed, sort_keys=False, separators=(",", ":")).encode()
    _write_packed(node, "directory", np.frombuffer(text, np.uint8))
    for width, arrays_of_width in parts.items():
        _write_packed(node, width, np.concatenate([np.zeros(0, width), *arrays_of_width]))
        arrays_of_width.clear()


def _write_packed(node: h5py.Group, name: str, values: Array) -> None:
    kwargs: dict[str, Any] = {}
    if values.size > 512:
        kwargs = {"compression": "gzip", "compression_opts": 4, "shuffle": values.itemsize > 1, "chunks": (min(values.size, _CHUNK),)}
    node.create_dataset(name, data=values, track_times=False, **kwargs)


def unpack(file: h5py.File, name: str) -> list[PackedFolder]:
    """Return the folders that `pack` stored.

    Raises:
        ValueError: the directory is none, or is not that of the numbers that are there.
    """
    try:
        listed = json.loads(_read_packed(file, f"{name}/directory", "uint8").tobytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the directory of `/{name}` cannot be read: {error}") from error
    numbers = {width: _read_packed(file, f"{name}/{width}", width) for width in _WIDTHS}
    taken = dict.fromkeys(_WIDTHS, 0)
    folders = []
    for number, row in enumerate(listed if isinstance(listed, list) else [None]):
        where = f"/{name}/{number:06d}"
        if not (isinstance(row, list) and len(row) == 2 and all(isinstance(half, dict) for half in row)):
            raise ValueError(f"the directory of `/{name}` does not say what `{where}` holds")
        arrays = {}
        for key, told in row[1].items():
            if not _is_part(told):
                raise ValueError(f"the directory of `/{name}` does not say what `{where}/{key}` holds")
            dtype, width, shape = told
            start = taken[width]
            taken[width] = stop = start + prod(shape)
            if stop > numbers[width].size:
                raise ValueError(f"`{where}/{key}` has shape {shape}, and there are {numbers[width].size - start} numbers left")
            arrays[key] = _Part(numbers[width][start:stop], np.dtype(dtype), tuple(shape))
        folders.append(PackedFolder(where, row[0], arrays))
    left = {width: found.size - taken[width] for width, found in numbers.items() if found.size != taken[width]}
    if left:
        raise ValueError(f"`/{name}` has numbers that belong to no folder: {left}")
    return folders


def _is_part(told: Any) -> bool:
    return (
        isinstance(told, list) and len(told) == 3 and told[0] in _WIDTHS and told[1] in _WIDTHS and isinstance(told[2], list)
        and len(told[2]) <= 4 and all(isinstance(n, int) and not isinstance(n, bool) and 0 <= n < 2**31 for n in told[2])
    )


def _read_packed(file: h5py.File, name: str, dtype: str) -> Array:
    """Return numbers that are really there: a dataset's header may claim any number of them."""
    found = file.get(name)
    if not isinstance(found, h5py.Dataset) or found.dtype != np.dtype(dtype) or found.shape is None or len(found.shape) != 1:
        raise ValueError(f"dataset `/{name}` is missing, or does not hold {dtype} of rank 1")
    if found.size * found.dtype.itemsize > _RATIO * found.id.get_storage_size():
        raise ValueError(f"dataset `/{name}` claims {found.size} numbers, which are not in the file")
    values: Array = found[()]
    return values
