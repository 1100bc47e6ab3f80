"""Read integer networks: Lava's own parameters in one .npz file, layer by layer, with an input.

The format holds, per layer k = 0, 1, ...: `w{k}` (targets, sources) or its compressed rows `w{k}_data`, `w{k}_indices`, `w{k}_indptr`,
`w{k}_shape`; optional `delays{k}` (targets, sources); `weight_exp{k}` (0), `num_weight_bits{k}` (8), `num_message_bits{k}` (0),
`sign_mode{k}` (0 inferred, 1 mixed, 2 excitatory, 3 inhibitory); `neuron{k}` (`LIF`) and its parameters; and `input` (input neurons,
time). Parameters are those of Lava's processes of the same names, defaults in brackets:

    LIF         du dv vth bias_mant (0) bias_exp (0)
    LIFReset    those, reset_interval (1) reset_offset (0)
    TernaryLIF  those of LIF, where vth is Lava's vth_hi, and vth_lo
    Delta       vth spike_exp (0) state_exp (0) cum_error (0)
    SigmaDelta  those of Delta, bias (0), act_mode (1 rectified, 0 not)
    Sigma       none
    RF, RF_IZ   cos sin (times 2^decay_bits) vth state_exp (0) decay_bits (12); `w_imag{k}` are the weights of the imaginary input
    ATRLIF      delta_i delta_v delta_theta delta_r (times 4096) theta_0 theta_step bias_mant (0) bias_exp (0)

The network computes what Lava computes from the file, also where Lava takes without a word what a chip's field does not hold: clipped
weights, parameters that wrap. Each such value is a warning. So is an array that is not read and nearly has the name of one that would be;
`s{k}` and `a{k}`, recordings of a layer's spikes and input sums, may lie beside the network.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

import numpy as np

from nmap.connectivity import Array, Dense, Sparse, frozen_array
from nmap.diagnostics import Findings
from nmap.network import Provenance
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection, SynapseFormat
from nmap.samples.archive import listed
from nmap.target.spec import ChipSpec, Limit, load_spec
from nmap_loihi2.ranges import prove_ranges
from nmap_loihi2.synapses import Sign, infer_sign

__all__ = ["prepare_weights", "read_integer_network"]

_SIGNS: dict[int, Sign] = {1: "mixed", 2: "excitatory", 3: "inhibitory"}


class _Model(NamedTuple):
    """A process of Lava: the kernel, defaults (None: required), and the parameters that Lava takes as one number only."""

    kernel: str
    defaults: dict[str, int | None]
    single: tuple[str, ...] = ()


_LIF: dict[str, int | None] = {"du": None, "dv": None, "vth": None, "bias_mant": 0, "bias_exp": 0}
_DELTA: dict[str, int | None] = {"vth": None, "spike_exp": 0, "state_exp": 0, "cum_error": 0}
_RF: dict[str, int | None] = {"cos": None, "sin": None, "vth": None, "state_exp": 0, "decay_bits": 12}
_ATRLIF: dict[str, int | None] = {
    **dict.fromkeys(("delta_i", "delta_v", "delta_theta", "delta_r", "theta_0", "theta_step")), "bias_mant": 0, "bias_exp": 0,
}
_NEURONS = {
    "LIF": _Model("loihi2.lif", _LIF),
    "LIFReset": _Model("loihi2.lif_reset", {**_LIF, "reset_interval": 1, "reset_offset": 0}, ("reset_interval", "reset_offset")),
    "TernaryLIF": _Model("loihi2.ternary_lif", {**_LIF, "vth_lo": None}, ("vth", "vth_lo")),
    "Delta": _Model("loihi2.delta", _DELTA, tuple(_DELTA)),
    "SigmaDelta": _Model("loihi2.sigma_delta", {**_DELTA, "bias": 0, "act_mode": 1}, (*_DELTA, "act_mode")),
    "Sigma": _Model("loihi2.sigma", {}),
    "RF": _Model("loihi2.rf", _RF, ("vth", "state_exp", "decay_bits")),
    "RF_IZ": _Model("loihi2.rf_iz", _RF, ("vth", "state_exp", "decay_bits")),
    "ATRLIF": _Model("loihi2.atrlif", _ATRLIF, ("theta_step",)),
}

_REFUSED: dict[str, tuple[int, int | None]] = {
    # Lava raises an error, or stops with one in the first step.
    "reset_interval": (1, None), "reset_offset": (0, None), "decay_bits": (1, None), "act_mode": (0, 1), "cum_error": (0, 1),
    # Lava shifts by them in numpy, which does not define a shift by a negative number.
    "spike_exp": (0, None), "state_exp": (0, None),
}
"""Smallest and largest value (None: no end) of parameters that are errors outside."""

_BEYOND = {"du": -1, "dv": 4096, "delta_i": -1}
"""Values outside the documented field with a meaning of their own, no decay and no memory, that lava-dl's netx relies on."""

