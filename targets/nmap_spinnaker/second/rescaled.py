"""A program as a NIR file that s2_nir converts into the very same integers and float32 numbers, where there is one.

s2_nir's ConversionConfig for it: dt 1, conn_delay 0, scale_weights off, forward Euler, and the reset of the network. With time constants in
steps, tau = 1 / (1 - decay), and gains of 1 (r = tau, w_in = tau_syn) its formulas are

    alpha_decay = 1 - 1 / tau;  threshold = v_threshold / ((r / tau) (w_in / tau_syn));  i_offset = bias w_in / (w_in / tau_syn)

and weights are taken as they are. There is no such file for delays, start values, reset values other than 0, decay factors of 1 beside
others, very large matrices, or where float64 does not give a number back to the last bit of its float32.
"""

from __future__ import annotations

from math import prod

import h5py
import numpy as np

from nmap.connectivity import Array
from nmap.program import Program
from nmap_spinnaker.second.artefact import CURRENTS, Connections
from nmap_spinnaker.second.kernels import CURRENT, LIF
from nmap_spinnaker.second.numbers import real

__all__ = ["nir_bytes"]

_ENTRIES = 1 << 22
"""Largest matrix that is written; NIR has no lists of synapses."""


def nir_bytes(program: Program, synapses: tuple[Connections, ...]) -> bytes | None:
    """Return the file, byte for byte the same for the same program, or None where there is none.

    Args:
        program: what is to be written.
        synapses: its `connections`.
    """
    if any(group.kernel not in (LIF.name, CURRENT.name) for group in program.groups):
        return None
    if any("/" in p.name for p in program.populations):
        return None
    names = [p.name for p in program.populations]
    sizes = [prod(p.shape) for p in program.populations]
    nodes: dict[str, dict[str, Array | str]] = {}
    edges: list[tuple[str, str]] = []
    offsets: dict[int, Array] = {}
    for index, population in enumerate(program.populations):
        if population.is_input:
            nodes[names[index]] = {"type": "Input", "shape": np.array(population.shape, np.int64)}
            continue
        made = _neurons(program, index, sizes[index])
        if made is None:
            return None
        nodes[names[index]], offsets[index] = made
        if population.is_output:
            nodes[f"output_{names[index]}"] = {"type": "Output", "shape": np.array([sizes[index]], np.int64)}
            edges.append((names[index], f"output_{names[index]}"))
    for number, listed in enumerate(synapses):
        if sizes[listed.source] * sizes[listed.target] > _ENTRIES:
            return None
        matrix = np.zeros((sizes[listed.target], sizes[listed.source]), np.float32)
        np.add.at(matrix, (listed.post, listed.pre), listed.weight.astype(np.float32))
        bias = offsets.pop(listed.target, None)
        node: dict[str, Array | str] = {"type": "Linear", "weight": matrix}
        if bias is not None and bias.any():
            # The one weight node of a population that carries the sum of its biases.
            node = {"type": "Affine", "weight": matrix, "bias": bias}
        name = f"weights_{number}"
        nodes[name] = node
        edges += [(names[listed.source], name), (name, names[listed.target])]
    if any(bias.any() for bias in offsets.values()) or len(nodes) < len(names):
        return None
    return _stored(nodes, edges)


def _neurons(program: Program, index: int, size: int) -> tuple[dict[str, Array | str], Array] | None:
    """Return a population's node and the bias it needs, (n,) float64, or None where no node gives its numbers."""
    params: dict[str, Array] = {}
    kernel = ""
    for group in program.groups:
        if group.population != index:
            continue
        kernel = group.kernel
        _, neurons = program.computed(group)
        for name, values in (*group.params.items(), ("v", group.initial.get("v", np.zeros(group.size, np.int64)))):
            params.setdefault(name, np.zeros(size, np.int64))[neurons] = values
    if params["v"].any() or (params["v_reset"].any() and not params["subtract"].any()):
        return None
    held = {name: real(params[name]).astype(np.float64) for name in ("threshold", "alpha_decay", "i_offset")}
    decay, current = held["alpha_decay"], kernel in CURRENTS
    node: dict[str, Array | str] = {"v_threshold": held["threshold"]}
    if (decay == 1).all() and not current:
        return node | {"type": "IF", "r": np.ones(size)}, held["i_offset"]
    if (decay == 1).any():
        return None
    tau = 1 / (1 - decay)
    scale, bias = 1 / ((1 / tau) * tau), held["i_offset"]
    given = [(1 - 1 / tau, "alpha_decay")]
    if current:
        synapse = real(params["exc_decay"]).astype(np.float64)
        if (synapse == 1).any():
            return None
        slow = 1 / (1 - synapse)
        inner = 1 / ((1 / slow) * slow)
        scale, bias = scale * inner, held["i_offset"] / slow
        given += [(1 - 1 / slow, "exc_decay"), (bias * slow * inner, "i_offset")]
        node |= {"type": "CubaLIF", "tau_mem": tau, "tau_syn": slow, "w_in": slow, "r": tau, "v_leak": np.zeros(size)}
    else:
        node |= {"type": "LIF", "tau": tau, "r": tau, "v_leak": np.zeros(size)}
    given.append((held["threshold"] * scale, "threshold"))
    if any((values.astype(np.float32) != real(params[name])).any() for values, name in given):
        return None
    return node, bias


def _stored(nodes: dict[str, dict[str, Array | str]], edges: list[tuple[str, str]]) -> bytes:
    """Return the HDF5 file; built in memory, without times."""
    text = h5py.string_dtype()
    with h5py.File("network.nir", "w", driver="core", backing_store=False, libver=("v110", "v110"), track_order=False) as file:
        file.create_dataset("version", data="1.0.8", dtype=text)
        node = file.create_group("node", track_order=False)
        node.create_dataset("type", data="NIRGraph", dtype=text)
        node.create_dataset("edges", data=np.array(edges, object).reshape(-1, 2), dtype=text)
        folder = node.create_group("nodes", track_order=False)
        for name in sorted(nodes):
            place = folder.create_group(name, track_order=False)
            for key, value in sorted(nodes[name].items()):
                if isinstance(value, str):
                    place.create_dataset(key, data=value, dtype=text)
                else:
                    place.create_dataset(key, data=value)
        file.flush()
        return bytes(file.id.get_file_image())
