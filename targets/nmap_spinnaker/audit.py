"""What cores of a chip share, and what is the same for all slices of a population: memory, keys, routing tables.

sPyNNaker gives every slice of a population what its largest one needs, and pads every row of a matrix to the longest; so does this
count. A population is taken to be one PyNN population with slices like ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import prod

import numpy as np

from nmap.diagnostics import Diagnostic, Findings, named
from nmap.program import Program
from nmap.target.machine import Cores, Machine
from nmap_spinnaker.keys import KEY_BITS, KeySpace, allocate
from nmap_spinnaker.layout import (
    CHIP_SDRAM,
    FULL_TICK,
    GATHERER_SDRAM,
    LONGEST_ROW,
    MANY_SPIKES,
    MONITOR_SDRAM,
    SOURCE,
    cells_sdram,
    matrix_sdram,
    source_sdram,
    spike_buffer,
    steps_of,
    tables_sdram,
)
from nmap_spinnaker.measure import Afferent, afferents_of, longest_delay, measure, received_by, row_words
from nmap_spinnaker.tables import ENTRIES, Entry, Net, compress, merge, processor, trees

__all__ = ["Layer", "Matrix", "Routing", "Survey", "audit", "chip_sdram", "places", "routing", "survey"]


@dataclass(frozen=True, slots=True)
class Matrix:
    """The rows of one projection on a core.

    Args:
        source: index of the source population.
        rows: its neurons.
        words: of the longest row.
    """

    source: int
    rows: int
    words: int


@dataclass(frozen=True, slots=True)
class Layer:
    """What the slices of a population take, each alike.

    Args:
        population: index.
        kernel: name.
        slices: neurons of each slice, in the groups' order.
        matrices: of its projections.
        delay: largest delay in steps.
        slots: steps that the ring buffers hold.
        received: spikes that reach a core in a busy step.
        sdram: bytes of one slice, recordings left out.
    """

    population: int
    kernel: str
    slices: tuple[int, ...]
    matrices: tuple[Matrix, ...] = ()
    delay: int = 1
    slots: int = 0
    received: Fraction = Fraction(0)
    sdram: int = 0

    @property
    def longest(self) -> int:
        """Words of the longest row."""
        return max((m.words for m in self.matrices), default=0)


@dataclass(frozen=True, slots=True)
class Survey:
    """A program's populations and keys.

    Args:
        layers: by population, input ports left out.
        keys: of all populations that send.
        zone: number in `keys` by population that sends.
    """

    layers: dict[int, Layer]
    keys: KeySpace
    zone: dict[int, int]


def survey(program: Program) -> Survey:
    """Return what every population takes and sends."""
    afferents = afferents_of(program)
    members: dict[int, list[int]] = {}
    for number, group in enumerate(program.groups):
        members.setdefault(group.population, []).append(number)
    slices = {population: tuple(program.groups[k].size for k in groups) for population, groups in sorted(members.items())}
    layers: dict[int, Layer] = {}
    for population, sizes in slices.items():
        kernel = program.groups[members[population][0]].kernel
        if kernel == SOURCE:
            layers[population] = Layer(population, kernel, sizes, sdram=source_sdram(max(sizes)))
            continue
        layers[population] = _layer(program, population, kernel, slices, [afferents[k] for k in members[population]])
    sending = [p for p in slices if any(program.routes[k].core.size for k in members[p])]
    return Survey(layers, allocate([slices[p] for p in sending]), {p: k for k, p in enumerate(sending)})


def _layer(
    program: Program, population: int, kernel: str, slices: dict[int, tuple[int, ...]], groups: list[list[Afferent]],
) -> Layer:
    blocks = [afferent for group in groups for afferent in group]
    delay, largest = longest_delay(blocks), max(slices[population])
    rows: dict[tuple[int, int, int, str, int], list[Afferent]] = {}
    for group in groups:
        seen: dict[tuple[int, int, int, str], int] = {}
        for afferent in group:
            block = afferent.block
            alike = (afferent.source, block.receptor, block.delay, type(block.synapses).__name__)
            number = seen[alike] = seen.get(alike, -1) + 1
            rows.setdefault((*alike, number), []).append(afferent)
    matrices = tuple(
        Matrix(source, prod(program.populations[source].shape), max(int(row_words(a.block).max(initial=0)) for a in held))
        for (source, *_), held in sorted(rows.items())
    )
    address = 8
    for matrix in matrices:
        # Inputs are not cut: their one-to-one ways stand for what is in memory.
        per_core = max(slices.get(matrix.source, (matrix.rows,)))
        address = matrix_sdram(address, matrix.rows, per_core, matrix.words)
    sizes = [prod(program.populations[source].shape) for source in sorted({matrix.source for matrix in matrices})]
    return Layer(
        population, kernel, slices[population], matrices, delay, steps_of(delay), received_by(program, blocks),
        cells_sdram(kernel, largest) + address + tables_sdram(sizes, len(matrices)),
    )


@dataclass(frozen=True, slots=True)
class Routing:
    """The routers' tables.

    Args:
        before: entries of each router's table before those of one population are merged, by (x, y).
        tables: what is loaded, by (x, y).
        compressed: routers whose table was compressed.
        nets: packets of every slice that sends.
    """

    before: dict[tuple[int, int], int]
    tables: dict[tuple[int, int], list[Entry]]
    compressed: tuple[tuple[int, int], ...]
    nets: tuple[Net, ...]

    @property
    def largest(self) -> int:
        """Entries of the largest table."""
        return max((len(table) for table in self.tables.values()), default=0)


def places(program: Program, machine: Machine) -> list[tuple[int, int]]:
    """Return (x, y) of the router of every core of a program, over all chips.

    Raises:
        ValueError: the machine does not have a core of the program.
    """
    used = {(core.chip, core.core) for core in program.cores}
    slots = machine.board().slots
    if isinstance(machine.cores, Cores):
        # Ascending by chip and core: only those of used chips are looked at.
        low, high = np.searchsorted(machine.cores.chip, [min(used)[0], max(used)[0] + 1]) if used else (0, 0)
        listed = zip(machine.cores.chip[low:high].tolist(), machine.cores.number[low:high].tolist(), slots[low:high].tolist(), strict=True)
        at = {(chip, number): (x, y) for chip, number, (x, y) in listed if (chip, number) in used}
    else:
        at = {(core.chip, core.core): (x, y) for core, (x, y) in zip(machine.cores, slots.tolist(), strict=True)}
    missing = sorted(used - at.keys())
    if missing:
        raise ValueError(f"the machine does not have core {missing[0][0]}:{missing[0][1]}")
    return [at[core.chip, core.core] for core in program.cores]


def routing(program: Program, machine: Machine, found: Survey) -> Routing:
    """Return the routing tables of a placed program; what input ports send is in memory.

    Raises:
        ValueError: the machine does not have a core of the program, or dead links leave no way.
    """
    place = places(program, machine)
    at = [(*router, processor(core.core)) for router, core in zip(place, program.cores, strict=True)]
    number: dict[int, int] = {}
    nets = []
    for group, routes in zip(program.groups, program.routes, strict=True):
        own = number[group.population] = number.get(group.population, -1) + 1
        if group.population not in found.zone:
            continue
        zone = found.keys.zones[found.zone[group.population]]
        targets = tuple(sorted(at[core] for core in np.unique(routes.core).tolist()))
        if targets:
            nets.append(Net(zone.key(own), zone.slice_bits, place[group.core], targets))
    arrivals = trees(machine.fabric, nets)
    tables, compressed = {}, []
    for router, blocks in sorted(arrivals.items()):
        tables[router] = merge(blocks, found.keys.zone_bits)
        if len(tables[router]) > ENTRIES:
            tables[router] = compress(blocks)
            compressed.append(router)
    return Routing({router: len(blocks) for router, blocks in arrivals.items()}, tables, tuple(compressed), tuple(nets))


def chip_sdram(program: Program, machine: Machine, found: Survey) -> dict[tuple[int, int], int]:
    """Return the bytes of SDRAM that are taken on every chip with a core of the program, the monitors' included."""
    data = machine.spec.variants[machine.variant]
    width, height = data.chip_grid or (data.max_chips, 1)
    # Core 0 is missing where the gatherer runs.
    ethernet = {(x, y) for x, y, core in data.lacking if core == 0}
    taken: dict[tuple[int, int], int] = {}
    place = places(program, machine)
    for group in program.groups:
        router = place[group.core]
        start = MONITOR_SDRAM + (GATHERER_SDRAM if (router[0] % width, router[1] % height) in ethernet else 0)
        taken[router] = taken.get(router, start) + found.layers[group.population].sdram
    return dict(sorted(taken.items()))