_EFFECTS = {
    "du": "Lava computes with it: the factor of the current leaves 0..1.",
    "dv": "Lava computes with it: the factor of the voltage leaves 0..1.",
    "bias_mant": "Lava keeps 16 bits and computes with them.",
    "bias_exp": "Lava shifts by it in 32 bits.",
}
_ALIKE = ("du", "dv", "vth", "delta_i", "delta_v", "delta_theta", "delta_r", "theta_0")
"""Parameters that Lava's processes document as one number for the layer and its CPU models take as an array."""
_ROWS = ("data", "indices", "indptr", "shape")
_FORM = ("delays", "weight_exp", "num_weight_bits", "num_message_bits", "sign_mode", "neuron")
_SPIKE_MAX = (1 << 31) - 1
_OF_LAYER = re.compile(
    rf"(?:{'|'.join(dict.fromkeys((*_FORM, *(name for model in _NEURONS.values() for name in model.defaults), 'w', 'w_imag')))})"
    rf"(0|[1-9]\d{{0,8}})|w(?:_imag)?(0|[1-9]\d{{0,8}})_(?:{'|'.join(_ROWS)})"
)
"""Names of a layer's arrays, of any neuron; a group holds the number of the layer."""
_MOST_COMPARED = 32
"""Names of unread arrays that are compared with the known ones, and the most letters of one: each comparison costs time."""
_GRADED = {"loihi2.ternary_lif": "-1 and 1", **dict.fromkeys(("loihi2.delta", "loihi2.sigma_delta", "loihi2.sigma"), "integers")}
"""What neurons send that send more than ones."""


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
        prepared = -((-np.clip(w, -255, 0) >> drop) << drop)
    elif sign == "excitatory":
        drop = 8 - bits
        prepared = (np.clip(w, 0, 255) >> drop) << drop
    else:
        drop = 9 - bits
        prepared = (np.clip(w, -256, 255) >> drop) << drop
    return prepared.astype(np.int32)


class _Layers:
    """The arrays of the file, with every problem recorded."""

    def __init__(self, path: Path, arrays: dict[str, Array], spec: ChipSpec, findings: Findings) -> None:
        self.path, self.arrays, self.spec, self.findings = path, arrays, spec, findings

    def where(self, key: str) -> Provenance:
        return Provenance(self.path.name, key)

    def integers(self, key: str, default: int | None = None) -> Array:
        """Return an array of whole numbers, or the default; a missing entry or another number is an error."""
        values = self.arrays.get(key)
        if values is None:
            if default is None:
                self.findings.error("NM103", f"`{key}` is missing", where=str(self.path))
            return np.asarray(default or 0)
        if values.dtype.kind == "f" and (np.abs(values) < 2**53).all() and (values == np.rint(values)).all():
            return values.astype(np.int64)
        if values.dtype.kind not in "biu":
            self.findings.error("NM107", f"`{key}` is {values.dtype}, not integers", where=str(self.where(key)))
            return np.zeros(values.shape, np.int64)
        if values.dtype.kind == "u" and int(values.max(initial=0)) >= 1 << 63:
            self.findings.error(
                "NM107", f"{int(values.max())} in `{key}` is beyond {(1 << 63) - 1}, the largest number of 64 bits with a sign",
                where=str(self.where(key)),
            )
            return np.zeros(values.shape, np.int64)
        return values.astype(np.int64)

    def scalar(self, key: str, default: int, low: int, high: int) -> int:
        """Return one integer within its range."""
        values = self.integers(key, default)
        if values.size != 1 or not low <= int(values.reshape(-1)[0]) <= high:
            held = str(values.item()) if values.size == 1 else f"{values.size} values"
            self.findings.error("NM305", f"`{key}` is not one integer in {low}..{high}: {held}", where=str(self.where(key)))
            return default
        return int(values.reshape(-1)[0])

    def beyond(self, key: str, owner: str, values: Array, limit: Limit, effect: str, code: str = "NM305") -> None:
        """Warn of values outside a field that Lava takes nevertheless, naming the one that is farthest out."""
        values = values.reshape(-1)
        count = int(np.count_nonzero((values < limit.min) | (values > limit.max)))
        if count:
            # Python's integers, since a difference may leave 64 bits.
            least, most = int(values.min()), int(values.max())
            worst = least if limit.min - least > most - limit.max else most
            many = f" and {count - 1} more of its {values.size} values are" if count > 1 else " is"
            self.findings.warning(
                code, f"{worst} in `{key}` of `{owner}`{many} outside {limit.min}..{limit.max}", where=str(self.where(key)),
                why=f"{effect} ({limit.source})", data={"value": worst, "min": limit.min, "max": limit.max, "count": count},
            )


