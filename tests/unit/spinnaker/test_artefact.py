"""PyNN populations of a program: equal runs of neurons, silent ones, processors, machines, the .npz file."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nmap.connectivity import Dense, Sparse
from nmap.program import Program
from nmap.quantized import QuantizedNetwork
from nmap_spinnaker.arithmetic import ring_shift
from nmap_spinnaker.artefact import board_size, bound, compact, cores, expand, loads, npz, parts, shift_of
from tests.spinnaker_programs import cells, convolved, lay_out, layered, port, synapses, weights


def _program(sizes: list[int]) -> tuple[QuantizedNetwork, Program]:
    """Return a program of one population in pieces of these sizes, on cores of their own."""
    rng, n = np.random.default_rng(7), sum(sizes)
    ports, load = port("in", (3,))
    hidden = cells("hidden", (n,), "if_curr_exp", rng)
    network = QuantizedNetwork(
        (*ports, hidden), (load, synapses("in.source", "hidden", Dense(weights(rng, (n, 3))))), ("in",), ("hidden",),
    )
    ends = np.cumsum([0, *sizes]).tolist()
    order = rng.permutation(n)
    pieces = [(np.sort(order[a:b]), (1 + k // 16, k % 16)) for k, (a, b) in enumerate(itertools.pairwise(ends))]
    return network, lay_out(network, {"in.source": [(((0, 3),), (0, 5))], "hidden": pieces})


def _runs(sizes: list[int], chosen: list[list[int]]) -> int:
    """Return the silent neurons of runs of slices, of which all but the last are filled up to the first."""
    return sum(sizes[run[0]] - sizes[k] for run in chosen for k in run[:-1])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=9))
def test_slices_are_equal_runs_with_the_fewest_silent_neurons(sizes: list[int]) -> None:
    _, program = _program(sizes)
    found = [part for part in parts(program) if program.populations[part.population].name == "hidden"]
    seen = np.concatenate([part.neurons[part.neurons >= 0] for part in found])
    assert sorted(seen.tolist()) == list(range(sum(sizes)))
    assert sorted(number for part in found for number in part.groups) == [
        k for k, group in enumerate(program.groups) if program.populations[group.population].name == "hidden"
    ]
    for part in found:
        pieces = part.slices()
        assert len(pieces) == len(part.groups)
        assert all(piece.size == part.per_core for piece in pieces[:-1])
        assert 0 < pieces[-1].size <= part.per_core
        for piece, number in zip(pieces, part.groups, strict=True):
            group = program.groups[number]
            assert np.array_equal(piece[piece >= 0], group.slice)
            assert (piece[group.size :] < 0).all()
    # Every way to cut the sorted sizes, by brute force.
    order = sorted(sizes, reverse=True)
    costs = []
    for mask in range(1 << (len(order) - 1)):
        cuts = [0, *(k + 1 for k in range(len(order) - 1) if mask >> k & 1), len(order)]
        runs = [list(range(a, b)) for a, b in itertools.pairwise(cuts)]
        costs.append(_runs(order, runs) + 16 * len(runs))
    assert sum(part.padding for part in found) + 16 * len(found) == min(costs)


def test_a_population_of_one_kind_of_slice_keeps_its_name_and_unlike_ones_are_numbered() -> None:
    _, program = _program([30, 30, 30, 5])
    assert [part.label for part in parts(program)] == ["in.source", "hidden"]
    _, program = _program([40, 40, 3, 3, 3])
    assert [(part.label, part.per_core, part.padding) for part in parts(program)] == [
        ("in.source", 3, 0), ("hidden#0", 40, 0), ("hidden#1", 3, 0),
    ]
    _, program = _program([40, 38, 37, 36])
    assert [(part.label, part.padding) for part in parts(program)] == [("in.source", 0), ("hidden", 5)]


def test_processors_and_chips_are_those_of_the_board() -> None:
    _, program = layered()
    # Chips are numbered row by row; row 0 of a SpiNN-5 board has columns 0 to 4, row 1 columns 0 to 5, row 2 columns 0 to 6.
    at = {(core.chip, core.core): place for core, place in zip(program.cores, cores(program), strict=True)}
    assert at[0, 1] == (0, 0, 3)
    assert at[0, 4] == (0, 0, 6)
    assert at[7, 7] == (2, 1, 9)
    assert at[12, 0] == (1, 2, 2)
    size = board_size(program)
    assert (size.version, size.width, size.height, size.boards) == (5, 8, 8, 1)


@pytest.mark.parametrize("shift", range(14))
def test_the_bound_gives_the_shift_in_the_hosts_own_formula(shift: int) -> None:
    # get_ring_buffer_shifts, written out: the least power above the bound.
    value = bound(shift)
    assert 2.0**shift > value
    assert shift == 0 or 2.0 ** (shift - 1) <= value
    assert ring_shift(value) == shift


def test_one_shift_a_population() -> None:
    network, _ = layered()
    assert [shift_of(network, projection) for projection in network.projections] == [0, 2, 1, 1, 0, 3]
    hidden = network["hidden"]
    mixed = replace(hidden, params={**hidden.params, "shift_1": np.arange(hidden.size)})
    network = replace(network, populations=tuple(mixed if p is hidden else p for p in network.populations))
    with pytest.raises(ValueError, match="neurons of `hidden` differ in shift_1"):
        shift_of(network, network.projections[2])


def test_sources_send_on_what_one_port_gets() -> None:
    network, _ = convolved()
    assert loads(network) == {"image.source": "image"}
    load = network.projections[0]
    turned = Sparse.from_dense(np.eye(load.connectivity.in_size, dtype=np.int32)[::-1])
    for wrong in (replace(load, connectivity=turned), replace(load, delay=1), replace(load, connectivity=load.connectivity.with_weights(
        2 * load.connectivity.weights
    ))):
        with pytest.raises(ValueError, match=r"sources of `image\.source` do not each send on"):
            loads(replace(network, projections=(wrong, *network.projections[1:])))
    with pytest.raises(ValueError, match=r"sources of `image\.source`"):
        loads(replace(network, projections=network.projections[1:]))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-1, 12), max_size=20))
def test_compact_lists_say_the_same(neurons: list[int]) -> None:
    listed = compact(np.array(neurons, np.int64))
    assert expand(listed).tolist() == neurons
    assert len(listed) <= len(neurons)


def test_runs_of_neurons_are_short() -> None:
    assert compact(np.arange(5, 300)) == [[5, 299]]
    assert compact(np.array([4, 5, 9, -1, -1])) == [4, 5, 9, -1, -1]


def test_the_archive_has_no_time_and_no_pickles() -> None:
    arrays = {"b": np.arange(6, dtype=np.int32).reshape(2, 3), "a/c": np.zeros(0), "s": np.int64(3)}
    first = npz(arrays)
    assert first == npz(dict(arrays))
    with np.load(io.BytesIO(first), allow_pickle=False) as file:
        assert file.files == ["b", "a/c", "s"]
        assert file["b"].tolist() == [[0, 1, 2], [3, 4, 5]]
        assert file["s"].ravel().tolist() == [3]


