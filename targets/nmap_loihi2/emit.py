"""Write a mapped network as a standalone Lava program: `network.py`, its weights, and the map of the cores.

The program computes the quantized network with Lava's own processes. Which core holds what is data beside it (`core_map.json`),
because Lava has no public way to place neurons.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np

from nmap.connectivity import Array, Conv2d, Dense
from nmap.program import Program
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.target.spec import load_spec
from nmap_loihi2.measure import measure

__all__ = ["emit"]


@dataclass(frozen=True, slots=True)
class _Process:
    """A process of Lava and the model that computes it on the CPU.

    Args:
        module: where it is, below `lava.proc`.
        model: class of the fixed-point model in `lava.proc.<module>.models`.
        kept: attributes of the model that hold state, put back at a sample's first step.
        states: the kernel's state variables by attribute of the model, for `--states`.
    """

    module: str
    model: str
    kept: tuple[str, ...]
    states: dict[str, str] = field(default_factory=dict)


_CURRENT = {"u": "u", "v": "v"}
_TURNING = {"real": "u", "imag": "v"}
_LATE = {"residue": "residue", "error": "error"}
_PROCESSES = {
    "LIF": _Process("lif", "PyLifModelBitAcc", ("u", "v"), _CURRENT),
    "LIFReset": _Process("lif", "PyLifResetModelBitAcc", ("u", "v"), _CURRENT),
    "TernaryLIF": _Process("lif", "PyTernLifModelFixed", ("u", "v"), _CURRENT),
    "Delta": _Process("sdn", "PyDeltaModelFixed", ("act", "residue", "error"), {"act": "v", **_LATE}),
    "SigmaDelta": _Process(
        "sdn", "PySigmaDeltaModelFixed", ("sigma", "act", "residue", "error"), {"sigma": "u", "act": "v", **_LATE}
    ),
    "Sigma": _Process("sdn", "PySigmaModelFixed", ("sigma",), {"sigma": "v"}),
    "RF": _Process("rf", "PyRFModelFixed", ("real", "imag"), _TURNING),
    "RF_IZ": _Process("rf_iz", "PyRF_IZModelFixed", ("real", "imag"), _TURNING),
    # Its model scales theta_0 and theta_step in its first step, and sets theta.
    "ATRLIF": _Process(
        "atrlif", "PyATRLIFModelFixed", ("i", "v", "theta", "r", "theta_0", "theta_step", "isthrscaled"),
        {"i": "u", "v": "v", "theta": "theta", "r": "rho"},
    ),
    "GradedVec": _Process("graded", "PyGradedVecModelFixed", ("v",), {"v": "v"}),
    "Dense": _Process("dense", "PyDenseModelBitAcc", ("a_buff",)),
    "DelayDense": _Process("dense", "PyDelayDenseModelBitAcc", ("a_buff",)),
    "Sparse": _Process("sparse", "PySparseModelBitAcc", ("a_buff",)),
    "DelaySparse": _Process("sparse", "PyDelaySparseModelBitAcc", ("a_buff",)),
    "Conv": _Process("conv", "PyConvModelFixed", ("a_buf",)),
}
_NEURONS = {
    "loihi2.lif": "LIF", "loihi2.lif_reset": "LIFReset", "loihi2.ternary_lif": "TernaryLIF", "loihi2.delta": "Delta",
    "loihi2.sigma_delta": "SigmaDelta", "loihi2.sigma": "Sigma", "loihi2.rf": "RF", "loihi2.rf_iz": "RF_IZ",
    "loihi2.atrlif": "ATRLIF", "loihi2.relay": "GradedVec",
}
_RESONATORS = ("RF", "RF_IZ")
_STARTED = ("LIF", "LIFReset", "TernaryLIF", "ATRLIF")
"""Processes that are made with an initial state."""
_PAYLOAD_BITS = {"TernaryLIF": 2, "Delta": 24, "SigmaDelta": 24, "Sigma": 24, "GradedVec": 24}
"""Width of what a process sends, that of its port in Lava; the others send single bits."""
_DENSE_BITS, _CONV_BITS = 32, 24
"""Widths of Lava's sums: of Dense and Sparse an int32, of Conv what `signed_clamp` leaves."""
_SIGN = {"mixed": "SignMode.MIXED", "excitatory": "SignMode.EXCITATORY", "inhibitory": "SignMode.INHIBITORY"}
_README = """\
Lava program of a spiking network mapped by nmap to {target} ({cores}).

  network.py      the network as Lava processes; needs only numpy and Lava: Python 3.10, pip install "lava-nc==0.10.0"
  weights.npz     its integer arrays
  core_map.json   which core holds which neurons, and what it takes of the core's budgets

  python network.py --input S.npz --output OUT.npz     run on Lava's fixed-point (bit-accurate) models on the CPU
  python network.py --help                             all options; --hardware needs Intel's lava-loihi extension

S.npz holds {given}, integers.
OUT.npz holds {sent} in the chip's own time:
input column t is sent in step t, and a spike of step t acts in step t + 1. The output runs {latency} behind the input.
"""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


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


