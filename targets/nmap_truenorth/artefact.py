"""A core program in the terms of the chip's own files: columns, pins, targets, corelets.

Time. nmap's chip step c is tick c of the chip: in both, what arrived is added, then the leak, then the threshold is tested, from 0 on. An
input spike that the host sends in step t onto an axon with d further steps acts in step t + 1 + d. A spike file's `srcTime` s is seen in
tick s + 1, so s = t + d; RANC's list of packets number p is processed in tick p, so p = t + 1 + d. No step is negative, so nothing is
shifted.

Cores. A core's number in the files (`id`) is its place in `Program.cores`: the binary model file knows cores by their place alone. Where
they lie on the chip is told beside the model.

Columns. A core's neurons are those of its groups, one group after the other, in the order of `Program.groups`.

Outputs. An output neuron's `destCore` is -32 or below and its `destAxon` the number of a pin, 0 to 255, as in the model files of the
chip's own tools: each output population is a connector of its own, with one `destCore` for each 256 of its neurons.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isqrt, prod

import numpy as np

from nmap.connectivity import Array, frozen_array
from nmap.program import Program, Routes, SynapseBlock, slice_indices
from nmap_truenorth.codes import encode_core
from nmap_truenorth.model.model import NOWHERE, OFF_CHIP, Events, Model, pack_crossbar

__all__ = [
    "AXONS", "NEURONS", "ROOT", "STEP_TO_TICK", "Corelet", "OutputPins", "RancForm", "axon_delays", "axon_sources", "corelets",
    "first_columns", "input_events", "output_pins", "ranc_form", "relayed", "to_model",
]

AXONS = NEURONS = 256
ROOT = "network"
"""Class of the corelet around all others, number 0."""
STEP_TO_TICK = 0
"""Tick of the chip minus nmap's chip step."""
_FIRST_OUTPUT = -32
"""Largest destCore of an output connector."""
_NO_TARGET = -2
"""destCore of a neuron whose spikes nobody hears."""
_UNUSED = -1
"""destCore of a neuron that is not there."""
_SEED = 0xFFFFFFFF
"""rngSeed that the chip's tools write where none is chosen; no neuron here draws random numbers."""
_RANC_CORES = 256
"""Cores of the largest model that is written for RANC: each takes 190 kB of its file and a millisecond a tick of its simulator."""
_RANC_TICKS = 100
"""Least ticks for which a RANC model has to be the same to be written."""
_RELAY = re.compile(r"(split|relay|part)\d*_*")
"""Last part of the name of a population that the compiler inserts to serve another one."""
_PARAMETERS = (
    ("threshold", "alpha"), ("floor", "beta"), ("leak", "leak"), ("leak_reversal", "epsilon"), ("gamma", "gamma"), ("kappa", "kappa"),
)
"""Fields of a model and the neuron kernel's parameters."""


@dataclass(frozen=True, slots=True, eq=False)
class OutputPins:
    """Where an output population's spikes leave the chip, (n,) int64 each, by neuron.

    Args:
        core: index into `Program.cores`.
        column: neuron of the core.
        connector: destCore.
        pin: destAxon.
        line: number of the neuron among all output neurons, and of its line on RANC's output bus.
    """

    core: Array
    column: Array
    connector: Array
    pin: Array
    line: Array

    def __post_init__(self) -> None:
        for name in ("core", "column", "connector", "pin", "line"):
            object.__setattr__(self, name, frozen_array(getattr(self, name), np.int64))


@dataclass(frozen=True, slots=True)
class Corelet:
    """One population as the chip's metadata name it.

    Args:
        number: `coreletId`; 0 is the network itself.
        name: `coreletClass`.
        population: index into `Program.populations`.
        parents: numbers of the corelets around it, the nearest first, 0 last: `parentCoreletId`.
    """

    number: int
    name: str
    population: int
    parents: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class RancForm:
    """A program as RANC's simulator runs it.

    Args:
        model: the cores on RANC's grid; None where RANC cannot run the program.
        places: (x, y) of each core.
        bus: (x, y) of the output bus.
        ticks: for how many ticks it is proved that the model computes the same; None for ever.
        reasons: why RANC cannot run the program, a sentence each.
    """

    model: Model | None
    places: tuple[tuple[int, int], ...] = ()
    bus: tuple[int, int] = (0, 0)
    ticks: int | None = None
    reasons: tuple[str, ...] = ()


def first_columns(program: Program) -> Array:
    """Return the number of each group's first neuron on its core, (groups,) int64."""
    first, used = np.zeros(len(program.groups), np.int64), [0] * len(program.cores)
    for number, group in enumerate(program.groups):
        first[number] = used[group.core]
        used[group.core] += group.size
    return first


