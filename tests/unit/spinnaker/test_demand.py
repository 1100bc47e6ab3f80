from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product
from math import ceil, prod

import numpy as np
import pytest

from nmap.connectivity import Array, Conv2d, Dense, Sparse
from nmap.program import Slice, slice_indices
from nmap.quantized import QuantizedNetwork, QuantizedProjection
from nmap_spinnaker import TARGET
from nmap_spinnaker.demand import RESOURCES, demand, demand_at_most, demand_floor, neuron_demand
from nmap_spinnaker.layout import cells_sdram
from tests.spinnaker1_networks import cells, network, port, projection, random_network

WORDS = {"spinnaker1.if_curr_exp": 15, "spinnaker1.if_curr_delta": 13, "spinnaker1.if_trunc": 11}


def billionths(instructions: Fraction, scale: int) -> int:
    """1.3 cycles an instruction at 200 MHz, in a step of 1 ms times the scale."""
    return ceil(instructions * Fraction(13, 10) / 200_000 / scale * 10**9)


def listed(p: QuantizedProjection) -> list[tuple[int, int]]:
    """Return (source, target) of every synapse that is not 0."""
    whole = p.connectivity
    if isinstance(whole, Conv2d):
        whole = whole.unrolled()
    if isinstance(whole, Dense):
        return [(int(source), int(target)) for target, source in np.argwhere(whole.weights)]
    return [(int(s), int(t)) for s, t, w in zip(whole.indices, whole.targets, whole.weights, strict=True) if w]


