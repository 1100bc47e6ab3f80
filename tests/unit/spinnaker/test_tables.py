from __future__ import annotations

from itertools import product

import numpy as np

from nmap.place.board import Fabric
from nmap.target.machine import build_machine
from nmap_spinnaker import TARGET
from nmap_spinnaker.tables import Arrival, Entry, Net, compress, decode, merge, processor, trees

FABRIC = build_machine(TARGET.spec, "3boards").fabric


def test_a_straight_way_needs_entries_at_its_ends_only() -> None:
    found = trees(FABRIC, [Net(0x1000, 4, (0, 0), ((3, 0, 5), (3, 0, 7)))])
    assert {router: (a.route, a.straight) for router, (a,) in found.items()} == {
        (0, 0): (1, False), (1, 0): (1, True), (2, 0): (1, True), (3, 0): (1 << 11 | 1 << 13, False),
    }
    assert [merge(blocks, 12) for blocks in found.values()] == [
        [Entry(0x1000, 0xFFFFF000, 1)], [], [], [Entry(0x1000, 0xFFFFF000, 1 << 11 | 1 << 13)],
    ]


def test_links_go_round_the_torus() -> None:
    found = trees(FABRIC, [Net(0, 4, (0, 0), ((11, 11, 2),))])
    assert found[0, 0][0].route == 1 << 4


def test_a_packet_to_nobody_is_not_routed() -> None:
    assert trees(FABRIC, [Net(0, 4, (0, 0), ())]) == {}


def test_packets_reach_a_core_once_where_ways_cross() -> None:
    """Longest dimension first, (5, 2) and (4, 3) are reached by ways that part and meet again."""
    rng = np.random.default_rng(4)
    for _ in range(40):
        goals = tuple(sorted({(int(x), int(y), 3) for x, y in rng.integers(0, 12, (12, 2))}))
        found = trees(FABRIC, [Net(0, 4, (0, 0), goals)])
        links = sum(bin(blocks[0].route & 63).count("1") for blocks in found.values())
        assert links == len(found) - 1


def test_aligned_blocks_of_one_route_become_one_entry() -> None:
    blocks = [Arrival(0x400 * k, 10, 1) for k in range(3)]
    assert merge(blocks, 12) == [Entry(0, 0xFFFFF000, 1)]
    assert merge([*blocks[:2], Arrival(0x800, 10, 2)], 12) == [Entry(0, 0xFFFFF800, 1), Entry(0x800, 0xFFFFF800, 2)]
    # Another zone may not be covered.
    assert len(merge([*blocks, Arrival(0x1000, 10, 1)], 12)) == 2


def test_what_goes_straight_on_another_way_is_not_covered() -> None:
    blocks = [Arrival(0, 10, 1), Arrival(0x400, 10, 2, straight=True)]
    assert merge(blocks, 12) == [Entry(0, 0xFFFFFC00, 1)]
    assert merge([Arrival(0, 10, 2), blocks[1]], 12) == [Entry(0, 0xFFFFF000, 2)]
    assert merge([blocks[1]], 12) == []


def test_compression_puts_the_common_route_below_the_others() -> None:
    """All slices of 64 go east but one: two entries."""
    blocks = [Arrival(0x400 * k, 10, 2 if k == 5 else 1) for k in range(64)]
    assert len(merge(blocks, 16)) == 7
    assert compress(blocks) == [Entry(0x1400, 0xFFFFFC00, 2), Entry(0, 0xFFFF0000, 1)]


def test_no_smaller_set_of_prefixes_does_what_a_compressed_table_does() -> None:
    """Four blocks of three kinds each: no table of up to two prefixes is smaller, and three are enough."""
    kinds = [(1, False), (2, False), (2, True)]
    prefixes = [(first << 30, bits) for bits in (30, 31, 32) for first in range(0, 4, 1 << (bits - 30))]
    lines = [Entry(first, 0xFFFFFFFF ^ ((1 << bits) - 1), route) for first, bits in prefixes for route in (1, 2)]
    tables = [[], *[[a] for a in lines], *[[a, b] for a in lines for b in lines if a.mask >= b.mask]]
    for chosen in product(kinds, repeat=4):
        blocks = [Arrival(k << 30, 30, route, straight) for k, (route, straight) in enumerate(chosen)]

        def right(table: list[Entry], blocks: list[Arrival] = blocks) -> bool:
            return all(
                decode(table, block.key) == block.route or (block.straight and decode(table, block.key) is None) for block in blocks
            )

        made = compress(blocks)
        assert right(made)
        least = min((len(table) for table in tables if right(table)), default=3)
        assert len(made) == least


def test_processors_are_numbered_behind_the_monitors() -> None:
    assert processor(0) == 2
    assert processor(15) == 17


def test_without_a_torus_links_stay_on_the_board() -> None:
    board = Fabric((8, 8), False, True)
    found = trees(board, [Net(0, 4, (0, 0), ((0, 7, 2),))])
    assert len(found) == 8
