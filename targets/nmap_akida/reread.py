"""Read an emitted model back, layer by layer, and compare it with the program that it is of, synapse by synapse."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from nmap.connectivity import Array, Dense
from nmap.program import ConvTile, NeuronGroup, Program, SynapseBlock, axon_sources, box_indices, slice_indices
from nmap.quantized import QuantizedNetwork
from nmap_akida.emit import files_of
from nmap_akida.form import Form
from nmap_akida.kernels import BINARY, GRADED
from nmap_akida.layers import Layer, layers_of
from nmap_akida.model import CORE_MAP, MODEL

__all__ = ["StoredLayer", "StoredModel", "read_model", "reread"]

_TOLD = 5
"""Differences of one kind that are told."""
_ROWS = 64
"""Neurons whose synapses are listed at a time where they are compared one by one."""
_TYPES = {
    "InputConvolutional": Form.IMAGE, "Convolutional": Form.CONV, "SeparableConvolutional": Form.SEPARABLE, "FullyConnected": Form.DENSE,
}
_PAIR = (np.ones((1, 1, 2, 2), np.int64), np.arange(2), np.arange(2))
"""A window of 2 by 2: its weights, and their distances in rows and columns from twice a position."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredLayer:
    """A layer of a model file.

    Args:
        name: in the file.
        form: of the layer as it is written: a dense layer that is a convolution with a kernel of 1 has the form `CONV`.
        in_shape, out_shape, sent_shape: (channels, height, width) of what it takes, computes, and sends after its pooling.
        kernel: int64 (filters, channels, K, K) of the cross-correlation that it computes; (units, inputs) where fully connected.
        depthwise, pointwise: of a separable convolution, (channels, K, K) and (filters, channels), else None.
        stride: in both directions.
        before: rows and columns of zeros (above, to the left) that its padding puts around the image.
        pooled, global_pool: whether the largest of every 2 by 2 is sent, or the sum over the image.
        weight_bits, act_bits: of weights and of what is sent.
        threshold, step: (filters,) int64; the step in sixteenths.
    """

    name: str
    form: Form
    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    sent_shape: tuple[int, int, int]
    kernel: Array
    depthwise: Array | None
    pointwise: Array | None
    stride: int
    before: tuple[int, int]
    pooled: bool
    global_pool: bool
    weight_bits: int
    act_bits: int
    threshold: Array
    step: Array

    @property
    def computed(self) -> tuple[int, int, int]:
        """(channels, height, width) of its own neurons: `out_shape`, or one for each filter where potentials are summed."""
        return (self.out_shape[0], 1, 1) if self.global_pool else self.out_shape


@dataclass(frozen=True, slots=True, eq=False)
class StoredModel:
    """A model file: the (channels, height, width) and the bits of its input, and its layers."""

    in_shape: tuple[int, int, int]
    input_bits: int
    layers: tuple[StoredLayer, ...]


def read_model(content: bytes) -> StoredModel:
    """Read a model of layers one after the other.

    Args:
        content: of the file.

    Raises:
        ValueError: it is no JSON, or a layer is not one that `nmap_akida.model` writes.
        KeyError: something is missing.
        TypeError: something is of another type.
        IndexError: likewise.
    """
    model = json.loads(content)
    if model["IP version"] != "v1" or model["learning"] is not None:
        raise ValueError("it is no model of Akida 1.0 without learning")
    entries = model["layers"]
    if len({entry["name"] for entry in entries}) < len(entries):
        raise ValueError("two layers have the same name")
    for number, entry in enumerate(entries):
        if entry["inbounds"] != ([entries[number - 1]["name"]] if number else []):
            raise ValueError(f"layer {entry['name']!r} does not follow the one before it")
    first = entries[0]["parameters"]
    shape = (first["input_channels"], first["input_height"], first["input_width"])
    if first["layer_type"] == "InputData":
        if first["input_signed"] != 0:
            raise ValueError("the input is signed")
        bits, entries = first["input_bits"], entries[1:]
    else:
        bits = 8
    layers: list[StoredLayer] = []
    for number, entry in enumerate(entries):
        form = _TYPES[entry["parameters"]["layer_type"]]
        if form is Form.IMAGE and number:
            raise ValueError(f"layer {entry['name']!r} takes an image and is not the first")
        layers.append(_stored(entry, form, layers[-1].sent_shape if layers else shape))
    if not layers:
        raise ValueError("it has no layers")
    return StoredModel(shape, bits, tuple(layers))