def axon_delays(program: Program) -> Array:
    """Return the steps beyond the one of a hop after which a spike on an axon acts, (cores, 256) int64; -1 for an axon without synapses.

    Raises:
        ValueError: synapses on one axon act after different times, or a core has more axons than there are.
    """
    delays = np.full((len(program.cores), AXONS), -1, np.int64)
    for block in program.blocks:
        if block.axon + block.axons > AXONS:
            raise ValueError(f"core {block.core} has more than {AXONS} axons")
        if block.delays is not None:
            raise ValueError(f"synapses on one axon of core {block.core} have delays of their own")
        there = delays[block.core, block.axon : block.axon + block.axons]
        if ((there >= 0) & (there != block.delay)).any():
            raise ValueError(f"synapses on one axon of core {block.core} act after different times")
        there[:] = block.delay
    return delays


def axon_sources(program: Program) -> Array:
    """Return the population and the neuron that drive each axon, (cores, 256, 2) int64; -1 where nobody does.

    Copies are told as what they copy.

    Raises:
        ValueError: two neurons drive one axon.
    """
    sources = np.full((len(program.cores), AXONS, 2), -1, np.int64)
    for population, neurons, routes in _senders(program):
        each = np.repeat(neurons, np.diff(routes.indptr))
        sent = np.stack([np.full(each.size, population), each], axis=1)
        there = sources[routes.core, routes.axon]
        if ((there >= 0).any(axis=1) & (there != sent).any(axis=1)).any():
            raise ValueError("two neurons drive one axon")
        sources[routes.core, routes.axon] = sent
    return sources


def _senders(program: Program) -> list[tuple[int, Array, Routes]]:
    """Return what sends spikes: population, the neurons in the routes' order (of the population that a copy copies), routes."""
    found = []
    for index, routes in sorted(program.inputs.items()):
        found.append((index, np.arange(prod(program.populations[index].shape)), routes))
    for group, routes in zip(program.groups, program.routes, strict=True):
        found.append((*program.computed(group), routes))
    return found