class _Values:
    """A population's numbers as source text: one literal where all neurons agree, else an array of `weights.npz`."""

    def __init__(self, number: int, population: QuantizedPopulation, arrays: dict[str, Array]) -> None:
        self.number, self.population, self.arrays = number, population, arrays

    def uniform(self, key: str) -> bool:
        values = self.population.params[key]
        return bool((values == values[0]).all())

    def one(self, key: str) -> int:
        """Return a parameter that Lava's process has one of.

        Raises:
            ValueError: its neurons differ.
        """
        if not self.uniform(key):
            raise ValueError(f"neurons of {self.population.name} differ in {key}, of which Lava's process has one")
        return int(self.population.params[key][0])

    def text(self, key: str, exponent: int = 0) -> str:
        """Return a parameter or initial state over 2^exponent."""
        values = self.population.params[key] if key in self.population.params else self.population.initial[key]
        if (values == values[0]).all():
            value = str(int(values[0]))
        else:
            self.arrays[f"p{self.number}.{key}"] = values
            value = f'w["p{self.number}.{key}"]'
        return f"{value} / {1 << exponent}" if exponent else value


def _neurons(process: str, values: _Values) -> tuple[list[str], list[str]]:
    """Return what a process is made with, and which of its variables are set afterwards, as source text."""
    stored: list[str] = []
    given = [f"shape={(values.population.size,)}"]
    if process in ("LIF", "LIFReset", "TernaryLIF"):
        given += [f"{key}={values.text(key)}" for key in ("du", "dv", "bias_mant", "bias_exp")]
        if process == "TernaryLIF":
            stored += [f"vth_hi={values.text('vth')}", f"vth_lo={values.text('vth_lo')}"]
        else:
            given.append(f"vth={values.text('vth')}")
        if process == "LIFReset":
            interval = values.one("reset_interval")
            given += [f"reset_interval={interval}", f"reset_offset={values.one('reset_offset') % interval}"]
    elif process in ("Delta", "SigmaDelta"):
        spike_exp, state_exp = values.one("spike_exp"), values.one("state_exp")
        # Lava multiplies the threshold and the bias by 2^(spike_exp + state_exp), and has room for one threshold.
        if values.uniform("vth"):
            given.append(f"vth={values.text('vth', spike_exp + state_exp)}")
        else:
            given.append("vth=0")
            stored.append(f"vth={values.text('vth')}")
        if process == "SigmaDelta":
            given.append(f"bias={values.text('bias', spike_exp + state_exp)}")
            given.append(f"act_mode=ActivationMode.{'RELU' if values.one('rectify') else 'UNIT'}")
        given += [f"cum_error={bool(values.one('cum_error'))}", f"spike_exp={spike_exp}", f"state_exp={state_exp}"]
    elif process in _RESONATORS:
        state_exp, decay_bits = values.one("state_exp"), values.one("decay_bits")
        given += [f"**turn({values.text('cos')}, {values.text('sin')}, {decay_bits})", f"state_exp={state_exp}"]
        if values.uniform("vth"):
            given.append(f"vth={values.text('vth', state_exp)}")
        else:
            stored.append(f"vth={values.text('vth')}")
    elif process == "ATRLIF":
        given += [f"{key}={values.text(key, 12)}" for key in ("delta_i", "delta_v", "delta_theta", "delta_r")]
        given += [f"{key}={values.text(key)}" for key in ("theta_0", "theta_step", "bias_mant", "bias_exp")]
    elif process == "GradedVec":
        given.append("vth=0")
    attributes = {variable: attribute for attribute, variable in _PROCESSES[process].states.items()}
    initial = [f"{attributes[key]}={values.text(key)}" for key in values.population.initial if key in attributes]
    return (given + initial, stored) if process in _STARTED else (given, stored + initial)


