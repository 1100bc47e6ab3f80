"""Machines: numbering, positions, several chips, what is dead, classes of cores; numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nmap.diagnostics import Exit, NmapError
from nmap.options import WHOLE_CHIP
from nmap.place.board import Fabric
from nmap.program import Core
from nmap.target.machine import Machine, build_machine, cores_of
from nmap.target.spec import ChipSpec
from nmap_loihi2 import TARGET as LOIHI2

SOURCE = "made up for tests"


def spec(kinds: dict[str, object] | None = None, **variant: object) -> ChipSpec:
    """A chip of 2 x 2 routers with one core each; `variant` overrides."""
    return ChipSpec.model_validate({
        "name": "grid", "title": "Grid", "data_version": "1", "default_variant": "v", "limits": {}, "features": {},
        "resources": {
            "neurons": {"max": 10, "unit": "neurons", "source": SOURCE, "title": "neurons"},
            "words": {"max": 20, "unit": "words", "source": SOURCE, "title": "words"},
        },
        "classes": kinds or {},
        "variants": {"v": {
            "title": "v", "chips": 1, "max_chips": 12, "cores": 4, "mesh": [2, 2], "cores_per_router": 1, "chip_link_hops": 1,
            "source": SOURCE, **variant,
        }},
    })


def slots(machine: Machine) -> list[list[int]]:
    return machine.board().slots.tolist()


def stretched(machine: Machine, places: list[tuple[int, int]], gap: int) -> np.ndarray:
    """Manhattan's distances of 2 x 2 chips that stand `gap` empty rows and columns apart: what a mesh of chips must come to."""
    at = np.array([
        (places[core.chip][0] * (2 + gap) + core.x, places[core.chip][1] * (2 + gap) + core.y) for core in machine.cores
    ])
    return np.abs(at[:, None] - at[None]).sum(-1)


def test_cores_are_numbered_router_by_router() -> None:
    machine = build_machine(spec(cores=7, mesh=[2, 2], cores_per_router=2), chips=2)
    assert len(machine.cores) == 14
    assert machine.cores[3] == Core(0, 1, 0, 3)
    assert machine.cores[13] == machine.cores[-1] == Core(1, 1, 1, 6)
    assert list(machine.cores[5:8]) == [Core(0, 0, 1, 5), Core(0, 1, 1, 6), Core(1, 0, 0, 0)]
    assert list(machine.cores)[4:6] == [machine.cores[4], machine.cores[5]]
    assert next(core.core for core in reversed(machine.cores)) == 6
    with pytest.raises(IndexError):
        machine.cores[14]
    assert slots(machine)[:8] == [[0, 0], [0, 0], [1, 0], [1, 0], [0, 1], [0, 1], [1, 1], [2, 0]]


def test_one_chip_is_a_plain_mesh() -> None:
    board = build_machine(spec()).board()
    assert board.plain
    assert board.fabric == Fabric((2, 2))
    assert (board.port, board.kind, board.distance) == ((0, 0), None, None)


def test_chips_without_a_grid_stand_in_a_row() -> None:
    machine = build_machine(spec(), chips=3)
    assert slots(machine)[4:] == [[2, 0], [3, 0], [2, 1], [3, 1], [4, 0], [5, 0], [4, 1], [5, 1]]
    board = machine.board()
    # Core 1 of chip 0 and core 0 of chip 1 are neighbours, one hop more between chips.
    assert board.hops()[1, 4] == 2
    assert board.hops()[0, 11] == 5 + 1 + 2
    assert np.array_equal(board.hops(), stretched(machine, [(0, 0), (1, 0), (2, 0)], 1))