def output_pins(program: Program) -> dict[int, OutputPins]:
    """Return where each output population's neurons leave the chip, by population index."""
    first, pins = first_columns(program), {}
    connector, line = _FIRST_OUTPUT, 0
    for index, population in enumerate(program.populations):
        if not population.is_output or population.is_input:
            continue
        size = prod(population.shape)
        core, column, number = np.zeros(size, np.int64), np.zeros(size, np.int64), np.arange(size)
        for group, start in zip(program.groups, first, strict=True):
            if group.population == index:
                here = slice_indices(group.slice, population.shape)
                core[here], column[here] = group.core, start + np.arange(group.size)
        pins[index] = OutputPins(core, column, connector - number // AXONS, number % AXONS, line + number)
        connector -= -(-size // AXONS)
        line += size
    return pins


def relayed(program: Program, population: int) -> int | None:
    """Return the population that a relay or gate population `X.split` serves, by index; None for one of the network's own."""
    served, _, last = program.populations[population].name.rpartition(".")
    if not _RELAY.fullmatch(last):
        return None
    return next((k for k, p in enumerate(program.populations) if p.name == served), None)


def corelets(program: Program) -> tuple[Corelet, ...]:
    """Return one corelet for each population of neurons, in order, copies left out: they belong to the corelet of what they copy.

    A class name is a population's name with everything but letters, digits and underscores replaced. A relay population lies inside the
    corelet of the population that it serves.
    """
    own = [k for k, p in enumerate(program.populations) if not p.is_input and k not in program.copies]
    number = {k: place for place, k in enumerate(own, 1)}
    taken: set[str] = set()
    found = []
    for k in own:
        word = re.sub(r"[^A-Za-z0-9_]", "_", program.populations[k].name)
        word = word if word[:1].isalpha() else f"p_{word}"
        name, again = word, 2
        while name in taken:
            name, again = f"{word}_{again}", again + 1
        taken.add(name)
        parents, at = [], relayed(program, k)
        while at is not None and at in number:
            parents.append(number[at])
            at = relayed(program, at)
        found.append(Corelet(number[k], name, k, (*parents, 0)))
    return tuple(found)


def _metadata(program: Program) -> tuple[dict[str, object], ...]:
    """Return each core's metadata: the corelet with the most columns on it, and the core's number in that corelet."""
    number = {corelet.population: corelet for corelet in corelets(program)}
    network = Corelet(0, ROOT, -1, (-1,))
    columns = np.zeros((len(program.cores), len(program.populations)), np.int64)
    for group in program.groups:
        columns[group.core, program.origin(group.population)] += group.size
    seen = dict.fromkeys([*number, network.population], 0)
    found: list[dict[str, object]] = []
    for row in columns:
        # The first of several that have as many.
        most = number[int(np.argmax(row))] if row.any() else network
        found.append({
            "coreletClass": most.name, "coreletId": most.number, "coreNumber": seen[most.population], "parentCoreletId": list(most.parents),
        })
        seen[most.population] += 1
    return tuple(found)


def _by_core(program: Program) -> Iterator[Program]:
    """Yield the program with the groups and blocks of one core alone, core by core: looking for them costs more than encoding them."""
    groups: list[list[int]] = [[] for _ in program.cores]
    blocks: list[list[SynapseBlock]] = [[] for _ in program.cores]
    place = np.zeros(len(program.groups), np.int64)
    for number, group in enumerate(program.groups):
        place[number] = len(groups[group.core])
        groups[group.core].append(number)
    for block in program.blocks:
        blocks[block.core].append(replace(block, group=int(place[block.group])))
    for own, held in zip(groups, blocks, strict=True):
        yield replace(
            program, groups=tuple(program.groups[k] for k in own), routes=tuple(program.routes[k] for k in own), blocks=tuple(held),
        )


@lru_cache(maxsize=1)
def to_model(program: Program) -> Model:
    """Return what the chip's cores hold of a program. The last one is kept: what writes files asks for it several times.

    Args:
        program: as `nmap_truenorth.build` makes it: at most one destination a neuron, axons of one delay, at most four axon types.

    Raises:
        ValueError: the program is none of this chip's.
    """
    cores = len(program.cores)
    shape = (cores, NEURONS)
    types, crossbars = np.zeros((cores, AXONS), np.uint8), np.zeros((cores, AXONS, NEURONS // 8), np.uint8)
    weights = np.zeros((*shape, 4), np.int32)
    for core, part in enumerate(_by_core(program)):
        kinds, values, bits = encode_core(part, core)
        if kinds.size > AXONS or len(values) > NEURONS:
            raise ValueError(f"core {core} has {kinds.size} axons and {len(values)} neurons; {AXONS} and {NEURONS} fit")
        types[core, : kinds.size], weights[core, : len(values)] = kinds, values
        crossbars[core, : kinds.size] = pack_crossbar(np.pad(bits, ((0, 0), (0, NEURONS - len(values)))))
    fields = {name: np.zeros(shape, np.int64) for name, _ in _PARAMETERS}
    reset, potential, enabled = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.zeros(shape, bool)
    target, stated = np.full(shape, NOWHERE, np.int64), np.full(shape, _UNUSED, np.int64)
    axon, delay = np.zeros(shape, np.int64), np.ones(shape, np.int64)
    delays, first = axon_delays(program), first_columns(program)
    for group, routes, start in zip(program.groups, program.routes, first, strict=True):
        here = (group.core, slice(start, start + group.size))
        for name, parameter in _PARAMETERS:
            fields[name][here] = group.params[parameter]
        reset[here] = np.where(group.params["sigma_vr"] < 0, -1, 1) * (2 ** group.params["vr"] - 1)
        potential[here] = group.initial.get("v", np.zeros(group.size, np.int64))
        enabled[here], stated[here], axon[here] = True, _NO_TARGET, -1
        many = np.diff(routes.indptr)
        if (many > 1).any():
            raise ValueError(f"a neuron of `{program.populations[group.population].name}` has more than one destination")
        sends = (group.core, start + np.flatnonzero(many))
        target[sends] = stated[sends] = routes.core
        axon[sends], delay[sends] = routes.axon, 1 + delays[routes.core, routes.axon]
    for pins in output_pins(program).values():
        leaving = (pins.core, pins.column)
        if (target[leaving] != NOWHERE).any():
            raise ValueError("an output neuron sends to a core")
        target[leaving], stated[leaving], axon[leaving] = OFF_CHIP, pins.connector, pins.pin
    return Model(
        "model.json", "truenorth", np.arange(cores), None, types, crossbars, weights, np.zeros((*shape, 4), bool), fields["leak"],
        np.zeros(shape, bool), fields["leak_reversal"], fields["threshold"], fields["floor"], np.zeros(shape), fields["gamma"],
        fields["kappa"], reset, potential, enabled, target, stated, axon, delay, np.full(cores, _SEED), corelets=_metadata(program),
    )


def input_events(program: Program, sample: Mapping[str, Array]) -> Events:
    """Return the spikes of a sample as a spike file holds them: `srcTime`, core and axon.

    Args:
        program: what the sample is for.
        sample: (time, *shape) integers by input port; any number but 0 is a spike.
    """
    delays, tick, core, axon = axon_delays(program), [], [], []
    for index, routes in sorted(program.inputs.items()):
        values = sample[program.populations[index].name]
        step, neuron = np.nonzero(values.reshape(len(values), -1))
        many = np.diff(routes.indptr)[neuron]
        pins = np.repeat(routes.indptr[neuron] - np.cumsum(many) + many, many) + np.arange(many.sum())
        core.append(routes.core[pins])
        axon.append(routes.axon[pins])
        tick.append(np.repeat(step, many) + delays[core[-1], axon[-1]] + STEP_TO_TICK)
    return Events.ordered(np.concatenate(tick), np.concatenate(core), np.concatenate(axon))


def ranc_form(program: Program, model: Model) -> RancForm:
    """Return a model in RANC's subset, or why it is outside.

    RANC has no leak reversal, no gamma of 2, and below the floor it does what gamma says, never what kappa says. Where kappa is set the
    two still agree if the floor is where the reset leaves the potential, or as long as no potential gets there: each tick takes off at
    most the negative weights of all axons together and the leak.

    Args:
        program: what the model holds.
        model: of `to_model`.
    """
    if model.cores > _RANC_CORES:
        return RancForm(None, reasons=(f"it has {model.cores} cores; models of up to {_RANC_CORES} are written for RANC",))
    reversal = model.enabled & model.leak_reversal & (model.leak != 0)
    unlimited = model.enabled & (model.gamma == 2)
    ticks = np.where(model.enabled, _ticks_above_floor(model), np.iinfo(np.int64).max)
    first, reasons = first_columns(program), []
    for index, population in enumerate(program.populations):
        rows = [
            (group.core, slice(start, start + group.size))
            for group, start in zip(program.groups, first, strict=True) if group.population == index
        ]
        if index in program.copies or not rows:
            continue
        if any(reversal[row].any() for row in rows):
            reasons.append(f"`{population.name}` has a leak towards or away from 0 (epsilon = 1)")
        if any(unlimited[row].any() for row in rows):
            reasons.append(f"`{population.name}` is not reset by its spikes (gamma = 2)")
        least = min(int(ticks[row].min()) for row in rows)
        if least < _RANC_TICKS:
            reasons.append(f"`{population.name}` may reach its floor after {least} ticks, where it stays (kappa = 1); RANC resets it")
    if reasons:
        return RancForm(None, reasons=tuple(reasons))
    # One place more than cores, for the output bus; it cannot be the first, through which all input goes.
    width = isqrt(model.cores) + 1
    *places, bus = ((k % width, k // width) for k in range(model.cores + 1))
    line = np.zeros(model.target.shape, np.int64)
    for pins in output_pins(program).values():
        line[pins.core, pins.column] = pins.line
    # RANC sends every spike somewhere: those that nobody hears go to lines of the bus behind the outputs' own.
    unheard = model.enabled & (model.target == NOWHERE)
    outputs = int(np.count_nonzero(model.target == OFF_CHIP))
    line[unheard] = outputs + np.arange(np.count_nonzero(unheard))
    leaves = unheard | (model.target == OFF_CHIP)
    least = int(ticks.min())
    form = replace(
        model, file="model.json", dialect="ranc", places=np.array(places), kappa=np.zeros(model.kappa.shape, bool),
        leak_reversal=np.zeros(model.leak_reversal.shape, bool), target=np.where(leaves, OFF_CHIP, model.target),
        target_core=np.where(leaves, line, NOWHERE), target_axon=np.where(leaves, line, model.target_axon), input_delay=0, corelets=(),
    )
    return RancForm(form, tuple(places), bus, None if least == np.iinfo(np.int64).max else least)


def _ticks_above_floor(model: Model) -> Array:
    """Return for how many ticks kappa makes no difference to each neuron, (cores, neurons) int64; the largest number for ever."""
    ever = np.iinfo(np.int64).max
    fall = -np.minimum(model.leak, 0).astype(np.int64)
    for core in range(model.cores):
        bits = np.unpackbits(model.crossbar[core], axis=1, count=model.neurons).astype(np.int64)
        weights = np.minimum(model.weights[core][:, model.axon_types[core]].T, 0)
        fall[core] -= (bits * weights).sum(axis=0)
    # After a spike the potential is R, or what is left above the threshold.
    start = np.minimum(model.potential.astype(np.int64), np.where(model.gamma == 0, model.reset, 0))
    above = start + model.floor
    ticks = np.where(above < 0, 0, np.where(fall > 0, above // np.maximum(fall, 1), ever))
    same = ~model.kappa | ((model.gamma == 0) & (model.reset == model.floor))
    return np.where(same, ever, ticks)