def _prepared(layers: _Layers, key: str, owner: str, weights: Array, sign: Sign, bits: int) -> Array:
    """Return the weights as Lava applies them, and tell which are others than the file's."""
    limit, prepared = layers.spec.limits[f"weight_{sign}"], prepare_weights(weights, sign, bits)
    layers.beyond(key, owner, weights, limit, f"Lava clips {sign} weights without a message.", code="NM301")
    rounded = (prepared != weights) & (weights >= limit.min) & (weights <= limit.max)
    if rounded.any():
        first = int(np.argmax(rounded))
        layers.findings.warning(
            "NM302", f"{np.count_nonzero(rounded)} of the {weights.size} weights in `{key}` of `{owner}` lose their low bits:"
            f" {weights.flat[first]} acts as {prepared.flat[first]}",
            where=str(layers.where(key)),
            why=f"{bits} bits of {sign} weights keep multiples of {1 << (8 - bits + (sign == 'mixed'))} ({limit.source}).",
        )
    return prepared


def _connectivity(layers: _Layers, key: str, owner: str, sources: int, bits: int, mode: int) -> tuple[Dense | Sparse, Sign] | None:
    """Return the connection stored as `key` or as its compressed rows, or None after recording why there is none."""
    findings = layers.findings
    if key in layers.arrays:
        stored = layers.integers(key)
        if stored.ndim != 2 or stored.shape[1] != sources or 0 in stored.shape:
            findings.error("NM106", f"`{key}` has shape {stored.shape}, not (targets, {sources})", where=str(layers.where(key)))
            return None
        sign = _SIGNS.get(mode) or infer_sign(stored)
        return Dense(_prepared(layers, key, owner, stored.astype(np.int64), sign, bits)), sign
    data, indices, indptr, shape = (layers.integers(f"{key}_{part}") for part in ("data", "indices", "indptr", "shape"))
    if shape.shape != (2,) or int(shape[1]) != sources or indptr.shape != (int(shape[0]) + 1,) or (np.diff(indptr) < 0).any():
        findings.error("NM106", f"the compressed rows of `{key}` do not fit (targets, {sources})", where=str(layers.where(f"{key}_shape")))
        return None
    # Where not every pair is listed the whole matrix holds zeros, which Lava sees when it infers the sign.
    full = data.size == int(shape[0]) * int(shape[1])
    sign = _SIGNS.get(mode) or infer_sign(data if full else np.append(data, 0))
    rows = np.repeat(np.arange(indptr.size - 1), np.diff(indptr))
    order = np.lexsort((indices, rows)) if indices.shape == rows.shape else np.arange(indices.size)
    try:
        weights = _prepared(layers, f"{key}_data", owner, data.astype(np.int64), sign, bits)
        return Sparse(indptr, indices[order], weights[order], sources), sign
    except (ValueError, IndexError) as error:
        findings.error("NM106", f"the compressed rows of `{key}` are damaged", where=str(layers.where(f"{key}_indptr")), why=str(error))
        return None


class _Form(NamedTuple):
    """How layer k's synapses are stored, as the file says."""

    bits: int
    exponent: int
    message_bits: int
    mode: int