def _population(number: int, population: QuantizedPopulation, arrays: dict[str, Array]) -> dict[str, Any]:
    process = _NEURONS[str(population.kernel)]
    given, stored = _neurons(process, _Values(number, population, arrays))
    return {"name": repr(population.name), "process": process, "given": given, "stored": stored}


def _takes_conv(projection: QuantizedProjection) -> bool:
    """Return whether Lava's Conv computes a convolution: it has neither delays nor an exponent, and sums in 24 bits."""
    form, weights = projection.format, projection.connectivity.weights
    if projection.delay or projection.delays is not None or (weights % 2 ** max(-form.exponent, 0)).any():
        return False
    return form.accumulator in (0, _conv_bits(form))


def _conv_bits(form: SynapseFormat) -> int:
    """Return the bits in which stored weights wrap as Lava's Conv does with those that it is given, 2^exponent times as large."""
    return _CONV_BITS - min(form.exponent, 0)


def _projection(number: int, projection: QuantizedProjection, process: str, arrays: dict[str, Array]) -> dict[str, Any]:
    synapses, form = projection.connectivity, projection.format
    delayed = projection.delay > 0 or projection.delays is not None
    key = f"c{number}.weights"
    weights = f'w["{key}"]'
    arrays[key] = synapses.weights
    conv = isinstance(synapses, Conv2d) and _takes_conv(projection)
    if form.accumulator not in (0, _conv_bits(form) if conv else _DENSE_BITS):
        raise ValueError(f"{projection.name} sums in {form.accumulator} bits, which no process of Lava does")
    arguments: list[tuple[str, Any]]
    if isinstance(synapses, Conv2d) and conv:
        name = "Conv"
        # The weights are taken as they are, without an exponent.
        arrays[key] = np.rint(synapses.weights * 2.0**form.exponent).astype(np.int32)
        arguments = [
            ("weight", f"kernel({weights})"), ("input_shape", synapses.in_shape[::-1]), ("stride", synapses.stride[::-1]),
            ("padding", synapses.padding[::-1]), ("dilation", synapses.dilation[::-1]), ("groups", synapses.groups),
        ]
    elif isinstance(synapses, Dense) and not (delayed and form.accumulator and form.exponent < 0):
        name = "DelayDense" if delayed else "Dense"
        arguments = [("weights", weights)]
    else:
        name = "DelaySparse" if delayed else "Sparse"
        if isinstance(synapses, Dense):
            # DelayDense sums in 64 bits before the exponent.
            listed = f"every_pair({weights})"
        elif isinstance(synapses, Conv2d):
            geometry = (
                synapses.in_shape, synapses.out_shape, synapses.stride, synapses.padding, synapses.dilation, synapses.groups,
            )
            listed = f"unroll({weights}, {', '.join(map(repr, geometry))})"
        else:
            arrays[f"c{number}.indices"], arrays[f"c{number}.indptr"] = synapses.indices, synapses.indptr
            shape = (synapses.out_size, synapses.in_size)
            listed = f'csr_matrix(({weights}, w["c{number}.indices"], w["c{number}.indptr"]), {shape})'
        arguments = [("weights", listed)]
    if delayed:
        steps: str = str(projection.delay)
        if projection.delays is not None:
            arrays[f"c{number}.delays"] = projection.delays + projection.delay
            steps = f'w["c{number}.delays"]'
        if name == "DelaySparse":
            arguments.append(("delays", f"delayed({arguments[0][1]}, {steps})"))
        elif projection.delays is not None:
            arguments.append(("delays", steps))
        else:
            arguments.append(("delays", f"np.full({weights}.shape, {steps}, np.int64)"))
    arguments.append(("num_weight_bits", form.bits))
    if name != "Conv":
        arguments += [("weight_exp", form.exponent), ("sign_mode", _SIGN[form.sign])]
    arguments.append(("num_message_bits", form.message_bits))
    port = ("a_real_in", "a_imag_in")[projection.receptor] if process in _RESONATORS else "a_in"
    return {
        "source": repr(projection.source), "target": repr(projection.target), "port": port, "process": name, "arguments": arguments,
        "comment": f"{projection.name!r}, {synapses.synapses} synapses",
    }


