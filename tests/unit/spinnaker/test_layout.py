"""Numbers that sPyNNaker 7.4.1 stated for its own vertices on a virtual board."""

from __future__ import annotations

import numpy as np
import pytest

from nmap.target.machine import build_machine
from nmap_spinnaker import TARGET
from nmap_spinnaker.arithmetic import ring_slots, ring_slots_used
from nmap_spinnaker.layout import (
    LONGEST_DELAY,
    cells_at_most,
    cells_sdram,
    matrix_sdram,
    places_of,
    population_dtcm,
    ring_bytes,
    source_sdram,
    steps_of,
    tables_sdram,
)
from tests.support import shared_data

EXP, DELTA, TRUNC = "spinnaker1.if_curr_exp", "spinnaker1.if_curr_delta", "spinnaker1.if_trunc"


@pytest.mark.parametrize(
    ("kernel", "neurons", "matrices", "total"),
    [(EXP, 64, 19888, 54796), (EXP, 100, 26816, 80588), (DELTA, 64, 19888, 50684), (DELTA, 100, 26816, 74172), (TRUNC, 64, 19888, 46572),
     (TRUNC, 101, 26848, 68200)],
)
def test_a_slice_takes_what_the_vendor_says(kernel: str, neurons: int, matrices: int, total: int) -> None:
    """100 sources with two projections, 150 neurons with one onto themselves; of the second delta network less 8 bytes of recording."""
    assert cells_sdram(kernel, neurons) + matrices + tables_sdram([100, 150], 3) == total


def test_tables_have_a_line_for_every_source_population() -> None:
    """Of 3000 and 600 neurons: 376 and 76 bytes of filters with 32 of header each."""
    assert tables_sdram([3000, 600], 5) == (8 + 2 * 20 + 5 * 4) + (92 + 2 * 4) + (8 + 32 + 376 + 32 + 76)


def test_matrices_begin_at_multiples_of_sixteen_and_count_whole_slices() -> None:
    # 150 sources by 64 are three slices of 64 rows, 4 words each.
    assert matrix_sdram(8, 150, 64, 1) == 16 + 3 * 64 * 16
    assert matrix_sdram(8, 150, 2048, 2) == 16 + 150 * 20
    assert matrix_sdram(17, 3, 3, 0) == 17


def test_spike_sources_take_at_least_what_the_vendor_says() -> None:
    """Of 100 sources 15 spike at once, of 3000 429: 512 bytes and their packets."""
    assert source_sdram(100) >= 512 + 66
    assert source_sdram(3000) >= 512 + 1764
    assert source_sdram(429) >= 512 + 1764
    assert source_sdram(15) >= 512 + 66


def test_ring_buffers_hold_what_their_bits_say() -> None:
    assert [steps_of(delay) for delay in (1, 2, 3, 16, 17, 32, 33, 1000)] == [2, 2, 4, 16, 32, 32, 64, 1024]
    assert ring_bytes(32, 256) == 32 * 1024
    assert ring_bytes(1, 256) == 2048
    assert population_dtcm(1000, 1, 0) == population_dtcm(256, 1, 0) > population_dtcm(64, 1, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("delay", "cells"),
    [(1, 256), (32, 256), (33, 128), (64, 128), (65, 64), (128, 64), (129, 32), (256, 32), (512, 16), (1024, 8), (2048, 4), (2049, 2),
     (4096, 2), (4097, 0), (100_000, 0)],
)
def test_longer_delays_leave_room_for_fewer_neurons(delay: int, cells: int) -> None:
    assert cells_at_most(delay) == cells
    assert places_of(delay) * max(cells, 1) == (256 if cells else 257)


def test_rings_are_as_large_as_the_host_makes_them_and_no_slice_may_be_larger() -> None:
    """2^14 slots over neurons and two receptors; the host's own for the largest slice hold the delay, for a larger one they do not."""
    for delay in range(1, LONGEST_DELAY + 1):
        cells = cells_at_most(delay)
        assert ring_slots(cells) >= ring_slots_used(delay, cells) == steps_of(delay) >= delay
        assert cells == 256 or ring_slots(cells + 1) < delay
        assert ring_bytes(delay, cells) <= 2 * 2**14
    assert ring_slots(1) < LONGEST_DELAY + 1


def test_ring_buffers_are_those_of_the_largest_slice_that_there_may_be() -> None:
    sizes = {delay: population_dtcm(1000, delay, 0) - population_dtcm(256, 1, 0) for delay in (32, 33, 4096)}  # type: ignore[arg-type]
    assert set(sizes.values()) == {32 * 1024 - 2048}
    # 5 neurons are 3 bits and 64 steps 6, with the receptor 10.
    assert ring_bytes(64, 5) == 2 * 2**10


def test_the_data_states_the_longest_delay() -> None:
    """Beyond the one step of a hop."""
    assert TARGET.spec.limits["delay"].max == LONGEST_DELAY - 1


def test_delays_of_the_benchmarks_take_a_place_a_neuron() -> None:
    with np.load(shared_data() / "spinnaker" / "modular_10k.npz") as stored:
        longest = max(int(stored[name].max()) for name in stored.files if name.endswith("_d"))
    assert longest == 8
    assert places_of(longest) == 1


@pytest.mark.parametrize(
    ("variant", "chips", "cores", "links"),
    [("4chip", 4, 63, 12), ("48chip", 48, 759, 240), ("3boards", 144, 2277, 864), ("6boards", 288, 4554, 1728),
     ("12boards", 576, 9108, 3456)],
)
def test_machines_are_those_of_the_vendors_virtual_boards(variant: str, chips: int, cores: int, links: int) -> None:
    """Counted on the machines that SpiNNMachine 7.4.1 makes: processors less monitors and gatherers, neighbours of chips both ways."""
    machine = build_machine(TARGET.spec, variant)
    assert (machine.chips, len(machine.cores), len(machine.fabric.links())) == (chips, cores, links)


def test_ethernet_chips_and_chips_of_17_processors_lack_a_core() -> None:
    board = build_machine(TARGET.spec).board()
    triad = build_machine(TARGET.spec, "3boards")
    held: dict[tuple[int, int], set[int]] = {}
    for core, (x, y) in zip(triad.cores, triad.board().slots.tolist(), strict=True):
        held.setdefault((x, y), set()).add(core.core)
    assert all(0 not in held[place] for place in [(0, 0), (4, 8), (8, 4)])
    # (1, 1) of the board at (4, 8) is (5, 9).
    assert [max(held[place]) for place in [(1, 1), (5, 9), (9, 5), (2, 2)]] == [14, 14, 14, 15]
    assert board.size == 759
