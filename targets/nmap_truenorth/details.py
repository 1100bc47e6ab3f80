"""What TrueNorth's own resources a mapped network takes: axons for each source, copies, relay neurons, crossbar bits.

    axons, columns     axons and neurons of the chip in use, copies of neurons included
    copies             columns that copy a neuron, which needs one for each axon that it sends to but the first
    relay neurons      neurons of the relay and gate populations that the compiler inserted, their copies left out
    code               how crossbar bits make weights: `colouring` (one axon a source), `radix` (the same axon types for all neurons, which
                       `pattern` lists in units of a neuron's own factor) or `codebooks` (each neuron's own)
    r                  axons that one source has on one core: least, mean and most over cores and sources; `r alone` is the most that one
                       source would have with all neurons of the population on one core
    columns min .. max columns of one neuron
"""

from __future__ import annotations

from math import prod
from typing import TypeAlias

import numpy as np

from nmap.connectivity import Array
from nmap.program import ConvTile, Program, SynapseBlock
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Details
from nmap_truenorth.artefact import AXONS, NEURONS, axon_sources, relayed
from nmap_truenorth.codes import Code, code_of

__all__ = ["details"]

_Row: TypeAlias = dict[str, "int | float | str | None"]

_TITLES = {
    "cores": "cores",
    "axons": "axons",
    "neurons": "network neurons",
    "columns": "columns",
    "copies": "copies",
    "splitters": "relay neurons",
    "bits": "crossbar bits set",
    "density": "crossbar density",
    "weight_bits": "weight bits",
    "code": "code",
    "pattern": "pattern",
    "replication": "r alone",
    "axons_per_source_min": "r min",
    "axons_per_source_mean": "r mean",
    "axons_per_source_max": "r max",
    "columns_per_neuron_min": "columns min",
    "columns_per_neuron_mean": "columns mean",
    "columns_per_neuron_max": "columns max",
    "populations": "populations",
}
_CODES = {"silent": "none", "colours": "colouring", "pattern": "radix", "codebooks": "codebooks"}


def details(network: QuantizedNetwork, program: Program) -> Details:
    """Return totals, what each population takes, and what each core holds; all counted in the program but code, pattern and bits.

    Args:
        network: what was mapped.
        program: as `nmap_truenorth.build` makes it.
    """
    origin = np.array([program.origin(k) for k in range(len(program.populations))], np.int64)
    used = np.zeros((len(program.cores), AXONS), bool)
    heard: dict[int, list[Array]] = {}
    bits = np.zeros((len(program.cores), len(program.populations)), np.int64)
    columns, copied = np.zeros(bits.shape, np.int64), np.zeros(len(program.cores), np.int64)
    for group in program.groups:
        columns[group.core, origin[group.population]] += group.size
        copied[group.core] += group.size if group.population in program.copies else 0
    sources = axon_sources(program)
    for block in program.blocks:
        population = int(origin[program.groups[block.group].population])
        axons = np.arange(block.axon, block.axon + block.axons)
        used[block.core, axons] = True
        bits[block.core, population] += _set_bits(block)
        core = np.full(axons.size, block.core)
        heard.setdefault(population, []).append(np.column_stack([core, sources[block.core, axons], axons]))
    own = [k for k, p in enumerate(program.populations) if not p.is_input and k not in program.copies]
    sizes = {k: prod(program.populations[k].shape) for k in own}
    each = {k: np.ones(size, np.int64) for k, size in sizes.items()}
    for population, neurons in program.copies.values():
        each[population] += np.bincount(neurons, minlength=each[population].size)
    layers = {
        program.populations[k].name: _layer(network, program.populations[k].name, heard.get(k, []), bits[:, k], columns[:, k], each[k])
        for k in own
    }
    total, set_bits, relays = int(columns.sum()), int(bits.sum()), sum(sizes[k] for k in own if relayed(program, k) is not None)
    totals: _Row = {
        "cores": len(program.cores), "axons": int(used.sum()), "neurons": sum(sizes.values()), "columns": total,
        "copies": int(copied.sum()), "splitters": relays, "bits": set_bits, "density": set_bits / (len(program.cores) * AXONS * NEURONS),
    }
    cores: tuple[_Row, ...] = tuple(
        {
            "axons": int(used[k].sum()), "columns": int(columns[k].sum()), "copies": int(copied[k]), "bits": int(bits[k].sum()),
            "density": int(bits[k].sum()) / (AXONS * NEURONS),
            "populations": ", ".join(program.populations[p].name for p in np.flatnonzero(columns[k])),
        }
        for k in range(len(program.cores))
    )
    return Details(totals, layers, cores, dict(_TITLES))


def _layer(network: QuantizedNetwork, name: str, heard: list[Array], bits: Array, columns: Array, each: Array) -> _Row:
    """Return what a population takes.

    Args:
        network: what was mapped.
        name: the population.
        heard: (k, 4) int64 each: core, source population, source neuron and axon that the population listens to.
        bits, columns: (cores,) int64.
        each: (n,) int64, columns of each neuron.
    """
    code = code_of(network, name)
    # Copies listen on the axons of what they copy.
    axons = np.unique(np.concatenate([*heard, np.zeros((0, 4), np.int64)]), axis=0)
    counts = np.unique(axons[:, :3], axis=0, return_counts=True)[1]
    row: _Row = {
        "cores": int(np.count_nonzero(columns)), "axons": len(np.unique(axons[:, [0, 3]], axis=0)), "columns": int(columns.sum()),
        "axons_per_source_mean": float(counts.mean()) if counts.size else None,
        "axons_per_source_max": int(counts.max()) if counts.size else None,
        "columns_per_neuron_mean": float(each.mean()), "columns_per_neuron_max": int(each.max()), "bits": int(bits.sum()),
        "density": int(bits.sum()) / max(1, len(np.unique(axons[:, [0, 3]], axis=0)) * NEURONS),
        "weight_bits": next((loss.bits for loss in network.losses if loss.name == name), None),
        "code": None if code is None else _CODES[code.kind],
        "pattern": None if code is None or code.kind != "pattern" else _pattern(code), "replication": None if code is None else code.axons,
        "axons_per_source_min": int(counts.min()) if counts.size else None, "columns_per_neuron_min": int(each.min()),
    }
    return row


def _pattern(code: Code) -> str:
    """Return what a type adds in units of a neuron's factor, type by type; neurons without synapses of a type do not have it."""
    values = code.values.astype(np.int64) // code.scale[:, None]
    return " ".join(str(int(column[column != 0][0])) for column in values.T if column.any())


def _set_bits(block: SynapseBlock) -> int:
    """Return how many crossbar bits a block sets: its weights other than 0, of which it has one for each axon and neuron at most."""
    synapses = block.synapses
    if isinstance(synapses, ConvTile):
        raise ValueError("a core of TrueNorth has no shared kernels")
    return int(np.count_nonzero(synapses.weights))
