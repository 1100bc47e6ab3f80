"""Read integer networks: Lava's own parameters in one .npz file, layer by layer, with an input.

The format holds, per layer k = 0, 1, ...: `w{k}` (targets, sources) or its compressed rows `w{k}_data`, `w{k}_indices`, `w{k}_indptr`,
`w{k}_shape`; optional `delays{k}` (targets, sources); `weight_exp{k}` (0), `num_weight_bits{k}` (8), `num_message_bits{k}` (0),
`sign_mode{k}` (0 inferred, 1 mixed, 2 excitatory, 3 inhibitory); `neuron{k}` (`LIF`, `TernaryLIF`) with `du{k} dv{k} vth{k}` and
optional `bias_mant{k} bias_exp{k}`, `vth_lo{k}`; and `input` (input neurons, time).
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

import numpy as np

from nmap.connectivity import Array, Dense, Sparse, frozen_array
from nmap.diagnostics import Findings
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat

__all__ = ["infer_sign", "prepare_weights", "read_integer_network"]

Sign = Literal["mixed", "excitatory", "inhibitory"]

_SIGNS: dict[int, Sign] = {1: "mixed", 2: "excitatory", 3: "inhibitory"}
_NEURONS = {"LIF": "loihi2.lif", "TernaryLIF": "loihi2.ternary_lif"}


def infer_sign(weights: Array) -> Sign:
    """Return the sign mode Lava infers from a whole matrix (`lava/utils/weightutils.py determine_sign_mode`); zeros are excitatory."""
    if weights.size == 0 or weights.min() >= 0:
        return "excitatory"
    return "inhibitory" if weights.max() <= 0 else "mixed"


def prepare_weights(weights: Array, sign: Sign, bits: int) -> Array:
    """Return the weights as Lava applies them: clipped to the sign mode's range, low bits dropped.

    With k = 8 - bits (+ 1 for mixed signs) the low k bits are cut off, rounding down; of the magnitude for inhibitory weights.
    Source: Lava 0.10.0, `lava/utils/weightutils.py`, `clip_weights` and `truncate_weights`.

    Args:
        weights: integers of any shape.
        sign: sign mode of the whole matrix.
        bits: weight bits, 1 to 8.

    Returns:
        int32, the same shape.
    """
    w = np.asarray(weights, np.int64)
    if sign == "inhibitory":
        drop = 8 - bits
        prepared = -((np.clip(-w, 0, 255) >> drop) << drop)
    elif sign == "excitatory":
        drop = 8 - bits
        prepared = (np.clip(w, 0, 255) >> drop) << drop
    else:
        drop = 9 - bits
        prepared = (np.clip(w, -256, 255) >> drop) << drop
    return prepared.astype(np.int32)


class _Layers:
    """The arrays of the file, with every problem recorded."""

    def __init__(self, path: Path, arrays: dict[str, Array], findings: Findings) -> None:
        self.path, self.arrays, self.findings = path, arrays, findings

    def where(self, key: str) -> Provenance:
        return Provenance(self.path.name, key)

    def integers(self, key: str, default: int | None = None) -> Array:
        """Return an integer array, or the default; a missing or non-integer entry is an error."""
        values = self.arrays.get(key)
        if values is None:
            if default is None:
                self.findings.error("NM103", f"`{key}` is missing", where=str(self.path))
            return np.asarray(default or 0)
        if not (np.issubdtype(values.dtype, np.integer) or values.dtype == bool):
            self.findings.error("NM107", f"`{key}` is {values.dtype}, not integers", where=str(self.where(key)))
            return np.zeros(values.shape, np.int64)
        return values

    def scalar(self, key: str, default: int, low: int, high: int) -> int:
        """Return one integer within its range."""
        values = self.integers(key, default)
        if values.size != 1 or not low <= int(values.reshape(-1)[0]) <= high:
            self.findings.error("NM305", f"`{key}` is not one integer in {low}..{high}", where=str(self.where(key)))
            return default
        return int(values.reshape(-1)[0])


def _synapses(layers: _Layers, k: int, sources: int) -> tuple[Dense | Sparse, SynapseFormat, Array | None] | None:
    """Return layer k's connection, or None after recording why there is none."""
    findings = layers.findings
    bits = layers.scalar(f"num_weight_bits{k}", 8, 1, 8)
    exponent = layers.scalar(f"weight_exp{k}", 0, -32, 32)
    message_bits = layers.scalar(f"num_message_bits{k}", 0, 0, 32)
    mode = layers.scalar(f"sign_mode{k}", 0, 0, 3)
    if f"w{k}" in layers.arrays:
        stored = layers.integers(f"w{k}")
        if stored.ndim != 2 or stored.shape[1] != sources or 0 in stored.shape:
            findings.error("NM106", f"`w{k}` has shape {stored.shape}, not (targets, {sources})", where=str(layers.where(f"w{k}")))
            return None
        sign = _SIGNS.get(mode) or infer_sign(stored)
        connectivity: Dense | Sparse = Dense(prepare_weights(stored, sign, bits))
    else:
        data, indices, indptr, shape = (layers.integers(f"w{k}_{part}") for part in ("data", "indices", "indptr", "shape"))
        if shape.shape != (2,) or int(shape[1]) != sources or indptr.shape != (int(shape[0]) + 1,) or (np.diff(indptr) < 0).any():
            findings.error(
                "NM106", f"the compressed rows of `w{k}` do not fit (targets, {sources})", where=str(layers.where(f"w{k}_shape"))
            )
            return None
        # Where not every pair is listed the whole matrix holds zeros, which Lava sees when it infers the sign.
        full = data.size == int(shape[0]) * int(shape[1])
        sign = _SIGNS.get(mode) or infer_sign(data if full else np.append(data, 0))
        rows = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
        order = np.lexsort((indices, rows)) if indices.shape == rows.shape else np.arange(indices.size)
        try:
            connectivity = Sparse(indptr, indices[order], prepare_weights(data, sign, bits)[order], sources)
        except (ValueError, IndexError) as error:
            findings.error("NM106", f"the compressed rows of `w{k}` are damaged", where=str(layers.where(f"w{k}_indptr")), why=str(error))
            return None
    delays = None
    if f"delays{k}" in layers.arrays:
        delays = layers.integers(f"delays{k}")
        if not isinstance(connectivity, Dense) or delays.shape != connectivity.weights.shape:
            findings.error(
                "NM106", f"`delays{k}` has shape {delays.shape}, not that of a dense `w{k}`", where=str(layers.where(f"delays{k}"))
            )
            return None
        if delays.min() < 0 or delays.max() > 63:
            findings.error(
                "NM305", f"`delays{k}` spans {delays.min()}..{delays.max()}; Lava takes 0..63", where=str(layers.where(f"delays{k}"))
            )
    return connectivity, SynapseFormat(bits, exponent, sign, message_bits), delays


