"""Whether a stored program is one of a network: its populations, neurons and synapse formats.

Weights and routes are left to a run beside the reference.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nmap.connectivity import Array
from nmap.program import NeuronGroup, Program, ProgramPopulation, SynapseBlock
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection

__all__ = ["changed_values", "foreign_parts"]


def foreign_parts(program: Program, network: QuantizedNetwork) -> list[str]:
    """Return a sentence for everything in a program that is another network's; empty when its parts are this network's.

    Compared are the populations' names, shapes, latencies and roles, and the kernels of their neurons.

    Args:
        program: as `read_program` returns it.
        network: what the program should be of, quantized for the program's target.
    """
    wanted = {
        p.name: ProgramPopulation(p.name, p.shape, p.latency, p.name in network.inputs, p.name in network.outputs)
        for p in network.populations
    }
    names = {p.name for k, p in enumerate(program.populations) if k not in program.copies}
    found = [f"the network's population `{name}` is not in the program" for name in wanted if name not in names]
    for number, population in enumerate(program.populations):
        if number not in program.copies:
            found += _differences(population, wanted.get(population.name))
    if found:
        return found
    for group in program.groups:
        theirs = network[program.populations[program.origin(group.population)].name]
        if group.kernel != theirs.kernel:
            found.append(f"neurons of `{theirs.name}` have the kernel `{group.kernel}`, the network's have `{theirs.kernel}`")
    return found


def changed_values(program: Program, network: QuantizedNetwork) -> list[str]:
    """Return a sentence for every setting, group's parameter or initial state, and block's delay or format that is not the network's.

    Weights and routes are not compared.

    Args:
        program: one without `foreign_parts`.
        network: what it should be of.
    """
    found = [
        f"setting `{name}` is {program.settings.get(name, 'missing')}, the network's is {network.settings.get(name, 'missing')}"
        for name in sorted({*program.settings, *network.settings}) if program.settings.get(name) != network.settings.get(name)
    ]
    for number, population in enumerate(program.populations):
        busiest = None if number in program.copies else network[population.name].busy
        if population.busy != busiest:
            found.append(f"`{population.name}` sends {population.busy} spikes in its busiest step, by the network it is {busiest}")
    for group in program.groups:
        origin, neurons = program.computed(group)
        found += _neuron_differences(group, network[program.populations[origin].name], neurons)
    into: dict[str, list[dict[str, int | str]]] = {p.name: [] for p in network.populations}
    # Where axons have a delay each, a block of one delay holds some of a projection's synapses.
    folded: dict[str, list[dict[str, int | str]]] = {p.name: [] for p in network.populations}
    for projection in network.projections:
        fields = _projection_fields(projection)
        into[projection.target].append(fields)
        if projection.delays is not None:
            folded[projection.target] += [fields | {"delay": projection.delay + int(d)} for d in np.unique(projection.delays)]
    for number, block in enumerate(program.blocks):
        name = program.populations[program.origin(program.groups[block.group].population)].name
        formats = into[name]
        held = _block_fields(block)
        if held not in formats and (block.delays is not None or held not in folded[name]):
            # The nearest of them says what was changed.
            due = max(formats, key=lambda fields: sum(fields[key] == held[key] for key in held), default={})
            wrong = ", ".join(f"{key} {held[key]} instead of {due[key]}" for key in due if held[key] != due[key])
            found.append(f"synapse block {number} into `{name}` has {wrong or 'synapses where the network has none'}")
    return found


def _projection_fields(projection: QuantizedProjection) -> dict[str, int | str]:
    form = projection.format
    return {
        "delay": projection.delay, "exponent": form.exponent, "message bits": form.message_bits, "weight bits": form.bits,
        "sign mode": form.sign, "receptor": projection.receptor, "accumulator": form.accumulator,
    }


def _block_fields(block: SynapseBlock) -> dict[str, int | str]:
    return {
        "delay": block.delay, "exponent": block.exponent, "message bits": block.message_bits, "weight bits": block.bits,
        "sign mode": block.sign, "receptor": block.receptor, "accumulator": block.accumulator,
    }


def _differences(found: ProgramPopulation, wanted: ProgramPopulation | None) -> Iterator[str]:
    if wanted is None:
        yield f"the network has no population `{found.name}`"
        return
    if found.shape != wanted.shape:
        yield f"`{found.name}` has the shape {found.shape}, the network's has {wanted.shape}"
    if found.latency != wanted.latency:
        yield f"`{found.name}` runs {found.latency} steps behind the network's time, by the network it is {wanted.latency}"
    for role, is_one, should_be in (("input", found.is_input, wanted.is_input), ("output", found.is_output, wanted.is_output)):
        if is_one != should_be:
            ours, theirs = (f"{'an' if answer else 'no'} {role}" for answer in (is_one, should_be))
            yield f"`{found.name}` is {ours} of the program and {theirs} of the network"


def _neuron_differences(group: NeuronGroup, wanted: QuantizedPopulation, neurons: Array) -> Iterator[str]:
    silent = np.zeros(wanted.size, np.int64)
    for what, ours, theirs in (("value", group.params, wanted.params), ("initial state", group.initial, wanted.initial)):
        for name in sorted({*ours, *theirs}):
            if what == "value" and (name not in ours or name not in theirs):
                yield f"neurons of `{wanted.name}` {'lack' if name in theirs else 'have'} the parameter `{name}`"
                continue
            # A state that is not named starts at 0.
            held, due = ours.get(name, silent[neurons]), theirs.get(name, silent)[neurons]
            wrong = np.flatnonzero(held != due)
            if wrong.size:
                first = int(wrong[0])
                yield (
                    f"the {what} of `{name}` of neuron {int(neurons[first])} of `{wanted.name}` is {int(held[first])}, "
                    f"the network's is {int(due[first])}"
                )
