"""What a deployment leaves behind for the chip's own tools and for RANC, and the check that the files hold what the program says.

`model.json` is the text model file that corelets compile to, `model_inpMap.bin` and `model_outMap.bin` list its pins for tools that name
them, `spikes/*.sfti` are samples as spikes into it, `connectors.json` says which pin is which neuron. `ranc/` has the same for RANC, where
its simulator can run the program.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from nmap.connectivity import Array
from nmap.diagnostics import Findings, NmapError
from nmap.program import Program
from nmap.quantized import QuantizedNetwork
from nmap_truenorth.artefact import (
    STEP_TO_TICK,
    RancForm,
    axon_delays,
    axon_sources,
    corelets,
    first_columns,
    input_events,
    output_pins,
    ranc_form,
    to_model,
)
from nmap_truenorth.model.lists import compact
from nmap_truenorth.model.model import Model, differences
from nmap_truenorth.model.ranc import write_packets, write_ranc
from nmap_truenorth.model.read import read_model, read_spikes
from nmap_truenorth.model.spikes import Connector, write_connectors, write_sfti
from nmap_truenorth.model.text import write_text

__all__ = ["CONNECTORS", "INPUT_MAP", "MODEL", "OUTPUT_MAP", "RANC_CONFIG", "RANC_MODEL", "emit", "emit_samples", "reread"]

MODEL, CONNECTORS, RANC_MODEL, RANC_CONFIG = "model.json", "connectors.json", "ranc/model.json", "ranc/config.json"
INPUT_MAP, OUTPUT_MAP = "model_inpMap.bin", "model_outMap.bin"
_SCHEMA = "nmap.truenorth.connectors/1"
_MOST = 10
"""Sentences of one file that are told."""


def emit(network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
    """Return the files of the artefact, by relative path.

    Raises:
        ValueError: the program is none of this chip's.
    """
    model = to_model(program)
    ranc = ranc_form(program, model)
    files = {MODEL: write_text(model), "README.txt": _readme(program, ranc).encode(), **_maps(network, program, model, ranc)}
    if ranc.model is not None:
        files[RANC_MODEL], files[RANC_CONFIG] = write_ranc(ranc.model)
    return files


def emit_samples(program: Program, samples: Iterator[dict[str, Array]], steps: int) -> dict[str, bytes]:  # noqa: ARG001
    """Return samples as spike files, by relative path: `spikes/sample_0000.sfti`, and `ranc/packets_0000.json` where RANC has a model.

    Args:
        program: what the samples are for.
        samples: (time, *shape) integers by input port, one sample after the other; any number but 0 is a spike.
        steps: chip steps of one sample.
    """
    model = to_model(program)
    ranc = ranc_form(program, model).model
    files = {}
    for number, sample in enumerate(samples):
        events = input_events(program, sample)
        files[f"spikes/sample_{number:04d}.sfti"] = write_sfti(events, model)
        if ranc is not None:
            # The spikes are in the time of spike files, as for the model that RANC's was made of.
            packets = write_packets(replace(ranc, input_delay=model.input_delay), events)
            files[f"ranc/packets_{number:04d}.json"] = (json.dumps({"packets": packets}, separators=(",", ":")) + "\n").encode()
    return files


def reread(folder: Path, network: QuantizedNetwork, program: Program) -> list[str]:
    """Return a sentence for everything in the written files that is not the program, [] where they hold the same.

    Args:
        folder: where the files of `emit` and `emit_samples` lie.
        network, program: what they were made from.
    """
    try:
        model = to_model(program)
    except ValueError as error:
        # A program that was changed may hold weights that no crossbar makes.
        return [f"program.h5: {error}"]
    form = ranc_form(program, model)
    told = _read_back(folder, MODEL, model)
    for name, content in _maps(network, program, model, form).items():
        told += _same_bytes(folder, name, content)
    if form.model is not None:
        told += _read_back(folder, RANC_MODEL, form.model)
    for path in sorted((folder / "spikes").glob("*.sfti")):
        findings = Findings()
        try:
            events = read_spikes(path, model, findings)
        except NmapError as error:
            told += [f"spikes/{path.name}: {diagnostic.message}" for diagnostic in error.diagnostics[:_MOST]]
            continue
        told += [f"spikes/{path.name}: {text}" for text in _no_sample(program, events.tick, events.core, events.axon)]
    if form.model is not None:
        core_of = {place: core for core, place in enumerate(form.places)}
        for path in sorted((folder / "ranc").glob("packets_*.json")):
            try:
                spikes = np.array([
                    (tick - 1 + packet["destination_tick"], core_of[tuple(packet["destination_core"])], packet["destination_axon"])
                    for tick, packets in enumerate(json.loads(path.read_bytes())["packets"]) for packet in packets
                ], np.int64).reshape(-1, 3)
            except (OSError, ValueError, KeyError, TypeError) as error:
                told.append(f"ranc/{path.name}: it cannot be read: {error}")
                continue
            told += [f"ranc/{path.name}: {text}" for text in _no_sample(program, *spikes.T)]
    return told


def _read_back(folder: Path, name: str, meant: Model) -> list[str]:
    """Return where a written model differs from the one meant."""
    try:
        found = read_model(folder / name, Findings())
    except NmapError as error:
        return [f"{name}: {diagnostic.message}" for diagnostic in error.diagnostics[:_MOST]]
    return [f"{name}, as written and as meant: {text}" for text in differences(found, meant, _MOST)]


def _same_bytes(folder: Path, name: str, content: bytes) -> list[str]:
    try:
        same = (folder / name).read_bytes() == content
    except OSError as error:
        return [f"{name}: it cannot be read: {error.strerror or error}"]
    return [] if same else [f"{name} is not what the program gives"]


def _no_sample(program: Program, tick: Array, core: Array, axon: Array) -> list[str]:
    """Say where spikes, in the time of spike files, are not those of a sample: each of a neuron's pins gets each of its spikes once."""
    delays, sources = axon_delays(program), axon_sources(program)
    inside = (core >= 0) & (core < len(program.cores)) & (axon >= 0) & (axon < delays.shape[1])
    port, neuron = np.where(inside[:, None], sources[np.where(inside, core, 0), np.where(inside, axon, 0)], -1).T
    given = np.isin(port, list(program.inputs))
    told = [f"axon {axon[k]} of core {core[k]} is no pin of an input" for k in np.flatnonzero(~given)[:_MOST]]
    port, neuron = port[given], neuron[given]
    step = tick[given] - delays[core[given], axon[given]] - STEP_TO_TICK
    rows = np.stack([port, neuron, step, core[given], axon[given]], axis=1)
    distinct = np.unique(rows, axis=0)
    if len(distinct) < len(rows):
        told.append(f"{len(rows) - len(distinct)} spikes are there twice")
    sent, pins = np.unique(distinct[:, :3], axis=0, return_counts=True)
    for index, routes in program.inputs.items():
        here = sent[:, 0] == index
        name = program.populations[index].name
        wrong = here.copy()
        wrong[here] = pins[here] != np.diff(routes.indptr)[sent[here, 1]]
        for _, place, at in sent[wrong][:_MOST].tolist():
            told.append(f"the spike of neuron {place} of `{name}` in step {at} is not on all of its pins")
        for _, place, at in sent[here & (sent[:, 2] < 0)][:_MOST].tolist():
            told.append(f"neuron {place} of `{name}` sends in step {at}")
    return told


