"""Neurons of netx layers, in units where a weight of 1 counts 1.

lava-dl keeps real numbers: a weight of 1.0 is stored as 64 (`w_scale`), and its states are multiples of 1/4096 (`s_scale`). A stored weight
of 1 is therefore 64 state units: the state's resolution is 1/64 here, and thresholds count like weights. Decays are integers of 12 bits
(`p_scale`). Sources: lava-dl `slayer/neuron/*.py` and `slayer/neuron/dynamics/*.py`; Lava `proc/{lif,rf,rf_iz,sdn}/models.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np

from nmap.connectivity import Array
from nmap.network import Adaptation, Model, Neuron, Resonator, SigmaDelta
from nmap.readers.netx_entries import Layer, spread

__all__ = ["CURRENT", "RESONATORS", "SUPPORTED", "Read", "mean", "read_model", "recomputed", "role"]

QUANTUM = 1 / 64
CURRENT = ("CUBA", "LOIHI", "ALIF")
RESONATORS = ("RF_PHASE", "RF_IZHIKEVICH", "ADRF_PHASE", "ADRF_IZHIKEVICH")
SUPPORTED = (*CURRENT, *RESONATORS, "SDNN")
# What netx gives a layer without a neuron: it integrates for ever and its threshold is out of reach.
_SILENT_THRESHOLD = 131072
# What lava-dl's `Affine` block writes: beyond v, which saturates below 2^17.
_READOUT_THRESHOLD = (1 << 18) - 1
_SPIKE_EXP = _STATE_EXP = 6
_DECAYS = frozenset({"iDecay", "vDecay", "thDecay", "refDecay"})
_ADAPTIVE = ("vThMant", "vThStep", "thDecay", "refDecay")
_PARAMETERS = {
    "CUBA": ("iDecay", "vDecay", "vThMant"),
    "LOIHI": ("iDecay", "vDecay", "vThMant"),
    "ALIF": ("iDecay", "vDecay", *_ADAPTIVE),
    "RF_PHASE": ("sinDecay", "cosDecay", "vThMant"),
    "RF_IZHIKEVICH": ("sinDecay", "cosDecay", "vThMant"),
    "ADRF_PHASE": ("sinDecay", "cosDecay", *_ADAPTIVE),
    "ADRF_IZHIKEVICH": ("sinDecay", "cosDecay", *_ADAPTIVE),
    "SDNN": ("vThMant",),
}
_IGNORED = frozenset({"type", "refDelay", "gradedSpike", "wgtExp", "theta", "tauRho", "scaleRho", "weight_exp", "messageBits"})
_ACTIVATIONS = {"relu": True, "identity": False}


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """A model, and the bias that goes with the layer's input rather than into the model."""

    model: Model
    bias: Array | None = None


def read_model(layer: Layer, name: str | None, shape: tuple[int, ...], bias: Array | None, exponent: int = 0) -> Read | None:
    """Return a layer's neurons, or None with what is wrong with them recorded.

    Args:
        layer: the layer.
        name: its neuron's type, one of `SUPPORTED`, or None for a layer without.
        shape: (channels, height, width) or (n,).
        bias: one value per neuron, or None.
        exponent: `Layer.exponent`: what the bias is added to, and the bias, are divided by 2^exponent.
    """
    size = prod(shape)
    entries = layer.neuron
    if name is None or entries is None:
        return Read(_silent(layer, size, bias))
    used = set(_PARAMETERS[name]) | _IGNORED | ({"activation", "sigma_output"} if name == "SDNN" else set())
    unknown = sorted(set(entries.names()) - used)
    if unknown:
        layer.notes.append(
            f"the neuron of layer {layer.number} has {', '.join(f'`{u}`' for u in unknown)}, which netx does not use; ignored"
        )
    for entry, harmless in (("refDelay", 1), ("wgtExp", 0), ("gradedSpike", 0), ("messageBits", 0)):
        value = layer.finite(entry, entries) if entry in entries and not entries.is_string(entry) else None
        if value is not None and np.any(value != harmless):
            layer.notes.append(f"`{entry}` of layer {layer.number} is {value.ravel()[0]}; netx ignores it, and so does nmap")
    if name == "SDNN":
        return _sigma_delta(layer, shape, None if bias is None else bias / 2.0**exponent)
    fields = {entry: _parameter(layer, entry, shape) for entry in _PARAMETERS[name]}
    found = {entry: values for entry, values in fields.items() if values is not None}
    if len(found) < len(fields):
        return None
    adaptation = None
    if "vThStep" in found:
        adaptation = Adaptation((4096 - found["thDecay"]) / 4096, (4096 - found["refDecay"]) / 4096, found["vThStep"], QUANTUM)
    if name in RESONATORS:
        return _resonator(layer, name, found, adaptation, bias)
    return _current_based(layer, name, found, adaptation, bias, exponent)