def audit(program: Program, machine: Machine) -> tuple[Diagnostic, ...]:
    """Return what is wrong with a placed program beyond its cores' budgets, and what is close to it; see the module."""
    findings = Findings()
    found = survey(program)
    names = [p.name for p in program.populations]
    if not found.keys.fits:
        findings.error(
            "NM702", f"there are too many distinct keys: {found.keys.needed} bits of the {KEY_BITS} of a key",
            why=f"{len(found.keys.zones)} populations need a zone each, all as wide as the widest: {found.keys.zone_bits} bits.",
            help=("use fewer or smaller populations",), data={"kind": "keys", "bits": found.keys.needed},
        )
    _check_layers(found, names, findings)
    over = {router: taken for router, taken in chip_sdram(program, machine, found).items() if taken > CHIP_SDRAM}
    if over:
        worst = max(over, key=lambda router: (over[router], router))
        findings.error(
            "NM702", f"the SDRAM of {len(over)} chips is too small: {over[worst]} bytes on chip {worst}, it has {CHIP_SDRAM}",
            why="Every matrix has a row for each neuron of the source population, padded to the longest.",
            help=("cut large sources into several populations", "use more chips: a larger variant, or `--slack`"),
            data={"kind": "sdram", "chips": [list(router) for router in over]},
        )
    if found.keys.fits:
        full = {router: len(table) for router, table in routing(program, machine, found).tables.items() if len(table) > ENTRIES}
        if full:
            worst = max(full, key=lambda router: (full[router], router))
            findings.error(
                "NM702", f"the routing tables of {len(full)} chips are too small: {full[worst]} entries on chip {worst} of {ENTRIES}",
                why="They are compressed already.", help=("use larger slices, or fewer populations",),
                data={"kind": "table", "chips": [list(router) for router in full]},
            )
    _check_sources(program, found, findings)
    _check_time(program, names, findings)
    return tuple(findings)


