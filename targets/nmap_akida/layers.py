"""The chip's layers as planning, measuring and emission see them: whole numbers, read from a quantized network alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from nmap.connectivity import Array, Conv2d, Dense
from nmap.quantized import QuantizedNetwork, QuantizedPopulation, QuantizedProjection
from nmap_akida.form import Form, form_of, sums_over_image
from nmap_akida.geometry import SEPARABLE_SIZES, Misfit, SameKernel, global_pool, image_kernel, same_kernel, separable

__all__ = ["IMAGE_BITS", "Layer", "layers_of"]

IMAGE_BITS: Final = 8
"""Bits of the input convolution unit's inputs and weights."""
_WHOLE_STEP: Final = 16


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One layer of the chip.

    Images are (channels, height, width); what is flat is (n, 1, 1).

    Args:
        name: population that computes it.
        projection: that leads to it.
        form: DENSE, CONV, SEPARABLE or IMAGE; a POOLED population has no layer of its own.
        in_shape, out_shape: images, the latter before pooling, and before the sum over the image (1 x 1 after it).
        kernel: int32 as the chip takes it, in cross-correlation orientation: (filters, channels, K, K), of a dense layer (units, inputs).
            Of a separable layer it is the product of its factors.
        depthwise, pointwise: int32 factors (channels, K, K) and (filters, channels) of a separable layer, else None.
        stride: of both axes.
        valid: no padding (IMAGE only), instead of the padding that keeps the image's size.
        global_pool: potentials are summed over the whole image.
        pooled: population of the 2 by 2 max pooling fused into the layer, or None.
        weight_bits, input_bits, output_bits: of weights, of arriving values and of activations.
        threshold: (filters,) int64.
        step: (filters,) int64, in sixteenths; 16 for activations of 1 bit.
    """

    name: str
    projection: str
    form: Form
    in_shape: tuple[int, int, int]
    out_shape: tuple[int, int, int]
    kernel: Array
    depthwise: Array | None
    pointwise: Array | None
    stride: int
    valid: bool
    global_pool: bool
    pooled: str | None
    weight_bits: int
    input_bits: int
    output_bits: int
    threshold: Array
    step: Array

    @property
    def filters(self) -> int:
        """Number of filters, or of units of a dense layer."""
        return int(self.kernel.shape[0])

    @property
    def size(self) -> int:
        """Rows and columns of the kernel; 1 for a dense layer."""
        return int(self.kernel.shape[-1]) if self.kernel.ndim == 4 else 1

    @property
    def weights(self) -> int:
        """Number of weights that the chip stores, zeros included."""
        if self.depthwise is not None and self.pointwise is not None:
            return int(self.depthwise.size + self.pointwise.size)
        return int(self.kernel.size)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights without any packing loss, rounded up."""
        return -(-self.weights * self.weight_bits // 8)

    @property
    def sent_shape(self) -> tuple[int, int, int]:
        """Image that leaves the layer, after pooling or the sum over the image."""
        filters, height, width = self.out_shape
        if self.global_pool:
            return filters, 1, 1
        return (filters, height // 2, width // 2) if self.pooled is not None else self.out_shape


def layers_of(network: QuantizedNetwork) -> tuple[Layer, ...]:
    """Return the layers of a quantized network in order from the input on; what is fused is in the layer before it.

    Raises:
        ValueError: a connection is not of the form that the network's settings say; a defect of the quantization.
    """
    found: list[Layer] = []
    for population in network.populations:
        if population.kernel is None:
            continue
        (projection,) = network.afferents(population.name)
        form = form_of(network.settings, population.name)
        if form is Form.POOLED:
            found[-1] = replace(found[-1], pooled=population.name)
        else:
            found.append(_layer(network, population, projection, form, found[-1] if found else None))
    return tuple(found)


def _layer(
    network: QuantizedNetwork, population: QuantizedPopulation, projection: QuantizedProjection, form: Form, before: Layer | None
) -> Layer:
    given, summed = projection.connectivity, sums_over_image(network.settings, population.name)
    bits, message = projection.format.bits, max(1, projection.format.message_bits - 1)
    if isinstance(given, Dense) != (form is Form.DENSE):
        raise ValueError(f"{population.name} is no layer of form {form.name}")
    depth: Array | None = None
    point: Array | None = None
    if isinstance(given, Dense):
        in_shape = (given.in_size, 1, 1) if before is None else before.sent_shape
        out_shape, kernel, stride, valid = (given.out_size, 1, 1), given.weights, 1, False
    elif isinstance(given, Conv2d):
        fitting = _fitting(population.name, given, form, summed)
        in_shape, kernel, stride, valid = given.in_shape, fitting.kernel, fitting.stride, fitting.valid
        out_shape = _outputs(in_shape, fitting)
        if form is Form.SEPARABLE:
            factors = separable(kernel, 2 ** (bits - 1) - 1)
            if factors is None:
                raise ValueError(f"{population.name} is no separable layer of {bits} bits")
            depth, point = factors
    else:
        raise ValueError(f"{population.name} is listed synapse by synapse")
    filters, pixels = out_shape[0], population.size // out_shape[0]
    thresholds = population.params["threshold"].reshape(filters, pixels)
    steps = population.params.get("act_step", np.full(population.size, _WHOLE_STEP)).reshape(filters, pixels)
    out_bits = int(population.params["act_bits"][0]) if "act_bits" in population.params else 1
    return Layer(
        population.name, projection.name, form, in_shape, out_shape, kernel, depth, point, stride, valid, summed, None, bits,
        IMAGE_BITS if form is Form.IMAGE else message, out_bits, np.ascontiguousarray(thresholds[:, 0]), np.ascontiguousarray(steps[:, 0]),
    )


def _fitting(name: str, conv: Conv2d, form: Form, summed: bool) -> SameKernel:
    inner = global_pool(conv) if summed else conv
    if inner is None:
        raise ValueError(f"the kernel of {name} is no sum over the image")
    if form is Form.IMAGE:
        found = image_kernel(inner)
    else:
        found = same_kernel(inner, SEPARABLE_SIZES) if form is Form.SEPARABLE else same_kernel(inner)
    if isinstance(found, Misfit):
        raise ValueError(f"the kernel of {name} {found.reason}")
    return found


def _outputs(in_shape: tuple[int, int, int], fitting: SameKernel) -> tuple[int, int, int]:
    margin = fitting.kernel.shape[-1] - 1 if fitting.valid else 0
    height, width = (-(-(size - margin) // fitting.stride) for size in in_shape[1:])
    return int(fitting.kernel.shape[0]), height, width