def test_chips_in_a_grid_are_numbered_row_by_row() -> None:
    machine = build_machine(spec(chip_grid=[2, 3], chip_link_hops=4, max_chips=6), chips=6)
    assert slots(machine)[::4] == [[0, 0], [2, 0], [0, 2], [2, 2], [0, 4], [2, 4]]
    board = machine.board()
    assert board.fabric == Fabric((4, 6), chip=(2, 2), crossing=4)
    assert board.hops()[0, 20] == 2 + 4 + 4 + 8
    assert np.array_equal(board.hops(), stretched(machine, [(0, 0), (1, 0), (0, 1), (1, 1), (0, 2), (1, 2)], 4))


def test_fewer_chips_than_the_grid_holds() -> None:
    # Three of 2 x 2 chips: nothing passes through the place of the fourth.
    board = build_machine(spec(chip_grid=[2, 2], max_chips=4), chips=3).board()
    assert board.fabric.size == (4, 4)
    assert sorted(board.fabric.missing) == [(2, 2), (2, 3), (3, 2), (3, 3)]
    assert board.hops()[7, 11] == (3 - 1) + (3 - 1) + 2, "by way of chip 0"
    assert build_machine(spec(chip_grid=[2, 2], max_chips=4), chips=2).board().fabric == Fabric((4, 2), chip=(2, 2), crossing=1)


def test_boards_and_racks() -> None:
    # Boards of 1 x 2 chips, two boards beside each other in a rack, two racks above each other.
    levels = [{"name": "board", "grid": [2, 1], "link_hops": 10}, {"name": "rack", "grid": [1, 2], "link_hops": 100}]
    machine = build_machine(spec(chip_grid=[1, 2], levels=levels, max_chips=8), chips=8)
    assert slots(machine)[::4] == [[0, 0], [0, 2], [2, 0], [2, 2], [0, 4], [0, 6], [2, 4], [2, 6]]
    hops = machine.board().hops()[::4, ::4]
    # Between chips of a board 1 more, between boards 10 more than that, between racks 100 more than between their boards.
    assert hops[0].tolist() == [0, 2 + 1, 2 + 1 + 10, 4 + 2 + 10, 4 + 2 + 110, 6 + 3 + 110, 6 + 3 + 120, 8 + 4 + 120]


def test_torus_and_hexagonal_torus() -> None:
    torus = build_machine(spec(mesh=[4, 4], cores=16, topology="torus")).board()
    assert torus.hops()[0].reshape(4, 4).tolist() == [[0, 1, 2, 1], [1, 2, 3, 2], [2, 3, 4, 3], [1, 2, 3, 2]]
    hexagonal = build_machine(spec(mesh=[4, 4], cores=16, topology="hexagonal-torus")).board()
    assert hexagonal.hops()[0].reshape(4, 4).tolist() == [[0, 1, 2, 1], [1, 1, 2, 2], [2, 2, 2, 2], [1, 2, 2, 1]]
    mesh = build_machine(spec(mesh=[4, 4], cores=16, topology="hexagonal")).board()
    assert mesh.hops()[0].reshape(4, 4).tolist() == [[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]]


def test_a_spinnaker_board_of_48_chips() -> None:
    # 48 chips of 8 x 8 places, rows of 5, 6, 7, 8, 7, 6, 5 and 4; each chip is one router.
    rows = [range(5), range(6), range(7), range(8), range(1, 8), range(2, 8), range(3, 8), range(4, 8)]
    absent = [[x, y] for y, row in enumerate(rows) for x in range(8) if x not in row]
    chip = spec(mesh=[1, 1], cores=16, cores_per_router=16, chips=48, max_chips=48, chip_link_hops=0, chip_grid=[8, 8], absent=absent,
                topology="hexagonal")
    machine = build_machine(chip)
    board = machine.board()
    assert slots(machine)[::16] == [[x, y] for y, row in enumerate(rows) for x in row]
    # The outline is convex along the links, so no way is longer than on an endless hexagonal mesh.
    assert np.array_equal(board.hops(), Fabric(hexagonal=True).hops(board.slots[:, None], board.slots[None]))


