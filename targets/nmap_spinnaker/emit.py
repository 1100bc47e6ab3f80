"""Write a mapped network as a PyNN script for sPyNNaker: `run.py`, its arrays and the map of its cores.

The script is idiomatic PyNN (populations, list connectors, `sim.run`), with a splitter that puts every slice on its core. Convolutions are
unrolled by the script, from their kernels: a list of their synapses would be as many times larger as a kernel has positions.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np

from nmap.connectivity import Array, Conv2d, Dense
from nmap.program import Program
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap.target.spec import load_spec
from nmap_spinnaker.arithmetic import ONE, raw, ring_slots
from nmap_spinnaker.artefact import (
    ARRAYS,
    CELLS,
    CORE_MAP,
    RECEPTORS,
    SCHEMA,
    SILENT,
    SOURCE,
    Part,
    board_size,
    bound,
    compact,
    cores,
    loads,
    npz,
    one,
    parts,
    shift_of,
)
from nmap_spinnaker.layout import received, spike_buffer
from nmap_spinnaker.pynn import start_values

__all__ = ["emit"]

_SETTINGS = "spynnaker.cfg"
_SHIFTS = ("shift_0", "shift_1")
_BUFFER = 256
"""Spikes that a core's input buffer holds where nothing else is said (sPyNNaker 7.4.1, `incoming_spike_buffer_size`)."""
_CONFIGURATION = """\
# sPyNNaker's settings for run.py, read from the folder in which it runs. They are added to those in your home folder's .spynnaker.cfg,
# which says which machine to use: `machine_name` and `version = {version}` below [Machine], or `spalloc_server`.
# Dead chips, cores and links that the machine does not report itself stand there too: down_chips, down_cores, down_links (README.txt).
# The placement counts on the extra monitor cores, which are on unless switched off (enable_advanced_monitor_support).
"""
_README = """\
PyNN script of a spiking network mapped by nmap to {target} ({cores}).

  run.py          the network as PyNN populations and projections; needs sPyNNaker: pip install "spynnaker==1!7.4.1"
  network.npz     its parameters and weights as the cores hold them
  core_map.json   which core holds which neurons: chip (x, y), processor p, nmap's number of the core
  spynnaker.cfg   settings; which machine to use stands in your home folder's .spynnaker.cfg

  python run.py --input S.npz --out OUT.npz     run on the machine
  python run.py --input S.npz --virtual         map onto {machine} that is not there
  python run.py --input S.npz --router vendor   leave the routes to sPyNNaker's own router; see below
  python run.py --help                          all options

S.npz holds {given}, 0 or 1.
OUT.npz holds {sent} in the network's own time, as `nmap run` writes it.
A tick is {timestep:g} ms of the network and takes {taken:g} ms. The last output runs {latency} ticks behind the input.

Router. sPyNNaker's own router (PACMAN 7.4.1, ApplicationRouter) sends a population's spikes to whole populations. Where the chips of one
population are not all linked to each other it stops with an error, and nmap places slices so. So run.py puts a router of its own in its
place: one tree for each slice, to the cores with synapses from it. With --router vendor, or where this sPyNNaker has no such router to be
replaced, sPyNNaker's own is used. The routes change neither spikes nor places.

Dead parts. A machine tells sPyNNaker which of its chips, cores and links are dead. The placement is fixed: it avoids the dead parts that
were named when the network was mapped (`--dead-cores`, `--dead-links`), and these files do not list them. Where it needs a core that
the machine does not have, sPyNNaker stops with an error: map again, and name that core. The routes of run.py use no link that the machine
does not have. SpiNNaker numbers the working cores of a chip without gaps, so that a chip with a dead core lacks its last processor.
Parts that a machine, or --virtual's, should be taken not to have go below [Machine] in your home folder's .spynnaker.cfg:

  down_chips = X,Y:X,Y
  down_cores = X,Y,P:X,Y,P         processor P, as in core_map.json
  down_links = X,Y,LINK:X,Y,LINK   0 east, 1 north-east, 2 north, 3 west, 4 south-west, 5 south; name a link at both of its chips
"""


