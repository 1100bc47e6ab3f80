"""Write a mapped network as a standalone Lava program: `network.py`, its weights, and the map of the cores.

The program computes the quantized network with Lava's own processes. Which core holds what is data beside it (`core_map.json`),
because Lava has no public way to place neurons.
"""

from __future__ import annotations

import io
import json
import zipfile
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np

from nmap.connectivity import Array, Conv2d, Dense
from nmap.program import Program
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap_loihi2.measure import measure

__all__ = ["emit"]

_PROCESS = {"loihi2.lif": "LIF", "loihi2.ternary_lif": "TernaryLIF"}
_RENAMED = {("TernaryLIF", "vth"): "vth_hi"}
_SIGN = {"mixed": "SignMode.MIXED", "excitatory": "SignMode.EXCITATORY", "inhibitory": "SignMode.INHIBITORY"}
_README = """\
Lava program of a spiking network mapped by nmap to {target} ({cores} cores).

  network.py      the network as Lava processes; needs only numpy and Lava: Python 3.10, pip install "lava-nc==0.10.0"
  weights.npz     its integer arrays
  core_map.json   which core holds which neurons, and what it takes of the core's budgets

  python network.py --input S.npz --output OUT.npz     run on Lava's fixed-point (bit-accurate) models on the CPU
  python network.py --help                             all options; --hardware needs Intel's lava-loihi extension

S.npz holds {given}, integers.
OUT.npz holds {sent} in the chip's own time:
input column t is sent in step t, and a spike of step t acts in step t + 1. The output runs {latency} steps behind the input.
"""