def test_a_torus_of_boards_is_of_whole_boards() -> None:
    levels = [{"name": "board", "grid": [2, 2], "link_hops": 1}]
    chip = spec(mesh=[1, 1], cores=1, chip_link_hops=0, chip_grid=[2, 2], levels=levels, max_chips=16, topology="torus")
    assert build_machine(chip, chips=16).board().fabric == Fabric((4, 4), True, False, (1, 1), 0, ((2, 2, 1),))
    part = build_machine(chip, chips=6).board().fabric
    assert part.size == (4, 2)
    assert sorted(part.missing) == [(2, 1), (3, 1)]


def test_port() -> None:
    board = build_machine(spec(port=[1, 1])).board()
    assert board.port == (1, 1)
    assert board.port_hops().tolist() == [2, 1, 1, 0]
    far = spec(port=[3, 1])
    assert build_machine(far, chips=2).board().port_hops()[0] == 4 + 1
    assert build_machine(far, chips=1, dead=[(0, 0)]).port == (1, 0), "the first usable core's where so few chips have no such router"


def test_routers_of_dead_cores_pass_packets_on() -> None:
    machine = build_machine(spec(), chips=2, dead=[(1, 0), (0, 1), (1, 0)])
    assert machine.dead == ((0, 1), (1, 0))
    assert [(core.chip, core.core) for core in machine.cores] == [(0, 0), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3)]
    board = machine.board()
    assert board.distance is None
    assert board.hops()[0, 3] == 3 + 1


def test_nothing_passes_through_dead_chips() -> None:
    machine = build_machine(spec(chip_grid=[3, 2], max_chips=6), chips=6, dead=[(1, WHOLE_CHIP), (0, 3)])
    assert machine.dead == ((0, 3), (1, 0), (1, 1), (1, 2), (1, 3))
    assert machine.warnings == ()
    board = machine.board()
    # From chip 0 to chip 2 by way of the second row of chips: down 2 and up 2 more, four boundaries instead of two.
    assert board.hops()[0, 3] == 4 + 4 + 4
    assert board.size == len(machine.cores) == 19


def test_dead_links_lengthen_ways() -> None:
    machine = build_machine(spec(), chips=2, dead_links=[((0, 1), (1, 0)), ((1, 0), (0, 1)), ((0, 0), (0, 2))])
    board = machine.board()
    assert board.fabric.dead == ((0, 0, 0, 1), (1, 0, 2, 0))
    assert board.hops()[0].tolist() == [0, 1, 3, 2, 5, 6, 4, 5]
    assert machine.dead == ()


def test_links_of_a_torus_and_between_cores_that_share_routers() -> None:
    chip = spec(mesh=[4, 1], cores=8, cores_per_router=2, topology="torus")
    board = build_machine(chip, dead_links=[((0, 1), (0, 6))]).board()
    assert board.hops()[::2, ::2].tolist() == [[0, 1, 2, 3], [1, 0, 1, 2], [2, 1, 0, 1], [3, 2, 1, 0]]


def test_cores_that_are_cut_off_are_masked_with_a_warning() -> None:
    # Core 3 has links to cores 1 and 2 only.
    machine = build_machine(spec(), dead_links=[((0, 1), (0, 3)), ((0, 3), (0, 2))])
    assert [core.core for core in machine.cores] == [0, 1, 2]
    assert machine.dead == ((0, 3),)
    (warning,) = machine.warnings
    assert (warning.code, warning.severity) == ("NM403", "warning")
    assert warning.message == "a core cannot be reached over the links that are left: 0:3"
    assert warning.data == {"cores": [[0, 3]]}
    assert machine.board().size == 3


def test_a_dead_chip_in_a_row_cuts_off_those_behind_it() -> None:
    machine = build_machine(spec(), chips=6, dead=[(1, WHOLE_CHIP)])
    assert {core.chip for core in machine.cores} == {0}
    (warning,) = machine.warnings
    assert warning.message.startswith("16 cores cannot be reached over the links that are left: 2:0, 2:1, 2:2, 2:3, 3:0")
    assert warning.message.endswith("4:3 and 4 more")