def _neurons(layers: _Layers, k: int, n: int) -> QuantizedPopulation | None:
    """Return layer k's neurons, or None after recording why there are none."""
    model = str(layers.arrays.get(f"neuron{k}", "LIF"))
    if model not in _NEURONS:
        layers.findings.error(
            "NM201", f"neuron `{model}` of layer {k} is not one that nmap runs on loihi2", where=str(layers.where(f"neuron{k}")),
            why=f"Supported are {', '.join(f'`{name}`' for name in _NEURONS)}.",
        )
        return None
    defaults: dict[str, int | None] = {"du": None, "dv": None, "vth": None, "bias_mant": 0, "bias_exp": 0}
    if model == "TernaryLIF":
        defaults["vth_lo"] = None
    params = {}
    for name, default in defaults.items():
        values = layers.integers(f"{name}{k}", default).astype(np.int64)
        if values.size not in (1, n):
            layers.findings.error(
                "NM106", f"`{name}{k}` has {values.size} values for {n} neurons", where=str(layers.where(f"{name}{k}"))
            )
            continue
        params[name] = frozen_array(np.broadcast_to(values.reshape(-1), (n,)))
    return QuantizedPopulation(f"layer{k}", (n,), _NEURONS[model], params, layers.where(f"neuron{k}"), latency=k + 1)


def read_integer_network(path: Path) -> tuple[QuantizedNetwork, Array]:
    """Read an integer network.

    The populations are `input`, `layer0`, `layer1`, ...; the last one is the output. Chip step c of a population is column c of what
    Lava's simulation of the same file sends.

    Returns:
        The network, and its input as (1, time, input neurons) int32.

    Raises:
        NmapError: NM101 not an .npz file, NM103 an entry is missing, NM106 shapes, NM107 not integers, NM201 another neuron, NM305 ranges;
            all problems of the file together.
    """
    findings = Findings()
    try:
        # Opened here, because numpy leaves a file open that turns out not to be a zip.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        findings.error("NM101", f"`{path.name}` is not an .npz file of arrays", where=str(path), why=str(error))
        findings.raise_errors()
        raise
    layers = _Layers(path, arrays, findings)
    columns = layers.integers("input")
    if columns.ndim != 2 or 0 in columns.shape:
        findings.error("NM106", f"`input` has shape {columns.shape}, not (input neurons, time)", where=str(layers.where("input")))
        findings.raise_errors()
    count = 0
    while f"w{count}" in arrays or f"w{count}_data" in arrays:
        count += 1
    if count == 0:
        findings.error("NM103", "there is no layer: `w0` is missing", where=str(path))
    populations = [QuantizedPopulation("input", (columns.shape[0],), None, {}, layers.where("input"))]
    projections = []
    for k in range(count):
        found = _synapses(layers, k, populations[-1].size)
        if found is None:
            break
        connectivity, form, delays = found
        neurons = _neurons(layers, k, connectivity.out_size)
        if neurons is None:
            neurons = QuantizedPopulation(f"layer{k}", (connectivity.out_size,), None, {}, layers.where(f"neuron{k}"))
        projections.append(QuantizedProjection(
            f"w{k}", populations[-1].name, neurons.name, connectivity, form, 0, layers.where(f"w{k}"), delays
        ))
        populations.append(neurons)
    findings.raise_errors()
    network = QuantizedNetwork(tuple(populations), tuple(projections), ("input",), (populations[-1].name,))
    return network, frozen_array(columns.T[None], np.int32)
