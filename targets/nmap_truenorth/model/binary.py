"""TrueNorth's binary model format (TNBM), read: what `json2tnk` makes of a text model for the chip.

A header of 32 bytes, then a block of 112 bytes and 256 neuron rows of 60 bytes for every core. The layout was worked out from
public files that exist in both formats.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap_truenorth.model.model import Model
from nmap_truenorth.model.source import MalformedError, Problems
from nmap_truenorth.model.text import MOST_CORES, SIZE, checked_targets

__all__ = ["MAGIC", "read_binary"]

MAGIC = b"TNBM"
_HEADER, _BLOCK, _ROW = 32, 112, 60
_CORE = _BLOCK + SIZE * _ROW


def read_binary(file: str, data: bytes | bytearray, problems: Problems) -> Model:
    """Read a binary model. Cores are numbered in their order, as the targets in the file are.

    Raises:
        NmapError: with every problem found.
        MalformedError: where the file is cut short, or longer than its header says.
    """
    count = int.from_bytes(data[16:20], "little")
    if len(data) < _HEADER or len(data) != _HEADER + count * _CORE:
        raise MalformedError(f"the header says {count} cores of {_CORE} bytes, which {len(data)} bytes do not hold")
    if not 0 < count <= MOST_CORES:
        raise MalformedError(f"{count} cores; 1 to {MOST_CORES} are read")
    blocks = np.frombuffer(data, np.uint8, count * _CORE, _HEADER).reshape(count, _CORE)
    for core in np.flatnonzero(np.any(blocks[:, :4] != np.frombuffer(b"TNCB", np.uint8), axis=1)):
        problems.error("NM103", f"core {core} does not start with TNCB", f"core {core}", kind="a core without its mark")
    problems.raise_errors()
    rows = blocks[:, _BLOCK:].reshape(count, SIZE, _ROW)
    bits = _Bits(rows)
    # As the axon types, the map of disabled neurons counts down: its lowest bit is the last neuron.
    enabled = ~np.unpackbits(blocks[:, 6:38], axis=1, bitorder="little")[:, ::-1].astype(bool)
    pairs = blocks[:, 48:112]
    types = np.stack([pairs >> shift & 3 for shift in (0, 2, 4, 6)], axis=2).reshape(count, SIZE)[:, ::-1]
    synapses = np.unpackbits(rows, axis=2, bitorder="little")[:, :, 102:358]
    dest = np.ascontiguousarray(rows[:, :, 48:52]).view("<i4")[:, :, 0].astype(np.int64)
    ids = np.arange(count)
    names = [f"core {core}" for core in ids]
    target, delay = checked_targets(problems, names, ids, np.where(enabled, dest, -1), bits.number(422, 8), bits.number(418, 4), SIZE)
    problems.raise_errors()
    for name, at, width in (("a reset value", 5, 5), ("a potential at the start", 358, 26)):
        # No public file has one that could show its encoding.
        for core, j in np.argwhere((bits.number(at, width) != 0) & enabled):
            message = f"neuron {j} of core {core} has {name}, which is read from text models only"
            problems.error("NM104", message, f"core {core}:neuron {j}", kind=f"{name} in a binary model")
    mask = np.where(enabled, bits.number(10, 5), 0)
    problems.errors(
        "NM107",
        "a TM out of range",
        np.argwhere(mask > 18),
        lambda n: (f"`TM` of neuron {n[1]} of core {n[0]} is {mask[tuple(n)]}, not 0 to 18", f"core {n[0]}:neuron {n[1]}"),
    )
    gamma = np.where(enabled, bits.number(2, 2), 0)
    problems.errors(
        "NM107",
        "a gamma out of range",
        np.argwhere(gamma > 2),
        lambda n: (f"`gamma` of neuron {n[1]} of core {n[0]} is {gamma[tuple(n)]}, not 0 to 2", f"core {n[0]}:neuron {n[1]}"),
    )
    problems.raise_errors()
    content: dict[str, Any] = {
        "weights": np.stack([bits.signed(at, 9) for at in (93, 84, 75, 66)], axis=2),
        "stochastic": np.stack([bits.number(at, 1) for at in (62, 63, 64, 65)], axis=2),
        "leak": bits.signed(52, 9),
        "leak_stochastic": bits.number(51, 1),
        "leak_reversal": bits.number(61, 1),
        "threshold": bits.number(33, 18),
        "floor": bits.number(15, 18),
        "mask": mask,
        "gamma": gamma,
        "kappa": bits.number(4, 1),
        "reset": np.zeros((count, SIZE), np.int32),
        "potential": np.zeros((count, SIZE), np.int32),
    }
    return Model(
        file=file,
        dialect="truenorth",
        ids=ids,
        places=None,
        axon_types=types,
        crossbar=np.packbits(synapses.transpose(0, 2, 1), axis=2),
        enabled=enabled,
        target=target,
        target_core=np.where(enabled, dest, -1),
        target_axon=bits.number(422, 8),
        delay=delay,
        seeds=np.ascontiguousarray(blocks[:, 44:48]).view("<u4")[:, 0],
        **content,
    )


class _Bits:
    """Fields of neuron rows (C, N, bytes) by the little-endian place of their lowest bit."""

    def __init__(self, rows: Array) -> None:
        self._rows = rows

    def number(self, at: int, width: int) -> Array:
        value = np.zeros(self._rows.shape[:2], np.int64)
        for k in range((at % 8 + width + 7) // 8):
            value |= self._rows[:, :, at // 8 + k].astype(np.int64) << 8 * k
        return value >> at % 8 & (1 << width) - 1

    def signed(self, at: int, width: int) -> Array:
        value = self.number(at, width)
        return value - (value >> width - 1 << width)
