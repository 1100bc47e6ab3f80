from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import nmap_spinnaker.audit
from nmap.connectivity import Array, Dense, Sparse
from nmap.program import Program, Slice
from nmap.target.machine import Machine, build_machine
from nmap.verify.mapping import verify_mapping
from nmap_spinnaker import TARGET
from nmap_spinnaker.audit import audit, chip_sdram, places, routing, survey
from nmap_spinnaker.tables import decode
from tests.spinnaker1_networks import cells, network, place, port, projection, random_network

MACHINE = build_machine(TARGET.spec)


def runs(size: int, count: int) -> list[Slice]:
    """Return slices of so many neurons, the last one smaller."""
    return [((k, min(size, k + count)),) for k in range(0, size, count)]


def sparse(pre: Array, post: Array, sources: int, targets: int) -> Sparse:
    order = np.lexsort((pre, post))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(post, minlength=targets))])
    return Sparse(indptr, pre[order], np.ones(pre.size, np.int32), sources)


def random_program(seed: int, machine: Machine = MACHINE) -> Program:
    rng = np.random.default_rng([11, seed])
    quantized = random_network(rng)
    parts: dict[str, list[Slice]] = {}
    for p in quantized.populations[1:]:
        first, *rest = p.shape
        parts[p.name] = [(*part, *((0, n) for n in rest)) for part in runs(first, max(1, first // 4))]  # type: ignore[misc]
    return place(TARGET, quantized, machine, parts, rng.permutation(len(machine.cores)))


def one(synapses: Sparse, *, slices: int = 1, delay: int = 0, busy: float | None = None, chip: bool = False) -> Program:
    """Return a program of one layer; with `chip` all slices lie on one chip."""
    inputs, source, load = port("in", (synapses.in_size,), busy)
    layer = cells("a", (synapses.out_size,))
    quantized = network((inputs, source, layer), (load, projection("p", "in.source", "a", synapses, delay=delay)), ("a",))
    parts = {"in.source": runs(source.size, 2048), "a": runs(layer.size, -(-layer.size // slices))}
    cores = np.arange(sum(map(len, parts.values())))
    return place(TARGET, quantized, MACHINE, parts, cores if chip else np.roll(cores, slices))


def messages(program: Program, machine: Machine = MACHINE) -> list[tuple[str, str, str]]:
    return [(d.code, d.severity, d.message) for d in audit(program, machine)]


@pytest.mark.parametrize("variant", ["48chip", "3boards"])
@pytest.mark.parametrize("seed", range(3))
def test_tables_take_every_slices_keys_to_the_cores_that_listen(variant: str, seed: int) -> None:
    machine = build_machine(TARGET.spec, variant)
    program = random_program(seed, machine)
    found = survey(program)
    made = routing(program, machine, found)
    place_of = places(program, machine)
    assert machine.fabric.size is not None
    width, height = machine.fabric.size
    number: Counter[int] = Counter()
    sent = 0
    for group, routes in zip(program.groups, program.routes, strict=True):
        own, number[group.population] = number[group.population], number[group.population] + 1
        listening = {(*place_of[core], program.cores[core].core + 2) for core in routes.core.tolist()}
        if not listening:
            continue
        sent += 1
        key, there = found.keys.zones[found.zone[group.population]].key(own), []
        waiting: list[tuple[tuple[int, int], int]] = [(place_of[group.core], -1)]
        while waiting:
            (x, y), link = waiting.pop()
            route = decode(made.tables.get((x, y), []), key)
            route = 1 << link if route is None else route
            there += [(x, y, p) for p in range(18) if route >> (6 + p) & 1]
            for k, (dx, dy) in enumerate([(1, 0), (1, 1), (0, 1), (-1, 0), (-1, -1), (0, -1)]):
                if route >> k & 1:
                    waiting.append((((x + dx) % width, (y + dy) % height), k))
        assert sorted(there) == sorted(listening)
    assert sent == len(made.nets) > 3


def test_a_program_that_fits_has_nothing_but_its_time_scale_to_tell() -> None:
    for seed in range(4):
        program = random_program(seed)
        scale = program.settings["time_scale"]
        expected = [("NM207", "note", f"the chip runs {scale} times slower than real time")] if scale > 1 else []
        assert messages(program) == expected


def test_layers_that_miss_real_time_are_named_with_how_much_longer_they_need() -> None:
    """784 sources of which 118 spike: 118 (453 + 25 * 256) instructions on each of two cores, 5.4 time steps."""
    matrix = Dense(np.ones((512, 784), np.int32))
    inputs, source, load = port("in", (784,), 118.0)
    quantized = network(
        (inputs, source, cells("a", (512,))), (load, projection("p", "in.source", "a", matrix)), ("a",),
        {"timestep_us": 1000, "time_scale": 6},
    )
    _, note = audit(place(TARGET, quantized, MACHINE, {"in.source": runs(784, 784), "a": runs(512, 256)}, np.arange(3)), MACHINE)
    assert (note.code, note.severity) == ("NM207", "note")
    assert note.why == "In a busy step the fullest cores compute for so many time steps: `a` 5.4."


def test_the_vendor_counts_a_slice_alike() -> None:
    """Connections of a network that sPyNNaker 7.4.1 laid out on a virtual board, listed source by source: 56796 bytes for each slice."""
    rng = np.random.default_rng(1)
    count, sources, neurons = 3750, 100, 150
    pairs = rng.permutation(sources * neurons)[:count]
    pre, post = pairs // neurons, pairs % neurons
    rng.uniform(0.1, 1, count)
    delays = rng.integers(1, 21, count)
    order = np.lexsort((pre, post))
    third = count // 3
    inputs, source, load = port("in", (sources,))
    ring = sparse(np.arange(neurons), (np.arange(neurons) + 1) % neurons, neurons, neurons)
    quantized = network(
        (inputs, source, cells("pop", (neurons,), "spinnaker1.if_curr_exp")),
        (
            load, projection("e", "in.source", "pop", sparse(pre, post, sources, neurons), delays=delays[order] - 1),
            projection("i", "in.source", "pop", sparse(pre[:third], post[:third], sources, neurons), receptor=1),
            projection("r", "pop", "pop", ring),
        ), ("pop",),
    )
    program = place(TARGET, quantized, MACHINE, {"in.source": runs(sources, 2048), "pop": runs(neurons, 64)}, np.arange(4))
    layer = survey(program).layers[2]
    assert layer.sdram == 56796
    assert (layer.delay, layer.slots) == (20, 32)
    # Core 0 is the first of an Ethernet chip: 477 250 + 488 476 bytes are the gatherer's and the monitor's.
    assert chip_sdram(program, MACHINE, survey(program)) == {(0, 0): 477_250 + 488_476 + 3 * 56796 + 518 + 500}


def test_a_chip_without_memory_for_all_its_cores_is_named() -> None:
    """One source reaches all 256 neurons, and 100 000 have rows as long: 104 MB for a slice."""
    wide = sparse(np.zeros(512, np.int64), np.arange(512), 100_000, 512)
    (error,) = audit(one(wide, slices=2, chip=False), MACHINE)
    assert (error.code, error.severity, error.data["kind"]) == ("NM702", "error", "sdram")
    assert audit(one(sparse(np.zeros(256, np.int64), np.arange(256), 100_000, 256)), MACHINE) == ()


def test_too_many_keys_are_one_diagnostic() -> None:
    """600 slices of 2048 sources take 25 bits, and 130 populations 8 more."""
    size = 600 * 2048
    inputs, source, _ = port("in", (size,), 10.0)
    names = [f"a{k}" for k in range(130)]
    single = Sparse(np.array([0, 1]), np.zeros(1), np.ones(1, np.int32), 1)
    links = [projection(f"p{k}", names[k - 1], names[k], single) for k in range(1, 130)]
    first = projection("p0", "in.source", "a0", Sparse(np.array([0, 1]), np.zeros(1), np.ones(1, np.int32), size))
    last = projection("p", names[-1], "a0", single)
    quantized = network((inputs, source, *(cells(n, (1,)) for n in names)), (first, *links, last), (names[-1],))
    parts: dict[str, list[Slice]] = {"in.source": runs(size, 2048), **{n: runs(1, 1) for n in names}}
    program = place(TARGET, quantized, MACHINE, parts, np.arange(len(MACHINE.cores)))
    assert messages(program) == [("NM702", "error", "there are too many distinct keys: 33 bits of the 32 of a key")]


def test_rows_that_are_too_long_are_found() -> None:
    synapses = sparse(np.zeros(300, np.int64), np.zeros(300, np.int64), 2, 2)
    assert messages(one(synapses)) == [("NM702", "error", "rows of synapses are too long in `a`: 300 words of 256")]


def test_long_delays_stay_in_the_ring_buffers() -> None:
    """Of neuron 0 six synapses, the slowest of 65 steps: one row of them all, keys of one zone."""
    synapses = sparse(np.zeros(6, np.int64), np.array([0, 1, 2, 3, 4, 63]), 10, 64)
    inputs, source, load = port("in", (10,))
    steps = np.array([0, 31, 5, 32, 63, 64])
    quantized = network((inputs, source, cells("a", (64,))), (load, projection("p", "in.source", "a", synapses, delays=steps)), ("a",))
    program = place(TARGET, quantized, MACHINE, {"in.source": runs(10, 10), "a": runs(64, 64)}, np.arange(2))
    found = survey(program)
    (matrix,) = found.layers[2].matrices
    assert (matrix.source, matrix.rows, matrix.words) == (1, 10, 6)
    assert (found.layers[2].delay, found.layers[2].slots) == (65, 128)
    assert len(found.keys.zones) == 1
    assert messages(program) == []


@pytest.mark.parametrize(("delay", "cells_held"), [(99, 64), (4095, 2), (4096, 0)])
def test_a_changed_program_whose_ring_buffers_do_not_fit_is_refused(delay: int, cells_held: int) -> None:
    """The budget of places is that of ring buffers: one neuron more than they leave room for, and a mapping is refused."""
    for neurons in (cells_held, cells_held + 1):
        if not neurons:
            continue
        synapses = sparse(np.zeros(neurons, np.int64), np.arange(neurons), 10, neurons)
        program = one(synapses)
        blocks = tuple(replace(b, delay=delay) if b.group == 1 else b for b in program.blocks)
        found = verify_mapping(replace(program, blocks=blocks), TARGET, MACHINE)
        over = [d for d in found if d.code == "NM702" and "neurons" in d.message + (d.why or "")]
        assert bool(over) == (neurons > cells_held)


def test_spikes_that_a_buffer_does_not_hold_are_a_warning() -> None:
    synapses = sparse(np.arange(300), np.arange(300) % 256, 300, 256)
    warning, _ = audit(one(synapses, busy=4096.0), MACHINE)
    assert (warning.code, warning.severity, warning.data["kind"]) == ("NM702", "warning", "packets")
    assert [d.data["kind"] for d in audit(one(synapses, busy=4095.0), MACHINE)] == ["sources"]


def test_sources_of_which_the_vendor_warns_are_a_note() -> None:
    """It counts the spikes of a whole SpikeSourceArray in a step, above 100, however many cores it lies on."""
    synapses = sparse(np.arange(300), np.arange(300) % 256, 300, 256)
    (note,) = audit(one(synapses, busy=101.0), MACHINE)
    assert (note.code, note.severity) == ("NM604", "note")
    assert note.message == "sPyNNaker warns that `in.source` may send too many spikes at the same time: up to 101 in a step"
    assert note.data == {"kind": "sources", "spikes": {"in.source": 101.0}}
    for few in (100.0, None):
        assert audit(one(synapses, busy=few), MACHINE) == ()


def test_tables_are_compressed_only_where_they_are_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    program = random_program(5)
    found = survey(program)
    plain = routing(program, MACHINE, found)
    assert plain.compressed == ()
    monkeypatch.setattr(nmap_spinnaker.audit, "ENTRIES", 3)
    squeezed = routing(program, MACHINE, found)
    assert squeezed.compressed == tuple(router for router, table in plain.tables.items() if len(table) > 3)
    assert sum(map(len, squeezed.tables.values())) < sum(map(len, plain.tables.values()))
    monkeypatch.setattr(nmap_spinnaker.audit, "ENTRIES", 0)
    assert [d.data["kind"] for d in audit(program, MACHINE) if d.severity == "error"] == ["table"]


def test_a_core_that_the_machine_does_not_have_is_an_error() -> None:
    program = random_program(1)
    moved = replace(program, cores=(replace(program.cores[0], chip=0, core=0), *program.cores[1:]))
    with pytest.raises(ValueError, match="does not have core 0:0"):
        places(moved, MACHINE)


def test_networks_are_audited_as_targets_are_asked_to() -> None:
    program = random_program(2)
    assert TARGET.audit(program, MACHINE) == audit(program, MACHINE)