def role(layer: Layer) -> Literal["delta", "sigma_delta", "sigma"]:
    """Return the role of an SDNN layer: `delta` of an input block, `sigma` of an output block, else `sigma_delta`."""
    entries = layer.neuron
    if layer.kind == "input":
        return "delta"
    if entries is None or "sigma_output" not in entries:
        return "sigma_delta"
    value = layer.finite("sigma_output", entries)
    if value is not None and not np.any(value):
        layer.changed.warning(
            "NM112",
            f"`sigma_output` of layer {layer.number} is False and was taken as such; netx looks at its presence only",
            where=entries.place("sigma_output"),
        )
        return "sigma_delta"
    return "sigma"


def mean(size: int) -> Neuron:
    """Return units that hold the sum of their inputs for one step."""
    zero, one = np.zeros(size), np.ones(size)
    return Neuron("average", zero, one, one, zero, zero, np.full(size, float(_SILENT_THRESHOLD)), zero, False)


def _silent(layer: Layer, size: int, bias: Array | None) -> Neuron:
    zero, one = np.zeros(size), np.ones(size)
    layer.notes.append(
        f"layer {layer.number} has no neuron; as in netx it sums its input for ever and never fires, and its output is v"
        " (lava-dl itself gives the sum of each step)"
    )
    drive = zero if bias is None else bias
    return Neuron("CUBA", one, one, one, zero, drive, np.full(size, float(_SILENT_THRESHOLD)), zero, False, QUANTUM)


def _parameter(layer: Layer, entry: str, shape: tuple[int, ...]) -> Array | None:
    entries = layer.neuron
    if entries is None or entry not in entries:
        if entries is not None:
            layer.findings.error("NM103", f"the neuron of layer {layer.number} lacks `{entry}`", where=entries.place(entry))
        return None
    stored = layer.whole(entry, f"values of `{entry}`", entries)
    if stored is None:
        return None
    values = spread(stored, shape)
    if values is None:
        layer.mismatch(f"`{entry}` of layer {layer.number} has shape {stored.shape} for neurons of shape {shape}", entry, group=entries)
        return None
    if entry in _DECAYS and (values.min() < 0 or values.max() > 4096):
        bad = float(values.min()) if values.min() < 0 else float(values.max())
        layer.findings.error(
            "NM107", f"`{entry}` of layer {layer.number} is {bad:.6g}; a 12-bit decay lies between 0 and 4096", where=entries.place(entry)
        )
        return None
    return values


def _current_based(
    layer: Layer, name: str, fields: dict[str, Array], adaptation: Adaptation | None, bias: Array | None, exponent: int
) -> Read | None:
    zero, one = np.zeros(fields["vThMant"].size), np.ones(fields["vThMant"].size)
    scale = np.full(one.size, 2.0**-exponent)
    alpha, beta = (4096 - fields["iDecay"]) / 4096, (4096 - fields["vDecay"]) / 4096
    if adaptation is not None:
        # lava-dl normalises what reaches the current of an ALIF neuron, but what leaves the current of a CUBA neuron.
        model = Neuron(name, alpha, scale, one, beta, zero, fields["vThMant"], zero, True, QUANTUM, adaptation, fields)
        return Read(model, bias if bias is not None and np.any(bias) else None)
    if exponent > 0 and np.any(alpha):
        layer.refuse(
            f"layer {layer.number} divides currents with a memory by 2^{exponent} (`weight_exp`), which nmap cannot represent exactly",
            "neuron",
            "lava-dl drops the fractions of the quotient in every step; netx ignores the division",
        )
        return None
    spiking = bool(np.any(fields["vThMant"] != _READOUT_THRESHOLD))
    if not spiking:
        layer.notes.append(f"layer {layer.number} is a readout (`vThMant` is 2^18 - 1): it never fires, and its output is v")
    drive = zero if bias is None else bias * scale
    return Read(Neuron(name, alpha, one, scale, beta, drive, fields["vThMant"], zero, spiking, QUANTUM, None, fields))