def emit(network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
    """Return the files of the PyNN script by relative path; the same input gives the same bytes.

    Args:
        network: the quantized network; kernels of `nmap_spinnaker`.
        program: its mapping.

    Raises:
        ValueError: neurons of a population differ in what PyNN has one of, start with a state that PyNN does not know, or have another time
            step; sources are not fed one by one; or a delay is longer than the ring buffers of a target's slices.
    """
    found = parts(program)
    arrays: dict[str, Array] = {}
    numbers = {population.name: number for number, population in enumerate(program.populations)}
    timestep = _timestep(program)
    for population in network.populations:
        if population.kernel in CELLS:
            arrays |= _cells(numbers[population.name], population, timestep)
    ports = loads(network)
    projections: list[dict[str, Any]] = []
    for projection in network.projections:
        if network[projection.target].kernel != SOURCE:
            _check_delays(projection, [part for part in found if program.populations[part.population].name == projection.target])
            projections.append(_projection(len(projections), network, projection, arrays))
    context = {
        "title": f"{load_spec('nmap_spinnaker', 'chip1.toml').title}, {program.variant}", "timestep": repr(timestep / 1000),
        "time_scale": program.settings.get("time_scale", 1), "boards": board_size(program).boards, "latency": program.latency,
        "inputs": _inputs(network, ports), "outputs": list(network.outputs), "silent": SILENT,
        "populations": [_population(network, population) for population in network.populations if population.kernel is not None],
        "projections": projections,
    }
    return {
        "run.py": _environment().get_template("run.py.j2").render(context).encode(),
        ARRAYS: npz(arrays),
        _SETTINGS: _CONFIGURATION.format(version=board_size(program).version).encode(),
        CORE_MAP: (json.dumps(_core_map(network, program, found), separators=(",", ":")) + "\n").encode(),
        "README.txt": _readme(network, program).encode(),
    }


def _environment() -> jinja2.Environment:
    # The template writes Python, not HTML; every name from the user's file goes through repr.
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files("nmap_spinnaker").joinpath(name).read_text(encoding="utf-8")),
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False,
    )


def _timestep(program: Program) -> int:
    """Return the microseconds of a tick."""
    return program.settings.get("timestep_us", 1000)


def _inputs(network: QuantizedNetwork, ports: dict[str, str]) -> list[tuple[str, int, str]]:
    fed = {port: name for name, port in ports.items()}
    missing = [name for name in network.inputs if name not in fed]
    if missing:
        raise ValueError(f"no sources send on what the input port `{missing[0]}` gets")
    return [(name, network[name].size, fed[name]) for name in network.inputs]


def _population(network: QuantizedNetwork, population: QuantizedPopulation) -> dict[str, Any]:
    """Return what the script says of a population."""
    if population.kernel == SOURCE:
        return {"source": True, "name": repr(population.name)}
    size = spike_buffer(received(network, population))
    return {
        "source": False, "name": repr(population.name), "cell": repr(CELLS[str(population.kernel)]), "bounds": _bounds(population),
        "buffer": f", incoming_spike_buffer_size={size}" if size > _BUFFER else "",
    }


def _bounds(population: QuantizedPopulation) -> list[float]:
    return [bound(one(population.name, key, population.params[key])) for key in _SHIFTS]


def _cells(number: int, population: QuantizedPopulation, timestep: int) -> dict[str, Array]:
    """Return a population's raw parameters and initial state, one number where all neurons agree."""
    own = one(population.name, "timestep", population.params["timestep"])
    if own != int(raw(timestep / 1000)):
        raise ValueError(f"neurons of `{population.name}` have a time step of {own / ONE} ms, the chip's is {timestep / 1000} ms")
    stored = {
        f"p{number}.param.{key}": values for key, values in sorted(population.params.items()) if key not in (*_SHIFTS, "timestep")
    }
    start = start_values(str(population.kernel), population.params, population.initial)
    stored |= {f"p{number}.initial.{key}": values for key, values in start.items() if key == "v" or values.any()}
    return {key: (values[:1].reshape(()) if (values == values[0]).all() else values).astype(np.int32) for key, values in stored.items()}


def _check_delays(projection: QuantizedProjection, into: list[Part]) -> None:
    """Refuse delays for which sPyNNaker would add cores that only delay spikes: its host lays their rows out wrongly (7.4.1)."""
    longest = _delays(projection)[1]
    for part in into:
        slots = ring_slots(min(part.per_core, part.neurons.size))
        if longest > slots:
            raise ValueError(
                f"`{projection.name}` has a delay of {longest} ticks; the ring buffers of `{part.label}` hold {slots}, with {part.per_core}"
                " neurons on a core"
            )