def _check_sources(program: Program, found: Survey, findings: Findings) -> None:
    """Record of which spike sources sPyNNaker will say that they send too much at a time."""
    sources = [program.populations[layer.population] for layer in found.layers.values() if layer.kernel == SOURCE]
    busy = {p.name: p.busy for p in sources if p.busy is not None and p.busy > MANY_SPIKES}
    if busy:
        most = f"up to {max(busy.values()):g} in a step"
        findings.note(
            "NM604", f"sPyNNaker warns that {named(list(busy))} may send too many spikes at the same time: {most}",
            why=f"It does so from {MANY_SPIKES + 1} spikes of one SpikeSourceArray in a step on, on however many cores it lies. What a step"
            " costs the cores that listen is in their load, and spikes that their buffers do not hold are an NM702.",
            data={"kind": "sources", "spikes": dict(busy)},
        )


def _check_time(program: Program, names: list[str], findings: Findings) -> None:
    """Record that the chip runs slower than real time, and for which layers."""
    scale = program.settings.get("time_scale", 1)
    if scale == 1:
        return
    used = measure(program)
    ticks: dict[str, float] = {}
    for group in program.groups:
        name = names[group.population]
        ticks[name] = max(ticks.get(name, 0.0), used[group.core]["tick"] * scale / FULL_TICK)
    late = [f"`{name}` {steps:.1f}" for name, steps in sorted(ticks.items(), key=lambda item: (-item[1], item[0])) if steps > 1]
    needed = f"In a busy step the fullest cores compute for so many time steps: {', '.join(late[:6])}" if late else "No core needs it"
    findings.note(
        "NM207", f"the chip runs {scale} times slower than real time",
        why=f"{needed}{f', and those of {len(late) - 6} more' if len(late) > 6 else ''}.",
        help=("`--slowdown 1` asks for real time, with fewer neurons on a core",) if late else ("use `--slowdown 1`",),
        data={"kind": "time", "scale": scale, "steps": {name: round(steps, 3) for name, steps in sorted(ticks.items())}},
    )


def _check_layers(found: Survey, names: list[str], findings: Findings) -> None:
    """Record what is too much for every slice of a population."""
    layers = found.layers.values()
    long = [names[layer.population] for layer in layers if layer.longest > LONGEST_ROW]
    if long:
        most = max(layer.longest for layer in layers)
        findings.error(
            "NM702", f"rows of synapses are too long in {named(long)}: {most} words of {LONGEST_ROW}",
            why="A source has several synapses onto one neuron.", data={"kind": "row", "words": most},
        )
    lost = [layer for layer in layers if layer.received >= spike_buffer(layer.received)]
    if lost:
        spikes = max(float(layer.received) for layer in lost)
        late_names = named([names[layer.population] for layer in lost])
        findings.warning(
            "NM702", f"more spikes reach cores of {late_names} in a busy step than wait in a buffer",
            why=f"Up to {spikes:g} spikes, {spike_buffer(lost[0].received)} keys: what comes in faster than it is handled is lost.",
            data={"kind": "packets", "spikes": spikes},
        )