def _stored(entry: dict[str, Any], form: Form, shape: tuple[int, int, int]) -> StoredLayer:
    name, own, variables = entry["name"], entry["parameters"], entry["variables"]
    weights = _array(name, variables, "weights", "int8").astype(np.int64)
    depthwise = pointwise = None
    stride, before, pooled, summed = 1, (0, 0), False, False
    if form is Form.DENSE:
        # (1, 1, inputs, units): inputs channel by channel, and y by y within a channel.
        kernel = weights[0, 0].T
        out_shape = (own["units"], 1, 1)
        due: tuple[int, ...] = (1, 1, prod(shape), own["units"])
    else:
        size, stride = own["kernel_width"], own["stride_x"]
        if own["kernel_height"] != size or own["stride_y"] != stride:
            raise ValueError(f"layer {name!r} has a kernel or a stride that is not square")
        # (x, y, channel, filter)
        kernel = weights.transpose(3, 2, 1, 0)
        due = (size, size, shape[0], own["filters"])
        if form is not Form.IMAGE:
            kernel = kernel[:, :, ::-1, ::-1]
        elif own["padding_value"] != 0:
            raise ValueError(f"layer {name!r} pads with {own['padding_value']}")
        if form is Form.SEPARABLE:
            due = (size, size, shape[0], 1)
            depthwise, pointwise = kernel[0], _array(name, variables, "weights_pw", "int8")[0, 0].T.astype(np.int64)
            if pointwise.shape != (own["filters"], shape[0]):
                raise ValueError(f"layer {name!r} has pointwise weights of shape {pointwise.shape}")
            kernel = pointwise[:, :, None, None] * depthwise
        if own["padding"] not in (0, 1):
            raise ValueError(f"layer {name!r} has padding {own['padding']!r}")
        spans = [_span(length, size, stride, own["padding"] == 1) for length in shape[1:]]
        before = spans[0][1], spans[1][1]
        out_shape = own["filters"], spans[0][0], spans[1][0]
        pooled, summed = _pooling(name, own)
    if weights.shape != due or min(out_shape) < 1:
        raise ValueError(f"layer {name!r} has weights of shape {weights.shape}; its input and its filters make it {due}")
    sent_shape = out_shape
    if pooled or summed:
        sent_shape = out_shape[0], *((1, 1) if summed else (out_shape[1] // 2, out_shape[2] // 2))
    threshold = _array(name, variables, "threshold", "int32").astype(np.int64)
    step = np.floor(_array(name, variables, "act_step", "float32").astype(np.float64) * 16).astype(np.int64)
    if threshold.shape != out_shape[:1] or step.shape != out_shape[:1] or own["activation"] != 1:
        raise ValueError(f"layer {name!r} has no activation for each of {out_shape[0]} filters")
    return StoredLayer(
        name, form, shape, out_shape, sent_shape, kernel, depthwise, pointwise, stride, before, pooled, summed, own["weights_bits"],
        own["act_bits"], threshold, step,
    )


def _pooling(name: str, own: dict[str, Any]) -> tuple[bool, bool]:
    """Return whether a layer sends the largest of every 2 by 2, and whether it sums its potentials over the image."""
    sizes = {own[f"pooling_{key}"] for key in ("width", "height", "stride_x", "stride_y")}
    wanted = {0: {-1}, 1: {2}, 2: {-1}}
    if wanted.get(own["pool_type"]) != sizes:
        raise ValueError(f"layer {name!r} pools in a way that nmap does not write")
    return own["pool_type"] == 1, own["pool_type"] == 2


def _span(length: int, kernel: int, stride: int, same: bool) -> tuple[int, int]:
    """Return the positions along an axis, and the zeros before the first place; those beyond the last do not matter."""
    if not same:
        return (length - kernel) // stride + 1, 0
    out = -(-length // stride)
    return out, max((out - 1) * stride + kernel - length, 0) // 2


def _array(layer: str, variables: dict[str, Any], key: str, dtype: str) -> Array:
    held = variables[key]
    values = np.asarray(held["data"])
    if held["dtype"] != dtype or list(values.shape) != held["shape"] or values.dtype.kind not in ("i" if dtype != "float32" else "fi"):
        raise ValueError(f"`{key}` of layer {layer!r} does not hold {dtype} of shape {held['shape']}")
    if dtype != "float32" and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            raise ValueError(f"`{key}` of layer {layer!r} holds numbers beyond {dtype}")
    return values


def reread(folder: Path, network: QuantizedNetwork, program: Program) -> list[str]:
    """Return a sentence for everything in the written files that is not the program; empty where they hold the same.

    The model is read layer by layer and compared with the network's layers; then every neuron's threshold and step, and every synapse, with
    what the program's cores hold, by what the layer computes with its own geometry. Beyond that model and map have to be, byte for byte,
    what `nmap_akida.emit` writes. Files that the vendor's package made are not looked at, nor texts, whose words another version may
    change: the bundle's hashes guard them.

    Args:
        folder: where the files of `nmap_akida.emit` lie.
        network: the network that the program is of.
        program: what the files are of.
    """
    try:
        model = read_model((folder / MODEL).read_bytes())
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        return [f"{MODEL} cannot be read: {type(error).__name__}: {error}"]
    layers = layers_of(network)
    if len(layers) != len(model.layers):
        return [f"{MODEL} has {len(model.layers)} layers, the network {len(layers)}"]
    said = list(_against_network(model, layers))
    if not said:
        said = list(_against_program(model, layers, network, program))
    return [*said, *_bytes(folder, network, program, bool(said))]


def _bytes(folder: Path, network: QuantizedNetwork, program: Program, told: bool) -> Iterator[str]:
    """Yield which files are not what `emit` writes; `told`: what is different about the model is known."""
    try:
        due = files_of(network, program)
    except ValueError as error:
        yield f"the program cannot be written as a model: {error}"
        return
    for name in () if told else (MODEL, CORE_MAP):
        try:
            held = (folder / name).read_bytes()
        except OSError as error:
            yield f"{name} cannot be read: {type(error).__name__}: {error}"
            continue
        if held != due[name]:
            yield f"{name} is not what nmap writes for this program"


def _against_network(model: StoredModel, layers: tuple[Layer, ...]) -> Iterator[str]:
    """Yield what differs between the model and the network's layers."""
    if model.input_bits != layers[0].input_bits or model.in_shape != layers[0].in_shape:
        yield (f"{MODEL} takes {model.input_bits} bits of shape {model.in_shape}, the network {layers[0].input_bits} bits of shape "
               f"{layers[0].in_shape}")
    for stored, layer in zip(model.layers, layers, strict=True):
        written = stored.kernel
        due: Array = layer.kernel
        if layer.form is Form.DENSE and stored.form is Form.CONV:
            due = due[:, :, None, None]
        pairs: list[tuple[str, Any, Any]] = [
            ("form", stored.form, Form.CONV if layer.form is Form.DENSE and stored.form is Form.CONV else layer.form),
            ("number of inputs", prod(stored.in_shape), prod(layer.in_shape)),
            ("shape", stored.out_shape, layer.out_shape), ("stride", stored.stride, layer.stride),
            ("max pooling", stored.pooled, layer.pooled is not None), ("global pooling", stored.global_pool, layer.global_pool),
            ("weight bits", stored.weight_bits, layer.weight_bits), ("output bits", stored.act_bits, layer.output_bits),
        ]
        if layer.form is not Form.DENSE:
            pairs.append(("input shape", stored.in_shape, layer.in_shape))
        for what, ours, theirs in pairs:
            if ours != theirs:
                yield f"the {what} of layer {stored.name!r} is {_word(ours)} in {MODEL}, {_word(theirs)} in the network"
        arrays: list[tuple[str, Array | None, Array | None]] = [
            ("weights", written, due), ("thresholds", stored.threshold, layer.threshold), ("steps of activation", stored.step, layer.step),
        ]
        if layer.form is Form.SEPARABLE:
            arrays[:1] = [("weights", stored.depthwise, layer.depthwise), ("pointwise weights", stored.pointwise, layer.pointwise)]
        for what, held, wanted in arrays:
            if held is None or wanted is None or held.shape != wanted.shape or (held != wanted).any():
                yield f"the {what} of layer {stored.name!r} in {MODEL} are not those of `{layer.name}`"


def _word(value: Any) -> str:
    return value.name.lower() if isinstance(value, Form) else str(value)


def _against_program(model: StoredModel, layers: tuple[Layer, ...], network: QuantizedNetwork, program: Program) -> Iterator[str]:
    """Yield what differs between the model and what the program's cores hold."""
    numbers = {population.name: number for number, population in enumerate(program.populations)}
    groups: dict[int, list[int]] = {}
    for index, group in enumerate(program.groups):
        groups.setdefault(group.population, []).append(index)
    blocks: dict[int, list[SynapseBlock]] = {}
    for block in program.blocks:
        blocks.setdefault(block.group, []).append(block)
    axons = axon_sources(program)
    before = network.inputs[0]
    covered = {numbers.get(before, -1)}
    for stored, layer in zip(model.layers, layers, strict=True):
        for name, pooling in ((layer.name, False), *(((layer.pooled, True),) if layer.pooled else ())):
            number = numbers.get(name, -1)
            covered.add(number)
            size, due = sum(program.groups[index].size for index in groups.get(number, [])), network[name].size
            if size != due:
                yield f"`{name}`: the program has {size} of {due} neurons"
            said = 0
            for index in groups.get(number, []):
                if said >= _TOLD:
                    break
                group = program.groups[index]
                neurons = slice_indices(group.slice, program.populations[number].shape)
                sources = [_sources(axons, block, numbers.get(before, -1)) for block in blocks.get(index, [])]
                synapses = list(zip(blocks.get(index, []), sources, strict=True))
                check = _pooled(stored, group, neurons, synapses) if pooling else _computed(stored, group, neurons, synapses)
                for sentence in check:
                    said += 1
                    yield f"`{name}`: {sentence}"
            before = name
    if covered != set(range(len(program.populations))):
        yield f"the program has populations that no layer of {MODEL} computes, or lacks some"
    if [p.name for p in program.populations if p.is_output] != [before]:
        yield f"the last layer of {MODEL} computes `{before}`, which is not the program's output"


_Synapses: TypeAlias = "list[tuple[SynapseBlock, Array | None]]"
"""Blocks of synapses with the neurons of the population before that drive their axons, one each; None where it is not so."""


def _sources(axons: list[tuple[Array, Array]], block: SynapseBlock, before: int) -> Array | None:
    """Return the neurons that drive a block's axons, (axons,) int64; None unless each is another one of the population before."""
    populations, neurons = (values[block.axon : block.axon + block.axons] for values in axons[block.core])
    return neurons if (populations == before).all() and np.unique(neurons).size == neurons.size else None


def _computed(stored: StoredLayer, group: NeuronGroup, neurons: Array, synapses: _Synapses) -> Iterator[str]:
    """Yield what differs between a layer and a group of the neurons that it computes."""
    if group.size and int(neurons[-1]) >= prod(stored.computed):
        yield f"it has neuron {neurons[-1]}, layer {stored.name!r} has {prod(stored.computed)}"
        return
    filters = neurons // prod(stored.computed[1:])
    due = {"threshold": stored.threshold[filters]}
    if group.kernel == GRADED.name:
        due |= {"act_step": stored.step[filters], "act_bits": np.full(group.size, stored.act_bits)}
    elif group.kernel != BINARY.name or stored.act_bits != 1:
        yield f"its neurons are {group.kernel}, layer {stored.name!r} sends {stored.act_bits} bits"
        return
    for key, wanted in due.items():
        wrong = np.flatnonzero(group.params[key] != wanted)
        if wrong.size:
            at = wrong[0]
            yield f"`{key}` of neuron {neurons[at]} is {wanted[at]} in {MODEL}, {group.params[key][at]} in the program"
    yield from _synapses(stored, group, neurons, synapses)


def _synapses(stored: StoredLayer, group: NeuronGroup, neurons: Array, synapses: _Synapses) -> Iterator[str]:
    for block, sources in synapses:
        if sources is None:
            yield f"its axons are not driven each by another input of layer {stored.name!r}"
            return
        if not _plain(block):
            yield "its synapses have delays, exponents, receptors or accumulators, of which the chip has none"
            return
        if block.bits != stored.weight_bits:
            yield f"its weights have {block.bits} bits, those of layer {stored.name!r} {stored.weight_bits}"
    tile = synapses[0][0].synapses if len(synapses) == 1 else None
    if isinstance(tile, ConvTile) and stored.form is not Form.DENSE and not stored.global_pool:
        sources = synapses[0][1]
        yield from _tile(stored, tile, neurons, np.zeros(0, np.int64) if sources is None else sources)
        return
    for first in range(0, group.size, _ROWS):
        rows = np.arange(first, min(first + _ROWS, group.size))
        wanted, held = _rows(stored, neurons[rows]), np.zeros((rows.size, prod(stored.in_shape)), np.int64)
        for block, sources in synapses:
            if sources is not None:
                held[:, sources] += _block_rows(block, rows)
        if (held != wanted).any():
            row, source = (int(at[0]) for at in np.nonzero(held != wanted))
            yield (f"the weight from neuron {source} to neuron {neurons[rows[row]]} is {wanted[row, source]} in {MODEL}, "
                   f"{held[row, source]} in the program")
            return


def _plain(block: SynapseBlock) -> bool:
    """Return whether synapses have weights and nothing else."""
    return not (block.exponent or block.delay or block.delays is not None or block.receptor or block.accumulator)


def _rows(stored: StoredLayer, neurons: Array) -> Array:
    """Return all weights into some neurons of a layer, (neurons, inputs) int64, zeros included."""
    if stored.form is Form.DENSE:
        return stored.kernel[neurons]
    filters, *place = np.unravel_index(neurons, stored.computed)
    (channels, *sizes), (_, *counts) = stored.in_shape, stored.out_shape
    found = np.zeros((neurons.size, channels, *sizes), np.int64)
    each = np.arange(neurons.size)
    # Of a sum over the image, what every position adds; else the neuron's own position.
    positions: list[tuple[Any, ...]] = [tuple(place)]
    if stored.global_pool:
        positions = [(y, x) for y in range(counts[0]) for x in range(counts[1])]
    for position in positions:
        for tap in np.ndindex(*stored.kernel.shape[2:]):
            rows, columns = (
                np.broadcast_to(at * stored.stride + k - before, neurons.shape)
                for at, k, before in zip(position, tap, stored.before, strict=True)
            )
            on = (rows >= 0) & (rows < sizes[0]) & (columns >= 0) & (columns < sizes[1])
            found[each[on], :, rows[on], columns[on]] += stored.kernel[filters[on], :, tap[0], tap[1]]
    return found.reshape(neurons.size, -1)


def _block_rows(block: SynapseBlock, rows: Array) -> Array:
    """Return a block's weights to some slots of its group, (rows, axons) int64, zeros included."""
    listed = block.synapses
    if isinstance(listed, Dense):
        return listed.weights[rows].astype(np.int64)
    if isinstance(listed, ConvTile):
        return _tile_rows(listed, rows)
    found = np.zeros((rows.size, block.axons), np.int64)
    for k, row in enumerate(rows.tolist()):
        span = slice(listed.indptr[row], listed.indptr[row + 1])
        np.add.at(found[k], listed.indices[span], listed.weights[span])
    return found


def _tile_rows(tile: ConvTile, rows: Array) -> Array:
    slots = box_indices(tile.out_box, tile.out_shape)[rows]
    filters, *place = np.unravel_index(slots, tile.out_shape)
    per_group, each = tile.weights.shape[1], np.arange(rows.size)
    found = np.zeros((rows.size, *tile.in_shape), np.int64)
    first = filters // (tile.out_shape[0] // tile.groups) * per_group
    for tap in np.ndindex(*tile.weights.shape[2:]):
        y, x = (at * s + k * d - p for at, s, k, d, p in zip(place, tile.stride, tap, tile.dilation, tile.padding, strict=True))
        on = (y >= 0) & (y < tile.in_shape[1]) & (x >= 0) & (x < tile.in_shape[2])
        for channel in range(per_group):
            found[each[on], first[on] + channel, y[on], x[on]] += tile.weights[filters[on] - tile.out_box[0][0], channel, tap[0], tap[1]]
    return found.reshape(rows.size, -1)[:, box_indices(tile.in_box, tile.in_shape)]


def _tile(stored: StoredLayer, tile: ConvTile, neurons: Array, sources: Array) -> Iterator[str]:
    """Yield what differs between a layer and a tile of a convolution, by the weight at each distance from a position to its inputs."""
    if (tile.in_shape, tile.out_shape) != (stored.in_shape, stored.out_shape):
        yield f"its convolution takes {tile.in_shape} to {tile.out_shape}, layer {stored.name!r} {stored.in_shape} to {stored.out_shape}"
        return
    if not np.array_equal(box_indices(tile.out_box, tile.out_shape), neurons):
        yield "its synapses are those of other neurons"
        return
    if not np.array_equal(box_indices(tile.in_box, tile.in_shape), sources):
        yield "its axons are driven by other neurons than those that its synapses are for"
        return
    ours, theirs = _distances(stored), _tile_distances(tile)
    axes = []
    for axis in range(2):
        size, count = stored.in_shape[1 + axis], stored.out_shape[1 + axis]
        if count > 1 and tile.stride[axis] != stored.stride:
            yield f"its convolution has stride {tile.stride[axis]}, layer {stored.name!r} has {stored.stride}"
            return
        axes.append(_relevant(np.arange(count) * stored.stride, size, ours[1 + axis], theirs[1 + axis]))
        yield from _reach(tile, axis)
    low, high = tile.out_box[0]
    held, due = (_at(weights, rows, columns, axes) for weights, rows, columns in (ours, theirs))
    if (held[low:high] != due).any():
        f, c, y, x = (int(at[0]) for at in np.nonzero(held[low:high] != due))
        yield (f"the weight from channel {c}, {axes[0][y]:+d} rows and {axes[1][x]:+d} columns away, to channel {low + f} is "
               f"{held[low + f, c, y, x]} in {MODEL}, {due[f, c, y, x]} in the program")


def _relevant(positions: Array, size: int, ours: Array, theirs: Array) -> list[int]:
    """Return the distances of either kind that lead to a place on an axis from some position; those beyond the image do not matter."""
    both = np.union1d(ours, theirs)
    places = positions[:, None] + both
    return [int(distance) for distance in both[((places >= 0) & (places < size)).any(axis=0)]]


def _reach(tile: ConvTile, axis: int) -> Iterator[str]:
    """Tell where a tile lacks inputs that its kernel reaches."""
    at = np.arange(*tile.out_box[1 + axis]) * tile.stride[axis]
    taps = np.arange(tile.weights.shape[2 + axis]) * tile.dilation[axis] - tile.padding[axis]
    used = np.flatnonzero((tile.weights != 0).any(axis=(0, 1, 3 - axis)))
    places = (at[:, None] + taps[used]).ravel()
    places = places[(places >= 0) & (places < tile.in_shape[1 + axis])]
    low, high = tile.in_box[1 + axis]
    if places.size and (places.min() < low or places.max() >= high):
        yield "it lacks inputs that its kernel reaches"


def _distances(stored: StoredLayer) -> tuple[Array, Array, Array]:
    """Return a layer's weights, (filters, channels, rows, columns), and how many rows and columns from stride times position each is."""
    sides = [np.arange(stored.kernel.shape[2 + axis]) - stored.before[axis] for axis in range(2)]
    return stored.kernel, sides[0], sides[1]


def _tile_distances(tile: ConvTile) -> tuple[Array, Array, Array]:
    """Return the same of a tile, its groups written out with zeros."""
    low, high = tile.out_box[0]
    per_group = tile.weights.shape[1]
    found = np.zeros((high - low, tile.in_shape[0], *tile.weights.shape[2:]), np.int64)
    for f in range(low, high):
        first = f // (tile.out_shape[0] // tile.groups) * per_group
        found[f - low, first : first + per_group] = tile.weights[f - low]
    sides = [np.arange(tile.weights.shape[2 + axis]) * tile.dilation[axis] - tile.padding[axis] for axis in range(2)]
    return found, sides[0], sides[1]


def _at(weights: Array, rows: Array, columns: Array, axes: list[list[int]]) -> Array:
    """Return weights at given distances, 0 where there is none."""
    found = np.zeros((*weights.shape[:2], len(axes[0]), len(axes[1])), np.int64)
    for y, row in enumerate(rows.tolist()):
        for x, column in enumerate(columns.tolist()):
            if row in axes[0] and column in axes[1]:
                found[:, :, axes[0].index(row), axes[1].index(column)] = weights[:, :, y, x]
    return found


def _pooled(stored: StoredLayer, group: NeuronGroup, neurons: Array, synapses: _Synapses) -> Iterator[str]:
    """Yield why a group of neurons is not what a layer sends after its pooling: 1 where any neuron of 2 by 2 sends 1."""
    if group.kernel != BINARY.name or stored.act_bits != 1:
        yield f"its neurons are {group.kernel} over {stored.act_bits} bits, which the largest of 2 by 2 is not"
        return
    block, sources = synapses[0] if len(synapses) == 1 else (None, None)
    if block is None or sources is None or not isinstance(block.synapses, ConvTile) or not _plain(block):
        yield f"its synapses are not those of a pooling of layer {stored.name!r}"
        return
    tile = block.synapses
    placed = np.array_equal(box_indices(tile.out_box, tile.out_shape), neurons)
    driven = np.array_equal(box_indices(tile.in_box, tile.in_shape), sources)
    if tile.in_shape != stored.out_shape or tile.out_shape != stored.sent_shape or not placed or not driven:
        yield f"its synapses are not those of a pooling of layer {stored.name!r}"
        return
    axes = []
    for axis in range(2):
        count = tile.out_shape[1 + axis]
        if count > 1 and tile.stride[axis] != 2:
            yield f"its windows are {tile.stride[axis]} apart, those of layer {stored.name!r} 2"
            return
        axes.append(_relevant(np.arange(count) * 2, stored.out_shape[1 + axis], *(of[1 + axis] for of in (_PAIR, _tile_distances(tile)))))
        yield from _reach(tile, axis)
    low, high = tile.out_box[0]
    weights = _at(*_tile_distances(tile), axes)
    own = np.zeros(weights.shape, bool)
    inside = np.ix_(*([distance in (0, 1) for distance in distances] for distances in axes))
    for k in range(high - low):
        own[k, low + k][inside] = True
    least = np.where(own, weights, np.iinfo(np.int64).max).min(axis=(1, 2, 3))
    threshold = group.params["threshold"].reshape(high - low, -1)
    if (weights[~own] != 0).any() or (threshold < 0).any() or (threshold >= least[:, None]).any():
        yield f"its neurons do not send the largest of 2 by 2 of layer {stored.name!r}"
