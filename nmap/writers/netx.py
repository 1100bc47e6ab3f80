"""Write lava-dl netx files (`.net`, HDF5): a chain of layers of integer neurons, with the entries that lava-dl's own exporter writes.

The layout is that of lava-dl 0.6.0 (`slayer/block/base.py` writes it, `netx/hdf5.py` and `netx/utils.py` read it): the root group `layer`
holds the groups `0`, `1`, ...; a layer has its `type`, its `shape`, its numbers and a group `neuron`; there are no HDF5 attributes.
Which networks a file can hold is a target's business.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import h5py
import numpy as np

from nmap.connectivity import Array, Conv2d

__all__ = ["Entry", "NetxLayer", "conv_entries", "dense_entries", "netx_bytes"]

Entry: TypeAlias = "str | bool | int | tuple[int, ...] | Array"
"""A number, numbers, or a short text."""


@dataclass(frozen=True, slots=True, eq=False)
class NetxLayer:
    """One layer of a netx file.

    Args:
        kind: its `type`.
        shape: (channels, height, width) or (n,).
        entries: further datasets by name; a name with a slash lies in a group of its own (`weight/real`). Arrays keep their dtype.
        neuron: datasets of the group `neuron`; None for a layer without neurons.
    """

    kind: Literal["input", "flatten", "dense", "dense_rec", "conv"]
    shape: tuple[int, ...]
    entries: dict[str, Entry] = field(default_factory=dict)
    neuron: dict[str, Entry] | None = None


def dense_entries(weights: Array) -> dict[str, Entry]:
    """Return the entries of a dense layer, but for its recurrent ones, from weights (targets, sources)."""
    targets, sources = weights.shape
    return {"inFeatures": int(sources), "outFeatures": int(targets), "weight": weights.astype(np.float32)}


def conv_entries(conv: Conv2d) -> dict[str, Entry]:
    """Return the entries of a convolution; pairs are (height, width), and the kernel is torch's cross-correlation kernel."""
    out, _, height, width = conv.weights.shape
    return {
        "inChannels": conv.in_shape[0], "outChannels": int(out), "kernelSize": (int(height), int(width)), "stride": conv.stride,
        "padding": conv.padding, "dilation": conv.dilation, "groups": conv.groups, "weight": conv.weights.astype(np.float32),
    }


def _store(group: h5py.Group, name: str, value: Entry) -> None:
    if isinstance(value, str):
        # lava-dl's type strings are lists of one fixed-length text.
        data = np.array([value.encode("ascii")], f"S{max(10, len(value))}")
    elif isinstance(value, bool):
        data = np.array(value)
    else:
        data = np.asarray(value, None if isinstance(value, np.ndarray) else np.int64)
    # No timestamps: the same layers must give the same bytes.
    group.create_dataset(name, data=data, track_times=False)


def netx_bytes(layers: tuple[NetxLayer, ...]) -> bytes:
    """Return the content of a netx file, byte for byte the same for the same layers."""
    with h5py.File("network.net", "w", driver="core", backing_store=False, libver=("v110", "v110"), track_order=False) as file:
        for k, layer in enumerate(layers):
            group = file.create_group(f"layer/{k}", track_order=False)
            _store(group, "type", layer.kind)
            _store(group, "shape", layer.shape)
            for name, value in layer.entries.items():
                _store(group, name, value)
            if layer.neuron is not None:
                neuron = group.create_group("neuron", track_order=False)
                for name, value in layer.neuron.items():
                    _store(neuron, name, value)
        file.flush()
        return bytes(file.id.get_file_image())
