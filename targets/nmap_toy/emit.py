"""The toy chip's artefact: every core's program as text, for reading and for comparing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from nmap.program import Program, Routes, slice_indices
from nmap.quantized import QuantizedNetwork
from nmap_toy.measure import block_synapses, measure

__all__ = ["emit"]


def emit(network: QuantizedNetwork, program: Program) -> dict[str, bytes]:  # noqa: ARG001
    """Return `program.txt`."""
    return {"program.txt": ("\n".join(_lines(program)) + "\n").encode()}


def _lines(program: Program) -> Iterator[str]:
    yield f"# {program.target}:{program.variant}, {len(program.cores)} cores; run {program.latency} steps beyond the input"
    for population in program.populations:
        role = "input" if population.is_input else "output" if population.is_output else "hidden"
        yield f"population {population.name}: shape {list(population.shape)}, {role}, latency {population.latency}"
    for index, routes in sorted(program.inputs.items()):
        yield ""
        yield f"input {program.populations[index].name}"
        for neuron in range(routes.indptr.size - 1):
            yield f"  {neuron}: {_destinations(routes, neuron)}"
    used = measure(program)
    for number, core in enumerate(program.cores):
        yield ""
        yield f"core {number}: chip {core.chip}, core {core.core} at ({core.x}, {core.y}); " + ", ".join(
            f"{amount} {resource.replace('_', ' ')}" for resource, amount in used[number].items()
        )
        first = {}
        neuron = 0
        for k, group in enumerate(program.groups):
            if group.core != number:
                continue
            first[k] = neuron
            population = program.populations[group.population]
            for slot, index in enumerate(slice_indices(group.slice, population.shape)):
                fields = " ".join(f"{name} {values[slot]}" for name, values in sorted(group.params.items()))
                start = " ".join(f"{name} {values[slot]}" for name, values in sorted(group.initial.items()))
                yield f"  neuron {neuron}: {population.name}[{index}] {fields}; starts at {start or 'v 0'}; " + _destinations(
                    program.routes[k], slot
                )
                neuron += 1
        slots = sorted(
            (axon, first[block.group] + slot, weight, delay)
            for block in program.blocks if block.core == number for axon, slot, weight, delay in block_synapses(block)
        )
        for axon in sorted({entry[0] for entry in slots}):
            row = (f"neuron {slot} weight {weight} delay {delay}" for at, slot, weight, delay in slots if at == axon)
            yield f"  axon {axon}: " + ", ".join(row)


def _destinations(routes: Routes, neuron: int) -> str:
    here = np.arange(routes.indptr[neuron], routes.indptr[neuron + 1])
    return "to " + (", ".join(f"core {routes.core[k]} axon {routes.axon[k]}" for k in here) or "nowhere")
