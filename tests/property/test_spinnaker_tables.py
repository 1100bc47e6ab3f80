"""Every key of every slice, routed through the tables from chip to chip, comes to exactly the cores that listen."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.place.board import Fabric
from nmap.target.machine import Machine, build_machine
from nmap_spinnaker import TARGET
from nmap_spinnaker.keys import KeySpace, allocate
from nmap_spinnaker.tables import Entry, Net, compress, merge, trees

STEPS = {0: (1, 0), 1: (1, 1), 2: (0, 1), 3: (-1, 0), 4: (-1, -1), 5: (0, -1)}
MACHINES = {name: build_machine(TARGET.spec, name) for name in ("4chip", "48chip", "3boards", "6boards")}


def looked_up(table: list[Entry], key: int) -> int | None:
    for entry in table:
        if key & entry.mask == entry.key & entry.mask:
            return entry.route
    return None


def delivered(
    fabric: Fabric, tables: dict[tuple[int, int], list[Entry]], source: tuple[int, int], key: int,
) -> Counter[tuple[int, int, int]]:
    """Return how often a packet comes to each core; a chip without a matching entry sends it straight on."""
    there: Counter[tuple[int, int, int]] = Counter()
    waiting: list[tuple[tuple[int, int], int | None]] = [(source, None)]
    passed = 0
    while waiting:
        (x, y), link = waiting.pop()
        passed += 1
        assert passed < 2000, "a packet runs in circles"
        route = looked_up(tables.get((x, y), []), key)
        if route is None:
            assert link is not None, "the first router has no entry"
            route = 1 << link
        for number in range(18):
            if route >> (6 + number) & 1:
                there[x, y, number] += 1
        for number, (dx, dy) in STEPS.items():
            if route >> number & 1:
                assert fabric.size is not None
                there_x, there_y = x + dx, y + dy
                if fabric.wrap:
                    there_x, there_y = there_x % fabric.size[0], there_y % fabric.size[1]
                assert (there_x, there_y) not in fabric.missing
                waiting.append(((there_x, there_y), number))
    return there


def sent(rng: np.random.Generator, machine: Machine, reach: float) -> tuple[KeySpace, list[Net]]:
    """Return the packets of random populations whose slices lie on random cores."""
    places = [(x, y, core.core + 2) for (x, y), core in zip(machine.board().slots.tolist(), machine.cores, strict=True)]
    slices = [rng.integers(1, 257, int(rng.integers(1, 7))).tolist() for _ in range(int(rng.integers(1, 8)))]
    space = allocate(slices)
    used = [places[k] for k in rng.permutation(len(places))[: sum(map(len, slices))].tolist()]
    nets = []
    for zone, sizes in zip(space.zones, slices, strict=True):
        common = rng.random(len(used)) < reach
        for number in range(len(sizes)):
            # Slices of a population mostly go to the same cores.
            chosen = common if rng.random() < 0.6 else rng.random(len(used)) < reach
            targets = tuple(sorted(place for place, listens in zip(used, chosen.tolist(), strict=True) if listens))
            nets.append(Net(zone.key(number), zone.slice_bits, used[len(nets)][:2], targets))
    return space, nets


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(MACHINES)), st.integers(0, 2**32), st.sampled_from([0.05, 0.3, 0.9]), st.booleans())
def test_every_key_comes_to_the_cores_that_listen(name: str, seed: int, reach: float, squeezed: bool) -> None:
    rng = np.random.default_rng(seed)
    machine = MACHINES[name]
    space, nets = sent(rng, machine, reach)
    arrivals = trees(machine.fabric, nets)
    tables = {router: compress(blocks) if squeezed else merge(blocks, space.zone_bits) for router, blocks in arrivals.items()}
    for net in nets:
        if net.targets:
            for key in (net.key, net.key + (1 << net.bits) - 1, net.key + int(rng.integers(0, 1 << net.bits))):
                assert delivered(machine.fabric, tables, net.source, key) == Counter(net.targets)


@pytest.mark.parametrize("seed", range(5))
def test_tables_never_grow_by_merging_or_compressing(seed: int) -> None:
    rng = np.random.default_rng([5, seed])
    machine = MACHINES["48chip"]
    space, nets = sent(rng, machine, 0.4)
    for blocks in trees(machine.fabric, nets).values():
        entries = merge(blocks, space.zone_bits)
        assert len(compress(blocks)) <= len(entries) <= sum(not block.straight for block in blocks)
