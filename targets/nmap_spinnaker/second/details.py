"""What a mapped network takes of SpiNNaker 2, and what of it is verified.

    elements, spike_elements   processing elements for neurons, and for spike lists (assumed: `sources_per_element` of chip2.toml on each)
    synapse_bytes              of the fullest element and in all
    largest_sum                largest sum of weights that one neuron may receive in a step; float32 holds 2^24 exactly
    events_at_1ms              published events a second of a whole chip, per element and millisecond: what the busiest one is to be held to
    arithmetic                 `recorded trace` where recorded traces of a chip have all that a population does, else `not verified`
                               (`nmap_spinnaker.second.audit.untraced` says what)
"""

from __future__ import annotations

from math import prod
from typing import TypeAlias

import numpy as np

from nmap.program import Program
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Details
from nmap.target.spec import load_spec
from nmap_spinnaker.second.artefact import layouts, spike_elements
from nmap_spinnaker.second.audit import TRACED, UNTRACED, UNVERIFIED, untraced
from nmap_spinnaker.second.measure import measure

__all__ = ["details"]

_Row: TypeAlias = dict[str, "int | float | str | None"]

_TITLES = {
    "elements": "elements",
    "spike_elements": "elements for spike lists",
    "synapse_bytes": "synapse memory, bytes",
    "fullest": "of the fullest element, bytes",
    "events_at_1ms": "published events per element and ms",
    "tick_s": "time step of the chip, s",
    "real_time": "whether elements keep their step",
    "memory_model": "model of the memory",
    "model": "model",
    "arithmetic": "arithmetic",
    "weight_bits": "weight bits",
    "largest_sum": "largest sum in a step",
    "atoms": "set_max_atoms_per_core",
    "written_as": "populations written",
    "populations": "populations",
    "neurons": "neurons",
}


def details(network: QuantizedNetwork, program: Program) -> Details:
    """Return totals, what each population takes, and what each element holds."""
    spec = load_spec("nmap_spinnaker", "chip2.toml")
    most = spec.limits["sources_per_element"].max
    used = measure(program)
    total = sum(element["memory"] for element in used)
    settings = network.settings
    totals: _Row = {
        "elements": len(program.cores),
        "spike_elements": sum(spike_elements(prod(p.shape), most) for p in program.populations if p.is_input),
        "synapse_bytes": total, "fullest": max((element["memory"] for element in used), default=0),
        "events_at_1ms": int(spec.constants["event_rate"].value / 1000 / spec.variants["1chip"].cores),
        "tick_s": settings["timestep_us"] * settings["time_scale"] * 1e-6 if settings else None,
        "real_time": "not known: no cost of an event or a neuron on an element is published",
        "memory_model": f"assumed (chip2.toml, resource memory); {UNVERIFIED}",
    }
    layers: dict[str, _Row] = {}
    for layout in layouts(program, most):
        name = program.populations[layout.population].name
        if layout.model is None:
            continue
        atoms = sorted(set(layout.atoms))
        layers[name] = {
            "elements": len(layout.groups), "model": layout.model,
            "arithmetic": UNTRACED if untraced(program, layout.population) else TRACED,
            "weight_bits": next((loss.bits for loss in network.losses if loss.name == name), None),
            "largest_sum": _largest_sum(network, name), "atoms": ", ".join(map(str, atoms)), "written_as": len(layout.sizes),
        }
    held: list[list[str]] = [[] for _ in program.cores]
    for group in program.groups:
        held[group.core].append(program.populations[group.population].name)
    cores: tuple[_Row, ...] = tuple(
        {"neurons": element["neurons"], "synapse_bytes": element["memory"], "populations": ", ".join(names)}
        for element, names in zip(used, held, strict=True)
    )
    return Details(totals, layers, cores, dict(_TITLES))


def _largest_sum(network: QuantizedNetwork, name: str) -> int:
    """Return the largest sum, without its sign, that one neuron of a population receives where all its sources fire."""
    population = network[name]
    high, low = np.zeros((2, population.size)), np.zeros((2, population.size))
    for p in network.afferents(name):
        most, least = p.connectivity.row_sums()
        high[p.receptor] += most
        low[p.receptor] += least
    return int(max(high.max(), -low.min()))