def _form(layers: _Layers, k: int) -> _Form:
    """Return layer k's synapse format; entries out of range are recorded."""
    limits = layers.spec.limits
    form = _Form(
        layers.scalar(f"num_weight_bits{k}", 8, limits["weight_bits"].min, limits["weight_bits"].max),
        layers.scalar(f"weight_exp{k}", 0, -32, 32),
        layers.scalar(f"num_message_bits{k}", 0, limits["message_bits"].min, limits["message_bits"].max),
        layers.scalar(f"sign_mode{k}", 0, 0, 3),
    )
    layers.beyond(f"weight_exp{k}", f"layer{k}", np.array([form.exponent]), limits["weight_exp"], "Lava shifts by any exponent.")
    return form


def _synapses(
    layers: _Layers, key: str, k: int, sources: int, form: _Form
) -> tuple[Dense | Sparse, SynapseFormat, Array | None] | None:
    """Return the connection of layer k stored as `key`, or None after recording why there is none."""
    findings, owner, name = layers.findings, f"layer{k}", f"delays{k}"
    found = _connectivity(layers, key, owner, sources, form.bits, form.mode)
    if found is None:
        return None
    connectivity, sign = found
    delays = None
    if name in layers.arrays:
        delays = layers.integers(name)
        if not isinstance(connectivity, Dense) or delays.shape != connectivity.weights.shape:
            findings.error("NM106", f"`{name}` has shape {delays.shape}, not that of a dense `{key}`", where=str(layers.where(name)))
            return None
        if delays.min() < 0 or delays.max() > 63:
            findings.error("NM305", f"`{name}` spans {delays.min()}..{delays.max()}; Lava takes 0..63", where=str(layers.where(name)))
        else:
            layers.beyond(name, owner, delays, layers.spec.limits["delay"], "Lava delays by up to 63 steps.")
    return connectivity, SynapseFormat(form.bits, form.exponent, sign, form.message_bits), delays


def _parameters(layers: _Layers, model: _Model, k: int, n: int) -> dict[str, Array]:
    """Return the file's parameters of layer k, (n,) int64 each; those that Lava refuses are errors, those beyond a field warnings."""
    params = {}
    for name, default in model.defaults.items():
        key = f"{name}{k}"
        values = layers.integers(key, default).astype(np.int64).reshape(-1)
        low, high = _REFUSED.get(name, (None, None))
        if values.size not in (1, n):
            layers.findings.error("NM106", f"`{key}` has {values.size} values for {n} neurons", where=str(layers.where(key)))
        elif name in model.single and (values != values[0]).any():
            layers.findings.error(
                "NM305", f"`{key}` has several values; Lava's process takes one number for the layer", where=str(layers.where(key))
            )
        elif (low is not None and values.min() < low) or (high is not None and values.max() > high):
            worst = values.min() if low is not None and values.min() < low else values.max()
            layers.findings.error(
                "NM305", f"`{key}` of `layer{k}` is {worst}; Lava takes {f'{low}..{high}' if high is not None else f'{low} and more'}",
                where=str(layers.where(key)),
            )
        else:
            params[name] = np.broadcast_to(values, (n,))
    return params


def _beyond_fields(layers: _Layers, model: _Model, k: int, params: dict[str, Array]) -> None:
    """Warn of parameters that no field of the chip holds; note those that Lava's models give a meaning."""
    short = model.kernel.removeprefix("loihi2.")
    for name, values in params.items():
        key, limit = f"{name}{k}", layers.spec.limits.get(f"{short}_{name}") or layers.spec.limits.get(name)
        if limit is None or key not in layers.arrays:
            continue
        # A number that holds for all neurons is one value.
        values = values[: layers.arrays[key].size]
        if name in _BEYOND:
            special = values == _BEYOND[name]
            if special.any() and not limit.min <= _BEYOND[name] <= limit.max:
                layers.findings.note(
                    "NM206", f"`layer{k}` uses {name} = {_BEYOND[name]}, which Lava's models take although the field does not hold it",
                    where=str(layers.where(key)), why=f"{limit.note} ({limit.source})",
                )
            values = values[~special]
        effect = _EFFECTS.get(name, "Lava computes with it.")
        if name in ("vth", "bias") and "state_exp" in params:
            effect = "Counted in units of the state, which is how Lava computes with it: the file's number times a power of two."
        layers.beyond(key, f"layer{k}", values, limit, effect)