def _npz(arrays: dict[str, Array]) -> bytes:
    """Return an .npz file, the same bytes for the same arrays."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
            # A fixed date and system: zip entries otherwise carry the time of writing.
            info = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            info.compress_type, info.create_system, info.external_attr = zipfile.ZIP_DEFLATED, 3, 0o644 << 16
            archive.writestr(info, member.getvalue(), compresslevel=6)
    return buffer.getvalue()


def _population(number: int, population: QuantizedPopulation, arrays: dict[str, Array]) -> dict[str, Any]:
    process = _PROCESS[str(population.kernel)]
    arguments = []
    for key, values in (*population.params.items(), *population.initial.items()):
        if (values == values[0]).all():
            value = str(int(values[0]))
        else:
            arrays[f"p{number}.{key}"] = values
            value = f'w["p{number}.{key}"]'
        arguments.append((_RENAMED.get((process, key), key), value))
    return {"name": repr(population.name), "process": process, "shape": (population.size,), "arguments": arguments}


def _projection(number: int, projection: QuantizedProjection, arrays: dict[str, Array]) -> dict[str, Any]:
    synapses, form = projection.connectivity, projection.format
    delayed = projection.delay > 0 or projection.delays is not None
    key = f"c{number}.weights"
    arrays[key] = synapses.weights
    if isinstance(synapses, Conv2d) and not delayed and not (synapses.weights % 2.0 ** max(-form.exponent, 0)).any():
        # Lava's Conv takes its weights as they are, without an exponent.
        arrays[key] = np.rint(synapses.weights * 2.0**form.exponent).astype(np.int32)
        unrolled = False
    else:
        unrolled = isinstance(synapses, Conv2d)
    arguments: list[tuple[str, Any]]
    if isinstance(synapses, Conv2d) and not unrolled:
        process = "Conv"
        arguments = [
            ("weight", f'kernel(w["{key}"])'), ("input_shape", synapses.in_shape[::-1]), ("stride", synapses.stride[::-1]),
            ("padding", synapses.padding[::-1]), ("dilation", synapses.dilation[::-1]), ("groups", synapses.groups),
        ]
    elif isinstance(synapses, Dense):
        process = "DelayDense" if delayed else "Dense"
        arguments = [("weights", f'w["{key}"]')]
    elif isinstance(synapses, Conv2d):
        process = "DelaySparse" if delayed else "Sparse"
        geometry = (
            synapses.in_shape, synapses.out_shape, synapses.stride, synapses.padding, synapses.dilation, synapses.groups,
        )
        arguments = [("weights", f'unroll(w["{key}"], {", ".join(map(repr, geometry))})')]
    else:
        process = "DelaySparse" if delayed else "Sparse"
        arrays[f"c{number}.indices"], arrays[f"c{number}.indptr"] = synapses.indices, synapses.indptr
        shape = (synapses.out_size, synapses.in_size)
        arguments = [("weights", f'csr_matrix((w["{key}"], w["c{number}.indices"], w["c{number}.indptr"]), {shape})')]
    if delayed:
        steps: str = str(projection.delay)
        if projection.delays is not None:
            arrays[f"c{number}.delays"] = projection.delays + projection.delay
            steps = f'w["c{number}.delays"]'
        if process == "DelaySparse":
            arguments = [*arguments, ("delays", f"delayed({arguments[0][1]}, {steps})")]
        elif projection.delays is not None:
            arguments.append(("delays", steps))
        else:
            arguments.append(("delays", f'np.full(w["{key}"].shape, {steps}, np.int64)'))
    arguments.append(("num_weight_bits", form.bits))
    if process != "Conv":
        arguments += [("weight_exp", form.exponent), ("sign_mode", _SIGN[form.sign])]
    arguments.append(("num_message_bits", form.message_bits))
    return {
        "source": repr(projection.source), "target": repr(projection.target), "process": process, "arguments": arguments,
        "comment": f"{projection.name!r}, {synapses.synapses} synapses", "unrolled": unrolled,
    }


def _core_map(program: Program) -> dict[str, Any]:
    used = measure(program)
    cores: list[dict[str, Any]] = [
        {"chip": core.chip, "x": core.x, "y": core.y, "core": core.core, "slices": [], "input_axons": [], "used": used[number]}
        for number, core in enumerate(program.cores)
    ]
    for group in program.groups:
        where = {"box": group.slice} if isinstance(group.slice, tuple) else {"indices": group.slice.tolist()}
        cores[group.core]["slices"].append({
            "population": program.populations[group.population].name, "neurons": group.size, **where,
        })
    for block in program.blocks:
        population = program.populations[program.groups[block.group].population].name
        cores[block.core]["input_axons"].append({"first": block.axon, "count": block.axons, "to": population})
    return {
        "schema": "nmap.core_map/1", "target": program.target, "variant": program.variant,
        "populations": [{"name": p.name, "shape": p.shape, "latency": p.latency} for p in program.populations],
        "cores": cores,
    }


def _environment() -> jinja2.Environment:
    # The template writes Python, not HTML; every name from the user's file goes through repr.
    return jinja2.Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False,
    )


def emit(network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
    """Return the files of the Lava program by relative path; the same input gives the same bytes.

    Args:
        network: the quantized network; kernels `loihi2.lif` and `loihi2.ternary_lif`.
        program: its mapping, described in `core_map.json`.
    """
    arrays: dict[str, Array] = {}
    neurons = [p for p in network.populations if p.kernel is not None]
    populations = [_population(number, p, arrays) for number, p in enumerate(neurons)]
    projections = [_projection(number, p, arrays) for number, p in enumerate(network.projections)]
    inputs = [(name, network[name].size) for name in network.inputs]
    n_out = sum(network[name].size for name in network.outputs)
    target = f"{program.target}:{program.variant}"
    shape = network[network.inputs[0]].shape if len(network.inputs) == 1 else (sum(size for _, size in inputs),)
    template = _environment().from_string(files("nmap_loihi2").joinpath("lava_program.py.j2").read_text(encoding="utf-8"))
    text = template.render(
        target=target, input_shape=shape, inputs=inputs, outputs=list(network.outputs), n_in=sum(s for _, s in inputs),
        n_out=n_out, latency=network.latency, populations=populations, projections=projections, used={p["process"] for p in projections},
        signed=any(p["process"] != "Conv" for p in projections), unrolled=any(p["unrolled"] for p in projections),
        message_bits=max((p.format.message_bits for p in network.projections), default=0),
    )
    given = f"`inputs` (samples, time, {', '.join(map(str, shape))})"
    if len(inputs) > 1:
        given = ", ".join(f"`inputs.{name}` (samples, time, {', '.join(map(str, network[name].shape))})" for name in network.inputs)
    sent = f"`spikes` (samples, steps, {n_out})"
    if len(network.outputs) > 1:
        sent = ", ".join(f"`spikes.{name}` (samples, steps, {network[name].size})" for name in network.outputs)
    readme = _README.format(target=target, cores=len(program.cores), given=given, sent=sent, latency=network.latency)
    core_map = json.dumps(_core_map(program), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return {
        "network.py": text.encode(), "weights.npz": _npz(arrays), "core_map.json": core_map.encode(), "README.txt": readme.encode(),
    }
