"""Entries of one netx layer, read as lava-dl's own reader takes them."""

from __future__ import annotations

from math import prod

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings
from nmap.readers.hdf5 import MAX_ELEMENTS, Group, too_large

__all__ = ["Layer", "spread"]

_EXPONENT_LIMIT = 3
_MAX_RANK = 32


def spread(values: Array, shape: tuple[int, ...]) -> Array | None:
    """Return one value per neuron, (prod(shape),) float64, from one per layer, channel or neuron; None where it is none of these."""
    if values.size == 1:
        return np.full(prod(shape), float(values.ravel()[0]))
    if values.size == shape[0]:
        return values.ravel().astype(np.float64).repeat(prod(shape[1:]))
    return values.ravel().astype(np.float64) if values.size == prod(shape) else None


class Layer:
    """One layer of the file.

    Args:
        number: its name in the file.
        kind: its `type`.
        group: its HDF5 group.
        changed: receives warnings about values that were changed in reading.
        notes: receives facts about the reading, one sentence each.
    """

    def __init__(self, number: int, kind: str, group: Group, changed: Findings, notes: list[str]) -> None:
        self.number, self.kind, self.group = number, kind, group
        self.changed, self.notes = changed, notes
        self.tree, self.findings = group.tree, group.tree.findings
        self.neuron = group.group("neuron") if "neuron" in group else None

    @property
    def title(self) -> str:
        """The layer's name for a message."""
        return f"layer {self.number} ({self.kind})"

    def mismatch(self, message: str, entry: str, why: str | None = None, group: Group | None = None) -> None:
        """Record NM106 at an entry of the layer, or of one of its groups."""
        self.findings.error("NM106", message, where=(group or self.group).place(entry), why=why)

    def refuse(self, message: str, entry: str | None = None, why: str | None = None, advice: str | None = None) -> None:
        """Record NM104 at the layer or an entry of it."""
        where = str(self.group.where) if entry is None else self.group.place(entry)
        self.findings.error("NM104", message, where=where, why=why, help=() if advice is None else (advice,))

    def _array(self, entry: str, group: Group) -> Array | None:
        values = group.array(entry)
        if values is None and group.is_group(entry) and self.tree.first(group.place(entry)):
            self.findings.error("NM103", f"`{entry}` of {self.title} is a group where numbers belong", where=group.place(entry))
        return values

    def finite(self, entry: str, group: Group | None = None) -> Array | None:
        """Return a numeric entry; None with NM107 where a value is not finite, or with the tree's own diagnostic."""
        group = group or self.group
        values = self._array(entry, group)
        if values is None:
            return None
        if not np.all(np.isfinite(values)):
            bad = np.argwhere(~np.isfinite(values))[0]
            self.findings.error(
                "NM107",
                f"`{entry}` is not finite: {float(values[tuple(bad)])}",
                where=group.place(entry) + (f"[{', '.join(str(int(k)) for k in bad)}]" if bad.size else ""),
            )
            return None
        return values

    def whole(self, entry: str, what: str, group: Group | None = None) -> Array | None:
        """Return an entry in float64 without its fractions, as netx reads it, and warn (NM112) of how many had one."""
        stored = self.finite(entry, group)
        if stored is None:
            return None
        values = np.trunc(stored).astype(np.float64)
        lost = int(np.count_nonzero(values != stored))
        if lost:
            self.changed.warning(
                "NM112",
                f"{lost} {what} of layer {self.number} are not integers; truncated toward zero, as netx does",
                where=(group or self.group).place(entry),
            )
        return values

    def integers(self, entry: str, least: int, most: int) -> tuple[int, ...] | None:
        """Return an entry that must hold between one and `most` integers of at least `least`; None with NM106 or NM110."""
        values = self._array(entry, self.group)
        if values is None:
            return None
        flat = values.ravel()
        if flat.size == 0 or flat.size > most or np.any(flat != np.floor(flat)) or np.any(flat < least):
            self.mismatch(f"`{entry}` is {flat[:8].tolist()}; up to {most} integers of at least {least} belong here", entry)
            return None
        if np.any(flat.astype(np.float64) > MAX_ELEMENTS):
            self.findings.error("NM110", too_large(f"`{entry}`", flat), where=self.group.place(entry))
            return None
        return tuple(int(v) for v in flat)

    def pair(self, entry: str, default: int) -> tuple[int, int] | None:
        """Return (height, width) of a kernel's stride, padding or dilation, or the default."""
        if entry not in self.group:
            return default, default
        values = self.integers(entry, min(default, 1), 2)
        return None if values is None else (values[0], values[-1])

    def shape(self) -> tuple[int, ...] | None:
        """Return the layer's declared shape: (channels, height, width), or (n,) for a flat one; None where it is absent or wrong."""
        if "shape" not in self.group:
            return None
        shape = self.integers("shape", 1, _MAX_RANK)
        if shape is None:
            return None
        flat = self.kind.startswith("dense") or self.kind == "average" or (prod(shape) == shape[0] and len(shape) != 3)
        return (prod(shape),) if flat else shape

    def exponent(self) -> int:
        """Return k where lava-dl divides the dendrite's input, bias included, by 2^k (its weight-scale normalisation); 0 where not.

        `WgtScaleBatchNorm` clamps the exponent to 3 bits of either sign by default, but exports it unclamped.
        """
        if self.neuron is None or "weight_exp" not in self.neuron:
            return 0
        stored = self.whole("weight_exp", "values of `weight_exp`", self.neuron)
        if stored is None or stored.size != 1:
            if stored is not None:
                message = f"`weight_exp` of layer {self.number} has {stored.size} values; one belongs here"
                self.mismatch(message, "weight_exp", group=self.neuron)
            return 0
        value = int(np.clip(stored.ravel()[0], -_EXPONENT_LIMIT, _EXPONENT_LIMIT))
        if value:
            self.notes.append(
                f"weights and bias of layer {self.number} are divided by {2.0**value:g} (`weight_exp`), as lava-dl does and netx does not"
            )
        if value != stored.ravel()[0]:
            self.changed.warning(
                "NM112",
                f"`weight_exp` of layer {self.number} is {stored.ravel()[0]:.6g} and was taken as {value}, lava-dl's default limit",
                where=self.neuron.place("weight_exp"),
            )
        return value
