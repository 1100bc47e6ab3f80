"""What SpiNNaker's own resources a mapped network takes.

    neurons per core   of the population's largest slice; every slice takes the memory of that one
    neurons at most    per core, beside ring buffers for the population's longest delay
    rows, longest row  matrices' rows on one core, and words of the longest
    SDRAM, DTCM        bytes of one core, recordings left out; DTCM is not stated by sPyNNaker and is nmap's own count
    delay slots        steps of delay that the ring buffers hold; no delay is longer, so that sPyNNaker adds no delay-extension cores
    buffer             keys that wait on a core (`incoming_spike_buffer_size`), and the spikes that reach it in a busy step
    load               share of a tick that the busiest core computes in a busy step, with 1.3 cycles an instruction on top of real counts
    least time scale   with which 32 neurons per core would be in time; `real-time neurons per core` are in time at scale 1
    entries            of the largest routing table; those of chips straight along a tree are not needed

A SpikeSourceArray that sends more than 100 spikes in some step makes sPyNNaker warn of too many spikes at the same time, whatever cores its
slices lie on: smaller slices would change nothing, and `nmap_spinnaker.audit` notes it where the samples show it. What such a step costs
the cores that listen is in their load and their buffer.
"""

from __future__ import annotations

from math import prod
from typing import TypeAlias

from nmap.program import Program
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Demand, Details
from nmap.target.machine import Machine, build_machine
from nmap.target.spec import ChipSpec, load_spec
from nmap_spinnaker.audit import Layer, Survey, chip_sdram, places, routing, survey
from nmap_spinnaker.layout import FULL_TICK, SOURCE, cells_at_most, spike_buffer
from nmap_spinnaker.load import at_scale, layer_time_scale, real_time_neurons
from nmap_spinnaker.measure import measure
from nmap_spinnaker.tables import processor

__all__ = ["details"]

_Row: TypeAlias = dict[str, "int | float | str | None"]

_TITLES = {
    "cores": "cores",
    "neurons": "neurons",
    "sources": "spike sources",
    "neurons_per_core": "neurons per core",
    "rows": "rows",
    "longest_row": "longest row",
    "sdram": "SDRAM",
    "dtcm": "DTCM",
    "delay_slots": "delay slots",
    "most_neurons": "neurons at most",
    "keys": "keys",
    "key_bits": "bits of a key",
    "table_entries": "entries",
    "tables_compressed": "tables compressed",
    "load": "load (%)",
    "packets": "packets per step",
    "buffer": "buffer",
    "time_scale": "time scale",
    "real_time_scale": "least time scale",
    "real_time_neurons": "real-time neurons per core",
    "busy_known": "busiest step",
    "processor": "p",
    "x": "x",
    "y": "y",
    "chip_sdram": "SDRAM of the fullest chip",
    "population": "population",
}


def details(network: QuantizedNetwork, program: Program) -> Details:
    """Return totals, what each population takes, and what each core holds.

    Args:
        network: what was mapped.
        program: its core program, placed.
    """
    machine = _machine(load_spec("nmap_spinnaker", "chip1.toml"), program)
    found, used = survey(program), measure(program)
    tables = routing(program, machine, found) if found.keys.fits else None
    names = [p.name for p in program.populations]
    totals: _Row = {
        "cores": len(program.cores), "neurons": sum(group.size for group in program.groups if group.kernel != SOURCE),
        "sources": sum(core["sources"] for core in used),
        "chip_sdram": max(chip_sdram(program, machine, found).values(), default=0),
        "keys": sum(zone.keys for zone in found.keys.zones), "key_bits": found.keys.needed,
        "table_entries": None if tables is None else tables.largest,
        "tables_compressed": None if tables is None else len(tables.compressed),
        "load": _percent(max((core["tick"] for core in used), default=0)), "time_scale": network.settings.get("time_scale", 1),
        "real_time_scale": max((layer_time_scale(network, p.name) for p in network.populations), default=1),
    }
    layers = {names[k]: _layer(network, program, found, layer, used) for k, layer in found.layers.items()}
    held = {group.core: names[group.population] for group in program.groups}
    cores: tuple[_Row, ...] = tuple(
        {
            "x": x, "y": y, "processor": processor(core.core), "population": held.get(k), "load": _percent(used[k]["tick"]),
            "sdram": used[k]["sdram"], "dtcm": used[k]["dtcm"],
        }
        for k, (core, (x, y)) in enumerate(zip(program.cores, places(program, machine), strict=True))
    )
    return Details(totals, layers, cores, dict(_TITLES))


def _machine(spec: ChipSpec, program: Program) -> Machine:
    """Return the variant's machine, with as many chips as the program asks for where it has room for more."""
    data = spec.variants[program.variant]
    needed = 1 + max((core.chip for core in program.cores), default=0)
    return build_machine(spec, program.variant, max(data.chips, needed) if needed > data.chips else None)


def _percent(tick: int) -> float:
    return round(100 * tick / FULL_TICK, 3)


def _layer(network: QuantizedNetwork, program: Program, found: Survey, layer: Layer, used: tuple[Demand, ...]) -> _Row:
    """Return what a population takes."""
    population = program.populations[layer.population]
    own = [used[group.core] for group in program.groups if group.population == layer.population]
    source = layer.kernel == SOURCE
    zone = found.zone.get(layer.population)
    row: _Row = {
        "cores": len(own), "neurons_per_core": max(layer.slices), "load": None if source else _percent(max(core["tick"] for core in own)),
        "real_time_scale": None if source else layer_time_scale(network, population.name),
        "packets": None if source else float(layer.received), "longest_row": None if source else layer.longest, "sdram": layer.sdram,
        "dtcm": None if source else max(core["dtcm"] for core in own),
        "real_time_neurons": None if source else real_time_neurons(at_scale(network, 1), population.name),
        "buffer": None if source else spike_buffer(layer.received), "neurons": prod(population.shape),
        "rows": None if source else sum(matrix.rows for matrix in layer.matrices), "delay_slots": None if source else layer.slots,
        "most_neurons": None if source else cells_at_most(layer.delay),
        "keys": 0 if zone is None else found.keys.zones[zone].keys,
        "busy_known": "30 Hz a neuron assumed" if population.busy is None else float(population.busy),
    }
    return row