def _undocumented(layers: _Layers, k: int, params: dict[str, Array]) -> None:
    """Tell of what Lava computes and the hardware is not documented to do (NM206), as for netx files."""
    for name, values in params.items():
        key = f"{name}{k}"
        if name in _ALIKE and (values != values[0]).any():
            layers.findings.note(
                "NM206", f"`layer{k}` has one `{name}` per neuron, which Lava documents as a scalar and its CPU models take as an array",
                where=str(layers.where(key)),
            )
        if name == "reset_interval" and int(values[0]) & (int(values[0]) - 1):
            limit = layers.spec.limits[name]
            layers.findings.warning(
                "NM206", f"a reset of `layer{k}` every {values[0]} steps: Lava computes it, the hardware wants a power of two",
                where=str(layers.where(key)), why=f"{limit.note} ({limit.source})", data={"value": int(values[0])},
            )


def _neurons(layers: _Layers, k: int, n: int) -> QuantizedPopulation | None:
    """Return layer k's neurons, or None after recording why there are none."""
    named = str(layers.arrays.get(f"neuron{k}", "LIF"))
    if named not in _NEURONS:
        layers.findings.error(
            "NM201", f"neuron `{named}` of layer {k} is not one that nmap runs on loihi2", where=str(layers.where(f"neuron{k}")),
            why=f"Supported are {', '.join(f'`{name}`' for name in _NEURONS)}.",
        )
        return None
    model = _NEURONS[named]
    params = _parameters(layers, model, k, n)
    if len(params) == len(model.defaults):
        if named == "TernaryLIF" and (params["vth_lo"] > params["vth"]).any():
            layers.findings.error(
                "NM305", f"`vth_lo{k}` is above `vth{k}` ({params['vth_lo'][0]} > {params['vth'][0]}), which Lava refuses",
                where=str(layers.where(f"vth_lo{k}")),
            )
        if "state_exp" in params:
            # Lava's processes do this before their models see the number. Nothing of it is left in 32 bits beyond a shift by 32.
            exponent = np.minimum(params["state_exp"] + params.get("spike_exp", 0), 32)
            params.update({name: params[name] << exponent for name in ("vth", "bias") if name in params})
        _beyond_fields(layers, model, k, params)
        _undocumented(layers, k, params)
        if "act_mode" in params:
            params["rectify"] = params.pop("act_mode")
    return QuantizedPopulation(f"layer{k}", (n,), model.kernel, params, layers.where(f"neuron{k}"), latency=k + 1)


def _check_payloads(layers: _Layers, k: int, source: QuantizedPopulation, bits: int, columns: Array) -> None:
    """Warn of payloads that do not fit the message bits that the layer's synapses take."""
    key = f"num_message_bits{k}"
    if source.kernel is not None:
        if bits == 0 and source.kernel in _GRADED:
            layers.findings.warning(
                "NM305", f"`{source.name}` sends {_GRADED[source.kernel]}, and `{key}` of `layer{k}` is 0: everything but 0 acts as 1",
                where=str(layers.where(key)), why="Lava takes graded spikes as binary ones then, without a message.",
            )
        return
    worst = int(columns.flat[np.argmax(np.abs(columns.astype(np.int64)))])
    if bits == 0 and ((columns != 0) & (columns != 1)).any():
        layers.findings.warning(
            "NM305", f"{worst} in `input` meets `{key}` = 0 of `layer{k}`: everything but 0 acts as 1", where=str(layers.where("input")),
            why="Lava takes graded spikes as binary ones then, without a message.", data={"value": worst, "bits": 0},
        )
    elif bits and abs(worst).bit_length() >= max(bits, 2):
        layers.findings.warning(
            "NM305", f"{worst} in `input` does not fit the {bits} bits, sign included, of `{key}` of `layer{k}`",
            where=str(layers.where("input")), why="Lava sends payloads of up to 32 bits in full, whatever the number of bits.",
            data={"value": worst, "bits": bits},
        )