def test_a_core_that_is_alone_in_the_port_still_is_a_machine() -> None:
    machine = build_machine(spec(), dead_links=[((0, 0), (0, 1)), ((0, 0), (0, 2))])
    assert [core.core for core in machine.cores] == [0]


def test_spikes_enter_at_the_first_usable_core_where_the_ports_chip_is_dead() -> None:
    machine = build_machine(spec(), chips=3, dead=[(0, WHOLE_CHIP), (1, 0)])
    assert machine.port == (3, 0)
    assert machine.warnings == ()
    assert machine.board().port_hops()[0] == 0


def test_everything_dead() -> None:
    for dead in ([(0, k) for k in range(4)], [(0, WHOLE_CHIP)]):
        with pytest.raises(NmapError) as caught:
            build_machine(spec(), dead=dead)
        assert caught.value.exit_status == Exit.DOES_NOT_FIT
        assert caught.value.diagnostics[0].code == "NM402"


def test_no_core_can_be_reached() -> None:
    # The port's router has no usable core, and its links are dead.
    with pytest.raises(NmapError) as caught:
        build_machine(spec(), dead=[(0, 0)], dead_links=[((0, 0), (0, 1)), ((0, 0), (0, 2))])
    assert caught.value.exit_status == Exit.DOES_NOT_FIT
    assert [d.code for d in caught.value.diagnostics] == ["NM402"]


def test_all_mistakes_in_the_lists_are_told_together() -> None:
    with pytest.raises(NmapError) as caught:
        build_machine(
            spec(), chips=2, dead=[(0, 4), (2, 0), (2, WHOLE_CHIP), (-1, 0), (0, 1)],
            dead_links=[((0, 0), (0, 0)), ((0, 0), (0, 3)), ((1, 1), (0, 1)), ((0, 1), (0, 9)), ((0, 0), (0, 1))],
        )
    assert caught.value.exit_status == Exit.USAGE
    assert [(d.code, d.message.partition(": ")[2]) for d in caught.value.diagnostics] == [
        ("NM004", "-1:0, 0:4, 2:*, 2:0"), ("NM004", "0:1-0:9"), ("NM004", "0:0-0:0, 0:0-0:3, 0:1-1:1"),
    ]


def test_wrong_variant_and_number_of_chips() -> None:
    for code, wrong in (("NM003", {"variant": "w"}), ("NM004", {"chips": 0}), ("NM004", {"chips": 13})):
        with pytest.raises(NmapError, match=code):
            build_machine(spec(), **wrong)  # type: ignore[arg-type]


CLASSES = {
    "small": {"title": "small", "budget": {"neurons": 4}, "source": SOURCE},
    "dry": {"title": "dry", "budget": {"words": 0, "neurons": 7}, "source": SOURCE},
}


def test_one_class_when_the_chip_has_none() -> None:
    machine = build_machine(spec(), dead=[(0, 2)])
    ((name, capacity, cores),) = machine.classes
    assert (name, capacity) == ("ordinary", {"neurons": 10, "words": 20})
    assert cores.tolist() == [0, 1, 2]
    assert machine.capacity == machine.largest == capacity


def test_classes_of_cores() -> None:
    machine = build_machine(spec(CLASSES, classes={"dry": [3], "small": [0, 2]}), chips=2, dead=[(1, 2), (0, 0)])
    assert [(kind.name, kind.capacity, kind.cores.tolist()) for kind in machine.classes] == [
        ("ordinary", {"neurons": 10, "words": 20}, [0, 4]), ("small", {"neurons": 4, "words": 20}, [1, 3]),
        ("dry", {"neurons": 7, "words": 0}, [2, 5]),
    ]
    assert machine.capacity == {"neurons": 4, "words": 0}
    assert machine.largest == {"neurons": 10, "words": 20}
    kind = machine.board().kind
    assert kind is not None
    assert kind.tolist() == [0, 1, 2, 1, 0, 2]