def _message_bits(network: QuantizedNetwork, population: QuantizedPopulation) -> int:
    """Return the width of a population's payloads, 0 for single bits; the hardware's adapters ask for it."""
    if population.kernel is not None:
        return _PAYLOAD_BITS.get(_NEURONS[population.kernel], 0)
    return max((p.format.message_bits for p in network.projections if p.source == population.name), default=0)


def _sources(program: Program) -> list[str | None]:
    """Return the population that drives each block's axons, None for a block that nothing reaches."""
    origin = [(group.population, routes) for group, routes in zip(program.groups, program.routes, strict=True)]
    origin += list(program.inputs.items())
    core = np.concatenate([np.zeros(0, np.int32), *(routes.core for _, routes in origin)]).astype(np.int64)
    axon = np.concatenate([np.zeros(0, np.int32), *(routes.axon for _, routes in origin)]).astype(np.int64)
    population = np.repeat([number for number, _ in origin], [routes.core.size for _, routes in origin])
    width = 1 + max([int(axon.max(initial=0)), *(block.axon + block.axons for block in program.blocks)])
    place = core * width + axon
    order = np.argsort(place, kind="stable")
    place = place[order]
    sources = []
    for block in program.blocks:
        first, last = np.searchsorted(place, [block.core * width + block.axon, block.core * width + block.axon + block.axons])
        sources.append(program.populations[int(population[order[first]])].name if first < last else None)
    return sources


def _core_map(network: QuantizedNetwork, program: Program) -> dict[str, Any]:
    used = measure(program)
    spec = load_spec("nmap_loihi2", "loihi1.toml" if program.target == "loihi1" else "chip.toml")
    cores: list[dict[str, Any]] = [
        {"chip": core.chip, "x": core.x, "y": core.y, "core": core.core, "slices": [], "input_axons": [], "used": used[number]}
        for number, core in enumerate(program.cores)
    ]
    on: list[set[int]] = [set() for _ in program.populations]
    for group in program.groups:
        where = {"box": group.slice} if isinstance(group.slice, tuple) else {"indices": group.slice.tolist()}
        cores[group.core]["slices"].append({
            "population": program.populations[group.population].name, "neurons": group.size, **where,
        })
        on[group.population].add(group.core)
    for block, source in zip(program.blocks, _sources(program), strict=True):
        target = program.populations[program.groups[block.group].population].name
        cores[block.core]["input_axons"].append({
            "first": block.axon, "count": block.axons, "from": source, "to": target, "weight_bits": block.bits,
            "weight_exp": block.exponent, "sign": block.sign, "message_bits": block.message_bits, "delay": block.delay,
        })
    kernels = {p.name: p.kernel for p in network.populations}
    return {
        "schema": "nmap.core_map/1", "target": program.target, "variant": program.variant,
        "budgets": {name: resource.max for name, resource in spec.resources.items()},
        "populations": [
            {
                "name": p.name, "shape": p.shape, "latency": p.latency,
                "process": _NEURONS[str(kernels[p.name])] if kernels[p.name] else None, "cores": sorted(on[number]),
            }
            for number, p in enumerate(program.populations)
        ],
        "cores": cores,
    }


