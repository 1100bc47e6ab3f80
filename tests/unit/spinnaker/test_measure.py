from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from nmap.program import Program, Slice
from nmap.target.machine import build_machine
from nmap_spinnaker import TARGET
from nmap_spinnaker.measure import afferents_of, measure, row_words
from tests.spinnaker1_networks import place, random_network


def made(seed: int, longest: int = 0) -> tuple[Program, list[dict[str, int]]]:
    """Return a random program and what its slices are said to take, core by core."""
    rng = np.random.default_rng([3, seed])
    quantized = random_network(rng)
    if longest:
        first = tuple(replace(p, delays=longest - 1 - p.delays) if p.delays is not None else p for p in quantized.projections)
        quantized = replace(quantized, projections=first)
    machine = build_machine(TARGET.spec)
    parts: dict[str, list[Slice]] = {}
    for population in quantized.populations[1:]:
        first, *rest = population.shape
        if len(population.shape) == 1:
            which = rng.integers(0, 3, first)
            parts[population.name] = [np.flatnonzero(which == k) for k in range(3) if (which == k).any()]
        else:
            edges = np.unique([0, first, int(rng.integers(1, first + 1))]).tolist()
            parts[population.name] = [((a, b), *((0, n) for n in rest)) for a, b in pairwise(edges)]
    cores = rng.permutation(len(machine.cores))
    program = place(TARGET, quantized, machine, parts, cores)
    said = [TARGET.demand(quantized, name, part) for name, listed in parts.items() for part in listed]
    return program, said


@pytest.mark.parametrize(("seed", "longest"), [*((seed, 0) for seed in range(6)), (6, 33), (7, 500), (8, 4096), (9, 5000)])
def test_a_program_holds_what_its_slices_were_said_to_take(seed: int, longest: int) -> None:
    program, said = made(seed, longest)
    assert list(measure(program)) == said


def test_rows_are_those_of_the_synapses() -> None:
    program, _ = made(1)
    for blocks in afferents_of(program):
        for afferent in blocks:
            assert row_words(afferent.block).shape == (afferent.block.axons,)
            assert afferent.neurons.size == afferent.block.axons


def test_axons_without_a_neuron_are_refused() -> None:
    program, _ = made(2)
    routes = [replace(r, indptr=np.zeros_like(r.indptr), core=r.core[:0], axon=r.axon[:0]) for r in program.routes]
    with pytest.raises(ValueError, match="not driven by one population"):
        measure(replace(program, routes=tuple(routes), inputs={}))