def _count_layers(layers: _Layers) -> int:
    """Return the number of layers in a row; weights of a later one, after a gap, are an error."""
    arrays, count = layers.arrays, 0
    while f"w{count}" in arrays or f"w{count}_data" in arrays:
        count += 1
    found = (re.fullmatch(r"w([1-9]\d{0,8})(_data)?", key) for key in arrays)
    later = min(((int(match[1]), match[0]) for match in found if match is not None and int(match[1]) > count), default=None)
    if later is not None:
        layers.findings.error(
            "NM103", f"`w{count}` is missing, while layer {later[0]} has weights, `{later[1]}`", where=str(layers.path),
            why="layers are numbered from 0 without a gap",
        )
    elif count == 0:
        layers.findings.error("NM103", "there is no layer: `w0` is missing", where=str(layers.path))
    return count


def _names(arrays: dict[str, Array], k: int) -> list[str]:
    """Return the names of arrays that are read of layer k as the file describes it; its weights under the one name that is taken."""
    model = _NEURONS.get(str(arrays.get(f"neuron{k}", "LIF")))
    models = _NEURONS.values() if model is None else (model,)
    weights = [f"w{k}"]
    if any(m.kernel in ("loihi2.rf", "loihi2.rf_iz") for m in models) or f"w_imag{k}" in arrays or f"w_imag{k}_data" in arrays:
        weights.append(f"w_imag{k}")
    stored = [key for w in weights for key in ((w,) if w in arrays or f"{w}_data" not in arrays else (f"{w}_{part}" for part in _ROWS))]
    return [*stored, *(f"{name}{k}" for name in dict.fromkeys((*_FORM, *(name for m in models for name in m.defaults))))]


def _tell_unread(layers: _Layers, count: int) -> None:
    """Record arrays that nothing reads: a warning where one names something of a layer, or nearly does, else a note (NM112)."""
    arrays, findings, where = layers.arrays, layers.findings, str(layers.path)
    read = {"input", *(f"{kind}{k}" for k in range(count) for kind in "sa"), *(name for k in range(count) for name in _names(arrays, k))}
    unread: dict[int, list[str]] = {}
    others = []
    for key in arrays:
        match = _OF_LAYER.fullmatch(key)
        if key not in read and match is not None:
            unread.setdefault(int(match[1] or match[2]), []).append(key)
        elif key not in read:
            others.append(key)
    for k, keys in sorted(unread.items()):
        told = f"{listed(keys)} {'is' if len(keys) == 1 else 'are'} not read"
        if k >= count:
            findings.warning("NM112", f"{told}: there is no layer {k}, since `w{k}` is missing", where=where)
        else:
            stated = str(arrays.get(f"neuron{k}", f"LIF`, since there is no `neuron{k}"))
            findings.warning(
                "NM112", f"{told}: layer {k} reads {listed(name for name in _names(arrays, k) if name in arrays)}", where=where,
                why=f"The layer's neurons are `{stated}`.",
            )
    near = {key: _nearest(key, arrays) for key in others[:_MOST_COMPARED]}
    for key, name in near.items():
        if name is not None:
            findings.warning("NM112", f"{listed([key])} is not read; did you mean `{name}`?", where=where)
    plain = [key for key in others if near.get(key) is None]
    if plain:
        findings.note("NM112", f"{listed(plain)} {'is' if len(plain) == 1 else 'are'} not read", where=where)


def _nearest(key: str, arrays: dict[str, Array]) -> str | None:
    """Return the name that would be read and is spelt nearly as this one, or None."""
    if len(key) > _MOST_COMPARED:
        return None
    digits = re.search(r"\d{1,9}$", key)
    names = ["input", *_names(arrays, int(digits[0]) if digits is not None else 0)]
    close = get_close_matches(key.casefold(), names, 1, 0.75)
    return close[0] if close else None