def test_a_class_without_a_usable_core_is_none() -> None:
    machine = build_machine(spec(CLASSES, classes={"dry": [3], "small": [0, 1, 2]}), dead=[(0, 3)])
    assert [kind.name for kind in machine.classes] == ["small"]
    assert machine.board().kind is None
    assert machine.capacity == machine.largest == {"neurons": 4, "words": 20}


def test_hala_point_is_light() -> None:
    machine = build_machine(LOIHI2.spec, "hala-point")
    assert len(machine.cores) == 1152 * 128
    assert machine.cores[128 * 37 + 5] == Core(37, 1, 0, 5)
    board = machine.board()
    # 36 chips in a row of 8 x 4 routers: chip 37 is the second of the second row.
    assert board.slots[128 * 37 + 5].tolist() == [9, 4]
    assert board.hops_between(np.array([0]), np.array([128 * 37 + 5])).tolist() == [9 + 4 + 2]


def test_a_twentieth_of_hala_points_cores_dead_at_random() -> None:
    rng = np.random.default_rng(5)
    dead = [(int(k) // 128, int(k) % 128) for k in rng.choice(1152 * 128, 1152 * 128 // 20, replace=False)]
    machine = build_machine(LOIHI2.spec, "hala-point", dead=dead)
    assert machine.dead == tuple(sorted(dead))
    assert len(machine.cores) == machine.board().size == 1152 * 128 - len(dead)
    usable = {(core.chip, core.core) for core in machine.cores}
    assert not usable & set(dead)


def test_chips_lack_cores_by_their_place_on_the_board() -> None:
    # Boards of 2 x 1 chips, two of them: the right chip of each has no core 2, the left one no cores 0 and 3.
    lacking = [[1, 0, 2], [0, 0, 0], [0, 0, 3]]
    machine = build_machine(
        spec(chip_grid=[2, 1], max_chips=4, levels=[{"name": "board", "grid": [1, 2], "link_hops": 0}], lacking=lacking), chips=4,
    )
    assert [(core.chip, core.core) for core in machine.cores] == [
        (0, 1), (0, 2), (1, 0), (1, 1), (1, 3), (2, 1), (2, 2), (3, 0), (3, 1), (3, 3),
    ]
    row = build_machine(spec(lacking=[[1, 0, 2]]), chips=3)
    assert len(row.cores) == 11
    assert (row.lacking, row.dead) == (((1, 2),), ())
    assert cores_of(row.spec.variants["v"], 3) == 11


@pytest.mark.parametrize("place", [[12, 0, 0], [0, 1, 0], [0, 0, 4]])
def test_cores_that_no_chip_has_are_not_lacking(place: list[int]) -> None:
    with pytest.raises(ValueError, match="lacking"):
        spec(lacking=[place])


def test_every_pass_has_the_chips_cores_again() -> None:
    machine = build_machine(
        spec(CLASSES, classes={"dry": [3], "small": [0, 2]}, cores=4, mesh=[2, 2], passes=3), chips=2, dead=[(1, 2), (0, 0)],
    )
    assert [core.core for core in machine.cores if core.chip == 0] == [1, 2, 3, 5, 6, 7, 9, 10, 11]
    # A core stands where it stands in the first pass.
    assert [(core.x, core.y) for core in machine.cores if core.chip == 0] == [(1, 0), (0, 1), (1, 1)] * 3
    assert slots(machine)[:3] == slots(machine)[3:6] == [[1, 0], [0, 1], [1, 1]]
    assert [(kind.name, len(kind.cores)) for kind in machine.classes] == [("ordinary", 6), ("small", 6), ("dry", 6)]
    assert machine.dead == ((0, 0), (1, 2))
    assert cores_of(machine.spec.variants["v"], 2) == 8
