from __future__ import annotations

from itertools import pairwise

from nmap_spinnaker.keys import allocate


def test_keys_are_those_of_the_vendors_allocator() -> None:
    """100 sources on a core, 150 neurons by 64: as sPyNNaker 7.4.1 dealt them out on a virtual board."""
    space = allocate([(100,), (64, 64, 22)])
    assert [(zone.key(k), zone.mask) for zone, n in zip(space.zones, (1, 3), strict=True) for k in range(n)] == [
        (0x0, 0xFFFFF800), (0x1000, 0xFFFFFC00), (0x1400, 0xFFFFFC00), (0x1800, 0xFFFFFC00),
    ]
    assert space.zone_bits == 12
    assert space.needed == 13
    assert space.fits


def test_the_widest_population_decides_how_far_apart_zones_are() -> None:
    """3000 sources on a core, 600 neurons by 256, and a delay extension: as sPyNNaker 7.4.1 dealt them out on a virtual board."""
    space = allocate([(3000,), (256, 256, 88), (3000,)])
    assert [zone.key(0) for zone in space.zones] == [0, 0x10000, 0x20000]
    assert space.zones[1].key(2) == 0x12000
    assert space.zones[1].mask == 0xFFFFF000


def test_blocks_of_slices_do_not_overlap() -> None:
    slices = [(7, 256, 3), (1,), (40,) * 9, (2048,)]
    space = allocate(slices)
    blocks = sorted(
        (zone.key(k), zone.key(k) + (1 << zone.slice_bits))
        for zone, sizes in zip(space.zones, slices, strict=True) for k in range(len(sizes))
    )
    assert all(end <= start for (_, end), (start, _) in pairwise(blocks))
    assert all(1 << zone.slice_bits >= 16 * max(sizes) for zone, sizes in zip(space.zones, slices, strict=True))
    assert [zone.keys for zone in space.zones] == [3 * 4096, 16, 9 * 1024, 32768]


def test_too_many_keys_are_seen() -> None:
    assert not allocate([(2048,) * 70_000, (1,)]).fits
    assert allocate([(2048,) * 60_000, (1,)]).fits
    assert allocate([]).fits
