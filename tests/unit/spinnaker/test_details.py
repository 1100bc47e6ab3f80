from __future__ import annotations

import numpy as np
import pytest

from nmap.connectivity import Dense
from nmap.program import Slice
from nmap.target.machine import build_machine
from nmap_spinnaker import TARGET
from nmap_spinnaker.measure import measure
from tests.spinnaker1_networks import cells, network, place, port, projection

INPUTS, SOURCES, LOAD = port("in", (784,), 118.0)
DENSE = projection("p", "in.source", "a", Dense(np.ones((512, 784), np.int32)))
NETWORK = network((INPUTS, SOURCES, cells("a", (512,))), (LOAD, DENSE), ("a",), {"timestep_us": 1000, "time_scale": 6})
MACHINE = build_machine(TARGET.spec)
PARTS: dict[str, list[Slice]] = {"in.source": [((0, 784),)], "a": [((0, 256),), ((256, 512),)]}
PROGRAM = place(TARGET, NETWORK, MACHINE, PARTS, np.array([0, 15, 16]))
DETAILS = TARGET.details(NETWORK, PROGRAM)


def test_everything_told_has_a_title() -> None:
    told = set(DETAILS.totals) | {name for row in (*DETAILS.layers.values(), *DETAILS.cores) for name in row}
    assert told == set(DETAILS.titles)


def test_a_layer_tells_what_its_slices_take() -> None:
    row = DETAILS.layers["a"]
    assert row["cores"] == 2
    assert row["neurons_per_core"] == 256
    assert row["rows"] == 784
    assert row["longest_row"] == 256
    # 784 rows of 259 words behind 8 bytes of header, at the next multiple of 16.
    assert row["sdram"] == 118_848 + 16 + 784 * 4 * 259 + (8 + 20 + 4) + (8 + 32 + 100) + (92 + 4)
    assert row["delay_slots"] == 2
    assert row["most_neurons"] == 256
    assert row["keys"] == 0
    assert row["buffer"] == 256
    assert row["packets"] == 118.0
    assert row["busy_known"] == "30 Hz a neuron assumed"
    assert DETAILS.layers["in.source"]["keys"] == 1 << 14
    assert DETAILS.layers["in.source"]["busy_known"] == 118.0


def test_neurons_are_counted_and_not_their_places() -> None:
    """With delays of 100 steps a core holds 64 neurons."""
    late = network(
        NETWORK.populations, (LOAD, projection("p", "in.source", "a", Dense(np.ones((512, 784), np.int32)), delay=99)), ("a",),
        {"timestep_us": 1000, "time_scale": 6},
    )
    parts: dict[str, list[Slice]] = {"in.source": [((0, 784),)], "a": [((k, k + 64),) for k in range(0, 512, 64)]}
    told = TARGET.details(late, place(TARGET, late, MACHINE, parts, np.arange(9)))
    assert told.totals["neurons"] == 512
    assert told.layers["a"]["most_neurons"] == told.layers["a"]["neurons_per_core"] == 64
    assert told.layers["a"]["delay_slots"] == 128
    assert told.layers["in.source"]["most_neurons"] is None


def test_load_says_which_layer_misses_real_time_and_what_would_do() -> None:
    row = DETAILS.layers["a"]
    # 838 192 instructions at 1.3 cycles in six milliseconds.
    assert row["load"] == pytest.approx(100 * (582 + 113.2 * 256 + 118 * 6853) * 1.3 / 1_200_000, rel=1e-3)
    assert row["real_time_scale"] == 1
    assert row["real_time_neurons"] == 32
    assert DETAILS.totals["time_scale"] == 6
    assert DETAILS.totals["real_time_scale"] == 1
    assert DETAILS.totals["load"] == row["load"]


def test_cores_are_named_as_the_chip_names_them() -> None:
    assert [(row["x"], row["y"], row["processor"]) for row in DETAILS.cores] == [(0, 0, 3), (1, 0, 2), (1, 0, 3)]
    assert [row["population"] for row in DETAILS.cores] == ["in.source", "a", "a"]
    assert [row["sdram"] for row in DETAILS.cores] == [core["sdram"] for core in measure(PROGRAM)]


def test_tables_of_two_chips() -> None:
    assert DETAILS.totals["table_entries"] == 1
    assert DETAILS.totals["tables_compressed"] == 0
    assert DETAILS.totals["key_bits"] == 14
    assert DETAILS.totals["cores"] == 3
    assert DETAILS.totals["sources"] == 784
    assert DETAILS.totals["neurons"] == 512