def counted(quantized: QuantizedNetwork, name: str, part: Slice) -> dict[str, int]:
    """Return the demand of a slice, synapse by synapse."""
    population = quantized[name]
    here = set(slice_indices(part, population.shape).tolist())
    n, words, scale = len(here), WORDS[str(population.kernel)], quantized.settings["time_scale"]
    even = n + 1
    sdram = 692 + 28 + 4 * n + 8 + 8 * words * n + 52 + 8 * even + 196 + 8 * (words + 1) + 24 * (words + 1) * n + 8 * even
    tick = billionths(Fraction(582), scale) + n * billionths(Fraction("113.2"), scale)
    delay, sources = 1, {}
    for p in quantized.afferents(name):
        source = quantized[p.source]
        sources[p.source] = Fraction(source.busy) if source.busy is not None else Fraction(source.size * 30, 1000)
        each = sources[p.source] / source.size
        delay = max(delay, 1 + p.delay + (0 if p.delays is None else int(p.delays.max())))
        rows: dict[int, int] = {}
        for s, t in listed(p):
            if t in here:
                rows[s] = rows.get(s, 0) + 1
        heard = len(rows)
        if isinstance(p.connectivity, Conv2d):
            sdram += 4 * source.size * (3 + max(rows.values())) if rows else 0
        elif isinstance(p.connectivity, Dense):
            heard = source.size
            sdram += 4 * source.size * (3 + n)
        else:
            sdram += sum(4 * (3 + words_of) for words_of in rows.values())
        tick += heard * billionths(453 * each, scale) + sum(rows.values()) * billionths(25 * each, scale)
    slots = 2 ** max(1, ceil(np.log2(delay)))
    # Neuron bits, one of the receptor and the slots' are 14 at most.
    most = max(count for count in range(2, 257) if max(1, ceil(np.log2(count))) + 1 + np.log2(slots) <= 14)
    ring = 4 * 2 ** ceil(np.log2(min(most, population.size))) * slots
    keys = 256
    while keys <= sum(sources.values()):
        keys *= 2
    dtcm = 4096 + 2 * 4 * 259 + ring + 4 * keys + (4 * words + 12) * n
    return {"populations": 1, "neurons": n * 256 // most, "sources": 0, "dtcm": dtcm, "sdram": sdram, "tick": tick}


def slow(seed: int, longest: int) -> QuantizedNetwork:
    """Return a random network some of whose synapses take up to so many steps."""
    quantized = random_network(np.random.default_rng(seed))
    rng = np.random.default_rng([seed, longest])
    found = []
    for p in quantized.projections:
        if p.name in ("q", "r.loop"):
            steps = rng.integers(0, longest, p.connectivity.weights.shape)
            steps.flat[int(rng.integers(0, steps.size))] = longest - 1
            p = replace(p, delays=steps)
        elif p.name == "p":
            p = replace(p, delay=longest - 1)
        found.append(p)
    return replace(quantized, projections=tuple(found))


def boxes(shape: tuple[int, ...]) -> list[tuple[tuple[int, int], ...]]:
    return list(product(*([(a, b) for a in range(size) for b in range(a + 1, size + 1)] for size in shape)))


@pytest.mark.parametrize("longest", [0, 33, 700, 4096])
@pytest.mark.parametrize("seed", range(4))
def test_a_slice_takes_what_its_synapses_take_one_by_one(seed: int, longest: int) -> None:
    rng = np.random.default_rng(seed)
    quantized = slow(seed, longest) if longest else random_network(np.random.default_rng(seed))
    for population in quantized.populations:
        if population.kernel in (None, "spinnaker1.source"):
            continue
        every = boxes(population.shape)
        parts: list[Slice] = [every[int(k)] for k in rng.integers(0, len(every), 8)]
        if len(population.shape) == 1:
            parts += [np.sort(rng.permutation(population.size)[: int(rng.integers(1, population.size + 1))]) for _ in range(5)]
        for part in parts:
            assert demand(quantized, population.name, part) == counted(quantized, population.name, part), (population.name, part)


@pytest.mark.parametrize(("seed", "longest"), [(1, 0), (3, 900)])
def test_bounds_hold_at_every_position_and_grow_with_the_extent(seed: int, longest: int) -> None:
    quantized = slow(seed, longest) if longest else random_network(np.random.default_rng([7, seed]))
    for population in quantized.populations[2:]:
        most: dict[tuple[int, ...], dict[str, int]] = {}
        for box in boxes(population.shape):
            extent = tuple(b - a for a, b in box)
            most.setdefault(extent, demand_at_most(quantized, population.name, extent))
            need = demand(quantized, population.name, box)
            assert all(need[name] <= most[extent][name] for name in RESOURCES), (population.name, box)
        for extent, amount in most.items():
            for axis in range(len(extent)):
                larger = tuple(min(size, n + (k == axis)) for k, (n, size) in enumerate(zip(extent, population.shape, strict=True)))
                assert all(amount[name] <= most[larger][name] for name in RESOURCES)


def test_a_convolution_without_zeros_is_bounded_exactly_inside() -> None:
    conv = Conv2d(np.ones((8, 3, 3, 3), np.int32), (3, 12, 12), padding=(1, 1))
    inputs, source, load = port("in", (3, 12, 12))
    quantized = network((inputs, source, cells("a", conv.out_shape)), (load, projection("p", "in.source", "a", conv)), ("a",))
    assert demand_at_most(quantized, "a", (4, 5, 5)) == demand(quantized, "a", ((2, 6), (3, 8), (4, 9)))


@pytest.mark.parametrize("longest", [0, 1000])
@pytest.mark.parametrize("seed", range(4))
def test_no_cut_takes_less_than_the_floor(seed: int, longest: int) -> None:
    rng = np.random.default_rng([8, seed])
    quantized = slow(seed, longest) if longest else random_network(rng)
    for population in quantized.populations[2:]:
        floor = demand_floor(quantized, population.name, TARGET.spec)
        compared = 0
        while compared < 5:
            cuts = [np.unique([0, size, *rng.integers(0, size + 1, 40 if longest else 2)]) for size in population.shape]
            cut = product(*(list(zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)) for edges in cuts))
            pieces = [demand(quantized, population.name, box) for box in cut]
            if any(piece["neurons"] > 256 for piece in pieces):
                continue
            compared += 1
            for name in RESOURCES:
                assert sum(piece[name] for piece in pieces) >= floor[name], (population.name, name)