def _environment() -> jinja2.Environment:
    # The templates write Python, not HTML; every name from the user's file goes through repr.
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: files("nmap_loihi2").joinpath(name).read_text(encoding="utf-8")),
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined, autoescape=False,
    )


def emit(network: QuantizedNetwork, program: Program) -> dict[str, bytes]:
    """Return the files of the Lava program by relative path; the same input gives the same bytes.

    Args:
        network: the quantized network; kernels of `nmap_loihi2`.
        program: its mapping, described in `core_map.json`.

    Raises:
        ValueError: neurons of a population differ in what a process of Lava has one of (exponents, reset interval, rectification), or
            a projection's sum wraps at a width that none of Lava's processes has.
    """
    arrays: dict[str, Array] = {}
    neurons = [p for p in network.populations if p.kernel is not None]
    populations = [_population(number, p, arrays) for number, p in enumerate(neurons)]
    made = {p.name: entry["process"] for p, entry in zip(neurons, populations, strict=True)}
    projections = [_projection(number, p, made[p.target], arrays) for number, p in enumerate(network.projections)]
    inputs = [(name, network[name].size) for name in network.inputs]
    n_out = sum(network[name].size for name in network.outputs)
    target = f"{program.target}:{program.variant}"
    shape = network[network.inputs[0]].shape if len(network.inputs) == 1 else (sum(size for _, size in inputs),)
    used = {entry["process"] for entry in (*populations, *projections)}
    called = " ".join(str(value) for entry in projections for _, value in entry["arguments"])
    odd = {
        p.name: int(p.params["reset_interval"][0]) for p in neurons
        if made[p.name] == "LIFReset" and int(p.params["reset_interval"][0]).bit_count() != 1
    }
    text = _environment().get_template("lava_program.py.j2").render(
        target=target, input_shape=shape, inputs=inputs, outputs=list(network.outputs), n_in=sum(s for _, s in inputs),
        n_out=n_out, latency=network.latency, populations=populations, projections=projections,
        processes=[(name, process) for name, process in _PROCESSES.items() if name in used], used=used,
        listed=bool(used & {"Sparse", "DelaySparse"}),
        modules=sorted({_PROCESSES[name].module for name in used}), odd_intervals=odd,
        helpers={name for name in ("kernel", "unroll", "every_pair", "delayed") if f"{name}(" in called},
        stored=any(p["stored"] for p in populations), message_bits={p.name: _message_bits(network, p) for p in network.populations},
    )
    given = f"`inputs` (samples, time, {', '.join(map(str, shape))})"
    if len(inputs) > 1:
        given = ", ".join(f"`inputs.{name}` (samples, time, {', '.join(map(str, network[name].shape))})" for name in network.inputs)
    sent = f"`spikes` (samples, steps, {n_out})"
    if len(network.outputs) > 1:
        sent = ", ".join(f"`spikes.{name}` (samples, steps, {network[name].size})" for name in network.outputs)
    readme = _README.format(
        target=target, cores=_counted(len(program.cores), "core"), given=given, sent=sent, latency=_counted(network.latency, "step"),
    )
    core_map = json.dumps(_core_map(network, program), indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    return {
        "network.py": text.encode(), "weights.npz": _npz(arrays), "core_map.json": core_map.encode(), "README.txt": readme.encode(),
    }
