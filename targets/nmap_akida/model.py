"""Write layers as a model in the vendor's open JSON form, with the standard library and numpy.

Tensors have the axes (width, height, channels), which the package calls x, y and channel. With them a fully connected layer's inputs, which
the package numbers channel by channel, and within a channel y by y, stand in nmap's order: C order of (channels, height, width).

A hidden convolution is a true one: its kernel is written mirrored on both axes. That of an image is a cross-correlation and is not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from nmap.connectivity import Array
from nmap_akida.form import Form

if TYPE_CHECKING:
    from nmap_akida.layers import Layer

__all__ = ["CORE_MAP", "INPUT", "MODEL", "VERSION", "layer_names", "model_bytes"]

MODEL, CORE_MAP = "model.akida.json", "core_map.json"
"""Names of the files that hold the model, and what nmap says of it."""

INPUT = "input"
"""Name of the layer that states the shape of the input; a model of an image has none."""
VERSION = "2.19.x"
"""Of the vendor's package whose form this is. A package reads models of its own major and minor version."""

_SAME, _VALID = 1, 0
_MAX, _AVERAGE = 1, 2


def layer_names(layers: Sequence[Layer]) -> tuple[str, ...]:
    """Return the names of layers in a model: the populations' own as far as their characters are plain, all different.

    Args:
        layers: in order, as `nmap_akida.layers.layers_of` has them.
    """
    taken, names = {INPUT}, []
    for layer in layers:
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", layer.name) or "_"
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name)
        names.append(name)
    return tuple(names)


def model_bytes(layers: Sequence[Layer], connected: Collection[str]) -> bytes:
    """Return a model as the vendor's package reads it; the same layers give the same bytes.

    Args:
        layers: in order, as `nmap_akida.layers.layers_of` has them.
        connected: names of the dense layers that are fully connected layers; the others are convolutions with a kernel of 1.

    Raises:
        ValueError: a layer does not take what the one before it sends; or a dense layer over an image is to be a convolution.
    """
    return ("".join(_pieces(layers, connected))).encode("ascii")


def _pieces(layers: Sequence[Layer], connected: Collection[str]) -> Iterator[str]:
    yield f'{{\n"Akida version": "{VERSION}",\n"IP version": "v1",\n"layers": [\n'
    before: list[str] = []
    if layers[0].form is not Form.IMAGE:
        channels, height, width = layers[0].in_shape
        given = {
            "layer_type": "InputData", "input_width": width, "input_height": height, "input_channels": channels,
            "input_bits": layers[0].input_bits, "input_signed": 0,
        }
        yield _text({"name": INPUT, "parameters": given, "variables": {}, "inbounds": before}) + ",\n"
        before = [INPUT]
    sent = layers[0].in_shape
    for number, (name, layer) in enumerate(zip(layer_names(layers), layers, strict=True)):
        flat = sent[1:] == (1, 1)
        if layer.in_shape != sent and not (layer.form is Form.DENSE and int(np.prod(layer.in_shape)) == int(np.prod(sent))):
            raise ValueError(f"`{layer.name}` takes {layer.in_shape} of the {sent} that are sent to it")
        parameters, variables = _layer(layer, layer.name in connected, flat)
        entry = {
            "name": name, "parameters": parameters, "variables": {key: _variable(values) for key, values in variables.items()},
            "inbounds": before,
        }
        yield _text(entry) + ("\n" if number == len(layers) - 1 else ",\n")
        before, sent = [name], layer.sent_shape
    yield '],\n"learning": null\n}\n'


def _text(entry: dict[str, Any]) -> str:
    return json.dumps(entry, separators=(",", ":"))


def _layer(layer: Layer, connected: bool, flat: bool) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return a layer's parameters and its arrays."""
    activation = {
        "threshold": layer.threshold.astype(np.int32), "act_step": (layer.step / 16).astype(np.float32),
    }
    common = {"weights_bits": layer.weight_bits, "activation": 1, "act_bits": layer.output_bits}
    if layer.form is Form.DENSE:
        weights = layer.kernel.T[None, None]
        if connected:
            return {"layer_type": "FullyConnected", "units": layer.filters, **common}, {"weights": _int8(weights), **activation}
        if not flat:
            raise ValueError(f"the dense layer `{layer.name}` over an image is no convolution with a kernel of 1")
        return {"layer_type": "Convolutional", **_window(layer, 1), **common}, {"weights": _int8(weights), **activation}
    size = {"layer_type": _TYPES[layer.form], **_window(layer, layer.size), **common}
    if layer.form is Form.IMAGE:
        channels, height, width = layer.in_shape
        size |= {"input_width": width, "input_height": height, "input_channels": channels, "padding_value": 0}
        return size, {"weights": _int8(layer.kernel.transpose(3, 2, 1, 0)), **activation}
    if layer.form is Form.CONV:
        return size, {"weights": _int8(layer.kernel[:, :, ::-1, ::-1].transpose(3, 2, 1, 0)), **activation}
    if layer.depthwise is None or layer.pointwise is None:
        raise ValueError(f"`{layer.name}` is a separable convolution without factors")
    return size, {
        "weights": _int8(layer.depthwise[:, ::-1, ::-1].transpose(2, 1, 0)[..., None]),
        "weights_pw": _int8(layer.pointwise.T[None, None]), **activation,
    }


_TYPES = {Form.IMAGE: "InputConvolutional", Form.CONV: "Convolutional", Form.SEPARABLE: "SeparableConvolutional"}


def _window(layer: Layer, kernel: int) -> dict[str, int]:
    """Return what a convolution has beside its input and its weights; sizes of -1 are those of no pooling, or of the whole image's."""
    pooling = 2 if layer.pooled is not None else -1
    return {
        "filters": layer.out_shape[0], "kernel_width": kernel, "kernel_height": kernel, "stride_x": layer.stride, "stride_y": layer.stride,
        "padding": _VALID if layer.valid else _SAME,
        "pool_type": _AVERAGE if layer.global_pool else 0 if layer.pooled is None else _MAX,
        "pooling_width": pooling, "pooling_height": pooling, "pooling_stride_x": pooling, "pooling_stride_y": pooling,
    }


def _int8(values: Array) -> Array:
    return values.astype(np.int8)


def _variable(values: Array) -> dict[str, Any]:
    """Return an array in the form of the file: nested lists, and bits enough for its integers in two's complement, 0 for floats."""
    bits = 0
    if values.dtype.kind == "i":
        largest = int(np.abs(values.astype(np.int64)).max(initial=0))
        bits = max(2, 1 + largest.bit_length())
    return {"shape": list(values.shape), "dtype": values.dtype.name, "bitwidth": bits, "data": values.tolist()}
