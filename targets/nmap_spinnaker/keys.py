"""Routing keys as sPyNNaker's allocator deals them out: a zone for each population, a block of 2^k keys for each of its slices.

    key = | zone | slice | neuron | colour |

Zones are all as wide as the widest one needs; the split into slice and neuron is each zone's own. The colour's four bits are the low bits
of the tick in which a spike was sent, so that a late packet still counts from its own tick.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["COLOUR_BITS", "KEY_BITS", "KeySpace", "Zone", "allocate"]

COLOUR_BITS = 4
KEY_BITS = 32
_FULL = (1 << KEY_BITS) - 1


def _bits(values: int) -> int:
    return max(0, values - 1).bit_length()


@dataclass(frozen=True, slots=True)
class Zone:
    """The keys of one population.

    Args:
        base: its first key.
        slice_bits: bits of a slice's keys, colours included.
        slices: number of slices.
    """

    base: int
    slice_bits: int
    slices: int

    @property
    def keys(self) -> int:
        """Keys that its slices' blocks take."""
        return self.slices << self.slice_bits

    @property
    def mask(self) -> int:
        """The mask of a slice's block."""
        return _FULL ^ ((1 << self.slice_bits) - 1)

    def key(self, number: int) -> int:
        """Return the first key of a slice."""
        return self.base | number << self.slice_bits


@dataclass(frozen=True, slots=True)
class KeySpace:
    """All keys.

    Args:
        zones: one for each population that sends, in the order given.
        zone_bits: width of a zone.
        needed: bits that zones and their numbers take together; more than 32 do not exist.
    """

    zones: tuple[Zone, ...]
    zone_bits: int
    needed: int

    @property
    def fits(self) -> bool:
        """Whether there are that many keys."""
        return self.needed <= KEY_BITS


def allocate(slices: Sequence[Sequence[int]]) -> KeySpace:
    """Deal out keys.

    Args:
        slices: neurons of each slice, by population that sends.
    """
    split = [(_bits(max(sizes) << COLOUR_BITS), _bits(len(sizes))) for sizes in slices]
    width = max((neuron + number for neuron, number in split), default=0)
    zones = tuple(Zone(k << width, neuron, len(sizes)) for k, ((neuron, _), sizes) in enumerate(zip(split, slices, strict=True)))
    return KeySpace(zones, width, width + _bits(len(slices)))