def _resonator(layer: Layer, name: str, fields: dict[str, Array], adaptation: Adaptation | None, bias: Array | None) -> Read | None:
    sin, cos = fields["sinDecay"], fields["cosDecay"]
    gain = np.hypot(sin, cos)
    if gain.max() > 4096:
        worst = int(gain.argmax())
        layer.findings.error(
            "NM107",
            f"`sinDecay` {sin[worst]:g} and `cosDecay` {cos[worst]:g} of layer {layer.number} are no decayed rotation",
            where=str(layer.group.where) + "/neuron/sinDecay",
            why=f"together they are {gain[worst]:.6g} long; beyond 4096 the state grows without end",
        )
        return None
    if bias is not None and np.any(bias):
        layer.refuse(
            f"{layer.title} has a bias, which {name} neurons do not have", "bias",
            "lava-dl writes none for complex neurons, and netx reads none",
        )
        return None
    if adaptation is not None:
        layer.notes.append(f"the {name} neurons of layer {layer.number} adapt as in lava-dl; netx would drop the adaptation")
    off = int(np.count_nonzero((recomputed(sin, cos) != np.stack([sin, cos])).any(0)))
    if off:
        layer.notes.append(
            f"the rotation of {off} neurons of layer {layer.number} is taken as stored; netx computes it anew and is one unit off"
        )
    firing: Literal["phase", "izhikevich"] = "phase" if name.endswith("PHASE") else "izhikevich"
    drive = np.zeros(sin.size)
    return Read(Resonator(name, cos / 4096, sin / 4096, fields["vThMant"], drive, firing, QUANTUM, adaptation, fields))


def recomputed(sin: Array, cos: Array) -> Array:
    """Return the rotations, (2, n) float64, that netx and Lava make of stored ones by way of a period and a decay in floating point."""
    s, c = sin / 4096, cos / 4096
    # A neuron that does not turn has an endless period, which gives the angle 0 again.
    with np.errstate(divide="ignore"):
        left = 1 - (1 - np.sqrt(s**2 + c**2))
        angle = np.pi * 2 * 1 / (1 / (np.arctan2(s, c) / 2 / np.pi))
        return np.stack([np.trunc(left * np.sin(angle) * 4096), np.trunc(left * np.cos(angle) * 4096)])


def _sigma_delta(layer: Layer, shape: tuple[int, ...], bias: Array | None) -> Read | None:
    entries = layer.neuron
    if entries is None:
        return None
    kind = role(layer)
    rectify = True
    if "activation" in entries:
        stated = entries.string("activation")
        if stated is None:
            return None
        if stated not in _ACTIVATIONS and kind == "sigma_delta":
            layer.findings.error(
                "NM104",
                f"layer {layer.number} has SDNN neurons with the activation `{stated}`, which nmap does not support",
                where=entries.place("activation"),
                why="netx would compute a rectified linear unit instead",
                help=(f"supported are {', '.join(_ACTIVATIONS)}",),
            )
            return None
        rectify = _ACTIVATIONS.get(stated, True)
    size = prod(shape)
    threshold: Array | None = np.zeros(size)
    if kind != "sigma" or "vThMant" in entries:
        threshold = _parameter(layer, "vThMant", shape)
    if threshold is None:
        return None
    unit = float(1 << (_SPIKE_EXP + _STATE_EXP))
    fields = {"vThMant": threshold}
    shift = np.zeros(size) if bias is None else bias * unit
    if kind == "sigma" and np.any(shift):
        layer.refuse(
            f"{layer.title} is a `sigma_output` with a bias, which it does not have", "bias", "lava-dl writes none, and netx fails on it"
        )
        return None
    return Read(SigmaDelta("SDNN", kind, threshold * unit, shift, _SPIKE_EXP, _STATE_EXP, rectify, fields))
