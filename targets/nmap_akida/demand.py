"""What a part of a layer takes on one unit: the estimate that everything said of NPs rests on.

    weight memory   weight bits x weights: filters x channels x kernel^2; of a separable convolution channels x kernel^2 + filters x
                    channels; of a fully connected layer outputs x inputs
    input memory    activation bits x channels x rows x columns of the part of the image that the kernel reaches; of a fully connected
                    layer all inputs

both in whole bytes. How the vendor's tools pack either is not published.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from nmap.connectivity import Array, Conv2d
from nmap.program import Slice, slice_size
from nmap.quantized import QuantizedNetwork
from nmap.target.backend import Demand, NeuronDemand
from nmap_akida.form import Form, form_of, sums_over_image
from nmap_akida.geometry import HIDDEN_SIZES, SEPARABLE_SIZES, Misfit, global_pool, image_kernel, same_kernel

__all__ = ["LayerSize", "demand", "demand_at_most", "demand_floor", "neuron_demand", "part_demand", "size_of"]

_RESOURCES = ("layers", "image_layers", "weight_memory", "input_memory")


@dataclass(frozen=True, slots=True, eq=False)
class LayerSize:
    """The numbers of a layer that its memory depends on.

    Args:
        name: of its population.
        form: how it is computed.
        shape: of its population.
        inputs: number of its inputs.
        channels: of its input image; inputs of a dense layer.
        side: of the chip's kernel; 1 for a dense layer.
        weight_bits, input_bits: of one weight and of one input value.
        conv: the connection of a convolution, whose weights are not looked at; None for a dense layer.
        over_image: its potentials are summed over the image.
        flat: its input has one pixel.
    """

    name: str
    form: Form
    shape: tuple[int, ...]
    inputs: int
    channels: int
    side: int
    weight_bits: int
    input_bits: int
    conv: Conv2d | None
    over_image: bool
    flat: bool

    @property
    def filters(self) -> int:
        """Filters of a convolution, outputs of a dense layer."""
        return prod(self.shape) if self.conv is None else self.shape[0]

    @property
    def shared_bits(self) -> int:
        """Bits of weights that every part has, however few filters it computes."""
        return self.channels * self.side**2 * self.weight_bits if self.form is Form.SEPARABLE else 0

    @property
    def filter_bits(self) -> int:
        """Bits of weights of one more filter."""
        return self.channels * self.weight_bits * (1 if self.form is Form.SEPARABLE else self.side**2)

    def weight_bytes(self, filters: int) -> int:
        """Return the bytes of the weights of so many filters."""
        return -(-(self.shared_bits + filters * self.filter_bits) // 8)

    def input_bytes(self, rows: int, columns: int) -> int:
        """Return the bytes of so much of the input image."""
        return -(-self.channels * rows * columns * self.input_bits // 8)

    def reach(self, axis: int, start: int, stop: int) -> int:
        """Return how many rows (axis 0) or columns (1) of the input image the outputs start..stop-1 hear; 1 for a dense layer."""
        if self.conv is None:
            return 1
        stride, padding, size = self.conv.stride[axis], self.conv.padding[axis], self.conv.in_shape[axis + 1]
        high = (stop - 1) * stride - padding + self.conv.dilation[axis] * (self.conv.kernel_size[axis] - 1) + 1
        return max(0, min(high, size) - max(start * stride - padding, 0))

    def with_bits(self, bits: int) -> LayerSize:
        """Return the layer with weights of at most so many bits: images keep theirs, separable convolutions take 2 at least."""
        least = {Form.IMAGE: self.weight_bits, Form.SEPARABLE: 2}.get(self.form, 1)
        return replace(self, weight_bits=min(self.weight_bits, max(bits, least)))


def size_of(network: QuantizedNetwork, population: str) -> LayerSize:
    """Return the numbers of a population's layer.

    Raises:
        ValueError: the connection is not one that the chip's rules accept, or the population is an input port.
    """
    form, shape = form_of(network.settings, population), network[population].shape
    (projection,) = network.afferents(population)
    style, whole = projection.format, projection.connectivity
    bits, input_bits = style.bits, max(1, style.message_bits - 1)
    if not isinstance(whole, Conv2d):
        source = network[projection.source]
        # An input port is flat where a dense layer comes first, whatever its shape.
        flat = source.kernel is None or form_of(network.settings, source.name) is Form.DENSE or source.shape[1:] == (1, 1)
        return LayerSize(population, form, shape, whole.in_size, whole.in_size, 1, bits, input_bits, None, False, flat)
    over_image = sums_over_image(network.settings, population)
    side = 1 if form is Form.POOLED else _side(whole, form, over_image)
    return LayerSize(
        population, form, shape, whole.in_size, whole.in_shape[0], side, bits, input_bits, whole, over_image, whole.in_shape[1:] == (1, 1)
    )


def _side(conv: Conv2d, form: Form, over_image: bool) -> int:
    small = global_pool(conv) if over_image else conv
    if small is None:
        raise ValueError("the connection is no convolution summed over the image")
    sizes = SEPARABLE_SIZES if form is Form.SEPARABLE else HIDDEN_SIZES
    found = image_kernel(small) if form is Form.IMAGE else same_kernel(small, sizes)
    if isinstance(found, Misfit):
        raise ValueError(f"the connection {found.reason}")
    return int(found.kernel.shape[-1])


def part_demand(size: LayerSize, part: Slice) -> Demand:
    """Return what a part of a layer takes; a pooled population is computed by the layer before it and takes nothing.

    Raises:
        ValueError: the targets of a convolution are not a box.
    """
    if size.conv is None:
        return _demand(size, slice_size(part), 1, 1)
    if not isinstance(part, tuple):
        raise ValueError(f"the targets of the convolution onto `{size.name}` are not a box")
    (low, high), *spans = part
    rows, columns = (size.reach(axis, start, stop) for axis, (start, stop) in enumerate(spans))
    return _demand(size, high - low, rows, columns)


def _demand(size: LayerSize, filters: int, rows: int, columns: int) -> Demand:
    if size.form is Form.POOLED:
        return dict.fromkeys(_RESOURCES, 0)
    if size.form is Form.IMAGE:
        # The input unit reads the image line by line; how wide one may be is a rule of its own.
        return {"layers": 0, "image_layers": 1, "weight_memory": size.weight_bytes(filters), "input_memory": 0}
    return {
        "layers": 1, "image_layers": 0, "weight_memory": size.weight_bytes(filters), "input_memory": size.input_bytes(rows, columns),
    }


def demand(network: QuantizedNetwork, population: str, part: Slice) -> Demand:
    """Return what the neurons of a slice take; see the module.

    Raises:
        ValueError: the targets of a convolution are not a box.
    """
    return part_demand(size_of(network, population), part)


def demand_at_most(network: QuantizedNetwork, population: str, extent: tuple[int, ...]) -> Demand:
    """Return an upper bound of `demand` over all boxes of this extent; it never falls when the extent grows."""
    size = size_of(network, population)
    if size.conv is None:
        return _demand(size, prod(extent), 1, 1)
    rows, columns = (max(_reaches(size, axis, extent[1 + axis])) for axis in (0, 1))
    return _demand(size, extent[0], rows, columns)


def _reaches(size: LayerSize, axis: int, outputs: int) -> Iterator[int]:
    return (size.reach(axis, start, start + outputs) for start in range(size.shape[1 + axis] - outputs + 1))


def demand_floor(network: QuantizedNetwork, population: str) -> dict[str, float]:
    """Return a lower bound of the total over all pieces of any cut: one piece has all weights, and every input heard is read once."""
    size = size_of(network, population)
    floor = dict.fromkeys(_RESOURCES, 0.0)
    if size.form is Form.POOLED:
        return floor
    floor["weight_memory"] = (size.shared_bits + size.filters * size.filter_bits) / 8
    floor["image_layers" if size.form is Form.IMAGE else "layers"] = 1.0
    if size.form is not Form.IMAGE:
        heard = 1 if size.conv is None else _touched(size.conv, 0) * _touched(size.conv, 1)
        floor["input_memory"] = size.channels * heard * size.input_bits / 8
    return floor


def _touched(conv: Conv2d, axis: int) -> int:
    """Return how many rows (0) or columns (1) of the image some tap meets."""
    taps = np.arange(conv.kernel_size[axis]) * conv.dilation[axis] - conv.padding[axis]
    places = np.unique(np.arange(conv.out_shape[1 + axis])[:, None] * conv.stride[axis] + taps)
    return int(((places >= 0) & (places < conv.in_shape[1 + axis])).sum())


def neuron_demand(network: QuantizedNetwork, population: str) -> NeuronDemand:
    """Return the prices of a dense layer's neurons, in eighths of a byte.

    Every part hears all inputs, so what an axon takes is the same for all parts: the bits by which weights may be rounded up to a byte are
    on the axons, and `axon_least` leaves them out.

    Raises:
        ValueError: the afferent is a convolution, which is cut into boxes.
    """
    size = size_of(network, population)
    if size.conv is not None:
        raise ValueError(f"`{population}` is a convolution, which is cut into boxes")
    neuron = np.zeros((len(_RESOURCES), size.filters), np.int64)
    neuron[_RESOURCES.index("weight_memory")] = size.filter_bits
    fixed = np.array([8, 0, 0, 8 * size.input_bytes(1, 1)])
    rounding: Array = np.array([[0], [0], [-(-7 // size.inputs)], [0]])
    return NeuronDemand(_RESOURCES, 8, neuron, (rounding,), fixed, np.zeros_like(fixed), (np.zeros_like(rounding),))