def _projection(number: int, network: QuantizedNetwork, projection: QuantizedProjection, arrays: dict[str, Array]) -> dict[str, Any]:
    """Return what the script says of a projection, and add its arrays."""
    listed, key = projection.connectivity, f"c{number}"
    arrays[f"{key}.weights"] = listed.weights.astype(np.uint16)
    weights = f'net.arrays["{key}.weights"]'
    if isinstance(listed, Dense):
        synapses = f"dense({weights})"
    elif isinstance(listed, Conv2d):
        geometry = (listed.in_shape, listed.out_shape, listed.stride, listed.padding, listed.dilation, listed.groups)
        synapses = f"conv({weights}, {', '.join(map(repr, geometry))})"
    else:
        arrays[f"{key}.indptr"], arrays[f"{key}.indices"] = listed.indptr, listed.indices
        synapses = f'sparse(net.arrays["{key}.indptr"], net.arrays["{key}.indices"], {weights})'
    delay = str(1 + projection.delay)
    if projection.delays is not None:
        # The script lists synapses without those of weight 0.
        arrays[f"{key}.delays"] = (1 + projection.delay + projection.delays[listed.weights > 0]).astype(np.int32)
        delay = f'net.arrays["{key}.delays"]'
    return {
        "name": projection.name, "source": repr(projection.source), "target": repr(projection.target),
        "receptor": repr(RECEPTORS[projection.receptor]), "synapses": synapses, "shift": shift_of(network, projection), "delay": delay,
    }


def _core_map(network: QuantizedNetwork, program: Program, found: tuple[Part, ...]) -> dict[str, Any]:
    places, size = cores(program), board_size(program)
    return {
        "schema": SCHEMA, "target": program.target, "variant": program.variant, "settings": dict(sorted(program.settings.items())),
        "latency": program.latency,
        "machine": {"version": size.version, "width": size.width, "height": size.height, "boards": size.boards},
        "populations": [
            {
                "name": population.name, "number": number, "shape": list(population.shape), "latency": population.latency,
                "kernel": network[population.name].kernel, "sources": network[population.name].kernel == SOURCE,
                "output": population.is_output, **_settings(network, network[population.name]),
                "parts": [_part(program, part, places) for part in found if part.population == number],
            }
            for number, population in enumerate(program.populations) if not population.is_input
        ],
        "projections": [
            {
                "name": projection.name, "source": projection.source, "target": projection.target,
                "receptor": RECEPTORS[projection.receptor], "delays": _delays(projection), "shift": shift_of(network, projection),
                "connectivity": _connectivity(projection),
            }
            for projection in network.projections if network[projection.target].kernel != SOURCE
        ],
    }


def _settings(network: QuantizedNetwork, population: QuantizedPopulation) -> dict[str, Any]:
    """Return what is set of a population of neurons beyond its parameters."""
    if population.kernel == SOURCE:
        return {}
    return {"max_expected_summed_weight": _bounds(population), "incoming_spike_buffer_size": spike_buffer(received(network, population))}


def _part(program: Program, part: Part, places: tuple[tuple[int, int, int], ...]) -> dict[str, Any]:
    slices = []
    for group, neurons in zip(part.groups, part.slices(), strict=True):
        core = program.groups[group].core
        x, y, p = places[core]
        slices.append({
            "x": x, "y": y, "p": p, "chip": program.cores[core].chip, "core": program.cores[core].core,
            "padding": int((neurons < 0).sum()), "neurons": compact(neurons),
        })
    return {"label": part.label, "neurons_per_core": part.per_core, "padding": part.padding, "slices": slices}


def _connectivity(projection: QuantizedProjection) -> dict[str, Any]:
    listed = projection.connectivity
    if not isinstance(listed, Conv2d):
        return {"kind": listed.kind}
    return {
        "kind": listed.kind, "in_shape": list(listed.in_shape), "stride": list(listed.stride), "padding": list(listed.padding),
        "dilation": list(listed.dilation), "groups": listed.groups,
    }


def _delays(projection: QuantizedProjection) -> list[int]:
    """Return the least and the largest delay in ticks."""
    extra = (0, 0)
    if projection.delays is not None and projection.delays.size:
        extra = int(projection.delays.min()), int(projection.delays.max())
    return [1 + projection.delay + more for more in extra]


def _readme(network: QuantizedNetwork, program: Program) -> str:
    timestep, scale, size = _timestep(program), program.settings.get("time_scale", 1), board_size(program)
    several = len(network.inputs) > 1
    given = ", ".join(f"`inputs.{name}` (samples, time, {network[name].size})" for name in network.inputs) if several else (
        f"`inputs` (samples, time, {network[network.inputs[0]].size}) or of the port's shape"
    )
    sent = ", ".join(f"`spikes.{name}`" for name in network.outputs) if len(network.outputs) > 1 else "`spikes` (samples, time, ...)"
    used = len(program.cores)
    return _README.format(
        target=f"{program.target}:{program.variant}", cores=f"{used} core{'' if used == 1 else 's'}", given=given, sent=sent,
        machine="a board" if size.boards == 1 else f"{size.boards} boards", timestep=timestep / 1000, taken=timestep * scale / 1000,
        latency=program.latency,
    )
