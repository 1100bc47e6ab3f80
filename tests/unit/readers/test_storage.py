"""Chunks and strings are undone as HDF5 stores them, and never into more than they declare."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nmap.readers.storage import MAX_HEAP_OBJECTS, Heaps, Unaccepted, decoded

DEFLATE, SHUFFLE, FLETCHER, LZF = (1, (9,)), (2, (4,)), (3, ()), (32000, ())


def fletcher(data: bytes) -> bytes:
    """The checksum word by word, as its definition adds them up."""
    low = high = 0
    for k in range(0, len(data), 2):
        low = (low + data[k] * 256 + (data[k + 1] if k + 1 < len(data) else 0)) % 65535
        high = (high + low) % 65535
    return struct.pack("<HH", low, high)


@given(st.binary(min_size=1, max_size=300), st.lists(st.sampled_from([DEFLATE, FLETCHER]), unique=True), st.integers(0, 3))
def test_gzip_and_checksums_are_undone_in_reverse(data: bytes, filters: list[tuple[int, tuple[int, ...]]], skipped: int) -> None:
    stored = data
    for k, (number, _) in enumerate(filters):
        if not skipped >> k & 1:
            stored = zlib.compress(stored) if number == 1 else stored + fletcher(stored)
    assert decoded(stored, filters, skipped, len(data)) == data


def test_shuffled_bytes_return_to_their_numbers() -> None:
    # Three numbers of two bytes and a byte left over: all first bytes, then all second ones, then the rest.
    assert decoded(b"ace" + b"bdf" + b"x", [(2, (2,))], 0, 7) == b"abcdefx"


def test_lzf_literals_and_overlapping_references() -> None:
    # 3 literals, a reference of 3 bytes 3 back, one of 9 + 2 bytes 1 back (a run).
    stored = b"\x02abc" + bytes([1 << 5, 2]) + bytes([7 << 5, 2, 0])
    assert decoded(stored, [LZF], 0, 17) == b"abcabc" + b"c" * 11


@pytest.mark.parametrize(
    ("stored", "filters"),
    [
        (zlib.compress(bytes(9)), [DEFLATE]),
        (zlib.compress(bytes(7)), [DEFLATE]),
        (zlib.compress(bytes(2**24)), [DEFLATE]),
        (zlib.compress(bytes(8))[:-6], [DEFLATE]),
        (b"not deflated", [DEFLATE]),
        (b"", [DEFLATE]),
        (bytes(8) + b"\1\0\0\0", [FLETCHER]),
        (b"abc", [FLETCHER]),
        (b"\x05ab", [LZF]),
        (bytes([1 << 5, 0]), [LZF]),
        (b"\x00a" + bytes([7 << 5, 255, 0]) * 1000, [LZF]),
        (b"\x00a" + bytes([7 << 5]), [LZF]),
        (bytes(7), []),
        (bytes(9), [SHUFFLE]),
    ],
)
def test_damaged_chunks_are_refused(stored: bytes, filters: list[tuple[int, tuple[int, ...]]]) -> None:
    with pytest.raises(ValueError):
        decoded(stored, filters, 0, 8)


def _heap(*objects: tuple[int, bytes], size: int = 4096) -> bytes:
    body = b"".join(struct.pack("<HHIQ", k, 1, 0, len(text)) + text.ljust(-(-len(text) // 8) * 8, b"\0") for k, text in objects)
    free = size - 16 - len(body)
    return b"GCOL\x01\0\0\0" + struct.pack("<Q", size) + body + struct.pack("<QQ", 0, free) + bytes(free - 16)


def _record(length: int, address: int, index: int) -> bytes:
    return struct.pack("<IQI", length, address, index)


def test_strings_are_found_by_address_and_index() -> None:
    heaps = Heaps(bytes(100) + _heap((7, b"seven"), (2, b"")) + _heap((1, b"one")), 60)
    assert heaps.string(_record(5, 40, 7)) == b"seven"
    assert heaps.string(_record(3, 40 + 4096, 1)) == b"one"
    assert heaps.string(_record(0, 2**60, 9)) == b""


@pytest.mark.parametrize("record", [(6, 40, 7), (1, 40, 2), (1, 40, 3), (1, 41, 7), (1, 2**63, 7), (2**32 - 1, 40, 7), (1, 40, 0)])
def test_records_that_lead_nowhere_are_refused(record: tuple[int, int, int]) -> None:
    heaps = Heaps(bytes(100) + _heap((7, b"seven"), (2, b"")), 60)
    with pytest.raises(ValueError, match="record"):
        heaps.string(_record(*record))


@pytest.mark.parametrize(
    ("offset", "value"), [(8, 0), (8, 100), (8, 2**40), (8, 2**64 - 1), (24, 2**63), (24, 5000), (48, 0), (48, 17), (48, 2**64 - 8)]
)
def test_heaps_that_do_not_add_up_are_refused(offset: int, value: int) -> None:
    content = bytearray(_heap((7, b"seven")))
    content[offset : offset + 8] = value.to_bytes(8, "little")
    with pytest.raises(Unaccepted, match="do not add up") as caught:
        Heaps(bytes(content), 0)
    assert caught.value.code == "NM103"


def test_heaps_inside_heaps_take_no_quadratic_time() -> None:
    # A signature every 16 bytes, each claiming all that follows.
    pieces = 2**16
    content = b"".join(b"GCOL\x01\0\0\0" + struct.pack("<Q", 16 * (pieces - k)) for k in range(pieces))
    with pytest.raises(Unaccepted):
        Heaps(content, 0)


def test_the_number_of_strings_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MAX_HEAP_OBJECTS == 2**22
    monkeypatch.setattr("nmap.readers.storage.MAX_HEAP_OBJECTS", 3)
    Heaps(_heap((1, b"a"), (2, b"b"), (3, b"c")), 0)
    with pytest.raises(Unaccepted, match="more than 3") as caught:
        Heaps(_heap((1, b"a"), (2, b"b")) + _heap((1, b"c"), (2, b"d")), 0)
    assert caught.value.code == "NM110"


def test_the_library_s_own_heaps_are_understood(tmp_path: Path) -> None:
    texts = [f"text {k}" * (k % 40) for k in range(500)]
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("x", data=texts, dtype=h5py.string_dtype())
        offset = data.id.get_offset()
    content = path.read_bytes()
    heaps = Heaps(content, 0)
    found = [heaps.string(content[offset + 16 * k : offset + 16 * (k + 1)]).decode() for k in range(500)]
    assert found == texts
    assert np.char.str_len(found).max() > 200
