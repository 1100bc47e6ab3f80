"""The layers of a netx file in their order, and what no reading can make sense of."""

from __future__ import annotations

from nmap.diagnostics import Findings
from nmap.readers import netx_neurons as neurons
from nmap.readers.hdf5 import Tree
from nmap.readers.netx_entries import Layer

__all__ = ["ENTRIES", "list_layers", "model_of", "refuse_unsupported"]

_MAX_LAYERS = 4096
_MAX_DIGITS = 10
_COMMON = frozenset({"type", "shape", "neuron", "weight", "bias", "delay"})
_WINDOW = frozenset({"kernelSize", "stride", "padding", "dilation"})
_FEATURES = frozenset({"inFeatures", "outFeatures"})
_CHANNELS = frozenset({"inChannels", "outChannels", "groups"})
ENTRIES = {
    "input": _COMMON - {"delay"},
    "dense": _COMMON | _FEATURES,
    "dense_rec": _COMMON | _FEATURES | {"weight_rec", "delay_rec"},
    "dense_comp": _COMMON | _FEATURES,
    "conv": _COMMON | _WINDOW | _CHANNELS,
    "pool": _COMMON | _WINDOW,
    "convT": _COMMON | _WINDOW | _CHANNELS,
    "unpool": _COMMON | _WINDOW,
    "flatten": frozenset({"type", "shape"}),
    "average": frozenset({"type", "shape"}),
    "concat": frozenset({"type", "shape", "layers"}),
}
"""The entries that each supported type of layer uses."""


def list_layers(tree: Tree, changed: Findings, notes: list[str]) -> list[Layer]:
    """Return the layers in the order of their integer names; what is wrong with the names is recorded in the tree.

    Args:
        tree: the file.
        changed, notes: see `Layer`.
    """
    top = tree.root.group("layer")
    if top is None:
        return []
    names = top.names()
    numbers = sorted((n for n in names if n.isascii() and n.isdecimal() and len(n) < _MAX_DIGITS), key=int)
    known = set(numbers)
    odd = next((n for n in names if n not in known), None)
    if odd is not None:
        tree.findings.error("NM104", f"layer `{odd[:40]}` is not named by its number", where=top.place(odd))
    if len(numbers) > _MAX_LAYERS:
        tree.findings.error("NM110", f"the file lists {len(numbers)} layers; the limit is {_MAX_LAYERS}", where=str(top.where))
        return []
    missing = [k for k in range(len(numbers)) if str(k) not in known]
    if missing:
        tree.findings.error(
            "NM103",
            f"layer {missing[0]} is missing of {len(numbers)} layers",
            where=str(top.where),
            why=f"the file lists {', '.join(numbers[:16])}",
        )
    found: list[Layer] = []
    for name in numbers:
        group = top.group(name)
        if group is None:
            tree.findings.error("NM103", f"layer {name} is not a group with entries", where=top.place(name))
            continue
        kind = group.string("type") if "type" in group else None
        if "type" not in group:
            why = None if group.names() else "lava-dl writes nothing for a k-winner-take-all or a residual block"
            tree.findings.error("NM103", f"layer {name} has no `type`", where=group.place("type"), why=why)
        if kind is not None:
            found.append(Layer(int(name), kind, group, changed, notes))
    return found


def refuse_unsupported(layers: list[Layer]) -> frozenset[int]:
    """Record every layer and neuron type that is not supported, and neurons that do not go with their layer or with each other.

    Returns:
        The numbers of the layers that cannot be read.
    """
    refused: set[int] = set()
    graded: bool | None = None
    for layer in layers:
        faults = len(layer.findings)
        graded = _check_layer(layer, graded)
        if len(layer.findings) > faults:
            refused.add(layer.number)
    return frozenset(refused)


def _check_layer(layer: Layer, graded: bool | None) -> bool | None:
    """Check one layer; `graded` says whether the neurons so far send graded spikes, and so does what is returned."""
    if layer.kind not in ENTRIES:
        layer.refuse(
            f"layer {layer.number} is of type `{layer.kind}`, which nmap does not support",
            why="netx would leave such a layer out without a word",
            advice=f"supported are {', '.join(ENTRIES)}",
        )
    elif layer.kind == "input" and layer.number:
        layer.refuse(f"layer {layer.number} is an input block behind other layers")
    elif layer.kind in ("flatten", "average", "concat") and not layer.number:
        article = "an" if layer.kind == "average" else "a"
        layer.findings.error(
            "NM108", f"the first layer is {article} {layer.kind} block: nothing tells what it reads", where=str(layer.group.where)
        )
    if layer.neuron is None:
        if "neuron" in layer.group and layer.tree.first(layer.group.place("neuron")):
            layer.findings.error("NM103", f"`neuron` of {layer.title} is not a group with entries", where=layer.group.place("neuron"))
        if layer.group.is_group("weight"):
            layer.refuse(f"{layer.title} has complex weights but no complex neurons", "weight")
        return graded
    model = model_of(layer)
    if model is None:
        return graded
    if layer.group.is_group("weight") and model not in neurons.RESONATORS:
        layer.refuse(
            f"{layer.title} has complex weights, but its {model} neurons have no imaginary part", "weight",
            advice=f"complex neurons are {', '.join(neurons.RESONATORS)}",
        )
    if model in neurons.RESONATORS and layer.kind in ("input", "dense_rec"):
        layer.refuse(
            f"{layer.title} has {model} neurons, which lava-dl does not run in such a block", "neuron",
            "nothing tells what reaches their imaginary part",
        )
    if graded is not None and graded != (model == "SDNN"):
        layer.refuse(
            f"layer {layer.number} ({model}) mixes sigma-delta and spiking neurons in one file", "neuron",
            "a message of 1 means 1/64 to the one and 1 to the other, and lava-dl's trainer and reader disagree on it",
        )
    return model == "SDNN"


def model_of(layer: Layer) -> str | None:
    """Return the type of a layer's neurons; None where there are none, or with a diagnostic."""
    if layer.neuron is None:
        return None
    if "type" not in layer.neuron:
        if layer.tree.first(layer.neuron.place("type")):
            layer.findings.error("NM103", f"the neuron of layer {layer.number} has no `type`", where=layer.neuron.place("type"))
        return None
    model = layer.neuron.string("type")
    if model is not None and model not in neurons.SUPPORTED:
        if layer.tree.first(layer.neuron.place("type")):
            layer.refuse(
                f"{layer.title} has neurons of type `{model}`, which nmap does not support", "neuron",
                advice=f"supported are {', '.join(neurons.SUPPORTED)}",
            )
        return None
    return model