def read_integer_network(path: Path, findings: Findings | None = None) -> tuple[QuantizedNetwork, Array]:
    """Read an integer network.

    The populations are `input`, `layer0`, `layer1`, ...; the last one is the output. Chip step c of a population is column c of what
    Lava's simulation of the same file sends.

    Args:
        path: the file.
        findings: gets a warning for every value that Lava takes in silence and a chip's field does not hold: NM301 clipped weights,
            NM302 weights that lose low bits, NM304 sums that may wrap, NM305 parameters and payloads beyond their fields; and a note,
            NM206, for du = -1, dv = 4096 and parameters that Lava documents as one number and takes per neuron. A reset interval that is
            no power of two is a warning NM206; so is, NM112, an array that is not read and could have been meant, any other is a note.

    Returns:
        The network, and its input as (1, time, input neurons) int32.

    Raises:
        NmapError: NM101 not an .npz file, NM103 an entry is missing, NM106 shapes, NM107 not whole numbers, NM201 another neuron,
            NM203 imaginary weights without a resonator, NM305 what Lava refuses, NM802 an input beyond 32 bits; all problems of the file
            together.
    """
    findings = Findings() if findings is None else findings
    try:
        # Opened here, because numpy leaves a file open that turns out not to be a zip.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (OSError, ValueError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        findings.error("NM101", f"`{path.name}` is not an .npz file of arrays", where=str(path), why=str(error))
        findings.raise_errors()
        raise
    layers = _Layers(path, arrays, load_spec("nmap_loihi2"), findings)
    columns = layers.integers("input")
    if columns.ndim != 2 or 0 in columns.shape:
        findings.error("NM106", f"`input` has shape {columns.shape}, not (input neurons, time)", where=str(layers.where("input")))
        findings.raise_errors()
    low, high = int(columns.min()), int(columns.max())
    if low < ~_SPIKE_MAX or high > _SPIKE_MAX:
        worst = high if high > _SPIKE_MAX else low
        findings.error(
            "NM802", f"{worst} in `input` is outside {~_SPIKE_MAX}..{_SPIKE_MAX}; spikes are 32-bit integers",
            where=str(layers.where("input")), data={"value": worst, "min": ~_SPIKE_MAX, "max": _SPIKE_MAX},
        )
        # Nothing more is to be told of such an input.
        columns = np.zeros_like(columns)
    count = _count_layers(layers)
    if count and not findings.errors:
        _tell_unread(layers, count)
    populations = [QuantizedPopulation("input", (columns.shape[0],), None, {}, layers.where("input"))]
    projections: list[QuantizedProjection] = []
    for k in range(count):
        source = populations[-1]
        keys = [f"w{k}", *(key for key in (f"w_imag{k}",) if key in arrays or f"{key}_data" in arrays)]
        form = _form(layers, k)
        found = [_synapses(layers, key, k, source.size, form) for key in keys]
        if found[0] is None:
            break
        size = found[0][0].out_size
        neurons = _neurons(layers, k, size)
        resonates = neurons is not None and neurons.kernel in ("loihi2.rf", "loihi2.rf_iz")
        if len(keys) > 1 and neurons is not None and not resonates:
            findings.error("NM203", f"layer {k} has `{keys[1]}`, but its neurons have no imaginary input", where=str(layers.where(keys[1])))
        if neurons is None:
            neurons = QuantizedPopulation(f"layer{k}", (size,), None, {}, layers.where(f"neuron{k}"))
        _check_payloads(layers, k, source, form.message_bits, columns)
        for receptor, (key, synapses) in enumerate(zip(keys, found, strict=True)):
            if synapses is None:
                continue
            connectivity, stored, delays = synapses
            if connectivity.out_size != size:
                findings.error("NM106", f"`{key}` has {connectivity.out_size} targets, not {size}", where=str(layers.where(key)))
                continue
            projections.append(QuantizedProjection(
                key, source.name, neurons.name, connectivity, stored, 0, layers.where(key), delays, receptor
            ))
        populations.append(neurons)
    findings.raise_errors()
    network = QuantizedNetwork(tuple(populations), tuple(projections), ("input",), (populations[-1].name,))
    inputs = frozen_array(columns.T[None], np.int32)
    network = prove_ranges(network, (int(inputs.min()), int(inputs.max())), layers.spec, findings)
    return replace(network, projections=tuple(_as_lava_sums(p) for p in network.projections)), inputs


def _as_lava_sums(projection: QuantizedProjection) -> QuantizedProjection:
    """Return the projection with the accumulator of the process that Lava computes it with.

    Dense and Sparse sum in 32 bits. DelayDense sums the products of a delay in 64 bits, observed by running it; the target takes its result
    modulo 2^32 in any case. (Its single products have 32 bits, which a weight leaves with a payload of 2^23 and more.)
    """
    if projection.delays is None:
        return projection
    return replace(projection, format=replace(projection.format, accumulator=0))