def test_the_floor_counts_the_pieces_that_long_delays_make() -> None:
    """23 and 31 neurons whose ring buffers leave room for 2 on a core."""
    quantized = slow(2, 4096)
    floors = {name: demand_floor(quantized, name, TARGET.spec) for name in ("dense", "loop")}
    assert {name: (floor["populations"], floor["neurons"]) for name, floor in floors.items()} == {
        "dense": (12.0, 23.0 * 128), "loop": (16.0, 31.0 * 128),
    }


def test_a_delay_beyond_all_ring_buffers_fits_no_core() -> None:
    quantized = slow(2, 4097)
    assert demand(quantized, "loop", ((0, 1),))["neurons"] > TARGET.spec.resources["neurons"].max


@pytest.mark.parametrize("longest", [0, 100])
@pytest.mark.parametrize("seed", range(3))
def test_prices_of_neurons_add_up_to_the_demand(seed: int, longest: int) -> None:
    rng = np.random.default_rng([9, seed])
    quantized = slow(seed, longest) if longest else random_network(rng)
    for name in ("dense", "loop", "in.source"):
        population, price = quantized[name], neuron_demand(quantized, name)
        assert price.resources == RESOURCES
        assert price.axon_least is None
        for _ in range(10):
            chosen = np.sort(rng.permutation(population.size)[: int(rng.integers(1, population.size + 1))])
            total = price.fixed + price.neuron[:, chosen].sum(1)
            for p, amount in zip(quantized.afferents(name), price.axon, strict=True):
                total = total + amount[:, 0] * _heard(p.connectivity, chosen)
            need = demand(quantized, name, chosen)
            assert total.tolist() == [need[resource] * price.scale for resource in RESOURCES]


def _heard(whole: Dense | Sparse | Conv2d, chosen: Array) -> int:
    if isinstance(whole, Dense):
        return whole.in_size
    assert isinstance(whole, Sparse)
    return len({int(s) for s, t in zip(whole.indices, whole.targets, strict=True) if t in chosen})


def test_a_convolution_is_not_cut_neuron_by_neuron() -> None:
    quantized = random_network(np.random.default_rng(0))
    with pytest.raises(ValueError, match="cut into boxes"):
        neuron_demand(quantized, "conv")
    with pytest.raises(ValueError, match="not a box"):
        demand(quantized, "conv", np.array([0, 1]))


def test_spike_sources_take_sources_and_no_neurons() -> None:
    quantized = random_network(np.random.default_rng(1))
    size = quantized["in.source"].size
    taken = demand(quantized, "in.source", tuple((0, n) for n in quantized["in.source"].shape))
    assert taken == {"populations": 1, "neurons": 0, "sources": size, "dtcm": 0, "sdram": 518 + 5 * size, "tick": 0}
    assert demand_at_most(quantized, "in.source", quantized["in.source"].shape) == taken
    assert demand_floor(quantized, "in.source", TARGET.spec)["sources"] == size


def test_a_large_convolution_is_priced_without_its_synapses() -> None:
    """250 million synapses: listing them would take gigabytes."""
    conv = Conv2d(np.ones((512, 256, 3, 3), np.int32), (256, 16, 16), padding=(1, 1))
    inputs, source, load = port("in", (256, 16, 16), 500.0)
    quantized = network((inputs, source, cells("a", conv.out_shape)), (load, projection("p", "in.source", "a", conv)), ("a",))
    taken = demand(quantized, "a", ((0, 8), (0, 4), (0, 8)))
    synapses = 8 * 256 * (4 * 3 - 1) * (8 * 3 - 1)
    heard = 256 * 5 * 9
    assert taken["sdram"] == cells_sdram("spinnaker1.if_curr_delta", 256) + 16 + 4 * conv.in_size * (3 + 72)
    each = Fraction(500, conv.in_size)
    own = billionths(Fraction(582), 1) + 256 * billionths(Fraction("113.2"), 1)
    assert taken["tick"] == own + heard * billionths(453 * each, 1) + synapses * billionths(25 * each, 1)
    assert demand_floor(quantized, "a", TARGET.spec)["neurons"] == prod(conv.out_shape)