def _maps(network: QuantizedNetwork, program: Program, model: Model, ranc: RancForm) -> dict[str, bytes]:
    """Return what says where inputs and outputs are, by file name."""
    inputs, outputs = [], []
    for name in network.inputs:
        routes = program.inputs[_index(program, name)]
        inputs.append(Connector(name, False, routes.core.astype(np.int64), routes.axon.astype(np.int64)))
    for name in network.outputs:
        pins = output_pins(program)[_index(program, name)]
        outputs.append(Connector(name, True, pins.core, pins.column))
    return {
        CONNECTORS: _connectors(network, program, model, ranc), INPUT_MAP: write_connectors(inputs), OUTPUT_MAP: write_connectors(outputs),
    }


def _connectors(network: QuantizedNetwork, program: Program, model: Model, ranc: RancForm) -> bytes:
    """Return `connectors.json`: where everything outside the model file is connected, and which corelet is which population."""
    parts: dict[str, Any] = {
        "schema": _SCHEMA,
        "target": [program.target, program.variant],
        "model": MODEL,
        "time": {
            "tick_of_step": STEP_TO_TICK,
            "input": "a spike of step t goes to every pin [core, axon, delay] of its neuron with srcTime = t + delay",
            "output": "a spike of [core, neuron] in tick c is one of the network's step c - latency",
            "steps_beyond_input": program.latency,
        },
        "inputs": [_input(program, name) for name in network.inputs],
        "outputs": [_output(program, name) for name in network.outputs],
        "cores": [
            {"id": k, "chip": core.chip, "core": core.core, "x": core.x, "y": core.y, "corelet": model.corelets[k]["coreletId"]}
            for k, core in enumerate(program.cores)
        ],
        "corelets": [{"id": 0, "class": "network", "parents": [-1]}, *_corelets(program, model)],
        "ranc": _ranc(ranc),
    }
    return ("\n".join(_lines(parts)) + "\n").encode()


def _lines(parts: Mapping[str, Any], indent: str = "") -> Iterator[str]:
    """Write JSON with a line for each entry of a list, for people and for line-wise tools."""
    yield "{"
    last = len(parts) - 1
    for place, (key, value) in enumerate(parts.items()):
        end = "" if place == last else ","
        head = f"{indent} {json.dumps(key)}: "
        if isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{head}["
            for k, item in enumerate(value):
                yield from _entry(item, f"{indent}  ", "" if k == len(value) - 1 else ",")
            yield f"{indent} ]{end}"
        else:
            yield f"{head}{json.dumps(value)}{end}"
    yield f"{indent}}}"


def _entry(item: Mapping[str, Any], indent: str, end: str) -> Iterator[str]:
    if not any(isinstance(value, list) and value and isinstance(value[0], (dict, list)) for value in item.values()):
        yield f"{indent}{json.dumps(item)}{end}"
        return
    yield f"{indent}{{"
    last = len(item) - 1
    for place, (key, value) in enumerate(item.items()):
        more = "" if place == last else ","
        if isinstance(value, list) and value and isinstance(value[0], (dict, list)):
            yield f"{indent} {json.dumps(key)}: ["
            yield from (f"{indent}  {json.dumps(entry)}{'' if k == len(value) - 1 else ','}" for k, entry in enumerate(value))
            yield f"{indent} ]{more}"
        else:
            yield f"{indent} {json.dumps(key)}: {json.dumps(value)}{more}"
    yield f"{indent}}}{end}"


def _index(program: Program, name: str) -> int:
    return next(k for k, population in enumerate(program.populations) if population.name == name)


def _input(program: Program, name: str) -> dict[str, Any]:
    index = _index(program, name)
    routes, delays = program.inputs[index], axon_delays(program)
    pins = np.stack([routes.core, routes.axon, delays[routes.core, routes.axon]], axis=1).tolist()
    ends = routes.indptr.tolist()
    return {
        "name": name, "shape": list(program.populations[index].shape),
        "neurons": [pins[ends[k] : ends[k + 1]] for k in range(prod(program.populations[index].shape))],
    }


def _output(program: Program, name: str) -> dict[str, Any]:
    index = _index(program, name)
    population, pins = program.populations[index], output_pins(program)[index]
    return {
        "name": name, "shape": list(population.shape), "latency": population.latency, "first_line": int(pins.line[0]),
        "entries": ["core", "neuron", "destCore", "destAxon"],
        "neurons": np.stack([pins.core, pins.column, pins.connector, pins.pin], axis=1).tolist(),
    }


def _corelets(program: Program, model: Model) -> list[dict[str, Any]]:
    """Return each corelet with its columns and with the connectors through which it hears others and is heard."""
    first, sources, delays = first_columns(program), axon_sources(program), axon_delays(program)
    origin = {k: program.origin(k) for k in range(len(program.populations))}
    columns: dict[int, list[dict[str, Any]]] = {}
    for group, start in zip(program.groups, first.tolist(), strict=True):
        population, neurons = program.computed(group)
        columns.setdefault(population, []).append({
            "core": group.core, "columns": compact(np.arange(start, start + group.size)), "neurons": compact(neurons),
            "copies": group.population in program.copies,
        })
    heard: dict[int, list[dict[str, Any]]] = {}
    hears: dict[int, list[str]] = {}
    seen = set()
    for block in program.blocks:
        target = origin[program.groups[block.group].population]
        if (block.core, block.axon, block.axons) in seen:
            continue
        # Copies hear on the axons of what they copy.
        seen.add((block.core, block.axon, block.axons))
        run = slice(block.axon, block.axon + block.axons)
        source = int(sources[block.core, block.axon, 0])
        heard.setdefault(target, []).append({
            "from": program.populations[source].name, "core": block.core, "axons": compact(np.arange(run.start, run.stop)),
            "neurons": compact(sources[block.core, run, 1]), "types": compact(model.axon_types[block.core, run]),
            "delay": int(delays[block.core, block.axon]),
        })
        names = hears.setdefault(source, [])
        if program.populations[target].name not in names:
            names.append(program.populations[target].name)
    return [
        {
            "id": corelet.number, "class": corelet.name, "parents": list(corelet.parents),
            "population": program.populations[corelet.population].name, "shape": list(program.populations[corelet.population].shape),
            "latency": program.populations[corelet.population].latency, "columns": columns.get(corelet.population, []),
            "inputs": heard.get(corelet.population, []),
            "outputs": hears.get(corelet.population, []) + (["off the chip"] if program.populations[corelet.population].is_output else []),
        }
        for corelet in corelets(program)
    ]


def _ranc(form: RancForm) -> dict[str, Any]:
    if form.model is None:
        return {"why_not": list(form.reasons)}
    return {
        "model": RANC_MODEL, "config": RANC_CONFIG, "ticks": form.ticks, "output_bus": list(form.bus),
        "packets": "a spike of step t goes to every pin [core, axon, delay] of its neuron in element t + 1 + delay, destination_tick 0",
        "rows": "row r of the output has the spikes of tick r - 1; line first_line + n is neuron n of an output",
        "cores": [list(place) for place in form.places],
    }


def _readme(program: Program, ranc: RancForm) -> str:
    """Return what the files are and how each is run."""
    lines = [
        f"{program.target}:{program.variant}, cores in use: {len(program.cores)}.",
        f"Run a sample for its own steps and {program.latency} more.",
        "",
        f"{MODEL}",
        "  The chip's text model file: what corelets compile to (CPEmakeModel) and NSCS runs; json2tnk makes the chip's binary file of it.",
        "  Those tools are not public, and it was not tried with them. Every core names its corelet, one for each population.",
        "  Without them:",
        f"    nmap run {MODEL} --target truenorth --input spikes/sample_0000.sfti -o out.npz",
        "spikes/*.sfti",
        "  The samples of the deployment, one file each, as spikes into the model; only there if it was given samples.",
        f"{INPUT_MAP}, {OUTPUT_MAP}",
        "  The pins of every input port and output population, in the form in which the chip's tools list connectors: an input",
        "  neuron's pins follow each other, neuron by neuron.",
        f"{CONNECTORS}",
        "  Which core and axon each input neuron drives, and which core and neuron each output neuron is; where cores lie on the chip; the",
        "  corelets with their connectors.",
    ]
    if ranc.model is None:
        lines += ["", "RANC cannot run this program:", *(f"  {reason}" for reason in ranc.reasons)]
    else:
        lines += [
            f"{RANC_MODEL}, {RANC_CONFIG}, ranc/packets_*.json",
            "  The same for RANC's simulator, the packets of a sample to be put into the model:",
            f"    jq -s '.[0] * .[1]' {RANC_MODEL} ranc/packets_0000.json > in.json",
            f"    ranc_sim -i in.json -c {RANC_CONFIG} -o out.txt --ticks N",
            "  Row r of out.txt, from 0, has the spikes of tick r - 1, so N is one more than the ticks wanted.",
        ]
        if ranc.ticks is not None:
            lines.append(f"  It is proved to be the same for {ranc.ticks} ticks; then a membrane may reach its floor: RANC resets it.")
    return "\n".join(lines) + "\n"
